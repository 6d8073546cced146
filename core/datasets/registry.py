"""The kinds of dataset: how each is named, how its folder is known, and what opens it.

What :attr:`~core.foundation.registry.Row.opens` names is called with the SPEC's text behind the
kind and its colon, and returns a :class:`~core.datasets.base.SceneDataset`.
"""

from __future__ import annotations

import sys

from core.foundation.errors import UnitscopeError
from core.foundation.registry import Registry, Row

READERS = "core.datasets.readers"

DATASETS: Registry[Row] = Registry(
    "dataset",
    "unitscope.datasets",
    (
        Row(
            "rooms",
            "rooms",
            "the embedded set: scenes drawn by Unitscope, with exact masks",
            "core.rooms.plant:open_rooms",
            versions=(1,),  # it brings the tracer and Numba, and the first page asks for it
        ),
        Row(
            "ade20k",
            "ade20k:DIR",
            "the full ADE20K, released in 2016 or 2021: objects and parts",
            f"{READERS}.ade20k:ADE20K.from_spec",
            ("index_ade20k.mat", "*/index_ade20k.mat", "images/ADE", "*/images/ADE"),
        ),
        Row(
            "ade150",
            "ade150:DIR",
            "the scene parsing benchmark made of ADE20K: 150 labels",
            f"{READERS}.ade150:ADE150.from_spec",
            ("objectInfo150.*", "*/objectInfo150.txt"),
        ),
        Row(
            "nyuv2",
            "nyuv2:DIR",
            "NYU Depth v2: photos with 39 labels, or the published .mat",
            f"{READERS}.nyuv2:open_nyuv2",
            ("labels40.txt", "nyu_depth_v2_labeled.mat"),
        ),
        Row(
            "broden",
            "broden:DIR[:INDEX]",
            "Broden's layout: index.csv (or INDEX), label.csv, images/, masks as R + 256·G",
            f"{READERS}.broden:Broden.from_spec",
            ("label.csv + index*.csv",),
        ),
        Row(
            "coco",
            "coco:DIR[:stuff|:instances]",
            "COCO panoptic, COCO-Stuff, or any program's instances JSON; scenes from scenes.csv",
            f"{READERS}.coco:Coco.from_spec",
            (
                "annotations/panoptic_*.json",
                "panoptic_*.json",
                "stuffthingmaps*",
                "annotations/stuffthingmaps*",
                "annotations/instances_*.json",
                "instances_*.json",
                "_annotations.coco.json",
                "*/_annotations.coco.json",
            ),
        ),
        Row(
            "opensurfaces",
            "opensurfaces:DIR",
            "OpenSurfaces as released: shapes of materials",
            f"{READERS}.opensurfaces:OpenSurfaces.from_spec",
            (
                "shapes.materialshape.json",
                "opensurfaces/shapes.materialshape.json",
                "photos-labels",
            ),
        ),
        Row(
            "folder",
            "folder:DIR",
            "your own photos: images/, masks/, labels.csv, scenes.csv (docs/datasets.md)",
            f"{READERS}.folder:Folder.from_spec",
        ),
        Row(
            "python",
            "python:package.module:function[:REST]",
            "your own reader: an importable function that returns a SceneDataset",
            "core.datasets.python:open_python",
        ),
    ),
    Row,
    otherwise="folder",
)


def reader_versions(kind: str) -> set[int]:
    """The versions of the readers of a kind of dataset, several where it has several readers.

    They are those of the classes in the module that opens it. Empty for an unknown kind, one that
    cannot be imported, and ``python``, whose readers are known by their source text.
    """
    rows = {row.name: row for row in DATASETS}
    if kind not in rows or kind == "python":
        return set()
    return set(rows[kind].versions) or _imported_versions(rows[kind])


def _imported_versions(row: Row) -> set[int]:
    try:
        row.load()
    except UnitscopeError:
        return set()
    module = row.opens.partition(":")[0]
    return {
        one.VERSION
        for one in vars(sys.modules[module]).values()
        if isinstance(one, type) and one.__module__ == module and hasattr(one, "VERSION")
    }
