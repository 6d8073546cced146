"""What both ways of re-training share: which result is shown, what is at work, what may begin."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import streamlit as st

from core.foundation import jobs
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.views import retrain
from core.views.work import Task
from pages.parts import access, address, changes, draw, watch
from pages.parts.frame import page_files, sentence, stop

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

SOURCE = {"train": "training photos alone", "all": "all photos, test photos too"}
"""Photos that core concepts may come from, in words."""


def source() -> str:
    """The photos that core concepts come from, as a person chooses."""
    return address.select(
        "core", "Core concepts come from", list(SOURCE), "train", format_func=SOURCE.get
    )


STEPS = {
    "decode": "Reading the photos",
    "train": "Training, forward and back",
    "fit": "Fitting the SVMs, one after the other",
}
"""Stages of the work, in words."""


def points(value: float) -> str:
    """A difference of shares in percentage points."""
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", "−")


def span(low: float, high: float) -> str:
    """An interval of a difference, in percentage points."""
    return f"{points(low)} to {points(high)}"


def choose_result(names: list[str], shown: dict[str, str], noun: str) -> str:
    """The result that the address names; the first where it names none.

    Where there is no such result, the page says so and ends.
    """
    asked = address.get("result")
    fits = [name for name in names if name.startswith(asked)]
    if asked and len(fits) != 1:
        stop(
            f"There is no {noun} “{asked}” here."
            if not fits
            else f"“{asked}” fits several: {', '.join(fits)}.",
            {
                f"Show {shown[name]}": address.kept(view=address.get("view"), result=name)
                for name in names[:3]
            },
            "Retrain",
        )
    if asked and asked != fits[0]:
        st.query_params["result"] = fits[0]
    return address.select(
        "result",
        "Result",
        names,
        fits[0] if asked else names[0],
        drop=("beside", "lambda"),
        format_func=shown.get,
    )


def two_splits(splits: Sequence[str], places: Sequence[DeltaGenerator]) -> tuple[str, str]:
    """The split to learn from, and another to judge on; usually train and test. places : where the
    two boxes stand."""
    usual = "train" if "train" in splits else splits[0]
    with places[0]:
        train = address.select("train", "Learn from", splits, usual, format_func=plain_name)
    rest = [split for split in splits if split != train]
    usual = "test" if "test" in rest else rest[0]
    with places[-1]:
        test = address.select("test", "Judge on", rest, usual, format_func=plain_name)
    return train, test


# -- at work --------------------------------------------------------------------------------


@st.fragment(run_every=2.0)
def at_work(root: Path, kind: str) -> None:
    """What is in the making, read again every two seconds."""
    rows = retrain.at_work(root, kind)
    states = {task.name: task.state for task in rows}
    seen = st.session_state.setdefault(f"over-{kind}", states)
    if states != seen:
        # One has begun, ended or stopped while we watched: results and form must learn of it.
        st.session_state[f"over-{kind}"] = states
        st.rerun()
    if not rows:
        return
    draw.subheader("Not finished yet")
    for task in rows:
        with st.container(border=True):
            one_at_work(task, root, kind)


def one_at_work(task: Task, root: Path, kind: str) -> None:
    """One training that is not finished, or was a moment ago."""
    job, name = task.job, task.name
    st.markdown(f"**{task.what or name}**")
    watch.state(task, STEPS)

    def shown() -> None:
        assert job is not None
        st.page_link(
            page_files()["Retrain"],
            label="Show what came out",
            query_params=address.kept(
                view="" if kind == "cc" else "svm", result=retrain.finished_digest(job)
            ),
            icon=":material/arrow_downward:",
        )

    def again() -> None:
        assert job is not None
        changes.start_training(job.arguments, root)

    watch.controls(
        task,
        root,
        shown,
        again if job else None,
        lambda: confirm_discard(task.run, root, name if job else ""),
    )
    if task.command:
        with st.expander("On the command line", icon=":material/code:"):
            st.code(task.command, language="bash", wrap_lines=True)


@st.dialog("Discard what this training has done?")
def confirm_discard(name: str, root: Path, job: str) -> None:
    """Ask before the work of a stopped training is thrown away."""
    st.markdown("It would have to begin anew. The photos and the network stay where they are.")
    yes, no = st.columns(2)
    if yes.button("Discard", type="primary", width="stretch"):
        try:
            changes.discard(name, root, job)
        except UnitscopeError as err:
            st.error(str(err))
            return
        st.rerun()
    if no.button("Keep", width="stretch"):
        st.rerun()


def begin(arguments: list[str], root: Path) -> None:
    """Start what is asked for, and say what stands in its way."""
    try:
        changes.start_training(arguments, root)
    except UnitscopeError as err:
        st.session_state["not-begun"] = sentence(err)


def not_begun(job: jobs.Job | None) -> None:
    """Why a job cannot be started from here, where it cannot."""
    wrong = st.session_state.pop("not-begun", "")
    if wrong:
        st.warning(f"{wrong}.", icon=":material/error:")
    elif job is not None and job.alive:
        draw.caption("Just this is running; see the top of the page.")


def only_here(command: str) -> bool:
    """Whether this server may start processes; where not, the command line that does is shown."""
    if access.may_change():
        return True
    st.markdown(
        f"Training is started here by owners alone: {access.why_not()}. On the command line:"
    )
    st.code(command, language="bash", wrap_lines=True)
    return False
