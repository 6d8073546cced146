"""Attribution methods by removing concepts, and what this project makes of them.

Measurements of one photo are shared: whoever asks for another margin or another method of it runs
the network no second time.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

from core.attribution.case import Case
from core.attribution.effects import Effects, measure
from core.attribution.evidence import concept_evidence, evidence
from core.attribution.fillings import USUAL

PLAIN = ("mean", "blur")
"""Fillings of :func:`controlled`, which ask of a place only its colours."""

CONTROLS = 4
"""Regions elsewhere for each concept, of :func:`controlled`."""


@lru_cache(maxsize=64)
def measured(case: Case, filling: str, controls: int = 0) -> Effects:
    """:func:`core.attribution.effects.measure` by one filling, kept for the latest photos."""
    return measure(case, (filling,), controls)


def occlusion(case: Case, a: int, b: int, filling: str = "mean") -> np.ndarray:
    """Δ(c), the margin that is lost where the concept's region is filled: float64 (concepts,).

    Raises UnitscopeError for an unknown filling.
    """
    return measured(case, filling).margin(a, b)


def controlled(case: Case, a: int, b: int) -> np.ndarray:
    """Δ(c) less the mean Δ of regions of the same shape elsewhere, over :data:`PLAIN`; plain Δ(c)
    where a region is so large that it has no elsewhere. float64 (concepts,)."""
    parts = []
    for filling in PLAIN:
        effects = measured(case, filling, CONTROLS)
        beside = effects.control(a, b)
        there = ~np.isnan(beside).all(1)
        mean = np.zeros(len(beside))
        mean[there] = np.nanmean(beside[there], 1)
        parts.append(effects.margin(a, b) - mean)
    return np.asarray(np.mean(parts, 0))


def usual(case: Case, a: int, b: int) -> np.ndarray:
    """The account's own ranking: the mean of Δ(c) over the usual fillings
    (:data:`core.attribution.fillings.USUAL`). float64 (concepts,)."""
    found: np.ndarray = np.mean([occlusion(case, a, b, filling) for filling in USUAL], 0)
    return found


def combined(case: Case, a: int, b: int, fillings: str = "inpaint,smooth") -> np.ndarray:
    """The mean of Δ(c) by each filling and of the evidence.

    All are parts of the same margin in the same units, so they are averaged as they are. float64
    (concepts,).

    fillings : names, parted by commas. docs/truth.md tells what else was tried.
    """
    parts = [occlusion(case, a, b, filling) for filling in fillings.split(",")]
    found: np.ndarray = np.mean([*parts, concept_evidence(case, evidence(case, a, b))], 0)
    return found
