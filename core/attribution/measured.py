"""Effects and evidence of every concept in every photo of some splits, kept beside the run.

One row is one annotated concept of one photo. What :func:`measure_splits` works out is kept in
shards of photos: stopped, it resumes with the first that is missing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from core.ablation.images import class_names, images_of
from core.attribution.case import Case, Opened
from core.attribution.effects import MARGIN, measure
from core.attribution.evidence import GRADIENT, concept_evidence, evidence
from core.attribution.regions import NoRegion
from core.foundation.engine import Crew, Do, Item, enter
from core.foundation.errors import UnitscopeError
from core.foundation.plain import Json
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import Run, derived, known_values

SHARD = 16
"""Photos of a shard."""

FILLINGS = ("inpaint",)
"""Over whole splits one filling is measured, unless more are asked for: of all it agrees best with
drawing photos again (docs/truth.md), and a second costs as much again."""

CONTROLS = 4
"""Regions elsewhere for each concept, over whole splits: means over photos need fewer than the
account of one."""


@dataclass(frozen=True)
class Asked:
    """What is measured.

    fillings : how concepts are taken away. controls : regions elsewhere for each concept.
    seed : of their places and of noise. splits : of the run, ascending; all where None.
    layer : whose evidence it is; the run's last where None.
    """

    fillings: tuple[str, ...] = FILLINGS
    controls: int = CONTROLS
    seed: int = 0
    splits: tuple[str, ...] | None = None
    layer: str | None = None

    def facts(self, run: Run) -> Json:
        """All that decides a shard, beside the run and its images."""
        return {
            "fillings": list(self.fillings),
            "controls": self.controls,
            "margin": MARGIN,
            "seed": self.seed,
            "layer": run.layer_names[run.layer(self.layer)],
            "versions": versions_of("effects"),
        }


@dataclass(frozen=True, eq=False)
class Measured:
    """Effects and evidence, row by row.

    Attributes
    ----------
    asked : what was measured.
    images : of the splits, as :func:`core.ablation.images.images_of` gives them, with `against`:
        the class that the answer is held against (:attr:`core.attribution.case.Case.against`).
    rows : photo (row of `images`), concept (id), name (:func:`told_apart`), category, area (share
        of the input).
    before : float32 (images, classes), the logits of the photos as they are.
    after : float32 (rows, fillings, classes), with the concept's region filled.
    control : float32 (rows, classes), mean over fillings and regions elsewhere; NaN where a region
        is so large that it has no elsewhere.
    evidence : float32 (rows, 2): for the answer over what it is held against, and for the true
        scene over the mean of all others (NaN where it is no class).
    left_out : images of the splits without an annotated region.
    """

    asked: Asked
    images: pd.DataFrame
    rows: pd.DataFrame
    before: np.ndarray
    after: np.ndarray
    control: np.ndarray
    evidence: np.ndarray
    left_out: int

    def effect(self, a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        """Δ(c) of every row on the margin of class a over class b, mean over the fillings.

        a, b : int (images,), a class for each image; b None for the mean of all others.
        Returns float64 (rows,).
        """
        return self._lost(self.after.mean(1, dtype=np.float64), a, b)

    def control_effect(self, a: np.ndarray, b: np.ndarray | None = None) -> np.ndarray:
        """The same of the regions elsewhere; NaN where there are none."""
        return self._lost(self.control.astype(np.float64), a, b)

    def _lost(self, logits: np.ndarray, a: np.ndarray, b: np.ndarray | None) -> np.ndarray:
        photo = self.rows["photo"].to_numpy()
        at = np.arange(len(photo))

        def over(values: np.ndarray) -> np.ndarray:
            mine = values[at, a[photo]]
            if b is not None:
                return np.asarray(mine - values[at, b[photo]])
            return np.asarray(mine - (values.sum(1) - mine) / max(1, values.shape[1] - 1))

        return np.asarray(over(self.before[photo].astype(np.float64)) - over(logits))


def measure_splits(
    opened: Opened,
    asked: Asked,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> Measured:
    """Measure every photo of the splits; what was measured before is read.

    Raises Stopped where `stop` says so; UnitscopeError for an unknown split or filling, where the
    splits hold no image, and where none of them has an annotated region.
    """
    run = opened.run
    images = _images(run, asked)
    meter = Meter(progress, beat)
    meter.start("effects", len(images))
    parts = []
    for start, numbers, path in _shards(run, asked, images):
        held = _read(path, len(numbers), len(opened.classes), asked)
        if held is None:
            if stop():
                raise Stopped(f"{meter.done} of {len(images)} photos are measured; {STOPPED}")
            held = _shard(opened, asked, numbers)
            write_arrays(path, **held)
            meter.step(len(numbers))
        else:
            meter.skip(len(numbers))
        parts.append(held | {"photo": held["photo"] + start})
    return _joined(run, asked, images, parts)


def measure_spread(
    run: Run,
    asked: Asked,
    crew: Crew,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> Measured:
    """:func:`measure_splits` by workers: each opens the network, and measures one shard of photos
    after the other. Files are those of one process, where PyTorch has as many threads.

    Raises as that does, and as :class:`core.foundation.engine.Workers`.
    """
    images, classes = _images(run, asked), len(class_names(run))
    waiting = [
        Item(start, len(numbers), f"photos {start} to {start + len(numbers) - 1}")
        for start, numbers, path in _shards(run, asked, images)
        if _read(path, len(numbers), classes, asked) is None
    ]
    meter = Meter(progress, beat)
    meter.start("effects", len(images), len(images) - sum(item.size for item in waiting))
    given = {"run": str(run.path.resolve()), "asked": asdict(asked)}
    if waiting:
        with crew.at("core.attribution.measured:open_worker", given, len(waiting)) as hands:
            for _ in hands.each(waiting, meter, stop):
                pass
    found = read_splits(run, asked)
    if found is None:
        raise UnitscopeError(
            f"effects were measured, and are not beside {run.path}: all machines must see one "
            "folder of runs"
        )
    return found


def open_worker(given: Json) -> Do:
    """What measures a shard in this process: its first photo → its file's name."""
    enter(given)
    told = given["asked"]
    fillings, splits = tuple(told["fillings"]), told["splits"]
    asked = Asked(**{**told, "fillings": fillings, "splits": splits and tuple(splits)})
    run = Run(Path(given["run"]))
    opened = Opened.of(run, asked.layer)
    shards = {
        start: (numbers, path) for start, numbers, path in _shards(run, asked, _images(run, asked))
    }

    def do(start: int, progress: Report, stop: Stop) -> str:
        if stop():
            raise Stopped(STOPPED)
        numbers, path = shards[start]
        write_arrays(path, **_shard(opened, asked, numbers))
        return path.name

    return do


def read_splits(run: Run, asked: Asked) -> Measured | None:
    """What :func:`measure_splits` has kept, without the network; None where it is not whole.

    Raises UnitscopeError as that does.
    """
    images, classes = _images(run, asked), len(class_names(run))
    parts = []
    for start, numbers, path in _shards(run, asked, images):
        held = _read(path, len(numbers), classes, asked)
        if held is None:
            return None
        parts.append(held | {"photo": held["photo"] + start})
    return _joined(run, asked, images, parts)


def so_far(run: Run, asked: Asked) -> tuple[int, int]:
    """(photos that are measured, photos of the splits); files are looked for, not read."""
    images = _images(run, asked)
    done = [len(numbers) for _, numbers, path in _shards(run, asked, images) if path.is_file()]
    return sum(done), len(images)


def _images(run: Run, asked: Asked) -> pd.DataFrame:
    known_values(run, "split", "images", asked.splits)
    images = images_of(run)
    if asked.splits is not None:
        images = images[images["split"].isin(asked.splits)].reset_index(drop=True)
    if not len(images):
        raise UnitscopeError("the splits hold no images")
    return images


def _shards(run: Run, asked: Asked, images: pd.DataFrame) -> Iterator[tuple[int, np.ndarray, Path]]:
    """First row, image numbers and file of every shard."""
    facts, every = asked.facts(run), images["image"].to_numpy()
    for start in range(0, len(images), SHARD):
        numbers = every[start : start + SHARD]
        yield start, numbers, derived(run, "effects", [facts, numbers.tolist()], "npz")


def _read(path: Path, images: int, classes: int, asked: Asked) -> dict[str, np.ndarray] | None:
    held = read_arrays(path)
    return held if held is not None and _fits(held, images, classes, asked) else None


def _shard(opened: Opened, asked: Asked, numbers: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays of one shard: `before`, `against` of its photos, and its rows."""
    before = np.array([opened.recorded.logits[opened.row(int(n))] for n in numbers], np.float32)
    against = np.full(len(numbers), -1, np.int64)
    rows: list[tuple[int, int, float]] = []
    after, control, credit = [], [], []
    for at, number in enumerate(numbers):
        try:
            case = opened.case(int(number))
        except NoRegion:
            continue
        against[at] = case.against
        before[at] = case.logits
        found = measure(case, asked.fillings, asked.controls, asked.seed)
        after.append(found.after.transpose(1, 0, 2))
        some = ~np.isnan(found.controls).all((0, 2, 3)) if asked.controls else np.zeros(0, bool)
        beside = np.full((len(case.regions), before.shape[1]), np.nan, np.float32)
        beside[np.flatnonzero(some)] = np.nanmean(found.controls[:, some], axis=(0, 2))
        control.append(beside)
        credit.append(_evidence(case))
        rows += [
            (at, int(c), float(share))
            for c, share in zip(case.regions.ids, case.regions.area, strict=True)
        ]
    classes, ways = before.shape[1], len(asked.fillings)
    table = np.array(rows, np.float64).reshape(-1, 3)
    return {
        "before": before,
        "against": against,
        "photo": table[:, 0].astype(np.int64),
        "concept": table[:, 1].astype(np.int64),
        "area": table[:, 2],
        "after": np.concatenate([np.zeros((0, ways, classes), np.float32), *after]),
        "control": np.concatenate([np.zeros((0, classes), np.float32), *control]),
        "evidence": np.concatenate([np.zeros((0, 2), np.float32), *credit]),
    }


def _evidence(case: Case) -> np.ndarray:
    kind = None if case.opened.head is not None else GRADIENT
    both = np.full((len(case.regions), 2), np.nan, np.float32)
    both[:, 0] = concept_evidence(case, evidence(case, case.predicted, case.against, kind))
    if case.target >= 0:
        both[:, 1] = concept_evidence(case, evidence(case, case.target, None, kind))
    return both


def _fits(held: dict[str, np.ndarray], images: int, classes: int, asked: Asked) -> bool:
    """Is what was read a shard of this shape? It may be damaged, or a stranger's."""
    rows = len(held.get("photo", ()))
    shapes = {
        "before": (images, classes),
        "against": (images,),
        "photo": (rows,),
        "concept": (rows,),
        "area": (rows,),
        "after": (rows, len(asked.fillings), classes),
        "control": (rows, classes),
        "evidence": (rows, 2),
    }
    return (
        set(held) == set(shapes)
        and all(held[name].shape == shape for name, shape in shapes.items())
        and all(held[name].dtype == np.int64 for name in ("photo", "concept", "against"))
        and bool(((held["photo"] >= 0) & (held["photo"] < images)).all())
        and bool(((held["against"] >= -1) & (held["against"] < classes)).all())
    )


def told_apart(names: Sequence[str], categories: Sequence[str]) -> list[str]:
    """Names of concepts, with the category where a name stands for concepts of several.

    >>> told_apart(["water", "water", "sand"], ["object", "material", "object"])
    ['water (object)', 'water (material)', 'sand']
    """
    held: dict[str, set[str]] = {}
    for name, category in zip(names, categories, strict=True):
        held.setdefault(name, set()).add(category)
    return [
        f"{name} ({category})" if len(held[name]) > 1 else name
        for name, category in zip(names, categories, strict=True)
    ]


def _joined(
    run: Run, asked: Asked, images: pd.DataFrame, parts: list[dict[str, np.ndarray]]
) -> Measured:
    whole = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    if not len(whole["photo"]):
        raise UnitscopeError("no photo of these splits has an annotated region")
    table = run.sql("SELECT concept, name, category FROM concepts").set_index("concept")
    wrong = set(whole["concept"].tolist()) - set(table.index)
    if wrong:
        raise UnitscopeError(f"kept effects name concept {min(wrong)}, which the run has not")
    names = table.loc[whole["concept"]]
    rows = pd.DataFrame(
        {
            "photo": whole["photo"],
            "concept": whole["concept"],
            "name": told_apart(names["name"].tolist(), names["category"].tolist()),
            "category": names["category"].to_numpy(),
            "area": whole["area"],
        }
    )
    return Measured(
        asked,
        images.assign(against=whole["against"]),
        rows,
        whole["before"],
        whole["after"],
        whole["control"],
        whole["evidence"],
        len(images) - rows["photo"].nunique(),
    )
