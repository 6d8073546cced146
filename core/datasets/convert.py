"""Shared code that converts another program's files to a ``folder:`` dataset."""

from __future__ import annotations

import csv
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image

from core.datasets.base import Problem
from core.datasets.files import FileDataset
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.progress import Meter, Report, Stop, Stopped, never


@dataclass
class Converted:
    """The result: photos, labels of each category, scenes, what was left out, and the dataset's
    notes."""

    out: Path
    photos: int = 0
    labels: dict[str, int] = field(default_factory=dict)
    scenes: int = 0
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


class Part(NamedTuple):
    """One photo to be written.

    image : its id. copy : writes the photo, given its path without the suffix. masks : layer of
    the folder's format ("object" is the main mask) → label values (height, width).
    """

    image: str
    scene: str
    split: str
    copy: Callable[[str], None]
    masks: Callable[[], dict[str, np.ndarray]]


def check_target(source: Path, out: Path) -> None:
    """Raise where `source` is no folder, or `out` is not empty or lies in it."""
    if not source.is_dir():
        raise UnitscopeError(f"{source}: no such folder")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise UnitscopeError(f"{out} is there already and not empty; name another folder")
    if out.resolve() == source.resolve() or source.resolve() in out.resolve().parents:
        raise UnitscopeError(f"{out} lies in {source}; name a folder outside of it")


def write_folder(
    made: Converted,
    parts: Sequence[Part],
    values: dict[str, dict[str, int]],
    progress: Report | None,
    stop: Stop,
) -> Converted:
    """Write the photos and masks of `parts`, labels.csv and scenes.csv to `made.out`.

    Photos that raise :class:`BadFile` are left out, in `made.problems`.

    Parameters
    ----------
    values : category → label → its value in the masks.

    Raises
    ------
    UnitscopeError
        where no photo can be used; :class:`Stopped` where `stop` says so. What was written so
        far is removed.
    """
    out, new = made.out, not made.out.exists()
    try:
        _write(made, parts, values, progress, stop)
    except BaseException:
        for name in ("images", "masks"):
            shutil.rmtree(out / name, ignore_errors=True)
        for table in ("labels.csv", "scenes.csv"):
            (out / table).unlink(missing_ok=True)
        if new and out.is_dir() and not any(out.iterdir()):
            out.rmdir()
        raise
    return made


def _write(
    made: Converted,
    parts: Sequence[Part],
    values: dict[str, dict[str, int]],
    progress: Report | None,
    stop: Stop,
) -> None:
    meter = Meter(progress)
    meter.start("write", len(parts))
    out = made.out
    written = []
    for part in parts:
        if stop():
            raise Stopped("stopped; nothing was kept")
        try:
            masks = part.masks()
            photo, mask = out / "images" / part.image, out / "masks" / part.image
            for path in (photo, mask):
                path.parent.mkdir(parents=True, exist_ok=True)
            part.copy(str(photo))
        except BadFile as wrong:
            made.problems.append(Problem(part.image, wrong.path, wrong.reason))
            continue
        for layer, labels in masks.items():
            suffix = "" if layer == "object" else f".{layer}"
            kind = np.uint8 if labels.max(initial=0) < 256 else np.uint16
            Image.fromarray(labels.astype(kind)).save(f"{mask}{suffix}.png")
        written.append(part)
        meter.step()
    if not written:
        first = made.problems[-1]
        raise UnitscopeError(
            f"none of the {len(parts)} photos can be used; last: {first.path}: {first.reason}"
        )
    with (out / "labels.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["value", "name", "category"])
        for category, known in values.items():
            rows.writerows([value, label, category] for label, value in known.items())
    with (out / "scenes.csv").open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(["image", "scene", "split"])
        rows.writerows([part.image, part.scene, part.split] for part in written)
    made.photos = len(written)
    made.labels = {category: len(known) for category, known in values.items()}
    made.scenes = len({part.scene for part in written} - {""})


def folder_from_dataset(
    data: FileDataset,
    out: Path,
    progress: Report | None = None,
    stop: Stop = never,
) -> Converted:
    """Write any dataset as a ``folder:`` dataset; see :func:`write_folder`.

    Every channel becomes a layer of masks of its own, and concepts are numbered within their
    categories, in the dataset's order.
    """
    values: dict[str, dict[str, int]] = {}
    table = np.zeros(len(data.concepts) + 1, np.uint16)
    for concept in data.concepts:
        known = values.setdefault(concept.category, {})
        table[concept.id] = known[concept.name] = len(known) + 1
    made = Converted(out, problems=list(data.problems), notes=data.notes)
    parts = [_part(data, k, table) for k in range(len(data))]
    return write_folder(made, parts, values, progress, stop)


def _part(data: FileDataset, k: int, table: np.ndarray) -> Part:
    file = Path(data.photo_files[k])

    def copy(target: str) -> None:
        data.photo(k)  # one that cannot be decoded is reported now, with the reason
        shutil.copyfile(file, target + file.suffix.lower())

    def masks() -> dict[str, np.ndarray]:
        maps = data.annotations(k).maps
        return {c.name: table[plane] for c, plane in zip(data.channels, maps, strict=True)}

    scene = data.scenes[data.scene[k]] if data.scene[k] >= 0 else ""
    return Part(data.ids[k], scene, data.split[k], copy, masks)
