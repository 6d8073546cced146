"""Masks told apart by colour, and the layouts of CVAT, Pascal VOC and Roboflow."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.datasets import open_dataset
from core.foundation.errors import BadFile
from tests import tiny
from tests.datasets.files import picture, save, says, write

RED, GREEN, BLUE, BLACK = (255, 0, 0), (0, 128, 0), (10, 20, 250), (0, 0, 0)
COLORS = 'color,name,category\n#FF0000,bed,\n"0, 128, 0",lamp,object\n10 20 250,wood,material\n'


def painted(*colors) -> np.ndarray:
    """A mask of 40×30 with equal columns of colours."""
    columns = np.array(colors, np.uint8)[np.arange(40) * len(colors) // 40]
    return np.repeat(columns[None], 30, 0)


def colored(root: Path, mask: np.ndarray | Image.Image, table: str = COLORS, name="a.png") -> Path:
    save(root / "images/a.jpg", picture())
    save(root / "masks" / name, mask)
    write(root / "labels.csv", table)
    return root


def columns(data, k: int = 0) -> list[tuple[str, ...]]:
    """The names in the middle of each quarter, channel by channel."""
    names = ["", *[c.name for c in data.concepts]]
    return [tuple(names[v] for v in plane[15, 5::10]) for plane in data.annotations(k).maps]


def refused(root: Path) -> str:
    with pytest.raises(BadFile) as raised:
        open_dataset(f"folder:{root}").annotations(0)
    return str(raised.value)


def test_colours_are_labels(tmp_path):
    data = open_dataset(f"folder:{colored(tmp_path, painted(RED, GREEN, BLUE, BLACK))}")
    assert data.problems == []
    assert [(c.name, c.category) for c in data.concepts] == [
        ("bed", "object"),
        ("lamp", "object"),
        ("wood", "material"),
    ]
    assert columns(data) == [("bed", "lamp", "", ""), ("", "", "wood", "")]


def test_random_colours_are_those_of_a_plain_loop(tmp_path):
    rng = np.random.default_rng(0)
    palette = [BLACK, RED, GREEN, BLUE]
    picked = rng.integers(0, 4, (30, 40))
    data = open_dataset(f"folder:{colored(tmp_path, np.array(palette, np.uint8)[picked])}")
    names = ["", *[c.name for c in data.concepts]]
    maps = data.annotations(0).maps
    for y in range(30):
        for x in range(40):
            wanted = ("", "bed", "lamp", "wood")[picked[y, x]]
            found = [names[v] for v in maps[:, y, x]]
            assert found == (["", wanted] if wanted == "wood" else [wanted, ""])


def test_a_palette_is_read_by_its_colours_where_there_are_no_values(tmp_path):
    image = Image.fromarray(painted(RED, GREEN, BLUE, BLACK)).quantize(4)
    assert image.mode == "P"
    data = open_dataset(f"folder:{colored(tmp_path, image)}")
    assert columns(data)[0] == ("bed", "lamp", "", "")


def test_values_and_colours_in_one_table(tmp_path):
    """Masks of one channel are read by value, those of three by colour."""
    table = "value,name,color\n7,bed,#ff0000\n9,lamp,#008000\n200,,#ffffff\n"
    values = np.repeat(np.array([7, 9, 0, 200], np.uint8), 10)[None].repeat(30, 0)
    root = colored(tmp_path, values, table)
    save(root / "images/b.jpg", picture(seed=1))
    save(root / "masks/b.png", painted(RED, GREEN, BLACK, (255, 255, 255)))
    data = open_dataset(f"folder:{root}")
    assert data.problems == []
    assert columns(data, 0) == columns(data, 1) == [("bed", "lamp", "", "")]


def test_masks_of_a_category_have_its_colours(tmp_path):
    table = "color,name,category\n#ff0000,bed,object\n#ff0000,pillow,part\n#008000,lamp,object\n"
    root = colored(tmp_path, painted(RED, RED, GREEN, BLACK), table)
    save(root / "masks/a.part.png", painted(BLACK, RED, BLACK, BLACK))
    data = open_dataset(f"folder:{root}")
    assert columns(data) == [("bed", "bed", "lamp", ""), ("", "pillow", "", "")]
    save(root / "masks/a.part.png", painted(BLACK, RED, GREEN, BLACK))
    assert "a.part.png: has colours that are not in the part labels of labels.csv: #008000" in (
        refused(root)
    )
    (root / "masks/a.part.png").unlink()
    with pytest.raises(BadFile, match="colour #ff0000 stands in two categories of one mask"):
        open_dataset(f"folder:{root}")


def test_an_unknown_colour_is_told_with_the_nearest(tmp_path):
    mask = painted(RED, (250, 3, 0), BLACK, (1, 0, 2))
    why = refused(colored(tmp_path, mask))
    assert "a.png: has colours that are not in labels.csv" in why
    assert "#fa0300 (300 pixels; nearest #ff0000 bed)" in why
    assert "#010002 (300 pixels; nearest #000000 not annotated)" in why and "smoothed" not in why


def test_smoothed_masks_are_refused(tmp_path):
    small = Image.fromarray(painted(RED, GREEN, BLUE, BLACK))
    smooth = small.resize((80, 60), Image.Resampling.BILINEAR).resize((40, 30))
    assert "anti-aliased" in refused(colored(tmp_path / "a", smooth))
    once = tmp_path / "once.jpg"
    save(once, small, quality=60)
    with Image.open(once) as image:
        assert "saved as JPEG" in refused(colored(tmp_path / "b", image.copy()))
    root = colored(tmp_path / "c", small)
    (root / "masks/a.png").write_bytes(once.read_bytes())
    assert "is a JPEG: its compression changes label values" in refused(root)


def test_bad_colours_are_left_out_with_their_line(tmp_path):
    table = (
        "name,colour,category\nbed,#ff0000,\nsofa,red,\nrug,256 0 0,\nsky,,\nbin,#000000,\n"
        "cup,#FF0000,object\nvoid,\n,#ffffff,\npot,#0a14fa,pots\n"
    )
    data = open_dataset(f"folder:{colored(tmp_path, painted(RED, (255, 255, 255)), table)}")
    assert [c.name for c in data.concepts] == ["bed"] and columns(data)[0][0] == "bed"
    for words in (
        ["line 3", "colour 'red' is neither #rrggbb nor"],
        ["line 4", "'256 0 0'"],
        ["line 5", "colour ''"],
        ["line 6", "black always means 'not annotated'; 'bin' needs"],
        ["line 7", "colour #ff0000 occurs twice in category object"],
        ["line 8"],
        ["line 10", "category 'pots'"],
    ):
        assert says(data.problems, "labels.csv", *words), words
    assert len(data.problems) == 7


def test_the_digest_follows_the_colours(tmp_path):
    root = colored(tmp_path, painted(RED, GREEN, BLUE, BLACK))
    before = open_dataset(f"folder:{root}").content_digest()
    write(
        root / "labels.csv", COLORS.replace("bed", "x").replace("lamp", "bed").replace("x", "lamp")
    )
    assert open_dataset(f"folder:{root}").content_digest() != before


LABELMAP = """# label:color_rgb:parts:actions
background:0,0,0::
bed:128,0,0::
night stand:0,128,0:drawer,knob:
ignored:224,224,192::

lamp
sofa:1,2::
"""


def cvat(root: Path) -> Path:
    """CVAT's "Segmentation mask 1.1" with its photos; Pascal VOC's folders."""
    for k, (name, mask) in enumerate(
        [
            ("a", painted((128, 0, 0), (0, 128, 0), (224, 224, 192), BLACK)),
            ("b", painted((0, 128, 0), BLACK)),
        ]
    ):
        save(root / f"JPEGImages/{name}.jpg", picture(seed=k))
        save(root / f"SegmentationClass/{name}.png", mask)
        save(root / f"SegmentationObject/{name}.png", mask)
    write(root / "labelmap.txt", LABELMAP)
    write(root / "ImageSets/Segmentation/train.txt", "a\n")
    write(root / "ImageSets/Segmentation/val.txt", "b\n")
    return root


def test_cvats_masks(tmp_path):
    data = open_dataset(f"folder:{cvat(tmp_path)}")
    assert data.ids == ["a", "b"] and data.split == ["train", "val"]
    assert [c.name for c in data.concepts] == ["bed", "night stand"]
    assert columns(data, 0) == [("bed", "night stand", "", "")]
    assert columns(data, 1) == [("night stand", "night stand", "", "")]
    assert says(data.problems, "labelmap.txt", "line 7", "'lamp' is not label:red,green,blue")
    assert says(data.problems, "labelmap.txt", "line 8", "colour '1,2' is neither")
    assert len(data.problems) == 2
    save(tmp_path / "SegmentationClass/a.png", painted((128, 0, 1)))
    assert "not in labelmap.txt" in refused(tmp_path) and "nearest #800000 bed" in refused(tmp_path)
    # Pascal VOC itself has palettes, and no table: labels.csv names the indices.
    write(tmp_path / "labels.csv", "value,name\n1,aeroplane\n255,\n")
    indices = Image.fromarray(np.repeat([[0, 1, 255, 0]], 30, 0).repeat(10, 1).astype(np.uint8))
    indices.putpalette([0, 0, 0, 128, 0, 0, *[9, 9, 9] * 254])
    for name in "ab":
        save(tmp_path / f"SegmentationClass/{name}.png", indices)
    data = open_dataset(f"folder:{tmp_path}")
    assert data.problems == [] and columns(data, 0) == [("", "aeroplane", "", "")]


CLASSES = "Pixel Value, Class\n0, background\n1, bed\n2, part:pillow\n"


def roboflow(root: Path) -> Path:
    for k, split in enumerate(("train", "valid", "test")):
        name = root / split / f"room_jpg.rf.{k}"
        save(Path(f"{name}.jpg"), picture(seed=k))
        values = np.repeat(np.array([0, 1, 2, k % 2], np.uint8), 10)[None].repeat(30, 0)
        save(Path(f"{name}_mask.png"), values)
        write(root / split / "_classes.csv", CLASSES)
    write(root / "README.roboflow.txt", "made by a program")
    return root


def test_roboflows_semantic_masks(tmp_path):
    data = open_dataset(f"folder:{roboflow(tmp_path)}")
    assert data.problems == [] and data.scenes == []
    assert data.ids == ["test/room_jpg.rf.2", "train/room_jpg.rf.0", "valid/room_jpg.rf.1"]
    assert data.split == ["test", "train", "valid"]
    assert [(c.name, c.category) for c in data.concepts] == [("bed", "object"), ("pillow", "part")]
    assert columns(data, 2) == [("", "bed", "", "bed"), ("", "", "pillow", "")]
    assert np.abs(np.asarray(data.photo(2)).astype(int) - picture(seed=1)).mean() < 8
    write(tmp_path / "scenes.csv", "image,scene\ntrain/room_jpg.rf.0.jpg,bedroom\n")
    data = open_dataset(f"folder:{tmp_path}")
    assert data.scenes == ["bedroom"] and data.split == ["test", "train", "valid"]
    (tmp_path / "test/room_jpg.rf.2_mask.png").unlink()
    save(tmp_path / "valid/gone_mask.png", np.zeros((30, 40), np.uint8))
    data = open_dataset(f"folder:{tmp_path}")
    assert says(data.problems, "1 of 3 photos have no mask")
    assert says(data.problems, "gone_mask.png", "there is no photo 'valid/gone'")
    write(tmp_path / "valid/_classes.csv", CLASSES.replace("1, bed", "1, sofa"))
    with pytest.raises(BadFile, match=r"valid/_classes\.csv: is not the same as"):
        open_dataset(f"folder:{tmp_path}")


def test_matlabs_masks_are_pointed_to_the_docs(tmp_path):
    root = colored(tmp_path, painted(RED, GREEN))
    write(root / "masks/b.mat", "MATLAB 5.0")
    data = open_dataset(f"folder:{root}")
    assert says(data.problems, "b.mat", "is not a PNG", "docs/datasets.md says how to export it")


@pytest.mark.parametrize("tree", [cvat, roboflow])
def test_both_are_dissected(tmp_path, tree):
    run = tiny.dissect(f"folder:{tree(tmp_path / 'set')}", tmp_path / "runs")
    assert run.info["images"]["used"] == len(list((tmp_path / "set").rglob("*.jpg")))
    assert "bed" in set(run.sql("SELECT name FROM concepts WHERE area > 0")["name"])
