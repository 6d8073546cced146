"""Which labels stand together at a pixel, and how often each unit is lit there.

The *signature* of a pixel is all that is annotated there: a concept for each channel of the
label maps, and the concepts that hold for its whole image. A dataset has far fewer signatures
than pixels (22,210 images of 112 × 112 pixels: 279 million pixels, about a million
signatures), and anything a logical formula or a union of concepts says of a pixel, it says of
its signature. So with

    pixels[s]    pixels of the dataset with signature s
    lit[t, s]    pixels of A_t with signature s, sparse

|F|, |A_t ∩ F| and every IoU of any formula or union F are exact sums over signatures. They are
collected in one pass over the kept maps and label maps, image by image, and then kept beside
the run.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch

from core.dissect.counts import _active_pixels, _runs
from core.dissect.labels import known_values
from core.foundation.errors import UnitscopeError
from core.foundation.files import write_whole
from core.foundation.geometry import interpolation
from core.foundation.progress import Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.runs.arrays import check_ids, read_arrays
from core.runs.run_file import Run, derived

BATCH = 32
"""Images a thread takes at once."""


@dataclass
class Signatures:
    """The signatures of a run's images, and where the units of one layer are lit.

    Attributes
    ----------
    labels : uint16 (signatures, slots), the concept ids at a pixel, largest first, then 0 for
        none. There are as many slots as the label maps have channels and an image has
        whole-image concepts. No two rows are equal; no concept stands twice in a row.
    pixels : int64 (signatures,), how many pixels of the dataset have it.
    starts : int64 (units + 1,); which : int32, lit : int64: unit t is lit in lit[j] pixels of
        signature which[j], for j from starts[t] up to starts[t + 1].
    hits : int64 (units,), |A_t| in pixels of the working grid.
    concepts : names of the concepts by id; entry 0 is empty.
    categories : the category of each, likewise.
    layer, splits : what was counted.
    """

    labels: np.ndarray
    pixels: np.ndarray
    starts: np.ndarray
    which: np.ndarray
    lit: np.ndarray
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
        """(which, lit) of one unit."""
        if not 0 <= unit < self.units:
            raise UnitscopeError(
                f"{self.layer or 'the layer'} has units 0 to {self.units - 1}, no unit {unit}"
            )
        part = slice(self.starts[unit], self.starts[unit + 1])
        return self.which[part], self.lit[part]

    @cached_property
    def areas(self) -> np.ndarray:
        """int64 (concepts + 1,): |L_c| over the dataset; entry 0 is 0."""
        return sums_by_label(self.labels, self.pixels, len(self.concepts))

    @cached_property
    def together(self) -> np.ndarray:
        """int64 (concepts + 1, concepts + 1): pixels that carry both; the diagonal is `areas`."""
        return _pairs(self.labels, self.pixels, len(self.concepts))

    @cached_property
    def holders(self) -> tuple[np.ndarray, np.ndarray]:
        """The signatures that carry each concept, as CSR: (starts (concepts + 2,), signatures)."""
        return _holders(self.labels, len(self.concepts))

    def unit_concept(self) -> np.ndarray:
        """int64 (units, concepts + 1): |A_t ∩ L_c| over the dataset."""
        out = np.zeros((self.units, len(self.concepts)), np.int64)
        for t in range(self.units):
            which, lit = self.unit(t)
            out[t] = sums_by_label(self.labels[which], lit, len(self.concepts))
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
        gather = _Gather(labels.shape[1])
        new = gather.add(_ordered(labels))
        pixels = np.bincount(new, self.pixels, len(gather)).astype(np.int64)
        unit_of = np.repeat(np.arange(self.units), np.diff(self.starts))
        starts, which, lit = _by_unit(unit_of, new[self.which], self.lit, self.units, len(gather))
        return Signatures(
            gather.labels,
            pixels,
            starts,
            which,
            lit,
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


# -- kernels --------------------------------------------------------------------------------


@numba.njit(cache=True, nogil=True)
def sums_by_label(labels, weights, size):
    """Σ weights over the rows of `labels` (rows, slots) that carry a label: int64 (size,)."""
    out = np.zeros(size, np.int64)
    for row in range(labels.shape[0]):
        for k in range(labels.shape[1]):
            out[labels[row, k]] += weights[row]
    out[0] = 0
    return out


@numba.njit(cache=True, nogil=True)
def _pairs(labels, weights, size):
    out = np.zeros((size, size), np.int64)
    for row in range(labels.shape[0]):
        for k in range(labels.shape[1]):
            a = labels[row, k]
            if a:
                for j in range(labels.shape[1]):
                    b = labels[row, j]
                    if b:
                        out[a, b] += weights[row]
    return out


@numba.njit(cache=True, nogil=True)
def _holders(labels, size):
    starts = np.zeros(size + 1, np.int64)
    for row in range(labels.shape[0]):
        for k in range(labels.shape[1]):
            if labels[row, k]:
                starts[labels[row, k] + 1] += 1
    for c in range(size):
        starts[c + 1] += starts[c]
    rows = np.empty(starts[size], np.int32)
    at = starts.copy()
    for row in range(labels.shape[0]):
        for k in range(labels.shape[1]):
            c = labels[row, k]
            if c:
                rows[at[c]] = row
                at[c] += 1
    return starts, rows


@numba.njit(cache=True, nogil=True)
def _hash(row):
    h = np.uint64(1469598103934665603)
    for k in range(row.size):
        h = (h ^ np.uint64(row[k])) * np.uint64(1099511628211)
        h ^= h >> np.uint64(29)
    return h


@numba.njit(cache=True, nogil=True)
def _insert(rows, table, count, slots, out):
    """Give every row its place in `table`, adding what is new; returns how many are in it.

    slots : open-addressing hash of places, −1 = free, a power of two long and never full.
    """
    mask = np.uint64(slots.size - 1)
    for r in range(rows.shape[0]):
        at = _hash(rows[r]) & mask
        while True:
            place = slots[at]
            if place < 0:
                slots[at] = count
                for k in range(rows.shape[1]):
                    table[count, k] = rows[r, k]
                out[r] = count
                count += 1
                break
            same = True
            for k in range(rows.shape[1]):
                if table[place, k] != rows[r, k]:
                    same = False
                    break
            if same:
                out[r] = place
                break
            at = (at + np.uint64(1)) & mask
    return count


@numba.njit(cache=True, nogil=True)
def _rehash(table, count, slots):
    mask = np.uint64(slots.size - 1)
    slots[:] = -1
    for place in range(count):
        at = _hash(table[place]) & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = place


class _Gather:
    """A growing table of distinct rows, in the order in which they came."""

    def __init__(self, width: int):
        self._table = np.zeros((1024, width), np.uint16)
        self._slots = np.full(4096, -1, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def labels(self) -> np.ndarray:
        return self._table[: self._count].copy()

    def add(self, rows: np.ndarray) -> np.ndarray:
        """Places of rows (n, width), new ones added: int32 (n,)."""
        need = self._count + len(rows)
        if need > len(self._table):
            bigger = np.zeros((1 << need.bit_length(), self._table.shape[1]), np.uint16)
            bigger[: self._count] = self._table[: self._count]
            self._table = bigger
        if 2 * len(self._table) > len(self._slots):
            self._slots = np.empty(4 * len(self._table), np.int32)
            _rehash(self._table, self._count, self._slots)
        out = np.empty(len(rows), np.int32)
        self._count = _insert(
            np.ascontiguousarray(rows, np.uint16), self._table, self._count, self._slots, out
        )
        return out


@numba.njit(cache=True, nogil=True)
def _images(maps, thresholds, labels, y_low, y_high, y_w, x_low, x_high, x_w, room):
    """Signatures of the pixels of each image, and where its units are lit.

    Returns (rows, sizes, pixels, triples): the images' distinct label rows one after another
    (the channels alone), how many each has, their pixels, and (unit, row, lit pixels).
    """
    images, units = maps.shape[0], maps.shape[1]
    channels, area = labels.shape[1], y_low.size * x_low.size
    y_runs, x_runs = _runs(y_low), _runs(x_low)
    size = 4
    while size < 2 * area:
        size *= 2
    slots = np.empty(size, np.int32)
    own = np.empty((area, channels), np.uint16)
    ids, found = np.empty(area, np.int32), np.zeros(area, np.int64)
    one = np.empty((1, channels), np.uint16)
    place = np.empty(1, np.int32)
    active = np.empty(area + 1, np.int64)
    histogram, touched = np.zeros(area, np.int64), np.empty(area, np.int64)
    rows = np.empty((256, channels), np.uint16)
    pixels = np.empty(256, np.int64)
    sizes = np.zeros(images, np.int64)
    triples = np.empty((room, 3), np.int32)
    n_rows = n_triples = 0
    for i in range(images):
        slots[:] = -1
        count = 0
        for p in range(area):
            same = p > 0
            if same:
                for k in range(channels):
                    if labels[i, k, p] != labels[i, k, p - 1]:
                        same = False
                        break
            # Labels come in regions: most pixels are like the one before.
            if same:
                ids[p] = ids[p - 1]
            else:
                for k in range(channels):
                    one[0, k] = labels[i, k, p]
                count = _insert(one, own, count, slots, place)
                ids[p] = place[0]
            found[ids[p]] += 1
        while n_rows + count > rows.shape[0]:
            wider = np.empty((2 * rows.shape[0], channels), np.uint16)
            wider[:n_rows] = rows[:n_rows]
            rows = wider
            longer = np.empty(2 * pixels.size, np.int64)
            longer[:n_rows] = pixels[:n_rows]
            pixels = longer
        for s in range(count):
            for k in range(channels):
                rows[n_rows + s, k] = own[s, k]
            pixels[n_rows + s] = found[s]
            found[s] = 0
        sizes[i] = count
        for t in range(units):
            f = maps[i, t]
            threshold = thresholds[t]
            above = False
            for y in range(f.shape[0]):
                for x in range(f.shape[1]):
                    above |= f[y, x] > threshold
            if not above:
                continue
            n = _active_pixels(
                f, threshold, y_low, y_high, y_w, x_low, x_high, x_w, y_runs, x_runs, active
            )
            seen = 0
            for j in range(n):
                s = ids[active[j]]
                if histogram[s] == 0:
                    touched[seen] = s
                    seen += 1
                histogram[s] += 1
            if n_triples + seen > triples.shape[0]:
                more = np.empty((2 * (n_triples + seen), 3), np.int32)
                more[:n_triples] = triples[:n_triples]
                triples = more
            for k in range(seen):
                s = touched[k]
                triples[n_triples, 0] = t
                triples[n_triples, 1] = n_rows + s
                triples[n_triples, 2] = histogram[s]
                histogram[s] = 0
                n_triples += 1
        n_rows += count
    return rows[:n_rows], sizes, pixels[:n_rows], triples[:n_triples]


def _ordered(labels: np.ndarray) -> np.ndarray:
    """Rows with their labels from the largest down: equal sets are equal rows."""
    return np.sort(labels, axis=1)[:, ::-1]


def _by_unit(
    unit: np.ndarray, which: np.ndarray, lit: np.ndarray, units: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triples in any order as CSR by unit, equal (unit, signature) added up."""
    key = unit.astype(np.int64) * max(size, 1) + which
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    key = key[first]
    total = np.add.reduceat(lit[order].astype(np.int64), first) if len(first) else lit[:0]
    starts = np.searchsorted(key, np.arange(units + 1) * max(size, 1))
    return starts, (key % max(size, 1)).astype(np.int32), total.astype(np.int64)


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
    units = len(thresholds)
    limit = np.asarray(thresholds, np.float64)
    gather: _Gather | None = None
    pixels = np.zeros(0, np.int64)
    parts: list[tuple[np.ndarray, np.ndarray, np.ndarray]] = []

    def one(maps: np.ndarray, labels: np.ndarray) -> Any:
        if maps.ndim != 4 or labels.ndim != 4 or len(maps) != len(labels) or maps.shape[1] != units:
            raise UnitscopeError(
                f"maps {maps.shape} and labels {labels.shape} do not belong together, or are not "
                f"of {units} units"
            )
        check_ids(labels, len(concepts) - 1)
        y = interpolation(maps.shape[2], labels.shape[2])
        x = interpolation(maps.shape[3], labels.shape[3])
        values = torch.from_numpy(np.array(maps)).double().numpy()
        flat = labels.reshape(*labels.shape[:2], labels.shape[2] * labels.shape[3])
        return _images(values, limit, flat, *y, *x, 64 * len(maps) * max(1, units // 8))

    def take(found: Any, whole: Sequence[Sequence[int]]) -> None:
        nonlocal gather, pixels
        rows, sizes, counted, triples = found
        full = np.zeros((len(rows), rows.shape[1] + whole_slots), np.uint16)
        full[:, : rows.shape[1]] = rows
        at = 0
        for size, ids in zip(sizes, whole, strict=True):
            full[at : at + size, rows.shape[1] : rows.shape[1] + len(ids)] = sorted(ids)
            at += size
        if gather is None:
            gather = _Gather(full.shape[1])
        place = gather.add(_ordered(full))
        if len(gather) > len(pixels):
            pixels = np.concatenate([pixels, np.zeros(2 * len(gather) - len(pixels), np.int64)])
        np.add.at(pixels, place, counted)
        parts.append((triples[:, 0].astype(np.int32), place[triples[:, 1]], triples[:, 2].copy()))
        if step:
            step(len(sizes))

    workers = max(1, threads or os.cpu_count() or 1)
    waiting: list[tuple[Future[Any], Sequence[Sequence[int]]]] = []
    with ThreadPoolExecutor(workers, thread_name_prefix="signatures") as pool:
        for maps, labels, whole in batches:
            waiting.append((pool.submit(one, maps, labels), whole))
            if len(waiting) > 2 * workers:
                future, ids = waiting.pop(0)
                take(future.result(), ids)
        for future, ids in waiting:
            take(future.result(), ids)
    if gather is None:
        raise UnitscopeError("there are no images to count")
    unit, which, lit = (np.concatenate([p[k] for p in parts]) for k in range(3))
    parts.clear()
    starts, which, lit = _by_unit(unit, which, lit, units, len(gather))
    hits = np.zeros(units, np.int64)
    np.add.at(hits, np.repeat(np.arange(units), np.diff(starts)), lit)
    return Signatures(
        gather.labels,
        pixels[: len(gather)].copy(),
        starts,
        which,
        lit,
        hits,
        list(concepts),
        list(categories),
    )


# -- of a run -------------------------------------------------------------------------------

KEPT = ("labels", "pixels", "starts", "which", "lit", "hits")
"""Attributes of :class:`Signatures` that are kept beside a run."""


def _kept(path: Path, concepts: int, units: int) -> dict[str, np.ndarray] | None:
    """The arrays kept in `path`; None where there are none that kernels may be given.

    Every number in them that is used as a place in another array is in its bounds.
    """
    found = read_arrays(path)
    if found is None or set(found) != set(KEPT):
        return None
    labels, pixels, starts, which, lit, hits = (found[key] for key in KEPT)
    shapes = (
        labels.ndim == 2
        and pixels.shape == (len(labels),)
        and which.shape == lit.shape
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
    if not run.info["settings"].get("keep_maps"):
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
    frame = run.sql("SELECT image, split FROM images ORDER BY image")
    images = frame["image"].to_numpy()
    if chosen:
        images = images[frame["split"].isin(chosen).to_numpy()]
    labelled = dict(zip(images.tolist(), images.tolist(), strict=True))
    if shuffle is not None:
        order = np.random.default_rng([shuffle, 0x516]).permutation(images)
        labelled = dict(zip(images.tolist(), order.tolist(), strict=True))
    whole = run.sql(
        "SELECT image, concept FROM areas JOIN concepts c USING (concept) WHERE c.whole "
        "ORDER BY image, concept"
    )
    of_image: dict[int, list[int]] = {}
    for image, concept in zip(whole["image"].tolist(), whole["concept"].tolist(), strict=True):
        of_image.setdefault(image, []).append(concept)

    def batches() -> Iterator[Batch]:
        for at in range(0, len(images), BATCH):
            if stop():
                raise Stopped("stopped while the pixels' labels were counted")
            part = images[at : at + BATCH].tolist()
            theirs = [labelled[i] for i in part]
            yield (
                np.concatenate([maps.read(i, 1) for i in part]),
                np.concatenate([labels.read(i, 1) for i in theirs]),
                [of_image.get(i, []) for i in theirs],
            )

    meter = Meter(progress)
    meter.start("signatures", len(images))

    # Plain reads: mapped pages would count as this process's memory.
    with (
        closing(run.rows(f"maps-{name}")) as maps,
        closing(run.rows("labels")) as labels,
    ):
        found = gather_signatures(
            batches(),
            thresholds["threshold"].to_numpy(np.float32),
            names,
            kinds,
            max((len(ids) for ids in of_image.values()), default=0),
            threads,
            meter.step,
        )
    found.layer, found.splits = name, chosen
    arrays = {key: getattr(found, key) for key in KEPT}

    def write(fresh: Path) -> None:
        with fresh.open("wb") as f:
            np.savez_compressed(f, **arrays)

    write_whole(path, write)
    return found
