"""The kind folder: photos, masks, labels.csv, scenes.csv."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from core.datasets import open_dataset
from core.datasets.base import Channel, Concept
from core.foundation.errors import BadFile, UnitscopeError
from tests.datasets.files import folder_dataset, folder_tree, picture, save, says, why, write


def test_a_folder_is_read(tmp_path):
    data = folder_dataset(tmp_path / "mine")
    assert data.name == "mine" and data.ids == ["a", "b", "k/c"]
    assert data.scenes == ["bedroom", "kitchen"] and data.scene.tolist() == [0, 0, 1]
    assert data.scene.dtype == np.int32 and data.split == ["train", "test", "test"]
    assert data.concepts == [
        Concept(1, "bed", "object"),
        Concept(2, "lamp", "object"),
        Concept(3, "wood", "material"),
        Concept(4, "pillow", "part"),
        Concept(5, "headboard", "part"),
    ]
    assert data.channels == [
        Channel("object", "object"),
        Channel("material", "material"),
        Channel("part", "part"),
        Channel("part2", "part"),
    ]
    maps = data.annotations(0).maps
    assert maps.dtype == np.uint16 and maps.shape == (4, 30, 40)
    assert maps[:, [0, 4, 12, 22, 28], 0].T.tolist() == [
        [1, 0, 5, 4],
        [1, 0, 5, 0],
        [2, 0, 0, 0],
        [0, 3, 0, 0],
        [0, 0, 0, 0],
    ]
    assert data.annotations(1).maps.shape == (4, 15, 20)
    assert data.annotations(1).maps.max() == 3
    assert data.annotations(2).maps.shape == (4, 1, 1) and not data.annotations(2).maps.any()
    assert [p.reason for p in data.problems] == ["1 of 3 photos have no mask: k/c"]
    assert data.photo(2).size == (40, 30)
    assert data.index_of("k/c") == 2


def test_scenes_and_splits_come_from_the_folders_without_scenes_csv(tmp_path):
    for name in (
        "train/bedroom/1.jpg",
        "train/bedroom/10.jpg",
        "train/bedroom/2.JPG",
        "test/x.jpg",
    ):
        save(tmp_path / "images" / name, Image.fromarray(picture()), format="JPEG")
    write(tmp_path / "images/notes.txt", "")
    save(tmp_path / "images/.hidden/3.jpg", picture())
    data = open_dataset(f"folder:{tmp_path}")
    assert data.ids == ["test/x", "train/bedroom/1", "train/bedroom/2", "train/bedroom/10"]
    assert data.scenes == ["bedroom"] and data.scene.tolist() == [-1, 0, 0, 0]
    assert data.split == ["test", "train", "train", "train"]
    assert data.concepts == data.channels == []
    assert [p.reason for p in data.problems] == ["files not read as photos: 1 .txt"]
    assert data.annotations(0).maps.shape == (0, 1, 1)


def test_names_that_do_not_match_are_told_with_the_nearest(tmp_path):
    root = folder_tree(tmp_path)
    mask = np.ones((30, 40), np.uint8)
    save(root / "masks/k/c_mask.png", mask)
    save(root / "masks/b.prt.png", mask)
    save(root / "masks/b.object.jpg", mask)
    save(root / "images/a.png", picture())
    with (root / "scenes.csv").open("a") as table:
        table.write("aa.jpg,kitchen\na.jpg,kitchen\nk/c.png,kitchen,test,more\n\n")
    data = open_dataset(f"folder:{root}")
    assert data.ids == ["a", "b", "k/c"] and data.scene.tolist() == [0, 0, 1]
    told = data.problems
    assert says(told, "c_mask.png", "no photo 'k/c_mask'", "without a mask: k/c")
    assert says(told, "b.prt.png", "'prt' is not a category of masks; is 'part' meant?")
    assert says(told, "b.object.jpg", "is not a PNG")
    assert says(told, "a.png", "same name as a.jpg")
    assert says(told, "scenes.csv", "line 5", "no photo 'aa.jpg'; nearest: a.jpg")
    assert says(told, "scenes.csv", "line 6", "listed before")
    assert says(told, "scenes.csv", "line 7", "4 cells, not 3")
    assert len(told) == 8


def test_bad_rows_of_labels_csv_are_left_out_with_their_line(tmp_path):
    root = folder_tree(tmp_path)
    with (root / "labels.csv").open("a") as table:
        table.write(
            "x,chair,object\n6,chair,obejct\n0,wall,object\n1,bed again,object\n7\n70000,a,\n"
        )
        table.write("8,red,Colour\n")
    data = open_dataset(f"folder:{root}")
    told = data.problems
    assert says(told, "labels.csv", "line 8", "'x' is not a number")
    assert says(told, "line 9", "'obejct'", "is 'object' meant?")
    assert says(told, "line 10", "value 0 always means 'not annotated'")
    assert says(told, "line 11", "value 1 occurs twice")
    assert says(told, "line 12", "1 cells, not 3") and says(told, "line 13", "'70000'")
    assert Concept(6, "red", "color") in data.concepts


def test_bad_masks_name_their_file(tmp_path):
    root = folder_tree(tmp_path)
    mask = np.full((30, 40), 9, np.uint8)
    mask[0, :6] = range(20, 26)
    save(root / "masks/b.png", mask)
    data = open_dataset(f"folder:{root}")

    def reason(image: str) -> str:
        return why(
            next((root / "masks").rglob(f"{image}.png")),
            lambda _: data.annotations(data.index_of(image.split(".")[0])),
        )

    assert reason("b").startswith(
        "unknown label values 9, 20, 21, 22, 23 and 2 more: not in labels.csv"
    )
    save(root / "masks/b.png", np.ones((40, 30), np.uint8))
    assert reason("b") == "the mask is 30×40 but the photo is 40×30: not the same shape"
    save(root / "masks/b.png", np.ones((30, 40, 3), np.uint8))
    assert "mode is RGB" in reason("b")
    (root / "masks/b.png").write_bytes(b"")
    assert reason("b") == "is empty (0 bytes)"
    save(root / "masks/a.part2.png", np.ones((15, 20), np.uint8))
    assert reason("a.part2") == "is 20×15, but a.png is 40×30"
    save(root / "masks/a.part2.png", np.ones((30, 40), np.uint8))
    assert reason("a.part2") == "unknown label values 1: not in the part labels of labels.csv"


def test_a_mask_is_drawn_over_the_upright_photo(tmp_path):
    root = folder_tree(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "images/b.jpg", Image.fromarray(picture(30, 40)), exif=exif)
    data = open_dataset(f"folder:{root}")
    assert data.photo(1).size == (40, 30) and data.annotations(1).maps.shape == (4, 15, 20)


def test_tables_that_cannot_be_read_are_named(tmp_path):
    def refused(name: str, content: bytes | None) -> str:
        root = folder_tree(tmp_path / str(len(list(tmp_path.iterdir()))))
        if content is None:
            (root / name).rename(root / ("_" + name))
        else:
            (root / name).write_bytes(content)
        with pytest.raises(BadFile) as wrong:
            open_dataset(f"folder:{root}")
        assert wrong.value.path.endswith(name)
        return wrong.value.reason

    assert refused("labels.csv", None) == "does not exist; nearest: _labels.csv, scenes.csv"
    assert refused("labels.csv", b"").startswith("is empty")
    assert refused("labels.csv", b"value,name\n") == "lists no label"
    assert refused("labels.csv", b"number,name\n1,bed\n").startswith("has no column 'value'")
    assert "separated by commas" in refused("labels.csv", b"value;name\n1;bed\n")
    assert "'name' twice" in refused("labels.csv", b"value,name,name\n1,bed,x\n")
    assert refused("scenes.csv", b"image,scene\nb,caf\xe9\n").startswith("is not UTF-8")
    assert "'images' should be called so" in refused("scenes.csv", b"images,scene\n")
    assert refused("images", None) == "no such folder; nearest: _images, masks"
    both = b"value,name,category\n1,bed,object\n1,wood,material\n5,x,part\n"
    assert "value 1 stands in two categories of one mask" in refused("labels.csv", both)


def test_one_value_may_mean_two_things_in_masks_of_their_own(tmp_path):
    root = folder_tree(tmp_path)
    write(
        root / "labels.csv",
        "\ufeffValue, Name ,category\n1,bed,\n1,pillow,part\n2,lamp,\n3,rug,\n255,,\n",
    )
    for name in ("a.part.png", "a.part2.png"):
        save(root / "masks" / name, np.ones((30, 40), np.uint8))
    data = open_dataset(f"folder:{root}")
    assert data.annotations(0).maps[:, 0, 0].tolist() == [1, 2, 2]


def test_a_folder_without_photos_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UnitscopeError, match=r"images: holds no photo \(\.jpg"):
        open_dataset(f"folder:{tmp_path}")
