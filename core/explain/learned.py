"""LC(x): the concepts that a layer's units learned to see in one image (Eq. 2).

For every unit active in image x and every concept annotated there, the run holds the overlap;
from these counts both readings of σ (IoU) and the three selection strategies Ths{·} follow,
without running the network again. Colour concepts and the scene labels are left out, as in
the paper; whole-image labels of other categories stay.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
from scipy import sparse

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.vocabulary import Eq2, Strategy
from core.runs.run_file import Run
from core.runs.tables import IMAGE_IOU

STRATEGIES = tuple(Strategy)
"""The paper's three strategies for selecting concepts, in its order."""

IOUS = tuple(Eq2)
"""Both readings of Eq. 2: within the image (default), and as the published sample has it."""

LEFT_OUT = ("color", "scene")


@dataclass
class Learned:
    """LC(x) of every image of a run, for one layer, strategy and IoU.

    Attributes
    ----------
    images : int (images,), the run's image numbers, ascending: the rows of `has`.
    concepts : names by column; column k is concept id k + 1.
    has : bool CSR (images, concepts): c ∈ LC(x), the union over the active units.
    rows : image, unit, concept, iou: the selected pairs, unit by unit.
    tau : float64 (images,), τ(x) for `minmax_threshold`, NaN elsewhere and where no active
        unit overlaps any concept.
    """

    layer: str
    strategy: str
    iou: str
    images: np.ndarray
    concepts: list[str]
    has: sparse.csr_array
    rows: pd.DataFrame
    tau: np.ndarray

    @classmethod
    def of_active(
        cls,
        run: Run,
        layer: str,
        source: str,
        active: np.ndarray | sparse.csr_array,
        table: np.ndarray,
    ) -> Learned:
        """LC(x) without masks of x: the union of the concepts that stand for what is active in it.

        Parameters
        ----------
        source : where the concepts come from; it takes the place of the strategy.
        active : bool (images, units), by the rows of :attr:`images`. Units, or whatever else can be
            active in an image.
        table : bool (units, concepts), by id − 1: the concepts that stand for each.
        """
        images = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
        concepts = run.sql("SELECT name FROM concepts WHERE category <> 'scene' ORDER BY concept")
        if active.shape != (len(images), len(table)) or table.shape[1] != len(concepts):
            raise UnitscopeError(
                f"activity {active.shape} and concepts {table.shape} do not fit {len(images)} "
                f"images and {len(concepts)} concepts"
            )
        counts = sparse.csr_array(active, dtype=np.int32) @ sparse.csr_array(table, dtype=np.int32)
        return cls(
            layer,
            source,
            "",
            images,
            concepts["name"].tolist(),
            sparse.csr_array(counts > 0),
            pd.DataFrame({"image": [], "unit": [], "concept": [], "iou": []}),
            np.full(len(images), np.nan),
        )


def unit_ious(
    run: Run,
    layer: str | None = None,
    iou: str = "image",
    image: int | None = None,
    among: np.ndarray | None = None,
) -> pd.DataFrame:
    """σ(A_t(x), L(x, c)) > 0 of every (image, unit, concept), colours and scenes left out.

    image : of this image number alone, which reads no other image's counts. among : of these image
    numbers alone.

    Columns image, unit, concept, iou, ordered by all three. Raises for an unknown layer or IoU.
    """
    if iou not in IOUS:
        raise unknown("IoU", iou, IOUS)
    holes = ", ".join("?" * len(LEFT_OUT))
    one = "" if image is None else f"AND i.image = {int(image)}"
    given: list[object] = [run.layer(layer), *LEFT_OUT]
    begin, source = "", "image_iou"
    if among is not None:
        # Each table for itself: DuckDB would join all of them before it looks at the images.
        parts = [
            f"{name} AS (SELECT * FROM main.{name} WHERE image IN (SELECT image FROM chosen))"
            for name in ("counts", "hits", "areas")
        ]
        begin = f"WITH chosen AS (SELECT unnest(?) AS image), {', '.join(parts)}, own AS ("
        begin += f"WITH {IMAGE_IOU})"
        source, given = "own", [[int(number) for number in among], *given]
    return run.sql(
        f"""
        {begin}
        SELECT i.image, i.unit, i.concept, i.iou_{iou} AS iou
        FROM {source} i JOIN concepts c USING (concept)
        WHERE i.layer = ? AND c.category NOT IN ({holes}) {one} ORDER BY 1, 2, 3
        """,
        given,
    )


def select(
    rows: pd.DataFrame, strategy: str, inclusive: bool = True
) -> tuple[pd.DataFrame, pd.Series]:
    """Ths{·} of Eq. 2 on rows of :func:`unit_ious`: (selected rows, τ by image).

    whole_layer : every row (all concepts with IoU > 0).
    highest_iou : each active unit's best concept; of equals the first in the concept table.
    minmax_threshold : τ(x) = the least, over the units active in x, of their best IoU; rows
        with IoU ≥ τ(x), or > τ(x) where not `inclusive` (the text's "higher than"; the
        published code has ≥). A unit that overlaps no concept has no best and takes no part.

    >>> rows = pd.DataFrame({"image": 0, "unit": [1, 1, 2, 2], "concept": [1, 2, 1, 3],
    ...                      "iou": [0.5, 0.2, 0.1, 0.3]})
    >>> select(rows, "highest_iou")[0].concept.tolist()
    [1, 3]
    >>> picked, tau = select(rows, "minmax_threshold")
    >>> tau[0], sorted(set(picked.concept))
    (np.float64(0.3), [1, 3])
    """
    if strategy not in STRATEGIES:
        raise unknown("strategy", strategy, STRATEGIES)
    if strategy == "whole_layer":
        return rows, pd.Series(dtype=float)
    best = rows.groupby(["image", "unit"], sort=True)["iou"].transform("max")
    if strategy == "highest_iou":
        top = rows[rows["iou"] == best]
        return top.drop_duplicates(["image", "unit"]), pd.Series(dtype=float)
    tau = best.groupby(rows["image"]).min()
    least = rows["image"].map(tau)
    keep = rows["iou"] >= least if inclusive else rows["iou"] > least
    return rows[keep], tau


def learned_concepts(
    run: Run,
    layer: str | None = None,
    strategy: str = "minmax_threshold",
    iou: str = "image",
    inclusive: bool = True,
) -> Learned:
    """LC(x) for every image of a run (Eq. 2). See :func:`select` for the strategies.

    Raises UnitscopeError for an unknown layer, strategy or IoU.
    """
    rows, tau = select(unit_ious(run, layer, iou), strategy, inclusive)
    images = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
    concepts = run.sql("SELECT name FROM concepts WHERE category <> 'scene' ORDER BY concept")
    at = np.searchsorted(images, rows["image"].to_numpy())
    has = sparse.csr_array(
        (np.ones(len(rows), bool), (at, rows["concept"].to_numpy() - 1)),
        shape=(len(images), len(concepts)),
    )
    has.sum_duplicates()
    has.data[:] = True
    return Learned(
        run.layer_names[run.layer(layer)],
        strategy,
        iou,
        images,
        concepts["name"].tolist(),
        has,
        rows.reset_index(drop=True),
        tau.reindex(images).to_numpy(),
    )


def stand_in_concepts(labels: pd.DataFrame, active: np.ndarray, concepts: int) -> np.ndarray:
    """LC(x) of photos without masks: the labels of the units active in them.

    labels : unit, concept (and more), rows of :func:`core.dissect.labels.unit_labels` learned
        on annotated photos. active : bool (images, units). Returns bool (images, concepts).
    """
    if len(labels) and labels["unit"].max() >= active.shape[1]:
        raise UnitscopeError(
            f"labels name unit {labels['unit'].max()}; the maps have {active.shape[1]} units"
        )
    table = np.zeros((active.shape[1], concepts), bool)
    table[labels["unit"].to_numpy(), labels["concept"].to_numpy() - 1] = True
    return active.astype(np.uint8) @ table.astype(np.uint8) > 0
