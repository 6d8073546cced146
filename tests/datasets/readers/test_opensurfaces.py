"""OpenSurfaces as released (tables of shapes) and as its own script draws it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from core.datasets import open_dataset
from core.datasets.readers.opensurfaces import Shape, draw
from core.foundation.errors import BadFile, UnitscopeError
from tests import tiny
from tests.datasets.files import picture, save, says, write

SUBSTANCES = {7: "Wood", 8: "Fabric/cloth", 9: "Plastic - clear", 10: "Fabric"}
NAMES = {3: "Table", 4: "Chair/stool"}


def table(root: Path, name: str, rows: dict[int, dict]) -> None:
    """A table as Django dumps it: pk, model, fields."""
    told = [{"pk": pk, "model": name, "fields": fields} for pk, fields in rows.items()]
    write(root / f"{name}.json", json.dumps(told))


def shape(photo: int, corners, triangles, substance, name, **more) -> dict:
    return {
        "photo": photo,
        "vertices": ",".join(str(v) for xy in corners for v in xy),
        "triangles": ",".join(str(v) for t in triangles for v in t),
        "substance": substance,
        "name": name,
        "special": False,
        "high_quality": True,
        "num_vertices": len(corners),
        **more,
    }


SQUARE = ([(0.0, 0.0), (0.5, 0.0), (0.5, 1.0), (0.0, 1.0)], [(0, 1, 2), (0, 2, 3)])
TRIANGLE = ([(0.0, 0.0), (0.25, 0.0), (0.0, 0.5)], [(0, 1, 2)])


def release(root: Path, under: str = "opensurfaces") -> Path:
    for pk in (11, 12, 13, 14):
        save(root / "photos" / f"{pk}.jpg", picture(40, 32, pk))
    tables = root / under
    usual = {"scene_category_correct": True, "special": False, "num_vertices": 10}
    table(
        tables,
        "photos.photo",
        {
            12: {**usual, "scene_category": 2},
            11: {**usual, "scene_category": 1},
            13: {**usual, "scene_category": 1, "scene_category_correct": False},
            14: {**usual, "scene_category": 9},
            15: {**usual, "scene_category": 1},
            16: {**usual, "scene_category": 1, "special": True},
        },
    )
    table(
        tables,
        "photos.photoscenecategory",
        {
            1: {"name": "Kitchen"},
            2: {"name": "living room"},
            9: {"name": "~not one"},
        },
    )
    names = {pk: {"name": name, "fail": False} for pk, name in SUBSTANCES.items()}
    table(tables, "shapes.shapesubstance", names | {20: {"name": "Not on list", "fail": True}})
    table(tables, "shapes.shapename", {pk: {"name": n, "fail": False} for pk, n in NAMES.items()})
    table(
        tables,
        "shapes.materialshape",
        {
            # Few corners first in the table: drawn last all the same.
            1: shape(11, *TRIANGLE, 9, 4),
            2: shape(11, *SQUARE, 8, 3),
            3: shape(12, *SQUARE, 20, 3),
            4: shape(12, *TRIANGLE, 7, None),
            5: shape(12, *SQUARE, 7, 4, high_quality=False),
            6: shape(12, *SQUARE, 7, 4, special=True),
            7: shape(13, *SQUARE, 7, 4),
            8: shape(12, [(0, 0), (1, 1)], [(0, 1, 2)], 7, 4),
        },
    )
    return root


def at(data, k: int, x: int, y: int) -> tuple[str, str]:
    names = ["", *[c.name for c in data.concepts]]
    material, thing = data.annotations(k).maps[:, y, x]
    return names[material], names[thing]


@pytest.mark.parametrize("under", ["opensurfaces", ""])
def test_the_release(tmp_path, under):
    data = open_dataset(f"opensurfaces:{release(tmp_path, under)}")
    assert data.ids == ["11", "12", "14"] and set(data.split) == {"all"}
    assert [data.scenes[k] if k >= 0 else "" for k in data.scene] == ["kitchen", "living room", ""]
    assert [(c.name, c.category) for c in data.concepts] == [
        ("fabric", "material"),
        ("fabric/cloth", "material"),
        ("plastic-clear", "material"),
        ("wood", "material"),
        ("chair", "object"),
        ("table", "object"),
    ]
    assert data.annotations(0).maps.shape == (2, 32, 40)
    assert at(data, 0, 2, 2) == ("plastic-clear", "chair")
    assert at(data, 0, 15, 20) == ("fabric/cloth", "table")
    assert at(data, 0, 30, 20) == ("", "")
    # A material that failed, and an object that was not named, hide what lies below.
    assert at(data, 1, 15, 20) == ("", "table") and at(data, 1, 2, 2) == ("wood", "")
    assert not data.annotations(2).maps.any()
    assert says(data.problems, "photos/15.jpg", "does not exist")
    assert says(data.problems, "12", "shape 8 cannot be drawn: corner 2 of 2")
    with pytest.raises(UnitscopeError, match=f"write opensurfaces:{tmp_path}"):
        open_dataset(str(tmp_path))


def test_one_faulty_row_is_one_problem(tmp_path):
    root = release(tmp_path)
    wrong = {
        "shapes.materialshape": [
            shape(11, *TRIANGLE, 9, 4) | {"num_vertices": None},
            shape([11], *TRIANGLE, 9, 4),
            shape(11, *TRIANGLE, 9, 4) | {"vertices": None},
            {"high_quality": True, "photo": 11},
        ],
        "shapes.shapename": [{"name": None}],
        "photos.photoscenecategory": [{}],
        "photos.photo": [None],
    }
    for name, rows in wrong.items():
        path = root / f"opensurfaces/{name}.json"
        told = json.loads(path.read_text())
        told += [{"pk": 90 + k, "fields": row} for k, row in enumerate(rows)]
        write(path, json.dumps(told))
    data = open_dataset(f"opensurfaces:{root}")
    assert data.ids == ["11", "12", "14"] and at(data, 0, 2, 2) == ("plastic-clear", "chair")
    for words in (
        *(["materialshape", f"shape {pk} cannot be drawn"] for pk in range(90, 94)),
        ["shapename", "90 has no name"],
        ["photoscenecategory", "90 has no name"],
        ["photos.photo.json", "row 7 has no pk with fields"],
    ):
        assert says(data.problems, *words), words


def test_large_photos_are_drawn_as_by_the_releases_script(tmp_path):
    root = release(tmp_path)
    save(root / "photos" / "11.jpg", Image.new("RGB", (3000, 2048)))
    data = open_dataset(f"opensurfaces:{root}")
    assert data.annotations(0).maps.shape == (2, 1024, 1500)


def test_random_shapes_against_a_point_in_triangle_test():
    """Away from the edges, where a pixel's centre decides and the pen's width does not."""
    rng = np.random.default_rng(1)
    width, height = 60, 40
    for _ in range(20):
        shapes = [Shape(rng.random((3, 2)), np.array([[0, 1, 2]]), k + 1, k + 11) for k in range(3)]
        drawn = draw(shapes, width, height)
        for y in range(height):
            for x in range(width):
                expected, unsure = 0, False
                for k, one in enumerate(shapes, 1):
                    corners = (one.corners * (width, height)).astype(int).astype(float)
                    inside, edge = in_triangle(corners, x, y)
                    unsure = unsure and not (inside and not edge)
                    unsure |= edge
                    expected = k if inside else expected
                if not unsure:
                    want = (expected, expected + 10) if expected else (0, 0)
                    assert tuple(drawn[:, y, x]) == want


def in_triangle(corners: np.ndarray, x: float, y: float) -> tuple[bool, bool]:
    """(inside, within a pixel of an edge) by the signs of cross products."""
    signs, near = [], False
    for k in range(3):
        a, b = corners[k], corners[(k + 1) % 3]
        along, to = b - a, np.array([x, y]) - a
        length = max(float(np.hypot(*along)), 1e-9)
        cross = float(along[0] * to[1] - along[1] * to[0])
        share = min(1.0, max(0.0, float(along @ to) / length**2))
        near |= float(np.hypot(*(to - share * along))) <= 1.0
        signs.append(cross)
    inside = all(s > 0 for s in signs) or all(s < 0 for s in signs)
    return inside, near


def test_the_digest_follows_the_shapes(tmp_path):
    root = release(tmp_path)
    before = open_dataset(f"opensurfaces:{root}").content_digest()
    assert open_dataset(f"opensurfaces:{root}").content_digest() == before
    path = root / "opensurfaces/shapes.materialshape.json"
    write(path, path.read_text().replace('"0.0,0.0,0.25,', '"0.0,0.0,0.26,'))
    assert open_dataset(f"opensurfaces:{root}").content_digest() != before


def script(root: Path) -> Path:
    """What process_opensurfaces_release_0.py leaves."""
    for pk in (11, 12):
        save(root / "photos" / f"{pk}.jpg", picture(40, 32, pk))
        labels = np.zeros((32, 40, 3), np.uint8)
        labels[..., 2] = 5  # the scene
        labels[:, :20] = (1, 2, 5) if pk == 11 else (3, 0, 5)
        save(root / "photos-labels" / f"{pk}.png", labels)
    write(
        root / "photos.csv",
        "photo_id,scene_category_name,fov\n12,living room,\n11,Kitchen,50\n"
        "13,Kitchen,\nx,Kitchen,\n",
    )
    write(
        root / "label-substance-colors.csv",
        "substance_id,substance_name,red_color\n8,Fabric/cloth,1\n9,Plastic - clear,2\n7,Wood,3\n",
    )
    write(root / "label-name-colors.csv", "name_id,name_name,green_color\n4,Chair,1\n3,Table,2\n")
    return root


def test_what_the_releases_script_makes(tmp_path):
    data = open_dataset(f"opensurfaces:{script(tmp_path)}")
    assert data.ids == ["11", "12"] and data.scenes == ["kitchen", "living room"]
    assert at(data, 0, 5, 5) == ("fabric", "table") and at(data, 1, 5, 5) == ("wood", "")
    assert at(data, 0, 30, 5) == ("", "")
    assert says(data.problems, "photos/13.jpg", "does not exist")
    assert says(data.problems, "photo_id 'x'")
    save(tmp_path / "photos-labels" / "11.png", np.full((32, 40, 3), 9, np.uint8))
    with pytest.raises(BadFile, match="unknown label values 9: not in label-substance-colors"):
        data.annotations(0)


def test_what_is_missing_is_told(tmp_path):
    with pytest.raises(BadFile, match="the release's script, fetches the photos"):
        open_dataset(f"opensurfaces:{tmp_path}")
    (tmp_path / "photos").mkdir()
    with pytest.raises(BadFile, match=r"shapes\.materialshape\.json: does not exist"):
        open_dataset(f"opensurfaces:{tmp_path}")
    root = release(tmp_path / "os")
    write(root / "opensurfaces/shapes.shapename.json", '[{"pk": 1}]')
    with pytest.raises(BadFile, match="not a list of rows with pk and fields"):
        open_dataset(f"opensurfaces:{root}")
    (root / "opensurfaces/shapes.shapename.json").unlink()
    with pytest.raises(BadFile, match=r"shapename\.json: does not exist"):
        open_dataset(f"opensurfaces:{root}")


@pytest.mark.parametrize("tree", [release, script])
def test_opensurfaces_is_dissected(tmp_path, tree):
    run = tiny.dissect(f"opensurfaces:{tree(tmp_path / 'os')}", tmp_path / "runs")
    found = run.sql("SELECT name, category FROM concepts WHERE area > 0")
    assert {"wood", "table"} <= set(found["name"])
    assert set(found["category"]) == {"material", "object", "scene"}
