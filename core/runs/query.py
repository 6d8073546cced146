"""Queries over a run file in SQL, typed by anybody who may look at the run.

Each is answered by a process of its own (:mod:`core.runs.query_child`): a DuckDB that holds the
run file read-only, reaches no file, network or extension beside it, and whose settings are locked;
one SELECT, within bounds of rows, bytes, memory and time. Whatever a query does, it ends that
process at worst.
"""

from __future__ import annotations

import json
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from core.foundation.errors import UnitscopeError
from core.foundation.names import printable
from core.foundation.plain import Json
from core.runs.run_file import Run

ROWS, SECONDS, MEMORY, LETTERS = 1_000, 5.0, 512 * 2**20, 10_000
"""The bounds of a query: rows answered, seconds, bytes of memory, letters of its text."""

AT_ONCE = 2
"""Queries of one process that are answered at the same time; others wait."""

_turns = threading.BoundedSemaphore(AT_ONCE)

CHILD = Path(__file__).with_name("query_child.py")


@dataclass(frozen=True)
class Answer:
    """What a query gave: a frame, whether there are more rows than the limit, and seconds."""

    frame: pd.DataFrame
    more: bool
    seconds: float


def ask(
    run: Run, sql: str, rows: int = ROWS, seconds: float = SECONDS, memory: int = MEMORY
) -> Answer:
    """The answer to one SELECT over the tables of a run file (docs/run-file.md).

    Raises UnitscopeError for anything else, for an error in it, and where a bound is passed.
    """
    if not sql.strip():
        raise UnitscopeError("the query is empty")
    if len(sql) > LETTERS:
        raise UnitscopeError(f"the query has {len(sql):,} letters; {LETTERS:,} is the most")
    began = time.monotonic()
    if not _turns.acquire(timeout=2 * seconds):
        raise UnitscopeError("other queries are being answered; try again")
    try:
        found = _child(run, sql, rows, seconds, memory)
    finally:
        _turns.release()
    if "error" in found:
        raise UnitscopeError(printable(str(found["error"]).strip()))
    frame = pd.DataFrame(found["rows"], columns=[printable(str(one)) for one in found["columns"]])
    return Answer(frame, bool(found["more"]), time.monotonic() - began)


def _child(run: Run, sql: str, rows: int, seconds: float, memory: int) -> Json:
    asked = {
        "path": str(run.path.resolve()),
        "sql": sql,
        "rows": rows,
        "memory": memory,
        "seconds": seconds,
    }
    try:
        done = subprocess.run(
            [sys.executable, "-I", str(CHILD)],
            input=json.dumps(asked).encode(),
            capture_output=True,
            timeout=seconds + 1,  # its start counts for one
            env={},
            check=False,
        )
        found = json.loads(done.stdout)
        if not isinstance(found, dict):
            raise ValueError
    except subprocess.TimeoutExpired:
        raise UnitscopeError(
            f"the query takes longer than {seconds:g} s; ask for less, or on the command line"
        ) from None
    except ValueError:
        raise UnitscopeError("the query took more memory than it may, and was ended") from None
    return found
