"""Concept vectors and graphs of a layer: what ConceptSHAP, TCAV, ACE and VRX found."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.directions.findings import Finding
from core.foundation.names import plain_name
from core.views import directions
from core.views.images import concepts
from core.views.runs import cache_root
from pages.parts import address, draw, measure
from pages.parts.frame import Context


def tab(ctx: Context) -> None:
    """What was found by one of them, and the start of another question."""
    if not ctx.layer:
        draw.caption("This run was made from published predictions: it has no layer to look into.")
        return
    verb = address.select(
        "by",
        "Method",
        list(directions.TITLES),
        "conceptshap",
        widget=st.segmented_control,
        drop=("asked", "of"),
        format_func=directions.TITLES.get,
    )
    st.markdown(directions.ABOUT[verb])
    # Not from the cache: it may be found meanwhile.
    found = directions.found(ctx.run, ctx.layer, verb)
    if found:
        name = address.select("asked", "Asked", list(found))
        result(ctx, verb, name, found[name])
    else:
        draw.caption(f"{directions.TITLES[verb]} has not been asked about layer {ctx.layer} yet.")
    start(ctx, verb)


def result(ctx: Context, verb: str, name: str, one: Finding) -> None:
    """One table with what must be said beside it."""
    frame = directions.table_of(one)
    figures = [c for c in frame if pd.api.types.is_float_dtype(frame[c])]
    title = directions.TITLES[verb]
    draw.table(
        frame,
        f"{verb}-{ctx.layer}",
        f"{title} in layer {ctx.layer}: {name}",
        caption=" / ".join(ctx.caption(f"{title}, {name}").lines()),
        column_config={c: st.column_config.NumberColumn(format="%.3f") for c in figures},
    )
    for note in one.notes:
        draw.caption(note)


def start(ctx: Context, verb: str) -> None:
    """The job that asks it."""
    of = ""
    if verb == "ace":
        of = address.select("of", "Scene", scenes(ctx), format_func=plain_name)
    elif verb == "tcav":
        table = ctx.ask(concepts)
        table = table[~table["category"].isin(("scene", "color"))]
        table = table.sort_values("images", ascending=False, kind="stable")
        shown = dict(zip(table["label"], table["shown"], strict=True))
        of = address.select("of", "Concept", list(shown), format_func=shown.get)
    asked = directions.arguments(verb, ctx.run, cache_root(), ctx.layer, of)
    key = f"{verb}-{of}"
    measure.offer(asked, cache_root(), directions.STEPS, key, f"Ask {directions.TITLES[verb]}")
    draw.caption("It takes minutes, and a stopped job is resumed.")


def scenes(ctx: Context) -> list[str]:
    """Scenes that photos show."""
    rows = ctx.run.sql(
        "SELECT s.name FROM scenes s JOIN images i ON i.scene = s.scene "
        "WHERE s.class IS NOT NULL GROUP BY s.name ORDER BY count(*) DESC, s.name"
    )
    return list(rows["name"])
