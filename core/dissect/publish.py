"""The last stage: all that was counted into the tables of one DuckDB file, renamed into place."""

from __future__ import annotations

import json
import platform
import shutil
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path

import duckdb
import numpy as np
import pandas as pd
import torch

from core.datasets.scenes import class_of, images_of, summary
from core.dissect.chance import Exchange, active_rows
from core.dissect.labels import chance_rows, iou_table
from core.dissect.passes import Collected
from core.dissect.significance import permutation_p
from core.dissect.work import Job
from core.foundation.plain import Json
from core.runs.tables import (
    DENOMINATORS,
    SCHEMA,
    append,
    create_tables,
    tables_digest,
)


def publish(
    job: Job,
    collected: Collected,
    exchange: Exchange | None,
    seconds: Mapping[str, float],
    mixed: Json | None = None,
) -> None:
    """All tables into ``run.duckdb``, shard by shard; photos into one file.

    exchange : of the null distributions, None where there are none. seconds : of the stages so
    far. mixed : what the run's precision does to labels (:mod:`core.dissect.precision`), None where
    it is single.
    """
    began = time.monotonic()
    target = job.work.folder / "run.duckdb"
    for stale in (target, target.with_suffix(".duckdb.wal")):
        stale.unlink(missing_ok=True)
    con = duckdb.connect(str(target))
    try:
        # Rows arrive in order and leave memory shard by shard.
        con.execute("SET memory_limit = '512MB'; SET threads = 2")
        create_tables(con, job.plan.categories)
        images = _publish_images(con, job)
        _publish_names(con, job)
        _publish_counts(con, job)
        _publish_areas(con, job, collected)
        _publish_sums(con, job, collected)
        if exchange is not None:
            _publish_chance(con, job, collected, exchange)
        meta = _meta(con, job, images)
        meta["seconds"] = {**seconds, "publish": round(time.monotonic() - began, 3)}
        if mixed is not None:
            meta["precision_effect"] = mixed
        rows = [(key, json.dumps(value, ensure_ascii=False)) for key, value in meta.items()]
        append(con, "meta", pd.DataFrame(rows, columns=["key", "value"]))
        con.execute("CHECKPOINT")
    finally:
        con.close()


def into_place(folder: Path, final: Path) -> bool:
    """Put a whole run in its place. Every step may have been done before a kill.

    False where the mark ``published`` speaks of a file that is nowhere: it is no mark then, and
    everything that was marked with it is removed.
    """
    if not final.is_file() and not (folder / "run.duckdb").is_file():
        shutil.rmtree(folder, ignore_errors=True)
        return False
    if (folder / "published").exists():
        arrays = final.with_suffix(".arrays")
        if (folder / "arrays").is_dir():
            shutil.rmtree(arrays, ignore_errors=True)
            (folder / "arrays").rename(arrays)
        if (folder / "run.duckdb").is_file():
            (folder / "run.duckdb").rename(final)
    shutil.rmtree(folder, ignore_errors=True)
    return True


# -- images and names -------------------------------------------------------------------------


def _publish_images(con: duckdb.DuckDBPyConnection, job: Job) -> pd.DataFrame:
    """Tables `images` and `skipped`, and the photos; returns the former."""
    plan, work, data = job.plan, job.work, job.plan.dataset
    valid = work.joined("collect", "valid")
    with (work.arrays_folder / "photos.bin").open("wb") as out:
        for k in range(len(work.shards)):
            with (work.folder / f"photos-{k:05d}.bin").open("rb") as part:
                shutil.copyfileobj(part, out)
    sizes = work.joined("collect", "photo_bytes")
    predicted, confidence = _predictions(job)
    place = class_of(plan.matches)
    scene = np.asarray(data.scene)[plan.indices]
    wanted = np.where(scene >= 0, place[scene] if len(place) else -1, -1)
    # An image whose scene the network does not know is neither right nor wrong.
    correct = pd.array(predicted == wanted, dtype="boolean")
    correct[wanted < 0] = pd.NA
    frame = pd.DataFrame(
        {
            "image": np.arange(len(valid), dtype=np.int32),
            "id": [data.ids[i] for i in plan.indices],
            "split": [data.split[i] for i in plan.indices],
            "scene": pd.array(scene, dtype="Int32"),
            "predicted": predicted,
            "confidence": confidence,
            "correct": correct,
            "photo_at": np.concatenate([[0], np.cumsum(sizes)[:-1]]).astype(np.int64),
            "photo_bytes": sizes.astype(np.int32),
        }
    )
    frame.loc[scene < 0, "scene"] = pd.NA
    if job.arrays.logits is None:
        frame[["predicted", "confidence"]] = None
    append(con, "images", frame[valid])
    known = np.array([list(p) for p in data.problems], dtype=str).reshape(-1, 3)
    problems = np.concatenate([known, work.joined("collect", "problems")])
    append(con, "skipped", pd.DataFrame(problems, columns=["id", "file", "reason"]))
    return frame[valid]


def _predictions(job: Job) -> tuple[np.ndarray, np.ndarray]:
    """(predicted class, its softmax probability) of each image; 0 without a classifier."""
    n = len(job.plan.indices)
    predicted, confidence = np.zeros(n, np.int32), np.zeros(n, np.float32)
    if job.arrays.logits is not None:
        for a, b in job.work.shards:
            logits = job.arrays.logits.read(a, b - a).astype(np.float64)
            predicted[a:b] = logits.argmax(1)
            shifted = np.exp(logits - logits.max(1, keepdims=True))
            confidence[a:b] = 1.0 / shifted.sum(1)
    return predicted, confidence


def _publish_names(con: duckdb.DuckDBPyConnection, job: Job) -> None:
    """Tables `classes`, `scenes` and `layers`."""
    plan, data = job.plan, job.plan.dataset
    names = [f"class {k}" for k in range(plan.outputs)]
    if names and plan.model.classes:
        names = plan.model.classes
    append(con, "classes", pd.DataFrame({"class": np.arange(len(names)), "name": names}))
    place = class_of(plan.matches)
    scenes = {
        "scene": np.arange(len(data.scenes)),
        "name": data.scenes,
        "class": pd.array([k if k >= 0 else None for k in place], dtype="Int32"),
    }
    append(con, "scenes", pd.DataFrame(scenes))
    layers = pd.DataFrame([layer._asdict() for layer in plan.layers])
    layers.insert(0, "layer", np.arange(len(layers)))
    append(con, "layers", layers[["layer", "name", "units", "height", "width"]])


# -- counts -----------------------------------------------------------------------------------


def _publish_counts(con: duckdb.DuckDBPyConnection, job: Job) -> None:
    """Tables `hits` and `counts`."""
    columns = [f"hits_{c}" for c in job.plan.categories]
    # Layer by layer, so that the order of rows does not depend on the shards.
    for n in range(len(job.plan.layers)):
        for k in range(len(job.work.shards)):
            stored = job.work.results("count", k, f"hits_{n}", f"peaks_{n}", f"both_{n}")
            hits = stored[f"hits_{n}"]
            frame = pd.DataFrame(hits[:, :3], columns=["image", "unit", "hits"])
            frame.insert(0, "layer", n)
            frame["peak"] = stored[f"peaks_{n}"]
            for g, name in enumerate(columns):
                frame[name] = hits[:, 3 + g]
            append(con, "hits", frame)
            frame = pd.DataFrame(
                stored[f"both_{n}"], columns=["image", "unit", "concept", "overlap"]
            )
            frame.insert(0, "layer", n)
            append(con, "counts", frame)


def _publish_areas(con: duckdb.DuckDBPyConnection, job: Job, collected: Collected) -> None:
    """Tables `areas` and `annotated`."""
    whole, categories = collected.whole, job.plan.categories
    for k, (a, b) in enumerate(job.work.shards):
        stored = job.work.results("count", k, "areas", "annotated", "place")
        here = whole[(whole[:, 0] >= a) & (whole[:, 0] < b)]
        areas = np.concatenate(
            [stored["areas"], np.column_stack([here, np.full(len(here), job.pixels)])]
        ).astype(np.int32)
        areas = areas[np.lexsort((areas[:, 1], areas[:, 0]))]
        append(con, "areas", pd.DataFrame(areas, columns=["image", "concept", "area"]))
        if categories:
            annotated = stored["annotated"]
            rows = {
                "image": np.repeat(stored["place"], len(categories)),
                "category": categories * len(annotated),
                "area": annotated.ravel(),
            }
            append(con, "annotated", pd.DataFrame(rows))


def _publish_sums(con: duckdb.DuckDBPyConnection, job: Job, collected: Collected) -> None:
    """Tables `concepts`, `units` and `unit_concept`: sums over images of what was counted."""
    plan, data = job.plan, job.plan.dataset
    table = pd.DataFrame(data.concepts, columns=["concept", "name", "category"])
    scenes = pd.DataFrame(
        {
            "concept": job.concepts + 1 + np.arange(len(data.scenes)),
            "name": data.scenes,
            "category": "scene",
        }
    )
    table = pd.concat([table, scenes], ignore_index=True)
    table["whole"] = table["concept"].isin(np.unique(collected.whole[:, 1]))
    sums = con.execute(
        "SELECT concept, count(*) AS images, sum(area)::BIGINT AS area FROM areas GROUP BY concept"
    ).df()
    table = table.merge(sums, on="concept", how="left").fillna({"images": 0, "area": 0})
    table = table.astype({"images": np.int32, "area": np.int64})
    append(con, "concepts", table)
    hits = ["hits", *(f"hits_{c}" for c in plan.categories)]
    sums_of = ", ".join(
        ["count(*) AS images", *(f"sum({name})::BIGINT AS {name}" for name in hits)]
    )
    for n, layer in enumerate(plan.layers):
        frame = pd.DataFrame(
            {"layer": n, "unit": np.arange(layer.units), "threshold": collected.thresholds[n]}
        )
        seen = con.execute(
            f"SELECT unit, {sums_of} FROM hits WHERE layer = ? GROUP BY unit", [n]
        ).df()
        frame = frame.merge(seen, on="unit", how="left").fillna(0)
        append(con, "units", frame.astype({name: np.int64 for name in ["images", *hits]}))
    con.execute("""
        INSERT INTO unit_concept
        SELECT layer, unit, concept, sum(overlap)::BIGINT AS overlap FROM (
            SELECT layer, unit, concept, overlap FROM counts
            UNION ALL
            SELECT h.layer, h.unit, a.concept, h.hits
            FROM hits h JOIN areas a USING (image) JOIN concepts c USING (concept) WHERE c.whole
        ) GROUP BY layer, unit, concept ORDER BY layer, unit, concept
        """)


# -- chance -----------------------------------------------------------------------------------


def _publish_chance(
    con: duckdb.DuckDBPyConnection, job: Job, collected: Collected, exchange: Exchange
) -> None:
    """Tables `chance` of the network's layers, and `untrained` of the twin's."""
    tasks, own = len(list(job.work.folder.glob("chance-*.npz"))), len(job.plan.layers)
    for m in range(len(job.layers)):
        best = job.work.joined("chance", f"best_{m}", -1, tasks)
        if m >= own:
            # Over all images and all categories.
            _publish_twin(con, job, collected, exchange, m, best[-1].max(1))
            continue
        for chosen, part in zip(exchange.sets, best, strict=True):
            rows = chance_rows(part, chosen, exchange.groups)
            append(con, "chance", rows.add_column(0, "layer", [[m] * len(rows)]))


def _publish_twin(
    con: duckdb.DuckDBPyConnection,
    job: Job,
    collected: Collected,
    exchange: Exchange,
    m: int,
    null: np.ndarray,
) -> None:
    """The best label of each unit of the twin, with its p-value.

    null : (denominators, units, rounds), the best IoUs after exchange.
    """
    both, inside = _twin_sums(job, exchange, m)
    total, areas = exchange.hits[m].sum(0), exchange.areas.sum(0)
    for d, denominator in enumerate(DENOMINATORS):
        iou = iou_table(both, total, inside, areas, exchange.category, denominator)
        best = iou.argmax(1)
        unit = np.flatnonzero(total)
        top = iou[unit, best[unit]]
        named = pd.array(best[unit], dtype="Int32")
        named[top == 0] = pd.NA
        rows = {
            "layer": m - len(job.plan.layers),
            "denominator": denominator,
            "unit": unit,
            "concept": named,
            "iou": top,
            "hits": total[unit],
            "threshold": collected.thresholds[m][unit],
            "chance": permutation_p(null[d], unit, top),
        }
        append(con, "untrained", pd.DataFrame(rows))


def _twin_sums(job: Job, exchange: Exchange, m: int) -> tuple[np.ndarray, np.ndarray]:
    """(Σ|A_t ∩ L_c| (units, concepts + 1), Σ|A_t| within each category (units, categories))."""
    units = job.layers[m].units
    both = np.zeros((units, exchange.areas.shape[1]), np.int64)
    inside = np.zeros((units, len(job.plan.categories)), np.int64)
    for image, rows in active_rows(job):
        own = rows[m][0]
        np.add.at(inside, own[:, 1], own[:, 3:])
        both[own[:, 1, None], exchange.whole[image]] += own[:, 2, None]
    for k in range(len(job.work.shards)):
        found = job.work.results("count", k, f"both_{m}")[f"both_{m}"]
        np.add.at(both, (found[:, 1], found[:, 2]), found[:, 3])
    return both, inside


# -- facts ------------------------------------------------------------------------------------


def _meta(con: duckdb.DuckDBPyConnection, job: Job, images: pd.DataFrame) -> Json:
    """Rows of the table `meta`, the seconds apart."""
    plan, data = job.plan, job.plan.dataset
    scored = images["correct"].dropna().astype(bool)
    by_split = {
        str(split): {"images": len(part), "right": int(part.sum())}
        for split, part in scored.groupby(images["split"])
    }
    counted = images_of(images["scene"].fillna(-1).astype(int), data.scenes)
    return {
        "schema": SCHEMA,
        "settings": plan.facts,
        "request": asdict(plan.settings),
        "dataset_name": data.name,
        "model_notes": {
            k: v for k, v in plan.model.notes.items() if isinstance(v, (str, int, float, bool))
        },
        "no_answers": "" if plan.outputs else plan.model.backbone,
        "categories": plan.categories,
        "channels": [list(channel) for channel in data.channels],
        "images": {"planned": len(plan.indices), "used": len(images)},
        "accuracy": {
            "scored": len(scored),
            "right": int(scored.sum()),
            "by_split": by_split,
            "unmatched_scenes": [m.scene for m in plan.matches if m.where < 0 and plan.outputs],
            "scenes": summary(plan.matches, counted),
            "scene_kinds": {m.scene: m.kind for m in plan.matches},
        },
        "untrained": {"made": plan.twin is not None, "why": plan.twin_why},
        "by_batch": plan.by_batch,
        "tables_digest": tables_digest(con),
        "versions": {
            "python": platform.python_version(),
            "torch": torch.__version__,
            "numpy": np.__version__,
            "duckdb": duckdb.__version__,
        },
        "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
