"""Attribution methods by the network's own derivatives at the run's layer."""

from __future__ import annotations

import numpy as np

from core.attribution.case import Case
from core.attribution.evidence import (
    GRADIENT,
    INTEGRATED,
    Evidence,
    concept_evidence,
    evidence,
    layer_gradient,
)


def by_evidence(case: Case, a: int, b: int) -> np.ndarray:
    """The margin's exact sum over concepts (:mod:`core.attribution.evidence`), by integrated
    gradients where the head is not linear: float64 (concepts,)."""
    return concept_evidence(case, evidence(case, a, b))


def by_gradient(case: Case, a: int, b: int) -> np.ndarray:
    """Gradient × activation at the layer, summed over each concept: float64 (concepts,)."""
    return concept_evidence(case, evidence(case, a, b, GRADIENT))


def by_integrated(case: Case, a: int, b: int) -> np.ndarray:
    """Integrated gradients from an empty map (Sundararajan et al., ICML 2017) at the layer, summed
    over each concept: float64 (concepts,)."""
    return concept_evidence(case, evidence(case, a, b, INTEGRATED))


def grad_cam(case: Case, a: int, b: int) -> np.ndarray:
    """Grad-CAM (Selvaraju et al., ICCV 2017) of the margin, summed over each concept.

    max(0, Σ_t w_t · A_t(p)) with w_t the mean over places of the margin's gradient by A_t. What
    speaks against class a is cut off, as in the original; so no importance is negative. float64
    (concepts,).
    """
    maps, gradient = layer_gradient(case, a, b)
    cam = np.maximum((gradient.mean((1, 2), keepdims=True) * maps).sum(0), 0.0)
    return concept_evidence(case, Evidence(GRADIENT, 0.0, cam[None], 0.0, 0.0))
