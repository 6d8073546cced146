"""How fast a dissection is, measured side by side in one run.

    python -m benchmarks.dissect [--dataset SPEC] [--model SPEC] [--images N] [--memory]

Prints and returns ratios, not verdicts:

* ``whole / forward``: the whole dissection (forward pass with hooks, thresholds, kept maps,
  counts, null distribution, run file) against the bare forward pass, both on the same images,
  decoded beforehand;
* ``plain / counting``: a plain implementation that upsamples every map and looks at every
  pixel, against the counting kernel without the null distribution, at equal results;
* with ``--memory``: peak resident memory of a whole run on 1,449 and on 20,000 images (the
  same photos over again), each in a process of its own.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.datasets.base import SceneDataset
from core.datasets.loader import decode_ahead
from core.dissect import passes
from core.dissect import plan as planning
from core.dissect.counts import count_images
from core.dissect.pipeline import execute
from core.dissect.plan import BATCH, plan
from core.foundation.settings import Settings
from core.models.forward import Forward

DATA = Path(os.environ.get("UNITSCOPE_DATA", Path(__file__).resolve().parents[2] / "shared/data"))


def defaults() -> tuple[str, str]:
    """NYUv2 and its ResNet-18 where they are, the embedded default elsewhere."""
    folder = DATA / "nyuv2"
    if folder.is_dir():
        return f"nyuv2:{folder}", f"torchvision:resnet18:{folder / 'resnet18_nyuv2.pt'}"
    return "rooms", "rooms"


def plain_counts(
    maps: np.ndarray, thresholds: np.ndarray, labels: np.ndarray, concepts: int
) -> tuple[np.ndarray, np.ndarray]:
    """Upsample every map of every unit, look at every pixel: (hits rows, both rows)."""
    hits, both = [], []
    height, width = labels.shape[2:]
    for i, planes in enumerate(labels):
        up = torch.nn.functional.interpolate(
            torch.from_numpy(maps[i]).double()[None], (height, width), mode="bilinear"
        )[0].numpy()
        for t in range(len(up)):
            mask = up[t] > thresholds[t]
            n = int(mask.sum())
            if n == 0:
                continue
            hits.append((i, t, n))
            found = np.zeros(concepts + 1, np.int64)
            for plane in planes:
                found += np.bincount(plane[mask], minlength=concepts + 1)
            both += [(i, t, c, found[c]) for c in np.flatnonzero(found) if c]
    return np.array(hits), np.array(both)


def measure(
    dataset: str | None = None, model: str | None = None, images: int = 512, rounds: int = 5
) -> tuple[dict[str, Any], str]:
    """The first two comparisons; medians over `rounds`. Returns facts and a text."""
    default_dataset, default_model = defaults()
    settings = Settings(dataset or default_dataset, model or default_model)
    work = plan(settings)
    work = replace(work, indices=work.indices[: max(BATCH, images // BATCH * BATCH)])
    n = len(work.indices)
    way, grid = work.model.preprocessing, work.grid
    decoded = list(decode_ahead(work.dataset, work.indices, way, grid))
    usable = [item for item in decoded if item.seen is not None]
    again = {item.image: item for item in usable}
    work = replace(work, indices=np.array(list(again))[: len(again) // BATCH * BATCH])
    n = len(work.indices)

    def ready(_dataset: Any, indices: Any, *_: Any, **__: Any) -> Any:
        return (again[int(index)] for index in indices)

    forward = Forward(work.model, [])
    batches = [
        np.stack([np.asarray(again[int(i)].seen) for i in work.indices[at : at + BATCH]])
        for at in range(0, n, BATCH)
    ]
    bare_s, whole_s = [], []
    forward(batches[0])
    real = passes.decode_ahead
    passes.decode_ahead = ready  # type: ignore[assignment]
    try:
        with tempfile.TemporaryDirectory() as folder:
            execute(work, Path(folder), fresh=True).close()  # compiles the kernels
            for _ in range(rounds):
                began = time.perf_counter()
                for batch in batches:
                    forward(batch)
                bare_s.append(time.perf_counter() - began)
                began = time.perf_counter()
                run = execute(work, Path(folder), fresh=True)
                whole_s.append(time.perf_counter() - began)
                stages = run.info["seconds"]
                maps = np.asarray(run.array(f"maps-{work.layers[0].name}")[:64], np.float32)
                labels = np.asarray(run.array("labels")[:64])
                thresholds = run.sql("SELECT threshold FROM units WHERE layer = 0 ORDER BY unit")[
                    "threshold"
                ].to_numpy()
                run.close()
    finally:
        passes.decode_ahead = real
    categories = work.categories
    category_of = np.array([categories.index(c.category) for c in work.dataset.channels])
    concepts = len(work.dataset.concepts)
    fast_s, plain_s = [], []
    for _ in range(rounds):
        began = time.perf_counter()
        counts = count_images(maps, thresholds, labels, category_of, len(categories), concepts)
        fast_s.append(time.perf_counter() - began)
        began = time.perf_counter()
        hits, both = plain_counts(maps, thresholds, labels, concepts)
        plain_s.append(time.perf_counter() - began)
    equal = np.array_equal(hits, counts.hits[:, :3]) and np.array_equal(both, counts.both)
    ratios = [w / b for w, b in zip(whole_s, bare_s, strict=True)]
    faster = [p / f for p, f in zip(plain_s, fast_s, strict=True)]
    facts = {
        "dataset": settings.dataset,
        "model": settings.model,
        "layer": work.layers[0].name,
        "images": n,
        "input": list(way.input_size()),
        "threads": torch.get_num_threads(),
        "forward_images_per_second": round(n / float(np.median(bare_s)), 1),
        "whole_images_per_second": round(n / float(np.median(whole_s)), 1),
        "whole_over_forward": round(float(np.median(ratios)), 3),
        "whole_over_forward_range": [round(min(ratios), 3), round(max(ratios), 3)],
        "stage_seconds": stages,
        "counting_ms_per_image": round(1e3 * float(np.median(fast_s)) / len(maps), 3),
        "plain_over_counting": round(float(np.median(faster)), 1),
        "equal_results": bool(equal),
    }
    text = (
        f"{n} images of {settings.dataset}, {work.layers[0].name}, input {way.input_size()}\n"
        f"forward alone {facts['forward_images_per_second']} images/s, whole dissection "
        f"{facts['whole_images_per_second']} images/s: ratio {facts['whole_over_forward']} "
        f"(from {min(ratios):.3f} to {max(ratios):.3f})\n"
        f"counting {facts['counting_ms_per_image']} ms an image on one core; plain upsample-all "
        f"takes {facts['plain_over_counting']} times as long; equal results: {equal}"
    )
    return facts, text


class Repeated(SceneDataset):
    """The images of a dataset over and over, under new ids, until there are `count`."""

    def __init__(self, inner: SceneDataset, count: int):
        n = len(inner)
        place = np.arange(count) % n
        super().__init__(
            inner.name,
            inner.spec,
            [f"{inner.ids[p]}#{k // n}" for k, p in enumerate(place)],
            np.asarray(inner.scene)[place],
            [inner.split[p] for p in place],
            inner.scenes,
            inner.concepts,
            inner.channels,
        )
        self.inner = inner

    def photo(self, index: int) -> Any:
        """The photo of the repeated image."""
        return self.inner.photo(index % len(self.inner))

    def annotations(self, index: int) -> Any:
        """The annotations of the repeated image."""
        return self.inner.annotations(index % len(self.inner))

    def content_digest(self) -> str:
        """The inner digest and the count."""
        return f"{self.inner.content_digest()}x{len(self)}"


def one_run(count: int, dataset: str, model: str) -> dict[str, Any]:
    """A whole run on `count` images from their files; its time and this process's peak memory."""
    opened = planning.open_dataset
    planning.open_dataset = lambda spec: Repeated(opened(spec), count)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        run = execute(plan(Settings(dataset, model)), Path(folder))
        seconds = run.info["seconds"]
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
        run.close()
    return {
        "images": count,
        "seconds": round(time.perf_counter() - began, 1),
        "stages": seconds,
        "disk_mb": round(size / 1e6),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
    }


def memory(dataset: str, model: str, counts: tuple[int, ...] = (1449, 20_000)) -> list[Any]:
    """:func:`one_run` for each count, in a process of its own."""
    rows = []
    for count in counts:
        done = subprocess.run(
            [
                sys.executable,
                "-m",
                "benchmarks.dissect",
                "--one",
                str(count),
                "--dataset",
                dataset,
                "--model",
                model,
            ],
            capture_output=True,
            text=True,
            check=True,
        )
        rows.append(json.loads(done.stdout.splitlines()[-1]))
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default=defaults()[0])
    parser.add_argument("--model", default=defaults()[1])
    parser.add_argument("--images", type=int, default=512)
    parser.add_argument("--memory", action="store_true")
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_run(given.one, given.dataset, given.model)))
    elif given.memory:
        memory(given.dataset, given.model)
    else:
        print(measure(given.dataset, given.model, given.images)[1])
