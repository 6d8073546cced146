"""ConceptSHAP: how complete a layer's concept vectors are, and each one's share of that.

Yeh et al., "On Completeness-aware Concept-Based Explanations in Deep Neural Networks" (NeurIPS
2020). Completeness of a set of concepts S on photos V that nothing was learned from:

    η(S) = [ sup_g P(y = argmax h(g(v_S(x)))) − a_r ] / [ P(y = argmax f(x)) − a_r ]     (Eq. 1)

with y the true class, f the network, h its frozen head, v_S the scores of the concepts in S
(:mod:`core.directions.vectors`) and a_r the accuracy of a random guess, 1 / classes. The sup is
reached for by learning g again for every S. A concept's importance is its Shapley value of η;
for a class, of η restricted to the photos of the class (same denominator), so that importance
overall is the mean of those by class, weighted by their photos.

All are means over photos, so each has an interval over photos, which holds the error of sampled
subsets too (bootstrap); what it would be with other concept vectors (another seed) is not in it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from core.ablation.images import choose
from core.attribution.case import Opened
from core.directions.layer import Layer
from core.directions.naming import Names, name_vectors
from core.directions.shapley import (
    all_subsets,
    exact_matrix,
    kernel_matrix,
    sampled_subsets,
)
from core.directions.vectors import (
    HIDDEN,
    Learning,
    Photos,
    Surrogate,
    all_scores,
    epochs_of,
    learn,
    refit,
    right_and_same,
)
from core.explain.learned import Learned
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.intervals import Z, change_interval, mean_interval, spread
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.labelling.probe import held_out, open_probe
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import Run, derived

VERSION = "concept vectors"
"""Name of the computation in :mod:`core.foundation.versions`."""

EXACT = 10
"""Up to so many concepts every subset is tried; beyond, a sample of them."""

SAMPLES, SHARE = 100, 0.2
"""Subsets of the sample, and the probability with which each holds a concept (code, AwA)."""

REFIT_EPOCHS, REFIT_STEPS = 6, 120
"""Passes in which g is learned again for a subset (code, AwA), and batches at least, as in
:class:`~core.directions.vectors.Learning`."""

CONTROLS = 3
"""Random sets of vectors that completeness is held against: as many places of training photos as
there are concepts, g learned for them from random weights in as many passes as concepts were."""

TOP = 10
"""Core concepts of a scene are the names of its most important vectors, at most so many."""

RESAMPLES = 100
"""Bootstrap samples of sampled subsets, for the error of sampling."""

SHARD = 32
"""Subsets between two savings."""


@dataclass(frozen=True)
class Asked:
    """What is computed.

    Attributes
    ----------
    layer : the run's last where None. learning : see there.
    learn, judge : splits; by default as :func:`core.labelling.probe.held_out`.
    categories : whose concepts may name vectors; all but colours and scenes where empty.
    samples : subsets of KernelSHAP. exact : at most so many concepts have all subsets tried.
    """

    layer: str | None = None
    learning: Learning = field(default_factory=Learning)
    learn: tuple[str, ...] = ()
    judge: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    samples: int = SAMPLES
    exact: int = EXACT


@dataclass(frozen=True, eq=False)
class Vectors:
    """Concept vectors of a layer with their names.

    Attributes
    ----------
    asked : how they came about. splits : they were learned on and judged by.
    surrogate : the vectors, and g. names : of each.
    """

    asked: Asked
    splits: tuple[tuple[str, ...], tuple[str, ...]]
    surrogate: Surrogate
    names: Names

    def __len__(self) -> int:
        return self.surrogate.vectors.shape[1]

    @property
    def run(self) -> Run:
        """The run."""
        return self.surrogate.layer.run

    @cached_property
    def words(self) -> list[str]:
        """Names of the vectors; "" where no concept overlaps one."""
        names = open_probe(self.run, self.surrogate.layer.name).names
        return [names[k] for k in self.names.concept]

    def learned(self) -> Learned:
        """LC(x) of every image: the names of the vectors that lead in it
        (:mod:`core.directions.naming`)."""
        run = self.run
        images = run.sql("SELECT image FROM images ORDER BY image")["image"].to_numpy()
        table = np.zeros((len(self), len(open_probe(run, self.surrogate.layer.name).names)), bool)
        table[np.arange(len(self)), self.names.concept] = True
        scenes = len(run.sql("SELECT scene FROM scenes"))
        return Learned.of_active(
            run,
            self.surrogate.layer.name,
            "ConceptSHAP",
            self.names.leads[images],
            table[:, 1 : table.shape[1] - scenes],
        )


@dataclass(frozen=True)
class Importance:
    """A Shapley value of one vector with its 95 % interval: over photos (Student's t), and, where
    subsets were sampled, over these too."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class ConceptShap:
    """Completeness of a layer's concept vectors and the importance of each.

    Attributes
    ----------
    vectors : with names. photos : that all is judged by.
    network : bool (photos,), is the network right? subsets : bool (subsets, m).
    right : bool (subsets, photos), is the surrogate with these concepts alone right?
    same : bool (photos,), does the surrogate with all concepts answer as the network does?
    control : bool (:data:`CONTROLS`, photos), is it right with random vectors?
    """

    vectors: Vectors
    photos: Photos
    network: np.ndarray
    subsets: np.ndarray
    right: np.ndarray
    same: np.ndarray
    control: np.ndarray

    @property
    def exact(self) -> bool:
        """Was every subset tried?"""
        return bool(len(self.subsets) == 2 ** len(self.vectors))

    @property
    def guess(self) -> float:
        """a_r."""
        return 1.0 / len(self.vectors.surrogate.layer.opened.classes)

    @property
    def _above(self) -> float:
        """P(y = f(x)) − a_r."""
        return float(self.network.mean()) - self.guess

    def completeness(self, right: np.ndarray) -> float:
        """η by bool (…, photos): is the answer right? The mean over all."""
        return (float(right.mean()) - self.guess) / self._above

    @property
    def all(self) -> float:
        """η of all concepts together."""
        return self.completeness(self.right[-1])

    @property
    def interval(self) -> tuple[float, float]:
        """95 % interval of η over photos, paired with the network's own answers (what it is held
        against, P(y = f(x)) − a_r, taken as given)."""
        low, high = change_interval(self.right[-1].astype(float) - self.network)
        return 1 + float(low) / self._above, 1 + float(high) / self._above

    @property
    def none(self) -> float:
        """η without any concept: one class is answered always."""
        return self.completeness(self.right[0])

    @cached_property
    def matrix(self) -> np.ndarray:
        """float64 (m, subsets): Shapley values from the values of the subsets."""
        if self.exact:
            return exact_matrix(len(self.vectors))
        return kernel_matrix(self.subsets, SHARE)

    @cached_property
    def by_photo(self) -> np.ndarray:
        """float64 (m, photos): what each photo adds to the Shapley values, which are its means."""
        shares: np.ndarray = self.matrix @ (self.right.astype(np.float64) / self._above)
        return shares

    @cached_property
    def resampled(self) -> np.ndarray:
        """float64 (:data:`RESAMPLES`, m, subsets): the matrix, from subsets drawn again from the
        sample; empty where every subset was tried."""
        count = len(self.subsets)
        if self.exact:
            return np.zeros((0, len(self.vectors), count))
        rng = np.random.default_rng(RESAMPLES)
        found = np.zeros((RESAMPLES, len(self.vectors), count))
        for matrix in found:
            rows = np.r_[0, rng.integers(1, count - 1, count - 2), count - 1]
            np.add.at(matrix.T, rows, kernel_matrix(self.subsets[rows], SHARE).T)
        return found

    def _importance(self, rows: np.ndarray) -> list[Importance]:
        """Of each vector, on some photos."""
        found = [spread(shares) for shares in self.by_photo[:, rows]]
        error = np.zeros(len(found))
        if len(self.resampled):
            values = self.right[:, rows].mean(1) / self._above
            error = (self.resampled @ values).std(0, ddof=1)
        return [
            Importance(
                value,
                value - float(np.hypot(value - low, Z * wide)),
                value + float(np.hypot(high - value, Z * wide)),
            )
            for (value, low, high), wide in zip(found, error, strict=True)
        ]

    @cached_property
    def importance(self) -> list[Importance]:
        """Shapley value of each vector; their sum is η(all) − η(none)."""
        return self._importance(np.arange(len(self.photos)))

    def importance_for(self, k: int) -> list[Importance] | None:
        """The same for class k; None where no photo of it is judged."""
        rows = np.flatnonzero(self.photos.classes == k)
        return self._importance(rows) if len(rows) else None

    def core(self) -> np.ndarray:
        """bool (scenes, concepts): CC of each scene of the dataset, for Table 1.

        The names of the vectors with the largest Shapley value for the scene's class, as long as it
        is positive, :data:`TOP` names at most; none of a scene whose class has no judged photo.
        """
        run = self.vectors.run
        scenes = run.sql("SELECT scene, class FROM scenes ORDER BY scene")
        concepts = int(
            run.sql("SELECT count(*) AS n FROM concepts WHERE category <> 'scene'")["n"][0]
        )
        members = np.zeros((len(scenes), concepts), bool)
        for row, of in enumerate(scenes["class"]):
            found = None if pd.isna(of) else self.importance_for(int(of))
            for concept in self._first_names(found or []):
                members[row, concept - 1] = True
        return members

    def _first_names(self, found: list[Importance]) -> list[int]:
        """Ids of the names of the most important vectors, the first :data:`TOP`."""
        order = sorted(range(len(found)), key=lambda j: -found[j].value)
        ids = [int(self.vectors.names.concept[j]) for j in order if found[j].value > 0]
        return [one for one in dict.fromkeys(ids) if one][:TOP]

    def frame(self, scene: str | None = None) -> pd.DataFrame:
        """A row a vector, the most important first: vector, name, concept, iou, held, chance,
        shapley, low, high, active and leads (shares of the judged photos).

        scene : by importance for this scene's class. Raises UnitscopeError for an unknown one, and
        for one that no judged photo is of.
        """
        values: list[Importance] | None = self.importance
        if scene is not None:
            k = class_of_scene(self.vectors.surrogate.layer.opened, scene)
            values = self.importance_for(k)
            if values is None:
                raise UnitscopeError(
                    f"no photo of {', '.join(self.vectors.splits[1])} shows scene {scene!r}: what "
                    "matters for it cannot be judged"
                )
        names = self.vectors.names
        frame = pd.DataFrame(
            {
                "vector": np.arange(len(self.vectors)),
                "name": self.vectors.words,
                "concept": names.concept,
                "iou": names.iou,
                "held": names.held,
                "chance": names.chance,
                "shapley": [one.value for one in values or []],
                "low": [one.low for one in values or []],
                "high": [one.high for one in values or []],
                "active": names.active[self.photos.images].mean(0),
                "leads": names.leads[self.photos.images].mean(0),
            }
        )
        return frame.sort_values(["shapley", "vector"], ascending=[False, True], ignore_index=True)


def class_of_scene(opened: Opened, scene: str) -> int:
    """The network's class of a scene of the dataset. Raises UnitscopeError for an unknown scene,
    and for one that the network has no class for."""
    rows = opened.run.sql("SELECT name, class FROM scenes ORDER BY scene")
    found = rows[rows["name"] == scene]
    if not len(found):
        raise unknown("scene", scene, rows["name"])
    if pd.isna(found["class"].iloc[0]):
        raise UnitscopeError(f"the network has no class for scene {scene!r}")
    return int(found["class"].iloc[0])


def photos_of(opened: Opened, splits: tuple[str, ...]) -> Photos:
    """The photos of some splits whose true scene is a class of the network.

    Raises UnitscopeError where there is none.
    """
    images = opened.recorded.images
    rows = images.iloc[choose(images, splits=splits)]
    rows = rows[rows["target"] >= 0]
    if not len(rows):
        raise UnitscopeError(f"no photo of {', '.join(splits)} has a scene that the network knows")
    return Photos(rows["image"].to_numpy(np.int64), rows["target"].to_numpy(np.int64))


def concept_vectors(
    opened: Opened,
    asked: Asked | None = None,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> Vectors:
    """Concept vectors of a layer, learned and named; kept beside the run.

    Raises UnitscopeError where the layer has no stored maps or no frozen head, for an unknown
    layer, split or category, and for more concepts than units; Stopped where `stop` says so.
    """
    asked = asked or Asked()
    layer = Layer.of(opened)
    if asked.layer not in (None, layer.name):
        raise UnitscopeError(f"layer {layer.name!r} is open, and {asked.layer!r} was asked for")
    splits = held_out(opened.run, asked.learn, asked.judge, "concept vectors")
    facts = [
        layer.name,
        asdict(asked.learning),
        splits,
        asked.categories,
        versions_of(VERSION),
    ]
    path = derived(opened.run, "concept-vectors", facts, "npz")
    held = _read_vectors(path, layer, asked, splits)
    if held is not None:
        return held
    meter = Meter(progress, beat)
    surrogate = learn(layer, photos_of(opened, splits[0]), asked.learning, meter, stop)
    probes = [open_probe(opened.run, layer.name, part, asked.categories or None) for part in splits]
    names = name_vectors(
        layer, surrogate.vectors.numpy(), probes[0], probes[1], meter, stop, asked.learning.seed
    )
    found = Vectors(asked, splits, surrogate, names)
    arrays = {
        "vectors": surrogate.vectors.numpy(),
        "first": surrogate.first.numpy(),
        "second": surrogate.second.numpy(),
        **asdict(names),
    }
    write_arrays(path, **arrays)
    return found


def _read_vectors(
    path: Path, layer: Layer, asked: Asked, splits: tuple[tuple[str, ...], tuple[str, ...]]
) -> Vectors | None:
    """As they were kept; None where there are none, or what is there is not what was written."""
    held = read_arrays(path)
    units, concepts = layer.shape[0], len(open_probe(layer.run, layer.name).names)
    if held is None or "vectors" not in held or held["vectors"].ndim != 2:
        return None
    m = held["vectors"].shape[1]
    shapes = {
        "vectors": ((units, m), "f"),
        "first": ((m, HIDDEN), "f"),
        "second": ((HIDDEN, units), "f"),
        "thresholds": ((m,), "f"),
        "concept": ((m,), "i"),
        "iou": ((m,), "f"),
        "held": ((m,), "f"),
        "chance": ((m,), "f"),
        "active": ((layer.run.image_count.planned, m), "b"),
        "leads": ((layer.run.image_count.planned, m), "b"),
    }
    for name, (shape, kind) in shapes.items():
        if name not in held or held[name].shape != shape or held[name].dtype.kind != kind:
            return None
    if not m or not 0 <= held["concept"].min() <= held["concept"].max() < concepts:
        return None
    first, second, vectors = (
        torch.from_numpy(held[name].astype(np.float32)) for name in ("first", "second", "vectors")
    )
    surrogate = Surrogate(layer, vectors, first, second, asked.learning.beta)
    names = Names(*(held[of.name] for of in fields(Names)))
    return Vectors(asked, splits, surrogate, names)


def concept_shap(
    opened: Opened,
    asked: Asked | None = None,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> ConceptShap:
    """Concept vectors, their completeness and Shapley values; kept beside the run, and resumed.

    Raises UnitscopeError as :func:`concept_vectors`, and where the network is no better than a
    guess on the judged photos, so that nothing could be complete; Stopped where `stop` says so.
    """
    asked = asked or Asked()
    vectors = concept_vectors(opened, asked, progress, stop, beat)
    train, photos = (photos_of(opened, part) for part in vectors.splits)
    said = opened.recorded.logits[[opened.row(k) for k in photos.images]].argmax(1)
    network = said == photos.classes
    if network.mean() <= 1.0 / len(opened.classes):
        raise UnitscopeError(
            f"the network is right on {100 * network.mean():.1f} % of these photos, no more than a "
            "guess would be: how completely concepts explain it cannot be said"
        )
    m = len(vectors)
    subsets = (
        all_subsets(m)
        if m <= asked.exact
        else sampled_subsets(m, asked.samples, SHARE, asked.learning.seed)
    )
    meter = Meter(progress, beat)
    work = _Subsets(vectors, train, photos, said, subsets, meter, stop)
    return ConceptShap(vectors, photos, network, subsets, *work.done())


class _Subsets:
    """The surrogate with every subset of concepts alone, g learned again for each."""

    def __init__(
        self,
        vectors: Vectors,
        train: Photos,
        photos: Photos,
        said: np.ndarray,
        subsets: np.ndarray,
        meter: Meter,
        stop: Stop,
    ):
        self.vectors, self.train, self.photos = vectors, train, photos
        self.said, self.subsets, self.stop = said, subsets, stop
        self.meter = meter
        asked, layer = vectors.asked, vectors.surrogate.layer
        facts = [
            layer.name,
            asdict(asked.learning),
            vectors.splits,
            [len(subsets), len(subsets) == 2 ** len(vectors)],
            [REFIT_EPOCHS, REFIT_STEPS, CONTROLS, SHARE],
            versions_of(VERSION),
        ]
        self.path = derived(vectors.run, "conceptshap", facts, "npz")

    def done(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """(right, same, control) of :class:`ConceptShap`."""
        held = self._read()
        if (held["right"][:, :1] >= 0).all() and (held["control"][:, :1] >= 0).all():
            return held["right"] == 1, held["same"] == 1, held["control"] == 1
        surrogate = self.vectors.surrogate
        scores = [
            all_scores(surrogate, part, self.meter, self.stop) for part in (self.train, self.photos)
        ]
        self.meter.start("subsets of concepts", len(self.subsets) + CONTROLS, of="subsets")
        for row in range(len(self.subsets)):
            if held["right"][row, 0] < 0:
                self._pause(row, held)
                right, same = self._of(np.flatnonzero(self.subsets[row]), *scores)
                held["right"][row] = right
                if row == len(self.subsets) - 1:
                    held["same"][:] = same
            self.meter.step()
        for draw in range(CONTROLS):
            if held["control"][draw, 0] < 0:
                self._pause(0, held)
                held["control"][draw] = self._random(draw)
            self.meter.step()
        write_arrays(self.path, **held)
        return held["right"] == 1, held["same"] == 1, held["control"] == 1

    def _read(self) -> dict[str, np.ndarray]:
        """int8 arrays of what was done before; −1 of what was not."""
        n = len(self.photos)
        shapes = {"right": (len(self.subsets), n), "same": (n,), "control": (CONTROLS, n)}
        held = read_arrays(self.path) or {}
        fits = all(
            name in held and held[name].shape == shape and held[name].dtype == np.int8
            for name, shape in shapes.items()
        )
        if fits:
            return held
        return {name: np.full(shape, -1, np.int8) for name, shape in shapes.items()}

    def _pause(self, row: int, held: dict[str, np.ndarray]) -> None:
        """Save now and then; raises Stopped where it is asked for."""
        stopped = self.stop()
        if stopped or (row and row % SHARD == 0):
            write_arrays(self.path, **held)
        if stopped:
            raise Stopped(f"{self.meter.done} of {self.meter.total} subsets are done; {STOPPED}")

    def _of(self, kept: np.ndarray, train: Tensor, judged: Tensor) -> tuple[np.ndarray, np.ndarray]:
        """(right, same) with some concepts alone."""
        surrogate = self.vectors.surrogate
        seed = self.vectors.asked.learning.seed
        columns = torch.from_numpy(kept)
        if len(kept):
            epochs = epochs_of(len(self.train), REFIT_EPOCHS, REFIT_STEPS)
            surrogate = refit(surrogate, train, self.train, kept, epochs, seed)
        else:
            surrogate = Surrogate(
                surrogate.layer,
                surrogate.vectors[:, columns],
                surrogate.first[columns],
                surrogate.second,
                surrogate.beta,
            )
        return right_and_same(surrogate, judged[:, :, columns], self.photos, self.said)

    def _random(self, draw: int) -> np.ndarray:
        """bool (photos,): is the surrogate right with places of training photos as vectors?"""
        own, learning = self.vectors.surrogate, self.vectors.asked.learning
        seed = [learning.seed, CONTROLS, draw]
        vectors = random_places(own.layer, self.train.images, len(self.vectors), seed)
        fresh = Surrogate(own.layer, vectors, own.first, own.second, own.beta)
        train, judged = (
            all_scores(fresh, part, Meter(), self.stop) for part in (self.train, self.photos)
        )
        epochs = epochs_of(len(self.train), learning.epochs, learning.steps)
        every = np.arange(len(self.vectors))
        fitted = refit(fresh, train, self.train, every, epochs, learning.seed + draw, fresh=True)
        return right_and_same(fitted, judged, self.photos, self.said)[0]


def random_places(layer: Layer, images: np.ndarray, count: int, seed: list[int]) -> Tensor:
    """float32 (units, count): the units' activations at random places of photos, of length 1; only
    places where some unit is active."""
    rng = np.random.default_rng(seed)
    drawn = layer.activations(rng.choice(images, min(len(images), 4 * count), replace=False))
    places = drawn.permute(0, 2, 3, 1).reshape(-1, layer.shape[0])
    places = places[places.norm(dim=1) > 0]
    if len(places) < count:
        raise UnitscopeError(f"the maps of layer {layer.name!r} are empty nearly everywhere")
    chosen = places[torch.from_numpy(rng.choice(len(places), count, replace=False))]
    return torch.nn.functional.normalize(chosen, dim=1).T.contiguous()


def accuracy_interval(right: np.ndarray) -> tuple[float, float, float]:
    """(share, low, high) of bool (photos,), Wilson's 95 % interval."""
    low, high = mean_interval(right.astype(float))
    return float(right.mean()), float(low), float(high)
