"""Consistency, similarity and difference of learned and core concepts (Eqs. 3 to 8)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from scipy import sparse

from core.foundation.errors import UnitscopeError
from core.foundation.intervals import mean_interval
from core.foundation.registry import Registry, Row

METRICS = ("CM_FP", "DM_FP", "SM_FP", "CM_TP", "CM_TFP", "SM_TP", "SM_TFP")
"""The columns of the paper's Table 1, in its order."""


@dataclass(frozen=True)
class Metric(Row):
    """A metric of learned and core concepts.

    What `opens` names is called with the counts that :func:`overlaps` gives, and returns float64
    (images, scenes), NaN for a scene without core concepts.

    Attributes
    ----------
    sets : the columns of the tables that it fills: FP, the share of false predictions at which it
        is larger for the prediction than for the target (Eqs. 6 to 8); TP and TFP, its mean at
        the target over true and over false predictions.
    """

    sets: tuple[str, ...] = ("FP", "TP", "TFP")

    def __post_init__(self) -> None:
        super().__post_init__()
        if "_" in self.name:
            raise UnitscopeError(f"what follows a _ is an index in the tables: {self.name!r}")


KINDS: Registry[Metric] = Registry(
    "metric",
    "unitscope.metrics",
    (
        Metric("CM", "|LC ∩ CC| / |CC|", "consistency (Eq. 3)", "core.explain.metrics:cm"),
        Metric(
            "DM", "|LC \\ CC| / |CC|", "difference (Eq. 5)", "core.explain.metrics:dm", (), ("FP",)
        ),
        Metric("SM", "|LC ∩ CC| / |LC ∪ CC|", "similarity (Eq. 4)", "core.explain.metrics:sm"),
    ),
    Metric,
)


def columns(kind: str = "") -> tuple[str, ...]:
    """Columns of the tables: :data:`METRICS`, and behind them those of metrics that were added.

    kind : ``FP``, ``TP`` or ``TFP`` for these alone.

    >>> columns()[:7] == METRICS, columns("FP")[:3]
    (True, ('CM_FP', 'DM_FP', 'SM_FP'))
    """
    every = [f"{metric.name}_{of}" for metric in KINDS for of in metric.sets]
    named = [*METRICS, *(name for name in every if name not in METRICS)]
    return tuple(name for name in named if not kind or name.partition("_")[2] == kind)


def overlaps(
    learned: sparse.csr_array | np.ndarray, core: np.ndarray, to: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(|LC(x) ∩ CC(y)|, |LC(x)|, |CC(y)|): float64 (images, scenes), (images, 1), (scenes,).

    learned : bool (images, concepts); core : bool (scenes, concepts).
    to : int (scenes, concepts), where concepts are filtered: what stands for each concept in each
        scene. LC(x) and CC(y) are then what stands for their members in y, as sets, and the
        second result is (images, scenes).
    """
    if learned.shape[1] != core.shape[1]:
        raise UnitscopeError(
            f"learned concepts are over {learned.shape[1]} concepts, core concepts over "
            f"{core.shape[1]}: both must come from one run"
        )
    left = sparse.csr_array(learned).astype(np.float64)
    if to is not None:
        return _filtered(left, core, to)
    both = left @ core.T.astype(np.float64)
    size = np.asarray(left.sum(1)).reshape(-1, 1)
    return np.asarray(both), size, core.sum(1).astype(np.float64)


def _filtered(
    left: sparse.csr_array, core: np.ndarray, to: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    concepts = core.shape[1]
    both = np.zeros((left.shape[0], len(core)))
    size, core_size = np.zeros_like(both), np.zeros(len(core))
    for y, stands in enumerate(to):
        one_hot = sparse.csr_array(
            (np.ones(concepts), (np.arange(concepts), stands)), shape=(concepts, concepts)
        )
        merged = ((left @ one_hot) > 0).astype(np.float64)
        chosen = np.zeros(concepts)
        chosen[stands[core[y]]] = 1
        both[:, y] = merged @ chosen
        size[:, y] = merged.sum(1)
        core_size[y] = chosen.sum()
    return both, size, core_size


def consistency(
    learned: sparse.csr_array | np.ndarray, core: np.ndarray, to: np.ndarray | None = None
) -> np.ndarray:
    """CM(x, y) = |LC(x) ∩ CC(y)| / |CC(y)| (Eq. 3), float64 (images, scenes); NaN without CC.

    >>> consistency(np.array([[1, 1, 0]], bool), np.array([[1, 0, 1], [0, 0, 0]], bool))
    array([[0.5, nan]])
    """
    return cm(*overlaps(learned, core, to))


def similarity(
    learned: sparse.csr_array | np.ndarray, core: np.ndarray, to: np.ndarray | None = None
) -> np.ndarray:
    """SM(x, y) = |LC(x) ∩ CC(y)| / |LC(x) ∪ CC(y)| (Eq. 4), float64 (images, scenes).

    >>> similarity(np.array([[1, 1, 0]], bool), np.array([[1, 0, 1]], bool)).round(3)
    array([[0.333]])
    """
    return sm(*overlaps(learned, core, to))


def difference(
    learned: sparse.csr_array | np.ndarray, core: np.ndarray, to: np.ndarray | None = None
) -> np.ndarray:
    """DM(x, y) = |LC(x) \\ CC(y)| / |CC(y)| (Eq. 5), float64 (images, scenes).

    >>> difference(np.array([[1, 1, 0]], bool), np.array([[1, 0, 1]], bool))
    array([[0.5]])
    """
    return dm(*overlaps(learned, core, to))


def cm(both: np.ndarray, size: np.ndarray, core_size: np.ndarray) -> np.ndarray:
    """CM from the counts of :func:`overlaps` (Eq. 3)."""
    metric: np.ndarray = both / _or_nan(core_size)
    return metric


def sm(both: np.ndarray, size: np.ndarray, core_size: np.ndarray) -> np.ndarray:
    """SM from the counts of :func:`overlaps` (Eq. 4)."""
    metric: np.ndarray = both / (size + _or_nan(core_size) - both)
    return metric


def dm(both: np.ndarray, size: np.ndarray, core_size: np.ndarray) -> np.ndarray:
    """DM from the counts of :func:`overlaps` (Eq. 5)."""
    metric: np.ndarray = (size - both) / _or_nan(core_size)
    return metric


def _or_nan(size: np.ndarray) -> np.ndarray:
    return np.where(size > 0, size, np.nan)


@dataclass(frozen=True)
class Estimate:
    """A figure in [0, 1] with its uncertainty.

    low, high : 95 % interval over images (:func:`core.foundation.intervals.mean_interval`; of
    shares it is Wilson's); NaN where n is 0. chance : the mean of the figure when core
    concept sets are handed to other scenes at random; chance_low, chance_high : the middle
    95 % of those draws. n : images it is a mean over.
    """

    value: float
    low: float
    high: float
    chance: float
    chance_low: float
    chance_high: float
    n: int


@dataclass(frozen=True)
class Explained:
    """Eqs. 6 to 8 over a set of images.

    figures : by name of :func:`columns`, and ``DM_FP_reversed`` (DM to the target larger than
        to the prediction, the other reading of "more different from the target").
    left_out : reason → images that did not count.
    """

    figures: dict[str, Estimate]
    left_out: dict[str, int] = field(default_factory=dict)


def explain_predictions(
    learned: sparse.csr_array | np.ndarray,
    core: np.ndarray,
    predicted: np.ndarray,
    target: np.ndarray,
    *,
    to: np.ndarray | None = None,
    shuffles: int = 200,
    seed: int = 0,
) -> Explained:
    """False and true prediction explanation (Eqs. 6 to 8).

    Parameters
    ----------
    learned : bool (images, concepts), LC(x).
    core : bool (scenes, concepts), CC(y).
    predicted, target : int (images,), scene of the prediction and the annotation; −1 where
        the prediction is no scene of the dataset, or the scene is unknown.
    to : int (scenes, concepts), filtered concepts; see :func:`overlaps`.
    shuffles : random exchanges of core concept sets between the scenes that have any.

    CM_FP = share of false predictions with CM(x, y_p) > CM(x, y_t), and so for DM and SM: strict,
    ties are failures. CM_TP, SM_TP = mean over true predictions at the target; CM_TFP, SM_TFP =
    the same over false ones. An image counts only if both its scenes have core concepts and
    LC(x) is not empty.
    """
    has_core = np.asarray(core.any(1))
    keep, left_out = _that_count(learned, has_core, predicted, target)
    counted = overlaps(learned, core, to)
    matrices = {metric.name: metric.load()(*counted)[keep] for metric in KINDS}
    p, t = predicted[keep], target[keep]
    wrong = p != t
    own = np.arange(len(core))
    exchanges = _exchanged_owners(has_core, shuffles, seed)
    figures = {}
    for name in (*columns(), "DM_FP_reversed"):
        matrix = matrices[name.partition("_")[0]]
        chosen = wrong == (not name.endswith("_TP"))
        values = _per_image(name, matrix, own[p], own[t])[chosen]
        null = [
            _per_image(name, matrix, owner[p], owner[t])[chosen].mean() if len(values) else np.nan
            for owner in exchanges
        ]
        figures[name] = _estimate(values, null)
    return Explained(figures, left_out)


def _that_count(
    learned: sparse.csr_array | np.ndarray,
    has_core: np.ndarray,
    predicted: np.ndarray,
    target: np.ndarray,
) -> tuple[np.ndarray, dict[str, int]]:
    """(bool (images,) which images count, reason → how many do not, by the first that holds)."""
    filled = np.asarray(sparse.csr_array(learned).sum(1)).ravel() > 0
    reasons: Mapping[str, np.ndarray] = {
        "scene unknown": target < 0,
        "prediction is no scene of the dataset": predicted < 0,
        "true scene has no core concepts": ~has_core[target],
        "predicted scene has no core concepts": ~has_core[predicted],
        "no learned concepts": ~filled,
    }
    keep = np.ones(len(target), bool)
    left_out = {}
    for reason, here in reasons.items():
        left_out[reason] = int((here & keep).sum())
        keep &= ~here
    return keep, left_out


def _exchanged_owners(has_core: np.ndarray, shuffles: int, seed: int) -> list[np.ndarray]:
    """int (scenes,) a draw: whose core concepts each scene gets, among scenes that have any."""
    rng = np.random.default_rng(seed)
    owners = np.flatnonzero(has_core)
    exchanges = []
    for _ in range(shuffles):
        owner = np.arange(len(has_core))
        owner[owners] = rng.permutation(owners)
        exchanges.append(owner)
    return exchanges


def _per_image(
    name: str, matrix: np.ndarray, predicted: np.ndarray, target: np.ndarray
) -> np.ndarray:
    """What a column is the mean of, float64 (images,): the metric at the target, or for FP whether
    it is larger at the prediction (at the target, where the column is reversed).

    matrix : (images, scenes), the metric. predicted, target : int (images,), columns of it.
    """
    rows = np.arange(len(matrix))
    at_target: np.ndarray = matrix[rows, target]
    if "_FP" not in name:
        return at_target
    at_prediction: np.ndarray = matrix[rows, predicted]
    more: np.ndarray = at_prediction > at_target
    if name.endswith("reversed"):
        more = at_target > at_prediction
    return more.astype(float)


def _estimate(values: np.ndarray, null: Sequence[float]) -> Estimate:
    """The mean of values with its interval; null : the same mean by chance, one a draw."""
    if not len(values):
        nan = float("nan")
        return Estimate(nan, nan, nan, nan, nan, nan, 0)
    low, high = mean_interval(values)
    drawn = null or [np.nan]
    chance_low, chance_high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(
        float(values.mean()),
        float(low),
        float(high),
        float(np.mean(drawn)),
        float(chance_low),
        float(chance_high),
        len(values),
    )
