"""How far each part is from the limit of this machine: one table.

    python -m core bench [--dataset SPEC] [--model SPEC] [--images N]

Every part is timed beside a *floor*: the least that any program must do for the same answer on the
same data (the same files decoded, the same forward pass, every value read once), in the same
process, in alternating rounds. Shown are the quickest of each and their ratio: other work on the
machine only ever adds. Nothing here judges.

``from photos to the run`` has as its floor the processor time of decoding and of the forward pass
over the cores of the machine: on processors both want the same cores, so they cannot overlap.
"""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numba
import numpy as np
import torch
from scipy import sparse

from benchmarks.app import first_page
from benchmarks.core_concepts import DATA, drawn, scenes_of_images
from benchmarks.dissect import defaults
from benchmarks.formulas import draw, drawn_signatures
from benchmarks.toggle import drawn_toggler
from core.ablation.edits import Edit
from core.attribution import effects
from core.attribution.case import Opened
from core.datasets.loader import decode_ahead
from core.dissect.counts import count_images
from core.dissect.formula_search import Search, search_units
from core.dissect.pipeline import execute
from core.dissect.plan import BATCH, Plan, plan
from core.dissect.thresholds import TopK, tail_size
from core.foundation.settings import Settings
from core.knowledge.core_concepts import scoping_core_concepts
from core.knowledge.graph import Edge
from core.knowledge.kinds import open_knowledge
from core.models.forward import Forward
from core.runs.run_file import Run

CORES = os.cpu_count() or 1


@dataclass(frozen=True)
class Row:
    """One part: how much of what it did, our seconds, what the floor is, its seconds."""

    part: str
    size: str
    ours: float
    floor_of: str
    floor: float

    @property
    def ratio(self) -> float:
        """Ours over the floor."""
        return self.ours / self.floor if self.floor else float("nan")


def beside(
    part: str,
    size: str,
    ours: Callable[[], Any],
    floor_of: str,
    floor: Callable[[], Any],
    rounds: int = 5,
) -> Row:
    """Both in turn, the quickest of `rounds` each; a first turn of both is not counted."""
    best = [float("inf"), float("inf")]
    for turn in range(rounds + 1):
        for k, work in enumerate((ours, floor)):
            gc.collect()
            began = time.perf_counter()
            work()
            if turn:
                best[k] = min(best[k], time.perf_counter() - began)
    return Row(part, size, best[0], floor_of, best[1])


# -- a dissection ---------------------------------------------------------------------------


def dissection(dataset: str, model: str, images: int) -> list[Row]:
    """Decoding, the forward pass, counting, thresholds, and all of it from the photos on."""
    work = plan(Settings(dataset, model, shuffles=0, untrained=False))
    work = replace(work, indices=work.indices[: max(BATCH, images // BATCH * BATCH)])
    n = len(work.indices)
    way, files = work.model.preprocessing, work.dataset
    name = work.layers[0].name

    def decoded() -> list[Any]:
        return list(decode_ahead(files, work.indices, way, work.grid, CORES))

    def decoded_alone() -> None:
        def one(index: int) -> None:
            way.view(files.photo(index)).load()
            files.annotations(index)

        with ThreadPoolExecutor(CORES) as pool:
            list(pool.map(one, map(int, work.indices)))

    rows = [
        beside(
            "decoding",
            f"{n} photos, {dataset}",
            decoded,
            "files decoded, photo to the input's size",
            decoded_alone,
            3,
        )
    ]
    usable = [item for item in decoded() if item.seen is not None]
    batches = [
        np.stack([np.asarray(item.seen) for item in usable[at : at + BATCH]])
        for at in range(0, len(usable) - BATCH + 1, BATCH)
    ]
    hooked, bare = Forward(work.model, [name]), Forward(work.model, [])

    def alone() -> None:
        with torch.inference_mode():
            for batch in batches:
                bare.module(bare.inputs(batch))

    rows.append(
        beside(
            "forward pass, maps kept",
            f"{len(batches) * BATCH} photos, {name}",
            lambda: [hooked(batch) for batch in batches],
            "the network alone",
            alone,
            3,
        )
    )
    rows.append(_whole(work, decoded, alone, n))
    maps = np.concatenate([hooked(b).layers[name].maps.cpu().numpy() for b in batches])
    labels = np.stack([item.labels for item in usable[: len(maps)]])
    k = tail_size(work.settings.q, maps.shape[0] * maps[0, 0].size)
    rows.append(_thresholds(maps, k))
    tops = TopK(maps.shape[1], k)
    tops.update(maps)
    rows.append(_counting(work, maps, labels, tops.threshold(k)))
    return rows


def _whole(work: Plan, decoded: Callable[[], Any], alone: Callable[[], Any], n: int) -> Row:
    best, floor = float("inf"), float("inf")
    with tempfile.TemporaryDirectory() as folder:
        for turn in range(3):
            began = time.perf_counter()
            execute(replace(work), Path(folder), fresh=True).close()
            if turn:
                best = min(best, time.perf_counter() - began)
            spent = time.process_time()
            decoded()
            alone()
            floor = min(floor, (time.process_time() - spent) / CORES)
    of = f"processor time of decoding and forward pass / {CORES} cores"
    return Row("from photos to the run", f"{n} photos", best, of, floor)


@numba.njit(cache=True, nogil=True)
def _greatest(values):
    out = np.empty(len(values), np.float32)
    for t in range(len(values)):
        best = values[t, 0]
        for value in values[t]:
            if value > best:
                best = value
        out[t] = best
    return out


@numba.njit(cache=True, nogil=True)
def _read(labels, maps, thresholds):
    total = 0
    for value in labels.ravel():
        total += value
    for t in range(maps.shape[0]):
        for value in maps[t].ravel():
            if value > thresholds[t]:
                total += 1
    return total


def _thresholds(maps: np.ndarray, k: int) -> Row:
    def ours() -> None:
        tops = TopK(maps.shape[1], k)
        tops.update(maps)
        tops.threshold(k)

    def floor() -> None:
        values = torch.from_numpy(maps).float().numpy()
        for image in values.reshape(*maps.shape[:2], -1):
            _greatest(image)

    return beside(
        "thresholds (top k)",
        f"{maps.size / 1e6:.0f} million activations",
        ours,
        "every activation read and compared once",
        floor,
    )


def _counting(work: Plan, maps: np.ndarray, labels: np.ndarray, thresholds: np.ndarray) -> Row:
    categories = work.categories
    category_of = np.array([categories.index(c.category) for c in work.dataset.channels])
    concepts = len(work.dataset.concepts)
    full = np.asarray(maps, np.float32)

    def floor() -> None:
        for one, plane in zip(full, labels, strict=True):
            _read(plane, one, thresholds)

    return beside(
        "counting overlaps",
        f"{len(maps)} photos × {maps.shape[1]} units",
        lambda: count_images(full, thresholds, labels, category_of, len(categories), concepts),
        "every label and activation read once",
        floor,
    )


# -- what is asked of a run -----------------------------------------------------------------


def formulas(images: int = 2000, units: int = 16) -> Row:
    """The beam search at a part of ADE20K's size."""
    with tempfile.TemporaryDirectory() as name:
        draw(Path(name), images)
        found = drawn_signatures(Path(name))
    asked = range(0, found.units, max(1, found.units // units))
    return beside(
        "formulas of length 3",
        f"{len(asked)} units, {images:,} photos, 1,105 concepts",
        lambda: list(search_units(found, Search(), asked, CORES)),
        "every concept alone (length 1)",
        lambda: list(search_units(found, Search(length=1), asked, CORES)),
        3,
    )


def toggling() -> Row:
    """Twenty units switched off in closed form, at ADE20K's size."""
    toggler = drawn_toggler(22_210, 512, 365)
    logits = toggler.logits()
    off = Edit(tuple(range(0, 400, 20)))
    return beside(
        "disabling 20 units",
        "22,210 photos × 365 classes",
        lambda: toggler.predict(off),
        "every logit read once",
        lambda: torch.from_numpy(logits).amax(1),
    )


def core_concepts() -> list[Row]:
    """SCC of every scene of ADE20K, and ConceptNet read from its file."""
    if not (DATA / "ade20k").is_dir():
        return []
    names, scene_of = scenes_of_images()
    annotated = drawn(names, scene_of)
    rng = np.random.default_rng(1)
    fact = [Edge("AtLocation", "concept", "scene", 1.0)]
    related = [dict.fromkeys(sorted(rng.choice(1105, 40, replace=False)), fact) for _ in names]
    every = np.arange(len(scene_of))
    belongs = sparse.csr_array((np.ones(len(every), np.float32), (scene_of, every)))
    has = annotated.has.astype(np.float32)

    def scc() -> None:
        annotated.__dict__.pop("frequency", None)
        scoping_core_concepts(annotated, related)

    rows = [
        beside(
            "SCC of all scenes",
            f"{len(names)} scenes, 22,210 photos",
            scc,
            "photos of each scene that show each concept, counted",
            lambda: belongs @ has,
            3,
        )
    ]
    folder = DATA / "conceptnet" / "CN-100K"
    texts = sorted(folder.glob("*.txt"))

    def lines() -> int:
        split = (line.split("\t") for f in texts for line in f.read_text("utf-8").splitlines())
        return sum(len(one) for one in split)

    def fresh() -> None:
        with tempfile.TemporaryDirectory() as cache:
            open_knowledge(f"triples:{folder}", Path(cache))

    rows.append(
        beside("ConceptNet", "102,400 triples", fresh, "the files' lines split at tabs", lines, 3)
    )
    return rows


def measured_effects(dataset: str, model: str, images: int = 64) -> Row:
    """Each concept of a photo taken away, with regions elsewhere."""
    work = plan(Settings(dataset, model, shuffles=0, untrained=False))
    work = replace(work, indices=work.indices[:images])
    with tempfile.TemporaryDirectory() as folder, closing(execute(work, Path(folder))) as run:
        opened = Opened.of(run)
        case = opened.case(int(opened.recorded.numbers[0]))
        found = effects.measure(case)
        count = sum(found.after.shape[:2]) + int(np.isfinite(found.controls[..., 0]).sum())
        photos = np.repeat(case.photo[None], count, 0)
        return beside(
            "measured effects of a photo",
            f"{found.after.shape[1]} concepts, {count} edited photos",
            lambda: effects.measure(case),
            "the network on as many photos",
            lambda: opened.logits(photos),
        )


# -- start-up -------------------------------------------------------------------------------


def _process(*arguments: str) -> Callable[[], Any]:
    root = Path(__file__).resolve().parents[1]
    return lambda: subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True)


def start_up() -> list[Row]:
    """Python's own start is the floor of all."""
    nothing = "Python that does nothing"
    return [
        beside("import core", "", _process("-c", "import core"), nothing, _process("-c", "")),
        beside("--help", "", _process("-m", "core", "--help"), nothing, _process("-c", "")),
    ]


def app(run: Run) -> Row:
    """The first page of a fresh server, in a browser."""
    ours, floor = first_page(run.path)
    return Row("first page of a fresh server", "Overview", ours, "an empty Streamlit page", floor)


def measure(
    dataset: str | None = None, model: str | None = None, images: int = 256, **_: Any
) -> tuple[dict[str, Any], str]:
    """The whole table. Returns facts and a text."""
    usual = defaults()
    dataset, model = dataset or usual[0], model or usual[1]
    rows: list[Row] = []
    steps: list[Callable[[], Any]] = [
        lambda: dissection(dataset, model, images),
        formulas,
        toggling,
        core_concepts,
        lambda: measured_effects(dataset, model),
        start_up,
        lambda: _app(dataset, model),
    ]
    for step in steps:
        made = step()
        for row in made if isinstance(made, list) else [made]:
            rows.append(row)
            print(_line(row), file=sys.stderr, flush=True)
    facts = {
        "dataset": dataset,
        "model": model,
        "cores": CORES,
        "torch_threads": torch.get_num_threads(),
        "load": os.getloadavg(),
        "rows": [{**row.__dict__, "ratio": round(row.ratio, 3)} for row in rows],
    }
    return facts, "\n".join([_HEAD, *map(_line, rows)])


def _app(dataset: str, model: str) -> list[Row]:
    work = plan(Settings(dataset, model, shuffles=0, untrained=False))
    work = replace(work, indices=work.indices[:64])
    with tempfile.TemporaryDirectory() as folder, closing(execute(work, Path(folder))) as run:
        return [app(run)]


_HEAD = f"{'part':30}{'of':44}{'ours':>10}{'floor':>10}{'ratio':>8}  floor is"


def _line(row: Row) -> str:
    def ms(seconds: float) -> str:
        return f"{1000 * seconds:,.1f} ms" if seconds < 1 else f"{seconds:,.2f} s"

    return (
        f"{row.part:30}{row.size:44}{ms(row.ours):>10}{ms(row.floor):>10}{row.ratio:8.2f}  "
        f"{row.floor_of}"
    )
