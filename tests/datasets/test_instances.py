"""Instances JSON: the layouts of several programs, every kind of region, and files not to trust."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.cli import main
from core.datasets import open_dataset
from core.dissect.plan import plan
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.settings import Settings
from tests import tiny
from tests.cli.test_cli import said
from tests.datasets.files import picture, save, says, write
from tests.datasets.test_shapes import packed, slow_runs

SIZE = (40, 30)
LEFT = [0, 0, 20, 0, 20, 30, 0, 30]
INNER = [4, 4, 12, 4, 12, 12, 4, 12]


def rle(mask: np.ndarray, compressed: bool = False) -> dict:
    runs = slow_runs(mask)
    return {"size": list(mask.shape), "counts": packed(runs) if compressed else runs}


def region(category: int, segmentation, image: int = 1, **more) -> dict:
    return {"image_id": image, "category_id": category, "segmentation": segmentation, **more}


def told(annotations: list, files=("bedroom/a.jpg",), names=("bed", "lamp"), **more) -> dict:
    return {
        "images": [
            {"id": k, "file_name": name, "width": SIZE[0], "height": SIZE[1]}
            for k, name in enumerate(files, 1)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(names, 1)],
        "annotations": annotations,
        **more,
    }


def one(root: Path, annotations: list, **more) -> Path:
    """A folder as CVAT exports it, with one photo."""
    write(root / "annotations/instances_default.json", json.dumps(told(annotations, **more)))
    save(root / "images/bedroom/a.jpg", picture())
    return root


def names_of(data, k: int = 0) -> list[np.ndarray]:
    """The name in each pixel, channel by channel."""
    names = np.array(["", *[c.name for c in data.concepts]])
    return list(names[data.annotations(k).maps])


def drawn(root: Path) -> np.ndarray:
    data = open_dataset(f"coco:{root}")
    assert data.problems == []
    (names,) = names_of(data)
    return names


def test_polygons_and_run_lengths_give_the_same_pixels(tmp_path):
    """A ring cannot be a polygon: with run lengths the hole stays one."""
    mask = np.zeros((30, 40), bool)
    mask[2:28, 5:33] = True
    frame = mask.copy()
    frame[10:20, 10:20] = False
    box = [5, 2, 33, 2, 33, 28, 5, 28]
    bridge = [5, 2, 33, 2, 33, 28, 5, 28, 5, 2, 10, 10, 10, 20, 20, 20, 20, 10, 10, 10, 5, 2]
    for k, (segmentation, wanted) in enumerate(
        [
            ([box], mask),
            (rle(mask), mask),
            (rle(mask, True), mask),
            (rle(frame), frame),
            (rle(frame, True), frame),
            ([bridge], frame),
            ([[5, 2, 15, 2, 15, 28, 5, 28], [15, 2, 33, 2, 33, 28, 15, 28]], mask),
        ]
    ):
        names = drawn(one(tmp_path / str(k), [region(1, segmentation)]))
        assert np.array_equal(names == "bed", wanted), k


@pytest.mark.parametrize(("area", "hole"), [(600 - 64, True), (600, False), (None, False)])
def test_a_polygon_within_another_is_a_hole_where_the_area_says_so(tmp_path, area, hole):
    """Filled it is in COCO's own tools, and by their area; shapely's area is that with the hole."""
    more = {} if area is None else {"area": area}
    data = open_dataset(f"coco:{one(tmp_path, [region(1, [INNER, LEFT], **more)])}")
    (names,) = names_of(data)
    wanted = np.zeros((30, 40), bool)
    wanted[:, :20] = True
    wanted[4:12, 4:12] = not hole
    assert np.array_equal(names == "bed", wanted)
    assert data.problems == [] and len(data.notes) == 1
    assert f"1 of 1 annotations have a polygon within another: {int(hole)} are" in data.notes[0]


def test_the_smaller_of_two_regions_lies_on_top(tmp_path):
    for order in (1, -1):
        small = np.zeros((30, 40), bool)
        small[4:12, 4:12] = True
        rows = [region(1, [LEFT], iscrowd=0), region(2, rle(small))][::order]
        names = drawn(one(tmp_path / str(order), rows))
        assert names[0, 0] == "bed" and names[8, 8] == "lamp" and (names == "lamp").sum() == 64
    alike = drawn(one(tmp_path / "alike", [region(1, [INNER]), region(2, [INNER])]))
    assert (alike == "lamp").sum() == 64 and not (alike == "bed").any()


def test_labels_may_say_their_category(tmp_path):
    """Then they lie over objects; and labels of nothing are no concepts."""
    names = ("bed", "part:pillow", "__ignore__", "_background_")
    rows = [region(1, [LEFT]), region(2, [LEFT]), region(3, [INNER])]
    data = open_dataset(f"coco:{one(tmp_path, rows, names=names)}")
    assert [(c.name, c.category) for c in data.concepts] == [("bed", "object"), ("pillow", "part")]
    objects, parts = names_of(data)
    assert objects[0, 0] == "bed" and objects[6, 6] == "" and parts[6, 6] == "pillow"


def test_crowds_are_told(tmp_path, capsys):
    """As a note: nothing is left out, so a strict run goes on."""
    crowd = rle(np.ones((30, 40), bool))
    root = one(tmp_path / "in", [region(1, crowd, iscrowd=1), region(2, [LEFT])])
    data = open_dataset(f"coco:{root}")
    (names,) = names_of(data)
    assert names[0, 0] == "lamp" and names[0, 30] == "bed"
    assert data.problems == [] and "1 of 2 annotations are crowds" in data.notes[0]
    for asked in (
        ["check", f"coco:{root}"],
        ["folder-from", "coco", str(root), "--to", str(tmp_path / "out")],
    ):
        assert main(["datasets", *asked]) == 0
        assert "1 of 2 annotations are crowds (iscrowd)" in capsys.readouterr().out
    work = plan(Settings(f"coco:{root}", tiny.SPEC, layers=("body.1",)))
    assert work.notes and "crowds" in work.notes[-1]


LAYOUTS = {
    # program: (JSON files, where the photos lie, file_name, ids, scenes, splits)
    "COCO": (
        ("annotations/instances_train2017.json", "annotations/instances_val2017.json"),
        ("train2017/1.jpg", "val2017/2.jpg"),
        ("1.jpg", "2.jpg"),
        ["1", "2"],
        ["", ""],
        ["train", "val"],
    ),
    "CVAT": (
        ("annotations/instances_default.json",),
        ("images/default/barn/1.jpg",),
        ("barn/1.jpg",),
        ["barn/1"],
        ["barn"],
        ["all"],
    ),
    "Roboflow": (
        ("train/_annotations.coco.json", "valid/_annotations.coco.json"),
        ("train/1_jpg.rf.a0.jpg", "valid/2.jpg"),
        ("1_jpg.rf.a0.jpg", "2.jpg"),
        ["1_jpg.rf.a0", "2"],
        ["", ""],
        ["train", "valid"],
    ),
    "labelme2coco": (
        ("annotations.json",),
        ("JPEGImages/1.jpg",),
        ("JPEGImages/1.jpg",),
        ["1"],
        [""],
        ["all"],
    ),
    "Label Studio": (
        ("result.json",),
        ("images/ab-1.jpg",),
        ("images\\ab-1.jpg",),
        ["ab-1"],
        [""],
        ["all"],
    ),
    "X-AnyLabeling": (
        ("annotations/coco_instance.json",),
        ("barn/1.jpg",),
        ("barn/1.jpg",),
        ["barn/1"],
        ["barn"],
        ["all"],
    ),
    "one name in two splits": (
        ("annotations/instances_train.json", "annotations/instances_val.json"),
        ("train/1.jpg", "images/val/1.jpg"),
        ("1.jpg", "1.jpg"),
        ["train/1", "images/val/1"],
        ["", ""],
        ["train", "val"],
    ),
}


@pytest.mark.parametrize("program", LAYOUTS)
def test_layouts(tmp_path, program):
    files, photos, names, ids, scenes, splits = LAYOUTS[program]
    for k, (file, photo, name) in enumerate(zip(files, photos, names, strict=True)):
        save(tmp_path / photo, picture(seed=k))
        facts = told([region(1, [LEFT])], [name], names=("bed", "lamp")[:: 1 - 2 * (k % 2)])
        write(tmp_path / file, json.dumps(facts))
    write(tmp_path / "annotations/captions_val2017.json", '{"images": [], "annotations": []}')
    data = open_dataset(f"coco:{tmp_path}")
    assert data.ids == ids and data.split == splits
    assert [data.scenes[s] if s >= 0 else "" for s in data.scene] == scenes
    assert says(data.problems, "COCO has no scenes") == (not any(scenes))
    assert len(data.problems) == (not any(scenes))
    assert [c.name for c in data.concepts] == ["bed", "lamp"]
    for k in range(len(data)):  # each file numbers its categories in its own way
        (labels,) = names_of(data, k)
        assert labels[3, 3] == ("bed", "lamp")[k] and labels[3, 30] == ""
        assert abs(np.asarray(data.photo(k)).astype(int) - picture(seed=k)).mean() < 8
    if program != "one name in two splits":
        with pytest.raises(UnitscopeError, match=f"write (coco|folder):{tmp_path}"):
            open_dataset(str(tmp_path))


def test_scenes_come_from_the_table(tmp_path):
    root = one(tmp_path, [region(1, [LEFT])])
    write(root / "scenes.csv", "image,scene,split\nbedroom/a,attic,test\n")
    data = open_dataset(f"coco:{root}")
    assert data.scenes == ["attic"] and data.split == ["test"] and data.problems == []


def test_roboflows_category_of_the_project_is_no_concept(tmp_path):
    facts = told([region(1, [LEFT])])
    for row in facts["categories"]:
        row["supercategory"] = "rooms-Xy7"
    facts["categories"].insert(0, {"id": 0, "name": "rooms-Xy7", "supercategory": "none"})
    write(tmp_path / "train/_annotations.coco.json", json.dumps(facts))
    save(tmp_path / "train/bedroom/a.jpg", picture())
    assert [c.name for c in open_dataset(f"coco:{tmp_path}").concepts] == ["bed", "lamp"]


FAULTY = {
    "no row": (7, "annotation 2 is of an image that is not listed"),
    "another image": (region(1, [LEFT], image=9), "is of an image that is not listed"),
    "an image that is a list": (region(1, [LEFT], image=[1]), "is of an image that is not listed"),
    "another category": (region(9, [LEFT]), "category 9 is not in its categories"),
    "a category that is a list": (region([1], [LEFT]), "category [1] is not in its categories"),
    "a box": (region(1, []), "1 of 3 annotations have no segmentation"),
    "no segmentation": (region(1, None), "1 of 3 annotations have no segmentation"),
    "text": (region(1, "abc"), "neither polygons nor run lengths"),
    "two points": (region(1, [[1, 1, 2, 2]]), "it has 2 points; 3 are needed"),
    "an odd number": (region(1, [[1, 1, 2, 2, 3]]), "not pairs of numbers"),
    "words": (region(1, [["a"] * 6]), "not pairs of numbers"),
    "null": (region(1, [[None] * 6]), "no place in a photo"),
    "nested": (region(1, [[[1, 1], [5, 1], [5, 5]]]), "not pairs of numbers"),
    "giant": (region(1, [[0, 0, 1e300, 0, 0, 9]]), "no place in a photo"),
    "infinite": (region(1, [[0, 0, float("inf"), 0, 0, 9]]), "no place in a photo"),
    "too few runs": (
        region(1, {"size": [30, 40], "counts": [5, 5]}),
        "add up to 10, not to 40×30",
    ),
    "of another size": (
        region(1, {"size": [40, 30], "counts": [1200]}),
        "of 30×40 pixels, the image of 40×30; hei",
    ),
    "a giant size": (
        region(1, {"size": [10**9, 10**9], "counts": [10**18]}),
        "above 134,217,728 pixels",
    ),
    "damaged runs": (region(1, {"size": [30, 40], "counts": "ÿ"}), "packed counts are damaged"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_one_faulty_annotation_is_one_problem(tmp_path, case):
    wrong, why = FAULTY[case]
    right = {"area": 10**400, "iscrowd": None}  # what else a row says cannot do harm either
    data = open_dataset(
        f"coco:{one(tmp_path, [region(1, [LEFT]), wrong, region(2, [INNER], **right)])}"
    )
    assert len(data.problems) == 1 and says(data.problems, "instances_default.json", why)
    (names,) = names_of(data)
    assert names[0, 0] == "bed" and names[8, 8] == "lamp"


def test_one_faulty_image_or_category_is_one_problem(tmp_path):
    facts = told([region(k, [LEFT], image=k) for k in range(1, 4)])
    facts["images"] += [
        None,
        {"id": [2], "file_name": "a.jpg"},
        {"id": 2},
        {"id": 3, "file_name": "gone.jpg"},
        {"id": 1, "file_name": "bedroom/b.jpg"},
        {"id": 4, "file_name": "bedroom/a.jpg"},
        {"id": 5, "file_name": "bedroom/b.jpg", "width": 10**9, "height": 10**9},
        {"id": 6, "file_name": "bedroom/b.jpg", "width": "40", "height": 30},
        {"id": 7, "file_name": "a\0b.jpg"},
        {"id": 8, "file_name": ".."},
        {"id": 9, "file_name": "x" * 9000},
    ]
    facts["categories"] += [
        "x",
        {"id": 5},
        {"id": 6, "name": None},
        {"id": 1, "name": "sofa"},
        {"id": 7, "name": "bed"},
    ]
    root = one(tmp_path, [])
    save(root / "images/bedroom/b.jpg", picture())
    write(root / "annotations/instances_default.json", json.dumps(facts))
    data = open_dataset(f"coco:{root}")
    assert data.ids == ["bedroom/a"] and [c.name for c in data.concepts] == ["bed", "lamp"]
    for words in (
        ["image 2 has no id and file_name"],
        ["image 3 has"],
        ["image 4 has"],
        ["no photo 'a\\\\x00b.jpg'"],
        ["no photo 'gone.jpg'"],
        ["image 1 is listed twice"],
        ["'images/bedroom/a.jpg' is listed"],
        ["1000000000×1000000000, cannot be"],
        ["'40'×30, cannot be"],
        ["no photo '..'"],
        ["xxxxxx"],
        ["category 3 has no id"],
        ["category 4 has"],
        ["category 5 has"],
        ["category 1 is listed twice"],
        ["2 categories are called 'bed'"],
    ):
        assert says(data.problems, *words), words
    assert (names_of(data)[0] == "bed").sum() == 600


def test_no_path_leads_out_of_the_folder(tmp_path):
    save(tmp_path / "secret.jpg", picture(seed=1))
    save(tmp_path / "set/images/bedroom/a.jpg", picture())
    names = [
        "../secret.jpg",
        str(tmp_path / "secret.jpg"),
        "bedroom/../../../secret.jpg",
        "..\\secret.jpg",
        "C:\\photos\\secret.jpg",
        "bedroom/a.jpg",
    ]
    facts = told([region(1, [LEFT], image=6)], names)
    write(tmp_path / "set/annotations/instances_default.json", json.dumps(facts))
    data = open_dataset(f"coco:{tmp_path / 'set'}")
    assert data.ids == ["bedroom/a"] and len(data.problems) == 5
    # What a file calls by a path of another machine is found by its name where it is there.
    save(tmp_path / "set/images/secret.jpg", picture())
    data = open_dataset(f"coco:{tmp_path / 'set'}")
    assert data.ids == ["secret", "bedroom/a"] and len(data.problems) == 4


def test_a_photo_of_another_size_is_refused_alone(tmp_path):
    root = one(
        tmp_path,
        [region(1, [LEFT]), region(1, [LEFT], image=2)],
        files=("bedroom/a.jpg", "bedroom/b.jpg"),
    )
    save(root / "images/bedroom/b.jpg", picture(30, 40))
    data = open_dataset(f"coco:{root}")
    with pytest.raises(BadFile, match=r"is 30×40, but annotated as 40×30 \(its EXIF"):
        data.annotations(1)
    assert (names_of(data)[0] == "bed").sum() == 600


def test_without_a_size_the_photo_s_own_counts(tmp_path):
    facts = told(
        [region(1, [LEFT]), region(2, rle(np.ones((4, 5), bool)), image=2)], ("a.jpg", "b.jpg")
    )
    for row in facts["images"]:
        del row["width"], row["height"]
    write(tmp_path / "data.json", json.dumps(facts))
    for name in "ab":
        save(tmp_path / f"{name}.jpg", picture())
    data = open_dataset(f"coco:{tmp_path}")
    assert (names_of(data)[0] == "bed").sum() == 600
    with pytest.raises(BadFile, match="is 40×30, but annotated by run lengths of 5×4"):
        data.annotations(1)


def test_what_is_no_instances_file(tmp_path):
    root = one(tmp_path, [region(1, []), region(2, None)])
    with pytest.raises(BadFile, match="2 annotations are boxes without a segmentation"):
        open_dataset(f"coco:{root}")
    path = root / "annotations/instances_default.json"
    for text, why in (
        ("[]", "no list of images, ann"),
        ('{"images": []}', "no list of annotations"),
    ):
        write(path, text)
        with pytest.raises(BadFile, match=f"is not an instances JSON: it has {why}"):
            open_dataset(f"coco:{root}")
    path.unlink()
    write(root / "other.json", "{}")
    with pytest.raises(UnitscopeError, match="holds no instances JSON"):
        open_dataset(f"coco:{root}")
    with pytest.raises(UnitscopeError, match="holds no instances JSON"):
        open_dataset(f"coco:{root}:instances")


def test_the_digest_follows_regions(tmp_path):
    digests = set()
    for k, rows in enumerate(
        [
            [region(1, [LEFT])],
            [region(2, [LEFT])],
            [region(1, [INNER])],
            [region(1, [LEFT, INNER], area=536)],
            [region(1, [LEFT, INNER], area=600)],
            [region(1, rle(np.ones((30, 40), bool)))],
            [],
        ]
    ):
        root = one(tmp_path / str(k), rows)
        digests.add(open_dataset(f"coco:{root}").content_digest())
        assert open_dataset(f"coco:{root}").content_digest() in digests
    assert len(digests) == 7


def test_a_folder_is_made_of_them(tmp_path, capsys):
    rows = [region(1, [LEFT]), region(2, [INNER]), region(3, [INNER]), region(1, [LEFT], image=2)]
    root = one(
        tmp_path / "in",
        rows,
        names=("bed", "lamp", "part:pillow"),
        files=("bedroom/a.jpg", "attic/b.png"),
    )
    save(root / "images/attic/b.png", picture(30, 40))  # not the size that the file says
    out = tmp_path / "out"
    status, answer, _ = said(capsys, "datasets", "folder-from", "coco", str(root), "--to", str(out))
    assert status == 0 and answer["photos"] == 1 and answer["labels"] == {"object": 2, "part": 1}
    assert answer["problems"][0]["count"] == 1
    data, made = open_dataset(f"coco:{root}"), open_dataset(f"folder:{out}")
    assert made.problems == [] and made.ids == ["bedroom/a"] and made.scenes == ["bedroom"]
    for before, after in zip(names_of(data), names_of(made), strict=True):
        assert np.array_equal(before, after)
    assert (out / "images/bedroom/a.jpg").read_bytes() == (
        root / "images/bedroom/a.jpg"
    ).read_bytes()
    run = tiny.dissect(f"coco:{root}", tmp_path / "runs")
    assert set(run.sql("SELECT name FROM concepts WHERE area > 0")["name"]) >= {"bed", "pillow"}
    assert run.info["images"]["used"] == 1


def test_real_masks_come_back_from_run_lengths(tmp_path, data_dir):
    """Masks of NYUv2, one region a label: the maps are the masks again, pixel by pixel."""
    source = open_dataset(f"nyuv2:{data_dir / 'nyuv2'}")
    names = [concept.name for concept in source.concepts]
    rows, files = [], []
    for image in (1, 2):
        k = 700 * image
        files.append(f"{source.scenes[source.scene[k]]}/{source.ids[k]}.jpg")
        save(tmp_path / "images" / files[-1], source.photo(k))
        (labels,) = source.annotations(k).maps
        rows += [
            region(int(v), rle(labels == v, bool(v % 2)), image) for v in np.unique(labels) if v
        ]
    facts = told(rows, files, names)
    for image in facts["images"]:
        image |= {"width": 640, "height": 480}
    write(tmp_path / "annotations/instances_default.json", json.dumps(facts))
    data = open_dataset(f"coco:{tmp_path}")
    assert data.problems == [] and len(rows) > 10
    for k in range(2):
        assert np.array_equal(data.annotations(k).maps, source.annotations(700 * (k + 1)).maps)
