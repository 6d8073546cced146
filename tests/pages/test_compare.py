"""Sides beside each other, against slow recomputation; the page; the form that starts a run."""

from __future__ import annotations

import json
from math import comb

import numpy as np
import pandas as pd
import pytest

from benchmarks import drawn_run
from core import views
from core.dissect.predictions import import_predictions
from core.figures import Caption
from core.figures import compare as drawn
from core.foundation import jobs
from core.foundation.names import plain_name
from core.views import compare, start
from tests.pages.test_app import bare, cache, root, run, show, specs, text_of  # noqa: F401

pytestmark = pytest.mark.usefixtures("facts_without_effect")


@pytest.fixture
def answers() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two networks' answers on images that partly coincide."""
    rng = np.random.default_rng(3)

    def one(first: int, count: int) -> pd.DataFrame:
        ids = [f"i{k}" for k in range(first, first + count)]
        scene = [f"s{k % 3}" for k in range(first, first + count)]
        said = [f"s{k}" for k in rng.integers(0, 3, count)]
        frame = pd.DataFrame(
            {"image": range(count), "id": ids, "split": "all", "scene": scene, "predicted": said}
        )
        return frame.assign(correct=frame["scene"] == frame["predicted"])

    return one(0, 50), one(20, 60)


def test_agreement_image_by_image(answers):
    one, other = answers
    met = compare.met(one, other)
    told = compare.agreement(met)
    counts = dict.fromkeys(("both", "first", "second", "neither"), 0)
    same = 0
    for a in one.itertuples():
        for b in other.itertuples():
            if a.id == b.id:
                kind = {(1, 1): "both", (1, 0): "first", (0, 1): "second", (0, 0): "neither"}
                counts[kind[int(a.correct), int(b.correct)]] += 1
                same += a.predicted == b.predicted
    assert {k: told[k] for k in counts} == counts
    assert told["images"] == 30 and told["same"] == pytest.approx(same / 30)
    n, k = counts["first"] + counts["second"], min(counts["first"], counts["second"])
    exact = min(1.0, 2 * sum(comb(n, j) for j in range(k + 1)) / 2**n)
    assert told["p"] == pytest.approx(exact)
    assert np.isnan(compare.agreement(met.iloc[:0])["p"])


def test_concepts_and_their_overlap(run):  # noqa: F811
    found = {layer: views.detected(run, layer, above=False) for layer in ("body.1", "body.3")}
    table = compare.concepts(found)
    sets = {}
    for layer, frame in found.items():
        sets[layer] = {
            (plain_name(r.name), r.category): r.units for r in frame.itertuples(index=False)
        }
        told = table[table[layer] > 0]
        mine = {(r.concept, r.category): getattr(r, "units", None) for r in told.itertuples()}
        assert set(mine) == set(sets[layer])
        assert told[layer].sum() == sum(sets[layer].values())
    a, b = (set(s) for s in sets.values())
    pair = compare.overlaps(table, list(found)).iloc[0]
    assert (pair["shared"], pair["only_first"]) == (len(a & b), len(a - b))
    assert pair["jaccard"] == pytest.approx(len(a & b) / len(a | b))
    nothing = compare.concepts({"x": found["body.1"].iloc[:0], "y": found["body.1"].iloc[:0]})
    assert not len(nothing)


def test_a_side_and_its_reach(run):  # noqa: F811
    side = compare.side(run, "body.3", "all", "test")
    images = run.sql("SELECT correct FROM images WHERE split = 'test' AND correct IS NOT NULL")
    assert side["scored"] == len(images) and side["right"] == images["correct"].sum()
    assert side["units"] == 12 and side["low"] <= side["accuracy"] <= side["high"]
    table = views.unit_table(run, "body.3")
    reach = compare.reach(run, "body.3")
    for row in reach.iloc[::17].itertuples():
        assert row.share == pytest.approx((table["iou"] >= row.iou).mean())
    assert reach["share"].iloc[0] == 1 and reach["share"].iloc[-1] == pytest.approx(1 / 12)


def test_conditions_that_differ_are_named(run, bare):  # noqa: F811
    sides = [compare.side(run, "body.3"), compare.side(bare, "body.3")]
    assert compare.differing(sides) == ["shuffles"]
    assert sides[1]["above"] is None


def test_table_4_of_a_side_is_that_of_the_tables(run):  # noqa: F811
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import table_4

    frame, notes = compare.false_explanation(run, "body.1")
    whole = table_4([run], open_knowledge("builtin"), layer="body.1")
    expected = [*whole.notes, *whole.dashes()]
    assert len(frame) == 2 and notes[: len(expected)] == expected
    assert all("is a node of builtin" in note for note in notes[len(expected) :])
    for row, (names, told) in zip(frame.to_dict("records"), whole.rows, strict=True):
        assert row["core concepts"] == names[1]
        for name in whole.columns:
            np.testing.assert_equal(row[name], told.figures[name].value)


@pytest.mark.parametrize("dark", [False, True])
def test_charts_say_what_they_were_measured_on(answers, dark):
    caption = Caption("tiny", "a and b", "", "", "30 images")
    told = compare.agreement(compare.met(*answers))
    frame = pd.DataFrame(
        {
            "side": ["a", "b"],
            "share": [0.2, 0.4],
            "low": [0.1, 0.3],
            "high": [0.3, 0.5],
            "told": ["1", "2"],
        }
    )
    kinds = pd.DataFrame({"side": ["a", "b"], "category": "part", "concepts": 1, "units": 2})
    reach = pd.DataFrame({"side": ["a", "b"], "iou": 0.1, "share": 0.5})
    for chart in (
        drawn.agreement(told, "a", "b", caption, dark),
        drawn.shares(frame, "What", "share", caption, dark),
        drawn.categories(kinds, caption, dark),
        drawn.reach(reach, caption, dark),
    ):
        assert "tiny · a and b" in chart.to_dict()["title"]["subtitle"]


# -- pages ----------------------------------------------------------------------------------


def test_compare_opens_with_what_is_most_alike(cache, run, bare):  # noqa: F811
    at = show("pages/7_Compare.py")
    # This run's other layer comes before another run.
    assert at.multiselect[0].value == [f"{run.digest}:body.3", f"{run.digest}:body.1"]
    assert "layers of one run" in text_of(at)
    assert at.dataframe[0].value["side"].tolist() == ["body.3", "body.1"]
    sides = f"{run.digest}:body.3,{bare.digest}:body.3,nonsense"
    at = show("pages/7_Compare.py", sides=sides, split="test")
    assert len(at.dataframe[0].value) == 2
    told = text_of(at)
    assert "differ in their rounds of shuffled labels" in told
    assert "Of **30** images that both were shown, they give the same answer on **100%**" in told
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert "Who is right, image by image" in titles and "How far the labels reach" in titles
    at.multiselect[0].set_value([f"{run.digest}:body.1"]).run()
    assert at.query_params["sides"] in (f"{run.digest}:body.1", [f"{run.digest}:body.1"])
    assert "Choose another layer" in text_of(at)


def test_compare_reckons_table_4_when_asked(cache, run):  # noqa: F811
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
    assert "Of **3** images" in text_of(at) and not at.error


def test_a_report_is_offered(cache, run):  # noqa: F811
    at = show("app.py", run=run.digest)
    assert at.multiselect(key=f"report-figures-{run.digest}").value[0] == "accuracy"
    assert [b.label for b in at.get("download_button")].count("Save the report") == 1


# -- the form that starts a run -------------------------------------------------------------


def test_the_form_comes_from_the_address_and_offers_what_a_check_found(cache, owner):  # noqa: F811
    request = {
        "dataset": "folder:x",
        "model": "python:m:f",
        "layers": ["b"],
        "splits": [],
        "q": 0.02,
        "shuffles": 500,
        "keep_maps": False,
        "knowledge": "builtin",
        "scenes": "my.csv",
    }
    asked = start.arguments(request, cache)
    name = start.check_name(asked)
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
            "data": "folder:x",
            "net": "python:m:f",
            "dissect": "b",
            "q": "0.02",
            "maps": "0",
            "places": "my.csv",
        }
        at = show("pages/9_Runs.py", **address)
        assert at.text_input(key="at-data").value == "folder:x"
        assert at.multiselect(key="at-dissect").value == ["b"]
        said = text_of(at)
        assert "time ≈ 1 min 10 s" in said and "on disk 2.0 MB" in said
        assert "1 of 3 scenes are no class" in said and "1 files cannot be used" in said
        again = "python -m core run --dataset folder:x --model python:m:f --layer b --q 0.02"
        assert f"{again} --no-maps --scenes my.csv" in said
        assert "'moon' is no scene of the dataset" in said
        assert [b.label for b in at.button if b.label == "Start"] == ["Start"]
        # Another choice is another run, not yet checked.
        at = show("pages/9_Runs.py", **address, only="test")
        assert not [b for b in at.button if b.label == "Start"]
        assert at.multiselect(key="at-only").value == ["test"]
    finally:
        jobs.forget(name, cache)


def test_a_failed_job_is_told_and_can_be_tried_again(cache, owner):  # noqa: F811
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
        assert {"Try again", "Put away"} <= {b.label for b in at.button}
        at.button(key="away-f00d").click().run()
        assert jobs.watch("f00d", cache) is None
    finally:
        jobs.forget("f00d", cache)


def test_others_may_look_but_not_start(cache):  # noqa: F811
    at = show("pages/9_Runs.py")
    assert not [b for b in at.button if b.label == "Check"]
    assert "started here by owners alone" in text_of(at)


# -- the drawn run ---------------------------------------------------------------------------


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
    assert views.thumbnail(made, 7, 64)[:2] == b"\xff\xd8"
