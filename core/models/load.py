"""A network by its SPEC: module, preprocessing, class names, digest.

``rooms``                                       the embedded network
``torchvision:NAME[:CHECKPOINT]``               any torchvision classifier; ``random`` as the
                                                checkpoint leaves it untrained (seed 0)
``timm:NAME[:CHECKPOINT]``                      the same for timm, an optional package
``places365:NAME:CHECKPOINT[:CATEGORIES]``      the CSAIL release of networks for Places365
``python:package.module:function[:CHECKPOINT]`` your own; see :func:`_load_python`
"""

from __future__ import annotations

import hashlib
import importlib
import sys
import sysconfig
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import torch
from torch import Tensor, nn

from core.foundation.errors import UnitscopeError, first_line, unknown
from core.foundation.geometry import Preprocessing
from core.models.checkpoint import fill, read_checkpoint
from core.models.families import default_layer
from core.models.head import batch_words, by_batch
from core.models.hooks import Layer, check_layer, list_layers
from core.models.outputs import features_alone, taken, vector, without_classifier
from core.models.trust import MOVED
from core.rooms.network import WEIGHTS, RoomsNet

KINDS = {
    "rooms": ("rooms", "the embedded network, trained on the embedded photos"),
    "torchvision": (
        "torchvision:NAME[:CHECKPOINT]",
        "a torchvision classifier; CHECKPOINT is a file, or `random` for untrained weights",
    ),
    "timm": ("timm:NAME[:CHECKPOINT]", "the same of timm, an optional package"),
    "places365": (
        "places365:NAME:CHECKPOINT[:CATEGORIES]",
        "a Places365 network of the CSAIL release; CATEGORIES is its list of class names",
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
    backbone : why its outputs are no classes (:mod:`core.models.outputs`), "" where they are; such
        a network is dissected without classes.
    source : what decides the output and neither the module's text nor its weights show, part of
        the digest: for a ``python:`` network the function's name and the text of its files, for
        timm's the package's version.
    """

    module: nn.Module
    preprocessing: Preprocessing
    classes: list[str]
    spec: str
    default_layer: str
    notes: dict[str, Any] = field(default_factory=dict)
    source: str = ""
    backbone: str = ""

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

    def outputs(self, photo_size: tuple[int, int] = (640, 480)) -> tuple[int, str]:
        """(number of classes the network answers with, what was chosen or not known about them in
        words), by one forward pass. (0, why) for a network without a classifier; where only what
        it returns shows that it has none, `backbone` is set.

        Raises UnitscopeError where the network names its classes and returns something else.
        """
        if self.backbone:
            return 0, self.backbone
        with torch.inference_mode():
            output = self.module(self.example(photo_size))
        try:
            if not self.classes:
                self.backbone = features_alone(output)
                if self.backbone:
                    return 0, self.backbone
            chosen, count = taken(output).said, vector(output).shape[1]
        except UnitscopeError as err:
            raise UnitscopeError(
                f"the network of {self.spec!r} {err}. Return one value a class for each image, as "
                "a tensor or under the name logits; or say that its outputs are no classes: "
                "--no-classes"
            ) from None
        said = [f"the network's answer is {chosen}"] if chosen else []
        if self.classes and len(self.classes) != count:
            of = f" ({chosen})" if chosen else ""
            raise UnitscopeError(
                f"model {self.spec!r} names {len(self.classes)} classes but gives {count} "
                f"outputs{of}"
            )
        if not self.classes:
            said.append(
                f"the network names no classes: its {count:,} outputs are taken for classes "
                "without names; if they are features, say --no-classes"
            )
        return count, "; ".join(said)

    def layers(self, photo_size: tuple[int, int] = (640, 480)) -> list[Layer]:
        """The layers that can be dissected, in the order of the forward pass, with the shapes
        of their maps for photos of (width, height).

        Raises UnitscopeError where the network does not take its preprocessing's input.
        """
        example = self.example(photo_size)
        try:
            return list_layers(self.module, example)
        # A user's own network may raise anything.
        except Exception as err:
            height, width = example.shape[2:]
            raise UnitscopeError(
                f"the network of {self.spec!r} does not take what its preprocessing gives, RGB of "
                f"{width}×{height} pixels: {(str(err) or repr(err)).splitlines()[0]}"
            ) from err

    def check_layer(
        self, name: str, known: Iterable[str], photo_size: tuple[int, int] = (640, 480)
    ) -> None:
        """Raise, and say why, where a layer is none of :meth:`layers`, whose names are `known`."""
        check_layer(self.module, self.example(photo_size), name, known)


def load_model(spec: str) -> LoadedModel:
    """Open a network by its SPEC (see the module's text).

    Raises UnitscopeError for an unknown kind or name (with the nearest), a checkpoint that
    is missing, is no state dict, or does not fit the architecture (both sides told).
    """
    kind, _, rest = spec.partition(":")
    if kind in ("torchvision", "timm", "places365"):
        # It knows this module's LoadedModel.
        from core.models import zoo

        by_kind = {"timm": zoo.load_timm, "places365": zoo.load_places}
        loaded = by_kind.get(kind, zoo.load_torchvision)(spec, rest)
    elif kind == "python":
        loaded = _load_python(spec, rest)
    elif kind == "rooms":
        loaded = _load_rooms(spec)
    else:
        forms = "; ".join(form for form, _ in KINDS.values())
        raise UnitscopeError(f"{unknown('kind of model', kind, KINDS)}. Forms: {forms}")
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
    """Make every weight and buffer float32, as photos are; told under ``precision``."""
    tensors = [*loaded.module.parameters(), *loaded.module.buffers()]
    other = {t.dtype for t in tensors if t.is_floating_point()} - {torch.float32}
    if other:
        loaded.module.float()
        kinds = ", ".join(sorted(str(kind).removeprefix("torch.") for kind in other))
        loaded.notes["precision"] = f"weights of {kinds} are used as float32"


def _number_twins(loaded: LoadedModel) -> None:
    """Classes that share a name (ImageNet's two cranes) get their numbers behind it; told under
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


def _load_python(spec: str, rest: str) -> LoadedModel:
    """``python:package.module:function[:CHECKPOINT]``.

    The function is called with the checkpoint's path where one is given and without
    arguments otherwise. It returns a module, or ``(module, info)`` with any of
    ``preprocessing`` (a :class:`Preprocessing` or its dict), ``classes`` (None where the outputs
    are no classes), ``default_layer``.
    """
    name, _, rest = rest.partition(":")
    function, _, checkpoint = rest.partition(":")
    if not name or not function:
        raise UnitscopeError(f"{spec!r}: the form is {KINDS['python'][0]}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    try:
        code = importlib.import_module(MOVED.get(name, name))
    # A person's own code may raise anything, or end the process.
    except (Exception, SystemExit) as err:
        why = first_line(err, "no reason given")
        raise UnitscopeError(
            f"{spec!r}: cannot import {name} ({type(err).__name__}: {why}); it is "
            "looked for in the current folder and on PYTHONPATH"
        ) from err
    if not callable(getattr(code, function, None)):
        public = [n for n in dir(code) if callable(getattr(code, n)) and not n.startswith("_")]
        raise unknown(f"function of {name}", function, public)
    given = (Path(checkpoint).expanduser(),) if checkpoint else ()
    try:
        made = getattr(code, function)(*given)
    except (Exception, SystemExit) as err:
        why = first_line(err, "no reason given")
        raise UnitscopeError(
            f"{spec!r}: {name}.{function} raised {type(err).__name__}: {why}"
        ) from err
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
        f"{name}:{function}\n" + _sources(code, module),
        "its function says that its outputs are no classes"
        if info.get("classes", 0) is None
        else "",
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
            f"{WEIGHTS.name} is not there; train it with `python -m core.rooms.train`"
        )
    state, notes = read_checkpoint(WEIGHTS)
    classes = [str(name) for name in notes.pop("classes")]
    module = RoomsNet(len(classes))
    fill(module, state, WEIGHTS.name)
    way = Preprocessing.from_json(notes.pop("preprocessing"))
    return LoadedModel(module, way, classes, spec, "layer4", notes)
