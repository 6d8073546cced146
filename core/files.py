"""Files that are there whole or not at all, written without importing anything heavy."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any


def write_whole(path: Path, write: Callable[[Path], object]) -> None:
    """Write a file under another name and rename it: it is there whole, or not at all."""
    fresh = path.with_name(path.name + ".new")
    write(fresh)
    fresh.replace(path)


def write_text(path: Path, text: str) -> None:
    """:func:`write_whole` of a text."""
    write_whole(path, lambda fresh: fresh.write_bytes(text.encode()))


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
