"""What a dataset holds and what is wrong with it: first the tables, then photos and masks."""

from __future__ import annotations

import os
import re
from collections import Counter, deque
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, fields
from typing import NamedTuple

import numpy as np

from core.datasets.base import Problem, SceneDataset
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.geometry import Preprocessing, default_grid
from core.foundation.plain import Json
from core.foundation.progress import Meter, Report, Stop, never

FEW = 5
"""Images with which a scene is called rare."""


class _Seen(NamedTuple):
    """What one image gave: its size, the maps' size, annotated pixels by category, concepts."""

    size: tuple[int, int]
    mask: tuple[int, int] | None
    annotated: dict[str, float]
    concepts: np.ndarray


@dataclass(frozen=True)
class ProblemKind:
    """Problems of one kind. first : a few of them."""

    kind: str
    count: int
    first: list[Problem]


class CategoryReport(NamedTuple):
    """Concepts of one category.

    concepts : in the dataset. found : in the images read. channels : planes of the label maps; 0
    where its concepts hold for whole photos. annotated : mean share of the pixels of the images
    read; None where none could be.
    """

    concepts: int
    found: int
    channels: int
    annotated: float | None


@dataclass(frozen=True)
class DatasetReport:
    """What a check found.

    Attributes
    ----------
    dataset, spec : its name and SPEC. labels_by : the network that predicted the labels; empty
        where people made them.
    images : in the tables. read : of them. usable : of those read. stopped : was it stopped?
    splits : images of each. scenes : name → images of each split.
    rare_scenes : with fewer than :data:`FEW` images. unnamed : images without a scene.
    categories : by name. unused : category → concepts in no image read.
    bare : images read without any annotated pixel.
    photo_sizes, mask_sizes : [width, height, images], most images first.
    notes : of the dataset. problems : by kind, most first.
    """

    dataset: str
    spec: str
    labels_by: str
    images: int
    read: int
    usable: int
    stopped: bool
    splits: dict[str, int]
    scenes: dict[str, dict[str, int]]
    rare_scenes: int
    unnamed: int
    categories: dict[str, CategoryReport]
    unused: dict[str, list[str]]
    bare: int
    photo_sizes: list[list[int]]
    mask_sizes: list[list[int]]
    notes: list[str]
    problems: list[ProblemKind]

    def to_json(self) -> Json:
        """Plain data."""
        return {
            **{item.name: getattr(self, item.name) for item in fields(self)},
            "categories": {name: row._asdict() for name, row in self.categories.items()},
            "problems": problems_json(self.problems),
        }


@dataclass
class Checked:
    """Counts while a dataset is read; :meth:`report` says what they are."""

    dataset: SceneDataset
    read: int = 0
    usable: int = 0
    stopped: bool = False
    sizes: Counter[tuple[int, int]] = field(default_factory=Counter)
    masks: Counter[tuple[int, int]] = field(default_factory=Counter)
    annotated: dict[str, float] = field(default_factory=dict)
    bare: int = 0
    images_of: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64))
    problems: list[Problem] = field(default_factory=list)

    def report(self) -> DatasetReport:
        """All that was found."""
        data = self.dataset
        scenes: dict[str, Counter[str]] = {name: Counter() for name in data.scenes}
        unnamed = 0
        for place, split in zip(np.asarray(data.scene).tolist(), data.split, strict=True):
            if place < 0:
                unnamed += 1
            else:
                scenes[data.scenes[place]][split] += 1
        categories, unused = self._categories()
        return DatasetReport(
            dataset=data.name,
            spec=data.spec,
            labels_by=data.labels_by,
            images=len(data),
            read=self.read,
            usable=self.usable,
            stopped=self.stopped,
            splits=dict(sorted(Counter(data.split).items())),
            scenes={name: dict(sorted(count.items())) for name, count in scenes.items()},
            rare_scenes=sum(0 < sum(count.values()) < FEW for count in scenes.values()),
            unnamed=unnamed,
            categories=categories,
            unused=unused,
            bare=self.bare,
            photo_sizes=_sizes(self.sizes),
            mask_sizes=_sizes(self.masks),
            notes=data.notes,
            problems=grouped(self.problems),
        )

    def _categories(self) -> tuple[dict[str, CategoryReport], dict[str, list[str]]]:
        """(by category, category → concepts in no image read)."""
        data = self.dataset
        kinds = [channel.category for channel in data.channels]
        kinds = list(dict.fromkeys(kinds + [concept.category for concept in data.concepts]))
        seen = self.images_of > 0 if len(self.images_of) else np.zeros(len(data.concepts), bool)
        categories = {}
        unused: dict[str, list[str]] = {}
        for kind in kinds:
            own = [c for c in data.concepts if c.category == kind]
            there = [c for c in own if seen[c.id - 1]]
            categories[kind] = CategoryReport(
                len(own),
                len(there),
                sum(c.category == kind for c in data.channels),
                self.annotated.get(kind, 0.0) / self.usable if self.usable else None,
            )
            if len(there) < len(own):
                unused[kind] = [c.name for c in own if not seen[c.id - 1]]
        return categories, unused


def check(
    dataset: SceneDataset,
    limit: int | None = None,
    progress: Report | None = None,
    stop: Stop = never,
    threads: int | None = None,
) -> Checked:
    """Read photos and masks as a run would, and count.

    Parameters
    ----------
    limit : images to read, spread evenly over the dataset; all where None.
    progress : called with a :class:`Progress` after every image.
    stop : asked after every image; what was read so far is reported.
    threads : for reading; None = the machine's cores.

    Raises
    ------
    UnitscopeError
        where `limit` is not positive, or none of the images read can be used.
    """
    if limit is not None and limit < 1:
        raise UnitscopeError(f"at least one image must be read, not {limit}")
    n = len(dataset)
    chosen = np.arange(n)
    if limit is not None and limit < n:
        chosen = np.unique(np.linspace(0, n - 1, limit).astype(int))
    report = Checked(dataset, images_of=np.zeros(len(dataset.concepts), np.int64))
    report.problems = list(dataset.problems)
    waiting: deque[tuple[int, Future[_Seen]]] = deque()
    meter = Meter(progress)
    meter.start("check", len(chosen))
    left = iter(chosen.tolist())
    workers = max(1, threads or os.cpu_count() or 1)
    with ThreadPoolExecutor(workers, thread_name_prefix="check") as pool:
        try:
            while True:
                while len(waiting) < 4 * workers and (index := next(left, None)) is not None:
                    waiting.append((index, pool.submit(_look, dataset, index)))
                if not waiting:
                    break
                _take(report, *waiting.popleft())
                meter.step()
                if stop():
                    report.stopped = True
                    break
        finally:
            for _, future in waiting:
                future.cancel()
    if not report.usable and not report.stopped:
        first = report.problems[len(dataset.problems)]
        raise UnitscopeError(
            f"none of the {report.read} images read can be used; first: {first.path}: "
            f"{first.reason}"
        )
    return report


def _look(dataset: SceneDataset, index: int) -> _Seen:
    photo = dataset.photo(index)
    found = dataset.annotations(index)
    maps = found.maps
    if maps.any():
        # As a run does, for the commonest size of input.
        seen = Preprocessing()
        grid = default_grid(seen.input_size(*photo.size))
        seen.sample_points(photo.size, (maps.shape[2], maps.shape[1]), grid)
    share: dict[str, float] = {}
    for kind in dict.fromkeys(c.category for c in dataset.channels):
        planes = [k for k, c in enumerate(dataset.channels) if c.category == kind]
        share[kind] = float((maps[planes] > 0).any(0).mean())
    concepts = np.unique(maps)
    concepts = np.union1d(concepts[concepts > 0], np.array(found.whole, int)).astype(int)
    mask = (maps.shape[2], maps.shape[1]) if maps.shape[1:] != (1, 1) else None
    return _Seen(photo.size, mask, share, concepts)


def _take(report: Checked, index: int, future: Future[_Seen]) -> None:
    image = report.dataset.ids[index]
    report.read += 1
    try:
        seen = future.result()
    except BadFile as wrong:
        report.problems.append(Problem(image, wrong.path, wrong.reason))
        return
    except UnitscopeError as wrong:
        report.problems.append(Problem(image, image, str(wrong)))
        return
    report.usable += 1
    report.sizes[seen.size] += 1
    if seen.mask:
        report.masks[seen.mask] += 1
    for kind, share in seen.annotated.items():
        report.annotated[kind] = report.annotated.get(kind, 0.0) + share
    report.bare += not len(seen.concepts)
    report.images_of[seen.concepts - 1] += 1


def _sizes(sizes: Counter[tuple[int, int]]) -> list[list[int]]:
    rows = sorted(sizes.items(), key=lambda row: (-row[1], row[0]))
    return [[width, height, count] for (width, height), count in rows]


def kind_of(reason: str) -> str:
    """A reason without its names and numbers, by which problems are grouped.

    >>> kind_of("line 7: label 'door' is 40×30, not 20×30")
    'line …: label … is …×…, not …×…'
    """
    return re.sub(r"'[^']*'|[0-9](?:[0-9,.]*[0-9])?", "…", reason)


def grouped(problems: list[Problem], show: int = 3) -> list[ProblemKind]:
    """Problems by kind, most first, with the first `show` of each."""
    groups: dict[str, list[Problem]] = {}
    for problem in problems:
        groups.setdefault(kind_of(problem.reason), []).append(problem)
    rows = sorted(groups.items(), key=lambda row: -len(row[1]))
    return [ProblemKind(kind, len(group), group[:show]) for kind, group in rows]


def problems_json(kinds: list[ProblemKind]) -> list[Json]:
    """Problems as plain data: kind, count, first ([image, file, reason])."""
    return [
        {"kind": one.kind, "count": one.count, "first": [list(p) for p in one.first]}
        for one in kinds
    ]
