"""Simulation: how well a label predicts a unit's activation on photos it was not learned from.

A label's terms predict, for each photo, Σ weight · share of the photo that a formula covers, and
for each cell of the layer's maps the same with shares of the cell. The score of a unit is Pearson's
correlation of that prediction with its activation: over photos (the mean of its map) or over cells
(its map). It needs no threshold, and it judges single concepts, formulas and weighted sums alike
(Oikarinen and Weng, "Linear Explanations for Individual Neurons", ICML 2024, whose simulation score
is the correlation over photos).

The control exchanges the masks: each photo's activation is held against the masks of another photo
of the same split. Intervals are over photos: photos are dealt into groups, each group's sums are
kept, and groups are drawn with replacement (a bootstrap of clusters). Sums of groups add up over
shards, so nothing as large as photos × units is kept at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from core.foundation.errors import UnitscopeError
from core.labelling.label import Terms
from core.labelling.probe import Probe, in_columns

GROUPS = 200
"""Groups of photos, at most one a photo."""

RESAMPLES = 1000
"""Bootstrap draws."""

EXCHANGES = 20
"""Rounds of exchanged masks."""

IMAGE, CELL = "image", "cell"
LEVELS = (IMAGE, CELL)
"""Levels: one number a photo, or one a cell of the layer's map."""


@dataclass(frozen=True, eq=False)
class Sums:
    """Sums over the photos of each group, from which correlations follow.

    Attributes
    ----------
    n : float64 (groups,), observations. a, aa : float64 (groups, units), Σa and Σa² of the units'
    activations. p, pp, pa : float64 (groups, units), Σp, Σp² and Σpa of the predictions.
    """

    n: np.ndarray
    a: np.ndarray
    aa: np.ndarray
    p: np.ndarray
    pp: np.ndarray
    pa: np.ndarray

    def correlation(self, weights: np.ndarray | None = None) -> np.ndarray:
        """float64 (units,) or (draws, units): Pearson's correlation of each unit with its label.

        weights : float64 (draws, groups), how often each group counts; once each where None. 0
        where the prediction or the activation does not vary: such a label predicts nothing.
        """
        w = np.ones((1, len(self.n))) if weights is None else weights
        n = (w @ self.n)[:, None]
        a, p = w @ self.a / n, w @ self.p / n
        spread_a = np.maximum(w @ self.aa / n - a * a, 0)
        spread_p = np.maximum(w @ self.pp / n - p * p, 0)
        scale = np.sqrt(spread_a * spread_p)
        # Below this the difference of two sums is rounding.
        some = scale > 1e-10 * np.sqrt((w @ self.aa / n + 1e-300) * (w @ self.pp / n + 1e-300))
        both = w @ self.pa / n - a * p
        found = np.divide(both, scale, out=np.zeros_like(both), where=some)
        clipped: np.ndarray = np.clip(found, -1, 1)
        return clipped[0] if weights is None else clipped


@dataclass(frozen=True, eq=False)
class Simulation:
    """Simulation scores of one method's labels.

    Attributes
    ----------
    level : :data:`IMAGE` or :data:`CELL`. photos : judged by.
    scores : float64 (units,), 0 for a unit without a label. exchanged : the same with exchanged
    masks, mean over the rounds. chance : float64 (units,), share (1 + reached) / (1 + rounds) of
    the rounds in which the exchanged masks do as well; NaN where nothing was exchanged.
    labelled : bool (units,). draws : float64 (draws, units), the scores of each bootstrap draw.
    """

    level: str
    photos: int
    scores: np.ndarray
    exchanged: np.ndarray
    chance: np.ndarray
    labelled: np.ndarray
    draws: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over all units of the layer, those without a label counted as 0."""
        return float(self.scores.mean())

    @property
    def mean_labelled(self) -> float:
        """Mean over the units with a label; NaN where there are none."""
        return float(self.scores[self.labelled].mean()) if self.labelled.any() else np.nan

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of :attr:`mean` over photos (percentile bootstrap)."""
        return _percentiles(self.draws.mean(1))

    @property
    def unit_intervals(self) -> tuple[np.ndarray, np.ndarray]:
        """95 % interval of each unit's score: (low, high), each (units,)."""
        low, high = np.percentile(self.draws, (2.5, 97.5), axis=0)
        return low, high

    def times(self, other: Simulation) -> tuple[float, float, float]:
        """How many times another method's mean this one's is: (ratio, low, high).

        Both are drawn with the same groups of the same photos, so their draws are paired.
        """
        ours, theirs = self.draws.mean(1), other.draws.mean(1)
        if self.photos != other.photos or self.level != other.level:
            raise UnitscopeError("only scores by the same photos and level can be compared")
        ratio = np.divide(ours, theirs, out=np.full_like(ours, np.inf), where=theirs > 0)
        low, high = np.percentile(ratio, (2.5, 97.5), method="inverted_cdf")  # some may be ∞
        return self.mean / other.mean if other.mean > 0 else np.inf, float(low), float(high)


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)


def simulate(
    probe: Probe,
    labels: Sequence[Terms],
    level: str = IMAGE,
    exchanges: int = EXCHANGES,
    seed: int = 0,
    of_photos: bool = False,
) -> Simulation:
    """Score a layer's labels by the photos of a probe (held out from what they were learned from).

    labels : a label of every unit of the layer, by number; () for none.
    level : :data:`IMAGE` or :data:`CELL`. of_photos : formulas are read of photos, not of pixels;
    at the level of photos alone.

    Raises UnitscopeError for fewer than three photos, an unknown level, and labels of another
    number of units.
    """
    if level not in LEVELS:
        raise UnitscopeError(f"the levels of a simulation are {' and '.join(LEVELS)}, not {level}")
    units = probe.run.unit_count(probe.layer)
    if len(labels) != units:
        raise UnitscopeError(f"{len(labels)} labels, and {probe.layer} has {units} units")
    if len(probe) < 3:
        raise UnitscopeError(f"{len(probe)} photos cannot judge a label; at least 3 are needed")
    rng = np.random.default_rng([seed, len(probe)])
    group = rng.permutation(len(probe)) % min(GROUPS, len(probe))
    others = [exchanged(len(probe), rng) for _ in range(exchanges)]
    weights = rng.multinomial(
        group.max() + 1, np.full(group.max() + 1, 1 / (group.max() + 1)), RESAMPLES
    ).astype(np.float64)
    if level == IMAGE:
        sums, nulls = _image_sums(probe, probe.predicted(labels, of_photos), group, others)
    else:
        sums, nulls = _cell_sums(probe, labels, group, others)
    scores = sums.correlation()
    null = np.array([one.correlation() for one in nulls]).reshape(len(nulls), units)
    reached = (null >= scores - 1e-12).sum(0)
    chance = (1 + reached) / (1 + len(nulls)) if len(nulls) else np.full(units, np.nan)
    return Simulation(
        level,
        len(probe),
        scores,
        null.mean(0) if len(nulls) else np.full(units, np.nan),
        chance,
        np.array([len(terms) > 0 for terms in labels]),
        sums.correlation(weights),
    )


def exchanged(photos: int, rng: np.random.Generator) -> np.ndarray:
    """int64 (photos,): another photo for every photo, none its own, each taken once.

    >>> other = exchanged(5, np.random.default_rng(0))
    >>> sorted(other.tolist()), bool((other == np.arange(5)).any())
    ([0, 1, 2, 3, 4], False)
    """
    order = rng.permutation(photos)
    other = np.empty(photos, np.int64)
    other[order] = np.roll(order, 1)  # one long cycle: nobody keeps their own
    return other


def _grouped(group: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Sums of rows by group: float64 (groups, …)."""
    out = np.zeros((group.max() + 1, *values.shape[1:]))
    np.add.at(out, group, values)
    return out


def _image_sums(
    probe: Probe, p: np.ndarray, group: np.ndarray, others: Sequence[np.ndarray]
) -> tuple[Sums, list[Sums]]:
    a = probe.activations.astype(np.float64)
    own = [_grouped(group, values) for values in (a, a * a)]
    n = np.bincount(group).astype(np.float64)

    def sums(p: np.ndarray) -> Sums:
        return Sums(n, *own, *(_grouped(group, values) for values in (p, p * p, p * a)))

    return sums(p), [sums(p[other]) for other in others]


def _cell_sums(
    probe: Probe, labels: Sequence[Terms], group: np.ndarray, others: Sequence[np.ndarray]
) -> tuple[Sums, list[Sums]]:
    """Cells of a photo stay together. Maps are read once, and covers, which are small beside them
    where labels share concepts, are kept for the exchange."""
    formulas, weights = in_columns(labels)
    units, groups = weights.shape[1], int(group.max()) + 1
    height, width = probe.cell_grid
    cover = np.zeros((len(probe), len(formulas), height * width), np.float32)
    for rows, part in probe.covers(formulas):
        cover[rows] = part
    n = np.bincount(group).astype(np.float64) * height * width
    a, aa = np.zeros((groups, units)), np.zeros((groups, units))
    made = [[np.zeros((groups, units)) for _ in range(3)] for _ in range(1 + len(others))]
    for rows, maps in probe.maps():
        here = group[rows]
        np.add.at(a, here, maps.sum(2, dtype=np.float64))
        np.add.at(aa, here, np.einsum("nuk,nuk->nu", maps, maps, dtype=np.float64))
        for at, (p, pp, pa) in enumerate(made):
            seen = cover[rows] if at == 0 else cover[others[at - 1][rows]]
            predicted = np.einsum("nfk,fu->nuk", seen, weights, optimize=True)
            np.add.at(p, here, predicted.sum(2))
            np.add.at(pp, here, np.einsum("nuk,nuk->nu", predicted, predicted))
            np.add.at(pa, here, np.einsum("nuk,nuk->nu", predicted, maps))
    all_sums = [Sums(n, a, aa, *one) for one in made]
    return all_sums[0], all_sums[1:]
