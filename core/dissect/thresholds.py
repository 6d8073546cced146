"""Exact activation thresholds by streaming top-k (Bau et al. 2017, with no sketch).

T_t is the (1 − q) quantile of all raw activations of unit t over every position of every
image of the dissected split. q is small, so the few largest values of each unit are all
that has to be remembered: exact, mergeable, and the same for any order of the images.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch
from torch import Tensor

from core.errors import UnitscopeError


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


class TopK:
    """The `k` largest activations of each unit so far.

    >>> tops = TopK(units=1, k=2)
    >>> tops.update(torch.tensor([1.0, 5, 3]).reshape(1, 1, 1, 3))
    >>> tops.update(torch.tensor([4.0, 2, 0]).reshape(1, 1, 1, 3))
    >>> tops.threshold(2)
    array([4.], dtype=float32)
    """

    def __init__(self, units: int, k: int):
        self.k = k
        self.values = torch.empty(units, 0)

    def update(self, maps: Tensor) -> None:
        """Take in maps (images, units, height, width) of any float type."""
        flat = maps.transpose(0, 1).reshape(maps.shape[1], -1).float()
        # The largest of this batch alone first: it is contiguous and mostly far smaller
        # than what is already kept, and never more than k values can enter.
        if flat.shape[1] > self.k:
            flat = flat.topk(self.k, dim=1, sorted=False).values
        self._take(flat.cpu())

    def merge(self, other: TopK) -> None:
        """Take in what another part of the images left."""
        self._take(other.values)

    def _take(self, values: Tensor) -> None:
        both = torch.cat([self.values, values], dim=1)
        if both.shape[1] > self.k:
            both = both.topk(self.k, dim=1, sorted=False).values
        self.values = both

    def threshold(self, k: int) -> np.ndarray:
        """The k-th largest activation of each unit, float32 (units,).

        `k` may be smaller than the capacity (images that could not be read leave fewer
        values), never larger than what was seen.
        """
        if not 0 < k <= self.values.shape[1]:
            raise UnitscopeError(
                f"the {k}-th largest activation was asked for; {self.values.shape[1]} are kept"
            )
        return self.values.topk(k, dim=1).values[:, -1].numpy()
