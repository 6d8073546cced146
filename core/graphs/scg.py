"""Structural concept graphs: which concepts a class is explained by, and what photos show of them.

The graph of a class c has as nodes the n concepts that matter most for c, and an edge from every
node to every other (VRX; Ge et al., "A Peek Into the Reasoning of Neural Networks: Interpreting
with Structural Visual Concepts", CVPR 2021). In a photo each node has a feature, the layer's
activation in the concept's region, and each edge says how its two ends lie to each other. Where the
photo does not show a concept, a dummy stands for it. So a photo has one graph for each class of
interest: what the photo is under the hypothesis that it shows that class.

The paper finds concepts as ACE does, from segments. Here they are the annotated concepts, whose
regions are known; docs/vrx.md says what that changes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from core.dissect.formula import Formula
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.intervals import Z
from core.labelling.probe import SHARD, Probe, cell_means

NODES = 4
"""Concepts of a class: the top four, as in the paper."""

LEAST = 5
"""Photos answered as a class that a class of interest has at least; and of these, photos that a
concept of it is shown in."""

EDGE = 4
"""Numbers that describe an edge (:func:`between`)."""


@dataclass(frozen=True, eq=False)
class Hypotheses:
    """The concepts by which each class of interest is explained.

    Attributes
    ----------
    classes : int64 (classes,), of the network, ascending. names : of them.
    concepts : int64 (classes, nodes), concept ids by importance; 0 where a class has fewer.
    importance : float64 (classes, nodes), logits, see :func:`hypotheses`; NaN where there is none.
    """

    classes: np.ndarray
    names: tuple[str, ...]
    concepts: np.ndarray
    importance: np.ndarray

    @property
    def nodes(self) -> int:
        """Concepts of a class."""
        return int(self.concepts.shape[1])

    @property
    def distinct(self) -> np.ndarray:
        """int64, ids of all concepts of any class, ascending."""
        return np.unique(self.concepts[self.concepts > 0])

    @property
    def columns(self) -> np.ndarray:
        """int64 (classes, nodes), the place of each node's concept in :attr:`distinct`; −1 where
        there is none."""
        at = np.searchsorted(self.distinct, self.concepts)
        columns: np.ndarray = np.where(self.concepts > 0, at, -1)
        return columns

    def row(self, scene: str) -> int:
        """Row of a class by its name. Raises UnitscopeError for another."""
        if scene not in self.names:
            raise unknown("class of interest", scene, self.names)
        return self.names.index(scene)


@dataclass(frozen=True, eq=False)
class Graphs:
    """What photos show of some concepts.

    Attributes
    ----------
    images : int64 (photos,), numbers in the run. concepts : int64 (concepts,), ids, ascending.
    features : float32 (shown, units), mean activation of the layer in a concept's region, photo by
        photo. at : int64 (photos, concepts), row of `features`; −1 where the photo does not show
        the concept.
    places : float32 (photos, concepts, 2), the middle of the region (x, y), as shares of the photo
        from its upper left corner; 0 where the concept is not shown.
    """

    images: np.ndarray
    concepts: np.ndarray
    features: np.ndarray
    at: np.ndarray
    places: np.ndarray

    def __len__(self) -> int:
        return len(self.images)

    @property
    def shown(self) -> np.ndarray:
        """bool (photos, concepts)."""
        shown: np.ndarray = self.at >= 0
        return shown

    def row(self, image: int) -> int:
        """Row of an image by its number. Raises UnitscopeError where it is not among these."""
        found = np.flatnonzero(self.images == image)
        if not len(found):
            raise UnitscopeError(f"image {image} is not among these photos")
        return int(found[0])

    def displaced(self, seed: int) -> Graphs:
        """The same photos, each concept in the place that it has in another photo that shows it.

        How often a concept is where stays as it is; how concepts of one photo lie to each other is
        lost. For a control.
        """
        rng = np.random.default_rng([seed, len(self)])
        places = self.places.copy()
        for k in range(len(self.concepts)):
            here = np.flatnonzero(self.shown[:, k])
            places[here, k] = places[rng.permutation(here), k]
        return replace(self, places=places)


def hypotheses(probe: Probe, logits: np.ndarray, names: Sequence[str], nodes: int) -> Hypotheses:
    """The classes of interest and their concepts, from photos and the network's answers.

    Of interest is a class that is the answer to :data:`LEAST` photos or more. A concept matters for
    class c by how much higher the logit of c, above the mean of all logits, is in photos that show
    it than in those that do not: by the lower end of the 95 % interval of that difference. The
    `nodes` concepts of the largest such value above 0 are the nodes of c, of those that at least
    :data:`LEAST` of the photos answered c show.

    logits : (photos, classes), of the probe's photos. names : of all classes.

    Raises UnitscopeError where fewer than two classes are of interest, and where none of them has
    a concept.
    """
    answers = logits.argmax(1)
    counts = np.bincount(answers, minlength=len(names))
    classes = np.flatnonzero(counts >= LEAST)
    if len(classes) < 2:
        raise UnitscopeError(
            f"graphs are learned from classes that are the answer to {LEAST} photos or more, and "
            f"of these {len(probe)} photos there are {len(classes)} such classes"
        )
    above = logits - logits.mean(1, keepdims=True)
    shown = probe.presence.toarray().astype(np.float64)
    least = least_rise(shown, above[:, classes].astype(np.float64))
    mine = (answers[:, None] == classes[None]).astype(np.float64)
    fits = (shown.T @ mine >= LEAST) & (least > 0) & probe.with_regions[:, None]
    least = np.where(fits, least, -np.inf)
    order = np.argsort(-least, axis=0, kind="stable")[:nodes].T
    importance = np.take_along_axis(least.T, order, 1)
    if order.shape[1] < nodes:
        short = ((0, 0), (0, nodes - order.shape[1]))
        order, importance = np.pad(order, short), np.pad(importance, short, constant_values=-np.inf)
    there = np.isfinite(importance)
    if not there.any():
        raise UnitscopeError("no annotated concept goes with a higher logit of any class")
    return Hypotheses(
        classes,
        tuple(names[int(k)] for k in classes),
        np.where(there, order, 0),
        np.where(there, importance, np.nan),
    )


def least_rise(shown: np.ndarray, values: np.ndarray) -> np.ndarray:
    """float64 (concepts, classes): by how much values (photos, classes) are higher in photos with
    a concept than in those without, the lower end of the 95 % interval (Welch's, normal).

    shown : 0 or 1 (photos, concepts). −inf where either side has fewer than two photos.

    >>> values = np.array([[3.0], [5.0], [1.0], [1.0]])
    >>> least_rise(np.array([[1.0], [1.0], [0.0], [0.0]]), values).round(2).tolist()
    [[1.04]]
    """
    sides = []
    for there in (shown, 1 - shown):
        n = np.maximum(there.sum(0), 1)[:, None]
        mean = there.T @ values / n
        square = np.maximum(there.T @ values**2 / n - mean**2, 0)
        sides.append((mean, square / np.maximum(n - 1, 1)))
    (mean, error), (without, other) = sides
    least: np.ndarray = mean - without - Z * np.sqrt(error + other)
    least[np.minimum(shown.sum(0), (1 - shown).sum(0)) < 2] = -np.inf
    return least


def graphs_of(
    probe: Probe, concepts: np.ndarray, start: int = 0, stop: int | None = None
) -> Graphs:
    """What the probe's photos from row `start` to `stop` (all where None) show of some concepts
    (ids), from the run's maps and label grids.

    A region's feature is Σ_p s(p) A(p) / Σ_p s(p), with A the maps and s(p) the share of cell p
    that the region covers.

    Raises UnitscopeError where the run keeps no maps, or where they hold what is no finite number.
    """
    maps, (height, width) = probe.run.array(f"maps-{probe.layer}"), probe.cell_grid
    formulas = [Formula((int(k),)) for k in concepts]
    images = probe.numbers[start:stop]
    at = np.full((len(images), len(concepts)), -1, np.int64)
    places = np.zeros((len(images), len(concepts), 2), np.float32)
    features = [np.zeros((0, maps.shape[1]), np.float32)]
    done = 0
    for low in range(0, len(images), SHARD):
        high = min(low + SHARD, len(images))
        masks = probe.masks(formulas, start + low, start + high).transpose(1, 0, 2, 3)
        photo, concept = np.nonzero(masks.any((2, 3)))
        here = masks[photo, concept]
        part = np.asarray(maps[images[low:high]], np.float32)
        cover = cell_means(here, height, width).reshape(len(here), height * width)
        cover /= cover.sum(1, keepdims=True)
        cells = part.reshape(*part.shape[:2], height * width)
        pooled = np.zeros((len(here), cells.shape[1]), np.float32)
        for k in range(len(cells)):
            pooled[photo == k] = cover[photo == k] @ cells[k].T.astype(np.float64)
        if not np.isfinite(pooled).all():
            raise UnitscopeError(
                f"layer {probe.layer} has activations that are no finite numbers; they cannot be "
                "features of a graph"
            )
        at[low + photo, concept] = done + np.arange(len(photo))
        places[low + photo, concept] = middles(here)
        features.append(pooled)
        done += len(photo)
    return Graphs(images, concepts, np.concatenate(features), at, places)


def middles(masks: np.ndarray) -> np.ndarray:
    """float64 (masks, 2), the middle (x, y) of each region of masks (masks, height, width), as
    shares of the photo from its upper left corner.

    >>> middles(np.array([[[0, 1], [0, 0]]], bool)).tolist()
    [[0.75, 0.25]]
    """
    height, width = masks.shape[1:]
    size = masks.sum((1, 2), dtype=np.float64)
    x = masks.sum(1) @ (np.arange(width) + 0.5) / width
    y = masks.sum(2) @ (np.arange(height) + 0.5) / height
    middle: np.ndarray = np.stack([x, y], 1) / size[:, None]
    return middle


def between(sender: np.ndarray, receiver: np.ndarray) -> np.ndarray:
    """float (…, 4): how the sender of an edge lies to its receiver, from places (…, 2).

    (Δx, Δy) from receiver to sender, and the same at length 1: the direction, which is 0 where
    both are in one place. Δx < 0: the sender is to the left; Δy < 0: it is above.

    >>> between(np.array([0.2, 0.5]), np.array([0.6, 0.2])).round(2).tolist()
    [-0.4, 0.3, -0.8, 0.6]
    """
    offset = sender - receiver
    distance = np.sqrt((offset**2).sum(-1, keepdims=True))
    direction = np.divide(offset, distance, out=np.zeros_like(offset), where=distance > 0)
    return np.concatenate([offset, direction], -1)


def pairs(nodes: int) -> tuple[np.ndarray, np.ndarray]:
    """(senders, receivers) of all edges j → i of a graph, int64 (nodes · (nodes − 1),), by receiver
    and then by sender.

    >>> [one.tolist() for one in pairs(3)]
    [[1, 2, 0, 2, 0, 1], [0, 0, 1, 1, 2, 2]]
    """
    receivers, senders = np.nonzero(~np.eye(nodes, dtype=bool))
    return senders, receivers
