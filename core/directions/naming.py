"""Names for concept vectors: the annotated concept that the places of high score overlap best.

Yeh et al. leave concept vectors without names, and the paper that compares with them does not say
how it named them. Here a vector is treated as a unit is (Eq. 1): its raw scores s_t = ⟨Φ_t, c⟩ are
a map; T is the run's quantile of all its cells on the naming photos; the map is upsampled to the
working grid and cut at > T; the name is the concept with the highest IoU over those photos, every
pixel counted. Colours, scenes and concepts of whole photos give no names, as Eq. 2 has it.

A vector is *active* in a photo where any pixel exceeds T, as units are; it *leads* in a photo where
at some place no other vector has a higher score. Concept scores only count relative to each other
(v is normalised at every place), and every photo has leading vectors, while most of few vectors are
active in none: LC(x) is made of the names of those that lead.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from core.directions.layer import Layer
from core.dissect.counts import best_ious, count_images, exchange
from core.dissect.significance import permutation_p
from core.dissect.thresholds import tail_size
from core.foundation.errors import UnitscopeError
from core.foundation.progress import STOPPED, Meter, Stop, Stopped
from core.labelling.probe import Probe

SHARD = 64
"""Photos that are counted at once."""

ROUNDS = 50
"""Rounds of exchanged masks, for how often chance names as well."""

LABELS_MEMORY = 256 << 20
"""Bytes of label maps up to which all are held while masks are exchanged."""


@dataclass(frozen=True, eq=False)
class Names:
    """What each of m vectors is called.

    Attributes
    ----------
    thresholds : float32 (m,), T of each.
    concept : int64 (m,), id of the concept of highest IoU; 0 where none overlaps.
    iou : float64 (m,), that IoU on the naming photos. held : on the judging photos.
    chance : float64 (m,), p-value: how often the best IoU is as high once the naming photos have
        each other's masks (a permutation test, :mod:`core.dissect.significance`).
    active, leads : bool (images of the run, m), rows by image number; False where there is no
        image.
    """

    thresholds: np.ndarray
    concept: np.ndarray
    iou: np.ndarray
    held: np.ndarray
    chance: np.ndarray
    active: np.ndarray
    leads: np.ndarray


def usable_concepts(probe: Probe) -> np.ndarray:
    """bool (concepts + 1,), by id: which concepts may name a vector."""
    usable = probe.with_regions
    if not usable.any():
        raise UnitscopeError("no concept could name a vector: name another category")
    return usable


def name_vectors(
    layer: Layer,
    vectors: np.ndarray,
    name_on: Probe,
    judge_on: Probe,
    meter: Meter,
    stop: Stop,
    seed: int = 0,
) -> Names:
    """Names of vectors, float32 (units, m), chosen on some photos and judged on others.

    Raises UnitscopeError where no concept is usable, Stopped where `stop` says so.
    """
    usable = usable_concepts(name_on)
    every = Probe(layer.run, layer.name)
    q = layer.run.settings.q
    if q is None:
        raise UnitscopeError("a run of predictions alone has no quantile to cut maps at")
    meter.start("names of vectors", 2 * len(every) + len(name_on))
    maps = _score_maps(layer, vectors, every, meter, stop)
    naming = np.searchsorted(every.numbers, name_on.numbers)
    cells = maps[naming].transpose(1, 0, 2, 3).reshape(vectors.shape[1], -1)
    k = tail_size(q, cells.shape[1])
    thresholds = np.partition(cells, cells.shape[1] - k, 1)[:, cells.shape[1] - k]
    counted = _Counted(maps, thresholds, every, usable, meter, stop)
    ious = counted.ious(naming)
    best = ious.argmax(1)
    rows = np.arange(len(best))
    held = counted.ious(np.searchsorted(every.numbers, judge_on.numbers))
    chance = counted.chance(naming, ious[rows, best], seed)
    active, leads = np.zeros((2, layer.run.image_count.planned, len(best)), bool)
    active[every.numbers], leads[every.numbers] = counted.active, leading(maps)
    return Names(
        thresholds.astype(np.float32),
        np.where(ious[rows, best] > 0, best, 0),
        ious[rows, best],
        held[rows, best],
        chance,
        active,
        leads,
    )


def leading(maps: np.ndarray) -> np.ndarray:
    """bool (photos, m): which vectors have the highest score of all at some place of a photo.
    Places where no score is above 0 count for none.

    maps : float (photos, m, height, width), raw scores.

    >>> leading(np.array([[[[3.0, -1.0]], [[2.0, -2.0]], [[0.0, -3.0]]]])).tolist()
    [[True, False, False]]
    """
    best = maps.argmax(1)[:, None]
    leads: np.ndarray = (
        (best == np.arange(maps.shape[1])[:, None, None]) & (maps.max(1, keepdims=True) > 0)
    ).any((2, 3))
    return leads


def _score_maps(
    layer: Layer, vectors: np.ndarray, photos: Probe, meter: Meter, stop: Stop
) -> np.ndarray:
    """Raw scores float32 (photos, m, height, width)."""
    directions = torch.from_numpy(np.ascontiguousarray(vectors))
    out = np.empty((len(photos), vectors.shape[1], *layer.shape[1:]), np.float32)
    for start in range(0, len(photos), SHARD):
        if stop():
            raise Stopped(STOPPED)
        numbers = photos.numbers[start : start + SHARD]
        found = torch.einsum("nuhw,um->nmhw", layer.activations(numbers), directions)
        out[start : start + SHARD] = found.numpy()
        meter.step(len(numbers))
    return out


class _Counted:
    """Pixels of every vector in every photo: hits, and overlaps with concepts."""

    def __init__(
        self,
        maps: np.ndarray,
        thresholds: np.ndarray,
        photos: Probe,
        usable: np.ndarray,
        meter: Meter,
        stop: Stop,
    ):
        self.photos, self.usable, self.meter, self.stop = photos, usable, meter, stop
        self.m, concepts = maps.shape[1], len(usable) - 1
        self.hits = np.zeros((len(maps), self.m), np.int64)
        self.areas = np.zeros((len(maps), len(usable)), np.int64)
        self.both: list[np.ndarray] = []
        self.found: list[tuple[np.ndarray, np.ndarray]] = []
        for start in range(0, len(maps), SHARD):
            if stop():
                raise Stopped(STOPPED)
            part = slice(start, min(start + SHARD, len(maps)))
            labels = photos.label_maps(part.start, part.stop)
            at = np.zeros(labels.shape[1], np.int64)
            counts = count_images(
                maps[part], thresholds.astype(np.float32), labels, at, 1, concepts, True
            )
            own = counts.hits.astype(np.int64)
            self.hits[start + own[:, 0], own[:, 1]] = own[:, 2]
            area = counts.areas.astype(np.int64)
            self.areas[start + area[:, 0], area[:, 1]] = area[:, 2]
            self.both.append(counts.both.astype(np.int64) + np.array([start, 0, 0, 0]))
            ends = np.concatenate([[0], np.cumsum(own[:, 2])])
            for i in range(part.stop - start):
                first, last = np.searchsorted(own[:, 0], [i, i + 1])
                pixels = counts.pixels[ends[first] : ends[last]]
                self.found.append((counts.hits[first:last], pixels))
            meter.step(len(labels))

    @property
    def active(self) -> np.ndarray:
        """bool (photos, m)."""
        return self.hits > 0

    def ious(self, rows: np.ndarray) -> np.ndarray:
        """IoU over some photos: float64 (m, concepts + 1), 0 for concepts that are not usable."""
        chosen = np.zeros(len(self.hits), bool)
        chosen[rows] = True
        both = np.zeros((self.m, len(self.usable)))
        table = np.concatenate(self.both)
        table = table[chosen[table[:, 0]]]
        np.add.at(both, (table[:, 1], table[:, 2]), table[:, 3])
        union = self.hits[chosen].sum(0)[:, None] + self.areas[chosen].sum(0)[None] - both
        ious: np.ndarray = np.where(self.usable, both / np.maximum(union, 1), 0.0)
        return ious

    def chance(self, rows: np.ndarray, iou: np.ndarray, seed: int) -> np.ndarray:
        """float64 (m,), p-value of each vector's best IoU over some photos."""
        rng = np.random.default_rng([seed, ROUNDS])
        others = np.stack([rng.permutation(rows) for _ in range(ROUNDS)])
        sums = np.zeros((ROUNDS, self.m, len(self.usable)), np.int32)
        inside = np.zeros((ROUNDS, self.m, 1), np.int32)
        labels = _Labels(self.photos, rows)
        none = [np.zeros(0, np.int64)] * ROUNDS
        for k, row in enumerate(rows):
            if self.stop():
                raise Stopped(STOPPED)
            hits, pixels = self.found[row]
            maps, at = labels.of(others[:, k])
            channels = np.zeros(maps.shape[1], np.int64)
            exchange(hits, pixels, maps, at, channels, none, sums, inside)
            self.meter.step()
        category = np.zeros(len(self.usable), np.int64)
        group = np.where(self.usable, 0, 1)
        hits, areas = self.hits[rows].sum(0), self.areas[rows].sum(0)
        null = np.empty((self.m, ROUNDS), np.float32)
        for r in range(ROUNDS):
            both, within = sums[r].astype(np.int64), inside[r].astype(np.int64)
            null[:, r] = best_ious(both, within, hits, areas, category, group, 2)[0, 0]
        return permutation_p(null, np.arange(self.m), iou)


class _Labels:
    """Label maps of photos by row, uint16 (photos, channels, pixels): held where there is room."""

    def __init__(self, photos: Probe, rows: np.ndarray):
        self.photos = photos
        first = photos.label_maps(0, 1)
        self.held = None
        if first.nbytes * len(photos) <= LABELS_MEMORY:
            self.held = self._flat(photos.label_maps(0, len(photos)))

    def of(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """(label maps, places in them of some rows)."""
        if self.held is not None:
            return self.held, rows
        read = np.stack([self.photos.label_maps(row, row + 1)[0] for row in rows])
        return self._flat(read), np.arange(len(rows))

    @staticmethod
    def _flat(maps: np.ndarray) -> np.ndarray:
        return np.ascontiguousarray(maps.reshape(*maps.shape[:2], -1))
