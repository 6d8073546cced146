"""The figures and tables of a run that can be exported, by name, and what each needs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from core.dissect.labels import better_than_chance
from core.dissect.predictions import per_scene
from core.figures import runs as run_figures
from core.figures import units as unit_figures
from core.figures.base import COUNTING, Caption
from core.figures.export import FORMATS, write_chart
from core.figures.printed import Printed
from core.figures.units import categories, iou_chance
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.names import plain_name
from core.runs.run_file import Run
from core.views import images as image_views
from core.views import runs as run_views
from core.views import units as unit_views
from core.views.images import confused_pairs
from core.views.names import shown_name
from core.views.runs import Summary, skipped, summary
from core.views.units import iou_histogram, unit_table

MOST_SCENES = 40
"""A confusion matrix of more scenes cannot be read; the commonest mistakes are listed."""


class View(NamedTuple):
    """What a figure is drawn of; `layer` is "" where the run has none."""

    run: Run
    layer: str
    denominator: str

    @property
    def facts(self) -> Summary:
        """:func:`core.views.runs.summary` of the run."""
        return summary(self.run)

    def caption(self, layered: bool = True, split: str = "") -> Caption:
        """As the app's pages caption the same figure; of a split alone where one is given."""
        facts = self.facts
        layered = layered and bool(self.layer)
        return Caption(
            facts.dataset,
            facts.model,
            self.layer if layered else "",
            COUNTING[self.denominator] if layered else "",
            f"split {split}" if split else f"{facts.images:,} images",
        )


class Figure(NamedTuple):
    """A figure of a report: what it shows, what of a run it needs, and how it is drawn.

    needs : ``units``, ``answers`` of the network, or nothing. draw : view → chart, or None where
    the run has nothing to draw.
    """

    title: str
    needs: str
    draw: Callable[[View], Any]


def _accuracy(view: View) -> Any:
    frame = run_views.accuracy(view.run)
    return run_figures.accuracy(frame, view.caption(False)) if len(frame) else None


def _chance(view: View) -> Any:
    layer = view.layer
    histogram = iou_histogram(view.run, layer, view.denominator)
    return iou_chance(histogram, view.caption())


def _detected(view: View) -> Any:
    frame, above = labels_found(view)
    return unit_figures.detected(frame, view.caption(), above=above) if len(frame) else None


def _categories(view: View) -> Any:
    frame, above = labels_found(view)
    return categories(frame, view.caption(), above=above) if len(frame) else None


def labels_found(view: View) -> tuple[pd.DataFrame, bool]:
    chance = better_than_chance(view.run, view.layer, view.denominator)
    found = unit_views.detected(view.run, view.layer, view.denominator)
    return found, chance.above is not None


def _confusion(view: View) -> Any:
    split = view.facts.judged
    frame = image_views.confusion(view.run, split)
    if not len(frame) or frame["scene"].nunique() > MOST_SCENES:
        return None
    return run_figures.confusion(frame, view.caption(False, split), split=split)


FIGURES = {
    "accuracy": Figure("Accuracy by split", "answers", _accuracy),
    "confusion": Figure("Confusion matrix", "answers", _confusion),
    "overlap": Figure("Do the units mean anything?", "units", _chance),
    "concepts": Figure("Concepts that units detect", "units", _detected),
    "categories": Figure("What kinds of things the units detect", "units", _categories),
}
"""Name → figure, in the order of a report."""


class Listing(NamedTuple):
    """A table of a report: its heading, what of a run it needs (as a figure), view → rows.

    judged : whether it is of the held-out split alone.
    """

    title: str
    needs: str
    rows: Callable[[View], pd.DataFrame]
    judged: bool = False


def chance_columns(labels: pd.DataFrame) -> dict[str, pd.Series]:
    """The columns that say how often chance does as well."""
    return {
        "p (permutation)": labels["chance"].round(4),
        "p adjusted": labels["adjusted"].round(4),
    }


def _units(view: View) -> pd.DataFrame:
    table = unit_table(view.run, view.layer, view.denominator).dropna(subset="name")
    table = table.sort_values(["iou", "unit"], ascending=[False, True])
    return pd.DataFrame(
        {
            "unit": table["unit"],
            "label": table["label"],
            "category": table["category"].astype(str),
            "IoU": table["iou"].round(4),
            **chance_columns(table),
            "images": table["images"],
        }
    )


def _scene_rows(view: View) -> pd.DataFrame:
    table = per_scene(view.run, view.facts.judged)
    return pd.DataFrame(
        {
            "scene": [plain_name(n) for n in table["scene"]],
            "images": table["images"],
            "right": table["right"],
            "accuracy": [f"{a:.1%}" for a in table["accuracy"]],
            "most often predicted as": [
                plain_name(n) if isinstance(n, str) else "" for n in table["confused_with"]
            ],
            "of so many": table["confused"],
        }
    )


def _mistakes(view: View) -> pd.DataFrame:
    table = confused_pairs(view.run, view.facts.judged)
    table["share"] = [f"{s:.1%}" for s in table["share"]]
    for name in ("scene", "predicted"):
        table[name] = table[name].map(plain_name)
    return table


def _concepts(view: View) -> pd.DataFrame:
    table, _ = labels_found(view)
    table = table.assign(name=[shown_name(n) for n in table["name"]], iou=table["iou"].round(4))
    return table.rename(columns={"name": "concept", "iou": "best IoU", "best": "best unit"})


TABLES = {
    "scenes": Listing("Scene by scene", "answers", _scene_rows, True),
    "mistakes": Listing("The commonest mistakes", "answers", _mistakes, True),
    "units": Listing("Units with the clearest labels", "units", _units),
    "detected": Listing("Concepts detected", "units", _concepts),
    "left-out": Listing("Files and rows left out", "", lambda view: skipped(view.run)),
}
"""Name → table, in the order of a report."""


def available(view: View) -> tuple[list[str], list[str]]:
    """Names of the figures and of the tables that this run can give."""
    has = {
        "units": bool(view.layer),
        "answers": not view.run.no_answers,
        "": True,
    }
    shown = [name for name, one in FIGURES.items() if has[one.needs]]
    scenes = view.run.sql("SELECT count(DISTINCT scene) AS n FROM images")["n"].iloc[0]
    if "confusion" in shown and not 0 < scenes <= MOST_SCENES:
        shown.remove("confusion")
    return shown, [name for name, one in TABLES.items() if has[one.needs]]


def check_needs(view: View, what: str, needs: str) -> None:
    """Raise UnitscopeError where a run has not what a figure or table (`what`) needs of it."""
    if needs == "units" and not view.layer:
        raise UnitscopeError(f"{what} is of units, and this run has none")
    if needs == "answers":
        view.run.need_answers(what)


def open_view(run: Run, layer: str | None = None, denominator: str = "all") -> View:
    """A view of a run, its last layer where none is named; none of a run without layers.

    Raises UnitscopeError for an unknown layer or denominator.
    """
    if denominator not in COUNTING:
        raise unknown("denominator", denominator, COUNTING)
    if layer is not None or run.layer_names:
        layer = run.layer_names[run.layer(layer)]
    return View(run, layer or "", denominator)


def export_figures(
    view: View,
    folder: Path,
    kinds: Sequence[str] = ("svg",),
    names: Sequence[str] = (),
    printed: Printed | None = None,
) -> list[Path]:
    """Write figures as files, named after the figure and, where it is of units, the layer.

    names : of :data:`FIGURES`; all that the run can give where empty. printed : for a paper; the
    caption is then written beside each figure, as ``NAME.txt``.

    Returns the files written. Raises UnitscopeError for an unknown figure or format, before
    anything is written; and, when all others are, for figures that cannot be drawn so.
    """
    for kind in kinds:
        if kind not in FORMATS:
            raise unknown("figure format", kind, FORMATS)
    folder.mkdir(parents=True, exist_ok=True)
    written: list[Path] = []
    failed: list[str] = []
    for name in names or available(view)[0]:
        chart = drawn_chart(view, name)
        if chart is None:
            continue
        stem = name + (f"-{view.layer}" if FIGURES[name].needs == "units" else "")
        try:
            written += write_chart(chart, folder, stem, kinds, printed)
        except UnitscopeError as err:
            failed.append(f"{name}: {err}")
    if failed:
        raise UnitscopeError(f"{len(written)} files written, but not " + "; ".join(failed))
    return written


def drawn_chart(view: View, name: str) -> Any:
    if name not in FIGURES:
        raise unknown("figure", name, FIGURES)
    check_needs(view, f"figure {name!r}", FIGURES[name].needs)
    return FIGURES[name].draw(view)
