"""`opensurfaces:DIR`: OpenSurfaces as it was released, shapes of materials on photos.

DIR holds ``photos/ID.jpg``, and either

the release's tables   ``photos.photo.json``, ``photos.photoscenecategory.json``,
                       ``shapes.materialshape.json``, ``shapes.shapesubstance.json`` and
                       ``shapes.shapename.json``, in DIR or DIR/opensurfaces; or
what its script made   ``photos.csv``, ``photos-labels/ID.png`` (R material, G object, B scene),
                       ``label-substance-colors.csv`` and ``label-name-colors.csv``.

A shape is a polygon cut into triangles, its corners as shares of the photo's width and height.
Shapes are laid down as the release's script lays them: those with most corners first, later ones
over earlier ones, so that a pixel has one material and one object.

OpenSurfaces also comes within Broden: ``broden:DIR`` reads it there.

Source: the release and its script, version 1.0 (Bell et al., SIGGRAPH 2013).
"""

from __future__ import annotations

import hashlib
import json
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw

from core.datasets.base import Annotations, Channel, Concept, Problem
from core.datasets.decode import check_mask_size, read_rgb, upright_size
from core.datasets.files import (
    FileDataset,
    Listing,
    folder,
    json_of,
    label_table,
    need_folder,
    need_images,
    read_table,
    short_names,
    to_concepts,
    whole_number,
)
from core.foundation.errors import BadFile
from core.foundation.plain import Json

SHAPES = "shapes.materialshape.json"
HEIGHT = 1024
"""Rows of a drawn label map, as in the release's script; lower photos have their own."""

CHANNELS = [Channel("material", "material"), Channel("object", "object")]


class Shape(NamedTuple):
    """A triangulated polygon: corners (n, 2) as shares of width and height, triangles (m, 3) of
    corner numbers, the material's and the object's concept (0 = none)."""

    corners: np.ndarray
    triangles: np.ndarray
    material: int
    object: int


@dataclass(kw_only=True)
class OpenSurfaces(FileDataset):
    """Photos with a `material` and an `object` channel.

    ``shapes[i]`` are those of photo i, in the order in which they are drawn; where the script's
    masks are read, ``label_files[i]`` is the mask and ``tables`` turns its R and G into concepts.
    """

    shapes: list[list[Shape]]
    label_files: list[str]
    tables: dict[str, np.ndarray]

    @classmethod
    def from_spec(cls, rest: str) -> OpenSurfaces:
        """Open the release in folder `rest`.

        Reads the tables (the shapes' is a few hundred megabytes); photos are not touched. As in
        the release's script, photos whose scene was not confirmed, synthetic photos and shapes,
        and shapes of low quality do not count. Photos that are missing are left out, in
        `problems`.

        Raises
        ------
        UnitscopeError, BadFile
            where the folder, photos/, a table or all photos are missing.
        """
        root = folder(rest, "opensurfaces")
        if not (root / "photos").is_dir():
            result = (
                "no such folder; process_opensurfaces_release_0.py, the release's script, fetches"
            )
            raise BadFile(root / "photos", f"{result} the photos")
        tables = next((p for p in (root, root / "opensurfaces") if (p / SHAPES).is_file()), None)
        if tables is not None:
            return cls._of_release(rest, root, tables)
        if (root / "photos.csv").is_file():
            return cls._of_script(rest, root)
        raise BadFile(root / SHAPES, "does not exist, nor is it in opensurfaces/; no photos.csv")

    @classmethod
    def _of_release(cls, rest: str, root: Path, tables: Path) -> OpenSurfaces:
        problems: list[Problem] = []
        named = _names(tables, "photos.photoscenecategory", problems)
        scene_names = {str(pk): name for pk, name in named.items()}
        photos = [
            (pk, str(row.get("scene_category")))
            for pk, row in _rows(tables, "photos.photo", problems)
            if row.get("scene_category_correct") and not row.get("special")
        ]
        photos.sort()
        kept = _present(root, [pk for pk, _ in photos], problems)
        need_images(f"opensurfaces:{rest}", len(kept), len(photos), problems)
        names = {
            "material": _names(tables, "shapes.shapesubstance", problems),
            "object": _names(tables, "shapes.shapename", problems),
        }
        concepts, concept_of = _concepts(names)
        drawn: defaultdict[int, list[tuple[int, Shape]]] = defaultdict(list)
        wanted = set(kept)
        for pk, row in _rows(tables, SHAPES.removesuffix(".json"), problems):
            if row.get("special") or not row.get("high_quality"):
                continue
            try:
                if row.get("photo") in wanted:
                    shape = int(row["num_vertices"]), _shape(row, concept_of)
                    drawn[row["photo"]].append(shape)
            except (KeyError, TypeError, ValueError, IndexError, OverflowError) as wrong:
                result = f"shape {pk} cannot be drawn: {wrong}"
                problems.append(Problem(str(row.get("photo")), str(tables / SHAPES), result))
        shapes = []
        for pk in kept:
            # Stable: shapes of as many corners keep the table's order.
            ordered = sorted(drawn.get(pk, []), key=lambda one: -one[0])
            shapes.append([shape for _, shape in ordered])
        of_photo = dict(photos)
        scenes = [scene_names.get(of_photo[pk], "") for pk in kept]
        return cls._opened(
            rest,
            root,
            kept,
            scenes,
            concepts,
            problems,
            shapes=shapes,
            label_files=[],
            tables={},
        )

    @classmethod
    def _of_script(cls, rest: str, root: Path) -> OpenSurfaces:
        problems: list[Problem] = []
        need_folder(root / "photos-labels")
        required = ("photo_id", "scene_category_name")
        named: dict[int, str] = {}
        rows = read_table(root / "photos.csv", required, problems).rows
        for line, row in rows:
            number = whole_number(row["photo_id"])
            if number in named:
                result = f"line {line}: photo {number} is listed before"
                problems.append(Problem(str(number), str(root / "photos.csv"), result))
            elif number is not None:
                named[number] = row["scene_category_name"]
            else:
                result = f"line {line}: photo_id {row['photo_id']!r} is not a number"
                problems.append(Problem("", str(root / "photos.csv"), result))
        kept = _present(root, sorted(named), problems)
        kept = _present(root, kept, problems, "photos-labels/{}.png")
        need_images(f"opensurfaces:{rest}", len(kept), len(rows), problems)
        names = {
            "material": _colors(root, "substance", "red_color", problems),
            "object": _colors(root, "name", "green_color", problems),
        }
        concepts, concept_of = _concepts(names)
        return cls._opened(
            rest,
            root,
            kept,
            [named[pk] for pk in kept],
            concepts,
            problems,
            shapes=[[] for _ in kept],
            label_files=[str(root / "photos-labels" / f"{pk}.png") for pk in kept],
            tables={category: label_table(known) for category, known in concept_of.items()},
        )

    @classmethod
    def _opened(
        cls,
        rest: str,
        root: Path,
        kept: list[int],
        named: list[str],
        concepts: list[Concept],
        problems: list[Problem],
        **own: Any,
    ) -> OpenSurfaces:
        # A name that begins with ~ says that the scene is not one of the list.
        named = ["" if name.startswith("~") else name.strip().lower() for name in named]
        scenes = sorted(set(named) - {""})
        place = {scene: k for k, scene in enumerate(scenes)} | {"": -1}
        return cls(
            name="opensurfaces",
            spec=f"opensurfaces:{rest}",
            ids=[str(pk) for pk in kept],
            scene=np.array([place[scene] for scene in named], np.int32),
            split=["all"] * len(kept),
            scenes=scenes,
            concepts=concepts,
            channels=CHANNELS,
            problems=problems,
            photo_files=[str(root / "photos" / f"{pk}.jpg") for pk in kept],
            **own,
        )

    def annotations(self, index: int) -> Annotations:
        if self.label_files:
            path = self.label_files[index]
            pixels = read_rgb(path).astype(np.uint16)
            check_mask_size(path, pixels[..., 0], self.photo_files[index])
            return Annotations(
                np.stack(
                    [
                        to_concepts(
                            pixels[..., k],
                            self.tables[c.category],
                            path,
                            "label-substance-colors.csv" if k == 0 else "label-name-colors.csv",
                        )
                        for k, c in enumerate(CHANNELS)
                    ]
                )
            )
        width, height = upright_size(self.photo_files[index])
        if height > HEIGHT:
            width, height = max(1, round(width * HEIGHT / height)), HEIGHT
        return Annotations(draw(self.shapes[index], width, height))

    def mask_files(self, index: int) -> list[str]:
        return [self.label_files[index]] if self.label_files else []

    def _meaning(self) -> Any:
        drawn = []
        for shapes in self.shapes:
            digest = hashlib.blake2b(digest_size=20)
            for s in shapes:
                digest.update(json.dumps([len(s.corners), s.material, s.object]).encode())
                digest.update(s.corners.astype("<f8").tobytes())
                digest.update(s.triangles.astype("<i4").tobytes())
            drawn.append(digest.hexdigest())
        tables = {}
        for category, table in self.tables.items():
            known = np.flatnonzero(table >= 0)
            tables[category] = [known.tolist(), table[known].tolist()]
        return [drawn, tables]


def draw(shapes: list[Shape], width: int, height: int) -> np.ndarray:
    """Materials and objects, uint16 (2, height, width), of shapes laid over one another.

    A corner lies at the pixel (int(x · width), int(y · height)); triangles are filled with their
    edges, as by the release's script.
    """
    image = Image.new("I", (width, height))
    pen = ImageDraw.Draw(image)
    for k, shape in enumerate(shapes, 1):
        corners = (shape.corners * (width, height)).astype(int)
        for triangle in shape.triangles:
            pen.polygon([(int(x), int(y)) for x, y in corners[triangle]], fill=k)
    which = np.asarray(image)
    table = np.array([[0, *(s.material for s in shapes)], [0, *(s.object for s in shapes)]])
    return table.astype(np.uint16)[:, which]


def _shape(row: Json, concept_of: dict[str, dict[int, int]]) -> Shape:
    """Raises ValueError, KeyError or IndexError where corners and triangles do not fit."""
    numbers = [float(v) for v in str(row["vertices"]).split(",")]
    corners = np.array(numbers, np.float64).reshape(-1, 2)
    triangles = np.array([int(v) for v in str(row["triangles"]).split(",")]).reshape(-1, 3)
    if triangles.min() < 0 or triangles.max() >= len(corners):
        raise ValueError(f"corner {triangles.max()} of {len(corners)}")
    if not np.isfinite(corners).all():
        raise ValueError("a corner is not a number")
    return Shape(
        corners,
        triangles.astype(np.int32),
        concept_of["material"].get(row.get("substance") or 0, 0),
        concept_of["object"].get(row.get("name") or 0, 0),
    )


def _rows(tables: Path, name: str, problems: list[Problem]) -> list[tuple[int, Json]]:
    """(primary key, fields) of a table of the release; rows without them are left out."""
    path = tables / f"{name}.json"
    result = json_of(path)
    rows = []
    for place, row in enumerate(result if isinstance(result, list) else [], 1):
        match row:
            case {"pk": int(pk), "fields": dict(fields)}:
                rows.append((pk, fields))
            case _:
                problems.append(Problem("", str(path), f"row {place} has no pk with fields"))
    if result != [] and not rows:
        raise BadFile(path, "is not a list of rows with pk and fields")
    return rows


def _names(tables: Path, name: str, problems: list[Problem]) -> dict[int, str]:
    """Number → name of a table of names, those marked as failed left out."""
    names = {}
    for pk, row in _rows(tables, name, problems):
        if isinstance(row.get("name"), str):
            if not row.get("fail"):
                names[pk] = row["name"]
        else:
            problems.append(Problem("", str(tables / f"{name}.json"), f"{pk} has no name"))
    return names


def _colors(root: Path, what: str, color: str, problems: list[Problem]) -> dict[int, str]:
    """Colour → name of one of the script's tables."""
    path = root / f"label-{what}-colors.csv"
    names = {}
    for line, row in read_table(path, (f"{what}_name", color), problems).rows:
        number = whole_number(row[color])
        if number and number < 256:
            names[number] = row[f"{what}_name"]
        else:
            result = f"line {line}: {color} {row[color]!r} is not 1 to 255"
            problems.append(Problem("", str(path), result))
    return names


def _present(
    root: Path, ids: list[int], problems: list[Problem], form: str = "photos/{}.jpg"
) -> list[int]:
    listing = Listing(root)
    kept: dict[int, None] = {}
    for pk in ids:
        if pk in kept:
            problems.append(Problem(str(pk), str(root / form.format(pk)), "is listed before"))
        elif form.format(pk) in listing:
            kept[pk] = None
        else:
            problems.append(Problem(str(pk), str(root / form.format(pk)), "does not exist"))
    return list(kept)


def _concepts(
    names: dict[str, dict[int, str]],
) -> tuple[list[Concept], dict[str, dict[int, int]]]:
    """The concepts by name, materials first, and category → number → concept id.

    "Plastic - clear" is plastic-clear and "Fabric/cloth" is fabric, as in Broden, except where
    the short name is a label itself.
    """
    concepts: list[Concept] = []
    concept_of: dict[str, dict[int, int]] = {}
    for category, known in names.items():
        plain = {n: name.strip().lower().replace(" - ", "-") for n, name in known.items()}
        short = short_names(plain.values(), "/")
        place: dict[str, int] = {}
        concept_of[category] = {}
        for number in sorted(plain, key=lambda n: (plain[n], n)):
            name = short[plain[number]]
            if name not in place:
                concepts.append(Concept(len(concepts) + 1, name, category))
                place[name] = len(concepts)
            concept_of[category][number] = place[name]
    return concepts, concept_of
