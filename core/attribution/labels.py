"""Labels that are suspected to be wrong, by confident learning.

Northcutt, Jiang and Chuang, "Confident Learning: Estimating Uncertainty in Dataset Labels", JAIR 70
(2021); the rule is that of their package cleanlab (``filter_by="confident_learning"``). With
p̂(j; x) the probability of scene j by a classifier that did not see x, and ỹ the label,

    t_j = mean of p̂(j; x) over the x labelled j                     (the self-confidence)
    j*(x) = the j of largest p̂(j; x) among those with p̂(j; x) ≥ t_j

one source suspects a label where j*(x) exists and is not ỹ, and ỹ is not the likeliest scene
either. There are two sources, each a cross-validated logistic regression: the network's pooled
``features``, and ``annotations``, which concepts the photo's masks hold at all. The features alone
are no witness: where the network is surely wrong, so is any classifier on them, and on `rooms`,
whose labels are right by construction, they suspect most wrong answers (docs/reliance.md). So a
label counts as suspected where **both** sources suspect it and say the same scene.

How far that can be trusted is measured by :func:`flips`: labels are made wrong at random, and what
is suspected is compared with them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from core.foundation.errors import UnitscopeError
from core.foundation.intervals import spread

FOLDS = 5
"""Parts of the cross-validation; scenes with fewer photos are left out."""

FLIPPED = 0.05
"""Share of the labels that :func:`flips` makes wrong."""

ROUNDS = 5
"""How often it does so."""


@dataclass(frozen=True, eq=False)
class Suspicion:
    """What cross-validated classifiers say of the labels of some images.

    Attributes
    ----------
    classes : int64, classes with enough photos. names : of them.
    probability : float64 (images, classes), of a classifier that did not see the image; NaN where
        its label is none of `classes`.
    likeliest : int64 (images,), j*(x), or the likeliest class where there is none; −1 for NaN.
    suspected : bool (images,).
    """

    classes: np.ndarray
    names: tuple[str, ...]
    probability: np.ndarray
    likeliest: np.ndarray
    suspected: np.ndarray

    def scene(self, at: int) -> str:
        """Name of what the classifier says of an image; empty where it says nothing."""
        k = int(self.likeliest[at])
        return "" if k < 0 else self.names[int(np.searchsorted(self.classes, k))]


@dataclass(frozen=True)
class FlipCheck:
    """How well one source finds labels that were made wrong; Student's 95 % intervals over rounds.

    source : ``features``, ``annotations`` or ``both``. labels, flipped : how many there are, and
    are flipped in each round. suspected : before any was flipped. precision, recall : (mean, low,
    high). fresh : precision among what is suspected after the flips and was not before.
    """

    source: str
    labels: int
    flipped: int
    suspected: int
    precision: tuple[float, float, float]
    recall: tuple[float, float, float]
    fresh: tuple[float, float, float]


def suspect(
    features: np.ndarray, given: np.ndarray, names: Sequence[str], seed: int = 0
) -> Suspicion:
    """Suspect labels by confident learning; see the module.

    Parameters
    ----------
    features : float (images, units), pooled. given : int (images,), class of each label, −1 for
        none. names : of the network's classes. seed : of the folds.

    Raises UnitscopeError where fewer than two classes have :data:`FOLDS` photos.
    """
    given = np.asarray(given, np.int64)
    counts = np.bincount(given[given >= 0], minlength=1)
    classes = np.flatnonzero(counts >= FOLDS)
    if len(classes) < 2:
        raise UnitscopeError(
            f"labels are checked by {FOLDS}-fold cross-validation, and fewer than two scenes have "
            f"{FOLDS} photos"
        )
    kept = np.isin(given, classes)
    probability = np.full((len(given), len(classes)), np.nan)
    probability[kept] = _cross_validated(features[kept], given[kept], seed)
    suspected, likeliest = confident(probability[kept], np.searchsorted(classes, given[kept]))
    flags, best = np.zeros(len(given), bool), np.full(len(given), -1)
    flags[kept], best[kept] = suspected, classes[likeliest]
    return Suspicion(classes, tuple(names[int(k)] for k in classes), probability, best, flags)


def _cross_validated(features: np.ndarray, given: np.ndarray, seed: int) -> np.ndarray:
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import StratifiedKFold, cross_val_predict
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=seed)
    found = cross_val_predict(model, features, given, cv=folds, method="predict_proba")
    return np.asarray(found, np.float64)


def confident(probability: np.ndarray, given: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The rule itself, on out-of-sample probabilities (images, classes) and labels (images,).

    Returns (suspected, likeliest): bool and int64 (images,). Every class needs a label.

    >>> p = np.array([[0.9, 0.1], [0.8, 0.2], [0.1, 0.9], [0.95, 0.05]])
    >>> confident(p, np.array([0, 0, 1, 1]))[0].tolist()
    [False, False, False, True]
    """
    at = np.arange(len(given))
    own = probability[at, given]
    threshold = np.array([own[given == j].mean() for j in range(probability.shape[1])])
    above = np.where(probability >= threshold, probability, -1.0)
    some = (above >= 0).any(1)
    likeliest = np.where(some, above.argmax(1), probability.argmax(1))
    suspected = some & (likeliest != given) & (probability.argmax(1) != given)
    return suspected, likeliest


def together(sources: Sequence[Suspicion]) -> Suspicion:
    """Suspected is what all sources suspect, and say the same scene of; probabilities are means."""
    first = sources[0]
    same = np.all([one.likeliest == first.likeliest for one in sources], axis=0)
    flags = np.all([one.suspected for one in sources], axis=0) & same
    mean = np.mean([one.probability for one in sources], axis=0)
    return Suspicion(first.classes, first.names, mean, first.likeliest, flags)


def flips(
    sources: Mapping[str, np.ndarray],
    given: np.ndarray,
    names: Sequence[str],
    share: float = FLIPPED,
    rounds: int = ROUNDS,
    seed: int = 0,
) -> list[FlipCheck]:
    """Make a share of the labels wrong at random, a few times, and count which are suspected.

    sources : name → features (images, columns). One check for each, and one for ``both`` (all of
    them) where there are several.

    Raises UnitscopeError as :func:`suspect`, and where the share is no label.
    """
    before = _suspected(sources, given, names, seed)
    classes = next(iter(before.values())).classes
    there = np.flatnonzero(np.isin(given, classes))
    count = round(share * len(there))
    if not count:
        raise UnitscopeError(f"{share:.0%} of {len(there)} labels is none")
    figures: dict[str, list[tuple[float, float, float]]] = {name: [] for name in before}
    for k in range(rounds):
        rng = np.random.default_rng([seed, k])
        chosen = rng.choice(there, count, replace=False)
        changed = np.array(given, np.int64)
        for at in chosen:
            changed[at] = rng.choice(classes[classes != given[at]])
        for name, after in _suspected(sources, changed, names, seed).items():
            fresh = after.suspected & ~before[name].suspected
            hit = int(after.suspected[chosen].sum())
            figures[name].append(
                (
                    hit / max(1, int(after.suspected.sum())),
                    hit / count,
                    int(fresh[chosen].sum()) / max(1, int(fresh.sum())),
                )
            )
    found = []
    for name, values in figures.items():
        precision, recall, fresh_ones = (spread(column) for column in np.array(values).T)
        suspected = int(before[name].suspected.sum())
        found.append(FlipCheck(name, len(there), count, suspected, precision, recall, fresh_ones))
    return found


def _suspected(
    sources: Mapping[str, np.ndarray], given: np.ndarray, names: Sequence[str], seed: int
) -> dict[str, Suspicion]:
    found = {name: suspect(values, given, names, seed) for name, values in sources.items()}
    return found | ({"both": together(list(found.values()))} if len(found) > 1 else {})
