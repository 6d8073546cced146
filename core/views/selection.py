"""What a page lists, exported: all photos or units that fit, with their tags and notes, as CSV,
JSON or Parquet."""

from __future__ import annotations

import io

import pandas as pd

from core.foundation.errors import unknown
from core.foundation.escape import csv_frame
from core.foundation.files import strict_json
from core.runs.notes import Marks, all_marks
from core.runs.run_file import Run
from core.views.images import Filter, fitting
from core.views.units import unit_table

FORMATS = {
    "CSV": "text/csv",
    "JSON": "application/json",
    "Parquet": "application/vnd.apache.parquet",
}
"""Format → MIME type."""


def photos_of(run: Run, choice: Filter) -> pd.DataFrame:
    """Every photo that fits: id, split, scene, predicted, confidence, correct, tags (with commas
    between), note."""
    where, values = fitting(run, choice)
    frame = run.sql(
        "SELECT id, split, scene_name AS scene, predicted_name AS predicted, confidence, correct "
        f"FROM ({where}) ORDER BY image",
        values,
    )
    return _with_marks(frame, "id", all_marks(run))


def units_of(run: Run, layer: str, units: list[int], denominator: str = "all") -> pd.DataFrame:
    """Some units of a layer, in the order given: unit, label, category, iou, p_value, p_adjusted,
    above_chance, images, threshold, tags, note."""
    table = unit_table(run, layer, denominator).set_index("unit").loc[units].reset_index()
    frame = table[["unit", "name", "category", "iou", "chance", "adjusted", "above", "images"]]
    frame = frame.rename(
        columns={
            "name": "label",
            "chance": "p_value",
            "adjusted": "p_adjusted",
            "above": "above_chance",
        }
    ).assign(threshold=table["threshold"])
    return _with_marks(frame, "unit", all_marks(run, layer))


def _with_marks(frame: pd.DataFrame, key: str, marks: dict[str, Marks]) -> pd.DataFrame:
    found = [marks.get(str(one), Marks()) for one in frame[key]]
    return frame.assign(
        tags=[", ".join(one.tags) for one in found], note=[one.note for one in found]
    )


def written(frame: pd.DataFrame, kind: str) -> bytes:
    """A frame as a file of one of :data:`FORMATS`: CSV whose cells no spreadsheet takes for
    formulas, JSON as a list of objects, Parquet."""
    if kind == "CSV":
        return csv_frame(frame).encode()
    if kind == "JSON":
        plain = frame.astype(object).where(frame.notna(), None)
        return strict_json(plain.to_dict("records"), indent=1).encode()
    if kind != "Parquet":
        raise unknown("format", kind, FORMATS)
    out = io.BytesIO()
    frame.to_parquet(out, index=False)
    return out.getvalue()
