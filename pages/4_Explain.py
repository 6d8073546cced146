"""Explain: why the network said what it said of one photo, step by step."""

from __future__ import annotations

import random
from collections.abc import Sequence
from functools import partial
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
import streamlit as st

from core.explain.account import Account, Listed, Side
from core.explain.account import spoken as a
from core.figures import explain as figures
from core.figures import runs as run_figures
from core.figures.base import Caption
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.foundation.settings import limits
from core.foundation.vocabulary import Core, Eq2, Strategy
from core.views import explain
from core.views import runs as run_views
from core.views.explain import MEASURES, SIDES, Told, account_table
from core.views.explain import own_photo as own_photo_account
from core.views.explain import verdict as speaks
from core.views.images import (
    Filter,
    concepts,
    confused_pairs,
    fitting,
    image_labels,
    image_number,
    probable,
)
from core.views.knowledge import Known
from core.views.names import shown_name
from core.views.pictures import thumbnail, unit_photo
from core.views.units import has_maps, unit_images
from pages.parts import address, causes, draw, explanations, graph, own_units
from pages.parts.cache import count_photo, network
from pages.parts.frame import Context, page, page_files, sentence, stop, unanswered

ANY = ("", "", "")
MISTAKE = ("", "", "wrong")
PAIRS = 200
SHOWN = ("see", "lit", *causes.PARAMETERS)
POOL = ("scene", "predicted", "outcome")
TILES = 12
UNITS = 3

VIEWS = {"run": "A photo of this run", "own": "A photo of your own"}
STRATEGIES = Strategy.longs(first=Strategy.MINMAX_THRESHOLD)
EQ2 = Eq2.longs()
CORE = Core.longs(first=Core.SCC)
GROUPS = {
    "met": "Core and detected",
    "missed": "Core, not detected",
    "foreign": "Detected, not core",
}
CSS = """
<style>
.stMain .st-key-measures .stHorizontalBlock:has(> .stColumn:nth-child(3)) {flex-wrap: wrap}
.stMain .st-key-measures .stHorizontalBlock:has(> .stColumn:nth-child(3)) > .stColumn {
  min-width: 19rem; flex: 1 1 19rem}
.st-key-evidence {max-width: 34rem}
p.account {font-size: 1.06rem; line-height: 1.55; max-width: 56rem; margin: 0 0 .4rem}
</style>
"""


# -- which photo ----------------------------------------------------------------------------


def pool(ctx: Context, split: str) -> Filter:
    """The photos to go through: all, the mistakes, or one confusion of a split (all where ""); kept
    in the address."""
    pairs = ctx.ask(confused_pairs, split, PAIRS)
    counts = {
        (str(r.scene), str(r.predicted), ""): f"{plain_name(r.scene)} → {plain_name(r.predicted)} "
        f"({r.images})"
        for r in pairs.itertuples()
    }
    names = {ANY: "any photo", MISTAKE: "any mistake", **counts}
    if ctx.facts.no_answers:
        names = {ANY: "any photo"}
    now = scene, said, outcome = (
        address.get("scene"),
        address.get("predicted"),
        address.get("outcome"),
    )
    if now not in names:
        result = f"{plain_name(scene) or 'any scene'} → {plain_name(said) or 'anything'}"
        names[now] = f"{result}, {outcome}" if outcome else result

    bound = address.bind(
        "pool",
        now,
        lambda chosen: dict(zip(POOL, chosen, strict=True)),
        drop=("image", *SHOWN),
        key="explain-pool",
    )
    counted = run_views.judged_words(split)
    st.selectbox(
        "Photos" if ctx.facts.no_answers else f"True scene → prediction, on {counted}",
        list(names),
        format_func=names.__getitem__,
        **bound,
    )
    return Filter(now[0], now[1], now[2], split)


def choose(ctx: Context) -> tuple[Filter, str]:
    """The row in which a photo is chosen: (which photos, the photo's id)."""
    first, left, middle, right = st.columns([2, 4, 3, 2], vertical_alignment="bottom")
    with first:
        splits = ctx.ask(run_views.splits)
        split = address.split(
            "split", "Split", splits, ctx.facts.judged, drop=("image", *POOL, *SHOWN)
        )
    with left:
        try:
            choice = pool(ctx, split)
            fitting(ctx.run, choice)  # raises where no photo can be meant, an id beside it or not
            image = address.get("image") or ctx.ask(explain.clearest, choice)
        except UnitscopeError as err:
            stop(f"{sentence(err)}.", {"Show any photo": address.kept()}, "Explain")
    if image is None:
        st.info("No photo fits that.", icon=":material/filter_alt_off:")
        st.page_link(page_files()["Explain"], label="Show any photo", query_params=address.kept())
        st.stop()

    def typed() -> None:
        address.put({"image": st.session_state["explain-id"].strip()}, drop=SHOWN)

    def random_one() -> None:
        among = choice
        if not (choice.scene or choice.predicted or choice.outcome or ctx.facts.no_answers):
            among = Filter(outcome="wrong", split=split)
        found = ctx.ask(explain.drawn, among, random.randrange(2**31))
        if found is not None:
            address.put({"image": found}, drop=SHOWN)

    with middle:
        st.session_state["explain-id"] = image
        st.text_input("Photo", key="explain-id", on_change=typed)
    with right:
        another = choice.scene or choice.predicted or ctx.facts.no_answers
        st.button(
            "Another at random" if another else "A random mistake",
            on_click=random_one,
            icon=":material/shuffle:",
            width="stretch",
        )
    return choice, image


def settings() -> tuple[str, str]:
    """(strategy, reading of Eq. 2), kept in the address."""
    row = st.columns(2, vertical_alignment="bottom")
    with row[0]:
        strategy = address.select(
            "strategy",
            "Concept selection strategy",
            list(STRATEGIES),
            "minmax_threshold",
            drop=("lit",),
            format_func=STRATEGIES.get,
        )
    with row[1]:
        eq2 = address.select("eq2", "IoU", list(EQ2), "image", drop=("lit",), format_func=EQ2.get)
    return strategy, eq2


# -- one account ----------------------------------------------------------------------------


def question(result: Account) -> str:
    """The account's heading: what a person would ask."""
    what = plain_name(result.target) if result.target else "photo"
    if result.predicted is None:
        return f"What did its units detect in this {what}?"
    if result.correct:
        return f"Why did it recognise this {what}?"
    return f"Why did it call this {what} {a(result.predicted)}?"


def seen_items(told: Told, items: Sequence[Listed], linked: bool) -> list[draw.Item]:
    """Lines of a ledger: concepts with place and units; a click shows one in the photo."""
    seen = {one.id: one for one in told.account.seen}
    lines: list[draw.Item] = []
    for item in items:
        one, shown = seen.get(item.id), told.shown(item)
        line: draw.Item = {"text": shown}
        if linked and item.annotated:
            label = told.label(item)
            line["href"] = address.here(see=label, lit="")
            line["hint"] = f"Show {shown} in the photo"
            line["current"] = label == address.get("see")
        if one is not None:
            count = f"{one.count} unit{'s' * (one.count != 1)}:"
            line["sub"] = f"{one.where.words}, {count}" if one.where else count
            line["units"] = [
                {
                    "text": str(u.unit),
                    "href": "Units" + address.query(address.kept(unit=str(u.unit))),
                    "hint": f"unit {u.unit}, IoU {u.iou:.3f}",
                }
                for u in one.units[:UNITS]
            ]
        lines.append(line)
    return lines


def sides(told: Told, linked: bool) -> list[draw.Side]:
    """The two scenes of an account as columns of a ledger."""
    result = told.account
    heads = {"predicted": "Prediction", "target": "The true scene"}
    columns: list[draw.Side] = []
    both = bool(result.correct)
    for name in SIDES:
        if (both and name == "target") or (result.no_answers and name == "predicted"):
            continue
        facts = result.sides.get(name)
        tone = "both" if both else name
        head = "Prediction and true scene" if both else heads[name]
        if facts is not None:
            columns.append(
                one_side(told, facts, f"{head}: {plain_name(facts.scene)}", tone, linked)
            )
        elif name == "predicted" and result.predicted is not None:
            note = "No scene of this dataset, so it has no core concepts here."
            title = f"{head}: {plain_name(result.predicted)}"
            columns.append({"title": title, "tone": tone, "note": note, "groups": []})
    return columns


def one_side(told: Told, facts: Side, title: str, tone: str, linked: bool) -> draw.Side:
    """One scene as a column of a ledger."""
    size = len(facts.core)
    note = f"{size} core concept{'s' * (size != 1)}"
    if not size:
        note = "No core concepts are known for it: try another kind of them above."
    groups: list[draw.Group] = []
    masks = told.account.masks
    absent = [told.shown(item) for item in facts.missed if item.annotated is False or not masks]
    for key, word in GROUPS.items():
        items = [
            item
            for item in getattr(facts, key)
            if key != "missed" or (masks and item.annotated is not False)
        ]
        if not items:
            continue
        heading = f"{word}: {len(items)}" + (f" of {size}" if key != "foreign" else "")
        groups.append({"title": heading, "mark": key, "items": seen_items(told, items, linked)})
    if absent:
        why = "not annotated" if masks else "label of no active unit"
        heading = f"Core, {why}: {len(absent)} of {size}"
        at = next((k for k, g in enumerate(groups) if g["mark"] == "foreign"), len(groups))
        groups.insert(at, {"title": heading, "items": [{"text": ", ".join(absent)}]})
    return {"title": title, "note": note, "tone": tone, "groups": groups}


def evidence(ctx: Context, result: Account, image: int) -> None:
    """The photo, with one concept and one unit's active region where they were chosen."""
    labels = ctx.ask(image_labels, image)
    named = ctx.ask(concepts).set_index("label")
    wanted = address.get("see")
    here = set(labels["concept"])
    concept = int(named.loc[wanted, "concept"]) if wanted in named.index else None
    if wanted and concept not in here:
        draw.caption(f"“{wanted}” is not annotated in this photo.")
        concept = None
    alt = f"Photo {result.image} as the network saw it"
    maps = ctx.ask(has_maps, ctx.layer)
    if concept is None:
        with st.container(key="evidence"):
            draw.picture(ctx.picture(thumbnail, image, 560), alt)
        draw.caption("What the network saw. Click a concept to see where it is.")
        return
    one = next((s for s in result.seen if s.id == concept), None)
    word = shown_name(wanted)
    unit = None
    box = st.container(key="evidence")
    if one is not None and maps:
        options = [str(u.unit) for u in one.units]
        chosen = address.select(
            "lit",
            f"Units that detect {word} here",
            [*options, "none"],
            options[0],
            widget=st.segmented_control,
            wrap=True,
            format_func=lambda u: u if u == "none" else f"unit {u}",
        )
        unit = None if chosen == "none" else int(chosen)
    with box:
        picture = ctx.picture(explain.evidence, ctx.layer, image, concept, unit, 560)
        draw.picture(
            picture,
            alt=f"{alt}; bright: {word}"
            + ("" if unit is None else f"; outlined: where unit {unit} is active"),
        )
    told_line = f"Bright: **{word}**, as annotated."
    if unit is not None:
        told_line += f" Yellow line: where unit {unit} is active."
    elif one is None:
        told_line += " No unit has learned it here."
    elif not maps:
        told_line += " This run kept no activation maps, so active regions cannot be drawn."
    draw.caption(told_line)
    st.page_link(
        page_files()["Explain"],
        label="The whole photo again",
        icon=":material/close:",
        query_params={k: v for k, v in address.everything().items() if k not in SHOWN},
    )


def seen_tiles(ctx: Context, told: Told, image: int) -> None:
    """LC(x), the learned concepts, in pictures."""
    result = told.account
    seen = result.seen
    draw.subheader("Learned concepts LC(x)")
    count = f"{result.active_units} active unit{'s' * (result.active_units != 1)}"
    if not seen:
        draw.caption(f"{count} of {ctx.layer}; none overlaps anything annotated here.")
        return
    more = f"; the {TILES} clearest of {len(seen)}" if len(seen) > TILES else ""
    tau = f"; the threshold τ of this photo is {result.tau:.4f}" if result.tau else ""
    draw.caption(
        f"{count} of {ctx.layer} learned {len(seen)} concept{'s' * (len(seen) != 1)}{more}{tau}."
    )
    maps = ctx.ask(has_maps, ctx.layer)
    tiles: list[draw.Tile] = []
    for one in seen[:TILES]:
        unit, shown = one.units[0].unit, told.shown(one)
        where = f", {one.where.words}" if one.where else ""
        tiles.append(
            {
                "src": ctx.picture(
                    explain.evidence, ctx.layer, image, one.id, unit if maps else None, 224
                ),
                "title": shown,
                "sub": f"unit {unit}, IoU {one.iou:.3f}{where}",
                "alt": f"The photo, bright where {shown} is, with the region where unit "
                f"{unit} is active",
                "href": "Units" + address.query(address.kept(unit=str(unit))),
            }
        )
    draw.gallery(tiles, "seen", tile=140)


def measures(result: Account, caption: Any, stem: str) -> None:
    """CM, SM and DM of the photo's scenes among all scenes, and what they say of a mistake."""
    draw.subheader("CM, SM and DM of each scene")
    frame = pd.DataFrame(result.scenes)
    if not len(frame):
        draw.caption("No scene has core concepts of this kind, so there is nothing to compare.")
        return
    both = {name: facts.scene for name, facts in result.sides.items()}
    verdict(result)
    texts = {"CM": explanations.CM, "SM": explanations.SM, "DM": explanations.DM}
    with st.container(key="measures"):
        for column, name in zip(st.columns(3, gap="medium"), MEASURES, strict=True):
            with column:
                draw.chart(
                    partial(figures.measure, frame, name, both, caption),
                    f"{stem}-{name}",
                    f"Bars: {name} of the photo for its scenes, with ticks for all scenes",
                    texts[name],
                )
    ranks = {name: frame[f"{name}_rank"].tolist() for name in MEASURES}
    with st.expander("All scenes, as a table"):
        view = pd.DataFrame(
            {
                "scene": [plain_name(s) for s in frame["scene"]],
                "core concepts": frame["size"],
                **{
                    key: column
                    for name in MEASURES
                    for key, column in (
                        (name, frame[name]),
                        (f"rank by {name}", [shared(r, ranks[name]) for r in ranks[name]]),
                    )
                },
            }
        )
        draw.table(
            view,
            f"{stem}-scenes",
            "CM, SM and DM of the photo for every scene, with ranks",
            caption=" / ".join(caption.lines()),
            height=min(38 + 35 * len(view), 420),
            column_config={name: st.column_config.NumberColumn(format="%.3f") for name in MEASURES},
        )


def shared(rank: int, ranks: list[int]) -> int | None:
    """A rank, or none where all scenes share it."""
    return rank if len(set(ranks)) > 1 else None


def verdict(result: Account) -> None:
    """Whether the measures speak for the network's answer."""
    found = speaks(result)
    if all(value is None for value in found.values()):
        return
    answer, truth = (plain_name(result.sides[side].scene) for side in SIDES)
    speak = [name for name, value in found.items() if value]
    against = [name for name, value in found.items() if not value]
    is_are = "is" if len(speak) == 1 else "are"
    text = (
        f"**{len(speak)} of {len(found)} measures {is_are} larger for {answer}**, the network’s "
        f"answer, than for {truth}, the true scene"
    )
    text += f" ({', '.join(speak)}" if speak else " ("
    text += f"{'; not ' if speak else 'not '}{', '.join(against)})." if against else ")."
    text += " A larger DM means that more is foreign to the scene."
    with st.container(horizontal=True, vertical_alignment="center"):
        st.markdown(text)
        draw.explain(explanations.VERDICT, "What that proves")


def as_table(told: Told, caption: Any, stem: str) -> None:
    """The account as a table that can be exported."""
    frame = account_table(told)
    with st.expander("The account, as a table"):
        view = frame.assign(
            side=frame["side"].map({"predicted": "prediction", "target": "true scene"}),
            scene=[plain_name(s) for s in frame["scene"]],
            annotated=[
                "" if pd.isna(v) else "yes" if v else "no"
                for v in frame["annotated"].astype(object)
            ],
        ).rename(columns={"iou": "IoU"})
        draw.table(
            view,
            f"{stem}-account",
            "Core concepts detected and not, and others detected, for both scenes",
            caption=" / ".join(caption.lines()),
            height=min(38 + 35 * len(view), 420),
            column_config={"IoU": st.column_config.NumberColumn(format="%.4f")},
        )


# -- the two views --------------------------------------------------------------------------


def one_account(ctx: Context, known: Known) -> None:
    """An annotated photo of the run."""
    choice, image_id = choose(ctx)
    try:
        image = ctx.ask(image_number, image_id)
    except UnitscopeError as err:
        near = []
        if "nearest: " in str(err):
            near = str(err).split("nearest: ")[-1].split(" (of")[0].split(", ")
        links = {f"Explain {n}": address.kept(image=n) for n in near[:3]}
        stop(
            f"This run has no photo “{image_id}”.",
            {**links, "Show any photo": address.kept()},
            "Explain",
        )
    kind = address.select("cc", "Core concepts", list(CORE), "scc", format_func=CORE.get, width=520)
    neighbours(ctx, choice, image, image_id)
    # What caused the answer stands first and is drawn last: the network has to be opened for it.
    first = st.container()
    silent = bool(ctx.facts.no_answers)
    st.header("Learned concepts" if silent else "The paper’s account", divider="grey")
    if not silent:
        draw.caption(
            "CM, SM and DM of “Knowledge-aware Neuron Interpretation for Scene Classification” "
            "(AAAI 2024), Eqs. 2 to 5: the learned concepts against the core "
            "concepts of the scenes. They do not say what caused the answer."
        )
    result = paper(ctx, known, image, image_id, kind)
    with first:
        draw.subheader(question(result))
        if not silent:
            causes.section(ctx, known, image, image_id, kind)


def paper(ctx: Context, known: Known, image: int, image_id: str, kind: str) -> Account:
    """The paper's account of a photo of the run."""
    strategy, eq2 = settings()
    if not ctx.facts.no_answers:
        tested = explain.worth(ctx.run, strategy, eq2, kind)
        with st.container(horizontal=True, vertical_alignment="center"):
            draw.caption(tested or "What such an account is worth can be tested on this run.")
            st.page_link(
                page_files()["Reliance"],
                label="Test of truth",
                icon=":material/fact_check:",
                query_params=address.kept(view="truth"),
            )
    told = ctx.ask(explain.account, known, image_id, ctx.layer, strategy, eq2, kind)
    result = told.account
    st.html(f'<p class="account">{_escaped(result.sentence)}</p>')
    left, right = st.columns([5, 7], gap="large")
    with left:
        evidence(ctx, result, image)
    with right:
        draw.ledger(sides(told, True), "account", keep=".st-key-evidence")
        row = st.container(horizontal=True)
        with row:
            draw.explain(explanations.SIDES, "How to read this")
            draw.explain(explanations.LEARNED, "Learned concepts LC(x)")
            draw.explain(explanations.CORE, "Core concepts")
    way = figures.definition(strategy, eq2, kind, known.name)
    split = f"photo {image_id}" + (f" ({result.split})" if result.split else "")
    caption = Caption(ctx.facts.dataset, ctx.facts.model, ctx.layer, way, split)
    stem = f"explain-{image_id}"
    seen_tiles(ctx, told, image)
    measures(result, caption, stem)
    as_table(told, caption, stem)
    return result


def neighbours(ctx: Context, choice: Filter, image: int, image_id: str) -> None:
    """Where the photo stands among those chosen; the one before and after; its own page."""
    place = ctx.ask(explain.place, choice, image)
    now = {k: v for k, v in address.everything().items() if k not in ("image", *SHOWN)}
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.page_link(
            page_files()["Scenes"],
            label=f"Photo {image_id} and its labels",
            icon=":material/photo_library:",
            query_params=address.kept(image=image_id),
        )
        with st.container(horizontal=True, width="content", vertical_alignment="center"):
            if place.number:
                draw.caption(f"{place.number:,} of {place.total:,}")
            for word, near in (("Previous", place.before), ("Next", place.after)):
                st.page_link(
                    page_files()["Explain"],
                    label=word,
                    disabled=near is None,
                    query_params={**now, "image": near or image_id},
                )


def own_photo(ctx: Context, known: Known) -> None:
    """Any photo: the labels of active units stand in for masks."""
    st.info(
        "Nobody annotated your photo. Active units speak for their labels on this run’s photos, "
        "and that stands in **badly** for masks: where it was measured, about one in five concepts "
        "named this way was right.",
        icon=":material/warning:",
    )
    draw.explain(explanations.OWN_PHOTO, "How badly, and why")
    draw.caption(
        "In a photo without masks nothing can be removed by name. What can be told: which units "
        "carry the prediction, and what the network predicts without them."
    )
    left, right = st.columns(2, vertical_alignment="bottom", gap="large")
    with left:
        given = st.file_uploader(
            "A photo (JPEG, PNG, WebP, AVIF, BMP, TIFF)",
            help="It is shown to the network on this machine, "
            "is sent nowhere else and is not kept. A link to this page does not hold it.",
            max_upload_size=limits().photo_mb,
        )
    with right:
        kind = address.select("cc", "Core concepts", list(CORE), "scc", format_func=CORE.get)
    if given is None:
        return
    try:
        told = of_own_photo(ctx, known, given.getvalue(), given.name, kind)
    except UnitscopeError as err:
        st.warning(f"{sentence(err)}.", icon=":material/broken_image:")
        return
    result = told.account
    draw.subheader(question(result))
    st.html(f'<p class="account">{_escaped(result.sentence)}</p>')
    left, right = st.columns([5, 7], gap="large")
    if result.probabilities:
        with right:
            likely = probable(ctx.run, np.asarray(result.probabilities))
            draw.chart(
                partial(run_figures.predictions, likely, ctx.caption(given.name, layered=False)),
                "prediction-own",
                f"Bars: the most probable classes; first {plain_name(result.predicted or '')}",
                explanations.PREDICTION,
            )
    with left:
        with st.container(key="evidence"):
            draw.picture(told.photo, alt=f"{given.name} as the network saw it")
        draw.caption(
            f"What the network saw of {given.name}. {result.active_units} units of {ctx.layer} "
            f"are active; {len(result.seen)} concepts are the label of one that beats chance."
        )
    if not ctx.facts.no_answers:
        own_units.section(ctx, known, given.getvalue(), given.name, kind)
    draw.subheader("Labels of the active units")
    draw.ledger(sides(told, False), "own-account")
    draw.explain(explanations.CORE, "Core concepts")
    usual_photos(ctx, told)
    if not result.seen:
        # CM, SM and DM of nothing are 0 for every scene: three charts without a bar.
        draw.caption(
            "No active unit has a label better than chance, so no concept counts as learned, and "
            "CM, SM and DM say nothing of this photo."
        )
        return
    way = f"labels of active units, {known.core[kind].kind.upper()} of {known.name}"
    caption = Caption(ctx.facts.dataset, ctx.facts.model, ctx.layer, way, given.name)
    measures(result, caption, "explain-own")
    as_table(told, caption, "explain-own")


def usual_photos(ctx: Context, told: Told) -> None:
    """The active units with a label, each with the photo of the run in which it peaks highest."""
    units = {unit.unit: told.shown(one) for one in told.account.seen for unit in one.units[:1]}
    if not units:
        return
    draw.subheader("Active units, and what usually makes them active")
    tiles: list[draw.Tile] = []
    for unit, name in list(units.items())[:TILES]:
        image = int(ctx.ask(unit_images, ctx.layer, unit, None, 1)["image"].iloc[0])
        tiles.append(
            {
                "src": ctx.picture(unit_photo, ctx.layer, unit, image, 224),
                "title": f"unit {unit}: {name}",
                "alt": f"Photo of the run, bright where unit {unit} ({name}) is active",
                "href": "Units" + address.query(address.kept(unit=str(unit))),
            }
        )
    draw.gallery(tiles, "usual", tile=140)
    draw.caption("These are photos of the run, not yours: each where the unit peaks highest.")


def of_own_photo(ctx: Context, known: Known, data: bytes, name: str, kind: str) -> Told:
    """The account of a photo, held for this visitor until the next one and nowhere else.

    Raises UnitscopeError for a photo that is too large or cannot be read, and where the server
    has explained as many as it may.
    """
    key = (sha256(data).hexdigest(), name, ctx.run.digest, known.digest, ctx.layer, kind)
    held = st.session_state.get("own-photo")
    if held is None or held[0] != key:
        limits().size("the photo", data, limits().photo_mb)
        count_photo()
        opened = network(ctx.run)
        result = own_photo_account(ctx.run, known, opened, data, name, ctx.layer, kind)
        held = st.session_state["own-photo"] = (key, result)
    found: Told = held[1]
    return found


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


ctx = page("Explain")
if not ctx.layer or not ctx.facts.photos:
    st.title("Explain")
    stop(
        "This run holds published predictions, without the network and without photos: "
        "nothing tells what the network saw.",
        {"See how often they are right": address.kept()},
    )
known = graph.chosen(ctx, "Explain")
st.html(CSS)
silent = ctx.facts.no_answers
st.title("What did its units detect?" if silent else "Why did the network say that?")
if unanswered(ctx.run, "why a photo was called what it was"):
    draw.caption(
        "What its units detect in a photo, and which scenes that fits, needs no prediction:"
    )
view = address.select(
    "view",
    "Which photo",
    list(VIEWS),
    "run",
    widget=st.segmented_control,
    drop=("image", "split", *SHOWN, *POOL, *own_units.PARAMETERS),
    format_func=VIEWS.get,
    label_visibility="collapsed",
)
if view == "own":
    own_photo(ctx, known)
else:
    one_account(ctx, known)
