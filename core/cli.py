"""The command line: ``python -m core VERB``. With ``--json`` the last line is one JSON object."""

from __future__ import annotations

import argparse
import json
import math
import signal
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from core.errors import UnitscopeError
from core.store import CACHE, Run, find_run, list_runs

Answer = tuple[dict[str, Any], str]
"""What a verb says: the object for --json, and the same for people."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one verb; returns the exit status: 0 done, 2 a mistake in the input, 130 stopped."""
    parser = _parser()
    given = parser.parse_args(arguments)
    try:
        facts, text = given.verb(given)
    except UnitscopeError as err:
        if getattr(given, "json", False):
            print(_json({"error": str(err)}))
        print(f"error: {err}", file=sys.stderr)
        return 130 if type(err).__name__ == "Stopped" else 2
    except BrokenPipeError:
        return 0
    if given.json:
        print(_json(facts))
    else:
        print(text)
    return 0


def _json(facts: Any) -> str:
    """One line of strict JSON: figures that do not exist (0 of 0) are null."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps(plain(facts), ensure_ascii=False, allow_nan=False)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m core", description="Unitscope: dissect image classifiers."
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, do: Callable[[argparse.Namespace], Answer], text: str) -> Any:
        sub = verbs.add_parser(name, help=text, description=text)
        sub.add_argument("--json", action="store_true", help="one JSON object on the last line")
        sub.set_defaults(verb=do)
        return sub

    run = verb("run", _run, "Dissect a network on a dataset; resumes a stopped run.")
    run.add_argument("--dataset", required=True, metavar="SPEC", help="see `datasets`")
    run.add_argument("--model", required=True, metavar="SPEC", help="see `models`")
    run.add_argument(
        "--layer", action="append", default=[], metavar="NAME",
        help="dotted name, repeatable; the network's last stage where left out",
    )  # fmt: skip
    run.add_argument("--split", action="append", default=[], help="repeatable; all where left out")
    run.add_argument(
        "--knowledge", default="builtin", metavar="SPEC",
        help="graph that `explain` and `tables` use for this run unless told otherwise",
    )  # fmt: skip
    run.add_argument("--q", type=float, default=0.005, help="threshold = (1 − q) quantile")
    run.add_argument("--grid", type=int, help="side of the working grid (half the input's side)")
    run.add_argument("--shuffles", type=int, default=10, help="rounds of the null distribution")
    run.add_argument("--seed", type=int, default=0)
    run.add_argument("--no-maps", action="store_true", help="keep no maps; run the network twice")
    run.add_argument("--map-type", default="float16", choices=["float16", "float32"])
    run.add_argument("--device", default="cpu", help="cpu or cuda")
    run.add_argument("--precision", default="float32", choices=["float32", "bfloat16"])
    run.add_argument("--shard", type=int, default=256, help="images between two save points")
    run.add_argument("--threads", type=int, help="for decoding and counting")
    run.add_argument("--strict", action="store_true", help="stop at the first unusable file")
    run.add_argument("--resume", action="store_true", help="go on with a stopped run (default)")
    run.add_argument(
        "--fresh", action="store_true", help="throw away an earlier run and start anew"
    )
    run.add_argument("--plan", action="store_true", help="say what would be done, and stop")
    run.add_argument("--out", type=Path, default=CACHE, metavar="DIR")

    verb("datasets", _datasets, "The kinds of dataset and how to name them.")
    verb("models", _models, "The kinds of network and how to name them.")
    layers = verb("layers", _layers, "The layers of a network that can be dissected.")
    layers.add_argument("--model", required=True, metavar="SPEC")
    verb("knowledge", _knowledge_kinds, "The kinds of knowledge graph and how to name them.")
    runs = verb("runs", _runs, "Finished and unfinished runs.")
    runs.add_argument("--out", type=Path, default=CACHE, metavar="DIR")
    show = verb("show", _show, "What a run is and what its units detect.")
    show.add_argument("run", help="digest, the beginning of one, or `latest`")
    show.add_argument("--layer", metavar="NAME")
    show.add_argument("--denominator", default="all", choices=["all", "annotated"])
    show.add_argument("--category", action="append", help="labels of these categories only")
    show.add_argument("--top", type=int, default=20, help="units listed")
    show.add_argument("--out", type=Path, default=CACHE, metavar="DIR")
    aligned = verb("align", _align, "Which node of the graph each scene and concept name is.")
    aligned.add_argument("run", help="digest, the beginning of one, or `latest`")
    aligned.add_argument("--write", type=Path, metavar="FILE", help="the table, to edit")
    _knowledge(aligned)
    concepts = verb("concepts", _concepts, "The core concepts of scenes, with their facts.")
    concepts.add_argument("run", help="digest, the beginning of one, or `latest`")
    concepts.add_argument("--scene", help="all scenes, in short, where left out")
    concepts.add_argument("--cc", default="scc", choices=["scc", "icc", "top10"])
    _knowledge(concepts)
    explain = verb("explain", _explain, "Why the network said what it said of one image.")
    explain.add_argument("run", help="digest, the beginning of one, or `latest`")
    what = explain.add_mutually_exclusive_group(required=True)
    what.add_argument("--image", metavar="ID", help="an image of the run")
    what.add_argument("--photo", type=Path, metavar="FILE", help="any photo, without masks")
    explain.add_argument("--strategy", default="minmax_threshold")
    explain.add_argument("--cc", default="scc", choices=["scc", "icc", "top10"])
    explain.add_argument("--iou", default="image")
    explain.add_argument("--layer", metavar="NAME")
    _knowledge(explain)
    tables = verb("tables", _tables, "The paper's tables for one run, or several (Table 4).")
    tables.add_argument("run", nargs="+", help="digests, beginnings of them, or `latest`")
    tables.add_argument("--table", type=int, default=1, choices=[1, 4])
    tables.add_argument("--split", action="append", help="images of these splits alone")
    tables.add_argument("--iou", default="image")
    tables.add_argument("--layer", metavar="NAME")
    tables.add_argument("--seed", type=int, default=0)
    tables.add_argument("--csv", type=Path, metavar="DIR", help="write table_N.csv there")
    tables.add_argument("--latex", type=Path, metavar="DIR", help="write table_N.tex there")
    _knowledge(tables)
    told = verb("predictions", _predictions, "Published predictions as a run without photos.")
    told.add_argument("table", type=Path, help="CSV with columns pred and target")
    told.add_argument("--index", type=Path, help="CSV with a column image, in the same order")
    told.add_argument("--name", default="predictions", help="shown as the dataset's name")
    told.add_argument("--out", type=Path, default=CACHE, metavar="DIR")
    bench = verb("bench", _bench, "Measure speed, side by side in one run.")
    bench.add_argument("name", choices=["dissect"])
    bench.add_argument("--dataset", metavar="SPEC")
    bench.add_argument("--model", metavar="SPEC")
    bench.add_argument("--images", type=int, default=512)
    return parser


def _knowledge(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--knowledge", metavar="SPEC", help="see `knowledge`; the run's own where left out"
    )
    sub.add_argument(
        "--overrides", type=Path, metavar="FILE", help="names and nodes, as `align --write` gives"
    )
    sub.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")


# -- verbs ----------------------------------------------------------------------------------


def _run(given: argparse.Namespace) -> Answer:
    from core.run import Settings, execute, plan

    began = time.monotonic()
    work = plan(
        Settings(
            dataset=given.dataset, model=given.model, layers=tuple(given.layer),
            splits=tuple(given.split), q=given.q, grid=given.grid, shuffles=given.shuffles,
            seed=given.seed, keep_maps=not given.no_maps, map_type=given.map_type,
            device=given.device, precision=given.precision, knowledge=given.knowledge,
        )
    )  # fmt: skip
    layers = ", ".join(f"{s.name} ({s.units} units, {s.height}×{s.width})" for s in work.layers)
    sizes = ", ".join(f"{name} {size / 1e6:.0f} MB" for name, size in work.sizes.items() if size)
    _say(
        f"run {work.digest}: {len(work.indices)} images of {work.dataset.name}, {layers}, "
        f"grid {work.grid[0]}×{work.grid[1]}\nbeside the run file: {sizes}"
    )
    if given.plan:
        facts = {"run": work.digest, "sizes": work.sizes, "images": len(work.indices)}
        return facts, "nothing was run"
    stopping: list[int] = []
    before = {
        signum: signal.signal(signum, lambda signum, _frame: stopping.append(signum))
        for signum in (signal.SIGINT, signal.SIGTERM)
    }
    try:
        run = execute(
            work, given.out, tell=_show_progress, stop=lambda: bool(stopping), fresh=given.fresh,
            strict=given.strict, shard=given.shard, threads=given.threads,
        )  # fmt: skip
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)
        if sys.stderr.isatty():
            print("\r\033[K", end="", file=sys.stderr)
    facts = _summary(run)
    facts["wall_seconds"] = round(time.monotonic() - began, 3)
    return facts, _summary_text(facts)


_last_told = [0.0]


def _show_progress(progress: Any) -> None:
    now = time.monotonic()
    whole = progress.done == progress.total
    if sys.stderr.isatty():
        if whole or now - _last_told[0] > 0.2:
            _last_told[0] = now
            print(f"\r\033[K{progress}", end="\n" if whole else "", file=sys.stderr, flush=True)
    elif whole or now - _last_told[0] > 10:
        _last_told[0] = now
        _say(str(progress))


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _datasets(_given: argparse.Namespace) -> Answer:
    from core.datasets import KINDS

    return _kinds([(kind.name, kind.form, kind.about) for kind in KINDS])


def _models(_given: argparse.Namespace) -> Answer:
    from core.models.load import KINDS

    return _kinds([(kind, *told) for kind, told in KINDS.items()])


def _knowledge_kinds(_given: argparse.Namespace) -> Answer:
    from core.knowledge.graph import KINDS

    return _kinds([(kind, *told) for kind, told in KINDS.items()])


def _kinds(kinds: list[tuple[str, str, str]]) -> Answer:
    rows = [{"kind": kind, "form": form, "what": what} for kind, form, what in kinds]
    width = max(len(row["form"]) for row in rows)
    return {"kinds": rows}, "\n".join(f"{row['form']:{width}}  {row['what']}" for row in rows)


def _layers(given: argparse.Namespace) -> Answer:
    from core.models.load import load_model

    model = load_model(given.model)
    rows = [layer._asdict() for layer in model.layers()]
    width = max(len(row["name"]) for row in rows)
    lines = [
        f"{row['name']:{width}}  {row['units']:5} units  {row['height']:3} × {row['width']:<3}  "
        f"{row['kind']}{'   (default)' if row['name'] == model.default_layer else ''}"
        for row in rows
    ]
    return {"model": given.model, "default": model.default_layer, "layers": rows}, "\n".join(lines)


def _runs(given: argparse.Namespace) -> Answer:
    rows = []
    for path in list_runs(given.out):
        try:
            run = Run(path)
            rows.append({"state": "finished", **_summary(run)})
            run.close()
        except UnitscopeError as err:
            rows.append({"state": "unreadable", "run": path.stem, "why": str(err)})
    for folder in sorted(given.out.glob("*.partial")):
        beat = folder / "progress.json"
        told = json.loads(beat.read_text()) if beat.is_file() else {}
        rows.append({"state": "unfinished", "run": folder.stem, **told})
    lines = []
    for row in rows:
        if row["state"] == "finished":
            layers = ", ".join(layer["name"] for layer in row["layers"])
            lines.append(
                f"{row['run']}  finished    {row['dataset']}  {row['model']}  {layers}  "
                f"{row['images']['used']} images"
            )
        elif row["state"] == "unfinished":
            where = f"{row.get('stage', '')} {row.get('done', 0)}/{row.get('total', '?')}"
            lines.append(
                f"{row['run']}  unfinished  {row.get('dataset', '')}  "
                f"{row.get('model', '')}  {where}"
            )
        else:
            lines.append(f"{row['run']}  unreadable  {row['why']}")
    return {"runs": rows}, "\n".join(lines) or "no runs yet: make one with `python -m core run`"


def _summary(run: Run) -> dict[str, Any]:
    info = run.info
    layers = run.sql("SELECT name, units, height, width FROM layers ORDER BY layer")
    skipped = run.sql("SELECT count(*) AS n FROM skipped")["n"][0]
    return {
        "run": run.digest,
        "path": str(run.path),
        "dataset": info["settings"]["dataset"]["spec"],
        "model": info["settings"]["model"]["spec"],
        "layers": layers.to_dict("records"),
        "q": info["settings"]["q"],
        "grid": info["settings"]["grid"],
        "images": info["images"],
        "skipped": int(skipped),
        "accuracy": info["accuracy"],
        "tables_digest": info["tables_digest"],
        "finished": info["finished"],
        "seconds": info["seconds"],
    }


def _summary_text(facts: dict[str, Any]) -> str:
    scored, right = facts["accuracy"]["scored"], facts["accuracy"]["right"]
    layers = ", ".join(f"{layer['name']} ({layer['units']} units)" for layer in facts["layers"])
    grid = facts["grid"]
    lines = [
        f"run        {facts['run']}  ({facts['path']})",
        f"dataset    {facts['dataset']}: {facts['images']['used']} images, "
        f"{facts['skipped']} left out",
        f"model      {facts['model']}, {layers or 'predictions alone'}",
    ]
    if grid:
        lines.append(f"threshold  {1 - facts['q']:.3%} quantile; grid {grid[0]}×{grid[1]}")
    if scored:
        lines.append(f"accuracy   {right} of {scored} right ({right / scored:.1%})")
        for split, part in facts["accuracy"]["by_split"].items():
            lines.append(
                f"           {split}: {part['right']} of {part['images']} "
                f"({part['right'] / max(1, part['images']):.1%})"
            )
    return "\n".join(lines)


def _show(given: argparse.Namespace) -> Answer:
    from core.dissect.labels import null_distribution, unit_labels

    run = Run(find_run(given.run, given.out))
    facts = _summary(run)
    if not facts["layers"]:
        return facts, _summary_text(facts)
    labels = unit_labels(run, given.layer, given.denominator, given.category)
    null = null_distribution(run, given.layer, given.denominator)
    best = labels.sort_values(["iou", "unit"], ascending=[False, True])
    layer = given.layer or facts["layers"][-1]["name"]
    facts["labels"] = {
        "layer": layer,
        "denominator": given.denominator,
        "units": next(s["units"] for s in facts["layers"] if s["name"] == layer),
        "above_0.04": int((labels["iou"] > 0.04).sum()),
        "chance_95": float(null[int(0.95 * len(null))]) if len(null) else None,
        "above_chance_95": int((labels["chance"] <= 0.05).sum()) if len(null) else None,
        "concepts": int(labels.loc[labels["iou"] > 0.04, "name"].nunique()),
        "top": best.head(given.top).to_dict("records"),
    }
    told = facts["labels"]
    lines = [_summary_text(facts), ""]
    lines.append(
        f"{layer}: {told['above_0.04']} of {told['units']} units above IoU 0.04 "
        f"({told['concepts']} concepts), denominator {given.denominator}"
    )
    if len(null):
        lines.append(
            f"chance: 95 % of shuffled labels stay below IoU {told['chance_95']:.4f}; "
            f"{told['above_chance_95']} units do better"
        )
    lines.append(f"{'unit':>6}  {'IoU':>7}  {'chance':>7}  {'category':9}  concept")
    lines += [
        f"{row['unit']:6}  {row['iou']:7.4f}  {row['chance']:7.4f}  {row['category']:9}  "
        f"{row['name']}"
        for row in told["top"]
    ]
    return facts, "\n".join(lines)


def _own(run: Run) -> str:
    """The knowledge SPEC a run was made with."""
    return str(run.info.get("request", {}).get("knowledge", "builtin"))


def _align(given: argparse.Namespace) -> Answer:
    from core.knowledge.align import align, write_alignment
    from core.knowledge.core_concepts import Annotated
    from core.knowledge.graph import open_knowledge

    run = Run(find_run(given.run, given.out))
    annotated = Annotated.from_run(run)
    names = list(dict.fromkeys([*annotated.scenes, *annotated.concepts]))
    graph = open_knowledge(given.knowledge or _own(run))
    frame = align(names, graph, overrides=given.overrides)
    if given.write is not None:
        write_alignment(frame, given.write)
        _say(f"wrote {given.write}: edit its nodes and give it back with --overrides")
    kinds = frame["kind"].value_counts().to_dict()
    lines = [", ".join(f"{count} {kind}" for kind, count in kinds.items()), ""]
    lines += [
        f"{row.name:28} {row.node or '–':28} {row.kind:12} {row.score:5.2f}"
        for row in frame.itertuples(index=False)
    ]
    return {"kinds": kinds, "names": frame.to_dict("records")}, "\n".join(lines)


def _concepts(given: argparse.Namespace) -> Answer:
    from core.knowledge.graph import open_knowledge
    from core.tables import all_core_concepts

    run = Run(find_run(given.run, given.out))
    graph = open_knowledge(given.knowledge or _own(run))
    core = all_core_concepts(run, graph, given.overrides)[given.cc]
    facts: dict[str, Any] = {
        "kind": core.kind, "p_c": core.p_c, "p_sc": core.p_sc, "distinct": core.distinct,
        "collisions": [[core.scenes[s] for s in same] for same in core.collisions],
    }  # fmt: skip
    lines = []
    if core.p_sc is not None:
        lines.append(f"P_c = {core.p_c:.1%}, P_sc = {core.p_sc:.1%}")
    for same in facts["collisions"]:
        lines.append(f"one set for all of: {', '.join(same)}")
    if given.scene:
        table = core.table(given.scene)
        facts["scene"], facts["members"] = given.scene, table.to_dict("records")
        lines += [
            f"{row.concept:20} {row.category:10} in {row.frequency:6.1%} of its images  "
            f"by {row.by:10} {row.edges}"
            for row in table.itertuples(index=False)
        ]
    else:
        facts["scenes"] = {scene: core.table(scene)["concept"].tolist() for scene in core.scenes}
        lines += [f"{scene:20} {', '.join(m) or '–'}" for scene, m in facts["scenes"].items()]
    return facts, "\n".join(lines)


def _explain(given: argparse.Namespace) -> Answer:
    from core.explain.account import account
    from core.knowledge.graph import open_knowledge
    from core.tables import all_core_concepts

    run = Run(find_run(given.run, given.out))
    core = all_core_concepts(run, open_knowledge(given.knowledge or _own(run)), given.overrides)[
        given.cc
    ]
    if given.photo is not None:
        from core.datasets.decode import read_photo
        from core.explain.photo import explain_photo

        told = explain_photo(run, core, read_photo(given.photo), given.photo.name, given.layer)
    else:
        told = account(run, core, given.image, given.layer, given.strategy, given.iou)
    lines = [told["sentence"], ""]
    lines.append(f"{'concept':20} {'IoU':>7}  {'where':12}  strongest units")
    for seen in told["seen"]:
        units = ", ".join(f"{u['unit']} ({u['iou']:.3f})" for u in seen["units"])
        place = (seen.get("where") or {}).get("words", "")
        lines.append(f"{seen['concept']:20} {seen['iou']:7.4f}  {place:12}  {units}")
    for side, facts in told["sides"].items():
        lines.append("")
        lines.append(f"{side}: {facts['scene']} ({len(facts['core'])} core concepts, {core.kind})")
        for kind in ("met", "missed", "foreign"):
            names = [
                item["concept"] + (" (not in the photo)" if item["annotated"] is False else "")
                for item in facts[kind]
            ]
            lines.append(f"  {kind:8} {', '.join(names) or '–'}")
    lines += ["", f"{'scene':24} {'CM':>6} {'SM':>6} {'DM':>6}   ranks"]
    sides = {facts["scene"] for facts in told["sides"].values()}
    for row in told["scenes"]:
        if row["SM_rank"] <= 5 or row["scene"] in sides:
            lines.append(
                f"{row['scene']:24} {row['CM']:6.3f} {row['SM']:6.3f} {row['DM']:6.2f}   "
                f"{row['CM_rank']}, {row['SM_rank']}, {row['DM_rank']}"
            )
    return told, "\n".join(lines)


def _tables(given: argparse.Namespace) -> Answer:
    from core.knowledge.graph import open_knowledge
    from core.tables import table_1, table_4

    runs = [Run(find_run(name, given.out)) for name in given.run]
    graph = open_knowledge(given.knowledge or _own(runs[0]))
    if given.table == 4:
        table = table_4(
            runs, graph, given.split, given.iou, given.layer, given.seed, given.overrides
        )
    elif len(runs) > 1:
        raise UnitscopeError(f"table {given.table} is of one run; {len(runs)} were given")
    else:
        table = table_1(
            runs[0], graph, given.split, given.iou, given.layer, seed=given.seed,
            overrides=given.overrides,
        )  # fmt: skip
    for folder, suffix, text in (
        (given.csv, "csv", table.to_csv), (given.latex, "tex", table.to_latex),
    ):  # fmt: skip
        if folder is not None:
            folder.mkdir(parents=True, exist_ok=True)
            path = folder / f"table_{given.table}.{suffix}"
            path.write_text(text(), encoding="utf-8")
            _say(f"wrote {path}")
    return table.to_json(), table.to_text()


def _predictions(given: argparse.Namespace) -> Answer:
    from core.predictions import import_predictions, per_scene

    run = import_predictions(given.table, given.index, given.name, given.out)
    accuracy = run.info["accuracy"]
    scenes = per_scene(run)
    lines = [
        f"run {run.digest}: {accuracy['right']} of {accuracy['scored']} right "
        f"({accuracy['right'] / max(1, accuracy['scored']):.2%}), {len(scenes)} scenes",
        f"{'scene':24} {'images':>7} {'right':>8}  mostly taken for",
    ]
    lines += [
        f"{row.scene:24} {row.images:7} {row.accuracy:8.1%}  "
        + (f"{row.confused_with} ({row.confused})" if row.confused else "–")
        for row in scenes.head(20).itertuples()
    ]
    facts = {"run": run.digest, **accuracy, "scenes": scenes.to_dict("records")}
    return facts, "\n".join(lines)


def _bench(given: argparse.Namespace) -> Answer:
    from benchmarks.dissect import measure

    return measure(given.dataset, given.model, given.images)
