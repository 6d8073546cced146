"""Golden readers and the drawn world: small trees of every format, and one photo a scene."""

from __future__ import annotations

import hashlib
import importlib
import pkgutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

from tests.golden_inputs import Inputs, picture


def dataset_facts(spec: str) -> Any:
    """All that a dataset says: names, scenes, splits, label maps, photos' sizes, problems."""
    from core.datasets import open_dataset

    data = open_dataset(spec)
    out: dict[str, Any] = {
        "ids": list(data.ids),
        "scene": np.asarray(data.scene),
        "scenes": list(data.scenes),
        "split": list(data.split),
        "concepts": [[one.id, one.name, one.category] for one in data.concepts[:40]],
        "problems": len(data.problems),
    }
    for index in range(len(data)):
        photo, marked = data.photo(index), data.annotations(index)
        out[f"photo {index}"] = [
            list(photo.size),
            int(np.asarray(photo, np.int64).sum()),
            marked.maps,
            list(marked.whole),
        ]
    return out


def readers() -> dict[type, Callable[[Path], Iterable[str]]]:
    """Class of a reader → writes small trees into a folder, and gives the SPECs that open them.

    The writers are those of the readers' own tests.
    """
    from core.datasets.instances import Instances
    from core.datasets.readers.ade20k import ADE20K
    from core.datasets.readers.ade150 import ADE150
    from core.datasets.readers.broden import Broden
    from core.datasets.readers.coco import Coco
    from core.datasets.readers.folder import Folder
    from core.datasets.readers.nyuv2 import NYUv2, NYUv2Mat
    from core.datasets.readers.opensurfaces import OpenSurfaces
    from tests.datasets.files import folder_tree
    from tests.datasets.readers.test_ade20k import benchmark, packed, release_2016
    from tests.datasets.readers.test_broden import broden_tree
    from tests.datasets.readers.test_coco import panoptic_tree, stuff_tree
    from tests.datasets.readers.test_nyuv2 import nyu_tree
    from tests.datasets.readers.test_nyuv2_mat import published
    from tests.datasets.readers.test_opensurfaces import release
    from tests.datasets.test_instances import INNER, LEFT, one, region

    def ade20k(root: Path) -> Iterable[str]:
        from tests.datasets.files import save, write
        from tests.datasets.readers.test_ade20k import Region, json_text

        yield f"ade20k:{release_2016(root / '2016')}"
        stem = root / "2021/images/ADE/training/urban/inn__outdoor/ADE_train_00000009"
        save(stem.with_suffix(".jpg"), picture(40, 30))
        labels = np.array([[3000, 1, 0, 1]] * 3).repeat(10, 0).repeat(10, 1)
        save(Path(f"{stem}_seg.png"), packed(labels))
        rows = [Region(0, "wall", 1), Region(0, "door, gate", 3000)]
        write(stem.with_suffix(".json"), json_text(rows))
        yield f"ade20k:{root / '2021'}"

    def mat(root: Path) -> Iterable[str]:
        published(root)
        yield f"nyuv2:{root}"

    def instances(root: Path) -> Iterable[str]:
        yield f"coco:{one(root, [region(1, [LEFT]), region(2, [INNER])])}"

    return {
        ADE20K: ade20k,
        ADE150: lambda root: [f"ade150:{benchmark(root)}"],
        Broden: lambda root: [f"broden:{broden_tree(root)}"],
        Coco: lambda root: [
            f"coco:{panoptic_tree(root / 'panoptic')}",
            f"coco:{stuff_tree(root / 'stuff')}",
        ],
        Instances: instances,
        Folder: lambda root: [f"folder:{folder_tree(root)}"],
        NYUv2: lambda root: [f"nyuv2:{nyu_tree(root)}"],
        NYUv2Mat: mat,
        OpenSurfaces: lambda root: [f"opensurfaces:{release(root)}"],
    }


def all_readers() -> set[type]:
    """Every class that reads a dataset from files; `rooms` is drawn, and has its own version."""
    from core.datasets import readers as package
    from core.datasets.base import SceneDataset

    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")
    found: set[type] = set()
    waiting: list[type] = [SceneDataset]
    while waiting:
        below = waiting.pop().__subclasses__()
        below = [one for one in below if one.__module__.startswith("core.")]
        waiting += below
        found |= {one for one in below if not getattr(one, "__abstractmethods__", None)}
    return {one for one in found if not one.__module__.startswith("core.rooms")}


def world(_: Inputs) -> Any:
    """SHA-256 of one photo a scene of `rooms`, and of its masks as names."""
    from core.rooms import SCENES
    from core.rooms.dataset import draw_picture

    out = {}
    for scene in SCENES:
        drawn_ = draw_picture(7, scene, "val", 0)
        out[scene] = {"rgb": hashlib.sha256(drawn_.rgb.tobytes()).hexdigest()}
        for kind in ("object", "part", "material"):
            names = np.array(drawn_.names[kind], object)[getattr(drawn_, kind)]
            text = "\n".join(names.ravel())
            out[scene][kind] = hashlib.sha256(text.encode()).hexdigest()
    return out


def planting(_: Inputs) -> Any:
    """Where each thing stands in a scene and of what solids it is; SHA-256 of one photo."""
    from core.rooms import SCENES
    from core.rooms.dataset import build_world
    from core.rooms.plant import THINGS, draw_planted, planted_world

    out: dict[str, Any] = {}
    for thing, scene in zip(THINGS, SCENES, strict=False):
        plain = len(build_world(7, scene, "val", 0)._prims)
        solids = planted_world(thing, 7, scene, "val", 0)._prims[plain:]
        out[thing] = np.array(solids, np.float64)
    photo = draw_planted("orange cone", 7, "farm", "val", 0).rgb
    return {**out, "photo": hashlib.sha256(photo.tobytes()).hexdigest()}
