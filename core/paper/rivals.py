"""Rows of Table 1 that are not the paper's own methods: labels of units, ConceptSHAP, ACE, VRX.

A labelling method gives LC(x), the labels of the units active in x, and is held against the same
core concepts as the paper's strategies are. The others give both LC(x) and core concepts of a
scene, so that each is one row, as the paper has ConceptSHAP:

===========  ===================================  ===============================================
row          LC(x)                                CC(y)
===========  ===================================  ===============================================
ConceptSHAP  names of the vectors that lead in x  names of those with the largest Shapley values
ACE          names of the clusters nearest to x   names of the scene's clusters that speak for it
VRX          concepts that add to the answer      nodes of the scene's graph
===========  ===================================  ===============================================

The paper has no rows of ACE and VRX; how they become LC and CC is a choice of ours.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec
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
    from core.directions.ace import Asked as AceAsked
    from core.directions.conceptshap import Asked, ConceptShap
    from core.directions.every_scene import EveryScene
    from core.graphs.distil import Asked as VrxAsked
    from core.graphs.distil import Student

CONCEPTSHAP, CLIP_DISSECT, ACE, VRX = "conceptshap", "clip_dissect", "ace", "vrx"
"""The rivals of the paper's Table 1, and two further ones of its related work."""

PRINTED = {CONCEPTSHAP: "ConceptSHAP", CLIP_DISSECT: "CLIP-Dissect", ACE: "ACE", VRX: "VRX"}
"""What the paper calls them."""

ALONE = (CONCEPTSHAP, ACE, VRX)
"""Those with core concepts of their own: one row each."""


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


def taken(methods: list[str], **given: str | None) -> dict[str, dict[str, str | None]]:
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


def by_ace(found: EveryScene) -> Rival:
    """ACE as a rival."""
    concepts, scenes = len(found.names), len(found.scenes)
    one = found.scenes[0]
    left = f"; ACE says nothing of {few(list(found.left_out), 6)}" if found.left_out else ""
    note = (
        f"ACE: {concepts} concepts of {scenes} scenes, each cluster of segments of the scene's "
        f"{', '.join(one.splits[0])} photos, named by the concept that they overlap best; LC(x) is "
        "the names of those whose cluster is nearest to x at some place of the layer's map, by the "
        "cosine; CC the names of the scene's own with a TCAV score above 1/2 on "
        f"{', '.join(one.splits[1])} photos, the ten highest{left}."
    )
    return Rival(PRINTED[ACE], note, found.learned(), found.core())


def ace_of(
    run: Run,
    layer: str | None = None,
    asked: AceAsked | None = None,
    progress: Report | None = None,
    stop: Stop = never,
) -> Rival:
    """ACE of all scenes of a run, computed or read, as a rival; its network is opened."""
    from core.attribution.case import Opened
    from core.directions.every_scene import every_scene

    return by_ace(every_scene(Opened.of(run, layer), asked, progress, stop))


def by_graphs(student: Student) -> Rival:
    """VRX as a rival."""
    from core.graphs.learned import core_by_graphs, learned_by_graphs

    found = student.found
    note = (
        f"VRX: graphs of {found.nodes} annotated concepts for each of {len(found.classes)} "
        f"classes, learned to answer as the network does on {', '.join(student.asked.learn)} "
        "photos; LC(x) is the concepts that add to the logit of the network's answer in the graphs "
        "of x, which take their regions from the masks of x; CC the concepts of the scene's graph."
    )
    return Rival(PRINTED[VRX], note, learned_by_graphs(student), core_by_graphs(student))


def vrx_of(
    run: Run,
    layer: str | None = None,
    asked: VrxAsked | None = None,
    progress: Report | None = None,
    stop: Stop = never,
) -> Rival:
    """VRX of a run, learned or read, as a rival."""
    from core.foundation.progress import Meter
    from core.graphs.distil import Asked, learn

    return by_graphs(learn(run, asked or Asked(layer), meter=Meter(progress), stop=stop))


def rival_of(
    run: Run,
    name: str,
    layer: str | None = None,
    progress: Report | None = None,
    stop: Stop = never,
    **given: Any,
) -> Rival:
    """A rival by its name: one of :data:`ALONE`, or a labelling method, with its options."""
    if name == CONCEPTSHAP:
        return concept_shap_of(run, layer, None, progress, stop)
    if name == ACE:
        return ace_of(run, layer, None, progress, stop)
    if name == VRX:
        return vrx_of(run, layer, None, progress, stop)
    return by_labels(run, layer, name, progress, stop, **given)


def lacking(name: str, encoder: str | None = None) -> str:
    """Why a rival cannot be made, before anything is computed; "" where nothing is known to be
    missing."""
    if name == ACE and find_spec("skimage") is None:
        return "ACE needs the package scikit-image, which is not installed: make optional"
    if name in ALONE:
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
