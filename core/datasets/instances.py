"""Instances JSON, the form of COCO in which most annotation programs export.

``{"images": [{id, file_name, width, height}], "categories": [{id, name}], "annotations":
[{image_id, category_id, segmentation, area, iscrowd}]}``, where a segmentation is a list of
polygons ``[x1, y1, x2, y2, …]`` or run lengths (:func:`core.datasets.shapes.run_lengths`).

What one annotation says is drawn when its photo is read. Regions of one photo may overlap: the
smaller one (by the area of what is drawn) lies on top, of two alike the later one, within each
category of concepts. Nothing that a file says leads out of the dataset's folder.

Sources: COCO's data format page; the exports of CVAT, Roboflow, Label Studio, LabelMe's
labelme2coco and X-AnyLabeling.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np

from core.datasets.base import Annotations, Channel, Concept, Problem
from core.datasets.decode import MAX_PIXELS, upright_size
from core.datasets.files import FileDataset, Listing, json_of, need_images, split_suffix
from core.datasets.readers.folder import (
    NO_LABEL,
    NO_SPLIT,
    SPLITS,
    categorised,
    scene_by_folder,
    scenes_of,
)
from core.datasets.shapes import from_runs, points_of, polygon, run_lengths
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.plain import Json

NAMES = ("instances_*.json", "_annotations.coco.json")
"""How COCO (and CVAT) and Roboflow call the file; others give it any name."""

FOLDERS = ("images", "jpegimages", "default")
"""Folders within a file_name that are neither a scene nor a split."""


class Region(NamedTuple):
    """What one annotation covers: rings to fill and holes to clear, in that order, or run lengths.

    concept : 0 where it says that nothing is annotated. size : (width, height) of the run lengths.
    """

    concept: int
    area: float
    rings: tuple[tuple[bool, np.ndarray], ...] = ()
    counts: np.ndarray | None = None
    size: tuple[int, int] = (0, 0)

    def covered(self, size: tuple[int, int]) -> np.ndarray:
        """bool (height, width). Raises ValueError where run lengths are of another size."""
        if self.counts is not None:
            if self.size != size:
                raise ValueError(f"run lengths of {self.size[0]}×{self.size[1]} pixels")
            return from_runs(self.counts, size)
        inside = np.zeros((size[1], size[0]), bool)
        for fill, ring in self.rings:
            inside[polygon(ring, size)] = fill
        return inside


class _Photo(NamedTuple):
    """One image of a file; `size` is (0, 0) where the file does not say."""

    image: str
    file: str
    split: str
    scene: str
    size: tuple[int, int]
    regions: list[Region]


@dataclass(kw_only=True)
class Instances(FileDataset):
    """Photos with a channel for each category of their labels.

    ``regions[i]`` are those of photo i, the lowest first; ``sizes[i]`` is the photo's size as the
    file says it; ``plane_of[concept]`` is the channel of a concept.
    """

    regions: list[list[Region]]
    sizes: list[tuple[int, int]]
    plane_of: np.ndarray

    @classmethod
    def from_folder(cls, root: Path, spec: str) -> Instances:
        """Open all instances files under `root`; no image is touched.

        Photos that are missing and annotations that cannot be used are left out, in `problems`.

        Raises
        ------
        UnitscopeError, BadFile
            where there is no such file, one is not usable, or no photo is there.
        """
        problems: list[Problem] = []
        notes: list[str] = []
        listing = Listing(root)
        concepts: dict[tuple[str, str], int] = {}
        found: list[_Photo] = []
        rows = 0
        for path, result in _files(root):
            rows += len(result["images"])
            found += _Reader(root, path, result, listing, concepts, problems, notes).photos()
        photos = _with_ids(root, found, problems)
        need_images(spec, len(photos), rows, problems)
        table = [Concept(k, name, category) for (category, name), k in concepts.items()]
        categories = list(dict.fromkeys(concept.category for concept in table)) or ["object"]
        by_folder = [(one.scene, one.split) for one in photos]
        if not any(scene for scene, _ in by_folder):
            need_scenes(root / "scenes.csv", problems)
        files = {one.image: one.file.rpartition("/")[2] for one in photos}
        scene, scenes, split = scenes_of(root / "scenes.csv", files, by_folder, problems)
        erases = categories.index("object") if "object" in categories else 0
        return cls(
            name="coco-instances",
            spec=spec,
            ids=[one.image for one in photos],
            scene=scene,
            split=split,
            scenes=scenes,
            concepts=table,
            channels=[Channel(category, category) for category in categories],
            problems=problems,
            notes=notes,
            photo_files=[str(root / one.file) for one in photos],
            # Sorting is stable: of two alike the later one stays on top.
            regions=[sorted(one.regions, key=lambda region: -region.area) for one in photos],
            sizes=[one.size for one in photos],
            plane_of=np.array([erases, *(categories.index(c.category) for c in table)]),
        )

    def annotations(self, index: int) -> Annotations:
        path = self.photo_files[index]
        size, result = upright_size(path), self.sizes[index]
        if result not in (size, (0, 0)):
            turned = " (its EXIF orientation is not followed there)" if result == size[::-1] else ""
            raise BadFile(
                path, f"is {size[0]}×{size[1]}, but annotated as {result[0]}×{result[1]}{turned}"
            )
        maps = np.zeros((len(self.channels), size[1], size[0]), np.uint16)
        for region in self.regions[index]:
            try:
                maps[self.plane_of[region.concept], region.covered(size)] = region.concept
            except ValueError as wrong:
                raise BadFile(path, f"is {size[0]}×{size[1]}, but annotated by {wrong}") from wrong
        return Annotations(maps)

    def mask_files(self, index: int) -> list[str]:
        return []

    def _meaning(self) -> Any:
        total = hashlib.blake2b(digest_size=20)
        for regions in self.regions:
            total.update(f"{len(regions)};".encode())
            for region in regions:
                counts = [] if region.counts is None else [region.counts]
                total.update(f"{region.concept}{region.size}{len(region.rings)};".encode())
                total.update(f"{[fill for fill, _ in region.rings]};".encode())
                for numbers in (*counts, *(ring for _, ring in region.rings)):
                    total.update(f"{len(numbers)};".encode() + numbers.tobytes())
        return [self.sizes, total.hexdigest()]


def need_scenes(path: Path, problems: list[Problem]) -> None:
    """Tell what goes without scenes, where COCO's own files are all that there is."""
    if not path.is_file():
        result = (
            "does not exist: COCO has no scenes, so no photo has one, and there is no accuracy, no "
            "core concept and no account; write the table image,scene[,split] to have them"
        )
        problems.append(Problem("", str(path), result))


def instance_files(root: Path) -> list[Path]:
    """JSON files that may hold instances: those called so by COCO or Roboflow, else all others, in
    DIR, DIR/annotations and, for Roboflow's, one folder for each split."""
    for pattern in (*NAMES, "*.json"):
        folders = [root / "annotations", root]
        if pattern == NAMES[1]:
            folders += sorted(p for p in root.iterdir() if p.is_dir() and p != folders[0])
        found = [path for at in folders for path in sorted(at.glob(pattern)) if path.is_file()]
        if found:
            return found
    return []


def _files(root: Path) -> Iterator[tuple[Path, Json]]:
    """Files of instances with what they hold. Raises where there is none, or a named one is not."""
    used = False
    for path in instance_files(root):
        result = json_of(path)
        missing = "images, annotations or categories"
        if isinstance(result, dict):
            lists = [
                key
                for key in ("images", "annotations", "categories")
                if not isinstance(result.get(key), list)
            ]
            missing = ", ".join(lists)
        if not missing:
            used = True
            yield path, result
        elif any(path.match(pattern) for pattern in NAMES):
            raise BadFile(path, f"is not an instances JSON: it has no list of {missing}")
    if not used:
        raise UnitscopeError(
            f"{root} holds no instances JSON (images, annotations, categories): "
            f"{', '.join(NAMES)} or any other *.json, there or in annotations/"
        )


class _Reader:
    """One file of instances, read row by row: a faulty one is a problem, and the others stay."""

    def __init__(
        self,
        root: Path,
        path: Path,
        result: Json,
        listing: Listing,
        concepts: dict[tuple[str, str], int],
        problems: list[Problem],
        notes: list[str],
    ):
        self.root, self.path, self.result, self.listing = root, path, result, listing
        self.problems, self.notes = problems, notes
        # "val2017" of instances_val2017.json, "train" of train/_annotations.coco.json
        named = path.match(NAMES[0])
        if named:
            self.part = path.stem.removeprefix("instances_")
        elif path.parent in (root, root / "annotations"):
            self.part = path.stem
        else:
            self.part = path.parent.name
        plain = re.sub(r"\d+$", "", self.part) or self.part
        known = plain.lower() in SPLITS or (named and plain.lower() not in FOLDERS)
        self.split = plain if known else NO_SPLIT
        self.concept_of = self._categories(concepts)

    def photos(self) -> list[_Photo]:
        """The file's images that are there, with their regions."""
        photos = self._images()
        boxes = crowds = holes = filled = 0
        for number, row in enumerate(self.result["annotations"], 1):
            image = _key(row, "image_id")
            photo = photos.get(image)
            if photo is None:
                if image not in photos:  # else the image is a problem itself
                    self._say("", f"annotation {number} is of an image that is not listed")
                continue
            if not row.get("segmentation"):
                boxes += 1
                continue
            try:
                region, nested = self._region(row, photo.size)
            except ValueError as wrong:
                self._say(photo.image, f"annotation {number} is left out: {wrong}")
                continue
            photo.regions.append(region)
            crowds += bool(row.get("iscrowd"))
            holes += nested and any(not fill for fill, _ in region.rings)
            filled += nested and all(fill for fill, _ in region.rings)
        rows = len(self.result["annotations"])
        if boxes and boxes == rows:
            raise BadFile(
                self.path,
                f"its {rows} annotations are boxes without a segmentation, which cover "
                "no pixels; export polygons or masks (instance segmentation)",
            )
        if boxes:
            self._say("", f"{boxes} of {rows} annotations have no segmentation: they are left out")
        if crowds:
            self.notes.append(
                f"{self.path}: {crowds} of {rows} annotations are crowds (iscrowd); each is read "
                "as one region of its label"
            )
        if holes or filled:
            self.notes.append(
                f"{self.path}: {holes + filled} of {rows} annotations have a polygon within "
                f"another: {holes} are holes by their area, {filled} are filled, as COCO's own "
                "tools read them"
            )
        return [photo for photo in photos.values() if photo]

    def _say(self, image: str, reason: str) -> None:
        self.problems.append(Problem(image, str(self.path), reason))

    def _categories(self, concepts: dict[tuple[str, str], int]) -> dict[Any, int]:
        """Category number → concept id; `concepts` takes those that are new."""
        concept_of: dict[Any, int] = {}
        rows = [row for row in self.result["categories"] if isinstance(row, dict)]
        used = {_key(row, "category_id") for row in self.result["annotations"]}
        groups = ((row.get("supercategory"), row.get("name")) for row in rows)
        parents = {group for group, own in groups if isinstance(group, str) and group != own}
        named: Counter[tuple[str, str]] = Counter()
        for place, row in enumerate(self.result["categories"], 1):
            number, name = _key(row, "id"), row.get("name") if isinstance(row, dict) else None
            if number is None or not isinstance(name, str) or not name.strip():
                self._say("", f"category {place} has no id and name")
            elif number in concept_of:
                self._say("", f"category {number!r} is listed twice; the first counts")
            elif name in NO_LABEL:
                concept_of[number] = 0
            elif number in used or name not in parents:
                # Roboflow lists the project itself as a category without annotations.
                label = categorised(name)
                named[label] += 1
                concept_of[number] = concepts.setdefault(label, len(concepts) + 1)
        for (_, name), count in named.items():
            if count > 1:
                self._say("", f"{count} categories are called {name!r}: they are read as one")
        return concept_of

    def _images(self) -> dict[Any, _Photo | None]:
        """Image number → photo; None where it is a problem."""
        photos: dict[Any, _Photo | None] = {}
        seen: set[str] = set()
        for place, row in enumerate(self.result["images"], 1):
            number, name = _key(row, "id"), row.get("file_name") if isinstance(row, dict) else None
            if number is None or not isinstance(name, str) or "\0" in name:
                self._say("", f"image {place} has no id and file_name")
                continue
            if number in photos:
                self._say(name, f"image {number!r} is listed twice; the first counts")
                continue
            photos[number] = None
            down = inside(name)
            file = next((f for f in self._places(down) if down and f in self.listing), "")
            size = tuple(row.get(key) or 0 for key in ("width", "height"))
            if not file:
                self._say(name, f"there is no photo {name!r} in the dataset's folder")
            elif file in seen:
                why = "what is said of it the second time is left out"
                self._say(name, f"the photo {file!r} is listed twice; {why}")
            elif not all(isinstance(v, (int, float)) and 0 <= v == v // 1 for v in size) or (
                math.prod(size) > MAX_PIXELS
            ):
                shown = f"{size[0]!r}×{size[1]!r}"
                self._say(name, f"the size of {name!r}, {shown}, cannot be that of a photo")
            else:
                seen.add(file)
                parts = list(PurePosixPath(split_suffix(down)[0]).parts)
                while len(parts) > 1 and parts[0].lower() in (*FOLDERS, self.part.lower()):
                    del parts[0]
                image = "/".join(parts)
                scene, split = scene_by_folder(image)
                split = self.split if split == NO_SPLIT else split
                photos[number] = _Photo(image, file, split, scene, (int(size[0]), int(size[1])), [])
        return photos

    def _places(self, name: str) -> Iterator[str]:
        """Where a photo may lie, relative to the dataset's folder."""
        own = self.path.parent.relative_to(self.root).as_posix()
        beside = [] if own == "." else [own, f"{own}/images"]
        for at in (self.part, f"images/{self.part}", *beside, "images", "."):
            yield name if at == "." else f"{at}/{name}"

    def _region(self, row: Json, size: tuple[int, int]) -> tuple[Region, bool]:
        """What an annotation covers, and whether one of its polygons lies within another.

        Raises ValueError.
        """
        category = _key(row, "category_id")
        if category not in self.concept_of:
            raise ValueError(f"category {row.get('category_id')!r} is not in its categories")
        concept, result = self.concept_of[category], row["segmentation"]
        if isinstance(result, dict):
            counts, own = run_lengths(result)
            if size != (0, 0) and own != size:
                turned = "; height comes first" if own == size[::-1] else ""
                raise ValueError(
                    f"its run lengths are of {own[0]}×{own[1]} pixels, the image of "
                    f"{size[0]}×{size[1]}{turned}"
                )
            return Region(concept, float(counts[1::2].sum()), counts=counts, size=own), False
        if not isinstance(result, list) or not all(isinstance(ring, list) for ring in result):
            raise ValueError("its segmentation is neither polygons nor run lengths")
        rings = [points_of(ring, flat=True) for ring in result]
        areas = np.array([_area(ring) for ring in rings])
        depth = _depths(rings)
        outer, pierced = areas[depth == 0].sum(), (areas * (-1.0) ** depth).sum()
        said = row.get("area")
        # Numbers that float64 does not hold are no areas.
        known = isinstance(said, (int, float)) and 0 < said < 1e30
        says_hole = known and abs(said - pierced) < abs(said - outer)
        fills = depth % 2 == 0 if says_hole else np.ones(len(rings), bool)
        order = np.argsort(depth, kind="stable")
        return Region(
            concept,
            float(pierced if says_hole else outer),
            tuple((bool(fills[k]), rings[k]) for k in order),
        ), bool(depth.any())


def _with_ids(root: Path, found: list[_Photo], problems: list[Problem]) -> list[_Photo]:
    """The photos under ids of their own: those that share one are called by their whole paths."""
    times = Counter(one.image for one in found)
    photos: dict[str, _Photo] = {}
    for one in found:
        image = one.image if times[one.image] == 1 else split_suffix(one.file)[0]
        if image in photos:
            result = f"has the same id as {photos[image].file}: ids leave the suffix out"
            problems.append(Problem(image, str(root / one.file), result))
        else:
            photos[image] = one._replace(image=image)
    return list(photos.values())


def inside(name: str) -> str:
    """A path that leads nowhere but down; of any other its last part alone.

    Raises ValueError for what no file can be called.

    >>> inside("a\\\\b.jpg"), inside("../../b.jpg"), inside("C:/x/b.jpg"), inside("..")
    ('a/b.jpg', 'b.jpg', 'b.jpg', '')
    """
    if not isinstance(name, str) or "\0" in name:
        raise ValueError(f"{name!r} is not the name of a file")
    path = PurePosixPath(name.replace("\\", "/"))
    if path.is_absolute() or ".." in path.parts or re.match("[A-Za-z]:", str(path)):
        return path.name if path.name != ".." else ""
    return str(path) if path.name else ""


def _key(row: Any, key: str) -> int | str | None:
    """A number or name by which rows refer to one another."""
    value = row.get(key) if isinstance(row, dict) else None
    return value if isinstance(value, (int, str)) and not isinstance(value, bool) else None


def _area(ring: np.ndarray) -> float:
    """The area of a polygon, by the shoelace formula."""
    x, y = (ring - ring[0]).T
    return float(abs(x @ np.roll(y, -1) - y @ np.roll(x, -1)) / 2)


def _depths(rings: list[np.ndarray]) -> np.ndarray:
    """In how many of the others each polygon lies."""
    depth = np.zeros(len(rings), np.int64)
    if len(rings) > 1:
        low, high = (np.array([f(ring, 0) for ring in rings]) for f in (np.min, np.max))
        boxed = (low[:, None] >= low).all(2) & (high[:, None] <= high).all(2)
        boxed &= ~np.eye(len(rings), dtype=bool)
        for one, other in np.argwhere(boxed):
            depth[one] += _within(rings[one], rings[other])
    return depth


def _within(ring: np.ndarray, other: np.ndarray) -> bool:
    """Whether all corners of a polygon lie inside another one, by ray casting."""
    (ax, ay), (bx, by) = other.T, np.roll(other, -1, 0).T
    for at in range(0, len(ring), 256):  # corners times edges may be many
        x, y = ring[at : at + 256].T[:, :, None]
        with np.errstate(divide="ignore", invalid="ignore"):
            right = x < ax + (y - ay) / (by - ay) * (bx - ax)
        if not ((((ay > y) != (by > y)) & right).sum(1) % 2 == 1).all():
            return False
    return True
