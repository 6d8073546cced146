"""The start of a job that measures a run, how far it is, and its command line."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from core.foundation.errors import UnitscopeError
from pages.parts import access, changes, draw, watch
from pages.parts.cache import Deferred
from pages.parts.frame import sentence

if TYPE_CHECKING:
    from core.views import reliance
else:
    reliance = Deferred("reliance")


def offer(
    asked: list[str], root: Path, steps: Mapping[str, str], key: str, label: str = "Measure"
) -> None:
    """A button that starts the job, for owners; how far it is, once it runs; its command line.

    asked : after ``python -m core``, the run's digest second. steps : stages → what they do.
    """
    job = reliance.at_work(asked, root)
    if job is not None and job.state != "finished":
        at_work(asked, root, dict(steps))
    elif access.may_change():
        if st.button(label, type="primary", icon=":material/play_arrow:", key=f"do-{key}"):
            begin(asked, root)
    else:
        draw.caption(f"Started here, {access.why_not()}.")
    st.code(reliance.command(asked), language="bash", wrap_lines=True)


def begin(asked: Sequence[str], root: Path) -> None:
    """Start it; what went wrong is said."""
    try:
        changes.start_measuring(asked, root)
    except UnitscopeError as err:
        st.error(f"{sentence(err)}.", icon=":material/error:")
        return
    st.rerun()


@st.fragment(run_every=2.0)
def at_work(asked: list[str], root: Path, steps: dict[str, str]) -> None:
    """A job at work, read again every two seconds; the page is drawn anew when it ends."""
    job = reliance.at_work(asked, root)
    if job is None or job.state == "finished":
        st.rerun()
        return
    name = reliance.job_name(asked)

    def again() -> None:
        changes.start_measuring(asked, root)

    with st.container(border=True):
        watch.state(job, steps)
        watch.controls(
            job,
            root,
            lambda: None,
            again,
            lambda: changes.dismiss(name, root),
        )
