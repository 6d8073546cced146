"""Graphs that learn a network's answers: what must be learned is, and what cannot be is not."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch

from core.attribution.case import Opened
from core.attribution.effects import measure
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Meter, Stopped
from core.graphs import distil, judge
from core.graphs.distil import ALONE, DISPLACED, GRAPHS, Asked, Lessons, learn
from core.graphs.masked import lessons
from core.graphs.scg import graphs_of
from core.runs.run_file import Run, derived

pytestmark = pytest.mark.slow


@pytest.fixture
def apart(planted_run, tmp_path) -> Run:
    """The planted run where nothing was learned yet."""
    import shutil

    path = tmp_path / planted_run.path.name
    shutil.copy(planted_run.path, path)
    arrays = planted_run.path.with_suffix(".arrays")
    shutil.copytree(arrays, path.with_suffix(".arrays"))
    return Run(path)


def test_a_relation_is_learned_with_edges_and_not_without(judged):
    rows = {row.variant: row for row in judged.rows}
    assert judged.inside.value == 1 and rows[GRAPHS].agreement.low > 0.95
    decided = np.isin(judged.answers, [0, 1])
    for name in (ALONE, DISPLACED):
        assert rows[name].agrees_more.low > 0.15
        graphs = judged.graphs.displaced(0) if name == DISPLACED else judged.graphs
        same = judged.students[name].answers(graphs) == judged.answers
        assert same[decided].mean() < 0.7, "left or right is a guess"
        assert same[~decided].mean() > 0.95, "what a photo shows is plain to see"
    assert rows["majority"].agreement.value == pytest.approx(
        max(np.bincount(judged.answers)) / len(judged.answers), abs=0.1
    )
    assert rows[GRAPHS].accuracy == rows[GRAPHS].agreement, "this network is always right"


def test_it_resumes_and_the_same_seed_gives_the_same(apart, planted_run, judged, monkeypatch):
    asked = replace(judged.student.asked, epochs=7)
    monkeypatch.setattr(distil, "SAVE", 2)
    whole = learn(planted_run, asked)
    steps = []
    with pytest.raises(Stopped, match="graphs: 3 of 7 epochs"):
        learn(apart, asked, GRAPHS, Meter(steps.append), lambda: steps[-1].done >= 3)
    steps.clear()
    again = learn(apart, asked, GRAPHS, Meter(steps.append))
    assert steps[0].done == 0 and steps[1].done == 3, "what was learned is taken up"
    for name, value in whole.module.state_dict().items():
        assert torch.equal(value, again.module.state_dict()[name]), name
    assert again.scale == whole.scale
    other = learn(apart, replace(asked, seed=1))
    assert not torch.equal(other.module.out.weight, whole.module.out.weight)


@pytest.mark.parametrize("harm", ["bytes", "shape", "numbers", "epoch", "moments"])
def test_what_a_stranger_left_is_not_trusted(apart, harm):
    asked = Asked(epochs=2).of(apart)
    first = learn(apart, asked)
    path = derived(apart, "vrx", distil._facts(asked, GRAPHS), "pt")
    held = torch.load(path, weights_only=True)
    if harm == "bytes":
        path.write_bytes(b"PK not a file of weights")
    elif harm == "shape":
        held["module"]["out.weight"] = torch.zeros(3, 3)
    elif harm == "numbers":
        held["module"]["out.weight"][0, 0] = float("nan")
    elif harm == "epoch":
        held["epoch"] = -5
    else:
        held["epoch"] = 1
        held["optimiser"]["state"][0]["exp_avg"] = torch.zeros(1)
    if harm != "bytes":
        torch.save(held, path)
    again = learn(apart, asked)
    assert torch.equal(again.module.out.weight, first.module.out.weight)


def test_masked_photos_are_lessons_of_what_the_network_says_without(planted_run):
    opened = Opened.of(planted_run)
    asked = Asked(masked=True, epochs=2).of(planted_run)
    probe, found = distil.of_interest(planted_run, asked)
    graphs = graphs_of(probe, found.distinct)
    taught = lessons(opened, asked, graphs)
    assert len(taught) == graphs.shown.sum()
    for k in (0, 11, len(taught) - 1):
        case = opened.case(int(graphs.images[taught.rows[k]]))
        row = int(np.flatnonzero(case.regions.ids == graphs.concepts[taught.without[k]])[0])
        after = measure(case, ("mean",), 0).after[0, row]
        assert taught.logits[k] == pytest.approx(after[found.classes], abs=1e-5)
    student = learn(planted_run, asked, masked=partial(lessons, opened, asked))
    plain = learn(planted_run, replace(asked, masked=False))
    assert not torch.equal(student.module.out.weight, plain.module.out.weight)


def test_every_other_photo_is_taught_with_a_concept_masked_out():
    rng = np.random.default_rng(0)
    whole = Lessons(np.arange(400), np.full(400, -1), rng.random((400, 2)))
    rows = np.repeat(np.arange(0, 400, 2), 3)
    masked = Lessons(rows, np.tile([4, 5, 6], 200), 10 + rng.random((600, 2)))
    plain = distil._lessons_of(whole, None, 7, 3)
    assert np.array_equal(np.sort(plain.rows), whole.rows) and (plain.without == -1).all()
    assert np.array_equal(plain.logits, whole.logits[plain.rows])
    told = distil._lessons_of(whole, masked, 7, 3)
    assert np.array_equal(told.rows, plain.rows)
    some = told.without >= 0
    assert (told.rows[some] % 2 == 0).all() and 0.35 < some.sum() / 200 < 0.65
    assert np.bincount(told.without[some])[4:].min() > 15
    for k in range(400):
        if some[k]:
            at = np.flatnonzero((masked.rows == told.rows[k]) & (masked.without == told.without[k]))
            assert np.array_equal(told.logits[k], masked.logits[at[0]])
        else:
            assert np.array_equal(told.logits[k], whole.logits[told.rows[k]])
    assert not np.array_equal(told.without, distil._lessons_of(whole, masked, 7, 4).without)
    assert (whole.without == -1).all()


def test_nothing_is_judged_by_what_it_learned_from(planted_run):
    with pytest.raises(UnitscopeError, match="cannot be judged by it"):
        judge.judge(planted_run, Asked(epochs=1), "train")
    with pytest.raises(UnitscopeError, match="need the network open"):
        learn(planted_run, Asked(masked=True, epochs=3))
    with pytest.raises(UnitscopeError, match="unknown variant"):
        learn(planted_run, Asked(epochs=1), "edges")
    with pytest.raises(UnitscopeError, match="unknown split"):
        learn(planted_run, Asked(learn=("trian",)))
