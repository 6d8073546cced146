"""The layers of one run compared: a part of the page Overview, for runs of several layers."""

from __future__ import annotations

from dataclasses import replace

import pandas as pd
import streamlit as st

from core.figures import units as unit_figures
from core.views import layers as layer_views
from core.views.names import shown_name
from pages.parts import address, draw, explanations
from pages.parts.frame import Context, page_files

NUMBER = st.column_config.NumberColumn


def section(ctx: Context) -> None:
    """What each layer detects; nothing where the run has one layer."""
    names = [layer.name for layer in ctx.facts.layers]
    if len(names) < 2:
        return
    draw.subheader("Layer by layer")
    frame = ctx.ask(layer_views.by_layer, ctx.denominator)
    caption = replace(ctx, layer=", ".join(names)).caption()
    left, right = st.columns([5, 7], gap="large")
    with left:
        kinds = ctx.ask(layer_views.categories_by_layer, ctx.denominator)
        if len(kinds):
            draw.chart(
                lambda dark: unit_figures.layers(kinds, names, caption, dark),
                "layers",
                "Bars: share of each layer's units by the category of their label",
                explanations.DETECTED,
            )
        else:
            draw.caption("No unit of any layer has a label that is better than chance.")
    with right:
        draw.table(
            pd.DataFrame(
                {
                    "layer": frame["layer"],
                    "units": frame["units"],
                    "better than chance": frame["above"],
                    "by chance": frame["by_chance"],
                    "untrained twin": frame["twin"],
                    "concepts": frame["concepts"],
                    "median IoU": frame["iou"],
                }
            ),
            "layers",
            "Layers with units, units better than chance, concepts and median IoU",
            explanations.UNTRAINED,
            caption=" / ".join(caption.lines()),
            column_config={
                "median IoU": NUMBER(format="%.3f"),
                "by chance": NUMBER(
                    format="%.1f", help="Units that are so with masks exchanged, on average."
                ),
            },
        )
        draw.caption(
            f"All pages show **{ctx.layer}** now; the list *Layer* beside chooses another."
        )
        keys = ",".join(f"{ctx.run.digest}:{name}" for name in names[:4])
        st.page_link(
            page_files()["Compare"],
            label="Compare them on the same images",
            icon=":material/compare:",
            query_params=address.kept(sides=keys),
        )
    with st.expander("Concept by concept, as a table"):
        table = ctx.ask(layer_views.concepts_by_layer, ctx.denominator)
        table = table.assign(name=[shown_name(name) for name in table["name"]])
        draw.table(
            table.rename(columns={"name": "concept"}),
            "concepts-by-layer",
            "Concepts with the number of units that detect them and the best IoU, by layer",
            explanations.DETECTED,
            caption=" / ".join(caption.lines()),
            height=min(38 + 35 * len(table), 420),
            column_config={
                column: NUMBER(format="%.3f") for column in table.columns if "IoU " in column
            },
        )
