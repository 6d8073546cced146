"""Names of runs and the pinned one, kept beside the runs; which run the app opens with."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from core.foundation.errors import UnitscopeError
from core.runs.run_names import FILE, name_run, pin_run, read_names
from core.runs.store import find_run
from core.views.runs import Summary, front, resolve, run_labels, summary, too_small
from tests.browsing import ROOT


@pytest.fixture
def folder(tmp_path) -> Path:
    """A folder of three files that are named as runs are."""
    for digest in ("aa11", "bb22", "cc33"):
        (tmp_path / f"{digest}.duckdb").touch()
    return tmp_path


def test_names_are_kept_changed_and_taken_away(folder):
    assert read_names(folder).of("aa11") == ""
    name_run(folder, "aa11", "  first   try\x1b ")
    name_run(folder, "bb22", "second")
    pin_run(folder, "aa11")
    kept = read_names(folder)
    assert kept.names == {"aa11": "first try\\x1b", "bb22": "second"} and kept.pinned == "aa11"
    assert find_run("SECOND", folder).stem == "bb22"
    name_run(folder, "bb22", "")
    pin_run(folder, "")
    assert read_names(folder).names == {"aa11": "first try\\x1b"}
    assert read_names(folder).pinned == ""
    with pytest.raises(UnitscopeError, match="'second' is no run"):
        find_run("second", folder)


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("x" * 81, "80 is the most"),
        ("latest", "meaning"),
        ("bb", "digest begins"),
        ("TAKEN", "has the name"),
    ],
)
def test_names_that_would_mean_another_run_are_refused(folder, name, why):
    name_run(folder, "bb22", "taken")
    with pytest.raises(UnitscopeError, match=why):
        name_run(folder, "aa11", name)
    assert read_names(folder).names == {"bb22": "taken"}
    name_run(folder, "bb22", "Taken")  # its own, in another case


@pytest.mark.parametrize("text", ["{", "[]", '{"names": [], "pinned": ""}', '{"names": {"a": 1}}'])
def test_a_damaged_file_is_said_and_never_overwritten(folder, text):
    (folder / FILE).write_text(text)
    with pytest.raises(UnitscopeError, match="damaged"):
        read_names(folder)
    with pytest.raises(UnitscopeError, match="damaged"):
        name_run(folder, "aa11", "new")
    assert (folder / FILE).read_text() == text


def test_two_processes_name_runs_at_once(folder):
    code = (
        "import sys; from pathlib import Path; from core.runs.run_names import name_run; "
        "[name_run(Path(sys.argv[1]), f'{sys.argv[2]}{k}', f'{sys.argv[2]} {k}') "
        "for k in range(20)]"
    )
    both = [
        subprocess.Popen([sys.executable, "-c", code, str(folder), word], cwd=ROOT)
        for word in ("left", "right")
    ]
    assert [one.wait(60) for one in both] == [0, 0]
    assert len(read_names(folder).names) == 40


def made(run, digest: str, images: int, planned: int) -> Summary:
    facts = summary(run).__dict__ | {"run": digest, "images": images, "planned": planned}
    return Summary(**facts)


def test_the_app_opens_with_the_pinned_run_and_never_with_a_failed_one(run):
    failed = made(run, "aa11", 4, 21)
    tiny = made(run, "bb22", 12, 12)
    good = made(run, "cc33", 80, 100)
    older = made(run, "dd44", 100, 100)
    every = [(Path(f"{f.run}.duckdb"), f) for f in (failed, tiny, good, older)]
    torn = [(Path("ee55.duckdb"), "is no run file"), *every]
    assert front(torn, "").stem == "cc33"
    assert front(torn, "dd44").stem == "dd44"
    assert front(torn, "aa11").stem == "aa11"  # whoever pins it wants it
    assert front(torn, "deleted").stem == "cc33"
    assert front(every[:2], "").stem == "aa11"  # there is nothing better
    assert front(torn[:1], "") is None
    assert too_small(failed) == "4 of 21 images were used" and too_small(tiny)
    assert not too_small(good)


def test_a_run_is_called_by_its_name_everywhere(run, bare, root):
    found = {one.digest: summary(one) for one in (run, bare)}
    name_run(root, bare.digest, "without maps")
    pin_run(root, bare.digest)
    try:
        called = run_labels(found, read_names(root))
        assert called == {run.digest: "tiny · tiny · body.1, body.3", bare.digest: "without maps"}
        assert resolve(None, root).stem == bare.digest
    finally:
        (root / FILE).unlink()
    assert resolve(None, root).stem == run.digest
    same = run_labels({"a" * 16: found[run.digest], "b" * 16: found[run.digest]}, read_names(root))
    assert len(set(same.values())) == 2
