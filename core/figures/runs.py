"""Charts of how often a network is right, and what it says, from :mod:`core.views`."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, FOR, GREY, INK, WIDTH, Caption, titled
from core.foundation.names import plain_name
from core.views.runs import judged_words


def accuracy(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Accuracy by split with 95 % intervals, from :func:`core.views.runs.accuracy`."""
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
            title="accuracy",
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
    return titled(chart, "Accuracy by split", caption, dark)


def confusion_order(frame: pd.DataFrame) -> tuple[list[str], list[str]]:
    """The true scenes and the predicted ones in the order of :func:`confusion`: right predictions
    lie on the diagonal."""
    rows = sorted(set(frame["scene"]))
    columns = [c for c in rows if c in set(frame["predicted"])]
    return rows, columns + sorted(set(frame["predicted"]) - set(rows))


def confusion(frame: pd.DataFrame, caption: Caption, dark: bool = False, split: str = "") -> Any:
    """True scenes against predicted ones, from :func:`core.views.images.confusion` of a split."""
    rows, columns = confusion_order(frame)
    side = 22 if len(rows) > 16 else 30
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
    cells = base.mark_rect(cornerRadius=2).encode(
        alt.Color(
            "share:Q",
            title="share of the row",
            scale=alt.Scale(range=list(FOR[dark]), domain=[0, 1]),
            legend=alt.Legend(format="%", gradientLength=140, tickCount=3),
        ),
        tooltip=[
            alt.Tooltip("scene", title="true scene"),
            "predicted",
            "images",
            alt.Tooltip("share", format=".0%", title="share of the row"),
        ],
    )
    ink = alt.condition(
        "datum.share > 0.5", alt.value("#ffffff" if not dark else "#12161c"), alt.value(INK[dark])
    )
    text = base.mark_text(fontSize=11).encode(alt.Text("images:Q"), color=ink)
    chart = (cells + text).properties(
        width=max(200, side * len(columns)), height=max(90, side * len(rows))
    )
    title = f"Confusion matrix, {judged_words(split)}: true scenes (rows), predictions (columns)"
    return titled(chart, title, caption, dark, 90, widest=max(420, 40 * len(columns) + 160))


def predictions(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Most probable classes of one image, from :func:`core.views.images.predictions`."""
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
    legend = alt.Legend() if data["true"].any() else None
    colors = alt.Scale(domain=["the true scene", "another"], range=[BLUE[dark], GREY[dark]])
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        x,
        y,
        # Of a photo of one's own the true scene is not known, and no colour stands for it.
        alt.Color("kind:N", title=None, scale=colors, legend=legend),
        tooltip=["name", alt.Tooltip("probability", format=".2%"), "rank"],
    )
    text = base.mark_text(align="left", dx=5, color=INK[dark]).encode(x, y, text="shown:N")
    chart = (bars + text).properties(width=WIDTH, height=26 * max(1, len(data)))
    return titled(chart, "What the network says", caption, dark, 30)
