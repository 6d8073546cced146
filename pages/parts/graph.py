"""The knowledge graph that a page reads a run by, chosen in the sidebar, kept in the address."""

from __future__ import annotations

import shlex

import streamlit as st

from core.figures.base import Caption
from core.foundation.errors import UnitscopeError
from core.views.knowledge import Known, knowledge_name, spoken_name
from pages.parts import address
from pages.parts.cache import known
from pages.parts.frame import Context, sentence, stop

BUILTIN = "builtin"


def chosen(ctx: Context, title: str) -> Known:
    """The run's names in its graph, or in the embedded one where the address says so.

    Where the graph cannot be opened, or the run has nothing to bring to it, the page says so
    and ends.
    """
    own = ctx.run.own_knowledge
    options = list(dict.fromkeys([own, BUILTIN]))
    asked = address.get("knowledge", own)
    if asked not in options:
        # Only graphs that a run was made with are opened: an address is no way to read files.
        st.title(title)
        stop(
            f"This run has no knowledge graph “{asked}”; it was made with “{own}”.",
            {"Use the run’s own": address.kept(knowledge=own)},
            title,
        )
    names = {name: spoken_name(name) for name in options}
    if len(options) > 1:
        with st.sidebar:
            asked = address.select(
                "knowledge",
                "Knowledge",
                options,
                own,
                format_func=names.get,
                help="Which graph says what belongs to a scene. The run’s own is the one it was "
                "made with.",
            )
    words = address.get("names")
    if words:
        with st.sidebar:
            st.caption("Names are read with a file of corrections.")
            st.button(
                "Without the corrections",
                type="tertiary",
                icon=":material/undo:",
                on_click=address.put,
                args=({"names": ""},),
            )
    try:
        found = known(ctx.run, asked, words)
    except UnitscopeError as err:
        st.title(title)
        links = {"Back to the overview": address.kept()}
        if words:
            links = {"Without the corrections": address.kept(names="")}
        elif asked != BUILTIN:
            links = {"Use the embedded facts instead": address.kept(knowledge=BUILTIN)}
        stop(f"{sentence(err)}.", links, title if words or asked != BUILTIN else "")
    if found.empty:
        with st.sidebar:
            st.warning(f"{sentence(found.empty)}.", icon=":material/link_off:")
    return found


def line(ctx: Context, known: Known) -> str:
    """The graph in a line: what it is called, how much it holds."""
    return str(ctx.ask(knowledge_name, known))


def caption(ctx: Context, known: Known, more: str = "") -> Caption:
    """The subtitle of what is said of scenes: data, graph, and what of them."""
    result = f"knowledge {known.name}" + (f", {more}" if more else "")
    return ctx.caption(f"{ctx.facts.images:,} images, {result}", layered=False)


def option(ctx: Context, known: Known) -> str:
    """``--knowledge SPEC`` of the command line, where it is not the run's own."""
    own = known.spec == ctx.run.own_knowledge
    return "" if own else f" --knowledge {shlex.quote(known.spec)}"


def options(ctx: Context, known: Known) -> str:
    """All that the command line needs to read names likewise."""
    return option(ctx, known) + known.options
