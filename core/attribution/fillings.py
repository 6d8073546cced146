"""What stands where a concept was: ways of taking a region out of a photo.

No filling is neutral: grey paint is a thing of its own to a network, and an inpainted wall is a
guess. So several are measured side by side, and where they disagree that is shown.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache

import cv2
import numpy as np
from scipy import sparse
from scipy.sparse.linalg import splu

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

REDRAWN = "redrawn"
"""The name of drawing a photo of `rooms` again without the concept, beside those of fillings."""

STAND_IN = "inpaint"
"""The filling that stands in where nothing can be drawn again: of single ones it agrees best with
drawing again (docs/truth.md)."""

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
    top, left, bottom, right = rows.min(), columns.min(), rows.max() + 1, columns.max() + 1
    edges = (top == 0, left == 0, bottom == region.shape[0], right == region.shape[1])
    patch = np.packbits(region[top:bottom, left:right])
    solve, beside = _membrane(patch.tobytes(), (bottom - top, right - left), edges)
    fixed = np.zeros((len(rows), 3))
    for (down, across), known in zip(FOUR, beside, strict=True):
        fixed[known] += photo[rows[known] + down, columns[known] + across]
    filled = photo.copy()
    filled[region] = solve(fixed).round().clip(0, 255).astype(np.uint8)
    return filled


FOUR = ((0, 1), (1, 0), (0, -1), (-1, 0))
"""Ways to a pixel's four neighbours, (down, right)."""

Solve = Callable[[np.ndarray], np.ndarray]


# Few: a large region's factors take tens of megabytes. Regions of the same shape, laid elsewhere in
# a photo, follow one another, and nearly all the time goes into these factors.
@lru_cache(maxsize=3)
def _membrane(
    patch: bytes, shape: tuple[int, int], edges: tuple[bool, bool, bool, bool]
) -> tuple[Solve, tuple[np.ndarray, ...]]:
    """(what solves Laplace's equation in a region of this shape, the region's pixels whose
    neighbour lies outside of it, for each of :data:`FOUR`).

    patch : the region within its bounding box, packed. edges : does the box touch the photo's top,
    left, bottom, right?
    """
    count = shape[0] * shape[1]
    inside = np.unpackbits(np.frombuffer(patch, np.uint8), count=count).reshape(shape).astype(bool)
    rows, columns = np.nonzero(inside)
    number = np.full((shape[0] + 2, shape[1] + 2), -1)  # with a border: −1 outside the region
    number[rows + 1, columns + 1] = np.arange(len(rows))
    there = np.ones_like(number, bool)  # within the photo
    for edge, line in zip(edges, (there[0], there[:, 0], there[-1], there[:, -1]), strict=True):
        line[:] = not edge
    around, pairs, beside = np.zeros(len(rows)), [], []
    for down, right in FOUR:
        y, x = rows + 1 + down, columns + 1 + right
        around += there[y, x]
        free = number[y, x] >= 0
        pairs.append(np.stack([np.flatnonzero(free), number[y, x][free]]))
        beside.append(np.flatnonzero(there[y, x] & ~free))
    one, other = np.concatenate(pairs, 1)
    matrix = sparse.diags_array(around) - sparse.csr_array(
        (np.ones(len(one)), (one, other)), shape=(len(rows), len(rows))
    )
    return splu(matrix.tocsc()).solve, tuple(beside)
