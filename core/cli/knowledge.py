"""Verbs about the knowledge graph: alignment of names, core concepts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from core.cli.common import (
    Answer,
    Verb,
    add_knowledge,
    add_run,
    open_given,
    own_knowledge,
    say,
    say_kinds,
)


def add(verb: Verb) -> None:
    """knowledge, align, concepts."""
    verb("knowledge", _knowledge_kinds, "The kinds of knowledge graph and how to name them.")
    aligned = verb("align", _align, "Which node of the graph each scene and concept name is.")
    add_run(aligned)
    aligned.add_argument("--write", type=Path, metavar="FILE", help="the table, to edit")
    add_knowledge(aligned)
    concepts = verb("concepts", _concepts, "The core concepts of scenes, with their facts.")
    add_run(concepts)
    concepts.add_argument("--scene", help="all scenes, in short, where left out")
    concepts.add_argument("--cc", default="scc", choices=["scc", "icc", "top10"])
    add_knowledge(concepts)


def _knowledge_kinds(_given: argparse.Namespace) -> Answer:
    from core.knowledge.graph import KINDS

    return say_kinds([(kind, *told) for kind, told in KINDS.items()])


def _align(given: argparse.Namespace) -> Answer:
    from core.knowledge.align import align, write_alignment
    from core.knowledge.core_concepts import Annotated
    from core.knowledge.graph import open_knowledge

    run = open_given(given)
    annotated = Annotated.from_run(run)
    names = list(dict.fromkeys([*annotated.scenes, *annotated.concepts]))
    graph = open_knowledge(given.knowledge or own_knowledge(run))
    frame = align(names, graph, overrides=given.overrides)
    if given.write is not None:
        write_alignment(frame, given.write)
        say(f"wrote {given.write}: edit its nodes and give it back with --overrides")
    kinds = frame["kind"].value_counts().to_dict()
    lines = [", ".join(f"{count} {kind}" for kind, count in kinds.items()), ""]
    lines += [
        f"{row.name:28} {row.node or '–':28} {row.kind:12} {row.score:5.2f}"
        for row in frame.itertuples(index=False)
    ]
    return {"kinds": kinds, "names": frame.to_dict("records")}, "\n".join(lines)


def _concepts(given: argparse.Namespace) -> Answer:
    from core.knowledge.graph import open_knowledge
    from core.tables import all_core_concepts

    run = open_given(given)
    graph = open_knowledge(given.knowledge or own_knowledge(run))
    core = all_core_concepts(run, graph, given.overrides)[given.cc]
    facts: dict[str, Any] = {
        "kind": core.kind, "p_c": core.p_c, "p_sc": core.p_sc, "distinct": core.distinct,
        "collisions": [[core.scenes[s] for s in same] for same in core.collisions],
    }  # fmt: skip
    lines = []
    if core.p_sc is not None:
        lines.append(f"P_c = {core.p_c:.1%}, P_sc = {core.p_sc:.1%}")
    for same in facts["collisions"]:
        lines.append(f"one set for all of: {', '.join(same)}")
    if given.scene:
        table = core.table(given.scene)
        facts["scene"], facts["members"] = given.scene, table.to_dict("records")
        lines += [
            f"{row.concept:20} {row.category:10} in {row.frequency:6.1%} of its images  "
            f"by {row.by:10} {row.edges}"
            for row in table.itertuples(index=False)
        ]
    else:
        facts["scenes"] = {scene: core.table(scene)["concept"].tolist() for scene in core.scenes}
        lines += [f"{scene:20} {', '.join(m) or '–'}" for scene, m in facts["scenes"].items()]
    return facts, "\n".join(lines)
