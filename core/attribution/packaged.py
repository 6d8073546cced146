"""Attribution methods that captum brings (an optional package), asked about concepts.

Their features are the photo's concepts, category by category, and the rest of the photo: what is
absent takes the photo's mean colour. Where two concepts of a category overlap, the later one has
the pixels.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from functools import lru_cache
from importlib import import_module
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.attribution.case import BATCH, Case
from core.attribution.evidence import margin_of
from core.foundation.errors import UnitscopeError
from core.models.head import first_of

SAMPLES = 128
"""Coalitions of concepts that LIME and KernelSHAP ask about."""

ORDERS = 16
"""Random orders in which concepts join, of Shapley values."""

STEPS = 32
"""Points between the empty photo and this one, of integrated gradients on pixels."""

WINDOW = 6
"""Windows along each side of the photo, which overlap by half."""


def _captum() -> Any:
    try:
        return import_module("captum.attr")
    except ImportError as err:
        raise UnitscopeError(
            f"this attribution method needs captum, which cannot be imported ({err}): make optional"
        ) from err


def _prepared(case: Case, a: int, b: int) -> tuple[Callable[[Tensor], Tensor], Tensor, Tensor]:
    """(margin of inputs (images,), the photo's input, that of its mean colour)."""
    opened = case.opened
    over = margin_of(a, b)
    empty = np.empty_like(case.photo)
    empty[:] = case.photo.mean((0, 1)).round()
    both = opened.forward.inputs(np.stack([case.photo, empty]))

    known = _known(case)

    def forward(inputs: Tensor) -> Tensor:
        if torch.is_grad_enabled():
            return over(first_of(opened.forward.module(inputs)))
        key = hashlib.blake2b(inputs.contiguous().numpy().tobytes(), digest_size=16).digest()
        if key not in known:
            known[key] = first_of(opened.forward.module(inputs))
        return over(known[key])

    return forward, both[:1], both[1:]


@lru_cache(maxsize=1)
def _known(_case: Case) -> dict[bytes, Tensor]:
    """Logits of batches of a photo's variants: asked about another margin, a method asks for the
    same ones."""
    return {}


def _summed(case: Case, image: Tensor) -> np.ndarray:
    """What a map (1, channels, height, width) holds over each concept: float64 (concepts,)."""
    flat = image.detach().double().sum(1)[0].cpu().numpy()
    found: np.ndarray = (case.regions.masks * flat).sum((1, 2))
    return found


def pixel_integrated(case: Case, a: int, b: int) -> np.ndarray:
    """Integrated gradients (Sundararajan et al., ICML 2017) from the photo's mean colour to the
    photo, summed over each concept: float64 (concepts,)."""
    captum = _captum()
    with case.opened.lock:
        forward, photo, empty = _prepared(case, a, b)
        ways = captum.IntegratedGradients(forward)
        image = ways.attribute(photo, empty, n_steps=STEPS, internal_batch_size=BATCH)
    return _summed(case, image)


def window(case: Case, a: int, b: int) -> np.ndarray:
    """Occlusion by a sliding window (Zeiler and Fergus, ECCV 2014), summed over each concept:
    float64 (concepts,)."""
    captum = _captum()
    with case.opened.lock, torch.no_grad():
        forward, photo, empty = _prepared(case, a, b)
        height, width = (max(2, side // WINDOW) for side in case.photo.shape[:2])
        image = captum.Occlusion(forward).attribute(
            photo,
            sliding_window_shapes=(photo.shape[1], height, width),
            strides=(photo.shape[1], max(1, height // 2), max(1, width // 2)),
            baselines=empty,
            perturbations_per_eval=BATCH,
        )
    return _summed(case, image)


def _by_features(case: Case, a: int, b: int, name: str, *beside: Any, **given: Any) -> np.ndarray:
    """A method of captum that knows features, asked for each category of concepts.

    beside, given : for its constructor, and for its question.
    """
    captum = _captum()
    found = np.zeros(len(case.regions))
    with case.opened.lock, torch.no_grad():
        forward, photo, empty = _prepared(case, a, b)
        for category in dict.fromkeys(case.regions.categories):
            rows = np.flatnonzero([kind == category for kind in case.regions.categories])
            feature = np.zeros(case.photo.shape[:2], np.int64)
            for k, row in enumerate(rows):
                feature[case.regions.masks[row]] = k + 1
            there = np.unique(feature)
            # Captum counts features without gaps; what lies wholly behind others is none.
            packed = torch.from_numpy(np.searchsorted(there, feature))
            torch.manual_seed(case.image)
            image = getattr(captum, name)(forward, *beside).attribute(
                photo, empty, feature_mask=packed.repeat(1, photo.shape[1], 1, 1), **given
            )
            flat = image[0, 0].double().cpu().numpy()
            for k, row in enumerate(rows):
                here = feature == k + 1
                if here.any():
                    found[row] = flat[here][0]
    return found


def lime(case: Case, a: int, b: int) -> np.ndarray:
    """LIME (Ribeiro, Singh and Guestrin, KDD 2016) with concepts as its superpixels: float64
    (concepts,), the weights of a ridge regression, as in the original (captum's own default, a
    lasso, gives most concepts 0)."""
    return _by_features(
        case, a, b, "Lime", _ridge(), n_samples=SAMPLES, perturbations_per_eval=BATCH
    )


def _ridge() -> Any:
    """A ridge regression as captum asks for one."""
    from sklearn.linear_model import Ridge

    model = import_module("captum._utils.models.model").Model

    class Fitted(model):  # type: ignore[misc, valid-type]
        def fit(self, train_data: Any, **_given: Any) -> dict[str, float]:
            x, y, weight = (torch.cat(part).numpy() for part in zip(*train_data, strict=True))
            self.found = Ridge().fit(x, y.reshape(-1), weight.reshape(-1))
            return {}

        def representation(self) -> Tensor:
            return torch.from_numpy(self.found.coef_)

        def __call__(self, x: Tensor) -> Tensor:
            return torch.from_numpy(self.found.predict(x.numpy()))

    return Fitted()


def kernel_shap(case: Case, a: int, b: int) -> np.ndarray:
    """KernelSHAP (Lundberg and Lee, NeurIPS 2017) over concepts: float64 (concepts,)."""
    return _by_features(case, a, b, "KernelShap", n_samples=SAMPLES, perturbations_per_eval=BATCH)


def shapley(case: Case, a: int, b: int) -> np.ndarray:
    """Shapley values over concepts by random orders (Castro et al., 2009): float64 (concepts,)."""
    return _by_features(
        case, a, b, "ShapleyValueSampling", n_samples=ORDERS, perturbations_per_eval=BATCH
    )
