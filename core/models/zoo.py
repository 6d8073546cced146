"""Networks of torchvision, and those of CSAIL's Places365 release.

Nothing is ever downloaded. Weights that a package would fetch are used if they are in its cache; if
not, the message says which file is needed and where to put it.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.datasets.files import text_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import expanded
from core.foundation.geometry import Preprocessing
from core.foundation.names import whole
from core.foundation.plain import Json
from core.models.base import LoadedModel
from core.models.checkpoint import read_checkpoint
from core.models.families import default_layer
from core.models.fit import Weights, differences, fill, settle
from core.models.outputs import without_classifier
from core.models.packages import build, check_architecture, torchvision_models, torchvision_names
from core.models.said import Prepared, classes_of, prepared, transforms_input

RANDOM = "random (seed 0): untrained"
"""What the notes say of a network without weights."""

LACKS = "{} holds all weights of the network but its classifier's"
"""Why a network is a backbone, where its checkpoint shows it."""

PLACES = "categories_places365.txt"
"""The class names of Places365, a file of the CSAILVision/places365 repository."""


def last_linear(module: nn.Module) -> tuple[str, nn.Module]:
    """Dotted name and module of the last linear or 1×1 layer: the classifier."""
    found = [
        (name, m)
        for name, m in module.named_modules()
        if isinstance(m, nn.Linear) or (isinstance(m, nn.Conv2d) and m.kernel_size == (1, 1))
    ]
    if not found:
        raise UnitscopeError("the network has no linear layer to read the number of classes from")
    return found[-1]


def untrained(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with seeded random weights.

    A classifier that its package leaves at zero (ViT's) is drawn as well; otherwise the network
    would give the same answer for every photo.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make()
        weight = None if without_classifier(module) else last_linear(module)[1].weight
        if isinstance(weight, nn.Parameter) and not weight.any():
            nn.init.trunc_normal_(weight, std=0.02)
    return module


def own_preprocessing(
    notes: Json, path: Path, usual: Callable[[Prepared], Preprocessing]
) -> Preprocessing:
    """The checkpoint's own preprocessing, completed by the usual one; what came from the checkpoint
    is put into the notes."""
    said = prepared(notes, path)
    preprocessing = usual(said)
    notes.pop("preprocessing", None)
    if words := said.words(preprocessing):
        notes["preprocessing"] = words
    return preprocessing


def named(notes: Json, outputs: int, path: Path, otherwise: list[str]) -> list[str]:
    """Class names of a checkpoint, or else the given ones; raises where they are not as many as
    the outputs. A network without a classifier (0 outputs) gets none."""
    classes = classes_of(notes, path) or list(otherwise)
    if not outputs:
        return []
    if classes and len(classes) != outputs:
        raise UnitscopeError(
            f"checkpoint {path} names {len(classes)} classes but has {outputs} outputs"
        )
    return classes


def _transforms(weights: Any, published: bool) -> Preprocessing:
    """torchvision's preprocessing for weights; `published`: whether they are its own.

    torchvision's GoogLeNet and Inception v3, with published weights alone, turn ImageNet's
    normalisation into Inception's own within the network (``transform_input``). Here photos are
    normalised so from the start, which is the same and can be stored.
    """
    made = weights.transforms()
    own = published and str(weights).startswith(("GoogLeNet", "Inception"))
    return Preprocessing(
        resize=made.resize_size[0],
        center_crop=made.crop_size[0],
        mean=(0.5, 0.5, 0.5) if own else tuple(made.mean),
        std=(0.5, 0.5, 0.5) if own else tuple(made.std),
        interpolation="bicubic" if "bicubic" in str(made.interpolation) else "bilinear",
    )


def _sized(preprocessing: Preprocessing, module: nn.Module) -> Preprocessing:
    """The same for the one size of photo that a network with positions (ViT) takes."""
    size = getattr(module, "image_size", preprocessing.center_crop)
    return (
        preprocessing
        if size == preprocessing.center_crop
        else replace(preprocessing, resize=size, center_crop=size)
    )


def _published(name: str, path: Path) -> Any:
    """Which of torchvision's own weights a file is, recognised by the hash in the published name;
    None for any other file."""
    for weights in torchvision_models().get_model_weights(name):
        result = re.search(r"-([0-9a-f]{8,})\.pth$", weights.url)
        if path.name == Path(weights.url).name and result:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return weights if digest.startswith(result.group(1)) else None
    return None


def load_torchvision(spec: str, rest: str) -> LoadedModel:
    """``torchvision:NAME[:CHECKPOINT]``; the number of classes is the checkpoint's.

    Raises UnitscopeError for an unknown name (nearest), weights that are not there, or that
    do not fit.
    """
    name, _, checkpoint = rest.partition(":")
    if name not in torchvision_names():
        raise unknown("torchvision model", name, torchvision_names())
    entries = list(torchvision_models().get_model_weights(name))
    default = torchvision_models().get_model_weights(name)["DEFAULT"]
    if checkpoint == "random":
        module = untrained(lambda: build(name))
        preprocessing, notes = _sized(_transforms(default, False), module), {"weights": RANDOM}
        return LoadedModel(module, preprocessing, [], spec, default_layer(module), notes)
    if checkpoint:
        path = expanded(checkpoint)
        published = _published(name, path) if path.is_file() else None
    else:
        folder = Path(torch.hub.get_dir()) / "checkpoints"
        here = [w for w in (default, *entries) if (folder / Path(w.url).name).is_file()]
        if not here:
            raise UnitscopeError(
                f"{spec!r} needs torchvision's weights {Path(default.url).name}, which are not in "
                f"{folder}, and nothing is downloaded here. Put them there (torchvision.models."
                f"get_model({name!r}, weights='DEFAULT') fetches them once), give your own file as "
                f"torchvision:{name}:FILE, or use torchvision:{name}:random"
            )
        published = here[0]
        path = folder / Path(published.url).name
    state, notes = read_checkpoint(path)
    preprocessing = _transforms(published or default, published is not None)
    if published is not None:
        notes["weights"] = f"torchvision's {published}"
    module, outputs = _torchvision_module(name, state, notes, path)
    usual = _sized(preprocessing, module)
    # ImageNet's names belong to torchvision's own weights alone.
    names = published.meta["categories"] if published is not None else []
    classes = named(notes, outputs, path, names)
    if name in ("googlenet", "inception_v3"):
        usual = _transformed(notes, usual, published is not None)
    preprocessing = own_preprocessing(notes, path, lambda said: said.onto(usual))
    layer = notes.pop("default_layer", None) or default_layer(module)
    lacks = "" if outputs else LACKS.format(path.name)
    return LoadedModel(module, preprocessing, classes, spec, layer, notes, backbone=lacks)


def _transformed(notes: Json, usual: Preprocessing, published: bool) -> Preprocessing:
    """The usual preprocessing of GoogLeNet or Inception v3 with regard to ``transform_input``,
    which is noted: no file of weights shows whether the network had it."""
    if published:
        result = "on, as published"
    elif (where := transforms_input(notes)) is not None:
        result = f"{'on' if where[1] else 'off'} ({where[0]})"
        if where[1]:
            usual = replace(usual, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    else:
        result = (
            "not said by the file, taken as off. A network begun from torchvision's weights has it "
            "on: then put mean and std [0.5, 0.5, 0.5] beside the file"
        )
    notes["transform_input"] = result + (
        ": photos are normalised by 0.5 from the start, which is the same"
        if usual.mean == (0.5, 0.5, 0.5)
        else ""
    )
    return usual


def _torchvision_module(
    name: str, given: dict[str, Tensor], notes: Json, path: Path
) -> tuple[nn.Module, int]:
    """(network with the weights in, its outputs: 0 where the file has no classifier)."""
    probe = _skeleton(name)
    what = f"checkpoint {path}"
    check_architecture(notes, name, probe, path)
    head = last_linear(probe)[0]
    state, said = settle(given, probe.state_dict(), head)
    notes |= said
    aux = [k for k in state if k.split(".")[0] in ("aux1", "aux2", "AuxLogits")]
    if name in ("googlenet", "inception_v3") and aux:
        state = Weights({k: v for k, v in state.items() if k not in aux}, state.called)
        notes["auxiliary"] = "its auxiliary classifiers, which only training uses, are left out"
    if f"{head}.weight" not in state:
        body = _body(build(name), state)
        if body is None:
            fill(probe, state, what)  # raises: it has no classifier at least
            raise UnitscopeError(f"{what} has no {head}.weight: no classifier to read")
        fill(body, state, what)
        return body, 0
    options: dict[str, int] = {"num_classes": len(state[f"{head}.weight"])}
    tokens = state.get("encoder.pos_embedding")
    patch = state.get("conv_proj.weight")
    if name.startswith("vit_") and tokens is not None and patch is not None:
        # A transformer trained at another resolution has as many positions as it saw patches.
        options["image_size"] = math.isqrt(tokens.shape[1] - 1) * patch.shape[-1]
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    module = build(name, **options)
    fill(module, state, what)
    return module, int(options["num_classes"])


def _body(module: nn.Module, state: dict[str, Tensor]) -> nn.Module | None:
    """The network with its classifier replaced by ``nn.Identity``, where a checkpoint holds all
    its weights but the classifier's; None where more differs.

    The classifier is the last linear layer, or the whole attribute of the network that it is in
    (VGG's three layers).
    """
    name = last_linear(module)[0]
    for head in (name, name.partition(".")[0]):
        module.set_submodule(head, nn.Identity())
        if not differences(module, state):
            return module
    return None


@cache
def _skeleton(name: str) -> nn.Module:
    """A torchvision network without memory for its weights, read-only."""
    if name.startswith("regnet"):
        return build(name)  # reckons with tensors while it is built
    with torch.device("meta"):
        return build(name)


# -- Places365 ------------------------------------------------------------------------------


def load_places(spec: str, rest: str) -> LoadedModel:
    """``places365:NAME:CHECKPOINT[:CATEGORIES]``, the CSAIL release of Places365 networks.

    The release's ``NAME_places365.pth.tar`` (ResNet-18, ResNet-50, DenseNet-161, AlexNet) hold
    ``arch`` and a ``state_dict`` with DataParallel's ``module.``, DenseNet's under the names of
    an old torchvision. Photos are prepared as in the release's demonstration: resized to 256 × 256
    regardless of their shape, centre crop 224, ImageNet's mean and deviation. Class names are read
    from CATEGORIES, a list ``/a/airfield 0`` a line, by default
    ``categories_places365.txt`` beside the checkpoint.

    Raises UnitscopeError for another architecture, another number of outputs, a missing list,
    and the ``whole_*`` files, which hold Python objects.
    """
    parts = rest.split(":")
    form = "places365:NAME:CHECKPOINT[:CATEGORIES]"
    if len(parts) not in (2, 3) or not all(parts):
        raise UnitscopeError(f"{spec!r}: the form is {form}")
    name, path = parts[0], expanded(parts[1])
    if name not in torchvision_names():
        raise unknown("Places365 network", name, torchvision_names())
    if path.name.startswith("whole_"):
        raise UnitscopeError(
            f"{path.name} is a whole network saved as Python objects, which run code when they "
            f"are opened. The same release has its weights as {name}_places365.pth.tar: use that; "
            "or, if you trust the file, open it where it was made and save its state_dict() with "
            "torch.save"
        )
    names = expanded(parts[2]) if len(parts) == 3 else path.parent / PLACES
    state, notes = read_checkpoint(path)
    module, outputs = _torchvision_module(name, state, notes, path)
    if outputs != 365:
        raise UnitscopeError(
            f"checkpoint {path} has {outputs} outputs and Places365 365 classes; another "
            f"checkpoint of this architecture is torchvision:{name}:{path}"
        )
    classes = named(notes, outputs, path, []) or _places_names(names)
    usual = Preprocessing(resize=(256, 256), center_crop=224)
    preprocessing = own_preprocessing(notes, path, lambda said: said.onto(usual))
    layer = notes.pop("default_layer", None) or default_layer(module)
    return LoadedModel(module, preprocessing, classes, spec, layer, notes)


def _places_names(path: Path) -> list[str]:
    """The 365 names of a list ``/a/airfield 0``, by number; raises if it is not such a list."""
    if not path.is_file():
        raise UnitscopeError(
            f"the class names of Places365 are not in {path}: put {PLACES} of the repository "
            "CSAILVision/places365 there (`python -m core get places365-categories` fetches it), "
            "or name it as the last part of the SPEC"
        )
    names: dict[int, str] = {}
    for number, line in enumerate(text_of(path).splitlines(), 1):
        name, _, result = line.strip().rpartition(" ")
        at = whole(result)
        if not line.strip():
            continue
        if not name or at is None or at in names:
            raise UnitscopeError(f"{path}, line {number}: {line!r} is not `/a/airfield 0`")
        names[at] = name
    if sorted(names) != list(range(365)):
        raise UnitscopeError(f"{path} names {len(names)} classes; Places365 has 365")
    return [names[k] for k in range(365)]
