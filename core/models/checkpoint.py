"""Reading of weight files from any tool (:mod:`core.models.fit` fits them to a network).

A checkpoint is named by its path, or as ``FILE#KEY`` where it holds several sets of weights.
Read are PyTorch files (zip and the older layout, also those that Python 2 wrote), safetensors, and
weights in several files that a ``*.index.json`` lists; as a plain state dict or under one of
:data:`KEYS`. PyTorch files are only ever opened with
``weights_only``: nothing in them is run.

Metadata that a file lacks, or has wrong, can be given next to it, in
``NAME.unitscope.json`` for ``NAME.pt`` or ``NAME.pth.tar``: any of ``classes``, ``preprocessing``
(steps of a :class:`Preprocessing`), ``default_layer``, ``arch`` (:mod:`core.models.said`).
"""

from __future__ import annotations

import argparse
import json
import pathlib
import pickle
import re
import threading
import zipfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.datasets.files import json_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.names import few
from core.foundation.optional import optional
from core.foundation.plain import Json
from core.models.said import BESIDE, ENDINGS, beside_of, corrected

KEYS = ("state_dict", "model", "model_state_dict", "weights", "net", "network")
"""Where training code puts a state dict: the first that is there is read."""

AVERAGED = ("state_dict_ema", "model_ema", "ema_state_dict", "ema")
"""Keys of weights averaged over the training (timm, torchvision's references)."""

MACHINERY = ("optimizer", "lr_scheduler", "scheduler", "scaler", "amp", "loops", "callbacks")
"""How the names of entries begin that only going on with a training needs."""


class _NumberType:
    """Replaces ``numpy.dtype`` while a checkpoint is read: the type of one plain number.

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
    """Replaces NumPy's ``scalar``: one plain number, from its type and bytes.

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


# -- reading --------------------------------------------------------------------------------


def read_checkpoint(given: Path) -> tuple[dict[str, Tensor], Json]:
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


def _opened(path: Path) -> tuple[Any, Json]:
    """(content of a file, its metadata), by the kind of file rather than its name."""
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
    """Raise for tensors that are not plain numbers, or hold far fewer than their shapes claim."""
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
    """FILE#KEY → (FILE, KEY); a file with # in its name is just a file."""
    if given.exists() or "#" not in given.name:
        return given, None
    name, _, key = given.name.rpartition("#")
    return given.with_name(name), key


_reading = threading.Lock()


def _stored(path: Path) -> Any:
    """Content of a PyTorch file, read without executing anything in it."""
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
    """PyTorch's error in one line, without its advice to open the file unsafely.

    >>> _reason(ValueError("No tar file. Re-running `torch.load` with `weights_only` set …"))
    'No tar file.'
    """
    result = str(err) or repr(err)
    result = result.partition("WeightsUnpickler error:")[2].strip() or result
    if "TorchScript" in result:
        return "it is a TorchScript archive, a whole network and not its weights"
    advice = r"In PyTorch 2\.6|\(\d\) |Re-running|Please file an issue"
    return re.split(advice, result.splitlines()[0])[0].strip() or type(err).__name__


_CONVERT = (
    "Only plain tensors are loaded. If you trust the file, open it where it was made, with the "
    "code that made it, save the state dict alone, torch.save(network.state_dict(), FILE), and "
    "use that FILE"
)


def _safetensors(path: Path) -> tuple[dict[str, Tensor], Json]:
    """(tensors, metadata); metadata is text, JSON where it looks like an object or a list."""
    package = optional("safetensors", "*.safetensors files")
    notes: Json = {}
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
    result = json_of(path)
    listed = result.get("weight_map") if isinstance(result, dict) else None
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


def _picked(path: Path, stored: Any, key: str | None) -> tuple[Mapping[str, Tensor], str, Json]:
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
    """A value as JSON data, or :data:`_ODD` where that is not possible."""
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


def _beside(path: Path) -> Json:
    """The user's metadata next to a checkpoint."""
    result = json_of(path)
    if not isinstance(result, dict):
        raise UnitscopeError(f"{path}: an object is meant, with any of {', '.join(BESIDE)}")
    for name, value in result.items():
        if name not in BESIDE:
            raise unknown(f"entry of {path.name}", name, BESIDE)
        kind, words = BESIDE[name]
        if not isinstance(value, kind):
            raise UnitscopeError(f"{path}: {name} is {words}, not {json.dumps(value)[:60]}")
    return result


def foreign(path: Path, head: bytes) -> str:
    """What kind of foreign file it is, by its first kilobyte, in words that follow its name; "" for
    a file that may hold weights.

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
    """What kind of zip it is, by the names in it; "" for one that PyTorch wrote."""
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
