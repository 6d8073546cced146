"""Charts of one photo's account: how well what the units saw fits each scene."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, GREY, INK, ORANGE, Caption, titled
from core.foundation.names import place, plain_name

TITLES = {
    "CM": "Share of the scene that was seen (CM)",
    "SM": "Likeness of seen and expected (SM)",
    "DM": "What was seen beside the scene (DM)",
}
"""Eqs. 3, 4, 5 in words."""

NARROW = 300


SHORT = {
    "minmax_threshold": "threshold",
    "highest_iou": "highest IoU",
    "whole_layer": "whole layer",
    "image": "in photo",
    "dataset_normalised": "over dataset",
}
"""Strategies and IoUs in a word."""


def definition(strategy: str, iou: str, kind: str, knowledge: str) -> str:
    """How learned and core concepts were found, for a caption.

    >>> definition("highest_iou", "image", "icc", "the everyday graph")
    'highest IoU, IoU in photo, ICC of the everyday graph'
    """
    return f"{SHORT[strategy]}, IoU {SHORT[iou]}, {kind.upper()} of {knowledge}"


def measure(
    frame: pd.DataFrame,
    name: str,
    sides: Mapping[str, str],
    caption: Caption,
    dark: bool = False,
) -> Any:
    """One measure of one photo for every scene: the two scenes as bars, all others as ticks.

    frame : ``scenes`` of an account (scene, CM, SM, DM and their ranks). name : of
    :data:`TITLES`. sides : ``"predicted"`` and ``"target"`` → scene, those that there are.
    """
    said = "the network’s answer"
    true = "the true scene"
    other = "another scene"
    data = frame.assign(name=[plain_name(n) for n in frame["scene"]], value=frame[name])
    data["rank"] = data[f"{name}_rank"]
    kinds = {sides.get("target"): true, sides.get("predicted"): said}
    if sides.get("target") == sides.get("predicted"):
        kinds = {sides.get("target"): f"{said}, and true"}
    kinds.pop(None, None)
    order = [scene for scene in (sides.get("predicted"), sides.get("target")) if scene]
    order = list(dict.fromkeys(order))
    two = data[data["scene"].isin(order)].copy()
    two["kind"] = [kinds[s] for s in two["scene"]]
    two["at"] = two["name"]
    two["shown"] = [
        f"{v:.2f}, {place(int(r), data['rank'].tolist())}"
        for v, r in zip(two["value"], two["rank"], strict=True)
    ]
    everyone = "all scenes"
    rows = [*(plain_name(s) for s in order if s in set(two["scene"])), everyone]
    top = float(data["value"].max()) if len(data) else 1.0
    # Room at the right for the words behind the longest bar.
    widest = float(two["value"].max()) if len(two) else 0.0
    scale = alt.Scale(domain=[0, max(top, widest * 1.75, 0.05)])
    x = alt.X("value:Q", title=None, scale=scale, axis=alt.Axis(tickCount=4, format=".2~f"))
    y = alt.Y(
        "at:N", title=None, sort=rows, scale=alt.Scale(domain=rows), axis=alt.Axis(labelLimit=110)
    )
    colors = alt.Scale(
        domain=[said, true, f"{said}, and true", other],
        range=[ORANGE[dark], BLUE[dark], BLUE[dark], GREY[dark]],
    )
    tooltip = [
        alt.Tooltip("name", title="scene"),
        alt.Tooltip("value", title=name, format=".3f"),
        alt.Tooltip("rank", title="rank"),
        alt.Tooltip("size", title="core concepts"),
    ]
    # The photo's own scenes last, so that they lie over the others.
    every = data.assign(at=everyone, kind=[kinds.get(s, other) for s in data["scene"]])
    every = every.sort_values("kind", key=lambda column: column != other, kind="stable")
    ticks = (
        alt.Chart(every)
        .mark_tick(thickness=2.5, size=20, opacity=0.9)
        .encode(x, y, alt.Color("kind:N", scale=colors, legend=None), tooltip=tooltip)
    )
    bars = (
        alt.Chart(two)
        .mark_bar(size=18, cornerRadiusEnd=2)
        .encode(
            x,
            y,
            alt.Color("kind:N", title=None, scale=colors, legend=None),
            tooltip=tooltip,
        )
    )
    text = (
        alt.Chart(two).mark_text(align="left", dx=6, color=INK[dark]).encode(x, y, text="shown:N")
    )
    height = 34 * len(rows)
    chart = alt.layer(ticks, bars, text).properties(width=NARROW, height=height)
    return titled(chart, TITLES[name], caption, dark)
