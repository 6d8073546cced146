"""What mixed precision does to labels: some of a run's photos, dissected in both precisions.

A run with ``--precision bfloat16`` measures it on :data:`PHOTOS` of its photos, spread evenly, and
keeps it under ``precision_effect`` of its facts; ``python -m core bench precision`` measures it on
all photos of a dataset.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from core.datasets.loader import Decoded, decode_ahead
from core.dissect.counts import count_images
from core.dissect.labels import iou_table
from core.dissect.plan import BATCH, Plan
from core.dissect.thresholds import TopK, tail_size
from core.foundation.plain import Json
from core.foundation.progress import STOPPED, Stop, Stopped, never
from core.models.forward import Forward, Passed

PHOTOS = 128
"""Photos that a run measures it on."""


def effect(plan: Plan, photos: int | None = PHOTOS, threads: int = 1, stop: Stop = never) -> Json:
    """How far labels, IoUs and answers in ``plan.settings.precision`` are from those in float32.

    Both precisions go through thresholds and counts on the same photos, each with thresholds of its
    own (1 − q of its own activations). A unit's label is the concept of the label maps with the
    largest IoU over these photos, whose denominator is of all pixels.

    photos : spread evenly over the run's; all where None.

    Returns photos; precision; logits: the largest difference, as a share of the largest logit;
    predictions_changed: the share; layers: name → units (that have a label in float32),
    labels_changed (share of them), iou_difference (median and largest absolute difference of the
    best IoU), iou (median best IoU in float32).
    """
    n = len(plan.indices)
    chosen = np.unique(np.linspace(0, n - 1, min(photos or n, n)).astype(int))
    single, mixed = (
        _Measured(plan, precision, plan.indices[chosen], threads, stop)
        for precision in ("float32", plan.settings.precision)
    )
    told: Json = {
        "photos": len(single.logits),
        "precision": plan.settings.precision,
        "layers": {},
    }
    if single.logits.size:
        largest = float(np.abs(single.logits).max())
        apart = float(np.abs(single.logits - mixed.logits).max())
        told["logits"] = apart / max(largest, 1e-30)
        changed = single.logits.argmax(1) != mixed.logits.argmax(1)
        told["predictions_changed"] = float(changed.mean())
    for layer, one, other in zip(plan.layers, single.ious, mixed.ious, strict=True):
        told["layers"][layer.name] = compared(one, other)
    return told


def compared(single: np.ndarray, mixed: np.ndarray) -> Json:
    """Labels by two tables of IoUs (units, concepts): see :func:`effect`.

    >>> one = np.array([[0.3, 0.1], [0.2, 0.1], [0.0, 0.0]])
    >>> told = compared(one, one + [[0.0, 0.0], [0.0, 0.2], [0.0, 0.0]])
    >>> told["units"], told["labels_changed"], [round(x, 2) for x in told["iou_difference"]]
    (2, 0.5, [0.05, 0.1])
    """
    has = single.max(1, initial=0.0) > 0
    if not has.any():
        return {"units": 0, "labels_changed": 0.0, "iou_difference": [0.0, 0.0], "iou": 0.0}
    one, other = single[has], mixed[has]
    apart = np.abs(one.max(1) - other.max(1))
    return {
        "units": int(has.sum()),
        "labels_changed": float((one.argmax(1) != other.argmax(1)).mean()),
        "iou_difference": [float(np.median(apart)), float(apart.max())],
        "iou": float(np.median(one.max(1))),
    }


class _Measured:
    """Logits float32 (photos, classes), and IoUs (units, concepts) of each layer, by one
    precision."""

    def __init__(self, plan: Plan, precision: str, indices: np.ndarray, threads: int, stop: Stop):
        self.plan, self.indices, self.threads, self.stop = plan, indices, threads, stop
        names, settings = [layer.name for layer in plan.layers], plan.settings
        self.forward = Forward(plan.model, names, settings.device, precision, plan.map_type)
        cells = [layer.height * layer.width for layer in plan.layers]
        tops = [
            TopK(layer.units, tail_size(settings.q, len(indices) * c))
            for layer, c in zip(plan.layers, cells, strict=True)
        ]
        logits, usable = [], 0
        for batch, passed in self._passed():
            logits.append(passed.logits)
            usable += len(batch)
            for top, name in zip(tops, names, strict=True):
                top.update(passed.layers[name].maps.cpu().numpy())
        self.logits = np.concatenate(logits) if logits else np.zeros((0, plan.outputs), np.float32)
        self.ious = []
        if usable:
            thresholds = [
                top.threshold(tail_size(settings.q, usable * c))
                for top, c in zip(tops, cells, strict=True)
            ]
            self.ious = self._counted(thresholds)
        else:
            self.ious = [np.zeros((layer.units, 0)) for layer in plan.layers]

    def _passed(self) -> Iterator[tuple[list[Decoded], Passed]]:
        """The photos that can be used, batch by batch, with what the network gives for them."""
        plan, held = self.plan, []
        stream = decode_ahead(
            plan.dataset,
            self.indices,
            plan.model.preprocessing,
            plan.grid,
            self.threads,
            3 * BATCH,
            keep_photo=False,
        )
        width, height = plan.input_size
        try:
            for k, item in enumerate(stream, 1):
                if item.seen is not None and item.seen.shape == (height, width, 3):
                    held.append(item)
                if held and (len(held) == BATCH or k == len(self.indices)):
                    if self.stop():
                        raise Stopped(STOPPED)
                    passed = self.forward(np.stack([np.asarray(one.seen) for one in held]))
                    yield held, passed
                    held = []
        finally:
            stream.close()

    def _counted(self, thresholds: list[np.ndarray]) -> list[np.ndarray]:
        """IoUs of every layer, by a second forward pass."""
        plan = self.plan
        categories, concepts = plan.categories, len(plan.dataset.concepts)
        of = np.array([categories.index(c.category) for c in plan.dataset.channels], np.int64)
        both = [np.zeros((layer.units, concepts + 1), np.int64) for layer in plan.layers]
        hits = [np.zeros(layer.units, np.int64) for layer in plan.layers]
        areas = np.zeros(concepts + 1, np.int64)
        for batch, passed in self._passed():
            labels = np.stack([item.labels for item in batch])
            for n, layer in enumerate(plan.layers):
                maps = passed.layers[layer.name].maps.float().cpu().numpy()
                found = count_images(maps, thresholds[n], labels, of, len(categories), concepts)
                np.add.at(hits[n], found.hits[:, 1], found.hits[:, 2])
                np.add.at(both[n], (found.both[:, 1], found.both[:, 2]), found.both[:, 3])
            np.add.at(areas, found.areas[:, 1], found.areas[:, 2])
        never_counted = np.full(concepts + 1, -1)
        none = np.zeros((0, 0), np.int64)
        return [
            iou_table(b, h, none, areas, never_counted, "all")
            for b, h in zip(both, hits, strict=True)
        ]
