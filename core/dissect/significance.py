"""How often chance does as well as a unit: permutation tests and the false discovery rate.

**The null hypothesis** of a unit: what is annotated in a photo has nothing to do with where the
unit is active in it. Under it the masks of photos can be exchanged for one another, so that the
unit's best IoU and those after exchanges are equally likely to be the largest. From B rounds of
exchange, each a permutation of the masks within their split,

    p_t = (1 + rounds in which unit t does at least as well) / (1 + B),

exact for every unit whatever it is like: its own draws are its null distribution (Phipson and
Smyth 2010). Over the units of a layer Benjamini and Hochberg's procedure (1995) says which are
*better than chance*: of those, :data:`FDR` at most are expected to be so by luck.

:mod:`core.dissect.chance` makes the rounds of exchange, :mod:`core.dissect.labels` reads them.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
import pandas as pd

FDR = 0.05
"""False discovery rate at which units count as better than chance."""

MOST_SPLITS = 3
"""Up to so many splits, every set of them has a null distribution of its own in a run; beyond,
each split and all images have."""


def split_sets(splits: Sequence[str]) -> list[tuple[str, ...]]:
    """The sets of splits whose null distribution a run holds; all images come last.

    >>> split_sets(["train", "test"])
    [('test',), ('train',), ('test', 'train')]
    """
    names = sorted(set(splits))
    sizes = range(1, len(names) + 1) if len(names) <= MOST_SPLITS else (1, len(names))
    return [chosen for size in sizes for chosen in combinations(names, size)]


def permutation_p(null: np.ndarray, unit: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """p-values of IoUs of units, each in its unit's own null; NaN where there are no rounds.

    A unit's second best IoU gets a p-value too, of a test that is too strict for it: the null
    is that of the best.

    >>> null = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]])
    >>> permutation_p(null, np.array([0, 1]), np.array([0.3, 0.3])).tolist()
    [0.5, 1.0]
    """
    if not null.shape[1]:
        return np.full(len(iou), np.nan)
    # Rounded as the draws are, so that a tie stays one.
    drawn = np.asarray(null, np.float32)
    reached = drawn[unit] >= np.asarray(iou, np.float32)[:, None]
    p: np.ndarray = (1 + reached.sum(1)) / (1 + null.shape[1])
    return p


def adjust(p: np.ndarray, best: np.ndarray, tested: int) -> np.ndarray:
    """p-values adjusted for the false discovery rate over `tested` units (Benjamini–Hochberg).

    best : the p-values of the units' best labels; units that are tested and not among them have
    p = 1. An adjusted p-value is the least rate at which a label of that p is better than chance:

        adjusted(p) = min over the best p_(j) ≥ p of tested · p_(j) / j,  at most 1.

    >>> p = np.array([0.01, 0.02, 0.9])
    >>> adjust(p, p, 4).tolist()
    [0.04, 0.04, 1.0]
    """
    ordered = np.sort(best[~np.isnan(best)])
    ladder = tested * ordered / np.arange(1, len(ordered) + 1)
    ladder = np.append(np.minimum.accumulate(ladder[::-1])[::-1], 1.0)
    adjusted = np.minimum(ladder[np.searchsorted(ordered, p, "left")], 1.0)
    return np.where(np.isnan(p), np.nan, adjusted)


def judge(frame: pd.DataFrame, best: pd.DataFrame, null: np.ndarray, tested: int) -> pd.DataFrame:
    """Rows of unit and iou with their `chance` (p-value) and `adjusted` p-value.

    best : unit and iou of the best label of every unit; null : of :func:`null_distribution`.
    """
    p, of_best = (
        permutation_p(null, f["unit"].to_numpy(), f["iou"].to_numpy()) for f in (frame, best)
    )
    return frame.assign(chance=p, adjusted=adjust(p, of_best, tested))


def called_by_chance(null: np.ndarray, tested: np.ndarray) -> float:
    """How many units come out better than chance where there is nothing to find: the mean over
    rounds of exchange, each judged by all the others in the same manner as the real labels.

    null (units, rounds); tested : bool (units,).
    """
    rounds = null.shape[1]
    null = null[tested]
    ordered = np.sort(null, 1)
    reached = np.stack(
        [rounds - np.searchsorted(row, own, "left") for row, own in zip(ordered, null, strict=True)]
    )
    p = np.sort(reached / rounds, 0)
    bound = FDR * np.arange(1, len(p) + 1) / len(p)
    below = p <= bound[:, None]
    return float(np.where(below.any(0), len(p) - below[::-1].argmax(0), 0).mean())
