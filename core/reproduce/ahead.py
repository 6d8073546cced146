"""What `reproduce` still has to do, with disk space and time.

Dissections and re-trainings are timed on a few photos (:mod:`core.retrain.estimate`), replayed
curves on a few images; embeddings are estimated from their size and measured rates. What cannot be
timed before something else is there says so.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from core.foundation.progress import duration
from core.paper.printed import PARTS
from core.reproduce.check import Input, runs_of
from core.reproduce.produce import curves_of
from core.reproduce.profiles import KS, Disabling, Explaining, Merging, Retrainings
from core.reproduce.work import Work, failure

PER_FACT = {"TransE": 41e-6, "DistMult": 47e-6, "TransD": 102e-6, "ProjE": 51e-6}
"""Seconds of one core a fact and epoch, as measured for docs/filtering.md."""

SAMPLE = 32
"""Images on which a replayed curve is timed."""


@dataclass
class Step:
    """One piece of work.

    state : ``finished``, ``stopped`` (resumed) or ``to do``. seconds, low, high : None where not
    known. size : bytes on disk. how : how the time was found, or why it is not known. parts : keys
    of the tables and figures that need it.
    """

    what: str
    state: str
    seconds: float | None
    low: float | None
    high: float | None
    size: int
    how: str
    parts: list[str]


def steps(work: Work) -> list[Step]:
    """Runs, embeddings, curves and trainings of the parts that can be made, in their order.

    What cannot be opened is reported in its step. Raises a ``Stopped`` where `work.stop` says so.
    """
    parts = {key: work.part(key) for key in work.makeable}
    graph = work.profile.knowledge[1]
    out: list[Step] = []
    runs: dict[str, list[str]] = {}
    for key, part in parts.items():
        for run in runs_of(part):
            if not work.lacks((*work.profile.runs[run][1], graph)):
                runs.setdefault(run, []).append(key)
    for run, of in runs.items():
        out.append(_guarded(f"run {run}", of, _run, work, run, of))
    wanted: dict[tuple[str, str], list[str]] = {}
    for key, part in parts.items():
        if isinstance(part, (Explaining, Merging)) and key != "table1":
            names = part.embeddings if isinstance(part, Merging) else (part.embedding,)
            for name in names:
                wanted.setdefault((part.run, name), []).append(key)
    failing = {run for run, step in zip(runs, out, strict=True) if step.seconds is None}
    for (run, name), of in wanted.items():
        if run not in failing:
            out.append(
                _guarded(f"embedding {name} of run {run}", of, _embedding, work, run, name, of)
            )
    for key, part in parts.items():
        if isinstance(part, Disabling) and part.run not in failing:
            out.append(_guarded(f"curves of {key}", [key], _curves, work, key, part))
        if isinstance(part, Retrainings):
            out += _trainings(work, key, part)
    return out


def _guarded(what: str, of: list[str], make: Callable[..., Step], *given: Any) -> Step:
    """A step, or the word that it fails: one bad network must not cost the others their plan."""
    try:
        return make(*given)
    except Exception as err:
        return Step(what, "to do", None, None, None, 0, f"fails: {failure(err)}", of)


def _run(work: Work, key: str, of: list[str]) -> Step:
    from core.retrain.estimate import estimate

    planned = work.planned(key)
    settings = planned.settings
    what = f"run {planned.digest}: {settings.dataset} × {settings.model}"
    if work.finished(key) is not None:
        return Step(what, "finished", 0.0, 0.0, 0.0, 0, "only read", of)
    state = "stopped" if (work.root / f"{planned.digest}.partial").is_dir() else "to do"
    work.say(f"timing {what}")
    took = estimate(planned, work.stop)
    return Step(
        what,
        state,
        took.seconds,
        took.low,
        took.high,
        sum(planned.sizes.values()),
        f"from {took.images} images timed just now"
        + ("; less what is done" if state == "stopped" else ""),
        of,
    )


def _embedding(work: Work, run: str, name: str, of: list[str]) -> Step:
    from core.merging.embed import embedding_path, training

    what, how, state = f"embedding {name} of run {run}'s concepts", training(name), "to do"
    if work.finished(run) is None:
        # The run may find that some concepts never occur; that hardly changes the time.
        sub = work.concepts_around(run)
    else:
        space = work.space(run)
        sub, path = space.sub, embedding_path(space.sub, how, space.folder)
        if path.is_file():
            return Step(what, "finished", 0.0, 0.0, 0.0, 0, "only read", of)
        state = "stopped" if path.with_suffix(".partial").exists() else "to do"
    seconds = PER_FACT[how.model] * sub.sizes["facts"] * how.epochs
    return Step(
        what,
        state,
        seconds,
        seconds / 2,
        2 * seconds,
        4 * how.dim * sub.sizes["entities"],
        f"estimated from {sub.sizes['facts']:,} facts and at most {how.epochs} epochs",
        of,
    )


def _curves(work: Work, key: str, part: Disabling) -> Step:
    what = f"{PARTS[key].title}: curves of {', '.join(part.rankings)}"
    run = work.finished(part.run)
    if run is None:
        return Step(what, "to do", None, None, None, 0, "known when the run is finished", [key])
    at = part.at or KS
    left = [one for one in curves_of(part) if not work.where(run, "curve", one).is_file()]
    if not left:
        return Step(what, "finished", 0.0, 0.0, 0.0, 0, "only read", [key])
    from core.ablation.protocols import Disabled, Study
    from core.ablation.toggler import prepare

    study = Study.of(prepare(run), work.graph)
    rows = study.rows(part.judge or None)
    quick = study.toggler.method == "closed form"
    few = rows if quick else rows[:: max(1, len(rows) // SAMPLE)][:SAMPLE]
    ks = at if quick else at[:1]
    began = time.monotonic()
    study.outcomes(Disabled("random", "negative", "global"), rows, few, ks, stop=work.stop)
    each = (time.monotonic() - began) / (len(few) * len(ks))
    draws = sum(
        2 * one["halves"] or (part.draws if one["ranking"] == "random" else 1) for one in left
    )
    whole = draws * len(rows) * len(at) * each
    state = "to do" if len(left) == len(curves_of(part)) else "stopped"
    # By the paper's protocol only right or only wrong images are changed, held out only halves.
    return Step(
        what,
        state,
        whole,
        whole / 4,
        whole,
        0,
        f"from {len(few)} images toggled just now ({study.toggler.method})",
        [key],
    )


def _trainings(work: Work, key: str, part: Retrainings) -> Iterable[Step]:
    from core.retrain.estimate import retraining
    from core.retrain.plan import plan as plan_retraining

    for name, (asked, needs) in part.models.items():
        if work.lacks((*needs, work.profile.knowledge[1])):
            continue
        what = f"{PARTS[key].title}: {name}"
        try:
            planned = plan_retraining(work.retraining(asked))
            if (work.root / f"retrain-{planned.digest}.json").is_file():
                yield Step(what, "finished", 0.0, 0.0, 0.0, 0, "only read", [key])
                continue
            work.say(f"timing {what}")
            cost = retraining(planned, work.root, work.stop)
        except Exception as err:
            yield Step(what, "to do", None, None, None, 0, f"fails: {failure(err)}", [key])
            continue
        gone_on = (work.root / f"retrain-{planned.digest}.partial").is_dir()
        yield Step(
            what,
            "stopped" if gone_on else "to do",
            cost.seconds,
            cost.low,
            cost.high,
            0,
            f"{cost.trainings} trainings of up to {cost.epochs} epochs, from "
            f"{cost.timed} images timed just now" + ("; less what is done" if gone_on else ""),
            [key],
        )


@dataclass(frozen=True)
class Ahead:
    """What is there, what is missing, what would be done.

    Attributes
    ----------
    profile, about, quick : what was asked for. inputs, left_out : of
        :class:`core.reproduce.check.Checked`.
    steps : in their order. seconds, low, high : of those whose time is known. unknown : how many
        are not.
    size, free : bytes on disk.
    """

    profile: str
    about: str
    quick: bool
    inputs: list[Input]
    left_out: dict[str, str]
    steps: list[Step]
    seconds: float
    low: float
    high: float
    unknown: int
    size: int
    free: int


def plan(work: Work) -> Ahead:
    """What `reproduce` would do; nothing is kept."""
    checked = work.checked
    made = steps(work)
    known = [one for one in made if one.seconds is not None]
    where = work.root
    while not where.exists():
        where = where.parent
    return Ahead(
        profile=work.profile.name,
        about=work.profile.about,
        quick=work.small,
        inputs=checked.inputs,
        left_out=checked.left_out,
        steps=made,
        seconds=sum(one.seconds or 0.0 for one in known),
        low=sum(one.low or 0.0 for one in known),
        high=sum(one.high or 0.0 for one in known),
        unknown=len(made) - len(known),
        size=sum(one.size for one in made),
        free=shutil.disk_usage(where).free,
    )


def plan_text(result: Ahead) -> str:
    """The plan for a terminal."""
    lines = [f"Profile {result.profile}: {result.about}", "", "Inputs:"]
    for one in result.inputs:
        parts = ", ".join(one.parts) or "nothing that was asked for"
        sign = "missing" if one.needed else "not used" if one.missing else "found"
        others = f", or {', '.join(one.instead)}" if one.instead else ""
        lines.append(f"  {sign:8} {one.key}{others}: {one.what} (for {parts})")
        if one.needed:
            lines += [f"{'':11}{file}" for file in one.missing]
            lines.append(f"{'':11}to get it: {one.bring}")
    if result.left_out:
        lines += ["", "Left out for want of inputs:"]
        lines += [f"  {PARTS[key].title}" for key in result.left_out]
    if result.steps:
        lines += ["", "To do:"]
    lines += [_step_text(step) for step in result.steps]
    if result.steps:
        more = f", and {result.unknown} steps not timed" if result.unknown else ""
        lines += [
            "",
            f"In all about {duration(result.seconds)} ({duration(result.low)} to "
            f"{duration(result.high)}){more}, and the tables themselves (seconds to minutes); "
            f"{result.size / 1e9:.2f} GB, {result.free / 1e9:.1f} GB are free",
        ]
    if result.quick:
        lines += ["", "QUICK: made small to see whether everything works. Quote nothing of it."]
    return "\n".join(lines)


def _step_text(step: Step) -> str:
    if step.state == "finished":
        about = "finished"
    elif step.seconds is None:
        about = f"{step.state}; {step.how}"
    else:
        about = (
            f"{step.state}; about {duration(step.seconds)} ({duration(step.low or 0)} to "
            f"{duration(step.high or 0)}), {step.how}"
        )
    size = f", {step.size / 1e6:.0f} MB" if step.size else ""
    return f"  {step.what}\n      {about}{size}"
