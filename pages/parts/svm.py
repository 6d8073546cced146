"""An SVM that reads prediction explanations (PE): Table 6 of a run, and the form that fits it."""

from __future__ import annotations

import shlex
from pathlib import Path

import pandas as pd
import streamlit as st

from core.figures.base import Caption
from core.foundation import jobs
from core.foundation.names import plain_name
from core.foundation.vocabulary import Golden
from core.views import retrain
from core.views import runs as run_views
from core.views.names import short_name
from core.views.retrain import NAMES
from pages.parts import address, draw, explanations, training
from pages.parts.frame import Context, unanswered

HIDDEN = {"metrics": "metrics", "mrr": "MRR", "hidden": "hidden state", "annotated": "masks alone"}
"""Groups of features, in words."""


def results(ctx: Context, root: Path) -> None:
    """Table 6 of this run's SVMs."""
    frame = retrain.pe_results(root)
    frame = frame[frame["run"] == ctx.run.digest]
    draw.subheader("Results")
    if frame.empty:
        draw.caption("No SVM on explanations for this run yet. Start the first one below.")
        return
    shown = {
        row.digest: f"{row.layer} · learned from {', '.join(row.train)}, judged on "
        f"{', '.join(row.test)} · core concepts of {training.SOURCE[row.core_on]} · "
        f"{row.digest[:6]}"
        for row in frame.itertuples()
    }
    name = training.choose_result(list(shown), shown, "SVM on explanations")
    reply = retrain.pe_result(frame.set_index("digest")["path"][name])
    with st.spinner("Comparing the SVMs with the network …"):
        table = ctx.ask(retrain.table_of_run, frame.set_index("digest")["path"][name])
    about = Caption(
        reply["dataset"],
        short_name(reply["model"]),
        reply["layer"],
        f"LC(x) by {plain_name(reply['strategy'])}, IoU {reply['iou']}, core concepts from "
        f"{reply['core_on']} images",
        f"split {', '.join(reply['test'])}, n = {reply['n']:,}",
    )
    said(table)
    groups = {
        "": "Without masks of the test photo: may be compared with the network",
        "masks": "With masks of the test photo, which a person must draw first: may not be "
        "compared with the network",
    }
    for need, title in groups.items():
        rows = table[table["needs_masks"] == bool(need)]
        st.markdown(f"**{title}**")
        draw.table(
            view(rows),
            f"table-6-{need or 'without-masks'}-{name[:6]}",
            f"Table 6: accuracy of each choice of features. {title}",
            explanations.TABLE_6,
            caption=" / ".join(about.lines()),
            height=38 + 35 * len(rows),
            column_config={
                **{
                    c: st.column_config.NumberColumn(format="%.1f")
                    for c in ("right (%)", "from", "to")
                },
                **{
                    c: st.column_config.NumberColumn(format="%+.1f")
                    for c in ("over the network", "over hidden state", "lowest", "highest")
                },
            },
        )
    draw.caption(
        f"{reply['n_train']:,} training photos, {reply['n']:,} test photos; "
        f"{reply['labels']} labels "
        "of units speak. “From” and “to” bound the share right, “lowest” and “highest” the gain "
        "over the hidden state (95 %)."
    )


def view(rows: pd.DataFrame) -> pd.DataFrame:
    """The table as people read it."""

    def features(groups: object) -> str:
        return " + ".join(HIDDEN.get(g, g) for g in str(groups).split(" + "))

    return pd.DataFrame(
        {
            "judged by": [
                features(groups) if method == "SVM" else f"({method})"
                for method, groups in zip(rows["method"], rows["groups"], strict=True)
            ],
            "concepts": [NAMES.get(c, "") if isinstance(c, str) else "" for c in rows["cc"]],
            "right (%)": 100 * rows["accuracy"],
            "from": 100 * rows["low"],
            "to": 100 * rows["high"],
            "over the network": 100 * rows["gain"],
            "over hidden state": 100 * rows["hidden_gain"],
            "lowest": 100 * rows["hidden_low"],
            "highest": 100 * rows["hidden_high"],
        }
    )


def said(table: pd.DataFrame) -> None:
    """What Table 6 says, in words."""
    network = table[table["method"] == "network"].iloc[0]
    alone = table[table["groups"] == "hidden"]
    masks = table[table["groups"] == "annotated"]
    from_masks = table[(table["source"] == "masks") & (table["groups"] != "annotated")]
    labels = table[(table["source"] == "labels") & (table["groups"] == "metrics + mrr + hidden")]
    lines = [f"The **network** gets {network.accuracy:.1%} of the test photos right."]
    if len(alone):
        row = alone.iloc[0]
        lines.append(
            f"An SVM on its **hidden state** alone, without any concept: {row.accuracy:.1%}."
        )
    for row in labels.itertuples():
        sure = (
            "cannot be told from the hidden state alone"
            if row.hidden_low <= 0 <= row.hidden_high
            else "more than luck"
        )
        lines.append(
            f"With the measures of **{NAMES[row.cc]}** added, no masks needed: "
            f"{row.accuracy:.1%}, {training.points(row.hidden_gain)} points "
            f"({training.span(row.hidden_low, row.hidden_high)}): {sure}."
        )
    if len(from_masks) and len(masks):
        low, high = from_masks["accuracy"].min(), from_masks["accuracy"].max()
        only = masks.iloc[0].accuracy
        reply = (
            "so the gain is the annotator’s"
            if only >= high
            else "so the measures add to what the annotator wrote down"
        )
        lines.append(
            f"With **masks of the test photo**: {low:.1%} to {high:.1%}. But the masks alone, "
            f"without network or knowledge, reach {only:.1%}, {reply}."
        )
    st.markdown("\n".join(f"- {line}" for line in lines))


def form(ctx: Context, root: Path) -> None:
    """What to fit, and the start."""
    draw.subheader("Start an SVM on explanations")
    if unanswered(ctx.run, "an SVM that is judged beside the network"):
        return
    splits = ctx.ask(run_views.splits)
    if len(splits) < 2:
        st.info(
            "The photos of this run are of one split. An SVM needs two: photos to learn from, and "
            "photos to be judged on.",
            icon=":material/call_split:",
        )
        return
    kinds = [kind for kind in Golden.longs() if kind != "annotated"]
    with st.container(border=True):
        st.markdown(f"Layer **{ctx.layer}** of the run at the left; another is chosen there.")
        cc = address.several(
            "kinds",
            "Core concepts",
            kinds,
            default=("scc", "icc"),
            format_func=Golden.longs().get,
            help=explanations.CORE,
        )
        row = st.columns(3)
        train, test = training.two_splits(splits, row[:2])
        with row[2]:
            core_on = training.source()
        chosen = cc or ["scc", "icc"]
        # The hidden state, the masks alone, and six choices of groups from two sources each.
        st.markdown(
            f"{2 + 12 * len(chosen)} SVMs, each fitted for several costs and "
            "parts of the training photos: seconds for small layers, minutes for 500 units."
        )
        arguments = retrain.pe_arguments(
            ctx.run, root, ctx.layer, ctx.run.own_knowledge, chosen, train, test, core_on
        )
        line = shlex.join(["python", "-m", "core", *arguments[:-3]])
        if not training.only_here(line):
            return
        job = jobs.watch(retrain.job_name(arguments), root)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Start",
                type="primary",
                icon=":material/play_arrow:",
                on_click=training.begin,
                args=(arguments, root),
                disabled=job is not None and job.alive,
            )
            training.not_begun(job)
        with st.expander("On the command line", icon=":material/terminal:"):
            st.code(line, language="bash", wrap_lines=True)
