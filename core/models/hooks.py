"""Capturing unit maps of layers by dotted name, with hooks that are always removed."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import cache
from typing import Any, NamedTuple, TypeVar

import torch
from torch import Tensor, nn

from core.foundation.errors import UnitscopeError, unknown
from core.models.outputs import taken

Kept = TypeVar("Kept")


def find_layer(model: nn.Module, name: str) -> nn.Module:
    """The sub-module of a dotted name. Raises with the nearest names where there is none.

    >>> find_layer(nn.Sequential(nn.ReLU()), "0")
    ReLU()
    """
    modules = dict(model.named_modules())
    if name and name in modules:
        value: nn.Module = modules[name]
        return value
    raise unknown("layer", name, [layer for layer in modules if layer])


MOST_BESIDE = 8
"""Class, distillation and register tokens come before the grid's; no network has more of them."""

USUAL_BESIDE = (0, 1, 2, 4, 5)
"""As many as networks do have: none, a class token, another of distillation, four registers."""


@cache
def token_grid(tokens: int, seen: tuple[int, int] | None = None) -> tuple[int, int, int] | None:
    """(tokens beside the grid, grid height, grid width) of a sequence of tokens.

    The grid is that of square patches of the network's input, `seen` (height, width; square
    where None), what is over at its edges cut off. Where several such grids have so many tokens,
    the first is taken by: a usual number of tokens beside it, nothing cut off, few beside it.
    Where none has, a grid of the input's shape up to a part of a cell is taken, with as few
    tokens beside it as can be. None where there is no such grid either.

    >>> token_grid(1 + 14 * 14), token_grid(49), token_grid(1 + 6 * 8, (384, 512)), token_grid(46)
    ((1, 14, 14), (0, 7, 7), (1, 6, 8), None)
    """
    height, width = seen or (1, 1)
    most = min(MOST_BESIDE, tokens - 1)
    patched = []
    for side in range(2, min(height, width) + 1):
        rows, columns = height // side, width // side
        beside = tokens - rows * columns
        if 0 <= beside <= most:
            cut = height % side or width % side
            order = (beside not in USUAL_BESIDE, bool(cut), beside)
            patched.append((order, (beside, rows, columns)))
    if patched:
        return min(patched)[1]
    for beside in range(most + 1):
        cells = tokens - beside
        rows = round(math.sqrt(cells * height / width))
        columns = cells // max(1, rows)
        # Patches are cut off at the edge, so that the two shapes may differ by a part of a cell.
        fits = rows * columns == cells and abs(rows * width - columns * height) < max(height, width)
        if fits:
            return beside, rows, columns
    return None


def as_maps(output: Any, layer: str, seen: tuple[int, int] | None = None) -> Tensor:
    """A layer's output as unit maps (images, units, height, width), a view of it.

    Convolutional maps stay as they are; (images, height, width, units) (Swin) is turned,
    recognised by which two sides have the shape of the network's input, `seen` (height, width;
    square where None); tokens (images, tokens, units) are laid on their grid after the class
    and register tokens are dropped; (images, units) is a map of one cell.

    Raises UnitscopeError where the output is none of these, with its shape.

    >>> as_maps(torch.zeros(2, 1 + 49, 16), "encoder").shape
    torch.Size([2, 16, 7, 7])
    """
    try:
        tensor = taken(output).tensor
    except UnitscopeError as err:
        raise UnitscopeError(f"layer {layer!r} {err}") from None
    if tensor.ndim == 4:
        _, a, b, c = tensor.shape
        height, width = seen or (1, 1)
        # How far each reading's grid is from the input's shape, as a ratio.
        first = abs(math.log(b / c * width / height)) if c else 0.0
        last = abs(math.log(a / b * width / height)) if b else 0.0
        return tensor.permute(0, 3, 1, 2) if last + 0.2 < first else tensor
    if tensor.ndim == 3:
        grid = token_grid(tensor.shape[1], seen)
        if grid is not None:
            beside, rows, columns = grid
            return torch.unflatten(tensor[:, beside:].transpose(1, 2), 2, (rows, columns))
    if tensor.ndim == 2:
        return tensor[:, :, None, None]
    raise UnitscopeError(
        f"layer {layer!r} gives shape {tuple(tensor.shape)}: neither maps "
        "(images, units, height, width), tokens on a grid, nor (images, units)"
    )


def tokens_beside(output: Any, seen: tuple[int, int] | None = None) -> Tensor | None:
    """What :func:`as_maps` drops: (images, tokens, units), a view; None where that is nothing.

    >>> tokens_beside(torch.zeros(2, 1 + 49, 16)).shape
    torch.Size([2, 1, 16])
    """
    tensor = taken(output).tensor
    if tensor.ndim == 3:
        grid = token_grid(tensor.shape[1], seen)
        if grid is not None and grid[0]:
            return tensor[:, : grid[0]]
    return None


def _copied(maps: Tensor, _beside: Tensor | None) -> Tensor:
    return maps.detach().clone()


def capture(model: nn.Module, layers: Sequence[str]) -> AbstractContextManager[dict[str, Tensor]]:
    """Within the context, every forward pass leaves a copy of the maps of each layer in the dict
    (:func:`capture_by`).

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU())
    >>> with capture(net, ["0"]) as maps:
    ...     _ = net(torch.zeros(1, 3, 2, 2))
    >>> maps["0"].shape
    torch.Size([1, 4, 2, 2])
    """
    return capture_by(model, layers, _copied)


@contextmanager
def capture_by(
    model: nn.Module, layers: Sequence[str], keep: Callable[[Tensor, Tensor | None], Kept]
) -> Iterator[dict[str, Kept]]:
    """Within the context, every forward pass leaves ``keep(maps, tokens beside the grid or None)``
    of each layer in the dict.

    `keep` must copy what it wants to hold: the next module may work in place. The hooks are removed
    when the context ends, even by an exception.

    Raises UnitscopeError for an unknown layer, and, in the forward pass, for a module that
    is called more than once (a shared ReLU): which of its maps is meant would be a guess.
    """
    found: dict[str, Kept] = {}
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
            found[layer] = keep(as_maps(output, layer, shape), tokens_beside(output, shape))

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


def check_layer(model: nn.Module, example: Tensor, name: str, known: Iterable[str]) -> None:
    """Raise with the reason where a layer is not one of those that can be dissected, `known`: it is
    not there (nearest names), is called more than once, is never reached, or gives no maps."""
    if name in known:
        return
    if name in dict(model.named_modules()):
        with torch.inference_mode(), capture(model, [name]) as found:
            model(example)
        if name and name not in found:
            raise UnitscopeError(f"the forward pass never reached layer {name}")
    raise unknown("layer", name, known)


def _shape_of(args: Any) -> tuple[int, int] | None:
    image = args[0] if args else None
    if isinstance(image, Tensor) and image.ndim == 4:
        return image.shape[2], image.shape[3]
    return None


class Layer(NamedTuple):
    """One entry of a network's tree: dotted name, kind of module, shape of its maps, and how
    many tokens it gives beside them (a class token and the like)."""

    name: str
    kind: str
    units: int
    height: int
    width: int
    beside: int = 0


def list_layers(model: nn.Module, example: Tensor) -> list[Layer]:
    """Every layer whose output can be dissected, in the order of the forward pass.

    `example` is one network input (1, 3, height, width). Modules that give no maps, or are
    called more than once, are left out.
    """
    rows: dict[str, Layer | None] = {}
    seen = _shape_of((example,))

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, _args: Any, output: Any) -> None:
            if name in rows:
                rows[name] = None
                return
            try:
                _, units, height, width = as_maps(output, name, seen).shape
            except UnitscopeError:
                return
            apart = tokens_beside(output, seen)
            beside = 0 if apart is None else apart.shape[1]
            rows[name] = Layer(name, type(module).__name__, units, height, width, beside)

        return hook

    handles = [m.register_forward_hook(hook_for(name)) for name, m in model.named_modules() if name]
    try:
        with torch.inference_mode():
            model(example)
    finally:
        for handle in handles:
            handle.remove()
    return [row for row in rows.values() if row is not None]
