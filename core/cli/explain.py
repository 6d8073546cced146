"""Verbs that explain predictions: the account of one image, the paper's tables."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.common import (
    SEED,
    Answer,
    Verb,
    add_knowledge,
    add_run,
    open_given,
    open_run,
    say,
    show_progress,
    stoppable,
)
from core.cli.merging import add_clustering, filtered_table
from core.foundation.errors import UnitscopeError, without_effect
from core.foundation.files import write_text
from core.foundation.vocabulary import Standing

if TYPE_CHECKING:
    from core.attribution.account import Causes
    from core.explain.account import Account
    from core.knowledge.core_concepts import CoreConcepts
    from core.paper.rivals import Rival
    from core.runs.run_file import Run


def add(verb: Verb) -> None:
    """explain, tables."""
    explain = verb("explain", _explain, "Why the network said what it said of one image.")
    add_run(explain)
    what = explain.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", metavar="ID", help="an image of the run")
    what.add_argument("--photo", type=Path, metavar="FILE", help="any photo, without masks")
    explain.add_argument("--strategy", default="minmax_threshold")
    explain.add_argument("--cc", default="scc", choices=["scc", "icc", "top10"])
    explain.add_argument("--iou", default="image")
    explain.add_argument("--layer", metavar="NAME")
    explain.add_argument(
        "--against",
        metavar="SCENE",
        help="hold the answer against this class (the true scene, or the runner-up)",
    )
    explain.add_argument(
        "--answer", metavar="SCENE", help="ask about this class instead of the network's answer"
    )
    explain.add_argument(
        "--filling",
        action="append",
        metavar="NAME",
        help="how a concept is removed: inpaint, smooth, blur, mean, noise (the first two); "
        "repeatable",
    )
    explain.add_argument(
        "--category",
        action="append",
        metavar="NAME",
        help="concepts of this category: object, part, material (objects); repeatable",
    )
    add_knowledge(explain)
    tables = verb("tables", _tables, "The paper's tables for one run, or several (Table 4).")
    add_run(tables, several=True)
    tables.add_argument(
        "--table",
        type=int,
        default=1,
        choices=[1, 2, 3, 4, 5, 6],
        help="number of the paper's table",
    )
    tables.add_argument("--split", action="append", help="images of these splits alone")
    tables.add_argument("--iou", default="image")
    tables.add_argument("--layer", metavar="NAME")
    tables.add_argument("--seed", type=SEED, default=0)
    add_clustering(tables)
    tables.add_argument(
        "--embedding",
        action="append",
        metavar="NAME",
        help="of tables 2, 3 (one: TransE) and 5 (all); or `words`, similarity of names",
    )
    tables.add_argument(
        "--k",
        metavar="K",
        help="groups: a number (tables 2, 3; half the concepts), or such as "
        "160-185 or 10,20,30 (table 5; all)",
    )
    tables.add_argument(
        "--labels",
        action="append",
        metavar="METHOD",
        help="table 1: a row for the labels of this method as well (`labels --list`); repeatable",
    )
    tables.add_argument("--encoder", metavar="SPEC", help="of photos and words, with --labels")
    for name, shown in (("conceptshap", "ConceptSHAP"), ("ace", "ACE"), ("vrx", "VRX")):
        tables.add_argument(
            f"--{name}", action="store_true", help=f"table 1: a row for {shown} as well"
        )
    tables.add_argument("--csv", type=Path, metavar="DIR", help="write table_N.csv there")
    tables.add_argument("--latex", type=Path, metavar="DIR", help="write table_N.tex there")
    add_knowledge(tables)


def _explain(given: argparse.Namespace) -> Answer:
    from core.explain.account import account
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import all_core_concepts

    run = open_given(given)
    core = all_core_concepts(
        run,
        open_knowledge(given.knowledge or run.own_knowledge),
        given.overrides,
        kinds=[given.cc],
    )[given.cc]
    if given.photo is not None:
        from core.datasets.decode import read_photo
        from core.explain.photo import explain_photo

        for option in ("answer", "against", "filling", "category"):
            if getattr(given, option):
                raise UnitscopeError(
                    f"--{option} is of what caused an answer, and nobody annotated {given.photo}: "
                    "nothing in it can be removed by name"
                )
        explained = explain_photo(run, core, read_photo(given.photo), given.photo.name, given.layer)
        return explained.to_json(), "\n".join(_paper_lines(explained))
    explained = account(run, core, given.image, given.layer, given.strategy, given.iou)
    found, why = _causes(run, core, given)
    result = explained.to_json() | {
        "causes": None if found is None else found.to_json(),
        "no_causes": why,
    }
    lines = _cause_lines(found) if found is not None else [f"What caused it is not told: {why}."]
    return result, "\n".join([*lines, "", "The paper's account:", "", *_paper_lines(explained)])


def _causes(run: Run, core: CoreConcepts, given: argparse.Namespace) -> tuple[Causes | None, str]:
    """What caused the answer, or why that cannot be told."""
    from core.attribution.account import Question, causes
    from core.attribution.case import Opened
    from core.attribution.effects import open_photo

    fillings = tuple(given.filling or Question.fillings)
    question = Question(
        given.answer, given.against, fillings, categories=tuple(given.category or ())
    )
    try:
        case = open_photo(Opened.of(run, given.layer), given.image)
    except UnitscopeError as err:
        return None, str(err)
    return causes(case, core, question), ""


def _cause_lines(found: Causes) -> list[str]:
    """What caused an answer, and what knowledge says of it, for people to read."""
    from core.attribution.account import signed, spoken_concept
    from core.foundation.names import plain_name

    a, b = (plain_name(side.name) for side in found.sides)
    lines = [
        found.sentence,
        "",
        f"Effects on the margin of {a} over {b} ({', '.join(found.question.fillings)}; "
        f"{found.question.controls} regions elsewhere; evidence by {found.evidence_kind} of "
        f"{found.layer})",
        f"{'concept':24} {'effect':>7} {'range':>14} {'elsewhere':>14} {'evidence':>8}  without it",
    ]

    def span(low: float, high: float) -> str:
        return f"{signed(low)} … {signed(high)}"

    for row in found.rows:
        band = "–" if row.band is None else span(*row.band)
        change = f" ({row.removed.change})" if row.removed.change else ""
        lines.append(
            f"{spoken_concept(row):24} {signed(row.effect):>7} {span(row.least, row.most):>14} "
            f"{band:>14} {signed(row.evidence):>8}  {plain_name(row.removed.answer)}{change}"
        )
    lines += [
        f"{one.category}s: evidence {signed(one.concepts)} from all of them, {signed(one.rest)} "
        f"from the rest, bias {signed(found.bias + found.beside)}, gap {found.gap:.1e}"
        for one in found.sums
    ]
    if found.disagreement:
        lines += ["", found.disagreement]
    lines += ["", f"What knowledge says of them ({found.core_kind}):"]
    for k, side in enumerate(found.sides):
        lines.append(f"{plain_name(side.name)}: {len(side.core)} core concepts")
        for standing in Standing:
            names = [
                spoken_concept(row)
                for row in found.rows
                if (row.standing_against if k else row.standing_answer) == standing
            ]
            if names:
                lines.append(f"  {standing.short:18} {', '.join(names)}")
        if side.absent:
            lines.append(f"  {'not in the photo':18} {', '.join(map(spoken_concept, side.absent))}")
    return lines


def _paper_lines(explained: Account) -> list[str]:
    """The paper's account for people to read."""
    from core.foundation.names import place

    lines = [explained.sentence, ""]
    lines.append(f"{'concept':20} {'IoU':>7}  {'where':12}  strongest units")
    for seen in explained.seen:
        units = ", ".join(f"{u.unit} ({u.iou:.3f})" for u in seen.units)
        at = seen.where.words if seen.where else ""
        lines.append(f"{seen.concept:20} {seen.iou:7.4f}  {at:12}  {units}")
    for name, side in explained.sides.items():
        lines.append("")
        lines.append(f"{name}: {side.scene} ({len(side.core)} core concepts, {explained.core})")
        for kind in ("met", "missed", "foreign"):
            names = [
                item.concept + (" (not in the photo)" if item.annotated is False else "")
                for item in getattr(side, kind)
            ]
            lines.append(f"  {kind:8} {', '.join(names) or '–'}")
    lines += ["", f"{'scene':24} {'CM':>6} {'SM':>6} {'DM':>6}   ranks"]
    scenes = {side.scene for side in explained.sides.values()}
    ranks = {m: [getattr(row, f"{m}_rank") for row in explained.scenes] for m in ("CM", "SM", "DM")}
    best = [row for row in explained.scenes if row.SM_rank <= 5]
    if len(best) > 10:
        # Ties: what is listed would be by name alone.
        lines.append(f"SM tells none of {len(best)} scenes from the others: the photo's own alone")
        best = []
    for row in explained.scenes:
        if row in best or row.scene in scenes:
            lines.append(
                f"{row.scene:24} {row.CM:6.3f} {row.SM:6.3f} {row.DM:6.2f}   "
                + "; ".join(f"{m} {place(getattr(row, f'{m}_rank'), ranks[m])}" for m in ranks)
            )
    return lines


def _rivals(run: Run, given: argparse.Namespace) -> list[Rival]:
    """Rows of Table 1 that are not the paper's own methods."""
    from core.paper.rivals import ALONE, rival_of, taken

    asked: dict[str, dict[str, str | None]] = {name: {} for name in ALONE if getattr(given, name)}
    asked |= taken(given.labels or [], encoder=given.encoder)
    with stoppable() as stop:
        return [
            rival_of(run, name, given.layer, show_progress, stop, **own)
            for name, own in asked.items()
        ]


def _tables(given: argparse.Namespace) -> Answer:
    from core.cli.retrain import pe_defaults, pe_of
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import table_1, table_4, table_6

    runs = [open_run(name, given.out) for name in given.run]
    own = given.conceptshap or given.ace or given.vrx
    if given.table != 1 and (given.labels or given.encoder or own):
        without_effect(
            "--labels, --encoder, --conceptshap, --ace and --vrx are of table 1, and this is table "
            f"{given.table}"
        )
    graph = open_knowledge(given.knowledge or runs[0].own_knowledge)
    if given.table == 6:
        asked = pe_defaults(given)
        table = table_6([pe_of(run, asked) for run in runs])
    elif given.table == 4:
        table = table_4(
            runs, graph, given.split, given.iou, given.layer, given.seed, given.overrides
        )
    elif len(runs) > 1:
        raise UnitscopeError(f"table {given.table} is of one run; {len(runs)} were given")
    elif given.table in (2, 3, 5):
        table = filtered_table(runs[0], graph, given)
    else:
        table = table_1(
            runs[0],
            graph,
            given.split,
            given.iou,
            given.layer,
            seed=given.seed,
            overrides=given.overrides,
            rivals=_rivals(runs[0], given),
        )
    for folder, suffix, text in (
        (given.csv, "csv", table.to_csv),
        (given.latex, "tex", table.to_latex),
    ):
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"table_{given.table}.{suffix}"
            write_text(path, text())
            say(f"wrote {path}")
    return table.to_json(), table.to_text()
