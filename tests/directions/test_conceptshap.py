"""Completeness and Shapley values in the planted world, against their definitions."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest
import torch

from core.attribution.case import Opened
from core.directions import conceptshap as cs
from core.directions import vectors as v
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import spread
from core.foundation.progress import Stopped

FEW = cs.Asked(learning=v.Learning(concepts=4, epochs=4, steps=0))


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Few batches for every subset."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(cs, "REFIT_STEPS", 3)
        yield


@pytest.fixture(scope="module")
def found(opened) -> cs.ConceptShap:
    return cs.concept_shap(opened, FEW)


def test_every_subset_is_tried_where_there_are_few(found):
    m = len(found.vectors)
    assert found.exact and found.subsets.shape == (2**m, m) and 2 <= m <= 4
    assert found.right.shape == (2**m, len(found.photos)) and found.right.dtype == bool


def test_shapley_values_are_what_joining_in_every_order_gives(found):
    m, a_r = len(found.vectors), 1 / 3
    above = found.network.mean() - a_r
    eta = {
        frozenset(np.flatnonzero(s).tolist()): (r.mean() - a_r) / above
        for s, r in zip(found.subsets, found.right, strict=True)
    }
    slow = np.zeros(m)
    orders = list(permutations(range(m)))
    for order in orders:
        for k, member in enumerate(order):
            slow[member] += eta[frozenset(order[: k + 1])] - eta[frozenset(order[:k])]
    slow /= len(orders)
    values = np.array([one.value for one in found.importance])
    assert values == pytest.approx(slow, abs=1e-9)
    assert values.sum() == pytest.approx(found.all - found.none)
    assert found.all == pytest.approx(eta[frozenset(range(m))])
    assert found.none == pytest.approx(eta[frozenset()])


def test_importance_by_class_adds_up_by_photos(found):
    total, n = np.zeros(len(found.vectors)), len(found.photos)
    for k in range(3):
        rows = np.flatnonzero(found.photos.classes == k)
        own = found.importance_for(k)
        assert own is not None
        total += np.array([one.value for one in own]) * len(rows) / n
        low_high = spread(found.by_photo[0, rows])
        assert (own[0].value, own[0].low, own[0].high) == pytest.approx(low_high)
    assert total == pytest.approx([one.value for one in found.importance])
    assert found.importance_for(7) is None


def test_completeness_holds_answers_against_the_networks(found):
    opened = found.vectors.surrogate.layer.opened
    rows = [opened.row(k) for k in found.photos.images]
    assert np.array_equal(
        found.network, opened.recorded.logits[rows].argmax(1) == found.photos.classes
    )
    assert found.completeness(found.network) == pytest.approx(1)
    low, high = found.interval
    assert low < found.all < high
    assert found.control.shape == (cs.CONTROLS, len(found.photos))
    # Without any concept every answer is the same, of the bias alone.
    classes = found.photos.classes
    assert found.right[0].mean() in [(classes == k).mean() for k in range(3)]


def test_a_subset_is_the_surrogate_learned_again(found):
    vectors, row = found.vectors, 2
    layer = vectors.surrogate.layer
    train = cs.photos_of(layer.opened, vectors.splits[0])
    kept = np.flatnonzero(found.subsets[row])
    with torch.no_grad():
        scores = [
            vectors.surrogate.scores(layer.activations(p.images)) for p in (train, found.photos)
        ]
    fitted = v.refit(vectors.surrogate, scores[0], train, kept, 6, 0)
    said = layer.opened.recorded.logits[[layer.opened.row(k) for k in found.photos.images]]
    right, _ = v.right_and_same(fitted, scores[1][:, :, kept], found.photos, said.argmax(1))
    assert np.array_equal(right, found.right[row])


def test_what_is_kept_is_read_and_gives_the_same(found, opened, monkeypatch):
    for name in ("learn", "refit", "name_vectors"):
        monkeypatch.setattr(cs, name, None)
    again = cs.concept_shap(opened, FEW)
    assert np.array_equal(again.right, found.right) and np.array_equal(again.same, found.same)
    assert torch.equal(again.vectors.surrogate.first, found.vectors.surrogate.first)
    assert again.frame().equals(found.frame())


@pytest.mark.parametrize("name", ["concept-vectors", "conceptshap"])
def test_a_damaged_file_is_made_anew(found, opened, name):
    paths = list((found.vectors.run.path.with_suffix(".derived")).glob(f"{name}-*.npz"))
    assert paths
    whole = {path: path.read_bytes() for path in paths}
    for path, data in whole.items():
        path.write_bytes(data[: len(data) // 2])
    again = cs.concept_shap(opened, FEW)
    assert np.array_equal(again.right, found.right)
    assert again.vectors.words == found.vectors.words
    for path, data in whole.items():
        path.write_bytes(data)


def test_a_strange_concept_id_is_not_used_as_a_place(found, opened):
    layer = found.vectors.surrogate.layer
    arrays = {
        "vectors": found.vectors.surrogate.vectors.numpy(),
        "first": found.vectors.surrogate.first.numpy(),
        "second": found.vectors.surrogate.second.numpy(),
        **{k: getattr(found.vectors.names, k) for k in cs.Names.__dataclass_fields__},
    }
    path = found.vectors.run.path.with_name("strange.npz")
    for concept, fits in ((arrays["concept"], True), (arrays["concept"] + 10_000, False)):
        np.savez(path, **{**arrays, "concept": concept})
        held = cs._read_vectors(path, layer, FEW, found.vectors.splits)
        assert (held is not None) == fits


def test_stopped_work_is_resumed(opened, found):
    asked = cs.Asked(learning=v.Learning(concepts=3, epochs=2, steps=0, seed=9))
    seen: list[str] = []

    def stop() -> bool:
        return sum(stage == "subsets of concepts" for stage in seen) >= 4

    with pytest.raises(Stopped, match="of 11 subsets are done"):
        cs.concept_shap(opened, asked, lambda p: seen.append(p.stage), stop)
    assert cs.concept_shap(opened, asked).vectors.names.iou.shape == (3,)


def test_many_concepts_have_their_subsets_sampled(opened):
    asked = cs.Asked(learning=FEW.learning, samples=12, exact=1)
    found = cs.concept_shap(opened, asked)
    m = len(found.vectors)
    assert len(found.subsets) == 14 and not found.exact
    assert sum(one.value for one in found.importance) == pytest.approx(found.all - found.none)
    assert found.frame().shape == (m, 11)
    # The interval holds the error of sampling: it is wider than that over photos alone.
    low_high = spread(found.by_photo[0])
    assert found.importance[0].low < low_high[1] and found.importance[0].high > low_high[2]


def test_learned_and_core_concepts_are_names_of_vectors(found):
    vectors = found.vectors
    learned = vectors.learned()
    for row in (0, 3, 77, 120):
        image = learned.images[row]
        named = {vectors.words[j] for j in np.flatnonzero(vectors.names.leads[image])} - {""}
        has = {learned.concepts[k] for k in np.flatnonzero(learned.has[[row]].toarray()[0])}
        assert has == named
    core, scenes = found.core(), found.vectors.run.sql("SELECT * FROM scenes ORDER BY scene")
    assert core.shape == (len(scenes), len(learned.concepts))
    for row, k in enumerate(scenes["class"]):
        frame = found.frame(str(scenes["name"][row]))
        names = frame[frame["shapley"] > 0]["name"]
        assert {learned.concepts[j] for j in np.flatnonzero(core[row])} == set(names) - {""}
        assert frame["shapley"].is_monotonic_decreasing and 0 <= k < 3


def test_what_is_fitted_on_training_photos_is_judged_by_test_photos():
    class Fake:
        def sql(self, _query):
            import pandas as pd

            return pd.DataFrame({"split": self.splits})

        def __init__(self, *splits):
            self.splits = splits

    every = Fake("test", "train", "val")
    assert cs.held_out(every, (), ()) == (("train",), ("test",))
    assert cs.held_out(every, (), ("val",)) == (("train",), ("val",))
    assert cs.held_out(Fake("train", "val"), (), ()) == (("train",), ("val",))


def test_what_cannot_be_asked_is_said(found, opened, monkeypatch):
    with pytest.raises(UnitscopeError, match="unknown scene 'attics'; nearest: attic"):
        found.frame("attics")
    with pytest.raises(UnitscopeError, match="cannot be judged by it"):
        cs.concept_vectors(opened, cs.Asked(learn=("test",), judge=("test",)))
    with pytest.raises(UnitscopeError, match=r"is open, and 'body\.9' was asked for"):
        cs.concept_vectors(opened, cs.Asked(layer="body.9"))
    wrong = opened.recorded.logits.copy()
    opened.recorded.logits[:] = -np.eye(3)[np.maximum(opened.recorded.target, 0)]
    try:
        with pytest.raises(UnitscopeError, match="no more than a guess would be"):
            cs.concept_shap(opened, FEW)
    finally:
        opened.recorded.logits[:] = wrong


def test_random_places_are_places(opened):
    layer = cs.Layer.of(opened)
    images = opened.recorded.numbers[:30]
    found = cs.random_places(layer, images, 5, [0, 1]).numpy()
    places = layer.activations(images).permute(0, 2, 3, 1).reshape(-1, layer.shape[0]).numpy()
    places /= np.maximum(np.linalg.norm(places, axis=1, keepdims=True), 1e-12)
    assert (np.abs(places @ found).max(0) > 1 - 1e-5).all()


@pytest.mark.slow
def test_what_the_planted_network_rests_on_is_recovered_from_few_concepts(planted):
    """It is right on every photo, by three colours; that concepts get their names is another
    matter: the regularisers pull vectors to what is alike everywhere, here the grey around."""
    asked = cs.Asked(learning=v.Learning(concepts=5, steps=400))
    found = cs.concept_shap(Opened.of(planted, "body.3"), asked)
    assert found.network.all() and found.all > 0.9 and found.none < 0.3
    assert sum(one.value for one in found.importance) == pytest.approx(found.all - found.none)
