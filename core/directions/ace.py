"""ACE: concepts of a class, found by clustering segments of its photos, and tested by TCAV.

Ghorbani, Wexler, Zou and Kim, "Towards Automatic Concept-based Explanations", NeurIPS 2019, and its
code. Photos of a scene are cut into segments at three resolutions (SLIC); each segment, on grey and
scaled up to the network's input, goes through the network; the means of the layer's maps are
clustered by k-means. A cluster that is seen in enough photos is a concept: its nearest segments are
its examples, CAVs are learned against random photos, and TCAV says how much it matters for the
scene (:mod:`core.directions.cav`). Concepts that do as a set of random photos does are dropped.

Beside the published test, every concept is held against *random sets of segments of the same
photos*, as many as it has examples: any part of a bedroom may speak for "bedroom".

A discovered concept has no name. It gets that of the annotated concept which its examples overlap
best: IoU of the segments and the masks, over the photos that the examples come from.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.ablation.images import choose
from core.attribution.case import Opened
from core.directions.cav import Cavs, Examples, cavs, t_test, toward
from core.directions.conceptshap import VERSION, class_of_scene, photos_of
from core.directions.layer import LOGIT, OF, Layer
from core.directions.naming import usable_concepts
from core.directions.patches import Box, box_of, maps_of, patch_of
from core.directions.vectors import Photos
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import write_text
from core.foundation.intervals import mean_interval
from core.foundation.optional import optional
from core.foundation.plain import Json
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.labelling.probe import cell_means, held_out, open_probe
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import derived

SEGMENTS, COMPACTNESS, SIGMA = (15, 50, 80), 20.0, 1.0
"""Segments that SLIC is asked for at each resolution, and its settings (code)."""

SMALLEST, ALIKE = 0.001, 0.5
"""A segment is dropped up to this share of the photo, and above this Jaccard index with one that is
kept from a coarser resolution (code)."""

IMAGES = 40
"""Photos of the scene, and of every random set, at most (code: `max_imgs`)."""

CLUSTERS, RESTARTS = 25, 10
"""Of k-means (code; 10 starts were scikit-learn's default then)."""

MEMBERS, EXAMPLES = 40, 40
"""A concept has more segments than the first; its nearest ones are its examples, at most so many as
the second (code: `min_imgs`, `max_imgs`)."""

RUNS, LEVEL = 20, 0.01
"""Random sets of photos, and the p-value up to which a concept is kept (code)."""

RANDOMS, RANDOM_SEGMENTS = 100, 400
"""Random sets of segments that concepts are held against, and the segments they are drawn from."""


@dataclass(frozen=True)
class Asked:
    """What is looked for.

    Attributes
    ----------
    images, clusters, members, runs : see :data:`IMAGES`, :data:`CLUSTERS`, :data:`MEMBERS` and
        :data:`RUNS`.
    of : of :data:`core.directions.layer.OF`. categories : whose concepts may name what is found;
        all but colours and scenes where empty.
    learn, judge : splits; by default as :func:`core.labelling.probe.held_out`.
    """

    images: int = IMAGES
    clusters: int = CLUSTERS
    members: int = MEMBERS
    runs: int = RUNS
    of: str = LOGIT
    categories: tuple[str, ...] = ()
    learn: tuple[str, ...] = ()
    judge: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        if self.of not in OF:
            raise unknown("derivative", self.of, OF)
        if min(self.images, self.clusters, self.runs) < 2 or self.members < 1:
            raise UnitscopeError(
                "photos, clusters and random sets are 2 or more, members 1 or more"
            )


@dataclass(frozen=True)
class Example:
    """A segment that shows a concept. image : number in the run. box : in pixels of what the
    network sees of it. cost : distance from the middle of the cluster."""

    image: int
    box: Box
    cost: float


@dataclass(frozen=True)
class Discovered:
    """A concept that was discovered.

    Attributes
    ----------
    number : by rank. segments, photos : of its cluster.
    score : TCAV, the mean over random sets; low, high : 95 % interval over photos.
    accuracy : of its CAVs. p : of the published test. kept : is p at most :data:`LEVEL`?
    p_null : how often a random set of segments of the same photos scores as high.
    name : of the annotated concept that it overlaps best ("" for none); iou : with it;
        purity : the share of its segments' pixels that are of it.
    examples : the nearest first.
    """

    number: int
    segments: int
    photos: int
    score: float
    low: float
    high: float
    accuracy: float
    p: float
    kept: bool
    p_null: float
    name: str
    iou: float
    purity: float
    examples: tuple[Example, ...]


@dataclass(frozen=True, eq=False)
class Ace:
    """What a scene is made of to the network.

    Attributes
    ----------
    scene, layer, asked, splits : what was asked. images : photos that were cut. judged : photos
        that TCAV is measured on. segments : that were kept. too_rare : clusters that are in too few
        photos.
    concepts : by score, the highest first.
    random_score : mean TCAV of random sets of segments. random_passed : the share of them that pass
        the published test.
    constant : is the derivative the same for every photo, so that the score of one CAV is 0 or 1?
    centres : float32 (concepts, units), the middle of each concept's cluster.
    """

    scene: str
    layer: str
    asked: Asked
    splits: tuple[tuple[str, ...], tuple[str, ...]]
    images: int
    judged: int
    segments: int
    too_rare: int
    concepts: tuple[Discovered, ...]
    random_score: float
    random_passed: float
    constant: bool
    centres: np.ndarray

    def to_json(self) -> Json:
        """Plain data, all but the middles of clusters."""
        plain = asdict(replace(self, centres=np.zeros(0)))
        del plain["centres"]
        return plain

    def frame(self) -> pd.DataFrame:
        """The concepts without their examples, a row each."""
        rows = [asdict(one) | {"examples": len(one.examples)} for one in self.concepts]
        return pd.DataFrame(rows, columns=list(Discovered.__dataclass_fields__))


def ace(
    opened: Opened,
    scene: str,
    asked: Asked | None = None,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> Ace:
    """Discover what a scene is made of; kept beside the run, segments by themselves.

    Raises UnitscopeError without scikit-image, for an unknown scene or split, where too few photos
    or segments are there, and where the layer has no stored maps or no frozen head; Stopped where
    `stop` says so.
    """
    asked = asked or Asked()
    work = _Work(Layer.of(opened), scene, asked, Meter(progress, beat), stop)
    path = derived(opened.run, "ace", work.facts, "json")
    beside = derived(opened.run, "ace-centres", work.facts, "npz")
    if path.is_file():
        held = _read(path.read_text(encoding="utf-8"), read_arrays(beside), work.layer.shape[0])
        if held is not None:
            return held
    found = work.found()
    write_arrays(beside, centres=found.centres)
    write_text(path, json.dumps(found.to_json()))
    return found


def _read(text: str, arrays: dict[str, np.ndarray] | None, units: int) -> Ace | None:
    """As it was kept; None where that is not what is written today."""
    centres = (arrays or {}).get("centres")
    try:
        held: Json = json.loads(text)
        size = (len(held["concepts"]), units)
        if centres is None or centres.shape != size or not np.isfinite(centres).all():
            return None
        asked: Json = {
            name: tuple(value) if isinstance(value, list) else value
            for name, value in held.pop("asked").items()
        }
        concepts = []
        for row in held.pop("concepts"):
            shown = tuple(
                Example(int(one["image"]), _box(one["box"]), float(one["cost"]))
                for one in row.pop("examples")
            )
            concepts.append(Discovered(**row, examples=shown))
        splits = tuple(tuple(part) for part in held.pop("splits"))
        whole: Json = held | {"concepts": tuple(concepts), "splits": splits}
        return Ace(asked=Asked(**asked), centres=centres, **whole)
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def _box(given: list[int]) -> Box:
    left, top, right, bottom = map(int, given)
    return left, top, right, bottom


# -- segments ---------------------------------------------------------------------------------


def segments_of(photo: np.ndarray) -> list[np.ndarray]:
    """Masks bool (height, width) of a photo's segments, coarse ones first; too small ones, and
    those that a coarser resolution has already, are left out.

    photo : uint8 (height, width, 3). Raises UnitscopeError without scikit-image.
    """
    slic = _slic()
    kept: list[np.ndarray] = []
    for count in SEGMENTS:
        labels = slic(photo, n_segments=count, compactness=COMPACTNESS, sigma=SIGMA, start_label=0)
        masks = [labels == label for label in range(int(labels.max()) + 1)]
        kept += [mask for mask in masks if mask.mean() > SMALLEST and not alike(mask, kept)]
    return kept


def alike(mask: np.ndarray, others: Sequence[np.ndarray]) -> bool:
    """Is the Jaccard index of a mask with one of the others above :data:`ALIKE`?

    >>> one = np.array([True, True, True, False])
    >>> alike(one, [np.array([True, True, False, False])]), alike(one, [~one])
    (True, False)
    """
    return any((mask & other).sum() > ALIKE * (mask | other).sum() for other in others)


def _slic() -> Any:
    return optional("skimage.segmentation", "ACE's segments", "scikit-image").slic


@dataclass(frozen=True, eq=False)
class Segments:
    """Segments of some photos.

    Attributes
    ----------
    photo : int64 (segments,), place of its photo. masks : bool (segments, height, width).
    means : float32 (segments, units), the means of the layer's maps of each, cut out.
    """

    photo: np.ndarray
    masks: np.ndarray
    means: np.ndarray

    def __len__(self) -> int:
        return len(self.photo)


def common_enough(members: int, photos: int, all_photos: int, least: int) -> bool:
    """Is a cluster of segments a concept? (ACE, section 3 and code.)

    members : segments of it. photos : that they are from. all_photos : that were cut.

    More than `least` segments, and: from more than half as many photos; or from more than a quarter
    as many, and a quarter of all photos; or from more than a tenth as many, and half of all photos.

    >>> common_enough(60, 31, 100, 40), common_enough(60, 20, 100, 40)
    (True, False)
    >>> common_enough(40, 40, 40, 40), common_enough(100, 26, 100, 40)
    (False, True)
    """
    if members <= least:
        return False
    return (
        photos > 0.5 * members
        or (photos > 0.25 * members and photos > 0.25 * all_photos)
        or (photos > 0.1 * members and photos > 0.5 * all_photos)
    )


# -- the work ---------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class _Cluster:
    """A cluster that is a concept.

    rows : int64, its nearest segments, the nearest first. costs : their distances from its middle.
    segments, photos : of the whole cluster. centre : (units,), its middle.
    """

    rows: np.ndarray
    costs: np.ndarray
    segments: int
    photos: int
    centre: np.ndarray


@dataclass(frozen=True, eq=False)
class _Tested:
    """TCAV of a set of segments.

    signs : bool (runs, judged photos). accuracy : (runs,), of the CAVs. p : of the paired t-test
    against the random concept's scores.
    """

    signs: np.ndarray
    accuracy: np.ndarray
    p: float


class _Work:
    """One scene at work."""

    def __init__(self, layer: Layer, scene: str, asked: Asked, meter: Meter, stop: Stop):
        self.layer, self.scene, self.asked = layer, scene, asked
        self.meter, self.stop = meter, stop
        self.klass = class_of_scene(layer.opened, scene)
        self.splits = held_out(layer.run, asked.learn, asked.judge, "concepts")
        images = layer.opened.recorded.images
        try:
            rows = choose(images, scene=scene, splits=self.splits[0])
        except UnitscopeError:
            rows = np.zeros(0, np.int64)
        if len(rows) < 2:
            raise UnitscopeError(
                f"{len(rows)} photos of {', '.join(self.splits[0])} show scene {scene!r}; to find "
                "its concepts takes two or more"
            )
        rng = np.random.default_rng([asked.seed, IMAGES])
        numbers = images["image"].to_numpy(np.int64)
        self.images = np.sort(numbers[rng.permutation(rows)[: asked.images]])
        learned = choose(images, splits=self.splits[0])
        others = learned[(images["scene"].iloc[learned] != scene).to_numpy()]
        self.others = numbers[others]
        if len(self.others) < 4:
            raise UnitscopeError("there are too few photos of other scenes to be random sets")
        judged = photos_of(layer.opened, self.splits[1])
        here = judged.classes == self.klass
        if not here.any():
            raise UnitscopeError(
                f"no photo of {', '.join(self.splits[1])} shows scene {scene!r}: TCAV has nothing "
                "to be measured on"
            )
        self.judged = Photos(judged.images[here], judged.classes[here])
        self.facts = [
            layer.name,
            scene,
            asdict(asked),
            self.splits,
            [*SEGMENTS, COMPACTNESS, SIGMA, EXAMPLES, RANDOMS, RANDOM_SEGMENTS],
            versions_of(VERSION),
        ]

    def found(self) -> Ace:
        """All of it."""
        _slic()
        segments = self.segments()
        clusters, too_rare = self.clusters(segments)
        # Each segment that is asked about goes through the network once.
        rng = np.random.default_rng([self.asked.seed, RANDOM_SEGMENTS])
        pool = rng.permutation(len(segments))[:RANDOM_SEGMENTS]
        wanted = np.unique(np.concatenate([pool, *(one.rows for one in clusters)]))
        scored = _Scored(self, segments, wanted)
        self.meter.start("TCAV", len(clusters) + RANDOMS, of="concepts")
        size = min(EXAMPLES, len(pool) // 2)
        random = [scored.of(rng.permutation(pool)[:size]) for _ in range(RANDOMS)]
        null = np.array([one.signs.mean() for one in random])
        found = [(one, scored.of(one.rows)) for one in clusters]
        found.sort(key=lambda pair: -float(pair[1].signs.mean()))
        return Ace(
            self.scene,
            self.layer.name,
            self.asked,
            self.splits,
            len(self.images),
            len(self.judged),
            len(segments),
            too_rare,
            tuple(
                self._discovered(k, segments, cluster, tested, null)
                for k, (cluster, tested) in enumerate(found)
            ),
            float(null.mean()),
            float(np.mean([one.p <= LEVEL for one in random])),
            self.asked.of == LOGIT and self.layer.head is not None,
            np.stack([cluster.centre for cluster, _ in found]).astype(np.float32),
        )

    def segments(self) -> Segments:
        """Segments of the scene's photos and their activations; kept by themselves."""
        facts = [
            self.layer.name,
            self.images.tolist(),
            [*SEGMENTS, COMPACTNESS, SIGMA, SMALLEST, ALIKE],
            versions_of(VERSION),
        ]
        path = derived(self.layer.run, "ace-segments", facts, "npz")
        photos = self.layer.opened.photos(self.images)
        held = self._read_segments(read_arrays(path), photos.shape[1:3])
        if held is not None:
            return held
        self.meter.start("segments", len(photos))
        masks: list[np.ndarray] = []
        at: list[int] = []
        for k, photo in enumerate(photos):
            if self.stop():
                raise Stopped(STOPPED)
            found = segments_of(photo)
            masks += found
            at += [k] * len(found)
            self.meter.step()
        if len(masks) < self.asked.clusters:
            raise UnitscopeError(
                f"{len(masks)} segments cannot make {self.asked.clusters} clusters: ask for fewer "
                "(--clusters), or take more photos (--images)"
            )
        self.meter.start("activations of segments", len(masks), of="segments")
        means = [np.zeros((0, self.layer.shape[0]), np.float32)]
        for k, photo in enumerate(photos):
            mine = [patch_of(photo, mask) for mask, of in zip(masks, at, strict=True) if of == k]
            if mine:
                means.append(
                    maps_of(self.layer.opened, np.stack(mine), self.meter, self.stop, means=True)
                )
        segments = Segments(np.array(at), np.stack(masks), np.concatenate(means))
        arrays = {
            "photo": segments.photo,
            "masks": np.packbits(segments.masks.reshape(len(masks), -1), axis=1),
            "means": segments.means,
        }
        write_arrays(path, **arrays)
        return segments

    def _read_segments(
        self, held: dict[str, np.ndarray] | None, size: tuple[int, ...]
    ) -> Segments | None:
        if held is None or not {"photo", "masks", "means"} <= set(held):
            return None
        photo, packed, means = held["photo"], held["masks"], held["means"]
        n, pixels = len(photo), int(np.prod(size))
        fits = (
            photo.ndim == 1
            and photo.dtype.kind == "i"
            and n >= self.asked.clusters
            and photo.min() >= 0
            and photo.max() < len(self.images)
            and packed.dtype == np.uint8
            and packed.shape == (n, -(-pixels // 8))
            and means.dtype.kind == "f"
            and means.shape == (n, self.layer.shape[0])
        )
        if not fits:
            return None
        masks = np.unpackbits(packed, axis=1, count=pixels).astype(bool).reshape(n, *size)
        return Segments(photo, masks, means) if masks.any((1, 2)).all() else None

    def clusters(self, segments: Segments) -> tuple[list[_Cluster], int]:
        """(the clusters that are concepts, how many are in too few photos).

        Raises UnitscopeError where there is none.
        """
        from sklearn.cluster import KMeans

        means = KMeans(self.asked.clusters, n_init=RESTARTS, random_state=self.asked.seed)
        away = means.fit_transform(segments.means.astype(np.float64))
        of, costs = away.argmin(1), away.min(1)
        found = []
        for k in range(self.asked.clusters):
            rows = np.flatnonzero(of == k)
            photos = len(np.unique(segments.photo[rows]))
            if common_enough(len(rows), photos, len(self.images), self.asked.members):
                order = rows[np.argsort(costs[rows], kind="stable")]
                some = order[:EXAMPLES]
                centre = means.cluster_centers_[k]
                found.append(_Cluster(some, costs[some], len(rows), photos, centre))
        if not found:
            raise UnitscopeError(
                f"none of {self.asked.clusters} clusters of segments has more than "
                f"{self.asked.members} segments from enough of {len(self.images)} photos: take "
                "more photos (--images), or ask for fewer segments (--members)"
            )
        return found, self.asked.clusters - len(found)

    def _discovered(
        self, number: int, segments: Segments, cluster: _Cluster, tested: _Tested, null: np.ndarray
    ) -> Discovered:
        score = float(tested.signs.mean())
        low, high = mean_interval(tested.signs.mean(0))
        name, iou, purity = self.named(segments, cluster.rows)
        return Discovered(
            number,
            cluster.segments,
            cluster.photos,
            score,
            max(0.0, float(low)),
            min(1.0, float(high)),
            float(tested.accuracy.mean()),
            tested.p,
            tested.p <= LEVEL,
            float((1 + (null >= score - 1e-12).sum()) / (1 + len(null))),
            name,
            iou,
            purity,
            tuple(
                Example(
                    int(self.images[segments.photo[row]]), box_of(segments.masks[row]), float(cost)
                )
                for row, cost in zip(cluster.rows, cluster.costs, strict=True)
            ),
        )

    def named(self, segments: Segments, rows: np.ndarray) -> tuple[str, float, float]:
        """(name of the annotated concept that segments overlap best, IoU, share of their pixels
        that are of it); "" and zeros where they overlap none.

        Over the photos that the segments are from: Σ |S ∩ L_c| / Σ |S ∪ L_c|, in pixels of the
        working grid, S the union of a photo's segments there.
        """
        probe = open_probe(
            self.layer.run, self.layer.name, self.splits[0], self.asked.categories or None
        )
        usable = usable_concepts(probe)
        both, areas = np.zeros((2, len(usable)))
        pixels = 0
        for photo in np.unique(segments.photo[rows]):
            mine = segments.masks[rows[segments.photo[rows] == photo]].any(0)
            labels = self.layer.run.label_maps(int(self.images[photo]))
            inside = cell_means(mine, *labels.shape[1:]) >= 0.5
            pixels += int(inside.sum())
            for concept in np.unique(labels):
                mask = (labels == concept).any(0)
                both[concept] += (mask & inside).sum()
                areas[concept] += mask.sum()
        ious = np.where(usable, both / np.maximum(pixels + areas - both, 1), 0.0)
        best = int(ious.argmax())
        if not ious[best] > 0:
            return "", 0.0, 0.0
        return probe.names[best], float(ious[best]), float(both[best] / pixels)


class _Scored:
    """TCAV of sets of segments, all against the same random sets of photos."""

    def __init__(self, work: _Work, segments: Segments, wanted: np.ndarray):
        self.work, self.wanted = work, wanted
        asked, layer = work.asked, work.layer
        photos = layer.opened.photos(work.images)
        patches = [patch_of(photos[segments.photo[k]], segments.masks[k]) for k in wanted]
        work.meter.start("examples", len(wanted), of="patches")
        maps = maps_of(layer.opened, np.stack(patches), work.meter, work.stop)
        # One set stands for a random concept; the others are counterparts of all (code).
        rng = np.random.default_rng([asked.seed, RUNS])
        size = min(asked.images, len(work.others) // 2)
        drawn = [rng.permutation(work.others)[:size] for _ in range(asked.runs + 1)]
        used = np.unique(np.concatenate(drawn))
        rows = np.concatenate(
            [maps.reshape(len(maps), -1), layer.activations(used).flatten(1).numpy()]
        )
        self.examples = Examples(rows)
        sets = [len(maps) + np.searchsorted(used, one) for one in drawn]
        self.concept, self.counterparts = sets[0], sets[1:]
        self.toward = toward(layer, work.judged, self.examples, asked.of)
        self.random = self._signs(self._cavs(self.concept)).mean(1)

    def of(self, segments: np.ndarray) -> _Tested:
        """TCAV of a set of segments, held against the random concept.

        Raises Stopped where it is asked for.
        """
        if self.work.stop():
            raise Stopped(STOPPED)
        found = self._cavs(np.searchsorted(self.wanted, segments))
        signs = self._signs(found)
        self.work.meter.step()
        return _Tested(signs, found.accuracy, t_test(signs.mean(1) - self.random, 0.0))

    def _cavs(self, rows: np.ndarray) -> Cavs:
        return cavs(self.examples, rows, self.counterparts, self.work.asked.seed)

    def _signs(self, found: Cavs) -> np.ndarray:
        """bool (runs, judged photos): is the sensitivity positive?"""
        signs: np.ndarray = found.weights @ self.toward.T > 0
        return signs
