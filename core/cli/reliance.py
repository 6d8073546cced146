"""Verbs that say what answers rest on, set-wide: reliance, mistakes, failure."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.common import (
    COUNT,
    SEED,
    Answer,
    Verb,
    add_engine,
    add_knowledge,
    add_run,
    crew_of,
    open_given,
    say,
    show_progress,
    stoppable,
    whole,
)
from core.foundation.escape import csv_frame
from core.foundation.files import write_text
from core.foundation.names import plain_name
from core.foundation.plain import Json
from core.foundation.vocabulary import Core, SceneStanding

if TYPE_CHECKING:
    import pandas as pd

    from core.attribution.measured import Asked, Measured
    from core.knowledge.core_concepts import CoreConcepts
    from core.runs.run_file import Run


def add(verb: Verb) -> None:
    """reliance, mistakes, failure."""
    first = verb("reliance", _reliance, "What every scene rests on, and shortcuts, measured.")
    _add(first)
    first.add_argument(
        "--margin",
        default="others",
        choices=["others", "rival"],
        help="of a scene's logit: over the mean of the others, or over its strongest rival",
    )
    first.add_argument("--least", type=COUNT, default=5, help="photos that show a concept")
    first.add_argument("--scene", help="this scene alone")
    second = verb("mistakes", _mistakes, "Every wrong answer, sorted by what was measured.")
    _add(second)
    second.add_argument("--least", type=COUNT, default=5, help="photos of a slice")
    second.add_argument("--top", type=COUNT, default=20, help="mistakes and slices listed")
    third = verb("failure", _failure, "Does what an answer rests on tell whether it is wrong?")
    _add(third)
    third.add_argument("--fit", metavar="SPLIT", help="fitted there; val, else train")


def _add(sub: argparse.ArgumentParser) -> None:
    add_run(sub)
    sub.add_argument("--split", help="test where there is one, else all images")
    sub.add_argument("--cc", default="scc", choices=list(Core))
    sub.add_argument("--filling", action="append", metavar="NAME", help="repeatable")
    sub.add_argument("--controls", type=whole(), help="regions elsewhere for each concept")
    sub.add_argument("--seed", type=SEED, default=0)
    sub.add_argument("--layer", metavar="NAME", help="whose evidence it is; the last")
    sub.add_argument("--csv", type=Path, metavar="DIR", help="write the tables there")
    sub.add_argument("--latex", type=Path, metavar="DIR", help="write the tables there")
    sub.add_argument("--beat", type=Path, metavar="FILE", help="how far it is, for the app")
    add_engine(sub, "the effects", "a network of its own and OMP_NUM_THREADS cores, or 1")
    add_knowledge(sub)


def _split(run: Run, given: argparse.Namespace) -> tuple[str, ...] | None:
    if given.split:
        return tuple(given.split.split(","))
    names = run.sql("SELECT DISTINCT split FROM images")["split"].tolist()
    return ("test",) if "test" in names else None


def _core(run: Run, given: argparse.Namespace) -> CoreConcepts:
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import all_core_concepts

    graph = open_knowledge(given.knowledge or run.own_knowledge)
    return all_core_concepts(run, graph, given.overrides, kinds=[given.cc])[given.cc]


def _asked(given: argparse.Namespace, splits: tuple[str, ...] | None) -> Asked:
    from core.attribution.measured import Asked

    plain = Asked()
    return Asked(
        tuple(given.filling or plain.fillings),
        plain.controls if given.controls is None else given.controls,
        given.seed,
        splits,
        given.layer,
    )


def _of_split(run: Run, given: argparse.Namespace) -> Measured:
    """Effects of the split: those that are kept, else measured, which opens the network."""
    return _measured(run, given, _asked(given, _split(run, given)))


def _measured(run: Run, given: argparse.Namespace, asked: Asked) -> Measured:
    """Effects: those that are kept, else measured, here or by workers."""
    from core.attribution.case import Opened
    from core.attribution.measured import measure_splits, measure_spread, read_splits

    crew = crew_of(given)
    kept = read_splits(run, asked)
    if kept is not None:
        return kept
    with stoppable() as stop:
        if crew:
            return measure_spread(run, asked, crew, show_progress, stop, given.beat)
        opened = Opened.of(run, given.layer)
        return measure_splits(opened, asked, show_progress, stop, given.beat)


def _write(given: argparse.Namespace, tables: dict[str, pd.DataFrame], caption: str) -> list[str]:
    from core.figures.export import latex

    paths = []
    for name, frame in tables.items():
        for folder, suffix in ((given.csv, "csv"), (given.latex, "tex")):
            if folder is not None:
                folder.mkdir(parents=True, exist_ok=True)
                path = folder / f"{name}.{suffix}"
                write_text(path, csv_frame(frame) if suffix == "csv" else latex(frame, caption))
                say(f"wrote {path}")
                paths.append(str(path))
    return paths


def _about(run: Run, measured: Measured, kind: str) -> str:
    asked = measured.asked
    return (
        f"{run.dataset}, {run.settings.model.spec}, split "
        f"{', '.join(asked.splits or ('all images',))} ({len(measured.images)} photos), fillings "
        f"{', '.join(asked.fillings)}, {asked.controls} regions elsewhere, core concepts "
        f"{Core.of(kind).short}"
    )


def _reliance(given: argparse.Namespace) -> Answer:
    from core.attribution.reliance import reliance

    crew_of(given)  # a slip is told before anything is opened
    run = open_given(given)
    core = _core(run, given)
    measured = _of_split(run, given)
    found = reliance(measured, core, given.margin, given.least, seed=given.seed)
    rows, cuts = found.rows, found.shortcuts(given.scene)
    if given.scene:
        rows = rows[rows["scene"] == given.scene]
    about = _about(run, measured, given.cc)
    files = _write(given, {"reliance": rows, "shortcuts": cuts}, about)
    facts = {
        "run": run.digest,
        "about": about,
        "margin": found.margin,
        "leads": found.leads.to_dict(),
        "rows": rows.to_dict("records"),
        "shortcuts": cuts.to_dict("records"),
        "files": files,
    }
    lines = [about, "", f"{'standing':26} {'pairs':>6}"]
    lines += [f"{one:26} {(rows['standing'] == one).sum():6}" for one in SceneStanding]
    head = (
        f"{'scene':16} {'concept':20} {'photos':>6} {'net':>7} {'95 %':>16} {'share':>7} {'q':>8}"
    )
    for title, frame in (
        ("relied on and core", rows[rows["standing"] == SceneStanding.CORE]),
        ("relied on though not core", rows[rows["standing"] == SceneStanding.SHORTCUT]),
        ("core but ignored", rows[rows["standing"] == SceneStanding.IGNORED]),
        ("pulls over all photos, not core: shortcut candidates", cuts),
    ):
        lines += ["", f"{title} ({len(frame)})", head]
        lines += [
            f"{plain_name(r.scene):16} {r.name:20} {r.photos:6} {r.net:+7.2f} "
            f"[{r.low:+6.2f}, {r.high:+6.2f}] {r.share:+7.1%} {r.q:8.2g}"
            for r in frame.sort_values("share", ascending=False).head(15).itertuples(index=False)
        ]
    return facts, "\n".join(lines)


def _mistakes(given: argparse.Namespace) -> Answer:
    from core.attribution.mistakes import flips_of_split, sort_split
    from core.foundation.errors import UnitscopeError

    crew_of(given)  # a slip is told before anything is opened
    run = open_given(given)
    core = _core(run, given)
    measured = _of_split(run, given)
    found = sort_split(run, measured, core, least=given.least)
    about = _about(run, measured, given.cc)
    errors = found.errors.assign(concepts=[", ".join(c) for c in found.errors["concepts"]])
    tables = {"mistakes": errors, "kinds": found.counts, "slices": found.slices}
    files = _write(given, {**tables, "pairs": found.pairs}, about)
    lines = [
        about,
        f"{len(errors)} of {found.photos} answers are wrong; a right one leads by "
        f"{found.lead:.2f} logits (median)",
        "",
    ]
    lines += [
        f"{r.kind:24} {r.errors:5} {r.share:7.1%} [{r.low:.1%}, {r.high:.1%}]"
        for r in found.counts.itertuples()
    ]
    lines.append(
        f"mended by a concept and not by its control: {found.mended}; the other way round: "
        f"{found.placebo}"
    )
    facts: Json = {
        "run": run.digest,
        "about": about,
        "photos": found.photos,
        "lead": found.lead,
        "mended": found.mended,
        "placebo": found.placebo,
        **{name: frame.to_dict("records") for name, frame in tables.items()},
        "pairs": found.pairs.to_dict("records"),
        "files": files,
    }
    try:
        checks = flips_of_split(run, measured)
        facts["flips"] = [vars(check) for check in checks]
        lines += ["", "labels, and how many are found of those that were made wrong at random"]
        lines += [
            f"{c.source:12} {c.suspected:4} of {c.labels} suspected; of {c.flipped} flipped "
            f"{c.recall[0]:.0%} found; of all suspected then {c.precision[0]:.0%} were flipped"
            for c in checks
        ]
    except UnitscopeError as err:
        lines.append(f"labels: {err}")
    lines += ["", f"{'slice':36} {'wrong':>9} {'rate':>6} {'expected':>8} {'q':>8}"]
    lines += [
        f"{(plain_name(r.scene) or 'all scenes') + ' with ' + r.name:36} {r.wrong:4}/{r.photos:4} "
        f"{r.rate:6.1%} {r.expected:8.1%} {r.q:8.2g}"
        for r in found.slices.head(given.top).itertuples()
    ]
    lines += ["", "mistakes"]
    lines += [
        f"{r.id:20} {plain_name(r.scene):14} → {plain_name(r.answer):14} {r.kind:22} {r.concepts}"
        for r in errors.head(given.top).itertuples()
    ]
    return facts, "\n".join(lines)


def _failure(given: argparse.Namespace) -> Answer:
    from core.attribution.case import Opened
    from core.attribution.failure import answer_evidence, of_splits
    from core.foundation.errors import UnitscopeError

    crew_of(given)  # a slip is told before anything is opened
    run = open_given(given)
    core = _core(run, given)
    splits = run.sql("SELECT DISTINCT split FROM images")["split"].tolist()
    judged = given.split or "test"
    usual = [name for name in ("val", "train", *sorted(splits)) if name in splits]
    fit = given.fit or next((name for name in usual if name != judged), "")
    if judged not in splits or fit not in splits or fit == judged:
        raise UnitscopeError(
            "failure is fitted on one split and judged on another (--fit, --split); this run has "
            f"{', '.join(sorted(splits))}"
        )
    pair = [_measured(run, given, _asked(given, (name,))) for name in (fit, judged)]
    opened = Opened.of(run, given.layer)
    with stoppable() as stop:
        for measured in pair:
            answer_evidence(opened, measured, show_progress, stop, given.beat)
    found = of_splits(run, pair, core)
    assert found is not None, "the evidence was found above"
    about = _about(run, pair[1], given.cc) + f", fitted on {fit}"
    files = _write(given, {"failure": found.scores, "shares": found.shares}, about)
    lines = [about, f"{found.wrong} of {found.n} answers are wrong", ""]
    lines += [
        f"share of {r.share:9} right {r.right:.2f} [{r.right_low:.2f}, {r.right_high:.2f}]  "
        f"wrong {r.wrong:.2f} [{r.wrong_low:.2f}, {r.wrong_high:.2f}]"
        for r in found.shares.itertuples()
    ]
    lines += ["", f"{'score':34} {'AUROC':>6} {'95 %':>14} {'gain':>7} {'95 %':>18}"]
    lines += [
        f"{r.score:34} {r.auroc:6.3f} [{r.low:.3f}, {r.high:.3f}] {r.gain:+7.3f} "
        f"[{r.gain_low:+.3f}, {r.gain_high:+.3f}]"
        for r in found.scores.itertuples()
    ]
    facts = {
        "run": run.digest,
        "about": about,
        "fitted": fit,
        "judged": judged,
        "n": found.n,
        "wrong": found.wrong,
        "shares": found.shares.to_dict("records"),
        "scores": found.scores.to_dict("records"),
        "files": files,
    }
    return facts, "\n".join([*lines, "", found.sentence()])
