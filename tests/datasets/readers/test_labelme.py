"""A folder dataset from LabelMe's JSON files: shapes against a plain point-in-polygon test."""

from __future__ import annotations

import base64
import io
import json
import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.cli import main
from core.datasets import open_dataset
from core.datasets.readers.labelme import Shape, draw, folder_from_labelme
from core.foundation.errors import UnitscopeError
from tests import tiny
from tests.cli.test_cli import said
from tests.datasets.files import picture, save, says, write


def encoded(image: Image.Image, kind: str = "PNG") -> str:
    out = io.BytesIO()
    image.save(out, kind)
    return base64.b64encode(out.getvalue()).decode()


def shape(label: str, points, kind: str = "polygon", **more) -> dict:
    return {
        "label": label,
        "points": points,
        "group_id": None,
        "shape_type": kind,
        "flags": {},
        **more,
    }


SQUARE = [[0, 0], [19, 0], [19, 29], [0, 29]]


def labelme(
    path: Path, shapes: list, image: str | None, data: str | None = None, flags=None
) -> None:
    """A file as the program writes it."""
    told = {
        "version": "5.4.1",
        "flags": flags or {},
        "shapes": shapes,
        "imagePath": image,
        "imageData": data,
        "imageHeight": 30,
        "imageWidth": 40,
    }
    write(path, json.dumps(told, indent=2))


def source(root: Path) -> Path:
    """Four photos: beside the file, in a neighbouring folder, embedded, and by the file's name."""
    save(root / "bedroom" / "a.jpg", picture())
    labelme(
        root / "bedroom" / "a.json",
        [
            shape("bed", SQUARE),
            shape("lamp", [[10, 5], [30, 25]], "rectangle"),
            shape("part:pillow", [[5, 5], [9, 5], [9, 9], [5, 9]]),
            shape("bed", [[3, 3]], "point"),
        ],
        "a.jpg",
    )
    save(root / "photos" / "b.png", picture(seed=1))
    labelme(
        root / "kitchen" / "b.json",
        [shape("sink", SQUARE)],
        "..\\photos\\b.png",
        flags={"kitchen": False, "canteen": True},
    )
    data = encoded(Image.fromarray(picture(seed=2)), "JPEG")
    labelme(
        root / "kitchen" / "c.json", [shape("lamp", [[20, 15], [20, 20]], "circle")], "c.jpg", data
    )
    bits = Image.fromarray(np.eye(4, dtype=bool))
    save(root / "kitchen" / "d.png", picture(seed=3))
    drawn = shape("bed", [[2, 3], [5, 6]], "mask", mask=encoded(bits))
    labelme(root / "kitchen" / "d.json", [drawn], "elsewhere/gone.png")
    return root


def test_a_folder_dataset_is_made(tmp_path, capsys):
    out = tmp_path / "out"
    status, told, _ = said(
        capsys, "datasets", "folder-from", "labelme", str(source(tmp_path / "in")), "--to", str(out)
    )
    assert status == 0 and told["photos"] == 4 and told["labels"] == {"object": 3, "part": 1}
    assert (
        told["problems"][0]["kind"] == "shape … is left out: … is a point, which covers no pixels"
    )
    data = open_dataset(f"folder:{out}")
    assert data.problems == [] and data.ids == ["bedroom/a", "kitchen/b", "kitchen/c", "kitchen/d"]
    assert [data.scenes[k] for k in data.scene] == ["bedroom", "canteen", "kitchen", "kitchen"]
    names = ["", *[c.name for c in data.concepts]]
    maps = [data.annotations(k).maps for k in range(4)]
    assert [c.name for c in data.channels] == ["object", "part"]
    at = lambda k, x, y: tuple(names[v] for v in maps[k][:, y, x])  # noqa: E731
    assert at(0, 2, 2) == ("bed", "") and at(0, 7, 7) == ("bed", "pillow")
    assert at(0, 15, 10) == ("lamp", "") and at(0, 35, 28) == ("", "")
    assert at(1, 10, 10)[0] == "sink"
    assert at(2, 20, 12)[0] == "lamp" and at(2, 20, 22)[0] == ""
    assert [at(3, 2 + k, 3 + k)[0] for k in range(4)] == ["bed"] * 4 and at(3, 3, 3)[0] == ""
    for k, file in ((0, "bedroom/a.jpg"), (1, "photos/b.png"), (3, "kitchen/d.png")):
        with Image.open(tmp_path / "in" / file) as image:
            assert np.array_equal(np.asarray(data.photo(k)), np.asarray(image))
    assert Path(data.photo_files[2]).suffix == ".jpg"
    run = tiny.dissect(f"folder:{out}", tmp_path / "runs")
    assert set(run.sql("SELECT name FROM concepts WHERE area > 0")["name"]) >= {"bed", "pillow"}


def test_random_polygons_against_ray_casting():
    """Away from the edges, where a pixel's centre decides and the pen's width does not."""
    rng = np.random.default_rng(0)
    for _ in range(30):
        points = rng.uniform(-5, 45, (rng.integers(3, 8), 2))
        drawn = draw([Shape("object", "x", 1, "polygon", points)], {"x": 300}, (40, 30))
        assert drawn.dtype == np.uint16
        for y in range(30):
            for x in range(40):
                inside, edge = False, False
                for a, b in zip(points, np.roll(points, -1, 0), strict=True):
                    if (a[1] > y) != (b[1] > y):
                        inside ^= x < a[0] + (y - a[1]) / (b[1] - a[1]) * (b[0] - a[0])
                    along, to = b - a, np.array([x, y]) - a
                    share = np.clip(along @ to / max(along @ along, 1e-9), 0, 1)
                    edge |= bool(np.hypot(*(to - share * along)) <= 1.5)
                assert edge or drawn[y, x] == 300 * inside


def test_files_that_cannot_be_used_are_told(tmp_path):
    root = source(tmp_path / "in")
    write(root / "x.json", "{}")
    labelme(root / "y.json", [], "y.jpg")
    save(root / "z.jpg", picture(20, 20))
    labelme(root / "z.json", [], "z.jpg")
    labelme(root / "w.json", [], None, "no base64!")
    save(root / "v.jpg", picture())
    labelme(
        root / "v.json",
        [
            shape("", SQUARE),
            shape("bed", [[1, 1], [2, 2]]),
            shape("bed", [[1, "a"], [2, 2], [3, 3]]),
        ],
        "v.jpg",
    )
    made = folder_from_labelme(root, tmp_path / "out")
    assert made.photos == 5
    for words in (
        ("x.json", "is not a LabelMe file"),
        ("y.json", "'y.jpg' is not there, nor in imageData"),
        ("z.json", "is drawn on 40×30, but the photo is 20×20"),
        ("w.json", "is not base64"),
        ("v", "shape 1 is left out: it has no label"),
        ("v", "shape 2", "3 are needed"),
        ("v", "shape 3"),
    ):
        assert says(made.problems, *words), words
    assert open_dataset(f"folder:{tmp_path / 'out'}").annotations(0).maps.shape[1:] == (30, 40)


def maps_of(out: Path, image: str) -> list[np.ndarray]:
    """The names in each pixel of a photo of a finished folder, channel by channel."""
    data = open_dataset(f"folder:{out}")
    names = np.array(["", *[c.name for c in data.concepts]])
    return list(names[data.annotations(data.index_of(image)).maps])


def one(root: Path, shapes: list, **more) -> Path:
    """A folder with one photo a.png, its shapes, and whatever else its file says."""
    save(root / "room" / "a.png", picture())
    told = {"shapes": shapes, "imagePath": "a.png", "imageHeight": 30, "imageWidth": 40, **more}
    write(root / "room" / "a.json", json.dumps(told))
    return root


def test_names_of_what_is_not_annotated_are_no_concepts(tmp_path):
    """labelme's own converters take __ignore__ and _background_ out of what lies beneath."""
    hole = [[5, 5], [10, 5], [10, 10], [5, 10]]
    inner = [[6, 6], [8, 6], [8, 8], [6, 8]]
    shapes = [
        shape("bed", SQUARE),
        shape("__ignore__", hole),
        shape("lamp", inner),
        shape("_background_", [[0, 20], [19, 20], [19, 29], [0, 29]]),
    ]
    made = folder_from_labelme(one(tmp_path / "in", shapes), tmp_path / "out")
    assert made.problems == [] and made.labels == {"object": 2}
    (names,) = maps_of(tmp_path / "out", "room/a")
    assert [names[y, x] for y, x in ((1, 1), (5, 5), (9, 9), (7, 7), (25, 5))] == [
        "bed",
        "",
        "",
        "lamp",
        "",
    ]


TILTED = [[20, 5], [30, 15], [20, 25], [10, 15]]


@pytest.mark.parametrize("kind", ["rotation", "oriented_rectangle", "quadrilateral", "rectangle"])
def test_rectangles_of_four_points_are_polygons(tmp_path, kind):
    points = SQUARE if kind == "rectangle" else TILTED
    made = folder_from_labelme(one(tmp_path / "in", [shape("bed", points, kind)]), tmp_path / "out")
    assert made.problems == []
    (names,) = maps_of(tmp_path / "out", "room/a")
    polygon = draw([Shape("object", "bed", 1, "polygon", np.array(points))], {"bed": 1}, (40, 30))
    assert np.array_equal(names == "bed", polygon == 1) and 150 < polygon.sum() < 600


def test_pixels_are_covered_where_their_centres_are():
    """Rectangles and circles; polygons above, and in test_shapes."""
    box = Shape("object", "x", 1, "rectangle", np.array([[10.5, 5.6], [3, 2]]))
    drawn = draw([box], {"x": 1}, (40, 30))
    wanted = np.zeros((30, 40))
    wanted[2:6, 3:10] = 1
    assert np.array_equal(drawn, wanted)
    ring = Shape("object", "x", 1, "circle", np.array([[3, 4], [3, 6.2]]))
    drawn = draw([ring], {"x": 1}, (8, 8))
    for y in range(8):
        for x in range(8):
            assert drawn[y, x] == ((x + 0.5 - 3) ** 2 + (y + 0.5 - 4) ** 2 <= 2.2**2)


FAULTY = {
    "a null label": (shape(None, SQUARE), "it has no label"),
    "a number": (7, "it is not {label, points, shape_type}"),
    "a rectangle of 3": (shape("x", SQUARE[:3], "rectangle"), "a rectangle of 3 points, not 2"),
    "a circle of 3": (shape("x", SQUARE[:3], "circle"), "a circle of 3 points, not 2"),
    "a rotation of 2": (shape("x", SQUARE[:2], "rotation"), "a rotation of 2 points, not 4"),
    "no points": ({"label": "x", "points": None}, "not pairs of numbers"),
    "triples": (shape("x", [[1, 2, 3]] * 3), "not pairs of numbers"),
    "a huge point": (shape("x", [[0, 0], [1e300, 0], [0, 9]]), "no place in a photo"),
    "a huger point": (shape("x", [[0, 0], [10**400, 0], [0, 9]]), "not pairs of numbers"),
    "not a number": (shape("x", [[0, 0], [float("nan"), 0], [0, 9]]), "no place in a photo"),
    "a kind without a name": (shape("x", SQUARE, ["polygon"]), "which covers no pixels"),
    "a damaged mask": (shape("x", [[0, 0]] * 2, "mask", mask="?"), "not base64"),
    "a mask that is none": (shape("x", [[0, 0]] * 2, "mask", mask=None), "cannot be read"),
    "outside": (shape("x", [[50, 50], [60, 50], [60, 60]]), "covers no pixel"),
}


@pytest.mark.parametrize("case", FAULTY)
def test_one_faulty_shape_is_one_problem(tmp_path, case):
    """Whatever is wrong with it, the other shapes and photos stay."""
    wrong, why = FAULTY[case]
    root = one(tmp_path / "in", [shape("bed", SQUARE), wrong, shape("lamp", TILTED)])
    save(root / "room" / "b.png", picture(seed=1))
    labelme(root / "room" / "b.json", [shape("bed", SQUARE)], "b.png")
    made = folder_from_labelme(root, tmp_path / "out")
    assert made.photos == 2 and len(made.problems) == 1
    assert says(made.problems, "a", "shape 2", why), made.problems
    (names,) = maps_of(tmp_path / "out", "room/a")
    assert names[1, 1] == "bed" and names[15, 25] == "lamp"


def test_flags_of_another_form_are_one_problem(tmp_path):
    made = folder_from_labelme(
        one(tmp_path / "in", [shape("bed", SQUARE)], flags=["bedroom"]), tmp_path / "out"
    )
    assert made.photos == 1 and len(made.problems) == 1
    assert says(made.problems, "flags are not {name: true or false}")
    assert open_dataset(f"folder:{tmp_path / 'out'}").scenes == ["room"]


def test_image_data_may_have_line_breaks(tmp_path):
    whole = encoded(Image.fromarray(picture(seed=4)))
    broken = "\r\n".join(whole[k : k + 76] for k in range(0, len(whole), 76)) + "\n"
    write(tmp_path / "in/a.json", json.dumps({"shapes": [shape("x", SQUARE)], "imageData": broken}))
    made = folder_from_labelme(tmp_path / "in", tmp_path / "out")
    assert made.problems == []
    data = open_dataset(f"folder:{tmp_path / 'out'}")
    assert np.array_equal(np.asarray(data.photo(0)), picture(seed=4))


def test_a_path_that_no_file_can_have_is_a_problem(tmp_path):
    root = one(tmp_path / "in", [shape("bed", SQUARE)])
    for k, path in enumerate(("x" * 5000 + ".png", "a\0b.png", ["a.png"])):
        labelme(root / f"{k}.json", [], path)
    made = folder_from_labelme(root, tmp_path / "out")
    assert made.photos == 1 and len(made.problems) == 3


def test_a_photo_of_another_folder_is_not_fetched(tmp_path):
    save(tmp_path / "secret" / "deep" / "a.png", picture())
    labelme(tmp_path / "in" / "sub" / "a.json", [shape("x", SQUARE)], "../../secret/deep/a.png")
    with pytest.raises(UnitscopeError, match="is not there, nor in imageData"):
        folder_from_labelme(tmp_path / "in", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_photos_may_be_links_out_of_the_folder(tmp_path):
    """Of the user's own making, unlike a path in a file."""
    store = tmp_path / "store" / "deep" / "one.png"
    save(store, picture())
    for at, path in (("in/sub/a", "a.png"), ("in/sub/b", None), ("in/c", "sub/d.png")):
        name = tmp_path / at
        link = name.parent / (path or "b.png")
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(store)
        labelme(name.with_suffix(".json"), [shape("x", SQUARE)], path)
    made = folder_from_labelme(tmp_path / "in", tmp_path / "out")
    assert made.photos == 3 and made.problems == []
    assert (tmp_path / "out" / "images" / "c.png").read_bytes() == store.read_bytes()


def test_photos_within_json_files_are_not_held_in_memory(tmp_path):
    rng = np.random.default_rng(0)
    for k in range(8):
        noise = Image.fromarray(rng.integers(0, 256, (400, 400, 3)).astype(np.uint8))
        told = {"shapes": [shape("x", SQUARE)], "imageData": encoded(noise)}
        write(tmp_path / "in" / f"{k}.json", json.dumps(told))
    one = (tmp_path / "in" / "0.json").stat().st_size
    held = []
    tracemalloc.start()

    def measured():
        held.append(tracemalloc.get_traced_memory()[0])
        return False

    made = folder_from_labelme(tmp_path / "in", tmp_path / "out", stop=measured)
    tracemalloc.stop()
    assert made.photos == 8 and max(held) < 2 * one


def test_where_it_may_be_written(tmp_path, capsys):
    root = source(tmp_path / "in")
    full = tmp_path / "full"
    write(full / "mine.txt", "kept")
    for out, why in ((full, "not empty"), (root / "out", "lies in"), (root, "not empty")):
        with pytest.raises(UnitscopeError, match=why):
            folder_from_labelme(root, out)
    assert (full / "mine.txt").read_text() == "kept"
    (tmp_path / "none").mkdir()
    with pytest.raises(UnitscopeError, match=r"holds no \*\.json"):
        folder_from_labelme(tmp_path / "none", tmp_path / "out")
    stops = iter([False, True])
    with pytest.raises(UnitscopeError, match="nothing was kept"):
        folder_from_labelme(root, tmp_path / "out", stop=lambda: next(stops))
    assert not (tmp_path / "out").exists()
    assert main(["datasets", "folder-from", "labelme", str(tmp_path / "gone"), "--to", "x"]) == 2
    assert "no such folder" in capsys.readouterr().err


def test_the_same_files_give_the_same_bytes(tmp_path):
    root = source(tmp_path / "in")
    for out in ("one", "two"):
        folder_from_labelme(root, tmp_path / out)
    one, two = (
        {p.relative_to(at): p.read_bytes() for p in at.rglob("*") if p.is_file()}
        for at in (tmp_path / "one", tmp_path / "two")
    )
    assert one == two and len(one) == 2 + 4 + 4 + 1
