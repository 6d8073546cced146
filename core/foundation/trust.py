"""Whether a file may name code: a run file, an edited network, a job kept beside the runs.

A SPEC ``python:MODULE:FUNCTION`` makes this process import a module and call a function of it.
Whoever types it means that. A file that came from somebody else may name it too, and opening the
file must not run it. So a SPEC that was read from a file goes through :func:`check_named`, which
looks at source text alone: nothing is imported there.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.machinery
import os
import re
import sys
import sysconfig
from pathlib import Path

from core.foundation.errors import UnitscopeError
from core.foundation.settings import ROOT

MODULE = ("nn.Module", "torch.nn.Module")
"""How a function of the checkout declares that it gives a network."""

ALLOW = "UNITSCOPE_ALLOW_PYTHON"
"""The environment's word for ``--allow-python``, so that jobs of an allowing server have it too."""


HOLDING = ("dictionary",)
"""Kinds of model whose SPEC holds that of another network: ``KIND:FILE@SPEC``."""

_HELD = re.compile(r"@(?=[^@/\\:]+(:|$))")


def wrapped(spec: str) -> tuple[str, str]:
    """(FILE, SPEC) of ``KIND:FILE@SPEC``, by the text alone: SPEC is what follows the first ``@``
    that has a word and a colon, or a last word, behind it. Empty where there is none.

    >>> wrapped("dictionary:a.pt@torchvision:resnet18:b@c.pt"), wrapped("dictionary:a.pt")
    (('a.pt', 'torchvision:resnet18:b@c.pt'), ('a.pt', ''))
    >>> wrapped("dictionary:me@home/a.pt@rooms")
    ('me@home/a.pt', 'rooms')
    """
    rest = spec.partition(":")[2]
    found = _HELD.search(rest)
    return (rest, "") if found is None else (rest[: found.start()], rest[found.end() :])


def innermost(spec: str) -> str:
    """The SPEC of the network itself, in whatever it is held.

    >>> innermost("dictionary:a.pt@dictionary:b.pt@rooms"), innermost("rooms")
    ('rooms', 'rooms')
    """
    while spec.partition(":")[0] in HOLDING:
        spec = wrapped(spec)[1]
    return spec


MOVED = {
    "core.models.rooms_net": "core.rooms.network",
    "core.manipulate.edit": "core.ablation.export",
    "core.ablation.edits": "core.ablation.export",
}
"""Modules of ours that run files and edits name by a place where they no longer lie."""


def allow_python() -> None:
    """Let files name any code, in this process and those it starts."""
    os.environ[ALLOW] = "1"


def python_allowed() -> bool:
    """Whether files may name any code to import."""
    return os.environ.get(ALLOW) == "1"


def check_named(spec: str, where: str, code: str | None = None) -> None:
    """Refuse a SPEC of a model or dataset that a file names where it would run code that nobody
    vouched for.

    Allowed are SPECs of other kinds, functions of this checkout that are declared to return an
    ``nn.Module`` (whatever else the checkout holds may delete files), and, where this process was
    started with ``--allow-python``, everything.

    where : the file that names it, as a person knows it: ``run 1f2e…``. code : what
    :func:`source_digest` said when the file was made, where it was kept.

    Raises UnitscopeError, with module and function, where it is refused or its source has
    changed since.
    """
    kind, _, rest = innermost(spec).partition(":")
    if kind != "python":
        return
    module, _, rest = rest.partition(":")
    module = MOVED.get(module, module)
    function = rest.partition(":")[0]
    if not python_allowed() and not _is_own_factory(module, function):
        raise UnitscopeError(
            f"{where} names code to run: function {function!r} of module {module!r}. It was not "
            "imported. If you know that code and trust whoever made the file, say --allow-python "
            f"(or set {ALLOW}=1)"
        )
    now = source_digest(spec)
    if code is not None and now is not None and now != code:
        raise UnitscopeError(
            f"{where} was made with another text of module {module!r} (function {function!r}): "
            "its code has changed since, or lies elsewhere. It was not imported"
        )


def source_digest(spec: str) -> str | None:
    """Hex digest of the source text that a ``python:`` SPEC brings in; None for other kinds.

    The text is that of the module and, in turn, of all it imports that is neither installed, nor
    part of Python, nor of the engine, whose computations have versions
    (:mod:`core.foundation.versions`). It is read, not run.
    """
    kind, _, rest = innermost(spec).partition(":")
    name = rest.partition(":")[0]
    if kind != "python" or name.partition(".")[0] == "core":
        return None
    h = hashlib.sha256()
    waiting, seen = [name], set[str]()
    while waiting:
        module = waiting.pop()
        file = _located(module)
        if module in seen or file is None or (module != name and not _is_users(module, file)):
            continue
        seen.add(module)
        text = file.read_text(encoding="utf-8", errors="replace")
        h.update(f"{module}\0{text}\0".encode())
        waiting += sorted(_imported(module, file, text), reverse=True)
    return h.hexdigest()


def _is_own_factory(module: str, function: str) -> bool:
    """Whether this checkout has such a function, and declares that it returns a network."""
    at = ROOT.joinpath(*module.split("."))
    file = _located(module)
    if file is None or file not in (at.with_suffix(".py"), at / "__init__.py"):
        return False
    return any(
        isinstance(node, ast.FunctionDef)
        and node.name == function
        and node.returns is not None
        and any(
            isinstance(part, ast.Attribute) and ast.unparse(part) in MODULE
            for part in ast.walk(node.returns)
        )
        for node in _tree(file.read_text(encoding="utf-8")).body
    )


def _located(module: str) -> Path | None:
    """The source file that ``import module`` would run, found without running its packages."""
    places = [*sys.path, str(Path.cwd())]
    found = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        found = importlib.machinery.PathFinder.find_spec(name, places) if places else None
        if found is None:
            return None
        places = list(found.submodule_search_locations or [])
    if found is None or not (found.origin or "").endswith(".py"):
        return None
    return Path(str(found.origin)).resolve()


def _is_users(module: str, file: Path) -> bool:
    """Neither installed, nor part of Python, nor of the engine, which runs are kept apart by."""
    installed = {"site-packages", "dist-packages"} & set(file.parts)
    python = file.is_relative_to(Path(sysconfig.get_paths()["stdlib"]).resolve())
    return not installed and not python and module.partition(".")[0] != "core"


def _tree(text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _imported(module: str, file: Path, text: str) -> set[str]:
    """Dotted names of all that a module's text imports, wherever in it."""
    package = module.split(".") if file.stem == "__init__" else module.split(".")[:-1]
    names = set()
    for node in ast.walk(_tree(text)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {base} | {f"{base}.{alias.name}" for alias in node.names}
    return names - {""}
