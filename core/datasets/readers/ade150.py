"""`ade150:DIR`: the scene parsing benchmark made of ADE20K (150 labels).

DIR holds images/ and annotations/ (each with training/ and validation/, or flat), the labels in
objectInfo150.txt (tabs) or objectInfo150.csv, and sceneCategories.txt (photo, space, scene).
A mask's value is the label's ``Idx``, 1 to 150; 0 is everything else, not annotated.

sceneCategories.txt cuts some scenes down to the last part of their name (``bakery/shop`` is
``shop``). Where the cut name stands for one scene of ADE20K alone, it is read as that scene.

Sources: the benchmark's published files (Zhou et al., CVPR 2017); the full names are those of the
same photos in ADE20K's own index.
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
    natural,
    need_folder,
    need_images,
    short_names,
    text_of,
    to_concepts,
)
from core.datasets.readers.folder import find_photos
from core.foundation.errors import BadFile
from core.foundation.names import whole

SPLITS = {"training": "train", "validation": "val"}
NO_SCENE = "misc"

WHOLE_NAMES = {
    name.rpartition("/")[2]: name
    for name in """
        airport/airport airport/entrance arena/basketball arena/hockey arena/performance
        arena/rodeo bakery/shop car_interior/backseat car_interior/frontseat cargo_deck/airplane
        cargo_deck/boat carport/freestanding cloakroom/booth cloakroom/room cubicle/library
        desert/sand desert/vegetation dinette/vehicle elevator/door elevator/freight_elevator
        ferryboat/cargo_deck ferryboat/passenger_deck field/cultivated field/wild
        forest/broadleaf forest/needleleaf lake/artificial moat/dry moat/water
        poolroom/establishment spa/massage_room spa/mineral_bath stadium/baseball
        temple/east_asia temple/mesoamerican temple/south_asia temple/western
        theater/indoor_procenium theater/indoor_round theater/indoor_seats train_station/station
        tunnel/rail_indoor tunnel/rail_outdoor tunnel/road_indoor tunnel/road_outdoor
        tunnel/waterway underwater/coral_reef underwater/ocean_deep underwater/ocean_shallow
        waterfall/block waterfall/cascade waterfall/cataract waterfall/fan waterfall/plunge
        wine_cellar/barrel_storage wine_cellar/bottle_storage
    """.split()  # noqa: SIM905
}
"""Cut name → the scene. Those that stand for several (natural, urban, exterior, platform,
football, soccer) are left as they are."""


@dataclass(kw_only=True)
class ADE150(FileDataset):
    """20,210 + 2,000 photos with one `object` channel of 150 labels."""

    label_files: list[str]
    table: np.ndarray

    @classmethod
    def from_spec(cls, rest: str) -> ADE150:
        """Open the benchmark in folder `rest`.

        Reads two tables and lists two folders; photos are not touched. Photos without a mask
        are left out, in `problems`; photos that sceneCategories.txt does not list have no scene.

        Raises
        ------
        UnitscopeError, BadFile
            where the folder, images/, annotations/, the labels or all photos are missing.
        """
        root = folder(rest, "ade150")
        if not (root / "images").is_dir():
            below = sorted(root.glob("*/annotations"))
            root = below[0].parent if len(below) == 1 else root
        need_folder(root / "images")
        need_folder(root / "annotations")
        problems: list[Problem] = []
        concepts, concept_of = _labels(root)
        photos = find_photos(root / "images", problems)
        listing = Listing(root / "annotations")
        first: dict[str, str] = {}
        for stem in sorted(photos, key=natural):
            image, file = Path(stem).name, str(root / "images" / photos[stem])
            if f"{stem}.png" not in listing:
                missing = root / "annotations" / f"{stem}.png"
                problems.append(Problem(image, str(missing), "does not exist"))
            elif image in first:
                result = f"has the id of {photos[first[image]]}, which is listed before"
                problems.append(Problem(image, file, result))
            else:
                first[image] = stem
        kept = list(first.values())
        need_images(f"ade150:{rest}", len(kept), len(photos), problems)
        listed = _scenes(root / "sceneCategories.txt", problems)
        named = [listed.get(Path(stem).name, "") for stem in kept]
        if listed and "" in named:
            without = sum(Path(stem).name not in listed for stem in kept)
            if without:
                result = f"{without} of {len(kept)} photos are not listed, so have no scene"
                problems.append(Problem("", str(root / "sceneCategories.txt"), result))
        scenes = sorted(set(named) - {""})
        place = {scene: k for k, scene in enumerate(scenes)} | {"": -1}
        return cls(
            name="ade150",
            spec=f"ade150:{rest}",
            ids=[Path(stem).name for stem in kept],
            scene=np.array([place[scene] for scene in named], np.int32),
            split=[_split(stem) for stem in kept],
            scenes=scenes,
            concepts=concepts,
            channels=[Channel("object", "object")],
            problems=problems,
            photo_files=[str(root / "images" / photos[stem]) for stem in kept],
            label_files=[str(root / "annotations" / listing.real(f"{stem}.png")) for stem in kept],
            table=label_table(concept_of),
        )

    def annotations(self, index: int) -> Annotations:
        path = self.label_files[index]
        labels = read_labels(path)
        check_mask_size(path, labels, self.photo_files[index])
        return Annotations(to_concepts(labels, self.table, path, "objectInfo150")[None])

    def mask_files(self, index: int) -> list[str]:
        return [self.label_files[index]]

    def _meaning(self) -> Any:
        known = np.flatnonzero(self.table >= 0)
        return [known.tolist(), self.table[known].tolist()]


def _split(stem: str) -> str:
    first = stem.split("/")[0] if "/" in stem else ""
    if first in SPLITS:
        return SPLITS[first]
    name = Path(stem).name
    return next((s for s in ("train", "val") if name.startswith(f"ADE_{s}_")), first or "all")


def _labels(root: Path) -> tuple[list[Concept], dict[int, int]]:
    """The concepts and mask value → concept id, of objectInfo150.txt or .csv."""
    path = root / "objectInfo150.txt"
    if not path.is_file() and (root / "objectInfo150.csv").is_file():
        path = root / "objectInfo150.csv"
    lines = [line for line in text_of(path).splitlines() if line.strip()]
    tab = "\t" in (lines[0] if lines else "")
    # The .txt parts columns by tabs and synonyms by commas, the .csv by commas and semicolons.
    header = [c.strip().lower() for c in (lines[0] if lines else "").split("\t" if tab else ",")]
    if "idx" not in header or "name" not in header:
        raise BadFile(path, f"has no columns Idx and Name (it has {', '.join(header)})")
    full: dict[int, str] = {}
    for k, line in enumerate(lines[1:], 2):
        cells = line.split("\t") if tab else line.split(",", len(header) - 1)
        number = whole(cells[header.index("idx")]) or 0
        if len(cells) < len(header) or not 1 <= number <= 65535:
            raise BadFile(path, f"line {k}: {line!r} is not a row of {', '.join(header)}")
        if number in full:
            raise BadFile(path, f"line {k}: label {number} occurs twice")
        full[number] = cells[header.index("name")].strip()
    if not full:
        raise BadFile(path, "lists no label")
    short = short_names(full.values(), "," if tab else ";")
    concepts = [Concept(k, short[name], "object") for k, name in enumerate(full.values(), 1)]
    return concepts, {number: k for k, number in enumerate(full, 1)}


def _scenes(path: Path, problems: list[Problem]) -> dict[str, str]:
    """Photo's name → scene, "" for ``misc``."""
    if not path.is_file():
        result = "does not exist: photos have no scene, so no accuracy and no core concepts"
        problems.append(Problem("", str(path), result))
        return {}
    scenes = {}
    for line, text in enumerate(text_of(path).splitlines(), 1):
        name, _, scene = text.strip().partition(" ")
        scene = scene.strip()
        if not name:
            continue
        if not scene:
            problems.append(bad_row(path, line, f"{text!r} is not a photo and a scene", name))
        elif name in scenes:
            problems.append(bad_row(path, line, f"{name} is listed before", name))
        else:
            scenes[name] = "" if scene == NO_SCENE else WHOLE_NAMES.get(scene, scene)
    return scenes
