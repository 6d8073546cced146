"""Evidence by unit and units disabled, of a photo that nobody annotated, against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.attribution.case import Input, Opened, runner_up
from core.attribution.effects import without_units
from core.attribution.evidence import GRADIENT, INTEGRATED, LINEAR, evidence
from core.foundation.errors import UnitscopeError
from tests import tiny


@pytest.fixture(scope="module")
def opened(tiny_run) -> Opened:
    return Opened.of(tiny_run)


@pytest.fixture(scope="module")
def inner(tiny_run) -> Opened:
    """A layer that is not behind the head."""
    return Opened.of(tiny_run, "body.1")


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (24, 24, 3)).astype(np.uint8)


def slowly(opened: Opened, photo: np.ndarray, off: tuple[int, ...] = ()) -> tuple[list, list]:
    """(each unit's mean over places, logits), with the maps of some units set to 0, place by
    place, by the layers of the network themselves."""
    module, inputs = tiny.net()[0].eval(), opened.forward.inputs(photo[None])
    with torch.no_grad():
        maps = inputs
        for number, part in enumerate(module.body):
            maps = part(maps)
            if f"body.{number}" == opened.recorded.layer:
                for unit in off:
                    for y in range(maps.shape[2]):
                        for x in range(maps.shape[3]):
                            maps[0, unit, y, x] = 0.0
        means = []
        for unit in range(maps.shape[1]):
            total = 0.0
            for y in range(maps.shape[2]):
                for x in range(maps.shape[3]):
                    total += float(maps[0, unit, y, x])
            means.append(total / (maps.shape[2] * maps.shape[3]))
        weight, bias = module.head.weight, module.head.bias
        logits = [
            float(bias[k]) + sum(m * float(weight[k, t]) for t, m in enumerate(means))
            for k in range(len(bias))
        ]
    return means, logits


@pytest.mark.parametrize("seed", range(3))
def test_the_evidence_of_units_is_the_networks_own_sum(opened, seed):
    photo = Input(opened, noise(seed))
    means, logits = slowly(opened, photo.photo)
    assert photo.logits == pytest.approx(logits, abs=1e-5)
    head = tiny.net()[0].head.requires_grad_(False)
    for a, b in ((0, 1), (2, 0)):
        found = evidence(photo, a, b)
        assert found.kind == LINEAR and found.units.shape == (12,)
        for unit, mean in enumerate(means):
            own = mean * (float(head.weight[a, unit]) - float(head.weight[b, unit]))
            assert found.units[unit] == pytest.approx(own, abs=1e-6)
        assert found.units.sum() + found.bias == pytest.approx(logits[a] - logits[b], abs=1e-4)
        assert abs(found.gap) < 1e-4


@pytest.mark.parametrize("off", [(), (3,), (0, 5, 11), tuple(range(12))])
def test_disabled_units_are_zero_in_the_network(opened, inner, off):
    photo = Input(opened, noise(7))
    after = without_units(photo, off)
    assert after == pytest.approx(slowly(opened, photo.photo, off)[1], abs=1e-5)
    lost = evidence(photo, 1, 2).units[list(off)].sum()
    before = photo.logits[1] - photo.logits[2]
    assert before - (after[1] - after[2]) == pytest.approx(lost, abs=1e-5)
    few = tuple(unit for unit in off if unit < 8)
    deep = without_units(Input(inner, photo.photo), few)
    assert deep == pytest.approx(slowly(inner, photo.photo, few)[1], abs=1e-5)


def test_an_inner_layer_says_what_its_sum_leaves_out(inner):
    photo = Input(inner, noise(2))
    found = evidence(photo, 0, 1)
    assert found.kind == INTEGRATED and found.units.shape == (8,)
    margin = float(photo.logits[0] - photo.logits[1])
    assert found.units.sum() + found.bias + found.gap == pytest.approx(margin, abs=1e-4)
    assert evidence(photo, 0, 1, GRADIENT).kind == GRADIENT
    with pytest.raises(UnitscopeError, match="no linear head"):
        evidence(photo, 0, 1, LINEAR)


def test_what_cannot_be_asked_is_told(opened):
    photo = Input(opened, noise(1))
    with pytest.raises(UnitscopeError, match="no unit 12"):
        without_units(photo, (12,))
    with pytest.raises(UnitscopeError, match="named twice"):
        without_units(photo, (1, 1))
    assert runner_up(photo.logits) == int(np.argsort(photo.logits)[-2])
