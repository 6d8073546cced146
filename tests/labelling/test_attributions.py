"""Evidence by labels of units, against loops."""

from __future__ import annotations

import numpy as np
import pytest

from core.attribution.case import Opened
from core.attribution.methods import METHODS
from core.dissect.formula import AND, NOT, Formula
from core.foundation.errors import UnitscopeError
from core.labelling import attributions
from core.labelling.attributions import by_labels, parts
from core.labelling.methods import Labels, label_units
from core.labelling.probe import held_out, open_probe


@pytest.mark.parametrize(
    ("method", "of_photos"), [("dataset", False), ("linear", False), ("linear", True)]
)
def test_evidence_goes_to_what_labels_name(tiny_run, method, of_photos, monkeypatch):
    monkeypatch.setattr(Labels, "of_photos", property(lambda labels: of_photos))
    opened = Opened.of(tiny_run, "body.3")
    case = opened.case(int(opened.recorded.numbers[2]))
    labels = label_units(open_probe(tiny_run, "body.3", held_out(tiny_run)[0]), method)
    weights = opened.head[0].astype(float)  # logits = means of maps · weights + bias
    evidence = case.maps.double().numpy().mean((1, 2)) * (weights[:, 0] - weights[:, 2])
    expected = dict.fromkeys(case.regions.ids.tolist(), 0.0)
    for unit, terms in enumerate(labels.terms):
        sizes = {}
        for weight, formula in terms:
            concept = formula.concepts[0]
            if weight > 0 and concept in expected:
                row = case.regions.ids.tolist().index(concept)
                area = 1.0 if of_photos else case.regions.masks[row].mean()
                sizes[concept] = sizes.get(concept, 0) + weight * area
        for concept, size in sizes.items():
            expected[concept] += evidence[unit] * size / sum(sizes.values())
    said = by_labels(case, 0, 2, method)
    assert said == pytest.approx(np.array(list(expected.values())), abs=1e-5)
    assert np.abs(said).max() > 1e-4
    assert by_labels(case, 2, 0, method) == pytest.approx(-said, abs=1e-6)


def test_what_stands_behind_not_and_what_is_not_shown_gets_nothing():
    label = ((1.0, Formula((1, 2, 3), (0, AND, NOT))), (0.5, Formula((9,))))
    assert parts(label, {1: 0.2, 2: 0.2, 3: 0.6}) == {1: 0.5, 2: 0.5}
    assert parts(label, {3: 0.6}) == {} == parts((), {3: 0.6})


def test_they_are_rows_of_the_test_of_truth(tiny_run):
    row = METHODS.row("labels-dataset")
    case = Opened.of(tiny_run, "body.3").case(2)
    assert row.family == "labels of units" and row.rests_on == ("labels",)
    assert row.ask(case, 0, 1).shape == (len(case.regions),)


def test_where_labels_cannot_be_learned_is_said(tiny_run, monkeypatch):
    opened = Opened.of(tiny_run, "body.3")
    assert METHODS.row("labels-linear").unready(opened) == ""
    assert "100 photos" in METHODS.row("labels-clip-dissect").unready(opened)
    monkeypatch.setattr(attributions, "SOFT_TOP", 20)
    assert METHODS.row("labels-clip-dissect").unready(opened) == ""

    def none(run):
        raise UnitscopeError("the run's splits are all")

    monkeypatch.setattr(attributions, "held_out", none)
    for name in ("labels-linear", "labels-clip-dissect"):
        assert METHODS.row(name).unready(opened) == "the run's splits are all"
