"""What helps to find one's way: names of runs, undo, layers, search, tags, notes, queries."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.foundation.settings import EMBEDDED, command
from core.runs.run_file import Run
from core.runs.run_names import read_names
from core.runs.unit_sets import list_sets, save_set
from core.views.runs import resolve
from tests.browsing import ROOT
from tests.pages.showing import show, text_of
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
    assert "without maps" in [s.value for s in at.subheader]
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
    assert "Layer by layer" in [s.value for s in at.subheader]
    table = next(d.value for d in at.dataframe if "median IoU" in d.value)
    assert table["layer"].tolist() == ["body.1", "body.3"]
    at = show("app.py", run=other(own))
    assert "Layer by layer" not in [s.value for s in at.subheader]


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
