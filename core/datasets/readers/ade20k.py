"""`ade20k:DIR`: the full ADE20K, the release of 2016 and that of 2021.

DIR is the release's folder (or the one that holds it). Photos are ``images/**/NAME.jpg``; beside
each lie

``NAME_seg.png``       objects: number of the label = R // 10 · 256 + G; B tells instances apart
``NAME_parts_K.png``   parts, packed alike: level 1 the parts of objects, 2 their parts, …
``NAME.json``          (2021) every region: its label ``name``, its number ``name_ndx``, its level
``NAME_atr.txt``       (2016) every region: instance # level # occluded # label # raw name # "…"

The texts of 2016 do not give the numbers: those are places in ``objectnames`` of
``index_ade20k.mat``, which comes with the release.

Sources: the release notes and reading scripts of ADE20K (Zhou et al., CVPR 2017, IJCV 2019).
"""

from __future__ import annotations

import os
import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.datasets.base import Annotations, Channel, Concept, Problem
from core.datasets.decode import check_mask_size, check_same_size, read_rgb
from core.datasets.files import (
    FileDataset,
    folder,
    in_threads,
    json_of,
    label_table,
    natural,
    need_folder,
    need_images,
    short_names,
    text_of,
    to_concepts,
)
from core.datasets.matlab import mat_of
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.names import whole

INDEX = "index_ade20k.mat"
SPLITS = {"training": "train", "validation": "val"}
"""Folder of the release → split, as Broden and its indexes call it."""

OLD = "latin-1"
"""Encoding of those texts of the releases that are not UTF-8, as the release's scripts read it."""

UNNAMED = ("misc", "outliers", "unclassified", "")
"""Folders that are no scene."""


class Region(NamedTuple):
    """One annotated region of a photo; `number` is 0 where the text does not tell it."""

    level: int
    name: str
    number: int


class _Found(NamedTuple):
    """One photo of the release, before its text is read. `parts` is by level, from 1."""

    stem: str
    folders: tuple[str, ...]
    photo: str
    seg: str
    parts: dict[int, str]
    text: str


@dataclass(kw_only=True)
class ADE20K(FileDataset):
    """Photos with one object mask and parts at several levels.

    ``masks[i]`` holds one file a channel, "" where the photo has none; ``tables[category]``
    turns the numbers in them into concept ids.
    """

    masks: list[tuple[str, ...]]
    tables: dict[str, np.ndarray]

    @classmethod
    def from_spec(cls, rest: str) -> ADE20K:
        """Open the release in folder `rest`.

        Lists the folders and reads the text of every photo (about 22,000 small files; no image
        is touched). Photos without object mask or text are left out, in `problems`.

        Raises
        ------
        UnitscopeError, BadFile
            where the folder, images/ or all photos are missing, or the index is unusable.
        """
        root = release(folder(rest, "ade20k"))
        problems: list[Problem] = []
        found = list(_photos(root / "images", problems))
        total = len(found)
        if not found:
            raise BadFile(root / "images", "holds no photo (*.jpg with *_seg.png beside it)")
        texts = _Texts.read(found, problems)
        kept, numbers = texts.kept, texts.numbers
        need_images(f"ade20k:{rest}", len(kept), total, problems)
        index_scenes: dict[str, str] = {}
        if not numbers:
            # The release of 2021 has an index too, but its texts say all that is needed.
            if not (root / INDEX).is_file():
                raise BadFile(
                    root / INDEX,
                    "does not exist; it comes with the release of 2016, beside images/, and "
                    "tells which label a number in the masks is",
                )
            numbers, index_scenes = _index(root / INDEX, problems)
        concepts, tables = _concepts(texts.labels, numbers)
        levels = max((max(one.parts, default=0) for one in kept), default=0)
        channels = [Channel("object", "object")] + [
            Channel("part" if k == 1 else f"part{k}", "part") for k in range(1, levels + 1)
        ]
        named = [
            index_scenes[one.stem] if one.stem in index_scenes else _scene(one.folders)
            for one in kept
        ]
        scenes = sorted(set(named) - {""})
        place = {scene: k for k, scene in enumerate(scenes)} | {"": -1}
        return cls(
            name="ade20k",
            spec=f"ade20k:{rest}",
            ids=[one.stem for one in kept],
            scene=np.array([place[scene] for scene in named], np.int32),
            split=[_split(one) for one in kept],
            scenes=scenes,
            concepts=concepts,
            channels=channels,
            problems=problems,
            photo_files=[one.photo for one in kept],
            masks=[
                (one.seg, *(one.parts.get(k, "") for k in range(1, levels + 1))) for one in kept
            ],
            tables=tables,
        )

    def annotations(self, index: int) -> Annotations:
        seg = self.masks[index][0]
        maps = np.zeros((0, 0, 0), np.uint16)
        for level, path in enumerate(self.masks[index]):
            if not path:
                continue
            pixels = read_rgb(path)
            labels = pixels[..., 0] // 10 * np.uint16(256) + pixels[..., 1]
            if level == 0:
                check_mask_size(path, labels, self.photo_files[index])
                maps = np.zeros((len(self.channels), *labels.shape), np.uint16)
            else:
                check_same_size(path, labels, seg, maps.shape[1:])
            category = self.channels[level].category
            known = f"the {category} labels of the release"
            maps[level] = to_concepts(labels, self.tables[category], path, known)
        return Annotations(maps)

    def mask_files(self, index: int) -> list[str]:
        return [path for path in self.masks[index] if path]

    def _meaning(self) -> Any:
        filled = [[k for k, path in enumerate(row) if path] for row in self.masks]
        tables = {}
        for category, table in self.tables.items():
            known = np.flatnonzero(table >= 0)
            tables[category] = [known.tolist(), table[known].tolist()]
        return [tables, filled]


class _Texts(NamedTuple):
    """What the texts of the photos say.

    kept : the photos whose text could be read. numbers : number in a mask → label, empty where
    the texts do not give them. labels : category → labels in use.
    """

    kept: list[_Found]
    numbers: dict[int, str]
    labels: dict[str, set[str]]

    @classmethod
    def read(cls, found: list[_Found], problems: list[Problem]) -> _Texts:
        """The texts of all photos; those that cannot be read are problems."""
        out = cls([], {}, {"object": set(), "part": set()})
        for one, text in zip(found, in_threads(regions, [f.text for f in found]), strict=True):
            if isinstance(text, BadFile):
                problems.append(Problem(one.stem, text.path, text.reason))
                continue
            out.kept.append(one)
            for region in text:
                if region.number:
                    out.numbers[region.number] = region.name
                out.labels["part" if region.level else "object"].add(region.name)
        return out


def _concepts(
    labels: dict[str, set[str]], numbers: dict[int, str]
) -> tuple[list[Concept], dict[str, np.ndarray]]:
    """(concepts, category → table from numbers in the masks to concept ids)."""
    used = {category: sorted(names) for category, names in labels.items()}
    short = short_names(sorted({name for names in used.values() for name in names}))
    concepts: list[Concept] = []
    tables: dict[str, np.ndarray] = {}
    for category, names in used.items():
        concept_of: dict[str, int] = {}
        for name in names:
            concepts.append(Concept(len(concepts) + 1, short[name], category))
            concept_of[name] = len(concepts)
        tables[category] = label_table(
            {number: concept_of[name] for number, name in numbers.items() if name in concept_of}
        )
    return concepts, tables


def release(root: Path) -> Path:
    """The folder with images/ in it: `root`, or the only one below that has it."""
    if (root / "images").is_dir():
        return root
    below = sorted(p.parent for p in root.glob("*/images") if p.is_dir())
    if len(below) > 1:
        result = ", ".join(p.name for p in below)
        raise UnitscopeError(f"{root} holds several data sets ({result}); name one of them")
    if not below:
        need_folder(root / "images")
    return below[0]


def regions(path: str | Path) -> list[Region]:
    """What ``NAME.json`` or ``NAME_atr.txt`` says of a photo, in the file's order.

    Raises BadFile where the text has another form.
    """
    if str(path).endswith(".json"):
        try:
            return [
                Region(int(o["parts"]["part_level"]), _one_line(o["name"]), int(o["name_ndx"]))
                for o in json_of(path, OLD)["annotation"]["object"]
            ]
        except (KeyError, TypeError, ValueError, AttributeError, OverflowError) as wrong:
            result = "its regions lack name, name_ndx or parts.part_level"
            raise BadFile(path, result) from wrong
    rows = []
    for line, text in enumerate(text_of(path, OLD).splitlines(), 1):
        if not text.strip():
            continue
        cells = [cell.strip() for cell in text.split("#", 5)]
        level = whole(cells[1]) if len(cells) >= 4 else None
        if level is None or not cells[3]:
            raise BadFile(path, f"line {line} is not: instance # level # occluded # label # …")
        rows.append(Region(level, _one_line(cells[3]), 0))
    return rows


def _one_line(name: str) -> str:
    """Blanks as single ones: the texts and the index are not written alike everywhere."""
    return " ".join(name.split())


def _photos(root: Path, problems: list[Problem]) -> Iterable[_Found]:
    """The photos under images/, folder by folder. Folders of instances are not entered."""
    seen: set[str] = set()
    for parent, folders, names in os.walk(root, followlinks=True):
        here = set(names)
        photos = sorted(
            (n[:-4] for n in names if n.lower().endswith(".jpg") and not n.startswith(".")),
            key=natural,
        )
        # A release of 2021 has a folder of instance masks beside each photo, half a million files.
        folders[:] = sorted(f for f in folders if f not in set(photos) and not f.startswith("."))
        parts: defaultdict[str, dict[int, str]] = defaultdict(dict)
        for name in names:
            match = re.fullmatch(r"(.+)_parts_([1-9]\d?)\.png", name)
            if match:
                parts[match[1]][int(match[2])] = f"{parent}/{name}"
        under = Path(parent).relative_to(root).parts
        for stem in photos:
            photo = f"{parent}/{stem}.jpg" if f"{stem}.jpg" in here else f"{parent}/{stem}.JPG"
            text = next((t for t in (f"{stem}.json", f"{stem}_atr.txt") if t in here), "")
            if f"{stem}_seg.png" not in here:
                problems.append(Problem(stem, f"{parent}/{stem}_seg.png", "does not exist"))
            elif not text:
                result = "has neither a .json nor an _atr.txt beside it: its labels have no names"
                problems.append(Problem(stem, photo, result))
            elif stem in seen:
                problems.append(Problem(stem, photo, "a photo of this name is listed before"))
            else:
                seen.add(stem)
                seg = f"{parent}/{stem}_seg.png"
                yield _Found(stem, under, photo, seg, parts[stem], f"{parent}/{text}")


def _split(one: _Found) -> str:
    for name in one.folders:
        if name.lower() in SPLITS:
            return SPLITS[name.lower()]
    match = re.match(r"ADE_(train|val)_", one.stem)
    return match[1] if match else "all"


def _scene(folders: tuple[str, ...]) -> str:
    """The scene by the folders; "" where they name none.

    >>> _scene(("training", "a", "arena", "hockey")), _scene(("training", "misc"))
    ('arena/hockey', '')
    >>> _scene(("validation", "outliers", "d", "dam"))
    'dam'
    >>> _scene(("ADE", "training", "urban", "inn__outdoor"))
    'inn/outdoor'
    """
    names = list(folders)
    of_2021 = names[:1] == ["ADE"]
    while names and (names[0] == "ADE" or names[0].lower() in SPLITS):
        names.pop(0)
    if of_2021:
        names = names[1:]  # the group: urban, home_or_hotel, …
    elif len(names) > 1 and names[0] == "outliers":
        names = names[1:]
    if len(names) > 1 and len(names[0]) == 1:
        names = names[1:]
    scene = "/".join(names).replace("__", "/")
    return "" if scene in UNNAMED else scene


def _index(path: Path, problems: list[Problem]) -> tuple[dict[int, str], dict[str, str]]:
    """(number → label, photo's name → scene) of the release's index.

    Scenes that begin with ``~`` ("~not labeled") are none.
    """
    try:
        index = mat_of(path, "index.objectnames", "index.filename", "index.scene")
        names = [_one_line(str(name)) for name in index["index.objectnames"]]
        files = [str(name) for name in index["index.filename"]]
        scenes = [str(name).strip("/ ") for name in index["index.scene"]]
    except KeyError as wrong:
        raise BadFile(path, "has no index with objectnames, filename and scene") from wrong
    if len(files) != len(scenes):
        result = f"has {len(files)} files but {len(scenes)} scenes: folders tell the scenes instead"
        problems.append(Problem("", str(path), result))
        scenes = []
    return {k: name for k, name in enumerate(names, 1) if name}, {
        Path(name).stem: "" if scene.startswith("~") else scene
        for name, scene in zip(files, scenes, strict=bool(scenes))
    }
