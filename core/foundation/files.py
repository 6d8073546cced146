"""Atomic writing of files, without heavy imports."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock

from core.foundation.errors import UnitscopeError
from core.foundation.escape import json_text
from core.foundation.plain import Json


def expanded(path: str | Path) -> Path:
    """A path that a person gave, with ``~`` as the home folder. Raises UnitscopeError for the home
    of somebody who has none here.

    >>> expanded("photos/one.jpg").as_posix()
    'photos/one.jpg'
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        user = Path(path).parts[0]
        raise UnitscopeError(
            f"{path}: {user} is the home folder of nobody on this machine; write the path out "
            f"(./{user} is a folder of that name)"
        ) from None


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it: it is there whole, or not at all.

    A device or a pipe is written to and never replaced; behind a link, the file it leads to is
    replaced. Raises UnitscopeError where that cannot be done: a folder of that name, no right to
    write, a full disk.
    """
    if path.is_dir():
        raise UnitscopeError(f"{path} is a folder; name a file")
    path = path.resolve() if path.is_symlink() else path
    special = path.exists() and not path.is_file()
    fresh = path if special else path.with_name(path.name + ".new")
    try:
        write(fresh)
        if not special:
            fresh.replace(path)
    except OSError as err:
        if not special:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)
        raise UnitscopeError(f"cannot write {path} ({err.strerror or err})") from err


def write_bytes(path: Path, data: bytes) -> None:
    """:func:`write_whole` of bytes."""
    write_whole(path, lambda fresh: fresh.write_bytes(data))


def write_text(path: Path, text: str) -> None:
    """:func:`write_whole` of a text."""
    write_bytes(path, text.encode())


class Taken(UnitscopeError):
    """Another process has in hand what only one can."""


class ProcessLock:
    """A lock that one process at a time can hold: the file `path`, until it is released.

    Raises :class:`Taken` with the message `taken` where another process holds it.
    """

    def __init__(self, path: Path, taken: str):
        self._path, self._lock = path, filelock.FileLock(path)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise Taken(taken) from None

    def release(self) -> None:
        """Release the lock and remove its file."""
        # While it is held: afterwards it may be the lock of another process.
        with suppress(OSError):  # Windows removes no open file
            self._path.unlink()
        self._lock.release()


def parse_json(text: str | bytes) -> Any:
    """What JSON of a file holds. Raises ValueError where it is none, or is nested too deeply."""
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_result(path: Path) -> Json:
    """The JSON object in which earlier work left its result. Raises UnitscopeError for another."""
    try:
        result = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(result, dict):
            raise ValueError(f"it holds {type(result).__name__}")
    except (OSError, ValueError) as err:
        raise UnitscopeError(f"{path} is damaged ({err}); remove it to make it again") from err
    return result


def strict_json(facts: Any, indent: int | None = None) -> str:
    """Plain data as strict JSON: figures that do not exist (0 of 0) are null.

    >>> strict_json({"share": float("nan"), "of": (0,)})
    '{"share": null, "of": [0]}'
    """

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(item) for item in value]
        return None if isinstance(value, float) and not math.isfinite(value) else value

    return json_text(json.dumps(plain(facts), ensure_ascii=False, allow_nan=False, indent=indent))
