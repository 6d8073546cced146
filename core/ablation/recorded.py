"""What a run recorded of a layer: all that an answer in closed form needs, without PyTorch."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pandas as pd

from core.ablation.images import class_names, images_of
from core.foundation.errors import UnitscopeError
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
        run.need_answers("what disabling units does")
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
