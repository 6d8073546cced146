"""Scenes: the photos by scene and prediction, and everything about one photo."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.figures import runs as run_figures
from core.foundation.errors import UnitscopeError, nearest
from core.foundation.names import plain_name
from core.foundation.vocabulary import Eq2
from core.runs.notes import Thing
from core.views import images as image_views
from core.views import runs as run_views
from core.views.images import (
    Filter,
    ImageFacts,
    confused_pairs,
    gallery,
    image_facts,
    image_labels,
    image_number,
)
from core.views.names import counted, shown_name
from core.views.pictures import (
    image_colors,
    label_planes,
    mask_photo,
    region_photo,
    swatch,
    thumbnail,
)
from core.views.selection import photos_of
from core.views.units import active_units, has_maps
from pages.parts import address, draw, explanations, marks, selection
from pages.parts.frame import Context, page, page_files, stop, unanswered

SIZE = 24
ANY = ""
ROWS = 50
# Up to so many scenes, confusions are shown as a matrix; beyond, as a list. (No docstring:
# Streamlit would show it.)
MATRIX = 60
VIEWS = {"photos": "Photos", "matrix": "Confusion matrix"}
FILTERS = ("scene", "predicted", "outcome", "split", "concept", "sort", "tag", "page")


def _scene(name: object) -> str:
    return plain_name(name) if isinstance(name, str) else "no scene"


def _said(name: object) -> str:
    return plain_name(name) if isinstance(name, str) else "nothing"


def _outcome(correct: object) -> str:
    return "" if pd.isna(correct) else "right" if correct else "wrong"


def tiles_of(ctx: Context, frame: pd.DataFrame, sub: str = "") -> list[draw.Tile]:
    """Gallery tiles of images: scene as title, the network's word below where it differs."""
    found: list[draw.Tile] = []
    for row in frame.itertuples():
        scene, said, mark = _scene(row.scene_name), _said(row.predicted_name), _outcome(row.correct)
        below = f"predicted {said}" if mark != "right" else ""
        if ctx.facts.no_answers:
            below = f"split {row.split}"
        if sub:
            below = f"{getattr(row, sub):.0%} of the photo"
        elif ctx.facts.sure and hasattr(row, "confidence"):
            below = f"{below or said}, confidence {row.confidence:.0%}"
        found.append(
            {
                "src": ctx.picture(thumbnail, int(row.image), 224),
                "title": scene,
                "sub": below,
                "mark": mark,
                "alt": f"Photo {row.id}: {scene}"
                + ("" if ctx.facts.no_answers else f"; predicted as {said}"),
                "href": address.here(image=row.id),
            }
        )
    return found


# -- all photos -----------------------------------------------------------------------------


def choose(ctx: Context) -> tuple[Filter, str]:
    """The filters and the view, kept in the address."""
    scenes = [ANY, *ctx.ask(image_views.scenes)["scene"]]
    answers = not ctx.facts.no_answers
    said = [ANY, *sorted(set(ctx.ask(image_views.confusion)["predicted"]))] if answers else [ANY]
    if address.get("predicted") and address.get("predicted") not in said:
        said.append(address.get("predicted"))
    known = ctx.ask(image_views.concepts)
    concepts = [ANY, *known["label"]]
    shown_as = {ANY: "any", **dict(zip(known["label"], known["shown"], strict=True))}
    splits = ctx.ask(run_views.splits)
    # Photos are shown of all splits; what is counted, of the held-out one, "all" a choice.
    usual = ctx.facts.judged if address.get("view") == "matrix" else ""

    def named(text: str) -> str:
        return plain_name(text) if text else "any"

    reset = ("page",)
    concept, sort, predicted = ANY, "order", ANY
    row = iter(st.columns(2 + answers + (len(known) > 0) + ctx.facts.sure))
    with next(row):
        scene = address.select("scene", "Scene", scenes, drop=reset, format_func=named)
    if answers:
        with next(row):
            predicted = address.select(
                "predicted", "Prediction", said, drop=reset, format_func=named
            )
    if len(known):
        with next(row):
            concept = address.select(
                "concept", "Contains", concepts, drop=reset, format_func=shown_as.get
            )
    with next(row):
        split = address.split("split", "Split", splits, usual, drop=reset)
    if ctx.facts.sure:
        with next(row):
            orders = {
                "order": "as stored",
                "confident": "highest confidence",
                "doubtful": "lowest confidence",
            }
            sort = address.select("sort", "Order", list(orders), "order", format_func=orders.get)
    outcomes = {ANY: "all", "right": "right", "wrong": "wrong"}
    if ctx.facts.scored < ctx.facts.images:
        outcomes["unscored"] = "no such class" if ctx.facts.photos else "not scored"
    with st.container(horizontal=True, gap="large"):
        view = address.views(VIEWS if ctx.facts.photos else VIEWS | {"photos": "Images"})
        outcome = ANY
        if view == "photos" and answers:
            outcome = address.views(outcomes, "outcome", "The network is", reset)
        tagged = marks.chosen(ctx)
    ids = None if tagged is None else tuple(sorted(tagged))
    return Filter(scene, predicted, outcome, split, concept, sort, ids), view


def _noun(ctx: Context) -> str:
    return "photo" if ctx.facts.photos else "image"


def missing(ctx: Context) -> None:
    """Stop kindly where the address names a scene or concept that this run has not."""
    known = {
        "scene": list(ctx.ask(image_views.scenes)["scene"]),
        "concept": list(ctx.ask(image_views.concepts)["label"]),
    }
    for what, names in known.items():
        asked = address.get(what)
        if asked and asked not in names:
            near = nearest(asked, names)
            links = {f"Show {shown_name(n)}": address.kept(**{what: n}) for n in near[:3]}
            links[f"Show all {_noun(ctx)}s"] = address.kept()
            stop(f"This run has no {what} “{asked}”.", links, "Scenes")


def confusion(ctx: Context, split: str) -> None:
    """The matrix; a cell leads to its images, and the chosen one back to all."""
    frame = ctx.ask(image_views.confusion, split)
    if not len(frame):
        return
    if frame["scene"].nunique() > MATRIX:
        pairs(ctx, split)
        return
    caption = ctx.caption(f"split {split}" if split else "", layered=False)

    chosen = address.get("scene"), address.get("predicted")
    rows, columns = run_figures.confusion_order(frame)
    cells = {}
    for row in frame.itertuples():
        pair = (str(row.scene), str(row.predicted))
        current = pair == chosen
        to = dict.fromkeys(("scene", "predicted"), "") if current else {}
        to = to or {"scene": pair[0], "predicted": pair[1]}
        hint = (
            f"{plain_name(pair[0])} predicted as {plain_name(pair[1])}: "
            f"{counted(int(row.images), _noun(ctx))}, {row.share:.0%} of the scene"
        )
        href = address.here(**to, page="")
        cells[pair] = draw.Cell(row.share, str(row.images), hint, href, current)
    draw.matrix(
        lambda dark: run_figures.confusion(frame, caption, dark, split),
        "confusion",
        "Confusion matrix: true scenes against predicted scenes; a cell leads to its images",
        {name: draw.Head(plain_name(name)) for name in rows},
        {name: draw.Head(plain_name(name)) for name in columns},
        cells,
        explanations.CONFUSION,
        frame,
    )


def bring_photos(choice: Filter) -> None:
    """Have the photos of the cell that the address names brought into view, once."""
    if choice.scene and choice.predicted:
        draw.bring(".st-key-cell-photos", f"{choice.scene} {choice.predicted}")


def pairs(ctx: Context, split: str) -> None:
    """The commonest mistakes, where a matrix would be too large; a row filters the images."""
    frame = ctx.ask(confused_pairs, split)
    if not len(frame):
        st.info("The network made no mistake here.", icon=":material/check:")
        return

    def clicked(place: int | None) -> None:
        pair = {"scene": "", "predicted": ""}
        if place is not None:
            pair = {name: str(frame[name].iloc[place]) for name in pair}
        address.put(pair, drop=("page",))

    view = pd.DataFrame(
        {
            "scene": [_scene(n) for n in frame["scene"]],
            "predicted as": [_said(n) for n in frame["predicted"]],
            "images": frame["images"],
            "share of the scene": frame["share"],
        }
    )
    draw.caption(
        f"The {len(frame)} commonest mistakes on {run_views.judged_words(split)}. Choose a row to "
        "see its images."
    )
    draw.table(
        view,
        f"mistakes-{split or 'all'}",
        "Scenes and what they were predicted as, commonest first",
        picked=clicked,
        height=min(38 + 35 * len(view), 420),
        caption=" / ".join(ctx.caption(f"split {split}" if split else "", layered=False).lines()),
        column_config={
            "share of the scene": st.column_config.ProgressColumn(
                format="percent", min_value=0, max_value=1
            )
        },
    )


def image_rows(ctx: Context, frame: pd.DataFrame, page: int) -> None:
    """Images without photos, as a table; a click on a row opens the image."""

    def choose(place: int | None) -> None:
        if place is not None:
            address.put({"image": str(frame["id"].iloc[place])})

    view = pd.DataFrame(
        {
            "image": frame["id"],
            "split": frame["split"],
            "scene": [_scene(n) for n in frame["scene_name"]],
            "prediction": [_said(n) for n in frame["predicted_name"]],
            "outcome": [_outcome(c) or "not scored" for c in frame["correct"]],
        }
    )
    draw.table(
        view,
        f"images-{page}",
        "Images with their scene, the prediction, right or wrong",
        picked=choose,
        height=min(38 + 35 * len(view), 600),
        caption=" / ".join(ctx.caption(layered=False).lines()),
    )


def all_photos(ctx: Context) -> None:
    """Filters, gallery, matrix."""
    st.title("Scenes")
    lede = "The photos as the network saw them, and what it predicted."
    if not ctx.facts.photos:
        lede = "What was predicted of each image. This run holds predictions without photos."
    elif ctx.facts.no_answers:
        lede = (
            "The photos as the network saw them. It has no classifier, so it says nothing of them."
        )
    st.html(f'<p class="lede">{lede}</p>')
    missing(ctx)
    choice, view = choose(ctx)
    where = address.number("page", 1)
    size = SIZE if ctx.facts.photos else ROWS
    total, frame = ctx.ask(gallery, choice, max(1, where), size)
    counts = counted(total, _noun(ctx))
    if view == "matrix" and not unanswered(ctx.run, "the confusion matrix"):
        confusion(ctx, choice.split)
        if choice.scene or choice.predicted:
            with st.container(key="cell-photos"):
                st.markdown(
                    f"**{plain_name(choice.scene) or 'any scene'}** predicted as "
                    f"**{plain_name(choice.predicted) or 'any'}**: {counts}"
                )
            bring_photos(choice)
    if view == "photos" or choice.scene or choice.predicted:
        if not total:
            st.info(f"No {_noun(ctx)} fits all of these filters.", icon=":material/filter_alt_off:")
            st.page_link(page_files()["Scenes"], label="Show all", query_params=address.kept())
            return
        if view == "photos":
            draw.caption(counts)
        if ctx.facts.photos:
            draw.gallery(tiles_of(ctx, frame), "gallery", tile=140)
        else:
            image_rows(ctx, frame, where)
        address.pages("page", -(-total // size))
    selection.bar(
        ctx,
        "Scenes",
        [name for name in (*FILTERS, "view") if name != "page"],
        lambda: photos_of(ctx.run, choice),
        "photos",
    )
    if choice.concept and view == "photos":
        st.page_link(
            page_files()["Units"],
            label=f"Units that detect {shown_name(choice.concept)}",
            icon=":material/grid_view:",
            query_params=address.kept(concept=choice.concept),
        )


# -- one photo ------------------------------------------------------------------------------


def one_photo(ctx: Context, image_id: str) -> None:
    """Mask, labels, prediction and the units most active."""
    try:
        image = ctx.ask(image_number, image_id)
    except UnitscopeError as err:
        known = str(err).split("nearest: ")[-1].split(" (of")[0].split(", ")
        links = {f"Open {n}": address.kept(image=n) for n in known[:3] if "nearest" in str(err)}
        st.title("Scenes")
        stop(
            f"This run has no image “{image_id}”.",
            {**links, f"Show all {_noun(ctx)}s": address.kept()},
            "Scenes",
        )
    facts = ctx.ask(image_facts, image)
    top_row(ctx, facts)
    if not ctx.facts.photos:
        no_photo(ctx, facts)
        return
    scene = plain_name(facts.scene_name) if isinstance(facts.scene_name, str) else ""
    title, about = (
        (scene or "no scene").capitalize(),
        f"Photo {facts.id} · split {facts.split}",
    )
    said = _said(facts.predicted_name)
    if not ctx.facts.no_answers:
        title += ", recognised" if facts.correct else f", predicted as {said}"
        about += f" · confidence {facts.confidence:.0%}"
        if facts.correct is None:
            about += " · the network has no class for this scene"
    st.title(title)
    draw.caption(about)
    marks.editor(ctx, Thing(facts.id))
    left, right = st.columns(2, gap="large")
    labels = ctx.ask(image_labels, image)
    with left:
        picture(ctx, image, facts, labels)
    with right:
        if not unanswered(ctx.run, "what the network says of this photo"):
            probable = ctx.ask(image_views.predictions, image)
            caption = ctx.caption(f"photo {facts.id}", layered=False)
            draw.chart(
                lambda dark: run_figures.predictions(probable, caption, dark),
                f"prediction-{facts.id}",
                f"Bars: the most probable classes; first {said}",
                explanations.PREDICTION,
            )
        label_list(ctx, image, facts, labels)
    units(ctx, image, facts)


def no_photo(ctx: Context, facts: ImageFacts) -> None:
    """All that published predictions tell of an image."""
    scene, said = _scene(facts.scene_name), _said(facts.predicted_name)
    scored = facts.correct is not None
    if not scored:
        st.title("An image that is not scored")
    else:
        right = facts.correct
        st.title(f"{scene.capitalize()}, {'recognised' if right else f'predicted as {said}'}")
    draw.caption(f"Image {facts.id} · split {facts.split}")
    marks.editor(ctx, Thing(facts.id))
    st.info(
        "There is no photo to show: this run was made from published predictions, which hold "
        "what the network said and nothing more."
        + ("" if scored else " For this image they name no scene to check against."),
        icon=":material/hide_image:",
    )
    links = {}
    if isinstance(facts.scene_name, str):
        links[f"All images of {scene}"] = {"scene": facts.scene_name}
    if isinstance(facts.predicted_name, str):
        links[f"All images predicted as {said}"] = {"predicted": facts.predicted_name}
    for label, to in links.items():
        st.page_link(
            page_files()["Scenes"],
            label=label,
            icon=":material/arrow_forward:",
            query_params=address.kept(**to),
        )


def top_row(ctx: Context, facts: ImageFacts) -> None:
    """Back to the gallery, and to the neighbours."""
    back = {k: address.get(k) for k in (*FILTERS, "view") if address.get(k)}
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.page_link(
            page_files()["Scenes"],
            label=f"All {_noun(ctx)}s",
            icon=":material/arrow_back:",
            query_params=address.kept(**back),
        )
        with st.container(horizontal=True, width="content"):
            if ctx.layer:
                st.page_link(
                    page_files()["Explain"],
                    label="What was seen?" if ctx.facts.no_answers else "Why?",
                    icon=":material/question_mark:",
                    query_params=address.kept(image=facts.id),
                    help="What its units saw of this photo."
                    if ctx.facts.no_answers
                    else "Why the network said what it said of this photo.",
                )
            for word, near in (("Previous", facts.before), ("Next", facts.after)):
                st.page_link(
                    page_files()["Scenes"],
                    label=word,
                    disabled=near is None,
                    query_params=address.kept(**back, image=near or ""),
                )


def picture(ctx: Context, image: int, facts: ImageFacts, labels: pd.DataFrame) -> None:
    """The photo, plain, under its labels, or with one concept alone."""
    channels = [name for name, _ in ctx.facts.channels]
    regions = labels[~labels["whole"].astype(bool)]
    highlight = address.get("label")
    view = "photo"
    if channels:
        sides = {"photo": "photo alone", **{one: one for one in channels}}
        view = address.views(sides, "mask", "Show", ("label",), channels[0], wrap=True)
    only = regions.loc[regions["name"] == highlight, "concept"]
    if len(only):
        shown = ctx.picture(mask_photo, image, 0, int(only.iloc[0]))
    elif view != "photo":
        shown = ctx.picture(mask_photo, image, channels.index(view))
    else:
        shown = ctx.picture(thumbnail, image, 480)
    listed = ", ".join(regions["name"].head(6))
    here = {k: v for k, v in address.everything().items() if k != "label"}
    draw.labelled(
        shown,
        f"Photo {facts.id}; annotated: {listed}",
        ctx.ask(label_planes, image),
        "photo",
        address.query(here) + "&label=",
    )
    if channels:
        draw.caption("Rest the pointer on the photo to read what is there; a click shows it alone.")
    if len(only):
        draw.caption(f"Only **{shown_name(highlight)}**, as annotated.")


def label_list(ctx: Context, image: int, facts: ImageFacts, labels: pd.DataFrame) -> None:
    """What is annotated, with areas; a row shows that concept alone."""
    if not len(labels):
        draw.caption("Nothing is annotated in this photo.")
        return

    def clicked(place: int | None) -> None:
        address.put({"label": "" if place is None else labels["name"].iloc[place]})

    colors = ctx.ask(image_colors, image)
    table = pd.DataFrame(
        {
            "color": [
                "" if whole or int(c) not in colors else swatch(colors[int(c)])
                for c, whole in zip(labels["concept"], labels["whole"], strict=True)
            ],
            "concept": [shown_name(n) for n in labels["name"]],
            "category": labels["category"],
            "area": labels["share"] * 100,
        }
    )
    draw.table(
        table,
        f"labels-{facts.id}",
        "Concepts annotated in the photo with their areas",
        picked=clicked,
        height=min(38 + 35 * len(table), 290),
        column_config={
            "color": st.column_config.ImageColumn("Color", width=50),
            "area": st.column_config.ProgressColumn(
                "share of the photo", format="%.1f %%", min_value=0, max_value=100
            ),
        },
    )
    draw.caption("Choose a row to see that concept alone.")


def units(ctx: Context, image: int, facts: ImageFacts) -> None:
    """The units for which this photo is among the strongest."""
    draw.subheader("Units that respond to this photo")
    kinds = {one.value: f"IoU: {one.short}" for one in Eq2}
    with st.container(horizontal=True):
        kind = address.views(kinds, "eq2", "IoU", usual="image")
        draw.explain(explanations.ACTIVE_UNITS)
    frame = ctx.ask(active_units, ctx.layer, image, ctx.denominator, kind)
    if not len(frame):
        draw.caption(f"No unit of {ctx.layer} is above its threshold here.")
        return
    if ctx.ask(has_maps, ctx.layer):
        tiles: list[draw.Tile] = [
            {
                "src": ctx.picture(region_photo, ctx.layer, int(row.unit), image, 260),
                "title": f"unit {row.unit}: {row.label}",
                "sub": f"rank {row.rank} of {row.images}"
                + (f", overlaps {shown_name(row.here)}" if isinstance(row.here, str) else ""),
                "alt": f"The photo, bright where unit {row.unit} ({row.label}) is active",
                "href": "Units" + address.query(address.kept(unit=str(row.unit))),
            }
            for row in frame.itertuples()
        ]
        draw.gallery(tiles, "active", tile=140)
    else:
        draw.caption("This run kept no activation maps, so active regions cannot be drawn.")
    table = pd.DataFrame(
        {
            "unit": frame["unit"],
            "label": frame["label"],
            "IoU": frame["iou"],
            "p-value": frame["chance"],
            "rank": frame["rank"],
            "of images": frame["images"],
            "active": frame["share"] * 100,
            "overlaps here": [_word(n) for n in frame["here"]],
            "IoU here": frame["iou_here"],
        }
    )
    draw.table(
        table,
        f"units-{facts.id}",
        "The units most active in the photo, with their labels",
        caption=" / ".join(ctx.caption(f"photo {facts.id}").lines()),
        column_config={
            "IoU": st.column_config.NumberColumn(format="%.3f"),
            "IoU here": st.column_config.NumberColumn(format="%.4f"),
            "p-value": st.column_config.NumberColumn(format="%.3f", help=explanations.CHANCE),
            "active": st.column_config.NumberColumn("active (% of photo)", format="%.1f"),
        },
    )


def _word(name: object) -> str:
    return shown_name(name) if isinstance(name, str) else "no label"


ctx = page("Scenes")
asked = address.get("image")
if asked:
    one_photo(ctx, asked)
else:
    all_photos(ctx)
