"""The process that answers one query of :mod:`core.runs.query`, and ends.

It is started by its file, in isolated mode and with an empty environment, and imports nothing of
this project: what it is asked comes on standard input, and what it answers, or why it does not,
goes to standard output, both as JSON.
"""

from __future__ import annotations

import json
import math
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any, TypedDict

import duckdb

CELL = 2_000
"""Letters of a text that are answered; what is longer ends in …"""

BYTES = 4_000_000
"""Bytes of an answer, about; rows beyond are left out as those beyond the limit are."""


def bounded(memory: int, seconds: float) -> None:
    """Let the system end this process, and no other, where it takes too much."""
    with suppress(OSError):  # first to go where memory is short
        Path("/proc/self/oom_score_adj").write_text("1000")
    with suppress(ImportError):  # not on Windows: DuckDB's own limits and the time remain
        import resource

        for what, most in (
            (resource.RLIMIT_AS, 2 * memory + 2**30),
            (resource.RLIMIT_CPU, math.ceil(seconds) + 1),
            (resource.RLIMIT_FSIZE, 0),
            (resource.RLIMIT_CORE, 0),
        ):
            with suppress(ValueError, OSError):
                resource.setrlimit(what, (most, most))


def connect(path: Path, memory: int) -> duckdb.DuckDBPyConnection:
    """The run file, read-only, in a DuckDB that can reach nothing else and whose settings cannot
    be changed."""
    os.chdir(path.parent)  # so that no answer holds the folder's path
    return duckdb.connect(
        path.name,
        read_only=True,
        config={
            "enable_external_access": "false",
            "allow_community_extensions": "false",
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "python_enable_replacements": "false",
            "memory_limit": f"{memory // 2**20}MiB",
            "temp_directory": "",
            "max_temp_directory_size": "0B",
            "threads": "1",
            "lock_configuration": "true",
        },
    )


def plain(value: Any) -> Any:
    """A cell as JSON has it."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, (list, tuple)):
        cut = [plain(one) for one in value[:100]]
        return [*cut, "…"] if len(value) > 100 else cut
    if isinstance(value, dict):
        return {str(k)[:CELL]: plain(v) for k, v in list(value.items())[:100]}
    text = str(value)
    return text if len(text) <= CELL else f"{text[:CELL]}…"


class Asked(TypedDict):
    """A query: the run file, one SELECT, and what it may take."""

    path: str
    sql: str
    rows: int
    memory: int
    seconds: float


class Answer(TypedDict, total=False):
    """Its answer: the error in words, or columns with their types, rows, and whether there are
    more."""

    error: str
    columns: list[str]
    types: list[str]
    rows: list[list[Any]]
    more: bool


def answer(asked: Asked) -> Answer:
    """Columns and rows of the one SELECT that is asked, or the error in words."""
    con = connect(Path(asked["path"]), int(asked["memory"]))
    statements = con.extract_statements(asked["sql"])
    if len(statements) != 1:
        return {"error": f"one SELECT is answered at a time, and here are {len(statements)}"}
    if statements[0].type != duckdb.StatementType.SELECT:
        kind = str(statements[0].type).rpartition(".")[2]
        return {"error": f"only SELECT is answered, and this is {kind}"}
    most = int(asked["rows"])
    result = con.from_query(asked["sql"]).limit(most + 1)
    columns, types = list(result.columns), [str(one)[:60] for one in result.types]
    found = result.fetchall()
    rows: list[list[Any]] = []
    size = 0
    for row in found[:most]:
        rows.append([plain(value) for value in row])
        size += len(json.dumps(rows[-1]))
        if size > BYTES:
            break
    return {"columns": columns, "types": types, "rows": rows, "more": len(found) > len(rows)}


def main() -> None:
    """Read a question, write an answer."""
    asked = json.loads(sys.stdin.buffer.read())
    bounded(int(asked["memory"]), float(asked["seconds"]))
    try:
        found = answer(asked)
    except MemoryError:
        found = {"error": "it needs more memory than a query may take"}
    except duckdb.Error as err:
        short = type(err).__name__ == "OutOfMemoryException"
        found = {"error": "it needs more memory than a query may take" if short else str(err)}
    except Exception as err:  # an answer that Python cannot hold, such as a date before year 1
        found = {"error": f"{type(err).__name__}: {err}"}
    sys.stdout.write(json.dumps(found))
    sys.stdout.flush()
    os._exit(0)  # nothing is worth a tidy end


if __name__ == "__main__":
    main()
