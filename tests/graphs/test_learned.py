"""LC(x) and CC(y) of VRX, against contributions one photo at a time."""

from __future__ import annotations

import numpy as np
import pytest

from core.graphs.learned import core_by_graphs, learned_by_graphs
from core.graphs.why import credits
from core.paper import rivals


@pytest.mark.slow
def test_concepts_that_add_to_the_answer_are_learned(judged):
    student, graphs = judged.student, judged.graphs
    learned = learned_by_graphs(student)
    columns = student.found.columns
    names = learned.concepts
    for row in (0, 7, 23):
        image = int(graphs.images[row])
        c = int(np.flatnonzero(student.found.classes == judged.answers[row])[0])
        given = credits(student, graphs, np.array([row]))
        adds: dict[int, float] = {}
        n = student.found.nodes
        for g in range(len(columns)):
            there = [k for k in columns[g] if k >= 0 and graphs.shown[row, k]]
            for i, k in enumerate(columns[g]):
                if k in there:
                    adds[k] = adds.get(k, 0) + given.nodes[0, c, g, i]
            edge = 0
            for i in range(n):
                for j in range(n):
                    if i != j:
                        ends = columns[g, j], columns[g, i]
                        if all(k in there for k in ends):
                            for k in ends:
                                adds[k] = adds.get(k, 0) + given.edges[0, c, g, edge] / 2
                        edge += 1
        expected = {
            student.probe.names[int(graphs.concepts[k])] for k, value in adds.items() if value > 0
        }
        at = int(np.flatnonzero(learned.images == image)[0])
        assert {names[k] for k in learned.has[[at]].toarray()[0].nonzero()[0]} == expected
    assert learned.has.sum() > 0


@pytest.mark.slow
def test_core_concepts_are_the_nodes_of_the_class(judged):
    student = judged.student
    core = core_by_graphs(student)
    scenes = student.run.sql("SELECT name, class FROM scenes ORDER BY scene")
    for row, of in enumerate(scenes["class"]):
        nodes = student.found.concepts[list(student.found.classes).index(int(of))]
        assert set(np.flatnonzero(core[row]) + 1) == set(nodes[nodes > 0])
    rival = rivals.by_graphs(student)
    assert rival.name == "VRX" and np.array_equal(rival.core, core)
    assert f"{student.found.nodes} annotated concepts" in rival.note
