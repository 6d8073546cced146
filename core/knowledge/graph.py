"""Knowledge graphs: everyday facts in compact arrays, neighbourhoods, search for similar names.

Names of nodes are lower case with single spaces, whatever the file writes, and of ConceptNet's
URIs (/c/en/bed/n) the word; ConceptNet's relations have its spelling (AtLocation for atlocation,
at_location or /r/AtLocation), others that of the file. A fact stated twice is
one edge with the larger weight; a fact that joins a node to itself is dropped.
"""

from __future__ import annotations

import hashlib
import json
import re
from array import array
from collections.abc import Collection, Iterable, Sequence
from functools import cached_property, lru_cache
from typing import Any, NamedTuple, overload

import numpy as np

from core.foundation.errors import UnitscopeError, nearest, unknown
from core.foundation.names import readable

RELATIONS = ("AtLocation", "LocatedNear", "HasA", "PartOf", "RelatedTo", "UsedFor", "MadeOf")
"""Relations of RC(y, G), the concepts related to a scene, where none are chosen."""

CONCEPTNET_RELATIONS = (
    "AtLocation",
    "Antonym",
    "CapableOf",
    "Causes",
    "CausesDesire",
    "CreatedBy",
    "DefinedAs",
    "DerivedFrom",
    "Desires",
    "DistinctFrom",
    "Entails",
    "EtymologicallyDerivedFrom",
    "EtymologicallyRelatedTo",
    "FormOf",
    "HasA",
    "HasContext",
    "HasFirstSubevent",
    "HasLastSubevent",
    "HasPrerequisite",
    "HasProperty",
    "HasSubevent",
    "InstanceOf",
    "IsA",
    "LocatedNear",
    "MadeOf",
    "MannerOf",
    "MotivatedByGoal",
    "NotCapableOf",
    "NotDesires",
    "NotHasProperty",
    "ObstructedBy",
    "PartOf",
    "ReceivesAction",
    "RelatedTo",
    "SimilarTo",
    "SymbolOf",
    "Synonym",
    "UsedFor",
)
"""Known names: asking a graph for one of them that it happens to lack is no mistake."""
MAX_RELATIONS = 2000


class Edge(NamedTuple):
    """One fact: head –relation→ tail, with its weight (1 where the source gives none)."""

    relation: str
    head: str
    tail: str
    weight: float


class Names(Sequence[str]):
    """Sorted distinct names in one block of bytes: a list of 1.5 million costs 30 MB, not 200."""

    def __init__(self, blob: np.ndarray, offsets: np.ndarray):
        """blob : uint8, names in UTF-8 end to end. offsets : int64 (names + 1,)."""
        self._bytes = blob.tobytes()
        self.blob = np.frombuffer(self._bytes, np.uint8)
        self.offsets = offsets

    @classmethod
    def of(cls, names: Sequence[bytes]) -> Names:
        """From distinct names that are already sorted (as bytes, that is by code point)."""
        offsets = np.zeros(len(names) + 1, np.int64)
        offsets[1:] = np.cumsum(np.fromiter(map(len, names), np.int64, len(names)))
        return cls(np.frombuffer(b"".join(names), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    @overload
    def __getitem__(self, index: int) -> str: ...
    @overload
    def __getitem__(self, index: slice) -> list[str]: ...
    def __getitem__(self, index: int | slice) -> str | list[str]:
        if isinstance(index, slice):
            return [self[k] for k in range(*index.indices(len(self)))]
        if not -len(self) <= index < len(self):
            raise IndexError(index)
        index %= len(self)
        return self._bytes[self.offsets[index] : self.offsets[index + 1]].decode()

    def __contains__(self, name: object) -> bool:
        return isinstance(name, str) and self.find(name) is not None

    def find(self, name: str) -> int | None:
        """Position of a name, or None."""
        want = name.encode()
        low = self.bound(want)
        if low < len(self) and self._bytes[self.offsets[low] : self.offsets[low + 1]] == want:
            return low
        return None

    def bound(self, want: bytes) -> int:
        """Number of names below `want`, by binary search, without a table in memory."""
        low, high = 0, len(self)
        while low < high:
            middle = (low + high) // 2
            if self._bytes[self.offsets[middle] : self.offsets[middle + 1]] < want:
                low = middle + 1
            else:
                high = middle
        return low


LETTERS = 28
"""Columns of the letter counts: a to z, the space, all else."""


def _letter_codes(blob: np.ndarray) -> np.ndarray:
    codes = np.full(256, 27, np.uint8)
    codes[ord("a") : ord("z") + 1] = np.arange(26)
    codes[ord(" ")] = 26
    value: np.ndarray = codes[blob]
    return value


def edit_distance(a: str, b: str, most: int) -> int:
    """Optimal string alignment distance: insertions, deletions, substitutions and transpositions;
    `most` + 1 as soon as it exceeds `most`.

    >>> edit_distance("refridgerator", "refrigerator", 2), edit_distance("desk", "disks", 1)
    (1, 2)
    """
    if abs(len(a) - len(b)) > most:
        return most + 1
    before: list[int] = []
    last = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        row = [i]
        for j, y in enumerate(b, 1):
            cost = min(last[j] + 1, row[j - 1] + 1, last[j - 1] + (x != y))
            if i > 1 and j > 1 and x == b[j - 2] and a[i - 2] == y:
                cost = min(cost, before[j - 2] + 1)
            row.append(cost)
        if min(row) > most:
            return most + 1
        before, last = last, row
    return min(last[-1], most + 1)


class Graph:
    """Facts as arrays, indexed by head and by tail.

    Attributes
    ----------
    name : what it was read from, without the folder (shown with figures).
    nodes : node names, sorted.
    relations : relation names, sorted.
    heads, tails : int32 (edges,), positions in `nodes`; edges are ordered by head, relation, tail.
    kinds : int16 (edges,), positions in `relations`.
    weights : float32 (edges,).
    """

    def __init__(
        self,
        name: str,
        nodes: Names,
        relations: Sequence[str],
        heads: np.ndarray,
        kinds: np.ndarray,
        tails: np.ndarray,
        weights: np.ndarray,
    ):
        """From edges that are distinct and in order; see :meth:`from_edges` for any others."""
        self.name = name
        self.nodes = nodes
        self.relations = tuple(relations)
        self.heads, self.kinds, self.tails, self.weights = heads, kinds, tails, weights
        self._out = np.searchsorted(heads, np.arange(len(nodes) + 1))
        self._by_tail = np.argsort(tails, kind="stable")
        self._in = np.searchsorted(tails[self._by_tail], np.arange(len(nodes) + 1))

    @classmethod
    def from_edges(cls, edges: Iterable[tuple[Any, ...]], name: str = "facts") -> Graph:
        """From (relation, head, tail[, weight]) in any order; names are folded, duplicates merged.

        >>> Graph.from_edges([("AtLocation", "Bed", "bedroom"), ("HasA", "bed", "pillow")])
        Graph facts: 3 nodes, 2 edges, 2 relations
        """
        gather = Gather()
        for edge in edges:
            weight = float(edge[3]) if len(edge) > 3 else 1.0
            relation, head, tail = fold_relation(str(edge[0])), fold(edge[1]), fold(edge[2])
            gather.add(relation.encode(), head.encode(), tail.encode(), weight)
        return gather.graph(name)

    def __repr__(self) -> str:
        return (
            f"Graph {self.name}: {len(self.nodes):,} nodes, {len(self):,} edges, "
            f"{len(self.relations)} relations"
        )

    def __len__(self) -> int:
        """Number of edges."""
        return len(self.heads)

    def digest(self) -> str:
        """Hex digest of all facts and weights; independent of the file they came from."""
        return self._digest

    @cached_property
    def _digest(self) -> str:
        h = hashlib.sha256(json.dumps(self.relations).encode())
        for part in (
            self.nodes.blob,
            self.nodes.offsets,
            self.heads,
            self.kinds,
            self.tails,
            self.weights,
        ):
            h.update(np.ascontiguousarray(part).view(np.uint8).data)
        return h.hexdigest()

    def node(self, name: str) -> int | None:
        """Position of a node by its name, folded as the file's names were; None where unknown."""
        return self.nodes.find(fold(name))

    def need(self, name: str) -> int:
        """:meth:`node`; raises with the nearest names where there is none."""
        at = self.node(name)
        if at is None:
            near = self.similar(name)
            result = f"nearest: {', '.join(near)}" if near else "none is like it"
            raise UnitscopeError(
                f"{self.name} has no node {name!r}; {result} (of {len(self.nodes):,})"
            )
        return at

    def degree(self, node: int) -> int:
        """Edges that touch a node."""
        return int(self._out[node + 1] - self._out[node] + self._in[node + 1] - self._in[node])

    def edge(self, number: int) -> Edge:
        """One edge, with names."""
        return Edge(
            self.relations[self.kinds[number]],
            self.nodes[int(self.heads[number])],
            self.nodes[int(self.tails[number])],
            float(self.weights[number]),
        )

    def counts(self) -> dict[str, int]:
        """Edges of each relation, most first."""
        held = np.bincount(self.kinds, minlength=len(self.relations))
        order = sorted(range(len(held)), key=lambda k: (-held[k], self.relations[k]))
        return {self.relations[k]: int(held[k]) for k in order}

    # -- neighbourhoods ----------------------------------------------------------------------

    def neighbours(
        self,
        node_name: str,
        relations: Collection[str] = RELATIONS,
        hops: int = 1,
        direction: str = "both",
        min_weight: float = 0.0,
        among: Collection[str] | None = None,
    ) -> dict[str, list[Edge]]:
        """Neighbours of a node, each with the edges of the path to it.

        Parameters
        ----------
        relations : names of relations to follow.
        hops : 1, or 2 for neighbours of neighbours too.
        direction : ``out`` follows facts from head to tail, ``in`` from tail to head.
        min_weight : facts below it are not followed.
        among : where given, only these nodes are returned (paths may lead through others).

        Returns
        -------
        dict
            Neighbour → edges. A direct neighbour carries all its edges with the node, the
            heaviest first. A node two steps away carries the two edges of one path, that whose
            weaker edge is the heaviest (the first in the graph's order among equals). The node
            itself is no neighbour.

        Raises UnitscopeError for an unknown node or relation, with the nearest names.
        """
        at = self.need(node_name)
        allowed = self.check(relations, hops, direction)
        wanted = None
        if among is not None:
            wanted = {k for k in map(self.node, among) if k is not None}
        found = self.around(at, allowed, hops, direction, min_weight, wanted)
        return {
            self.nodes[other]: [self.edge(number) for number in edges]
            for other, edges in found.items()
        }

    def around(
        self,
        at: int,
        allowed: np.ndarray,
        hops: int,
        direction: str,
        min_weight: float,
        wanted: Collection[int] | None,
    ) -> dict[int, list[int]]:
        """:meth:`neighbours` by numbers: node → edges. `allowed`: bool (relations,)."""
        edges, others, _ = self._step(np.array([at]), allowed, direction, min_weight)
        keep = others != at
        edges, others = edges[keep], others[keep]
        order = np.lexsort((edges, -self.weights[edges], others))
        edges, others = edges[order], others[order]
        chosen = None if wanted is None else np.array(sorted(wanted), np.int64)
        shown = slice(None) if chosen is None else np.isin(others, chosen)
        found: dict[int, list[int]] = {}
        for other, edge in zip(others[shown].tolist(), edges[shown].tolist(), strict=True):
            found.setdefault(other, []).append(edge)
        if hops == 1 or not len(edges):
            return found
        near, best = np.unique(others, return_index=True)
        first = edges[best]
        edges, others, via = self._step(near, allowed, direction, min_weight)
        keep = (others != at) & ~np.isin(others, near)
        if chosen is not None:
            keep &= np.isin(others, chosen)
        edges, others, first = edges[keep], others[keep], first[via[keep]]
        weaker = np.minimum(self.weights[edges], self.weights[first])
        order = np.lexsort((edges, first, -weaker, others))
        far, pick = np.unique(others[order], return_index=True)
        pick = order[pick]
        for other, one, two in zip(
            far.tolist(), first[pick].tolist(), edges[pick].tolist(), strict=True
        ):
            found[other] = [one, two]
        return found

    def _step(
        self, starts: np.ndarray, allowed: np.ndarray, direction: str, min_weight: float
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Edges that leave `starts`, the nodes they lead to, and the start each belongs to."""
        parts = []
        if direction != "in":
            edges, via = _ranges(self._out[starts], self._out[starts + 1])
            parts.append((edges, self.tails[edges], via))
        if direction != "out":
            places, via = _ranges(self._in[starts], self._in[starts + 1])
            edges = self._by_tail[places]
            parts.append((edges, self.heads[edges], via))
        edges, others, via = (np.concatenate(column) for column in zip(*parts, strict=True))
        keep = allowed[self.kinds[edges]] & (self.weights[edges] >= min_weight)
        return edges[keep], others[keep].astype(np.int64), via[keep]

    def check(self, relations: Collection[str], hops: int, direction: str) -> np.ndarray:
        """bool (relations,): those to follow; raises for arguments of :meth:`neighbours` that do
        not exist."""
        if hops not in (1, 2):
            raise UnitscopeError(f"hops is 1 or 2, not {hops}")
        if direction not in ("both", "out", "in"):
            raise unknown("direction", direction, ("both", "out", "in"))
        if isinstance(relations, str):
            relations = [relations]
        for relation in relations:
            if relation not in self.relations and relation not in CONCEPTNET_RELATIONS:
                raise unknown(f"relation of {self.name}", relation, self.relations)
        return np.isin(np.array(self.relations, object), list(relations))

    # -- names like a name -------------------------------------------------------------------

    @cached_property
    def _letters(self) -> np.ndarray:
        counts = np.zeros((len(self.nodes), LETTERS), np.uint8)
        offsets = self.nodes.offsets
        for a in range(0, len(self.nodes), 1 << 16):
            b = min(a + (1 << 16), len(self.nodes))
            codes = _letter_codes(self.nodes.blob[offsets[a] : offsets[b]]).astype(np.int64)
            row = np.repeat(np.arange(b - a), np.diff(offsets[a : b + 1]))
            held = np.bincount(row * LETTERS + codes, minlength=(b - a) * LETTERS)
            counts[a:b] = np.minimum(held, 255).reshape(-1, LETTERS)
        return counts

    def _letter_gap(self, name: str, low: int, high: int) -> np.ndarray:
        """Σ |difference of letter counts| to nodes low … high − 1: at most twice the edits."""
        text = np.frombuffer(name.encode(), np.uint8)
        own = np.minimum(np.bincount(_letter_codes(text), minlength=LETTERS), 255).astype(np.uint8)
        held = self._letters[low:high]
        value: np.ndarray = (np.maximum(held, own) - np.minimum(held, own)).sum(1, dtype=np.int32)
        return value

    def close(self, name: str, most: int) -> list[tuple[int, int]]:
        """(edit distance, node) of the nodes at most `most` edits away that share the first
        letter; nearest first, then by number of edges."""
        name = fold(name)
        if not name:
            return []
        # Nodes are sorted, so those with one first letter lie together.
        letter = name[0].encode()
        low, high = self.nodes.bound(letter), self.nodes.bound(letter + b"\xff")
        hits = []
        for node in np.flatnonzero(self._letter_gap(name, low, high) <= 2 * most).tolist():
            distance = edit_distance(name, self.nodes[low + node], most)
            if distance <= most:
                hits.append((distance, low + node))
        return sorted(hits, key=lambda hit: (hit[0], -self.degree(hit[1]), hit[1]))

    def similar(self, name: str, count: int = 5) -> list[str]:
        """Node names to suggest for an unknown name, best first."""
        name = fold(name)
        if not name or not len(self.nodes):
            return []
        gap = self._letter_gap(name, 0, len(self.nodes))
        few = np.argsort(gap, kind="stable")[:400]
        return nearest(name, [self.nodes[int(k)] for k in few], count)


def _ranges(starts: np.ndarray, stops: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """All integers of [start, stop) of each pair, and the number of the pair each came from."""
    lengths = stops - starts
    via = np.repeat(np.arange(len(starts)), lengths)
    shift = np.repeat(starts - np.cumsum(lengths) + lengths, lengths)
    return np.arange(int(lengths.sum())) + shift, via


def fold(name: object) -> str:
    """A node's name as graphs here write it: lower case, single spaces for ``_``; of an English
    URI of ConceptNet the word.

    >>> fold("Living_Room"), fold(" night  stand "), fold("/c/en/bed/n/wn/artifact")
    ('living room', 'night stand', 'bed')
    """
    text = str(name).lower()
    if text.strip().startswith("/c/en/"):
        text = text.strip().split("/")[3]
    return readable(" ".join(text.replace("_", " ").split()))


_SPELT = {name.lower(): name for name in CONCEPTNET_RELATIONS}


@lru_cache(maxsize=1 << 16)
def fold_relation(name: str) -> str:
    """A relation's name in ConceptNet's spelling; other names are left as they are.

    >>> fold_relation("/r/AtLocation"), fold_relation("at location"), fold_relation("FoundIn")
    ('AtLocation', 'AtLocation', 'FoundIn')
    """
    text = name.strip().removeprefix("/r/").strip("/ ")
    return _SPELT.get(re.sub(r"[\s_-]+", "", text.lower()), text)


class Gather:
    """Collects edges while a file is read: numbers in arrays, names in one table."""

    def __init__(self) -> None:
        self.nodes: dict[bytes, int] = {}
        self.relations: dict[bytes, int] = {}
        self.heads, self.tails, self.kinds = array("i"), array("i"), array("h")
        self.weights = array("f")

    def add(self, relation: bytes, head: bytes, tail: bytes, weight: float) -> None:
        if head == tail:
            return
        nodes, relations = self.nodes, self.relations
        self.heads.append(nodes.setdefault(head, len(nodes)))
        self.tails.append(nodes.setdefault(tail, len(nodes)))
        self.kinds.append(relations.setdefault(relation, len(relations)))
        self.weights.append(weight)

    def graph(self, name: str) -> Graph:
        """Sort names, number edges by them, merge duplicate facts (keeping the largest weight)."""
        names, nodes = _sorted(self.nodes)
        kinds_of, relations = _sorted(self.relations)
        heads = names[np.frombuffer(self.heads, np.int32)] if self.heads else np.zeros(0, int)
        tails = names[np.frombuffer(self.tails, np.int32)] if self.tails else np.zeros(0, int)
        kinds = kinds_of[np.frombuffer(self.kinds, np.int16)] if self.kinds else np.zeros(0, int)
        weights = np.array(self.weights, np.float32)
        order = np.lexsort((-weights, tails, kinds, heads))
        heads, kinds, tails, weights = (a[order] for a in (heads, kinds, tails, weights))
        fresh = np.ones(len(heads), bool)
        fresh[1:] = (np.diff(heads) != 0) | (np.diff(kinds) != 0) | (np.diff(tails) != 0)
        return Graph(
            name,
            Names.of(nodes),
            [relation.decode() for relation in relations],
            heads[fresh].astype(np.int32),
            kinds[fresh].astype(np.int16),
            tails[fresh].astype(np.int32),
            weights[fresh],
        )


def _sorted(table: dict[bytes, int]) -> tuple[np.ndarray, list[bytes]]:
    """(new number by old number, names sorted)."""
    names = sorted(table)
    new = np.zeros(len(names), np.int64)
    new[[table[name] for name in names]] = np.arange(len(names))
    return new, names


def quoted(text: str) -> str:
    text = text if len(text) <= 80 else text[:77] + "…"
    return repr(text)
