"""Verbs that train again: the network with core concepts (Eq. 10), an SVM on the metrics."""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from core.cli.common import (
    COUNT,
    SEED,
    Answer,
    Verb,
    add_printed,
    add_word,
    open_run,
    printed_of,
    say,
    show_progress,
    stoppable,
)
from core.foundation.errors import UnitscopeError
from core.foundation.progress import duration
from core.foundation.settings import CACHE, GOLDEN, Retraining
from core.foundation.trust import check_named

if TYPE_CHECKING:
    from core.retrain.result import SvmResult
    from core.runs.run_file import Run


def add(verb: Verb) -> None:
    """retrain cc | pe | show | figure."""
    top = verb("retrain", _missing, "Train again with core concepts (Eq. 10), or an SVM (Table 6).")
    kinds = top.add_subparsers(metavar="cc|pe|list|show|figure")

    def add_kind(name: str, do: Any, text: str) -> argparse.ArgumentParser:
        sub = add_word(kinds, name, do, text)
        sub.add_argument("--out", type=Path, default=CACHE, metavar="DIR")
        return sub

    cc = add_kind("cc", _cc, "Re-training via core concepts; resumes a stopped one.")
    cc.add_argument("run", nargs="?", help="dataset, network and knowledge of this run")
    cc.add_argument("--dataset", metavar="SPEC", help="instead of a run; see `datasets`")
    cc.add_argument("--model", metavar="SPEC", help="instead of a run's; see `models`")
    cc.add_argument("--knowledge", metavar="SPEC", help="see `knowledge`")
    cc.add_argument("--overrides", metavar="FILE", help="names and nodes, as `align --write` gives")
    cc.add_argument("--cc", type=_words, help=f"golden concepts, of {', '.join(GOLDEN)}")
    cc.add_argument("--lambda", dest="weights", type=_numbers, help="values of λ, as 0.1,0.3,1")
    cc.add_argument("--form", choices=["softmax", "sigmoid"], help="of L_c; softmax as written")
    for name, kind, text in (
        ("seeds", int, "how often everything is trained"),
        ("epochs", int, "the most; the validation part decides which one counts"),
        ("batch", int, "images a step"),
        ("rate", float, "learning rate of AdamW"),
        ("decay", float, "weight decay"),
        ("patience", int, "epochs without a better validation accuracy before training ends"),
        ("side", int, "shorter side of the input in pixels; the network's own where left out"),
        ("since", str, "first layer that is trained; those before it stay as they are"),
        ("train", str, "split to train on"),
        ("test", str, "split to judge on, once"),
        ("hold-out", float, "share of the train split kept for validation"),
        ("seed", int, "the first seed"),
        ("threads", int, "of PyTorch"),
    ):
        cc.add_argument(f"--{name}", type=kind, help=text)
    cc.add_argument("--core-on", choices=["train", "all"], help="where core concepts come from")
    cc.add_argument("--head", choices=["auto", "own", "new"], help="keep the classifier or not")
    cc.add_argument("--fresh", action="store_true", help="throw an earlier result away")
    cc.add_argument("--plan", action="store_true", help="only check, size, and time a few steps")

    pe = add_kind("pe", _pe, "Re-training via PE: an SVM on the metrics, groups ablated.")
    pe.add_argument("run", help="digest, the beginning of one, or `latest`")
    add_pe(pe)
    pe.add_argument("--knowledge", metavar="SPEC", help="the run's own where left out")
    pe.add_argument("--overrides", type=Path, metavar="FILE", help="names and nodes")
    pe.add_argument("--fresh", action="store_true", help="throw an earlier result away")

    add_kind("list", _list, "Finished re-trainings, and those that are running or were stopped.")
    show = add_kind("show", _show, "A finished re-training: accuracies, learning curves.")
    show.add_argument("result", help="digest, the beginning of one, or `latest`")
    figure = add_kind("figure", _figure, "Figure 5: accuracy per model before and after.")
    figure.add_argument("result", nargs="+", help="digests, beginnings of them, or `latest`")
    figure.add_argument("--to", type=Path, required=True, metavar="DIR", help="folder to write to")
    figure.add_argument("--format", type=_words, default=("svg",), help="svg,pdf,png")
    add_printed(figure)


def add_pe(sub: argparse.ArgumentParser) -> None:
    """Options of the SVM that `retrain pe` has."""
    sub.add_argument("--layer", metavar="NAME")
    sub.add_argument("--train", type=_words, default=("train",), help="splits to fit on")
    sub.add_argument("--test", type=_words, default=("test",), help="splits to judge on")
    sub.add_argument("--strategy", default="minmax_threshold", help="of LC(x) by masks")
    sub.add_argument("--iou", default="image")
    sub.add_argument(
        "--hidden", default="layer", choices=["layer", "classifier"], help="which activations are h"
    )
    sub.add_argument("--cc", type=_words, default=("scc", "icc"), help="kinds of core concepts")
    sub.add_argument("--per-unit", type=COUNT, default=1, help="labels each unit speaks for")
    sub.add_argument("--seed", type=SEED, default=0)
    sub.add_argument(
        "--core-on",
        default="train",
        choices=["train", "all"],
        help="images core concepts come from; all lets the test photos' annotations in",
    )


def _words(text: str) -> tuple[str, ...]:
    return tuple(filter(None, text.split(",")))


def _numbers(text: str) -> tuple[float, ...]:
    return tuple(float(part) for part in _words(text))


def _missing(_given: argparse.Namespace) -> Answer:
    raise UnitscopeError("retrain what? `retrain cc` trains the network, `retrain pe` an SVM")


def _cc(given: argparse.Namespace) -> Answer:
    from core.retrain.plan import plan
    from core.retrain.training import retrain
    from core.views.retrain import summary, summary_text

    asked = _asked(given)
    began = time.monotonic()
    work = plan(asked)
    say(
        f"retrain-{work.digest}: {len(work.jobs)} trainings of up to {asked.epochs} epochs, "
        f"classifier {work.classifier}, {'its own' if work.own_head else 'a new'} head"
    )
    if given.plan:
        from core.retrain.estimate import retraining

        planned = time.monotonic() - began
        with stoppable() as stop:
            cost = retraining(work, given.out, stop)
        cost = replace(
            cost,
            seconds=cost.seconds + planned,
            low=cost.low + planned,
            high=cost.high + planned,
        )
        return asdict(cost), (
            f"about {duration(cost.seconds)} at most ({duration(cost.low)} to "
            f"{duration(cost.high)}): {cost.passes} images through the network and back, "
            f"from {cost.timed} timed just now; nothing was trained"
        )
    with stoppable() as stop:
        result = retrain(work, given.out, progress=show_progress, stop=stop, fresh=given.fresh)
    table = summary(result)
    facts = {key: value for key, value in result.items() if key not in ("trainings", "test_ids")}
    facts["summary"] = table.to_dict("records")
    facts["path"] = str(given.out / f"retrain-{work.digest}.json")
    return facts, summary_text(result, table)


def _asked(given: argparse.Namespace) -> Retraining:
    """The settings that the command line names; those of a run where it names one."""
    options = {
        option.name: getattr(given, option.name)
        for option in fields(Retraining)
        if getattr(given, option.name) is not None
    }
    if given.run:
        run = open_run(given.run, given.out)
        if "dataset" not in options:
            photos = run.settings.dataset
            check_named(photos.spec, f"run {run.digest}", photos.code)
            options["dataset"] = photos.spec
        if "model" not in options:
            network = run.settings.model
            check_named(network.spec, f"run {run.digest}", network.code)
            options["model"] = network.spec
        options.setdefault("knowledge", run.own_knowledge)
        run.close()
    if "dataset" not in options or "model" not in options:
        raise UnitscopeError("name a run, or both --dataset and --model")
    return Retraining(**options)


def _pe(given: argparse.Namespace) -> Answer:
    from core.retrain.svm import accuracies
    from core.views.retrain import pe_text

    reply = pe_of(open_run(given.run, given.out), given)
    rows = accuracies(reply)
    facts = {k: v for k, v in reply.items() if k not in ("rows", "target", "network")}
    return {**facts, "methods": [asdict(row) for row in rows]}, pe_text(reply, rows)


def pe_of(run: Run, given: argparse.Namespace) -> SvmResult:
    """The SVMs of a run as the command line asks for them: made, resumed, or read."""
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import all_core_concepts
    from core.retrain.svm import SvmSettings, retrain_pe

    graph = open_knowledge(given.knowledge or run.own_knowledge)
    splits = list(given.train) if given.core_on == "train" else None
    cores = all_core_concepts(run, graph, given.overrides, splits, given.cc)
    asked = SvmSettings(
        given.train,
        given.test,
        given.layer,
        given.strategy,
        given.iou,
        given.hidden,
        per_unit=given.per_unit,
        seed=given.seed,
        core_on=given.core_on,
    )
    with stoppable() as stop:
        return retrain_pe(
            run,
            {kind: cores[kind] for kind in given.cc},
            asked,
            given.out,
            command=shlex.join(["python", "-m", "core", *sys.argv[1:]]),
            fresh=getattr(given, "fresh", False),
            progress=show_progress,
            stop=stop,
        )


def pe_defaults(given: argparse.Namespace) -> argparse.Namespace:
    """What `tables --table 6` asks of :func:`pe_of`: `retrain pe`'s defaults, its own options."""
    parser = argparse.ArgumentParser()
    add_pe(parser)
    asked = parser.parse_args([])
    own = {"iou": given.iou, "layer": given.layer, "seed": given.seed, "out": given.out}
    own |= {"knowledge": given.knowledge, "overrides": given.overrides}
    vars(asked).update(own, test=given.split or asked.test)
    return asked


def _list(given: argparse.Namespace) -> Answer:
    from core.views.retrain import results
    from core.views.work import unfinished

    rows = results(given.out).to_dict("records")
    going = [task for kind in ("retrain", "svm") for task in unfinished(given.out, kind=kind)]
    lines = [
        f"{row['digest']}  finished  {row['dataset']}  {row['model']}  {row['cc'] or 'control'}  "
        f"λ {row['weights']}  {row['seeds']} seeds"
        for row in rows
    ]
    lines += [f"{task.run}  {task.state}  {task.what}  {task.where}" for task in going]
    return {"finished": rows, "unfinished": [task.to_json() for task in going]}, "\n".join(
        lines
    ) or ("no re-trainings yet: make one with `python -m core retrain cc RUN`")


def _show(given: argparse.Namespace) -> Answer:
    from core.views.retrain import curves, result, summary, summary_text

    reply = result(given.result, given.out)
    table, points = summary(reply), curves(reply)
    lines = [summary_text(reply, table), "", points.to_string(index=False, float_format="%.3f")]
    facts = {
        "digest": reply["digest"],
        "asked": reply["asked"],
        "summary": table.to_dict("records"),
        "curves": points.to_dict("records"),
        "counts": reply["counts"],
        "core": reply["core"],
        "weights": reply["weights"],
    }
    return facts, "\n".join(lines)


def _figure(given: argparse.Namespace) -> Answer:
    from core.figures.export import write_chart
    from core.figures.retrain import caption, retraining
    from core.views.retrain import figure_5, result

    printed = printed_of(given)
    tolds = [result(name, given.out) for name in given.result]
    frame = figure_5(tolds)
    chart = retraining(frame, caption(tolds))
    made = write_chart(chart, given.to, "figure_5", given.format, printed)
    files = [str(path) for path in made]
    return {"files": files, "rows": frame.to_dict("records")}, "\n".join(files)
