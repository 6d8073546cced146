"""What stands where a concept was: ways of taking a region out of a photo.

No filling is neutral: grey paint is a thing of its own to a network, and an inpainted wall is a
guess. So several are measured side by side, and where they disagree that is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec

import numpy as np
from scipy import ndimage, sparse
from scipy.sparse.linalg import spsolve

from core.foundation.errors import UnitscopeError
from core.foundation.registry import Registry, Row

Filling = Callable[[np.ndarray, np.ndarray, np.random.Generator], np.ndarray]
"""(photo uint8 (height, width, 3), region bool (height, width), random generator) → the photo
with the region filled, uint8 of the same shape. Pixels outside the region are not changed."""

FILLINGS: Registry[Row] = Registry(
    "filling",
    "unitscope.fillings",
    (
        Row("mean", "mean", "the mean colour of the rest", "core.attribution.fillings:mean"),
        Row("blur", "blur", "the photo, blurred away", "core.attribution.fillings:blur"),
        Row("noise", "noise", "noise like the rest", "core.attribution.fillings:noise"),
        Row("inpaint", "inpaint", "painted in from around", "core.attribution.fillings:inpaint"),
        Row("smooth", "smooth", "as smooth as can be", "core.attribution.fillings:smooth"),
    ),
    Row,
)

BLUR = 0.1
"""σ of the blurred photo, as a share of its shorter side."""

REACH = 3
"""Pixels around a region from which it is painted in."""


def mean(photo: np.ndarray, region: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """The region in the mean colour of what lies outside it."""
    filled = photo.copy()
    filled[region] = photo[~region].mean(0).round().astype(np.uint8)
    return filled


def blur(photo: np.ndarray, region: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """The region from a blurred photo to which the region itself adds nothing.

    A plain blur would smear the concept over its own place; so the blur is of the outside alone,
    a weighted mean of its pixels by a Gaussian of :data:`BLUR`, and far inside a large region the
    outside's mean colour.
    """
    sigma = BLUR * min(photo.shape[:2])
    weight = (~region).astype(np.float64)
    near = ndimage.gaussian_filter(weight, sigma, mode="nearest") + 1e-4
    filled = photo.copy()
    for channel in range(3):
        values = photo[..., channel] * weight
        total = ndimage.gaussian_filter(values, sigma, mode="nearest")
        smooth = (total + 1e-4 * photo[..., channel][~region].mean()) / near
        filled[..., channel][region] = smooth[region].round().clip(0, 255).astype(np.uint8)
    return filled


def noise(photo: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The region in Gaussian noise with the mean and spread of each channel outside it."""
    outside = photo[~region].astype(np.float64)
    drawn = rng.normal(outside.mean(0), outside.std(0), (int(region.sum()), 3))
    filled = photo.copy()
    filled[region] = drawn.round().clip(0, 255).astype(np.uint8)
    return filled


def inpaint(photo: np.ndarray, region: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """The region painted in from its border inward (Telea 2004, OpenCV's implementation).

    Raises UnitscopeError where OpenCV is not installed.
    """
    if find_spec("cv2") is None:
        raise UnitscopeError(
            "the filling 'inpaint' needs OpenCV: pip install opencv-python-headless (or make "
            "optional); the others do without: mean, blur, noise"
        )
    import cv2

    painted = cv2.inpaint(photo, region.astype(np.uint8), REACH, cv2.INPAINT_TELEA)
    filled = photo.copy()
    filled[region] = painted[region]
    return filled


def smooth(photo: np.ndarray, region: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """The region as the membrane stretched over it from its border: each pixel is the mean of its
    four neighbours (Laplace's equation; at the photo's edge, of those that there are)."""
    rows, columns = np.nonzero(region)
    if not len(rows):
        return photo.copy()
    number = np.full(region.shape, -1)
    number[rows, columns] = np.arange(len(rows))
    around, fixed = np.zeros(len(rows)), np.zeros((len(rows), 3))
    pairs = []
    for down, right in ((0, 1), (1, 0), (0, -1), (-1, 0)):
        y, x = rows + down, columns + right
        inside = (y >= 0) & (y < region.shape[0]) & (x >= 0) & (x < region.shape[1])
        around += inside
        here = np.flatnonzero(inside)
        there = number[y[here], x[here]]
        free = there >= 0
        pairs.append(np.stack([here[free], there[free]]))
        known = here[~free]
        fixed[known] += photo[y[known], x[known]]
    one, other = np.concatenate(pairs, 1)
    matrix = sparse.diags_array(around) - sparse.csr_array(
        (np.ones(len(one)), (one, other)), shape=(len(rows), len(rows))
    )
    filled = photo.copy()
    filled[region] = spsolve(matrix.tocsc(), fixed).round().clip(0, 255).astype(np.uint8)
    return filled
