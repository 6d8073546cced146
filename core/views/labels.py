"""What every method calls a unit: single concepts, formulas by beam search and by proof."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import count
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pandas as pd

from core.explain.learned import LEFT_OUT, select
from core.runs.kept import kept
from core.runs.run_file import Run
from core.views.images import concepts as concepts_of
from core.views.units import unit_concepts, unit_facts

# The search of formulas brings PyTorch along, which takes seconds to import: functions that need
# it ask for it themselves, so that the table of units opens at once.
if TYPE_CHECKING:
    from core.dissect.formula_search import Search, Sizes
    from core.dissect.signatures import Signatures

MOST = 2000
"""Formulas opened for one unit in search of a proof: a second, as a rule."""

METHODS = {
    "all": "NetDissect, all pixels",
    "annotated": "NetDissect, annotated",
    "highest_iou": "best in most photos",
    "beam": "formula, beam search",
    "optimal": "formula, best of all",
}


def single_labels(run: Run, layer: str, unit: int) -> pd.DataFrame:
    """The one concept that each method without formulas gives a unit.

    Columns: method (of :data:`METHODS`), concepts (ids, here of one), ops, iou (the dataset's,
    every pixel counts, whatever the method), own (what the method itself maximises), chance (NaN
    where it was not measured), note. A method that finds no concept has no row.

    ``highest_iou``: in each photo the concept with the highest Eq. 2 IoU (colours and scenes
    left out, as in LC(x)); of all photos the commonest, of equals the first in the concept table.

    Raises UnitscopeError for an unknown layer or unit.
    """
    unit_facts(run, layer, unit)
    found: list[_Single] = []
    for method in ("all", "annotated"):
        best = unit_concepts(run, layer, unit, method, 1)
        if len(best):
            label = best.iloc[0]
            iou, chance = float(label["iou"]), float(label["chance"])
            found.append(_Single(method, int(label["concept"]), iou, chance))
    often = most_often(run, layer, unit)
    if len(often):
        label = often.iloc[0]
        photos = int(often["images"].sum())
        found.append(
            _Single(
                "highest_iou",
                int(label["concept"]),
                float(label["images"] / photos),
                note=f"in {label['images']:,} of {photos:,} photos",
            )
        )
    counts = run.sql(
        "SELECT concept, overlap, hits, area FROM dataset_iou WHERE layer = ? AND unit = ?",
        [run.layer(layer), unit],
    ).set_index("concept")
    rows = []
    for one in found:
        counted = counts.loc[one.concept]
        iou = _iou(int(counted["overlap"]), int(counted["area"]), int(counted["hits"]))
        rows.append((one.method, (one.concept,), (0,), iou, one.own, one.chance, one.note))
    return pd.DataFrame(rows, columns=COLUMNS)


class _Single(NamedTuple):
    """What a method without formulas gives a unit; `own` is what the method maximises."""

    method: str
    concept: int
    own: float
    chance: float = np.nan
    note: str = ""


COLUMNS = ["method", "concepts", "ops", "iou", "own", "chance", "note"]


def _iou(both: int, area: int, hits: int) -> float:
    """|A ∩ F| / |A ∪ F| of counted pixels: one rule for every row of the comparison."""
    union = hits + area - both
    return both / union if union else 0.0


def most_often(run: Run, layer: str, unit: int) -> pd.DataFrame:
    """Concepts by how often each is the unit's best of a photo (Eq. 2, highest IoU): concept,
    images; most first. Colours and scenes are left out."""
    holes = ", ".join("?" * len(LEFT_OUT))
    rows = run.sql(
        f"""
        SELECT i.image, i.unit, i.concept, i.iou_image AS iou
        FROM image_iou i JOIN concepts c USING (concept)
        WHERE i.layer = ? AND i.unit = ? AND c.category NOT IN ({holes}) ORDER BY 1, 2, 3
        """,
        [run.layer(layer), unit, *LEFT_OUT],
    )
    best, _ = select(rows, "highest_iou")
    table = best.groupby("concept").size().rename("images").reset_index()
    return table.sort_values(["images", "concept"], ascending=[False, True], ignore_index=True)


def _searches() -> dict[str, Search]:
    """What `python -m core formulas RUN` does, with `--optimal` and without."""
    from core.dissect.formula_search import Search

    return {"optimal": Search(optimal=True), "beam": Search()}


def open_signatures(run: Run, layer: str) -> tuple[Signatures, Sizes]:
    """A layer's signatures, and the sizes of formulas that its units share."""
    from core.dissect.formula_search import Sizes
    from core.dissect.signatures import signatures

    found = signatures(run, layer)
    return found, Sizes(found)


def formula_labels(s: Signatures, sizes: Sizes, unit: int) -> pd.DataFrame:
    """The best formula of up to three concepts by beam search, and the best of all:
    rows as of :func:`single_labels`; none for a unit that overlaps no concept.

    note : of the best of all, whether that is proven; where :data:`MOST` formulas did not
    suffice, what IoU remains possible.
    """
    from core.dissect.formula_search import beam_search, optimal_search

    found = {
        "beam": beam_search(s, unit, sizes=sizes),
        "optimal": optimal_search(s, unit, most=MOST, sizes=sizes),
    }
    rows = []
    for method, one in found.items():
        if one.formula is None:
            continue
        note = ""
        if method == "optimal":
            note = "proven" if one.proven else f"not proven: up to {one.bound:.3f} is possible"
        if one.ties:
            note += f"{', ' if note else ''}{len(one.ties)} more do as well"
        rows.append(
            {
                "method": method,
                "concepts": one.formula.concepts,
                "ops": one.formula.ops,
                "iou": _iou(one.both, one.area, one.hits),
                "own": one.score,
                "chance": np.nan,
                "note": note,
            }
        )
    return pd.DataFrame(rows, columns=COLUMNS)


def with_chance(run: Run, layer: str, rows: pd.DataFrame) -> pd.DataFrame:
    """Rows of formulas (method, own) with their chance: the share (1 + reached) / (1 + drawn) of
    what the same search found in exchanged labels, where `formulas --shuffles` was run on all
    units; NaN elsewhere. A search that ended at :data:`MOST` formulas is set against those of the
    command line, which open more."""
    from core.dissect.formulas import finished_formulas

    rows = rows.copy()
    for method, search in _searches().items():
        here = rows["method"] == method
        if not here.any():
            continue
        scores: list[float] = []
        for shuffle in count():
            found = finished_formulas(run, layer, search, shuffle)
            if found is None:
                break
            scores += [one.score for one in found]
        if scores:
            null = np.sort(scores)
            reached = len(null) - np.searchsorted(null, rows.loc[here, "own"].to_numpy(), "left")
            rows.loc[here, "chance"] = (1 + reached) / (1 + len(null))
    return rows


def formula_table(run: Run, layer: str) -> pd.DataFrame:
    """The formula of every unit of a layer, where a search of all of them has been run: unit,
    concepts, ops, iou; the best of all rather than the beam's. Without rows where none was.

    Units without a formula have no row. It only reads.
    """
    columns = ["unit", "concepts", "ops", "iou"]
    if not any(kept(run.path.with_suffix(".derived"), "formulas-*.jsonl")):
        return pd.DataFrame(columns=columns)
    from core.dissect.formulas import finished_formulas

    for search in _searches().values():
        found = finished_formulas(run, layer, search)
        if found is not None:
            rows = [
                (one.unit, one.formula.concepts, one.formula.ops, one.iou)
                for one in found
                if one.formula is not None
            ]
            return pd.DataFrame(rows, columns=columns)
    return pd.DataFrame(columns=columns)


def formula_words(concepts: Sequence[int], ops: Sequence[int], names: Mapping[int, str]) -> str:
    """A formula in words, each concept by its name (or link) in `names`.

    >>> formula_words((3, 1, 2), (0, 1, 3), {1: "bed", 2: "wall", 3: "lamp"})
    '(lamp OR bed) AND NOT wall'
    """
    from core.dissect.formula import Formula

    known = [names.get(k, "") for k in range(max(concepts) + 1)]
    return Formula(tuple(concepts), tuple(ops)).words(known)


def names_by_id(run: Run) -> pd.DataFrame:
    """label and shown name of every concept that occurs, by its id."""
    return concepts_of(run).set_index("concept")[["label", "shown"]]
