"""Tests of measured effects and of error rates against chance, each with its null hypothesis.

* :func:`sign_flip`: a mean of differences, one a photo, is 0. Effect minus control of one concept
  in one photo is as likely positive as negative where the concept does no more than any region of
  its shape, so the signs can be flipped.
* :func:`common_odds`: within every stratum (true scene) wrong answers fall on photos with and
  without a concept alike. Fisher's exact test, with the strata's hypergeometric distributions
  convolved.

Many are asked at once; :func:`false_discoveries` adjusts them by Benjamini and Hochberg (1995).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.special import ndtr
from scipy.stats import hypergeom

from core.dissect.significance import adjust

EXACT, LIMIT = 16, 64
"""Up to EXACT differences all flips are made; beyond LIMIT, their normal limit is taken."""

FLIPS = 2**16 - 1
"""Random flips of all signs in between. The least p-value, 2⁻¹⁶, passes Benjamini and Hochberg's
step for a single discovery among 3,000 questions at 5 %."""

_AT_ONCE = 4096
"""Flips that are held at once."""


def sign_flip(differences: np.ndarray, seed: int = 0) -> np.ndarray:
    """Two-sided p-values of mean differences against 0, by flipping signs.

    Under the null hypothesis a difference comes with either sign alike, so all 2ⁿ flips of an
    observed sum are equally likely:

        p = share of flips with |Σᵢ ±dᵢ| ≥ |Σᵢ dᵢ|

    All flips where n ≤ :data:`EXACT`; up to :data:`LIMIT`, :data:`FLIPS` random ones and the
    observed one (Phipson and Smyth 2010); beyond, the normal distribution with the flips' own
    variance, Σ dᵢ². Exact where differences are symmetric about 0; of a mean of 0 with a skewed
    distribution, right as n grows.

    Parameters
    ----------
    differences : float (rows, columns), NaN where a column has no difference. A row is flipped as a
        whole.

    Returns float64 (columns,); 1 for a column without differences.

    >>> sign_flip(np.array([[1.0], [2.0], [3.0], [4.0]])).tolist()
    [0.125]
    """
    there = ~np.isnan(differences)
    count = there.sum(0)
    p = np.ones(len(count))
    ways = ((1, EXACT, _all), (EXACT + 1, LIMIT, _some), (LIMIT + 1, len(there), _many))
    for low, high, by in ways:
        chosen = np.flatnonzero((count >= low) & (count <= high))
        if len(chosen):
            # Differences moved to the top; zeros below them change no sum.
            values = np.zeros((high, len(chosen)))
            for column, k in enumerate(chosen):
                values[: count[k], column] = differences[there[:, k], k]
            p[chosen] = by(values, seed)
    return p


def _least(values: np.ndarray) -> np.ndarray:
    """What a flip must reach. Of equal sums, some come out a rounding apart."""
    bound: np.ndarray = np.abs(values.sum(0)) - 1e-9 * np.abs(values).sum(0)
    return bound


def _all(values: np.ndarray, _seed: int) -> np.ndarray:
    """By all flips; one half of them, as the other is its negative, with the same |sum|."""
    n = len(values)
    signs = 1.0 - 2.0 * (np.arange(2 ** (n - 1))[:, None] >> np.arange(n) & 1)
    share: np.ndarray = (np.abs(signs @ values) >= _least(values)).mean(0)
    return share


def _many(values: np.ndarray, _seed: int) -> np.ndarray:
    """By the normal limit of the flips' sum."""
    root = np.sqrt((values**2).sum(0))
    z = np.abs(values.sum(0)) / np.where(root > 0, root, 1.0)
    both: np.ndarray = 2 * ndtr(-z)
    return both


def _some(values: np.ndarray, seed: int) -> np.ndarray:
    """By random flips and the observed one."""
    n, rng = len(values), np.random.default_rng(seed)
    count, least = np.ones(values.shape[1]), _least(values)
    for start in range(0, FLIPS, _AT_ONCE):
        some = min(_AT_ONCE, FLIPS - start)
        drawn = np.frombuffer(rng.bytes(some * (-(-n // 8))), np.uint8).reshape(some, -1)
        signs = 1.0 - 2.0 * np.unpackbits(drawn, axis=1, count=n)
        count += (np.abs(signs @ values) >= least).sum(0)
    return np.asarray(count / (FLIPS + 1))


def common_odds(tables: Sequence[tuple[int, int, int, int]]) -> float:
    """Two-sided p-value of "wrong answers fall alike on photos with and without", over strata.

    tables : for each stratum (wrong with, right with, wrong without, right without).

    Given each stratum's margins, the wrong answers among photos with the concept are
    hypergeometric; their total is the convolution over strata. p is the probability of all totals
    that are no likelier than the observed one, as in Fisher's exact test, which this is for one
    stratum. Returns 1 where nothing could have come out otherwise.

    >>> round(common_odds([(8, 2, 1, 9)]), 6)
    0.005477
    """
    total, low = np.ones(1), 0
    observed = 0
    for wrong_with, right_with, wrong_without, right_without in tables:
        with_it, wrong = wrong_with + right_with, wrong_with + wrong_without
        n = with_it + wrong_without + right_without
        least, most = max(0, with_it + wrong - n), min(with_it, wrong)
        total = np.convolve(total, hypergeom.pmf(np.arange(least, most + 1), n, wrong, with_it))
        low += least
        observed += wrong_with
    chosen = total <= total[observed - low] * (1 + 1e-7)
    return float(min(1.0, total[chosen].sum()))


def false_discoveries(p: np.ndarray) -> np.ndarray:
    """p-values adjusted by Benjamini and Hochberg over all that are no NaN: the least false
    discovery rate at which each is a discovery.

    >>> false_discoveries(np.array([0.01, 0.02, 0.9, np.nan])).round(3).tolist()
    [0.03, 0.03, 0.9, nan]
    """
    values = np.asarray(p, np.float64)
    known = values[~np.isnan(values)]
    return adjust(values, known, len(known))
