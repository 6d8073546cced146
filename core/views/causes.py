"""What caused the answer to one photo, as pages show it; PyTorch comes with this module."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pandas as pd
from PIL import Image

from core.attribution.account import Cause, Causes, Question
from core.attribution.account import causes as causes_of
from core.attribution.accounts import scene_of_class
from core.attribution.case import Input, Opened, runner_up
from core.attribution.effects import edited, open_photo, without_units
from core.attribution.evidence import LINEAR, evidence
from core.attribution.fillings import FILLINGS, REDRAWN, USUAL
from core.datasets.decode import photo_of
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.vocabulary import Core
from core.runs.run_file import Run
from core.views import rooms
from core.views.explain import Name
from core.views.images import concepts as concepts_of
from core.views.knowledge import Known
from core.views.pictures import encoded
from core.views.units import unit_table

TESTED = 5
"""Concepts that get a control band on a page: their bands are nearly all that has to be run."""

SHOWN = 5
"""Classes of which an edit's answer is shown, the most probable before and after."""


@dataclass(frozen=True)
class Shown:
    """Causes for people to read.

    causes : as :func:`core.attribution.account.causes` gives them. names : of their concepts, by
    id. ways : fillings that can be had here → what they are; with :data:`REDRAWN` where the
    photo can be drawn again.
    """

    causes: Causes
    names: dict[int, Name]
    ways: dict[str, str]

    def shown(self, cause: Cause) -> str:
        """A concept as people read it."""
        return self.names[cause.concept].shown

    def label(self, cause: Cause) -> str:
        """A concept as addresses have it."""
        return self.names[cause.concept].label


@dataclass(frozen=True)
class After:
    """A photo after an edit, or before an edited network, and what is answered.

    photo : JPEG of what the network saw; empty where the photo is as it was. answer : class; was :
    of the photo as it is. margin : z_a − z_b of the classes asked; before : of the photo as it is.
    shares : scene, before, after (softmax) of the most probable classes.
    """

    photo: bytes
    answer: str
    was: str
    margin: float
    before: float
    shares: pd.DataFrame = field(compare=False)


def open_layer(run: Run, layer: str) -> Opened:
    """A layer with its network open. Raises UnitscopeError where it cannot be."""
    return Opened.of(run, layer)


def ways(run: Run) -> dict[str, str]:
    """Fillings → what they are, those that can be had here; :data:`REDRAWN` last."""
    told = {row.name: row.about for row in FILLINGS}
    return told | ({REDRAWN: "drawn again without it"} if rooms.can_edit(run) else {})


def causes(
    run: Run,
    opened: Opened,
    known: Known,
    image: str,
    kind: str,
    pair: tuple[str, str] = ("", ""),
    filling: str = "",
    categories: tuple[str, ...] = (),
) -> Shown:
    """What caused the answer to a photo, held against knowledge.

    image : id. kind : of core concepts. pair : classes a and b, "" for the usual ones. filling :
    "" for the usual ones together. Raises UnitscopeError as
    :func:`core.attribution.account.causes` does, and for an unknown kind.
    """
    Core.of(kind)
    chosen = (filling,) if filling and filling != REDRAWN else USUAL
    question = Question(
        pair[0] or None, pair[1] or None, chosen, tested=TESTED, categories=categories
    )
    found = causes_of(open_photo(opened, image), known.core[kind], question)
    wanted = {row.concept for row in found.rows}
    names = {
        int(own.concept): Name(own.label, own.shown)
        for own in concepts_of(run).itertuples(index=False)
        if own.concept in wanted
    }
    return Shown(found, names, ways(run))


def causes_frame(told: Shown) -> pd.DataFrame:
    """Causes as a table: concept, label, category, effect, least, most, low, high (the band; NaN
    where there is none), evidence, area, without (class), change, answer, against (standings in
    words, "" where none), note."""
    columns = (
        *("concept", "label", "category", "effect", "least", "most", "low", "high", "evidence"),
        *("area", "without", "change", "answer", "against", "note"),
    )
    rows = [
        (
            told.shown(row),
            told.label(row),
            row.category,
            row.effect,
            row.least,
            row.most,
            *(row.band or (np.nan, np.nan)),
            row.evidence,
            row.area,
            row.removed.answer,
            row.removed.change,
            row.standing_answer.short if row.standing_answer else "",
            row.standing_against.short if row.standing_against else "",
            row.contradicts or row.no_band,
        )
        for row in told.causes.rows
    ]
    return pd.DataFrame(rows, columns=columns)


def taken_away(
    run: Run,
    opened: Opened,
    image: int,
    concepts: tuple[int, ...],
    filling: str,
    pair: tuple[str, str],
) -> After:
    """A photo without some concepts (ids) together, and the answer to it.

    image : number in the run. filling : a filling, or :data:`REDRAWN`.

    Raises UnitscopeError for a concept that the photo does not show, and where nothing would be
    left, or the photo cannot be drawn again without one of them.
    """
    if filling == REDRAWN:
        named = concepts_of(run).set_index("concept")
        kinds = {c: str(named.loc[c, "category"]) for c in concepts}
        if other := [c for c, kind in kinds.items() if kind not in ("object", "part")]:
            raise UnitscopeError(
                f"{named.loc[other[0], 'shown']} is a {kinds[other[0]]}: objects and parts alone "
                "can be left out of a drawing"
            )
        without = [f"{kinds[c]}:{named.loc[c, 'name']}" for c in concepts]
        return redrawn(run, opened, image, _edit_without(without), pair)
    return _after(opened, image, edited(opened.case(image), concepts, filling), pair)


def redrawn(run: Run, opened: Opened, image: int, edit: str, pair: tuple[str, str]) -> After:
    """A photo of `rooms` after an edit of its scene, and the answer to it.

    edit : as :meth:`core.rooms.counterfactual.SceneEdit.to_json` writes it. Raises UnitscopeError
    for an edit that cannot be made or changes nothing.
    """
    photo = photo_of(rooms.edited_photo(run, image, edit), "the photo drawn again")
    return _after(opened, image, np.array(opened.preprocessing.view(photo)), pair)


def _edit_without(names: Sequence[str]) -> str:
    from core.rooms.counterfactual import SceneEdit

    return SceneEdit(without=tuple(names)).to_json()


def _after(opened: Opened, image: int, photo: np.ndarray, pair: tuple[str, str]) -> After:
    logits = np.stack([opened.case(image).logits, opened.logits(photo[None])[0]])
    picture = Image.fromarray(photo)
    scale = max(1, round(480 / max(picture.size)))
    size = (picture.width * scale, picture.height * scale)
    shown = encoded(picture.resize(size, Image.Resampling.LANCZOS))
    return _both(opened, logits, pair, shown)


def _both(opened: Opened, given: np.ndarray, pair: tuple[str, str], photo: bytes = b"") -> After:
    """An answer before and after, by logits (2, classes)."""
    logits = given.astype(np.float64)
    shares = np.exp(logits - logits.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    top = np.argsort(-shares.max(0), kind="stable")[:SHOWN]
    a, b = (opened.class_of(name) for name in pair)
    frame = pd.DataFrame(
        {
            "scene": [opened.classes[k] for k in top],
            "before": shares[0, top],
            "after": shares[1, top],
        }
    )
    return After(
        photo,
        opened.classes[int(logits[1].argmax())],
        opened.classes[int(logits[0].argmax())],
        float(logits[1, a] - logits[1, b]),
        float(logits[0, a] - logits[0, b]),
        frame,
    )


# -- a photo of one's own ---------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class ByUnit:
    """The margin of one photo that nobody annotated, as a sum over units.

    answer, against : classes a and b. margin : z_a − z_b. kind : of evidence; exact : is the sum
    the margin up to rounding, as behind a linear head? beside, bias, gap : as of
    :class:`core.attribution.evidence.Evidence`. scene : of the dataset, that is class a; None where
    a is none. units : unit, label (with a question mark where chance reaches it, "" where there is
    none), iou, evidence; the most evidence first.
    """

    answer: str
    against: str
    margin: float
    kind: str
    beside: float
    bias: float
    gap: float
    scene: str | None
    units: pd.DataFrame

    @property
    def exact(self) -> bool:
        """Is it a sum of the network's own terms?"""
        return self.kind == LINEAR

    def top(self, count: int, sign: int) -> list[int]:
        """So many units at most: those that carry most of the margin (`sign` 1), or of what speaks
        against it (−1)."""
        part = self.units[np.sign(self.units["evidence"]) == sign]
        return [int(unit) for unit in (part if sign > 0 else part[::-1])["unit"].head(count)]


def seen_by(opened: Opened, data: bytes, name: str) -> Input:
    """An image file's photo before the network. Raises BadFile for bytes that are no image, or a
    photo too small for the network's preprocessing."""
    photo = photo_of(data, name)
    try:
        return Input(opened, np.array(opened.preprocessing.view(photo.convert("RGB"))))
    except UnitscopeError as err:
        raise BadFile(name, str(err)) from err


def by_unit(
    run: Run, photo: Input, pair: tuple[str, str] = ("", ""), denominator: str = "all"
) -> ByUnit:
    """Which units carry the margin of one class over another in a photo, annotated or not.

    pair : classes a and b; "" for the network's answer, and for the runner-up (of a class that is
    not the answer, for the answer). denominator : of the labels' IoU.

    Raises UnitscopeError for an unknown class, and for one against itself.
    """
    opened = photo.opened
    first = int(photo.logits.argmax())
    a = opened.class_of(pair[0]) if pair[0] else first
    b = opened.class_of(pair[1]) if pair[1] else runner_up(photo.logits) if a == first else first
    if a == b:
        raise UnitscopeError(f"{opened.classes[a]!r} cannot be held against itself")
    found = evidence(photo, a, b)
    table = unit_table(run, opened.recorded.layer, denominator)
    frame = pd.DataFrame(
        {
            "unit": table["unit"],
            "label": table["label"].where(table["name"].notna(), ""),
            "iou": table["iou"],
            "evidence": found.units[table["unit"]],
        }
    ).sort_values(["evidence", "unit"], ascending=[False, True], ignore_index=True)
    return ByUnit(
        opened.classes[a],
        opened.classes[b],
        found.margin,
        found.kind,
        found.beside,
        found.bias,
        found.gap,
        scene_of_class(run).get(a),
        frame,
    )


def disabled(photo: Input, units: Sequence[int], pair: tuple[str, str]) -> After:
    """The answer to a photo with some units disabled, beside the one with all. Raises
    UnitscopeError as :func:`core.attribution.effects.without_units`."""
    logits = np.stack([photo.logits, without_units(photo, units)])
    return _both(photo.opened, logits, pair)
