"""Names of scenes and concepts with their words in the knowledge graph, and how to correct them."""

from __future__ import annotations

import pandas as pd
import streamlit as st

from core.foundation.errors import UnitscopeError
from core.foundation.settings import limits
from core.views import knowledge
from core.views.knowledge import Known, with_suggestions
from core.views.names import counted, sentence
from pages.parts import access, address, changes, draw, explanations, graph
from pages.parts.frame import Context

ANY = ""


def tab(ctx: Context, known: Known) -> None:
    """Which word of the graph each name was brought to, and how to correct it."""
    frame = ctx.ask(knowledge.alignment, known)
    guesses, none = int(frame["guess"].sum()), int(frame["node"].isna().sum())
    st.markdown(
        f"**{len(frame):,} names** of scenes and concepts: {len(frame) - guesses - none:,} found "
        f"in {known.name} as they are, **{guesses:,} guessed**, {none:,} not found. "
        "The doubtful ones come first."
    )
    rows(ctx, known, frame)
    suggestions(ctx, known, frame)
    corrections(ctx, known)


def rows(ctx: Context, known: Known, frame: pd.DataFrame) -> None:
    """The names that fit the filters, the doubtful ones first."""
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
            caption=" / ".join(graph.caption(ctx, known).lines()),
            height=min(38 + 35 * len(view), 480),
            column_config={
                "node": st.column_config.TextColumn("node", help="The word of the graph."),
                "score": st.column_config.ProgressColumn(
                    format="%.2f", min_value=0, max_value=1, width="small"
                ),
                "suggested": st.column_config.TextColumn(
                    help="The word of the name’s head noun, which is not taken unless you say so."
                ),
                "guess": st.column_config.CheckboxColumn("guess?"),
                "facts": st.column_config.NumberColumn(help="Facts about the word in the graph."),
                "via": st.column_config.TextColumn(help="The spelling that was looked up."),
            },
        )


def suggestions(ctx: Context, known: Known, frame: pd.DataFrame) -> None:
    """Words of head nouns, which are taken only when somebody says so."""
    suggested = frame[frame["suggested"] != ""]
    if not len(suggested):
        return
    st.markdown(
        f"For {counted(len(suggested), 'name')} without a word, that of the head noun is "
        "**suggested** and not taken: what belongs to a room need not belong to a printer room."
    )
    if access.may_change() and st.button("Accept all suggestions", icon=":material/done_all:"):
        word = changes.keep_names(ctx.run, known.graph, with_suggestions(known))
        address.put({"names": word})
        st.rerun()


def corrections(ctx: Context, known: Known) -> None:
    """How a file of corrected names is made, given back, and used on the command line."""
    draw.subheader("To correct a name")
    run = ctx.facts.run
    more, own = graph.options(ctx, known), graph.option(ctx, known)
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
        f"python -m core concepts {run}{own} --overrides nodes.tsv\n"
        f"python -m core explain {run}{own} --overrides nodes.tsv --image ID",
        language="bash",
        wrap_lines=True,
    )
