"""Runs on disk: where they are, what each is, and how often its network is right, by split."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from core.dissect.losses import losses
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.intervals import interval
from core.foundation.plain import Json
from core.foundation.settings import CACHE, command, judged_split
from core.foundation.vocabulary import JUDGING
from core.runs.run_file import Run
from core.runs.run_names import RunNames
from core.runs.run_names import read_names as read_names
from core.runs.store import find_run, list_runs
from core.views.names import short_name


def cache_root() -> Path:
    """Folder of the run files: the environment's UNITSCOPE_CACHE, else the checkout's cache/."""
    return Path(os.environ.get("UNITSCOPE_CACHE") or CACHE)


def resolve(name: str | None, root: Path) -> Path:
    """The run file of a digest or its beginning; where `name` is empty, the one that the app opens
    with (:func:`front`).

    The name comes from an address, so it is never a path. Raises UnitscopeError, naming the
    nearest, where there is none of that name.
    """
    runs = list_runs(root)
    if not name:
        if not runs:
            raise UnitscopeError(f"no finished run under {root}")
        found = front(((path, try_summary(path)) for path in runs), read_names(root).pinned)
        return found or runs[0]
    if name != "latest" and not any(path.stem.startswith(name) for path in runs):
        raise unknown("run", name, [path.stem for path in runs])
    return find_run(name, root)


LEAST_SHARE, LEAST_IMAGES = 0.8, 20
"""A run that used less of its images, or fewer, is a failed or a first try: no front page."""


def front(found: Iterable[tuple[Path, Summary | str]], pinned: str) -> Path | None:
    """The run that the app opens with: the one that is pinned; else the newest that used most of
    its images (:func:`too_small`); else the newest that can be read. None where none can.

    found : run files with what they are, newest first; read as far as needed.
    """
    first: Path | None = None
    at: Path | None = None
    for path, facts in found:
        if isinstance(facts, str):
            continue
        if path.stem == pinned:
            return path
        first = first or path
        if at is None and not too_small(facts):
            at = path
        if at is not None and not pinned:
            break
    return at or first


def too_small(facts: Summary) -> str:
    """Why a run is nothing to open with, in words; "" for any other."""
    if facts.images < LEAST_SHARE * facts.planned:
        return f"{facts.images:,} of {facts.planned:,} images were used"
    few = facts.photos and facts.images < LEAST_IMAGES
    return f"it has {facts.images:,} images" if few else ""


def run_label(facts: Summary, names: RunNames) -> str:
    """What a run is called wherever it is named: its name, else data set, network and layers."""
    layers = ", ".join(layer.name for layer in facts.layers)
    words = (facts.dataset, facts.model, layers)
    return names.of(facts.run) or " · ".join(word for word in words if word)


def run_labels(found: Mapping[str, Summary], names: RunNames) -> dict[str, str]:
    """Digest → :func:`run_label`; where two are alike the beginning of the digest follows."""
    called = {digest: run_label(facts, names) for digest, facts in found.items()}
    every = list(called.values())
    return {
        digest: f"{label} · {digest[:6]}" if every.count(label) > 1 else label
        for digest, label in called.items()
    }


def disk_size(path: Path) -> int:
    """Bytes of a run file and of the arrays beside it, as far as they are still there."""
    size = 0
    for file in (path, *path.with_suffix(".arrays").glob("*")):
        with suppress(OSError):
            size += file.stat().st_size
    return size


@dataclass(frozen=True)
class Layer:
    """A dissected layer: its place in the run, its number of units, the size of their maps."""

    layer: int
    name: str
    units: int
    height: int
    width: int


@dataclass(frozen=True)
class Summary:
    """What a run is: names, definitions, sizes, accuracy, date.

    skipped : photos that were lost, and losses : how many and why, "" where none
    (:mod:`core.dissect.losses`). scored : images with a scene that is a class. judged : the
    held-out split that the network is judged on (:func:`judged`), "" where there is none and all
    are. answered, right, accuracy : of it, the scored images, those that are right, and their
    share; None where none is scored.
    images : used, of those that were `planned`.
    photos : whether it holds photos. sure : whether it says how sure its network was.
    no_answers : why the network predicts nothing, older_versions : by which other versions of our
    computations the run was made; both are "" where there is nothing to say. seconds : by step.

    A run of published predictions has no layers and no photos, and its q, grid, shuffles, command
    and request are None.
    """

    run: str
    dataset: str
    dataset_spec: str
    model: str
    model_spec: str
    layers: list[Layer]
    images: int
    planned: int
    skipped: int
    losses: str
    scored: int
    judged: str
    answered: int
    right: int
    accuracy: float | None
    photos: bool
    sure: bool
    no_answers: str
    older_versions: str
    q: float | None
    grid: tuple[int, int] | None
    shuffles: int | None
    splits: list[str]
    command: str | None
    request: Json | None
    categories: list[str]
    channels: list[list[str]]
    has_maps: bool
    unmatched_scenes: list[str]
    finished: str
    seconds: dict[str, float]
    versions: dict[str, str]

    def layer(self, name: str) -> Layer:
        """One of the layers, by its name."""
        return next(layer for layer in self.layers if layer.name == name)


def try_summary(path: Path) -> Summary | str:
    """:func:`summary` of a run file, or why it cannot be read, in one sentence.

    Whatever is wrong with one file, the others are listed: so everything is caught here.
    """
    try:
        with Run(path) as run:
            return summary(run)
    except Exception as err:
        return str(err) or type(err).__name__


def summary(run: Run) -> Summary:
    """What a run is."""
    info, settings, measured = run.info, run.settings, run.measured_accuracy
    split, parts = judged(run), accuracy(run)
    part = parts[parts["split"] == split] if split else parts
    answered, right = int(part["images"].sum()), int(part["right"].sum())
    layers = run.sql("SELECT layer, name, units, height, width FROM layers ORDER BY layer")
    lost = losses(run)
    has = run.sql(
        "SELECT count_if(photo_bytes > 0) > 0 AS photos, count(confidence) > 0 AS sure FROM images"
    ).iloc[0]
    request = info.get("request")
    return Summary(
        run=run.digest,
        dataset=run.dataset,
        dataset_spec=settings.dataset.spec,
        model=short_name(settings.model.spec),
        model_spec=settings.model.spec,
        layers=[Layer(**row) for row in layers.to_dict("records")],
        images=run.image_count.used,
        planned=run.image_count.planned,
        skipped=lost.lost,
        losses=lost.words,
        scored=measured.scored,
        judged=split,
        answered=answered,
        right=right,
        accuracy=right / answered if answered else None,
        photos=bool(has["photos"]),
        sure=bool(has["sure"]),
        no_answers=run.no_answers,
        older_versions=run.older_versions,
        q=settings.q,
        grid=settings.grid if settings.has_grid else None,
        shuffles=settings.shuffles,
        splits=list(settings.splits),
        command=command(request) if request else None,
        request=request,
        categories=run.categories,
        channels=info["channels"],
        has_maps=settings.keep_maps,
        unmatched_scenes=list(measured.unmatched_scenes),
        finished=info["finished"],
        seconds=info["seconds"],
        versions=info["versions"],
    )


def skipped(run: Run) -> pd.DataFrame:
    """What was noted of files left out of a run: id (of a photo), file, reason."""
    return run.sql("SELECT id, file, reason FROM skipped")


def judged(run: Run) -> str:
    """The held-out split on which a run's network is judged: test, else val, of those with photos
    that can be scored; "" where there is none, so that all photos are taken, those of training too.
    """
    frame = run.sql("SELECT DISTINCT split FROM images WHERE correct IS NOT NULL ORDER BY 1")
    return judged_split(frame["split"].tolist())


def judged_words(split: str) -> str:
    """What a title says of the photos that were judged.

    >>> judged_words("test"), judged_words("")
    ('test', 'all photos')
    """
    return split or "all photos"


def accuracy(run: Run) -> pd.DataFrame:
    """Accuracy by split: split, images (scored), right, accuracy, low, high (95 % interval);
    splits that networks are judged on (:data:`JUDGING`) first."""
    frame = run.sql("""
        SELECT split, count(*)::INTEGER AS images, sum(correct::INTEGER)::INTEGER AS "right"
        FROM images WHERE correct IS NOT NULL GROUP BY split ORDER BY split
        """)
    order = {name: k for k, name in enumerate(JUDGING)}
    frame = frame.sort_values(
        "split",
        key=lambda column: column.map(lambda s: order.get(s, len(order))),
        kind="stable",
        ignore_index=True,
    )
    frame["accuracy"] = frame["right"] / frame["images"].clip(lower=1)
    bounds = [interval(r, n) for r, n in zip(frame["right"], frame["images"], strict=True)]
    frame["low"], frame["high"] = [b[0] for b in bounds], [b[1] for b in bounds]
    return frame


def splits(run: Run) -> list[str]:
    """Names of the splits in the run."""
    found: list[str] = run.sql("SELECT DISTINCT split FROM images ORDER BY 1")["split"].tolist()
    return found
