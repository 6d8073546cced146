"""RISE: the importance of a place as the mean answer over random masks that leave it in sight."""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F

from core.attribution.case import Case

MASKS, CELLS, SEEN = 300, 7, 0.5
"""Random masks of one photo, cells along each side of one, and the share of cells in sight."""


@lru_cache(maxsize=1)
def _answers(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """(masks float32 (masks, height, width), logits (masks, classes) of the photo under each)."""
    height, width = case.photo.shape[:2]
    rng = np.random.default_rng([case.image, MASKS])
    coarse = (rng.random((MASKS, 1, CELLS + 1, CELLS + 1)) < SEEN).astype(np.float32)
    cell = (-(-height // CELLS), -(-width // CELLS))
    whole = F.interpolate(
        torch.from_numpy(coarse),
        (cell[0] * (CELLS + 1), cell[1] * (CELLS + 1)),
        mode="bilinear",
        align_corners=False,
    ).numpy()[:, 0]
    masks = np.empty((MASKS, height, width), np.float32)
    shift = rng.integers(0, cell, (MASKS, 2))
    for k, (y, x) in enumerate(shift):
        masks[k] = whole[k, y : y + height, x : x + width]
    logits = []
    grey = case.photo.mean((0, 1))
    for start in range(0, MASKS, 32):
        part = masks[start : start + 32, ..., None]
        seen = part * case.photo + (1 - part) * grey
        logits.append(case.opened.logits(seen.round().astype(np.uint8)))
    return masks, np.concatenate(logits)


def rise(case: Case, a: int, b: int) -> np.ndarray:
    """RISE (Petsiuk, Das and Saenko, BMVC 2018) of the margin, summed over each concept.

    The map is the covariance of mask and margin over :data:`MASKS` masks: what the original's
    weighted mean of masks is, less what it would be were the margin the same under all. What is
    masked takes the photo's mean colour. float64 (concepts,).
    """
    masks, logits = _answers(case)
    margin = logits[:, a].astype(np.float64) - logits[:, b]
    image = np.tensordot(margin - margin.mean(), masks, 1) / len(masks)
    found: np.ndarray = (case.regions.masks * image).sum((1, 2))
    return found
