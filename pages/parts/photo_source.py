"""Ways to name photos in the form of a run: look through folders, drop in a zip or a folder."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from core.foundation.errors import UnitscopeError
from core.foundation.settings import limits
from core.views import dropped
from core.views.folders import MOST, look, spec_of, starts
from core.views.names import sentence
from core.views.runs import cache_root
from pages.parts import access, address, changes, draw
from pages.parts.finder import verbatim
from pages.parts.watch import size_words

AT = "browse-at"


def take(spec: str) -> None:
    """Put a SPEC into the form."""
    address.put({"data": spec}, drop=("only",))


def row() -> None:
    """The two buttons; for owners, as the whole form is."""
    if st.button("Browse folders", icon=":material/folder_open:", type="tertiary"):
        st.session_state.pop(AT, None)
        browse()
    if st.button("Drop in a zip or folder", icon=":material/upload:", type="tertiary"):
        drop_in()


@st.dialog("Choose the folder of the photos", width="large")
def browse() -> None:
    """Folders that this server reads, one at a time."""
    if not access.may_change():
        return
    roots = access.readable_roots()
    begin = starts(roots)
    at = st.session_state.get(AT)
    if at is None and len(begin) == 1:
        at = str(begin[0])

    def go(path: Path | None) -> None:
        st.session_state[AT] = None if path is None else str(path)

    if at is None:
        if not begin:
            draw.caption("This server reads no folder of its machine (`--roots`): drop one in.")
        for path in begin:
            st.button(
                str(path), icon=":material/folder:", on_click=go, args=(path,), type="tertiary"
            )
        return
    try:
        here = look(Path(at), roots)
    except UnitscopeError as err:
        st.error(f"{sentence(err)}.", icon=":material/error:")
        st.button("Back to the start", on_click=go, args=(None,))
        return
    st.markdown(f"**{verbatim(str(here.path))}**")
    with st.container(horizontal=True):
        st.button(
            "Up",
            icon=":material/arrow_upward:",
            on_click=go,
            args=(here.up,),
            disabled=here.up is None and len(begin) < 2,
        )
        if here.spec and st.button("Use this folder", type="primary", icon=":material/check:"):
            take(here.spec)
            st.rerun()
    files = f"{here.files:,} file{'s' * (here.files != 1)}"
    if here.spec:
        draw.caption(f"{files} beside these folders. Read as `{here.spec.partition(':')[0]}`.")
    else:
        draw.caption(
            f"{files} beside these folders. It is no data set in a form that is known; one of "
            "yours has `images/`, `masks/`, `labels.csv` and `scenes.csv`."
        )
    with st.container(height=320, border=False, gap=None):
        for place, name in enumerate(here.folders):
            st.button(
                verbatim(name),
                key=f"browse-{place}",
                icon=":material/folder:",
                on_click=go,
                args=(here.path / name,),
                type="tertiary",
            )
    if here.more:
        draw.caption(f"{here.more:,} more; the first {MOST} are listed.")


@st.dialog("Drop in a data set", width="large")
def drop_in() -> None:
    """A zip, or a folder with all in it; and what was dropped in before."""
    if not access.may_change():
        return
    most = limits()
    # Of a team's visitors the door does not know who is an owner (docs/serving.md).
    own = access.serving().mode == "owner"
    size = most.drop_mb if own else most.photo_mb
    count = most.drop_files if own else most.uploads
    draw.caption(
        "Photos with their masks and tables, in one of the forms under *How to name them*: "
        f"up to {size} MB, as a zip or in {count:,} files. It is unpacked beside the runs, "
        "and nothing in it is run."
    )
    left, right = st.columns(2, gap="large")
    with left:
        packed = st.file_uploader("A zip", ["zip"], key="drop-zip", max_upload_size=size)
    with right:
        files = st.file_uploader(
            "A folder",
            accept_multiple_files="directory",
            key="drop-folder",
            max_upload_size=size,
        )
    if (packed is not None or files) and st.button("Unpack and use it", type="primary"):
        try:
            with st.spinner("Unpacking …"):
                if packed is not None:
                    folder = changes.drop_zip(packed.name, packed.getvalue())
                else:
                    folder = changes.drop_files({f.name: f.getvalue() for f in files})
        except UnitscopeError as err:
            st.error(f"{sentence(err)}.", icon=":material/error:")
            return
        spec = spec_of(folder)
        if spec:
            take(spec)
            st.rerun()
        st.warning(
            "It is unpacked, and is no data set in a form that is known: it should hold "
            "`images/`, `masks/`, `labels.csv` and `scenes.csv`.",
            icon=":material/rule:",
        )
    before = dropped.kept(cache_root())
    if not before:
        return
    st.markdown("**Dropped in before**")
    for folder, spec, bytes_held in before:
        with st.container(horizontal=True, vertical_alignment="center"):
            st.text(f"{folder.name}, {size_words(bytes_held)}")
            if spec and st.button("Use it", key=f"use-{folder.name}", type="tertiary"):
                take(spec)
                st.rerun()
            with st.popover("Delete", icon=":material/delete:", type="tertiary"):
                draw.caption("Runs made of it stay, with their photos as the network saw them.")
                if st.button("Delete it for good", key=f"delete-{folder.name}"):
                    try:
                        changes.delete_dropped(folder.name)
                    except UnitscopeError as err:
                        st.error(f"{sentence(err)}.", icon=":material/error:")
                    else:
                        st.rerun(scope="fragment")
