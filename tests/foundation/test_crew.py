"""Effects, embeddings and masks by workers of Ray: the bytes of one process, whoever is killed."""

from __future__ import annotations

import hashlib
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import torch

from core.annotate.annotate import Asked as How
from core.annotate.annotate import annotate
from core.annotate.segment import Label, load_segmenter
from core.attribution.case import Opened
from core.attribution.measured import Asked, measure_splits, measure_spread, read_splits
from core.cli import main
from core.foundation import engine
from core.foundation.engine import Crew, Workers
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Progress, Stopped
from core.knowledge.kinds import open_knowledge
from core.merging import fuse
from core.merging.embed import open_embedding, training
from core.models.threads import torch_threads
from core.runs.run_file import Run
from tests.annotate.test_annotate import write_photos

if find_spec("ray") is None:
    pytest.skip("Ray is not installed: pip install ray", allow_module_level=True)
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", autouse=True)
def ray() -> Iterator[Any]:
    """One Ray for all."""
    with Workers("", {}) as first:
        import ray

        first._own = False
    yield ray
    ray.shutdown()


@pytest.fixture
def killer(monkeypatch) -> tuple[Callable[[Progress], None], list[int]]:
    """A `progress` that kills the first worker which has something in hand, and whom it killed."""
    crews: list[Workers] = []
    killed: list[int] = []
    each = engine.Workers.each

    def spied(self: Workers, *given: Any) -> Any:
        crews.append(self)
        return each(self, *given)

    monkeypatch.setattr(engine.Workers, "each", spied)

    def kill(_: Progress) -> None:
        busy = [h for h in crews[-1]._hands if h.item is not None and h.where] if crews else []
        if busy and not killed:
            killed.append(int(busy[0].where.split()[0]))
            assert killed[0] != os.getpid()
            os.kill(killed[0], signal.SIGKILL)

    return kill, killed


def digests(folder: Path, pattern: str) -> dict[str, str]:
    """Name → SHA-256 of the files below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob(pattern))
        if path.is_file()
    }


def copied(run: Run, to: Path) -> Run:
    """The run alone, without what was kept beside it."""
    to.mkdir()
    shutil.copy(run.path, to)
    shutil.copytree(run.arrays, to / run.arrays.name)
    return Run(to / run.path.name)


def taken_up(told: list[str], killed: list[int]) -> bool:
    return any(f"worker {killed[0]} on" in text and "another" in text for text in told)


ASKED = Asked(("mean",), controls=2, splits=("test",))


def test_effects_by_workers_are_those_of_one_process(tiny_run, tmp_path, killer):
    kill, killed = killer
    one, many = copied(tiny_run, tmp_path / "one"), copied(tiny_run, tmp_path / "many")
    with torch_threads(1):
        here = measure_splits(Opened.of(one), ASKED)
    told: list[str] = []
    seen: list[Progress] = []

    def look(progress: Progress) -> None:
        seen.append(progress)
        kill(progress)

    there = measure_spread(many, ASKED, Crew(2, tell=told.append), look)
    assert killed and taken_up(told, killed)
    assert seen[-1].done == seen[-1].total == 75
    assert there.rows.equals(here.rows) and there.after.tobytes() == here.after.tobytes()
    made = digests(many.path.with_suffix(".derived"), "effects-*.npz")
    assert made == digests(one.path.with_suffix(".derived"), "effects-*.npz") and len(made) == 5


def test_effects_that_are_there_need_no_worker_and_missing_ones_are_made(tiny_run, tmp_path):
    run = copied(tiny_run, tmp_path / "run")
    with torch_threads(1):
        whole = measure_splits(Opened.of(run), ASKED)
    kept = sorted(run.path.with_suffix(".derived").glob("effects-*.npz"))
    before = digests(kept[0].parent, "effects-*.npz")
    kept[2].unlink()
    kept[3].write_bytes(b"cut")
    assert read_splits(run, ASKED) is None
    stamps = [kept[k].stat().st_mtime_ns for k in (0, 1, 4)]
    again = measure_spread(run, ASKED, Crew(1))
    assert again.after.tobytes() == whole.after.tobytes()
    assert [kept[k].stat().st_mtime_ns for k in (0, 1, 4)] == stamps
    assert digests(kept[0].parent, "effects-*.npz") == before
    with pytest.raises(Stopped):
        measure_spread(run, Asked(("noise",), 0, splits=("test",)), Crew(1), stop=lambda: True)


def test_embeddings_by_workers_are_those_of_one_process(tiny_run, tmp_path, facts, killer):
    """Those of many settings: each is one worker's, with its state kept where it was killed."""
    kill, killed = killer
    run = copied(tiny_run, tmp_path / "many")
    hows = [
        training(name, dim=8, epochs=6, patience=0, seed=seed)
        for name in ("TransE", "DistMult")
        for seed in (0, 1)
    ]
    sub = fuse.Space(run, open_knowledge(facts)).sub
    told: list[str] = []
    fuse.train_spread(run, facts, None, hows, Crew(2, tell=told.append), kill)
    assert killed and taken_up(told, killed)
    folder = run.path.parent / "embeddings"
    made = digests(folder, "*")
    assert len(made) == 4  # and no state is left
    for how in hows:
        open_embedding(sub, how, tmp_path / "one")
    assert made == digests(tmp_path / "one", "*")
    # They are there: no worker is asked for.
    fuse.train_spread(run, facts, None, hows, Crew(2), kill)
    assert digests(folder, "*") == made


LABELS = [Label(f"thing {k}") for k in range(21)]


@pytest.fixture(scope="module")
def segmenter(tmp_path_factory) -> str:
    """The SPEC of a small segmentation network of torchvision, its weights from a seed."""
    from torchvision.models.segmentation import lraspp_mobilenet_v3_large

    torch.manual_seed(0)
    file = tmp_path_factory.mktemp("net") / "net.pt"
    module = lraspp_mobilenet_v3_large(weights=None, weights_backbone=None, num_classes=21)
    torch.save(module.state_dict(), file)
    return f"torchvision:lraspp_mobilenet_v3_large:{file}"


def test_masks_by_workers_are_those_of_one_process(segmenter, tmp_path, killer):
    kill, killed = killer
    sizes = {f"{'attic' if k % 2 else 'barn'}/{k:02}.png": (64, 48) for k in range(40)}
    photos = write_photos(tmp_path / "photos", sizes)
    (photos / "barn" / "00.png").write_bytes((photos / "barn" / "00.png").read_bytes()[:90])
    network = load_segmenter(segmenter, LABELS, side=48)
    with torch_threads(1):
        one = annotate(photos, network, tmp_path / "one", How(threads=1))
    told: list[str] = []
    crew = Crew(2, tell=told.append)
    many = annotate(photos, network, tmp_path / "many", crew=crew, progress=kill)
    assert killed and taken_up(told, killed)
    assert digests(tmp_path / "many", "*") == digests(tmp_path / "one", "*")
    assert many.written + many.there == one.written == 39
    assert many.problems == one.problems and len(one.problems) == 1
    # All is there: no worker is asked for, as a second call in one process makes none.
    again = annotate(photos, network, tmp_path / "many", crew=crew)
    assert (again.written, again.there) == (0, 39)


def test_a_worker_with_another_network_refuses(segmenter, tmp_path):
    photos = write_photos(tmp_path / "photos", {"attic/1.png": (64, 48)})
    network = load_segmenter(segmenter, LABELS, side=48)
    with torch.no_grad():
        next(network.module.parameters()).add_(1)
    with pytest.raises(UnitscopeError, match="is another network on"):
        annotate(photos, network, tmp_path / "out", crew=Crew(1))


@pytest.mark.parametrize(
    "given",
    [
        ["reliance", "latest"],
        ["embed", "latest"],
        ["annotate", "photos", "--model", "torchvision:deeplabv3_resnet50:random", "--to", "out"],
    ],
)
def test_workers_without_an_engine_are_refused(tiny_run, tmp_path, monkeypatch, capsys, given):
    monkeypatch.chdir(tmp_path)
    write_photos(tmp_path / "photos", {"attic/1.png": (64, 48)})
    where = [] if given[0] == "annotate" else ["--out", str(tiny_run.path.parent)]
    assert main([*given, *where, "--workers", "2"]) == 2
    assert "--engine ray: give it" in capsys.readouterr().err
