"""The table of labelling methods, for a paper."""

from __future__ import annotations

import math

from core.foundation.escape import latex_text
from core.foundation.latex import floating, tabular
from core.labelling.judged import Bench
from core.runs.run_file import Run

HEADS = ("method", "units", "simulation", "cells", "causal score", "judged")

MEANING = (
    "Simulation: mean over units of the correlation, over photos, between what a label predicts "
    "and the unit's mean activation; cells: the same over the cells of its map; causal score: how "
    "much more a unit loses when its concept is taken out of a photo than when as much of "
    "something else is, in standard deviations, over the units whose label could be judged. 95 % "
    "intervals over photos in brackets."
)


def labels_latex(found: Bench, run: Run) -> str:
    """A booktabs table of the methods with their scores, and where they come from in the caption.

    >>> "_" in latex_text("clip_dissect").replace(r"\\_", "")
    False
    """
    rows = [
        [
            latex_text(str(row.method)),
            str(row.units),
            _cell(row.image, row.image_low, row.image_high),
            _cell(row.cell, row.cell_low, row.cell_high),
            _cell(row.causal, row.causal_low, row.causal_high),
            str(row.judged) if found.asked.by else "–",
        ]
        for row in found.table.itertuples()
    ]
    caption = (
        f"Labels of units: {run.dataset}, {run.settings.model.spec}, {found.asked.words}. {MEANING}"
    )
    table = tabular("lrrrrr", [latex_text(head) for head in HEADS], rows)
    return floating(table, caption)


def _cell(value: float, low: float, high: float) -> str:
    if math.isnan(value):
        return "–"
    return f"{value:.3f} {{\\scriptsize [{low:.3f}, {high:.3f}]}}"
