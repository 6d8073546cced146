"""Answers of core.views, kept by run: the same question of the same run is asked once.

Caches are keyed by the run's digest and file times; the open run itself goes beside them
unhashed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import wraps
from importlib import import_module
from inspect import isfunction
from pathlib import Path
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar, cast

import pandas as pd
import streamlit as st

from core.foundation.errors import Damaged, UnitscopeError
from core.foundation.settings import limits
from core.runs.run_file import Run
from core.runs.store import list_runs
from core.views.labels import formula_labels, open_signatures, with_chance
from core.views.names import sentence
from core.views.runs import Summary, try_summary

if TYPE_CHECKING:
    from core.ablation.contribution import Contribution, UnitConcepts
    from core.ablation.toggler import Toggler
    from core.attribution.case import Opened
    from core.dissect.formula_search import Sizes
    from core.dissect.signatures import Signatures
    from core.knowledge.graph import Graph
    from core.views.explain import Network
    from core.views.knowledge import Known

Given = ParamSpec("Given")
Answer = TypeVar("Answer")


def _stamp(path: Path) -> tuple[int, int]:
    """What tells a run file from one made anew under its name."""
    try:
        facts = path.stat()
    except OSError:
        raise Damaged(f"run {path.stem} was deleted") from None
    return facts.st_mtime_ns, facts.st_ino


# Not closed on leaving the cache: another session may be reading. The last one to let go does.
@st.cache_resource(max_entries=64, show_spinner=False)
def _open(path: str, stamp: tuple[int, int]) -> Run:
    return Run(Path(path))


def open_run(path: Path) -> Run:
    """An open run, shared by all sessions. A file made anew is opened anew."""
    return _open(str(path), _stamp(path))


# Failures are kept as well: a folder of hundreds of broken files is looked through once.
@st.cache_data(max_entries=5000, show_spinner=False)
def _summary(path: str, stamp: tuple[int, int]) -> Summary | str:
    return try_summary(Path(path))


def summaries(root: Path) -> dict[Path, Summary | str]:
    """What each run under `root` is, or why it cannot be read; newest first."""
    found: dict[Path, Summary | str] = {}
    for path in list_runs(root):
        # It may be deleted between the listing and the look.
        with suppress(Damaged):
            found[path] = _summary(str(path), _stamp(path))
    return found


def forget(path: Path) -> None:
    """Close a run before its file is deleted."""
    with suppress(UnitscopeError):
        run = open_run(path)
        _open.clear(str(path), _stamp(path))
        run.close()


def _sound(asking: Callable[Given, Answer]) -> Callable[Given, Answer]:
    """A question that ends the page in a sentence where the run's files are gone or damaged."""

    @wraps(asking)
    def asked(*given: Given.args, **more: Given.kwargs) -> Answer:
        try:
            return asking(*given, **more)
        except Damaged as err:
            st.error(f"{sentence(err)}.", icon=":material/broken_image:")
            st.stop()

    return asked


class Deferred:
    """A module of core.views that is imported at its first use: so a page whose module brings
    PyTorch along shows its title before.

    A page declares it for the type checker too: ``if TYPE_CHECKING: from core.views import name``,
    else ``name = Deferred("name")``.
    """

    def __init__(self, name: str):
        self._name = name

    def __getattr__(self, attribute: str) -> object:
        found = getattr(import_module(f"core.views.{self._name}"), attribute)
        return _sound(found) if isfunction(found) else found


BY_DIGEST: dict[str, Callable[[Any], str]] = {
    "Known": lambda known: known.digest,
    "Network": lambda network: network.digest,
    "Opened": lambda opened: f"{opened.run.path}:{opened.run.digest}:{opened.recorded.layer}",
    "Toggler": lambda toggler: f"{toggler.run.path}:{toggler.run.digest}:{toggler.layer}",
    "Contribution": lambda scores: f"{scores.words()}:{scores.layer}",
}
"""Class → what answers are kept by, of things that are given whole. Any: the classes are not
imported, as most of their modules bring PyTorch along."""


# What is kept can be anything; `ask` and `picture` give it the type of the function's answer.
@st.cache_data(max_entries=600, show_spinner=False)
def _frames(_answer: Callable[[], object], key: tuple[object, ...]) -> object:
    return _answer()


@st.cache_data(max_entries=3000, show_spinner=False)
def _pictures(_answer: Callable[[], bytes], key: tuple[object, ...]) -> bytes:
    return _answer()


def _key(
    function: Callable[..., object], run: Run, given: tuple[object, ...], more: Mapping[str, object]
) -> tuple[object, ...]:
    """What an answer is kept by: the run, the function's name, what it is given."""

    def plain(value: object) -> object:
        kept_by = BY_DIGEST.get(type(value).__name__)
        return kept_by(value) if kept_by else value

    return (
        f"{run.path}:{run.digest}",
        f"{function.__module__}.{function.__qualname__}",
        *map(plain, given),
        *((name, plain(value)) for name, value in sorted(more.items())),
    )


@_sound
def ask(
    function: Callable[Concatenate[Run, Given], Answer],
    run: Run,
    *given: Given.args,
    **more: Given.kwargs,
) -> Answer:
    """``function(run, …)`` of :mod:`core.views`, from the cache where it was asked before."""
    found = _frames(lambda: function(run, *given, **more), _key(function, run, given, more))
    return cast(Answer, found)


@_sound
def picture(
    function: Callable[Concatenate[Run, Given], bytes],
    run: Run,
    *given: Given.args,
    **more: Given.kwargs,
) -> bytes:
    """As :func:`ask`, of a function that draws: more of its answers are kept."""
    return _pictures(lambda: function(run, *given, **more), _key(function, run, given, more))


# -- knowledge and networks -----------------------------------------------------------------


# Few: a graph of millions of facts is large, and one serves all runs of its SPEC.
@st.cache_resource(max_entries=3, show_spinner="Opening the knowledge graph …")
def _graph(spec: str, stamp: tuple[object, ...]) -> Graph:
    from core.views import knowledge

    return knowledge.open_knowledge(spec)


@st.cache_resource(max_entries=16, show_spinner="Finding the core concepts …")
def _known(_run: Run, _graph: Graph, stamp: str, spec: str, facts: str, names: str) -> Known:
    from core.views import knowledge

    overrides = knowledge.kept_names(_run, names) if names else None
    return knowledge.know(_run, _graph, spec, overrides)


@_sound
def known(run: Run, spec: str, names: str = "") -> Known:
    """The names of a run in the graph of a knowledge SPEC, and its core concepts.

    names : the word of a kept file of corrected names. The graph is opened once for all runs
    and sessions, and again when its files change. Raises UnitscopeError where there is no such
    graph or file, or nothing to bring to it.
    """

    from core.views import knowledge

    graph = _graph(spec, knowledge.knowledge_stamp(spec))
    return _known(run, graph, f"{run.path}:{run.digest}", spec, graph.digest(), names)


# One: networks are large, and a photo of one's own is explained by the run that is looked at.
@st.cache_resource(max_entries=1, show_spinner="Loading the network …")
def _network(_run: Run, stamp: str) -> Network:
    from core.views import explain

    return explain.open_network(_run)


@_sound
def network(run: Run) -> Network:
    """The network of a run, loaded when it is first asked for.

    Raises UnitscopeError where it is no longer the one the run was made with.
    """
    return _network(run, f"{run.path}:{run.digest}")


# Networks are large; a layer that cannot be opened is not tried again at every click.
@st.cache_resource(max_entries=2, show_spinner="Opening the network …")
def _opened(_run: Run, stamp: str, layer: str) -> Opened | UnitscopeError:
    from core.views import causes

    try:
        return causes.open_layer(_run, layer)
    except UnitscopeError as err:
        return err


@_sound
def opened(run: Run, layer: str) -> Opened:
    """A layer of a run with its network open, so that edited photos can be shown to it.

    Raises UnitscopeError where the network is no longer the one the run was made with, or answers
    nothing.
    """
    found = _opened(run, f"{run.path}:{run.digest}", layer)
    if isinstance(found, UnitscopeError):
        raise found
    return found


_photos: deque[float] = deque()
_counting = threading.Lock()


def count_photo() -> None:
    """Count a photo that this server explains. Raises UnitscopeError where it has explained as
    many within the hour as its quotas allow, all visitors together."""
    most = limits().photos_an_hour
    with _counting:
        while _photos and _photos[0] < time.monotonic() - 3600:
            _photos.popleft()
        if len(_photos) >= most:
            raise UnitscopeError(
                f"this server explains {most} photos an hour (photos_an_hour) and has done so: "
                "come back later"
            )
        _photos.append(time.monotonic())


# -- formulas -------------------------------------------------------------------------------


# A layer's signatures and the sizes of formulas that its units share: some 100 MB at most.
@st.cache_resource(max_entries=2, show_spinner="Counting where each unit is active …")
def _signatures(_run: Run, stamp: str, layer: str) -> tuple[Signatures, Sizes]:

    return open_signatures(_run, layer)


@st.cache_data(max_entries=600, show_spinner="Searching its formulas …")
def _formulas(_run: Run, stamp: str, layer: str, unit: int) -> pd.DataFrame:

    return formula_labels(*_signatures(_run, stamp, layer), unit)


@_sound
def formulas(run: Run, layer: str, unit: int) -> pd.DataFrame:
    """The best formulas of a unit, as :func:`core.views.labels.formula_labels` gives them.

    Nothing is left beside the run but the layer's signatures, so a search of all units by the
    command line may go on meanwhile. Raises UnitscopeError where the run kept no maps.
    """

    found = _formulas(run, f"{run.path}:{run.digest}", layer, unit)
    # Not from the cache: chance may have been worked out meanwhile.
    return with_chance(run, layer, found)


# -- switching units off --------------------------------------------------------------------


# Pooled features and logits of all images: 75 MB for 20,000 images, 512 units and 365 classes.
@st.cache_resource(max_entries=4, show_spinner="Making the layer ready …")
def _toggler(_run: Run, stamp: str, layer: str) -> Toggler:
    from core.views import disable

    return disable.prepare(_run, layer)


@_sound
def toggler(run: Run, layer: str) -> Toggler:
    """A layer made ready, so that any set of its units can be switched off.

    Raises UnitscopeError where the network is no longer the one the run was made with.
    """
    return _toggler(run, f"{run.path}:{run.digest}", layer)


@st.cache_resource(max_entries=3, show_spinner="Reading what each unit learned …")
def _unit_concepts(_run: Run, stamp: str, layer: str, strategy: str, iou: str) -> UnitConcepts:
    from core.views import disable

    return disable.unit_concepts(_run, layer, strategy, iou)


@st.cache_resource(max_entries=24, show_spinner=False)
def _contribution(
    _run: Run,
    _known: Known,
    stamp: str,
    facts: str,
    layer: str,
    strategy: str,
    iou: str,
    kind: str,
    over: str,
    splits: tuple[str, ...],
) -> Contribution:
    from core.views import disable

    learned = _unit_concepts(_run, stamp, layer, strategy, iou)
    return disable.contribution(learned, _known, kind, over, splits)


@_sound
def contribution(
    run: Run,
    known: Known,
    layer: str,
    strategy: str,
    iou: str,
    kind: str,
    over: str,
    splits: Sequence[str] = (),
) -> Contribution:
    """The contribution of every unit to every scene (Eq. 9), summed over photos of some splits (all
    where none)."""
    stamp = f"{run.path}:{run.digest}"
    return _contribution(
        run, known, stamp, known.digest, layer, strategy, iou, kind, over, tuple(splits)
    )
