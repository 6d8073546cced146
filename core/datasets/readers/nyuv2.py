"""`nyuv2:DIR`: NYU Depth v2, the labelled part: photos and tables, or the published .mat file.

Photos and tables: DIR/images/N.jpg, DIR/labels40/N.png, DIR/labels40.txt (number and name a
line) and DIR/scenes.csv (index, scene, official_split). A mask's value v is label v + 1 of the
list; value 39 mixes otherprop, unlabelled and the borders, so it counts as not annotated and
`otherprop` is not a concept.

The published file: DIR is ``nyu_depth_v2_labeled.mat`` or the folder it lies in. It is HDF5, so
MATLAB's dimensions stand in reverse: ``images`` (photo, channel, width, height), ``labels``
(photo, width, height) with the number of a name of ``names`` (0 = not annotated), ``sceneTypes``.
The split comes from ``splits.mat`` (trainNdxs, testNdxs, from 1) beside it. Labels are the 894 of
the file; where ``classMapping40.mat`` lies beside it (mapClass: number → 1 to 40, className),
they are those 39 that the 40-class masks have.

Sources: the dataset's page (Silberman et al., ECCV 2012); the 40 classes of Gupta et al., CVPR
2013.
"""

from __future__ import annotations

import hashlib
import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from core.datasets.base import Annotations, Channel, Concept, Problem, SceneDataset
from core.datasets.decode import check_mask_size, read_labels
from core.datasets.files import (
    FileDataset,
    Listing,
    bad_row,
    file_digest,
    folder,
    label_table,
    need_folder,
    need_images,
    read_table,
    text_of,
    to_concepts,
    whole_number,
)
from core.datasets.matlab import hdf5, mat_of
from core.foundation.errors import BadFile
from core.foundation.escape import one_line
from core.foundation.files import expanded
from core.foundation.names import whole
from core.foundation.worker import WorkerError

NOT_ANNOTATED = 39
MAT = "nyu_depth_v2_labeled.mat"


def open_nyuv2(rest: str) -> SceneDataset:
    """The dataset that ``nyuv2:rest`` names: the published file where it is there."""
    path = expanded(rest)
    if rest and path.suffix == ".mat" and path.is_file():
        return NYUv2Mat.from_file(rest, path)
    root = folder(rest, "nyuv2")
    if (root / MAT).is_file() and not (root / "labels40.txt").is_file():
        return NYUv2Mat.from_file(rest, root / MAT)
    return NYUv2.from_spec(rest)


@dataclass(kw_only=True)
class NYUv2(FileDataset):
    """1,449 indoor photos, 27 scenes, one `object` channel, the official train/test split."""

    label_files: list[str]
    table: np.ndarray

    @classmethod
    def from_spec(cls, rest: str) -> NYUv2:
        """Open the dataset in folder `rest`, from photos and tables.

        Reads the two tables and lists the two folders; photos are not touched. Images with
        a missing photo or mask, bad rows and repeated ids are left out, in `problems`.

        Raises
        ------
        UnitscopeError, BadFile
            where the folder, a table or all images are missing.
        """
        root = folder(rest, "nyuv2")
        concepts, concept_of = _labels(root / "labels40.txt")
        need_folder(root / "images")
        need_folder(root / "labels40")
        problems: list[Problem] = []
        table = root / "scenes.csv"
        rows = read_table(table, ("index", "scene", "official_split"), problems).rows
        listing = Listing(root)
        seen: dict[str, tuple[str, str]] = {}
        for line, row in rows:
            number, scene, split = whole_number(row["index"]), row["scene"], row["official_split"]
            image = row["index"] if number is None else row["index"].partition(".")[0]
            if number is None:
                problems.append(bad_row(table, line, f"{image!r} is not an image number", image))
            elif not scene or not split:
                problems.append(bad_row(table, line, "no scene or no split", image))
            elif image in seen:
                problems.append(bad_row(table, line, f"image {image} occurs twice", image))
            else:
                for name in (f"images/{image}.jpg", f"labels40/{image}.png"):
                    if name not in listing:
                        problems.append(Problem(image, str(root / name), "does not exist"))
                        break
                else:
                    seen[image] = scene, split
        need_images(f"nyuv2:{rest}", len(seen), len(rows), problems)
        ids = list(seen)
        scenes = sorted({scene for scene, _ in seen.values()})
        position = {scene: k for k, scene in enumerate(scenes)}
        return cls(
            name="nyuv2",
            spec=f"nyuv2:{rest}",
            ids=ids,
            scene=np.array([position[seen[image][0]] for image in ids], np.int32),
            split=[seen[image][1] for image in ids],
            scenes=scenes,
            concepts=concepts,
            channels=[Channel("object", "object")],
            problems=problems,
            photo_files=[str(root / "images" / f"{image}.jpg") for image in ids],
            label_files=[str(root / "labels40" / f"{image}.png") for image in ids],
            table=label_table(concept_of),
        )

    def annotations(self, index: int) -> Annotations:
        path = self.label_files[index]
        labels = read_labels(path)
        check_mask_size(path, labels, self.photo_files[index])
        # In this format 0 is a label (wall), unlike everywhere else.
        concepts = to_concepts(labels, self.table, path, "labels40.txt")
        return Annotations(concepts[None])

    def mask_files(self, index: int) -> list[str]:
        return [self.label_files[index]]

    def _meaning(self) -> Any:
        known = np.flatnonzero(self.table >= 0)
        return [known.tolist(), self.table[known].tolist()]


def _labels(path: Path) -> tuple[list[Concept], dict[int, int]]:
    """The concepts and mask value → concept id."""
    lines = text_of(path).splitlines()
    concepts: list[Concept] = []
    concept_of = {NOT_ANNOTATED: 0}
    for k, line in enumerate(lines, 1):
        if not line.strip():
            continue
        result, _, name = line.strip().partition("\t")
        number = whole(result)
        if number is None or not name.strip():
            raise BadFile(path, f"line {k}: {line!r} is not a number, a tab and a name")
        value = number - 1
        if value < 0 or value == NOT_ANNOTATED:
            continue
        if value in concept_of:
            raise BadFile(path, f"line {k}: label {number} occurs twice")
        concepts.append(Concept(len(concepts) + 1, name.strip(), "object"))
        concept_of[value] = len(concepts)
    if not concepts:
        raise BadFile(path, "lists no label")
    return concepts, concept_of


@dataclass(kw_only=True)
class NYUv2Mat(SceneDataset):
    """The same photos straight from the published file (2.8 GB), read one at a time by a worker.

    ``table`` turns the file's label numbers into concept ids.
    """

    path: str
    table: np.ndarray
    beside: list[str]

    @classmethod
    def from_file(cls, rest: str, path: Path) -> NYUv2Mat:
        """Open the file `path`: names, scenes and splits are read, no photo.

        Without splits.mat all photos are in split ``all``, which is noted in `problems`.

        Raises
        ------
        UnitscopeError
            where the package h5py is missing.
        BadFile
            where the file is not whole, or a table beside it does not fit.
        """
        problems: list[Problem] = []
        try:
            result = json.loads(hdf5(path))
        except WorkerError as wrong:
            why = "is not the whole published file (HDF5 with images, labels, names, sceneTypes)"
            raise BadFile(path, f"{why}: {one_line(str(wrong))}") from wrong
        shape, labels = result["images"], result["labels"]
        if len(shape) != 4 or shape[1] != 3 or labels != [shape[0], *shape[2:]]:
            raise BadFile(path, f"images {shape} and labels {labels} do not fit together")
        names, named = result["names"], result["sceneTypes"]
        n = shape[0]
        if len(named) != n:
            raise BadFile(path, f"has {n} photos but {len(named)} scenes")
        beside = []
        mapping = path.with_name("classMapping40.mat")
        if mapping.is_file():
            beside.append(str(mapping))
            concepts, concept_of = _mapped(mapping, len(names))
        else:
            concepts = [Concept(k, name, "object") for k, name in enumerate(names, 1)]
            concept_of = {k: k for k in range(1, len(names) + 1)}
        split = ["all"] * n
        splits = path.with_name("splits.mat")
        if splits.is_file():
            beside.append(str(splits))
            parts = mat_of(splits, "trainNdxs", "testNdxs")
            for word, key in (("train", "trainNdxs"), ("test", "testNdxs")):
                if key not in parts:
                    raise BadFile(splits, f"has no {key}")
                for number in parts[key]:
                    if number not in range(1, n + 1):
                        raise BadFile(splits, f"{key} has {number}, and there are {n} photos")
                    split[int(number) - 1] = word
        else:
            result = "does not exist: all photos are in one split"
            problems.append(Problem("", str(splits), result))
        scenes = sorted(set(named) - {""})
        place = {scene: k for k, scene in enumerate(scenes)} | {"": -1}
        return cls(
            name="nyuv2",
            spec=f"nyuv2:{rest}",
            ids=[str(k) for k in range(n)],
            scene=np.array([place[scene] for scene in named], np.int32),
            split=split,
            scenes=scenes,
            concepts=concepts,
            channels=[Channel("object", "object")],
            problems=problems,
            path=str(path),
            table=label_table(concept_of),
            beside=beside,
        )

    def photo(self, index: int) -> Image.Image:
        read = self._read("images", index, 3)
        if read.dtype != np.uint8:
            raise BadFile(self.path, f"images holds {read.dtype}, not bytes")
        return Image.fromarray(np.ascontiguousarray(read.transpose(2, 1, 0)))

    def annotations(self, index: int) -> Annotations:
        labels = self._read("labels", index, 2).T
        if labels.dtype.kind not in "ui":
            raise BadFile(self.path, f"labels holds {labels.dtype}, not whole numbers")
        return Annotations(to_concepts(labels, self.table, self.path, "the names in it")[None])

    def _read(self, name: str, index: int, dimensions: int) -> np.ndarray:
        try:
            read = np.load(io.BytesIO(hdf5(Path(self.path), part=name, index=index)))
            if read.ndim != dimensions:
                raise ValueError(f"it has {read.ndim} dimensions")
        except (WorkerError, ValueError) as wrong:
            why = f"{name} of photo {index} cannot be read: {one_line(str(wrong))}"
            raise BadFile(self.path, why) from wrong
        value: np.ndarray = read
        return value

    def content_digest(self) -> str:
        tables = [
            type(self).__name__,
            self.ids,
            self.scene.tolist(),
            self.split,
            self.scenes,
            self.concepts,
            np.flatnonzero(self.table >= 0).tolist(),
            self.table[self.table >= 0].tolist(),
        ]
        total = hashlib.blake2b(json.dumps(tables).encode(), digest_size=20)
        for path in (self.path, *self.beside):
            total.update(file_digest(path))
        return total.hexdigest()


def _mapped(path: Path, names: int) -> tuple[list[Concept], dict[int, int]]:
    """The concepts of the 40 classes but otherprop, and the file's number → concept id."""
    result = mat_of(path, "className", "mapClass")
    try:
        classes = [str(name) for name in result["className"]]
        numbers = [int(number) for number in result["mapClass"]]
    except (KeyError, TypeError, ValueError, OverflowError) as wrong:
        raise BadFile(path, "has no className and mapClass") from wrong
    if len(numbers) != names or not all(0 <= k <= len(classes) for k in numbers):
        raise BadFile(path, f"maps {len(numbers)} labels to {len(classes)} classes, not {names}")
    kept = [k for k in range(1, len(classes) + 1) if k - 1 != NOT_ANNOTATED]
    concepts = [Concept(n, classes[k - 1], "object") for n, k in enumerate(kept, 1)]
    concept_of = {k: n for n, k in enumerate(kept, 1)}
    return concepts, {n: concept_of.get(k, 0) for n, k in enumerate(numbers, 1)}
