"""Named sets of disabled units, kept beside the runs (:mod:`core.runs.beside`)."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from core.foundation.errors import UnitscopeError, unknown
from core.runs.beside import SideFile, now
from core.runs.run_file import Run

FILE = "named-sets.db"

LONGEST = 80
"""Letters of a name."""


def _kept(run: Run) -> SideFile:
    return SideFile(
        run.path.parent / FILE,
        [
            "CREATE TABLE IF NOT EXISTS named (run TEXT, layer TEXT, name TEXT, units INTEGER[],"
            " why TEXT, saved TEXT, PRIMARY KEY (run, layer, name))"
        ],
    )


def list_sets(run: Run, layer: str) -> pd.DataFrame:
    """The sets kept of a layer: name, units (list), why, saved (UTC), by name."""
    rows = _kept(run).read(
        "SELECT name, units, why, saved FROM named WHERE run = ? AND layer = ? ORDER BY 1",
        [run.digest, layer],
    )
    return pd.DataFrame(rows, columns=["name", "units", "why", "saved"])


def save_set(run: Run, layer: str, name: str, units: Sequence[int], why: str = "") -> None:
    """Keep a set under a name; one of the same name is replaced.

    Raises UnitscopeError for an empty name or set, or a unit that the layer has not.
    """
    name = " ".join(name.split())
    if not name or len(name) > LONGEST:
        raise UnitscopeError(f"a set needs a name of 1 to {LONGEST} letters")
    chosen = sorted({int(unit) for unit in units})
    if not chosen:
        raise UnitscopeError("there is no unit in the set")
    size = run.unit_count(layer)
    if chosen[0] < 0 or chosen[-1] >= size:
        raise UnitscopeError(f"{layer} has units 0 to {size - 1}, not {chosen[0]} to {chosen[-1]}")
    _kept(run).change(
        (
            "INSERT OR REPLACE INTO named VALUES (?, ?, ?, ?, ?, ?)",
            [run.digest, layer, name, chosen, why, now()],
        )
    )


def delete_set(run: Run, layer: str, name: str) -> tuple[list[int], str]:
    """Remove a set; returns its units and why, with which :func:`save_set` brings it back.

    Raises UnitscopeError with the nearest names where there is none.
    """
    known = list_sets(run, layer)["name"].tolist()
    if name not in known:
        raise unknown("set of units", name, known)
    gone = _kept(run).change(
        (
            "DELETE FROM named WHERE run = ? AND layer = ? AND name = ? RETURNING units, why",
            [run.digest, layer, name],
        )
    )
    units, why = gone[0] if gone else ((), "")
    return list(units), str(why)
