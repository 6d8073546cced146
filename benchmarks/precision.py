"""What mixed precision does to labels and answers, on all photos of a dataset.

    python -m core bench precision [--dataset SPEC] [--model SPEC] [--images N] [--json]

The default layer of the network, dissected in float32 and under automatic mixed precision in
bfloat16, on the same photos, each with thresholds of its own: :mod:`core.dissect.precision`. Where
there is no GPU it is the processor's bfloat16.
"""

from __future__ import annotations

import os
import time
from typing import Any

from benchmarks.dissect import defaults
from core.cli.common import Answer
from core.dissect.plan import plan
from core.dissect.precision import effect
from core.foundation.engine import cores
from core.foundation.settings import Settings


def measure(
    dataset: str | None = None, model: str | None = None, images: int | None = None
) -> Answer:
    """Both precisions on `images` photos, all where None."""
    usual = defaults()
    work = plan(
        Settings(
            dataset or usual[0],
            model or usual[1],
            shuffles=0,
            untrained=False,
            precision="bfloat16",
            map_type="float16",
        )
    )
    began = time.perf_counter()
    told: dict[str, Any] = effect(work, images, cores())
    lines = [
        f"{told['photos']:,} photos of {work.settings.dataset}, {work.settings.model}, on "
        f"{work.settings.device}: logits differ by up to {told.get('logits', 0):.1e} of the "
        f"largest, {told.get('predictions_changed', 0):.2%} of the answers change"
    ]
    lines += [
        f"{name}: of {layer['units']} labels {layer['labels_changed']:.1%} change; best IoU "
        f"{layer['iou']:.4f} (median), differs by {layer['iou_difference'][0]:.5f} (median), "
        f"{layer['iou_difference'][1]:.4f} (largest)"
        for name, layer in told["layers"].items()
    ]
    return {**told, "seconds": time.perf_counter() - began, "load": os.getloadavg()}, "\n".join(
        lines
    )
