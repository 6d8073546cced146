"""Masks that encode labels as colours, by a table of exact colours.

A colour is a number, 65536 · R + 256 · G + B, and shown as ``#rrggbb``. Black is not annotated.
"""

from __future__ import annotations

import re
from collections.abc import Callable

import numpy as np

from core.foundation.errors import BadFile

BLACK = 0
SMOOTHED = 8
"""A mask with more unlisted colours than this is one that was smoothed."""

_HEX = re.compile(r"#([0-9a-f]{6})", re.IGNORECASE)
_NUMBERS = re.compile(r"\(?\s*(\d{1,3})[\s,;]+(\d{1,3})[\s,;]+(\d{1,3})\s*\)?")


def read_color(text: str) -> int | None:
    """The colour that a table writes as ``#rrggbb`` or as red, green and blue; None for others.

    >>> shown(read_color("#FF8000")), shown(read_color("255, 128, 0")), read_color("red")
    ('#ff8000', '#ff8000', None)
    """
    if found := _HEX.fullmatch(text):
        return int(found[1], 16)
    if found := _NUMBERS.fullmatch(text):
        red, green, blue = (int(part) for part in found.groups())
        if max(red, green, blue) < 256:
            return red << 16 | green << 8 | blue
    return None


def shown(color: int) -> str:
    """``#rrggbb``.

    >>> shown(255)
    '#0000ff'
    """
    return f"#{color:06x}"


def to_values(
    pixels: np.ndarray,
    value_of: dict[int, int],
    name_of: Callable[[int], str],
    path: str,
    known: str,
) -> np.ndarray:
    """The label values, uint16 (height, width), of a mask's colours, uint8 (height, width, 3).

    Parameters
    ----------
    value_of : colour → value; black is 0 where it is not in it.
    name_of : colour → its label, to name the nearest one. known : where colours are declared.

    Raises
    ------
    BadFile
        naming the file and up to five colours that are not listed, the most frequent first, each
        with its pixels and the nearest one that is.
    """
    value_of = {BLACK: 0} | value_of
    listed = np.array(sorted(value_of), np.uint32)
    values = np.array([value_of[int(color)] for color in listed], np.uint16)
    red, green, blue = np.moveaxis(pixels.astype(np.uint32), -1, 0)
    colors = red << 16 | green << 8 | blue
    place = np.minimum(np.searchsorted(listed, colors), len(listed) - 1)
    strange, counts = np.unique(colors[listed[place] != colors], return_counts=True)
    if len(strange):
        order = np.argsort(-counts, kind="stable")
        result = []
        for k in order[:5]:
            near = int(listed[np.argmin([_distance(int(strange[k]), int(c)) for c in listed])])
            result.append(
                f"{shown(int(strange[k]))} ({counts[k]} pixels; nearest {shown(near)} "
                f"{name_of(near) or 'not annotated'})"
            )
        more = f" and {len(strange) - 5} more" if len(strange) > 5 else ""
        hint = ""
        if len(strange) > SMOOTHED:
            hint = (
                "; so many belong to a mask that was smoothed (anti-aliased, resized, or saved as "
                "JPEG): save it with the exact colours"
            )
        raise BadFile(path, f"has colours that are not in {known}: {', '.join(result)}{more}{hint}")
    value: np.ndarray = values[place]
    return value


def _distance(one: int, other: int) -> int:
    return sum(((one >> shift & 255) - (other >> shift & 255)) ** 2 for shift in (0, 8, 16))
