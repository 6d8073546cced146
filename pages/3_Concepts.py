"""Concepts: the core concepts of scenes, with the facts behind it; names and their words."""

from __future__ import annotations

import shlex
from collections.abc import Callable

import pandas as pd
import streamlit as st

from core.figures import concepts as figures
from core.figures.base import Caption
from core.figures.fusion import gain_curve
from core.foundation.errors import UnitscopeError, nearest
from core.foundation.names import plain_name
from core.foundation.settings import limits
from core.foundation.vocabulary import Core
from core.knowledge.align import GUESSES
from core.views import explain, fusion, knowledge
from core.views import images as image_views
from core.views.images import concept_id, search_images
from core.views.knowledge import Known, with_suggestions
from core.views.names import shown_name
from core.views.units import search_units
from pages.parts import access, address, changes, directions, draw, explanations, graph
from pages.parts.detectors import detectors
from pages.parts.frame import Context, page, page_files, sentence, stop

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


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


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
        f"**{_count(len(table), 'scene')}.** The graph ({knowledge_line(ctx, known)}) relates "
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
        caption=" / ".join(caption_of(ctx, known).lines()),
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
                lambda dark: figures.search(steps, shares.scenes, caption_of(ctx, known), dark),
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
        kind = address.select(
            "cc",
            "Ring around",
            list(Core),
            "scc",
            widget=st.segmented_control,
            format_func=lambda k: f"ring: {KIND_NAMES[k]}",
            label_visibility="collapsed",
        )
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
            f", with facts about {_count(facts.neighbours, 'other word')}. "
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
    caption = caption_of(ctx, known, f"ring: {KIND_NAMES[kind]}")
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
        caption=" / ".join(caption_of(ctx, known, plain_name(scene)).lines()),
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
        f"{len(shown)} of {_count(len(table), 'concept')}. Choose a row to see the photos and "
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
        f"In **{_count(int(facts['images']), 'photo')}**"
        + (f" of {_count(int((where['images'] > 0).sum()), 'scene')}" if len(where) else "")
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
        caption=" / ".join(caption_of(ctx, known, name).lines()),
        picked=choose,
        height=min(38 + 35 * len(view), 420),
        column_config={
            "frequency": SHARE(format="percent", min_value=0, max_value=1, width="small"),
            "facts": st.column_config.TextColumn(width="large"),
        },
    )


# -- names ----------------------------------------------------------------------------------


def names(ctx: Context, known: Known) -> None:
    """Which word of the graph each name was brought to, and how to correct it."""
    frame = ctx.ask(knowledge.alignment, known)
    guesses, none = int(frame["guess"].sum()), int(frame["node"].isna().sum())
    st.markdown(
        f"**{len(frame):,} names** of scenes and concepts: {len(frame) - guesses - none:,} found "
        f"in {known.name} as they are, **{guesses:,} guessed**, {none:,} not found. "
        "The doubtful ones come first."
    )
    left, middle, right = st.columns([3, 3, 4], vertical_alignment="bottom")
    with left:
        word = address.text("word", "Name or word contains")
    with middle:
        kinds = [ANY, *(k for k in frame["kind"].unique())]
        kind = address.select(
            "kind",
            "How it was found",
            kinds,
            format_func=lambda k: k.replace("_", " ") if k else "any way",
        )
    with right:
        doubtful = address.toggle("guess", "Guesses and missing ones only")
    shown = frame
    if word:
        hit = shown["name"].str.lower().str.contains(word.lower(), regex=False)
        hit |= shown["node"].fillna("").str.contains(word.lower(), regex=False)
        shown = shown[hit]
    if kind:
        shown = shown[shown["kind"] == kind]
    if doubtful:
        shown = shown[shown["guess"] | shown["node"].isna()]
    if not len(shown):
        st.info("No name fits these filters.", icon=":material/filter_alt_off:")
    else:
        # The columns of the file that `--overrides` reads, under the same names.
        view = shown[
            ["name", "node", "kind", "score", "via", "suggested", "guess", "what", "facts"]
        ]
        draw.table(
            view,
            "names-and-words",
            "Names with their word in the graph, how it was found, score",
            explanations.NAMES,
            caption=" / ".join(caption_of(ctx, known).lines()),
            height=min(38 + 35 * len(view), 480),
            column_config={
                "node": st.column_config.TextColumn("node", help="The word of the graph."),
                "score": SHARE(format="%.2f", min_value=0, max_value=1, width="small"),
                "suggested": st.column_config.TextColumn(
                    help="The word of the name’s head noun, which is not taken unless you say so."
                ),
                "guess": st.column_config.CheckboxColumn("guess?"),
                "facts": NUMBER(help="Facts about the word in the graph."),
                "via": st.column_config.TextColumn(help="The spelling that was looked up."),
            },
        )
    suggested = frame[frame["suggested"] != ""]
    if len(suggested):
        st.markdown(
            f"For {_count(len(suggested), 'name')} without a word, that of the head noun is "
            "**suggested** and not taken: what belongs to a room need not belong to a printer room."
        )
        if access.may_change() and st.button("Accept all suggestions", icon=":material/done_all:"):
            word = changes.keep_names(ctx.run, known.graph, with_suggestions(known))
            address.put({"names": word})
            st.rerun()
    draw.subheader("To correct a name")
    run = ctx.facts.run
    more, graph = own_option(ctx, known), graph_option(ctx, known)
    st.markdown(
        "Save the table above as CSV, edit its column *node* (leave it empty where there is no "
        "such word), and give it back here. Only *name* and *node* are read; rows that are right "
        "may go. On the command line `align --head-nouns` takes the suggestions."
    )
    given = None
    if access.may_change():
        given = st.file_uploader(
            "Your corrected names",
            ["csv", "tsv", "txt"],
            key="names-file",
            max_upload_size=limits().names_mb,
        )
    else:
        draw.caption(f"A file is given back here by owners alone: {access.why_not()}.")
    if given is not None:
        # Kept once, not at every redraw.
        key = ("names-kept", ctx.run.digest, known.graph.digest(), given.file_id)
        try:
            word = st.session_state.get(str(key)) or changes.keep_names(
                ctx.run, known.graph, given.getvalue()
            )
        except UnitscopeError as err:
            st.warning(f"{sentence(err)}.", icon=":material/edit_off:")
        else:
            st.session_state[str(key)] = word
            if word == address.get("names"):
                st.success(
                    "All pages read names with this file now; the address keeps it.",
                    icon=":material/done:",
                )
            elif st.button("Read names with it", type="primary", icon=":material/spellcheck:"):
                address.put({"names": word})
                st.rerun()
    st.code(
        f"python -m core align {run}{more} --write nodes.tsv\n"
        f"python -m core concepts {run}{graph} --overrides nodes.tsv\n"
        f"python -m core explain {run}{graph} --overrides nodes.tsv --image ID",
        language="bash",
        wrap_lines=True,
    )


# -- merged concepts ------------------------------------------------------------------------

Pairs = tuple[tuple[str, str], ...]
BETWEEN, WITHIN = "|", "~"
# A parameter of the address → its word in a file of --links. (A string would be shown.)
LINKS = {"merge": "merge", "apart": "keep_apart"}


def pairs_of(name: str) -> Pairs:
    """Pairs of concepts in the address: ``chair~armchair|bed~bunk bed``."""
    found = [tuple(one.split(WITHIN)) for one in address.get(name).split(BETWEEN) if one]
    return tuple((p[0], p[1]) for p in found if len(p) == 2)


def put_pairs(name: str, pairs: Pairs) -> None:
    address.put({name: BETWEEN.join(WITHIN.join(pair) for pair in pairs)})


def groups(ctx: Context, known: Known) -> None:
    """Concepts that mean nearly the same, in k groups, and what merging does to IoU."""
    concepts = ctx.ask(fusion.members, knowledge=known)
    # Not from the cache: an embedding may have been trained meanwhile.
    made = fusion.embeddings_made(ctx.run, known)
    names = ctx.ask(knowledge.scene_table, known)["scene"].tolist()
    st.markdown(
        "Some names mean nearly the same, and a unit may see both. Here they are put into *k* "
        "groups by how alike they are in the knowledge graph."
    )
    left, middle = st.columns(2, vertical_alignment="bottom")
    with left:
        embedding = address.select(
            "embedding",
            "Alike by",
            made,
            made[0],
            drop=("k",),
            format_func=lambda e: "similar spelling" if e == fusion.WORDS else f"{e} embedding",
        )
    with middle:
        scene = address.select(
            "within",
            "Concepts of",
            [ANY, *names],
            drop=("k",),
            format_func=lambda s: plain_name(s) if s else "all scenes",
        )
    if len(made) <= len(fusion.MODELS):
        missing = [m for m in fusion.MODELS if m not in made]
        draw.caption(
            f"Not trained yet: {', '.join(missing)}. `python -m core embed "
            f"{ctx.facts.run}{own_option(ctx, known)} --embedding {missing[0]}` does."
        )
    merge, apart = pairs_of("merge"), pairs_of("apart")
    try:
        least, most = ctx.ask(fusion.groups_range, embedding, scene, merge, apart, knowledge=known)
    except UnitscopeError as err:
        again = {"view": "groups", "embedding": address.get("embedding")}
        stop(f"{sentence(err)}.", {"Forget the pairs": address.kept(**again)}, "Concepts")
    k = group_count(least, most)
    frame = ctx.ask(
        fusion.concept_groups,
        k,
        embedding,
        scene=scene,
        merge=merge,
        apart=apart,
        knowledge=known,
    )
    several = frame[frame["size"] > 1]
    st.markdown(
        f"**{_count(int(frame['size'].sum()), 'concept')} in {_count(len(frame), 'group')}**; "
        f"{len(several)} of them have several members."
    )
    shown = concepts["shown"]
    view = pd.DataFrame(
        {
            "group": [" + ".join(shown.loc[g]) for g in several["concepts"]],
            "size": several["size"],
            "distance": several["distance"],
            "widest": several["widest"],
        }
    )
    caption = caption_of(ctx, known, f"{k} groups by {embedding}, agglomerative")
    if len(view):
        draw.table(
            view,
            f"groups-{embedding}-{k}",
            f"The {len(view)} groups of several concepts",
            explanations.GROUPS,
            caption=" / ".join(caption.lines()),
            height=min(38 + 35 * len(view), 480),
            column_config={
                "group": st.column_config.TextColumn(help="Commonest first."),
                "size": NUMBER(width=60),
                "distance": NUMBER(width=90, format="%.3f", help="Mean cosine distance."),
                "widest": NUMBER(width=80, format="%.3f", help="The largest distance."),
            },
        )
        draw.caption("Groups of one concept are left out. " + " · ".join(caption.lines()))
    else:
        st.info("Every concept is alone: choose fewer groups.", icon=":material/workspaces:")
    own_pairs(ctx, known, concepts, embedding, k, scene)
    gained(ctx, known, embedding)


def group_count(least: int, most: int) -> int:
    """A slider for k, kept in the address; at first one concept in ten is merged."""
    if least == most:
        draw.caption(f"Only {_count(most, 'group')} can be made.")
        return most
    usual = max(least, round(0.9 * most))
    return address.slider("k", "Groups in all, k", least, most, usual)


def own_option(ctx: Context, known: Known) -> str:
    return graph_option(ctx, known) + known.options


def graph_option(ctx: Context, known: Known) -> str:
    """``--knowledge SPEC`` where it is not the run's own."""
    own = known.spec == ctx.run.own_knowledge
    return "" if own else f" --knowledge {shlex.quote(known.spec)}"


def own_pairs(
    ctx: Context, known: Known, concepts: pd.DataFrame, embedding: str, k: int, scene: str
) -> None:
    """Pairs that a person merges or keeps apart, and how to use them elsewhere."""
    draw.subheader("What you know better")
    labels = concepts.sort_values("label")["label"].tolist()
    shown = dict(zip(concepts["label"], concepts["shown"], strict=True))
    columns = st.columns([4, 4, 3, 4], vertical_alignment="bottom")
    with columns[0]:
        one = st.selectbox(
            "This concept", labels, index=None, key="pair-one", format_func=shown.__getitem__
        )
    with columns[1]:
        two = st.selectbox(
            "and this one", labels, index=None, key="pair-two", format_func=shown.__getitem__
        )
    ready = one is not None and two is not None and one != two
    for column, (name, word) in zip(
        columns[2:], {"merge": "Merge them", "apart": "Keep them apart"}.items(), strict=True
    ):
        with column:
            st.button(
                word,
                key=f"pair-{name}",
                disabled=not ready,
                width="stretch",
                on_click=put_pairs,
                args=(name, (*pairs_of(name), (one, two))),
            )
    result = [(name, pair) for name in LINKS for pair in pairs_of(name)]
    for place, (name, pair) in enumerate(result):
        with st.container(horizontal=True, vertical_alignment="center"):
            kept = tuple(other for other in pairs_of(name) if other != pair)
            names = [shown.get(label, label) for label in pair]
            st.markdown(f"{' and '.join(names)}: {'merged' if name == 'merge' else 'kept apart'}")
            st.button(
                "Forget",
                key=f"forget-{place}",
                on_click=put_pairs,
                args=(name, kept),
                type="tertiary",
            )
    if result:
        lines = "".join(f"{LINKS[name]}\t{a}\t{b}\n" for name, (a, b) in result)
        within = f" --scene '{scene}'" if scene else ""
        draw.caption("The pairs are in the address of this page. As a file for the command line:")
        st.download_button(
            "links.tsv",
            lines,
            "links.tsv",
            "text/tab-separated-values",
            on_click="ignore",
            icon=":material/download:",
        )
        st.code(
            f"python -m core cluster {ctx.facts.run}{own_option(ctx, known)} --k {k} "
            f"--embedding {embedding}{within} --links links.tsv",
            language="bash",
        )


def gained(ctx: Context, known: Known, embedding: str) -> None:
    """The curve of IoU gain with its controls, where it was made."""
    draw.subheader("What merging does to units")
    if not ctx.layer:
        draw.caption("This run has no units.")
        return
    try:
        frame = ctx.ask(fusion.gain, ctx.layer, embedding, knowledge=known)
    except UnitscopeError:
        draw.caption(
            "How much better units overlap groups than single concepts was not computed for "
            f"this layer yet (minutes): `python -m core tables {ctx.facts.run}"
            f"{own_option(ctx, known)} --table 5 --layer {ctx.layer} --embedding {embedding}`"
        )
        return
    caption = ctx.caption(f"{ctx.facts.images:,} images, knowledge {known.name}")
    draw.chart(
        lambda dark: gain_curve(frame, caption, dark),
        f"iou-gain-{ctx.layer}-{embedding}",
        f"Lines: IoU gain by number of groups, for {embedding}, random groups and similar names",
        explanations.GAIN,
    )
    draw.caption("Over the concepts of all scenes, without pairs of your own.")


# -- the page -------------------------------------------------------------------------------


def knowledge_line(ctx: Context, known: Known) -> str:
    return str(ctx.ask(knowledge.knowledge_name, known))


def caption_of(ctx: Context, known: Known, more: str = "") -> Caption:
    """The subtitle of what is said of scenes here: data, graph, and what of them."""
    result = f"knowledge {known.name}" + (f", {more}" if more else "")
    return ctx.caption(f"{ctx.facts.images:,} images, {result}", layered=False)


VIEWS: dict[str, tuple[str, Callable[[Context, Known], None]]] = {
    "scenes": ("Scene by scene", scenes),
    "find": ("Find a concept", find),
    "groups": ("Merged concepts", groups),
    "names": ("Names and words", names),
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
view = address.select(
    "view",
    "View",
    list(VIEWS),
    "scenes",
    widget=st.segmented_control,
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
    ),
    format_func=lambda name: VIEWS[name][0],
    label_visibility="collapsed",
)
VIEWS[view][1](ctx, known)
