"""The map of a layer's units, to be moved, pointed at and printed."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from core.figures.base import INK, PAPER, Caption, titled
from core.figures.concepts import color
from core.foundation.names import plain_name

HEIGHT, WIDTH = 480, 1100
"""Pixels of the drawing: its height, and the greatest width that its names are placed for."""

WIDTHS = (240, 280, 320, 380, 460, 560, 680, 820, 960, WIDTH, 1500, 2200, 3300, 5000, 8000)
"""Widths of the map, as it is drawn or enlarged, for which names are placed."""

LETTER, LINE = 6.6, 15
"""Pixels of a name: the width of a letter on average, somewhat generous, and the height of a line;
its letters are :data:`SIZE` high."""

SIZE = 12

ROOM = 1.06
"""The map reaches from −1 to 1, and the axes a little farther."""

PICK = "unit"
"""The selection of a dot: a click on it chooses its unit."""


def placed(units: pd.DataFrame, at: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`core.views.units.unit_table` with their place of
    :func:`core.views.unit_map.unit_map`, and what the map draws of them: x, y (stretched so that
    the map fills its frame in both directions), kind (category or ``no label``), sure (better than
    chance, or not measured), radius, label, shown_from.

    shown_from : the least width of the map, in pixels, at which the unit's name is written
    (:func:`shown_from`); the strongest units' names come first. Infinite where it has no label
    that is better than chance.
    """
    frame = units.merge(at, on="unit", how="inner").reset_index(drop=True)
    for axis in ("x", "y"):
        low, high = frame[axis].min(), frame[axis].max()
        frame[axis] = 2 * (frame[axis] - low) / max(high - low, 1e-9) - 1 if len(frame) > 1 else 0.0
    frame["kind"] = frame["category"].fillna("no label")
    frame["sure"] = frame["above"] | frame["chance"].isna()
    top = max(float(frame["iou"].max()), 1e-6) if len(frame) else 1.0
    frame["radius"] = 3 + 9 * np.sqrt(frame["iou"] / top)
    frame["label"] = [plain_name(str(name)) for name in frame["label"]]
    named = (frame["sure"] & (frame["kind"] != "no label")).to_numpy()
    order = [k for k in np.lexsort((frame["unit"], -frame["iou"])) if named[k]]
    frame["shown_from"] = np.inf
    frame.loc[order, "shown_from"] = shown_from(frame.loc[order])
    return frame


def boxes(frame: pd.DataFrame, width: float) -> np.ndarray:
    """Where the names of :func:`placed` rows stand on a map of `width` pixels: left, top, right,
    bottom, float64 (rows, 4). Each is centred above its dot."""
    half = 0.5 * LETTER * frame["label"].str.len().to_numpy() + 2
    x = (frame["x"].to_numpy() / ROOM + 1) / 2 * width
    # Height is scaled only once the map is enlarged beyond its frame.
    tall = HEIGHT * max(1.0, width / WIDTH)
    bottom = (frame["y"].to_numpy() / ROOM + 1) / 2 * tall - frame["radius"].to_numpy() - 2
    return np.stack([x - half, bottom - LINE, x + half, bottom], 1)


def shown_from(frame: pd.DataFrame) -> np.ndarray:
    """The least of :data:`WIDTHS` at which each name has room, float64 (rows,); inf where it never
    has. Rows in the order in which names are placed.

    A name is placed at a width where its box touches none that was placed before, and lies within
    the frame. It then stays at all greater widths: all names stand above their dots, so what is
    apart moves farther apart. So no two names that are shown ever overlap.
    """
    least = np.full(len(frame), np.inf)
    for width in WIDTHS:
        box = boxes(frame, width)
        inside = (box[:, 0] >= 0) & (box[:, 2] <= width) & (box[:, 1] >= 0)
        taken = box[np.isfinite(least)]
        for k in np.flatnonzero(~np.isfinite(least) & inside):
            apart = (
                (taken[:, 2] <= box[k, 0])
                | (taken[:, 0] >= box[k, 2])
                | (taken[:, 3] <= box[k, 1])
                | (taken[:, 1] >= box[k, 3])
            )
            if apart.all():
                least[k] = width
                taken = np.vstack([taken, box[k]])
    return least


def units_map(frame: pd.DataFrame, method: str, caption: Caption, dark: bool = False) -> Any:
    """The map of :func:`placed` rows: a dot a unit, which a click selects (:data:`PICK`); dragging
    and the wheel move it. method : how units were laid out, which the subtitle says.

    Its names are written as far as they have room: see :func:`shown_from`. Before a window's width
    is known they are placed for all widths, and an expression shows those of the drawn one.
    """
    kinds = sorted(set(frame["kind"]))
    data = frame[["unit", "label", "kind", "iou", "x", "y"]].assign(
        size=np.pi * frame["radius"] ** 2,
        seen=np.where(frame["sure"], 0.86, 0.28),
        hint=np.where(frame["sure"], "", "no better than chance"),
        up=-frame["radius"] - 2,
        least=frame["shown_from"].where(np.isfinite(frame["shown_from"]), 1e9),
    )
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-ROOM, ROOM], nice=False))
    # As on the screen, y grows downwards.
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[ROOM, -ROOM], nice=False))
    pick = alt.selection_point(name=PICK, fields=["unit"], empty=False)
    move = alt.selection_interval(name="move", bind="scales")
    legend = alt.Legend(columns=3, symbolType="circle")
    dots = (
        alt.Chart(data)
        .mark_circle(stroke=PAPER[dark], strokeWidth=0.6, clip=True, cursor="pointer")
        .encode(
            x,
            y,
            alt.Color(
                "kind:N",
                title=None,
                scale=alt.Scale(domain=kinds, range=[color(k, dark) for k in kinds]),
                legend=legend,
            ),
            alt.Size("size:Q", scale=None),
            alt.Opacity("seen:Q", scale=None),
            tooltip=[
                "unit",
                "label",
                alt.Tooltip("kind", title="category"),
                alt.Tooltip("iou", title="IoU", format=".3f"),
                alt.Tooltip("hint", title="chance"),
            ],
        )
        .add_params(pick, move)
    )
    named = alt.Chart(data[data["least"] < 1e9])
    # What the map is wide as it is enlarged, in pixels.
    wide = f"width * {2 * ROOM} / (domain('x')[1] - domain('x')[0])"
    room = alt.condition(f"{wide} >= datum.least", alt.value(1), alt.value(0))
    halo, letters = (
        named.mark_text(
            baseline="bottom",
            fontSize=SIZE,
            clip=True,
            yOffset=alt.expr("datum.up"),
            color=ink,
            stroke=stroke,
            strokeWidth=3,
        ).encode(x, y, text="label:N", opacity=room)
        for ink, stroke in ((PAPER[dark], PAPER[dark]), (INK[dark], "transparent"))
    )
    chart = (dots + halo + letters).properties(width=560, height=HEIGHT)
    caption = caption._replace(split=f"{caption.split} · {method}")
    return titled(chart, "Units that respond to the same images", caption, dark, 10)
