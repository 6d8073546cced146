"""The map of a layer's units, to be moved and pointed at, and as a chart for print."""

from __future__ import annotations

from typing import Any

import altair as alt
import numpy as np
import pandas as pd
import pydeck

from core.figures.base import INK, PAPER, Caption, titled
from core.figures.concepts import color, color_legend, deck_letters, deck_rows, rgb

REACH, HEIGHT = 205, 500
"""Pixels: from the middle of the map to its edge, and its height."""

NAMED = 24
"""Units whose label is written next to them, at most."""


def placed(units: pd.DataFrame, at: pd.DataFrame) -> pd.DataFrame:
    """Rows of :func:`core.views.units.unit_table` with their place of
    :func:`core.views.unit_map.unit_map`, and what the map draws of them: label, hint, kind
    (category or ``no label``), sure (better than chance, or not measured), radius, named.

    The strongest units are named, each where no stronger one's name is in the way.
    """
    frame = units.merge(at, on="unit", how="inner").reset_index(drop=True)
    frame["kind"] = frame["category"].fillna("no label")
    frame["sure"] = frame["above"] | frame["chance"].isna()
    top = max(float(frame["iou"].max()), 1e-6) if len(frame) else 1.0
    frame["radius"] = 3 + 9 * np.sqrt(frame["iou"] / top)
    frame["hint"] = [
        f"unit {r.unit}: {r.label}\nIoU {r.iou:.3f}" + ("" if r.sure else ", no better than chance")
        for r in frame.itertuples()
    ]
    named = np.zeros(len(frame), bool)
    taken: list[tuple[float, float]] = []
    for k in np.lexsort((frame["unit"], -frame["iou"])):
        x, y = float(frame["x"][k]), float(frame["y"][k])
        free = all(abs(x - a) > 0.36 or abs(y - b) > 0.075 for a, b in taken)
        if frame["sure"][k] and frame["kind"][k] != "no label" and free:
            named[k] = True
            taken.append((x, y))
            if len(taken) == NAMED:
                break
    frame["named"] = named
    return frame


def units_deck(frame: pd.DataFrame, dark: bool = False) -> pydeck.Deck:
    """The map of :func:`placed` rows. Layers ``units`` (dots; a click picks one) and ``names``.
    It needs no map tiles and no network."""
    pixels = pydeck.types.String("pixels")
    dots = frame.assign(
        px=frame["x"] * REACH,
        py=frame["y"] * REACH,
        fill=[[*rgb(color(r.kind, dark)), 220 if r.sure else 70] for r in frame.itertuples()],
        shown=frame["label"],
    )
    named = dots[dots["named"]].assign(dy=-dots["radius"] - 8)
    units = pydeck.Layer(
        "ScatterplotLayer",
        id="units",
        data=deck_rows(dots, ["unit", "px", "py", "radius", "fill", "hint"]),
        get_position="[px, py]",
        get_radius="radius",
        radius_units=pixels,
        get_fill_color="fill",
        stroked=True,
        get_line_color=[*rgb(PAPER[dark]), 255],
        get_line_width=1,
        line_width_units=pixels,
        pickable=True,
        auto_highlight=True,
    )
    names = pydeck.Layer(
        "TextLayer",
        id="names",
        data=deck_rows(named, ["shown", "px", "py", "dy"]),
        get_position="[px, py]",
        get_text="shown",
        get_size=13,
        size_units=pixels,
        get_color=[*rgb(INK[dark]), 255],
        background=True,
        get_background_color=[*rgb(PAPER[dark]), 190],
        get_pixel_offset="[0, dy]",
        character_set=deck_letters(named),
        font_family=pydeck.types.String("Source Sans, Liberation Sans, Arial, sans-serif"),
    )
    return pydeck.Deck(
        layers=[units, names],
        views=[pydeck.View(type="OrthographicView", controller=True)],
        initial_view_state=pydeck.ViewState(target=[0, 0, 0], zoom=0, min_zoom=-1, max_zoom=5),
        map_provider=None,
        map_style=None,
        tooltip={"text": "{hint}"},
        parameters={"clearColor": [*(v / 255 for v in rgb(PAPER[dark])), 1]},
    )


def units_map(frame: pd.DataFrame, method: str, caption: Caption, dark: bool = False) -> Any:
    """The same picture as :func:`units_deck`, as a chart for print. method : how units were laid
    out, which the subtitle says."""
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-1.08, 1.08]))
    # As on the screen, y grows downwards.
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[1.08, -1.08]))
    kinds = sorted(set(frame["kind"]))
    base = alt.Chart(
        frame.assign(
            size=np.pi * frame["radius"] ** 2, seen=np.where(frame["sure"], 0.86, 0.28)
        ).drop(columns=["hint"])
    )
    dots = base.mark_circle(stroke=PAPER[dark], strokeWidth=0.6).encode(
        x,
        y,
        alt.Color(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=kinds, range=[color(k, dark) for k in kinds]),
        ),
        alt.Size("size:Q", scale=None),
        alt.Opacity("seen:Q", scale=None),
    )
    text = (
        alt.Chart(frame[frame["named"]])
        .mark_text(dy=-13, fontSize=11, color=INK[dark])
        .encode(x, y, text="label:N")
    )
    chart = (dots + text).properties(width=560, height=520)
    caption = caption._replace(split=f"{caption.split} · {method}")
    return titled(chart, "Units that respond to the same images", caption, dark, 30)


def legend(kinds: list[str], dark: bool) -> str:
    """The colours of the map in words, as HTML. kinds : categories."""
    return color_legend(kinds, {"faint": "no better than chance"}, dark) + (
        "<small>The larger a dot, the higher its IoU.</small>"
    )
