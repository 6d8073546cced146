"""A ``folder:`` dataset from the JSON files that LabelMe writes, one beside each photo.

A file has ``shapes`` (``label``, ``points``, ``shape_type`` polygon, rectangle, circle or mask),
``imagePath`` relative to itself, ``imageData`` (the photo in base64, or null), ``imageHeight``,
``imageWidth`` and ``flags`` of the whole photo. Points are pixels of the upright photo. Source:
the labelme program's own format, version 4 and 5.
"""

from __future__ import annotations

import base64
import binascii
import csv
import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image, ImageDraw

from core.datasets.base import Problem
from core.datasets.decode import image_of, photo_of, read_photo, upright_size
from core.datasets.files import PHOTO_TYPES, json_of, walk
from core.datasets.folder import MASKED
from core.errors import BadFile, UnitscopeError, nearest
from core.settings import Progress

SURFACES = ("polygon", "rectangle", "circle", "mask")
"""Types of shape that cover pixels; points and lines do not."""


class Stopped(UnitscopeError):
    """The work was asked to stop; what it had written is gone."""


@dataclass
class _Photo:
    """One photo with its shapes: (category, label, how to draw it), the first ones lowest.

    file : the photo, or the JSON file whose imageData it is (`inside`).
    """

    stem: str
    size: tuple[int, int]
    scene: str
    file: Path
    inside: bool
    shapes: list[tuple[str, str, dict[str, Any]]] = field(default_factory=list)


@dataclass
class Made:
    """What was made: photos, labels of each category, scenes, and what was left out."""

    out: Path
    photos: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    scenes: int = 0
    problems: list[Problem] = field(default_factory=list)


def folder_from_labelme(
    source: Path,
    out: Path,
    tell: Callable[[Progress], None] | None = None,
    stop: Callable[[], bool] = lambda: False,
) -> Made:
    """Write `out` as a ``folder:`` dataset from all JSON files under `source`.

    Photos keep their sub-folders. Later shapes lie over earlier ones, as in the program. A label
    ``part:handle`` is in category part and gets a mask of its own beside the main one (so with
    material, color and texture); every other label is an object. The scene is the one flag of
    the photo that is set, or else the folder that it lies in.

    Raises
    ------
    UnitscopeError
        where `source` holds no LabelMe file, `out` is not empty or lies in `source`, none can
        be used; :class:`Stopped` where `stop` says so. What was written so far is removed.
    """
    if not source.is_dir():
        raise UnitscopeError(f"{source}: no such folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UnitscopeError(f"{out} is there already and not empty; name another folder")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise UnitscopeError(f"{out} lies in {source}; name a folder outside of it")
    files = [name for name in walk(source) if name.lower().endswith(".json")]
    if not files:
        raise UnitscopeError(f"{source} holds no *.json")
    made = Made(out)
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
            told = f"photo {photo.stem} has another file already"
            made.problems.append(Problem(photo.stem, str(source / name), told))
            continue
        seen.add(photo.stem)
        photos.append(photo)
        for category, label, _ in photo.shapes:
            values.setdefault(category, {}).setdefault(label, 0)
    if not photos:
        first = made.problems[0]
        raise UnitscopeError(
            f"none of the {len(files)} files under {source} can be used; first: {first.path}: "
            f"{first.reason}"
        )
    for known in values.values():
        for k, label in enumerate(sorted(known), 1):
            known[label] = k
    made.labels = {category: len(known) for category, known in values.items()}
    made.scenes = len({photo.scene for photo in photos} - {""})
    new = not out.exists()
    try:
        _write(out, photos, values, made, tell, stop)
    except BaseException:
        for part in ("images", "masks"):
            shutil.rmtree(out / part, ignore_errors=True)
        for table in ("labels.csv", "scenes.csv"):
            (out / table).unlink(missing_ok=True)
        if new and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise
    return made


def _write(
    out: Path,
    photos: list[_Photo],
    values: dict[str, dict[str, int]],
    made: Made,
    tell: Callable[[Progress], None] | None,
    stop: Callable[[], bool],
) -> None:
    began = time.monotonic()
    for k, photo in enumerate(photos, 1):
        if stop():
            raise Stopped("stopped; nothing was kept")
        target = out / "images" / photo.stem
        target.parent.mkdir(parents=True, exist_ok=True)
        if not photo.inside:
            shutil.copyfile(photo.file, f"{target}{photo.file.suffix.lower()}")
        else:
            # Read once more: all photos at a time would not fit in memory.
            data = _embedded(photo.file, json_of(photo.file))
            kind = image_of(data, photo.file).format or ""
            suffix = {"JPEG": ".jpg", "MPO": ".jpg"}.get(kind, f".{kind.lower()}")
            Path(f"{target}{suffix}").write_bytes(data)
        mask = out / "masks" / photo.stem
        mask.parent.mkdir(parents=True, exist_ok=True)
        for category in values:
            suffix = "" if category == "object" else f".{category}"
            own = [shape for shape in photo.shapes if shape[0] == category]
            if own or category == "object":
                labels = draw(own, values[category], photo.size)
                Image.fromarray(labels).save(f"{mask}{suffix}.png")
        made.photos += 1
        if tell:
            rate = k / max(1e-9, time.monotonic() - began)
            tell(Progress("write", k, len(photos), rate, (len(photos) - k) / rate))
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["value", "name", "category"])
        for category, known in values.items():
            rows.writerows([value, label, category] for label, value in known.items())
    with (out / "scenes.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "scene", "split"])
        rows.writerows([photo.stem, photo.scene, "all"] for photo in photos)


def draw(
    shapes: list[tuple[str, str, dict[str, Any]]],
    values: dict[str, int],
    size: tuple[int, int],
) -> np.ndarray:
    """Label values (height, width) of shapes laid over one another; uint8 where they fit."""
    image = Image.new("I", size)
    pen = ImageDraw.Draw(image)
    for _, label, shape in shapes:
        value, points = values[label], [tuple(p) for p in shape["points"]]
        if shape["type"] == "polygon":
            pen.polygon(points, fill=value)
        elif shape["type"] == "rectangle":
            (x0, y0), (x1, y1) = points
            pen.rectangle([min(x0, x1), min(y0, y1), max(x0, x1), max(y0, y1)], fill=value)
        elif shape["type"] == "circle":
            (x, y), (on_x, on_y) = points
            radius = float(np.hypot(on_x - x, on_y - y))
            pen.ellipse([x - radius, y - radius, x + radius, y + radius], fill=value)
        else:
            image.paste(value, (int(points[0][0]), int(points[0][1])), shape["mask"])
    labels = np.asarray(image)
    return labels.astype(np.uint8 if max(values.values(), default=0) < 256 else np.uint16)


def _read(source: Path, name: str, problems: list[Problem]) -> _Photo:
    """One JSON file and where its photo is. Raises BadFile."""
    path = source / name
    told = json_of(path)
    if not isinstance(told, dict) or not isinstance(told.get("shapes"), list):
        raise BadFile(path, "is not a LabelMe file: it has no shapes")
    file = _photo_of(path, source, told)
    if file is not None:
        read_photo(file)  # a photo that cannot be decoded is told now, with its reason
        size = upright_size(file)
    else:
        data = _embedded(path, told)
        try:
            size = photo_of(data, path).size
        except BadFile as wrong:
            raise BadFile(path, f"its imageData is no whole photo: it {wrong.reason}") from wrong
    written = told.get("imageWidth"), told.get("imageHeight")
    if all(isinstance(v, int) for v in written) and written != size:
        raise BadFile(
            path, f"is drawn on {written[0]}×{written[1]}, but the photo is {size[0]}×{size[1]}"
        )
    stem = name.rpartition(".")[0]
    flags = [flag for flag, on in (told.get("flags") or {}).items() if on]
    under = stem.rpartition("/")[0].rpartition("/")[2]
    scene = flags[0] if len(flags) == 1 else under
    photo = _Photo(stem, size, scene, file or path, inside=file is None)
    for k, shape in enumerate(told["shapes"], 1):
        try:
            photo.shapes.append(_shape(shape))
        except (KeyError, TypeError, ValueError) as wrong:
            problems.append(Problem(stem, str(path), f"shape {k} is left out: {wrong}"))
    return photo


def _photo_of(path: Path, source: Path, told: dict[str, Any]) -> Path | None:
    """The photo's file, or None where only imageData has it. Raises BadFile where nothing has."""
    # Written on another machine, the path may have its separators; the name is what counts.
    said = str(told.get("imagePath") or "").replace("\\", "/")
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
        if one.is_file() and one.suffix.lower() in PHOTO_TYPES:
            return one
    if told.get("imageData"):
        return None
    near = nearest(Path(said).name, (p.name for p in path.parent.iterdir()), 3)
    hint = f"; nearest: {', '.join(near)}" if near else ""
    raise BadFile(path, f"its photo {said or path.stem!r} is not there, nor in imageData{hint}")


def _embedded(path: Path, told: Any) -> bytes:
    """The photo in imageData, still packed. Raises BadFile where that is not base64."""
    try:
        return base64.b64decode(told["imageData"], validate=True)
    except (binascii.Error, ValueError, TypeError, KeyError) as wrong:
        raise BadFile(path, "its imageData is not base64") from wrong


def _shape(shape: dict[str, Any]) -> tuple[str, str, dict[str, Any]]:
    """(category, label, what is drawn). Raises ValueError, KeyError or TypeError."""
    label = str(shape["label"]).strip()
    kind = shape.get("shape_type") or "polygon"
    points = [(float(x), float(y)) for x, y in shape["points"]]
    if not label:
        raise ValueError("it has no label")
    if kind not in SURFACES:
        raise ValueError(f"{label!r} is a {kind}, which covers no pixels")
    least = {"polygon": 3}.get(kind, 2)
    if len(points) < least:
        raise ValueError(f"{label!r} is a {kind} of {len(points)} points; {least} are needed")
    if not np.isfinite(points).all():
        raise ValueError(f"{label!r} has a point that is not a number")
    head, _, rest = label.partition(":")
    head = head.strip().lower().replace("colour", "color")
    category, name = (head, rest.strip()) if head in MASKED and rest.strip() else ("object", label)
    drawn: dict[str, Any] = {"type": kind, "points": points}
    if kind == "mask":
        try:
            image = image_of(base64.b64decode(shape["mask"], validate=True), f"mask of {label!r}")
        except (BadFile, ValueError, TypeError, KeyError) as wrong:
            raise ValueError(f"the mask of {label!r} cannot be read: {wrong}") from wrong
        drawn["mask"] = Image.fromarray((np.asarray(image) > 0).astype(np.uint8) * 255)
    return category, name, drawn
