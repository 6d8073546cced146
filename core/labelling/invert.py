"""INVERT: the formula of concepts whose presence a unit's activation tells best.

Bykov et al., *Labeling Neural Representations with Inverse Recognition* (NeurIPS 2023). A photo
shows a formula of concepts or it does not; how well the mean of a unit's map tells the two apart is

    AUROC(t, F) = P(a photo with F activates t more than one without) + ½ P(as much),

which is Mann and Whitney's U over the number of pairs. With R the ranks of a unit's activations
(equals share their mean rank), n photos with F and m without,

    AUROC = (Σ R over photos with F − n (n + 1) / 2) / (n m),

so that all that a formula needs is n and a sum of ranks. For F joined with every concept c at once
both follow by inclusion and exclusion from the sums over F ∧ c, as in
:mod:`core.dissect.formula_search`; they are integers or halves, and so exact.

The search keeps the best few formulas of each length. Only formulas that neither too few nor more
than half of the photos show are kept; with few photos any unit can be recognised by them.

The best of many formulas is good by chance: beside the p-value of Mann and Whitney's test, as
published, each unit has one of the *maximum*: the same search where the photos' concepts are
exchanged, a number of times.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd
from scipy import sparse
from scipy.stats import mannwhitneyu, rankdata

from core.dissect.formula import AND, NOT, OR, Formula
from core.dissect.significance import adjust, permutation_p
from core.foundation.errors import UnitscopeError
from core.foundation.progress import STOPPED, Hooks, Meter, Stopped, never
from core.foundation.versions import versions_of
from core.labelling.label import words
from core.labelling.probe import Probe
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import derived

LENGTH = 3
"""Concepts in the longest formula (L of the paper's Figure 1)."""

BEAM = 5
"""Formulas kept from each length to the next (B)."""

LEAST_FRACTION, MOST_FRACTION = 0.0035, 0.5
"""Share of the photos that a formula is true of: at least α = 0.35 % (the paper's Figure 1; the
authors' program has 0 where nothing is said), at most a half (the paper, section 3)."""

LEAST_PHOTOS = 10
"""Photos that a formula is true of, at least. Not published, where 0.35 % are 175 of 50,000 photos:
of some hundred they are two or three, by which any unit can be recognised, and often none of the
photos that labels are judged by."""

ROUNDS = 100
"""Rounds of exchanged photos that the p-value of the maximum rests on."""

SEED = 0
"""Of the exchanges."""

_SHARD = 10
"""Rounds that are kept in one file."""

_UNITS = 16
"""Units whose formulas are extended at once: memory is photos or concepts × these × the beam."""


@dataclass(frozen=True)
class Search:
    """What is searched for: all that decides a unit's formula.

    length, beam : see :data:`LENGTH`, :data:`BEAM`. least, most : share of the photos that a
    formula is true of. photos : how many of them, at least.
    """

    length: int = LENGTH
    beam: int = BEAM
    least: float = LEAST_FRACTION
    most: float = MOST_FRACTION
    photos: int = LEAST_PHOTOS

    def check(self) -> None:
        """Raise UnitscopeError where a number is out of range."""
        if self.length < 1 or self.beam < 1:
            raise UnitscopeError(
                f"formulas of 1 concept and more are searched, and 1 or more are kept; not "
                f"{self.length} and {self.beam}"
            )
        if not 0 <= self.least <= self.most <= 1:
            raise UnitscopeError(
                f"shares of photos lie in 0 … 1, the least first; not {self.least}, {self.most}"
            )


class Best(NamedTuple):
    """The best formula of a unit: formula (None where no formula is in range), auroc, photos that
    it is true of, and the best single concept in range with its AUROC (0 and NaN where there is
    none)."""

    formula: Formula | None
    auroc: float
    photos: int
    concept: int
    concept_auroc: float


class _Beam(NamedTuple):
    """Formulas of some units, best first: by unit and place, −1 where there is none.

    concepts, ops : int64 (units, beam, length). auroc : float64 (units, beam). photos : int64.
    shown : bool (photos, units, beam), the photos that each is true of.
    """

    concepts: np.ndarray
    ops: np.ndarray
    auroc: np.ndarray
    photos: np.ndarray
    shown: np.ndarray


def auroc(rank_sum: np.ndarray, photos: np.ndarray, total: int) -> np.ndarray:
    """AUROC from the sum of ranks over the photos of a formula, their number, and that of all
    photos; NaN where all photos or none are of the formula.

    >>> auroc(np.array([7.0]), np.array([2]), 4)  # ranks 3 and 4 of 4
    array([1.])
    """
    pairs = photos * (total - photos)
    u = rank_sum - photos * (photos + 1) / 2
    found: np.ndarray = np.divide(u, pairs, out=np.full(np.shape(u), np.nan), where=pairs > 0)
    return found


class Presence:
    """Which concepts photos show, and the search over them.

    shown : bool CSR (photos, concepts), ids : int64 (concepts,), of its columns.
    """

    def __init__(self, shown: sparse.csr_array, ids: np.ndarray):
        self.ids = np.asarray(ids, np.int64)
        self.columns = sparse.csc_array(shown.astype(np.float64))
        self._by_concept = sparse.csr_array(self.columns.T)
        self.photos = shown.shape[0]
        self.count: np.ndarray = np.asarray(self.columns.sum(0)).ravel()

    def best(self, ranks: np.ndarray, search: Search) -> list[Best]:
        """The best formula of each unit. ranks : float64 (photos, units), of
        :func:`scipy.stats.rankdata`."""
        search.check()
        found: list[Best] = []
        for start in range(0, ranks.shape[1], _UNITS):
            found += self._some(ranks[:, start : start + _UNITS], search)
        return found

    def _in_range(self, photos: np.ndarray, search: Search) -> np.ndarray:
        least = max(1, search.photos, search.least * self.photos)
        most = min(self.photos - 1, search.most * self.photos)
        allowed: np.ndarray = (photos >= least) & (photos <= most)
        return allowed

    def _some(self, ranks: np.ndarray, search: Search) -> list[Best]:
        sums = self._by_concept @ ranks
        score = auroc(sums, np.broadcast_to(self.count[:, None], sums.shape), self.photos)
        score[~self._in_range(self.count, search)] = np.nan
        beam = self._first(score, search)
        single = beam.concepts[:, 0, 0], beam.auroc[:, 0]
        for step in range(1, search.length):
            beam = self._longer(beam, ranks, sums, step, search)
        return [
            Best(
                _formula(self.ids, beam.concepts[k, 0], beam.ops[k, 0]),
                float(beam.auroc[k, 0]),
                int(beam.photos[k, 0]),
                int(self.ids[single[0][k]]) if single[0][k] >= 0 else 0,
                float(single[1][k]),
            )
            for k in range(ranks.shape[1])
        ]

    def _first(self, score: np.ndarray, search: Search) -> _Beam:
        """The best concepts of each unit; score : (concepts, units), NaN out of range."""
        units = score.shape[1]
        empty = self._empty(units, search)
        for unit in range(units):
            own = score[:, unit]
            at = np.flatnonzero(np.isfinite(own))
            for place, k in enumerate(_distinct(own[at], self.count[at], search.beam)):
                concept = int(at[k])
                empty.concepts[unit, place, 0], empty.ops[unit, place, 0] = concept, 0
                empty.auroc[unit, place] = own[concept]
                empty.photos[unit, place] = int(self.count[concept])
                empty.shown[:, unit, place] = self._has(concept)
        return empty

    def _empty(self, units: int, search: Search) -> _Beam:
        return _Beam(
            np.full((units, search.beam, search.length), -1, np.int64),
            np.full((units, search.beam, search.length), -1, np.int64),
            np.full((units, search.beam), np.nan),
            np.zeros((units, search.beam), np.int64),
            np.zeros((self.photos, units, search.beam), bool),
        )

    def _has(self, concept: int) -> np.ndarray:
        """bool (photos,): those that show a concept, by column."""
        found = np.zeros(self.photos, bool)
        start, stop = self.columns.indptr[concept : concept + 2]
        found[self.columns.indices[start:stop]] = True
        return found

    def _longer(
        self, beam: _Beam, ranks: np.ndarray, sums: np.ndarray, step: int, search: Search
    ) -> _Beam:
        """The best of some formulas and of all that one more concept makes of them."""
        units, width = beam.auroc.shape
        flat = beam.shown.reshape(self.photos, -1).astype(np.float64)
        both = (self._by_concept @ flat).reshape(-1, units, width)
        weighted = (flat.reshape(-1, units, width) * ranks[:, :, None]).reshape(self.photos, -1)
        both_sum = (self._by_concept @ weighted).reshape(-1, units, width)
        own = weighted.sum(0).reshape(units, width)
        photos = beam.photos.astype(np.float64)
        count = self.count[:, None, None]
        # Of a formula and a concept: how many photos, and the sum of their ranks, by operation.
        number = np.stack([photos + count - both, both, photos - both])
        total = np.stack([own + sums[:, :, None] - both_sum, both_sum, own - both_sum])
        score = auroc(total, number, self.photos)
        score[~self._in_range(number, search)] = np.nan
        # What leaves the formula, or the concept, as it is, is no longer formula.
        score[:2][(number[:2] == photos) | (number[:2] == count)] = np.nan
        score[2][both == 0] = np.nan
        # Only those of the step before are extended: the others were, and gave what is kept.
        fresh = (beam.concepts[:, :, step - 1] >= 0) & ~np.isnan(beam.auroc)
        score[:, :, ~fresh] = np.nan
        made = self._empty(units, search)
        for unit in range(units):
            self._keep(beam, made, unit, step, score[:, :, unit], number[:, :, unit])
        return made

    def _keep(
        self, old: _Beam, made: _Beam, unit: int, step: int, score: np.ndarray, number: np.ndarray
    ) -> None:
        """Put the best of a unit's old formulas and the new ones in their places."""
        # In this order: place in the beam, operation, concept.
        scores = np.moveaxis(score, 2, 0)
        numbers = np.moveaxis(number, 2, 0)
        there = ~np.isnan(old.auroc[unit])
        before = int(there.sum())
        at = np.flatnonzero(np.isfinite(scores))
        values = np.concatenate([old.auroc[unit][there], scores.ravel()[at]])
        photos = np.concatenate([old.photos[unit][there], numbers.ravel()[at]])
        for place, k in enumerate(_distinct(values, photos, made.auroc.shape[1])):
            made.auroc[unit, place], made.photos[unit, place] = values[k], int(photos[k])
            if k < before:
                for ours, theirs in zip(made[:2], old[:2], strict=True):
                    ours[unit, place] = theirs[unit, k]
                made.shown[:, unit, place] = old.shown[:, unit, k]
                continue
            slot, op, concept = np.unravel_index(at[k - before], scores.shape)
            made.concepts[unit, place] = old.concepts[unit, slot]
            made.ops[unit, place] = old.ops[unit, slot]
            made.concepts[unit, place, step] = concept
            made.ops[unit, place, step] = op + 1
            held, has = old.shown[:, unit, slot], self._has(int(concept))
            made.shown[:, unit, place] = _JOIN[int(op) + 1](held, has)


_JOIN = {OR: np.logical_or, AND: np.logical_and, NOT: np.greater}
"""Operation → of two bool arrays; a > b is a AND NOT b."""


def _distinct(values: np.ndarray, photos: np.ndarray, count: int) -> list[int]:
    """Places of the best `count` values, best first; of equal values the one of fewest photos, then
    the first. Of several with one value and number of photos, which are formulas of the same
    photos but for a coincidence, one is taken.

    >>> _distinct(np.array([0.7, 0.9, 0.9, 0.8, 0.9]), np.array([3, 5, 5, 2, 4]), 3)
    [4, 1, 3]
    """
    want = 4 * count
    while True:
        if want < len(values):
            limit = -np.partition(-values, want - 1)[want - 1]
            at = np.flatnonzero(values >= limit)
        else:
            at = np.arange(len(values))
        order = at[np.lexsort((at, photos[at], -values[at]))]
        found: list[int] = []
        last = None
        for k in order:
            key = values[k], photos[k]
            if key != last:
                found.append(int(k))
                last = key
                if len(found) == count:
                    return found
        if len(at) == len(values):
            return found
        want *= 4


def _formula(ids: np.ndarray, concepts: np.ndarray, ops: np.ndarray) -> Formula | None:
    used = concepts[concepts >= 0]
    if not len(used):
        return None
    return Formula(tuple(int(ids[c]) for c in used), tuple(int(op) for op in ops[: len(used)]))


# -- labels -----------------------------------------------------------------------------------


def by_auroc(
    probe: Probe, length: int = LENGTH, rounds: int = ROUNDS, **hooks: Unpack[Hooks]
) -> pd.DataFrame:
    """INVERT's label of each unit: the formula of highest AUROC.

    Parameters
    ----------
    length : concepts in the longest formula.
    rounds : of exchanged photos, each within its split; 0 for none.

    Columns unit, label, score (the AUROC), photos (that the formula is true of), concept and
    concept_auroc (of the best single concept), `p_mann_whitney`: of Mann and Whitney's two-sided
    test of this formula, as published, which knows nothing of the others that were tried;
    `p_max_null`: (1 + rounds in which the unit's best formula does at least as well) / (1 +
    rounds), and `adjusted`: that p-value for the false discovery rate over the units (NaN without
    rounds); terms. A unit whose activation is the same for all photos has no row.

    Raises UnitscopeError where no concept can be recognised in the photos, Stopped.
    """
    presence = Presence(probe.presence[:, probe.usable], probe.usable)
    if not len(presence.ids):
        raise UnitscopeError("these photos show no concept that labels may name")
    search = Search(length)
    q = probe.activations.astype(np.float64)
    ranks = rankdata(q, axis=0)
    live = np.flatnonzero(np.ptp(q, axis=0) > 0)
    found = presence.best(ranks[:, live], search)
    labelled = [
        (unit, best) for unit, best in zip(live.tolist(), found, strict=True) if best.formula
    ]
    if not labelled:
        raise UnitscopeError(
            f"no formula of these concepts is true of {search.photos} photos or more, and of at "
            f"most {search.most:.0%} of all {len(probe)}"
        )
    null = np.concatenate([*_null(probe, presence, ranks, search, rounds, hooks)])
    frame = pd.DataFrame([_row(probe, q[:, unit], unit, best) for unit, best in labelled])
    p = permutation_p(null.T, frame["unit"].to_numpy(), frame["score"].to_numpy())
    return frame.assign(p_max_null=p, adjusted=adjust(p, p, len(p)))


def _row(probe: Probe, q: np.ndarray, unit: int, best: Best) -> dict[str, object]:
    assert best.formula is not None
    terms = ((1.0, best.formula),)
    shown = probe.formula_presence([best.formula])[:, 0] > 0
    return {
        "unit": unit,
        "label": words(terms, probe.names),
        "score": best.auroc,
        "photos": best.photos,
        "concept": probe.names[best.concept] or None,
        "concept_auroc": best.concept_auroc,
        "p_mann_whitney": float(mannwhitneyu(q[shown], q[~shown]).pvalue),
        "terms": terms,
    }


def _null(
    probe: Probe,
    presence: Presence,
    ranks: np.ndarray,
    search: Search,
    rounds: int,
    hooks: Hooks,
) -> Iterator[np.ndarray]:
    """float32 (rounds, units) of some rounds: each unit's best AUROC where the photos of each split
    have exchanged what they show. Kept beside the run, so that a stop loses little."""
    yield np.zeros((0, ranks.shape[1]), np.float32)
    meter, stop = Meter(hooks.get("progress")), hooks.get("stop", never)
    meter.start("exchanged photos", rounds, of="rounds")
    split = probe.images["split"].to_numpy()
    for start in range(0, rounds, _SHARD):
        numbers = list(range(start, min(start + _SHARD, rounds)))
        facts = [
            probe.layer,
            probe.numbers.tolist(),
            presence.ids.tolist(),
            asdict(search),
            [SEED, numbers],
            versions_of("labels"),
        ]
        path = derived(probe.run, "invert-null", facts, "npz")
        held = (read_arrays(path) or {}).get("best")
        if held is not None and held.shape == (len(numbers), ranks.shape[1]):
            meter.skip(len(numbers))
            yield held.astype(np.float32)
            continue
        best = []
        for number in numbers:
            if stop():
                raise Stopped(f"{meter.done} of {rounds} rounds are done; {STOPPED}")
            mixed = ranks[exchanged(split, number)]
            best.append([one.auroc for one in presence.best(mixed, search)])
            meter.step()
        held = np.array(best, np.float32)
        write_arrays(path, best=held)
        yield held


def exchanged(split: np.ndarray, number: int) -> np.ndarray:
    """int64 (photos,): the photo whose activations each gets in a round, within its split."""
    rng = np.random.default_rng([SEED, number])
    order = np.arange(len(split))
    for name in sorted(set(split.tolist())):
        own = np.flatnonzero(split == name)
        order[own] = rng.permutation(own)
    return order
