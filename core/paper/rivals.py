"""Rows of Table 1 that are not the paper's own methods: labels of units, and ConceptSHAP.

A labelling method gives LC(x), the labels of the units active in x, and is held against the same
core concepts as the paper's strategies are. ConceptSHAP gives both: LC(x), the names of the concept
vectors that lead in x, and the core concepts of a scene, the names of those that matter most for
it; so it is one row, as in the paper.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from core.explain.learned import Learned
from core.foundation.errors import UnitscopeError, without_effect
from core.foundation.names import few
from core.foundation.progress import Report, Stop, never
from core.foundation.vocabulary import LEARNING
from core.labelling.learned import learned_by_labels
from core.labelling.methods import LABELLING, label_units
from core.labelling.probe import open_probe
from core.runs.run_file import Run, known_values

if TYPE_CHECKING:
    from core.directions.conceptshap import Asked, ConceptShap

CONCEPTSHAP, CLIP_DISSECT = "conceptshap", "clip_dissect"
"""The rivals of the paper's Table 1."""

PRINTED = {CONCEPTSHAP: "ConceptSHAP", CLIP_DISSECT: "CLIP-Dissect"}
"""What the paper calls them."""


@dataclass(frozen=True, eq=False)
class Rival:
    """A row of Table 1, or one for each kind of core concepts.

    Attributes
    ----------
    name : in the table. note : where its labels come from, printed below it.
    learned : LC(x). core : bool (scenes, concepts), CC of its own; None where it is held against
        each kind of core concepts.
    """

    name: str
    note: str
    learned: Learned
    core: np.ndarray | None = None


def by_labels(
    run: Run,
    layer: str | None,
    method: str,
    progress: Report | None = None,
    stop: Stop = never,
    **given: Any,
) -> Rival:
    """A labelling method as a rival. Its labels are learned from the run's training photos, where
    it has some, else from all.

    given : options that the method takes; None for those that are not given.

    Raises UnitscopeError as :func:`core.labelling.methods.label_units`, and where no label says
    anything of an annotated concept.
    """
    row = LABELLING.row(method)
    known = known_values(run, "split", "images", None)
    splits = [name for name in LEARNING if name in known][:1]
    probe = open_probe(run, layer, splits or None)
    labels = label_units(probe, method, progress, stop, **given)
    said = int(labels.labelled.sum())
    name = PRINTED.get(method) or row.title or method
    note = (
        f"{name}: LC(x) is the union of the concepts in the labels of the units active in x; "
        f"labels by {method} ({row.about}), learned from {', '.join(splits) or 'all'} photos; "
        f"{said} of {len(labels.terms)} units have one that names an annotated concept."
    )
    if labels.note:
        note += f" {labels.note.rstrip('.')}."
    return Rival(name, note, learned_by_labels(run, layer, labels))


def taken(methods: list[str], **given: Any) -> dict[str, dict[str, Any]]:
    """Method → those of the options that it takes.

    Raises NoEffect for an option that none of them takes.
    """
    rows = {name: LABELLING.row(name) for name in methods}
    for option, value in given.items():
        if value is not None and not any(option in row.takes for row in rows.values()):
            without_effect(f"--{option} is taken by none of the methods {few(methods) or '(none)'}")
    return {
        name: {option: value for option, value in given.items() if option in row.takes}
        for name, row in rows.items()
    }


def by_concept_shap(found: ConceptShap) -> Rival:
    """ConceptSHAP as a rival."""
    vectors = found.vectors
    names = sorted({word for word in vectors.words if word})
    low, high = found.interval
    judged = ", ".join(vectors.splits[1])
    note = (
        f"ConceptSHAP: {len(vectors)} concept vectors learned on {', '.join(vectors.splits[0])} "
        f"photos, named by the concept of highest IoU ({few(names, 12)}); LC(x) is the names of "
        "those with the highest score at some place of x, CC the names of those with the largest "
        f"positive Shapley value for the scene, on {judged} photos; completeness there "
        f"{found.all:.2f} [{low:.2f}, {high:.2f}]."
    )
    return Rival(PRINTED[CONCEPTSHAP], note, vectors.learned(), found.core())


def concept_shap_of(
    run: Run,
    layer: str | None = None,
    asked: Asked | None = None,
    progress: Report | None = None,
    stop: Stop = never,
) -> Rival:
    """ConceptSHAP of a run, computed or read, as a rival; its network is opened."""
    from core.attribution.case import Opened
    from core.directions.conceptshap import concept_shap

    return by_concept_shap(concept_shap(Opened.of(run, layer), asked, progress, stop))


def lacking(name: str, encoder: str | None = None) -> str:
    """Why a rival cannot be made, before anything is computed; "" where nothing is known to be
    missing."""
    if name == CONCEPTSHAP:
        return ""
    try:
        row = LABELLING.row(name)
    except UnitscopeError as err:
        return str(err)
    if "encoder" in row.takes and not encoder:
        return (
            f"{PRINTED.get(name, name)} compares photos with words, which takes an encoder of both "
            "(docs/labels.md), and none was named"
        )
    return ""
