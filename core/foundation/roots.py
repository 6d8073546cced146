"""Folders from which visitors of a server may read files: ``--roots``.

Whoever fills in a form, or brings a run file whose photos are to be read again, names files of
the machine that the server runs on.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from core.foundation.errors import UnitscopeError
from core.foundation.files import expanded
from core.foundation.settings import ROOT
from core.foundation.trust import HOLDING, wrapped

_of_runs: list[tuple[Path, ...]] = [()]


def runs_read_below(roots: Sequence[Path] | None) -> None:
    """Say below which folders photos of runs are read again, from now on; anywhere where none is
    given."""
    _of_runs[0] = tuple(roots or ())


def check_run_files(spec: str, where: str) -> None:
    """Refuse a SPEC of a run file that names files outside the folders, if there are any.

    where : the file, as a person knows it. Raises UnitscopeError.
    """
    if _of_runs[0]:
        check_spec(spec, _of_runs[0], where)


def check_spec(spec: str, roots: Sequence[Path], where: str) -> None:
    """Refuse a SPEC with a part that is a path outside `roots`, or an address. Raises
    UnitscopeError."""
    if "://" in spec:
        raise UnitscopeError(
            f"{where}: {spec.partition('://')[0]}://… is an address, and this server reads files "
            "below its folders alone (--roots)"
        )
    while spec.partition(":")[0] in HOLDING:
        file, spec = wrapped(spec)
        check_path(file, roots, where)
    for part in filter(None, spec.split(":")):
        # What holds no separator is a word of the SPEC, unless it names something there.
        if "/" in part or part.startswith(("~", ".")) or (ROOT / part).exists():
            check_path(part, roots, where)


def check_path(path: str, roots: Sequence[Path], where: str) -> None:
    """Refuse a path outside `roots`: links are followed, ``..`` is refused. Raises
    UnitscopeError."""
    # Jobs run in the checkout, so a relative path is one of it.
    at = (ROOT / expanded(path)).resolve()
    if ".." in Path(path).parts or not any(at.is_relative_to(root) for root in roots):
        named = ", ".join(map(str, roots)) or "none"
        raise UnitscopeError(
            f"{where}: {path} is not below the folders that this server reads (--roots): {named}"
        )
