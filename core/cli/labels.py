"""The verb that labels units by every method, and holds the labels against photos."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.common import COUNT, SEED, Answer, Verb, open_given, show_progress, stoppable, whole
from core.foundation.errors import UnitscopeError, without_effect
from core.foundation.escape import csv_frame
from core.foundation.files import write_text
from core.foundation.plain import Json
from core.foundation.settings import CACHE

if TYPE_CHECKING:
    import pandas as pd

    from core.labelling.judged import Bench
    from core.runs.run_file import Run


def add(verb: Verb) -> None:
    """labels."""
    labels = verb(
        "labels",
        _labels,
        "Labels of units by every method, scored on photos that they were not learned from.",
    )
    labels.add_argument("run", nargs="?", help="digest, the beginning of one, or `latest`")
    labels.add_argument("--list", action="store_true", help="the methods, and what each is")
    labels.add_argument(
        "--methods", metavar="NAMES", help="dataset,linear; all that can be asked if left out"
    )
    labels.add_argument("--compare", action="store_true", help="the methods alone, not the units")
    labels.add_argument(
        "--unit", type=whole(), metavar="N", help="every method's label of this unit"
    )
    labels.add_argument(
        "--find",
        metavar="TEXT",
        help="units of any method that have to do with a concept; with --encoder, those whose "
        "labels are nearest to any text",
    )
    labels.add_argument("--layer", metavar="NAME", help="the run's last layer if left out")
    labels.add_argument(
        "--category", action="append", metavar="NAME", help="concepts of this category alone"
    )
    labels.add_argument(
        "--learn-on", action="append", metavar="SPLIT", help="train if left out; may be repeated"
    )
    labels.add_argument(
        "--split", action="append", metavar="SPLIT", help="judged by; test or val if left out"
    )
    labels.add_argument(
        "--by",
        metavar="WAY",
        help="causal score: how concepts are taken out of photos: redrawn (photos of rooms), a "
        "filling, or none; by itself if left out",
    )
    labels.add_argument(
        "--photos", type=COUNT, default=150, help="that concepts are taken out of, at most"
    )
    labels.add_argument("--encoder", metavar="SPEC", help="of photos and words, for CLIP-Dissect")
    labels.add_argument("--words", type=Path, metavar="FILE", help="for CLIP-Dissect, one a line")
    labels.add_argument("--table", type=Path, metavar="CSV", help="labels made elsewhere")
    labels.add_argument("--top", type=COUNT, default=20, help="units shown")
    labels.add_argument("--seed", type=SEED, default=0)
    labels.add_argument("--csv", type=Path, metavar="DIR", help="write the tables there")
    labels.add_argument(
        "--latex", type=Path, metavar="DIR", help="write the table of methods there"
    )
    labels.add_argument("--beat", type=Path, metavar="FILE", help="keep the progress there")
    labels.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")


def _labels(given: argparse.Namespace) -> Answer:
    from core.labelling.methods import LABELLING

    if given.list:
        rows = [
            {"method": m.name, "about": m.about, "family": m.family, "takes": list(m.takes)}
            for m in LABELLING
        ]
        width = max(len(method.name) for method in LABELLING)
        return {"methods": rows}, "\n".join(
            f"{m.name:{width}}  {m.about}" + (f" (--{', --'.join(m.takes)})" if m.takes else "")
            for m in LABELLING
        )
    if given.run is None:
        raise UnitscopeError("which run? its digest, the beginning of one, or latest; or --list")
    if sum([given.compare, given.unit is not None, given.find is not None]) > 1:
        raise UnitscopeError("--compare, --unit and --find are asked one at a time")
    run = open_given(given)
    found = _bench(given, run)
    files = _written(found, run, given)
    facts = _facts(found, run) | {"files": [str(file) for file in files]}
    shown, text = _shown(found, run, given)
    if shown is not None:
        facts["units"] = shown.to_dict("records")
    parts = [f"{run.dataset}, {run.settings.model.spec}, {found.asked.words}", ""]
    parts += [_methods_text(found), *(["", text] if text else [])]
    parts += [f"{row.method}: {row.note}" for row in found.table.itertuples() if row.note]
    parts += [f"{name} has no labels here: {why}" for name, why in found.left_out.items()]
    return facts, "\n".join([*parts, *(f"wrote {file}" for file in files)])


def _shown(found: Bench, run: Run, given: argparse.Namespace) -> tuple[pd.DataFrame | None, str]:
    """The units that were asked for; None where the methods alone were."""
    if given.compare:
        return None, ""
    if given.unit is not None:
        units = run.unit_count(found.asked.layer)
        if given.unit >= units:
            raise UnitscopeError(f"there is no unit {given.unit}; units are 0 to {units - 1}")
        shown = found.unit(given.unit)
    elif given.find is not None:
        shown = _found(found, run, given).head(given.top)
    else:
        shown = found.units.sort_values("image", ascending=False, kind="stable").head(given.top)
    return shown, _units_text(shown)


def _found(found: Bench, run: Run, given: argparse.Namespace) -> pd.DataFrame:
    """By the words of labels, or, by an encoder, by their meaning."""
    if not given.encoder:
        return found.find(given.find)
    from core.labelling.encoders import load_encoder
    from core.labelling.search import near

    with stoppable() as stop:
        return near(found, run, given.find, load_encoder(given.encoder), show_progress, stop)


def _bench(given: argparse.Namespace, run: Run) -> Bench:
    from core.labelling.bench import NONE, Asked, compare_on

    if given.by == NONE and given.photos != 150:
        without_effect("--photos says how many photos concepts are taken out of: --by none")
    asked = Asked(
        given.layer,
        tuple(filter(None, (given.methods or "").split(","))),
        given.learn_on,
        given.split,
        given.category,
        given.by,
        given.photos,
        {"encoder": given.encoder, "words": given.words, "table": given.table},
        given.seed,
    )
    with stoppable() as stop:
        return compare_on(run, asked, show_progress, stop, given.beat)


def _facts(found: Bench, run: Run) -> Json:
    return {
        "run": run.digest,
        **asdict(found.asked),
        "methods": found.table.to_dict("records"),
        "same": found.same.to_dict(),
        "left_out": found.left_out,
    }


def _methods_text(found: Bench) -> str:
    table = found.table
    width = max(len("method"), *(len(name) for name in table["method"]))
    lines = [
        f"{'method':{width}}  {'units':>5}  {'image-level simulation':>24}  {'× dataset':>9}  "
        f"{'cell level':>22}  {'causal score':>22}  {'judged':>6}"
    ]
    for row in table.itertuples():
        times = f"{row.times:.2f}" if row.times == row.times else "–"
        lines.append(
            f"{row.method:{width}}  {row.units:5}  "
            f"{_span(row.image, row.image_low, row.image_high):>24}  {times:>9}  "
            f"{_span(row.cell, row.cell_low, row.cell_high):>22}  "
            f"{_span(row.causal, row.causal_low, row.causal_high):>22}  {row.judged:6}"
        )
    return "\n".join(lines)


def _span(value: float, low: float, high: float) -> str:
    return f"{value:.3f} [{low:.3f}, {high:.3f}]" if value == value else "–"


def _units_text(shown: pd.DataFrame) -> str:
    by_text = "near" in shown
    head = f"{'cosine':>6}  " if by_text else ""
    lines = [f"{head}{'unit':>5}  {'method':13}  {'simul.':>6}  {'causal':>6}  label"]
    for row in shown.itertuples():
        causal = f"{row.causal:6.2f}" if row.causal == row.causal else f"{'–':>6}"
        label = str(row.label)
        lines.append(
            (f"{row.near:6.2f}  " if by_text else "")
            + f"{row.unit:5}  {row.method:13}  {row.image:6.3f}  {causal}  "
            + (label if len(label) <= 90 else label[:89] + "…")
            + ("" if row.concepts else "  (names no annotated concept)")
            + (f"  [{row.name}]" if by_text and row.name != label else "")
        )
    return "\n".join(lines)


def _written(found: Bench, run: Run, given: argparse.Namespace) -> list[Path]:
    files = []
    units = found.units.assign(concepts=["; ".join(names) for names in found.units["concepts"]])
    if given.csv is not None:
        given.csv.mkdir(parents=True, exist_ok=True)
        for name, frame in (("methods", found.table), ("units", units)):
            files.append(given.csv / f"labels-{name}.csv")
            write_text(files[-1], csv_frame(frame))
    if given.latex is not None:
        from core.paper.labels import labels_latex

        given.latex.mkdir(parents=True, exist_ok=True)
        files.append(given.latex / "labels.tex")
        write_text(files[-1], labels_latex(found, run))
    return files
