"""Heat maps over the scenes of a run, for print: contribution scores of units, core concepts."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import AGAINST, FOR, PAPER, Caption, titled
from core.foundation.names import plain_name
from core.foundation.vocabulary import Core

SIDE, MOST_LETTERS = 24, 190
"""Pixels: a cell's side, and the longest name of a row."""


def scores(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """Contribution scores of units (rows) for scenes (columns), from
    :func:`core.views.matrices.score_matrix`; 0 is paper, and both signs share one scale."""
    data = frame.assign(row=unit_names(frame), column=[plain_name(s) for s in frame["scene"]])
    most = max(1.0, float(data["score"].abs().max())) if len(data) else 1.0
    against, towards = AGAINST[dark], FOR[dark]
    scale = alt.Scale(
        domain=[-most, -0.001, 0, 0.001, most],
        range=[against[1], against[0], PAPER[dark], towards[0], towards[1]],
    )
    color = alt.Color("score:Q", title="contribution score", scale=scale)
    tooltip = [
        alt.Tooltip("row", title="unit"),
        alt.Tooltip("column", title="scene"),
        "score",
        alt.Tooltip("inside", title="core concepts (P)"),
        alt.Tooltip("outside", title="others (N)"),
        alt.Tooltip("active", title="photos in which it learned any"),
    ]
    strong = f"abs(datum.score) > {0.55 * most}"
    title = "Contribution scores: units (rows), scenes (columns)"
    return _heat(data, color, "score:Q", tooltip, strong, title, caption, dark)


def concepts(frame: pd.DataFrame, kind: str, caption: Caption, dark: bool = False) -> Any:
    """Core concepts (rows) of scenes (columns) by frequency, from
    :func:`core.views.matrices.concept_matrix`. kind : of core concepts."""
    data = frame.assign(
        row=frame["shown"],
        column=[plain_name(s) for s in frame["scene"]],
        percent=100 * frame["frequency"],
    )
    color = alt.Color(
        "frequency:Q",
        title="share of the scene’s photos",
        scale=alt.Scale(domain=[0, 1], range=list(FOR[dark])),
        legend=alt.Legend(format="%", gradientLength=140, tickCount=3),
    )
    tooltip = [
        alt.Tooltip("row", title="concept"),
        alt.Tooltip("column", title="scene"),
        alt.Tooltip("frequency", format=".0%"),
        "facts",
    ]
    title = f"{Core.of(kind).short} of every scene, by frequency (percent)"
    text = "percent:Q"
    return _heat(data, color, text, tooltip, "datum.frequency > 0.55", title, caption, dark)


def unit_names(frame: pd.DataFrame) -> list[str]:
    """How rows of :func:`core.views.matrices.score_matrix` are called."""
    return [
        f"{row.unit} {row.label}" if isinstance(row.label, str) else str(row.unit)
        for row in frame.itertuples()
    ]


def _heat(
    data: pd.DataFrame,
    color: alt.Color,
    text: str,
    tooltip: list[Any],
    strong: str,
    title: str,
    caption: Caption,
    dark: bool,
) -> Any:
    rows, columns = list(dict.fromkeys(data["row"])), sorted(set(data["column"]))
    base = alt.Chart(data).encode(
        alt.X(
            "column:N",
            title=None,
            sort=columns,
            axis=alt.Axis(orient="top", labelAngle=-50, labelLimit=110),
        ),
        alt.Y("row:N", title=None, sort=rows, axis=alt.Axis(labelLimit=MOST_LETTERS)),
    )
    cells = base.mark_rect(cornerRadius=2).encode(color, tooltip=tooltip)
    inks = ("#ffffff", "#000000") if not dark else ("#000000", "#ffffff")
    ink = alt.condition(strong, alt.value(inks[0]), alt.value(inks[1]))
    words = base.mark_text(fontSize=10).encode(alt.Text(text, format=".0f"), color=ink)
    chart = (cells + words).properties(
        width=max(200, 30 * len(columns)), height=max(60, SIDE * len(rows))
    )
    return titled(chart, title, caption, dark, 90, widest=max(460, 44 * len(columns) + 220))
