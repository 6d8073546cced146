"""One search over everything that has a name, against loops; and its speed on many photos."""

from __future__ import annotations

import shutil
import time

import duckdb
import pandas as pd
import pytest

from core.runs.notes import Marks, Thing, mark
from core.runs.run_file import Run
from core.runs.run_names import RunNames
from core.views import search as searching
from core.views.search import search, search_runs
from core.views.units import unit_table
from tests.two_runs import LAYER


def groups(run, text, **how):
    return {group.kind: group for group in search(run, LAYER, text, **how)}


def test_units_are_found_by_number_and_label(run):
    found = groups(run, "unit 3")[f"units of {LAYER}"]
    assert [hit.label for hit in found.hits] == ["unit 3"]
    assert found.hits[0].address == {"unit": "3", "layer": LAYER}
    table = unit_table(run, LAYER)
    wanted = {
        f"unit {row.unit}"
        for row in table.itertuples()
        if isinstance(row.name, str) and "thing" in row.name
    }
    found = groups(run, "THING", count=99)[f"units of {LAYER}"]
    assert {hit.label for hit in found.hits} == wanted and found.total == len(wanted) > 1


def test_concepts_scenes_and_photos_are_found(run):
    found = groups(run, "attic")
    assert found["scenes"].hits[0].address == {"scene": "attic"}
    assert found["concepts"].hits[0].label == "attic"
    ids = run.sql("SELECT id FROM images ORDER BY image")["id"].tolist()
    wanted = [one for one in ids if "01" in one]
    found = groups(run, "01", count=99)["photos"]
    order = sorted(wanted, key=lambda one: (one != "01", not one.startswith("01"), ids.index(one)))
    assert [hit.label for hit in found.hits] == order and found.total == len(wanted)
    few = groups(run, "01", count=2)["photos"]
    assert few.hits == found.hits[:2] and few.total == len(wanted)


@pytest.mark.parametrize("text", ["", "  ", "nothing of the kind", "%", "_", "'", "\\", "x" * 9999])
def test_what_is_not_there_is_not_found(run, text):
    assert search(run, LAYER, text) == []


def test_the_best_match_comes_first(run):
    found = groups(run, "thing 1", count=99)["concepts"]
    assert found.hits[0].label == "thing 1"


def test_tags_and_notes_are_found(tiny_run, tmp_path):
    shutil.copy(tiny_run.path, tmp_path)
    shutil.copytree(tiny_run.arrays, tmp_path / tiny_run.arrays.name)
    own = Run(tmp_path / tiny_run.path.name)
    mark(own, Thing("003"), Marks(("blurred",)))
    mark(own, Thing("7", "body.3"), Marks(note="a Blurred unit"))
    found = groups(own, "blur")["tags and notes"]
    assert [(hit.label, hit.page) for hit in found.hits] == [
        ("003", "Scenes"),
        ("unit 7", "Units"),
    ]


def test_runs_are_found_by_name_digest_and_layer(run, bare):
    from core.views.runs import summary

    found = {one.digest: summary(one) for one in (run, bare)}
    names = RunNames({bare.digest: "without maps"})
    assert [h.label for h in search_runs(found, names, "maps").hits] == ["without maps"]
    assert search_runs(found, names, run.digest[:8]).hits[0].address == {"run": run.digest}
    assert search_runs(found, names, "body.1").total == 1
    assert search_runs(found, names, "tiny").total == 2
    assert search_runs(found, names, "elsewhere") is None and search_runs(found, names, "") is None


def test_two_hundred_thousand_photos_are_searched_at_once():
    """The query over photos, on a table of that many."""
    con = duckdb.connect()
    con.execute(
        "CREATE TABLE images AS SELECT range::INTEGER AS image, "
        "'train/scene_' || range % 365 || '/photo_' || range AS id, 'train' AS split, "
        "(range % 365)::INTEGER AS scene FROM range(200000)"
    )
    con.execute(
        "CREATE TABLE scenes AS SELECT range AS scene, 's' || range AS name FROM range(365)"
    )

    class Rows:
        def sql(self, query: str, values: list) -> pd.DataFrame:
            return con.execute(query, values).df()

    began = time.process_time()
    found = searching._photos(Rows(), "photo_1234", 5)
    assert time.process_time() - began < 2  # 0.03 s on one core; the bound is for a busy machine
    assert found.total == 1 + 10 + 100 and found.hits[0].label.endswith("/photo_1234")
