"""The units of a layer: labels, where and how high each is active, search by concept."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from core.dissect.labels import BetterThanChance, active, null_distribution, unit_labels
from core.dissect.significance import FDR, judge
from core.foundation.errors import UnitscopeError, unknown
from core.runs.arrays import array_name
from core.runs.run_file import Run
from core.views.images import NAMED
from core.views.names import detector_name, label_name

# It brings PyTorch along, which takes seconds to import.
if TYPE_CHECKING:
    from core.ablation.contribution import Contribution
    from core.ablation.toggler import Toggler


def unit_table(run: Run, layer: str, denominator: str = "all") -> pd.DataFrame:
    """Every unit of a layer with its best label.

    Columns: unit, concept, name, category (None where it never overlaps a label), iou,
    chance (p-value), adjusted (for the false discovery rate over units), above (better than
    chance: adjusted ≤ :data:`FDR`), label (the name as people read it, with a question mark where
    chance reaches it), detector (:func:`core.views.names.detector_name`), images, share (of images
    active), threshold.
    """
    key = ("unit_table", layer, denominator)
    return run.once(key, lambda: _unit_table(run, layer, denominator)).copy()


def _unit_table(run: Run, layer: str, denominator: str) -> pd.DataFrame:
    number = run.layer(layer)
    units = run.sql(
        "SELECT unit, threshold, images, hits FROM units WHERE layer = ? ORDER BY unit", [number]
    )
    best = unit_labels(run, layer, denominator)
    frame = units.merge(
        best[["unit", "concept", "name", "category", "iou", "chance", "adjusted"]],
        on="unit",
        how="left",
    )
    frame["iou"] = frame["iou"].fillna(0.0)
    frame["above"] = frame["adjusted"] <= FDR
    doubtful = frame["chance"].notna() & ~frame["above"]
    frame["label"] = [label_name(n, d) for n, d in zip(frame["name"], doubtful, strict=True)]
    frame["detector"] = frame["category"].map(detector_name)
    frame["share"] = frame["images"] / max(1, run.image_count.used)
    return frame


def comparison(found: BetterThanChance) -> str:
    """The two numbers that the number of units better than chance is to be compared with, in a
    sentence.

    >>> comparison(BetterThanChance(999, 0.05, 512, 500, 166, by_chance=0.04, untrained=63))
    'By chance (masks exchanged between photos): 0.0 on average. In the untrained twin: 63.'
    """
    if found.above is None:
        return f"Chance was not measured: {found.chance_why}."
    twin = (
        f"The untrained twin was not measured: {found.untrained_why}"
        if found.untrained is None
        else f"In the untrained twin: {found.untrained:,}"
    )
    chance = f"By chance (masks exchanged between photos): {found.by_chance:.1f} on average"
    return f"{chance}. {twin}."


def iou_histogram(
    run: Run, layer: str, denominator: str = "all", bins: int = 40, unit: int | None = None
) -> pd.DataFrame:
    """Best IoUs of the units, and of shuffled labels: kind, low, high, share (of its kind).

    The shuffled labels are those of all active units together, or of one unit: its own null
    distribution. Both kinds share the bins, so that the bars can be laid over each other.
    """
    real = unit_table(run, layer, denominator)["iou"].to_numpy()
    null = null_distribution(run, layer, denominator)
    null = null[active(run, layer)].ravel() if unit is None else null[unit]
    top = max(float(real.max(initial=0)), float(null.max(initial=0)), 1e-6)
    edges = np.linspace(0, top * 1.0001, bins + 1)
    frames = []
    for kind, values in (("shuffled labels", null), ("units", real)):
        if len(values):
            share = np.histogram(values, edges)[0] / len(values)
            frames.append(
                pd.DataFrame({"kind": kind, "low": edges[:-1], "high": edges[1:], "share": share})
            )
    return pd.concat(frames, ignore_index=True)


def detected(run: Run, layer: str, denominator: str = "all", above: bool = True) -> pd.DataFrame:
    """Concepts that are some unit's best label: name, category, units, iou (best), best (unit).

    Only labels better than chance where `above`; most units first.
    """
    frame = unit_table(run, layer, denominator).dropna(subset="name")
    if above and frame["chance"].notna().any():
        frame = frame[frame["above"]]
    frame = frame.sort_values(["iou", "unit"], ascending=[False, True])
    found = frame.groupby(["name", "category"], as_index=False, sort=False).agg(
        units=("unit", "size"), iou=("iou", "max"), best=("unit", "first")
    )
    return found.sort_values(["units", "iou"], ascending=False, ignore_index=True)


@dataclass(frozen=True)
class UnitFacts:
    """One unit: its threshold T_t, the images in which it is active, and in how many places of
    all of them."""

    threshold: float
    images: int
    hits: int


def unit_facts(run: Run, layer: str, unit: int) -> UnitFacts:
    """What is known of one unit. Raises UnitscopeError naming the range of units."""
    row = run.sql(
        "SELECT threshold, images, hits FROM units WHERE layer = ? AND unit = ?",
        [run.layer(layer), unit],
    )
    if not len(row):
        count = run.sql("SELECT units FROM layers WHERE name = ?", [layer])["units"].iloc[0]
        raise UnitscopeError(
            f"layer {layer} has no unit {unit}: its units are 0 to {count - 1}; "
            f"the nearest is {min(max(unit, 0), count - 1)}"
        )
    facts = row.iloc[0]
    return UnitFacts(float(facts["threshold"]), int(facts["images"]), int(facts["hits"]))


def unit_concepts(
    run: Run, layer: str, unit: int, denominator: str = "all", count: int = 5
) -> pd.DataFrame:
    """The best labels of one unit: unit, concept, name, category, iou, overlap, area, hits, chance,
    adjusted.

    The last two as in :func:`core.dissect.labels.unit_labels`; they speak of a unit's best label,
    and are given for the others as a yardstick.
    """
    frame = run.sql(
        f"""
        SELECT unit, concept, name, category, iou_{_checked(denominator)} AS iou, overlap, area,
               hits
        FROM dataset_iou WHERE layer = ? AND unit = ? AND overlap > 0
        ORDER BY iou DESC, concept LIMIT {int(count)}
        """,
        [run.layer(layer), unit],
    )
    return _judged(run, layer, denominator, frame)


def _judged(run: Run, layer: str, denominator: str, frame: pd.DataFrame) -> pd.DataFrame:
    """Rows of unit and iou with chance and adjusted, by the null distributions of the units."""
    best = unit_table(run, layer, denominator).dropna(subset="name")
    null = null_distribution(run, layer, denominator)
    return judge(frame, best, null, int(active(run, layer).sum()))


def _checked(denominator: str) -> str:
    if denominator not in ("all", "annotated"):
        raise unknown("denominator", denominator, ["all", "annotated"])
    return denominator


SPANS = {
    "top": "highest peaks",
    "middle": "around the median",
    "random": "drawn at random",
}
"""Which photos of a unit are shown: by the highest activation in each. ``middle``: those around the
median of the images in which the unit is active. ``random``: of all images, active or not, the same
ones each time."""


def unit_images(
    run: Run,
    layer: str,
    unit: int,
    concept: int | None = None,
    count: int = 12,
    scene: str = "",
    span: str = "top",
) -> pd.DataFrame:
    """The images in which a unit peaks highest, or others of its range (:data:`SPANS`); the highest
    peak first.

    Columns: image, id, split, scene_name, predicted_name, correct, peak, hits, share (of the
    grid that is active), iou (Eq. 2 within the image, with `concept`; 0 where they do not meet).
    """
    width, height = run.settings.grid
    number = run.layer(layer)
    places = _span(run, number, unit, count, scene, span)
    frame = run.sql(
        f"""
        WITH top AS (
            SELECT n.image, h.peak, coalesce(h.hits, 0) AS hits, n.id, n.split, n.scene_name,
                   n.predicted_name, n.correct
            FROM ({NAMED}) n LEFT JOIN (SELECT * FROM hits WHERE layer = ? AND unit = ?) h
                 USING (image)
            WHERE n.image IN (SELECT unnest(?))
        )
        SELECT top.*, CASE WHEN c.whole THEN top.hits ELSE coalesce(k.overlap, 0) END AS overlap,
               a.area
        FROM top LEFT JOIN areas a ON a.image = top.image AND a.concept = ?
             LEFT JOIN concepts c ON c.concept = a.concept
             LEFT JOIN (SELECT image, overlap FROM counts WHERE layer = ? AND unit = ?
                        AND concept = ?) k ON k.image = top.image
        ORDER BY top.image
        """,
        [number, unit, places, concept, number, unit, concept],
    )
    below = frame["peak"].isna()
    if below.any():  # not active there, so the peak is in no table
        stored = run.array(f"peaks-{layer}")[:, unit]
        frame.loc[below, "peak"] = np.asarray(stored)[frame.loc[below, "image"].to_numpy()]
    frame = frame.sort_values(["peak", "image"], ascending=[False, True], ignore_index=True)
    frame["share"] = frame["hits"] / (width * height)
    overlap = frame["overlap"].where(frame["area"].notna(), 0)
    union = frame["hits"] + frame["area"].fillna(0) - overlap
    frame["iou"] = (overlap / union.where(union > 0, 1)).astype(float)
    return frame.drop(columns=["overlap", "area"])


def _span(run: Run, number: int, unit: int, count: int, scene: str, span: str) -> list[int]:
    """The images of a unit that :func:`unit_images` is to show."""
    if span not in SPANS:
        raise unknown("range of images", span, SPANS)
    if span == "random":
        every = run.sql(
            f"SELECT image FROM ({NAMED}) WHERE ? = '' OR scene_name = ? ORDER BY image",
            [scene, scene],
        )["image"].to_numpy()
        drawn = np.random.default_rng(unit).permutation(len(every))[:count]
        return [int(image) for image in every[drawn]]
    active_in = run.sql(
        f"""
        SELECT h.image, h.peak FROM hits h JOIN ({NAMED}) n USING (image)
        WHERE h.layer = ? AND h.unit = ? AND (? = '' OR n.scene_name = ?)
        ORDER BY h.peak DESC, h.image
        """,
        [number, unit, scene, scene],
    )["image"].tolist()
    first = 0 if span == "top" else max(0, (len(active_in) - count) // 2)
    return [int(image) for image in active_in[first : first + count]]


def has_maps(run: Run, layer: str) -> bool:
    """Whether the run kept the layer's activation maps."""
    return (run.arrays / f"{array_name(f'maps-{layer}')}.npy").is_file()


def peaks(run: Run, layer: str, unit: int) -> np.ndarray:
    """Largest activation of a unit in every image, float32 (images,)."""
    used = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
    values: np.ndarray = np.asarray(run.array(f"peaks-{layer}")[:, unit])[used]
    return values


def peak_histogram(run: Run, layer: str, unit: int, bins: int = 32) -> pd.DataFrame:
    """How high a unit peaks: low, high, images, active (bins above T_t; T_t is a bin edge)."""
    values = peaks(run, layer, unit).astype(np.float64)
    threshold = unit_facts(run, layer, unit).threshold
    low, high = min(values.min(initial=threshold), threshold), values.max(initial=threshold)
    step = max((high - low) / bins, 1e-9)
    below, over = int(np.ceil((threshold - low) / step)), int(np.ceil((high - threshold) / step))
    edges = threshold + step * np.arange(-below, over + 1)
    # Bins hold (low, high], as active means strictly above T_t.
    place = np.clip(np.searchsorted(edges, values, "left") - 1, 0, max(len(edges) - 2, 0))
    images = np.bincount(place, minlength=len(edges) - 1) if len(edges) > 1 else np.array([])
    return pd.DataFrame(
        {
            "low": edges[:-1],
            "high": edges[1:],
            "images": images.astype(int),
            "active": np.arange(len(edges) - 1) >= below,
        }
    )


def unit_scenes(run: Run, layer: str, unit: int) -> pd.DataFrame:
    """Where a unit is active: scene, images, active (images), share, mean (of its pooled
    activation over the scene's images); largest mean first."""
    frame = run.sql(
        f"""
        SELECT n.image, n.scene_name AS scene, h.hits IS NOT NULL AS active
        FROM ({NAMED}) n LEFT JOIN
             (SELECT image, hits FROM hits WHERE layer = ? AND unit = ?) h USING (image)
        WHERE n.scene_name IS NOT NULL ORDER BY n.image
        """,
        [run.layer(layer), unit],
    )
    pooled = run.array(f"pooled-{layer}")
    frame["mean"] = np.asarray(pooled[:, unit], np.float64)[frame["image"].to_numpy()]
    table = frame.groupby("scene", as_index=False).agg(
        images=("image", "size"), active=("active", "sum"), mean=("mean", "mean")
    )
    table["share"] = table["active"] / table["images"]
    return table.sort_values(["mean", "scene"], ascending=[False, True], ignore_index=True)


def active_units(
    run: Run,
    layer: str,
    image: int,
    denominator: str = "all",
    definition: str = "image",
    count: int = 12,
) -> pd.DataFrame:
    """The units for which an image is most unusual.

    Columns: unit, rank (1 = no image makes the unit peak higher), images (in which it is
    active), peak, share (of the grid that is active), name, category, iou, chance (its label over
    the dataset), label (as people read it), here, iou_here (the concept it overlaps best in this
    very image, by Eq. 2 read as `definition`: ``"image"`` or ``"dataset_normalised"``; scene labels
    left out).
    Ordered by rank over images, then by active area.
    """
    if definition not in ("image", "dataset_normalised"):
        raise unknown("definition", definition, ["image", "dataset_normalised"])
    width, height = run.settings.grid
    number = run.layer(layer)
    frame = run.sql(
        f"""
        WITH mine AS (SELECT unit, hits, peak FROM hits WHERE layer = ? AND image = ?),
        better AS (
            SELECT m.unit, count(*) FILTER (h.peak > m.peak) AS above
            FROM mine m JOIN hits h ON h.unit = m.unit WHERE h.layer = ? GROUP BY m.unit
        ),
        best AS (
            SELECT k.unit, c.name AS here, CASE WHEN ? = 'image'
                       THEN k.overlap / (m.hits + a.area - k.overlap)
                       ELSE k.overlap / (m.hits + c.area - k.overlap) END AS iou_here
            FROM counts k JOIN mine m USING (unit) JOIN areas a USING (image, concept)
                 JOIN concepts c USING (concept)
            WHERE k.layer = ? AND k.image = ?
            QUALIFY row_number() OVER (PARTITION BY k.unit ORDER BY iou_here DESC, concept) = 1
        )
        SELECT m.unit, b.above + 1 AS rank, u.images, m.peak, m.hits,
               best.here, best.iou_here
        FROM mine m JOIN better b USING (unit) JOIN units u ON u.layer = ? AND u.unit = m.unit
             LEFT JOIN best USING (unit)
        ORDER BY rank / u.images, m.hits DESC, m.unit LIMIT {int(count)}
        """,
        [number, image, number, definition, number, image, number],
    )
    frame["share"] = frame["hits"] / (width * height)
    labels = unit_table(run, layer, denominator)
    labels = labels[["unit", "name", "label", "category", "iou", "chance"]]
    frame = frame.merge(labels, on="unit", how="left")
    return frame.drop(columns="hits")


def search_units(
    run: Run, layer: str, concept: int, denominator: str = "all", count: int = 50
) -> pd.DataFrame:
    """Units by how well they detect one concept: unit, iou, best (is it their best label), chance,
    adjusted, above (this overlap is better than chance, or chance was not measured)."""
    frame = run.sql(
        f"""
        WITH ranked AS (
            SELECT unit, concept, iou_{_checked(denominator)} AS iou, row_number() OVER (
                PARTITION BY unit ORDER BY iou_{denominator} DESC, concept) = 1 AS best
            FROM dataset_iou WHERE layer = ? AND overlap > 0
        )
        SELECT unit, iou, best FROM ranked WHERE concept = ? ORDER BY iou DESC, unit
        LIMIT {int(count)}
        """,
        [run.layer(layer), concept],
    )
    frame = _judged(run, layer, denominator, frame)
    return frame.assign(above=frame["chance"].isna() | (frame["adjusted"] <= FDR))


def unit_contribution(_run: Run, found: Contribution, unit: int) -> pd.DataFrame:
    """Every scene with core concepts in which a unit learned anything: scene, score (Eq. 9),
    inside, outside, active (images in which it learned a concept), images (summed over), rank
    (1 = no unit has a higher score for the scene); highest score first.

    Raises UnitscopeError for an unknown unit.
    """
    last = found.scores.shape[1] - 1
    if not 0 <= unit <= last:
        raise UnitscopeError(f"there is no unit {unit}: the layer has units 0 to {last}")
    score = found.scores[:, unit]
    at = np.flatnonzero(found.has_core & (found.active[:, unit] > 0))
    frame = pd.DataFrame(
        {
            "scene": [found.scenes[row] for row in at],
            "score": score[at],
            "inside": found.inside[at, unit],
            "outside": found.outside[at, unit],
            "active": found.active[at, unit],
            "images": found.images[at],
            "rank": 1 + (found.scores[at] > score[at, None]).sum(1),
        }
    )
    return frame.sort_values(["score", "scene"], ascending=[False, True], ignore_index=True)


def unit_classes(_run: Run, ready: Toggler, unit: int, split: str = "") -> pd.DataFrame:
    """What a unit adds to the logit of each class, on average over the photos of a split: class
    (name), weight w, contribution (mean of w·a, where a is the unit's pooled activation, as the
    linear head has it), low, high (95 % interval of that mean), above (contribution less its mean
    over the classes: what adds the same to all changes no answer); the most raised class first.

    split : all photos where empty. Raises UnitscopeError for an unknown unit, for a layer whose
    units reach the classes otherwise than through a linear head, and for a split without photos.
    """
    if ready.weights is None:
        raise UnitscopeError(
            f"the units of {ready.layer} reach the classes through further layers, so none has a "
            "contribution of its own: choose the last layer"
        )
    if not 0 <= unit < ready.units:
        raise UnitscopeError(f"there is no unit {unit}: the layer has units 0 to {ready.units - 1}")
    rows = np.ones(len(ready.images), bool)
    if split:
        rows = (ready.images["split"] == split).to_numpy()
    a = np.asarray(ready.pooled)[rows, unit].astype(np.float64)
    if not len(a):
        raise UnitscopeError(f"there is no photo of split {split!r}")
    w = ready.weights[unit].astype(np.float64)
    mean = float(a.mean())
    wide = 1.96 * float(a.std(ddof=1)) / np.sqrt(len(a)) if len(a) > 1 else float("nan")
    frame = pd.DataFrame(
        {
            "class": ready.names,
            "weight": w,
            "contribution": w * mean,
            "low": w * mean - abs(w) * wide,
            "high": w * mean + abs(w) * wide,
            "above": w * mean - float((w * mean).mean()),
        }
    )
    return frame.sort_values(["above", "class"], ascending=[False, True], ignore_index=True)
