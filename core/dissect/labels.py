"""Labels of units: which concept each one detects, and which of them are better than chance.

A unit's label is the concept with the largest IoU over the whole dataset (:func:`iou_table`);
:mod:`core.dissect.significance` says when it is better than chance.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
import pyarrow as pa

from core.dissect.significance import (
    FDR,
    MOST_SPLITS,
    adjust,
    called_by_chance,
    judge,
    split_sets,
)
from core.foundation.errors import UnitscopeError, unknown
from core.runs.run_file import Run, known_values
from core.runs.tables import DENOMINATORS

# -- overlap ------------------------------------------------------------------------------


def iou_table(
    both: np.ndarray,
    hits: np.ndarray,
    inside: np.ndarray,
    areas: np.ndarray,
    category: np.ndarray,
    denominator: str,
) -> np.ndarray:
    """Dataset-level IoU of every unit and concept (NetDissect; Eq. 1's σ summed over images).

    both (units, concepts); hits (units,) = Σ|A_t|; inside (units, categories) = Σ|A_t| within
    the annotated pixels; areas (concepts,) = Σ|L_c|; category (concepts,) position of each
    concept's category, or −1 for one that holds for whole images.

    IoU = both / (hits + area − both), with `inside` for hits where `denominator` is
    ``"annotated"``. Returns float64 (units, concepts), 0 where nothing overlaps.

    >>> iou_table(np.array([[2]]), np.array([4]), np.array([[3]]), np.array([2]),
    ...           np.array([0]), "all")
    array([[0.5]])
    """
    counted = np.broadcast_to(hits[:, None], both.shape).astype(np.float64)
    if denominator == "annotated" and inside.shape[1]:
        counted = np.where(category[None, :] >= 0, inside[:, np.maximum(category, 0)], counted)
    union = counted + areas[None, :] - both
    iou: np.ndarray = np.divide(both, union, out=np.zeros(both.shape), where=union > 0)
    return iou


# -- null distribution ----------------------------------------------------------------------


def chance_rows(best: np.ndarray, splits: Sequence[str], groups: Sequence[str]) -> pa.Table:
    """Rows of the table ``chance`` for one set of splits, the column `layer` apart.

    best : float32 (denominators, groups, units, rounds); groups : their categories.
    """
    units, rounds = best.shape[2:]
    rows = len(DENOMINATORS) * len(groups) * units
    values = pa.array(best.reshape(-1))
    return pa.table(
        {
            "splits": [json.dumps(list(splits), ensure_ascii=False)] * rows,
            "denominator": np.repeat(DENOMINATORS, len(groups) * units),
            "category": np.tile(np.repeat(list(groups), units), len(DENOMINATORS)),
            "unit": np.tile(np.arange(units, dtype=np.int32), len(DENOMINATORS) * len(groups)),
            "ious": pa.ListArray.from_arrays(
                pa.array(np.arange(0, (rows + 1) * rounds, rounds, dtype=np.int32)), values
            ),
        }
    )


def null_distribution(
    run: Run,
    layer: str | None = None,
    denominator: str = "all",
    categories: Sequence[str] | None = None,
    splits: Sequence[str] | None = None,
) -> np.ndarray:
    """Best IoUs after exchange, float32 (units, rounds): each row is a unit's own null.

    Arguments as in :func:`unit_labels`: the same images are exchanged and the same concepts
    searched. (units, 0) where the run has none: made with ``--shuffles 0``, or by a version that
    measured chance in another manner (:attr:`core.runs.run_file.Run.measures_chance`).

    Raises UnitscopeError for a set of splits for which the run holds no null distribution.
    """
    key = ("null", layer, denominator, _tuple(categories), _tuple(splits))
    return run.once(key, lambda: _null(run, layer, denominator, categories, splits))


def _tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _null(
    run: Run,
    layer: str | None,
    denominator: str,
    categories: Sequence[str] | None,
    splits: Sequence[str] | None,
) -> np.ndarray:
    number, units = run.layer(layer), run.unit_count(layer)
    if not run.measures_chance:
        return np.zeros((units, 0), np.float32)
    there = known_values(run, "split", "images", None)
    wanted = tuple(sorted(set(there if splits is None else splits)))
    if wanted not in split_sets(there):
        raise UnitscopeError(
            f"the run holds no chance of labels learned on the splits {', '.join(wanted)} "
            f"together: with more than {MOST_SPLITS} splits it has that of each one and of all. "
            f"Ask for one, or for all of {', '.join(there)}"
        )
    chosen = known_values(run, "category", "concepts", categories)
    frame = run.sql(
        f"""
        SELECT category, ious FROM chance
        WHERE layer = ? AND denominator = ? AND splits = ?
              AND category IN ({", ".join("?" * len(chosen)) or "NULL"})
        ORDER BY category, unit
        """,
        [number, denominator, json.dumps(list(wanted), ensure_ascii=False), *chosen],
    )
    if not len(frame):
        return np.zeros((units, 0), np.float32)
    draws = np.stack(frame["ious"].to_list()).astype(np.float32)
    best: np.ndarray = draws.reshape(-1, units, draws.shape[1]).max(0)
    return best


# -- labels ---------------------------------------------------------------------------------

_OVER_SPLITS = """
    WITH own AS (SELECT image FROM images WHERE split IN ({splits})),
    uc AS (SELECT unit, concept, sum(overlap) AS overlap FROM image_iou JOIN own USING (image)
           WHERE layer = ? GROUP BY ALL),
    u AS (SELECT unit, {hits} FROM hits JOIN own USING (image) WHERE layer = ? GROUP BY unit),
    a AS (SELECT concept, sum(area) AS area FROM areas JOIN own USING (image) GROUP BY concept)
    SELECT uc.unit, uc.concept, c.name, c.category, uc.overlap, u.hits, a.area,
           uc.overlap / (u.hits + a.area - uc.overlap) AS iou_all,
           uc.overlap / ({inside} + a.area - uc.overlap) AS iou_annotated
    FROM uc JOIN u USING (unit) JOIN a USING (concept) JOIN concepts c USING (concept)
"""


def unit_labels(
    run: Run,
    layer: str | None = None,
    denominator: str = "all",
    categories: Sequence[str] | None = None,
    per_unit: int = 1,
    splits: Sequence[str] | None = None,
) -> pd.DataFrame:
    """The concepts each unit detects best, by dataset-level IoU (Eq. 1, NetDissect).

    Parameters
    ----------
    layer : dotted name; the run's last layer where None.
    denominator : ``"all"`` pixels in |A_t| (as published), or only ``"annotated"`` ones.
    categories : concepts of these alone; all where None.
    per_unit : how many concepts a unit, best first.
    splits : learn the labels on the images of these splits alone, and exchange masks among
        these; the thresholds stay those of the whole run. All images where None.

    Returns
    -------
    One row a unit and rank: unit, rank, concept, name, category, iou, overlap, hits, area,
    threshold, images (in which the unit is active), `chance`: the p-value of this IoU in the
    unit's own null distribution, of the same images and concepts, and `adjusted`: that p-value
    adjusted for the false discovery rate over the units that are active in these images. NaN
    where chance was not measured. Units that are never active with a concept have no row.

    Raises UnitscopeError for an unknown layer, category, split or denominator.
    """
    if denominator not in DENOMINATORS:
        raise unknown("denominator", denominator, DENOMINATORS)
    number = run.layer(layer)
    chosen = known_values(run, "category", "concepts", categories)
    holes = ", ".join("?" * len(chosen)) or "NULL"
    if splits is None:
        source = "SELECT * FROM dataset_iou WHERE layer = ?"
        given: list[object] = [number]
    else:
        splits = known_values(run, "split", "images", splits)
        columns = [f"hits_{c}" for c in run.categories]
        inside = " ".join(f"WHEN '{c}' THEN u.hits_{c}" for c in run.categories)
        source = _OVER_SPLITS.format(
            splits=", ".join("?" * len(splits)),
            hits=", ".join(f"sum({name}) AS {name}" for name in ["hits", *columns]),
            inside=f"CASE c.category {inside} ELSE u.hits END" if inside else "u.hits",
        )
        given = [*splits, number, number]
    frame = run.sql(
        f"""
        SELECT d.unit, row_number() OVER (
                   PARTITION BY d.unit ORDER BY d.iou_{denominator} DESC, d.concept
               ) AS rank,
               d.concept, d.name, d.category, d.iou_{denominator} AS iou, d.overlap, d.hits,
               d.area, u.threshold, u.images
        FROM ({source}) d JOIN units u ON u.unit = d.unit AND u.layer = ?
        WHERE d.overlap > 0 AND d.category IN ({holes})
        QUALIFY rank <= ? ORDER BY d.unit, rank
        """,
        [*given, number, *chosen, per_unit],
    )
    null = null_distribution(run, layer, denominator, categories, splits)
    return judge(frame, frame[frame["rank"] == 1], null, int(active(run, layer, splits).sum()))


def active(run: Run, layer: str | None = None, splits: Sequence[str] | None = None) -> np.ndarray:
    """Whether each unit is active in any image (of these splits): bool (units,). Those are
    tested; whether a unit is active says nothing of what its label is."""
    number = run.layer(layer)
    if splits is None:
        frame = run.sql("SELECT unit, hits > 0 AS active FROM units WHERE layer = ?", [number])
    else:
        frame = run.sql(
            f"""
            SELECT unit, unit IN (
                SELECT h.unit FROM hits h JOIN images i USING (image)
                WHERE h.layer = u.layer AND i.split IN ({", ".join("?" * len(splits)) or "NULL"})
            ) AS active FROM units u WHERE layer = ?
            """,
            [*splits, number],
        )
    found: np.ndarray = frame.sort_values("unit")["active"].to_numpy(bool)
    return found


@dataclass(frozen=True)
class BetterThanChance:
    """How many units of a layer are better than chance, with the two numbers to compare it to.

    Attributes
    ----------
    rounds : of exchanged masks. rate : :data:`core.dissect.significance.FDR`.
    units : of the layer. tested : those active anywhere.
    above : units whose label has an adjusted p-value of at most `rate`.
    by_chance : the mean of `above` where masks were exchanged.
    untrained : `above` in the untrained twin, which has as many units.
    chance_why, untrained_why : why `above` and `by_chance`, or `untrained`, are None: not measured.
        Empty where they are.
    """

    rounds: int
    rate: float
    units: int
    tested: int
    above: int | None = None
    by_chance: float | None = None
    chance_why: str = ""
    untrained: int | None = None
    untrained_why: str = ""


def better_than_chance(
    run: Run,
    layer: str | None = None,
    denominator: str = "all",
    categories: Sequence[str] | None = None,
) -> BetterThanChance:
    """How many units of a layer are better than chance; arguments as in :func:`unit_labels`."""
    key = ("better_than_chance", layer, denominator, _tuple(categories))
    return run.once(key, lambda: _better(run, layer, denominator, categories))


def _better(
    run: Run, layer: str | None, denominator: str, categories: Sequence[str] | None
) -> BetterThanChance:
    labels = unit_labels(run, layer, denominator, categories)
    null = null_distribution(run, layer, denominator, categories)
    tested = active(run, layer)
    found = BetterThanChance(null.shape[1], FDR, len(tested), int(tested.sum()))
    if not found.rounds:
        if not run.measures_chance:
            why = "the run was made by an older version, which measured it otherwise; make it again"
        elif not run.settings.shuffles:
            why = "the run was made without rounds of exchanged masks (--shuffles 0)"
        else:
            why = "nothing is annotated in this dataset"
        return replace(found, chance_why=why, untrained_why=why)
    untrained, why = None, str(run.info["untrained"]["why"])
    if not why and categories is not None:
        why = "the untrained twin is measured on all categories together"
    if not why:
        adjusted = untrained_labels(run, layer, denominator)["adjusted"]
        untrained = int((adjusted <= FDR).sum())
    return replace(
        found,
        above=int((labels["adjusted"] <= FDR).sum()),
        by_chance=called_by_chance(null, tested) if tested.any() else 0.0,
        untrained=untrained,
        untrained_why=why,
    )


def untrained_labels(run: Run, layer: str | None = None, denominator: str = "all") -> pd.DataFrame:
    """Best labels of the units of the untrained twin: unit, concept, name, category, iou, hits,
    threshold, chance, adjusted; units never active have no row, nor has a run without a twin."""
    if not run.measures_chance:
        columns = "unit concept name category iou hits threshold chance adjusted"
        return pd.DataFrame(columns=columns.split())
    frame = run.sql(
        """
        SELECT u.unit, u.concept, c.name, c.category, u.iou, u.hits, u.threshold, u.chance
        FROM untrained u LEFT JOIN concepts c USING (concept)
        WHERE u.layer = ? AND u.denominator = ? ORDER BY u.unit
        """,
        [run.layer(layer), denominator],
    )
    p = frame["chance"].to_numpy()
    return frame.assign(adjusted=adjust(p, p, len(frame)))
