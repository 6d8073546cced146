"""`folder:DIR`: anyone's own photos and masks, in a layout made in five minutes.

images/ holds the photos, in any sub-folders. masks/ mirrors it with PNG masks of label values:
``<photo>.png`` is the main mask, and ``<photo>.<category>.png``, ``<photo>.<category>2.png``, …
are masks of one category for labels that overlap others. labels.csv (value, name, category)
names the values, or by its column `color` the colours of masks that have colours; scenes.csv
(image, scene, split) is optional. labels_by.json, written by `annotate`, says that the masks are
predictions, and whose. See docs/datasets.md.

Two layouts of others are read as they are: Pascal VOC's and CVAT's (JPEGImages/,
SegmentationClass/, labelmap.txt), and Roboflow's semantic masks (``train/NAME.jpg``,
``train/NAME_mask.png``, ``train/_classes.csv``).
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.datasets.base import CATEGORIES, Annotations, Channel, Concept, Problem
from core.datasets.colors import BLACK, read_color, shown, to_values
from core.datasets.decode import (
    check_mask_size,
    check_same_size,
    has_colors,
    read_labels,
    read_rgb,
)
from core.datasets.files import (
    LISTED,
    PHOTO_TYPES,
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
    text_of,
    to_concepts,
    walk,
    whole_number,
)
from core.foundation.errors import BadFile, nearest
from core.foundation.names import readable

SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
NO_SPLIT = "all"
LABELS_BY = "labels_by.json"
MAIN = ""
"""The name of the main mask's layer; other layers are called by their file names' suffix."""

MASKED = tuple(c for c in CATEGORIES if c != "scene")
"""The categories that masks can have: the scene belongs to the whole photo."""

NO_LABEL = ("__ignore__", "_background_")
"""What LabelMe, and programs that write its names, call pixels that are not annotated."""

NO_CLASS = (*NO_LABEL, "background", "ignored", "unlabeled", "void")
"""… and what the tables of VOC, CVAT and Roboflow call them, which list them as classes."""

_LAYER = re.compile(rf"({'|'.join(MASKED)}|colour)([1-9]\d?)?", re.IGNORECASE)


@dataclass(kw_only=True)
class Folder(FileDataset):
    """Photos with masks in plain folders.

    ``masks[i]`` maps a layer ("" = the main mask, "part", "part2", …) to its file.
    ``planes[layer]`` lists (plane of the maps, label table) of what the layer holds.
    ``tables[layer]`` tells which values the layer may hold at all. ``colors[layer]`` maps the
    colours of masks that have colours to such values; `values` says whether there are masks of
    values too.
    """

    masks: list[dict[str, str]]
    planes: dict[str, list[tuple[int, np.ndarray]]]
    tables: dict[str, np.ndarray]
    colors: dict[str, dict[int, int]]
    values: bool
    table: str

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
        problems: list[Problem] = []
        if _classes(root):
            at = masks_at = root
            # Its own texts lie among the photos.
            photos = find_photos(root, problems, (".csv", ".txt"))
            masks = _roboflow_masks(root, photos, problems)
        else:
            at = _first(root, "images", "JPEGImages")
            need_folder(at)
            photos = find_photos(at, problems)
            masks_at = _first(root, "masks", "SegmentationClass")
            masks = _masks(masks_at, photos, problems)
        ids = sorted(photos, key=natural)
        if not ids:
            result = f"; {problems[0].reason}" if problems else ""
            raise BadFile(at, f"holds no photo ({', '.join(PHOTO_TYPES)}){result}")
        labels = _labels(root, bool(masks), problems)
        concepts = [
            Concept(k + 1, name, category)
            for k, (name, category) in enumerate(
                dict.fromkeys(key for key in labels.names.values() if key[0])
            )
        ]
        channels, planes, tables = _channels(labels, concepts, masks)
        official = _official_splits(root)
        by_folder = [
            (scene, official.get(image, NO_SPLIT) if split == NO_SPLIT else split)
            for image, (scene, split) in ((image, scene_by_folder(image)) for image in ids)
        ]
        scene, scenes, split = scenes_of(
            root / "scenes.csv",
            {image: photos[image] for image in ids},
            by_folder,
            problems,
        )
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
            photo_files=[str(at / photos[image]) for image in ids],
            masks=[
                {layer: str(masks_at / name) for layer, name in sorted(files.items())}
                for files in (masks.get(image, {}) for image in ids)
            ],
            planes=planes,
            tables=tables,
            colors={
                layer: {color: value for color, value in labels.colors.items() if held[value] >= 0}
                for layer, held in tables.items()
            }
            if labels.colors
            else {},
            values=labels.values,
            table=labels.path.name,
        )

    def annotations(self, index: int) -> Annotations:
        maps = np.zeros((len(self.channels), 1, 1), np.uint16)
        first = ""
        for layer, path in self.masks[index].items():
            labels = self._read(layer, path)
            height, width = labels.shape
            if not first:
                first = path
                check_mask_size(path, labels, self.photo_files[index])
                maps = np.zeros((len(self.channels), height, width), np.uint16)
            else:
                check_same_size(path, labels, first, maps.shape[1:])
            to_concepts(labels, self.tables[layer], path, self._known_in(layer))
            for plane, table in self.planes[layer]:
                maps[plane] = table[labels]
        return Annotations(maps)

    def _read(self, layer: str, path: str) -> np.ndarray:
        """The label values of a mask, whether it has values or colours."""
        if not self.colors or (self.values and not has_colors(path)):
            return read_labels(path)

        def name_of(color: int) -> str:
            value = self.colors[layer].get(color, 0)
            concept = max((int(table[value]) for _, table in self.planes[layer]), default=0)
            return self.concepts[concept - 1].name if concept else ""

        pixels = read_rgb(path)
        return to_values(pixels, self.colors[layer], name_of, path, self._known_in(layer))

    def _known_in(self, layer: str) -> str:
        if layer == MAIN:
            return f"{self.table} (or their category has masks of its own)"
        return f"the {_category(layer)} labels of {self.table}"

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
        meaning: list[Any] = [planes, [list(files) for files in self.masks]]
        if self.colors:
            meaning.append([self.values, {k: sorted(v.items()) for k, v in self.colors.items()}])
        return meaning


class Labels(NamedTuple):
    """A table of labels: (value, category) → (name, category), where an empty name means "not
    annotated"; colour → value; whether masks of values are read by it; its file.

    Where there are only colours, their values are assigned here.
    """

    names: dict[tuple[int, str], tuple[str, str]]
    colors: dict[int, int]
    values: bool
    path: Path

    def shown(self, value: int) -> str:
        """A value as written in the table."""
        if self.values:
            return f"value {value}"
        return "colour " + next(shown(c) for c, v in self.colors.items() if v == value)


def _first(root: Path, *names: str) -> Path:
    """The first of these folders that exists; the first one if none does."""
    return next((root / name for name in names if (root / name).is_dir()), root / names[0])


def _classes(root: Path) -> list[Path]:
    """Roboflow's tables of semantic classes, one in the folder of each split."""
    if (root / "images").is_dir():
        return []
    return sorted([*root.glob("_classes.csv"), *root.glob("*/_classes.csv")])


def categorised(label: str) -> tuple[str, str]:
    """(category, name) of a label as written in programs that have no categories.

    >>> categorised("part: pillow"), categorised("colour:red"), categorised("sofa: old")
    (('part', 'pillow'), ('color', 'red'), ('object', 'sofa: old'))
    """
    label = label.strip()
    head, _, rest = label.partition(":")
    head = head.strip().lower().replace("colour", "color")
    return (head, rest.strip()) if head in MASKED and rest.strip() else ("object", label)


def _category(layer: str) -> str:
    return layer.rstrip("0123456789")


def find_photos(
    root: Path, problems: list[Problem], expected: Sequence[str] = ()
) -> dict[str, str]:
    """Image id (path without the suffix) → file. Files that are no photo by their suffix, and
    those that repeat an id, are reported in `problems`; not those of a suffix that is `expected`.
    """
    photos: dict[str, str] = {}
    others: Counter[str] = Counter()
    for name in walk(root):
        stem, suffix = split_suffix(readable(name))
        if suffix.lower() not in PHOTO_TYPES:
            if suffix.lower() in expected:
                continue
            others[suffix.lower() or "without a suffix"] += 1
            continue
        if stem in photos:
            result = f"has the same name as {photos[stem]}: image ids leave the suffix out"
            problems.append(Problem(stem, str(root / name), result))
        else:
            photos[stem] = name
    if others:
        counts = ", ".join(f"{count} {suffix}" for suffix, count in others.most_common())
        result = f"files not read as photos: {counts}"
        problems.append(Problem("", str(root), result))
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
    for name in strange[:LISTED]:
        problems.append(Problem("", str(root / name), _why_strange(name, photos, masks)))
    if len(strange) > LISTED:
        result = f"{len(strange) - LISTED} more files belong to no photo"
        problems.append(Problem("", str(root), result))
    _tell_bare(root, photos, masks, problems)
    return dict(masks)


def _tell_bare(
    root: Path, photos: dict[str, str], masks: dict[str, dict[str, str]], problems: list[Problem]
) -> None:
    bare = [image for image in photos if image not in masks]
    if masks and bare:
        more = ", …" if len(bare) > 3 else ""
        result = f"{len(bare)} of {len(photos)} photos have no mask: {', '.join(bare[:3])}{more}"
        problems.append(Problem("", str(root), result))


def _roboflow_masks(
    root: Path, photos: dict[str, str], problems: list[Problem]
) -> dict[str, dict[str, str]]:
    """Image id → its mask; masks are removed from `photos`, in whose folders they are."""
    masks = {}
    for stem in [stem for stem in photos if photos[stem].endswith("_mask.png")]:
        name, image = photos.pop(stem), stem.removesuffix("_mask")
        if image in photos:
            masks[image] = {MAIN: name}
        else:
            problems.append(Problem("", str(root / name), f"there is no photo {image!r}"))
    _tell_bare(root, photos, masks, problems)
    return masks


def _official_splits(root: Path) -> dict[str, str]:
    """Image id → split, of the lists that VOC and CVAT keep in ImageSets/Segmentation."""
    lists = (root / "ImageSets" / "Segmentation" / f"{split}.txt" for split in SPLITS)
    return {
        line.strip(): path.stem
        for path in lists
        if path.is_file()
        for line in text_of(path).splitlines()
    }


def _why_strange(name: str, photos: dict[str, str], masks: dict[str, dict[str, str]]) -> str:
    stem, suffix = split_suffix(readable(name))
    if suffix.lower() != ".png":
        result = "; docs/datasets.md says how to export it" if suffix.lower() == ".mat" else ""
        return "is not a PNG: masks are" + result
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
    """The network that predicted the masks; empty for masks made by people."""
    if not path.is_file():
        return ""
    try:
        result = json_of(path)["labels_by"]
    except (KeyError, TypeError) as err:
        raise BadFile(path, "does not say by its key `labels_by` whose labels these are") from err
    return str(result)


class _Row(NamedTuple):
    """A row of any table of labels, as written."""

    line: int
    value: str
    color: str
    name: str
    category: str


def _labels(root: Path, needed: bool, problems: list[Problem]) -> Labels:
    """The labels of labels.csv, or else of labelmap.txt or Roboflow's _classes.csv."""
    path, map_file, classes = root / "labels.csv", root / "labelmap.txt", _classes(root)
    if path.is_file() or not (map_file.is_file() or classes):
        if not needed and not path.is_file():
            return Labels({}, {}, True, path)
        rows, values, colors = _own_rows(path, problems)
    elif map_file.is_file():
        path, values, colors = map_file, False, True
        rows = _map_rows(path, problems)
    else:
        path, values, colors = classes[0], True, False
        rows = _class_rows(classes, problems)
    labels = Labels({}, {}, values, path)
    fresh, before = iter(range(1, 2**16)), len(problems)
    for row in rows:
        wrong = _add(labels, row, colors, fresh)
        if wrong:
            problems.append(bad_row(path, row.line, wrong))
    if needed and not labels.names:
        first = f"; first: {problems[before].reason}" if len(problems) > before else ""
        raise BadFile(path, f"lists no label{first}")
    return labels


def _add(labels: Labels, row: _Row, colors: bool, fresh: Iterator[int]) -> str:
    """Add a row to `labels`; returns what is wrong if that is not possible."""
    category = row.category.lower().replace("colour", "color") or "object"
    color = read_color(row.color) if colors else None
    if colors and color is None and (row.color or not labels.values):
        return f"colour {row.color!r} is neither #rrggbb nor red, green and blue from 0 to 255"
    if color is not None and not labels.values:
        value = labels.colors.get(color, 0) or (next(fresh) if color != BLACK else 0)
    elif (number := whole_number(row.value)) is not None and number <= 65535:
        value = number
    else:
        return f"value {row.value!r} is not a number from 0 to 65535"
    # A value without a name and a category means nothing in any mask.
    held = MASKED if not row.name and not row.category else (category,)
    called = f"value {value}" if labels.values else f"colour {shown(color or BLACK)}"
    if category not in MASKED:
        near = nearest(category, MASKED, 1)
        hint = f"; is {near[0]!r} meant?" if near else ""
        return f"category {category!r} is not one of {', '.join(MASKED)}{hint}"
    if (value == 0 or color == BLACK) and row.name:
        what = "black" if color == BLACK else "value 0"
        another = "colour" if color == BLACK else "value"
        return f"{what} always means 'not annotated'; {row.name!r} needs another {another}"
    if any((value, c) in labels.names for c in held):
        return f"{called} occurs twice in category {category}"
    if color is not None and labels.colors.setdefault(color, value) != value:
        return f"colour {shown(color)} stands for another value before"
    for c in held:
        labels.names[value, c] = (row.name, c)
    return ""


def _own_rows(path: Path, problems: list[Problem]) -> tuple[list[_Row], bool, bool]:
    """(rows of labels.csv, whether it has values, whether it has colours)."""
    header = read_table(path, ("name",), []).header
    color = next((name for name in ("color", "colour") if name in header), "")
    values = "value" in header or not color
    needed = ("value", "name") if values else (color, "name")
    rest = {"value": "", "category": ""}
    rows = [
        _Row(line, row["value"], row.get(color, ""), row["name"], row["category"])
        for line, row in read_table(path, needed, problems, rest).rows
    ]
    return rows, values, bool(color)


def _map_rows(path: Path, problems: list[Problem]) -> list[_Row]:
    """CVAT's labelmap.txt: ``label:red,green,blue:parts:actions``, # begins a comment."""
    rows = []
    for line, text in enumerate(text_of(path).splitlines(), 1):
        name, *cells = (cell.strip() for cell in text.partition("#")[0].split(":"))
        if name and cells:
            rows.append(_Row(line, "", cells[0], "" if name in NO_CLASS else name, ""))
        elif name:
            problems.append(bad_row(path, line, f"{text!r} is not label:red,green,blue:…"))
    return rows


def _class_rows(paths: list[Path], problems: list[Problem]) -> list[_Row]:
    """Roboflow's _classes.csv: "Pixel Value, Class", the same for all splits."""
    tables = [read_table(path, ("pixel value", "class"), problems).rows for path in paths]
    for path, rows in zip(paths, tables, strict=True):
        if [row.cells for row in rows] != [row.cells for row in tables[0]]:
            raise BadFile(path, f"is not the same as {paths[0]}: what do the values mean?")
    listed = []
    for line, cells in tables[0]:
        category, name = categorised(cells["class"])
        named = ("", "") if name in NO_CLASS else (name, category)
        listed.append(_Row(line, cells["pixel value"], "", *named))
    return listed


def _channels(
    labels: Labels, concepts: list[Concept], masks: dict[str, dict[str, str]]
) -> tuple[list[Channel], dict[str, list[tuple[int, np.ndarray]]], dict[str, np.ndarray]]:
    """The channels; layer → its (plane, label table)s; layer → all the values it may hold.

    A category with its own masks is read only from those; all other categories share the main mask,
    which is split into one channel per category.
    """
    concept_id = {(c.name, c.category): c.id for c in concepts}
    layers = sorted({layer for files in masks.values() for layer in files}, key=natural)
    own = {_category(layer) for layer in layers if layer != MAIN}

    def values_of(category: str) -> dict[int, int]:
        return {
            value: concept_id.get(key, 0)
            for (value, which), key in labels.names.items()
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
                what = labels.shown(shared[0])
                raise BadFile(
                    labels.path,
                    f"{what} stands in two categories of one mask; give it another "
                    f"{what.partition(' ')[0]}, or the {category} masks files of their own "
                    f"(<photo>.{category}.png)",
                )
            every |= values
            if any(values.values()):
                table = np.zeros(2**16, np.uint16)
                table[list(values)] = list(values.values())
                planes[layer].append((len(channels), table))
                channels.append(Channel(layer or category, category))
        tables[layer] = label_table(every)
    return channels, planes, tables


def scenes_of(
    path: Path,
    photos: dict[str, str],
    by_folder: Sequence[tuple[str, str]],
    problems: list[Problem],
) -> tuple[np.ndarray, list[str], list[str]]:
    """(scene of each image, scene names, split of each image), by the table `path` where it is
    there, else as `by_folder` says: (scene, split) of each of `photos` (image id → file)."""
    pairs = list(by_folder)
    if path.is_file():
        listed = listed_scenes(path, photos, problems)
        pairs = [
            (listed[image][0], listed[image][1] or split) if image in listed else ("", split)
            for image, (_, split) in zip(photos, by_folder, strict=True)
        ]
        absent = [image for image in photos if image not in listed]
        if absent:
            more = ", …" if len(absent) > 3 else ""
            result = f"{len(absent)} of {len(photos)} photos are not listed, so have no scene: "
            problems.append(Problem("", str(path), result + ", ".join(absent[:3]) + more))
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
