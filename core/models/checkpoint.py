"""Files of weights, whichever tool wrote them, and whether they fit a network.

A checkpoint is named by its path, or as ``FILE#KEY`` where it holds several sets of weights.
Read are PyTorch files (zip and the older layout, also those that Python 2 wrote) and safetensors,
as a plain state dict or under one of :data:`KEYS`. PyTorch files are only ever opened with
``weights_only``: nothing in them is run.

What a file does not say of itself can lie beside it, in ``NAME.unitscope.json`` for ``NAME.pt`` or
``NAME.pth.tar``: any of ``classes``, ``preprocessing`` (steps of a :class:`Preprocessing`),
``default_layer``.
"""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
import re
import threading
from collections.abc import Iterable, Mapping
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.datasets.files import json_of
from core.errors import UnitscopeError, unknown
from core.names import readable

KEYS = ("state_dict", "model", "model_state_dict", "weights", "net", "network")
"""Where training code puts a state dict: the first that is there is read."""

ENDINGS = (".pt", ".pth", ".tar", ".ckpt", ".bin", ".safetensors")
"""Of files of weights, one behind the other; what is before them names what lies beside."""

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""Keys of weights averaged over the training (timm, torchvision's references)."""

MACHINERY = ("optimizer", "lr_scheduler", "scheduler", "scaler", "amp", "loops", "callbacks")
"""How the names of entries begin that only going on with a training needs."""

WRAPPERS = ("module", "_orig_mod")
"""Parts of names that DataParallel and ``torch.compile`` put in, and no network has itself."""


class _NumberType:
    """Stands for ``numpy.dtype`` while a checkpoint is read: the type of one plain number.

    NumPy's own is never built from a file: its state can say that bytes of the file are pointers.

    >>> _NumberType("f8", False, True).code
    'f8'
    """

    def __init__(self, code: Any, *_: Any):
        if not isinstance(code, str) or not re.fullmatch(r"[<>|=]?([biuf][1248]|c8|c16)", code):
            raise pickle.UnpicklingError(f"a NumPy type {code!r}, which is no plain number's")
        self.code = code

    def __setstate__(self, state: Any) -> None:
        # (version, byte order, and what only types of several parts have): no more is taken.
        order = state[1] if isinstance(state, tuple) and len(state) > 1 else None
        if order not in ("<", ">", "|", "="):
            raise pickle.UnpicklingError("a NumPy type without a byte order")
        self.code = order + self.code.lstrip("<>|=")


def _number(kind: Any, raw: Any) -> Any:
    """Stands for NumPy's ``scalar``: one plain number of its type and bytes, as Python's.

    >>> _number(_NumberType("<i2"), bytes([1, 2]))
    513
    """
    if not isinstance(kind, _NumberType):
        raise pickle.UnpicklingError("a NumPy number without a type")
    code = np.dtype(kind.code)
    raw = raw.encode() if isinstance(raw, str) else raw  # Python 2 has one kind of text
    if not isinstance(raw, bytes) or len(raw) != code.itemsize:
        raise pickle.UnpicklingError(f"a NumPy number of type {code} in other than its bytes")
    return np.frombuffer(raw, code)[0].item()


HARMLESS: list[Any] = [
    argparse.Namespace,
    (pathlib.PurePosixPath, "pathlib.PosixPath"),
    (pathlib.PurePosixPath, "pathlib._local.PosixPath"),
    (_NumberType, "numpy.dtype"),
    *((_number, f"numpy.{core}.multiarray.scalar") for core in ("core", "_core")),
    # Lightning's hyper-parameters are a dict with attributes; a plain dict holds the same.
    (dict, "lightning.fabric.utilities.data.AttributeDict"),
    (dict, "lightning_fabric.utilities.data.AttributeDict"),
    (dict, "pytorch_lightning.utilities.parsing.AttributeDict"),
]
"""What training code stores beside weights and what runs no code when it is built: options,
paths, single numbers (built by stand-ins). Allowed beyond PyTorch's own list while a checkpoint
is read."""


def optional(package: str, what: str) -> ModuleType:
    """An optional package, imported; raises with the way to install it where it is missing.

    >>> optional("no_such_package", "files in no such format")
    Traceback (most recent call last):
        ...
    core.errors.UnitscopeError: files in no such format need the package no_such_package: pip \
install no_such_package
    """
    try:
        return import_module(package)
    except ImportError as err:
        head = package.partition(".")[0]
        if isinstance(err, ModuleNotFoundError) and (err.name or "").partition(".")[0] == head:
            raise UnitscopeError(f"{what} need the package {head}: pip install {head}") from None
        raise UnitscopeError(f"{what} need the package {head}, which fails: {err}") from err


# -- reading --------------------------------------------------------------------------------


def read_checkpoint(given: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(state dict in float32, what else the file and the one beside it say) of ``FILE[#KEY]``.

    ``module.`` and ``model.`` before every name are dropped. Of the rest of the file plain
    values are kept: numbers, text, and lists and dicts of these. ``weights`` among them says
    which of several sets of weights was read.

    Raises UnitscopeError for a file that is not there, holds no state dict or no such KEY, or
    holds objects that could run code when they are opened.
    """
    path, key = _parted(Path(given))
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise UnitscopeError(f"checkpoint {path} {what}")
    stored, notes = _safetensors(path) if path.suffix == ".safetensors" else (_stored(path), {})
    found, said, rest = _picked(path, stored, key)
    for name, value in rest.items():
        plain = _plain(value)
        if plain is not _ODD and not str(name).startswith(MACHINERY):
            notes[str(name)] = plain
    if said:
        notes["weights"] = said
    name = path.name
    while (stem := Path(name)).suffix in ENDINGS:
        name = stem.stem
    beside = path.with_name(f"{name}.unitscope.json")
    if beside.is_file():
        notes |= _beside(beside)
    state = {str(k): v.float() if v.is_floating_point() else v for k, v in found.items()}
    while state:
        for prefix in ("module.", "model.", "_orig_mod."):
            if all(name.startswith(prefix) for name in state):
                state = {name[len(prefix) :]: value for name, value in state.items()}
                break
        else:
            break
    return state, notes


def _parted(given: Path) -> tuple[Path, str | None]:
    """FILE#KEY → (FILE, KEY); a file that has # in its name is just a file."""
    if given.exists() or "#" not in given.name:
        return given, None
    name, _, key = given.name.rpartition("#")
    return given.with_name(name), key


_reading = threading.Lock()


def _stored(path: Path) -> Any:
    """Whatever a PyTorch file holds, opened without running anything in it."""
    try:
        # The list is the process's own: two that read at a time would take it from each other.
        with _reading, torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except UnicodeDecodeError as err:
        raise UnitscopeError(
            f"checkpoint {path} cannot be read safely: it was written by Python 2 and holds more "
            f"than tensors and plain names ({err.reason}). {_CONVERT}"
        ) from None
    except pickle.UnpicklingError as err:
        named = re.search(r"GLOBAL (\S+) (was not an allowed|whose module)", str(err))
        if named is None:
            raise UnitscopeError(
                f"checkpoint {path} cannot be read safely ({_reason(err)}). {_CONVERT}"
            ) from err
        kind = named.group(1)
        whole = ".models." in kind or kind.startswith(("torch.nn.", "torchvision."))
        raise UnitscopeError(
            f"checkpoint {path} cannot be read safely: "
            + (
                f"the network itself was saved, not its weights (it begins with {kind})"
                if whole
                else f"beside its weights it holds an object of {kind}"
            )
            + f", and building that can run any code. {_CONVERT}"
        ) from None
    except Exception as err:
        raise UnitscopeError(
            f"checkpoint {path} cannot be read safely ({_reason(err)}). {_CONVERT}"
        ) from err


def _reason(err: Exception) -> str:
    """What PyTorch says is wrong, in one line, without its advice to open the file unsafely.

    >>> _reason(ValueError("No tar file. Re-running `torch.load` with `weights_only` set …"))
    'No tar file.'
    """
    told = str(err) or repr(err)
    told = told.partition("WeightsUnpickler error:")[2].strip() or told
    if "TorchScript" in told:
        return "it is a TorchScript archive, a whole network and not its weights"
    advice = r"In PyTorch 2\.6|\(\d\) |Re-running|Please file an issue"
    return re.split(advice, told.splitlines()[0])[0].strip() or type(err).__name__


_CONVERT = (
    "Only plain tensors are loaded. If you trust the file, open it where it was made, with the "
    "code that made it, save the state dict alone, torch.save(network.state_dict(), FILE), and "
    "use that FILE"
)


def _safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(tensors, metadata); metadata is text, JSON where it can be read as such."""
    package = optional("safetensors", "*.safetensors files")
    notes: dict[str, Any] = {}
    try:
        with package.safe_open(path, "pt") as file:
            for name, text in (file.metadata() or {}).items():
                try:
                    notes[name] = json.loads(text)
                except ValueError:
                    notes[name] = text
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
    except (OSError, ValueError, package.SafetensorError) as err:
        raise UnitscopeError(f"checkpoint {path} cannot be read: {err}") from err


def _is_state(value: Any) -> bool:
    """A dict of names and tensors, with at least one."""
    return (
        isinstance(value, Mapping)
        and bool(value)
        and all(isinstance(v, Tensor) or k == "n_averaged" for k, v in value.items())
    )


def _picked(
    path: Path, stored: Any, key: str | None
) -> tuple[Mapping[str, Tensor], str, dict[str, Any]]:
    """(state dict, which one it is in words where there was a choice, the rest of the file)."""
    entries = stored.items() if isinstance(stored, Mapping) else ()
    sets = {str(k): v for k, v in entries if _is_state(v)}
    if key is not None:
        if key not in sets:
            raise unknown(f"set of weights in {path.name}", key, sets)
        chosen = key
    elif _is_state(stored):
        return _tensors(stored), "", {}
    else:
        usual = [k for k in (*KEYS, *AVERAGED) if k in sets]
        chosen = usual[0] if usual else (next(iter(sets)) if len(sets) == 1 else "")
        if not chosen:
            held = ", ".join(map(str, stored)) if isinstance(stored, Mapping) else ""
            raise UnitscopeError(
                f"checkpoint {path} holds no state dict; it holds "
                + (f"{held}; name one as {path}#KEY" if sets else held or type(stored).__name__)
            )
    others = [k for k in sets if k != chosen and k in (*KEYS, *AVERAGED)]
    said = f"averaged over the training ({chosen})" if chosen in AVERAGED else ""
    if others:
        said = f"{said or chosen}; the file also holds " + ", ".join(
            f"{k} ({'averaged over the training' if k in AVERAGED else 'another set'}: "
            f"{path.name}#{k})"
            for k in others
        )
    return _tensors(sets[chosen]), said, {k: v for k, v in stored.items() if k not in sets}


def _tensors(state: Mapping[str, Any]) -> dict[str, Tensor]:
    return {k: v for k, v in state.items() if isinstance(v, Tensor) and k != "n_averaged"}


_ODD = object()
"""Stands for a value that is not kept; None is one that is."""


def _plain(value: Any, deep: int = 4) -> Any:
    """A value as JSON could hold it, or :data:`_ODD` where it holds anything else."""
    if isinstance(value, argparse.Namespace):
        value = vars(value)
    if value is None or isinstance(value, (str, int, float, bool)):
        return value
    if isinstance(value, (list, tuple)) and deep:
        listed = [_plain(v, deep - 1) for v in value]
        return _ODD if any(v is _ODD for v in listed) else listed
    if isinstance(value, Mapping) and deep:
        # Options that hold something odd keep the rest of what they hold.
        kept = {str(k): _plain(v, deep - 1) for k, v in value.items()}
        return {k: v for k, v in kept.items() if v is not _ODD} or (_ODD if kept else {})
    return _ODD


def _beside(path: Path) -> dict[str, Any]:
    """What the user wrote beside a checkpoint that does not say it itself."""
    told = json_of(path)
    if not isinstance(told, dict):
        raise UnitscopeError(f"{path}: an object is meant, with any of {', '.join(SAID)}")
    for name, value in told.items():
        if name not in SAID:
            raise unknown(f"entry of {path.name}", name, SAID)
        kind, words = SAID[name]
        if not isinstance(value, kind):
            raise UnitscopeError(f"{path}: {name} is {words}, not {json.dumps(value)[:60]}")
    return told


SAID = {
    "classes": (list, "a list of names in the order of the outputs"),
    "preprocessing": (dict, "an object with steps"),
    "default_layer": (str, "a layer's dotted name"),
}
"""Entries that ``NAME.unitscope.json`` may have, of which kind, and that in words."""


def classes_in(notes: dict[str, Any]) -> list[str]:
    """Class names that a checkpoint gives, in the order of its outputs; [] where it gives none.

    Taken out of the notes: a list under ``classes`` or ``class_names``, or ``class_to_idx`` /
    ``idx_to_class`` as torchvision's ImageFolder and tutorials store them. Raises UnitscopeError
    where one of these two numbers its classes by anything but whole numbers.

    >>> classes_in({"class_to_idx": {"barn": 1, "attic": 0}})
    ['attic', 'barn']
    """
    for key in ("classes", "class_names", "label_names"):
        if isinstance(notes.get(key), (list, tuple)):
            return [readable(str(name)) for name in notes.pop(key)]
    for key, form in (("class_to_idx", '{"attic": 0, …}'), ("idx_to_class", '{"0": "attic", …}')):
        if not isinstance(notes.get(key), Mapping):
            continue
        pairs = list(notes.pop(key).items())
        try:
            of = {int(p[key == "class_to_idx"]): str(p[key != "class_to_idx"]) for p in pairs}
        except (TypeError, ValueError, OverflowError):
            raise UnitscopeError(
                f"the checkpoint's {key} does not number its classes: {form} is meant"
            ) from None
        if sorted(of) == list(range(len(pairs))):
            return [readable(of[k]) for k in range(len(pairs))]
    return []


# -- fitting --------------------------------------------------------------------------------

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.(?=[a-z_]+$)")
"""DenseNet's names before torchvision 0.2.1: ``norm.1.weight`` for ``norm1.weight``."""


def settle(
    state: dict[str, Tensor], own: Iterable[str]
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """(the state dict under a network's own names, notes), by renaming what surrounded it.

    Dropped are ``module`` and ``_orig_mod`` anywhere in a name, and the name of the attribute
    that held the network in a larger module (Lightning's ``model.``, ``net.``,
    ``backbone.encoder.``, …): the one under which most of the network's names are found. What
    lay beside the network (a loss, a metric) is left out and told under ``left out``. Names
    that fit as they are stay as they are. Raises UnitscopeError where two such attributes hold
    the network alike, with different weights (a student and a teacher).

    >>> own = ["conv.weight", "fc.weight"]
    >>> state = {"net.conv.weight": 1, "net.fc.weight": 2, "loss.weight": 3}
    >>> settle(state, own)
    ({'conv.weight': 1, 'fc.weight': 2}, {'left out': 'loss.weight'})
    """
    names = set(own)

    def hits(some: Iterable[str]) -> int:
        return len(names & set(some))

    def better(old: dict[str, Tensor], new: dict[str, Tensor]) -> dict[str, Tensor]:
        return new if hits(new) > hits(old) and len(new) == len(old) else old

    state = better(
        state,
        {".".join(p for p in k.split(".") if p not in WRAPPERS): v for k, v in state.items()},
    )
    state = better(state, {_OLD_DENSENET.sub(r"\1\2.", k): v for k, v in state.items()})
    tried = {""}
    for name in state:
        for at in [k for k, c in enumerate(name) if c == "."][:4]:
            if name[at + 1 :] in names:
                tried.add(name[: at + 1])
    found = {p: hits(k[len(p) :] for k in state if k.startswith(p)) for p in sorted(tried)}
    prefix = max(found, key=lambda p: found[p])
    if not prefix or found[prefix] <= found[""]:
        return state, {}

    def under(some: str) -> dict[str, Tensor]:
        return {k[len(some) :]: v for k, v in state.items() if k.startswith(some)}

    inside = under(prefix)
    if 2 * found[prefix] > len(names):
        for other in [p for p in found if p != prefix and found[p] == found[prefix]]:
            if not _alike(inside, under(other), names):
                raise UnitscopeError(
                    f"the checkpoint holds this network more than once, under {prefix} and "
                    f"{other}, and does not say which is meant. Save one of them alone: "
                    f"torch.save({{k.removeprefix({prefix!r}): v for k, v in state.items() "
                    f"if k.startswith({prefix!r})}}, FILE), state being its state dict"
                )
    outside = [k for k in state if not k.startswith(prefix)]
    return inside, {"left out": _few(outside)} if outside else {}


def same_values(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are of one type and shape and equal throughout."""
    return one.dtype == other.dtype and torch.equal(one, other)


def _alike(one: dict[str, Tensor], other: dict[str, Tensor], names: set[str]) -> bool:
    """Whether two state dicts have the same values under `names`, as one network that is an
    attribute of a larger one twice is stored."""
    return all(
        name in one and name in other and same_values(one[name], other[name])
        for name in names & (set(one) | set(other))
    )


def _few(names: list[str], count: int = 4) -> str:
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest


def differences(module: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """How a state dict differs from a network's, in words; [] where it fits.

    Weights that the network shares between several names may be given under one of them, and
    counters of batch norm (``num_batches_tracked``, which PyTorch has since 0.4.1) may lack.
    """
    own = module.state_dict()
    # A network without memory has no addresses.
    given = {own[k].data_ptr() for k in state if k in own} - {0}
    missing = [
        k for k, v in own.items()
        if k not in state and not k.endswith("num_batches_tracked")
        and v.data_ptr() not in given
    ]  # fmt: skip
    extra = [k for k in state if k not in own]
    shapes = [
        f"{k}: file {tuple(state[k].shape)}, network {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    parts = []
    if missing:
        parts.append(f"the network also has {_few(missing)}")
    if extra:
        parts.append(f"the file also has {_few(extra)}")
    if shapes:
        parts.append(f"shapes differ: {_few(shapes)}")
    return parts


def fill(module: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Load `state` into `module`; raise one message that shows both sides of a mismatch.

    The message also says which torchvision network the weights are of, where they are one's,
    and how many colours the file's first layer takes, where not three.
    """
    parts = differences(module, state)
    if parts:
        first = next((v for v in state.values() if v.ndim == 4 and v.shape[2] > 1), None)
        if first is not None and first.shape[1] in (1, 2, 4, 6) and len(parts) == 1:
            parts.append(
                f"the file's first layer takes {first.shape[1]} colour channel"
                f"{'' if first.shape[1] == 1 else 's'}; photos have 3 (RGB)"
            )
        likely = closest(state)
        if likely and likely != closest(module.state_dict()):
            parts.append(f"the file's names and shapes are those of torchvision's {likely}")
        raise UnitscopeError(f"{what} does not fit this network: " + "; ".join(parts))
    whole = dict(state)
    # Some networks (MNASNet) ask which version of their layout a state dict has; a plain dict
    # does not know, and torchvision has written the current one for years.
    own = module.state_dict()
    vars_of = getattr(own, "_metadata", None)
    ordered = type(own)(whole)
    if vars_of is not None:
        ordered._metadata = vars_of  # type: ignore[attr-defined]
    module.load_state_dict(ordered, strict=False)


def closest(state: Mapping[str, Tensor]) -> str | None:
    """The torchvision classifier with the names and shapes of `state` but for its last layer;
    None where there is none (RegNets are not tried: they cannot be built without memory).

    Networks are built without memory for their weights: first one of each family, then the
    family with most names in common. Some seconds, once something is wrong already.
    """
    from torchvision import models as zoo

    def shapes(name: str) -> dict[str, tuple[int, ...]]:
        options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
        with torch.device("meta"):
            made = zoo.get_model(name, weights=None, **options).state_dict()
        return {k: tuple(v.shape) for k, v in made.items() if not k.endswith("tracked")}

    families: dict[str, list[str]] = {}
    for name in zoo.list_models(module=zoo):
        family = re.match(r"(wide_)?[a-z]+(_v\d)?", name)
        if family and family[0] != "regnet":
            families.setdefault(family[0], []).append(name)
    theirs = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("tracked")}

    def common(name: str) -> float:
        names = set(shapes(name))
        return len(names & set(theirs)) / len(names | set(theirs))

    for name in max(families.values(), key=lambda members: common(members[0])):
        own = shapes(name)
        odd = {k for k in set(own) | set(theirs) if own.get(k) != theirs.get(k)}
        # The last layer's weight and bias differ with the number of classes.
        if len(odd) <= 4 and odd <= set(list(own)[-2:]) | {k for k in own if "aux" in k.lower()}:
            return name
    return None
