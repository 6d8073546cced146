"""A network by its SPEC: module, preprocessing, class names, digest.

``rooms``                                       the embedded network
``torchvision:NAME[:CHECKPOINT]``               any torchvision classifier; ``random`` as the
                                                checkpoint leaves it untrained (seed 0)
``python:package.module:function[:CHECKPOINT]`` your own; see :func:`_load_python`
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import sysconfig
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from core.errors import UnitscopeError, unknown
from core.geometry import Preprocessing
from core.models.hooks import Layer, list_layers
from core.models.rooms_net import WEIGHTS, RoomsNet

KINDS = {
    "rooms": ("rooms", "the embedded network, trained on the embedded photos"),
    "torchvision": (
        "torchvision:NAME[:CHECKPOINT]",
        "a torchvision classifier; CHECKPOINT is a file, or `random` for untrained weights",
    ),
    "python": (
        "python:package.module:function[:CHECKPOINT]",
        "your own network from an importable function",
    ),
}


@dataclass
class LoadedModel:
    """A network ready to run, with all that decides its output.

    Attributes
    ----------
    module : in evaluation mode, float32, on the CPU, channels last.
    preprocessing : the way from photo to input, stored with each run.
    classes : class names in the order of the logits; may be empty.
    default_layer : the layer dissected where none is named.
    notes : what the checkpoint says of itself (accuracies and the like), shown, not used.
    source : name of the function and text of the Python files that a ``python:`` network came
        from, part of the digest.
    """

    module: nn.Module
    preprocessing: Preprocessing
    classes: list[str]
    spec: str
    default_layer: str
    notes: dict[str, Any] = field(default_factory=dict)
    source: str = ""

    def digest(self) -> str:
        """Hex digest over architecture, every weight and buffer, classes and source file."""
        h = hashlib.sha256()
        h.update(repr(self.module).encode())
        h.update("\0".join(self.classes).encode() + b"\1" + self.source.encode())
        for name, value in sorted(self.module.state_dict().items()):
            array = value.detach().cpu().contiguous()
            h.update(f"{name}:{array.dtype}:{tuple(array.shape)}".encode())
            h.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
        return h.hexdigest()

    def example(self, photo_size: tuple[int, int] = (640, 480)) -> Tensor:
        """One black input (1, 3, height, width), as a photo of (width, height) would give."""
        width, height = self.preprocessing.input_size(*photo_size)
        return torch.zeros(1, 3, height, width)

    def layers(self, photo_size: tuple[int, int] = (640, 480)) -> list[Layer]:
        """The layers that can be dissected, in the order of the forward pass, with the shapes
        of their maps for photos of (width, height)."""
        return list_layers(self.module, self.example(photo_size))


def load_model(spec: str) -> LoadedModel:
    """Open a network by its SPEC (see the module's text).

    Raises UnitscopeError for an unknown kind or name (with the nearest), a checkpoint that
    is missing, is no state dict, or does not fit the architecture (both sides told).
    """
    kind, _, rest = spec.partition(":")
    if kind == "torchvision":
        loaded = _load_torchvision(spec, rest)
    elif kind == "python":
        loaded = _load_python(spec, rest)
    elif kind == "rooms":
        loaded = _load_rooms(spec)
    else:
        forms = "; ".join(form for form, _ in KINDS.values())
        raise UnitscopeError(f"{unknown('kind of model', kind, KINDS)}. Forms: {forms}")
    loaded.module.eval().requires_grad_(False).to(memory_format=torch.channels_last)
    if len(loaded.classes) != len(set(loaded.classes)):
        raise UnitscopeError(f"model {spec!r} names a class twice")
    return loaded


def read_checkpoint(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict in float32, everything else in the file), loaded with ``weights_only``.

    Takes a plain state dict or one under ``state_dict`` / ``model``, with or without
    ``module.`` or ``model.`` before every name.
    """
    if not path.is_file():
        raise UnitscopeError(f"checkpoint {path} does not exist")
    try:
        stored = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as err:
        raise UnitscopeError(
            f"checkpoint {path} cannot be read safely ({str(err).splitlines()[0]}). Only plain "
            "tensors are loaded; save model.state_dict() with a current PyTorch and use that"
        ) from err
    notes: dict[str, Any] = {}
    if isinstance(stored, Mapping):
        for key in ("state_dict", "model", "model_state_dict"):
            if isinstance(stored.get(key), Mapping):
                notes = {k: v for k, v in stored.items() if k != key}
                stored = stored[key]
                break
    if not isinstance(stored, Mapping) or not all(isinstance(v, Tensor) for v in stored.values()):
        raise UnitscopeError(f"checkpoint {path} holds no state dict")
    state = {str(k): v.float() if v.is_floating_point() else v for k, v in stored.items()}
    for prefix in ("module.", "model."):
        if state and all(name.startswith(prefix) for name in state):
            state = {name[len(prefix) :]: value for name, value in state.items()}
    return state, notes


def fill(module: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Load `state` into `module`; raise one message that shows both sides of a mismatch."""
    own = module.state_dict()
    missing = [k for k in own if k not in state and not k.endswith("num_batches_tracked")]
    extra = [k for k in state if k not in own]
    shapes = [
        f"{k}: file {tuple(state[k].shape)}, network {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    if missing or extra or shapes:
        parts = []
        if missing:
            parts.append(f"the network also has {_few(missing)}")
        if extra:
            parts.append(f"the file also has {_few(extra)}")
        if shapes:
            parts.append(f"shapes differ: {_few(shapes)}")
        raise UnitscopeError(f"{what} does not fit this network: " + "; ".join(parts))
    module.load_state_dict(state, strict=False)


def _few(names: list[str], count: int = 4) -> str:
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest


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


def _preprocessing_from(notes: dict[str, Any], fallback: Preprocessing) -> Preprocessing:
    """A checkpoint's own preprocessing: a whole dict, or its crop / resize / center_crop."""
    if isinstance(notes.get("preprocessing"), dict):
        return Preprocessing.from_json(notes["preprocessing"])
    steps = ("crop", "resize", "center_crop", "mean", "std")
    own: dict[str, Any] = {k: notes[k] for k in steps if k in notes}
    return Preprocessing.from_json({**fallback.to_json(), **own})


def _load_torchvision(spec: str, rest: str) -> LoadedModel:
    # Imported here: half a second that the command line's other verbs need not wait for.
    from torchvision import models as zoo

    name, _, checkpoint = rest.partition(":")
    names = zoo.list_models(module=zoo)
    if name not in names:
        raise unknown("torchvision model", name, names)
    published = zoo.get_model_weights(name)["DEFAULT"]
    made = published.transforms()
    fallback = Preprocessing(
        resize=made.resize_size[0],
        center_crop=made.crop_size[0],
        mean=tuple(made.mean),
        std=tuple(made.std),
        interpolation="bicubic" if "bicubic" in str(made.interpolation) else "bilinear",
    )
    notes: dict[str, Any] = {}
    if checkpoint == "random":
        torch.manual_seed(0)
        module, classes = zoo.get_model(name, weights=None), []
        notes = {"weights": "random (seed 0): untrained"}
    else:
        if checkpoint:
            path = Path(checkpoint).expanduser()
        else:
            path = Path(torch.hub.get_dir()) / "checkpoints" / Path(published.url).name
            if not path.is_file():
                raise UnitscopeError(
                    f"{spec!r} needs torchvision's weights {path.name}, which are not in "
                    f"{path.parent}; put them there, give your own file as "
                    f"torchvision:{name}:FILE, or use torchvision:{name}:random"
                )
        state, notes = read_checkpoint(path)
        probe = zoo.get_model(name, weights=None)
        head = last_linear(probe)[0] + ".weight"
        if head not in state:
            raise UnitscopeError(f"checkpoint {path} has no {head}: it is not a {name}")
        outputs = state[head].shape[0]
        module = (
            probe if outputs == 1000 else zoo.get_model(name, weights=None, num_classes=outputs)
        )
        fill(module, state, f"checkpoint {path}")
        # ImageNet's names belong to torchvision's own weights alone.
        names = published.meta["categories"] if not checkpoint else []
        classes = list(notes.pop("classes", None) or names)
        if classes and len(classes) != outputs:
            raise UnitscopeError(
                f"checkpoint {path} names {len(classes)} classes but has {outputs} outputs"
            )
    return LoadedModel(
        module, _preprocessing_from(notes, fallback), classes, spec, _usual_layer(module), notes
    )


def _usual_layer(module: nn.Module) -> str:
    """The last stage before pooling, by the names that families of networks use."""
    names = dict(module.named_modules())
    for usual in ("layer4", "features", "encoder.layers", "stages", "blocks"):
        if usual in names:
            if usual == "encoder.layers":
                return f"{usual}.{list(names[usual]._modules)[-1]}"
            return usual
    convolutions = [n for n, m in module.named_modules() if isinstance(m, nn.Conv2d)]
    return convolutions[-1] if convolutions else next(n for n in names if n)


def _load_python(spec: str, rest: str) -> LoadedModel:
    """``python:package.module:function[:CHECKPOINT]``.

    The function is called with the checkpoint's path where one is given and without
    arguments otherwise. It returns a module, or ``(module, info)`` with any of
    ``preprocessing`` (a :class:`Preprocessing` or its dict), ``classes``, ``default_layer``.
    """
    name, _, rest = rest.partition(":")
    function, _, checkpoint = rest.partition(":")
    if not name or not function:
        raise UnitscopeError(f"{spec!r}: the form is {KINDS['python'][0]}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        code = importlib.import_module(name)
    except ImportError as err:
        raise UnitscopeError(
            f"{spec!r}: cannot import {name} ({err}); it is looked for in the current folder "
            "and on PYTHONPATH"
        ) from err
    if not callable(getattr(code, function, None)):
        public = [n for n in dir(code) if callable(getattr(code, n)) and not n.startswith("_")]
        raise unknown(f"function of {name}", function, public)
    given = (Path(checkpoint).expanduser(),) if checkpoint else ()
    made = getattr(code, function)(*given)
    module, info = made if isinstance(made, tuple) else (made, {})
    if not isinstance(module, nn.Module):
        raise UnitscopeError(f"{spec!r} returned {type(module).__name__}, not a torch.nn.Module")
    preprocessing = info.get("preprocessing", Preprocessing())
    if isinstance(preprocessing, dict):
        preprocessing = Preprocessing.from_json(preprocessing)
    return LoadedModel(
        module,
        preprocessing,
        list(info.get("classes", [])),
        spec,
        info.get("default_layer") or _usual_layer(module),
        {k: v for k, v in info.items() if k not in ("preprocessing", "classes", "default_layer")},
        f"{name}:{function}\n" + _sources(code, module),
    )


def _sources(code: ModuleType, module: nn.Module) -> str:
    """Text of the user's own files that a network is made by: the imported one, what it imports
    of the same package or folder, and those of the modules' classes. Installed packages are
    not read: their versions are part of a run's facts."""
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
        if file.endswith(".py") and not installed and not outside:
            texts.append(f"# {name}\n" + Path(file).read_text(encoding="utf-8"))
    return "\n".join(texts)


def _load_rooms(spec: str) -> LoadedModel:
    if spec != "rooms":
        raise UnitscopeError(f"{spec!r}: the embedded network's SPEC is plain `rooms`")
    if not WEIGHTS.is_file():
        raise UnitscopeError(
            f"{WEIGHTS.name} is not there; train it with `python -m core.models.rooms_train`"
        )
    state, notes = read_checkpoint(WEIGHTS)
    classes = [str(name) for name in notes.pop("classes")]
    module = RoomsNet(len(classes))
    fill(module, state, WEIGHTS.name)
    way = Preprocessing.from_json(notes.pop("preprocessing"))
    return LoadedModel(module, way, classes, spec, "layer4", notes)
