"""The query box's engine: what it answers, and what nobody gets out of it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import duckdb
import pytest

from core.foundation.errors import UnitscopeError
from core.runs import query
from core.runs.query import ask
from tests.browsing import ROOT


def test_a_select_gives_what_duckdb_gives(tiny_run):
    for sql in (
        "SELECT * FROM units ORDER BY layer, unit",
        "FROM layers -- a comment",
        "WITH best AS (SELECT unit, max(iou_all) AS iou FROM dataset_iou GROUP BY unit)\n"
        "SELECT * FROM best ORDER BY unit;",
    ):
        with duckdb.connect(str(tiny_run.path), read_only=True) as con:
            rows = con.execute(sql).fetchall()
        found = ask(tiny_run, sql)
        assert found.frame.to_numpy().tolist() == [list(row) for row in rows] and not found.more


def test_columns_of_one_name_and_values_of_every_kind(tiny_run):
    found = ask(
        tiny_run,
        "SELECT 1 AS a, 2 AS a, NULL AS b, 'nan'::DOUBLE AS c, [1, 2] AS d, {'k': 'v'} AS e, "
        "DATE '2020-01-01' AS f, 1.50::DECIMAL(9, 2) AS g, 'x'::BLOB AS h, true AS i",
    ).frame
    assert list(found.columns) == ["a", "a_1", "b", "c", "d", "e", "f", "g", "h", "i"]
    row = found.astype(object).where(found.notna(), None).iloc[0].tolist()
    assert row[:5] == [1, 2, None, None, [1, 2]]
    assert row[5:] == [{"k": "v"}, "2020-01-01", "1.50", "b'x'", True]


def test_rows_and_cells_are_bounded(tiny_run):
    found = ask(tiny_run, "SELECT range AS n FROM range(1000000000000)", rows=7)
    assert found.frame["n"].tolist() == list(range(7)) and found.more
    cell = ask(tiny_run, "SELECT repeat('x', 1000000)").frame.iloc[0, 0]
    assert cell == "x" * 2_000 + "…"
    wide = ask(tiny_run, "SELECT repeat('x', 5000) AS t, * FROM range(20000)", rows=20_000)
    assert wide.more and 1_000 < len(wide.frame) < 3_000  # 4 MB of cells


SECRET = "do not read this"


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT * FROM read_text('{file}')", "disabled by configuration"),
        ("SELECT * FROM read_csv('{file}')", "disabled by configuration"),
        ("SELECT * FROM read_blob('{file}')", "disabled by configuration"),
        ("SELECT * FROM read_parquet('{file}')", "disabled by configuration"),
        ("SELECT * FROM '{file}'", "does not exist|disabled"),
        ("SELECT * FROM glob('{folder}/*')", "disabled by configuration"),
        ("SELECT * FROM read_text('https://example.org/')", "disabled|not.*exist|requires"),
        ("SELECT * FROM sniff_csv('{file}')", "disabled by configuration"),
        ("SELECT * FROM query('COPY layers TO ''{folder}/out''')", "SELECT"),
        ("SELECT getenv('HOME')", "does not exist"),
        ("SELECT * FROM asked", "does not exist"),  # a variable of the process that answers
        ("SELECT * FROM duckdb_secrets()", "disabled by configuration"),
        ("COPY layers TO '{folder}/out'", "only SELECT.*COPY"),
        ("COPY (SELECT 1) TO '{folder}/out'", "only SELECT"),
        ("EXPORT DATABASE '{folder}/out'", "only SELECT"),
        ("ATTACH '{folder}/other.db'", "only SELECT.*ATTACH"),
        ("INSTALL httpfs", "only SELECT"),
        ("LOAD httpfs", "only SELECT"),
        ("PRAGMA database_list", "only SELECT"),
        ("SET enable_external_access = true", "only SELECT"),
        ("RESET memory_limit", "only SELECT"),
        ("CALL pragma_version()", "only SELECT"),
        ("CHECKPOINT", "only SELECT"),
        ("CREATE TABLE x AS SELECT 1", "only SELECT"),
        ("CREATE TEMP MACRO f() AS 1", "only SELECT"),
        ("DROP TABLE units", "only SELECT"),
        ("DELETE FROM units", "only SELECT"),
        ("UPDATE units SET hits = 0", "only SELECT"),
        ("INSERT INTO layers SELECT * FROM layers", "only SELECT"),
        ("SELECT 1; DROP TABLE units", "here are 2"),
        ("SELECT 1; SELECT 2", "here are 2"),
        ("SELECT", "Parser Error"),
        ("SELECT nothing FROM units", "not found"),
        ("  ", "is empty"),
        ("SELECT " + "1, " * 5_000 + "1", "10,000 is the most"),
    ],
)
def test_nothing_but_the_run_is_reached(tiny_run, tmp_path, sql, why):
    file = tmp_path / "secret.csv"
    file.write_text(SECRET)
    before = tiny_run.path.read_bytes(), tiny_run.path.stat().st_mtime_ns
    asked = sql.replace("{file}", str(file)).replace("{folder}", str(tmp_path))
    with pytest.raises(UnitscopeError, match=why) as caught:
        ask(tiny_run, asked)
    assert SECRET not in str(caught.value)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["secret.csv"]
    assert (tiny_run.path.read_bytes(), tiny_run.path.stat().st_mtime_ns) == before


@pytest.mark.parametrize(
    ("sql", "why"),
    [
        ("SELECT count(*) FROM hits a, hits b, hits c, hits d", "longer than|more memory"),
        ("SELECT * FROM hits a, hits b, hits c ORDER BY random()", "longer than|more memory"),
        (
            "WITH RECURSIVE t(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM t) "
            "SELECT count(*) FROM t",
            "longer than|more memory",
        ),
        ("SELECT repeat('x', 2000000000)", "more memory"),
        ("SELECT list(range) FROM range(1000000000)", "longer than|more memory"),
    ],
)
def test_what_would_take_all_there_is_ends_alone(tiny_run, sql, why):
    began = time.monotonic()
    with pytest.raises(UnitscopeError, match=why):
        ask(tiny_run, sql, seconds=2)
    assert time.monotonic() - began < 10  # also on a busy machine
    assert len(ask(tiny_run, "SELECT 1").frame) == 1


def test_no_more_than_two_are_answered_at_once(tiny_run, monkeypatch):
    running, most = [0], [0]
    lock = threading.Lock()
    real = query._child

    def counted(*given):
        with lock:
            running[0] += 1
            most[0] = max(most[0], running[0])
        try:
            return real(*given)
        finally:
            with lock:
                running[0] -= 1

    monkeypatch.setattr(query, "_child", counted)
    asking = [threading.Thread(target=ask, args=(tiny_run, "SELECT 1", 10, 30.0)) for _ in range(5)]
    for one in asking:
        one.start()
    for one in asking:
        one.join()
    assert most[0] == query.AT_ONCE


def test_the_process_that_answers_knows_nothing_of_its_parent(tiny_run, monkeypatch):
    """No environment, no folder of Python modules but the installed ones."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT / "nowhere"))
    seen = {}
    real = subprocess.run

    def watched(command, **how):
        seen.update(how, command=command)
        return real(command, **how)

    monkeypatch.setattr(subprocess, "run", watched)
    ask(tiny_run, "SELECT 1")
    assert seen["env"] == {} and seen["command"][:2] == [sys.executable, "-I"]
    assert os.environ["PYTHONPATH"]
