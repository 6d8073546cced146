"""Concept vectors as statements of what matters in a photo: rows of the test of truth.

Differences of logits, and of ACE of scores, so that what speaks for one class speaks as much
against the other.
"""

from __future__ import annotations

import numpy as np
import torch

from core.attribution.case import Case, Opened
from core.attribution.evidence import layer_gradient, margin_of
from core.directions import ace as discovery
from core.directions import cav, conceptshap
from core.directions.every_scene import EveryScene, asked_before, every_scene
from core.directions.layer import Layer
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Meter, never
from core.labelling.probe import cell_means

CAVS, VECTORS, ACE = cav.Asked(), conceptshap.Asked(), discovery.Asked()
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


def ace(case: Case, a: int, b: int) -> np.ndarray:
    """ACE's scores of what each concept of a photo looks like to the layer: float64 (concepts,).

    The region's mean activation is given to the nearest cluster of class a by the cosine, and its
    TCAV score counts for a; the same of class b counts against. A class that ACE says nothing of
    counts nothing.
    """
    opened = case.opened
    found: EveryScene = opened.run.once(
        ("core.directions.attributions.ace", opened.recorded.layer),
        lambda: every_scene(opened, ACE),
    )
    maps = case.maps.double().numpy()
    cover = cell_means(case.regions.masks, *maps.shape[1:]).reshape(len(case.regions), -1)
    means = cover / cover.sum(1, keepdims=True) @ maps.reshape(len(maps), -1).T
    nearest = means @ found.centres.T.astype(np.float64)
    classes = np.array([conceptshap.class_of_scene(opened, one.scene) for one in found.scenes])
    out = np.zeros(len(case.regions))
    for sign, k in ((1.0, a), (-1.0, b)):
        mine = np.isin(found.scene, np.flatnonzero(classes == k))
        if mine.any():
            best = nearest[:, mine].argmax(1)
            out += sign * found.scores[mine][best]
    return out


def no_ace(opened: Opened) -> str:
    """Why :func:`ace` cannot be asked about photos of a run; "" where it can: segments of every
    scene take long, and are made where they are asked for by name."""
    try:
        if asked_before(opened, ACE):
            return ""
    except UnitscopeError as err:
        return str(err)
    return f"what ACE finds takes long: python -m core tables {opened.run.digest} --ace does so"
