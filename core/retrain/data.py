"""Photos and annotations in memory: decoded once, split in three parts, augmented by batch."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import sparse

from core.datasets.base import SceneDataset
from core.datasets.loader import decode_ahead
from core.foundation.errors import UnitscopeError, without_effect
from core.foundation.geometry import Preprocessing
from core.foundation.progress import STOPPED, Meter, Stop, Stopped
from core.knowledge.core_concepts import (
    Annotated,
    CoreConcepts,
    Edges,
    core_concepts,
    related_concepts,
)
from core.retrain.concepts import golden_concepts
from core.retrain.plan import Plan
from core.retrain.result import Counts

MARGIN = 1 / 16
"""How far a training photo is shifted at most, in sides; mirrored pixels fill the edge."""


@dataclass(frozen=True)
class Photos:
    """Decoded photos of a dataset, as the network sees them.

    place : int (images,), in the dataset. seen : uint8 (images, height, width, 3). has : bool
    (images, concepts), annotated in the seen part, on the working grid. left_out : (id, reason).
    """

    place: np.ndarray
    seen: np.ndarray
    has: np.ndarray
    left_out: list[tuple[str, str]]


def read_photos(
    dataset: SceneDataset,
    places: Sequence[int] | np.ndarray,
    preprocessing: Preprocessing,
    grid: tuple[int, int],
    threads: int = 2,
    step: Callable[[int], None] = lambda images: None,
) -> Photos:
    """Decode photos and annotations once, into memory.

    grid : (width, height) on which concepts are looked for. step : called with 1 after each.
    A file that cannot be used is left out. Raises UnitscopeError where the preprocessing gives
    photos of several sizes, or nothing is left.
    """
    kept: list[int] = []
    seen: list[np.ndarray] = []
    left_out: list[tuple[str, str]] = []
    has = np.zeros((len(places), len(dataset.concepts) + 1), bool)
    for item in decode_ahead(dataset, places, preprocessing, grid, threads, keep_photo=False):
        step(1)
        if item.seen is None:
            assert item.problem is not None
            left_out.append((item.problem.image, item.problem.reason))
            continue
        if seen and item.seen.shape != seen[0].shape:
            raise UnitscopeError(
                f"the preprocessing gives photos of {seen[0].shape[1]}×{seen[0].shape[0]} and of "
                f"{item.seen.shape[1]}×{item.seen.shape[0]} pixels: training needs one size, so "
                "give the preprocessing a centre crop or a fixed (width, height)"
            )
        has[len(kept), np.unique(item.labels)] = True
        has[len(kept), list(item.whole)] = True
        kept.append(item.image)
        seen.append(item.seen)
    if not kept:
        raise UnitscopeError(f"dataset {dataset.spec!r}: none of {len(places)} photos can be used")
    return Photos(np.array(kept), np.stack(seen), has[: len(kept), 1:], left_out)


def augment(photos: np.ndarray, rng: np.random.Generator, margin: float = MARGIN) -> np.ndarray:
    """Each photo shifted by up to `margin` of its sides and, every second time, mirrored.

    uint8 (images, height, width, 3) → the same shape. Pixels that a shift brings in from beyond
    the edge are the mirror image of those within.
    """
    n, height, width = photos.shape[:3]
    out = np.empty_like(photos)
    most = round(height * margin), round(width * margin)
    shifts: list[np.ndarray] = [rng.integers(-m, m + 1, n) for m in most]
    flips = np.asarray(rng.random(n) < 0.5)
    for k in range(n):
        rows, columns = (
            _reflected(np.arange(size) + shift[k], size)
            for size, shift in zip((height, width), shifts, strict=True)
        )
        out[k] = photos[k][rows[:, None], columns[:: -1 if flips[k] else 1]]
    return out


def _reflected(at: np.ndarray, size: int) -> np.ndarray:
    """Positions folded back into 0 … size − 1, the edge pixel not repeated."""
    at = np.abs(at)
    return np.where(at > size - 1, 2 * (size - 1) - at, at)


def batches(images: int, batch: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The rows of every batch of an epoch: a permutation cut into nearly equal parts.

    They depend on seed and epoch alone, so that all trainings of a seed see the same ones. No
    batch is so small that batch normalisation had one image to work on, unless all are.
    """
    order = np.random.default_rng([seed, epoch]).permutation(images)
    return np.array_split(order, max(1, round(images / batch)))


def held_out(scene: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool (images,): the validation part, ⌊share · n + ½⌋ images of every scene, never all."""
    if not 0 < share < 1:
        raise UnitscopeError(f"the share held out must lie between 0 and 1, not {share}")
    rng = np.random.default_rng([seed, 7])
    out = np.zeros(len(scene), bool)
    for y in np.unique(scene):
        rows = rng.permutation(np.flatnonzero(scene == y))
        out[rows[: min(len(rows) - 1, math.floor(share * len(rows) + 0.5))]] = True
    return out


@dataclass(frozen=True)
class Parts:
    """What all trainings share: photos, classes and golden concepts of the three parts."""

    seen: np.ndarray
    target: np.ndarray
    golden: dict[str, np.ndarray]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


def prepare(
    work: Plan, meter: Meter, stop: Stop
) -> tuple[Parts, dict[str, CoreConcepts], Counts, list[str]]:
    """Photos into memory; core concepts; the three parts; facts of the result; test ids."""
    asked, dataset = work.asked, work.dataset
    places = np.flatnonzero(np.isin(np.asarray(dataset.split), [asked.train, asked.test]))
    if asked.core_on == "all":
        places = np.arange(len(dataset))
    meter.start("decode", len(places))

    def step(images: int) -> None:
        meter.step(images)
        if stop():
            raise Stopped(STOPPED)

    photos = read_photos(dataset, places, work.preprocessing, work.grid, asked.threads, step)
    scene = np.asarray(dataset.scene)[photos.place]
    split = np.asarray(dataset.split)[photos.place]
    of_core = np.ones(len(scene), bool) if asked.core_on == "all" else split == asked.train
    annotated = Annotated(
        list(dataset.scenes),
        [concept.name for concept in dataset.concepts],
        [concept.category for concept in dataset.concepts],
        scene[of_core].astype(np.int32),
        sparse.csr_array(photos.has[of_core]),
    )
    overrides = Path(asked.overrides) if asked.overrides else None
    related: Edges = []
    if any(kind in ("scc", "icc") for kind in asked.cc):
        related = related_concepts(annotated, work.graph, overrides=overrides)
    elif overrides is not None:
        without_effect("no kind of golden concepts asks the graph, so --overrides changes nothing")
    cores = {
        kind: core_concepts(annotated, related, kind) for kind in asked.cc if kind != "annotated"
    }
    usable = (scene >= 0) & (work.class_of[scene] >= 0)
    own, other = usable & (split == asked.train), np.flatnonzero(usable & (split == asked.test))
    rows = np.flatnonzero(own)
    aside = held_out(scene[rows], asked.hold_out, asked.seed)
    eligible = annotated.eligible
    golden = {
        kind: golden_concepts(photos.has, scene, kind, cores.get(kind))[:, eligible]
        for kind in asked.cc
    }
    target = np.where(scene >= 0, work.class_of[scene], -1).astype(np.int64)
    sets = Parts(photos.seen, target, golden, rows[~aside], rows[aside], other)
    for name, part in (("validation", sets.validation), ("test", sets.test)):
        if not len(part):
            raise UnitscopeError(f"no usable image in the {name} part of {asked.dataset!r}")
    of_train = np.isin(np.arange(len(scene)), sets.train)
    counts: Counts = {
        "train": len(sets.train),
        "validation": len(sets.validation),
        "test": len(sets.test),
        "unreadable": len(photos.left_out),
        "without_class": int((~usable).sum()),
        "golden": {
            kind: {
                "per_image": float(mask[of_train].sum(1).mean()),
                "without": int((~mask[of_train].any(1)).sum()),
                "concepts": int(mask[of_train].any(0).sum()),
            }
            for kind, mask in golden.items()
        },
    }
    return sets, cores, counts, [dataset.ids[k] for k in photos.place[sets.test]]
