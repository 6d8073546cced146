"""The verb that searches compositional explanations of units."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.cli.common import (
    COUNT,
    THREADS,
    Answer,
    Verb,
    add_knowledge,
    add_run,
    numbers,
    open_given,
    real,
    say,
    show_progress,
    stoppable,
    whole,
)
from core.cli.merging import add_clustering, merged_concepts
from core.foundation.escape import csv_frame
from core.foundation.files import write_text
from core.foundation.plain import Json


def add(verb: Verb) -> None:
    """formulas."""
    formulas = verb("formulas", _formulas, "The logical formula of concepts each unit detects.")
    add_run(formulas)
    formulas.add_argument("--layer", metavar="NAME")
    formulas.add_argument("--length", type=COUNT, default=3, help="concepts in the longest formula")
    formulas.add_argument("--beam", type=COUNT, default=5, help="formulas kept at each length")
    formulas.add_argument(
        "--penalty", type=real(0, 1), default=1.0, help="score = penalty^(cost − 1) · IoU"
    )
    formulas.add_argument(
        "--optimal", action="store_true", help="continue until no formula can be better"
    )
    formulas.add_argument(
        "--most", type=COUNT, default=5000, help="formulas opened for one unit with --optimal"
    )
    formulas.add_argument(
        "--keep-duplicates",
        action="store_true",
        help="`a OR b` and `b OR a` both take a place in the beam, as in CEN",
    )
    formulas.add_argument("--units", help="numbers, comma separated; all where left out")
    formulas.add_argument("--category", action="append", help="concepts of these categories only")
    formulas.add_argument("--split", action="append", help="images of these splits only")
    formulas.add_argument(
        "--shuffles",
        type=whole(0, 10_000),
        default=0,
        help="rounds of the same search with exchanged labels: how often chance does as well",
    )
    formulas.add_argument("--threads", type=THREADS, default=1, help="of the search")
    formulas.add_argument("--top", type=whole(), default=20, help="units listed")
    formulas.add_argument("--csv", type=Path, metavar="FILE", help="write the whole table")
    formulas.add_argument(
        "--k", type=COUNT, help="over filtered concepts: put into this many groups first"
    )
    formulas.add_argument("--embedding", default="TransE", metavar="NAME", help="with --k")
    add_clustering(formulas)
    add_knowledge(formulas)


def _formulas(given: argparse.Namespace) -> Answer:
    from core.dissect.formula_search import Search
    from core.dissect.formulas import unit_formulas

    run = open_given(given)
    search = Search(
        given.length,
        given.beam,
        given.penalty,
        not given.keep_duplicates,
        given.optimal,
        given.most,
        tuple(given.category or ()),
        tuple(given.split or ()),
    )
    groups = merged_concepts(run, given) if given.k is not None else None
    with stoppable() as stop:
        frame, s = unit_formulas(
            run,
            given.layer,
            search,
            groups,
            units=numbers(given.units),
            shuffles=given.shuffles,
            threads=given.threads,
            progress=show_progress,
            stop=stop,
        )
    if given.csv is not None:
        write_text(given.csv, csv_frame(frame))
        say(f"wrote {given.csv}")
    named = frame.dropna(subset="formula")
    facts: Json = {
        "run": run.digest,
        "layer": s.layer,
        "units": len(frame),
        "signatures": len(s),
        "pixels": int(s.pixels.sum()),
        "mean_iou": float(named["iou"].mean()),
        "mean_label_iou": float(named["label_iou"].mean()),
        "longer_than_one": int((named["length"] > 1).sum()),
        "formulas": frame.sort_values(["iou", "unit"], ascending=[False, True]).to_dict("records"),
    }
    lines = [
        f"{run.dataset}, {run.settings.model.spec}, {s.layer}, "
        f"dataset IoU, {'all images' if not s.splits else ', '.join(s.splits)}"
        + (f", concepts in {given.k} groups by {given.embedding}" if groups else ""),
        f"{len(named)} of {len(frame)} units have a formula; mean IoU {facts['mean_iou']:.4f}, "
        f"of the best concept alone {facts['mean_label_iou']:.4f}",
    ]
    if search.optimal:
        facts["proven"] = int(frame["proven"].astype(bool).sum())
        lines.append(f"{facts['proven']} proven to be the best of all formulas")
    if given.shuffles:
        facts["above_chance"] = int((frame["chance"] <= 0.05).sum())
        lines.append(
            f"{facts['above_chance']} do better than 95 % of what the same search finds in "
            f"exchanged labels ({given.shuffles} rounds)"
        )
    lines += ["", f"{'unit':>6}  {'IoU':>7}  {'concept':>7}  formula"]
    lines += [
        f"{row['unit']:6}  {row['iou']:7.4f}  {row['label_iou']:7.4f}  {row['formula']}"
        + (f"   (equals: {row['ties']})" if row["ties"] else "")
        for row in facts["formulas"][: given.top]
        if row["formula"]
    ]
    return facts, "\n".join(lines)
