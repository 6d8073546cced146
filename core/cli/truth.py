"""The verb that holds every attribution method against the truth."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.common import COUNT, SEED, Answer, Verb, open_given, show_progress, stoppable
from core.foundation.errors import UnitscopeError
from core.foundation.escape import csv_frame
from core.foundation.files import write_text
from core.foundation.settings import CACHE

if TYPE_CHECKING:
    from core.attribution.judged import Truth


def add(verb: Verb) -> None:
    """truth."""
    truth = verb(
        "truth", _truth, "How true is each attribution method, against true effects; resumes."
    )
    truth.add_argument("run", nargs="?", help="digest, the beginning of one, or `latest`")
    truth.add_argument("--list", action="store_true", help="the methods, and what each is")
    truth.add_argument("--split", help="photos of this split; test or val if left out")
    truth.add_argument(
        "--methods", metavar="NAMES", help="evidence,occlusion-*; all that can be asked if left out"
    )
    truth.add_argument(
        "--photos", type=COUNT, default=120, help="at most so many wrong and so many right answers"
    )
    truth.add_argument(
        "--by",
        metavar="WAY",
        help="how concepts are taken out: redrawn (photos of rooms), or a filling",
    )
    truth.add_argument("--layer", metavar="NAME")
    truth.add_argument("--seed", type=SEED, default=0)
    truth.add_argument("--csv", type=Path, metavar="DIR", help="write the tables there")
    truth.add_argument("--latex", type=Path, metavar="DIR", help="write the tables there")
    truth.add_argument("--beat", type=Path, metavar="FILE", help="how far it is, for the app")
    truth.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")


def _truth(given: argparse.Namespace) -> Answer:
    from core.attribution.methods import METHODS, missing

    if given.list:
        rows = [
            {"method": m.name, "about": m.about, "family": m.family, "missing": missing(m)}
            for m in METHODS
        ]
        width = max(len(method.name) for method in METHODS)
        return {"methods": rows}, "\n".join(
            f"{m.name:{width}}  {m.about}" + (f" (needs {m.needs})" if missing(m) else "")
            for m in METHODS
        )
    if given.run is None:
        raise UnitscopeError("which run? its digest, the beginning of one, or latest; or --list")
    from core.attribution.case import Opened
    from core.attribution.judged import Asked
    from core.attribution.truth import hold_against_truth
    from core.foundation.settings import judged_split

    names = tuple(filter(None, (given.methods or "").split(",")))
    run = open_given(given)
    split = given.split
    if split is None:
        every = run.sql("SELECT DISTINCT split FROM images ORDER BY split")["split"].tolist()
        split = judged_split(every)
    asked = Asked(names, split, given.photos, given.by, given.layer, given.seed)
    opened = Opened.of(run, given.layer)
    with stoppable() as stop:
        found = hold_against_truth(opened, asked, show_progress, stop, given.beat)
    return _said(found, given)


def _said(found: Truth, given: argparse.Namespace) -> Answer:
    from core.paper.truth import truth_tables

    tables = truth_tables(found)
    files = []
    for kind, table in tables.items():
        for folder, suffix, text in (
            (given.csv, "csv", table.to_csv()),
            (given.latex, "tex", table.to_latex()),
        ):
            if folder is not None:
                files.append(folder / f"truth-{kind}.{suffix}")
                folder.mkdir(parents=True, exist_ok=True)
                write_text(files[-1], text)
    if given.csv is not None:
        files.append(given.csv / "truth-photos.csv")
        write_text(files[-1], csv_frame(found.scores))
    facts = {
        "by": found.by,
        "tables": {kind: table.to_json() for kind, table in tables.items()},
        "files": [str(file) for file in files],
    }
    text = "\n\n".join(table.to_text() for table in tables.values())
    return facts, "\n".join([text, *(f"wrote {file}" for file in files)])
