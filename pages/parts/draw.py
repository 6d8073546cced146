"""Drawing pieces: charts and tables that can be saved, galleries that can be clicked."""

from __future__ import annotations

import base64
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, TypedDict, cast

import pandas as pd
import streamlit as st

from core.figures.base import INK, PAPER, Unchecked, box, heading, heat
from core.figures.export import FORMATS, export, latex
from core.figures.printed import COLUMNS, Printed
from core.figures.printed import caption as caption_of
from core.foundation.escape import csv_frame
from core.foundation.plain import Json, Keywords
from pages.parts.frame import is_dark
from pages.parts.terms import linked

if TYPE_CHECKING:
    import altair

HERE = Path(__file__).resolve().parent


class Tile(TypedDict, total=False):
    """One picture of a gallery, a link to the address `href`.

    src : JPEG bytes. mark : "right", "wrong" or empty.
    """

    src: bytes
    title: str
    sub: str
    alt: str
    mark: str
    href: str


class Item(TypedDict, total=False):
    """One line of a ledger: `text` is a link where there is an `href`.

    hint : for a pointer that rests on it. sub : beneath. units : links beneath, each with text,
    href and hint. current : is it the chosen one?
    """

    text: str
    href: str
    hint: str
    sub: str
    units: list[dict[str, str]]
    current: bool


class Group(TypedDict, total=False):
    """A headed list of a ledger. mark : "met", "missed", "foreign" or empty."""

    title: str
    mark: str
    items: list[Item]


class Side(TypedDict, total=False):
    """A column of a ledger. tone : "predicted", "target", "both" or empty."""

    title: str
    note: str
    tone: str
    groups: list[Group]


@st.cache_resource(show_spinner=False)
def _renderer(name: str, html: str) -> Any:
    css = HERE / f"{name}.css"
    scripts = [(HERE / f"{part}.js").read_text(encoding="utf-8") for part in ("links", name)]
    return st.components.v2.component(
        f"unitscope_{name}",
        css=css.read_text(encoding="utf-8") if css.is_file() else "",
        js="\n".join(scripts),
        html=html,
    )


def _inline(jpeg: bytes) -> str:
    return "data:image/jpeg;base64," + base64.b64encode(jpeg).decode()


def picture(jpeg: bytes, alt: str) -> None:
    """A photo as wide as its column.

    It is sent with the page: Streamlit forgets a picture of its media store when a run of the
    script is stopped by the next one, and a browser that fetches it in between shows a broken one.
    """
    st.image(_inline(jpeg), width="stretch", alt=alt)


def gallery(tiles: Sequence[Tile], key: str, tile: int = 140) -> None:
    """A grid of pictures, each a link to its `href`; `tile` is their least width in pixels."""
    items = [{**t, "src": _inline(t["src"])} for t in tiles]
    draw = _renderer("gallery", '<div class="grid" role="list"></div>')
    draw(data={"items": items, "tile": tile}, key=key)


def ledger(sides: Sequence[Side], key: str, keep: str = "") -> None:
    """Columns of short lists whose lines are links; `keep` selects what a click brings in sight."""
    draw = _renderer("ledger", '<div class="sides"></div>')
    draw(data={"sides": list(sides), "keep": keep}, key=key)


def bring(keep: str, turn: str) -> None:
    """Bring what the selector `keep` finds into view, once for each `turn`."""
    with st.container(key="bring", height=1, border=False):
        _renderer("bring", "<i></i>")(data={"keep": keep, "turn": turn}, key="bring-part")


def labelled(photo: bytes, alt: str, planes: Any, key: str, href: str) -> None:
    """A photo that names what is under the pointer; a click goes to `href` and that name.

    planes : :class:`core.views.pictures.Planes`.
    """
    draw = _renderer("hover", '<figure class="photo"></figure>')
    draw(data={"src": _inline(photo), "alt": alt, "href": href, **planes._asdict()}, key=key)


def explain(text: str, label: str = "How to read this") -> None:
    """A popover with an explanation."""
    with st.popover(label, type="tertiary", icon=":material/help:"):
        st.markdown(linked(text))


def subheader(text: str) -> None:
    """The heading of a part of a page, whose terms lead to the glossary: of the second level, for
    the page's title is the only one above it."""
    st.header(linked(text))


def caption(text: str, help: str | None = None) -> None:
    """Small print whose terms lead to the glossary."""
    st.caption(linked(text), help=help and linked(help))


def _save_row(explanation: str | None) -> Any:
    row = st.container(horizontal=True, gap="small")
    with row:
        if explanation:
            explain(explanation)
    return row


HEADING = """<style>
.chart-title {font-size: 15px; line-height: 1.25; margin: 0; overflow-wrap: anywhere}
.chart-title small {display: block; font-size: 12px; line-height: 1.35; opacity: .78}
</style>"""


def titled(drawn: Any) -> None:
    """The title and subtitle of a chart, above it: as text they wrap where a window is narrow."""
    title, lines = heading(drawn)
    small = "".join(f"<small>{escape(line)}</small>" for line in lines)
    st.html(f'{HEADING}<p class="chart-title"><b>{escape(title)}</b>{small}</p>')


def chart(
    make: Callable[[bool], Any],
    name: str,
    alt: str,
    explanation: str | None = None,
    on_select: Callable[[], None] | None = None,
    selection: str = "",
) -> None:
    """A chart with its explanation and its files.

    make : dark → chart, so that the saved figure can be on white while the screen is dark.
    name : file name without suffix, and the key. on_select : called when something is chosen in
    the chart's `selection`, or in any that it has.
    """
    more: Keywords = {}
    if on_select:
        more = {"on_select": on_select, "key": f"chart-{name}"}
        if selection:
            more["selection_mode"] = selection
    drawn = make(is_dark())
    height, widest = box(drawn)
    width: int | Literal["stretch"] = widest or "stretch"
    with st.container(gap="xsmall"):
        titled(drawn)
        st.altair_chart(
            cast("altair.Chart", Unchecked(drawn)),
            width=width,
            height=height,
            theme=None,
            alt=alt,
            **more,
        )
    _files(make, name, explanation)


class Cell(NamedTuple):
    """A cell of a matrix. value : −1 … 1, its colour (:func:`core.figures.base.heat`). text : what
    it says. hint : for a pointer that rests on it, and for who cannot see it. href : where a click
    leads. current : is it the chosen one?"""

    value: float
    text: str
    hint: str
    href: str
    current: bool = False


class Head(NamedTuple):
    """The name of a row or a column of a matrix, a link where there is an `href`."""

    text: str
    href: str = ""


MATRIX = """<style>
.matrix {overflow: auto; max-height: 40rem; width: fit-content; max-width: 100%}
.matrix table {border-collapse: separate; border-spacing: 1px; font-size: .8rem; margin: 0}
.matrix th {font-weight: normal; background: PAPER; border: 0; padding: 0}
.matrix thead th {position: sticky; top: 0; z-index: 2; height: TALLrem; vertical-align: bottom}
.matrix thead th > * {display: inline-block; writing-mode: vertical-rl; transform: rotate(180deg);
  max-height: 8rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; padding: .2rem}
.matrix tbody th {position: sticky; left: 0; z-index: 1; text-align: right; padding-right: .5rem}
.matrix tbody th > * {display: inline-block; vertical-align: middle; max-width: 12rem;
  overflow: hidden; text-overflow: ellipsis; white-space: nowrap}
.matrix thead td {position: sticky; left: 0; top: 0; z-index: 3; background: PAPER}
.matrix td {padding: 0; border: 0; min-width: 1.9rem; height: 1.7rem; text-align: center;
  border-radius: 3px; font-variant-numeric: tabular-nums}
.matrix td a {display: block; line-height: 1.7rem; color: inherit !important;
  text-decoration: none !important}
.matrix tbody td:hover, .matrix tbody td:focus-within {outline: 2px solid RIM}
.matrix td.current {outline: 2px solid RIM; outline-offset: -2px}
.matrix th a {color: inherit !important}
@media (max-width: 640px) {
  .matrix {max-height: 26rem}
  .matrix tbody th > * {max-width: 7.5rem}
}
</style>"""


def matrix(
    make: Callable[[bool], Any],
    name: str,
    alt: str,
    rows: Mapping[str, Head],
    columns: Mapping[str, Head],
    cells: Mapping[tuple[str, str], Cell],
    explanation: str | None = None,
    frame: pd.DataFrame | None = None,
) -> None:
    """A heat map as a table, whose names stay in sight while it is scrolled, and whose cells are
    links; with its explanation and its files.

    make : dark → the same as a chart, whose title stands above. rows, columns : key → name.
    cells : (row, column) → cell, those that there are. frame : what CSV and LaTeX hold.
    """
    dark = is_dark()

    def head(one: Head, scope: str) -> str:
        inner = f'<a href="{escape(one.href)}">{escape(one.text)}</a>' if one.href else ""
        return f'<th scope="{scope}">{inner or f"<span>{escape(one.text)}</span>"}</th>'

    def body(cell: Cell | None) -> str:
        if cell is None:
            return "<td></td>"
        paper, ink = heat(cell.value, dark)
        kind = ' class="current"' if cell.current else ""
        hint = escape(cell.hint)
        return (
            f'<td{kind} style="background:{paper};color:{ink}">'
            f'<a href="{escape(cell.href)}" title="{hint}" aria-label="{hint}">'
            f"{escape(cell.text)}</a></td>"
        )

    top = "".join(head(one, "col") for one in columns.values())
    lines = "".join(
        f"<tr>{head(one, 'row')}{''.join(body(cells.get((row, key))) for key in columns)}</tr>"
        for row, one in rows.items()
    )
    tall = min(8.0, 1.4 + 0.42 * max((len(one.text) for one in columns.values()), default=0))
    css = MATRIX
    for word, value in {"PAPER": PAPER[dark], "RIM": INK[dark], "TALL": f"{tall:.1f}"}.items():
        css = css.replace(word, value)
    drawn = make(dark)
    with st.container(gap="xsmall", key=f"matrix-{name}"):
        titled(drawn)
        st.html(
            f'{css}<div class="matrix" tabindex="0" role="region" aria-label="{escape(alt)}">'
            f"<table><thead><tr><td></td>{top}</tr></thead><tbody>{lines}</tbody></table></div>"
        )
    caption = " / ".join(heading(drawn)[1])
    _files(make, name, explanation, None if frame is None else partial(_rows, frame, name, caption))


def deck(
    shown: Any,
    make: Callable[[bool], Any],
    name: str,
    alt: str,
    height: int,
    explanation: str | None = None,
    picked: Callable[[Json | None], None] | None = None,
) -> None:
    """A pydeck picture with its explanation, and the files of its printed form.

    shown : the deck, every layer with an id. make : dark → the same as a chart. `picked` is
    called with the object that is clicked, or with None when it is let go.
    """
    more: Keywords = {}
    if picked is not None:
        key = f"deck-{name}"

        def call() -> None:
            objects = st.session_state[key]["selection"]["objects"]
            picked(next((chosen[0] for chosen in objects.values() if chosen), None))

        more = {"key": key, "on_select": call, "selection_mode": "single-object"}
    st.pydeck_chart(shown, height=height, alt=alt, **more)
    _files(make, name, explanation)


def _exported(make: Callable[[bool], Any], kind: str, dark: bool, printed: Printed | None) -> bytes:
    return export(make(dark), kind, dark, printed)


SCREEN = "Screen"


def _files(
    make: Callable[[bool], Any],
    name: str,
    explanation: str | None,
    more: Callable[[], None] | None = None,
) -> None:
    """The row under a figure: its explanation, and the figure as files. more : draws the buttons of
    further files."""
    dark = is_dark()
    with _save_row(explanation), st.popover("Save", type="tertiary", icon=":material/download:"):
        size = st.segmented_control(
            "Size",
            [SCREEN, *COLUMNS],
            default=SCREEN,
            required=True,
            key=f"size-{name}",
            help="For a paper: of this width, letters of 8 pt, on white, without the title. What "
            "the title says stands in the caption.",
        )
        printed = None if size == SCREEN else Printed(COLUMNS[size])
        white = True
        if printed is not None:
            st.code(caption_of(make(False)), language=None, wrap_lines=True)
        elif dark:
            white = st.toggle("On white, for print", True, key=f"white-{name}")
        for kind, mime in FORMATS.items():
            st.download_button(
                kind.upper(),
                data=partial(_exported, make, kind, not white, printed),
                file_name=f"{name}.{kind}",
                mime=mime,
                on_click="ignore",
                key=f"save-{name}-{kind}",
                width="stretch",
            )
        if more is not None:
            more()


def table(
    frame: pd.DataFrame,
    name: str,
    alt: str,
    explanation: str | None = None,
    caption: str = "",
    picked: Callable[[int | None], None] | None = None,
    **how: Any,
) -> None:
    """A table with its files. `picked` is called with the place of the row that is chosen,
    or with None when it is let go."""
    if picked is not None:
        key = f"table-{name}"

        def call() -> None:
            rows = st.session_state[key]["selection"]["rows"]
            picked(rows[0] if rows else None)

        how |= {"key": key, "on_select": call, "selection_mode": "single-row", "lazy": False}
    st.dataframe(frame, hide_index=True, alt=alt, **how)
    with _save_row(explanation), st.popover("Save", type="tertiary", icon=":material/download:"):
        _rows(frame.drop(columns=[c for c in frame.columns if c == "color"]), name, caption)


def _rows(frame: pd.DataFrame, name: str, caption: str) -> None:
    """The buttons that save rows as files."""
    st.download_button(
        "CSV",
        data=lambda: csv_frame(frame),
        file_name=f"{name}.csv",
        mime="text/csv",
        on_click="ignore",
        key=f"save-{name}-csv",
        width="stretch",
    )
    st.download_button(
        "LaTeX",
        data=lambda: latex(frame, caption),
        file_name=f"{name}.tex",
        mime="text/x-tex",
        on_click="ignore",
        key=f"save-{name}-tex",
        width="stretch",
    )
