"""Files of weights, whichever tool wrote them, and whether they fit a network.

A checkpoint is named by its path, or as ``FILE#KEY`` where it holds several sets of weights.
Read are PyTorch files (zip and the older layout, also those that Python 2 wrote), safetensors, and
weights in several files that a ``*.index.json`` lists; as a plain state dict or under one of
:data:`KEYS`. PyTorch files are only ever opened with
``weights_only``: nothing in them is run.

What a file does not say of itself, or says wrongly, can lie beside it, in
``NAME.unitscope.json`` for ``NAME.pt`` or ``NAME.pth.tar``: any of ``classes``, ``preprocessing``
(steps of a :class:`Preprocessing`), ``default_layer``, ``arch`` (:mod:`core.models.said`).
"""

from __future__ import annotations

import argparse
import functools
import json
import pathlib
import pickle
import re
import threading
import zipfile
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.datasets.files import json_of
from core.foundation.errors import UnitscopeError, unknown
from core.models.said import BESIDE, ENDINGS, beside_of, corrected

KEYS = ("state_dict", "model", "model_state_dict", "weights", "net", "network")
"""Where training code puts a state dict: the first that is there is read."""

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
    core.foundation.errors.UnitscopeError: files in no such format need the package \
no_such_package: pip install no_such_package
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

    Names are the file's own; :func:`settle` fits them to a network. Of the rest of the file plain
    values are kept: numbers, text, and lists and dicts of these. ``weights`` among them says
    which of several sets of weights was read.

    Raises UnitscopeError for a file that is not there, is of another kind, holds no state dict or
    no such KEY, or holds objects that could run code when they are opened.
    """
    path, key = _parted(Path(given))
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise UnitscopeError(f"checkpoint {path} {what}")
    stored, notes = _opened(path)
    found, said, rest = _picked(path, stored, key)
    for name, value in rest.items():
        plain = _plain(value)
        if plain is not _ODD and not str(name).startswith(MACHINERY):
            notes[str(name)] = plain
    if said:
        notes["weights"] = said
    beside = beside_of(path)
    if beside.is_file():
        notes = corrected(notes, _beside(beside))
    _bounded(path, found)
    state = {str(k): v.float() if v.is_floating_point() else v for k, v in found.items()}
    return state, notes


def _opened(path: Path) -> tuple[Any, dict[str, Any]]:
    """(what a file holds, notes beside it), by what kind of file it is rather than its name."""
    if path.name.endswith(".index.json"):
        return _sharded(path), {}
    with path.open("rb") as file:
        head = file.read(1024)
    if kind := foreign(path, head):
        raise UnitscopeError(f"checkpoint {path} {kind}")
    zipped_or_pickled = head.startswith((b"PK\x03\x04", b"\x80"))
    length = int.from_bytes(head[:8], "little")
    if (head[8:9] == b"{" and length <= path.stat().st_size - 8) or (
        path.suffix == ".safetensors" and not zipped_or_pickled
    ):
        return _safetensors(path)
    return _stored(path), {}


def _bounded(path: Path, state: Mapping[str, Tensor]) -> None:
    """Raise for tensors that hold no plain numbers, or far fewer than their shapes claim."""
    stored = {}
    for name, value in state.items():
        if value.layout != torch.strided or value.device.type != "cpu" or value.is_quantized:
            kind = "quantized" if value.is_quantized else f"{value.device.type}, {value.layout}"
            raise UnitscopeError(
                f"checkpoint {path}: {name} is no plain tensor ({kind}). Save the state dict of "
                "the network in single or half precision"
            )
        storage = value.untyped_storage()
        stored[storage.data_ptr()] = storage.nbytes()
    claimed = sum(4 * value.numel() for value in state.values())
    # Half precision doubles, shared weights are counted by each of their names.
    if claimed > 16 * sum(stored.values()) + 2**20:
        raise UnitscopeError(
            f"checkpoint {path} holds {sum(stored.values())} bytes of weights, whose shapes claim "
            f"{claimed}: it is damaged or made to fill the memory"
        )


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
    """(tensors, metadata); metadata is text, JSON where it looks like an object or a list."""
    package = optional("safetensors", "*.safetensors files")
    notes: dict[str, Any] = {}
    try:
        with package.safe_open(path, "pt") as file:
            for name, text in (file.metadata() or {}).items():
                plain = text
                with suppress(ValueError):
                    plain = _plain(json.loads(text))
                if plain is not _ODD:
                    notes[name] = plain
            return {name: file.get_tensor(name) for name in file.keys()}, notes  # noqa: SIM118
    except RecursionError:
        raise UnitscopeError(f"checkpoint {path}: its metadata are nested too deep") from None
    except (OSError, ValueError, package.SafetensorError) as err:
        raise UnitscopeError(f"checkpoint {path} cannot be read: {err}") from err


MOST_INDEX = 64 * 2**20
"""Bytes that an index of weights in several files may have; one of 100,000 names has ten."""


def _sharded(path: Path) -> dict[str, Tensor]:
    """The weights that ``NAME.index.json`` lists, ``weight_map`` {name: file}, in one dict.

    Files lie in the index's own folder, and hold what the index says and no more.
    """
    if path.stat().st_size > MOST_INDEX:
        raise UnitscopeError(f"{path} is larger than an index of weights can be")
    told = json_of(path)
    listed = told.get("weight_map") if isinstance(told, dict) else None
    if not isinstance(listed, dict) or not listed:
        raise UnitscopeError(f"{path} is no index of weights: it has no weight_map {{name: file}}")
    files: dict[str, list[str]] = {}
    for name, file in listed.items():
        # A name, not a path, also not one of another system.
        if (
            not isinstance(file, str)
            or Path(file).suffix not in ENDINGS
            or set("/\\:\0") & set(file)
        ):
            raise UnitscopeError(
                f"{path}: {name} is said to be in {str(file)[:80]!r}; a file of weights in the "
                "same folder is meant, by its name alone"
            )
        files.setdefault(file, []).append(name)
    missing = [file for file in files if not (path.parent / file).is_file()]
    if missing:
        raise UnitscopeError(f"{path} lists files that are not there: {few(missing)}")
    state: dict[str, Tensor] = {}
    for file, names in files.items():
        stored, _ = _opened(path.parent / file)
        if not _is_state(stored) or set(names) != set(map(str, stored)):
            held = set(map(str, stored)) if isinstance(stored, Mapping) else set()
            odd = sorted(set(names) ^ held)
            raise UnitscopeError(f"{path} and {file} do not list the same weights: {few(odd)}")
        state |= stored
    return state


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
        raise UnitscopeError(f"{path}: an object is meant, with any of {', '.join(BESIDE)}")
    for name, value in told.items():
        if name not in BESIDE:
            raise unknown(f"entry of {path.name}", name, BESIDE)
        kind, words = BESIDE[name]
        if not isinstance(value, kind):
            raise UnitscopeError(f"{path}: {name} is {words}, not {json.dumps(value)[:60]}")
    return told


def foreign(path: Path, head: bytes) -> str:
    """What a file is that holds no weights for PyTorch, by its first kilobyte, in words that
    follow its name; "" for any other.

    >>> foreign(Path("w.pt"), b"version https://git-lfs.github.com/spec/v1")
    'is a Git LFS pointer, which stands for the file: fetch the file itself with `git lfs pull`'
    """
    text = head.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if not head:
        return "is empty (0 bytes)"
    if head.startswith(b"version https://git-lfs"):
        return (
            "is a Git LFS pointer, which stands for the file: fetch the file itself with "
            "`git lfs pull`"
        )
    if text.startswith((b"<!doctype html", b"<html", b"<?xml", b"<head", b"<script")):
        return (
            "is a web page, not weights: the download gave a page (to sign in, to confirm, or of "
            "an error) in place of the file; download it again, from the link to the file itself"
        )
    for at, magic, kind in _MAGIC:
        if head[at : at + len(magic)] == magic:
            return f"is {kind}"
    if head.startswith(b"PK\x03\x04"):
        return _foreign_zip(path)
    # ModelProto: its version, then the producer's name (text), as every exporter writes it.
    producer = re.match(rb"\x08[\x01-\x20]\x12[\x01-\x40]([ -~]{3,})", head, re.DOTALL)
    if path.suffix == ".onnx" or producer:
        return f"is an ONNX network, {_NO_GRAPH}"
    if text[:1] in (b"{", b"["):
        return f"is text, JSON by its look, and not weights (it begins {head[:40]!r})"
    return ""


_NO_GRAPH = (
    "which is a graph and not weights for PyTorch; a network that exists in PyTorch is better "
    "brought as that: its state dict, torch.save(network.state_dict(), FILE)"
)

_PICTURE = "a picture, not weights"

_MAGIC = (
    (0, b"\x89HDF\r\n\x1a\n", f"an HDF5 file, as Keras writes them, {_NO_GRAPH}"),
    (
        0,
        b"\x93NUMPY",
        "a NumPy array (.npy), not a state dict; save names and tensors with torch.save",
    ),
    (4, b"TFL3", f"a TensorFlow Lite network, {_NO_GRAPH}"),
    (0, b"GGUF", "a GGUF file, which PyTorch does not read"),
    (0, b"\x1f\x8b", "compressed by gzip: unpack it first"),
    (0, b"BZh", "compressed by bzip2: unpack it first"),
    (0, b"\xfd7zXZ", "compressed by xz: unpack it first"),
    (0, b"7z\xbc\xaf\x27\x1c", "a 7z archive: unpack it first"),
    (0, b"Rar!", "a RAR archive: unpack it first"),
    (257, b"ustar", "a tar archive: unpack it, and name the file of weights in it"),
    (0, b"%PDF", "a PDF document, not weights"),
    (0, b"\x89PNG", _PICTURE),
    (0, b"\xff\xd8\xff", _PICTURE),
    (0, b"GIF8", _PICTURE),
)
"""(offset, bytes there, what such a file is) of files that are no weights."""


def _foreign_zip(path: Path) -> str:
    """What a zip is that PyTorch did not write, by the names in it; "" for one that it did."""
    try:
        with zipfile.ZipFile(path) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return ""  # cut off, perhaps: PyTorch says what is wrong with it
    if any(name.endswith("data.pkl") for name in names):
        return ""
    if names and all(name.endswith(".npy") for name in names):
        return (
            f"is a NumPy archive (.npz) of {few(names)}, not a state dict: read it where its "
            "layout is known, and save names and tensors with torch.save"
        )
    if "model.weights.h5" in names:
        return f"is a Keras network (.keras), {_NO_GRAPH}"
    return f"is a zip archive of {few(names)}: unpack it, and name the file of weights in it"


# -- fitting --------------------------------------------------------------------------------

_OLD_DENSENET = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12])\.(?=[a-z_]+$)")
"""DenseNet's names before torchvision 0.2.1: ``norm.1.weight`` for ``norm1.weight``."""


class Weights(dict[str, Tensor]):
    """A state dict under a network's own names that remembers what the file calls them.

    Attributes
    ----------
    called : the file's name of each weight that has another here.
    left_out : the file's names of what lay beside the network.
    """

    def __init__(
        self,
        state: Mapping[str, Tensor],
        called: Mapping[str, str] | None = None,
        left_out: Iterable[str] = (),
    ):
        super().__init__(state)
        self.called = dict(called or {})
        self.left_out = list(left_out)

    def file_name(self, name: str) -> str:
        return self.called.get(name, name)

    def renamed(self, new: Callable[[str], str | None]) -> Weights:
        """The same under new names, without those whose new name is None or was given before."""
        made = Weights({}, left_out=self.left_out)
        for name, value in self.items():
            changed, file_name = new(name), self.file_name(name)
            if changed is None or changed in made:
                made.left_out.append(file_name)
            else:
                made[changed] = value
                if changed != file_name:
                    made.called[changed] = file_name
        return made


CLASSIFIERS = ("head.fc", "head", "fc", "classifier")
"""Where a classifier lies beside the attribute that holds the rest (MMPretrain: ``head.fc``)."""


def settle(
    state: Mapping[str, Tensor], own: Iterable[str], head: str = ""
) -> tuple[Weights, dict[str, Any]]:
    """(the state dict under a network's own names, notes), by renaming what surrounded it.

    Dropped are ``module`` and ``_orig_mod`` anywhere in a name, and the name of the attribute
    that held the network in a larger module (``model.``, Lightning's ``net.``,
    ``backbone.encoder.``, …): the one under which most of the network's names are found, if most
    are. What lay beside the network (a loss, a metric) is left out and told under ``left out``.
    Names that fit as they are stay as they are.

    With `head`, the name of the network's classifier, and everything but this in place: a linear
    layer one level deeper (``fc.1``, a Sequential of Dropout and Linear) or higher, or beside the
    rest under one of :data:`CLASSIFIERS`, is taken for it, and told under ``classifier``.

    Raises UnitscopeError where two such attributes hold the network alike, with different weights
    (a student and a teacher).

    >>> own = ["conv.weight", "fc.weight"]
    >>> state = {"net.conv.weight": 1, "net.fc.weight": 2, "loss.weight": 3}
    >>> settle(state, own)
    ({'conv.weight': 1, 'fc.weight': 2}, {'left out': 'loss.weight'})
    """
    # Older files lack these counters of batch norm.
    names = {name for name in own if not name.endswith("num_batches_tracked")}

    def hits(some: Iterable[str]) -> int:
        return len(names & set(some))

    weights = Weights(state)
    for rename in (
        lambda name: ".".join(part for part in name.split(".") if part not in WRAPPERS),
        lambda name: _OLD_DENSENET.sub(r"\1\2.", name),
    ):
        new = weights.renamed(rename)
        if hits(new) > hits(weights) and len(new) == len(weights):
            weights = new
    tried = {""}
    for name in weights:
        for at in [k for k, c in enumerate(name) if c == "."][:4]:
            if name[at + 1 :] in names:
                tried.add(name[: at + 1])
    found = {p: hits(k[len(p) :] for k in weights if k.startswith(p)) for p in sorted(tried)}
    prefix = max(found, key=lambda p: found[p])
    if found[prefix] <= found[""] or 2 * found[prefix] <= len(names):
        prefix = ""

    def under(some: str) -> Weights:
        return weights.renamed(lambda k: k[len(some) :] if k.startswith(some) else None)

    inside = under(prefix)
    for other in [p for p in found if prefix and p != prefix and found[p] == found[prefix]]:
        if not _alike(inside, under(other), names):
            raise UnitscopeError(
                f"the checkpoint holds this network more than once, under {prefix} and "
                f"{other}, and does not say which is meant. Save one of them alone: "
                f"torch.save({{k.removeprefix({prefix!r}): v for k, v in state.items() "
                f"if k.startswith({prefix!r})}}, FILE), state being its state dict"
            )
    notes: dict[str, Any] = {}
    if head:
        inside, told = _with_head(inside, weights, names, head)
        notes |= {"classifier": told} if told else {}
    return inside, notes | ({"left out": few(inside.left_out)} if inside.left_out else {})


def _with_head(inside: Weights, whole: Weights, names: set[str], head: str) -> tuple[Weights, str]:
    """(weights with the classifier under its own name, what it was in words), see :func:`settle`;
    as they are, and "", where it is in place, is not found, or is not all that lacks."""
    parts = {name for name in names if name.startswith(f"{head}.")}
    if f"{head}.weight" in inside or not (names - parts) <= set(inside):
        return inside, ""

    def linear(where: Mapping[str, Tensor], at: str) -> bool:
        weight = where.get(f"{at}.weight")
        return weight is not None and weight.ndim in (2, 4)

    def moved(some: Mapping[str, Tensor], at: str) -> dict[str, str]:
        return {k: f"{head}.{k[len(at) + 1 :]}" for k in some if k.startswith(f"{at}.")}

    beneath = {k.rpartition(".")[0] for k in inside if k.startswith(f"{head}.")}
    deeper = [at for at in beneath if len(beneath) == 1 and at[len(head) + 1 :].isdigit()]
    above = head.rpartition(".")[0]
    alone = bool(above) and all(n in parts for n in names if n.startswith(f"{above}."))
    for at in [*deeper, *([above] if alone else [])]:
        if linear(inside, at):
            new = moved(inside, at)
            file_name = inside.file_name(f"{at}.weight").removesuffix(".weight")
            return inside.renamed(lambda k, new=new: new.get(k, k)), (  # type: ignore[misc]
                f"{file_name} of the file, read as a linear layer alone (Dropout and all else "
                "that has no weights does not show in a file)"
            )
    beside = [at for at in CLASSIFIERS if linear(whole, at) and f"{at}.weight" not in inside]
    if len(beside) != 1:
        return inside, ""
    new = moved(whole, beside[0])
    made = Weights(
        {**inside, **{new[k]: whole[k] for k in new}},
        {**inside.called, **{new[k]: whole.file_name(k) for k in new}},
    )
    made.left_out = [k for k in inside.left_out if k not in made.called.values()]
    return made, f"{beside[0]} of the file"


def same_values(one: Tensor, other: Tensor) -> bool:
    """Whether two tensors are of one type and shape and equal throughout."""
    return one.dtype == other.dtype and torch.equal(one, other)


def _alike(one: Mapping[str, Tensor], other: Mapping[str, Tensor], names: set[str]) -> bool:
    """Whether two state dicts have the same values under `names`, as one network that is an
    attribute of a larger one twice is stored."""
    return all(
        name in one and name in other and same_values(one[name], other[name])
        for name in names & (set(one) | set(other))
    )


def few(names: Sequence[str], count: int = 4) -> str:
    """The first few of some names, and how many more there are."""
    rest = f" and {len(names) - count} more" if len(names) > count else ""
    return ", ".join(names[:count]) + rest


def differences(module: nn.Module, state: Mapping[str, Tensor]) -> list[str]:
    """How a state dict differs from a network's, in words; [] where it fits.

    Names of the file are told as the file has them, also after :func:`settle`.

    Weights that the network shares between several names may be given under one of them, and
    counters of batch norm (``num_batches_tracked``, which PyTorch has since 0.4.1) may lack.
    """
    own = module.state_dict()
    called = state.file_name if isinstance(state, Weights) else str
    # A network without memory has no addresses.
    given = {own[k].data_ptr() for k in state if k in own} - {0}
    missing = [
        k
        for k, v in own.items()
        if k not in state and not k.endswith("num_batches_tracked") and v.data_ptr() not in given
    ]
    extra = [called(k) for k in state if k not in own]
    shapes = [
        f"{called(k)}: file {tuple(state[k].shape)}, network {tuple(own[k].shape)}"
        for k in own
        if k in state and state[k].shape != own[k].shape
    ]
    parts = []
    if missing:
        parts.append(f"the network also has {few(missing)}")
    if extra:
        parts.append(f"the file also has {few(extra)}")
    if shapes:
        parts.append(f"shapes differ: {few(shapes)}")
    return parts


def fill(module: nn.Module, state: Mapping[str, Tensor], what: str) -> None:
    """Load `state` into `module`; raise one message that shows both sides of a mismatch.

    The message also says which torchvision network the weights are of, where they are one's,
    how many colours the file's first layer takes, where not three, and what was left out.
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
        if isinstance(state, Weights) and state.left_out:
            parts.append(f"left out, as no part of this network: {few(state.left_out)}")
        raise UnitscopeError(f"{what} does not fit this network: " + "; ".join(parts))
    # Some networks (MNASNet) ask which version of their layout a state dict has; a plain dict
    # does not know, and torchvision has written the current one for years.
    own = module.state_dict()
    vars_of = getattr(own, "_metadata", None)
    ordered = type(own)(state)
    if vars_of is not None:
        ordered._metadata = vars_of  # type: ignore[attr-defined]
    module.load_state_dict(ordered, strict=False)


@functools.cache
def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a network of torchvision, built without memory for its weights."""
    from torchvision import models as zoo

    options = {"init_weights": False} if name in ("googlenet", "inception_v3") else {}
    with torch.device("meta"):
        made = zoo.get_model(name, weights=None, **options).state_dict()
    return {k: tuple(v.shape) for k, v in made.items() if not k.endswith("tracked")}


def closest(state: Mapping[str, Tensor]) -> str | None:
    """The torchvision classifier with the names and shapes of `state` but for its last layer, and
    for an attribute that holds it all; None where there is none (RegNets are not tried: they
    cannot be built without memory).

    Networks are built without memory for their weights: first one of each family, then the
    family with most names in common. Some seconds, once something is wrong already.
    """
    from torchvision import models as zoo

    families: dict[str, list[str]] = {}
    for name in zoo.list_models(module=zoo):
        family = re.match(r"(wide_)?[a-z]+(_v\d)?", name)
        if family and family[0] != "regnet":
            families.setdefault(family[0], []).append(name)
    theirs = {k: tuple(v.shape) for k, v in state.items() if not k.endswith("tracked")}
    while len({k.partition(".")[0] for k in theirs}) == 1 and all("." in k for k in theirs):
        # One attribute, or DataParallel, holds it all.
        theirs = {k.partition(".")[2]: shape for k, shape in theirs.items()}

    def common(name: str) -> float:
        names = set(_shapes(name))
        return len(names & set(theirs)) / len(names | set(theirs))

    for name in max(families.values(), key=lambda members: common(members[0])):
        own = _shapes(name)
        odd = {k for k in set(own) | set(theirs) if own.get(k) != theirs.get(k)}
        # The last layer's weight and bias differ with the number of classes.
        if len(odd) <= 4 and odd <= set(list(own)[-2:]) | {k for k in own if "aux" in k.lower()}:
            return name
    return None
