"""What a network gives back: which tensor of it is meant, and whether it is an answer at all.

Networks return a tensor, a tuple, a dict or an object with named parts. :func:`taken` is the one
place that says which tensor is meant, for whole networks and for their layers alike.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from torch import Tensor, nn

from core.foundation.errors import UnitscopeError

NAMED = ("logits", "out")
"""Names under which networks return their answer beside other parts, the first that is there."""

HIDDEN = "last_hidden_state"
"""What a Hugging Face network without a classifier returns: one feature vector a token."""

HEADS = ("fc", "head", "heads", "classifier")
"""Attributes that hold the classifier of torchvision's and timm's networks."""


class Taken(NamedTuple):
    """The tensor that is meant, where in the output it lies (a key or a place; None: it is the
    output itself), and the choice in words where there was one."""

    tensor: Tensor
    at: Any = None
    said: str = ""


def taken(output: Any) -> Taken:
    """The tensor to use from what a network or a layer returned.

    A tensor is meant itself. Of a dict, or an object with named parts (Hugging Face's
    ``ModelOutput``, a named tuple), ``logits`` is, else ``out``, else the only tensor. Of a tuple
    or a list the first tensor is.

    Raises UnitscopeError where there is no tensor, or several and nothing to choose by, saying
    what there is.

    >>> import torch
    >>> one, two = torch.zeros(1, 5), torch.zeros(1, 9)
    >>> taken({"features": two, "logits": one}).at, taken({"scores": one, "loss": None}).at
    ('logits', 'scores')
    >>> taken((one, two)).said
    'element 0, of shape (1, 5), of a tuple of 2'
    >>> taken({"a": one, "b": two})
    Traceback (most recent call last):
        ...
    core.foundation.errors.UnitscopeError: gives a dict of a (1, 5), b (1, 9), none of them named \
logits or out
    """
    if isinstance(output, Tensor):
        return Taken(output)
    kind = type(output).__name__
    named = _named(output)
    if named is not None:
        for name in NAMED:
            if isinstance(named.get(name), Tensor):
                return Taken(named[name], name)
        there = {k: v for k, v in named.items() if isinstance(v, Tensor)}
        if len(there) == 1:
            ((name, tensor),) = there.items()
            return Taken(tensor, name, f"{name!r}, the only tensor of a {kind}")
        if not hasattr(output, "_fields") and there:
            held = ", ".join(f"{k} {tuple(v.shape)}" for k, v in there.items())
            raise UnitscopeError(
                f"gives a {kind} of {held}, none of them named {' or '.join(NAMED)}"
            )
    if isinstance(output, Sequence) and not isinstance(output, (str, bytes)):
        for place, part in enumerate(output):
            if isinstance(part, Tensor):
                shape = tuple(part.shape)
                said = f"element {place}, of shape {shape}, of a {kind} of {len(output)}"
                return Taken(part, place, said if len(output) > 1 else "")
    raise UnitscopeError(f"gives {kind}, in which there is no tensor")


def _named(output: Any) -> Mapping[str, Any] | None:
    """The named parts of an output; None where its parts have no names."""
    if isinstance(output, Mapping):
        return output
    if hasattr(output, "_fields"):
        return dict(output._asdict())
    parts = getattr(output, "__dict__", None)
    return parts if isinstance(parts, dict) else None


def put_back(output: Any, tensor: Tensor) -> Any:
    """A copy of the output with another tensor in place of the one that :func:`taken` chooses.

    >>> import torch
    >>> put_back((torch.zeros(1), "aside"), torch.ones(1))
    (tensor([1.]), 'aside')
    """
    if isinstance(output, Tensor):
        return tensor
    at = taken(output).at
    if hasattr(output, "_fields"):
        return output._replace(**{at if isinstance(at, str) else output._fields[at]: tensor})
    if isinstance(output, tuple):
        return type(output)([*output[:at], tensor, *output[at + 1 :]])
    fresh = copy.copy(output)
    if isinstance(output, (Mapping, list)):
        fresh[at] = tensor
    else:
        setattr(fresh, at, tensor)
    return fresh


def vector(output: Any) -> Tensor:
    """(images, outputs) of what a network returned: one value a class for each image.

    Raises UnitscopeError as :func:`taken` does, and where the tensor has places in the photo or
    tokens left, saying its shape.

    >>> import torch
    >>> vector(torch.zeros(2, 365, 1, 1)).shape
    torch.Size([2, 365])
    """
    found = taken(output).tensor
    if found.ndim < 2 or any(side != 1 for side in found.shape[2:]):
        raise UnitscopeError(f"gives {tuple(found.shape)}, not one value a class for each image")
    return found.flatten(1)


def without_classifier(module: nn.Module) -> str:
    """Why a network's outputs are not classes, if its structure shows that; "" if it does not.

    timm's networks say so themselves (``num_classes`` is 0); elsewhere the classifier was taken
    out: all of :data:`HEADS` that the network has are ``nn.Identity``, alone or among layers
    without weights.

    >>> from torchvision.models import resnet18
    >>> net = resnet18()
    >>> without_classifier(net)
    ''
    >>> net.fc = nn.Identity()
    >>> without_classifier(net)
    'the network has no classifier (fc is Identity)'
    """
    if getattr(module, "num_classes", None) == 0:
        return "the network has no classifier (num_classes is 0)"
    heads = {
        name: part for name in HEADS if isinstance(part := getattr(module, name, None), nn.Module)
    }
    if heads and all(
        any(isinstance(inner, nn.Identity) for inner in part.modules())
        and next(part.parameters(), None) is None
        for part in heads.values()
    ):
        return f"the network has no classifier ({', '.join(heads)} is Identity)"
    return ""


def features_alone(output: Any) -> str:
    """Why a network's output is not a class score, if its form shows that; "" if it does not.

    So it is with Hugging Face's networks without a classifier, and with maps or tokens that
    nothing has pooled.

    >>> import torch
    >>> features_alone(torch.zeros(1, 49, 384))
    'the network gives (1, 49, 384), features by place and not one value a class'
    """
    named = _named(output) if not isinstance(output, Tensor) else None
    if named is not None and HIDDEN in named and named.get("logits") is None:
        return f"the network has no classifier (it gives {HIDDEN} and no logits)"
    found = taken(output).tensor
    if found.ndim > 2 and any(side != 1 for side in found.shape[2:]):
        return (
            f"the network gives {tuple(found.shape)}, features by place and not one value a class"
        )
    return ""
