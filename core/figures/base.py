"""What all charts share: the caption, the colours, the theme, the frame of a chart."""

from __future__ import annotations

from typing import Any, NamedTuple

import altair as alt
from altair.utils import schemapi

from core.foundation.plain import Json
from core.foundation.vocabulary import Denominator

FONT = "'Source Sans', 'Source Sans Pro', 'Liberation Sans', Arial, sans-serif"
"""The app's own face first. Every name must be valid CSS: one that is not (an unquoted digit)
makes exported files lose all their words."""

INK = {False: "#1f2933", True: "#e8eaed"}

SOFT = {False: "#5b6770", True: "#a3adb8"}

LINE = {False: "#e3e7eb", True: "#343b45"}

PAPER = {False: "#ffffff", True: "#12161c"}

BLUE = {False: "#0072b2", True: "#56b4e9"}

ORANGE = {False: "#d55e00", True: "#f0894a"}

GREY = {False: "#b4bcc4", True: "#5c6672"}

FOR = {False: ("#eef4f9", "#0b4f7d"), True: ("#1c2733", "#8fd0f5")}
AGAINST = {False: ("#fcf1ea", "#8f3e00"), True: ("#33231a", "#f5b690")}
"""Ends of the scales of heat maps, from next to nothing to the most: of what is there or speaks
for something, and of what speaks against it. Even in lightness, so that they are read without
colour too."""


def heat(value: float, dark: bool) -> tuple[str, str]:
    """The colour of a cell of a heat map, and that of the letters on it.

    value : −1 … 1; below 0 on the scale :data:`AGAINST`, above on :data:`FOR`, 0 is paper. Letters
    are black or white, whichever has the higher contrast by WCAG 2, which is 4.5 to 1 or more.

    >>> heat(0.0, False), heat(1.0, False)
    (('#ffffff', '#000000'), ('#0b4f7d', '#ffffff'))
    """
    cell = PAPER[dark]
    if value:
        low, high = (FOR if value > 0 else AGAINST)[dark]
        share = min(1.0, abs(value))
        parts = zip(rgb(low), rgb(high), strict=True)
        cell = "#" + "".join(f"{round(a + share * (b - a)):02x}" for a, b in parts)
    light = luminance(cell)
    return cell, "#ffffff" if 1.05 / (light + 0.05) > (light + 0.05) / 0.05 else "#000000"


def rgb(color: str) -> list[int]:
    """Red, green and blue, 0 to 255, of "#rrggbb"."""
    return [int(color[k : k + 2], 16) for k in (1, 3, 5)]


def luminance(color: str) -> float:
    """Relative luminance of "#rrggbb" by WCAG 2, 0 to 1."""
    parts = [c / 255 for c in rgb(color)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


CATEGORY_COLORS = {
    "object": ("#0072b2", "#56b4e9"),
    "part": ("#e69f00", "#f0b73d"),
    "material": ("#009e73", "#2fc79b"),
    "color": ("#cc79a7", "#dd9cc0"),
    "texture": ("#d55e00", "#f0894a"),
    "scene": ("#55606b", "#6f7b88"),
}
"""Okabe and Ito's palette, distinguished by colour-blind readers; the second for dark paper."""

WIDTH, HEIGHT = 560, 260

# Altair would check each part once more as it is made. What is exported is checked whole.
schemapi.DEBUG_MODE = False

COUNTING = {term.value: term.meaning for term in Denominator}
"""Denominator → what figures call it."""


class Caption(NamedTuple):
    """What a figure was measured on: its subtitle.

    definition : how overlap was counted, in words; may be empty, as `layer` may.
    """

    dataset: str
    model: str
    layer: str = ""
    definition: str = ""
    split: str = "all images"

    def lines(self) -> list[str]:
        """The subtitle's lines.

        >>> Caption("nyuv2", "resnet18", "layer4", "all pixels").lines()
        ['nyuv2 · resnet18 · layer4', 'all pixels · all images']
        """
        first = [part for part in (self.dataset, self.model, self.layer) if part]
        second = [part for part in (self.definition, self.split) if part]
        return [" · ".join(first), " · ".join(second)]


def config(dark: bool = False) -> Json:
    """The theme as a Vega-Lite config: thin rules, no boxes, titles at the left."""
    return {
        "background": "transparent",
        "font": FONT,
        "padding": {"left": 4, "right": 8, "top": 4, "bottom": 4},
        "view": {"stroke": None, "continuousWidth": WIDTH, "continuousHeight": HEIGHT},
        "title": {
            "anchor": "start",
            "frame": "bounds",
            "fontSize": 15,
            "fontWeight": 600,
            "color": INK[dark],
            "subtitleColor": SOFT[dark],
            "subtitleFontSize": 12,
            "subtitlePadding": 4,
            "offset": 14,
            "lineHeight": 18,
            "subtitleLineHeight": 16,
        },
        "axis": {
            "labelColor": SOFT[dark],
            "titleColor": SOFT[dark],
            "titleFontWeight": "normal",
            "labelFontSize": 12,
            "titleFontSize": 12,
            "domain": False,
            "ticks": False,
            "gridColor": LINE[dark],
            "labelPadding": 6,
            "titlePadding": 8,
        },
        "axisY": {
            "titleAnchor": "end",
            "titleAngle": 0,
            "titleAlign": "left",
            "titleX": 0,
            "titleY": -10,
        },
        "axisBand": {"grid": False},
        "legend": {
            "labelColor": INK[dark],
            "titleColor": SOFT[dark],
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "orient": "bottom",
            "direction": "horizontal",
            "offset": 10,
            "symbolType": "square",
        },
        "text": {"color": INK[dark], "fontSize": 12},
        "rule": {"color": SOFT[dark]},
        "bar": {"color": BLUE[dark]},
        "range": {"category": [pair[dark] for pair in CATEGORY_COLORS.values()]},
    }


@alt.theme.register("unitscope", enable=True)
def _light() -> alt.theme.ThemeConfig:
    return {"config": config(False)}  # type: ignore[typeddict-item]


@alt.theme.register("unitscope-dark", enable=False)
def _dark() -> alt.theme.ThemeConfig:
    return {"config": config(True)}  # type: ignore[typeddict-item]


AROUND, HEADING = 128, 68
"""Pixels that title, subtitle and the axis below take in addition to the drawing itself; and what
of these title and subtitle take."""


def titled(
    chart: Any, title: str, caption: Caption, dark: bool, around: int = 0, widest: int = 0
) -> Any:
    """A chart with its title, and with the theme fixed in it, so that no renderer's own wins.

    around : pixels that legends and long labels take beyond :data:`AROUND`. widest : beyond
    this width the chart is not stretched. Both go along in the chart's `usermeta`, for pages,
    which fit a whole figure, labels and all, into a box.
    """
    dressed = chart.properties(title=alt.Title(title, subtitle=caption.lines()))
    dressed.config = alt.Config(**config(dark))
    own = getattr(chart, "height", None)  # panels side by side have none of their own
    height = own if isinstance(own, (int, float)) else HEIGHT
    dressed.usermeta = {"height": int(height) + AROUND + around, "widest": widest}
    return dressed


class Unchecked:
    """A chart for Streamlit, which asks it for nothing but `to_dict`, without Altair's check of
    every part against Vega-Lite's schema: it takes half of a redraw, and the tests do it.

    Its title goes along in `usermeta`: a page writes it above the chart, where it is wrapped in a
    narrow window; within a chart it would be cut.
    """

    def __init__(self, chart: Any):
        self.chart = chart

    def to_dict(self) -> Json:
        """The chart's Vega-Lite specification, without title."""
        spec: Json = self.chart.to_dict(validate=False)
        title = spec.pop("title", None)
        spec["usermeta"] = {**spec.get("usermeta", {}), "title": title}
        return spec


def heading(chart: Any) -> tuple[str, list[str]]:
    """Title and lines of the subtitle of a chart of this module."""
    return chart.title.text, list(chart.title.subtitle)


def box(chart: Any) -> tuple[int, int]:
    """Height of the box that a chart of this module needs without its title, and its greatest width
    (0 = any)."""
    return chart.usermeta["height"] - HEADING, chart.usermeta["widest"]


def category_scale(dark: bool, present: list[str]) -> alt.Scale:
    names = [name for name in CATEGORY_COLORS if name in present]
    return alt.Scale(domain=names, range=[CATEGORY_COLORS[name][dark] for name in names])
