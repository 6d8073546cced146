"""Answers of core.browse, kept by run: the same question of the same run is asked once.

Caches are keyed by the run's digest and file times; the open run itself goes beside them
unhashed.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import streamlit as st

from core import browse
from core.store import Run


# Not closed on leaving the cache: another session may be reading. The last one to let go does.
@st.cache_resource(max_entries=64, show_spinner=False)
def _open(path: str, stamp: tuple[int, int]) -> Run:
    return Run(Path(path))


def open_run(path: Path) -> Run:
    """An open run, shared by all sessions. A file made anew is opened anew."""
    facts = path.stat()
    return _open(str(path), (facts.st_mtime_ns, facts.st_ino))


def forget(path: Path) -> None:
    """Close a run before its file is deleted."""
    facts = path.stat()
    run = open_run(path)
    _open.clear(str(path), (facts.st_mtime_ns, facts.st_ino))
    run.close()


def _function(name: str) -> Callable[..., Any]:
    """``accuracy`` is core.browse's; ``explain.account`` that of core.browse.explain."""
    module, _, last = name.rpartition(".")
    return getattr(import_module(f"core.browse.{module}") if module else browse, last)


@st.cache_data(max_entries=600, show_spinner=False)
def _frames(_run: Run, stamp: str, name: str, given: tuple, more: tuple) -> Any:
    return _function(name)(_run, *given, **dict(more))


@st.cache_data(max_entries=3000, show_spinner=False)
def _pictures(_run: Run, stamp: str, name: str, given: tuple, more: tuple) -> bytes:
    return _function(name)(_run, *given, **dict(more))


PICTURES = ("thumbnail", "lit_photo", "mask_photo", "photo_or_lit")


def ask(run: Run, name: str, *given: Any, **more: Any) -> Any:
    """``core.browse.<name>(run, …)``, from the cache where it was asked before.

    The name may lead into a module of the package: ``explain.account``.
    """
    keep = _pictures if name in PICTURES else _frames
    stamp = f"{run.path}:{run.digest}"
    return keep(run, stamp, name, given, tuple(sorted(more.items())))
