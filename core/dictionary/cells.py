"""The cells of a layer's maps, as training and measures read them: in batches and in shards."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.foundation.errors import UnitscopeError

POOL = 2**18
"""Cells that are held and shuffled at once: all of them, where there are no more."""

SHARD = 64
"""Photos whose maps are read at once to be measured."""


@dataclass(frozen=True, eq=False)
class Cells:
    """Every cell of some photos' maps: a vector of the layer's units.

    Attributes
    ----------
    maps : (photos, units, height, width) of any float type, possibly mapped from a file.
    rows : int64, the photos that are meant.
    """

    maps: np.ndarray
    rows: np.ndarray

    def __post_init__(self) -> None:
        if not len(self):
            raise UnitscopeError("there are no cells to train a dictionary on: no photo is meant")

    @classmethod
    def of(cls, maps: np.ndarray) -> Cells:
        """All photos of an array."""
        return cls(maps, np.arange(len(maps)))

    @property
    def units(self) -> int:
        """Number of units."""
        return int(self.maps.shape[1])

    @property
    def each(self) -> int:
        """Cells of a photo."""
        return int(self.maps.shape[2] * self.maps.shape[3])

    def __len__(self) -> int:
        """Number of cells."""
        return len(self.rows) * self.each

    def read(self, rows: np.ndarray) -> Tensor:
        """float32 (photos, cells, units) of some photos, in ascending order.

        Raises UnitscopeError where an activation is no finite number.
        """
        part = np.asarray(self.maps[np.sort(rows)], np.float32)
        cells = torch.from_numpy(part).flatten(2).transpose(1, 2)
        if not torch.isfinite(cells).all():
            raise UnitscopeError("the layer's maps hold what is no finite number")
        return cells

    def shards(self) -> Iterator[tuple[slice, Tensor]]:
        """(places in `rows`, float32 (photos, cells, units)) of all photos, in ascending order of
        their rows: `rows` are ascending where places matter."""
        rows = np.sort(self.rows)
        for start in range(0, len(rows), SHARD):
            at = slice(start, min(start + SHARD, len(rows)))
            yield at, self.read(rows[at])

    def batches(self, size: int, seed: int, epoch: int) -> Iterator[Tensor]:
        """float32 (size, units): every cell once, in random order, the same for the same seed and
        epoch. At most :data:`POOL` cells are held at a time, those of photos drawn at random."""
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(self.rows)
        step = max(1, POOL // self.each)
        for start in range(0, len(order), step):
            pool = self.read(order[start : start + step]).reshape(-1, self.units)
            for part in torch.split(torch.from_numpy(rng.permutation(len(pool))), size):
                yield pool[part]

    def batch_count(self, size: int) -> int:
        """How many batches an epoch has; the last one of a pool may be short."""
        step = max(1, POOL // self.each)
        pools = [min(step, len(self.rows) - start) for start in range(0, len(self.rows), step)]
        return sum(-(-pool * self.each // size) for pool in pools)

    def sample(self, count: int, seed: int) -> Tensor:
        """float32 (cells, units): up to `count` cells of photos drawn at random."""
        rng = np.random.default_rng([seed, 0, 1])
        photos = max(1, -(-count // self.each))
        chosen = rng.permutation(self.rows)[: max(photos, min(len(self.rows), 4 * photos))]
        pool = self.read(chosen).reshape(-1, self.units)
        return pool[torch.from_numpy(rng.permutation(len(pool))[:count])]
