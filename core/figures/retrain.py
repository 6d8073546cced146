"""Charts of re-training: Figure 5 and learning curves."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, GREY, HEIGHT, INK, ORANGE, SOFT, WIDTH, Caption, titled

METHODS = ("original", "control", "SCC", "ICC", "Top 10", "all annotated")
COLORS = {
    "original": GREY,
    "control": SOFT,
    "SCC": ORANGE,
    "ICC": BLUE,
    "Top 10": {False: "#009e73", True: "#2fc79b"},
    "all annotated": {False: "#cc79a7", True: "#dd9cc0"},
}


def caption(results: Sequence[Mapping[str, Any]]) -> Caption:
    """What the figures of several re-trainings were measured on."""

    def words(values: Sequence[Any]) -> str:
        return ", ".join(dict.fromkeys(map(str, values)))

    asked = [record["asked"] for record in results]
    return Caption(
        words([record["dataset"]["name"] for record in results]),
        f"knowledge {words([record['knowledge'] for record in results])}",
        f"L_c {words([one['form'] for one in asked])}",
        f"core concepts from {words([one['core_on'] for one in asked])} images, "
        f"{words([one['seeds'] for one in asked])} seeds, λ chosen on validation",
        f"split {words([one['test'] for one in asked])}",
    )


def retraining(frame: pd.DataFrame, about: Caption, dark: bool = False) -> Any:
    """Figure 5: accuracy of each model before and after, from :func:`core.views.retrain.figure_5`.

    Bars start at 0, so that their lengths may be compared; rules are 95 % intervals.
    """
    present = [name for name in METHODS if name in set(frame["method"])]
    data = frame.assign(shown=[f"{100 * v:.1f}" for v in frame["accuracy"]])
    data["top"] = data["high"].fillna(data["accuracy"])
    x = alt.X("model:N", title=None, sort=None, axis=alt.Axis(labelAngle=0, labelLimit=180))
    offset = alt.XOffset("method:N", sort=present)
    base = alt.Chart(data)
    bars = base.mark_bar(cornerRadiusEnd=2).encode(
        x,
        offset,
        alt.Y(
            "accuracy:Q", title="share of test images right", axis=alt.Axis(format="%", tickCount=5)
        ),
        alt.Color(
            "method:N",
            title=None,
            sort=present,
            scale=alt.Scale(domain=present, range=[COLORS[m][dark] for m in present]),
        ),
        tooltip=[
            "model",
            "method",
            alt.Tooltip("accuracy", format=".1%"),
            alt.Tooltip("low", format=".1%", title="95 % from"),
            alt.Tooltip("high", format=".1%", title="to"),
            "seeds",
            "dataset",
        ],
    )
    spans = base.mark_rule(color=INK[dark], strokeWidth=1.5).encode(
        x, offset, alt.Y("low:Q"), alt.Y2("high:Q")
    )
    text = base.mark_text(dy=-7, fontSize=11, color=INK[dark]).encode(
        x, offset, alt.Y("top:Q"), alt.Text("shown:N")
    )
    chart = (bars + spans + text).properties(width=WIDTH, height=HEIGHT)
    return titled(chart, "Accuracy after training again with core concepts", about, dark, 30)


def learning(frame: pd.DataFrame, about: Caption, dark: bool = False) -> Any:
    """Validation accuracy by epoch, a line a training, from :func:`core.views.retrain.curves`.

    The epoch that counts is marked by a point.
    """
    data = frame.assign(
        method=[
            f"{c} λ = {w:g}" if w else str(c)
            for c, w in zip(frame["cc"], frame["weight"], strict=True)
        ],
        line=[
            f"{c} {w} {s}"
            for c, w, s in zip(frame["cc"], frame["weight"], frame["seed"], strict=True)
        ],
    )
    # Whole steps of 5 % around the lines, so that a flat line has an axis too.
    low, high = data["validation"].min() - 0.02, data["validation"].max() + 0.02
    shares = [max(0.0, math.floor(20 * low) / 20), min(1.0, math.ceil(20 * high) / 20)]
    base = alt.Chart(data).encode(
        alt.X(
            "epoch:Q",
            title="epoch",
            axis=alt.Axis(tickMinStep=1, format="d", tickCount=int(data["epoch"].max())),
        ),
        alt.Y(
            "validation:Q",
            title="share of validation images right",
            scale=alt.Scale(domain=shares),
            axis=alt.Axis(format="%", tickCount=5),
        ),
        alt.Color("method:N", title=None, sort=None, scale=alt.Scale(scheme="tableau10")),
        alt.Detail("line:N"),
    )
    lines = base.mark_line(strokeWidth=1.5, opacity=0.8)
    points = (
        base.transform_filter("datum.best")
        .mark_point(filled=True, size=60)
        .encode(
            tooltip=[
                "method",
                "seed",
                "epoch",
                alt.Tooltip("validation", format=".1%"),
                alt.Tooltip("train", format=".1%"),
                alt.Tooltip("scene_loss", format=".3f"),
                alt.Tooltip("concept_loss", format=".3f"),
            ],
        )
    )
    chart = (lines + points).properties(width=WIDTH, height=HEIGHT)
    return titled(chart, "How training went", about, dark, 30)
