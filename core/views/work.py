"""What is in progress: runs to start, to check, to watch and to discard.

Runs are started as jobs (:mod:`core.foundation.jobs`), never within the app: the engine is not
imported here, and what it has to say of a plan it says on the command line, with ``--plan --json``.
"""

from __future__ import annotations

import shlex
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from core.foundation import jobs
from core.foundation.digest import digest_of
from core.foundation.files import Sole
from core.foundation.jobs import read_progress
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


def known_layers(request: Mapping[str, Any], root: Path) -> dict[str, Any] | None:
    """What the last finished check said of the same photos and network, with whatever layers,
    splits and numbers; None where there was none."""
    pair = (str(request["dataset"]), str(request["model"]))
    for job in jobs.every(root):
        if job.name.startswith(CHECK) and job.state == "finished":
            said = dict(zip(job.arguments, job.arguments[1:], strict=False))
            if (said.get("--dataset"), said.get("--model")) == pair:
                return job.answer()
    return None


def start_run(asked: list[str], digest: str, root: Path) -> jobs.Job:
    """Start a run, or resume a stopped one. Raises UnitscopeError where it is at work."""
    return jobs.start(digest, asked, root, f"{digest}.partial/progress.json")


STALE = 30.0
"""Seconds without a heartbeat after which a run in the making counts as stopped."""


def unfinished(root: Path, now: float | None = None, kind: str = "") -> list[dict[str, Any]]:
    """Runs in the making, or stopped, under `root`: their progress files and a `state`.

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
        beat = read_progress(folder / "progress.json") or {}
        age = (time.time() if now is None else now) - beat.get("time", 0)
        state = "starting" if not beat else "stopped" if age > STALE else "running"
        rows.append({**beat, "run": folder.stem, "state": state, "age": age if beat else None})
    return rows


# -- at work ----------------------------------------------------------------------------------


def at_work(root: Path) -> list[dict[str, Any]]:
    """Runs in the making, stopped or failed, and those that a job finished within the hour.

    Keys: run (digest), job (a :class:`core.foundation.jobs.Job`, or None for a run started on the
    command line), state (as of jobs; of the heartbeat where there is none), dataset, model, layers,
    stage, done, total, rate, left, age (seconds since the last heartbeat), request or arguments.
    """
    beats = {beat["run"]: beat for beat in unfinished(root)}
    rows = []
    for job in jobs.every(root):
        if job.name.startswith(CHECK) or not (job.arguments and job.arguments[0] == "run"):
            continue
        beat = beats.pop(job.name, {})
        if job.state == "finished" and time.time() - (job.ended or 0) > SEEN:
            continue
        said = dict(zip(job.arguments, job.arguments[1:], strict=False))
        named = {
            "dataset": said.get("--dataset", ""),
            "model": said.get("--model", ""),
            "layers": [
                value
                for flag, value in zip(job.arguments, job.arguments[1:], strict=False)
                if flag == "--layer"
            ],
        }
        now = job.progress if job.alive else beat
        rows.append({**named, **(now or {}), "run": job.name, "job": job, "state": job.state})
    return rows + [{**beat, "job": None} for beat in beats.values()]


def discard(digest: str, root: Path, job: str = "") -> None:
    """Throw away what a stopped run, or other work of that name, has done so far, and its job,
    where that has another name.

    Raises UnitscopeError where the run is being made.
    """
    lock = Sole(root / f"{digest}.lock", f"{digest} is being made; stop it first")
    try:
        jobs.forget(job or digest, root)
        shutil.rmtree(root / f"{digest}.partial", ignore_errors=True)
    finally:
        lock.release()
