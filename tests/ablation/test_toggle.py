"""Toggling by the closed form: against products, hooks aside, and what a toggle states."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.toggle import compare as compare_exactly
from benchmarks.toggle import drawn_toggler
from core.ablation.edits import Edit
from core.ablation.toggler import Live, Toggler
from core.foundation.errors import UnitscopeError


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_closed_form_is_the_product_of_what_is_left(seed):
    rng = np.random.default_rng(seed)
    images, units, classes = (
        int(rng.integers(1, 40)),
        int(rng.integers(1, 9)),
        int(rng.integers(2, 7)),
    )
    toggler = drawn_toggler(images, units, classes, seed)
    off = rng.choice(units, int(rng.integers(0, units + 1)), replace=False)
    half = len(off) // 2
    edits = [Edit(tuple(off[:half]), float(rng.normal())), Edit(tuple(off[half:]), clamp=0.7)]
    rows = None if rng.random() < 0.5 else rng.permutation(images)[: max(1, images // 2)]
    told = toggler.predict(edits, rows)
    after = toggler.logits_after(edits, rows)
    chosen = np.arange(images) if rows is None else rows
    for j, i in enumerate(chosen):
        features = toggler.pooled[i].astype(np.float64).copy()
        for unit in off[:half]:
            features[unit] *= edits[0].factor
        for unit in off[half:]:
            features[unit] = 0.7
        moved = features - toggler.pooled[i]
        wanted = [
            float(toggler.logits()[i, c]) + sum(moved * toggler.weights[:, c])
            for c in range(classes)
        ]
        assert np.abs(after[j] - wanted).max() < 1e-4
        order = sorted(wanted, reverse=True)
        if order[0] - order[1] > 1e-4:
            assert told.predicted[j] == int(np.argmax(wanted))
        own = wanted[toggler.target[i]]
        sure = all(abs(w - own) > 1e-4 for c, w in enumerate(wanted) if c != toggler.target[i])
        if sure:
            assert told.larger[j] == sum(w > own for w in wanted)


def test_sets_of_every_size_and_single_changes_agree_with_float64():
    toggler = drawn_toggler(301, 70, 33)
    rng = np.random.default_rng(5)
    for size in (1, 3, 4, 5, 20, 64, 70):
        off = tuple(rng.choice(70, size, replace=False).tolist())
        compare_exactly(toggler, off, toggler.predict(Edit(off)).predicted)
    live = Live(toggler, Edit((0, 1)))
    now = {0, 1}
    for _ in range(150):  # past a rebase
        unit = int(rng.integers(70))
        told = live.change(unit, 1.0 if unit in now else 0.0)
        now ^= {unit}
    compare_exactly(toggler, tuple(now), told.predicted)
    assert set(np.flatnonzero(live.scale == 0)) == now


def test_bad_edits_and_empty_sets_are_told():
    toggler = drawn_toggler(10, 6, 3)
    with pytest.raises(UnitscopeError, match="there is no unit 6, -1: the layer has units 0 to 5"):
        toggler.predict(Edit((6, -1)))
    with pytest.raises(UnitscopeError, match="twice"):
        Edit((1, 1))
    with pytest.raises(UnitscopeError, match="two edits"):
        toggler.predict([Edit((1,)), Edit((1,), 0.5)])
    with pytest.raises(UnitscopeError, match="either scaled"):
        Edit((1,), 0.5, clamp=1.0)
    with pytest.raises(UnitscopeError, match="finite"):
        Edit((1,), float("nan"))
    with pytest.raises(UnitscopeError, match="no image was chosen"):
        toggler.toggle(Edit((1,)), rows=np.zeros(0, int))
    with pytest.raises(UnitscopeError, match="unknown split"):
        toggler.toggle(Edit((1,)), splits=["tset"])
    with pytest.raises(UnitscopeError, match="no image is of scene"):
        other = toggler.images.assign(split=["a"] * 5 + ["b"] * 5, scene=["x"] * 5 + ["y"] * 5)
        both = Toggler.linear(
            toggler.pooled, toggler.logits(), toggler.weights, other, toggler.names
        )
        both.toggle(Edit((1,)), scene="x", splits=["b"])


def test_accounts_of_a_toggle_add_up():
    toggler = drawn_toggler(200, 12, 5)
    told = toggler.toggle(Edit((0, 3, 7)))
    target = toggler.target
    before = toggler.logits().argmax(1)
    after = toggler.logits_after(Edit((0, 3, 7))).argmax(1)
    assert told.accuracy[0].right == (before == target).sum()
    assert told.accuracy[1].right == (after == target).sum()
    won, gone = (before != target) & (after == target), (before == target) & (after != target)
    assert told.gained["image"].tolist() == np.flatnonzero(won).tolist()
    assert told.lost["image"].tolist() == np.flatnonzero(gone).tolist()
    assert told.gain.gained - told.gain.lost == told.accuracy[1].right - told.accuracy[0].right
    assert told.scenes["images"].sum() == 200
    for row in told.scenes.itertuples():
        own = target == int(row.scene)
        assert row.right_before == (before[own] == target[own]).sum()
        assert row.right_after == (after[own] == target[own]).sum()
        assert row.shift == pytest.approx((row.right_after - row.right_before) / own.sum())
    cells = pd.crosstab(target, after).sub(pd.crosstab(target, before), fill_value=0).fillna(0)
    for row in told.confusion.itertuples():
        assert row.change == cells.loc[int(row.scene), int(row.predicted)]
    assert told.confusion["change"].abs().sum() == cells.abs().to_numpy().sum()
    top = np.argsort(-toggler.logits_after(Edit((0, 3, 7))), axis=1, kind="stable")[:, :5]
    assert told.top5[1].right == (top == target[:, None]).any(1).sum()
    json.dumps(told.to_json())
