"""Labels of units: which concept each one detects, and how often chance does as well.

**The null hypothesis** of a unit: what is annotated in a photo has nothing to do with where the
unit is active in it. Under it the masks of photos can be exchanged for one another, so that the
unit's best IoU and those after exchanges are equally likely to be the largest. From B rounds of
exchange, each a permutation of the masks within their split,

    p_t = (1 + rounds in which unit t does at least as well) / (1 + B),

exact for every unit whatever it is like: its own draws are its null distribution (Phipson and
Smyth 2010). Over the units of a layer Benjamini and Hochberg's procedure (1995) says which are
*better than chance*: of those, :data:`FDR` at most are expected to be so by luck.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import combinations
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa

from core.foundation.errors import UnitscopeError, unknown
from core.runs.run_file import Run
from core.runs.tables import DENOMINATORS

FDR = 0.05
"""False discovery rate at which units count as better than chance."""

MOST_SPLITS = 3
"""Up to so many splits, every set of them has a null distribution of its own in a run; beyond,
each split and all images have."""


def split_sets(splits: Sequence[str]) -> list[tuple[str, ...]]:
    """The sets of splits whose null distribution a run holds; all images come last.

    >>> split_sets(["train", "test"])
    [('test',), ('train',), ('test', 'train')]
    """
    names = sorted(set(splits))
    sizes = range(1, len(names) + 1) if len(names) <= MOST_SPLITS else (1, len(names))
    return [chosen for size in sizes for chosen in combinations(names, size)]


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
    return np.divide(both, union, out=np.zeros(both.shape), where=union > 0)


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
    return run.once(key, lambda: _null(run, run.layer(layer), denominator, categories, splits))


def _tuple(names: Sequence[str] | None) -> tuple[str, ...] | None:
    return None if names is None else tuple(names)


def _null(
    run: Run,
    number: int,
    denominator: str,
    categories: Sequence[str] | None,
    splits: Sequence[str] | None,
) -> np.ndarray:
    units = int(run.sql("SELECT units FROM layers WHERE layer = ?", [number])["units"].iloc[0])
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
    return draws.reshape(-1, units, draws.shape[1]).max(0)


def known_values(run: Run, column: str, table: str, names: Sequence[str] | None) -> list[str]:
    """`names`, each checked to occur in a column; all that occur where None."""
    known = run.sql(f"SELECT DISTINCT {column} FROM {table} ORDER BY 1")[column].tolist()
    for name in names or ():
        if name not in known:
            raise unknown(column, name, known)
    return list(names) if names is not None else known


# -- tests ----------------------------------------------------------------------------------


def permutation_p(null: np.ndarray, unit: np.ndarray, iou: np.ndarray) -> np.ndarray:
    """p-values of IoUs of units, each in its unit's own null; NaN where there are no rounds.

    A unit's second best IoU gets a p-value too, of a test that is too strict for it: the null
    is that of the best.

    >>> null = np.array([[0.1, 0.2, 0.3], [0.5, 0.6, 0.7]])
    >>> permutation_p(null, np.array([0, 1]), np.array([0.3, 0.3])).tolist()
    [0.5, 1.0]
    """
    if not null.shape[1]:
        return np.full(len(iou), np.nan)
    # Rounded as the draws are, so that a tie stays one.
    drawn = np.asarray(null, np.float32)
    reached = drawn[unit] >= np.asarray(iou, np.float32)[:, None]
    return (1 + reached.sum(1)) / (1 + null.shape[1])


def adjust(p: np.ndarray, best: np.ndarray, tested: int) -> np.ndarray:
    """p-values adjusted for the false discovery rate over `tested` units (Benjamini–Hochberg).

    best : the p-values of the units' best labels; units that are tested and not among them have
    p = 1. An adjusted p-value is the least rate at which a label of that p is better than chance:

        adjusted(p) = min over the best p_(j) ≥ p of tested · p_(j) / j,  at most 1.

    >>> p = np.array([0.01, 0.02, 0.9])
    >>> adjust(p, p, 4).tolist()
    [0.04, 0.04, 1.0]
    """
    ordered = np.sort(best[~np.isnan(best)])
    ladder = tested * ordered / np.arange(1, len(ordered) + 1)
    ladder = np.append(np.minimum.accumulate(ladder[::-1])[::-1], 1.0)
    told = np.minimum(ladder[np.searchsorted(ordered, p, "left")], 1.0)
    return np.where(np.isnan(p), np.nan, told)


def judge(frame: pd.DataFrame, best: pd.DataFrame, null: np.ndarray, tested: int) -> pd.DataFrame:
    """Rows of unit and iou with their `chance` (p-value) and `adjusted` p-value.

    best : unit and iou of the best label of every unit; null : of :func:`null_distribution`.
    """
    p, of_best = (
        permutation_p(null, f["unit"].to_numpy(), f["iou"].to_numpy()) for f in (frame, best)
    )
    return frame.assign(chance=p, adjusted=adjust(p, of_best, tested))


def called_by_chance(null: np.ndarray, tested: np.ndarray) -> float:
    """How many units come out better than chance where there is nothing to find: the mean over
    rounds of exchange, each judged by all the others in the same manner as the real labels.

    null (units, rounds); tested : bool (units,).
    """
    rounds = null.shape[1]
    null = null[tested]
    ordered = np.sort(null, 1)
    reached = np.stack(
        [rounds - np.searchsorted(row, own, "left") for row, own in zip(ordered, null, strict=True)]
    )
    p = np.sort(reached / rounds, 0)
    bound = FDR * np.arange(1, len(p) + 1) / len(p)
    below = p <= bound[:, None]
    return float(np.where(below.any(0), len(p) - below[::-1].argmax(0), 0).mean())


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
    return frame.sort_values("unit")["active"].to_numpy(bool)


def better_than_chance(
    run: Run,
    layer: str | None = None,
    denominator: str = "all",
    categories: Sequence[str] | None = None,
) -> dict[str, Any]:
    """How many units of a layer are better than chance, with the two numbers to compare it to.

    Keys: rounds, rate (:data:`FDR`), units, tested (active anywhere), above (how many units'
    labels have an adjusted p-value of at most `rate`), by_chance (the mean of `above` where masks
    were exchanged), untrained (`above` in the untrained twin, which has as many units), and
    untrained_why (why there is no such number; empty where there is). above, by_chance and
    untrained are None where not measured; chance_why says why.
    """
    key = ("better_than_chance", layer, denominator, _tuple(categories))
    return dict(run.once(key, lambda: _better(run, layer, denominator, categories)))


def _better(
    run: Run, layer: str | None, denominator: str, categories: Sequence[str] | None
) -> dict[str, Any]:
    labels = unit_labels(run, layer, denominator, categories)
    null = null_distribution(run, layer, denominator, categories)
    tested = active(run, layer)
    told: dict[str, Any] = {
        "rounds": null.shape[1],
        "rate": FDR,
        "units": len(tested),
        "tested": int(tested.sum()),
        "above": None,
        "by_chance": None,
        "chance_why": "",
        "untrained": None,
        "untrained_why": "",
    }
    if not null.shape[1]:
        if not run.measures_chance:
            why = "the run was made by an older version, which measured it otherwise; make it again"
        elif not run.info["settings"]["shuffles"]:
            why = "the run was made without rounds of exchanged masks (--shuffles 0)"
        else:
            why = "nothing is annotated in this dataset"
        told["chance_why"] = why
        told["untrained_why"] = told["chance_why"]
        return told
    told["above"] = int((labels["adjusted"] <= FDR).sum())
    told["by_chance"] = called_by_chance(null, tested) if tested.any() else 0.0
    told["untrained_why"] = run.info["untrained"]["why"]
    if not told["untrained_why"] and categories is not None:
        told["untrained_why"] = "the untrained twin is measured on all categories together"
    if not told["untrained_why"]:
        told["untrained"] = int(
            (untrained_labels(run, layer, denominator)["adjusted"] <= FDR).sum()
        )
    return told


def untrained_labels(run: Run, layer: str | None = None, denominator: str = "all") -> pd.DataFrame:
    """Best labels of the units of the untrained twin: unit, concept, name, category, iou, hits,
    threshold, chance, adjusted; units never active have no row, nor has a run without a twin."""
    if not run.measures_chance:
        return pd.DataFrame(
            columns=[
                "unit",
                "concept",
                "name",
                "category",
                "iou",
                "hits",
                "threshold",
                "chance",
                "adjusted",
            ]
        )
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
