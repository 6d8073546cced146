"""Networks that packages and releases provide by name: torchvision, timm, Places365 of CSAIL.

Nothing is ever downloaded. Weights that a package would fetch are used where they lie in its
cache already, and where they do not the message says which file is meant and where it goes.
"""

from __future__ import annotations

import hashlib
import math
import re
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.datasets.files import json_of, text_of
from core.foundation.errors import UnitscopeError, nearest, unknown
from core.foundation.geometry import Preprocessing
from core.models.checkpoint import (
    Weights,
    differences,
    fill,
    optional,
    read_checkpoint,
    same_values,
    settle,
)
from core.models.families import default_layer, family_of
from core.models.load import LoadedModel
from core.models.outputs import without_classifier
from core.models.said import (
    Prepared,
    architectures,
    beside_of,
    classes_of,
    prepared,
    transforms_input,
)

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


def _untrained(make: Callable[[], nn.Module]) -> nn.Module:
    """A network with random weights, the same ones each time.

    A classifier that its package leaves at zero (ViT's) is drawn as well, since such a network
    would say the same of every photo, whatever is done to its units.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        module = make()
        weight = None if without_classifier(module) else last_linear(module)[1].weight
        if isinstance(weight, nn.Parameter) and not weight.any():
            nn.init.trunc_normal_(weight, std=0.02)
    return module


def _prepared(
    notes: dict[str, Any], path: Path, usual: Callable[[Prepared], Preprocessing]
) -> Preprocessing:
    """A checkpoint's own preprocessing and, for all that it does not say, the usual one; what
    was the checkpoint's is put into the notes in words."""
    said = prepared(notes, path)
    way = usual(said)
    notes.pop("preprocessing", None)
    if words := said.words(way):
        notes["preprocessing"] = words
    return way


def _named(notes: dict[str, Any], outputs: int, path: Path, otherwise: list[str]) -> list[str]:
    """Class names of a checkpoint, or else the given ones; raises where they are not as many as
    the outputs. A network without a classifier (0 outputs) has no use for any."""
    classes = classes_of(notes, path) or list(otherwise)
    if not outputs:
        return []
    if classes and len(classes) != outputs:
        raise UnitscopeError(
            f"checkpoint {path} names {len(classes)} classes but has {outputs} outputs"
        )
    return classes


# -- what a checkpoint says it is -----------------------------------------------------------


def _folded(name: str) -> str:
    """An architecture's name as it is compared: without its package, the tag of its weights,
    case and separators, but for one between two digits.

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
    """``kind:NAME`` of the architecture that torchvision or timm call so; "" where none do."""
    for name in torchvision_names():
        if _folded(name) == folded:
            return f"torchvision:{name}"
    with suppress(UnitscopeError):
        for name in timm_names():
            if _folded(name) == folded:
                return f"timm:{name}"
    return ""


def _formerly(name: str) -> str:
    """The name that timm has today for what it called `name` (``tv_resnet50``: resnet50)."""
    plain = re.split(r"[/:]", name.strip().lower())[-1]
    with suppress(Exception):  # whatever timm says of a name that it does not know
        timm = _timm()
        if timm.is_model(plain) and plain not in timm_names():
            with warnings.catch_warnings(), torch.device("meta"):
                warnings.simplefilter("ignore")
                facts: Any = timm.create_model(plain).pretrained_cfg
                return str(facts["architecture"])
    return name


def _check_architecture(notes: dict[str, Any], name: str, module: nn.Module, path: Path) -> None:
    """Raise where a checkpoint says that it is of another architecture than the SPEC says.

    One that neither torchvision nor timm has a name for is refused as well where ``arch`` holds
    it with a number (`wideresnet18`); without (`MyModel`), and under words that may name anything
    (``model``), it is told as not compared.
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


def _zoo() -> Any:
    # Imported when needed: half a second that the command line's other verbs need not wait for.
    from torchvision import models

    return models


def torchvision_names() -> list[str]:
    """Names of torchvision's classifiers."""
    return list(_zoo().list_models(module=_zoo()))


def _build(name: str, **options: Any) -> nn.Module:
    """A torchvision network without weights; auxiliary classifiers, which only training uses,
    are left out."""
    if name in ("googlenet", "inception_v3"):
        options = {"aux_logits": False, "init_weights": True, **options}
    return _zoo().get_model(name, weights=None, **options)


def _transforms(weights: Any, published: bool) -> Preprocessing:
    """The preprocessing that torchvision has for some weights, which are its own or not.

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


def _sized(way: Preprocessing, module: nn.Module) -> Preprocessing:
    """The same for the one size of photo that a network with positions (ViT) takes."""
    size = getattr(module, "image_size", way.center_crop)
    return way if size == way.center_crop else replace(way, resize=size, center_crop=size)


def _published(name: str, path: Path) -> Any:
    """Which of torchvision's own weights a file is, told by the hash in the published name;
    None for any other file."""
    for weights in _zoo().get_model_weights(name):
        told = re.search(r"-([0-9a-f]{8,})\.pth$", weights.url)
        if path.name == Path(weights.url).name and told:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            return weights if digest.startswith(told.group(1)) else None
    return None


def load_torchvision(spec: str, rest: str) -> LoadedModel:
    """``torchvision:NAME[:CHECKPOINT]``; the number of classes is the checkpoint's.

    Raises UnitscopeError for an unknown name (nearest), weights that are not there, or that
    do not fit.
    """
    name, _, checkpoint = rest.partition(":")
    if name not in torchvision_names():
        raise unknown("torchvision model", name, torchvision_names())
    entries = list(_zoo().get_model_weights(name))
    default = _zoo().get_model_weights(name)["DEFAULT"]
    if checkpoint == "random":
        module = _untrained(lambda: _build(name))
        way, notes = _sized(_transforms(default, False), module), {"weights": RANDOM}
        return LoadedModel(module, way, [], spec, default_layer(module), notes)
    if checkpoint:
        path = Path(checkpoint).expanduser()
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
    way = _transforms(published or default, published is not None)
    if published is not None:
        notes["weights"] = f"torchvision's {published}"
    module, outputs = _torchvision_module(name, state, notes, path)
    usual = _sized(way, module)
    # ImageNet's names belong to torchvision's own weights alone.
    names = published.meta["categories"] if published is not None else []
    classes = _named(notes, outputs, path, names)
    if name in ("googlenet", "inception_v3"):
        usual = _transformed(notes, usual, published is not None)
    way = _prepared(notes, path, lambda said: said.onto(usual))
    layer = notes.pop("default_layer", None) or default_layer(module)
    lacks = "" if outputs else LACKS.format(path.name)
    return LoadedModel(module, way, classes, spec, layer, notes, backbone=lacks)


def _transformed(notes: dict[str, Any], usual: Preprocessing, published: bool) -> Preprocessing:
    """The usual preprocessing of GoogLeNet or Inception v3 with regard to ``transform_input``,
    which is told: no file of weights shows whether the network had it."""
    if published:
        told = "on, as published"
    elif (where := transforms_input(notes)) is not None:
        told = f"{'on' if where[1] else 'off'} ({where[0]})"
        if where[1]:
            usual = replace(usual, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    else:
        told = (
            "not said by the file, taken as off. A network begun from torchvision's weights has it "
            "on: then put mean and std [0.5, 0.5, 0.5] beside the file"
        )
    notes["transform_input"] = told + (
        ": photos are normalised by 0.5 from the start, which is the same"
        if usual.mean == (0.5, 0.5, 0.5)
        else ""
    )
    return usual


def _torchvision_module(
    name: str, given: dict[str, Tensor], notes: dict[str, Any], path: Path
) -> tuple[nn.Module, int]:
    """(network with the weights in, its outputs: 0 where the file has no classifier)."""
    probe = _skeleton(name)
    what = f"checkpoint {path}"
    _check_architecture(notes, name, probe, path)
    head = last_linear(probe)[0]
    state, said = settle(given, probe.state_dict(), head)
    notes |= said
    aux = [k for k in state if k.split(".")[0] in ("aux1", "aux2", "AuxLogits")]
    if name in ("googlenet", "inception_v3") and aux:
        state = Weights({k: v for k, v in state.items() if k not in aux}, state.called)
        notes["auxiliary"] = "its auxiliary classifiers, which only training uses, are left out"
    if f"{head}.weight" not in state:
        body = _body(_build(name), state)
        if body is None:
            fill(probe, state, what)  # raises: it has no classifier at least
            raise UnitscopeError(f"{what} has no {head}.weight: no classifier to read")
        fill(body, state, what)
        return body, 0
    options: dict[str, Any] = {"num_classes": len(state[f"{head}.weight"])}
    tokens = state.get("encoder.pos_embedding")
    patch = state.get("conv_proj.weight")
    if name.startswith("vit_") and tokens is not None and patch is not None:
        # A transformer trained at another resolution has as many positions as it saw patches.
        options["image_size"] = math.isqrt(tokens.shape[1] - 1) * patch.shape[-1]
    if name in ("googlenet", "inception_v3"):
        options["init_weights"] = False
    module = _build(name, **options)
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
    """A torchvision network without memory for its weights, to look at; not to be changed."""
    if name.startswith("regnet"):
        return _build(name)  # reckons with tensors while it is built
    with torch.device("meta"):
        return _build(name)


# -- Places365 ------------------------------------------------------------------------------


def load_places(spec: str, rest: str) -> LoadedModel:
    """``places365:NAME:CHECKPOINT[:CATEGORIES]``, the CSAIL release of Places365 networks.

    The release's ``NAME_places365.pth.tar`` (ResNet-18, ResNet-50, DenseNet-161, AlexNet) hold
    ``arch`` and a ``state_dict`` with DataParallel's ``module.``, DenseNet's under the names of
    an old torchvision. Photos are prepared as in the release's demonstration: resized to
    256 × 256 whatever their shape, centre crop 224, ImageNet's mean and deviation. Class names
    are read from CATEGORIES, a list ``/a/airfield 0`` a line, by default
    ``categories_places365.txt`` beside the checkpoint.

    Raises UnitscopeError for another architecture, another number of outputs, a missing list,
    and the ``whole_*`` files, which hold Python objects.
    """
    parts = rest.split(":")
    form = "places365:NAME:CHECKPOINT[:CATEGORIES]"
    if len(parts) not in (2, 3) or not all(parts):
        raise UnitscopeError(f"{spec!r}: the form is {form}")
    name, path = parts[0], Path(parts[1]).expanduser()
    if name not in torchvision_names():
        raise unknown("Places365 network", name, torchvision_names())
    if path.name.startswith("whole_"):
        raise UnitscopeError(
            f"{path.name} is a whole network saved as Python objects, which run code when they "
            f"are opened. The same release has its weights as {name}_places365.pth.tar: use that; "
            "or, if you trust the file, open it where it was made and save its state_dict() with "
            "torch.save"
        )
    names = Path(parts[2]).expanduser() if len(parts) == 3 else path.parent / PLACES
    state, notes = read_checkpoint(path)
    module, outputs = _torchvision_module(name, state, notes, path)
    if outputs != 365:
        raise UnitscopeError(
            f"checkpoint {path} has {outputs} outputs and Places365 365 classes; another "
            f"checkpoint of this architecture is torchvision:{name}:{path}"
        )
    classes = _named(notes, outputs, path, []) or _places_names(names)
    usual = Preprocessing(resize=(256, 256), center_crop=224)
    way = _prepared(notes, path, lambda said: said.onto(usual))
    layer = notes.pop("default_layer", None) or default_layer(module)
    return LoadedModel(module, way, classes, spec, layer, notes)


def _places_names(path: Path) -> list[str]:
    """The 365 names of a list ``/a/airfield 0``, by number; raises where it is none such."""
    if not path.is_file():
        raise UnitscopeError(
            f"the class names of Places365 are not in {path}: put {PLACES} of the repository "
            "CSAILVision/places365 there (`python -m core get places365-categories` fetches it), "
            "or name it as the last part of the SPEC"
        )
    names: dict[int, str] = {}
    for number, line in enumerate(text_of(path).splitlines(), 1):
        name, _, at = line.strip().rpartition(" ")
        if not line.strip():
            continue
        if not name or not at.isdigit() or int(at) in names:
            raise UnitscopeError(f"{path}, line {number}: {line!r} is not `/a/airfield 0`")
        names[int(at)] = name
    if sorted(names) != list(range(365)):
        raise UnitscopeError(f"{path} names {len(names)} classes; Places365 has 365")
    return [names[k] for k in range(365)]


# -- timm -----------------------------------------------------------------------------------


def _timm() -> Any:
    return optional("timm", "models of timm")


def timm_names() -> list[str]:
    """Names of timm's architectures, without the tags of their weights."""
    return list(_timm().list_models())


def load_timm(spec: str, rest: str) -> LoadedModel:
    """``timm:NAME[:CHECKPOINT]``; NAME with or without the tag of its weights.

    CHECKPOINT is a file, a folder as timm's hub keeps them (``config.json`` beside
    ``model.safetensors`` or ``pytorch_model.bin``), or ``random``; where it is left out, the
    weights are taken from the cache of the hub or of torch. Photos are prepared by the data
    configuration that timm, or the folder, has for the weights.

    Raises UnitscopeError for a missing package, an unknown name or tag (nearest), weights that
    are not there, or that do not fit.
    """
    timm = _timm()
    name, _, checkpoint = rest.partition(":")
    base, _, tag = name.partition(".")
    if not timm.is_model(base):
        raise unknown("timm model", base, timm_names())
    if tag and name not in timm.list_pretrained(f"{base}.*"):
        tags = [full.partition(".")[2] for full in timm.list_pretrained(f"{base}.*")]
        raise unknown(f"tag of timm's {base}", tag, tags)
    make: Callable[..., nn.Module] = timm.create_model
    source = f"timm {timm.__version__}"
    if checkpoint == "random":
        module = _untrained(lambda: make(name))
        notes: dict[str, Any] = {"weights": RANDOM}
        way = _timm_preprocessing(module, Prepared())
        return _with_maps(LoadedModel(module, way, [], spec, default_layer(module), notes, source))
    path = Path(checkpoint).expanduser() if checkpoint else _timm_cached(make(name), spec, name)
    config: dict[str, Any] = {}
    if path.is_dir():
        path, config = _hub_folder(path)
    state, notes = read_checkpoint(path)
    notes = {**config, **notes}
    module, outputs = _timm_module(name, state, notes, path)
    classes = _named(notes, outputs, path, [])
    way = _prepared(notes, path, lambda said: _timm_preprocessing(module, said))
    layer = notes.pop("default_layer", None) or default_layer(module)
    lacks = "" if outputs else LACKS.format(path.name)
    return _with_maps(LoadedModel(module, way, classes, spec, layer, notes, source, lacks))


def _with_maps(loaded: LoadedModel) -> LoadedModel:
    """The same network; of an architecture that :data:`FAMILIES` does not have, one forward pass
    tells whether its default layer gives maps, and which is the last that does."""
    if family_of(loaded.module) is None:
        loaded.module.eval()
        layers = loaded.layers()
        if loaded.default_layer not in [layer.name for layer in layers]:
            maps = [layer.name for layer in layers if layer.height * layer.width > 1]
            if not maps:
                raise UnitscopeError(f"{loaded.spec!r}: no layer of this network gives maps")
            loaded.default_layer = maps[-1]
    return loaded


def _timm_cached(module: nn.Module, spec: str, name: str) -> Path:
    """Where timm's own weights of a network lie already; raises where they do not."""
    told: dict[str, Any] = dict(module.pretrained_cfg)  # type: ignore[arg-type]
    hub, url = told.get("hf_hub_id"), told.get("url")
    if hub:
        look = optional("huggingface_hub", "timm's weights").try_to_load_from_cache
        for file in ("model.safetensors", "pytorch_model.bin"):
            found = look(hub, told.get("hf_hub_filename") or file)
            if isinstance(found, str):
                return Path(found)
    place = Path(torch.hub.get_dir()) / "checkpoints" / Path(url or "").name
    if url and place.is_file():
        return place
    if not hub and not url:
        raise UnitscopeError(
            f"timm has no weights of {name}; give your own file as timm:{name}:FILE, or use "
            f"timm:{name}:random"
        )
    raise UnitscopeError(
        f"{spec!r} needs timm's weights {hub or Path(str(url)).name}, which are not in its cache, "
        f"and nothing is downloaded here. Fetch them once with timm.create_model({name!r}, "
        f"pretrained=True), or give a file or a downloaded folder as timm:{name}:PATH, or use "
        f"timm:{name}:random"
    )


def _hub_folder(folder: Path) -> tuple[Path, dict[str, Any]]:
    """(file of weights, what its configuration says of it) of a folder as timm's hub keeps them."""
    whole = ("model.safetensors", "pytorch_model.bin")
    files = [folder / name for name in (*whole, *(f"{name}.index.json" for name in whole))]
    there = [file for file in files if file.is_file()]
    if not there:
        raise UnitscopeError(
            f"folder {folder} holds neither {whole[0]} nor {whole[1]}, nor either in several files "
            "with its .index.json"
        )
    told = folder / "config.json"
    if not told.is_file():
        return there[0], {}
    config = json_of(told)
    if not isinstance(config, dict):
        raise UnitscopeError(f"{told}: an object is meant")
    said = ("architecture", "label_names", "pretrained_cfg")
    return there[0], {key: config[key] for key in said if key in config}


def _timm_module(
    name: str, given: dict[str, Tensor], notes: dict[str, Any], path: Path
) -> tuple[nn.Module, int]:
    """(network with the weights in, its outputs: 0 where the file has no classifier).

    Where the names are not timm's own, timm's conversion for this architecture (of Facebook's,
    Google's and its own earlier names) is asked.
    """
    make: Callable[..., nn.Module] = _timm().create_model
    probe = make(name)
    what = f"checkpoint {path}"
    _check_architecture(notes, name, probe, path)
    own = probe.state_dict()
    facts: Any = probe.pretrained_cfg
    heads = facts.get("classifier") or ""
    asked = [heads] if isinstance(heads, str) else list(heads)
    state, said = settle(given, own, asked[0])
    notes |= said
    usual = (*asked, "head.fc", "head", "fc", "classifier", "heads.head", "classifier.6")
    found = [state[f"{k}.weight"] for k in usual if f"{k}.weight" in state]
    # A 1×1 convolution or a linear layer; anything else has no number of classes in it.
    outputs = next((len(v) for v in found if v.ndim in (2, 4)), 0)
    # timm would stretch them silently: another network than the one that was trained. (Its shape
    # may differ: some authors' patch embedding is a linear layer.)
    spatial = [k for k in state if k.endswith(SPATIAL) and k in own]
    if any(own[k].numel() not in [v.numel() for v in _placed(k, state[k])] for k in spatial):
        apart = f"{outputs} outputs" if outputs else "it has none"
        fill(probe, state, f"{what} (its classifier apart: {apart})")
    module = make(name, num_classes=outputs)
    if differences(module, state):
        converted = {"state_dict": dict(state), "num_classes": outputs}
        made: Any = None
        # What timm cannot convert is told below, by both sides' names.
        with suppress(Exception):
            made = make(
                name, pretrained=True, num_classes=outputs, pretrained_cfg_overlay=converted
            )
            made.pretrained_cfg.pop("state_dict")
        if made is not None:
            _not_stretched(made, state, what)
            return made, outputs
        if not outputs:
            # Whether the classifier is all that it lacks: both sides as the architecture has them.
            fill(probe, state, what)
    fill(module, state, what)
    return module, outputs


SPATIAL = ("pos_embed", "relative_position_bias_table", "patch_embed.proj.weight")
"""How the names of timm's weights end that have a place in the photo for each entry."""


def _placed(name: str, value: Tensor) -> list[Tensor]:
    """A weight as it is, and position embeddings also without the first: some authors give the
    class token a position, which timm adds to the token itself (DINOv2 with registers)."""
    first = name.endswith("pos_embed") and value.ndim == 3
    return [value, value[:, 1:]] if first else [value]


def _not_stretched(module: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Raise unless every converted weight of :data:`SPATIAL` has the values of one of the file."""
    for name, value in module.state_dict().items():
        if not name.endswith(SPATIAL):
            continue
        ordered = value.flatten().sort().values
        if not any(
            v.numel() == value.numel() and same_values(v.flatten().sort().values, ordered)
            for key, stored in state.items()
            for v in _placed(key, stored)
        ):
            raise UnitscopeError(
                f"{what} does not fit this network: timm's conversion would stretch its {name} to "
                f"{tuple(value.shape)}, which is another network than the one that was trained. "
                "Name the architecture of the size it was trained at"
            )


def _timm_preprocessing(module: nn.Module, said: Prepared) -> Preprocessing:
    """Photo → input by timm's data configuration of a network, as its evaluation does it, with
    what the checkpoint says in its place.

    Crop modes ``center`` (shorter side to size / crop_pct) and ``squash`` (both sides). The
    mode ``border``, which pads, is told as impossible here, unless the resize and the crop are
    the checkpoint's own, which then take the place of these.
    """
    told = {**module.pretrained_cfg, **said.config()}  # type: ignore[dict-item]
    data = optional("timm.data", "models of timm").resolve_data_config(
        pretrained_cfg=told, model=None
    )
    colours, height, width = data["input_size"]
    if colours != 3:
        raise UnitscopeError(f"the network takes {colours} colour channels; photos have 3 (RGB)")
    pads = data["crop_mode"] == "border" or (height != width and data["crop_mode"] != "squash")
    if pads and not {"resize", "center_crop"} <= set(said.steps):
        raise UnitscopeError(
            f"timm prepares photos for this network by crop mode {data['crop_mode']!r} to "
            f"{width}×{height}, which pads; give a preprocessing with resize and center_crop "
            "beside the checkpoint, in NAME.unitscope.json"
        )
    tall, wide = (math.floor(side / data["crop_pct"]) for side in (height, width))
    return said.over(
        Preprocessing(
            resize=(wide, tall) if data["crop_mode"] == "squash" else tall,
            center_crop=(width, height),
            mean=tuple(data["mean"]),
            std=tuple(data["std"]),
            interpolation="bilinear" if data["interpolation"] == "bilinear" else "bicubic",
        )
    )


def fresh(kind: str, name: str) -> nn.Module:
    """A network as its package builds it, untrained; its weights are drawn from torch's state.

    kind : ``torchvision`` or ``timm``.
    """
    made: nn.Module = _timm().create_model(name) if kind == "timm" else _build(name)
    return made


def similar(kind: str, text: str) -> list[str]:
    """Names of a kind of network (``torchvision``, ``timm``) that hold `text`, else the nearest.

    >>> similar("torchvision", "resnet1")
    ['resnet101', 'resnet152', 'resnet18', 'wide_resnet101_2']
    """
    names = timm_names() if kind == "timm" else torchvision_names()
    return [name for name in names if text.lower() in name] or nearest(text, names, 8)
