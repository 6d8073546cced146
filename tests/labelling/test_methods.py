"""Labels of a run's units by each method that there is."""

from __future__ import annotations

import pytest

from core.dissect.labels import unit_labels
from core.foundation.errors import UnitscopeError
from core.labelling.methods import LABELLING, labels


@pytest.mark.parametrize("method", [row.name for row in LABELLING])
def test_every_method_gives_units_their_labels(tiny_run, method):
    frame = labels(tiny_run, method, "body.1", ["object"])
    assert len(frame) and frame["unit"].is_unique and frame["unit"].is_monotonic_increasing
    assert frame["score"].between(0, 1).all() and frame["label"].str.contains("thing").all()


def test_the_usual_method_is_that_of_show(tiny_run):
    frame, usual = labels(tiny_run, layer="body.1"), unit_labels(tiny_run, "body.1")
    assert frame["label"].tolist() == usual["name"].tolist()
    formulas = labels(tiny_run, "formula", "body.1").set_index("unit")["iou"]
    assert (formulas >= frame.set_index("unit")["iou"] - 1e-12).all()


def test_an_unknown_method_is_refused(tiny_run):
    with pytest.raises(UnitscopeError, match="unknown labelling method 'formulae'; nearest: form"):
        labels(tiny_run, "formulae")
