"""Runs by the workers of Ray: the bytes of one process, whoever is killed on the way."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from core.cli import main
from core.dissect.pipeline import execute
from core.dissect.plan import Plan, plan
from core.dissect.shard_file import folder_of
from core.dissect.shards import make_shard
from core.dissect.spread import Crew, execute_spread, open_worker
from core.foundation.engine import Workers
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Progress, never, silent
from core.foundation.settings import ROOT, Settings
from core.runs.run_file import Run
from tests import tiny
from tests.dissect.test_shards import same

if find_spec("ray") is None:
    pytest.skip("Ray is not installed: pip install ray", allow_module_level=True)
pytestmark = pytest.mark.slow

SLOW = "python:tests.tiny:slow"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def ray() -> Iterator[Any]:
    """One Ray for the tests that do not start it themselves."""
    with Workers("", {}) as first:
        import ray

        first._own = False
    yield ray
    ray.shutdown()


ASKED = {"layers": ("body.1", "body.3"), "q": 0.05, "shuffles": 2, "untrained": True}


def planned(folder: Path, model: str = SLOW, **change: Any) -> Plan:
    return plan(Settings(f"folder:{folder}", model, **{**ASKED, **change}))


def at_work(shards: Path, kind: str) -> list[int]:
    """Processes that have a shard of a pass in hand."""
    found = []
    for beat in shards.glob(f"{kind}-*.partial/progress.json"):
        facts = json.loads(beat.read_text())
        if facts["done"] < facts["total"]:
            found.append(facts["pid"])
    return found


def test_a_worker_killed_in_each_pass_changes_no_byte(ray, folder, tmp_path):
    """Without maps kept, so that workers make both passes."""
    work = planned(folder, keep_maps=False)
    one = execute(work, tmp_path / "one", threads=1)
    killed: dict[str, int] = {}
    told: list[str] = []

    def kill(progress: Progress) -> None:
        kind = progress.stage
        if kind not in killed and (pids := at_work(folder_of(work, tmp_path), kind)):
            assert pids[0] != os.getpid()
            os.kill(pids[0], signal.SIGKILL)
            killed[kind] = pids[0]

    run = execute_spread(
        work, tmp_path, crew=Crew(2, tell=told.append), threads=1, shard=64, progress=kill
    )
    assert set(killed) == {"collect", "count"}
    for pid in killed.values():
        assert [text for text in told if f"worker {pid} on" in text and "another one" in text]
    same(run, one)
    # Nothing is left but the run.
    left = {p.name for p in tmp_path.iterdir()} - {"one"}
    assert left == {f"{work.digest}.duckdb", f"{work.digest}.arrays"}
    assert execute_spread(work, tmp_path).info["tables_digest"] == one.info["tables_digest"]


def begun(folder: Path, out: Path, *more: str) -> subprocess.Popen[bytes]:
    given = ["run", "--dataset", f"folder:{folder}", "--model", SLOW, "--out", str(out)]
    given += ["--layer", "body.1", "--layer", "body.3", "--q", "0.05", "--shuffles", "2"]
    given += ["--untrained", "--engine", "ray", "--workers", "2", "--shard", "32", "--json", *more]
    return subprocess.Popen(
        [sys.executable, "-m", "core", *given],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )


def until(what: Callable[[], bool], seconds: float = 90) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < end
        time.sleep(0.05)


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_the_driver_resumes_from_the_shards_it_left(ray, folder, tmp_path, how):
    work = planned(folder)
    shards = folder_of(work, tmp_path)
    driver = begun(folder, tmp_path)
    until(lambda: driver.poll() is not None or bool(list(shards.glob("*.npz"))))
    # As a terminal does, Ctrl-C reaches all that the command has started.
    (os.killpg if how == signal.SIGINT else os.kill)(driver.pid, how)
    out, err = driver.communicate(timeout=120)
    if how == signal.SIGKILL:
        assert driver.returncode == -how
    else:
        assert driver.returncode == 130, err.decode()
        assert "resumes" in json.loads(out.splitlines()[-1])["error"]
        assert not list(shards.glob("*.lock"))
    before = {p: p.stat().st_mtime_ns for p in shards.glob("*.npz")}
    assert 1 <= len(before) < 5
    beat = json.loads((tmp_path / f"{work.digest}.partial" / "progress.json").read_text())
    assert beat["stage"] == "collect" and beat["total"] == 150
    assert beat["request"]["model"] == SLOW

    last: dict[Path, int] = {}

    def look(progress: Progress) -> None:
        last.update({p: p.stat().st_mtime_ns for p in shards.glob("*.npz")})

    # Another number of workers, and of images a shard: the division is that of the beginning.
    run = execute_spread(work, tmp_path, crew=Crew(1), threads=1, shard=96, progress=look)
    assert len(last) == 5 and before.items() <= last.items()
    same(run, execute(work, tmp_path / "one", threads=1))


def test_shards_made_by_hand_are_taken_in_their_own_division(ray, folder, tmp_path):
    work = planned(folder, tiny.SPEC, keep_maps=False)
    for k in (1, 2, 3):
        make_shard(work, tmp_path, k, 3, threads=1)
    made = sorted(folder_of(work, tmp_path).glob("collect-*"))
    before = [p.stat().st_mtime_ns for p in made]
    seen: list[list[int]] = []

    def look(progress: Progress) -> None:
        if made[0].exists():
            seen.append([p.stat().st_mtime_ns for p in made])

    run = execute_spread(work, tmp_path, crew=Crew(2), threads=1, progress=look)
    assert seen[-1] == before
    same(run, execute(work, tmp_path / "one", threads=1))
    assert sorted(folder_of(work, tmp_path).glob("collect-*")) == made


def test_a_damaged_shard_is_made_again(ray, folder, tmp_path):
    work = planned(folder, tiny.SPEC)
    shards = folder_of(work, tmp_path)
    path = make_shard(work, tmp_path, 2, 5, threads=1).path
    (shards / "parts").write_text("5")
    path.write_bytes(path.read_bytes()[:-100])
    same(execute_spread(work, tmp_path, threads=1), execute(work, tmp_path / "one", threads=1))


def test_a_worker_with_other_photos_refuses(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # workers go there
    work = planned(folder, tiny.SPEC)
    given = {
        "settings": replace(work.settings, seed=3),
        "run": work.digest,
        "facts": json.dumps(work.facts, sort_keys=True),
        "cwd": str(tmp_path),
        "root": str(tmp_path),
        "threads": 1,
        "strict": False,
        "shards_at": None,
    }
    with pytest.raises(UnitscopeError, match=r"another run; these differ there: .*seed"):
        open_worker(given)
    with pytest.raises(UnitscopeError, match="has no folder"):
        open_worker({**given, "cwd": str(tmp_path / "none")})
    do = open_worker({**given, "settings": work.settings})
    name, digest, _ = do((1, 1, 5), silent, never)
    assert (folder_of(work, tmp_path) / name).is_file() and len(digest) == 64


def test_the_command_line_refuses_what_does_not_go_together(folder, tmp_path, capsys):
    given = ["run", "--dataset", f"folder:{folder}", "--model", tiny.SPEC, "--out", str(tmp_path)]
    for more, words in (
        (["--workers", "2"], "--engine ray: give it"),
        (["--engine", "ray", "--shard", "1/2"], "leave the others out"),
        (["--engine", "ray", "--merge"], "leave the others out"),
    ):
        assert main([*given, *more]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_strict_stops_at_the_first_photo_that_cannot_be_used(ray, folder, tmp_path):
    import shutil

    harmed = shutil.copytree(folder, tmp_path / "harmed")
    (harmed / "images" / "070.png").write_bytes(b"no photo")
    work = planned(harmed, tiny.SPEC)
    with pytest.raises(UnitscopeError, match=r"070\.png"):
        execute_spread(work, tmp_path, threads=1, strict=True)
    run: Run = execute_spread(work, tmp_path, threads=1)
    assert len(run.sql("SELECT * FROM skipped")) == 1
