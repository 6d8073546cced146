"""`nyuv2:DIR`: NYU Depth v2, the labelled part, as photos, 40-class masks and a scene table.

DIR/images/N.jpg, DIR/labels40/N.png, DIR/labels40.txt (number and name a line) and
DIR/scenes.csv (index, scene, official_split). A mask's value v is label v + 1 of the list;
value 39 mixes otherprop, unlabelled and the borders, so it counts as not annotated and
`otherprop` is not a concept.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from core.datasets.base import Annotations, Channel, Concept, Problem
from core.datasets.decode import check_mask_size, read_labels
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
)
from core.errors import BadFile

NOT_ANNOTATED = 39


@dataclass(kw_only=True)
class NYUv2(FileDataset):
    """1,449 indoor photos, 27 scenes, one `object` channel, the official train/test split."""

    label_files: list[str]
    table: np.ndarray

    @classmethod
    def from_spec(cls, rest: str) -> NYUv2:
        """Open the dataset in folder `rest`.

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
            image, scene, split = row["index"], row["scene"], row["official_split"]
            if not (image.isascii() and image.isdigit()):
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
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        raise BadFile(path, "does not exist") from None
    except (OSError, UnicodeDecodeError) as wrong:
        raise BadFile(path, f"cannot be read as text: {wrong}") from wrong
    concepts: list[Concept] = []
    concept_of = {NOT_ANNOTATED: 0}
    for k, line in enumerate(lines, 1):
        if not line.strip():
            continue
        number, _, name = line.strip().partition("\t")
        if not (number.isascii() and number.isdigit()) or not name.strip():
            raise BadFile(path, f"line {k}: {line!r} is not a number, a tab and a name")
        value = int(number) - 1
        if value < 0 or value == NOT_ANNOTATED:
            continue
        if value in concept_of:
            raise BadFile(path, f"line {k}: label {number} occurs twice")
        concepts.append(Concept(len(concepts) + 1, name.strip(), "object"))
        concept_of[value] = len(concepts)
    if not concepts:
        raise BadFile(path, "lists no label")
    return concepts, concept_of
