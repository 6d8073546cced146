"""What came of the bench of labels, as it is kept beside the run and shown without a network."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import parse_json, strict_json, write_text
from core.foundation.names import plain_name, readable
from core.foundation.versions import versions_of
from core.runs.kept import kept
from core.runs.run_file import Run, derived

SCORES = ("image", "cell", "causal", "agreement")
"""Scores of labels, each with `…_low` and `…_high`."""

_ENDS = ("", "_low", "_high")
_SPANS = [f"{name}{end}" for name in (*SCORES, "times") for end in _ENDS]
WORDS = ("method", "title", "about", "family", "note")
METHOD_NUMBERS = ["units", *_SPANS, "exchanged", "cell_exchanged", "judged", "seconds"]
UNIT_NUMBERS = [
    "score",
    *(f"{name}{end}" for name in ("image", "cell", "causal") for end in _ENDS),
    "chance",
    "agreement",
]


@dataclass(frozen=True)
class Judged:
    """What labels were learned from and judged by.

    layer : dotted name. learned_from, judged_by : splits. learned, photos : how many photos.
    categories : whose concepts labels may name; empty for all. by : how concepts were taken out of
    photos, "" where they were not. removals : photos that they were taken out of.
    options : what methods were given, as text. seed : of exchanges, bootstrap and removals.
    """

    layer: str
    learned_from: tuple[str, ...]
    judged_by: tuple[str, ...]
    learned: int
    photos: int
    categories: tuple[str, ...] = ()
    by: str = ""
    removals: int = 0
    options: tuple[tuple[str, str], ...] = ()
    seed: int = 0

    @property
    def words(self) -> str:
        """What is to be said beside every figure: photos and how concepts were taken out."""
        only = f", concepts of {', '.join(self.categories)} alone" if self.categories else ""
        out = f"; causal score: {self.removals} photos, {self.by}" if self.by else ""
        given = "".join(f", {name} {value}" for name, value in self.options)
        return (
            f"layer {self.layer}, labels learned from {', '.join(self.learned_from) or 'all'} "
            f"({self.learned} photos), judged by {', '.join(self.judged_by) or 'all'} "
            f"({self.photos} photos){only}{given}{out}"
        )


@dataclass(frozen=True, eq=False)
class Bench:
    """Labelling methods compared.

    Attributes
    ----------
    asked : on what.
    table : a row a method: method, title, about, family, note, units (labelled), and for each of
        :data:`SCORES` the mean and its 95 % interval over photos; `exchanged` and
        `cell_exchanged`: the simulations with exchanged masks; `times`: the image-level simulation
        over that of NetDissect's labels, with its interval (NaN where it has no end); `judged`:
        units with a causal score; `seconds` that the labels took. Simulations are means over all
        units of the layer, those without a label counted as 0; the causal score over those whose
        label could be judged.
    units : a row a unit and method that labels it: unit, method, label, score (the method's own),
        concepts (names that the label speaks for, the most important first; empty where it names
        no annotated concept), scores with intervals, and `chance`: the p-value of the image-level
        simulation by exchanged masks.
    same : methods × methods: of the units labelled by both, the share whose first concept is the
        same; NaN where there are none.
    left_out : method → why it has no labels here.
    """

    asked: Judged
    table: pd.DataFrame
    units: pd.DataFrame
    same: pd.DataFrame
    left_out: dict[str, str]

    @property
    def methods(self) -> list[str]:
        """Names of the methods that have labels."""
        return [str(name) for name in self.table["method"]]

    def unit(self, unit: int) -> pd.DataFrame:
        """Every method's label of one unit, in the order of the methods."""
        return self.units[self.units["unit"] == unit].reset_index(drop=True)

    def find(self, text: str) -> pd.DataFrame:
        """Rows of :attr:`units` whose label has to do with a concept, with `place`: 1 where it is
        what the label names first, 2 for the next, and so on. Smaller places come first, among
        equals the best image-level simulation.

        A concept of that very name is meant where a label names one, else all whose names hold the
        text; free words that hold it count as well.

        Raises UnitscopeError where no label has to do with it (nearest concepts).
        """
        wanted = plain_name(text)
        if not wanted:
            raise UnitscopeError("which concept is looked for?")
        named = sorted({name for names in self.units["concepts"] for name in names})
        plain = {name: plain_name(name) for name in named}
        exact = {name for name in named if wanted in (plain[name], plain[name].partition(" (")[0])}
        chosen = exact or {name for name in named if wanted in plain[name]}
        place = [
            next((k for k, name in enumerate(names, 1) if name in chosen), 0)
            or int(not names and wanted in plain_name(label))
            for names, label in zip(self.units["concepts"], self.units["label"], strict=True)
        ]
        found = self.units.assign(place=place)
        found = found[found["place"] > 0]
        if not len(found):
            raise unknown("concept that a label names", readable(text), named)
        return found.sort_values(
            ["place", "image"], ascending=[True, False], kind="stable", ignore_index=True
        )

    def keep(self, run: Run) -> None:
        """Write it beside the run, for :func:`kept_benches`."""
        facts = [asdict(self.asked), self.methods, versions_of("labels")]
        held = {
            "run": run.digest,
            "asked": asdict(self.asked),
            "table": self.table.to_dict("records"),
            "units": self.units.to_dict("list"),
            "same": self.same.to_numpy().tolist(),
            "left_out": self.left_out,
        }
        write_text(derived(run, "labels", facts, "json"), strict_json(held))


def kept_benches(run: Run, layer: str | None = None) -> list[Bench]:
    """All benches that were kept of a run (of one of its layers), the latest first; what cannot be
    read, or is not of this run's units, is left out."""
    files = [
        (path.stat().st_mtime_ns, path)
        for path in kept(run.path.with_suffix(".derived"), "labels-*.json")
    ]
    found = [
        run.once(("bench", path.name, time), partial(_open, path, run))
        for time, path in sorted(files, key=lambda pair: (-pair[0], pair[1]))
    ]
    return [one for one in found if one is not None and layer in (None, one.asked.layer)]


def _open(path: Path, run: Run) -> Bench | None:
    try:
        held = parse_json(path.read_text(encoding="utf-8"))
        return _read(held, run) if held["run"] == run.digest else None
    except (OSError, ValueError, KeyError, TypeError, AttributeError, UnitscopeError):
        return None


def _read(held: Any, run: Run) -> Bench:
    """A bench from plain data, every column checked: the file may be damaged, or a stranger's."""
    given = held["asked"]
    asked = Judged(
        str(given["layer"]),
        _texts(given["learned_from"]),
        _texts(given["judged_by"]),
        int(given["learned"]),
        int(given["photos"]),
        _texts(given["categories"]),
        str(given["by"]),
        int(given["removals"]),
        tuple((str(name), str(value)) for name, value in given["options"]),
        int(given["seed"]),
    )
    units = run.unit_count(asked.layer)
    rows = held["table"]
    table = pd.DataFrame(
        {name: [str(row[name]) for row in rows] for name in WORDS}
        | {name: [_number(row[name]) for row in rows] for name in METHOD_NUMBERS}
    )
    table[["units", "judged"]] = table[["units", "judged"]].astype(int)
    columns = held["units"]
    frame = pd.DataFrame(
        {
            "unit": [int(unit) for unit in columns["unit"]],
            "method": _texts(columns["method"]),
            "label": _texts(columns["label"]),
            "concepts": [_texts(names) for names in columns["concepts"]],
        }
        | {name: [_number(value) for value in columns[name]] for name in UNIT_NUMBERS}
    )
    if not frame["unit"].between(0, units - 1).all() or not set(frame["method"]) <= set(
        table["method"]
    ):
        raise ValueError("it is of other units or methods")
    same = pd.DataFrame(
        [[_number(value) for value in row] for row in held["same"]],
        table["method"],
        table["method"],
    )
    left_out = {str(name): str(why) for name, why in held["left_out"].items()}
    return Bench(asked, table, frame, same, left_out)


def _texts(values: Sequence[Any]) -> tuple[str, ...]:
    if not isinstance(values, (list, tuple)):
        raise TypeError("a list was expected")
    return tuple(str(value) for value in values)


def _number(value: Any) -> float:
    return math.nan if value is None else float(value)
