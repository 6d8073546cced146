"""The causal score of a label: what a unit loses when the named concept is taken out of photos.

Photos of `rooms` are drawn again without an object; of other photos its region is filled
(:mod:`core.attribution.redrawn`). A unit u loses

    d_u(x, c) = [a_u(x) − a_u(x∖c)] / s_u

where a_u is the mean of its map and s_u its standard deviation over the photos measured. A label of
one concept is true of a unit in so far as taking that concept out costs the unit more than taking
out as much of something else: the other concept of the same photo whose region is nearest in area,
and within a factor of :data:`ALIKE`. The causal score is the mean of that difference over photos.

For weighted and logical labels the concepts are those with which the label's prediction falls:
each removal counts by the share of the label's prediction that it takes away.

And for all labels alike, `agreement`: over all removals, the correlation of what the label
predicts to be lost (Σ weight · lost share of the photo) with what the unit loses.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.attribution.case import Opened
from core.attribution.redrawn import Removal, removal_of
from core.attribution.regions import NoRegion
from core.dissect.formula import Formula
from core.foundation.errors import UnitscopeError
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.labelling.label import Terms
from core.labelling.probe import Probe, in_columns, presence_of
from core.labelling.simulation import Sums
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import derived

PHOTOS = 150
"""Photos that are measured at most, drawn from those of the probe."""

SHARD = 8
"""Photos of a shard of kept results."""

ALIKE = 2.0
"""Two regions are as much of something where neither is larger by more than this factor."""

RESAMPLES = 1000
"""Bootstrap draws of photos."""


@dataclass(frozen=True, eq=False)
class Removed:
    """What units lose by removals of single concepts.

    Attributes
    ----------
    probe : whose photos were drawn from. by : how concepts were taken out.
    row : int64 (removals,), photo as a row of the probe, ascending. concept : int64, its id.
    area : float64, share of the photo.
    lost : float64 (removals, units), d_u(x, c); 0 of a unit that never varies.
    photos : how many were measured, those without a removable concept among them.
    """

    probe: Probe
    by: str
    row: np.ndarray
    concept: np.ndarray
    area: np.ndarray
    lost: np.ndarray
    photos: int


@dataclass(frozen=True, eq=False)
class CausalScores:
    """Causal scores of one method's labels.

    Attributes
    ----------
    scores : float64 (units,), in standard deviations; NaN where no removal says anything of the
        label. low, high : 95 % intervals over photos. fall, other : the two means whose difference
        it is. agreement : float64 (units,), 0 where the label predicts no loss.
    photos : int64 (units,), photos that count. draws : float64 (draws,), means over the units whose
        scores are numbers, of each bootstrap draw of photos.
    agreements : the same of the agreement, over all units.
    """

    scores: np.ndarray
    low: np.ndarray
    high: np.ndarray
    fall: np.ndarray
    other: np.ndarray
    agreement: np.ndarray
    photos: np.ndarray
    draws: np.ndarray
    agreements: np.ndarray

    @property
    def mean(self) -> float:
        """Mean over the units whose label could be judged; NaN where there are none."""
        return float(np.nanmean(self.scores)) if self.judged else np.nan

    @property
    def judged(self) -> int:
        """Units whose label could be judged."""
        return int(np.isfinite(self.scores).sum())

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of :attr:`mean` over photos."""
        if not self.judged:
            return np.nan, np.nan
        low, high = np.nanpercentile(self.draws, (2.5, 97.5))
        return float(low), float(high)

    @property
    def mean_agreement(self) -> float:
        """Mean over all units; a unit without a label counts as 0."""
        return float(self.agreement.mean())

    @property
    def agreement_interval(self) -> tuple[float, float]:
        """95 % interval of :attr:`mean_agreement` over photos."""
        low, high = np.percentile(self.agreements, (2.5, 97.5))
        return float(low), float(high)


def remove(
    opened: Opened,
    probe: Probe,
    by: str | None = None,
    photos: int = PHOTOS,
    seed: int = 0,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> Removed:
    """Take single concepts out of photos of a probe, and see what units lose.

    by : as :func:`core.attribution.redrawn.removal_of`. photos : at most so many, drawn by seed.

    Kept beside the run in shards; stopped, it resumes with the first that is missing. Raises
    Stopped, and UnitscopeError where no photo has a concept that can be taken out, where the probe
    is of another layer, and as `removal_of`.
    """
    if opened.recorded.layer != probe.layer:
        raise UnitscopeError(f"the network is open at {opened.recorded.layer}, not {probe.layer}")
    if photos < 2:
        raise UnitscopeError(f"{photos} photos cannot judge a label; at least 2 are needed")
    removal = removal_of(opened, by)
    chosen = np.sort(np.random.default_rng([seed, len(probe)]).permutation(len(probe))[:photos])
    meter = Meter(progress, beat)
    meter.start("removals", len(chosen))
    parts = []
    for start in range(0, len(chosen), SHARD):
        rows = chosen[start : start + SHARD]
        facts = [removal.facts, probe.layer, probe.numbers[rows].tolist(), versions_of("labels")]
        path = derived(probe.run, "removals", facts, "npz")
        held = _read(path, len(rows), probe)
        if held is None:
            if stop():
                raise Stopped(f"{meter.done} of {len(chosen)} photos are measured; {STOPPED}")
            held = _shard(opened, removal, probe.numbers[rows])
            write_arrays(path, **held)
            meter.step(len(rows))
        else:
            meter.skip(len(rows))
        before = held.pop("before")[held["photo"]]
        parts.append(held | {"row": rows[held["photo"]], "lost": before - held["after"]})
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not len(whole["row"]):
        raise UnitscopeError("no photo of these splits has a concept that can be taken out")
    return _scaled(probe, removal.name, whole, len(chosen))


def _shard(opened: Opened, removal: Removal, numbers: np.ndarray) -> dict[str, np.ndarray]:
    units = opened.recorded.pooled.shape[1]
    before = np.zeros((len(numbers), units), np.float32)
    photo, concept, area, after = [], [], [], []
    for at, number in enumerate(numbers):
        try:
            case = opened.case(int(number))
        except NoRegion:
            continue
        rows = removal.rows(case)
        if not len(rows):
            continue
        # Drawing again holds the exposure, so the photo as it is comes from the same hands.
        photos = np.stack(removal.photos(case, [[], *([int(row)] for row in rows)]))
        gave = opened.activations(photos)
        before[at] = gave[0]
        after.append(gave[1:])
        photo += [at] * len(rows)
        concept += case.regions.ids[rows].tolist()
        area += case.regions.area[rows].tolist()
    return {
        "before": before,
        "photo": np.array(photo, np.int64),
        "concept": np.array(concept, np.int64),
        "area": np.array(area, np.float64),
        "after": np.concatenate([np.zeros((0, units), np.float32), *after]),
    }


def _read(path: Path, photos: int, probe: Probe) -> dict[str, np.ndarray] | None:
    """A shard, checked: it may be damaged, or a stranger's."""
    held = read_arrays(path)
    if held is None or set(held) != {"before", "photo", "concept", "area", "after"}:
        return None
    units, n = probe.run.unit_count(probe.layer), len(held["photo"])
    fits = (
        held["before"].shape == (photos, units)
        and held["after"].shape == (n, units)
        and held["concept"].shape == held["area"].shape == held["photo"].shape == (n,)
        and held["photo"].dtype == held["concept"].dtype == np.int64
        and bool(((held["photo"] >= 0) & (held["photo"] < photos)).all())
        and bool(((held["concept"] > 0) & (held["concept"] < len(probe.names))).all())
        and bool(np.isfinite(held["after"]).all() and np.isfinite(held["before"]).all())
    )
    return held if fits else None


def _scaled(probe: Probe, by: str, whole: dict[str, np.ndarray], photos: int) -> Removed:
    deviation = probe.activations.std(0, dtype=np.float64)
    scale = np.divide(1, deviation, out=np.zeros_like(deviation), where=deviation > 1e-12)
    lost = whole["lost"].astype(np.float64) * scale
    return Removed(probe, by, whole["row"], whole["concept"], whole["area"], lost, photos)


def expected_losses(
    removed: Removed, labels: Sequence[Terms], of_photos: bool = False
) -> np.ndarray:
    """What each label predicts to be lost by each removal, up to the unit's scale: float64
    (removals, labels), Σ weight · the share of the photo by which the formula's mask shrinks.

    of_photos : Σ weight · whether the formula is no longer true of the photo, in place of shares.
    """
    formulas, weights = in_columns(labels)
    if of_photos:
        lost_truth: np.ndarray = _lost_presence(removed, formulas) @ weights
        return lost_truth
    lost = np.zeros((len(removed.row), len(formulas)))
    plain = [k for k, formula in enumerate(formulas) if formula.length == 1]
    at = {formulas[k].concepts[0]: k for k in plain}
    for j, concept in enumerate(removed.concept):
        if concept in at:
            lost[j, at[concept]] = removed.area[j]
    long = [k for k in range(len(formulas)) if k not in set(plain)]
    if long:
        _lost_by_formulas(removed, formulas, long, lost)
    expected: np.ndarray = lost @ weights
    return expected


def _lost_presence(removed: Removed, formulas: Sequence[Formula]) -> np.ndarray:
    used = sorted({concept for formula in formulas for concept in formula.concepts})
    at = {concept: k for k, concept in enumerate(used)}
    shown = removed.probe.presence.tocsc()[:, used].toarray()[removed.row]
    without = shown.copy()
    for j, concept in enumerate(removed.concept):
        if concept in at:
            without[j, at[int(concept)]] = False
    lost: np.ndarray = presence_of(formulas, at, shown) - presence_of(formulas, at, without)
    return lost


def _lost_by_formulas(
    removed: Removed, formulas: Sequence[Formula], long: Sequence[int], lost: np.ndarray
) -> None:
    by_concept: dict[int, list[int]] = {}
    for k in long:
        for concept in set(formulas[k].concepts):
            by_concept.setdefault(concept, []).append(k)
    for j, (row, concept) in enumerate(zip(removed.row, removed.concept, strict=True)):
        touched = by_concept.get(int(concept), [])
        if touched:
            some = [formulas[k] for k in touched]
            masks = removed.probe.masks(some, int(row), int(row) + 1).mean((1, 2, 3))
            lost[j, touched] = masks - removed.probe.shares_without(some, int(row), int(concept))


def matches(removed: Removed) -> np.ndarray:
    """int64 (removals,): the removal in the same photo whose region is nearest in area (by ratio);
    −1 where none is within a factor of :data:`ALIKE`."""
    out = np.full(len(removed.row), -1, np.int64)
    for row in np.unique(removed.row):
        here = np.flatnonzero(removed.row == row)
        size = np.log(np.maximum(removed.area[here], 1e-9))
        apart = np.abs(size[:, None] - size[None])
        np.fill_diagonal(apart, np.inf)
        if len(here) > 1:
            best = apart.argmin(1)
            fits = apart[np.arange(len(here)), best] <= np.log(ALIKE)
            out[here] = np.where(fits, here[best], -1)
    return out


def causal_scores(
    removed: Removed, labels: Sequence[Terms], seed: int = 0, of_photos: bool = False
) -> CausalScores:
    """Causal scores of a layer's labels. labels : of every unit, by number; () for none.

    of_photos : their formulas are read of photos, not of pixels.

    Raises UnitscopeError for labels of another number of units.
    """
    units = removed.lost.shape[1]
    if len(labels) != units:
        raise UnitscopeError(f"{len(labels)} labels, and {removed.probe.layer} has {units} units")
    expected = expected_losses(removed, labels, of_photos)
    other = matches(removed)
    photos, photo = np.unique(removed.row, return_inverse=True)
    rng = np.random.default_rng([seed, len(photos)])
    weights = rng.multinomial(len(photos), np.full(len(photos), 1 / len(photos)), RESAMPLES)
    # The matched removal is "something else" only where the label says nothing of it.
    paired = other >= 0
    share = np.where(paired[:, None] & (expected > 0) & (expected[other] <= 0), expected, 0.0)
    fall = _by_photo(photo, share * removed.lost)
    beside = _by_photo(photo, share * removed.lost[other])
    total = _by_photo(photo, share)
    sums = total.sum(0)

    def ratio(top: np.ndarray, bottom: np.ndarray) -> np.ndarray:
        found: np.ndarray = np.divide(top, bottom, out=np.full_like(top, np.nan), where=bottom > 0)
        return found

    draws = ratio(weights @ (fall - beside), weights @ total)
    scores = ratio(fall.sum(0) - beside.sum(0), sums)
    agreement, agreements = _agreement(photo, expected, removed.lost, weights)
    known = np.isfinite(scores)
    low, high = np.full(units, np.nan), np.full(units, np.nan)
    if known.any():
        low[known], high[known] = np.nanpercentile(draws[:, known], (2.5, 97.5), axis=0)
    return CausalScores(
        scores,
        low,
        high,
        ratio(fall.sum(0), sums),
        ratio(beside.sum(0), sums),
        agreement,
        (total > 0).sum(0),
        _means(draws[:, known]),
        agreements,
    )


def _means(values: np.ndarray) -> np.ndarray:
    """Mean of the numbers in each row; NaN in a row without any."""
    known = np.isfinite(values)
    found: np.ndarray = np.divide(
        np.where(known, values, 0).sum(1),
        known.sum(1),
        out=np.full(len(values), np.nan),
        where=known.any(1),
    )
    return found


def _by_photo(photo: np.ndarray, values: np.ndarray) -> np.ndarray:
    out = np.zeros((photo.max() + 1, values.shape[1]))
    np.add.at(out, photo, values)
    return out


def _agreement(
    photo: np.ndarray, expected: np.ndarray, lost: np.ndarray, weights: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Correlation of expected and measured losses by unit, and its mean over the units in every
    draw of photos."""

    n = np.bincount(photo).astype(np.float64)
    parts = (lost, lost * lost, expected, expected * expected, expected * lost)
    sums = Sums(n, *(_by_photo(photo, part) for part in parts))
    return sums.correlation(), sums.correlation(weights.astype(np.float64)).mean(1)
