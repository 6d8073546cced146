"""Knowledge as a check on trust: does an answer that rests on core concepts deserve more of it?

For the class k that the network answers, and with the margin of k over the mean of all other
classes, so that nothing is known of the true scene,

    share of evidence = Σ_{c ∈ CC(k)} max(e_c, 0) / Σ_c max(e_c, 0)
    share of effect   = the same with Δ(c), what taking c out of the photo costs the margin
    share of area     = the same with the area of c: what the masks say without any network

How well does a low share tell a wrong answer, alone and beside the softmax confidence? Logistic
regressions are fitted on one split and judged on another by the area under the ROC curve, with
percentile bootstrap intervals over photos; what a share adds to the confidence is a difference
over the same resamples.

The shares need the photo's masks, which a network in use does not have; where the share of *area*
does as well, it is the annotator who knows better, not the network's evidence.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from core.ablation.images import class_names
from core.attribution.case import Opened
from core.attribution.evidence import GRADIENT, concept_evidence, evidence
from core.attribution.measured import Measured
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import mean_interval
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.knowledge.core_concepts import CoreConcepts
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import Run, derived

SHARES = ("evidence", "effect", "area")
"""What is shared out among core concepts of the answer and the rest."""

SCORES: dict[str, tuple[str, ...]] = {
    "confidence": ("confidence",),
    **{f"share of {name}": (name,) for name in SHARES},
    **{f"confidence and share of {name}": ("confidence", name) for name in SHARES},
    "confidence and all shares": ("confidence", *SHARES),
}
"""Name of a score → its features."""

DRAWS = 2000
"""Resamples of photos."""

LEAST = 10
"""Right and wrong answers that each split needs."""


@dataclass(frozen=True, eq=False)
class Failure:
    """How well wrong answers are foretold.

    Attributes
    ----------
    core : kind of the core concepts. fitted, judged : splits. n, wrong : photos judged, and of them
        wrong answers.
    shares : one row for each of :data:`SHARES`: share, right, right_low, right_high, wrong,
        wrong_low, wrong_high (means over answers, with intervals), none (photos in which nothing is
        positive; they get the median of the fitted split).
    scores : one row for each of :data:`SCORES`: score, auroc, low, high, gain over the confidence
        alone, gain_low, gain_high (0 and NaN for itself).
    """

    core: str
    fitted: str
    judged: str
    n: int
    wrong: int
    shares: pd.DataFrame
    scores: pd.DataFrame

    def sentence(self) -> str:
        """What came out, in words."""
        row = self.scores.set_index("score")
        alone, both = row.loc["share of evidence"], row.loc["confidence and share of evidence"]
        line, masks = row.loc["confidence"], row.loc["share of area"]
        verdict = (
            "adds to the confidence"
            if both["gain_low"] > 0
            else "takes from the confidence"
            if both["gain_high"] < 0
            else "adds nothing to the confidence that could not be luck"
        )
        return (
            f"The share of evidence on core concepts of the answer tells wrong answers with an "
            f"AUROC of {alone['auroc']:.2f} [{alone['low']:.2f}, {alone['high']:.2f}]; the softmax "
            f"confidence with {line['auroc']:.2f} [{line['low']:.2f}, {line['high']:.2f}]. Added "
            f"to it, the share {verdict}: {both['gain']:+.3f} "
            f"[{both['gain_low']:+.3f}, {both['gain_high']:+.3f}]. The share of area, which needs "
            f"the masks alone and no network, reaches {masks['auroc']:.2f} [{masks['low']:.2f}, "
            f"{masks['high']:.2f}]."
        )


def answer_evidence(
    opened: Opened,
    measured: Measured,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> np.ndarray:
    """Evidence of every measured row for the answer over the mean of all other classes.

    ``measured.evidence`` holds a wrong answer against its true scene, which whoever predicts a
    mistake does not know. By the linear head where there is one, else gradient × activation.
    Kept beside the run. float64 (rows,). Raises Stopped where `stop` says so.
    """
    kept = read_answer_evidence(opened.run, measured)
    if kept is not None:
        return kept
    kind = None if opened.head is not None else GRADIENT
    found = np.zeros(len(measured.rows))
    photo = measured.rows["photo"].to_numpy()
    photos = np.unique(photo)
    meter = Meter(progress, beat)
    meter.start("evidence", len(photos))
    for at in photos:
        if stop():
            raise Stopped(f"{meter.done} of {len(photos)} photos have evidence; {STOPPED}")
        case = opened.case(int(measured.images["image"].iloc[at]))
        found[photo == at] = concept_evidence(case, evidence(case, case.predicted, None, kind))
        meter.step()
    write_arrays(_place(opened.run, measured), evidence=found)
    return found


def read_answer_evidence(run: Run, measured: Measured) -> np.ndarray | None:
    """What :func:`answer_evidence` has kept; None where it has not."""
    held = read_arrays(_place(run, measured)) or {}
    found = held.get("evidence")
    fits = found is not None and found.shape == (len(measured.rows),) and found.dtype == np.float64
    return found if fits else None


def _place(run: Run, measured: Measured) -> Path:
    layer = run.layer_names[run.layer(measured.asked.layer)]
    facts = [layer, measured.images["image"].tolist(), versions_of("effects")]
    return derived(run, "answer-evidence", facts, "npz")


def features(
    measured: Measured, credit: np.ndarray, core: CoreConcepts, names: Sequence[str]
) -> pd.DataFrame:
    """One row for each image with a scene that the network knows: wrong (bool), confidence (log
    odds of the softmax's largest), and the shares, NaN where nothing is positive.

    credit : of :func:`answer_evidence`. names : of the network's classes.
    """
    images, rows = measured.images, measured.rows
    predicted = images["predicted"].to_numpy(np.int64)
    photo, concept = rows["photo"].to_numpy(), rows["concept"].to_numpy()
    known = {int(k): str(part["scene"].iloc[0]) for k, part in images.groupby("target") if k >= 0}
    place = {name: k for k, name in enumerate(core.scenes)}
    at = np.array([place.get(known.get(int(k), names[k]), -1) for k in predicted])[photo]
    inside = (at >= 0) & (concept <= core.members.shape[1])
    column = np.minimum(concept, core.members.shape[1]) - 1
    own = inside & core.members[np.maximum(at, 0), column]
    logits = measured.before.astype(np.float64)
    ordered = logits - logits.max(1, keepdims=True)
    rest = np.exp(ordered).sum(1) - 1.0
    found = {
        "wrong": (images["predicted"] != images["target"]).to_numpy(),
        "confidence": -np.log(np.maximum(rest, 1e-300)),
    }
    parts = {
        "evidence": credit,
        "effect": measured.effect(predicted),
        "area": rows["area"].to_numpy(),
    }
    for name, values in parts.items():
        positive = np.maximum(np.nan_to_num(values), 0.0)
        whole = np.bincount(photo, positive, len(images))
        core_part = np.bincount(photo, positive * own, len(images))
        found[name] = np.where(whole > 0, core_part / np.where(whole > 0, whole, 1.0), np.nan)
    return pd.DataFrame(found)[(images["target"] >= 0).to_numpy()].reset_index(drop=True)


def auroc(scores: np.ndarray, wrong: np.ndarray) -> float:
    """Chance that a wrong answer's score lies above a right one's, ties counting half.

    >>> auroc(np.array([0.1, 0.4, 0.4, 0.8]), np.array([False, False, True, True]))
    0.875
    """
    bad = int(wrong.sum())
    above = rankdata(scores)[wrong].sum() - bad * (bad + 1) / 2
    return float(above / (bad * (len(wrong) - bad)))


def predict_failure(
    fit: pd.DataFrame,
    judge: pd.DataFrame,
    core: str,
    splits: tuple[str, str],
    draws: int = DRAWS,
    seed: int = 0,
) -> Failure:
    """Fit each of :data:`SCORES` on one split, judge it on another.

    fit, judge : of :func:`features`. core : kind of core concepts. splits : names of both.

    Raises UnitscopeError where a split has fewer than :data:`LEAST` right or wrong answers.
    """
    for name, frame in zip(splits, (fit, judge), strict=True):
        bad = int(frame["wrong"].sum())
        if min(bad, len(frame) - bad) < LEAST:
            raise UnitscopeError(
                f"split {name} has {bad} wrong and {len(frame) - bad} right answers; telling them "
                f"apart takes {LEAST} of each"
            )
    wrong = judge["wrong"].to_numpy(bool)
    fitted = {name: _fitted(fit, judge, list(columns)) for name, columns in SCORES.items()}
    rng = np.random.default_rng(seed)
    drawn: dict[str, list[float]] = {name: [] for name in fitted}
    for _ in range(draws):
        some = rng.integers(len(wrong), size=len(wrong))
        if wrong[some].all() or not wrong[some].any():
            continue
        for name, values in fitted.items():
            drawn[name].append(auroc(values[some], wrong[some]))
    rows, base = [], np.array(drawn["confidence"])
    for name, values in fitted.items():
        own = np.array(drawn[name])
        low, high = np.quantile(own, [0.025, 0.975])
        ends = np.quantile(own - base, [0.025, 0.975])
        if name == "confidence":
            ends = np.full(2, np.nan)
        value = auroc(values, wrong)
        rows.append(
            {
                "score": name,
                "auroc": value,
                "low": low,
                "high": high,
                "gain": value - auroc(fitted["confidence"], wrong),
                "gain_low": ends[0],
                "gain_high": ends[1],
            }
        )
    shares = pd.DataFrame([_share(judge, name) for name in SHARES])
    return Failure(core, *splits, len(wrong), int(wrong.sum()), shares, pd.DataFrame(rows))


def of_splits(run: Run, pair: Sequence[Measured], core: CoreConcepts) -> Failure | None:
    """:func:`predict_failure` of two measured splits of a run, the fitted one first; None where
    :func:`answer_evidence` was not asked of both. Raises UnitscopeError as that does."""
    names, frames = class_names(run), []
    for measured in pair:
        credit = read_answer_evidence(run, measured)
        if credit is None:
            return None
        frames.append(features(measured, credit, core, names))
    splits = [", ".join(measured.asked.splits or ("all images",)) for measured in pair]
    return predict_failure(frames[0], frames[1], core.kind, (splits[0], splits[1]))


def _share(frame: pd.DataFrame, name: str) -> dict[str, object]:
    row: dict[str, object] = {"share": name}
    for word, chosen in (("right", ~frame["wrong"]), ("wrong", frame["wrong"])):
        values = frame.loc[chosen, name].dropna().to_numpy()
        low, high = mean_interval(values)
        mean = float(values.mean()) if len(values) else float("nan")
        row |= {word: mean, f"{word}_low": float(low), f"{word}_high": float(high)}
    return row | {"none": int(frame[name].isna().sum())}


def _fitted(fit: pd.DataFrame, judge: pd.DataFrame, columns: list[str]) -> np.ndarray:
    """Log odds of a wrong answer on the judged split, by a regression on the fitted one."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    usual = fit[columns].median().fillna(0.0)
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    model.fit(fit[columns].fillna(usual).to_numpy(), fit["wrong"].to_numpy(bool))
    return np.asarray(model.decision_function(judge[columns].fillna(usual).to_numpy()))
