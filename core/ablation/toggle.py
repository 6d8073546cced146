"""Disabling units, exactly: what the network would say of every image of a run (task T3).

Disabling sets a unit's whole map to 0; more generally an :class:`Edit` multiplies it by a factor
or clamps it to one value. There are three ways to know the logits that follow, and a numerical
check when a :class:`Toggler` is prepared decides which is taken, never a name:

``closed form``     the head is a global average and one linear layer. An edit that changes the
                    mean of unit t by d_t changes the logits by Σ_t d_t·W_t, for all images at
                    once. Equal to the network with the edit in place: the recorded means are
                    those of its own float32 maps. Compared kind by kind (:func:`kind_of`): an
                    edit of a kind that fails is computed by one of the ways below.
``replayed tail``   everything after the layer is run again on the recorded maps. Equal to the
                    network *whose layer is rounded to the recorded type* and then edited: half
                    precision by default, the network itself with ``--map-type float32``. Before
                    and after are both of that network, so their difference is the edit's alone.
``whole forward``   the maps do not decide the logits (a skip connection runs past the layer), or
                    none were kept: the network runs whole,
                    with a hook, on the dataset's photos. Equal to the network. Where the dataset
                    is gone or another one, on the run's stored photos, which are JPEGs: before
                    and after are then both of those. A network whose answers depend on the
                    other photos of a batch runs on the run's own batches, whole.

How far each way's unedited predictions are from the recorded ones is in :attr:`Toggler.check`.
"""

from __future__ import annotations

import inspect
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Unpack

import numba
import numpy as np
import pandas as pd
import torch
from torch import Tensor, fx, nn

from core.datasets import dataset_of
from core.datasets.decode import photo_of
from core.explain.photo import open_model
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.geometry import Preprocessing
from core.foundation.intervals import interval, paired_interval
from core.foundation.progress import Hooks, Progress, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.models.base import LoadedModel
from core.models.forward import Forward
from core.models.head import (
    CLOSE,
    PROBES,
    agree,
    batch_words,
    by_batch,
    first_of,
    linear_head,
)
from core.models.hooks import as_maps, find_layer, tokens_beside
from core.models.outputs import put_back, taken
from core.runs.run_file import Run, derived, read_arrays, write_whole

WAYS = ("closed form", "replayed tail", "whole forward")

SHARD = 64
"""Images that are replayed between two reports."""

REBASE = 64
"""Single changes after which a :class:`Live` set is computed anew, so that rounding of one after
the other never adds up."""


# -- what is changed, and where -------------------------------------------------------------


@dataclass(frozen=True)
class Edit:
    """A change of some units: their maps are multiplied by `factor`, or set to `clamp`.

    The default disables them. ``Edit((3,), clamp=2.0)`` holds unit 3 at 2 everywhere.
    """

    units: tuple[int, ...]
    factor: float = 0.0
    clamp: float | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(int(u) for u in self.units))
        if len(set(self.units)) != len(self.units):
            raise UnitscopeError("a unit is named twice in one edit")
        for name, value in (("factor", self.factor), ("clamp", self.clamp)):
            if value is not None and not np.isfinite(value):
                raise UnitscopeError(f"{name} must be a finite number, not {value}")
        if self.clamp is not None and self.factor != 0.0:
            raise UnitscopeError("a unit is either scaled by a factor or clamped to a value")

    def words(self) -> str:
        """``3 units disabled``, and the like.

        >>> Edit((1, 2)).words(), Edit((1,), 0.5).words(), Edit((1,), clamp=2).words()
        ('2 units disabled', '1 unit multiplied by 0.5', '1 unit clamped to 2')
        """
        count = f"{len(self.units)} unit{'' if len(self.units) == 1 else 's'}"
        if self.clamp is not None:
            return f"{count} clamped to {self.clamp:g}"
        return f"{count} multiplied by {self.factor:g}" if self.factor else f"{count} disabled"


Edits = Edit | Sequence[Edit]


def as_edits(edits: Edits) -> list[Edit]:
    """One edit or several of different units, as a list; raises where a unit is in two."""
    listed = [edits] if isinstance(edits, Edit) else list(edits)
    named = [u for edit in listed for u in edit.units]
    if len(set(named)) != len(named):
        raise UnitscopeError("a unit is changed by two edits")
    return listed


class Change(NamedTuple):
    """Edits as numbers: the map of unit t becomes scale_t·map + shift_t.

    scale, shift : float32 (units,), or (images, units) where images differ.
    """

    scale: np.ndarray
    shift: np.ndarray

    @classmethod
    def of(cls, edits: Edits, units: int) -> Change:
        """Raises where a unit does not exist among `units`."""
        scale, shift = cls.nothing(units)
        for edit in as_edits(edits):
            wrong = [u for u in edit.units if not 0 <= u < units]
            if wrong:
                raise UnitscopeError(
                    f"there is no unit {', '.join(map(str, wrong))}: the layer has units 0 to "
                    f"{units - 1}"
                )
            at = list(edit.units)
            scale[at] = 0.0 if edit.clamp is not None else edit.factor
            shift[at] = edit.clamp or 0.0
        return cls(scale, shift)

    @classmethod
    def nothing(cls, shape: int | tuple[int, int]) -> Change:
        """No change of so many units, or of (images, units)."""
        return cls(np.ones(shape, np.float32), np.zeros(shape, np.float32))

    @property
    def touched(self) -> np.ndarray:
        """Units that are changed at all, ascending."""
        moved = (self.scale != 1) | (self.shift != 0)
        return np.flatnonzero(moved if moved.ndim == 1 else moved.any(0))


def kind_of(scale: float, shift: float) -> tuple[str, float]:
    """(kind of edit, its strength) of a map that becomes scale·map + shift.

    A head that is linear only within bounds (a ReLU or a clip behind the average) passes some
    kinds and fails others, so each is compared with a forward hook for itself.

    >>> kind_of(0, 0), kind_of(0.5, 0), kind_of(3, 0)
    (('disabled', 0.0), ('multiplied by less than 1', 0.0), ('multiplied by more than 1', 3))
    >>> kind_of(-2, 0), kind_of(0, 4), kind_of(0, -5)
    (('multiplied by a negative factor', 2), ('clamped high', 4), ('clamped low', 5))
    """
    if scale == 0:
        if shift == 0:
            return "disabled", 0.0
        return ("clamped high" if shift > 0 else "clamped low"), abs(shift)
    if scale < 0:
        return "multiplied by a negative factor", -scale
    if scale > 1:
        return "multiplied by more than 1", scale
    return ("unedited" if scale == 1 else "multiplied by less than 1"), 0.0


def images_of(run: Run) -> pd.DataFrame:
    """The run's images by number: image, id, split, scene (name or None), target (class of the
    scene; −1 where the network does not know it), predicted (class)."""
    frame = run.sql("""
        SELECT i.image, i.id, i.split, s.name AS scene, coalesce(s.class, -1) AS target,
               i.predicted
        FROM images i LEFT JOIN scenes s USING (scene) ORDER BY i.image
        """)
    frame["scene"] = frame["scene"].astype(object).where(frame["scene"].notna(), None)
    return frame


def class_names(run: Run) -> list[str]:
    """Names of the network's outputs, in the dataset's spelling where a scene has that class."""
    return run.sql("""
        SELECT coalesce(min(s.name), min(k.name)) AS name
        FROM classes k LEFT JOIN scenes s ON s.class = k.class GROUP BY k.class ORDER BY k.class
        """)["name"].tolist()


def choose(
    images: pd.DataFrame,
    scene: str | None = None,
    splits: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
) -> np.ndarray:
    """Rows of :func:`images_of` that are of a scene, of splits, among ids: int64, ascending.

    Raises for an unknown scene, split or id (nearest), and where no image is left.
    """
    keep = np.ones(len(images), bool)
    said = []
    if scene is not None:
        known = images["scene"].dropna().unique().tolist()
        if scene not in known:
            raise unknown("scene", scene, known)
        keep &= (images["scene"] == scene).to_numpy()
        said.append(f"of scene {scene!r}")
    if splits:
        known = images["split"].unique().tolist()
        for split in splits:
            if split not in known:
                raise unknown("split", split, known)
        keep &= images["split"].isin(list(splits)).to_numpy()
        said.append(f"of split {', '.join(splits)}")
    if ids is not None:
        here = set(images["id"])
        for name in ids:
            if name not in here:
                raise unknown("image of this run", name, images["id"])
        keep &= images["id"].isin(list(ids)).to_numpy()
        said.append("among the ids given")
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise UnitscopeError(f"no image is {' and '.join(said) or 'there'}")
    return rows


# -- kernels --------------------------------------------------------------------------------

# Products are summed with fused multiply-adds in a fixed order: the same set gives the same
# bytes on any number of threads. No other liberty is taken with floating point.
_jit = numba.njit(cache=True, nogil=True, error_model="numpy", fastmath={"contract", "nsz"})


@_jit
def _judge(row: np.ndarray, target: int) -> tuple[int, int]:
    """(first place of the largest value, how many values are larger than the target's)."""
    largest = row[0]
    for c in range(row.size):
        largest = max(largest, row[c])
    best = 0
    for c in range(row.size):
        if row[c] == largest:
            best = c
            break
    larger = 0
    if target >= 0:
        own = row[target]
        for c in range(row.size):
            larger += row[c] > own
    return best, larger


@_jit
def _add_and_judge(
    logits: np.ndarray,
    by_unit: np.ndarray,
    at: np.ndarray,
    weights: np.ndarray,
    offset: np.ndarray,
    target: np.ndarray,
    first: int,
    last: int,
    predicted: np.ndarray,
    larger: np.ndarray,
) -> None:
    """argmax and rank of logits + offset + by_unit[at]ᵀ·weights for images first … last − 1.

    logits (images, classes), by_unit (units, images), at (changed,), weights (changed, classes),
    offset (classes,). The sums of four images stay in the first cache while the weights pass by
    four units at a time.
    """
    units, classes = weights.shape
    sums = np.empty((4, classes), np.float32)
    for i in range(first, last, 4):
        n = min(4, last - i)
        for r in range(n):
            for c in range(classes):
                sums[r, c] = logits[i + r, c] + offset[c]
        s0, s1, s2, s3 = sums[0], sums[1], sums[2], sums[3]
        k = 0
        while n == 4 and k + 4 <= units:
            w0, w1, w2, w3 = weights[k], weights[k + 1], weights[k + 2], weights[k + 3]
            xa, xb = by_unit[at[k]], by_unit[at[k + 1]]
            xc, xd = by_unit[at[k + 2]], by_unit[at[k + 3]]
            a0, a1, a2, a3 = xa[i], xa[i + 1], xa[i + 2], xa[i + 3]
            b0, b1, b2, b3 = xb[i], xb[i + 1], xb[i + 2], xb[i + 3]
            c0, c1, c2, c3 = xc[i], xc[i + 1], xc[i + 2], xc[i + 3]
            d0, d1, d2, d3 = xd[i], xd[i + 1], xd[i + 2], xd[i + 3]
            # Two images at a time: eight factors and the weights fit the registers.
            for c in range(classes):
                v0, v1, v2, v3 = w0[c], w1[c], w2[c], w3[c]
                s0[c] = s0[c] + a0 * v0 + b0 * v1 + c0 * v2 + d0 * v3
                s1[c] = s1[c] + a1 * v0 + b1 * v1 + c1 * v2 + d1 * v3
            for c in range(classes):
                v0, v1, v2, v3 = w0[c], w1[c], w2[c], w3[c]
                s2[c] = s2[c] + a2 * v0 + b2 * v1 + c2 * v2 + d2 * v3
                s3[c] = s3[c] + a3 * v0 + b3 * v1 + c3 * v2 + d3 * v3
            k += 4
        while k < units:
            for r in range(n):
                d = by_unit[at[k], i + r]
                row, w = sums[r], weights[k]
                for c in range(classes):
                    row[c] = row[c] + d * w[c]
            k += 1
        for r in range(n):
            predicted[i + r], larger[i + r] = _judge(sums[r], target[i + r])


@_jit
def _follow(
    logits: np.ndarray,
    unit: np.ndarray,
    moved: np.ndarray,
    weights: np.ndarray,
    target: np.ndarray,
    first: int,
    last: int,
    predicted: np.ndarray,
    larger: np.ndarray,
) -> None:
    """Add moved_i·weights[unit_i] to row i of the logits, in place, and judge it; unit −1 adds
    nothing."""
    for i in range(first, last):
        row = logits[i]
        if unit[i] >= 0:
            w, d = weights[unit[i]], moved[i]
            for c in range(row.size):
                row[c] = row[c] + d * w[c]
        predicted[i], larger[i] = _judge(row, target[i])


_pool: list[ThreadPoolExecutor] = []
_pool_lock = threading.Lock()


def in_parts(work: Callable[[int, int], object], count: int, least: int = 256) -> None:
    """``work(first, last)`` over 0 … count in parts of whole fours, on the machine's cores.

    Plain threads: the kernels let go of the interpreter, and unlike numba's own threads they
    may be asked from several sessions at once.
    """
    cores = os.cpu_count() or 1
    parts = min(4 * cores, max(1, count // least))
    if parts == 1 or cores == 1:
        work(0, count)
        return
    with _pool_lock:
        if not _pool:
            _pool.append(ThreadPoolExecutor(cores, thread_name_prefix="toggle"))
    cuts = [round(k * count / parts / 4) * 4 for k in range(parts)] + [count]
    list(_pool[0].map(work, cuts[:-1], cuts[1:]))


class Predictions(NamedTuple):
    """What the network says of some images.

    predicted : int32, the class with the largest logit, the first of equals.
    larger : int32, classes whose logit is larger than the true class's; 0 where there is none.
    """

    predicted: np.ndarray
    larger: np.ndarray


def judge(logits: np.ndarray, target: np.ndarray) -> Predictions:
    """Predictions of float32 logits (images, classes); target −1 where the class is unknown."""
    predicted, larger = np.empty(len(logits), np.int32), np.empty(len(logits), np.int32)
    nothing = np.full(len(logits), -1, np.int32)
    none = np.zeros((1, logits.shape[1]), np.float32)
    in_parts(
        lambda a, b: _follow(
            logits, nothing, nothing.astype(np.float32), none, target, a, b, predicted, larger
        ),
        len(logits),
    )
    return Predictions(predicted, larger)


# -- results --------------------------------------------------------------------------------


class Share(NamedTuple):
    """A share of images with Wilson's 95 % interval."""

    value: float
    low: float
    high: float
    right: int
    n: int

    @classmethod
    def of(cls, right: np.ndarray) -> Share:
        """Of a bool array."""
        n, k = len(right), int(right.sum())
        return cls(k / n if n else float("nan"), *interval(k, n), k, n)


class Gain(NamedTuple):
    """A change of accuracy on the same images, with the paired 95 % interval."""

    value: float
    low: float
    high: float
    gained: int
    lost: int

    @classmethod
    def of(cls, before: np.ndarray, after: np.ndarray) -> Gain:
        """Of two bool arrays over the same images."""
        gained, lost, n = int((after & ~before).sum()), int((before & ~after).sum()), len(before)
        value = (gained - lost) / n if n else float("nan")
        return cls(value, *paired_interval(gained, lost, n), gained, lost)


@dataclass
class Toggled:
    """What an edit does to some images of a run.

    Attributes
    ----------
    edits, layer, way : what was changed, and which of :data:`WAYS` told.
    chosen : which images, in words.
    images : rows of :func:`images_of` these are.
    before, after : predictions of these.
    names : of the classes.
    seconds : that it took.
    """

    edits: list[Edit]
    layer: str
    way: str
    chosen: str
    images: pd.DataFrame
    before: Predictions
    after: Predictions
    names: list[str]
    seconds: float

    @cached_property
    def _target(self) -> np.ndarray:
        return self.images["target"].to_numpy()

    @cached_property
    def _scored(self) -> np.ndarray:
        return self._target >= 0

    def _right(self, told: Predictions, top: int = 1) -> np.ndarray:
        if top == 1:
            return (told.predicted == self._target)[self._scored]
        return (told.larger < top)[self._scored]

    @property
    def accuracy(self) -> tuple[Share, Share]:
        """Before and after, over the images whose scene the network knows."""
        return Share.of(self._right(self.before)), Share.of(self._right(self.after))

    @property
    def top5(self) -> tuple[Share, Share]:
        """Share of images whose true class is among the five largest logits, before and after."""
        return Share.of(self._right(self.before, 5)), Share.of(self._right(self.after, 5))

    @property
    def gain(self) -> Gain:
        """Accuracy after − before, with the paired interval and the images gained and lost."""
        return Gain.of(self._right(self.before), self._right(self.after))

    @property
    def changed(self) -> int:
        """Images whose prediction is another one now, right or wrong."""
        return int((self.before.predicted != self.after.predicted).sum())

    @cached_property
    def scenes(self) -> pd.DataFrame:
        """By true scene: scene, images, right_before, right_after, accuracy_before,
        accuracy_after, shift, low, high (paired 95 %), gained, lost; largest losses first."""
        right = [self._right(self.before), self._right(self.after)]
        frame = pd.DataFrame(
            {
                "scene": self.images["scene"][self._scored].to_numpy(),
                "right_before": right[0],
                "right_after": right[1],
                "gained": right[1] & ~right[0],
                "lost": right[0] & ~right[1],
            }
        )
        table = frame.groupby("scene", sort=True).sum()
        table.insert(0, "images", frame.groupby("scene", sort=True).size())
        for side in ("before", "after"):
            table[f"accuracy_{side}"] = table[f"right_{side}"] / table["images"]
        table["shift"] = table["accuracy_after"] - table["accuracy_before"]
        bounds = [
            paired_interval(g, lost, n)
            for g, lost, n in zip(table["gained"], table["lost"], table["images"], strict=True)
        ]
        table["low"], table["high"] = [b[0] for b in bounds], [b[1] for b in bounds]
        order = [
            "images",
            "right_before",
            "right_after",
            "accuracy_before",
            "accuracy_after",
            "shift",
            "low",
            "high",
            "gained",
            "lost",
        ]
        return table[order].reset_index().sort_values(["shift", "scene"], ignore_index=True)

    def _listed(self, keep: np.ndarray) -> pd.DataFrame:
        rows = np.flatnonzero(self._scored)[keep]
        part = self.images.iloc[rows]
        return pd.DataFrame(
            {
                "image": part["image"].to_numpy(),
                "id": part["id"].to_numpy(),
                "split": part["split"].to_numpy(),
                "scene": part["scene"].to_numpy(),
                "before": [self.names[k] for k in self.before.predicted[rows]],
                "after": [self.names[k] for k in self.after.predicted[rows]],
            }
        )

    @cached_property
    def gained(self) -> pd.DataFrame:
        """Images that are right now and were not: image, id, split, scene, before, after."""
        return self._listed(self._right(self.after) & ~self._right(self.before))

    @cached_property
    def lost(self) -> pd.DataFrame:
        """Images that were right and are not now: image, id, split, scene, before, after."""
        return self._listed(self._right(self.before) & ~self._right(self.after))

    @cached_property
    def confusion(self) -> pd.DataFrame:
        """Cells of the confusion matrix that change: scene, predicted, before, after, change;
        largest changes first."""
        scene = self.images["scene"].fillna("unknown").to_numpy()
        sides = []
        for side, told in (("before", self.before), ("after", self.after)):
            frame = pd.DataFrame({"scene": scene, "class": told.predicted})
            sides.append(frame.groupby(["scene", "class"]).size().rename(side))
        table = pd.concat(sides, axis=1).fillna(0).astype(int).reset_index()
        table["change"] = table["after"] - table["before"]
        table = table[table["change"] != 0]
        table.insert(1, "predicted", [self.names[k] for k in table["class"]])
        order = (-table["change"].abs()).argsort(kind="stable")
        return table.drop(columns="class").iloc[order].reset_index(drop=True)

    def to_json(self, listed: int = 50) -> dict[str, Any]:
        """Plain data; of images and cells the first `listed`."""
        before, after = self.accuracy
        top = self.top5
        return {
            "layer": self.layer,
            "way": self.way,
            "images": self.chosen,
            "edits": [
                {"units": list(e.units), "factor": e.factor, "clamp": e.clamp} for e in self.edits
            ],
            "accuracy_before": before._asdict(),
            "accuracy_after": after._asdict(),
            "gain": self.gain._asdict(),
            "changed": self.changed,
            "top5_before": top[0]._asdict(),
            "top5_after": top[1]._asdict(),
            "scenes": self.scenes.to_dict("records"),
            "gained": self.gained.head(listed).to_dict("records"),
            "lost": self.lost.head(listed).to_dict("records"),
            "confusion": self.confusion.head(listed).to_dict("records"),
            "seconds": round(self.seconds, 4),
        }


@dataclass(frozen=True, kw_only=True)
class Estimate(Progress):
    """A running estimate while images are replayed in random order.

    right_before, right_after, gained, lost : of the `scored` images done so far.
    """

    scored: int
    right_before: int
    right_after: int
    gained: int
    lost: int

    @property
    def gain(self) -> Gain:
        """The change of accuracy so far, with the paired 95 % interval."""
        value = (self.gained - self.lost) / self.scored if self.scored else float("nan")
        bounds = paired_interval(self.gained, self.lost, self.scored)
        return Gain(value, *bounds, self.gained, self.lost)

    def __str__(self) -> str:
        told = self.gain
        return (
            f"{super().__str__()}; accuracy {self.right_after}/{self.scored}, "
            f"change {told.value:+.2%} [{told.low:+.2%}, {told.high:+.2%}]"
        )


# -- the three ways -------------------------------------------------------------------------


class _Source(Protocol):
    """Where logits come from when they must be computed by the network."""

    def load(self, images: np.ndarray) -> Any:
        """What is needed of some images (numbers in the run), read once a shard."""

    def logits(self, loaded: Any, change: Change) -> np.ndarray:
        """float32 (images, classes) under a change of the layer."""


def _apply(maps: Tensor, change: Change) -> None:
    """scale·maps + shift, in place; maps (images, units, height, width)."""

    def wide(values: np.ndarray) -> Tensor:
        table = torch.from_numpy(np.atleast_2d(values).astype(np.float32))
        return table[:, :, None, None].to(maps.dtype)

    at = change.touched
    if len(at) == maps.shape[1]:
        maps.mul_(wide(change.scale)).add_(wide(change.shift))
    elif len(at):
        # A unit scaled by 0 becomes exactly 0 wherever its map is finite, as it always is here.
        part = maps[:, at] * wide(change.scale[..., at]) + wide(change.shift[..., at])
        maps[:, at] = part


def _copied(output: Any) -> Any:
    """A layer's output with its tensor of maps copied, so that it can be written to."""
    return put_back(output, taken(output).tensor.clone())


def forward_edited(module: nn.Module, layer: str, inputs: Tensor, change: Change) -> Tensor:
    """Logits float32 (images, classes) of the whole network with a layer's maps changed by a
    forward hook. The class and register tokens of token models are left alone."""
    shape = (inputs.shape[2], inputs.shape[3])

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        fresh = _copied(output)
        _apply(as_maps(fresh, layer, shape), change)
        return fresh

    handle = find_layer(module, layer).register_forward_hook(hook)
    try:
        with torch.inference_mode():
            return first_of(module(inputs))
    finally:
        handle.remove()


def tail_of(module: nn.Module, layer: str) -> fx.GraphModule | None:
    """What a network does after a layer, as a module of that layer's output.

    The network is traced symbolically; what the output needs is copied, up to the layer.
    None where the network cannot be traced, or where its output depends on the input by
    another way than through the layer.
    """

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            # Only what contains the layer is looked into; all else is called as it is, so that
            # it need not be traceable.
            return not layer.startswith(f"{module_qualified_name}.")

    # Options of the network's own forward stay at their defaults: they are no input. The first
    # is the photo, whether it has a default or not.
    options = {
        name: option.default
        for name, option in list(inspect.signature(module.forward).parameters.items())[1:]
        if option.default is not option.empty
    }
    try:
        graph = Tracer().trace(module, options)
    except Exception:  # whatever a user's own forward does with a symbolic value
        return None
    at = [n for n in graph.nodes if n.op == "call_module" and n.target == layer]
    if len(at) != 1:
        return None
    output = next(n for n in graph.nodes if n.op == "output")
    needed, waiting = {at[0]}, [output]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    if any(n.op == "placeholder" for n in needed):
        return None
    fresh = fx.Graph()
    copies = {at[0]: fresh.placeholder("maps")}
    for node in graph.nodes:
        if node in needed and node is not at[0]:
            copies[node] = fresh.node_copy(node, lambda n: copies[n])
    # Its parts are the network's own, which stay in the mode they are in.
    return fx.GraphModule(module, fresh)


class _Tail:
    """The replayed tail of a network, from recorded maps and the tokens beside them."""

    def __init__(
        self,
        maps: np.ndarray,
        beside: np.ndarray | None,
        tail: nn.Module,
        layer: str,
        shape: torch.Size,
        seen: tuple[int, int],
        channels_last: bool,
    ):
        self.maps, self.beside, self.tail, self.layer = maps, beside, tail, layer
        self.shape, self.seen, self.channels_last = shape, seen, channels_last

    def load(self, images: np.ndarray) -> tuple[Tensor, Tensor | None]:
        def read(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array[images])).float()

        return read(self.maps), None if self.beside is None else read(self.beside)

    def output(self, maps: Tensor, beside: Tensor | None, change: Change) -> Tensor:
        """Changed maps laid out as the layer gives them; tokens beside them unchanged."""
        empty = torch.zeros(len(maps), *self.shape[1:])
        if self.channels_last and empty.ndim == 4:
            empty = empty.contiguous(memory_format=torch.channels_last)
        view = as_maps(empty, self.layer, self.seen)
        view.copy_(maps)
        _apply(view, change)
        apart = tokens_beside(empty, self.seen)
        if apart is not None and beside is not None:
            apart.copy_(beside)
        return empty

    def logits(self, loaded: tuple[Tensor, Tensor | None], change: Change) -> np.ndarray:
        with torch.inference_mode():
            return first_of(self.tail(self.output(*loaded, change))).numpy()


class _Whole:
    """The whole network, on photos given by `photos`: numbers of images → uint8 RGB.

    batch : 0, or the size of the run's batches, which are then run whole: image n among those of
        numbers batch·⌊n/batch⌋ …, as when it was recorded. An edit that is the same for all
        images is made in the whole batch; one that differs from image to image, in the images it
        is asked for.
    images : numbers of all images of the run; the others of a batch were black in it.
    """

    def __init__(
        self,
        forward: Forward,
        layer: str,
        photos: Callable[[np.ndarray], np.ndarray],
        batch: int,
        images: np.ndarray,
        planned: int,
    ):
        self.forward, self.layer, self.photos = forward, layer, photos
        self.batch, self.images, self.planned = batch, images, planned

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


def seen_size(way: Preprocessing, width: int, height: int) -> tuple[int, int]:
    """(width, height) of the network's input for a stored photo of the given size, which shows
    the part that the network saw, at a scale for people.

    >>> seen_size(Preprocessing(resize=144, center_crop=128), 224, 224)
    (128, 128)
    >>> seen_size(Preprocessing(resize=100, center_crop=None), 300, 224)
    (133, 100)
    """
    if way.center_crop is not None:
        side = way.center_crop
        return (side, side) if isinstance(side, int) else side
    if isinstance(way.resize, int):
        short = min(width, height)
        return int(width * way.resize / short), int(height * way.resize / short)
    if way.resize is None and way.crop is not None:
        return way.crop[2] - way.crop[0], way.crop[3] - way.crop[1]
    return way.resize or (width, height)


def stored_photos(run: Run, way: Preprocessing, images: np.ndarray) -> np.ndarray:
    """uint8 (images, height, width, 3): the run's stored photos at the network's own size.

    They are JPEGs, and those of small inputs were stored larger: close to what the network saw,
    not equal to it.
    """
    photos = []
    for image in images:
        photo = photo_of(run.photo(int(image)), f"photo {image} of run {run.digest}")
        size = seen_size(way, *photo.size)
        photos.append(np.asarray(photo if photo.size == size else photo.resize(size)))
    return np.stack(photos)


def dataset_photos(run: Run, way: Preprocessing) -> Callable[[np.ndarray], np.ndarray]:
    """Reads what the network saw from the run's dataset; raises where that cannot be opened."""
    dataset = dataset_of(run)
    place = {name: k for k, name in enumerate(dataset.ids)}
    ids = run.sql("SELECT image, id FROM images").set_index("image")["id"]

    def read(images: np.ndarray) -> np.ndarray:
        return np.stack([np.asarray(way.view(dataset.photo(place[ids[int(k)]]))) for k in images])

    return read


# -- the toggler ----------------------------------------------------------------------------


class Toggler:
    """One layer of a run made ready, so that any set of units can be asked for.

    Make it with :func:`prepare`.

    Attributes
    ----------
    layer, way : the layer's name, and which of :data:`WAYS` tells.
    names : of the classes.
    images : see :func:`images_of`; row r of everything here is its row r.
    target : int32 (images,), class of the true scene, −1 where the network does not know it.
    pooled : float32 (images, units), mean of each map.
    weights : float32 (units, classes) of the linear head; None except in closed form.
    check : how the way was decided: ``agreement`` (largest difference between it and a forward
        hook that changes the layer, on a few stored photos, as a share of the largest logit),
        ``recorded`` (the same between its unedited logits and the recorded ones, on all images;
        in closed form from the start, otherwise once all were replayed), ``flipped`` (images
        whose unedited prediction is not the recorded one), ``why`` (in words), and where there
        is a linear head ``probes`` (kind of edit → the agreement found for it).
    """

    def __init__(
        self,
        pooled: np.ndarray,
        base: np.ndarray,
        images: pd.DataFrame,
        names: list[str],
        *,
        weights: np.ndarray | None = None,
        source: _Source | None = None,
        layer: str = "",
        way: str = WAYS[0],
        check: dict[str, Any] | None = None,
        run: Run | None = None,
        proof: _Proof | None = None,
    ):
        self._proof = proof
        self.pooled, self.weights, self.layer, self.way = pooled, weights, layer, way
        self.images, self.names, self._run = images, names, run
        self.check: dict[str, Any] = check or {}
        self.target = images["target"].to_numpy(np.int32)
        self.units = pooled.shape[1]
        self._source, self._lock = source, threading.Lock()
        self._slower: Toggler | None = None
        # Unedited logits; NaN in rows that were not replayed yet.
        self._base = base
        if weights is not None:
            self._by_unit = np.ascontiguousarray(pooled.T)
            self._recorded = judge(base, self.target)

    @property
    def run(self) -> Run:
        """The run that this is a layer of."""
        if self._run is None:
            raise UnitscopeError("this toggler was made of bare arrays, not of a run")
        return self._run

    # -- unedited ---------------------------------------------------------------------------

    def _kept(self) -> Path:
        """Where the replayed unedited logits lie, beside the run."""
        photos = self.check.get("photos", "")
        facts = [self.layer, self.way, photos, versions_of("replay")]
        return derived(self.run, "replayed", facts, "npy")

    def logits(self, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]) -> np.ndarray:
        """Unedited logits float32 (rows, classes), replayed first where they must be."""
        rows = self.every if rows is None else rows
        if self._source is not None:
            lacking = rows[np.isnan(self._base[rows, 0])]
            if len(lacking):
                for _ in self._replay(lacking, [], **hooks):
                    pass
        return self._base[rows]

    def unedited(self, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]) -> Predictions:
        """Predictions without any edit, of :attr:`way`."""
        rows = self.every if rows is None else rows
        if self._source is None:
            return Predictions(self._recorded.predicted[rows], self._recorded.larger[rows])
        return judge(self.logits(rows, **hooks), self.target[rows])

    @cached_property
    def every(self) -> np.ndarray:
        """All rows."""
        return np.arange(len(self.images))

    # -- edited -----------------------------------------------------------------------------

    def answering(self, edits: Edits) -> Toggler:
        """What tells the effect of these edits: this toggler, or, where its closed form fails for
        edits of their kind, one of the same layer that runs the network.

        Raises UnitscopeError for a unit that does not exist.
        """
        if self._proof is None:
            return self
        change = Change.of(edits, self.units)
        pairs = sorted(set(zip(change.scale.tolist(), change.shift.tolist(), strict=True)))
        failed = next((pair for pair in pairs if not self._proof.holds(*pair)), None)
        if failed is None:
            return self
        if self._slower is None:
            self._slower = prepare(
                self.run,
                self.layer,
                closed=f"the closed form fails for {self._proof.told(*failed)}",
            )
        return self._slower

    def predict(
        self, edits: Edits, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]
    ) -> Predictions:
        """What the network says of some rows (all where None) under edits.

        In closed form milliseconds; otherwise the network's tail is run, with ``progress`` (called
        with an :class:`Estimate`) and ``stop`` (asked; :class:`Stopped` is raised) once a shard.
        Raises UnitscopeError for a unit that does not exist.
        """
        teller = self.answering(edits)
        if teller is not self:
            return teller.predict(edits, rows, **hooks)
        change = Change.of(edits, self.units)
        if self.weights is None:
            rows = self.every if rows is None else rows
            return judge(self._replayed(rows, change, **hooks), self.target[rows])
        at = change.touched
        # scale·x + shift less x, as (scale − 1)·x·W and one offset for all images.
        weights = (change.scale[at] - 1)[:, None] * self.weights[at]
        offset = change.shift[at] @ self.weights[at]
        by_unit = self._by_unit
        if rows is not None:
            by_unit, at = by_unit[np.ix_(at, rows)], np.arange(len(at))
        base = self._base if rows is None else self._base[rows]
        target = self.target if rows is None else self.target[rows]
        predicted, larger = np.empty(len(base), np.int32), np.empty(len(base), np.int32)
        in_parts(
            lambda a, b: _add_and_judge(
                base, by_unit, at, weights, offset, target, a, b, predicted, larger
            ),
            len(base),
        )
        return Predictions(predicted, larger)

    def logits_after(
        self, edits: Edits, rows: np.ndarray | None = None, **hooks: Unpack[Hooks]
    ) -> np.ndarray:
        """Logits float32 (rows, classes) under edits."""
        teller = self.answering(edits)
        if teller is not self:
            return teller.logits_after(edits, rows, **hooks)
        change = Change.of(edits, self.units)
        if self.weights is None:
            return self._replayed(self.every if rows is None else rows, change, **hooks)
        rows = self.every if rows is None else rows
        at = change.touched
        moved = self.pooled[np.ix_(rows, at)] * (change.scale[at] - 1) + change.shift[at]
        return self._base[rows] + moved @ self.weights[at]

    def toggle(
        self,
        edits: Edits,
        scene: str | None = None,
        splits: Sequence[str] | None = None,
        ids: Sequence[str] | None = None,
        rows: np.ndarray | None = None,
        **hooks: Unpack[Hooks],
    ) -> Toggled:
        """What edits do to all images, or to those of a scene, of splits, among ids or in rows.

        Raises UnitscopeError for unknown units, scenes, splits, ids, and where no image is left.
        """
        began = time.perf_counter()
        teller = self.answering(edits)
        if teller is not self:
            return teller.toggle(edits, scene, splits, ids, rows, **hooks)
        whole = scene is None and not splits and ids is None and rows is None
        if rows is not None and not len(rows):
            raise UnitscopeError("no image was chosen")
        if rows is None and not whole:
            rows = choose(self.images, scene, splits, ids)
        after = self.predict(edits, rows, **hooks)
        before = self.unedited(rows, **hooks)
        parts = [f"scene {scene}"] if scene else []
        parts += [f"split {', '.join(splits)}"] if splits else []
        parts += ["chosen images"] if ids is not None or (rows is not None and not parts) else []
        return Toggled(
            as_edits(edits),
            self.layer,
            self.way,
            ", ".join(parts) or "all images",
            self.images if rows is None else self.images.iloc[rows].reset_index(drop=True),
            before,
            after,
            self.names,
            time.perf_counter() - began,
        )

    def sweep(
        self,
        rows: np.ndarray,
        orders: np.ndarray,
        at: Sequence[int] | None = None,
        **hooks: Unpack[Hooks],
    ) -> Iterator[tuple[int, Predictions]]:
        """(k, predictions of the rows) with each row's first k units disabled, for k in `at`.

        orders : int (rows, most), each row's own units, the first to go first; −1 = none. One
        row of orders serves all. at : values of k, ascending; 1 … most where None.
        """
        orders = np.broadcast_to(orders, (len(rows), orders.shape[1]))
        wanted = list(range(1, orders.shape[1] + 1)) if at is None else sorted(at)
        if wanted and not 0 <= wanted[0] <= wanted[-1] <= orders.shape[1]:
            raise UnitscopeError(f"k runs from 0 to {orders.shape[1]}")
        if self.weights is None:
            # Judged shard by shard: logits of all images under every k would not fit.
            told = [Predictions(*np.empty((2, len(rows)), np.int32)) for _ in wanted]
            nothing = np.zeros(self.units, np.float32)

            def off(k: int, places: np.ndarray) -> Change:
                scale = np.ones((len(places), self.units), np.float32)
                row, column = np.nonzero(orders[places, :k] >= 0)
                scale[row, orders[places[row], column]] = 0.0
                return Change(scale, np.broadcast_to(nothing, scale.shape))

            for places, each in self._replay(rows, [partial(off, k) for k in wanted], **hooks):
                for whole, logits in zip(told, each, strict=True):
                    part = judge(logits, self.target[rows[places]])
                    whole.predicted[places], whole.larger[places] = part
            yield from zip(wanted, told, strict=True)
            return
        logits, target = self._base[rows], self.target[rows]
        predicted, larger = np.empty(len(rows), np.int32), np.empty(len(rows), np.int32)
        weights = self.weights
        if 0 in wanted:
            yield 0, self.unedited(rows)
        for k in range(1, (wanted[-1] if wanted else 0) + 1):
            unit = np.ascontiguousarray(orders[:, k - 1], np.int32)
            moved = -self.pooled[rows, np.maximum(unit, 0)]
            in_parts(
                lambda a, b, u=unit, m=moved: _follow(  # type: ignore[misc]
                    logits, u, m, weights, target, a, b, predicted, larger
                ),
                len(rows),
            )
            if k in wanted:
                yield k, Predictions(predicted.copy(), larger.copy())

    def live(self, edits: Edits = ()) -> Live:
        """A set of edits that is changed one unit at a time (closed form only)."""
        if self.weights is None:
            raise UnitscopeError(
                f"single changes are followed in closed form only; layer {self.layer!r} needs a "
                f"{self.way}: {self.check['why']}"
            )
        return Live(self, edits)

    # -- replay -----------------------------------------------------------------------------

    def _replayed(self, rows: np.ndarray, change: Change, **hooks: Unpack[Hooks]) -> np.ndarray:
        """Logits of the rows under one change."""
        out = np.empty((len(rows), self._base.shape[1]), np.float32)
        for places, (told,) in self._replay(rows, [lambda _places: change], **hooks):
            out[places] = told
        return out

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
        assert self._source is not None
        nothing = Change.nothing(self.units)
        began = time.monotonic()
        done = scored = right_before = right_after = gained = lost = 0
        for places in self._shards(rows, seed):
            if stop():
                raise Stopped(
                    f"stopped after {done} of {len(rows)} images: change of accuracy so far "
                    f"{gained - lost} of {scored}"
                )
            here = rows[places]
            # The network is shared by whoever holds this toggler, and hooks change it.
            with self._lock:
                loaded = self._source.load(self.images["image"].to_numpy()[here])
                if np.isnan(self._base[here, 0]).any():
                    self._base[here] = self._finite(self._source.logits(loaded, nothing), here)
                told = [
                    self._finite(self._source.logits(loaded, change(places)), here, " once edited")
                    for change in changes
                ]
            yield places, told
            done += len(places)
            known = self.target[here] >= 0
            before = judge(self._base[here], self.target[here]).predicted
            last = judge(told[-1], self.target[here]).predicted if told else before
            was, now = ((p == self.target[here])[known] for p in (before, last))
            scored += int(known.sum())
            right_before += int(was.sum())
            right_after += int(now.sum())
            gained += int((now & ~was).sum())
            lost += int((was & ~now).sum())
            if progress:
                rate = done / max(1e-9, time.monotonic() - began)
                progress(
                    Estimate(
                        "replay",
                        done,
                        len(rows),
                        rate,
                        (len(rows) - done) / rate,
                        scored=scored,
                        right_before=right_before,
                        right_after=right_after,
                        gained=gained,
                        lost=lost,
                    )
                )
        self._keep_base()

    def _shards(self, rows: np.ndarray, seed: int) -> Iterator[np.ndarray]:
        """Places in `rows`, in random order: so many at a time, or, where photos of a batch change
        each other's answers, those of one of the run's batches."""
        rng = np.random.default_rng(seed)
        batch = getattr(self._source, "batch", 0)
        if batch:
            of = self.images["image"].to_numpy()[rows] // batch
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
                f"image {self.images['id'].iloc[rows[row]]!r}{when}: the network gives "
                f"{logits[row, column]} for class {self.names[column]!r}, not a finite number"
            )
        return logits

    def _keep_base(self) -> None:
        """Once all are replayed: say how far they are from the recorded ones, keep them."""
        if "recorded" in self.check or np.isnan(self._base[:, 0]).any():
            return
        recorded = np.asarray(self.run.array("logits"))[self.images["image"].to_numpy()]
        self.check["recorded"] = agree(self._base, recorded)
        own = self.images["predicted"].to_numpy()
        self.check["flipped"] = int((self._base.argmax(1) != own).sum())

        def save(path: Path) -> None:
            with path.open("wb") as f:
                np.save(f, self._base)

        if not self._kept().exists():
            write_whole(self._kept(), save)


class Live:
    """A set of edited units that changes one unit at a time: one rank-one update a change.

    Attributes
    ----------
    scale, shift : float32 (units,), the edits now in place.
    told : predictions under them, over all images of the toggler.
    """

    def __init__(self, toggler: Toggler, edits: Edits = ()):
        self._toggler = toggler
        self._check(edits)
        self.scale, self.shift = Change.of(edits, toggler.units)
        self._changes = 0
        self._rebase()

    def _check(self, edits: Edits) -> None:
        teller = self._toggler.answering(edits)
        if teller is not self._toggler:
            raise UnitscopeError(
                f"single changes are followed in closed form only: {teller.check['why']}"
            )

    def _rebase(self) -> None:
        way, change = self._toggler, Change(self.scale, self.shift)
        at = change.touched
        moved = way.pooled[:, at] * (change.scale[at] - 1) + change.shift[at]
        assert way.weights is not None
        self._logits = way._base + moved @ way.weights[at]
        self.told = judge(self._logits, way.target)

    def change(self, unit: int, factor: float = 1.0, clamp: float | None = None) -> Predictions:
        """Put one unit at a factor (0 disables it, 1 gives it back) or clamp it; predictions."""
        way = self._toggler
        edit = Edit((unit,), 0.0 if clamp is not None else factor, clamp)
        self._check(edit)
        fresh = Change.of(edit, way.units)
        scale, shift = fresh.scale[unit], fresh.shift[unit]
        by, on = scale - self.scale[unit], shift - self.shift[unit]
        self.scale[unit], self.shift[unit] = scale, shift
        self._changes += 1
        if self._changes % REBASE == 0:
            self._rebase()
            return self.told
        moved = way._by_unit[unit] * by + on
        units = np.full(len(moved), unit, np.int32)
        predicted, larger = np.empty(len(moved), np.int32), np.empty(len(moved), np.int32)
        logits, target = self._logits, way.target
        weights = way.weights
        assert weights is not None
        in_parts(
            lambda a, b: _follow(logits, units, moved, weights, target, a, b, predicted, larger),
            len(moved),
        )
        self.told = Predictions(predicted, larger)
        return self.told


class _Proof:
    """The closed form of a layer against a forward hook, one kind of edit after the other.

    On a few photos a random quarter of the units is edited. ``probes`` has the agreement found for
    each kind, ``reach`` the strength up to which it passed.

    Parameters
    ----------
    module, inputs : the network and the photos' input. means : (photos, units) of its maps.
    strongest : the largest absolute activation on these photos; clamps are tried at ± it.
    """

    def __init__(
        self,
        run: Run,
        layer: str,
        module: nn.Module,
        inputs: Tensor,
        means: np.ndarray,
        weights: np.ndarray,
        bias: np.ndarray,
        off: np.ndarray,
        strongest: float,
    ):
        self.run, self.layer, self.inputs, self.means = run, layer, inputs, means
        self.weights, self.bias, self.off = weights, bias, off
        self.probes: dict[str, float] = {}
        self.reach: dict[str, float] = {}
        self._beyond: dict[tuple[float, float], float] = {}
        for scale, shift in (
            (1.0, 0.0),
            (0.0, 0.0),
            (0.5, 0.0),
            (2.0, 0.0),
            (-1.0, 0.0),
            (0.0, strongest),
            (0.0, -strongest),
        ):
            kind, strength = kind_of(scale, shift)
            self.probes[kind] = self._agreement(module, scale, shift)
            if self.probes[kind] <= CLOSE:
                self.reach[kind] = strength

    def _agreement(self, module: nn.Module, scale: float, shift: float) -> float:
        change = Change.nothing(self.means.shape[1])
        change.scale[self.off], change.shift[self.off] = scale, shift
        hooked = forward_edited(module, self.layer, self.inputs, change).numpy()
        told = (self.means * change.scale + change.shift) @ self.weights + self.bias
        return agree(told, hooked)

    def holds(self, scale: float, shift: float) -> bool:
        """Does the closed form answer this edit? One that is stronger than its kind was tried at
        is tried now, on the network opened again."""
        kind, strength = kind_of(scale, shift)
        if kind not in self.reach:
            return False
        if strength <= self.reach[kind]:
            return True
        if (scale, shift) not in self._beyond:
            module = open_model(self.run).module
            self._beyond[scale, shift] = self._agreement(module, scale, shift)
            if self._beyond[scale, shift] <= CLOSE:
                self.reach[kind] = strength
        return self._beyond[scale, shift] <= CLOSE

    def told(self, scale: float, shift: float) -> str:
        """An edit that failed, and by how much."""
        kind, strength = kind_of(scale, shift)
        found = self._beyond.get((scale, shift), self.probes[kind])
        words = kind if kind not in self.reach else f"{kind} ({shift or scale:g})"
        return f"units {words}: it differs from a forward hook by {found:.1e} of the largest logit"


NO_HEAD = "the head is not an average and one linear layer"


def _closed_form(
    run: Run,
    name: str,
    module: nn.Module,
    inputs: Tensor,
    maps: Tensor,
    off: np.ndarray,
    pooled: np.ndarray,
    recorded: np.ndarray,
    images: pd.DataFrame,
) -> Toggler | tuple[str, dict[str, float]]:
    """The layer in closed form, or why that is refused and what the probes gave.

    inputs, maps : of the photos compared, and the layer's maps of them. off : units edited there.
    pooled, recorded : the run's means and logits of all `images`.
    """
    head = linear_head(module, name, inputs)
    if head is None:
        return NO_HEAD, {}
    _, weights, bias = head
    proof = _Proof(
        run,
        name,
        module,
        inputs,
        maps.mean((2, 3)).numpy(),
        weights,
        bias,
        off,
        max(1.0, float(maps.abs().max())),
    )
    probes, head_is = proof.probes, "one linear layer reads the means of its maps"
    for kind in ("unedited", "disabled"):
        if kind not in proof.reach:
            return (
                f"{head_is}, but with units {kind} it differs from a forward hook by "
                f"{probes[kind]:.1e}"
            ), probes
    base = pooled @ weights + bias
    gap = agree(base, recorded)
    # Recorded in bfloat16, a sum of products is off by a few of its units in the last place.
    mixed = run.info["settings"]["precision"] != "float32"
    if gap > (4 * torch.finfo(torch.bfloat16).eps if mixed else 10 * CLOSE):
        worst = int(np.abs(base - recorded).max(1).argmax())
        return (
            f"{head_is} on the photos compared, but logits from the recorded means differ from the "
            f"recorded logits by up to {gap:.1e} of the largest "
            f"(image {images['id'].iloc[worst]!r})"
        ), probes
    why = "the means of its maps go through one linear layer to the output"
    if gap <= 10 * CLOSE:
        base = recorded
    else:
        why += (
            f"; recorded logits, in mixed precision, differ from it by up to {gap:.1e} of the "
            "largest, so unedited logits are computed too"
        )
    failed = [f"units {kind} (by {probes[kind]:.1e})" for kind in probes if kind not in proof.reach]
    if failed:
        why += f"; this fails for {', '.join(failed)}: such edits run the network"
    check = {
        "agreement": max(probes[kind] for kind in proof.reach),
        "recorded": gap,
        "why": why,
        "probes": probes,
        "flipped": int((base.argmax(1) != images["predicted"].to_numpy()).sum()),
    }
    return Toggler(
        pooled,
        base,
        images,
        class_names(run),
        weights=weights,
        layer=name,
        check=check,
        run=run,
        proof=proof,
    )


def prepare(
    run: Run, layer: str | None = None, model: LoadedModel | None = None, closed: str = ""
) -> Toggler:
    """Make a layer of a run ready for toggling: find the way that is exact, by a check.

    On a few stored photos, random units are edited by a forward hook; a way is taken only if it
    gives the same logits to within :data:`CLOSE`. Closed form is tried first, each kind of edit
    (:func:`kind_of`) for itself, and only if it gives the run's recorded logits; then the tail.

    model : the run's network, where it is open already; it must not be shared with others.
    closed : why closed form is not to be taken, where it is not.
    Raises UnitscopeError where the run has no layers, its network is no longer the same, or its
    logits are no finite numbers.
    """
    number = run.layer(layer)
    name = run.layer_names[number]
    run.need_answers("what switching units off does")
    settings = run.info["settings"]
    loaded = model or open_model(run)
    forward = Forward(loaded, [name])
    images = images_of(run)
    numbers = images["image"].to_numpy()
    if not len(numbers):
        raise UnitscopeError(f"run {run.digest} has no images")
    pooled = np.ascontiguousarray(run.array(f"pooled-{name}")[numbers])
    recorded = np.ascontiguousarray(run.array("logits")[numbers])
    if not (np.isfinite(recorded).all() and np.isfinite(pooled).all()):
        bad = np.flatnonzero(~(np.isfinite(recorded).all(1) & np.isfinite(pooled).all(1)))
        raise UnitscopeError(
            f"run {run.digest} holds logits or means that are not finite numbers, of "
            f"{len(bad)} image{'s' * (len(bad) > 1)} ({images['id'].iloc[bad[0]]!r}); make it "
            "again with --fresh, which leaves such images out"
        )
    units = pooled.shape[1]
    picks = np.linspace(0, len(numbers) - 1, min(PROBES, len(numbers))).astype(int)
    inputs = forward.inputs(stored_photos(run, loaded.preprocessing, numbers[picks]))
    rng = np.random.default_rng(0)
    off = np.sort(rng.choice(units, max(1, units // 4), replace=False))
    change = Change.of(Edit(tuple(off)), units)
    hooked = forward_edited(loaded.module, name, inputs, change).numpy()
    raw: list[Any] = []
    handle = find_layer(loaded.module, name).register_forward_hook(
        lambda _m, _a, output: raw.append(_copied(output))
    )
    try:
        with torch.inference_mode():
            plain = first_of(loaded.module(inputs)).numpy()
    finally:
        handle.remove()
    shape = (inputs.shape[2], inputs.shape[3])
    maps = as_maps(raw[0], name, shape).float()
    path = closed or NO_HEAD
    probes: dict[str, float] = {}
    if not closed:
        told = _closed_form(run, name, loaded.module, inputs, maps, off, pooled, recorded, images)
        if isinstance(told, Toggler):
            return told
        path, probes = told
    tail, check = _tail_source(
        run, loaded.module, name, raw, maps, change, plain, hooked, shape, path
    )
    if probes:
        check["probes"] = probes
    if np.array_equal(hooked, plain):
        check["why"] = (
            f"{check['why']}; with a quarter of its units disabled the network answers the same to "
            "the last bit on the photos compared: its answer does not come from these maps"
        )
    source: _Source
    if tail is not None:
        way, source = WAYS[1], tail
    else:
        way = WAYS[2]
        words = batch_words(loaded.module, inputs)
        source, check["photos"], said = _whole_source(
            run,
            forward,
            loaded.preprocessing,
            name,
            numbers[picks],
            recorded[picks],
            numbers,
            settings["batch"] if words else 0,
        )
        check["why"] = f"{check['why']}; the network runs whole, on {said}"
        if words:
            check["why"] += f", in the run's own batches of {settings['batch']} ({words})"
    base = np.full(recorded.shape, np.nan, np.float32)
    toggler = Toggler(
        pooled,
        base,
        images,
        class_names(run),
        source=source,
        layer=name,
        way=way,
        check=check,
        run=run,
    )
    if settings["precision"] != "float32":
        check["why"] += "; the run was recorded in mixed precision and is replayed in float32"
    kept = (read_arrays(toggler._kept()) or {}).get("array")
    if kept is not None and kept.shape == base.shape and kept.dtype == base.dtype:
        toggler._base = kept
        toggler._keep_base()
    return toggler


def _tail_source(
    run: Run,
    module: nn.Module,
    name: str,
    raw: list[Any],
    maps: Tensor,
    change: Change,
    plain: np.ndarray,
    hooked: np.ndarray,
    shape: tuple[int, int],
    path: str,
) -> tuple[_Tail | None, dict[str, Any]]:
    """The tail of the network where it is exact, and what the check said; `path` says why it is
    not the closed form."""

    def none(why: str) -> tuple[None, dict[str, Any]]:
        return None, {"agreement": 0.0, "why": f"{path}, and {why}"}

    if not run.info["settings"]["keep_maps"]:
        return none("the run kept no maps (--no-maps)")
    stored = run.array(f"maps-{name}")
    if not isinstance(raw[0], Tensor):
        return none(f"the layer gives {type(raw[0]).__name__}, of which one tensor was recorded")
    apart = tokens_beside(raw[0], shape)
    beside = None
    if apart is not None:
        try:
            beside = run.array(f"beside-{name}")
        except UnitscopeError:
            return none(
                f"the run did not record the layer's {apart.shape[1]} tokens beside its maps"
            )
    if maps.shape[1:] != stored.shape[1:]:
        return none(f"the recorded maps are {stored.shape[1:]}, not {tuple(maps.shape[1:])}")
    graph = tail_of(module, name)
    if graph is None:
        return none(
            "what follows the layer cannot be cut off: the network cannot be traced, or its "
            "output also depends on what runs past the layer"
        )
    last = raw[0].ndim == 4 and raw[0].is_contiguous(memory_format=torch.channels_last)
    tail = _Tail(stored, beside, graph, name, raw[0].shape, shape, last)
    norms = by_batch(graph)
    if norms:
        return none(
            f"what follows the layer normalises by the batch at hand ({norms[0]}), so that a "
            "replay in other batches would answer otherwise"
        )
    nothing = Change.nothing(len(change.scale))
    agreement = max(
        agree(tail.logits((maps, apart), nothing), plain),
        agree(tail.logits((maps, apart), change), hooked),
    )
    first = (maps[:1], None if apart is None else apart[:1])
    try:
        alone = agree(tail.logits(first, nothing), plain[:1])
    except (ValueError, RuntimeError):  # a batch norm that one value a channel does not do for
        alone = float("inf")
    if alone > CLOSE >= agreement:
        return none(
            f"what follows the layer answers otherwise for a photo alone (by {alone:.1e}), so that "
            "a replay in other batches would differ"
        )
    if agreement > CLOSE:
        return none(f"the tail cut off behind the layer differs by {agreement:.1e}")
    kind = run.info["settings"]["map_type"]
    why = f"{path}; what follows the layer is run again on its {kind} maps"
    if kind == "float16":
        rounded = (maps.half().float(), None if apart is None else apart.half().float())
        moved = agree(tail.logits(rounded, nothing), plain)
        why += (
            f", and that rounding moves the logits of the photos compared by up to {moved:.1e} of "
            "the largest"
        )
    return tail, {"agreement": agreement, "why": why}


def _whole_source(
    run: Run,
    forward: Forward,
    way: Preprocessing,
    name: str,
    picks: np.ndarray,
    recorded: np.ndarray,
    images: np.ndarray,
    batch: int,
) -> tuple[_Whole, str, str]:
    """The whole network, which photos it runs on (``dataset`` if they still give the recorded
    logits, else ``stored``), and that in words."""

    def on(photos: Callable[[np.ndarray], np.ndarray]) -> _Whole:
        return _Whole(forward, name, photos, batch, images, run.info["images"]["planned"])

    try:
        source = on(dataset_photos(run, way))
        units = run.array(f"pooled-{name}").shape[1]
        gave = source.logits(source.load(picks), Change.nothing(units))
        if agree(gave, recorded) <= 10 * CLOSE:
            return source, "dataset", "the dataset's photos"
        gone = "the dataset's photos no longer give the recorded logits"
    except (UnitscopeError, KeyError, OSError) as err:
        gone = f"the dataset cannot be read ({err})"
    return (
        on(lambda some: stored_photos(run, way, some)),
        "stored",
        f"the run's stored photos (JPEG): {gone}",
    )
