"""Labels of every method with their scores: of one unit, and the methods compared."""

from __future__ import annotations

from functools import partial

import pandas as pd
import streamlit as st

from core.figures import labels as figures
from core.figures.base import Caption
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.labelling.judged import Bench
from core.views import benches
from core.views.runs import cache_root
from pages.parts import access, address, draw, measure
from pages.parts.frame import Context, sentence

HOW = """
Labels are learned from one split and scored on another. **Simulation**: the correlation, over
photos or over the cells of the unit’s map, between what the label predicts and the unit’s
activation; the tick is the same with the masks of another photo. **Causal score**: how much more
the unit loses when the named concept is taken out of a photo than when as much of something else
is, in standard deviations of its activation. A label can predict a unit well and be no cause of
it: things that go together in photos are distinguished only by removing one.
"""

NUMBER = st.column_config.NumberColumn


def not_yet(ctx: Context, key: str) -> None:
    """What it takes to have the scores, and the start."""
    # No alert: nothing is wrong with the page.
    draw.caption(
        "The labelling methods have not been compared on this layer yet. Labels are learned from "
        "the training split and scored on the test split; concepts are taken out of up to 150 "
        "photos for the causal score. That takes minutes, and a stopped job is resumed."
    )
    asked = benches.arguments(ctx.run, cache_root(), ctx.layer)
    measure.offer(asked, cache_root(), benches.STEPS, key, "Compare the methods")


def caption(ctx: Context, bench: Bench) -> Caption:
    """What the scores were measured on."""
    asked = bench.asked
    learned = f"learned from {', '.join(asked.learned_from)} ({asked.learned} photos)"
    if asked.by:
        learned += f", concepts taken out of {asked.removals} photos by {asked.by}"
    judged = f"judged by {', '.join(asked.judged_by)} ({asked.photos})"
    return Caption(ctx.facts.dataset, ctx.facts.model, asked.layer, learned, judged)


def of_unit(ctx: Context, unit: int) -> bool:
    """Every method's label of a unit, with both scores on held-out photos; False where the methods
    have not been compared."""
    draw.subheader("Labels by every method, on photos they were not learned from")
    bench = benches.latest(ctx.run, ctx.layer)
    if bench is None:
        not_yet(ctx, "unit-labels")
        return False
    rows = benches.unit_rows(bench, unit)
    if rows.empty:
        draw.caption("No method gives this unit a label.")
        return True
    draw.table(
        rows.rename(
            columns={
                "image": "simulation",
                "image interval": "95 %",
                "causal": "causal score",
                "causal interval": "95 % ",
            }
        ).drop(columns="concepts"),
        f"unit-{unit}-bench",
        f"Labels of unit {unit} by {len(rows)} methods, with simulation and causal score",
        HOW,
        caption=" / ".join(caption(ctx, bench).lines()),
        column_config={
            "label": st.column_config.TextColumn(width="large"),
            "simulation": NUMBER(format="%.2f"),
            "p-value": NUMBER(format="%.3f"),
        },
    )
    draw.caption(sentence(bench.asked.words) + ".")
    names = dict.fromkeys(name for concepts in rows["concepts"] for name in concepts)
    links = [
        f"[{plain_name(name)}](Units{address.query(address.kept(find=name))})"
        for name in list(names)[:12]
    ]
    if links:
        st.markdown("Units of any method that have to do with " + " · ".join(links))
    notes(bench)
    return True


def search(ctx: Context) -> None:
    """Units of any method that have to do with a concept."""
    bench = benches.latest(ctx.run, ctx.layer)
    if bench is None:
        return
    text = address.text(
        "says",
        "Units of any method that have to do with …",
        placeholder="bed",
        icon=":material/search:",
    )
    if not text:
        return
    try:
        rows = benches.found_rows(bench, text)
    except UnitscopeError as err:
        near(ctx, bench, text, err)
        return
    units = rows["unit"].nunique()
    st.markdown(
        f"**{units}** {'unit has' if units == 1 else 'units have'} to do with *{text}* by some "
        f"method. Place 1: the label begins with it."
    )

    def picked(row: int | None) -> None:
        if row is not None:
            address.put({"unit": str(rows["unit"].iloc[row])})

    draw.table(
        rows.rename(columns={"image": "simulation", "causal": "causal score"}),
        "units-found",
        f"Units whose label by some method has to do with {text}",
        caption=" / ".join(caption(ctx, bench).lines()),
        picked=picked,
        column_config={
            "label": st.column_config.TextColumn(width="large"),
            "simulation": NUMBER(format="%.2f"),
        },
    )


def near(ctx: Context, bench: Bench, text: str, no_word: UnitscopeError) -> None:
    """Units whose labels are nearest to a text that no label holds, where an encoder was named."""
    spec = benches.encoder_of(bench)
    # A file beside a run may be a stranger's: another SPEC than this one names files to be read.
    if spec != "conse" and not (spec and access.may_change()):
        st.info(f"{sentence(no_word)}.", icon=":material/search_off:")
        return
    try:
        with st.spinner("Comparing labels with the text"):
            rows = benches.near_rows(ctx.run, bench, text)
    except UnitscopeError as err:
        st.info(f"{sentence(no_word)}. {sentence(err)}.", icon=":material/search_off:")
        return
    st.markdown(
        f"No label says *{text}*. Nearest by the encoder `{spec}` (the cosine of their features):"
    )

    def picked(row: int | None) -> None:
        if row is not None:
            address.put({"unit": str(rows["unit"].iloc[row])})

    draw.table(
        rows.rename(
            columns={
                "near": "cosine",
                "name": "nearest name",
                "image": "simulation",
                "causal": "causal score",
            }
        ),
        "units-near",
        f"Units whose labels are nearest to {text}",
        caption=" / ".join(caption(ctx, bench).lines()),
        picked=picked,
        column_config={
            "label": st.column_config.TextColumn(width="large"),
            "cosine": NUMBER(format="%.2f"),
            "simulation": NUMBER(format="%.2f"),
        },
    )


def compared(ctx: Context, sides: dict[str, Bench]) -> None:
    """How true the labels of each method are, on one layer or several."""
    score = address.select(
        "score",
        "Score",
        list(benches.NAMES),
        "image",
        widget=st.segmented_control,
        format_func=benches.NAMES.get,
    )
    rows = benches.score_rows(sides, score)
    if rows.empty:
        st.info("This score was not measured: the labels were compared with `--by none`.")
        return
    first = next(iter(sides.values()))
    about = caption(ctx, first)
    if len(sides) > 1:
        about = Caption(
            ", ".join(sides), "", "", "labels learned from train, judged on held-out photos", ""
        )
    draw.chart(
        lambda dark: figures.methods(rows, benches.AXES[score], about, dark),
        f"labels-{score}",
        f"Dots with intervals: {benches.NAMES[score].lower()} of every labelling method",
        HOW,
    )
    for name, bench in sides.items():
        if len(sides) > 1:
            draw.subheader(name)
        table(ctx, bench)
        same = benches.same_rows(bench)
        if same["one"].nunique() > 1:
            with st.expander("How often two methods agree", icon=":material/grid_on:"):
                where = caption(ctx, bench) if len(sides) == 1 else Caption(name, "", "", "", "")
                draw.chart(
                    partial(figures.agreement, same, where),
                    f"labels-same-{bench.asked.layer}-{name}",
                    "Share of units whose labels by two methods begin with the same concept",
                )
        notes(bench)


def table(ctx: Context, bench: Bench) -> None:
    """The scores of all methods as a table."""
    rows = bench.table

    def spans(score: str) -> list[str]:
        return [
            "–" if pd.isna(v) else f"{v:.3f} ({low:.3f} to {high:.3f})"
            for v, low, high in zip(
                rows[score], rows[f"{score}_low"], rows[f"{score}_high"], strict=True
            )
        ]

    draw.table(
        pd.DataFrame(
            {
                "method": rows["title"],
                "units": rows["units"],
                "simulation": spans("image"),
                "exchanged masks": rows["exchanged"],
                "over NetDissect’s": rows["times"],
                "over cells": spans("cell"),
                "causal score": spans("causal"),
                "units judged": rows["judged"],
                "what it is": rows["about"],
            }
        ),
        f"labels-table-{bench.asked.layer}",
        "Scores of every labelling method with 95 % intervals",
        caption=" / ".join(caption(ctx, bench).lines()),
        column_config={
            "exchanged masks": NUMBER(format="%.3f"),
            "over NetDissect’s": NUMBER(format="%.2f ×"),
        },
    )
    draw.caption(sentence(bench.asked.words) + ".")


def notes(bench: Bench) -> None:
    """What must be said beside labels of a method, and which methods have none here."""
    for row in bench.table.itertuples():
        if row.note:
            draw.caption(f"{row.title}: {row.note}")
    if bench.left_out:
        with st.expander(f"{len(bench.left_out)} methods have no labels here"):
            for name, why in bench.left_out.items():
                st.markdown(f"- **{name}**: {sentence(why)}.")
