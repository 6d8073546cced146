"""Packages that only some inputs need (requirements-optional.txt)."""

from __future__ import annotations

from importlib import import_module
from types import ModuleType

from core.foundation.errors import UnitscopeError


def optional(package: str, what: str, install: str = "") -> ModuleType:
    """An optional package, imported; raises with the command that installs it where it is missing.

    install : what it is called where it is installed from, if not as it is imported.

    >>> optional("no_such_package", "files in no such format")
    Traceback (most recent call last):
        ...
    core.foundation.errors.UnitscopeError: files in no such format need the package \
no_such_package: pip install no_such_package
    """
    try:
        return import_module(package)
    except ImportError as err:
        head = package.partition(".")[0]
        if isinstance(err, ModuleNotFoundError) and (err.name or "").partition(".")[0] == head:
            given = install or head
            raise UnitscopeError(f"{what} need the package {given}: pip install {given}") from None
        raise UnitscopeError(f"{what} need the package {head}, which fails: {err}") from err
