"""Datasets that a reader of the user's own gives: ``python:package.module:function[:REST]``."""

from __future__ import annotations

from core.datasets.base import SceneDataset
from core.foundation.errors import UnitscopeError
from core.foundation.own_code import call_named
from core.foundation.trust import source_digest

FORM = "python:package.module:function[:REST]"


def open_python(rest: str) -> SceneDataset:
    """What the function returns, called with REST (a str) or without arguments.

    The function's source text, and that of what it imports of the user's own, is part of the
    dataset's digest: changed code makes a new run.

    Raises UnitscopeError where the module or function does not exist, raises, or returns anything
    but a :class:`SceneDataset`.
    """
    spec = f"python:{rest}"
    dataset = call_named(spec, rest, FORM, str).result
    if not isinstance(dataset, SceneDataset):
        raise UnitscopeError(f"{spec!r} returned {type(dataset).__name__}, not a SceneDataset")
    dataset.source = source_digest(spec) or ""
    return dataset
