"""The app's pages on a small finished run and on published predictions."""

from __future__ import annotations

import json
import time

import pytest

from core.dissect.predictions import import_predictions
from core.dissect.significance import FDR
from core.runs.run_file import Run
from core.views.images import (
    Filter,
    confused_pairs,
    gallery,
    image_facts,
    image_number,
)
from core.views.units import (
    unit_concepts,
    unit_table,
)
from tests.pages.showing import show, specs, text_of
from tests.two_runs import LAYER

PAGES = ["app.py", "pages/1_Scenes.py", "pages/2_Units.py", "pages/7_Compare.py", "pages/9_Runs.py"]


@pytest.mark.parametrize("page", PAGES)
def test_every_page_opens_by_its_own_address(cache, page):
    at = show(page)
    assert at.title and not at.warning and not at.error


@pytest.mark.parametrize("page", PAGES)
def test_every_page_says_what_to_do_where_there_is_no_run(tmp_path, monkeypatch, page):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "nothing"))
    at = show(page)
    assert any("python -m core run --dataset rooms" in code.value for code in at.code)


def test_overview_tells_what_the_run_is(cache, run):
    at = show("app.py")
    told = text_of(at)
    for word in ("tiny", LAYER, "q = 0.05", "59 used", "1 lost", run.digest):
        assert word in told, word
    above = int(unit_table(run, LAYER)["above"].sum())
    assert f"<b>{above}</b> of 12 units" in told
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert "Do the units mean anything?" in titles and "Accuracy by split" in titles


def test_figures_say_what_they_were_measured_on(cache):
    for page, address in (("app.py", {}), ("pages/2_Units.py", {"unit": "3"})):
        for spec in specs(show(page, definition="annotated", **address)):
            lines = " ".join(spec["title"]["subtitle"])
            assert "tiny · " in lines
            if "Accuracy" not in spec["title"]["text"]:
                assert LAYER in lines and "only annotated pixels" in lines


def test_deep_link_to_a_unit_and_layer(cache, run):
    at = show("pages/2_Units.py", unit="5", layer="body.1")
    best = unit_concepts(run, "body.1", 5).iloc[0]
    assert at.title[0].value == f"Unit 5: {best['name']}" + "?" * int(best["adjusted"] > FDR)
    assert at.metric[0].value == f"{best['iou']:.3f}"
    assert len(specs(at)) == 3


def test_deep_link_to_an_image(cache, run):
    at = show("pages/1_Scenes.py", image="010")
    facts = image_facts(run, image_number(run, "010"))
    assert facts.scene_name in at.title[0].value.lower()
    assert "Photo 010" in text_of(at)


def test_a_run_is_found_by_the_beginning_of_its_name(cache, bare):
    at = show("app.py", run=bare.digest[:6])
    assert bare.digest in text_of(at)


@pytest.mark.parametrize(
    ("page", "address", "said", "link"),
    [
        ("app.py", {"run": "0123456789abcdef"}, "Unknown run", "Open tiny"),
        ("pages/2_Units.py", {"unit": "999"}, "has no unit 999", "Open unit 11"),
        ("pages/2_Units.py", {"unit": "chair"}, "units are numbers", "Open unit 0"),
        ("pages/2_Units.py", {"concept": "thing 22"}, "no concept", "Search thing 2"),
        ("pages/2_Units.py", {"layer": "body.33"}, "layer of this run", "Open body.3"),
        ("pages/1_Scenes.py", {"image": "10"}, "no image", "Open 010"),
        ("pages/1_Scenes.py", {"scene": "cellars"}, "no scene", "Show cellar"),
    ],
)
def test_an_address_with_a_slip_names_the_nearest(cache, page, address, said, link):
    at = show(page, **address)
    assert said in at.warning[0].value
    assert any(link in e.proto.label for e in at.get("page_link")), said


def test_a_run_without_maps_says_so(cache, bare):
    at = show("pages/2_Units.py", run=bare.digest, unit="3")
    assert "kept no activation maps" in text_of(at)
    assert "not measured" in text_of(at)
    at = show("pages/1_Scenes.py", run=bare.digest, image="010")
    assert "kept no activation maps" in text_of(at)


def test_filters_come_from_the_address_and_go_there(cache, run):
    at = show("pages/1_Scenes.py", scene="barn", outcome="wrong")
    total, _ = gallery(run, Filter(scene="barn", outcome="wrong"))
    assert f"{total} photo" in text_of(at)
    at.selectbox(key="at-scene").set_value("attic").run()
    assert at.query_params["scene"] in ("attic", ["attic"])


def test_runs_lists_what_is_finished_unfinished_and_left_out(cache, root, run):
    for name, age in (("aaaa", 1), ("bbbb", 600)):
        folder = root / f"{name}.partial"
        folder.mkdir(exist_ok=True)
        beat = {
            "stage": "count",
            "done": 30,
            "total": 60,
            "rate": 4.0,
            "left": 7.5,
            "time": time.time() - age,
            "dataset": "folder:x",
            "model": name,
            "layers": [LAYER],
            "request": {"dataset": "folder:x", "model": name, "q": 0.02},
        }
        (folder / "progress.json").write_text(json.dumps(beat))
    (root / "cccc.duckdb").write_bytes(b"torn")
    at = show("pages/9_Runs.py", run=run.digest)
    assert len(at.dataframe[0].value) == 2
    # The torn one, with the reason; then the files that the chosen run left out.
    assert at.dataframe[1].value["file"].tolist() == ["cccc.duckdb"]
    assert "is not a run file" in at.dataframe[1].value["why"].iloc[0]
    assert "007.png" in at.dataframe[2].value["file"].iloc[0]
    told = text_of(at)
    assert "Stopped." in told and "No heartbeat for 10 min" in told
    assert "One file cannot be read" in told
    again = "python -m core run --dataset folder:x --model bbbb --q 0.02"
    assert again in [block.value for block in at.code]
    (root / "cccc.duckdb").unlink()
    for name in ("aaaa", "bbbb"):
        (root / f"{name}.partial" / "progress.json").unlink()
        (root / f"{name}.partial").rmdir()


@pytest.fixture
def published(monkeypatch, tmp_path) -> Run:
    """A run without photos, layers and confidence: six images of three scenes, one unscored."""
    table = tmp_path / "p.csv"
    rows = ["den-s,den-s", "den-s,attic-s", "den-s,attic-s", "barn-s,barn-s", "den-s,barn-s"]
    table.write_text("\n".join(["pred,target", *rows, "unk,unk"]) + "\n")
    root = tmp_path / "cache"
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return import_predictions(table, name="published", root=root)


@pytest.mark.parametrize(
    ("page", "address"),
    [
        ("app.py", {}),
        ("pages/1_Scenes.py", {}),
        ("pages/1_Scenes.py", {"view": "matrix", "scene": "attic", "predicted": "den"}),
        ("pages/1_Scenes.py", {"image": "row 2"}),
        ("pages/1_Scenes.py", {"image": "row 6"}),
        ("pages/9_Runs.py", {}),
    ],
)
def test_every_page_shows_published_predictions(published, page, address):
    at = show(page, **address)
    assert at.title and not at.warning and not at.error


def test_overview_of_published_predictions(published):
    at = show("app.py")
    told = text_of(at)
    assert "<b>40.0%</b> accuracy on all photos (2 of 5)" in told
    table = at.dataframe[0].value
    assert table.columns[0] == "scene" and len(table) == 3
    assert table.set_index("scene").loc["attic", "most often predicted as"] == "den"


def test_published_predictions_are_filtered_and_have_no_units(published):
    at = show("pages/1_Scenes.py", scene="attic", outcome="wrong")
    assert at.dataframe[0].value["image"].tolist() == ["row 2", "row 3"]
    assert "no photo to show" in text_of(show("pages/1_Scenes.py", image="row 2"))
    for address in ({}, {"unit": "3"}):
        assert "has no units" in show("pages/2_Units.py", **address).warning[0].value
    pairs = confused_pairs(published)
    assert pairs.iloc[0].tolist() == ["attic", "den", 2, 1.0]
    assert len(pairs) == 2 and pairs["share"].iloc[1] == pytest.approx(0.5)


def test_many_scenes_are_confused_in_a_list(monkeypatch, tmp_path):
    table = tmp_path / "p.csv"
    names = [f"{a}{b}" for a in "abcdefgh" for b in "ijklmnop"]
    rows = [f"{said},{name}" for said, name in zip(names[1:], names, strict=False)]
    table.write_text("\n".join(["pred,target", *rows]) + "\n")
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "cache"))
    import_predictions(table, root=tmp_path / "cache")
    at = show("pages/1_Scenes.py", view="matrix")
    assert not specs(at) and len(at.dataframe[0].value) == 50
