"""Folders of the machine that serves the app, looked through to name photos."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from core.datasets.registry import DATASETS
from core.foundation.errors import UnitscopeError
from core.foundation.names import readable
from core.foundation.roots import check_path
from core.foundation.settings import ROOT

MOST = 500
"""Sub-folders that are listed; names beyond are counted."""


@dataclass(frozen=True)
class Folder:
    """What a folder holds. folders : names of its sub-folders, hidden ones left out, by the
    alphabet. more : how many beyond :data:`MOST`. files : how many. up : the folder above, None
    where that may not be looked at. spec : the SPEC by which it is read, "" where it is not known
    to be a data set."""

    path: Path
    folders: list[str]
    more: int
    files: int
    up: Path | None
    spec: str


def starts(roots: Sequence[Path] | None) -> list[Path]:
    """Where to begin: the folders that may be read, or the home folder and the checkout."""
    found = list(roots) if roots is not None else [Path.home(), ROOT]
    return [path for path in dict.fromkeys(p.resolve() for p in found) if path.is_dir()]


def look(path: Path, roots: Sequence[Path] | None) -> Folder:
    """What a folder holds. Links are followed, and lead nowhere that may not be read.

    roots : folders below which files may be named; None for any. Raises UnitscopeError for a
    folder that is not there, is not below them or may not be read.
    """
    if roots is not None:
        check_path(str(path), roots, "this list")
    at = path.resolve()
    try:
        entries = list(os.scandir(at))
    except OSError as err:
        raise UnitscopeError(f"{path} cannot be read ({err.strerror or err})") from err
    folders, files = [], 0
    for entry in entries:
        try:
            inside = entry.is_dir()
        except OSError:
            continue
        if not inside:
            files += 1
        elif not entry.name.startswith(".") and _may_read(at / entry.name, roots):
            folders.append(entry.name)
    folders.sort(key=lambda name: (readable(name).lower(), name))
    up = at.parent if at.parent != at and _may_read(at.parent, roots) else None
    return Folder(at, folders[:MOST], max(0, len(folders) - MOST), files, up, spec_of(at))


def _may_read(path: Path, roots: Sequence[Path] | None) -> bool:
    return roots is None or any(path.resolve().is_relative_to(root) for root in roots)


def spec_of(folder: Path) -> str:
    """The SPEC by which a folder is read as a data set, by what lies in it; "" where nothing
    tells."""
    kind = DATASETS.kind_of(folder)
    own = (folder / "images").is_dir() or (folder / "scenes.csv").is_file()
    if kind is None or (kind.name == DATASETS.otherwise and not own):
        return ""
    return f"{kind.name}:{folder}"
