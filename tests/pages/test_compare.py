"""The page Compare, and the form that starts a run."""

from __future__ import annotations

import json

import numpy as np

from benchmarks import drawn_run
from core.dissect.predictions import import_predictions
from core.foundation import jobs
from core.views import work
from core.views.pictures import thumbnail
from tests.pages.showing import show, specs, text_of


def test_compare_opens_with_what_is_most_alike(cache, run, bare):
    at = show("pages/7_Compare.py")
    # This run's other layer comes before another run.
    assert at.multiselect[0].value == [f"{run.digest}:body.3", f"{run.digest}:body.1"]
    assert "layers of one run" in text_of(at)
    assert at.dataframe[0].value["side"].tolist() == ["body.3", "body.1"]
    sides = f"{run.digest}:body.3,{bare.digest}:body.3,nonsense"
    at = show("pages/7_Compare.py", sides=sides, split="test")
    assert len(at.dataframe[0].value) == 2
    told = text_of(at)
    assert "also differ in their rounds of shuffled labels" in told
    assert "On **30** photos that both were given, predictions agree on **100%**" in told
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert "Correct predictions, photo by photo" in titles
    assert "IoU of the units’ labels" in titles
    at.multiselect[0].set_value([f"{run.digest}:body.1"]).run()
    assert at.query_params["sides"] in (f"{run.digest}:body.1", [f"{run.digest}:body.1"])
    assert "Choose another layer" in text_of(at)


def test_compare_computes_table_4_when_asked(cache, run):
    at = show("pages/7_Compare.py", sides=f"{run.digest}:body.3", table4="1")
    assert at.dataframe[-1].value["core concepts"].tolist() == ["SCC", "ICC"]
    at = show(
        "pages/7_Compare.py", sides=f"{run.digest}:body.3", table4="1", knowledge="nonsense:x"
    )
    assert "nonsense" in at.error[0].value


def test_compare_takes_published_predictions(monkeypatch, tmp_path):
    for k, rows in enumerate((["a,a", "a,b", "b,b"], ["a,a", "b,b", "a,b"])):
        table = tmp_path / f"p{k}.csv"
        table.write_text("\n".join(["pred,target", *rows]) + "\n")
        import_predictions(table, name=f"p{k}", root=tmp_path / "cache")
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "cache"))
    at = show("pages/7_Compare.py")
    assert "On **3** photos" in text_of(at) and not at.error


def test_a_report_is_offered(cache, run):
    at = show("app.py", run=run.digest)
    assert at.multiselect(key=f"report-figures-{run.digest}").value[0] == "accuracy"
    assert [b.label for b in at.get("download_button")].count("Save the report") == 1


def test_the_form_comes_from_the_address_and_offers_what_a_check_found(cache, owner):
    request = {
        "dataset": "folder:data",
        "model": "python:tests.tiny:net",
        "layers": ["b"],
        "splits": [],
        "q": 0.02,
        "shuffles": 500,
        "keep_maps": False,
        "knowledge": "builtin",
        "scenes": "data/everyday.tsv",
    }
    asked = work.arguments(request, cache)
    name = work.check_name(asked)
    folder = cache / "jobs" / name
    folder.mkdir(parents=True)
    told = {
        "run": "feed",
        "finished": False,
        "sizes": {"maps": 2_000_000},
        "free": 10**9,
        "images": 60,
        "dataset": "x",
        "scenes": 3,
        "outputs": 3,
        "concepts": 7,
        "categories": ["object"],
        "splits": {"test": 20, "train": 40},
        "left_out": 1,
        "known_scenes": 2,
        "layer": ["b"],
        "layers": [{"name": n, "units": 8, "height": 4, "width": 4} for n in "ab"],
        "default_layer": "b",
        "grid": [8, 8],
        "input_size": [16, 16],
        "notes": ["my.csv: line 7: 'moon' is no scene of the dataset"],
        "seconds": {"seconds": 70.0, "low": 60.0, "high": 90.0, "images": 60},
    }
    (folder / "out").write_text(json.dumps(told) + "\n")
    (folder / "job.json").write_text(
        json.dumps(
            {
                "arguments": [*asked, "--plan", "--json"],
                "progress": "",
                "started": 2e9,
                "status": 0,
                "ended": 2e9,
            }
        )
    )
    try:
        address = {
            "data": "folder:data",
            "net": "python:tests.tiny:net",
            "dissect": "b",
            "q": "0.02",
            "maps": "0",
            "places": "data/everyday.tsv",
        }
        at = show("pages/9_Runs.py", **address)
        assert at.text_input(key="at-data").value == "folder:data"
        assert at.multiselect(key="at-dissect").value == ["b"]
        said = text_of(at)
        assert "time ≈ 1 min 10 s" in said and "on disk 2.0 MB" in said
        assert "1 of 3 scenes are no class" in said and "1 photos cannot be used" in said
        again = "python -m core run --dataset folder:data --model python:tests.tiny:net"
        assert f"{again} --layer b --q 0.02 --no-maps --scenes data/everyday.tsv" in said
        assert "'moon' is no scene of the dataset" in said
        assert [b.label for b in at.button if b.label == "Start"] == ["Start"]
        # Another choice is another run, not yet checked.
        at = show("pages/9_Runs.py", **address, only="test")
        assert not [b for b in at.button if b.label == "Start"]
        assert at.multiselect(key="at-only").value == ["test"]
    finally:
        jobs.forget(name, cache)


def test_a_failed_job_is_told_and_can_be_tried_again(cache, owner):
    folder = cache / "jobs" / "f00d"
    folder.mkdir(parents=True)
    (folder / "log").write_text("reading\nerror: there is no folder x\n")
    facts = {
        "arguments": ["run", "--dataset", "folder:x", "--model", "rooms"],
        "progress": "",
        "started": 2e9,
        "status": 2,
        "ended": 2e9,
    }
    (folder / "job.json").write_text(json.dumps(facts))
    try:
        at = show("pages/9_Runs.py")
        assert "there is no folder x" in [t.value for t in at.text]
        assert {"Try again", "Dismiss"} <= {b.label for b in at.button}
        at.button(key="dismiss-f00d").click().run()
        assert jobs.watch("f00d", cache) is None
    finally:
        jobs.forget("f00d", cache)


def test_others_may_look_but_not_start(cache):
    at = show("pages/9_Runs.py")
    assert not [b for b in at.button if b.label == "Check"]
    assert "started here by owners alone" in text_of(at)


def test_a_drawn_run_fits_together(tmp_path):
    made = drawn_run.make(120, 16, 1, tmp_path)
    labels = made.array("labels")
    areas = made.sql("SELECT a.* FROM areas a JOIN concepts USING (concept) WHERE NOT whole")
    for row in areas.sample(40, random_state=0).itertuples():
        assert row.area == (labels[row.image] == row.concept).sum()
    ious = made.sql("SELECT * FROM image_iou")
    assert ious["iou_image"].between(0, 1).all() and (ious["overlap"] <= ious["area"]).all()
    peaks = made.array("peaks-layer4")
    hits = made.sql("SELECT image, unit, peak FROM hits")
    assert (peaks > 1).sum() == len(hits)
    np.testing.assert_array_equal(peaks[hits["image"], hits["unit"]], hits["peak"])
    right = made.array("logits").argmax(1) == made.sql("SELECT scene FROM images")["scene"]
    assert right.sum() == made.info["accuracy"]["right"]
    again = drawn_run.make(120, 16, 1, tmp_path / "again")
    assert again.info["tables_digest"] == made.info["tables_digest"]
    assert thumbnail(made, 7, 64)[:2] == b"\xff\xd8"
