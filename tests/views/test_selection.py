"""Ranges of a unit's photos, the classes it raises and lowers, and selections as files."""

from __future__ import annotations

import io
import json
import shutil

import numpy as np
import pandas as pd
import pytest

from core.ablation.toggler import prepare
from core.figures.base import Caption
from core.figures.units import unit_classes as drawn
from core.foundation.errors import UnitscopeError
from core.runs.notes import Marks, Thing, mark
from core.runs.run_file import Run
from core.views.images import Filter, gallery
from core.views.selection import photos_of, units_of, written
from core.views.units import unit_classes, unit_images, unit_table

LAYER = "body.3"


@pytest.fixture
def own(tiny_run, tmp_path) -> Run:
    shutil.copy(tiny_run.path, tmp_path)
    shutil.copytree(tiny_run.arrays, tmp_path / tiny_run.arrays.name)
    return Run(tmp_path / tiny_run.path.name)


@pytest.mark.parametrize("scene", ["", "barn"])
@pytest.mark.parametrize("unit", [0, 5])
def test_ranges_are_those_of_a_sorted_list(tiny_run, unit, scene):
    peaks = np.asarray(tiny_run.array(f"peaks-{LAYER}"))[:, unit]
    images = tiny_run.sql(
        "SELECT image, name FROM images LEFT JOIN scenes USING (scene) ORDER BY image"
    )
    inside = [int(r.image) for r in images.itertuples() if scene in ("", r.name)]
    hits = dict(
        tiny_run.sql(
            "SELECT image, hits FROM hits WHERE layer = ? AND unit = ?",
            [tiny_run.layer(LAYER), unit],
        ).itertuples(index=False)
    )
    ordered = sorted((k for k in inside if k in hits), key=lambda k: (-peaks[k], k))
    assert len(ordered) > 6
    first = (len(ordered) - 5) // 2
    for span, wanted in (("top", ordered[:5]), ("middle", ordered[first : first + 5])):
        found = unit_images(tiny_run, LAYER, unit, None, 5, scene, span)
        assert found["image"].tolist() == wanted
        assert found["peak"].tolist() == pytest.approx([float(peaks[k]) for k in wanted])
    found = unit_images(tiny_run, LAYER, unit, None, 40, scene, "random")
    assert set(found["image"]) <= set(inside) and len(found) == min(40, len(inside))
    assert (
        found["image"].tolist()
        == unit_images(tiny_run, LAYER, unit, None, 40, scene, "random")["image"].tolist()
    )
    assert found["peak"].is_monotonic_decreasing
    for row in found.itertuples():
        assert row.hits == hits.get(row.image, 0)
        assert row.peak == pytest.approx(float(peaks[row.image])) and row.iou == 0
    assert (found["hits"] == 0).any()  # inactive ones are among those drawn from all
    with pytest.raises(UnitscopeError, match="nearest: middle"):
        unit_images(tiny_run, LAYER, unit, span="midle")


@pytest.mark.parametrize("split", ["", "test"])
def test_contributions_are_means_of_products(tiny_run, split):
    """Against a loop over photos and classes, and against the logits themselves."""
    ready = prepare(tiny_run, LAYER)
    rows = [k for k in range(len(ready.images)) if split in ("", ready.images["split"][k])]
    total = np.zeros(len(ready.names))
    for unit in range(ready.units):
        frame = unit_classes(tiny_run, ready, unit, split).set_index("class")
        for place, name in enumerate(ready.names):
            each = [float(ready.pooled[k, unit]) * float(ready.weights[unit, place]) for k in rows]
            mean, wide = sum(each) / len(each), 1.96 * np.std(each, ddof=1) / len(each) ** 0.5
            row = frame.loc[name]
            assert row["contribution"] == pytest.approx(mean, abs=1e-9)
            assert row["low"] == pytest.approx(mean - wide, abs=1e-9)
            assert row["high"] == pytest.approx(mean + wide, abs=1e-9)
            total[place] += mean
        assert frame["above"].sum() == pytest.approx(0, abs=1e-9)
        assert frame["above"].is_monotonic_decreasing
    logits = ready.logits()[rows].mean(0) - total  # what is left is the bias, equal in all splits
    bias = ready.logits().mean(0) - sum(
        ready.pooled[:, u].astype(float).mean() * ready.weights[u] for u in range(ready.units)
    )
    assert logits == pytest.approx(bias, abs=1e-4)
    chart = drawn(unit_classes(tiny_run, ready, 3, split), 3, Caption("tiny", "net")).to_dict()
    assert "unit 3" in chart["title"]["text"]


def test_a_layer_before_the_last_has_no_contribution_of_its_own(tiny_run):
    with pytest.raises(UnitscopeError, match="further layers"):
        unit_classes(tiny_run, prepare(tiny_run, "body.1"), 0)
    ready = prepare(tiny_run, LAYER)
    with pytest.raises(UnitscopeError, match="units 0 to 11"):
        unit_classes(tiny_run, ready, 12)
    with pytest.raises(UnitscopeError, match="no photo of split"):
        unit_classes(tiny_run, ready, 0, "val")


def test_selections_are_whole_and_carry_tags_and_notes(own):
    mark(own, Thing("003"), Marks(("=odd", "b"), "look,\nagain"))
    mark(own, Thing("5", LAYER), Marks(note="a unit"))
    choice = Filter(outcome="wrong", sort="doubtful")
    total, _ = gallery(own, choice, 1, 3)
    frame = photos_of(own, choice)
    assert len(frame) == total > 3 and not frame["correct"].any()
    only = photos_of(own, Filter(ids=("003", "nowhere")))
    assert only["id"].tolist() == ["003"] and only["tags"].tolist() == ["=odd, b"]
    assert gallery(own, Filter(ids=()))[0] == 0
    table = unit_table(own, LAYER)
    units = units_of(own, LAYER, [5, 2])
    assert units["unit"].tolist() == [5, 2] and units["note"].tolist() == ["a unit", ""]
    assert units["iou"].tolist() == table.set_index("unit").loc[[5, 2], "iou"].tolist()


def test_files_hold_the_same_rows(own):
    mark(own, Thing("003"), Marks(("=1+1",), "@note"))
    frame = photos_of(own, Filter(scene="attic"))
    as_csv = pd.read_csv(io.BytesIO(written(frame, "CSV")), dtype={"id": str})
    as_json = json.loads(written(frame, "JSON"))
    as_parquet = pd.read_parquet(io.BytesIO(written(frame, "Parquet")))
    assert as_parquet.equals(frame)
    assert as_csv["id"].tolist() == [row["id"] for row in as_json] == frame["id"].tolist()
    place = frame["id"].tolist().index("003")
    assert as_json[place]["tags"] == "=1+1"
    # A spreadsheet would run a cell that begins so.
    assert as_csv.loc[place, "tags"] == "'=1+1" and as_csv.loc[place, "note"] == "'@note"
    with pytest.raises(UnitscopeError, match="unknown format"):
        written(frame, "XLS")
