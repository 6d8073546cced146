"""`folder:DIR`: anyone's own photos and masks, in a layout made in five minutes.

images/ holds the photos, in any sub-folders. masks/ mirrors it with PNG masks of label values:
``<photo>.png`` is the main mask, and ``<photo>.<category>.png``, ``<photo>.<category>2.png``, …
are masks of one category for labels that overlap others. labels.csv (value, name, category)
names the values; scenes.csv (image, scene, split) is optional. labels_by.json, written by
`annotate`, says that the masks are predictions, and whose. See docs/datasets.md.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.datasets.base import CATEGORIES, Annotations, Channel, Concept, Problem
from core.datasets.decode import check_mask_size, check_same_size, read_labels
from core.datasets.files import (
    PHOTO_TYPES,
    TOLD,
    FileDataset,
    bad_row,
    folder,
    json_of,
    label_table,
    listed_scenes,
    natural,
    need_folder,
    read_table,
    split_suffix,
    to_concepts,
    walk,
    whole_number,
)
from core.errors import BadFile, nearest
from core.names import readable

SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
NO_SPLIT = "all"
LABELS_BY = "labels_by.json"
MAIN = ""
"""The name of the main mask's layer; other layers are called by their file names' suffix."""

MASKED = tuple(c for c in CATEGORIES if c != "scene")
"""The categories that masks can have: the scene belongs to the whole photo."""

_LAYER = re.compile(rf"({'|'.join(MASKED)}|colour)([1-9]\d?)?", re.IGNORECASE)


@dataclass(kw_only=True)
class Folder(FileDataset):
    """Photos with masks in plain folders.

    ``masks[i]`` maps a layer ("" = the main mask, "part", "part2", …) to its file.
    ``planes[layer]`` lists (plane of the maps, label table) of what the layer holds.
    ``tables[layer]`` tells which values the layer may hold at all.
    """

    masks: list[dict[str, str]]
    planes: dict[str, list[tuple[int, np.ndarray]]]
    tables: dict[str, np.ndarray]

    @classmethod
    def from_spec(cls, rest: str) -> Folder:
        """Open the folder `rest`.

        Lists the files and reads the tables; no image is touched. Photos whose id repeats,
        masks without a photo and bad rows are left out, in `problems`; photos without a
        mask stay, counted there where others have one.

        Raises
        ------
        UnitscopeError, BadFile
            where the folder, images/ or all photos are missing, or there are masks but no
            labels.csv.
        """
        root = folder(rest, "folder")
        need_folder(root / "images")
        problems: list[Problem] = []
        photos = find_photos(root / "images", problems)
        ids = sorted(photos, key=natural)
        if not ids:
            told = f"; {problems[0].reason}" if problems else ""
            raise BadFile(root / "images", f"holds no photo ({', '.join(PHOTO_TYPES)}){told}")
        masks = _masks(root / "masks", photos, problems)
        labels = _labels(root / "labels.csv", bool(masks), problems)
        concepts = [
            Concept(k + 1, name, category)
            for k, (name, category) in enumerate(
                dict.fromkeys(key for key in labels.values() if key[0])
            )
        ]
        channels, planes, tables = _channels(labels, concepts, masks, root / "labels.csv")
        scene, scenes, split = _scenes(root / "scenes.csv", ids, photos, problems)
        return cls(
            name=root.resolve().name,
            spec=f"folder:{rest}",
            ids=ids,
            scene=scene,
            split=split,
            scenes=scenes,
            concepts=concepts,
            channels=channels,
            problems=problems,
            labels_by=_labels_by(root / LABELS_BY),
            photo_files=[str(root / "images" / photos[image]) for image in ids],
            masks=[
                {layer: str(root / "masks" / name) for layer, name in sorted(files.items())}
                for files in (masks.get(image, {}) for image in ids)
            ],
            planes=planes,
            tables=tables,
        )

    def annotations(self, index: int) -> Annotations:
        maps = np.zeros((len(self.channels), 1, 1), np.uint16)
        first = ""
        for layer, path in self.masks[index].items():
            labels = read_labels(path)
            height, width = labels.shape
            if not first:
                first = path
                check_mask_size(path, labels, self.photo_files[index])
                maps = np.zeros((len(self.channels), height, width), np.uint16)
            else:
                check_same_size(path, labels, first, maps.shape[1:])
            to_concepts(labels, self.tables[layer], path, _known_in(layer))
            for plane, table in self.planes[layer]:
                maps[plane] = table[labels]
        return Annotations(maps)

    def mask_files(self, index: int) -> list[str]:
        return list(self.masks[index].values())

    def _meaning(self) -> Any:
        planes = {}
        for layer, parts in self.planes.items():
            known = np.flatnonzero(self.tables[layer] >= 0)
            planes[layer] = [
                known.tolist(),
                [[plane, table[known].tolist()] for plane, table in parts],
            ]
        return [planes, [list(files) for files in self.masks]]


def _known_in(layer: str) -> str:
    if layer == MAIN:
        return "labels.csv (or their category has masks of its own)"
    return f"the {_category(layer)} labels of labels.csv"


def _category(layer: str) -> str:
    return layer.rstrip("0123456789")


def find_photos(root: Path, problems: list[Problem]) -> dict[str, str]:
    """Image id (path without the suffix) → file. Files that are no photo by their suffix, and
    those that repeat an id, are told in `problems`."""
    photos: dict[str, str] = {}
    others: Counter[str] = Counter()
    for name in walk(root):
        stem, suffix = split_suffix(readable(name))
        if suffix.lower() not in PHOTO_TYPES:
            others[suffix.lower() or "without a suffix"] += 1
            continue
        if stem in photos:
            told = f"has the same name as {photos[stem]}: image ids leave the suffix out"
            problems.append(Problem(stem, str(root / name), told))
        else:
            photos[stem] = name
    if others:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
        told = f"files not read as photos: {counts}"
        problems.append(Problem("", str(root), told))
    return photos


def _masks(
    root: Path, photos: dict[str, str], problems: list[Problem]
) -> dict[str, dict[str, str]]:
    """Image id → layer → file."""
    masks: defaultdict[str, dict[str, str]] = defaultdict(dict)
    strange: list[str] = []
    for name in walk(root) if root.is_dir() else []:
        stem, suffix = split_suffix(readable(name))
        image, _, layer = stem.rpartition(".")
        found = _LAYER.fullmatch(layer)
        if suffix.lower() != ".png":
            strange.append(name)
        elif stem in photos:  # before the layers: a photo may be called "kitchen.part"
            masks[stem][MAIN] = name
        elif found and image in photos:
            category = found[1].lower().replace("colour", "color")
            level = found[2] or "1"
            masks[image][category + ("" if level == "1" else level)] = name
        else:
            strange.append(name)
    for name in strange[:TOLD]:
        problems.append(Problem("", str(root / name), _why_strange(name, photos, masks)))
    if len(strange) > TOLD:
        told = f"{len(strange) - TOLD} more files belong to no photo"
        problems.append(Problem("", str(root), told))
    bare = [image for image in photos if image not in masks]
    if masks and bare:
        more = ", …" if len(bare) > 3 else ""
        told = f"{len(bare)} of {len(photos)} photos have no mask: {', '.join(bare[:3])}{more}"
        problems.append(Problem("", str(root), told))
    return dict(masks)


def _why_strange(name: str, photos: dict[str, str], masks: dict[str, dict[str, str]]) -> str:
    stem, suffix = split_suffix(readable(name))
    if suffix.lower() != ".png":
        return "is not a PNG: masks are"
    image, _, layer = stem.rpartition(".")
    if image in photos:
        near = nearest(layer, MASKED, 1)
        hint = f"; is {near[0]!r} meant?" if near else f" ({', '.join(MASKED)})"
        return f"{layer!r} is not a category of masks{hint}"
    # A mask that belongs to nothing most likely belongs to a photo without one.
    near = nearest(stem, (p for p in photos if p not in masks), 3)
    hint = f"; nearest photos without a mask: {', '.join(near)}" if near else ""
    return f"there is no photo {stem!r}{hint}"


def _labels_by(path: Path) -> str:
    """Which network the masks are predictions of; empty where people made them."""
    if not path.is_file():
        return ""
    try:
        told = json_of(path)["labels_by"]
    except (KeyError, TypeError) as err:
        raise BadFile(path, "does not say by its key `labels_by` whose labels these are") from err
    return str(told)


def _labels(
    path: Path, needed: bool, problems: list[Problem]
) -> dict[tuple[int, str], tuple[str, str]]:
    """(value, category) → (name, category); an empty name means "not annotated"."""
    if not needed and not path.is_file():
        return {}
    labels: dict[tuple[int, str], tuple[str, str]] = {}
    before = len(problems)
    for line, row in read_table(path, ("value", "name"), problems, {"category": ""}).rows:
        value, name = whole_number(row["value"]), row["name"]
        category = row["category"].lower().replace("colour", "color") or "object"
        # A value without a name and a category means nothing in any mask.
        held = MASKED if not name and not row["category"] else (category,)
        if value is None or value > 65535:
            told = f"value {row['value']!r} is not a number from 0 to 65535"
        elif category not in MASKED:
            near = nearest(category, MASKED, 1)
            hint = f"; is {near[0]!r} meant?" if near else ""
            told = f"category {category!r} is not one of {', '.join(MASKED)}{hint}"
        elif value == 0 and name:
            told = f"value 0 always means 'not annotated'; {name!r} needs another value"
        elif any((value, c) in labels for c in held):
            told = f"value {value} occurs twice in category {category}"
        else:
            labels |= {(value, c): (name, c) for c in held}
            continue
        problems.append(bad_row(path, line, told))
    if needed and not labels:
        first = f"; first: {problems[before].reason}" if len(problems) > before else ""
        raise BadFile(path, f"lists no label{first}")
    return labels


def _channels(
    labels: dict[tuple[int, str], tuple[str, str]],
    concepts: list[Concept],
    masks: dict[str, dict[str, str]],
    path: Path,
) -> tuple[list[Channel], dict[str, list[tuple[int, np.ndarray]]], dict[str, np.ndarray]]:
    """The channels; layer → its (plane, label table)s; layer → all the values it may hold.

    A category with masks of its own is read from those alone; all other categories share the
    main mask, which is split into one channel for each.
    """
    concept_id = {(c.name, c.category): c.id for c in concepts}
    layers = sorted({layer for files in masks.values() for layer in files}, key=natural)
    own = {_category(layer) for layer in layers if layer != MAIN}

    def values_of(category: str) -> dict[int, int]:
        return {
            value: concept_id.get(key, 0)
            for (value, which), key in labels.items()
            if which == category
        }

    channels: list[Channel] = []
    planes: dict[str, list[tuple[int, np.ndarray]]] = {}
    tables: dict[str, np.ndarray] = {}
    for layer in layers:
        if layer == MAIN:
            held = [c for c in CATEGORIES if c not in own and values_of(c)]
        else:
            held = [_category(layer)]
        every: dict[int, int] = {}
        planes[layer] = []
        for category in held:
            values = values_of(category)
            shared = sorted(v for v in every.keys() & values.keys() if every[v] or values[v])
            if shared:
                raise BadFile(
                    path,
                    f"value {shared[0]} stands in two categories of one mask; give it another "
                    f"value, or the {category} masks files of their own (<photo>.{category}.png)",
                )
            every |= values
            if any(values.values()):
                table = np.zeros(2**16, np.uint16)
                table[list(values)] = list(values.values())
                planes[layer].append((len(channels), table))
                channels.append(Channel(layer or category, category))
        tables[layer] = label_table(every)
    return channels, planes, tables


def _scenes(
    path: Path, ids: list[str], photos: dict[str, str], problems: list[Problem]
) -> tuple[np.ndarray, list[str], list[str]]:
    """(scene of each image, scene names, split of each image)."""
    by_folder = [scene_by_folder(image) for image in ids]
    if path.is_file():
        listed = listed_scenes(path, photos, problems)
        pairs = [
            (listed[image][0], listed[image][1] or split) if image in listed else ("", split)
            for image, (_, split) in zip(ids, by_folder, strict=True)
        ]
        absent = [image for image in ids if image not in listed]
        if absent:
            more = ", …" if len(absent) > 3 else ""
            told = f"{len(absent)} photos are not listed, so have no scene: "
            problems.append(Problem("", str(path), told + ", ".join(absent[:3]) + more))
    else:
        pairs = by_folder
    scenes = sorted({scene for scene, _ in pairs if scene})
    place = {scene: k for k, scene in enumerate(scenes)} | {"": -1}
    return np.array([place[s] for s, _ in pairs], np.int32), scenes, [split for _, split in pairs]


def scene_by_folder(image: str) -> tuple[str, str]:
    """(scene, split) by the folders: the innermost is the scene, train/val/test the split."""
    folders = image.split("/")[:-1]
    split = NO_SPLIT
    if folders and folders[0].lower() in SPLITS:
        split = folders.pop(0)
    return (folders[-1] if folders else ""), split
