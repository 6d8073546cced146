"""What several test modules use."""

from __future__ import annotations

import functools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from core.views.runs import resolve
from core.views.units import has_maps
from tests.browsing import FLAGS

LONGEST = (
    "models/test_architectures.py",
    "test_golden.py",
    "pages/test_access.py",
    "pages/test_browser.py",
    "pages/test_browser_runs.py",
    "dissect/test_spread.py",
    "dissect/test_run.py",
    "dissect/test_elsewhere.py",
    "foundation/test_engine.py",
    "foundation/test_stores.py",
    "pages/test_browser_explain.py",
    "reproduce/test_reproduce.py",
    "pages/test_retrain_page.py",
    "pages/test_faults.py",
    "foundation/test_jobs.py",
    "models/test_backbones.py",
)
"""Files that take longest, which are begun first: at the end no process waits for another.
test_golden.py is among the first because it compiles kernels that many others use."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that read the real data sets are marked so; the longest files come first."""
    for item in items:
        if "data_dir" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.real)
    order = {Path(__file__).parent / name: at for at, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real data sets (NYUv2, ADE20K's index, …), which are not part of the repository.

    At UNITSCOPE_DATA, by default ``shared/data`` beside the repository's folder.
    """
    root = Path(__file__).resolve().parents[1]
    path = Path(os.environ.get("UNITSCOPE_DATA") or root.parent / "shared" / "data")
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing, and in CI these tests always run")
        pytest.skip("real data not found: set UNITSCOPE_DATA to the folder that holds nyuv2/, …")
    return path


SHARED: list[Any] = []
"""Runs of this process's whole session."""


@pytest.fixture(autouse=True, scope="module")
def nothing_kept_by_others() -> Iterator[None]:
    """What one file's tests left beside a shared run (finished rounds, features) is gone before the
    next file: no test passes or fails by which files its process had before."""
    yield
    for run in SHARED:
        shutil.rmtree(run.path.with_suffix(".derived"), ignore_errors=True)


@pytest.fixture(scope="session")
def tiny_run(tmp_path_factory):
    """A finished run of tests/tiny.py's network on its drawn folder: two layers, 150 images."""
    from core.dissect.pipeline import execute
    from core.dissect.plan import plan
    from core.foundation.settings import Settings
    from tests import tiny

    root = tmp_path_factory.mktemp("tiny")
    folder = tiny.write_folder(root / "photos")
    settings = Settings(
        f"folder:{folder}",
        tiny.SPEC,
        layers=("body.1", "body.3"),
        q=0.05,
        shuffles=3,
        map_type="float16",
    )
    SHARED.append(execute(plan(settings), root / "runs"))
    return SHARED[-1]


@pytest.fixture(scope="session")
def planted(tmp_path_factory):
    """A finished run of tests/directions/planted.py: what its network rests on is known."""
    from core.dissect.pipeline import execute
    from core.dissect.plan import plan
    from core.foundation.settings import Settings
    from tests.directions import planted as world

    root = tmp_path_factory.mktemp("planted")
    folder = world.write_folder(root / "photos")
    settings = Settings(
        f"folder:{folder}", world.SPEC, layers=("body.1", "body.3"), q=0.03, shuffles=1
    )
    SHARED.append(execute(plan(settings), root / "runs", threads=1))
    return SHARED[-1]


@pytest.fixture(autouse=True, scope="session")
def packages_looked_at_once() -> Iterator[None]:
    """Streamlit's AppTest asks every installed package for components of its own, for each page
    anew: four fifths of the time of a page. Nothing is installed meanwhile."""
    from streamlit.components.v2 import manifest_scanner

    with pytest.MonkeyPatch.context() as patch:
        once = functools.cache(manifest_scanner.scan_component_manifests)
        patch.setattr(manifest_scanner, "scan_component_manifests", once)
        yield


@pytest.fixture
def owner(monkeypatch) -> None:
    """The visitor of Streamlit's AppTest, which has no cookies, is the owner; the cookie itself
    is tested in real browsers (tests/pages/test_access.py)."""
    from pages.parts import access

    monkeypatch.setattr(access, "who", lambda: "owner")


@pytest.fixture(autouse=True)
def kept_beside() -> Iterator[None]:
    """Pages of a read-only server say of the whole process that nothing is kept beside runs."""
    from core.runs.kept import keep_apart

    yield
    keep_apart(False)


@pytest.fixture(scope="module")
def facts_without_effect() -> Iterator[None]:
    """The drawn things of tests/tiny.py are in no graph, which is an error unless it is allowed."""
    from core.foundation.errors import allow_empty

    with allow_empty(lambda why: None):
        yield


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """The system's Chromium. On a CI machine its absence is a failure, elsewhere a skip."""
    found = shutil.which("chromium") or shutil.which("chromium-browser")
    if not found:
        why = "no Chromium found: apt-get install chromium"
        if os.environ.get("CI"):
            pytest.fail(why)
        pytest.skip(why)
    from playwright.sync_api import sync_playwright

    with sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=FLAGS)
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def study(tiny_run):
    """The last layer of `tiny_run`, with facts of its drawn things."""
    from core.ablation.protocols import Study
    from core.ablation.toggler import prepare
    from tests.ablation.networks import tiny_graph

    return Study.of(prepare(tiny_run), tiny_graph())


@pytest.fixture
def facts(tmp_path) -> str:
    """The SPEC of a graph that knows the drawn things of tests/tiny.py."""
    path = tmp_path / "facts.tsv"
    things = [f"thing {k}" for k in range(1, 5)] + ["piece 6", "piece 7"]
    lines = [f"AtLocation\t{thing}\t{place}" for thing in things for place in ("attic", "barn")]
    lines += ["IsA\tthing 1\tthing 2", "IsA\tthing 3\tthing 4", "PartOf\tpiece 6\tthing 1"]
    path.write_text("\n".join(lines) + "\n")
    return f"triples:{path}"


@pytest.fixture(scope="session")
def two_runs(tmp_path_factory) -> Path:
    """The folder of tests/two_runs.py; to be copied, not written to."""
    from tests.two_runs import make

    return make(tmp_path_factory.mktemp("two"))


@pytest.fixture(scope="module")
def root(two_runs, tmp_path_factory) -> Path:
    """The module's own copy of the two runs."""
    return shutil.copytree(two_runs, tmp_path_factory.mktemp("copy") / "cache")


@pytest.fixture(scope="module")
def run(root):
    """The newest of `root`: two layers, with maps."""
    from core.runs.run_file import Run

    return Run(resolve(None, root))


@pytest.fixture(scope="module")
def bare(root):
    """The other: one layer, without maps and without shuffles."""
    from core.runs.run_file import Run
    from tests.two_runs import LAYER

    return next(r for r in map(Run, root.glob("*.duckdb")) if not has_maps(r, LAYER))


@pytest.fixture(scope="module")
def known(run):
    """The graph of `run`, joined to its names."""
    from core.views import knowledge

    spec = run.own_knowledge
    return knowledge.know(run, knowledge.open_knowledge(spec), spec)


@pytest.fixture
def cache(monkeypatch, root) -> Path:
    """`root`, where the app looks for runs."""
    monkeypatch.setenv("UNITSCOPE_CACHE", str(root))
    return root
