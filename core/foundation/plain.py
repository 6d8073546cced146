"""Types of what is checked elsewhere: an object of JSON, and what another's function is called
with."""

from __future__ import annotations

from typing import Any

Json = dict[str, Any]
"""An object of a JSON document (or of TOML, Vega-Lite, a checkpoint's plain entries), whose values
nobody has checked, or which is about to be written.

It stands at the doors alone: a result is a dataclass, a row of a file of ours a TypedDict. What is
read becomes one of these before anybody works with it, and what is written is one no longer than
the writing takes. `tests/test_structure.py` keeps ``dict[str, Any]`` out of the rest."""

Keywords = dict[str, Any]
"""Arguments by name, gathered for one call of a function that checks them itself."""
