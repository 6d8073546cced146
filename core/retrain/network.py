"""The network that is trained again: its classifier, the features before it, its predictions."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.foundation.errors import UnitscopeError
from core.foundation.geometry import Preprocessing
from core.foundation.progress import STOPPED, Stop, Stopped, never
from core.models.hooks import find_layer
from core.models.outputs import vector


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    )


def find_classifier(module: nn.Module, example: Tensor) -> tuple[str, int, int]:
    """The network's classifier: (dotted name, its features, the network's outputs).

    Found by a forward pass, not by its name: of the linear and 1×1 layers with as many outputs
    as the network, the last that is called. Raises UnitscopeError where there is none.
    """
    called: list[tuple[str, Any]] = []
    handles = [
        part.register_forward_hook(lambda m, _a, _o, name=name: called.append((name, m)))
        for name, part in module.named_modules()
        if _is_linear(part)
    ]
    try:
        with torch.inference_mode():
            outputs = vector(module(example)).shape[1]
    finally:
        for handle in handles:
            handle.remove()
    for name, part in reversed(called):
        width = part.out_features if isinstance(part, nn.Linear) else part.out_channels
        if width == outputs:
            ins = part.in_features if isinstance(part, nn.Linear) else part.in_channels
            return name, int(ins), outputs
    raise UnitscopeError(
        f"the network has {outputs} outputs, but no linear or 1×1 layer with as many: its "
        "classifier cannot be found"
    )


@contextmanager
def watched_features(module: nn.Module, classifier: str) -> Iterator[list[Tensor]]:
    """Within the context, the list holds the last forward pass's input of the classifier.

    Tensor (images, features): tokens and the grid of a 1×1 layer are averaged.
    """
    found: list[Tensor] = []

    def hook(_module: nn.Module, args: Any) -> None:
        x = args[0]
        pooled = x.mean((2, 3)) if x.ndim == 4 else x.reshape(len(x), -1, x.shape[-1]).mean(1)
        found[:] = [pooled]

    handle = module.get_submodule(classifier).register_forward_pre_hook(hook)
    try:
        yield found
    finally:
        handle.remove()


def new_head(module: nn.Module, classifier: str, outputs: int, seed: int) -> None:
    """Put a fresh classifier with `outputs` outputs in the old one's place, drawn from `seed`."""
    parent, _, leaf = classifier.rpartition(".")
    old = module.get_submodule(classifier)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh: nn.Module
        if isinstance(old, nn.Linear):
            fresh = nn.Linear(old.in_features, outputs, old.bias is not None)
        else:
            assert isinstance(old, nn.Conv2d)
            fresh = nn.Conv2d(old.in_channels, outputs, 1, bias=old.bias is not None)
    setattr(module.get_submodule(parent) if parent else module, leaf, fresh)


def kept_layers(module: nn.Module, since: str | None) -> list[nn.Module]:
    """Modules that stay as they are: those listed before the layer `since`, none where None.

    Modules that contain it are not among them. Raises with the nearest names for an unknown one.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()))
    >>> kept_layers(net, "1.1")  # doctest: +ELLIPSIS
    [Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1)), Conv2d(4, 4, kernel_size=(1, 1), ...)]
    """
    if since is None:
        return []
    find_layer(module, since)
    names = [name for name, _ in module.named_modules()]
    before = names[: names.index(since)]
    return [
        module.get_submodule(name) for name in before if name and not since.startswith(f"{name}.")
    ]


class Inputs:
    """uint8 photos → the network's input, by its own preprocessing."""

    def __init__(self, preprocessing: Preprocessing):
        std = torch.tensor(preprocessing.std, dtype=torch.float32)
        self.scale = (1.0 / (std * preprocessing.divide)).reshape(1, 3, 1, 1)
        self.shift = (-torch.tensor(preprocessing.mean) / std).reshape(1, 3, 1, 1)
        self.reverse = preprocessing.channels == "BGR"

    def __call__(self, seen: np.ndarray) -> Tensor:
        x = torch.from_numpy(seen)
        if self.reverse:
            x = x.flip(-1)
        # Lies in memory channel by channel last, as the weights do.
        return x.permute(0, 3, 1, 2).float().mul_(self.scale).add_(self.shift)


@torch.inference_mode()
def predict(
    module: nn.Module,
    preprocessing: Preprocessing,
    seen: np.ndarray,
    stop: Stop = never,
    classifier: str | None = None,
    batch: int = 64,
) -> tuple[np.ndarray, np.ndarray | None]:
    """(logits, features) of uint8 photos, float32, in evaluation mode; no augmentation.

    features : the pooled input of the layer named `classifier`; None where none is named.

    Raises UnitscopeError where a logit is no finite number.
    """
    module.eval()
    inputs, logits, features = Inputs(preprocessing), [], []
    name = classifier or find_classifier(module, inputs(seen[:1]))[0]
    with watched_features(module, name) as found:
        for at in range(0, len(seen), batch):
            if stop():
                raise Stopped(STOPPED)
            logits.append(vector(module(inputs(seen[at : at + batch]))).float().numpy())
            features.append(found[0].float().numpy())
    whole = np.concatenate(logits)
    bad = np.flatnonzero(~np.isfinite(whole).all(1))
    if len(bad):
        first = whole[bad[0]]
        raise UnitscopeError(
            f"the network gives {first[~np.isfinite(first)][0]}, not a finite number, for "
            f"{len(bad)} of {len(whole)} photos"
        )
    return whole, np.concatenate(features) if classifier else None
