"""Protocols of disabling units: sweeps, cross-fitting, controls."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from core.ablation import curves, protocols
from core.ablation.edits import Edit
from core.ablation.protocols import Disabled, Study
from core.ablation.toggler import prepare
from core.foundation.errors import UnitscopeError
from tests.ablation.networks import tiny_graph


def test_sweeps_disable_each_images_own_units(study):
    toggler = study.toggler
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(150, 40, replace=False))
    orders = np.array([rng.permutation(12)[:5] for _ in rows])
    orders[::7, 2:] = -1
    for k, told in toggler.sweep(rows, orders, [0, 2, 5]):
        for j, row in enumerate(rows):
            off = tuple(u for u in orders[j, :k] if u >= 0)
            alone = toggler.logits_after(Edit(off), np.array([row]))[0]
            top = np.sort(alone)
            if top[-1] - top[-2] > 1e-4:
                assert told.predicted[j] == alone.argmax()


def test_sweeps_of_a_replayed_layer_agree_with_toggling(tiny_run):
    toggler = prepare(tiny_run, "body.1")
    rows = np.arange(10, 90)
    for k, told in toggler.sweep(rows, np.array([[3, 1, 6]]), [1, 3]):
        wanted = toggler.predict(Edit((3, 1, 6)[:k]), rows)
        assert (told.predicted == wanted.predicted).mean() > 0.98


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS)
@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_protocols_change_what_they_say(study, protocol, sign):
    rows = study.rows(["test"])
    right = study.right(rows)
    # Over all predictions: the small network says one scene of everything.
    order = study.order("scc", sign, rows, 4, protocol, "all")
    each = study.orders_of(rows, order, sign, protocol)
    contribution = study.contribution("scc", rows, "all")
    for j, row in enumerate(rows):
        if protocol == "paper" and right[j] != (sign == "positive"):
            assert (each[j] == -1).all()
            continue
        if protocol == "global":
            score = contribution.together()
            wanted = sorted(range(12), key=lambda u: -score[u] if sign == "positive" else score[u])
            wanted = [u for u in wanted if (score[u] > 0) == (sign == "positive") and score[u]][:4]
        else:
            scene = study.scene[row] if protocol == "paper" else study.predicted_scene[row]
            wanted = contribution.ranked(int(scene), sign)["unit"].tolist()[:4]
        assert each[j][each[j] >= 0].tolist() == wanted


def test_curves_state_protocol_and_split_and_keep_the_oracles_bounds(study):
    frame = curves.curves(
        study, protocols=["paper"], at=[1, 3], select=["train"], judge=["test"], seeds=20
    )
    assert set(frame["ranking"]) == set(protocols.RANKINGS)
    assert frame.columns.tolist() == list(curves.COLUMNS)
    assert set(frame["selection"]) == {"train"} and set(frame["judged"]) == {"test"}
    assert (frame["draws"][frame["ranking"] == "random"] == 20).all()
    # The oracle leaves right images alone or wrong ones alone.
    assert (frame["gain"][frame["sign"] == "positive"] <= 0).all()
    assert (frame["gain"][frame["sign"] == "negative"] >= 0).all()
    assert ((frame["low"] <= frame["accuracy"]) & (frame["accuracy"] <= frame["high"])).all()
    again = curves.curves(study, ["random"], ["negative"], ["global"], at=[3], judge=["test"])
    same = curves.curves(study, ["random"], ["negative"], ["global"], at=[3], judge=["test"])
    pd.testing.assert_frame_equal(again, same)


def test_cross_fitting_never_judges_an_image_by_units_chosen_with_it(study, monkeypatch):
    seen = []
    outcomes = Study.outcomes

    def spy(self, asked, selection, judged, *more, **options):
        assert not set(selection) & set(judged)
        seen.append(len(judged))
        return outcomes(self, asked, selection, judged, *more, **options)

    monkeypatch.setattr(Study, "outcomes", spy)
    frame = curves.cross_fitted(
        study, Disabled("icc", "negative", "global"), ["test"], [1, 2], repeats=3
    )
    assert len(seen) == 6 and sum(seen) == 3 * len(study.rows(["test"]))
    assert frame["n"][0] == len(study.rows(["test"]))
    assert "halves of test" in frame["selection"][0]


def test_unknown_names_of_protocols_are_told(study):
    rows = study.rows()
    for arguments, word in (
        (("sccc", "positive", rows), "ranking"),
        (("scc", "plus", rows), "sign"),
        (("scc", "positive", rows, 3, "papers"), "protocol"),
    ):
        with pytest.raises(UnitscopeError, match=f"unknown {word}"):
            study.order(*arguments)
    with pytest.raises(UnitscopeError, match="unknown split"):
        study.rows(["validation"])
    replayed = Study.of(prepare(study.toggler.run, "body.1"), tiny_graph())
    with pytest.raises(UnitscopeError, match="needs a linear head"):
        replayed.order("greedy", "negative", rows)
    frame = curves.curves(replayed, signs=["negative"], at=[2], seeds=2)
    assert not set(frame["ranking"]) & set(protocols.BY_HEAD)


@pytest.mark.parametrize("over", ["true", "all"])
def test_controls_follow_their_definitions(study, over):
    toggler, rows = study.toggler, study.rows()
    used = rows[study.right(rows)] if over == "true" else rows
    logits = toggler.logits(used).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    def order(ranking, sign):
        return study.order(ranking, sign, rows, 12, over=over)

    for y in range(3):
        size = np.abs(toggler.weights[:, y])
        assert (np.diff(size[order("weight", "positive")[y]]) <= 0).all()
        own = np.flatnonzero(study.scene[used] == y)
        if not len(own):
            assert over == "true" and (order("mean_activation", "negative")[y] == -1).all()
            continue
        activation = toggler.pooled[used[own]].mean(0)
        assert (np.diff(activation[order("mean_activation", "negative")[y]]) <= 1e-7).all()
        value = np.zeros(12)
        for j in own:
            for u in range(12):
                slope = toggler.weights[u, y] - (shares[j] * toggler.weights[u]).sum()
                value[u] += toggler.pooled[used[j], u] * slope
        for sign, turn in (("positive", -1), ("negative", 1)):
            got = order("gradient_activation", sign)[y]
            assert (np.diff(turn * value[got]) >= -1e-5).all()
