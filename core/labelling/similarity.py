"""How alike units and words are: the five similarities of CLIP-Dissect.

Oikarinen and Weng, *CLIP-Dissect: Automatic Description of Neuron Representations in Deep Vision
Networks* (ICLR 2023). Two tables meet:

Q   (images × units), what a unit makes of an image: the mean of its map;
P   (images × words), how near an encoder puts an image to a word: the cosine of their features.

Each function returns float64 (units, words), the larger the more alike; a unit's label is the word
of the largest. Constants are the published ones, of the authors' program. Values are comparable
between the words of one unit, and of one set of units, words and images: no more.

P is never held as a whole where it is given as :class:`Cosines`: words are taken a block at a time,
so that 20,000 words and some ten thousand images need no more memory than the answer and
:data:`MEMORY` besides.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Unpack

import numpy as np
from scipy import sparse
from scipy.special import logsumexp

from core.foundation.errors import UnitscopeError
from core.foundation.progress import STOPPED, Hooks, Meter, Stopped, never

MEMORY = 2**25
"""Bytes of one temporary array (images or units × words of a block)."""

SOFT_TOP = 100
"""SoftWPMI: images that a unit is most active in (`top_k`)."""

SOFT_SHARPNESS = 10.0
"""SoftWPMI: a, by which cosines are multiplied before the softmax over words (`a`)."""

SOFT_PRIOR = 1.0
"""SoftWPMI: λ, the weight of the prior of a word (`lam`)."""

SOFT_FIRST, SOFT_LAST = 0.998, 0.97
"""SoftWPMI: how surely the first and the last of the top images belong to them (`p_start`,
`p_end`); the r-th of n, from 0, has first − (first − last) · r / n."""

HARD_TOP = 28
"""WPMI: images that a unit is most active in (`top_k`)."""

HARD_SHARPNESS = 2.0
"""WPMI: a (`a`)."""

HARD_PRIOR = 0.6
"""WPMI: λ (`lam`)."""

LEAST_PROBABILITY = 1e-7
"""ε, added to probabilities before their logarithm (`min_prob`)."""

LEAST_NORM = 1e-3
"""Cubed cosine: least norm that a column is divided by (`min_norm`)."""

REORDER_POWER = 3
"""Rank reorder: power of the differences (`p`)."""

REORDER_SHARE = 0.05
"""Rank reorder: share of the images that count, those a unit is most active in (`top_fraction`)."""

REORDER_SCALE = 0.5
"""Rank reorder: power of the mean cosine that errors are divided by (`scale_p`)."""

REORDER_DRAWS = 5
"""Rank reorder: random orders that an error is measured against."""

_GROUP = 32
"""Factors of :data:`LEAST_PROBABILITY` and more that float64 holds the product of."""


@dataclass(frozen=True, eq=False)
class Cosines:
    """P as the product of features, worked out where it is asked for.

    images, words : float32 (images, d) and (words, d), rows of length 1 (:func:`cosines`).
    """

    images: np.ndarray
    words: np.ndarray

    @property
    def shape(self) -> tuple[int, int]:
        """(images, words)."""
        return len(self.images), len(self.words)

    def columns(self, start: int, stop: int) -> np.ndarray:
        """float64 (images, stop − start): the cosines of some words."""
        block: np.ndarray = (self.images @ self.words[start:stop].T).astype(np.float64)
        return block


Similar = np.ndarray | Cosines
"""P: an array (images, words), or the features it is the product of."""


def cosines(images: np.ndarray, words: np.ndarray) -> Cosines:
    """P of features (images, d) and (words, d) of any length.

    Raises UnitscopeError where they have another number of values each, one is no finite number,
    or all values of an image or a word are 0: it has no direction.

    >>> cosines(np.eye(2), np.array([[3.0, 4.0]])).columns(0, 1).round(3).tolist()
    [[0.6], [0.8]]
    """
    if images.ndim != 2 or words.ndim != 2 or images.shape[1] != words.shape[1]:
        raise UnitscopeError(
            f"features of images {images.shape} and of words {words.shape} are not of one encoder: "
            "they have another number of values each"
        )
    return Cosines(_directions(images, "image"), _directions(words, "word"))


def _directions(features: np.ndarray, of: str) -> np.ndarray:
    lengths = np.linalg.norm(features.astype(np.float64), axis=1)
    bad = ~np.isfinite(lengths) | (lengths == 0)
    if bad.any():
        at = int(bad.argmax())
        why = "0 throughout" if lengths[at] == 0 else "not all finite numbers"
        raise UnitscopeError(f"the features of {of} {at} (from 0) are {why}")
    directions: np.ndarray = (features / lengths[:, None]).astype(np.float32)
    return directions


# -- what all have in common ------------------------------------------------------------------


def top_images(q: np.ndarray, count: int) -> np.ndarray:
    """int64 (count, units): the images that each unit is most active in, most active first; of
    equals, those that come first.

    Raises UnitscopeError where there are no more images than that: every unit would have the same.

    >>> top_images(np.array([[0.0], [2.0], [1.0], [2.0]]), 2).tolist()
    [[1], [3]]
    """
    if count >= len(q):
        raise UnitscopeError(
            f"the {count} photos that each unit is most active in are compared, and there are "
            f"{len(q)} in all: take more photos, or another similarity"
        )
    order: np.ndarray = np.argsort(-q, axis=0, kind="stable")[:count]
    return order


def _checked(q: np.ndarray, p: Similar) -> np.ndarray:
    """Q as float64. Raises UnitscopeError where the two do not belong together."""
    if q.ndim != 2 or len(p.shape) != 2 or len(q) != p.shape[0]:
        raise UnitscopeError(
            f"activations {q.shape} and similarities {p.shape} are not of the same images"
        )
    if 0 in q.shape or p.shape[1] < 2:
        raise UnitscopeError(
            f"{len(q)} images, {q.shape[1]} units and {p.shape[1]} words: there is no choice "
            "between words; give two or more"
        )
    if not np.isfinite(q).all():
        raise UnitscopeError("activations that are no finite numbers cannot be compared")
    return q.astype(np.float64)


def _blocks(
    q: np.ndarray, p: Similar, stage: str, progress: Hooks
) -> Iterator[tuple[slice, np.ndarray]]:
    """P by blocks of words: (words, float64 (images, words of the block)).

    Raises UnitscopeError for what is no finite number, Stopped where that is asked for.
    """
    meter, stop = Meter(progress.get("progress")), progress.get("stop", never)
    words = p.shape[1]
    width = max(1, MEMORY // (8 * max(q.shape)))
    meter.start(stage, words, of="words")
    for start in range(0, words, width):
        if stop():
            raise Stopped(f"{start} of {words} words are compared; {STOPPED}")
        end = min(start + width, words)
        block = p.columns(start, end) if isinstance(p, Cosines) else p[:, start:end].astype(float)
        if not np.isfinite(block).all():
            raise UnitscopeError("similarities that are no finite numbers cannot be compared")
        yield slice(start, end), block
        meter.step(end - start)


# -- mutual information -----------------------------------------------------------------------


def soft_wpmi(
    q: np.ndarray,
    p: Similar,
    top: int = SOFT_TOP,
    sharpness: float = SOFT_SHARPNESS,
    prior: float = SOFT_PRIOR,
    **hooks: Unpack[Hooks],
) -> np.ndarray:
    """SoftWPMI: weighted pointwise mutual information of a word and a unit's top images, to which
    an image belongs with a probability (the published default).

    With S = softmax over words of a·P, and p_r of :data:`SOFT_FIRST`:

        log p(B_k | j) = Σ_r log(1 + p_r (S_rj − 1) + ε),   r over the top images B_k of unit k,
        log p(j)       = log mean over units k of p(B_k | j),
        similarity     = log p(B_k | j) − λ log p(j).

    The prior p(j) is taken over all units given: a layer's units belong together.

    Raises UnitscopeError where there are `top` images or fewer.
    """
    q = _checked(q, p)
    order = top_images(q, top)
    sure = SOFT_FIRST - (SOFT_FIRST - SOFT_LAST) * np.arange(top) / top

    def evidence(soft: np.ndarray) -> np.ndarray:
        total = np.zeros((q.shape[1], soft.shape[1]))
        less = soft - 1
        for start in range(0, top, _GROUP):
            # One logarithm of a product in place of many: a hundred times as fast.
            product = np.ones_like(total)
            for r in range(start, min(start + _GROUP, top)):
                product *= 1 + LEAST_PROBABILITY + sure[r] * less[order[r]]
            total += np.log(product)
        return total

    return _mutual(q, p, sharpness, prior, evidence, hooks)


def wpmi(
    q: np.ndarray,
    p: Similar,
    top: int = HARD_TOP,
    sharpness: float = HARD_SHARPNESS,
    prior: float = HARD_PRIOR,
    **hooks: Unpack[Hooks],
) -> np.ndarray:
    """WPMI: :func:`soft_wpmi` where an image is one of the top ones or is not:
    log p(B_k | j) = Σ_r log(S_rj + ε)."""
    q = _checked(q, p)
    order = top_images(q, top)
    units = q.shape[1]
    member = sparse.csr_array(
        (np.ones(order.size), (np.tile(np.arange(units), top), order.ravel())), (units, len(q))
    )

    def evidence(soft: np.ndarray) -> np.ndarray:
        total: np.ndarray = member @ np.log(soft + LEAST_PROBABILITY)
        return total

    return _mutual(q, p, sharpness, prior, evidence, hooks)


def _mutual(
    q: np.ndarray,
    p: Similar,
    sharpness: float,
    prior: float,
    evidence: Callable[[np.ndarray], np.ndarray],
    hooks: Hooks,
) -> np.ndarray:
    """evidence − λ · log of its mean over units; evidence : S of some words → float64 (units,
    words)."""
    # The softmax is over all words, of which few are held at a time: its denominator comes first.
    whole = np.full(len(q), -np.inf)
    for _, block in _blocks(q, p, "softmax", hooks):
        whole = np.logaddexp(whole, logsumexp(sharpness * block, axis=1))
    found = np.empty((q.shape[1], p.shape[1]))
    for words, block in _blocks(q, p, "mutual information", hooks):
        given = evidence(np.exp(sharpness * block - whole[:, None]))
        of_word = logsumexp(given, axis=0) - math.log(len(given))
        found[:, words] = given - prior * of_word
    return found


# -- cosines of columns -----------------------------------------------------------------------


def cosine(q: np.ndarray, p: Similar, **hooks: Unpack[Hooks]) -> np.ndarray:
    """Cosine of a unit's and a word's column over all images. 0 for a column that is 0."""
    q = _checked(q, p)
    tiny = np.finfo(np.float64).tiny
    units = q / np.maximum(np.linalg.norm(q, axis=0), tiny)
    found = np.empty((q.shape[1], p.shape[1]))
    for words, block in _blocks(q, p, "cosine", hooks):
        found[:, words] = units.T @ (block / np.maximum(np.linalg.norm(block, axis=0), tiny))
    return found


def cosine_cubed(q: np.ndarray, p: Similar, **hooks: Unpack[Hooks]) -> np.ndarray:
    """Cosine of the columns' deviations from their means, cubed, so that the images with the
    largest count most. Norms below :data:`LEAST_NORM` are taken for that."""
    q = _checked(q, p)

    def cubed(columns: np.ndarray) -> np.ndarray:
        values = (columns - columns.mean(0)) ** 3
        lengths = np.maximum(np.linalg.norm(values, axis=0), LEAST_NORM)
        scaled: np.ndarray = values / lengths
        return scaled

    units = cubed(q)
    found = np.empty((q.shape[1], p.shape[1]))
    for words, block in _blocks(q, p, "cubed cosine", hooks):
        found[:, words] = units.T @ cubed(block)
    return found


# -- order ------------------------------------------------------------------------------------


def rank_reorder(
    q: np.ndarray,
    p: Similar,
    share: float = REORDER_SHARE,
    scale: float = REORDER_SCALE,
    draws: int = REORDER_DRAWS,
    seed: int = 0,
    **hooks: Unpack[Hooks],
) -> np.ndarray:
    """Rank reorder: does a word put a unit's top images into the unit's own order?

    v, the unit's activations on its top images; v', the same values handed to these images in the
    order of their similarity to the word; v'', in random orders:

        similarity = − mean |v − v'|³ / mean |v − v''|³ / (mean similarity to the word)^½.

    Two choices where the publication says nothing. A word whose mean similarity is not positive,
    which CLIP's cosines of photos and words hardly are, has −∞. A unit whose top images are all
    alike is as similar to every word: 0.

    Raises UnitscopeError where the share is fewer than two images.
    """
    q = _checked(q, p)
    top = int(len(q) * share)
    if top < 2:
        raise UnitscopeError(
            f"{share:.0%} of {len(q)} photos are {top}: their order says nothing; take more photos"
        )
    order = top_images(q, top)
    values = np.take_along_axis(q, order, 0)
    chance = np.array([_by_chance(v, draws, [seed, unit]) for unit, v in enumerate(values.T)])
    found = np.empty((q.shape[1], p.shape[1]))
    for words, block in _blocks(q, p, "rank reorder", hooks):
        by_word = np.ascontiguousarray(block.T)
        for unit, images in enumerate(order.T):
            near = by_word[:, images]
            # The k-th least similar image gets the k-th smallest value.
            place = np.argsort(near, axis=1, kind="stable")
            own, given = values[:, unit][place], values[::-1, unit]
            error = (np.abs(own - given) ** REORDER_POWER).mean(1)
            mean = near.mean(1)
            liked = np.maximum(mean, np.finfo(np.float64).tiny) ** scale
            found[unit, words] = np.where(mean > 0, -error / liked, -np.inf)
    scaled: np.ndarray = np.divide(
        found, chance[:, None], out=np.zeros_like(found), where=chance[:, None] > 0
    )
    return scaled


def _by_chance(values: np.ndarray, draws: int, seed: list[int]) -> float:
    """Mean |v − v''|³ over random orders of a unit's values."""
    rng = np.random.default_rng(seed)
    errors = [np.abs(values - rng.permutation(values)) ** REORDER_POWER for _ in range(draws)]
    return float(np.mean(errors))


SIMILARITIES: dict[str, Callable[..., np.ndarray]] = {
    "softwpmi": soft_wpmi,
    "wpmi": wpmi,
    "cosine": cosine,
    "cubed": cosine_cubed,
    "rank": rank_reorder,
}
"""Name → similarity, called with Q, P and hooks."""
