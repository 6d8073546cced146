"""Capturing unit maps by a layer's dotted name, and always letting go again."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from core.errors import UnitscopeError, unknown


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The sub-module of a dotted name. Raises with the nearest names where there is none.

    >>> find_layer(nn.Sequential(nn.ReLU()), "0")
    ReLU()
    """
    modules = dict(model.named_modules())
    if name and name in modules:
        return modules[name]
    raise unknown("layer", name, [layer for layer in modules if layer])


def as_maps(output: Any, layer: str, seen: tuple[int, int] | None = None) -> Tensor:
    """A layer's output as unit maps (images, units, height, width).

    Convolutional maps stay as they are; (images, height, width, units) (Swin) is turned, told
    apart by which two sides have the shape of the network's input, `seen` (height, width;
    square where None); tokens (images, tokens, units) are laid on their grid after the class
    and register tokens are dropped; (images, units) is a map of one cell.

    Raises UnitscopeError where the output is none of these, with its shape.

    >>> as_maps(torch.zeros(2, 1 + 49, 16), "encoder").shape
    torch.Size([2, 16, 7, 7])
    """
    if isinstance(output, (tuple, list)) and output and isinstance(output[0], Tensor):
        output = output[0]
    if not isinstance(output, Tensor):
        raise UnitscopeError(f"layer {layer!r} gives {type(output).__name__}, not a tensor")
    if output.ndim == 4:
        _, a, b, c = output.shape
        height, width = seen or (1, 1)
        # How far each reading's grid is from the input's shape, as a ratio.
        first = abs(math.log(b / c * width / height)) if c else 0.0
        last = abs(math.log(a / b * width / height)) if b else 0.0
        return output.permute(0, 3, 1, 2) if last + 0.2 < first else output
    if output.ndim == 3:
        tokens = output.shape[1]
        side = math.isqrt(tokens)
        # Class, distillation and register tokens come first; no network has more than eight.
        if side and tokens - side * side <= 8:
            grid = output[:, tokens - side * side :]
            return grid.transpose(1, 2).unflatten(2, (side, side))
    if output.ndim == 2:
        return output[:, :, None, None]
    raise UnitscopeError(
        f"layer {layer!r} gives shape {tuple(output.shape)}: neither maps "
        "(images, units, height, width), tokens on a square grid, nor (images, units)"
    )


@contextmanager
def capture(
    model: nn.Module,
    layers: Sequence[str],
    keep: Callable[[Tensor], Any] = lambda maps: maps.detach().clone(),
) -> Iterator[dict[str, Any]]:
    """Within the context, every forward pass leaves ``keep(maps)`` of each layer in the dict.

    `keep` must copy what it wants to hold: the next module may work in place. The hooks are
    gone when the context ends, however it ends.

    Raises UnitscopeError for an unknown layer, and, in the forward pass, for a module that
    is called more than once (a shared ReLU): which of its maps is meant would be a guess.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    >>> with capture(net, ["0"]) as maps:
    ...     _ = net(torch.zeros(1, 3, 2, 2))
    >>> maps["0"].shape
    torch.Size([1, 4, 2, 2])
    """
    found: dict[str, Any] = {}
    passes = 0
    shape: tuple[int, int] | None = None
    seen: dict[str, int] = {}

    def start(_module: nn.Module, args: Any) -> None:
        nonlocal passes, shape
        passes += 1
        shape = _shape_of(args)

    def hook_for(layer: str) -> Callable[..., None]:
        def hook(_module: nn.Module, _args: Any, output: Any) -> None:
            if seen.get(layer) == passes:
                raise UnitscopeError(
                    f"layer {layer!r} is called more than once in a forward pass; "
                    "choose the block that contains it"
                )
            seen[layer] = passes
            found[layer] = keep(as_maps(output, layer, shape))

        return hook

    handles = []
    try:
        handles.append(model.register_forward_pre_hook(start))
        for layer in layers:
            handles.append(find_layer(model, layer).register_forward_hook(hook_for(layer)))
        yield found
    finally:
        for handle in handles:
            handle.remove()


def _shape_of(args: Any) -> tuple[int, int] | None:
    image = args[0] if args else None
    if isinstance(image, Tensor) and image.ndim == 4:
        return image.shape[2], image.shape[3]
    return None


class Layer(NamedTuple):
    """One entry of a network's tree: dotted name, kind of module, shape of its maps."""

    name: str
    kind: str
    units: int
    height: int
    width: int


def list_layers(model: nn.Module, example: Tensor) -> list[Layer]:
    """Every layer whose output can be dissected, in the order of the forward pass.

    `example` is one network input (1, 3, height, width). Modules that give no maps, or are
    called more than once, are left out.
    """
    rows: dict[str, Layer | None] = {}

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: Any, output: Any) -> None:
            if name in rows:
                rows[name] = None
                return
            try:
                _, units, height, width = as_maps(output, name, _shape_of((example,))).shape
            except UnitscopeError:
                return
            rows[name] = Layer(name, type(module).__name__, units, height, width)

        return hook

    handles = [m.register_forward_hook(hook_for(name)) for name, m in model.named_modules() if name]
    try:
        with torch.inference_mode():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return [row for row in rows.values() if row is not None]
