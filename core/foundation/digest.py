"""Digests of plain data: names of runs and of cached results."""

from __future__ import annotations

import hashlib
import json
from typing import Any

DIGITS = 16
"""Hex digits of a digest used as a name: enough for 10^9 runs on one disk."""


def digest_of(facts: Any) -> str:
    """Hex digest of plain data, independent of the order of its keys.

    >>> digest_of({"a": 1, "b": [2]}) == digest_of({"b": [2], "a": 1})
    True
    """
    text = json.dumps(facts, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()
