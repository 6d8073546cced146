"""Shapley values of the members of a set, from the values of its subsets: exact, or by KernelSHAP.

Both are linear in the values of the subsets, so both are given as a matrix: φ = matrix @ values. Of
values that are means over photos, a photo's own values give its share of φ, from which the interval
over photos follows.

φ_i = Σ_{S ∌ i} |S|! (m − |S| − 1)! / m! · [v(S ∪ i) − v(S)]          (Shapley 1953)

KernelSHAP (Lundberg and Lee, NeurIPS 2017) finds the same φ as the weighted least squares fit of
v(S) − v(∅) by Σ_{i ∈ S} φ_i with Σ φ = v(all) − v(∅), where a subset of size k weighs

    (m − 1) / (C(m, k) · k · (m − k))

Over all subsets that is the exact value; over a sample of them, an estimate.
"""

from __future__ import annotations

from math import comb, factorial

import numpy as np

from core.foundation.errors import UnitscopeError


def all_subsets(members: int) -> np.ndarray:
    """bool (2^members, members): every subset, the empty one first and the whole set last.

    >>> all_subsets(2).astype(int).tolist()
    [[0, 0], [1, 0], [0, 1], [1, 1]]
    """
    numbers = np.arange(2**members)
    subsets: np.ndarray = (numbers[:, None] >> np.arange(members)) & 1 == 1
    return subsets


def sampled_subsets(members: int, count: int, share: float, seed: int) -> np.ndarray:
    """bool (count + 2, members): the empty set, `count` subsets that hold each member with the
    probability `share`, and the whole set."""
    rng = np.random.default_rng(seed)
    drawn = rng.random((count, members)) < share
    ends = np.zeros((1, members), bool)
    return np.concatenate([ends, drawn, ~ends])


def exact_matrix(members: int) -> np.ndarray:
    """float64 (members, 2^members): the matrix of φ over :func:`all_subsets`.

    >>> exact_matrix(2).tolist()
    [[-0.5, 0.5, -0.5, 0.5], [-0.5, -0.5, 0.5, 0.5]]
    """
    subsets = all_subsets(members)
    size = subsets.sum(1)
    whole = factorial(members)
    # A subset with i counts as S ∪ i, with |S| one less; one without i as S.
    joined = [factorial(k - 1) * factorial(members - k) / whole for k in range(1, members + 1)]
    gained = np.array([0.0, *joined])[size]
    lost = np.array([*joined, 0.0])[size]
    matrix: np.ndarray = np.where(subsets.T, gained, -lost)
    return matrix


def kernel_weight(members: int, size: int) -> float:
    """Weight of a subset in KernelSHAP; of the empty and the whole set it would be infinite.

    >>> [round(kernel_weight(4, k), 4) for k in (1, 2, 3)]
    [0.25, 0.125, 0.25]
    """
    return (members - 1) / (comb(members, size) * size * (members - size))


def kernel_matrix(subsets: np.ndarray, share: float | None = None) -> np.ndarray:
    """float64 (members, subsets): the matrix of KernelSHAP's φ over some subsets.

    Parameters
    ----------
    subsets : bool (subsets, members), the empty set first and the whole set last, as
        :func:`all_subsets` and :func:`sampled_subsets` give them. What lies between is weighted;
        the two ends are met exactly, which is what an infinite weight comes to.
    share : with which each member was drawn, so that a subset's weight is divided by the
        probability of drawing it, up to a factor; None for all subsets, each once.

    Members that the subsets do not tell apart get equal values (the solution of least norm around
    an equal division).

    >>> bool(np.allclose(kernel_matrix(all_subsets(3)), exact_matrix(3)))
    True
    """
    count, members = subsets.shape
    if subsets[0].any() or not subsets[-1].all():
        raise UnitscopeError("KernelSHAP needs the empty set first and the whole set last")
    ends = np.zeros((2, count))
    ends[0, 0] = ends[1, -1] = 1.0
    total = ends[1] - ends[0]
    matrix: np.ndarray = np.tile(total / members, (members, 1))
    size = subsets.sum(1)
    inner = np.flatnonzero((size > 0) & (size < members))
    if not len(inner):
        return matrix
    # Python's own integers: binomial coefficients of many members exceed 64 bits.
    weights = np.array([kernel_weight(members, k) for k in size[inner].tolist()])
    if share is not None:
        k = size[inner]
        log = k * np.log(share) + (members - k) * np.log1p(-share)
        weights = weights / np.exp(log - log.max())
    weights = weights / weights.sum()
    # φ = an equal division + what sums to 0; the latter is fitted.
    centred = np.eye(members) - 1.0 / members
    root = np.sqrt(weights)[:, None]
    left = root * (subsets[inner].astype(np.float64) @ centred)
    right = -np.outer(size[inner] / members, total) - ends[0]
    right[np.arange(len(inner)), inner] += 1.0
    matrix += centred @ np.linalg.pinv(left) @ (root * right)
    return matrix
