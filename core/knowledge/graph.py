"""Knowledge graphs: triples of everyday facts, read once into compact arrays.

``builtin``            data/everyday.tsv, written by hand for this project
``triples:FILE``       relation<TAB>head<TAB>tail[<TAB>weight], or the relation in another column; a
                       folder is read as the CN-100K release: train.txt, valid.txt, test.txt
``conceptnet:FILE``    the assertions of ConceptNet 5.7 (.csv or .csv.gz), English to English

Names of nodes are lower case with single spaces, whatever the file writes, and of ConceptNet's
URIs (/c/en/bed/n) the word; ConceptNet's relations have its spelling (AtLocation for atlocation,
at_location or /r/AtLocation), others that of the file. A fact told twice is
one edge with the larger weight; a fact that joins a node to itself is dropped.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import re
import time
import zlib
from array import array
from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import cached_property, lru_cache
from pathlib import Path
from typing import IO, Any, NamedTuple, overload

import numpy as np

from core.foundation.digest import DIGITS
from core.foundation.errors import BadFile, UnitscopeError, nearest, unknown
from core.foundation.files import parse_json, write_whole
from core.foundation.names import readable
from core.foundation.progress import Report, of_bytes
from core.foundation.settings import CACHE, ROOT
from core.runs.run_file import Run

BUILTIN = ROOT / "data" / "everyday.tsv"

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

KINDS = {
    "builtin": ("builtin", "everyday facts about rooms, streets and landscapes, embedded"),
    "triples": (
        "triples:FILE",
        "relation<TAB>head<TAB>tail a line, or in another order that a first line tells; a folder "
        "is read as CN-100K (train/valid/test.txt)",
    ),
    "conceptnet": ("conceptnet:FILE", "ConceptNet 5.7 assertions, .csv or .csv.gz"),
}

FORMAT = 1
"""Number of the compact file's layout and of the reader's rules; a change makes old files stale."""

CHUNK = 1 << 23
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
        """From distinct names that are sorted already (as bytes, which is by code point)."""
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
        """How many names are below `want`, by halving: microseconds, and no table in memory."""
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
    return codes[blob]


def edit_distance(a: str, b: str, most: int) -> int:
    """Letters to insert, delete, replace or exchange with a neighbour (optimal string alignment);
    `most` + 1 as soon as it is known to exceed `most`.

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
        gather = _Gather()
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
        """Hex digest of all facts and weights; the file they came from does not count."""
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
            told = f"nearest: {', '.join(near)}" if near else "none is like it"
            raise UnitscopeError(
                f"{self.name} has no node {name!r}; {told} (of {len(self.nodes):,})"
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
        """Nodes around a node, each with the edges that bring it in (the path to it).

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
        """bool (relations,): those to follow; raises where what :meth:`neighbours` is asked for
        does not exist."""
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
        return (np.maximum(held, own) - np.minimum(held, own)).sum(1, dtype=np.int32)

    def close(self, name: str, most: int) -> list[tuple[int, int]]:
        """(edit distance, node) of the nodes at most `most` edits away that share the first
        letter; nearest first, of equals the one with more edges."""
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
    """A relation's name as ConceptNet spells it; one that it has not, as it is written.

    >>> fold_relation("/r/AtLocation"), fold_relation("at location"), fold_relation("FoundIn")
    ('AtLocation', 'AtLocation', 'FoundIn')
    """
    text = name.strip().removeprefix("/r/").strip("/ ")
    return _SPELT.get(re.sub(r"[\s_-]+", "", text.lower()), text)


class _Gather:
    """Edges as they are read: numbers in arrays, names in one table."""

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
        """Sort names, number edges by them, merge what was told twice (largest weight)."""
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


def own_knowledge(run: Run) -> str:
    """The knowledge SPEC a run was made with."""
    return str((run.info.get("request") or {}).get("knowledge", "builtin"))


def knowledge_stamp(spec: str) -> tuple[tuple[str, int, int], ...]:
    """Name, time of the last change (ns) and size of every file a SPEC reads.

    While it stays the same, a graph that is open need not be opened again. Empty where there is
    nothing to read; :func:`open_knowledge` says why.
    """
    path = BUILTIN if spec == "builtin" else Path(spec.partition(":")[2]).expanduser()
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    facts = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in facts)


def open_knowledge(
    spec: str,
    cache: Path = CACHE,
    progress: Report | None = None,
) -> Graph:
    """Open a knowledge graph by its SPEC (see the module's text).

    Parameters
    ----------
    cache : where the compact form of a ``conceptnet:`` file is kept, as
        ``knowledge-<digest>.npz``, and looked for the next time.
    progress : called about twice a second with a :class:`Progress` while such a file is read.

    Raises UnitscopeError for an unknown kind, BadFile for a file that is missing or is not one,
    with the line and the reason.
    """
    kind, _, rest = spec.partition(":")
    if kind not in KINDS:
        forms = "; ".join(form for form, _ in KINDS.values())
        raise UnitscopeError(f"{unknown('kind of knowledge', kind, KINDS)}. Forms: {forms}")
    if kind == "builtin":
        if rest:
            raise UnitscopeError("`builtin` takes no file; for your own facts use triples:FILE")
        return read_triples(BUILTIN, "builtin")
    path = Path(rest).expanduser()
    if not rest or not path.exists():
        raise BadFile(rest or spec, f"does not exist; the form is {KINDS[kind][0]}")
    if kind == "triples":
        return read_triples(path)
    return _open_conceptnet(path, cache, progress)


def _opened(path: Path) -> IO[bytes]:
    return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of a UTF-8 file, plain or gz."""
    with _opened(path) as f:
        number = 0
        try:
            for number, raw in enumerate(f, 1):
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as err:
            raise BadFile(path, f"line {number} is not UTF-8 text ({err.reason})") from err
        except (OSError, EOFError, zlib.error) as err:
            raise BadFile(path, f"breaks off after line {number}: {err}") from err


def read_triples(path: Path, name: str | None = None) -> Graph:
    """Facts from ``relation<TAB>head<TAB>tail[<TAB>weight]`` lines, plain or gz.

    The relation may stand in another column: a first line of the words relation, head, tail (and
    weight) says where; else see :func:`_order`. Lines that are empty or begin with ``#`` are
    passed over, and so are facts with a node in another language (/c/fr/lit). A folder gives its
    train.txt, valid.txt and test.txt together. Raises BadFile with the line and the reason.
    """
    files = [path]
    if path.is_dir():
        files = [path / f"{part}.txt" for part in ("train", "valid", "test")]
        files = [file for file in files if file.is_file()]
        if not files:
            held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
            raise BadFile(path, f"is a folder without train.txt, valid.txt, test.txt; has {held}")
    order = _order(path, (cells for file in files for _, cells in _triples(file)))
    gather = _Gather()
    foreign = 0
    for file in files:
        for number, cells in _triples(file):
            if _header(cells):
                continue
            text = "\t".join(cells)
            if reason := _bad_triple(cells):
                raise BadFile(file, f"line {number} {reason}: {_shown(text)}")
            relation, head, tail = (cells[k] for k in order[:3])
            weight = float(cells[3]) if len(cells) == 4 else 1.0
            if any(_FOREIGN.match(node) for node in (head, tail)):
                foreign += 1
                continue
            gather.add(
                fold_relation(readable(relation)).encode(),
                fold(head).encode(),
                fold(tail).encode(),
                weight,
            )
            if len(gather.relations) > MAX_RELATIONS:
                raise BadFile(
                    file,
                    f"line {number} brings relation number {MAX_RELATIONS + 1}: is column "
                    f"{order[0] + 1} really the relation? {HEADER}",
                )
    if foreign and not len(gather.heads):
        raise BadFile(path, f"holds no fact between two English nodes (/c/en/…), of {foreign}")
    if not len(gather.heads):
        raise BadFile(path, "holds no facts; one a line is needed: relation<TAB>head<TAB>tail")
    return gather.graph(name or f"triples:{path.resolve().name}")


_FOREIGN = re.compile(r"\s*/c/(?!en/)")

HEADER = (
    "A first line that names the columns says it: the words relation, head, tail in the file's "
    "order, with tabs between"
)

ORDER_LINES = 20_000
"""Lines of a file that its order of columns is told from."""

FEWER = 5
"""So many times fewer different values than each other column has the one of the relations."""


def _triples(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of the lines that are neither empty nor a comment."""
    for number, line in _lines(file):
        text = line.rstrip("\r\n")
        if text.strip() and not text.startswith("#"):
            yield number, text.split("\t")


def _header(cells: Sequence[str]) -> bool:
    """Is it a line that names the columns?"""
    names = [cell.strip().lower() for cell in cells]
    return sorted(names[:3]) == ["head", "relation", "tail"] and names[3:] in ([], ["weight"])


def _order(path: Path, rows: Iterable[list[str]]) -> tuple[int, int, int]:
    """Which columns are relation, head and tail.

    As a header says. Else the one column of whose different values half are relations of
    ConceptNet, or the one that has any; or the first where it has no more different values than
    the others; or the one that has :data:`FEWER` times fewer than either other. Raises BadFile
    where none of these tells.

    >>> _order(Path("f"), [["bed", "AtLocation", "bedroom"], ["bed", "HasA", "pillow"]])
    (1, 0, 2)
    """
    values: list[set[str]] = [set(), set(), set()]
    for number, cells in enumerate(rows):
        if number == 0 and _header(cells):
            names = [cell.strip().lower() for cell in cells]
            return names.index("relation"), names.index("head"), names.index("tail")
        if number == ORDER_LINES:
            break
        # What is no fact is told when the facts are read.
        if not _bad_triple(cells):
            for column, cell in zip(values, cells, strict=False):
                column.add(fold_relation(cell))
    orders = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    count = [len(column) for column in values]
    known = [len(column & set(CONCEPTNET_RELATIONS)) for column in values]
    for least in (0.5, 0):
        some = [k for k in range(3) if known[k] > 0 and known[k] >= least * count[k]]
        if len(some) == 1:
            return orders[some[0]]
    if count[0] <= min(count):
        return orders[0]
    for k in (1, 2):
        others = [count[j] for j in range(3) if j != k]
        if FEWER * count[k] <= min(others):
            return orders[k]
    told = ", ".join(f"{n} in column {k + 1}" for k, n in enumerate(count))
    raise BadFile(
        path,
        f"does not tell which of its columns is the relation (different values: {told}). {HEADER}",
    )


def _bad_triple(cells: list[str]) -> str | None:
    """Why the cells of a line are no fact; None where they are one."""
    if cells[0].startswith("/a/["):
        return "is a ConceptNet assertion; say conceptnet:FILE"
    if len(cells) not in (3, 4):
        return f"has {len(cells)} columns parted by tabs, not relation, head, tail"
    for what, cell in zip(("relation", "head", "tail"), cells, strict=False):
        if not cell.strip():
            return f"has an empty {what}"
    if len(cells) == 4:
        try:
            float(cells[3])
        except ValueError:
            return f"has the weight {cells[3]!r}, which is no number"
    return None


def _shown(text: str) -> str:
    text = text if len(text) <= 80 else text[:77] + "…"
    return repr(text)


# -- ConceptNet ------------------------------------------------------------------------------


def _source_key(path: Path) -> str:
    """Name of a source file's compact form: over its size, time of change and bytes.

    Of a file above 64 MiB, 256 blocks spread evenly stand for all bytes: hashing 10 GB would
    cost as much as reading it, and an edit also changes size or time.
    """
    facts = path.stat()
    h = hashlib.sha256(f"{FORMAT} {facts.st_size} {facts.st_mtime_ns} ".encode())
    block = 1 << 16
    with path.open("rb") as f:
        if facts.st_size <= 64 << 20:
            for piece in iter(lambda: f.read(1 << 20), b""):
                h.update(piece)
        else:
            for at in np.linspace(0, facts.st_size - block, 256).astype(np.int64).tolist():
                f.seek(at)
                h.update(f.read(block))
    return h.hexdigest()[:DIGITS]


def _open_conceptnet(path: Path, cache: Path, progress: Report | None) -> Graph:
    if path.is_dir():
        raise BadFile(path, "is a folder; name the assertions file in it (…/assertions.csv.gz)")
    kept = cache / f"knowledge-{_source_key(path)}.npz"
    if kept.is_file():
        try:
            graph = load_graph(kept)
            graph.name = f"conceptnet:{path.name}"
            return graph
        except BadFile:
            kept.unlink()
    graph = read_conceptnet(path, progress)
    cache.mkdir(parents=True, exist_ok=True)
    save_graph(graph, kept)
    return graph


def save_graph(graph: Graph, path: Path) -> None:
    """Write a graph's arrays as one .npz, whole or not at all."""

    def write(fresh: Path) -> None:
        with fresh.open("wb") as f:
            np.savez(
                f,
                about=np.frombuffer(
                    json.dumps([FORMAT, graph.name, graph.relations]).encode(), np.uint8
                ),
                blob=graph.nodes.blob,
                offsets=graph.nodes.offsets,
                heads=graph.heads,
                kinds=graph.kinds,
                tails=graph.tails,
                weights=graph.weights,
            )

    write_whole(path, write)


def load_graph(path: Path) -> Graph:
    """Read what :func:`save_graph` wrote. Raises BadFile where it is damaged."""
    try:
        with np.load(path) as held:
            version, name, relations = parse_json(held["about"].tobytes())
            if version != FORMAT:
                raise ValueError(f"layout {version}, not {FORMAT}")
            nodes = Names(held["blob"], held["offsets"])
            return Graph(
                name, nodes, relations, *(held[k] for k in ("heads", "kinds", "tails", "weights"))
            )
    except Exception as err:
        raise BadFile(path, f"is no compact graph ({err}); delete it") from err


class _Counted(io.RawIOBase):
    """A file that says how many of its bytes were taken: what time left is told from, gz or not."""

    def __init__(self, path: Path):
        self._file = path.open("rb", buffering=0)
        self.taken = 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        count = self._file.readinto(buffer) or 0
        self.taken += count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


def read_conceptnet(path: Path, progress: Report | None = None) -> Graph:
    """English-to-English facts of a ConceptNet 5.7 assertions file, in one pass.

    A line has five columns parted by tabs: ``/a/[…]``, ``/r/Relation``, ``/c/lang/start…``,
    ``/c/lang/end…``, JSON with ``weight``. Of ``/c/en/bed/n/wn/artifact`` the part of speech and
    the sense are folded: the node is ``bed``. Every line's form is checked; the JSON only of
    lines that are kept. Memory holds one block of the file and the facts kept.

    Raises BadFile with the line's number and the reason.
    """
    total = max(path.stat().st_size, 1)
    gather = _Gather()
    lines, began, told = 0, time.monotonic(), 0.0
    counted = _Counted(path)
    with counted:
        zipped = path.suffix == ".gz"
        source: Any = (
            gzip.GzipFile(fileobj=io.BufferedReader(counted, 1 << 20)) if zipped else counted
        )
        rest = b""
        while True:
            try:
                block = source.read(CHUNK)
            except (OSError, EOFError, zlib.error) as err:
                raise BadFile(path, f"breaks off after line {lines}: {err}") from err
            if block:
                cut = block.rfind(b"\n") + 1
                whole, rest = (rest + block[:cut], block[cut:]) if cut else (b"", rest + block)
                if len(rest) > 4 * CHUNK:
                    raise BadFile(path, f"line {lines + 1} does not end: this is no text file")
            else:
                whole, rest = (rest + b"\n" if rest else b""), b""
            if whole:
                lines += _take(whole, path, lines, gather)
            now = time.monotonic()
            if progress and (now - told > 0.5 or not block):
                told = now
                done = counted.taken if block else total
                progress(of_bytes(f"{lines:,} lines,", done, total, done, began))
            if not block:
                break
    if not lines:
        raise BadFile(path, "is empty; ConceptNet 5.7 assertions are needed")
    if not len(gather.heads):
        raise BadFile(path, f"holds no fact between two English nodes (in {lines:,} lines)")
    return gather.graph(f"conceptnet:{path.name}")


ENGLISH = np.frombuffer(b"/c/en/", np.uint8)
_BEGINNINGS = (b"/a/", b"/r/", b"/c/", b"", b"{")
_COLUMNS = ("the URI, /a/[…]", "the relation, /r/…", "the start, /c/…", "the end", "JSON, {…}")


def _take(block: bytes, path: Path, before: int, gather: _Gather) -> int:
    """Check whole lines, gather those between two English nodes; how many lines there were."""
    data = np.frombuffer(block, np.uint8)
    ends = np.flatnonzero(data == 10)
    tabs = np.flatnonzero(data == 9)
    starts = np.concatenate([[0], ends[:-1] + 1])
    # Tabs that lie in each line: four everywhere, or the first line that differs is told.
    held = np.diff(np.searchsorted(tabs, ends, "left"), prepend=0)
    if (held != 4).any():
        bad = int(np.flatnonzero(held != 4)[0])
        text = block[starts[bad] : ends[bad]].decode("utf-8", "replace")
        why = f"has {held[bad] + 1} columns parted by tabs, not the 5 of ConceptNet assertions"
        if held[bad] == 2:
            why += " (for relation, head, tail say triples:FILE)"
        raise BadFile(path, f"line {before + bad + 1} {why}: {_shown(text)}")
    column = np.column_stack([starts, tabs.reshape(-1, 4) + 1])
    data = np.concatenate([data, np.zeros(8, np.uint8)])
    for k, want in enumerate(_BEGINNINGS):
        right = np.ones(len(ends), bool)
        for j, letter in enumerate(want):
            right &= data[column[:, k] + j] == letter
        if not right.all():
            bad = int(np.flatnonzero(~right)[0])
            text = block[starts[bad] : ends[bad]].decode("utf-8", "replace")
            raise BadFile(
                path,
                f"line {before + bad + 1}: column {k + 1} should be {_COLUMNS[k]}: {_shown(text)}",
            )
    english = np.ones(len(ends), bool)
    for k in (2, 3):
        for j, letter in enumerate(ENGLISH):
            english &= data[column[:, k] + j] == letter
    kept = np.flatnonzero(english)
    cuts = column[kept].tolist()
    for line, (_, relation, start, end, fact), stop in zip(
        kept.tolist(), cuts, ends[kept].tolist(), strict=True
    ):
        weight = _weight(block, fact, stop)
        head = _node(block[start + 6 : end - 1])
        tail = _node(block[end + 6 : fact - 1])
        if weight is None or not head or not tail:
            text = block[starts[line] : stop].decode("utf-8", "replace")
            why = "the JSON has no number `weight`" if head and tail else "a node has no name"
            raise BadFile(path, f"line {before + line + 1}: {why}: {_shown(text)}")
        gather.add(block[relation + 3 : start - 1], head, tail, weight)
        if len(gather.relations) > MAX_RELATIONS:
            raise BadFile(
                path, f"line {before + line + 1} brings relation number {MAX_RELATIONS + 1}"
            )
    return len(ends)


def _node(name: bytes) -> bytes:
    """``bed/n/wn/artifact`` → ``bed``; underscores are spaces."""
    name = name.split(b"/", 1)[0].replace(b"_", b" ")
    if name.isascii() and name.islower() and b"  " not in name and name.decode().isprintable():
        return name.strip()
    return fold(name.decode("utf-8", "replace")).encode()


_WEIGHT = b'"weight": '


def _weight(block: bytes, start: int, stop: int) -> float | None:
    """The `weight` of a JSON object; its keys are sorted, so it is the last."""
    at = block.rfind(_WEIGHT, start, stop)
    text = block[at + len(_WEIGHT) : stop].strip()
    if at >= 0 and text.endswith(b"}"):
        try:
            return float(text[:-1])
        except ValueError:
            pass
    try:
        fact = parse_json(block[start:stop])
        return float(fact["weight"]) if isinstance(fact, dict) else None
    except (ValueError, KeyError, TypeError):
        return None
