"""`datasets check`: counts against a plain recount, problems grouped, nothing guessed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.cli import main
from core.datasets import open_dataset
from core.datasets.base import Problem
from core.datasets.check import check, grouped
from core.foundation.errors import UnitscopeError
from tests import tiny
from tests.cli.test_cli import said


@pytest.fixture
def folder(tmp_path) -> Path:
    return tiny.write_folder(tmp_path / "photos", images=12)


def test_the_counts_are_those_of_a_plain_loop(folder):
    data = open_dataset(f"folder:{folder}")
    told = check(data, threads=3).report().to_json()
    assert told["images"] == told["read"] == told["usable"] == 12 and told["problems"] == []
    assert told["splits"] == {"test": 6, "train": 6}
    assert told["scenes"] == {name: {"test": 2, "train": 2} for name in tiny.SCENES}
    assert told["rare_scenes"] == 3 and told["unnamed"] == 0
    assert told["photo_sizes"] == told["mask_sizes"] == [[40, 32, 12]]
    shares: dict[str, list[float]] = {"object": [], "part": []}
    found: dict[str, set[int]] = {"object": set(), "part": set()}
    for k in range(12):
        for channel, plane in zip(data.channels, data.annotations(k).maps, strict=True):
            shares[channel.category].append(sum(v > 0 for v in plane.ravel()) / plane.size)
            found[channel.category] |= set(plane.ravel().tolist()) - {0}
    for kind, row in told["categories"].items():
        assert row["annotated"] == pytest.approx(np.mean(shares[kind]))
        assert (row["concepts"], row["found"]) == (
            sum(c.category == kind for c in data.concepts),
            len(found[kind]),
        )
        assert row["channels"] == 1


def test_what_is_wrong_is_grouped_and_does_not_end_the_check(folder, capsys):
    for name in ("001", "004"):
        (folder / "images" / f"{name}.png").write_bytes(b"")
    (folder / "masks" / "007.png").write_text("no mask")
    with (folder / "labels.csv").open("a") as file:
        file.write("x,bad,object\n70000,far,object\n9,unused,object\n")
    status, told, err = said(capsys, "datasets", "check", f"folder:{folder}")
    assert status == 0 and (told["read"], told["usable"]) == (12, 9)
    kinds = {row["kind"]: row["count"] for row in told["problems"]}
    assert kinds["is empty (… bytes)"] == 2 and kinds["is not an image of a known format"] == 1
    assert kinds["line …: value … is not a number from … to …"] == 2
    first = next(row for row in told["problems"] if "bytes" in row["kind"])["first"]
    assert [row[0] for row in first] == ["001", "004"] and first[0][1].endswith("001.png")
    assert "unused" in told["unused"]["object"]
    assert "check 12/12 images" in err
    assert main(["datasets", "check", f"folder:{folder}"]) == 0
    text = capsys.readouterr().out
    assert "12; 9 can be used" in text and "2 × is empty (… bytes)" in text


def test_a_limit_is_spread_over_the_dataset(folder, capsys):
    status, told, _ = said(capsys, "datasets", "check", f"folder:{folder}", "--limit", "4")
    assert status == 0 and (told["images"], told["read"]) == (12, 4)
    seen: list[int] = []
    data = open_dataset(f"folder:{folder}")
    photo = data.photo
    data.photo = lambda index: (seen.append(index), photo(index))[1]  # type: ignore[method-assign]
    check(data, limit=4, threads=1)
    assert seen == [0, 3, 7, 11]
    status, told, _ = said(capsys, "datasets", "check", "folder:/none", "--limit", "0")
    assert status == 2 and "at least one photo" in told["error"]  # before the folder is looked for


def test_scenes_are_looked_up_in_the_knowledge_graph(folder, capsys, tmp_path):
    facts = tmp_path / "facts.tsv"
    facts.write_text("AtLocation\tbox\tattic\nAtLocation\tcow\tbarn\n", encoding="utf-8")
    table = (folder / "scenes.csv").read_text(encoding="utf-8")
    (folder / "scenes.csv").write_text(table.replace("barn", "red_barn"), encoding="utf-8")
    asked = ["datasets", "check", f"folder:{folder}", "--knowledge", f"triples:{facts}"]
    status, told, _ = said(capsys, *asked)
    assert status == 0 and told["knowledge"] == {
        "graph": f"triples:{facts}",
        "nodes": {"attic": "attic"},
        "guessed": {"red_barn": "barn"},
        "missing": ["cellar"],
    }
    assert main(asked) == 0
    text = capsys.readouterr().out
    assert "1 of them with a node in the knowledge graph" in text
    assert "1 by a guess: red_barn → barn" in text
    assert "1 without one, so without core concepts: cellar" in text
    status, told, _ = said(capsys, *asked[:3])
    assert told["knowledge"]["graph"] == "builtin"
    status, told, _ = said(capsys, *asked[:3], "--knowledge", "triples:/no/such/file")
    assert status == 2 and "/no/such/file" in told["error"]


def test_it_can_be_stopped(folder):
    told = check(open_dataset(f"folder:{folder}"), stop=lambda: True, threads=1).report().to_json()
    assert told["stopped"] and told["read"] == told["usable"] == 1


def test_where_nothing_can_be_used_the_status_says_so(folder, capsys):
    for path in (folder / "images").iterdir():
        path.write_bytes(b"")
    status, told, _ = said(capsys, "datasets", "check", f"folder:{folder}")
    assert status == 2 and "none of the 12 images read can be used; first" in told["error"]
    status, told, _ = said(capsys, "datasets", "check", "folder:/no/such/place")
    assert status == 2 and "/no/such/place" in told["error"]
    with pytest.raises(UnitscopeError, match="at least one image"):
        check(open_dataset(f"folder:{folder}"), limit=0)


def test_the_json_switch_may_stand_before_the_word(capsys, folder):
    assert main(["datasets", "--json", "check", f"folder:{folder}"]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["usable"] == 12


def test_groups_come_by_size():
    rows = [
        Problem("", "a", "line 1: bad"),
        Problem("", "b", "gone"),
        Problem("", "a", "line 22: bad"),
    ]
    assert [(row.kind, row.count) for row in grouped(rows)] == [
        ("line …: bad", 2),
        ("gone", 1),
    ]


def test_predicted_labels_are_told(folder, capsys):
    (folder / "labels_by.json").write_text(json.dumps({"labels_by": "seg:net"}), encoding="utf-8")
    data = open_dataset(f"folder:{folder}")
    assert data.labels_by and check(data).report().to_json()["labels_by"] == data.labels_by
    assert main(["datasets", "check", f"folder:{folder}"]) == 0
    assert f"predicted by {data.labels_by}" in capsys.readouterr().out


def test_photos_without_annotation_are_counted(tmp_path):
    root = tiny.write_folder(tmp_path / "photos", images=6)
    for path in (root / "masks").glob("00[01]*"):
        path.unlink()
    told = check(open_dataset(f"folder:{root}")).report().to_json()
    assert told["bare"] == 2 and told["mask_sizes"] == [[40, 32, 4]]
