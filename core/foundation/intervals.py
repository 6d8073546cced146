"""95 % intervals, all that the project has: of shares, of means, of changes of either.

Which method serves where was chosen by simulation: ``python -m core bench intervals`` prints the
coverage of each beside that of the percentile bootstrap, and docs/intervals.md keeps its table.

* a share: Wilson's score interval (:func:`interval`)
* a mean of scores: the same, with the effective number of scores (:func:`mean_interval`)
* a change of a share: Agresti and Min's interval for matched pairs (:func:`paired_interval`)
* a mean change: the same, for changes other than −1, 0 and 1 too (:func:`change_interval`)
* a relative gain: the studentised bootstrap (:func:`gain_interval`)
* a mean of few numbers: Student's t (:func:`spread`)

Of these only :func:`gain_interval` draws random numbers.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

Z = 1.959964
"""The standard normal's 97.5 % point."""

PSEUDO = 0.25
"""Observations added, half at either end of [0, 1], before the variance of scores is taken. Less
lets a few equal scores pass for certainty; more makes the intervals of all others too wide."""

RESAMPLES = 1000

LEAST_ERROR = 0.1
"""Of the observed standard error: what that of a resample counts as at least."""


def interval(right: float, n: float) -> tuple[float, float]:
    """Wilson's 95 % interval of a share `right`/`n`.

    >>> [round(x, 3) for x in interval(50, 100)]
    [0.404, 0.596]
    """
    if not n:
        return 0.0, 1.0
    low, high = _wilson(np.array(right / n), np.array(n))
    return float(low), float(high)


def _wilson(p: np.ndarray, n: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    middle = (p + Z * Z / (2 * n)) / (1 + Z * Z / n)
    half = Z * np.sqrt(p * (1 - p) / n + Z * Z / (4 * n * n)) / (1 + Z * Z / n)
    return middle - half, middle + half


def mean_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the mean of scores in [0, 1], over the first axis of `values`.

    Wilson's interval with the effective number of scores, n·m(1 − m)/s², in place of n: as many
    yes-or-no observations as would give the mean m as precisely as scores of variance s² do (what
    Korn and Graubard do for shares in surveys, Survey Methodology 24, 1998). m and s² are taken
    with :data:`PSEUDO` of an observation added, so that equal scores are no certainty. Scores that
    are all 0 or 1 give :func:`interval` exactly.

    Returns (low, high), each of the shape `values.shape[1:]`; NaN where there are no scores.

    >>> low, high = mean_interval(np.array([1.0] * 50 + [0.0] * 50))
    >>> round(float(low), 3), round(float(high), 3)
    (0.404, 0.596)
    """
    values = np.asarray(values, np.float64)
    n = len(values)
    if not n:
        none = np.full(values.shape[1:], np.nan)
        return none, none
    mean = (values.sum(0) + PSEUDO / 2) / (n + PSEUDO)
    square = ((values**2).sum(0) + PSEUDO / 2) / (n + PSEUDO)
    ratio = np.clip((square - mean * mean) / (mean * (1 - mean)), 0, 1)
    return _wilson(values.mean(0), n / ratio)


def paired_interval(gained: float, lost: float, n: float) -> tuple[float, float]:
    """95 % interval of the change (gained − lost)/n of a share measured twice on the same n.

    Agresti and Min's adjusted Wald interval (Statistics in Medicine 24, 2005): half an
    observation is added to each cell of the two-by-two table, so that no change at all still
    has a width.

    >>> [round(x, 3) for x in paired_interval(30, 10, 400)]
    [0.019, 0.081]
    >>> [round(x, 3) for x in paired_interval(0, 0, 400)]
    [-0.005, 0.005]
    """
    if not n:
        return -1.0, 1.0
    low, high = _adjusted(np.array(gained - lost), np.array(gained + lost), n)
    return float(low), float(high)


def _adjusted(total: np.ndarray, squares: np.ndarray, n: float) -> tuple[np.ndarray, np.ndarray]:
    """Wald's interval of a mean change, from Σd and Σd², with half a rise, half a fall and one
    change of 0 added."""
    mean, square = total / (n + 2), (squares + 1) / (n + 2)
    half = Z * np.sqrt(np.maximum(square - mean * mean, 0) / (n + 2))
    return mean - half, mean + half


def change_interval(values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of the mean of paired changes in [−1, 1], over the first axis of `values`.

    Changes of −1, 0 and 1 give :func:`paired_interval`; others, such as those of an image
    averaged over several halvings, are treated alike. Returns (low, high), each of the shape
    `values.shape[1:]`; NaN where there are no changes.

    >>> low, high = change_interval(np.array([1.0] * 30 + [-1.0] * 10 + [0.0] * 360))
    >>> round(float(low), 3), round(float(high), 3)
    (0.019, 0.081)
    """
    values = np.asarray(values, np.float64)
    if not len(values):
        none = np.full(values.shape[1:], np.nan)
        return none, none
    return _adjusted(values.sum(0), (values**2).sum(0), len(values))


def gain_interval(
    top: np.ndarray, bottom: np.ndarray, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """95 % interval of mean(top)/mean(bottom) over paired observations, for each column.

    top : float (n, columns). bottom : float (n,), not negative, with a positive mean.

    The studentised bootstrap: what is resampled is the distance from the observed ratio in units
    of the resample's own standard error (of the linearised ratio, and at least
    :data:`LEAST_ERROR` of the observed one). Gains are skewed: a few units gain much, most
    nothing, and a resample without those few seems far more certain than it is.

    Returns (low, high), each (columns,); NaN for fewer than two observations. A column in which
    top is the same multiple of bottom everywhere has an interval of width 0.

    >>> bottom = np.array([1.0, 2.0, 3.0, 4.0, 5.0, 6.0])
    >>> low, high = gain_interval((1.1 * bottom)[:, None], bottom)
    >>> round(float(low[0]), 3), round(float(high[0]), 3)
    (1.1, 1.1)
    """
    n = len(bottom)
    if n < 2:
        none = np.full(top.shape[1:], np.nan)
        return none, none
    ratio, error = _ratio(np.full((1, n), 1 / n), top, bottom)
    weights = np.random.default_rng(seed).multinomial(n, np.full(n, 1 / n), RESAMPLES) / n
    weights = weights[weights @ bottom > 0]
    drawn, own = _ratio(weights, top, bottom)
    own = np.hypot(own, LEAST_ERROR * error)
    # No error at all: top is a multiple of bottom, and so it is in every resample.
    away = np.where(own > 0, (drawn - ratio) / np.where(own > 0, own, 1.0), 0.0)
    few, many = np.quantile(away, [0.025, 0.975], axis=0)
    scale = np.hypot(error[0], LEAST_ERROR * error[0])
    return ratio[0] - many * scale, ratio[0] - few * scale


def _ratio(
    weights: np.ndarray, top: np.ndarray, bottom: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """mean(top)/mean(bottom) and its standard error under weights (rows, n) that sum to 1 each:
    both (rows, columns)."""
    base = (weights @ bottom)[:, None]
    ratio = weights @ top / base
    square = weights @ (top * top) - 2 * ratio * (weights @ (top * bottom[:, None]))
    square += ratio * ratio * (weights @ (bottom * bottom))[:, None]
    # Differences of large numbers: what is left of rounding is no spread.
    square[square < 1e-12 * (weights @ (top * top))] = 0
    return ratio, np.sqrt(square / (len(bottom) - 1)) / base


def spread(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Mean of a few numbers with Student's 95 % interval of it; NaN bounds for a single one.

    >>> [round(x, 3) for x in spread([0.5, 0.6, 0.7])]
    [0.6, 0.352, 0.848]
    """
    x = np.asarray(values, float)
    if len(x) < 2:
        return float(x.mean()), float("nan"), float("nan")
    # Here, as it takes a tenth of the time of one toggle to import.
    from scipy.special import stdtrit

    half = stdtrit(len(x) - 1, 0.975) * x.std(ddof=1) / np.sqrt(len(x))
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)
