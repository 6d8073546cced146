"""Retrain: train again with core concepts (Eq. 10), or ask an SVM on the explanations (Table 6)."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import streamlit as st

from core.figures import retrain as figures
from core.figures.base import Caption
from core.foundation import jobs
from core.foundation.errors import UnitscopeError
from core.foundation.progress import duration
from core.foundation.settings import GOLDEN, Retraining, command
from core.foundation.vocabulary import Golden
from core.retrain.result import CONTROL, RetrainResult
from core.views import retrain
from core.views.knowledge import spoken_name
from core.views.names import short_name
from core.views.retrain import NAMES
from core.views.runs import cache_root
from pages.parts import address, draw, explanations, run_form, svm, training
from pages.parts.frame import Context, page, page_files, sentence, stop, unanswered

VIEWS = {"network": "Core concepts (CC)", "svm": "Prediction explanations (PE)"}
KINDS = Golden.longs()
FORMS = {
    "softmax": "all concepts share one probability (as published)",
    "sigmoid": "each concept is a yes or no",
}
PLAIN = Retraining("", "")


# -- training the network again -------------------------------------------------------------


def cc_results(ctx: Context, root: Path) -> None:
    """Figure 5, what it says, the learning curves, the weights."""
    frame = retrain.results(root)
    if frame.empty:
        draw.subheader("Results")
        draw.caption("No training with concepts has finished yet. Start the first one below.")
        return
    facts = ctx.facts
    own = (frame["dataset"] == facts.dataset) & (frame["model"] == facts.model)
    frame = pd.concat([frame[own], frame[~own]], ignore_index=True)
    shown = {
        row.digest: f"{row.dataset} · {row.model} · {row.cc or 'control alone'}"
        + (f" · λ {row.weights}" if row.cc else "")
        + f" · {row.digest[:6]}"
        for row in frame.itertuples()
    }
    draw.subheader("Results")
    names = list(shown)
    left, right = st.columns([3, 2], gap="large")
    with left:
        name = training.choose_result(names, shown, "training with concepts")
    with right:
        others = [other for other in names if other != name]
        beside = address.several(
            "beside",
            "Compare with",
            others,
            format_func=shown.get,
            placeholder="other results, as in the paper’s figure",
            disabled=not others,
        )
    reply = retrain.result(name, root)
    if not own.any():
        draw.caption("None of these is of the run chosen at the left; its own is started below.")
    elif name not in set(frame["digest"][: int(own.sum())]):
        draw.caption("This result is not of the run chosen at the left.")
    both = [reply, *(retrain.result(other, root) for other in beside)]
    about = figures.caption(both)
    bars = retrain.figure_5(both)
    table = retrain.summary(reply)
    left, right = st.columns([3, 2], gap="large")
    with left:
        draw.chart(
            lambda dark: figures.retraining(bars, about, dark),
            f"figure-5-{name[:6]}",
            "Bars: share of test photos right of "
            + "; ".join(
                f"{row.model}, {row.method} {row.accuracy:.1%}" for row in bars.itertuples()
            ),
            explanations.FIGURE_5,
        )
    with right:
        said(reply, table)
    about = figures.caption([reply])
    about = about._replace(model=f"{short_name(reply['model']['spec'])} · {about.model}")
    as_table(reply, table, about)
    learning(reply, about._replace(split=f"held out of {reply['asked']['train']}"))
    weights(reply, root)


def said(reply: RetrainResult, table: pd.DataFrame) -> None:
    """What came out, in words."""
    asked, counts = reply["asked"], reply["counts"]
    st.markdown("##### What it says")
    lines = []
    by = table.set_index("cc")["test"]
    control = table[table["cc"] == CONTROL].iloc[0]
    if reply["original"] is not None:
        change = control.test - by["original"]
        lines.append(
            f"**Training on without concepts** (the control) takes the network from "
            f"{by['original']:.1%} to {control.test:.1%} ({training.points(change)} points)."
        )
    else:
        lines.append(f"**Without concepts** (the control) it gets {control.test:.1%} right.")
    for one in retrain.verdicts(reply, table):
        name = f"**{NAMES[one.cc]}** (λ = {one.weight:g})"
        gain = f"{training.points(one.gain)} points over the control"
        seeds = f"over seeds {training.span(one.gain_low, one.gain_high)}"
        photos = f"over photos {training.span(one.image_low, one.image_high)}"
        if one.verdict == "one seed":
            lines.append(
                f"{name}: {gain}; {photos}. Trained once: whether other batches would do the "
                "same, nobody knows. Use several seeds."
            )
        else:
            verdict = {
                "better": "**better than the control**, and more than luck",
                "worse": "**worse than the control**, and more than luck",
                "unsure": "**cannot be told from the control**",
            }[one.verdict]
            lines.append(f"{name}: {gain}; {seeds}, {photos}: {verdict}.")
    same = [NAMES[kind] for kind in retrain.same_answer(reply)]
    if same:
        lines.append(
            f":orange[{', '.join(same)}: one and the same answer for every test photo.] So nothing "
            "was learned that tells scenes apart, and neither gain nor loss means much."
        )
    if not reply["chosen"]:
        lines.append("No concepts were asked for: this is the control alone.")
    st.markdown("\n".join(f"- {line}" for line in lines))
    side = f", input {asked['side']} pixels" if asked["side"] else ""
    part = f", trained from `{asked['since']}` on" if asked["since"] else ""
    draw.caption(
        f"{counts['train']:,} training, {counts['validation']:,} held-out, {counts['test']:,} "
        f"test photos; {asked['seeds']} seed{'s' * (asked['seeds'] != 1)}, at most "
        f"{asked['epochs']} epochs{side}{part}; {reply['head']} classifier."
    )
    draw.explain(explanations.GAIN, "When is a gain more than luck?")


def as_table(reply: RetrainResult, table: pd.DataFrame, about: Caption) -> None:
    """The summary, every λ a row."""
    picked = [bool(row.chosen and row.cc in reply["chosen"]) for row in table.itertuples()]
    view = pd.DataFrame(
        {
            "trained with": [NAMES.get(cc, cc) for cc in table["cc"]],
            "λ": table["weight"],
            "chosen": picked,
            "held out (%)": 100 * table["validation"],
            "test (%)": 100 * table["test"],
            "gain (points)": 100 * table["gain"],
            "seeds from": 100 * table["gain_low"],
            "seeds to": 100 * table["gain_high"],
            "photos from": 100 * table["image_low"],
            "photos to": 100 * table["image_high"],
            "best epoch": table["epochs"],
        }
    )
    percent = st.column_config.NumberColumn(format="%.1f")
    point = st.column_config.NumberColumn(format="%+.1f")
    with st.expander(f"Every λ as numbers ({len(view)} rows)", icon=":material/table:"):
        draw.table(
            view,
            f"retraining-{reply['digest'][:6]}",
            "Accuracy of the original, the control and every kind and λ, with gains",
            explanations.GAIN,
            caption=" / ".join(about.lines()),
            column_config={
                "held out (%)": percent,
                "test (%)": percent,
                "best epoch": st.column_config.NumberColumn(format="%.1f"),
                **{name: point for name in view.columns[5:10]},
            },
        )


def learning(reply: RetrainResult, about: Caption) -> None:
    """Learning curves of the chosen λ, or of another."""
    points_of = retrain.curves(reply)
    asked = sorted({w for w in points_of["weight"] if w})
    options = ["", *(f"{w:g}" for w in asked)]
    if len(asked) > 1:
        chosen = address.select(
            "lambda",
            "Learning curves for",
            options,
            format_func=lambda w: f"λ = {w}" if w else "the λ chosen for each",
        )
    else:
        chosen = ""
    wanted = {
        kind: float(chosen) if chosen else weight for kind, weight in reply["chosen"].items()
    } | {CONTROL: 0.0}
    kept = points_of[
        [wanted.get(c) == w for c, w in zip(points_of["cc"], points_of["weight"], strict=True)]
    ]
    kept = kept.assign(cc=[NAMES[c] for c in kept["cc"]])
    if chosen:
        about = about._replace(
            definition=about.definition.replace("λ chosen on validation", f"λ = {chosen}")
        )
    draw.chart(
        lambda dark: figures.learning(kept, about, dark),
        f"learning-{reply['digest'][:6]}",
        "Lines: accuracy on the held-out photos by epoch, one line a training",
        explanations.LEARNING,
    )


def weights(reply: RetrainResult, root: Path) -> None:
    """Where the networks lie, and how one is dissected as a run of its own."""
    st.markdown("##### The trained networks")
    draw.caption(
        "Each is an ordinary checkpoint; the layer that learned concepts is thrown away. "
        "Dissect one like any other network, and set the two runs side by side in "
        "Compare."
    )
    asked = reply["asked"]
    for kind, file in reply["weights"].items():
        title = NAMES.get(kind, kind) + (f", λ = {file['weight']:g}" if file["weight"] else "")
        with st.expander(f"{title}: {file['file']}", icon=":material/save:"):
            if not (root / file["file"]).is_file():
                draw.caption("The file is no longer there.")
                continue
            if not file["spec"]:
                st.markdown(
                    f"The weights are there, but cannot be opened by a name: {file.get('why', '')}"
                )
                continue
            request = {
                "dataset": asked["dataset"],
                "model": file["spec"],
                "knowledge": asked["knowledge"],
            }
            st.code(command(request), language="bash", wrap_lines=True)
            st.page_link(
                page_files()["Runs"],
                label="Fill it into the form that starts a run",
                query_params=run_form.parameters(request),
                icon=":material/arrow_forward:",
            )


def lambdas(text: str) -> tuple[float, ...]:
    """Values of λ in a text: numbers above 0 with anything but points between.

    Raises UnitscopeError for what is none.
    """
    try:
        found = tuple(float(part) for part in text.replace(",", " ").replace(";", " ").split())
    except ValueError:
        found = ()
    if not found or not all(0 < w < math.inf for w in found):
        raise UnitscopeError(f"values of λ are numbers above 0, such as 0.1, 0.3, 1; not {text!r}")
    return tuple(dict.fromkeys(found))


def cc_form(ctx: Context, root: Path) -> None:
    """What to train, what it costs, and the start."""
    draw.subheader("Start a training")
    if unanswered(ctx.run, "training the network again beside its own classifier"):
        return
    try:
        have = ctx.ask(retrain.material)
    except UnitscopeError as err:
        st.info(
            f"The photos of this run cannot be opened, so nothing can be trained on them. "
            f"{sentence(err)}.",
            icon=":material/folder_off:",
        )
        return
    splits = list(have.splits)
    if len(splits) < 2:
        st.info(
            "These photos have one split. Training needs two: photos to learn from, and photos "
            "to be judged on that were not learned from.",
            icon=":material/call_split:",
        )
        return
    with st.container(border=True):
        st.markdown(
            f"**{ctx.facts.model}** on **{ctx.facts.dataset}**, knowledge "
            f"{spoken_name(ctx.run.own_knowledge)}: those of the run at the left."
        )
        asked = cc_fields(ctx, have, splits)
        if asked is None:
            return
        cost(asked, have.splits, root)


def cc_fields(ctx: Context, have: retrain.Material, splits: list[str]) -> Retraining | None:
    """The fields; None, with a word on it, where they cannot be meant."""
    asked = Retraining(have.dataset, have.model, knowledge=ctx.run.own_knowledge)
    left, right = st.columns([3, 2], gap="large")
    with left:
        cc = address.several(
            "cc",
            "Concepts to learn beside the scene",
            list(GOLDEN),
            default=PLAIN.cc,
            format_func=KINDS.get,
            help=explanations.CORE,
        )
    with right:
        text = address.text(
            "tried",
            "Weights λ to try with each",
            ", ".join(f"{w:g}" for w in PLAIN.weights),
            help="How much the concepts count beside the scene. The one that does best on "
            "held-out photos is reported.",
        )
    asked = budget(replace(asked, cc=tuple(cc) or PLAIN.cc))
    with st.expander("More choices", icon=":material/tune:"):
        left, right = st.columns(2, gap="large")
        with left:
            asked = learned_from(asked)
        with right:
            asked = steps(asked, splits)
    try:
        return replace(asked, weights=lambdas(text))
    except UnitscopeError as err:
        st.warning(f"{sentence(err)}.", icon=":material/edit_off:")
        return None


def budget(asked: Retraining) -> Retraining:
    """How long, how often and at which size."""
    row = st.columns(3)
    with row[0]:
        epochs = address.amount(
            "epochs",
            "Epochs at most",
            PLAIN.epochs,
            1,
            500,
            step=1,
            help="An epoch shows the network every training photo once.",
        )
    with row[1]:
        seeds = address.amount(
            "seeds",
            "Seeds",
            PLAIN.seeds,
            1,
            50,
            step=1,
            help="How often everything is trained, with other batches. With one there is no "
            "telling a gain from luck.",
        )
    with row[2]:
        side = address.amount(
            "side",
            "Input size (pixels, 0 = its own)",
            0,
            0,
            1024,
            step=16,
            help="The shorter side of the photo as the network sees it. Half the size is a "
            "quarter of the work.",
        )
    return replace(asked, epochs=int(epochs), seeds=int(seeds), side=int(side) or None)


def learned_from(asked: Retraining) -> Retraining:
    """How concepts are learned, from which photos they come, and what of the network learns."""
    form = address.select(
        "form", "How concepts are learned", list(FORMS), "softmax", format_func=FORMS.get
    )
    core_on = training.source()
    since = address.text(
        "since",
        "First layer that is trained",
        placeholder="all of the network",
        help="Layers before it stay as they are. The names are those of `python -m core layers`.",
    )
    return replace(asked, form=form, core_on=core_on, since=since or None)


def steps(asked: Retraining, splits: list[str]) -> Retraining:
    """The optimiser's steps, and the splits."""
    batch = address.amount("batch", "Photos a step", PLAIN.batch, 2, 1024, step=2)
    rate = address.amount("rate", "Learning rate", PLAIN.rate, 1e-6, 0.5, step=1e-4, format="%.6f")
    train, test = training.two_splits(splits, [st.container()])
    return replace(asked, batch=int(batch), rate=float(rate), train=train, test=test)


def cost(asked: Retraining, splits: dict[str, int], root: Path) -> None:
    """How much work it is, how long it takes where that was measured, and the start."""
    trainings, images = retrain.passes(asked, splits[asked.train])
    st.markdown(
        f"**{trainings} training{'s' * (trainings != 1)}** ({asked.seeds} × the control and "
        f"{len(asked.cc)} kind{'s' * (len(asked.cc) != 1)} × {len(asked.weights)} λ) of at most "
        f"{asked.epochs} epochs: about **{images:,} photos** through the network and back. Some "
        "end earlier."
    )
    if not training.only_here(asked.command()):
        return
    arguments = retrain.cc_arguments(asked, root)
    timing = [*arguments, "--plan"]
    timed = jobs.watch(retrain.job_name(timing), root)
    job = jobs.watch(retrain.job_name(arguments), root)
    busy = timed is not None and timed.alive
    there = retrain.find_result(asked, root)
    with st.container(horizontal=True, vertical_alignment="center"):
        if there:
            st.page_link(
                page_files()["Retrain"],
                label="There is a result of just this: show it",
                query_params=address.kept(result=there),
                icon=":material/arrow_upward:",
            )
        else:
            st.button(
                "Start",
                type="primary",
                icon=":material/play_arrow:",
                on_click=training.begin,
                args=(arguments, root),
                disabled=job is not None and job.alive,
            )
        st.button(
            "How long will it take?",
            icon=":material/timer:",
            on_click=training.begin,
            args=(timing, root),
            disabled=busy,
        )
        training.not_begun(job)
    if timed is not None and busy:
        watch_timing(timed.name, str(root))
    elif timed is not None and timed.state == "finished":
        reply = timed.answer()
        st.markdown(
            f":material/timer: **≈ {duration(reply['seconds'])}** at most, all epochs used up "
            f"({duration(reply['low'])} to {duration(reply['high'])}; "
            f"from {reply['timed']:,} photos "
            "just trained on here. Whatever else this machine does comes on top.) "
            f"{reply['train']:,} training, {reply['validation']:,} held-out, "
            f"{reply['test']:,} test "
            f"photos; {'its own' if reply['own_head'] else 'a new'} classifier."
        )
    elif timed is not None and timed.state == "failed":
        st.warning(f"{sentence(timed.error)}.", icon=":material/error:")
    with st.expander("On the command line", icon=":material/terminal:"):
        st.code(asked.command(), language="bash", wrap_lines=True)


@st.fragment(run_every=1.0)
def watch_timing(name: str, root: str) -> None:
    """A few steps being timed; the page is drawn anew when that is over."""
    job = jobs.watch(name, Path(root))
    if job is None or not job.alive:
        st.rerun()
        return
    draw.caption(":material/hourglass_top: Opening everything, training for a few steps …")


# -- the page -------------------------------------------------------------------------------

ctx = page("Retrain")
st.title("Re-training with concepts")
st.html(
    '<p class="lede">Two ways to use core concepts: the network learns them beside the '
    "scenes (CC), or an SVM predicts scenes from the explanations (PE). Each stands beside the "
    "controls that show whether the concepts did it.</p>"
)
if not ctx.layer:
    stop(
        "This run was made from published predictions, without photos and without the network: "
        "there is nothing to train.",
        {"See how often they are right": address.kept()},
    )
parts: dict[str, tuple[str, str, str, Sequence[Callable[[Context, Path], None]]]] = {
    "network": (
        "cc",
        "The network learns, beside the scene, which things are in the photo; then it is judged "
        "on photos it has not seen. The result is a new network.",
        explanations.RETRAIN,
        (cc_results, cc_form),
    ),
    "svm": (
        "pe",
        "The network stays as it is. A linear classifier (SVM) reads CM, SM and DM of every "
        "scene, and predicts the scene itself.",
        explanations.TABLE_6,
        (svm.results, svm.form),
    ),
}
root = cache_root()
view = address.select(
    "view",
    "What to do",
    list(VIEWS),
    "network",
    drop=("result", "beside", "lambda"),
    widget=st.segmented_control,
    format_func=VIEWS.get,
    label_visibility="collapsed",
)
kind, about_it, explanation, draws = parts[view]
st.markdown(about_it)
draw.explain(explanation, "How it works")
training.at_work(root, kind)
for draw_part in draws:
    draw_part(ctx, root)
