"""Layers, concept scores, the surrogate and its learning, against slow re-implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.directions import vectors as v
from core.directions.conceptshap import photos_of
from core.directions.layer import LOGIT, PROBABILITY, Layer
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Meter, Stopped, never

FEW = v.Learning(concepts=3, epochs=3, steps=0, nearest=2)


def numbers(layer: Layer, count: int = 5) -> np.ndarray:
    return layer.opened.recorded.numbers[:count]


def test_answers_by_stored_maps_are_those_of_the_run(layer):
    images = numbers(layer, 40)
    with torch.no_grad():
        found = layer.answers(layer.activations(images), images).numpy()
    recorded = layer.opened.recorded.logits[:40]
    assert found == pytest.approx(recorded, abs=2e-3)  # maps are halves


@pytest.mark.parametrize("of", [LOGIT, PROBABILITY])
def test_gradients_are_slopes(layer, of):
    images, classes = numbers(layer), np.array([0, 1, 2, 0, 1])
    gradients = layer.gradients(images, classes, of)
    for k, image in enumerate(images):
        maps = layer.activations(images[k : k + 1]).double()
        length = float(gradients[k].double().norm())
        toward = gradients[k : k + 1].double() / length

        def value(step: float, maps=maps, toward=toward, image=image, k=k) -> float:
            with torch.no_grad():
                logits = layer.answers((maps + step * toward).float(), np.array([image])).double()
                if of == PROBABILITY:
                    logits = logits.log_softmax(1)
                return float(logits[0, classes[k]])

        slope = (value(1e-2) - value(-1e-2)) / 2e-2
        assert length == pytest.approx(slope, rel=1e-2) and length > 0


def test_scores_and_answers_by_a_plain_loop(layer):
    rng = np.random.default_rng(0)
    units, height, width = layer.shape
    images = numbers(layer, 3)
    maps = layer.activations(images)
    maps[0, :, 0, 0] = 0.0  # nothing is active there
    c = rng.normal(size=(units, 4)).astype(np.float32)
    c /= np.linalg.norm(c, axis=0)
    first = rng.normal(size=(4, v.HIDDEN)).astype(np.float32)
    second = rng.normal(size=(v.HIDDEN, units)).astype(np.float32)
    surrogate = v.Surrogate(layer, *(torch.from_numpy(x) for x in (c, first, second)), 0.1)
    scores = surrogate.scores(maps)
    rebuilt = np.zeros((3, units, height, width))
    for i in range(3):
        for p in range(height * width):
            y, x = divmod(p, width)
            phi = maps[i, :, y, x].double().numpy()
            s = np.zeros(4)
            for j in range(4):
                raw = phi @ c[:, j].astype(float)
                if np.linalg.norm(phi) > 0 and raw / np.linalg.norm(phi) > 0.1:
                    s[j] = raw
            assert scores[i, p].numpy() == pytest.approx(s, abs=1e-5)
            hidden = np.maximum(s / (s.sum() + 1e-3) @ first.astype(float), 0)
            rebuilt[i, :, y, x] = hidden @ second.astype(float)
    with torch.no_grad():
        slow = layer.answers(torch.from_numpy(rebuilt).float(), images).numpy()
        assert surrogate.logits(scores, images).numpy() == pytest.approx(slow, rel=1e-4, abs=1e-3)
        kept = torch.tensor([0, 2])
        some = scores.clone()
        some[:, :, [1, 3]] = 0
        left = surrogate.logits(scores, images, kept).numpy()
        assert left == pytest.approx(surrogate.logits(some, images).numpy(), rel=1e-4, abs=1e-3)


def test_the_two_regularisers_by_a_plain_loop():
    rng = np.random.default_rng(3)
    cosines = rng.uniform(-1, 1, (4, 6, 5)).astype(np.float32)
    near = [np.sort(cosines[:, :, j].ravel())[-2:].mean() for j in range(5)]
    assert float(v.coherence(torch.from_numpy(cosines), 2)) == pytest.approx(np.mean(near))
    c = rng.normal(size=(7, 5))
    c /= np.linalg.norm(c, axis=0)
    pairs = [c[:, i] @ c[:, j] for i in range(5) for j in range(5) if i != j]
    assert float(v.distinctness(torch.from_numpy(c))) == pytest.approx(np.mean(pairs))
    assert float(v.distinctness(torch.from_numpy(c[:, :1]))) == pytest.approx(0, abs=1e-12)


def test_learning_lowers_the_loss_and_gives_the_same_again(layer):
    photos = photos_of(layer.opened, ("train",))
    found = [v.learn(layer, photos, FEW, Meter(), never) for _ in range(2)]
    assert torch.equal(found[0].vectors, found[1].vectors)
    assert torch.equal(found[0].second, found[1].second)
    assert found[0].vectors.norm(dim=0).numpy() == pytest.approx(1, abs=1e-5)
    longer = v.learn(layer, photos, v.Learning(3, epochs=60, steps=0), Meter(), never)

    def loss(one: v.Surrogate) -> float:
        maps = layer.activations(photos.images)
        with torch.no_grad():
            scores, cosines = v.concept_scores(maps, one.vectors, 0.0)
            logits = one.logits(scores, photos.images)
            answers = torch.nn.functional.cross_entropy(logits, torch.from_numpy(photos.classes))
            apart = v.distinctness(one.vectors)
            return float(answers - 10 * v.coherence(cosines, 2) + 10 * apart)

    assert loss(longer) < loss(found[0]) - 1


def test_the_head_stays_frozen(layer):
    before = [p.detach().clone() for p in layer.opened.forward.module.parameters()]
    v.learn(layer, photos_of(layer.opened, ("train",)), FEW, Meter(), never)
    after = list(layer.opened.forward.module.parameters())
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))
    assert all(p.grad is None for p in after)


def test_refitting_makes_the_most_of_some_concepts(layer):
    photos = photos_of(layer.opened, ("train",))
    surrogate = v.learn(layer, photos, FEW, Meter(), never)
    scores = v.all_scores(surrogate, photos, Meter(), never)
    assert scores.shape == (len(photos), layer.shape[1] * layer.shape[2], 3)
    kept = np.array([0, 2])
    said = np.zeros(len(photos), np.int64)
    fitted = v.refit(surrogate, scores, photos, kept, 80, 0)
    right, same = v.right_and_same(fitted, scores[:, :, [0, 2]], photos, said)
    with torch.no_grad():
        plain = surrogate.logits(scores, photos.images, torch.from_numpy(kept))
        now = fitted.logits(scores[:, :, [0, 2]], photos.images)
    y = torch.from_numpy(photos.classes)
    entropy = torch.nn.functional.cross_entropy
    assert entropy(now, y) < entropy(plain, y)
    assert np.array_equal(right, now.argmax(1).numpy() == photos.classes)
    assert np.array_equal(same, now.argmax(1).numpy() == 0)
    fresh = v.refit(surrogate, scores, photos, kept, 1, 5, fresh=True)
    assert not torch.allclose(fresh.first, surrogate.first[kept], atol=0.05)


def test_duplicates_are_dropped_the_later_ones():
    rng = np.random.default_rng(0)
    c = rng.normal(size=(20, 6))
    c[:, 3] = c[:, 1] + 0.01 * rng.normal(size=20)
    c[:, 5] = c[:, 0] + 0.01 * rng.normal(size=20)
    c /= np.linalg.norm(c, axis=0)
    assert v.without_duplicates(c).tolist() == [0, 1, 2, 4]
    assert v.without_duplicates(-c[:, :2] * [1, -1]).tolist() == [0, 1]


def test_more_concepts_than_units_and_other_nonsense_are_refused(layer):
    units = layer.shape[0]
    photos = photos_of(layer.opened, ("train",))
    with pytest.raises(UnitscopeError, match=f"in a space of {units} units"):
        v.learn(layer, photos, v.Learning(units + 1), Meter(), never)
    for wrong in ({"beta": 1.0}, {"beta": -0.1}, {"beta": float("nan")}, {"concepts": 0}):
        with pytest.raises(UnitscopeError):
            v.Learning(**wrong)


def test_learning_stops_when_asked(layer):
    with pytest.raises(Stopped, match="after 0 of 3 epochs"):
        v.learn(layer, photos_of(layer.opened, ("train",)), FEW, Meter(), lambda: True)
