"""Labels of a run's units by each method that there is."""

from __future__ import annotations

import pytest

from core.dissect.labels import unit_labels
from core.foundation.errors import UnitscopeError
from core.labelling.methods import LABELLING, labels
from tests.labelling.feature_files import arrays, write
from tests.tiny import SCENES


@pytest.fixture(scope="module")
def given(tiny_run, tmp_path_factory) -> dict[str, str]:
    """Something for every option that has no default."""
    folder = tmp_path_factory.mktemp("given")
    (folder / "labels.csv").write_text("unit,label,score\n3,thing 2,0.5\n0,thing 1,0.25\n")
    spec = write(folder / "features.npz", arrays(tiny_run))
    return {"encoder": spec, "table": str(folder / "labels.csv")}


@pytest.mark.parametrize("method", [row.name for row in LABELLING])
def test_every_method_gives_units_their_labels(tiny_run, method, given):
    row = LABELLING.row(method)
    own = {name: value for name, value in given.items() if name in row.takes}
    # Every photo shows the things, and so none of them can be told by its presence.
    category, names = ("scene", SCENES) if row.family == "presence" else ("object", ["thing"])
    frame = labels(tiny_run, method, "body.1", [category], **own)
    assert len(frame) and frame["unit"].is_unique and frame["unit"].is_monotonic_increasing
    assert frame["label"].str.contains("|".join(names)).all()
    assert frame["score"].notna().all()
    assert row.family == "similarity" or frame["score"].between(0, 1).all()


def test_the_usual_method_is_that_of_show(tiny_run):
    frame, usual = labels(tiny_run, layer="body.1"), unit_labels(tiny_run, "body.1")
    assert frame["label"].tolist() == usual["name"].tolist()
    formulas = labels(tiny_run, "formula", "body.1").set_index("unit")["iou"]
    assert (formulas >= frame.set_index("unit")["iou"] - 1e-12).all()


def test_an_unknown_method_is_refused(tiny_run):
    with pytest.raises(UnitscopeError, match="unknown labelling method 'formulae'; nearest: form"):
        labels(tiny_run, "formulae")
