"""Every accuracy and every confusion is of the held-out split, and says so."""

from __future__ import annotations

import json

import pytest

from core.cli import main
from core.dissect.predictions import import_predictions, per_scene
from core.figures.contents import FIGURES, open_view
from core.figures.report import report
from core.views.findings import findings
from core.views.images import confusion
from core.views.runs import judged, summary
from tests.pages.showing import matrix_of, show, text_of
from tests.two_runs import LAYER


@pytest.fixture
def answers(run, root, monkeypatch):
    """Every scored photo of the run as a plain row."""
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return run.sql("""
        SELECT i.split, s.name AS scene, k.name AS predicted, i.correct FROM images i
        JOIN scenes s USING (scene) LEFT JOIN classes k ON k.class = i.predicted
        WHERE i.correct IS NOT NULL
        """).to_dict("records")


def test_a_run_is_judged_on_its_held_out_photos(run, answers):
    held_out = [row for row in answers if row["split"] == "test"]
    right = sum(bool(row["correct"]) for row in held_out)
    facts = summary(run)
    assert judged(run) == facts.judged == "test" and 0 < len(held_out) < len(answers)
    assert (facts.answered, facts.right) == (len(held_out), right)
    assert facts.accuracy == right / len(held_out) and facts.scored == len(answers)


def test_scenes_and_confusions_are_counted_on_it(run, answers):
    table = per_scene(run, "test").set_index("scene")
    cells = confusion(run, "test").set_index(["scene", "predicted"])["images"]
    for scene, row in table.iterrows():
        mine = [r for r in answers if r["split"] == "test" and r["scene"] == scene]
        assert (row["images"], row["right"]) == (len(mine), sum(bool(r["correct"]) for r in mine))
        if row["confused"]:
            wrong = [r for r in mine if r["predicted"] == row["confused_with"]]
            assert row["confused"] == len(wrong) == cells[scene, row["confused_with"]]


def test_the_overviews_confusion_opens_the_photos_it_counts(run, answers):
    found = next(one for one in findings(run, LAYER) if one.page == "scenes")
    mine = [
        row
        for row in answers
        if row["split"] == "test"
        and (row["scene"], row["predicted"]) == (found.address["scene"], found.address["predicted"])
    ]
    assert f"on test: {len(mine)} of" in found.text and found.address["split"] == "test"


def test_titles_name_the_split(run, answers):
    view = open_view(run, LAYER)
    title = FIGURES["confusion"].draw(view).to_dict()["title"]
    assert "Confusion matrix, test" in json.dumps(title) and "split test" in json.dumps(title)
    said = report(view, photos=False)
    assert (
        "Scene by scene, test" in said and f"accuracy on test {summary(run).accuracy:.1%}" in said
    )


def test_the_matrix_of_the_page_is_of_it_and_all_is_a_choice(run, answers):
    def drawn(**address):
        at = show("pages/1_Scenes.py", run=run.digest, view="matrix", **address)
        title, cells = matrix_of(at)
        return title, sum(map(int, cells.values()))

    title, photos = drawn()
    assert "matrix, test" in title and photos == sum(row["split"] == "test" for row in answers)
    title, photos = drawn(split="all")
    assert "matrix, all photos" in title and photos >= len(answers)


def test_the_overview_names_the_split_beside_its_numbers(run, answers):
    at = show("app.py", run=run.digest)
    facts = summary(run)
    assert f"accuracy, test (n = {facts.answered}) {facts.accuracy:.1%}" in text_of(at)


def test_where_no_split_is_held_out_it_is_said(tmp_path, monkeypatch, capsys):
    table = tmp_path / "p.csv"
    table.write_text("pred,target\nden-s,den-s \nden-s,attic-s\nden-s,unk\n")
    made = import_predictions(table, root=tmp_path / "runs")
    facts = summary(made)
    assert (facts.judged, facts.answered, facts.right, facts.accuracy) == ("", 2, 1, 0.5)
    made.close()
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "runs"))
    assert "accuracy on all photos (1 of 2)" in text_of(show("app.py"))
    assert main(["show", made.digest, "--out", str(tmp_path / "runs")]) == 0
    assert "no split is held out" in capsys.readouterr().out


def test_the_command_line_says_the_held_out_one_first(run, root, capsys):
    assert main(["show", run.digest, "--out", str(root)]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if " right (" in line]
    assert lines[0].startswith("accuracy   test:") and lines[-1].strip().startswith("all photos:")
