"""Concept filtering (T2): concepts that are close in a knowledge graph are merged.

Every concept has a vector (:class:`Vectors`); those with close vectors are put into k groups, by
agglomerative clustering (average linkage, cosine distance) or k-means on vectors of length 1. A
group is represented by its most frequent member: CF(C_y) are the representatives of the groups of
C_y. Concepts of the colour and scene categories never take part, as with core concepts. A concept
without a node in the graph is not merged.

Users may force or forbid merges in a file (:func:`read_links`): forced merges hold at every k, and
two concepts that are kept apart never share a group.

Word similarity (:func:`word_vectors`) is the control: it uses the names alone, not the graph.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy import sparse

from core.datasets.files import csv_rows, text_of
from core.foundation.engine import Crew, Do, Item, enter
from core.foundation.errors import BadFile, UnitscopeError, unknown, without_effect
from core.foundation.files import write_whole
from core.foundation.names import plain_name
from core.foundation.plain import Json
from core.foundation.progress import Meter, Report, Stop, never
from core.knowledge.core_concepts import Annotated
from core.knowledge.graph import Graph
from core.knowledge.kinds import open_knowledge
from core.merging.embed import (
    Embedding,
    Subgraph,
    Training,
    embedding_path,
    open_embedding,
    subgraph,
)
from core.merging.embed import training as chosen_training
from core.runs.run_file import Run

METHODS = ("agglomerative", "kmeans")

WORDS = "words"
"""Name of the control by word similarity, where embeddings are named."""

FAR = 1e12
"""Distance of concepts that are kept apart. An average over any group with such a pair is far above
the largest distance there is (2), and averages without one never see it."""


# -- vectors ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Vectors:
    """Vectors by which concepts are compared.

    Attributes
    ----------
    name : the embedding, or :data:`WORDS`.
    rows : float64 (concepts, dim), of length 1; zero where there is none.
    known : bool (concepts,), has a vector.
    """

    name: str
    rows: np.ndarray
    known: np.ndarray

    def distances(self, members: np.ndarray) -> np.ndarray:
        """1 − cosine of every two members, float64 (members, members) in [0, 2], exactly 0 between
        equal vectors. Members without a vector have NaN."""
        rows = self.rows[members]
        out = np.clip(1 - rows @ rows.T, 0, 2)
        out = (out + out.T) / 2
        _, same = np.unique(rows, axis=0, return_inverse=True)
        out[same[:, None] == same[None, :]] = 0
        out[~self.known[members]] = out[:, ~self.known[members]] = np.nan
        value: np.ndarray = out
        return value


def _unit(rows: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    value: np.ndarray = np.divide(rows, length, out=np.zeros(rows.shape), where=length > 0)
    return value


def concept_vectors(sub: Subgraph, embedding: Embedding) -> Vectors:
    """The embedding's vector of each concept's node."""
    if embedding.names != sub.names:
        raise UnitscopeError("the embedding is of other entities than the concepts' graph")
    known = sub.nodes >= 0
    rows = np.zeros((len(known), embedding.vectors.shape[1]))
    rows[known] = embedding.vectors[sub.nodes[known]]
    return Vectors(embedding.training.model, _unit(rows), known)


def word_vectors(names: Sequence[str]) -> Vectors:
    """Names as bags of 2- to 4-letter n-grams within words, weighted by tf-idf: similar names are
    close.

    >>> apart = word_vectors(["armchair", "chair", "lake"]).distances(np.arange(3))
    >>> bool(apart[0, 1] < 0.6 and apart[0, 2] == 1)
    True
    """
    from sklearn.feature_extraction.text import TfidfVectorizer

    plain = [plain_name(name) or name for name in names]
    table = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4)).fit_transform(plain)
    return Vectors(WORDS, _unit(np.asarray(table.todense(), float)), np.ones(len(plain), bool))


class Space:
    """A run's concepts in a knowledge graph, the input of every clustering.

    Attributes
    ----------
    annotated : what is annotated where; concepts are columns of it everywhere here.
    labels : names of concepts, made unique. images : int64 (concepts,), images with each.
    members : indices of the concepts that take part: those that occur, without colours and scenes.
    folder : where embeddings are kept.
    """

    def __init__(self, run: Run, graph: Graph, overrides: Path | None = None):
        self.annotated = Annotated.from_run(run)
        self.labels = labels_of(self.annotated)
        self.images = np.asarray(self.annotated.has.sum(0)).ravel().astype(np.int64)
        self.members = np.flatnonzero(self.annotated.eligible & (self.images > 0))
        self.folder = run.path.parent / "embeddings"
        self._graph, self._overrides = graph, overrides
        if not len(self.members):
            raise UnitscopeError(f"run {run.digest} has no concepts but colours and scenes")

    @cached_property
    def sub(self) -> Subgraph:
        """The graph around the members."""
        names = [self.annotated.concepts[c] for c in self.members]
        return subgraph(names, self._graph, overrides=self._overrides)

    def embedding(
        self,
        model: str | Training = "TransE",
        progress: Report | None = None,
        stop: Stop = never,
        make: bool = True,
    ) -> Embedding:
        """The embedding of a model, trained if necessary; see :func:`open_embedding`."""
        how = chosen_training(model) if isinstance(model, str) else model
        return open_embedding(self.sub, how, self.folder, progress, stop, make)

    def vectors(
        self,
        model: str | Training = "TransE",
        progress: Report | None = None,
        stop: Stop = never,
        make: bool = True,
    ) -> Vectors:
        """Vectors of all concepts by an embedding, or by :data:`WORDS`; members alone have one."""
        if model == WORDS:
            held = word_vectors([self.annotated.concepts[c] for c in self.members])
        else:
            held = concept_vectors(self.sub, self.embedding(model, progress, stop, make))
        rows = np.zeros((len(self.labels), held.rows.shape[1]))
        known = np.zeros(len(self.labels), bool)
        rows[self.members], known[self.members] = held.rows, held.known
        return Vectors(held.name, rows, known)

    def scene(self, name: str) -> tuple[np.ndarray, np.ndarray]:
        """(members, frequency) of C_y: its concepts that take part, and their share of D_y.

        Raises UnitscopeError for an unknown scene, with the nearest."""
        if name not in self.annotated.scenes:
            raise unknown("scene", name, self.annotated.scenes)
        frequency = self.annotated.frequency[self.annotated.scenes.index(name)]
        return self.members[frequency[self.members] > 0], frequency


def train_spread(
    run: Run,
    knowledge: str,
    overrides: Path | None,
    hows: Sequence[Training],
    crew: Crew,
    progress: Report | None = None,
    stop: Stop = never,
) -> None:
    """Train those of some embeddings that are not there yet, each by one worker at a time, whose
    vectors :meth:`Space.embedding` reads afterwards: they are those of one process.

    knowledge : SPEC of the graph. overrides : see :class:`Space`.

    Raises as :func:`core.merging.embed.open_embedding` and :class:`core.foundation.engine.Workers`.
    """
    sub = Space(run, open_knowledge(knowledge), overrides).sub
    folder = run.path.parent / "embeddings"
    waiting = [
        Item(k, how.epochs, f"{how.model}, {how.dim} numbers, seed {how.seed}")
        for k, how in enumerate(hows)
        if not embedding_path(sub, how, folder).is_file()
    ]
    meter = Meter(progress)
    meter.start("embed", sum(item.size for item in waiting), of="epochs")
    given = {
        "run": str(run.path.resolve()),
        "knowledge": knowledge,
        "overrides": overrides and str(overrides),
        "hows": [asdict(how) for how in hows],
    }
    if waiting:
        with crew.at("core.merging.fuse:open_worker", given, len(waiting)) as hands:
            for item, name in hands.each(waiting, meter, stop):
                if not (folder / name).is_file():
                    raise UnitscopeError(
                        f"{item.name} was trained as {name}, and is not in {folder}: all machines "
                        "must see one folder of runs"
                    )


def open_worker(given: Json) -> Do:
    """What trains an embedding in this process: its place among all → its file's name."""
    enter(given)
    overrides = given["overrides"] and Path(given["overrides"])
    space = Space(Run(Path(given["run"])), open_knowledge(given["knowledge"]), overrides)
    hows = [Training(**how) for how in given["hows"]]

    def do(place: int, progress: Report, stop: Stop) -> str:
        space.embedding(hows[place], progress, stop)
        return embedding_path(space.sub, hows[place], space.folder).name

    return do


# -- what a person says ----------------------------------------------------------------------


@dataclass(frozen=True)
class Links:
    """Merges that are forced and merges that are forbidden.

    Attributes
    ----------
    block : int (concepts,), equal for concepts that are forced together, directly or through
        others.
    apart : pairs of blocks that never share a group.
    """

    block: np.ndarray
    apart: frozenset[tuple[int, int]]

    def kept_apart(self, members: np.ndarray) -> np.ndarray:
        """bool (members, members): pairs that never share a group."""
        out = np.zeros((len(members), len(members)), bool)
        block = self.block[members]
        for a, b in self.apart:
            pair = (block == a)[:, None] & (block == b)[None, :]
            out |= pair | pair.T
        return out


def make_links(
    concepts: int,
    merge: Iterable[tuple[int, int]] = (),
    apart: Iterable[tuple[int, int]] = (),
) -> Links:
    """Links from pairs of concept indices.

    Forced merges are transitive: a with b and b with c is all three. A concept kept apart from one
    of them is kept apart from all. Raises UnitscopeError for a pair that is forced and forbidden.
    """
    from scipy.sparse.csgraph import connected_components

    pairs = np.array(list(merge), np.int64).reshape(-1, 2)
    joined = sparse.coo_array(
        (np.ones(len(pairs)), (pairs[:, 0], pairs[:, 1])), shape=(concepts, concepts)
    )
    _, block = connected_components(joined, directed=False)
    kept = set()
    for a, b in apart:
        if block[a] == block[b]:
            raise UnitscopeError(f"concepts {a} and {b} are to be merged and kept apart")
        kept.add((min(block[a], block[b]), max(block[a], block[b])))
    return Links(block, frozenset((int(a), int(b)) for a, b in kept))


def labels_of(annotated: Annotated) -> list[str]:
    """Names of concepts; those that several concepts have are followed by the category:
    ``door (part)``."""
    names = annotated.concepts
    often = pd.Series(names).duplicated(keep=False)
    return [
        f"{name} ({category})" if twice else name
        for name, category, twice in zip(names, annotated.categories, often, strict=True)
    ]


def read_links(path: Path, annotated: Annotated) -> Links:
    """Read a user's forced and forbidden merges from a TSV or CSV file.

    A line is ``merge``, a, b or ``keep_apart``, a, b, with concept names as the dataset writes
    them (case and separators may differ; ``door (part)`` where several have one name). Further
    columns, empty lines, a header ``link``, a, b and lines that begin with ``#`` are ignored.
    Lines have tabs where the file has any; otherwise commas.

    Raises BadFile with the line for an unknown verb or concept (with the nearest), a concept that
    never takes part, too few columns, and for pairs that earlier lines contradict (with theirs).
    """
    text = text_of(path)
    labels = labels_of(annotated)
    where = {label: k for k, label in enumerate(labels)}
    plain: dict[str, list[int]] = {}
    for k, name in enumerate(annotated.concepts):
        plain.setdefault(plain_name(labels[k]), []).append(k)
        if labels[k] != name:
            plain.setdefault(plain_name(name), []).append(k)

    def concept(name: str, line: int) -> int:
        found = [where[name]] if name in where else plain.get(plain_name(name), [])
        if not found:
            raise BadFile(path, f"line {line}: {unknown('concept', name, labels)}")
        if len(found) > 1:
            ways = ", ".join(labels[k] for k in found)
            raise BadFile(path, f"line {line}: {name!r} may be any of {ways}: write which")
        if not annotated.eligible[found[0]]:
            kind = annotated.categories[found[0]]
            raise BadFile(path, f"line {line}: {name!r} is a {kind}, and those never take part")
        return found[0]

    result: list[tuple[int, str, int, int]] = []
    mark = "\t" if "\t" in text else ","
    for line, cells in csv_rows(path, text.splitlines(), mark):
        cells = [cell.strip() for cell in cells]
        if not any(cells) or cells[0].startswith("#") or cells[:3] == ["link", "a", "b"]:
            continue
        if cells[0] not in ("merge", "keep_apart"):
            raise BadFile(
                path, f"line {line}: {unknown('link', cells[0], ('merge', 'keep_apart'))}"
            )
        if len(cells) < 3 or not cells[1] or not cells[2]:
            raise BadFile(path, f"line {line} needs a link and two concepts, as merge, a, b")
        result.append((line, cells[0], concept(cells[1], line), concept(cells[2], line)))
    if not result:
        without_effect(f"{path} names no link: lines as merge,a,b or keep_apart,a,b")
    merge = [(a, b) for _, verb, a, b in result if verb == "merge"]
    links = make_links(len(labels), merge)
    for line, verb, a, b in result:
        if verb == "keep_apart" and links.block[a] == links.block[b]:
            lines = [
                str(other)
                for other, v, c, _ in result
                if v == "merge" and links.block[c] == links.block[a]
            ]
            again = (
                f"which line {', '.join(lines)} merge" if a != b else "which is one and the same"
            )
            raise BadFile(path, f"line {line} keeps {labels[a]} and {labels[b]} apart, {again}")
    return make_links(len(labels), merge, [(a, b) for _, v, a, b in result if v == "keep_apart"])


# -- clustering ------------------------------------------------------------------------------

Groups = list[np.ndarray]
"""Concept indices of each group, ascending; groups in the order of their first member."""


@dataclass(frozen=True)
class Dendrogram:
    """All agglomerative clusterings of some concepts, from one pass.

    Attributes
    ----------
    blocks : the groups before anything is merged: single concepts and forced merges.
    merges : int (merges, 2), numbers of the groups joined at each step: b < len(blocks) is a
        block, len(blocks) + s the result of step s.
    heights : float64 (merges,), average cosine distance at each step, ascending.
    """

    blocks: Groups
    merges: np.ndarray
    heights: np.ndarray

    @property
    def most(self) -> int:
        """Groups before any merge."""
        return len(self.blocks)

    @property
    def least(self) -> int:
        """Number of groups when no more can be merged."""
        return len(self.blocks) - len(self.merges)

    def groups(self, k: int) -> Groups:
        """The clustering with k groups in all. Raises UnitscopeError outside least … most."""
        check_k(k, self.least, self.most)
        alive = dict(enumerate(self.blocks))
        for step, (a, b) in enumerate(self.merges[: self.most - k].tolist()):
            alive[self.most + step] = np.concatenate([alive.pop(a), alive.pop(b)])
        return _ordered(alive.values())


def check_k(k: int, least: int, most: int) -> None:
    """Raise where no clustering has k groups."""
    if not least <= k <= most:
        raise UnitscopeError(
            f"{k} groups cannot be made: there may be {least} to {most}, those that stay alone "
            "included (concepts without a node, merges that are forbidden, merges that are forced)"
        )


def _ordered(groups: Iterable[np.ndarray]) -> Groups:
    return sorted((np.sort(group) for group in groups), key=lambda group: int(group[0]))


def _blocks(members: np.ndarray, links: Links | None) -> Groups:
    if links is None:
        return [np.array([c]) for c in members]
    block = links.block[members]
    return _ordered(members[block == b] for b in np.unique(block))


def dendrogram(vectors: Vectors, members: np.ndarray, links: Links | None = None) -> Dendrogram:
    """Average linkage by cosine distance, with forced and forbidden merges, in one pass.

    The distance of two groups is the mean over all pairs of their members that have a vector, so a
    forced group is as far from another as its members are on average. At each step the two
    nearest groups that may merge do. A forced group without any vector stays as it is.

    members : concept indices that take part.
    """
    from scipy.cluster.hierarchy import linkage
    from scipy.spatial.distance import squareform

    members = np.sort(np.asarray(members, np.int64))
    blocks = _blocks(members, links)
    leaves = members[vectors.known[members]]
    if len(leaves) < 2:
        return Dendrogram(blocks, np.zeros((0, 2), int), np.zeros(0))
    apart = vectors.distances(leaves)
    owner = {int(c): number for number, block in enumerate(blocks) for c in block}
    own = np.array([owner[int(c)] for c in leaves])
    # A forced pair is nearer than any other, so forced groups are whole before anything else
    # merges; linkage then weighs them by their size, as average linkage does.
    apart[own[:, None] == own[None, :]] = -1
    if links is not None:
        apart[links.kept_apart(leaves)] = FAR
    np.fill_diagonal(apart, 0)
    tree = linkage(squareform(apart, checks=False), "average")
    cluster = dict(enumerate(own.tolist()))
    merges: list[tuple[int, int]] = []
    heights: list[float] = []
    for step, (a, b, height, _) in enumerate(tree.tolist()):
        left, right = cluster.pop(int(a)), cluster.pop(int(b))
        if left == right:
            cluster[len(leaves) + step] = left
            continue
        if height > 2.5:
            break
        cluster[len(leaves) + step] = len(blocks) + len(merges)
        merges.append((left, right))
        heights.append(height)
    return Dendrogram(blocks, np.array(merges, int).reshape(-1, 2), np.array(heights))


def kmeans(
    vectors: Vectors, members: np.ndarray, k: int, links: Links | None = None, seed: int = 0
) -> Groups:
    """k groups by k-means on vectors of length 1 (best of 10 seeded starts).

    Forced groups are one point, their mean, with their size as weight; concepts without a vector
    stay alone and count in k. Where a group has two concepts that are kept apart, the one farther
    from the group's centre moves to the nearest group that allows it. Raises UnitscopeError where k
    groups cannot be made.
    """
    from sklearn.cluster import KMeans
    from threadpoolctl import threadpool_limits

    members = np.sort(np.asarray(members, np.int64))
    blocks = _blocks(members, links)
    placed = [b for b in blocks if vectors.known[b].any()]
    alone = [b for b in blocks if not vectors.known[b].any()]
    check_k(k, len(alone) + (1 if placed else 0), len(blocks))
    count = k - len(alone)
    if not placed:
        return blocks
    points = _unit(np.stack([vectors.rows[b[vectors.known[b]]].mean(0) for b in placed]))
    weights = np.array([vectors.known[b].sum() for b in placed], float)
    distinct = len(np.unique(points, axis=0))
    with threadpool_limits(1):
        fitted = KMeans(min(count, distinct), n_init=10, random_state=seed).fit(
            points, sample_weight=weights
        )
    group, centres = fitted.labels_.astype(int), fitted.cluster_centers_
    # Concepts on one node are one point: more groups than points come from parting those.
    while len(np.unique(group)) < count:
        sizes = np.bincount(group)
        last = np.flatnonzero(group == sizes.argmax())[-1]
        centres = np.concatenate([centres, points[last][None]])
        group[last] = len(centres) - 1
    if links is not None and links.apart:
        first = np.array([b[0] for b in placed])
        forbidden = links.kept_apart(first)
        far = ((points[:, None] - centres[None]) ** 2).sum(2)
        for i, j in zip(*np.nonzero(np.triu(forbidden)), strict=True):
            if group[i] != group[j]:
                continue
            moved = j if far[j, group[j]] >= far[i, group[i]] else i
            free = [
                g
                for g in np.argsort(far[moved], kind="stable").tolist()
                if g != group[moved] and not forbidden[moved, group == g].any()
            ]
            if not free:
                raise UnitscopeError(f"{k} groups are too few to keep apart what is to be")
            group[moved] = free[0]
    merged = [
        np.concatenate([placed[p] for p in np.flatnonzero(group == g)]) for g in np.unique(group)
    ]
    return _ordered([*merged, *alone])


def cluster(
    vectors: Vectors,
    members: np.ndarray,
    k: int,
    method: str = "agglomerative",
    links: Links | None = None,
    seed: int = 0,
) -> Groups:
    """k groups of some concepts, by one of :data:`METHODS`. Raises for an unknown method or k."""
    if method not in METHODS:
        raise unknown("clustering method", method, METHODS)
    if method == "kmeans":
        return kmeans(vectors, members, k, links, seed)
    return dendrogram(vectors, members, links).groups(k)


# -- what groups are -------------------------------------------------------------------------


def representatives(groups: Groups, frequency: np.ndarray) -> np.ndarray:
    """int64 (groups,): the most frequent member of each; the first in the table among equals."""
    return np.array([group[np.argmax(frequency[group])] for group in groups], np.int64)


def mapping(groups: Groups, frequency: np.ndarray) -> np.ndarray:
    """int64 (concepts,): the representative of each concept; itself where it is in no group.

    >>> mapping([np.array([0, 2])], np.array([1, 5, 3]))
    array([2, 1, 2])
    """
    to = np.arange(len(frequency))
    for group, chosen in zip(groups, representatives(groups, frequency), strict=True):
        to[group] = chosen
    return to


def describe(
    groups: Groups, vectors: Vectors, frequency: np.ndarray, labels: Sequence[str]
) -> pd.DataFrame:
    """One row a group: representative, size, members (most frequent first, ``chair + armchair``),
    distance and widest (mean and largest cosine distance of two members; NaN of one alone, or of
    members without a vector), concepts (indices). Ordered by size, then by closeness.
    """
    rows = []
    for group in groups:
        order = group[np.argsort(-frequency[group], kind="stable")]
        apart = vectors.distances(group)[np.triu_indices(len(group), 1)]
        apart = apart[~np.isnan(apart)]
        rows.append(
            {
                "representative": labels[order[0]],
                "size": len(group),
                "members": " + ".join(labels[c] for c in order),
                "distance": float(apart.mean()) if len(apart) else np.nan,
                "widest": float(apart.max()) if len(apart) else np.nan,
                "concepts": order.tolist(),
            }
        )
    columns = ["representative", "size", "members", "distance", "widest", "concepts"]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(
        ["size", "distance"], ascending=[False, True], kind="stable", ignore_index=True
    )


def write_links(
    groups: Groups, vectors: Vectors, frequency: np.ndarray, labels: Sequence[str], path: Path
) -> None:
    """Write merged groups as a file for :func:`read_links`, to edit and use as input.

    One line for each member beside the representative: ``merge``, representative, member, their
    distance. Comma separated where the name ends in .csv, else tab separated.
    """
    mark = "," if path.suffix.lower() == ".csv" else "\t"

    def write(fresh: Path) -> None:
        with fresh.open("w", encoding="utf-8", newline="") as f:
            out = csv.writer(f, delimiter=mark, lineterminator="\n")
            out.writerow(["link", "a", "b", "distance"])
            for group in groups:
                order = group[np.argsort(-frequency[group], kind="stable")]
                for c in order[1:]:
                    (pair,) = vectors.distances(np.array([order[0], c]))[:1, 1]
                    result = "" if np.isnan(pair) else f"{pair:.4f}"
                    out.writerow(["merge", labels[order[0]], labels[c], result])

    write_whole(path, write)


# -- CF(C_y) ---------------------------------------------------------------------------------


@dataclass(frozen=True)
class Filtered:
    """CF(C_y) of every scene.

    Attributes
    ----------
    share : groups over concepts. groups : by scene, of C_y.
    to : int64 (scenes, concepts), the representative of each concept in each scene; itself for
        concepts that are not in C_y.
    """

    share: float
    groups: list[Groups]
    to: np.ndarray


def filter_scenes(
    annotated: Annotated,
    vectors: Vectors,
    share: float,
    method: str = "agglomerative",
    links: Links | None = None,
    seed: int = 0,
) -> Filtered:
    """CF(C_y): the concepts of each scene in groups, each with its most frequent in D_y.

    share : of |C_y| that the number of groups is, rounded, as far as such a number can be made
        (k of n concepts over all is share k / n in each scene).
    """
    if not 0 < share <= 1:
        raise UnitscopeError(f"the share of groups lies in (0, 1], not {share}")
    if method not in METHODS:
        raise unknown("clustering method", method, METHODS)
    every: list[Groups] = []
    to = np.tile(np.arange(len(annotated.concepts)), (len(annotated.scenes), 1))
    for scene in range(len(annotated.scenes)):
        members = np.flatnonzero((annotated.frequency[scene] > 0) & annotated.eligible)
        tree = dendrogram(vectors, members, links)
        k = min(max(round(share * len(members)), tree.least), tree.most)
        if method == "kmeans" and len(members):
            groups = kmeans(vectors, members, k, links, seed)
        else:
            groups = tree.groups(k)
        every.append(groups)
        to[scene] = mapping(groups, annotated.frequency[scene])
    return Filtered(share, every, to)


def exchanged(filtered: Filtered, annotated: Annotated, rng: np.random.Generator) -> Filtered:
    """The control: random groups of the same sizes in each scene."""
    to = np.tile(np.arange(filtered.to.shape[1]), (len(filtered.to), 1))
    every = []
    for scene, groups in enumerate(filtered.groups):
        members = np.concatenate(groups) if groups else np.zeros(0, int)
        mixed = rng.permutation(members)
        ends = np.cumsum([len(group) for group in groups])[:-1]
        drawn = _ordered(np.split(mixed, ends)) if groups else []
        every.append(drawn)
        to[scene] = mapping(drawn, annotated.frequency[scene])
    return Filtered(filtered.share, every, to)
