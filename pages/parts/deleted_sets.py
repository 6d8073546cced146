"""Saved sets of units, deleted so that it can be undone: a part of the page Disable."""

from __future__ import annotations

import streamlit as st

from core.foundation.errors import UnitscopeError
from pages.parts import changes
from pages.parts.frame import Context

GONE = "set-deleted"


def drop(ctx: Context, name: str) -> None:
    """Delete a set, as a button's callback: :func:`offer` then says so, with *Undo*."""
    try:
        units, why = changes.delete_set(ctx.run, ctx.layer, name)
    except UnitscopeError as err:
        st.session_state["set-wrong"] = str(err)
        return
    st.session_state[GONE] = (ctx.run.digest, ctx.layer, name, units, why)


def offer(ctx: Context) -> None:
    """What was deleted last, with a button that brings it back."""
    gone = st.session_state.get(GONE)
    if gone is None or gone[:2] != (ctx.run.digest, ctx.layer):
        return
    _, layer, name, units, why = gone

    def back() -> None:
        try:
            changes.save_set(ctx.run, layer, name, units, why)
        except UnitscopeError as err:
            st.session_state["set-wrong"] = str(err)
            return
        del st.session_state[GONE]

    with st.container(horizontal=True, vertical_alignment="center"):
        st.text(f"Deleted “{name}”.")
        st.button("Undo", on_click=back, icon=":material/undo:", key="undo-set")
