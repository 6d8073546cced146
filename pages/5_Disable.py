"""Disable: switch units off and see at once what the network then gets right and wrong."""

from __future__ import annotations

import shlex
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from core.figures import disable as figures
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.foundation.vocabulary import Core, Eq2, Over, Protocol, Strategy
from core.views import images as image_views
from core.views import runs as run_views
from core.views.names import shown_name
from core.views.pictures import thumbnail
from core.views.runs import usual_splits
from pages.parts import access, address, changes, deleted_sets, draw, explanations, graph
from pages.parts.cache import Deferred, contribution, toggler
from pages.parts.frame import Context, page, sentence, stop, unanswered

if TYPE_CHECKING:
    from core.ablation.result import Toggled
    from core.ablation.toggler import Toggler
    from core.views import disable
    from core.views.knowledge import Known
else:
    disable = Deferred("disable")

ANY = ""
MOST = 50
TILES = 12
KEPT = 6

WAYS = {"scene": "By what a scene is made of", "hand": "One by one", "search": "By a search"}
SIGNS = {"negative": "see other things in it", "positive": "see what it is made of"}
CORE = Core.longs(first=Core.ICC)
OVER = Over.longs()
PROTOCOLS = Protocol.longs()
STRATEGY, EQ2 = Strategy.MINMAX_THRESHOLD, Eq2.IMAGE


def named(text: str) -> str:
    """A scene or split as people read it."""
    return plain_name(text) if text else "all"


def count_words(count: int) -> str:
    """``no unit``, ``1 unit``, ``20 units``."""
    return "no unit" if not count else f"{count} unit{'s' * (count != 1)}"


# -- the set of units -----------------------------------------------------------------------


def now(ready: Toggler) -> tuple[int, ...]:
    """The units that the address says are off."""
    try:
        return disable.parse_units(address.get("off"), ready.units)
    except UnitscopeError as err:
        stop(f"{sentence(err)}.", {"Begin with none": address.kept()}, "Disable")


def put(units: tuple[int, ...] | list[int]) -> None:
    """Switch exactly these units off; what was off before can be had back."""
    before = address.get("off")
    chosen = "-".join(str(unit) for unit in sorted(set(units)))
    if chosen != before:
        st.session_state["undo"] = [*st.session_state.get("undo", [])[-50:], before]
        address.put({"off": chosen})


def undo() -> None:
    """The set as it was before the last change."""
    steps = st.session_state.get("undo", [])
    if steps:
        address.put({"off": steps.pop()})


def chosen_units(ctx: Context, ready: Toggler, off: tuple[int, ...]) -> None:
    """The set itself: edit it, undo, clear, scale."""
    labels = ctx.ask(disable.labelled_units, ctx.layer, ctx.denominator).set_index("unit")
    with st.container(horizontal=True, vertical_alignment="bottom"):

        def typed() -> None:
            try:
                put(disable.parse_units(st.session_state["off-text"], ready.units))
            except UnitscopeError as err:
                st.session_state["off-wrong"] = str(err)

        st.session_state["off-text"] = ", ".join(map(str, off))
        st.text_input(
            "Units that are off",
            key="off-text",
            on_change=typed,
            placeholder="3, 5, 7",
            help="Numbers with commas between. They are kept in the address: a link to this page "
            "shows the same set.",
        )
        st.button(
            "Undo", on_click=undo, icon=":material/undo:", disabled=not st.session_state.get("undo")
        )
        st.button(
            "All on again",
            on_click=put,
            args=((),),
            icon=":material/restart_alt:",
            disabled=not off,
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
        st.caption(f"Off: {reply}{more}")


def by_scene(ctx: Context, known: Known, off: tuple[int, ...]) -> None:
    """The units that help or hinder a scene most, by their contribution (Eq. 9)."""
    scenes = ctx.ask(image_views.scenes)
    names = scenes["scene"].tolist()
    first = str(scenes.sort_values(["images", "scene"], ascending=[False, True])["scene"].iloc[0])
    row = st.columns([4, 3, 4, 4], vertical_alignment="bottom")
    with row[0]:
        scene = address.select("of", "Scene", names, first, format_func=named)
    with row[1]:
        sign = address.select("sign", "Units that", list(SIGNS), "negative", format_func=SIGNS.get)
    with row[2]:
        kind = address.select("cc", "A scene is made of", list(CORE), "icc", format_func=CORE.get)
    with row[3]:
        over = address.select("over", "Summed over", list(OVER), "true", format_func=OVER.get)
    reply = contribution(ctx.run, known, ctx.layer, STRATEGY, EQ2, kind, over)
    frame = ctx.ask(disable.ranking, reply, scene, sign, ctx.denominator)
    if frame.empty:
        if not reply.has_core[reply.scene(scene)]:
            st.info(
                f"{named(scene).capitalize()} has no core concepts of this kind, so no unit "
                "can be for or against it.",
                icon=":material/category:",
            )
        else:
            side = "below" if sign == "negative" else "above"
            st.info(f"No unit has a score {side} 0 for {named(scene)}.", icon=":material/balance:")
        return
    most = min(MOST, len(frame))
    with st.container(horizontal=True, vertical_alignment="bottom"):
        top = address.slider("k", "How many", 1, most, 20, width=320) if most > 1 else 1
        units = frame["unit"].head(top).tolist()
        st.button(
            f"Switch off the {count_words(len(units))}",
            type="primary",
            on_click=put,
            args=(units,),
            icon=":material/toggle_off:",
        )
        st.button(
            "Add to those that are off",
            on_click=put,
            args=([*off, *units],),
            icon=":material/add:",
            disabled=not off,
        )
    if sign == "negative":
        st.caption(
            "These units see much that is no core concept of the scene, in its own photos. The "
            "paper takes them for harmful; often they are simply the busiest ones, and the network "
            "is worse without them. Look at the result below."
        )
    with st.expander(f"The {len(frame)} units that {SIGNS[sign]}: {named(scene)}"):
        view = pd.DataFrame(
            {
                "unit": frame["unit"],
                "responds to": [
                    shown_name(n) if isinstance(n, str) else "" for n in frame["label"]
                ],
                "score": frame["score"],
                "for": frame["inside"],
                "against": frame["outside"],
                "photos": frame["active"],
            }
        )
        draw.table(
            view,
            f"contribution-{scene}",
            f"Units by their contribution to {named(scene)}",
            explanations.CONTRIBUTION,
            height=min(38 + 35 * len(view), 320),
            caption=" / ".join([*ctx.caption().lines(), reply.words()]),
        )


def by_hand(ctx: Context, off: tuple[int, ...]) -> None:
    """Any units, by number or by what they respond to."""
    labels = ctx.ask(disable.labelled_units, ctx.layer, ctx.denominator)
    names = {
        row.unit: f"{row.unit} · {shown_name(row.label) if isinstance(row.label, str) else '–'}"
        for row in labels.itertuples()
    }
    st.session_state["off-many"] = list(off)
    st.multiselect(
        "Units that are off, by number or by what they respond to",
        list(names),
        key="off-many",
        format_func=names.__getitem__,
        on_change=lambda: put(st.session_state["off-many"]),
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
        on = address.split("on", "Searched on", splits, usual_splits(splits)[0])
    with row[1]:
        most = st.number_input("At most", 1, 200, 20, key="search-most")
    with row[2]:
        if st.button("Search", icon=":material/search:", width="stretch"):
            with st.spinner("Trying every unit, again and again …"):
                found = disable.greedy(ready, on, ANY, int(most))
            st.session_state["search-told"] = (
                f"The search switched off {count_words(len(found))} on {named(on)} photos."
            )
            put(found)
            st.rerun()
    reply = st.session_state.pop("search-told", "")
    st.caption(f"{reply} Judge them on another split: what was searched on flatters them.".strip())


# -- what it does ---------------------------------------------------------------------------


def result(
    ctx: Context, ready: Toggler, off: tuple[int, ...], factor: float, split: str, scene: str
) -> Toggled:
    """What the set does; a replay shows how far it is, and is kept for this visitor."""
    key = (ctx.run.digest, ctx.layer, off, factor, split, scene)
    kept: dict[Any, Toggled] = st.session_state.setdefault("toggled", {})
    if key not in kept:
        hooks: dict[str, Any] = {}
        bar = None
        if ready.weights is None:
            bar = st.progress(0.0, text="The rest of the network is run again …")
            hooks["progress"] = lambda e: bar.progress(e.done / max(1, e.total), text=str(e))
        kept[key] = disable.toggled(ready, off, factor, split, scene, **hooks)
        if bar is not None:
            bar.empty()
        while len(kept) > KEPT:
            kept.pop(next(iter(kept)))
    return kept[key]


def effect(ctx: Context, ready: Toggler, reply: Toggled, judged: str) -> None:
    """Accuracy before and after, and everything that changed."""
    before, after = reply.accuracy
    gain, top = reply.gain, reply.top5
    if not before.n:
        st.info("No photo here has a scene that the network knows.", icon=":material/rule:")
        return
    cells = st.columns(4)
    cells[0].metric(
        f"right, {judged} (n = {before.n:,})",
        f"{after.value:.2%}",
        f"{100 * gain.value:+.2f} points" if gain.gained or gain.lost else None,
        help=explanations.TOGGLE,
        delta_color="normal" if gain.value else "off",
    )
    cells[1].metric("right before", f"{before.value:.2%}")
    cells[2].metric("photos gained, lost", f"+{gain.gained:,} −{gain.lost:,}")
    moved = top[1].right - top[0].right
    cells[3].metric(
        "among its first five",
        f"{top[1].value:.1%}",
        f"{100 * moved / top[0].n:+.1f} points" if moved else None,
    )
    if not any(edit.units for edit in reply.edits):
        return
    sure = "cannot be told from none" if gain.low <= 0 <= gain.high else "is more than luck"
    st.caption(
        f"The change is {100 * gain.value:+.2f} points, 95 % interval {100 * gain.low:+.2f} to "
        f"{100 * gain.high:+.2f}: it {sure} for a set chosen beforehand. {reply.changed:,} answers "
        f"are other ones now. Told by {reply.method}, in {1000 * reply.seconds:,.0f} ms."
    )


def details(ctx: Context, reply: Toggled, judged: str) -> None:
    """By scene, by confusion, photo by photo."""
    left, right = st.columns(2, gap="large")
    with left:
        scenes = reply.scenes
        if len(scenes):
            draw.chart(
                lambda dark: figures.scene_shift(
                    scenes, ctx.caption(f"{judged}; {reply.edits[0].words()}"), dark
                ),
                "shift-by-scene",
                "Bars: change of accuracy of every scene, with 95 % intervals",
                explanations.TOGGLE,
            )
    with right:
        st.subheader("What is now taken for what")
        cells = reply.confusion
        if cells.empty:
            st.caption("No answer changed.")
        else:
            view = pd.DataFrame(
                {
                    "true scene": [named(s) for s in cells["scene"]],
                    "answer": [named(s) for s in cells["predicted"]],
                    "before": cells["before"],
                    "after": cells["after"],
                    "change": cells["change"],
                }
            )
            draw.table(
                view,
                "confusion-change",
                "Changes of the confusion matrix, the largest first",
                caption=" / ".join(ctx.caption(judged).lines()),
                height=330,
            )
    for title, frame, mark in (
        ("Won", reply.gained, "right"),
        ("Lost", reply.lost, "wrong"),
    ):
        st.subheader(f"{title}: {len(frame):,} photo{'s' * (len(frame) != 1)}")
        if frame.empty:
            st.caption("None.")
            continue
        tiles: list[draw.Tile] = (
            [
                {
                    "src": ctx.picture(thumbnail, int(row.image), 200),
                    "title": named(row.scene),
                    "sub": f"{named(row.before)} → {named(row.after)}",
                    "mark": mark,
                    "alt": f"Photo {row.id} of {named(row.scene)}: {named(row.before)} before, "
                    f"{named(row.after)} now",
                    "href": "Explain" + address.query(address.kept(image=row.id)),
                }
                for row in frame.head(TILES).itertuples()
            ]
            if ctx.facts.photos
            else []
        )
        if tiles:
            draw.gallery(tiles, f"tiles-{title}", tile=130)
        if len(frame) > TILES or not tiles:
            with st.expander(f"All {len(frame):,}"):
                draw.table(
                    frame.drop(columns="image"),
                    f"photos-{title.lower()}",
                    f"Photos {title.lower()}",
                    height=300,
                )


# -- named sets -----------------------------------------------------------------------------


def sets(
    ctx: Context, ready: Toggler, off: tuple[int, ...], factor: float, split: str, scene: str
) -> None:
    """Keep the set under a name, take one up again, compare two."""
    kept = disable.list_sets(ctx.run, ctx.layer)

    def keep() -> None:
        try:
            changes.save_set(ctx.run, ctx.layer, st.session_state["set-name"], off)
            st.session_state["set-name"] = ""
        except UnitscopeError as err:
            st.session_state["set-wrong"] = str(err)

    own = access.may_change()
    if own:
        row = st.columns([5, 2], vertical_alignment="bottom")
        row[0].text_input("Keep this set as", key="set-name", placeholder="a name of your own")
        row[1].button(
            "Keep", on_click=keep, disabled=not off, icon=":material/bookmark_add:", width="stretch"
        )
    else:
        st.caption(
            f"Sets are kept by owners alone: {access.why_not()}. The set above is in the "
            "address, so a bookmark keeps it too."
        )
    wrong = st.session_state.pop("set-wrong", "")
    if wrong:
        st.warning(f"{sentence(wrong)}.", icon=":material/edit_off:")
    deleted_sets.offer(ctx)
    if kept.empty:
        st.caption(
            "No set is kept yet. Sets are kept beside the runs, for everyone who opens this app."
        )
        return
    of = dict(zip(kept["name"], map(tuple, kept["units"]), strict=True))
    chosen = st.selectbox(
        "Kept sets", list(of), format_func=lambda name: f"{name} ({count_words(len(of[name]))})"
    )

    def drop() -> None:
        deleted_sets.drop(ctx, chosen)

    with st.container(horizontal=True):
        st.button("Take it up", on_click=put, args=(of[chosen],), icon=":material/input:")
        st.button("Forget it", on_click=drop, icon=":material/delete:", disabled=not own)
    if off and tuple(off) != of[chosen]:
        now_told = result(ctx, ready, off, factor, split, scene)
        other = result(ctx, ready, of[chosen], factor, split, scene)
        frame = disable.compared(other, now_told, (chosen, "this set"))
        draw.table(
            frame,
            "sets-compared",
            f"The set {chosen} and this one on the same photos",
            explanations.TOGGLE,
            caption=" / ".join(ctx.caption(split or "").lines()),
            column_config={
                name: st.column_config.NumberColumn(format="percent")
                for name in ("accuracy", "low", "high", "gain", "gain_low", "gain_high")
            },
        )


# -- curves ---------------------------------------------------------------------------------


def curves(ctx: Context, known: Known, ready: Toggler, splits: list[str]) -> None:
    """The paper's Figs. 3 and 4, with controls, chosen and judged where one likes."""
    st.subheader("How far does it go?")
    st.html(
        '<p class="lede">Accuracy as one unit after the other is switched off, the most positive '
        "and the most negative ones, beside controls that know nothing of concepts.</p>"
    )
    row = st.columns([4, 3, 3], vertical_alignment="bottom")
    with row[0]:
        protocol = address.select(
            "protocol", "Which units go", list(PROTOCOLS), "paper", format_func=PROTOCOLS.get
        )
    with row[1]:
        select = address.split("select", "Chosen on", splits, usual_splits(splits)[0])
    with row[2]:
        judge = address.split("judge", "Judged on", splits, usual_splits(splits)[1])
    names = {key: figures.RANKINGS[key][0] for key in disable.rankings(ready)}
    usual = [n for n in ("icc", "scc", "random", "mean_activation", "weight") if n in names]
    asked = address.several(
        "curves", "Curves", list(names), default=usual, between="-", format_func=names.get
    )
    if select == judge:
        st.caption(
            "Units are chosen on the very photos they are judged on, as published: what helps "
            "here need not help elsewhere."
        )
    slow = ready.weights is None
    if not address.toggle("drawn", "Draw the curves"):
        if slow:
            st.caption(
                "This layer is replayed, not computed: the curves take minutes. The command "
                "`python -m core figures` draws them without the app waiting."
            )
        return
    with st.spinner("Switching units off, one after the other …"):
        frame = ctx.ask(
            disable.curves,
            ready,
            known,
            protocol,
            tuple(asked),
            select,
            judge,
            20,
            STRATEGY,
            EQ2,
        )
    split = f"chosen on {named(select)}, judged on {named(judge)}"
    # One chart a sign: a chart of two panels cannot be fitted to a narrow window.
    for column, sign in zip(st.columns(2, gap="large"), figures.SIGNS, strict=True):
        with column:
            part = frame[frame["sign"] == sign]
            draw.chart(
                partial(figures.curves, part, ctx.caption(split)),
                f"curves-{protocol}-{sign}",
                f"Lines: accuracy against the number of {figures.SIGNS[sign]}, by ranking",
                explanations.PROTOCOLS,
            )
    with st.expander("As a table"):
        draw.table(
            frame,
            f"curves-{protocol}-table",
            "The curves as numbers",
            height=320,
            caption=" / ".join(ctx.caption(split).lines()),
        )


# -- to take away ---------------------------------------------------------------------------


def away(
    ctx: Context, ready: Toggler, off: tuple[int, ...], factor: float, split: str, scene: str
) -> None:
    """The edited network as files, and the command that does the same."""
    st.subheader("Take the edited network away")
    if not off:
        st.caption("Switch some units off first.")
        return
    listed = ",".join(map(str, off))
    scaled = f" --factor {factor:g}" if factor else ""
    of = (f" --split {shlex.quote(split)}" if split else "") + (
        f" --scene {shlex.quote(scene)}" if scene else ""
    )
    st.code(
        f"python -m core toggle {ctx.run.digest} --layer {ctx.layer} --units {listed}{scaled}{of}\n"
        f"python -m core edit {ctx.run.digest} --layer {ctx.layer} --units {listed}{scaled} "
        "--out-dir edited/",
        language="bash",
        wrap_lines=True,
    )
    key = f"{ctx.run.digest}-{ctx.layer}-{listed}-{factor:g}"
    if st.session_state.get("edited", ("", b""))[0] != key:
        if st.button("Write it", icon=":material/save:"):
            try:
                with st.spinner("Writing it, loading it again, comparing …"):
                    packed = disable.edited_network(ready, off, factor, "in the app")
            except UnitscopeError as err:
                st.warning(f"{err}", icon=":material/error:")
                return
            st.session_state["edited"] = (key, packed)
            st.rerun()
        st.caption(
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

ctx = page("Disable")
if not ctx.layer:
    st.title("Disable")
    stop(
        "This run has no units to switch off: it was made from published predictions, without "
        "the network.",
        {"See how often they are right": address.kept()},
    )
st.title("What if some units were switched off?")
st.html(
    '<p class="lede">Choose units of the network; the answer for every photo follows at once. '
    "Does it get better where you hoped, and what does it cost elsewhere?</p>"
)
if unanswered(ctx.run, "what switching units off does"):
    st.stop()
try:
    ready = toggler(ctx.run, ctx.layer)
except UnitscopeError as err:
    stop(f"{sentence(err)}.", {"Back to the overview": address.kept()})
known = graph.chosen(ctx, "Disable")
off = now(ready)
splits = ctx.ask(run_views.splits)
with st.container(border=True):
    way = address.select(
        "way",
        "Choose units",
        list(WAYS),
        "scene",
        widget=st.segmented_control,
        format_func=WAYS.get,
        label_visibility="collapsed",
    )
    if way == "scene":
        by_scene(ctx, known, off)
    elif way == "hand":
        by_hand(ctx, off)
    else:
        by_search(ctx, ready, splits)
    chosen_units(ctx, ready, off)
row = st.columns([3, 3, 3], vertical_alignment="bottom")
with row[0]:
    split = address.split("split", "Judged on", splits, usual_splits(splits)[1])
with row[1]:
    scene = address.select(
        "scene", "Photos of", [ANY, *ctx.ask(image_views.scenes)["scene"]], format_func=named
    )
with row[2]:
    factors = {"0": "switched off", "0.5": "halved", "2": "doubled"}
    factor = float(
        address.select("factor", "The units are", list(factors), "0", format_func=factors.get)
    )
judged = (f"{named(split)} photos" if split else "all photos") + (
    f" of {named(scene)}" if scene else ""
)
try:
    reply = result(ctx, ready, off, factor, split, scene)
except UnitscopeError as err:
    stop(f"{sentence(err)}.", {"Judge all photos": address.kept(split="all")}, "Disable")
effect(ctx, ready, reply, judged)
if off:
    details(ctx, reply, judged)
else:
    st.caption(
        "Every unit is on: this is the network as it is. Choose units above, by a scene, by "
        "hand or by a search."
    )
st.divider()
left, right = st.columns(2, gap="large")
with left:
    st.subheader("Sets you keep")
    sets(ctx, ready, off, factor, split, scene)
with right:
    away(ctx, ready, off, factor, split, scene)
st.divider()
curves(ctx, known, ready, splits)
