"""Linear explanations from masks: each unit as a sparse, non-negative sum of concepts.

A unit's mean activation in a photo is approximated by b + Σ_c w_c · share(c), w ≥ 0, with the share
of the photo that each annotated concept covers, after Oikarinen and Weng, "Linear Explanations for
Individual Neurons" (ICML 2024), who use labels and CLIP scores in place of masks. The weights are
those of the non-negative lasso

    min over w ≥ 0 of  ½ · mean (y − b − x·w)² + λ · Σ w,    x, y in units of their deviations,

where λ is chosen for each unit by cross-validation within the photos that it is learned from, and
at most :data:`TERMS` concepts are left. Everything follows from the sums XᵀX and Xᵀy of folds of
photos (:class:`Gram`), which add up over shards and machines; photos are seen once.

The label of a single concept, :func:`by_single`, is the control: the best that one concept can do
by the same measure.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numba
import numpy as np
import pandas as pd
from scipy import sparse

from core.dissect.formula import Formula
from core.foundation.errors import UnitscopeError
from core.labelling.label import Terms, words
from core.labelling.probe import Probe

FOLDS = 5
"""Of photos, for cross-validation."""

TERMS = 10
"""Concepts of a label, at most."""

LAMBDAS = tuple(float(x) for x in np.geomspace(1, 0.02, 18))
"""λ as shares of the least λ at which a unit's label is empty."""

LEAST = 5
"""Photos that must show a concept."""

SWEEPS, CLOSE = 200, 1e-7
"""Of coordinate descent: at most so many, until no weight moves by more."""


@dataclass(frozen=True, eq=False)
class Gram:
    """Sums over some photos: of x (concepts), of y (units), and of their products.

    Attributes
    ----------
    n : photos. x : float64 (concepts,), Σx. xx : float64 (concepts, concepts), Σ xᵀx.
    y, yy : float64 (units,), Σy and Σy². xy : float64 (concepts, units), Σ xᵀy.
    """

    n: int
    x: np.ndarray
    xx: np.ndarray
    y: np.ndarray
    yy: np.ndarray
    xy: np.ndarray

    def __add__(self, other: Gram) -> Gram:
        return Gram(
            self.n + other.n,
            self.x + other.x,
            self.xx + other.xx,
            self.y + other.y,
            self.yy + other.yy,
            self.xy + other.xy,
        )

    @classmethod
    def of(cls, x: sparse.csr_array, y: np.ndarray) -> Gram:
        """Sums of the photos of a shard. x : (photos, concepts). y : (photos, units)."""
        y = np.asarray(y, np.float64)
        products = (x.T @ x).toarray()
        return cls(
            len(y), np.asarray(x.sum(0)).ravel(), products, y.sum(0), (y * y).sum(0), x.T @ y
        )

    @property
    def standard(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """(correlations of concepts (concepts, concepts), of concepts and units (concepts, units),
        deviations of concepts, deviations of units); 0 where one does not vary."""
        mx, my = self.x / self.n, self.y / self.n
        covariance = self.xx / self.n - np.outer(mx, mx)
        sx = np.sqrt(np.maximum(np.diag(covariance), 0))
        sy = np.sqrt(np.maximum(self.yy / self.n - my * my, 0))
        by_x = np.divide(1, sx, out=np.zeros_like(sx), where=sx > 1e-12)
        by_y = np.divide(1, sy, out=np.zeros_like(sy), where=sy > 1e-12 * (1 + np.abs(my)))
        both = (self.xy / self.n - np.outer(mx, my)) * by_x[:, None] * by_y
        return covariance * by_x[:, None] * by_x, both, sx, sy


def folds_of(photos: int, folds: int = FOLDS, seed: int = 0) -> np.ndarray:
    """int64 (photos,): the fold of each photo, all of nearly equal size."""
    return np.random.default_rng([seed, photos]).permutation(photos) % folds


def grams(x: sparse.csr_array, y: np.ndarray, folds: np.ndarray, shard: int = 4096) -> list[Gram]:
    """The sums of every fold. x : (photos, concepts). y : (photos, units)."""
    out = []
    for fold in range(int(folds.max()) + 1):
        rows = np.flatnonzero(folds == fold)
        parts = [
            Gram.of(x[rows[at : at + shard]], y[rows[at : at + shard]])
            for at in range(0, len(rows), shard)
        ]
        out.append(sum(parts[1:], parts[0]))
    return out


@numba.njit(cache=True, nogil=True)
def _path(
    cxx: np.ndarray, cxy: np.ndarray, shares: np.ndarray, most: int, sweeps: int, close: float
) -> np.ndarray:
    """Weights of one unit for falling λ: float64 (λ, concepts), by coordinate descent over the
    concepts, each λ begun with the weights of the one before. Where more than `most` weights are
    left, this and all smaller λ keep the weights of the λ before."""
    concepts = len(cxy)
    out = np.zeros((len(shares), concepts))
    w, left = np.zeros(concepts), cxy.copy()  # left = cxy − cxx·w
    top = cxy.max() if concepts else 0.0
    for k in range(len(shares)):
        penalty = shares[k] * top
        if top <= 0:
            break
        for _ in range(sweeps):
            moved = 0.0
            for j in range(concepts):
                if w[j] == 0 and left[j] <= penalty:
                    continue
                new = max(0.0, w[j] + left[j] - penalty)  # cxx[j, j] is 1
                step = new - w[j]
                if step != 0:
                    w[j] = new
                    for i in range(concepts):
                        left[i] -= step * cxx[j, i]  # symmetric: along the row
                    moved = max(moved, abs(step))
            if moved < close:
                break
        if (w > 0).sum() > most:
            if k:
                for later in range(k, len(shares)):
                    out[later] = out[k - 1]
            break
        out[k] = w
    return out


@numba.njit(cache=True, parallel=True)
def _paths(
    cxx: np.ndarray, cxy: np.ndarray, shares: np.ndarray, most: int, sweeps: int, close: float
) -> np.ndarray:
    units = cxy.shape[1]
    out = np.zeros((units, len(shares), cxy.shape[0]))
    for unit in numba.prange(units):
        out[unit] = _path(cxx, cxy[:, unit].copy(), shares, most, sweeps, close)
    return out


def paths(gram: Gram, most: int = TERMS) -> np.ndarray:
    """Weights of all units along :data:`LAMBDAS`: float64 (units, λ, concepts), in units of the
    concepts' and units' own deviations."""
    cxx, cxy, _, _ = gram.standard
    np.fill_diagonal(cxx, 1.0)
    found: np.ndarray = _paths(cxx, cxy, np.array(LAMBDAS), most, SWEEPS, CLOSE)
    return found


def _held_out_correlation(weights: np.ndarray, sx: np.ndarray, gram: Gram) -> np.ndarray:
    """Correlation of each unit and its prediction on other photos: float64 (units, λ)."""
    cxx, cxy, other, _ = gram.standard
    # Weights were in deviations of the photos they were fitted to.
    w = weights * np.divide(other, sx, out=np.zeros_like(sx), where=sx > 1e-12)
    both = np.einsum("ulc,cu->ul", w, cxy)
    spread = np.sqrt(np.maximum(np.einsum("ulc,ulc->ul", w @ cxx, w), 0))
    found: np.ndarray = np.divide(both, spread, out=np.zeros_like(both), where=spread > 1e-12)
    return found


def linear(parts: Sequence[Gram], most: int = TERMS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The linear explanation of every unit from the sums of folds of photos.

    λ of a unit is the one whose labels, fitted without a fold, correlate best with the unit on that
    fold, on average; of equals the larger, which has fewer concepts.

    Returns (float64 (units, concepts), weights in activation per whole photo covered; float64
    (units, concepts), the same in deviations of both, by which concepts are comparable; float64
    (units,), that cross-validated correlation).

    Raises UnitscopeError for fewer than two folds.
    """
    if len(parts) < 2:
        raise UnitscopeError("linear explanations need at least two folds of photos")
    whole = sum(parts[1:], parts[0])
    seen = np.zeros((whole.xy.shape[1], len(LAMBDAS)))
    for k, part in enumerate(parts):
        rest = [other for j, other in enumerate(parts) if j != k]
        fitted = sum(rest[1:], rest[0])
        seen += _held_out_correlation(paths(fitted, most), fitted.standard[2], part)
    seen /= len(parts)
    best = seen.argmax(1)
    _, _, sx, sy = whole.standard
    w = paths(whole, most)[np.arange(len(best)), best]
    scale = np.divide(1, sx, out=np.zeros_like(sx), where=sx > 1e-12)
    return w * scale * sy[:, None], w, seen[np.arange(len(best)), best]


def by_linear(probe: Probe) -> pd.DataFrame:
    """The linear explanation of each unit, from the probe's photos.

    Columns unit, label, score (the cross-validated correlation), concepts (how many). Concepts
    stand in the order of what they add to the prediction's deviation. Units whose activation grows
    with no concept have no row.

    Raises UnitscopeError for fewer than 10 photos.
    """
    x, ids = _design(probe)
    y = probe.activations
    weights, comparable, seen = linear(grams(x, y, folds_of(len(probe))))
    rows = []
    for unit, w in enumerate(weights):
        order = [k for k in np.argsort(-comparable[unit], kind="stable") if w[k] > 0]
        terms: Terms = tuple((float(w[k]), Formula((int(ids[k]),))) for k in order)
        if terms:
            rows.append((unit, words(terms, probe.names), seen[unit], len(terms), terms))
    return pd.DataFrame(rows, columns=["unit", "label", "score", "concepts", "terms"])


def by_single(probe: Probe) -> pd.DataFrame:
    """The concept whose share of the photo correlates best with each unit's mean activation.

    Columns unit, label, score (that correlation). Units that correlate with none have no row.
    """
    x, ids = _design(probe)
    _, cxy, _, _ = Gram.of(x, probe.activations).standard
    best = cxy.argmax(0)
    rows = []
    for unit, k in enumerate(best):
        if cxy[k, unit] > 0:
            terms: Terms = ((1.0, Formula((int(ids[k]),))),)
            rows.append((unit, words(terms, probe.names), float(cxy[k, unit]), terms))
    return pd.DataFrame(rows, columns=["unit", "label", "score", "terms"])


def _design(probe: Probe) -> tuple[sparse.csr_array, np.ndarray]:
    """(shares of concepts in photos, their ids): of those that enough photos show."""
    if len(probe) < 2 * FOLDS:
        raise UnitscopeError(
            f"labels are to be fitted to {len(probe)} photos; at least {2 * FOLDS} are needed"
        )
    seen = np.asarray(probe.presence.sum(0)).ravel()
    ids = probe.usable[seen[probe.usable] >= min(LEAST, len(probe) // 5)]
    if not len(ids):
        raise UnitscopeError("no concept is annotated in enough of the photos to be fitted")
    return sparse.csr_array(probe.shares.tocsc()[:, ids].tocsr()), ids
