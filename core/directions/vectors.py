"""Concept vectors from which a network's answers can be recovered (ConceptSHAP's, Yeh et al. 2020).

"On Completeness-aware Concept-Based Explanations in Deep Neural Networks", NeurIPS 2020, section
3. Let Φ(x) ∈ R^{T×d} be the d units of a layer at its T places, h the network behind the layer,
frozen, and C ∈ R^{d×m} concept vectors of length 1.

    s_tj = ⟨Φ_t, c_j⟩ where ⟨Φ_t/‖Φ_t‖, c_j⟩ > β, else 0          (concept scores)
    v_tj = s_tj / (Σ_j s_tj + 10⁻³)
    answers = h(g(v)),  g : R^m → R^500 → R^d at every place, ReLU between, no bias

C and g are learned together on the photos of a training split by

    L = CE(h(g(v(x))), y) − λ₁ R₁ + λ₂ R₂

R₁ : mean over concepts of the mean cosine of the K places of a batch that are nearest to it
    (coherence: a concept should look alike wherever it is)
R₂ : mean of ⟨c_i, c_j⟩ over i ≠ j (distinctness)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from math import ceil

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.directions.layer import Layer
from core.foundation.errors import UnitscopeError
from core.foundation.progress import STOPPED, Meter, Stop, Stopped

HIDDEN = 500
"""Width of g between its two layers (paper, appendix; code `topic_model_new`)."""

RATE, BATCH = 1e-3, 128
"""Adam's learning rate, and photos of a batch (code)."""

START = 0.5
"""C and g start uniform in ±START (code)."""

EPSILON = 1e-3
"""Added to the sum that scores are divided by (code)."""

SAME = 0.95
"""Of two vectors with a cosine above this the later is dropped (code, AwA)."""


@dataclass(frozen=True)
class Learning:
    """How concept vectors are learned; the defaults are those of the paper's code for photos
    (Animals with Attributes), but for `concepts` and `steps`.

    Attributes
    ----------
    concepts : m, before duplicates are dropped; at most as many as the layer has units. The paper
        has 70 for photos, 5 and 4 elsewhere. Of 8 all 256 subsets can be tried; the Shapley values
        of 70 from its sample of 100 subsets are lost in the error of sampling (docs/directions.md).
    beta : β, the cosine that a place must exceed.
    coherence, distinct : λ₁ and λ₂. nearest : K.
    epochs : passes over the photos. steps : batches at least, so that a few hundred photos are
        passed over more often: after 30 epochs of 795 photos (210 batches; the published 27,000
        make 6,300) R₁ is 0.32, after 800 batches 0.78.
    seed : of the start and the order.
    """

    concepts: int = 8
    beta: float = 0.0
    coherence: float = 10.0
    distinct: float = 10.0
    nearest: int = 2
    epochs: int = 30
    steps: int = 800
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.beta < 1:
            raise UnitscopeError(f"β is a cosine from 0 to below 1, not {self.beta:g}")
        if min(self.concepts, self.nearest, self.epochs) < 1 or self.steps < 0:
            raise UnitscopeError("concepts, nearest places and epochs are 1 or more")


@dataclass(frozen=True, eq=False)
class Photos:
    """Photos of one split that the network has a class for.

    images : int64 (photos,), numbers in the run. classes : int64 (photos,), of their true scenes.
    """

    images: np.ndarray
    classes: np.ndarray

    def __len__(self) -> int:
        return len(self.images)


@dataclass(frozen=True, eq=False)
class Surrogate:
    """h(g(v(x))): answers by concept scores alone.

    Attributes
    ----------
    layer : with the frozen head h. vectors : float32 (units, m), of length 1.
    first, second : float32 (m, HIDDEN) and (HIDDEN, units), the layers of g. beta : β.
    """

    layer: Layer
    vectors: Tensor
    first: Tensor
    second: Tensor
    beta: float

    def scores(self, maps: Tensor) -> Tensor:
        """s of maps (images, units, height, width): float32 (images, places, m)."""
        return concept_scores(maps, self.vectors, self.beta)[0]

    def logits(self, scores: Tensor, images: np.ndarray, kept: Tensor | None = None) -> Tensor:
        """float32 (images, classes), with only the scores of some concepts.

        kept : int64 (concepts kept,), their places; all where None.
        """
        if kept is None:
            return answers(self.layer, scores, self.first, self.second, images)
        return answers(self.layer, scores[:, :, kept], self.first[kept], self.second, images)


def concept_scores(maps: Tensor, vectors: Tensor, beta: float) -> tuple[Tensor, Tensor]:
    """(s, cosines) of maps (images, units, height, width): float32 (images, places, m) each.

    vectors : (units, m), of length 1. A place where no unit is active has the cosine 0 with all.
    """
    places = maps.flatten(2).transpose(1, 2)
    raw = places @ vectors
    cosines = raw / places.norm(dim=2, keepdim=True).clamp_min(1e-12)
    return raw * (cosines > beta), cosines


def answers(
    layer: Layer, scores: Tensor, first: Tensor, second: Tensor, images: np.ndarray
) -> Tensor:
    """Logits h(g(v)) (images, classes) of scores s (images, places, m).

    Where the head is one linear layer on means, the mean over places is taken before the second
    layer of g: no map is ever made.
    """
    v = scores / (scores.sum(2, keepdim=True) + EPSILON)
    hidden = torch.relu(v @ first)
    if layer.head is not None:
        weights, bias = layer.head
        return hidden.mean(1) @ (second @ weights) + bias
    units, height, width = layer.shape
    maps = (hidden @ second).transpose(1, 2).reshape(-1, units, height, width)
    return layer.answers(maps, images)


def coherence(cosines: Tensor, nearest: int) -> Tensor:
    """R₁ of cosines (images, places, m)."""
    flat = cosines.flatten(0, 1)
    return flat.topk(min(nearest, len(flat)), 0).values.mean()


def distinctness(vectors: Tensor) -> Tensor:
    """R₂ of vectors (units, m) of length 1; 0 of a single one."""
    m = vectors.shape[1]
    products = vectors.T @ vectors
    return (products.sum() - products.trace()) / max(1, m * (m - 1))


def learn(layer: Layer, photos: Photos, how: Learning, meter: Meter, stop: Stop) -> Surrogate:
    """Concept vectors and g by the loss of the module; duplicates are dropped at the end.

    Raises UnitscopeError where there are more concepts than units, Stopped where `stop` says so.
    """
    units, m = layer.shape[0], how.concepts
    if m > units:
        raise UnitscopeError(
            f"{m} concept vectors in a space of {units} units: ask for {units} or fewer "
            "(--concepts)"
        )
    draw = torch.Generator().manual_seed(how.seed)
    raw, first, second = (
        ((torch.rand(shape, generator=draw) * 2 - 1) * START).requires_grad_(True)
        for shape in ((units, m), (m, HIDDEN), (HIDDEN, units))
    )
    parameters = [raw, first, second]
    adam = torch.optim.Adam(parameters, RATE)
    epochs = epochs_of(len(photos), how.epochs, how.steps)
    meter.start("concept vectors", epochs, of="epochs")
    for epoch in range(epochs):
        if stop():
            raise Stopped(f"stopped after {epoch} of {epochs} epochs: concept vectors begin anew")
        with torch.enable_grad():
            for rows in batches(len(photos), how.seed, epoch):
                vectors = F.normalize(raw, dim=0)
                maps = layer.activations(photos.images[rows])
                scores, cosines = concept_scores(maps, vectors, how.beta)
                logits = answers(layer, scores, first, second, photos.images[rows])
                loss = F.cross_entropy(logits, torch.from_numpy(photos.classes[rows]))
                loss = loss - how.coherence * coherence(cosines, how.nearest)
                loss = loss + how.distinct * distinctness(vectors)
                _step(adam, parameters, loss)
        meter.step()
    vectors = F.normalize(raw.detach(), dim=0)
    kept = torch.from_numpy(without_duplicates(vectors.numpy()))
    return Surrogate(
        layer, vectors[:, kept].contiguous(), first.detach()[kept], second.detach(), how.beta
    )


def refit(
    surrogate: Surrogate,
    scores: Tensor,
    photos: Photos,
    kept: np.ndarray,
    epochs: int,
    seed: int,
    fresh: bool = False,
) -> Surrogate:
    """g learned again for some of the concepts alone, from where it was: the sup over g of Eq. 1.

    Parameters
    ----------
    scores : float32 (photos, places, m), s of the training photos. kept : int64 (concepts kept,).
    fresh : start from random weights instead, as for vectors that g was never learned for.
    """
    columns = torch.from_numpy(kept)
    first, second = surrogate.first[columns].clone(), surrogate.second.clone()
    if fresh:
        draw = torch.Generator().manual_seed(seed)
        first, second = (
            (torch.rand(part.shape, generator=draw) * 2 - 1) * START for part in (first, second)
        )
    parameters = [first.requires_grad_(True), second.requires_grad_(True)]
    adam = torch.optim.Adam(parameters, RATE)
    layer, few = surrogate.layer, scores[:, :, columns]
    with torch.enable_grad():
        for epoch in range(epochs):
            for rows in batches(len(photos), seed, epoch):
                logits = answers(layer, few[rows], first, second, photos.images[rows])
                loss = F.cross_entropy(logits, torch.from_numpy(photos.classes[rows]))
                _step(adam, parameters, loss)
    return Surrogate(
        layer,
        surrogate.vectors[:, columns],
        first.detach(),
        second.detach(),
        surrogate.beta,
    )


def _step(adam: torch.optim.Adam, parameters: list[Tensor], loss: Tensor) -> None:
    """One step of Adam. Gradients go to these parameters alone: the head is frozen."""
    for parameter, gradient in zip(parameters, torch.autograd.grad(loss, parameters), strict=True):
        parameter.grad = gradient
    adam.step()


def epochs_of(photos: int, epochs: int, steps: int) -> int:
    """Passes over photos: `epochs`, or as many as make `steps` batches.

    >>> epochs_of(795, 30, 800), epochs_of(26_905, 30, 800)
    (115, 30)
    """
    return max(epochs, ceil(steps / ceil(photos / BATCH)))


def batches(photos: int, seed: int, epoch: int) -> Iterator[np.ndarray]:
    """Rows of the photos in random order, a batch at a time."""
    order = np.random.default_rng([seed, epoch]).permutation(photos)
    for start in range(0, photos, BATCH):
        yield order[start : start + BATCH]


def without_duplicates(vectors: np.ndarray) -> np.ndarray:
    """int64, places of the vectors (units, m) that are kept: of two whose cosine is above
    :data:`SAME` the later goes.

    >>> without_duplicates(np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.01]])).tolist()
    [0, 1]
    """
    same = np.triu(vectors.T @ vectors, 1) > SAME
    return np.flatnonzero(~same.any(0))


def all_scores(surrogate: Surrogate, photos: Photos, meter: Meter, stop: Stop) -> Tensor:
    """s of every photo: float32 (photos, places, m).

    Raises Stopped where `stop` says so.
    """
    parts = []
    meter.start("concept scores", len(photos))
    with torch.no_grad():
        for start in range(0, len(photos), BATCH):
            if stop():
                raise Stopped(STOPPED)
            part = photos.images[start : start + BATCH]
            parts.append(surrogate.scores(surrogate.layer.activations(part)))
            meter.step(len(part))
    return torch.cat(parts)


def right_and_same(
    surrogate: Surrogate, scores: Tensor, photos: Photos, said: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """bool (photos,) each: does the surrogate give the true class, and the class that the network
    said?"""
    parts = []
    with torch.no_grad():
        for start in range(0, len(photos), BATCH):
            rows = slice(start, start + BATCH)
            parts.append(surrogate.logits(scores[rows], photos.images[rows]).argmax(1))
    found = torch.cat(parts).numpy()
    return found == photos.classes, found == said
