"""Charts whose rows can be clicked: which row was clicked just now."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import streamlit as st

from core.figures.explain import CLICKED

HELD = "clicks"
"""In the session: chart → the rows that were selected when it was last clicked."""


def clicked_now(before: Iterable[str], now: Iterable[str]) -> list[str]:
    """What was clicked between two states of a selection in which every click adds a row or lets
    it go.

    >>> clicked_now(["bed"], ["bed", "lamp"]), clicked_now(["bed", "lamp"], ["lamp"])
    (['lamp'], ['bed'])
    """
    return sorted(set(before) ^ set(now))


def watched(name: str, field: str, then: Callable[[list[str]], None]) -> Callable[[], None]:
    """What :func:`pages.parts.draw.chart` calls at a click, for a chart of :data:`CLICKED`.

    name : of the chart. field : that its rows are known by. then : is given what was clicked.
    """
    key = f"chart-{name}"
    held: dict[str, list[str]] = st.session_state.setdefault(HELD, {})
    if key not in st.session_state:  # drawn anew: nothing is selected in it
        held[name] = []

    def call() -> None:
        state: Mapping[str, Any] = st.session_state[key]["selection"]
        now = [str(row[field]) for row in state.get(CLICKED) or [] if row.get(field) is not None]
        fresh = clicked_now(held.get(name, []), now)
        held[name] = now
        if fresh:
            then(fresh)

    return call
