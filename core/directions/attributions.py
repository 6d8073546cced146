"""Concept vectors as statements of what matters in a photo: rows of the test of truth.

Both are differences of logits, so that what speaks for one class speaks as much against the other.
"""

from __future__ import annotations

import numpy as np
import torch

from core.attribution.case import Case
from core.attribution.evidence import layer_gradient, margin_of
from core.directions import cav, conceptshap
from core.directions.layer import Layer
from core.foundation.progress import Meter, never

CAVS, VECTORS = cav.Asked(), conceptshap.Asked()
"""How the vectors are learned: as everywhere, by default."""


def tcav(case: Case, a: int, b: int) -> np.ndarray:
    """Sensitivity of the margin of class a over class b along each concept's CAV at this photo:
    ∇(h_a − h_b)(f(x)) · v_C, with v_C the mean of the concept's CAVs (Kim et al. 2018, Eq. 1).

    A concept without enough photos for a CAV has 0. float64 (concepts,).

    Raises UnitscopeError where the run kept no maps.
    """
    opened = case.opened
    work: cav.Work = opened.run.once(
        ("core.directions.attributions.tcav", opened.recorded.layer),
        lambda: cav.Work(Layer.of(opened), CAVS, Meter(), never),
    )
    _, gradient = layer_gradient(case, a, b)
    found = np.zeros(len(case.regions))
    for row, number in enumerate(case.regions.ids):
        direction = work.direction(int(number))
        if direction is not None:
            found[row] = float((gradient * direction[0]).sum())
    return found


def concept_shap(case: Case, a: int, b: int) -> np.ndarray:
    """What ConceptSHAP's concept vectors add to the margin of class a over class b in this photo,
    by their names: the surrogate's margin with all concepts, less that without the vector, summed
    over the vectors of a name. A concept that names no vector has 0. float64 (concepts,).

    Raises UnitscopeError where the run kept no maps or the head cannot be cut off.
    """
    opened = case.opened
    vectors: conceptshap.Vectors = opened.run.once(
        ("core.directions.attributions.concept_shap", opened.recorded.layer),
        lambda: conceptshap.concept_vectors(opened, VECTORS),
    )
    surrogate, over = vectors.surrogate, margin_of(a, b)
    every = np.arange(len(vectors))
    images = np.array([case.image])
    found = np.zeros(len(case.regions))
    with torch.no_grad():
        scores = surrogate.scores(case.maps[None])
        whole = float(over(surrogate.logits(scores, images))[0])
        for j, number in enumerate(vectors.names.concept):
            rows = np.flatnonzero(case.regions.ids == number)
            if len(rows):
                kept = torch.from_numpy(every[every != j])
                found[rows] += whole - float(over(surrogate.logits(scores, images, kept))[0])
    return found
