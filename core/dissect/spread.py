"""A run in shards by the workers of Ray: ``run --engine ray``.

Every shard of either pass is made by the function that ``--shard i/N`` calls
(:mod:`core.dissect.shards`, :mod:`core.dissect.second_pass`), in whatever worker is free
(:mod:`core.foundation.engine`), into the run's folder of shards, which all machines see. This
process hands them out and puts them together, as ``--merge`` does; the bytes are those of one
process. What is finished stays: the same command goes on with the shards that are missing.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TypedDict, Unpack

import torch

from core.dissect.depot import Depot
from core.dissect.passes import Collected
from core.dissect.pipeline import execute
from core.dissect.plan import BATCH, Plan, hashed, plan
from core.dissect.second_pass import collected_of, find_counts, make_counts
from core.dissect.shard_file import Passes, Shard, folder_of, read_header
from core.dissect.shards import find_shards, make_shard, path_of, rows_of
from core.dissect.work import meter_of, need_room
from core.foundation.engine import Crew, Do, Item, Workers, enter
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.files import Taken, write_text
from core.foundation.progress import Hooks, Meter, Report, Stop, Stopped, never
from core.foundation.settings import Settings
from core.runs.run_file import Run
from core.runs.store import making, remove_run

AS_FIT = Crew()
"""As many workers as fit."""

STAGES = {1: "collect", 2: "count"}
"""Pass → stage of the pipeline."""

PARTS = "parts"
"""File in the folder of shards: how many there are of them, where this engine divided the run."""

PATIENCE = 120.0
"""Seconds for which a worker waits for a shard that another process has in hand: where a driver
was killed, its workers end a little later."""


def execute_spread(
    work: Plan,
    root: Path,
    *,
    crew: Crew = AS_FIT,
    threads: int | None = None,
    shard: int = 256,
    fresh: bool = False,
    strict: bool = False,
    **hooks: Unpack[Hooks],
) -> Run:
    """:func:`core.dissect.pipeline.execute`, its passes over the photos made by workers.

    Parameters
    ----------
    crew : the workers.
    threads : of each worker, for decoding and counting; OMP_NUM_THREADS or 1 where None. PyTorch
        computes on OMP_NUM_THREADS where that is set, so that sums are split as in one process.
    shard : images a shard, in whole batches. A run that was begun keeps its own.

    Raises UnitscopeError as :func:`execute` and :class:`core.foundation.engine.Workers` do.
    """
    progress, stop = hooks.get("progress"), hooks.get("stop", never)
    if strict and work.dataset.problems:
        raise BadFile(work.dataset.problems[0].path, work.dataset.problems[0].reason)
    final, folder = root / f"{work.digest}.duckdb", root / f"{work.digest}.partial"
    shards = folder_of(work, root)
    if final.is_file() and not fresh and not folder.exists():
        return execute(work, root, strict=strict)
    root.mkdir(parents=True, exist_ok=True)
    lock = making(final)
    try:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
            shutil.rmtree(shards, ignore_errors=True)
            remove_run(final)
        # Once as shards, once as the run.
        need_room(2 * sum(work.sizes.values()), root, shards)
        for one in (shards, folder):
            one.mkdir(exist_ok=True)
        depot = Depot(work, root, crew.shards_at) if crew.shards_at else None
        if depot:
            depot.bring(progress=progress, stop=stop)
        parts = _parts(work, shards, shard)
        spread = _Spread(work, root, parts, meter_of(work, folder, progress), stop, depot)
        own = replace(crew, threads=threads or crew.threads)
        given = _given(work, root, own, strict)
        device = work.settings.device
        with own.at("core.dissect.spread:open_worker", given, parts, device) as hands:
            passes = [spread.made(hands, number) for number in _passes(work)]
    finally:
        lock.release()
    made = Passes(*passes)
    run = execute(work, root, strict=strict, threads=threads, made=made, **hooks)
    if (shards / PARTS).is_file():  # otherwise a person's
        shutil.rmtree(shards, ignore_errors=True)
    return run


def _passes(work: Plan) -> tuple[int, ...]:
    """The passes that workers make: with maps kept, the second one needs no network."""
    return (1,) if work.settings.keep_maps else (1, 2)


def _parts(work: Plan, folder: Path, shard: int) -> int:
    """Into how many shards the run is divided: as it was begun, or as shards that were made by
    hand divide it, else by images a shard."""
    kept, images = folder / PARTS, len(work.indices)
    batches = -(-images // BATCH)
    if kept.is_file():
        word = kept.read_text(encoding="utf-8")
        if word.isdigit() and 1 <= int(word) <= batches:
            return int(word)
    with suppress(UnitscopeError):  # there are no others, or not all
        others = [(one.first, one.last) for one in find_shards(work, folder.parent).shards]
        if others == [rows_of(k, len(others), images) for k in range(1, len(others) + 1)]:
            return len(others)
    parts = -(-batches // max(1, round(shard / BATCH)))
    write_text(kept, str(parts))
    return parts


class Given(TypedDict):
    """What a worker is given, plain data: it opens photos and network itself.

    settings, run, facts : of the plan; `facts` as JSON, so that a worker can say what differs.
    cwd : where SPECs name files from. root : where shards and runs lie.
    threads, strict, shards_at : as of :func:`execute_spread`.
    """

    settings: Settings
    run: str
    facts: str
    cwd: str
    root: str
    threads: int
    strict: bool
    shards_at: str | None


def _given(work: Plan, root: Path, crew: Crew, strict: bool) -> Given:
    """Of a run; of the device its type alone."""
    device = torch.device(work.settings.device).type
    # The type alone: Ray shows each worker one GPU, whatever its number.
    return {
        "settings": replace(work.settings, device=device),
        "run": work.digest,
        "facts": json.dumps(hashed(work.facts), sort_keys=True),
        "cwd": str(Path.cwd()),
        "root": str(root.resolve()),
        "threads": crew.cores,
        "strict": strict,
        "shards_at": crew.shards_at,
    }


@dataclass(frozen=True)
class _Spread:
    """A run that is handed out in `parts` shards."""

    work: Plan
    root: Path
    parts: int
    meter: Meter
    stop: Stop
    depot: Depot | None

    def made(self, crew: Workers, number: int) -> list[Shard]:
        """The shards of one pass, all of them made, and found here."""
        work, items = self.work, []
        for part in range(1, self.parts + 1):
            a, b = rows_of(part, self.parts, len(work.indices))
            items.append(Item((number, part, self.parts), b - a, f"shard {part}/{self.parts}"))
        self.meter.start(STAGES[number], len(work.indices))
        digests: dict[Path, str] = {}
        for item, (name, digest, where) in crew.each(items, self.meter, self.stop):
            path = folder_of(work, self.root) / name
            if self.depot and not _held(work, path, number, digest):
                path.unlink(missing_ok=True)
                self.depot.bring([name], stop=self.stop)
            if not path.is_file():
                raise UnitscopeError(
                    f"{item.name} was made on {where} as {path}, and is not here: --out must be a "
                    "folder that all machines see, or --shards-at an address"
                )
            digests[path] = digest
        find = find_shards if number == 1 else find_counts
        found = find(work, self.root, sorted(digests)).shards
        for shard in found:
            if digest_of_shard(shard) != digests[shard.path]:
                raise UnitscopeError(
                    f"{shard.path} is not what its worker wrote: another file lies there, or an "
                    "old one is still seen; the same command makes it again"
                )
        return found


def _held(work: Plan, path: Path, number: int, digest: str) -> bool:
    """Whether a shard is here already, as its worker wrote it."""
    try:
        return digest_of_shard(read_header(work, path, STAGES[number])) == digest
    except UnitscopeError:
        return False


def digest_of_shard(shard: Shard) -> str:
    """SHA-256 of what a shard holds, by the SHA-256 of its members."""
    return hashlib.sha256(json.dumps(shard.members, sort_keys=True).encode()).hexdigest()


# -- in a worker ------------------------------------------------------------------------------


def open_worker(given: Given) -> Do:
    """What makes a shard in this process: (pass, part, parts) → (file's name, digest, machine).

    Raises UnitscopeError where photos, network or packages are others here.
    """
    enter(given)
    work = plan(given["settings"])
    if work.digest != given["run"]:
        own, theirs = json.loads(json.dumps(hashed(work.facts))), json.loads(given["facts"])
        other = ", ".join(name for name in own if own[name] != theirs.get(name))
        raise UnitscopeError(
            f"{socket.gethostname()} would make another run; these differ there: {other}"
        )
    root = Path(given["root"])
    depot = Depot(work, root, given["shards_at"]) if given["shards_at"] else None
    thresholds: list[Collected] = []

    def do(item: tuple[int, int, int], progress: Report, stop: Stop) -> tuple[str, str, str]:
        number, part, parts = item
        if depot:
            own = path_of(work, root, part, parts).name
            names = [own] if number == 1 else [own, own.replace("collect-", "count-")]
            # The thresholds follow from all of the first pass.
            depot.bring(names if number == 1 or thresholds else None, stop=stop)
        if number == 1:
            make = partial(make_shard, strict=given["strict"])
        else:
            # The same for every shard, and once a worker: all of the first pass is read for it.
            thresholds[:] = thresholds or [collected_of(work, root, parts)]
            make = partial(make_counts, collected=thresholds[0])
        made = partial(
            make, work, root, part, parts, progress=progress, stop=stop, threads=given["threads"]
        )
        shard = _patient(made, stop)
        if depot:
            depot.send(shard)
        return shard.path.name, digest_of_shard(shard), socket.gethostname()

    return do


def _patient(make: Callable[[], Shard], stop: Stop) -> Shard:
    """A shard, once no other process has it in hand."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            return make()
        except Taken:
            if stop():
                raise Stopped("stopped") from None
            if time.monotonic() > until:
                raise
            time.sleep(0.5)
