"""`coco:DIR`: COCO with panoptic masks, with the masks of COCO-Stuff, or as instances JSON.

The last is read by :mod:`core.datasets.instances`. For the others, photos lie in ``train2017/``
and ``val2017/``, in DIR or in DIR/images. Of the masks:

panoptic     ``panoptic_val2017.json`` (in DIR or DIR/annotations) and the folder of PNG masks of
             that name: R + 256 · G + 65536 · B is the id of a segment, whose category the JSON
             tells; 0 is not annotated.
COCO-Stuff   ``stuffthingmaps_trainval2017/val2017/*.png`` (or DIR/annotations/val2017/*.png):
             value v is label v + 1 of ``labels.txt`` ("92: banner"), 255 is not annotated.

Where several are there, they are looked for in this order (panoptic, stuff, instances), and
``coco:DIR:stuff`` or ``coco:DIR:instances`` asks for another. COCO knows no scenes: they come from
``DIR/scenes.csv`` (image, scene and, where wanted, split).

Things are objects, and so is stuff, except the four raw materials (cardboard, metal, paper,
plastic), which are materials: COCO's other groups of stuff (textile, ground, plant, …) are kinds
of object here. The endings -merged, -other and -stuff are left out where no other label has the
short name.

Sources: COCO's data format page, the panoptic task (Kirillov et al., CVPR 2019), COCO-Stuff's
release notes (Caesar et al., CVPR 2018).
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.datasets.base import Annotations, Channel, Concept, Problem
from core.datasets.decode import check_mask_size, read_labels, read_rgb
from core.datasets.files import (
    FileDataset,
    Listing,
    folder,
    json_of,
    label_table,
    need_images,
    split_suffix,
    text_of,
    to_concepts,
)
from core.datasets.instances import Instances, inside, instance_files, need_scenes
from core.datasets.readers.folder import scenes_of
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.files import expanded
from core.foundation.names import whole

RAW_MATERIALS = ("cardboard", "metal", "paper", "plastic")
"""COCO's stuff of the group ``raw-material``."""

NEVER_ANNOTATED = (
    "blender",
    "desk",
    "door",
    "eye glasses",
    "hair brush",
    "hat",
    "mirror",
    "plate",
    "shoe",
    "street sign",
    "window",
)
"""Things in COCO-Stuff's list of labels that no photo has (its release notes)."""

VOID = 255
FIRST_STUFF = 92


class _Label(NamedTuple):
    name: str
    thing: bool


class _Photo(NamedTuple):
    """One photo before it is known to be usable; `segments` maps ids to category numbers."""

    image: str
    split: str
    photo: str
    mask: str
    segments: dict[int, int]


@dataclass(kw_only=True)
class Coco(FileDataset):
    """Photos with an `object` channel and, where a raw material is annotated, a `material` one.

    ``planes[k]`` says which concepts plane k holds. Of panoptic masks, photo i has the segments
    ``segment_ids[starts[i]:starts[i + 1]]`` (ascending) of the concepts ``segment_concepts[…]``;
    masks of COCO-Stuff are read by ``table``.
    """

    masks: list[str]
    planes: np.ndarray
    table: np.ndarray | None
    starts: np.ndarray
    segment_ids: np.ndarray
    segment_concepts: np.ndarray

    @classmethod
    def from_spec(cls, rest: str) -> Coco | Instances:
        """Open ``DIR``, ``DIR:panoptic``, ``DIR:stuff`` or ``DIR:instances``.

        Reads the JSON of every split whose masks are there (the panoptic one of train2017 takes
        some seconds), lists the folders; no image is touched. Photos that are missing, or have no
        mask, are left out, in `problems`; without scenes.csv no photo has a scene.

        Raises
        ------
        UnitscopeError, BadFile
            where the folder, all masks or all photos are missing, or a table is unusable.
        """
        root, kind = _split_spec(rest)
        if kind == "instances":
            return Instances.from_folder(root, f"coco:{rest}")
        problems: list[Problem] = []
        listing = Listing(root)
        labels: dict[int, _Label]
        found: list[_Photo]
        if kind == "panoptic":
            labels, found = _panoptic(root, problems)
        else:
            labels, found = _stuff(root, problems)
        first: dict[str, _Photo] = {}
        for one in found:
            missing = next((p for p in (one.photo, one.mask) if p not in listing), "")
            if missing:
                problems.append(Problem(one.image, str(root / missing), "does not exist"))
            elif one.image in first:
                result = f"has the id of {first[one.image].photo}, which is listed before"
                problems.append(Problem(one.image, str(root / one.photo), result))
            else:
                first[one.image] = one
        kept = list(first.values())
        need_images(f"coco:{rest}", len(kept), len(found), problems)
        concepts, concept_of = _concepts(labels)
        categories = list(dict.fromkeys(concept.category for concept in concepts))
        planes = np.zeros((len(categories), len(concepts) + 1), bool)
        for concept in concepts:
            planes[categories.index(concept.category), concept.id] = True
        pairs = [sorted(one.segments.items()) for one in kept]
        need_scenes(root / "scenes.csv", problems)
        scene, scenes, split = scenes_of(
            root / "scenes.csv",
            {one.image: Path(one.photo).name for one in kept},
            [("", one.split) for one in kept],
            problems,
        )
        return cls(
            name="coco" if kind == "panoptic" else "coco-stuff",
            spec=f"coco:{rest}",
            ids=[one.image for one in kept],
            scene=scene,
            split=split,
            scenes=scenes,
            concepts=concepts,
            channels=[Channel(category, category) for category in categories],
            problems=problems,
            photo_files=[str(root / listing.real(one.photo)) for one in kept],
            masks=[str(root / listing.real(one.mask)) for one in kept],
            planes=planes,
            table=label_table({VOID: 0} | {n - 1: c for n, c in concept_of.items() if n})
            if kind == "stuff"
            else None,
            starts=np.concatenate([[0], np.cumsum([len(row) for row in pairs])]).astype(np.int64),
            segment_ids=np.array([s for row in pairs for s, _ in row], np.uint32),
            segment_concepts=np.array([concept_of[c] for row in pairs for _, c in row], np.uint16),
        )

    def annotations(self, index: int) -> Annotations:
        path = self.masks[index]
        if self.table is not None:
            labels = read_labels(path)
            # In this format 0 is a label (person), unlike everywhere else.
            concepts = to_concepts(labels, self.table, path, "labels.txt (value + 1)")
        else:
            concepts = self._of_segments(index, path)
        check_mask_size(path, concepts, self.photo_files[index])
        return Annotations(np.where(self.planes[:, concepts], concepts, 0).astype(np.uint16))

    def _of_segments(self, index: int, path: str) -> np.ndarray:
        pixels = read_rgb(path).astype(np.uint32)
        labels = pixels[..., 0] | pixels[..., 1] << 8 | pixels[..., 2] << 16
        a, b = self.starts[index], self.starts[index + 1]
        # 0 is not annotated, so it stands first among the ids, with concept 0.
        ids = np.concatenate([[np.uint32(0)], self.segment_ids[a:b]])
        concepts = np.concatenate([[np.uint16(0)], self.segment_concepts[a:b]])
        place = np.minimum(np.searchsorted(ids, labels), len(ids) - 1)
        strange = np.unique(labels[ids[place] != labels])
        if len(strange):
            result = ", ".join(map(str, strange[:5])) + (", …" if len(strange) > 5 else "")
            raise BadFile(path, f"segments {result} are not in the panoptic JSON")
        return concepts[place]

    def mask_files(self, index: int) -> list[str]:
        return [self.masks[index]]

    def _meaning(self) -> Any:
        known = np.flatnonzero(self.table >= 0) if self.table is not None else np.zeros(0, int)
        values = self.table[known].tolist() if self.table is not None else []
        segments = [self.starts.tolist(), self.segment_ids.tolist(), self.segment_concepts.tolist()]
        return [known.tolist(), values, segments]


def _split_spec(rest: str) -> tuple[Path, str]:
    """(folder, kind of masks) of ``DIR[:panoptic|:stuff|:instances]``."""
    head, _, kind = rest.rpartition(":")
    if kind in ("panoptic", "stuff", "instances") and head and not expanded(rest).is_dir():
        return folder(head, "coco"), kind
    root = folder(rest, "coco")
    if _json_files(root):
        return root, "panoptic"
    if _map_folders(root):
        return root, "stuff"
    if instance_files(root):
        return root, "instances"
    raise UnitscopeError(
        f"{root} holds neither panoptic_*.json (there or in annotations/) nor "
        "stuffthingmaps_trainval2017/ nor an instances JSON (instances_*.json, "
        "_annotations.coco.json)"
    )


def _json_files(root: Path) -> list[Path]:
    return [p for at in (root / "annotations", root) for p in sorted(at.glob("panoptic_*.json"))]


def _map_folders(root: Path) -> list[Path]:
    """The folders of COCO-Stuff's masks, one a split."""
    for under in (
        "stuffthingmaps_trainval2017",
        "stuffthingmaps",
        "annotations/stuffthingmaps_trainval2017",
        "annotations",
    ):
        found = sorted(
            p
            for p in (root / under).glob("*20[0-9][0-9]")
            if p.is_dir() and not p.name.startswith("panoptic_") and any(p.glob("*.png"))
        )
        if found:
            return found
    return []


def _photo_folder(root: Path, part: str) -> str:
    """Where the photos of a split lie, relative to `root`."""
    return next((at for at in (part, f"images/{part}") if (root / at).is_dir()), part)


def _panoptic(root: Path, problems: list[Problem]) -> tuple[dict[int, _Label], list[_Photo]]:
    labels: dict[int, _Label] = {}
    found: list[_Photo] = []
    files = _json_files(root)
    if not files:
        raise UnitscopeError(f"{root} has no panoptic_*.json, there or in annotations/")
    for path in files:
        part = path.stem.removeprefix("panoptic_")
        places = [path.parent / path.stem, path.parent / path.stem / path.stem, root / path.stem]
        masks = next((p for p in places if p.is_dir()), None)
        if masks is None:
            problems.append(Problem("", str(path), f"there is no folder {path.stem}/ of masks"))
            continue
        under = masks.relative_to(root).as_posix()
        photos = _photo_folder(root, part)
        if not (root / photos).is_dir():
            # Told once, and before half a gigabyte of JSON is read for nothing.
            problems.append(Problem("", str(root / photos), "no such folder of photos"))
            continue
        result = json_of(path)
        kinds = _rows(path, result, "categories", _category, problems)
        names = dict(_rows(path, result, "images", _image, problems))
        annotated = _rows(path, result, "annotations", _annotation, problems)
        for number, label in kinds:
            if labels.setdefault(number, label) != label:
                raise BadFile(path, f"category {number} is another one in another split")
        for number, mask, segments in annotated:
            image = names.get(number)
            if image is None:
                why = f"an annotation is of image {number}, which is not listed"
                problems.append(Problem("", str(path), why))
                continue
            unknown = set(segments.values()) - labels.keys()
            if unknown:
                why = f"category {min(unknown)} is not in its categories"
                problems.append(Problem(split_suffix(image)[0], str(path), why))
                continue
            found.append(
                _Photo(
                    split_suffix(image)[0],
                    re.sub(r"\d+$", "", part) or part,
                    f"{photos}/{image}",
                    f"{under}/{mask}",
                    segments,
                )
            )
    return labels, found


def _rows(
    path: Path, result: Any, key: str, parsed: Callable[[Any], Any], problems: list[Problem]
) -> list[Any]:
    """Every row of a list of the panoptic JSON, parsed; those that cannot be are problems."""
    if not isinstance(result, dict) or not isinstance(result.get(key), list):
        raise BadFile(path, f"is not COCO's panoptic format: it has no list of {key}")
    rows = []
    for place, row in enumerate(result[key], 1):
        try:
            rows.append(parsed(row))
        except (KeyError, TypeError, ValueError, OverflowError) as wrong:
            why = f"row {place} of its {key} cannot be read: {wrong!r}"
            problems.append(Problem("", str(path), why))
    return rows


def _category(row: Any) -> tuple[int, _Label]:
    return int(row["id"]), _Label(str(row["name"]), bool(row["isthing"]))


def _image(row: Any) -> tuple[int, str]:
    return int(row["id"]), inside(row["file_name"])


def _annotation(row: Any) -> tuple[int, str, dict[int, int]]:
    segments = {int(s["id"]): int(s["category_id"]) for s in row["segments_info"]}
    if not all(0 < number < 2**24 for number in segments):
        raise ValueError("a segment's id is not 1 to 16777215")
    return int(row["image_id"]), inside(row["file_name"]), segments


def _stuff(root: Path, problems: list[Problem]) -> tuple[dict[int, _Label], list[_Photo]]:
    names = next(
        (p for p in (root / "labels.txt", root / "annotations/labels.txt") if p.is_file()),
        root / "labels.txt",
    )
    if not names.is_file():
        raise BadFile(names, "does not exist; COCO-Stuff's list of labels (lines as 92: banner)")
    labels: dict[int, _Label] = {}
    for k, line in enumerate(text_of(names).splitlines(), 1):
        result, _, name = line.strip().partition(":")
        if not line.strip():
            continue
        number = whole(result)
        if number is None or not name.strip():
            raise BadFile(names, f"line {k}: {line!r} is not a number, a colon and a name")
        label = _Label(name.strip(), number < FIRST_STUFF)
        if number and not (label.thing and label.name in NEVER_ANNOTATED):
            labels[number] = label
    if not labels:
        raise BadFile(names, "lists no label")
    found = []
    folders = _map_folders(root)
    if not folders:
        raise UnitscopeError(f"{root} has no stuffthingmaps_trainval2017/ with masks in it")
    for masks in folders:
        part = masks.name
        under, photos = masks.relative_to(root).as_posix(), _photo_folder(root, part)
        if not (root / photos).is_dir():
            problems.append(Problem("", str(root / photos), "no such folder of photos"))
            continue
        found += [
            _Photo(
                mask.stem,
                re.sub(r"\d+$", "", part) or part,
                f"{photos}/{mask.stem}.jpg",
                f"{under}/{mask.name}",
                {},
            )
            for mask in sorted(masks.glob("*.png"))
        ]
    return labels, found


def _concepts(labels: dict[int, _Label]) -> tuple[list[Concept], dict[int, int]]:
    """The concepts in the order of their numbers, and number → concept id."""
    short = {n: re.sub(r"(-other|-merged|-stuff)+$", "", label.name) for n, label in labels.items()}
    taken = Counter([*short.values(), *(v.name for n, v in labels.items() if v.name != short[n])])
    concepts: list[Concept] = []
    concept_of = {0: 0}
    for number in sorted(labels):
        name, thing = labels[number]
        if taken[short[number]] == 1 and short[number]:
            name = short[number]
        category = "material" if not thing and name in RAW_MATERIALS else "object"
        concepts.append(Concept(len(concepts) + 1, name, category))
        concept_of[number] = len(concepts)
    return concepts, concept_of
