"""Intervals hold what they state: published values, coverage by simulation, where they are used."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy import stats

from benchmarks.intervals import CASES, coverage, relative_gains
from core.cli import main
from core.explain.metrics import explain_predictions
from core.foundation.intervals import (
    change_interval,
    gain_interval,
    interval,
    mean_interval,
    paired_interval,
    spread,
)


def test_shares_against_scipy_and_print():
    for right, n in ((0, 1), (0, 143), (3, 20), (338, 338), (1, 650), (50, 100)):
        wanted = stats.binomtest(right, n).proportion_ci(method="wilson")
        assert interval(right, n) == pytest.approx((wanted.low, wanted.high), abs=1e-6)
    # Newcombe, Statistics in Medicine 17 (1998), 857–872, Table I, method 3.
    for right, n, low, high in (
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ):
        assert interval(right, n) == pytest.approx((low, high), abs=5e-5)


def test_means_of_yes_and_no_are_shares_and_changes_are_pairs():
    rng = np.random.default_rng(0)
    for n, p in ((20, 0.0), (20, 0.05), (143, 0.5), (650, 1.0)):
        values = (rng.random((n, 3)) < p).astype(float)
        low, high = mean_interval(values)
        for column in range(3):
            wanted = interval(values[:, column].sum(), n)
            assert (low[column], high[column]) == pytest.approx(wanted)
        other = (rng.random((n, 3)) < 0.3).astype(float)
        low, high = change_interval(values - other)
        for column in range(3):
            gained = int((values > other)[:, column].sum())
            lost = int((values < other)[:, column].sum())
            wanted = paired_interval(gained, lost, n)
            assert (low[column], high[column]) == pytest.approx(wanted)
    assert np.isnan(mean_interval(np.zeros((0, 2)))[0]).all()
    assert np.isnan(change_interval(np.zeros((0, 2)))[1]).all()


def test_equal_scores_are_no_certainty():
    """The percentile bootstrap and Student's t answer [value, value] to all of these."""
    for value in (0.0, 0.02, 0.5, 1.0):
        low, high = mean_interval(np.full(143, value))
        assert low - 1e-9 <= value <= high + 1e-9 and 0.005 < high - low < 0.06
    low, high = change_interval(np.zeros(143))
    assert low == pytest.approx(-high) and 0.01 < high < 0.02


def test_relative_gains_against_a_slow_reference():
    """The studentised bootstrap, resample by resample, with the same random numbers."""
    rng = np.random.default_rng(1)
    a = rng.lognormal(-3, 0.8, 40)
    b = a * (1 + rng.gamma(1, 0.3, 40) * (rng.random(40) < 0.3))

    def ratio_and_error(x, y):
        ratio = y.mean() / x.mean()
        return ratio, np.sqrt(((y - ratio * x) ** 2).mean() / (40 - 1)) / x.mean()

    ratio, error = ratio_and_error(a, b)
    away = []
    for counts in np.random.default_rng(7).multinomial(40, np.full(40, 1 / 40), 1000):
        at = np.repeat(np.arange(40), counts)
        drawn, own = ratio_and_error(a[at], b[at])
        away.append((drawn - ratio) / np.hypot(own, 0.1 * error))
    few, many = np.quantile(away, [0.025, 0.975])
    wide = np.hypot(error, 0.1 * error)
    low, high = gain_interval(b[:, None], a, seed=7)
    assert (low[0], high[0]) == pytest.approx((ratio - many * wide, ratio - few * wide))
    same = gain_interval((b - a)[:, None], a, seed=7)
    assert (same[0][0] + 1, same[1][0] + 1) == pytest.approx((low[0], high[0]))
    assert np.isnan(gain_interval(np.ones((1, 2)), np.ones(1))[0]).all()


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_coverage_is_what_is_stated(case):
    """At n = 20, where the percentile bootstrap is worst: 0.32 for a share of 0.02."""
    told = coverage(case, 20)
    assert told["ours"] >= 0.92
    assert coverage(case, 100)["ours"] >= 0.92
    if case.name == "share 0.02":
        assert told["percentile"] < 0.4 and told["bca"] < 0.4 and told["t"] < 0.4


def test_relative_gains_cover():
    told = relative_gains(100, samples=400)
    assert told["ours"] >= 0.92 > told["percentile"]


def test_the_benchmark_prints_coverage(capsys):
    assert main(["bench", "intervals", "--images", "20", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert {row["case"] for row in told["rows"]} > {case.name for case in CASES}
    assert all(0 <= row["ours"] <= 1 for row in told["rows"])


def test_none_of_143_is_not_certainly_none():
    """`0.00 [0.0, 0.0]` was what a table said of 143 images without a single success."""
    core = np.eye(6, 12, dtype=bool) | np.eye(6, 12, 6, dtype=bool)
    target = np.arange(143) % 6
    predicted = (target + 1) % 6
    figure = explain_predictions(core[target], core, predicted, target).figures["CM_FP"]
    assert (figure.value, figure.n) == (0.0, 143)
    assert figure.high == pytest.approx(stats.binomtest(0, 143).proportion_ci(method="wilson").high)


def test_a_few_numbers_have_students_interval():
    values = [0.71, 0.74, 0.69, 0.73]
    wanted = stats.ttest_1samp(values, 0).confidence_interval()
    assert spread(values) == pytest.approx((np.mean(values), wanted.low, wanted.high))
    assert np.isnan(spread([0.5])[1])


def test_intervals_hold_their_shares():
    rng = np.random.default_rng(0)
    hit = paired = 0
    for _ in range(400):
        right = rng.binomial(60, 0.3)
        low, high = interval(right, 60)
        hit += low <= 0.3 <= high
        gained, lost, _ = rng.multinomial(120, [0.15, 0.05, 0.8])
        low, high = paired_interval(gained, lost, 120)
        paired += low <= 0.10 <= high
    assert hit >= 370 and paired >= 370
    assert interval(0, 0) == (0.0, 1.0) and paired_interval(0, 0, 0) == (-1.0, 1.0)
