"""Labelling methods: how a unit gets the words that say what it detects.

What a row opens is called with a :class:`~core.runs.run_file.Run`, a layer's name (None for the
run's last) and a sequence of categories (None for all); it returns a frame with one row a unit
that has a label: `unit`, `label` (text) and `iou` (over the dataset), and whatever else it knows.
"""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from core.foundation.errors import UnitscopeError
from core.foundation.registry import Registry, Row
from core.runs.run_file import Run

LABELLING: Registry[Row] = Registry(
    "labelling method",
    "unitscope.labelling",
    (
        Row(
            "dataset",
            "dataset",
            "the concept of highest IoU over all photos (NetDissect), every pixel counted",
            "core.dissect.labelling:by_dataset",
        ),
        Row(
            "annotated",
            "annotated",
            "the same, with only the pixels counted that are annotated for the concept's category",
            "core.dissect.labelling:by_annotated",
        ),
        Row(
            "formula",
            "formula",
            "the logical formula of up to three concepts with the highest IoU (CEN's beam search)",
            "core.dissect.labelling:by_formula",
        ),
    ),
    Row,
)


def labels(
    run: Run,
    method: str = "dataset",
    layer: str | None = None,
    categories: Sequence[str] | None = None,
) -> pd.DataFrame:
    """Labels of a layer's units by a method of :data:`LABELLING`, a row each, by unit.

    Raises UnitscopeError for an unknown method, layer or category, and where a method that was
    added gives no such frame.
    """
    frame = LABELLING.row(method).load()(run, layer, categories)
    needed = {"unit", "label", "iou"}
    if not isinstance(frame, pd.DataFrame) or not needed <= set(frame.columns):
        raise UnitscopeError(f"labelling method {method!r} gave no frame of unit, label and iou")
    if frame["unit"].duplicated().any():
        raise UnitscopeError(f"labelling method {method!r} gave a unit two labels")
    return frame.sort_values("unit", ignore_index=True)


def by_dataset(run: Run, layer: str | None, categories: Sequence[str] | None) -> pd.DataFrame:
    """:func:`core.dissect.labels.unit_labels` with every pixel counted."""
    from core.dissect.labels import unit_labels

    return unit_labels(run, layer, "all", categories).rename(columns={"name": "label"})


def by_annotated(run: Run, layer: str | None, categories: Sequence[str] | None) -> pd.DataFrame:
    """:func:`core.dissect.labels.unit_labels` with the annotated pixels alone."""
    from core.dissect.labels import unit_labels

    return unit_labels(run, layer, "annotated", categories).rename(columns={"name": "label"})


def by_formula(run: Run, layer: str | None, categories: Sequence[str] | None) -> pd.DataFrame:
    """:func:`core.dissect.formulas.unit_formulas` as it searches where nothing is chosen."""
    from core.dissect.formula_search import Search
    from core.dissect.formulas import unit_formulas

    frame, _ = unit_formulas(run, layer, Search(categories=tuple(categories or ())))
    return frame.dropna(subset="formula").rename(columns={"label": "concept", "formula": "label"})
