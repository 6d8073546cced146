"""Verbs about the knowledge graph: alignment of names, core concepts."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.common import Answer, Verb, add_knowledge, add_run, open_given, say, say_kinds
from core.foundation.plain import Json

if TYPE_CHECKING:
    from core.knowledge.core_concepts import CoreConcepts


def add(verb: Verb) -> None:
    """knowledge, align, concepts."""
    verb("knowledge", _knowledge_kinds, "The kinds of knowledge graph and how to name them.")
    aligned = verb("align", _align, "Which node of the graph each scene and concept name is.")
    add_run(aligned)
    aligned.add_argument("--write", type=Path, metavar="FILE", help="the table, to edit")
    aligned.add_argument(
        "--head-nouns",
        action="store_true",
        help="take what is only suggested else: the head noun's node, as room for printer_room",
    )
    add_knowledge(aligned)
    concepts = verb("concepts", _concepts, "The core concepts of scenes, with their facts.")
    add_run(concepts)
    concepts.add_argument("--scene", help="all scenes, in short, where left out")
    concepts.add_argument("--cc", default="scc", choices=["scc", "icc", "top10"])
    add_knowledge(concepts)


def _knowledge_kinds(_given: argparse.Namespace) -> Answer:
    from core.knowledge.kinds import KNOWLEDGE

    return say_kinds([(kind.name, kind.form, kind.about) for kind in KNOWLEDGE])


def _align(given: argparse.Namespace) -> Answer:
    from core.knowledge.align import align, write_alignment
    from core.knowledge.core_concepts import Annotated
    from core.knowledge.kinds import open_knowledge

    run = open_given(given)
    annotated = Annotated.from_run(run)
    names = list(dict.fromkeys([*annotated.scenes, *annotated.concepts]))
    graph = open_knowledge(given.knowledge or run.own_knowledge)
    frame = align(names, graph, overrides=given.overrides, head_nouns=given.head_nouns)
    if given.write is not None:
        write_alignment(frame, given.write)
        say(f"wrote {given.write}: edit its nodes and give it back with --overrides")
    kinds = frame["kind"].value_counts().to_dict()
    lines = [", ".join(f"{count} {kind}" for kind, count in kinds.items()), ""]
    lines += [
        f"{row.name:28} {row.node or '–':28} {row.kind:12} {row.score:5.2f}"
        + (f"  suggested: {row.suggested}" if row.suggested else "")
        for row in frame.itertuples(index=False)
    ]
    return {"kinds": kinds, "names": frame.to_dict("records")}, "\n".join(lines)


def _concepts(given: argparse.Namespace) -> Answer:
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import all_core_concepts

    run = open_given(given)
    graph = open_knowledge(given.knowledge or run.own_knowledge)
    core = all_core_concepts(run, graph, given.overrides, kinds=[given.cc])[given.cc]
    facts: Json = {
        "kind": core.kind,
        "p_c": core.p_c,
        "p_sc": core.p_sc,
        "distinct": core.distinct,
        "collisions": [[core.scenes[s] for s in same] for same in core.collisions],
    }
    lines = []
    if core.p_sc is not None:
        lines.append(f"P_c = {core.p_c:.1%}, P_sc = {core.p_sc:.1%}")
    for same in facts["collisions"]:
        lines.append(f"one set for all of: {', '.join(same)}")
    if given.scene:
        table = core.table(given.scene)
        facts["scene"], facts["members"] = given.scene, table.to_dict("records")
        facts["guess"] = "; ".join(core.guesses(core.scene(given.scene)))
        lines += [
            f"{row.concept:20} {row.category:10} in {row.frequency:6.1%} of its images  "
            f"by {row.by:10} {row.edges}" + (f"  ~ {row.guess}" if row.guess else "")
            for row in table.itertuples(index=False)
        ]
        some = bool((table["guess"] != "").any())
    else:
        tables = {scene: core.table(scene) for scene in core.scenes}
        facts["scenes"] = {scene: table["concept"].tolist() for scene, table in tables.items()}
        # Those that rest on a guess, so that nobody has to ask scene by scene.
        facts["guesses"] = {
            scene: dict(zip(part["concept"], part["guess"], strict=True))
            for scene, table in tables.items()
            if len(part := table[table["guess"] != ""])
        }
        for scene, names in facts["scenes"].items():
            doubtful = facts["guesses"].get(scene, {})
            result = [f"~{name}" if name in doubtful else name for name in names]
            lines.append(f"{scene:20} {', '.join(result) or '–'}")
        some = bool(facts["guesses"])
    if some:
        lines += ["", GUESSED]
    lines += _without(core)
    return facts, "\n".join(lines)


GUESSED = (
    "~ rests on a guess of which word of the graph a name is: `align` shows them, "
    "`align --write FILE` and --overrides mend them"
)


def _without(core: CoreConcepts) -> list[str]:
    """A line on the scenes that the graph has no node for; none where it has all."""
    if core.alignment is None:
        return []
    found = core.alignment.loc[core.scenes]
    bare = found[found["node"].isna()]
    if not len(bare):
        return []
    names = [
        row["name"] + (f" (suggested: {row['suggested']})" if row["suggested"] else "")
        for _, row in bare.iterrows()
    ]
    return [f"no node, so nothing is related to: {', '.join(names)}"]
