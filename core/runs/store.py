"""The runs of a folder: listed, found by name, locked while one is made, deleted."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path

from core.foundation.errors import UnitscopeError
from core.foundation.files import ProcessLock
from core.foundation.settings import CACHE
from core.runs.run_names import read_names


def list_runs(root: Path = CACHE) -> list[Path]:
    """Finished runs under `root`, newest first."""
    return sorted(root.glob("*.duckdb"), key=lambda p: p.stat().st_mtime, reverse=True)


def find_run(name: str, root: Path = CACHE) -> Path:
    """The run file of a digest, the beginning of one, the name people gave it, a path, or
    ``latest``.

    Raises where none or several match, naming those that exist.
    """
    if name.endswith(".duckdb") and Path(name).is_file():
        return Path(name)
    runs = list_runs(root)
    if name == "latest" and runs:
        return runs[0]
    hits = [path for path in runs if path.stem.startswith(name)]
    if not hits:
        hits = [path for path in runs if path.stem == read_names(root).digest(name)]
    if len(hits) == 1:
        return hits[0]
    known = (
        ", ".join(path.stem for path in runs[:8]) or "none yet: make one with `python -m core run`"
    )
    problem = "matches several runs" if hits else "is no run"
    raise UnitscopeError(f"{name!r} {problem} under {root}; there are: {known}")


def delete_run(path: Path) -> None:
    """Remove a finished run, its shards, and what a stopped making of it left.

    Raises UnitscopeError where a process is making it again.
    """
    lock = making(path)
    try:
        remove_run(path)
        for left in (".partial", ".shards"):
            shutil.rmtree(path.with_suffix(left), ignore_errors=True)
    finally:
        lock.release()


def remove_run(path: Path) -> None:
    """Remove a finished run: the file first, so that nobody opens it without its arrays."""
    with suppress(FileNotFoundError):
        path.unlink()
    for beside in (".arrays", ".derived"):
        shutil.rmtree(path.with_suffix(beside), ignore_errors=True)


def making(path: Path) -> ProcessLock:
    """The right to make, or remove, a run: one process at a time has it."""
    return ProcessLock(
        path.with_suffix(".lock"), f"run {path.stem} is being made by another process"
    )
