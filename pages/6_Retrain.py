"""Retrain: train again with core concepts (Eq. 10), or ask an SVM on the explanations (Table 6)."""

from __future__ import annotations

import math
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path

import pandas as pd
import streamlit as st

from core.figures import retrain as figures
from core.figures.base import Caption
from core.foundation import jobs
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.foundation.progress import duration
from core.foundation.settings import GOLDEN, Retraining, command
from core.foundation.vocabulary import Golden
from core.retrain.result import CONTROL, RetrainResult
from core.views import retrain
from core.views import runs as run_views
from core.views.knowledge import spoken_name
from core.views.names import short_name
from core.views.retrain import NAMES
from core.views.runs import cache_root
from core.views.work import Task
from pages.parts import access, address, changes, draw, explanations, run_form, watch
from pages.parts.frame import Context, page, page_files, sentence, stop, unanswered

VIEWS = {"network": "Core concepts (CC)", "svm": "Prediction explanations (PE)"}
KINDS = Golden.longs()
FORMS = {
    "softmax": "all concepts share one probability (as published)",
    "sigmoid": "each concept is a yes or no",
}
SOURCE = {"train": "training photos alone", "all": "all photos, test photos too"}
HIDDEN = {"metrics": "metrics", "mrr": "MRR", "hidden": "hidden state", "annotated": "masks alone"}
STEPS = {
    "decode": "Reading the photos",
    "train": "Training, forward and back",
    "fit": "Fitting the SVMs, one after the other",
}
PLAIN = Retraining("", "")


def points(value: float) -> str:
    """A difference of shares in percentage points."""
    return f"{round(100 * value, 1) + 0.0:+.1f}".replace("-", "−")


def span(low: float, high: float) -> str:
    """An interval of a difference, in percentage points."""
    return f"{points(low)} to {points(high)}"


def choose_result(names: list[str], shown: dict[str, str], noun: str) -> str:
    """The result that the address names; the first where it names none.

    Where there is no such result, the page says so and ends.
    """
    asked = address.get("result")
    fits = [name for name in names if name.startswith(asked)]
    if asked and len(fits) != 1:
        stop(
            f"There is no {noun} “{asked}” here."
            if not fits
            else f"“{asked}” fits several: {', '.join(fits)}.",
            {
                f"Show {shown[name]}": address.kept(view=address.get("view"), result=name)
                for name in names[:3]
            },
            "Retrain",
        )
    if asked and asked != fits[0]:
        st.query_params["result"] = fits[0]
    return address.select(
        "result",
        "Result",
        names,
        fits[0] if asked else names[0],
        drop=("beside", "lambda"),
        format_func=shown.get,
    )


# -- at work --------------------------------------------------------------------------------


@st.fragment(run_every=2.0)
def at_work(root: Path, kind: str) -> None:
    """What is in the making, read again every two seconds."""
    rows = retrain.at_work(root, kind)
    states = {task.name: task.state for task in rows}
    seen = st.session_state.setdefault(f"over-{kind}", states)
    if states != seen:
        # One has begun, ended or stopped while we watched: results and form must learn of it.
        st.session_state[f"over-{kind}"] = states
        st.rerun()
    if not rows:
        return
    draw.subheader("Not finished yet")
    for task in rows:
        with st.container(border=True):
            one_at_work(task, root, kind)


def one_at_work(task: Task, root: Path, kind: str) -> None:
    """One training that is not finished, or was a moment ago."""
    job, name = task.job, task.name
    st.markdown(f"**{task.what or name}**")
    watch.state(task, STEPS)

    def shown() -> None:
        assert job is not None
        st.page_link(
            page_files()["Retrain"],
            label="Show what came out",
            query_params=address.kept(
                view="" if kind == "cc" else "svm", result=retrain.finished_digest(job)
            ),
            icon=":material/arrow_downward:",
        )

    def again() -> None:
        assert job is not None
        changes.start_training(job.arguments, root)

    watch.controls(
        task,
        root,
        shown,
        again if job else None,
        lambda: confirm_discard(task.run, root, name if job else ""),
    )
    if task.command:
        with st.expander("On the command line", icon=":material/code:"):
            st.code(task.command, language="bash", wrap_lines=True)


@st.dialog("Discard what this training has done?")
def confirm_discard(name: str, root: Path, job: str) -> None:
    """Ask before the work of a stopped training is thrown away."""
    st.markdown("It would have to begin anew. The photos and the network stay where they are.")
    yes, no = st.columns(2)
    if yes.button("Discard", type="primary", width="stretch"):
        try:
            changes.discard(name, root, job)
        except UnitscopeError as err:
            st.error(str(err))
            return
        st.rerun()
    if no.button("Keep", width="stretch"):
        st.rerun()


def begin(arguments: list[str], root: Path) -> None:
    """Start what is asked for, and say what stands in its way."""
    try:
        changes.start_training(arguments, root)
    except UnitscopeError as err:
        st.session_state["not-begun"] = sentence(err)


def not_begun(job: jobs.Job | None) -> None:
    """Why a job cannot be started from here, where it cannot."""
    wrong = st.session_state.pop("not-begun", "")
    if wrong:
        st.warning(f"{wrong}.", icon=":material/error:")
    elif job is not None and job.alive:
        draw.caption("Just this is running; see the top of the page.")


def only_here(command: str) -> bool:
    """Whether this server may start processes; where not, the command line that does is shown."""
    if access.may_change():
        return True
    st.markdown(
        f"Training is started here by owners alone: {access.why_not()}. On the command line:"
    )
    st.code(command, language="bash", wrap_lines=True)
    return False


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
        name = choose_result(names, shown, "training with concepts")
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
            f"{by['original']:.1%} to {control.test:.1%} ({points(change)} points)."
        )
    else:
        lines.append(f"**Without concepts** (the control) it gets {control.test:.1%} right.")
    for one in retrain.verdicts(reply, table):
        name = f"**{NAMES[one.cc]}** (λ = {one.weight:g})"
        gain = f"{points(one.gain)} points over the control"
        seeds = f"over seeds {span(one.gain_low, one.gain_high)}"
        photos = f"over photos {span(one.image_low, one.image_high)}"
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
    with st.expander("More choices", icon=":material/tune:"):
        left, right = st.columns(2, gap="large")
        with left:
            form = address.select(
                "form", "How concepts are learned", list(FORMS), "softmax", format_func=FORMS.get
            )
            core_on = address.select(
                "core", "Core concepts come from", list(SOURCE), "train", format_func=SOURCE.get
            )
            since = address.text(
                "since",
                "First layer that is trained",
                placeholder="all of the network",
                help="Layers before it stay as they are. The names are those of "
                "`python -m core layers`.",
            )
        with right:
            batch = address.amount("batch", "Photos a step", PLAIN.batch, 2, 1024, step=2)
            rate = address.amount(
                "rate",
                "Learning rate",
                PLAIN.rate,
                1e-6,
                0.5,
                step=1e-4,
                format="%.6f",
            )
            usual = "train" if "train" in splits else splits[0]
            train = address.select("train", "Learn from", splits, usual, format_func=plain_name)
            rest = [split for split in splits if split != train]
            test = address.select(
                "test",
                "Judge on",
                rest,
                "test" if "test" in rest else rest[0],
                format_func=plain_name,
            )
    try:
        values = lambdas(text)
    except UnitscopeError as err:
        st.warning(f"{sentence(err)}.", icon=":material/edit_off:")
        return None
    return Retraining(
        have.dataset,
        have.model,
        cc=tuple(cc) or PLAIN.cc,
        weights=values,
        form=form,
        seeds=int(seeds),
        epochs=int(epochs),
        batch=int(batch),
        rate=float(rate),
        side=int(side) or None,
        since=since or None,
        train=train,
        test=test,
        core_on=core_on,
        knowledge=ctx.run.own_knowledge,
    )


def cost(asked: Retraining, splits: dict[str, int], root: Path) -> None:
    """How much work it is, how long it takes where that was measured, and the start."""
    trainings, images = retrain.passes(asked, splits[asked.train])
    st.markdown(
        f"**{trainings} training{'s' * (trainings != 1)}** ({asked.seeds} × the control and "
        f"{len(asked.cc)} kind{'s' * (len(asked.cc) != 1)} × {len(asked.weights)} λ) of at most "
        f"{asked.epochs} epochs: about **{images:,} photos** through the network and back. Some "
        "end earlier."
    )
    if not only_here(asked.command()):
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
                on_click=begin,
                args=(arguments, root),
                disabled=job is not None and job.alive,
            )
        st.button(
            "How long will it take?",
            icon=":material/timer:",
            on_click=begin,
            args=(timing, root),
            disabled=busy,
        )
        not_begun(job)
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


# -- an SVM on the explanations -------------------------------------------------


def pe_results(ctx: Context, root: Path) -> None:
    """Table 6 of this run's SVMs."""
    frame = retrain.pe_results(root)
    frame = frame[frame["run"] == ctx.run.digest]
    draw.subheader("Results")
    if frame.empty:
        draw.caption("No SVM on explanations for this run yet. Start the first one below.")
        return
    shown = {
        row.digest: f"{row.layer} · learned from {', '.join(row.train)}, judged on "
        f"{', '.join(row.test)} · core concepts of {SOURCE[row.core_on]} · {row.digest[:6]}"
        for row in frame.itertuples()
    }
    name = choose_result(list(shown), shown, "SVM on explanations")
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
    pe_said(table)
    groups = {
        "": "Without masks of the test photo: may be compared with the network",
        "masks": "With masks of the test photo, which a person must draw first: may not be "
        "compared with the network",
    }
    for need, title in groups.items():
        rows = table[table["needs_masks"] == bool(need)]
        st.markdown(f"**{title}**")
        draw.table(
            pe_view(rows),
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


def pe_view(rows: pd.DataFrame) -> pd.DataFrame:
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


def pe_said(table: pd.DataFrame) -> None:
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
            f"{row.accuracy:.1%}, {points(row.hidden_gain)} points "
            f"({span(row.hidden_low, row.hidden_high)}): {sure}."
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


def pe_form(ctx: Context, root: Path) -> None:
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
    kinds = [kind for kind in KINDS if kind != "annotated"]
    with st.container(border=True):
        st.markdown(f"Layer **{ctx.layer}** of the run at the left; another is chosen there.")
        cc = address.several(
            "kinds",
            "Core concepts",
            kinds,
            default=("scc", "icc"),
            format_func=KINDS.get,
            help=explanations.CORE,
        )
        row = st.columns(3)
        with row[0]:
            usual = "train" if "train" in splits else splits[0]
            train = address.select("train", "Learn from", splits, usual, format_func=plain_name)
        rest = [split for split in splits if split != train]
        with row[1]:
            test = address.select(
                "test",
                "Judge on",
                rest,
                "test" if "test" in rest else rest[0],
                format_func=plain_name,
            )
        with row[2]:
            core_on = address.select(
                "core", "Core concepts come from", list(SOURCE), "train", format_func=SOURCE.get
            )
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
        if not only_here(line):
            return
        job = jobs.watch(retrain.job_name(arguments), root)
        with st.container(horizontal=True, vertical_alignment="center"):
            st.button(
                "Start",
                type="primary",
                icon=":material/play_arrow:",
                on_click=begin,
                args=(arguments, root),
                disabled=job is not None and job.alive,
            )
            not_begun(job)
        with st.expander("On the command line", icon=":material/terminal:"):
            st.code(line, language="bash", wrap_lines=True)


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
        (pe_results, pe_form),
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
at_work(root, kind)
for draw_part in draws:
    draw_part(ctx, root)
