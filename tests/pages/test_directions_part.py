"""Concept vectors and graphs on the page Concepts."""

from __future__ import annotations

import shutil

import pandas as pd
import pytest

from core.directions.findings import COLUMNS, Finding
from core.runs.run_file import Run
from tests.pages.showing import show, text_of

pytestmark = pytest.mark.usefixtures("facts_without_effect")

CONCEPTS = "pages/3_Concepts.py"


@pytest.fixture(autouse=True)
def run(tiny_run, tmp_path, monkeypatch):
    """A run beside which two answers of ACE are kept."""
    shutil.copy(tiny_run.path, tmp_path)
    (tmp_path / tiny_run.arrays.name).symlink_to(tiny_run.arrays)
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path))
    row = {name: 0.5 for name in COLUMNS["ace"]} | {"name": "piece_6"}
    row |= {"segments": 7, "photos": 5}
    with Run(tmp_path / tiny_run.path.name) as run:
        for scene, score in (("attic", 0.75), ("barn", 0.25)):
            frame = pd.DataFrame([row | {"score": score}])
            Finding("ace", "body.3", scene, ("Random sets score 0.9.",), frame).keep(run)
        yield run


def test_what_was_found_is_shown_with_its_control():
    at = show(CONCEPTS, layer="body.3", view="vectors", by="ace", asked="attic")
    (rows,) = [d.value for d in at.dataframe if "TCAV" in d.value.columns]
    assert rows["TCAV"].tolist() == [0.75] and rows["name"].tolist() == ["piece 6"]
    assert "Random sets score 0.9." in text_of(at)
    (box,) = [one for one in at.selectbox if one.label == "Asked"]
    assert set(box.options) == {"attic", "barn"}


@pytest.mark.parametrize("verb", ["conceptshap", "tcav", "ace", "vrx"])
def test_each_can_be_asked(verb, run):
    at = show(CONCEPTS, layer="body.3", view="vectors", by=verb)
    (line,) = [one.value for one in at.code if f"core {verb} {run.digest}" in one.value]
    assert ("--scene" in line) == (verb == "ace") and ("--concept" in line) == (verb == "tcav")
    if verb != "ace":
        assert "has not been asked" in text_of(at)


def test_another_layer_has_its_own():
    at = show(CONCEPTS, layer="body.1", view="vectors", by="ace")
    assert "has not been asked about layer body.1" in text_of(at)
