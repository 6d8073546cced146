"""Logits after an edit by running the network: its tail on recorded maps, or all of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, Protocol, Unpack

import numpy as np
import torch
from torch import Tensor, nn

from core.ablation.check import REPLAYED_TAIL, WHOLE_FORWARD, Check
from core.ablation.edits import Change
from core.ablation.forward import apply_change, forward_edited
from core.ablation.kernels import Predictions, judge
from core.ablation.recorded import Recorded
from core.ablation.result import Estimate
from core.foundation.errors import UnitscopeError
from core.foundation.files import write_whole
from core.foundation.progress import Hooks, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.models.forward import Forward
from core.models.head import agree, first_of
from core.models.hooks import as_maps, tokens_beside
from core.runs.arrays import read_arrays
from core.runs.run_file import derived

SHARD = 64
"""Images that are replayed between two reports."""


class Source(Protocol):
    """Where logits come from when they must be computed by the network.

    name : of :data:`core.ablation.check.METHODS`. batch : size of the run's batches where these
    are run whole, 0 where images are answered one by one.
    """

    name: str
    batch: int

    def load(self, images: np.ndarray) -> Any:
        """What is needed of some images (numbers in the run), read once a shard."""

    def logits(self, loaded: Any, change: Change) -> np.ndarray:
        """float32 (images, classes) under a change of the layer."""


class Tail:
    """The replayed tail of a network, from recorded maps and the class and register tokens."""

    name = REPLAYED_TAIL
    batch = 0

    def __init__(
        self,
        maps: np.ndarray,
        tokens: np.ndarray | None,
        tail: nn.Module,
        layer: str,
        shape: torch.Size,
        seen: tuple[int, int],
        channels_last: bool,
    ):
        self.maps, self.tokens, self.tail, self.layer = maps, tokens, tail, layer
        self.shape, self.seen, self.channels_last = shape, seen, channels_last

    def load(self, images: np.ndarray) -> tuple[Tensor, Tensor | None]:
        def read(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array[images])).float()

        return read(self.maps), None if self.tokens is None else read(self.tokens)

    def output(self, maps: Tensor, tokens: Tensor | None, change: Change) -> Tensor:
        """Changed maps laid out as the layer gives them; tokens unchanged."""
        empty = torch.zeros(len(maps), *self.shape[1:])
        if self.channels_last and empty.ndim == 4:
            empty = empty.contiguous(memory_format=torch.channels_last)
        view = as_maps(empty, self.layer, self.seen)
        view.copy_(maps)
        apply_change(view, change)
        apart = tokens_beside(empty, self.seen)
        if apart is not None and tokens is not None:
            apart.copy_(tokens)
        return empty

    def logits(self, loaded: tuple[Tensor, Tensor | None], change: Change) -> np.ndarray:
        with torch.inference_mode():
            return first_of(self.tail(self.output(*loaded, change))).numpy()


class Whole:
    """The whole network, on photos given by `photos`: numbers of images → uint8 RGB.

    batch : 0, or the size of the run's batches, which are then run whole: image n among those of
        numbers batch·⌊n/batch⌋ …, as when it was recorded. An edit that is the same for all
        images is made in the whole batch; one that differs from image to image, in the images it
        is asked for.
    recorded : of the run; photos of a batch that are not among its images were black in it.
    """

    name = WHOLE_FORWARD

    def __init__(
        self,
        forward: Forward,
        recorded: Recorded,
        photos: Callable[[np.ndarray], np.ndarray],
        batch: int,
    ):
        self.forward, self.layer, self.photos = forward, recorded.layer, photos
        self.batch, self.images = batch, recorded.numbers
        self.planned = recorded.run.image_count.planned

    def _batch_of(self, first: int) -> np.ndarray:
        numbers = np.arange(first, min(first + self.batch, self.planned))
        there = np.isin(numbers, self.images)
        seen = self.photos(numbers[there])
        whole = np.zeros((len(numbers), *seen.shape[1:]), np.uint8)
        whole[there] = seen
        return whole

    def load(self, images: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, Tensor]]:
        """(places in `images`, their places in a batch, the batch's input) of every batch."""
        if not self.batch:
            every = np.arange(len(images))
            return [(every, every, self.forward.inputs(self.photos(images)))]
        loaded = []
        for first in np.unique(images // self.batch) * self.batch:
            places = np.flatnonzero(images // self.batch * self.batch == first)
            batch = self.forward.inputs(self._batch_of(int(first)))
            loaded.append((places, images[places] - first, batch))
        return loaded

    def logits(
        self, loaded: list[tuple[np.ndarray, np.ndarray, Tensor]], change: Change
    ) -> np.ndarray:
        parts = []
        for places, inside, inputs in loaded:
            here = change
            if change.scale.ndim == 2:
                units = change.scale.shape[1]
                here = Change.nothing((len(inputs), units))
                here.scale[inside], here.shift[inside] = change.scale[places], change.shift[places]
            gave = forward_edited(self.forward.module, self.layer, inputs, here).numpy()
            parts.append((places, gave[inside]))
        out = np.empty((sum(len(places) for places, _ in parts), parts[0][1].shape[1]), np.float32)
        for places, gave in parts:
            out[places] = gave
        return out


class Replay:
    """Answers by running the network, shard by shard.

    Unedited logits are replayed once, and kept next to the run.

    Attributes
    ----------
    source : what runs. check : how it was decided; complete once all images were replayed.
    weights : None: there is no linear head, or it is not asked.
    """

    weights: None = None

    def __init__(self, recorded: Recorded, source: Source, check: Check):
        self.recorded, self.source, self.check = recorded, source, check
        self.name = source.name
        self._lock = Lock()
        # Unedited logits; NaN in rows that were not replayed yet.
        self._base: np.ndarray = np.full(recorded.logits.shape, np.nan, np.float32)
        kept = (read_arrays(self.kept) or {}).get("array")
        if kept is not None and (kept.shape, kept.dtype) == (self._base.shape, self._base.dtype):
            self._base = kept
            self._keep_base()

    @property
    def kept(self) -> Path:
        """Where the replayed unedited logits lie, next to the run."""
        facts = [self.recorded.layer, self.name, self.check.photos or "", versions_of("replay")]
        return derived(self.recorded.run, "replayed", facts, "npy")

    def refuses(self, _change: Change) -> str:
        """Why it cannot answer an edit: it can answer all."""
        return ""

    def logits(self, rows: np.ndarray, **hooks: Unpack[Hooks]) -> np.ndarray:
        """Unedited logits float32 (rows, classes), replayed first where they must be."""
        lacking = rows[np.isnan(self._base[rows, 0])]
        if len(lacking):
            for _ in self._replay(lacking, [], **hooks):
                pass
        return np.asarray(self._base[rows])

    def unedited(self, rows: np.ndarray, **hooks: Unpack[Hooks]) -> Predictions:
        """Predictions without any edit."""
        return judge(self.logits(rows, **hooks), self.recorded.target[rows])

    def logits_after(self, change: Change, rows: np.ndarray, **hooks: Unpack[Hooks]) -> np.ndarray:
        """Logits float32 (rows, classes) under a change."""
        out = np.empty((len(rows), self._base.shape[1]), np.float32)
        for places, gave in self._replay(rows, [lambda _places: change], **hooks):
            out[places] = gave[0]
        return out

    def predict(
        self, change: Change, rows: np.ndarray | None, **hooks: Unpack[Hooks]
    ) -> Predictions:
        """Predictions of the rows (all where None) under a change."""
        rows = self.recorded.every if rows is None else rows
        return judge(self.logits_after(change, rows, **hooks), self.recorded.target[rows])

    def sweep(
        self, rows: np.ndarray, orders: np.ndarray, wanted: Sequence[int], **hooks: Unpack[Hooks]
    ) -> Iterator[tuple[int, Predictions]]:
        """(k, predictions of the rows) with each row's first k units disabled. orders : int
        (rows, most), −1 = none. wanted : k, ascending."""
        # Judged shard by shard: logits of all images under every k would not fit.
        judged = [Predictions(*np.empty((2, len(rows)), np.int32)) for _ in wanted]
        units = self.recorded.pooled.shape[1]
        nothing = np.zeros(units, np.float32)

        def off(k: int, places: np.ndarray) -> Change:
            scale = np.ones((len(places), units), np.float32)
            row, column = np.nonzero(orders[places, :k] >= 0)
            scale[row, orders[places[row], column]] = 0.0
            return Change(scale, np.broadcast_to(nothing, scale.shape))

        for places, each in self._replay(rows, [partial(off, k) for k in wanted], **hooks):
            for whole, logits in zip(judged, each, strict=True):
                part = judge(logits, self.recorded.target[rows[places]])
                whole.predicted[places], whole.larger[places] = part
        yield from zip(wanted, judged, strict=True)

    # -- shard by shard ---------------------------------------------------------------------

    def _replay(
        self,
        rows: np.ndarray,
        changes: Sequence[Callable[[np.ndarray], Change]],
        progress: Report | None = None,
        stop: Stop = never,
        seed: int = 0,
    ) -> Iterator[tuple[np.ndarray, list[np.ndarray]]]:
        """(places in `rows`, logits under every change of these places), shard by shard in random
        order, so that what is done at any moment is a fair sample of the whole."""
        nothing = Change.nothing(self.recorded.pooled.shape[1])
        tally = _Tally(len(rows))
        for places in self._shards(rows, seed):
            if stop():
                raise Stopped(tally.stopped())
            here = rows[places]
            # The network is shared by whoever holds this, and hooks change it.
            with self._lock:
                loaded = self.source.load(self.recorded.numbers[here])
                if np.isnan(self._base[here, 0]).any():
                    self._base[here] = self._finite(self.source.logits(loaded, nothing), here)
                gave = [
                    self._finite(self.source.logits(loaded, change(places)), here, " once edited")
                    for change in changes
                ]
            yield places, gave
            target = self.recorded.target[here]
            before = judge(self._base[here], target).predicted
            tally.add(before, judge(gave[-1], target).predicted if gave else before, target)
            if progress:
                progress(tally.estimate())
        self._keep_base()

    def _shards(self, rows: np.ndarray, seed: int) -> Iterator[np.ndarray]:
        """Places in `rows`, in random order: so many at a time, or, where photos of a batch change
        each other's answers, those of one of the run's batches."""
        rng = np.random.default_rng(seed)
        batch = self.source.batch
        if batch:
            of = self.recorded.numbers[rows] // batch
            for number in rng.permutation(np.unique(of)):
                yield np.flatnonzero(of == number)
            return
        order = rng.permutation(len(rows))
        for start in range(0, len(rows), SHARD):
            yield np.sort(order[start : start + SHARD])

    def _finite(self, logits: np.ndarray, rows: np.ndarray, when: str = "") -> np.ndarray:
        """The logits as they are; raises where one is no finite number, naming image and class."""
        bad = np.argwhere(~np.isfinite(logits))
        if len(bad):
            row, column = bad[0]
            raise UnitscopeError(
                f"image {self.recorded.images['id'].iloc[rows[row]]!r}{when}: the network gives "
                f"{logits[row, column]} for class {self.recorded.names[column]!r}, not a finite "
                "number"
            )
        return logits

    def _keep_base(self) -> None:
        """Once all are replayed: compare them with the recorded ones, and keep them."""
        if self.check.recorded is not None or np.isnan(self._base[:, 0]).any():
            return
        own = self.recorded.images["predicted"].to_numpy()
        self.check = replace(
            self.check,
            recorded=agree(self._base, self.recorded.logits),
            flipped=int((self._base.argmax(1) != own).sum()),
        )

        def save(path: Path) -> None:
            with path.open("wb") as f:
                np.save(f, self._base)

        if not self.kept.exists():
            write_whole(self.kept, save)


class _Tally:
    """Who is right before and after, over the images replayed so far of `total`."""

    def __init__(self, total: int):
        self.total, self.began = total, time.monotonic()
        self.done = self.scored = self.right_before = self.right_after = 0
        self.gained = self.lost = 0

    def add(self, before: np.ndarray, after: np.ndarray, target: np.ndarray) -> None:
        """Predictions of some more images; target −1 where the class is unknown."""
        known = target >= 0
        was, now = ((predicted == target)[known] for predicted in (before, after))
        self.done += len(target)
        self.scored += int(known.sum())
        self.right_before += int(was.sum())
        self.right_after += int(now.sum())
        self.gained += int((now & ~was).sum())
        self.lost += int((was & ~now).sum())

    def estimate(self) -> Estimate:
        """How far it is, and the change of accuracy so far."""
        rate = self.done / max(1e-9, time.monotonic() - self.began)
        return Estimate(
            "replay",
            self.done,
            self.total,
            rate,
            (self.total - self.done) / rate,
            scored=self.scored,
            right_before=self.right_before,
            right_after=self.right_after,
            gained=self.gained,
            lost=self.lost,
        )

    def stopped(self) -> str:
        """Why there is no answer."""
        return (
            f"stopped after {self.done} of {self.total} images: change of accuracy so far "
            f"{self.gained - self.lost} of {self.scored}"
        )
