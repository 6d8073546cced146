"""Sets of disabled units: in words, in the address, in the session's history, and two compared."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from core.figures import disable as figures
from core.figures.base import BLUE, ORANGE, PAPER
from core.foundation.names import plain_name
from core.foundation.progress import Progress
from core.foundation.settings import splits_words
from core.views.pictures import thumbnail
from pages.parts import address, draw, explanations
from pages.parts.cache import Deferred
from pages.parts.frame import Context, page_files

if TYPE_CHECKING:
    from core.ablation.result import Headline, Toggled
    from core.ablation.toggler import Toggler
    from core.views import disable
else:
    disable = Deferred("disable")

TILES = 12
"""Photos shown before the table of all."""

REPLAYED = "Running the rest of the network …"

KEPT = 16
"""Results that a visitor's session holds."""

LONGEST = 50
"""Changes that can be undone, and lines of the history."""


def count_words(count: int) -> str:
    """``no unit``, ``1 unit``, ``20 units``."""
    return "no unit" if not count else f"{count} unit{'s' * (count != 1)}"


def written(units: Sequence[int]) -> str:
    """A set as the address holds it.

    >>> written([17, 3, 3])
    '3-17'
    """
    return "-".join(str(unit) for unit in sorted(set(units)))


def points(value: float, digits: int = 1) -> str:
    """A change of accuracy in points.

    >>> points(-0.0267), points(0), points(0.0267, 2)
    ('−2.7', '0.0', '+2.67')
    """
    text = f"{100 * value:+.{digits}f}"
    return text.replace("-", "−") if float(text) else text[1:]


# -- changes of the set ----------------------------------------------------------------------


def put(units: Sequence[int], why: str = "by hand") -> None:
    """Disable exactly these units; what was disabled before can be had back."""
    before, chosen = address.get("off"), written(units)
    if chosen != before:
        st.session_state["undo"] = [*st.session_state.get("undo", [])[-LONGEST:], before]
        st.session_state.setdefault("why", {})[chosen] = why
        address.put({"off": chosen})


def undo() -> None:
    """The set as it was before the last change."""
    steps = st.session_state.get("undo", [])
    if steps:
        address.put({"off": steps.pop()})


def known_as(units: Sequence[int], words: str) -> None:
    """A set of the address is the one of these words, unless this visitor chose it otherwise."""
    st.session_state.setdefault("why", {}).setdefault(written(units), words)


def why(units: Sequence[int]) -> str:
    """How this visitor chose a set."""
    found: str = st.session_state.get("why", {}).get(written(units), "")
    return found or ("by hand" if units else "no unit disabled")


# -- what a set does -------------------------------------------------------------------------


def result(
    ctx: Context, ready: Toggler, off: Sequence[int], factor: float, splits: Sequence[str]
) -> Toggled:
    """What the set does; a replay shows how far it is, and is kept for this visitor."""
    key = (ctx.run.digest, ctx.layer, tuple(off), factor, tuple(splits))
    kept: dict[Any, Toggled] = st.session_state.setdefault("toggled", {})
    if key not in kept:
        words = "" if ready.weights is not None else REPLAYED
        first = disable.estimated(ready, off, factor, splits) if ready.weights is not None else None
        if first is not None:
            words = estimate_words(first)
        bar = st.progress(0.0, text=words) if words else None

        def tell(progress: Progress) -> None:
            if bar is not None:
                text = words if first is not None else str(progress)
                bar.progress(progress.done / max(1, progress.total), text=text)

        kept[key] = disable.toggled(
            ready, off, factor, splits, progress=tell if bar is not None else None
        )
        if bar is not None:
            bar.empty()
        while len(kept) > KEPT:
            kept.pop(next(iter(kept)))
    return kept[key]


def estimate_words(first: Toggled) -> str:
    """What a sample told, until the exact figures are there."""
    before, after = first.accuracy
    gain = first.gain
    return (
        f"Estimate from {first.estimated}: accuracy {100 * before.value:.1f} → "
        f"{100 * after.value:.1f} %, {points(gain.value)} points, 95 % interval "
        f"{points(gain.low)} to {points(gain.high)}. The exact figures follow …"
    )


LOSS = {False: "#b34700", True: ORANGE[True]}
"""Of letters: the charts' orange is too light on white paper for them (WCAG AA)."""

CSS = """
<style>
/* Beside its button at first, and in sight wherever the page is scrolled to. */
[data-testid="stLayoutWrapper"]:has(> .st-key-shift) {
  position: sticky; top: 3.2rem; bottom: 0; z-index: 90}
.st-key-shift {background: PAPER; padding: .55rem .9rem !important; flex-wrap: nowrap}
.st-key-shift > :first-child {flex: 1 1 0; min-width: 0}
.st-key-disabled-labels a {text-decoration: underline !important}
.shifts {display: flex; flex-wrap: wrap; gap: .1rem 1.6rem; line-height: 1.35; margin: 0}
.shifts div {font-variant-numeric: tabular-nums}
.shifts b {font-size: 1.18rem; font-weight: 650}
.shifts small {opacity: .75; font-size: .82rem}
.shifts .gain {color: GAIN} .shifts .loss {color: LOSS}
@media (max-width: 1000px) {
  .st-key-shift {padding: .35rem .6rem !important; gap: .3rem !important; flex-wrap: wrap}
  .st-key-shift > :first-child {flex: 1 1 100%}
  .shifts {gap: 0 1rem; font-size: .9rem} .shifts b {font-size: 1rem}
  .shifts small.more {display: none}}
</style>
"""


def bar_css(dark: bool) -> None:
    """The look of :func:`bar`, once a page."""
    colors = {"PAPER": PAPER[dark], "GAIN": BLUE[dark], "LOSS": LOSS[dark]}
    text = CSS
    for word, color in colors.items():
        text = text.replace(word, color)
    st.html(text)


def headlines(parts: Sequence[Headline], changed: bool) -> str:
    """The shift of accuracy, a cell for each part of the photos: as HTML."""
    cells = []
    for one in parts:
        name = html.escape(plain_name(one.of))
        before, after = 100 * one.before.value, 100 * one.after.value
        n = f"<small>n = {one.before.n:,}</small>"
        if not changed:
            cells.append(f"<div>{name} <b>{before:.1f} %</b> {n}</div>")
            continue
        tone = "gain" if one.gain.value > 0 else "loss" if one.gain.value < 0 else ""
        interval = f"[{points(one.gain.low)}, {points(one.gain.high)}]"
        cells.append(
            f"<div>{name} {before:.1f} → <b>{after:.1f} %</b> "
            f'<span class="{tone}">{points(one.gain.value)} points</span> '
            f'<small class="more">{interval}</small> {n}</div>'
        )
    return "".join(cells)


def newly(one: Headline) -> str:
    """How many photos are newly correct and newly wrong: as HTML."""
    gain = one.gain
    return (
        f'<div><span class="gain">+{gain.gained:,}</span> newly correct, '
        f'<span class="loss">−{gain.lost:,}</span> newly wrong</div>'
    )


def bar(reply: Toggled, scene: str, judged: Sequence[str], off: Sequence[int]) -> None:
    """The accuracy shift of the set, of the scene and of all others, with Undo."""
    parts = reply.headlines(scene)
    *shown, every = parts if len(parts) > 1 else [*parts, *parts]
    count = f"{count_words(len(off)).capitalize()} disabled"
    with st.container(
        key="shift", horizontal=True, vertical_alignment="center", border=True, gap="small"
    ):
        st.html(
            f'<div class="shifts" role="status"><div><strong>{count}</strong> '
            f"<small>{html.escape(splits_words(judged))}</small></div>"
            f"{headlines(shown, bool(off))}{newly(every) if off else ''}</div>"
        )
        st.button(
            "Undo", on_click=undo, icon=":material/undo:", disabled=not st.session_state.get("undo")
        )
        st.button(
            "Enable all",
            on_click=put,
            args=((),),
            icon=":material/restart_alt:",
            disabled=not off,
        )


# -- photos ----------------------------------------------------------------------------------


def photos(
    ctx: Context, frame: pd.DataFrame, title: str, key: str, mark: str, said: Mapping[str, str]
) -> None:
    """Photos whose answer differs: tiles, and all in a table. said : column → name in the table;
    the first and the last stand on the tile."""
    draw.subheader(f"{title}: {len(frame):,} photo{'s' * (len(frame) != 1)}")
    if frame.empty:
        draw.caption("None.")
        return
    one, *_, two = said
    tiles: list[draw.Tile] = []
    if ctx.facts.photos:
        tiles = [
            {
                "src": ctx.picture(thumbnail, int(row["image"]), 200),
                "title": plain_name(row["scene"]),
                "sub": f"{plain_name(row[one])} → {plain_name(row[two])}",
                "mark": mark,
                "alt": f"Photo {row['id']} of {plain_name(row['scene'])}: "
                f"{said[one]} {plain_name(row[one])}, {said[two]} {plain_name(row[two])}",
                "href": "Explain" + address.query(address.kept(image=row["id"])),
            }
            for row in frame.head(TILES).to_dict("records")
        ]
        draw.gallery(tiles, f"tiles-{key}", tile=130)
    if len(frame) > TILES or not tiles:
        with st.expander(f"All {len(frame):,}"):
            draw.table(
                frame.drop(columns="image").rename(columns=dict(said)),
                f"photos-{key}",
                title,
                height=300,
            )


# -- the history of a session ------------------------------------------------------------------


def remember(
    ctx: Context,
    reply: Toggled,
    off: Sequence[int],
    factor: float,
    judged: Sequence[str],
    scene: str,
) -> None:
    """Add what is shown to this visitor's history, unless it is what it ends with."""
    parts = reply.headlines(scene)
    held = st.session_state.setdefault("history", {}).setdefault((ctx.run.digest, ctx.layer), [])
    every = parts[-1] if parts else None
    line = {
        "off": written(off),
        "units": len(off),
        "chosen": why(off) + (f", multiplied by {factor:g}" if factor and off else ""),
        "judged on": splits_words(judged),
        "scene": plain_name(scene),
        "accuracy, scene": parts[0].after.value if len(parts) > 1 else None,
        "accuracy, all others": parts[1].after.value if len(parts) > 2 else None,
        "newly correct": every.gain.gained if every else 0,
        "newly wrong": every.gain.lost if every else 0,
    }
    if not held or held[-1] != line:
        held.append(line)
        del held[:-LONGEST]


def history(ctx: Context) -> None:
    """What was tried in this session, the last first; a row that is chosen is disabled again."""
    held = st.session_state.get("history", {}).get((ctx.run.digest, ctx.layer), [])
    if len(held) < 2:
        return
    draw.subheader("History of this session")
    frame = pd.DataFrame(held[::-1])
    sets = [tuple(map(int, off.split("-"))) if off else () for off in frame["off"]]

    def again(row: int | None) -> None:
        if row is not None:
            put(sets[row], why(sets[row]))

    draw.table(
        frame.drop(columns="off"),
        "history",
        "Sets of units disabled in this session, with the accuracy of each; the last first",
        picked=again,
        height=min(40 + 35 * len(frame), 290),
        column_config={
            name: st.column_config.NumberColumn(format="percent")
            for name in ("accuracy, scene", "accuracy, all others")
        },
    )
    draw.caption("Choose a row to disable its units again. The history ends with the session.")


# -- two sets ----------------------------------------------------------------------------------


def choices(
    ctx: Context, ready: Toggler, off: Sequence[int], top: Mapping[str, Sequence[int]]
) -> dict[str, str]:
    """Sets that can be compared, as the address holds them → in words. top : by contribution
    scores, in words → units."""
    found: dict[str, str] = {}
    for words, units in top.items():
        if units:
            found.setdefault(written(units), words)
    if off:
        found.setdefault(written(off), f"disabled now: {count_words(len(off))}, {why(off)}")
    kept = disable.list_sets(ctx.run, ctx.layer)
    for name, saved in zip(kept["name"], kept["units"], strict=True):
        found.setdefault(written(saved), f"saved: {name} ({count_words(len(saved))})")
    for line in st.session_state.get("history", {}).get((ctx.run.digest, ctx.layer), [])[::-1]:
        if line["off"]:
            words = f"tried before: {count_words(line['units'])}, {line['chosen']}"
            found.setdefault(line["off"], words)
    count = max([len(units) for units in top.values()] or [len(off)]) or 1
    drawn = disable.random_units(ready.units, count)
    found.setdefault(written(drawn), f"control: {count_words(len(drawn))} at random")
    return found


def compare(
    ctx: Context,
    ready: Toggler,
    off: Sequence[int],
    top: Mapping[str, Sequence[int]],
    factor: float,
    judged: Sequence[str],
    scene: str,
) -> None:
    """Two sets of units side by side: accuracy, scene by scene, and the photos they differ in."""
    known = choices(ctx, ready, off, top)
    for name in ("a", "b"):
        asked = address.get(name)
        if asked:
            typed = disable.parse_units(asked, ready.units)
            if typed:
                known.setdefault(written(typed), f"by hand: {count_words(len(typed))}")
    options = list(known)
    first = written(off) if off else options[0]
    second = next((one for one in options if one != first), first)
    replies: dict[str, Toggled] = {}
    for letter, side, usual in zip("AB", st.columns(2, gap="large"), (first, second), strict=True):
        with side:
            chosen = address.select(
                letter.lower(), f"Set {letter}", options, usual, format_func=known.get
            )
            units = disable.parse_units(chosen, ready.units)
            reply = result(ctx, ready, units, factor, judged)
            if not reply.headlines(scene):
                st.info("No photo here has a scene that the network knows.")
                return
            _one_set(letter, chosen, units, reply, scene)
            replies[f"{letter}: {known[chosen]}"] = reply
    one, two = replies.values()
    if one.edits == two.edits:
        st.info("A and B are the same set: choose another one.", icon=":material/compare_arrows:")
        return
    _differences(ctx, replies, splits_words(judged), scene)


def _one_set(letter: str, chosen: str, units: Sequence[int], reply: Toggled, scene: str) -> None:
    """What one set does, which units it has, and the way to the page that disables it."""
    parts = reply.headlines(scene)
    st.html(f'<div class="shifts" role="status">{headlines(parts, True)}{newly(parts[-1])}</div>')
    draw.caption(
        f"{count_words(len(units))}: {', '.join(map(str, units[:12]))}"
        f"{' …' if len(units) > 12 else ''}"
    )
    st.page_link(
        page_files()["Disable"],
        label=f"Disable set {letter}",
        icon=":material/toggle_off:",
        query_params={
            **{k: v for k, v in address.everything().items() if k != "view"},
            "off": chosen,
        },
    )


def _differences(ctx: Context, replies: Mapping[str, Toggled], words: str, scene: str) -> None:
    """What B does that A does not. replies : by the name of the set, A and B. words : of the
    splits that they are judged on."""
    (first, one), (second, two) = replies.items()
    found = disable.compared(one, two, (first, second))
    less = found.table.iloc[-1]
    significant = "" if less["gain_low"] > 0 or less["gain_high"] < 0 else " (not significant)"
    st.markdown(
        f"**B less A, {words}: {points(less['gain'])} points**, 95 % interval "
        f"{points(less['gain_low'])} to {points(less['gain_high'])}{significant}; "
        f"{len(found.second):,} photos are correct with B alone, {len(found.first):,} with A alone."
    )
    tables = {name: reply.scenes for name, reply in replies.items()}
    draw.chart(
        lambda dark: figures.dumbbells(
            tables, ctx.caption(words)._replace(definition=""), dark, scene
        ),
        "sets-by-scene",
        "Dumbbells: accuracy of every scene before and after, for sets A and B",
        explanations.TOGGLE,
    )
    said = {"a": "with A", "b": "with B"}
    for column, frame, title, key in zip(
        st.columns(2, gap="large"),
        (found.second, found.first),
        ("Newly correct from A to B", "Newly wrong from A to B"),
        ("b-alone", "a-alone"),
        strict=True,
    ):
        with column:
            mark = "right" if key == "b-alone" else "wrong"
            photos(ctx, frame.drop(columns="before"), title, key, mark, said)
    with st.expander("Both sets as a table"):
        draw.table(
            found.table,
            "sets-compared",
            "Sets A and B on the same photos",
            explanations.TOGGLE,
            caption=" / ".join(ctx.caption(words).lines()),
            column_config={
                name: st.column_config.NumberColumn(format="percent")
                for name in ("accuracy", "low", "high", "gain", "gain_low", "gain_high")
            },
        )
