"""What the network answers when concepts are truly not there: the removals that methods are
judged by.

Photos of `rooms` are drawn again without an object (:mod:`core.rooms.counterfactual`): what was
hidden appears, shadows and reflections go, and the exposure is held. That is the true effect of
the object in this world. Of other photos nobody knows what would be there instead; a filling stands
in for it, and what is measured by it is called that.

Answers are kept photo by photo beside the run, so that whoever asks again waits for nothing.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
from PIL import Image

from core.attribution.case import Case, Opened
from core.attribution.effects import MARGIN, margin_of, widened
from core.attribution.fillings import FILLINGS, REDRAWN, STAND_IN
from core.foundation.errors import UnitscopeError
from core.foundation.plain import Json
from core.foundation.versions import WORLD, versions_of
from core.rooms.counterfactual import SceneEdit, drawn_again, rooms_of, scene_of
from core.rooms.dataset import Rooms
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import derived

LEAST = 20
"""Pixels of the network's input that a concept covers at least, to be judged."""


class Removal(Protocol):
    """A way of taking concepts out of a photo that methods are judged by.

    name : :data:`REDRAWN`, or that of a filling. facts : all that decides it.
    """

    @property
    def name(self) -> str: ...

    @property
    def facts(self) -> Json: ...

    def rows(self, case: Case) -> np.ndarray:
        """int64 rows of a photo's regions that can be taken out, ascending."""

    def photos(self, case: Case, sets: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """The photo without each set of rows: uint8 (height, width, 3) as the network sees it."""


@dataclass(frozen=True, eq=False)
class Redrawing:
    """Objects of `rooms` are left out, and the photo is drawn again."""

    opened: Opened
    dataset: Rooms
    name: str = REDRAWN

    @property
    def facts(self) -> Json:
        """The drawn world's version, and how small an object may be."""
        return {"by": self.name, "world": WORLD, "least": LEAST}

    def _id(self, case: Case) -> str:
        return str(self.opened.recorded.images["id"].iloc[case.row])

    def rows(self, case: Case) -> np.ndarray:
        """Objects that do not enclose the scene and are no terrain."""
        scene = scene_of(self.dataset, self._id(case))
        here = set(scene.names("object"))
        return np.array(
            [
                row
                for row in _large(case, ("object",))
                if case.regions.names[row] in here
                and not scene.kept(f"object:{case.regions.names[row]}")
            ],
            np.int64,
        )

    def photos(self, case: Case, sets: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """Drawn on all cores: the tracer releases the GIL."""
        scene = scene_of(self.dataset, self._id(case))

        def drawn(rows: Sequence[int]) -> np.ndarray:
            gone = tuple(f"object:{case.regions.names[row]}" for row in rows)
            photo = Image.fromarray(drawn_again(scene, SceneEdit(without=gone)).rgb)
            return np.asarray(self.opened.preprocessing.view(photo))

        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            return list(pool.map(drawn, sets))


@dataclass(frozen=True, eq=False)
class Filling:
    """Regions are filled; objects alone where the run has any, else concepts of its first
    category."""

    opened: Opened
    name: str

    @property
    def facts(self) -> Json:
        """The filling and its margin."""
        return {
            "by": self.name,
            "margin": MARGIN,
            "least": LEAST,
            "versions": versions_of("effects"),
        }

    def rows(self, case: Case) -> np.ndarray:
        """Those that leave something of the photo."""
        kinds = case.opened.run.categories
        chosen = ("object",) if "object" in kinds else tuple(kinds[:1])
        return np.array(_large(case, chosen), np.int64)

    def photos(self, case: Case, sets: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """The union of the regions, widened as in :func:`core.attribution.effects.measure`, is
        filled; a photo of which nothing would be left becomes its mean colour."""
        fill = FILLINGS.row(self.name).load()
        found = []
        for rows in sets:
            rng = np.random.default_rng([case.image, zlib.crc32(self.name.encode())])
            region = widened(np.asarray(case.regions.masks[list(rows)].any(0)), margin_of(case))
            if region.all():
                mean = case.photo.mean((0, 1)).round().astype(np.uint8)
                found.append(np.ascontiguousarray(np.broadcast_to(mean, case.photo.shape)))
            else:
                found.append(fill(case.photo, region, rng) if region.any() else case.photo)
        return found


def _large(case: Case, categories: tuple[str, ...]) -> list[int]:
    sizes = case.regions.masks.sum((1, 2))
    return [
        row
        for row, category in enumerate(case.regions.categories)
        if category in categories and sizes[row] >= LEAST
    ]


def removal_of(opened: Opened, by: str | None = None) -> Removal:
    """The way of taking concepts out that methods are judged by on a run.

    by : :data:`REDRAWN` or a filling; drawing again where the photos are the project's own, else
        :data:`STAND_IN`.

    Raises UnitscopeError for an unknown filling, and for drawing again what was not drawn.
    """
    dataset = rooms_of(opened.run)
    if by is None:
        by = REDRAWN if dataset is not None else STAND_IN
    if by != REDRAWN:
        return Filling(opened, FILLINGS.row(by).name)
    if dataset is None:
        raise UnitscopeError(
            f"photos of {opened.run.dataset} cannot be drawn again, only those of rooms; by a "
            f"filling: {', '.join(FILLINGS.names())}"
        )
    return Redrawing(opened, dataset)


def answers_without(case: Case, removal: Removal, sets: Sequence[Sequence[int]]) -> np.ndarray:
    """Logits of the photo without each set of concepts, from beside the run where they were asked
    before: float32 (sets, classes). The empty set is the photo as it is.

    sets : rows of the photo's regions.
    """
    concepts, classes = len(case.regions), len(case.opened.classes)
    wanted = np.zeros((len(sets), concepts), bool)
    for k, rows in enumerate(sets):
        wanted[k, list(rows)] = True
    run = case.opened.run
    path = derived(run, "removed", [removal.facts, case.image, case.regions.ids.tolist()], "npz")
    taken, logits = _read(path, concepts, classes)
    known = {row.tobytes(): k for k, row in enumerate(taken)}
    fresh = [row for row in dict.fromkeys(r.tobytes() for r in wanted) if row not in known]
    if fresh:
        added = np.stack([np.frombuffer(row, bool) for row in fresh])
        photos = removal.photos(case, [np.flatnonzero(row).tolist() for row in added])
        taken = np.concatenate([taken, added])
        logits = np.concatenate([logits, case.opened.logits(np.stack(photos))])
        write_arrays(path, taken=taken, logits=logits)
        known = {row.tobytes(): k for k, row in enumerate(taken)}
    found: np.ndarray = logits[[known[row.tobytes()] for row in wanted]]
    return found


def _read(path: Path, concepts: int, classes: int) -> tuple[np.ndarray, np.ndarray]:
    """What is kept of a photo, checked: it may be damaged, or a stranger's."""
    held = read_arrays(path) or {}
    taken, logits = held.get("taken"), held.get("logits")
    if (
        taken is None
        or logits is None
        or taken.dtype != np.bool_
        or logits.dtype != np.float32
        or taken.shape != (len(logits), concepts)
        or logits.shape[1:] != (classes,)
        or not np.isfinite(logits).all()
    ):
        return np.zeros((0, concepts), bool), np.zeros((0, classes), np.float32)
    return taken, logits
