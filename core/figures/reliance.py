"""Charts of what scenes rest on: concepts of one scene, all scenes, mistakes, trust."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, GREY, INK, LINE, ORANGE, SOFT, WIDTH, Caption, titled
from core.foundation.names import plain_name
from core.foundation.vocabulary import SceneStanding

STANDINGS = {
    str(SceneStanding.CORE): BLUE,
    str(SceneStanding.SHORTCUT): ORANGE,
    str(SceneStanding.IGNORED): {False: "#cc79a7", True: "#dd9cc0"},
    str(SceneStanding.AGAINST): {False: "#009e73", True: "#2fc79b"},
    str(SceneStanding.UNSURE): SOFT,
    str(SceneStanding.NONE): GREY,
}
"""Standing → colour."""

MOST = 18
"""Concepts that the chart of one scene holds."""

ROW = 22
"""Height of a row in pixels."""


def _scale(present: Sequence[str], dark: bool) -> alt.Scale:
    names = [name for name in STANDINGS if name in present]
    return alt.Scale(domain=names, range=[STANDINGS[name][dark] for name in names])


def strongest(rows: pd.DataFrame, most: int = MOST) -> pd.DataFrame:
    """Rows of one scene that its chart shows: those with a standing first, then by share of the
    lead; drawn from the most relied on down."""
    weight = rows["share"].abs() + 1000 * (rows["standing"] != "neither")
    chosen = rows.assign(weight=weight).sort_values("weight", ascending=False).head(most)
    return chosen.drop(columns="weight").sort_values("share", ascending=False)


def scene(rows: pd.DataFrame, title: str, about: Caption, dark: bool = False) -> Any:
    """What one scene rests on: a dot with its 95 % interval for each concept.

    rows : of one scene, of :class:`core.attribution.reliance.Reliance`.
    """
    data = strongest(rows).assign(standing=lambda f: [str(s) for s in f["standing"]])
    twice = data["name"].duplicated(keep=False)
    data["concept"] = data["name"].where(~twice, data["name"] + " (" + data["category"] + ")")
    order = data["concept"].tolist()
    y = alt.Y("concept:N", title=None, sort=order, axis=alt.Axis(labelLimit=150))
    color = alt.Color(
        "standing:N",
        title=None,
        scale=_scale(data["standing"].unique().tolist(), dark),
        legend=alt.Legend(columns=2, labelLimit=220),
    )
    tooltip = [
        "concept",
        "standing",
        alt.Tooltip("net", title="net effect (logits)", format="+.2f"),
        alt.Tooltip("low", title="95 % from", format="+.2f"),
        alt.Tooltip("high", title="to", format="+.2f"),
        alt.Tooltip("share", title="share of the lead", format="+.1%"),
        alt.Tooltip("evidence", title="evidence (logits)", format="+.2f"),
        "photos",
        alt.Tooltip("q", format=".2g"),
    ]
    base = alt.Chart(data)
    zero = (
        alt.Chart(pd.DataFrame({"at": [0.0]}))
        .mark_rule(color=SOFT[dark], strokeWidth=1)
        .encode(x="at:Q")
    )
    spans = base.mark_rule(strokeWidth=2).encode(
        alt.X("low:Q", title="what the scene loses without it, beyond a control (logits)"),
        alt.X2("high:Q"),
        y,
        color,
        tooltip=tooltip,
    )
    dots = base.mark_point(filled=True, size=70, opacity=1).encode(
        alt.X("net:Q"), y, color, tooltip=tooltip
    )
    chart = (zero + spans + dots).properties(width=WIDTH, height=max(3, len(data)) * ROW)
    return titled(chart, title, about, dark, 70)


def every(rows: pd.DataFrame, about: Caption, dark: bool = False) -> Any:
    """All scenes: a row of dots each, one for each concept, by share of the scene's lead."""
    data = rows.assign(
        place=[plain_name(s) for s in rows["scene"]],
        standing=[str(s) for s in rows["standing"]],
    )
    y = alt.Y("place:N", title=None, axis=alt.Axis(labelLimit=150, grid=True, gridColor=LINE[dark]))
    # What has a standing lies over what has none.
    data = data.sort_values("standing", key=lambda s: s != "neither", kind="stable")
    dots = (
        alt.Chart(data)
        .mark_point(filled=True, size=60)
        .encode(
            alt.X(
                "share:Q",
                title="share of the scene’s lead that goes with the concept",
                axis=alt.Axis(format="%"),
            ),
            y,
            alt.Color(
                "standing:N",
                title=None,
                scale=_scale(data["standing"].unique().tolist(), dark),
                legend=alt.Legend(columns=2, labelLimit=220),
            ),
            opacity=alt.condition(
                alt.datum.standing == "neither", alt.value(0.35), alt.value(0.95)
            ),
            tooltip=[
                alt.Tooltip("place", title="scene"),
                alt.Tooltip("name", title="concept"),
                "standing",
                alt.Tooltip("share", title="share of the lead", format="+.1%"),
                alt.Tooltip("net", title="net effect (logits)", format="+.2f"),
                "photos",
                alt.Tooltip("q", format=".2g"),
            ],
        )
    )
    chart = dots.properties(width=WIDTH, height=max(3, data["place"].nunique()) * ROW)
    return titled(chart, "What scenes rest on", about, dark, 70)


def kinds(counts: pd.DataFrame, about: Caption, dark: bool = False) -> Any:
    """Kinds of mistakes: share of all, with Wilson's 95 % interval."""
    data = counts.assign(
        kind=[str(k) for k in counts["kind"]],
        shown=[f"{n} ({s:.0%})" for n, s in zip(counts["errors"], counts["share"], strict=True)],
    )
    y = alt.Y("kind:N", title=None, sort=data["kind"].tolist(), axis=alt.Axis(labelLimit=180))
    base = alt.Chart(data)
    tooltip = [
        "kind",
        "errors",
        alt.Tooltip("share", format=".1%"),
        alt.Tooltip("low", title="95 % from", format=".1%"),
        alt.Tooltip("high", title="to", format=".1%"),
    ]
    bars = base.mark_bar(size=16, color=BLUE[dark], cornerRadiusEnd=2).encode(
        alt.X(
            "share:Q",
            title="share of all wrong answers",
            axis=alt.Axis(format="%", tickCount=6),
        ),
        y,
        tooltip=tooltip,
    )
    spans = base.mark_rule(color=INK[dark], strokeWidth=1.5).encode(
        alt.X("low:Q"), alt.X2("high:Q"), y
    )
    text = base.mark_text(align="left", dx=8, color=INK[dark]).encode(
        alt.X("high:Q"), y, text="shown:N"
    )
    chart = (bars + spans + text).properties(width=WIDTH, height=5 * 34)
    return titled(chart, "Wrong answers by kind", about, dark)


def trust(scores: pd.DataFrame, about: Caption, dark: bool = False) -> Any:
    """How well each score tells wrong answers: AUROC with its interval; chance is 0.5."""
    data = scores.assign(
        shown=[f"{v:.2f}" for v in scores["auroc"]],
        kind=[
            "with the softmax confidence" if "confidence" in s else "alone" for s in scores["score"]
        ],
    )
    y = alt.Y("score:N", title=None, sort=data["score"].tolist(), axis=alt.Axis(labelLimit=230))
    least = min(0.45, float(data["low"].min()) - 0.02)
    scale = alt.Scale(domain=[least, 1.0], nice=False)
    color = alt.Color(
        "kind:N",
        title=None,
        scale=alt.Scale(
            domain=["with the softmax confidence", "alone"], range=[BLUE[dark], ORANGE[dark]]
        ),
    )
    tooltip = [
        "score",
        alt.Tooltip("auroc", title="AUROC", format=".3f"),
        alt.Tooltip("low", title="95 % from", format=".3f"),
        alt.Tooltip("high", title="to", format=".3f"),
        alt.Tooltip("gain", title="over the confidence alone", format="+.3f"),
    ]
    base = alt.Chart(data)
    chance = (
        alt.Chart(pd.DataFrame({"at": [0.5]}))
        .mark_rule(color=SOFT[dark], strokeDash=[4, 4])
        .encode(x=alt.X("at:Q", scale=scale))
    )
    spans = base.mark_rule(strokeWidth=2).encode(
        alt.X(
            "low:Q", title="AUROC: how well it tells wrong answers (dashed: chance)", scale=scale
        ),
        alt.X2("high:Q"),
        y,
        color,
        tooltip=tooltip,
    )
    dots = base.mark_point(filled=True, size=80, opacity=1).encode(
        alt.X("auroc:Q", scale=scale), y, color, tooltip=tooltip
    )
    text = base.mark_text(dy=-10, fontSize=11, color=INK[dark]).encode(
        alt.X("auroc:Q", scale=scale), y, text="shown:N"
    )
    chart = (chance + spans + dots + text).properties(width=WIDTH, height=len(data) * 28)
    return titled(chart, "Does it tell wrong answers?", about, dark, 30)
