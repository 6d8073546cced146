"""NYU Depth v2 as a folder of files, drawn and real."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.datasets import open_dataset
from core.datasets.base import Channel, Concept
from core.foundation.errors import UnitscopeError
from tests.datasets.files import picture, save, says, why, write


def nyu_tree(root: Path) -> Path:
    names = ["unlabelled", *(f"label{k}" for k in range(1, 40)), "otherprop"]
    write(root / "labels40.txt", "".join(f"{k}\t{name}\n" for k, name in enumerate(names)))
    write(
        root / "scenes.csv",
        "index,scene,official_split\n0,kitchen,test\n1,bedroom,train\n2,bedroom,test\n",
    )
    mask = np.array([[0, 1], [38, 39]], np.uint8).repeat(15, 0).repeat(20, 1)
    for k in range(3):
        save(root / f"images/{k}.jpg", picture(40, 30, k))
        save(root / f"labels40/{k}.png", mask)
    return root


def test_nyuv2_layout(tmp_path):
    data = open_dataset(f"nyuv2:{nyu_tree(tmp_path)}")
    assert data.name == "nyuv2" and data.ids == ["0", "1", "2"] and not data.problems
    assert data.scenes == ["bedroom", "kitchen"] and data.scene.tolist() == [1, 0, 0]
    assert data.split == ["test", "train", "test"]
    assert data.channels == [Channel("object", "object")]
    assert len(data.concepts) == 39 and data.concepts[38] == Concept(39, "label39", "object")
    maps = data.annotations(0).maps
    assert maps.shape == (1, 30, 40) and maps[0, ::15, ::20].tolist() == [[1, 2], [39, 0]]
    assert data.select(["test"]).tolist() == [0, 2]


def test_nyuv2_leaves_out_what_it_cannot_use(tmp_path):
    root = nyu_tree(tmp_path)
    with (root / "scenes.csv").open("a") as table:
        table.write("1,kitchen,test\n9,kitchen,test\n../x,kitchen,test\n2,,test\n5,a\n")
    (root / "labels40/2.png").unlink()
    data = open_dataset(f"nyuv2:{root}")
    assert data.ids == ["0", "1"] and data.split == ["test", "train"]
    assert says(data.problems, "scenes.csv", "line 5", "image 1 occurs twice")
    assert says(data.problems, "9.jpg", "does not exist")
    assert says(data.problems, "labels40", "2.png", "does not exist")
    assert says(data.problems, "line 6", "'../x' is not an image number") is False
    assert says(data.problems, "line 7", "'../x' is not an image number")
    assert says(data.problems, "line 8", "no scene") and says(data.problems, "line 9", "2 cells")

    bad = np.full((30, 40), 41, np.uint8)
    save(root / "labels40/0.png", bad)
    assert "unknown label values 41" in why(root / "labels40/0.png", lambda _: data.annotations(0))
    (root / "images/1.jpg").write_bytes((root / "images/1.jpg").read_bytes()[:300])
    assert "truncated" in why(root / "images/1.jpg", lambda _: data.photo(1))


def test_nyuv2_tables_are_needed(tmp_path):
    root = nyu_tree(tmp_path)
    write(root / "labels40.txt", "0\tunlabelled\nwall 1\n")
    assert "line 2" in why(root / "labels40.txt", lambda _: open_dataset(f"nyuv2:{root}"))
    (root / "labels40.txt").unlink()
    assert why(root / "labels40.txt", lambda _: open_dataset(f"nyuv2:{root}")) == "does not exist"
    shutil.rmtree(root / "images")
    (root / "images").mkdir()
    nyu = nyu_tree(tmp_path / "other")
    shutil.rmtree(nyu / "images")
    (nyu / "images").mkdir()
    with pytest.raises(UnitscopeError, match=r"none of its 3 images can be used; first: .*0\.jpg"):
        open_dataset(f"nyuv2:{nyu}")


def test_the_real_nyuv2(data_dir):
    if not (data_dir / "nyuv2").is_dir():
        pytest.skip("the real data have no nyuv2/")
    data = open_dataset(f"nyuv2:{data_dir / 'nyuv2'}")
    assert data.problems == [] and data.ids == [str(k) for k in range(1449)]
    counts = dict(zip(data.scenes, np.bincount(data.scene).tolist(), strict=True))
    assert len(counts) == 27 and counts["bedroom"] == 383 and counts["indoor_balcony"] == 2
    assert data.split.count("train") == 795 and data.split.count("test") == 654
    names = [c.name for c in data.concepts]
    assert len(names) == 39 and names[:3] == ["wall", "floor", "cabinet"]
    assert "refridgerator" in names and "otherprop" not in names
    for k in (0, 700, 1448):
        with Image.open(data_dir / f"nyuv2/labels40/{k}.png") as image:
            raw = np.asarray(image).astype(int)
        maps = data.annotations(k).maps
        assert maps.shape == (1, 480, 640) and data.photo(k).size == (640, 480)
        assert np.array_equal(maps[0], np.where(raw == 39, 0, raw + 1))
    # The values of image 1 were looked up by hand: 39 is there, and gives no concept.
    assert np.unique(data.annotations(1).maps).tolist() == [0, 1, 3, 12, 22, 24, 26, 34, 38, 39]
    assert data.content_digest() == data.content_digest()
