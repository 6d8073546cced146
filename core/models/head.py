"""What a network does with a layer's maps, determined numerically, never by names."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.models.dictionary import dictionary_of
from core.models.hooks import as_maps, find_layer
from core.models.outputs import put_back, taken, vector

CLOSE = 1e-5
"""Two computations agree where no logit differs by more than this share of the largest, or of 1."""

PROBES = 4
"""Photos of a run on which the computations are compared."""


def agree(a: np.ndarray, b: np.ndarray) -> float:
    """Largest difference, as a share of the largest value of b (or of 1).

    >>> agree(np.array([1.0, 5.0]), np.array([1.0, 4.0])), agree(np.array([np.nan]), np.zeros(1))
    (0.25, inf)
    """
    if a.shape != b.shape or not (np.isfinite(a).all() and np.isfinite(b).all()):
        return float("inf")
    return float(np.abs(a - b).max(initial=0.0) / max(1.0, np.abs(b).max(initial=0.0)))


def first_of(output: Any) -> Tensor:
    """A network's output as float32 logits (images, classes)."""
    return vector(output).float()


def linear_head(
    module: nn.Module, layer: str, inputs: Tensor
) -> tuple[nn.Module, np.ndarray, np.ndarray] | None:
    """The linear layer that maps the means of a layer's maps to the network's output, found by its
    inputs and outputs: (module, weights (units, classes), bias (classes,)); None where no module of
    the network does that."""
    shape = (inputs.shape[2], inputs.shape[3])
    pooled: list[Tensor] = []
    passed: list[tuple[nn.Module, Tensor, Tensor]] = []

    def watch(_module: nn.Module, _args: Any, output: Any) -> None:
        pooled.append(as_maps(output, layer, shape).float().mean((2, 3)))

    def note(linear: nn.Module, args: Any, output: Any) -> None:
        if isinstance(output, Tensor) and args and isinstance(args[0], Tensor):
            passed.append((linear, args[0].detach().clone(), output.detach().clone()))

    linears = [
        m
        for m in module.modules()
        if isinstance(m, nn.Linear)
        or (isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1) and m.groups == 1)
    ]
    handles = [find_layer(module, layer).register_forward_hook(watch)]
    handles += [m.register_forward_hook(note) for m in linears]
    try:
        with torch.inference_mode():
            out = first_of(module(inputs)).numpy()
    finally:
        for handle in handles:
            handle.remove()
    if len(pooled) != 1:
        return None
    means = pooled[0].numpy()
    for linear, given, gave in reversed(passed):
        enters, leaves = given.float().flatten(1).numpy(), gave.float().flatten(1).numpy()
        if agree(enters, means) <= CLOSE and agree(leaves, out) <= CLOSE:
            facts = dict(linear.named_parameters(recurse=False))
            weight = facts["weight"].detach().float().flatten(1).numpy().T
            bias = np.zeros(weight.shape[1], np.float32)
            if "bias" in facts:
                bias = facts["bias"].detach().float().numpy()
            return linear, np.ascontiguousarray(weight), bias
    return None


def rounding(module: nn.Module, layer: str, inputs: Tensor) -> float:
    """How far the logits move when a layer's output is rounded to half precision, as in
    :func:`agree`; 0 where one linear layer reads the means of its maps (or of those that the codes
    of a dictionary are added to), which are kept in single precision."""
    dictionary = dictionary_of(module, layer)
    read = layer if dictionary is None else dictionary.behind
    if linear_head(module, read, inputs) is not None:
        return 0.0

    def halved(output: Any) -> Any:
        maps = taken(output).tensor
        return put_back(output, maps.half().to(maps.dtype))

    with torch.inference_mode():
        plain = first_of(module(inputs)).numpy()
        handle = find_layer(module, layer).register_forward_hook(lambda _m, _a, out: halved(out))
        try:
            return agree(first_of(module(inputs)).numpy(), plain)
        finally:
            handle.remove()


def by_batch(module: nn.Module) -> list[str]:
    """Dotted names of batch norms that normalise by the current batch: those without
    running statistics, and those that stay in training mode.

    >>> norms = nn.BatchNorm2d(2), nn.BatchNorm2d(2, track_running_stats=False)
    >>> by_batch(nn.Sequential(*norms).eval())
    ['1']
    """
    return [
        name
        for name, part in module.named_modules()
        if isinstance(part, nn.modules.batchnorm._BatchNorm)
        and (part.training or (part.running_mean is None and part.running_var is None))
    ]


def together(module: nn.Module, inputs: Tensor) -> float:
    """How far the logits of the first photo move when it is run alone instead of with the others,
    as in :func:`agree`; infinite where the network does not take a photo alone, 0 where it gives
    what is no finite number either way."""
    with torch.inference_mode():
        whole = first_of(module(inputs))[:1].numpy()
        try:
            alone = first_of(module(inputs[:1])).numpy()
        except (ValueError, RuntimeError):
            return float("inf")
    return agree(alone, whole) if np.isfinite(whole).all() else 0.0


def batch_words(module: nn.Module, inputs: Tensor | None = None) -> str:
    """A sentence if an answer depends on the other photos in its batch; "" if it does not.

    By the network's batch norms, and, where `inputs` (two photos or more) are given, by numbers.

    >>> batch_words(nn.Sequential(nn.BatchNorm2d(2, track_running_stats=False)))[:52]
    'batch normalisation by the batch at hand, not by run'
    >>> batch_words(nn.Sequential(nn.BatchNorm2d(2)).eval())
    ''
    """
    norms = by_batch(module)
    if norms:
        more = f" and {len(norms) - 1} more" if len(norms) > 1 else ""
        return (
            f"batch normalisation by the batch at hand, not by running statistics ({norms[0]}"
            f"{more}): the answer to a photo depends on the other photos in its batch"
        )
    if inputs is not None and len(inputs) > 1:
        moved = together(module, inputs)
        if moved > 100 * CLOSE:
            return (
                "the answer to a photo depends on the other photos in its batch: run alone, its "
                f"logits move by {moved:.1e} of the largest"
            )
    return ""
