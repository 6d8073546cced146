"""What the app shows of re-trainings: results on disk, learning curves, Figure 5, as frames.

All of it is read off the result files that :mod:`core.retrain.training` leaves; nothing here
makes PyTorch start working. New ones are started as jobs (:mod:`core.foundation.jobs`), never in
the app.
"""

from __future__ import annotations

import json
import math
import shlex
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
import pandas as pd

from core.datasets import dataset_of
from core.foundation import jobs
from core.foundation.digest import digest_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import read_result
from core.foundation.intervals import change_interval, interval, spread
from core.foundation.settings import Retraining
from core.foundation.vocabulary import Golden
from core.retrain.result import CONTROL, RetrainResult, SvmResult, Training
from core.runs.run_file import Run
from core.views.names import short_name
from core.views.work import Task, unfinished

if TYPE_CHECKING:  # it brings PyTorch
    from core.retrain.svm import MethodAccuracy

NAMES = {CONTROL: "control", **Golden.shorts()}

TIMING = "time-"
"""How the names of jobs begin that only time a few steps."""

SEEN = 3600.0
"""Seconds for which a job that ended well is still shown."""


def results(root: Path) -> pd.DataFrame:
    """Finished re-trainings under `root`, the newest first: digest, dataset, model, cc, λs, form,
    seeds, epochs, side, test images, time (seconds since 1970, of the file)."""
    rows = []
    for path in sorted(root.glob("retrain-*.json")):
        record = read_result(path)
        asked = record["asked"]
        rows.append(
            {
                "digest": record["digest"],
                "dataset": record["dataset"]["name"],
                "model": short_name(record["model"]["spec"]),
                "cc": ", ".join(asked["cc"]),
                "weights": ", ".join(f"{w:g}" for w in asked["weights"]),
                "form": asked["form"],
                "seeds": asked["seeds"],
                "epochs": asked["epochs"],
                "side": asked["side"],
                "test_images": record["counts"]["test"],
                "time": path.stat().st_mtime,
            }
        )
    columns = [
        "digest",
        "dataset",
        "model",
        "cc",
        "weights",
        "form",
        "seeds",
        "epochs",
        "side",
        "test_images",
        "time",
    ]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(["time", "digest"], ascending=[False, True], ignore_index=True)


def result(name: str, root: Path) -> RetrainResult:
    """A result by its digest, the beginning of one, or ``latest``.

    Raises UnitscopeError, naming what there is, where none or several fit.
    """
    known = results(root)["digest"].tolist()
    if name == "latest" and known:
        fits = known[:1]
    else:
        fits = [digest for digest in known if digest.startswith(name.removeprefix("retrain-"))]
    if len(fits) != 1:
        if fits:
            raise UnitscopeError(f"{name!r} fits several re-trainings: {', '.join(fits)}")
        raise unknown("re-training", name, known)
    return cast(RetrainResult, read_result(root / f"retrain-{fits[0]}.json"))


def curves(record: RetrainResult) -> pd.DataFrame:
    """Learning curves: cc, weight, seed, epoch (from 1), scene_loss, concept_loss, train,
    validation (accuracies), validation_loss, best (is it the epoch that counts)."""
    rows = [
        {
            "cc": one["cc"],
            "weight": one["weight"],
            "seed": one["seed"],
            "epoch": k,
            **point,
            "best": k == one["best_epoch"],
        }
        for one in record["trainings"]
        for k, point in enumerate(one["curve"], 1)
    ]
    return pd.DataFrame(rows)


def summary(record: RetrainResult) -> pd.DataFrame:
    """Accuracy on the test split, one row for the original, the control and every (kind, λ).

    Columns
    -------
    cc, weight : ``original``, ``control`` or a kind; λ.
    chosen : λ with the best mean validation accuracy of its kind: the row that is reported.
    validation, test : means over seeds (of the best epochs). low, high : Student's 95 % interval
        over seeds: how far the mean would move with other batches. NaN with one seed.
    gain : test minus the control's, mean over seeds, each seed paired with the control's of the
        same batches; gain_low, gain_high : Student's 95 % interval over seeds.
    image_low, image_high : paired 95 % interval of the gain over the test images (each
        image's gain averaged over seeds): how far it would move with other photos.
    epochs : mean number of epochs until the best.
    """
    target = np.asarray(record["target"])
    by: dict[tuple[str, float], dict[int, Training]] = {}
    for one in record["trainings"]:
        by.setdefault((one["cc"], one["weight"]), {})[one["seed"]] = one
    control = by[(CONTROL, 0.0)]
    nan = float("nan")
    rows = []
    original = record["original"]
    if original is not None:
        # No training, so no seeds: the control's mean is compared with it the other way round.
        rows.append(_Line("original", nan, True, original["validation"], original["test"]))
    for (kind, weight), ones in by.items():
        seeds = sorted(ones)
        mean, low, high = spread([ones[s]["test"] for s in seeds])
        row = _Line(
            kind,
            weight,
            kind == CONTROL or record["chosen"].get(kind) == weight,
            float(np.mean([ones[s]["validation"] for s in seeds])),
            mean,
            low,
            high,
            epochs=float(np.mean([ones[s]["best_epoch"] for s in seeds])),
        )
        if kind != CONTROL:
            pairs = [ones[s]["test"] - control[s]["test"] for s in seeds]
            gain, gain_low, gain_high = spread(pairs)
            each = np.mean(
                [
                    (np.asarray(ones[s]["predicted"]) == target).astype(float)
                    - (np.asarray(control[s]["predicted"]) == target)
                    for s in seeds
                ],
                axis=0,
            )
            image_low, image_high = map(float, change_interval(each))
            row = row._replace(
                gain=gain,
                gain_low=gain_low,
                gain_high=gain_high,
                image_low=image_low,
                image_high=image_high,
            )
        rows.append(row)
    return pd.DataFrame(rows)


class _Line(NamedTuple):
    """A row of :func:`summary`; NaN is what it has not."""

    cc: str
    weight: float
    chosen: bool
    validation: float
    test: float
    low: float = np.nan
    high: float = np.nan
    gain: float = np.nan
    gain_low: float = np.nan
    gain_high: float = np.nan
    image_low: float = np.nan
    image_high: float = np.nan
    epochs: float = np.nan


def summary_text(record: RetrainResult, table: pd.DataFrame) -> str:
    """The summary for a terminal, in percent, with what it was measured on."""
    asked, counts = record["asked"], record["counts"]
    side = f", input {asked['side']} px" if asked["side"] else ""
    side += f", trained from {asked['since']} on" if asked["since"] else ""
    lines = [
        f"Re-training via core concepts (Eq. 10), L_c {asked['form']}: "
        f"{record['dataset']['name']}, {record['model']['spec']}{side}, knowledge "
        f"{record['knowledge']}, core concepts from {asked['core_on']} images",
        f"{counts['train']} training, {counts['validation']} validation, {counts['test']} test "
        f"images; {asked['seeds']} seeds, at most {asked['epochs']} epochs; test split "
        f"{asked['test']}",
        "",
        f"{'golden concepts':16} {'λ':>5} {'valid.':>7} {'test':>6} {'over seeds':>15} "
        f"{'gain':>6} {'over seeds':>15} {'over images':>15}",
    ]

    def between(low: float, high: float) -> str:
        return "–" if np.isnan(low) else f"[{100 * low:.1f}, {100 * high:.1f}]"

    for row in table.itertuples(index=False):
        weight = "" if np.isnan(row.weight) else f"{row.weight:g}"
        gain = "–" if np.isnan(row.gain) else f"{100 * row.gain:+.1f}"
        star = " *" if row.chosen and row.cc in record["chosen"] else ""
        lines.append(
            f"{NAMES.get(row.cc, row.cc):16} {weight:>5} {100 * row.validation:7.1f} "
            f"{100 * row.test:6.1f} {between(row.low, row.high):>15} {gain:>6} "
            f"{between(row.gain_low, row.gain_high):>15} "
            f"{between(row.image_low, row.image_high):>15}{star}"
        )
    lines += [
        "",
        "* λ with the best validation accuracy. Brackets: 95 % intervals, over seeds by Student's "
        "t, over images for matched pairs (Agresti and Min); gain: over the control of the same "
        "seed.",
    ]
    for kind, file in record["weights"].items():
        lines.append(f"{NAMES.get(kind, kind)}: {file['file']}, {file.get('why') or file['spec']}")
    return "\n".join(lines)


def table_6(record: SvmResult) -> pd.DataFrame:
    """Every SVM of one result of :func:`core.retrain.svm.retrain_pe`, with the network and the
    most frequent scene: columns as :class:`core.retrain.svm.MethodAccuracy`, groups in words."""
    from core.retrain.svm import accuracies

    frame = pd.DataFrame([asdict(row) for row in accuracies(record)])
    frame["groups"] = [" + ".join(groups) if groups else "" for groups in frame["groups"]]
    return frame


def pe_results(root: Path) -> pd.DataFrame:
    """Finished SVMs on metrics under `root`, the newest first: digest, run, dataset, model, layer,
    train, test, core_on, n, time, path."""
    columns = ["digest", "run", "dataset", "model", "layer", "train", "test", "core_on", "n"]
    rows = []
    for path in sorted(root.glob("svm-*.json")):
        record = read_result(path)
        rows.append(
            {**{name: record[name] for name in columns}, "time": path.stat().st_mtime, "path": path}
        )
    frame = pd.DataFrame(rows, columns=[*columns, "time", "path"])
    return frame.sort_values(["time", "digest"], ascending=[False, True], ignore_index=True)


def pe_result(path: Path) -> SvmResult:
    """One of :func:`pe_results`, by its path."""
    return cast(SvmResult, read_result(path))


def table_of_run(_run: Run, path: Path) -> pd.DataFrame:
    """:func:`table_6` of the result at `path`, of SVMs on a run."""
    return table_6(pe_result(path))


def find_result(asked: Retraining, root: Path) -> str:
    """The digest of the newest finished re-training of just these settings; empty for none."""
    wanted = json.loads(json.dumps(asdict(asked)))
    for digest in results(root)["digest"]:
        if read_result(root / f"retrain-{digest}.json")["asked"] == wanted:
            return str(digest)
    return ""


def pe_text(record: SvmResult, rows: Sequence[MethodAccuracy]) -> str:
    """Accuracies of every SVM for a terminal, in percent."""
    from core.retrain.svm import SOURCES

    lines = [
        f"Linear SVM on explanation metrics: {record['dataset']}, {record['model']}, "
        f"{record['layer']}; {record['n_train']} training images, {record['n']} test images "
        f"({record['unseen']} of scenes without a training image)",
        f"LC(x) from masks ({record['strategy']}, IoU {record['iou']}): {SOURCES['masks']}; from "
        f"{record['labels']} labels of units: {SOURCES['labels']}",
        f"core concepts from {record['core_on']} images; labels from {', '.join(record['train'])}; "
        "thresholds of units over all images of the run",
        "",
        f"{'method':20} {'cc':4} {'LC(x)':7} {'features':22} {'accuracy':>20} "
        f"{'gain on network':>22} {'on hidden alone':>22} {'C':>6}",
    ]

    def gain(value: float | None, low: float | None, high: float | None) -> str:
        if value is None or low is None or high is None:
            return "–"
        return f"{100 * value:+.1f} [{100 * low:+.1f}, {100 * high:+.1f}]"

    for row in rows:
        span = f"{100 * row.accuracy:.1f} [{100 * row.low:.1f}, {100 * row.high:.1f}]"
        cost = "" if row.cost is None else f"{row.cost:g}"
        lines.append(
            f"{row.method:20} {NAMES.get(row.cc or '', ''):4} {row.source or '':7} "
            f"{' + '.join(row.groups or []):22} {span:>20} "
            f"{gain(row.gain, row.gain_low, row.gain_high):>22} "
            f"{gain(row.hidden_gain, row.hidden_low, row.hidden_high):>22} {cost:>6}"
        )
    lines += [
        "",
        "Brackets: 95 % intervals over test images, of accuracies Wilson's, of gains "
        "Agresti and Min's for matched pairs.",
    ]
    return "\n".join(lines)


def figure_5(records: Sequence[RetrainResult]) -> pd.DataFrame:
    """Figure 5's figures, from the summaries of several re-trainings: model, method (original,
    control, SCC, ICC, …), accuracy, low, high, seeds, dataset.

    The interval of the original network is Wilson's over test images; the others' is Student's
    over seeds (absent with one seed). λ of each kind is the one chosen on validation.
    """
    rows = []
    for record in records:
        table = summary(record)
        n = record["counts"]["test"]
        for row in table[table["chosen"]].itertuples(index=False):
            low, high = row.low, row.high
            if row.cc == "original":
                low, high = interval(round(row.test * n), n)
            rows.append(
                {
                    "model": short_name(record["model"]["spec"]),
                    "method": NAMES.get(row.cc, row.cc),
                    "accuracy": row.test,
                    "low": low,
                    "high": high,
                    "seeds": record["asked"]["seeds"],
                    "dataset": record["dataset"]["name"],
                }
            )
    return pd.DataFrame(rows)


# -- in words -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """The gain over the control of the chosen row of a kind, with its 95 % intervals over seeds
    (gain_low, gain_high) and over images (image_low, image_high).

    verdict : ``better`` or ``worse`` where both intervals leave 0 out on the same side; ``one
    seed`` where there is none over seeds; else ``unsure``.
    """

    cc: str
    weight: float
    gain: float
    gain_low: float
    gain_high: float
    image_low: float
    image_high: float
    verdict: str


def verdicts(record: RetrainResult, table: pd.DataFrame) -> list[Verdict]:
    """What the chosen row of each kind in :func:`summary` says of its gain over the control."""
    out = []
    for row in table[table["chosen"] & table["cc"].isin(list(record["chosen"]))].itertuples():
        spans = [(row.gain_low, row.gain_high), (row.image_low, row.image_high)]
        if math.isnan(row.gain_low):
            verdict = "one seed"
        elif all(low > 0 for low, _ in spans):
            verdict = "better"
        elif all(high < 0 for _, high in spans):
            verdict = "worse"
        else:
            verdict = "unsure"
        out.append(
            Verdict(
                cc=row.cc,
                weight=row.weight,
                gain=row.gain,
                gain_low=row.gain_low,
                gain_high=row.gain_high,
                image_low=row.image_low,
                image_high=row.image_high,
                verdict=verdict,
            )
        )
    return out


def same_answer(record: RetrainResult) -> list[str]:
    """The control and the kinds (at their chosen λ) that give every test image one and the same
    answer, with every seed: they have learned nothing that tells scenes apart."""
    wanted = {CONTROL: 0.0, **record["chosen"]}
    return [
        kind
        for kind, weight in wanted.items()
        if all(
            len(set(one["predicted"])) == 1
            for one in record["trainings"]
            if (one["cc"], one["weight"]) == (kind, weight)
        )
    ]


# -- new ones -------------------------------------------------------------------------------


@dataclass(frozen=True)
class Material:
    """What a run offers for training: the SPECs of dataset and model, split → images with a
    scene."""

    dataset: str
    model: str
    splits: dict[str, int]


def material(run: Run) -> Material:
    """What a run offers for training.

    Raises UnitscopeError where the dataset can no longer be opened.
    """
    data = dataset_of(run)
    placed = [split for split, scene in zip(data.split, data.scene, strict=True) if scene >= 0]
    return Material(
        dataset=run.settings.dataset.spec,
        model=run.settings.model.spec,
        splits=dict(sorted(Counter(map(str, placed)).items())),
    )


def passes(asked: Retraining, images: int) -> tuple[int, int]:
    """(trainings, images through the network and back at most) for `images` in the train split.

    >>> passes(Retraining("rooms", "rooms", weights=(1.0,), seeds=2, epochs=5), 100)
    (6, 2400)
    """
    trainings = asked.seeds * (1 + len(asked.cc) * len(asked.weights))
    return trainings, trainings * asked.epochs * round(images * (1 - asked.hold_out))


def cc_arguments(asked: Retraining, root: Path) -> list[str]:
    """After ``python -m core``: the re-training that is asked for, its result in `root`.

    >>> cc_arguments(Retraining("rooms", "rooms", seeds=1), Path("cache"))[2:-3]
    ['--dataset', 'rooms', '--model', 'rooms', '--seeds', '1']
    """
    return [*shlex.split(asked.command())[3:], "--out", str(root), "--json"]


def pe_arguments(
    run: Run,
    root: Path,
    layer: str,
    knowledge: str,
    cc: Sequence[str],
    train: str,
    test: str,
    core_on: str,
) -> list[str]:
    """After ``python -m core``: SVMs on the metrics of a run (Table 6), the result in `root`."""
    return [
        "retrain",
        "pe",
        run.digest,
        "--layer",
        layer,
        "--knowledge",
        knowledge,
        "--cc",
        ",".join(cc),
        "--train",
        train,
        "--test",
        test,
        "--core-on",
        core_on,
        "--out",
        str(root),
        "--json",
    ]


def job_name(arguments: Sequence[str]) -> str:
    """The name of the job of a command line: the same question has one answer.

    >>> job_name(["retrain", "cc", "--seeds", "1"]).partition("-")[0]
    'retrain'
    """
    kind = TIMING if "--plan" in arguments else {"pe": "svm-"}.get(arguments[1], "retrain-")
    return kind + digest_of(list(arguments))[:12]


def start(arguments: Sequence[str], root: Path) -> jobs.Job:
    """Start a re-training, go on with a stopped one, or time it where ``--plan`` is asked.

    Raises UnitscopeError where it is at work already.
    """
    for job in jobs.every(root):
        old = time.time() - job.started > 10 * SEEN
        if job.name.startswith(TIMING) and not job.alive and old:
            jobs.forget(job.name, root)
    return jobs.start(job_name(arguments), arguments, root)


def at_work(root: Path, kind: str) -> list[Task]:
    """Re-trainings (`kind` ``cc``) or SVMs (``pe``) in the making, stopped or failed, and those
    that a job finished within the hour, the one started last first."""
    left = unfinished(root, kind={"cc": "retrain", "pe": "svm"}[kind])
    rows = []
    for job in jobs.every(root):
        if tuple(job.arguments[:2]) != ("retrain", kind) or job.name.startswith(TIMING):
            continue
        commands = (_command(job.arguments), _command(job.arguments, whole=True))
        mine = [task for task in left if task.command in commands]
        left = [task for task in left if task.command not in commands]
        if job.state == "finished" and time.time() - (job.ended or 0) > SEEN:
            continue
        task = Task(job.name, job.state, job, what=_what(job.arguments), command=commands[0])
        beat = mine[0].beat if mine else None
        # What an earlier start of it left is no sign of life of this one.
        if beat is not None and not (job.alive and beat.time < job.started):
            task = replace(task, run=mine[0].run, beat=beat, age=mine[0].age)
        rows.append(task)
    return rows + left


def _command(arguments: Sequence[str], whole: bool = False) -> str:
    """The command line of a job, as the heartbeat of its work has it: that of an SVM is whole,
    that of a re-training says nothing of where its result goes."""
    kept = list(arguments)
    if not whole:
        at = kept.index("--out") if "--out" in kept else len(kept)
        kept = [one for one in kept[:at] + kept[at + 2 :] if one != "--json"]
    return shlex.join(["python", "-m", "core", *kept])


def _what(arguments: Sequence[str]) -> str:
    said = dict(pairwise(arguments))
    if arguments[1] == "pe":
        return f"SVMs on run {arguments[2][:6]}, {said['--layer']}"
    return f"{short_name(said.get('--model', ''))} on {short_name(said.get('--dataset', ''))}"


def finished_digest(job: jobs.Job) -> str:
    """The digest of the result of a finished job."""
    return str(job.answer()["digest"])
