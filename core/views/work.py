"""Work in progress: starting, checking, watching and discarding runs.

Runs are started as jobs (:mod:`core.foundation.jobs`), never within the app: the engine is not
imported here, and what it has to say of a plan it says on the command line, with ``--plan --json``.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, fields
from itertools import pairwise
from pathlib import Path
from typing import Any, TypedDict

from core.foundation import jobs
from core.foundation.digest import digest_of
from core.foundation.errors import UnitscopeError
from core.foundation.files import ProcessLock
from core.foundation.plain import Json
from core.foundation.progress import Heartbeat
from core.foundation.settings import command

CHECK = "check-"
"""How the names of jobs begin that look at a plan."""

SEEN = 3600.0
"""Seconds for which a job that ended well is still shown; a check is kept ten times as long."""


def arguments(request: Mapping[str, Any], root: Path) -> list[str]:
    """After ``python -m core``: what makes the run of a request (a dict of Settings) in `root`.

    >>> arguments({"dataset": "rooms", "model": "rooms"}, Path("cache"))
    ['run', '--dataset', 'rooms', '--model', 'rooms', '--out', 'cache']
    """
    return [*shlex.split(command(request))[3:], "--out", str(root)]


# -- checks -----------------------------------------------------------------------------------


def check_name(asked: list[str]) -> str:
    """The name of the job that checks a command line: the same question has one answer."""
    return CHECK + digest_of(asked)[:12]


def start_check(asked: list[str], root: Path) -> jobs.Job:
    """Have the engine open everything and time a few photos; see
    :func:`core.retrain.estimate.describe`.

    Checks of other command lines that are over for long are forgotten.
    """
    for job in jobs.every(root):
        if job.name.startswith(CHECK) and not job.alive and time.time() - job.started > 10 * SEEN:
            jobs.forget(job.name, root)
    return jobs.start(check_name(asked), [*asked, "--plan", "--json"], root)


class LayerRow(TypedDict):
    """A layer that can be dissected: a :class:`core.models.hooks.Layer` as JSON has it."""

    name: str
    kind: str
    units: int
    height: int
    width: int
    beside: int


class Seconds(TypedDict):
    """How long a run will take: a :class:`core.retrain.estimate.Estimate` as JSON has it, the
    planning included."""

    seconds: float
    low: float
    high: float
    images: int


@dataclass(frozen=True)
class PlanFound:
    """What a finished check says of a run: :class:`core.retrain.estimate.Description`, and how
    long it will take."""

    run: str
    sizes: dict[str, int]
    free: int
    images: int
    dataset: str
    scenes: int
    concepts: int
    categories: list[str]
    splits: dict[str, int]
    left_out: int
    outputs: int
    known_scenes: int
    notes: list[str]
    layer: list[str]
    layers: list[LayerRow]
    default_layer: str | None
    grid: tuple[int, int]
    input_size: tuple[int, int]
    seconds: Seconds

    @classmethod
    def of(cls, job: jobs.Job) -> PlanFound:
        """Raises UnitscopeError where the job gave no such answer, as one of another version."""
        answer = job.answer()
        lacking = [one.name for one in fields(cls) if one.name not in answer]
        if lacking:
            raise UnitscopeError(
                f"the check {job.name} does not say {', '.join(lacking)}; check again"
            )
        given = {one.name: answer[one.name] for one in fields(cls)}
        return cls(**{**given, **{name: tuple(given[name]) for name in ("grid", "input_size")}})


def known_layers(dataset: str, model: str, root: Path) -> PlanFound | None:
    """What the last finished check said of the same photos and network, with whatever layers,
    splits and numbers; None where there was none."""
    for job in jobs.every(root):
        if job.name.startswith(CHECK) and job.state == "finished":
            said = dict(pairwise(job.arguments))
            if (said.get("--dataset"), said.get("--model")) == (dataset, model):
                with suppress(UnitscopeError):  # of another version: it is asked again
                    return PlanFound.of(job)
    return None


def start_run(asked: list[str], digest: str, root: Path) -> jobs.Job:
    """Start a run, or resume a stopped one. Raises UnitscopeError where it is at work."""
    return jobs.start(digest, asked, root, f"{digest}.partial/progress.json")


STALE = 30.0
"""Seconds without a heartbeat after which a run in the making counts as stopped."""


@dataclass(frozen=True)
class Task:
    """Long work that is being done, was stopped or failed, or was finished within the hour.

    Attributes
    ----------
    run : what its unfinished work lies under (``RUN.partial``), or its job's name where there is
        none yet.
    state : as of :class:`core.foundation.jobs.Job`; of the heartbeat where there is no job.
    job : None where it was started on the command line.
    beat : its last heartbeat; None where none was written yet. age : of it, in seconds.
    dataset, model, layers : of a run. what, command : of a re-training.
    """

    run: str
    state: str
    job: jobs.Job | None = None
    beat: Heartbeat | None = None
    age: float | None = None
    dataset: str = ""
    model: str = ""
    layers: tuple[str, ...] = ()
    what: str = ""
    command: str = ""

    @property
    def name(self) -> str:
        """What it is known by: the name of its job, or `run`."""
        return self.job.name if self.job else self.run

    @property
    def where(self) -> str:
        """How far it is, in a few words."""
        beat = self.beat
        return f"{beat.stage} {beat.done}/{beat.total or '?'}" if beat else " 0/?"

    def to_json(self) -> Json:
        """The heartbeat, with run, state and age."""
        beat = self.beat.to_json() if self.beat else {}
        return {**beat, "run": self.run, "state": self.state, "age": self.age}


def unfinished(root: Path, now: float | None = None, kind: str = "") -> list[Task]:
    """Work that is not finished under `root`, by its folders alone, whoever started it.

    kind : what is in the making, by the word before its digest: ``retrain`` or ``svm``; runs have
    none.

    state: ``"running"``; ``"stopped"`` where the last heartbeat is older than :data:`STALE`
    seconds; ``"starting"`` where none was written yet.
    """
    rows = []
    for folder in sorted(root.glob("*.partial")):
        if folder.stem.rpartition("-")[0] != kind:
            continue
        if folder.with_suffix(".json" if kind else ".duckdb").exists():
            continue  # finished, and killed while it cleaned up
        beat = Heartbeat.read(folder / "progress.json")
        if beat is None:
            rows.append(Task(folder.stem, "starting"))
            continue
        age = (time.time() if now is None else now) - beat.time
        rows.append(
            Task(
                folder.stem,
                "stopped" if age > STALE else "running",
                beat=beat,
                age=age,
                dataset=beat.dataset,
                model=beat.model,
                layers=beat.layers,
                what=beat.what,
                command=beat.command,
            )
        )
    return rows


# -- at work ----------------------------------------------------------------------------------


def at_work(root: Path) -> list[Task]:
    """Runs in the making, stopped or failed, and those that a job finished within the hour."""
    left = {task.run: task for task in unfinished(root)}
    rows = []
    for job in jobs.every(root):
        if job.name.startswith(CHECK) or not (job.arguments and job.arguments[0] == "run"):
            continue
        task = left.pop(job.name, None)
        if job.state == "finished" and time.time() - (job.ended or 0) > SEEN:
            continue
        pairs = list(pairwise(job.arguments))
        said = dict(pairs)
        rows.append(
            Task(
                job.name,
                job.state,
                job,
                job.progress if job.alive else task.beat if task else None,
                task.age if task else None,
                said.get("--dataset", ""),
                said.get("--model", ""),
                tuple(value for flag, value in pairs if flag == "--layer"),
            )
        )
    return rows + list(left.values())


def discard(digest: str, root: Path, job: str = "") -> None:
    """Throw away what a stopped run, or other work of that name, has done so far, and its job,
    where that has another name.

    Raises UnitscopeError where the run is being made.
    """
    lock = ProcessLock(root / f"{digest}.lock", f"{digest} is being made; stop it first")
    try:
        jobs.forget(job or digest, root)
        shutil.rmtree(root / f"{digest}.partial", ignore_errors=True)
    finally:
        lock.release()
