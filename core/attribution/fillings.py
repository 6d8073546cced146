"""What stands where a concept was: ways of taking a region out of a photo.

No filling is neutral: grey paint is a thing of its own to a network, and an inpainted wall is a
guess. So several are measured side by side, and where they disagree that is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import spsolve

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
        Row(
            "smooth",
            "smooth",
            "painted in as smoothly as can be",
            "core.attribution.fillings:smooth",
        ),
    ),
    Row,
)

USUAL = ("inpaint", "smooth")
"""Fillings that are averaged where no other is asked for: those that agree best with drawing the
photo again without the concept (docs/truth.md)."""

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
    down, across = (_gaussian(side, sigma) for side in photo.shape[:2])
    outside = (~region).astype(np.float32)
    held = np.concatenate([photo * outside[..., None], outside[..., None]], axis=2)
    smooth = np.einsum("yh,hwc,xw->yxc", down, held, across, optimize=True)
    # Where nothing of the outside is near, its mean colour is what is left.
    smooth += 1e-4 * np.append(photo[~region].mean(0), 1.0)
    filled = photo.copy()
    filled[region] = (smooth[region, :3] / smooth[region, 3:]).round().clip(0, 255)
    return filled


def _gaussian(side: int, sigma: float) -> np.ndarray:
    """float32 (side, side): row y weighs each place by a Gaussian about y, summing to 1 where it
    is not cut off. As a matrix it blurs faster than a filter as wide as this."""
    at = np.arange(side, dtype=np.float32)
    weights = np.exp(-0.5 * ((at[:, None] - at[None]) / sigma) ** 2) / (sigma * math.sqrt(math.tau))
    return np.asarray(weights, np.float32)


def noise(photo: np.ndarray, region: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """The region in Gaussian noise with the mean and spread of each channel outside it."""
    outside = photo[~region].astype(np.float64)
    drawn = rng.normal(outside.mean(0), outside.std(0), (int(region.sum()), 3))
    filled = photo.copy()
    filled[region] = drawn.round().clip(0, 255).astype(np.uint8)
    return filled


def inpaint(photo: np.ndarray, region: np.ndarray, _rng: np.random.Generator) -> np.ndarray:
    """The region painted in from its border inward (Telea 2004, OpenCV's implementation)."""
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
