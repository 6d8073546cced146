"""What a dictionary keeps of a layer, on photos that it was not trained on.

* how much of the variance of cells it explains, 1 − Σ|x − x̂|² / Σ|x − mean|²;
* how many features a cell has (L0), and how many features are never active;
* how often the network is right where it goes on with x̂, the error left out: beside the plain
  network, and beside the network that goes on with nothing but the dictionary's bias.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from core.ablation.edits import Change
from core.ablation.recorded import Recorded
from core.ablation.replay import SHARD, Tail, Whole
from core.ablation.result import Gain, Share
from core.ablation.strategies import replayed_tail, whole_forward
from core.ablation.subject import Subject
from core.dictionary.cells import Cells
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import gain_interval, mean_interval
from core.foundation.plain import Json
from core.foundation.progress import STOPPED, Hooks, Meter, Stopped, never
from core.models.dictionary import Dictionary
from core.models.hooks import as_maps, find_layer
from core.models.outputs import put_back, taken
from core.runs.run_file import Run


class NoScenes(UnitscopeError):
    """The network knows the scene of none of the photos that it is to be judged by."""


class Measured(NamedTuple):
    """A number with its 95 % interval over photos."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Kept:
    """What a dictionary keeps of some cells.

    Attributes
    ----------
    photos, cells : how many.
    explained : share of the variance. active : features of a cell that are not 0.
    activity : float32 (features,), the share of cells in which each is active.
    """

    photos: int
    cells: int
    explained: Measured
    active: Measured
    activity: Tensor

    @property
    def silent(self) -> int:
        """Features that are active in no cell."""
        return int((self.activity == 0).sum())

    def to_json(self) -> Json:
        """Plain data."""
        return {
            "photos": self.photos,
            "cells": self.cells,
            "explained": list(self.explained),
            "active": list(self.active),
            "silent": self.silent,
        }


def kept_of(dictionary: Dictionary, cells: Cells) -> Kept:
    """What a dictionary keeps of some cells; the mean is that of these cells."""
    photos = len(cells.rows)
    total = np.zeros(photos)
    left, active = np.zeros(photos), np.zeros(photos)
    times = torch.zeros(dictionary.features, dtype=torch.int64)
    mean = sum(
        (part.sum((0, 1), dtype=torch.float64) for _, part in cells.shards()), torch.zeros(())
    )
    mean = mean / len(cells)
    with torch.inference_mode():
        for at, part in cells.shards():
            codes = dictionary.encode(part)
            error = (part - dictionary.decode(codes)).double()
            left[at] = error.square().sum((1, 2)).numpy()
            total[at] = (part.double() - mean).square().sum((1, 2)).numpy()
            active[at] = (codes > 0).sum(2).double().mean(1).numpy()
            times += (codes > 0).sum((0, 1))
    share = left.mean() / total.mean()
    low, high = gain_interval(left[:, None], total)
    few, many = mean_interval(active / dictionary.k)
    return Kept(
        photos,
        len(cells),
        Measured(float(1 - share), float(1 - high[0]), float(1 - low[0])),
        Measured(float(active.mean()), float(few * dictionary.k), float(many * dictionary.k)),
        (times / len(cells)).float(),
    )


@dataclass(frozen=True)
class Through:
    """Accuracy of a network through a dictionary: what its layer gives is replaced by x̂.

    Attributes
    ----------
    plain, through, empty : accuracies of the network itself, through the dictionary, and with
        nothing but the dictionary's bias in place of every cell.
    change : of accuracy, through − plain. same : share of photos that get the plain network's
        answer through the dictionary.
    method : of :data:`core.ablation.check.METHODS`, by which the answers are known.
    """

    plain: Share
    through: Share
    empty: Share
    change: Gain
    same: Share
    method: str

    def to_json(self) -> Json:
        """Plain data."""
        return {
            name: value if isinstance(value, str) else value._asdict()
            for name, value in vars(self).items()
        }


def through(
    subject: Subject, dictionary: Dictionary, rows: np.ndarray, **hooks: Unpack[Hooks]
) -> Through:
    """Accuracy through a dictionary on some rows of ``subject.recorded``, whose layer it is of.

    The three answers to a photo are computed alike: by what follows the layer, from the recorded
    maps, where that agrees with the network (:mod:`core.ablation.strategies`), or else by the
    whole network.

    Raises NoScenes where the network knows the scene of none of these photos.
    """
    recorded = subject.recorded
    rows = rows[recorded.target[rows] >= 0]
    if not len(rows):
        raise NoScenes("the network knows the scene of none of these photos")
    cut = replayed_tail(subject)
    source: Tail | Whole = cut[0] if isinstance(cut, tuple) else whole_forward(subject)[0]
    replacements: list[Callable[[Tensor], Tensor] | None] = [
        None,
        lambda maps: dictionary.decode(dictionary.encode(maps.movedim(1, -1))).movedim(-1, 1),
        lambda maps: dictionary.decoder_bias[:, None, None].expand_as(maps),
    ]
    answers = np.empty((len(replacements), len(rows)), np.int64)
    stop, meter = hooks.get("stop", never), Meter(hooks.get("progress"))
    meter.start("answer", len(rows))
    order, batch = np.argsort(recorded.numbers[rows], kind="stable"), source.batch
    shard = max(SHARD, batch) if batch else SHARD
    for start in range(0, len(rows), shard):
        if stop():
            raise Stopped(STOPPED)
        places = order[start : start + shard]
        loaded = source.load(recorded.numbers[rows[places]])
        for k, replace in enumerate(replacements):
            answers[k, places] = _logits(subject, source, loaded, replace).argmax(1)
        meter.step(len(places))
    right = answers == recorded.target[rows]
    return Through(
        Share.of(right[0]),
        Share.of(right[1]),
        Share.of(right[2]),
        Gain.of(right[0], right[1]),
        Share.of(answers[0] == answers[1]),
        source.name,
    )


def _logits(
    subject: Subject, source: Tail | Whole, loaded: Any, replace: Callable[[Tensor], Tensor] | None
) -> np.ndarray:
    """Logits of loaded images, with what the layer gives replaced."""
    nothing = Change.nothing(subject.recorded.pooled.shape[1])
    if isinstance(source, Tail):
        maps, tokens = loaded
        with torch.inference_mode():
            return source.logits((maps if replace is None else replace(maps), tokens), nothing)
    layer = subject.recorded.layer

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        fresh = taken(output).tensor.clone()
        view = as_maps(fresh, layer, subject.size)
        assert replace is not None
        view.copy_(replace(view))
        return put_back(output, fresh)

    part = find_layer(subject.model.module, layer)
    handle = None if replace is None else part.register_forward_hook(hook)
    try:
        return source.logits(loaded, nothing)
    finally:
        if handle is not None:
            handle.remove()


def opened(run: Run, layer: str) -> Subject | str:
    """A layer with the run's network open, or why its answers cannot be asked."""
    if run.no_answers:
        return run.no_answers
    try:
        return Subject.of(Recorded.of(run, layer))
    except UnitscopeError as err:
        return str(err)
