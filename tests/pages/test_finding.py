"""What helps to find one's way: names of runs, undo, layers, search, tags, notes, queries."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.foundation.settings import EMBEDDED, command
from core.runs.notes import Marks, Thing, list_filters, mark, marks_of
from core.runs.run_file import Run
from core.runs.run_names import read_names
from core.runs.unit_sets import list_sets, save_set
from core.views.runs import resolve
from pages.parts.registry import pages
from tests.browsing import ROOT
from tests.pages.showing import show, specs, text_of
from tests.two_runs import LAYER


@pytest.fixture
def own(two_runs, tmp_path, monkeypatch) -> Path:
    """A copy of the two runs for one test alone, where the app looks for runs."""
    folder = shutil.copytree(two_runs, tmp_path / "cache")
    for path in sorted(two_runs.glob("*.duckdb")):  # the copy has the times of the original
        shutil.copystat(path, folder / path.name)
    monkeypatch.setenv("UNITSCOPE_CACHE", str(folder))
    return folder


def newest(root: Path) -> Run:
    return Run(resolve(None, root))


def other(root: Path) -> str:
    """The digest of the run that is not the newest."""
    return next(p.stem for p in root.glob("*.duckdb") if p != resolve(None, root))


# -- runs --------------------------------------------------------------------------------------


def test_the_pinned_run_is_the_front_page_and_named_everywhere(own, owner):
    digest = other(own)
    at = show("pages/9_Runs.py", run=digest)
    at.text_input(key=f"name-{digest}").set_value("without maps").run()
    next(b for b in at.button if b.label.startswith("Pin")).click().run()
    assert not at.exception
    kept = read_names(own)
    assert kept.of(digest) == "without maps" and kept.pinned == digest
    assert "without maps" in [s.value for s in at.header]
    assert "without maps (pinned)" in at.dataframe[0].value["name"].tolist()

    at = show("app.py")
    assert f"without maps ({digest})" in text_of(at)
    picker = next(s for s in at.selectbox if s.label == "Run")
    assert "without maps" in picker.options
    sides = show("pages/7_Compare.py").multiselect[0].options
    assert any(one.startswith("without maps · ") for one in sides), sides

    at = show("pages/9_Runs.py", run=digest)
    at.text_input(key=f"name-{digest}").set_value("latest").run()
    assert "choose another name" in at.error[0].value
    next(b for b in at.button if b.label == "Unpin").click().run()
    assert read_names(own).pinned == ""


def test_visitors_name_and_pin_nothing(own):
    at = show("pages/9_Runs.py")
    assert not [b for b in at.button if b.label.startswith("Pin")]
    assert not [t for t in at.text_input if t.label == "Name of this run"]


def test_a_damaged_file_of_names_is_said_and_pages_go_on(own):
    (own / "run-names.json").write_text("{")
    assert "damaged" in show("pages/9_Runs.py").warning[0].value
    assert not show("app.py").warning


def test_the_command_line_knows_names(own, capsys):
    from core.cli import main

    digest = other(own)
    assert main(["runs", "--name", digest, "no maps", "--pin", digest, "--out", str(own)]) == 0
    line = next(one for one in capsys.readouterr().out.splitlines() if digest in one)
    assert line.endswith("“no maps”  pinned")
    assert main(["show", "no maps", "--out", str(own)]) == 0
    assert digest in capsys.readouterr().out
    assert main(["runs", "--unpin", "--out", str(own)]) == 0
    assert read_names(own).pinned == ""


def test_what_make_makes_is_what_the_app_offers():
    """One request for the embedded run, of two layers."""
    asked = command(EMBEDDED).removeprefix("python ")
    assert asked in (ROOT / "Makefile").read_text()
    assert len(EMBEDDED["layers"]) == 2


def test_layers_are_compared_on_the_front_page(own):
    at = show("app.py")
    assert "Layer by layer" in [s.value for s in at.header]
    table = next(d.value for d in at.dataframe if "median IoU" in d.value)
    assert table["layer"].tolist() == ["body.1", "body.3"]
    at = show("app.py", run=other(own))
    assert "Layer by layer" not in [s.value for s in at.header]


def test_a_deleted_set_comes_back(own, owner):
    run = newest(own)
    save_set(run, LAYER, "mine", [1, 2], "by hand")
    at = show("pages/5_Disable.py")
    next(b for b in at.button if b.icon == ":material/delete:").click().run()
    assert list_sets(run, LAYER).empty and "Deleted “mine”." in [t.value for t in at.text]
    at.button(key="undo-set").click().run()
    kept = list_sets(run, LAYER)
    assert kept[["name", "units", "why"]].values.tolist() == [["mine", [1, 2], "by hand"]]
    assert not [b for b in at.button if b.key == "undo-set"] and not at.exception


# -- search, tags, filters, queries ------------------------------------------------------------

EVERY = [page.form for page in pages()]


@pytest.mark.parametrize("page", EVERY)
def test_every_page_has_the_search_box_and_answers_there(cache, page):
    at = show(page, find="attic")
    assert at.text_input(key="at-find").value == "attic"
    found = [one.proto.label for one in at.sidebar.get("page_link")]
    assert any(label.startswith("attic :gray[") for label in found), found
    kinds = [c.value for c in at.sidebar.caption]
    assert "**scenes**" in kinds and "**concepts**" in kinds


def test_a_search_leads_where_it_says(cache):
    at = show("app.py", find="unit 3")
    link = next(x.proto for x in at.sidebar.get("page_link") if x.proto.label.startswith("unit 3"))
    assert "unit=3" in link.query_string and f"layer={LAYER}" in link.query_string
    at = show("app.py", find="nothing *of* the kind")
    assert any("Nothing is called nothing \\*of\\*" in c.value for c in at.sidebar.caption)


def test_an_owner_marks_a_photo_and_a_visitor_reads_it(own, owner, monkeypatch):
    run = newest(own)
    at = show("pages/1_Scenes.py", image="010")
    at.text_input(key=f"tags-{run.digest}--010").set_value("Odd, :red[x]")
    at.text_area(key=f"note-{run.digest}--010").set_value("Blurred")
    next(b for b in at.button if b.label == "Save").click().run()
    assert not at.exception
    assert marks_of(run, Thing("010")) == Marks((":red[x]", "odd"), "Blurred")
    told = text_of(at)
    assert "odd" in told and "\\:red\\[x\\]" in told and "Blurred" in [t.value for t in at.text]

    at = show("pages/1_Scenes.py", tag="odd")
    assert "1 photo" in text_of(at)
    monkeypatch.setattr("pages.parts.access.who", lambda: "")
    at = show("pages/1_Scenes.py", image="010")
    assert "Blurred" in [t.value for t in at.text]
    assert not [t for t in at.text_input if t.label == "Tags"]


def test_units_are_marked_and_listed_by_tag(own, owner):
    run = newest(own)
    mark(run, Thing("3", LAYER), Marks(("odd",)))
    at = show("pages/2_Units.py", tag="odd")
    assert "1 of 12 units" in text_of(at)
    at = show("pages/2_Units.py", unit="3")
    assert "odd" in text_of(at)
    # The tag is of this layer's unit alone.
    assert "odd" not in text_of(show("pages/2_Units.py", unit="3", layer="body.1"))


def test_a_filter_is_saved_followed_deleted_and_brought_back(own, owner):
    run = newest(own)
    at = show("pages/1_Scenes.py", scene="barn", outcome="wrong")
    at.text_input(key="filter-Scenes").set_value("wrong barns")
    next(b for b in at.button if b.label == "Save").click().run()
    kept = {"wrong barns": {"scene": "barn", "outcome": "wrong"}}
    assert list_filters(run, "Scenes") == kept
    at = show("pages/1_Scenes.py")
    link = next(x.proto for x in at.get("page_link") if x.proto.label == "wrong barns")
    assert "scene=barn" in link.query_string and "outcome=wrong" in link.query_string
    at.button(key="drop-Scenes-wrong barns").click().run()
    assert list_filters(run, "Scenes") == {}
    at.button(key="undo-Scenes").click().run()
    assert list_filters(run, "Scenes") == kept and not at.exception


def test_every_list_can_be_taken_away(cache):
    for page in ("pages/1_Scenes.py", "pages/2_Units.py"):
        files = [b.proto.label for b in show(page).get("download_button")]
        assert {"CSV", "JSON", "Parquet"} <= set(files)


def test_a_query_is_answered_by_its_address(cache):
    at = show("pages/9_Runs.py", sql="SELECT name, units FROM layers ORDER BY layer")
    table = next(d.value for d in at.dataframe if list(d.value.columns) == ["name", "units"])
    assert table.values.tolist() == [["body.1", 8], ["body.3", 12]]
    at = show("pages/9_Runs.py", sql="COPY layers TO '/tmp/x'")
    assert "Only SELECT is answered" in at.error[0].value


def test_a_unit_shows_its_range_and_its_classes(cache, run):
    at = show("pages/2_Units.py", unit="5", range="middle", raises="1")
    assert not at.error
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert "Classes that unit 5 raises and lowers most" in titles
    at = show("pages/2_Units.py", unit="5", layer="body.1", raises="1")
    assert "further layers" in text_of(at)


# -- the form ----------------------------------------------------------------------------------


def test_the_form_lists_every_problem_at_once(cache, owner):
    at = show(
        "pages/9_Runs.py",
        data="folder:/nowhere/Photos",
        net="torchvision:resnet18:w.pt",
        places="scenes.csv",
    )
    said = at.error[0].value
    assert said.count("\n- ") == 2 and "Photos and masks" in said and "w.pt" in said
    assert "folder\\:/nowhere/Photos" in said  # spelled as it was typed
    assert next(b for b in at.button if b.label == "Check").disabled
    at = show("pages/9_Runs.py", data="rooms", net="rooms")
    assert not at.error and not next(b for b in at.button if b.label == "Check").disabled
