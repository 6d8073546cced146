"""ADE20K as released in 2016 and 2021, and the scene parsing benchmark made of it."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.datasets import open_dataset
from core.datasets.readers.ade20k import Region, regions
from core.foundation.errors import BadFile, UnitscopeError
from tests import tiny
from tests.datasets.files import picture, save, says, write

NAMES = (
    "wall",
    "door",
    "door, gate",
    "handle, grip",
    "knob",
    "crane",
    "crane, bird",
    "building, edifice",
)
"""Label 1, 2, …; two that would be one by their first synonym."""


def packed(labels) -> np.ndarray:
    """A mask as released: R = 10 · (label // 256), G = label % 256; B tells instances apart."""
    labels = np.asarray(labels)
    blue = labels * 37 % 256
    return np.stack([labels // 256 * 10, labels % 256, blue], -1).astype(np.uint8)


def json_text(rows: list[Region]) -> str:
    objects = [
        {
            "id": k,
            "name": row.name,
            "name_ndx": row.number,
            "raw_name": "x",
            "attributes": [],
            "parts": {"hasparts": [], "ispartof": [], "part_level": row.level},
        }
        for k, row in enumerate(rows)
    ]
    told = {"filename": "x.jpg", "scene": [], "object": objects}
    return json.dumps({"annotation": told}, ensure_ascii=False)


def atr_text(rows: list[Region]) -> str:
    count: dict[int, int] = {}
    lines = []
    for row in rows:
        count[row.level] = count.get(row.level, 0) + 1
        lines.append(f'{count[row.level]:03d} # {row.level} # 0 # {row.name} # raw # ""')
    return "\n".join(lines) + "\n"


def index_mat(path: Path, names, files=(), scenes=()) -> None:
    """The release's index, as far as it is read: a MATLAB 5 struct of cells of text."""
    from scipy.io import savemat

    def cell(texts):
        out = np.empty((1, len(texts)), object)
        out[0] = list(texts)
        return out

    fields = {"objectnames": cell(names), "filename": cell(files), "scene": cell(scenes)}
    savemat(path, {"index": {**fields, "objectcounts": np.ones((len(names), 1))}})


def release_2016(root: Path) -> Path:
    """Two photos with parts, one without a scene; label 300 is beyond one byte."""
    names = [*NAMES, *[f"thing {k}" for k in range(9, 300)], "lamp, light"]
    rows = {
        "training/a/arena/hockey/ADE_train_00000001": [
            Region(0, "wall", 1),
            Region(0, "door, gate", 3),
            Region(0, "lamp, light", 300),
            Region(1, "handle, grip", 4),
            Region(2, "knob", 5),
        ],
        "validation/outliers/d/dam/ADE_val_00000001": [
            Region(0, "wall", 1),
            Region(0, "crane", 6),
            Region(0, "crane, bird", 7),
        ],
        "training/b/barn/ADE_train_00000002": [Region(0, "door", 2), Region(0, "wall", 1)],
    }
    drawn = {
        "ADE_train_00000001": [[1, 1, 2, 3]] * 3,
        "ADE_val_00000001": [[1, 2, 3, 0]] * 3,
        "ADE_train_00000002": [[1, 1, 2, 2]] * 3,
    }
    for name, regions_ in rows.items():
        stem = root / "images" / name
        save(stem.with_suffix(".jpg"), picture(40, 30, len(name)))
        for level in range(3):
            here = [row for row in regions_ if row.level == level]
            if not here:
                continue
            which = np.array(drawn[stem.name] if level == 0 else [[0, 1, 0, 0]] * 3)
            which = which.repeat(10, 0).repeat(10, 1)
            number = np.array([0, *[row.number for row in here]])[which]
            part = "_seg" if level == 0 else f"_parts_{level}"
            save(stem.parent / f"{stem.name}{part}.png", packed(number))
        write(stem.parent / f"{stem.name}_atr.txt", atr_text(regions_))
    # The third lies in a folder that looks like a scene, but the index says that it has none.
    files = [f"{Path(name).name}.jpg" for name in rows]
    index_mat(root / "index_ade20k.mat", names, files, ["arena/hockey", "dam", "~not labeled"])
    return root


def named(data, k: int) -> list[np.ndarray]:
    """The maps of photo k as arrays of names, which do not depend on ids."""
    names = np.array(["", *[c.name for c in data.concepts]], object)
    return [names[plane] for plane in data.annotations(k).maps]


def test_the_release_of_2016(tmp_path):
    data = open_dataset(f"ade20k:{release_2016(tmp_path / 'ADE20K_2016_07_26')}")
    assert data.ids == ["ADE_train_00000001", "ADE_train_00000002", "ADE_val_00000001"]
    assert data.split == ["train", "train", "val"] and data.problems == []
    assert [data.scenes[k] if k >= 0 else "" for k in data.scene] == ["arena/hockey", "", "dam"]
    assert [c.name for c in data.channels] == ["object", "part", "part2"]
    concepts = {(c.name, c.category) for c in data.concepts}
    assert concepts == {
        ("wall", "object"),
        ("door", "object"),
        ("door, gate", "object"),
        ("lamp", "object"),
        ("crane", "object"),
        ("crane, bird", "object"),
        ("handle", "part"),
        ("knob", "part"),
    }
    objects, parts, parts2 = named(data, 0)
    assert objects[0, ::10].tolist() == ["wall", "wall", "door, gate", "lamp"]
    assert parts[0, ::10].tolist() == ["", "handle", "", ""]
    assert parts2[0, ::10].tolist() == ["", "knob", "", ""]
    assert named(data, 2)[0][0, ::10].tolist() == ["wall", "crane", "crane, bird", ""]
    assert not data.annotations(1).maps[1:].any()


def test_the_release_of_2016_needs_its_index(tmp_path):
    root = release_2016(tmp_path)
    (root / "index_ade20k.mat").unlink()
    with pytest.raises(BadFile, match=r"index_ade20k\.mat: does not exist; it comes with"):
        open_dataset(f"ade20k:{root}")
    index_mat(root / "index_ade20k.mat", NAMES, ["a.jpg"], [])
    data = open_dataset(f"ade20k:{root}")
    assert data.scenes == ["arena/hockey", "barn", "dam"]  # by the folders
    assert says(data.problems, "1 files but 0 scenes")


def test_what_cannot_be_used_is_left_out_and_told(tmp_path):
    root = release_2016(tmp_path)
    under = root / "images/training/b/barn"
    for name in ("ADE_train_00000005", "ADE_train_00000006", "ADE_train_00000007"):
        save(under / f"{name}.jpg", picture())
    save(under / "ADE_train_00000006_seg.png", packed([[1] * 40] * 30))
    save(under / "ADE_train_00000007_seg.png", packed([[1] * 40] * 30))
    write(under / "ADE_train_00000007_atr.txt", "wall\n")
    data = open_dataset(f"ade20k:{root}")
    assert len(data) == 3 and len(data.problems) == 3
    assert says(data.problems, "00000005_seg.png", "does not exist")
    assert says(data.problems, "00000006", "neither a .json nor an _atr.txt")
    assert says(data.problems, "00000007_atr.txt", "line 1 is not: instance # level")
    save(root / "images/training/b/barn/ADE_train_00000002_seg.png", packed([[299] * 40] * 30))
    with pytest.raises(BadFile, match="unknown label values 299"):
        data.annotations(1)
    write(root / "index_ade20k.mat", "not MATLAB")
    with pytest.raises(BadFile, match="is not a whole MATLAB file"):
        open_dataset(f"ade20k:{root}")


def test_the_folder_above_a_release_is_enough_where_there_is_one(tmp_path):
    release_2016(tmp_path / "ADE20K_2016_07_26")
    assert len(open_dataset(f"ade20k:{tmp_path}")) == 3
    with pytest.raises(UnitscopeError, match=f"write ade20k:{tmp_path}"):
        open_dataset(str(tmp_path))
    (tmp_path / "other/images").mkdir(parents=True)
    with pytest.raises(UnitscopeError, match="several data sets"):
        open_dataset(f"ade20k:{tmp_path}")
    with pytest.raises(BadFile, match="holds no photo"):
        open_dataset(f"ade20k:{tmp_path / 'other'}")
    (tmp_path / "bare").mkdir()
    with pytest.raises(BadFile, match="no such folder"):
        open_dataset(f"ade20k:{tmp_path / 'bare'}")


def test_folders_of_instance_masks_are_not_entered(tmp_path):
    root = release_2016(tmp_path)
    # A photo in such a folder would be told as one without a mask.
    save(root / "images/training/b/barn/ADE_train_00000002/instance_000.jpg", picture())
    assert open_dataset(f"ade20k:{root}").problems == []


def test_a_release_of_2016_is_dissected(tmp_path):
    run = tiny.dissect(f"ade20k:{release_2016(tmp_path / 'ade')}", tmp_path / "runs")
    assert run.info["images"] == {"planned": 3, "used": 3}
    concepts = run.sql("SELECT name, category, area FROM concepts WHERE images > 0")
    assert {"handle", "knob"} <= set(concepts["name"]) and (concepts["area"] > 0).all()


def test_the_release_of_2021_in_small(tmp_path):
    stem = tmp_path / "images/ADE/training/urban/inn__outdoor/ADE_train_00000009"
    save(stem.with_suffix(".jpg"), picture())
    save(Path(f"{stem}_seg.png"), packed([[3500, 1, 0, 1]] * 3).repeat(10, 0).repeat(10, 1))
    rows = [Region(0, "wall", 1), Region(0, "awning, sunshade", 3500)]
    stem.with_suffix(".json").write_text(
        json_text([*rows, Region(1, "caf\xe9 sign", 7)]), encoding="latin-1"
    )
    data = open_dataset(f"ade20k:{tmp_path}")
    assert data.scenes == ["inn/outdoor"] and len(data.channels) == 1
    assert named(data, 0)[0][0, ::10].tolist() == ["awning", "wall", "", "wall"]
    write(stem.with_suffix(".json"), '{"annotation": {"object": [{"name": "wall"}]}}')
    with pytest.raises(UnitscopeError, match="lack name, name_ndx or parts"):
        open_dataset(f"ade20k:{tmp_path}")


@pytest.fixture(scope="session")
def sample_2021(data_dir) -> Path:
    root = data_dir / "ade20k" / "dataset" / "ADE20K_2021_17_01"
    if not root.is_dir():
        pytest.skip("the real data have no ade20k/dataset")
    return root


def test_the_official_samples_of_2021(sample_2021):
    data = open_dataset(f"ade20k:{sample_2021}")
    assert data.ids == [f"ADE_train_000{k}" for k in (16869, 16900, 16964)]
    assert data.scenes == ["street"] and set(data.split) == {"train"} and data.problems == []
    assert [c.name for c in data.channels] == ["object", "part", "part2"]
    assert ("person", "object") in {(c.name, c.category) for c in data.concepts}
    for k, photo in enumerate(data.photo_files):
        text = json.loads(Path(photo).with_suffix(".json").read_text(encoding="utf-8"))
        names = {o["name_ndx"]: o["name"] for o in text["annotation"]["object"]}
        for level, plane in enumerate(named(data, k)):
            mask = data.masks[k][level]
            if not mask:
                assert not (plane != "").any()
                continue
            red, green, _ = np.moveaxis(np.asarray(Image.open(mask)).astype(int), -1, 0)
            number = red // 10 * 256 + green
            for value in np.unique(number):
                expected = names[value].split(",")[0] if value else ""
                assert (plane[number == value] == expected).all()


def test_the_samples_written_as_in_2016_say_the_same(sample_2021, tmp_path):
    """The same masks with _atr.txt and an index in the place of the JSON."""
    told = open_dataset(f"ade20k:{sample_2021}")
    names: dict[int, str] = {}
    for k, photo in enumerate(told.photo_files):
        under = tmp_path / "images/training/s/street"
        under.mkdir(parents=True, exist_ok=True)
        for file in (photo, *(mask for mask in told.masks[k] if mask)):
            shutil.copy(file, under)
        rows = regions(Path(photo).with_suffix(".json"))
        names |= {row.number: row.name for row in rows}
        write(under / f"{told.ids[k]}_atr.txt", atr_text(rows))
    every = [names.get(number, "unused") for number in range(1, max(names) + 1)]
    index_mat(tmp_path / "index_ade20k.mat", every)
    read = open_dataset(f"ade20k:{tmp_path}")
    assert read.scenes == told.scenes and read.concepts == told.concepts
    for k in range(3):
        assert np.array_equal(read.annotations(k).maps, told.annotations(k).maps)


def test_the_official_samples_are_dissected(sample_2021, tmp_path):
    run = tiny.dissect(f"ade20k:{sample_2021}", tmp_path)
    found = set(run.sql("SELECT name FROM concepts WHERE images = 3")["name"])
    assert {"building", "car", "person", "road", "tree"} & found and len(
        run.sql("SELECT * FROM counts")
    )


# -- the scene parsing benchmark ----------------------------------------------------------------

INFO = (
    "Idx\tRatio\tTrain\tVal\tName\n"
    "1\t0.15\t11664\t1172\twall\n2\t0.1\t6046\t612\tbuilding, edifice\n"
)


def benchmark(root: Path, text: bool = True) -> Path:
    for name, values in (
        ("training/ADE_train_00000001", [[0, 1], [2, 2]]),
        ("training/ADE_train_00000002", [[1, 1], [1, 0]]),
        ("validation/ADE_val_00000001", [[2, 2], [2, 2]]),
    ):
        save(root / "images" / f"{name}.jpg", picture(40, 30, len(name)))
        mask = np.array(values, np.uint8).repeat(15, 0).repeat(20, 1)
        save(root / "annotations" / f"{name}.png", mask)
    if text:
        write(root / "objectInfo150.txt", INFO)
    else:
        write(root / "objectInfo150.csv", INFO.replace(", ", ";").replace("\t", ","))
    lines = ["ADE_train_00000001 shop", "ADE_train_00000002 misc", "ADE_val_00000001 natural"]
    write(root / "sceneCategories.txt", "\n".join(lines) + "\n")
    return root


@pytest.mark.parametrize("text", [True, False])
def test_the_benchmark(tmp_path, text):
    data = open_dataset(f"ade150:{benchmark(tmp_path, text)}")
    assert data.ids == ["ADE_train_00000001", "ADE_train_00000002", "ADE_val_00000001"]
    assert data.split == ["train", "train", "val"] and data.problems == []
    assert [c.name for c in data.concepts] == ["wall", "building"]
    # "shop" stands for bakery/shop alone, "natural" for three scenes, "misc" for none.
    assert [data.scenes[k] if k >= 0 else "" for k in data.scene] == ["bakery/shop", "", "natural"]
    assert data.annotations(0).maps[0, ::15, ::20].tolist() == [[0, 1], [2, 2]]
    with pytest.raises(UnitscopeError, match=f"write ade150:{tmp_path}"):
        open_dataset(str(tmp_path))


def test_the_benchmark_tells_what_is_missing(tmp_path):
    root = benchmark(tmp_path / "ADEChallengeData2016")
    (root / "annotations/training/ADE_train_00000002.png").unlink()
    write(root / "sceneCategories.txt", "ADE_train_00000001 street\nADE_train_00000003\n")
    data = open_dataset(f"ade150:{tmp_path}")
    assert data.scenes == ["street"] and data.scene.tolist() == [0, -1]
    assert says(data.problems, "ADE_train_00000002.png", "does not exist")
    assert says(data.problems, "line 2", "is not a photo and a scene")
    assert says(data.problems, "1 of 2 photos are not listed")
    (root / "sceneCategories.txt").unlink()
    assert says(open_dataset(f"ade150:{root}").problems, "sceneCategories.txt", "no accuracy")
    save(root / "annotations/validation/ADE_val_00000001.png", np.full((30, 40), 3, np.uint8))
    with pytest.raises(BadFile, match="unknown label values 3: not in objectInfo150"):
        data.annotations(1)
    for bad, why in (
        ("Idx\tName\n1\twall\n1\tdoor\n", "label 1 occurs twice"),
        ("Idx\tName\n", "lists no label"),
        ("Number\tName\n1\twall\n", "has no columns Idx and Name"),
        ("Idx\tName\nx\twall\n", "line 2"),
    ):
        write(root / "objectInfo150.txt", bad)
        with pytest.raises(BadFile, match=why):
            open_dataset(f"ade150:{root}")
    (root / "objectInfo150.txt").unlink()
    with pytest.raises(BadFile, match=r"objectInfo150\.txt: does not exist"):
        open_dataset(f"ade150:{root}")


def test_the_official_samples_of_the_benchmark(data_dir, tmp_path):
    source = data_dir / "ade20k"
    if not (source / "sampleData").is_dir():
        pytest.skip("the real data have no ade20k/sampleData")
    for name in ("images", "annotations"):
        shutil.copytree(source / "sampleData" / name, tmp_path / "bench" / name)
    for name in ("objectInfo150.csv", "sceneCategories.txt"):
        shutil.copy(source / name, tmp_path / "bench")
    data = open_dataset(f"ade150:{tmp_path / 'bench'}")
    assert len(data.concepts) == 150 and len({c.name for c in data.concepts}) == 150
    assert data.ids == [f"ADE_val_0000000{k}" for k in (1, 2, 3)] and data.split == ["val"] * 3
    assert not data.problems and -1 not in data.scene
    for k in range(3):
        with Image.open(data.label_files[k]) as image:
            assert np.array_equal(data.annotations(k).maps[0], np.asarray(image))
    run = tiny.dissect(f"ade150:{tmp_path / 'bench'}", tmp_path / "runs")
    assert run.info["images"]["used"] == 3 and len(run.sql("SELECT * FROM counts"))


def test_the_real_scene_list(data_dir, tmp_path):
    path = data_dir / "ade20k" / "sceneCategories.txt"
    if not path.is_file():
        pytest.skip("the real data have no ade20k/sceneCategories.txt")
    from core.datasets.readers.ade150 import WHOLE_NAMES, _scenes

    problems: list = []
    scenes = _scenes(path, problems)
    assert problems == [] and len(scenes) == 22_210
    assert sum(scene == "" for scene in scenes.values()) == 1667
    assert "bakery/shop" in scenes.values() and "shop" not in scenes.values()
    # Each whole name is the one that the same photos have in ADE20K's own index.
    index = json.loads((data_dir / "ade20k" / "ade20k_scenes.json").read_text())
    for cut, whole in WHOLE_NAMES.items():
        photos = [name for name, scene in scenes.items() if scene == whole]
        own = {index[f"{name}.jpg"] for name in photos if f"{name}.jpg" in index}
        assert own == {whole.replace("/", "-")}, cut
