"""Contributions of nodes and edges: exact, against loops, and true where the truth is planted."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

import core
from core.attribution import judged as tested
from core.attribution.case import Opened
from core.attribution.methods import METHODS
from core.attribution.truth import hold_against_truth
from core.cli import main
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import spread
from core.graphs import distil, why
from core.graphs.distil import ALONE, Student
from core.graphs.network import batch_of
from core.graphs.scg import Hypotheses, pairs
from core.graphs.why import INPUT, LAST, by_concept, class_graphs, credits, explain, unready, vrx
from core.runs.run_file import Run
from tests.graphs.by_loops import COLUMNS, NODES, PHOTOS, by_loops, made
from tests.graphs.planted import CLASSES, NAMES


def student_of(module: torch.nn.Module, logits: np.ndarray) -> Student:
    """A student of made-up graphs."""
    found = Hypotheses(np.arange(3), ("a", "b", "c"), COLUMNS + 1, np.ones(COLUMNS.shape))
    run = SimpleNamespace(array=lambda name: logits)
    return Student(run, None, "graphs", found, 1.0, module)  # type: ignore[arg-type]


@pytest.fixture
def logits() -> np.ndarray:
    return np.random.default_rng(5).normal(size=(PHOTOS, 3)).astype(np.float32)


@pytest.mark.parametrize("relations", [True, False])
def test_contributions_of_the_last_features_add_up(graphs, logits, relations):
    module = made(relations)
    student = student_of(module, logits)
    given = credits(student, graphs)
    whole = given.nodes.sum((2, 3)) + given.edges.sum((2, 3)) + given.bias
    assert whole == pytest.approx(given.logits, abs=1e-5)
    assert np.abs(given.logits).sum(1) == pytest.approx(np.abs(logits).sum(1), rel=1e-5)
    ends = len(pairs(NODES)[0]) if relations else 0
    for photo in (2, 5):
        said, embedded = by_loops(module, graphs, photo, 1.0)
        unit = np.abs(logits[photo]).sum() / np.abs(said).sum()
        assert given.bias[photo] == pytest.approx(module.out.bias.detach() * unit, abs=1e-5)
        for c in range(3):
            at, weights = 0, module.out.weight[c].detach().numpy()
            for k, part in enumerate(embedded):
                graph, place = divmod(k, NODES + ends)
                adds = float(weights[at : at + len(part)] @ part) * unit
                at += len(part)
                held = (
                    given.nodes[photo, c, graph, place]
                    if place < NODES
                    else given.edges[photo, c, graph, place - NODES]
                )
                assert adds == pytest.approx(held, abs=1e-5)


def test_contributions_of_what_goes_in_are_gradients_by_small_differences(graphs, logits):
    module = made().double()
    student = student_of(module, logits)
    module.float()
    given = credits(student, graphs, np.array([3]), INPUT)
    batch = batch_of(graphs, COLUMNS, np.array([3]), 1.0)
    module.double()
    features, edges = batch.features.double()[batch.nodes], batch.edges.double()
    flat = torch.arange(features[..., 0].numel()).reshape(batch.nodes.shape)

    def logit(nodes: torch.Tensor, between: torch.Tensor) -> torch.Tensor:
        with torch.no_grad():
            return module(type(batch)(nodes.flatten(0, 2), flat, between))[0]

    plain = logit(features, edges)
    unit = np.abs(logits[3]).sum() / float(plain.abs().sum())
    for c, graph, place in ((0, 0, 1), (2, 1, 0), (1, 2, 3)):
        for step in (1e-6,):
            more = features.clone()
            more[0, graph, place] *= 1 + step
            slope = float((logit(more, edges) - plain)[c]) / step
            assert given.nodes[0, c, graph, place] == pytest.approx(slope * unit, abs=1e-4)
            more = edges.clone()
            more[0, graph, place] *= 1 + step
            slope = float((logit(features, more) - plain)[c]) / step
            assert given.edges[0, c, graph, place] == pytest.approx(slope * unit, abs=1e-4)
    module.float()
    with pytest.raises(UnitscopeError, match="unknown side"):
        credits(student, graphs, None, "middle")


def test_a_concept_gets_its_nodes_and_half_its_edges(graphs, logits):
    student = student_of(made(), logits)
    given = credits(student, graphs)
    ends = list(zip(*pairs(NODES), strict=True))
    for photo in range(PHOTOS):
        expected = np.zeros(graphs.at.shape[1])
        for g in range(3):
            there = [k >= 0 and graphs.shown[photo, k] for k in COLUMNS[g]]
            for i in range(NODES):
                if there[i]:
                    adds = given.nodes[photo, :, g, i]
                    expected[COLUMNS[g, i]] += adds[2] - adds[0]
            for e, (j, i) in enumerate(ends):
                if there[j] and there[i]:
                    adds = given.edges[photo, :, g, e]
                    for end in (j, i):
                        expected[COLUMNS[g, end]] += (adds[2] - adds[0]) / 2
        said = by_concept(student, graphs, photo, 2, 0)
        assert said == pytest.approx(expected, abs=1e-6)
        assert by_concept(student, graphs, photo, 0, 2) == pytest.approx(-said)
        alone = by_concept(student, graphs, photo, 2, 7) - by_concept(student, graphs, photo, 0, 7)
        assert alone == pytest.approx(said), "a class of no interest adds nothing"


# -- where one relation decides ---------------------------------------------------------------


@pytest.mark.slow
def test_why_points_to_the_relation_that_decides(judged):
    student, graphs, answers = judged.student, judged.graphs, judged.answers
    concepts = [[judged.probe.names[k] for k in row] for row in student.found.concepts]
    assert all({"red", "blue", "green"} <= set(row) for row in concepts[:2]), concepts
    senders, receivers = pairs(student.found.nodes)
    for side in (INPUT, LAST):
        given = credits(student, graphs, None, side)
        turn = {}
        for g in (0, 1):
            for kind, parts in (("node", given.nodes), ("edge", given.edges)):
                toward = parts[:, 0, g] - parts[:, 1, g]
                turned = toward[answers == 0].mean(0) - toward[answers == 1].mean(0)
                for k, value in enumerate(turned):
                    ends = (k,) if kind == "node" else (senders[k], receivers[k])
                    what = frozenset(concepts[g][end] for end in ends)
                    turn[what] = turn.get(what, 0.0) + value
        edges = {what: value for what, value in turn.items() if len(what) == 2}
        assert max(edges, key=edges.get) == {"red", "blue"}, side
        second = sorted(np.abs(list(edges.values())))[-2]
        assert edges[frozenset({"red", "blue"})] > 2 * second
        if side == INPUT:
            assert max(turn, key=turn.get) == {"red", "blue"}


@pytest.mark.slow
def test_graphs_of_classes_are_means_over_photos(judged):
    student, graphs, answers = judged.student, judged.graphs, judged.answers
    nodes, edges = class_graphs(student, graphs, answers, "left", "right")
    assert set(nodes["graph"]) == {"left", "right"}
    given, names = credits(student, graphs), judged.probe.names
    found = student.found
    for row in nodes.itertuples():
        g = found.names.index(row.graph)
        i = [names[k] for k in found.concepts[g]].index(row.concept)
        toward = given.nodes[:, 0, g, i] - given.nodes[:, 1, g, i]
        assert (row.adds, row.low, row.high) == pytest.approx(spread(toward[answers == 0]))
        assert row.other == pytest.approx(toward[answers == 1].mean())
        column = found.columns[g, i]
        assert row.shown == pytest.approx(graphs.shown[answers == 0, column].mean())
    pair = edges[(edges["of"] == "red") & (edges["to"] == "blue")].iloc[0]
    assert pair.dx < -0.2 and pair.low > 0 > pair.other_high and pair.shown == 1
    alone, no_edges = class_graphs(judged.students[ALONE], graphs, answers, "left")
    assert set(alone["graph"]) == {"left"} and not len(no_edges)
    for scene, other, said in (
        ("left", "left", "compared with itself"),
        ("lift", None, "unknown class of interest"),
    ):
        with pytest.raises(UnitscopeError, match=said):
            class_graphs(student, graphs, answers, scene, other)
    with pytest.raises(UnitscopeError, match="answers left to 0 of the judged photos"):
        class_graphs(student, graphs, np.full(len(answers), 2), "left")


@pytest.mark.slow
def test_one_photo_is_explained(judged):
    student, graphs = judged.student, judged.graphs
    row = int(np.flatnonzero(judged.answers == 0)[0])
    found = explain(student, graphs, row)
    assert (found.answer, found.scene, found.a, found.said) == ("left",) * 4
    assert found.b in ("right", "neither")
    told = explain(student, graphs, row, "left", "right")
    assert told.margin[1] == pytest.approx(told.rest + sum(g.margin for g in told.graphs))
    assert told.margin[0] > 0 and told.margin[1] > 0
    first = told.graphs[0]
    assert first.own == pytest.approx(
        sum(n.own for n in first.nodes) + sum(e.own for e in first.edges) + _unnamed(judged, row),
        abs=1e-6,
    )
    edge = next(e for e in first.edges if (e.of, e.to) == ("red", "blue"))
    assert edge.shown and edge.dx < 0
    assert {name for name, _ in told.concepts} <= set(NAMES)
    with pytest.raises(UnitscopeError, match="why left and not left"):
        explain(student, graphs, row, "left", "left")


def _unnamed(judged, row: int) -> float:
    """What places without a concept add to the class of their graph, of class left."""
    given = credits(judged.student, judged.graphs, np.array([row]))
    empty = judged.student.found.columns[0] < 0
    senders, receivers = pairs(judged.student.found.nodes)
    none = empty[senders] | empty[receivers]
    return float(given.nodes[0, 0, 0][empty].sum() + given.edges[0, 0, 0][none].sum())


# -- as a method, and from the command line ---------------------------------------------------


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(distil, "EPOCHS", 60)
    # A default is read where the class is made.
    monkeypatch.setattr(distil.Asked.__init__, "__defaults__", (None, 4, (), (), False, 60, 0))


@pytest.mark.slow
def test_it_is_a_method_of_attribution(planted_run, judged, quick, monkeypatch):
    opened = Opened.of(planted_run)
    row = int(np.flatnonzero(judged.answers == 0)[0])
    case = opened.case(int(judged.graphs.images[row]))
    said = METHODS.row("vrx").ask(case, 0, 1)
    expected = by_concept(judged.student, judged.graphs, row, 0, 1)
    at = judged.graphs.concepts.tolist()
    for k, concept in enumerate(case.regions.ids.tolist()):
        value = expected[at.index(concept)] if concept in at else 0.0
        assert said[k] == pytest.approx(value, abs=1e-5)
    by_input = METHODS.row("vrx-input").ask(case, 0, 1)
    assert by_input != pytest.approx(said)
    some = replace(case, regions=case.regions.only(np.array([1])))
    assert vrx(some, 0, 1) == pytest.approx(said[[1]])
    assert unready(opened) == ""
    with monkeypatch.context() as patch:
        patch.setattr(why, "SOON", 10)
        assert unready(opened) == "", "they were learned above"
        patch.setattr(distil.Asked.__init__, "__defaults__", (None, 4, (), (), False, 61, 0))
        assert f"python -m core vrx {planted_run.digest}" in unready(opened)
    found = hold_against_truth(opened, tested.Asked(("vrx", "vrx-masked"), "test", 8, "mean"))
    assert [one.method for one in found.rows if one.answers == "right"] == ["vrx", "random"]
    assert "takes concepts out by 'mean'" in found.not_judged["vrx-masked"]


@pytest.mark.slow
def test_it_is_true_where_the_graphs_answer_as_the_network(planted_run, judged, quick):
    found = hold_against_truth(Opened.of(planted_run), tested.Asked(("vrx*", "area"), "test", 40))
    for name in ("vrx", "vrx-input"):
        rank = found.figure(name, "rank", "right")
        assert rank.low > 0.5 > found.figure("area", "rank", "right").high
        assert found.figure(name, "sign", "right").low > 0.8
        assert found.figure(name, "distraction", "right").low > 0.8


@pytest.mark.slow
def test_the_verb_says_all(planted_run, judged, quick, capsys):
    root = str(planted_run.path.parent)
    words = ["vrx", planted_run.digest, "--out", root, "--epochs", "60"]
    photo = judged.probe.images["id"].iloc[int(np.flatnonzero(judged.answers == 0)[0])]
    assert main([*words, "--scene", "left", "--against", "right", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert [one["scene"] for one in facts["classes"]] == list(CLASSES)
    assert facts["rows"][0]["agreement"]["value"] == judged.rows[0].agreement.value
    assert {one["graph"] for one in facts["edges"]} == {"left", "right"}
    assert main([*words, "--image", photo, "--against", "right"]) == 0
    text = capsys.readouterr().out
    assert "why left? Its graph adds" in text and "why not right?" in text
    assert "red → blue" in text and "nodes alone" in text
    assert main([*words, "--scene", "left"]) == 0
    assert "in photos answered left and in all others" in capsys.readouterr().out
    for more, said in (
        (["--against", "left"], "name one of them"),
        (["--scene", "lift"], "unknown class of interest 'lift'"),
        (["--image", "9999.png"], "unknown image of this run"),
        (["--category", "part"], "unknown category"),
    ):
        assert main([*words, *more]) == 2
        assert said in capsys.readouterr().err


def test_runs_without_graphs_say_why(tiny_run, tmp_path):
    # A copy: what is kept beside the run of all tests, other tests find there.
    shutil.copy(tiny_run.path, tmp_path)
    (tmp_path / tiny_run.arrays.name).symlink_to(tiny_run.arrays)
    opened = Opened.of(Run(tmp_path / tiny_run.path.name))
    said = unready(opened)
    assert "there are 1 such classes" in said
    assert METHODS.row("vrx").unready(opened) == said
    assert METHODS.row("area").unready(opened) == ""
    found = hold_against_truth(opened, tested.Asked(("vrx",), "test", 3, "mean"))
    assert found.not_judged["vrx"] == said


@pytest.mark.slow
def test_python_gives_what_the_verb_gives(planted_run, judged):
    found = core.open_run(planted_run.path).vrx(epochs=60)
    assert [row.agreement for row in found.rows] == [row.agreement for row in judged.rows]
    assert found.rows[0].variant == "graphs"
