"""Concepts of classes, and what photos show of them, against loops over pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.foundation.errors import UnitscopeError
from core.foundation.intervals import Z
from core.graphs.distil import Asked, learn
from core.graphs.scg import LEAST, between, graphs_of, hypotheses, least_rise, pairs
from core.labelling.probe import open_probe


@pytest.mark.slow
def test_concepts_are_those_that_go_with_the_logit(planted_run):
    probe = open_probe(planted_run, None, ["train"])
    shown = probe.presence.toarray()
    names = ["attic", "barn", "cellar"]
    logits = np.random.default_rng(0).normal(size=(len(probe), 3)).astype(np.float32)
    logits[:, 1] += shown[:, 2] * 2
    logits[:, 2] -= shown[:, 3] * 2
    logits[:, 0] -= 9  # never the answer
    found = hypotheses(probe, logits, names, 4)
    assert found.names == ("barn", "cellar") and found.classes.tolist() == [1, 2]
    answers, whole = logits.argmax(1), 0
    for c, k in enumerate(found.classes):
        expected = {}
        for concept in range(1, 5):
            own = logits[:, k] - logits.mean(1)
            on, off = own[shown[:, concept]], own[~shown[:, concept]]
            error = np.sqrt(on.var(ddof=1) / len(on) + off.var(ddof=1) / len(off))
            least = on.mean() - off.mean() - Z * error
            if least > 0 and (shown[:, concept] & (answers == k)).sum() >= LEAST:
                expected[concept] = least
        best = sorted(expected, key=lambda one: -expected[one])
        said = found.concepts[c][found.concepts[c] > 0].tolist()
        assert said == best
        assert found.importance[c][: len(best)] == pytest.approx([expected[one] for one in best])
        assert np.isnan(found.importance[c][len(best) :]).all()
        whole += len(best)
    assert found.concepts[0, 0] == 2 and whole >= 2
    for concept, column in zip(found.concepts.ravel(), found.columns.ravel(), strict=True):
        assert (column == -1) if not concept else found.distinct[column] == concept
    assert found.row("cellar") == 1
    with pytest.raises(UnitscopeError, match="unknown class of interest 'attic'"):
        found.row("attic")
    some = hypotheses(open_probe(planted_run, None, ["train"]), logits, names, 1)
    assert np.array_equal(some.concepts, found.concepts[:, :1])
    with pytest.raises(UnitscopeError, match="no annotated concept goes with a higher logit"):
        hypotheses(probe, np.eye(3)[np.arange(len(probe)) % 2], names, 2)


def test_features_are_means_over_the_region(tiny_run):
    probe = open_probe(tiny_run, "body.3", ["test"])
    concepts = np.array([1, 3, 5])
    graphs = graphs_of(probe, concepts)
    maps = np.asarray(tiny_run.array("maps-body.3"), np.float64)
    height, width = maps.shape[2:]
    for row in (0, 7, len(probe) - 1):
        image = int(probe.numbers[row])
        labels = tiny_run.label_maps(image)
        for k, concept in enumerate(concepts):
            mask = (labels == concept).any(0)
            assert graphs.shown[row, k] == mask.any()
            if not mask.any():
                assert (graphs.places[row, k] == 0).all()
                continue
            ys, xs = np.nonzero(mask)
            place = [(xs + 0.5).mean() / mask.shape[1], (ys + 0.5).mean() / mask.shape[0]]
            assert graphs.places[row, k] == pytest.approx(place, abs=1e-6)
            fine = 12  # pixels cut into parts so small that each lies in one cell
            big = np.kron(mask, np.ones((height * fine, width * fine)))
            cover = big.reshape(height, big.shape[0] // height, width, -1).mean((1, 3))
            expected = (maps[image] * cover).sum((1, 2)) / cover.sum()
            assert graphs.features[graphs.at[row, k]] == pytest.approx(expected, rel=1e-4)
    part = graphs_of(probe, concepts, 7, 9)
    assert part.images.tolist() == probe.numbers[7:9].tolist()
    assert np.array_equal(part.places, graphs.places[7:9])
    assert np.array_equal(part.features[part.at[0, 0]], graphs.features[graphs.at[7, 0]])
    with pytest.raises(UnitscopeError, match="not among these photos"):
        part.row(10**6)


def test_displaced_concepts_keep_their_places_and_lose_each_other(tiny_run):
    graphs = graphs_of(open_probe(tiny_run, "body.3", ["test"]), np.array([1, 2]))
    moved = graphs.displaced(0)
    for k in range(2):
        here = graphs.shown[:, k]
        before, after = graphs.places[here, k], moved.places[here, k]
        assert np.array_equal(np.sort(before, 0), np.sort(after, 0))
        assert (before != after).any(1).mean() > 0.8
        assert (moved.places[~here, k] == 0).all()
    assert np.array_equal(moved.places, graphs.displaced(0).places)
    assert moved.features is graphs.features


def test_edges_say_how_their_ends_lie():
    rng = np.random.default_rng(0)
    sender, receiver = rng.random((5, 2)), rng.random((5, 2))
    receiver[0] = sender[0]
    said = between(sender, receiver)
    for k in range(5):
        dx, dy = sender[k] - receiver[k]
        long = np.hypot(dx, dy) or 1.0
        assert said[k] == pytest.approx([dx, dy, dx / long, dy / long])
    assert [[(int(j), int(i)) for j, i in zip(*pairs(n), strict=True)] for n in (2, 3)] == [
        [(1, 0), (0, 1)],
        [(1, 0), (2, 0), (0, 1), (2, 1), (0, 2), (1, 2)],
    ]
    few = least_rise(np.array([[1.0], [0.0], [0.0]]), np.ones((3, 1)))
    assert few.tolist() == [[-np.inf]]


def test_what_no_graph_can_be_made_of(tiny_run, bare):
    probe = open_probe(tiny_run, None, ["train"])
    with pytest.raises(UnitscopeError, match="there are 1 such classes"):
        hypotheses(probe, np.zeros((len(probe), 3)), ["a", "b", "c"], 4)
    for asked, why in (
        (Asked(nodes=1), "two nodes or more"),
        (Asked(epochs=0), "at least one epoch"),
        (Asked(layer="body.9"), "unknown layer of this run"),
    ):
        with pytest.raises(UnitscopeError, match=why):
            asked.of(tiny_run)
    with pytest.raises(UnitscopeError, match="unknown array of this run"):
        graphs_of(open_probe(bare, None), np.array([1]))


@pytest.mark.slow
def test_a_photo_may_show_none_of_the_concepts(planted_run):
    probe = open_probe(planted_run, None, ["test"])
    green = 3
    row = int(np.flatnonzero(~probe.presence.toarray()[:, green])[0])
    graphs = graphs_of(probe, np.array([green]), row, row + 1)
    assert not graphs.shown.any() and graphs.features.shape == (0, 4)
    student = learn(planted_run, Asked(epochs=1))
    none = graphs_of(probe, student.found.distinct, row, row + 1)
    empty = replace(none, at=np.full_like(none.at, -1), features=none.features[:0])
    assert np.isfinite(student.logits(empty)).all()
