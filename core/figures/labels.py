"""Charts of the bench of labels: how labelling methods fare, and how often they agree."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, INK, SOFT, WIDTH, Caption, titled
from core.figures.compare import SIDES


def methods(rows: pd.DataFrame, axis: str, caption: Caption, dark: bool = False) -> Any:
    """A score of every labelling method: a dot with its 95 % interval, a tick at its control.

    rows : as :func:`core.views.benches.score_rows` gives. axis : what the score is.
    """
    order = list(dict.fromkeys(rows["method"]))
    sides = list(dict.fromkeys(rows["side"]))
    several = len(sides) > 1
    y = alt.Y("method:N", title=None, sort=order, axis=alt.Axis(labelLimit=240, grid=True))
    color: Any = alt.value(BLUE[dark])
    channels: list[Any] = [y]
    if several:
        scale = alt.Scale(domain=sides, range=[pair[dark] for pair in SIDES[: len(sides)]])
        color = alt.Color("side:N", title=None, scale=scale, legend=alt.Legend(labelLimit=600))
        channels.append(alt.YOffset("side:N", sort=sides, scale=alt.Scale(paddingOuter=0.6)))
    low = min(0.0, float(rows[["low", "control"]].min().min()))
    high = float(rows["high"].max())
    x = alt.X("value:Q", title=axis, scale=alt.Scale(domain=[low, high], nice=True))
    base = alt.Chart(rows)
    spans = base.mark_rule(strokeWidth=1.5).encode(
        alt.X("low:Q", title=axis), alt.X2("high:Q"), *channels, color=color
    )
    dots = base.mark_point(filled=True, size=52, opacity=1).encode(
        x,
        *channels,
        color=color,
        tooltip=[
            alt.Tooltip("about", title="method"),
            alt.Tooltip("side", title="layer"),
            alt.Tooltip("value", format=".3f"),
            alt.Tooltip("low", format=".3f", title="95 % from"),
            alt.Tooltip("high", format=".3f", title="to"),
            alt.Tooltip("control", format=".3f", title="exchanged masks"),
            alt.Tooltip("units", title="units"),
        ],
    )
    layers = (
        alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=SOFT[dark]).encode(alt.X("x:Q"))
        + spans
        + dots
    )
    if rows["control"].notna().any():
        layers += base.mark_tick(thickness=2, size=12, color=SOFT[dark]).encode(
            alt.X("control:Q"), *channels
        )
    height = max(80, (16 if several else 24) * len(order) * max(1, len(sides)))
    chart = layers.properties(width=WIDTH, height=height).configure_axisY(labelColor=INK[dark])
    return titled(chart, "How true are the labels of each method?", caption, dark, 30, 760)


def agreement(rows: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """How often the labels of two methods begin with the same concept, as a matrix.

    rows : as :func:`core.views.benches.same_rows` gives.
    """
    order = list(dict.fromkeys(rows["one"]))
    base = alt.Chart(rows).encode(
        alt.X("other:N", title=None, sort=order, axis=alt.Axis(labelAngle=-40, labelLimit=220)),
        alt.Y("one:N", title=None, sort=order, axis=alt.Axis(labelLimit=220)),
    )
    scale = alt.Scale(scheme="blues", domain=[0, 1], reverse=dark)
    cells = base.mark_rect().encode(
        alt.Color("share:Q", scale=scale, legend=None),
        tooltip=["one", "other", alt.Tooltip("share", format=".0%")],
    )
    bright = "datum.share > 0.55" if not dark else "datum.share < 0.45"
    words = base.mark_text(fontSize=11).encode(
        alt.Text("share:Q", format=".0%"),
        color=alt.condition(bright, alt.value("white"), alt.value("#1a1a1a")),
    )
    size = 44 * len(order)
    chart = (cells + words).properties(width=size, height=max(80, 28 * len(order)))
    return titled(chart, "Units whose label begins with the same concept", caption, dark, 30, 760)
