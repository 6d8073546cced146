"""What merging concepts does to the IoU of units: (B − A) / A (Table 5), with its controls.

A : the mean over a layer's units of their best dataset IoU, over the concepts that take part
    (all but colours and scenes), every active pixel counted.
B : the same over k groups of these concepts; a group's mask is the union of its members', so a
    pixel with two labels of a group counts once.

Merging alone changes B: a union is larger than its parts, and a unit's best concept may be
diluted. So each figure is compared with random groups of the same sizes and with a grouping by
names.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import sparse

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import write_whole
from core.foundation.intervals import gain_interval
from core.foundation.progress import Meter, Report, Stop, never
from core.foundation.versions import versions_of
from core.knowledge.core_concepts import LEFT_OUT
from core.merging.fuse import (
    METHODS,
    WORDS,
    Dendrogram,
    Groups,
    Links,
    Space,
    Vectors,
    check_k,
    dendrogram,
    kmeans,
)
from core.runs.run_file import Run, derived

DRAWS = 20


@dataclass(frozen=True)
class UnionCounts:
    """Pixels of units, concepts and their unions, over a dataset.

    Attributes
    ----------
    hits : int64 (units,), Σ|A_t|. areas : int64 (concepts,), Σ|L_c|.
    both : int64 (units, concepts), Σ|A_t ∩ L_c|.
    together : bool CSR (sets, concepts), the sets of two or more concepts that lie on one pixel.
    pixels : int64 (sets,), pixels with exactly that set.
    active : int64 CSR (sets, units), those of them in A_t.
    """

    hits: np.ndarray
    areas: np.ndarray
    both: np.ndarray
    together: sparse.csr_array
    pixels: np.ndarray
    active: sparse.csr_array

    @classmethod
    def of_sets(
        cls,
        hits: np.ndarray,
        labels: np.ndarray,
        pixels: np.ndarray,
        active: sparse.csr_array,
        concepts: int,
    ) -> UnionCounts:
        """From label sets: labels int (sets, slots) of concept ids (column + 1; 0 none; ids above
        `concepts` do not count), pixels (sets,), active (sets, units)."""
        row, slot = np.nonzero((labels > 0) & (labels <= concepts))
        has = sparse.csr_array(
            (np.ones(len(row), np.int64), (row, labels[row, slot] - 1)),
            shape=(len(labels), concepts),
        )
        has.sum_duplicates()
        has.data[:] = 1
        several = np.flatnonzero(np.diff(has.indptr) > 1)
        return cls(
            np.asarray(hits, np.int64),
            np.asarray(has.T @ pixels),
            np.asarray((has.T @ active).todense()).T,
            has[several].astype(bool),
            np.asarray(pixels[several]),
            active[several],
        )

    @classmethod
    def from_run(
        cls,
        run: Run,
        layer: str | None = None,
        splits: Sequence[str] | None = None,
        progress: Report | None = None,
        stop: Stop = never,
    ) -> UnionCounts:
        """Of one layer over the images of some splits (all where None).

        Raises for an unknown layer or split, a run without maps, and where `stop` says yes
        while the pixels' labels are counted.
        """
        from core.dissect.signatures import signatures

        held = signatures(run, layer, splits, progress, stop).without(LEFT_OUT)
        concepts = int(
            run.sql("SELECT count(*) AS n FROM concepts WHERE category <> 'scene'")["n"][0]
        )
        active = sparse.csr_array(
            (held.active, held.which, held.starts), shape=(held.units, len(held))
        )
        return cls.of_sets(
            held.hits,
            held.labels.astype(np.int64),
            held.pixels,
            sparse.csr_array(active.T),
            concepts,
        )

    def union(self, groups: Groups) -> tuple[np.ndarray, np.ndarray]:
        """(both int64 (units, groups), areas int64 (groups,)) of the unions of groups, exactly."""
        one_hot = sparse.csr_array(
            (
                np.ones(sum(map(len, groups)), np.int64),
                (np.concatenate(groups), np.repeat(np.arange(len(groups)), [*map(len, groups)])),
            ),
            shape=(len(self.areas), len(groups)),
        )
        both, areas = self.both @ one_hot, self.areas @ one_hot
        # A set with m members of a group was counted m times in it and should be once.
        extra = sparse.csr_array(self.together.astype(np.int64) @ one_hot)
        extra.data -= 1
        extra.eliminate_zeros()
        if extra.nnz:
            both = both - np.asarray((extra.T @ self.active).todense()).T
            areas = areas - extra.T @ self.pixels
        return np.asarray(both), np.asarray(areas)

    def iou(self, both: np.ndarray, areas: np.ndarray) -> np.ndarray:
        """both / (hits + areas − both), float64 (units, groups); 0 of nothing."""
        union = self.hits[:, None] + areas[None, :] - both
        value: np.ndarray = np.divide(both, union, out=np.zeros(both.shape), where=union > 0)
        return value


@dataclass(frozen=True)
class Swept:
    """IoU over clusterings. best : float64 (k's, units), each unit's best IoU over the groups.
    risen, fallen : int (k's,), groups of several concepts whose best unit has a larger or smaller
    IoU with the union than any unit has with one of the members."""

    best: np.ndarray
    risen: np.ndarray
    fallen: np.ndarray


def sweep(
    counts: UnionCounts, tree: Dendrogram, ks: Sequence[int], swap: np.ndarray | None = None
) -> Swept:
    """Every clustering of a dendrogram with k groups for the given k, in one pass.

    Of all clusterings together there are only len(blocks) + len(merges) different groups; each
    union is made once, from its two parts less what both have on one pixel.

    swap : int (concepts,); where given, concept swap[c] takes the place of c: a random order of
        those that take part gives random groups of the same sizes, at every k at once.
    """
    wanted = {k: row for row, k in enumerate(ks)}
    for k in ks:
        check_k(k, tree.least, tree.most)
    blocks = tree.blocks if swap is None else [swap[block] for block in tree.blocks]
    merges = tree.merges[: tree.most - min(ks)].tolist() if len(ks) else []
    out = Swept(
        np.zeros((len(ks), len(counts.hits))), np.zeros(len(ks), int), np.zeros(len(ks), int)
    )
    state = _Merging(counts, blocks, len(merges))
    for step in range(len(merges) + 1):
        k = len(blocks) - step
        if k in wanted:
            row = wanted[k]
            out.best[row], out.risen[row], out.fallen[row] = state.best, state.risen, state.fallen
        if step < len(merges):
            a, b = merges[step]
            state.merge(a, b, len(blocks) + step)
    return out


class _Merging:
    """The groups of one clustering while they are merged two by two.

    A group is a node: the blocks first, then a node for each merge.

    Attributes
    ----------
    best : float64 (units,), each unit's best IoU over the groups there are.
    risen, fallen : as in :class:`Swept`, of the groups there are.
    """

    def __init__(self, counts: UnionCounts, blocks: Groups, merges: int):
        self._counts = counts
        both, areas = counts.union(blocks)
        nodes = len(blocks) + merges
        # (nodes, units): IoU of each group that is or was there, 0 before.
        self._iou = np.zeros((nodes, len(counts.hits)))
        self._iou[: len(blocks)] = counts.iou(both, areas).T
        # The largest IoU of any unit with the group, and with any of its members alone.
        self._peak = self._iou.max(1, initial=0)
        self._part_peak = np.zeros(nodes)
        singles = [np.array([c]) for block in blocks for c in block]
        owner = np.repeat(np.arange(len(blocks)), [len(block) for block in blocks])
        single_peak = counts.iou(*counts.union(singles)).max(0, initial=0)
        np.maximum.at(self._part_peak, owner, single_peak)
        self._held = {b: (both[:, b], int(areas[b])) for b in range(len(blocks))}
        self._sets = _sets(counts, blocks)
        self._several = [len(block) > 1 for block in blocks] + [True] * merges
        self._alive = np.zeros(nodes, bool)
        self._alive[: len(blocks)] = True
        self.best = self._iou[: len(blocks)].max(0, initial=0)
        self._holder = self._iou[: len(blocks)].argmax(0)
        verdicts = [self._verdict(b) for b in range(len(blocks))]
        self.risen, self.fallen = verdicts.count(1), verdicts.count(-1)

    def _verdict(self, node: int) -> int:
        """1 where a group of several concepts rose, −1 where it fell, else 0."""
        return int(np.sign(self._peak[node] - self._part_peak[node])) if self._several[node] else 0

    def merge(self, a: int, b: int, node: int) -> None:
        """Groups `a` and `b` become `node`."""
        both, area = self._union(a, b, node)
        self._held[node] = both, area
        self._iou[node] = self._counts.iou(both[:, None], np.array([area]))[:, 0]
        self._peak[node] = self._iou[node].max(initial=0)
        self._part_peak[node] = max(self._part_peak[a], self._part_peak[b])
        for gone in (a, b):
            self.risen -= self._verdict(gone) == 1
            self.fallen -= self._verdict(gone) == -1
        self.risen += self._verdict(node) == 1
        self.fallen += self._verdict(node) == -1
        self._alive[[a, b]], self._alive[node] = False, True
        self._choose_best(a, b, node)

    def _union(self, a: int, b: int, node: int) -> tuple[np.ndarray, int]:
        """(both int64 (units,), area) of the union: the parts' sums, pixels of both counted once.

        Also notes which sets of concepts hold a member of the union.
        """
        counts = self._counts
        (both_a, area_a), (both_b, area_b) = self._held.pop(a), self._held.pop(b)
        both, area = both_a + both_b, area_a + area_b
        in_a, in_b = self._sets.pop(a), self._sets.pop(b)
        if in_a is None or in_b is None:
            self._sets[node] = in_b if in_a is None else in_a
            return both, area
        shared = np.flatnonzero(np.unpackbits(in_a & in_b, count=len(counts.pixels)))
        if len(shared):
            pick = sparse.csr_array(
                (np.ones(len(shared), np.int64), shared, np.array([0, len(shared)])),
                shape=(1, len(counts.pixels)),
            )
            both = both - np.asarray((pick @ counts.active).todense())[0]
            area -= int(counts.pixels[shared].sum())
        self._sets[node] = in_a | in_b
        return both, area

    def _choose_best(self, a: int, b: int, node: int) -> None:
        """Only units whose best group is gone need another; the rest compare with the new one."""
        lost = np.flatnonzero((self._holder == a) | (self._holder == b))
        if len(lost):
            left = np.flatnonzero(self._alive)
            part = self._iou[np.ix_(left, lost)]
            self._holder[lost], self.best[lost] = left[part.argmax(0)], part.max(0)
        better = self._iou[node] > self.best
        self.best[better], self._holder[better] = self._iou[node][better], node


def _sets(counts: UnionCounts, blocks: Groups) -> dict[int, np.ndarray | None]:
    """By block: which sets have a member of it, as bits; None where none has."""
    by_concept = sparse.csc_array(counts.together)
    out: dict[int, np.ndarray | None] = {}
    for number, block in enumerate(blocks):
        rows = np.concatenate(
            [by_concept.indices[by_concept.indptr[c] : by_concept.indptr[c + 1]] for c in block]
        )
        if not len(rows):
            out[number] = None
            continue
        here = np.zeros(len(counts.pixels), bool)
        here[rows] = True
        out[number] = np.packbits(here)
    return out


def measured(counts: UnionCounts, groups: Groups) -> Swept:
    """:class:`Swept` of one given clustering."""
    iou = counts.iou(*counts.union(groups))
    single = counts.iou(counts.both, counts.areas).max(0, initial=0)
    part = np.array([single[group].max() for group in groups])
    several = np.array([len(group) > 1 for group in groups])
    peak = iou.max(0, initial=0)
    return Swept(
        iou.max(1, initial=0)[None],
        np.array([int((several & (peak > part)).sum())]),
        np.array([int((several & (peak < part)).sum())]),
    )


@dataclass(frozen=True)
class Grouping:
    """How concepts are put into groups, and what the gain is compared with.

    Attributes
    ----------
    ks : numbers of groups; all that can be made where None.
    method : of :data:`~core.merging.fuse.METHODS`. links : concepts that must or must not share
        a group.
    seed : of k-means, the random groupings and the intervals.
    draws : random groupings of the same sizes (each a random exchange of the members).
    """

    ks: Sequence[int] | None = None
    method: str = "agglomerative"
    links: Links | None = None
    seed: int = 0
    draws: int = DRAWS

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise unknown("clustering method", self.method, METHODS)


class _Compared(NamedTuple):
    """A grouping at every k beside its controls.

    own : of the vectors. drawn : for each random grouping, float64 (k's, units), best IoUs.
    words : the same of the grouping by names; NaN where it was not made.
    """

    own: Swept
    drawn: list[np.ndarray]
    words: np.ndarray


def gain_curve(
    counts: UnionCounts,
    vectors: Vectors,
    members: np.ndarray,
    how: Grouping | None = None,
    words: Vectors | None = None,
    progress: Report | None = None,
) -> pd.DataFrame:
    """(B − A) / A for k groups, for every k, with intervals and controls.

    Parameters
    ----------
    members : concept indices that take part. how : :class:`Grouping`.
    words : vectors of the names, to compare with at the same k; clustered the same way.
    progress : called after every clustering or pass.

    Returns
    -------
    One row a k, ascending, in the columns of the published table and more:

    nb_groups, true_victory, true_defeat : k; groups whose IoU rose and fell (:class:`Swept`).
        ratio_victory = true_victory / nb_groups.
    ratio_iou : (B − A) / A. Embeddings : name of the vectors. before, after : A and B.
    low, high : 95 % interval of the gain, over units
        (:func:`core.foundation.intervals.gain_interval`).
    random, random_low, random_high : mean and middle 95 % of the gain of random groups.
    beyond : gain − random; beyond_low, beyond_high : its 95 % interval, over units.
    chance : share of random groupings that gain as much, (1 + reached) / (1 + draws).
    words, over_words, over_words_low, over_words_high : gain of grouping by names, and the
        difference to it with its interval over units; NaN where `words` is None or cannot
        make k groups.

    Raises UnitscopeError for a k that cannot be made, or A = 0.
    """
    how = how or Grouping()
    members = np.sort(np.asarray(members, np.int64))
    alone = counts.iou(*counts.union([np.array([c]) for c in members])) if len(members) else None
    a = alone.max(1, initial=0) if alone is not None else np.zeros(0)
    if not a.size or a.mean() == 0:
        raise UnitscopeError("no unit overlaps any concept, so there is no IoU to gain on")
    tree = dendrogram(vectors, members, how.links)
    ks = sorted(set(how.ks)) if how.ks is not None else list(range(tree.least, tree.most + 1))
    swaps = _random_swaps(len(counts.areas), members, how)
    meter = Meter(progress)
    if how.method == "agglomerative":
        compared = _by_dendrogram(counts, tree, ks, swaps, members, how, words, meter)
    else:
        compared = _by_kmeans(counts, vectors, ks, swaps, members, how, words, meter)
    return _gain_table(compared, a, ks, vectors.name, how)


def _random_swaps(concepts: int, members: np.ndarray, how: Grouping) -> list[np.ndarray]:
    """int64 (concepts,) a draw: the members exchanged at random, the others where they are."""
    rng = np.random.default_rng(how.seed)
    swaps = []
    for _ in range(how.draws):
        swap = np.arange(concepts)
        swap[members] = rng.permutation(members)
        swaps.append(swap)
    return swaps


def _by_dendrogram(
    counts: UnionCounts,
    tree: Dendrogram,
    ks: Sequence[int],
    swaps: Sequence[np.ndarray],
    members: np.ndarray,
    how: Grouping,
    words: Vectors | None,
    meter: Meter,
) -> _Compared:
    """All k in one pass over the dendrogram, and one for each control."""
    meter.start("gain", 1 + len(swaps) + (words is not None), of="groupings")
    own = sweep(counts, tree, ks)
    meter.step()
    drawn = []
    for swap in swaps:
        drawn.append(sweep(counts, tree, ks, swap).best)
        meter.step()
    own_words = np.full((len(ks), len(counts.hits)), np.nan)
    if words is not None:
        other = dendrogram(words, members, how.links)
        can = [row for row, k in enumerate(ks) if other.least <= k <= other.most]
        own_words[can] = sweep(counts, other, [ks[row] for row in can]).best
        meter.step()
    return _Compared(own, drawn, own_words)


def _by_kmeans(
    counts: UnionCounts,
    vectors: Vectors,
    ks: Sequence[int],
    swaps: Sequence[np.ndarray],
    members: np.ndarray,
    how: Grouping,
    words: Vectors | None,
    meter: Meter,
) -> _Compared:
    """A clustering for each k, and one for the control by names."""
    meter.start("gain", len(ks) * (1 + (words is not None)), of="groupings")
    parts = []
    units = len(counts.hits)
    drawn = [np.zeros((len(ks), units)) for _ in swaps]
    own_words = np.full((len(ks), units), np.nan)
    for row, k in enumerate(ks):
        groups = kmeans(vectors, members, k, how.links, how.seed)
        parts.append(measured(counts, groups))
        for table, swap in zip(drawn, swaps, strict=True):
            table[row] = measured(counts, [swap[group] for group in groups]).best[0]
        meter.step()
        if words is not None:
            by_words = kmeans(words, members, k, how.links, how.seed)
            own_words[row] = measured(counts, by_words).best[0]
            meter.step()
    own = Swept(
        np.concatenate([part.best for part in parts]),
        np.concatenate([part.risen for part in parts]),
        np.concatenate([part.fallen for part in parts]),
    )
    return _Compared(own, drawn, own_words)


def _gain_table(
    compared: _Compared, a: np.ndarray, ks: Sequence[int], name: str, how: Grouping
) -> pd.DataFrame:
    """The table of :func:`gain_curve`. a : float64 (units,), best IoU over single concepts."""
    own, drawn, words = compared
    seed = how.seed
    gain = own.best.mean(1) / a.mean() - 1
    at_random = np.array([table.mean(1) / a.mean() - 1 for table in drawn])
    by_words = words.mean(1) / a.mean() - 1
    counts = np.array(ks)
    nothing = np.full(len(ks), np.nan)
    low, high = gain_interval(own.best.T - a[:, None], a, seed)
    beyond_low, beyond_high = random_low, random_high = nothing, nothing
    if drawn:
        random_low, random_high = np.quantile(at_random, [0.025, 0.975], axis=0)
        beyond_low, beyond_high = gain_interval((own.best - np.mean(drawn, axis=0)).T, a, seed)
    over_low, over_high = gain_interval((own.best - words).T, a, seed)
    mean_random = at_random.mean(0) if drawn else nothing
    reached = (at_random >= gain).sum(0) if drawn else nothing
    return pd.DataFrame(
        {
            "nb_groups": counts,
            "true_victory": own.risen,
            "true_defeat": own.fallen,
            "ratio_victory": own.risen / counts,
            "ratio_iou": gain,
            "Embeddings": name,
            "before": a.mean(),
            "after": own.best.mean(1),
            "low": low,
            "high": high,
            "random": mean_random,
            "random_low": random_low,
            "random_high": random_high,
            "beyond": gain - mean_random,
            "beyond_low": beyond_low,
            "beyond_high": beyond_high,
            "chance": (1 + reached) / (1 + len(drawn)),
            "words": by_words,
            "over_words": gain - by_words,
            "over_words_low": over_low,
            "over_words_high": over_high,
        }
    )


def run_gain(
    run: Run,
    space: Space,
    vectors: Vectors,
    how: Grouping | None = None,
    layer: str | None = None,
    splits: Sequence[str] | None = None,
    make: bool = True,
    progress: Report | None = None,
    stop: Stop = never,
) -> pd.DataFrame:
    """:func:`gain_curve` of a run's layer, kept beside the run; names are compared at every k.

    Raises UnitscopeError where `make` is False and it was not made yet, and as
    :meth:`UnionCounts.from_run`.
    """
    how = how or Grouping()
    name = run.layer_names[run.layer(layer)]
    links = how.links
    facts = {
        "layer": name,
        "splits": list(splits or ()),
        "method": how.method,
        "seed": how.seed,
        "draws": how.draws,
        "ks": list(how.ks) if how.ks is not None else None,
        "vectors": [vectors.name, hashlib.sha256(vectors.rows.tobytes()).hexdigest()],
        "links": None if links is None else [links.block.tolist(), sorted(links.apart)],
        **versions_of("merging", "signatures"),
    }
    path = derived(run, "gain", facts, "csv")
    if path.is_file():
        return pd.read_csv(path)
    if not make:
        raise UnitscopeError(
            f"the IoU gain of {vectors.name} was not computed for {name} yet: "
            f"`python -m core tables {run.digest} --table 5` does"
        )
    counts = UnionCounts.from_run(run, layer, splits, progress, stop)
    words = None if vectors.name == WORDS else space.vectors(WORDS)
    frame = gain_curve(counts, vectors, space.members, how, words)
    write_whole(path, lambda fresh: frame.to_csv(fresh, index=False))
    return frame
