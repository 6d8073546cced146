"""Conversion of LabelMe's JSON files, one per photo, to a ``folder:`` dataset.

A file has ``shapes`` (``label``, ``points``, ``shape_type``), ``imagePath`` relative to itself,
``imageData`` (the photo in base64, or null), ``imageHeight``, ``imageWidth`` and ``flags`` of the
whole photo. Points are pixels of the upright photo (:mod:`core.datasets.shapes`). Sources: the
labelme program's own format, version 4 to 6, and the shapes that X-AnyLabeling adds to it.
"""

from __future__ import annotations

import base64
import binascii
import os
import shutil
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.datasets.base import Problem
from core.datasets.convert import Converted, Part, check_target, write_folder
from core.datasets.decode import image_of, photo_of, read_photo, upright_size
from core.datasets.files import PHOTO_TYPES, json_of, walk
from core.datasets.readers.folder import NO_LABEL, categorised
from core.datasets.shapes import circle, points_of, polygon
from core.foundation.errors import BadFile, UnitscopeError, nearest
from core.foundation.plain import Json
from core.foundation.progress import Report, Stop, never

POINTS = {
    "polygon": (),
    "rectangle": (2, 4),
    "circle": (2,),
    "mask": (2,),
    "rotation": (4,),
    "oriented_rectangle": (4,),
    "quadrilateral": (4,),
}
"""Types of shape that cover pixels, and how many points each may have (a polygon 3 or more); lines
and points cover none."""


@dataclass(frozen=True)
class Shape:
    """A shape of a file, checked.

    Attributes
    ----------
    category, label : what it annotates; an empty label is one of `NO_LABEL`.
    number : its place in the file, from 1. type : one of `POINTS`.
    points : float64 (points, 2), x and y in pixels. mask : of the type mask, mode ``L``, its left
        upper corner at the first point.
    """

    category: str
    label: str
    number: int
    type: str
    points: np.ndarray
    mask: Image.Image | None = None


@dataclass
class _Photo:
    """One photo with its shapes, the first ones lowest.

    file : the photo; None where it is the imageData of `json`.
    """

    stem: str
    size: tuple[int, int]
    scene: str
    json: Path
    file: Path | None
    shapes: list[Shape] = field(default_factory=list)


def folder_from_labelme(
    source: Path,
    out: Path,
    progress: Report | None = None,
    stop: Stop = never,
) -> Converted:
    """Write `out` as a ``folder:`` dataset from all JSON files under `source`.

    Photos keep their sub-folders. Later shapes lie over earlier ones, as in the program. A label
    ``part:handle`` is in category part and gets a mask of its own beside the main one (so with
    material, color and texture); every other label is an object, and where `NO_LABEL` is drawn
    nothing is annotated. The scene is the one flag of the photo that is set, or else the folder
    that it lies in. Each shape or file that cannot be used is listed as a problem of the result.

    Raises
    ------
    UnitscopeError
        where `source` holds no LabelMe file, `out` is not empty or lies in `source`, none can
        be used; :class:`Stopped` where `stop` says so. What was written so far is removed.
    """
    check_target(source, out)
    files = [name for name in walk(source) if name.lower().endswith(".json")]
    if not files:
        raise UnitscopeError(f"{source} holds no *.json")
    made = Converted(out)
    photos: list[_Photo] = []
    values: dict[str, dict[str, int]] = {}
    seen: set[str] = set()
    for name in files:
        try:
            photo = _read(source, name, made.problems)
        except BadFile as wrong:
            made.problems.append(Problem(name.removesuffix(".json"), wrong.path, wrong.reason))
            continue
        if photo.stem in seen:
            result = f"photo {photo.stem} has another file already"
            made.problems.append(Problem(photo.stem, str(source / name), result))
            continue
        seen.add(photo.stem)
        photos.append(photo)
        for shape in photo.shapes:
            if shape.label:
                values.setdefault(shape.category, {}).setdefault(shape.label, 0)
    if not photos:
        first = made.problems[0]
        raise UnitscopeError(
            f"none of the {len(files)} files under {source} can be used; first: {first.path}: "
            f"{first.reason}"
        )
    for known in values.values():
        for k, label in enumerate(sorted(known), 1):
            known[label] = k
    parts = [
        Part(
            photo.stem,
            photo.scene,
            "all",
            partial(_copy, photo),
            partial(_masks, photo, values, made.problems),
        )
        for photo in photos
    ]
    return write_folder(made, parts, values, progress, stop)


def _copy(photo: _Photo, target: str) -> None:
    if photo.file is not None:
        shutil.copyfile(photo.file, f"{target}{photo.file.suffix.lower()}")
        return
    # Read once more: all photos at a time would not fit in memory.
    data = _embedded(photo.json, json_of(photo.json))
    kind = image_of(data, photo.json).format or ""
    suffix = {"JPEG": ".jpg", "MPO": ".jpg"}.get(kind, f".{kind.lower()}")
    Path(f"{target}{suffix}").write_bytes(data)


def _masks(
    photo: _Photo, values: dict[str, dict[str, int]], problems: list[Problem]
) -> dict[str, np.ndarray]:
    masks = {}
    for category, known in values.items():
        own = [shape for shape in photo.shapes if shape.category == category]
        if own or category == "object":
            masks[category] = draw(own, known, photo.size, partial(_hidden, photo, problems))
    return masks


def _hidden(photo: _Photo, problems: list[Problem], shape: Shape) -> None:
    result = f"shape {shape.number} covers no pixel: it is outside the photo, or too thin"
    problems.append(Problem(photo.stem, str(photo.json), result))


def draw(
    shapes: Sequence[Shape],
    values: dict[str, int],
    size: tuple[int, int],
    hidden: Callable[[Shape], None] = lambda shape: None,
) -> np.ndarray:
    """Label values, uint16 (height, width), of shapes laid over one another; `hidden` is called
    with those that cover no pixel."""
    labels = np.zeros((size[1], size[0]), np.uint16)
    for shape in shapes:
        covered = _covered(shape, size)
        if not covered.any():
            hidden(shape)
        labels[covered] = values.get(shape.label, 0)
    return labels


def _covered(shape: Shape, size: tuple[int, int]) -> np.ndarray:
    points = np.asarray(shape.points, np.float64)
    if shape.type == "circle":
        return circle(points[0], points[1], size)
    if shape.mask is not None:
        covered = Image.new("1", size)
        covered.paste(shape.mask, (int(points[0][0]), int(points[0][1])))
        return np.asarray(covered)
    if shape.type == "rectangle" and len(points) == 2:
        (x0, y0), (x1, y1) = points
        points = np.array([[x0, y0], [x1, y0], [x1, y1], [x0, y1]])
    return polygon(points, size)


def _read(source: Path, name: str, problems: list[Problem]) -> _Photo:
    """One JSON file and where its photo is. Raises BadFile."""
    path = source / name
    result = json_of(path)
    if not isinstance(result, dict) or not isinstance(result.get("shapes"), list):
        raise BadFile(path, "is not a LabelMe file: it has no shapes")
    file = _photo_of(path, source, result)
    if file is not None:
        read_photo(file)  # a photo that cannot be decoded is reported now, with the reason
        size = upright_size(file)
    else:
        data = _embedded(path, result)
        try:
            size = photo_of(data, path).size
        except BadFile as wrong:
            raise BadFile(path, f"its imageData is no whole photo: it {wrong.reason}") from wrong
    written = result.get("imageWidth"), result.get("imageHeight")
    if all(isinstance(v, int) for v in written) and written != size:
        raise BadFile(
            path, f"is drawn on {written[0]}×{written[1]}, but the photo is {size[0]}×{size[1]}"
        )
    stem = name.rpartition(".")[0]
    flags = result.get("flags") or {}
    if not isinstance(flags, dict):
        why = "its flags are not {name: true or false}, so the scene is the folder's name"
        problems.append(Problem(stem, str(path), why))
        flags = {}
    on = [str(flag) for flag, value in flags.items() if value is True]
    under = stem.rpartition("/")[0].rpartition("/")[2]
    photo = _Photo(stem, size, on[0] if len(on) == 1 else under, path, file)
    for k, shape in enumerate(result["shapes"], 1):
        try:
            photo.shapes.append(_shape(shape, k))
        except ValueError as wrong:
            problems.append(Problem(stem, str(path), f"shape {k} is left out: {wrong}"))
    return photo


def _photo_of(path: Path, source: Path, result: Json) -> Path | None:
    """The photo's file, or None where only imageData has it. Raises BadFile where nothing has."""
    # Written on another machine, the path may have its separators; the name is what counts.
    said = str(result.get("imagePath") or "").replace("\\", "/")
    tries = []
    if said:
        # What a file says may lead out of the folder (../photos): it is followed only within it,
        # or to a neighbour of the JSON's own folder. Links are the user's own, and are followed.
        named = (path.parent / said, path.parent, source)
        at, own, root = (Path(os.path.normpath(one.absolute())) for one in named)
        if root in at.parents or at.parent.parent == own.parent:
            tries.append(at)
        tries.append(path.parent / Path(said).name)
    tries += [path.with_suffix(suffix) for suffix in PHOTO_TYPES]
    for one in tries:
        with suppress(OSError, ValueError):  # no name that a file could have
            if one.suffix.lower() in PHOTO_TYPES and one.is_file():
                return one
    if result.get("imageData"):
        return None
    near = nearest(Path(said).name, (p.name for p in path.parent.iterdir()), 3)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise BadFile(path, f"its photo {said or path.stem!r} is not there, nor in imageData{hint}")


def _embedded(path: Path, result: Any) -> bytes:
    """The photo in imageData, still encoded. Raises BadFile where that is not base64."""
    try:
        return _bytes_of(result["imageData"])
    except (ValueError, TypeError, KeyError) as wrong:
        raise BadFile(path, "its imageData is not base64") from wrong


def _bytes_of(text: Any) -> bytes:
    """What base64 holds; line breaks, as in MIME, are ignored."""
    try:
        # `json_of` has written the line breaks out.
        plain = "".join(text.replace("\\n", "").replace("\\r", "").split())
        return base64.b64decode(plain, validate=True)
    except (binascii.Error, AttributeError) as wrong:
        raise ValueError("it is not base64") from wrong


def _shape(shape: Any, number: int) -> Shape:
    """Raises ValueError."""
    if not isinstance(shape, dict):
        raise ValueError("it is not {label, points, shape_type}")
    label = shape.get("label")
    if not isinstance(label, str) or not label.strip():
        raise ValueError("it has no label")
    kind = shape.get("shape_type") or "polygon"
    if not isinstance(kind, str) or kind not in POINTS:
        raise ValueError(f"{label!r} is a {kind}, which covers no pixels")
    points = points_of(shape.get("points"), 3 if kind == "polygon" else 1)
    wanted = POINTS[kind]
    if wanted and len(points) not in wanted:
        raise ValueError(f"{label!r} is a {kind} of {len(points)} points, not {wanted[0]}")
    mask = None
    if kind == "mask":
        try:
            image = image_of(_bytes_of(shape["mask"]), f"mask of {label!r}")
        except (BadFile, ValueError, TypeError, KeyError) as wrong:
            raise ValueError(f"the mask of {label!r} cannot be read: {wrong}") from wrong
        mask = Image.fromarray((np.asarray(image) > 0).astype(np.uint8) * 255)
    category, name = ("object", "") if label.strip() in NO_LABEL else categorised(label)
    return Shape(category, name, number, kind, points, mask)
