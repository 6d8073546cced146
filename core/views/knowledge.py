"""Core concepts of scenes with the facts behind them, names and their nodes.

A page opens the graph of a run's knowledge SPEC once, lets :func:`know` bring the run's names to
it, and asks the functions here, which take the run and the :class:`Known` that came of it.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import UnitscopeError, allow_empty, unknown
from core.foundation.files import write_whole
from core.foundation.names import plain_name
from core.foundation.vocabulary import Core
from core.knowledge.align import GUESSES as GUESSES
from core.knowledge.align import align
from core.knowledge.core_concepts import (
    Annotated,
    CoreConcepts,
    Identifying,
    Related,
    guessed,
    related_concepts,
)
from core.knowledge.graph import RELATIONS, Edge, Graph
from core.knowledge.kinds import knowledge_stamp as knowledge_stamp
from core.knowledge.kinds import open_knowledge as open_knowledge
from core.paper.tables import core_kinds
from core.runs.run_file import Run, derived
from core.views.images import concepts as concepts_of
from core.views.names import shown_name

FACTS = 6
"""Facts named for one concept where a whole list would be too long to read."""

STEPS = 400
"""Points of a drawn search: a run of a thousand scenes tries a hundred thousand percentages."""


@dataclass(frozen=True, eq=False)
class Known:
    """A run's names in one graph, and the core concepts that follow.

    Attributes
    ----------
    spec : the knowledge SPEC. digest : of the run, the facts and the settings together: two
        of one digest answer alike.
    graph : the open graph. annotated : C_y and its frequencies.
    alignment : :func:`core.knowledge.align.align` of all scene and concept names, by name.
    related : RC(y, G) ∩ C, by scene. core : by kind of core concepts.
    overrides : the reader's own file of names and nodes (:func:`keep_names`), None without.
    empty : why the graph can say nothing of this run; empty where it can.
    """

    spec: str
    digest: str
    graph: Graph
    annotated: Annotated
    alignment: pd.DataFrame
    related: Related
    core: dict[str, CoreConcepts]
    overrides: Path | None = None
    empty: str = ""

    @property
    def name(self) -> str:
        """What the graph is called in a sentence: ``CN-100K``, ``the everyday graph``; it says
        where names were corrected."""
        return spoken_name(self.graph.name) + (" (names corrected)" if self.overrides else "")

    @property
    def options(self) -> str:
        """What the command line needs to read a run likewise, but for its knowledge."""
        return f" --overrides {shlex.quote(str(self.overrides))}" if self.overrides else ""


def spoken_name(name: str) -> str:
    """A graph's name, or a knowledge SPEC, without kind and folders.

    >>> spoken_name("triples:../data/CN-100K"), spoken_name("builtin")
    ('CN-100K', 'the everyday graph')
    """
    return "the everyday graph" if name == "builtin" else Path(name.partition(":")[2] or name).name


def keep_names(run: Run, graph: Graph, content: bytes, most: int | None = None) -> str:
    """Keep a person's own file of names and nodes beside the run; the word that finds it again.

    content : as ``align --write`` gives it, TSV or CSV with the columns `name` and `node`.
    most : how many such files may be kept of a run.
    Raises UnitscopeError where it cannot be read, names no node of the graph, or as many are kept.
    """
    word = hashlib.sha256(content).hexdigest()[:DIGITS]
    path = _names_path(run, word)
    annotated = Annotated.from_run(run)
    # Looked at first, so that what another visitor or graph uses is never touched.
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "names"
        fresh.write_bytes(content)
        try:
            align([*annotated.scenes, *annotated.concepts], graph, overrides=fresh)
        except UnitscopeError as err:
            # The reader knows the file by another name.
            raise UnitscopeError(str(err).replace(str(fresh), "the file")) from None
    if not path.is_file():
        kept = len(list(path.parent.glob("names-*.tsv")))
        if most is not None and kept >= most:
            raise UnitscopeError(
                f"{kept} files of corrected names are kept of this run, and this server keeps "
                f"{most} (names_files): remove some of {path.parent}/names-*.tsv"
            )
        write_whole(path, lambda part: part.write_bytes(content))
    return word


def with_suggestions(known: Known) -> bytes:
    """A file for :func:`keep_names`: the names as they are read now, head nouns accepted where
    they are suggested."""
    frame = known.alignment[["name", "node"]].copy()
    frame["node"] = frame["node"].fillna(known.alignment["suggested"])
    text: str = frame.to_csv(index=False)
    return text.encode()


def kept_names(run: Run, word: str) -> Path:
    """The file that :func:`keep_names` kept. Raises UnitscopeError where there is none."""
    if not re.fullmatch(f"[0-9a-f]{{{DIGITS}}}", word) or not _names_path(run, word).is_file():
        raise UnitscopeError(f"no corrected names are kept for this run as {word!r}")
    return _names_path(run, word)


def _names_path(run: Run, word: str) -> Path:
    return derived(run, "names", {"content": word}, "tsv")


def know(run: Run, graph: Graph, spec: str, overrides: Path | None = None) -> Known:
    """Bring the names of a run to a graph, and find the core concepts of its scenes.

    overrides : a file of names and nodes that a person chose.
    Raises UnitscopeError where the run has no scenes, or no annotated concepts other than colours.
    """
    annotated = Annotated.from_run(run)
    if not annotated.scenes or not annotated.has.nnz or not annotated.eligible.any():
        raise UnitscopeError(
            f"run {run.digest} has no photos in which concepts are annotated, so its scenes "
            "have no core concepts"
        )
    # Told and no error: names are mended where they can be seen.
    reasons: list[str] = []
    with allow_empty(reasons.append):
        related = related_concepts(annotated, graph, overrides=overrides)
    digest = digest_of(
        {
            "run": run.digest,
            "graph": graph.digest(),
            "spec": spec,
            "relations": RELATIONS,
            "overrides": overrides.read_text(encoding="utf-8-sig") if overrides else "",
        }
    )
    return Known(
        spec,
        digest,
        graph,
        annotated,
        related.alignment,
        related,
        core_kinds(annotated, related),
        overrides,
        " ".join(reasons),
    )


def knowledge_name(_run: Run, known: Known) -> str:
    """What the graph is called and how much it holds, for people."""
    return f"{known.name}, {len(known.graph.nodes):,} words and {len(known.graph):,} facts"


# -- scenes ---------------------------------------------------------------------------------


def scene_number(known: Known, scene: str) -> int:
    """Row of a scene in :class:`Known`. Raises UnitscopeError with the nearest names."""
    if scene not in known.annotated.scenes:
        raise unknown("scene", scene, known.annotated.scenes)
    return known.annotated.scenes.index(scene)


def scene_table(_run: Run, known: Known) -> pd.DataFrame:
    """Every scene with photos: scene, images, annotated (size of C_y), related (of RC ∩ C), scc,
    icc, top10 (sizes), identifiers (the ICC in words), alike (scenes with the same ICC)."""
    annotated = known.annotated
    in_photos = (annotated.frequency > 0) & annotated.eligible[None, :]
    icc = known.core["icc"]
    rows = []
    for row in np.flatnonzero(annotated.sizes > 0).tolist():
        rows.append(
            {
                "scene": annotated.scenes[row],
                "images": int(annotated.sizes[row]),
                "annotated": int(in_photos[row].sum()),
                "related": len(known.related[row]),
                **{kind.value: int(known.core[kind].members[row].sum()) for kind in Core},
                "identifiers": ", ".join(shown_name(n) for n in icc.table(row)["concept"]),
                "alike": ", ".join(plain_name(n) for n in _alike(icc, row)),
            }
        )
    columns = ["scene", "images", "annotated", "related", *Core, "identifiers", "alike"]
    return pd.DataFrame(rows, columns=columns).sort_values("scene", ignore_index=True)


def _alike(core: CoreConcepts, row: int) -> list[str]:
    """Other scenes whose core concepts are the very same set."""
    group = next((same for same in core.collisions if row in same), [])
    return [core.scenes[other] for other in group if other != row]


@dataclass(frozen=True)
class SceneFacts:
    """One scene. images : of the run. node, match, score : the word of the graph it was brought
    to, None where there is none; suggested : that of its head noun. neighbours : of the node in
    the graph. annotated : concepts in its images. related : of them by facts, guessed : how many
    of these rest on a guessed word. scc, icc, top10 : how many core concepts it has. alike : kind
    → scenes with the same set."""

    images: int
    node: str | None
    match: str
    suggested: str | None
    guessed: int
    score: float
    neighbours: int
    annotated: int
    related: int
    scc: int
    icc: int
    top10: int
    alike: dict[str, list[str]]


def scene_facts(_run: Run, known: Known, scene: str) -> SceneFacts:
    """What the graph and the images say of a scene."""
    row = scene_number(known, scene)
    match = known.alignment.loc[scene]
    node = match["node"]
    rests = [
        bool(guessed(known.alignment, [scene, known.annotated.concepts[c]]))
        for c in known.related[row]
    ]
    in_photos = (known.annotated.frequency[row] > 0) & known.annotated.eligible
    sizes = {kind.value: int(known.core[kind].members[row].sum()) for kind in Core}
    return SceneFacts(
        images=int(known.annotated.sizes[row]),
        node=node,
        match=match["kind"],
        suggested=match["suggested"],
        guessed=sum(rests),
        score=float(match["score"]),
        neighbours=0 if node is None else len(known.graph.neighbours(node, RELATIONS)),
        annotated=int(in_photos.sum()),
        related=len(known.related[row]),
        scc=sizes["scc"],
        icc=sizes["icc"],
        top10=sizes["top10"],
        alike={kind.value: _alike(known.core[kind], row) for kind in Core},
    )


@dataclass(frozen=True)
class Percentages:
    """P_c and P_sc as fractions. distinct : whether the ICC of all scenes differ; groups : those
    that do not. scenes : how many take part."""

    p_c: float
    p_sc: float
    distinct: bool
    groups: list[list[str]]
    scenes: int


def percentages(_run: Run, known: Known) -> Percentages:
    """The percentages that the search for identifying concepts chose."""
    icc = known.core["icc"]
    search = icc.scount_search
    assert icc.p_c is not None and icc.p_sc is not None, "the ICC are chosen by them"
    return Percentages(
        p_c=icc.p_c,
        p_sc=icc.p_sc,
        distinct=icc.distinct,
        groups=[[icc.scenes[row] for row in same] for same in icc.collisions],
        scenes=search.scenes if search else 0,
    )


def search_steps(_run: Run, known: Known) -> pd.DataFrame:
    """How many scenes differ at each percentage: search, p, sets, chosen.

    search : ``"Count"`` (whose best p is P_c) or ``"SCount"`` (P_sc). sets : different sets at p.
    At most about :data:`STEPS` rows each; the chosen p is always among them.
    """
    icc = known.core["icc"]
    frames = [
        _steps(name, search)
        for name, search in (("Count", icc.count_search), ("SCount", icc.scount_search))
        if search is not None and len(search.breakpoints)
    ]
    columns = ["search", "p", "sets", "chosen"]
    return pd.concat(frames, ignore_index=True) if frames else pd.DataFrame(columns=columns)


def _steps(name: str, search: Identifying) -> pd.DataFrame:
    sets = search.distinct_sets
    # Corners of the staircase; of too many, evenly spaced ones.
    corner = np.flatnonzero(np.r_[True, sets[1:] != sets[:-1]])
    if len(corner) > STEPS:
        corner = corner[np.unique(np.linspace(0, len(corner) - 1, STEPS).astype(int))]
    chosen = int(np.argmax(sets))
    at = np.unique(np.r_[corner, chosen, len(sets) - 1])
    return pd.DataFrame(
        {"search": name, "p": search.breakpoints[at], "sets": sets[at], "chosen": at == chosen}
    )


def scene_concepts(run: Run, known: Known, scene: str) -> pd.DataFrame:
    """Every concept of C_y or RC(y, G): why it belongs to the scene, and to which core concepts.

    Columns: concept (id), label, shown, category, frequency (share of the scene's photos),
    images, in_photos (c ∈ C_y), related (c ∈ RC), scc, icc, top10, frequent (one of the k most
    frequent of Count(y, P_c)), facts (in words), guess (the guessed names that these rest on,
    in words), edges (how many). Most frequent first.
    """
    row = scene_number(known, scene)
    annotated = known.annotated
    facts = known.related[row]
    chosen = annotated.eligible & (annotated.frequency[row] > 0)
    chosen[list(facts)] = True
    at = np.flatnonzero(chosen)
    frequency = annotated.frequency[row, at]
    at = at[np.argsort(-frequency, kind="stable")]
    frequency = annotated.frequency[row, at]
    labels = concepts_of(run).set_index("concept")
    names = [annotated.concepts[c] for c in at]
    top = known.core["icc"].top
    return pd.DataFrame(
        {
            "concept": at + 1,
            "label": [labels["label"].get(c + 1, name) for c, name in zip(at, names, strict=True)],
            "shown": [
                labels["shown"].get(c + 1, shown_name(name))
                for c, name in zip(at, names, strict=True)
            ],
            "category": [annotated.categories[c] for c in at],
            "frequency": frequency,
            "images": np.rint(frequency * annotated.sizes[row]).astype(int),
            "in_photos": frequency > 0,
            "related": [int(c) in facts for c in at],
            **{kind.value: known.core[kind].members[row, at] for kind in Core},
            "frequent": top[row, at] if top is not None else False,
            "facts": [facts_text(facts.get(int(c), [])) for c in at],
            "guess": [
                "; ".join(guessed(known.alignment, [scene, annotated.concepts[c]]))
                if int(c) in facts
                else ""
                for c in at
            ],
            "edges": [len(facts.get(int(c), [])) for c in at],
        }
    )


def fact(edge: Edge) -> str:
    """A fact in words.

    >>> fact(Edge("AtLocation", "bed", "bedroom", 2.0))
    'bed AtLocation bedroom'
    """
    return f"{edge.head} {edge.relation} {edge.tail}"


def facts_text(edges: Sequence[Edge], most: int = FACTS, between: str = "; ") -> str:
    facts = [fact(edge) for edge in edges[:most]]
    if len(edges) > most:
        facts.append(f"{len(edges) - most} more")
    return between.join(facts)


# -- the graph drawn ------------------------------------------------------------------------


def picture(
    run: Run, known: Known, scene: str, kind: str = "scc"
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The scene's neighbourhood laid out: (nodes, edges), the same for the same knowledge.

    The scene is in the middle. Right and left of it, category by category, are RC(y, G) ∩ C and
    the core concepts of `kind`, on a height of their own on their side, so that no two names
    touch. The nearer, the more of the scene's photos show it; those in none lie outermost.

    Nodes: concept (id; 0 the scene), label, shown, category, x, y (both in −1 … 1, y downwards),
    frequency, in_photos, core (of `kind`), related, anchor (``start`` or ``end``: on which side
    of the node its name has room) and hint (for a pointer that rests on it).
    Edges: x, y of the concept, related (False where frequency alone brought it in), in_photos
    and hint.
    """
    Core.of(kind)
    table = scene_concepts(run, known, scene)
    table = table[table["related"] | table[kind]]
    table = table.sort_values(
        ["category", "frequency", "concept"], ascending=[True, False, True], ignore_index=True
    )
    x, y = _around_middle(table)
    nodes = _middle_node(known, scene)
    if len(table):
        nodes = pd.concat([nodes, _nodes(known, table, scene, kind, x, y)], ignore_index=True)
    related = known.related[scene_number(known, scene)]
    lines = pd.DataFrame(
        {
            "x": x,
            "y": y,
            "related": table["related"].to_numpy(bool),
            "in_photos": table["in_photos"].to_numpy(bool),
            "hint": [
                facts_text(related.get(int(c) - 1, []), between="\n")
                or "no fact: among the most frequent in the scene’s photos"
                for c in table["concept"]
            ],
        }
    )
    return nodes, lines


def _around_middle(table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    """(x, y) of the concepts, clockwise: down on the right, up on the left."""
    count = len(table)
    right = -(-count // 2)
    side = np.where(np.arange(count) < right, 1.0, -1.0)
    rank = np.where(side > 0, np.arange(count), count - 1 - np.arange(count))
    held = np.where(side > 0, right, count - right)
    y = (2 * rank + 1) / np.maximum(held, 1) - 1
    x = side * np.where(table["in_photos"], 0.9 - 0.55 * table["frequency"].to_numpy(), 1.0)
    return x, y


def _nodes(
    known: Known, table: pd.DataFrame, scene: str, kind: str, x: np.ndarray, y: np.ndarray
) -> pd.DataFrame:
    """The concepts as nodes of :func:`picture`."""
    photos = known.annotated.sizes[scene_number(known, scene)]
    hints = [
        f"{r.shown} ({r.category})\n"
        + (f"in {r.images} of {photos} photos" if r.in_photos else "in none of the scene’s photos")
        + (f"\n{kind_word(kind)}" if getattr(r, kind) else "")
        for r in table.itertuples()
    ]
    around = table[["concept", "label", "shown", "category", "frequency", "in_photos", "related"]]
    anchor = np.where(np.arange(len(table)) < -(-len(table) // 2), "start", "end")
    return around.assign(core=table[kind], x=x, y=y, anchor=anchor, hint=hints)


def _middle_node(known: Known, scene: str) -> pd.DataFrame:
    """The scene as a node of :func:`picture`."""
    node = known.alignment.loc[scene]["node"]
    place = f"the graph’s “{node}”" if node is not None else "not in the graph"
    return pd.DataFrame(
        [
            {
                "concept": 0,
                "label": scene,
                "shown": plain_name(scene),
                "category": "scene",
                "frequency": 1.0,
                "in_photos": True,
                "related": True,
                "core": True,
                "x": 0.0,
                "y": 0.0,
                "anchor": "middle",
                "hint": f"{plain_name(scene)} (scene)\n{place}",
            }
        ]
    )


def kind_word(kind: str) -> str:
    """What belonging to a kind of core concepts means, in a few words."""
    return {
        "scc": "core concept (SCC): related by facts and seen in photos",
        "icc": "core concept (ICC): helps to tell the scene apart",
        "top10": "among the ten most frequent",
    }[kind]


# -- names ----------------------------------------------------------------------------------


def alignment(_run: Run, known: Known) -> pd.DataFrame:
    """Which node of the graph each name is: name, what (scene, concept or both), node, kind,
    score, via, suggested, guess (of :data:`GUESSES`), facts (edges of the node); doubtful ones
    first."""
    scenes, things = set(known.annotated.scenes), set(known.annotated.concepts)
    frame = known.alignment.reset_index(drop=True).copy()
    frame["what"] = [
        "both" if n in scenes and n in things else "scene" if n in scenes else "concept"
        for n in frame["name"]
    ]
    frame["guess"] = frame["kind"].isin(GUESSES)
    graph = known.graph
    frame["facts"] = [
        0 if node is None else graph.degree(graph.need(node)) for node in frame["node"]
    ]
    order = frame["kind"].map({"none": 0}).fillna(1)
    return (
        frame.assign(order=order)
        .sort_values(["order", "score", "name"], ignore_index=True)
        .drop(columns="order")
    )


def scenes_with(_run: Run, known: Known, concept: int) -> pd.DataFrame:
    """The scenes whose photos show a concept, or that the graph relates it to.

    Columns scene, frequency, images, related, scc, icc, top10, facts; most frequent first.
    Empty for a concept that is never a core concept: a colour or a scene.
    """
    column = concept - 1
    columns = ["scene", "frequency", "images", "related", *Core, "facts"]
    annotated = known.annotated
    if not 0 <= column < len(annotated.concepts) or not annotated.eligible[column]:
        return pd.DataFrame(columns=columns)
    rows = []
    for row, facts in enumerate(known.related):
        frequency = float(annotated.frequency[row, column])
        if not annotated.sizes[row] or not (frequency or column in facts):
            continue
        rows.append(
            {
                "scene": annotated.scenes[row],
                "frequency": frequency,
                "images": round(frequency * int(annotated.sizes[row])),
                "related": column in facts,
                **{kind.value: bool(known.core[kind].members[row, column]) for kind in Core},
                "facts": facts_text(facts.get(column, [])),
            }
        )
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(["frequency", "scene"], ascending=[False, True], ignore_index=True)
