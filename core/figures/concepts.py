"""Pictures of core concepts: the graph around a scene, the search for P."""

from __future__ import annotations

from html import escape
from typing import Any, Literal

import altair as alt
import numpy as np
import pandas as pd
import pydeck

from core.figures.base import (
    BLUE,
    CATEGORY_COLORS,
    GREY,
    INK,
    ORANGE,
    PAPER,
    SOFT,
    Caption,
    rgb,
    titled,
)
from core.foundation.plain import Json

ROW, LEAST, REACH = 20, 320, 130
"""Pixels: height of a name in the drawn graph, the graph's least height, from the middle to the
outermost dots."""


def graph_height(nodes: pd.DataFrame) -> int:
    """Pixels that the drawn graph needs: every name on one side has a line of its own."""
    return max(LEAST, ROW * (1 + len(nodes) // 2))


def color(category: str, dark: bool) -> str:
    """The colour of a category, "#rrggbb"; grey for one that has none of its own."""
    return CATEGORY_COLORS.get(category, (GREY[False], GREY[True]))[dark]


def color_legend(categories: list[str], marks: dict[str, str], dark: bool) -> str:
    """The colours of a drawn graph or map in words, as HTML.

    marks : what a ``ring`` and a ``faint`` dot mean.
    """
    dots = "".join(
        f'<span><i style="background:{color(c, dark)}"></i>{escape(c)}</span>' for c in categories
    )
    rest = "".join(f'<span><i class="{k}"></i>{escape(v)}</span>' for k, v in marks.items())
    return (
        "<style>.legend{display:flex;flex-wrap:wrap;gap:.2rem 1.2rem;font-size:.85rem;opacity:.85}"
        ".legend i{display:inline-block;width:.75em;height:.75em;border-radius:50%;"
        "margin-right:.4em;vertical-align:-.05em}"
        ".legend .ring{border:2px solid currentColor;box-sizing:border-box}"
        ".legend .faint{background:currentColor;opacity:.3}</style>"
        f'<div class="legend">{dots}{rest}</div>'
    )


def scene_deck(nodes: pd.DataFrame, edges: pd.DataFrame, dark: bool = False) -> pydeck.Deck:
    """The graph around a scene, to be moved and pointed at, from
    :func:`core.views.knowledge.picture`.

    Layers ``facts`` (lines), ``concepts`` (dots; a click picks one) and ``names``. It needs no
    map and no network.
    """
    half = 0.5 * graph_height(nodes)
    # What a pointer over a dot or a line shows; plain words, never read as HTML.
    lines, dots = _deck_lines(edges, half, dark), _deck_dots(nodes, half, dark)
    return pydeck.Deck(
        layers=[_facts_layer(lines), _concepts_layer(dots), _names_layer(dots, dark)],
        views=[pydeck.View(type="OrthographicView", controller=True)],
        initial_view_state=pydeck.ViewState(target=[0, 0, 0], zoom=0, min_zoom=-1, max_zoom=4),
        map_provider=None,
        map_style=None,
        tooltip={"text": "{hint}"},
        parameters={"clearColor": [*(v / 255 for v in rgb(PAPER[dark])), 1]},
    )


def _deck_dots(nodes: pd.DataFrame, half: float, dark: bool) -> pd.DataFrame:
    """Nodes with place, size and colours of their dots and names; those in no photo are faint."""
    full, faint = 255, 70
    return nodes.assign(
        px=nodes["x"] * REACH,
        py=nodes["y"] * half,
        radius=np.where(nodes["concept"] == 0, 9, 5 + 2 * nodes["core"]),
        fill=[
            [
                *rgb(INK[dark] if r.concept == 0 else color(r.category, dark)),
                full if r.in_photos else faint,
            ]
            for r in nodes.itertuples()
        ],
        rim=[[*rgb(INK[dark]), full if r.core and r.concept else 0] for r in nodes.itertuples()],
        ink=[[*rgb(INK[dark]), full if r.in_photos else 130] for r in nodes.itertuples()],
        dx=[{"start": 12, "end": -12}.get(a, 0) for a in nodes["anchor"]],
        dy=np.where(nodes["concept"] == 0, -20, 0),
    )


def _deck_lines(edges: pd.DataFrame, half: float, dark: bool) -> pd.DataFrame:
    """Edges with the place of their ends, colours and widths."""
    return edges.assign(
        px=edges["x"] * REACH,
        py=edges["y"] * half,
        ink=[
            [*rgb(SOFT[dark]), (190 if r.in_photos else 70) if r.related else 45]
            for r in edges.itertuples()
        ],
        thick=np.where(edges["related"], 1.6, 1.0),
    )


def _facts_layer(lines: pd.DataFrame) -> pydeck.Layer:
    return pydeck.Layer(
        "LineLayer",
        id="facts",
        data=deck_rows(lines, ["px", "py", "ink", "thick", "hint"]),
        get_source_position=[0, 0],
        get_target_position="[px, py]",
        get_color="ink",
        get_width="thick",
        width_units=pydeck.types.String("pixels"),
        width_min_pixels=1,
        pickable=True,
        auto_highlight=False,
    )


def _concepts_layer(dots: pd.DataFrame) -> pydeck.Layer:
    pixels = pydeck.types.String("pixels")
    return pydeck.Layer(
        "ScatterplotLayer",
        id="concepts",
        data=deck_rows(dots, ["concept", "label", "px", "py", "radius", "fill", "rim", "hint"]),
        get_position="[px, py]",
        get_radius="radius",
        radius_units=pixels,
        get_fill_color="fill",
        stroked=True,
        get_line_color="rim",
        get_line_width=2,
        line_width_units=pixels,
        pickable=True,
    )


def _names_layer(dots: pd.DataFrame, dark: bool) -> pydeck.Layer:
    return pydeck.Layer(
        "TextLayer",
        id="names",
        data=deck_rows(dots, ["shown", "px", "py", "ink", "anchor", "dx", "dy"]),
        get_position="[px, py]",
        get_text="shown",
        get_size=13,
        size_units=pydeck.types.String("pixels"),
        get_color="ink",
        background=True,
        get_background_color=[*rgb(PAPER[dark]), 200],
        get_text_anchor="anchor",
        get_pixel_offset="[dx, dy]",
        get_alignment_baseline=pydeck.types.String("center"),
        character_set=deck_letters(dots),
        font_family=pydeck.types.String("Source Sans, Liberation Sans, Arial, sans-serif"),
    )


def deck_letters(nodes: pd.DataFrame) -> pydeck.types.String:
    """All letters that the names need: a text layer draws none that it is not given."""
    return pydeck.types.String("".join(sorted(set("".join(map(str, nodes["shown"]))))))


def deck_rows(frame: pd.DataFrame, columns: list[str]) -> list[Json]:
    """Plain rows: numbers as Python's own, so that they can be written as JSON."""
    return [
        {
            name: value.item() if isinstance(value, np.generic) else value
            for name, value in zip(columns, row, strict=True)
        }
        for row in frame[columns].itertuples(index=False, name=None)
    ]


def scene_graph(
    nodes: pd.DataFrame, edges: pd.DataFrame, title: str, caption: Caption, dark: bool = False
) -> Any:
    """The same picture as :func:`scene_deck`, as a chart for print."""
    reach, tall = 1.4, 1.0
    x = alt.X("x:Q", axis=None, scale=alt.Scale(domain=[-reach, reach]))
    y = alt.Y("y:Q", axis=None, scale=alt.Scale(domain=[tall, -tall]))
    lines = (
        alt.Chart(edges.assign(zero=0.0, faint=[1.0 if r else 0.35 for r in edges["related"]]))
        .mark_rule(color=SOFT[dark], strokeWidth=0.8)
        .encode(
            alt.X("zero:Q", axis=None, scale=alt.Scale(domain=[-reach, reach])),
            alt.Y("zero:Q", axis=None, scale=alt.Scale(domain=[tall, -tall])),
            alt.X2("x:Q"),
            alt.Y2("y:Q"),
            opacity=alt.Opacity("faint:Q", scale=None),
        )
    )
    things = nodes[nodes["concept"] != 0]
    # A category of the data without a colour of its own is grey, as in the app.
    present = sorted(set(things["category"]))
    scale = alt.Scale(domain=present, range=[color(c, dark) for c in present])
    shown = things.assign(
        opacity=np.where(things["in_photos"], 1.0, 0.35),
        rim=np.where(things["core"], 1.6, 0.0),
        size=np.where(things["core"], 130, 70),
    )
    dots = (
        alt.Chart(shown)
        .mark_circle(stroke=INK[dark])
        .encode(
            x,
            y,
            alt.Color("category:N", title=None, scale=scale),
            alt.Size("size:Q", scale=None),
            alt.Opacity("opacity:Q", scale=None),
            alt.StrokeWidth("rim:Q", scale=None),
        )
    )
    middle = alt.Chart(nodes[nodes["concept"] == 0])
    heart = middle.mark_circle(size=220, color=INK[dark], opacity=1).encode(x, y)
    heading = middle.mark_text(dy=-17, fontSize=13, fontWeight=600, color=INK[dark]).encode(
        x, y, text="shown:N"
    )
    sides: list[tuple[str, Literal["left", "right"], int]] = [
        ("start", "left", 9),
        ("end", "right", -9),
    ]
    texts = [
        alt.Chart(shown[shown["anchor"] == anchor])
        .mark_text(align=align, dx=dx, fontSize=11, color=INK[dark])
        .encode(x, y, alt.Opacity("opacity:Q", scale=None), text="shown:N")
        for anchor, align, dx in sides
    ]
    layers = [lines, heart, dots, heading, *texts]
    chart = alt.layer(*layers).properties(width=620, height=graph_height(nodes))
    return titled(chart, title, caption, dark, 30)


def search(frame: pd.DataFrame, scenes: int, caption: Caption, dark: bool = False) -> Any:
    """How many scenes differ at each p, from
    :func:`core.views.knowledge.search_steps`."""
    words = {"Count": "all concepts (P_c)", "SCount": "related or frequent ones (P_sc)"}
    data = frame.assign(kind=[words[s] for s in frame["search"]])
    colors = alt.Scale(domain=list(words.values()), range=[GREY[dark], BLUE[dark]])
    x = alt.X(
        "p:Q",
        title="least share of a scene’s photos, p",
        axis=alt.Axis(format="%", tickCount=5),
        scale=alt.Scale(domain=[0, 1]),
    )
    y = alt.Y(
        "sets:Q",
        title="different sets",
        axis=alt.Axis(tickCount=4, tickMinStep=1),
        scale=alt.Scale(domain=[0, max(1, scenes)]),
    )
    base = alt.Chart(data)
    # From the highest p down: what holds at p holds until the next lower one that occurs.
    lines = base.mark_line(interpolate="step", strokeWidth=2).encode(
        x,
        y,
        alt.Color("kind:N", title=None, scale=colors, legend=alt.Legend(labelLimit=260)),
        tooltip=["kind", alt.Tooltip("p", format=".1%"), alt.Tooltip("sets", title="sets")],
    )
    chosen = data[data["chosen"]].assign(
        shown=[
            f"{'P_c' if s == 'Count' else 'P_sc'} = {p:.0%}"
            for s, p in zip(
                data.loc[data["chosen"], "search"], data.loc[data["chosen"], "p"], strict=True
            )
        ]
    )
    dots = (
        alt.Chart(chosen)
        .mark_point(size=90, filled=True, color=ORANGE[dark], opacity=1)
        .encode(x, y, tooltip=["shown", "sets"])
    )
    text = (
        alt.Chart(chosen)
        .mark_text(align="left", dx=8, dy=-9, color=ORANGE[dark], fontWeight=600)
        .encode(x, y, text="shown:N")
    )
    chart = alt.layer(lines, dots, text).properties(height=180)
    return titled(chart, f"Telling {scenes} scenes apart", caption, dark, 30)
