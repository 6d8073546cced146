"""What the app shows of re-trainings: results on disk, learning curves, Figure 5, as frames.

All of it is read off the result files that :mod:`core.manipulate.retrain` leaves; nothing here
makes PyTorch start working.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from core.browse import short_name
from core.errors import UnitscopeError, unknown
from core.manipulate.svm import SOURCES, accuracies, wilson

CONTROL = "control"
NAMES = {
    CONTROL: "control", "scc": "SCC", "icc": "ICC", "top10": "Top 10", "annotated": "all annotated",
}  # fmt: skip
DRAWS = 2000


def results(root: Path) -> pd.DataFrame:
    """Finished re-trainings under `root`, the newest first: digest, dataset, model, cc, λs, form,
    seeds, epochs, side, test images, time (seconds since 1970, of the file)."""
    rows = []
    for path in sorted(root.glob("retrain-*.json")):
        told = _read(path)
        asked = told["asked"]
        rows.append(
            {
                "digest": told["digest"], "dataset": told["dataset"]["name"],
                "model": short_name(told["model"]["spec"]), "cc": ", ".join(asked["cc"]),
                "weights": ", ".join(f"{w:g}" for w in asked["weights"]), "form": asked["form"],
                "seeds": asked["seeds"], "epochs": asked["epochs"], "side": asked["side"],
                "test_images": told["counts"]["test"], "time": path.stat().st_mtime,
            }
        )  # fmt: skip
    columns = [
        "digest", "dataset", "model", "cc", "weights", "form", "seeds", "epochs", "side",
        "test_images", "time",
    ]  # fmt: skip
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(["time", "digest"], ascending=[False, True], ignore_index=True)


def result(name: str, root: Path) -> dict[str, Any]:
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
    return _read(root / f"retrain-{fits[0]}.json")


def _read(path: Path) -> dict[str, Any]:
    try:
        return dict(json.loads(path.read_text(encoding="utf-8")))
    except (OSError, ValueError) as err:
        raise UnitscopeError(f"{path} is no result of a re-training ({err})") from err


def curves(told: dict[str, Any]) -> pd.DataFrame:
    """Learning curves: cc, weight, seed, epoch (from 1), scene_loss, concept_loss, train,
    validation (accuracies), validation_loss, best (is it the epoch that counts)."""
    rows = [
        {
            "cc": one["cc"], "weight": one["weight"], "seed": one["seed"], "epoch": k, **point,
            "best": k == one["best_epoch"],
        }
        for one in told["trainings"]
        for k, point in enumerate(one["curve"], 1)
    ]  # fmt: skip
    return pd.DataFrame(rows)


def spread(values: Sequence[float] | np.ndarray) -> tuple[float, float, float]:
    """Mean of a few numbers with Student's 95 % interval of it; NaN bounds for a single one.

    >>> [round(x, 3) for x in spread([0.5, 0.6, 0.7])]
    [0.6, 0.352, 0.848]
    """
    x = np.asarray(values, float)
    if len(x) < 2:
        return float(x.mean()), float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(x) - 1) * x.std(ddof=1) / np.sqrt(len(x))
    return float(x.mean()), float(x.mean() - half), float(x.mean() + half)


def summary(told: dict[str, Any]) -> pd.DataFrame:
    """Accuracy on the test split, one row for the original, the control and every (kind, λ).

    Columns
    -------
    cc, weight : ``original``, ``control`` or a kind; λ.
    chosen : λ with the best mean validation accuracy of its kind: the row that is reported.
    validation, test : means over seeds (of the best epochs). low, high : Student's 95 % interval
        over seeds: how far the mean would move with other batches. NaN with one seed.
    gain : test minus the control's, mean over seeds, each seed paired with the control's of the
        same batches; gain_low, gain_high : Student's 95 % interval over seeds.
    image_low, image_high : bootstrap 95 % interval of the gain over the test images (each
        image's gain averaged over seeds): how far it would move with other photos.
    epochs : mean number of epochs until the best.
    """
    target = np.asarray(told["target"])
    by: dict[tuple[str, float], dict[int, dict[str, Any]]] = {}
    for one in told["trainings"]:
        by.setdefault((one["cc"], one["weight"]), {})[one["seed"]] = one
    control = by[(CONTROL, 0.0)]
    rng = np.random.default_rng(0)
    draws = rng.multinomial(len(target), np.full(len(target), 1 / len(target)), DRAWS)
    nan = float("nan")
    rows: list[dict[str, Any]] = []
    original = told["original"]
    if original is not None:
        # No training, so no seeds: the control's mean is compared with it the other way round.
        rows.append(
            {
                "cc": "original", "weight": nan, "chosen": True,
                "validation": original["validation"], "test": original["test"], "low": nan,
                "high": nan, "gain": nan, "gain_low": nan, "gain_high": nan, "image_low": nan,
                "image_high": nan, "epochs": nan,
            }
        )  # fmt: skip
    for (kind, weight), ones in by.items():
        seeds = sorted(ones)
        mean, low, high = spread([ones[s]["test"] for s in seeds])
        row = {
            "cc": kind, "weight": weight,
            "chosen": kind == CONTROL or told["chosen"].get(kind) == weight,
            "validation": float(np.mean([ones[s]["validation"] for s in seeds])),
            "test": mean, "low": low, "high": high, "gain": nan, "gain_low": nan,
            "gain_high": nan, "image_low": nan, "image_high": nan,
            "epochs": float(np.mean([ones[s]["best_epoch"] for s in seeds])),
        }  # fmt: skip
        if kind != CONTROL:
            pairs = [ones[s]["test"] - control[s]["test"] for s in seeds]
            row["gain"], row["gain_low"], row["gain_high"] = spread(pairs)
            each = np.mean(
                [
                    (np.asarray(ones[s]["predicted"]) == target).astype(float)
                    - (np.asarray(control[s]["predicted"]) == target)
                    for s in seeds
                ],
                axis=0,
            )
            row["image_low"], row["image_high"] = np.quantile(
                draws @ each / len(target), [0.025, 0.975]
            ).tolist()
        rows.append(row)
    return pd.DataFrame(rows)


def summary_text(told: dict[str, Any], table: pd.DataFrame) -> str:
    """The summary for a terminal, in percent, with what it was measured on."""
    asked, counts = told["asked"], told["counts"]
    side = f", input {asked['side']} px" if asked["side"] else ""
    side += f", trained from {asked['since']} on" if asked["since"] else ""
    lines = [
        f"Re-training via core concepts (Eq. 10), L_c {asked['form']}: {told['dataset']['name']}, "
        f"{told['model']['spec']}{side}, knowledge {told['knowledge']}, core concepts from "
        f"{asked['core_on']} images",
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
        star = " *" if row.chosen and row.cc in told["chosen"] else ""
        lines.append(
            f"{NAMES.get(row.cc, row.cc):16} {weight:>5} {100 * row.validation:7.1f} "
            f"{100 * row.test:6.1f} {between(row.low, row.high):>15} {gain:>6} "
            f"{between(row.gain_low, row.gain_high):>15} "
            f"{between(row.image_low, row.image_high):>15}{star}"
        )
    lines += [
        "",
        "* λ with the best validation accuracy. Brackets: 95 % intervals, over seeds by Student's "
        "t, over images by bootstrap; gain: over the control of the same seed.",
    ]
    for kind, file in told["weights"].items():
        lines.append(f"{NAMES.get(kind, kind)}: {file['file']}, {file.get('why') or file['spec']}")
    return "\n".join(lines)


def table_6(told: dict[str, Any]) -> pd.DataFrame:
    """Every SVM of one result of :func:`core.manipulate.svm.retrain_pe`, with the network and the
    most frequent scene: the columns of :func:`core.manipulate.svm.accuracies`, groups in words."""
    frame = pd.DataFrame(accuracies(told))
    frame["groups"] = [" + ".join(groups) if groups else "" for groups in frame["groups"]]
    return frame


def pe_results(root: Path) -> pd.DataFrame:
    """Finished SVMs on metrics under `root`, the newest first: digest, run, dataset, model, layer,
    train, test, core_on, n, time, path."""
    columns = ["digest", "run", "dataset", "model", "layer", "train", "test", "core_on", "n"]
    rows = []
    for path in sorted(root.glob("svm-*.json")):
        told = _read(path)
        rows.append(
            {**{name: told[name] for name in columns}, "time": path.stat().st_mtime, "path": path}
        )
    frame = pd.DataFrame(rows, columns=[*columns, "time", "path"])
    return frame.sort_values(["time", "digest"], ascending=[False, True], ignore_index=True)


def pe_result(path: Path) -> dict[str, Any]:
    """One of :func:`pe_results`, by its path."""
    return _read(path)


def pe_text(told: dict[str, Any], rows: Sequence[dict[str, Any]]) -> str:
    """Accuracies of every SVM for a terminal, in percent."""
    lines = [
        f"Linear SVM on explanation metrics: {told['dataset']}, {told['model']}, {told['layer']}; "
        f"{told['n_train']} training images, {told['n']} test images "
        f"({told['unseen']} of scenes without a training image)",
        f"LC(x) from masks ({told['strategy']}, IoU {told['iou']}): {SOURCES['masks']}; from "
        f"{told['labels']} labels of units: {SOURCES['labels']}",
        f"core concepts from {told['core_on']} images; labels from {', '.join(told['train'])}; "
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
        span = f"{100 * row['accuracy']:.1f} [{100 * row['low']:.1f}, {100 * row['high']:.1f}]"
        cost = "" if row["cost"] is None else f"{row['cost']:g}"
        lines.append(
            f"{row['method']:20} {NAMES.get(row['cc'] or '', ''):4} {row['source'] or '':7} "
            f"{' + '.join(row['groups'] or []):22} {span:>20} "
            f"{gain(row['gain'], row['gain_low'], row['gain_high']):>22} "
            f"{gain(row['hidden_gain'], row['hidden_low'], row['hidden_high']):>22} {cost:>6}"
        )
    lines += ["", "Brackets: 95 % intervals over test images, of accuracies Wilson's, of gains by "
                  "paired bootstrap."]  # fmt: skip
    return "\n".join(lines)


def figure_5(tolds: Sequence[dict[str, Any]]) -> pd.DataFrame:
    """Figure 5's figures, from the summaries of several re-trainings: model, method (original,
    control, SCC, ICC, …), accuracy, low, high, seeds, dataset.

    The interval of the original network is Wilson's over test images; the others' is Student's
    over seeds (absent with one seed). λ of each kind is the one chosen on validation.
    """
    rows = []
    for told in tolds:
        table = summary(told)
        n = told["counts"]["test"]
        for row in table[table["chosen"]].itertuples(index=False):
            low, high = row.low, row.high
            if row.cc == "original":
                low, high = wilson(round(row.test * n), n)
            rows.append(
                {
                    "model": short_name(told["model"]["spec"]),
                    "method": NAMES.get(row.cc, row.cc), "accuracy": row.test, "low": low,
                    "high": high, "seeds": told["asked"]["seeds"],
                    "dataset": told["dataset"]["name"],
                }
            )  # fmt: skip
    return pd.DataFrame(rows)
