"""A layer before any edit: what its run recorded, and what its network gives now."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from core.ablation.edits import Change, Edit
from core.ablation.forward import copied, forward_edited
from core.ablation.images import class_names, images_of, stored_photos
from core.explain.photo import open_model
from core.foundation.errors import UnitscopeError
from core.models.base import LoadedModel
from core.models.forward import Forward
from core.models.head import PROBES, first_of
from core.models.hooks import as_maps, find_layer
from core.runs.facts import RunSettings
from core.runs.run_file import Run


@dataclass(frozen=True)
class Recorded:
    """What a run recorded of a layer; row r of everything is row r of `images`.

    Attributes
    ----------
    held : the run; None where the arrays are not of one. layer : name.
    images : see :func:`core.ablation.images.images_of`. names : of the classes.
    pooled : float32 (images, units), mean of each map. logits : float32 (images, classes).
    """

    held: Run | None
    layer: str
    images: pd.DataFrame
    names: list[str]
    pooled: np.ndarray
    logits: np.ndarray

    @classmethod
    def of(cls, run: Run, layer: str | None = None) -> Recorded:
        """Raises UnitscopeError for an unknown layer, a run of a network without classes or
        without images, and where a logit or mean is no finite number."""
        name = run.layer_names[run.layer(layer)]
        run.need_answers("what switching units off does")
        images = images_of(run)
        numbers = images["image"].to_numpy()
        if not len(numbers):
            raise UnitscopeError(f"run {run.digest} has no images")
        pooled = np.ascontiguousarray(run.array(f"pooled-{name}")[numbers])
        logits = np.ascontiguousarray(run.array("logits")[numbers])
        bad = np.flatnonzero(~(np.isfinite(logits).all(1) & np.isfinite(pooled).all(1)))
        if len(bad):
            raise UnitscopeError(
                f"run {run.digest} holds logits or means that are not finite numbers, of "
                f"{len(bad)} image{'s' * (len(bad) > 1)} ({images['id'].iloc[bad[0]]!r}); make it "
                "again with --fresh, which leaves such images out"
            )
        return cls(run, name, images, class_names(run), pooled, logits)

    @property
    def run(self) -> Run:
        """The run; raises UnitscopeError where there is none."""
        if self.held is None:
            raise UnitscopeError("this toggler was made of bare arrays, not of a run")
        return self.held

    @cached_property
    def numbers(self) -> np.ndarray:
        """int64 (images,): the images' numbers in the run."""
        return np.asarray(self.images["image"].to_numpy())

    @cached_property
    def target(self) -> np.ndarray:
        """int32 (images,): class of the true scene, −1 where the network does not know it."""
        return np.asarray(self.images["target"].to_numpy(np.int32))

    @cached_property
    def every(self) -> np.ndarray:
        """All rows."""
        return np.arange(len(self.images))


@dataclass(frozen=True)
class Subject:
    """A layer with its network open: what every strategy is checked against.

    On a few stored photos the network ran as it is, and with a random quarter of the layer's
    units disabled by a forward hook.

    Attributes
    ----------
    recorded : of the run. model, forward : its network, opened.
    picks : rows of the photos compared. inputs : the network's input for them.
    raw : the layer's output, as it gives it. maps : float32 (photos, units, height, width).
    off : units disabled. change : that edit.
    plain, hooked : float32 (photos, classes), logits without and with it.
    """

    recorded: Recorded
    model: LoadedModel
    forward: Forward
    picks: np.ndarray
    inputs: Tensor
    raw: Any
    maps: Tensor
    off: np.ndarray
    change: Change
    plain: np.ndarray
    hooked: np.ndarray

    @classmethod
    def of(cls, recorded: Recorded, model: LoadedModel | None = None) -> Subject:
        """Open the run's network (or take `model`) and run it on the photos compared.

        Raises UnitscopeError where the network is no longer the one of the run.
        """
        run, name = recorded.run, recorded.layer
        loaded = model or open_model(run)
        module, forward = loaded.module, Forward(loaded, [name])
        count, units = recorded.pooled.shape
        picks = np.linspace(0, count - 1, min(PROBES, count)).astype(int)
        photos = stored_photos(run, loaded.preprocessing, recorded.numbers[picks])
        inputs = forward.inputs(photos)
        rng = np.random.default_rng(0)
        off = np.sort(rng.choice(units, max(1, units // 4), replace=False))
        change = Change.of(Edit(tuple(off)), units)
        hooked = forward_edited(module, name, inputs, change).numpy()
        raw: list[Any] = []
        handle = find_layer(module, name).register_forward_hook(
            lambda _m, _a, output: raw.append(copied(output))
        )
        try:
            with torch.inference_mode():
                plain = first_of(module(inputs)).numpy()
        finally:
            handle.remove()
        maps = as_maps(raw[0], name, (inputs.shape[2], inputs.shape[3])).float()
        return cls(
            recorded, loaded, forward, picks, inputs, raw[0], maps, off, change, plain, hooked
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        return self.inputs.shape[2], self.inputs.shape[3]

    @property
    def settings(self) -> RunSettings:
        """Settings of the run."""
        return self.recorded.run.settings

    @property
    def mixed(self) -> bool:
        """Was the run recorded in mixed precision?"""
        return self.settings.precision != "float32"
