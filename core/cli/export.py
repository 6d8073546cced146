"""Verbs that export from a run: figures as files, a report."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.cli.common import (
    Answer,
    Verb,
    add_printed,
    add_run,
    open_given,
    printed_of,
    whole,
)
from core.foundation.errors import UnitscopeError
from core.foundation.files import write_text
from core.foundation.settings import CACHE
from core.foundation.vocabulary import Denominator


def add(verb: Verb) -> None:
    """export, report."""
    export = verb("export", _export, "Write the figures of a run as files.")
    add_run(export)
    export.add_argument("--figures", type=Path, required=True, metavar="DIR", help="where to")
    export.add_argument(
        "--format", default="svg,pdf,png", metavar="KINDS", help="of svg,pdf,png, with commas"
    )
    export.add_argument("--only", action="append", default=[], metavar="NAME", help="repeatable")
    add_printed(export)
    report = verb("report", _report, "Write one HTML file with figures, tables, definitions.")
    add_run(report)
    report.add_argument("--to", type=Path, metavar="FILE", help="<run>.html where left out")
    report.add_argument(
        "--figure", action="append", metavar="NAME", help="repeatable; all where left out"
    )
    report.add_argument(
        "--table", action="append", metavar="NAME", help="repeatable; all where left out"
    )
    report.add_argument(
        "--unit",
        type=whole(),
        action="append",
        default=[],
        metavar="N",
        help="a section on this unit; repeatable",
    )
    report.add_argument(
        "--image",
        action="append",
        default=[],
        metavar="ID",
        help="a section on why it was called what it was; repeatable",
    )
    report.add_argument("--no-photos", action="store_true", help="leave the photos out")
    for sub in (export, report):
        sub.add_argument("--layer", metavar="NAME", help="the run's last where left out")
        sub.add_argument("--denominator", default="all", choices=tuple(Denominator))
        sub.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of runs")


def _export(given: argparse.Namespace) -> Answer:
    from core.figures.contents import export_figures, open_view

    printed = printed_of(given)
    view = open_view(open_given(given), given.layer, given.denominator)
    kinds = [kind.strip() for kind in given.format.split(",") if kind.strip()]
    written = export_figures(view, given.figures, kinds, given.only, printed)
    files = [str(path) for path in written]
    return {"run": view.run.digest, "layer": view.layer, "files": files}, "\n".join(files)


def _report(given: argparse.Namespace) -> Answer:
    from core.figures.contents import open_view
    from core.figures.report import report

    view = open_view(open_given(given), given.layer, given.denominator)
    text = report(view, given.figure, given.table, not given.no_photos, given.unit, given.image)
    to = given.to or Path(f"{view.run.digest}.html")
    if not to.parent.is_dir():
        raise UnitscopeError(f"there is no folder {to.parent} to write {to.name} into")
    write_text(to, text)
    facts = {"run": view.run.digest, "layer": view.layer, "file": str(to), "bytes": len(text)}
    return facts, f"{to} ({len(text) / 1e6:.1f} MB)"
