"""The address bar is where the app keeps what is shown: run, layer, unit, image, filters.

Widgets are set from the address before they are drawn and write into it when they change,
so that links, reload, Back and Forward all show the same thing. (Streamlit's own
``bind="query-params"`` drops unknown values without a word, and its extra history entries
make Back lose the run.)
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import urlencode

import streamlit as st

from core.foundation.names import plain_name

KEPT = ("run", "layer", "definition", "knowledge", "names")
"""Parameters that go along to another page."""


LONGEST, MOST = 4_000, 40
"""Letters of one parameter, and parameters of one address, that are read: a list of 800 units
fits. What is longer is nobody's link, and takes seconds to look for among names."""


def everything() -> dict[str, str]:
    """All parameters of the address, but those that are too long or too many."""
    found = list(st.query_params.to_dict().items())[:MOST]
    return {k: v for k, v in found if len(k) <= LONGEST and len(v) <= LONGEST}


def cut() -> list[str]:
    """Names, cut short, of the parameters that are left out of :func:`everything`."""
    kept = everything()
    return [name[:40] for name in st.query_params if name not in kept]


def get(name: str, default: str = "") -> str:
    """A parameter of the address."""
    return everything().get(name, default)


def number(name: str, default: int = 0) -> int:
    """A parameter that is a whole number; `default` where it is not."""
    text = get(name).strip()
    return int(text) if text.lstrip("-").isdigit() else default


def put(values: dict[str, str], drop: Sequence[str] = ()) -> None:
    """Write parameters in one step (one entry of the history); empty values are removed."""
    now = {k: v for k, v in everything().items() if k not in drop}
    now.update(values)
    st.query_params.from_dict({k: v for k, v in now.items() if v != ""})


def kept(**more: str) -> dict[str, str]:
    """Parameters for a link: those that go along, and more."""
    along = {name: get(name) for name in KEPT if get(name)} | more
    return {k: v for k, v in along.items() if v != ""}


def here(**more: str) -> str:
    """A link to this page as it is now, but for some parameters."""
    return query({**everything(), **more})


def query(values: dict[str, str]) -> str:
    """Parameters as the tail of an address, for a link that can be opened in a new tab."""
    return "?" + urlencode(values)


def _bind(name: str, value: Any, default: Any, drop: Sequence[str]) -> dict[str, Any]:
    key = f"at-{name}"
    st.session_state[key] = value

    def changed() -> None:
        chosen = st.session_state[key]
        put({name: "" if chosen in (default, None) else str(chosen)}, drop)

    return {"key": key, "on_change": changed}


def select(
    name: str,
    label: str,
    options: Sequence[str],
    default: str = "",
    drop: Sequence[str] = (),
    widget: Callable[..., Any] | None = None,
    **how: Any,
) -> str:
    """A select box whose choice is a parameter; `drop` names those that a change clears.

    A value in the address that is no option falls back to `default`; a page that can say
    more than that looks first.
    """
    value = get(name, default)
    if value not in options:
        value = default if default in options else options[0]
    bound = _bind(name, value, default, drop)
    if widget is st.segmented_control:
        how["required"] = True
    return (widget or st.selectbox)(label, options, **bound, **how)


def split(name: str, label: str, splits: Sequence[str], usual: str, **how: Any) -> str:
    """A select box for a split; "" is all photos. Where the address says nothing it is `usual`."""
    chosen = select(name, label, ["all", *splits], usual or "all", format_func=plain_name, **how)
    return "" if chosen == "all" else chosen


def text(name: str, label: str, default: str = "", drop: Sequence[str] = (), **how) -> str:
    """A line of text that is a parameter; returned without blanks around it."""
    key, value = f"at-{name}", get(name, default)
    # Set only where it differs: a value that is set takes away what is being typed meanwhile.
    if st.session_state.get(key) != value:
        st.session_state[key] = value

    fields = st.session_state.setdefault("typed", {})
    fields[name] = default

    def changed() -> None:
        # All fields of the page: the next one may be filled in before the browser has learned
        # of the address that the last one made, and that one would be lost.
        typed = {}
        for other, usual in fields.items():
            if f"at-{other}" in st.session_state:
                chosen = (st.session_state[f"at-{other}"] or "").strip()
                typed[other] = "" if chosen == usual else chosen
        put(typed, drop)

    return (st.text_input(label, key=key, on_change=changed, **how) or "").strip()


def several(
    name: str,
    label: str,
    options: Sequence[str],
    drop: Sequence[str] = (),
    default: Sequence[str] = (),
    **how: Any,
) -> list:
    """A choice of several that is a parameter, parted by commas; names that are no option fall
    out. None chosen is `default`."""
    key, usual = f"at-{name}", ",".join(default)
    st.session_state[key] = [one for one in get(name, usual).split(",") if one in options]

    def changed() -> None:
        chosen = ",".join(st.session_state[key])
        put({name: "" if chosen == usual else chosen}, drop)

    return st.multiselect(label, options, key=key, on_change=changed, **how)


def toggle(name: str, label: str, default: bool = False, drop: Sequence[str] = (), **how) -> bool:
    """A switch whose state is a parameter (1 or 0)."""
    key = f"at-{name}"
    st.session_state[key] = get(name, "1" if default else "0") == "1"

    def changed() -> None:
        chosen = st.session_state[key]
        put({name: "" if chosen == default else str(int(chosen))}, drop)

    return st.toggle(label, key=key, on_change=changed, **how)


def pages(name: str, count: int) -> int:
    """A pager whose page is a parameter; returns the page, from 1."""
    page = min(max(1, number(name, 1)), max(1, count))
    if count > 1:
        # The pager has a default of its own, so the page is in the key instead of the state.
        key = f"at-{name}-{page}"

        def changed() -> None:
            chosen = st.session_state[key]
            put({name: "" if chosen == 1 else str(chosen)})

        st.pagination(count, default=page, key=key, on_change=changed)
    return page
