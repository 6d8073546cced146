"""COCO with panoptic masks and with those of COCO-Stuff, in the published layout."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from core.datasets import open_dataset
from core.foundation.errors import BadFile, UnitscopeError
from tests import tiny
from tests.datasets.files import picture, save, says, write

CATEGORIES = [
    {"id": number, "name": name, "isthing": thing, "supercategory": group, "color": [1, 1, number]}
    for number, name, thing, group in (
        (1, "person", 1, "person"),
        (67, "dining table", 1, "furniture"),
        (100, "cardboard", 0, "raw-material"),
        (171, "wall-brick", 0, "wall"),
        (184, "tree-merged", 0, "plant"),
        (189, "table-merged", 0, "furniture-stuff"),
        (195, "paper-merged", 0, "raw-material"),
    )
]

# Photo → {segment id: category}; the first id needs all three bytes.
SEGMENTS = {
    "000000000139": {3_226_956: 1, 77: 171, 256: 195},
    "000000000285": {70_000: 67, 5: 184, 6: 184},
    "000000000632": {9: 100},
}
SCENES = "image,scene,split\n000000000139.jpg,kitchen,mine\n000000000285,street,\n"


def id_mask(ids) -> np.ndarray:
    """id = R + 256 · G + 65536 · B."""
    ids = np.asarray(ids)
    return np.stack([ids % 256, ids // 256 % 256, ids // 65536], -1).astype(np.uint8)


def panoptic_tree(root: Path, images: str = "", annotations: str = "annotations") -> Path:
    for part, photos in (("val2017", list(SEGMENTS)[:2]), ("train2017", list(SEGMENTS)[2:])):
        told: dict = {"info": {}, "licenses": [], "images": [], "annotations": []}
        told["categories"] = CATEGORIES
        for photo in photos:
            save(root / images / part / f"{photo}.jpg", picture(40, 30, int(photo) % 7))
            # Four columns: no annotation, then the segments in turn.
            ids = ([0, *SEGMENTS[photo]] * 4)[:4]
            mask = id_mask([ids] * 3).repeat(10, 0).repeat(10, 1)
            save(root / annotations / f"panoptic_{part}" / f"{photo}.png", mask)
            told["images"].append(
                {"id": int(photo), "file_name": f"{photo}.jpg", "width": 40, "height": 30}
            )
            told["annotations"].append(
                {
                    "image_id": int(photo),
                    "file_name": f"{photo}.png",
                    "segments_info": [
                        {"id": k, "category_id": c, "area": 9, "iscrowd": 0, "bbox": [0, 0, 1, 1]}
                        for k, c in SEGMENTS[photo].items()
                    ],
                }
            )
        write(root / annotations / f"panoptic_{part}.json", json.dumps(told))
    write(root / "scenes.csv", SCENES)
    return root


LABELS = """0: unlabeled
1: person
71: door
92: banner
100: cardboard
112: door-stuff
172: wall-other
"""


def stuff_tree(root: Path, maps: str = "stuffthingmaps_trainval2017") -> Path:
    for part, photo, values in (
        ("train2017", "000000000009", [0, 91, 99, 255]),
        ("val2017", "000000000139", [171, 111, 255, 0]),
    ):
        save(root / "images" / part / f"{photo}.jpg", picture(40, 30, len(part)))
        mask = np.array([values] * 3, np.uint8).repeat(10, 0).repeat(10, 1)
        save(root / maps / part / f"{photo}.png", mask)
    write(root / "labels.txt", LABELS)
    write(root / "scenes.csv", "image,scene\n000000000009,beach\n000000000139,kitchen\n")
    return root


def columns(data, k: int) -> list[tuple[str, ...]]:
    """The names at each quarter of photo k's width, channel by channel."""
    names = ["", *[c.name for c in data.concepts]]
    maps = data.annotations(k).maps
    assert (maps == maps[:, :1]).all()
    return [tuple(names[v] for v in plane[0, 5::10]) for plane in maps]


@pytest.mark.parametrize(("images", "annotations"), [("", "annotations"), ("images", "")])
def test_panoptic_coco(tmp_path, images, annotations):
    data = open_dataset(f"coco:{panoptic_tree(tmp_path, images, annotations)}")
    assert data.ids == ["000000000632", "000000000139", "000000000285"]
    assert data.split == ["train", "mine", "val"] and data.name == "coco"
    assert [data.scenes[k] if k >= 0 else "" for k in data.scene] == ["", "kitchen", "street"]
    assert [(c.name, c.category) for c in data.concepts] == [
        ("person", "object"),
        ("dining table", "object"),
        ("cardboard", "material"),
        ("wall-brick", "object"),
        ("tree", "object"),
        ("table", "object"),
        ("paper", "material"),
    ]
    assert [c.name for c in data.channels] == ["object", "material"]
    assert columns(data, 0) == [("", "", "", ""), ("", "cardboard", "", "cardboard")]
    assert columns(data, 1) == [("", "person", "wall-brick", ""), ("", "", "", "paper")]
    assert columns(data, 2)[0] == ("", "dining table", "tree", "tree")
    assert says(data.problems, "scenes.csv", "1 of 3 photos are not listed")
    with pytest.raises(UnitscopeError, match=f"write coco:{tmp_path}"):
        open_dataset(str(tmp_path))


def test_random_panoptic_masks_are_those_of_a_plain_loop(tmp_path):
    root = panoptic_tree(tmp_path)
    rng = np.random.default_rng(0)
    data = open_dataset(f"coco:{root}")
    where = data.ids.index("000000000139")
    known = {0: 0} | {
        segment: next(c.id for c in data.concepts if c.name == name)
        for segment, name in ((3_226_956, "person"), (77, "wall-brick"), (256, "paper"))
    }
    ids = rng.choice(list(known), (30, 40))
    save(Path(data.masks[where]), id_mask(ids))
    maps = data.annotations(where).maps
    for y in range(30):
        for x in range(40):
            concept = known[int(ids[y, x])]
            material = concept == 7
            assert maps[:, y, x].tolist() == [0 if material else concept, concept * material]


def test_without_scenes_the_reason_is_told(tmp_path):
    root = panoptic_tree(tmp_path)
    (root / "scenes.csv").unlink()
    data = open_dataset(f"coco:{root}")
    assert data.scenes == [] and (data.scene == -1).all() and data.split == ["train", "val", "val"]
    assert says(data.problems, "scenes.csv", "image,scene[,split]", "no core concept")


def test_what_panoptic_coco_cannot_use_is_told(tmp_path):
    root = panoptic_tree(tmp_path)
    (root / "val2017/000000000139.jpg").unlink()
    path = root / "annotations/panoptic_val2017.json"
    told = json.loads(path.read_text())
    told["annotations"][1]["segments_info"][0]["category_id"] = 999
    write(path, json.dumps(told))
    data = open_dataset(f"coco:{root}")
    assert data.ids == ["000000000632"]
    assert says(data.problems, "val2017/000000000139.jpg", "does not exist")
    assert says(data.problems, "000000000285", "category 999 is not in its categories")
    assert says(data.problems, "there is no photo '000000000285'")
    save(Path(data.masks[0]), id_mask(np.full((30, 40), 1234567)))
    with pytest.raises(BadFile, match="segments 1234567 are not in the panoptic JSON"):
        data.annotations(0)
    write(path, '{"images": []}')
    with pytest.raises(BadFile, match="is not COCO's panoptic format"):
        open_dataset(f"coco:{root}")
    write(path, "{")
    with pytest.raises(BadFile, match="is not JSON"):
        open_dataset(f"coco:{root}")


def test_one_faulty_row_of_the_panoptic_json_is_one_problem(tmp_path):
    root = panoptic_tree(tmp_path / "coco")
    save(tmp_path / "secret.jpg", picture())
    path = root / "annotations/panoptic_val2017.json"
    told = json.loads(path.read_text())
    told["categories"] += [{"id": 5}, 7]
    told["images"] += [
        None,
        {"id": 8, "file_name": ["a.jpg"]},
        {"id": 9, "file_name": "a\0.jpg"},
        {"id": 10, "file_name": "../../secret.jpg"},
    ]
    told["annotations"] += [
        {"image_id": 139},
        {"image_id": 77, "file_name": "x.png", "segments_info": []},
        {"image_id": 285, "file_name": "x.png", "segments_info": [{"id": -1, "category_id": 1}]},
        {"image_id": 10, "file_name": "000000000285.png", "segments_info": []},
    ]
    write(path, json.dumps(told))
    data = open_dataset(f"coco:{root}")
    assert data.ids == ["000000000632", "000000000139", "000000000285"]
    for words in (
        ["row 8 of its categories"],
        ["row 9 of its categories"],
        ["row 3 of its images"],
        ["row 4 of its images"],
        ["row 3 of its annotations"],
        ["image 77, which is not listed"],
        ["row 5 of its annotations", "16777215"],
        ["val2017/secret.jpg", "does not exist"],
    ):
        assert says(data.problems, *words), words


@pytest.mark.parametrize("tree", [panoptic_tree, stuff_tree])
def test_a_split_without_photos_is_told_once(tmp_path, tree):
    """Who fetches the masks has both splits' and may want the photos of one alone."""
    root = tree(tmp_path)
    train = next(root.rglob("train2017/*.jpg")).parent
    shutil.rmtree(train)
    data = open_dataset(f"coco:{root}")
    assert "train" not in data.split and len(data)
    assert sum("train2017" in p.path for p in data.problems) == 1
    assert says(data.problems, "train2017", "no such folder of photos")
    shutil.rmtree(next(root.rglob("val2017/*.jpg")).parent)
    with pytest.raises(UnitscopeError, match="no such folder of photos"):
        open_dataset(f"coco:{root}")


def test_the_digest_follows_the_segments(tmp_path):
    root = panoptic_tree(tmp_path)
    before = open_dataset(f"coco:{root}").content_digest()
    assert open_dataset(f"coco:{root}").content_digest() == before
    path = root / "annotations/panoptic_val2017.json"
    told = json.loads(path.read_text())
    told["annotations"][0]["segments_info"][0]["category_id"] = 67
    write(path, json.dumps(told))
    assert open_dataset(f"coco:{root}").content_digest() != before


@pytest.mark.parametrize("maps", ["stuffthingmaps_trainval2017", "annotations"])
def test_coco_stuff(tmp_path, maps):
    data = open_dataset(f"coco:{stuff_tree(tmp_path, maps)}")
    assert data.name == "coco-stuff" and data.split == ["train", "val"]
    assert data.scenes == ["beach", "kitchen"] and data.problems == []
    # "door" the thing is never annotated, so the stuff may have its name.
    assert [(c.name, c.category) for c in data.concepts] == [
        ("person", "object"),
        ("banner", "object"),
        ("cardboard", "material"),
        ("door", "object"),
        ("wall", "object"),
    ]
    assert columns(data, 0) == [("person", "banner", "", ""), ("", "", "cardboard", "")]
    assert columns(data, 1)[0] == ("wall", "door", "", "person")


def test_both_kinds_in_one_folder(tmp_path):
    stuff_tree(panoptic_tree(tmp_path))
    assert open_dataset(f"coco:{tmp_path}").name == "coco"
    assert open_dataset(f"coco:{tmp_path}:stuff").name == "coco-stuff"
    assert open_dataset(f"coco:{tmp_path}:panoptic").name == "coco"


def test_what_coco_stuff_cannot_use_is_told(tmp_path):
    root = stuff_tree(tmp_path)
    save(
        root / "stuffthingmaps_trainval2017/val2017/000000000139.png",
        np.full((30, 40), 70, np.uint8),
    )
    with pytest.raises(
        BadFile, match=r"unknown label values 70: not in labels\.txt \(value \+ 1\)"
    ):
        open_dataset(f"coco:{root}").annotations(1)
    write(root / "labels.txt", "person\n")
    with pytest.raises(BadFile, match="line 1"):
        open_dataset(f"coco:{root}")
    (root / "labels.txt").unlink()
    with pytest.raises(BadFile, match=r"labels\.txt: does not exist; COCO-Stuff's list"):
        open_dataset(f"coco:{root}")
    (tmp_path / "empty").mkdir()
    with pytest.raises(UnitscopeError, match=r"holds neither panoptic_\*\.json"):
        open_dataset(f"coco:{tmp_path / 'empty'}")


@pytest.mark.parametrize("tree", [panoptic_tree, stuff_tree])
def test_coco_is_dissected(tmp_path, tree):
    run = tiny.dissect(f"coco:{tree(tmp_path / 'coco')}", tmp_path / "runs")
    assert run.info["images"]["used"] == len(list((tmp_path / "coco").rglob("*.jpg")))
    found = run.sql("SELECT name, category FROM concepts WHERE area > 0")
    assert "cardboard" in set(found["name"]) and "material" in set(found["category"])
