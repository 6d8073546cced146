"""The test of truth as a tab: how every attribution method fares against true effects."""

from __future__ import annotations

import streamlit as st

from core.figures import truth as figures
from core.figures.base import Caption
from core.foundation.errors import UnitscopeError
from core.views import truth
from core.views.runs import cache_root
from pages.parts import address, draw, measure
from pages.parts.frame import Context

HOW = """
Each dot is an attribution method, with its 95 % interval over photos; dashed lines are chance.
**Rank correlation**: importance against the true effect of each concept, within a photo.
**Top concept right**: the concept put first has the largest effect. **Deletion**: the answer
changes without it. **Preservation**: the answer stays without the less important half.
**Target sensitivity**: each of two scenes is given what truly sets it off.
**Distractibility**: what does nothing is given less than what does much (FunnyBirds’ protocols,
Hesse et al., ICCV 2023).
"""


def tab(ctx: Context) -> None:
    """Draw it for the run of the page; what to do where it was not found out yet."""
    found = truth.truths(ctx.run)  # not from the cache: it may be found out meanwhile
    if not found:
        draw.subheader("The attribution methods are not tested on this run yet")
        st.markdown(
            "Concepts are taken out of photos with wrong and with right answers, one by one, the "
            "network runs again, and what each method said of them is held against what happened: "
            "minutes to an hour. What is done is kept: stopped, it resumes."
        )
        start(ctx)
        return
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        name = address.select("tested", "Tested on", list(found))
    with right:
        every = address.toggle("variants", "All variants of the paper’s account")
    chosen = found[name]
    figure = address.select(
        "figure",
        "Figure",
        list(truth.NAMES),
        "rank",
        widget=st.segmented_control,
        format_func=truth.NAMES.get,
    )
    caption = Caption(
        ctx.facts.dataset, ctx.facts.model, ctx.layer, truth.truth_words(chosen.by), name
    )
    try:
        frame = truth.figures_of(chosen, figure, every)
    except UnitscopeError as err:
        st.info(f"{err}.", icon=":material/filter_alt_off:")
        return
    draw.chart(
        lambda dark: figures.methods(frame, figure, caption, dark),
        f"truth-{figure}",
        f"Dots with intervals: {truth.NAMES[figure].lower()} of every attribution method",
        HOW,
    )
    for kind, counted in chosen.photos.items():
        if counted:
            draw.subheader(figures.KINDS[kind].capitalize())
            draw.table(
                truth.table_of(chosen, kind, every),
                f"truth-{kind}",
                f"How true each attribution method is on {kind} answers",
                caption=f"How true is each attribution method, on {kind} answers",
            )
            for note in truth.notes_of(chosen, kind):
                draw.caption(note)
    asked = bool(address.get("by") or address.get("photos"))
    with st.expander("Test it otherwise", expanded=asked, icon=":material/tune:"):
        start(ctx)


def start(ctx: Context) -> None:
    """How it is tested, and its start for owners."""
    ways = truth.ways(ctx.run)
    usual = next(iter(ways))
    left, right = st.columns([3, 2], vertical_alignment="bottom")
    with left:
        by = address.select(
            "by",
            "A concept is taken out by",
            list(ways),
            usual,
            format_func=lambda way: f"{way}: {ways[way]}",
        )
    with right:
        photos = address.amount("photos", "Wrong and right answers, at most", truth.MOST, 1, 10_000)
    root = cache_root()
    asked = truth.arguments(ctx.run, root, ctx.layer, "" if by == usual else by, photos)
    measure.offer(asked, root, truth.STEPS, "truth", "Test the methods")
