"""Kernels of signatures: distinct rows of labels, and sums over them.

:mod:`core.dissect.signatures` says what a signature is.
"""

from __future__ import annotations

import numba
import numpy as np

from core.dissect.counts import Sampling, active_pixels, any_above


@numba.njit(cache=True, nogil=True)
def sums_by_label(labels: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Σ weights over the rows of `labels` (rows, slots) that carry a label: int64 (size,)."""
    out = np.zeros(size, np.int64)
    for row in range(labels.shape[0]):
        for k in range(labels.shape[1]):
            out[labels[row, k]] += weights[row]
    out[0] = 0
    return out


@numba.njit(cache=True, nogil=True)
def sums_by_pair(labels: np.ndarray, weights: np.ndarray, size: int) -> np.ndarray:
    """Σ weights over the rows that carry both of two labels: int64 (size, size)."""
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
def rows_by_label(labels: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The rows that carry each label, as CSR: (starts int64 (size + 1,), rows int32)."""
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
def _hash(row: np.ndarray) -> np.uint64:
    h = np.uint64(1469598103934665603)
    for k in range(row.size):
        h = (h ^ np.uint64(row[k])) * np.uint64(1099511628211)
        h ^= h >> np.uint64(29)
    return h


@numba.njit(cache=True, nogil=True)
def _insert(
    rows: np.ndarray, table: np.ndarray, count: int, slots: np.ndarray, out: np.ndarray
) -> int:
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
def _rehash(table: np.ndarray, count: int, slots: np.ndarray) -> None:
    mask = np.uint64(slots.size - 1)
    slots[:] = -1
    for place in range(count):
        at = _hash(table[place]) & mask
        while slots[at] >= 0:
            at = (at + np.uint64(1)) & mask
        slots[at] = place


class DistinctRows:
    """A growing table of distinct rows, in the order in which they came."""

    def __init__(self, width: int):
        self._table = np.zeros((1024, width), np.uint16)
        self._slots = np.full(4096, -1, np.int32)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def labels(self) -> np.ndarray:
        """The rows so far, uint16 (n, width)."""
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
def _pixel_rows(
    labels: np.ndarray, slots: np.ndarray, own: np.ndarray, ids: np.ndarray, found: np.ndarray
) -> int:
    """The distinct label rows of one image, into `own`; returns how many there are.

    labels : (channels, pixels). slots : see :func:`_insert`. ids : (pixels,) set to the row of
    each pixel. found : (rows,), added to: pixels of each.
    """
    channels, area = labels.shape
    one = np.empty((1, channels), np.uint16)
    place = np.empty(1, np.int32)
    slots[:] = -1
    count = 0
    for p in range(area):
        same = p > 0
        if same:
            for k in range(channels):
                if labels[k, p] != labels[k, p - 1]:
                    same = False
                    break
        # Labels come in regions: most pixels are like the one before.
        if same:
            ids[p] = ids[p - 1]
        else:
            for k in range(channels):
                one[0, k] = labels[k, p]
            count = _insert(one, own, count, slots, place)
            ids[p] = place[0]
        found[ids[p]] += 1
    return count


@numba.njit(cache=True, nogil=True)
def _longer(rows: np.ndarray, held: int, need: int) -> np.ndarray:
    """`rows` with room for `need` of them, the first `held` kept; itself where it has that."""
    if need <= rows.shape[0]:
        return rows
    more = np.empty((2 * need, rows.shape[1]), rows.dtype)
    more[:held] = rows[:held]
    return more


@numba.njit(cache=True, nogil=True)
def image_signatures(
    maps: np.ndarray, thresholds: np.ndarray, labels: np.ndarray, at: Sampling, room: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Signatures of the pixels of each image, and where its units are active.

    maps : float64 (images, units, h, w). labels : uint16 (images, channels, pixels). room : rows
    of triples to begin with.

    Returns (rows, sizes, pixels, triples): the images' distinct label rows one after another
    (the channels alone), how many each has, their pixels, and (unit, row, active pixels).
    """
    images, units = maps.shape[0], maps.shape[1]
    channels, area = labels.shape[1], labels.shape[2]
    size = 4
    while size < 2 * area:
        size *= 2
    slots = np.empty(size, np.int32)
    own = np.empty((area, channels), np.uint16)
    ids, found = np.empty(area, np.int32), np.zeros(area, np.int64)
    active = np.empty(area + 1, np.int64)
    histogram, touched = np.zeros(area, np.int64), np.empty(area, np.int64)
    rows = np.empty((256, channels), np.uint16)
    pixels = np.empty((256, 1), np.int64)
    sizes = np.zeros(images, np.int64)
    triples = np.empty((room, 3), np.int32)
    n_rows = n_triples = 0
    for i in range(images):
        count = _pixel_rows(labels[i], slots, own, ids, found)
        rows = _longer(rows, n_rows, n_rows + count)
        pixels = _longer(pixels, n_rows, n_rows + count)
        for s in range(count):
            rows[n_rows + s] = own[s]
            pixels[n_rows + s, 0] = found[s]
            found[s] = 0
        sizes[i] = count
        for t in range(units):
            if not any_above(maps[i, t], thresholds[t]):
                continue
            seen = 0
            for j in range(active_pixels(maps[i, t], thresholds[t], at, active)):
                s = ids[active[j]]
                if histogram[s] == 0:
                    touched[seen] = s
                    seen += 1
                histogram[s] += 1
            triples = _longer(triples, n_triples, n_triples + seen)
            for k in range(seen):
                s = touched[k]
                triples[n_triples, 0] = t
                triples[n_triples, 1] = n_rows + s
                triples[n_triples, 2] = histogram[s]
                histogram[s] = 0
                n_triples += 1
        n_rows += count
    return rows[:n_rows], sizes, pixels[:n_rows, 0].copy(), triples[:n_triples]


def in_order(labels: np.ndarray) -> np.ndarray:
    """Rows with their labels from the largest down: equal sets are equal rows."""
    return np.sort(labels, axis=1)[:, ::-1]


def by_unit(
    unit: np.ndarray, which: np.ndarray, active: np.ndarray, units: int, size: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Triples in any order as CSR by unit, equal (unit, signature) added up."""
    key = unit.astype(np.int64) * max(size, 1) + which
    order = np.argsort(key, kind="stable")
    key = key[order]
    first = np.flatnonzero(np.diff(key, prepend=-1))
    key = key[first]
    total = np.add.reduceat(active[order].astype(np.int64), first) if len(first) else active[:0]
    starts = np.searchsorted(key, np.arange(units + 1) * max(size, 1))
    return starts, (key % max(size, 1)).astype(np.int32), total.astype(np.int64)
