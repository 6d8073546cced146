"""Labels that were made elsewhere, read from a CSV and entered like those of any method.

The layout of our own is a line a unit with the columns ``unit`` (counted from 0), ``label`` and
``score``, and optionally ``layer`` and ``method``. Published layouts are recognised by their
columns (:data:`LAYOUTS`): NetDissect's tally, CLIP-Dissect's and MILAN's descriptions, and the
files that CoSy compares (Kopf et al., NeurIPS 2024).

A file is read as a whole or not at all: one line that cannot be right makes all others doubtful.
"""

from __future__ import annotations

import csv
import io
import math
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from core.datasets.base import Problem
from core.datasets.files import Row, read_table, text_of, whole_number
from core.foundation.errors import BadFile, UnitscopeError, unknown
from core.foundation.files import expanded
from core.foundation.names import few, readable
from core.labelling.label import LONGEST, Terms, parse
from core.labelling.naming import Naming
from core.labelling.probe import Probe

MOST_FILE = 2**26
"""Bytes of a table of labels; NetDissect's tally of a layer of 2,048 units has half a million."""

MOST_SCORE = 1e30
"""The largest score in either direction: beyond, a mean of scores is no number."""


@dataclass(frozen=True)
class Layout:
    """How a file says which unit has which label.

    Attributes
    ----------
    name : whose it is. signs : columns by which it is recognised, all of them; ``*-iou`` stands
    for any that ends so.
    unit, label, score : its columns; score is "" where it has none. first : the number of its
    first unit. read : what the label's cell holds → (label, score as text where it is in there).
    """

    name: str
    signs: tuple[str, ...]
    unit: str = "unit"
    label: str = "label"
    score: str = "score"
    first: int = 0
    read: Callable[[str], tuple[str, str]] | None = None

    def fits(self, header: Sequence[str]) -> bool:
        """Whether a file with this header, in lower case, is of the layout."""
        return all(
            any(column.endswith(sign[1:]) for column in header)
            if sign.startswith("*")
            else sign in header
            for sign in self.signs
        )


def _first_phrase(cell: str) -> tuple[str, str]:
    """The first of FALCON's phrases and its score: ``[('merino sheep', 0.2), …]``.

    >>> _first_phrase("[('merino sheep', 0.25), ('wool', 0.1)]")
    ('merino sheep', '0.25')
    """
    pair = r"""\[\(\s*(?P<mark>['"])(?P<phrase>.*?)(?P=mark)\s*,\s*(?P<score>[-+.\deE]+)\s*\)"""
    found = re.match(pair, cell)
    return (found["phrase"], found["score"]) if found else ("", "")


LAYOUTS = (
    Layout("NetDissect's tally", ("unit", "category", "label", "score", "*-iou"), first=1),
    Layout("Unitscope's", ("unit", "label", "score")),
    Layout(
        "CLIP-Dissect's", ("unit", "description", "similarity"), "unit", "description", "similarity"
    ),
    # MILAN's captions, GPT-4's and those of dictionary features in CoSy's repository.
    Layout("MILAN's", ("unit", "description"), "unit", "description", ""),
    Layout("INVERT's, of CoSy", ("neuron", "concept", "metric"), "neuron", "concept", "metric"),
    # CoSy takes the first noun phrase.
    Layout(
        "FALCON's, of CoSy",
        ("group", "concept_set_noun_phrases"),
        "group",
        "concept_set_noun_phrases",
        "",
        read=_first_phrase,
    ),
)
"""The first that fits a file's columns is its layout."""


@dataclass(frozen=True, eq=False)
class Table:
    """What a file says of the units of one layer.

    layout : whose it is. frame : unit (from 0), label, score (NaN where the layout has none),
    category ("" where it has none), line; by unit.
    method : as the file calls it, "" where it does not.
    """

    layout: Layout
    frame: pd.DataFrame
    method: str


def read_labels(given: str | Path, layer: str, units: int) -> Table:
    """The labels of a layer's units from ``FILE[#LAYER]``.

    LAYER is what the file calls the layer, where that is not the run's own name.

    Raises BadFile or UnitscopeError, with the line, where the file is missing, too large, no text
    or no table of a known layout (with the nearest column); where it is of other layers; and for a
    unit that is none of the layer's or is there twice, a score that is no finite number, a label
    that is missing or too long, and a row of too few or too many cells.
    """
    path, called = _parted(expanded(given))
    header = _header(path)
    layout = next((one for one in LAYOUTS if one.fits(header)), LAYOUTS[1])
    problems: list[Problem] = []
    needed = [layout.unit, layout.label, *([layout.score] if layout.score else [])]
    table = read_table(path, needed, problems)
    if problems:
        raise BadFile(path, problems[0].reason)
    rows = _of_layer(path, table.rows, table.header, called, layer)
    methods = {row.cells.get("method", "") for row in rows} - {""}
    if len(methods) > 1:
        raise BadFile(
            path, f"holds labels of {few(sorted(methods))}: give those of each method a file"
        )
    lines: dict[int, int] = {}
    found = []
    for row in rows:
        unit = _unit(path, row, layout, layer, units)
        if lines.setdefault(unit, row.line) != row.line:
            raise BadFile(
                path,
                f"line {row.line} labels unit {row.cells[layout.unit]} again, as line "
                f"{lines[unit]}; one label a unit is meant",
            )
        label, score = _label(path, row, layout)
        category = row.cells.get("category", "") if layout.first else ""
        found.append((unit, label, score, category, row.line))
    if not found:
        raise BadFile(path, "labels no unit")
    columns = ["unit", "label", "score", "category", "line"]
    frame = pd.DataFrame(found, columns=columns).sort_values("unit", ignore_index=True)
    return Table(layout, frame, next(iter(methods), ""))


def _parted(given: Path) -> tuple[Path, str]:
    """FILE#LAYER → (FILE, LAYER); a file with # in its name is just a file."""
    if given.exists() or "#" not in given.name:
        return given, ""
    name, _, layer = given.name.rpartition("#")
    return given.with_name(name), layer


def _header(path: Path) -> list[str]:
    """Names of the columns, in lower case. A missing file is left to `read_table`."""
    if not path.is_file():
        return []
    size = path.stat().st_size
    if size > MOST_FILE:
        raise BadFile(path, f"has {size:,} bytes; a table of labels of {MOST_FILE:,} is read")
    try:
        head = next(csv.reader(io.StringIO(text_of(path), newline="")), [])
    except csv.Error as err:
        raise BadFile(path, f"is no table of labels: {err}") from err
    return [readable(name.strip()).lower() for name in head]


def _of_layer(
    path: Path, rows: Sequence[Row], header: Sequence[str], called: str, layer: str
) -> list[Row]:
    """The rows of the layer; all where the file names none."""
    if "layer" not in header:
        if called:
            raise BadFile(path, f"has no column layer, of which {called!r} could be chosen")
        return list(rows)
    layers = list(dict.fromkeys(row.cells["layer"] for row in rows if row.cells.get("layer")))
    wanted = called or layer
    if wanted in layers:
        return [row for row in rows if row.cells.get("layer") == wanted]
    if not layers and not called:
        return list(rows)
    if called:
        raise UnitscopeError(f"{path}: {unknown('layer of the file', called, layers)}")
    raise UnitscopeError(
        f"{path}: it has labels of {few(layers)}, and the run's layer is {layer}. If one of them "
        f"is that layer, say so: {path.name}#{layers[0]}"
    )


def _unit(path: Path, row: Row, layout: Layout, layer: str, units: int) -> int:
    text = row.cells[layout.unit]
    number = whole_number(text)
    if number is None:
        raise BadFile(path, f"line {row.line}: unit {text[:40]!r} is no whole number")
    unit = number - layout.first
    if unit < 0:
        raise BadFile(
            path, f"line {row.line}: unit {number}, where {layout.name} counts from {layout.first}"
        )
    if unit >= units:
        raise BadFile(
            path,
            f"line {row.line} labels unit {number}, and {layer} has units {layout.first} to "
            f"{units - 1 + layout.first}: these are labels of another network or layer",
        )
    return unit


def _label(path: Path, row: Row, layout: Layout) -> tuple[str, float]:
    cell = row.cells[layout.label]
    label, rating = layout.read(cell) if layout.read else (cell, "")
    if not label:
        raise BadFile(path, f"line {row.line} has no label; leave out units without one")
    if len(label) > LONGEST:
        raise BadFile(
            path, f"line {row.line}: a label of {len(label)} characters; {LONGEST} are read"
        )
    rating = row.cells[layout.score] if layout.score else rating
    if not rating and not layout.score:
        return label, math.nan
    try:
        score = float(rating)
    except ValueError:
        score = math.nan
    if not abs(score) <= MOST_SCORE:
        raise BadFile(path, f"line {row.line}: score {rating[:40]!r} is no finite number")
    return label, score


# -- as a labelling method ----------------------------------------------------------------------


def by_table(probe: Probe, table: str | Path | None = None) -> pd.DataFrame:
    """Labels of a layer's units from a file (:func:`read_labels`).

    A label is read as the data set's concepts where it names one, by synonym, plural or spelling
    (:mod:`core.labelling.naming`), or where it is a formula or a sum of them
    (:func:`core.labelling.label.parse`).

    Columns unit, label, score, concepts (what the label names, None where that is nothing), kind
    (of the alignment; ``formula`` for a formula, ``none``), suggested (the concept of the head
    noun of a label that names none), terms. ``frame.attrs["note"]`` says whose layout the file
    has and how many labels name no concept.

    Raises UnitscopeError where no file is named, and as `read_labels`.
    """
    if table is None:
        raise UnitscopeError(
            "labels made elsewhere are read from a file: name one, a CSV with the columns unit, "
            "label, score (docs/labels.md)"
        )
    read = read_labels(table, probe.layer, probe.run.unit_count(probe.layer))
    naming = Naming(probe)
    frame = read.frame
    said = [
        _said(probe, naming, text, category)
        for text, category in zip(frame["label"], frame["category"], strict=True)
    ]
    terms, kinds, suggested = zip(*said, strict=True)
    named = [_names(probe, one) if one else None for one in terms]
    frame = frame.drop(columns=["category", "line"]).assign(kind=kinds, suggested=suggested)
    frame["concepts"] = pd.Series(named, dtype=object)
    frame["terms"] = pd.Series(terms, dtype=object)
    lost = sum(one is None for one in named)
    note = f"read from {Path(table).name} (layout: {read.layout.name})"
    if lost:
        note += f"; {lost} of {len(frame)} labels name no concept of the data set"
    frame.attrs |= {"note": note}
    return frame


def _names(probe: Probe, terms: Terms) -> str:
    concepts = {c for _, formula in terms for c in formula.concepts}
    return ", ".join(probe.names[c] for c in sorted(concepts))


def _said(probe: Probe, naming: Naming, text: str, category: str) -> tuple[Terms | None, str, str]:
    """(terms, kind, suggested) of a label; terms None where it names no concept."""
    found = naming.find(text)
    if found.concepts:
        kinds = probe.concepts.set_index("concept")["category"]
        own = tuple(c for c in found.concepts if kinds[c] == category)
        return found._replace(concepts=own or found.concepts).terms, found.kind, ""
    try:
        return parse(text, probe.ids), "formula", ""
    except UnitscopeError:
        return None, "none", found.suggested
