"""The untrained twin of a network: its architecture with seeded random weights.

What labels a network's units would get before any training: place in the photo, brightness and
colour alone make some of them overlap annotations better than chance does. The twin has only been
initialised, and its units are counted in the same way.

**Weights** are drawn anew as the architecture's own package draws them: from a freshly built
network for ``torchvision:``, ``timm:`` and ``places365:``, and by each module's
``reset_parameters`` elsewhere. If a module's weights can be drawn by neither, it is named and there
is no twin: a network that kept a part of its training is not untrained.

**Batch norm** uses running statistics once a network is evaluated. At their initial values (mean
0, variance 1) it would do nothing, and the twin would be another network than the one that
training began with, whose layers were normalised by the statistics of each batch. So they are
estimated on photos of the run itself (:func:`settle_batch_norm`).
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from core.foundation.errors import UnitscopeError
from core.models.base import LoadedModel
from core.models.threads import torch_threads

EPS = 1e-5
"""PyTorch's default of what batch norm adds to a variance, for networks that were stored without
any (0): none can be trained so, and PyTorch refuses to."""

LEARNED_BUFFERS = ("weight", "bias", "running_mean", "running_var")
"""Names of buffers that training sets (frozen batch norm keeps all four); others are constants."""

NONE = torch.empty(0)


def untrained_twin(loaded: LoadedModel, seed: int = 0) -> LoadedModel:
    """The same architecture untrained; `loaded` is not changed.

    Raises UnitscopeError naming the parts whose weights cannot be drawn anew.

    >>> from core.models.load import load_model
    >>> rooms = load_model("rooms")
    >>> twin = untrained_twin(rooms).module
    >>> bool((twin.conv1.weight == rooms.module.conv1.weight).any()), twin.bn1.weight[0].item()
    (False, 1.0)
    """
    try:
        module = copy.deepcopy(loaded.module)
    # A user's own network may raise anything.
    except Exception as err:
        raise UnitscopeError(f"the network cannot be copied ({err})") from err
    stuck: list[str] = []
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        # Not the very weights of a `random` checkpoint, which seed 0 draws.
        torch.manual_seed(seed + 1)
        fresh = _fresh_state(loaded.spec)
        for name, part in module.named_modules():
            own = _learned(part)
            if not own:
                continue
            drawn = {key: fresh.get(f"{name}.{key}" if name else key, NONE) for key in own}
            if all(value.shape == own[key].shape for key, value in drawn.items()):
                for key, value in drawn.items():
                    own[key].copy_(value)
            elif not _reset(part):
                stuck.append(f"{name or 'the network itself'} ({type(part).__name__})")
        trained = dict(loaded.module.named_parameters())
        for name, value in module.named_parameters():
            # Biases and gains may well have begun at what they are; a matrix of weights cannot.
            if value.ndim > 1 and value.numel() > 1 and torch.equal(value, trained[name]):
                stuck.append(name)
    if stuck:
        more = f" and {len(stuck) - 5} more" if len(stuck) > 5 else ""
        raise UnitscopeError(
            "weights of this network cannot be drawn anew, and one that kept a part of its "
            f"training is not untrained: {', '.join(dict.fromkeys(stuck[:5]))}{more}. Give these "
            "modules a method reset_parameters()"
        )
    module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    return replace(loaded, module=module)


def _learned(part: nn.Module) -> dict[str, Tensor]:
    """A module's own parameters, and those of its buffers that training sets."""
    own: dict[str, Tensor] = dict(part.named_parameters(recurse=False))
    buffers = part.named_buffers(recurse=False)
    return own | {name: value for name, value in buffers if name in LEARNED_BUFFERS}


def _fresh_state(spec: str) -> dict[str, Tensor]:
    """Weights of a network of the same name as its package builds it; empty where it has none."""
    kind, _, rest = spec.partition(":")
    if kind not in ("torchvision", "timm", "places365"):
        return {}
    # Only now: it takes a while, and torchvision's networks need it.
    from core.models.packages import fresh

    kind = "torchvision" if kind == "places365" else kind
    return fresh(kind, rest.partition(":")[0]).state_dict()


def _reset(part: nn.Module) -> bool:
    """Draw a module's own weights anew; False where it is not known how."""
    for method in ("reset_parameters", "_reset_parameters"):
        draw = getattr(part, method, None)
        if callable(draw):
            draw()
            return True
    return False


def needs_photos(module: nn.Module) -> bool:
    """Whether a network has batch norm with running statistics."""
    return any(isinstance(m, _BatchNorm) and m.track_running_stats for m in module.modules())


def settle_batch_norm(module: nn.Module, batches: Iterable[Tensor]) -> None:
    """Set batch norm's running statistics to the mean over batches of each one's statistics.

    All else stays in evaluation mode: no dropout, no random depth. An `eps` of 0 becomes
    :data:`EPS`.
    """
    norms = [m for m in module.modules() if isinstance(m, _BatchNorm) and m.track_running_stats]
    momenta = [m.momentum for m in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the plain mean over batches
        norm.eps = norm.eps or EPS
        norm.train()
    # On one thread: sums over a batch are split among threads, and the last digits with them, so
    # that another number of threads would be another twin.
    with torch_threads(1), torch.inference_mode():
        for batch in batches:
            module(batch)
    for norm, momentum in zip(norms, momenta, strict=True):
        norm.momentum = momentum
        norm.eval()
