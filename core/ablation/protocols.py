"""Disabling the k most positive or negative units, by protocol, with controls (Figs. 3 and 4).

Three protocols, each named on its figure:

``paper``               per image, by its *true* scene: of images the network gets right, the k
                        most positive units of their scene are disabled; of those it gets wrong,
                        the k most negative. An oracle: to know which images to change, one must
                        know the answer. As published, units are also chosen on the images they
                        are judged on.
``by_predicted_scene``  per image, by the scene the network says; every image is changed.
``global``              one set of units for all images, by the scores summed over scenes.

Units are ranked on a *selection* of images and judged on others
(:func:`core.ablation.curves.curve`), or on either of two random halves and judged on the other
(:func:`core.ablation.curves.cross_fitted`), so that no image is judged by units that were chosen
with it. Core concepts are made from the annotations of the selection alone.

Rankings, by name: ``scc``, ``icc``, ``top10`` (Eq. 9 with those core concepts), and controls:

``random``               as many units drawn at random
``mean_activation``      highest mean of the map over the scene's images
``weight``               largest |W| towards the scene's class (mean over classes for ``global``)
``gradient_activation``  pooled activation × gradient of the true class's log-probability,
                         averaged over the scene's images; highest first for positive units,
                         lowest for negative
``greedy``               each time the unit whose loss costs (positive) or wins (negative) most
                         right images of the selection

Activation and weight have no sign: positive and negative units are the same there. The last
three need a linear head.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Unpack

import numpy as np

from core.ablation.contribution import SIGNS, Contribution, UnitConcepts
from core.ablation.search import greedy_forward
from core.ablation.toggler import Toggler
from core.explain.account import PREDICTED_SCENE
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.progress import Hooks
from core.foundation.settings import CHOOSING
from core.foundation.vocabulary import Protocol, Ranking
from core.knowledge.core_concepts import (
    Annotated,
    CoreConcepts,
    Related,
    core_concepts,
    related_concepts,
)
from core.knowledge.graph import Graph
from core.runs.run_file import known_values

PROTOCOLS = tuple(Protocol)
BY_CONCEPTS = (Ranking.SCC, Ranking.ICC, Ranking.TOP10)
BY_HEAD = (Ranking.WEIGHT, Ranking.GRADIENT, Ranking.GREEDY)
CONTROLS = (Ranking.RANDOM, Ranking.ACTIVATION, *BY_HEAD)
RANKINGS = (*BY_CONCEPTS, *CONTROLS)

SEEDS = 20
"""Draws of the random control."""

MOST = CHOOSING.k
"""k of the paper's evaluation."""


@dataclass(frozen=True)
class Disabled:
    """Which units an experiment disables first.

    Attributes
    ----------
    ranking : of :data:`RANKINGS`. sign : the most positive or the most negative ones.
    protocol : which of them for which image, of :data:`PROTOCOLS`. over : images summed over in
        Eq. 9, of :class:`core.foundation.vocabulary.Over`.
    """

    ranking: str
    sign: str
    protocol: str = CHOOSING.protocol
    over: str = CHOOSING.over


@dataclass(frozen=True)
class Study:
    """A layer made ready for disabling experiments: its toggler, concepts and the graph's facts.

    Attributes
    ----------
    toggler, learned : of one layer of one run.
    annotated, related : what core concepts of any set of images are made from.
    graph : name of the knowledge graph.
    """

    toggler: Toggler
    learned: UnitConcepts
    annotated: Annotated
    related: Related
    graph: str

    @classmethod
    def of(
        cls,
        toggler: Toggler,
        graph: Graph,
        strategy: str = CHOOSING.strategy,
        iou: str = CHOOSING.iou,
        overrides: Path | None = None,
    ) -> Study:
        """Raises for an unknown strategy or IoU."""
        run = toggler.run
        annotated = Annotated.from_run(run)
        return cls(
            toggler,
            UnitConcepts.of(run, toggler.layer, strategy, iou),
            annotated,
            related_concepts(annotated, graph, overrides=overrides),
            graph.name,
        )

    @cached_property
    def scene(self) -> np.ndarray:
        """int64 (images,): number of the true scene, −1 where unknown."""
        return np.asarray(self.learned.images["scene"].to_numpy(np.int64))

    @cached_property
    def predicted_scene(self) -> np.ndarray:
        """int64 (images,): number of the scene that the recorded prediction is, −1 where it is
        none of the dataset's."""
        frame = self.toggler.run.sql(
            f"SELECT coalesce(p.scene, -1) AS scene FROM images i LEFT JOIN ({PREDICTED_SCENE}) p "
            "USING (image) ORDER BY i.image"
        )
        return np.asarray(frame["scene"].to_numpy(np.int64))

    def rows(self, splits: Sequence[str] | None = None) -> np.ndarray:
        """Rows of images of some splits (all where None) whose scene the network knows.

        Raises for an unknown split, and where none is left.
        """
        names = known_values(self.toggler.run, "split", "images", splits)
        keep = self.toggler.images["split"].isin(names).to_numpy() & (self.toggler.target >= 0)
        if not keep.any():
            raise UnitscopeError(
                f"no image of split {', '.join(names)} has a scene that the network knows"
            )
        return np.flatnonzero(keep)

    def right(self, rows: np.ndarray, **hooks: Unpack[Hooks]) -> np.ndarray:
        """bool: is the unedited prediction of each row right?"""
        predicted = self.toggler.unedited(rows, **hooks).predicted
        return np.asarray(predicted == self.toggler.target[rows])

    def core(self, kind: str, rows: np.ndarray | None = None) -> CoreConcepts:
        """Core concepts made from the annotations of some images (all where None)."""
        annotated = self.annotated if rows is None else self.annotated.part(rows)
        return core_concepts(annotated, self.related, kind)

    def contribution(
        self, kind: str, rows: np.ndarray | None = None, over: str = CHOOSING.over
    ) -> Contribution:
        """Eq. 9 summed over some images, with core concepts of the same images."""
        return self.learned.contribution(self.core(kind, rows), over, rows)

    def order(
        self,
        ranking: str,
        sign: str,
        rows: np.ndarray,
        most: int = MOST,
        protocol: str = CHOOSING.protocol,
        over: str = CHOOSING.over,
        seed: int = 0,
    ) -> np.ndarray:
        """Units to disable, first to last, chosen on some rows: int64 (scenes, most), or
        (1, most) for ``global``; −1 where there are fewer.

        Raises for an unknown name, or a ranking that needs a linear head where there is none.
        """
        for kind, name, options in (
            ("ranking", ranking, RANKINGS),
            ("sign", sign, SIGNS),
            ("protocol", protocol, PROTOCOLS),
        ):
            if name not in options:
                raise unknown(kind, name, options)
        if ranking in BY_HEAD and self.toggler.weights is None:
            raise UnitscopeError(
                f"ranking {ranking!r} needs a linear head; layer {self.toggler.layer!r} needs a "
                f"{self.toggler.method}: {self.toggler.check.why}"
            )
        whole = protocol == "global"
        units = self.toggler.units
        if ranking in BY_CONCEPTS:
            contribution = self.contribution(ranking, rows, over)
            if not whole:
                return contribution.orders(sign, most)
            score = contribution.together()
            return _ranked(score[None], sign, most, (score > 0 if sign == SIGNS[0] else score < 0))
        scenes = 1 if whole else len(self.annotated.scenes)
        if ranking == "random":
            rng = np.random.default_rng(seed)
            draw = [rng.choice(units, min(most, units), replace=False) for _ in range(scenes)]
            return np.array(draw, np.int64)
        if ranking == "greedy":
            return self._greedy(sign, rows, most, protocol)
        if over != "all":
            rows = rows[self.right(rows) == (over == "true")]
        group = np.zeros(len(rows), np.int64) if whole else self.scene[rows]
        values, signed = self._control(ranking, rows, group, scenes)
        return _ranked(values, sign if signed else SIGNS[0], most)

    def _control(
        self, ranking: str, rows: np.ndarray, group: np.ndarray, scenes: int
    ) -> tuple[np.ndarray, bool]:
        """(score of every unit for every group of rows, has it a sign)."""
        toggler = self.toggler
        pooled = toggler.pooled[rows]
        if ranking == "mean_activation":
            return _means(pooled, group, scenes), False
        assert toggler.weights is not None
        if ranking == "weight":
            size = np.abs(toggler.weights)
            if scenes == 1:
                return size.mean(1)[None], False
            class_of = toggler.run.sql(
                "SELECT coalesce(class, -1) AS class FROM scenes ORDER BY scene"
            )["class"].to_numpy()
            known = class_of >= 0
            values = np.zeros((scenes, toggler.units), np.float32)
            values[known] = size[:, class_of[known]].T
            return values, False
        logits = toggler.logits(rows)
        shifted = np.exp(logits - logits.max(1, keepdims=True))
        toward = -shifted / shifted.sum(1, keepdims=True)
        toward[np.arange(len(rows)), toggler.target[rows]] += 1
        return _means((toward @ toggler.weights.T) * pooled, group, scenes), True

    def _greedy(self, sign: str, rows: np.ndarray, most: int, protocol: str) -> np.ndarray:
        worst = sign == "positive"
        if protocol == "global":
            path = greedy_forward(self.toggler, rows, most=most, worst=worst)
            return np.array([path.sets[-1]], np.int64)
        right = self.right(rows)
        if protocol == "paper":
            rows = rows[right == worst]
            own = self.scene[rows]
        else:
            own = self.predicted_scene[rows]
        out = np.full((len(self.annotated.scenes), most), -1, np.int64)
        for y in np.unique(own[own >= 0]):
            path = greedy_forward(self.toggler, rows[own == y], most=most, worst=worst)
            out[y, : len(path.sets[-1])] = path.sets[-1]
        return out

    def orders_of(
        self, rows: np.ndarray, order: np.ndarray, sign: str, protocol: str
    ) -> np.ndarray:
        """int64 (rows, most): what a protocol disables in each row; −1 = nothing.

        ``paper`` leaves wrong predictions alone where units are positive, right ones where they
        are negative.
        """
        if protocol == "global":
            return np.repeat(order, len(rows), axis=0)
        own = (self.scene if protocol == "paper" else self.predicted_scene)[rows]
        out = np.where((own >= 0)[:, None], order[own], -1)
        if protocol == "paper":
            out[self.right(rows) != (sign == "positive")] = -1
        return out

    def outcomes(
        self,
        asked: Disabled,
        selection: np.ndarray,
        judged: np.ndarray,
        at: Sequence[int],
        seed: int = 0,
        **hooks: Unpack[Hooks],
    ) -> tuple[np.ndarray, np.ndarray]:
        """(right, units): bool (len(at), judged) is each image right with k units disabled, and
        int64 (len(at),) how many units that was on average over the images that were changed."""
        sign, protocol = asked.sign, asked.protocol
        order = self.order(asked.ranking, sign, selection, max(at), protocol, asked.over, seed)
        each = self.orders_of(judged, order, sign, protocol)
        target = self.toggler.target[judged]
        right = [
            after.predicted == target for _, after in self.toggler.sweep(judged, each, at, **hooks)
        ]
        counts = [(each[:, :k] >= 0).sum(1) for k in sorted(at)]
        mean = [float(c[c > 0].mean()) if (c > 0).any() else 0.0 for c in counts]
        return np.array(right), np.array(mean)


def negative_candidates(
    study: Study, kind: str, rows: np.ndarray, over: str = CHOOSING.over
) -> np.ndarray:
    """Units whose contribution (Eq. 9), summed over scenes, is negative on some rows: ascending."""
    return np.flatnonzero(study.contribution(kind, rows, over).together() < 0)


def _means(values: np.ndarray, group: np.ndarray, groups: int) -> np.ndarray:
    """Mean of the rows of each group; 0 where it has none."""
    total = np.zeros((groups, values.shape[1]))
    np.add.at(total, group, values)
    return total / np.maximum(np.bincount(group, minlength=groups), 1)[:, None]


def _ranked(
    values: np.ndarray, sign: str, most: int, usable: np.ndarray | None = None
) -> np.ndarray:
    """The units with the highest (positive) or lowest values of each row; the lower number among
    equals; −1 for rows without any value but 0 and where units are not `usable`."""
    key = -values if sign == "positive" else values
    order = np.argsort(key, axis=1, kind="stable")[:, :most].astype(np.int64)
    if usable is not None:
        order[~usable[order]] = -1
    order[~values.any(1)] = -1
    return order
