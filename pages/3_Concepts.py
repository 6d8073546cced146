"""Concepts: the core concepts of scenes, with the facts behind it; names and their words."""

from __future__ import annotations

from collections.abc import Callable

import pandas as pd
import streamlit as st

from core.figures import concepts as figures
from core.foundation.errors import nearest
from core.foundation.names import plain_name
from core.foundation.vocabulary import Core
from core.knowledge.align import GUESSES
from core.views import explain, knowledge
from core.views import images as image_views
from core.views.images import concept_id, search_images
from core.views.knowledge import Known
from core.views.names import counted, shown_name
from core.views.units import search_units
from pages.parts import (
    address,
    concept_matrix,
    concept_names,
    directions,
    draw,
    explanations,
    graph,
    merged,
)
from pages.parts.detectors import detectors
from pages.parts.frame import Context, page, page_files, stop

ANY = ""
NUMBER = st.column_config.NumberColumn
SHARE = st.column_config.ProgressColumn

KIND_NAMES = Core.shorts()
SHOW = {
    "": "everything",
    "photos": "in the scene’s photos (C_y)",
    "related": "related by facts (RC)",
    "scc": "SCC: both",
    "icc": "ICC: what distinguishes it",
    "top10": "Top 10: most frequent",
}


# -- all scenes -----------------------------------------------------------------------------


def scenes(ctx: Context, known: Known) -> None:
    """The scenes with their numbers of concepts; a row opens one."""
    asked = address.get("scene")
    if asked:
        one_scene(ctx, known, asked)
        return
    table = ctx.ask(knowledge.scene_table, known)
    shares = ctx.ask(knowledge.percentages, known)
    bare = int((table["scc"] == 0).sum())
    st.markdown(
        f"**{counted(len(table), 'scene')}.** The graph ({graph.line(ctx, known)}) relates "
        f"something in the photos to {len(table) - bare} of them"
        + (f"; of the other {bare}, core concepts come from frequency alone." if bare else ".")
    )
    view = pd.DataFrame(
        {
            "scene": [plain_name(s) for s in table["scene"]],
            "photos": table["images"],
            "in them": table["annotated"],
            "related": table["related"],
            "SCC": table["scc"],
            "ICC": table["icc"],
            "its ICC": table["identifiers"],
            "same as": table["alike"],
        }
    )

    def choose(place: int | None) -> None:
        if place is not None:
            address.put({"scene": str(table["scene"].iloc[place])})

    draw.table(
        view,
        "scenes-concepts",
        "Scenes with their photos, concepts and core concepts",
        explanations.SCENE_CONCEPTS,
        caption=" / ".join(graph.caption(ctx, known).lines()),
        picked=choose,
        height=min(38 + 35 * len(view), 480),
        column_config={
            "in them": NUMBER(help="C_y: concepts annotated in the scene’s photos."),
            "related": NUMBER(help="RC(y, G): the dataset’s concepts that a fact relates to it."),
            "SCC": NUMBER(help="Both: related by a fact, and in the photos."),
            "ICC": NUMBER(help="The related or frequent ones that tell the scene apart."),
            "same as": st.column_config.TextColumn(help="Scenes with the very same ICC."),
        },
    )
    draw.caption("Choose a row to see a scene’s concepts, the facts behind them, and their graph.")
    apart(ctx, known, shares)


def apart(ctx: Context, known: Known, shares: knowledge.Percentages) -> None:
    """P_c and P_sc, how they were found, and the scenes that collide."""
    draw.subheader("Telling scenes apart")
    left, right = st.columns([7, 5], gap="large")
    steps = ctx.ask(knowledge.search_steps, known)
    with left:
        if len(steps):
            draw.chart(
                lambda dark: figures.search(steps, shares.scenes, graph.caption(ctx, known), dark),
                "telling-apart",
                "Lines: how many different sets of concepts the scenes have, by the least "
                "frequency p",
                explanations.PERCENTAGE,
            )
    with right:
        cells = st.columns(2)
        cells[0].metric("P_c", f"{shares.p_c:.0%}", help=explanations.PERCENTAGE)
        cells[1].metric("P_sc", f"{shares.p_sc:.0%}", help=explanations.PERCENTAGE)
        if shares.distinct:
            st.markdown("At this share every scene has identifying concepts of its own.")
        else:
            st.markdown(
                "**No share tells all scenes apart.** At the best one, these have one set of "
                "identifying concepts (ICC) between them:"
            )
            for group in shares.groups:
                st.markdown("- " + ", ".join(plain_name(name) for name in group))


# -- one scene ------------------------------------------------------------------------------


def one_scene(ctx: Context, known: Known, scene: str) -> None:
    """One scene: its graph and its concepts with their facts."""
    names = list(ctx.ask(knowledge.scene_table, known)["scene"])
    if scene not in names:
        near = nearest(scene, names)
        links = {f"Show {plain_name(n)}": address.kept(scene=n) for n in near[:3]}
        stop(
            f"This run has no scene “{scene}”.",
            {**links, "Show all scenes": address.kept()},
            "Concepts",
        )
    facts = ctx.ask(knowledge.scene_facts, known, scene)
    at = names.index(scene)
    with st.container(horizontal=True, horizontal_alignment="distribute"):
        st.page_link(
            page_files()["Concepts"],
            label="All scenes",
            icon=":material/arrow_back:",
            query_params=address.kept(),
        )
        with st.container(horizontal=True, width="content"):
            for word, other in (("Previous", at - 1), ("Next", at + 1)):
                st.page_link(
                    page_files()["Concepts"],
                    label=word,
                    disabled=not 0 <= other < len(names),
                    query_params=address.kept(
                        scene=names[min(max(other, 0), len(names) - 1)],
                        cc=address.get("cc"),
                        show=address.get("show"),
                    ),
                )
    name = plain_name(scene)
    draw.subheader(f"Core concepts of {name}")
    left, right = st.columns([7, 4], gap="large")
    with right:
        st.markdown(result(known, name, facts))
        numbers = {
            "Photos of it": facts.images,
            "Things in them (C_y)": facts.annotated,
            "Related by facts (RC)": facts.related,
            "SCC: both": facts.scc,
            "ICC: what distinguishes it": facts.icc,
        }
        cells = "".join(f"<dt>{word}</dt><dd>{count:,}</dd>" for word, count in numbers.items())
        st.html(f'<dl class="facts">{cells}</dl>')
        draw.explain(explanations.CORE, "What these are")
    with left:
        rings = {kind: f"ring: {name}" for kind, name in KIND_NAMES.items()}
        kind = address.views(rings, "cc", "Ring around", usual="scc")
        neighbourhood(ctx, known, scene, kind)
    concept_rows(ctx, known, scene)


def result(known: Known, name: str, facts: knowledge.SceneFacts) -> str:
    """What the graph knows of a scene, in words."""
    if facts.node is None:
        text = (
            f"**{known.name} has no word for {name}**, so nothing is related to it: SCC is "
            "empty, and ICC holds what is most frequent alone."
        )
        if facts.suggested:
            text += (
                f" What belongs to a “{facts.suggested}” need not belong to it; under *Names "
                "and words* that can be accepted."
            )
    else:
        text = f"In {known.name} it is **{facts.node}**"
        if facts.match in GUESSES:
            text += f", a guess ({facts.match.replace('_', ' ')}, {facts.score:.2f})"
        text += (
            f", with facts about {counted(facts.neighbours, 'other word')}. "
            f"{facts.related} of these are concepts of this dataset, and {facts.scc} are "
            "in the scene’s photos."
        )
        if facts.guessed:
            text += f" Of the related ones, {facts.guessed} rest on a guessed word (see *guess*)."
    alike = facts.alike["icc"]
    if alike:
        text += f" Its ICC is the same as that of {', '.join(plain_name(n) for n in alike)}."
    return text


def neighbourhood(ctx: Context, known: Known, scene: str, kind: str) -> None:
    """The scene's neighbourhood drawn; a click on a dot searches its concept."""
    nodes, edges = ctx.ask(knowledge.picture, known, scene, kind)
    name = plain_name(scene)
    if len(nodes) == 1:
        draw.caption(f"Nothing to draw: no fact and no {KIND_NAMES[kind]} of {name}.")
        return

    def picked(thing: dict[str, object] | None) -> None:
        if thing and thing.get("concept"):
            address.put({"view": "find", "concept": str(thing["label"])}, drop=("scene", "cc"))

    title = f"What {known.name} and the photos say of {name}"
    caption = graph.caption(ctx, known, f"ring: {KIND_NAMES[kind]}")
    draw.deck(
        figures.scene_deck(nodes, edges, ctx.dark),
        lambda dark: figures.scene_graph(nodes, edges, title, caption, dark),
        f"graph-{scene}-{kind}",
        f"Graph: {name} in the middle, around it {len(nodes) - 1} concepts; the table below says "
        "the same",
        figures.graph_height(nodes) + 40,
        explanations.GRAPH,
        picked,
    )
    marks = {"ring": "core concept", "faint": "related, but in none of its photos"}
    st.html(figures.color_legend(sorted(set(nodes["category"]) - {"scene"}), marks, ctx.dark))


def concept_rows(ctx: Context, known: Known, scene: str) -> None:
    """The table of a scene's concepts with filters; a row searches its concept."""
    table = ctx.ask(knowledge.scene_concepts, known, scene)
    draw.subheader("Every concept, and the facts behind it")
    left, middle, right = st.columns([4, 3, 3], vertical_alignment="bottom")
    with left:
        show = address.select("show", "Show", list(SHOW), ANY, format_func=SHOW.get)
    with middle:
        kinds = [ANY, *sorted(set(table["category"]))]
        category = address.select("category", "Category", kinds, format_func=lambda c: c or "any")
    with right:
        word = address.text("word", "Name contains")
    shown = table
    if show:
        column = {"photos": "in_photos"}.get(show, show)
        shown = shown[shown[column]]
    if category:
        shown = shown[shown["category"] == category]
    if word:
        shown = shown[shown["shown"].str.contains(word.lower(), regex=False)]
    if not len(shown):
        st.info("No concept fits these filters.", icon=":material/filter_alt_off:")
        return
    view = pd.DataFrame(
        {
            "concept": shown["shown"],
            "category": shown["category"],
            "frequency": shown["frequency"],
            "photos": shown["images"],
            "related": shown["related"],
            "SCC": shown["scc"],
            "ICC": shown["icc"],
            "Top 10": shown["top10"],
            "facts that brought it in": [
                facts or ("frequency alone" if frequent or top else "")
                for facts, frequent, top in zip(
                    shown["facts"], shown["frequent"], shown["top10"], strict=True
                )
            ],
            "guess": shown["guess"],
        }
    )

    def choose(place: int | None) -> None:
        if place is not None:
            address.put(
                {"view": "find", "concept": str(shown["label"].iloc[place])},
                drop=("scene", "show", "category", "word", "cc"),
            )

    draw.table(
        view,
        f"concepts-{scene}",
        f"Concepts of {plain_name(scene)} with frequency and facts",
        explanations.SCENE_CONCEPTS,
        caption=" / ".join(graph.caption(ctx, known, plain_name(scene)).lines()),
        picked=choose,
        height=min(38 + 35 * len(view), 560),
        column_config={
            "frequency": SHARE(
                format="percent",
                min_value=0,
                max_value=1,
                width="small",
                help="The share of the scene’s photos with the concept.",
            ),
            "facts that brought it in": st.column_config.TextColumn(width="large"),
            "guess": st.column_config.TextColumn(
                help="Guessed words of the graph that these facts rest on; see Names and words."
            ),
        },
    )
    draw.caption(
        f"{len(shown)} of {counted(len(table), 'concept')}. Choose a row to see the photos and "
        "units that have it."
    )


# -- search ---------------------------------------------------------------------------------


def find(ctx: Context, known: Known) -> None:
    """Which images, units and scenes have one concept."""
    table = ctx.ask(image_views.concepts)
    labels = list(table["label"])
    shown_as = dict(zip(labels, table["shown"], strict=True))
    concept = address.get("concept")
    if concept and concept not in labels:
        near = nearest(concept, labels)
        links = {f"Search {shown_name(n)}": address.kept(view="find", concept=n) for n in near[:3]}
        stop(
            f"This run has no concept “{concept}”.",
            {**links, "Show all scenes": address.kept()},
            "Concepts",
        )
    concept = address.select(
        "concept",
        "Which photos, units and scenes have…",
        [ANY, *labels],
        format_func=lambda c: shown_as[c] if c else "choose a concept",
        width=420,
    )
    if not concept:
        commonest(ctx, table)
        return
    number = ctx.ask(concept_id, concept)
    facts = table.set_index("concept").loc[number]
    name = facts["shown"]
    where = ctx.ask(knowledge.scenes_with, known, number)
    draw.subheader(f"{name} ({facts['category']})")
    node = known.alignment["node"].get(facts["name"])
    st.markdown(
        f"In **{counted(int(facts['images']), 'photo')}**"
        + (f" of {counted(int((where['images'] > 0).sum()), 'scene')}" if len(where) else "")
        + (
            f". In {known.name} it is **{node}**."
            if node
            else f". {known.name} has no word for it."
        )
    )
    if ctx.layer:
        units_with(ctx, number, name)
    images = ctx.ask(search_images, number, 12)
    st.markdown(f"**Photos with most {name}**")
    tiles: list[draw.Tile] = [
        {
            "src": ctx.picture(explain.evidence, ctx.layer, int(row.image), number, None, 224),
            "title": plain_name(row.scene_name) if isinstance(row.scene_name, str) else "no scene",
            "sub": f"{row.share:.0%} of the photo",
            "alt": f"Photo {row.id}, bright where {name} is annotated",
            "href": "Scenes" + address.query(address.kept(image=row.id, label=concept)),
        }
        for row in images.itertuples()
    ]
    draw.gallery(tiles, "concept-images", tile=140)
    st.page_link(
        page_files()["Scenes"],
        label=f"All {facts['images']:,} photos with {name}",
        icon=":material/photo_library:",
        query_params=address.kept(concept=concept),
    )
    scene_rows(ctx, known, where, name)


def commonest(ctx: Context, table: pd.DataFrame) -> None:
    """What there is to search, commonest first; a row searches it."""
    table = table.sort_values(["images", "name"], ascending=[False, True], ignore_index=True)

    def choose(place: int | None) -> None:
        if place is not None:
            address.put({"concept": str(table["label"].iloc[place])})

    view = pd.DataFrame(
        {"concept": table["shown"], "category": table["category"], "photos": table["images"]}
    )
    draw.table(
        view,
        "all-concepts",
        "Concepts with their category and number of photos",
        caption=" / ".join(ctx.caption(layered=False).lines()),
        picked=choose,
        height=min(38 + 35 * len(view), 480),
    )
    draw.caption("Choose a row, or a concept above.")


def units_with(ctx: Context, number: int, name: str) -> None:
    """The units that overlap a concept best, in pictures."""
    units = ctx.ask(search_units, ctx.layer, number, ctx.denominator, 6)
    st.markdown(f"**Units of {ctx.layer} that overlap {name} best**")
    if not len(units):
        draw.caption("No unit is active anywhere on it.")
        return
    detectors(ctx, units, number, "concept-units")


def scene_rows(ctx: Context, known: Known, where: pd.DataFrame, name: str) -> None:
    """The scenes that have a concept; a row opens one."""
    st.markdown(f"**Scenes with {name}**")
    if not len(where):
        draw.caption("Colours and scenes are never core concepts, so it is core to no scene.")
        return

    def choose(place: int | None) -> None:
        if place is not None:
            address.put({"scene": str(where["scene"].iloc[place])}, drop=("view", "concept"))

    view = pd.DataFrame(
        {
            "scene": [plain_name(s) for s in where["scene"]],
            "frequency": where["frequency"],
            "photos": where["images"],
            "SCC": where["scc"],
            "ICC": where["icc"],
            "Top 10": where["top10"],
            "facts": where["facts"],
        }
    )
    draw.table(
        view,
        f"scenes-with-{name}",
        f"Scenes by the share of their photos with {name}",
        explanations.SCENE_CONCEPTS,
        caption=" / ".join(graph.caption(ctx, known, name).lines()),
        picked=choose,
        height=min(38 + 35 * len(view), 420),
        column_config={
            "frequency": SHARE(format="percent", min_value=0, max_value=1, width="small"),
            "facts": st.column_config.TextColumn(width="large"),
        },
    )


# -- the page -------------------------------------------------------------------------------


VIEWS: dict[str, tuple[str, Callable[[Context, Known], None]]] = {
    "scenes": ("Scene by scene", scenes),
    "matrix": ("All scenes", concept_matrix.tab),
    "find": ("Find a concept", find),
    "groups": ("Merged concepts", merged.tab),
    "names": ("Names and words", concept_names.tab),
    "vectors": ("Vectors and graphs", lambda ctx, _: directions.tab(ctx)),
}


ctx = page("Concepts")
if not ctx.facts.photos or not len(ctx.ask(image_views.concepts)):
    st.title("Concepts")
    stop(
        "This run has no photos with annotated concepts, so its scenes have no core concepts."
        if ctx.facts.photos
        else "This run holds published predictions without photos: its scenes have "
        "no core concepts.",
        {"See how often they are right": address.kept()},
    )
known = graph.chosen(ctx, "Concepts")
st.title("Core concepts of scenes")
st.html(
    '<p class="lede">A kitchen has a stove; what else? The knowledge graph knows facts, the '
    "photos show things. Where both agree, a thing is a <em>core concept</em> of the scene."
    "</p>"
)
view = address.views(
    {name: title for name, (title, _) in VIEWS.items()},
    drop=(
        "scene",
        "concept",
        "word",
        "kind",
        "show",
        "category",
        "guess",
        "cc",
        "embedding",
        "within",
        "k",
        "merge",
        "apart",
        "by",
        "asked",
        "of",
        "page",
    ),
)
VIEWS[view][1](ctx, known)
