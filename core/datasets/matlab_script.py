"""What the worker of :mod:`core.datasets.matlab` answers; it imports nothing of Unitscope."""

from __future__ import annotations

import io
import json
from typing import Any, TypedDict

import numpy as np

MEMORY = 2**32
"""Bytes that the worker may take: a damaged file may ask for any number."""

NAMES, LETTERS = 100_000, 10_000
"""Most names in a table of an HDF5 file, and letters of a name."""


class Request(TypedDict, total=False):
    """What is asked of the file `path`: `variables` by name, or a `part` of photo `index`."""

    path: str
    variables: list[str]
    part: str
    index: int


class Head(TypedDict):
    """Of NYU Depth v2: shapes of its arrays, and its texts."""

    images: tuple[int, ...]
    labels: tuple[int, ...]
    names: list[str]
    sceneTypes: list[str]


def answer(request: Request) -> bytes:
    """With ``variables``: :func:`values` as JSON. With ``part``: that array of photo ``index``, in
    NumPy's format. Else :func:`head` as JSON."""
    if "variables" in request:
        return json.dumps(values(request["path"], request["variables"])).encode()
    import h5py

    with h5py.File(request["path"], "r") as file:
        if "part" not in request:
            return json.dumps(head(file)).encode()
        out = io.BytesIO()
        np.save(out, np.asarray(file[request["part"]][request["index"]]), allow_pickle=False)
        return out.getvalue()


# -- files up to version 7 ------------------------------------------------------------------


def values(path: str, variables: list[str]) -> dict[str, list[Any]]:
    """Variables, or fields of one (``index.scene``), as flat lists of numbers and texts; those that
    are not there are left out."""
    from scipy.io import loadmat

    held = loadmat(path, squeeze_me=True, variable_names=[v.partition(".")[0] for v in variables])
    found = {}
    for variable in variables:
        name, _, field = variable.partition(".")
        if name not in held:
            continue
        value = held[name]
        if field:
            if field not in (value.dtype.names or ()):
                continue
            value = value[field][()]
        found[variable] = [_plain(one) for one in np.atleast_1d(value).ravel().tolist()]
    return found


def _plain(value: Any) -> Any:
    return value if isinstance(value, (int, float, str)) else str(value)


# -- version 7.3, which is HDF5 -------------------------------------------------------------


def head(file: Any) -> Head:
    """What the file holds."""
    return {
        "images": file["images"].shape,
        "labels": file["labels"].shape,
        "names": texts(file, "names"),
        "sceneTypes": texts(file, "sceneTypes"),
    }


def texts(file: Any, name: str) -> list[str]:
    """Cells of strings: references to the numbers of letters."""
    if file[name].size > NAMES:
        raise ValueError(f"{name} holds {file[name].size} names")
    return [text(file[ref]) for ref in file[name][()].ravel()]


def text(letters: Any) -> str:
    """A string: the numbers of its letters."""
    if letters.size > LETTERS:
        raise ValueError(f"a name has {letters.size} letters")
    return "".join(map(chr, letters[()].ravel().tolist())).strip("\0 ")
