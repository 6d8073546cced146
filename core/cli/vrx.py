"""The verb of structural concept graphs (VRX): learned, judged, and asked why and why not."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.common import (
    COUNT,
    SEED,
    Answer,
    Verb,
    add_run,
    open_given,
    show_progress,
    stoppable,
    whole,
)
from core.foundation.errors import without_effect
from core.foundation.names import plain_name
from core.foundation.plain import Json
from core.foundation.settings import CACHE

if TYPE_CHECKING:
    import pandas as pd

    from core.directions.findings import Finding
    from core.graphs.judge import Change, Judged, Share
    from core.graphs.why import Graph, Why


def add(verb: Verb) -> None:
    """vrx."""
    vrx = verb(
        "vrx", _vrx, "Structural concept graphs: do they answer as the network, and why; resumes."
    )
    add_run(vrx)
    vrx.add_argument("--scene", metavar="NAME", help="the graph of this class")
    vrx.add_argument("--against", metavar="NAME", help="held against this class's, or photo")
    vrx.add_argument("--image", metavar="ID", help="why this photo is answered so, and why not")
    vrx.add_argument(
        "--by",
        default="last",
        choices=["last", "input"],
        help="contributions by the last features (the paper's; last), or by those that go in",
    )
    vrx.add_argument("--split", help="judged there; the first of test and validation")
    vrx.add_argument("--learn-on", metavar="SPLIT", help="learned there; the training split")
    vrx.add_argument("--layer", metavar="NAME", help="whose activations; the last")
    vrx.add_argument("--nodes", type=whole(2, 64), help="concepts of a class; 4")
    vrx.add_argument(
        "--category", action="append", metavar="NAME", help="concepts of this alone; repeatable"
    )
    vrx.add_argument(
        "--masked", action="store_true", help="learn from photos with concepts masked out, too"
    )
    vrx.add_argument("--epochs", type=COUNT, help="rounds over the photos; 200")
    vrx.add_argument("--seed", type=SEED, default=0)
    vrx.add_argument("--beat", type=Path, metavar="FILE", help="how far it is, for the app")
    vrx.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")


def _vrx(given: argparse.Namespace) -> Answer:
    from functools import partial

    from core.attribution.case import Opened
    from core.graphs.distil import EPOCHS, Asked
    from core.graphs.judge import judge
    from core.graphs.masked import lessons
    from core.graphs.scg import NODES

    if given.against and not (given.scene or given.image):
        without_effect("--against says what --scene or --image is held against; name one of them")
    run = open_given(given)
    asked = Asked(
        given.layer,
        given.nodes or NODES,
        tuple(given.category or ()),
        (given.learn_on,) if given.learn_on else (),
        given.masked,
        given.epochs or EPOCHS,
        given.seed,
    )
    with stoppable() as stop:
        masked = None
        if given.masked:
            opened = Opened.of(run, given.layer)
            masked = partial(lessons, opened, asked, progress=show_progress, stop=stop)
        judged = judge(run, asked, given.split, show_progress, stop, masked, given.beat)
    _finding(judged).keep(run)
    facts, lines = _judged(judged)
    for more in (_asked_class, _asked_photo):
        rest, text = more(judged, given)
        facts |= rest
        lines += text
    return facts, "\n".join(lines)


def _finding(judged: Judged) -> Finding:
    """How well the graphs and their controls answer as the network, for the app."""
    import pandas as pd

    from core.directions.findings import Finding

    student = judged.student
    asked = student.asked
    rows = [
        {
            "variant": row.variant,
            "agreement": row.agreement.value,
            "low": row.agreement.low,
            "high": row.agreement.high,
            "accuracy": row.accuracy.value,
            "about": row.about,
        }
        for row in judged.rows
    ]
    masked = ", with masked photos" if asked.masked else ""
    about = f"{asked.nodes} concepts a class{masked}, seed {asked.seed}"
    notes = (
        f"Graphs learned on {', '.join(asked.learn)}, judged by {', '.join(judged.probe.splits)} "
        f"({len(judged.probe)} photos), {len(student.found.classes)} classes. Only where graphs "
        "agree with the network more often than nodes alone and than displaced ones is there "
        "anything to say of relations.",
    )
    return Finding("vrx", asked.layer or "", about, notes, pd.DataFrame(rows))


def _judged(judged: Judged) -> tuple[Json, list[str]]:
    """How well the graphs answer as the network."""
    student = judged.student
    asked, found = student.asked, student.found
    about = (
        f"{student.run.dataset}, {student.run.settings.model.spec}, {asked.layer}; learned from "
        f"{', '.join(asked.learn)}, judged on {', '.join(judged.probe.splits)} "
        f"({len(judged.probe)} photos); {len(found.classes)} classes of interest, up to "
        f"{found.nodes} concepts each"
    )
    lines = [
        about,
        f"the network is right in {_share(judged.network)}; its answer is a class of interest in "
        f"{_share(judged.inside)}",
        "",
        f"{'':12} {'answers as the network':24} {'graphs more often by':24} {'right':21} "
        f"{'graphs more often by':22}",
    ]
    lines += [
        f"{row.variant:12} {_share(row.agreement):24} {_change(row.agrees_more):24} "
        f"{_share(row.accuracy):21} {_change(row.right_more):22}"
        for row in judged.rows
    ]
    lines += ["", *(f"{row.variant}: {row.about}" for row in judged.rows)]
    facts = {
        "run": student.run.digest,
        "about": about,
        "network": vars(judged.network),
        "inside": vars(judged.inside),
        "classes": [
            {
                "scene": scene,
                "concepts": [
                    {"concept": student.probe.names[int(k)], "importance": float(value)}
                    for k, value in zip(found.concepts[c], found.importance[c], strict=True)
                    if k
                ],
            }
            for c, scene in enumerate(found.names)
        ],
        "rows": [
            {
                "variant": row.variant,
                "about": row.about,
                "agreement": vars(row.agreement),
                "accuracy": vars(row.accuracy),
                "agrees_more": row.agrees_more and vars(row.agrees_more),
                "right_more": row.right_more and vars(row.right_more),
            }
            for row in judged.rows
        ],
    }
    return facts, lines


def _share(one: Share) -> str:
    return f"{one.value:.1%} [{one.low:.1%}, {one.high:.1%}]"


def _change(one: Change | None) -> str:
    return "" if one is None else f"{one.value:+.1%} [{one.low:+.1%}, {one.high:+.1%}]"


def _asked_class(judged: Judged, given: argparse.Namespace) -> tuple[Json, list[str]]:
    """The graph of a class, where one was asked for."""
    from core.graphs.why import class_graphs

    if not given.scene or given.image:
        return {}, []
    nodes, edges = class_graphs(
        judged.student, judged.graphs, judged.answers, given.scene, given.against, given.by
    )
    scene = plain_name(given.scene)
    if given.against:
        other = plain_name(given.against)
        what, here, rest = f"{scene} over {other}", f"answered {scene}", f"answered {other}"
    else:
        what, here, rest = scene, f"answered {scene}", "all others"
    lines = [
        "",
        f"what nodes and edges add to {what}, in photos {here} and in {rest} (mean, 95 %)",
        *_table(nodes, edges),
    ]
    facts = {
        "scene": given.scene,
        "against": given.against,
        "nodes": nodes.to_dict("records"),
        "edges": edges.to_dict("records"),
    }
    return facts, lines


def _table(nodes: pd.DataFrame, edges: pd.DataFrame) -> list[str]:
    lines = []
    for graph in nodes["graph"].unique():
        head = f"graph of {plain_name(graph)}"
        lines += ["", f"{head:44} {'weight':>7} {'shown':>6} {'adds':>7} {'95 %':16} others"]
        for row in nodes[nodes["graph"] == graph].itertuples():
            lines.append(f"{row.concept:44} {'':7} {row.shown:6.0%} {_adds(row)}")
        if len(edges):
            for row in edges[edges["graph"] == graph].itertuples():
                pair = f"{row.of} → {row.to}"
                lines.append(f"{pair:44} {row.weight:+7.2f} {row.shown:6.0%} {_adds(row)}")
    return lines


def _adds(row: Any) -> str:
    mine, other = (
        f"[{row.low:+.2f}, {row.high:+.2f}]",
        f"[{row.other_low:+.2f}, {row.other_high:+.2f}]",
    )
    return f"{row.adds:+7.2f} {mine:16} {row.other:+.2f} {other}"


def _asked_photo(judged: Judged, given: argparse.Namespace) -> tuple[Json, list[str]]:
    """Why, and why not, of a photo, where one was asked for."""
    from dataclasses import asdict

    from core.ablation.images import choose
    from core.graphs.scg import graphs_of
    from core.graphs.why import explain

    if not given.image:
        return {}, []
    student = judged.student
    row = int(choose(student.probe.images, ids=[given.image])[0])
    graphs = graphs_of(student.probe, student.found.distinct, row, row + 1)
    found = explain(student, graphs, 0, given.scene, given.against, given.by)
    return {"why": asdict(found)}, ["", *_said(found)]


def _said(found: Why) -> list[str]:
    a, b = plain_name(found.a), plain_name(found.b)
    lines = [
        f"{found.image}: it answers {plain_name(found.answer)}"
        + (f", shown is {plain_name(found.scene)}" if found.scene else "")
        + f"; its graphs answer {plain_name(found.said)}",
        f"{a} over {b}: {found.margin[0]:+.2f} by the network, {found.margin[1]:+.2f} by the "
        f"graphs, of which {found.rest:+.2f} from graphs of other classes and the bias",
    ]
    for graph, word in zip(found.graphs, ("why", "why not"), strict=True):
        lines += _graph(graph, word)
    lines += ["", f"each concept's part in {a} over {b}, in the graphs of all classes"]
    lines += [f"  {name:24} {value:+.2f}" for name, value in found.concepts]
    return lines


def _graph(graph: Graph, word: str) -> list[str]:
    name = plain_name(graph.scene)
    head = (
        f"{word} {name}? Its graph adds {graph.own:+.2f} to it, {graph.margin:+.2f} to the margin"
    )
    lines = ["", head]
    for node in graph.nodes:
        mark = "" if node.shown else " (not shown)"
        lines.append(f"  {node.concept + mark:44} {node.own:+.2f} {node.margin:+.2f}")
    for edge in sorted(graph.edges, key=lambda one: -abs(one.own)):
        if edge.shown:
            lies = f"{edge.of} → {edge.to} ({_lies(edge.dx, edge.dy)})"
            lines.append(f"  {lies:44} {edge.own:+.2f} {edge.margin:+.2f}")
    return lines


def _lies(dx: float, dy: float) -> str:
    """An offset in words: the larger of its parts.

    >>> _lies(-0.25, 0.1), _lies(0.0, -0.5)
    ('25 % to the left', '50 % above')
    """
    if abs(dx) >= abs(dy):
        return f"{abs(dx):.0%} to the {'left' if dx < 0 else 'right'}".replace("%", " %")
    return f"{abs(dy):.0%} {'above' if dy < 0 else 'below'}".replace("%", " %")
