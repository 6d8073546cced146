"""What a page lists: filters that are saved and taken up again, and all that fits, as a file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

import pandas as pd
import streamlit as st

from core.foundation.errors import UnitscopeError
from core.runs.notes import NAME, list_filters
from core.views.names import sentence
from core.views.selection import FORMATS, written
from pages.parts import access, address, changes, draw
from pages.parts.finder import verbatim
from pages.parts.frame import Context, page_files


def bar(
    ctx: Context,
    title: str,
    parameters: Sequence[str],
    every: Callable[[], pd.DataFrame],
    what: str,
) -> None:
    """Both, in a row. title : of the page. parameters : of its address, that make its filter.
    every : makes the frame of all that fits. what : names the files."""
    with st.container(horizontal=True):
        filters(ctx, title, parameters)
        with st.popover("Export", type="tertiary", icon=":material/download:"):
            draw.caption("All that fits, with tags and notes.")
            for kind, mime in FORMATS.items():
                st.download_button(
                    kind,
                    data=partial(_file, every, kind),
                    file_name=f"{what}-{ctx.run.digest[:6]}.{kind.lower()}",
                    mime=mime,
                    on_click="ignore",
                    key=f"export-{what}-{kind}",
                    width="stretch",
                )


def _file(every: Callable[[], pd.DataFrame], kind: str) -> bytes:
    return written(every(), kind)


def filters(ctx: Context, title: str, parameters: Sequence[str]) -> None:
    """Saved filters as links; for an owner, the one that is set now to be saved."""
    now = {name: address.get(name) for name in parameters if address.get(name)}
    own = access.may_change()
    try:
        kept = list_filters(ctx.run, title)
    except UnitscopeError as err:
        draw.caption(f":orange[{sentence(err)}.]")
        return
    if not kept and not own:
        return
    key = f"filter-{title}"

    def save() -> None:
        try:
            changes.save_filter(ctx.run, title, st.session_state[key], now)
            st.session_state[key] = ""
        except UnitscopeError as err:
            st.session_state["filter-wrong"] = sentence(err)

    def drop(name: str) -> None:
        try:
            changes.delete_filter(ctx.run, title, name)
            st.session_state["filter-gone"] = (title, name, kept[name])
        except UnitscopeError as err:
            st.session_state["filter-wrong"] = sentence(err)

    def back() -> None:
        _, name, choice = st.session_state.pop("filter-gone")
        try:
            changes.save_filter(ctx.run, title, name, choice)
        except UnitscopeError as err:
            st.session_state["filter-wrong"] = sentence(err)

    with st.popover("Saved filters", type="tertiary", icon=":material/bookmark:"):
        if not kept:
            draw.caption("None is saved yet.")
        for name, choice in kept.items():
            with st.container(horizontal=True, vertical_alignment="center"):
                st.page_link(
                    page_files()[title],
                    label=verbatim(name),
                    icon=":material/filter_alt:",
                    query_params=address.kept(**choice),
                    width="stretch",
                )
                if own:
                    st.button(
                        "Delete",
                        icon=":material/delete:",
                        type="tertiary",
                        key=f"drop-{title}-{name}",
                        on_click=drop,
                        args=(name,),
                    )
        gone = st.session_state.get("filter-gone")
        if own and gone and gone[0] == title:
            with st.container(horizontal=True, vertical_alignment="center"):
                st.text(f"Deleted “{gone[1]}”.")
                st.button("Undo", on_click=back, icon=":material/undo:", key=f"undo-{title}")
        if own:
            st.text_input(
                "Save this filter as",
                key=key,
                max_chars=NAME,
                disabled=not now,
                placeholder="a name" if now else "choose a filter first",
            )
            st.button("Save", on_click=save, disabled=not now, icon=":material/bookmark_add:")
        if wrong := st.session_state.pop("filter-wrong", ""):
            st.error(f"{wrong}.", icon=":material/error:")
