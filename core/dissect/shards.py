"""Parts of a run made anywhere, and put together: ``run --shard i/n``, ``run --merge``.

A *shard* is what the first pass gives for some images: whole batches of the run, so that the
network sees the batches that it sees in one process. It is a pure function of the run's digest and
of its images, and one file, ``<digest>.shards/collect-<first>-<last>.npz``, which is there whole or
not at all. :func:`make_shard` makes it without knowing of any other; :func:`find_shards` says which
of the files that lie here are one run; :func:`adopt` fills a run's private folder with them, from
where the ordinary pipeline goes on.

In the file (:mod:`core.dissect.shard_file`) are every wide array's rows, ``photos`` (JPEG files,
one after the other), ``photo_bytes``, ``valid``, ``whole``, ``problems`` and, where maps are not
kept, ``top-N``, the largest activations of layer N. It may come from a stranger: nothing in it is
believed before it was compared with what the run itself says.

Where maps are not kept, the second pass is made in shards, too (:mod:`core.dissect.second_pass`).
"""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.dissect.passes import Networks, gather, state_of, tops_of
from core.dissect.plan import BATCH, Plan
from core.dissect.shard_file import (
    Shard,
    array_bytes,
    blocks,
    folder_of,
    json_array,
    put,
    read,
    read_header,
    write_header,
)
from core.dissect.thresholds import TopK, tail_size
from core.dissect.work import Job, Work, meter_of, need_room, open_arrays, wide_arrays
from core.foundation.errors import BadFile, Damaged, UnitscopeError
from core.foundation.files import ProcessLock, expanded, parse_json, write_text, write_whole
from core.foundation.progress import Report, Stop, never
from core.foundation.stores import is_remote, mirror_folder
from core.models.hooks import Layer
from core.runs.arrays import check_ids

MOST_GUESSED = 2048
"""Shards up to which a message says by which ``--shard i/n`` missing images are made."""


@dataclass(frozen=True)
class Found:
    """Shards that are one run, in the order of their images; what is said of the others."""

    shards: list[Shard]
    notes: list[str]


def rows_of(part: int, parts: int, images: int) -> tuple[int, int]:
    """(first image, image after the last) of shard `part` of `parts`, whole batches.

    Raises UnitscopeError where there is no such shard.

    >>> [rows_of(k, 3, 150) for k in (1, 2, 3)]
    [(0, 32), (32, 96), (96, 150)]
    """
    batches = -(-images // BATCH)
    if not 1 <= part <= parts:
        raise UnitscopeError(f"there is no shard {part} of {parts}; they are 1 to {parts}")
    if parts > batches:
        raise UnitscopeError(
            f"{images:,} images are {batches:,} batches of {BATCH}, and a shard is one of them at "
            f"least: make {batches:,} shards at most, not {parts:,}"
        )
    return (part - 1) * batches // parts * BATCH, min(part * batches // parts * BATCH, images)


def path_of(plan: Plan, root: Path, part: int, parts: int) -> Path:
    """The file of a shard of the first pass. Raises UnitscopeError where there is no such shard."""
    a, b = rows_of(part, parts, len(plan.indices))
    return folder_of(plan, root) / f"collect-{a:09d}-{b - 1:09d}.npz"


# -- making one -----------------------------------------------------------------------------


def make_shard(
    plan: Plan,
    root: Path,
    part: int,
    parts: int,
    *,
    progress: Report | None = None,
    stop: Stop = never,
    fresh: bool = False,
    strict: bool = False,
    shard: int = 256,
    threads: int | None = None,
) -> Shard:
    """Make shard `part` of `parts` (counted from 1), or resume it, or find it made.

    A file that is damaged is made again. For the parameters see
    :func:`core.dissect.pipeline.execute`; `shard`, images between two save points, changes no byte.

    Raises UnitscopeError where there is no such shard, no room, or another process makes it.
    """
    if strict and plan.dataset.problems:
        raise BadFile(plan.dataset.problems[0].path, plan.dataset.problems[0].reason)
    a, b = rows_of(part, parts, len(plan.indices))
    path = path_of(plan, root, part, parts)
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(
        path.with_suffix(".lock"), f"shard {part}/{parts} is being made by another process"
    )
    try:
        made = None if fresh else _made(plan, path)
        if made is None:
            partial = path.with_suffix(".partial")
            # Once as arrays, once as the file that they become.
            need_room(2 * sum(plan.sizes.values()) * (b - a) // len(plan.indices), root, partial)
            if fresh:
                shutil.rmtree(partial, ignore_errors=True)
            work = Work(partial, (a, b), shard)
            try:
                meter, arrays = meter_of(plan, work.folder, progress), open_arrays(plan, work)
                cores = max(1, threads or os.cpu_count() or 1)
                job = Job(plan, work, arrays, meter, stop, strict, cores, "")
                # With the maps kept, the thresholds are found in them.
                tops = [] if plan.settings.keep_maps else tops_of(plan, work.rows)
                gather(job, Networks(job), tops)
                write_whole(path, lambda fresh: _pack(job, tops, fresh))
            finally:
                work.close()
            shutil.rmtree(partial)
            made = header_of(plan, path)
        problems = small_of(plan, made).problems if strict else []
        if problems:
            raise BadFile(*problems[0][2:])
        return made
    finally:
        lock.release()


def _made(plan: Plan, path: Path) -> Shard | None:
    """The shard of that name where it was made before and is whole."""
    if not path.exists():
        return None
    try:
        made = header_of(plan, path)
        check(plan, made)
    except Damaged:
        return None
    return made


def _pack(job: Job, tops: list[TopK], path: Path) -> None:
    """All that was gathered into one file, with the header at its end."""
    plan, work = job.plan, job.work
    stored = [work.results("collect", k) for k in range(len(work.shards))]

    def joined(name: str) -> np.ndarray:
        return np.concatenate([part[name] for part in stored])

    valid, sizes = joined("valid"), joined("photo_bytes")
    photos = [work.folder / f"photos-{k:05d}.bin" for k in range(len(work.shards))]
    places = (work.rows[0] + np.flatnonzero(~valid)).tolist()
    problems = [
        [place, *_below(plan, str(path)), str(reason)]
        for place, (_, path, reason) in zip(places, joined("problems"), strict=True)
    ]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        members = {
            "valid": put(out, "valid", array_bytes(valid.astype(np.uint8))),
            "photo_bytes": put(out, "photo_bytes", array_bytes(sizes)),
            "whole": put(out, "whole", array_bytes(joined("whole"))),
            "problems": put(out, "problems", array_bytes(json_array(problems))),
            "photos": put(out, "photos", _photos(int(sizes.sum()), photos)),
        }
        for name, file in work.opened.items():
            members[name] = put(out, name, blocks(file.path))
        for n, top in enumerate(tops):
            # Activations are recorded in this type: nothing is lost.
            rows = top.largest().astype(plan.map_type)
            members[f"top-{n}"] = put(out, f"top-{n}", array_bytes(rows))
        write_header(out, plan, "collect", work.rows, members)


def _photos(size: int, files: Sequence[Path]) -> Iterator[bytes]:
    out = io.BytesIO()
    header = {"descr": "|u1", "fortran_order": False, "shape": (size,)}
    np.lib.format.write_array_header_1_0(out, header)
    yield out.getvalue()
    for path in files:
        yield from blocks(path)


def _data_folder(plan: Plan) -> str:
    """Where the dataset lies, as far as its SPEC says."""
    place = plan.settings.dataset.partition(":")[2]
    if is_remote(place):
        return str(mirror_folder(place)) + os.sep
    return str(expanded(place)) + os.sep if place else ""


def _below(plan: Plan, path: str) -> tuple[bool, str]:
    """(whether a path begins with the dataset's folder, the path without it): shards are the same
    wherever the photos lie."""
    folder = _data_folder(plan)
    below = bool(folder) and path.startswith(folder)
    return below, path.removeprefix(folder) if below else path


# -- reading one ----------------------------------------------------------------------------


def header_of(plan: Plan, path: Path) -> Shard:
    """:func:`read_header` of the first pass."""
    shard = read_header(plan, path, "collect")
    wanted = {"valid", "photo_bytes", "whole", "problems", "photos", *wide_arrays(plan)}
    wanted |= {f"top-{k}" for k in range(len(layers_of(plan)))}
    if set(shard.members) != wanted:
        raise Damaged(f"{path} is damaged, or no shard; remove it and make it again")
    return shard


def layers_of(plan: Plan) -> list[Layer]:
    """Layers whose largest activations a shard holds."""
    return [] if plan.settings.keep_maps else plan.layers * (1 if plan.twin is None else 2)


def top_blocks(plan: Plan, shard: Shard, n: int, valid: int) -> Iterator[np.ndarray]:
    """The largest activations of layer n in a shard with so many usable images."""
    layer = layers_of(plan)[n]
    cells = layer.height * layer.width
    most = tail_size(plan.settings.q, len(plan.indices) * cells)
    shape = (layer.units, min(most, valid * cells))
    return read(shard.path, f"top-{n}", shard.members[f"top-{n}"], shape, plan.map_type)


@dataclass(frozen=True)
class Small:
    """What a shard says of each image. problems : (place, image, file, reason)."""

    valid: np.ndarray
    sizes: np.ndarray
    whole: np.ndarray
    problems: list[tuple[int, str, str, str]]


def small_of(plan: Plan, shard: Shard) -> Small:
    """Raises Damaged where it cannot be."""
    images = shard.last - shard.first

    def array(name: str, dtype: Any, *shape: int | None) -> np.ndarray:
        blocks = list(read(shard.path, name, shard.members[name], shape, dtype))
        return np.concatenate(blocks) if blocks else np.zeros([n or 0 for n in shape], dtype)

    valid = array("valid", np.uint8, images)
    sizes = array("photo_bytes", np.int64, images)
    whole = array("whole", np.int32, None, 2)
    broken = Damaged(f"{shard.path} is damaged: its images cannot be; make it again")
    if valid.max() > 1 or sizes.min() < 0 or int(sizes.max()) >= 1 << 31:
        raise broken
    places, concepts = whole[:, 0], whole[:, 1]
    if len(whole) and not (
        shard.first <= places.min()
        and places.max() < shard.last
        and (np.diff(places) >= 0).all()
        and concepts.min() >= 1
        and concepts.max() <= len(plan.dataset.concepts)
    ):
        raise broken
    try:
        noted = parse_json(array("problems", np.uint8, None).tobytes())
        kinds = [[type(value) for value in row] for row in noted]
    except (ValueError, TypeError) as err:
        raise broken from err
    if any(row != [int, bool, str, str] for row in kinds):
        raise broken
    if [row[0] for row in noted] != (shard.first + np.flatnonzero(valid == 0)).tolist():
        raise broken
    folder = _data_folder(plan)
    problems = [
        (place, plan.dataset.ids[plan.indices[place]], f"{folder}{path}" if below else path, why)
        for place, below, path, why in noted
    ]
    return Small(valid.astype(bool), sizes, whole, problems)


def check(plan: Plan, shard: Shard) -> None:
    """Read all of a shard. Raises Damaged at what the run cannot have written."""
    small = small_of(plan, shard)
    for _ in read(
        shard.path, "photos", shard.members["photos"], (int(small.sizes.sum()),), np.uint8
    ):
        pass

    def finite(name: str, rows: np.ndarray) -> None:
        if not np.isfinite(rows).all():
            raise Damaged(f"{shard.path} is damaged: {name} has what is no finite number")

    for name, rows in wide_rows(plan, shard):
        if name == "labels":
            check_ids(rows, len(plan.dataset.concepts), str(shard.path))
        else:
            finite(name, rows)
    for n in range(len(layers_of(plan))):
        for rows in top_blocks(plan, shard, n, int(small.valid.sum())):
            finite(f"top-{n}", rows)


def wide_rows(plan: Plan, shard: Shard) -> Iterator[tuple[str, np.ndarray]]:
    """Blocks of rows of every wide array, with its name."""
    images = shard.last - shard.first
    for name, wide in wide_arrays(plan).items():
        shape = (images, *wide.shape)
        for rows in read(shard.path, name, shard.members[name], shape, wide.dtype):
            yield name, rows


# -- putting them together ------------------------------------------------------------------


def find_shards(plan: Plan, root: Path, files: Sequence[Path] = ()) -> Found:
    """Which of `files` (of those in the run's folder of shards, where none are given) make up the
    first pass of the run. What they hold is not read yet.

    Raises UnitscopeError where images are missing, a file is no shard or one of another run, and
    where two of the same images differ.
    """
    folder = folder_of(plan, root)
    paths = list(files) or sorted(folder.glob("collect-*.npz"))
    if not paths:
        raise UnitscopeError(f"no shards lie in {folder}: make them by --shard 1/N to --shard N/N")
    return choose(paths, lambda path: header_of(plan, path), len(plan.indices))


def choose(paths: Sequence[Path], header: Callable[[Path], Shard], images: int) -> Found:
    """Shards that hold every image once.

    header : reads what a file is. Raises as :func:`find_shards`.
    """
    held: dict[tuple[int, int], Shard] = {}
    wrong, notes = [], []
    for path in paths:
        try:
            shard = header(path)
        except UnitscopeError as err:
            wrong.append(str(err))
            continue
        other = held.setdefault((shard.first, shard.last), shard)
        if other.members != shard.members:
            wrong.append(
                f"{shard.path} and {other.path} are both {shard.images}, and differ: remove the "
                "one that is damaged, or was made by another kind of machine"
            )
        elif other is not shard:
            notes.append(f"{shard.path} is {other.path} once more")
    if wrong:
        more = f"\n… and {len(wrong) - 8} more" if len(wrong) > 8 else ""
        raise UnitscopeError("\n".join(wrong[:8]) + more)
    chosen = _tiling(sorted(held), images)
    notes += [
        f"{shard.path} is not needed: others hold its images"
        for rows, shard in held.items()
        if rows not in chosen
    ]
    return Found([held[rows] for rows in chosen], notes)


def _tiling(ranges: Sequence[tuple[int, int]], images: int) -> list[tuple[int, int]]:
    """Ranges out of some, sorted, that hold every image once, the fewest that do so.

    Raises UnitscopeError where there are none.
    """
    before: dict[int, tuple[int, int]] = {}
    count = {0: 0}
    for a, b in ranges:
        if a in count and count[a] + 1 < count.get(b, images + 1):
            before[b], count[b] = (a, b), count[a] + 1
    if images not in count:
        raise UnitscopeError(_missing(ranges, images))
    chosen, at = [], images
    while at:
        chosen.append(before[at])
        at = before[at][0]
    return chosen[::-1]


def _missing(ranges: Sequence[tuple[int, int]], images: int) -> str:
    """Why some ranges are not the run, and what is to be done."""
    gaps, at = [], 0
    for a, b in [*ranges, (images, images)]:
        if a > at:
            gaps.append((at, a))
        at = max(at, b)
    if not gaps:
        return (
            "the shards overlap, and no choice of them holds every image once: make all of them "
            "with one N in --shard i/N"
        )
    words = ", ".join(f"{a:,} to {b - 1:,}" for a, b in gaps[:8])
    text = f"of {images:,} images these are in no shard: {words}{', …' if len(gaps) > 8 else ''}"
    wanted = _asked_for([*ranges, *gaps], images)
    parts = [
        k
        for k, (first, last) in enumerate(wanted, 1)
        if any(a <= first and last <= b for a, b in gaps)
    ]
    if parts:
        named = ", ".join(f"--shard {k}/{len(wanted)}" for k in parts[:8])
        text += f"; missing: {named}{', …' if len(parts) > 8 else ''}"
    return text


def _asked_for(ranges: Sequence[tuple[int, int]], images: int) -> list[tuple[int, int]]:
    """The division into shards, of the fewest, that has a border wherever one of `ranges` ends;
    empty where there is none."""
    ends = {b for _, b in ranges}
    for parts in range(1, min(-(-images // BATCH), MOST_GUESSED) + 1):
        division = [rows_of(k, parts, images) for k in range(1, parts + 1)]
        if ends <= {b for _, b in division}:
            return division
    return []


def adopt(job: Job, shards: Sequence[Shard]) -> None:
    """Put shards that make up the run in the place of its first pass.

    All of them are read and checked before a row is written, so that what a stopped run had
    finished is not lost to a damaged one.

    Raises UnitscopeError at damaged ones, all of them named.
    """
    plan, work = job.plan, job.work
    if all(work.mark("collect", k).exists() for k in range(len(work.shards))):
        return
    job.meter.start("check", len(plan.indices))
    wrong = []
    for shard in shards:
        try:
            check(plan, shard)
        except Damaged as err:
            wrong.append(str(err))
        job.step(shard.last - shard.first)
    if wrong:
        raise Damaged("\n".join(wrong))
    job.meter.start("merge", len(plan.indices))
    tops = tops_of(plan, work.rows) if layers_of(plan) else []
    small = []
    for shard in shards:
        copy_rows(job, shard)
        small.append(small_of(plan, shard))
        take_tops(plan, shard, int(small[-1].valid.sum()), tops)
        job.step(shard.last - shard.first)
    write_text(work.merging, "the marks beside this file are not whole\n")
    _mark(job, shards, small, state_of(tops))
    work.merging.unlink()


def copy_rows(job: Job, shard: Shard) -> None:
    """Put a shard's rows in the run's arrays."""
    places = dict.fromkeys(job.work.opened, shard.first)
    for name, rows in wide_rows(job.plan, shard):
        job.work.opened[name].write(places[name], rows)
        places[name] += len(rows)


def take_tops(plan: Plan, shard: Shard, usable: int, tops: Sequence[TopK]) -> None:
    """Take in the largest activations of a shard with so many usable images, in each layer."""
    for n, top in enumerate(tops):
        unit = 0
        for values in top_blocks(plan, shard, n, usable):
            top.push(unit, values)
            unit += len(values)


def _mark(
    job: Job, shards: Sequence[Shard], small: list[Small], state: dict[str, np.ndarray]
) -> None:
    """Leave what the first pass leaves of every save point.

    state : of the largest activations, which the last one keeps.
    """
    work = job.work
    valid, sizes = (
        np.concatenate([getattr(s, name) for s in small]) for name in ("valid", "sizes")
    )
    whole = np.concatenate([s.whole for s in small])
    problems = [row for s in small for row in s.problems]
    at = np.array([row[0] for row in problems], np.int64)
    blocks = (
        block
        for shard, own in zip(shards, small, strict=True)
        for block in read(
            shard.path, "photos", shard.members["photos"], (int(own.sizes.sum()),), np.uint8
        )
    )
    rest = np.zeros(0, np.uint8)
    for k, (a, b) in enumerate(work.shards):
        with (work.folder / f"photos-{k:05d}.bin").open("wb") as out:
            left = int(sizes[a:b].sum())
            while left:
                if not len(rest):
                    rest = next(blocks)
                out.write(rest[:left].tobytes())
                left, rest = left - len(rest[:left]), rest[left:]
        own = [problems[j][1:] for j in range(*np.searchsorted(at, [a, b]).tolist())]
        work.finish(
            "collect",
            k,
            valid=valid[a:b],
            photo_bytes=sizes[a:b],
            problems=np.array(own, dtype=str).reshape(-1, 3),
            whole=whole[slice(*np.searchsorted(whole[:, 0], [a, b]).tolist())],
            **(state if k == len(work.shards) - 1 else {}),
        )
