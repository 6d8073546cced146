"""Sparse dictionaries: are features better units, are they stable, and do they find what is there?

    python -m benchmarks.dictionaries planted [--out planted.json]
    python -m benchmarks.dictionaries labels RUN FILE... [--root cache] [--out labels.json]

**planted**: cells that are sums of a few known atoms. How many atoms does a dictionary find, with
as many features as there are atoms and with too many, with the right k and a wrong one? Beside it:
k-means, principal components, cells drawn at random, and the dictionary before its training. Found
is an atom whose matched direction has a cosine of at least :data:`core.dictionary.stability.SAME`.
Where all atoms lie in one corner of the space (none has a negative part, as with maps behind a
ReLU), what they share is learned as the bias; so the comparison is made after the mean of each set
of directions is taken out, for the controls as well, and is told without that too.

**labels**: directions of a layer of a run, held to one test. Each gets the annotated concept of
highest IoU on the training photos (Eq. 1, all active pixels counted, thresholded at the run's
quantile of its own activations over all photos), and is judged by that concept's IoU on the test
photos. Counted are those above :data:`ABOVE`. The sets:

``units``       the layer's own
``rotated``     the same maps under random orthogonal matrices: the control of Bau et al. (2017) for
                directions as such
``untrained``   a dictionary before its training, random directions with the same k: the control
                for sparsity as such
``features``    those of each dictionary FILE

**Equal numbers.** A set of more directions has more chances of one above 0.04. So everything is
told of as many directions as the layer has units: the share of a set's directions that is above
(dead features count as not above; Wilson's interval over directions), which is what a random choice
of so many would have; the mean IoU of the :data:`BEST` best of so many drawn at random, best by the
training photos, judged by the test photos; and how many *different* concepts are held by those
above among so many drawn at random. A dictionary with as many features as units needs no drawing.

Differences from the units have an interval over photos: a bootstrap of the test photos, labels as
they are, both sets on the same photos. Means of IoU keep their place in a resample. Counts above
0.04 do not: every resample adds noise, noise lifts more directions above than it takes below, and
most where directions are seldom active. So their interval is the basic one, reflected at the
estimate, which takes that bias out twice where the percentile interval would add it. Under
*exchanged*, test masks are those of other photos.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from sklearn.cluster import KMeans

from core.ablation.images import choose, images_of
from core.dictionary.cells import Cells
from core.dictionary.measure import kept_of
from core.dictionary.stability import directions, likeness, unit_length
from core.dictionary.train import Recipe, Training, fit
from core.dissect.counts import count_images
from core.dissect.labels import unit_labels
from core.dissect.thresholds import TopK, tail_size
from core.foundation.files import strict_json, write_text
from core.foundation.intervals import interval
from core.foundation.settings import CACHE
from core.labelling.probe import held_out
from core.models.dictionary import Dictionary, read_dictionary
from core.runs.run_file import Run
from core.runs.store import find_run

ABOVE = 0.04
"""IoU from which on a unit counts as a detector (Bau et al. 2017)."""

BEST = 50
"""Directions whose mean IoU is told."""

RESAMPLES, DRAWS, BATCH = 500, 200, 64

# -- planted --------------------------------------------------------------------------------


@dataclass(frozen=True)
class World:
    """Cells of known atoms.

    atoms : how many, of `units` dimensions. active : in a cell. corner : no atom has a negative
    part. together : the atoms of a photo's cells are of few, as things in a photo are. noise :
    standard deviation in each unit, beside weights of 0.5 and more.
    """

    name: str
    units: int = 64
    atoms: int = 128
    active: int = 6
    corner: bool = False
    together: bool = False
    noise: float = 0.05
    photos: int = 800
    side: int = 4

    def make(self, seed: int) -> tuple[np.ndarray, np.ndarray]:
        """(atoms float64 (atoms, units) of length 1, maps float32)."""
        rng = np.random.default_rng(seed)
        atoms = rng.standard_normal((self.atoms, self.units))
        atoms = unit_length(np.abs(atoms) if self.corner else atoms)
        each = self.side**2
        cells = self.photos * each
        if self.together:
            own = rng.random((self.photos, self.atoms)).argsort(1)[:, : 4 * self.active]
            pick = rng.random((cells, 4 * self.active)).argsort(1)[:, : self.active]
            at = np.take_along_axis(own.repeat(each, 0), pick, 1)
        else:
            at = rng.random((cells, self.atoms)).argsort(1)[:, : self.active]
        weights = np.zeros((cells, self.atoms))
        np.put_along_axis(weights, at, 0.5 + rng.exponential(1, at.shape), 1)
        values = weights @ atoms + self.noise * rng.standard_normal((cells, self.units))
        maps = values.reshape(self.photos, each, self.units).transpose(0, 2, 1)
        shape = (self.photos, self.units, self.side, self.side)
        return atoms, maps.reshape(shape).astype(np.float32)


WORLDS = (
    World("independent"),
    World("together", together=True),
    World("corner", corner=True, together=True),
    World("noisy", together=True, noise=0.25),
)


def planted(seeds: Sequence[int], steps: int) -> Iterator[dict[str, Any]]:
    """One row for each world, seed and method."""
    for world in WORLDS:
        for seed in seeds:
            atoms, maps = world.make(seed)
            cells = Cells.of(maps)
            right = Recipe(world.atoms, world.active, steps, seed=seed)
            tried = {
                "dictionary": right,
                "twice the features": Recipe(2 * world.atoms, world.active, steps, seed=seed),
                "twice the k": Recipe(world.atoms, 2 * world.active, steps, seed=seed),
                "half the k": Recipe(world.atoms, world.active // 2, steps, seed=seed),
            }
            found = {name: _learned(cells, recipe) for name, recipe in tried.items()}
            found |= _controls(cells, right, seed)
            for name, rows in found.items():
                own = likeness(unit_length(atoms - atoms.mean(0)), unit_length(rows - rows.mean(0)))
                part = min(len(rows), len(atoms)) / len(atoms)
                yield {
                    "world": world.name,
                    "seed": seed,
                    "method": name,
                    "directions": len(rows),
                    "matched": own.matched,
                    "found": own.same * part,
                    "found_uncentred": likeness(atoms, rows).same * part,
                }


def _learned(cells: Cells, recipe: Recipe) -> np.ndarray:
    """Live directions of a trained dictionary."""
    made = fit(cells, recipe)
    activity = kept_of(made.dictionary(), cells).activity
    return directions(made.dictionary(activity))


def _controls(cells: Cells, recipe: Recipe, seed: int) -> dict[str, np.ndarray]:
    sample = cells.sample(2**14, seed).double().numpy()
    centred = sample - sample.mean(0)
    means = KMeans(recipe.features, n_init=1, max_iter=50, random_state=seed).fit(centred)
    _, _, components = np.linalg.svd(centred, full_matrices=False)
    begun = Training(cells, recipe).dictionary()
    return {
        "k-means": unit_length(means.cluster_centers_),
        # Components have no sign, so that each may stand for two atoms.
        "principal components": np.concatenate([components, -components]),
        "cells": unit_length(centred[: recipe.features]),
        "before training": directions(begun),
    }


# -- labels ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Judged:
    """A set of directions, with labels learned on one split and judged on another.

    concept : int64 (directions,), 0 where a direction overlaps nothing. learned : float64, its IoU
    on the training photos. iou : held out.
    hits, area, both : float64 (test photos, directions), of which the IoU is made.
    exchanged : like iou, with the masks of other photos.
    """

    name: str
    concept: np.ndarray
    learned: np.ndarray
    iou: np.ndarray
    hits: np.ndarray
    area: np.ndarray
    both: np.ndarray
    exchanged: np.ndarray

    @property
    def above(self) -> np.ndarray:
        """bool (directions,)."""
        return self.iou > ABOVE

    def resampled(self, weights: np.ndarray) -> np.ndarray:
        """float64 (rows, directions): IoU under each row of weights (rows, test photos)."""
        return shares(weights @ self.both, weights @ self.hits, weights @ self.area)

    def best(self, count: int) -> np.ndarray:
        """float64 (directions,), weights of sum 1: how often each is among the :data:`BEST` by the
        training photos, of `count` drawn at random."""
        rng = np.random.default_rng(0)
        weights = np.zeros(len(self.concept))
        for _ in range(DRAWS if count < len(self.concept) else 1):
            at = rng.permutation(len(self.concept))[:count]
            weights[at[np.argsort(-self.learned[at], kind="stable")[:BEST]]] += 1
        return weights / weights.sum()

    def concepts(self, count: int) -> tuple[float, float, float]:
        """How many different concepts are held by directions above, among `count` drawn at random:
        mean, and 95 % of the draws."""
        rng = np.random.default_rng(0)
        found = [
            len(np.unique(self.concept[at][self.above[at]]))
            for at in (
                rng.permutation(len(self.concept))[:count]
                for _ in range(DRAWS if count < len(self.concept) else 1)
            )
        ]
        low, high = np.quantile(found, [0.025, 0.975])
        return float(np.mean(found)), float(low), float(high)


Made = Callable[[np.ndarray], np.ndarray]
"""Maps float32 (photos, units, height, width) → those of a set of directions."""


class Layer:
    """A layer of a run: its maps, and the masks that directions are held against.

    learn, judge : numbers of the photos of either split. used : all.
    """

    def __init__(self, run: Run, layer: str):
        self.run, self.layer = run, layer
        self.maps, self.labels = run.array(f"maps-{layer}"), run.array("labels")
        images = images_of(run)
        self.used = images["image"].to_numpy(np.int64)
        self.splits = held_out(run)
        self.learn, self.judge = (self.used[choose(images, splits=one)] for one in self.splits)
        self.concepts = len(run.sql("SELECT concept FROM concepts"))
        names = [category for _, category in run.info["channels"]]
        self.category_of = np.array([run.categories.index(name) for name in names])

    def thresholds(self, made: Made) -> np.ndarray:
        """float32 (directions,): the run's quantile of each direction's own activations."""
        tops = None
        for at in _parts(self.used):
            maps = made(np.asarray(self.maps[at], np.float32))
            if tops is None:
                cells = len(self.used) * maps.shape[2] * maps.shape[3]
                tops = TopK(maps.shape[1], tail_size(float(self.run.settings.q or 0), cells))
            tops.update(maps)
        assert tops is not None
        return tops.threshold(tops.k)

    def counts(
        self, made: Made, thresholds: np.ndarray, photos: np.ndarray, masks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Overlaps of the maps of some photos with the masks of some, one by one: hits int32
        (photos, directions); both int32 (rows, 4), photo, direction, concept and pixels; areas
        int32 (photos, concepts + 1)."""
        hits = np.zeros((len(photos), len(thresholds)), np.int32)
        areas = np.zeros((len(photos), self.concepts + 1), np.int32)
        rows = []
        for at in _parts(np.arange(len(photos))):
            maps = made(np.asarray(self.maps[photos[at]], np.float32))
            labels = np.asarray(self.labels[masks[at]])
            found = count_images(
                maps,
                thresholds,
                labels,
                self.category_of,
                len(self.run.categories),
                self.concepts,
            )
            for part in (found.hits, found.both, found.areas):
                part[:, 0] += at[0]
            hits[found.hits[:, 0], found.hits[:, 1]] = found.hits[:, 2]
            areas[found.areas[:, 0], found.areas[:, 1]] = found.areas[:, 2]
            rows.append(found.both)
        return hits, np.concatenate(rows), areas

    def judged(self, name: str, made: Made) -> Judged:
        """A set of directions, labelled on one split and judged on the other."""
        thresholds = self.thresholds(made)
        hits, rows, areas = self.counts(made, thresholds, self.learn, self.learn)
        both = np.zeros((len(thresholds), self.concepts + 1))
        np.add.at(both, (rows[:, 1], rows[:, 2]), rows[:, 3])
        learned = shares(both, hits.sum(0, dtype=float)[:, None], areas.sum(0, dtype=float))
        concept = learned.argmax(1)
        concept[learned.max(1) == 0] = 0
        mixed = np.random.default_rng(0).permutation(self.judge)
        hits, own, area = self._of_concept(made, thresholds, concept, self.judge)
        _, other, elsewhere = self._of_concept(made, thresholds, concept, mixed)
        return Judged(
            name,
            concept,
            learned.max(1),
            shares(own.sum(0), hits.sum(0), area.sum(0)),
            hits,
            area,
            own,
            shares(other.sum(0), hits.sum(0), elsewhere.sum(0)),
        )

    def _of_concept(
        self, made: Made, thresholds: np.ndarray, concept: np.ndarray, masks: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """float64 (test photos, directions): hits, and overlap with and area of each direction's
        concept."""
        hits, rows, areas = self.counts(made, thresholds, self.judge, masks)
        rows = rows[rows[:, 2] == concept[rows[:, 1]]]
        both = np.zeros(hits.shape)
        both[rows[:, 0], rows[:, 1]] = rows[:, 3]
        return hits.astype(float), both, areas[:, concept].astype(float)


def _parts(photos: np.ndarray) -> Iterator[np.ndarray]:
    for start in range(0, len(photos), BATCH):
        yield photos[start : start + BATCH]


def shares(both: np.ndarray, hits: np.ndarray, area: np.ndarray) -> np.ndarray:
    """IoU; 0 where there is nothing."""
    union = hits + area - both
    return np.divide(both, union, out=np.zeros(both.shape), where=union > 0)


def rotated(units: int, seed: int) -> Made:
    """Maps under a random orthogonal matrix."""
    drawn = np.random.default_rng(seed).standard_normal((units, units))
    turn = np.linalg.qr(drawn)[0].astype(np.float32)
    return lambda maps: np.ascontiguousarray(np.einsum("ou,nuhw->nohw", turn, maps))


def features(dictionary: Dictionary) -> Made:
    """Codes."""

    def made(maps: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            codes = dictionary.encode(torch.from_numpy(maps).movedim(1, -1))
            return codes.movedim(-1, 1).contiguous().numpy()

    return made


def labels(run: Run, files: Sequence[Path], seeds: int = 3) -> dict[str, Any]:
    """The sets of the module's text, judged."""
    dictionaries = {path.stem: read_dictionary(path) for path in files}
    (name,) = {made.origin.layer for made in dictionaries.values()}
    layer = Layer(run, name)
    units = layer.judged("units", lambda maps: maps)
    _check_units(run, name, layer, units)
    cells = Cells(layer.maps, layer.learn)
    sets = [units]
    sets += [layer.judged(f"rotated {k}", rotated(cells.units, k)) for k in range(seeds)]
    sizes = sorted({(made.features, made.k) for made in dictionaries.values()})
    for count, k in sizes:
        for seed in range(seeds):
            begun = Training(cells, Recipe(count, k, seed=seed)).dictionary()
            sets.append(layer.judged(f"untrained {count} {seed}", features(begun)))
    sets += [layer.judged(stem, features(made)) for stem, made in dictionaries.items()]
    photos = len(layer.judge)
    rng = np.random.default_rng(0)
    weights = rng.multinomial(photos, np.full(photos, 1 / photos), RESAMPLES).astype(float)
    rows = [_row(run, one, units, weights) for one in sets]
    return {
        "run": run.digest,
        "layer": name,
        "learned": layer.splits[0],
        "judged": layer.splits[1],
        "photos": [len(layer.learn), photos],
        "measured": {stem: dict(made.origin.measured) for stem, made in dictionaries.items()},
        "live": {stem: int(made.live.sum()) for stem, made in dictionaries.items()},
        "sets": rows,
    }


def _row(run: Run, one: Judged, units: Judged, weights: np.ndarray) -> dict[str, Any]:
    """A set, and its differences from the units; weights (resamples, test photos)."""
    n, above = len(one.concept), int(one.above.sum())
    mine, theirs = one.resampled(weights), units.resampled(weights)
    gain = float(one.above.mean() - units.above.mean())
    drawn = (mine > ABOVE).mean(1) - (theirs > ABOVE).mean(1)
    few, many = np.quantile(drawn, [0.025, 0.975])
    best, base = one.best(len(units.concept)), units.best(len(units.concept))
    value, spread = float(best @ one.iou), np.quantile(mine @ best, [0.025, 0.975])
    apart = np.quantile(mine @ best - theirs @ base, [0.025, 0.975])
    return {
        "set": one.name,
        "directions": n,
        "active": int((one.hits.sum(0) > 0).sum()),
        "above": above,
        "share": [above / n, *interval(above, n)],
        "share_gain": [gain, float(2 * gain - many), float(2 * gain - few)],
        "best": [value, *spread.tolist()],
        "best_gain": [value - float(base @ units.iou), *apart.tolist()],
        "mean": float(one.iou.mean()),
        "exchanged": int((one.exchanged > ABOVE).sum()),
        "concepts": one.concepts(len(units.concept)),
        "which": _which(run, one),
    }


def _check_units(run: Run, name: str, layer: Layer, units: Judged) -> None:
    """The layer's own units must come out as the run has them."""
    frame = unit_labels(run, name, categories=run.categories, splits=list(layer.splits[0]))
    wanted = np.zeros(len(units.concept), int)
    wanted[frame["unit"]] = frame["concept"]
    assert (wanted == units.concept).all()


def _which(run: Run, one: Judged) -> list[list[Any]]:
    """Names of the concepts above, with how many directions hold each and the best IoU."""
    names = run.sql("SELECT concept, name, category FROM concepts").set_index("concept")
    held = sorted(set(one.concept[one.above].tolist()))
    found = [(one.above & (one.concept == k), names.loc[k]) for k in held]
    rows = [
        [f"{row['name']} ({row['category']})", int(at.sum()), float(one.iou[at].max())]
        for at, row in found
    ]
    return sorted(rows, key=lambda row: -row[2])


# -- told -----------------------------------------------------------------------------------


def _say(facts: dict[str, Any]) -> None:
    print(f"run {facts['run']}, {facts['layer']}; {facts['photos']} photos learned from, judged by")
    for row in facts["sets"]:
        share, gain = ("{:.1%} [{:.1%}, {:.1%}]".format(*row[k]) for k in ("share", "share_gain"))
        best, more = ("{:.3f} [{:.3f}, {:.3f}]".format(*row[k]) for k in ("best", "best_gain"))
        print(
            f"{row['set']:18} {row['above']:3} of {row['directions']:4}: {share}, {gain}; best "
            f"{best}, {more}; exchanged {row['exchanged']}; concepts {row['concepts'][0]:.1f}"
        )


def _say_planted(rows: Sequence[dict[str, Any]]) -> None:
    frame = pd.DataFrame(rows)
    means = frame.groupby(["world", "method"], sort=False)[["matched", "found", "found_uncentred"]]
    print(means.agg(["mean", "min", "max"]).round(3).to_string())


def main() -> None:
    """The command line of the module's text."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    words = parser.add_subparsers(dest="what", required=True)
    first = words.add_parser("planted")
    first.add_argument("--seeds", type=int, default=3)
    first.add_argument("--steps", type=int, default=Recipe.steps)
    second = words.add_parser("labels")
    second.add_argument("run")
    second.add_argument("files", type=Path, nargs="+")
    second.add_argument("--root", type=Path, default=CACHE)
    for sub in (first, second):
        sub.add_argument("--out", type=Path)
    given = parser.parse_args()
    if given.what == "planted":
        found: Any = []
        for row in planted(range(given.seeds), given.steps):
            print(json.dumps(row), flush=True)
            found.append(row)
        _say_planted(found)
    else:
        found = labels(Run(find_run(given.run, given.root)), given.files)
        _say(found)
    if given.out:
        write_text(given.out, strict_json(found, 1))


if __name__ == "__main__":
    main()
