"""The frame of every page: title, list of pages, the choice of run, layer and definition."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, NoReturn, overload

import streamlit as st

from core.figures.base import COUNTING, Caption
from core.foundation.errors import UnitscopeError, nearest, unknown
from core.foundation.settings import EMBEDDED, command
from core.runs.kept import keep_apart
from core.runs.run_file import Run
from core.runs.run_names import RunNames
from core.views.names import sentence as sentence
from core.views.runs import (
    Summary,
    cache_root,
    front,
    read_names,
    resolve,
    run_labels,
    summary,
    too_small,
)
from pages.parts import access, address, finder
from pages.parts.cache import Answer, Given, ask, open_run, picture, summaries
from pages.parts.registry import pages

if TYPE_CHECKING:
    from streamlit.delta_generator import DeltaGenerator

ROOT = Path(__file__).resolve().parents[2]

START = command(EMBEDDED)

CSS = """
<style>
.stMainBlockContainer {padding-top: 2.6rem; padding-bottom: 4rem; max-width: 1240px}
.stSidebar [data-testid="stSidebarUserContent"] {padding-top: 0}
.lede {font-size: 1.08rem; line-height: 1.5; max-width: 46rem; margin: -.4rem 0 .6rem}
.figure {font-size: 1.05rem; line-height: 1.4; margin: 0}
.figure b {font-size: 2.6rem; font-weight: 650; line-height: 1; margin-right: .15em;
           font-variant-numeric: tabular-nums}
/* Words in grey have a contrast of 4.5 to 1 or more (WCAG AA), in both themes. */
[data-testid="stCaptionContainer"] {color: inherit !important; opacity: .74}
[data-testid="stMetricLabel"] {opacity: .85}
[data-testid="stCode"] .token {color: inherit !important}
/* Where the keyboard is must not look like the page that is open. */
.stMain a:focus-visible, .stSidebar a:focus-visible {
  outline: 3px solid currentColor; outline-offset: 1px; border-radius: 6px}
.stMain a[href^="Glossary"] {
  color: inherit !important; text-decoration: underline dotted !important;
  text-underline-offset: .2em}
[data-testid="stImage"] img {border-radius: 6px}
.stMain [data-testid="stPageLink"] p {white-space: normal}
dl.facts {display: grid; grid-template-columns: minmax(7rem, max-content) 1fr; gap: 0 2rem;
          margin: 0 !important; padding: 0; font-size: .95rem; line-height: 1.45}
dl.facts dt {opacity: .7; padding: .4rem 0}
dl.facts dd {margin: 0; padding: .4rem 0; overflow-wrap: anywhere}
/* Streamlit stacks columns by the window's width; beside an open sidebar that is too late. */
@media (max-width: 1000px) {
  .stMainBlockContainer {padding-left: 1.2rem; padding-right: 1.2rem}
  .stMain .stHorizontalBlock:has(> .stColumn) {flex-wrap: wrap; row-gap: 1rem}
  .stMain .stColumn {min-width: min(20rem, 100%); flex: 1 1 20rem}
  .stMain .stHorizontalBlock:has(> .stColumn:nth-child(3)) > .stColumn {
    min-width: min(12rem, 100%); flex: 1 1 12rem}
}
.st-key-found {max-height: 24rem; overflow-y: auto}
.st-key-bring {position: absolute; width: 1px; height: 1px; overflow: hidden}
.st-key-cell-photos {scroll-margin-top: 4rem}
@media (max-width: 640px) {
  .st-key-matrix [data-testid="stFullScreenFrame"] {overflow-x: auto}
  .st-key-matrix [data-testid="stVegaLiteChart"] {min-width: 44rem}
}
</style>
"""


DARK = """
<style>
/* No blue is far enough from white words on it and from a dark page under it: these are dark. */
[data-testid^="stBaseButton-primary"] *, [data-testid="stMultiSelect"] span[title] {
  color: #12161c !important}
</style>
"""


@dataclass(frozen=True)
class Context:
    """What every page works on: one run, one layer, one way to count.

    layer : "" where the run has none, as one of published predictions.
    """

    run: Run
    facts: Summary
    layer: str
    denominator: str
    dark: bool

    def ask(
        self,
        function: Callable[Concatenate[Run, Given], Answer],
        *given: Given.args,
        **more: Given.kwargs,
    ) -> Answer:
        """What a function of :mod:`core.views` answers of this run, cached."""
        return ask(function, self.run, *given, **more)

    def picture(
        self,
        function: Callable[Concatenate[Run, Given], bytes],
        *given: Given.args,
        **more: Given.kwargs,
    ) -> bytes:
        """What it draws of this run, cached."""
        return picture(function, self.run, *given, **more)

    def caption(self, split: str = "", layered: bool = True) -> Caption:
        """The subtitle of a figure made here; `layered` where it is about units."""
        layered = layered and bool(self.layer)
        if not split:
            split = f"{self.facts.images:,} images"
        return Caption(
            self.facts.dataset,
            self.facts.model,
            self.layer if layered else "",
            COUNTING[self.denominator] if layered else "",
            split,
        )


@st.cache_resource(show_spinner=False)
def _same_page() -> Any:
    """What makes links to the page that is open change the address."""
    here = Path(__file__).resolve().parent
    js = "\n".join((here / f"{n}.js").read_text(encoding="utf-8") for n in ("links", "same_page"))
    return st.components.v2.component("unitscope_same_page", js=js, html="<i></i>")


def is_dark() -> bool:
    """Whether the reader's browser shows the dark theme."""
    return st.context.theme.type == "dark"


def page_files() -> dict[str, str]:
    """Title → file of every page, in the order of the numbers."""
    return {page.name: page.form for page in pages()}


def stop(message: str, links: dict[str, dict[str, str]] | None = None, page: str = "") -> NoReturn:
    """Say kindly what is not there, offer links to what is, and end the page."""
    st.warning(message, icon=":material/explore_off:")
    for label, to in (links or {}).items():
        st.page_link(page_files()[page or "Overview"], label=label, query_params=to)
    st.stop()


def unanswered(run: Run, what: str) -> bool:
    """Whether `what` needs answers that the run's network does not give; said on the page if so."""
    try:
        run.need_answers(what)
    except UnitscopeError as err:
        st.info(f"{sentence(err)}.", icon=":material/voice_over_off:")
        return True
    return False


@overload
def page(title: str) -> Context: ...
@overload
def page(title: str, needs_run: bool) -> Context | None: ...
def page(title: str, needs_run: bool = True) -> Context | None:
    """Draw the frame and say what the page is about.

    Where there is no run, or none of the name in the address, the page says so and ends;
    with ``needs_run=False`` it goes on with None.
    """
    _set_up(title)
    searched = _listed_pages()
    root = cache_root()
    names = given_names(root)
    every = summaries(root)
    found = {path.stem: facts for path, facts in every.items() if isinstance(facts, Summary)}
    paths = run_labels(found, names)
    if not paths:
        if needs_run:
            _empty(title)
        return None

    def search(run: Run | None, layer: str = "", denominator: str = "all") -> None:
        finder.box(searched, run, layer, denominator, found, names)

    wanted = address.get("run")
    try:
        opening = front(every.items(), names.pinned)
        path = resolve(wanted, root) if wanted or opening is None else opening
        facts = ask(summary, open_run(path))
    except UnitscopeError as err:
        search(None)
        if not needs_run:
            st.warning(sentence(err), icon=":material/explore_off:")
            return None
        near = nearest(wanted, list(paths)) or list(paths)
        st.title(title)
        links = {f"Open {paths[name]}": {"run": name} for name in near[:3]}
        stop(f"{sentence(err)}.", links, title)
    layers, asked = [layer.name for layer in facts.layers], address.get("layer")
    with st.sidebar:
        st.space("small")
        _pick_run(paths, path.stem)
        if why := too_small(facts):
            st.caption(f":orange[:material/warning: A failed or a first try: {why}.]")
        layer, denominator = _pick_layer(facts) if layers else ("", "all")
    search(open_run(path), layer, denominator)
    if layers and asked and asked not in layers:
        st.title(title)
        error = unknown("layer of this run", asked, layers)
        stop(f"{sentence(error)}.", {f"Open {n}": address.kept(layer=n) for n in layers}, title)
    return Context(open_run(path), facts, layer, denominator, is_dark())


def _set_up(title: str) -> None:
    """The window's title, the look, and what the address says too much."""
    st.set_page_config(
        page_title=f"{title} · Unitscope",
        page_icon=str(ROOT / "pages" / "parts" / "icon.png"),
        layout="wide",
        initial_sidebar_state="auto",
    )
    st.html(CSS + DARK if is_dark() else CSS)
    keep_apart(access.serving().mode == "read-only")
    if too_long := address.cut():
        st.warning(
            f"The address holds more than a link of this app does, and is read without "
            f"{', '.join(too_long[:5])}.",
            icon=":material/link_off:",
        )


def _listed_pages() -> DeltaGenerator:
    """The side bar's list of pages; returns where the search stands above it."""
    with st.sidebar:
        st.markdown("### Unitscope")
        searched = st.container()
        for listed in pages():
            st.page_link(
                listed.form,
                label=listed.name,
                icon=f":material/{listed.icon}:",
                query_params=address.kept(),
                width="stretch",
            )
        _same_page()(key="same-page")
        access.badge()
    return searched


def _pick_layer(facts: Summary) -> tuple[str, str]:
    """The layer, the last where the address names none that there is, and the denominator."""
    layers = [layer.name for layer in facts.layers]
    layer = address.get("layer", layers[-1])
    known = layer in layers
    if len(layers) > 1 or not known:
        address.select("layer", "Layer", layers, layers[-1], drop=("unit", "page"))
    else:
        st.caption(f"Layer {layers[0]}, {facts.layers[0].units} units")
    denominator = address.select(
        "definition",
        "IoU denominator",
        list(COUNTING),
        "all",
        format_func=COUNTING.get,
        help="IoU puts a unit’s active pixels in its denominator. As published, every pixel "
        "counts; the other way leaves out pixels where nothing of the concept’s kind was "
        "annotated, so that a unit is not blamed for what nobody labelled.",
    )
    return layer if known else layers[-1], denominator


def given_names(root: Path) -> RunNames:
    """Names of the runs, and which is pinned; none where the file that holds them is damaged, of
    which the page Runs tells."""
    try:
        return read_names(root)
    except UnitscopeError:
        return RunNames()


def run_words(digest: str) -> str:
    """A run by its digest, and the name that it was given."""
    name = given_names(cache_root()).of(digest)
    return f"{name} ({digest})" if name else digest


def _pick_run(paths: dict[str, str], now: str) -> None:
    """The run picker. An address may hold the beginning of a digest; the box shows the run."""
    others = [name for name in address.everything() if name != "definition"]
    bound = address.bind("run", now, drop=others)
    st.selectbox("Run", list(paths), format_func=paths.__getitem__, **bound)


def _empty(title: str) -> NoReturn:
    """The state before the first run: what to do about it."""
    st.title(title if title != "Overview" else "Unitscope")
    st.html(
        '<p class="lede">Unitscope looks inside an image classifier: which of its units respond '
        "to which things in your photos. It shows finished runs, and there is none yet.</p>"
    )
    st.markdown("Make the first one with the embedded dataset and network (a few minutes):")
    st.code(START, language="bash")
    st.markdown("or with your own photos, masks and model:")
    st.code(
        "python -m core run --dataset folder:PHOTOS --model torchvision:resnet18:WEIGHTS.pt",
        language="bash",
    )
    st.caption("`python -m core datasets` and `python -m core models` list what can be read.")
    files = page_files()
    if title != "Runs" and "Runs" in files:
        st.page_link(files["Runs"], label="Start one from the browser", icon=":material/storage:")
    st.stop()
