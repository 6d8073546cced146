"""What a run recorded of a layer: all that an answer in closed form needs, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from core.ablation.images import class_names, images_of
from core.foundation.errors import UnitscopeError
from core.runs.run_file import Run

HELD = 1 << 28
"""Bytes of a layer's means up to which they are held in memory, once more by unit. Larger ones stay
in their file, and what is asked of them is answered block by block, an estimate first."""

BLOCK = 1 << 16
"""Images of a block: a multiple of four, by which kernels go."""


@dataclass(frozen=True)
class Recorded:
    """What a run recorded of a layer; row r of everything is row r of `images`.

    Means and logits of a large run are maps of their files, unless an image of the run could not be
    used: then they are copied.

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
        run.need_answers("what disabling units does")
        images = images_of(run)
        numbers = images["image"].to_numpy()
        if not len(numbers):
            raise UnitscopeError(f"run {run.digest} has no images")
        large = run.array(f"pooled-{name}").nbytes > HELD
        pooled, logits = (
            _rows(run.array(array), numbers, large) for array in (f"pooled-{name}", "logits")
        )
        bad = _not_finite(pooled, logits)
        if len(bad):
            raise UnitscopeError(
                f"run {run.digest} holds logits or means that are not finite numbers, of "
                f"{len(bad)} image{'s' * (len(bad) > 1)} ({images['id'].iloc[bad[0]]!r}); make it "
                "again with --fresh, which leaves such images out"
            )
        return cls(run, name, images, class_names(run), pooled, logits)

    @property
    def large(self) -> bool:
        """Whether it is answered block by block."""
        return self.pooled.nbytes > HELD

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


def _rows(array: np.ndarray, numbers: np.ndarray, mapped: bool) -> np.ndarray:
    """Rows of a mapped array: the map itself where it may be, and they are all of it."""
    if mapped and np.array_equal(numbers, np.arange(len(array))):
        return np.asarray(array)
    return np.ascontiguousarray(array[numbers])


def _not_finite(*arrays: np.ndarray) -> np.ndarray:
    """Rows in which a value of one of the arrays is no finite number, ascending."""
    found = [np.zeros(0, np.int64)]
    for a in range(0, len(arrays[0]), BLOCK):
        fine = [np.isfinite(array[a : a + BLOCK]).all(1) for array in arrays]
        found.append(a + np.flatnonzero(~np.logical_and.reduce(fine)))
    return np.concatenate(found)
