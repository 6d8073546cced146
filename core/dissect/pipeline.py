"""The pipeline: photos and masks → maps → thresholds → counts → a published run.

Stages, each resumable by image shard, each given what the ones before it return:

``collect``   decode, one forward pass, keep maps, pooled features, logits, label grids; thresholds
              (:mod:`core.dissect.passes`)
``count``     overlap counts of every image (:mod:`core.dissect.passes`)
``chance``    the same with masks exchanged between photos, the null distribution, round by round
              (:mod:`core.dissect.chance`)
``publish``   tables into one DuckDB file, which is renamed into place
              (:mod:`core.dissect.publish`)

An untrained twin of the network, where one is asked for, goes through all of them beside it.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Unpack

from core.datasets.base import Problem
from core.dissect.chance import chance
from core.dissect.losses import Losses, counted, need_few
from core.dissect.passes import Networks, collect, count
from core.dissect.plan import Plan
from core.dissect.precision import effect
from core.dissect.publish import into_place, publish
from core.dissect.second_pass import adopt_counts, kernel_of
from core.dissect.shard_file import Passes, Shard
from core.dissect.shards import adopt
from core.dissect.work import Job, Work, meter_of, need_room, open_arrays
from core.foundation.errors import BadFile
from core.foundation.files import write_text
from core.foundation.progress import Hooks, never
from core.foundation.settings import CACHE
from core.runs.run_file import Run
from core.runs.store import making, remove_run


def execute(
    plan: Plan,
    root: Path = CACHE,
    *,
    fresh: bool = False,
    strict: bool = False,
    shard: int = 256,
    threads: int | None = None,
    kernel: str | None = None,
    made: Passes | None = None,
    **hooks: Unpack[Hooks],
) -> Run:
    """Make the run, or resume it, or open it where it is finished.

    Parameters
    ----------
    root : folder of the run files.
    progress : called with a :class:`Progress` after every batch.
    stop : asked after every batch; where it says True, :class:`Stopped` is raised.
    fresh : throw away a stopped run of the same digest instead of resuming it.
    strict : raise at the first photo or mask that cannot be used, instead of skipping it.
    shard : images a shard (rounded to whole batches); it changes no number of the result.
    threads : for decoding and counting; None = the machine's cores.
    kernel : "numba" or "torch", which count alike; None = numba where the network runs on the
        CPU, torch on the network's device elsewhere.
    made : what :func:`core.dissect.shards.find_shards` and
        :func:`core.dissect.second_pass.find_counts` found, in the place of the two passes.

    Raises
    ------
    UnitscopeError
        too many photos lost (:class:`core.dissect.losses.TooManyLost`), no room on the disk,
        another process makes the same run, no usable image at all, damaged shards.
    """
    if strict and plan.dataset.problems:
        raise BadFile(plan.dataset.problems[0].path, plan.dataset.problems[0].reason)
    final = root / f"{plan.digest}.duckdb"
    folder = root / f"{plan.digest}.partial"
    if final.is_file() and not fresh and not folder.exists():
        return _opened(final, strict)
    if not plan.allow_loss:
        need_few(_losses(plan, []))
    root.mkdir(parents=True, exist_ok=True)
    need_room(sum(plan.sizes.values()), root, folder)
    lock = making(final)
    work = None
    try:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
            # Gone now, so that a fresh run that is stopped is what the next command resumes.
            remove_run(final)
        finished = final.is_file() or (folder / "published").exists()
        if not (finished and into_place(folder, final)):
            work = Work(folder, (0, len(plan.indices)), shard)
            cores = max(1, threads or os.cpu_count() or 1)
            meter = meter_of(plan, work.folder, hooks.get("progress"))
            arrays, stop = open_arrays(plan, work), hooks.get("stop", never)
            job = Job(plan, work, arrays, meter, stop, strict, cores, kernel_of(plan, kernel))
            if made and made.shards:
                adopt(job, made.shards)
            _make(job, made.counts if made else ())
            write_text(folder / "published", "whole: only renaming is left\n")
            into_place(folder, final)
        return _opened(final, strict)
    finally:
        if work is not None:
            work.close()
        lock.release()


def _losses(plan: Plan, unread: Sequence[Problem]) -> Losses:
    """Photos that are lost: those that the tables leave out, and those that could not be read. With
    a choice of splits the latter alone: of which split the others were, nobody knows."""
    known = set(plan.dataset.ids)
    listed = [p for p in plan.dataset.problems if p.image not in known and not plan.settings.splits]
    kept = known - {problem.image for problem in unread}
    return counted([*listed, *unread], len(plan.indices) - len(unread), kept)


def _make(job: Job, counts: Sequence[Shard]) -> None:
    """All stages, one after the other."""
    seconds: dict[str, float] = {}

    @contextmanager
    def timed(stage: str) -> Iterator[None]:
        began = time.monotonic()
        yield
        seconds[stage] = round(time.monotonic() - began, 3)

    networks = Networks(job)
    with timed("collect"):
        collected = collect(job, networks)
    if not job.plan.allow_loss:
        need_few(
            _losses(job.plan, [Problem(*row) for row in job.work.joined("collect", "problems")])
        )
    with timed("count"):
        adopt_counts(job, collected, counts)
        count(job, networks, collected)
    with timed("chance"):
        exchange = chance(job, collected)
    mixed = None
    if job.plan.settings.precision != "float32":
        with timed("precision"):
            mixed = effect(job.plan, threads=job.threads, stop=job.stop)
    publish(job, collected, exchange, seconds, mixed)


def _opened(final: Path, strict: bool) -> Run:
    """A finished run; where `strict`, only if nothing was left out of it."""
    run = Run(final)
    if strict:
        first = run.sql("SELECT file, reason FROM skipped LIMIT 1")
        if len(first):
            run.close()
            raise BadFile(first["file"][0], first["reason"][0])
    return run
