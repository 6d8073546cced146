"""Runs: start one, watch it, stop it; the finished ones; what was left out."""

from __future__ import annotations

import time
from pathlib import Path

import pandas as pd
import streamlit as st

from core.foundation.errors import UnitscopeError
from core.foundation.settings import command, quantile_words
from core.runs.store import list_runs
from core.views import work as starting
from core.views.names import short_name
from core.views.runs import (
    Summary,
    cache_root,
    disk_size,
    read_names,
    run_label,
    skipped,
    too_small,
)
from pages.parts import access, address, changes, draw, query_box, run_form, watch
from pages.parts.cache import ask, open_run, summaries
from pages.parts.frame import given_names, page, page_files, sentence
from pages.parts.watch import size_words

STEPS = {
    "collect": "Step 1 of 3, running the network",
    "count": "Step 2 of 3, counting overlaps",
    "publish": "Step 3 of 3, writing the run file",
}


# -- running ----------------------------------------------------------------------------------


@st.fragment(run_every=2.0)
def running(root: Path) -> None:
    """Runs that are being made, read again every two seconds."""
    known = {path.stem for path in list_runs(root)}
    seen = st.session_state.setdefault("runs-seen", known)
    if known - seen:
        # A run has finished while we watched: the table below must learn of it.
        st.session_state["runs-seen"] = known
        st.rerun()
    rows = starting.at_work(root)
    if not rows:
        return
    draw.subheader("Running")
    for task in rows:
        with st.container(border=True):
            one_task(task, root)


def one_task(task: starting.Task, root: Path) -> None:
    """One run that is not finished, or was a moment ago."""
    job, name = task.job, task.run
    what = " · ".join(short_name(one) for one in (task.dataset, task.model) if one)
    layers = ", ".join(task.layers)
    request = task.beat.request if task.beat else None
    st.markdown(f"**{what or name}**" + (f" · {layers}" if layers else ""))
    facts = summaries(root).get(root / f"{name}.duckdb") if task.state == "finished" else None
    watch.state(task, STEPS, facts.losses if isinstance(facts, Summary) else "")

    def shown() -> None:
        st.page_link(
            page_files()["Overview"],
            label="Open it",
            query_params={"run": name},
            icon=":material/arrow_forward:",
        )

    def again() -> None:
        asked = list(job.arguments) if job else starting.arguments(request or {}, root)
        changes.start_run(asked, name, root)

    watch.controls(task, root, shown, again, lambda: confirm_discard(name, root))
    if job is None and task.state == "stopped" and request:
        st.code(command(request), language="bash", wrap_lines=True)


@st.dialog("Discard what this run has done?")
def confirm_discard(name: str, root: Path) -> None:
    """Ask before the work of a stopped run is thrown away."""
    st.markdown("It would start from the beginning. The photos and the network are not touched.")
    yes, no = st.columns(2)
    if yes.button("Discard", type="primary", width="stretch"):
        try:
            changes.discard(name, root)
        except UnitscopeError as err:
            st.error(f"{sentence(err)}.", icon=":material/error:")
            return
        st.rerun()
    if no.button("Keep", width="stretch"):
        st.rerun()


# -- finished ---------------------------------------------------------------------------------


@st.dialog("Delete this run?")
def confirm(path: Path, name: str, size: int) -> None:
    """Ask before a run is removed for good."""
    st.markdown(
        f"**{name}** ({path.stem}) takes {size_words(size)}. Deleting cannot be undone; "
        "the photos and the network themselves are not touched."
    )
    yes, no = st.columns(2)
    if yes.button("Delete", type="primary", width="stretch"):
        try:
            changes.delete(path)
        except UnitscopeError as err:
            st.error(f"{sentence(err)}.", icon=":material/error:")
            return
        st.session_state.pop("runs-seen", None)
        st.query_params.clear()
        st.rerun()
    if no.button("Keep", width="stretch"):
        st.rerun()


def finished(root: Path) -> dict[str, tuple[Path, Summary, int]]:
    """The table of finished runs; returns each by digest."""
    found: dict[str, tuple[Path, Summary, int]] = {}
    names_kept = given_names(root)
    rows, broken = [], []
    for path, facts in summaries(root).items():
        if isinstance(facts, str):
            broken.append((path, facts))
            continue
        size = disk_size(path)
        found[path.stem] = (path, facts, size)
        rows.append(
            {
                "name": names_kept.of(path.stem)
                + (" (pinned)" if path.stem == names_kept.pinned else ""),
                "dataset": facts.dataset,
                "network": facts.model,
                "layers": ", ".join(layer.name for layer in facts.layers) or "none",
                "images": facts.images,
                "photos lost": facts.skipped,
                "accuracy": facts.accuracy,
                "on split": facts.judged,
                "on disk (MB)": round(size / 1e6, 1),
                "finished (UTC)": facts.finished.replace("T", " ").rstrip("Z"),
                "run": path.stem,
            }
        )
    if rows:
        names = list(found)

        def choose(place: int | None) -> None:
            if place is not None:
                address.put({"run": names[place]}, drop=("layer",))

        frame = pd.DataFrame(rows)
        if not frame["name"].any():
            frame = frame.drop(columns="name")
        draw.table(
            frame,
            "runs",
            "Finished runs with dataset, network and accuracy",
            picked=choose,
            column_config={
                "accuracy": st.column_config.NumberColumn(
                    format="percent",
                    help="Of the split that networks are judged on, where there is one.",
                )
            },
        )
        draw.caption(
            "Choose a row for its settings and the files it left out, to name it, to pin it or to "
            "delete it. The app opens with the pinned run; without one, with the newest that used "
            "most of its images."
        )
    else:
        draw.caption("None yet.")
    if broken:
        with st.container(border=True):
            count = "One file" if len(broken) == 1 else f"{len(broken):,} files"
            st.markdown(f":material/broken_image: **{count} cannot be read**")
            draw.table(
                pd.DataFrame([{"file": path.name, "why": why} for path, why in broken]),
                "broken",
                "Run files that cannot be read, with reasons",
                height=min(38 + 35 * len(broken), 300),
            )
    return found


def one_run(path: Path, facts: Summary, size: int) -> None:
    """Settings, skipped files, name and deletion of the chosen run."""
    kept = given_names(path.parent)
    name = run_label(facts, kept)
    draw.subheader(name)
    draw.caption(" · ".join(word for word in (facts.dataset, facts.model, path.stem) if word))
    if why := too_small(facts):
        draw.caption(
            f":orange[:material/warning: A failed or a first try: {why}. The app does not open "
            "with it unless it is pinned.]"
        )
    with st.container(horizontal=True):
        for label in ("Overview", "Scenes", "Units") if facts.layers else ("Overview", "Scenes"):
            st.page_link(
                page_files()[label],
                label=label,
                query_params={"run": path.stem},
                icon=":material/arrow_forward:",
                icon_position="right",
            )
    if facts.grid is None or facts.command is None:
        st.markdown(
            f"Published predictions, without photos and without the network: {facts.images:,} "
            f"images, {facts.scored:,} of them scored · {size_words(size)} on disk"
        )
        draw.caption("Such a run is made with `python -m core predictions`.")
    else:
        how_made(facts, size)
    left_out = ask(skipped, open_run(path))
    if facts.losses:
        st.markdown(f":orange[:material/warning:] {facts.losses}.")
    if len(left_out):
        st.markdown(f"**{len(left_out):,} notices** of files and rows that were left out")
        draw.table(
            left_out,
            f"skipped-{path.stem}",
            "Files left out, with reasons",
            height=min(38 + 35 * len(left_out), 300),
        )
    elif facts.layers:
        draw.caption("No file was left out.")
    if facts.older_versions:
        draw.caption(
            f"Computed {facts.older_versions}: starting it again with the same settings makes "
            "it anew, beside this one."
        )
    if facts.no_answers:
        draw.caption(f"No answers of the network: {facts.no_answers}.")
    if facts.unmatched_scenes:
        names = facts.unmatched_scenes
        more = f" and {len(names) - 20:,} more" if len(names) > 20 else ""
        draw.caption(
            f"{len(names):,} scenes the network has no class for, neither right nor wrong: "
            f"{', '.join(names[:20])}{more}."
        )
    query_box.box(open_run(path))
    if not access.may_change():
        return
    title(path, kept.of(path.stem), kept.pinned == path.stem)
    with st.container(horizontal=True):
        if facts.request:
            run_form.fill_in("Change it and run again", facts.request)
        if st.button("Delete this run…", icon=":material/delete:", type="tertiary"):
            confirm(path, name, size)


def title(path: Path, named: str, pinned: bool) -> None:
    """The run's name, and whether the app opens with it; for owners."""
    key = f"name-{path.stem}"
    wrong = f"wrong-{path.stem}"

    def rename() -> None:
        try:
            changes.name_run(path, st.session_state[key])
        except UnitscopeError as err:
            st.session_state[wrong] = sentence(err)

    def pin() -> None:
        try:
            changes.pin_run(path, not pinned)
        except UnitscopeError as err:
            st.session_state[wrong] = sentence(err)

    with st.container(horizontal=True, vertical_alignment="bottom"):
        st.text_input(
            "Name of this run",
            named,
            key=key,
            placeholder="none: data set, network and layers",
            max_chars=80,
            width=380,
            on_change=rename,
            help="Shown wherever the run is named, and understood by the command line. The run "
            "file itself does not change.",
        )
        st.button(
            "Unpin" if pinned else "Pin: open the app with it",
            icon=":material/keep_off:" if pinned else ":material/keep:",
            on_click=pin,
        )
    if said := st.session_state.pop(wrong, ""):
        st.error(f"{said}.", icon=":material/edit_off:")


def how_made(facts: Summary, size: int) -> None:
    """The settings of a run, and the command that makes it again."""
    assert facts.grid and facts.q is not None, "a run with layers has both"
    width, height = facts.grid
    times = ", ".join(f"{k} {v:.1f} s" for k, v in facts.seconds.items())
    st.markdown(
        f"Threshold at the {quantile_words(facts.q)} quantile · grid {width} × {height} · "
        f"{facts.shuffles} rounds of shuffled labels · {size_words(size)} on disk · {times}"
    )
    st.markdown("Make it again, or change it:")
    st.code(facts.command, language="bash", wrap_lines=True)


ctx = page("Runs", needs_run=False)
root = cache_root()
st.title("Runs")
st.html(
    '<p class="lede">A run is one network dissected on one set of photos. A finished run never '
    "changes, so links into it stay true.</p>"
)
running(root)
draw.subheader("Finished")
try:
    read_names(root)
except UnitscopeError as err:
    st.warning(f"{sentence(err)}.", icon=":material/broken_image:")
runs = finished(root)
if runs and ctx is not None:
    with st.container(border=True):
        one_run(*runs[ctx.run.digest])
draw.subheader("Start a run")
run_form.draw_form(root)
draw.caption(f"Runs seen here lie in `{root.name}/`; looked at {time.strftime('%H:%M:%S')}.")
