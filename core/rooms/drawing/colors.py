"""The eleven basic colour names of a pixel, by a fixed rule on hue, saturation and value."""

from __future__ import annotations

from functools import cache

import numpy as np

NAMES = (
    "black-c",
    "blue-c",
    "brown-c",
    "green-c",
    "grey-c",
    "orange-c",
    "pink-c",
    "purple-c",
    "red-c",
    "white-c",
    "yellow-c",
)
"""Broden's spelling, in its order."""


@cache
def _table() -> np.ndarray:
    """uint8 (32, 32, 32): the name's position for each 8-level cell of sRGB."""
    axis = (np.arange(32) * 8 + 4) / 255.0
    r, g, b = np.meshgrid(axis, axis, axis, indexing="ij")
    high, low = np.maximum(np.maximum(r, g), b), np.minimum(np.minimum(r, g), b)
    span = high - low
    safe = np.where(span > 0, span, 1.0)
    hue = (
        np.where(
            high == r,
            (g - b) / safe % 6,
            np.where(high == g, (b - r) / safe + 2, (r - g) / safe + 4),
        )
        * 60.0
    )
    s = span / high
    where = {name: k for k, name in enumerate(NAMES)}
    # Later rules win over earlier ones.
    out = np.full(r.shape, where["red-c"], np.uint8)
    for name, start in (
        ("orange-c", 14),
        ("yellow-c", 42),
        ("green-c", 68),
        ("blue-c", 165),
        ("purple-c", 258),
        ("pink-c", 312),
        ("red-c", 344),
    ):
        out[hue >= start] = where[name]
    warm = (hue >= 8) & (hue < 48)
    out[warm & (high < 0.62)] = where["brown-c"]
    out[warm & (s < 0.45) & (high < 0.8)] = where["brown-c"]
    out[((hue < 8) | (hue >= 330)) & (s < 0.55) & (high > 0.6)] = where["pink-c"]
    grey = (s < 0.14) | (span < 0.06)
    out[grey] = where["grey-c"]
    out[(s < 0.16) & (high > 0.8)] = where["white-c"]
    out[high < 0.17] = where["black-c"]
    return out


def color_names(rgb: np.ndarray) -> np.ndarray:
    """Position in :data:`NAMES` of each pixel of uint8 (…, 3) sRGB; uint8 (…).

    The rule, on hue in degrees, saturation and value in 0…1, at a resolution of 8 levels:
    value below 0.17 is black; saturation below 0.16 with value above 0.8 is white;
    saturation below 0.14, or channels that differ by less than 0.06, are grey; hues 8–48 are
    brown where value is below 0.62, or below 0.8 with saturation below 0.45; reds (330–8)
    with saturation below 0.55 and value above 0.6 are pink; else red from 344, orange from
    14, yellow from 42, green from 68, blue from 165, purple from 258, pink from 312.

    >>> [NAMES[k] for k in color_names(np.uint8([[250, 250, 250], [30, 60, 200], [90, 60, 30]]))]
    ['white-c', 'blue-c', 'brown-c']
    """
    q = rgb >> 3
    value: np.ndarray = _table()[q[..., 0], q[..., 1], q[..., 2]]
    return value
