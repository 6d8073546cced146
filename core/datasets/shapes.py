"""Rasterising of polygons, circles and run lengths from annotation programs.

One rule for all: a pixel is covered where its centre lies within the shape. Coordinates count from
the photo's upper left corner, x to the right and y downwards, so the centre of the first pixel is
(0.5, 0.5). Masks are bool (height, width); sizes are (width, height), as Pillow's.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from core.datasets.decode import MAX_PIXELS

_EDGES = 256
"""Edges whose crossings are computed at a time: the most that one block of them takes is
`_EDGES` times the photo's height."""


def points_of(result: Any, least: int = 3, flat: bool = False) -> np.ndarray:
    """The (x, y) of a list of pairs, or of numbers in turn (`flat`), as float64 (n, 2).

    Raises ValueError, with the reason, for anything else, fewer than `least` of them, and
    numbers that are not positions in a photo.
    """
    try:
        points = np.array(result, np.float64)
        if flat and points.ndim == 1:
            points = points.reshape(-1, 2)
        elif flat:
            raise ValueError
        if points.size and points.shape[1:] != (2,):
            raise ValueError
    except (TypeError, ValueError, OverflowError):
        raise ValueError("its points are not pairs of numbers") from None
    points = points.reshape(-1, 2)
    if len(points) < least:
        raise ValueError(f"it has {len(points)} points; {least} are needed")
    if not np.isfinite(points).all() or np.abs(points).max() > MAX_PIXELS:
        raise ValueError("it has a point that is no place in a photo")
    return points


def polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The inside of a closed polygon (n, 2), by the even-odd rule.

    A row's crossings with the edges are put into the first column whose centre is not left of
    them; a running exclusive or along the row is then the inside.

    >>> polygon(np.array([[1, 0], [3, 0], [3, 2], [1, 2.0]]), (4, 2)).astype(int).tolist()
    [[0, 1, 1, 0], [0, 1, 1, 0]]
    """
    width, height = size
    inside = np.zeros((height, width), bool)
    x, y = points.T
    left, right = (int(v) for v in np.clip(np.ceil([x.min() - 0.5, x.max() - 0.5]), 0, width))
    top, below = (int(v) for v in np.clip(np.ceil([y.min() - 0.5, y.max() - 0.5]), 0, height))
    if left >= right or top >= below:
        return inside
    crossings = np.zeros((below - top, right - left + 1), bool)
    to_x, to_y = np.roll(x, -1), np.roll(y, -1)
    # An edge crosses the rows whose centres lie in [its upper end, its lower end).
    ends = np.ceil(np.stack([np.minimum(y, to_y), np.maximum(y, to_y)]) - 0.5)
    first, last = np.clip(ends, top, below).astype(np.int64)
    for at in range(0, len(x), _EDGES):
        part = slice(at, at + _EDGES)
        many = last[part] - first[part]
        edge = np.repeat(np.arange(at, at + len(many)), many)
        row = np.arange(len(edge)) - np.repeat(np.cumsum(many) - many, many) + first[edge]
        share = (row + 0.5 - y[edge]) / (to_y[edge] - y[edge])
        column = np.clip(np.ceil(x[edge] + share * (to_x[edge] - x[edge]) - 0.5), left, right)
        np.logical_xor.at(crossings, (row - top, column.astype(np.int64) - left), True)
    inside[top:below, left:right] = np.logical_xor.accumulate(crossings, 1)[:, :-1]
    return inside


def circle(centre: Sequence[float], on_it: Sequence[float], size: tuple[int, int]) -> np.ndarray:
    """The disc around `centre` through the point `on_it`.

    >>> circle((1.5, 1.5), (1.5, 2.6), (3, 3)).astype(int).tolist()
    [[0, 1, 0], [1, 1, 1], [0, 1, 0]]
    """
    y, x = np.ogrid[: size[1], : size[0]]
    radius = np.hypot(on_it[0] - centre[0], on_it[1] - centre[1])
    inside: np.ndarray = np.hypot(x + 0.5 - centre[0], y + 0.5 - centre[1]) <= radius
    return inside


def run_lengths(result: Any) -> tuple[np.ndarray, tuple[int, int]]:
    """(the lengths of the runs, size) of COCO's RLE, compressed or not.

    ``{"size": [height, width], "counts": …}``: the lengths of runs of pixels outside and inside in
    turn, down the columns and from left to right; a list, or the text that pycocotools packs
    it into (:func:`_unpacked`).

    Raises
    ------
    ValueError
        for anything else, and where the runs do not make up height times width.
    """
    if not isinstance(result, dict) or "counts" not in result:
        raise ValueError("its run lengths have no counts")
    size, counts = result.get("size"), result["counts"]
    if not (isinstance(size, list) and len(size) == 2 and all(_whole(v) and v > 0 for v in size)):
        raise ValueError(f"its run lengths are of size {size!r}, not [height, width]")
    if isinstance(counts, str):
        counts = _unpacked(counts)
    if not (isinstance(counts, list) and all(_whole(v) and v >= 0 for v in counts)):
        raise ValueError("its counts are neither a list of lengths nor packed ones")
    pixels = size[0] * size[1]
    if pixels > MAX_PIXELS:
        raise ValueError(f"its size {size[1]}×{size[0]} is above {MAX_PIXELS:,} pixels")
    if sum(counts) != pixels:
        raise ValueError(f"its counts add up to {sum(counts)}, not to {size[1]}×{size[0]} pixels")
    return np.array(counts, np.int64), (size[1], size[0])


def from_runs(counts: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """The mask of the run lengths of :func:`run_lengths`.

    >>> from_runs(np.array([1, 2, 3]), (3, 2)).astype(int).tolist()
    [[0, 1, 0], [1, 0, 0]]
    """
    inside: np.ndarray = np.repeat(np.arange(len(counts)) % 2 == 1, counts)
    return inside.reshape(size).T


def _unpacked(text: str) -> list[int]:
    """The run lengths that pycocotools packs into text.

    A number is written in groups of five bits, lowest first, a character (from "0" on) each; bit 6
    says that more follow, the highest bit of the last group is the sign. From the fourth
    length on, it is the difference from the last but one. Source: COCO's maskApi.

    >>> _unpacked("05220")
    [0, 5, 2, 7, 2]
    """
    counts: list[int] = []
    number = shift = 0
    for letter in text:
        bits = ord(letter) - ord("0")
        if not 0 <= bits < 64 or shift > 60:
            raise ValueError("its packed counts are damaged")
        number |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                number -= 1 << shift
            if len(counts) > 2:
                number += counts[-2]
            counts.append(number)
            number = shift = 0
    if shift:
        raise ValueError("its packed counts end within a number")
    return counts


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
