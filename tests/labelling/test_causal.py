"""Causal scores against a slow reference, on removals that are made up and on real ones."""

from __future__ import annotations

import numpy as np
import pytest

from core.attribution.case import Opened
from core.dissect.formula import NOT, OR, Formula
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.labelling.causal import (
    ALIKE,
    Removed,
    causal_scores,
    expected_losses,
    matches,
    remove,
)
from core.labelling.label import concept
from core.labelling.methods import label_units
from core.labelling.probe import open_probe

LAYER = "body.3"


@pytest.fixture(scope="module")
def probe(tiny_run):
    return open_probe(tiny_run, LAYER)


@pytest.fixture(scope="module")
def opened(tiny_run):
    return Opened.of(tiny_run, LAYER)


@pytest.fixture(scope="module")
def removed(opened, probe):
    return remove(opened, probe, "mean", photos=12)


def made(probe, seed=0, units=12, photos=20):
    """Removals of drawn areas, on real photos of the run."""
    rng = np.random.default_rng(seed)
    row, ids, area = [], [], []
    for at in range(photos):
        for c in rng.choice(probe.usable, int(rng.integers(1, 5)), replace=False):
            row.append(at)
            ids.append(int(c))
            area.append(float(rng.uniform(0.01, 0.3)))
    lost = rng.normal(size=(len(row), units))
    return Removed(probe, "made", np.array(row), np.array(ids), np.array(area), lost, photos)


def slow(removed, label, unit):
    """(score, fall, other) of a label of one concept, by loops."""
    (((_, formula),),) = (label,)
    falls, others, shares = [], [], []
    for j, c in enumerate(removed.concept):
        if c != formula.concepts[0]:
            continue
        best, k = np.inf, -1
        for i in range(len(removed.concept)):
            if i != j and removed.row[i] == removed.row[j]:
                ratio = max(removed.area[i], removed.area[j]) / min(
                    removed.area[i], removed.area[j]
                )
                if ratio < best:
                    best, k = ratio, i
        if k >= 0 and best <= ALIKE:
            falls.append(removed.lost[j, unit])
            others.append(removed.lost[k, unit])
            shares.append(removed.area[j])
    if not falls:
        return np.nan, np.nan, np.nan
    w = np.array(shares) / sum(shares)
    return w @ falls - w @ others, w @ falls, w @ others


def test_scores_are_those_of_loops(probe):
    removed = made(probe)
    rng = np.random.default_rng(1)
    labels = [concept(int(k)) for k in rng.choice(removed.concept, 12)]
    labels[3] = ()
    found = causal_scores(removed, labels)
    for unit, label in enumerate(labels):
        wanted = slow(removed, label, unit) if label else (np.nan,) * 3
        got = found.scores[unit], found.fall[unit], found.other[unit]
        assert got == pytest.approx(wanted, abs=1e-9, nan_ok=True)
        told = np.where(removed.concept == label[0][1].concepts[0], removed.area, 0) if label else 0
        both = np.corrcoef(told, removed.lost[:, unit])[0, 1] if label else 0.0
        assert found.agreement[unit] == pytest.approx(both, abs=1e-9)
    assert found.judged == np.isfinite(found.scores).sum() > 3


def test_what_a_label_predicts_is_its_mask_with_and_without(probe, removed):
    ids = [int(k) for k in np.unique(removed.concept)[:3]]
    labels = [concept(ids[0], 2.0), ((1.0, Formula((ids[0], ids[1]), (0, OR))),)]
    labels.append(((1.0, Formula((ids[1], ids[0]), (0, NOT))), (0.5, Formula((ids[0],)))))
    found = expected_losses(removed, labels)
    for j, (row, c) in enumerate(zip(removed.row, removed.concept, strict=True)):
        maps = probe.run.label_maps(int(probe.numbers[row]))
        without = np.where(maps == c, 0, maps)

        def both(labels, k):
            return (labels == ids[k]).any(0)

        area = removed.area[j]
        assert found[j, 0] == pytest.approx(2 * area if c == ids[0] else 0)
        union = [(both(m, 0) | both(m, 1)).mean() for m in (maps, without)]
        assert found[j, 1] == pytest.approx(union[0] - union[1] if c in ids[:2] else 0)
        outside = [(both(m, 1) & ~both(m, 0)).mean() for m in (maps, without)]
        lost = outside[0] - outside[1] + (0.5 * area if c == ids[0] else 0)
        assert found[j, 2] == pytest.approx(lost if c in ids[:2] else 0)


def test_labels_that_no_removal_speaks_of_have_no_score(probe):
    found = causal_scores(made(probe), [()] * 12)
    assert np.isnan(found.scores).all() and found.judged == 0 and np.isnan(found.mean)
    assert np.isnan(found.interval).all() and (found.agreement == 0).all()


def test_a_unit_that_sees_one_thing_has_one_true_label(probe):
    removed = made(probe, photos=60)
    true, false = (int(k) for k in np.unique(removed.concept)[:2])
    seen = np.where(removed.concept == true, 3 * removed.area, 0)
    lost = np.repeat(seen[:, None], 12, 1)
    removed = Removed(probe, "made", removed.row, removed.concept, removed.area, lost, 60)
    found = causal_scores(removed, [concept(true)] * 6 + [concept(false)] * 6)
    assert (found.scores[:6] > 0.1).all() and (found.low[:6] > 0).all()
    assert (found.scores[6:] <= 0).all()
    assert found.agreement[:6] == pytest.approx(1) and (found.agreement[6:] < 0).all()


def test_removals_are_those_of_the_network(opened, probe, removed):
    assert removed.photos == 12 and removed.by == "mean" and len(matches(removed))
    j = len(removed.row) // 2
    case = opened.case(int(probe.numbers[removed.row[j]]))
    at = list(case.regions.ids).index(removed.concept[j])
    from core.attribution.redrawn import removal_of

    photo = removal_of(opened, "mean").photos(case, [[], [at]])
    gave = opened.activations(np.stack(photo)).astype(np.float64)
    deviation = probe.activations.std(0, dtype=np.float64)
    assert removed.lost[j] == pytest.approx((gave[0] - gave[1]) / deviation, abs=1e-5)
    assert gave[0] == pytest.approx(probe.activations[removed.row[j]], abs=2e-2)


def test_removals_are_kept_and_resumed(opened, probe, removed):
    with pytest.raises(Stopped, match="0 of 12 photos"):
        remove(opened, probe, "blur", photos=12, stop=lambda: True)
    seen = []
    again = remove(opened, probe, "mean", photos=12, stop=lambda: True, progress=seen.append)
    assert (again.lost == removed.lost).all() and seen[-1].done == 12
    kept = probe.run.path.with_suffix(".derived")
    for file in kept.glob("removals-*.npz"):
        file.write_bytes(b"damaged")
    assert (remove(opened, probe, "mean", photos=12).lost == removed.lost).all()


def test_labels_of_a_run_get_scores(probe, removed):
    found = causal_scores(removed, label_units(probe, "dataset").terms)
    assert len(found.scores) == 12 and found.draws.shape == (1000,)
    low, high = found.interval
    assert low <= found.mean <= high
    low, high = found.agreement_interval
    assert low <= found.mean_agreement <= high


def test_what_cannot_be_measured_is_refused(opened, probe, removed):
    with pytest.raises(UnitscopeError, match=r"open at body\.3, not body\.1"):
        remove(opened, open_probe(probe.run, "body.1"))
    with pytest.raises(UnitscopeError, match="1 photos cannot judge"):
        remove(opened, probe, photos=1)
    with pytest.raises(UnitscopeError, match="cannot be drawn again"):
        remove(opened, probe, "redrawn")
    with pytest.raises(UnitscopeError, match="2 labels, and"):
        causal_scores(removed, [(), ()])
