"""What caused an answer, on the page Explain: the sentence, the chart, concepts clicked away."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd
import streamlit as st

from core.figures import explain as figures
from core.figures.base import Caption
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.foundation.plain import Json
from core.foundation.vocabulary import Standing
from core.views import explain, rooms
from core.views.names import shown_name
from pages.parts import address, clicks, draw, explanations
from pages.parts.cache import Deferred, opened
from pages.parts.frame import Context, sentence

if TYPE_CHECKING:
    from core.attribution.account import SceneCore
    from core.attribution.case import Opened
    from core.views import causes
    from core.views.causes import After, Shown
    from core.views.knowledge import Known
else:
    causes = Deferred("causes")

PARAMETERS = ("of", "against", "without", "edit", "editing")
"""Parameters of the address that are of one photo."""

NONE, BETWEEN = "none", "|"

CATEGORIES = {"": "objects", "part": "parts", "material": "materials"}

MARKS = {
    Standing.CORE_USED: "met",
    Standing.CORE_UNUSED: "missed",
    Standing.SHORTCUT: "foreign",
}

CHANGES = {
    "without": "Remove",
    "only": "Keep only",
    "material": "Material",
    "color": "Colour",
    "light": "Light",
    "move": "Move",
    "camera": "Camera",
}
STILL: Json = {"turn": 0.0, "tilt": 0.0, "step": [0.0, 0.0, 0.0], "zoom": 1.0}
"""The camera's fields of an edit that leaves it where it is."""

UNITS = 4


@st.fragment
def section(ctx: Context, known: Known, image: int, image_id: str, kind: str) -> None:
    """What caused the answer to a photo of the run, or why that cannot be told."""
    try:
        network = opened(ctx.run, ctx.layer)
        told = asked(ctx, network, known, image_id, kind)
    except UnitscopeError as err:
        st.info(
            f"What caused the prediction cannot be measured: {err}.",
            icon=":material/visibility_off:",
        )
        return
    found = told.causes
    st.html(f'<p class="account">{_escaped(found.sentence)}</p>')
    frame = causes.causes_frame(told)
    way = figures.by(found.question.fillings, found.question.controls, found.evidence_kind)
    split = f"photo {image_id} ({found.split})"
    caption = Caption(ctx.facts.dataset, ctx.facts.model, found.layer, way, split)
    name = f"causes-{image_id}"
    draw.chart(
        partial(figures.causes, frame, found.answer, found.against, caption),
        name,
        f"Bars: measured effect and evidence of each concept for {found.answer} over "
        f"{found.against}, with the band of regions elsewhere",
        explanations.CAUSES,
        clicks.watched(name, "label", partial(turned, told)),
    )
    draw.caption("Click a row to remove its concept, below; click it again to have it back.")
    if found.disagreement:
        rho = (
            ""
            if found.agreement is None
            else (
                f" Over the {len(found.rows)} concepts their ranks correlate by ρ = "
                f"{found.agreement:.2f} (Spearman)."
            )
        )
        st.markdown(
            ":orange[:material/compare_arrows:] **Evidence and measured effect disagree.** "
            f"{found.disagreement}{rho}"
        )
    clicked_away(ctx, network, told, image, image_id)
    if rooms.can_edit(ctx.run):
        scene_edited(ctx, network, told, image, image_id)
    by_knowledge(ctx, known, told)
    as_table(told, frame, caption, image_id)


def asked(ctx: Context, network: Opened, known: Known, image_id: str, kind: str) -> Shown:
    """The row of choices, and what caused the answer by them."""
    ways = ctx.ask(causes.ways)
    row = st.columns([4, 4, 4, 3], vertical_alignment="bottom")
    classes = ["", *network.classes]

    def named(usual: str) -> Any:
        return lambda one: plain_name(one) if one else usual

    with row[0]:
        of = address.select(
            "of", "What speaks for", classes, format_func=named("the network’s answer")
        )
    with row[1]:
        against = address.select(
            "against",
            "and against",
            classes,
            format_func=named("the true scene, or the runner-up"),
        )
    with row[2]:
        usual = "the usual ways together"
        filling = address.select(
            "filling",
            "Removed by",
            ["", *ways],
            format_func=lambda one: f"{one}: {ways[one]}" if one in ways else usual,
        )
    with row[3]:
        category = address.select(
            "category", "Concepts", list(CATEGORIES), format_func=CATEGORIES.get
        )
    chosen = (category,) if category else ()
    return ctx.ask(causes.causes, network, known, image_id, kind, (of, against), filling, chosen)


# -- concepts clicked away ------------------------------------------------------------------


def without(told: Shown) -> tuple[list[str], str]:
    """(labels of the concepts that are removed, by the address; of that which is removed at first:
    the one whose removal changes the answer, else that of the largest effect)."""
    rows = {told.label(row) for row in told.causes.rows}
    first = max(told.causes.rows, key=lambda row: (bool(row.removed.change), abs(row.effect)))
    usual = told.label(first)
    return [one for one in address.get("without", usual).split(BETWEEN) if one in rows], usual


def written(chosen: Sequence[str], usual: str) -> str:
    """Removed concepts as the address holds them."""
    said = BETWEEN.join(chosen) or NONE
    return "" if said == usual else said


def turned(told: Shown, labels: Sequence[str]) -> None:
    """Remove concepts that are there, and have those back that are removed."""
    now, usual = without(told)
    here = {told.label(row) for row in told.causes.rows}
    fresh = [label for label in labels if label in here and label not in now]
    kept = [label for label in now if label not in labels]
    address.put({"without": written([*kept, *fresh], usual)})


def clicked_away(ctx: Context, network: Opened, told: Shown, image: int, image_id: str) -> None:
    """Concepts removed together: the photo, the edited photo, and its answer."""
    found = told.causes
    rows = {told.label(row): row for row in found.rows}
    value, usual = without(told)
    draw.subheader("Remove concepts and watch the prediction")
    bound = address.bind("without", value, partial(written, usual=usual))
    st.pills(
        "Without",
        list(rows),
        selection_mode="multi",
        format_func=lambda label: told.shown(rows[label]),
        label_visibility="collapsed",
        **bound,
    )
    asked_way = address.get("filling")
    filling = asked_way if asked_way in told.ways else found.question.fillings[0]
    ids = tuple(rows[label].concept for label in value)
    pair = (found.answer, found.against)
    names = [told.shown(rows[label]) for label in value]
    left, right, beside = st.columns([4, 4, 5], gap="medium")
    with left:
        draw.picture(
            ctx.picture(explain.regions_photo, image, ids, 480),
            alt=f"Photo {image_id}" + (f"; bright: {', '.join(names)}" if names else ""),
        )
        draw.caption(
            f"Outlined, as annotated: {', '.join(names)}." if names else "The whole photo."
        )
    if not ids:
        with right:
            draw.caption("Choose what to remove above.")
        return
    try:
        with st.spinner("Asking the network …"):
            after = ctx.ask(causes.taken_away, network, image, ids, filling, pair)
    except UnitscopeError as err:
        with right:
            st.warning(f"{sentence(err)}.", icon=":material/edit_off:")
        return
    words = f"without {', '.join(names)} ({told.ways.get(filling, filling)})"
    answered(ctx, after, right, beside, words, told)
    carried = [rows[label] for label in value[:3]]
    for row in carried:
        if row.units:
            units = ", ".join(
                f"[{u.unit}](Units{address.query(address.kept(unit=str(u.unit)))}) "
                f"({signed(u.evidence)})"
                for u in row.units[:UNITS]
            )
            draw.caption(
                f"Units of {ctx.layer} that carry the evidence of {told.shown(row)} "
                f"({signed(row.evidence)} in all): {units}"
            )


def answered(
    ctx: Context,
    after: After,
    right: Any,
    beside: Any,
    words: str,
    told: Shown,
) -> None:
    """An edited photo and the answer to it, in two columns."""
    found = told.causes
    pair, photo = (found.answer, found.against), f"photo {found.image} ({found.split})"
    stem = f"{found.image}-{'edit' if 'after' in words else 'without'}"
    a, b = (plain_name(name) for name in pair)
    with right:
        draw.picture(after.photo, alt=f"The photo {words}")
        draw.caption(f"What the network saw: {words}.")
    with beside:
        still = "still " if after.answer == after.was else "now "
        st.markdown(
            f"It {still}predicts **{plain_name(after.answer)}**. The margin of {a} over {b} goes "
            f"from {signed(after.before)} to **{signed(after.margin)}**."
        )
        caption = Caption(ctx.facts.dataset, ctx.facts.model, "", words, photo)
        draw.chart(
            partial(figures.answers, after.shares, caption),
            f"answer-{stem}",
            "Bars: probabilities of the first classes, of the photo as it is and edited",
        )


# -- the scene edited -----------------------------------------------------------------------


def scene_edited(ctx: Context, network: Opened, told: Shown, image: int, image_id: str) -> None:
    """Photos of `rooms`: the scene changed and drawn again."""
    if not address.toggle(
        "editing",
        "Edit the scene, and draw it again",
        help="This world is drawn, so that its scenes can be changed: what was hidden appears, and "
        "shadows and light are right.",
    ):
        return
    try:
        with st.spinner("Building the scene …"):
            things, lights = ctx.ask(rooms.things, image), ctx.ask(rooms.lights, image)
    except UnitscopeError as err:
        st.warning(f"{sentence(err)}.", icon=":material/edit_off:")
        return
    edit = _edit()
    new = edit_row(things, lights, rooms.materials(), edit)
    if new is not None:
        address.put({"edit": json.dumps(new)})
        edit = new
    if not edit:
        draw.caption("Nothing is changed yet.")
        return
    st.code(json.dumps(edit), language="json", wrap_lines=True)
    pair = (told.causes.answer, told.causes.against)
    left, right, beside = st.columns([4, 4, 5], gap="medium")
    with left:
        draw.picture(
            ctx.picture(explain.regions_photo, image, (), 480),
            alt=f"Photo {image_id}",
        )
        draw.caption("The photo as it is.")
    try:
        with st.spinner("Drawing …"):
            after = ctx.ask(causes.redrawn, network, image, json.dumps(edit), pair)
    except UnitscopeError as err:
        with right:
            st.warning(f"{sentence(err)}.", icon=":material/edit_off:")
        return
    answered(ctx, after, right, beside, "drawn again after the edit", told)


def _edit() -> Json:
    """The edit that the address holds; none where it holds something else."""
    try:
        edit = json.loads(address.get("edit") or "{}")
    except ValueError:
        return {}
    return edit if isinstance(edit, dict) else {}


def edit_row(
    things: pd.DataFrame, lights: list[str], materials: list[str], edit: Json
) -> Json | None:
    """The row in which a change is chosen; the edit with it where its button was pressed.

    things, lights : of the scene. materials : that things can be drawn in.
    """
    with st.container(horizontal=True, vertical_alignment="bottom"):
        how = st.selectbox("Change", list(CHANGES), format_func=CHANGES.__getitem__, width=150)
        can = things[things["kept"] == ""] if how in ("without", "only", "move") else things
        can = can[can["solids"] > 0] if how in ("material", "color") else can
        labels = [f"{row.plane}:{row.name}" for row in can.itertuples(index=False)]
        new: Json = {**edit}
        if how == "camera":
            camera = _camera(edit)
            new = {name: value for name, value in edit.items() if name not in camera}
            new |= {name: value for name, value in camera.items() if value != STILL[name]}
        else:
            thing = st.selectbox(
                "What", lights if how == "light" else labels, format_func=_thing_name, width=220
            )
            if thing is None:
                draw.caption("There is nothing that could be changed so.")
                return None
            if how in ("without", "only"):
                new.pop("only" if how == "without" else "without", None)
                held = edit.get(how)
                named = held if isinstance(held, list) else []
                new[how] = list(dict.fromkeys([*named, thing]))
            else:
                held = edit.get(how)
                changed = held if isinstance(held, dict) else {}
                new[how] = {**changed, thing: _changed(how, materials)}
        metered = st.toggle(
            "Exposed anew",
            edit.get("exposure") == "metered",
            help="As a camera would meter the changed scene. Otherwise the exposure is held, so "
            "that what is not changed looks the same.",
        )
        new.pop("exposure", None)
        pressed = st.button("Draw it", type="primary", icon=":material/brush:")
        if st.button("As it was", icon=":material/restart_alt:"):
            return {}
    return new | ({"exposure": "metered"} if metered else {}) if pressed else None


def _changed(how: str, materials: list[str]) -> Any:
    """What a thing becomes, by one or three widgets."""
    if how == "material":
        return st.selectbox("becomes", materials, format_func=plain_name, width=170)
    if how == "color":
        return st.color_picker("Colour", "#cc2222")
    if how == "light":
        return st.number_input("Times as bright", 0.0, 10.0, 0.0, 0.5, width=150)
    return _metres("Metres right", (0.5, 0.0, 0.0))


def _camera(edit: Json) -> Json:
    """Where the camera stands and looks, begun with what the edit says of it."""
    first = 0.0 if set(STILL) & set(edit) else 10.0
    turn = st.number_input(
        "Turn right (degrees)",
        -180.0,
        180.0,
        _within(edit.get("turn"), first, -180.0, 180.0),
        5.0,
        width=160,
    )
    tilt = st.number_input(
        "Tilt up (degrees)",
        -88.0,
        88.0,
        _within(edit.get("tilt"), 0.0, -88.0, 88.0),
        5.0,
        width=140,
    )
    given = edit.get("step")
    step = given if isinstance(given, list) and len(given) == 3 else STILL["step"]
    metres = _metres("Step right (metres)", [_within(v, 0.0, -20.0, 20.0) for v in step])
    zoom = st.number_input(
        "Zoom", 0.2, 10.0, _within(edit.get("zoom"), 1.0, 0.2, 10.0), 0.1, width=110
    )
    return {"turn": turn, "tilt": tilt, "step": metres, "zoom": zoom}


def _metres(first: str, now: Sequence[float]) -> list[float]:
    """Three boxes for a way: right, ahead, up."""
    widths = (150, 110, 110)
    return [
        st.number_input(word, -20.0, 20.0, value, 0.25, width=width)
        for word, value, width in zip((first, "ahead", "up"), now, widths, strict=True)
    ]


def _within(value: Any, usual: float, least: float, most: float) -> float:
    """A number of an address, which may hold anything, as its box takes it."""
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        return usual
    return min(max(float(value), least), most)


def _thing_name(label: str) -> str:
    plane, _, name = label.rpartition(":")
    return f"{name} (part)" if plane == "part" else name


# -- what knowledge says --------------------------------------------------------------------


def by_knowledge(ctx: Context, known: Known, told: Shown) -> None:
    """Each cause by its standing towards the two scenes."""
    found = told.causes
    draw.subheader("What knowledge says of these causes")
    columns: list[draw.Side] = []
    tones = ("predicted", "target") if found.answer == found.predicted else ("", "")
    for side, first, tone in zip(found.sides, (True, False), tones, strict=True):
        columns.append(standing_side(told, side, first, tone))
    draw.ledger(columns, "standings")
    with st.container(horizontal=True):
        draw.explain(explanations.STANDINGS, "How to read this")
        draw.explain(explanations.CORE, "Core concepts")
    draw.caption(f"Core concepts: {found.core_kind.upper()} of {known.name}.")


def standing_side(told: Shown, side: SceneCore, first: bool, tone: str) -> draw.Side:
    """One scene as a column: causes by their standing towards it."""
    size = len(side.core)
    note = f"{size} core concept{'s' * (size != 1)}"
    if side.scene is None:
        note = "No scene of this dataset, so it has no core concepts here."
    elif not size:
        note = "No core concepts are known for it: try another kind of them above."
    groups: list[draw.Group] = []
    for standing in Standing:
        items: list[draw.Item] = []
        for row in told.causes.rows:
            if (row.standing_answer if first else row.standing_against) != standing:
                continue
            label = told.label(row)
            effect = row.effect if first else -row.effect
            items.append(
                {
                    "text": told.shown(row),
                    "href": address.here(without=label),
                    "hint": f"Remove {told.shown(row)}",
                    "current": label in address.get("without").split(BETWEEN),
                    "sub": f"{signed(effect)} for it" + (f"; {row.no_band}" if row.no_band else ""),
                }
            )
        if items:
            title = f"{standing.short.capitalize()}: {len(items)}"
            groups.append({"title": title, "mark": MARKS.get(standing, ""), "items": items})
    if side.absent:
        names = ", ".join(
            shown_name(one.name) + ("" if one.category == "object" else f" ({one.category})")
            for one in side.absent
        )
        title = f"Core, not annotated: {len(side.absent)} of {size}"
        groups.append({"title": title, "items": [{"text": names}]})
    return {"title": plain_name(side.name), "note": note, "tone": tone, "groups": groups}


def as_table(told: Shown, frame: pd.DataFrame, caption: Caption, image_id: str) -> None:
    """Causes as a table that can be exported, and the sum of the evidence."""
    found = told.causes
    a, b = plain_name(found.answer), plain_name(found.against)
    with st.expander("The causes, as a table"):
        view = pd.DataFrame(
            {
                "concept": frame["concept"],
                "effect": frame["effect"],
                "least": frame["least"],
                "most": frame["most"],
                "elsewhere from": frame["low"],
                "elsewhere to": frame["high"],
                "evidence": frame["evidence"],
                "area": frame["area"],
                "answer without it": [
                    plain_name(name) + (f" ({change})" if change else "")
                    for name, change in zip(frame["without"], frame["change"], strict=True)
                ],
                f"for {a}": frame["answer"],
                f"for {b}": frame["against"],
                "note": frame["note"],
            }
        )
        numbers = ("effect", "least", "most", "elsewhere from", "elsewhere to", "evidence")
        draw.table(
            view,
            f"causes-{image_id}-table",
            "Measured effect, regions elsewhere, evidence and standing of each concept",
            caption=" / ".join(caption.lines()),
            height=min(38 + 35 * len(view), 420),
            column_config={
                **{name: st.column_config.NumberColumn(format="%.3f") for name in numbers},
                "area": st.column_config.NumberColumn(format="percent"),
            },
        )
        for one in found.sums:
            total = one.concepts + one.rest + found.bias + found.beside
            draw.caption(
                f"Evidence adds up, by {plain_name(one.category)}s: {one.concepts:+.3f} from them, "
                f"{one.rest:+.3f} from the rest of the photo, {found.bias + found.beside:+.3f} "
                f"bias = {total:+.3f}; margin {found.margin:+.3f}."
            )


def signed(value: float) -> str:
    """A number with its sign, two digits.

    >>> signed(-0.5)
    '−0.50'
    """
    return f"{value:+.2f}".replace("-", "−")


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
