"""The rows of the test of truth, in the planted world and against slow re-computations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.attribution.case import Case, Opened
from core.attribution.methods import METHODS
from core.directions import ace as discovery
from core.directions import attributions, cav, conceptshap
from core.directions.every_scene import every_scene
from core.directions.layer import Layer
from core.directions.vectors import Learning
from core.foundation.progress import Meter, never


@pytest.fixture(autouse=True, scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attributions, "CAVS", cav.Asked(runs=3))
        learning = Learning(concepts=4, steps=60, epochs=1)
        patch.setattr(attributions, "VECTORS", conceptshap.Asked(learning=learning))
        yield


@pytest.fixture(scope="module")
def case(opened: Opened) -> Case:
    """A photo of an attic that shows green as well."""
    return opened.case(int(opened.recorded.numbers[24]))


def test_the_planted_colours_speak_for_their_scenes(case):
    assert set(case.regions.names) >= {"red", "green"}
    said = METHODS.row("tcav").ask(case, 0, 1)
    at = {name: said[k] for k, name in enumerate(case.regions.names)}
    assert at["red"] > 0 > at["green"]


def test_tcav_is_the_derivative_along_the_mean_cav(case):
    said = attributions.tcav(case, 0, 2)
    layer = Layer.of(case.opened)
    work = cav.Work(layer, attributions.CAVS, Meter(), never)
    maps = case.maps[None].double()
    images = np.array([case.image])
    for k, number in enumerate(case.regions.ids):
        direction = work.direction(int(number))
        assert direction is not None
        toward = torch.from_numpy(direction[0])[None].double()

        def margin(step: float, toward=toward) -> float:
            with torch.no_grad():
                logits = layer.answers((maps + step * toward).float(), images)[0].double()
            return float(logits[0] - logits[2])

        slope = (margin(1e-2) - margin(-1e-2)) / 2e-2
        assert said[k] == pytest.approx(slope, rel=1e-2, abs=1e-4)


def test_a_concept_with_too_few_photos_has_no_sensitivity(case, monkeypatch):
    monkeypatch.setattr(cav.Work, "direction", lambda self, number: None)
    assert not attributions.tcav(case, 0, 1).any()


def test_conceptshap_is_what_the_surrogate_loses_without_a_name(case):
    said = attributions.concept_shap(case, 0, 1)
    vectors = conceptshap.concept_vectors(case.opened, attributions.VECTORS)
    s, names = vectors.surrogate, vectors.names.concept
    images = np.array([case.image])
    scores = s.scores(case.maps[None])

    def margin(kept: np.ndarray) -> float:
        some = scores * torch.from_numpy(kept.astype(np.float32))
        with torch.no_grad():
            logits = s.logits(some, images)[0]
        return float(logits[0] - logits[1])

    every = np.ones(len(names), bool)
    for k, number in enumerate(case.regions.ids):
        slow = 0.0
        for j in np.flatnonzero(names == number):
            without = every.copy()
            without[j] = False
            slow += margin(every) - margin(without)
        assert said[k] == pytest.approx(slow, abs=1e-4)
    assert attributions.concept_shap(case, 1, 0) == pytest.approx(-said, abs=1e-5)


def test_they_are_rows_that_anybody_can_ask(case):
    for name in ("tcav", "conceptshap"):
        row = METHODS.row(name)
        assert row.family == "concept vectors" and not row.needs
        assert row.ask(case, 0, 1).shape == (len(case.regions),)


def test_ace_gives_a_region_the_score_of_what_it_is_nearest_to(case, monkeypatch):
    pytest.importorskip("skimage")
    few = discovery.Asked(images=8, clusters=4, members=4, runs=3, seed=6)
    monkeypatch.setattr(attributions, "ACE", few)
    monkeypatch.setattr(discovery, "SEGMENTS", (8, 16))
    monkeypatch.setattr(discovery, "RANDOMS", 3)
    why = METHODS.row("ace").unready(case.opened)
    assert f"core tables {case.opened.run.digest} --ace" in why
    found = every_scene(case.opened, few)
    assert METHODS.row("ace").unready(case.opened) == ""
    said = METHODS.row("ace").ask(case, 0, 1)
    maps = case.maps.double().numpy()
    side = case.regions.masks.shape[1] // maps.shape[1]
    classes = {one.scene: case.opened.class_of(one.scene) for one in found.scenes}
    for row, mask in enumerate(case.regions.masks):
        shares = mask.reshape(maps.shape[1], side, maps.shape[2], side).mean((1, 3))
        mean = (maps * shares).sum((1, 2)) / shares.sum()
        expected = 0.0
        for one in found.scenes:
            sign = {0: 1, 1: -1}.get(classes[one.scene], 0)
            cosines = [mean @ m / np.linalg.norm(m) for m in one.centres.astype(float)]
            expected += sign * one.concepts[int(np.argmax(cosines))].score
        assert said[row] == pytest.approx(expected, abs=1e-9)
    assert METHODS.row("ace").ask(case, 1, 0) == pytest.approx(-said)
