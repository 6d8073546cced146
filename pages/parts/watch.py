"""Long work as pages show it: how far it is, how it ended, what can be done with it."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path

import streamlit as st

from core.foundation.errors import UnitscopeError
from core.foundation.progress import Heartbeat, duration
from core.views.names import sentence
from core.views.work import Task
from pages.parts import access, changes

HURRY = 10.0
"""Seconds after which work that was asked to stop may be ended the hard way."""


def size_words(size: float) -> str:
    """Bytes for people.

    >>> size_words(2_500_000)
    '2.5 MB'
    """
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:.1f} TB"


def state(task: Task, steps: Mapping[str, str], losses: str = "") -> None:
    """How far it is, or how it ended.

    steps : stage → what people call it. losses : of a finished run, the photos that it lost, for it
    is no plain success then.
    """
    job, now, beat = task.job, task.state, task.beat
    if now == "finished":
        if losses:
            st.markdown(f":orange[:material/warning:] **Finished:** {losses}.")
        else:
            st.markdown(":green[:material/check_circle:] **Finished.**")
    elif now == "failed":
        st.markdown(":red[:material/error:] **It failed:**")
        st.text(job.error if job else "")
    elif now == "starting" or beat is None:
        if now == "stopped":
            st.markdown(":orange[**Stopped**] before anything was done.")
        elif now == "stopping":
            st.caption("Stopping …")
        else:
            st.caption("Started: opening the photos, loading the network.")
    else:
        bar(beat, now, steps)
    if now == "stopped" and beat is not None:
        stopped_at = job.error if job and job.error else ""
        if job is None:
            stopped_at = f"no heartbeat for {duration(task.age or 0)}"
        st.markdown(
            ":orange[**Stopped.**] "
            + (f"{sentence(stopped_at)}. " if stopped_at else "")
            + "What it has done is kept; the same command resumes it."
        )


def bar(beat: Heartbeat, now: str, steps: Mapping[str, str]) -> None:
    """How far it is."""
    done, total = beat.done, max(1, beat.total)
    said = f"{steps.get(beat.stage, beat.stage)}: {done:,} of {total:,} images"
    if now == "running":
        rate, left = beat.rate, beat.left
        said += (
            f", {rate:.0f} a second" if rate >= 1 else f", one in {1 / rate:.0f} s" if rate else ""
        )
        said += f", {duration(left)} left in this step" if left else ""
    elif now == "stopping":
        said += ", stopping …"
    st.progress(min(1.0, done / total), text=said)


def controls(
    task: Task,
    root: Path,
    shown: Callable[[], None],
    again: Callable[[], None] | None,
    drop: Callable[[], None],
) -> None:
    """What an owner can do with it, and its log; for others, the link to what it made.

    shown : draws the link to what a finished one made. again : goes on with a stopped one, or
    tries a failed one anew; None where that cannot be done here. drop : throws away what a
    stopped one has done.
    """
    job, name, now = task.job, task.name, task.state
    own = access.may_change()
    with st.container(horizontal=True, vertical_alignment="center"):
        if job is None and now in ("running", "starting"):
            st.caption("Started on the command line: stop it there with Ctrl-C.")
        elif now in ("starting", "running"):
            if own and st.button("Stop", icon=":material/stop:", key=f"stop-{name}"):
                changes.stop(name, root)
                st.rerun(scope="fragment")
        elif now == "stopping":
            asked = (job.folder / "stop").stat().st_mtime if job else time.time()
            late = own and time.time() - asked > HURRY
            if late and st.button("Kill it", key=f"kill-{name}"):
                changes.stop(name, root, at_once=True)
                st.rerun(scope="fragment")
        elif now == "finished":
            shown()
        elif again is not None and own:
            label = "Resume" if now == "stopped" else "Try again"
            if st.button(label, icon=":material/play_arrow:", key=f"go-{name}", type="primary"):
                try:
                    again()
                except UnitscopeError as err:
                    st.error(f"{sentence(err)}.", icon=":material/error:")
                else:
                    st.rerun(scope="fragment")
        if not own:
            return
        if job is not None and now in ("finished", "failed"):
            if st.button("Dismiss", type="tertiary", key=f"dismiss-{name}"):
                changes.dismiss(name, root)
                st.rerun(scope="fragment")
        elif now == "stopped" and st.button("Discard …", type="tertiary", key=f"drop-{name}"):
            drop()
    if job is not None and (said := job.log(40)):
        with st.expander("Log", icon=":material/terminal:"):
            st.code(said, language=None, wrap_lines=True)
