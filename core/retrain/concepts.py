"""Concepts in the loss of Eq. 10: L_c, golden concepts of an image, the head that scores them."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.foundation.errors import unknown
from core.knowledge.core_concepts import CoreConcepts
from core.retrain.result import CONTROL

FORMS = ("softmax", "sigmoid")
"""Of L_c: Eq. 10 as written, and each concept a yes or no of its own."""


def concept_loss(scores: Tensor, golden: Tensor, form: str = "softmax") -> Tensor:
    """L_c of every image (Eq. 10), float (images,), in nats.

    scores : (images, concepts), outputs of the concept head. golden : 0 or 1, of that shape.

    softmax : −Σ_{c* golden} log P(c*), P a softmax over the concepts: the sum as written, so an
        image with many golden concepts weighs more, and one without any nothing.
    sigmoid : −Σ_{c golden} log σ(s_c) − Σ_{c not golden} log(1 − σ(s_c)).

    Raises UnitscopeError for another form.

    >>> import math
    >>> scores = torch.zeros(1, 4)
    >>> golden = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    >>> float(concept_loss(scores, golden) / math.log(4)), float(
    ...     concept_loss(scores, golden, "sigmoid") / math.log(2))
    (2.0, 4.0)
    """
    if form == "softmax":
        return -(F.log_softmax(scores, 1) * golden).sum(1)
    if form == "sigmoid":
        return F.binary_cross_entropy_with_logits(scores, golden, reduction="none").sum(1)
    raise unknown("form of the concept loss", form, FORMS)


def golden_concepts(
    has: np.ndarray, scene: np.ndarray, kind: str, core: CoreConcepts | None
) -> np.ndarray:
    """c* of every image: bool (images, concepts), annotated in x ∩ CC(y).

    has : bool (images, concepts), annotated. scene : int (images,), y, by row of `core`.
    kind : of :data:`GOLDEN`; ``annotated`` needs no `core` and takes all of `has`.
    """
    if kind == "annotated":
        return has.copy()
    assert core is not None
    return np.asarray(has & core.members[scene])


def concept_head(
    features: int, golden: dict[str, np.ndarray], kind: str, seed: int
) -> nn.Module | None:
    if kind == CONTROL:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return nn.Linear(features, golden[kind].shape[1])
