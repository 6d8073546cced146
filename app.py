"""Overview: what Unitscope is, what this run is, and what is worth a look in it."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import Any

import pandas as pd
import streamlit as st

from core.dissect.labels import better_than_chance
from core.dissect.predictions import per_scene
from core.figures import runs as run_figures
from core.figures import units as unit_figures
from core.figures.contents import FIGURES, TABLES, View, available
from core.figures.report import report
from core.figures.units import categories, iou_chance
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.views import findings as finding_views
from core.views import runs as run_views
from core.views import units as unit_views
from core.views.findings import hero
from core.views.images import image_number
from core.views.pictures import thumbnail, unit_photo
from core.views.units import comparison, iou_histogram, unit_table
from pages.parts import address, draw, explanations, layers
from pages.parts.frame import Context, page, page_files, run_words, sentence


def first_sight(ctx: Context, table: pd.DataFrame) -> None:
    """A sentence, a number and a picture."""
    seen = ctx.ask(hero, ctx.layer, ctx.denominator)
    left, right = st.columns([5, 7], gap="large", vertical_alignment="center")
    with left:
        st.title("What do the units of this network detect?")
        st.html(
            '<p class="lede">Unitscope looks inside an image classifier. It finds what each of '
            "its units responds to in annotated photos, and checks every answer against "
            "chance.</p>"
        )
        result = ctx.ask(better_than_chance, ctx.layer, ctx.denominator)
        if result.above is not None:
            number, what = result.above, "detect something with a name, better than chance"
        else:
            number, what = int(table["name"].count()), "have a label"
        st.html(
            f'<p class="figure"><b>{number}</b> of {len(table)} units of {ctx.layer} {what}</p>'
        )
        draw.caption(comparison(result), help=explanations.UNTRAINED)
        kinds = ctx.ask(finding_views.detectors, ctx.layer, ctx.denominator)
        if kinds:
            draw.caption(
                ", ".join(f"{count} {kind}{'s' * (count != 1)}" for kind, count in kinds.items())
            )
    with right:
        for one in seen:
            link = "Units" + address.query(address.kept(unit=str(one.unit)))
            st.markdown(
                f"[**unit {one.unit}: {one.label}**]({link}) · {one.detector} · IoU {one.iou:.3f}"
            )
            tiles: list[draw.Tile] = [
                {
                    "src": ctx.picture(unit_photo, ctx.layer, one.unit, image, 224),
                    "alt": f"Photo, bright only where unit {one.unit} is active: {one.label}",
                    "href": link,
                }
                for image in one.images
            ]
            draw.gallery(tiles, f"hero-{one.unit}", tile=84)
        if seen:
            draw.caption(
                f"The {len(seen)} units of the highest IoU, detectors of things first, each with "
                "the photos in which it peaks highest, bright where it is active."
            )


def numbers(ctx: Context) -> None:
    """How good the network is, where it has answers, and on what."""
    if ctx.facts.losses:
        st.markdown(f":orange[:material/warning:] {ctx.facts.losses}.")
    splits = ctx.ask(run_views.accuracy)
    found = ctx.ask(unit_views.detected, ctx.layer, ctx.denominator)
    cells = st.columns(4)
    cells[0].metric("images", f"{ctx.facts.images:,}")
    accuracies(ctx, cells[1:3], splits)
    if ctx.facts.no_answers:
        cells[1].metric(
            "classifier",
            "none",
            help=f"{sentence(ctx.facts.no_answers)}. What needs its answers, such as accuracy, "
            "confusions and switching units off, cannot be told of it.",
        )
    cells[-1].metric("concepts detected", len(found), help=explanations.DETECTED)


def accuracies(ctx: Context, cells: Sequence[Any], splits: pd.DataFrame) -> None:
    """Accuracy on the held-out split, and on one more that is named; said where none is held
    out."""
    held_out = bool(ctx.facts.judged)
    for cell, row in zip(cells, splits.head(2).itertuples(), strict=False):
        cell.metric(
            f"accuracy, {row.split} (n = {row.images:,})" + ("" if held_out else ", not held out"),
            f"{row.accuracy:.1%}",
            help=explanations.ACCURACY,
        )


def findings(ctx: Context) -> None:
    """Three things worth a look, each a link."""
    found = ctx.ask(finding_views.findings, ctx.layer, ctx.denominator)
    if not found:
        return
    draw.subheader("Worth a look")
    for column, item in zip(st.columns(len(found), gap="medium"), found, strict=True):
        with column:
            if item.unit is None:
                photo = ctx.picture(thumbnail, item.image, 360)
                alt = f"Photo of the finding: {item.title}"
            else:
                photo = ctx.picture(unit_photo, ctx.layer, item.unit, item.image, 360)
                alt = f"Photo, bright only where unit {item.unit} is active"
            draw.picture(photo, alt)
            st.page_link(
                page_files()[item.page.capitalize()],
                label=f"**{item.title}**",
                icon=":material/arrow_forward:",
                icon_position="right",
                query_params=address.kept(**item.address),
            )
            draw.caption(item.text)


def charts(ctx: Context) -> None:
    """Accuracy, chance, and what is detected."""
    histogram = ctx.ask(iou_histogram, ctx.layer, ctx.denominator)
    result = ctx.ask(better_than_chance, ctx.layer, ctx.denominator)
    splits = ctx.ask(run_views.accuracy)
    found = ctx.ask(unit_views.detected, ctx.layer, ctx.denominator)
    has_chance = result.above is not None
    left, right = st.columns(2, gap="large")
    with left:
        draw.chart(
            lambda dark: iou_chance(histogram, ctx.caption(), dark),
            f"overlap-{ctx.layer}",
            "Histogram of the best overlap of every unit, over that of shuffled labels",
            explanations.CHANCE,
        )
        if len(splits):
            draw.chart(
                lambda dark: run_figures.accuracy(splits, ctx.caption(layered=False), dark),
                "accuracy",
                "Bars: accuracy by split, with 95 % intervals",
                explanations.ACCURACY,
            )
    if not len(found):
        with right:
            st.markdown(
                f"**No unit of {ctx.layer} is better than chance here.** With few images, or "
                "labels that cover little, even good units cannot be told from luck."
            )
    with right:
        if len(found):
            draw.chart(
                lambda dark: unit_figures.detected(found, ctx.caption(), dark, above=has_chance),
                f"concepts-{ctx.layer}",
                "Bars: number of units for each concept that is some unit's best label",
                explanations.DETECTED,
            )
        if len(found):
            draw.chart(
                lambda dark: categories(found, ctx.caption(), dark, above=has_chance),
                f"categories-{ctx.layer}",
                "Bars: number of units by the category of their label",
                explanations.DETECTED,
            )


def about(ctx: Context) -> None:
    """What was measured on what, and how."""
    facts = ctx.facts
    layer = facts.layer(ctx.layer)
    assert facts.grid and facts.q is not None, "a run with layers has both"
    width, height = facts.grid
    fact_list(
        {
            "Photos": f"{facts.dataset} ({facts.dataset_spec}), {facts.images:,} used, "
            f"{facts.skipped:,} lost",
            "Annotations": ", ".join(facts.categories) or "whole images only",
            "Network": f"{facts.model} ({facts.model_spec})",
            **({"Answers": f"none: {facts.no_answers}"} if facts.no_answers else {}),
            "Layer": f"{ctx.layer}: {layer.units} units, maps of {layer.width} × {layer.height}",
            "Threshold": f"each unit's {1 - facts.q:.2%} quantile (q = {facts.q:g})",
            "Counted on": f"a grid of {width} × {height} over what the network saw",
            "IoU": "summed over all images; "
            + (
                "every pixel counts" if ctx.denominator == "all" else "annotated pixels alone count"
            ),
            "Chance": f"{facts.shuffles} rounds of shuffled labels",
            "Finished": f"{facts.finished.replace('T', ' ').rstrip('Z')} UTC, "
            f"in {sum(facts.seconds.values()):.0f} s",
            "Run": run_words(facts.run),
        }
    )
    row = st.container(horizontal=True)
    with row:
        draw.explain(explanations.THRESHOLD, "Threshold")
        draw.explain(explanations.IOU, "IoU")
        draw.explain(explanations.CHANCE, "Chance")


def fact_list(rows: dict[str, object]) -> None:
    """What a run is, as a list of terms."""
    draw.subheader("What this run is")
    cells = "".join(f"<dt>{escape(k)}</dt><dd>{escape(str(v))}</dd>" for k, v in rows.items())
    st.html(f'<dl class="facts">{cells}</dl>')


def export_report(ctx: Context) -> None:
    """A report in one file, of what the reader chooses."""
    draw.subheader("Export a report")
    st.markdown(
        "One HTML file with figures, tables, definitions and the command that makes the run "
        "again. It needs no network, so it can be mailed, printed and archived."
    )
    view = View(ctx.run, ctx.layer, ctx.denominator)
    known = available(view)
    left, right = st.columns(2, gap="large")
    with left:
        chosen = st.multiselect(
            "Figures",
            known[0],
            known[0],
            key=f"report-figures-{ctx.run.digest}",
            format_func=lambda name: FIGURES[name].title,
        )
    with right:
        tables = st.multiselect(
            "Tables",
            known[1],
            known[1],
            key=f"report-tables-{ctx.run.digest}",
            format_func=lambda name: TABLES[name].title,
        )
    units: list[int] = []
    photo_ids: list[str] = []
    if ctx.layer:
        count = len(ctx.ask(unit_table, ctx.layer, ctx.denominator))
        with left:
            units = st.multiselect(
                "Units, each with a section of its own",
                range(count),
                key="report-units",
                format_func=lambda unit: f"unit {unit}",
                placeholder="none",
            )
        with right:
            typed = st.text_input(
                "Photos to explain, by their ids",
                key="report-images",
                placeholder="none",
                help="Ids with commas between, as the pages Scenes and Explain show them.",
            )
            for word in filter(None, map(str.strip, typed.split(","))):
                try:
                    ctx.ask(image_number, word)
                    photo_ids.append(word)
                except UnitscopeError as err:
                    draw.caption(f":orange[{sentence(err)}.]")
    with st.container(horizontal=True, vertical_alignment="center"):
        pictured = bool(ctx.layer) and ctx.facts.photos
        photos = pictured and st.toggle(
            "With three photos",
            True,
            key="report-photos",
            help="Photos of your dataset travel with the file; its licence may not allow that.",
        )
        st.download_button(
            "Save the report",
            data=lambda: report(view, chosen, tables, photos, units, photo_ids),
            file_name=f"{ctx.facts.dataset}-{ctx.facts.model}-{ctx.run.digest[:6]}.html",
            mime="text/html",
            icon=":material/description:",
            on_click="ignore",
            key="report",
        )


# -- published predictions: a run without photos and without units ---------------------------


def published(ctx: Context) -> None:
    """How often published predictions are right, by split and by scene."""
    facts = ctx.facts
    splits, scenes = ctx.ask(run_views.accuracy), ctx.ask(per_scene, facts.judged)
    st.title("Accuracy of published predictions")
    st.html(
        '<p class="lede">This run holds published predictions without photos: what the network '
        f"said of {facts.images:,} images can be checked, but not what its units see.</p>"
    )
    if not facts.scored:
        st.info("None of the images has a scene to check against.", icon=":material/rule:")
    else:
        st.html(
            f'<p class="figure"><b>{facts.accuracy:.1%}</b> accuracy on '
            f"{run_views.judged_words(facts.judged)} ({facts.right:,} of {facts.answered:,})</p>"
        )
        st.space("small")
        left, right = st.columns([6, 5], gap="large", vertical_alignment="center")
        with left:
            draw.chart(
                lambda dark: run_figures.accuracy(splits, ctx.caption(layered=False), dark),
                "accuracy",
                "Bars: accuracy by split, with 95 % intervals",
                explanations.ACCURACY,
            )
        cells = [*right.columns(2), *right.columns(2)]
        cells[0].metric("images", f"{facts.images:,}")
        cells[1].metric("scenes", f"{len(scenes):,}")
        accuracies(ctx, cells[2:], splits)
        scene_rows(ctx, scenes)
    unscored = facts.images - facts.scored
    fact_list(
        {
            "Predictions": f"{facts.dataset} ({facts.model_spec})",
            "Images": f"{facts.images:,}, {unscored:,} of them without a scene to check against",
            "Finished": f"{facts.finished.replace('T', ' ').rstrip('Z')} UTC",
            "Run": run_words(facts.run),
        }
    )


def split_of(ctx: Context) -> str:
    """The split that a figure's subtitle names; "" where all photos are judged."""
    return f"split {ctx.facts.judged}" if ctx.facts.judged else ""


def scene_rows(ctx: Context, scenes: pd.DataFrame) -> None:
    """Accuracy of every scene; a click on a row opens the scene's images."""

    def choose(place: int | None) -> None:
        if place is not None:
            st.session_state["open-scene"] = str(scenes["scene"].iloc[place])

    draw.subheader(f"Scene by scene, {run_views.judged_words(ctx.facts.judged)}")
    view = pd.DataFrame(
        {
            "scene": [plain_name(n) for n in scenes["scene"]],
            "images": scenes["images"],
            "right": scenes["right"],
            "accuracy": scenes["accuracy"],
            "most often predicted as": [
                plain_name(n) if isinstance(n, str) else "" for n in scenes["confused_with"]
            ],
            "of so many": scenes["confused"],
        }
    )
    draw.table(
        view,
        "scenes",
        "Scenes with images, images right, accuracy and commonest mistake",
        caption=" / ".join(ctx.caption(split_of(ctx), layered=False).lines()),
        picked=choose,
        height=min(38 + 35 * len(view), 480),
        column_config={
            "accuracy": st.column_config.ProgressColumn(format="percent", min_value=0, max_value=1),
            "images": st.column_config.NumberColumn(format="localized"),
            "right": st.column_config.NumberColumn(format="localized"),
            "most often predicted as": st.column_config.TextColumn(
                help="The commonest wrong prediction, and of how many photos it is."
            ),
        },
    )
    draw.caption("Choose a row to see the scene’s images.")
    chosen = st.session_state.pop("open-scene", "")
    if chosen:
        st.switch_page(
            page_files()["Scenes"], query_params=address.kept(scene=chosen, split=ctx.facts.judged)
        )


def overview() -> None:
    """The page."""
    ctx = page("Overview")
    if not ctx.layer:
        published(ctx)
        export_report(ctx)
        st.stop()
    units = ctx.ask(unit_table, ctx.layer, ctx.denominator)
    first_sight(ctx, units)
    st.space("small")
    numbers(ctx)
    st.divider()
    findings(ctx)
    st.divider()
    charts(ctx)
    layers.section(ctx)
    about(ctx)
    export_report(ctx)


if __name__ == "__main__":
    overview()
else:
    # `streamlit run app.py` looks for this in the text of the file and serves it: plain Streamlit
    # would show its metrics to everybody, and take uploads without bounds.
    from pages.parts.serve import doors

    app = st.App(__file__, middleware=doors())
