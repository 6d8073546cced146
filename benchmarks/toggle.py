"""Speed of disabling units in closed form, against running the network again.

    python -m core bench toggle [--images 22210] [--json]

Pooled features, weights and logits of 22,210 images × 512 units × 365 classes are drawn at
random (the paper's ADE20K size). Timed are whole answers: the prediction and the rank of the
true class of every image. Sets are drawn anew for each timing. Every set is compared with a plain
float64 product; predictions may differ only where the two largest logits are closer than float32
can tell.
The network run again is torchvision's ResNet-18 at 224 × 224, on as many photos as fit a few
seconds in the same process, in float32 with the same number of threads; its time for all images is
extrapolated from that rate and leaves reading and decoding photos out, so the ratio is modest.
Processor time is told beside the clock's, which on a shared machine says more of the others.
"""

from __future__ import annotations

import os
import time
from typing import Any

import numpy as np
import pandas as pd

from core.ablation.edits import Edit
from core.ablation.toggler import Live, Toggler
from core.cli.common import Answer

UNITS, CLASSES = 512, 365
SETS = (1, 20, 200)
ROUNDS = 15


def drawn_toggler(images: int, units: int, classes: int, seed: int = 0) -> Toggler:
    """A closed-form toggler on random pooled features (≥ 0) and weights, without a run."""
    rng = np.random.default_rng(seed)
    pooled = np.maximum(rng.standard_normal((images, units), dtype=np.float32), 0)
    weights = 0.05 * rng.standard_normal((units, classes), dtype=np.float32)
    base = pooled @ weights + 0.1 * rng.standard_normal(classes, dtype=np.float32)
    target = rng.integers(0, classes, images).astype(np.int32)
    images_frame = pd.DataFrame(
        {
            "image": np.arange(images),
            "id": np.arange(images).astype(str),
            "split": "drawn",
            "scene": target.astype(str),
            "target": target,
            "predicted": base.argmax(1),
        }
    )
    names = [str(c) for c in range(classes)]
    return Toggler.linear(pooled, base, weights, images_frame, names)


def compare(
    toggler: Toggler, off: tuple[int, ...], predicted: np.ndarray, close: float = 1e-4
) -> int:
    """Images whose prediction differs from the float64 one, all of them near ties; raises
    AssertionError where one is not."""
    at = list(off)
    base = toggler.logits().astype(np.float64)
    wanted = base - toggler.pooled[:, at].astype(np.float64) @ toggler.weights[at]
    rows = np.flatnonzero(wanted.argmax(1) != predicted)
    gap = wanted[rows].max(1) - wanted[rows, predicted[rows]]
    assert (gap < close).all(), f"{(gap >= close).sum()} predictions differ beyond rounding"
    return len(rows)


def _median(times: list[float]) -> float:
    return 1000 * float(np.median(times))


def measure(images: int = 22_210, **_: Any) -> Answer:
    """Medians in milliseconds and the ratio to running the network again."""
    import torch
    from torchvision.models import resnet18

    toggler = drawn_toggler(images, UNITS, CLASSES)
    rng = np.random.default_rng(1)
    toggler.predict(Edit((0, 1, 2, 3, 4)))  # compiled before anything is timed
    medians: dict[int, float] = {}
    work: dict[int, float] = {}
    near_ties = 0
    for size in SETS:
        times, spent = [], []
        for _round in range(ROUNDS):
            off = tuple(rng.choice(UNITS, size, replace=False).tolist())
            began, busy = time.perf_counter(), time.process_time()
            told = toggler.predict(Edit(off))
            times.append(time.perf_counter() - began)
            spent.append(time.process_time() - busy)
        near_ties += compare(toggler, off, told.predicted)
        medians[size], work[size] = _median(times), _median(spent)
    live = Live(toggler)
    times, off_now = [], set()
    for _round in range(3 * ROUNDS):
        unit = int(rng.integers(UNITS))
        factor = 1.0 if unit in off_now else 0.0
        began = time.perf_counter()
        told = live.change(unit, factor)
        times.append(time.perf_counter() - began)
        off_now ^= {unit}
    near_ties += compare(toggler, tuple(off_now), told.predicted)
    change = _median(times)
    threads = torch.get_num_threads()
    net = resnet18(weights=None).eval().to(memory_format=torch.channels_last)
    batch = torch.randn(32, 3, 224, 224).contiguous(memory_format=torch.channels_last)
    with torch.inference_mode():
        net(batch)
        began, passes = time.perf_counter(), 0
        while passes < 3 or time.perf_counter() - began < 5:
            net(batch)
            passes += 1
    rate = 32 * passes / (time.perf_counter() - began)
    again = images / rate
    facts = {
        "images": images,
        "units": UNITS,
        "classes": CLASSES,
        "cores": os.cpu_count(),
        "torch_threads": threads,
        "median_ms": {str(size): round(ms, 2) for size, ms in medians.items()},
        "processor_ms": {str(size): round(ms, 2) for size, ms in work.items()},
        "single_change_ms": round(change, 2),
        "near_ties": near_ties,
        "forward_images_per_second": round(rate, 1),
        "forward_seconds_extrapolated": round(again, 1),
        "ratio": {str(size): round(1000 * again / ms) for size, ms in medians.items()},
    }
    lines = [
        f"{images} images × {UNITS} units × {CLASSES} classes, {os.cpu_count()} cores",
        *(
            f"any set of {size:3}   {ms:7.1f} ms ({work[size]:.1f} ms of processor time, all "
            f"cores)   {1000 * again / ms:9,.0f} × faster than the network"
            for size, ms in medians.items()
        ),
        f"single change    {change:7.1f} ms",
        f"ResNet-18 at 224 × 224: {rate:.1f} images/s measured, {again:,.0f} s for all "
        "(extrapolated, photos already decoded)",
        f"answers equal to a float64 product; {near_ties} near ties fell the other way",
    ]
    return facts, "\n".join(lines)
