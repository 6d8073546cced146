"""Disable: disable units and watch accuracy shift at once; compare two sets; ablation curves."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import pandas as pd
import streamlit as st

from core.figures import disable as figures
from core.figures import matrices
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.foundation.settings import (
    ALL_PHOTOS,
    CHOOSING,
    chosen_on,
    judged_on,
    searched_split,
    splits_words,
)
from core.foundation.vocabulary import Core, Eq2, Over, Protocol, Sign, Strategy
from core.views import images as image_views
from core.views import runs as run_views
from core.views.matrices import score_matrix
from core.views.names import shown_name
from pages.parts import (
    access,
    address,
    changes,
    deleted_sets,
    draw,
    explanations,
    graph,
    sets,
)
from pages.parts.cache import Deferred, contribution, toggler
from pages.parts.frame import Context, page, sentence, stop, unanswered
from pages.parts.sets import count_words

if TYPE_CHECKING:
    from core.ablation.contribution import Contribution
    from core.ablation.result import Toggled
    from core.ablation.toggler import Toggler
    from core.views import disable
    from core.views.knowledge import Known
else:
    disable = Deferred("disable")

MOST = 50

VIEWS = {
    "toggle": "Toggle",
    "compare": "Compare two sets",
    "scores": "Scores by scene",
    "curves": "Ablation curves",
}
SIGNS = {
    Sign.NEGATIVE: "Negative neurons (lowest contribution score)",
    Sign.POSITIVE: "Positive neurons (highest contribution score)",
}
WAYS = {"scene": "By contribution score", "hand": "By hand", "search": "By a search"}
FACTORS = {"0": "disabled (× 0)", "0.5": "halved (× 0.5)", "2": "doubled (× 2)"}
REST = "rest"
HELP = (
    "The contribution score of a unit for a scene (Eq. 9) counts, over photos of the scene, the "
    "concepts that the unit learned there: those among the scene’s core concepts for it, all "
    "others against it."
)


class Asked(NamedTuple):
    """How units are chosen, and where their effect is judged; no splits = all photos."""

    core: str
    strategy: str
    iou: str
    over: str
    selected: list[str]
    judged: list[str]
    factor: float

    def words(self) -> str:
        """All of it in a line."""
        core, strategy = Core.of(self.core), Strategy.of(self.strategy)
        return (
            f"{core.short}, {strategy.short}, IoU {Eq2.of(self.iou).short}, "
            f"{Over.of(self.over).short}; chosen on {splits_words(self.selected)}, judged on "
            f"{splits_words(self.judged)}"
        )


def asked_for(splits: Sequence[str]) -> Asked:
    """What the address asks for; its widgets are drawn by :func:`definitions`."""

    def one(name: str, options: Sequence[str], usual: str) -> str:
        value = address.get(name, usual)
        return value if value in options else usual

    split = one("split", [*splits, ALL_PHOTOS], "")
    judged = judged_on(splits, [split] if split else None)
    select = one("select", [*splits, ALL_PHOTOS], "")
    return Asked(
        one("cc", tuple(Core), CHOOSING.core),
        one("strategy", tuple(Strategy), CHOOSING.strategy),
        one("iou", tuple(Eq2), CHOOSING.iou),
        one("over", tuple(Over), CHOOSING.over),
        chosen_on(splits, judged, [select] if select else None),
        judged,
        float(one("factor", list(FACTORS), "0")),
    )


def definitions(asked: Asked, splits: list[str]) -> None:
    """All that decides the answer beside scene, sign and k, said in the heading."""
    with st.expander(f"Definitions: {asked.words()}", icon=":material/tune:"):
        row = st.columns(2, gap="large")
        with row[0]:
            core, over = Core.longs(first=CHOOSING.core), Over.longs()
            usual = [one.value for one in (CHOOSING.core, CHOOSING.over)]
            address.select("cc", "Core concepts", list(core), usual[0], format_func=core.get)
            address.select(
                "over", "Summed over (Eq. 9)", list(over), usual[1], format_func=over.get
            )
            rest = chosen_on(splits, asked.judged)
            options = {
                REST: f"photos that are not judged ({splits_words(rest)})"
                if rest
                else splits_words(rest),
                ALL_PHOTOS: "all photos, as published",
                **{split: splits_words([split]) for split in splits},
            }
            address.select(
                "select", "Units chosen on", list(options), REST, format_func=options.get
            )
        with row[1]:
            strategy, iou = Strategy.longs(), Eq2.longs()
            address.select(
                "strategy",
                "Concept selection strategy",
                list(strategy),
                CHOOSING.strategy.value,
                format_func=strategy.get,
            )
            address.select("iou", "IoU", list(iou), CHOOSING.iou.value, format_func=iou.get)
            usual_split = (judged_on(splits) or [ALL_PHOTOS])[0]
            address.split("split", "Accuracy judged on", splits, usual_split)
        address.select("factor", "The units are", list(FACTORS), "0", format_func=FACTORS.get)
        if set(asked.judged or splits) & set(asked.selected or splits):
            draw.caption(
                "Units are chosen on photos that they are judged on, as published: what helps "
                "here need not help elsewhere."
            )


# -- which units ----------------------------------------------------------------------------


def now(ready: Toggler) -> tuple[int, ...]:
    """The units that the address says are disabled."""
    try:
        return disable.parse_units(address.get("off"), ready.units)
    except UnitscopeError as err:
        stop(f"{sentence(err)}.", {"Begin with none": address.kept()}, "Disable")


def pick_scene(ctx: Context) -> str:
    """The scene in question; at first the one of most photos."""
    scenes = ctx.ask(image_views.scenes)
    names = scenes["scene"].tolist()
    first = str(scenes.sort_values(["images", "scene"], ascending=[False, True])["scene"].iloc[0])
    return address.select("of", "Scene", names, first, format_func=plain_name)


def scores(ctx: Context, known: Known, asked: Asked) -> Contribution:
    """Contribution scores by what is asked for."""
    return contribution(
        ctx.run,
        known,
        ctx.layer,
        asked.strategy,
        asked.iou,
        asked.core,
        asked.over,
        asked.selected,
    )


def top_words(count: int, sign: str, scene: str, core: str) -> str:
    """How the top k are called."""
    return f"{count} {sign} unit{'s' * (count != 1)} of {plain_name(scene)} ({Core.of(core).short})"


def by_score(
    ctx: Context,
    found: Contribution,
    asked: Asked,
    scene: str,
    sign: str,
    off: tuple[int, ...],
) -> pd.DataFrame:
    """k and the button; the scene's units of the sign."""
    frame = ctx.ask(disable.ranking, found, scene, sign, ctx.denominator)
    if frame.empty:
        if not found.has_core[found.scene(scene)]:
            st.info(
                f"{plain_name(scene).capitalize()} has no core concepts of this kind, so no unit "
                "has a score for it: choose Top 10 under Definitions.",
                icon=":material/category:",
            )
        else:
            side = "below" if sign == Sign.NEGATIVE else "above"
            st.info(
                f"No unit has a score {side} 0 for {plain_name(scene)} on "
                f"{splits_words(asked.selected)}.",
                icon=":material/balance:",
            )
        return frame
    most = min(MOST, len(frame))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        top = (
            address.slider("k", f"k (of {len(frame)})", 1, most, min(CHOOSING.k, most), width=260)
            if most > 1
            else 1
        )
        units = frame["unit"].head(top).tolist()
        words = top_words(len(units), sign, scene, asked.core)
        st.button(
            f"Disable {count_words(len(units))}",
            type="primary",
            on_click=sets.put,
            args=(units, words),
            icon=":material/toggle_off:",
        )
        st.button(
            "Add to those disabled",
            on_click=sets.put,
            args=([*off, *units], f"{sets.why(off)} + {words}"),
            icon=":material/add:",
            disabled=not set(units) - set(off) or not off,
        )
    return frame


def ranked(ctx: Context, frame: pd.DataFrame, found: Contribution, scene: str) -> None:
    """The scene's units by their scores."""
    sign = address.get("sign", CHOOSING.sign)
    with st.expander(f"The {len(frame)} {sign} units of {plain_name(scene)}, with their scores"):
        view = pd.DataFrame(
            {
                "unit": frame["unit"],
                "label": [shown_name(n) if isinstance(n, str) else "" for n in frame["label"]],
                "contribution score": frame["score"],
                "core concepts (P)": frame["inside"],
                "others (N)": frame["outside"],
                "photos": frame["active"],
            }
        )
        draw.table(
            view,
            f"contribution-{scene}",
            f"Units by their contribution score for {plain_name(scene)}",
            explanations.CONTRIBUTION,
            height=min(38 + 35 * len(view), 320),
            caption=" / ".join([*ctx.caption().lines(), found.words()]),
        )


def otherwise(ctx: Context, ready: Toggler, off: tuple[int, ...], splits: list[str]) -> None:
    """Any units: by number, by label, or by a search."""
    way = address.get("way", "scene")
    with st.expander("Choose units by hand or by a search", expanded=way in ("hand", "search")):
        way = address.views(WAYS, "way", "Choose units")
        if way == "search":
            by_search(ctx, ready, splits)
        elif way == "hand":
            by_hand(ctx, off)
        else:
            draw.caption("By contribution score: above.")


def by_hand(ctx: Context, off: tuple[int, ...]) -> None:
    """Any units, by number or by label."""
    labels = ctx.ask(disable.labelled_units, ctx.layer, ctx.denominator)
    names = {
        row.unit: f"{row.unit} · {shown_name(row.label) if isinstance(row.label, str) else '–'}"
        for row in labels.itertuples()
    }
    st.session_state["off-many"] = list(off)
    st.multiselect(
        "Units disabled, by number or by label",
        list(names),
        key="off-many",
        format_func=names.__getitem__,
        on_change=lambda: sets.put(st.session_state["off-many"]),
        placeholder="Type a number or a word, such as wall",
    )


def by_search(ctx: Context, ready: Toggler, splits: list[str]) -> None:
    """The units whose loss wins most photos of a split, one after another."""
    if ready.weights is None:
        st.info(
            f"A search needs a network that ends in one linear layer. Here: {ready.check.why}.",
            icon=":material/search_off:",
        )
        return
    row = st.columns([3, 3, 4], vertical_alignment="bottom")
    with row[0]:
        on = address.split("on", "Searched on", splits, searched_split(splits))
    with row[1]:
        most = st.number_input("At most", 1, 200, CHOOSING.k, key="search-most")
    with row[2]:
        if st.button("Search", icon=":material/search:", width="stretch"):
            with st.spinner("Trying every unit, one after another …"):
                found = disable.greedy(ready, on, "", int(most))
            words = f"{count_words(len(found))} by a greedy search on {on or 'all'} photos"
            st.session_state["search-found"] = f"The search disabled {words}."
            sets.put(found, words)
            st.rerun()
    reply = st.session_state.pop("search-found", "")
    draw.caption(
        f"{reply} Judge them on another split: what was searched on flatters them.".strip()
    )


def disabled_units(ctx: Context, ready: Toggler, off: tuple[int, ...]) -> None:
    """The set itself, which can be edited."""
    labels = ctx.ask(disable.labelled_units, ctx.layer, ctx.denominator).set_index("unit")

    def typed() -> None:
        try:
            sets.put(disable.parse_units(st.session_state["off-text"], ready.units))
        except UnitscopeError as err:
            st.session_state["off-wrong"] = str(err)

    st.session_state["off-text"] = ", ".join(map(str, off))
    st.text_input(
        "Units disabled",
        key="off-text",
        on_change=typed,
        placeholder="3, 5, 7",
        help="Numbers with commas between. They are kept in the address: a link to this page "
        "shows the same set.",
    )
    wrong = st.session_state.pop("off-wrong", "")
    if wrong:
        st.warning(f"{sentence(wrong)}.", icon=":material/edit_off:")
    if off:
        reply = ", ".join(
            f"[{unit}](Units{address.query(address.kept(unit=str(unit)))}) "
            + (shown_name(labels["label"][unit]) if isinstance(labels["label"][unit], str) else "")
            for unit in off[:24]
        )
        more = f" and {len(off) - 24} more" if len(off) > 24 else ""
        with st.container(key="disabled-labels"):
            st.markdown(f"Labels: {reply}{more}")


# -- what it does ---------------------------------------------------------------------------


def effect(
    ctx: Context, ready: Toggler, reply: Toggled, off: tuple[int, ...], asked: Asked, scene: str
) -> None:
    """All photos: the interval, top-5 accuracy, the control, how it was computed."""
    gain, top = reply.gain, reply.top5
    before, after = reply.accuracy
    words = splits_words(asked.judged)
    significant = "not significant" if gain.low <= 0 <= gain.high else "significant"
    exact = "computed exactly" if reply.method == "closed form" else "computed"
    draw.caption(
        f"**{sentence(sets.why(off))}.** All {words} (n = {before.n:,}): "
        f"{100 * before.value:.2f} → {100 * after.value:.2f} %, "
        f"{sets.points(gain.value, 2)} points, 95 % interval {sets.points(gain.low, 2)} to "
        f"{sets.points(gain.high, 2)} ({significant}). "
        f"{reply.changed:,} predictions changed; top-5 accuracy {top[0].value:.1%} → "
        f"{top[1].value:.1%}. {sentence(exact)} ({reply.method}) in "
        f"{1000 * reply.seconds:,.0f} ms."
    )
    if ready.weights is not None:
        drawn = ctx.ask(disable.control, ready, len(off), asked.factor, tuple(asked.judged), scene)
        held = ", ".join(
            f"{plain_name(one.of)} {sets.points(one.mean)} "
            f"[{sets.points(one.low)}, {sets.points(one.high)}]"
            for one in drawn
        )
        draw.caption(
            f"Control: {count_words(len(off))} drawn at random ({disable.CONTROLS} draws"
            f"{disable.control_on(ready)}, mean and middle 95 %, in points): {held}."
        )


def details(ctx: Context, reply: Toggled, off: tuple[int, ...], asked: Asked, scene: str) -> None:
    """By scene, by confusion, photo by photo."""
    words = splits_words(asked.judged)
    caption = ctx.caption(words)._replace(definition=f"{sets.why(off)}, {reply.edits[0].words()}")
    left, right = st.columns(2, gap="large")
    with left:
        scenes = reply.scenes
        if len(scenes):
            draw.chart(
                lambda dark: figures.dumbbells({"": scenes}, caption, dark, scene),
                "shift-by-scene",
                "Dumbbells: accuracy of every scene before and after",
                explanations.TOGGLE,
            )
    with right:
        draw.subheader("Confusion matrix: cells that change")
        cells = reply.confusion
        if cells.empty:
            draw.caption("No prediction changed.")
        else:
            view = pd.DataFrame(
                {
                    "true scene": [plain_name(s) for s in cells["scene"]],
                    "predicted": [plain_name(s) for s in cells["predicted"]],
                    "before": cells["before"],
                    "after": cells["after"],
                    "change": cells["change"],
                }
            )
            draw.table(
                view,
                "confusion-change",
                "Changes of the confusion matrix, the largest first",
                caption=" / ".join(caption.lines()),
                height=330,
            )
    said = {"before": "before", "after": "after"}
    sets.photos(ctx, reply.gained, "Newly correct", "newly-correct", "right", said)
    sets.photos(ctx, reply.lost, "Newly wrong", "newly-wrong", "wrong", said)


# -- saved sets -----------------------------------------------------------------------------


def saved(ctx: Context, off: tuple[int, ...]) -> None:
    """Save the set under a name, load one, delete one."""
    kept = disable.list_sets(ctx.run, ctx.layer)

    def save() -> None:
        try:
            changes.save_set(ctx.run, ctx.layer, st.session_state["set-name"], off)
            st.session_state["set-name"] = ""
        except UnitscopeError as err:
            st.session_state["set-wrong"] = str(err)

    own = access.may_change()
    if own:
        row = st.columns([5, 2], vertical_alignment="bottom")
        row[0].text_input("Save this set as", key="set-name", placeholder="a name of your own")
        row[1].button(
            "Save", on_click=save, disabled=not off, icon=":material/bookmark_add:", width="stretch"
        )
    else:
        draw.caption(
            f"Sets are saved by owners alone: {access.why_not()}. The set above is in the "
            "address, so a bookmark keeps it too."
        )
    wrong = st.session_state.pop("set-wrong", "")
    if wrong:
        st.warning(f"{sentence(wrong)}.", icon=":material/edit_off:")
    deleted_sets.offer(ctx)
    if kept.empty:
        draw.caption(
            "No set is saved yet. Sets are saved beside the runs, for everyone who opens this app."
        )
        return
    of = dict(zip(kept["name"], map(tuple, kept["units"]), strict=True))
    chosen = st.selectbox(
        "Saved sets", list(of), format_func=lambda name: f"{name} ({count_words(len(of[name]))})"
    )

    def delete() -> None:
        deleted_sets.drop(ctx, chosen)

    with st.container(horizontal=True):
        st.button(
            "Load",
            on_click=sets.put,
            args=(of[chosen], f"saved set {chosen}"),
            icon=":material/input:",
        )
        st.button("Delete", on_click=delete, icon=":material/delete:", disabled=not own)


# -- curves ---------------------------------------------------------------------------------


def curves(ctx: Context, known: Known, ready: Toggler, asked: Asked) -> None:
    """The paper's Figs. 3 and 4, with controls, chosen and judged where one likes."""
    protocols = Protocol.longs()
    row = st.columns([4, 6], vertical_alignment="bottom")
    with row[0]:
        protocol = address.select(
            "protocol",
            "Protocol",
            list(protocols),
            CHOOSING.protocol.value,
            format_func=protocols.get,
        )
    names = {key: figures.RANKINGS[key][0] for key in disable.rankings(ready)}
    usual = [n for n in ("icc", "scc", "random", "mean_activation", "weight") if n in names]
    with row[1]:
        wanted = address.several(
            "curves", "Rankings", list(names), default=usual, between="-", format_func=names.get
        )
    if ready.weights is None and not address.toggle("drawn", "Compute the curves"):
        draw.caption(
            "This layer is replayed, not computed in closed form: the curves take minutes. The "
            "command `python -m core figures` draws them without the app waiting."
        )
        return
    with st.spinner("Disabling units, one after the other …"):
        frame = ctx.ask(
            disable.curves,
            ready,
            known,
            protocol,
            tuple(wanted),
            tuple(asked.selected),
            tuple(asked.judged),
            CHOOSING.k,
            asked.strategy,
            asked.iou,
        )
    n = frame["n"].iloc[0]
    caption = ctx.caption(f"judged on {splits_words(asked.judged)} (n = {n:,})")._replace(
        definition=f"chosen on {splits_words(asked.selected)}"
    )
    # One chart a sign: a chart of two panels cannot be fitted to a narrow window.
    for column, sign in zip(st.columns(2, gap="large"), figures.SIGNS, strict=True):
        with column:
            part = frame[frame["sign"] == sign]
            draw.chart(
                partial(figures.curves, part, caption, scale=frame),
                f"curves-{protocol}-{sign}",
                f"Lines: change of accuracy against the number of {figures.SIGNS[sign]}",
                explanations.PROTOCOLS,
            )
    with st.expander("As a table"):
        draw.table(
            frame,
            f"curves-{protocol}-table",
            "The curves as numbers",
            height=320,
            caption=" / ".join(caption.lines()),
        )
    st.code(
        f"python -m core figures {ctx.run.digest} --layer {ctx.layer} --protocol {protocol}"
        f"{options_of(asked, 'judge')} --to figures/",
        language="bash",
        wrap_lines=True,
    )


# -- export ---------------------------------------------------------------------------------


def options_of(asked: Asked, judge: str, ranking: bool = True) -> str:
    """The command line's options for what differs from its defaults."""
    every = ctx.ask(run_views.splits)
    parts: list[str] = []
    if asked.judged != judged_on(every):
        parts += [f"--{judge} {shlex.quote(one)}" for one in asked.judged or [ALL_PHOTOS]]
    if not ranking:
        return "".join(f" {part}" for part in parts)
    if asked.selected != chosen_on(every, asked.judged):
        parts += [f"--select {shlex.quote(one)}" for one in asked.selected or [ALL_PHOTOS]]
    for name in ("strategy", "iou", "over"):
        if getattr(asked, name) != getattr(CHOOSING, name):
            parts.append(f"--{name} {getattr(asked, name)}")
    return "".join(f" {part}" for part in parts)


def export(
    ctx: Context,
    ready: Toggler,
    off: tuple[int, ...],
    asked: Asked,
    scene: str,
    frame: pd.DataFrame,
) -> None:
    """The command that says the same, and the edited network as files."""
    if not off:
        draw.caption("Disable some units first.")
        return
    listed = ",".join(map(str, off))
    scaled = f" --factor {asked.factor:g}" if asked.factor else ""
    place = f"{ctx.run.digest} --layer {ctx.layer}"
    sign = address.get("sign", CHOOSING.sign)
    known = address.get("knowledge")
    if set(frame["unit"].head(len(off))) == set(off) and not address.get("names"):
        cc = f" --cc {asked.core}" if asked.core != CHOOSING.core else ""
        graph_is = f" --knowledge {shlex.quote(known)}" if known else ""
        units = f"--top-{sign} {len(off)}{cc}{options_of(asked, 'split')}{graph_is}"
    else:
        units = f"--units {listed}{options_of(asked, 'split', False)}"
    st.code(
        f"python -m core toggle {place} {units} --scene {shlex.quote(scene)}{scaled}\n"
        f"python -m core edit {place} --units {listed}{scaled} --out-dir edited/",
        language="bash",
        wrap_lines=True,
    )
    key = f"{ctx.run.digest}-{ctx.layer}-{listed}-{asked.factor:g}"
    if st.session_state.get("edited", ("", b""))[0] != key:
        if st.button("Export the edited network", icon=":material/save:"):
            try:
                with st.spinner("Writing it, loading it again, comparing …"):
                    packed = disable.edited_network(ready, off, asked.factor, sets.why(off))
            except UnitscopeError as err:
                st.warning(f"{sentence(err)}.", icon=":material/error:")
                return
            st.session_state["edited"] = (key, packed)
            st.rerun()
        draw.caption(
            "A state dict with the edit beside it, an ordinary checkpoint with the edit folded "
            "into its last layer where there is one, and a text that says what was done."
        )
    else:
        packed = st.session_state["edited"][1]
        st.download_button(
            f"Download ({len(packed) / 1e6:.1f} MB)",
            packed,
            f"edited-{ctx.run.digest[:8]}.zip",
            "application/zip",
            on_click="ignore",
            icon=":material/download:",
        )


# -- the page -------------------------------------------------------------------------------


def toggle_view(
    ctx: Context, known: Known, ready: Toggler, off: tuple[int, ...], asked: Asked
) -> None:
    """Scene, sign, k, one button; the shift beside it; then everything behind it."""
    splits = ctx.ask(run_views.splits)
    found = scores(ctx, known, asked)
    row = st.columns([3, 7], vertical_alignment="bottom")
    with row[0]:
        scene = pick_scene(ctx)
    with row[1]:
        sign = address.select(
            "sign",
            "Units",
            list(SIGNS),
            CHOOSING.sign.value,
            widget=st.radio,
            format_func=SIGNS.get,
            horizontal=True,
            help=HELP,
        )
    frame = by_score(ctx, found, asked, scene, sign, off)
    try:
        reply = sets.result(ctx, ready, off, asked.factor, asked.judged)
    except UnitscopeError as err:
        stop(f"{sentence(err)}.", {"Judge all photos": address.kept(split=ALL_PHOTOS)}, "Disable")
    if off and set(frame["unit"].head(len(off))) == set(off):
        sets.known_as(off, top_words(len(off), sign, scene, asked.core))
    sets.remember(ctx, reply, off, asked.factor, asked.judged, scene)
    scored = bool(reply.accuracy[0].n)
    if scored:
        sets.bar(reply, scene, asked.judged, off)
    else:
        st.info("No photo here has a scene that the network knows.", icon=":material/rule:")
    if off and scored:
        effect(ctx, ready, reply, off, asked, scene)
    definitions(asked, splits)
    if len(frame):
        ranked(ctx, frame, found, scene)
    otherwise(ctx, ready, off, splits)
    disabled_units(ctx, ready, off)
    if off:
        details(ctx, reply, off, asked, scene)
    else:
        draw.caption("No unit is disabled: this is the network as it is.")
    sets.history(ctx)
    st.divider()
    left, right = st.columns(2, gap="large")
    with left:
        draw.subheader("Saved sets")
        saved(ctx, off)
    with right:
        draw.subheader("Export")
        export(ctx, ready, off, asked, scene, frame)


def compare_view(
    ctx: Context, known: Known, ready: Toggler, off: tuple[int, ...], asked: Asked
) -> None:
    """Two sets side by side."""
    row = st.columns([2, 2], vertical_alignment="bottom")
    with row[0]:
        scene = pick_scene(ctx)
    with row[1]:
        k = address.slider("k", "k of its negative and positive units", 1, MOST, CHOOSING.k)
    found = scores(ctx, known, asked)
    top = {}
    for sign in SIGNS:
        units = ctx.ask(disable.ranking, found, scene, sign, ctx.denominator)["unit"].head(k)
        top[top_words(len(units), sign, scene, asked.core)] = units.tolist()
    try:
        sets.compare(ctx, ready, off, top, asked.factor, asked.judged, scene)
    except UnitscopeError as err:
        links = {"Begin anew": address.kept(view="compare")}
        stop(f"{sentence(err)}.", links, "Disable")
    definitions(asked, ctx.ask(run_views.splits))


def scores_view(ctx: Context, known: Known, asked: Asked) -> None:
    """The most positive and negative units of every scene, with their scores for all scenes."""
    with st.container(horizontal=True, vertical_alignment="bottom"):
        k = address.slider("top", "k of each sign and scene", 1, 10, 2, width=260)
    found = scores(ctx, known, asked)
    frame = ctx.ask(score_matrix, found, k, ctx.denominator)
    if frame.empty:
        st.info(
            f"No unit has a contribution score for any scene on {splits_words(asked.selected)}.",
            icon=":material/balance:",
        )
    else:
        score_cells(ctx, frame, found, k)
    definitions(asked, ctx.ask(run_views.splits))


def score_cells(ctx: Context, frame: pd.DataFrame, found: Contribution, k: int) -> None:
    """Units × scenes; a unit leads to its page, a scene to the scene's units."""
    most = float(frame["score"].abs().max()) or 1.0
    units = dict(zip(frame["unit"].astype(str), matrices.unit_names(frame), strict=True))
    opens = {unit: "Units" + address.query(address.kept(unit=unit)) for unit in units}
    cells = {}
    # Where a unit learned no concept in any photo of a scene, the score says nothing.
    for row in frame[frame["active"] > 0].itertuples():
        unit, scene = str(row.unit), plain_name(row.scene)
        hint = f"unit {units[unit]}, {scene}: contribution score {row.score:+d} "
        hint += f"({row.inside} core concepts less {row.outside} others, in {row.active} photos)"
        if row.top:
            hint += f"; among the {k} most {row.top}"
        cells[unit, str(row.scene)] = draw.Cell(
            row.score / most, f"{row.score}".replace("-", "−"), hint, opens[unit], bool(row.top)
        )
    caption = ctx.caption(found.words())._replace(definition=f"{k} of each sign and scene")
    draw.matrix(
        lambda dark: matrices.scores(frame, caption, dark),
        f"scores-{ctx.layer}",
        "Contribution scores of units against scenes; a cell leads to the unit",
        {unit: draw.Head(name, opens[unit]) for unit, name in units.items()},
        {
            scene: draw.Head(plain_name(scene), address.here(view="", of=scene))
            for scene in dict.fromkeys(frame["scene"])
        },
        cells,
        explanations.CONTRIBUTION,
        frame,
    )
    draw.caption(
        "Framed: among the k most positive (blue) or negative (orange) units of that scene. A cell "
        "leads to the unit’s page, a scene’s name to the choice of its units."
    )


ctx = page("Disable")
if not ctx.layer:
    st.title("Disable")
    stop(
        "This run has no units to disable: it was made from published predictions, without "
        "the network.",
        {"See its accuracy": address.kept()},
    )
st.title("Disable units")
if unanswered(ctx.run, "what disabling units does"):
    st.stop()
try:
    ready = toggler(ctx.run, ctx.layer)
except UnitscopeError as err:
    stop(f"{sentence(err)}.", {"Back to the overview": address.kept()})
known = graph.chosen(ctx, "Disable")
off = now(ready)
sets.bar_css(ctx.dark)
asked = asked_for(ctx.ask(run_views.splits))
view = address.views(VIEWS, label="Workspace")
if view == "toggle":
    toggle_view(ctx, known, ready, off, asked)
elif view == "compare":
    compare_view(ctx, known, ready, off, asked)
elif view == "scores":
    scores_view(ctx, known, asked)
else:
    definitions(asked, ctx.ask(run_views.splits))
    curves(ctx, known, ready, asked)
