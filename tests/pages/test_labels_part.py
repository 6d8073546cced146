"""Labels of every method with their scores, on the pages Units and Compare."""

from __future__ import annotations

import shutil

import numpy as np
import pytest

from core.cli import main
from core.figures import labels as figures
from core.figures.base import Caption
from core.figures.export import export
from core.runs.run_file import Run
from core.views import benches
from pages.parts import access, changes
from tests.labelling import feature_files
from tests.pages.showing import show, specs, text_of

pytestmark = pytest.mark.usefixtures("facts_without_effect")

UNITS, COMPARE = "pages/2_Units.py", "pages/7_Compare.py"
METHODS = "dataset,single,linear"


@pytest.fixture(scope="module")
def root(tiny_run, tmp_path_factory):
    """A run whose last layer was compared, and whose first was not."""
    root = tmp_path_factory.mktemp("runs")
    shutil.copy(tiny_run.path, root)
    (root / tiny_run.arrays.name).symlink_to(tiny_run.arrays)
    given = ["labels", tiny_run.digest, "--out", str(root), "--methods", METHODS]
    assert main([*given, "--by", "mean", "--photos", "6", "--layer", "body.3"]) == 0
    return root


@pytest.fixture(autouse=True)
def cache(root, monkeypatch):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))


@pytest.fixture(scope="module")
def bench(root, tiny_run):
    with Run(root / tiny_run.path.name) as run:
        return benches.latest(run, "body.3")


def frame_with(at, column):
    return next(d.value for d in at.dataframe if column in d.value.columns)


def test_a_unit_shows_every_method_with_both_scores(bench):
    at = show(UNITS, layer="body.3", unit="1")
    rows = frame_with(at, "causal score")
    wanted = bench.unit(1)
    assert rows["method"].tolist() == [
        {"dataset": "NetDissect", "single": "Best single concept"}.get(name, "Linear explanation")
        for name in wanted["method"]
    ]
    assert np.allclose(rows["simulation"], wanted["image"])
    assert "judged by test (75 photos)" in text_of(at)
    assert "What each method calls it" not in text_of(at)  # one table of methods, not two


def test_units_of_any_method_are_found_by_a_concept(bench):
    name = bench.units["label"][0]
    at = show(UNITS, layer="body.3", says=name)
    rows = frame_with(at, "place")
    assert rows["unit"].tolist() == bench.find(name)["unit"].tolist()
    assert f"have to do with *{name}*" in text_of(at) or "has to do with" in text_of(at)
    at = show(UNITS, layer="body.3", says="zebra")
    assert "unknown concept" in " ".join(box.value for box in at.info).lower()


@pytest.mark.parametrize("score", list(benches.NAMES))
def test_methods_are_compared_by_every_score(score, tiny_run):
    at = show(COMPARE, layer="body.3", sides=f"{tiny_run.digest}:body.3", score=score)
    assert not at.exception and "Labels by every method" in [s.value for s in at.header]
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert "How true are the labels of each method?" in titles
    assert "Units whose label begins with the same concept" in titles


def test_where_nothing_was_compared_owners_can_start_it(owner, monkeypatch, tiny_run):
    started = []
    monkeypatch.setattr(changes, "start_measuring", lambda asked, root: started.append(asked))
    at = show(UNITS, layer="body.1", unit="1")
    assert "have not been compared on this layer yet" in text_of(at)
    at.button(key="do-unit-labels").click().run()
    assert started[0][:4] == ["labels", tiny_run.digest, "--layer", "body.1"]


def test_charts_state_what_they_show(bench):
    about = Caption("photos", "net", "body.3", "learned from train", "judged by test")
    rows = benches.score_rows({"one": bench, "other": bench}, "image")
    for dark in (False, True):
        svg = export(figures.methods(rows, benches.AXES["image"], about, dark), "svg", dark)
        assert b"judged by test" in svg and b"Linear explanation" in svg and b"other" in svg
        svg = export(figures.agreement(benches.same_rows(bench), about, dark), "svg", dark)
        assert b"100%" in svg
    assert rows.groupby("side")["method"].apply(list).map(tuple).nunique() == 1


def test_labels_are_shown_with_short_weights():
    shown = benches.shown_label("0.741934 dining_room + 1.5e-05 (bed AND NOT lamp) - 3.2 wall")
    assert shown == "0.74 dining room + 1.5e-05 (bed AND NOT lamp) - 3.2 wall"
    assert benches.shown_label("room 101") == "room 101"


def test_a_text_that_no_label_says_is_compared_by_the_encoder(root, tiny_run, tmp_path):
    """Where the bench was made with an encoder, and the reader may name files."""
    names = tiny_run.sql("SELECT DISTINCT name FROM concepts ORDER BY name")["name"].tolist()
    held = feature_files.arrays(tiny_run, 3, ["a place to sleep", *names])
    spec = feature_files.write(tmp_path / "f.npz", held)
    own = tmp_path / "runs"
    own.mkdir()
    shutil.copy(tiny_run.path, own)
    (own / tiny_run.arrays.name).symlink_to(tiny_run.arrays)
    given = ["labels", tiny_run.digest, "--out", str(own), "--methods", "dataset,clip_cosine"]
    assert main([*given, "--by", "none", "--layer", "body.3", "--encoder", spec]) == 0
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("UNITSCOPE_CACHE", str(own))
        patch.setattr(access, "may_change", lambda: True)
        at = show(UNITS, layer="body.3", says="a place to sleep")
        rows = frame_with(at, "cosine")
        assert rows["cosine"].is_monotonic_decreasing and len(rows) > 2
        assert "No label says *a place to sleep*" in text_of(at)
        at = show(UNITS, layer="body.3", says="a zebra")
        assert "does not know 'a zebra'" in " ".join(box.value for box in at.info)
        patch.setattr(access, "may_change", lambda: False)
        at = show(UNITS, layer="body.3", says="a place to sleep")
        assert not [d for d in at.dataframe if "cosine" in d.value.columns]
