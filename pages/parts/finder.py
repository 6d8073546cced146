"""The search box of every page, in the sidebar; what it finds are links."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import streamlit as st

from core.foundation.errors import UnitscopeError
from core.runs.run_file import Run
from core.runs.run_names import RunNames
from core.views.names import sentence
from core.views.runs import Summary
from core.views.search import Group, Hit, search, search_runs
from pages.parts import address
from pages.parts.registry import pages

FIND = "find"
"""The parameter of the address that holds what is searched for."""

ICONS = {
    "units": "grid_view",
    "concepts": "category",
    "scenes": "photo_library",
    "photos": "image",
    "tags": "sell",
    "runs": "storage",
}


def verbatim(text: str) -> str:
    """A name as Markdown that shows it as it is, underscores and colons included."""
    return re.sub(r"([\\`*_{}\[\]()#+!$:~<>|-])", r"\\\1", text)


def box(
    place: Any,
    run: Run | None,
    layer: str,
    denominator: str,
    found: Mapping[str, Summary],
    names: RunNames,
) -> None:
    """Draw the box, and beneath it what was found.

    place : a container of the sidebar. run : the one that is open; None where none is. found :
    digest → what each run is.
    """
    with place:
        text = address.text(
            FIND,
            "Search",
            placeholder="Search",
            label_visibility="collapsed",
            help="Units by number or label, concepts, scenes, photos by id, tags and notes, runs.",
            icon=":material/search:",
        )
        if not text:
            return
        groups: list[Group] = []
        if run is not None:
            try:
                groups = search(run, layer, text, denominator)
            except UnitscopeError as err:
                st.caption(f":orange[{sentence(err)}.]")
        if (of_runs := search_runs(found, names, text)) is not None:
            groups.append(of_runs)
        with st.container(key="found", gap=None):
            if not groups:
                st.caption(f"Nothing is called {verbatim(text)}.")
            for group in groups:
                more = group.total - len(group.hits)
                st.caption(f"**{group.kind}**" + (f" · {more:,} more" if more else ""))
                for hit in group.hits:
                    link(hit, ICONS.get(group.kind.split()[0], "arrow_forward"))


def link(hit: Hit, icon: str) -> None:
    """One thing found."""
    files = {page.name: page.form for page in pages()}
    to = hit.address if hit.page == "Overview" else address.kept(**hit.address)
    st.page_link(
        files[hit.page],
        label=f"{verbatim(hit.label)} :gray[{verbatim(hit.about)}]",
        icon=f":material/{icon}:",
        query_params={**to, FIND: address.get(FIND)},
        width="stretch",
    )
