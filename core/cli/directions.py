"""The verbs of concepts as directions in a layer's space: conceptshap, tcav, ace."""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict

from core.cli.common import (
    COUNT,
    SEED,
    Answer,
    Verb,
    add_run,
    open_given,
    say,
    show_progress,
    stoppable,
)
from core.foundation.errors import without_effect
from core.foundation.escape import csv_frame
from core.foundation.files import write_text
from core.foundation.names import plain_name
from core.foundation.plain import Json
from core.foundation.settings import CACHE

if TYPE_CHECKING:
    import pandas as pd

    from core.directions.ace import Ace
    from core.directions.cav import Tcav
    from core.directions.conceptshap import ConceptShap
    from core.directions.findings import Finding


def add(verb: Verb) -> None:
    """conceptshap, tcav, ace."""
    first = verb(
        "conceptshap", _conceptshap, "Concept vectors, how complete they are, each one's share."
    )
    _add(first)
    first.add_argument("--concepts", type=COUNT, default=8, help="vectors that are learned")
    first.add_argument("--scene", help="by importance for this scene")
    first.add_argument(
        "--exact", type=COUNT, default=10, help="up to so many vectors every subset is tried"
    )
    first.add_argument(
        "--samples", type=COUNT, metavar="N", help="subsets of more vectors (KernelSHAP; 100)"
    )
    first.add_argument("--category", action="append", help="name vectors by this category alone")
    second = verb(
        "tcav", _tcav, "Does a class rest on a concept? By concept activation vectors, tested."
    )
    _add(second)
    second.add_argument("--concept", required=True, help="an annotated concept")
    second.add_argument(
        "--scene", action="append", default=[], help="repeatable; all that are judged if left out"
    )
    second.add_argument(
        "--by", default="photos", help="examples are photos, or regions cut out of them"
    )
    second.add_argument("--runs", type=COUNT, default=20, help="random counterparts")
    second.add_argument("--randoms", type=COUNT, default=400, help="random concepts, as control")
    _add_of(second)
    third = verb("ace", _ace, "Concepts of a scene found without masks: segments that go together.")
    _add(third)
    third.add_argument("--scene", required=True)
    third.add_argument("--images", type=COUNT, default=40, help="photos that are cut, at most")
    third.add_argument("--clusters", type=COUNT, default=25, help="of segments")
    third.add_argument(
        "--members", type=COUNT, default=40, help="a concept has more segments than this"
    )
    third.add_argument("--runs", type=COUNT, default=20, help="random sets of photos")
    third.add_argument("--category", action="append", help="name concepts by this category alone")
    _add_of(third)


def _add(sub: argparse.ArgumentParser) -> None:
    add_run(sub)
    sub.add_argument("--layer", metavar="NAME", help="the run's last layer if left out")
    sub.add_argument(
        "--learn-on", action="append", metavar="SPLIT", help="train if left out; may be repeated"
    )
    sub.add_argument(
        "--split", action="append", metavar="SPLIT", help="judged by; test or val if left out"
    )
    sub.add_argument("--seed", type=SEED, default=0)
    sub.add_argument("--csv", type=Path, metavar="FILE", help="write the table there")
    sub.add_argument("--beat", type=Path, metavar="FILE", help="how far it is, for the app")
    sub.add_argument("--out", type=Path, default=CACHE, metavar="DIR", help="folder of the runs")


def _add_of(sub: argparse.ArgumentParser) -> None:
    sub.add_argument(
        "--of",
        default="logit",
        help="what is differentiated: the class's logit (the paper), or its probability (the code)",
    )


class _Splits(TypedDict):
    learn: tuple[str, ...]
    judge: tuple[str, ...]


def _splits(given: argparse.Namespace) -> _Splits:
    return {"learn": tuple(given.learn_on or ()), "judge": tuple(given.split or ())}


def _write(given: argparse.Namespace, frame: pd.DataFrame) -> None:
    if given.csv is not None:
        write_text(given.csv, csv_frame(frame))
        say(f"wrote {given.csv}")


def _photos(splits: tuple[tuple[str, ...], tuple[str, ...]]) -> str:
    learned, judged = (", ".join(part) for part in splits)
    return f"learned on {learned}, judged by {judged}"


# -- conceptshap ------------------------------------------------------------------------------


def _conceptshap(given: argparse.Namespace) -> Answer:
    from core.attribution.case import Opened
    from core.directions.conceptshap import SAMPLES, Asked, concept_shap
    from core.directions.vectors import Learning

    if given.samples is not None and given.concepts <= given.exact:
        without_effect(
            f"--samples is of more than {given.exact} vectors (--exact); of {given.concepts} every "
            "subset is tried"
        )
    run = open_given(given)
    asked = Asked(
        given.layer,
        Learning(given.concepts, seed=given.seed),
        categories=tuple(given.category or ()),
        samples=given.samples or SAMPLES,
        exact=given.exact,
        **_splits(given),
    )
    with stoppable() as stop:
        found = concept_shap(Opened.of(run, given.layer), asked, show_progress, stop, given.beat)
    frame = found.frame(given.scene)
    _write(given, frame)
    _finding_of_conceptshap(found, frame, given.scene).keep(run)
    return _facts(found, frame, given.scene), _conceptshap_text(found, frame, given.scene)


def _finding_of_conceptshap(found: ConceptShap, frame: pd.DataFrame, scene: str | None) -> Finding:
    from core.directions.findings import Finding

    vectors, (low, high) = found.vectors, found.interval
    control = ", ".join(f"{found.completeness(one):.2f}" for one in found.control)
    about = f"{len(vectors)} vectors{f', for {plain_name(scene)}' if scene else ''}"
    notes = (
        f"Concept vectors {_photos(vectors.splits)} ({len(found.photos)} photos).",
        f"Completeness {found.all:.2f} [{low:.2f}, {high:.2f}]; of as many random places as "
        f"vectors {control}.",
        "A name is that of the annotated concept with the highest IoU; chance: how often exchanged "
        "masks give as high a one.",
    )
    return Finding("conceptshap", vectors.surrogate.layer.name, about, notes, frame)


def _facts(found: ConceptShap, frame: pd.DataFrame, scene: str | None) -> Json:
    low, high = found.interval
    vectors = found.vectors
    return {
        "run": vectors.run.digest,
        "layer": vectors.surrogate.layer.name,
        "learned_on": list(vectors.splits[0]),
        "judged_by": list(vectors.splits[1]),
        "photos": len(found.photos),
        "accuracy": float(found.network.mean()),
        "accuracy_by_concepts": float(found.right[-1].mean()),
        "same_answer": float(found.same.mean()),
        "completeness": {"value": found.all, "low": low, "high": high},
        "completeness_of_none": found.none,
        "completeness_of_random_places": [found.completeness(one) for one in found.control],
        "exact": found.exact,
        "subsets": len(found.subsets),
        "scene": scene,
        "vectors": frame.to_dict("records"),
    }


def _conceptshap_text(found: ConceptShap, frame: pd.DataFrame, scene: str | None) -> str:
    from core.directions.naming import ROUNDS

    vectors, (low, high) = found.vectors, found.interval
    run, layer = vectors.run, vectors.surrogate.layer
    control = ", ".join(f"{found.completeness(one):.2f}" for one in found.control)
    how = "every subset" if found.exact else f"{len(found.subsets)} sampled subsets (KernelSHAP)"
    lines = [
        f"{run.dataset}, {run.settings.model.spec}, {layer.name}: {len(vectors)} concept vectors, "
        f"{_photos(vectors.splits)}",
        f"completeness {found.all:.3f} [{low:.3f}, {high:.3f}]; without any concept "
        f"{found.none:.3f}; as many random places as vectors {control}",
        f"right on {100 * found.right[-1].mean():.1f} % of {len(found.photos)} photos by concepts "
        f"alone, the network on {100 * found.network.mean():.1f} %; the same answer on "
        f"{100 * found.same.mean():.1f} %",
        f"Shapley values of completeness{f' for {scene}' if scene else ''}, by {how}; names by IoU "
        f"over the learning photos, held: over the judging photos, chance: of {ROUNDS} exchanges "
        "of masks",
        "",
        f"{'vector':>6}  {'name':20} {'Shapley':>8} {'interval':>18}  {'IoU':>6} {'held':>6} "
        f"{'chance':>6} {'leads':>6}",
    ]
    for row in frame.itertuples(index=False):
        span = f"[{row.low:.3f}, {row.high:.3f}]"
        lines.append(
            f"{row.vector:6}  {row.name or '–':20} {row.shapley:8.3f} {span:>18}  {row.iou:6.3f} "
            f"{row.held:6.3f} {row.chance:6.2f} {row.leads:6.2f}"
        )
    return "\n".join(lines)


# -- tcav -------------------------------------------------------------------------------------


def _tcav(given: argparse.Namespace) -> Answer:
    from core.attribution.case import Opened
    from core.directions.cav import Asked, tcav

    run = open_given(given)
    asked = Asked(given.by, given.of, given.runs, given.randoms, seed=given.seed, **_splits(given))
    with stoppable() as stop:
        opened = Opened.of(run, given.layer)
        found = tcav(opened, given.concept, given.scene, asked, show_progress, stop, given.beat)
    frame = found.frame()
    _write(given, frame)
    _finding_of_tcav(found, frame).keep(run)
    facts = {
        "run": run.digest,
        **{key: value for key, value in asdict(found).items() if key != "scores"},
        "scores": frame.to_dict("records"),
    }
    return facts, _tcav_text(found, frame)


CONSTANT = (
    "One linear layer reads the means of this layer's maps, so the derivative of a logit is the "
    "same for every photo and each CAV scores 0 or 1: the score is the share of CAVs that point "
    "toward the class. --of probability depends on the photo, and so do inner layers."
)


def _tcav_text(found: Tcav, frame: pd.DataFrame) -> str:
    from core.directions.cav import HYPOTHESES, LEVEL

    tests = max(HYPOTHESES, len(frame))
    mean, low, high = found.accuracy
    lines = [
        f"{found.concept} in {found.layer}, {_photos(found.splits)}; {found.examples} "
        f"{found.asked.by} against as many, {found.asked.runs} times",
        f"accuracy of the CAVs on examples held out {100 * mean:.1f} % [{100 * low:.1f}, "
        f"{100 * high:.1f}], of random photos {100 * found.random_accuracy:.1f} %",
    ]
    if found.auc[0] == found.auc[0]:
        area, least, most = found.auc
        lines.append(
            f"judged photos that show it rank above others with AUROC {area:.3f} [{least:.3f}, "
            f"{most:.3f}]"
        )
    lines += [
        "",
        f"{'scene':24} {'photos':>6} {'TCAV':>6} {'interval':>14}  {'p (1/2)':>8} "
        f"{'p (random)':>10} {'p (null)':>8}",
    ]
    for row in frame.itertuples(index=False):
        span = f"[{row.low:.2f}, {row.high:.2f}]"
        mark = ("*" if row.significant else " ") + ("!" if row.beyond else "")
        lines.append(
            f"{row.scene:24} {row.photos:6} {row.score:6.2f} {span:>14}  {row.p_half:8.2g} "
            f"{row.p_random:10.2g} {row.p_null:8.3f} {mark}"
        )
    shares = {name: f"{100 * share:.0f} %" for name, share in found.passed.items()}
    lines += [
        "",
        f"* p against 1/2 below {LEVEL:g} / {tests} (the published test); ! so is p in the null of "
        f"{found.asked.randoms} random concepts. Of these random concepts {shares['p_half']} pass "
        f"the published test, {shares['p_random']} that against random scores.",
    ]
    return "\n".join([*lines, *([CONSTANT] if found.constant else [])])


# -- ace --------------------------------------------------------------------------------------


def _finding_of_tcav(found: Tcav, frame: pd.DataFrame) -> Finding:
    from core.directions.findings import Finding

    value, low, high = found.accuracy
    notes = [
        f"CAVs {_photos(found.splits)}, of {found.examples} {found.asked.by}; right on "
        f"{100 * value:.0f} % [{100 * low:.0f}, {100 * high:.0f}] of the examples held out, those "
        f"of random concepts on {100 * found.random_accuracy:.0f} %.",
        f"{100 * found.passed['p_half']:.0f} % of {found.asked.randoms} random concepts pass the "
        "published test; p (null): how often a random concept is as far from 1/2.",
    ]
    notes += [CONSTANT] if found.constant else []
    about = f"{plain_name(found.concept)}, by {found.asked.by}, {found.asked.of}"
    return Finding("tcav", found.layer, about, tuple(notes), frame)


def _finding_of_ace(found: Ace, frame: pd.DataFrame) -> Finding:
    from core.directions.findings import Finding

    notes = [
        f"Segments of {found.images} photos, {_photos(found.splits)} ({found.judged} photos).",
        f"Random sets of segments of the same photos score {found.random_score:.2f}, and "
        f"{100 * found.random_passed:.0f} % of them pass the published test; p (null): how often "
        "one scores as high.",
    ]
    notes += [CONSTANT] if found.constant else []
    return Finding("ace", found.layer, plain_name(found.scene), tuple(notes), frame)


def _ace(given: argparse.Namespace) -> Answer:
    from core.attribution.case import Opened
    from core.directions.ace import Asked, ace

    run = open_given(given)
    asked = Asked(
        given.images,
        given.clusters,
        given.members,
        given.runs,
        given.of,
        tuple(given.category or ()),
        seed=given.seed,
        **_splits(given),
    )
    with stoppable() as stop:
        opened = Opened.of(run, given.layer)
        found = ace(opened, given.scene, asked, show_progress, stop, given.beat)
    frame = found.frame()
    _write(given, frame)
    _finding_of_ace(found, frame).keep(run)
    return {"run": run.digest, **found.to_json()}, _ace_text(found, frame)


def _ace_text(found: Ace, frame: pd.DataFrame) -> str:
    from core.directions.ace import LEVEL, RANDOMS

    lines = [
        f"{found.scene} in {found.layer}, {_photos(found.splits)}: {found.segments} segments of "
        f"{found.images} photos in {found.asked.clusters} clusters, {found.too_rare} of them in "
        f"too few photos; TCAV on {found.judged} photos",
        f"random sets of segments of the same photos: TCAV {found.random_score:.2f} on average, "
        f"{100 * found.random_passed:.0f} % of {RANDOMS} pass the published test",
        "",
        f"{'':>2}  {'name':20} {'TCAV':>6} {'interval':>14}  {'p':>8} {'p (null)':>8} "
        f"{'accuracy':>8} {'IoU':>6} {'purity':>6} {'segments':>8} {'photos':>6}",
    ]
    for row in frame.itertuples(index=False):
        span = f"[{row.low:.2f}, {row.high:.2f}]"
        lines.append(
            f"{row.number:2}  {row.name or '–':20} {row.score:6.2f} {span:>14}  {row.p:8.2g} "
            f"{row.p_null:8.3f} {row.accuracy:8.2f} {row.iou:6.3f} {row.purity:6.2f} "
            f"{row.segments:8} {row.photos:6} {'*' if row.kept else ''}"
        )
    lines += [
        "",
        f"* p of the published test is at most {LEVEL:g}; p (null): how often a random set of "
        "segments of the same photos scores as high.",
    ]
    return "\n".join([*lines, *([CONSTANT] if found.constant else [])])
