"""Charts of disabling units: Figs. 3 and 4, what an edit does by scene, searches compared."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, GREY, INK, ORANGE, SOFT, WIDTH, Caption, titled
from core.foundation.names import plain_name
from core.foundation.vocabulary import Ranking

RANKINGS = {
    "icc": (Ranking.of("icc").short, ("#0072b2", "#56b4e9")),
    "scc": (Ranking.of("scc").short, ("#d55e00", "#f0894a")),
    "top10": (Ranking.of("top10").short, ("#009e73", "#2fc79b")),
    "random": (Ranking.of("random").short, ("#8b96a0", "#8b96a0")),
    "mean_activation": (Ranking.of("mean_activation").short, ("#cc79a7", "#dd9cc0")),
    "weight": (Ranking.of("weight").short, ("#e69f00", "#f0b73d")),
    "gradient_activation": (Ranking.of("gradient_activation").short, ("#5d3a9b", "#b39ddb")),
    "greedy": (Ranking.of("greedy").short, ("#1f2933", "#e8eaed")),
}
"""Names and colours of the rankings, in the order of the legend; controls are dashed."""

SIGNS = {"positive": "most positive units disabled", "negative": "most negative units disabled"}


def curves(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Accuracy against k, from :func:`core.ablation.curves.curves` of one protocol (Figs. 3
    and 4): one panel a sign. Bands: the accuracy before with the paired 95 % interval of the
    change added, for core concepts; the middle 95 % of the draws, for random units."""
    names = [key for key in RANKINGS if key in set(frame["ranking"])]
    data = _with_start(frame)
    panels = [
        _panel(data[data["panel"] == sign], sign, names, dark)
        for sign in SIGNS.values()
        if (data["panel"] == sign).any()
    ]
    chart = panels[0] if len(panels) == 1 else alt.vconcat(*panels)
    protocol = str(frame["protocol"].iloc[0]).replace("_", " ")
    signs = list(dict.fromkeys(frame["sign"]))
    title = "Accuracy as units are disabled"
    if len(signs) == 1:
        title = f"Accuracy without the {SIGNS[signs[0]].removesuffix(' disabled')}"
    return titled(
        chart,
        title,
        caption._replace(split=f"{caption.split}; protocol {protocol}"),
        dark,
        around=110 + 330 * (len(panels) - 1),
    )


def _with_start(frame: pd.DataFrame) -> pd.DataFrame:
    """What :func:`curves` draws: every curve begins at k = 0, with the accuracy before."""
    start = frame.drop_duplicates(["ranking", "protocol", "sign"]).assign(k=0, units=0.0)
    start["accuracy"] = start["before"]
    start["gain_low"] = start["gain_high"] = 0.0
    data = pd.concat([start, frame]).assign(
        low=lambda rows: rows["before"] + rows["gain_low"],
        high=lambda rows: rows["before"] + rows["gain_high"],
        name=lambda rows: [RANKINGS[r][0] for r in rows["ranking"]],
        kind=lambda rows: [
            "core concepts" if r in ("icc", "scc", "top10") else "control" for r in rows["ranking"]
        ],
        panel=lambda rows: [SIGNS[s] for s in rows["sign"]],
    )
    columns = ["name", "kind", "panel", "k", "accuracy", "low", "high", "before", "units"]
    return data[columns].sort_values(["panel", "name", "k"])


def _panel(part: pd.DataFrame, sign: str, names: list[str], dark: bool) -> Any:
    """One panel of :func:`curves`. names : rankings of all panels, in the legend's order."""
    color = alt.Color(
        "name:N",
        title=None,
        sort=[RANKINGS[n][0] for n in names],
        scale=alt.Scale(
            domain=[RANKINGS[n][0] for n in names], range=[RANKINGS[n][1][dark] for n in names]
        ),
        legend=alt.Legend(
            columns=4, symbolType="stroke", symbolOpacity=1, symbolStrokeWidth=3, symbolDash=[1, 0]
        ),
    )
    dash = alt.StrokeDash(
        "kind:N",
        legend=None,
        scale=alt.Scale(domain=["core concepts", "control"], range=[[1, 0], [5, 3]]),
    )
    x = alt.X("k:Q", title="k, units disabled", axis=alt.Axis(tickMinStep=1, grid=False))
    y = alt.Y(
        "accuracy:Q",
        title=f"accuracy, {sign}",
        scale=alt.Scale(zero=False),
        axis=alt.Axis(format="%"),
    )
    base = alt.Chart(part)
    band = (
        base.transform_filter(
            "datum.name === 'ICC' || datum.name === 'SCC' || datum.name === 'random units'"
        )
        .mark_area(opacity=0.14)
        .encode(x, alt.Y("low:Q"), alt.Y2("high:Q"), color)
    )
    lines = base.mark_line(strokeWidth=2).encode(
        x,
        y,
        color,
        dash,
        tooltip=[
            "name",
            "k",
            alt.Tooltip("accuracy", format=".2%"),
            alt.Tooltip("low", format=".2%", title="95 % from"),
            alt.Tooltip("high", format=".2%", title="to"),
            alt.Tooltip("units", format=".1f", title="units, on average"),
        ],
    )
    rule = (
        alt.Chart(part.head(1)).mark_rule(color=SOFT[dark], strokeDash=[2, 2]).encode(y="before:Q")
    )
    return (rule + band + lines).properties(width=WIDTH, height=230)


def scene_shift(frame: pd.DataFrame, caption: Caption, dark: bool = False, count: int = 24) -> Any:
    """Change of accuracy by true scene with 95 % intervals, from
    :attr:`core.ablation.result.Toggled.scenes`; the largest changes where there are many."""
    top = frame.reindex(frame["shift"].abs().sort_values(ascending=False, kind="stable").index)
    data = (
        top.head(count)
        .sort_values(["shift", "scene"])
        .assign(
            name=lambda rows: [plain_name(s) for s in rows["scene"]],
            kind=lambda rows: ["gain" if s > 0 else "loss" for s in rows["shift"]],
        )
    )
    y = alt.Y("name:N", title=None, sort=None, axis=alt.Axis(labelLimit=150))
    x = alt.X("shift:Q", title="change of accuracy", axis=alt.Axis(format="+%"))
    base = alt.Chart(data)
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        x,
        y,
        alt.Color(
            "kind:N",
            title=None,
            legend=None,
            scale=alt.Scale(domain=["gain", "loss"], range=[BLUE[dark], ORANGE[dark]]),
        ),
        tooltip=[
            "name",
            "images",
            alt.Tooltip("accuracy_before", format=".1%", title="before"),
            alt.Tooltip("accuracy_after", format=".1%", title="after"),
            "gained",
            "lost",
        ],
    )
    spans = base.mark_rule(color=INK[dark], strokeWidth=1).encode(
        alt.X("low:Q"), alt.X2("high:Q"), y
    )
    chart = (bars + spans).properties(width=WIDTH, height=20 * max(1, len(data)))
    title = "What it does to each scene"
    if len(frame) > count:
        title += f" ({count} of {len(frame)} scenes, the largest changes)"
    return titled(chart, title, caption, dark)


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
