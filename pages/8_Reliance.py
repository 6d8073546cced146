"""What scenes rest on: concepts that carry answers, shortcuts, mistakes by cause, trust."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pandas as pd
import streamlit as st

from core.figures import reliance as figures
from core.figures.base import Caption
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.foundation.vocabulary import Core
from core.views import runs as run_views
from core.views.knowledge import Known
from core.views.pictures import thumbnail
from core.views.reliance import STEPS, Wanted, spoken_pulls, spoken_rows
from core.views.runs import cache_root
from pages.parts import address, draw, explanations, graph, measure, truth
from pages.parts.cache import Deferred
from pages.parts.frame import Context, page, sentence, stop, unanswered

if TYPE_CHECKING:
    from core.views import reliance
else:
    reliance = Deferred("reliance")

VIEWS = {
    "reliance": "Reliance",
    "shortcuts": "Shortcuts",
    "mistakes": "Mistakes",
    "failure": "Failure prediction",
    "truth": "Test of truth",
}
CORE = Core.longs(first=Core.SCC)
MARGINS = {
    "others": "the scene over the mean of all others",
    "rival": "the scene over its strongest rival",
}
TILES = 12
NUMBERS = {
    **{
        name: st.column_config.NumberColumn(format="%+.2f")
        for name in (
            "net effect (logits)",
            "pull (logits)",
            "from",
            "to",
            "on other scenes",
            "evidence (logits)",
            "margin (logits)",
        )
    },
    **{
        name: st.column_config.NumberColumn(format="percent")
        for name in ("share of the lead", "error rate", "expected", "share of the scene")
    },
    **{name: st.column_config.NumberColumn(format="%.2g") for name in ("q", "p")},
}


# -- what is asked, and whether it is there ---------------------------------------------------


def settings(ctx: Context) -> tuple[str, Wanted]:
    """(kind of core concepts, effects that are asked for), kept in the address."""
    splits = list(ctx.ask(run_views.splits))
    left, right = st.columns([2, 3], vertical_alignment="bottom")
    with left:
        usual = "test" if "test" in splits else splits[0]
        split = address.select("split", "Photos", splits, usual, format_func=plain_name)
    with right:
        kind = address.select("cc", "Core concepts", list(CORE), "scc", format_func=CORE.get)
    plain = reliance.usual(split)
    with st.expander("How it is measured", icon=":material/tune:"):
        known = reliance.fillings()
        chosen = address.several(
            "fillings",
            "A concept is removed by",
            list(known),
            default=plain.fillings,
            format_func=known.get,
        )
        controls = address.slider(
            "controls", "Regions of its shape elsewhere, as a control", 1, 8, plain.controls
        )
    return kind, Wanted(split, tuple(chosen), controls)


def missing(ctx: Context, wanted: Wanted, state: reliance.State) -> None:
    """Nothing to show yet: what it costs, the start, how far it is."""
    draw.subheader("The effects are not measured yet")
    left = state.total - state.done
    st.markdown(
        f"Every annotated concept of {left:,} photos is removed in turn, and so are regions of "
        f"its shape elsewhere, and the network runs again on each: about "
        f"**{state.passes:,} forward passes**. How long they take is said once they have begun. "
        "What is done is kept: stopped, it resumes."
    )
    offer(ctx, "reliance", wanted)


def offer(ctx: Context, verb: str, wanted: Wanted, options: tuple[str, ...] = ()) -> None:
    """The start of a job for owners, how far it is, and its command line."""
    root = cache_root()
    asked = reliance.arguments(verb, ctx.run, root, wanted, ctx.layer, options)
    measure.offer(asked, root, STEPS, verb)


def about(ctx: Context, known: Known, kind: str, wanted: Wanted) -> Caption:
    """What a figure here was measured on."""
    return Caption(
        ctx.facts.dataset,
        ctx.facts.model,
        "",
        f"filled by {', '.join(wanted.fillings)}, {wanted.controls} regions elsewhere, "
        f"{Core.of(kind).short} of {known.name}",
        f"split {wanted.split}",
    )


# -- reliance -------------------------------------------------------------------------------


def show_reliance(ctx: Context, known: Known, kind: str, wanted: Wanted) -> None:
    """What one scene rests on, or all of them."""
    margin = address.select(
        "margin", "Measured on", list(MARGINS), "others", format_func=MARGINS.get
    )
    found = ctx.ask(reliance.reliance_of, known, kind, wanted, ctx.layer, margin)
    scenes = sorted(found.leads.index)
    names = {"": "all scenes", **{name: plain_name(name) for name in scenes}}
    scene = address.select(
        "scene", "Scene", list(names), "", drop=("concept",), format_func=names.get
    )
    caption = about(ctx, known, kind, wanted)
    rows = found.rows if not scene else found.rows[found.rows["scene"] == scene]
    if rows.empty:
        st.info(
            f"No concept is shown by {found.least} photos or more that have a region elsewhere.",
            icon=":material/filter_alt_off:",
        )
        return
    counts = rows["standing"].astype(str).value_counts()
    st.markdown(
        f"**{counts.get('relied on and core', 0)}** relied on and core · "
        f"**{counts.get('relied on though not core', 0)}** relied on though not core · "
        f"**{counts.get('core but ignored', 0)}** core but ignored, of {len(rows)} pairs of a "
        f"scene and a concept that {found.least} photos or more show."
    )
    if scene:
        draw.chart(
            lambda dark: figures.scene(rows, f"What {plain_name(scene)} rests on", caption, dark),
            f"reliance-{plain_name(scene).replace(' ', '-')}",
            f"Effect of each concept in photos of {plain_name(scene)}, with intervals",
            explanations.RELIANCE,
        )
    else:
        draw.chart(
            lambda dark: figures.every(rows, caption, dark),
            "reliance",
            "Share of each scene's lead that goes with each concept",
            explanations.RELIANCE,
        )
    rows = rows.sort_values("share", ascending=False, ignore_index=True)
    choose_row(rows, spoken_rows(rows, not scene), "reliance-rows", caption)
    photos(ctx, wanted, rows, pull=False)


def choose_row(rows: pd.DataFrame, table: pd.DataFrame, name: str, caption: Caption) -> None:
    """A table whose rows open photos."""

    def chosen(place: int | None) -> None:
        if place is None:
            address.put({"concept": "", "of": ""})
        else:
            row = rows.iloc[place]
            address.put({"concept": str(row["concept"]), "of": str(row["scene"])})

    draw.table(
        table,
        name,
        "Concepts with effect, interval and standing",
        caption=" / ".join(caption.lines()),
        picked=chosen,
        height=min(38 + 35 * len(table), 420),
        column_config=NUMBERS,
    )
    draw.caption("Choose a row for its photos.")


def photos(ctx: Context, wanted: Wanted, rows: pd.DataFrame, pull: bool) -> None:
    """Photos of the chosen row, those with the largest effect first, each opening its account."""
    number, scene = address.number("concept", -1), address.get("of")
    here = rows[(rows["concept"] == number) & (rows["scene"] == scene)]
    if here.empty or not ctx.facts.photos:
        return
    name = str(here["name"].iloc[0])
    frame = ctx.ask(reliance.photos_of, wanted, ctx.layer, scene, number, pull)
    st.markdown(
        f"**{len(frame):,} photos with {name}**, those first in which {plain_name(scene)} loses "
        "most without it"
    )
    tiles: list[draw.Tile] = [
        {
            "src": ctx.picture(thumbnail, int(row.image), 200),
            "title": f"{row.net:+.2f} logits" if row.net == row.net else "no control",
            "sub": f"{plain_name(row.scene)}, answered {plain_name(row.answer)}",
            "mark": "right" if row.right else "wrong",
            "alt": f"Photo {row.id} of {plain_name(row.scene)} with {name}",
            "href": "Explain" + address.query(address.kept(image=row.id)),
        }
        for row in frame.head(TILES).itertuples()
    ]
    draw.gallery(tiles, "reliance-photos", tile=140)


# -- shortcuts ------------------------------------------------------------------------------


def show_shortcuts(ctx: Context, known: Known, kind: str, wanted: Wanted) -> None:
    """Concepts that pull photos of any scene towards one to which they are not core."""
    found = ctx.ask(reliance.reliance_of, known, kind, wanted, ctx.layer, "others")
    frame = found.shortcuts()
    pairs = int((~found.pulls["core"]).sum())
    st.markdown(
        f"**{len(frame)} of {pairs:,} pairs** of a scene and a concept that is not core to it look "
        f"like shortcuts: over all photos that show the concept, whatever their scene, it pulls "
        f"towards the scene by more than {found.worth:.0%} of the scene’s lead, and photos of "
        f"other scenes too. Of pairs so listed, one in {1 / found.level:.0f} at most is expected "
        "to be so by luck."
    )
    if frame.empty:
        draw.caption("None was found. That says nothing of concepts that are not annotated.")
        return
    caption = about(ctx, known, kind, wanted)
    choose_row(frame, spoken_pulls(frame), "shortcuts", caption)
    draw.explain(explanations.SHORTCUTS)
    photos(ctx, wanted, frame, pull=True)


# -- mistakes -------------------------------------------------------------------------------


def show_mistakes(ctx: Context, known: Known, kind: str, wanted: Wanted) -> None:
    """Wrong answers by kind, photos of each, slices that go wrong more often."""
    found = ctx.ask(reliance.mistakes_of, known, kind, wanted, ctx.layer)
    if found.errors.empty:
        st.success("No answer on these photos is wrong.", icon=":material/check_circle:")
        return
    caption = about(ctx, known, kind, wanted)
    st.markdown(
        f"**{len(found.errors)} of {found.photos:,} answers are wrong.** Removing one concept "
        f"corrects {found.mended} of them while its control does not; in {found.placebo} it is the "
        "control that corrects, and not the concept: so much of it is luck."
    )
    draw.chart(
        lambda dark: figures.kinds(found.counts, caption, dark),
        "mistakes",
        "Share of wrong answers of each kind, with intervals",
        explanations.MISTAKES,
    )
    kinds = [str(k) for k, n in zip(found.counts["kind"], found.counts["errors"], strict=True) if n]
    chosen = address.select("kind", "Photos of", kinds, kinds[0], widget=st.segmented_control)
    part = found.errors[found.errors["kind"].astype(str) == chosen]
    part = part.sort_values("margin", ascending=False)
    tiles: list[draw.Tile] = (
        [
            {
                "src": ctx.picture(thumbnail, int(row.image), 200),
                "title": f"{plain_name(row.scene)} → {plain_name(row.answer)}",
                "sub": ", ".join(row.concepts[:3]) or row.why,
                "mark": "wrong",
                "alt": f"Photo {row.id} of {plain_name(row.scene)}: {row.why}",
                "href": "Explain" + address.query(address.kept(image=row.id)),
            }
            for row in part.head(TILES).itertuples()
        ]
        if ctx.facts.photos
        else []
    )
    if tiles:
        draw.gallery(tiles, "mistakes-photos", tile=140)
    with st.expander(f"All {len(part):,}"):
        draw.table(
            pd.DataFrame(
                {
                    "photo": part["id"],
                    "scene": [plain_name(s) for s in part["scene"]],
                    "answer": [plain_name(s) for s in part["answer"]],
                    "margin (logits)": part["margin"],
                    "concepts": [", ".join(c) for c in part["concepts"]],
                    "why": part["why"],
                }
            ),
            "mistakes-rows",
            "Wrong answers of this kind",
            caption=" / ".join(caption.lines()),
            column_config=NUMBERS,
        )
    slices(found.slices, found.pairs, caption)
    label_check(ctx, wanted)


def label_check(ctx: Context, wanted: Wanted) -> None:
    """How far suspected labels can be trusted; last, as it fits classifiers many times."""
    flips = ctx.ask(reliance.flips_of, wanted, ctx.layer)
    if not isinstance(flips, str):
        both = flips[-1]
        draw.caption(
            f"How far suspected labels can be trusted: {both.suspected} of {both.labels} labels "
            f"are suspected as they are ({flips[0].suspected} by the features alone). With "
            f"{both.flipped} of them made wrong at random, {both.recall[0]:.0%} of those are "
            f"found, and {both.precision[0]:.0%} of all that is suspected then is one of them."
        )


def slices(frame: pd.DataFrame, pairs: pd.DataFrame, caption: Caption) -> None:
    """Groups of photos that go wrong more often, and pairs of scenes."""
    draw.subheader("Slices")
    sure = int((frame["q"] <= 0.05).sum())
    st.markdown(
        f"Photos with a concept against photos of the same scene without it: in **{sure} of "
        f"{len(frame):,}** slices the error rate differs by more than luck (q ≤ 0.05)."
    )
    if len(frame):
        draw.table(
            pd.DataFrame(
                {
                    "scene": [plain_name(s) or "all scenes" for s in frame["scene"]],
                    "with": frame["name"],
                    "wrong": frame["wrong"],
                    "photos": frame["photos"],
                    "error rate": frame["rate"],
                    "expected": frame["expected"],
                    "p": frame["p"],
                    "q": frame["q"],
                }
            ),
            "slices",
            "Error rates of photos with a concept, against those without",
            explanations.SLICES,
            caption=" / ".join(caption.lines()),
            height=320,
            column_config=NUMBERS,
        )
    if len(pairs):
        st.markdown("**Pairs of scenes**")
        draw.table(
            pd.DataFrame(
                {
                    "scene": [plain_name(s) for s in pairs["scene"]],
                    "answer": [plain_name(s) for s in pairs["answer"]],
                    "wrong": pairs["errors"],
                    "share of the scene": pairs["share"],
                    **{k: pairs[k] for k in pairs.columns[7:]},
                }
            ),
            "pairs",
            "Pairs of scenes that wrong answers share, by kind",
            caption=" / ".join(caption.lines()),
            column_config=NUMBERS,
        )


# -- failure prediction -----------------------------------------------------------------------


def show_failure(ctx: Context, known: Known, kind: str, wanted: Wanted) -> None:
    """How well what an answer rests on tells whether it is wrong."""
    rest = [name for name in ctx.ask(run_views.splits) if name != wanted.split]
    if not rest:
        st.info(
            "The photos of this run are of one split. This needs two: one to fit on, one to judge "
            "on.",
            icon=":material/call_split:",
        )
        return
    fit = address.select(
        "fit",
        "Fitted on",
        rest,
        "val" if "val" in rest else rest[0],
        format_func=plain_name,
    )
    other = Wanted(fit, wanted.fillings, wanted.controls)
    whole = reliance.state(ctx.run, other, ctx.layer).whole
    try:
        found = reliance.failure_of(ctx.run, known, kind, wanted, fit, ctx.layer) if whole else None
    except UnitscopeError as err:
        st.info(f"{sentence(err)}.", icon=":material/filter_alt_off:")
        return
    if found is None:
        draw.subheader("Not computed yet")
        st.markdown(
            f"Effects of split {plain_name(fit)} are measured too, and the evidence for every "
            "answer is found. What is done is kept."
        )
        offer(ctx, "failure", wanted, ("--fit", fit))
        return
    st.markdown(found.sentence())
    caption = about(ctx, known, kind, wanted)
    draw.chart(
        lambda dark: figures.trust(found.scores, caption, dark),
        "failure",
        "AUROC of each score for telling wrong answers, with intervals",
        explanations.FAILURE,
    )
    lines = [
        f"- Share of **{row.share}** on core concepts of the answer: {row.right:.2f} "
        f"[{row.right_low:.2f}, {row.right_high:.2f}] on right answers, {row.wrong:.2f} "
        f"[{row.wrong_low:.2f}, {row.wrong_high:.2f}] on wrong ones."
        for row in found.shares.itertuples()
    ]
    st.markdown("\n".join(lines))
    draw.caption(
        f"Fitted on {plain_name(found.fitted)}, judged on {found.n:,} photos of "
        f"{plain_name(found.judged)}, {found.wrong} of them answered wrong. All shares need the "
        "photo’s masks."
    )


# -- the page -------------------------------------------------------------------------------

ctx = page("Reliance")
st.title("What scenes rest on")
st.html(
    '<p class="lede">Each concept is taken out of each photo, and the network is asked again. What '
    "it loses tells what its answers rest on; the knowledge graph tells what they should.</p>"
)
if not ctx.layer:
    stop(
        "This run was made from published predictions, without photos and without the network: "
        "nothing can be removed.",
        {"See how often they are right": address.kept()},
    )
if unanswered(ctx.run, "what an answer rests on"):
    st.stop()
view = address.select(
    "view",
    "What to show",
    list(VIEWS),
    "reliance",
    drop=("concept", "of", "kind"),
    widget=st.segmented_control,
    format_func=VIEWS.get,
    label_visibility="collapsed",
)
if view == "truth":
    truth.tab(ctx)
    st.stop()
known = graph.chosen(ctx, "Reliance")
DRAWS: dict[str, Callable[[Context, Known, str, Wanted], None]] = {
    "reliance": show_reliance,
    "shortcuts": show_shortcuts,
    "mistakes": show_mistakes,
    "failure": show_failure,
}
kind, wanted = settings(ctx)
now = reliance.state(ctx.run, wanted, ctx.layer)
if not now.whole:
    missing(ctx, wanted, now)
    st.stop()
try:
    DRAWS[view](ctx, known, kind, wanted)
except UnitscopeError as err:
    st.info(f"{sentence(err)}.", icon=":material/filter_alt_off:")
