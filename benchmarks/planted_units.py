"""Planted units: which labelling method finds what a unit was built to detect?

    python -m benchmarks.planted_units RUN [--out DIR] [--noise 0.0,0.5,1.0] [--each 8]
                                           [--methods …] [--encoder SPEC] [--json FILE]

From a finished run of any dataset a network is built whose units are known: on every photo of the
dataset a unit's map is what masks say, blurred by a cell and with noise added. Units detect

``one``     one concept
``or``      either of two concepts, alike
``and``     where two concepts of different categories meet (a thing and its colour, say)
``color``   one colour, where colours are annotated
``two``     two concepts at once, the second at 0.6 of the first: a polysemantic unit
``place``   a corner of the photo, whatever is there: no label of a concept is true

The network is dissected as any other, labels are learned from the training photos, and for every
method, kind and level of noise it is counted: `first`, the label names first a concept that is
true; `all`, its first concepts are exactly those of the truth. Of `place` the mean simulation
score is told, which a true score keeps low.

Concepts are drawn by seed from those in at least 5 % of the photos of either split, and at most
60 %; pairs of `or` and `two` overlap in less than half of the photos that show either.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from scipy import ndimage
from torch import Tensor, nn

from core.datasets import dataset_of
from core.dissect.formula import AND, OR, Formula
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation.digest import digest_of
from core.foundation.files import strict_json
from core.foundation.geometry import Preprocessing
from core.foundation.settings import Settings
from core.foundation.trust import allow_python
from core.labelling.bench import compare, positive_concepts
from core.labelling.label import Terms
from core.labelling.methods import label_units
from core.labelling.probe import Probe, cell_means, formula_masks, held_out, open_probe
from core.runs.run_file import Run

KINDS = ("one", "or", "and", "color", "two", "place")
CELLS = 14
"""Cells of the planted maps, across and down."""

LEAST, MOST = 0.05, 0.6
"""Shares of the photos of a split that show a concept."""

SAMPLE = 150
"""Photos by which pairs of concepts that meet are chosen."""

SECOND = 0.6
"""How strongly a unit of `two` detects its second concept."""


@dataclass(frozen=True)
class Planted:
    """A unit whose truth is known.

    kind : of :data:`KINDS`. truth : concept ids, the first the strongest; () of `place`.
    weights : of each formula whose mask is added. corner : of `place`, 0 to 3. noise : standard
    deviation, in the deviation of the unit's map over the photos.
    """

    kind: str
    truth: tuple[int, ...]
    terms: Terms
    corner: int
    noise: float


def planted_units(run: Run, noise: Sequence[float], each: int, seed: int) -> list[Planted]:
    """`each` units of every kind that the run's concepts allow, at every level of noise."""
    rng = np.random.default_rng(seed)
    probe = open_probe(run)
    seen = [open_probe(run, splits=split).presence.mean(0) for split in map(list, held_out(run))]
    kinds = ["", *probe.concepts["category"]]
    often = np.array([min(a, b) for a, b in zip(*map(np.ravel, seen), strict=True)])
    most = np.array([max(a, b) for a, b in zip(*map(np.ravel, seen), strict=True)])
    usable = [k for k in range(1, len(kinds)) if often[k] >= LEAST and most[k] <= MOST]
    things = [k for k in usable if kinds[k] not in ("color", "scene")]
    colors = [k for k in usable if kinds[k] == "color"]
    has = probe.presence.toarray()
    found: list[Planted] = []

    def add(kind: str, truth: tuple[int, ...], terms: Terms, corner: int = -1) -> None:
        found.extend(Planted(kind, truth, terms, corner, level) for level in noise)

    for k in rng.permutation(things)[:each]:
        add("one", (int(k),), ((1.0, Formula((int(k),))),))
    for k in rng.permutation(colors)[:each]:
        add("color", (int(k),), ((1.0, Formula((int(k),))),))
    pairs = [
        (int(a), int(b))
        for a, b in (rng.choice(things, 2, replace=False) for _ in range(60 * each))
        if (has[:, a] & has[:, b]).sum() < 0.5 * (has[:, a] | has[:, b]).sum()
    ]
    for a, b in pairs[:each]:
        add("or", (a, b), ((1.0, Formula((a, b), (0, OR))),))
    for a, b in pairs[each : 2 * each]:
        add("two", (a, b), ((1.0, Formula((a,))), (SECOND, Formula((b,)))))
    for a, b in _meeting(probe, things + colors, kinds, rng, each):
        add("and", (a, b), ((1.0, Formula((a, b), (0, AND))),))
    for corner in range(min(each, 4)):
        add("place", (), (), corner)
    return found


def _meeting(
    probe: Probe, concepts: Sequence[int], kinds: Sequence[str], rng: Any, each: int
) -> list[tuple[int, int]]:
    """Pairs of concepts of different categories that meet in 5 % of the photos or more, each
    without the other in as many."""
    some = np.sort(rng.permutation(len(probe))[:SAMPLE])
    labels = np.concatenate([probe.label_maps(row, row + 1) for row in some])
    whole = probe.whole[some].toarray()
    found: list[tuple[int, int]] = []
    for _ in range(40 * each):
        a, b = (int(k) for k in rng.choice(concepts, 2, replace=False))
        if kinds[a] == kinds[b] or len(found) == each:
            continue
        formulas = [Formula((a, b), (0, AND)), Formula((a,)), Formula((b,))]
        both, *alone = formula_masks(formulas, labels, whole).mean((2, 3))
        apart = [((one > 1.3 * both) & (one > 0)).mean() for one in alone]
        if (both > 0).mean() >= LEAST and min(apart) >= LEAST:
            found.append((a, b))
    return found


class PlantedNet(nn.Module):
    """Looks a photo up, and gives the maps that its masks say."""

    def __init__(self, source: Path, units: Sequence[Planted], seed: int):
        super().__init__()
        self.planted = nn.Identity()
        self.source, self.units, self.seed = source, units, seed

    @cached_property
    def table(self) -> dict[str, Tensor]:
        """Digest of a photo → its maps (units, cells, cells)."""
        with Run(self.source) as run:
            dataset, probe = dataset_of(run), open_probe(run)
            view = Preprocessing.from_json(dict(run.settings.preprocessing)).view
            ids = list(dataset.ids)
            whole = probe.whole.toarray()
            signal = np.zeros((len(probe), len(self.units), CELLS, CELLS), np.float32)
            names = []
            for row, one in enumerate(probe.images["id"]):
                names.append(key(np.asarray(view(dataset.photo(ids.index(one))))))
                labels = probe.label_maps(row, row + 1)
                for u, unit in enumerate(self.units):
                    signal[row, u] = self._signal(unit, labels, whole[row : row + 1])
        rng = np.random.default_rng(self.seed)
        for u, unit in enumerate(self.units):
            spread = signal[:, u].std()
            signal[:, u] += unit.noise * spread * rng.normal(size=signal[:, u].shape)
        maps = torch.from_numpy(np.maximum(signal, 0))
        return dict(zip(names, maps, strict=True))

    @staticmethod
    def _signal(unit: Planted, labels: np.ndarray, whole: np.ndarray) -> np.ndarray:
        cells = np.zeros((CELLS, CELLS))
        if unit.kind == "place":
            down, across = divmod(unit.corner, 2)
            half = CELLS // 2
            cells[down * half : (down + 1) * half, across * half : (across + 1) * half] = 1
            return cells
        for weight, formula in unit.terms:
            mask = formula_masks([formula], labels, whole)[0, 0]
            # The stronger of two, where they overlap: a unit of one thing is not louder there.
            cells = np.maximum(cells, weight * cell_means(mask, CELLS, CELLS))
        return ndimage.gaussian_filter(cells, 0.5)

    def forward(self, x: Tensor) -> Tensor:
        """Maps of each photo; zeros of one that is not of the dataset."""
        photos = x.permute(0, 2, 3, 1).round().clamp(0, 255).to(torch.uint8).cpu().numpy()
        nothing = torch.zeros(len(self.units), CELLS, CELLS)
        return self.planted(torch.stack([self.table.get(key(one), nothing) for one in photos]))


def key(photo: np.ndarray) -> str:
    """Digest of a photo as the network sees it."""
    return digest_of([photo.shape, np.ascontiguousarray(photo).tobytes().hex()])


def network(checkpoint: Path) -> tuple[nn.Module, dict[str, Any]]:
    """``python:benchmarks.planted_units:network:FILE``, the JSON that :func:`main` wrote."""
    held = json.loads(checkpoint.read_text())
    units = [
        Planted(
            one["kind"],
            tuple(one["truth"]),
            tuple((w, Formula(tuple(f[0]), tuple(f[1]))) for w, f in one["terms"]),
            one["corner"],
            one["noise"],
        )
        for one in held["units"]
    ]
    with Run(Path(held["run"])) as run:
        seen = dict(run.settings.preprocessing)
    steps = {**seen, "mean": [0.0] * 3, "std": [1.0] * 3, "divide": 1.0, "channels": "RGB"}
    info = {"preprocessing": steps, "classes": None, "default_layer": "planted"}
    return PlantedNet(Path(held["run"]), units, held["seed"]), info


def judge(units: Sequence[Planted], labels: Sequence[Terms]) -> pd.DataFrame:
    """kind, noise, first, all: of every unit with a truth."""
    rows = []
    for unit, terms in zip(units, labels, strict=True):
        if unit.truth:
            named = positive_concepts(terms)
            rows.append(
                {
                    "kind": unit.kind,
                    "noise": unit.noise,
                    "first": bool(named) and named[0] in unit.truth,
                    "all": set(named[: len(unit.truth)]) == set(unit.truth),
                }
            )
    return pd.DataFrame(rows)


def main(arguments: Sequence[str] | None = None) -> int:
    """Plant, dissect, label, judge; prints a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("run", type=Path, help="a run file")
    parser.add_argument("--out", type=Path, default=Path("cache/planted-units"))
    parser.add_argument("--noise", default="0.0,0.5,1.0")
    parser.add_argument("--each", type=int, default=8)
    parser.add_argument("--methods", default="")
    parser.add_argument("--encoder")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path)
    given = parser.parse_args(arguments)
    allow_python()
    noise = [float(word) for word in given.noise.split(",")]
    with Run(given.run) as run:
        units = planted_units(run, noise, given.each, given.seed)
        spec, name = run.settings.dataset.spec, run.dataset
    given.out.mkdir(parents=True, exist_ok=True)
    file = given.out / "planted.json"
    held = {"run": str(given.run.resolve()), "units": [vars(one) for one in units]}
    file.write_text(json.dumps(held | {"seed": given.seed}))
    settings = Settings(
        spec,
        f"python:benchmarks.planted_units:network:{file.resolve()}",
        shuffles=0,
        untrained=False,
    )
    planted = execute(plan(settings), given.out)
    learned, judged = held_out(planted)
    learn, test = open_probe(planted, splits=learned), open_probe(planted, splits=judged)
    methods = tuple(filter(None, given.methods.split(",")))
    bench = compare(learn, test, methods, {"encoder": given.encoder}, exchanges=5)
    rows = []
    for method in bench.methods:
        takes = {"encoder": given.encoder} if method.startswith("clip") else {}
        found = judge(units, label_units(learn, method, **takes).terms)
        place = [u for u, unit in enumerate(units) if unit.kind == "place"]
        scores = bench.units[bench.units["method"] == method].set_index("unit")["image"]
        for (kind, level), part in found.groupby(["kind", "noise"], sort=False):
            rows.append(
                {
                    "method": method,
                    "kind": kind,
                    "noise": level,
                    "units": len(part),
                    "first": part["first"].mean(),
                    "all": part["all"].mean(),
                }
            )
        rows.append(
            {
                "method": method,
                "kind": "place",
                "noise": np.nan,
                "units": len(place),
                "simulation": scores.reindex(place).fillna(0).mean(),
            }
        )
    table = pd.DataFrame(rows)
    print(f"{name}: {len(units)} planted units, labels learned from {learned}, judged by {judged}")
    print(table.round(2).to_string(index=False))
    print({name: why for name, why in bench.left_out.items()})
    if given.json:
        given.json.write_text(strict_json(table.to_dict("records")))
    planted.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
