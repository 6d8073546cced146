"""Shared code of the readers of files: tables, listings, label values, the digest."""

from __future__ import annotations

import codecs
import csv
import hashlib
import io
import json
import os
import re
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from core.datasets.base import Problem, SceneDataset
from core.datasets.decode import read_photo
from core.foundation.errors import BadFile, UnitscopeError, nearest
from core.foundation.files import expanded
from core.foundation.names import readable

PHOTO_TYPES = (
    ".jpg",
    ".jpeg",
    ".jfif",
    ".png",
    ".webp",
    ".bmp",
    ".tif",
    ".tiff",
    ".gif",
    ".avif",
    ".mpo",
)
"""Suffixes of photos, in lower case; the format itself is recognised by the bytes."""

LISTED = 5
"""Nearest names are looked up for this many files; the rest are only counted."""


@dataclass(kw_only=True)
class FileDataset(SceneDataset):
    """A dataset whose photo `i` is the file ``photo_files[i]``.

    Picklable: it holds names and tables only.
    """

    photo_files: list[str]
    _digest: str | None = field(default=None, init=False, repr=False, compare=False)

    def photo(self, index: int) -> Image.Image:
        return read_photo(self.photo_files[index])

    @abstractmethod
    def mask_files(self, index: int) -> list[str]:
        """The files that the label maps of photo `index` are read from, in channel order."""

    @abstractmethod
    def _meaning(self) -> Any:
        """Everything besides the files' bytes that decides what the labels mean, as JSON data."""

    def content_digest(self) -> str:
        """See :meth:`SceneDataset.content_digest`; files that no longer exist count as
        "missing"."""
        if self._digest is None:
            tables = {
                "reader": type(self).__name__,
                "ids": self.ids,
                "scene": self.scene.tolist(),
                "split": self.split,
                "scenes": self.scenes,
                "concepts": self.concepts,
                "channels": self.channels,
                "meaning": self._meaning(),
            }
            if self.labels_by:
                tables["labels_by"] = self.labels_by
            total = hashlib.blake2b(json.dumps(tables).encode(), digest_size=20)
            files = [[photo, *self.mask_files(k)] for k, photo in enumerate(self.photo_files)]
            for digest in _file_digests([name for group in files for name in group]):
                total.update(digest)
            # Without the group sizes, a mask moved to the next photo would go unseen.
            total.update(json.dumps([len(group) for group in files]).encode())
            self._digest = total.hexdigest()
        return self._digest


def _file_digests(paths: Sequence[str], batch: int = 64) -> Iterable[bytes]:
    def some(start: int) -> list[bytes]:
        return [file_digest(path) for path in paths[start : start + batch]]

    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:
        for digests in pool.map(some, range(0, len(paths), batch)):
            yield from digests


def file_digest(path: str) -> bytes:
    """Digest of a file's bytes, read in chunks; ``b"missing"`` where it cannot be read."""
    digest = hashlib.blake2b(digest_size=32)
    try:
        with io.FileIO(path) as file:
            while block := file.read(1 << 20):
                digest.update(block)
    except OSError:
        return b"missing"
    return digest.digest()


class Row(NamedTuple):
    """One row of a CSV file: its line number and its cells by column, stripped."""

    line: int
    cells: dict[str, str]


class Table(NamedTuple):
    """The columns of a CSV file, in lower case, and its usable rows."""

    header: list[str]
    rows: list[Row]


def csv_rows(
    path: Path, lines: Iterable[str], delimiter: str = ","
) -> Iterator[tuple[int, list[str]]]:
    """(number of the line, cells) of each row. Raises BadFile where it is not CSV."""
    rows = csv.reader(lines, delimiter=delimiter)
    try:
        for cells in rows:
            yield rows.line_num, cells
    except csv.Error as err:
        raise BadFile(path, f"line {rows.line_num} is no row of a table ({err})") from err


def read_table(
    path: Path,
    required: Sequence[str],
    problems: list[Problem],
    defaults: dict[str, str] | None = None,
    whole_rows: bool = False,
) -> Table:
    """A CSV file with a header (:func:`text_of`, column names in any case).

    Further columns are kept. Blank rows are skipped; rows too short for a required column,
    or longer than the header, are left out and listed in `problems` with their line.

    Parameters
    ----------
    required : columns that must exist.
    problems : collects the bad rows.
    defaults : optional columns, and their default values.
    whole_rows : a row must have a cell for each column, not only for the required ones.

    Raises
    ------
    BadFile
        where the file is missing, empty, not text or not CSV, or lacks a column.
    """
    if not path.is_file():
        raise BadFile(path, "does not exist" + nearest_files(path))
    rows: list[Row] = []
    reader = csv.reader(io.StringIO(text_of(path), newline=""))
    try:
        header = [readable(name.strip()).lower() for name in next(reader, [])]
        if not any(header):
            raise BadFile(path, f"is empty; its first line should be {','.join(required)}")
        for name in required:
            if name not in header:
                raise BadFile(path, _no_column(name, header))
        for name in header:
            if name and header.count(name) > 1:
                raise BadFile(path, f"has the column {name!r} twice")
        least = 1 + max(header.index(name) for name in required)
        if whole_rows:
            least = len(header)
        for cells in reader:
            cells = [readable(cell.strip()) for cell in cells]
            if not any(cells):
                continue
            if len(cells) < least or any(cells[len(header) :]):
                problems.append(
                    bad_row(path, reader.line_num, f"{len(cells)} cells, not {len(header)}")
                )
                continue
            row = dict(defaults or {})
            row.update(zip(header, cells, strict=False))
            rows.append(Row(reader.line_num, row))
    except csv.Error as wrong:
        raise BadFile(path, f"line {reader.line_num}: {wrong}") from wrong
    return Table(header, rows)


def bad_row(path: Path, line: int, reason: str, image: str = "") -> Problem:
    """The problem of one table row, with its line number."""
    return Problem(image, str(path), f"line {line}: {reason}")


def _no_column(name: str, header: list[str]) -> str:
    if len(header) == 1 and (";" in header[0] or "\t" in header[0]):
        return f"has no column {name!r}: its columns must be separated by commas"
    near = nearest(name, header, 1)
    hint = f"; perhaps {near[0]!r} should be called so" if near else ""
    return f"has no column {name!r} (it has {', '.join(header)}){hint}"


def nearest_files(path: Path) -> str:
    """The names beside a path that are most like it, as the end of a message; "" for none."""
    try:
        near = nearest(path.name, [p.name for p in path.parent.iterdir()], 3)
    except OSError:
        return ""
    return f"; nearest: {', '.join(near)}" if near else ""


def folder(text: str, kind: str) -> Path:
    """The folder that a SPEC names. Raises with the nearest ones where it does not exist."""
    if not text:
        raise UnitscopeError(f"the dataset {kind!r} needs a folder: {kind}:DIR")
    path = expanded(text)
    if not path.is_dir():
        what = "is a file, not a folder" if path.is_file() else "no such folder"
        raise UnitscopeError(f"{kind}:{text}: {what}{nearest_files(path)}")
    return path


def need_folder(path: Path) -> None:
    """Raise :class:`BadFile` where a dataset's sub-folder is missing."""
    if not path.is_dir():
        raise BadFile(path, "no such folder" + nearest_files(path))


class Listing:
    """Which files exist under a folder; each sub-folder is listed once, no file is opened.

    Names are compared as :func:`core.foundation.names.readable` writes them.
    """

    def __init__(self, root: Path):
        self.root = root
        self._names: dict[str, dict[str, str]] = {}

    def __contains__(self, relative: str) -> bool:
        return bool(self.real(relative))

    def real(self, relative: str) -> str:
        """The path in the spelling on disk; "" where there is no such file."""
        parent, slash, name = relative.rpartition("/")
        if parent not in self._names:
            there = self.real(parent) if parent else ""
            names: dict[str, str] = {}
            if there or not parent:
                with suppress(OSError), os.scandir(self.root / there) as entries:
                    for entry in entries:
                        names.setdefault(readable(entry.name), f"{there}{slash}{entry.name}")
            self._names[parent] = names
        return self._names[parent].get(readable(name), "")


def label_table(concept_of: dict[int, int]) -> np.ndarray:
    """int32 (65536,): label value → concept id, −1 where unknown. 0 stays 0."""
    table = np.full(2**16, -1, np.int32)
    table[0] = 0
    for value, concept in concept_of.items():
        table[value] = concept
    return table


def to_concepts(labels: np.ndarray, table: np.ndarray, path: str, known: str) -> np.ndarray:
    """Label values → concept ids, uint16 (height, width).

    Raises :class:`BadFile` with the file and up to five values that are not in `table`; `known`
    says where values are declared.
    """
    concepts = table[labels]
    if concepts.size and concepts.min() < 0:
        values = np.unique(labels[concepts < 0])
        more = f" and {len(values) - 5} more" if len(values) > 5 else ""
        result = ", ".join(str(v) for v in values[:5])
        raise BadFile(path, f"unknown label values {result}{more}: not in {known}")
    value: np.ndarray = concepts.astype(np.uint16)
    return value


def need_images(spec: str, count: int, rows: int, problems: Sequence[Problem]) -> None:
    """Raise where every row was left out, with the first reason."""
    if count == 0:
        first = f"; first: {problems[0].path}: {problems[0].reason}" if problems else ""
        raise UnitscopeError(f"dataset {spec!r}: none of its {rows} images can be used{first}")


def split_suffix(name: str) -> tuple[str, str]:
    """("kitchen/7.part", ".png") of "kitchen/7.part.png"."""
    suffix = PurePosixPath(name).suffix
    return name.removesuffix(suffix), suffix


def natural(name: str) -> list[int | str]:
    """Sort key that puts 2 before 10."""
    return [int(p) if k % 2 else p for k, p in enumerate(re.split(r"([0-9]+)", name))]


def walk(root: Path) -> list[str]:
    """All files under `root`, as paths relative to it with "/", hidden ones left out."""
    found = []
    for parent, folders, names in os.walk(root, followlinks=True):
        folders[:] = sorted(f for f in folders if not f.startswith("."))
        under = Path(parent).relative_to(root).as_posix()
        prefix = "" if under == "." else under + "/"
        found += [prefix + name for name in sorted(names) if not name.startswith(".")]
    return found


def listed_scenes(
    path: Path, photos: dict[str, str], problems: list[Problem]
) -> dict[str, tuple[str, str]]:
    """Image id → (scene, split) of a table (image, scene[, split]).

    `photos` maps ids to files; an image may be named by either. Rows that name no photo, or
    one named before, are left out and listed in `problems`.
    """
    photos = {image: readable(name) for image, name in photos.items()}
    listed: dict[str, tuple[str, str]] = {}
    strange: list[tuple[int, str]] = []
    for line, row in read_table(path, ("image", "scene"), problems, {"split": ""}).rows:
        name = row["image"].removeprefix("images/")
        stem, suffix = split_suffix(name)
        if name not in photos and stem not in photos:  # as Windows writes it
            name = row["image"].replace("\\", "/").removeprefix("images/")
            stem, suffix = split_suffix(name)
        image = stem if suffix.lower() in PHOTO_TYPES and stem in photos else name
        if image not in photos:
            strange.append((line, name))
        elif image in listed:
            problems.append(bad_row(path, line, f"{name} is listed before", image))
        else:
            listed[image] = row["scene"], row["split"]
    for line, name in strange[:LISTED]:
        near = nearest(name, photos.values(), 3)
        hint = f"; nearest: {', '.join(near)}" if near else ""
        problems.append(bad_row(path, line, f"there is no photo {name!r}{hint}", name))
    if len(strange) > LISTED:
        result = f"{len(strange) - LISTED} more rows name no photo"
        problems.append(Problem("", str(path), result))
    return listed


def short_names(full: Iterable[str], cut: str = ",") -> dict[str, str]:
    """Name with synonyms → its first name; where two would become the same, both stay as they are.

    >>> short_names(["building, edifice", "crane", "crane, bird"])
    {'building, edifice': 'building', 'crane': 'crane', 'crane, bird': 'crane, bird'}
    """
    full = list(dict.fromkeys(full))
    short = [name.split(cut)[0].strip() for name in full]
    taken = Counter(short)
    return {
        name: first if first and (taken[first] == 1 or name == first) else name
        for name, first in zip(full, short, strict=True)
    }


def text_of(path: str | Path, otherwise: str = "") -> str:
    """A text file: UTF-8, with or without a byte order mark, or UTF-16 with one.

    No other encoding is guessed. The text is normalised by :func:`core.foundation.names.readable`;
    line ends and tabs are kept.

    Parameters
    ----------
    otherwise : the encoding of a published release whose texts are not all UTF-8.

    Raises BadFile where the file is missing or in another encoding.
    """
    try:
        data = Path(path).read_bytes()
    except OSError as wrong:
        missing = isinstance(wrong, FileNotFoundError)
        result = "does not exist" if missing else f"cannot be read: {wrong.strerror or wrong}"
        raise BadFile(path, result) from wrong
    utf_16 = data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))
    try:
        text = data.decode("utf-16" if utf_16 else "utf-8-sig")
    except UnicodeDecodeError as wrong:
        if not otherwise:
            raise BadFile(
                path,
                f"is not UTF-8 text (byte {wrong.start}), and other encodings are not guessed: "
                "save it as UTF-8 (an editor's “Save as”, or iconv -f GB18030 -t UTF-8, with the "
                "encoding that it has)",
            ) from wrong
        text = data.decode(otherwise)
    return readable(text, lines=True)


def json_of(path: str | Path, otherwise: str = "") -> Any:
    """What a JSON file holds, its texts as :func:`core.foundation.names.readable` writes them.

    Raises BadFile, as :func:`text_of` and where it is not JSON.
    """
    text = text_of(path, otherwise)
    try:
        result = json.loads(text)
    except (ValueError, RecursionError) as wrong:
        raise BadFile(path, f"is not JSON: {wrong}") from wrong
    # What is written out in full has gone through it already.
    return _readable_json(result) if "\\" in text else result


def _readable_json(result: Any) -> Any:
    if isinstance(result, str):
        return readable(result)
    if isinstance(result, list):
        return [_readable_json(item) for item in result]
    if isinstance(result, dict):
        return {readable(key): _readable_json(item) for key, item in result.items()}
    return result


def whole_number(text: str) -> int | None:
    """The non-negative whole number in a cell, also when written as a float; None for anything
    else.

    >>> whole_number("7"), whole_number("1.0"), whole_number("1.5"), whole_number("-1")
    (7, 1, None, None)
    """
    return int(text.partition(".")[0]) if re.fullmatch(r"[0-9]{1,18}(\.0*)?", text) else None


def in_threads(read: Callable[[str], Any], paths: Sequence[str], batch: int = 64) -> Iterable[Any]:
    """``read(path)`` of each path, in order; a BadFile is returned, not raised."""

    def one(path: str) -> Any:
        try:
            return read(path)
        except BadFile as wrong:
            return wrong

    def some(start: int) -> list[Any]:
        return [one(path) for path in paths[start : start + batch]]

    with ThreadPoolExecutor(min(8, (os.cpu_count() or 1) + 2)) as pool:
        for found in pool.map(some, range(0, len(paths), batch)):
            yield from found
