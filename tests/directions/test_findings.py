"""What verbs found is kept as tables, and read with care."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from core.cli import main
from core.directions.findings import COLUMNS, Finding, findings
from core.runs.run_file import Run
from core.views import directions


@pytest.fixture
def own(planted, tmp_path) -> Run:
    """A copy: answers are kept beside it."""
    path = Path(shutil.copy(planted.path, tmp_path))
    shutil.copytree(planted.arrays, path.with_suffix(".arrays"))
    return Run(path)


def one(about: str = "attic", layer: str = "body.3") -> Finding:
    row = {name: 0.5 for name in COLUMNS["ace"]} | {"name": "red", "p": np.nan}
    row |= {"segments": 7, "photos": 5}
    return Finding("ace", layer, about, ("Random sets score 0.9.",), pd.DataFrame([row, row]))


def test_what_was_found_is_read_again(own):
    one().keep(own)
    one("barn").keep(own)
    one(layer="body.1").keep(own)
    found = directions.found(own, "body.3", "ace")
    assert set(found) == {"attic", "barn"} and not directions.found(own, "body.3", "tcav")
    again = found["attic"]
    pd.testing.assert_frame_equal(again.frame, one().frame[list(COLUMNS["ace"])])
    assert again.notes == one().notes
    table = directions.table_of(again)
    assert list(table.columns[:2]) == ["name", "TCAV"] and table["segments"].tolist() == [7, 7]
    one().keep(own)
    assert len(findings(own, "body.3")) == 2  # the same question: one answer


@pytest.mark.parametrize(
    "change",
    [{"run": "another"}, {"verb": "tca"}, {"rows": [{}]}, {"rows": 3}, {"notes": None}],
)
def test_what_is_not_ours_or_damaged_is_left_out(own, change):
    one().keep(own)
    (path,) = own.path.with_suffix(".derived").glob("told-*.json")
    held = json.loads(path.read_text())
    path.write_text(json.dumps(held | change))
    assert findings(own, "body.3") == []
    path.write_text("{")
    assert findings(own, "body.3") == []


def test_the_job_of_a_page_is_a_command(own, capsys):
    for verb, of in (("conceptshap", ""), ("tcav", "red"), ("ace", "attic"), ("vrx", "")):
        asked = directions.arguments(verb, own, own.path.parent, "body.3", of)
        assert asked[:2] == [verb, own.digest] and "--json" in asked
    asked = directions.arguments("tcav", own, own.path.parent, "body.3", "red")
    beat = own.path.parent / "beat"
    assert main([*asked, "--runs", "3", "--randoms", "4", "--beat", str(beat)]) == 0
    scores = json.loads(capsys.readouterr().out.splitlines()[-1])["scores"]
    (found,) = findings(own, "body.3")
    assert found.frame["score"].tolist() == pytest.approx([row["score"] for row in scores])
    assert any("random concepts" in note for note in found.notes) and beat.is_file()
