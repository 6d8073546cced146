"""Charts of merged concepts."""

from __future__ import annotations

from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import BLUE, GREY, ORANGE, Caption, titled


def gain_curve(frame: pd.DataFrame, caption: Caption, dark: bool = False) -> Any:
    """IoU gain by number of groups, with random groups of the same sizes and groups by names.

    frame : rows of :func:`core.merging.gain.gain_curve` of one embedding. Bands are the
    95 % interval over units, and the middle 95 % of random groupings.
    """
    name = str(frame["Embeddings"].iloc[0]) if len(frame) else ""
    parts = [("random groups", "random", "random_low", "random_high")]
    if frame["words"].notna().any():
        parts.append(("similar names", "words", "words", "words"))
    parts.append((name, "ratio_iou", "low", "high"))
    rows = pd.concat(
        [
            frame[["nb_groups"]].assign(
                groups=label, gain=frame[value], low=frame[low], high=frame[high]
            )
            for label, value, low, high in parts
        ]
    )
    order = [label for label, *_ in parts]
    paint = {"random groups": GREY[dark], "similar names": ORANGE[dark], name: BLUE[dark]}
    base = alt.Chart(rows).encode(
        x=alt.X("nb_groups:Q", title="groups of concepts", scale=alt.Scale(zero=False)),
        color=alt.Color(
            "groups:N",
            title=None,
            sort=order,
            scale=alt.Scale(domain=order, range=[paint[label] for label in order]),
        ),
    )
    band = base.mark_area(opacity=0.25).encode(
        y=alt.Y("low:Q", title="IoU gain", axis=alt.Axis(format="%")), y2="high:Q"
    )
    line = base.mark_line(strokeWidth=2).encode(
        y="gain:Q",
        tooltip=[
            alt.Tooltip("groups:N", title="grouped by"),
            alt.Tooltip("nb_groups:Q", title="groups"),
            alt.Tooltip("gain:Q", format="+.1%", title="IoU gain"),
            alt.Tooltip("low:Q", format="+.1%", title="from"),
            alt.Tooltip("high:Q", format="+.1%", title="to"),
        ],
    )
    zero = alt.Chart(pd.DataFrame({"y": [0]})).mark_rule(strokeDash=[3, 3]).encode(y="y:Q")
    return titled(
        band + zero + line, "What merging concepts does to the IoU of units", caption, dark, 30
    )
