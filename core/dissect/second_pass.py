"""The second pass in shards, where maps are not kept: ``run --no-maps --pass 2 --shard i/n``.

The thresholds follow from the largest activations that the shards of the first pass hold, and so
are the same wherever they are worked out. Above them, a shard counts overlaps of its own images by
another forward pass, into ``<digest>.shards/count-<first>-<last>.npz``: what
:func:`core.dissect.passes.count` leaves, some images at a time, with the digest of the thresholds
and of the images that were used. :func:`adopt_counts` puts them in the place of the second pass.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.dissect.passes import Collected, Networks, count, thresholds_of, tops_of
from core.dissect.plan import Plan
from core.dissect.shard_file import (
    Shard,
    array_bytes,
    folder_of,
    put,
    read,
    read_header,
    write_header,
)
from core.dissect.shards import (
    Found,
    check,
    choose,
    copy_rows,
    find_shards,
    header_of,
    path_of,
    rows_of,
    small_of,
    take_tops,
)
from core.dissect.work import Job, Work, meter_of, need_room, open_arrays
from core.foundation.errors import Damaged, UnitscopeError
from core.foundation.files import ProcessLock, write_whole
from core.foundation.progress import Report, Stop, never

CHUNK = 256
"""Images whose counts are held at once."""


def kernel_of(plan: Plan, kernel: str | None = None) -> str:
    """The kernel that counts: "numba" where the network runs on the CPU, "torch" elsewhere."""
    return kernel or ("numba" if torch.device(plan.settings.device).type == "cpu" else "torch")


def digest_of_thresholds(collected: Collected) -> str:
    """SHA-256 of what counts depend on beside maps and labels: usable images and thresholds."""
    digest = hashlib.sha256(collected.valid.tobytes())
    for thresholds in collected.thresholds:
        digest.update(np.ascontiguousarray(thresholds, np.float32).tobytes())
    return digest.hexdigest()


def make_counts(
    plan: Plan,
    root: Path,
    part: int,
    parts: int,
    *,
    progress: Report | None = None,
    stop: Stop = never,
    fresh: bool = False,
    threads: int | None = None,
    kernel: str | None = None,
    collected: Collected | None = None,
) -> Shard:
    """Count overlaps of shard `part` of `parts`, or resume that, or find it done.

    The shards of the whole first pass lie in the run's folder, this one among them. For the
    parameters see :func:`core.dissect.shards.make_shard`; `collected` is what
    :func:`collected_of` gave before.

    Raises UnitscopeError where they do not, where maps are kept, or another process does the same.
    """
    if plan.settings.keep_maps:
        raise UnitscopeError(
            "--pass 2 runs the network once more, for --no-maps; with its maps kept, --merge "
            "counts from them"
        )
    a, b = rows_of(part, parts, len(plan.indices))
    if collected is None:
        found = find_shards(plan, root).shards
        if (a, b) not in [(shard.first, shard.last) for shard in found]:
            raise UnitscopeError(
                f"the first pass was made in other shards, {len(found)} of them: give --shard i/N "
                "with the same N"
            )
    path = folder_of(plan, root) / f"count-{a:09d}-{b - 1:09d}.npz"
    lock = ProcessLock(
        path.with_suffix(".lock"), f"shard {part}/{parts} is being counted by another process"
    )
    try:
        own = header_of(plan, path_of(plan, root, part, parts))
        collected = collected or _collected(plan, found)
        made = None if fresh else _made(plan, path, collected)
        if made is None:
            partial = path.with_suffix(".partial")
            need_room(2 * sum(plan.sizes.values()) * (b - a) // len(plan.indices), root, partial)
            if fresh:
                shutil.rmtree(partial, ignore_errors=True)
            check(plan, own)
            work = Work(partial, (a, b), CHUNK)
            try:
                meter, arrays = meter_of(plan, work.folder, progress), open_arrays(plan, work)
                cores, kind = max(1, threads or os.cpu_count() or 1), kernel_of(plan, kernel)
                job = Job(plan, work, arrays, meter, stop, False, cores, kind)
                copy_rows(job, own)
                count(job, Networks(job), collected)
                write_whole(path, lambda fresh: _pack(job, collected, fresh))
            finally:
                work.close()
            shutil.rmtree(partial)
            made = _header(plan, path)
        return made
    finally:
        lock.release()


def collected_of(plan: Plan, root: Path, parts: int) -> Collected:
    """Usable images and thresholds of the run, once its first pass lies in its folder in so many
    shards.

    Raises as :func:`core.dissect.shards.find_shards`.
    """
    files = [path_of(plan, root, part, parts) for part in range(1, parts + 1)]
    return _collected(plan, find_shards(plan, root, files).shards)


def _collected(plan: Plan, shards: Sequence[Shard]) -> Collected:
    """Usable images and thresholds of the run, by what the shards of the first pass say."""
    tops, valid = tops_of(plan, (0, len(plan.indices))), []
    for shard in shards:
        valid.append(small_of(plan, shard).valid)
        take_tops(plan, shard, int(valid[-1].sum()), tops)
    usable = np.concatenate(valid)
    if not usable.any():
        raise UnitscopeError("no image can be used; --merge says why")
    thresholds = thresholds_of(plan, tops, int(usable.sum()))
    return Collected(usable, np.zeros((0, 2), np.int32), thresholds)


def _made(plan: Plan, path: Path, collected: Collected) -> Shard | None:
    """The counts of that name where they were made before, above these thresholds, and whole."""
    if not path.exists():
        return None
    try:
        made = _header(plan, path)
        for _ in _chunks(plan, made, collected):
            pass
    except Damaged:
        return None
    return made


def _pack(job: Job, collected: Collected, path: Path) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as out:
        members = {}
        for k in range(len(job.work.shards)):
            stored = job.work.results("count", k)
            for name in sorted(stored):
                member = f"{k:05d}-{name}"
                members[member] = put(out, member, array_bytes(stored[name]))
        digest = digest_of_thresholds(collected)
        write_header(out, job.plan, "count", job.work.rows, members, thresholds=digest)


def _header(plan: Plan, path: Path) -> Shard:
    shard = read_header(plan, path, "count")
    layers = range(len(plan.layers) * (1 if plan.twin is None else 2))
    names = ["areas", "annotated", "place"]
    names += [f"{name}_{n}" for n in layers for name in ("hits", "peaks", "both", "pixels")]
    chunks = range(-(-(shard.last - shard.first) // CHUNK))
    if set(shard.members) != {f"{k:05d}-{name}" for k in chunks for name in names}:
        raise Damaged(f"{path} is damaged, or no shard; remove it and make it again")
    return shard


# -- reading --------------------------------------------------------------------------------

Part = dict[str, np.ndarray]
"""What the second pass leaves of some images."""


def _chunks(plan: Plan, shard: Shard, collected: Collected) -> Iterator[Part]:
    """The counts of a shard, :data:`CHUNK` images at a time.

    Raises Damaged at what the run cannot have counted.
    """
    if shard.thresholds != digest_of_thresholds(collected):
        raise Damaged(
            f"{shard.path} was counted above other thresholds, or for other images: a shard of the "
            "first pass has changed since; remove it and make it again"
        )
    for k, a in enumerate(range(shard.first, shard.last, CHUNK)):
        b = min(a + CHUNK, shard.last)
        part = _chunk(plan, shard, k, a + np.flatnonzero(collected.valid[a:b]))
        if not _can_be(plan, part):
            raise Damaged(f"{shard.path} is damaged: its counts cannot be; make it again")
        yield part


def _chunk(plan: Plan, shard: Shard, k: int, places: np.ndarray) -> Part:
    """The arrays of chunk k, whose usable images are `places`: of the right shapes and types."""

    def array(name: str, dtype: Any, *shape: int | None) -> np.ndarray:
        member = f"{k:05d}-{name}"
        found = list(read(shard.path, member, shard.members[member], shape, dtype))
        return np.concatenate(found) if found else np.zeros([n or 0 for n in shape], dtype)

    categories, pixels = len(plan.categories), plan.grid[0] * plan.grid[1]
    part = {
        "place": array("place", np.int64, len(places)),
        "areas": array("areas", np.int32, None, 3),
        "annotated": array("annotated", np.int32, len(places), categories),
    }
    if (part["place"] != places).any():
        raise Damaged(f"{shard.path} is damaged: it has counts of other images; make it again")
    own = len(plan.layers)
    for n in range(own * (1 if plan.twin is None else 2)):
        hits = part[f"hits_{n}"] = array(f"hits_{n}", np.int32, None, 3 + categories)
        # Peaks are those of the network's own layers alone.
        part[f"peaks_{n}"] = array(f"peaks_{n}", np.float32, len(hits) if n < own else 0)
        part[f"both_{n}"] = array(f"both_{n}", np.int32, None, 4)
        active = int(hits[:, 2].sum(dtype=np.int64)) if plan.settings.shuffles else 0
        kind = np.uint16 if pixels <= 1 << 16 else np.uint32
        part[f"pixels_{n}"] = array(f"pixels_{n}", kind, max(0, active))
    return part


def _can_be(plan: Plan, part: Part) -> bool:
    """Whether counts are of usable images in their order, of units and concepts that there are,
    and of no more pixels than the grid has."""
    pixels, concepts = plan.grid[0] * plan.grid[1], len(plan.dataset.concepts)

    def rows(values: np.ndarray, *most: int) -> bool:
        """most : bounds of the columns behind the image, from 0 or, for the last, 1."""
        images = values[:, 0]
        if not len(values):
            return True
        columns = values[:, 1 : 1 + len(most)]
        return bool(
            (np.diff(images) >= 0).all()
            and np.isin(images, part["place"]).all()
            and (columns >= 0).all()
            and (columns <= np.array(most)).all()
            and (columns[:, -1] >= 1).all()
        )

    if not rows(part["areas"], concepts, pixels) or (part["areas"][:, 1] < 1).any():
        return False
    annotated = part["annotated"]
    if (annotated < 0).any() or (annotated > pixels).any():
        return False
    layers = plan.layers * (1 if plan.twin is None else 2)
    for n, layer in enumerate(layers):
        hits, both, active = (part[f"{name}_{n}"] for name in ("hits", "both", "pixels"))
        if not rows(hits, layer.units - 1, pixels):
            return False
        inside = hits[:, 3:]
        if (inside < 0).any() or (inside > hits[:, 2:3]).any():
            return False
        if not rows(both, layer.units - 1, concepts, pixels) or (both[:, 2] < 1).any():
            return False
        if (active >= pixels).any() or not np.isfinite(part[f"peaks_{n}"]).all():
            return False
    return True


# -- putting them together ------------------------------------------------------------------


def find_counts(plan: Plan, root: Path, files: Sequence[Path] = ()) -> Found:
    """Which of `files` (of those in the run's folder of shards, where none are given) make up the
    second pass; none where there are none, or maps are kept.

    Raises as :func:`core.dissect.shards.find_shards`.
    """
    paths = list(files) or sorted(folder_of(plan, root).glob("count-*.npz"))
    if plan.settings.keep_maps or not paths:
        return Found([], [])
    return choose(paths, lambda path: _header(plan, path), len(plan.indices))


def adopt_counts(job: Job, collected: Collected, shards: Sequence[Shard]) -> None:
    """Put counts in the place of the second pass. All are checked before the first is taken.

    Raises UnitscopeError at damaged ones, all of them named.
    """
    work, n = job.work, len(job.plan.indices)
    if not shards or all(work.mark("count", k).exists() for k in range(len(work.shards))):
        return
    job.meter.start("check", n)
    wrong = []
    for shard in shards:
        try:
            for part in _chunks(job.plan, shard, collected):
                job.step(len(part["place"]))
        except Damaged as err:
            wrong.append(str(err))
    if wrong:
        raise Damaged("\n".join(wrong))
    job.meter.start("merge", n)
    parts = (part for shard in shards for part in _chunks(job.plan, shard, collected))
    held: list[Part] = []
    for k, (a, b) in enumerate(work.shards):
        # Until a part reaches beyond these images, or there are no more.
        while not held or not len(held[-1]["place"]) or held[-1]["place"][-1] < b - 1:
            following = next(parts, None)
            if following is None:
                break
            held.append(following)
        cut = [_cut(part, a, b) for part in held]
        work.finish("count", k, **{name: np.concatenate([c[name] for c in cut]) for name in cut[0]})
        held = [part for part in held if len(part["place"]) and part["place"][-1] >= b] or held[-1:]
        job.step(b - a)


def _cut(part: Part, a: int, b: int) -> Part:
    """Of counts, those of the images a … b − 1."""

    def within(images: np.ndarray) -> slice:
        return slice(*np.searchsorted(images, [a, b]).tolist())

    chosen = within(part["place"])
    own = {"place": part["place"][chosen], "annotated": part["annotated"][chosen]}
    own["areas"] = part["areas"][within(part["areas"][:, 0])]
    layers = sum(name.startswith("hits_") for name in part)
    for n in range(layers):
        hits, both = part[f"hits_{n}"], part[f"both_{n}"]
        rows = within(hits[:, 0])
        own[f"hits_{n}"] = hits[rows]
        own[f"both_{n}"] = both[within(both[:, 0])]
        peaks, pixels = part[f"peaks_{n}"], part[f"pixels_{n}"]
        own[f"peaks_{n}"] = peaks[rows] if len(peaks) else peaks
        ends = np.concatenate([[0], np.cumsum(hits[:, 2], dtype=np.int64)])
        own[f"pixels_{n}"] = pixels[ends[rows.start] : ends[rows.stop]] if len(pixels) else pixels
    return own
