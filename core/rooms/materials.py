"""One usual surface of each material that `rooms` names, to draw a thing in another material."""

from __future__ import annotations

from core.rooms.drawing.tracer import Material, Vec, srgb


def _of(
    concept: str,
    color: str,
    texture: str = "plain",
    second: str | None = None,
    scale: float = 0.2,
    gloss: float = 0.0,
    mirror: float = 0.0,
    bump: float = 0.0,
    bump_scale: float = 0.03,
) -> Material:
    return Material(
        srgb(color),
        concept,
        texture,
        srgb(second) if second else None,
        scale,
        gloss=gloss,
        mirror=mirror,
        bump=bump,
        bump_scale=bump_scale,
    )


USUAL: dict[str, Material] = {
    m.concept: m
    for m in (
        _of("asphalt", "#55565a", "asphalt"),
        _of("bark", "#6d5540", "bark", "#42311f", bump=0.6),
        _of("brick", "#a4553f", "bricks", "#c9bdb0", 0.26, bump=0.4),
        _of("cardboard", "#b58a5a", "noise", "#a37a4d", 0.3),
        _of("carpet", "#8f8578", "weave", "#6b645a", 0.05, bump=0.3, bump_scale=0.05),
        _of("ceramic", "#eef0ee", gloss=0.7),
        _of("concrete", "#a3a19c", "noise", "#86847f", 0.7),
        _of("fabric", "#6b7f9c", "weave", "#53647d", 0.04, bump=0.25),
        _of("feather", "#eceae4", "noise", "#cfccc4", 0.05, bump=0.4),
        _of("foam", "#f2f5f6", "noise", "#d9e2e6", 0.2, bump=0.5),
        _of("foliage", "#3f7a34", "leaves", "#234d1e", 0.08, bump=1.2),
        _of("food", "#c98f4e", "noise", "#8f5a2a", 0.04),
        _of("fur", "#7a5a3c", "noise", "#5a4028", 0.05, bump=0.8),
        _of("glass", "#b9d3d8", gloss=0.9, mirror=0.25),
        _of("grass", "#5f8a3a", "grass", "#3f6426", 0.1, bump=0.8),
        _of("gravel", "#9a948a", "noise", "#6f6a62", 0.05, bump=0.7),
        _of("leather", "#6b4128", "noise", "#55321d", 0.1, gloss=0.35),
        _of("metal", "#c3c7ca", gloss=0.8, mirror=0.35),
        _of("moss", "#5d7a35", "noise", "#3f5a22", 0.05, bump=0.9),
        _of("paint", "#d8d2c4"),
        _of("paper", "#f0ede4"),
        _of("petal", "#d8577f"),
        _of("plaster", "#e3ded2", "noise", "#d3cdc0", 0.5),
        _of("plastic", "#3f6fb0", gloss=0.5),
        _of("rock", "#837c72", "noise", "#5c564e", 0.3, bump=0.8),
        _of("roof tile", "#9c4f38", "tiles", "#6d3424", 0.25, bump=0.3),
        _of("rubber", "#26272a", gloss=0.1),
        _of("sand", "#d9c08c", "ripples", "#c2a873", 0.3, bump=0.3),
        _of("skin", "#d8a582"),
        _of("snow", "#f4f7fa", "noise", "#dfe7f0", 0.6, bump=0.2),
        _of("soil", "#5a4331", "noise", "#3f2e20", 0.1, bump=0.6),
        _of("stone", "#a09a90", "noise", "#7d776e", 0.25, bump=0.3),
        _of("straw", "#d3b560", "noise", "#a98a3c", 0.04, bump=0.7),
        _of("tile", "#dfe3e2", "tiles", "#a9b0b0", 0.15, gloss=0.45),
        _of("wallpaper", "#d9c9a8", "stripes", "#c2ad86", 0.16),
        _of("water", "#3f7f93", "ripples", "#2f6477", 0.4, gloss=0.8, bump=0.2, bump_scale=0.2),
        _of("wax", "#f1e6c8", gloss=0.2),
        _of("wicker", "#b98d55", "weave", "#7d5a2f", 0.04, bump=0.6),
        _of("wood", "#8a5a33", "wood", "#5d3a20", 0.1, gloss=0.15),
    )
}
"""Material by the name that it has in the material mask."""


COLORS = {
    "black": "#1c1c1e",
    "blue": "#2850c8",
    "brown": "#7a4f2c",
    "green": "#2f9440",
    "grey": "#8c8c8c",
    "orange": "#ee7d1e",
    "pink": "#f59ab0",
    "purple": "#7a3fb0",
    "red": "#d42020",
    "white": "#f2f2f0",
    "yellow": "#f0d02c",
}
"""A shade of each colour that the color mask tells apart, ``#rrggbb`` sRGB."""


def luminance(color: Vec) -> float:
    """Relative luminance of a linear RGB colour, 0 … 1 (Rec. 709 weights)."""
    return 0.2126 * color[0] + 0.7152 * color[1] + 0.0722 * color[2]
