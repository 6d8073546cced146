"""Units: the table of units with their labels, everything about one unit, search by concept."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.dissect.labels import better_than_chance
from core.dissect.significance import FDR
from core.figures import unit_map as maps
from core.figures import units as unit_figures
from core.figures.units import peaks, unit_chance
from core.foundation.errors import UnitscopeError, nearest
from core.foundation.names import plain_name, whole
from core.foundation.settings import CHOOSING, chosen_on, judged_on
from core.runs.notes import Thing
from core.views import images as image_views
from core.views import runs as run_views
from core.views import unit_map as unit_map_views
from core.views import units as unit_views
from core.views.images import concept_id, search_images
from core.views.labels import METHODS, formula_table, formula_words, names_by_id, single_labels
from core.views.names import detector_name, label_name, shown_name
from core.views.pictures import region_photo, thumbnail, unit_photo
from core.views.selection import units_of
from core.views.unit_map import MAP_METHOD
from core.views.units import (
    UnitFacts,
    comparison,
    has_maps,
    iou_histogram,
    peak_histogram,
    search_units,
    unit_concepts,
    unit_contribution,
    unit_facts,
    unit_images,
    unit_table,
)
from pages.parts import address, draw, explanations, graph, marks, selection, unit_more
from pages.parts import labels as label_part
from pages.parts.cache import contribution, formulas, toggler
from pages.parts.detectors import detectors
from pages.parts.frame import Context, page, page_files, sentence, stop, unanswered

ANY = ""
FILTERS = ("category", "concept", "above", "order", "view", "tag")
NUMBER = st.column_config.NumberColumn
P_VALUE = "Permutation test: in what share of rounds shuffled labels do as well for this unit."
ADJUSTED = "For the false discovery rate over all units; better than chance up to 0.05."
VIEWS = {"table": "Table", "map": "Map"}


def open_row(units: pd.Series, place: int | None) -> None:
    """Show the unit of a chosen row: a new entry of the history, so that Back returns here."""
    if place is not None:
        address.put({"unit": str(units.iloc[place])}, drop=("scene",))


def _word(name: object) -> str:
    return shown_name(name) if isinstance(name, str) else "no label"


# -- all units ------------------------------------------------------------------------------


def strongest_tiles(ctx: Context, frame: pd.DataFrame) -> list[draw.Tile]:
    """The strongest photo of every unit in a table, for a first look."""
    tiles: list[draw.Tile] = []
    for row in frame.itertuples():
        concept = int(row.concept) if not pd.isna(row.concept) else None
        top = ctx.ask(unit_images, ctx.layer, int(row.unit), concept, 1)
        if not len(top):
            continue
        name = row.label
        tiles.append(
            {
                "src": ctx.picture(
                    unit_photo, ctx.layer, int(row.unit), int(top["image"].iloc[0]), 224
                ),
                "title": f"unit {row.unit}: {name}",
                "sub": f"IoU {row.iou:.3f}" + ("" if row.above else ", no better than chance"),
                "alt": f"Strongest photo of unit {row.unit} ({name}), bright where it is active",
                "href": address.here(unit=str(row.unit)),
            }
        )
    return tiles


def all_units(ctx: Context) -> None:
    """Filters, strongest units in pictures, the table."""
    st.title("Units")
    st.html(
        f'<p class="lede">What each unit of {ctx.layer} responds to: the concept whose '
        "annotated regions its active regions cover best.</p>"
    )
    table = ctx.ask(unit_table, ctx.layer, ctx.denominator)
    concepts = ctx.ask(image_views.concepts)
    labels = list(concepts["label"])
    shown_as = dict(zip(labels, concepts["shown"], strict=True))
    concept = address.get("concept")
    if concept and concept not in labels:
        near = nearest(concept, labels)
        links = {f"Search {shown_name(n)}": address.kept(concept=n) for n in near[:3]}
        stop(
            f"This run has no concept “{concept}”.",
            {**links, "Show all units": address.kept()},
            "Units",
        )
    row = st.columns([2, 3, 3], vertical_alignment="bottom")
    with row[0]:
        kinds = [ANY, *sorted(table["category"].dropna().unique())]
        category = address.select(
            "category", "Kind of label", kinds, format_func=lambda c: c or "any", drop=("page",)
        )
    with row[1]:
        concept = address.select(
            "concept",
            "Concept",
            [ANY, *labels],
            drop=("page",),
            format_func=lambda c: shown_as[c] if c else "any concept",
        )
    with row[2]:
        above = address.toggle("above", "Better than chance only", drop=("page",))
    tagged = marks.chosen(ctx, ctx.layer)
    label_part.search(ctx)
    if concept:
        search(ctx, concept, category, above, table)
        return
    shown = table
    if category:
        shown = shown[shown["category"] == category]
    if above:
        shown = shown[shown["above"]]
    if tagged is not None:
        shown = shown[shown["unit"].astype(str).isin(tagged)]
    shown = shown.sort_values(["iou", "unit"], ascending=[False, True], ignore_index=True)
    result = f"{len(shown):,} of {len(table):,} units"
    if table["chance"].notna().any():
        result += f"; {int(shown['above'].sum()):,} better than chance"
    st.markdown(f"**{result}**")
    if not len(shown):
        st.info("No unit fits these filters.", icon=":material/filter_alt_off:")
        st.page_link(page_files()["Units"], label="Show all", query_params=address.kept())
        return
    if address.views(VIEWS) == "map":
        unit_map(ctx, shown)
        return
    draw.gallery(strongest_tiles(ctx, shown.head(12)), "strongest", tile=140)
    unit_rows(ctx, shown)
    selection.bar(
        ctx,
        "Units",
        FILTERS,
        lambda: units_of(ctx.run, ctx.layer, shown["unit"].tolist(), ctx.denominator),
        f"units-{ctx.layer}",
    )


def unit_map(ctx: Context, shown: pd.DataFrame) -> None:
    """The units that fit the filters on the map of their layer; a click opens one."""
    with st.spinner("Laying the units out …"):
        at = ctx.ask(unit_map_views.unit_map, ctx.layer)
    frame = maps.placed(shown, at)

    name = f"unit-map-{ctx.layer}"

    def picked() -> None:
        found = st.session_state[f"chart-{name}"]["selection"].get(maps.PICK) or []
        if found:
            address.put({"unit": str(found[0]["unit"])}, drop=("scene",))

    caption = ctx.caption()
    draw.chart(
        lambda dark: maps.units_map(frame, MAP_METHOD, caption, dark),
        name,
        f"Map of {len(frame):,} units; the table view says the same in words",
        explanations.UNIT_MAP,
        picked,
        maps.PICK,
    )
    draw.caption(
        "The larger a dot, the higher its IoU; faint ones are no better than chance. The wheel "
        "enlarges the map, and then more names have room; a double click shows all of it again."
    )


def unit_rows(ctx: Context, shown: pd.DataFrame) -> None:
    """The table of units; a click on a row opens the unit."""
    view = pd.DataFrame(
        {
            "unit": shown["unit"],
            "label": shown["label"],
            "detector": shown["detector"],
            "category": shown["category"].fillna(""),
            "IoU": shown["iou"],
            "p-value": shown["chance"],
            "p adjusted": shown["adjusted"],
            "better than chance": shown["above"],
            "images active": shown["images"],
            "threshold": shown["threshold"].astype(float).round(4),
        }
    )
    found = formula_table(ctx.run, ctx.layer)
    if len(found):
        names = ctx.ask(names_by_id)["shown"].to_dict()
        found = found.set_index("unit")
        said = {
            row.Index: formula_words(row.concepts, row.ops, names) for row in found.itertuples()
        }
        view.insert(4, "formula", [said.get(unit, "") for unit in shown["unit"]])
        view.insert(5, "IoU of the formula", found["iou"].reindex(shown["unit"]).to_numpy())
    draw.subheader("All of them")
    draw.table(
        view,
        f"units-{ctx.layer}-{ctx.denominator}",
        "Units with label, category, IoU, chance, images active and threshold",
        explanations.IOU,
        caption=" / ".join(ctx.caption().lines()),
        picked=lambda place: open_row(shown["unit"], place),
        height=min(38 + 35 * len(view), 480),
        column_config={
            "IoU": st.column_config.ProgressColumn(
                format="%.3f",
                min_value=0,
                max_value=float(max(shown["iou"].max(), 1e-6)),
                help="Overlap of the unit’s active regions with its label, over all images.",
            ),
            "p-value": NUMBER(format="%.4f", help=P_VALUE),
            "p adjusted": NUMBER(format="%.4f", help=ADJUSTED),
            "IoU of the formula": NUMBER(
                format="%.3f", help="Every pixel counts; chosen among millions of formulas."
            ),
            "threshold": NUMBER(
                format="%.3f", help="T_t: the unit is active where it exceeds this."
            ),
        },
    )
    draw.caption("Choose a row to open the unit.")
    if not len(found) and ctx.ask(has_maps, ctx.layer):
        draw.caption(
            "Formulas of several concepts for all units, as a column of this table: "
            f"`python -m core formulas {ctx.facts.run} --layer {ctx.layer}`"
        )


def search(ctx: Context, concept: str, category: str, above: bool, table: pd.DataFrame) -> None:
    """Which images and which units have one concept."""
    number = ctx.ask(concept_id, concept)
    found = ctx.ask(search_units, ctx.layer, number, ctx.denominator, len(table))
    found = found.merge(
        table[["unit", "name", "label", "category", "iou"]], on="unit", suffixes=("", "_own")
    )
    if category:
        found = found[found["category"] == category]
    if above:
        found = found[found["above"]]
    images = ctx.ask(search_images, number, 12)
    facts = ctx.ask(image_views.concepts).set_index("concept").loc[number]
    name = shown_name(concept)
    own = int(found["best"].sum())
    st.markdown(
        f"**{name}** ({facts['category']}) is in {facts['images']:,} images; "
        f"it is the best label of {own:,} unit{'s' * (own != 1)}."
    )
    draw.explain(explanations.SEARCH)
    draw.subheader(f"Units that detect {name}")
    if not len(found):
        st.info("No unit that fits the filters overlaps it.", icon=":material/filter_alt_off:")
    else:
        back = {k: address.get(k) for k in FILTERS}
        detectors(ctx, found.head(6), number, "search-units", back)
        view = pd.DataFrame(
            {
                "unit": found["unit"],
                f"IoU with {name}": found["iou"],
                "its own label": found["label"],
                "IoU of that": found["iou_own"],
            }
        )
        draw.table(
            view,
            f"units-for-{name}",
            f"Units by their overlap with {name}",
            explanations.IOU,
            caption=" / ".join(ctx.caption().lines()),
            height=min(38 + 35 * len(view), 300),
            picked=lambda place: open_row(found["unit"], place),
            column_config={c: NUMBER(format="%.4f") for c in view.columns if "IoU" in c},
        )
    draw.subheader(f"Photos with most {name}")
    tiles: list[draw.Tile] = [
        {
            "src": ctx.picture(thumbnail, int(row.image), 224),
            "title": _word(row.scene_name),
            "sub": f"{row.share:.0%} of the photo",
            "alt": f"Photo {row.id}: {_word(row.scene_name)}",
            "href": "Scenes" + address.query(address.kept(image=row.id)),
        }
        for row in images.itertuples()
    ]
    draw.gallery(tiles, "search-images", tile=140)
    st.page_link(
        page_files()["Scenes"],
        label=f"All {facts['images']:,} photos with {name}",
        icon=":material/photo_library:",
        query_params=address.kept(concept=concept),
    )


# -- one unit -------------------------------------------------------------------------------


def asked_unit(ctx: Context, text: str) -> tuple[int, UnitFacts]:
    """The unit that the address names; where it names none, the page offers others and ends."""
    last = ctx.facts.layer(ctx.layer).units - 1
    try:
        unit = whole(text)
        if unit is None:
            raise UnitscopeError(f"“{text}” is no unit: units are numbers, 0 to {last}")
        return unit, ctx.ask(unit_facts, ctx.layer, unit)
    except UnitscopeError as err:
        near = min(max(address.number("unit"), 0), last)
        st.title("Units")
        stop(
            f"{sentence(err)}.",
            {f"Open unit {near}": address.kept(unit=str(near)), "Show all units": address.kept()},
            "Units",
        )


def top_row(ctx: Context, unit: int) -> None:
    """Back to the table, and to the neighbours."""
    back = {k: address.get(k) for k in FILTERS if address.get(k)}
    last = ctx.facts.layer(ctx.layer).units - 1
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.page_link(
            page_files()["Units"],
            label="All units",
            icon=":material/arrow_back:",
            query_params=address.kept(**back),
        )
        with st.container(horizontal=True, width="content"):
            for word, other in (("Previous", unit - 1), ("Next", unit + 1)):
                st.page_link(
                    page_files()["Units"],
                    label=word,
                    disabled=not 0 <= other <= last,
                    query_params=address.kept(
                        **back, unit=str(min(max(other, 0), last)), serves=address.get("serves")
                    ),
                )


def one_unit(ctx: Context, text: str) -> None:
    """Labels, chance, pictures, responses and scenes of one unit."""
    unit, facts = asked_unit(ctx, text)
    top_row(ctx, unit)
    concepts = ctx.ask(unit_concepts, ctx.layer, unit, ctx.denominator)
    if not len(concepts):
        st.title(f"Unit {unit}: no label")
        marks.editor(ctx, Thing(str(unit), ctx.layer))
        draw.caption(
            "It is never above its threshold together with any label."
            if facts.images
            else "It is never above its threshold."
        )
        responses(ctx, unit, facts)
        return
    best = concepts.iloc[0]
    st.title(f"Unit {unit}: {label_name(best['name'], best['adjusted'] > FDR)}")
    marks.editor(ctx, Thing(str(unit), ctx.layer))
    draw.caption(detector_name(best["category"]).capitalize())
    verdict(ctx, best, facts)
    pictures(ctx, unit, int(best["concept"]), shown_name(best["name"]))
    left, right = st.columns(2, gap="large")
    with left:
        best_labels(ctx, unit, concepts)
    with right:
        against_chance(ctx, unit, float(best["iou"]))
    responses(ctx, unit, facts)
    if not label_part.of_unit(ctx, unit):
        methods(ctx, unit)
    unit_more.classes(ctx, unit)
    serves(ctx, unit)


def best_labels(ctx: Context, unit: int, concepts: pd.DataFrame) -> None:
    """The five labels of the highest IoU."""
    draw.subheader("Its labels")
    view = pd.DataFrame(
        {
            "concept": [
                label_name(n, p > FDR)
                for n, p in zip(concepts["name"], concepts["adjusted"], strict=True)
            ],
            "category": concepts["category"],
            "IoU": concepts["iou"],
            "p-value": concepts["chance"],
            "p adjusted": concepts["adjusted"],
        }
    )
    draw.table(
        view,
        f"unit-{unit}-labels",
        f"The five best labels of unit {unit}",
        explanations.IOU,
        caption=" / ".join(ctx.caption().lines()),
        column_config={
            "IoU": st.column_config.ProgressColumn(
                format="%.3f", min_value=0, max_value=float(concepts["iou"].max())
            ),
            "p-value": NUMBER(format="%.4f", help=P_VALUE),
            "p adjusted": NUMBER(format="%.4f", help=ADJUSTED),
        },
    )


def against_chance(ctx: Context, unit: int, iou: float) -> None:
    """Its IoU among those of shuffled labels; in words where chance was not measured."""
    histogram = ctx.ask(iou_histogram, ctx.layer, ctx.denominator, unit=unit)
    if (histogram["kind"] == "shuffled labels").any():
        draw.chart(
            lambda dark: unit_chance(histogram, iou, unit, ctx.caption(), dark),
            f"unit-{unit}-chance",
            f"Histogram of overlaps under shuffled labels, with unit {unit} marked",
            explanations.CHANCE,
        )
    else:
        draw.caption(comparison(ctx.ask(better_than_chance, ctx.layer, ctx.denominator)))


def verdict(ctx: Context, best: pd.Series, facts: UnitFacts) -> None:
    """The unit in four numbers."""
    cells = st.columns(4)
    cells[0].metric("IoU with its label", f"{best['iou']:.3f}", help=explanations.IOU)
    chance = best["chance"]
    if pd.isna(chance):
        cells[1].metric("chance", "not measured", help=explanations.CHANCE)
    else:
        cells[1].metric(
            "p-value (permutation)",
            f"{chance:.3g}",
            f"adjusted {best['adjusted']:.3g}",
            delta_color="off",
            delta_arrow="off",
            help=explanations.CHANCE,
        )
    cells[2].metric("images in which it is active", f"{facts.images:,}")
    cells[3].metric("threshold", f"{facts.threshold:.3g}", help=explanations.THRESHOLD)
    if not pd.isna(chance) and best["adjusted"] > FDR:
        st.markdown(
            ":orange[**No better than chance.**] Its label is the best there is, "
            "but among so many units shuffled labels fit one as well: do not read much into it."
        )


def pictures(ctx: Context, unit: int, concept: int, name: str) -> None:
    """The photos in which it peaks highest, dimmed where it is not active."""
    draw.subheader("Where it is active")
    scenes = ctx.ask(unit_views.unit_scenes, ctx.layer, unit)
    within = [ANY, *scenes.loc[scenes["active"] > 0, "scene"]]
    maps = ctx.ask(has_maps, ctx.layer)
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scene = address.select(
            "scene",
            "In scene",
            within,
            width=240,
            format_func=lambda s: plain_name(s) if s else "any scene",
        )
        span = unit_more.span()
        if maps:
            dimmed = address.toggle("lit", "Dim what is below the threshold", True)
    if not maps:
        dimmed = False
        draw.caption(
            "This run kept no activation maps (`--no-maps`), so only the plain photos are shown."
        )
    top = ctx.ask(unit_images, ctx.layer, unit, concept, 12, scene, span)
    tiles: list[draw.Tile] = [
        {
            "src": ctx.picture(region_photo, ctx.layer, unit, int(row.image), 288)
            if dimmed
            else ctx.picture(thumbnail, int(row.image), 288),
            "title": _word(row.scene_name),
            "sub": f"peak {row.peak:.3g}; IoU with {name} {row.iou:.2f}",
            "mark": "" if pd.isna(row.correct) else "right" if row.correct else "wrong",
            "alt": f"Photo {row.id} ({_word(row.scene_name)}), bright where unit {unit} is active",
            "href": "Scenes" + address.query(address.kept(image=row.id)),
        }
        for row in top.itertuples()
    ]
    draw.gallery(tiles, "top-images", tile=215)


def responses(ctx: Context, unit: int, facts: UnitFacts) -> None:
    """How strongly, and in which scenes."""
    left, right = st.columns(2, gap="large")
    with left:
        bins = ctx.ask(peak_histogram, ctx.layer, unit)
        note = "" if ctx.ask(has_maps, ctx.layer) else "images in which it is active"
        draw.chart(
            lambda dark: peaks(bins, facts.threshold, unit, ctx.caption(note), dark),
            f"unit-{unit}-peaks",
            f"Histogram of the largest activation of unit {unit} per image, with its threshold",
            explanations.PEAKS,
        )
    scenes = ctx.ask(unit_views.unit_scenes, ctx.layer, unit)
    if not len(scenes):
        return
    with right:
        draw.chart(
            lambda dark: unit_figures.unit_scenes(scenes, unit, ctx.caption(), dark),
            f"unit-{unit}-scenes",
            f"Bars: share of each scene's images in which unit {unit} is active",
            explanations.UNIT_SCENES,
        )
    with st.expander("Scene by scene, as a table"):
        view = pd.DataFrame(
            {
                "scene": [plain_name(s) for s in scenes["scene"]],
                "images": scenes["images"],
                "active in": scenes["active"],
                "share": scenes["share"],
                "mean activation": scenes["mean"],
            }
        )
        draw.table(
            view,
            f"unit-{unit}-scenes",
            f"Activity of unit {unit} by scene",
            caption=" / ".join(ctx.caption().lines()),
            column_config={
                "share": NUMBER(format="%.3f"),
                "mean activation": NUMBER(format="%.3f"),
            },
        )


def methods(ctx: Context, unit: int) -> None:
    """What every method calls the unit, with one and the same overlap beside it."""
    draw.subheader("What each method calls it")
    rows = ctx.ask(single_labels, ctx.layer, unit)
    missing = ""
    if ctx.ask(has_maps, ctx.layer):
        try:
            rows = pd.concat([rows, formulas(ctx.run, ctx.layer, unit)], ignore_index=True)
        except UnitscopeError as err:
            missing = f"No formulas: {err}."
    else:
        missing = (
            "Formulas of several concepts are counted from activation maps, and this run kept "
            "none (`--no-maps`)."
        )
    names = ctx.ask(names_by_id)
    shown = names["shown"].to_dict()
    draw.table(
        pd.DataFrame(
            {
                "method": [METHODS[m] for m in rows["method"]],
                "label": [
                    formula_words(c, o, shown)
                    for c, o in zip(rows["concepts"], rows["ops"], strict=True)
                ],
                "IoU": rows["iou"].astype(float),
                "p-value": ["–" if pd.isna(c) else f"{c:.4f}" for c in rows["chance"]],
                "its own measure": rows["own"].astype(float),
                "length": [len(c) for c in rows["concepts"]],
            }
        ),
        f"unit-{unit}-methods",
        f"Labels of unit {unit} by {len(rows)} methods with their overlap",
        explanations.METHODS,
        caption=" / ".join(ctx.caption().lines()),
        column_config={
            "method": st.column_config.TextColumn(width=150),
            "label": st.column_config.TextColumn(width=180),
            "IoU": st.column_config.ProgressColumn(
                width=100,
                format="%.3f",
                min_value=0,
                max_value=float(max(rows["iou"].max(), 1e-6)),
                help="Overlap over all images, every pixel counts: one rule for all rows.",
            ),
            "p-value": st.column_config.TextColumn(
                width=70,
                help="Share of shuffled labels that do as well; –: not measured.",
            ),
            "its own measure": NUMBER(
                width=110, format="%.3f", help="What the method itself looks for."
            ),
            "length": NUMBER(width=60, help="Concepts in the label."),
        },
    )
    notes = [f"{METHODS[m]}: {t}" for m, t in zip(rows["method"], rows["note"], strict=True) if t]
    if notes:
        draw.caption("; ".join(notes) + ".")
    links = {
        concept: f"[{row.shown}](Units{address.query(address.kept(concept=row.label))})"
        for concept, row in names.iterrows()
    }
    result = dict.fromkeys(
        formula_words(c, o, links) for c, o in zip(rows["concepts"], rows["ops"], strict=True)
    )
    st.markdown("Look for " + " · ".join(result))
    if missing:
        draw.caption(missing)


def serves(ctx: Context, unit: int) -> None:
    """The unit’s contribution scores, and the measured change of accuracy without it."""
    draw.subheader("Contribution scores")
    if not ctx.facts.photos or not len(ctx.ask(image_views.scenes)):
        draw.caption("The images of this run have no scenes.")
        return
    if unanswered(ctx.run, "the contribution scores of a unit"):
        return
    if not address.toggle("serves", "Compute", help="Opens the network: seconds at first."):
        return
    off = address.query(address.kept(off=str(unit)))
    said, changes = without(ctx, unit, off)
    st.markdown(said)
    known = graph.chosen(ctx, "Units")
    splits, way = ctx.ask(run_views.splits), CHOOSING
    chosen = chosen_on(splits, judged_on(splits))
    result = contribution(
        ctx.run, known, ctx.layer, way.strategy, way.iou, way.core, way.over, chosen
    )
    frame = ctx.ask(unit_contribution, result, unit)
    if not len(frame):
        draw.caption(
            "In no rightly predicted photo of a scene with core concepts did it learn any."
        )
        return
    sides = {
        "Positive score for": frame[frame["score"] > 0],
        "Negative score for": frame[frame["score"] < 0].iloc[::-1],
    }
    for column, (title, side) in zip(st.columns(2, gap="large"), sides.items(), strict=True):
        with column:
            st.markdown(f"**{title}**")
            if not len(side):
                draw.caption("No scene.")
                continue
            for row in side.head(6).itertuples():
                link = address.query(address.kept(off=str(unit), of=row.scene, scene=row.scene))
                st.markdown(
                    f"[{plain_name(row.scene)}](Disable{link}) **{row.score:+d}**: "
                    f"{row.inside} of its core concepts detected, {row.outside} others, in "
                    f"{row.active} of {row.images} photos{changes.get(str(row.scene), '')}"
                )
    caption = ctx.caption(f"Eq. 9, {result.words()}, knowledge {known.name}")
    with st.expander("All scenes, as a table"):
        draw.table(
            frame.assign(scene=[plain_name(s) for s in frame["scene"]]),
            f"unit-{unit}-contribution",
            f"Contribution of unit {unit} to every scene",
            explanations.CONTRIBUTION,
            caption=" / ".join(caption.lines()),
            column_config={
                "score": NUMBER(help="Con_Score (Eq. 9): inside less outside."),
                "inside": NUMBER(help="Learned concepts among the scene’s core concepts."),
                "outside": NUMBER(help="Learned concepts that are not."),
                "active": NUMBER(help="Photos in which it learned any concept."),
                "images": NUMBER(help="Rightly predicted photos of the scene."),
                "rank": NUMBER(help="1: no unit has a higher score for the scene."),
            },
        )
    draw.caption(" · ".join(caption.lines()))


def without(ctx: Context, unit: int, off: str) -> tuple[str, dict[str, str]]:
    """What disabling the unit does to accuracy on the held-out split: in a line, and of each scene
    (nothing where that was not measured)."""
    link = f"[Disable it](Disable{off})"
    try:
        ready = toggler(ctx.run, ctx.layer)
    except UnitscopeError as err:
        return f"The change of accuracy without it cannot be measured: {err}. {link}", {}
    if ready.weights is None:
        return (
            f"{link} to see the change of accuracy: this layer is {ready.method}, which takes "
            "long.",
            {},
        )
    # It brings PyTorch along, as does what it needs: here that is loaded anyway.
    from core.views.disable import toggled_one

    result = ctx.ask(toggled_one, ready, unit)
    before, after = result.accuracy
    gain, where = result.gain, run_views.judged_words(ctx.facts.judged)
    if not before.n:
        return f"The network knows no scene of these images. {link}", {}
    return (
        f"Disabled, accuracy on {where} goes from {before.value:.2%} to **{after.value:.2%}** "
        f"(n = {after.n:,}): a change of {100 * gain.value:+.2f} points, 95 % interval "
        f"{100 * gain.low:+.2f} to {100 * gain.high:+.2f}; {gain.gained} newly correct, "
        f"{gain.lost} newly wrong. {link}",
        {
            str(row.scene): f"; disabled, accuracy on {where} {row.accuracy_before:.1%} → "
            f"{row.accuracy_after:.1%} (n = {row.images})"
            for row in result.scenes.itertuples()
        },
    )


ctx = page("Units")
if not ctx.layer:
    st.title("Units")
    stop(
        "This run has no units: it was made from published predictions, without the network.",
        {"See how often they are right": address.kept()},
    )
asked = address.get("unit")
if asked:
    one_unit(ctx, asked)
else:
    all_units(ctx)
