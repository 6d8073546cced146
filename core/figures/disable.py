"""Charts of disabling units: Figs. 3 and 4, what an edit does by scene, searches compared."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, GREY, ORANGE, SOFT, WIDTH, Caption, titled
from core.foundation.names import plain_name
from core.foundation.vocabulary import Protocol, Ranking

RANKINGS = {
    "icc": (Ranking.of("icc").short, ("#0072b2", "#56b4e9")),
    "scc": (Ranking.of("scc").short, ("#d55e00", "#f0894a")),
    "top10": (Ranking.of("top10").short, ("#009e73", "#2fc79b")),
    "random": (Ranking.of("random").short, ("#6b7680", "#6f7b88")),
    "mean_activation": (Ranking.of("mean_activation").short, ("#cc79a7", "#dd9cc0")),
    "weight": (Ranking.of("weight").short, ("#e69f00", "#f0b73d")),
    "gradient_activation": (Ranking.of("gradient_activation").short, ("#5b2a86", "#9a6fe0")),
    "greedy": (Ranking.of("greedy").short, ("#1f2933", "#e8eaed")),
}
"""Names and colours of the rankings, in the order of the legend; controls are dashed."""

SIGNS = {"positive": "most positive units disabled", "negative": "most negative units disabled"}

FEW = 10
"""Photos of a scene below which its accuracy says little: such scenes are drawn as one."""


def curves(
    frame: pd.DataFrame, caption: Caption, dark: bool = False, scale: pd.DataFrame | None = None
) -> Any:
    """Change of accuracy against k, from :func:`core.ablation.curves.curves` of one protocol (Figs.
    3 and 4), in points from the unedited network: one panel a sign, all on one scale, each line
    named at its end. Bands: the paired 95 % interval of the change, for core concepts; the middle
    95 % of the draws, for random units.

    scale : rows that the scale is to hold, where they are more than those drawn.
    """
    data = _with_start(frame)
    bounds = _with_start(frame if scale is None else scale)
    drawn = bounds["band"].to_numpy()
    least = min(bounds["points"].min(), bounds["low"][drawn].min())
    most = max(bounds["points"].max(), bounds["high"][drawn].max())
    room = 0.04 * max(1.0, most - least)
    domain = [least - room, most + room]
    signs = [sign for sign in SIGNS if (frame["sign"] == sign).any()]
    before = f"points from the baseline of {100 * frame['before'].iloc[0]:.1f} %"
    panels = [
        _panel(
            data[data["panel"] == SIGNS[sign]],
            before if len(signs) == 1 else f"{before}, {SIGNS[sign]}",
            domain,
            dark,
        )
        for sign in signs
    ]
    chart = panels[0] if len(panels) == 1 else alt.vconcat(*panels)
    title = SIGNS[signs[0]].capitalize() if len(signs) == 1 else "Units disabled"
    protocol = Protocol.of(str(frame["protocol"].iloc[0]))
    oracle = protocol is Protocol.PAPER
    title += " (oracle: by the true scene)" if oracle else f" (protocol: {protocol.short})"
    return titled(chart, title, caption, dark, around=330 * (len(panels) - 1))


def _with_start(frame: pd.DataFrame) -> pd.DataFrame:
    """What :func:`curves` draws, in points: every curve begins at k = 0, without a change."""
    start = frame.drop_duplicates(["ranking", "protocol", "sign"]).assign(k=0, units=0.0)
    start["accuracy"] = start["before"]
    start["gain"] = start["gain_low"] = start["gain_high"] = 0.0
    data = pd.concat([start, frame]).assign(
        points=lambda rows: 100 * rows["gain"],
        low=lambda rows: 100 * rows["gain_low"],
        high=lambda rows: 100 * rows["gain_high"],
        name=lambda rows: [RANKINGS[r][0] for r in rows["ranking"]],
        kind=lambda rows: [
            "core concepts" if r in ("icc", "scc", "top10") else "control" for r in rows["ranking"]
        ],
        panel=lambda rows: [SIGNS[s] for s in rows["sign"]],
        band=lambda rows: rows["ranking"].isin(["icc", "scc", "random"]),
    )
    columns = ["ranking", "name", "kind", "panel", "k", "points", "accuracy", "low", "high", "band"]
    return data[[*columns, "units"]].sort_values(["panel", "name", "k"])


def _apart(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Places as near to `wanted` as can be with `gap` between any two, within (low, high).

    >>> _apart([0.0, 0.1, 5.0], 1.0, -2.0, 6.0)
    [0.0, 1.0, 5.0]
    """
    order = sorted(range(len(wanted)), key=lambda k: wanted[k])
    places = [0.0] * len(wanted)
    floor = low
    for k in order:
        places[k] = max(wanted[k], floor)
        floor = places[k] + gap
    ceiling = high
    for k in reversed(order):
        places[k] = min(places[k], ceiling)
        ceiling = places[k] - gap
    return places


def _panel(part: pd.DataFrame, axis: str, domain: list[float], dark: bool) -> Any:
    """One panel of :func:`curves`, with the title of its vertical axis."""
    height = 240
    shown = [key for key in RANKINGS if key in set(part["ranking"])]
    color = alt.Color(
        "ranking:N",
        legend=None,
        scale=alt.Scale(domain=shown, range=[RANKINGS[n][1][dark] for n in shown]),
    )
    dash = alt.StrokeDash(
        "kind:N",
        legend=None,
        scale=alt.Scale(domain=["core concepts", "control"], range=[[1, 0], [5, 3]]),
    )
    # Room for the names behind the last point, whatever the width of the window.
    last = int(part["k"].max())
    x = alt.X(
        "k:Q",
        title="k, units disabled",
        scale=alt.Scale(domain=[0, last * 1.42], nice=False),
        axis=alt.Axis(
            grid=False, values=[k for k in range(0, last + 1, max(1, last // 4))], format="d"
        ),
    )
    scale = alt.Scale(domain=domain, nice=False)
    y = alt.Y(
        "points:Q",
        title=axis,
        scale=scale,
        axis=alt.Axis(
            format="+.2~f", tickCount=6, labelExpr="datum.value === 0 ? '0' : datum.label"
        ),
    )
    base = alt.Chart(part)
    band = (
        base.transform_filter("datum.band")
        .mark_area(opacity=0.14)
        .encode(x, alt.Y("low:Q", scale=scale), alt.Y2("high:Q"), color)
    )
    lines = base.mark_line(strokeWidth=2).encode(
        x,
        y,
        color,
        dash,
        tooltip=[
            "name",
            "k",
            alt.Tooltip("points", format="+.2f", title="change in points"),
            alt.Tooltip("low", format="+.2f", title="95 % from"),
            alt.Tooltip("high", format="+.2f", title="to"),
            alt.Tooltip("accuracy", format=".2%"),
            alt.Tooltip("units", format=".1f", title="units, on average"),
        ],
    )
    ends = part.sort_values("k").drop_duplicates("ranking", keep="last")
    gap = 15 * (domain[1] - domain[0]) / height
    ends = ends.assign(at=_apart(ends["points"].tolist(), gap, domain[0] + gap / 2, domain[1]))
    names = (
        alt.Chart(ends)
        .mark_text(align="left", dx=6, fontSize=12)
        .encode(x, alt.Y("at:Q", scale=scale), color, text="name:N")
    )
    zero = (
        alt.Chart(pd.DataFrame({"points": [0.0]}))
        .mark_rule(color=SOFT[dark], strokeDash=[2, 2])
        .encode(alt.Y("points:Q", scale=scale))
    )
    return (zero + band + lines + names).properties(width=WIDTH, height=height)


def folded(frame: pd.DataFrame, target: str = "", few: int = FEW) -> pd.DataFrame:
    """The scenes of :attr:`core.ablation.result.Toggled.scenes` as they are drawn: `target` first,
    then the largest changes first; scenes of fewer than `few` photos as one row, the last.

    Columns: name, images, right_before, right_after, gained, lost, before, after (percent),
    points. Scenes without a change go last among their like, by name.
    """
    counts = ["images", "right_before", "right_after", "gained", "lost"]
    small = (frame["images"] < few) & (frame["scene"] != target)
    whole = frame[~small].assign(
        name=[plain_name(scene) for scene in frame["scene"][~small]],
        first=frame["scene"][~small] != target,
        size=-frame["shift"][~small].abs(),
    )
    whole = whole.sort_values(["first", "size", "name"], kind="stable")[["name", *counts]]
    rest = frame[small]
    if len(rest):
        count = f"{len(rest)} scene{'s' * (len(rest) != 1)} of n < {few}"
        row = pd.DataFrame([{"name": count, **rest[counts].sum().to_dict()}])
        whole = pd.concat([whole, row], ignore_index=True)
    whole["before"] = 100 * whole["right_before"] / whole["images"]
    whole["after"] = 100 * whole["right_after"] / whole["images"]
    whole["points"] = whole["after"] - whole["before"]
    return whole.reset_index(drop=True)


def dumbbells(
    sets: Mapping[str, pd.DataFrame],
    caption: Caption,
    dark: bool = False,
    target: str = "",
    count: int = 24,
    title: str = "Accuracy by scene, before (ring) and after (dot)",
) -> Any:
    """Accuracy before (ring) and after (dot) by true scene, for one edit or several on the same
    photos: each of :attr:`core.ablation.result.Toggled.scenes`. A row a scene, n beside its name,
    the `target` first, then the largest changes; a line a set within the row. Scenes of few photos
    are folded (:func:`folded`), and beyond `count` rows those that change least are left out.
    """
    names = list(sets)
    several = len(names) > 1
    data, rows, left_out = _arranged(sets, target, count)
    ends = data[["before", "after"]]
    low, high = float(ends.min().min()), float(ends.max().max())
    room = 0.06 * max(10.0, high - low)
    # Within 0 and 100: the changes stand in a column of their own, right of the axis.
    scale = alt.Scale(domain=[max(0.0, low - room), min(100.0, high + room)], nice=False)
    x = alt.X("before:Q", title="accuracy in percent", scale=scale, axis=alt.Axis(tickCount=6))
    # On the chart and not on each mark: marks of one row stand in one place.
    base = alt.Chart(data).encode(
        y=alt.Y("label:N", title=None, sort=rows, axis=alt.Axis(labelLimit=230)),
        color=_of_set(names, dark) if several else _of_change(dark),
        yOffset=alt.YOffset("set:N", sort=names) if several else alt.Undefined,
    )
    tooltip = [
        alt.Tooltip("name", title="scene"),
        *([alt.Tooltip("set")] if several else []),
        alt.Tooltip("images", title="photos"),
        alt.Tooltip("before", format=".1f", title="before, percent"),
        alt.Tooltip("after", format=".1f", title="after, percent"),
        alt.Tooltip("points", format="+.1f", title="change in points"),
        alt.Tooltip("gained", title="newly correct"),
        alt.Tooltip("lost", title="newly wrong"),
    ]
    bars = base.mark_rule(strokeWidth=2.5, opacity=0.7).encode(x, x2="after:Q")
    ring = base.mark_point(filled=False, size=55, strokeWidth=1.8, opacity=1).encode(
        x, tooltip=tooltip
    )
    dot = base.mark_point(filled=True, size=75, opacity=1).encode(
        alt.X("after:Q", scale=scale), tooltip=tooltip
    )
    text = base.mark_text(align="left", dx=8, fontSize=11).encode(
        x=alt.value("width"), text="shown:N"
    )
    height = (18 * len(names) + 8 if several else 24) * max(1, len(rows))
    chart = (bars + ring + dot + text).properties(width=WIDTH, height=height)
    if left_out:
        title += f"; {left_out} scenes that change least are left out"
    return titled(chart, title, caption, dark, around=30 + 20 * len(names) if several else 0)


def _arranged(
    sets: Mapping[str, pd.DataFrame], target: str, count: int
) -> tuple[pd.DataFrame, list[str], int]:
    """Rows of :func:`dumbbells`: (what is drawn, labels from top to bottom, scenes left out)."""
    tables = {name: folded(frame, target) for name, frame in sets.items()}
    data = pd.concat([table.assign(set=name) for name, table in tables.items()], ignore_index=True)
    # The order of all sets together: by the largest change in any.
    sizes = data["points"].abs().groupby(data["name"], sort=False).max()
    names = next(iter(tables.values()))["name"].tolist()
    top = plain_name(target) if target else ""
    last = [name for name in names if " of n < " in name]
    middle = [name for name in names if name not in (top, *last)]
    middle.sort(key=lambda name: -sizes[name])
    order = ([top] if top in names else []) + middle[: max(0, count - 2)] + last
    data = data[data["name"].isin(order)]
    labels = {
        row.name: f"{row.name}  (n = {row.images:,})"
        for row in data[["name", "images"]].itertuples(index=False)
    }
    data = data.assign(
        label=data["name"].map(labels),
        kind=["gain" if p > 0 else "loss" if p < 0 else "same" for p in data["points"]],
        shown=["" if p == 0 else f"{p:+.1f}".replace("-", "−") for p in data["points"]],
    )
    return data, [labels[name] for name in order], len(names) - len(order)


def _of_set(names: list[str], dark: bool) -> alt.Color:
    """The colour of each of two sets, with a legend."""
    return alt.Color(
        "set:N",
        title=None,
        sort=names,
        scale=alt.Scale(domain=names, range=[BLUE[dark], ORANGE[dark]][: len(names)]),
        legend=alt.Legend(columns=1, labelLimit=460, symbolType="circle"),
    )


def _of_change(dark: bool) -> alt.Color:
    """The colour of a gain, a loss, or no change."""
    colors = [BLUE[dark], ORANGE[dark], GREY[dark]]
    scale = alt.Scale(domain=["gain", "loss", "same"], range=colors)
    return alt.Color("kind:N", legend=None, scale=scale)


def searches(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Held-out gain of each search with its 95 % interval, beside the gain on the images it was
    searched on, from :func:`core.ablation.search.compare`."""
    data = frame.assign(
        name=[f"{m}, {c}" for m, c in zip(frame["method"], frame["candidates"], strict=True)]
    )
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=330))
    colors = alt.Scale(
        domain=["held out", "on the images searched on"], range=[BLUE[dark], GREY[dark]]
    )
    points = pd.concat(
        [
            data[["name", "gain", "units", "looked"]].assign(of="held out"),
            data[["name", "gain_selection", "units", "looked"]]
            .rename(columns={"gain_selection": "gain"})
            .assign(of="on the images searched on"),
        ]
    )
    x = alt.X("gain:Q", title="change of accuracy", axis=alt.Axis(format="+%"))
    dots = (
        alt.Chart(points)
        .mark_point(filled=True, size=70, opacity=1)
        .encode(
            x,
            y,
            alt.Color("of:N", title=None, scale=colors),
            tooltip=[
                "name",
                "of",
                alt.Tooltip("gain", format="+.2%"),
                alt.Tooltip("units", format=".1f", title="units disabled"),
                alt.Tooltip("looked", format=",.0f", title="evaluations"),
            ],
        )
    )
    spans = (
        alt.Chart(data)
        .mark_rule(color=BLUE[dark], strokeWidth=1.5)
        .encode(alt.X("gain_low:Q"), alt.X2("gain_high:Q"), y)
    )
    zero = (
        alt.Chart(pd.DataFrame({"x": [0]}))
        .mark_rule(color=SOFT[dark], strokeDash=[2, 2])
        .encode(x="x:Q")
    )
    chart = (zero + spans + dots).properties(width=WIDTH - 160, height=24 * max(1, len(data)))
    return titled(chart, "Sets of units found by search", caption, dark, 30)
