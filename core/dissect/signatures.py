"""Signatures: sets of labels that occur together at a pixel, and where units are active on them.

The *signature* of a pixel is all that is annotated there: a concept for each channel of the
label maps, and the concepts that hold for its whole image. A dataset has far fewer signatures
than pixels (22,210 images of 112 × 112 pixels: 279 million pixels, about a million
signatures), and anything a logical formula or a union of concepts says of a pixel, it says of
its signature. So with

    pixels[s]      pixels of the dataset with signature s
    active[t, s]   pixels of A_t with signature s, sparse

|F|, |A_t ∩ F| and every IoU of any formula or union F are exact sums over signatures. They are
collected in one pass over the kept maps and label maps, image by image, and then kept beside
the run.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.dissect.counts import sampling
from core.dissect.signature_kernels import (
    DistinctRows,
    by_unit,
    image_signatures,
    in_order,
    rows_by_label,
    sums_by_label,
    sums_by_pair,
)
from core.foundation.errors import UnitscopeError
from core.foundation.files import write_whole
from core.foundation.progress import Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.runs.arrays import ArrayFile, check_ids, read_arrays
from core.runs.run_file import Run, derived, known_values

BATCH = 32
"""Images a thread takes at once."""


@dataclass(frozen=True)
class Signatures:
    """The signatures of a run's images, and where the units of one layer are active.

    Attributes
    ----------
    labels : uint16 (signatures, slots), the concept ids at a pixel, largest first, then 0 for
        none. There are as many slots as the label maps have channels and an image has
        whole-image concepts. No two rows are equal; no concept stands twice in a row.
    pixels : int64 (signatures,), how many pixels of the dataset have it.
    starts : int64 (units + 1,); which : int32, active : int64: unit t is active in active[j]
        pixels of signature which[j], for j from starts[t] up to starts[t + 1].
    hits : int64 (units,), |A_t| in pixels of the working grid.
    concepts : names of the concepts by id; entry 0 is empty.
    categories : the category of each, likewise.
    layer, splits : what was counted.
    """

    labels: np.ndarray
    pixels: np.ndarray
    starts: np.ndarray
    which: np.ndarray
    active: np.ndarray
    hits: np.ndarray
    concepts: list[str]
    categories: list[str]
    layer: str = ""
    splits: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.pixels)

    @property
    def units(self) -> int:
        """Number of units."""
        return len(self.hits)

    def unit(self, unit: int) -> tuple[np.ndarray, np.ndarray]:
        """(which, active) of one unit."""
        if not 0 <= unit < self.units:
            raise UnitscopeError(
                f"{self.layer or 'the layer'} has units 0 to {self.units - 1}, no unit {unit}"
            )
        part = slice(self.starts[unit], self.starts[unit + 1])
        return self.which[part], self.active[part]

    @cached_property
    def areas(self) -> np.ndarray:
        """int64 (concepts + 1,): |L_c| over the dataset; entry 0 is 0."""
        sums: np.ndarray = sums_by_label(self.labels, self.pixels, len(self.concepts))
        return sums

    @cached_property
    def together(self) -> np.ndarray:
        """int64 (concepts + 1, concepts + 1): pixels that carry both; the diagonal is `areas`."""
        sums: np.ndarray = sums_by_pair(self.labels, self.pixels, len(self.concepts))
        return sums

    @cached_property
    def holders(self) -> tuple[np.ndarray, np.ndarray]:
        """The signatures that carry each concept, as CSR: (starts (concepts + 2,), signatures)."""
        starts, rows = rows_by_label(self.labels, len(self.concepts))
        return starts, rows

    def unit_concept(self) -> np.ndarray:
        """int64 (units, concepts + 1): |A_t ∩ L_c| over the dataset."""
        out = np.zeros((self.units, len(self.concepts)), np.int64)
        for t in range(self.units):
            which, active = self.unit(t)
            out[t] = sums_by_label(self.labels[which], active, len(self.concepts))
        return out

    def merged(self, group_of: Mapping[int, int] | np.ndarray) -> Signatures:
        """The same with concepts replaced by the representatives of their groups.

        group_of : concept id → id of its representative; ids that are not mentioned stay. A
        pixel that carries two concepts of a group carries the representative once, so that the
        mask of a group is the union of its concepts' masks.
        """
        table = np.arange(len(self.concepts), dtype=np.int64)
        if isinstance(group_of, np.ndarray):
            if len(group_of) != len(table):
                raise UnitscopeError(
                    f"{len(group_of)} groups for {len(table) - 1} concepts (and 0 for none)"
                )
            table = group_of.astype(np.int64)
        else:
            for concept, representative in group_of.items():
                if not 0 < concept < len(table):
                    raise UnitscopeError(f"concept ids are 1 to {len(table) - 1}, not {concept}")
                table[concept] = representative
        if table[0] != 0 or table.min() < 0 or table.max() >= len(table):
            raise UnitscopeError(
                f"a representative must be a concept id, 1 to {len(table) - 1}; 0 stays 0"
            )
        labels = table[self.labels].astype(np.uint16)
        for k in range(1, labels.shape[1]):
            for j in range(k):
                labels[labels[:, k] == labels[:, j], k] = 0
        gather = DistinctRows(labels.shape[1])
        new = gather.add(in_order(labels))
        pixels = np.bincount(new, self.pixels, len(gather)).astype(np.int64)
        unit_of = np.repeat(np.arange(self.units), np.diff(self.starts))
        starts, which, active = by_unit(
            unit_of, new[self.which], self.active, self.units, len(gather)
        )
        return Signatures(
            gather.labels,
            pixels,
            starts,
            which,
            active,
            self.hits,
            self.concepts,
            self.categories,
            self.layer,
            self.splits,
        )

    def without(self, categories: Sequence[str]) -> Signatures:
        """The same with the concepts of some categories taken for not annotated."""
        unwanted = [k for k, name in enumerate(self.categories) if k and name in categories]
        return self.merged(dict.fromkeys(unwanted, 0)) if unwanted else self


Batch = tuple[np.ndarray, np.ndarray, Sequence[Sequence[int]]]
"""Maps (images, units, h, w), labels (images, channels, grid height, grid width), and the ids of
the concepts that hold for each whole image."""


def gather_signatures(
    batches: Iterable[Batch],
    thresholds: np.ndarray,
    concepts: Sequence[str],
    categories: Sequence[str],
    whole_slots: int = 0,
    threads: int | None = None,
    step: Callable[[int], None] | None = None,
) -> Signatures:
    """The signatures of batches of images.

    Parameters
    ----------
    batches : of any size, read only a few ahead of the counting.
    thresholds : float32 (units,), T_t.
    concepts, categories : by concept id; entry 0 stands for none.
    whole_slots : the most whole-image concepts that any image has.
    step : called with the number of images of each batch that is done.

    The result does not depend on the batches or threads, but for the order of signatures, which
    is that of the images. Raises UnitscopeError where shapes do not fit, or there are more
    concepts than a label map can hold.
    """
    if len(concepts) > 1 << 16:
        raise UnitscopeError(f"{len(concepts) - 1} concepts; a label map holds up to 65,535")
    gathering = _Gathering(np.asarray(thresholds, np.float64), len(concepts) - 1, whole_slots)
    workers = max(1, threads or os.cpu_count() or 1)
    waiting: deque[tuple[Future[Any], Sequence[Sequence[int]]]] = deque()

    def take_first() -> None:
        future, ids = waiting.popleft()
        gathering.take(future.result(), ids)
        if step:
            step(len(ids))

    with ThreadPoolExecutor(workers, thread_name_prefix="signatures") as pool:
        for maps, labels, whole in batches:
            waiting.append((pool.submit(gathering.counted, maps, labels), whole))
            if len(waiting) > 2 * workers:
                take_first()
        while waiting:
            take_first()
    return gathering.result(concepts, categories)


class _Gathering:
    """The signatures of the images so far, and where units are active.

    thresholds : float64 (units,). most : the largest concept id. whole_slots : see
    :func:`gather_signatures`.
    """

    def __init__(self, thresholds: np.ndarray, most: int, whole_slots: int):
        self._limit, self._most, self._whole_slots = thresholds, most, whole_slots
        self._rows: DistinctRows | None = None
        self._pixels = np.zeros(0, np.int64)
        self._parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def counted(self, maps: np.ndarray, labels: np.ndarray) -> Any:
        """:func:`image_signatures` of a batch; changes nothing here, so threads may call it."""
        units = len(self._limit)
        if maps.ndim != 4 or labels.ndim != 4 or len(maps) != len(labels) or maps.shape[1] != units:
            raise UnitscopeError(
                f"maps {maps.shape} and labels {labels.shape} do not belong together, or are not "
                f"of {units} units"
            )
        check_ids(labels, self._most)
        height, width = labels.shape[2:]
        at = sampling((maps.shape[2], maps.shape[3]), (height, width))
        values = torch.from_numpy(np.array(maps)).double().numpy()
        flat = labels.reshape(*labels.shape[:2], height * width)
        return image_signatures(values, self._limit, flat, at, 64 * len(maps) * max(1, units // 8))

    def take(self, found: Any, whole: Sequence[Sequence[int]]) -> None:
        """Add what was counted. whole : ids of the concepts that hold for each whole image."""
        rows, sizes, counted, triples = found
        channels = rows.shape[1]
        full = np.zeros((len(rows), channels + self._whole_slots), np.uint16)
        full[:, :channels] = rows
        at = 0
        for size, ids in zip(sizes, whole, strict=True):
            full[at : at + size, channels : channels + len(ids)] = sorted(ids)
            at += size
        if self._rows is None:
            self._rows = DistinctRows(full.shape[1])
        place = self._rows.add(in_order(full))
        more = 2 * len(self._rows) - len(self._pixels)
        if len(self._rows) > len(self._pixels):
            self._pixels = np.concatenate([self._pixels, np.zeros(more, np.int64)])
        np.add.at(self._pixels, place, counted)
        self._parts.append(
            (triples[:, 0].astype(np.int32), place[triples[:, 1]], triples[:, 2].copy())
        )

    def result(self, concepts: Sequence[str], categories: Sequence[str]) -> Signatures:
        """All of it. Raises UnitscopeError where there was no image."""
        if self._rows is None:
            raise UnitscopeError("there are no images to count")
        units, size = len(self._limit), len(self._rows)
        unit, which, active = (np.concatenate([p[k] for p in self._parts]) for k in range(3))
        self._parts.clear()
        starts, which, active = by_unit(unit, which, active, units, size)
        hits = np.zeros(units, np.int64)
        np.add.at(hits, np.repeat(np.arange(units), np.diff(starts)), active)
        return Signatures(
            self._rows.labels,
            self._pixels[:size].copy(),
            starts,
            which,
            active,
            hits,
            list(concepts),
            list(categories),
        )


# -- of a run -------------------------------------------------------------------------------

KEPT = {
    "labels": "labels",
    "pixels": "pixels",
    "starts": "starts",
    "which": "which",
    "active": "lit",
    "hits": "hits",
}
"""Attributes of :class:`Signatures` that are kept beside a run, and their names in the file."""


def _kept(path: Path, concepts: int, units: int) -> dict[str, np.ndarray] | None:
    """The arrays kept in `path`; None where there are none that kernels may be given.

    Every number in them that is used as a place in another array is in its bounds.
    """
    found = read_arrays(path)
    if found is None or set(found) != set(KEPT.values()):
        return None
    found = {key: found[name] for key, name in KEPT.items()}
    labels, pixels, starts, which, active, hits = (found[key] for key in KEPT)
    shapes = (
        labels.ndim == 2
        and pixels.shape == (len(labels),)
        and which.shape == active.shape
        and which.ndim == 1
        and starts.shape == (units + 1,)
        and hits.shape == (units,)
    )
    types = labels.dtype == np.uint16 and all(
        found[key].dtype.kind == "i" for key in KEPT if key != "labels"
    )
    if not (shapes and types):
        return None
    inside = (
        (not labels.size or int(labels.max()) < concepts)
        and (not which.size or 0 <= int(which.min()) <= int(which.max()) < len(labels))
        and starts[0] == 0
        and starts[-1] == len(which)
        and bool((np.diff(starts) >= 0).all())
    )
    return found if inside else None


def signatures(
    run: Run,
    layer: str | None = None,
    splits: Sequence[str] | None = None,
    progress: Report | None = None,
    stop: Stop = never,
    threads: int | None = None,
    shuffle: int | None = None,
) -> Signatures:
    """The signatures of a run's images and one layer, from beside the run where they are there.

    splits : count the images of these splits alone; the thresholds stay those of the whole run.
    shuffle : give every image the labels of another, by this seed: what units overlap then, they
        overlap by chance.

    Raises UnitscopeError for an unknown layer or split, a run that kept no maps, or where `stop`
    said True.
    """
    number = run.layer(layer)
    name = run.layer_names[number]
    if not run.settings.keep_maps:
        raise UnitscopeError(
            f"run {run.digest} kept no activation maps, which formulas and unions are counted "
            "from; make it again without --no-maps"
        )
    chosen = tuple(known_values(run, "split", "images", splits)) if splits is not None else ()
    path = derived(
        run,
        "signatures",
        {"layer": name, "splits": chosen, "shuffle": shuffle, **versions_of("signatures")},
        "npz",
    )
    concepts = run.sql("SELECT concept, name, category FROM concepts ORDER BY concept")
    thresholds = run.sql("SELECT threshold FROM units WHERE layer = ? ORDER BY unit", [number])
    units = len(thresholds)
    names = ["", *concepts["name"]]
    kinds = ["", *concepts["category"]]
    kept = _kept(path, len(names), units)
    if kept:
        return Signatures(**kept, concepts=names, categories=kinds, layer=name, splits=chosen)
    images = _images(run, chosen)
    whole = _whole_concepts(run)
    meter = Meter(progress)
    meter.start("signatures", len(images))
    # Plain reads: mapped pages would count as this process's memory.
    with (
        closing(run.rows(f"maps-{name}")) as maps,
        closing(run.rows("labels")) as labels,
    ):
        found = gather_signatures(
            _batches(maps, labels, whole, _labelled_as(images, shuffle), stop),
            thresholds["threshold"].to_numpy(np.float32),
            names,
            kinds,
            max((len(ids) for ids in whole.values()), default=0),
            threads,
            meter.step,
        )
    found = replace(found, layer=name, splits=chosen)
    arrays = {name: getattr(found, key) for key, name in KEPT.items()}

    def write(fresh: Path) -> None:
        with fresh.open("wb") as f:
            np.savez_compressed(f, **arrays)

    write_whole(path, write)
    return found


def _images(run: Run, splits: Sequence[str]) -> np.ndarray:
    """The images of some splits, all where there is none."""
    frame = run.sql("SELECT image, split FROM images ORDER BY image")
    images: np.ndarray = frame["image"].to_numpy()
    return images[frame["split"].isin(splits).to_numpy()] if splits else images


def _labelled_as(images: np.ndarray, shuffle: int | None) -> list[tuple[int, int]]:
    """Each image with the one whose labels it is counted with: its own where `shuffle` is None."""
    others = images
    if shuffle is not None:
        others = np.random.default_rng([shuffle, 0x516]).permutation(images)
    return list(zip(images.tolist(), others.tolist(), strict=True))


def _whole_concepts(run: Run) -> dict[int, list[int]]:
    """By image: the ids of the concepts that hold for all of it."""
    whole = run.sql(
        "SELECT image, concept FROM areas JOIN concepts c USING (concept) WHERE c.whole "
        "ORDER BY image, concept"
    )
    of_image: dict[int, list[int]] = {}
    for image, concept in zip(whole["image"].tolist(), whole["concept"].tolist(), strict=True):
        of_image.setdefault(image, []).append(concept)
    return of_image


def _batches(
    maps: ArrayFile,
    labels: ArrayFile,
    whole: Mapping[int, list[int]],
    images: Sequence[tuple[int, int]],
    stop: Stop,
) -> Iterator[Batch]:
    """images : each with the one whose labels it gets. Raises Stopped where `stop` says so."""
    for at in range(0, len(images), BATCH):
        if stop():
            raise Stopped("stopped while the pixels' labels were counted")
        part = images[at : at + BATCH]
        yield (
            np.concatenate([maps.read(image, 1) for image, _ in part]),
            np.concatenate([labels.read(other, 1) for _, other in part]),
            [whole.get(other, []) for _, other in part],
        )
