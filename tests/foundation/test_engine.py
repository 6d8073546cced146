"""Work spread over processes of Ray: every item is done once, whoever dies; answers are small."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from core.foundation import engine
from core.foundation.engine import Do, Item, Workers, small_store
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Meter, Progress, Report, Stop, Stopped

if find_spec("ray") is None:
    pytest.skip("Ray is not installed: pip install ray", allow_module_level=True)
pytestmark = pytest.mark.slow

HERE = "tests.foundation.test_engine:open_here"


def open_here(given: Mapping[str, Any]) -> Do:
    """What workers do below; each says once that it was opened."""
    folder = Path(given["folder"])
    (folder / f"opened-{os.getpid()}-{time.monotonic_ns()}").touch()

    def do(item: tuple[str, int], progress: Report, stop: Stop) -> Any:
        kind, number = item
        mark = folder / f"begun-{kind}-{number}"
        if kind == "poison" or (kind == "once" and not mark.exists()):
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        if kind == "wrong":
            raise UnitscopeError("photo 7 is no photo")
        if kind == "bug":
            raise ZeroDivisionError("by zero")
        if kind == "data":
            return bytes(1 << 20)
        if kind == "slow":
            for k in range(number):
                if stop():
                    mark.touch()
                    raise Stopped("stopped")
                time.sleep(0.1)
                progress(Progress("", k + 1, number, 0, None))
        if kind == "about":
            import torch

            names = ("OMP_NUM_THREADS", "RAY_USAGE_STATS_ENABLED")
            return torch.get_num_threads(), *(os.environ.get(name) for name in names)
        return number**2

    return do


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[Any]:
    """One Ray for all: workers take the one that is there. It is started as workers start it,
    before anybody imports it."""
    with Workers(HERE, {"folder": "."}) as first:
        import ray

        assert ray.is_initialized()
        first._own = False
    yield ray
    ray.shutdown()


def crew(folder: Path, count: int = 2, **how: Any) -> Workers:
    return Workers(HERE, {"folder": str(folder)}, count=count, **how)


def items(kind: str, *numbers: int) -> list[Item]:
    return [Item((kind, k), k, f"item {k}") for k in numbers]


def answers(workers: Workers, asked: list[Item], **how: Any) -> dict[int, Any]:
    meter = Meter(how.get("progress"))
    meter.start("working", sum(item.size for item in asked))
    found = list(workers.each(asked, meter, how.get("stop", lambda: False)))
    assert meter.done == meter.total and len(found) == len(asked)
    return {item.given[1]: answer for item, answer in found}


def test_every_item_is_done_and_each_worker_opens_once(tmp_path):
    with crew(tmp_path) as workers:
        for _ in range(2):
            assert answers(workers, items("plain", *range(1, 20))) == {
                k: k * k for k in range(1, 20)
            }
    assert 1 <= len(list(tmp_path.glob("opened-*"))) <= 2


def test_the_item_of_a_worker_that_was_killed_is_done_by_another(tmp_path):
    told: list[str] = []
    with crew(tmp_path, tell=told.append) as workers:
        asked = [*items("plain", 1, 2, 3), *items("once", 4), *items("plain", 5)]
        assert answers(workers, asked) == {k: k * k for k in range(1, 6)}
    assert [text for text in told if "over item 4; another one takes it up" in text]
    assert len(list(tmp_path.glob("opened-*"))) >= 2


def test_an_item_that_no_worker_survives_ends_the_work(tmp_path):
    told: list[str] = []
    with (
        crew(tmp_path, tell=told.append) as workers,
        pytest.raises(UnitscopeError, match=r"item 3: 4 workers.*fewer --workers"),
    ):
        answers(workers, items("poison", 3))
    assert len(told) == engine.TRIES - 1


@pytest.mark.parametrize(
    ("kind", "error", "words"),
    [
        ("wrong", UnitscopeError, "photo 7 is no photo"),
        ("bug", ZeroDivisionError, "by zero"),
        ("data", ValueError, "no path and no figure"),
    ],
)
def test_what_a_worker_raises_is_raised_here(tmp_path, kind, error, words):
    with crew(tmp_path, 1) as workers, pytest.raises(error, match=words):
        answers(workers, items(kind, 1))


def test_progress_moves_within_an_item_and_a_stop_reaches_it(tmp_path):
    seen: list[int] = []
    with crew(tmp_path, 1) as workers, pytest.raises(Stopped, match="same command resumes"):
        answers(
            workers,
            items("slow", 400),
            progress=lambda p: seen.append(p.done),
            stop=lambda: bool(seen) and seen[-1] >= 10,
        )
    assert max(seen) < 400 and len(set(seen)) > 1 and seen == sorted(seen)
    # At its own safe point, not by being ended.
    assert list(tmp_path.glob("begun-slow-400"))


def test_cores_are_not_oversubscribed(ray, tmp_path, monkeypatch):
    told: list[str] = []
    there = int(ray.cluster_resources()["CPU"])
    with crew(tmp_path, there + 3, tell=told.append) as workers:
        assert workers.count == there and str(there + 3) in told[0]
    with pytest.raises(UnitscopeError, match="no worker fits"), crew(tmp_path, threads=there + 1):
        pass
    with pytest.raises(UnitscopeError, match=r"no worker fits.* 0 GPUs"), crew(tmp_path, gpu=True):
        pass
    for asked, threads in ((None, "1"), ("2", "2")):
        monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
        if asked:
            monkeypatch.setenv("OMP_NUM_THREADS", asked)
        with crew(tmp_path, 1) as workers:
            assert answers(workers, items("about", 1))[1] == (int(threads), threads, "0")


def test_ray_leaves_our_handler_of_sigterm_in_place(ray, tmp_path):
    ray.shutdown()
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        with crew(tmp_path, 1) as workers:
            assert signal.getsignal(signal.SIGTERM) == signal.SIG_IGN
            workers._own = False
    finally:
        signal.signal(signal.SIGTERM, before)


def test_a_stranger_on_this_machine_cannot_hand_it_work(ray, tmp_path):
    """Ray alone lets everybody who can reach its port run code as whoever started it."""
    address = ray.get_runtime_context().gcs_address
    code = f"import ray; ray.init({address!r}, log_to_driver=False); print(ray.nodes())"
    stranger = {k: v for k, v in os.environ.items() if not k.startswith("RAY_AUTH")}
    found = {}
    for name, environment in (("own", dict(os.environ)), ("stranger", stranger)):
        done = subprocess.run(
            [sys.executable, "-c", code],
            env={**environment, "HOME": str(tmp_path)},
            capture_output=True,
            timeout=120,
        )
        found[name] = (done.returncode, b"Alive" in done.stdout)
    assert found["own"] == (0, True) and found["stranger"][1] is False


def test_a_small_shared_memory_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(engine, "SHARED", str(tmp_path))
    assert small_store() == []
    monkeypatch.setattr(engine, "STORE", 1 << 62)
    assert "--shm-size" in small_store()[0]
    monkeypatch.setattr(engine, "SHARED", str(tmp_path / "none"))
    assert small_store() == []


def test_without_ray_the_command_that_installs_it_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(UnitscopeError, match=r"pip install ray|which fails"):
        crew(tmp_path)
