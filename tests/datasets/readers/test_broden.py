"""Broden, in every size it is published in."""

from __future__ import annotations

import csv
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.datasets import open_dataset
from core.datasets.base import Channel
from core.datasets.readers.broden import Cell, read_index, read_label_table
from core.foundation.errors import BadFile
from tests import tiny
from tests.datasets.files import picture, save, says, why, write
from tests.datasets.test_decode import rg

BRODEN_LABELS = """number,name,category,frequency,coverage,syns
1,red-c,color(3),3,1.0,
2,street-s,scene(2),2,2.0,
3,wall,object(3),3,1.5,walls;side
4,door,object(1);part(3),3,0.5,
5,knob,part(2),2,0.1,
6,wood,material(1);object(1),2,0.2,
7,dotted,texture(2),2,2.0,
8,bedroom-s,scene(1),1,1.0,
9,striped,texture(1),1,1.0,
300,painted-s,object(1),1,0.1,
"""


BRODEN_INDEX = """image,split,ih,iw,sh,sw,color,object,part,material,scene,texture
set/a.jpg,train,224,224,112,112,set/a_color.png,set/a_object.png,set/a_part_1.png;set/a_part_2.png,,2,
set/b.jpg,val,224,224,112,112,set/b_color.png,set/b_object.png,,6,8;2,7;9
set/t.jpg,train,224,224,112,112,set/t_color.png,,,,,set/t_texture.png;7
set/n.jpg,val,224,224,112,112,,,,,0,
"""


def broden_tree(root: Path) -> Path:
    """The published layout: three kinds of image as ADE20K, OpenSurfaces and DTD give them."""
    write(root / "label.csv", BRODEN_LABELS)
    write(root / "index.csv", BRODEN_INDEX)
    write(
        root / "category.csv",
        "name,first,last,count,frequency\ncolor,1,1,1,3\nobject,3,300,4,6\npart,4,5,2,5\n"
        "material,6,6,1,1\nscene,2,8,2,3\ntexture,7,9,2,3\n",
    )
    write(
        root / "c_object.csv",
        "code,number,name,frequency,coverage\n1,3,wall,3,1.5\n2,4,door,1,0.1\n",
    )
    write(
        root / "c_part.csv", "code,number,name,frequency,coverage\n1,4,door,3,0.5\n2,5,knob,2,0.1\n"
    )
    for k, name in enumerate("abtn"):
        save(root / f"images/set/{name}.jpg", picture(224, 224, k))

    def mask(name: str, top: int, bottom: int) -> None:
        labels = np.zeros((112, 112), np.uint16)
        labels[:56], labels[56:] = top, bottom
        save(root / f"images/set/{name}.png", rg(labels))

    for name in ("a_color", "b_color", "t_color"):
        mask(name, 1, 1)
    mask("a_object", 3, 4)
    mask("a_part_1", 0, 5)
    mask("a_part_2", 4, 4)
    mask("b_object", 300, 6)
    mask("t_texture", 9, 0)
    return root


def test_broden_layout(tmp_path):
    data = open_dataset(f"broden:{broden_tree(tmp_path)}")
    assert data.name == "broden" and not data.problems
    assert data.ids == ["set/a.jpg", "set/b.jpg", "set/t.jpg", "set/n.jpg"]
    assert data.split == ["train", "val", "train", "val"]
    assert data.scenes == ["street", "bedroom"] and data.scene.tolist() == [0, 1, -1, -1]
    key = {(c.name, c.category): c.id for c in data.concepts}
    assert list(key) == [
        ("red-c", "color"),
        ("wall", "object"),
        ("door", "object"),
        ("door", "part"),
        ("knob", "part"),
        ("wood", "object"),
        ("wood", "material"),
        ("dotted", "texture"),
        ("striped", "texture"),
        ("painted-s", "object"),
    ]
    # No material mask is in the index, only a number: a concept, but no channel.
    assert data.channels == [
        Channel("color", "color"),
        Channel("object", "object"),
        Channel("part", "part"),
        Channel("part2", "part"),
        Channel("texture", "texture"),
    ]
    a, b, t, n = (data.annotations(k) for k in range(4))
    assert a.maps.shape == (5, 112, 112) and a.maps.dtype == np.uint16 and a.whole == ()
    assert a.maps[:, ::56, 0].T.tolist() == [
        [1, key["wall", "object"], 0, key["door", "part"], 0],
        [1, key["door", "object"], key["knob", "part"], key["door", "part"], 0],
    ]
    assert b.maps[1, ::56, 0].tolist() == [key["painted-s", "object"], key["wood", "object"]]
    assert b.whole == (key["wood", "material"], key["dotted", "texture"], key["striped", "texture"])
    assert t.whole == (key["dotted", "texture"],)
    assert t.maps[4, ::56, 0].tolist() == [key["striped", "texture"], 0]
    assert n.maps.shape == (5, 1, 1) and not n.maps.any() and n.whole == ()
    assert pickle.loads(pickle.dumps(data)).content_digest() == data.content_digest()


@pytest.mark.parametrize("side", [224, 227, 384])
def test_every_size_that_broden_is_published_in(tmp_path, side):
    """broden1_224, broden1_227 and broden1_384: masks of half the side, rounded down."""
    half = side // 2
    index = BRODEN_INDEX.replace("224,224,112,112", f"{side},{side},{half},{half}")
    root = broden_tree(tmp_path)
    write(root / "index.csv", index)
    for path in (root / "images/set").iterdir():
        with Image.open(path) as image:
            size = (side, side) if path.suffix == ".jpg" else (half, half)
            resized = image.resize(size, Image.Resampling.NEAREST)
        save(path, resized)
    data = open_dataset(f"broden:{root}")
    assert not data.problems and data.photo(0).size == (side, side)
    names = np.array(["", *[c.name for c in data.concepts]])
    for k in range(3):
        maps = data.annotations(k).maps
        assert maps.shape[1:] == (half, half)
    assert names[data.annotations(0).maps[1, [0, -1], 0]].tolist() == ["wall", "door"]
    run = tiny.dissect(f"broden:{root}", tmp_path / "runs")
    assert run.info["images"]["used"] == 4 and {"wall", "knob", "red-c", "striped"} <= set(
        run.sql("SELECT name FROM concepts WHERE area > 0")["name"]
    )


def test_broden_leaves_out_what_it_cannot_use(tmp_path):
    root = broden_tree(tmp_path)
    size = "train,224,224,112,112"
    rows = [
        f"set/a.jpg,{size},,,,,2,",
        f"set/gone.jpg,{size},,,,,2,",
        f"set/n.jpg,{size},,set/gone.png,,,2,",
        f"../outside.jpg,{size},,,,,2,",
        f"set/n.jpg,{size},/etc/x.png,,,,2,",
        f"set/n.jpg,{size},,set/../../x.png,,,2,",
        f"C:/x.jpg,{size},,,,,2,",
        f"set/n.jpg,{size},,3;77,,,2,",
        f"set/n.jpg,{size},,5,,,2,",
        f"set/n.jpg,{size},,,,,99999,",
        "set/n.jpg,train,224,224,x,112,,,,,2,",
        f",{size},,,,,2,",
        f"set/n.jpg,{size},,,",
    ]
    lines = BRODEN_INDEX.splitlines()[:-1] + rows
    write(root / "index.csv", "\n".join(lines))
    data = open_dataset(f"broden:{root}")
    told = data.problems
    assert data.ids == ["set/a.jpg", "set/b.jpg", "set/t.jpg"]
    assert says(told, "index.csv", "line 5", "set/a.jpg is listed before, in line 2")
    assert says(told, "gone.jpg", "does not exist")
    # Line 7 is the first row of set/n.jpg that can be parsed; later ones are repeats of it.
    assert says(told, "set/n.jpg", "gone.png", "does not exist")
    for line, name in ((8, "../outside.jpg"), (9, "/etc/x.png"), (10, "../../x.png"), (11, "C:/")):
        assert says(told, f"line {line}:", name, "lies outside images/")
    assert says(told, "line 12:", "listed before") and says(told, "line 14:", "above 65535")
    assert says(told, "line 15:", "'x' and '112', not numbers") and says(
        told, "line 16:", "no image"
    )
    assert says(told, "line 17:", "9 cells, not 12")


@pytest.mark.parametrize(("cell", "label"), [("3;77", 77), ("5", 5)])
def test_whole_image_labels_must_be_known_in_their_category(tmp_path, cell, label):
    root = broden_tree(tmp_path)
    with (root / "index.csv").open("a") as table:
        table.write(f"set/m.jpg,train,224,224,112,112,,{cell},,,2,\n")
    save(root / "images/set/m.jpg", picture(224, 224))
    data = open_dataset(f"broden:{root}")
    assert len(data) == 4
    assert says(data.problems, "set/m.jpg", "line 6", f"label {label} is not of category object")


def test_broden_masks_that_cannot_be_used_name_their_file(tmp_path):
    root = broden_tree(tmp_path)
    data = open_dataset(f"broden:{root}")

    def reason(name: str, pixels: np.ndarray) -> str:
        path = save(root / f"images/set/{name}.png", pixels)
        told = why(path, lambda _: data.annotations(0))
        broden_tree(root)
        return told

    labels = np.full((112, 112), 77, np.uint16)
    assert reason("a_object", rg(labels)).startswith("unknown label values 77: not in the object")
    labels[:] = 5  # knob is a part
    assert reason("a_object", rg(labels)).startswith("unknown label values 5: not in the object")
    assert reason("a_part_2", rg(labels[:50])) == "is 112×50, but the index says 112×112"
    assert "blue above 0" in reason("a_color", picture(112, 112))

    write(root / "index.csv", BRODEN_INDEX.replace("112,112", ","))
    data = open_dataset(f"broden:{root}")
    assert reason("a_color", rg(np.ones((112, 50)))).startswith("the mask is 50×112 but the photo")
    assert reason("a_object", rg(labels[:56, :56])) == "is 56×56, but a_color.png is 112×112"


def test_scene_names_keep_their_suffix_where_it_tells_two_apart(tmp_path):
    root = broden_tree(tmp_path)
    write(root / "label.csv", BRODEN_LABELS.replace("8,bedroom-s,", "8,street,"))
    assert open_dataset(f"broden:{root}").scenes == ["street-s", "street"]


def test_unknown_scenes_cost_the_scene_only_and_are_told_once(tmp_path):
    root = broden_tree(tmp_path)
    write(
        root / "index.csv",
        BRODEN_INDEX.replace(",2,\n", ",555,\n").replace(",0,\n", ",555;x.png,\n"),
    )
    data = open_dataset(f"broden:{root}")
    assert len(data) == 4 and data.scene.tolist() == [-1, 0, -1, -1] and data.scenes == ["bedroom"]
    assert says(data.problems, "line 2", "scene 555 is not in label.csv: 2 images")
    assert says(data.problems, "line 5", "scene masks are not read")


def test_columns_that_are_no_category_are_told(tmp_path):
    root = broden_tree(tmp_path)
    write(root / "index.csv", BRODEN_INDEX.replace("color,", "colour,", 1))
    data = open_dataset(f"broden:{root}")
    assert data.channels[0] == Channel("object", "object")
    assert says(data.problems, "column 'colour'", "is 'color' meant?")
    write(root / "index.csv", "image,split,ih,iw,sh,sw\nset/a.jpg,train,1,1,1,1\n")
    assert "no column of a category" in why(
        root / "index.csv", lambda _: open_dataset(f"broden:{root}")
    )


def test_labels_of_one_name_and_bad_label_rows(tmp_path):
    root = broden_tree(tmp_path)
    with (root / "label.csv").open("a") as table:
        table.write(
            "301,wall,object(1),1,1,\n3,again,object(1),1,1,\n0,-,object(1),1,1,\n302,,object,1,1,\n"
        )
    labels = np.full((112, 112), 301, np.uint16)
    save(root / "images/set/a_object.png", rg(labels))
    data = open_dataset(f"broden:{root}")
    assert data.concepts[data.annotations(0).maps[1, 0, 0] - 1].name == "wall"
    assert [c.name for c in data.concepts if c.category == "object"].count("wall") == 1
    for line, words in ((13, "3 occurs twice"), (14, "'0'"), (15, "302 has no name")):
        assert says(data.problems, "label.csv", f"line {line}:", words)


def test_c_files_add_labels_to_a_category(tmp_path):
    root = broden_tree(tmp_path)
    write(root / "label.csv", BRODEN_LABELS.replace("3,wall,object(3)", "3,wall,"))
    write(root / "c_part.csv", "code,number\n1,4\n2,5\n3,9999\n")
    data = open_dataset(f"broden:{root}")
    assert ("wall", "object") in {(c.name, c.category) for c in data.concepts}
    assert says(data.problems, "c_part.csv", "line 4", "'9999' is not in label.csv")


@pytest.mark.parametrize("name", ["broden1_224", "C:data", "a:b:c"])
def test_broden_specs_name_another_index(tmp_path, name):
    root = broden_tree(tmp_path / name)
    lines = BRODEN_INDEX.splitlines()
    other = write(root / "index_set.csv", "\n".join([lines[0], lines[2]]))
    assert len(open_dataset(f"broden:{root}")) == 4
    for index in ("index_set.csv", other):
        data = open_dataset(f"broden:{root}:{index}")
        assert data.ids == ["set/b.jpg"] and data.name == "set"
        # Categories and part levels that this index does not use are not there.
        assert [c.name for c in data.channels] == ["color", "object"]
    with pytest.raises(BadFile, match=r"no such index; CSV files there: index_set\.csv"):
        open_dataset(f"broden:{root}:index_sett.csv")


def test_the_real_ade20k_index(data_dir, tmp_path):
    path = data_dir / "ade20k" / "index_ade20k.csv"
    if not path.is_file():
        pytest.skip("the real data have no ade20k/index_ade20k.csv")
    problems: list = []
    categories, rows = read_index(path, problems)
    assert problems == [] and len(rows) == 22_210
    assert categories == ["color", "object", "part", "material", "scene", "texture"]
    assert rows[0].image == "ade20k/ADE_train_00003891.jpg" and rows[0].mask_size == (112, 112)
    assert max(len(row.cells["part"].files) for row in rows) == 3
    assert sum(row.cells["scene"].numbers == (59,) for row in rows) == 2241
    # 0 is Broden's "-" and the empty cell: no scene that has a name.
    assert sum(row.cells["scene"] == Cell() for row in rows) == 1987 + 2477

    # The whole reader, on the first rows with files written for them.
    root = tmp_path / "broden"
    with path.open() as source:
        lines = [line.strip() for line, _ in zip(source, range(41), strict=False)]
    write(root / "index_ade20k.csv", "\n".join(lines))
    write(root / "label.csv", BRODEN_LABELS + "59,street two-s,scene(1),1,1,\n")
    for row in csv.DictReader(lines):
        save(root / "images" / row["image"], picture(224, 224))
        for name in ";".join(row[c] for c in ("color", "object", "part")).split(";"):
            if name:
                label = 1 if "_color" in name else 4
                save(root / "images" / name, rg(np.full((112, 112), label)))
    data = open_dataset(f"broden:{root}:index_ade20k.csv")
    assert len(data) == 40 and data.name == "ade20k" and data.scenes == ["street two"]
    assert {p.reason.split(" is ")[-1].split(":")[0] for p in data.problems} == {"not in label.csv"}
    for k in range(len(data)):
        assert data.annotations(k).maps[:2].min() > 0


def test_label_csv_of_broden(tmp_path):
    names, labels_of = read_label_table(write(tmp_path / "label.csv", BRODEN_LABELS), [])
    assert names[300] == "painted-s" and labels_of["part"] == {4, 5}
