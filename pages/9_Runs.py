"""Runs: the finished ones, those in the making, how to start one, what was left out."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pandas as pd
import streamlit as st

from core import browse
from core.settings import command, duration
from core.store import delete_run, list_runs
from pages.parts import address, draw
from pages.parts.data import ask, forget, open_run
from pages.parts.frame import START, page, page_files


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


@st.fragment(run_every=2.0)
def in_the_making(root: Path) -> None:
    """Progress of unfinished runs, read again every two seconds."""
    rows = browse.unfinished(root)
    known = {path.stem for path in list_runs(root)}
    seen = st.session_state.setdefault("runs-seen", known)
    if known - seen:
        # A run has finished while we watched: the table above must learn of it.
        st.session_state["runs-seen"] = known
        st.rerun()
    if not rows:
        st.caption("None. This list looks again every two seconds.")
    for told in rows:
        with st.container(border=True):
            progress(told)


def progress(told: dict[str, Any]) -> None:
    """One unfinished run."""
    what = f"{told.get('dataset', '')} · {told.get('model', '')}".strip(" ·") or told["run"]
    layers = ", ".join(told.get("layers", []))
    st.markdown(f"**{what}**" + (f" · {layers}" if layers else ""))
    done, total = told.get("done", 0), max(1, told.get("total", 1))
    steps = {"collect": "Step 1 of 3, running the network",
             "count": "Step 2 of 3, counting overlaps",
             "publish": "Step 3 of 3, writing the run file"}  # fmt: skip
    stage = steps.get(told.get("stage", ""), told.get("stage", ""))
    if told["state"] == "starting":
        st.caption("Begun, no sign of progress yet.")
        return
    rate, left = told.get("rate") or 0, told.get("left")
    words = f"{stage}: {done:,} of {total:,} images"
    if told["state"] == "running":
        words += f", {rate:.0f} a second" if rate else ""
        words += f", {duration(left)} left in this step" if left else ""
    st.progress(min(1.0, done / total), text=words)
    if told["state"] == "stopped":
        st.markdown(
            f":orange[**Stopped.**] No sign of life for {duration(told['age'])}. The same "
            "command goes on from where it stopped:"
        )
        st.code(command(told["request"]), language="bash", wrap_lines=True)


@st.dialog("Delete this run?")
def confirm(path: Path, name: str, size: int) -> None:
    """Ask before a run is removed for good."""
    st.markdown(f"**{name}** ({path.stem}) takes {size_words(size)}. Deleting cannot be undone; "
                "the photos and the network themselves stay where they are.")  # fmt: skip
    yes, no = st.columns(2)
    if yes.button("Delete", type="primary", width="stretch"):
        forget(path)
        delete_run(path)
        st.session_state.pop("runs-seen", None)
        st.query_params.clear()
        st.rerun()
    if no.button("Keep", width="stretch"):
        st.rerun()


def finished(root: Path) -> dict[str, tuple[Path, dict[str, Any], int]]:
    """The table of finished runs; returns each by digest."""
    found: dict[str, tuple[Path, dict[str, Any], int]] = {}
    rows, broken = [], []
    for path in list_runs(root):
        try:
            facts = ask(open_run(path), "summary")
        except Exception as err:  # any damaged file: say so, and show the others
            broken.append((path, err))
            continue
        size = browse.disk_size(path)
        found[path.stem] = (path, facts, size)
        rows.append(
            {
                "dataset": facts["dataset"],
                "network": facts["model"],
                "layers": ", ".join(layer["name"] for layer in facts["layers"]) or "none",
                "images": facts["images"],
                "left out": facts["skipped"],
                "accuracy": facts["accuracy"],
                "on disk (MB)": round(size / 1e6, 1),
                "finished (UTC)": facts["finished"].replace("T", " ").rstrip("Z"),
                "run": path.stem,
            }
        )
    if rows:
        names = list(found)

        def choose(place: int | None) -> None:
            if place is not None:
                address.put({"run": names[place]}, drop=("layer",))

        draw.table(
            pd.DataFrame(rows), "runs", "Finished runs with dataset, network and accuracy",
            picked=choose,
            column_config={"accuracy": st.column_config.NumberColumn(format="percent")},
        )  # fmt: skip
        st.caption("Choose a row for its settings, the files it left out, and to delete it.")
    else:
        st.caption("None yet.")
    for path, err in broken:
        st.warning(f"{path.name} cannot be read: {err}", icon=":material/broken_image:")
    return found


def one_run(path: Path, facts: dict[str, Any], size: int) -> None:
    """Settings, skipped files and deletion of the chosen run."""
    name = f"{facts['dataset']} · {facts['model']}"
    st.subheader(name)
    with st.container(horizontal=True):
        for label in ("Overview", "Scenes", "Units") if facts["layers"] else ("Overview", "Scenes"):
            st.page_link(page_files()[label], label=label, query_params={"run": path.stem},
                         icon=":material/arrow_forward:", icon_position="right")  # fmt: skip
    if facts["grid"] is None or facts["command"] is None:
        st.markdown(
            f"Published predictions, without photos and without the network: {facts['images']:,} "
            f"images, {facts['scored']:,} of them scored · {size_words(size)} on disk"
        )
        st.caption("Such a run is made with `python -m core predictions`.")
    else:
        how_made(facts, size)
    left_out = ask(open_run(path), "skipped")
    if len(left_out):
        st.markdown(f"**{len(left_out):,} files left out**")
        draw.table(left_out, f"skipped-{path.stem}", "Files left out, with reasons",
                   height=min(38 + 35 * len(left_out), 300))  # fmt: skip
    elif facts["layers"]:
        st.caption("No file was left out.")
    if facts["unmatched_scenes"]:
        names = ", ".join(facts["unmatched_scenes"])
        st.caption(f"Scenes the network has no class for, neither right nor wrong: {names}.")
    if st.button("Delete this run…", icon=":material/delete:"):
        confirm(path, name, size)


def how_made(facts: dict[str, Any], size: int) -> None:
    """The settings of a run, and the command that makes it again."""
    width, height = facts["grid"]
    times = ", ".join(f"{k} {v:.1f} s" for k, v in facts["seconds"].items())
    st.markdown(
        f"Threshold at the {1 - facts['q']:.2%} quantile · grid {width} × {height} · "
        f"{facts['shuffles']} rounds of shuffled labels · {size_words(size)} on disk · {times}"
    )
    st.markdown("Make it again, or change it:")
    st.code(facts["command"], language="bash", wrap_lines=True)


ctx = page("Runs", needs_run=False)
root = browse.cache_root()
st.title("Runs")
st.html(
    '<p class="lede">A run is one network dissected on one set of photos. A finished run never '
    "changes, so links into it stay true.</p>"
)
runs = finished(root)
if runs and ctx is not None:
    with st.container(border=True):
        one_run(*runs[ctx.run.digest])
st.subheader("In the making")
in_the_making(root)
st.subheader("Start one")
st.markdown("With the embedded photos and network:")
st.code(START, language="bash")
st.markdown("With your own:")
st.code(
    "python -m core run --dataset folder:PHOTOS --model torchvision:resnet18:WEIGHTS.pt "
    "--layer layer4",
    language="bash",
)
st.caption(
    "`python -m core datasets`, `models` and `layers --model …` list the choices; "
    "`--plan` says what a run would take before it starts. "
    f"Runs seen here lie in `{root.name}/`; looked at {time.strftime('%H:%M:%S')}."
)
