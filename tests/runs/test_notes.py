"""Tags, notes and filters kept beside the runs."""

from __future__ import annotations

import shutil
import subprocess
import sys

import pytest

from core.foundation.errors import UnitscopeError
from core.runs import notes
from core.runs.notes import Marks, Thing
from core.runs.run_file import Run
from tests.browsing import ROOT


@pytest.fixture
def own(tiny_run, tmp_path) -> Run:
    """A run without anything beside it but its arrays."""
    shutil.copy(tiny_run.path, tmp_path)
    shutil.copytree(tiny_run.arrays, tmp_path / tiny_run.arrays.name)
    return Run(tmp_path / tiny_run.path.name)


def test_marks_are_kept_changed_found_and_taken_away(own):
    photo, unit = Thing("003"), Thing("7", "body.3")
    assert notes.marks_of(own, photo) == Marks() and not notes.all_marks(own)
    assert not (own.path.parent / notes.FILE).exists()  # reading writes nothing
    before = own.path.read_bytes()
    notes.mark(own, photo, Marks(("Odd", "dark  one"), " Blurred,\nlook again "))
    notes.mark(own, unit, Marks(("odd",)))
    notes.mark(own, Thing("7", "body.1"), Marks(("elsewhere",)))
    assert notes.marks_of(own, photo) == Marks(("dark one", "odd"), "Blurred,\nlook again")
    assert notes.all_marks(own, "body.3") == {"7": Marks(("odd",))}
    assert notes.tags_in_use(own) == ["dark one", "odd"]
    assert list(notes.find_marks(own, "ODD", "body.3")) == [photo, unit]
    assert list(notes.find_marks(own, "blurred", "body.3")) == [photo]
    assert list(notes.find_marks(own, "elsewhere", "body.3")) == []
    notes.mark(own, photo, Marks())
    assert notes.all_marks(own) == {}
    assert own.path.read_bytes() == before


@pytest.mark.parametrize(
    ("thing", "marks", "why"),
    [
        (Thing("nowhere"), Marks(("a",)), "unknown image"),
        (Thing("12", "body.3"), Marks(("a",)), "no unit 12"),
        (Thing("-1", "body.3"), Marks(("a",)), "no unit -1"),
        (Thing("1", "body.33"), Marks(("a",)), "unknown layer"),
        (Thing("003"), Marks(tuple(f"t{k}" for k in range(21))), "20 is the most"),
        (Thing("003"), Marks(("x" * 41,)), "40 is the most"),
        (Thing("003"), Marks(note="x" * 4001), "4,000 is the most"),
    ],
)
def test_marks_are_bounded_and_of_things_that_are_there(own, thing, marks, why):
    with pytest.raises(UnitscopeError, match=why):
        notes.mark(own, thing, marks)
    assert not notes.all_marks(own)


def test_filters_are_kept_by_page(own):
    notes.save_filter(own, "Scenes", " wrong  barns ", {"scene": "barn", "outcome": "wrong"})
    notes.save_filter(own, "Units", "parts", {"category": "part"})
    assert notes.list_filters(own, "Scenes") == {
        "wrong barns": {"scene": "barn", "outcome": "wrong"}
    }
    notes.save_filter(own, "Scenes", "wrong barns", {"scene": "attic"})
    assert notes.list_filters(own, "Scenes")["wrong barns"] == {"scene": "attic"}
    for name, choice, why in (("", {"a": "b"}, "needs a name"), ("x", {}, "nothing is filtered")):
        with pytest.raises(UnitscopeError, match=why):
            notes.save_filter(own, "Scenes", name, choice)
    with pytest.raises(UnitscopeError, match="nearest: wrong barns"):
        notes.delete_filter(own, "Scenes", "wrong barn")
    notes.delete_filter(own, "Scenes", "wrong barns")
    assert not notes.list_filters(own, "Scenes") and notes.list_filters(own, "Units")


def test_several_processes_mark_at_once_and_none_is_lost(own):
    code = (
        "import sys; from pathlib import Path; from core.runs.run_file import Run; "
        "from core.runs import notes; run = Run(Path(sys.argv[1])); first = int(sys.argv[2]); "
        "[notes.mark(run, notes.Thing(f'{first + k:03}'), notes.Marks((f'tag {k}',))) "
        "for k in range(10)]; assert notes.all_marks(run)"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(own.path), first], cwd=ROOT)
        for first in ("0", "10")
    ]
    for _ in range(20):
        notes.all_marks(own)  # read meanwhile
    assert [one.wait(120) for one in both] == [0, 0]
    assert len(notes.all_marks(own)) == 20


def test_a_torn_file_is_said(own):
    (own.path.parent / notes.FILE).write_bytes(b"torn")
    with pytest.raises(UnitscopeError, match="cannot be read"):
        notes.all_marks(own)
    with pytest.raises(UnitscopeError, match="cannot be read"):
        notes.mark(own, Thing("003"), Marks(("a",)))
