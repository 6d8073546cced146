"""Learned concepts, metrics and accounts, against literal set-based references."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.errors import UnitscopeError
from core.explain.learned import learned_concepts, select, stand_in_concepts, unit_ious
from core.explain.metrics import (
    METRICS,
    consistency,
    difference,
    explain_predictions,
    similarity,
)

# -- references -----------------------------------------------------------------------------


def select_slow(rows: pd.DataFrame, strategy: str, inclusive: bool) -> set[tuple[int, int, int]]:
    """Ths{·} by loops over images and units."""
    chosen = set()
    table: dict[int, dict[int, dict[int, float]]] = {}
    for r in rows.itertuples():
        table.setdefault(r.image, {}).setdefault(r.unit, {})[r.concept] = r.iou
    for image, units in table.items():
        tau = min(max(values.values()) for values in units.values())
        for unit, values in units.items():
            best = max(values.values())
            for concept, iou in values.items():
                if strategy == "whole_layer":
                    keep = iou > 0
                elif strategy == "highest_iou":
                    keep = concept == min(c for c, v in values.items() if v == best)
                else:
                    keep = iou >= tau if inclusive else iou > tau
                if keep:
                    chosen.add((image, unit, concept))
    return chosen


def explain_slow(learned, core, predicted, target) -> dict[str, float]:
    """Eqs. 3 to 8 with Python sets, image by image."""
    lc = [set(np.flatnonzero(row)) for row in learned]
    cc = [set(np.flatnonzero(row)) for row in core]

    def cm(x, y):
        return len(lc[x] & cc[y]) / len(cc[y])

    def sm(x, y):
        return len(lc[x] & cc[y]) / len(lc[x] | cc[y])

    def dm(x, y):
        return len(lc[x] - cc[y]) / len(cc[y])

    used = [
        x for x in range(len(lc))
        if predicted[x] >= 0 and target[x] >= 0 and cc[predicted[x]] and cc[target[x]] and lc[x]
    ]  # fmt: skip
    false = [x for x in used if predicted[x] != target[x]]
    true = [x for x in used if predicted[x] == target[x]]

    def share(metric):
        wins = [metric(x, predicted[x]) > metric(x, target[x]) for x in false]
        return np.mean(wins) if wins else np.nan

    def mean(metric, images):
        return np.mean([metric(x, target[x]) for x in images]) if images else np.nan

    return {
        "CM_FP": share(cm), "DM_FP": share(dm), "SM_FP": share(sm),
        "CM_TP": mean(cm, true), "CM_TFP": mean(cm, false),
        "SM_TP": mean(sm, true), "SM_TFP": mean(sm, false),
        "n_false": len(false), "n_true": len(true),
    }  # fmt: skip


def world(seed: int, images: int = 30, scenes: int = 5, concepts: int = 7):
    rng = np.random.default_rng(seed)
    learned = rng.random((images, concepts)) < rng.random()
    core = rng.random((scenes, concepts)) < 0.4
    predicted = rng.integers(-1, scenes, images)
    target = np.where(rng.random(images) < 0.4, predicted, rng.integers(-1, scenes, images))
    return learned, core, predicted, target


# -- selection ------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.booleans())
def test_selection_follows_eq_2(seed, inclusive):
    rng = np.random.default_rng(seed)
    every = [(i, u, c) for i in range(4) for u in range(5) for c in range(1, 5)]
    rows = pd.DataFrame(
        [(*p, rng.integers(1, 6) / 10) for p in every if rng.random() < 0.5],
        columns=["image", "unit", "concept", "iou"],
    )
    for strategy in ("whole_layer", "highest_iou", "minmax_threshold"):
        picked, tau = select(rows, strategy, inclusive)
        got = set(zip(picked["image"], picked["unit"], picked["concept"], strict=True))
        assert got == select_slow(rows, strategy, inclusive), strategy
        if strategy == "minmax_threshold":
            for image, value in tau.items():
                part = rows[rows["image"] == image]
                assert value == part.groupby("unit")["iou"].max().min()


def test_learned_concepts_are_those_of_the_run(tiny_run):
    """Without colours and scenes; the union over units; both IoUs; all three strategies."""
    kept = tiny_run.sql("SELECT concept FROM concepts WHERE category NOT IN ('color', 'scene')")
    for iou in ("image", "dataset_normalised"):
        rows = unit_ious(tiny_run, "body.3", iou)
        assert set(rows["concept"]) <= set(kept["concept"]) and (rows["iou"] > 0).all()
        sizes = []
        for strategy in ("whole_layer", "minmax_threshold", "highest_iou"):
            learned = learned_concepts(tiny_run, "body.3", strategy, iou)
            want = {(i, c) for i, _, c in select_slow(rows, strategy, True)}
            image, column = learned.has.nonzero()
            assert {
                (int(learned.images[i]), int(c) + 1) for i, c in zip(image, column, strict=True)
            } == want
            sizes.append(learned.has.sum())
        assert sizes[0] >= sizes[1] >= sizes[2]
    with pytest.raises(UnitscopeError, match="nearest: minmax_threshold"):
        learned_concepts(tiny_run, strategy="minmax")
    with pytest.raises(UnitscopeError, match="unknown IoU"):
        unit_ious(tiny_run, iou="dice")


# -- metrics --------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6))
def test_metrics_equal_the_set_based_reference(seed):
    learned, core, predicted, target = world(seed)
    told = explain_predictions(learned, core, predicted, target, draws=20, shuffles=3)
    slow = explain_slow(learned, core, predicted, target)
    for name in METRICS:
        assert told.figures[name].value == pytest.approx(slow[name], nan_ok=True), name
    assert told.figures["CM_FP"].n == slow["n_false"]
    assert told.figures["CM_TP"].n == slow["n_true"]
    assert slow["n_false"] + slow["n_true"] + sum(told.left_out.values()) == len(learned)


@given(st.integers(0, 10**6))
def test_metrics_keep_their_bounds(seed):
    learned, core, *_ = world(seed)
    core = core[core.any(1)]
    cm, sm, dm = (f(learned, core) for f in (consistency, similarity, difference))
    sizes, own = core.sum(1), learned.sum(1)[:, None]
    assert ((cm >= 0) & (cm <= 1) & (sm <= cm + 1e-12)).all()
    np.testing.assert_allclose(cm * sizes + dm * sizes, np.broadcast_to(own, cm.shape))


def test_intervals_and_chance():
    """Where learned concepts are the core concepts themselves, explanation is certain; where
    they have nothing to do with scenes, chance covers it."""
    rng = np.random.default_rng(0)
    core = np.eye(6, 12, dtype=bool) | np.eye(6, 12, 6, dtype=bool)
    target = rng.integers(0, 6, 400)
    predicted = (target + rng.integers(0, 6, 400)) % 6
    told = explain_predictions(core[predicted], core, predicted, target)
    figure = told.figures["CM_FP"]
    assert figure.value == figure.low == figure.high == 1.0
    assert figure.chance_high < 0.6
    random = rng.random((400, 12)) < 0.3
    figure = explain_predictions(random, core, predicted, target).figures["SM_FP"]
    assert figure.chance_low <= figure.value <= figure.chance_high
    assert figure.low < figure.value < figure.high
    again = explain_predictions(random, core, predicted, target).figures["SM_FP"]
    assert again == figure


def test_mismatched_concepts_are_told():
    with pytest.raises(UnitscopeError, match=r"4 concepts.* 5"):
        consistency(np.ones((1, 4), bool), np.ones((1, 5), bool))


def test_stand_ins_are_the_labels_of_active_units():
    labels = pd.DataFrame({"unit": [0, 2, 2], "concept": [3, 1, 2]})
    active = np.array([[1, 1, 0], [0, 1, 0], [1, 0, 1]], bool)
    assert stand_in_concepts(labels, active, 4).tolist() == [
        [False, False, True, False], [False] * 4, [True, True, True, False],
    ]  # fmt: skip
    with pytest.raises(UnitscopeError, match="unit 2; the maps have 2"):
        stand_in_concepts(labels, active[:, :2], 4)
