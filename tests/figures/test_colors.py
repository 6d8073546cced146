"""Colours that must be told apart, by readers who see few of them too."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from core.figures.base import CATEGORY_COLORS, heat, luminance, rgb
from core.figures.compare import SIDES
from core.figures.disable import RANKINGS
from core.views.pictures import PALETTE, concept_colors

SEEN = {
    "all colours": np.eye(3),
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
}
"""How colours are seen: matrices on linear RGB (Machado, Oliveira and Fernandes, 2009; severity
1)."""


def lab(color: tuple[int, int, int], seen: str) -> np.ndarray:
    """CIELAB (D65) of a colour as somebody sees it, by its definition."""
    parts = [v / 255 for v in color]
    linear = [v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in parts]
    linear = np.clip(np.array(SEEN[seen]) @ linear, 0, 1)
    to_xyz = np.array(
        [
            [0.4124564, 0.3575761, 0.1804375],
            [0.2126729, 0.7151522, 0.0721750],
            [0.0193339, 0.1191920, 0.9503041],
        ]
    )
    ratio = to_xyz @ linear / to_xyz.sum(1)
    x, y, z = (
        t ** (1 / 3) if t > (6 / 29) ** 3 else t / (3 * (6 / 29) ** 2) + 4 / 29 for t in ratio
    )
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


def apart(one: tuple[int, int, int], two: tuple[int, int, int], seen: str) -> float:
    """ΔE*ab."""
    return float(np.linalg.norm(lab(one, seen) - lab(two, seen)))


def test_the_distance_is_the_known_one():
    assert lab((255, 255, 255), "all colours") == pytest.approx([100, 0, 0], abs=0.01)
    assert lab((255, 0, 0), "all colours") == pytest.approx([53.24, 80.09, 67.20], abs=0.05)
    # What the simulation is for: these differ clearly, and hardly at all to a deuteranope.
    red, green = (160, 90, 30), (110, 115, 30)
    assert apart(red, green, "all colours") > 3 * apart(red, green, "deuteranopia")


@pytest.mark.parametrize("seen", SEEN)
def test_no_two_colours_of_an_overlay_are_alike(seen):
    for one, two in itertools.combinations(PALETTE, 2):
        assert apart(one, two, seen) >= 18, (one, two)
    for color in PALETTE:  # white: the lines between regions; grey: what has no label
        for other in ((255, 255, 255), (128, 128, 128)):
            assert apart(color, other, seen) >= 18, (color, other)


LISTS = {
    "categories": CATEGORY_COLORS.values(),
    "sides": SIDES,
    "rankings": [colors for _, colors in RANKINGS.values()],
}


@pytest.mark.parametrize("seen", SEEN)
@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("name", LISTS)
def test_colours_of_one_legend_are_told_apart(name, dark, seen):
    for one, two in itertools.combinations(LISTS[name], 2):
        assert apart(tuple(rgb(one[dark])), tuple(rgb(two[dark])), seen) >= 13, (one, two)


def test_the_concepts_of_a_photo_have_colours_of_their_own():
    rng = np.random.default_rng(0)
    for _ in range(200):
        present = rng.choice(np.arange(1, 1400), int(rng.integers(1, len(PALETTE) + 1)), False)
        colors = concept_colors(int(c) for c in present)
        assert len(set(colors.values())) == len(present)
    # Alone a concept has its own, whatever else there may be; of very many, all have one.
    assert {concept_colors([5])[5], concept_colors([5, 6, 7])[5]} == {concept_colors([5])[5]}
    many = concept_colors(range(1, 100))
    assert len(many) == 99 and len(set(many.values())) == len(PALETTE)


@pytest.mark.parametrize("dark", [False, True])
def test_letters_on_a_heat_map_can_be_read(dark):
    lights = []
    for value in np.linspace(-1, 1, 81):
        cell, ink = heat(float(value), dark)
        bright, dim = sorted((luminance(cell), luminance(ink)), reverse=True)
        assert (bright + 0.05) / (dim + 0.05) >= 4.5, value
        lights.append(luminance(cell))
    # Read without colour too: the more, the darker on white paper, the lighter on dark.
    steps = np.diff(lights[41:])
    assert (steps > 0).all() if dark else (steps < 0).all()
