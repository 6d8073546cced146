"""The two passes over the photos: :func:`collect` what the network gives, :func:`count` overlaps.

Both go shard by shard; a shard that was finished by a stopped run is not done again.
"""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple
from weakref import WeakKeyDictionary

import numpy as np
import torch
from torch import nn

from core.datasets.base import Problem
from core.datasets.loader import Decoded, decode_ahead
from core.dissect.counts import Counts, count_images, count_images_torch
from core.dissect.plan import BATCH, Plan
from core.dissect.thresholds import TopK, tail_size
from core.dissect.work import Job
from core.foundation.errors import BadFile, UnitscopeError
from core.models.forward import Forward, Passed
from core.models.hooks import Layer
from core.models.untrained import needs_photos, settle_batch_norm

SETTLING = 256
"""Photos, spread evenly over the run, on which the twin's batch norm is estimated."""

_SETTLED: WeakKeyDictionary[nn.Module, bytes] = WeakKeyDictionary()
"""Twin → the photos that its batch norm was estimated on."""

Batches = Iterator[tuple[int, list[Decoded]]]
"""(place of the first image, a batch of decoded images)."""


class Networks:
    """The network and, where there is one, its untrained twin, run over decoded photos."""

    def __init__(self, job: Job):
        self.job, plan, s = job, job.plan, job.plan.settings
        names = [layer.name for layer in plan.layers]
        self._forwards = [
            Forward(model, names, s.device, s.precision, plan.map_type)
            for model in ([plan.model] if plan.twin is None else [plan.model, plan.twin])
        ]
        self._settled = plan.twin is None

    @property
    def device(self) -> torch.device:
        """Where the network runs."""
        return self._forwards[0].device

    def __call__(self, batch: list[Decoded]) -> tuple[Passed, list[Passed]]:
        """(what the network gives, what the twin gives where there is one) for a batch."""
        self._settle()
        seen = self._stack(batch)
        passed, *twins = [forward(seen) for forward in self._forwards]
        return passed, twins

    def batches(
        self, shards: Sequence[tuple[int, int]], first_pass: bool
    ) -> Generator[tuple[int, list[Decoded]], None, None]:
        """The photos of some shards; with labels and photos to look at in the first pass."""
        stream = self._decoded(
            np.concatenate([self.job.plan.indices[a:b] for a, b in shards]), first_pass
        )
        try:
            for a, b in shards:
                for at in range(a, b, BATCH):
                    yield at, [next(stream) for _ in range(min(BATCH, b - at))]
        finally:
            stream.close()

    def _decoded(self, indices: np.ndarray, first_pass: bool) -> Generator[Decoded, None, None]:
        plan = self.job.plan
        return decode_ahead(
            plan.dataset,
            indices,
            plan.model.preprocessing,
            plan.grid,
            self.job.threads,
            3 * BATCH,
            keep_photo=first_pass,
            with_labels=first_pass,
        )

    def _stack(self, batch: list[Decoded]) -> np.ndarray:
        """uint8 (images, height, width, 3). A photo that could not be read is black, so that
        the others' places in their batch do not depend on it."""
        width, height = self.job.plan.input_size
        seen = np.zeros((len(batch), height, width, 3), np.uint8)
        for row, item in zip(seen, batch, strict=True):
            if item.seen is not None:
                if item.seen.shape != row.shape:
                    raise UnitscopeError(
                        f"the preprocessing makes image {self.job.plan.dataset.ids[item.image]!r} "
                        f"{item.seen.shape[1]}×{item.seen.shape[0]} pixels and others "
                        f"{width}×{height}: a run needs one input size, so give the "
                        "preprocessing a centre crop or a fixed (width, height)"
                    )
                row[...] = item.seen
        return seen

    def _settle(self) -> None:
        """Estimate the twin's batch norm, the same each time, before it first runs."""
        if self._settled:
            return
        self._settled = True
        twin, indices = self._forwards[1], self.job.plan.indices
        if not needs_photos(twin.module):
            return
        n = len(indices)
        chosen = indices[np.unique(np.linspace(0, n - 1, min(SETTLING, n)).astype(int))]
        # A worker makes many shards of a run with one twin.
        if _SETTLED.get(twin.module) == chosen.tobytes():
            return
        stream = self._decoded(chosen, False)

        def batches() -> Iterator[torch.Tensor]:
            seen = [item for item in stream if item.seen is not None]
            for at in range(0, len(seen), BATCH):
                yield twin.inputs(self._stack(seen[at : at + BATCH]))

        settle_batch_norm(twin.module, batches())
        _SETTLED[twin.module] = chosen.tobytes()


def _maps_of(passed: Passed, twins: list[Passed], layers: list[Layer]) -> list[np.ndarray]:
    """Recorded maps of every layer, the twin's after the network's."""
    return [
        one.layers[layer.name].maps.cpu().contiguous().numpy()
        for one in (passed, *twins)
        for layer in layers
    ]


# -- collect --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Collected:
    """What the first pass found, beside the arrays.

    Attributes
    ----------
    valid : bool (images,), which images can be used.
    whole : int32 (rows, 2), image and concept that holds for the whole of it, in their order:
        those the reader gives, and the image's scene.
    thresholds : T_t, float32 (units,) of each layer, see :mod:`core.dissect.thresholds`.
    """

    valid: np.ndarray
    whole: np.ndarray
    thresholds: list[np.ndarray]


def collect(job: Job, networks: Networks) -> Collected:
    """One forward pass over every image, which fills the arrays; then the thresholds."""
    tops = tops_of(job.plan, job.work.rows)
    gather(job, networks, tops)
    valid = job.work.joined("collect", "valid")
    return Collected(valid, _whole_images(job, valid), _thresholds(job, tops, int(valid.sum())))


def tops_of(plan: Plan, rows: tuple[int, int]) -> list[TopK]:
    """What will hold, of each layer, the twin's after the network's, as many of the largest
    activations among the images `rows` (first, after the last) as the threshold of the whole run
    can depend on."""
    layers = plan.layers * (1 if plan.twin is None else 2)
    cells = [layer.height * layer.width for layer in layers]
    a, b = rows
    return [
        TopK(layer.units, min(tail_size(plan.settings.q, len(plan.indices) * n), (b - a) * n))
        for layer, n in zip(layers, cells, strict=True)
    ]


def gather(job: Job, networks: Networks, tops: list[TopK]) -> None:
    """The first pass over the images of `job.work`, which fills its arrays.

    tops : take in each layer's activations; empty where they are not needed, and maps are kept.
    """
    work, (a, b) = job.work, job.work.rows
    # Shards are finished in order, so those done are the first ones.
    done = sum(work.mark("collect", k).exists() for k in range(len(work.shards)))
    _resume_tops(job, tops, done)
    left = work.shards[done:]
    job.meter.start("collect", b - a, (left[0][0] if left else b) - a)
    batches: Batches = networks.batches(left, True) if left else iter(())
    for k in range(done, len(work.shards)):
        _collect_shard(job, networks, k, batches, tops)


def _resume_tops(job: Job, tops: list[TopK], done: int) -> None:
    """Bring the largest activations to where a stopped run left them after `done` shards."""
    work, kept = job.work, job.plan.settings.keep_maps
    for k in range(done):
        a, b = work.shards[k]
        stored = work.results("collect", k, "valid", "problems")
        if job.strict and len(stored["problems"]):
            raise BadFile(*stored["problems"][0][1:])
        # One by one with the arrays: none where maps are not kept.
        for top, file in zip(tops, job.arrays.maps, strict=kept and bool(tops)):
            for at in range(a, b, BATCH):
                size = min(BATCH, b - at)
                top.update(file.read(at, size)[stored["valid"][at - a : at - a + size]])
    if done and not kept:
        stored = work.results("collect", done - 1)
        for n, top in enumerate(tops):
            top.restore({name: stored[f"top_{n}_{name}"] for name in top.state()})


def _collect_shard(
    job: Job, networks: Networks, k: int, batches: Batches, tops: list[TopK]
) -> None:
    work, (a, b) = job.work, job.work.shards[k]
    valid: list[bool] = []
    sizes: list[int] = []
    problems: list[Problem] = []
    whole: list[tuple[int, int]] = []
    with (work.folder / f"photos-{k:05d}.bin").open("wb") as out:
        while a < b:
            at, batch = next(batches)
            passed, twins = networks(batch)
            batch = _judged(job, batch, passed, twins)
            for place, item in enumerate(batch, at):
                out.write(item.photo)
                sizes.append(len(item.photo))
                whole += [(place, concept) for concept in item.whole]
                if item.problem:
                    if job.strict:
                        raise BadFile(item.problem.path, item.problem.reason)
                    problems.append(item.problem)
            fine = np.array([item.problem is None for item in batch])
            valid += fine.tolist()
            job.arrays.labels.write(at, np.stack([item.labels for item in batch]))
            _write_passed(job, at, passed)
            for n, maps in enumerate(_maps_of(passed, twins, job.plan.layers)):
                if tops:
                    tops[n].update(maps if fine.all() else maps[fine])
                if job.arrays.maps:
                    job.arrays.maps[n].write(at, maps)
            a = at + len(batch)
            job.step(len(batch))
    state = {} if job.plan.settings.keep_maps else state_of(tops)
    work.finish(
        "collect",
        k,
        valid=np.array(valid, bool),
        photo_bytes=np.array(sizes, np.int64),
        problems=np.array([list(p) for p in problems], dtype=str).reshape(-1, 3),
        whole=np.array(whole, np.int32).reshape(-1, 2),
        **state,
    )
    if state and k:
        # Only the newest shard's largest activations are needed to resume.
        previous = work.results("collect", k - 1)
        previous = {name: v for name, v in previous.items() if not name.startswith("top_")}
        work.finish("collect", k - 1, **previous)


def state_of(tops: list[TopK]) -> dict[str, np.ndarray]:
    """The largest activations as the newest shard keeps them where maps are not kept."""
    return {
        f"top_{n}_{name}": part for n, top in enumerate(tops) for name, part in top.state().items()
    }


def _judged(job: Job, batch: list[Decoded], passed: Passed, twins: list[Passed]) -> list[Decoded]:
    """The batch, images as problems where the network gives for them what is no finite number.

    Raises UnitscopeError where the twin alone does.
    """
    names = [job.plan.dataset.ids[item.image] for item in batch]
    judged = [
        item._replace(problem=Problem(name, name, passed.faults[j]))
        if j in passed.faults and item.problem is None
        else item
        for j, (item, name) in enumerate(zip(batch, names, strict=True))
    ]
    for twin in twins:
        for j, fault in twin.faults.items():
            if judged[j].problem is None:
                raise UnitscopeError(
                    f"the untrained twin, for image {names[j]!r}: {fault}; --no-untrained "
                    "leaves it out"
                )
    return judged


def _write_passed(job: Job, at: int, passed: Passed) -> None:
    """Logits, pooled features, peaks and tokens beside the maps, of a batch."""
    arrays = job.arrays
    if arrays.logits is not None:
        arrays.logits.write(at, passed.logits)
    for n, layer in enumerate(job.plan.layers):
        watched = passed.layers[layer.name]
        if watched.maps.shape[1:] != (layer.units, layer.height, layer.width):
            raise UnitscopeError(
                f"layer {layer.name!r} gave {tuple(watched.maps.shape[1:])}, "
                f"{(layer.units, layer.height, layer.width)} was expected"
            )
        arrays.pooled[n].write(at, watched.pooled)
        arrays.peaks[n].write(at, watched.peaks)
        beside = arrays.beside[n]
        if beside is not None and watched.beside is not None:
            beside.write(at, watched.beside.cpu().contiguous().numpy())


def _whole_images(job: Job, valid: np.ndarray) -> np.ndarray:
    """:attr:`Collected.whole`."""
    rows = job.work.joined("collect", "whole")
    scene = np.asarray(job.plan.dataset.scene)[job.plan.indices]
    own = np.flatnonzero(valid & (scene >= 0))
    scenes = np.stack([own, job.concepts + 1 + scene[own]], 1)
    both: np.ndarray = np.concatenate([rows[valid[rows[:, 0]]], scenes]).astype(np.int32)
    return both[np.lexsort((both[:, 1], both[:, 0]))]


def _thresholds(job: Job, tops: list[TopK], usable: int) -> list[np.ndarray]:
    """T_t of each layer, over the usable images. Raises UnitscopeError where there are none."""
    if usable == 0:
        first = job.work.results("collect", 0)["problems"][0]
        raise UnitscopeError(
            f"none of the {len(job.plan.indices)} images can be used; the first: "
            f"{first[1]}: {first[2]}"
        )
    return thresholds_of(job.plan, tops, usable)


def thresholds_of(plan: Plan, tops: list[TopK], usable: int) -> list[np.ndarray]:
    """T_t of each layer, float32 (units,), over so many usable images, of which `tops` hold the
    largest activations."""
    return [
        top.threshold(tail_size(plan.settings.q, usable * layer.height * layer.width))
        for top, layer in zip(tops, plan.layers * (1 if plan.twin is None else 2), strict=True)
    ]


# -- count ----------------------------------------------------------------------------------


class _Counted(NamedTuple):
    """Counts of a batch in one layer: its images' places, and each hit's peak activation."""

    place: np.ndarray
    counts: Counts
    peaks: np.ndarray


class _Waiting(NamedTuple):
    layer: int
    images: int
    counted: Future[_Counted]


def count(job: Job, networks: Networks, collected: Collected) -> None:
    """Overlap counts of every shard, from the kept maps or a second forward pass.

    Each shard leaves, for layer n, ``hits_n``, ``both_n`` and ``pixels_n`` of
    :class:`core.dissect.counts.Counts` with images by their place in the run, ``peaks_n``, and
    once ``areas``, ``annotated`` and ``place``, the usable images.
    """
    work, n = job.work, job.work.rows[1] - job.work.rows[0]
    todo = [k for k in range(len(work.shards)) if not work.mark("count", k).exists()]
    shards = [work.shards[k] for k in todo]
    job.meter.start("count", n, n - sum(b - a for a, b in shards))
    again: Batches | None = None
    if not job.arrays.maps and todo:
        again = networks.batches(shards, False)
    with ThreadPoolExecutor(job.threads, thread_name_prefix="count") as pool:
        for k in todo:
            work.finish("count", k, **_count_shard(job, networks, collected, k, again, pool))


def _count_shard(
    job: Job,
    networks: Networks,
    collected: Collected,
    k: int,
    again: Batches | None,
    pool: ThreadPoolExecutor,
) -> dict[str, np.ndarray]:
    """The arrays that a shard leaves."""
    a, b = job.work.shards[k]
    parts: list[list[_Counted]] = [[] for _ in job.layers]
    waiting: list[_Waiting] = []

    def take() -> None:
        layer, images, future = waiting.pop(0)
        parts[layer].append(future.result())
        if layer == len(parts) - 1:
            job.step(images)

    for at in range(a, b, BATCH):
        size = min(BATCH, b - at)
        valid = collected.valid[at : at + size]
        watched = None if again is None else _maps_again(job, networks, at, next(again)[1], valid)
        for n, thresholds in enumerate(collected.thresholds):
            maps = None if watched is None else watched[n]
            future = pool.submit(_count_batch, job, networks.device, n, thresholds, at, valid, maps)
            waiting.append(_Waiting(n, size, future))
        while len(waiting) > 2 * job.threads:
            take()
    while waiting:
        take()
    return _joined(job, parts)


def _maps_again(
    job: Job, networks: Networks, at: int, batch: list[Decoded], valid: np.ndarray
) -> list[np.ndarray]:
    """Maps of a batch by a second forward pass. Raises UnitscopeError where one that was fine the
    first time no longer is."""
    # What was left out the first time is left out again, whatever the reason was.
    batch = [
        item if fine else item._replace(seen=None) for item, fine in zip(batch, valid, strict=True)
    ]
    passed, twins = networks(batch)
    for place, fault in passed.faults.items():
        if valid[place]:
            name = job.plan.dataset.ids[job.plan.indices[at + place]]
            raise UnitscopeError(
                f"image {name!r} was fine the first time, and now {fault}; use --fresh"
            )
    return _maps_of(passed, twins, job.plan.layers)


def _count_batch(
    job: Job,
    device: torch.device,
    layer: int,
    thresholds: np.ndarray,
    at: int,
    valid: np.ndarray,
    maps: np.ndarray | None,
) -> _Counted:
    """Counts of the usable images of a batch that begins at place `at`, in one layer."""
    chosen = np.flatnonzero(valid)
    if maps is None:
        maps = job.arrays.maps[layer].read(at, len(valid))
    arguments = (
        thresholds,
        job.arrays.labels.read(at, len(valid))[chosen],
        job.category_of,
        len(job.plan.categories),
        job.concepts,
        job.plan.settings.shuffles > 0,  # exchanges need the active pixels
    )
    if job.kernel == "numba":
        counts = count_images(torch.from_numpy(maps[chosen]).float().numpy(), *arguments)
    else:
        counts = count_images_torch(torch.as_tensor(maps[chosen]).to(device), *arguments)
    peaks = np.zeros(0, np.float32)
    if layer < len(job.arrays.peaks):  # of the network's own layers alone
        top = job.arrays.peaks[layer].read(at, len(valid))[chosen]
        peaks = top[counts.hits[:, 0], counts.hits[:, 1]]
    place = at + chosen
    for rows in (counts.hits, counts.both, counts.areas):
        rows[:, 0] = place[rows[:, 0]]
    return _Counted(place, counts, peaks)


def _joined(job: Job, parts: list[list[_Counted]]) -> dict[str, np.ndarray]:
    arrays: dict[str, np.ndarray] = {}
    for n, part in enumerate(parts):
        every = [one.counts for one in part]
        arrays[f"hits_{n}"] = np.concatenate([c.hits for c in every])
        arrays[f"peaks_{n}"] = np.concatenate([one.peaks for one in part])
        arrays[f"both_{n}"] = np.concatenate([c.both for c in every])
        found = np.concatenate([c.pixels for c in every])
        arrays[f"pixels_{n}"] = found.astype(np.uint16) if job.pixels <= 1 << 16 else found
    first = parts[0]
    arrays["areas"] = np.concatenate([one.counts.areas for one in first])
    arrays["annotated"] = np.concatenate([one.counts.annotated for one in first])
    arrays["place"] = np.concatenate([one.place for one in first])
    return arrays
