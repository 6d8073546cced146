"""Labelling methods: how a unit gets the words that say what it detects.

What a row opens is called with a :class:`~core.labelling.probe.Probe`, the photos that labels are
learned from, and with the row's `options` by name; it returns a frame with one row a unit that has
a label:

``unit``   number
``label``  text, as :func:`core.labelling.label.words` writes it, or free words
``score``  by the method's own measure: the larger, the surer
``terms``  optional: what the label says (:data:`core.labelling.label.Terms`). Without this column
           the text is read (:func:`core.labelling.label.parse`).

and whatever else it knows. ``frame.attrs["note"]`` is what must be said wherever the labels are
shown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from core.foundation.errors import UnitscopeError, without_effect
from core.foundation.progress import Hooks, Report, Stop, never
from core.foundation.registry import Registry, Row
from core.labelling.label import Terms, concept, parse
from core.labelling.probe import Probe, open_probe
from core.runs.run_file import Run

HERE = "core.labelling"


@dataclass(frozen=True)
class LabelMethod(Row):
    """A labelling method.

    Attributes
    ----------
    title : its name in charts and tables, as the field calls it; `name` where "".
    options : what its function is called with besides, as pairs of a name and a value.
    takes : names of options that a user may give: ``encoder``, ``words``, ``table``.
    slow : does it take long? Its function is then called with ``progress`` and ``stop`` besides
        (:class:`core.foundation.progress.Hooks`).
    family : what it rests on, for tables and charts.
    masks : does it need annotated concepts? A method that does not can label with free words.
    of_photos : its formulas are of photos (*counter AND television*: both are in the photo), not of
        pixels. Such labels are scored by presence, not by the area of a mask.
    """

    title: str = ""
    options: tuple[tuple[str, Any], ...] = ()
    takes: tuple[str, ...] = ()
    slow: bool = False
    family: str = "other"
    masks: bool = True
    of_photos: bool = False


OVERLAP, REGRESSION, SIMILARITY = "overlap", "regression", "similarity"
PRESENCE, ELSEWHERE = "presence", "elsewhere"


def _clip(name: str, similarity: str, title: str, about: str) -> LabelMethod:
    """A row of CLIP-Dissect, by one of its similarities."""
    return LabelMethod(
        name,
        name,
        f"the word nearest by {about} (CLIP-Dissect), with an encoder of photos and words",
        f"{HERE}.clip_dissect:by_similarity",
        title=f"CLIP-Dissect, {title}",
        options=(("similarity", similarity),),
        takes=("encoder", "words"),
        slow=True,
        family=SIMILARITY,
        masks=False,
    )


LABELLING: Registry[LabelMethod] = Registry(
    "labelling method",
    "unitscope.labelling",
    (
        LabelMethod(
            "dataset",
            "dataset",
            "the concept of highest IoU over all photos (NetDissect), every pixel counted",
            f"{HERE}.overlap:by_iou",
            title="NetDissect",
            options=(("denominator", "all"),),
            family=OVERLAP,
        ),
        LabelMethod(
            "annotated",
            "annotated",
            "the same, with only the pixels counted that are annotated for the concept's category",
            f"{HERE}.overlap:by_iou",
            title="NetDissect, annotated pixels",
            options=(("denominator", "annotated"),),
            family=OVERLAP,
        ),
        LabelMethod(
            "formula",
            "formula",
            "the logical formula of up to three concepts with the highest IoU (CEN's beam search)",
            f"{HERE}.overlap:by_formula",
            title="Compositional (CEN)",
            family=OVERLAP,
        ),
        LabelMethod(
            "single",
            "single",
            "the concept whose share of the photo correlates best with the unit's mean activation",
            f"{HERE}.linear:by_single",
            title="Best single concept",
            family=REGRESSION,
        ),
        LabelMethod(
            "linear",
            "linear",
            "a sparse non-negative sum of concepts' shares that predicts the mean activation",
            f"{HERE}.linear:by_linear",
            title="Linear explanation",
            family=REGRESSION,
        ),
        _clip("clip_dissect", "softwpmi", "SoftWPMI", "SoftWPMI, its usual similarity"),
        _clip("clip_wpmi", "wpmi", "WPMI", "WPMI"),
        _clip("clip_cosine", "cosine", "cosine", "the cosine"),
        _clip("clip_cubed", "cubed", "cubed cosine", "the cosine of cubes"),
        _clip("clip_rank", "rank", "rank reorder", "rank reorder"),
        LabelMethod(
            "invert",
            "invert",
            "the formula of up to three concepts whose presence in a photo the mean activation "
            "tells best, by AUROC (INVERT)",
            f"{HERE}.invert:by_auroc",
            title="INVERT",
            of_photos=True,
            slow=True,
            family=PRESENCE,
        ),
        LabelMethod(
            "invert_single",
            "invert_single",
            "the same of single concepts",
            f"{HERE}.invert:by_auroc",
            title="INVERT, single concepts",
            of_photos=True,
            options=(("length", 1),),
            slow=True,
            family=PRESENCE,
        ),
        LabelMethod(
            "table",
            "table",
            "labels made elsewhere, from a CSV of unit, label, score or a published layout",
            f"{HERE}.imports:by_table",
            title="Labels from a table",
            takes=("table",),
            family=ELSEWHERE,
            masks=False,
        ),
    ),
    LabelMethod,
)


@dataclass(frozen=True, eq=False)
class Labels:
    """Labels of a layer's units by one method.

    Attributes
    ----------
    method : its name. learned_from : the photos.
    frame : unit, label, score, and the method's own columns, by unit.
    terms : of every unit of the layer, by number; () where the unit has no label, or its words
        name no annotated concept.
    unread : why, for units whose words were not understood: unit → what was wrong.
    note : what must be said wherever these labels are shown (``frame.attrs["note"]``); "" for
        nothing.
    """

    method: str
    learned_from: Probe
    frame: pd.DataFrame
    terms: tuple[Terms, ...]
    unread: dict[int, str]
    note: str = ""

    @property
    def of_photos(self) -> bool:
        """Are its formulas of photos, not of pixels? (:attr:`LabelMethod.of_photos`)"""
        return LABELLING.row(self.method).of_photos

    @property
    def labelled(self) -> np.ndarray:
        """bool (units,): has the unit a label that says something of annotated concepts?"""
        return np.array([len(terms) > 0 for terms in self.terms])


def label_units(
    probe: Probe, method: str, progress: Report | None = None, stop: Stop = never, **given: Any
) -> Labels:
    """Labels of a layer's units by a method of :data:`LABELLING`, learned from the probe's photos.

    progress, stop : for methods that take long.
    given : options that the method takes (:attr:`LabelMethod.takes`); those that are None are left
        to the method.

    Raises UnitscopeError for an unknown method, an option that it does not take, and where a method
    that was added gives no such frame; Stopped.
    """
    row = LABELLING.row(method)
    options = {name: value for name, value in given.items() if value is not None}
    for name in options:
        if name not in row.takes:
            without_effect(f"labelling method {method!r} takes no option {name!r}")
    hooks = Hooks(progress=progress, stop=stop) if row.slow else Hooks()
    frame = row.load()(probe, **dict(row.options), **options, **hooks)
    units = probe.run.unit_count(probe.layer)
    needed = {"unit", "label", "score"}
    if not isinstance(frame, pd.DataFrame) or not needed <= set(frame.columns):
        raise UnitscopeError(f"labelling method {method!r} gave no frame of unit, label and score")
    if frame["unit"].duplicated().any():
        raise UnitscopeError(f"labelling method {method!r} gave a unit two labels")
    if not frame["unit"].isin(range(units)).all():
        raise UnitscopeError(
            f"labelling method {method!r} labels unit {frame['unit'].max()}, and {probe.layer} has "
            f"units 0 to {units - 1}"
        )
    note = str(frame.attrs.get("note", ""))
    frame = frame.sort_values("unit", ignore_index=True)
    terms: list[Terms] = [()] * units
    unread = {}
    for unit, text, said in zip(
        frame["unit"], frame["label"], frame.get("terms", [None] * len(frame)), strict=True
    ):
        try:
            terms[unit] = parse(str(text), probe.ids) if said is None else said
        except UnitscopeError as err:
            unread[int(unit)] = str(err)
    frame = frame.drop(columns="terms", errors="ignore")
    return Labels(method, probe, frame, tuple(terms), unread, note)


def labels(
    run: Run,
    method: str = "dataset",
    layer: str | None = None,
    categories: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
    **given: Any,
) -> pd.DataFrame:
    """The frame of :func:`label_units`, learned from the photos of some splits (all where None)."""
    return label_units(open_probe(run, layer, splits, categories), method, **given).frame


def terms_of_concepts(ids: Sequence[int]) -> list[Terms]:
    """The column `terms` of labels that are one concept each."""
    return [concept(int(number)) for number in ids]
