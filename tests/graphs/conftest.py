"""Runs that the tests of graphs share."""

from __future__ import annotations

import pytest

from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation.settings import Settings
from core.graphs.distil import Asked
from core.graphs.judge import Judged, judge
from core.graphs.scg import Graphs
from tests.graphs import planted
from tests.graphs.by_loops import made_graphs


@pytest.fixture(scope="session")
def planted_run(tmp_path_factory):
    """A finished run of tests/graphs/planted.py's network on its drawn folder."""
    root = tmp_path_factory.mktemp("planted")
    folder = planted.write_folder(root / "photos")
    settings = Settings(f"folder:{folder}", planted.SPEC, q=0.05, shuffles=0)
    return execute(plan(settings), root / "runs", threads=1)


@pytest.fixture(scope="session")
def judged(planted_run) -> Judged:
    """Graphs and controls of it, learned and judged."""
    return judge(planted_run, Asked(epochs=60))


@pytest.fixture
def graphs() -> Graphs:
    """Made-up graphs of tests/graphs/by_loops.py."""
    return made_graphs()
