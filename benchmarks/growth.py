"""How a run grows with its images: time, memory, file sizes; and units disabled in a large one.

    python -m core bench growth [--images 30000] [--dataset SPEC] [--model SPEC] [--json]
    python -m benchmarks.growth --run FILE                  # of benchmarks.drawn_run, of any size

The first makes whole runs from photos on 1,000, 3,000, 10,000 … images, the dataset's over and
over, each in a process of its own. Told of each: seconds, processor seconds, peak resident memory,
and the bytes of its files beside those that its plan told beforehand. A line a + b·n is fitted to
the processor seconds; what is left of each size stands beside it. Ten rounds of exchanged masks, no
untrained twin: either is linear as well.

The second opens a run file, prepares its first layer, and disables random units: the estimate from
a sample, and the exact answer, in seconds; how often the 95 % interval of the estimate holds the
exact change of accuracy.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np

from core.cli.common import Answer, say

SIZES = (1_000, 3_000, 10_000, 30_000, 100_000)
ROUNDS = 10
"""Of exchanged masks."""
EDITS, OFF = 40, 20
"""Edits tried on a large run, and units of each."""


def one_run(count: int, dataset: str, model: str) -> dict[str, Any]:
    """A whole run on `count` images from their files."""
    from benchmarks.dissect import Repeated
    from core.dissect import plan as planning
    from core.dissect.pipeline import execute
    from core.foundation.settings import Settings

    opened = planning.open_dataset
    planning.open_dataset = lambda spec: Repeated(opened(spec), count)
    began = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix="unitscope-") as folder:
        work = planning.plan(Settings(dataset, model, shuffles=ROUNDS, untrained=False))
        execute(work, Path(folder)).close()
        size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    used = resource.getrusage(resource.RUSAGE_SELF)
    told = {name: size for name, size in work.sizes.items() if name != "while it is made"}
    return {
        "images": count,
        "seconds": round(time.perf_counter() - began, 1),
        "processor": round(used.ru_utime + used.ru_stime, 1),
        "peak_mb": round(used.ru_maxrss / 1024),
        "told_mb": round(sum(told.values()) / 1e6, 1),
        "disk_mb": round(size / 1e6, 1),
    }


def _apart(*arguments: str) -> dict[str, Any]:
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.growth", *arguments],
        stdout=subprocess.PIPE,
        text=True,
        check=True,
        cwd=Path(__file__).resolve().parents[1],
    )
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(rows: list[dict[str, Any]], key: str) -> tuple[float, float, list[float]]:
    """(a, b, residuals) of a + b·n, fitted to a figure of each size by least squares of relative
    errors; residuals as shares of the figure."""
    n, y = (np.array([row[name] for row in rows], float) for name in ("images", key))
    a, b = np.linalg.lstsq(np.stack([1 / y, n / y], 1), np.ones(len(y)), rcond=None)[0]
    return float(a), float(b), [float(x) for x in (y - a - b * n) / y]


def measure(images: int = 30_000, dataset: str = "rooms", model: str = "rooms") -> Answer:
    """Runs of every size up to `images`."""
    rows = []
    _apart("--one", "96", "--dataset", dataset, "--model", model)  # kernels are compiled
    for count in [*(size for size in SIZES if size < images), images]:
        say(f"a run of {count:,} images")
        rows.append(_apart("--one", str(count), "--dataset", dataset, "--model", model))
    fixed, each, left = line(rows, "processor")
    lines = [
        f"{'images':>9} {'seconds':>9} {'processor':>10} {'off the line':>13} {'peak MB':>8} "
        f"{'told MB':>9} {'on disk MB':>11} {'told / on disk':>15}"
    ]
    for row, apart in zip(rows, left, strict=True):
        row["residual"] = round(apart, 4)
        lines.append(
            f"{row['images']:9,} {row['seconds']:9,.1f} {row['processor']:10,.1f} {apart:+13.1%} "
            f"{row['peak_mb']:8,} {row['told_mb']:9,.1f} {row['disk_mb']:11,.1f} "
            f"{row['told_mb'] / row['disk_mb']:15.3f}"
        )
    lines.append(
        f"processor seconds = {fixed:.1f} + {1000 * each:.2f} ms × images; {dataset}, {model}, "
        f"{ROUNDS} rounds of exchanged masks; load {os.getloadavg()[0]:.1f}"
    )
    facts = {"rows": rows, "fixed": fixed, "each": each, "load": os.getloadavg()}
    return facts, "\n".join(lines)


def disabling(path: Path) -> Answer:
    """Units of a run disabled in closed form: the estimate, and all images."""
    from core.ablation.edits import Edit
    from core.ablation.toggler import prepare
    from core.runs.run_file import Run

    began = time.perf_counter()
    ready = prepare(Run(path))
    prepared = time.perf_counter() - began
    began = time.perf_counter()
    ready.unedited()
    unedited = time.perf_counter() - began
    ready.estimate(Edit((0,)))  # kernels are compiled, the sample is drawn
    rng = np.random.default_rng(0)
    guesses, answers, held = [], [], 0
    for _ in range(EDITS):
        off = Edit(tuple(rng.choice(ready.units, min(OFF, ready.units), replace=False).tolist()))
        began = time.perf_counter()
        first = ready.estimate(off)
        gain = None if first is None else first.gain
        guesses.append(time.perf_counter() - began)
        began = time.perf_counter()
        exact = ready.toggle(off).gain.value
        answers.append(time.perf_counter() - began)
        held += gain is not None and gain.low <= exact <= gain.high
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    facts = {
        "images": len(ready.images),
        "units": ready.units,
        "prepare": round(prepared, 2),
        "unedited": round(unedited, 2),
        "estimate_ms": [round(1000 * f(guesses), 1) for f in (statistics.median, max)],
        "exact_s": [round(f(answers), 3) for f in (statistics.median, max)],
        "held": held,
        "of": EDITS,
        "peak_mb": round(peak),
        "load": os.getloadavg(),
    }
    return facts, json.dumps(facts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--dataset", default="rooms")
    parser.add_argument("--model", default="rooms")
    parser.add_argument("--images", type=int, default=30_000)
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--run", type=Path, metavar="FILE")
    given = parser.parse_args()
    if given.one:
        print(json.dumps(one_run(given.one, given.dataset, given.model)))
    elif given.run:
        print(disabling(given.run)[1])
    else:
        print(measure(given.images, given.dataset, given.model)[1])
