"""Every wrong answer of a split, sorted by what was measured, and the slices that go wrong most.

A photo of scene y that is answered k is, by the first rule of :class:`Kind` that holds,

``wrong label suspected``  classifiers that never saw the photo, on the network's features and on
                what is annotated, both say one other scene (:mod:`core.attribution.labels`)
``misled``      there is a concept without which the answer is y, while without a region of its
                shape elsewhere it is not, and it is used for k over y
``ambiguous``   a core concept of k is used for k and a core concept of y is used for y
``missed``      core concepts of y are in the photo, and none is used for y
``unexplained`` none of these

A concept is *used* for a over b where its effect on z_a − z_b, minus its control's, is at least
:data:`USED` of the network's lead: the median margin by which right answers win over their
runner-up. The label comes first, as all other rules take it for granted.

The rules are not symmetric about chance, so two figures stand beside the counts: how often the
*control* mends a wrong answer where the concept does not (`placebo`), and how many labels are
suspected that are known to be right (:func:`core.attribution.labels.flips`).

Domino (Eyuboglu et al. 2022) and FiftyOne's mistakenness group and rank errors by embeddings and
confidence; here a group is a concept, and whether it matters is measured.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import pandas as pd

from core.ablation.images import class_names
from core.attribution.chance import common_odds, false_discoveries
from core.attribution.labels import FlipCheck, Suspicion, flips, suspect, together
from core.attribution.measured import Measured
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import interval
from core.knowledge.core_concepts import CoreConcepts
from core.runs.run_file import Run

USED = 0.1
"""Share of the network's lead that a concept's effect must reach to count as used."""

LEAST = 5
"""Photos with, and photos without, that a slice needs."""


class Kind(StrEnum):
    """Kinds of mistakes, in the order in which they are looked for."""

    LABEL = "wrong label suspected"
    MISLED = "misled"
    AMBIGUOUS = "ambiguous"
    MISSED = "missed"
    UNEXPLAINED = "unexplained"


@dataclass(frozen=True, eq=False)
class Mistakes:
    """Wrong answers, sorted.

    Attributes
    ----------
    core : kind of the core concepts. photos : that have a scene the network knows.
    lead : logits, median margin of right answers over their runner-up.
    errors : one row for each wrong answer: image (number), id, scene, answer (class), margin (of
        the answer over the true scene), kind, concepts (tuple of names that it rests on, the
        strongest first; of a suspected label none), why (in words).
    counts : one row for each kind: kind, errors, share (of the errors), low, high (Wilson).
    placebo : errors that a control mends while its concept does not, by the same rule with both
        exchanged: what luck mends.
    mended : errors that a concept mends while its control does not: *misled*, had no label been
        suspected before.
    slices : see :func:`slices_of`. pairs : see :func:`pairs_of`.
    """

    core: str
    photos: int
    lead: float
    errors: pd.DataFrame
    counts: pd.DataFrame
    placebo: int
    mended: int
    slices: pd.DataFrame
    pairs: pd.DataFrame


def sort_mistakes(
    measured: Measured,
    core: CoreConcepts,
    names: Sequence[str],
    labels: Suspicion | None = None,
    used: float = USED,
    least: int = LEAST,
) -> Mistakes:
    """Sort the wrong answers of the measured photos; see the module.

    Parameters
    ----------
    core : of the run's scenes, of any kind; column k is concept id k + 1.
    names : of the network's classes. labels : suspicion for each row of ``measured.images``; None
        leaves that rule out. used : share of the lead. least : photos of a slice.

    Raises UnitscopeError where no answer is right: there is no lead to measure by then.
    """
    work = _Work.of(measured, core, names, used)
    rows = []
    for at in np.flatnonzero(work.wrong):
        suspected = labels is not None and bool(labels.suspected[at])
        better = "" if labels is None else labels.scene(int(at))
        kind, found, why = work.sort(int(at), suspected, better)
        image = measured.images.iloc[at]
        margin = measured.before[at, image["predicted"]] - measured.before[at, image["target"]]
        rows.append(
            {
                "image": int(image["image"]),
                "id": str(image["id"]),
                "scene": str(image["scene"]),
                "answer": names[image["predicted"]],
                "margin": float(margin),
                "kind": kind,
                "concepts": found,
                "why": why,
            }
        )
    columns = ["image", "id", "scene", "answer", "margin", "kind", "concepts", "why"]
    errors = pd.DataFrame(rows, columns=columns)
    photo = measured.rows["photo"].to_numpy()
    return Mistakes(
        core.kind,
        int(work.known.sum()),
        work.lead,
        errors,
        _counts(errors),
        len(np.unique(photo[work.placebo])),
        len(np.unique(photo[work.mends])),
        slices_of(measured, least),
        pairs_of(errors, measured, least),
    )


def sort_split(
    run: Run, measured: Measured, core: CoreConcepts, used: float = USED, least: int = LEAST
) -> Mistakes:
    """:func:`sort_mistakes` with labels suspected by the run's pooled features and by what is
    annotated; without that rule where fewer than two scenes have photos enough."""
    names = class_names(run)
    given = measured.images["target"].to_numpy(np.int64)
    try:
        labels = together(
            [
                suspect(values, given, names, measured.asked.seed)
                for values in sources_of(run, measured).values()
            ]
        )
    except UnitscopeError:
        labels = None
    return sort_mistakes(measured, core, names, labels, used, least)


def flips_of_split(run: Run, measured: Measured) -> list[FlipCheck]:
    """:func:`core.attribution.labels.flips` of the same photos. Raises UnitscopeError as that."""
    given = measured.images["target"].to_numpy(np.int64)
    seed = measured.asked.seed
    return flips(sources_of(run, measured), given, class_names(run), seed=seed)


def sources_of(run: Run, measured: Measured) -> dict[str, np.ndarray]:
    """What labels are checked by: ``features`` float64 (images, units), the run's pooled maps, and
    ``annotations`` float64 (images, concepts), 1 where a concept is in the photo."""
    layer = run.layer_names[run.layer(measured.asked.layer)]
    pooled = run.array(f"pooled-{layer}")[measured.images["image"].to_numpy()]
    names, column = np.unique(measured.rows["concept"], return_inverse=True)
    shown = np.zeros((len(measured.images), len(names)))
    shown[measured.rows["photo"].to_numpy(), column] = 1.0
    return {"features": np.asarray(pooled, np.float64), "annotations": shown}


def _counts(errors: pd.DataFrame) -> pd.DataFrame:
    rows = []
    for kind in Kind:
        count = int((errors["kind"] == kind).sum())
        low, high = interval(count, len(errors))
        share = count / len(errors) if len(errors) else float("nan")
        rows.append({"kind": kind, "errors": count, "share": share, "low": low, "high": high})
    return pd.DataFrame(rows)


@dataclass(frozen=True, eq=False)
class _Work:
    """Per row of the measured concepts: what the rules ask.

    known, wrong : bool (images,). toward : float64 (rows,), effect minus control on the answer over
    the true scene. mends, placebo : bool (rows,). of_answer, of_true : bool (rows,), core to them.
    """

    measured: Measured
    lead: float
    used: float
    known: np.ndarray
    wrong: np.ndarray
    toward: np.ndarray
    mends: np.ndarray
    placebo: np.ndarray
    of_answer: np.ndarray
    of_true: np.ndarray

    @classmethod
    def of(cls, measured: Measured, core: CoreConcepts, names: Sequence[str], used: float) -> _Work:
        images = measured.images
        predicted = images["predicted"].to_numpy(np.int64)
        target = images["target"].to_numpy(np.int64)
        known = target >= 0
        wrong = known & (predicted != target)
        ordered = np.sort(measured.before.astype(np.float64), 1)
        right = known & ~wrong
        if not right.any() or ordered.shape[1] < 2:
            raise UnitscopeError("no answer of these photos is right: nothing tells a wide lead")
        lead = float(np.median((ordered[:, -1] - ordered[:, -2])[right]))
        photo = measured.rows["photo"].to_numpy()
        true = np.maximum(target, 0)
        toward = measured.effect(predicted, true) - measured.control_effect(predicted, true)
        fine = ~np.isnan(measured.control).any(1)
        without = measured.after.mean(1, dtype=np.float64).argmax(1) == target[photo]
        elsewhere = np.where(fine, measured.control.argmax(1), -1) == target[photo]
        asked = wrong[photo] & fine
        scenes = {k: str(s) for k, s in zip(target[known], images["scene"][known], strict=True)}
        concept = measured.rows["concept"].to_numpy()
        return cls(
            measured,
            lead,
            used,
            known,
            wrong,
            np.nan_to_num(toward),
            asked & without & ~elsewhere & (toward >= used * lead),
            asked & elsewhere & ~without & (toward <= -used * lead),
            _core_to(core, [scenes.get(int(k), names[k]) for k in predicted[photo]], concept),
            _core_to(core, [scenes.get(int(k), "") for k in target[photo]], concept),
        )

    def sort(self, at: int, suspected: bool, better: str) -> tuple[Kind, tuple[str, ...], str]:
        """Kind of one wrong answer, the concepts that it rests on, and why, in words."""
        here = np.flatnonzero(self.measured.rows["photo"].to_numpy() == at)
        if suspected:
            return Kind.LABEL, (), f"classifiers that never saw it say {better}"
        if not len(here):
            return Kind.UNEXPLAINED, (), "nothing is annotated in it"
        strong = self.used * self.lead
        for_true = here[self.of_true[here]]
        uses_true = for_true[self.toward[for_true] <= -strong]
        uses_answer = here[self.of_answer[here] & (self.toward[here] >= strong)]
        if len(mends := here[self.mends[here]]):
            return Kind.MISLED, self._names(mends, 1), "without it the answer is right"
        if len(uses_true) and len(uses_answer):
            both = self._names(uses_answer, 1) + self._names(uses_true, -1)
            return Kind.AMBIGUOUS, both, "core concepts of both scenes are used"
        if len(for_true) and not len(uses_true):
            names = self._names(for_true, -1)
            return Kind.MISSED, names, "core concepts of the true scene are there and unused"
        if not len(for_true):
            return Kind.UNEXPLAINED, (), "no core concept of the true scene is in the photo"
        return Kind.UNEXPLAINED, (), "no core concept of the answer speaks for it"

    def _names(self, rows: np.ndarray, sign: int) -> tuple[str, ...]:
        order = rows[np.argsort(-sign * self.toward[rows], kind="stable")]
        return tuple(dict.fromkeys(str(n) for n in self.measured.rows["name"].iloc[order]))


def _core_to(core: CoreConcepts, scenes: Sequence[str], concept: np.ndarray) -> np.ndarray:
    """bool (rows,): is each row's concept core to the scene beside it?"""
    place = {name: k for k, name in enumerate(core.scenes)}
    at = np.array([place.get(scene, -1) for scene in scenes], np.int64)
    inside = (at >= 0) & (concept <= core.members.shape[1])
    column = np.minimum(concept, core.members.shape[1]) - 1
    return np.asarray(inside & core.members[np.maximum(at, 0), column])


# -- slices ---------------------------------------------------------------------------------


def slices_of(measured: Measured, least: int = LEAST) -> pd.DataFrame:
    """Error rates of photos with a concept against those without, within the same true scene.

    One row for each concept in each scene, and for each concept over all scenes (scene ""), where
    at least `least` photos have it and as many have it not: scene, name, category, photos (with
    it), wrong, rate, low, high (Wilson), rest (photos without), rest_wrong, expected (error rate
    of the photos with it, were wrong answers spread by chance within each scene), p
    (:func:`core.attribution.chance.common_odds`), q (Benjamini–Hochberg over all rows). Those with
    the lowest q come first.
    """
    images, rows = measured.images, measured.rows
    target = images["target"].to_numpy(np.int64)
    wrong = (images["predicted"] != images["target"]).to_numpy()
    scenes = {int(k): str(part["scene"].iloc[0]) for k, part in images.groupby("target") if k >= 0}
    has = {
        (str(name), str(category)): np.isin(np.arange(len(images)), part["photo"])
        for (name, category), part in rows.groupby(["name", "category"])
    }
    found = []
    for (name, category), with_it in has.items():
        strata = {}
        for k, scene in scenes.items():
            own = target == k
            a, b = own & with_it, own & ~with_it
            table = (
                int((a & wrong).sum()),
                int((a & ~wrong).sum()),
                int((b & wrong).sum()),
                int((b & ~wrong).sum()),
            )
            strata[scene] = table
        chosen = [(scene, [table]) for scene, table in strata.items()]
        # Over all scenes: those alone in which there are photos of both.
        mixed = [t for t in strata.values() if t[0] + t[1] and t[2] + t[3]]
        if len(mixed) > 1:
            chosen.append(("", mixed))
        for scene, tables in chosen:
            photos, rest = sum(t[0] + t[1] for t in tables), sum(t[2] + t[3] for t in tables)
            if min(photos, rest) >= least:
                found.append({"scene": scene, "name": name, "category": category} | _slice(tables))
    columns = ["scene", "name", "category", "photos", "wrong", "rate", "low", "high"]
    columns += ["rest", "rest_wrong", "expected", "p"]
    frame = pd.DataFrame(found, columns=columns)
    frame["q"] = false_discoveries(frame["p"].to_numpy(np.float64))
    return frame.sort_values(["q", "p", "scene", "name"], ignore_index=True)


def _slice(tables: Sequence[tuple[int, int, int, int]]) -> dict[str, float]:
    photos, wrong = sum(t[0] + t[1] for t in tables), sum(t[0] for t in tables)
    low, high = interval(wrong, photos)
    expected = sum((t[0] + t[1]) * (t[0] + t[2]) / sum(t) for t in tables)
    return {
        "photos": photos,
        "wrong": wrong,
        "rate": wrong / photos,
        "low": low,
        "high": high,
        "rest": sum(t[2] + t[3] for t in tables),
        "rest_wrong": sum(t[2] for t in tables),
        "expected": expected / photos,
        "p": common_odds(tables),
    }


def pairs_of(errors: pd.DataFrame, measured: Measured, least: int = LEAST) -> pd.DataFrame:
    """Pairs of scenes that at least `least` wrong answers share, the most first: scene, answer,
    errors, photos (of the scene), share (errors / photos), low, high (Wilson), and of its errors
    the number of each :class:`Kind`."""
    of_scene = measured.images["scene"].value_counts()
    rows = []
    for (scene, answer), part in errors.groupby(["scene", "answer"]):
        if len(part) < least:
            continue
        photos = int(of_scene[scene])
        low, high = interval(len(part), photos)
        rows.append(
            {
                "scene": scene,
                "answer": answer,
                "errors": len(part),
                "photos": photos,
                "share": len(part) / photos,
                "low": low,
                "high": high,
                **{kind.value: int((part["kind"] == kind).sum()) for kind in Kind},
            }
        )
    columns = ["scene", "answer", "errors", "photos", "share", "low", "high", *map(str, Kind)]
    frame = pd.DataFrame(rows, columns=columns)
    return frame.sort_values(
        ["errors", "scene", "answer"], ascending=[False, True, True], ignore_index=True
    )
