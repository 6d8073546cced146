"""torchvision and timm: the names of their networks, how they build one, and whether a checkpoint
says that it is of another."""

from __future__ import annotations

import re
import warnings
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import nn

from core.foundation.errors import UnitscopeError, nearest
from core.foundation.optional import optional
from core.foundation.plain import Json
from core.models.said import architectures, beside_of

# -- what a checkpoint says it is -----------------------------------------------------------


def _folded(name: str) -> str:
    """An architecture's name, normalised for comparison: without its package, the tag of its
    weights, case and separators, but for one between two digits.

    >>> [_folded(n) for n in ("timm/resnet18.a1_in1k", "models.Wide-ResNet50_2", "squeezenet1.1")]
    ['resnet18', 'wideresnet50_2', 'squeezenet1_1']
    """
    name = re.split(r"[/:]", name.strip().lower())[-1]
    name = re.sub(r"^(torchvision\.models|timm\.models|models|timm)\.", "", name)
    name = re.sub(r"\.(?!\d).*", "", name)
    name = re.sub(r"(?<=\d)[^a-z\d]+(?=\d)", "_", name)
    return re.sub(r"[^a-z\d_]|(?<!\d)_|_(?!\d)", "", name)


@cache
def _known(folded: str) -> str:
    """``kind:NAME`` of the architecture of that name in torchvision or timm; "" if there is
    none."""
    for name in torchvision_names():
        if _folded(name) == folded:
            return f"torchvision:{name}"
    with suppress(UnitscopeError):
        for name in timm_names():
            if _folded(name) == folded:
                return f"timm:{name}"
    return ""


def _formerly(name: str) -> str:
    """timm's current name for what it formerly called `name` (``tv_resnet50``: resnet50)."""
    plain = re.split(r"[/:]", name.strip().lower())[-1]
    with suppress(Exception):  # whatever timm says of a name that it does not know
        timm = timm_package()
        if timm.is_model(plain) and plain not in timm_names():
            with warnings.catch_warnings(), torch.device("meta"):
                warnings.simplefilter("ignore")
                facts: Any = timm.create_model(plain).pretrained_cfg
                return str(facts["architecture"])
    return name


def check_architecture(notes: Json, name: str, module: nn.Module, path: Path) -> None:
    """Raise if a checkpoint names another architecture than the SPEC.

    One that neither torchvision nor timm has a name for is refused as well where ``arch`` holds
    it with a number (`wideresnet18`); without (`MyModel`), and under words that may name anything
    (``model``), it is reported as not compared.
    """
    asked = _folded(name)
    same = {asked, *(_folded(cls.__name__) for cls in type(module).__mro__)}
    for where, text in architectures(notes):
        if _folded(text) in same:
            continue
        said = _folded(_formerly(text))
        if said in same:
            continue
        known = _known(said)
        # `resnet` or `vit_base_patch16` say less of the same.
        rest = asked[len(said) :] if said and asked.startswith(said) else ""
        if not known and rest and not (said[-1].isdigit() and rest[0].isdigit()):
            continue
        plainly = where.rpartition(".")[2] in ("arch", "architecture")
        if known or (plainly and re.search(r"\d", said)):
            other = f"Give it as {known}:{path}; if" if known else "If"
            raise UnitscopeError(
                f"checkpoint {path} says that it is a {text[:80]}, the SPEC says {name} ({where} "
                f"of the file). {other} it is a {name} all the same, put "
                f'{{"arch": "{name}"}} into {beside_of(path).name} beside it'
            )
        notes["calls itself"] = (
            f"{text[:80]!r} ({where}): not compared with {name}, since neither torchvision nor "
            "timm has an architecture of that name"
        )


# -- torchvision ----------------------------------------------------------------------------


def torchvision_models() -> Any:
    # Imported when needed: half a second that the command line's other verbs need not wait for.
    from torchvision import models

    return models


def torchvision_names() -> list[str]:
    """Names of torchvision's classifiers."""
    return list(torchvision_models().list_models(module=torchvision_models()))


def build(name: str, **options: Any) -> nn.Module:
    """A torchvision network without weights; auxiliary classifiers, which only training uses,
    are left out."""
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True, **options}
    value: nn.Module = torchvision_models().get_model(name, weights=None, **options)
    return value


# -- timm -----------------------------------------------------------------------------------


def timm_package() -> Any:
    return optional("timm", "models of timm")


def timm_names() -> list[str]:
    """Names of timm's architectures, without the tags of their weights."""
    return list(timm_package().list_models())


def fresh(kind: str, name: str) -> nn.Module:
    """A network as its package builds it, untrained; its weights are drawn from torch's state.

    kind : ``torchvision`` or ``timm``.
    """
    made: nn.Module = timm_package().create_model(name) if kind == "timm" else build(name)
    return made


def similar(kind: str, text: str) -> list[str]:
    """Names of a kind of network (``torchvision``, ``timm``) that hold `text`, else the nearest.

    >>> similar("torchvision", "resnet1")
    ['resnet101', 'resnet152', 'resnet18', 'wide_resnet101_2']
    """
    names = timm_names() if kind == "timm" else torchvision_names()
    return [name for name in names if text.lower() in name] or nearest(text, names, 8)
