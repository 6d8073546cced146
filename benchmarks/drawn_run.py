"""A run file of any size, drawn from a seed: to see how the app does on a large one.

    python -m benchmarks.drawn_run [--images 20000] [--units 512] [--seed 0] [--out DIR]
    python -m benchmarks.drawn_run --images 1000000 --cell 2 --photos 500      # in 10 GB, not 33

No network and no photos are needed; the numbers mean nothing, but they fit together as those of
a real run do. Every image has label maps on a coarse grid, every lit region is a block of that
grid, and hits, areas and overlaps are counted from the two. Units have a favourite concept, so
that some labels beat chance; how many units are lit in an image, and how many concepts a lit
region meets, are as in real runs of ResNet-18 and SqueezeNet on NYUv2 and `rooms`. Units are
disabled in closed form, by a linear head that is drawn as well.
"""

from __future__ import annotations

import argparse
import io
import json
import time
from collections import Counter
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pandas as pd
from PIL import Image

from core.ablation.check import Check
from core.ablation.closed_form import ClosedForm, Reach
from core.ablation.edits import kind_of
from core.ablation.recorded import Recorded
from core.dissect.labels import chance_rows
from core.dissect.significance import split_sets
from core.foundation.digest import DIGITS, digest_of
from core.foundation.settings import CACHE, ROOT
from core.runs.arrays import ArrayFile
from core.runs.run_file import Run
from core.runs.tables import SCHEMA, append, create_tables, tables_digest
from core.views.pictures import PALETTE

CATEGORIES = ("object", "part", "material")
SIDE = 8
"""Cells of the coarse grid, by which everything is counted."""
CELL = 8
"""Pixels of the working grid a cell, unless asked otherwise: the grid is 64 × 64."""
CHUNK = 500
CLASSES, SCENES, PLACES = 365, 150, 30
FACTS = ROOT / "data" / "everyday.tsv"
LAYER = "layer4"
SHUFFLES = 500


def names_of_facts() -> tuple[list[tuple[str, str]], list[str]]:
    """((concept, category), …) and scenes, the commonest of the built-in facts: so that core
    concepts and explanations have something to find in a drawn run."""
    facts = [
        line.split("\t")[:3]
        for line in FACTS.read_text(encoding="utf-8").splitlines()
        if line and not line.startswith("#")
    ]

    def most(relation: str, column: int, count: int, but: set[str]) -> list[str]:
        times = Counter(f[column] for f in facts if f[0] == relation and f[column] not in but)
        return sorted(times, key=lambda name: (-times[name], name))[:count]

    places = most("AtLocation", 2, PLACES, set())
    things = most("AtLocation", 1, 200, set(places))
    parts = most("HasA", 2, 70, {*places, *things})
    stuffs = most("MadeOf", 2, 30, {*places, *things, *parts})
    groups = zip(CATEGORIES, (things, parts, stuffs), strict=True)
    return [(name, category) for category, names in groups for name in names], places


class World:
    """What is the same for all images: names, what a scene holds, what a unit likes."""

    def __init__(self, units: int, seed: int):
        concepts, places = names_of_facts()
        self.concepts = [(k + 1, *one) for k, one in enumerate(concepts)]
        # Scenes known to the built-in facts first; they are also the commonest.
        self.scenes = [*places, *(f"scene {k:03}" for k in range(len(places), SCENES))]
        self.classes = [*self.scenes, *(f"class {k:03}" for k in range(SCENES, CLASSES))]
        rng = np.random.default_rng(seed)
        self.ids = {
            name: np.array([k for k, _, c in self.concepts if c == name]) for name in CATEGORIES
        }
        self.holds = {
            name: np.stack(
                [
                    rng.choice(
                        ids, size=min(len(ids), 18 if name == "object" else 10), replace=False
                    )
                    for _ in self.scenes
                ]
            )
            for name, ids in self.ids.items()
        }
        weight = 1 / (np.arange(SCENES) + 4)
        self.share = weight / weight.sum()
        self.likes = rng.integers(1, len(self.concepts) + 1, units)
        self.loyal = rng.beta(1, 3, units)


def draw_chunk(world: World, first: int, count: int, seed: int, cell: int = CELL) -> dict[str, Any]:
    """Images first … first + count − 1: labels, lit regions, answers."""
    rng = np.random.default_rng([seed, first])
    n, units = count, len(world.likes)
    scene = rng.choice(SCENES, n, p=world.share)
    cells = np.zeros((n, len(CATEGORIES), SIDE * SIDE), np.uint16)
    for g, name in enumerate(CATEGORIES):
        many = 8 if name == "object" else 4
        own = world.holds[name][scene]
        pick = np.take_along_axis(own, rng.random(own.shape).argsort(1)[:, :many], 1)
        # Blocks of cells with one label: every cell takes the label of its nearest seed.
        spots = rng.integers(0, SIDE, (n, many, 2))
        at = np.stack(np.divmod(np.arange(SIDE * SIDE), SIDE), 1)
        far = np.abs(spots[:, None] - at[None, :, None]).sum(-1)
        cells[:, g] = np.take_along_axis(pick, far.argmin(2), 1)
        # Some of the photo is annotated in no category.
        cells[:, g][rng.random((n, SIDE * SIDE)) < (0.1 if g == 0 else 0.6)] = 0

    flat = cells.reshape(n, -1)
    present = np.zeros((n, len(world.concepts) + 1), bool)
    present[np.arange(n)[:, None], flat] = True
    chance = 0.09 + 0.6 * present[:, world.likes] * world.loyal
    image, unit = np.nonzero(rng.random((n, units)) < chance)
    # A lit region: a block of 1 or 2 by 1 or 2 cells, often on the favourite.
    like = world.likes[unit]
    channel = np.array([CATEGORIES.index(c) for _, _, c in world.concepts])[like - 1]
    here = cells[image, channel] == like[:, None]
    loyal = here.any(1) & (rng.random(len(image)) < 0.4 + 0.6 * world.loyal[unit])
    start = np.where(
        loyal, (here * rng.random(here.shape)).argmax(1), rng.integers(0, SIDE * SIDE, len(image))
    )
    row, column = np.divmod(start, SIDE)
    lit = np.stack(
        [
            np.minimum(row + dr, SIDE - 1) * SIDE + np.minimum(column + dc, SIDE - 1)
            for dr in (0, 1)
            for dc in (0, 1)
        ],
        1,
    )
    tall, wide = rng.random((2, len(image))) < 0.5
    lit[:, 1] = np.where(wide, lit[:, 1], lit[:, 0])
    lit[:, 2] = np.where(tall, lit[:, 2], lit[:, 0])
    lit[:, 3] = np.where(tall & wide, lit[:, 3], lit[:, 0])
    lit.sort(1)
    fresh = np.ones(lit.shape, bool)
    fresh[:, 1:] = lit[:, 1:] != lit[:, :-1]
    met = cells[image[:, None, None], np.arange(len(CATEGORIES))[None, :, None], lit[:, None, :]]
    met = np.where(fresh[:, None, :], met, 0)
    inside = (met > 0).sum(2) * cell * cell
    pair, _, spot = np.nonzero(met)
    concept = met[met > 0]
    key, times = np.unique(pair * 100_000 + concept.astype(np.int64), return_counts=True)
    pair, concept = np.divmod(key, 100_000)

    area_key, area = np.unique(
        (np.arange(n)[:, None] * 100_000 + flat)[flat > 0], return_counts=True
    )
    right = rng.random(n) < 0.55
    answer = np.where(right, scene, rng.integers(0, CLASSES, n))
    logits = rng.normal(0, 1, (n, CLASSES)).astype(np.float32)
    logits[np.arange(n), answer] += rng.uniform(3, 8, n)
    active = np.zeros((n, units), bool)
    active[image, unit] = True
    peaks = np.where(active, 1 + rng.exponential(0.5, (n, units)), rng.random((n, units)) * 0.99)
    return {
        "scene": scene,
        "cells": cells,
        "logits": logits,
        "peaks": peaks.astype(np.float32),
        "hits": (image, unit, fresh.sum(1) * cell * cell, inside),
        "counts": (image[pair], unit[pair], concept, times * cell * cell),
        "areas": (*np.divmod(area_key, 100_000), area * cell * cell),
        "annotated": (cells > 0).sum(2) * cell * cell,
    }


def photo(cells: np.ndarray, palette: np.ndarray) -> bytes:
    """A JPEG of 128 × 128 pixels in the colours of the objects."""
    small = palette[cells[0].reshape(SIDE, SIDE)].astype(np.uint8)
    out = io.BytesIO()
    Image.fromarray(small).resize((128, 128), Image.Resampling.BICUBIC).save(
        out, "JPEG", quality=70
    )
    return out.getvalue()


def make(
    images: int = 20_000,
    units: int = 512,
    seed: int = 0,
    root: Path = CACHE / "drawn",
    cell: int = CELL,
    photos: int | None = None,
) -> Run:
    """Draw the run, or open it where it is drawn already. The same seed gives the same tables.

    cell : pixels of the working grid a cell. photos : how many different ones there are, a picture
    an image where None; later images show the first ones again.
    """
    digest = digest_of(["drawn", 3, images, units, seed, cell, photos])[:DIGITS]
    final = root / f"{digest}.duckdb"
    if final.is_file():
        return Run(final)
    root.mkdir(parents=True, exist_ok=True)
    began = time.monotonic()
    world = World(units, seed)
    arrays = final.with_suffix(".arrays")
    arrays.mkdir(exist_ok=True)
    files = {
        "labels": ((images, len(CATEGORIES), SIDE * cell, SIDE * cell), np.uint16),
        "logits": ((images, CLASSES), np.float32),
        f"pooled-{LAYER}": ((images, units), np.float32),
        f"peaks-{LAYER}": ((images, units), np.float32),
    }
    for name in files:
        (arrays / f"{name}.npy").unlink(missing_ok=True)
    wide = {n: ArrayFile(arrays / f"{n}.npy", shape, kind) for n, (shape, kind) in files.items()}
    palette = np.array(
        [(128, 128, 128), *(PALETTE[k % len(PALETTE)] for k, _, _ in world.concepts)]
    )
    fresh = root / f"{digest}.duckdb.new"
    fresh.unlink(missing_ok=True)
    con = duckdb.connect(str(fresh))
    at: list[tuple[int, int]] = []
    try:
        con.execute("SET memory_limit = '1GB'; SET threads = 2")
        create_tables(con, CATEGORIES)
        with (arrays / "photos.bin").open("wb") as out:
            for first in range(0, images, CHUNK):
                part = draw_chunk(world, first, min(CHUNK, images - first), seed, cell)
                for one in part["cells"][: max(0, (photos or images) - len(at))]:
                    picture = photo(one, palette)
                    at.append((out.tell(), len(picture)))
                    out.write(picture)
                shown = [at[k % len(at)] for k in range(first, first + len(part["scene"]))]
                _add(con, wide, world, part, first, np.array(shown), cell)
        _sums(con, world, seed)
        _meta(con, world, images, units, seed, began, cell)
        con.execute("CHECKPOINT")
    finally:
        con.close()
        for file in wide.values():
            file.close()
    fresh.rename(final)
    run = Run(final)
    _keep_head(run, units, seed)
    return run


def _keep_head(run: Run, units: int, seed: int) -> None:
    """A linear head, kept as :meth:`core.ablation.closed_form.ClosedForm.keep` keeps one that was
    found of a network: units can be disabled without any. Edits change the drawn logits."""
    weights = np.random.default_rng([seed, 2**32]).normal(0, 1, (units, CLASSES))
    kinds = [kind_of(*edit)[0] for edit in ((1, 0), (0, 0), (0.5, 0), (2, 0), (-1, 0), (0, 1))]
    check = Check(0.0, "this run was drawn with its head", recorded=0.0, flipped=0)
    everything = Reach(dict.fromkeys(kinds, 0.0), dict.fromkeys(kinds, 1e9), 1e-5, lambda *_: 0.0)
    recorded = Recorded.of(run)
    form = ClosedForm(recorded, weights.astype(np.float32), recorded.logits, check, everything)
    form.keep()


def _add(
    con: duckdb.DuckDBPyConnection,
    wide: dict[str, ArrayFile],
    world: World,
    part: dict[str, Any],
    first: int,
    shown: np.ndarray,
    cell: int,
) -> None:
    """A chunk's rows. shown : int (images, 2), place and size of each image's photo."""
    cells, scene, logits = part["cells"], part["scene"], part["logits"]
    n = len(scene)
    grid = cells.reshape(n, len(CATEGORIES), SIDE, SIDE)
    wide["labels"].write(first, grid.repeat(cell, 2).repeat(cell, 3))
    wide["logits"].write(first, logits)
    wide[f"peaks-{LAYER}"].write(first, part["peaks"])
    wide[f"pooled-{LAYER}"].write(first, part["peaks"] * 0.2)
    predicted = logits.argmax(1)
    exp = np.exp(logits.astype(np.float64) - logits.max(1, keepdims=True))
    image = first + np.arange(n)
    append(
        con,
        "images",
        pd.DataFrame(
            {
                "image": image,
                "id": [f"drawn-{k:06}" for k in image],
                "split": np.where(image % 4 == 0, "test", "train"),
                "scene": scene,
                "predicted": predicted,
                "confidence": (1 / exp.sum(1)).astype(np.float32),
                "correct": predicted == scene,
                "photo_at": shown[:, 0],
                "photo_bytes": shown[:, 1],
            }
        ),
    )
    own, unit, hits, inside = part["hits"]
    frame = pd.DataFrame(
        {
            "layer": 0,
            "image": first + own,
            "unit": unit,
            "hits": hits,
            "peak": part["peaks"][own, unit],
        }
    )
    for g, name in enumerate(CATEGORIES):
        frame[f"hits_{name}"] = inside[:, g]
    append(con, "hits", frame)
    own, unit, concept, overlap = part["counts"]
    append(
        con,
        "counts",
        pd.DataFrame(
            {
                "layer": 0,
                "image": first + own,
                "unit": unit,
                "concept": concept,
                "overlap": overlap,
            }
        ),
    )
    own, concept, area = part["areas"]
    # The image's own scene holds for all of it, and follows the other concepts.
    whole = pd.DataFrame(
        {"image": image, "concept": len(world.concepts) + 1 + scene, "area": (SIDE * cell) ** 2}
    )
    areas = pd.DataFrame({"image": first + own, "concept": concept, "area": area})
    areas = pd.concat([areas, whole]).sort_values(["image", "concept"])
    append(con, "areas", areas)
    append(
        con,
        "annotated",
        pd.DataFrame(
            {
                "image": image.repeat(len(CATEGORIES)),
                "category": list(CATEGORIES) * n,
                "area": part["annotated"].ravel(),
            }
        ),
    )


def _sums(con: duckdb.DuckDBPyConnection, world: World, seed: int) -> None:
    """The tables that sum others up, as core.dissect.publish makes them; chance is drawn."""
    names = {"class": range(CLASSES), "name": world.classes}
    append(con, "classes", pd.DataFrame(names))
    scene = range(SCENES)
    append(con, "scenes", pd.DataFrame({"scene": scene, "name": world.scenes, "class": scene}))
    table = pd.DataFrame(world.concepts, columns=["concept", "name", "category"])
    first = len(world.concepts) + 1
    own = pd.DataFrame(
        {"concept": range(first, first + SCENES), "name": world.scenes, "category": "scene"}
    )
    table = pd.concat([table, own], ignore_index=True)
    table["whole"] = table["category"] == "scene"
    sums = con.execute(
        "SELECT concept, count(*) AS images, sum(area)::BIGINT AS area FROM areas GROUP BY concept"
    ).df()
    table = table.merge(sums, on="concept", how="left").fillna({"images": 0, "area": 0})
    append(con, "concepts", table.astype({"images": int, "area": int}))
    units = len(world.likes)
    append(
        con,
        "layers",
        pd.DataFrame(
            {"layer": [0], "name": [LAYER], "units": [units], "height": [SIDE], "width": [SIDE]}
        ),
    )
    by = [f"hits_{name}" for name in CATEGORIES]
    seen = con.execute(
        "SELECT unit, count(*) AS images, sum(hits)::BIGINT AS hits, "
        + ", ".join(f"sum({name})::BIGINT AS {name}" for name in by)
        + " FROM hits GROUP BY unit"
    ).df()
    frame = pd.DataFrame({"layer": 0, "unit": range(units), "threshold": 1.0})
    frame = frame.merge(seen, on="unit", how="left").fillna(0)
    append(con, "units", frame.astype({name: int for name in ("images", "hits", *by)}))
    con.execute("""
        INSERT INTO unit_concept
        SELECT layer, unit, concept, sum(overlap)::BIGINT AS overlap FROM (
            SELECT layer, unit, concept, overlap FROM counts
            UNION ALL
            SELECT h.layer, h.unit, a.concept, h.hits
            FROM hits h JOIN areas a USING (image) JOIN concepts c USING (concept) WHERE c.whole
        ) GROUP BY layer, unit, concept ORDER BY layer, unit, concept
        """)
    # As a unit would fare that likes nothing: about what the middle one reaches.
    best = con.execute("SELECT max(iou_all) AS best FROM dataset_iou GROUP BY unit").df()["best"]
    level = float(best.median())
    rng = np.random.default_rng([seed, 2**31])
    groups = sorted(set(table["category"]))
    for splits in split_sets(["test", "train"]):
        best = level * rng.gamma(16, 1 / 18, (2, len(groups), units, SHUFFLES))
        rows = chance_rows(best.astype(np.float32), splits, groups)
        append(con, "chance", rows.add_column(0, "layer", [[0] * len(rows)]))


def _meta(
    con: duckdb.DuckDBPyConnection,
    world: World,
    images: int,
    units: int,
    seed: int,
    began: float,
    cell: int,
) -> None:
    scored = con.execute(
        "SELECT split, count(*), sum(correct::INT)::INT FROM images GROUP BY split ORDER BY split"
    ).fetchall()
    by_split = {split: {"images": n, "right": right} for split, n, right in scored}
    spec = f"drawn:{images}x{units}:{seed}"
    side = SIDE * cell
    meta = {
        "schema": SCHEMA,
        "untrained": {"made": False, "why": "this run was drawn"},
        "settings": {
            "dataset": {"spec": spec, "digest": spec},
            "model": {"spec": spec, "digest": spec},
            "layers": [LAYER],
            "splits": [],
            "q": 0.005,
            "grid": [side, side],
            "shuffles": SHUFFLES,
            "seed": seed,
            "keep_maps": False,
            "map_type": "float16",
            "device": "cpu",
            "precision": "float32",
            "preprocessing": {},
        },
        "dataset_name": "drawn",
        "model_notes": {},
        "categories": list(CATEGORIES),
        "channels": [[name, name] for name in CATEGORIES],
        "images": {"planned": images, "used": images},
        "accuracy": {
            "scored": images,
            "right": sum(right for _, _, right in scored),
            "by_split": by_split,
            "unmatched_scenes": [],
        },
        "tables_digest": tables_digest(con),
        "versions": {"duckdb": duckdb.__version__},
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "seconds": {"draw": round(time.monotonic() - began, 3)},
    }
    rows = [(key, json.dumps(value)) for key, value in meta.items()]
    append(con, "meta", pd.DataFrame(rows, columns=["key", "value"]))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=20_000)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--cell", type=int, default=CELL, help="pixels of the grid a cell")
    parser.add_argument("--photos", type=int, help="different ones; one an image")
    parser.add_argument("--out", type=Path, default=CACHE / "drawn")
    given = parser.parse_args()
    start = time.monotonic()
    run = make(given.images, given.units, given.seed, given.out, given.cell, given.photos)
    rows = {
        name: int(run.sql(f"SELECT count(*) AS n FROM {name}")["n"][0])
        for name in ("images", "hits", "counts", "areas", "unit_concept")
    }
    size = run.path.stat().st_size + sum(f.stat().st_size for f in run.arrays.iterdir())
    print(f"{run.path}: {rows}, {size / 1e6:.0f} MB, {time.monotonic() - start:.1f} s")
