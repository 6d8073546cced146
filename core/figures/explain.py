"""Charts of one photo: what caused its prediction, and CM, SM and DM of each scene."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, GREY, INK, ORANGE, WIDTH, Caption, titled
from core.foundation.names import place, plain_name

TITLES = {
    "CM": "Consistency (CM)",
    "SM": "Similarity (SM)",
    "DM": "Difference (DM)",
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
    said = "prediction"
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


CLICKED = "clicked"
"""The selection of a chart whose rows can be clicked: every click adds a row, or lets it go."""


def _clickable(chart: Any, y: Any, field: str, data: pd.DataFrame) -> Any:
    """The chart, each of whose rows can be clicked along its whole width: selection
    :data:`CLICKED`, field `field`."""
    pick = alt.selection_point(name=CLICKED, fields=[field], toggle="true", empty=False)
    rows = alt.Chart(data).mark_rect(opacity=0, cursor="pointer").encode(y).add_params(pick)
    return alt.layer(rows, chart)


MEASURED, CREDITED, ELSEWHERE = "measured effect", "evidence", "regions elsewhere"
"""What the chart of causes shows of each concept."""

MOST_CAUSES = 14
"""Concepts of one chart; of more, those of the largest measured effect."""


def by(fillings: Sequence[str], controls: int, kind: str) -> str:
    """How causes were measured, for a caption.

    >>> by(("inpaint", "blur"), 8, "linear head")
    'filled by inpaint, blur; 8 regions elsewhere; evidence: linear head'
    """
    control = f"; {controls} regions elsewhere" if controls else ""
    return f"filled by {', '.join(fillings)}{control}; evidence: {kind}"


def causes(
    frame: pd.DataFrame, a: str, b: str, caption: Caption, dark: bool = False, widest: int = 820
) -> Any:
    """What each concept did to the margin of one scene over another, measured and by evidence.

    frame : :func:`core.views.causes.causes_frame`. a, b : the scenes. Two bars a concept: the
    measured effect, with the range over the fillings as a line and the band of regions elsewhere
    in grey, and the evidence. A click on a row selects its ``label`` (:data:`CLICKED`).
    """
    order = frame.reindex(frame["effect"].abs().sort_values(ascending=False, kind="stable").index)
    data = frame.loc[sorted(order.index[:MOST_CAUSES])].sort_values(
        "effect", ascending=False, kind="stable"
    )
    data = data.assign(
        band=[
            "not measured" if pd.isna(low) else f"{low:+.2f} to {high:+.2f}"
            for low, high in zip(data["low"], data["high"], strict=True)
        ],
        removed=[
            plain_name(name) + (f" ({change})" if change else "")
            for name, change in zip(data["without"], data["change"], strict=True)
        ],
    )
    names = data["concept"].tolist()
    kinds = [MEASURED, CREDITED, ELSEWHERE]
    color = alt.Color(
        "kind:N",
        title=None,
        sort=kinds,
        scale=alt.Scale(domain=kinds, range=[BLUE[dark], ORANGE[dark], GREY[dark]]),
    )
    y = alt.Y("concept:N", title=None, sort=names, axis=alt.Axis(labelLimit=150))
    place_of = alt.YOffset("kind:N", scale=alt.Scale(domain=[MEASURED, CREDITED]))
    title = f"margin of {plain_name(a)} over {plain_name(b)} (logits)"
    axis = alt.Axis(tickCount=7, format="+.2~f", grid=True)
    tooltip = [
        alt.Tooltip("concept", title="concept"),
        alt.Tooltip("effect", title=MEASURED, format="+.3f"),
        alt.Tooltip("evidence", title=CREDITED, format="+.3f"),
        alt.Tooltip("band", title=ELSEWHERE),
        alt.Tooltip("removed", title="answer without it"),
        alt.Tooltip("answer", title=f"for {plain_name(a)}"),
        alt.Tooltip("against", title=f"for {plain_name(b)}"),
    ]
    both = pd.concat(
        [
            data.assign(kind=MEASURED, value=data["effect"]),
            data.assign(kind=CREDITED, value=data["evidence"]),
        ]
    )
    bands = data.dropna(subset="low").assign(kind=ELSEWHERE, at=MEASURED)
    x = alt.X("value:Q", title=title, axis=axis)
    behind = alt.YOffset("at:N", scale=alt.Scale(domain=[MEASURED, CREDITED]))
    band = (
        alt.Chart(bands)
        .mark_bar(opacity=0.75, size=13)
        .encode(alt.X("low:Q", title=title, axis=axis), y, color, behind, x2="high:Q")
        .encode(tooltip=tooltip)
    )
    bars = (
        alt.Chart(both)
        .mark_bar(size=7, cornerRadiusEnd=1)
        .encode(x, y, color, place_of, tooltip=tooltip)
    )
    ranges = (
        alt.Chart(data.assign(kind=MEASURED))
        .mark_rule(color=INK[dark], strokeWidth=1.2)
        .encode(alt.X("least:Q", title=title, axis=axis), y, place_of, x2="most:Q")
    )
    zero = alt.Chart(pd.DataFrame({"value": [0]})).mark_rule(color=INK[dark], opacity=0.5)
    chart = alt.layer(band, bars, ranges, zero.encode(x="value:Q"))
    chart = _clickable(chart, y, "label", data).properties(width=WIDTH, height=34 * len(names))
    words = f"What speaks for {plain_name(a)} and against {plain_name(b)}"
    more = len(frame) - len(data)
    if more > 0:
        words += f": the {len(data)} largest of {len(frame)}"
    return titled(chart, words, caption, dark, around=44, widest=widest)


EDITED = ("photo as it is", "edited photo")
DISABLED = ("all units", "units disabled")
"""What an answer before and after is called: of an edited photo, and of an edited network."""


def answers(
    frame: pd.DataFrame,
    caption: Caption,
    dark: bool = False,
    kinds: tuple[str, str] = EDITED,
) -> Any:
    """The most probable classes before and after an edit, as two bars each.

    frame : scene, before, after (probabilities). kinds : what before and after are called.
    """
    data = frame.assign(name=[plain_name(n) for n in frame["scene"]])
    both = pd.concat(
        [
            data.assign(kind=kinds[0], value=data["before"]),
            data.assign(kind=kinds[1], value=data["after"]),
        ]
    )
    y = alt.Y("name:N", title=None, sort=data["name"].tolist(), axis=alt.Axis(labelLimit=120))
    scale = alt.Scale(domain=[0, 1.12])
    x = alt.X(
        "value:Q",
        title="probability (softmax)",
        scale=scale,
        axis=alt.Axis(format="%", values=[0, 0.25, 0.5, 0.75, 1]),
    )
    offset = alt.YOffset("kind:N", sort=list(kinds))
    color = alt.Color(
        "kind:N",
        title=None,
        sort=list(kinds),
        scale=alt.Scale(domain=list(kinds), range=[GREY[dark], BLUE[dark]]),
    )
    bars = alt.Chart(both).mark_bar(cornerRadiusEnd=2).encode(x, y, color, offset)
    text = (
        alt.Chart(both)
        .mark_text(align="left", dx=4, color=INK[dark], fontSize=11)
        .encode(x, y, offset, text=alt.Text("value:Q", format=".0%"))
    )
    chart = alt.layer(bars, text).properties(width=NARROW, height=36 * len(data))
    return titled(chart, "The network’s answer", caption, dark, around=40)


MOST_UNITS = 16
"""Units of one chart."""


def unit_evidence(frame: pd.DataFrame, a: str, b: str, caption: Caption, dark: bool = False) -> Any:
    """The units that carry the margin of one class over another in one photo, and those that speak
    against it: the :data:`MOST_UNITS` of the largest evidence of either sign.

    frame : unit, label, iou, evidence (logits) of all units. A click on a row selects its ``unit``
    (:data:`CLICKED`).
    """
    order = frame["evidence"].abs().sort_values(ascending=False, kind="stable").index
    data = frame.loc[order[:MOST_UNITS]].sort_values("evidence", ascending=False, kind="stable")
    data = data.assign(
        name=[
            f"{unit} {label}".strip()
            for unit, label in zip(data["unit"], data["label"], strict=True)
        ],
    )
    names = data["name"].tolist()
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(labelLimit=170))
    title = f"margin of {plain_name(a)} over {plain_name(b)} (logits)"
    x = alt.X("evidence:Q", title=title, axis=alt.Axis(tickCount=7, format="+.2~f", grid=True))
    bars = (
        alt.Chart(data)
        .mark_bar(size=12, cornerRadiusEnd=1, color=ORANGE[dark], cursor="pointer")
        .encode(
            x,
            y,
            tooltip=[
                alt.Tooltip("unit", title="unit"),
                alt.Tooltip("label", title="label"),
                alt.Tooltip("iou", title="IoU", format=".3f"),
                alt.Tooltip("evidence", title=CREDITED, format="+.3f"),
            ],
        )
    )
    zero = alt.Chart(pd.DataFrame({"value": [0]})).mark_rule(color=INK[dark], opacity=0.5)
    chart = alt.layer(bars, zero.encode(alt.X("value:Q", title=title)))
    chart = _clickable(chart, y, "unit", data).properties(width=WIDTH, height=20 * len(names))
    words = f"Units that speak for {plain_name(a)} and against {plain_name(b)}"
    if len(frame) > len(data):
        words += f": the {len(data)} largest of {len(frame)}"
    return titled(chart, words, caption, dark, around=44, widest=820)
