"""Tags and notes on photos and units: shown to everybody, written by owners."""

from __future__ import annotations

import streamlit as st

from core.foundation.errors import UnitscopeError
from core.runs.notes import Marks, Thing, all_marks, marks_of, parse_tags, tags_in_use
from core.views.names import sentence
from pages.parts import access, address, changes, draw
from pages.parts.finder import verbatim
from pages.parts.frame import Context


def editor(ctx: Context, thing: Thing) -> None:
    """The tags and the note of one photo or unit, and for an owner the way to change them."""
    try:
        now = marks_of(ctx.run, thing)
    except UnitscopeError as err:
        draw.caption(f":orange[{sentence(err)}.]")
        return
    if now.tags:
        st.markdown(" ".join(f":blue-badge[:material/sell: {verbatim(tag)}]" for tag in now.tags))
    if now.note:
        st.text(now.note)
    if not access.may_change():
        return
    key = f"{ctx.run.digest}-{thing.layer}-{thing.key}"
    with (
        st.popover("Tags and note", type="tertiary", icon=":material/edit_note:"),
        st.form(f"marks-{key}", border=False),
    ):
        tags = st.text_input(
            "Tags", ", ".join(now.tags), key=f"tags-{key}", placeholder="odd, to check"
        )
        note = st.text_area("Note", now.note, key=f"note-{key}", height=120)
        if st.form_submit_button("Save", type="primary"):
            try:
                changes.mark(ctx.run, thing, Marks(parse_tags(tags), note))
            except UnitscopeError as err:
                st.error(f"{sentence(err)}.", icon=":material/error:")
            else:
                st.rerun()


def chosen(ctx: Context, layer: str = "") -> set[str] | None:
    """The keys of what has the tag that is chosen in a list drawn here: units of a layer, or
    photos. None where no tag is chosen, or none is in use."""
    asked = address.get("tag")
    try:
        known = tags_in_use(ctx.run, layer)
    except UnitscopeError as err:
        draw.caption(f":orange[{sentence(err)}.]")
        return None
    if not known and not asked:
        return None
    options = ["", *known, *([asked] if asked and asked not in known else [])]
    tag = address.select(
        "tag",
        "Tag",
        options,
        drop=("page",),
        format_func=lambda one: one or "any",
        width=220,
    )
    if not tag:
        return None
    return {key for key, marks in all_marks(ctx.run, layer).items() if tag in marks.tags}
