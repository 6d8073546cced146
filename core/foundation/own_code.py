"""The user's own functions, named as ``python:package.module:function[:REST]``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

from core.foundation.errors import UnitscopeError, first_line, unknown
from core.foundation.files import expanded
from core.foundation.trust import MOVED


class Called(NamedTuple):
    """What a function gave, and where it lies."""

    result: Any
    module: ModuleType
    name: str  # of the module, as the SPEC says it
    function: str


def call_named(spec: str, rest: str, form: str, sort: type[str] | type[Path]) -> Called:
    """Import the module that a SPEC names and call its function: with what stands behind it, as
    `sort`, or without arguments where nothing does.

    rest : the SPEC without ``python:``. form : how it is written, for the message.

    The module is looked for in the current folder and on PYTHONPATH. Whether a SPEC that came from
    a file may be called is asked before (:func:`core.foundation.trust.check_named`).

    Raises UnitscopeError where the module cannot be imported, has no such function (nearest), or
    the function raises.
    """
    name, _, rest = rest.partition(":")
    function, _, given = rest.partition(":")
    if not name or not function:
        raise UnitscopeError(f"{spec!r}: the form is {form}")
    if "" not in sys.path and str(Path.cwd()) not in sys.path:
        sys.path.insert(0, str(Path.cwd()))
    name = MOVED.get(name, name)
    try:
        code = importlib.import_module(name)
    # A person's own code may raise anything, or end the process.
    except (Exception, SystemExit) as err:
        why = first_line(err, "no reason given")
        raise UnitscopeError(
            f"{spec!r}: cannot import {name} ({type(err).__name__}: {why}); it is "
            "looked for in the current folder and on PYTHONPATH"
        ) from err
    if not callable(getattr(code, function, None)):
        public = [n for n in dir(code) if callable(getattr(code, n)) and not n.startswith("_")]
        raise unknown(f"function of {name}", function, public)
    try:
        path = expanded(given) if sort is Path else given
        result = getattr(code, function)(*([path] if given else []))
    except (Exception, SystemExit) as err:
        why = first_line(err, "no reason given")
        raise UnitscopeError(
            f"{spec!r}: {name}.{function} raised {type(err).__name__}: {why}"
        ) from err
    return Called(result, code, name, function)
