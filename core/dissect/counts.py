"""Overlap counts of units and concepts, per image: what every IoU is a query on.

For image x and unit t let A_t(x) be the map upsampled bilinearly (align_corners=False) to
the working grid and cut at > T_t. Counted are, in pixels of that grid,

* hits  = |A_t(x)|, and |A_t(x)| inside the annotated pixels of each category;
* both  = |A_t(x) ∩ L_c(x)| for every concept c at once, one look-up an active pixel;
* the same intersections with other images' labels (the null distribution).

A pair whose largest activation is ≤ T_t has no pixel: interpolation never exceeds the
corners it lies between. The same holds for each patch between four cells, so most pixels
are never computed. :func:`count_images` is the CPU kernel (numba); :func:`count_images_torch`
gives the same rows on any torch device.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numba
import numpy as np
import torch
from torch import Tensor

from core.errors import UnitscopeError
from core.geometry import interpolation


class Counts(NamedTuple):
    """Sparse counts of a batch, rows ordered by (image, unit, concept); image = place in the batch.

    hits : int32 (rows, 3 + categories): image, unit, hits, then hits within the annotated
        pixels of each category. Rows exist only where hits > 0.
    both : int32 (rows, 4): image, unit, concept, both. Rows exist only where both > 0.
    areas : int32 (rows, 3): image, concept, area.
    annotated : int32 (images, categories): annotated pixels of each category.
    null_both : int32 (shuffles, units, concepts + 1): intersections with shuffled labels,
        summed over the images of the batch; column 0 stays 0.
    null_hits : int32 (shuffles, units, categories): hits within the annotated pixels of the
        shuffled labels, summed over the images.
    """

    hits: np.ndarray
    both: np.ndarray
    areas: np.ndarray
    annotated: np.ndarray
    null_both: np.ndarray
    null_hits: np.ndarray


@numba.njit(cache=True, nogil=True)
def _runs(low: np.ndarray) -> np.ndarray:
    """Starts of the runs of equal values, and the length as the last entry."""
    starts = np.empty(low.size + 1, np.int64)
    n = 0
    for k in range(low.size):
        if k == 0 or low[k] != low[k - 1]:
            starts[n] = k
            n += 1
    starts[n] = low.size
    return starts[: n + 1]


@numba.njit(cache=True, nogil=True)
def _active_pixels(f, threshold, y_low, y_high, y_w, x_low, x_high, x_w, y_runs, x_runs, out):
    """Indices of grid pixels of one map above the threshold, into `out`; returns how many.

    `out` needs one place more than there are pixels. a + w·(b − a) is used rather than
    (1 − w)·a + w·b because it cannot round above the larger end, which is what makes skipping
    by maximum exact.
    """
    width = x_low.size
    upper, rise = np.empty(width, np.float64), np.empty(width, np.float64)
    n = 0
    for ry in range(y_runs.size - 1):
        top, bottom = y_low[y_runs[ry]], y_high[y_runs[ry]]
        for rx in range(x_runs.size - 1):
            left, right = x_low[x_runs[rx]], x_high[x_runs[rx]]
            a, b = f[top, left], f[top, right]
            c, d = f[bottom, left], f[bottom, right]
            if a <= threshold and b <= threshold and c <= threshold and d <= threshold:
                continue
            first, last = x_runs[rx], x_runs[rx + 1]
            for x in range(first, last):
                upper[x] = a + x_w[x] * (b - a)
                rise[x] = (c + x_w[x] * (d - c)) - upper[x]
            for y in range(y_runs[ry], y_runs[ry + 1]):
                w, row = y_w[y], y * width
                for x in range(first, last):
                    # Written always and kept by counting on: no branch to mispredict.
                    out[n] = row + x
                    n += upper[x] + w * rise[x] > threshold
    return n


@numba.njit(cache=True, nogil=True)
def _annotated(labels, category_of, only, categories):
    """1 where any channel of a category is annotated: uint8 (categories, pixels).

    Rows of categories with one channel (only[g] ≥ 0) stay empty: the channel itself tells.
    """
    channels, pixels = labels.shape
    mask = np.zeros((categories, pixels), np.uint8)
    for k in range(channels):
        if only[category_of[k]] < 0:
            for p in range(pixels):
                if labels[k, p]:
                    mask[category_of[k], p] = 1
    return mask


@numba.njit(cache=True, nogil=True)
def _count(
    maps, thresholds, labels, others, category_of, only, concepts,
    y_low, y_high, y_w, x_low, x_high, x_w, hits, both, null_both, null_hits,
):  # fmt: skip
    """Fill hits, both and the null sums; returns (rows of hits, rows of both).

    only : (categories,) the channel of a category that has exactly one, −1 for others. A
    negative second number says that `both` was too short: call again with a longer one.
    """
    images, units = maps.shape[0], maps.shape[1]
    channels, categories, shuffles = labels.shape[1], only.size, others.shape[1]
    pixels = y_low.size * x_low.size
    y_runs, x_runs = _runs(y_low), _runs(x_low)
    active = np.empty(pixels + 1, np.int64)
    histogram = np.zeros(concepts + 1, np.int32)
    touched = np.empty(concepts + 1, np.int64)
    annotated = np.zeros(channels, np.int64)
    n_hits = n_both = 0
    for i in range(images):
        mask = _annotated(labels[i], category_of, only, categories)
        other_masks = np.empty((shuffles, categories, pixels), np.uint8)
        for r in range(shuffles):
            other_masks[r] = _annotated(others[i, r], category_of, only, categories)
        for t in range(units):
            f = maps[i, t]
            threshold = thresholds[t]
            above = False
            for y in range(f.shape[0]):
                for x in range(f.shape[1]):
                    above |= f[y, x] > threshold
            if not above:
                continue
            n = _active_pixels(
                f, threshold, y_low, y_high, y_w, x_low, x_high, x_w, y_runs, x_runs, active
            )
            if n == 0:
                continue
            if n_both + concepts > both.shape[0]:
                return n_hits, -1
            seen = 0
            for k in range(channels):
                annotated[k] = 0
                for j in range(n):
                    label = labels[i, k, active[j]]
                    if label:
                        annotated[k] += 1
                        if histogram[label] == 0:
                            touched[seen] = label
                            seen += 1
                        histogram[label] += 1
            hits[n_hits, 0] = i
            hits[n_hits, 1] = t
            hits[n_hits, 2] = n
            for g in range(categories):
                inside = 0
                if only[g] >= 0:
                    inside = annotated[only[g]]
                else:
                    for j in range(n):
                        inside += mask[g, active[j]]
                hits[n_hits, 3 + g] = inside
            n_hits += 1
            order = np.sort(touched[:seen])
            for s in range(seen):
                both[n_both, 0] = i
                both[n_both, 1] = t
                both[n_both, 2] = order[s]
                both[n_both, 3] = histogram[order[s]]
                histogram[order[s]] = 0
                n_both += 1
            for r in range(shuffles):
                sums = null_both[r, t]
                for k in range(channels):
                    plane = others[i, r, k]
                    without = sums[0]
                    for j in range(n):
                        sums[plane[active[j]]] += 1
                    annotated[k] = n - (sums[0] - without)
                for g in range(categories):
                    inside = 0
                    if only[g] >= 0:
                        inside = annotated[only[g]]
                    else:
                        for j in range(n):
                            inside += other_masks[r, g, active[j]]
                    null_hits[r, t, g] += inside
    return n_hits, n_both


def _prepare(
    maps: Any, thresholds: np.ndarray, labels: np.ndarray, others: np.ndarray | None,
    category_of: np.ndarray, categories: int, concepts: int,
) -> np.ndarray:  # fmt: skip
    """Check shapes and ids, so that no kernel leaves its arrays; gives `others` (images,
    shuffles, channels, height, width)."""
    if maps.ndim != 4 or labels.ndim != 4 or len(maps) != len(labels):
        raise UnitscopeError(
            f"maps {tuple(maps.shape)} and labels {tuple(labels.shape)} do not belong together: "
            "(images, units, h, w) and (images, channels, grid height, grid width) are wanted"
        )
    if len(thresholds) != maps.shape[1]:
        raise UnitscopeError(f"{len(thresholds)} thresholds for {maps.shape[1]} units")
    if len(category_of) != labels.shape[1]:
        raise UnitscopeError(
            f"{len(category_of)} channel categories for {labels.shape[1]} channels"
        )
    if len(category_of) and not 0 <= min(category_of) <= max(category_of) < categories:
        raise UnitscopeError(f"channel categories {list(category_of)} of {categories}")
    for part in (labels, others):
        if part is not None and part.size and int(part.max()) > concepts:
            raise UnitscopeError(
                f"the label maps hold concept {int(part.max())}, and there are {concepts}"
            )
    if others is None:
        return np.zeros((len(labels), 0, *labels.shape[1:]), np.uint16)
    if others.shape[0] != len(labels) or others.shape[2:] != labels.shape[1:]:
        raise UnitscopeError(f"labels {labels.shape}, shuffled labels {others.shape}")
    return others


def count_areas(
    labels: np.ndarray, category_of: np.ndarray, categories: int, concepts: int
) -> tuple[np.ndarray, np.ndarray]:
    """(areas, annotated) of :class:`Counts` for label maps (images, channels, height, width)."""
    rows, annotated = [], np.zeros((len(labels), categories), np.int32)
    never = np.full(categories, -1)
    for i, planes in enumerate(labels):
        flat = planes.reshape(len(planes), math.prod(planes.shape[1:]))
        if flat.size:
            counted = np.bincount(flat.ravel(), minlength=concepts + 1)
            found = np.flatnonzero(counted[1:]) + 1
            rows.append(np.stack([np.full(len(found), i), found, counted[found]], 1))
            annotated[i] = _annotated(flat, category_of, never, categories).sum(1)
    areas = np.concatenate(rows) if rows else np.zeros((0, 3))
    return areas.astype(np.int32), annotated


def count_images(
    maps: np.ndarray,
    thresholds: np.ndarray,
    labels: np.ndarray,
    category_of: np.ndarray,
    categories: int,
    concepts: int,
    others: np.ndarray | None = None,
) -> Counts:
    """Count one batch of images on the CPU; the kernel releases the GIL.

    Parameters
    ----------
    maps : float (images, units, h, w).
    thresholds : float32 (units,).
    labels : uint16 (images, channels, grid height, grid width), concept ids, 0 = none. One
        concept must not stand at one pixel in two channels.
    category_of : (channels,) position of each channel's category, below `categories`.
    concepts : the largest concept id.
    others : uint16 (images, shuffles, channels, grid height, grid width): other images'
        labels, for the null distribution.

    Raises UnitscopeError where shapes do not fit.

    >>> maps = np.array([[[[0.0, 4.0]]]], np.float32)       # one image, one unit, 1×2 cells
    >>> labels = np.array([[[[0, 0, 1, 2]]]], np.uint16)    # one channel on a 1×4 grid
    >>> counts = count_images(maps, np.array([1.5], np.float32), labels, np.array([0]), 1, 2)
    >>> counts.hits.tolist()                                # image, unit, hits, annotated hits
    [[0, 0, 2, 2]]
    >>> counts.both.tolist()                                # image, unit, concept, both
    [[0, 0, 1, 1], [0, 0, 2, 1]]
    """
    others = _prepare(maps, thresholds, labels, others, category_of, categories, concepts)
    n, units = maps.shape[:2]
    height, width = labels.shape[2:]
    shuffles = others.shape[1]
    flat = labels.reshape(n, labels.shape[1], height * width)
    y, x = interpolation(maps.shape[2], height), interpolation(maps.shape[3], width)
    category_of = np.ascontiguousarray(category_of, np.int64)
    times = np.bincount(category_of, minlength=categories)
    only = np.full(categories, -1)
    only[category_of] = np.where(times[category_of] == 1, np.arange(len(category_of)), -1)
    hits = np.empty((n * units, 3 + categories), np.int32)
    null_both = np.zeros((shuffles, units, concepts + 1), np.int32)
    null_hits = np.zeros((shuffles, units, categories), np.int32)
    # Float32 holds every half and bfloat16 exactly; the interpolation itself is in float64.
    arguments = (
        np.ascontiguousarray(maps, np.float32).astype(np.float64),
        thresholds.astype(np.float64), flat,
        others.reshape(n, shuffles, labels.shape[1], height * width),
        category_of, only, concepts, *y, *x, hits,
    )  # fmt: skip
    room = 64 * n * max(1, units // 8) + concepts
    while True:
        both = np.empty((room, 4), np.int32)
        n_hits, n_both = _count(*arguments, both, null_both, null_hits)
        if n_both >= 0:
            break
        room *= 4
        null_both[:] = 0
        null_hits[:] = 0
    null_both[:, :, 0] = 0
    areas, annotated = count_areas(labels, category_of, categories, concepts)
    return Counts(
        hits[:n_hits].copy(), both[:n_both].copy(), areas, annotated, null_both, null_hits
    )


def upsample_torch(maps: Tensor, height: int, width: int) -> Tensor:
    """Maps (n, h, w) → float64 (n, height, width): the kernel's own arithmetic, in torch."""
    y, x = interpolation(maps.shape[1], height), interpolation(maps.shape[2], width)

    def at(array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(maps.device)

    f = maps.double()
    left, right = f[:, :, at(x.low)], f[:, :, at(x.high)]
    rows = left + at(x.weight) * (right - left)
    top, bottom = rows[:, at(y.low)], rows[:, at(y.high)]
    return top + at(y.weight)[:, None] * (bottom - top)


def count_images_torch(
    maps: Tensor,
    thresholds: np.ndarray,
    labels: np.ndarray,
    category_of: np.ndarray,
    categories: int,
    concepts: int,
    others: np.ndarray | None = None,
    pairs_at_once: int = 2048,
) -> Counts:
    """:func:`count_images` as batched torch work, on the device that `maps` lie on.

    Same arguments and the same rows; `pairs_at_once` bounds the (image, unit) pairs that are
    upsampled together.
    """
    others = _prepare(maps, thresholds, labels, others, category_of, categories, concepts)
    device = maps.device
    n, units = maps.shape[:2]
    channels, height, width = labels.shape[1:]
    shuffles = others.shape[1]
    limit = torch.from_numpy(thresholds).to(device, torch.float64)
    planes = torch.from_numpy(labels.reshape(n, channels, -1).astype(np.int64)).to(device)
    shuffled = torch.from_numpy(
        others.reshape(n, shuffles, channels, height * width).astype(np.int64)
    ).to(device)

    def annotated_of(planes: Tensor) -> Tensor:
        mask = torch.zeros(
            *planes.shape[:-2], categories, planes.shape[-1], dtype=torch.bool, device=device
        )
        for k, g in enumerate(category_of):
            mask[..., g, :] |= planes[..., k, :] > 0
        return mask

    mask_of, other_mask_of = annotated_of(planes), annotated_of(shuffled)
    null_both = torch.zeros(shuffles, units, concepts + 1, dtype=torch.int32, device=device)
    null_hits = torch.zeros(shuffles, units, categories, dtype=torch.int32, device=device)
    hit_rows, both_rows = [], []
    pairs = (maps.double().amax((2, 3)) > limit).nonzero()
    for start in range(0, len(pairs), pairs_at_once):
        image, unit = pairs[start : start + pairs_at_once].T
        active = upsample_torch(maps[image, unit], height, width) > limit[unit, None, None]
        pair, pixel = active.flatten(1).nonzero().T
        count = torch.zeros(len(image), 3 + categories, dtype=torch.int64, device=device)
        count[:, 0], count[:, 1] = image, unit
        count[:, 2] = torch.bincount(pair, minlength=len(image))
        table = torch.zeros(len(image), concepts + 1, dtype=torch.int32, device=device)
        one = torch.ones(1, dtype=torch.int32, device=device).expand(len(pair))
        for g in range(categories):
            count[:, 3 + g].index_add_(0, pair, mask_of[image[pair], g, pixel].long())
        for k in range(channels):
            table.index_put_((pair, planes[image[pair], k, pixel]), one, accumulate=True)
        table[:, 0] = 0
        for r in range(shuffles):
            row = torch.full_like(pair, r)
            for k in range(channels):
                label = shuffled[image[pair], r, k, pixel]
                null_both.index_put_((row, unit[pair], label), one, accumulate=True)
            for g in range(categories):
                inside = other_mask_of[image[pair], r, g, pixel].int()
                null_hits.index_put_(
                    (row, unit[pair], torch.full_like(pair, g)), inside, accumulate=True
                )
        hit_rows.append(count[count[:, 2] > 0])
        at = table.nonzero()
        both_rows.append(
            torch.stack([image[at[:, 0]], unit[at[:, 0]], at[:, 1], table[at[:, 0], at[:, 1]]], 1)
        )
    null_both[:, :, 0] = 0

    def rows(parts: list[Tensor], columns: int) -> np.ndarray:
        table = torch.cat(parts).cpu().numpy() if parts else np.zeros((0, columns))
        return table.astype(np.int32)

    areas, annotated = count_areas(
        labels, np.ascontiguousarray(category_of, np.int64), categories, concepts
    )
    return Counts(
        rows(hit_rows, 3 + categories), rows(both_rows, 4), areas, annotated,
        null_both.cpu().numpy(), null_hits.cpu().numpy(),
    )  # fmt: skip
