"""Tests against chance, each against the slow and obvious way."""

from itertools import product
from math import comb

import numpy as np
import pytest
from scipy.stats import fisher_exact, ttest_1samp

from core.attribution import chance


def slow_flip(d):
    sums = [
        abs(sum(s * x for s, x in zip(signs, d, strict=True)))
        for signs in product([1, -1], repeat=len(d))
    ]
    return np.mean([s >= abs(sum(d)) - 1e-9 for s in sums])


def test_all_flips_of_few_differences_by_column_and_without_the_missing():
    rng = np.random.default_rng(3)
    d = rng.normal(0.5, 1, (9, 4))
    d[rng.random(d.shape) < 0.3] = np.nan
    d[:, 3] = np.nan
    got = chance.sign_flip(d)
    wanted = [slow_flip(column[~np.isnan(column)].tolist()) for column in d.T[:3]]
    assert got[:3] == pytest.approx(wanted)
    assert got[3] == 1


@pytest.mark.parametrize("n", [40, 200])
def test_random_flips_and_their_limit_are_close_to_student_for_normal_differences(n):
    d = np.random.default_rng(n).normal(0.0, 1.0, (n, 6)) + np.linspace(0, 0.4, 6)
    wanted = ttest_1samp(d, 0).pvalue
    assert np.abs(chance.sign_flip(d) - wanted).max() < 0.02


def test_no_difference_is_no_discovery():
    for n in (5, 30, 100):
        assert chance.sign_flip(np.zeros((n, 1)))[0] == 1


def test_false_positives_keep_to_their_level():
    d = np.random.default_rng(0).laplace(0, 1, (12, 2000))
    assert 0.035 < (chance.sign_flip(d) <= 0.05).mean() < 0.06


def slow_strata(tables):
    """All ways in which the wrong answers of each stratum can fall, with their numbers."""
    ways = {0: 1}
    for a, b, c, d in tables:
        with_it, wrong, n = a + b, a + c, a + b + c + d
        new = {}
        for x in range(max(0, with_it + wrong - n), min(with_it, wrong) + 1):
            count = comb(with_it, x) * comb(n - with_it, wrong - x)
            for total, times in ways.items():
                new[total + x] = new.get(total + x, 0) + times * count
        ways = new
    seen = sum(t[0] for t in tables)
    return sum(v for v in ways.values() if v <= ways[seen]) / sum(ways.values())


def test_common_odds_is_fishers_test_for_one_stratum():
    for table in [(8, 2, 1, 9), (0, 5, 3, 4), (3, 3, 3, 3), (0, 0, 2, 5)]:
        wanted = fisher_exact([table[:2], table[2:]]).pvalue
        assert chance.common_odds([table]) == pytest.approx(wanted)


def test_common_odds_over_strata_counts_every_way():
    rng = np.random.default_rng(5)
    for _ in range(20):
        tables = [tuple(int(v) for v in rng.integers(0, 6, 4)) for _ in range(3)]
        assert chance.common_odds(tables) == pytest.approx(slow_strata(tables))


def test_false_discoveries_is_benjamini_and_hochbergs_ladder():
    p = np.array([0.001, 0.04, 0.02, 0.5, np.nan])
    got = chance.false_discoveries(p)
    ordered = [0.001, 0.02, 0.04, 0.5]
    for value, adjusted in zip(p[:4], got[:4], strict=True):
        k = ordered.index(value)
        assert adjusted == pytest.approx(
            min(4 * q / (j + 1) for j, q in enumerate(ordered) if j >= k)
        )
    assert np.isnan(got[4])
