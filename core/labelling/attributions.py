"""Labels of units as statements of what matters in a photo: rows of the test of truth.

A unit's activations add something to the margin of one class over another, its *evidence*. A label
says what the unit detects, so the evidence is that of the concepts that it names.
"""

from __future__ import annotations

import numpy as np

from core.attribution.case import Case, Opened
from core.attribution.evidence import layer_gradient
from core.dissect.formula import NOT
from core.foundation.errors import UnitscopeError
from core.labelling.label import Terms
from core.labelling.methods import Labels, label_units
from core.labelling.probe import held_out, open_probe
from core.labelling.similarity import SOFT_TOP


def by_labels(case: Case, a: int, b: int, method: str, encoder: str = "") -> np.ndarray:
    """The evidence of all units for class a over class b by the concepts of their labels: float64
    (concepts,).

    E_u = Σ_places A_u · ∂(z_a − z_b)/∂A_u goes to the concepts that the label of unit u names and
    the photo shows, by their parts in what the label predicts of u in this photo (:func:`parts`).
    A unit without a label, or with none of its concepts in the photo, gives nothing.

    method : of :data:`core.labelling.methods.LABELLING`; labels are learned from the run's training
    photos. encoder : for those that take one.

    Raises UnitscopeError as :func:`core.labelling.methods.label_units`, and where the run has no
    training photos.
    """
    opened = case.opened
    layer = opened.recorded.layer

    def made() -> Labels:
        learn, _ = held_out(opened.run)
        probe = open_probe(opened.run, layer, learn)
        return label_units(probe, method, encoder=encoder or None)

    labels = opened.run.once(("core.labelling.attributions", layer, method, encoder), made)
    maps, gradient = layer_gradient(case, a, b)
    evidence = (maps * gradient).sum((1, 2))
    area = np.ones(len(case.regions)) if labels.of_photos else case.regions.area
    shown = dict(zip(case.regions.ids.tolist(), area.tolist(), strict=True))
    found = np.zeros(len(case.regions))
    rows = {concept: row for row, concept in enumerate(shown)}
    for unit in np.flatnonzero(evidence):
        for concept, part in parts(labels.terms[unit], shown).items():
            found[rows[concept]] += part * evidence[unit]
    return found


def unready(opened: Opened) -> str:
    """Why labels cannot be learned from photos that are not judged; "" where they can."""
    try:
        held_out(opened.run)
    except UnitscopeError as err:
        return str(err)
    return ""


def clip_unready(opened: Opened) -> str:
    """The same of CLIP-Dissect by SoftWPMI, which compares a unit's top photos."""
    why = unready(opened)
    if why:
        return why
    learn = open_probe(opened.run, opened.recorded.layer, held_out(opened.run)[0])
    if len(learn) > SOFT_TOP:
        return ""
    return (
        f"SoftWPMI compares the {SOFT_TOP} photos that a unit is most active in, and labels are "
        f"learned from {len(learn)}"
    )


def parts(terms: Terms, shown: dict[int, float]) -> dict[int, float]:
    """Concept → its part of what a label predicts in a photo; they sum to 1, or there are none.

    Terms of positive weight count, and of their formulas what does not stand behind NOT, each
    concept by the weight times the share of the photo that it covers.

    shown : concept → that share, of the concepts of the photo.

    >>> from core.dissect.formula import OR, Formula
    >>> label = ((2.0, Formula((1, 2), (0, OR))), (1.0, Formula((3,))), (-1.0, Formula((4,))))
    >>> parts(label, {1: 0.125, 3: 0.75, 4: 0.3})
    {1: 0.25, 3: 0.75}
    """
    size: dict[int, float] = {}
    for weight, formula in terms:
        for concept, op in zip(formula.concepts, formula.ops, strict=True):
            if weight > 0 and op != NOT and concept in shown:
                size[concept] = size.get(concept, 0.0) + weight * shown[concept]
    whole = sum(size.values())
    return {concept: one / whole for concept, one in size.items()} if whole > 0 else {}
