"""The null distribution: every unit's best IoU after exchanges of masks between photos.

Round r gives every image the label maps of another, a permutation within its split, and finds
each unit's best IoU then (:mod:`core.dissect.labels` says what follows from it). Every few rounds
are one task, which leaves a file; a stopped run is resumed at the tasks that are missing.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import dataclass
from itertools import pairwise
from queue import SimpleQueue
from typing import NamedTuple

import numpy as np

from core.dissect.counts import best_ious, exchange
from core.dissect.passes import Collected
from core.dissect.significance import split_sets
from core.dissect.work import Job
from core.runs.arrays import check_ids

ROUNDS_MEMORY = 96 << 20
"""Bytes of sums that one task of exchanged masks may hold; at most 25 rounds are one task."""

LABELS_MEMORY = 256 << 20
"""Bytes of label maps up to which all are held in memory while masks are exchanged."""


@dataclass(frozen=True)
class Exchange:
    """What masks are exchanged within, and the sums that no exchange changes.

    Attributes
    ----------
    strata : (split, its usable images), by name: masks are exchanged within each.
    sets : the sets of splits that have a null distribution each.
    groups : categories of concepts by name; each has a best IoU of its own.
    group : (concepts + 1,), the group of each concept by number, scenes included.
    category : (concepts + 1,), the pixel category of each, −1 where it holds for whole images.
    hits : Σ|A_t|, int64 (splits, units) of each layer.
    areas : Σ|L_c|, int64 (splits, concepts + 1).
    whole : concepts that hold for the whole of each image.
    """

    strata: list[tuple[str, np.ndarray]]
    sets: list[tuple[str, ...]]
    groups: list[str]
    group: np.ndarray
    category: np.ndarray
    hits: list[np.ndarray]
    areas: np.ndarray
    whole: list[np.ndarray]

    @property
    def chosen(self) -> list[list[int]]:
        """Places in `strata` of each set of splits."""
        return [
            [s for s, (name, _) in enumerate(self.strata) if name in chosen] for chosen in self.sets
        ]

    @property
    def usable(self) -> int:
        """Usable images."""
        return sum(len(images) for _, images in self.strata)


def chance(job: Job, collected: Collected) -> Exchange | None:
    """All rounds of exchange; None where none is asked for, or nothing is annotated.

    Task k leaves ``best_m`` for layer m: float32 (sets of splits, denominators, groups, units,
    rounds).
    """
    rounds, seed = job.plan.settings.shuffles, job.plan.settings.seed
    given = _exchange_of(job, collected)
    if not rounds or not given.groups:
        return None
    width = given.areas.shape[1] + len(job.plan.categories)
    units = sum(layer.units for layer in job.layers)
    at_once = int(np.clip(ROUNDS_MEMORY // (4 * len(given.strata) * units * width), 1, 25))
    tasks = [range(a, min(a + at_once, rounds)) for a in range(0, rounds, at_once)]
    todo = [k for k in range(len(tasks)) if not job.work.mark("chance", k).exists()]
    left = sum(len(tasks[k]) for k in todo)
    job.meter.start(
        "chance", given.usable * rounds, given.usable * (rounds - left), "exchanged masks"
    )
    labels = _Labels(job, hold=bool(todo))
    halt = threading.Event()
    done: SimpleQueue[int] = SimpleQueue()

    def one(k: int) -> None:
        others = np.stack(
            [exchanged(given.strata, len(collected.valid), seed, r) for r in tasks[k]]
        )
        best = _rounds(job, given, labels, others, halt, done)
        if best is not None:
            job.work.finish("chance", k, **{f"best_{m}": part for m, part in enumerate(best)})

    with ThreadPoolExecutor(job.threads, thread_name_prefix="chance") as pool:
        try:
            pending = {pool.submit(one, k) for k in todo}
            while pending:
                finished, pending = wait(pending, 0.3, FIRST_COMPLETED)
                for future in finished:
                    future.result()
                job.step(sum(done.get() for _ in range(done.qsize())))
        finally:
            halt.set()
    return given


def exchanged(
    strata: list[tuple[str, np.ndarray]], images: int, seed: int, number: int
) -> np.ndarray:
    """Round `number`: whose labels stand in for each image's own, a permutation within its
    split, so that the sums over any splits are a round of exchange within those."""
    rng = np.random.default_rng([seed, 0x5EED, number])
    others = np.arange(images)
    for _, own in strata:
        others[own] = rng.permutation(own)
    return others


# -- what no exchange changes -----------------------------------------------------------------


def _exchange_of(job: Job, collected: Collected) -> Exchange:
    splits = np.array([job.plan.dataset.split[i] for i in job.plan.indices], dtype=object)
    valid = collected.valid
    strata = [(str(s), np.flatnonzero(valid & (splits == s))) for s in np.unique(splits[valid])]
    groups, group, category = _groups(job, collected)
    hits, areas, whole = _totals(job, collected, strata)
    sets = split_sets([name for name, _ in strata])
    return Exchange(strata, sets, groups, group, category, hits, areas, whole)


def _groups(job: Job, collected: Collected) -> tuple[list[str], np.ndarray, np.ndarray]:
    """`groups`, `group` and `category` of :class:`Exchange`."""
    data = job.plan.dataset
    kinds = ["", *(row[2] for row in data.concepts), *("scene" for _ in data.scenes)]
    groups = sorted(set(kinds[1:]))
    where = {name: g for g, name in enumerate(job.plan.categories)}
    category = np.array([where.get(kind, -1) for kind in kinds])
    category[np.unique(collected.whole[:, 1])] = -1
    return groups, np.array([0, *(groups.index(kind) for kind in kinds[1:])]), category


def _totals(
    job: Job, collected: Collected, strata: list[tuple[str, np.ndarray]]
) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
    """`hits`, `areas` and `whole` of :class:`Exchange`."""
    n, concepts = len(collected.valid), job.concepts + 1 + len(job.plan.dataset.scenes)
    stratum = np.zeros(n, np.int64)
    for s, (_, images) in enumerate(strata):
        stratum[images] = s
    hits = [np.zeros((len(strata), layer.units), np.int64) for layer in job.layers]
    areas = np.zeros((len(strata), concepts), np.int64)
    names = [f"hits_{m}" for m in range(len(job.layers))]
    for k in range(len(job.work.shards)):
        stored = job.work.results("count", k, "areas", *names)
        rows = stored["areas"].astype(np.int64)
        np.add.at(areas, (stratum[rows[:, 0]], rows[:, 1]), rows[:, 2])
        for m, name in enumerate(names):
            rows = stored[name].astype(np.int64)
            np.add.at(hits[m], (stratum[rows[:, 0]], rows[:, 1]), rows[:, 2])
    whole = collected.whole
    np.add.at(areas, (stratum[whole[:, 0]], whole[:, 1]), job.pixels)
    at = np.searchsorted(whole[:, 0], np.arange(n + 1))
    return hits, areas, [whole[a:b, 1] for a, b in pairwise(at)]


# -- rounds -----------------------------------------------------------------------------------


class _Labels:
    """Label maps by image, as uint16 (images, channels, pixels): all of them held in memory where
    there is room, read anew otherwise."""

    def __init__(self, job: Job, hold: bool):
        self._job = job
        size = 2 * int(np.prod(job.arrays.labels.shape))
        images = np.arange(job.arrays.labels.shape[0])
        self._held = self._read(images) if hold and size <= LABELS_MEMORY else None

    def of(self, images: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(label maps, places in them of the given images)."""
        if self._held is not None:
            return self._held, images
        return self._read(images), np.arange(len(images))

    def _read(self, images: np.ndarray) -> np.ndarray:
        file = self._job.arrays.labels
        maps = np.empty((len(images), *file.shape[1:]), np.uint16)
        for k, image in enumerate(images):
            maps[k] = file.read(int(image), 1)[0]
        check_ids(maps, self._job.concepts)
        return maps.reshape(len(images), file.shape[1], self._job.pixels)


class _Sums(NamedTuple):
    """Sums over images by round: both, int32 (splits, rounds, units, concepts + 1); inside,
    int32 (splits, rounds, units, categories)."""

    both: np.ndarray
    inside: np.ndarray


def _rounds(
    job: Job,
    given: Exchange,
    labels: _Labels,
    others: np.ndarray,
    halt: threading.Event,
    done: SimpleQueue[int],
) -> list[np.ndarray] | None:
    """The best IoUs of each layer after rounds of exchange, `others` (rounds, images); None where
    `halt` was set meanwhile."""
    shape, categories = (len(given.strata), len(others)), len(job.plan.categories)
    sums = [
        _Sums(
            np.zeros((*shape, layer.units, given.areas.shape[1]), np.int32),
            np.zeros((*shape, layer.units, categories), np.int32),
        )
        for layer in job.layers
    ]
    stratum = {int(i): s for s, (_, images) in enumerate(given.strata) for i in images}
    for image, layers in active_rows(job):
        if halt.is_set():
            return None
        maps, at = labels.of(others[:, image])
        whole = [given.whole[other] for other in others[:, image]]
        s = stratum[image]
        for (own, pixels), (both, inside) in zip(layers, sums, strict=True):
            exchange(own, pixels, maps, at, job.category_of, whole, both[s], inside[s])
        done.put(len(others))
    return [_best(given, m, part) for m, part in enumerate(sums)]


def _best(given: Exchange, m: int, sums: _Sums) -> np.ndarray:
    """float32 (sets of splits, denominators, groups, units, rounds) of layer m."""
    rounds, units = sums.both.shape[1:3]
    best = np.zeros((len(given.sets), 2, len(given.groups), units, rounds), np.float32)
    for j, chosen in enumerate(given.chosen):
        for r in range(rounds):
            best[j, ..., r] = best_ious(
                sums.both[chosen, r].sum(0, dtype=np.int64),
                sums.inside[chosen, r].sum(0, dtype=np.int64),
                given.hits[m][chosen].sum(0),
                given.areas[chosen].sum(0),
                given.category,
                given.group,
                len(given.groups),
            )
    return best


def active_rows(job: Job) -> Iterator[tuple[int, list[tuple[np.ndarray, np.ndarray]]]]:
    """Every usable image with (rows of hits, their active pixels) of each layer."""
    every = range(len(job.layers))
    names = [f"{name}_{m}" for m in every for name in ("hits", "pixels")]
    for k in range(len(job.work.shards)):
        stored = job.work.results("count", k, "place", *names)
        layers = []
        for m in every:
            hits = stored[f"hits_{m}"]
            rows = np.searchsorted(hits[:, 0], [stored["place"], stored["place"] + 1])
            ends = np.concatenate([[0], np.cumsum(hits[:, 2], dtype=np.int64)])
            layers.append((hits, stored[f"pixels_{m}"], rows, ends))
        for i, image in enumerate(stored["place"]):
            yield (
                int(image),
                [
                    (hits[rows[0, i] : rows[1, i]], pixels[ends[rows[0, i]] : ends[rows[1, i]]])
                    for hits, pixels, rows, ends in layers
                ],
            )
