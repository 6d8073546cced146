"""Datasets: `open_dataset` turns a SPEC into a :class:`~core.datasets.base.SceneDataset`."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

from core.datasets.base import SceneDataset
from core.foundation.errors import UnitscopeError, nearest


class Kind(NamedTuple):
    """One way to name a dataset: the word before the colon, the whole form, what it reads."""

    name: str
    form: str
    about: str


KINDS = (
    Kind("rooms", "rooms", "the embedded set: scenes drawn by Unitscope, with exact masks"),
    Kind("ade20k", "ade20k:DIR", "the full ADE20K, released in 2016 or 2021: objects and parts"),
    Kind("ade150", "ade150:DIR", "the scene parsing benchmark made of ADE20K: 150 labels"),
    Kind("nyuv2", "nyuv2:DIR", "NYU Depth v2: photos with 39 labels, or the published .mat"),
    Kind(
        "broden",
        "broden:DIR[:INDEX]",
        "Broden's layout: index.csv (or INDEX), label.csv, images/, masks as R + 256·G",
    ),
    Kind(
        "coco",
        "coco:DIR[:stuff|:instances]",
        "COCO panoptic, COCO-Stuff, or any program's instances JSON; scenes from scenes.csv",
    ),
    Kind("opensurfaces", "opensurfaces:DIR", "OpenSurfaces as released: shapes of materials"),
    Kind(
        "folder",
        "folder:DIR",
        "your own photos: images/, masks/, labels.csv, scenes.csv (docs/datasets.md)",
    ),
)


def open_dataset(spec: str) -> SceneDataset:
    """The dataset that a SPEC names, its tables read and checked, no photo touched yet.

    >>> open_dataset("brodn:data")
    Traceback (most recent call last):
    core.foundation.errors.UnitscopeError: unknown dataset 'brodn:data'; nearest: \
broden:DIR[:INDEX]; forms: rooms, ade20k:DIR, ade150:DIR, nyuv2:DIR, broden:DIR[:INDEX], \
coco:DIR[:stuff|:instances], opensurfaces:DIR, folder:DIR

    Raises
    ------
    UnitscopeError
        for a kind that does not exist (tells the forms), and where the reader finds nothing
        to read; :class:`core.foundation.errors.BadFile` where one of the dataset's tables is
        unusable.
    """
    kind, _, rest = spec.strip().partition(":")
    dataset: SceneDataset
    # Imported here, so that a run on one kind does not pay for the others' imports.
    match kind:
        case "rooms":
            from core.rooms.dataset import Rooms

            dataset = Rooms.from_spec(rest)
        case "ade20k":
            from core.datasets.readers.ade20k import ADE20K

            dataset = ADE20K.from_spec(rest)
        case "ade150":
            from core.datasets.readers.ade150 import ADE150

            dataset = ADE150.from_spec(rest)
        case "nyuv2":
            from core.datasets.readers.nyuv2 import open_nyuv2

            dataset = open_nyuv2(rest)
        case "broden":
            from core.datasets.readers.broden import Broden

            dataset = Broden.from_spec(rest)
        case "coco":
            from core.datasets.readers.coco import Coco

            dataset = Coco.from_spec(rest)
        case "opensurfaces":
            from core.datasets.readers.opensurfaces import OpenSurfaces

            dataset = OpenSurfaces.from_spec(rest)
        case "folder":
            from core.datasets.readers.folder import Folder

            dataset = Folder.from_spec(rest)
        case _:
            raise _unknown_kind(spec.strip(), kind)
    dataset.check()
    return dataset


def _unknown_kind(spec: str, kind: str) -> UnitscopeError:
    told = f"unknown dataset {spec!r}"
    if spec and Path(spec).expanduser().is_dir():
        told += f"; to read that folder, write {_kind_of(Path(spec).expanduser())}:{spec}"
    else:
        forms = {k.name: k.form for k in KINDS}
        near = [forms[name] for name in nearest(kind, forms)]
        told += f"; nearest: {', '.join(near)}" if near else ""
    return UnitscopeError(f"{told}; forms: {', '.join(k.form for k in KINDS)}")


def _kind_of(path: Path) -> str:
    """The kind whose files lie in a folder; `folder` where none does."""

    def has(*patterns: str) -> bool:
        return any(next(path.glob(pattern), None) is not None for pattern in patterns)

    signs = {
        "nyuv2": ("labels40.txt", "nyu_depth_v2_labeled.mat"),
        "ade150": ("objectInfo150.*", "*/objectInfo150.txt"),
        "coco": (
            "annotations/panoptic_*.json",
            "panoptic_*.json",
            "stuffthingmaps*",
            "annotations/stuffthingmaps*",
            "annotations/instances_*.json",
            "instances_*.json",
            "_annotations.coco.json",
            "*/_annotations.coco.json",
        ),
        "opensurfaces": (
            "shapes.materialshape.json",
            "opensurfaces/shapes.materialshape.json",
            "photos-labels",
        ),
        "ade20k": ("index_ade20k.mat", "*/index_ade20k.mat", "images/ADE", "*/images/ADE"),
    }
    if has("label.csv") and has("index*.csv"):
        return "broden"
    return next((kind for kind, patterns in signs.items() if has(*patterns)), "folder")
