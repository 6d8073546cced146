"""Files that are there whole or not at all, written without importing anything heavy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import filelock

from core.errors import UnitscopeError


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it: it is there whole, or not at all."""
    fresh = path.with_name(path.name + ".new")
    write(fresh)
    fresh.replace(path)


def write_text(path: Path, text: str) -> None:
    """:func:`write_whole` of a text."""
    write_whole(path, lambda fresh: fresh.write_bytes(text.encode()))


class Sole:
    """Work that one process at a time may do, marked by a lock file `path` until released.

    Raises UnitscopeError with the words `taken` where another process does it.
    """

    def __init__(self, path: Path, taken: str):
        self._path, self._lock = path, filelock.FileLock(path)
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise UnitscopeError(taken) from None

    def release(self) -> None:
        """Let others do it, and take the file away."""
        # While it is held: afterwards it may be the lock of another process.
        with suppress(OSError):  # Windows removes no open file
            self._path.unlink()
        self._lock.release()


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

    return json.dumps(plain(facts), ensure_ascii=False, allow_nan=False, indent=indent)
