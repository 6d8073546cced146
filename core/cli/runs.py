"""Verbs about runs: make one, list them, what one holds, what can be read."""

from __future__ import annotations

import argparse
import hashlib
import time
from collections.abc import Callable
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from core.cli.common import (
    COUNT,
    SEED,
    THREADS,
    Answer,
    Verb,
    add_engine,
    add_run,
    crew_of,
    open_given,
    real,
    say,
    say_kinds,
    show_progress,
    stoppable,
    whole,
)
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import expanded
from core.foundation.plain import Json
from core.foundation.progress import duration
from core.foundation.settings import CACHE, Settings, quantile_words

if TYPE_CHECKING:
    from core.dissect.depot import Depot
    from core.dissect.plan import Plan
    from core.dissect.shard_file import Shard
    from core.runs.run_file import Run


def add(verb: Verb) -> None:
    """run, models, layers, runs, show, predictions."""
    run = verb("run", _run, "Dissect a network on a dataset; resumes a stopped run.")
    _add_settings(run)
    _add_execution(run)
    _add_models(verb)
    runs = verb("runs", _runs, "Finished and unfinished runs; a run's name, and the pinned one.")
    runs.add_argument(
        "--name",
        nargs=2,
        metavar=("RUN", "NAME"),
        help='give a run a name, by which every verb knows it too; "" removes it',
    )
    runs.add_argument("--pin", metavar="RUN", help="the app opens with this run")
    runs.add_argument(
        "--unpin", action="store_true", help="the app opens with the newest run again"
    )
    runs.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")
    show = verb("show", _show, "What a run is and what its units detect.")
    add_run(show)
    show.add_argument("--layer", metavar="NAME")
    show.add_argument("--denominator", default="all", choices=["all", "annotated"])
    show.add_argument(
        "--labels",
        default="dataset",
        metavar="METHOD",
        help="labelling method: dataset, annotated, formula, or one that was added",
    )
    show.add_argument("--category", action="append", help="labels of these categories only")
    show.add_argument("--top", type=whole(), default=20, help="units listed")
    show.add_argument("--out", type=Path, default=CACHE, metavar="DIR")
    result = verb("predictions", _predictions, "Published predictions as a run without photos.")
    result.add_argument("table", type=Path, help="CSV with columns pred and target")
    result.add_argument("--index", type=Path, help="CSV with a column image, in the same order")
    result.add_argument("--name", default="predictions", help="shown as the dataset's name")
    result.add_argument("--out", type=Path, default=CACHE, metavar="DIR")


def _add_settings(run: argparse.ArgumentParser) -> None:
    """What decides a run's results."""
    run.add_argument("--dataset", required=True, metavar="SPEC", help="see `datasets`")
    run.add_argument("--model", required=True, metavar="SPEC", help="see `models`")
    run.add_argument(
        "--layer",
        action="append",
        default=[],
        metavar="NAME",
        help="dotted name, repeatable; the network's last stage where left out",
    )
    run.add_argument("--split", action="append", default=[], help="repeatable; all where left out")
    run.add_argument(
        "--knowledge",
        default="builtin",
        metavar="SPEC",
        help="graph that `explain` and `tables` use for this run by default",
    )
    run.add_argument(
        "--scenes",
        metavar="FILE",
        help="which class a scene is, as `datasets scenes --write` gives; by the names alone "
        "where left out",
    )
    run.add_argument("--q", type=real(0, 1), default=0.005, help="threshold = (1 − q) quantile")
    run.add_argument("--grid", type=COUNT, help="side of the working grid (half the input's side)")
    run.add_argument(
        "--shuffles",
        type=whole(0, 10_000),
        default=Settings.shuffles,
        metavar="N",
        help=f"rounds of exchanged masks, the null distribution of each unit ({Settings.shuffles})",
    )
    run.add_argument(
        "--untrained",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="dissect the network with random weights too, to compare with; by default where it "
        "is cheap",
    )
    run.add_argument("--seed", type=SEED, default=0)
    run.add_argument("--no-maps", action="store_true", help="keep no maps; run the network twice")
    run.add_argument(
        "--no-classes",
        action="store_true",
        help="the network's outputs are no classes: dissect it without its answers",
    )
    run.add_argument(
        "--map-type",
        default="auto",
        choices=["auto", "float16", "float32"],
        help="type of the recorded maps; auto takes half precision where a replay stays exact",
    )


def _add_execution(run: argparse.ArgumentParser) -> None:
    """How the work is done."""
    run.add_argument("--device", default="cpu", help="cpu or cuda")
    run.add_argument(
        "--precision",
        default="float32",
        choices=["float32", "bfloat16"],
        help="of the forward pass",
    )
    run.add_argument(
        "--shard",
        type=_shard,
        default=256,
        metavar="N | I/N",
        help="images between two save points; or, as in 2/8, make the second of eight shards "
        "alone, on this machine, for --merge",
    )
    run.add_argument(
        "--pass",
        type=int,
        choices=[1, 2],
        default=1,
        dest="number",
        help="of --shard I/N: with --no-maps the second pass can be made in shards, too, once all "
        "of the first are there",
    )
    run.add_argument(
        "--merge",
        type=Path,
        nargs="*",
        metavar="FILE",
        help="put shards together and finish the run: those in its folder where none is named",
    )
    run.add_argument(
        "--shards-at",
        metavar="URL",
        help="put shards at s3://bucket/folder and take them from there, where machines have no "
        "folder in common; credentials come from the environment",
    )
    run.add_argument("--threads", type=THREADS, help="for decoding and counting")
    add_engine(
        run,
        "the shards",
        "a network of its own, --threads cores (OMP_NUM_THREADS, or 1) and, with --device cuda, a "
        "GPU",
    )
    run.add_argument("--strict", action="store_true", help="stop at the first unusable file")
    run.add_argument(
        "--allow-loss",
        action="store_true",
        help="go on where more than a fifth of the photos cannot be used; without it such a run "
        "stops, with exit status 2",
    )
    run.add_argument("--resume", action="store_true", help="resume a stopped run (default)")
    run.add_argument(
        "--fresh", action="store_true", help="throw away an earlier run and start anew"
    )
    run.add_argument(
        "--plan",
        action="store_true",
        help="say what would be done, time it on a few images, and stop",
    )
    run.add_argument("--out", type=Path, default=CACHE, metavar="DIR")


def _shard(text: str) -> int | tuple[int, int]:
    """Images between two save points, or one shard of some: (which, of how many).

    >>> _shard("256"), _shard("2/8")
    (256, (2, 8))
    """
    part, slash, parts = text.partition("/")
    if not slash:
        return COUNT(text)
    which, number = COUNT(part), COUNT(parts)
    if which > number:
        raise argparse.ArgumentTypeError(f"there is no shard {which} of {number}")
    return which, number


def _add_models(verb: Verb) -> None:
    """models, layers."""
    models = verb("models", _models, "The kinds of network and how to name them.")
    models.add_argument(
        "kind",
        nargs="?",
        choices=["torchvision", "timm", "families"],
        help="list the names of torchvision or timm, or the default layers by architecture",
    )
    models.add_argument("text", nargs="?", default="", help="only names that hold this text")
    layers = verb("layers", _layers, "The layers of a network that can be dissected.")
    layers.add_argument("--model", required=True, metavar="SPEC", help="see `models`")
    layers.add_argument(
        "--under", default="", metavar="NAME", help="only this layer and what is inside it"
    )
    layers.add_argument(
        "--all", action="store_true", help="every layer, however deep; `--json` always has all"
    )


def _run(given: argparse.Namespace) -> Answer:
    if given.scenes and not expanded(given.scenes).is_file():
        raise UnitscopeError(f"--scenes {given.scenes}: there is no such file")
    part = given.shard if isinstance(given.shard, tuple) else None
    if given.number == 2 and not part:
        raise UnitscopeError("--pass 2 is of a shard: give --shard I/N, too")
    if part and given.merge is not None:
        raise UnitscopeError("--shard I/N makes one shard, --merge puts all together: give one")
    spread = given.engine != "here"
    if spread and (part or given.merge is not None):
        raise UnitscopeError("--engine ray makes all shards and merges them: leave the others out")
    if given.shards_at and not (spread or part or given.merge is not None):
        raise UnitscopeError("--shards-at is of --shard I/N, --merge and --engine ray: give one")
    crew = crew_of(given)
    from core.dissect.pipeline import execute
    from core.dissect.plan import plan
    from core.dissect.shard_file import Passes

    began = time.monotonic()
    _copy(given.dataset)
    work = plan(
        Settings(
            dataset=given.dataset,
            model=given.model,
            layers=tuple(given.layer),
            splits=tuple(given.split),
            q=given.q,
            grid=given.grid,
            shuffles=given.shuffles,
            seed=given.seed,
            untrained=given.untrained,
            keep_maps=not given.no_maps,
            map_type=given.map_type,
            device=given.device,
            precision=given.precision,
            classes=not given.no_classes,
            scenes=given.scenes,
            knowledge=given.knowledge,
        )
    )
    work = replace(work, allow_loss=given.allow_loss)
    layers = ", ".join(f"{s.name} ({s.units} units, {s.height}×{s.width})" for s in work.layers)
    sizes = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in work.sizes.items() if size)
    say(
        f"run {work.digest}: {len(work.indices)} images of {work.dataset.shown_name}, {layers}, "
        f"grid {work.grid[0]}×{work.grid[1]}\nbeside the run file: {sizes}"
        + "".join(f"\n{line}" for line in _note_lines(work.model.notes))
    )
    for note in work.notes:
        say(f"note: {note}")
    if given.plan:
        return _run_plan(given, work, began)
    if part:
        return _run_shard(given, work, part)
    finished = (given.out / f"{work.digest}.duckdb").is_file() and not given.fresh
    merged = given.merge is not None and not finished
    made = Passes(*_find_shards(given, work)) if merged else None
    make: Callable[..., Run] = partial(execute, made=made)
    if crew:
        from core.dissect.spread import execute_spread

        make = partial(execute_spread, crew=crew)
    with stoppable() as stop:
        run = make(
            work,
            given.out,
            progress=show_progress,
            stop=stop,
            fresh=given.fresh,
            strict=given.strict,
            shard=given.shard,
            threads=given.threads,
        )
    facts = _summary(run)
    facts["wall_seconds"] = round(time.monotonic() - began, 3)
    return facts, _summary_text(facts)


def _copy(spec: str) -> None:
    """Copy a dataset that lies elsewhere, where it is one, before it is opened."""
    from core.foundation.stores import is_remote, local

    kind, _, place = spec.strip().partition(":")
    if kind != "python" and is_remote(place):
        with stoppable() as stop:
            local(place, show_progress, stop)


def _run_plan(given: argparse.Namespace, work: Plan, began: float) -> Answer:
    """What would be done, and how long it would take."""
    from core.retrain.estimate import describe, estimate

    planned = time.monotonic() - began
    facts = asdict(describe(work, given.out))
    with stoppable() as stop:
        took = estimate(work, stop, given.threads)
    facts["seconds"] = {
        **took._asdict(),
        "seconds": took.seconds + planned,
        "low": took.low + planned,
        "high": took.high + planned,
        "check": planned,
    }
    about = facts["seconds"]
    return facts, (
        f"about {duration(about['seconds'])} ({duration(about['low'])} to "
        f"{duration(about['high'])}, from {took.images} images timed just now); "
        "nothing was run"
    )


def _run_shard(given: argparse.Namespace, work: Plan, part: tuple[int, int]) -> Answer:
    """One shard of a run."""
    from core.dissect.second_pass import make_counts
    from core.dissect.shards import make_shard, path_of

    began = time.monotonic()
    make = make_counts if given.number == 2 else partial(make_shard, strict=given.strict)
    depot = _depot(given, work)
    with stoppable() as stop:
        if depot:
            own = path_of(work, given.out, *part).name
            depot.bring(None if given.number == 2 else [own], show_progress, stop)
        shard = make(
            work,
            given.out,
            *part,
            progress=show_progress,
            stop=stop,
            fresh=given.fresh,
            threads=given.threads,
        )
    if depot:
        depot.send(shard)
    with shard.path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = shard.path.stat().st_size
    facts: Json = {
        "run": work.digest,
        "pass": given.number,
        "shard": list(part),
        "first": shard.first,
        "last": shard.last - 1,
        "path": str(shard.path),
        "bytes": size,
        "sha256": digest,
        "wall_seconds": round(time.monotonic() - began, 3),
    }
    return facts, (
        f"shard {part[0]}/{part[1]} of run {work.digest}: {shard.images} of "
        f"{len(work.indices):,}, {size / 1e6:.1f} MB\n{shard.path}\nsha256 {digest}"
    )


def _depot(given: argparse.Namespace, work: Plan) -> Depot | None:
    """Where shards are handed over, where that is said."""
    if not given.shards_at:
        return None
    from core.dissect.depot import Depot

    return Depot(work, given.out, given.shards_at)


def _find_shards(given: argparse.Namespace, work: Plan) -> tuple[list[Shard], list[Shard]]:
    """The shards of both passes, distinguished by their names."""
    from core.dissect.second_pass import find_counts
    from core.dissect.shards import find_shards

    depot = _depot(given, work)
    if depot:
        with stoppable() as stop:
            depot.bring(progress=show_progress, stop=stop)
    second = [path for path in given.merge if path.name.startswith("count-")]
    first = [path for path in given.merge if path not in second]
    passes = find_shards(work, given.out, first), find_counts(work, given.out, second)
    for found in passes:
        for note in found.notes:
            say(f"note: {note}")
    return passes[0].shards, passes[1].shards


def _note_lines(notes: Json) -> list[str]:
    """What was chosen, left out and made of a checkpoint, a line each."""
    return [f"{key}: {notes[key]}" for key in SHOWN_NOTES if isinstance(notes.get(key), str)]


SHOWN_NOTES = (
    "weights",
    "classifier",
    "left out",
    "auxiliary",
    "calls itself",
    "transform_input",
    "preprocessing",
    "precision",
    "mode",
    "numbered",
)
"""Notes of a network that are printed before the work begins."""


def _models(given: argparse.Namespace) -> Answer:
    if given.kind == "families":
        return _families()
    if given.kind:
        from core.models import packages

        names = packages.similar(given.kind, given.text)
        if not names:
            every = {"torchvision": packages.torchvision_names, "timm": packages.timm_names}
            raise unknown(f"{given.kind} model", given.text, every[given.kind]())
        head = f"{given.kind}: {len(names)} networks"
        if given.text:
            head += f" for {given.text!r}"
        width = max(map(len, names), default=0) + 2
        across = max(1, 100 // width)
        rows = [names[k : k + across] for k in range(0, len(names), across)]
        lines = ["".join(f"{name:{width}}" for name in row).rstrip() for row in rows]
        return {"kind": given.kind, "names": names}, "\n".join([head, *lines])
    from core.models.registry import MODELS

    facts, text = say_kinds([(kind.name, kind.form, kind.about) for kind in MODELS])
    more = (
        "\nnames: `models torchvision [TEXT]`, `models timm [TEXT]`; default layers: "
        "`models families`; all about it: docs/models.md"
    )
    return facts, text + more


def _families() -> Answer:
    from core.models.families import FAMILIES

    rows = [family._asdict() for family in FAMILIES]
    lines = [f"{'package':12} {'network':34} {'default layer':20} its units are disabled by"]
    lines += [
        f"{row['package']:12} {row['networks']:34} {row['layer']:20} {row['toggled']}"
        for row in rows
    ]
    lines.append("name:ReLU: the last ReLU of `name`; name:-2: its last part but one")
    return {"families": rows}, "\n".join(lines)


MOST_LAYERS = 40
"""Layers that are listed at once, if fewer levels of the tree are enough to say what there is."""


def _layers(given: argparse.Namespace) -> Answer:
    from core.models.load import load_model

    model = load_model(given.model)
    every = model.layers()
    under = given.under
    inside = [s for s in every if not under or s.name == under or s.name.startswith(f"{under}.")]
    if not inside:
        model.check_layer(under, [layer.name for layer in every])

    def depth(name: str) -> int:
        return name.count(".")

    deepest = max(depth(layer.name) for layer in inside)
    if not given.all:
        level = min(depth(layer.name) for layer in inside) + (1 if under else 0)
        deepest = level
        while sum(depth(layer.name) <= level for layer in inside) <= MOST_LAYERS:
            deepest, level = level, level + 1
            if level > 99:
                break
    shown = [s for s in inside if depth(s.name) <= deepest or s.name == model.default_layer]
    width = max(len(layer.name) for layer in shown)
    lines = []
    for layer in shown:
        within = sum(other.name.startswith(f"{layer.name}.") for other in inside)
        hidden = within and not any(s.name.startswith(f"{layer.name}.") for s in shown)
        lines.append(
            f"{layer.name:{width}}  {layer.units:5} units  {layer.height:3} × {layer.width:<3}  "
            f"{layer.kind}{'   (default)' if layer.name == model.default_layer else ''}"
            f"{f'   + {within} inside' if hidden else ''}"
        )
    left = len(inside) - len(shown)
    if left:
        lines.append(f"{left} more lie deeper: --under NAME shows those inside a layer, --all all")
    lines += _note_lines(model.notes)
    if model.backbone:
        lines.append(f"classes: none, {model.backbone}")
    lines += [f"note: {model.notes[key]}" for key in ("batch norm",) if key in model.notes]
    rows = [layer._asdict() for layer in every]
    facts = {
        "model": given.model,
        "default": model.default_layer,
        "layers": rows,
        "classes": len(model.classes),
        "preprocessing": model.preprocessing.to_json(),
        "notes": model.notes,
        "backbone": model.backbone,
    }
    return facts, "\n".join(lines)


def _runs(given: argparse.Namespace) -> Answer:
    from core.runs.run_file import Run
    from core.runs.run_names import name_run, pin_run, read_names
    from core.runs.store import find_run, list_runs
    from core.views.work import unfinished

    if given.name:
        name_run(given.out, find_run(given.name[0], given.out).stem, given.name[1])
    if given.pin or given.unpin:
        pin_run(given.out, find_run(given.pin, given.out).stem if given.pin else "")
    names = read_names(given.out)
    rows: list[Json] = []
    for path in list_runs(given.out):
        try:
            with Run(path) as run:
                known = {"name": names.of(path.stem), "pinned": path.stem == names.pinned}
                rows.append({"state": "finished", **known, **_summary(run)})
        except Exception as err:  # whatever is wrong with one file, the others are listed
            why = str(err) or type(err).__name__
            rows.append({"state": "unreadable", "run": path.stem, "why": why})
    going = unfinished(given.out)
    lines = []
    for row in rows:
        if row["state"] == "finished":
            layers = ", ".join(layer["name"] for layer in row["layers"])
            lines.append(
                f"{row['run']}  finished    {row['dataset']}  {row['model']}  {layers}  "
                f"{row['images']['used']} images"
                + (f"  “{row['name']}”" if row["name"] else "")
                + ("  pinned" if row["pinned"] else "")
            )
        else:
            lines.append(f"{row['run']}  unreadable  {row['why']}")
    lines += [f"{t.run}  unfinished  {t.dataset}  {t.model}  {t.where}" for t in going]
    rows += [{**task.to_json(), "state": "unfinished"} for task in going]
    return {"runs": rows}, "\n".join(lines) or "no runs yet: make one with `python -m core run`"


def _summary(run: Run) -> Json:
    from core.dissect.losses import losses
    from core.views.runs import judged

    info, settings = run.info, run.settings
    layers = run.sql("SELECT name, units, height, width FROM layers ORDER BY layer")
    lost = losses(run)
    return {
        "run": run.digest,
        "path": str(run.path),
        "dataset": settings.dataset.spec,
        "labels_by": settings.dataset.labels_by,
        "model": settings.model.spec,
        "layers": layers.to_dict("records"),
        "q": settings.q,
        "grid": list(settings.grid) if settings.has_grid else None,
        "images": info["images"],
        "skipped": lost.lost,
        "notices": lost.notices,
        "losses": lost.words,
        "accuracy": info["accuracy"],
        "judged": judged(run),
        "no_answers": run.no_answers,
        "by_batch": run.by_batch,
        "older_versions": run.older_versions,
        "precision_effect": info.get("precision_effect"),
        "tables_digest": run.tables_digest,
        "finished": info["finished"],
        "seconds": info["seconds"],
    }


def _summary_text(facts: Json) -> str:
    scored, right = facts["accuracy"]["scored"], facts["accuracy"]["right"]
    layers = ", ".join(f"{layer['name']} ({layer['units']} units)" for layer in facts["layers"])
    grid = facts["grid"]
    lines = [
        f"run        {facts['run']}  ({facts['path']})",
        f"dataset    {facts['dataset']}: {facts['images']['used']} images, "
        f"{facts['skipped']} lost"
        + (f"; labels predicted by {facts['labels_by']}" if facts["labels_by"] else ""),
        f"model      {facts['model']}, {layers or 'predictions alone'}",
    ]
    if facts["losses"]:
        lines.append(f"WARNING    {facts['losses']}")
    if grid:
        lines.append(f"threshold  {quantile_words(facts['q'])} quantile; grid {grid[0]}×{grid[1]}")
    if facts["no_answers"]:
        lines.append(f"answers    none: {facts['no_answers']}")
    if facts["older_versions"]:
        lines.append(
            f"note       computed {facts['older_versions']}: the command that made it makes it anew"
        )
    if facts["by_batch"]:
        lines.append(f"note       {facts['by_batch']}")
    if facts["precision_effect"]:
        lines += [f"precision  {line}" for line in _effect_lines(facts["precision_effect"])]
    if scored:
        by, held_out = facts["accuracy"]["by_split"], facts["judged"]
        every = {"all photos": {"right": right, "images": scored}}
        rest = {split: part for split, part in by.items() if split != held_out}
        parts = {held_out: by[held_out], **rest, **every} if held_out else {**every, **rest}
        for k, (split, part) in enumerate(parts.items()):
            lines.append(
                f"{'' if k else 'accuracy':8}   {split}: {part['right']} of {part['images']} right "
                f"({part['right'] / max(1, part['images']):.1%})"
            )
        if not held_out:
            lines.append("           no split is held out: the photos of training are among these")
    scenes = facts["accuracy"].get("scenes")
    if not facts["no_answers"] and scenes and scenes["unmatched"]:
        lines.append(
            f"           scenes that are classes of the network: {scenes['matched']:,}, of "
            f"{scenes['images_matched']:,} images; no class: {scenes['unmatched']:,}, of "
            f"{scenes['images_unmatched']:,}"
        )
    return "\n".join(lines)


def _effect_lines(effect: Json) -> list[str]:
    """What a run's precision does to its labels, in words."""
    lines = [
        f"{effect['precision']} against float32, on {effect['photos']} of the photos: "
        + (
            f"{effect['predictions_changed']:.1%} of the answers change"
            if "predictions_changed" in effect
            else "the network answers nothing"
        )
    ]
    return lines + [
        f"{name}: {layer['labels_changed']:.1%} of {layer['units']} labels change; best IoU by "
        f"{layer['iou_difference'][0]:.4f} (median) to {layer['iou_difference'][1]:.4f}"
        for name, layer in effect["layers"].items()
    ]


def _show(given: argparse.Namespace) -> Answer:
    from core.dissect.labels import better_than_chance, unit_labels
    from core.dissect.significance import FDR
    from core.views.names import label_name
    from core.views.units import comparison

    run = open_given(given)
    facts = _summary(run)
    if not facts["layers"]:
        return facts, _summary_text(facts)
    if given.labels != "dataset":
        return _show_labels(given, run, facts)
    labels = unit_labels(run, given.layer, given.denominator, given.category)
    chance = better_than_chance(run, given.layer, given.denominator, given.category)
    best = labels.sort_values(["iou", "unit"], ascending=[False, True])
    layer = given.layer or facts["layers"][-1]["name"]
    facts["labels"] = {
        "layer": layer,
        "denominator": given.denominator,
        "units": next(s["units"] for s in facts["layers"] if s["name"] == layer),
        "above_0.04": int((labels["iou"] > 0.04).sum()),
        "chance": asdict(chance),
        "concepts": int(labels.loc[labels["iou"] > 0.04, "name"].nunique()),
        "top": best.head(given.top).to_dict("records"),
    }
    result = facts["labels"]
    lines = [_summary_text(facts), ""]
    lines.append(
        f"{layer}: {result['above_0.04']} of {result['units']} units above IoU 0.04 "
        f"({result['concepts']} concepts), denominator {given.denominator}"
    )
    if chance.above is not None:
        lines.append(
            f"{chance.above} of {chance.units} units better than chance (false discovery "
            f"rate {chance.rate:.0%}, {chance.rounds} rounds)"
        )
    lines.append(comparison(chance))
    lines.append(f"{'unit':>6}  {'IoU':>7}  {'p':>7}  {'adjusted':>8}  {'category':9}  concept")
    lines += [
        f"{row['unit']:6}  {row['iou']:7.4f}  {row['chance']:7.4f}  {row['adjusted']:8.4f}  "
        f"{row['category']:9}  "
        f"{label_name(row['name'], row['adjusted'] > FDR)}"
        for row in result["top"]
    ]
    return facts, "\n".join(lines)


def _show_labels(given: argparse.Namespace, run: Run, facts: Json) -> Answer:
    """What units detect by another labelling method than the usual one."""
    from core.labelling.methods import labels

    frame = labels(run, given.labels, given.layer, given.category)
    best = frame.sort_values(["score", "unit"], ascending=[False, True]).head(given.top)
    layer = given.layer or facts["layers"][-1]["name"]
    facts["labels"] = {
        "layer": layer,
        "method": given.labels,
        "units": len(frame),
        "top": best.to_dict("records"),
    }
    lines = [
        _summary_text(facts),
        "",
        f"{layer}: {len(frame)} units with a label by {given.labels}",
        f"{'unit':>6}  {'score':>7}  label",
        *(f"{row.unit:6}  {row.score:7.4f}  {row.label}" for row in best.itertuples()),
    ]
    return facts, "\n".join(lines)


def _predictions(given: argparse.Namespace) -> Answer:
    from core.dissect.predictions import import_predictions, per_scene
    from core.views.runs import judged_words, summary

    run = import_predictions(given.table, given.index, given.name, given.out)
    accuracy, judged = run.info["accuracy"], summary(run)
    scenes = per_scene(run, judged.judged)
    lines = [
        f"run {run.digest}: {judged.right} of {judged.answered} right "
        f"({judged.right / max(1, judged.answered):.2%}; {judged_words(judged.judged)}), "
        f"{len(scenes)} scenes",
        f"{'scene':24} {'images':>7} {'right':>8}  most often predicted as",
    ]
    lines += [
        f"{row.scene:24} {row.images:7} {row.accuracy:8.1%}  "
        + (f"{row.confused_with} ({row.confused})" if row.confused else "–")
        for row in scenes.head(20).itertuples()
    ]
    facts = {"run": run.digest, **accuracy, "scenes": scenes.to_dict("records")}
    return facts, "\n".join(lines)
