"""Overlap counts of units and concepts per image, from which every IoU is computed.

For image x and unit t let A_t(x) be the map upsampled bilinearly (align_corners=False) to
the working grid and cut at > T_t. Counted are, in pixels of that grid,

* hits  = |A_t(x)|, and |A_t(x)| inside the annotated pixels of each category;
* both  = |A_t(x) ∩ L_c(x)| for every concept c at once, one look-up an active pixel.

The same intersections with other images' labels, summed over images, are the null distribution
(:func:`exchange`); the active pixels that :func:`count_images` found serve every round of it.

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

from core.foundation.errors import UnitscopeError
from core.foundation.geometry import Grid, interpolation
from core.runs.arrays import check_ids


class Counts(NamedTuple):
    """Sparse counts of a batch, rows ordered by (image, unit, concept); image = place in the batch.

    hits : int32 (rows, 3 + categories): image, unit, hits, then hits within the annotated
        pixels of each category. Rows exist only where hits > 0.
    both : int32 (rows, 4): image, unit, concept, both. Rows exist only where both > 0.
    areas : int32 (rows, 3): image, concept, area.
    annotated : int32 (images, categories): annotated pixels of each category.
    pixels : uint32, the active pixels of each row of `hits` one row after the other, as places
        in the flat grid, in any order within a row; empty unless asked for.
    """

    hits: np.ndarray
    both: np.ndarray
    areas: np.ndarray
    annotated: np.ndarray
    pixels: np.ndarray


@numba.njit(cache=True, nogil=True)
def runs_of_equals(low: np.ndarray) -> np.ndarray:
    """Starts of the runs of equal values, and the length as the last entry."""
    starts = np.empty(low.size + 1, np.int64)
    n = 0
    for k in range(low.size):
        if k == 0 or low[k] != low[k - 1]:
            starts[n] = k
            n += 1
    starts[n] = low.size
    return starts[: n + 1]


class Sampling(NamedTuple):
    """Where the pixels of the working grid lie between the cells of a map.

    y, x : :class:`~core.foundation.geometry.Grid` of its rows and columns. y_runs, x_runs : int64,
    starts of the runs of pixels that lie between the same cells (:func:`runs_of_equals`).
    """

    y: Grid
    x: Grid
    y_runs: np.ndarray
    x_runs: np.ndarray


def sampling(cells: tuple[int, int], pixels: tuple[int, int]) -> Sampling:
    """Of maps with `cells` (height, width), on a working grid of `pixels` (height, width)."""
    y, x = interpolation(cells[0], pixels[0]), interpolation(cells[1], pixels[1])
    return Sampling(y, x, runs_of_equals(y.low), runs_of_equals(x.low))


@numba.njit(cache=True, nogil=True)
def active_pixels(f: np.ndarray, threshold: float, at: Sampling, out: np.ndarray) -> int:
    """Indices of grid pixels of one map above the threshold, into `out`; returns how many.

    `out` needs one place more than there are pixels. a + w·(b − a) is used rather than
    (1 − w)·a + w·b because it cannot round above the larger end, which is what makes skipping
    by maximum exact.
    """
    y_low, y_high, y_w = at.y
    x_low, x_high, x_w = at.x
    y_runs, x_runs = at.y_runs, at.x_runs
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
def any_above(f: np.ndarray, threshold: float) -> bool:
    """Is any cell of a map (h, w) above the threshold?"""
    above = False
    for y in range(f.shape[0]):
        for x in range(f.shape[1]):
            above |= f[y, x] > threshold
    return above


@numba.njit(cache=True, nogil=True)
def _annotated(
    labels: np.ndarray, category_of: np.ndarray, only: np.ndarray, categories: int
) -> np.ndarray:
    """1 where any channel of a category is annotated: uint8 (categories, pixels).

    Rows of categories with one channel (only[g] ≥ 0) stay empty: the channel itself says.
    """
    channels, pixels = labels.shape
    mask = np.zeros((categories, pixels), np.uint8)
    for k in range(channels):
        if only[category_of[k]] < 0:
            for p in range(pixels):
                if labels[k, p]:
                    mask[category_of[k], p] = 1
    return mask


class _Masks(NamedTuple):
    """The masks of a batch: labels uint16 (images, channels, pixels), the position of each
    channel's category, and (categories,) the channel of a category that has exactly one, −1 for
    others."""

    labels: np.ndarray
    category_of: np.ndarray
    only: np.ndarray


@numba.njit(cache=True, nogil=True)
def _labels_at(
    labels: np.ndarray,
    pixels: np.ndarray,
    histogram: np.ndarray,
    touched: np.ndarray,
    annotated: np.ndarray,
) -> int:
    """Add the labels at some pixels to `histogram`; returns how many labels were new to it.

    labels : (channels, all pixels). touched : those new ones, in the order in which they came.
    annotated : (channels,) set to the number of pixels with a label in each channel.
    """
    seen = 0
    for k in range(labels.shape[0]):
        annotated[k] = 0
        for j in range(pixels.size):
            label = labels[k, pixels[j]]
            if label:
                annotated[k] += 1
                if histogram[label] == 0:
                    touched[seen] = label
                    seen += 1
                histogram[label] += 1
    return seen


@numba.njit(cache=True, nogil=True)
def _count(
    maps: np.ndarray,
    thresholds: np.ndarray,
    masks: _Masks,
    at: Sampling,
    hits: np.ndarray,
    both: np.ndarray,
    found: np.ndarray,
    concepts: int,
    keep: bool,
) -> tuple[int, int, int]:
    """Fill hits and both, and `found` with the active pixels where they are to be kept; returns
    (rows of hits, rows of both, pixels).

    A negative second number says that `both` or `found` was too short: call again with longer
    ones.
    """
    images, units = maps.shape[0], maps.shape[1]
    channels, categories = masks.labels.shape[1], masks.only.size
    active = np.empty(at.y.low.size * at.x.low.size + 1, np.int64)
    histogram = np.zeros(concepts + 1, np.int32)
    touched = np.empty(concepts + 1, np.int64)
    annotated = np.zeros(channels, np.int64)
    n_hits = n_both = n_found = 0
    for i in range(images):
        labels = masks.labels[i]
        mask = _annotated(labels, masks.category_of, masks.only, categories)
        for t in range(units):
            if not any_above(maps[i, t], thresholds[t]):
                continue
            n = active_pixels(maps[i, t], thresholds[t], at, active)
            if n == 0:
                continue
            if n_both + concepts > both.shape[0] or (keep and n_found + n > found.size):
                return n_hits, -1, n_found
            if keep:
                for j in range(n):
                    found[n_found + j] = active[j]
                n_found += n
            seen = _labels_at(labels, active[:n], histogram, touched, annotated)
            hits[n_hits, 0] = i
            hits[n_hits, 1] = t
            hits[n_hits, 2] = n
            for g in range(categories):
                inside = 0
                if masks.only[g] >= 0:
                    inside = annotated[masks.only[g]]
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
    return n_hits, n_both, n_found


def _prepare(
    maps: Any,
    thresholds: np.ndarray,
    labels: np.ndarray,
    category_of: np.ndarray,
    categories: int,
    concepts: int,
) -> None:
    """Check shapes and ids, so that no kernel leaves its arrays."""
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
    check_ids(labels, concepts)


def _only(category_of: np.ndarray, categories: int) -> np.ndarray:
    """(categories,) the channel of a category that has exactly one, −1 for others."""
    times = np.bincount(category_of, minlength=categories)
    only = np.full(categories, -1)
    only[category_of] = np.where(times[category_of] == 1, np.arange(len(category_of)), -1)
    return only


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
    keep_pixels: bool = False,
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
    keep_pixels : give the active pixels too, which :func:`exchange` works on.

    Raises UnitscopeError where shapes do not fit.

    >>> maps = np.array([[[[0.0, 4.0]]]], np.float32)       # one image, one unit, 1×2 cells
    >>> labels = np.array([[[[0, 0, 1, 2]]]], np.uint16)    # one channel on a 1×4 grid
    >>> counts = count_images(maps, np.array([1.5], np.float32), labels, np.array([0]), 1, 2)
    >>> counts.hits.tolist()                                # image, unit, hits, annotated hits
    [[0, 0, 2, 2]]
    >>> counts.both.tolist()                                # image, unit, concept, both
    [[0, 0, 1, 1], [0, 0, 2, 1]]
    """
    _prepare(maps, thresholds, labels, category_of, categories, concepts)
    n, units = maps.shape[:2]
    height, width = labels.shape[2:]
    flat = labels.reshape(n, labels.shape[1], height * width)
    category_of = np.ascontiguousarray(category_of, np.int64)
    hits = np.empty((n * units, 3 + categories), np.int32)
    # Float32 holds every half and bfloat16 exactly; the interpolation itself is in float64.
    arguments = (
        np.ascontiguousarray(maps, np.float32).astype(np.float64),
        thresholds.astype(np.float64),
        _Masks(flat, category_of, _only(category_of, categories)),
        sampling((maps.shape[2], maps.shape[3]), (height, width)),
        hits,
    )
    room = 64 * n * max(1, units // 8) + concepts
    pixel_room = height * width * (1 + n * units // 32) if keep_pixels else 0
    while True:
        both = np.empty((room, 4), np.int32)
        found = np.empty(pixel_room, np.uint32)
        n_hits, n_both, n_found = _count(*arguments, both, found, concepts, keep_pixels)
        if n_both >= 0:
            break
        room *= 4
        pixel_room *= 4
    areas, annotated = count_areas(labels, category_of, categories, concepts)
    return Counts(
        hits[:n_hits].copy(), both[:n_both].copy(), areas, annotated, found[:n_found].copy()
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
    keep_pixels: bool = False,
    pairs_at_once: int = 2048,
) -> Counts:
    """:func:`count_images` as batched torch work, on the device that `maps` lie on.

    Same arguments and the same rows; `pairs_at_once` bounds the (image, unit) pairs that are
    upsampled together.
    """
    _prepare(maps, thresholds, labels, category_of, categories, concepts)
    device = maps.device
    n = len(maps)
    channels, height, width = labels.shape[1:]
    limit = torch.from_numpy(thresholds).to(device, torch.float64)
    planes = torch.from_numpy(labels.reshape(n, channels, -1).astype(np.int64)).to(device)
    mask_of = torch.zeros(n, categories, height * width, dtype=torch.bool, device=device)
    for k, g in enumerate(category_of):
        mask_of[:, g] |= planes[:, k] > 0
    hit_rows, both_rows, found = [], [], []
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
        if keep_pixels:
            found.append(pixel)
        hit_rows.append(count[count[:, 2] > 0])
        at = table.nonzero()
        both_rows.append(
            torch.stack([image[at[:, 0]], unit[at[:, 0]], at[:, 1], table[at[:, 0], at[:, 1]]], 1)
        )

    def rows(parts: list[Tensor], columns: int) -> np.ndarray:
        table = torch.cat(parts).cpu().numpy() if parts else np.zeros((0, columns))
        return table.astype(np.int32)

    areas, annotated = count_areas(
        labels, np.ascontiguousarray(category_of, np.int64), categories, concepts
    )
    return Counts(
        rows(hit_rows, 3 + categories),
        rows(both_rows, 4),
        areas,
        annotated,
        rows(found, 0).reshape(-1).astype(np.uint32),
    )


# -- exchanged masks ------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True)
def _exchange(
    units: np.ndarray,
    starts: np.ndarray,
    pixels: np.ndarray,
    labels: np.ndarray,
    others: np.ndarray,
    category_of: np.ndarray,
    only: np.ndarray,
    whole: np.ndarray,
    whole_at: np.ndarray,
    sums: np.ndarray,
    inside: np.ndarray,
) -> None:
    multiple = False
    for g in range(only.size):
        multiple |= only[g] < 0
    annotated = np.zeros(labels.shape[1], np.int64)
    for r in range(others.size):
        planes = labels[others[r]]
        if multiple:
            mask = _annotated(planes, category_of, only, only.size)
        else:
            mask = np.empty((0, 0), np.uint8)
        for m in range(units.size):
            first, last = starts[m], starts[m + 1]
            row = sums[r, units[m]]
            for k in range(planes.shape[0]):
                plane = planes[k]
                without = row[0]
                for j in range(first, last):
                    row[plane[pixels[j]]] += 1
                annotated[k] = last - first - (row[0] - without)
            for g in range(only.size):
                if only[g] >= 0:
                    inside[r, units[m], g] += annotated[only[g]]
                else:
                    for j in range(first, last):
                        inside[r, units[m], g] += mask[g, pixels[j]]
            for w in range(whole_at[r], whole_at[r + 1]):
                row[whole[w]] += last - first
            row[0] = 0


def exchange(
    hits: np.ndarray,
    pixels: np.ndarray,
    labels: np.ndarray,
    others: np.ndarray,
    category_of: np.ndarray,
    whole: list[np.ndarray],
    sums: np.ndarray,
    inside: np.ndarray,
) -> None:
    """Add one image's overlaps with the labels of other images, one image a round.

    Parameters
    ----------
    hits : rows of :class:`Counts` of this image (its units and their hits).
    pixels : the active pixels of those rows.
    labels : uint16 (images, channels, pixels). others : (rounds,) places in it of the label maps
        that stand in for the image's own.
    category_of : (channels,) position of each channel's category.
    whole : per round, the concepts that hold for the whole of the other image; they overlap a
        unit wherever it is active.
    sums : int32 (rounds, units, concepts + 1), added to: Σ |A_t(x) ∩ L_c(other)|; column 0 stays 0.
    inside : int32 (rounds, units, categories), added to: |A_t(x)| within the other image's
        annotated pixels of each category.

    >>> hits = np.array([[0, 1, 2]])                           # image 0, unit 1, two pixels
    >>> sums, inside = np.zeros((1, 2, 4), np.int32), np.zeros((1, 2, 1), np.int32)
    >>> exchange(hits, np.array([0, 3], np.uint32), np.array([[[2, 0, 0, 0]]], np.uint16),
    ...          np.array([0]), np.array([0]), [np.array([3])], sums, inside)
    >>> sums[0, 1].tolist(), inside[0, 1].tolist()             # one pixel of 2; all of 3
    ([0, 0, 1, 2], [1])
    """
    if not len(hits):
        return
    _exchange(
        hits[:, 1].astype(np.int64),
        np.concatenate([[0], np.cumsum(hits[:, 2], dtype=np.int64)]),
        np.ascontiguousarray(pixels, np.uint32),
        labels,
        np.ascontiguousarray(others, np.int64),
        np.ascontiguousarray(category_of, np.int64),
        _only(category_of, inside.shape[2]),
        np.concatenate([np.zeros(0, np.int64), *whole]).astype(np.int64),
        np.cumsum([0, *(len(w) for w in whole)], dtype=np.int64),
        sums,
        inside,
    )


@numba.njit(cache=True, nogil=True)
def best_ious(
    sums: np.ndarray,
    inside: np.ndarray,
    hits: np.ndarray,
    areas: np.ndarray,
    category: np.ndarray,
    group: np.ndarray,
    groups: int,
) -> np.ndarray:
    """The best IoU of every unit within each group of concepts, after one round of exchange.

    sums (units, concepts + 1) = Σ |A_t ∩ L_c(other)|; inside (units, categories) = Σ |A_t| within
    the other images' annotated pixels; hits (units,) = Σ |A_t|; areas (concepts + 1,) = Σ |L_c|,
    which no exchange changes; category (concepts + 1,): position of each concept's category, −1
    for one that holds for whole images; group (concepts + 1,): whose best is sought.

    IoU = sums / (hits + area − sums), with `inside` for hits by the denominator "annotated".
    Returns float32 (denominators, groups, units).
    """
    best = np.zeros((2, groups, hits.size), np.float32)
    for t in range(hits.size):
        for c in range(1, areas.size):
            both = sums[t, c]
            if both == 0:
                continue
            g = group[c]
            iou = np.float32(both / (hits[t] + areas[c] - both))
            best[0, g, t] = max(best[0, g, t], iou)
            counted = hits[t] if category[c] < 0 else inside[t, category[c]]
            iou = np.float32(both / (counted + areas[c] - both))
            best[1, g, t] = max(best[1, g, t], iou)
    return best
