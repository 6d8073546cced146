"""Charts of sides compared, from :mod:`core.views.compare`."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import GREY, HEIGHT, INK, WIDTH, Caption, titled
from core.views.compare import Agreement

SIDES = (
    ("#0072b2", "#56b4e9"),
    ("#d55e00", "#f0894a"),
    ("#009e73", "#2fc79b"),
    ("#cc79a7", "#dd9cc0"),
    ("#e69f00", "#f0b73d"),
    ("#55606b", "#6f7b88"),
)
"""A colour for each side, from Okabe and Ito's palette, on light and on dark paper."""


def _scale(names: list[str], dark: bool) -> alt.Scale:
    return alt.Scale(domain=names, range=[pair[dark] for pair in SIDES[: len(names)]])


def _long(names: list[str]) -> int:
    """Pixels that side names need before an axis."""
    return min(260, 20 + 7 * max(map(len, names)))


def shares(frame: pd.DataFrame, what: str, axis: str, caption: Caption, dark: bool = False) -> Any:
    """A share of each side as a dot with its 95 % interval: columns side, share, low, high, count.

    The axis shows what the intervals span, not all from 0. `count` is written behind the interval.
    """
    names = list(frame["side"])
    data = frame.assign(**{column: 100 * frame[column] for column in ("share", "low", "high")})
    least, most = float(data["low"].min()), float(data["high"].max())
    room = 0.08 * max(5.0, most - least)
    scale = alt.Scale(domain=[max(0.0, least - room), most + 6 * room], nice=False)
    base = alt.Chart(data).encode(
        alt.Y("side:N", title=None, sort=names, axis=alt.Axis(labelLimit=_long(names))),
        alt.Color("side:N", legend=None, scale=_scale(names, dark)),
    )
    tooltip = [
        "side",
        alt.Tooltip("share", format=".1f", title="percent"),
        alt.Tooltip("low", format=".1f", title="95 % from"),
        alt.Tooltip("high", format=".1f", title="to"),
        alt.Tooltip("count", title="count"),
    ]
    spans = base.mark_rule(strokeWidth=2.5, opacity=0.6).encode(
        alt.X("low:Q", title=axis, scale=scale, axis=alt.Axis(tickCount=5)), alt.X2("high:Q")
    )
    dots = base.mark_point(filled=True, size=90, opacity=1).encode(
        alt.X("share:Q", scale=scale), tooltip=tooltip
    )
    text = base.mark_text(align="left", dx=8).encode(
        alt.X("high:Q", scale=scale), text="count:N", color=alt.value(INK[dark])
    )
    chart = (spans + dots + text).properties(width=WIDTH, height=36 * max(1, len(frame)))
    return titled(chart, what, caption, dark)


def categories(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Concepts detected by category, a bar a side: columns side, category, concepts, units."""
    names = list(dict.fromkeys(frame["side"]))
    order = frame.groupby("category")["concepts"].sum().sort_values(ascending=False).index.tolist()
    base = alt.Chart(frame).encode(
        alt.Y("category:N", title=None, sort=order),
        alt.YOffset("side:N", sort=names),
        alt.X(
            "concepts:Q",
            title="concepts that at least one unit detects",
            axis=alt.Axis(tickMinStep=1, tickCount=5),
        ),
    )
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        alt.Color(
            "side:N",
            title=None,
            scale=_scale(names, dark),
            legend=alt.Legend(columns=1, labelLimit=460),
        ),
        tooltip=["side", "category", "concepts", "units"],
    )
    text = base.mark_text(align="left", dx=5, color=INK[dark]).encode(text="concepts:Q")
    height = max(90, (16 * len(names) + 12) * max(1, len(order)))
    chart = (bars + text).properties(width=WIDTH, height=height)
    return titled(chart, "Concepts detected, by category", caption, dark, 30 + 20 * len(names))


def reach(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Share of units beyond each IoU, a line a side: columns side, iou, share."""
    names = list(dict.fromkeys(frame["side"]))
    lines = (
        alt.Chart(frame)
        .mark_line(strokeWidth=2.5, interpolate="step-before")
        .encode(
            alt.X("iou:Q", title="IoU of the label"),
            alt.Y(
                "share:Q",
                title="share of units with at least that IoU",
                axis=alt.Axis(format="%", tickCount=5),
                scale=alt.Scale(domain=[0, 1]),
            ),
            alt.Color(
                "side:N",
                title=None,
                scale=_scale(names, dark),
                legend=alt.Legend(columns=1, labelLimit=460, symbolType="stroke"),
            ),
            alt.StrokeDash(
                "side:N",
                title=None,
                sort=names,
                legend=None,
                scale=alt.Scale(domain=names, range=_dashes(len(names))),
            ),
            tooltip=["side", alt.Tooltip("iou", format=".3f"), alt.Tooltip("share", format=".1%")],
        )
        .properties(width=WIDTH, height=HEIGHT)
    )
    return titled(lines, "IoU of the units’ labels", caption, dark, 30 + 20 * len(names))


def _dashes(count: int) -> list[list[int]]:
    """A dash for each line, so that colour is not the only difference."""
    return [[1, 0], [7, 3], [2, 2], [9, 3, 2, 3], [4, 4], [12, 4]][:count]


KINDS = ("both", "first", "second", "neither")


def agreement(
    found: Agreement, first: str, second: str, caption: Caption, dark: bool = False
) -> Any:
    """Images that both, one or neither get right, from :func:`core.views.compare.agreement`."""
    words = {
        "both": "both correct",
        "first": f"{first} alone",
        "second": f"{second} alone",
        "neither": "neither correct",
    }
    colors = {
        "both": SIDES[2][dark],
        "first": SIDES[0][dark],
        "second": SIDES[1][dark],
        "neither": GREY[dark],
    }
    images = [found.both, found.first, found.second, found.neither]
    frame = pd.DataFrame(
        {
            "kind": [words[kind] for kind in KINDS],
            "images": images,
            "shown": [f"{n:,}  ({n / max(1, found.images):.0%})" for n in images],
        }
    )
    names = list(frame["kind"])
    base = alt.Chart(frame)
    y = alt.Y("kind:N", title=None, sort=names, axis=alt.Axis(labelLimit=_long(names)))
    most = float(frame["images"].max()) or 1.0
    x = alt.X(
        "images:Q",
        title="photos",
        scale=alt.Scale(domain=[0, 1.25 * most]),
        axis=alt.Axis(tickMinStep=1, tickCount=5),
    )
    bars = base.mark_bar(size=20, cornerRadiusEnd=2).encode(
        x,
        y,
        tooltip=["kind", alt.Tooltip("images", title="photos")],
        color=alt.Color(
            "kind:N", legend=None, scale=alt.Scale(domain=names, range=[colors[k] for k in KINDS])
        ),
    )
    text = base.mark_text(align="left", dx=6, color=INK[dark]).encode(x, y, text="shown:N")
    chart = (bars + text).properties(width=WIDTH, height=34 * len(names))
    return titled(chart, "Correct predictions, photo by photo", caption, dark)
