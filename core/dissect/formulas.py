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

:func:`beam_search` keeps the best few formulas of each length. :func:`optimal_search` goes on
from its answer, best bound first, until no formula can be better, and so proves it or finds a
better one.
"""

from __future__ import annotations

import heapq
import json
import math
from collections import OrderedDict
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
import pandas as pd

from core.dissect.formula import AND, OR, WORDS, Formula
from core.dissect.labels import known_values
from core.dissect.signatures import Signatures, _pairs, signatures, sums_by_label
from core.foundation.errors import UnitscopeError
from core.foundation.files import parse_json, write_text
from core.foundation.progress import Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.runs.run_file import Run, derived

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


# -- kernels --------------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True, inline="always")
def _carries(labels, row, concept):
    found = False
    for k in range(labels.shape[1]):
        found |= labels[row, k] == concept
    return found


@numba.njit(cache=True, nogil=True, inline="always")
def _holds(labels, row, concepts, ops):
    holds = _carries(labels, row, concepts[0])
    for k in range(1, concepts.size):
        if ops[k] == OR:
            holds = holds or _carries(labels, row, concepts[k])
        elif ops[k] == AND:
            holds = holds and _carries(labels, row, concepts[k])
        else:
            holds = holds and not _carries(labels, row, concepts[k])
    return holds


@numba.njit(cache=True, nogil=True)
def _lit_with(labels, which, lit, concepts, ops, size):
    """|A_t ∩ F ∩ c| for all c; entry 0 is |A_t ∩ F|."""
    out = np.zeros(size, np.int64)
    whole = 0
    for j in range(which.size):
        row = which[j]
        if _holds(labels, row, concepts, ops):
            whole += lit[j]
            for k in range(labels.shape[1]):
                out[labels[row, k]] += lit[j]
    out[0] = whole
    return out


@numba.njit(cache=True, nogil=True)
def _all_with(labels, pixels, starts, holders, concepts, ops, size):
    """|F ∩ c| for all c; entry 0 is |F|.

    F holds only where its first concept or one that is joined by OR stands, so only the
    signatures that carry one of those are looked at, each once.
    """
    out = np.zeros(size, np.int64)
    whole = 0
    for k in range(concepts.size):
        if k > 0 and ops[k] != OR:
            continue
        for at in range(starts[concepts[k]], starts[concepts[k] + 1]):
            row = holders[at]
            before = False
            for j in range(k):
                if (j == 0 or ops[j] == OR) and _carries(labels, row, concepts[j]):
                    before = True
                    break
            if before or not _holds(labels, row, concepts, ops):
                continue
            whole += pixels[row]
            for j in range(labels.shape[1]):
                out[labels[row, j]] += pixels[row]
    out[0] = whole
    return out


@numba.njit(cache=True, nogil=True)
def _bounds(i_f, x_f, i_one, x_one, i_two, x_two, hits, rest, top, best):
    """An upper bound of the IoU of whatever each successor of F leads to.

    For G = F op b, with `rest` more concepts to join. i : pixels inside A_t, x : pixels
    outside it; IoU = i / (hits + x). i_f, x_f (concepts,): F ∩ c, entry 0 is F. i_one, x_one: c
    alone. i_two, x_two (concepts, concepts): c ∩ d. top[m]: the m largest of i_one, added up.
    Returns float64 (3, concepts), 0 where G cannot be of use: it changes nothing, or lights no
    pixel.

    G ∩ d is bounded from F ∩ d, F ∩ b and b ∩ d: exactly where they lie in one channel.
    """
    size = i_f.size
    out = np.zeros((3, size))
    for op in range(1, 4):
        for b in range(1, size):
            if op == OR:
                # A concept that is never lit only adds to the outside.
                if i_one[b] == 0 or (i_f[b] == i_one[b] and x_f[b] == x_one[b]):
                    continue
                i_g, x_g = i_f[0] + i_one[b] - i_f[b], x_f[0] + x_one[b] - x_f[b]
            elif op == AND:
                if i_f[b] == 0 or (i_f[b] == i_f[0] and x_f[b] == x_f[0]):
                    continue
                i_g, x_g = i_f[b], x_f[b]
            else:
                # What takes away nothing outside can only do harm.
                if x_f[b] == 0 or i_f[b] == i_f[0]:
                    continue
                i_g, x_g = i_f[0] - i_f[b], x_f[0] - x_f[b]
            # The roughest bound first: most successors end here.
            if min(i_g + top[rest], hits) / hits <= best:
                continue
            most = 0.0
            cut_1, cut_2 = 0, 0
            through = 0
            for d in range(1, size):
                if i_one[d] == 0 and x_one[d] == 0:
                    continue
                # Bounds of G ∩ d, inside and outside.
                if op == OR:
                    i_low, x_low = max(i_f[d], i_two[b, d]), max(x_f[d], x_two[b, d])
                    i_high = min(i_f[d] + i_two[b, d], i_one[d], i_g)
                    x_high = min(x_f[d] + x_two[b, d], x_one[d], x_g)
                elif op == AND:
                    i_low = max(0, i_f[b] + i_f[d] - i_f[0])
                    x_low = max(0, x_f[b] + x_f[d] - x_f[0])
                    i_high = min(i_f[d], i_two[b, d], i_g)
                    x_high = min(x_f[d], x_two[b, d], x_g)
                else:
                    i_low, x_low = max(0, i_f[d] - i_f[b]), max(0, x_f[d] - x_f[b])
                    i_high, x_high = min(i_f[d], i_g), min(x_f[d], x_g)
                if rest == 1:
                    joined = (i_g + i_one[d] - i_low) / (hits + x_g + x_one[d] - x_high)
                    within = i_high / (hits + x_low)
                    without = (i_g - i_low) / (hits + x_g - x_high)
                    most = max(most, joined, within, without)
                else:
                    through = max(through, i_high)
                    if x_high > cut_1:
                        cut_1, cut_2 = x_high, cut_1
                    elif x_high > cut_2:
                        cut_2 = x_high
            if rest > 1:
                # Whatever follows is (G ∩ K) ∪ M: K up to k concepts or their negations, M
                # within the union of the other rest − k.
                for k in range(rest + 1):
                    gone = 0 if k == 0 else cut_1 if k == 1 else cut_1 + (k - 1) * cut_2
                    inside = min(i_g + top[rest - k], hits)
                    most = max(most, inside / (hits + max(0, x_g - gone)))
                most = max(most, min(through + top[rest - 1], hits) / hits)
            out[op - 1, b] = most
    return out


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
            return self._leaf[formula.concepts[0]]
        key = formula.key()
        kept = self._kept.get(key)
        if kept is None:
            starts, holders = self.s.holders
            kept = _all_with(
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
        self.which, self.lit = self.s.unit(self.unit)
        self.hits = int(self.s.hits[self.unit])
        self.one = sums_by_label(self.s.labels[self.which], self.lit, len(self.s.concepts))

    def lit_with(self, formula: Formula) -> np.ndarray:
        return _lit_with(
            self.s.labels,
            self.which,
            self.lit,
            np.array(formula.concepts),
            np.array(formula.ops),
            len(self.s.concepts),
        )

    def successors(
        self, formula: Formula, merge: bool
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(both, area, IoU), each (3, concepts + 1) by op and concept, and the two vectors of
        F; both is 0 where there is no such successor, or (`merge`) where it is F or the
        concept again."""
        i_f, a_f = self.lit_with(formula), self.sizes(formula)
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


def _check(length: int, beam: int, penalty: float) -> None:
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
    _check(length, beam, penalty)
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
    _check(length, beam, penalty)
    u = _Unit(s, unit, sizes or Sizes(s), penalty)
    found = _beam(u, length, beam, True)
    if found.formula is None or length == 1:
        found.bound = found.score
        return found
    size = len(s.concepts)
    i_two = _pairs(s.labels[u.which], u.lit, size)
    x_two = s.together - i_two
    x_one = s.areas - u.one
    top = np.concatenate([[0], np.cumsum(np.sort(u.one)[::-1][: length - 1])])
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
        score = iou * grades[:, None]
        better = np.unravel_index(int(score.argmax()), score.shape)
        if score[better] > found.score:
            op, c = int(better[0]), int(better[1])
            found.formula = formula.then(op + 1, c)
            found.iou, found.score = float(iou[better]), float(score[better])
            found.both, found.area = int(both[better]), int(area[better])
            found.ties = []
        rest = length - formula.length - 1
        if rest:
            # A bound of the IoU; what follows costs at least one more concept.
            further = grades * penalty
            bound = (
                _bounds(
                    i_f,
                    a_f - i_f,
                    u.one,
                    x_one,
                    i_two,
                    x_two,
                    u.hits,
                    rest,
                    top,
                    found.score / float(further.max()),
                )
                * further[:, None]
            )
            for op, c in zip(*np.nonzero(bound > found.score), strict=True):
                following = formula.then(int(op) + 1, int(c))
                heapq.heappush(queue, (-float(bound[op, c]), *following))
    found.nodes += opened
    ahead = -queue[0][0] if queue else 0.0
    found.bound = max(found.score, ahead)
    return found


def search_units(
    s: Signatures,
    units: Sequence[int] | None = None,
    length: int = 3,
    beam: int = 5,
    penalty: float = 1.0,
    merge: bool = True,
    optimal: bool = False,
    most: int = 5000,
    threads: int = 1,
    progress: Report | None = None,
    stop: Stop = never,
) -> Iterator[Found]:
    """:func:`beam_search` or :func:`optimal_search` of many units, one after another.

    Yields each unit's result as it is done, in order, and so keeps what was finished when
    `stop` says True: it then just ends.
    """
    _check(length, beam, penalty)
    wanted = list(range(s.units)) if units is None else [int(t) for t in units]
    for t in wanted:
        s.unit(t)
    sizes = Sizes(s)
    meter = Meter(progress)
    meter.start("formulas", len(wanted), of="units")

    def one(t: int) -> Found:
        if optimal:
            return optimal_search(s, t, length, penalty, beam, most, sizes)
        return beam_search(s, t, length, beam, penalty, merge, sizes)

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


def unit_formulas(
    run: Run,
    layer: str | None = None,
    search: Search | None = None,
    groups: Mapping[int, int] | None = None,
    units: Sequence[int] | None = None,
    shuffles: int = 0,
    threads: int = 1,
    progress: Report | None = None,
    stop: Stop = never,
) -> tuple[pd.DataFrame, Signatures]:
    """The best formula of every unit of a run's layer, and the signatures they are about.

    Each unit's result is kept beside the run as soon as it is there, so that a search that is
    stopped goes on where it was, and a finished one is only read.

    groups : concept id → id of its group's representative: formulas over filtered concepts, a
        group's mask being the union of its members'.
    shuffles : rounds of the same search with every image's labels exchanged for another's, over
        all units. Then `chance` is the share (1 + reached) / (1 + drawn) of what these found
        that scores as high; a search over millions of formulas finds much by chance.

    Returns :func:`formula_table`. Raises UnitscopeError for an unknown layer, category, split,
    concept or unit, and where `stop` said True before all units were done.
    """
    search = search or Search()
    _check(search.length, search.beam, search.penalty)
    if shuffles < 0:
        raise UnitscopeError(f"{shuffles} shuffles were asked for; 0 or more are meant")
    found, s = _kept(run, layer, search, groups, units, None, threads, progress, stop)
    frame = formula_table(s, found)
    if shuffles:
        null = np.sort(
            [
                one.score
                for r in range(shuffles)
                for one in _kept(run, layer, search, groups, None, r, threads, progress, stop)[0]
            ]
        )
        reached = len(null) - np.searchsorted(null, frame["score"].to_numpy(), "left")
        frame["chance"] = (1 + reached) / (1 + len(null))
    return frame, s


def _kept(
    run: Run,
    layer: str | None,
    search: Search,
    groups: Mapping[int, int] | None,
    units: Sequence[int] | None,
    shuffle: int | None,
    threads: int,
    progress: Report | None,
    stop: Stop,
) -> tuple[list[Found], Signatures]:
    """The results of one search, read from beside the run or worked out and left there."""
    kinds = known_values(run, "category", "concepts", search.categories or None)
    s = signatures(run, layer, search.splits or None, progress, stop, threads, shuffle)
    s = s.without([kind for kind in s.categories[1:] if kind not in kinds])
    if groups:
        s = s.merged(groups)
    wanted = list(range(s.units)) if units is None else [int(t) for t in units]
    for t in wanted:
        s.unit(t)
    path = _where(run, s.layer, search, groups, shuffle)
    kept = {one.unit: one for one in _read(path, s.units, len(s.concepts))}
    todo = [t for t in wanted if t not in kept]
    found = search_units(
        s,
        todo,
        search.length,
        search.beam,
        search.penalty,
        search.merge,
        search.optimal,
        search.most,
        threads,
        progress,
        stop,
    )
    if todo:
        # What a kill left of a last line goes; a whole line is a whole result.
        write_text(path, "".join(_line(one) for one in kept.values()))
        with path.open("a", encoding="utf-8") as out:
            for one in found:
                kept[one.unit] = one
                out.write(_line(one))
                out.flush()
    missing = [t for t in wanted if t not in kept]
    if missing:
        raise Stopped(
            f"stopped with {len(wanted) - len(missing)} of {len(wanted)} units done; the same "
            "command resumes it"
        )
    return [kept[t] for t in wanted], s


def _where(
    run: Run, layer: str, search: Search, groups: Mapping[int, int] | None, shuffle: int | None
) -> Path:
    """Where the results of one search are kept."""
    facts = {
        "layer": layer,
        "search": asdict(search),
        "groups": sorted((groups or {}).items()),
        "shuffle": shuffle,
        **versions_of("formulas", "signatures"),
    }
    return derived(run, "formulas", facts, "jsonl")


def finished_formulas(
    run: Run, layer: str | None = None, search: Search | None = None, shuffle: int | None = None
) -> list[Found] | None:
    """What an earlier :func:`unit_formulas` over all units of a layer left, by unit; None where
    any of them is missing. It only reads: nothing is searched or written.

    shuffle : that round of exchanged labels instead of the labels themselves.
    Raises UnitscopeError for an unknown layer.
    """
    number = run.layer(layer)
    path = _where(run, run.layer_names[number], search or Search(), None, shuffle)
    units = run.unit_count(layer)
    concepts = int(run.sql("SELECT count(*) AS n FROM concepts")["n"][0])
    kept = {one.unit: one for one in _read(path, units, concepts + 1)}
    return [kept[t] for t in range(units)] if all(t in kept for t in range(units)) else None


def _line(found: Found) -> str:
    return json.dumps(asdict(found)) + "\n"


def _read(path: Path, units: int, concepts: int) -> Iterator[Found]:
    """Results that an earlier search left; a line that a kill cut short, or that names a unit,
    concept or operation that is none, ends them: kernels use these numbers as places."""
    if not path.is_file():
        return

    def formula(told: Sequence[Sequence[int]]) -> Formula:
        return Formula(tuple(told[0]), tuple(told[1]))

    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            told = parse_json(line)
            told["formula"] = formula(told["formula"]) if told["formula"] else None
            told["ties"] = [formula(one) for one in told["ties"]]
            found = Found(**told)
            every = [one for one in (found.formula, *found.ties) if one is not None]
            good = 0 <= found.unit < units and all(
                len(one.concepts) == len(one.ops) >= 1
                and one.ops[0] == 0
                and all(op in WORDS for op in one.ops[1:])
                and all(0 < c < concepts for c in one.concepts)
                for one in every
            )
        except (ValueError, TypeError, KeyError, IndexError):
            return
        if not good:
            return
        yield found


def formula_table(s: Signatures, found: Sequence[Found]) -> pd.DataFrame:
    """Results as a frame: unit, formula (words), length, iou, label, label_iou, gain (IoU over
    that of the label, relative), both, area, hits, score, ties (words), proven, bound."""
    rows = []
    for one in found:
        gain = one.iou / one.label_iou - 1 if one.label_iou else np.nan
        rows.append(
            {
                "unit": one.unit,
                "formula": one.formula.words(s.concepts) if one.formula else None,
                "length": one.formula.length if one.formula else 0,
                "iou": one.iou,
                "label": s.concepts[one.label] or None,
                "label_iou": one.label_iou,
                "gain": gain,
                "both": one.both,
                "area": one.area,
                "hits": one.hits,
                "score": one.score,
                "ties": "; ".join(f.words(s.concepts) for f in one.ties),
                "proven": one.proven,
                "bound": one.bound,
            }
        )
    columns = [
        "unit",
        "formula",
        "length",
        "iou",
        "label",
        "label_iou",
        "gain",
        "both",
        "area",
        "hits",
        "score",
        "ties",
        "proven",
        "bound",
    ]
    return pd.DataFrame(rows, columns=columns)
