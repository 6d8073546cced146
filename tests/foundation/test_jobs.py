"""Jobs are real processes: started, watched, stopped, killed, gone on with."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from core.dissect.plan import plan
from core.foundation import jobs
from core.foundation.errors import UnitscopeError
from core.foundation.settings import Settings
from core.retrain.estimate import extrapolate
from core.runs.run_file import Run
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def photos(tmp_path_factory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny", 320)


def wait(name: str, root: Path, until: Callable[[jobs.Job], bool], seconds: float = 60) -> jobs.Job:
    """A job as soon as `until` holds of it."""
    end = time.monotonic() + seconds
    while True:
        job = jobs.watch(name, root)
        if job is not None and until(job):
            return job
        assert time.monotonic() < end, job
        time.sleep(0.05)


def over(job: jobs.Job) -> bool:
    return not job.alive


def slow_run(photos: Path, root: Path, *more: str) -> list[str]:
    return [
        "run",
        "--dataset",
        f"folder:{photos}",
        "--model",
        "python:tests.tiny:slow",
        "--q",
        "0.05",
        "--shuffles",
        "1",
        "--shard",
        "32",
        "--threads",
        "1",
        "--out",
        str(root),
        *more,
    ]


def begun(job: jobs.Job) -> bool:
    return bool(job.progress and job.progress.done >= 32)


@pytest.mark.slow
def test_a_run_is_started_watched_stopped_and_gone_on_with(photos, tmp_path):
    command = slow_run(photos, tmp_path)
    settings = Settings(f"folder:{photos}", "python:tests.tiny:slow", q=0.05, shuffles=1)
    name = plan(settings).digest
    mark = f"{name}.partial/progress.json"

    jobs.start(name, command, tmp_path, mark)
    with pytest.raises(UnitscopeError, match="running already"):
        jobs.start(name, command, tmp_path, mark)
    job = wait(name, tmp_path, begun)
    assert job.state == "running" and job.progress.total == 320
    # Another process, as after a restart of the app, sees the same.
    seen = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys; from pathlib import Path; from core.foundation import jobs; "
            "print(jobs.watch(sys.argv[2], Path(sys.argv[1])).state)",
            str(tmp_path),
            name,
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    assert seen.stdout.strip() == "running"

    jobs.cancel(name, tmp_path)
    job = wait(name, tmp_path, over)
    assert job.state == "stopped" and job.status == 130
    shards = len(list((tmp_path / f"{name}.partial").glob("collect-*.npz")))
    assert shards >= 1 and not (tmp_path / f"{name}.duckdb").exists()
    with pytest.raises(UnitscopeError, match="not running"):
        jobs.cancel(name, tmp_path)

    again = jobs.start(name, job.arguments, tmp_path, mark)
    assert again.progress is None  # what the stopped one left is not this one's
    first = wait(name, tmp_path, lambda one: bool(one.progress) or over(one))
    assert first.progress.done >= 32 * shards or first.progress.stage != "collect"
    job = wait(name, tmp_path, over)
    assert (job.state, job.status, job.error) == ("finished", 0, "")
    run = Run(tmp_path / f"{name}.duckdb")
    assert run.info["images"]["used"] == 320
    run.close()
    jobs.forget(name, tmp_path)
    assert jobs.watch(name, tmp_path) is None and (tmp_path / f"{name}.duckdb").exists()


@pytest.mark.slow
def test_a_check_answers_with_sizes_layers_and_time(photos, tmp_path):
    command = ["run", "--dataset", f"folder:{photos}", "--model", tiny.SPEC, "--plan", "--json"]
    began = time.monotonic()
    planned = jobs.start("check", [*command, "--out", str(tmp_path)], tmp_path)
    assert planned.state in ("starting", "running")
    told = wait("check", tmp_path, over).answer()
    assert told["images"] == 320 and told["splits"] == {"test": 160, "train": 160}
    assert told["run"] == plan(Settings(f"folder:{photos}", tiny.SPEC)).digest
    assert "body.1" in [layer["name"] for layer in told["layers"]]
    assert told["layer"] == [told["default_layer"]] == ["body.3"]
    assert not told["finished"] and told["known_scenes"] == told["scenes"] == 3
    time_told = told["seconds"]
    assert time_told["images"] == 96 and time_told["measured"] < time.monotonic() - began
    assert 0 < time_told["low"] <= time_told["seconds"] <= time_told["high"]
    assert [path.name for path in tmp_path.iterdir()] == ["jobs"]


def with_child(job: jobs.Job) -> bool:
    """Whether its command has begun."""
    return '"child": ' in (job.folder / "job.json").read_text()


@pytest.mark.slow
def test_work_that_is_killed_is_told_as_stopped(photos, tmp_path):
    command = slow_run(photos, tmp_path)
    jobs.start("victim", command, tmp_path)
    told = wait("victim", tmp_path, with_child)
    facts = json.loads((told.folder / "job.json").read_text())
    os.kill(facts["child"], signal.SIGKILL)
    job = wait("victim", tmp_path, over)
    assert job.state == "stopped" and "SIGKILL" in job.error
    # The keeper and the work together, as when the machine goes down.
    jobs.start("victim", command, tmp_path)
    wait("victim", tmp_path, with_child)
    facts = json.loads((told.folder / "job.json").read_text())
    for who in ("keeper", "child"):
        os.kill(facts[who], signal.SIGKILL)
    job = wait("victim", tmp_path, over)
    assert job.state == "stopped" and "without a word" in job.error and job.ended is None


def test_a_mistake_in_the_input_is_told_in_its_own_words(tmp_path):
    jobs.start("wrong", ["show", "nothing", "--out", str(tmp_path), "--json"], tmp_path)
    job = wait("wrong", tmp_path, over)
    assert job.state == "failed" and job.status == 2
    assert job.error.startswith("'nothing' is no run under")
    with pytest.raises(UnitscopeError, match="has no answer"):
        job.answer()
    assert [one.name for one in jobs.every(tmp_path)] == ["wrong"]


def test_a_job_that_is_stopped_before_it_begins_never_begins(tmp_path):
    folder = tmp_path / "jobs" / "early"
    folder.mkdir(parents=True)
    facts = {"arguments": ["datasets"], "progress": "", "started": time.time()}
    (folder / "job.json").write_text(json.dumps(facts))
    jobs.cancel("early", tmp_path)
    assert jobs.watch("early", tmp_path).state == "stopping"
    subprocess.run(
        [sys.executable, "-m", "core.foundation.jobs", str(tmp_path), "early"], cwd=ROOT, check=True
    )
    job = jobs.watch("early", tmp_path)
    assert job.state == "stopped" and not (folder / "out").exists()


def test_a_number_given_to_another_process_is_not_mistaken(tmp_path):
    """A job file that names this very process, with another time of birth, is not alive."""
    folder = tmp_path / "jobs" / "old"
    folder.mkdir(parents=True)
    facts = {"arguments": ["runs"], "progress": "", "started": time.time() - 90}
    for born, state in ((jobs._born(os.getpid()), "running"), ("boot:1", "stopped")):
        own = {"keeper": os.getpid(), "keeper_born": born}
        (folder / "job.json").write_text(json.dumps(facts | own))
        assert jobs.watch("old", tmp_path).state == state
    (folder / "job.json").write_text(json.dumps(facts))
    assert jobs.watch("old", tmp_path).state == "failed"
    assert jobs._born(2**22 + 1) == ""


def test_names_stay_in_their_folder(tmp_path):
    for name in ("../x", "", ".hidden", "a/b"):
        with pytest.raises(UnitscopeError, match="no name for a job"):
            jobs.start(name, ["runs"], tmp_path)
    assert not list(tmp_path.iterdir())


def test_extrapolation_of_an_exact_line():
    for fixed, rate in ((2.0, 0.05), (0.0, 0.3)):
        pieces = [(n, fixed + rate * n) for n in (32, 96)]
        guess, low, high = extrapolate(pieces, 1449)
        assert guess == pytest.approx(fixed + rate * 1449)
        assert low <= guess <= high and low == pytest.approx(rate * 1449)
    guess, low, high = extrapolate([(32, 3.0), (96, 2.5)], 960)
    assert guess == pytest.approx(25) and low < guess
