"""Figures for a paper: of an exact width, in one font of one size, without title, with a caption.

A figure is laid out at the size of its own letters (:data:`LETTERS` pixels) and then scaled as a
whole, so that letters come out at the points asked for and marks keep their proportions to them.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Literal

from core import __version__
from core.foundation.errors import UnitscopeError
from core.foundation.plain import Json

COLUMNS = {"3.3 in": 3.3, "7 in": 7.0}
"""Usual widths of a figure, of one column and of a page, in inches."""

LETTERS = 12
"""Pixels of a letter in all figures of :mod:`core.figures` (their config's font sizes)."""

FONT = "Arial, 'Liberation Sans', Helvetica, sans-serif"
"""What papers have; the file names it, and PDF and PNG hold its shapes."""

LEAST = 60
"""Pixels that are left to the drawing beside its labels, at least."""


@dataclass(frozen=True)
class Printed:
    """How a figure is printed. Raises UnitscopeError for what no page has.

    inches : width of the whole figure. points : height of its letters (1/72 in). dpi : of PNG.
    """

    inches: float = 3.3
    points: float = 8.0
    dpi: int = 300

    def __post_init__(self) -> None:
        for name, value, low, high in (
            ("width", self.inches, 1.5, 20),
            ("letters", self.points, 4, 24),
            ("dots per inch", self.dpi, 72, 1200),
        ):
            if not low <= value <= high:
                raise UnitscopeError(f"{name} of a figure: {value:g} is not within {low} to {high}")

    @property
    def scale(self) -> float:
        """Points of a pixel of the layout."""
        return self.points / LETTERS

    @property
    def pixels(self) -> float:
        """Width of the layout."""
        return self.inches * 72 / self.scale


def caption(chart: Any) -> str:
    """What a figure without title needs said: its title, then data set, model, layer, definition
    and split, as the figure's own subtitle has them, and the release that drew it."""
    title = chart.to_dict(validate=False).get("title")
    if isinstance(title, str):
        title = {"text": title}
    parts = [_line(title.get("text")), _line(title.get("subtitle"))] if title else []
    said = [part if part[-1] in ".?!" else f"{part}." for part in parts if part]
    return " ".join([*said, f"Unitscope {__version__}."])


def _line(text: Any) -> str:
    return "; ".join(map(str, text)) if isinstance(text, list) else str(text or "")


def laid_out(spec: Json, printed: Printed, svg_of: Callable[[Json], str]) -> Json:
    """A Vega-Lite specification without title whose drawing is as wide as `printed` asks.

    svg_of : specification → SVG, by which widths are measured: how much labels and legends take
    is known only once they are drawn.

    Raises UnitscopeError where the labels leave no room for the drawing.
    """
    spec = copy.deepcopy(spec)
    spec.pop("title", None)
    config = spec.setdefault("config", {})
    config["font"] = FONT
    config["padding"] = 3
    config.setdefault("axis", {}).update(labelLimit=printed.pixels * 0.45, labelSeparation=8)
    for part in _dicts(spec):
        for key in ("fontSize", "labelFontSize", "titleFontSize"):
            if isinstance(part.get(key), int | float):
                part[key] = LETTERS
    views = [v for v in _dicts(spec) if isinstance(v.get("width"), int | float) and _is_view(v)]
    if not views:
        return spec
    natural = max(view["width"] for view in views)
    for legend in ({}, {"columns": 3}, {"columns": 2}, {"columns": 1, "labelLimit": 300}):
        config["legend"] = {**config.get("legend", {}), **legend}
        width = min(natural, printed.pixels)
        for _ in range(8):  # texts at the end of bars move with them: each step mends a part
            for view in views:
                view["width"] = round(width, 2)
            over = size(svg_of(spec))[0] - printed.pixels
            if abs(over) <= 1:
                return spec
            if width - over < LEAST:
                break
            width -= over
    raise UnitscopeError(
        f"at {printed.inches:g} in and letters of {printed.points:g} pt the labels leave no room "
        "for the drawing: take a wider figure or smaller letters"
    )


def physical(svg: str, printed: Printed, unit: Literal["", "in"] = "") -> str:
    """An SVG whose outer size is as printed, in inches or in points; what is drawn stays."""
    width, height = size(svg)
    of = 1 if unit else 72
    head, rest = svg.split(">", 1)
    for name, value in (
        ("width", printed.inches * of),
        ("height", height / width * printed.inches * of),
    ):
        head = re.sub(rf'\s{name}="[^"]*"', f' {name}="{value:.5g}{unit}"', head, count=1)
    if "viewBox" not in head:
        head += f' viewBox="0 0 {width:g} {height:g}"'
    return f"{head}>{rest}"


def size(svg: str) -> tuple[float, float]:
    """Width and height of an SVG, in its pixels.

    >>> size('<svg class="marks" width="20" height="10.5">')
    (20.0, 10.5)
    """
    head = svg.split(">", 1)[0]
    width, height = (re.search(rf'\s{name}="([\d.]+)', head) for name in ("width", "height"))
    assert width is not None and height is not None, "an SVG of no size"
    return float(width[1]), float(height[1])


def _is_view(part: Json) -> bool:
    return any(key in part for key in ("mark", "layer"))


def _dicts(part: Any) -> Iterator[Json]:
    """All dictionaries within a specification but its data."""
    if isinstance(part, dict):
        yield part
        for key, value in part.items():
            if key not in ("datasets", "data"):
                yield from _dicts(value)
    elif isinstance(part, list):
        for value in part:
            yield from _dicts(value)
