"""How fast the formula search is, measured side by side with a plain one.

    python -m benchmarks.formulas [--images N] [--units N] [--no-real]

Two settings: NYUv2's run of layer4 (512 units) where the data are, and drawn data of ADE20K's
size: 22,210 sets of 112 × 112 label maps in four channels (objects, parts, parts of parts,
colours) and scenes, 1,105 concepts with a long tail, 512 units that are lit in 5 to 10 % of the
images. In each, all units are searched (length 3, beam 5), and a few with a plain search that
does the same with run-length masks: every concept, every unit and every candidate is a sorted
list of runs of pixels, and two lists are joined by walking along both (compiled). The plain
search must give the same formula and IoU.

Printed are times, ratios and peak memory; nothing is judged.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from contextlib import closing
from itertools import pairwise
from pathlib import Path
from typing import Any

import numba
import numpy as np

from benchmarks.dissect import defaults
from core.dissect.formula import AND, NOT, OR, Formula
from core.dissect.formula_search import beam_search, search_units
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.dissect.signatures import Signatures, gather_signatures, signatures
from core.foundation.geometry import upsample
from core.foundation.settings import Settings
from core.runs.arrays import ArrayFile

UNITS, SIDE, CELLS = 512, 112, 7
OBJECTS, PARTS, DETAILS, COLORS, SCENES = 480, 204, 50, 11, 360
CONCEPTS = OBJECTS + PARTS + DETAILS + COLORS


# -- drawn data of ADE20K's size ------------------------------------------------------------


@numba.njit(cache=True)
def _patch(plane, label, y, x, height, width):
    for row in range(max(0, y), min(SIDE, y + height)):
        for column in range(max(0, x), min(SIDE, x + width)):
            plane[row, column] = label


@numba.njit(cache=True)
def _draw(rng, first, count, favourites, scene_of, likes, labels, maps):
    """Fill labels (count, 4, 112, 112) and maps (count, 512, 7, 7) of images first …"""
    for i in range(count):
        labels[i] = 0
        mine = favourites[scene_of[first + i]]
        # Bands of what fills a scene (wall, floor, sky …), then things, the commonest most often.
        top = 0
        for _band in range(3):
            height = SIDE // 3 + rng.integers(-12, 12)
            _patch(labels[i, 0], mine[rng.integers(0, 4) * 2 % 8], top, 0, SIDE, SIDE)
            top += height
        for _ in range(rng.integers(6, 22)):
            rank = min(int(rng.exponential(9.0)), mine.size - 1)
            thing = mine[rank]
            height = int(min(90.0, np.exp(rng.normal(2.6, 0.7)))) + 2
            width = int(min(90.0, np.exp(rng.normal(2.6, 0.7)))) + 2
            y, x = rng.integers(-4, SIDE - 4), rng.integers(-4, SIDE - 4)
            _patch(labels[i, 0], thing, y, x, height, width)
            color = 1 + OBJECTS + PARTS + DETAILS + (thing * 7 + rng.integers(0, 3)) % COLORS
            _patch(labels[i, 3], color, y, x, height, width)
            if rng.random() < 0.4:
                part = 1 + OBJECTS + (thing * 3 + rng.integers(0, 4)) % PARTS
                _patch(labels[i, 1], part, y + 2, x + 2, height // 2, width // 2)
                if rng.random() < 0.3:
                    detail = 1 + OBJECTS + PARTS + (part * 5) % DETAILS
                    _patch(labels[i, 2], detail, y + 3, x + 3, height // 3, width // 3)
        for _ in range(8):
            color = 1 + OBJECTS + PARTS + DETAILS + rng.integers(0, COLORS)
            y, x = rng.integers(0, SIDE), rng.integers(0, SIDE)
            _patch(labels[i, 3], color, y, x, 10, 16)
        for t in range(UNITS):
            for y in range(CELLS):
                for x in range(CELLS):
                    maps[i, t, y, x] = 0.8 * rng.random()
            # A unit is lit where one of the two things it likes is, and now and then anywhere.
            at = -1
            for like in range(2):
                for cell in range(CELLS * CELLS):
                    y, x = cell // CELLS * 16 + 8, cell % CELLS * 16 + 8
                    if labels[i, 0, y, x] == likes[t, like] and rng.random() < 0.5:
                        at = cell
            if at < 0 and rng.random() < 0.05:
                at = rng.integers(0, CELLS * CELLS)
            if at >= 0 and rng.random() < 0.6:
                maps[i, t, at // CELLS, at % CELLS] = 1.0 + rng.exponential(1.0)
                beside = min(CELLS - 1, at % CELLS + 1)
                maps[i, t, at // CELLS, beside] = 0.8 + 0.6 * rng.random()


def draw(folder: Path, images: int, seed: int = 0) -> None:
    """Label maps, unit maps and scenes of `images` images as .npy files."""
    rng = np.random.default_rng(seed)
    tail = 1 / np.arange(1, OBJECTS + 1) ** 0.8
    favourites = np.stack(
        [1 + rng.choice(OBJECTS, 60, replace=False, p=tail / tail.sum()) for _ in range(SCENES)]
    ).astype(np.int64)
    share = 1 / np.arange(1, SCENES + 1)
    scene_of = rng.choice(SCENES, images, p=share / share.sum())
    likes = 1 + rng.choice(OBJECTS, (UNITS, 2), p=tail / tail.sum())
    np.save(folder / "scenes.npy", scene_of)
    with (
        closing(ArrayFile(folder / "labels.npy", (images, 4, SIDE, SIDE), np.uint16)) as out,
        closing(ArrayFile(folder / "maps.npy", (images, UNITS, CELLS, CELLS), np.float16)) as low,
    ):
        labels = np.zeros((256, 4, SIDE, SIDE), np.uint16)
        maps = np.zeros((256, UNITS, CELLS, CELLS), np.float32)
        for at in range(0, images, 256):
            n = min(256, images - at)
            _draw(rng, at, n, favourites, scene_of, likes, labels, maps)
            out.write(at, labels[:n])
            low.write(at, maps[:n].astype(np.float16))


def drawn_signatures(folder: Path, most: int | None = None) -> Signatures:
    """The signatures of what :func:`draw` left (of the first `most` images), threshold 1."""
    scene_of = np.load(folder / "scenes.npy")[:most]
    names = ["", *(f"concept {k}" for k in range(1, CONCEPTS + 1))]
    names += [f"scene {k}" for k in range(SCENES)]
    with (
        closing(ArrayFile(folder / "labels.npy")) as labels,
        closing(ArrayFile(folder / "maps.npy")) as maps,
    ):
        batches = (
            (
                maps.read(at, min(32, len(scene_of) - at)),
                labels.read(at, min(32, len(scene_of) - at)),
                [[CONCEPTS + 1 + int(s)] for s in scene_of[at : at + 32]],
            )
            for at in range(0, len(scene_of), 32)
        )
        return gather_signatures(
            batches, np.ones(UNITS, np.float32), names, ["any"] * len(names), 1
        )


# -- the plain search -----------------------------------------------------------------------


@numba.njit(cache=True)
def _join(a, b, op):
    """Runs (n, 2) of [start, end) of a OR, AND, AND NOT b, by walking along both lists."""
    out = np.empty((len(a) + len(b) + 1, 2), np.int64)
    n = i = j = 0
    at = 0
    while True:
        # The next place where either list begins or ends a run.
        in_a = i < len(a) and a[i, 0] <= at
        in_b = j < len(b) and b[j, 0] <= at
        ahead = np.int64(1) << 60
        if i < len(a):
            ahead = min(ahead, a[i, 1] if in_a else a[i, 0])
        if j < len(b):
            ahead = min(ahead, b[j, 1] if in_b else b[j, 0])
        if ahead == np.int64(1) << 60:
            break
        holds = (in_a or in_b) if op == OR else (in_a and in_b) if op == AND else in_a and not in_b
        if holds and ahead > at:
            if n and out[n - 1, 1] == at:
                out[n - 1, 1] = ahead
            else:
                out[n, 0], out[n, 1] = at, ahead
                n += 1
        at = ahead
        if i < len(a) and a[i, 1] <= at:
            i += 1
        if j < len(b) and b[j, 1] <= at:
            j += 1
    return out[:n].copy()


@numba.njit(cache=True)
def _length(runs):
    total = 0
    for k in range(len(runs)):
        total += runs[k, 1] - runs[k, 0]
    return total


def _runs_of(flat: np.ndarray) -> dict[int, np.ndarray]:
    """Runs of every label in one long channel."""
    starts = np.flatnonzero(np.diff(flat.astype(np.int32), prepend=-1))
    ends = np.append(starts[1:], len(flat))
    value = flat[starts]
    order = np.argsort(value, kind="stable")
    cuts = np.searchsorted(value[order], np.arange(int(value.max()) + 2))
    return {
        label: np.stack([starts[order[a:b]], ends[order[a:b]]], 1).astype(np.int64)
        for label, (a, b) in enumerate(pairwise(cuts))
        if label and b > a
    }


def plain_masks(
    labels: ArrayFile, images: np.ndarray, whole: list[list[int]]
) -> dict[int, np.ndarray]:
    """Run-length mask of every concept over all images, end to end."""
    channels, height, width = labels.shape[1:]
    area = height * width
    masks: dict[int, list[np.ndarray]] = {}
    for k in range(channels):
        flat = np.concatenate([labels.read(int(i), 1)[0, k].ravel() for i in images])
        for label, runs in _runs_of(flat).items():
            masks.setdefault(label, []).append(runs)
    for place, ids in enumerate(whole):
        for label in ids:
            masks.setdefault(label, []).append(np.array([[place * area, (place + 1) * area]]))
    out = {}
    for label, parts in masks.items():
        runs = np.concatenate(parts)
        out[label] = runs[np.argsort(runs[:, 0], kind="stable")]
    return out


def plain_unit(
    maps: ArrayFile, images: np.ndarray, unit: int, threshold: float, height: int, width: int
) -> np.ndarray:
    """Run-length mask of one unit."""
    parts = []
    for place, image in enumerate(images):
        f = maps.read(int(image), 1)[0, unit].astype(np.float64)
        if f.max() > threshold:
            mask = (upsample(f, height, width) > threshold).ravel()
            edges = np.flatnonzero(np.diff(mask, prepend=False, append=False))
            parts.append(edges.reshape(-1, 2) + place * height * width)
    return np.concatenate(parts) if parts else np.zeros((0, 2), np.int64)


def plain_search(
    masks: dict[int, np.ndarray], unit: np.ndarray, length: int = 3, beam: int = 5
) -> tuple[Formula, float, int]:
    """The beam search with a mask for every candidate; (formula, IoU, candidates)."""
    sizes = {c: _length(runs) for c, runs in masks.items()}
    lit = _length(unit)
    tried = 0

    def graded(formula: Formula, mask: np.ndarray) -> tuple[Any, ...]:
        nonlocal tried
        tried += 1
        both = _length(_join(mask, unit, AND))
        iou = both / (lit + _length(mask) - both)
        return (-iou, formula.cost, formula.concepts, formula.ops)

    rows = sorted(graded(Formula((c,)), mask) for c, mask in sorted(masks.items()))
    kept = [(row, masks[row[2][0]]) for row in rows[:beam] if row[0] < 0]
    fresh = kept
    for step in range(2, length + 1):
        pool = {Formula(row[2], row[3]).key(): (row, mask) for row, mask in kept}
        for row, mask in fresh:
            formula, own = Formula(row[2], row[3]), _length(mask)
            for c, other in masks.items():
                for op in (OR, AND, NOT):
                    new = _join(mask, other, op)
                    size = _length(new)
                    # Nothing left, or what the formula or the concept is by itself: no new one.
                    if size == 0 or (op == NOT and size == own):
                        continue
                    if op != NOT and size in (own, sizes[c]):
                        continue
                    grown = formula.then(op, c)
                    told = graded(grown, new)
                    key = grown.key()
                    if told[0] < 0 and (key not in pool or told < pool[key][0]):
                        pool[key] = (told, new)
            # Only the best can stay: the masks of the others need not be held.
            pool = dict(sorted(pool.items(), key=lambda item: item[1][0])[: 4 * beam])
        kept = sorted(pool.values(), key=lambda item: item[0])[:beam]
        fresh = [item for item in kept if len(item[0][2]) == step]
    best = kept[0][0]
    return Formula(best[2], best[3]), -best[0], tried


# -- measuring ------------------------------------------------------------------------------


def _compare(
    s: Signatures,
    masks: dict[int, np.ndarray],
    units: dict[int, np.ndarray],
    ours: float,
    collecting: float,
) -> dict[str, Any]:
    """The plain search of some units against ours, at equal answers."""
    times, tried = [], 0
    for t, runs in units.items():
        began = time.perf_counter()
        formula, iou, tried = plain_search(masks, runs)
        times.append(time.perf_counter() - began)
        found = beam_search(s, t)
        if (found.formula, found.iou) != (formula, iou):
            raise AssertionError(f"unit {t}: plain {formula} {iou}, ours {found}")
    plain = float(np.median(times))
    return {
        "plain_seconds_a_unit": plain,
        "plain_units": len(times),
        "candidates": tried,
        "runs_of_concepts": int(sum(map(len, masks.values()))),
        "plain / ours": plain / ours,
        "plain / (ours + its share of collecting)": plain / (ours + collecting / s.units),
    }


def _searched(s: Signatures, threads: int) -> float:
    """Seconds a unit of searching all units."""
    list(search_units(s, units=[0, 1]))  # compiled before the clock starts
    began = time.perf_counter()
    list(search_units(s, threads=threads))
    return (time.perf_counter() - began) / s.units


def measure_real(units: int) -> dict[str, Any] | None:
    """NYUv2's layer4, where the data are."""
    dataset, model = defaults()
    if dataset == "rooms":
        return None
    with tempfile.TemporaryDirectory() as folder:
        run = execute(plan(Settings(dataset, model, shuffles=0)), Path(folder))
        signatures(run, splits=["train"])  # compiled before the clock starts
        began = time.perf_counter()
        s = signatures(run)
        collecting = time.perf_counter() - began
        ours = _searched(s, 2)
        images = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
        scenes = run.sql("SELECT scene FROM images ORDER BY image")["scene"].to_numpy()
        thresholds = run.sql("SELECT threshold FROM units ORDER BY unit")["threshold"].to_numpy()
        first = next(k for k, kind in enumerate(s.categories) if kind == "scene")
        with (
            closing(ArrayFile(run.arrays / "labels.npy")) as labels,
            closing(ArrayFile(run.arrays / f"maps-{s.layer}.npy")) as maps,
        ):
            masks = plain_masks(labels, images, [[first + int(k)] for k in scenes])
            runs = {
                t: plain_unit(maps, images, t, thresholds[t], *labels.shape[2:])
                for t in np.linspace(0, s.units - 1, units).astype(int).tolist()
            }
        facts = {
            "setting": "NYUv2, ResNet-18, layer4",
            "images": len(images),
            "units": s.units,
            "concepts": len(masks),
            "signatures": len(s),
            "pixels": int(s.pixels.sum()),
            "collecting_seconds": collecting,
            "seconds_a_unit": ours,
        }
        return {**facts, **_compare(s, masks, runs, ours, collecting)}


def measure_drawn(images: int, units: int) -> dict[str, Any]:
    """Drawn data of ADE20K's size (or of fewer images)."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # Drawn by another process, so that its memory does not count as the search's.
        subprocess.run(
            [sys.executable, "-m", "benchmarks.formulas", "--draw", name, "--images", str(images)],
            check=True,
        )
        drawn_signatures(folder, 32)  # compiled before the clock starts
        began = time.perf_counter()
        s = drawn_signatures(folder)
        collecting = time.perf_counter() - began
        ours = _searched(s, 2)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
        scene_of = np.load(folder / "scenes.npy")
        every = np.arange(images)
        with (
            closing(ArrayFile(folder / "labels.npy")) as labels,
            closing(ArrayFile(folder / "maps.npy")) as maps,
        ):
            lit = np.mean([(maps.read(int(i), 1)[0] > 1).any((1, 2)).mean() for i in every[:200]])
            masks = plain_masks(labels, every, [[CONCEPTS + 1 + int(k)] for k in scene_of])
            chosen = np.linspace(1, s.units - 2, units).astype(int).tolist()
            runs = {t: plain_unit(maps, every, t, 1.0, SIDE, SIDE) for t in chosen}
        facts = {
            "setting": "drawn, ADE20K's size",
            "images": images,
            "units": s.units,
            "concepts": len(masks),
            "signatures": len(s),
            "pixels": int(s.pixels.sum()),
            "images_a_unit_is_lit_in": float(lit),
            "collecting_seconds": collecting,
            "seconds_a_unit": ours,
            "all_units_seconds": collecting + ours * s.units,
            "peak_mb": peak,
        }
        return {**facts, **_compare(s, masks, runs, ours, collecting)}


def measure(
    images: int = 22_210, units: int = 1, real: bool = True, **_other: Any
) -> tuple[dict[str, Any], str]:
    """Both settings; returns facts and a text."""
    # The drawn one first: peak memory never falls again.
    rows = [measure_drawn(images, units)]
    told = measure_real(3 * units) if real else None
    rows += [told] if told else []
    lines = []
    for row in rows:
        lines.append(
            f"{row['setting']}: {row['images']:,} images, {row['concepts']:,} concepts, "
            f"{row['units']} units; {row['pixels']:,} pixels are {row['signatures']:,} signatures"
        )
        lines.append(
            f"  collected in {row['collecting_seconds']:.1f} s, then "
            f"{1e3 * row['seconds_a_unit']:.1f} ms a unit (length 3, beam 5)"
        )
        if "peak_mb" in row:
            lines.append(
                f"  all units {row['all_units_seconds']:.0f} s, peak memory {row['peak_mb']:.0f} MB"
            )
        lines.append(
            f"  plain search: {row['plain_seconds_a_unit']:.2f} s a unit "
            f"({row['candidates']:,} candidates); {row['plain / ours']:.0f} times slower, "
            f"{row['plain / (ours + its share of collecting)']:.0f} with collecting counted; "
            f"equal answers on {row['plain_units']}"
        )
    return {"settings": rows}, "\n".join(lines)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=22_210)
    parser.add_argument("--units", type=int, default=1, help="searched plainly (NYUv2: 3 times)")
    parser.add_argument("--no-real", action="store_true", help="the drawn data alone")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--draw", type=Path, metavar="DIR", help="only draw the data, into DIR")
    given = parser.parse_args()
    if given.draw:
        draw(given.draw, given.images)
    else:
        facts, text = measure(given.images, given.units, not given.no_real)
        print(json.dumps(facts) if given.json else text)
