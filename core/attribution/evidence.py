"""Evidence: the margin of one class over another as a sum over what is in the photo.

Where the means of a layer's maps go through one linear layer, the logit of class k is

    z_k(x) = b_k + Σ_t Σ_p A_t(p) · W_tk / P        (t: units, p: the P places of a map)

so the margin z_a − z_b is an exact sum over units × places, and, with each place divided among the
concepts that cover it (:func:`core.attribution.regions.cell_shares`), over units × concepts, plus
what no concept covers, plus the bias. For other heads and inner layers A·∂(z_a − z_b)/∂A takes the
place of A·W (gradient × activation), or its mean along the way from an empty map (integrated
gradients, Sundararajan et al. 2017); how much of the margin such a sum does not account for, the
completeness gap, is part of the result. Class and register tokens of token networks stand apart.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from core.attribution.case import Case, Input
from core.attribution.regions import cell_shares
from core.foundation.errors import UnitscopeError, unknown
from core.models.head import first_of
from core.models.hooks import as_maps, find_layer, tokens_beside
from core.models.outputs import put_back, taken

LINEAR, GRADIENT, INTEGRATED = "linear head", "gradient × activation", "integrated gradients"
KINDS = (LINEAR, GRADIENT, INTEGRATED)
"""How evidence is found: exact by a linear head, else by gradients."""

STEPS = 32
"""Points along the way from an empty map, of integrated gradients (midpoints)."""

Margin = Callable[[Tensor], Tensor]
"""Logits (images, classes) → (images,), what evidence is for."""


@dataclass(frozen=True, eq=False)
class Evidence:
    """One margin of one photo, as a sum.

    Attributes
    ----------
    kind : of :data:`KINDS`. margin : what is accounted for, z_a − z_b.
    places : float64 (units, height, width), the evidence of each unit at each place.
    beside : evidence of class and register tokens. bias : of the head, or the margin of an empty
        map for integrated gradients; 0 for gradient × activation.
    """

    kind: str
    margin: float
    places: np.ndarray
    beside: float
    bias: float

    @property
    def gap(self) -> float:
        """What the sum does not account for: 0 up to rounding where the head is linear."""
        return self.margin - float(self.places.sum()) - self.beside - self.bias

    @property
    def units(self) -> np.ndarray:
        """float64 (units,), each unit's part of the margin, from all places together."""
        total: np.ndarray = self.places.sum((1, 2))
        return total

    def by_concept(self, shares: np.ndarray) -> np.ndarray:
        """float64 (units, concepts + 1): each unit's evidence from each concept of a category, and
        from what none covers.

        shares : of :func:`core.attribution.regions.cell_shares` on this map's grid.
        """
        split: np.ndarray = np.einsum("uhw,chw->uc", self.places, shares)
        return split


@dataclass(frozen=True, eq=False)
class Split:
    """Evidence by the concepts of one category; the parts add up to the margin.

    Attributes
    ----------
    category : of the concepts. rows : rows of the photo's regions that are of it.
    units : float64 (units, concepts), evidence of each unit from each concept.
    rest : float64 (units,), from what no concept of the category covers.
    """

    category: str
    rows: np.ndarray
    units: np.ndarray
    rest: np.ndarray

    @property
    def concepts(self) -> np.ndarray:
        """float64 (concepts,), evidence from each concept."""
        total: np.ndarray = self.units.sum(0)
        return total


def margin_of(a: int, b: int | None) -> Margin:
    """The margin of class a over class b; over the mean of all others where b is None."""

    def over(logits: Tensor) -> Tensor:
        if b is not None:
            return logits[:, a] - logits[:, b]
        others = logits.shape[1] - 1
        return logits[:, a] - (logits.sum(1) - logits[:, a]) / max(1, others)

    return over


def evidence(case: Input, a: int, b: int | None = None, kind: str | None = None) -> Evidence:
    """Evidence for class a over class b in one photo, annotated or not.

    b : None for the mean of all other classes. kind : of :data:`KINDS`; where None, by the
        linear head where there is one, else by integrated gradients.

    Raises UnitscopeError for an unknown kind, and for a linear head where there is none.
    """
    opened = case.opened
    kind = kind or (LINEAR if opened.head is not None else INTEGRATED)
    if kind not in KINDS:
        raise unknown("kind of evidence", kind, KINDS)
    if kind == LINEAR:
        return _linear(case, a, b)
    with opened.lock:
        return _by_gradients(case, margin_of(a, b), kind)


def _linear(case: Input, a: int, b: int | None) -> Evidence:
    if case.opened.head is None:
        raise UnitscopeError(
            f"layer {case.opened.recorded.layer!r} has no linear head behind its means; evidence "
            f"is by {GRADIENT} or {INTEGRATED}"
        )
    over = margin_of(a, b)
    weights, bias = (torch.from_numpy(part).double() for part in case.opened.head)
    toward = over(weights).numpy()
    maps = case.maps.double().numpy()
    places = maps * toward[:, None, None] / (maps.shape[1] * maps.shape[2])
    margin = float(over(torch.from_numpy(case.logits[None]).double())[0])
    return Evidence(LINEAR, margin, places, 0.0, float(over(bias[None])[0]))


def _after(case: Input) -> Callable[[Tensor], Tensor]:
    """Logits (images, classes) of the layer's output, so that gradients flow through it: by the
    tail that was cut off, else by the whole network with its layer's output replaced."""
    opened = case.opened
    if opened.tail is not None:
        tail = opened.tail.tail
        return lambda tensor: first_of(tail(tensor))
    module = opened.forward.module
    inputs = opened.forward.inputs(case.photo[None])
    layer = find_layer(module, opened.recorded.layer)

    def run(tensor: Tensor) -> Tensor:
        handle = layer.register_forward_hook(lambda _m, _a, out: put_back(out, tensor))
        try:
            return first_of(module(inputs.expand(len(tensor), -1, -1, -1)))
        finally:
            handle.remove()

    return run


def _by_gradients(case: Input, over: Margin, kind: str) -> Evidence:
    after, raw = _after(case), taken(case.output).tensor.float()
    shape: tuple[int, int] = case.photo.shape[:2]
    layer = case.opened.recorded.layer
    scales = [1.0] if kind == GRADIENT else [(k + 0.5) / STEPS for k in range(STEPS)]
    total = torch.zeros_like(raw)
    with torch.enable_grad():
        for scale in scales:
            here = (raw * scale).detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(over(after(here)).sum(), here)
            total += gradient
    credit = (raw * total / len(scales)).double()
    places = as_maps(credit, layer, shape)[0].numpy()
    apart = tokens_beside(credit, shape)
    with torch.no_grad():
        margin = float(over(after(raw))[0])
        empty = float(over(after(torch.zeros_like(raw)))[0]) if kind == INTEGRATED else 0.0
    return Evidence(
        kind, margin, places.copy(), 0.0 if apart is None else float(apart.sum()), empty
    )


def layer_gradient(case: Case, a: int, b: int) -> tuple[np.ndarray, np.ndarray]:
    """The layer's maps of a photo, and the gradient of the margin of class a over class b by them:
    float64 (units, height, width) each."""
    with case.opened.lock:
        after, raw = _after(case), taken(case.output).tensor.float()
        with torch.enable_grad():
            here = raw.detach().requires_grad_(True)
            (gradient,) = torch.autograd.grad(margin_of(a, b)(after(here)).sum(), here)
    shape: tuple[int, int] = case.photo.shape[:2]
    maps = as_maps(gradient.double(), case.opened.recorded.layer, shape)[0].numpy()
    return case.maps.double().numpy(), maps


def split_by(case: Case, found: Evidence) -> dict[str, Split]:
    """Evidence by the concepts of each category of a photo: category → parts."""
    regions = case.regions
    height, width = found.places.shape[1:]
    result = {}
    for category in dict.fromkeys(regions.categories):
        rows = np.flatnonzero([k == category for k in regions.categories])
        split = found.by_concept(cell_shares(regions, category, (height, width)))
        result[category] = Split(category, rows, split[:, :-1], split[:, -1])
    return result


def concept_evidence(case: Case, found: Evidence) -> np.ndarray:
    """float64 (concepts,): the evidence from each of a photo's concepts, each within its own
    category (a sink counts as an object, and again as the metal that it is made of)."""
    total = np.zeros(len(case.regions))
    for split in split_by(case, found).values():
        total[split.rows] = split.concepts
    return total
