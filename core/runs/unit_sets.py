"""Named sets of disabled units: what the app itself keeps beside the runs.

One small DuckDB file under the runs' folder. It is opened, written and closed for each change,
with a lock between processes, so that several sessions and servers may keep sets at once.
Listing them takes no lock and writes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import filelock
import pandas as pd

from core.foundation.errors import UnitscopeError, first_line, unknown
from core.foundation.names import printable
from core.runs.run_file import Run

FILE = "named-sets.db"
"""Not named like a run file, so that no one takes it for one."""

PATIENCE = 10.0
"""Seconds that one waits for another's change."""

LONGEST = 80
"""Letters of a name."""


def _at(run: Run) -> Path:
    return run.path.parent / FILE


def _connect(path: Path) -> duckdb.DuckDBPyConnection:
    con = duckdb.connect(str(path))
    con.execute(
        "CREATE TABLE IF NOT EXISTS named (run TEXT, layer TEXT, name TEXT, units INTEGER[],"
        " why TEXT, saved TEXT, PRIMARY KEY (run, layer, name))"
    )
    return con


def list_sets(run: Run, layer: str) -> pd.DataFrame:
    """The sets kept of a layer: name, units (list), why, saved (UTC), by name."""
    path = _at(run)
    if not path.is_file():
        return pd.DataFrame(columns=["name", "units", "why", "saved"])
    return pd.DataFrame(_read(path, run.digest, layer), columns=["name", "units", "why", "saved"])


def _read(path: Path, digest: str, layer: str) -> list[tuple[Any, ...]]:
    """Rows of :func:`list_sets`. Nothing is written, and no lock file made: whoever may read the
    file may list it. Raises UnitscopeError where it cannot be read, or is written for too long."""
    until = time.monotonic() + PATIENCE
    while True:
        try:
            with duckdb.connect(str(path), read_only=True) as con:
                return con.execute(
                    "SELECT name, units, why, saved FROM named WHERE run = ? AND layer = ?"
                    " ORDER BY 1",
                    [digest, layer],
                ).fetchall()
        except duckdb.CatalogException:
            return []  # made and not yet filled
        except duckdb.Error as err:
            # Another process, or another thread of this one, may be writing just now.
            if not _in_use(err) or time.monotonic() > until:
                raise UnitscopeError(
                    f"{path} cannot be read ({printable(first_line(err))})"
                ) from err
        time.sleep(0.05)


def _in_use(err: duckdb.Error) -> bool:
    return "lock" in str(err) or "different configuration" in str(err)


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
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    with filelock.FileLock(f"{_at(run)}.lock", timeout=PATIENCE):
        con = _connect(_at(run))
        try:
            con.execute(
                "INSERT OR REPLACE INTO named VALUES (?, ?, ?, ?, ?, ?)",
                [run.digest, layer, name, chosen, why, now],
            )
        finally:
            con.close()


def delete_set(run: Run, layer: str, name: str) -> tuple[list[int], str]:
    """Remove a set; returns its units and why, with which :func:`save_set` brings it back.

    Raises UnitscopeError with the nearest names where there is none.
    """
    known = list_sets(run, layer)["name"].tolist()
    if name not in known:
        raise unknown("set of units", name, known)
    with filelock.FileLock(f"{_at(run)}.lock", timeout=PATIENCE):
        con = _connect(_at(run))
        try:
            gone = con.execute(
                "DELETE FROM named WHERE run = ? AND layer = ? AND name = ? RETURNING units, why",
                [run.digest, layer, name],
            ).fetchone()
        finally:
            con.close()
    units, why = gone or ((), "")
    return list(units), str(why)
