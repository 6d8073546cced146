"""The form that starts a run: fields kept in the address, a check by the engine, a start."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import streamlit as st

from core.datasets.registry import DATASETS
from core.dissect.losses import LOSS, MOST_LOST
from core.foundation import jobs
from core.foundation.engine import ENGINES, engines
from core.foundation.errors import UnitscopeError
from core.foundation.progress import duration
from core.foundation.settings import EMBEDDED, Settings, command
from core.knowledge.kinds import KNOWLEDGE
from core.models.registry import MODELS
from core.views import form_check, work
from pages.parts import access, address, changes, draw, explanations, photo_source
from pages.parts.finder import verbatim
from pages.parts.frame import START, page_files, sentence
from pages.parts.watch import size_words

FIELDS = {
    "dataset": "data",
    "model": "net",
    "layers": "dissect",
    "splits": "only",
    "knowledge": "facts",
    "scenes": "places",
    "q": "q",
    "shuffles": "shuffles",
    "keep_maps": "maps",
    "untrained": "twin",
    "classes": "classes",
}
"""Setting → parameter of the address."""

LABELS = {
    "dataset": "Photos and masks",
    "model": "Network",
    "knowledge": "Knowledge graph",
    "scenes": "Which class a scene is",
}
"""Field → what the form calls it."""

TWIN: dict[str, bool | None] = {"auto": None, "yes": True, "no": False}
TWIN_WORDS = {"auto": "where it is cheap", "yes": "dissect it too", "no": "leave it out"}
"""What the parameter of the untrained twin may be: the setting, and in words."""


ENGINE, WORKERS = "engine", "workers"
"""Parameters of the address that say who makes the run."""

ENGINE_WORDS = {"here": "one process", "ray": "workers of Ray"}
ENGINE_HELP = (
    "The run is the same byte for byte. Workers are worth their start-up on many cores, on several "
    "machines or GPUs: a cluster is found by RAY_ADDRESS in the server's environment."
)


def parameters(request: Mapping[str, Any]) -> dict[str, str]:
    """A run's settings as parameters of this page: the form opens filled in."""
    plain = Settings("", "")
    found = {}
    for name, parameter in FIELDS.items():
        value = request.get(name, getattr(plain, name))
        if isinstance(value, (list, tuple)):
            found[parameter] = ",".join(value)
        elif name == "untrained":
            found[parameter] = {None: "", True: "yes", False: "no"}[value]
        elif isinstance(value, bool):
            found[parameter] = "" if value else "0"
        else:
            found[parameter] = "" if value == getattr(plain, name) else str(value)
    return {k: v for k, v in found.items() if v}


def fill_in(label: str, request: Mapping[str, Any]) -> None:
    """A button that puts a run's settings into the form."""

    def put() -> None:
        address.put(parameters(request), drop=tuple(FIELDS.values()))

    st.button(label, icon=":material/edit_note:", type="tertiary", on_click=put)


def _forms(rows: list[tuple[str, str]], label: str) -> None:
    with st.popover(label, type="tertiary", icon=":material/help:"):
        st.markdown("\n".join(f"- `{form}` – {about}" for form, about in rows))
        draw.caption("Paths are those of the machine that serves this page.")


def form(root: Path) -> Settings:
    """Draw the fields; returns the settings that they ask for."""
    named = _photos_and_network()
    layers, splits = _layers_and_splits(work.known_layers(named.dataset, named.model, root))
    with st.expander("More choices", icon=":material/tune:"):
        left, right = st.columns(2, gap="large")
        with left:
            asked = _counting(named)
            _engine()
        with right:
            asked = _beside(asked)
        scenes = address.text(
            "places",
            "Which class a scene is",
            placeholder="by the names alone",
            help="A table of yours, for scenes that the network calls otherwise: "
            "`python -m core datasets scenes --dataset … --model … --write scenes.csv`, "
            "filled in.",
        )
    return replace(asked, layers=tuple(layers), splits=tuple(splits), scenes=scenes or None)


def _photos_and_network() -> Settings:
    """The two SPECs."""
    left, right = st.columns(2, gap="large")
    with left:
        dataset = address.text(
            "data", "Photos and masks", placeholder="folder:/path/to/photos", drop=("only",)
        )
        with st.container(horizontal=True):
            _forms([(kind.form, kind.about) for kind in DATASETS], "How to name them")
            photo_source.row()
    with right:
        model = address.text(
            "net",
            "Network",
            placeholder="torchvision:resnet18:/path/to/weights.pt",
            drop=("dissect",),
        )
        _forms([(kind.form, kind.about) for kind in MODELS], "How to name it")
    return Settings(dataset, model)


def _layers_and_splits(known: work.PlanFound | None) -> tuple[list[str], list[str]]:
    """Those chosen; from what a check found, or as the address names them."""
    if known is None:
        # Named in the address, and not yet known to exist: the check will tell.
        layers, splits = address.get("dissect"), address.get("only")
        return [one for one in layers.split(",") if one], [one for one in splits.split(",") if one]
    shapes = {
        row["name"]: f"{row['name']}  ({row['units']} units, {row['height']} × {row['width']})"
        for row in known.layers
    }
    left, right = st.columns(2, gap="large")
    with left:
        chosen = address.several(
            "dissect",
            "Layers",
            list(shapes),
            format_func=shapes.get,
            placeholder=f"{known.default_layer} (the usual one)",
            help="Each layer chosen is dissected in the same run.",
        )
    with right:
        only = address.several(
            "only",
            "Splits",
            list(known.splits),
            placeholder="all images",
            format_func=lambda name: f"{name}  ({known.splits[name]:,} images)",
        )
    return chosen, only


def _counting(asked: Settings) -> Settings:
    """What is active, and what is kept."""
    q = address.amount(
        "q",
        "Active share of all places (q)",
        0.005,
        0.0005,
        0.2,
        step=0.001,
        format="%.4f",
        help=explanations.THRESHOLD,
    )
    keep_maps = address.toggle(
        "maps",
        "Keep activation maps",
        True,
        help="Needed to show where a unit is active. Without them the run takes less room "
        "and the network runs twice.",
    )
    classes = address.toggle(
        "classes",
        "The network’s outputs are classes",
        True,
        help="Off for a backbone whose outputs are features: it is dissected without "
        "answers. Networks built without a classifier are known as such by themselves.",
    )
    return replace(asked, q=q, keep_maps=keep_maps, classes=classes)


def _beside(asked: Settings) -> Settings:
    """Controls, and the graph of the explanations."""
    shuffles = address.amount(
        "shuffles",
        "Rounds of the permutation test",
        Settings.shuffles,
        0,
        10_000,
        step=100,
        help=explanations.CHANCE,
    )
    twin = address.select(
        "twin",
        "Untrained twin",
        list(TWIN),
        "auto",
        format_func=TWIN_WORDS.get,
        help=explanations.UNTRAINED,
    )
    graph = address.text("facts", "Knowledge graph", placeholder="builtin")
    _forms([(kind.form, kind.about) for kind in KNOWLEDGE], "How to name it ")
    return replace(
        asked, shuffles=int(shuffles), untrained=TWIN[twin], knowledge=graph or "builtin"
    )


def _engine() -> None:
    """Who makes the run: it changes no number, so it is no setting of the run."""
    known = list(engines())
    if len(known) > 1:
        chosen = address.select(
            ENGINE, "Made by", known, known[0], format_func=ENGINE_WORDS.get, help=ENGINE_HELP
        )
        if chosen != known[0]:
            address.amount(WORKERS, "Workers (0: as many as fit)", 0, 0, 1024, step=1)


def execution() -> list[str]:
    """What the command line says of who makes the run.

    The address may name what is not installed here; the command says so then.
    """
    engine, workers = address.get(ENGINE), address.get(WORKERS)
    if engine not in ENGINES or engine == next(iter(ENGINES)):
        return []
    many = workers.isdecimal() and int(workers) > 0
    return ["--engine", engine, *(["--workers", workers] if many else [])]


def draw_form(root: Path) -> None:
    """The whole form."""
    if not access.may_change():
        st.markdown(
            f"Runs are started here by owners alone: {access.why_not()}. On the command line:"
        )
        st.code(START, language="bash")
        return
    fill_in("Fill in the embedded photos and network", EMBEDDED)
    with st.container(border=True):
        settings = form(root)
        request = asdict(settings)
        asked = work.arguments(request, root)
        job = jobs.watch(work.check_name(asked), root)
        wrong = form_check.problems(request, access.readable_roots(), changes.FORM)
        filled = bool(settings.dataset and settings.model) and not wrong
        checking = job is not None and job.alive
        done = job is not None and job.state == "finished"
        refused = ""
        row = st.container(horizontal=True, vertical_alignment="center")
        with row:
            if st.button(
                "Check again" if done else "Check",
                disabled=not filled or checking,
                type="secondary" if done else "primary",
                icon=":material/fact_check:",
            ):
                try:
                    changes.start_check(asked, root)
                except UnitscopeError as err:
                    refused = sentence(err)
                else:
                    st.rerun()
            if job is not None and done:
                result = work.PlanFound.of(job)
                begin(result, asked, root)
            elif not checking:
                draw.caption(
                    "Opens everything, measures a few photos, starts nothing."
                    if filled
                    else "Mend what is listed first."
                    if wrong
                    else "Name photos and a network first."
                )
        if wrong:
            listed = "\n".join(f"- **{LABELS[one.field]}**: {verbatim(one.text)}" for one in wrong)
            st.error(listed, icon=":material/error:")
        elif refused:
            st.error(f"{refused}.", icon=":material/error:")
        elif job is not None and checking:
            watch_check(job.name, str(root))
        elif done:
            checked(result, command(request))
        elif job is not None and job.state == "failed":
            st.error(f"{sentence(job.error)}.", icon=":material/error:")
        elif job is not None:
            draw.caption("The check was stopped.")
    with st.expander("On the command line", icon=":material/terminal:"):
        st.code(START, language="bash")
        draw.caption(
            "`python -m core datasets`, `models` and `layers --model …` list the choices; "
            "`--plan` checks and times, as the button does."
        )


def begin(result: work.PlanFound, asked: list[str], root: Path) -> None:
    """The button that starts, or what stands in its way."""
    digest = result.run
    at_work = jobs.watch(digest, root)
    if (root / f"{digest}.duckdb").is_file():
        st.page_link(
            page_files()["Overview"],
            label="This run exists: open it",
            icon=":material/arrow_forward:",
            query_params={"run": digest},
        )
        return
    if at_work is not None and at_work.alive:
        draw.caption("This run is running: see above.")
        return
    need = sum(result.sizes.values())
    # A run that stopped as too many of its photos are lost; it is asked here, and resumed.
    failed = at_work is not None and at_work.state == "failed" and LOSS in at_work.error
    many = result.left_out > MOST_LOST * (result.left_out + result.images)
    wanted = failed or many
    allowed = wanted and st.toggle(
        "Go on with the photos that can be used",
        help=f"More than {MOST_LOST:.0%} of the photos are lost: `{LOSS}`.",
    )
    short = need > result.free or (wanted and not allowed)
    if st.button("Start", type="primary", icon=":material/play_arrow:", disabled=short):
        try:
            given = [*asked, LOSS] if allowed else asked
            changes.start_run([*given, *execution()], digest, root)
        except UnitscopeError as err:
            st.error(f"{sentence(err)}.", icon=":material/error:")
            return
        st.rerun()


@st.fragment(run_every=1.0)
def watch_check(name: str, root: str) -> None:
    """A check at work; the page is drawn anew when it is over."""
    job = jobs.watch(name, Path(root))
    if job is None or not job.alive:
        st.rerun()
        return
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(
            ":material/hourglass_top: Reading the photos, loading the network, timing a "
            "few images …"
        )
        if job.state != "stopping" and st.button("Stop the check", type="tertiary"):
            changes.stop(name, Path(root))


def checked(result: work.PlanFound, line: str) -> None:
    """What a check found: how much, how big, how long, and what to know beforehand.

    line : what makes the run on the command line.
    """
    seconds = result.seconds
    need = sum(result.sizes.values())
    cells = st.columns(4)
    cells[0].metric("images", f"{result.images:,}")
    units = {row["name"]: row["units"] for row in result.layers}
    cells[1].metric("units", f"{sum(units[name] for name in result.layer):,}")
    cells[2].metric(
        "on disk",
        size_words(need),
        help="\n".join(f"- {name}: {size_words(size)}" for name, size in result.sizes.items()),
    )
    cells[3].metric(
        "time",
        f"≈ {duration(seconds['seconds'])}",
        help=f"From {seconds['images']} images that went through the whole pipeline just now, "
        f"here: {duration(seconds['low'])} to {duration(seconds['high'])} for all. Whatever "
        "else this machine does at the same time comes on top.",
    )
    width, height = result.grid
    notes = [
        f"{result.dataset}: {result.scenes:,} scenes, {result.concepts:,} concepts "
        f"({', '.join(result.categories) or 'none annotated in regions'})",
        f"layers {', '.join(result.layer)}; input {' × '.join(map(str, result.input_size))}, "
        f"counted on a grid of {width} × {height}",
    ]
    if result.outputs and result.known_scenes < result.scenes:
        notes.append(
            f"**{result.scenes - result.known_scenes:,} of {result.scenes:,} scenes "
            "are no "
            "class of this network**: their images are neither right nor wrong"
        )
    notes += result.notes
    if result.left_out:
        notes.append(f"**{result.left_out:,} photos cannot be used** and will be lost")
    if need > result.free:
        notes.append(f"**only {size_words(result.free)} are free**: keep no maps, or make room")
    st.markdown("\n".join(f"- {note}" for note in notes))
    st.code(shlex.join([*shlex.split(line), *execution()]), "bash", wrap_lines=True)
