"""Time and memory of opening the published layouts, on drawn trees of their size.

    python -m core bench datasets [--images 22210] [--json]

Opening reads tables and lists folders and touches no image, so photos and masks are empty files;
tables, texts and JSON are drawn in the published formats, with as many regions, synonyms and
corners as the official samples of ADE20K have. Each tree is opened in a process of its own, which
tells the time without imports and its peak memory; the files were written just before, so they
come from the page cache: on a cold disk it takes longer.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from core.cli.common import Answer, say

LABELS, SCENES, REGIONS, CORNERS, SEGMENTS = 3000, 900, 45, 20, 11

OPEN = """
import json, resource, sys, time
from core.datasets import open_dataset
from core.datasets import ade20k, broden, coco  # so that imports are not timed
began = time.monotonic()
data = open_dataset(sys.argv[1])
took = time.monotonic() - began
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
print(json.dumps([took, peak, len(data), len(data.concepts), len(data.problems)]))
"""


def _broden(root: Path, images: int, draw: random.Random) -> str:
    (root / "images" / "set").mkdir(parents=True)
    lines = ["image,split,ih,iw,sh,sw,color,object,part,material,scene,texture"]
    for k in range(images):
        masks = [f"set/{k}_{name}.png" for name in ("color", "object", "part_1")]
        for name in (f"set/{k}.jpg", *masks):
            (root / "images" / name).touch()
        lines.append(f"set/{k}.jpg,train,224,224,112,112,{','.join(masks)},,{1 + k % SCENES},")
    (root / "index.csv").write_text("\n".join(lines))
    rows = [f"{k},label {k},color(1);object(1);part(1);scene(1)" for k in range(1, LABELS)]
    (root / "label.csv").write_text("\n".join(["number,name,category", *rows]))
    return f"broden:{root}"


def _ade20k_2016(root: Path, images: int, draw: random.Random) -> str:
    from scipy.io import savemat

    names = [f"thing {k}, synonym of {k}" for k in range(1, LABELS)]
    files, scenes = [], []
    for k in range(images):
        scene = f"scene_{k % SCENES}"
        stem = root / "images/training/s" / scene / f"ADE_train_{k:08}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        for end in (".jpg", "_seg.png", "_parts_1.png"):
            Path(f"{stem}{end}").touch()
        rows = [
            f'{r:03} # {r % 4 // 3} # 0 # {draw.choice(names)} # raw name # "a, b"\n'
            for r in range(REGIONS)
        ]
        Path(f"{stem}_atr.txt").write_text("".join(rows))
        files.append(f"{stem.name}.jpg")
        scenes.append(scene)

    def cell(texts: list[str]) -> np.ndarray:
        out = np.empty((1, len(texts)), object)
        out[0] = texts
        return out

    index = {"objectnames": cell(names), "filename": cell(files), "scene": cell(scenes)}
    # The published index has tables of this size too, and is read as a whole.
    index["objectPresence"] = np.zeros((LABELS, images), np.uint8)
    savemat(root / "index_ade20k.mat", {"index": index}, do_compression=True)
    return f"ade20k:{root}"


def _ade20k_2021(root: Path, images: int, draw: random.Random) -> str:
    for k in range(images):
        stem = root / "images/ADE/training/urban" / f"scene_{k % SCENES}" / f"ADE_train_{k:08}"
        stem.parent.mkdir(parents=True, exist_ok=True)
        for end in (".jpg", "_seg.png", "_parts_1.png"):
            Path(f"{stem}{end}").touch()
        objects = []
        for r in range(REGIONS):
            number = draw.randrange(1, LABELS)
            corners = [draw.randrange(2000) for _ in range(CORNERS)]
            objects.append(
                {
                    "id": r,
                    "name": f"thing {number}, synonym of {number}",
                    "name_ndx": number,
                    "hypernym": [
                        f"thing {number}, synonym of {number}",
                        "artifact, artefact",
                        "whole, unit",
                        "object, physical object",
                        "physical entity",
                    ],
                    "raw_name": "thing",
                    "attributes": [],
                    "depth_ordering_rank": r,
                    "occluded": "no",
                    "crop": "0",
                    "parts": {"hasparts": [], "ispartof": [], "part_level": r % 4 // 3},
                    "polygon": {"x": corners, "y": corners},
                    "saved_date": "02-Jul-2007 16:00:00",
                }
            )
        stem.with_suffix(".json").write_text(json.dumps({"annotation": {"object": objects}}))
    return f"ade20k:{root}"


def _coco(root: Path, images: int, draw: random.Random) -> str:
    (root / "train2017").mkdir(parents=True)
    (root / "annotations/panoptic_train2017").mkdir(parents=True)
    told: dict[str, list[Any]] = {"images": [], "annotations": []}
    told["categories"] = [
        {"id": k, "name": f"thing {k}", "isthing": int(k < 90), "supercategory": "x"}
        for k in range(1, 134)
    ]
    for k in range(images):
        name = f"{k:012}"
        (root / "train2017" / f"{name}.jpg").touch()
        (root / "annotations/panoptic_train2017" / f"{name}.png").touch()
        told["images"].append({"id": k, "file_name": f"{name}.jpg", "width": 640, "height": 480})
        segments = [
            {
                "id": draw.randrange(1, 2**24),
                "category_id": draw.randrange(1, 134),
                "iscrowd": 0,
                "bbox": [0, 0, 640, 480],
                "area": 307200,
            }
            for _ in range(SEGMENTS)
        ]
        told["annotations"].append(
            {"image_id": k, "file_name": f"{name}.png", "segments_info": segments}
        )
    (root / "annotations/panoptic_train2017.json").write_text(json.dumps(told))
    rows = [f"{k:012},scene {k % SCENES}" for k in range(images)]
    (root / "scenes.csv").write_text("\n".join(["image,scene", *rows]))
    return f"coco:{root}"


TREES: dict[str, Callable[[Path, int, random.Random], str]] = {
    "broden": _broden,
    "ade20k 2016": _ade20k_2016,
    "ade20k 2021": _ade20k_2021,
    "coco": _coco,
}


def measure(images: int = 22_210) -> Answer:
    """Draw each tree with `images` photos, open it, tell seconds and peak memory."""
    rows = []
    for name, make in TREES.items():
        with tempfile.TemporaryDirectory(prefix="unitscope-") as folder:
            say(f"{name}: drawing {images:,} photos' files")
            spec = make(Path(folder) / "tree", images, random.Random(0))
            told = subprocess.run(
                [sys.executable, "-c", OPEN, spec], check=True, capture_output=True, text=True
            )
            seconds, peak, count, concepts, problems = json.loads(told.stdout)
            assert count == images and not problems, told.stdout
            rows.append(
                {
                    "layout": name,
                    "images": count,
                    "concepts": concepts,
                    "seconds": round(seconds, 2),
                    "peak_mb": round(peak),
                }
            )
    lines = [f"{'layout':12} {'images':>7} {'concepts':>8} {'seconds':>8} {'peak MB':>8}"]
    lines += [
        f"{r['layout']:12} {r['images']:7,} {r['concepts']:8,} {r['seconds']:8.2f} "
        f"{r['peak_mb']:8,}"
        for r in rows
    ]
    return {"opened": rows}, "\n".join(lines)
