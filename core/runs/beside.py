"""A small DuckDB file beside the runs, in which people keep things: sets of units, notes, tags.

It is opened, changed and closed for each change, with a lock between processes, so that several
sessions and servers may keep things at once. Reading takes no lock and writes nothing: whoever may
read the file may list what is in it.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import duckdb
import filelock

from core.foundation.errors import UnitscopeError, first_line
from core.foundation.names import printable

PATIENCE = 10.0
"""Seconds that one waits for another's change."""


class SideFile:
    """The file `path`, not named like a run file, so that no one takes it for one.

    tables : statements that make its tables where they are missing.
    """

    def __init__(self, path: Path, tables: Sequence[str]):
        self.path, self._tables = path, tables

    def read(self, query: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """Rows of a query; none where nothing was kept yet.

        Raises UnitscopeError where the file cannot be read, or is written for too long.
        """
        if not self.path.is_file():
            return []
        until = time.monotonic() + PATIENCE
        while True:
            try:
                with duckdb.connect(str(self.path), read_only=True) as con:
                    return con.execute(query, list(values)).fetchall()
            except duckdb.CatalogException:
                return []  # made and not yet filled
            except duckdb.Error as err:
                # Another process, or another thread of this one, may be writing just now.
                if not _in_use(err) or time.monotonic() > until:
                    raise self._unreadable(err) from err
            time.sleep(0.05)

    def change(self, *steps: tuple[str, Sequence[Any]]) -> list[tuple[Any, ...]]:
        """Do all steps or none; returns the rows of the last.

        Raises UnitscopeError where the file cannot be written.
        """
        with filelock.FileLock(f"{self.path}.lock", timeout=PATIENCE):
            con = self._connect()
            try:
                con.execute("BEGIN")
                for query, values in steps:
                    result = con.execute(query, list(values)).fetchall()
                con.execute("COMMIT")
                return result
            except duckdb.Error as err:
                raise self._unreadable(err) from err
            finally:
                con.close()

    def _connect(self) -> duckdb.DuckDBPyConnection:
        """Open for a change; readers of this very process are over in a moment."""
        until = time.monotonic() + PATIENCE
        while True:
            try:
                con = duckdb.connect(str(self.path))
            except duckdb.Error as err:
                if not _in_use(err) or time.monotonic() > until:
                    raise self._unreadable(err) from err
                time.sleep(0.05)
                continue
            for statement in self._tables:
                con.execute(statement)
            return con

    def _unreadable(self, err: duckdb.Error) -> UnitscopeError:
        return UnitscopeError(f"{self.path} cannot be read ({printable(first_line(err))})")


def _in_use(err: duckdb.Error) -> bool:
    return "lock" in str(err) or "different configuration" in str(err)


def now() -> str:
    """The time, in UTC, as it is kept."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
