"""Names that people give to runs, and the run that the app opens with: kept beside the runs.

A run is known by its digest, and its file never changes; so its name stands in one small JSON
file of the folder, which is replaced whole under a lock. Who only reads takes no lock.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import filelock

from core.foundation.errors import UnitscopeError
from core.foundation.escape import one_line
from core.foundation.files import parse_json, strict_json, write_text
from core.foundation.names import readable

FILE = "run-names.json"

PATIENCE = 10.0
"""Seconds that one waits for another's change."""

LONGEST = 80
"""Letters of a name."""


@dataclass(frozen=True)
class RunNames:
    """Digest → name, and the digest of the run that is pinned: the one that the app opens with.

    Both may speak of runs that were deleted: a run that is made again has its name again.
    """

    names: dict[str, str] = field(default_factory=dict)
    pinned: str = ""

    def of(self, digest: str) -> str:
        """The name of a run; "" where it has none."""
        return self.names.get(digest, "")

    def digest(self, name: str) -> str:
        """The run of a name, whatever its case; "" where none is called so."""
        asked = " ".join(name.split()).casefold()
        return next((run for run, one in self.names.items() if one.casefold() == asked), "")


def read_names(root: Path) -> RunNames:
    """What is kept under `root`. Raises UnitscopeError where the file is damaged."""
    path = root / FILE
    try:
        record = parse_json(path.read_text(encoding="utf-8"))
        names, pinned = record["names"], record["pinned"]
        if not (isinstance(pinned, str) and all(isinstance(n, str) for n in names.values())):
            raise ValueError("it holds other things than names")
    except FileNotFoundError:
        return RunNames()
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as err:
        raise UnitscopeError(
            f"{path} is damaged ({err}); remove it, and give the runs their names again"
        ) from err
    return RunNames({run: one_line(readable(name)) for run, name in names.items()}, pinned)


def _change(root: Path, change: Callable[[RunNames], RunNames]) -> None:
    with filelock.FileLock(f"{root / FILE}.lock", timeout=PATIENCE):
        now = change(read_names(root))
        record = {"names": dict(sorted(now.names.items())), "pinned": now.pinned}
        write_text(root / FILE, strict_json(json.loads(json.dumps(record)), indent=1) + "\n")


def name_run(root: Path, digest: str, name: str) -> None:
    """Give a run a name; an empty one takes it away.

    Raises UnitscopeError for a name that is too long, that another run has, or that could be the
    beginning of a digest.
    """
    name = one_line(readable(name))
    if len(name) > LONGEST:
        raise UnitscopeError(f"the name has {len(name)} letters; {LONGEST} is the most")
    if name == "latest" or name.endswith(".duckdb"):
        raise UnitscopeError(f"{name!r} has a meaning on the command line; choose another name")
    if name and any(path.stem.startswith(name) for path in root.glob("*.duckdb")):
        raise UnitscopeError(f"{name!r} is how a run's digest begins; choose another name")

    def change(now: RunNames) -> RunNames:
        other = now.digest(name) if name else ""
        if other not in ("", digest):
            raise UnitscopeError(f"run {other} has the name {name!r} already")
        names = {run: one for run, one in now.names.items() if run != digest}
        return RunNames(names | ({digest: name} if name else {}), now.pinned)

    _change(root, change)


def pin_run(root: Path, digest: str) -> None:
    """Let the app open with a run; "" for the newest again."""
    _change(root, lambda now: RunNames(now.names, digest))
