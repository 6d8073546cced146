"""Cells of known atoms, and numbers of a dictionary by plain loops."""

from __future__ import annotations

import numpy as np


def planted(
    photos: int, units: int, atoms: int, active: int, seed: int = 0, noise: float = 0.05
) -> tuple[np.ndarray, np.ndarray]:
    """(atoms float64 (atoms, units) of length 1, maps float32 (photos, units, 3, 3)): each cell is
    a sum of `active` atoms of positive weights, and noise."""
    rng = np.random.default_rng(seed)
    directions = rng.standard_normal((atoms, units))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    cells = photos * 9
    at = rng.random((cells, atoms)).argsort(1)[:, :active]
    weights = np.zeros((cells, atoms))
    np.put_along_axis(weights, at, 0.5 + rng.exponential(1, at.shape), 1)
    values = weights @ directions + noise * rng.standard_normal((cells, units))
    maps = values.reshape(photos, 9, units).transpose(0, 2, 1).reshape(photos, units, 3, 3)
    return directions, maps.astype(np.float32)
