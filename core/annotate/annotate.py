"""Photos without masks made into a `folder:` dataset by a segmentation network.

The folder is marked as such: its labels are predictions, and every run, figure and table of it
says by what (:mod:`core.datasets.readers.folder` reads ``labels_by.json``).
"""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import socket
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from PIL import Image

from core.annotate.specs import NOTHING
from core.datasets.base import Problem
from core.datasets.decode import read_photo, upright_size
from core.datasets.files import read_table
from core.datasets.readers.folder import LABELS_BY, find_photos, scene_by_folder
from core.foundation.engine import Crew, Do, Item, enter
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.files import parse_json, write_text, write_whole
from core.foundation.plain import Json
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never

if TYPE_CHECKING:  # it brings PyTorch, which a mistake in the arguments need not wait for
    from torch import Tensor

    from core.annotate.segment import Segmenter


class Annotated(NamedTuple):
    """What :func:`annotate` did.

    photos : found. written, there : masks made now, and by earlier commands. problems : photos
    left out. labelled : share of the pixels of the masks made now that have a label.
    """

    photos: int
    written: int
    there: int
    problems: list[Problem]
    labelled: float


class _Photo(NamedTuple):
    image: str
    file: str
    size: tuple[int, int]


@dataclass(frozen=True)
class Asked:
    """How photos are annotated.

    Attributes
    ----------
    scenes : CSV with columns image, scene and optionally split; where None, the folder that a
        photo lies in is its scene, and a first folder ``train``, ``val`` or ``test`` the split.
    least_confidence : pixels whose best label has less are not annotated.
    link : link to the photos instead of copying them.
    batch : photos of one size that go through the network at once.
    threads : for decoding and writing; None = the machine's cores. device : of the network.
    """

    scenes: Path | None = None
    least_confidence: float = 0.0
    link: bool = False
    batch: int = 4
    threads: int | None = None
    device: str = "cpu"


def check_request(photos: Path, to: Path, asked: Asked) -> None:
    """Raise for what :func:`annotate` could not do, before anything slow is imported: photos or
    the table of scenes are missing, `to` holds something that is not of this command, a number
    is out of its range."""
    if not photos.is_dir():
        raise UnitscopeError(f"there is no folder of photos {photos}")
    if to.resolve() == photos.resolve() or photos.resolve().is_relative_to(to.resolve()):
        raise UnitscopeError(f"{to} holds the photos: name another folder by --to")
    if to.resolve().is_relative_to(photos.resolve()):
        raise UnitscopeError(
            f"{to} lies within the photos, and would be annotated itself the next time: name a "
            "folder outside by --to"
        )
    for name in ("images", "masks", "labels.csv"):
        if (to / name).exists() and not (to / LABELS_BY).is_file():
            raise UnitscopeError(
                f"{to} holds {name} that this command did not make; name another folder by --to"
            )
    if asked.scenes is not None and not asked.scenes.is_file():
        raise UnitscopeError(f"there is no file {asked.scenes}")
    if not 0 <= asked.least_confidence <= 1:
        raise UnitscopeError(f"a confidence lies in 0 … 1, not {asked.least_confidence}")
    if asked.batch < 1:
        raise UnitscopeError(f"a batch holds 1 photo or more, not {asked.batch}")


def annotate(
    photos: Path,
    segmenter: Segmenter,
    to: Path,
    asked: Asked = Asked(),
    progress: Report | None = None,
    stop: Stop = never,
    crew: Crew | None = None,
) -> Annotated:
    """Write a `folder:` dataset of `photos` with masks by `segmenter` into `to`.

    Masks that an earlier command wrote are kept, so a stopped one is resumed; the bytes are the
    same as if it had not been stopped.

    crew : workers that do it, each with a network that it opens by the SPEC of `segmenter`; this
    process where None.

    Raises
    ------
    UnitscopeError
        no photo; `to` is something else, or was begun with another network or other settings;
        no room. A photo that cannot be read is a problem of the result instead.
    """
    check_request(photos, to, asked)
    problems: list[Problem] = []
    found = find_photos(photos, problems)
    if not found:
        reply = f"; {problems[0].reason}" if problems else ""
        raise UnitscopeError(f"{photos} holds no photo{reply}")
    _begin(to, segmenter, asked)
    _write_labels(to / "labels.csv", segmenter)
    _write_scenes(to / "scenes.csv", asked.scenes, found, problems)
    batches = _batches(photos, found, segmenter, asked.batch, problems)
    waiting = [part for part in batches if not all(_mask(to, photo).is_file() for photo in part)]
    total = sum(len(part) for part in batches)
    there = total - sum(len(part) for part in waiting)
    meter = Meter(progress)
    meter.start("annotate", total, there, "photos")
    work, made = _Work(photos, to, asked, segmenter), _Made()
    if crew is None:
        _to_device(segmenter, asked.device)
        try:
            _make(work, waiting, made, meter, stop)
        except Stopped as err:
            raise Stopped(
                f"stopped at {there + made.written} of {total} photos; the same command resumes it"
            ) from err
    elif waiting:
        _make_spread(work, waiting, made, meter, stop, crew)
    problems += [Problem(*one) for one in made.problems]
    share = made.labelled / made.pixels if made.pixels else 0.0
    return Annotated(len(found), made.written, there + made.there, problems, share)


class _Work(NamedTuple):
    """What is annotated, where to, how and by what; see :func:`annotate`."""

    photos: Path
    to: Path
    asked: Asked
    segmenter: Segmenter


@dataclass
class _Made:
    """What some batches came to. there : masks that another process had made. labelled : of the
    `pixels` of the masks made."""

    written: int = 0
    there: int = 0
    labelled: int = 0
    pixels: int = 0
    problems: list[tuple[str, str, str]] = field(default_factory=list)


def _to_device(segmenter: Segmenter, device: str) -> None:
    try:
        segmenter.module.to(device)
    except (RuntimeError, AssertionError) as err:
        raise UnitscopeError(f"device {device!r}: {str(err).splitlines()[0]}") from err


def _make(
    work: _Work, waiting: Sequence[list[_Photo]], made: _Made, meter: Meter, stop: Stop
) -> None:
    """Masks of some batches, added to `made`."""
    photos, to, asked, segmenter = work

    def finish(photo: _Photo, labels: np.ndarray) -> None:
        _put_photo(photos / photo.file, to / "images" / photo.file, asked.link)
        _put_mask(_mask(to, photo), labels, len(segmenter.labels))

    cores = max(1, asked.threads or os.cpu_count() or 1)
    left_out: list[Problem] = []
    with ThreadPoolExecutor(cores, thread_name_prefix="annotate") as pool:
        for part, views in _ahead(photos, waiting, segmenter, pool):
            if stop():
                raise Stopped(STOPPED)
            writing = []
            for photo, scores in _scored(part, views, segmenter, left_out):
                if _mask(to, photo).is_file():
                    made.there += 1
                    continue
                size = segmenter.mask_size(*photo.size)
                labels = segmenter.label_map(scores, size, asked.least_confidence)
                made.labelled += int((labels > 0).sum())
                made.pixels += labels.size
                writing.append(pool.submit(finish, photo, labels))
            for future in writing:
                _written(future)
                made.written += 1
            meter.step(len(part))
    made.problems += [(one.image, str(one.path), one.reason) for one in left_out]


# -- by workers -------------------------------------------------------------------------------

AT_ONCE = 4
"""Batches that a worker has in hand."""


def _make_spread(
    work: _Work,
    waiting: Sequence[list[_Photo]],
    made: _Made,
    meter: Meter,
    stop: Stop,
    crew: Crew,
) -> None:
    """:func:`_make` by workers. The masks are those of one process: a batch is a batch."""
    photos, to, asked, segmenter = work
    groups = [waiting[k : k + AT_ONCE] for k in range(0, len(waiting), AT_ONCE)]
    items = [
        Item(
            [[tuple(photo) for photo in part] for part in group],
            sum(map(len, group)),
            f"{group[0][0].file} and what follows",
        )
        for group in groups
    ]
    given: Json = {
        "spec": segmenter.spec,
        "labels": [tuple(label) for label in segmenter.labels],
        "side": segmenter.preprocessing.resize,
        "network": segmenter.digest(),
        "photos": str(photos.resolve()),
        "to": str(to.resolve()),
        "asked": replace(asked, scenes=None, threads=crew.cores),
    }
    with crew.at("core.annotate.annotate:open_worker", given, len(items), asked.device) as hands:
        for item, answer in hands.each(items, meter, stop):
            own = _Made(**answer)
            known = {image for image, _, _ in own.problems}
            every = [_Photo(*photo) for part in item.given for photo in part]
            if not all(photo.image in known or _mask(to, photo).is_file() for photo in every):
                raise UnitscopeError(
                    f"masks were made on another machine, and are not in {to}: all machines must "
                    "see one folder"
                )
            made.written += own.written
            made.there += own.there
            made.labelled += own.labelled
            made.pixels += own.pixels
            made.problems += own.problems


def open_worker(given: Json) -> Do:
    """What makes masks in this process: batches of photos → what they came to.

    Raises UnitscopeError where the network is another one here.
    """
    from core.annotate.segment import Label, load_segmenter

    enter(given)
    side, asked = given["side"], given["asked"]
    labels = [Label(*label) for label in given["labels"]]
    segmenter = load_segmenter(given["spec"], labels, side if isinstance(side, int) else None)
    if segmenter.digest() != given["network"]:
        raise UnitscopeError(
            f"{given['spec']} is another network on {socket.gethostname()}, or its labels differ"
        )
    _to_device(segmenter, asked.device)
    work = _Work(Path(given["photos"]), Path(given["to"]), asked, segmenter)

    def do(
        batches: list[list[tuple[str, str, tuple[int, int]]]], progress: Report, stop: Stop
    ) -> Json:
        made, meter = _Made(), Meter(progress)
        meter.start("annotate", sum(map(len, batches)), of="photos")
        _make(work, [[_Photo(*photo) for photo in part] for part in batches], made, meter, stop)
        return asdict(made)

    return do


def _scored(
    part: Sequence[_Photo],
    views: Sequence[np.ndarray | Problem],
    segmenter: Segmenter,
    problems: list[Problem],
) -> Iterator[tuple[_Photo, Tensor]]:
    """The photos of a batch with their scores (labels, h, w); those without are problems."""
    size = segmenter.preprocessing.input_size(*part[0].size)
    seen = np.zeros((len(part), size[1], size[0], 3), np.uint8)
    for row, view in zip(seen, views, strict=True):
        # One that cannot be read is black: the others' numbers do not depend on it.
        if isinstance(view, np.ndarray):
            row[...] = view
    scores = segmenter.scores(seen)
    for k, (photo, view) in enumerate(zip(part, views, strict=True)):
        if isinstance(view, Problem):
            problems.append(view)
            continue
        fault = segmenter.fault(scores[k])
        if fault:
            problems.append(Problem(photo.image, photo.file, fault))
            continue
        yield photo, scores[k]


def _written(future: Future[None]) -> None:
    try:
        future.result()
    except OSError as err:
        raise UnitscopeError(
            f"{err.filename or 'a file'} cannot be written: {err.strerror}; the same command "
            "resumes it"
        ) from err


def _mask(to: Path, photo: _Photo) -> Path:
    return to / "masks" / f"{photo.image}.png"


def _begin(to: Path, segmenter: Segmenter, asked: Asked) -> None:
    """Mark the folder before anything is in it; a folder begun otherwise is not resumed."""
    import torch

    facts: Json = {
        "labels_by": segmenter.name,
        "model": segmenter.digest(),
        "preprocessing": segmenter.preprocessing.to_json(),
        "labels": [list(label) for label in segmenter.labels],
        "least_confidence": asked.least_confidence,
        "batch": asked.batch,
        "torch": torch.__version__,
    }
    facts = json.loads(json.dumps(facts))
    path = to / LABELS_BY
    if path.is_file():
        before = parse_json(path.read_text(encoding="utf-8"))
        other = [key for key in facts if before.get(key) != facts[key]]
        if other:
            raise UnitscopeError(
                f"{to} was begun with another {' and '.join(other).replace('_', ' ')} "
                f"(labels by {before.get('labels_by')}); name another folder by --to, or remove it"
            )
        return
    to.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(facts, ensure_ascii=False, indent=1) + "\n")


def _write_labels(path: Path, segmenter: Segmenter) -> None:

    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["value", "name", "category"])
    for k, label in enumerate(segmenter.labels, 1):
        if label.name.lower() not in NOTHING:
            rows.writerow([k, label.name, label.category])
    write_text(path, out.getvalue())


def _write_scenes(
    path: Path, given: Path | None, found: dict[str, str], problems: list[Problem]
) -> None:
    """scenes.csv: the user's own, or what the folders say."""
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["image", "scene", "split"])
    if given is not None:
        for _, row in read_table(given, ("image", "scene"), problems, {"split": ""}).rows:
            rows.writerow([row["image"], row["scene"], row["split"]])
    else:
        for image, file in found.items():
            rows.writerow([file, *scene_by_folder(image)])
    write_text(path, out.getvalue())


def _batches(
    photos: Path,
    found: dict[str, str],
    segmenter: Segmenter,
    batch: int,
    problems: list[Problem],
) -> list[list[_Photo]]:
    """All photos in batches of one input size, the same ones whatever is there already."""
    by_size: dict[tuple[int, int], list[_Photo]] = {}
    for image, file in found.items():
        try:
            size = upright_size(photos / file)
        except BadFile as err:
            problems.append(Problem(image, err.path, err.reason))
            continue
        by_size.setdefault(segmenter.preprocessing.input_size(*size), []).append(
            _Photo(image, file, size)
        )
    return [group[k : k + batch] for group in by_size.values() for k in range(0, len(group), batch)]


def _ahead(
    photos: Path, batches: Sequence[list[_Photo]], segmenter: Segmenter, pool: ThreadPoolExecutor
) -> Iterator[tuple[list[_Photo], list[np.ndarray | Problem]]]:
    """Each batch with its photos decoded, two batches ahead."""

    def read(photo: _Photo) -> np.ndarray | Problem:
        try:
            return np.asarray(segmenter.preprocessing.view(read_photo(photos / photo.file)))
        except BadFile as err:
            return Problem(photo.image, err.path, err.reason)

    waiting: deque[tuple[list[_Photo], list[Future[np.ndarray | Problem]]]] = deque()
    left = iter(batches)
    while True:
        while len(waiting) < 3 and (part := next(left, None)):
            waiting.append((part, [pool.submit(read, photo) for photo in part]))
        if not waiting:
            return
        part, views = waiting.popleft()
        yield part, [view.result() for view in views]


def _put_photo(source: Path, target: Path, link: bool) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_symlink() or target.exists():
        return
    if link:
        target.symlink_to(source.resolve())
    else:
        write_whole(target, lambda fresh: shutil.copyfile(source, fresh))


def _put_mask(path: Path, labels: np.ndarray, count: int) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(labels.astype(np.uint8) if count < 256 else labels)
    # The mask comes last: where it is, all of its photo is.
    write_whole(path, lambda fresh: image.save(fresh, "PNG", optimize=False))
