"""A small graph and a real one."""

from __future__ import annotations

import pytest

from core.knowledge.graph import Graph
from core.knowledge.kinds import open_knowledge
from tests.knowledge.facts import FACTS


@pytest.fixture(scope="module")
def small() -> Graph:
    return Graph.from_edges(FACTS)


@pytest.fixture(scope="session")
def cn100k(data_dir) -> Graph:
    return open_knowledge(f"triples:{data_dir / 'conceptnet' / 'CN-100K'}")
