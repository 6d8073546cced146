"""What every attribution method must beat: chance, and the mere size of things."""

from __future__ import annotations

import numpy as np

from core.attribution.case import Case


def area(case: Case, _a: int, _b: int) -> np.ndarray:
    """The larger the concept, the more it matters: float64 (concepts,), share of the input."""
    return case.regions.area


def at_random(case: Case, a: int, b: int) -> np.ndarray:
    """Standard normal numbers, float64 (concepts,), the same for the same photo and classes."""
    rng = np.random.default_rng([case.image, a, b])
    return rng.standard_normal(len(case.regions))
