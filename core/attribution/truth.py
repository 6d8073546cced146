"""The test of truth: every attribution method, against what removals truly do.

A photo has concepts that can be taken out (:mod:`core.attribution.redrawn`), each with its true
effect Δ(c) on the margin of class a over class b: of a wrong answer over the true scene, of a right
one over the runner-up. A method says how much each matters, and is judged by

rank
    Spearman's rank correlation of importance and Δ within the photo; FunnyBirds' *single deletion*.
top
    Is the concept that it puts first the one with the largest Δ?
sign
    Share of concepts whose importance has the sign of Δ, of those whose |Δ| is more than
    :data:`SMALL` of the photo's largest; an importance of 0 counts half.
deletion
    Does the answer change where the concept that it puts first is taken out? (*deletion check*)
preservation
    Does the answer stay where the less important half of the concepts is taken out?
    (*preservation check*)
target
    Asked about a, does it give more to the concept that truly sets a off most from a third class
    than when asked about that class, and the reverse? (*target sensitivity*; 1/2 by chance)
distraction
    How often it gives less, in absolute value, to a concept that does nothing (|Δ| at most
    :data:`SMALL` of the largest) than to one that does much (at least half of it);
    *distractibility*, made free of a threshold on importance; 1/2 by chance.

The last five are the protocols of FunnyBirds (Hesse, Schaub-Meyer and Roth, ICCV 2023), for photos
whose concepts differ from one to the next. Its *background independence* is a property of the
network: the share of concepts that are not core concepts of the answer and whose removal lowers the
answer's logit, above the mean of all, by less than :data:`SMALL`.

Ties in importance are broken at random, or count as all their orders do. Intervals are over photos
(:mod:`core.foundation.intervals`); chance is what importances drawn at random get.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import rankdata

from core.ablation.images import images_of
from core.attribution.accounts import is_core
from core.attribution.case import Case, Opened
from core.attribution.effects import MARGIN
from core.attribution.judged import ANSWERS, FIGURES, Asked, Judged, Truth, mean_over
from core.attribution.methods import METHODS, VECTORS, Method, chosen_methods
from core.attribution.redrawn import Removal, answers_without, removal_of
from core.attribution.regions import NoRegion
from core.foundation.errors import UnitscopeError
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import Run, derived, known_values

SMALL = 0.05
"""Share of the largest |Δ| of a photo up to which an effect counts as none."""

LEAST = 3
"""Concepts that a photo has at least, to be judged: two have only two orders."""

SHARD = 8
"""Photos between two savings."""

DRAWS = 100
"""Random importances, for chance."""

CONTROL = "random"
"""The method that is always asked, for what chance preserves."""


@dataclass(frozen=True, eq=False)
class Photo:
    """The truth about one photo.

    Attributes
    ----------
    case : the photo with the concepts that can be taken out alone. answers : of :data:`ANSWERS`.
    classes : a, b and the third class (−1: the network has but two).
    before : float64 (classes,), logits. after : float64 (concepts, classes), without each concept.
    """

    case: Case
    answers: str
    classes: tuple[int, int, int]
    before: np.ndarray
    after: np.ndarray

    def effect(self, a: int, b: int) -> np.ndarray:
        """Δ(c) on the margin of class a over class b: float64 (concepts,)."""
        lost: np.ndarray = (self.before[a] - self.before[b]) - (self.after[:, a] - self.after[:, b])
        return lost

    @property
    def changes(self) -> np.ndarray:
        """bool (concepts,): does the answer change without the concept?"""
        changed: np.ndarray = self.after.argmax(1) != self.before.argmax()
        return changed


# -- one photo --------------------------------------------------------------------------------


def rank_correlation(said: np.ndarray, true: np.ndarray) -> float:
    """Spearman's rank correlation; 0 where all that is said is equal.

    >>> rank_correlation(np.array([1.0, 2.0, 2.0]), np.array([0.1, 0.5, 0.4]))
    0.8660254037844387
    """
    x, y = rankdata(said) - (len(said) + 1) / 2, rankdata(true) - (len(true) + 1) / 2
    size = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / size if size > 0 else 0.0


def first(said: np.ndarray) -> np.ndarray:
    """Weight of each concept in being put first: equal among those that tie.

    >>> first(np.array([1.0, 3.0, 3.0])).tolist()
    [0.0, 0.5, 0.5]
    """
    at = said == said.max()
    weights: np.ndarray = at / at.sum()
    return weights


def sign_accuracy(said: np.ndarray, true: np.ndarray) -> float:
    """Share of the larger effects whose sign was said; see the module."""
    counts = np.abs(true) > SMALL * np.abs(true).max()
    right = np.where(said == 0, 0.5, np.sign(said) == np.sign(true))
    return float(right[counts].mean()) if counts.any() else float("nan")


def distraction(said: np.ndarray, true: np.ndarray) -> float:
    """How often what does nothing is given less than what does much; see the module. NaN where
    the photo has no concept of one of the two."""
    size, given = np.abs(true), np.abs(said)
    nothing, much = given[size <= SMALL * size.max()], given[size >= size.max() / 2]
    if not len(nothing) or not size.max() > 0:
        return float("nan")
    less = nothing[:, None] < much[None]
    equal = nothing[:, None] == much[None]
    return float((less + equal / 2).mean())


def target_sensitivity(
    asked_a: np.ndarray, asked_c: np.ndarray, true_a: np.ndarray, true_c: np.ndarray
) -> float:
    """Is each of two classes given what truly sets it off from the other? See the module. A class
    that nothing in the photo sets off does not count; NaN where neither does.

    asked_a, asked_c : importance for a over b and for c over b. true_a, true_c : Δ of the same.
    """
    more, truly = asked_a - asked_c, true_a - true_c
    right = []
    if truly.max() > 0:
        right.append(np.sign(more[truly.argmax()]))
    if truly.min() < 0:
        right.append(-np.sign(more[truly.argmin()]))
    return float((np.mean(right) + 1) / 2) if right else float("nan")


Row = dict[str, str | int | float]
"""What is known of one method on one photo, a row of `scores` of the :class:`Truth`."""


def judge(photo: Photo, said: np.ndarray, kept: float) -> dict[str, float]:
    """The figures of one method on one photo.

    said : float64 (2, concepts), importance for a over b and for the third class over b.
    kept : 1 where the answer stays without the less important half, else 0.
    """
    a, b, c = photo.classes
    true, weights = photo.effect(a, b), first(said[0])
    return {
        "rank": rank_correlation(said[0], true) if np.ptp(true) > 0 else float("nan"),
        "top": float(weights[true.argmax()]),
        "sign": sign_accuracy(said[0], true),
        "deletion": float(weights @ photo.changes),
        "preservation": kept,
        "target": (
            target_sensitivity(said[0], said[1], true, photo.effect(c, b))
            if c >= 0
            else float("nan")
        ),
        "distraction": distraction(said[0], true),
    }


def lesser_half(said: np.ndarray, rng: np.random.Generator) -> tuple[int, ...]:
    """Rows of the less important half of the concepts (of an odd number the smaller part), ties in
    random order, ascending.

    >>> lesser_half(np.array([3.0, 1.0, 2.0]), np.random.default_rng(0))
    (1,)
    """
    order = np.lexsort((rng.random(len(said)), said))
    return tuple(sorted(int(row) for row in order[: len(said) // 2]))


# -- all of them ------------------------------------------------------------------------------


def hold_against_truth(
    opened: Opened,
    asked: Asked,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> Truth:
    """Hold every method against the truth, on the photos of one split.

    What was removed and what methods said is kept beside the run: stopped, it resumes.

    Raises Stopped where `stop` says so; UnitscopeError for an unknown method, split or filling, and
    where no photo of the split can be judged.
    """
    removal = removal_of(opened, asked.by)
    methods, not_judged = _methods(opened, asked, removal)
    images, left_out = _images(opened.run, asked)
    meter = Meter(progress, beat)
    meter.start("truth", len(images), of="photos")
    photos: list[Photo] = []
    figures: list[Row] = []
    for start in range(0, len(images), SHARD):
        if stop():
            raise Stopped(f"{meter.done} of {len(images)} photos are judged; {STOPPED}")
        shard = [
            photo
            for number in images[start : start + SHARD]
            if (photo := _photo(opened, removal, int(number))) is not None
        ]
        said = {method.name: _said(opened, asked, method, shard) for method in methods}
        for k, photo in enumerate(shard):
            figures += _judged(photo, removal, {name: one[k] for name, one in said.items()}, asked)
        photos += shard
        meter.step(min(SHARD, len(images) - start))
    left_out["fewer than three concepts that can be taken out"] = len(images) - len(photos)
    if not photos:
        raise UnitscopeError(
            "none of these photos can be judged: "
            + "; ".join(f"{count} with {why}" for why, count in left_out.items() if count)
        )
    scores = pd.DataFrame(figures)
    rows, best, background = [], {}, {}
    for kind in ANSWERS:
        part = [photo for photo in photos if photo.answers == kind]
        if part:
            rows += _rows(methods, kind, scores[scores["answers"] == kind], part, asked.seed)
            any_change = np.array([photo.changes.any() for photo in part], float)
            best[kind] = mean_over(any_change, np.zeros(1))
            background[kind] = mean_over(np.array([_background(p) for p in part]), np.zeros(1))
    sizes = {kind: [len(p.after) for p in photos if p.answers == kind] for kind in ANSWERS}
    found = Truth(
        asked,
        removal.name,
        tuple(rows),
        {kind: len(some) for kind, some in sizes.items()},
        {kind: float(np.mean(some)) if some else float("nan") for kind, some in sizes.items()},
        left_out,
        not_judged,
        best,
        background,
        scores,
    )
    found.keep(opened.run)
    return found


def _methods(opened: Opened, asked: Asked, removal: Removal) -> tuple[list[Method], dict[str, str]]:
    """The methods to be judged, and why others are not."""
    chosen = chosen_methods(asked.methods)
    if CONTROL not in [method.name for method in chosen]:
        chosen.append(METHODS.row(CONTROL))
    alike = (
        f"it takes concepts out by {removal.name!r} or much alike, which stands for the truth here"
    )
    why = {
        method.name: alike if removal.name in method.fillings else method.unready(opened)
        for method in chosen
    }
    judged = [method for method in chosen if not why[method.name]]
    return judged, {name: one for name, one in why.items() if one}


def _images(run: Run, asked: Asked) -> tuple[np.ndarray, dict[str, int]]:
    """Numbers of the images to be judged, wrong answers first, and those left out by reason."""
    run.need_answers("the test of truth")
    images = images_of(run)
    if asked.split:
        known_values(run, "split", "images", [asked.split])
        images = images[images["split"] == asked.split]
    scored = images[images["target"] >= 0]
    rng = np.random.default_rng(asked.seed)
    right = (scored["target"] == scored["predicted"]).to_numpy()
    parts = []
    for kind in (~right, right):
        numbers = scored["image"].to_numpy()[kind]
        drawn = rng.permutation(numbers)[: asked.photos]
        parts.append(np.sort(drawn))
    numbers = np.concatenate(parts)
    return numbers, {
        "a true scene that the network does not know": len(images) - len(scored),
        "not drawn": len(scored) - len(numbers),
    }


def _photo(opened: Opened, removal: Removal, number: int) -> Photo | None:
    """The truth about an image; None where too few of its concepts can be taken out."""
    try:
        whole = opened.case(number)
    except NoRegion:
        return None
    rows = removal.rows(whole)
    if len(rows) < LEAST:
        return None
    case = replace(whole, regions=whole.regions.only(rows))
    sets = [(), *((k,) for k in range(len(rows)))]
    logits = answers_without(case, removal, sets).astype(np.float64)
    a, b = case.predicted, case.against
    others = logits[0].copy()
    others[[a, b]] = -np.inf
    third = int(others.argmax()) if len(others) > 2 else -1
    kind = "right" if case.target == case.predicted else "wrong"
    return Photo(case, kind, (a, b, third), logits[0], logits[1:])


def _said(opened: Opened, asked: Asked, method: Method, shard: list[Photo]) -> list[np.ndarray]:
    """What a method says of some photos, float64 (2, concepts) each, kept beside the run where the
    method is one of this project's: others may change without our knowing."""
    own = method.opens.startswith("core.")
    facts = [
        method.name,
        [list(pair) for pair in method.options],
        opened.recorded.layer,
        MARGIN,
        [[p.case.image, list(p.classes), p.case.regions.ids.tolist()] for p in shard],
        versions_of(
            "effects", "explanation", "core concepts", "ablation", "truth", *method.rests_on
        ),
    ]
    if method.opens.startswith(f"{VECTORS}."):
        facts.append(versions_of("concept vectors"))
    path = derived(opened.run, "said", facts, "npz")
    lengths = [len(photo.case.regions) for photo in shard]
    held = (read_arrays(path) or {}).get("said") if own else None
    if held is None or held.shape != (2, sum(lengths)) or held.dtype != np.float64:
        held = np.concatenate([np.zeros((2, 0)), *(_ask(method, photo) for photo in shard)], 1)
        if own:
            write_arrays(path, said=held)
    cuts = np.cumsum(lengths)[:-1]
    return list(np.split(held, cuts, 1)) if shard else []


def _ask(method: Method, photo: Photo) -> np.ndarray:
    a, b, c = photo.classes
    toward_a = method.ask(photo.case, a, b)
    toward_c = method.ask(photo.case, c, b) if c >= 0 else np.zeros_like(toward_a)
    return np.stack([toward_a, toward_c])


def _judged(photo: Photo, removal: Removal, said: dict[str, np.ndarray], asked: Asked) -> list[Row]:
    """A row of figures for each method."""
    rng = np.random.default_rng([asked.seed, photo.case.image])
    gone = {name: lesser_half(values[0], rng) for name, values in said.items()}
    sets = list(dict.fromkeys(gone.values()))
    answers = answers_without(photo.case, removal, sets).argmax(1)
    stays = dict(zip(sets, (answers == photo.before.argmax()).astype(float), strict=True))
    facts: Row = {
        "image": photo.case.image,
        "id": str(photo.case.opened.recorded.images["id"].iloc[photo.case.row]),
        "answers": photo.answers,
    }
    return [
        {**facts, "method": name, **judge(photo, values, float(stays[gone[name]]))}
        for name, values in said.items()
    ]


# -- figures with intervals -------------------------------------------------------------------


def _rows(
    methods: list[Method], kind: str, scores: pd.DataFrame, photos: list[Photo], seed: int
) -> list[Judged]:
    """A row for each method, from its figures on the photos of one kind."""
    drawn = _chance(photos, seed)
    control = scores.loc[scores["method"] == CONTROL, "preservation"].to_numpy(float)
    drawn["preservation"] = np.array([control.mean()])
    rows = []
    for method in methods:
        mine = scores[scores["method"] == method.name]
        figures = {
            name: mean_over(mine[name].to_numpy(float), drawn[name], name == "rank")
            for name in FIGURES
        }
        rows.append(Judged(method.name, method.about, method.family, kind, figures))
    return rows


def _chance(photos: list[Photo], seed: int) -> dict[str, np.ndarray]:
    """Figure → its mean over photos in each of :data:`DRAWS` draws of random importances; no
    removal is made for them, so that preservation is not among them."""
    rng = np.random.default_rng([seed, DRAWS])
    drawn = np.empty((DRAWS, len(FIGURES)))
    for k in range(DRAWS):
        rows = [judge(p, rng.standard_normal((2, len(p.after))), np.nan) for p in photos]
        values = np.array([[row[name] for name in FIGURES] for row in rows])
        counts = np.maximum((~np.isnan(values)).sum(0), 1)
        drawn[k] = np.nansum(values, 0) / counts
    return dict(zip(FIGURES, drawn.T, strict=True))


def _background(photo: Photo) -> float:
    """Share of concepts that are not core concepts of the answer whose removal hardly lowers its
    logit above the mean of all; NaN where there are none."""
    a = photo.classes[0]
    beside = ~is_core(photo.case, a)
    height = photo.before[a] - photo.before.mean()
    lost = height - (photo.after[:, a] - photo.after.mean(1))
    return float((lost[beside] < SMALL * height).mean()) if beside.any() else float("nan")
