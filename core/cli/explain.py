"""Verbs that explain predictions: the account of one image, the paper's tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.cli.common import SEED, Answer, Verb, add_knowledge, add_run, open_given, say
from core.cli.merging import add_clustering, filtered_table
from core.foundation.errors import UnitscopeError
from core.foundation.files import write_text
from core.knowledge.kinds import own_knowledge
from core.runs.run_file import Run
from core.runs.store import find_run


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
    add_knowledge(explain)
    tables = verb("tables", _tables, "The paper's tables for one run, or several (Table 4).")
    add_run(tables, several=True)
    tables.add_argument("--table", type=int, default=1, choices=[1, 2, 3, 4, 5, 6])
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
    tables.add_argument("--csv", type=Path, metavar="DIR", help="write table_N.csv there")
    tables.add_argument("--latex", type=Path, metavar="DIR", help="write table_N.tex there")
    add_knowledge(tables)


def _explain(given: argparse.Namespace) -> Answer:
    from core.explain.account import account
    from core.foundation.names import place
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import all_core_concepts

    run = open_given(given)
    core = all_core_concepts(
        run,
        open_knowledge(given.knowledge or own_knowledge(run)),
        given.overrides,
        kinds=[given.cc],
    )[given.cc]
    if given.photo is not None:
        from core.datasets.decode import read_photo
        from core.explain.photo import explain_photo

        result = explain_photo(run, core, read_photo(given.photo), given.photo.name, given.layer)
    else:
        result = account(run, core, given.image, given.layer, given.strategy, given.iou)
    lines = [result["sentence"], ""]
    lines.append(f"{'concept':20} {'IoU':>7}  {'where':12}  strongest units")
    for seen in result["seen"]:
        units = ", ".join(f"{u['unit']} ({u['iou']:.3f})" for u in seen["units"])
        at = (seen.get("where") or {}).get("words", "")
        lines.append(f"{seen['concept']:20} {seen['iou']:7.4f}  {at:12}  {units}")
    for side, facts in result["sides"].items():
        lines.append("")
        lines.append(f"{side}: {facts['scene']} ({len(facts['core'])} core concepts, {core.kind})")
        for kind in ("met", "missed", "foreign"):
            names = [
                item["concept"] + (" (not in the photo)" if item["annotated"] is False else "")
                for item in facts[kind]
            ]
            lines.append(f"  {kind:8} {', '.join(names) or '–'}")
    lines += ["", f"{'scene':24} {'CM':>6} {'SM':>6} {'DM':>6}   ranks"]
    sides = {facts["scene"] for facts in result["sides"].values()}
    ranks = {m: [row[f"{m}_rank"] for row in result["scenes"]] for m in ("CM", "SM", "DM")}
    best = [row for row in result["scenes"] if row["SM_rank"] <= 5]
    if len(best) > 10:
        # Ties: what is listed would be by name alone.
        lines.append(f"SM tells none of {len(best)} scenes from the others: the photo's own alone")
        best = []
    for row in result["scenes"]:
        if row in best or row["scene"] in sides:
            lines.append(
                f"{row['scene']:24} {row['CM']:6.3f} {row['SM']:6.3f} {row['DM']:6.2f}   "
                + "; ".join(f"{m} {place(row[f'{m}_rank'], ranks[m])}" for m in ranks)
            )
    return result, "\n".join(lines)


def _tables(given: argparse.Namespace) -> Answer:
    from core.cli.retrain import pe_defaults, pe_of
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import table_1, table_4, table_6

    runs = [Run(find_run(name, given.out)) for name in given.run]
    graph = open_knowledge(given.knowledge or own_knowledge(runs[0]))
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
