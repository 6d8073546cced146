"""The address bar is where the app keeps what is shown: run, layer, unit, image, filters.

Widgets are set from the address before they are drawn and write into it when they change,
so that links, reload, Back and Forward all show the same thing. (Streamlit's own
``bind="query-params"`` drops unknown values without a word, and its extra history entries
make Back lose the run.)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypedDict, TypeVar
from urllib.parse import urlencode

import streamlit as st

from core.foundation.names import plain_name

Number = TypeVar("Number", int, float)

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
    # Neither "--5" nor "²" is one, though their letters are digits; no page has 10¹⁰ of anything.
    return int(text) if re.fullmatch(r"-?[0-9]{1,9}", text) else default


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
    """A link to this page as it is now, but for some parameters; empty ones are left out."""
    return query({k: v for k, v in {**everything(), **more}.items() if v != ""})


def query(values: dict[str, str]) -> str:
    """Parameters as the tail of an address, for a link that can be opened in a new tab."""
    return "?" + urlencode(values)


class Binding(TypedDict):
    """What every bound widget is given."""

    key: str
    on_change: Callable[[], None]


def bind(
    name: str,
    value: object,
    written: Callable[[Any], str | dict[str, str]] = str,
    drop: Sequence[str] = (),
    key: str = "",
    typed: bool = False,
) -> Binding:
    """Bind a widget to a parameter of the address: all that are bound are bound by this.

    value : what the widget shows, from the address; None where the widget is given that itself.
    written : what the widget then holds → the parameter, "" for none, or several parameters (Any:
    each widget holds its own type). drop : parameters that a change clears. key : of the widget,
    where it is not the parameter's own. typed : the value is set only where it differs, as setting
    it takes away what is being typed meanwhile, and a change writes every typed field of the page:
    the next one may be filled in before the browser has learned of the address that the last one
    made, and that one would be lost.
    """
    key = key or f"at-{name}"
    if value is not None and not (typed and st.session_state.get(key) == value):
        st.session_state[key] = value
    fields = st.session_state.setdefault("typed", {}) if typed else {}
    fields[name] = written

    def changed() -> None:
        keys = {name: key} if not typed else {one: f"at-{one}" for one in fields}
        values: dict[str, str] = {}
        for one, at in keys.items():
            if at in st.session_state:
                chosen = fields[one](st.session_state[at])
                values |= chosen if isinstance(chosen, dict) else {one: chosen}
        put(values, drop)

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
    bound = bind(name, value, lambda one: "" if one in (default, None) else str(one), drop)
    if widget is st.segmented_control:
        how["required"] = True
    chosen: str = (widget or st.selectbox)(label, options, **bound, **how)
    return chosen


def views(
    options: Mapping[str, str],
    name: str = "view",
    label: str = "View",
    drop: Sequence[str] = (),
    usual: str = "",
    **how: Any,
) -> str:
    """A row of views, value → word, one of which is shown: the first where none is `usual`."""
    return select(
        name,
        label,
        list(options),
        usual or next(iter(options)),
        drop,
        st.segmented_control,
        format_func=options.get,
        label_visibility="collapsed",
        **how,
    )


def split(name: str, label: str, splits: Sequence[str], usual: str, **how: Any) -> str:
    """A select box for a split; "" is all photos. Where the address says nothing it is `usual`."""
    chosen = select(name, label, ["all", *splits], usual or "all", format_func=plain_name, **how)
    return "" if chosen == "all" else chosen


def text(name: str, label: str, default: str = "", drop: Sequence[str] = (), **how: Any) -> str:
    """A line of text that is a parameter; returned without blanks around it."""

    def written(typed: str | None) -> str:
        chosen = (typed or "").strip()
        return "" if chosen == default else chosen

    bound = bind(name, get(name, default), written, drop, typed=True)
    return (st.text_input(label, **bound, **how) or "").strip()


def several(
    name: str,
    label: str,
    options: Sequence[str],
    drop: Sequence[str] = (),
    default: Sequence[str] = (),
    between: str = ",",
    **how: Any,
) -> list[str]:
    """A choice of several that is a parameter, parted by `between`; names that are no option fall
    out. None chosen is `default`."""
    usual = between.join(default)
    asked = [one for one in get(name, usual).split(between) if one in options]
    value = (asked or list(default))[: how.get("max_selections")]

    def written(chosen: Sequence[str]) -> str:
        said = between.join(chosen)
        return "" if said == usual else said

    return list(st.multiselect(label, options, **bind(name, value, written, drop), **how))


def toggle(
    name: str, label: str, default: bool = False, drop: Sequence[str] = (), **how: Any
) -> bool:
    """A switch whose state is a parameter (1 or 0)."""
    value = get(name, "1" if default else "0") == "1"
    bound = bind(name, value, lambda on: "" if on == default else str(int(on)), drop)
    return st.toggle(label, **bound, **how)


def slider(name: str, label: str, least: int, most: int, usual: int, **how: Any) -> int:
    """A slider for a whole number that is a parameter; at first `usual`."""
    value = min(max(number(name, usual), least), most)
    return int(st.slider(label, least, most, **bind(name, value), **how))


def amount(
    name: str, label: str, default: Number, least: Number, most: Number, **how: Any
) -> Number:
    """A box for a number that is a parameter, whole where `default` is an int."""
    kind = type(default)
    try:
        value = kind(get(name) or default)
    except ValueError:
        value = default
    value = min(max(value, least), most)
    bound = bind(name, value, lambda chosen: "" if chosen == default else f"{chosen:g}")
    typed: Number = st.number_input(label, min_value=least, max_value=most, **bound, **how)
    return typed


def pages(name: str, count: int) -> int:
    """A pager whose page is a parameter; returns the page, from 1."""
    page = min(max(1, number(name, 1)), max(1, count))
    if count > 1:
        # The pager has a default of its own, so the page is in the key instead of the state.
        bound = bind(name, None, lambda one: "" if one == 1 else str(one), key=f"at-{name}-{page}")
        st.pagination(count, default=page, **bound)
    return page
