"""What is wrong with the form of a run, all at once and before anything is opened: names, paths,
folders that this server does not read."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.datasets.files import nearest_files
from core.datasets.registry import DATASETS
from core.foundation.errors import UnitscopeError
from core.foundation.files import expanded
from core.foundation.registry import Registry, Row
from core.foundation.roots import check_path, check_spec
from core.foundation.settings import ROOT
from core.foundation.trust import HOLDING, check_named, wrapped
from core.knowledge.kinds import KNOWLEDGE
from core.models.registry import MODELS

PATHS = ("DIR", "FILE", "CHECKPOINT", "CATEGORIES")
"""Parts of a SPEC's form that are paths."""


@dataclass(frozen=True)
class Problem:
    """What is wrong with one field: `field` as :class:`core.foundation.settings.Settings` calls
    it, and a message."""

    field: str
    text: str


def problems(
    request: Mapping[str, Any], roots: Sequence[Path] | None, where: str = "this form"
) -> list[Problem]:
    """Everything that can be said of a request without opening it, field by field; empty fields
    are left out.

    roots : folders below which files may be named; None for any. A path outside is refused
    before anybody looks whether it is there. where : what names the files, as a person knows it.
    """
    found: list[Problem] = []
    fields: tuple[tuple[str, Registry[Row]], ...] = (
        ("dataset", DATASETS),
        ("model", MODELS),
        ("knowledge", KNOWLEDGE),
    )
    for field, registry in fields:
        spec = str(request.get(field) or "")
        if spec:
            found += [Problem(field, said) for said in _of_spec(spec, registry, roots, where)]
    scenes = str(request.get("scenes") or "")
    if scenes:
        try:
            if roots is not None:
                check_path(scenes, roots, where)
            _exists(scenes, "FILE", scenes)
        except UnitscopeError as err:
            found.append(Problem("scenes", str(err)))
    return found


def _of_spec(
    spec: str, registry: Registry[Row], roots: Sequence[Path] | None, where: str
) -> list[str]:
    """What is wrong with one SPEC; a dictionary's network is looked at in turn."""
    said: list[str] = []
    try:
        check_named(spec, where)
        row = registry.row(spec.partition(":")[0], spec)
        if roots is not None:
            check_spec(spec, roots, where)
    except UnitscopeError as err:
        return [str(err)]
    if row.name in HOLDING:
        file, inner = wrapped(spec)
        parts = [("FILE", file)]
        if not inner:
            return [f"{spec!r} is not of the form {row.form}"]
        said += _of_spec(inner, registry, roots, where)
    else:
        parts, missing = _parts(spec, row.form)
        if missing:
            return [f"{spec!r} lacks {missing}: the form is {row.form}"]
    for kind, path in parts:
        try:
            _exists(path, kind, spec)
        except UnitscopeError as err:
            said.append(str(err))
    return said


def _parts(spec: str, form: str) -> tuple[list[tuple[str, str]], str]:
    """The paths of a SPEC with what its form calls each; and the first part that it must have and
    has not.

    >>> _parts("torchvision:resnet18:w.pt", "torchvision:NAME[:CHECKPOINT]")
    ([('CHECKPOINT', 'w.pt')], '')
    >>> _parts("folder:", "folder:DIR"), _parts("rooms", "rooms")
    (([], 'DIR'), ([], ''))
    """
    given = spec.split(":")[1:]
    # Of words with "|" between, a form means one of them.
    wanted = [
        (part.strip("[]"), "[" in form[: form.index(part)] or part.startswith("["))
        for part in re.split(r":(?![^\[]*\|)", form)[1:]
    ]
    paths: list[tuple[str, str]] = []
    for place, (name, optional) in enumerate(wanted):
        value = given[place] if place < len(given) else ""
        if not value:
            return (paths, "" if optional else name)
        if name in PATHS:
            paths.append((name, value))
    return paths, ""


def _exists(path: str, kind: str, spec: str) -> None:
    """Raise UnitscopeError where there is no such file or folder. Jobs run in the checkout, so a
    relative path is one of it."""
    at = ROOT / expanded(path)
    prefix = "" if path == spec else f"{spec}: "
    if kind == "DIR" and at.is_file():
        raise UnitscopeError(f"{prefix}{path} is a file, not a folder")
    if not at.exists():
        what = "folder" if kind == "DIR" else "file"
        raise UnitscopeError(f"{prefix}there is no {what} {path}{nearest_files(at)}")
