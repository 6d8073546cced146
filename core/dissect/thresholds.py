"""Exact activation thresholds by streaming top-k (Bau et al. 2017, with no sketch).

T_t is the (1 − q) quantile of all raw activations of unit t over every position of every
image of the dissected split. q is small, so the few largest values of each unit are all
that has to be remembered: exact, mergeable, and the same for any order of the images.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from fractions import Fraction

import numba
import numpy as np
import torch

from core.foundation.errors import UnitscopeError


def tail_size(q: float, values: int) -> int:
    """k = ⌈q · values⌉: the threshold is the k-th largest of `values` activations.

    Computed on the decimal number that q was written as, so that q = 0.005 of 49,000 values
    is 245 on every machine.

    >>> tail_size(0.005, 49_000), tail_size(0.005, 49_001)
    (245, 246)
    """
    if not 0 < q < 1:
        raise UnitscopeError(f"the quantile q must lie between 0 and 1, not {q}")
    return max(1, math.ceil(Fraction(repr(float(q))) * values))


@numba.njit(cache=True, nogil=True)
def _push(values: np.ndarray, kept: np.ndarray, filled: np.ndarray, bound: np.ndarray) -> None:
    """Take one image's map values (units, positions) into the buffers of :class:`TopK`.

    kept : float32 (units, 2k), of which the first filled[t] are in use. bound : what the k-th
    largest value so far is at least; nothing at or below it can matter any more.
    """
    k = kept.shape[1] // 2
    for t in range(values.shape[0]):
        n, least = filled[t], bound[t]
        for p in range(values.shape[1]):
            value = values[t, p]
            if value > least:
                kept[t, n] = value
                n += 1
                if n == 2 * k:
                    kept[t, :k] = np.partition(kept[t], k)[k:]
                    n = k
                    least = kept[t, :k].min()
        filled[t], bound[t] = n, least


class TopK:
    """The `k` largest activations of each unit so far.

    Almost every value is below what is already known to be too small, and costs one
    comparison; the rest is collected and cut back to k values now and then.

    >>> tops = TopK(units=1, k=2)
    >>> tops.update(np.array([1.0, 5, 3]).reshape(1, 1, 1, 3))
    >>> tops.update(np.array([4.0, 2, 0]).reshape(1, 1, 1, 3))
    >>> tops.threshold(2)
    array([4.], dtype=float32)
    """

    def __init__(self, units: int, k: int):
        self.k = k
        self._kept = np.empty((units, 2 * k), np.float32)
        self._filled = np.zeros(units, np.int64)
        self._bound = np.full(units, -np.inf, np.float32)

    def update(self, maps: np.ndarray) -> None:
        """Take in maps (images, units, height, width) of any float type.

        Raises UnitscopeError, before anything is taken in, where a value is no finite number.
        """
        # torch turns halves into floats several times faster than NumPy.
        values = torch.from_numpy(np.ascontiguousarray(maps)).float()
        if not torch.isfinite(values).all():
            image, unit, *_ = (~torch.isfinite(values)).nonzero()[0].tolist()
            value = values[image, unit][~torch.isfinite(values[image, unit])][0].item()
            raise UnitscopeError(
                f"image {image} of those given has an activation of {value} for unit {unit}, "
                "not a finite number"
            )
        maps = values.numpy()
        for image in maps.reshape(*maps.shape[:2], math.prod(maps.shape[2:])):
            _push(image, self._kept, self._filled, self._bound)

    def merge(self, other: TopK) -> None:
        """Take in what another part of the images left."""
        for t, row in enumerate(other.values):
            self.push(t, row[None])

    def push(self, first: int, values: np.ndarray) -> None:
        """Take in more finite values (units, any number) of the units that begin at `first`."""
        part = slice(first, first + len(values))
        rows = np.ascontiguousarray(values, np.float32)
        _push(rows, self._kept[part], self._filled[part], self._bound[part])

    @property
    def values(self) -> list[np.ndarray]:
        """What is kept of each unit: its k largest values and some more, in no order."""
        return [row[:n].copy() for row, n in zip(self._kept, self._filled, strict=True)]

    def largest(self) -> np.ndarray:
        """The k largest values of each unit (all, where fewer were seen), float32
        (units, values), rising: one array for one set of values, in whatever order they came.

        >>> tops = TopK(units=1, k=2)
        >>> tops.update(np.array([3.0, 5, 1]).reshape(1, 1, 1, 3))
        >>> tops.largest()
        array([[3., 5.]], dtype=float32)
        """
        # Every unit has seen as many values, and what is short of k of them is all of them.
        size = min(self.k, int(self._filled.min()))
        # A zero may be negative: which of two equal ones is kept is a matter of order.
        return np.stack([np.sort(row)[len(row) - size :] for row in self.values]) + np.float32(0)

    def state(self) -> dict[str, np.ndarray]:
        """Arrays from which :meth:`restore` resumes exactly here."""
        return {"kept": self._kept, "filled": self._filled, "bound": self._bound}

    def restore(self, state: Mapping[str, np.ndarray]) -> None:
        """Resume from what :meth:`state` gave."""
        self._kept, self._filled, self._bound = state["kept"], state["filled"], state["bound"]

    def threshold(self, k: int) -> np.ndarray:
        """The k-th largest activation of each unit, float32 (units,).

        `k` may be smaller than the capacity (images that could not be read leave fewer
        values), never larger than it or than what was seen.
        """
        seen = min(self.k, int(self._filled.min()))
        if not 0 < k <= seen:
            raise UnitscopeError(f"the {k}-th largest activation was asked for; {seen} are kept")
        found = [np.partition(row, len(row) - k)[len(row) - k] for row in self.values]
        # −0 and 0 are one number: which of them is found depends on the order of the images.
        return np.array(found) + np.float32(0)
