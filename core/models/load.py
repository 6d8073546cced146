"""A network by its SPEC: module, preprocessing, class names, digest.

``rooms``                                       the embedded network
``torchvision:NAME[:CHECKPOINT]``               any torchvision classifier; ``random`` as the
                                                checkpoint leaves it untrained (seed 0)
``timm:NAME[:CHECKPOINT]``                      the same for timm, an optional package
``places365:NAME:CHECKPOINT[:CATEGORIES]``      the CSAIL release of networks for Places365
``python:package.module:function[:CHECKPOINT]`` your own; see :func:`core.models.python.load_python`
``dictionary:FILE@SPEC``                        the network of SPEC with a dictionary's features as
                                                units; see :mod:`core.models.dictionary`
"""

from __future__ import annotations

import torch

from core.foundation.errors import UnitscopeError
from core.models.base import LoadedModel
from core.models.head import batch_words, by_batch
from core.models.outputs import without_classifier
from core.models.registry import MODELS


def load_model(spec: str) -> LoadedModel:
    """Open a network by its SPEC (see the module's text).

    Raises UnitscopeError for an unknown kind or name (with the nearest), a checkpoint that
    is missing, is no state dict, or does not fit the architecture (with both sides' names).
    """
    kind, _, rest = spec.partition(":")
    loaded = MODELS.row(kind, spec).load()(spec, rest)
    if not isinstance(loaded, LoadedModel):
        raise UnitscopeError(f"{spec!r} opened a {type(loaded).__name__}, not a LoadedModel")
    loaded.module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    _single_precision(loaded)
    _number_twins(loaded)
    loaded.backbone = loaded.backbone or without_classifier(loaded.module)
    words = batch_words(loaded.module)
    if words:
        loaded.notes["batch norm"] = words
    for name in by_batch(loaded.module):
        # Where one stays in training mode, no forward pass may change what is stored in it.
        loaded.module.get_submodule(name).track_running_stats = False  # type: ignore[assignment]
    return loaded


def _single_precision(loaded: LoadedModel) -> None:
    """Make every weight and buffer float32, as photos are; noted under ``precision``."""
    tensors = [*loaded.module.parameters(), *loaded.module.buffers()]
    other = {t.dtype for t in tensors if t.is_floating_point()} - {torch.float32}
    if other:
        loaded.module.float()
        kinds = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in other))
        loaded.notes["precision"] = f"weights of {kinds} are used as float32"


def _number_twins(loaded: LoadedModel) -> None:
    """Classes that share a name (ImageNet's two cranes) get their numbers appended; noted under
    ``numbered``. Raises UnitscopeError where that makes a name that another class has."""
    names = loaded.classes
    twins = (
        {name for name in names if names.count(name) > 1} if len(set(names)) < len(names) else ()
    )
    if twins:
        loaded.classes = [f"{n} ({k})" if n in twins else n for k, n in enumerate(names)]
        if len(set(loaded.classes)) < len(names):
            raise UnitscopeError(
                f"model {loaded.spec!r} names classes {', '.join(sorted(twins))} more than once, "
                "and has their numbered names as well; name each class once"
            )
        shown = [name for name, old in zip(loaded.classes, names, strict=True) if old in twins]
        loaded.notes["numbered"] = f"classes of one name are numbered: {', '.join(shown)}"
