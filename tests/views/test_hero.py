"""The first picture is chosen by numbers alone, and labels that chance reaches are marked."""

from __future__ import annotations

import numpy as np
import pytest

from core.cli import main
from core.dissect.significance import FDR
from core.figures.contents import TABLES, open_view
from core.views.disable import labelled_units
from core.views.findings import detectors, hero
from core.views.units import unit_table
from tests.pages.showing import show, text_of
from tests.two_runs import LAYER


@pytest.fixture
def units(run, root, monkeypatch):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return unit_table(run, LAYER)


def test_the_hero_is_by_iou_and_its_photos_by_peak(run, units):
    shown = hero(run, LAYER)
    named = [row for row in units.to_dict("records") if isinstance(row["name"], str)]
    wanted = sorted(
        named, key=lambda r: (not r["above"], r["category"] == "scene", -r["iou"], r["unit"])
    )
    assert [one.unit for one in shown] == [row["unit"] for row in wanted[:3]]
    for one, row in zip(shown, wanted, strict=False):
        assert one.iou == row["iou"]
        peaks = run.sql(
            "SELECT image, peak FROM hits JOIN layers USING (layer) WHERE name = ? AND unit = ?",
            [LAYER, one.unit],
        ).set_index("image")["peak"]
        lowest = min(peaks[image] for image in one.images)
        assert len(one.images) == min(5, len(peaks)) and (peaks > lowest).sum() <= 4
        assert list(one.images) == sorted(one.images, key=lambda image: -peaks[image])


def test_the_overview_prints_iou_and_what_kind_of_detector(run, units):
    said = text_of(show("app.py", run=run.digest))
    for one in hero(run, LAYER):
        assert f"unit {one.unit}: {one.label}**" in said
        assert f"{one.detector} · IoU {one.iou:.3f}" in said
    kinds = detectors(run, LAYER)
    sure = units[units["above"]]
    assert sum(kinds.values()) == len(sure)
    assert kinds.get("scene detector", 0) == (sure["category"] == "scene").sum()


def test_labels_that_chance_reaches_are_marked_wherever_they_stand(run, root, units, capsys):
    doubtful = units[(units["adjusted"] > FDR) & units["name"].notna()]
    assert len(doubtful)
    unit = doubtful.sort_values("iou").iloc[-1]
    marked = f"{unit['name']}?"
    assert unit["label"] == marked
    assert show("pages/2_Units.py", unit=str(unit["unit"]), run=run.digest).title[0].value == (
        f"Unit {unit['unit']}: {marked}"
    )
    frame = show("pages/2_Units.py", run=run.digest).dataframe[0].value.set_index("unit")
    assert frame.loc[unit["unit"], "label"] == marked
    assert labelled_units(run, LAYER, "all").set_index("unit").loc[unit["unit"], "label"] == marked
    rows = TABLES["units"].rows(open_view(run, LAYER)).set_index("unit")
    assert rows.loc[unit["unit"], "label"] == marked
    image = run.sql(
        "SELECT id FROM hits JOIN layers USING (layer) JOIN images USING (image) "
        "WHERE name = ? AND unit = ? ORDER BY peak DESC LIMIT 1",
        [LAYER, int(unit["unit"])],
    )["id"][0]
    table = show("pages/1_Scenes.py", image=image, run=run.digest).dataframe[-1].value
    assert table.set_index("unit").loc[unit["unit"], "label"] == marked
    assert main(["show", run.digest, "--out", str(root), "--top", "99"]) == 0
    lines = [
        s for s in capsys.readouterr().out.splitlines() if s.strip().startswith(f"{unit.unit} ")
    ]
    assert any(line.endswith(marked) for line in lines)


def test_labels_are_not_doubted_where_chance_was_not_measured(bare):
    table = unit_table(bare, LAYER)
    assert np.isnan(table["chance"]).all() and not table["label"].str.endswith("?").any()
