"""Networks of timm, an optional package. Nothing is ever downloaded (:mod:`core.models.zoo`)."""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from core.datasets.files import json_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import expanded
from core.foundation.geometry import Preprocessing
from core.foundation.optional import optional
from core.foundation.plain import Json
from core.models.base import LoadedModel
from core.models.checkpoint import read_checkpoint
from core.models.families import default_layer, family_of
from core.models.fit import differences, fill, same_values, settle
from core.models.packages import check_architecture, timm_names, timm_package
from core.models.said import Prepared
from core.models.zoo import LACKS, RANDOM, named, own_preprocessing, untrained


def load_timm(spec: str, rest: str) -> LoadedModel:
    """``timm:NAME[:CHECKPOINT]``; NAME with or without the tag of its weights.

    CHECKPOINT is a file, a folder as timm's hub keeps them (``config.json`` beside
    ``model.safetensors`` or ``pytorch_model.bin``), or ``random``; where it is left out, the
    weights are taken from the cache of the hub or of torch. Photos are prepared by the data
    configuration that timm, or the folder, has for the weights.

    Raises UnitscopeError for a missing package, an unknown name or tag (nearest), weights that
    are not there, or that do not fit.
    """
    timm = timm_package()
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
        module = untrained(lambda: make(name))
        notes: Json = {"weights": RANDOM}
        preprocessing = _timm_preprocessing(module, Prepared())
        return _with_maps(
            LoadedModel(module, preprocessing, [], spec, default_layer(module), notes, source)
        )
    path = expanded(checkpoint) if checkpoint else _timm_cached(make(name), spec, name)
    config: Json = {}
    if path.is_dir():
        path, config = _hub_folder(path)
    state, notes = read_checkpoint(path)
    notes = {**config, **notes}
    module, outputs = _timm_module(name, state, notes, path)
    classes = named(notes, outputs, path, [])
    preprocessing = own_preprocessing(notes, path, lambda said: _timm_preprocessing(module, said))
    layer = notes.pop("default_layer", None) or default_layer(module)
    lacks = "" if outputs else LACKS.format(path.name)
    return _with_maps(
        LoadedModel(module, preprocessing, classes, spec, layer, notes, source, lacks)
    )


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
    """Path of timm's own weights in the cache; raises if they are not there."""
    result: Json = dict(module.pretrained_cfg)  # type: ignore[arg-type]
    hub, url = result.get("hf_hub_id"), result.get("url")
    if hub:
        look = optional("huggingface_hub", "timm's weights").try_to_load_from_cache
        for file in ("model.safetensors", "pytorch_model.bin"):
            found = look(hub, result.get("hf_hub_filename") or file)
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


def _hub_folder(folder: Path) -> tuple[Path, Json]:
    """(file of weights, what its configuration says of it) of a folder as timm's hub keeps them."""
    whole = ("model.safetensors", "pytorch_model.bin")
    files = [folder / name for name in (*whole, *(f"{name}.index.json" for name in whole))]
    there = [file for file in files if file.is_file()]
    if not there:
        raise UnitscopeError(
            f"folder {folder} holds neither {whole[0]} nor {whole[1]}, nor either in several files "
            "with its .index.json"
        )
    result = folder / "config.json"
    if not result.is_file():
        return there[0], {}
    config = json_of(result)
    if not isinstance(config, dict):
        raise UnitscopeError(f"{result}: an object is meant")
    said = ("architecture", "label_names", "pretrained_cfg")
    return there[0], {key: config[key] for key in said if key in config}


def _timm_module(
    name: str, given: dict[str, Tensor], notes: Json, path: Path
) -> tuple[nn.Module, int]:
    """(network with the weights in, its outputs: 0 where the file has no classifier).

    Where the names are not timm's own, timm's conversion for this architecture (of Facebook's,
    Google's and its own earlier names) is asked.
    """
    make: Callable[..., nn.Module] = timm_package().create_model
    probe = make(name)
    what = f"checkpoint {path}"
    check_architecture(notes, name, probe, path)
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
        # What timm cannot convert is reported below, by both sides' names.
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
    mode ``border``, which pads, is reported as impossible here, unless the resize and the crop are
    the checkpoint's own, which then take the place of these.
    """
    result = {**module.pretrained_cfg, **said.config()}  # type: ignore[dict-item]
    data = optional("timm.data", "models of timm").resolve_data_config(
        pretrained_cfg=result, model=None
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
