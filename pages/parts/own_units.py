"""Units on a photo of one's own: which of them carry the answer, and the answer without some."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import TYPE_CHECKING

import streamlit as st

from core.figures import explain as figures
from core.figures.base import Caption
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.foundation.settings import CHOOSING, chosen_on, judged_on
from core.foundation.vocabulary import Core, Sign
from core.views import runs as run_views
from core.views.pictures import unit_photo
from core.views.units import unit_images
from pages.parts import address, clicks, draw, explanations, sets
from pages.parts.cache import Deferred, contribution, opened
from pages.parts.causes import signed
from pages.parts.frame import Context, sentence

if TYPE_CHECKING:
    from core.attribution.case import Input
    from core.views import causes, disable
    from core.views.causes import ByUnit
    from core.views.knowledge import Known
else:
    causes, disable = Deferred("causes"), Deferred("disable")

PARAMETERS = ("of", "against", "way", "k", "off")
"""Parameters of the address that are of one photo, or of one layer's units."""

STRIPS, PHOTOS = 3, 4
"""Units of either sign whose usual photos are shown, and photos of each."""

MOST = 50
"""Units that are disabled at once by a rank."""

WAYS = {
    "hand": "Chosen units",
    "negative": "Negative units",
    "for": "Units that carry it",
    "against": "Units against it",
}


@st.fragment
def section(ctx: Context, known: Known, data: bytes, name: str, kind: str) -> None:
    """The evidence for the answer by unit, and units disabled on this one photo."""
    draw.subheader("Units that carry the prediction")
    try:
        photo = shown_to(ctx, data, name)
        found = asked(ctx, photo)
    except UnitscopeError as err:
        st.info(
            f"Which units carry the prediction cannot be told: {sentence(err)}.",
            icon=":material/visibility_off:",
        )
        return
    a, b = plain_name(found.answer), plain_name(found.against)
    st.markdown(summed(found, a, b))
    off, _ = disabled_units(ctx, known, found, kind, drawn=False)
    caption = Caption(
        ctx.facts.dataset, ctx.facts.model, ctx.layer, f"evidence: {found.kind}", name
    )
    draw.chart(
        partial(figures.unit_evidence, found.units, found.answer, found.against, caption),
        "own-units",
        f"Bars: evidence of each unit for {a} over {b}",
        explanations.BY_UNIT,
        clicks.watched("own-units", "unit", partial(turned, off)),
    )
    draw.caption("Click a row to disable its unit, below; click it again to have it back.")
    strips(ctx, found, a, b)
    draw.subheader("Disable units on this photo")
    off, words = disabled_units(ctx, known, found, kind)
    if not off:
        draw.caption("No unit is disabled yet.")
        return
    try:
        after = causes.disabled(photo, off, (found.answer, found.against))
    except UnitscopeError as err:
        st.warning(f"{sentence(err)}.", icon=":material/toggle_off:")
        return
    still = "still" if after.answer == after.was else "now"
    lost = float(found.units.set_index("unit")["evidence"].loc[list(off)].sum())
    exact = "exactly what is lost" if found.exact else f"by {found.kind}"
    st.markdown(
        f"With {sets.count_words(len(off))} disabled ({words}) it {still} predicts "
        f"**{plain_name(after.answer)}**. The margin of {a} over {b} goes from "
        f"{signed(after.before)} to **{signed(after.margin)}**; the evidence of these units is "
        f"{signed(lost)}, {exact}."
    )
    draw.chart(
        partial(
            figures.answers,
            after.shares,
            Caption(ctx.facts.dataset, ctx.facts.model, ctx.layer, words, name),
            kinds=figures.DISABLED,
        ),
        "own-disabled",
        "Bars: probabilities of the first classes, with all units and with some disabled",
        explanations.PREDICTION,
    )
    draw.caption(
        "What is right for this photo is not known here: what disabling does to the accuracy is "
        "on the page Disable."
    )


def shown_to(ctx: Context, data: bytes, name: str) -> Input:
    """The photo before the network, held for this visitor until the next one and nowhere else."""
    network = opened(ctx.run, ctx.layer)
    key = (sha256(data).hexdigest(), ctx.run.digest, ctx.layer)
    held = st.session_state.get("own-input")
    if held is None or held[0] != key:
        held = st.session_state["own-input"] = (key, causes.seen_by(network, data, name))
    found: Input = held[1]
    return found


def asked(ctx: Context, photo: Input) -> ByUnit:
    """The row of choices, and the evidence by unit for them."""
    classes = ["", *photo.opened.classes]
    left, right = st.columns(2)
    with left:
        of = address.select(
            "of",
            "What speaks for",
            classes,
            format_func=lambda one: plain_name(one) if one else "the network’s prediction",
        )
    with right:
        against = address.select(
            "against",
            "and against",
            classes,
            format_func=lambda one: plain_name(one) if one else "the runner-up",
        )
    return causes.by_unit(ctx.run, photo, (of, against), ctx.denominator)


def summed(found: ByUnit, a: str, b: str) -> str:
    """The sum in words."""
    total = float(found.units["evidence"].sum())
    bias = found.bias + found.beside
    text = (
        f"The margin of **{a}** over **{b}** is **{signed(found.margin)}**: "
        f"{signed(total)} from {len(found.units)} units and {signed(bias)} bias"
    )
    if found.exact:
        return f"{text}. The sum is exact, as one linear layer reads the means of the units’ maps."
    return f"{text}, by {found.kind}; {signed(found.gap)} is not accounted for."


def strips(ctx: Context, found: ByUnit, a: str, b: str) -> None:
    """The first units of either sign, each with the photos of the run in which it peaks highest."""
    labels = found.units.set_index("unit")
    for column, sign, who in zip(st.columns(2, gap="large"), (1, -1), (a, b), strict=True):
        with column:
            units = found.top(STRIPS, sign)
            st.markdown(f"**For {who}**" if units else f"No unit speaks for {who}.")
            for unit in units:
                row = labels.loc[unit]
                label = f" {row['label']}" if row["label"] else ""
                href = "Units" + address.query(address.kept(unit=str(unit)))
                st.markdown(f"[unit {unit}]({href}){label}, {signed(float(row['evidence']))}")
                images = ctx.ask(unit_images, ctx.layer, unit, None, PHOTOS)["image"]
                tiles: list[draw.Tile] = [
                    {
                        "src": ctx.picture(unit_photo, ctx.layer, unit, int(image), 160),
                        "alt": f"Photo of the run, bright where unit {unit}{label} is active",
                        "href": href,
                    }
                    for image in images
                ]
                draw.gallery(tiles, f"strip-{unit}", tile=76)
    draw.caption(
        "These are photos of the run, not yours: those in which each unit peaks highest. A label "
        "is what a unit overlaps best there, and need not be in your photo; with a question mark "
        "chance reaches it."
    )


# -- units disabled -------------------------------------------------------------------------


def off_by_hand(found: ByUnit) -> tuple[int, ...]:
    """The units that the address says are disabled; none where it says something else."""
    try:
        return tuple(disable.parse_units(address.get("off"), len(found.units)))
    except UnitscopeError:
        return ()


def turned(off: Sequence[int], rows: Sequence[str]) -> None:
    """Disable units that are not disabled, and have those back that are."""
    now = set(off) ^ {int(row) for row in rows}
    address.put({"off": sets.written(sorted(now)), "way": ""})


def disabled_units(
    ctx: Context, known: Known, found: ByUnit, kind: str, drawn: bool = True
) -> tuple[tuple[int, ...], str]:
    """Units to disable, and how they were chosen; with the widgets that choose them where
    `drawn`."""
    way = address.get("way") if address.get("way") in WAYS else "hand"
    if drawn:
        way = address.select(
            "way",
            "Which units",
            list(WAYS),
            "hand",
            widget=st.segmented_control,
            wrap=True,
            format_func=WAYS.get,
        )
    if way == "hand":
        if drawn:
            by_hand(found)
        return off_by_hand(found), "chosen by hand"
    units, words = ranked(ctx, known, found, way, kind)
    if not units:
        if drawn:
            draw.caption(words)
        return (), ""
    most = min(MOST, len(units))
    usual = min(CHOOSING.k, most)
    count = min(max(address.number("k", usual), 1), most)
    if drawn and most > 1:
        count = address.slider("k", f"k (of {len(units)})", 1, most, usual, width=320)
    return tuple(units[:count]), words


def by_hand(found: ByUnit) -> None:
    """Any units, by number or by label, those of the most evidence first."""
    names = {int(row.unit): f"{row.unit} {row.label}".strip() for row in found.units.itertuples()}
    bound = address.bind("off", list(off_by_hand(found)), sets.written)
    st.multiselect(
        "Units disabled, by number or by label",
        list(names),
        format_func=names.__getitem__,
        placeholder="Type a number or a word, such as wall",
        **bound,
    )


def ranked(ctx: Context, known: Known, found: ByUnit, way: str, kind: str) -> tuple[list[int], str]:
    """(units of a way, the first to disable first; what they are), or (none, why)."""
    a = plain_name(found.answer)
    if way != "negative":
        sign = 1 if way == "for" else -1
        units = found.top(len(found.units), sign)
        side = "for" if sign > 0 else "against"
        return units, f"of the most evidence {side} {a}" if units else f"No unit speaks {side} {a}."
    if found.scene is None:
        return [], f"{a.capitalize()} is no scene of this dataset, so no unit has a score for it."
    splits = ctx.ask(run_views.splits)
    scores = contribution(
        ctx.run,
        known,
        ctx.layer,
        CHOOSING.strategy,
        CHOOSING.iou,
        kind,
        CHOOSING.over,
        chosen_on(splits, judged_on(splits)),
    )
    if not scores.has_core[scores.scene(found.scene)]:
        return [], (
            f"{a.capitalize()} has no core concepts of this kind, so no unit has a score for it: "
            "choose Top 10 above."
        )
    frame = ctx.ask(disable.ranking, scores, found.scene, Sign.NEGATIVE.value, ctx.denominator)
    if frame.empty:
        return [], f"No unit has a score below 0 for {a}."
    return [int(unit) for unit in frame["unit"]], (
        f"{Sign.NEGATIVE.short} units of {a}, {Core.of(kind).short}"
    )
