"""Texts and names that people bring: encodings, spellings, control characters, numbers."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import numpy as np
import pytest

from core.annotate.segment import read_labels_file
from core.datasets import open_dataset
from core.datasets.base import Problem
from core.datasets.check import check
from core.datasets.files import Listing, json_of, read_table, text_of
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.geometry import Preprocessing
from core.foundation.names import match_names, readable
from core.knowledge.align import read_overrides
from core.knowledge.triples import read_triples
from core.models.said import classes_of
from tests.datasets.files import picture, save, says, write

NFC = "Küche"
NFD = unicodedata.normalize("NFD", NFC)


def test_texts_are_utf8_or_marked_utf16_and_nothing_is_guessed(tmp_path):
    path = tmp_path / "a.json"
    for encoding in ("utf-8", "utf-8-sig", "utf-16"):
        path.write_bytes(json.dumps({"label": "床"}, ensure_ascii=False).encode(encoding))
        assert json_of(path) == {"label": "床"}, encoding
    for encoding in ("gb2312", "latin-1"):
        word = "床" if encoding == "gb2312" else "Kücheé"
        path.write_bytes(f'{{"label": "{word}"}}'.encode(encoding))
        with pytest.raises(BadFile, match=r"not UTF-8 text .byte .*save it as UTF-8"):
            json_of(path)
    assert text_of(path, "latin-1") == '{"label": "Kücheé"}'


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_tables_of_other_programs_are_read(tmp_path, encoding):
    path = tmp_path / "labels.csv"
    path.write_bytes("value,name\r\n1,Küche\r\n".encode(encoding))
    assert read_table(path, ("value", "name"), []).rows[0].cells["name"] == NFC
    path.write_bytes("link,a,b\n".encode(encoding) + b"")
    assert text_of(path) == "link,a,b\n"


def folder_of_a_mac(tmp_path):
    """File names decomposed, tables composed."""
    save(tmp_path / "images" / NFD / f"{NFD}_0.jpg", picture())
    save(tmp_path / "masks" / NFD / f"{NFD}_0.png", np.ones((30, 40), np.uint8))
    write(tmp_path / "labels.csv", "value,name\n1,Tür\n")
    write(tmp_path / "scenes.csv", f"image,scene\n{NFC}/{NFC}_0.jpg,{NFC}\n")
    return tmp_path


def test_decomposed_file_names_meet_composed_tables(tmp_path):
    data = open_dataset(f"folder:{folder_of_a_mac(tmp_path)}")
    assert data.ids == [f"{NFC}/{NFC}_0"] and data.scenes == [NFC] and data.problems == []
    assert data.index_of(f"{NFD}/{NFD}_0") == 0
    assert (data.annotations(0).maps == 1).all() and data.photo(0).size == (40, 30)
    assert check(data).usable == 1
    assert Listing(tmp_path / "images").real(f"{NFC}/{NFC}_0.jpg") == f"{NFD}/{NFD}_0.jpg"
    assert match_names([NFD], [NFC]).tolist() == [0]


def test_broden_finds_decomposed_files(tmp_path):
    save(tmp_path / "images" / f"{NFD}.jpg", picture())
    write(tmp_path / "index.csv", f"image,split,ih,iw,sh,sw,color\n{NFC}.jpg,train,30,40,,,1.0\n")
    write(tmp_path / "label.csv", "number,name,category\n1.0,red,color(1)\n")
    data = open_dataset(f"broden:{tmp_path}")
    assert data.photo(0).size == (40, 30) and data.annotations(0).whole == (1,)


ESCAPE = "bed\x1b]0;owned\x07"
SHOWN = r"bed\x1b]0;owned\x07"


def test_control_characters_are_written_out_where_names_are_read(tmp_path):
    assert readable(ESCAPE) == SHOWN and readable(SHOWN) == SHOWN
    assert readable("a\u202eb\nc\udcff") == r"a\u202eb\nc\xff"
    assert readable("a\tb\r\n\x85", lines=True) == "a\tb\r\n\\x85"
    assert readable("\u200dنامه\u200c") == "\u200dنامه\u200c", "joiners are letters' own"

    root = tmp_path / "set"
    save(root / "images" / f"{ESCAPE}.jpg", picture(), format="JPEG")
    save(root / "masks" / f"{ESCAPE}.png", np.ones((30, 40), np.uint8))
    write(root / "labels.csv", f"value,name\n1,{ESCAPE}\n")
    write(root / "scenes.csv", f'image,scene\n{ESCAPE}.jpg,"{ESCAPE}\nnext"\n')
    data = open_dataset(f"folder:{root}")
    assert data.ids == [SHOWN] and data.scenes == [SHOWN + r"\nnext"] and not data.problems
    assert [c.name for c in data.concepts] == [SHOWN] and check(data).usable == 1

    path = write(tmp_path / "a.json", json.dumps({"name": [ESCAPE], ESCAPE: 1}))
    assert json_of(path) == {"name": [SHOWN], SHOWN: 1}
    graph = read_triples(write(tmp_path / "a.tsv", f"IsA\t{ESCAPE}\tx\x1b[2J\n"))
    assert sorted(graph.nodes) == sorted([SHOWN, r"x\x1b[2j"])
    assert read_overrides(write(tmp_path / "o.csv", f"name,node\n{ESCAPE},bed\n")) == {SHOWN: "bed"}
    assert read_labels_file(write(tmp_path / "c.txt", f"{ESCAPE}\n"))[0].name == SHOWN
    for told in ({"classes": [ESCAPE]}, {"class_to_idx": {ESCAPE: 0}}):
        assert classes_of(told, Path("w.pt")) == [SHOWN]


def test_numbers_as_tables_with_gaps_write_them(tmp_path):
    save(tmp_path / "images/a.jpg", picture())
    save(tmp_path / "masks/a.png", np.ones((30, 40), np.uint8))
    write(tmp_path / "labels.csv", "value,name\n1.0,bed\n")
    assert open_dataset(f"folder:{tmp_path}").annotations(0).maps.max() == 1
    write(tmp_path / "labels.csv", "value,name\n1.5,bed\nx,lamp\n")
    with pytest.raises(BadFile, match=r"lists no label; first: line 2: value '1\.5' is not"):
        open_dataset(f"folder:{tmp_path}")


def test_coco_keeps_folders_apart_and_the_first_of_two(tmp_path):
    rows, told = [("a/1.jpg", 1), ("b/1.jpg", 2), ("a/1.jpg", 3)], []
    for name, number in rows:
        save(tmp_path / "val2017" / name, picture())
        save(tmp_path / f"panoptic_val2017/{number}.png", np.full((30, 40, 3), [7, 0, 0], np.uint8))
        told.append(
            {
                "image_id": number,
                "file_name": f"{number}.png",
                "segments_info": [{"id": 7, "category_id": 1}],
            }
        )
    write(
        tmp_path / "panoptic_val2017.json",
        json.dumps(
            {
                "categories": [{"id": 1, "name": "bed", "isthing": 1}],
                "images": [{"id": k, "file_name": name} for name, k in rows],
                "annotations": told,
            }
        ),
    )
    write(tmp_path / "scenes.csv", "image,scene\na/1.jpg,attic\nb/1,barn\n")
    data = open_dataset(f"coco:{tmp_path}")
    assert data.ids == ["a/1", "b/1"]
    assert [data.scenes[k] for k in data.scene] == ["attic", "barn"]
    assert [p for p in data.problems if p.image] == [
        Problem(
            "a/1",
            str(tmp_path / "val2017/a/1.jpg"),
            "has the id of val2017/a/1.jpg, which is listed before",
        )
    ]


def test_ade150_keeps_the_first_of_two_photos_of_a_name(tmp_path):
    for part in ("training", "validation"):
        save(tmp_path / f"images/{part}/x.jpg", picture())
        save(tmp_path / f"annotations/{part}/x.png", np.ones((30, 40), np.uint8))
    write(tmp_path / "objectInfo150.txt", "Idx\tName\n1\twall\n")
    data = open_dataset(f"ade150:{tmp_path}")
    assert data.ids == ["x"] and says(data.problems, "validation", "training/x.jpg", "before")


# -- masks that are too coarse ----------------------------------------------------------------


@pytest.mark.parametrize("size", [(320, 1), (1, 213), (2, 2), (4, 4), (6, 3), (320, 200)])
def test_masks_of_another_shape_are_refused(size):
    with pytest.raises(UnitscopeError, match="not the same shape"):
        Preprocessing().sample_points((320, 213), size, (1, 1))


@pytest.mark.parametrize("size", [(320, 213), (640, 426), (160, 106), (160, 107), (80, 53)])
def test_masks_at_another_scale_are_read(size):
    rows, columns = Preprocessing().sample_points((320, 213), size, (112, 112))
    assert rows.min() >= 0 and rows.max() < size[1] and columns.max() < size[0]


def test_masks_much_coarser_than_the_grid_are_a_problem(tmp_path):
    for name, size in (("a", (30, 20)), ("b", (150, 100)), ("c", None)):
        save(tmp_path / f"images/{name}.jpg", picture(300, 200))
        if size:
            save(tmp_path / f"masks/{name}.png", np.ones(size[::-1], np.uint8))
    write(tmp_path / "labels.csv", "value,name\n1,bed\n")
    report = check(open_dataset(f"folder:{tmp_path}"))
    assert report.usable == 2
    assert says(report.problems, "a", "30×20", "too coarse for the working grid of 112×112")
    # A small photo's mask is as fine as it can be.
    Preprocessing().sample_points((24, 24), (24, 24), (112, 112))
