"""Core concepts of scenes: the k most frequent, scoping (SCC) and identifier (ICC).

D_y are the images of scene y, C_y the concepts annotated in at least one of them; concepts of
the colour and scene categories never take part. The frequency of c in y is the share of D_y in
which c is annotated. With a percentage p (here a fraction):

Count(y, p)      the concepts of C_y with frequency ≥ p
P_c              the highest p at which Count(y, p) differs between any two scenes
TopkOfCount(y)   the k most frequent of Count(y, P_c)
SCount(y, G, p)  the concepts of (RC(y, G) ∩ C_y) ∪ TopkOfCount(y) with frequency ≥ p
P_sc             the highest p at which SCount(y, G, p) differs between any two scenes
SCC(y, G)        RC(y, G) ∩ C_y
ICC(y, G)        SCount(y, G, P_sc)

Among equally frequent concepts, the earlier in the concept table is taken.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import sparse

from core.foundation.errors import UnitscopeError, allow_empty, unknown, without_effect
from core.foundation.vocabulary import Core
from core.knowledge.align import GUESSES, align
from core.knowledge.graph import RELATIONS, Edge, Graph
from core.runs.run_file import Run

LEFT_OUT = ("color", "colour", "scene")
"""Categories whose concepts are never core concepts."""

Edges = list[dict[int, list[Edge]]]
"""By scene: concept index → edges."""


class Related(Edges):
    """RC(y, G) ∩ concepts, by scene: concept index → the edges that relate it; and the alignment of
    names used, by name (of :func:`core.knowledge.align.align`)."""

    def __init__(self, found: Iterable[dict[int, list[Edge]]], alignment: pd.DataFrame):
        super().__init__(found)
        self.alignment = alignment


@dataclass
class Annotated:
    """What is annotated where.

    Attributes
    ----------
    scenes : scene names.
    concepts : concept names; their index is the column everywhere here.
    categories : category of each concept.
    scene_of : int32 (images,), scene of each image; −1 where it has none.
    has : bool CSR (images, concepts).
    """

    scenes: list[str]
    concepts: list[str]
    categories: list[str]
    scene_of: np.ndarray
    has: sparse.csr_array

    def __post_init__(self) -> None:
        if self.has.shape != (len(self.scene_of), len(self.concepts)):
            raise UnitscopeError(
                f"annotations are {self.has.shape}, not {len(self.scene_of)} images × "
                f"{len(self.concepts)} concepts"
            )
        if len(self.categories) != len(self.concepts):
            raise UnitscopeError(
                f"{len(self.categories)} categories for {len(self.concepts)} concepts"
            )
        if len(self.scene_of) and not -1 <= self.scene_of.min() <= self.scene_of.max() < len(
            self.scenes
        ):
            raise UnitscopeError(f"scene_of must lie in −1 … {len(self.scenes) - 1}")

    @classmethod
    def from_run(cls, run: Run, splits: Collection[str] | None = None) -> Annotated:
        """From a run's tables `images`, `areas`, `concepts`; column k is concept id k + 1.

        splits : images of these only (all where None). Concepts of the scene category, which
        hold for whole images, are left out. Raises for an unknown split.
        """
        concepts = run.sql(
            "SELECT concept, name, category FROM concepts WHERE category <> 'scene' ORDER BY 1"
        )
        images = run.sql("SELECT image, split, coalesce(scene, -1) AS scene FROM images ORDER BY 1")
        if splits is not None:
            known = images["split"].unique().tolist()
            for split in splits:
                if split not in known:
                    raise unknown("split", split, known)
            images = images[images["split"].isin(list(splits))]
        areas = run.sql(
            "SELECT a.image, a.concept FROM areas a JOIN concepts c USING (concept) "
            "WHERE c.category <> 'scene' AND a.area > 0"
        )
        areas = areas[areas["image"].isin(images["image"])]
        row = np.searchsorted(images["image"].to_numpy(), areas["image"].to_numpy())
        column = np.searchsorted(concepts["concept"].to_numpy(), areas["concept"].to_numpy())
        has = sparse.csr_array(
            (np.ones(len(areas), bool), (row, column)), shape=(len(images), len(concepts))
        )
        return cls(
            run.sql("SELECT name FROM scenes ORDER BY scene")["name"].tolist(),
            concepts["name"].tolist(),
            concepts["category"].tolist(),
            images["scene"].to_numpy(np.int32),
            has,
        )

    def part(self, rows: np.ndarray) -> Annotated:
        """The annotations of some images alone, by their rows."""
        return Annotated(
            self.scenes, self.concepts, self.categories, self.scene_of[rows], self.has[rows]
        )

    @cached_property
    def eligible(self) -> np.ndarray:
        """bool (concepts,): may be core concepts, by their category."""
        return ~np.isin(np.array(self.categories, object), LEFT_OUT)

    @cached_property
    def sizes(self) -> np.ndarray:
        """int64 (scenes,): |D_y|."""
        return np.bincount(self.scene_of[self.scene_of >= 0], minlength=len(self.scenes))

    @cached_property
    def frequency(self) -> np.ndarray:
        """float64 (scenes, concepts): share of D_y that has the concept; 0 where D_y is empty.

        A quotient of two counts is rounded once, so equal shares are equal numbers and
        comparing them is exact.
        """
        placed = np.flatnonzero(self.scene_of >= 0)
        pick = sparse.csr_array(
            (np.ones(len(placed)), (self.scene_of[placed], placed)),
            shape=(len(self.scenes), len(self.scene_of)),
        )
        counts = (pick @ self.has.astype(np.float64)).toarray()
        value: np.ndarray = counts / np.maximum(self.sizes, 1)[:, None]
        return value


@dataclass
class Identifying:
    """The search for the highest p at which all sets differ, step by step.

    Attributes
    ----------
    p : the percentage found, as a fraction. 1 where no concept occurs at all.
    distinct : do all scenes with images differ at p? If not, p is that with the most distinct
        sets (the highest among equals).
    collisions : scenes that share one set at p, group by group; empty where distinct.
    breakpoints : float64, every frequency that occurs, from the highest down.
    distinct_sets : int64, number of different sets at each breakpoint.
    scenes : scenes that take part (those with images).
    """

    p: float
    distinct: bool
    collisions: list[list[int]]
    breakpoints: np.ndarray
    distinct_sets: np.ndarray
    scenes: int


@dataclass
class CoreConcepts:
    """Core concepts of every scene, with how they were derived.

    Attributes
    ----------
    kind : ``top10`` (``top`` and k), ``scc`` or ``icc``.
    scenes, concepts, categories : names, by row and by column.
    members : bool (scenes, concepts).
    frequency : float64 (scenes, concepts), share of D_y that has the concept.
    edges : by scene: concept → the edges that relate it to the scene. Members chosen by frequency
        alone have no entry.
    p_c, p_sc : P_c and P_sc as fractions (icc only).
    distinct : do the sets of all scenes with images differ? Of icc at P_sc; of the others as
        they are.
    collisions : scenes that share one set, group by group.
    top : bool (scenes, concepts), TopkOfCount (icc only).
    count_search, scount_search : the two searches, by breakpoint (icc only).
    alignment : node of each scene and concept, by name; None where no graph was used.
    """

    kind: str
    scenes: list[str]
    concepts: list[str]
    categories: list[str]
    members: np.ndarray
    frequency: np.ndarray
    edges: Edges
    p_c: float | None = None
    p_sc: float | None = None
    distinct: bool = True
    collisions: list[list[int]] = field(default_factory=list)
    top: np.ndarray | None = None
    count_search: Identifying | None = None
    scount_search: Identifying | None = None
    alignment: pd.DataFrame | None = None

    def guesses(self, scene: int, concept: int | None = None) -> list[str]:
        """The guessed names that a member (or the whole scene) depends on, in words; empty for a
        member chosen by frequency alone."""
        names = [self.scenes[scene]]
        if concept is not None:
            names = [*names, self.concepts[concept]] if concept in self.edges[scene] else []
        return guessed(self.alignment, names)

    def scene(self, name: str) -> int:
        """Row of a scene by its name; raises with the nearest names."""
        if name not in self.scenes:
            raise unknown("scene", name, self.scenes)
        return self.scenes.index(name)

    def table(self, scene: int | str) -> pd.DataFrame:
        """Members of one scene, most frequent first: concept, category, frequency, `by` (``graph``,
        ``frequency`` or ``both``), the facts in words, and the guessed names they depend on (empty
        if none)."""
        row = self.scene(scene) if isinstance(scene, str) else scene
        rows = []
        for c in sorted(np.flatnonzero(self.members[row]), key=lambda c: -self.frequency[row, c]):
            edges = self.edges[row].get(int(c), [])
            often = self.top is None or bool(self.top[row, c])
            rows.append(
                {
                    "concept": self.concepts[c],
                    "category": self.categories[c],
                    "frequency": float(self.frequency[row, c]),
                    "by": ("both" if often and self.kind == "icc" else "graph")
                    if edges
                    else "frequency",
                    "edges": "; ".join(f"{e.head} {e.relation} {e.tail}" for e in edges),
                    "guess": "; ".join(self.guesses(row, int(c))),
                }
            )
        columns = ["concept", "category", "frequency", "by", "edges", "guess"]
        return pd.DataFrame(rows, columns=columns)


def guessed(alignment: pd.DataFrame | None, names: Sequence[str]) -> list[str]:
    """The names whose node is a guess, each with its node, kind and score."""
    if alignment is None:
        return []
    found = [alignment.loc[name] for name in dict.fromkeys(names)]
    return [
        f"{row['name']} → {row['node']} ({row['kind'].replace('_', ' ')}, {row['score']:.2f})"
        for row in found
        if row["kind"] in GUESSES
    ]


# -- RC(y, G) --------------------------------------------------------------------------------


def related_concepts(
    annotated: Annotated,
    graph: Graph,
    relations: Collection[str] = RELATIONS,
    hops: int = 1,
    overrides: Path | Mapping[str, str] | None = None,
    synonyms: Mapping[str, Sequence[str]] | None = None,
    direction: str = "both",
    min_weight: float = 0.0,
    min_score: float = 0.0,
) -> Related:
    """RC(y, G) ∩ C for every scene y: the dataset's concepts among the neighbours of its node.

    Scene and concept names are brought to nodes by :func:`core.knowledge.align.align`, with the
    same `overrides` and `synonyms`; a name without a node, or with a score below `min_score`, is
    related to nothing. Concepts of the colour and scene categories are left out. The scene's own
    node is not its neighbour.

    Returns by scene: concept index → edges, as in :meth:`Graph.neighbours`. Raises for an unknown
    relation, direction, number of hops or override; :class:`core.foundation.errors.NoEffect` where
    the graph says nothing of this dataset: it has none of the relations, no scene or no concept is
    one of its nodes, or no fact joins any.
    """
    names = [*annotated.scenes, *annotated.concepts]
    frame = align(list(dict.fromkeys(names)), graph, synonyms, overrides)
    node_of: dict[str, str | None] = {
        name: node if score >= min_score else None
        for name, node, score in zip(frame["name"], frame["node"], frame["score"], strict=True)
    }
    concepts_at: dict[str, list[int]] = {}
    for c in np.flatnonzero(annotated.eligible).tolist():
        node = node_of[annotated.concepts[c]]
        if node is not None:
            concepts_at.setdefault(node, []).append(c)
    # Checked even where no scene has a node, so that a misspelt relation is never passed over.
    allowed = graph.check(relations, hops, direction)
    out: Edges = []
    for scene in annotated.scenes:
        found: dict[int, list[Edge]] = {}
        node = node_of[scene]
        if node is not None:
            near = graph.neighbours(node, relations, hops, direction, min_weight, among=concepts_at)
            for other, edges in near.items():
                found.update({c: edges for c in concepts_at[other]})
        out.append(dict(sorted(found.items())))
    mend = "`align` shows the names and their nodes, `align --write FILE` and --overrides mend them"
    if not annotated.scenes or not annotated.eligible.any():
        pass
    elif not allowed.any():
        held = ", ".join(list(graph.counts())[:8])
        without_effect(
            f"{graph.name} has no fact by {', '.join(relations)}; its relations are {held}"
        )
    elif not any(node_of[scene] for scene in annotated.scenes):
        without_effect(
            f"none of the {len(annotated.scenes)} scenes ({_few(annotated.scenes)}) is a node of "
            f"{graph.name}: {mend}"
        )
    elif not concepts_at:
        without_effect(
            f"none of the {int(annotated.eligible.sum())} concepts ({_few(annotated.concepts)}) is "
            f"a node of {graph.name}: {mend}"
        )
    elif not any(out):
        without_effect(
            f"{graph.name} relates none of the {int(annotated.eligible.sum())} concepts to any of "
            f"the {len(annotated.scenes)} scenes: {mend}"
        )
    return Related(out, frame.set_index("name", drop=False))


def _few(names: Sequence[str], most: int = 3) -> str:
    return ", ".join(names[:most]) + (", …" if len(names) > most else "")


def related_mask(related: Edges, concepts: int) -> np.ndarray:
    """bool (scenes, concepts) of :func:`related_concepts`."""
    mask = np.zeros((len(related), concepts), bool)
    for row, found in enumerate(related):
        mask[row, list(found)] = True
    return mask


# -- the three kinds -------------------------------------------------------------------------


def _most_frequent(frequency: np.ndarray, allowed: np.ndarray, k: int) -> np.ndarray:
    """bool: the k most frequent of the allowed that occur, in each row; ties by column."""
    value = np.where(allowed, frequency, 0.0)
    order = np.argsort(-value, axis=1, kind="stable")[:, :k]
    top = np.zeros(value.shape, bool)
    np.put_along_axis(top, order, True, axis=1)
    return top & (value > 0)


def _result(annotated: Annotated, kind: str, members: np.ndarray, **more: Any) -> CoreConcepts:
    return CoreConcepts(
        kind,
        list(annotated.scenes),
        list(annotated.concepts),
        list(annotated.categories),
        members,
        annotated.frequency,
        **more,
    )


def top_k_concepts(annotated: Annotated, k: int = 10) -> CoreConcepts:
    """Top k: the k most frequent concepts of C_y (fewer where C_y is smaller), no graph.

    Ties by the order of the concept table. Raises where k < 1.
    """
    if k < 1:
        raise UnitscopeError(f"k must be at least 1, not {k}")
    members = _most_frequent(annotated.frequency, annotated.eligible[None, :], k)
    same = _collisions(members, annotated.sizes > 0)
    return _result(
        annotated,
        f"top{k}",
        members,
        edges=[{} for _ in annotated.scenes],
        distinct=not same,
        collisions=same,
    )


def scoping_core_concepts(annotated: Annotated, related: Edges) -> CoreConcepts:
    """SCC(y, G) = RC(y, G) ∩ C_y: concepts related to the scene in the graph and annotated in its
    images."""
    members = _scoped(annotated, related)
    same = _collisions(members, annotated.sizes > 0)
    return _result(
        annotated,
        "scc",
        members,
        edges=_edges_of(members, related),
        alignment=_names_of(related),
        distinct=not same,
        collisions=same,
    )


def identifier_core_concepts(annotated: Annotated, related: Edges, k: int = 2) -> CoreConcepts:
    """ICC(y, G) = SCount(y, G, P_sc), with P_c, TopkOfCount and P_sc (see the module's text).

    related : RC(y, G) from :func:`related_concepts`. k : of TopkOfCount; 0 leaves it out.

    Scenes without images have no core concepts and do not affect P_c and P_sc. Two empty sets are
    equal. Where no p makes all scenes differ, the p with the most distinct sets is taken, the
    highest among equals, and `collisions` names the scenes that share a set.
    """
    if k < 0:
        raise UnitscopeError(f"k must be at least 0, not {k}")
    frequency, shown = annotated.frequency, annotated.sizes > 0
    count = identifying_percentage(frequency, annotated.eligible[None, :], shown)
    at_least = annotated.eligible[None, :] & (frequency >= count.p)
    top = _most_frequent(frequency, at_least, k)
    pool = _scoped(annotated, related) | top
    scount = identifying_percentage(frequency, pool, shown)
    members = pool & (frequency >= scount.p)
    return _result(
        annotated,
        "icc",
        members,
        edges=_edges_of(members, related),
        alignment=_names_of(related),
        p_c=count.p,
        p_sc=scount.p,
        distinct=scount.distinct,
        collisions=scount.collisions,
        top=top,
        count_search=count,
        scount_search=scount,
    )


def core_concepts(annotated: Annotated, related: Edges, kind: str) -> CoreConcepts:
    """Core concepts of a kind by name: ``top10``, ``scc`` or ``icc``."""
    if kind == "top10":
        return top_k_concepts(annotated)
    if kind == "scc":
        return scoping_core_concepts(annotated, related)
    if kind == "icc":
        return identifier_core_concepts(annotated, related)
    raise unknown("kind of core concepts", kind, ("top10", "scc", "icc"))


def all_core_concepts(
    run: Run,
    graph: Graph,
    overrides: Path | None = None,
    splits: Sequence[str] | None = None,
    kinds: Sequence[str] = tuple(Core),
) -> dict[str, CoreConcepts]:
    """Top 10, SCC and ICC of a run's scenes, from one alignment with the graph.

    overrides : the user's own table of names and nodes (:func:`core.knowledge.align.align`).
    splits : from the annotations of these images alone; all where None.
    kinds : these alone. Top 10 alone asks nothing of the graph.

    Raises :class:`core.foundation.errors.NoEffect` as :func:`related_concepts`, and for an unknown
    kind.
    """
    annotated = Annotated.from_run(run, splits)
    related: Edges = []
    if any(kind != "top10" for kind in kinds):
        related = related_concepts(annotated, graph, overrides=overrides)
    elif overrides is not None:
        without_effect("Top 10 goes by frequency alone, so --overrides cannot change it")
    return core_kinds(annotated, related, kinds)


def core_kinds(
    annotated: Annotated, related: Edges, kinds: Sequence[str] = tuple(Core)
) -> dict[str, CoreConcepts]:
    """Core concepts of annotated scenes by kind, of :class:`~core.foundation.vocabulary.Core`."""
    return {kind: core_concepts(annotated, related, kind) for kind in kinds}


def _scoped(annotated: Annotated, related: Edges) -> np.ndarray:
    if len(related) != len(annotated.scenes):
        raise UnitscopeError(f"{len(related)} related sets for {len(annotated.scenes)} scenes")
    mask = related_mask(related, len(annotated.concepts))
    value: np.ndarray = mask & (annotated.frequency > 0) & annotated.eligible[None, :]
    return value


def _edges_of(members: np.ndarray, related: Edges) -> Edges:
    return [
        {c: edges for c, edges in found.items() if members[row, c]}
        for row, found in enumerate(related)
    ]


def _names_of(related: Edges) -> pd.DataFrame | None:
    return related.alignment if isinstance(related, Related) else None


# -- P_c and P_sc ----------------------------------------------------------------------------


def identifying_percentage(
    frequency: np.ndarray, pool: np.ndarray, shown: np.ndarray
) -> Identifying:
    """P_c or P_sc: the highest p at which {c ∈ pool(y): frequency ≥ p} differs between scenes.

    frequency : float64 (scenes, concepts). pool : bool, of that shape or (1, concepts).
    shown : bool (scenes,), scenes that take part.

    Exact over all frequencies that occur. A set is the XOR of a random 128-bit word per concept,
    so going down one breakpoint changes a scene's word by one XOR. Every word a scene ever has
    gets a number; the frequencies at which some scene holds it form intervals, and the number of
    distinct sets at p is the number of words whose intervals cover p. That needs sorting only.
    """
    rows = np.flatnonzero(shown)
    value = np.where(pool, frequency, 0.0)[rows]
    at_row, at_column = np.nonzero(value)
    held = value[at_row, at_column]
    breakpoints, time = np.unique(-held, return_inverse=True)
    breakpoints = -breakpoints
    if not len(held):
        same = [rows.tolist()] if len(rows) > 1 else []
        return Identifying(1.0, not same, same, breakpoints, np.zeros(0, np.int64), len(rows))
    order = np.argsort(at_row * len(breakpoints) + time, kind="stable")
    row, time = at_row[order], time[order]
    words = np.random.default_rng(0x1CC).integers(0, 2**64, (value.shape[1], 2), np.uint64)
    run = np.bitwise_xor.accumulate(words[at_column[order]], axis=0)
    # A scene's words begin anew: take out what the scenes before it left in the running XOR.
    first = np.flatnonzero(np.r_[True, row[1:] != row[:-1]])
    before = np.zeros((len(rows), 2), np.uint64)
    before[row[first[1:]]] = run[first[1:] - 1]
    word = run ^ before[row]
    # Of concepts with one frequency in one scene only the last leaves a set that occurs.
    last = np.r_[(row[1:] != row[:-1]) | (time[1:] != time[:-1]), True]
    row, start, word = row[last], time[last], word[last]
    end = np.full(len(row), len(breakpoints))
    follows = row[1:] == row[:-1]
    end[:-1][follows] = start[1:][follows]
    # Before its first concept a scene holds the empty set, whose word is 0.
    opening = np.full(len(rows), len(breakpoints))
    opening[row[::-1]] = start[::-1]
    word = np.concatenate([word, np.zeros((len(rows), 2), np.uint64)])
    start = np.concatenate([start, np.zeros(len(rows), start.dtype)])
    end = np.concatenate([end, opening])
    distinct_sets = _covered(_numbers(word), start, end, len(breakpoints))
    best = int(np.argmax(distinct_sets))
    p = float(breakpoints[best])
    full = np.zeros((len(frequency), value.shape[1]), bool)
    full[rows] = value >= p
    same = _collisions(full, shown)
    return Identifying(p, not same, same, breakpoints, distinct_sets, len(rows))


def _numbers(word: np.ndarray) -> np.ndarray:
    """A small number for each different 128-bit word, (n, 2) uint64 → int64 (n,)."""
    _, number = np.unique(word[:, 0], return_inverse=True)
    example = np.empty(number.max() + 1, np.uint64)
    example[number] = word[:, 1]
    if (example[number] == word[:, 1]).all():
        return number
    # Two words share their first half (about never): sort by both.
    return np.unique(word, axis=0, return_inverse=True)[1].reshape(-1)


def _covered(number: np.ndarray, start: np.ndarray, end: np.ndarray, times: int) -> np.ndarray:
    """How many numbers have an interval [start, end) over each time 0 … times − 1."""
    live = end > start
    number, start, end = number[live], start[live].astype(np.int64), end[live].astype(np.int64)
    order = np.argsort(number * (times + 1) + start, kind="stable")
    number, start, end = number[order], start[order], end[order]
    # Numbers lie one behind the other on one long axis, so a running maximum stays in its own.
    base = number * (times + 1)
    reach = np.maximum.accumulate(base + end)
    fresh = np.r_[True, (base + start)[1:] > reach[:-1]]
    closing = np.r_[np.flatnonzero(fresh)[1:] - 1, len(fresh) - 1]
    change = np.bincount(start[fresh], minlength=times + 1)
    change -= np.bincount(reach[closing] - base[closing], minlength=times + 1)
    return np.cumsum(change[:times])


def _collisions(members: np.ndarray, shown: np.ndarray) -> list[list[int]]:
    """Groups of two or more shown scenes with one set, exactly, in the order of the scenes."""
    groups: dict[bytes, list[int]] = {}
    packed = np.packbits(members, axis=1)
    for row in np.flatnonzero(shown).tolist():
        groups.setdefault(packed[row].tobytes(), []).append(row)
    return [rows for rows in groups.values() if len(rows) > 1]


# -- how much the graph knows ----------------------------------------------------------------


def coverage(
    scenes: Sequence[str],
    concepts: Sequence[str],
    graph: Graph,
    relations: Collection[str] = RELATIONS,
    hops: int = 1,
    overrides: Path | Mapping[str, str] | None = None,
    synonyms: Mapping[str, Sequence[str]] | None = None,
) -> pd.DataFrame:
    """Coverage of a dataset's scenes by a graph: alignment and |RC(y, G) ∩ concepts| of each.

    Columns scene, node, kind, score, via (of :func:`align`), neighbours (all nodes related to
    the scene), concepts (how many of the dataset's), names (which, in words).
    """
    annotated = Annotated(
        list(scenes),
        list(concepts),
        ["object"] * len(concepts),
        np.zeros(0, np.int32),
        sparse.csr_array((0, len(concepts)), dtype=bool),
    )
    with allow_empty(lambda _: None):  # how little a graph knows is what is asked
        related = related_concepts(annotated, graph, relations, hops, overrides, synonyms)
    frame = related.alignment.loc[list(scenes)].rename(columns={"name": "scene"})
    frame = frame.reset_index(drop=True)
    frame["neighbours"] = [
        0 if node is None else len(graph.neighbours(node, relations, hops))
        for node in frame["node"]
    ]
    frame["concepts"] = [len(found) for found in related]
    frame["names"] = [", ".join(concepts[c] for c in found) for found in related]
    return frame
