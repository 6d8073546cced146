"""Charts of the units of a layer and of one unit, from :mod:`core.views.units`."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import (
    BLUE,
    GREY,
    HEIGHT,
    INK,
    ORANGE,
    SOFT,
    WIDTH,
    Caption,
    category_scale,
    titled,
)
from core.foundation.names import plain_name
from core.views.names import shown_name


def iou_chance(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Best IoUs of units over those of shuffled labels, from
    :func:`core.views.units.iou_histogram`."""
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
    """The concepts most units detect, from :func:`core.views.units.detected`."""
    data = frame.head(count).assign(concept=[shown_name(n) for n in frame["name"].head(count)])
    chart = (
        alt.Chart(data)
        .mark_bar(cornerRadiusEnd=2)
        .encode(
            alt.X("units:Q", title="units", axis=alt.Axis(tickMinStep=1, tickCount=6)),
            alt.Y("concept:N", title=None, sort=None),
            alt.Color(
                "category:N", title=None, scale=category_scale(dark, sorted(set(data["category"])))
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
    """Units and concepts by category, from :func:`core.views.units.detected`."""
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
        alt.Color("category:N", legend=None, scale=category_scale(dark, list(data["category"]))),
        tooltip=["category", "units", "concepts"],
    )
    text = base.mark_text(align="left", dx=6, color=INK[dark]).encode(x, alt.Text("shown:N"))
    chart = (bars + text).properties(width=WIDTH, height=34 * max(1, len(data)))
    return titled(chart, "What kinds of things the units detect", caption, dark)


def layers(frame: pd.DataFrame, order: list[str], caption: Caption, dark: bool = False) -> Any:
    """Share of each layer's units by the category of their label, from
    :func:`core.views.layers.categories_by_layer`. order : the layers, as the network has them."""
    kinds = sorted(set(frame["category"]))
    chart = (
        alt.Chart(frame)
        .mark_bar(size=22)
        .encode(
            alt.X(
                "sum(share):Q",
                title="share of the layer's units",
                axis=alt.Axis(format="%", tickCount=5),
            ),
            alt.Y("layer:N", title=None, sort=order),
            alt.Color("category:N", title=None, scale=category_scale(dark, kinds)),
            order=alt.Order("category:N"),
            tooltip=[
                "layer",
                "category",
                "units",
                "concepts",
                alt.Tooltip("share", format=".1%", title="share of the layer"),
            ],
        )
        .properties(width=WIDTH, height=36 * max(1, len(order)))
    )
    return titled(chart, "What kinds of things each layer detects", caption, dark, 40)


def unit_chance(
    frame: pd.DataFrame, iou: float, unit: int, caption: Caption, dark: bool = False
) -> Any:
    """One unit's IoU against those it gets with shuffled labels, from
    :func:`core.views.units.iou_histogram` of that unit."""
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
    """How high a unit peaks in each image, from :func:`core.views.units.peak_histogram`."""
    data = frame.assign(kind=["active" if a else "inactive" for a in frame["active"]])
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
                scale=alt.Scale(domain=["active", "inactive"], range=[BLUE[dark], GREY[dark]]),
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
    """In which scenes a unit is active, from :func:`core.views.units.unit_scenes`."""
    top = frame.sort_values(["share", "mean"], ascending=False).head(count)
    data = top.assign(
        name=[plain_name(n) for n in top["scene"]],
        shown=[f"{a} of {n}" for a, n in zip(top["active"], top["images"], strict=True)],
    )
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=130))
    x = alt.X(
        "share:Q",
        title="share of the scene's images in which it is active",
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


def unit_classes(
    frame: pd.DataFrame, unit: int, caption: Caption, dark: bool = False, count: int = 5
) -> Any:
    """The classes that a unit raises and lowers most, from :func:`core.views.units.unit_classes`:
    `count` of either."""
    top = frame.head(count)
    last = frame.iloc[max(len(top), len(frame) - count) :]
    data = pd.concat([top, last]).assign(
        name=lambda rows: [plain_name(n) for n in rows["class"]],
        kind=lambda rows: ["raises" if a > 0 else "lowers" for a in rows["above"]],
    )
    data["from"] = data["low"] - data["contribution"] + data["above"]
    data["to"] = data["high"] - data["contribution"] + data["above"]
    base = alt.Chart(data).encode(
        alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=150))
    )
    x = alt.X("above:Q", title="mean contribution w·a to the logit, less its mean over the classes")
    colors = alt.Scale(domain=["raises", "lowers"], range=[BLUE[dark], ORANGE[dark]])
    tooltip = [
        "name",
        alt.Tooltip("contribution", format="+.4f", title="mean w·a"),
        alt.Tooltip("above", format="+.4f", title="less the mean over classes"),
        alt.Tooltip("weight", format="+.4f"),
    ]
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        x, alt.Color("kind:N", title=None, scale=colors), tooltip=tooltip
    )
    whiskers = base.mark_rule(color=INK[dark]).encode(
        alt.X("from:Q"), alt.X2("to:Q"), tooltip=tooltip
    )
    chart = (bars + whiskers).properties(width=WIDTH, height=24 * max(1, len(data)))
    return titled(chart, f"Classes that unit {unit} raises and lowers most", caption, dark, 30)
