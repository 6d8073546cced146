"""Unitscope's engine: dissect image classifiers, explain and change what they do.

In a notebook or a program::

    import core

    run = core.open_run("latest")       # or core.make_run("folder:my_photos", "timm:resnet50")
    run.units()                         # what each unit detects, as a pandas frame
    run.account("bedroom-val-003")      # why the network said what it said of one image
    run.toggle([3, 17]).accuracy        # before and after two units are disabled

These are the objects that the command line uses (docs/api.md). Nothing heavy is imported until
a name is asked for.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

# Threads of the network's operations wait for each other by spinning, for as long as OpenMP allows:
# for ever, by default, while the processor that they keep would decode the next photos. After a
# moment they sleep: a run from JPEG takes five sixths of the time, and a forward pass alone takes
# as long as before (docs/performance.md). It has to be said before torch is imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

if TYPE_CHECKING:
    from core.api import Run as Run
    from core.api import list_runs as list_runs
    from core.api import make_run as make_run
    from core.api import open_run as open_run
    from core.datasets import open_dataset as open_dataset
    from core.foundation.errors import UnitscopeError as UnitscopeError
    from core.knowledge.kinds import open_knowledge as open_knowledge
    from core.models.load import load_model as load_model

_WHERE = {
    "open_run": "core.api",
    "make_run": "core.api",
    "list_runs": "core.api",
    "Run": "core.api",
    "open_dataset": "core.datasets",
    "load_model": "core.models.load",
    "open_knowledge": "core.knowledge.kinds",
    "UnitscopeError": "core.foundation.errors",
}
"""Name → the module that has it."""

_MODULES = {"report": "core.figures.report", "tables": "core.paper.tables"}
"""Modules that are part of what a notebook uses."""


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        return getattr(import_module(_WHERE[name]), name)
    if name in _MODULES:
        return import_module(_MODULES[name])
    raise AttributeError(f"module 'core' has no attribute {name!r}")


def __dir__() -> list[str]:
    own = {name for name, value in globals().items() if isinstance(value, ModuleType)}
    return sorted({*own, *_WHERE, *_MODULES, "__doc__", "__file__", "__name__", "__path__"})
