"""Files that are there whole or not at all, written without importing anything heavy."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it: it is there whole, or not at all."""
    fresh = path.with_name(path.name + ".new")
    write(fresh)
    fresh.replace(path)


def write_text(path: Path, text: str) -> None:
    """:func:`write_whole` of a text."""
    write_whole(path, lambda fresh: fresh.write_bytes(text.encode()))
