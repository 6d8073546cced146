"""A run in progress: its private folder, its arrays, and what every stage receives.

Everything a stage leaves is written under ``<digest>.partial/`` and marked by a file that is
renamed into place, so that a run killed at any moment is resumed at its last whole shard.
"""

from __future__ import annotations

import shutil
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.dissect.plan import BATCH, Plan
from core.foundation.errors import UnitscopeError
from core.foundation.files import write_text, write_whole
from core.foundation.progress import Meter, Report, Stop, Stopped
from core.models.hooks import Layer
from core.runs.arrays import ArrayFile, array_name


class Wide(NamedTuple):
    """A wide array of a run: the shape of an image's row, its type, and whether it goes when the
    run is published."""

    shape: tuple[int, ...]
    dtype: np.dtype
    passing: bool = False


class Work:
    """The private folder of a run in the making, or of a part of it: arrays and shard files.

    rows : (first image, image after the last) of what is made here. shard : images a shard.

    Attributes
    ----------
    shards : (first image, image after the last) of each shard.
    opened : arrays by name.
    """

    def __init__(self, folder: Path, rows: tuple[int, int], shard: int):
        self.folder, self.rows = folder, rows
        self.folder.mkdir(parents=True, exist_ok=True)
        self.arrays_folder = self.folder / "arrays"
        self.opened: dict[str, ArrayFile] = {}
        if not self.arrays_folder.is_dir() or self.merging.exists():
            # Marks without the arrays they speak of, or not all of a merge, are worth nothing.
            for mark in self.folder.glob("*.npz"):
                mark.unlink()
        self.merging.unlink(missing_ok=True)
        self.arrays_folder.mkdir(exist_ok=True)
        size = max(1, round(shard / BATCH)) * BATCH
        # A resumed run keeps the shards it was begun with: its marks are named by them.
        kept = self.folder / "shard-size"
        if kept.exists():
            size = int(kept.read_text())
        else:
            write_text(kept, str(size))
        a, b = rows
        self.shards = [(k, min(k + size, b)) for k in range(a, b, size)]
        for left_over in self.folder.glob("*.new"):
            left_over.unlink()

    @property
    def merging(self) -> Path:
        """The file that is there while the marks of a merge are not whole."""
        return self.folder / "merging"

    def array(self, name: str, wide: Wide) -> ArrayFile:
        """The rows that are made here of a wide array of the run.

        Raises UnitscopeError where a stopped run has lost it.
        """
        folder = self.folder if wide.passing else self.arrays_folder
        path = folder / f"{array_name(name)}.npy"
        if not path.exists() and any(self.folder.glob("*.npz")):
            raise UnitscopeError(f"{path.name} of the stopped run is missing; use --fresh")
        a, b = self.rows
        self.opened[name] = ArrayFile(path, (b - a, *wide.shape), wide.dtype, a)
        return self.opened[name]

    def close(self) -> None:
        """Close all array files."""
        for file in self.opened.values():
            file.close()

    def mark(self, stage: str, shard: int) -> Path:
        """The file whose presence says that a shard is done."""
        return self.folder / f"{stage}-{shard:05d}.npz"

    def finish(self, stage: str, shard: int, **arrays: Any) -> None:
        """Leave a shard's results, and with them its mark."""

        def write(path: Path) -> None:
            with path.open("wb") as f:
                np.savez(f, **arrays)

        write_whole(self.mark(stage, shard), write)

    def results(self, stage: str, shard: int, *names: str) -> dict[str, np.ndarray]:
        """The named arrays a shard left (all where none is named)."""
        with np.load(self.mark(stage, shard), allow_pickle=False) as stored:
            return {name: stored[name] for name in names or stored.files}

    def joined(self, stage: str, name: str, axis: int = 0, count: int | None = None) -> np.ndarray:
        """One array of all shards (of the first `count` marks) along an axis."""
        marks = range(len(self.shards) if count is None else count)
        return np.concatenate([self.results(stage, k, name)[name] for k in marks], axis)


@dataclass(frozen=True)
class Arrays:
    """The wide arrays of a run in the making, a row an image.

    labels : uint16 (images, channels, grid height, grid width).
    logits : float32 (images, classes); None without a classifier.
    pooled, peaks : float32 (images, units) of each of the network's layers.
    beside : (images, tokens, units) of each of them, None where a layer has no such tokens.
    maps : (images, units, height, width) of each layer, the twin's after the network's; empty
        where maps are not kept.
    """

    labels: ArrayFile
    logits: ArrayFile | None
    pooled: list[ArrayFile]
    peaks: list[ArrayFile]
    beside: list[ArrayFile | None]
    maps: list[ArrayFile]


def wide_arrays(plan: Plan) -> dict[str, Wide]:
    """The wide arrays of a run by name."""
    kept, layers = plan.settings.keep_maps, plan.layers
    arrays = {
        "labels": Wide((len(plan.dataset.channels), plan.grid[1], plan.grid[0]), np.dtype("u2"))
    }
    single, recorded = np.dtype(np.float32), np.dtype(plan.map_type)
    if plan.outputs:
        arrays["logits"] = Wide((plan.outputs,), single)
    for kind in ("pooled", "peaks"):
        arrays |= {f"{kind}-{layer.name}": Wide((layer.units,), single) for layer in layers}
    for layer in layers:
        if layer.beside and kept:
            arrays[f"beside-{layer.name}"] = Wide((layer.beside, layer.units), recorded)
    for twin in (False,) if plan.twin is None else (False, True):
        for layer in layers:
            if kept:
                shape = (layer.units, layer.height, layer.width)
                arrays[f"{'twin-' * twin}maps-{layer.name}"] = Wide(shape, recorded, twin)
    return arrays


def open_arrays(plan: Plan, work: Work) -> Arrays:
    """Open the arrays of a run, made where they are missing."""
    opened = {name: work.array(name, wide) for name, wide in wide_arrays(plan).items()}
    names = [layer.name for layer in plan.layers]
    maps = [opened.get(f"{who}maps-{name}") for who in ("", "twin-") for name in names]
    return Arrays(
        opened["labels"],
        opened.get("logits"),
        [opened[f"pooled-{name}"] for name in names],
        [opened[f"peaks-{name}"] for name in names],
        [opened.get(f"beside-{name}") for name in names],
        [file for file in maps if file is not None],
    )


def need_room(need: int, root: Path, folder: Path) -> None:
    """Raise UnitscopeError where the disk of `root` has no room for what is not there yet of the
    `need` bytes that `folder` will hold."""
    held = sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())
    left, free = need - held, shutil.disk_usage(root).free
    if left > free:
        raise UnitscopeError(
            f"the run needs about {left / 1e9:.1f} GB under {root}, {free / 1e9:.1f} GB are free; "
            "--no-maps needs less"
        )


@dataclass(frozen=True)
class Job:
    """One run in the making, as every stage is given it.

    Attributes
    ----------
    strict : raise at the first image that cannot be used.
    threads : for decoding and counting.
    kernel : "numba" or "torch".
    """

    plan: Plan
    work: Work
    arrays: Arrays
    meter: Meter
    stop: Stop
    strict: bool
    threads: int
    kernel: str

    @property
    def layers(self) -> list[Layer]:
        """Layers by number: those of the network, then, where there is a twin, its own in the
        same order."""
        return self.plan.layers * (1 if self.plan.twin is None else 2)

    @property
    def concepts(self) -> int:
        """The largest concept id of the label maps; scenes follow it."""
        return len(self.plan.dataset.concepts)

    @property
    def pixels(self) -> int:
        """Pixels of the working grid."""
        return self.plan.grid[0] * self.plan.grid[1]

    @cached_property
    def category_of(self) -> np.ndarray:
        """int64 (channels,): position of each channel's category."""
        categories = self.plan.categories
        return np.array(
            [categories.index(c.category) for c in self.plan.dataset.channels], np.int64
        )

    def step(self, images: int) -> None:
        """So many more are done. Raises Stopped where a stop was requested."""
        self.meter.step(images)
        if self.stop():
            raise Stopped(
                f"stopped in stage {self.meter.stage} at {self.meter.done} of "
                f"{self.meter.total} {self.meter.of}; the same command resumes it"
            )


def meter_of(plan: Plan, folder: Path, progress: Report | None) -> Meter:
    """Its heartbeat lies in the private folder of the work, and says what is dissected, and with
    which settings it can be resumed."""
    settings = plan.settings
    facts = {
        "dataset": settings.dataset,
        "model": settings.model,
        "layers": [layer.name for layer in plan.layers],
        "request": asdict(settings),
    }
    return Meter(progress, folder / "progress.json", facts)
