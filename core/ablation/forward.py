"""Running a network with a layer edited: by a forward hook, or only what follows the layer."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch
from torch import Tensor, fx, nn

from core.ablation.edits import Change
from core.models.head import first_of
from core.models.hooks import as_maps, find_layer
from core.models.outputs import put_back, taken


def apply_change(maps: Tensor, change: Change) -> None:
    """scale·maps + shift, in place; maps (images, units, height, width)."""

    def wide(values: np.ndarray) -> Tensor:
        table = torch.from_numpy(np.atleast_2d(values).astype(np.float32))
        return table[:, :, None, None].to(maps.dtype)

    at = change.touched
    if len(at) == maps.shape[1]:
        maps.mul_(wide(change.scale)).add_(wide(change.shift))
    elif len(at):
        # A unit scaled by 0 becomes exactly 0 wherever its map is finite, as it always is here.
        part = maps[:, at] * wide(change.scale[..., at]) + wide(change.shift[..., at])
        maps[:, at] = part


def copied(output: Any) -> Any:
    """A layer's output with its tensor of maps copied, so that it can be written to."""
    return put_back(output, taken(output).tensor.clone())


def forward_edited(module: nn.Module, layer: str, inputs: Tensor, change: Change) -> Tensor:
    """Logits float32 (images, classes) of the whole network with a layer's maps changed by a
    forward hook. The class and register tokens of token models are left alone."""
    shape = (inputs.shape[2], inputs.shape[3])

    def hook(_module: nn.Module, _args: Any, output: Any) -> Any:
        fresh = copied(output)
        apply_change(as_maps(fresh, layer, shape), change)
        return fresh

    handle = find_layer(module, layer).register_forward_hook(hook)
    try:
        with torch.inference_mode():
            return first_of(module(inputs))
    finally:
        handle.remove()


def tail_of(module: nn.Module, layer: str) -> fx.GraphModule | None:
    """What a network does after a layer, as a module of that layer's output.

    The network is traced symbolically; what the output needs is copied, up to the layer.
    None where the network cannot be traced, or where its output depends on the input by
    another path than through the layer.
    """

    class Tracer(fx.Tracer):
        def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
            # Only what contains the layer is looked into; all else is called as it is, so that
            # it need not be traceable.
            return not layer.startswith(f"{module_qualified_name}.")

    # Options of the network's own forward stay at their defaults: they are no input. The first
    # is the photo, whether it has a default or not.
    options = {
        name: option.default
        for name, option in list(inspect.signature(module.forward).parameters.items())[1:]
        if option.default is not option.empty
    }
    try:
        graph = Tracer().trace(module, options)
    except Exception:  # whatever a user's own forward does with a symbolic value
        return None
    at = [n for n in graph.nodes if n.op == "call_module" and n.target == layer]
    if len(at) != 1:
        return None
    output = next(n for n in graph.nodes if n.op == "output")
    needed, waiting = {at[0]}, [output]
    while waiting:
        node = waiting.pop()
        if node not in needed:
            needed.add(node)
            waiting.extend(node.all_input_nodes)
    if any(n.op == "placeholder" for n in needed):
        return None
    fresh = fx.Graph()
    copies = {at[0]: fresh.placeholder("maps")}
    for node in graph.nodes:
        if node in needed and node is not at[0]:
            copies[node] = fresh.node_copy(node, lambda n: copies[n])
    # Its parts are the network's own, which stay in the mode they are in.
    return fx.GraphModule(module, fresh)
