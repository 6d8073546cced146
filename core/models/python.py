"""The user's own networks: ``python:package.module:function[:CHECKPOINT]``."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from types import ModuleType

import torch
from torch import nn

from core.foundation.errors import UnitscopeError
from core.foundation.geometry import Preprocessing
from core.foundation.own_code import call_named
from core.models.base import LoadedModel
from core.models.families import default_layer

FORM = "python:package.module:function[:CHECKPOINT]"


def load_python(spec: str, rest: str) -> LoadedModel:
    """``python:package.module:function[:CHECKPOINT]``.

    The function is called with the checkpoint's path where one is given and without
    arguments otherwise. It returns a module, or ``(module, info)`` with any of
    ``preprocessing`` (a :class:`Preprocessing` or its dict), ``classes`` (None where the outputs
    are no classes), ``default_layer``.
    """
    called = call_named(spec, rest, FORM, Path)
    made = called.result
    module, info = made if isinstance(made, tuple) and len(made) == 2 else (made, {})
    if not isinstance(module, nn.Module):
        raise UnitscopeError(f"{spec!r} returned {type(module).__name__}, not a torch.nn.Module")
    if not isinstance(info, dict):
        raise UnitscopeError(f"{spec!r} returned a module and {type(info).__name__}, not a dict")
    if isinstance(module, torch.jit.ScriptModule):
        raise UnitscopeError(
            f"{spec!r} returned a TorchScript module, whose layers cannot be watched: build the "
            "network by its Python class and load the weights of the scripted one, "
            "network.load_state_dict(scripted.state_dict())"
        )
    notes = {
        k: v for k, v in info.items() if k not in ("preprocessing", "classes", "default_layer")
    }
    if module.training:
        notes["mode"] = "returned in training mode; used in evaluation mode, as `.eval()` sets it"
    drops = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout)
    for part_name, part in module.eval().named_modules():
        if isinstance(part, drops) and part.training and part.p:
            raise UnitscopeError(
                f"{spec!r} returned a network whose {part_name} stays in training mode after "
                ".eval(), so that its answers depend on chance; let train() pass the mode on"
            )
    preprocessing = info.get("preprocessing", Preprocessing())
    if isinstance(preprocessing, dict):
        preprocessing = Preprocessing.from_json(preprocessing)
    return LoadedModel(
        module,
        preprocessing,
        [str(one) for one in info.get("classes") or []],
        spec,
        info.get("default_layer") or default_layer(module),
        notes,
        f"{called.name}:{called.function}\n" + _sources(called.module, module),
        "its function says that its outputs are no classes"
        if info.get("classes", 0) is None
        else "",
    )


def _sources(code: ModuleType, module: nn.Module) -> str:
    """Text of the user's own files that a network is made by: the imported one, what it imports
    of the same package or folder, and those of the modules' classes. Installed packages are
    not read: their versions are part of a run's facts; nor is the engine, whose computations have
    versions of their own."""
    own = {code.__name__: code}
    for value in vars(code).values():
        name = value.__name__ if isinstance(value, ModuleType) else getattr(value, "__module__", "")
        if isinstance(name, str) and name in sys.modules:
            own[name] = sys.modules[name]
    for part in module.modules():
        own[type(part).__module__] = sys.modules[type(part).__module__]
    texts = []
    for name in sorted(own):
        file = getattr(own[name], "__file__", None) or ""
        installed = "site-packages" in file or "dist-packages" in file
        outside = Path(file).is_relative_to(sysconfig.get_paths()["stdlib"]) if file else True
        ours = name.partition(".")[0] == "core"
        if file.endswith(".py") and not (installed or outside or ours):
            texts.append(f"# {name}\n" + Path(file).read_text(encoding="utf-8"))
    return "\n".join(texts)
