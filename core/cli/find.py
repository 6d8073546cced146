"""Verbs that find things in a run: find, query."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path

from core.cli.common import Answer, Verb, add_run, open_given, real, whole
from core.foundation.escape import csv_frame
from core.foundation.files import write_text
from core.foundation.settings import CACHE


def add(verb: Verb) -> None:
    """find, query."""
    find = verb("find", _find, "Units, concepts, scenes, photos, tags and notes of a name.")
    add_run(find)
    find.add_argument("text", help="a part of a name, a unit's number, a photo's id, a tag")
    find.add_argument("--layer", metavar="NAME", help="whose units; the last one where left out")
    find.add_argument("--top", type=whole(1), default=5, help="hits listed of each kind (5)")
    find.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")
    query = verb("query", _query, "One SELECT over the tables of a run file, read-only.")
    add_run(query)
    query.add_argument("sql", help="tables and columns: docs/run-file.md")
    query.add_argument("--rows", type=whole(1), default=1_000, help="rows at most (1000)")
    query.add_argument(
        "--seconds", type=real(0, 86_400), default=60.0, help="time that it may take (60)"
    )
    query.add_argument("--csv", type=Path, metavar="FILE", help="write the rows there")
    query.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")


def _find(given: argparse.Namespace) -> Answer:
    from core.views.search import search

    run = open_given(given)
    layer = given.layer or (run.layer_names[-1] if run.layer_names else "")
    if given.layer:
        run.layer(given.layer)
    groups = search(run, layer, given.text, count=given.top)
    lines = []
    for group in groups:
        lines.append(f"{group.kind} ({group.total:,})")
        lines += [f"  {hit.label}: {hit.about}" for hit in group.hits]
    facts = {"run": run.digest, "layer": layer, "groups": [asdict(group) for group in groups]}
    return facts, "\n".join(lines) or f"nothing in run {run.digest} is called {given.text!r}"


def _query(given: argparse.Namespace) -> Answer:
    from core.runs.query import ask

    run = open_given(given)
    found = ask(run, given.sql, given.rows, given.seconds)
    facts = {
        "run": run.digest,
        "columns": list(found.frame.columns),
        "rows": found.frame.astype(object).where(found.frame.notna(), None).to_numpy().tolist(),
        "more": found.more,
        "seconds": found.seconds,
    }
    if given.csv:
        write_text(given.csv, csv_frame(found.frame))
        return facts, f"{len(found.frame):,} rows in {given.csv}"
    text = found.frame.to_string(index=False, max_colwidth=60) if len(found.frame) else "no rows"
    return facts, text + ("\n… there are more: --rows" if found.more else "")
