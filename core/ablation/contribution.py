"""Contribution scores of units for scenes (Eq. 9): which units help a scene, which hinder it.

For unit t and scene y

    Con_Score(f_t, y) = Σ_{x ∈ D_y^T} ( P(x, CC(y)) − N(x, CC(y)) )

where D_y^T are the images of y that the network gets right, and P and N are the numbers of
concepts that unit t learned in x (LC of Eq. 2, unit by unit) in CC(y) and not in it. Positive
units have the highest scores, negative ones the lowest.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from core.explain.learned import select, unit_ious
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.settings import CHOOSING, splits_words
from core.foundation.vocabulary import Core, Eq2, Over, Sign, Strategy
from core.knowledge.core_concepts import CoreConcepts
from core.runs.run_file import Run, known_values

OVER = tuple(Over)
"""Which images of a scene are summed over: rightly predicted (as published), wrongly, or both."""

SIGNS = tuple(Sign)

MOST, DRAWN = 30_000_000, 5_000_000
"""Counts of a run up to which all its photos are summed over; of a larger one, photos with about
DRAWN counts are drawn at random, so that memory and the wait are bounded."""


@dataclass(frozen=True)
class Contribution:
    """Eq. 9 for every scene and unit of a layer.

    Attributes
    ----------
    layer, strategy, iou, core, over : how it was made; `core` is the kind of core concepts.
    scenes : names by row.
    scores : int64 (scenes, units), Σ (P − N).
    inside, outside : int64 (scenes, units), Σ P and Σ N.
    active : int64 (scenes, units), images in which the unit learned any concept.
    images : int64 (scenes,), images summed over.
    has_core : bool (scenes,); without core concepts every learned concept counts as not in
        them, and the scores of such a scene say nothing.
    selection : the photos summed over, in words.
    """

    layer: str
    strategy: str
    iou: str
    core: str
    over: str
    scenes: list[str]
    scores: np.ndarray
    inside: np.ndarray
    outside: np.ndarray
    active: np.ndarray
    images: np.ndarray
    has_core: np.ndarray
    selection: str = "all photos"

    def scene(self, name: str) -> int:
        """Row of a scene by its name; raises with the nearest names."""
        if name not in self.scenes:
            raise unknown("scene", name, self.scenes)
        return self.scenes.index(name)

    def words(self) -> str:
        """How it was made, in a line."""
        core, strategy, iou = Core.of(self.core), Strategy.of(self.strategy), Eq2.of(self.iou)
        return (
            f"contribution score (Eq. 9) by {core.short}, {strategy.short}, IoU {iou.short}, "
            f"{Over.of(self.over).short} of {self.selection}"
        )

    def ranked(self, scene: str | int, sign: str | None = None) -> pd.DataFrame:
        """Units of one scene: unit, score, inside, outside, active.

        sign : ``positive`` = those with a score above 0, highest first; ``negative`` = those
        below 0, lowest first; None = all that learned anything, highest first. The lower
        number goes first among equals. Empty for a scene without core concepts.
        """
        row = self.scene(scene) if isinstance(scene, str) else scene
        score = self.scores[row]
        if sign is None:
            keep, key = self.active[row] > 0, -score
        elif sign in SIGNS:
            keep, key = (score > 0, -score) if sign == "positive" else (score < 0, score)
        else:
            raise unknown("sign", sign, SIGNS)
        at = np.flatnonzero(keep & self.has_core[row])
        at = at[np.argsort(key[at], kind="stable")]
        return pd.DataFrame(
            {
                "unit": at,
                "score": score[at],
                "inside": self.inside[row, at],
                "outside": self.outside[row, at],
                "active": self.active[row, at],
            }
        )

    def orders(self, sign: str, k: int) -> np.ndarray:
        """int64 (scenes, k): each scene's k most positive or negative units; −1 where it has
        fewer."""
        out = np.full((len(self.scenes), k), -1, np.int64)
        for row in range(len(self.scenes)):
            units = self.ranked(row, sign)["unit"].to_numpy()[:k]
            out[row, : len(units)] = units
        return out

    def together(self) -> np.ndarray:
        """int64 (units,): the scores summed over all scenes with core concepts."""
        return np.asarray(self.scores[self.has_core].sum(0))


@dataclass(frozen=True)
class UnitConcepts:
    """The concepts that each unit learned in each image: what Eq. 9 is summed from.

    Attributes
    ----------
    rows : image, unit, concept, iou: the selected pairs of Eq. 2.
    images : image, id, split, scene (number, −1 unknown), correct (1, 0; −1 where the network
        does not know the scene), by image.
    drawn : are these a random part of the run's images (:data:`MOST`)?
    """

    run: Run
    layer: str
    units: int
    strategy: str
    iou: str
    rows: pd.DataFrame
    images: pd.DataFrame
    drawn: bool = False

    @classmethod
    def of(
        cls,
        run: Run,
        layer: str | None = None,
        strategy: str = CHOOSING.strategy,
        iou: str = CHOOSING.iou,
        bounded: bool = False,
    ) -> UnitConcepts:
        """bounded : of a run of more than :data:`MOST` counts, of a random part of its images.
        Raises for an unknown layer, strategy or IoU."""
        number, among = run.layer(layer), _drawn(run) if bounded else None
        rows, _ = select(unit_ious(run, layer, iou, among=among), strategy)
        units = run.sql("SELECT units FROM layers WHERE layer = ?", [number])["units"][0]
        images = run.sql("""
            SELECT image, id, split, coalesce(scene, -1) AS scene,
                   coalesce(correct::INTEGER, -1) AS correct FROM images ORDER BY image
            """)
        if among is not None:
            images = images[images["image"].isin(among)].reset_index(drop=True)
        drawn = among is not None
        return cls(run, run.layer_names[number], int(units), strategy, iou, rows, images, drawn)

    def _summed_over(self, over: str, rows: np.ndarray | None) -> np.ndarray:
        if over not in OVER:
            raise unknown("set of predictions", over, OVER)
        self.run.need_answers("a unit's contribution (Eq. 9), summed over right or wrong answers,")
        correct = self.images["correct"].to_numpy()
        keep = {"true": correct == 1, "false": correct == 0, "all": correct >= 0}[over]
        keep = keep & (self.images["scene"].to_numpy() >= 0)
        if rows is not None:
            chosen = np.zeros(len(keep), bool)
            chosen[rows] = True
            keep &= chosen
        return np.asarray(keep)

    def of_splits(self, splits: Sequence[str]) -> np.ndarray | None:
        """Places in `images` of some splits; None, for all of them, where none is named.

        Raises for an unknown split.
        """
        if not splits:
            return None
        names = known_values(self.run, "split", "images", splits)
        return np.flatnonzero(self.images["split"].isin(names).to_numpy())

    def contribution(
        self,
        core: CoreConcepts,
        over: str = CHOOSING.over,
        rows: np.ndarray | None = None,
        splits: Sequence[str] = (),
    ) -> Contribution:
        """Eq. 9 for every scene and unit, in one pass over the pairs.

        over : of :data:`OVER`. rows : places in `images` to sum over (all where None), so that
        units can be chosen on a part of the images alone; or those of `splits`.
        """
        selection = splits_words(splits) if rows is None else f"{len(rows):,} chosen photos"
        if self.drawn:
            selection += f" (of {len(self.images):,} drawn at random)"
        rows = self.of_splits(splits) if rows is None else rows
        keep = self._summed_over(over, rows)
        scenes, units = core.members.shape[0], self.units
        place = np.searchsorted(self.images["image"].to_numpy(), self.rows["image"].to_numpy())
        used = keep[place]
        unit = self.rows["unit"].to_numpy()[used].astype(np.int64)
        concept = self.rows["concept"].to_numpy()[used] - 1
        scene = self.images["scene"].to_numpy()[place[used]].astype(np.int64)
        cell = scene * units + unit
        within = core.members[scene, concept]

        def count(cells: np.ndarray) -> np.ndarray:
            return np.bincount(cells, minlength=scenes * units).reshape(scenes, units)

        inside, outside = count(cell[within]), count(cell[~within])
        # The rows are in order of image and unit, so each pair begins where either changes.
        image = place[used]
        first = np.r_[True, (image[1:] != image[:-1]) | (unit[1:] != unit[:-1])][: len(unit)]
        own = self.images["scene"].to_numpy()[keep]
        return Contribution(
            self.layer,
            self.strategy,
            self.iou,
            core.kind,
            over,
            list(core.scenes),
            inside - outside,
            inside,
            outside,
            count(cell[first]),
            np.bincount(own, minlength=scenes),
            np.asarray(core.members.any(1)),
            selection,
        )

    def behind(
        self,
        core: CoreConcepts,
        scene: str,
        unit: int,
        over: str = CHOOSING.over,
        rows: np.ndarray | None = None,
    ) -> pd.DataFrame:
        """The images and concepts behind one score: image, id, concept, category, core (is it
        in CC(y)), iou; the strongest image first.

        The score is the number of rows with `core` less the number without.
        Raises for an unknown scene or unit.
        """
        number = core.scene(scene)
        if not 0 <= unit < self.units:
            raise UnitscopeError(
                f"there is no unit {unit}: the layer has units 0 to {self.units - 1}"
            )
        keep = self._summed_over(over, rows) & (self.images["scene"] == number).to_numpy()
        part = self.rows[
            (self.rows["unit"] == unit) & self.rows["image"].isin(self.images["image"][keep])
        ]
        at = part["concept"].to_numpy() - 1
        frame = pd.DataFrame(
            {
                "image": part["image"].to_numpy(),
                "id": self.images.set_index("image")["id"].loc[part["image"]].to_numpy(),
                "concept": [core.concepts[c] for c in at],
                "category": [core.categories[c] for c in at],
                "core": core.members[number, at],
                "iou": part["iou"].to_numpy(),
            }
        )
        best = frame.groupby("image")["iou"].transform("max")
        order = np.lexsort((-frame["iou"], frame["image"], -best))
        return frame.iloc[order].reset_index(drop=True)


def contribution_scores(
    run: Run,
    core: CoreConcepts,
    layer: str | None = None,
    strategy: str = CHOOSING.strategy,
    iou: str = CHOOSING.iou,
    over: str = CHOOSING.over,
    rows: Sequence[int] | np.ndarray | None = None,
    splits: Sequence[str] = (),
) -> Contribution:
    """Eq. 9 of a run: :meth:`UnitConcepts.contribution` in one call."""
    chosen = None if rows is None else np.asarray(rows, np.int64)
    learned = UnitConcepts.of(run, layer, strategy, iou, bounded=rows is None)
    return learned.contribution(core, over, chosen, splits)


def _drawn(run: Run) -> np.ndarray | None:
    """Numbers of images drawn from a run of more than :data:`MOST` counts; None for all."""
    counts = int(run.sql("SELECT count(*) AS n FROM counts")["n"].iloc[0])
    if counts <= MOST:
        return None
    images = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
    size = max(1, len(images) * DRAWN // counts)
    return np.sort(np.random.default_rng(0).choice(images, size, replace=False))
