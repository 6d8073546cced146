"""Names of concept vectors, pixel by pixel."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.attribution.case import Opened
from core.directions import naming
from core.directions.layer import Layer
from core.dissect.counts import upsample_torch
from core.dissect.thresholds import tail_size
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Meter, Stopped, never
from core.labelling.probe import Probe, open_probe


def probes(layer: Layer, categories: list[str] | None = None) -> tuple[Probe, Probe]:
    train, test = (
        open_probe(layer.run, layer.name, [split], categories) for split in ("train", "test")
    )
    return train, test


def slow(layer: Layer, c: np.ndarray, train: Probe, q: float) -> tuple[np.ndarray, ...]:
    """(T, IoU with every concept (m, concepts + 1), active (images of all splits, m))."""
    every = Probe(layer.run, layer.name)
    maps = np.einsum(
        "nuhw,um->nmhw", layer.activations(every.numbers).double().numpy(), c.astype(float)
    )
    height, width = every.label_maps(0, 1).shape[2:]
    learned = np.isin(every.numbers, train.numbers)
    m, concepts = c.shape[1], len(every.names)
    thresholds = np.empty(m)
    for j in range(m):
        cells = np.sort(maps[learned, j].ravel())
        thresholds[j] = cells[-tail_size(q, len(cells))]
    both, hits, areas = np.zeros((m, concepts)), np.zeros(m), np.zeros(concepts)
    active = np.zeros((len(every), m), bool)
    for i in range(len(every)):
        labels = every.label_maps(i, i + 1)[0]
        on = upsample_torch(torch.from_numpy(maps[i]).float(), height, width).numpy()
        on = on > thresholds[:, None, None].astype(np.float32)
        active[i] = on.any((1, 2))
        if not learned[i]:
            continue
        hits += on.sum((1, 2))
        for k in range(1, concepts):
            mask = (labels == k).any(0)
            areas[k] += mask.sum()
            both[:, k] += (on & mask).sum((1, 2))
    return thresholds, both / np.maximum(hits[:, None] + areas - both, 1), active


def test_names_are_those_of_a_plain_loop(layer):
    rng = np.random.default_rng(0)
    c = rng.normal(size=(layer.shape[0], 4)).astype(np.float32)
    c /= np.linalg.norm(c, axis=0)
    train, test = probes(layer)
    found = naming.name_vectors(layer, c, train, test, Meter(), never)
    thresholds, ious, active = slow(layer, c, train, 0.05)
    scene = np.array(["", *train.concepts["category"]]) == "scene"
    ious[:, scene] = 0
    assert found.thresholds == pytest.approx(thresholds, rel=1e-5)
    assert found.iou == pytest.approx(ious.max(1), abs=2e-3)
    best = np.sort(ious, 1)
    clear = best[:, -1] - best[:, -2] > 2e-3
    assert clear.any() and np.array_equal(found.concept[clear], ious.argmax(1)[clear])
    numbers = Probe(layer.run, layer.name).numbers
    assert (found.active[numbers] != active).mean() < 0.01
    held = naming.name_vectors(layer, c, test, train, Meter(), never)
    assert not np.allclose(held.iou, found.iou)


def test_a_vector_that_is_a_unit_is_named_as_the_unit_is(layer):
    """With the run's thresholds for all photos, the two differ by the photos alone."""
    from core.dissect.labels import unit_labels

    every = Probe(layer.run, layer.name)
    found = naming.name_vectors(
        layer, np.eye(layer.shape[0], dtype=np.float32), every, every, Meter(), never
    )
    units = unit_labels(layer.run, layer.name, categories=["object", "part"]).set_index("unit")
    rows = units.index.to_numpy()
    assert len(rows) > 4
    assert found.concept[rows].tolist() == units["concept"].tolist()
    assert found.iou[rows] == pytest.approx(units["iou"].to_numpy(), abs=1e-6)
    assert found.held == pytest.approx(found.iou)


def test_planted_directions_get_their_names(planted):
    layer = Layer.of(Opened.of(planted, "body.3"))
    found = naming.name_vectors(
        layer, np.eye(5, dtype=np.float32)[:, :4], *probes(layer), Meter(), never
    )
    assert [probes(layer)[0].names[k] for k in found.concept] == ["red", "green", "blue", "gold"]
    assert (found.chance < 0.05).all() and (found.held > 0.19).all()
    # What detects gold is higher than red and green on their own squares, never on blue ones.
    for image in layer.opened.recorded.numbers:
        shows = (layer.run.label_maps(int(image)) == 3).any()
        assert found.leads[image, 2] == shows


def test_chance_is_the_share_of_exchanges_that_do_as_well(layer, monkeypatch):
    monkeypatch.setattr(naming, "ROUNDS", 8)
    rng = np.random.default_rng(1)
    c = rng.normal(size=(layer.shape[0], 3)).astype(np.float32)
    train, test = probes(layer)
    found = naming.name_vectors(layer, c, train, test, Meter(), never, seed=5)
    every = Probe(layer.run, layer.name)
    rows = np.searchsorted(every.numbers, train.numbers)
    maps = np.einsum("nuhw,um->nmhw", layer.activations(train.numbers).numpy(), c)
    height, width = every.label_maps(0, 1).shape[2:]
    draw = np.random.default_rng([5, 8])
    reached = np.ones(3)
    for _ in range(8):
        others = draw.permutation(rows)
        both, hits, areas = np.zeros((3, 20)), np.zeros(3), np.zeros(20)
        for i, other in enumerate(others):
            on = upsample_torch(torch.from_numpy(maps[i]), height, width).numpy()
            on = on > found.thresholds[:, None, None]
            labels = every.label_maps(other, other + 1)[0]
            hits += on.sum((1, 2))
            for k in range(1, 20):
                areas[k] += (labels == k).sum()
                both[:, k] += (on & (labels == k).any(0)).sum((1, 2))
        best = (both / np.maximum(hits[:, None] + areas - both, 1)).max(1)
        reached += best >= found.iou - 1e-7
    assert found.chance == pytest.approx(reached / 9, abs=1e-9)


def test_names_come_from_the_categories_that_were_asked_for(layer):
    c = np.eye(layer.shape[0], dtype=np.float32)[:, :3]
    found = naming.name_vectors(layer, c, *probes(layer, ["part"]), Meter(), never)
    names = [probes(layer)[0].names[k] for k in found.concept]
    assert all(name.startswith("piece") for name in names if name)
    with pytest.raises(UnitscopeError, match="no concept could name a vector"):
        naming.name_vectors(layer, c, *probes(layer, ["scene"]), Meter(), never)


def test_naming_stops_when_asked(layer):
    c = np.eye(layer.shape[0], dtype=np.float32)[:, :3]
    with pytest.raises(Stopped):
        naming.name_vectors(layer, c, *probes(layer), Meter(), lambda: True)


def test_label_maps_that_do_not_fit_are_read_anew(layer, monkeypatch):
    c = np.eye(layer.shape[0], dtype=np.float32)[:, :3]
    held = naming.name_vectors(layer, c, *probes(layer), Meter(), never)
    monkeypatch.setattr(naming, "LABELS_MEMORY", 0)
    read = naming.name_vectors(layer, c, *probes(layer), Meter(), never)
    assert np.array_equal(held.chance, read.chance)
