"""`broden:DIR[:INDEX]`: Broden's published layout, and the indexes others made for it.

DIR/index.csv lists the images: ``image,split,ih,iw,sh,sw`` and a column a category. A cell
holds files and numbers in any mix, separated by ``;``: a file is a mask (label = R + 256·G),
a number is a label of the whole image. All files lie under DIR/images. DIR/label.csv
(``number,name,category,…``) names the numbers, the same for all categories; DIR/c_*.csv, where
there are any, add to which labels belong to a category. Number 0 is Broden's "-": not
annotated.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from core.datasets.base import CATEGORIES, Annotations, Channel, Concept, Problem
from core.datasets.decode import check_mask_size, check_same_size, read_rg
from core.datasets.files import (
    FileDataset,
    Listing,
    bad_row,
    folder,
    label_table,
    need_folder,
    need_images,
    read_table,
    to_concepts,
    whole_number,
)
from core.foundation.errors import BadFile, nearest
from core.foundation.files import expanded

FIXED_COLUMNS = ("image", "split", "ih", "iw", "sh", "sw")


class Cell(NamedTuple):
    """What an index row says of one category: mask files and whole-image labels."""

    files: tuple[str, ...] = ()
    numbers: tuple[int, ...] = ()


class IndexRow(NamedTuple):
    """One image of an index. `mask_size` is (sw, sh), None where the cells are empty."""

    line: int
    image: str
    split: str
    mask_size: tuple[int, int] | None
    cells: dict[str, Cell]


@dataclass(kw_only=True)
class Broden(FileDataset):
    """Photos with masks in up to six categories, parts at several levels.

    ``masks[i]`` holds one file a channel, "" where the image has none; ``whole[i]`` the
    concepts of the whole image; ``tables[category]`` turns label numbers into concept ids.
    """

    masks: list[tuple[str, ...]]
    whole: list[tuple[int, ...]]
    mask_sizes: list[tuple[int, int] | None]
    tables: dict[str, np.ndarray]

    @classmethod
    def from_spec(cls, rest: str) -> Broden:
        """Open ``DIR`` or ``DIR:INDEX``; INDEX is relative to DIR, or absolute.

        Reads the tables and lists the folders under images/; no image is touched. Images
        whose photo or masks are missing, lie outside DIR/images or carry unknown labels, bad
        rows and repeated images are left out, in `problems`.

        Raises
        ------
        UnitscopeError, BadFile
            where the folder, a table or all images are missing.
        """
        root, index = split_spec(rest)
        need_folder(root / "images")
        problems: list[Problem] = []
        names, labels_of = read_label_table(root / "label.csv", problems)
        categories, rows = read_index(index, problems)
        listing = Listing(root / "images")
        kept: list[IndexRow] = []
        for row in rows:
            missing = _missing_file(row, listing)
            if missing:
                problems.append(
                    Problem(row.image, str(root / "images" / missing), "does not exist")
                )
            else:
                kept.append(row)

        used = [
            c for c in categories if c != "scene" and any(row.cells[c] != Cell() for row in kept)
        ]
        for category in used:
            labels_of[category] |= _category_codes(root / f"c_{category}.csv", names, problems)
        concepts, concept_of = _concepts(names, labels_of, used)
        kept = _with_known_labels(kept, concept_of, index, problems)
        need_images(f"broden:{rest}", len(kept), len(rows), problems)

        scene, scenes = _scenes(kept, names, index, problems)
        levels = {c: max(len(row.cells[c].files) for row in kept) for c in used}
        channels = [
            Channel(c if level == 1 else f"{c}{level}", c)
            for c in used
            for level in range(1, levels[c] + 1)
        ]
        # Text, not Path: an index names a hundred thousand files.
        under = f"{root / 'images'}/"
        return cls(
            name="broden" if index.name == "index.csv" else index.stem.removeprefix("index_"),
            spec=f"broden:{rest}",
            ids=[row.image for row in kept],
            scene=scene,
            split=[row.split for row in kept],
            scenes=scenes,
            concepts=concepts,
            channels=channels,
            problems=problems,
            photo_files=[under + listing.real(row.image) for row in kept],
            masks=[
                tuple(
                    under + listing.real(files[k]) if k < len(files) else ""
                    for files, most in ((row.cells[c].files, levels[c]) for c in used)
                    for k in range(most)
                )
                for row in kept
            ],
            whole=[
                tuple(dict.fromkeys(concept_of[c][n] for c in used for n in row.cells[c].numbers))
                for row in kept
            ],
            mask_sizes=[row.mask_size for row in kept],
            tables={c: label_table(concept_of[c]) for c in used},
        )

    def annotations(self, index: int) -> Annotations:
        said = self.mask_sizes[index]
        maps: np.ndarray | None = None
        first = ""
        for plane, (channel, path) in enumerate(zip(self.channels, self.masks[index], strict=True)):
            if not path:
                continue
            labels = read_rg(path)
            height, width = labels.shape
            if said and (width, height) != said:
                raise BadFile(path, f"is {width}×{height}, but the index says {said[0]}×{said[1]}")
            if maps is None:
                first = path
                check_mask_size(path, labels, self.photo_files[index])
                maps = np.zeros((len(self.channels), height, width), np.uint16)
            else:
                check_same_size(path, labels, first, maps.shape[1:])
            category = channel.category
            maps[plane] = to_concepts(
                labels, self.tables[category], path, f"the {category} labels of label.csv"
            )
        if maps is None:
            maps = np.zeros((len(self.channels), 1, 1), np.uint16)
        return Annotations(maps, self.whole[index])

    def mask_files(self, index: int) -> list[str]:
        return [path for path in self.masks[index] if path]

    def _meaning(self) -> Any:
        tables = {}
        for category, table in self.tables.items():
            known = np.flatnonzero(table >= 0)
            tables[category] = [known.tolist(), table[known].tolist()]
        filled = [[k for k, path in enumerate(row) if path] for row in self.masks]
        return [tables, self.whole, filled, self.mask_sizes]


def split_spec(rest: str) -> tuple[Path, Path]:
    """(folder, index file) of ``DIR[:INDEX]``.

    The longest part before a colon that is a folder is DIR, so that folders with a colon in
    their name, and Windows drives, need no quoting.
    """
    if rest and not expanded(rest).is_dir():
        for k in reversed([k for k, letter in enumerate(rest) if letter == ":"]):
            root = expanded(rest[:k])
            if k and rest[k + 1 :] and root.is_dir():
                index = root / expanded(rest[k + 1 :])
                if not index.is_file():
                    tables = [p.name for p in sorted(root.glob("*.csv"))]
                    near = nearest(index.name, tables) or tables
                    result = f"; CSV files there: {', '.join(near)}" if near else ""
                    raise BadFile(index, f"no such index{result}")
                return root, index
    root = folder(rest, "broden")
    return root, root / "index.csv"


def read_index(path: Path, problems: list[Problem]) -> tuple[list[str], list[IndexRow]]:
    """(categories in the header's order, rows) of an index file.

    Rows that cannot be used (no image, sizes that are not numbers, files outside images/,
    images listed before) are left out and listed in `problems`, and so are columns that are not
    a category.

    Raises
    ------
    BadFile
        where the file is missing, lacks a fixed column, or has no category.
    """
    # A row that ends early is a table that was not written, or copied, to its end.
    header, table = read_table(path, FIXED_COLUMNS, problems, whole_rows=True)
    categories = [c for c in header if c in CATEGORIES]
    for name in header:
        if name and name not in CATEGORIES and name not in FIXED_COLUMNS:
            near = nearest(name, CATEGORIES, 1)
            hint = f"; is {near[0]!r} meant?" if near else ""
            problems.append(Problem("", str(path), f"column {name!r} is not a category{hint}"))
    if not categories:
        raise BadFile(path, f"has no column of a category ({', '.join(CATEGORIES)})")
    rows: dict[str, IndexRow] = {}
    for line, cells in table:
        image = cells["image"]
        try:
            row = _index_row(line, cells, categories)
        except ValueError as wrong:
            problems.append(bad_row(path, line, str(wrong), image))
            continue
        if image in rows:
            result = f"{image} is listed before, in line {rows[image].line}"
            problems.append(bad_row(path, line, result, image))
        else:
            rows[image] = row
    return categories, list(rows.values())


def _index_row(line: int, cells: dict[str, str], categories: list[str]) -> IndexRow:
    """Raises ValueError with the reason where the row cannot be used."""
    image = cells["image"]
    if not image:
        raise ValueError("no image")
    if not cells["split"]:
        raise ValueError("no split")
    _need_inside(image)
    size: tuple[int, int] | None = None
    if cells["sh"] or cells["sw"]:
        width, height = whole_number(cells["sw"]), whole_number(cells["sh"])
        if width is None or height is None:
            raise ValueError(f"sh and sw are {cells['sh']!r} and {cells['sw']!r}, not numbers")
        size = width, height
    parsed = {category: _cell(cells[category]) for category in categories}
    return IndexRow(line, image, cells["split"], size, parsed)


def _cell(text: str) -> Cell:
    if not text:
        return Cell()
    files, numbers = [], []
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        number = whole_number(piece)
        if number is not None:
            if number > 65535:
                raise ValueError(f"label number {piece} is above 65535")
            if number:
                numbers.append(number)
        else:
            _need_inside(piece)
            files.append(piece)
    return Cell(tuple(files), tuple(numbers))


def _need_inside(name: str) -> None:
    parts = re.split(r"[/\\]", name)
    if ".." in parts or not parts[0] or re.match(r"[A-Za-z]:", name):
        raise ValueError(f"{name!r} lies outside images/")


def _missing_file(row: IndexRow, listing: Listing) -> str | None:
    if row.image not in listing:
        return row.image
    for category, cell in row.cells.items():
        if category == "scene":  # the scene is a number here; masks of it are not read
            continue
        for name in cell.files:
            if name not in listing:
                return name
    return None


def read_label_table(
    path: Path, problems: list[Problem]
) -> tuple[dict[int, str], defaultdict[str, set[int]]]:
    """(number → name, category → numbers) of label.csv, e.g. ``object(1234);part(3)``.

    Bad rows and repeated numbers are left out and listed in `problems`.
    """
    names: dict[int, str] = {}
    labels_of: defaultdict[str, set[int]] = defaultdict(set)
    before = len(problems)
    for line, row in read_table(path, ("number", "name", "category"), problems).rows:
        number, name = whole_number(row["number"]) or 0, row["name"]
        if not 0 < number <= 65535:
            problems.append(bad_row(path, line, f"number {row['number']!r} is not 1 to 65535"))
        elif not name:
            problems.append(bad_row(path, line, f"label {number} has no name"))
        elif number in names:
            problems.append(bad_row(path, line, f"label {number} occurs twice"))
        else:
            names[number] = name
            for piece in filter(None, row["category"].split(";")):
                labels_of[piece.partition("(")[0].strip()].add(number)
    if not names:
        first = f"; first: {problems[before].reason}" if len(problems) > before else ""
        raise BadFile(path, f"lists no label{first}")
    return names, labels_of


def _category_codes(path: Path, names: dict[int, str], problems: list[Problem]) -> set[int]:
    numbers = set()
    if path.is_file():
        for line, row in read_table(path, ("number",), problems).rows:
            number = whole_number(row["number"])
            if number in names:
                numbers.add(number)
            else:
                problems.append(
                    bad_row(path, line, f"number {row['number']!r} is not in label.csv")
                )
    return numbers


def _concepts(
    names: dict[int, str], labels_of: dict[str, set[int]], used: list[str]
) -> tuple[list[Concept], dict[str, dict[int, int]]]:
    """The concepts in the order of their numbers, and category → number → concept id."""
    concepts: list[Concept] = []
    concept_of: dict[str, dict[int, int]] = {c: {} for c in used}
    known: dict[tuple[str, str], int] = {}
    for number in sorted(names):
        for category in used:
            if number in labels_of[category]:
                key = names[number], category
                if key not in known:
                    concepts.append(Concept(len(concepts) + 1, *key))
                    known[key] = len(concepts)
                concept_of[category][number] = known[key]
    return concepts, concept_of


def _with_known_labels(
    rows: list[IndexRow],
    concept_of: dict[str, dict[int, int]],
    index: Path,
    problems: list[Problem],
) -> list[IndexRow]:
    kept = []
    for row in rows:
        for category, known in concept_of.items():
            wrong = [n for n in row.cells[category].numbers if n not in known]
            if wrong:
                result = f"label {wrong[0]} is not of category {category} in label.csv"
                problems.append(bad_row(index, row.line, result, row.image))
                break
        else:
            kept.append(row)
    return kept


def _scenes(
    rows: list[IndexRow], names: dict[int, str], index: Path, problems: list[Problem]
) -> tuple[np.ndarray, list[str]]:
    """(position of each row's scene, −1 for none; scene names in the order of their numbers).

    The scene is the first number of the cell. A scene that label.csv does not know costs the
    scene, not the photo, and is reported once per number.
    """
    numbers = [(row.cells.get("scene", Cell()).numbers or (0,))[0] for row in rows]
    used = sorted({n for n in numbers if n in names})
    unknown: defaultdict[int, list[IndexRow]] = defaultdict(list)
    for row, number in zip(rows, numbers, strict=True):
        if number and number not in names:
            unknown[number].append(row)
    for number, without in sorted(unknown.items()):
        problems.append(
            bad_row(
                index,
                without[0].line,
                f"scene {number} is not in label.csv: {len(without)} images without a scene",
            )
        )
    masked = [row for row in rows if row.cells.get("scene", Cell()).files]
    if masked:
        result = f"scene masks are not read, only numbers ({len(masked)} images)"
        problems.append(bad_row(index, masked[0].line, result))
    scenes = list(dict.fromkeys(short := short_scene_names([names[n] for n in used])))
    place = {number: scenes.index(name) for number, name in zip(used, short, strict=True)}
    return np.array([place.get(n, -1) for n in numbers], np.int32), scenes


def short_scene_names(names: Iterable[str]) -> list[str]:
    """Scene names without Broden's suffix ``-s``, kept where the short name is taken.

    >>> short_scene_names(["street-s", "bedroom-s", "street", "arena-hockey"])
    ['street-s', 'bedroom', 'street', 'arena-hockey']
    """
    names = list(names)
    taken = set(names)
    return [
        name[:-2] if name.endswith("-s") and len(name) > 2 and name[:-2] not in taken else name
        for name in names
    ]
