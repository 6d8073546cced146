"""The pipeline: photos and masks → maps → thresholds → counts → a published run.

Stages, each resumable by image shard:

``collect``   decode, one forward pass, keep maps, pooled features, logits, label grids
``count``     overlap counts of every image
``chance``    the same with masks exchanged between photos, the null distribution, round by round
``publish``   tables into one DuckDB file, which is renamed into place

An untrained twin of the network, where one is asked for, goes through all of them beside it.

Everything a stage leaves is written under ``<digest>.partial/`` and marked by a file that is
renamed into place, so that a run killed at any moment is resumed at its last whole shard.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from itertools import pairwise
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import duckdb
import numpy as np
import pandas as pd
import torch

from core.datasets import open_dataset
from core.datasets.base import Problem, SceneDataset
from core.datasets.loader import Decoded, decode_ahead
from core.datasets.scenes import Match, class_of, images_of, match_scenes, read_given, summary
from core.dissect.counts import Counts, best_ious, count_images, count_images_torch, exchange
from core.dissect.labels import (
    FDR,
    chance_rows,
    iou_table,
    permutation_p,
    split_sets,
)
from core.dissect.thresholds import TopK, tail_size
from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.files import write_text, write_whole
from core.foundation.geometry import Preprocessing, default_grid
from core.foundation.progress import Meter, Report, Stop, Stopped, never
from core.foundation.settings import CACHE, Settings
from core.foundation.trust import source_digest
from core.foundation.versions import versions_of
from core.knowledge.kinds import open_knowledge
from core.models.base import LoadedModel
from core.models.forward import MAP_TYPES, Forward, Passed, usable_device
from core.models.head import CLOSE, PROBES, batch_words, rounding
from core.models.hooks import Layer
from core.models.load import load_model
from core.models.untrained import needs_photos, settle_batch_norm, untrained_twin
from core.runs.arrays import ArrayFile, array_name, check_ids
from core.runs.run_file import NEEDS_NONE, Run
from core.runs.store import making, remove_run
from core.runs.tables import DENOMINATORS, SCHEMA, append, create_tables, tables_digest

MOST_SHUFFLES = 10_000
"""Rounds of the null distribution that a run may be asked for: each is held in memory."""

BATCH = 32
"""Images a forward pass takes at once. Fixed, and shards are whole batches, so that a network
sees the same batches, and gives the same bytes, whatever the shards are."""


TWIN_PAIRS = 1_000_000
"""Up to so many pairs of an image and a unit the untrained twin is made unless told otherwise: it
doubles the work of the network and of the counts, not that of decoding photos."""

SETTLING = 256
"""Photos, spread evenly over the run, on which the twin's batch norm is estimated."""

ROUNDS_MEMORY = 96 << 20
"""Bytes of sums that one task of exchanged masks may hold; at most 25 rounds are one task."""

LABELS_MEMORY = 256 << 20
"""Bytes of label maps up to which all are held in memory while masks are exchanged."""


@dataclass
class Plan:
    """A run before it starts: everything opened and checked, sizes known.

    Attributes
    ----------
    matches : the class of each scene of the dataset, by name or by the user's table.
    twin : the network untrained, where it is dissected too; twin_why : why there is none.
    map_type : the type in which activations are recorded, decided where the settings leave it.
    by_batch : one sentence where an answer depends on the other photos of its batch, else "".
    notes : what the user should know of the request before it starts.
    sizes : bytes each kind of array will take beside the run.
    facts : what the digest is made of, stored in the run.
    """

    settings: Settings
    dataset: SceneDataset
    model: LoadedModel
    layers: list[Layer]
    indices: np.ndarray
    grid: tuple[int, int]
    input_size: tuple[int, int]
    outputs: int  # 0 without a classifier
    facts: dict[str, Any]
    digest: str
    matches: list[Match]
    map_type: str
    by_batch: str = ""
    notes: list[str] = field(default_factory=list)
    sizes: dict[str, int] = field(default_factory=dict)
    twin: LoadedModel | None = None
    twin_why: str = ""

    @property
    def categories(self) -> list[str]:
        """Categories of the dataset's pixel annotations, in the order of its channels."""
        return list(dict.fromkeys(channel.category for channel in self.dataset.channels))


def engine_versions(dataset: SceneDataset) -> dict[str, int]:
    """Versions of the computations that decide a run's numbers: a raised one makes a new run."""
    reader = f"reader {dataset.spec.partition(':')[0]}"
    return {**versions_of("decoding", "dissection"), reader: type(dataset).VERSION}


def plan(settings: Settings) -> Plan:
    """Open dataset and network, find the layers, work out digest and sizes.

    Raises UnitscopeError for anything that could not run, before a byte is written.
    """
    dataset = open_dataset(settings.dataset)
    dataset.check()
    model = load_model(settings.model)
    model_digest = model.digest()
    indices = dataset.select(settings.splits or None)
    notes: list[Problem] = []
    given = None
    if settings.scenes:
        given = read_given(Path(settings.scenes).expanduser(), dataset.scenes, notes)
    # Opened now, so that a mistake in its SPEC is told before the work, not after it.
    open_knowledge(settings.knowledge)
    photo_size, seen = _few_photos(dataset, indices, model.preprocessing)
    known = {layer.name: layer for layer in model.layers(photo_size)}
    wanted = settings.layers or (model.default_layer,)
    for name in wanted:
        model.check_layer(name, known, photo_size)
    if len(set(wanted)) != len(wanted):
        raise UnitscopeError(f"a layer is named twice: {', '.join(wanted)}")
    layers = [known[name] for name in wanted]
    tail_size(settings.q, 1)
    if not 0 <= settings.shuffles <= MOST_SHUFFLES:
        raise UnitscopeError(
            f"{settings.shuffles} shuffles were asked for; 0 or more, up to {MOST_SHUFFLES:,}, "
            "are meant"
        )
    if settings.seed < 0:
        raise UnitscopeError(f"the seed is {settings.seed}; 0 or more is meant")
    if 0 < settings.shuffles < 1 / FDR - 1:
        notes.append(
            Problem(
                "",
                "--shuffles",
                f"after {settings.shuffles} rounds of exchanged masks no "
                f"p-value is below {1 / (1 + settings.shuffles):.2f}, so that no unit can come "
                f"out better than chance; the default is {Settings.shuffles}",
            )
        )
    usable_device(settings.device)
    if not settings.classes:
        model.backbone = model.backbone or "its outputs were said to be no classes (--no-classes)"
    outputs, said = model.outputs(photo_size)
    if not outputs:
        said += f"; it is dissected without classes. {NEEDS_NONE}"
        if given:
            raise UnitscopeError(
                f"--scenes says which class a scene is, and here are no classes: {model.backbone}"
            )
    matches = match_scenes(dataset.scenes, model.classes if outputs else [], given)
    twin, twin_why = _twin(settings, model, dataset, len(indices) * sum(s.units for s in layers))
    inputs = Forward(model, []).inputs(np.stack(seen)) if seen and outputs else None
    by_batch = batch_words(model.module, inputs)
    if by_batch:
        by_batch += f"; the network sees batches of {BATCH} in the dataset's order"
    map_type, why_type = _map_type(settings, model, wanted, inputs)
    width, height = model.preprocessing.input_size(*photo_size)
    grid = default_grid((width, height))
    if settings.grid is not None:
        if not 1 <= settings.grid <= 4 * max(width, height):
            raise UnitscopeError(
                f"a working grid of {settings.grid} for an input of {width}×{height}"
            )
        grid = (settings.grid, max(1, round(settings.grid * height / width)))
    facts = {
        **asdict(settings),
        "map_type": map_type,
        "dataset": {"spec": settings.dataset, "digest": dataset.digest()},
        "model": {"spec": settings.model, "digest": model_digest},
        "layers": list(wanted),
        "preprocessing": model.preprocessing.to_json(),
        "grid": list(grid),
        "device": torch.device(settings.device).type,
        "batch": BATCH,
        "versions": engine_versions(dataset),
        "torch": [version(name) for name in ("torch", "torchvision", "pillow")],
    }
    for what, spec in (("model", settings.model), ("dataset", settings.dataset)):
        code = source_digest(spec)
        if code is not None:
            facts[what]["code"] = code
    if dataset.labels_by:
        facts["dataset"]["labels_by"] = dataset.labels_by
    facts["untrained"] = twin is not None
    # Where files lie does not change what they hold.
    del facts["knowledge"]
    facts["scenes"] = dict(sorted(given.items())) if given else None
    hashed = {**facts, "dataset": facts["dataset"]["digest"], "model": facts["model"]["digest"]}
    n = len(indices)
    item = MAP_TYPES[map_type].itemsize
    sizes = {
        "maps": sum(n * s.units * (s.height * s.width + s.beside) * item for s in layers)
        if settings.keep_maps
        else 0,
        "label grids": 2 * n * len(dataset.channels) * grid[0] * grid[1],
        "features and logits": 4 * n * (outputs + 2 * sum(layer.units for layer in layers)),
        "photos": 12_000 * n,
    }
    if settings.shuffles:
        sets = split_sets([dataset.split[i] for i in indices])
        kinds = len({row[2] for row in dataset.concepts}) + bool(dataset.scenes)
        sizes["null distributions"] = (
            8 * len(sets) * kinds * settings.shuffles * sum(s.units for s in layers)
        )
        networks = 1 if twin is None else 2
        # Active pixels, and the twin's maps, which go when the run is published.
        sizes["while it is made"] = int(
            sum(s.units for s in layers) * networks * settings.q * n * grid[0] * grid[1] * 2
        ) + (sizes["maps"] if twin is not None else 0)
    return Plan(
        settings,
        dataset,
        model,
        layers,
        indices,
        grid,
        (width, height),
        outputs,
        facts,
        digest_of(hashed)[:DIGITS],
        matches,
        map_type,
        by_batch,
        [
            *filter(None, [said]),
            *dataset.notes,
            *(f"{n.path}: {n.reason}" for n in notes),
            *filter(None, (by_batch, why_type)),
        ],
        sizes,
        twin,
        twin_why,
    )


def _twin(
    settings: Settings, model: LoadedModel, dataset: SceneDataset, pairs: int
) -> tuple[LoadedModel | None, str]:
    """(untrained twin, or why there is none). Raises where it was asked for and cannot be made."""
    why = ""
    if not settings.shuffles:
        why = "the run was made without rounds of exchanged masks (--shuffles 0)"
    elif not dataset.concepts and not dataset.scenes:
        why = "nothing is annotated in this dataset"
    if why:
        if settings.untrained:
            raise UnitscopeError(
                "--untrained compares how many units are better than chance, which cannot be "
                f"measured here: {why}"
            )
        return None, why
    if settings.untrained is False:
        return None, "the run was made with --no-untrained"
    if settings.untrained is None and pairs > TWIN_PAIRS:
        return None, (
            f"it is made unasked up to {TWIN_PAIRS:,} pairs of an image and a unit, and here are "
            f"{pairs:,}; --untrained makes it"
        )
    try:
        return untrained_twin(model, settings.seed), ""
    except UnitscopeError as err:
        if settings.untrained:
            raise
        return None, str(err)


def _few_photos(
    dataset: SceneDataset, indices: np.ndarray, way: Preprocessing
) -> tuple[tuple[int, int], list[np.ndarray]]:
    """(width, height) of the first photo of a few that the preprocessing can take, and some of
    them as the network sees them, all of one size."""
    told: UnitscopeError | None = None
    size = (640, 480)
    seen: list[np.ndarray] = []
    for index in indices[:16]:
        try:
            photo = dataset.photo(int(index))
            view = np.asarray(way.view(photo))
        except BadFile:
            continue
        except UnitscopeError as err:
            told = told or err
            continue
        if not seen:
            size = photo.size
        if not seen or view.shape == seen[0].shape:
            seen.append(view)
        if len(seen) == PROBES:
            break
    if told and not seen:
        raise told
    return size, seen


def _map_type(
    settings: Settings, model: LoadedModel, layers: Sequence[str], inputs: torch.Tensor | None
) -> tuple[str, str]:
    """(type in which maps are kept, why that is float32 where it was not asked for).

    Half precision takes half the room. Where what follows a layer is replayed from its maps, it is
    taken only if the rounding moves no logit of a few photos by more than
    :data:`core.models.head.CLOSE` of the largest.
    """
    if settings.map_type != "auto":
        return settings.map_type, ""
    # Whether maps are kept changes no number, so it does not enter.
    if inputs is None or settings.precision != "float32":
        return "float16", ""
    moved = {layer: rounding(model.module, layer, inputs) for layer in layers}
    worst = max(moved, key=lambda layer: moved[layer])
    if moved[worst] <= CLOSE:
        return "float16", ""
    return "float32", (
        f"maps are recorded in single precision: rounded to half, those of {worst} move replayed "
        f"logits by {moved[worst]:.1e} of the largest, and {CLOSE:g} is promised (--map-type "
        "float16 takes half the room)"
    )


def _maps_of(passed: list[Passed], layers: list[Layer]) -> list[np.ndarray]:
    """Recorded maps of every layer of every network."""
    return [
        one.layers[layer.name].maps.cpu().contiguous().numpy() for one in passed for layer in layers
    ]


class _Work:
    """The private folder of a run in the making: arrays, shard files, heartbeat."""

    def __init__(self, plan: Plan, root: Path, shard: int):
        self.plan = plan
        self.folder = root / f"{plan.digest}.partial"
        self.folder.mkdir(parents=True, exist_ok=True)
        self.arrays_folder = self.folder / "arrays"
        self._open: list[ArrayFile] = []
        if not self.arrays_folder.is_dir():
            # Marks without the arrays they speak of are worth nothing.
            for mark in self.folder.glob("*.npz"):
                mark.unlink()
        self.arrays_folder.mkdir(exist_ok=True)
        size = max(1, round(shard / BATCH)) * BATCH
        # A resumed run keeps the shards it was begun with: its marks are named by them.
        kept = self.folder / "shard-size"
        if kept.exists():
            size = int(kept.read_text())
        else:
            write_text(kept, str(size))
        n = len(plan.indices)
        self.shards = [(k, min(k + size, n)) for k in range(0, n, size)]
        for left_over in self.folder.glob("*.new"):
            left_over.unlink()

    def array(
        self, name: str, shape: tuple[int, ...], dtype: Any, passing: bool = False
    ) -> ArrayFile:
        """A wide array of the run; where `passing`, one that goes when the run is published."""
        folder = self.folder if passing else self.arrays_folder
        path = folder / f"{array_name(name)}.npy"
        if not path.exists() and any(self.folder.glob("*.npz")):
            raise UnitscopeError(f"{path.name} of the stopped run is missing; use --fresh")
        self._open.append(ArrayFile(path, shape, dtype))
        return self._open[-1]

    def close(self) -> None:
        """Let all array files go."""
        for file in self._open:
            file.close()

    def mark(self, stage: str, shard: int) -> Path:
        return self.folder / f"{stage}-{shard:05d}.npz"

    def finish(self, stage: str, shard: int, **arrays: Any) -> None:
        """Leave a shard's results; the file's presence says that the shard is done."""

        def write(path: Path) -> None:
            with path.open("wb") as f:
                np.savez(f, **arrays)

        write_whole(self.mark(stage, shard), write)

    def results(self, stage: str, shard: int, *names: str) -> dict[str, np.ndarray]:
        """The named arrays a shard left (all where none is named)."""
        with np.load(self.mark(stage, shard), allow_pickle=False) as stored:
            return {name: stored[name] for name in names or stored.files}


def _meter(work: _Work, progress: Report | None) -> Meter:
    """Its heartbeat says what is dissected, and with which settings it can be resumed."""
    settings = work.plan.settings
    facts = {
        "dataset": settings.dataset,
        "model": settings.model,
        "layers": [layer.name for layer in work.plan.layers],
        "request": asdict(settings),
    }
    return Meter(progress, work.folder / "progress.json", facts)


def execute(
    plan: Plan,
    root: Path = CACHE,
    *,
    progress: Report | None = None,
    stop: Stop = never,
    fresh: bool = False,
    strict: bool = False,
    shard: int = 256,
    threads: int | None = None,
    kernel: str | None = None,
) -> Run:
    """Make the run, or go on with it, or open it where it is finished.

    Parameters
    ----------
    root : folder of the run files.
    progress : called with a :class:`Progress` after every batch.
    stop : asked after every batch; where it says True, :class:`Stopped` is raised.
    fresh : throw away a stopped run of the same digest instead of going on with it.
    strict : raise at the first photo or mask that cannot be used, instead of skipping it.
    shard : images a shard (rounded to whole batches); it changes no number of the result.
    threads : for decoding and counting; None = the machine's cores.
    kernel : "numba" or "torch", which count alike; None = numba where the network runs on the
        CPU, torch on the network's device elsewhere.

    Raises
    ------
    UnitscopeError
        no room on the disk, another process makes the same run, no usable image at all.
    """
    if strict and plan.dataset.problems:
        raise BadFile(plan.dataset.problems[0].path, plan.dataset.problems[0].reason)
    final = root / f"{plan.digest}.duckdb"
    folder = root / f"{plan.digest}.partial"
    if final.is_file() and not fresh and not folder.exists():
        return _opened(final, strict)
    root.mkdir(parents=True, exist_ok=True)
    held = sum(p.stat().st_blocks * 512 for p in folder.rglob("*") if p.is_file())
    need, free = sum(plan.sizes.values()) - held, shutil.disk_usage(root).free
    if need > free:
        raise UnitscopeError(
            f"the run needs about {need / 1e9:.1f} GB under {root}, {free / 1e9:.1f} GB are free; "
            "--no-maps needs less"
        )
    lock = making(final)
    work = None
    try:
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
            # Gone now, so that a fresh run that is stopped is what the next command resumes.
            remove_run(final)
        if final.is_file() or (folder / "published").exists():
            whole = _settled(folder, final, strict)
            if whole is not None:
                return whole
        work = _Work(plan, root, shard)
        cores = max(1, threads or os.cpu_count() or 1)
        kind = kernel or ("numba" if torch.device(plan.settings.device).type == "cpu" else "torch")
        pipeline = _Pipeline(plan, work, _meter(work, progress), stop, strict, cores, kind)
        times = {}
        for stage in (pipeline.collect, pipeline.count, pipeline.chance):
            began = time.monotonic()
            stage()
            times[stage.__name__] = round(time.monotonic() - began, 3)
        pipeline.publish(times)
        write_text(folder / "published", "whole: only renaming is left\n")
        run = _settled(folder, final, strict)
        assert run is not None
        return run
    finally:
        if work is not None:
            work.close()
        lock.release()


def _settled(folder: Path, final: Path, strict: bool) -> Run | None:
    """Put a whole run in its place. Every step may have been done before a kill.

    None where the mark ``published`` speaks of a file that is nowhere: it is no mark then, and
    everything that was marked with it is gone.
    """
    if not final.is_file() and not (folder / "run.duckdb").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        return None
    if (folder / "published").exists():
        arrays = final.with_suffix(".arrays")
        if (folder / "arrays").is_dir():
            shutil.rmtree(arrays, ignore_errors=True)
            (folder / "arrays").rename(arrays)
        if (folder / "run.duckdb").is_file():
            (folder / "run.duckdb").rename(final)
    shutil.rmtree(folder, ignore_errors=True)
    return _opened(final, strict)


def _opened(final: Path, strict: bool) -> Run:
    """A finished run; where `strict`, only if nothing was left out of it."""
    run = Run(final)
    if strict:
        first = run.sql("SELECT file, reason FROM skipped LIMIT 1")
        if len(first):
            run.close()
            raise BadFile(first["file"][0], first["reason"][0])
    return run


class _Pipeline:
    """The stages over one :class:`_Work` folder.

    Layers are numbered on: those of the network, then, where there is a twin, its own in the
    same order.
    """

    def __init__(
        self,
        plan: Plan,
        work: _Work,
        meter: Meter,
        stop: Stop,
        strict: bool,
        threads: int,
        kernel: str,
    ):
        self.plan, self.work, self.meter, self.stop = plan, work, meter, stop
        self.strict, self.threads, self.kernel = strict, threads, kernel
        s, n = plan.settings, len(plan.indices)
        self.channels = len(plan.dataset.channels)
        categories = plan.categories
        self.category_of = np.array(
            [categories.index(c.category) for c in plan.dataset.channels], np.int64
        )
        self.concepts = len(plan.dataset.concepts)
        self.networks = [plan.model] if plan.twin is None else [plan.model, plan.twin]
        self.layers = plan.layers * len(self.networks)
        self.forwards = [
            Forward(
                model, [layer.name for layer in plan.layers], s.device, s.precision, plan.map_type
            )
            for model in self.networks
        ]
        self.settled = plan.twin is None
        self._whole_kept: np.ndarray | None = None
        self.labels = work.array(
            "labels", (n, self.channels, plan.grid[1], plan.grid[0]), np.uint16
        )
        self.logits = work.array("logits", (n, plan.outputs), np.float32) if plan.outputs else None
        self.pooled = [
            work.array(f"pooled-{layer.name}", (n, layer.units), np.float32)
            for layer in plan.layers
        ]
        self.peaks = [
            work.array(f"peaks-{layer.name}", (n, layer.units), np.float32) for layer in plan.layers
        ]
        self.beside = [
            work.array(f"beside-{layer.name}", (n, layer.beside, layer.units), plan.map_type)
            if layer.beside and s.keep_maps
            else None
            for layer in plan.layers
        ]
        self.maps = [
            work.array(
                f"{'twin-' * twin}maps-{layer.name}",
                (n, layer.units, layer.height, layer.width),
                plan.map_type,
                passing=twin,
            )
            for twin in (False, True)[: len(self.networks)]
            for layer in plan.layers
            if s.keep_maps
        ]

    # -- collect --------------------------------------------------------------------------

    def _batches(
        self, shards: list[tuple[int, int]], first_pass: bool
    ) -> Generator[tuple[int, list[Decoded]], None, None]:
        """(place of the first image, a batch of decoded images), over the given shards."""
        indices = np.concatenate([self.plan.indices[a:b] for a, b in shards])
        stream = decode_ahead(
            self.plan.dataset,
            indices,
            self.plan.model.preprocessing,
            self.plan.grid,
            self.threads,
            3 * BATCH,
            keep_photo=first_pass,
            with_labels=first_pass,
        )
        try:
            for a, b in shards:
                for at in range(a, b, BATCH):
                    yield at, [next(stream) for _ in range(min(BATCH, b - at))]
        finally:
            stream.close()

    def _stack(self, batch: list[Decoded]) -> np.ndarray:
        """uint8 (images, height, width, 3). A photo that could not be read is black, so that
        the others' places in their batch do not depend on it."""
        width, height = self.plan.input_size
        seen = np.zeros((len(batch), height, width, 3), np.uint8)
        for row, item in zip(seen, batch, strict=True):
            if item.seen is not None:
                if item.seen.shape != row.shape:
                    raise UnitscopeError(
                        f"the preprocessing makes image {self.plan.dataset.ids[item.image]!r} "
                        f"{item.seen.shape[1]}×{item.seen.shape[0]} pixels and others "
                        f"{width}×{height}: a run needs one input size, so give the "
                        "preprocessing a centre crop or a fixed (width, height)"
                    )
                row[...] = item.seen
        return seen

    def _settle(self) -> None:
        """Estimate the twin's batch norm, the same each time, before it first runs."""
        if self.settled:
            return
        self.settled = True
        twin = self.forwards[1]
        if not needs_photos(twin.module):
            return
        n = len(self.plan.indices)
        chosen = self.plan.indices[np.unique(np.linspace(0, n - 1, min(SETTLING, n)).astype(int))]
        stream = decode_ahead(
            self.plan.dataset,
            chosen,
            self.plan.model.preprocessing,
            self.plan.grid,
            self.threads,
            3 * BATCH,
            keep_photo=False,
            with_labels=False,
        )

        def batches() -> Iterator[torch.Tensor]:
            seen = [item for item in stream if item.seen is not None]
            for at in range(0, len(seen), BATCH):
                yield twin.inputs(self._stack(seen[at : at + BATCH]))

        settle_batch_norm(twin.module, batches())

    def _judged(self, item: Decoded, fault: str | None) -> Decoded:
        """An image as a problem where the network gives for it what is no finite number."""
        if fault is None or item.problem is not None:
            return item
        name = self.plan.dataset.ids[item.image]
        return item._replace(problem=Problem(name, name, fault))

    def _pause(self, images: int) -> None:
        self.meter.step(images)
        if self.stop():
            raise Stopped(
                f"stopped in stage {self.meter.stage} at {self.meter.done} of "
                f"{self.meter.total} {self.meter.of}; the same command resumes it"
            )

    def collect(self) -> None:
        """One forward pass over every image; leaves arrays, photos and thresholds' top values."""
        work, plan = self.work, self.plan
        n = len(plan.indices)
        capacity = [
            tail_size(plan.settings.q, n * layer.height * layer.width) for layer in self.layers
        ]
        tops = [TopK(layer.units, k) for layer, k in zip(self.layers, capacity, strict=True)]
        done = sum(work.mark("collect", k).exists() for k in range(len(work.shards)))
        # Shards are finished in order, so those done are the first ones.
        for k in range(done):
            a, b = work.shards[k]
            stored = work.results("collect", k, "valid", "problems")
            valid = stored["valid"]
            if self.strict and len(stored["problems"]):
                raise BadFile(*stored["problems"][0][1:])
            if plan.settings.keep_maps:
                for top, file in zip(tops, self.maps, strict=True):
                    for at in range(a, b, BATCH):
                        size = min(BATCH, b - at)
                        keep = valid[at - a : at - a + size]
                        top.update(file.read(at, size)[keep])
        if done and not plan.settings.keep_maps:
            stored = work.results("collect", done - 1)
            for k, top in enumerate(tops):
                top.restore({name: stored[f"top_{k}_{name}"] for name in top.state()})
        self.meter.start("collect", n, work.shards[done][0] if done < len(work.shards) else n)
        batches = self._batches(work.shards[done:], True) if done < len(work.shards) else iter(())
        for k in range(done, len(work.shards)):
            self._collect_shard(k, batches, tops)
        self._thresholds(tops)

    def _collect_shard(
        self, k: int, batches: Iterator[tuple[int, list[Decoded]]], tops: list[TopK]
    ) -> None:
        work, (a, b) = self.work, self.work.shards[k]
        valid = np.zeros(b - a, bool)
        sizes = np.zeros(b - a, np.int64)
        problems: list[Problem] = []
        whole: list[tuple[int, int]] = []
        photos = work.folder / f"photos-{k:05d}.bin"
        with photos.open("wb") as out:
            while a < b:
                at, batch = next(batches)
                self._settle()
                seen = self._stack(batch)
                passed, *twins = [forward(seen) for forward in self.forwards]
                batch = [self._judged(item, passed.faults.get(j)) for j, item in enumerate(batch)]
                for j, fault in ((j, f) for twin in twins for j, f in twin.faults.items()):
                    if batch[j].problem is None:
                        name = self.plan.dataset.ids[batch[j].image]
                        raise UnitscopeError(
                            f"the untrained twin, for image {name!r}: {fault}; --no-untrained "
                            "leaves it out"
                        )
                fine = np.array([item.problem is None for item in batch])
                place = at - work.shards[k][0]
                valid[place : place + len(batch)] = fine
                for j, item in enumerate(batch):
                    out.write(item.photo)
                    sizes[place + j] = len(item.photo)
                    whole += [(at + j, concept) for concept in item.whole]
                    if item.problem:
                        if self.strict:
                            raise BadFile(item.problem.path, item.problem.reason)
                        problems.append(item.problem)
                self.labels.write(at, np.stack([item.labels for item in batch]))
                if self.logits is not None:
                    self.logits.write(at, passed.logits)
                for n, layer in enumerate(self.plan.layers):
                    watched = passed.layers[layer.name]
                    if watched.maps.shape[1:] != (layer.units, layer.height, layer.width):
                        raise UnitscopeError(
                            f"layer {layer.name!r} gave {tuple(watched.maps.shape[1:])}, "
                            f"{(layer.units, layer.height, layer.width)} was expected"
                        )
                    self.pooled[n].write(at, watched.pooled)
                    self.peaks[n].write(at, watched.peaks)
                    beside = self.beside[n]
                    if beside is not None and watched.beside is not None:
                        beside.write(at, watched.beside.cpu().contiguous().numpy())
                for n, maps in enumerate(_maps_of([passed, *twins], self.plan.layers)):
                    tops[n].update(maps if fine.all() else maps[fine])
                    if self.maps:
                        self.maps[n].write(at, maps)
                a = at + len(batch)
                self._pause(len(batch))
        state = (
            {}
            if self.plan.settings.keep_maps
            else {
                f"top_{n}_{name}": part
                for n, top in enumerate(tops)
                for name, part in top.state().items()
            }
        )
        work.finish(
            "collect",
            k,
            valid=valid,
            photo_bytes=sizes,
            problems=np.array([list(p) for p in problems], dtype=str).reshape(-1, 3),
            whole=np.array(whole, np.int32).reshape(-1, 2),
            **state,
        )
        if state and k:
            # Only the newest shard's top values are needed to go on.
            previous = work.results("collect", k - 1)
            work.finish(
                "collect",
                k - 1,
                **{name: v for name, v in previous.items() if not name.startswith("top_")},
            )

    def _valid(self) -> np.ndarray:
        return np.concatenate(
            [
                self.work.results("collect", k, "valid")["valid"]
                for k in range(len(self.work.shards))
            ]
        )

    def _thresholds(self, tops: list[TopK]) -> None:
        usable = int(self._valid().sum())
        if usable == 0:
            first = self.work.results("collect", 0)["problems"][0]
            raise UnitscopeError(
                f"none of the {len(self.plan.indices)} images can be used; the first: "
                f"{first[1]}: {first[2]}"
            )
        self.thresholds = [
            top.threshold(tail_size(self.plan.settings.q, usable * layer.height * layer.width))
            for top, layer in zip(tops, self.layers, strict=True)
        ]

    # -- count ----------------------------------------------------------------------------

    def count(self) -> None:
        """Overlap counts of every shard, from the kept maps or a second forward pass."""
        work = self.work
        valid = self._valid()
        todo = [k for k in range(len(work.shards)) if not work.mark("count", k).exists()]
        self.meter.start(
            "count",
            len(valid),
            len(valid) - sum(work.shards[k][1] - work.shards[k][0] for k in todo),
        )
        again = None
        if not self.maps and todo:
            again = self._batches([work.shards[k] for k in todo], False)
        with ThreadPoolExecutor(self.threads, thread_name_prefix="count") as pool:
            for k in todo:
                self._count_shard(k, valid, pool, again)

    def _count_shard(
        self,
        k: int,
        valid: np.ndarray,
        pool: ThreadPoolExecutor,
        again: Iterator[tuple[int, list[Decoded]]] | None,
    ) -> None:
        a, b = self.work.shards[k]
        parts: list[list[Any]] = [[] for _ in self.layers]
        keep_pixels = self.plan.settings.shuffles > 0

        def one(at: int, size: int, layer: int, maps: np.ndarray | torch.Tensor | None) -> Any:
            place = at + np.flatnonzero(valid[at : at + size])
            if maps is None:
                maps = self.maps[layer].read(at, size)
            maps = maps[place - at]
            labels = self.labels.read(at, size)[place - at]
            arguments = (
                self.thresholds[layer],
                labels,
                self.category_of,
                len(self.plan.categories),
                self.concepts,
                keep_pixels,
            )
            if self.kernel == "numba":
                maps = torch.from_numpy(maps).float().numpy()
                counts = count_images(maps, *arguments)
            else:
                on_device = torch.as_tensor(maps).to(self.forwards[0].device)
                counts = count_images_torch(on_device, *arguments)
            if layer >= len(self.peaks):
                return place, counts, np.zeros(0, np.float32)
            top = self.peaks[layer].read(at, size)[place - at]
            return place, counts, top[counts.hits[:, 0], counts.hits[:, 1]]

        waiting = []
        for at in range(a, b, BATCH):
            size = min(BATCH, b - at)
            watched = None
            if again is not None:
                _, batch = next(again)
                # What was left out the first time is left out again, whatever the reason was.
                batch = [
                    item if fine else item._replace(seen=None)
                    for item, fine in zip(batch, valid[at : at + size], strict=True)
                ]
                self._settle()
                seen = self._stack(batch)
                passed, *twins = [forward(seen) for forward in self.forwards]
                for place in passed.faults:
                    if valid[at + place]:
                        name = self.plan.dataset.ids[self.plan.indices[at + place]]
                        raise UnitscopeError(
                            f"image {name!r} was fine the first time, and now "
                            f"{passed.faults[place]}; use --fresh"
                        )
                watched = _maps_of([passed, *twins], self.plan.layers)
            for n in range(len(self.layers)):
                maps = None if watched is None else watched[n]
                waiting.append((n, size, pool.submit(one, at, size, n, maps)))
            while len(waiting) > 2 * self.threads:
                self._take(waiting, parts)
        while waiting:
            self._take(waiting, parts)
        self._finish_count(k, parts)

    def _take(self, waiting: list[Any], parts: list[list[Any]]) -> None:
        n, size, future = waiting.pop(0)
        place, counts, peaks = future.result()
        part = parts[n]
        counts.hits[:, 0] = place[counts.hits[:, 0]]
        counts.both[:, 0] = place[counts.both[:, 0]]
        counts.areas[:, 0] = place[counts.areas[:, 0]]
        part.append((counts, peaks, place))
        if n == len(parts) - 1:
            self._pause(size)

    def _finish_count(self, k: int, parts: list[list[Any]]) -> None:
        arrays: dict[str, Any] = {}
        for n, part in enumerate(parts):
            every: list[Counts] = [counts for counts, _, _ in part]
            arrays[f"hits_{n}"] = np.concatenate([c.hits for c in every])
            arrays[f"peaks_{n}"] = np.concatenate([peaks for _, peaks, _ in part])
            arrays[f"both_{n}"] = np.concatenate([c.both for c in every])
            found = np.concatenate([c.pixels for c in every])
            small = self.plan.grid[0] * self.plan.grid[1] <= 1 << 16
            arrays[f"pixels_{n}"] = found.astype(np.uint16) if small else found
            if n == 0:
                arrays["areas"] = np.concatenate([c.areas for c in every])
                arrays["annotated"] = np.concatenate([c.annotated for c in every])
                arrays["place"] = np.concatenate([place for _, _, place in part])
        self.work.finish("count", k, **arrays)

    # -- chance ---------------------------------------------------------------------------

    def _strata(self) -> list[tuple[str, np.ndarray]]:
        """(split, usable images of it), by name: masks are exchanged within each."""
        splits = np.array([self.plan.dataset.split[i] for i in self.plan.indices], dtype=object)
        valid = self._valid()
        return [(str(s), np.flatnonzero(valid & (splits == s))) for s in np.unique(splits[valid])]

    def _exchanged(self, number: int, strata: list[tuple[str, np.ndarray]]) -> np.ndarray:
        """Round `number`: whose labels stand in for each image's own, a permutation within its
        split, so that the sums over any splits are a round of exchange within those."""
        rng = np.random.default_rng([self.plan.settings.seed, 0x5EED, number])
        others = np.arange(len(self.plan.indices))
        for _, images in strata:
            others[images] = rng.permutation(images)
        return others

    def _totals(
        self, strata: list[tuple[str, np.ndarray]]
    ) -> tuple[list[np.ndarray], np.ndarray, list[np.ndarray]]:
        """(Σ|A_t| (splits, units) of each layer, Σ|L_c| (splits, concepts + 1), concepts that
        hold for the whole of each image)."""
        n, every = len(self.plan.indices), self.concepts + 1 + len(self.plan.dataset.scenes)
        stratum = np.zeros(n, np.int64)
        for s, (_, images) in enumerate(strata):
            stratum[images] = s
        hits = [np.zeros((len(strata), layer.units), np.int64) for layer in self.layers]
        areas = np.zeros((len(strata), every), np.int64)
        for k in range(len(self.work.shards)):
            names = [f"hits_{m}" for m in range(len(self.layers))]
            stored = self.work.results("count", k, "areas", *names)
            rows = stored["areas"].astype(np.int64)
            np.add.at(areas, (stratum[rows[:, 0]], rows[:, 1]), rows[:, 2])
            for m, name in enumerate(names):
                rows = stored[name].astype(np.int64)
                np.add.at(hits[m], (stratum[rows[:, 0]], rows[:, 1]), rows[:, 2])
        whole = self._whole()
        np.add.at(areas, (stratum[whole[:, 0]], whole[:, 1]), self.plan.grid[0] * self.plan.grid[1])
        at = np.searchsorted(whole[:, 0], np.arange(n + 1))
        return hits, areas, [whole[a:b, 1] for a, b in pairwise(at)]

    def _groups(self) -> tuple[list[str], np.ndarray, np.ndarray]:
        """(categories of concepts by name, which of them each concept is of, and which of the
        pixel categories, −1 for a concept that holds for whole images), by concept number."""
        data = self.plan.dataset
        kinds = ["", *(row[2] for row in data.concepts), *("scene" for _ in data.scenes)]
        groups = sorted(set(kinds[1:]))
        where = {name: g for g, name in enumerate(self.plan.categories)}
        category = np.array([where.get(kind, -1) for kind in kinds])
        category[np.unique(self._whole()[:, 1])] = -1
        return groups, np.array([0, *(groups.index(kind) for kind in kinds[1:])]), category

    def chance(self) -> None:
        """The best IoUs of all units after exchanges of masks; every few rounds are one task."""
        rounds, strata = self.plan.settings.shuffles, self._strata()
        groups, group, category = self._groups()
        if not rounds or not groups:
            return
        hits, areas, whole = self._totals(strata)
        sets = [
            [s for s, (name, _) in enumerate(strata) if name in chosen]
            for chosen in split_sets([name for name, _ in strata])
        ]
        width = areas.shape[1] + len(self.plan.categories)
        units = sum(layer.units for layer in self.layers)
        at_once = int(np.clip(ROUNDS_MEMORY // (4 * len(strata) * units * width), 1, 25))
        tasks = [range(a, min(a + at_once, rounds)) for a in range(0, rounds, at_once)]
        todo = [k for k in range(len(tasks)) if not self.work.mark("chance", k).exists()]
        usable = sum(len(images) for _, images in strata)
        self.meter.start(
            "chance",
            usable * rounds,
            usable * (rounds - sum(len(tasks[k]) for k in todo)),
            "exchanged masks",
        )
        n, size = self.labels.shape[0], 2 * int(np.prod(self.labels.shape))
        every = self._labels_of(np.arange(n)) if todo and size <= LABELS_MEMORY else None
        halt = threading.Event()
        done: SimpleQueue[int] = SimpleQueue()

        def one(k: int) -> None:
            others = np.stack([self._exchanged(r, strata) for r in tasks[k]])
            best = [
                np.zeros((len(sets), 2, len(groups), layer.units, len(others)), np.float32)
                for layer in self.layers
            ]
            sums = [
                (
                    np.zeros((len(strata), len(others), layer.units, areas.shape[1]), np.int32),
                    np.zeros(
                        (len(strata), len(others), layer.units, len(self.plan.categories)), np.int32
                    ),
                )
                for layer in self.layers
            ]
            stratum = {int(i): s for s, (_, images) in enumerate(strata) for i in images}
            for image, rows in self._active_rows():
                if halt.is_set():
                    return
                labels, at = every, others[:, image]
                if labels is None:
                    labels, at = self._labels_of(at), np.arange(len(at))
                those = [whole[other] for other in others[:, image]]
                for (own, pixels), (both, inside) in zip(rows, sums, strict=True):
                    s = stratum[image]
                    exchange(own, pixels, labels, at, self.category_of, those, both[s], inside[s])
                done.put(len(others))
            for m, (both, inside) in enumerate(sums):
                for j, chosen in enumerate(sets):
                    for r in range(len(others)):
                        best[m][j, ..., r] = best_ious(
                            both[chosen, r].sum(0, dtype=np.int64),
                            inside[chosen, r].sum(0, dtype=np.int64),
                            hits[m][chosen].sum(0),
                            areas[chosen].sum(0),
                            category,
                            group,
                            len(groups),
                        )
            self.work.finish("chance", k, **{f"best_{m}": one for m, one in enumerate(best)})

        with ThreadPoolExecutor(self.threads, thread_name_prefix="chance") as pool:
            try:
                pending = {pool.submit(one, k) for k in todo}
                while pending:
                    finished, pending = wait(pending, 0.3, FIRST_COMPLETED)
                    for future in finished:
                        future.result()
                    self._pause(sum(done.get() for _ in range(done.qsize())))
            finally:
                halt.set()

    def _active_rows(self) -> Iterator[tuple[int, list[tuple[np.ndarray, np.ndarray]]]]:
        """Every usable image with (rows of hits, their active pixels) of each layer."""
        for k in range(len(self.work.shards)):
            names = [f"{name}_{m}" for m in range(len(self.layers)) for name in ("hits", "pixels")]
            stored = self.work.results("count", k, "place", *names)
            layers = []
            for m in range(len(self.layers)):
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

    def _labels_of(self, images: np.ndarray) -> np.ndarray:
        """uint16 (images, channels, pixels): label maps of the images."""
        maps = np.empty((len(images), *self.labels.shape[1:]), np.uint16)
        for k, image in enumerate(images):
            maps[k] = self.labels.read(int(image), 1)[0]
        check_ids(maps, self.concepts)
        return maps.reshape(len(images), self.channels, self.plan.grid[0] * self.plan.grid[1])

    def _whole(self) -> np.ndarray:
        """int32 (rows, 2): image and concept that holds for the whole of it, in their order."""
        if self._whole_kept is None:
            data = self.plan.dataset
            rows = np.concatenate(
                [
                    self.work.results("collect", k, "whole")["whole"]
                    for k in range(len(self.work.shards))
                ]
            )
            # Those the reader says, and the image's scene.
            valid, scene = self._valid(), np.asarray(data.scene)[self.plan.indices]
            own = np.flatnonzero(valid & (scene >= 0))
            scenes = np.stack([own, self.concepts + 1 + scene[own]], 1)
            both = np.concatenate([rows[valid[rows[:, 0]]], scenes]).astype(np.int32)
            self._whole_kept = both[np.lexsort((both[:, 1], both[:, 0]))]
        return self._whole_kept

    # -- publish --------------------------------------------------------------------------

    def publish(self, times: dict[str, float]) -> None:
        """All tables into ``run.duckdb``, shard by shard; photos into one file."""
        began = time.monotonic()
        plan, work = self.plan, self.work
        target = work.folder / "run.duckdb"
        for stale in (target, target.with_suffix(".duckdb.wal")):
            stale.unlink(missing_ok=True)
        con = duckdb.connect(str(target))
        try:
            # Rows arrive in order and leave memory shard by shard.
            con.execute("SET memory_limit = '512MB'; SET threads = 2")
            create_tables(con, plan.categories)
            images = self._publish_images(con)
            self._publish_counts(con)
            self._publish_sums(con)
            self._publish_meta(con, images, times, began)
            con.execute("CHECKPOINT")
        finally:
            con.close()

    def _publish_images(self, con: duckdb.DuckDBPyConnection) -> pd.DataFrame:
        plan, work, data = self.plan, self.work, self.plan.dataset
        kept = ("valid", "photo_bytes", "problems")
        every = [work.results("collect", k, *kept) for k in range(len(work.shards))]
        valid = np.concatenate([r["valid"] for r in every])
        n = len(valid)
        photos = work.arrays_folder / "photos.bin"
        with photos.open("wb") as out:
            for k in range(len(work.shards)):
                with (work.folder / f"photos-{k:05d}.bin").open("rb") as part:
                    shutil.copyfileobj(part, out)
        sizes = np.concatenate([r["photo_bytes"] for r in every])
        predicted, confidence = np.zeros(n, np.int32), np.zeros(n, np.float32)
        if self.logits is not None:
            for a, b in work.shards:
                logits = self.logits.read(a, b - a).astype(np.float64)
                predicted[a:b] = logits.argmax(1)
                shifted = np.exp(logits - logits.max(1, keepdims=True))
                confidence[a:b] = 1.0 / shifted.sum(1)
        place = class_of(plan.matches)
        scene = np.asarray(data.scene)[plan.indices]
        wanted = np.where(scene >= 0, place[scene] if len(place) else -1, -1)
        # An image whose scene the network does not know is neither right nor wrong.
        correct = pd.array(predicted == wanted, dtype="boolean")
        correct[wanted < 0] = pd.NA
        frame = pd.DataFrame(
            {
                "image": np.arange(n, dtype=np.int32),
                "id": [data.ids[i] for i in plan.indices],
                "split": [data.split[i] for i in plan.indices],
                "scene": pd.array(scene, dtype="Int32"),
                "predicted": predicted,
                "confidence": confidence,
                "correct": correct,
                "photo_at": np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
                "photo_bytes": sizes.astype(np.int32),
            }
        )
        frame.loc[scene < 0, "scene"] = pd.NA
        if self.logits is None:
            frame[["predicted", "confidence"]] = None
        append(con, "images", frame[valid])
        problems = np.concatenate([r["problems"] for r in every])
        problems = np.concatenate(
            [np.array([list(p) for p in data.problems], dtype=str).reshape(-1, 3), problems]
        )
        append(con, "skipped", pd.DataFrame(problems, columns=["id", "file", "reason"]))
        names = [f"class {k}" for k in range(plan.outputs)]
        if names and plan.model.classes:
            names = plan.model.classes
        append(con, "classes", pd.DataFrame({"class": np.arange(len(names)), "name": names}))
        append(
            con,
            "scenes",
            pd.DataFrame(
                {
                    "scene": np.arange(len(data.scenes)),
                    "name": data.scenes,
                    "class": pd.array([k if k >= 0 else None for k in place], dtype="Int32"),
                }
            ),
        )
        return frame[valid]

    def _publish_counts(self, con: duckdb.DuckDBPyConnection) -> None:
        plan, work = self.plan, self.work
        pixels = plan.grid[0] * plan.grid[1]
        columns = [f"hits_{c}" for c in plan.categories]
        layers = pd.DataFrame([layer._asdict() for layer in plan.layers])
        layers.insert(0, "layer", np.arange(len(layers)))
        append(con, "layers", layers[["layer", "name", "units", "height", "width"]])
        # Layer by layer, so that the order of rows does not depend on the shards.
        for n in range(len(plan.layers)):
            for k in range(len(work.shards)):
                stored = work.results("count", k, f"hits_{n}", f"peaks_{n}", f"both_{n}")
                hits = stored[f"hits_{n}"]
                frame = pd.DataFrame(hits[:, :3], columns=["image", "unit", "hits"])
                frame.insert(0, "layer", n)
                frame["peak"] = stored[f"peaks_{n}"]
                for g, name in enumerate(columns):
                    frame[name] = hits[:, 3 + g]
                append(con, "hits", frame)
                frame = pd.DataFrame(
                    stored[f"both_{n}"], columns=["image", "unit", "concept", "overlap"]
                )
                frame.insert(0, "layer", n)
                append(con, "counts", frame)
        for k, (a, b) in enumerate(work.shards):
            stored = work.results("count", k, "areas", "annotated", "place")
            whole = self._whole()
            here = whole[(whole[:, 0] >= a) & (whole[:, 0] < b)]
            areas = np.concatenate(
                [stored["areas"], np.column_stack([here, np.full(len(here), pixels)])]
            ).astype(np.int32)
            areas = areas[np.lexsort((areas[:, 1], areas[:, 0]))]
            append(con, "areas", pd.DataFrame(areas, columns=["image", "concept", "area"]))
            if plan.categories:
                annotated = stored["annotated"]
                append(
                    con,
                    "annotated",
                    pd.DataFrame(
                        {
                            "image": np.repeat(stored["place"], len(plan.categories)),
                            "category": plan.categories * len(annotated),
                            "area": annotated.ravel(),
                        }
                    ),
                )

    def _publish_sums(self, con: duckdb.DuckDBPyConnection) -> None:
        plan, data = self.plan, self.plan.dataset
        table = pd.DataFrame(data.concepts, columns=["concept", "name", "category"])
        scenes = pd.DataFrame(
            {
                "concept": self.concepts + 1 + np.arange(len(data.scenes)),
                "name": data.scenes,
                "category": "scene",
            }
        )
        table = pd.concat([table, scenes], ignore_index=True)
        table["whole"] = table["concept"].isin(np.unique(self._whole()[:, 1]))
        sums = con.execute(
            "SELECT concept, count(*) AS images, sum(area)::BIGINT AS area "
            "FROM areas GROUP BY concept"
        ).df()
        table = table.merge(sums, on="concept", how="left").fillna({"images": 0, "area": 0})
        table = table.astype({"images": np.int32, "area": np.int64})
        append(con, "concepts", table)
        sums_of = ", ".join(
            ["count(*) AS images", "sum(hits)::BIGINT AS hits"]
            + [f"sum(hits_{c})::BIGINT AS hits_{c}" for c in plan.categories]
        )
        for n, layer in enumerate(plan.layers):
            frame = pd.DataFrame(
                {"layer": n, "unit": np.arange(layer.units), "threshold": self.thresholds[n]}
            )
            seen = con.execute(
                f"SELECT unit, {sums_of} FROM hits WHERE layer = ? GROUP BY unit", [n]
            ).df()
            frame = frame.merge(seen, on="unit", how="left").fillna(0)
            numbers = ["images", "hits", *[f"hits_{c}" for c in plan.categories]]
            append(con, "units", frame.astype({c: np.int64 for c in numbers}))
        con.execute("""
            INSERT INTO unit_concept
            SELECT layer, unit, concept, sum(overlap)::BIGINT AS overlap FROM (
                SELECT layer, unit, concept, overlap FROM counts
                UNION ALL
                SELECT h.layer, h.unit, a.concept, h.hits
                FROM hits h JOIN areas a USING (image) JOIN concepts c USING (concept) WHERE c.whole
            ) GROUP BY layer, unit, concept ORDER BY layer, unit, concept
            """)
        self._publish_chance(con)

    def _publish_chance(self, con: duckdb.DuckDBPyConnection) -> None:
        sets = split_sets([name for name, _ in self._strata()])
        groups, _, _ = self._groups()
        if not self.plan.settings.shuffles or not groups:
            return
        tasks = sorted(self.work.folder.glob("chance-*.npz"))
        own = len(self.plan.layers)
        for m in range(len(self.layers)):
            best = np.concatenate(
                [
                    self.work.results("chance", k, f"best_{m}")[f"best_{m}"]
                    for k in range(len(tasks))
                ],
                -1,
            )
            if m >= own:
                self._publish_twin(con, m, best[-1].max(1))
                continue
            for chosen, part in zip(sets, best, strict=True):
                rows = chance_rows(part, chosen, groups)
                append(con, "chance", rows.add_column(0, "layer", [[m] * len(rows)]))

    def _publish_twin(self, con: duckdb.DuckDBPyConnection, m: int, null: np.ndarray) -> None:
        """The best label of each unit of the twin, with its p-value.

        null : (denominators, units, rounds), the best IoUs after exchange.
        """
        layer, categories = self.layers[m], self.plan.categories
        (hits, areas, whole), (_, _, category) = self._totals(self._strata()), self._groups()
        both = np.zeros((layer.units, areas.shape[1]), np.int64)
        inside = np.zeros((layer.units, len(categories)), np.int64)
        for image, rows in self._active_rows():
            own = rows[m][0]
            np.add.at(inside, own[:, 1], own[:, 3:])
            both[own[:, 1, None], whole[image]] += own[:, 2, None]
        for k in range(len(self.work.shards)):
            found = self.work.results("count", k, f"both_{m}")[f"both_{m}"]
            np.add.at(both, (found[:, 1], found[:, 2]), found[:, 3])
        total = hits[m].sum(0)
        for d, denominator in enumerate(DENOMINATORS):
            iou = iou_table(both, total, inside, areas.sum(0), category, denominator)
            best = iou.argmax(1)
            unit = np.flatnonzero(total)
            top = iou[unit, best[unit]]
            named = pd.array(best[unit], dtype="Int32")
            named[top == 0] = pd.NA
            append(
                con,
                "untrained",
                pd.DataFrame(
                    {
                        "layer": m - len(self.plan.layers),
                        "denominator": denominator,
                        "unit": unit,
                        "concept": named,
                        "iou": top,
                        "hits": total[unit],
                        "threshold": self.thresholds[m][unit],
                        "chance": permutation_p(null[d], unit, top),
                    }
                ),
            )

    def _publish_meta(
        self,
        con: duckdb.DuckDBPyConnection,
        images: pd.DataFrame,
        times: dict[str, float],
        began: float,
    ) -> None:
        plan, data = self.plan, self.plan.dataset
        scored = images["correct"].dropna().astype(bool)
        by_split = {
            str(split): {"images": len(part), "right": int(part.sum())}
            for split, part in scored.groupby(images["split"])
        }
        counted = images_of(images["scene"].fillna(-1).astype(int), data.scenes)
        meta = {
            "schema": SCHEMA,
            "settings": plan.facts,
            "request": asdict(plan.settings),
            "dataset_name": data.name,
            "model_notes": {
                k: v for k, v in plan.model.notes.items() if isinstance(v, (str, int, float, bool))
            },
            "no_answers": "" if plan.outputs else plan.model.backbone,
            "categories": plan.categories,
            "channels": [list(channel) for channel in data.channels],
            "images": {"planned": len(plan.indices), "used": len(images)},
            "accuracy": {
                "scored": len(scored),
                "right": int(scored.sum()),
                "by_split": by_split,
                "unmatched_scenes": [m.scene for m in plan.matches if m.where < 0 and plan.outputs],
                "scenes": summary(plan.matches, counted),
                "scene_kinds": {m.scene: m.kind for m in plan.matches},
            },
            "untrained": {"made": plan.twin is not None, "why": plan.twin_why},
            "by_batch": plan.by_batch,
            "tables_digest": tables_digest(con),
            "versions": {
                "python": platform.python_version(),
                "torch": torch.__version__,
                "numpy": np.__version__,
                "duckdb": duckdb.__version__,
            },
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": {**times, "publish": round(time.monotonic() - began, 3)},
        }
        rows = [(key, json.dumps(value, ensure_ascii=False)) for key, value in meta.items()]
        append(con, "meta", pd.DataFrame(rows, columns=["key", "value"]))
