"""Shapley values against their definition by orders of joining, and KernelSHAP against both."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.directions.shapley import (
    all_subsets,
    exact_matrix,
    kernel_matrix,
    kernel_weight,
    sampled_subsets,
)
from core.foundation.errors import UnitscopeError


def by_orders(values: dict[frozenset[int], float], members: int) -> list[float]:
    """What each member adds when it joins, the mean over all orders of joining."""
    total = [0.0] * members
    orders = list(permutations(range(members)))
    for order in orders:
        there: frozenset[int] = frozenset()
        for member in order:
            total[member] += values[there | {member}] - values[there]
            there |= {member}
    return [one / len(orders) for one in total]


@given(st.integers(1, 5), st.integers(0, 2**32 - 1))
def test_both_matrices_give_what_joining_in_every_order_gives(members, seed):
    subsets = all_subsets(members)
    values = np.random.default_rng(seed).normal(size=len(subsets))
    table = {frozenset(np.flatnonzero(s).tolist()): v for s, v in zip(subsets, values, strict=True)}
    slow = by_orders(table, members)
    assert exact_matrix(members) @ values == pytest.approx(slow, abs=1e-10)
    assert kernel_matrix(subsets) @ values == pytest.approx(slow, abs=1e-8)


def least_squares(subsets: np.ndarray, weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """KernelSHAP as it is written: a weighted fit, the two ends with a weight of 10⁷."""
    z = subsets[1:].astype(float)
    w = np.append(weights, 1e7)
    return np.linalg.solve((z.T * w) @ z, (z.T * w) @ (values[1:] - values[0]))


def test_a_sample_is_fitted_by_weighted_least_squares():
    subsets = sampled_subsets(6, 200, 0.3, 1)
    size = subsets.sum(1)
    inner = np.flatnonzero((size > 0) & (size < 6))
    subsets = np.concatenate([subsets[:1], subsets[inner], subsets[-1:]])
    size = size[inner]
    weights = np.array([kernel_weight(6, k) / (0.3**k * 0.7 ** (6 - k)) for k in size])
    values = np.random.default_rng(2).normal(size=len(subsets))
    found = kernel_matrix(subsets, 0.3) @ values
    assert found == pytest.approx(least_squares(subsets, weights / weights.sum(), values), abs=1e-5)


def test_values_add_up_and_of_an_additive_game_they_are_its_terms():
    subsets = sampled_subsets(70, 200, 0.2, 0)
    terms = np.random.default_rng(0).normal(size=70)
    matrix = kernel_matrix(subsets, 0.2)
    assert matrix @ (subsets @ terms + 3.0) == pytest.approx(terms, abs=1e-6)
    values = np.random.default_rng(1).normal(size=len(subsets))
    assert (matrix @ values).sum() == pytest.approx(values[-1] - values[0])


def test_what_subsets_do_not_tell_apart_shares_equally():
    ends = np.array([[0, 0, 0], [1, 1, 1]], bool)
    assert kernel_matrix(ends) @ np.array([1.0, 4.0]) == pytest.approx([1.0, 1.0, 1.0])
    half = np.array([[0, 0, 0], [1, 1, 0], [1, 1, 1]], bool)
    found = kernel_matrix(half) @ np.array([0.0, 4.0, 5.0])
    assert found == pytest.approx([2.0, 2.0, 1.0])


def test_the_ends_are_needed():
    with pytest.raises(UnitscopeError, match="the empty set first and the whole set last"):
        kernel_matrix(all_subsets(3)[1:])


def test_sampled_subsets_hold_members_as_often_as_asked():
    subsets = sampled_subsets(50, 400, 0.2, 3)
    assert subsets.shape == (402, 50) and not subsets[0].any() and subsets[-1].all()
    assert subsets[1:-1].mean() == pytest.approx(0.2, abs=0.01)
    assert np.array_equal(subsets, sampled_subsets(50, 400, 0.2, 3))
