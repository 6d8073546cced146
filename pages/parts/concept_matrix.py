"""The core concepts of all scenes at a glance, on the page Concepts: concept × scene."""

from __future__ import annotations

import streamlit as st

from core.figures import matrices as figures
from core.foundation.names import plain_name
from core.foundation.vocabulary import Core
from core.views.knowledge import Known
from core.views.matrices import MOST_SCENES, concept_matrix
from core.views.names import counted
from pages.parts import address, draw, explanations, graph
from pages.parts.frame import Context

ROWS = 60
"""Concepts of one page of the matrix."""


def tab(ctx: Context, known: Known) -> None:
    """Core concepts of one kind of every scene, by frequency; a cell leads to the concept."""
    kind = address.views(Core.shorts(), "cc", "Core concepts", ("page",), "scc")
    frame = ctx.ask(concept_matrix, known, kind)
    if frame.empty:
        st.info(f"No scene has core concepts by {Core.of(kind).short}.", icon=":material/category:")
        return
    concepts, scenes = list(dict.fromkeys(frame["concept"])), sorted(set(frame["scene"]))
    st.markdown(
        f"**{counted(len(concepts), 'concept')}** are core to some of "
        f"{counted(len(scenes), 'scene')} by {Core.of(kind).long}. A cell is the percentage of the "
        "scene’s photos with the concept, by which Top 10 and ICC choose."
    )
    place = st.container()
    page = address.pages("page", -(-len(concepts) // ROWS))
    shown = frame[frame["concept"].isin(concepts[(page - 1) * ROWS : page * ROWS])]
    if len(known.annotated.scenes) > MOST_SCENES:
        draw.caption(f"Of the scenes, the {MOST_SCENES} of most photos.")
    scene_of = {
        name: draw.Head(plain_name(name), address.query(address.kept(scene=name)))
        for name in scenes
    }
    finds = {
        str(row.concept): address.query(address.kept(view="find", concept=row.label))
        for row in shown.itertuples()
    }
    cells = {}
    for row in shown.itertuples():
        hint = f"{row.shown} in {plain_name(row.scene)}: {row.frequency:.0%} of its photos"
        hint += f"; {row.facts}" if row.related else "; by frequency alone"
        cells[str(row.concept), str(row.scene)] = draw.Cell(
            row.frequency, f"{100 * row.frequency:.0f}", hint, finds[str(row.concept)]
        )
    caption = graph.caption(ctx, known, f"core concepts: {Core.of(kind).short}")
    heads = dict(zip(shown["concept"].astype(str), shown["shown"], strict=True))
    with place:
        draw.matrix(
            lambda dark: figures.concepts(shown, kind, caption, dark),
            f"core-concepts-{kind}",
            f"Core concepts ({Core.of(kind).short}) against scenes; a cell leads to the concept",
            {key: draw.Head(text, finds[key]) for key, text in heads.items()},
            scene_of,
            cells,
            explanations.CORE,
            frame.drop(columns=["concept", "label"]),
        )
