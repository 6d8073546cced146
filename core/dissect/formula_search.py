"""Compositional explanations: the logical formula of concepts that a unit detects best.

A formula is a concept, or a formula joined with one more concept by OR, AND or AND NOT (the
left-deep formulas of Mu and Andreas 2020, "CEN"). Its overlap with unit t is the dataset's
IoU(t, F) = |A_t ∩ F| / |A_t ∪ F|, sums over all images (Eq. 1 with formulas for concepts).

No mask of a candidate is ever built. With the signatures of :mod:`core.dissect.signatures`,
let i_F[c] = |A_t ∩ F ∩ c| and a_F[c] = |F ∩ c| for all concepts c at once, one weighted
bincount each. All 3 · C formulas that F leads to then follow by inclusion and exclusion:

    F OR c        |A_t ∩ ·| = i_F + i_c − i_F[c]     |·| = a_F + a_c − a_F[c]
    F AND c                   i_F[c]                       a_F[c]
    F AND NOT c               i_F − i_F[c]                 a_F − a_F[c]

:func:`beam_search` keeps the best few formulas of each length. :func:`optimal_search` starts
from its answer, best bound first, until no formula can be better, and so proves it or finds a
better one.
"""

from __future__ import annotations

import heapq
import math
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from core.dissect.formula import Formula
from core.dissect.formula_kernels import active_with, areas_with, bounds
from core.dissect.signature_kernels import sums_by_label, sums_by_pair
from core.dissect.signatures import Signatures
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Meter, Report, Stop, never

LONGEST = 5
"""Concepts in the longest formula that is searched for."""


@dataclass
class Found:
    """The best formula found for one unit.

    Attributes
    ----------
    unit : its number. hits : |A_t|.
    formula : None for a unit that overlaps no concept.
    iou, both, area : IoU(t, F), |A_t ∩ F|, |F|.
    score : penalty^(cost − 1) · IoU, which the search maximises.
    label, label_iou : the best single concept.
    ties : other formulas with exactly the same score, as far as the search met them.
    bound : no formula of this length has a higher score (of :func:`optimal_search`); None
        where that was not looked into.
    nodes : formulas whose successors were all looked at.
    """

    unit: int
    hits: int
    formula: Formula | None = None
    iou: float = 0.0
    both: int = 0
    area: int = 0
    score: float = 0.0
    label: int = 0
    label_iou: float = 0.0
    ties: list[Formula] = field(default_factory=list)
    bound: float | None = None
    nodes: int = 0

    @property
    def proven(self) -> bool | None:
        """Is there certainly no better formula? None where that was not looked into."""
        return None if self.bound is None else self.bound <= self.score


@dataclass(frozen=True)
class Search:
    """What is searched for, and how: all that decides a run's formulas.

    length, beam, penalty, merge : see :func:`beam_search`. optimal, most : use
    :func:`optimal_search`. categories : concepts of these alone; all where empty. splits :
    images of these alone; all where empty.
    """

    length: int = 3
    beam: int = 5
    penalty: float = 1.0
    merge: bool = True
    optimal: bool = False
    most: int = 5000
    categories: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()

    def check(self) -> None:
        """Raise UnitscopeError where a number is out of range."""
        check_search(self.length, self.beam, self.penalty)


# -- the two searches -----------------------------------------------------------------------


class Sizes:
    """|F ∩ c| of formulas over the whole dataset, remembered from unit to unit.

    most : vectors kept, the latest used; one of 1,105 concepts takes 9 kB.
    """

    def __init__(self, s: Signatures, most: int = 20_000):
        self.s, self.most = s, most
        self._kept: OrderedDict[Any, np.ndarray] = OrderedDict()

    @cached_property
    def _leaf(self) -> np.ndarray:
        table = self.s.together.copy()
        table[:, 0] = self.s.areas
        return table

    def __call__(self, formula: Formula) -> np.ndarray:
        """int64 (concepts + 1,): |F ∩ c|, entry 0 is |F|."""
        if formula.length == 1:
            leaf: np.ndarray = self._leaf[formula.concepts[0]]
            return leaf
        key = formula.key()
        kept = self._kept.get(key)
        if kept is None:
            starts, holders = self.s.holders
            kept = areas_with(
                self.s.labels,
                self.s.pixels,
                starts,
                holders,
                np.array(formula.concepts),
                np.array(formula.ops),
                len(self.s.concepts),
            )
            self._kept[key] = kept
            # Threads share this; a vector that another has just thrown away is worked out anew.
            while len(self._kept) > self.most:
                try:
                    self._kept.popitem(last=False)
                except KeyError:
                    break
        return kept


@dataclass
class _Unit:
    """One unit's numbers, and the vectors of formulas on it."""

    s: Signatures
    unit: int
    sizes: Sizes
    penalty: float

    def __post_init__(self) -> None:
        self.which, self.active = self.s.unit(self.unit)
        self.hits = int(self.s.hits[self.unit])
        self.one = sums_by_label(self.s.labels[self.which], self.active, len(self.s.concepts))

    def active_with(self, formula: Formula) -> np.ndarray:
        sums: np.ndarray = active_with(
            self.s.labels,
            self.which,
            self.active,
            np.array(formula.concepts),
            np.array(formula.ops),
            len(self.s.concepts),
        )
        return sums

    def successors(
        self, formula: Formula, merge: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(both, area, IoU), each (3, concepts + 1) by op and concept, and the two vectors of
        F; both is 0 where there is no such successor, or (`merge`) where it is F or the
        concept again."""
        i_f, a_f = self.active_with(formula), self.sizes(formula)
        i_c, a_c = self.one, self.s.areas
        both = np.stack([i_f[0] + i_c - i_f, i_f, i_f[0] - i_f])
        area = np.stack([a_f[0] + a_c - a_f, a_f, a_f[0] - a_f])
        if merge:
            both[0][(a_f == a_c) | (a_f == a_f[0])] = 0
            both[1][(a_f == a_f[0]) | (a_f == a_c)] = 0
            both[2][a_f == 0] = 0
        both[:, 0] = 0
        both[:, a_c == 0] = 0
        iou = both / np.maximum(self.hits + area - both, 1)
        return both, area, iou, i_f, a_f

    def score(self, formula: Formula, iou: float) -> float:
        return iou * self.penalty ** (formula.cost - 1)


def check_search(length: int, beam: int, penalty: float) -> None:
    """Raise UnitscopeError where a number of a search is out of range."""
    if not 1 <= length <= LONGEST:
        raise UnitscopeError(f"formulas of 1 to {LONGEST} concepts are searched, not of {length}")
    if beam < 1:
        raise UnitscopeError(f"a beam holds at least one formula, not {beam}")
    if not 0 < penalty <= 1:
        raise UnitscopeError(f"the penalty lies above 0 and up to 1 (none), not at {penalty}")


def beam_search(
    s: Signatures,
    unit: int,
    length: int = 3,
    beam: int = 5,
    penalty: float = 1.0,
    merge: bool = True,
    sizes: Sizes | None = None,
) -> Found:
    """The best formula that a beam search meets (CEN), exact in every IoU.

    Parameters
    ----------
    length : concepts in the longest formula.
    beam : formulas kept from each length to the next; the best of old and new.
    penalty : a formula's score is penalty^(cost − 1) · IoU.
    merge : two ways to write one formula take one place in the beam, and a formula that another
        concept does not change is none. False searches as CEN does, where both take places.
    sizes : shared by the units of one search.

    Of equal scores the cheaper formula is first, then the one whose concepts come first in the
    table. Raises UnitscopeError for an unknown unit or a setting out of range.
    """
    check_search(length, beam, penalty)
    return _beam(_Unit(s, unit, sizes or Sizes(s), penalty), length, beam, merge)


def _beam(u: _Unit, length: int, beam: int, merge: bool) -> Found:
    found = Found(u.unit, u.hits)
    union = np.maximum(u.hits + u.s.areas - u.one, 1)
    iou = u.one / union
    order = np.lexsort((np.arange(len(iou)), -iou))
    # (−score, cost, concepts, ops) sorts as the docstring of `beam_search` says.
    kept = [
        (-float(iou[c]), 1, (int(c),), (0,), int(u.one[c]), int(u.s.areas[c]))
        for c in order[: max(beam, 2)]
        if u.one[c] > 0
    ]
    if not kept:
        return found
    found.label, found.label_iou = kept[0][2][0], -kept[0][0]
    kept = kept[:beam]
    met: dict[Any, Formula] = {Formula(k[2], k[3]).key(): Formula(k[2], k[3]) for k in kept}
    scores = {key: -k[0] for key, k in zip(met, kept, strict=True)}
    fresh = kept
    for step in range(2, length + 1):
        pool = []
        for formula in [Formula(k[2], k[3]) for k in fresh]:
            both, area, iou, _, _ = u.successors(formula, merge)
            cost = np.array([formula.cost + 1, formula.cost + 1, formula.cost + 2])
            score = iou * (u.penalty ** (cost - 1))[:, None]
            pool.append((formula, cost, score, both, area))
            found.nodes += 1
        kept = _best(kept, pool, beam, merge)
        for k in kept:
            formula = Formula(k[2], k[3])
            met.setdefault(formula.key(), formula)
            scores.setdefault(formula.key(), -k[0])
        # Those of older steps have had their successors looked at.
        fresh = [k for k in kept if len(k[2]) == step]
        if not fresh:
            break
    best = kept[0]
    found.formula = Formula(best[2], best[3])
    found.both, found.area = best[4], best[5]
    found.iou = found.both / (u.hits + found.area - found.both)
    found.score = u.score(found.formula, found.iou)
    found.ties = [
        formula
        for key, formula in met.items()
        if key != found.formula.key() and scores[key] == -best[0]
    ]
    return found


def _best(kept: list[Any], pool: list[Any], beam: int, merge: bool) -> list[Any]:
    """The best `beam` of old and new formulas, one for each key where `merge`."""
    every = np.concatenate([p[2].ravel() for p in pool])
    want = 4 * beam
    while True:
        # All scores at least as high as the want-th: equals are never cut in the middle.
        limit = -np.partition(-every, want - 1)[want - 1] if want < len(every) else 0.0
        rows = list(kept)
        for formula, cost, score, both, area in pool:
            for op, c in zip(*np.nonzero((score >= limit) & (score > 0)), strict=True):
                if len(rows) > 200 * beam and score[op, c] == limit:
                    continue
                rows.append(
                    (
                        -float(score[op, c]),
                        int(cost[op]),
                        (*formula.concepts, int(c)),
                        (*formula.ops, int(op) + 1),
                        int(both[op, c]),
                        int(area[op, c]),
                    )
                )
        rows.sort(key=lambda r: r[:4])
        if not merge:
            return rows[:beam]
        chosen, seen = [], set()
        for row in rows:
            key = Formula(row[2], row[3]).key()
            if key not in seen:
                seen.add(key)
                chosen.append(row)
                if len(chosen) == beam:
                    return chosen
        if limit == 0.0:
            return chosen
        want *= 4


def optimal_search(
    s: Signatures,
    unit: int,
    length: int = 3,
    penalty: float = 1.0,
    beam: int = 5,
    most: int = 5000,
    sizes: Sizes | None = None,
) -> Found:
    """The best of all formulas of up to `length` concepts, with proof.

    Best-first: formulas wait in a queue by an upper bound of whatever they lead to; the one
    with the highest bound is opened, all its successors are scored exactly and bounded. When
    no bound exceeds the best score, that is the best there is. The beam's answer is where it
    begins. (Bounds of this kind make "Guaranteed Optimal Compositional Explanations", 2026,
    possible; these are our own.)

    most : formulas opened at most. Where they do not suffice, `bound` says what remains
    possible, and `proven` is False.

    Raises as :func:`beam_search`.
    """
    check_search(length, beam, penalty)
    u = _Unit(s, unit, sizes or Sizes(s), penalty)
    found = _beam(u, length, beam, True)
    if found.formula is None or length == 1:
        found.bound = found.score
        return found
    top = np.concatenate([[0], np.cumsum(np.sort(u.one)[::-1][: length - 1])])
    i_two = sums_by_pair(s.labels[u.which], u.active, len(s.concepts))
    x_two, x_one = s.together - i_two, s.areas - u.one
    queue: list[tuple[float, tuple[int, ...], tuple[int, ...]]] = [
        (-math.inf, (int(c),), (0,)) for c in np.flatnonzero(u.one)
    ]
    heapq.heapify(queue)
    seen: set[Any] = set()
    opened = 0
    while queue and -queue[0][0] > found.score and opened < most:
        _, concepts, ops = heapq.heappop(queue)
        formula = Formula(concepts, ops)
        if formula.key() in seen:
            continue
        seen.add(formula.key())
        opened += 1
        both, area, iou, i_f, a_f = u.successors(formula, True)
        grades = penalty ** np.array([formula.cost, formula.cost, formula.cost + 1])
        _keep_best(found, formula, both, area, iou, grades)
        rest = length - formula.length - 1
        if rest:
            # A bound of the IoU; what follows costs at least one more concept.
            further = grades * penalty
            least = found.score / float(further.max())
            bound = bounds(i_f, a_f - i_f, u.one, x_one, i_two, x_two, u.hits, rest, top, least)
            bound = bound * further[:, None]
            for op, c in zip(*np.nonzero(bound > found.score), strict=True):
                following = formula.then(int(op) + 1, int(c))
                heapq.heappush(queue, (-float(bound[op, c]), *following))
    found.nodes += opened
    ahead = -queue[0][0] if queue else 0.0
    found.bound = max(found.score, ahead)
    return found


def _keep_best(
    found: Found,
    formula: Formula,
    both: np.ndarray,
    area: np.ndarray,
    iou: np.ndarray,
    grades: np.ndarray,
) -> None:
    """Take the best successor of a formula into `found` where it scores higher.

    both, area, iou : (3, concepts), of the successors by operator and concept. grades : (3,),
    what each operator costs.
    """
    score = iou * grades[:, None]
    better = np.unravel_index(int(score.argmax()), score.shape)
    if score[better] > found.score:
        op, c = int(better[0]), int(better[1])
        found.formula = formula.then(op + 1, c)
        found.iou, found.score = float(iou[better]), float(score[better])
        found.both, found.area = int(both[better]), int(area[better])
        found.ties = []


def search_units(
    s: Signatures,
    search: Search | None = None,
    units: Sequence[int] | None = None,
    threads: int = 1,
    progress: Report | None = None,
    stop: Stop = never,
) -> Iterator[Found]:
    """:func:`beam_search` or :func:`optimal_search` of many units, one after another.

    Yields each unit's result as it is done, in order, and so keeps what was finished when
    `stop` says True: it then just ends. `categories` and `splits` of the search are those of `s`.
    """
    search = search or Search()
    search.check()
    wanted = list(range(s.units)) if units is None else [int(t) for t in units]
    for t in wanted:
        s.unit(t)
    sizes = Sizes(s)
    meter = Meter(progress)
    meter.start("formulas", len(wanted), of="units")

    def one(t: int) -> Found:
        length, beam, penalty = search.length, search.beam, search.penalty
        if search.optimal:
            return optimal_search(s, t, length, penalty, beam, search.most, sizes)
        return beam_search(s, t, length, beam, penalty, search.merge, sizes)

    with ThreadPoolExecutor(max(1, threads), thread_name_prefix="formulas") as pool:
        ahead = 2 * max(1, threads)
        waiting = [pool.submit(one, t) for t in wanted[:ahead]]
        for n in range(len(wanted)):
            if stop():
                for future in waiting:
                    future.cancel()
                return
            found = waiting.pop(0).result()
            if n + ahead < len(wanted):
                waiting.append(pool.submit(one, wanted[n + ahead]))
            meter.step()
            yield found
