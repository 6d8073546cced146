"""Verbs that change what the network does: contribution, toggle, figures, search, edit."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.common import (
    COUNT,
    SEED,
    Answer,
    Verb,
    add_knowledge,
    add_printed,
    add_run,
    numbers,
    open_given,
    printed_of,
    real,
    say,
    show_progress,
    stoppable,
    whole,
)
from core.foundation.errors import UnitscopeError, unknown, without_effect
from core.foundation.escape import csv_frame
from core.foundation.files import write_text
from core.foundation.plain import Json
from core.foundation.settings import ALL_PHOTOS, CHOOSING, chosen_on, judged_on, splits_words
from core.foundation.vocabulary import Core, Eq2, Over, Sign, Strategy

if TYPE_CHECKING:
    from core.runs.run_file import Run


def add(verb: Verb) -> None:
    """contribution, toggle, figures, search, edit."""
    result = verb("contribution", _contribution, "Which units help a scene and which hinder it.")
    add_run(result)
    result.add_argument("--scene", required=True)
    _add_concepts(result)
    result.add_argument(
        "--unit", type=whole(), help="the images and concepts behind one unit's score"
    )
    result.add_argument("--top", type=whole(), default=20, help="units listed on each side")
    result.add_argument("--layer", metavar="NAME")
    add_knowledge(result)

    toggle = verb("toggle", _toggle, "What disabling units does to the network's predictions.")
    add_run(toggle)
    _add_units(toggle)
    toggle.add_argument("--scene", help="its accuracy beside all others’; the scene of --top-…")
    _add_split(toggle, "--split", JUDGED)
    toggle.add_argument("--image", action="append", metavar="ID", help="these images alone")
    toggle.add_argument("--top", type=whole(), default=10, help="images and cells listed")
    toggle.add_argument(
        "--estimate",
        action="store_true",
        help="of a large run: figures from a random sample alone, with intervals, at once",
    )
    toggle.add_argument("--layer", metavar="NAME")
    add_knowledge(toggle)

    _add_figures(verb)
    _add_search(verb)

    edit = verb("edit", _edit, "Write the network with its units disabled or scaled.")
    add_run(edit)
    _add_units(edit)
    edit.add_argument("--scene", help="the scene of --top-…")
    edit.add_argument("--why", help="how the units were chosen, for the text file")
    edit.add_argument("--kind", action="append", help="state, folded, program; all where left out")
    edit.add_argument(
        "--out-dir", type=Path, required=True, metavar="DIR", help="a folder to write to"
    )
    edit.add_argument("--layer", metavar="NAME")
    add_knowledge(edit)


def _add_figures(verb: Verb) -> None:
    figures = verb("figures", _figures, "The paper's Figs. 3 and 4: units disabled, k by k.")
    add_run(figures)
    figures.add_argument(
        "--figure",
        type=int,
        default=3,
        choices=[3, 4],
        help="3 (ADE20K in the paper) and 4 (OpenSurfaces) are one measurement on two datasets",
    )
    figures.add_argument(
        "--protocol",
        default=CHOOSING.protocol.value,
        help="paper, by_predicted_scene or global: which units are disabled in which image",
    )
    figures.add_argument("--ranking", action="append", help="repeatable; all where left out")
    figures.add_argument("--sign", action="append", help="positive, negative; both where left out")
    _add_split(figures, "--select", CHOSEN)
    _add_split(figures, "--judge", JUDGED)
    figures.add_argument(
        "--halves",
        type=whole(),
        default=0,
        metavar="N",
        help="instead: choose on random halves of --judge, judge on the others, N times",
    )
    figures.add_argument("--most", type=COUNT, default=CHOOSING.k, help="k runs from 1 to this")
    figures.add_argument("--every", type=COUNT, default=1, help="only every so many k")
    _add_learned(figures)
    figures.add_argument("--seed", type=SEED, default=0)
    figures.add_argument("--csv", type=Path, metavar="DIR")
    figures.add_argument("--to", type=Path, metavar="DIR", help="write the chart there")
    figures.add_argument("--format", default="svg,pdf,png", help="of the chart")
    add_printed(figures)
    figures.add_argument("--layer", metavar="NAME")
    add_knowledge(figures)


def _add_search(verb: Verb) -> None:
    search = verb("search", _search, "Search the best set of units; does knowledge help?")
    add_run(search)
    _add_split(search, "--split", "searched and judged on halves of these photos; " + USUAL)
    search.add_argument("--method", action="append", help="forward, backward, relaxed; all")
    search.add_argument("--most", type=COUNT, default=CHOOSING.k, help="largest set")
    search.add_argument("--halves", type=whole(), default=10, metavar="N", help="random halvings")
    _add_learned(search, over=False)
    search.add_argument("--seed", type=SEED, default=0)
    search.add_argument("--csv", type=Path, metavar="DIR")
    search.add_argument("--to", type=Path, metavar="DIR", help="write the chart there")
    search.add_argument("--format", default="svg,pdf,png", help="of the chart")
    add_printed(search)
    search.add_argument("--layer", metavar="NAME")
    add_knowledge(search)


USUAL = f"test (else val) where left out, `{ALL_PHOTOS}` for all photos; repeatable"
JUDGED = f"accuracy is measured on these photos; {USUAL}"
CHOSEN = (
    f"units are chosen on these; all that are not judged where left out, `{ALL_PHOTOS}` for all"
)


def _add_split(sub: argparse.ArgumentParser, name: str, text: str) -> None:
    sub.add_argument(name, action="append", metavar="SPLIT", help=text)


def _add_concepts(sub: argparse.ArgumentParser) -> None:
    """By which contribution scores units are chosen; defaults are :data:`CHOOSING`."""
    sub.add_argument(
        "--cc", default=CHOOSING.core.value, choices=[*Core], help="kind of core concepts"
    )
    _add_learned(sub)
    _add_split(sub, "--select", CHOSEN)


def _add_learned(sub: argparse.ArgumentParser, over: bool = True) -> None:
    """Which concepts a unit learned of a photo, and of which photos."""
    sub.add_argument(
        "--strategy",
        default=CHOOSING.strategy.value,
        choices=[*Strategy],
        help="concept selection strategy",
    )
    sub.add_argument("--iou", default=CHOOSING.iou.value, choices=[*Eq2], help="reading of the IoU")
    if over:
        sub.add_argument(
            "--over",
            default=CHOOSING.over.value,
            choices=[*Over],
            help="predictions summed over in Eq. 9",
        )


def _add_units(sub: argparse.ArgumentParser) -> None:
    which = sub.add_mutually_exclusive_group(required=True)
    which.add_argument("--units", metavar="3,17,201")
    for sign, words in ((Sign.NEGATIVE, "lowest"), (Sign.POSITIVE, "highest")):
        which.add_argument(
            f"--top-{sign}",
            type=COUNT,
            metavar="K",
            nargs="?",
            const=CHOOSING.k,
            help=f"the K units of the {words} scores for --scene; {CHOOSING.k} without a number",
        )
    how = sub.add_mutually_exclusive_group()
    how.add_argument("--factor", type=real(), default=0.0, help="multiply by it (0 disables)")
    how.add_argument("--clamp", type=real(), help="hold at this value instead")
    _add_concepts(sub)


# -- shared ---------------------------------------------------------------------------------


def _open(given: argparse.Namespace) -> Run:
    """The run that is named, once the run alone has shown that the other words fit it: a slip is
    reported before PyTorch and the network are loaded."""
    run = open_given(given)
    number = run.layer(given.layer)
    last = int(run.sql("SELECT units FROM layers WHERE layer = ?", [number])["units"].iloc[0]) - 1
    wrong = [u for u in numbers(getattr(given, "units", None)) or () if not 0 <= u <= last]
    if wrong:
        raise UnitscopeError(
            f"there is no unit {', '.join(map(str, wrong[:5]))}: layer "
            f"{run.layer_names[number]} has units 0 to {last}"
        )
    scene = getattr(given, "scene", None)
    known = run.sql("SELECT name FROM scenes ORDER BY 1")["name"].tolist() if scene else []
    if scene and scene not in known:
        raise unknown("scene", scene, known)
    known = _splits(run)
    for option in ("split", "select", "judge"):
        for one in getattr(given, option, None) or ():
            if one not in [*known, ALL_PHOTOS]:
                raise unknown("split", one, known)
    return run


def _splits(run: Run) -> list[str]:
    found: list[str] = run.sql("SELECT DISTINCT split FROM images ORDER BY 1")["split"].tolist()
    return found


def _judged(run: Run, given: argparse.Namespace) -> list[str]:
    """Splits that the effect is measured on; none = all photos."""
    asked = getattr(given, "split", None) or getattr(given, "judge", None)
    if not asked and getattr(given, "image", None):
        return []  # images that are named are judged wherever they are
    return judged_on(_splits(run), asked)


def _selected(run: Run, given: argparse.Namespace) -> list[str]:
    """Splits that units are chosen on; none = all photos."""
    return chosen_on(_splits(run), _judged(run, given), given.select)


def _study(run: Run, given: argparse.Namespace) -> Any:
    from core.ablation.protocols import Study
    from core.ablation.toggler import prepare
    from core.knowledge.kinds import open_knowledge

    graph = open_knowledge(given.knowledge or run.own_knowledge)
    return Study.of(prepare(run, given.layer), graph, given.strategy, given.iou, given.overrides)


def _units_of(run: Run, given: argparse.Namespace) -> tuple[tuple[int, ...], str]:
    """The units that the command line names, and how they were chosen."""
    if given.units is not None:
        units = tuple(numbers(given.units) or ())
        if not units:
            raise UnitscopeError("--units names no unit")
        return units, "by hand"
    sign = Sign.NEGATIVE if given.top_negative is not None else Sign.POSITIVE
    count = given.top_negative if given.top_negative is not None else given.top_positive
    if given.scene is None:
        raise UnitscopeError(f"--top-{sign} needs --scene: contribution is to a scene")
    if count < 1:
        raise UnitscopeError(f"--top-{sign} takes 1 or more, not {count}")
    contribution, core = _contribution_of(run, given)
    ranked = contribution.ranked(given.scene, sign)
    if ranked.empty:
        raise UnitscopeError(
            f"scene {given.scene!r} has no {sign} unit by {contribution.words()}"
            + ("" if core.members[core.scene(given.scene)].any() else ": it has no core concepts")
        )
    words = f"the {count} most {sign} of scene {given.scene} by {contribution.words()}"
    return tuple(ranked["unit"][:count].tolist()), words


def _contribution_of(run: Run, given: argparse.Namespace) -> tuple[Any, Any]:
    from core.ablation.contribution import contribution_scores
    from core.knowledge.core_concepts import all_core_concepts
    from core.knowledge.kinds import open_knowledge

    graph = open_knowledge(given.knowledge or run.own_knowledge)
    core = all_core_concepts(run, graph, given.overrides, kinds=[given.cc])[given.cc]
    if not core.members[core.scene(given.scene)].any():
        without_effect(
            f"{given.scene!r} has no core concepts ({given.cc}), so every unit counts against it: "
            "`align` shows which node its name is, --overrides mends it, --cc top10 needs none"
        )
    found = contribution_scores(
        run,
        core,
        given.layer,
        given.strategy,
        given.iou,
        given.over,
        splits=_selected(run, given),
    )
    return found, core


def _files(given: argparse.Namespace) -> Callable[[str, Any], list[str]]:
    """(name, chart) → the files written; what is asked of them is looked at first, before anything
    is computed."""
    from core.figures.export import FORMATS, write_chart

    kinds = [name.strip() for name in given.format.split(",") if name.strip()]
    for kind in kinds:
        if kind not in FORMATS:
            raise unknown("figure format", kind, FORMATS)
    printed = printed_of(given)
    if printed is not None and given.to is None:
        raise UnitscopeError("--inches is of the chart's file: name its folder, --to DIR")

    def write(name: str, chart: Any) -> list[str]:
        if given.to is None:
            return []
        paths = write_chart(chart, given.to, name, kinds, printed)
        for path in paths:
            say(f"wrote {path}")
        return [str(path) for path in paths]

    return write


def _write_csv(folder: Path | None, name: str, frame: Any) -> None:
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(folder / f"{name}.csv", csv_frame(frame))
        say(f"wrote {folder / f'{name}.csv'}")


def _caption(run: Run, layer: str, definition: str, split: str) -> Any:
    from core.figures.base import Caption
    from core.views.names import short_name

    model = short_name(run.settings.model.spec)
    return Caption(run.dataset, model, layer, definition, split)


# -- verbs ----------------------------------------------------------------------------------


def _contribution(given: argparse.Namespace) -> Answer:
    run = _open(given)
    if given.top < 1:
        raise UnitscopeError(f"--top takes 1 or more, not {given.top}")
    result, core = _contribution_of(run, given)
    row = result.scene(given.scene)
    facts: Json = {
        "run": run.digest,
        "layer": result.layer,
        "scene": given.scene,
        "how": result.words(),
        "images": int(result.images[row]),
        "core": [c["concept"] for c in core.table(given.scene).to_dict("records")],
    }
    lines = [
        f"{given.scene}, {result.layer}: {result.words()} ({facts['images']} images)",
        f"core concepts: {', '.join(facts['core']) or 'none'}",
    ]
    for sign in ("positive", "negative"):
        ranked = result.ranked(given.scene, sign)
        facts[sign] = ranked.head(given.top).to_dict("records")
        lines += [
            "",
            f"{sign} units ({len(ranked)})",
            f"{'unit':>6} {'score':>7} {'P':>6} {'N':>6} {'images':>7}",
        ]
        lines += [
            f"{r['unit']:6} {r['score']:7} {r['inside']:6} {r['outside']:6} {r['active']:7}"
            for r in facts[sign]
        ]
    if given.unit is not None:
        from core.ablation.contribution import UnitConcepts

        learned = UnitConcepts.of(run, given.layer, given.strategy, given.iou, bounded=True)
        rows = learned.of_splits(_selected(run, given))
        behind = learned.behind(core, given.scene, given.unit, given.over, rows)
        facts["behind"] = {"unit": given.unit, "rows": behind.to_dict("records")}
        lines += [
            "",
            f"behind the score of unit {given.unit}:",
            f"{'image':24} {'concept':24} {'core':5} {'IoU':>7}",
        ]
        lines += [
            f"{r.id!s:24} {r.concept:24} {'yes' if r.core else 'no':5} {r.iou:7.4f}"
            for r in behind.head(60).itertuples()
        ]
    return facts, "\n".join(lines)


def _toggle(given: argparse.Namespace) -> Answer:
    run = _open(given)
    from core.ablation.edits import Edit
    from core.ablation.toggler import prepare

    units, how = _units_of(run, given)
    toggler = prepare(run, given.layer)
    edit = Edit(units, given.factor, given.clamp)
    judged = _judged(run, given)
    first = toggler.estimate(edit, None, judged, given.image) if given.estimate else None
    with stoppable() as stop:
        whole = first or toggler.toggle(
            edit, None, judged, given.image, progress=show_progress, stop=stop
        )
    result = whole.only(given.scene) if given.scene else whole
    headlines = whole.headlines(given.scene)
    check = toggler.answering(edit).check
    facts = {
        "run": run.digest,
        **result.to_json(given.top),
        "units": list(units),
        "chosen": how,
        "judged": splits_words(_judged(run, given)),
        "headlines": [one.to_json() for one in headlines],
        "check": check.to_json(),
    }
    after, top5 = result.accuracy[1], result.top5
    scores = [
        f"{'accuracy':24} {'before':>8} {'after':>8} {'change':>8} {'95 % interval':>19} {'n':>6} "
        "newly correct, newly wrong",
        *(
            f"{one.of:24} {one.before.value:8.2%} {one.after.value:8.2%} {one.gain.value:+8.2%} "
            f"[{one.gain.low:+8.2%}, {one.gain.high:+8.2%}] {one.before.n:6} "
            f"+{one.gain.gained} −{one.gain.lost}"
            for one in headlines
        ),
        f"{result.chosen}: {result.changed} predictions changed; "
        f"top-5 accuracy {top5[0].value:.2%} → {top5[1].value:.2%}",
    ]
    if not after.n:
        scores = [
            "accuracy  –: no image here has a scene that is a class of the network; "
            f"{result.changed} predictions changed"
        ]
    lines = [
        f"{edit.words()} in {result.layer} ({how}): {', '.join(map(str, units))}",
        f"judged on {facts['judged']}; {result.method}: {check.why}",
        *([f"estimated from {whole.estimated}"] if whole.estimated else []),
        *scores,
        "",
        f"{'scene':24} {'images':>7} {'before':>8} {'after':>8} {'correct':>8} {'wrong':>7}",
    ]
    moved = result.scenes[(result.scenes["gained"] > 0) | (result.scenes["lost"] > 0)]
    lines += [
        f"{r.scene:24} {r.images:7} {r.accuracy_before:8.1%} {r.accuracy_after:8.1%} "
        f"{f'+{r.gained}':>8} {f'−{r.lost}':>7}"
        for r in moved.itertuples()
    ]
    for name, frame in (("newly correct", result.gained), ("newly wrong", result.lost)):
        if len(frame):
            lines += ["", f"{name} ({len(frame)}):"]
            lines += [
                f"  {r.id}  ({r.scene}): {r.before} → {r.after}"
                for r in frame.head(given.top).itertuples()
            ]
    return facts, "\n".join(lines)


def _figures(given: argparse.Namespace) -> Answer:
    run = _open(given)
    write = _files(given)
    if given.most < 1 or given.every < 1:
        raise UnitscopeError("--most and --every take 1 or more")
    from core.ablation.contribution import SIGNS
    from core.ablation.curves import curves
    from core.figures.disable import curves as chart

    study = _study(run, given)
    judged = _judged(run, given)
    at = sorted({1, *range(given.every, given.most + 1, given.every), given.most})
    with stoppable() as stop:
        frame = curves(
            study,
            given.ranking,
            given.sign or SIGNS,
            [given.protocol],
            given.halves,
            None if given.halves else _selected(run, given) or None,
            judged or None,
            at=at,
            over=given.over,
            seed=given.seed,
            stop=stop,
            progress=show_progress,
        )
    name = f"figure_{given.figure}-{given.protocol}" + ("-held-out" if given.halves else "")
    definition = f"{study.learned.strategy}, IoU {study.learned.iou}, knowledge {study.graph}"
    split = (
        f"chosen on {frame['selection'][0]}, judged on {frame['judged'][0]} (n = {frame['n'][0]})"
    )
    _write_csv(given.csv, name, frame)
    drawn = chart(frame, _caption(run, study.toggler.layer, definition, split))
    files = write(name, drawn)
    facts = {
        "run": run.digest,
        "figure": given.figure,
        "protocol": given.protocol,
        "layer": study.toggler.layer,
        "method": study.toggler.method,
        "definition": definition,
        "over": given.over,
        "files": files,
        "rows": frame.to_dict("records"),
    }
    last = frame[frame["k"].isin([at[0], at[len(at) // 2], at[-1]])]
    lines = [
        f"{run.dataset}, {study.toggler.layer}, protocol {given.protocol}; {split}",
        definition,
        f"accuracy with nothing disabled {frame['before'][0]:.2%}",
        f"{'ranking':20} {'sign':9} {'k':>3} {'accuracy':>9} {'95 %':>18} {'change':>8} "
        f"{'95 %':>18} {'units':>6}",
    ]
    lines += [
        f"{r.ranking:20} {r.sign:9} {r.k:3} {r.accuracy:9.2%} [{r.low:7.2%}, {r.high:7.2%}] "
        f"{r.gain:+8.2%} [{r.gain_low:+7.2%}, {r.gain_high:+7.2%}] {r.units:6.1f}"
        for r in last.itertuples()
    ]
    if given.protocol == "paper":
        lines.append(
            "protocol `paper` changes only images known to be right (positive units, which can "
            "only lose) or known to be wrong (negative units, which can only win)"
        )
    return facts, "\n".join(lines)


def _search(given: argparse.Namespace) -> Answer:
    run = _open(given)
    write = _files(given)
    if given.halves < 1 or given.most < 1:
        raise UnitscopeError("--halves and --most take 1 or more")
    from core.ablation.protocols import negative_candidates
    from core.ablation.search import METHODS, compare
    from core.figures.disable import searches as chart

    for method in given.method or ():
        if method not in METHODS:
            raise unknown("search", method, METHODS)
    study = _study(run, given)
    judged = _judged(run, given)
    rows = study.rows(judged or None)
    with stoppable() as stop:
        frame = compare(
            study.toggler,
            rows,
            study.scene,
            {
                "all units": lambda _rows: None,
                **{
                    f"negative by {kind}": partial(negative_candidates, study, kind)
                    for kind in ("scc", "icc")
                },
            },
            given.method or METHODS,
            given.most,
            given.halves,
            seed=given.seed,
            progress=show_progress,
            stop=stop,
        )
    split = f"random halves of {splits_words(judged)}, {given.halves} times (n = {len(rows)})"
    definition = f"{study.learned.strategy}, IoU {study.learned.iou}, knowledge {study.graph}"
    _write_csv(given.csv, "search", frame)
    drawn = chart(frame, _caption(run, study.toggler.layer, definition, split))
    files = write("search", drawn)
    lines = [
        f"{run.dataset}, {study.toggler.layer}; searched and judged on {split}",
        definition,
        f"{'method':9} {'candidates':34} {'size':>6} {'units':>6} {'evaluations':>12} "
        f"{'seconds':>8} {'searched':>9} {'held out':>9} {'95 %':>18}",
    ]
    lines += [
        f"{r.method:9} {r.candidates:34} {r.size:6.0f} {r.units:6.1f} {r.looked:12,.0f} "
        f"{r.seconds:8.3f} {r.gain_selection:+9.2%} {r.gain:+9.2%} "
        f"[{r.gain_low:+7.2%}, {r.gain_high:+7.2%}]"
        for r in frame.itertuples()
    ]
    lines += ["", "held-out gain beyond that of all units, and of as many random candidates:"]
    lines += [
        f"{r.method:9} {r.candidates:34} {r.over_first:+9.2%} "
        f"[{r.over_first_low:+7.2%}, {r.over_first_high:+7.2%}] {r.over_random:+9.2%} "
        f"[{r.over_random_low:+7.2%}, {r.over_random_high:+7.2%}]"
        for r in frame[frame["over_random"].notna()].itertuples()
    ]
    facts = {
        "run": run.digest,
        "layer": study.toggler.layer,
        "definition": definition,
        "split": split,
        "most": given.most,
        "files": files,
        "rows": frame.to_dict("records"),
    }
    return facts, "\n".join(lines)


def _edit(given: argparse.Namespace) -> Answer:
    run = _open(given)
    from core.ablation.edits import Edit
    from core.ablation.export import write_edit
    from core.ablation.toggler import prepare

    units, how = _units_of(run, given)
    toggler = prepare(run, given.layer)
    with stoppable() as stop:
        result = write_edit(
            toggler,
            Edit(units, given.factor, given.clamp),
            given.out_dir,
            given.why or how,
            given.kind or ("state", "folded", "program"),
            progress=show_progress,
            stop=stop,
        )
    facts = {
        "run": run.digest,
        "units": list(units),
        "chosen": given.why or how,
        "files": {kind: str(path) for kind, path in result.files.items()},
        "differences": result.differences,
        "left_out": result.left_out,
        "effects": {
            name: {
                "before": t.accuracy[0]._asdict(),
                "after": t.accuracy[1]._asdict(),
                "gain": t.gain._asdict(),
            }
            for name, t in result.effects.items()
        },
    }
    return facts, result.files["text"].read_text(encoding="utf-8")
