"""The layers of one run side by side, against a count of each layer's units one by one."""

from __future__ import annotations

import math

import pytest

from core.dissect.labels import better_than_chance
from core.figures.base import Caption
from core.figures.units import layers as drawn
from core.views.layers import by_layer, categories_by_layer, concepts_by_layer
from core.views.units import unit_table
from tests import tiny


@pytest.mark.parametrize("denominator", ["all", "annotated"])
def test_layers_are_counted_as_they_are_alone(run, denominator):
    frame = by_layer(run, denominator).set_index("layer")
    assert list(frame.index) == ["body.1", "body.3"]
    for layer in frame.index:
        table = unit_table(run, layer, denominator)
        assert frame.loc[layer, "units"] == len(table)
        assert frame.loc[layer, "above"] == sum(bool(one) for one in table["above"])
        ious = sorted(table["iou"])
        middle = (ious[(len(ious) - 1) // 2] + ious[len(ious) // 2]) / 2
        assert math.isclose(frame.loc[layer, "iou"], middle)
        result = better_than_chance(run, layer, denominator)
        assert frame.loc[layer, "by_chance"] == pytest.approx(result.by_chance)


def test_without_chance_all_labels_count(bare):
    frame = by_layer(bare)
    assert frame["above"].isna().all() and frame["by_chance"].isna().all()
    table = unit_table(bare, "body.3").dropna(subset="name")
    assert categories_by_layer(bare)["units"].sum() == len(table)
    found = concepts_by_layer(bare).set_index("name")
    for name, rows in table.groupby("name"):
        assert found.loc[name, "units body.3"] == len(rows)
        assert found.loc[name, "IoU body.3"] == rows["iou"].max()


def test_concepts_of_both_layers_add_up(tmp_path):
    folder = tiny.write_folder(tmp_path / "photos", 60)
    both = tiny.dissect(f"folder:{folder}", tmp_path, layers=("body.1", "body.3"), shuffles=0)
    kinds, found = categories_by_layer(both), concepts_by_layer(both)
    assert len(found) > 1 and found["name"].is_unique
    for layer in both.layer_names:
        table = unit_table(both, layer)
        above = table.dropna(subset="name")
        assert found[f"units {layer}"].sum() == len(above)
        assert kinds.loc[kinds["layer"] == layer, "units"].sum() == len(above)
        share = kinds.loc[kinds["layer"] == layer, "share"].sum()
        assert math.isclose(share, len(above) / len(table))
    none = found[f"units {both.layer_names[0]}"] == 0
    assert found.loc[none, f"IoU {both.layer_names[0]}"].isna().all()
    chart = drawn(kinds, both.layer_names, Caption("tiny", "net")).to_dict()
    assert chart["encoding"]["y"]["sort"] == both.layer_names
