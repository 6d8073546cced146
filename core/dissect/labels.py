"""Labels of units: which concept each one detects, and how often chance does as well."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pandas as pd

from core.errors import unknown
from core.store import DENOMINATORS, Run


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


def chance_rows(
    both: np.ndarray,
    inside: np.ndarray,
    units: pd.DataFrame,
    concepts: pd.DataFrame,
    categories: Sequence[str],
) -> pd.DataFrame:
    """The best label of every unit under every shuffle of the labels: the null distribution.

    both (shuffles, units, concepts), inside (shuffles, units, categories): counts with other
    images' labels. Taking each unit's best over all concepts makes the comparison fair to a
    search over as many concepts. Columns: denominator, shuffle, unit, concept, iou.
    """
    where = {name: k for k, name in enumerate(categories)}
    category = np.array(
        [
            where.get(c, -1) if not w else -1
            for c, w in zip(concepts.category, concepts.whole, strict=True)
        ]
    )
    hits, areas = units["hits"].to_numpy(), concepts["area"].to_numpy()
    if not len(concepts):
        return pd.DataFrame(columns=["denominator", "shuffle", "unit", "concept", "iou"])
    frames = []
    for denominator in DENOMINATORS:
        for r in range(len(both)):
            iou = iou_table(both[r], hits, inside[r], areas, category, denominator)
            best = iou.argmax(1)
            frames.append(
                pd.DataFrame(
                    {
                        "denominator": denominator,
                        "shuffle": r,
                        "unit": np.arange(len(best)),
                        "concept": concepts["concept"].to_numpy()[best],
                        "iou": iou[np.arange(len(best)), best],
                    }
                )
            )
    return pd.concat(frames, ignore_index=True)


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
    """The concepts each unit detects best, by dataset-level IoU (classic NetDissect).

    Parameters
    ----------
    layer : dotted name; the run's last layer where None.
    denominator : ``"all"`` pixels in |A_t| (as published), or only ``"annotated"`` ones.
    categories : concepts of these alone; all where None.
    per_unit : how many concepts a unit, best first.
    splits : learn the labels on the images of these splits alone; the thresholds stay those of
        the whole run. All images where None.

    Returns
    -------
    One row a unit and rank: unit, rank, concept, name, category, iou, overlap, hits, area,
    threshold, images (in which the unit is active), and `chance`: the share of the null
    distribution (all units, all shuffles, each its best concept) that reaches this IoU,
    (1 + reached) / (1 + drawn); a small one means that chance rarely does as well. Units
    that are never active with a concept have no row.

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
    null = null_distribution(run, layer, denominator)
    reached = len(null) - np.searchsorted(null, frame["iou"].to_numpy(), "left")
    frame["chance"] = (1 + reached) / (1 + len(null)) if len(null) else np.nan
    return frame


def known_values(run: Run, column: str, table: str, names: Sequence[str] | None) -> list[str]:
    """`names`, each checked to occur in a column; all that occur where None."""
    known = run.sql(f"SELECT DISTINCT {column} FROM {table} ORDER BY 1")[column].tolist()
    for name in names or ():
        if name not in known:
            raise unknown(column, name, known)
    return list(names) if names is not None else known


def null_distribution(run: Run, layer: str | None = None, denominator: str = "all") -> np.ndarray:
    """Best IoUs under shuffled labels, all units and shuffles, ascending float64."""
    frame = run.sql(
        "SELECT iou FROM chance WHERE layer = ? AND denominator = ? ORDER BY iou",
        [run.layer(layer), denominator],
    )
    return frame["iou"].to_numpy()
