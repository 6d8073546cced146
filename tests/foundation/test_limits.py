"""Quotas: read from one file, and enforced where work begins or files are kept."""

from __future__ import annotations

import json
import time

import pytest

from core.foundation import jobs
from core.foundation.errors import UnitscopeError
from core.foundation.settings import CONFIG, Limits, configuration, limits


@pytest.fixture
def say(tmp_path, monkeypatch):
    """Writes a configuration file that holds for the test."""

    def write(text: str) -> None:
        (tmp_path / "unitscope.toml").write_text(text)
        monkeypatch.setenv(CONFIG, str(tmp_path / "unitscope.toml"))

    return write


def test_without_a_file_the_defaults_hold(monkeypatch):
    monkeypatch.delenv(CONFIG, raising=False)
    assert limits() == Limits()


def test_the_file_says_what_differs(say):
    say('mode = "team"\nowners = ["ada@example.org"]\n[limits]\njobs = 1\nfree_gb = 2\n')
    assert limits() == Limits(jobs=1, free_gb=2)
    assert configuration().owners == ("ada@example.org",)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[limits]\njob = 1", "unknown setting 'job'; nearest: jobs"),
        ("mood = 'team'", "nearest: mode"),
        ("[limits]\njobs = true", "not a whole number"),
        ("[limits]\njobs = 1.5", "not a whole number"),
        ("[limits]\njobs = -1", "below 0"),
        ("owners = 'ada@example.org'", "not a list"),
        ("limits = 3", "not a table"),
        ("mode = ", "cannot be read"),
    ],
)
def test_a_mistake_in_the_file_is_told(say, text, said):
    say(text)
    with pytest.raises(UnitscopeError, match=said):
        limits()


def test_a_file_that_is_named_must_be_there(monkeypatch, tmp_path):
    monkeypatch.setenv(CONFIG, str(tmp_path / "none.toml"))
    with pytest.raises(UnitscopeError, match=r"none\.toml: cannot be read"):
        limits()


def test_no_more_jobs_at_once_than_allowed(say, tmp_path):
    say("[limits]\njobs = 1\n")
    root = tmp_path / "cache"
    first = jobs.start("first", ["models"], root)
    with pytest.raises(UnitscopeError, match="1 jobs are running, and this server runs 1 at once"):
        jobs.start("second", ["models"], root)
    # Refused is not begun: nothing of it is listed.
    assert [job.name for job in jobs.every(root)] == ["first"]
    while (now := jobs.watch(first.name, root)) and now.alive:
        time.sleep(0.1)
    second = jobs.start("second", ["models", "--json"], root)
    while (now := jobs.watch(second.name, root)) and now.alive:
        time.sleep(0.1)
    assert json.dumps(now.answer())


def test_disk_is_kept_free(say, tmp_path):
    say("[limits]\nfree_gb = 1e9\n")
    with pytest.raises(UnitscopeError, match=r"kept free \(free_gb\)"):
        jobs.start("first", ["models"], tmp_path)
    assert jobs.every(tmp_path) == []


def test_files_of_corrected_names_are_bounded_in_size_and_number(say, tiny_run, tmp_path):
    import shutil

    from core.knowledge.kinds import open_knowledge
    from core.runs.run_file import Run
    from core.views import knowledge

    path = tmp_path / tiny_run.path.name
    shutil.copy(tiny_run.path, path)
    say("[limits]\nnames_files = 2\nnames_mb = 1\n")
    most, graph = limits(), open_knowledge("builtin")
    with Run(path) as run:
        kept = [
            knowledge.keep_names(
                run, graph, f"name,node\n{scene},barn\n".encode(), most.names_files
            )
            for scene in ("attic", "cellar", "attic")
        ]
        assert kept[0] == kept[2] != kept[1]  # the same file once more is no other
        with pytest.raises(UnitscopeError, match="names_files"):
            knowledge.keep_names(run, graph, b"name,node\nbarn,barn\n", most.names_files)
    with pytest.raises(UnitscopeError, match="takes 1 MB at most"):
        most.size("the file", b"x" * 1_000_001, most.names_mb)
