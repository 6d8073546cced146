"""Every chart of the app and of the reports: one theme, one function a chart, one way out.

A chart function takes a frame of :mod:`core.views` and a :class:`Caption`, and gives an
``alt.Chart`` whose title and subtitle say what was measured on what. The app shows it as it
is, and :func:`export` writes the same chart as SVG, PDF or PNG.
"""

from __future__ import annotations

import math
import re
from typing import Any, NamedTuple

import altair as alt
import pandas as pd
from altair.utils import schemapi

from core.figures.converter import ConversionError, convert
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.escape import latex_text, one_line, printable
from core.foundation.names import plain_name
from core.views import shown_name

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

CATEGORY_COLORS = {
    "object": ("#0072b2", "#56b4e9"),
    "part": ("#e69f00", "#f0b73d"),
    "material": ("#009e73", "#2fc79b"),
    "color": ("#cc79a7", "#dd9cc0"),
    "texture": ("#d55e00", "#f0894a"),
    "scene": ("#7a8794", "#97a3af"),
}
"""Okabe and Ito's palette, told apart by colour-blind readers; the second for dark paper."""

WIDTH, HEIGHT = 560, 260

FORMATS = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}
"""What :func:`export` writes, with media types."""


# Altair would check each part once more as it is made. What is exported is checked whole.
schemapi.DEBUG_MODE = False

COUNTING = {
    "all": "every pixel counts",
    "annotated": "only annotated pixels count",
}
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


# -- theme ----------------------------------------------------------------------------------


def config(dark: bool = False) -> dict[str, Any]:
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


AROUND = 128
"""Pixels that title, subtitle and the axis below take beside the drawing itself."""


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
    every part against Vega-Lite's schema: it takes half of a redraw, and the tests do it."""

    def __init__(self, chart: Any):
        self.chart = chart

    def to_dict(self) -> dict[str, Any]:
        """The chart's Vega-Lite specification."""
        spec: dict[str, Any] = self.chart.to_dict(validate=False)
        return spec


def box(chart: Any) -> tuple[int, int]:
    """Height of the box that a chart of this module needs, and its greatest width (0 = any)."""
    return chart.usermeta["height"], chart.usermeta["widest"]


def export(chart: Any, kind: str, dark: bool = False) -> bytes:
    """A chart as the bytes of an SVG, PDF or PNG file (PNG at 200 dots per inch).

    Raises UnitscopeError for another format, or a chart that cannot be drawn.
    """
    if kind not in FORMATS:
        raise unknown("figure format", kind, FORMATS)
    drawn = chart.copy()
    drawn.background = PAPER[dark]
    # Charts are aggregated before they come here; Altair's guard against raw rows is moot.
    with alt.data_transformers.disable_max_rows():
        spec = _printable(drawn.to_dict())
    try:
        made = convert(spec, kind)
    except ConversionError as err:
        raise UnitscopeError(f"this chart cannot be written as {kind.upper()} ({err})") from err
    if kind == "svg":
        # The writer numbers parts on through the life of its process: here each file counts from
        # 0, so that one chart gives one file.
        return named_parts(made.decode(), "part").encode()
    return made


def _printable(part: Any) -> Any:
    """A specification whose texts hold no control characters: names come from strangers."""
    if isinstance(part, dict):
        return {printable(str(key)): _printable(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_printable(value) for value in part]
    return printable(part) if isinstance(part, str) else part


def named_parts(svg: str, name: str) -> str:
    """The text of an SVG, its parts called `name`-0, `name`-1 …, and so where they are used.

    >>> named_parts('<g clip-path="url(#x)"/><path id="x"/>', "one")
    '<g clip-path="url(#one-0)"/><path id="one-0"/>'
    """
    for k, old in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', svg))):
        for form in ('id="{}"', "url(#{})", 'href="#{}"'):
            svg = svg.replace(form.format(old), form.format(f"{name}-{k}"))
    return svg


# -- tables ---------------------------------------------------------------------------------


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return "--"
    if isinstance(value, float):
        return f"{value:.4g}"
    return latex_text(str(value))


def latex(frame: pd.DataFrame, caption: str = "") -> str:
    r"""A frame as a LaTeX table (booktabs), numbers to the right, names escaped.

    >>> print(latex(pd.DataFrame({"concept": ["night_stand"], "IoU": [0.25]})))
    \begin{tabular}{lr}
    \toprule
    concept & IoU \\
    \midrule
    night\_stand & 0.25 \\
    \bottomrule
    \end{tabular}
    """
    kinds = "".join("r" if pd.api.types.is_numeric_dtype(t) else "l" for t in frame.dtypes)
    rows = [" & ".join(map(_cell, row)) + r" \\" for row in frame.itertuples(index=False)]
    head = " & ".join(map(_cell, frame.columns)) + r" \\"
    note = [f"% {one_line(caption)}"] if caption else []
    body = [rf"\begin{{tabular}}{{{kinds}}}", r"\toprule", head, r"\midrule", *rows]
    return "\n".join([*note, *body, r"\bottomrule", r"\end{tabular}"])


# -- charts ---------------------------------------------------------------------------------


def _category_scale(dark: bool, present: list[str]) -> alt.Scale:
    names = [name for name in CATEGORY_COLORS if name in present]
    return alt.Scale(domain=names, range=[CATEGORY_COLORS[name][dark] for name in names])


def accuracy(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Accuracy by split with 95 % intervals, from :func:`core.views.accuracy`."""
    data = frame.assign(
        label=[f"{s}  (n = {n:,})" for s, n in zip(frame["split"], frame["images"], strict=True)],
        shown=[f"{a:.1%}" for a in frame["accuracy"]],
    )
    y = alt.Y("label:N", title=None, sort=None)
    share = alt.Scale(domain=[0, 1])
    base = alt.Chart(data)
    bars = base.mark_bar(size=18, color=BLUE[dark], cornerRadiusEnd=2).encode(
        alt.X(
            "accuracy:Q",
            title="share of images right",
            scale=share,
            axis=alt.Axis(format="%", tickCount=5),
        ),
        y,
        tooltip=[
            alt.Tooltip("split", title="split"),
            alt.Tooltip("images", title="images"),
            alt.Tooltip("accuracy", format=".1%"),
            alt.Tooltip("low", format=".1%", title="95 % from"),
            alt.Tooltip("high", format=".1%", title="to"),
        ],
    )
    spans = base.mark_rule(color=INK[dark], strokeWidth=1.5).encode(
        alt.X("low:Q", scale=share), alt.X2("high:Q"), y
    )
    text = base.mark_text(align="left", dx=6, color=INK[dark]).encode(
        alt.X("high:Q", scale=share), y, alt.Text("shown:N")
    )
    chart = (bars + spans + text).properties(width=WIDTH, height=40 * max(1, len(data)))
    return titled(chart, "How often the network is right", caption, dark)


def iou_chance(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Best IoUs of units over those of shuffled labels, from :func:`core.views.iou_histogram`."""
    colors = alt.Scale(domain=["units", "shuffled labels"], range=[BLUE[dark], GREY[dark]])
    base = alt.Chart(frame)
    x = alt.X("low:Q", title="overlap (IoU) of the best label", bin="binned")
    tooltip = [
        alt.Tooltip("kind", title="of"),
        alt.Tooltip("low", format=".3f", title="IoU from"),
        alt.Tooltip("high", format=".3f", title="to"),
        alt.Tooltip("share", format=".1%"),
    ]
    y = alt.Y("share:Q", title="share of units", axis=alt.Axis(format="%", tickCount=4), stack=None)
    color = alt.Color("kind:N", title=None, scale=colors)
    layers = [
        base.transform_filter("datum.kind == 'shuffled labels'")
        .mark_bar(opacity=0.9)
        .encode(x, alt.X2("high:Q"), y, color, tooltip=tooltip),
        base.transform_filter("datum.kind == 'units'")
        .mark_bar(opacity=0.72)
        .encode(x, alt.X2("high:Q"), y, color, tooltip=tooltip),
    ]
    chart = alt.layer(*layers).properties(width=WIDTH, height=HEIGHT)
    return titled(chart, "Do the units mean anything?", caption, dark, 30)


def detected(
    frame: pd.DataFrame, caption: Caption, dark: bool = False, count: int = 18, above: bool = True
) -> Any:
    """The concepts most units detect, from :func:`core.views.detected`."""
    data = frame.head(count).assign(concept=[shown_name(n) for n in frame["name"].head(count)])
    chart = (
        alt.Chart(data)
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            alt.X("units:Q", title="units", axis=alt.Axis(tickMinStep=1, tickCount=6)),
            alt.Y("concept:N", title=None, sort=None),
            alt.Color(
                "category:N", title=None, scale=_category_scale(dark, sorted(set(data["category"])))
            ),
            tooltip=[
                "concept",
                "category",
                "units",
                alt.Tooltip("iou", title="best IoU", format=".3f"),
                alt.Tooltip("best", title="best unit"),
            ],
        )
        .properties(width=WIDTH, height=max(60, 20 * len(data)))
    )
    more = f"the first {count} of {len(frame)}" if len(frame) > count else f"{len(frame)}"
    kind = "detected better than chance" if above else "that are some unit's best label"
    return titled(chart, f"Concepts {kind} ({more})", caption, dark, 30)


def categories(
    frame: pd.DataFrame, caption: Caption, dark: bool = False, above: bool = True
) -> Any:
    """Units and concepts by category, from :func:`core.views.detected`."""
    data = frame.groupby("category", as_index=False).agg(
        units=("units", "sum"), concepts=("name", "size")
    )
    data = data.sort_values(["units", "category"], ascending=[False, True], ignore_index=True)
    data["shown"] = [
        f"{u} unit{'s' * (u != 1)}, {c} concept{'s' * (c != 1)}"
        for u, c in zip(data["units"], data["concepts"], strict=True)
    ]
    base = alt.Chart(data).encode(alt.Y("category:N", title=None, sort=list(data["category"])))
    x = alt.X(
        "units:Q",
        title="units with a label better than chance" if above else "units",
        scale=alt.Scale(domainMax=float(data["units"].max() if len(data) else 1) * 1.45),
        axis=alt.Axis(tickMinStep=1, tickCount=5),
    )
    bars = base.mark_bar(cornerRadiusEnd=2, size=18).encode(
        x,
        alt.Color("category:N", legend=None, scale=_category_scale(dark, list(data["category"]))),
        tooltip=["category", "units", "concepts"],
    )
    text = base.mark_text(align="left", dx=6, color=INK[dark]).encode(x, alt.Text("shown:N"))
    chart = (bars + text).properties(width=WIDTH, height=34 * max(1, len(data)))
    return titled(chart, "What kinds of things the units detect", caption, dark)


def confusion(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """True scenes against predicted ones, from :func:`core.views.confusion`.

    A click on a cell selects it: selection ``cell``, fields ``scene`` and ``predicted``.
    """
    rows = sorted(set(frame["scene"]))
    columns = [c for c in rows if c in set(frame["predicted"])]
    columns += sorted(set(frame["predicted"]) - set(rows))
    side = 22 if len(rows) > 16 else 30
    pick = alt.selection_point(name="cell", fields=["scene", "predicted"], empty=False)
    plain = "replace(datum.label, /_/g, ' ')"
    base = alt.Chart(frame).encode(
        alt.X(
            "predicted:N",
            title=None,
            sort=columns,
            axis=alt.Axis(orient="top", labelAngle=-50, labelLimit=110, labelExpr=plain),
        ),
        alt.Y("scene:N", title=None, sort=rows, axis=alt.Axis(labelLimit=130, labelExpr=plain)),
    )
    # Perceptually even and safe for colour-blind readers; from paper to ink in both themes.
    shades = ["#eef4f9", "#0b4f7d"] if not dark else ["#1c2733", "#8fd0f5"]
    cells = (
        base.mark_rect(cornerRadius=2, stroke=ORANGE[dark])
        .encode(
            alt.Color(
                "share:Q",
                title="share of the row",
                scale=alt.Scale(range=shades, domain=[0, 1]),
                legend=alt.Legend(format="%", gradientLength=140, tickCount=3),
            ),
            strokeWidth=alt.condition(pick, alt.value(2.5), alt.value(0)),
            tooltip=[
                alt.Tooltip("scene", title="true scene"),
                "predicted",
                "images",
                alt.Tooltip("share", format=".0%", title="share of the row"),
            ],
        )
        .add_params(pick)
    )
    ink = alt.condition(
        "datum.share > 0.5", alt.value("#ffffff" if not dark else "#12161c"), alt.value(INK[dark])
    )
    text = base.mark_text(fontSize=11).encode(alt.Text("images:Q"), color=ink)
    chart = (cells + text).properties(
        width=max(200, side * len(columns)), height=max(90, side * len(rows))
    )
    title = "True scenes (rows) and what the network said (columns)"
    return titled(chart, title, caption, dark, 90, widest=max(420, 40 * len(columns) + 160))


def predictions(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Most probable classes of one image, from :func:`core.views.predictions`."""
    data = frame.assign(
        name=[plain_name(n) for n in frame["class"]],
        kind=["the true scene" if t else "another" for t in frame["true"]],
        shown=[f"{p:.1%}" for p in frame["probability"]],
    )
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=150))
    x = alt.X(
        "probability:Q",
        title="probability",
        scale=alt.Scale(domain=[0, 1.12]),
        axis=alt.Axis(format="%", values=[0, 0.5, 1]),
    )
    base = alt.Chart(data)
    colors = alt.Scale(domain=["the true scene", "another"], range=[BLUE[dark], GREY[dark]])
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        x,
        y,
        alt.Color("kind:N", title=None, scale=colors),
        tooltip=["name", alt.Tooltip("probability", format=".2%"), "rank"],
    )
    text = base.mark_text(align="left", dx=5, color=INK[dark]).encode(x, y, text="shown:N")
    chart = (bars + text).properties(width=WIDTH, height=26 * max(1, len(data)))
    return titled(chart, "What the network says", caption, dark, 30)


def unit_chance(
    frame: pd.DataFrame, iou: float, unit: int, caption: Caption, dark: bool = False
) -> Any:
    """One unit's IoU against those it gets with shuffled labels, from
    :func:`core.views.iou_histogram` of that unit."""
    null = frame[frame["kind"] == "shuffled labels"]
    bars = (
        alt.Chart(null)
        .mark_bar(color=GREY[dark])
        .encode(
            alt.X("low:Q", title="overlap (IoU) of the best label", bin="binned"),
            alt.X2("high:Q"),
            alt.Y("share:Q", title="share of rounds", axis=alt.Axis(format="%", tickCount=4)),
            tooltip=[
                alt.Tooltip("low", format=".3f"),
                alt.Tooltip("high", format=".3f"),
                alt.Tooltip("share", format=".1%"),
            ],
        )
    )
    high = float(frame["high"].max()) if len(frame) else 1.0
    right = iou > 0.6 * high
    line = alt.Chart(pd.DataFrame({"x": [iou], "t": [f"unit {unit}: {iou:.3f}"]}))
    rule = line.mark_rule(color=BLUE[dark], strokeWidth=2).encode(x="x:Q")
    text = line.mark_text(
        align="right" if right else "left",
        dx=-6 if right else 6,
        baseline="top",
        color=BLUE[dark],
        fontWeight=600,
    ).encode(x="x:Q", y=alt.value(0), text="t:N")
    chart = (bars + rule + text).properties(width=WIDTH, height=170)
    return titled(chart, "Its best label against shuffled labels", caption, dark)


def peaks(
    frame: pd.DataFrame, threshold: float, unit: int, caption: Caption, dark: bool = False
) -> Any:
    """How high a unit peaks in each image, from :func:`core.views.peak_histogram`."""
    data = frame.assign(kind=["lit" if a else "dark" for a in frame["active"]])
    bars = (
        alt.Chart(data)
        .mark_bar()
        .encode(
            alt.X("low:Q", title="largest activation in the image", bin="binned"),
            alt.X2("high:Q"),
            alt.Y("images:Q", title="images", axis=alt.Axis(tickMinStep=1, tickCount=4)),
            alt.Color(
                "kind:N",
                title=None,
                legend=None,
                scale=alt.Scale(domain=["lit", "dark"], range=[BLUE[dark], GREY[dark]]),
            ),
            tooltip=[alt.Tooltip("low", format=".3f"), alt.Tooltip("high", format=".3f"), "images"],
        )
    )
    line = alt.Chart(pd.DataFrame({"x": [threshold], "t": [f"threshold {threshold:.3g}"]}))
    rule = line.mark_rule(color=ORANGE[dark], strokeWidth=1.5, strokeDash=[4, 3]).encode(x="x:Q")
    text = line.mark_text(align="left", dx=6, baseline="top", color=ORANGE[dark]).encode(
        x="x:Q", y=alt.value(0), text="t:N"
    )
    chart = (bars + rule + text).properties(width=WIDTH, height=170)
    return titled(chart, f"How strongly unit {unit} responds", caption, dark)


def unit_scenes(
    frame: pd.DataFrame, unit: int, caption: Caption, dark: bool = False, count: int = 14
) -> Any:
    """In which scenes a unit is active, from :func:`core.views.unit_scenes`."""
    top = frame.sort_values(["share", "mean"], ascending=False).head(count)
    data = top.assign(
        name=[plain_name(n) for n in top["scene"]],
        shown=[f"{a} of {n}" for a, n in zip(top["active"], top["images"], strict=True)],
    )
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=130))
    x = alt.X(
        "share:Q",
        title="share of the scene's images in which it is lit",
        scale=alt.Scale(domain=[0, 1.25]),
        axis=alt.Axis(format="%", values=[0, 0.5, 1]),
    )
    base = alt.Chart(data)
    bars = base.mark_bar(color=BLUE[dark], cornerRadiusEnd=2).encode(
        x,
        y,
        tooltip=[
            "name",
            "active",
            "images",
            alt.Tooltip("share", format=".0%"),
            alt.Tooltip("mean", format=".3f", title="mean activation"),
        ],
    )
    text = base.mark_text(align="left", dx=5, color=SOFT[dark]).encode(x, y, text="shown:N")
    chart = (bars + text).properties(width=WIDTH, height=22 * max(1, len(data)))
    title = f"Where unit {unit} is active"
    if len(frame) > count:
        title += f" (the first {count} of {len(frame)} scenes)"
    return titled(chart, title, caption, dark)
