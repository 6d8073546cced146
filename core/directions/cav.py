"""Concept activation vectors, and testing with them (TCAV).

Kim et al., "Interpretability Beyond Feature Attribution: Quantitative Testing with Concept
Activation Vectors", ICML 2018. A CAV of concept C in a layer is the normal of a linear classifier
between the layer's activations of examples of C and of random ones, pointing to C. With f(x) the
activations and h_k the logit of class k behind the layer,

    S_{C,k}(x) = ∇h_k(f(x)) · v_C                                         (Eq. 1)
    TCAV_{C,k} = share of the photos x of class k with S_{C,k}(x) > 0     (Eq. 2)

Their code takes the gradient of the loss and counts S < 0, which is the same sign but for the
logits of other classes: log p_k instead of h_k (:data:`core.directions.layer.OF`). Here h_k is the
default, as in the paper. Where one linear layer reads the means of the maps, ∇h_k is the same for
every photo, so that the score of one CAV is 0 or 1; log p_k depends on the photo.

A CAV can always be learned, of random photos too. So it is learned against several random sets,
and the scores are tested:

* `p_half`: two-sided t-test of the scores against 1/2 (the paper, section 3.6)
* `p_random`: two-sided t-test against scores of random sets held against random sets (their code)
* `p_null`: how often a *random concept*, as many random photos, is as far from 1/2 in its mean
  score over as many random sets. The two t-tests take the concept's own examples as given: of a
  fixed set of photos, random or not, the mean score differs from 1/2 by chance, and more runs make
  that significant. How many random concepts pass each t-test is part of the result.

Everything is computed from inner products of examples, which is exact: stochastic gradient descent
only ever adds examples to the vector, so that in coordinates of the space that they span it takes
the same steps.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.special import stdtr
from scipy.stats import rankdata

from core.attribution.case import Opened
from core.attribution.regions import NoRegion, regions_of
from core.directions.conceptshap import (
    VERSION,
    class_of_scene,
    photos_of,
)
from core.directions.layer import LOGIT, OF, Layer
from core.directions.patches import maps_of, patch_of
from core.directions.vectors import Photos
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.intervals import Z, mean_interval, spread
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.labelling.probe import Probe, held_out, open_probe
from core.runs.arrays import read_arrays, write_arrays
from core.runs.run_file import derived

ALPHA, ITERATIONS, TOLERANCE = 0.01, 1000, 1e-3
"""Of scikit-learn's SGDClassifier (hinge loss, L2): `CAV.default_hparams` of their code."""

HELD = 0.33
"""Share of the examples that a CAV's accuracy is measured on (code)."""

RUNS = 20
"""Random counterparts of a concept: as ACE has it. The paper says "typically 500"; its code's
default is 5."""

RANDOMS = 400
"""Random concepts, for `p_null`: the least it can be is 1 / 401."""

SIZES = (10, 15, 20, 30, 50, 70, 100)
"""A concept's set is cut to the next of these sizes, so that concepts share their random ones."""

POOL = 1000
"""Random examples that counterparts are drawn from, at most."""

LEVEL, HYPOTHESES = 0.05, 2
"""p < 0.05 / m is significant, with m = 2 at least (the paper's Bonferroni correction), and the
number of classes asked about where that is more."""

SMALLEST = 0.01
"""Share of a photo that a region has at least, to be an example."""

PHOTOS, REGIONS = "photos", "regions"
BY = (PHOTOS, REGIONS)
"""What examples are: whole photos that show the concept, held against photos that do not; or its
regions, cut out (:mod:`core.directions.patches`), held against regions of other concepts."""

BATCH = 64
"""Photos whose sensitivity is computed at once."""


@dataclass(frozen=True)
class Asked:
    """What is tested.

    Attributes
    ----------
    by : of :data:`BY`. of : of :data:`core.directions.layer.OF`.
    runs, randoms : see :data:`RUNS` and :data:`RANDOMS`. most : examples of a set at most.
    learn, judge : splits; by default as :func:`core.labelling.probe.held_out`.
    """

    by: str = PHOTOS
    of: str = LOGIT
    runs: int = RUNS
    randoms: int = RANDOMS
    most: int = SIZES[-1]
    learn: tuple[str, ...] = ()
    judge: tuple[str, ...] = ()
    seed: int = 0

    def __post_init__(self) -> None:
        for what, given, known in (("kind of examples", self.by, BY), ("derivative", self.of, OF)):
            if given not in known:
                raise unknown(what, given, known)
        if self.runs < 2 or self.randoms < 1 or self.most < SIZES[0]:
            raise UnitscopeError(
                f"at least 2 random sets, 1 random concept and {SIZES[0]} examples are needed"
            )


# -- vectors ----------------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Examples:
    """Activations of examples: float32 (examples, values), each map one row."""

    rows: np.ndarray

    @cached_property
    def products(self) -> np.ndarray:
        """float64 (examples, examples): inner products of every two."""
        n, values = self.rows.shape
        total = np.zeros((n, n))
        for start in range(0, values, 8192):
            part = self.rows[:, start : start + 8192].astype(np.float64)
            total += part @ part.T
        return total


@dataclass(frozen=True, eq=False)
class Cavs:
    """CAVs of one concept against several random sets.

    Attributes
    ----------
    weights : float64 (runs, examples): each CAV, of length 1, as a sum of examples.
    accuracy : float64 (runs,), on the examples held out.
    """

    weights: np.ndarray
    accuracy: np.ndarray


def cavs(examples: Examples, own: np.ndarray, others: Sequence[np.ndarray], seed: int) -> Cavs:
    """CAVs of the examples `own` (rows) against each set of rows of `others`; the larger of two
    sets is cut to the size of the smaller (code)."""
    weights = np.zeros((len(others), len(examples.rows)))
    accuracy = np.empty(len(others))
    for run, other in enumerate(others):
        n = min(len(own), len(other))
        rows = np.concatenate([own[:n], other[:n]])
        shows = np.arange(2 * n) < n
        part, accuracy[run] = _fit(examples.products[np.ix_(rows, rows)], shows, seed + run)
        # An example that is in both sets counts twice, so that its weights are added.
        np.add.at(weights[run], rows, part)
    length = np.sqrt(np.einsum("re,ef,rf->r", weights, examples.products, weights))
    return Cavs(weights / np.maximum(length, 1e-300)[:, None], accuracy)


def _fit(products: np.ndarray, shows: np.ndarray, seed: int) -> tuple[np.ndarray, float]:
    """(weights float64 (examples,), accuracy on those held out) of a linear classifier.

    products : inner products of the examples. shows : bool (examples,), which are of the concept.
    """
    from sklearn.linear_model import SGDClassifier
    from sklearn.model_selection import train_test_split

    train, held = train_test_split(
        np.arange(len(shows)), test_size=HELD, stratify=shows, random_state=seed
    )
    values, axes = np.linalg.eigh(products[np.ix_(train, train)])
    there = values > values.max() * 1e-12
    axes, lengths = axes[:, there], np.sqrt(values[there])
    model = SGDClassifier(alpha=ALPHA, max_iter=ITERATIONS, tol=TOLERANCE, random_state=seed)
    model.fit(axes * lengths, shows[train])
    weights = np.zeros(len(shows))
    weights[train] = (axes / lengths) @ model.coef_[0]
    says = products[held] @ weights + model.intercept_[0] > 0
    return weights, float((says == shows[held]).mean())


def toward(layer: Layer, photos: Photos, examples: Examples, of: str) -> np.ndarray:
    """∇h_k(f(x)) · example, for every photo with its own class and every example: float64 (photos,
    examples). S of Eq. 1 for a CAV is its weights times this."""
    out = np.empty((len(photos), len(examples.rows)))
    for start in range(0, len(photos), BATCH):
        some = slice(start, start + BATCH)
        gradients = layer.gradients(photos.images[some], photos.classes[some], of).flatten(1)
        out[some] = gradients.numpy() @ examples.rows.T
    return out


# -- tests ------------------------------------------------------------------------------------


def t_test(scores: np.ndarray, against: float | np.ndarray) -> float:
    """p-value of a two-sided t-test of scores against a value, or against other scores (Student's,
    of equal variances). Scores without any spread are either equal to it (1) or not (0).

    >>> round(t_test(np.array([0.6, 0.7, 0.8]), 0.5), 4)
    0.0742
    >>> t_test(np.ones(5), 0.5), t_test(np.ones(5), np.ones(3))
    (0.0, 1.0)
    """
    other = np.atleast_1d(np.asarray(against, np.float64))
    n, m = len(scores), len(other)
    apart = abs(float(scores.mean() - other.mean()))
    squares = float(((scores - scores.mean()) ** 2).sum() + ((other - other.mean()) ** 2).sum())
    freedom = n - 1 if m == 1 else n + m - 2
    error = np.sqrt(squares / freedom * (1 / n + (0 if m == 1 else 1 / m)))
    if error < 1e-12:
        return float(apart < 1e-12)
    return float(2 * stdtr(freedom, -apart / error))


@dataclass(frozen=True)
class Score:
    """TCAV of a concept for one class.

    Attributes
    ----------
    scene : of the dataset. photos : of it that are judged.
    score : mean over runs. low, high : 95 % interval over photos.
    p_half, p_random, p_null : see the module.
    significant : is `p_half` below the level of the paper? beyond : is `p_null`?
    """

    scene: str
    photos: int
    score: float
    low: float
    high: float
    p_half: float
    p_random: float
    p_null: float
    significant: bool
    beyond: bool


@dataclass(frozen=True, eq=False)
class Tcav:
    """TCAV of one concept in a layer.

    Attributes
    ----------
    concept : its name. asked, splits : see :class:`Asked`. examples : of the concept.
    accuracy : mean of its CAVs on examples held out, and its interval over runs (Student's t).
    random_accuracy : mean of the CAVs of random concepts.
    auc : how well a CAV ranks the judged photos that show the concept above those that do not, and
        its interval (Hanley and McNeil 1982); NaN where all or none do.
    scores : a row a scene. passed : test → share of random concepts that pass it, the mean over
        these scenes: what the share of false alarms is.
    constant : is the derivative the same for every photo, so that a CAV's score is 0 or 1?
    """

    concept: str
    layer: str
    asked: Asked
    splits: tuple[tuple[str, ...], tuple[str, ...]]
    examples: int
    accuracy: tuple[float, float, float]
    random_accuracy: float
    auc: tuple[float, float, float]
    scores: tuple[Score, ...]
    passed: dict[str, float]
    constant: bool

    def frame(self) -> pd.DataFrame:
        """The scores, the largest first."""
        frame = pd.DataFrame([asdict(one) for one in self.scores])
        return frame.sort_values(["score", "scene"], ascending=[False, True], ignore_index=True)


def tcav(
    opened: Opened,
    concept: str,
    scenes: Sequence[str] = (),
    asked: Asked | None = None,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> Tcav:
    """TCAV of a concept for some scenes (all that judged photos show, where none is named).

    What was computed is kept beside the run, random concepts for all concepts with as many
    examples.

    Raises UnitscopeError for an unknown concept, scene or split, for too few examples with or
    without the concept, and where the layer has no stored maps or no frozen head; Stopped where
    `stop` says so.
    """
    asked = asked or Asked()
    work = Work(Layer.of(opened), asked, Meter(progress, beat), stop)
    classes = {name: class_of_scene(opened, name) for name in scenes} or work.every_scene()
    number = work.concept(concept)
    own = work.of_concept(number)
    null = work.null(int(own["examples"]))
    tests = max(HYPOTHESES, len(classes))
    scores, passed = [], {"p_half": [], "p_random": []}  # type: tuple[list[Score], dict[str, list[float]]]
    for scene, k in classes.items():
        rows = np.flatnonzero(work.judged.classes == k)
        if not len(rows):
            raise UnitscopeError(
                f"no photo of {', '.join(work.splits[1])} shows scene {scene!r}: its class has "
                "no score"
            )
        random = null["scores"][:, :, work.class_row(k)]
        scores.append(_score(scene, own["signs"][:, rows], random, tests))
        each = [_tests(one, random, tests) for one in random]
        for test, held in passed.items():
            held.append(float(np.mean([p[test] < LEVEL / tests for p in each])))
    return Tcav(
        work.probe.names[number],
        work.layer.name,
        asked,
        work.splits,
        int(own["examples"]),
        spread(own["accuracy"]),
        float(null["accuracy"].mean()),
        tuple(float(x) for x in own["auc"]),  # type: ignore[arg-type]
        tuple(scores),
        {test: float(np.mean(held)) for test, held in passed.items()},
        asked.of == LOGIT and work.layer.head is not None,
    )


def _tests(scores: np.ndarray, random: np.ndarray, tests: int) -> dict[str, float]:
    """p-values of one concept's scores (runs,) beside those of random concepts (randoms, runs)."""
    away = np.abs(random.mean(1) - 0.5)
    reached = (away >= abs(scores.mean() - 0.5) - 1e-12).sum()
    return {
        "p_half": t_test(scores, 0.5),
        "p_random": t_test(scores, random[:, 0]),
        "p_null": float((1 + reached) / (1 + len(random))),
    }


def _score(scene: str, signs: np.ndarray, random: np.ndarray, tests: int) -> Score:
    """signs : bool (runs, photos). random : float64 (randoms, runs), scores of random concepts."""
    low, high = mean_interval(signs.mean(0))
    p = _tests(signs.mean(1), random, tests)
    return Score(
        scene,
        signs.shape[1],
        float(signs.mean()),
        max(0.0, float(low)),
        min(1.0, float(high)),
        p["p_half"],
        p["p_random"],
        p["p_null"],
        bool(p["p_half"] < LEVEL / tests),
        bool(p["p_null"] < LEVEL / tests),
    )


def auc_interval(scores: np.ndarray, shows: np.ndarray) -> tuple[float, float, float]:
    """Area under the ROC curve with its 95 % interval (Hanley and McNeil, Radiology 143, 1982); NaN
    where all or none show it.

    >>> auc_interval(np.array([3.0, 2.0, 1.0, 0.0]), np.array([True, True, False, False]))[0]
    1.0
    """
    yes, no = int(shows.sum()), int((~shows).sum())
    if not yes or not no:
        return float("nan"), float("nan"), float("nan")
    rank = rankdata(scores)
    area = (rank[shows].sum() - yes * (yes + 1) / 2) / (yes * no)
    first, second = area / (2 - area), 2 * area**2 / (1 + area)
    square = area * (1 - area) + (yes - 1) * (first - area**2) + (no - 1) * (second - area**2)
    half = Z * np.sqrt(max(0.0, square) / (yes * no))
    return float(area), float(max(0.0, area - half)), float(min(1.0, area + half))


# -- the work ---------------------------------------------------------------------------------

REGION_POOL = 400
"""Random regions that counterparts are drawn from, at most: each costs a forward pass."""


@dataclass(frozen=True, eq=False)
class _Fitted:
    """CAVs of one concept, with what they are sums of. size : examples of the concept."""

    examples: Examples
    cavs: Cavs
    size: int


class Work:
    """One layer at work: its pool of random examples, and what is kept."""

    def __init__(self, layer: Layer, asked: Asked, meter: Meter, stop: Stop):
        self.layer, self.asked, self.meter, self.stop = layer, asked, meter, stop
        self.splits = held_out(layer.run, asked.learn, asked.judge, "concepts")
        self.probe = open_probe(layer.run, layer.name, self.splits[0])

    @cached_property
    def judged(self) -> Photos:
        """The photos that sensitivity is judged by."""
        return photos_of(self.layer.opened, self.splits[1])

    @cached_property
    def _classes(self) -> np.ndarray:
        return np.unique(self.judged.classes)

    def class_row(self, k: int) -> int:
        """Place of a class among those of the judged photos."""
        return int(np.searchsorted(self._classes, k))

    def every_scene(self) -> dict[str, int]:
        """Scene → class, of every scene that a judged photo shows."""
        rows = self.layer.run.sql("SELECT name, class FROM scenes WHERE class IS NOT NULL")
        pairs = zip(rows["name"], rows["class"].astype(int), strict=True)
        return {name: k for name, k in pairs if k in self._classes}

    def concept(self, name: str) -> int:
        """Id of a concept by its name. Raises UnitscopeError for an unknown one."""
        if name not in self.probe.ids:
            raise unknown("concept", name, self.probe.ids)
        return self.probe.ids[name]

    # -- what is kept -------------------------------------------------------------------------

    def _path(self, name: str, more: Sequence[object]) -> Path:
        asked = {key: value for key, value in asdict(self.asked).items() if key != "judge"}
        facts = [self.layer.name, asked, self.splits, POOL, REGION_POOL, *more]
        return derived(self.layer.run, name, [*facts, versions_of(VERSION)], "npz")

    def of_concept(self, number: int) -> dict[str, np.ndarray]:
        """signs bool (runs, judged photos), accuracy (runs,), auc (3,), examples () of a concept;
        computed once and kept."""
        path = self._path("tcav", [number])
        shapes = {
            "signs": ((self.asked.runs, len(self.judged)), "b"),
            "accuracy": ((self.asked.runs,), "f"),
            "auc": ((3,), "f"),
            "examples": ((), "i"),
        }
        held = _kept(path, shapes)
        if held is None:
            fitted = self._fit(number)
            signs = self._signs(fitted.examples, fitted.cavs.weights)
            held = {
                "signs": signs,
                "accuracy": fitted.cavs.accuracy,
                "auc": np.array(self._auc(fitted, number)),
                "examples": np.array(fitted.size),
            }
            write_arrays(path, **held)
        return held

    def direction(self, number: int) -> tuple[np.ndarray, float] | None:
        """(the mean of a concept's CAVs, float32 (units, height, width) of length 1; their mean
        accuracy); None where it has too few examples. Kept."""
        path = self._path("cav", [number])
        held = _kept(path, {"vector": (self.layer.shape, "f"), "accuracy": ((), "f")})
        if held is None:
            try:
                fitted = self._fit(number)
            except TooFew:
                return None
            mean = fitted.cavs.weights.mean(0) @ fitted.examples.rows
            vector = (mean / max(float(np.linalg.norm(mean)), 1e-30)).astype(np.float32)
            held = {
                "vector": vector.reshape(self.layer.shape),
                "accuracy": np.array(fitted.cavs.accuracy.mean()),
            }
            write_arrays(path, **held)
        return held["vector"], float(held["accuracy"])

    def null(self, size: int) -> dict[str, np.ndarray]:
        """scores float64 (randoms, runs, classes of the judged photos) and accuracy (randoms, runs)
        of random concepts of some size; computed once and kept."""
        asked, pool = self.asked, len(self._pool_rows)
        size = min(size, pool // 2)
        path = self._path("tcav-null", [size])
        shapes = {
            "scores": ((asked.randoms, asked.runs, len(self._classes)), "f"),
            "accuracy": ((asked.randoms, asked.runs), "f"),
        }
        held = _kept(path, shapes)
        if held is None:
            examples = Examples(self._pool)
            every = []
            self.meter.start("random concepts", asked.randoms, of="concepts")
            for draw in range(asked.randoms):
                if self.stop():
                    raise Stopped(STOPPED)
                rng = np.random.default_rng([asked.seed, size, draw])
                order = rng.permutation(pool)
                others = [rng.permutation(order[size:])[:size] for _ in range(asked.runs)]
                every.append(cavs(examples, order[:size], others, _seed(rng)))
                self.meter.step()
            signs = self._signs(examples, np.concatenate([one.weights for one in every]))
            of_class = [self.judged.classes == k for k in self._classes]
            scores = np.stack([signs[:, rows].mean(1) for rows in of_class], 1)
            held = {
                "scores": scores.reshape(asked.randoms, asked.runs, -1),
                "accuracy": np.stack([one.accuracy for one in every]),
            }
            write_arrays(path, **held)
        return held

    def _signs(self, examples: Examples, weights: np.ndarray) -> np.ndarray:
        """bool (CAVs, judged photos): is the sensitivity positive?"""
        signs: np.ndarray = weights @ toward(self.layer, self.judged, examples, self.asked.of).T > 0
        return signs

    def _auc(self, fitted: _Fitted, number: int) -> tuple[float, float, float]:
        """How well the mean CAV ranks judged photos; nothing of regions, which are no photos."""
        if self.asked.by == REGIONS:
            return float("nan"), float("nan"), float("nan")
        probe = open_probe(self.layer.run, self.layer.name, self.splits[1])
        direction = fitted.cavs.weights.mean(0) @ fitted.examples.rows
        found = np.empty(len(probe))
        for start in range(0, len(probe), BATCH):
            maps = self.layer.activations(probe.numbers[start : start + BATCH])
            found[start : start + BATCH] = maps.flatten(1).numpy() @ direction
        return auc_interval(found, _shows(probe, number))

    # -- examples -----------------------------------------------------------------------------

    def _fit(self, number: int) -> _Fitted:
        """CAVs of a concept. Raises TooFew where there are too few examples with or without it."""
        if self.stop():
            raise Stopped(STOPPED)
        rng = np.random.default_rng([self.asked.seed, number])
        examples, own, without = (
            self._photos(number, rng) if self.asked.by == PHOTOS else self._regions(number, rng)
        )
        size = max(size for size in SIZES if size <= min(len(own), len(without)))
        others = [rng.permutation(without)[:size] for _ in range(self.asked.runs)]
        return _Fitted(examples, cavs(examples, own[:size], others, _seed(rng)), size)

    def _enough(self, number: int, with_it: int, without: int) -> None:
        if min(with_it, without) < SIZES[0]:
            name, where = self.probe.names[number], ", ".join(self.splits[0])
            few = f"{with_it} with it" if with_it < SIZES[0] else f"{without} without it"
            raise TooFew(
                f"concept {name!r} has too few examples in {where}: {few}, and {SIZES[0]} are "
                "needed"
            )

    @cached_property
    def _pool_rows(self) -> np.ndarray:
        """Of photos: rows of the probe. Of regions: ids of their concepts."""
        rng = np.random.default_rng([self.asked.seed, POOL])
        order = rng.permutation(len(self.probe))
        if self.asked.by == PHOTOS:
            return np.sort(order[:POOL])
        return self._pool_regions[0]

    @cached_property
    def _pool(self) -> np.ndarray:
        """float32 (pool, values), activations of the random examples."""
        if self.asked.by == PHOTOS:
            return self._activations(self._pool_rows)
        return self._pool_regions[1]

    def _activations(self, rows: np.ndarray) -> np.ndarray:
        found: np.ndarray = self.layer.activations(self.probe.numbers[rows]).flatten(1).numpy()
        return found

    def _photos(
        self, number: int, rng: np.random.Generator
    ) -> tuple[Examples, np.ndarray, np.ndarray]:
        """(examples, places among them that show a concept, places of the pool that do not)."""
        shows = _shows(self.probe, number)
        pool = self._pool_rows
        without = pool[~shows[pool]]
        self._enough(number, int(shows.sum()), len(without))
        own = rng.permutation(np.flatnonzero(shows))[: self.asked.most]
        rows = np.union1d(own, without)
        examples = Examples(self._activations(rows))
        return examples, np.searchsorted(rows, own), np.searchsorted(rows, without)

    @cached_property
    def _pool_regions(self) -> tuple[np.ndarray, np.ndarray]:
        """(ids of concepts, activations) of random regions, one a photo in turn."""
        rng = np.random.default_rng([self.asked.seed, REGION_POOL])
        patches, ids = [], []
        order = rng.permutation(len(self.probe))
        rounds = 1 + REGION_POOL // max(1, len(order))
        for row in np.tile(order, rounds)[:REGION_POOL]:
            found = self._regions_of(int(row))
            if found:
                concept, patch = found[int(rng.integers(len(found)))]
                ids.append(concept)
                patches.append(patch)
        if not patches:
            raise UnitscopeError("no photo has a region that is large enough to be cut out")
        return np.array(ids), self._cut(patches, "random regions")

    def _regions(
        self, number: int, rng: np.random.Generator
    ) -> tuple[Examples, np.ndarray, np.ndarray]:
        """The same, of regions cut out."""
        own: list[np.ndarray] = []
        for row in rng.permutation(np.flatnonzero(_shows(self.probe, number))):
            own += [patch for concept, patch in self._regions_of(int(row), number)]
            if len(own) >= self.asked.most:
                break
        without = np.flatnonzero(self._pool_rows != number)
        self._enough(number, len(own), len(without))
        cut = self._cut(own, "regions")
        pool = self._pool
        return Examples(np.concatenate([pool, cut])), len(pool) + np.arange(len(cut)), without

    def _regions_of(self, row: int, only: int = 0) -> list[tuple[int, np.ndarray]]:
        """(concept, patch) of every region of a photo that is large enough, or of one concept's."""
        image = int(self.probe.numbers[row])
        photo = self.layer.opened.photos(np.array([image]))[0]
        try:
            regions = regions_of(self.layer.run, image, photo.shape[:2])
        except NoRegion:
            return []
        rows = np.flatnonzero(regions.area >= SMALLEST)
        return [
            (int(regions.ids[k]), patch_of(photo, regions.masks[k]))
            for k in rows
            if only in (0, int(regions.ids[k]))
        ]

    def _cut(self, patches: list[np.ndarray], what: str) -> np.ndarray:
        self.meter.start(what, len(patches), of="patches")
        maps = maps_of(self.layer.opened, np.stack(patches), self.meter, self.stop)
        return maps.reshape(len(maps), -1)


class TooFew(UnitscopeError):
    """A concept has too few examples for a CAV."""


def _shows(probe: Probe, number: int) -> np.ndarray:
    """bool (photos,): which photos of a probe show a concept."""
    shows: np.ndarray = probe.shares.tocsc()[:, [number]].toarray()[:, 0] > 0
    return shows


def _seed(rng: np.random.Generator) -> int:
    return int(rng.integers(2**31 - 1))


def _kept(
    path: Path, shapes: dict[str, tuple[tuple[int, ...], str]]
) -> dict[str, np.ndarray] | None:
    """Arrays that were kept, where they have these shapes and kinds of numbers."""
    held = read_arrays(path)
    if held is None:
        return None
    for name, (shape, kind) in shapes.items():
        if name not in held or held[name].shape != shape or held[name].dtype.kind != kind:
            return None
    return held
