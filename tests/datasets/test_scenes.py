"""Scene vocabularies: what is matched by itself, what only by the user's own table."""

from __future__ import annotations

import csv
import doctest
import json
from collections import Counter
from pathlib import Path

import pytest

import core.datasets.scenes
from core.cli import main
from core.datasets.scenes import (
    SAME,
    class_of,
    match_scenes,
    propose,
    read_given,
    summary,
)
from core.dissect.plan import plan
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.names import plain_name
from core.foundation.settings import Settings, command
from tests import tiny
from tests.cli.test_cli import said
from tests.datasets.files import says, write


def test_examples_in_the_docstrings():
    assert doctest.testmod(core.datasets.scenes).failed == 0


@pytest.fixture(scope="session")
def places(data_dir) -> list[str]:
    """The 365 class names as published."""
    path = data_dir / "places365_squeezenet" / "categories_places365.txt"
    if not path.is_file():
        pytest.skip("the real data have no places365_squeezenet/categories_places365.txt")
    return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]


def kinds(scenes, classes, given=None) -> list[tuple[str, str]]:
    """(class or "", kind) of each scene."""
    found = match_scenes(scenes, classes, given)
    return [(classes[m.where] if m.where >= 0 else "", m.kind) for m in found]


CLASSES = [
    "/a/arena/hockey",
    "/b/balcony/interior",
    "/c/church/indoor",
    "/c/church/outdoor",
    "/c/coffee_shop",
    "/l/living_room",
    "pub",
]


def test_each_kind_of_match():
    assert kinds(
        [
            "pub",
            "arena-hockey",
            "arena_hockey",
            "Hockey arena",
            "indoor_balcony",
            "café",
            "church",
            "indoor church",
            "church-exterior",
            "living room",
            "livingrooms",
        ],
        CLASSES,
    ) == [
        ("pub", "exact"),
        ("/a/arena/hockey", "normalised"),
        ("/a/arena/hockey", "normalised"),
        ("/a/arena/hockey", "table"),
        ("/b/balcony/interior", "table"),
        ("/c/coffee_shop", "table"),
        ("", "none"),
        ("/c/church/indoor", "table"),
        ("/c/church/outdoor", "table"),
        ("/l/living_room", "normalised"),
        ("", "none"),
    ]
    # Where two classes have the words, neither is taken.
    assert kinds(["c b a"], ["a/b/c", "b/a/c"]) == [("", "none")]


def test_nothing_is_guessed_only_proposed():
    assert all("church" in name for name in propose("church doors", CLASSES, 2))
    assert kinds(["churches", "living_rooms"], CLASSES) == [("", "none")] * 2
    assert propose("living_rooms", CLASSES)[0] == "/l/living_room"
    assert propose("game room", [f"{k} room" for k in range(9)]) == []
    assert propose("", CLASSES) == []


def test_a_users_table_comes_first(tmp_path):
    path = write(
        tmp_path / "t.csv",
        "scene,class,why\nchurch,/c/church/indoor,x\nPUB,,none\nmoon,pub,\npub,pub,again\n",
    )
    problems: list = []
    given = read_given(path, ["church", "pub", "arena"], problems)
    assert given == {"church": "/c/church/indoor", "pub": ""}
    assert says(problems, "line 4", "'moon' is no scene of the dataset")
    assert says(problems, "line 5", "listed before")
    found = kinds(["church", "pub", "arena"], CLASSES, given)
    assert found == [("/c/church/indoor", "given"), ("", "given"), ("", "none")]
    # Plain spelling of a class will do.
    assert kinds(["x"], CLASSES, {"x": "coffee shop"}) == [("/c/coffee_shop", "given")]
    with pytest.raises(UnitscopeError, match="unknown class 'coffe_shop'; nearest: /c/coffee_shop"):
        match_scenes(["x"], CLASSES, {"x": "coffe_shop"})
    with pytest.raises(BadFile, match="has no row about a scene of the dataset; line 2"):
        read_given(path, ["garden"], [])
    with pytest.raises(BadFile, match="has no column 'class'"):
        read_given(write(tmp_path / "u.csv", "scene,clas\na,b\n"), ["a"], [])


def test_networks_without_class_names():
    assert kinds(["a"], []) == [("", "none")] and class_of(match_scenes([], [])).shape == (0,)


# -- the real vocabularies ----------------------------------------------------------------------


def test_the_index_of_ade20k_matches_as_the_paper_published(data_dir, places):
    """361 scenes, 15,070 of 22,210 photos, row by row those that have a target."""
    ade = data_dir / "ade20k"
    scene_of = json.loads((ade / "ade20k_scenes.json").read_text())
    scenes = sorted(set(scene_of.values()))
    matches = match_scenes(scenes, places)
    images = Counter(scene_of.values())
    told = summary(matches, images)
    assert (told["matched"], told["unmatched"]) == (361, 510)
    assert (told["images_matched"], told["images_unmatched"]) == (15_070, 4_663)
    # Only exact and normalised names: the table knows no scene of ADE20K.
    assert told["kinds"] == {"normalised": 361, "none": 510}
    known = {m.scene for m in matches if m.where >= 0}
    with (ade / "index_ade20k.csv").open() as file:
        photos = [Path(row["image"]).name for row in csv.DictReader(file)]
    with (data_dir / "reference" / "eiic_resnet18_predictions.csv").open() as file:
        targets = [row["target"].strip().removesuffix("-s") for row in csv.DictReader(file)]
    assert len(photos) == len(targets) == 22_210
    for photo, target in zip(photos, targets, strict=True):
        scene = scene_of.get(photo, "")
        assert (scene in known) == (target != "unk")
        if scene in known:
            assert plain_name(scene) == plain_name(target)
    assert len({t for t in targets if t != "unk"}) == 361


def test_the_table_says_nothing_of_ade20ks_scenes(data_dir, places):
    scenes = set(json.loads((data_dir / "ade20k" / "ade20k_scenes.json").read_text()).values())
    lines = (data_dir / "ade20k" / "sceneCategories.txt").read_text().splitlines()
    scenes |= {line.split()[1] for line in lines}
    own = {plain_name(name) for name in scenes}
    assert not own & {other for others in SAME.values() for other in others}
    plain = {plain_name(name) for name in places}
    assert set(SAME) <= plain and not plain & {
        other for others in SAME.values() for other in others
    }
    assert "table" not in {m.kind for m in match_scenes(sorted(scenes), places)}


def test_the_benchmarks_scene_list(data_dir, places):
    from core.datasets.readers.ade150 import _scenes

    named = _scenes(data_dir / "ade20k" / "sceneCategories.txt", [])
    images = Counter(scene for scene in named.values() if scene)
    told = summary(match_scenes(sorted(images), places), images)
    assert told["kinds"] == {"normalised": 352, "none": 702}
    assert told["images_matched"] == 14_983 and sum(images.values()) == 22_210 - 1_667


def test_nyuv2s_scenes(data_dir, places):
    with (data_dir / "nyuv2" / "scenes.csv").open() as file:
        images = Counter(row["scene"] for row in csv.DictReader(file))
    matches = {m.scene: m for m in match_scenes(sorted(images), places)}
    assert Counter(m.kind for m in matches.values()) == {"normalised": 18, "table": 2, "none": 7}
    assert places[matches["gym"].where] == "/g/gymnasium/indoor"
    assert places[matches["indoor_balcony"].where] == "/b/balcony/interior"


# -- in a run -----------------------------------------------------------------------------------


@pytest.fixture
def photos(tmp_path) -> Path:
    """The drawn folder, its third scene under a name that the network does not know."""
    root = tiny.write_folder(tmp_path / "photos", images=30)
    path = root / "scenes.csv"
    write(path, path.read_text().replace("cellar", "wine cellar").replace("barn", "BARN"))
    return root


def test_the_table_is_shown_written_filled_in_and_used(photos, tmp_path, capsys):
    spec, table = f"folder:{photos}", tmp_path / "scenes.csv"
    asked = ["datasets", "scenes", "--dataset", spec, "--model", tiny.SPEC]
    status, told, _ = said(capsys, *asked, "--write", str(table))
    assert status == 0 and told["kinds"] == {"exact": 1, "normalised": 1, "none": 1}
    assert (told["images_matched"], told["images_unmatched"], told["no_scene"]) == (20, 10, 0)
    assert told["scenes"][0] == {
        "scene": "wine cellar",
        "class": None,
        "kind": "none",
        "images": 10,
        "nearest": ["cellar"],
    }
    assert main(asked) == 0
    assert "2 of 3 scenes are classes of the network (exact 1, normalised 1, none 1): 20 of 30" in (
        capsys.readouterr().out
    )
    with table.open() as file:
        rows = list(csv.DictReader(file))
    assert [row["scene"] for row in rows] == ["wine cellar", "BARN", "attic"]
    assert rows[0]["class"] == "" and rows[0]["nearest"] == "cellar"
    write(table, table.read_text().replace("wine cellar,,", "wine cellar,cellar,"))

    root = tmp_path / "runs"
    before = tiny.dissect(spec, root)
    assert before.info["accuracy"]["scored"] == 20
    assert before.info["accuracy"]["unmatched_scenes"] == ["wine cellar"]
    run = [
        "run",
        "--dataset",
        spec,
        "--model",
        tiny.SPEC,
        "--q",
        "0.05",
        "--shuffles",
        "1",
        "--out",
        str(root),
        "--threads",
        "1",
        "--scenes",
        str(table),
    ]
    status, told, _ = said(capsys, *run)
    assert status == 0 and told["run"] != before.digest and told["accuracy"]["scored"] == 30
    assert told["accuracy"]["scenes"] == {
        "matched": 3,
        "unmatched": 0,
        "images_matched": 30,
        "images_unmatched": 0,
        "kinds": {"given": 3},
    }
    assert main(["show", told["run"], "--out", str(root)]) == 0
    assert main(["show", before.digest, "--out", str(root)]) == 0
    text = capsys.readouterr().out
    assert "classes of the network: 2, of 20 images; no class: 1, of 10" in text


def test_what_the_table_says_is_in_the_digest_not_where_it_lies(photos, tmp_path):
    spec = f"folder:{photos}"
    one = write(tmp_path / "one.csv", "scene,class\nwine cellar,cellar\n")
    two = write(tmp_path / "two.csv", "class,scene,note\ncellar,wine cellar,x\npub,moon,\n")
    none = write(tmp_path / "none.csv", "scene,class\nattic,\n")

    def planned(path):
        return plan(Settings(spec, tiny.SPEC, scenes=path and str(path)))

    first, again, other, bare = (planned(p) for p in (one, two, none, None))
    assert first.digest == again.digest and len({first.digest, other.digest, bare.digest}) == 3
    assert first.facts["scenes"] == {"wine cellar": "cellar"} and bare.facts["scenes"] is None
    assert first.notes == [] and "'moon' is no scene" in again.notes[0]
    assert [m.where for m in other.matches] == [1, -1, -1]
    with pytest.raises(UnitscopeError, match="does not exist"):
        planned(tmp_path / "gone.csv")


def test_mistakes_are_told_before_anything_is_loaded(capsys, tmp_path):
    gone = str(tmp_path / "gone.csv")
    for asked in (
        ["run", "--dataset", "none", "--model", "none", "--scenes", gone],
        ["datasets", "scenes", "--dataset", "none", "--model", "none", "--scenes", gone],
    ):
        status, told, _ = said(capsys, *asked)
        assert status == 2 and "there is no such file" in told["error"]
    status, told, _ = said(
        capsys,
        "datasets",
        "scenes",
        "--dataset",
        "x",
        "--model",
        "y",
        "--write",
        str(tmp_path / "no" / "t.csv"),
    )
    assert status == 2 and "no such folder" in told["error"]


def test_the_command_line_of_a_run_names_the_table():
    told = command({"dataset": "rooms", "model": "rooms", "scenes": "my scenes.csv"})
    assert told.endswith("--scenes 'my scenes.csv'")
    assert "--scenes" not in command({"dataset": "rooms", "model": "rooms", "scenes": None})
