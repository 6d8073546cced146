"""Charts of the test of truth: how each attribution method fares, with its interval."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, INK, ORANGE, SOFT, WIDTH, Caption, titled

AXES = {
    "rank": "rank correlation with the true effects, within a photo",
    "top": "share of photos whose most important concept is the true one",
    "sign": "share of effects whose sign is right",
    "deletion": "share of answers that change without the concept put first",
    "preservation": "share of answers that stay without the less important half",
    "target": "target sensitivity",
    "distraction": "how often what does nothing is told from what does much",
}
"""Figures of :data:`core.attribution.judged.FIGURES` → what their axis says."""

KINDS = {"wrong": "wrong answers", "right": "right answers"}


def methods(frame: pd.DataFrame, name: str, caption: Caption, dark: bool = False) -> Any:
    """A figure of every method: a dot with its 95 % interval, for wrong and for right answers.

    frame : as :func:`core.views.truth.figures_of` gives: about, answers, value, low, high, chance,
    n, in the order in which methods are listed. name : of the figure. The dashed lines are chance.
    """
    order = list(dict.fromkeys(frame["about"]))
    kinds = [KINDS[kind] for kind in KINDS if kind in set(frame["answers"])]
    shown = frame.assign(answers=frame["answers"].map(KINDS))
    colors = alt.Scale(domain=list(KINDS.values()), range=[ORANGE[dark], BLUE[dark]])
    y = alt.Y("about:N", title=None, sort=order, axis=alt.Axis(labelLimit=340, grid=True))
    apart = alt.YOffset("answers:N", sort=kinds, scale=alt.Scale(paddingOuter=0.6))
    color = alt.Color("answers:N", title=None, scale=colors)
    low = min(0.0, float(shown["low"].min())) if len(shown) else 0.0
    high = max(1.0, float(shown["high"].max())) if len(shown) else 1.0
    x = alt.X("value:Q", title=AXES[name], scale=alt.Scale(domain=[low, high], nice=True))
    base = alt.Chart(shown)
    spans = base.mark_rule(strokeWidth=1.5).encode(
        alt.X("low:Q", title=AXES[name]), alt.X2("high:Q"), y, apart, color
    )
    dots = base.mark_point(filled=True, size=46, opacity=1).encode(
        x,
        y,
        apart,
        color,
        tooltip=[
            alt.Tooltip("about", title="method"),
            alt.Tooltip("answers", title="photos"),
            alt.Tooltip("value", format=".2f"),
            alt.Tooltip("low", format=".2f", title="95 % from"),
            alt.Tooltip("high", format=".2f", title="to"),
            alt.Tooltip("chance", format=".2f"),
            alt.Tooltip("n", title="photos counted"),
        ],
    )
    chance = shown.groupby("answers", as_index=False)["chance"].first()
    lines = (
        alt.Chart(chance)
        .mark_rule(strokeDash=[4, 4], strokeWidth=1)
        .encode(alt.X("chance:Q"), alt.Color("answers:N", scale=colors))
    )
    zero = alt.Chart(pd.DataFrame({"x": [0.0]})).mark_rule(color=SOFT[dark]).encode(alt.X("x:Q"))
    layers = zero + lines + spans + dots if low < 0 else lines + spans + dots
    chart = layers.properties(width=WIDTH, height=max(80, 26 * len(order)))
    title = "How true is each attribution method?"
    return titled(chart.configure_axisY(labelColor=INK[dark]), title, caption, dark, 30, 980)
