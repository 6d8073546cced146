"""Searches for units to disable, step by step against counts."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.toggle import drawn_toggler
from core.ablation import search
from core.ablation.edits import Edit
from core.ablation.toggler import Toggler
from core.foundation.progress import Stopped


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_every_step_of_a_search_counts_exactly(seed):
    rng = np.random.default_rng(seed)
    images, units, classes = (
        int(rng.integers(1, 60)),
        int(rng.integers(2, 9)),
        int(rng.integers(2, 6)),
    )
    drawn = drawn_toggler(images, units, classes, seed)
    # Negative activations and coarse values, so that signs matter and ties occur.
    pooled = np.round(rng.normal(size=(images, units)), 1).astype(np.float32)
    weights = np.round(rng.normal(size=(units, classes)) * 2).astype(np.float32) / 2
    base = np.round(pooled @ weights, 2).astype(np.float32)
    toggler = Toggler.linear(pooled, base, weights, drawn.images, drawn.names)
    linear = search.Linear(toggler, np.arange(images))
    for _ in range(3):
        on = np.flatnonzero(~linear.off)
        off = np.flatnonzero(linear.off)
        for group in (on, off):
            told = linear.right_after_each(group)
            for unit, right in zip(group, told, strict=True):
                change = linear.off.copy()
                change[unit] = not change[unit]
                exact = base.astype(np.float64) - (
                    pooled[:, change].astype(np.float64) @ weights[change]
                )
                gap = exact - exact[np.arange(images), toggler.target][:, None]
                gap[np.arange(images), toggler.target] = -1
                near = (np.abs(gap.max(1)) < 1e-4).sum()
                assert abs(right - (gap.max(1) < 0).sum()) <= near
        linear.step(int(rng.choice(units)))


def test_greedy_takes_the_best_step_and_backward_ends_with_none():
    toggler = drawn_toggler(150, 8, 4, seed=3)
    rows = np.arange(150)
    path = search.greedy_forward(toggler, rows, most=4)
    base = toggler.logits()
    for k in range(4):
        rights = {
            u: (
                (
                    base
                    - toggler.pooled[:, [*path.sets[k], u]] @ toggler.weights[[*path.sets[k], u]]
                ).argmax(1)
                == toggler.target
            ).sum()
            for u in range(8)
            if u not in path.sets[k]
        }
        assert rights[path.sets[k + 1][-1]] == max(rights.values()) == path.right[k + 1]
    assert path.looked == 8 + 7 + 6 + 5
    worst = search.greedy_forward(toggler, rows, most=4, worst=True)
    assert worst.right[-1] < path.right[-1]
    back = search.greedy_backward(toggler, rows)
    assert back.sets[0] == tuple(range(8)) and back.sets[-1] == ()
    assert back.right[-1] == path.right[0]
    for units, right in zip(back.sets, back.right, strict=True):
        after = toggler.predict(Edit(units)).predicted if units else base.argmax(1)
        assert right == (after == toggler.target).sum()
    some = search.greedy_forward(toggler, rows, np.array([2, 5]), most=9)
    assert set(some.sets[-1]) == {2, 5} and some.candidates == 2
    with pytest.raises(Stopped):
        search.greedy_forward(toggler, rows, stop=lambda: True)


def test_a_relaxed_mask_finds_a_unit_that_only_harms():
    toggler = drawn_toggler(300, 6, 4, seed=1)
    noise = np.random.default_rng(2).normal(size=4).astype(np.float32) * 12
    clean = toggler.logits().copy()
    target = clean.argmax(1).astype(np.int32)
    harmed = clean + toggler.pooled[:, [2]] * (noise - toggler.weights[2])
    weights = toggler.weights.copy()
    weights[2] = noise
    clean_without = clean - toggler.pooled[:, [2]] * toggler.weights[2]
    target = clean_without.argmax(1).astype(np.int32)
    images = toggler.images.assign(target=target)
    made = Toggler.linear(toggler.pooled, harmed.astype(np.float32), weights, images, toggler.names)
    rows = np.arange(300)
    for method in search.METHODS:
        path = search.search(made, rows, method, most=2)
        assert 2 in path.best(2), method
        assert path.right[path.sets.index(path.best(2))] > path.right[path.sets.index(())]


def test_halves_are_disjoint_whole_and_stratified():
    scene = np.repeat([0, 1, 2, 3], [10, 7, 2, 1])
    rows = np.arange(20)
    first, second = search.halves(scene, rows, 4)
    assert sorted([*first, *second]) == rows.tolist()
    for y, n in enumerate((10, 7, 2, 1)):
        assert abs((scene[first] == y).sum() - n / 2) <= 0.5
    again = search.halves(scene, rows, 4)
    assert (again[0] == first).all()


def test_comparing_searches_judges_held_out_images_with_random_candidates(study):
    rows = study.rows()
    frame = search.compare(
        study.toggler,
        rows,
        study.scene,
        {"all units": lambda _: None, "three": lambda _: np.array([1, 4, 6])},
        methods=("forward", "backward"),
        most=3,
        repeats=2,
        controls=20,
    )
    names = frame[frame["method"] == "forward"]["candidates"].tolist()
    assert names == ["all units", "three", "random, as many as three"]
    assert frame["n"].eq(len(rows)).all()
    control = frame[frame["candidates"] == "random, as many as three"]
    assert (control["searches"] >= 20).all() and (control["size"] == 3).all()
    assert frame["gain"].between(frame["gain_low"], frame["gain_high"]).all()
    gain = frame.set_index(["method", "candidates"])["gain"]
    for row in frame[frame["candidates"] == "three"].itertuples():
        random = gain[row.method, "random, as many as three"]
        assert row.over_random == pytest.approx(row.gain - random)
        assert row.over_first == pytest.approx(row.gain - gain[row.method, "all units"])
