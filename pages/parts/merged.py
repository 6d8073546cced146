"""Concepts that mean nearly the same, in groups, and what merging them does to IoU."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.figures.fusion import gain_curve
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.views import fusion, knowledge
from core.views.knowledge import Known
from core.views.names import counted, sentence
from pages.parts import address, draw, explanations, graph
from pages.parts.frame import Context, stop

ANY = ""
NUMBER = st.column_config.NumberColumn

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


def tab(ctx: Context, known: Known) -> None:
    """Concepts that mean nearly the same, in k groups, and what merging does to IoU."""
    st.markdown(
        "Some names mean nearly the same, and a unit may see both. Here they are put into *k* "
        "groups by how alike they are in the knowledge graph."
    )
    embedding, scene = asked(ctx, known)
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
    concepts = ctx.ask(fusion.members, knowledge=known)
    several(ctx, known, frame, concepts["shown"], k, embedding)
    own_pairs(ctx, known, concepts, embedding, k, scene)
    gained(ctx, known, embedding)


def asked(ctx: Context, known: Known) -> tuple[str, str]:
    """The embedding and the scene ("" for all) of the address, with their boxes."""
    # Not from the cache: an embedding may have been trained meanwhile.
    made = fusion.embeddings_made(ctx.run, known)
    names = ctx.ask(knowledge.scene_table, known)["scene"].tolist()
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
            f"{ctx.facts.run}{graph.options(ctx, known)} --embedding {missing[0]}` does."
        )
    return embedding, scene


def several(
    ctx: Context, known: Known, frame: pd.DataFrame, shown: pd.Series, k: int, embedding: str
) -> None:
    """The groups of several concepts, as a table. shown : concept → as people read it."""
    found = frame[frame["size"] > 1]
    st.markdown(
        f"**{counted(int(frame['size'].sum()), 'concept')} in {counted(len(frame), 'group')}**; "
        f"{len(found)} of them have several members."
    )
    view = pd.DataFrame(
        {
            "group": [" + ".join(shown.loc[g]) for g in found["concepts"]],
            "size": found["size"],
            "distance": found["distance"],
            "widest": found["widest"],
        }
    )
    caption = graph.caption(ctx, known, f"{k} groups by {embedding}, agglomerative")
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


def group_count(least: int, most: int) -> int:
    """A slider for k, kept in the address; at first one concept in ten is merged."""
    if least == most:
        draw.caption(f"Only {counted(most, 'group')} can be made.")
        return most
    usual = max(least, round(0.9 * most))
    return address.slider("k", "Groups in all, k", least, most, usual)


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
            f"python -m core cluster {ctx.facts.run}{graph.options(ctx, known)} --k {k} "
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
            f"{graph.options(ctx, known)} --table 5 --layer {ctx.layer} --embedding {embedding}`"
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
