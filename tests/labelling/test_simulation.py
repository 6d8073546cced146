"""Simulation scores against a slow reference, and against what they must be."""

from __future__ import annotations

import numpy as np
import pytest

from core.dissect.formula import AND, NOT, OR, Formula
from core.foundation.errors import UnitscopeError
from core.labelling.causal import Removed, expected_losses
from core.labelling.label import concept
from core.labelling.probe import held_out, open_probe
from core.labelling.simulation import CELL, IMAGE, simulate

LAYER = "body.3"


def slow(probe, terms, unit, level):
    """Pearson's correlation by numpy, photo by photo and cell by cell."""
    height, width = probe.cell_grid
    told, seen = [], []
    for row, number in enumerate(probe.numbers):
        labels = probe.run.label_maps(int(number))
        grid = np.zeros(labels.shape[1:])
        for weight, formula in terms:
            mask = np.zeros(grid.shape, bool)
            for op, c in zip(formula.ops, formula.concepts, strict=True):
                here = (labels == c).any(0) | (
                    bool(probe.concepts["whole"][c - 1])
                    and probe.shares[[row], :].toarray()[0, c] > 0
                )
                mask = here if op == 0 else (mask | here if op == OR else mask & ~here)
            grid = grid + weight * mask
        if level == IMAGE:
            told.append(grid.mean())
            seen.append(float(probe.run.array(f"pooled-{LAYER}")[number][unit]))
            continue
        maps = np.asarray(probe.run.array(f"maps-{LAYER}")[number][unit], np.float64)
        fine = np.kron(grid, np.ones((height, width)))  # every cell a whole number of pixels
        cells = fine.reshape(height, grid.shape[0], width, grid.shape[1]).mean((1, 3))
        told += cells.ravel().tolist()
        seen += maps.ravel().tolist()
    return np.corrcoef(told, seen)[0, 1] if np.std(told) > 0 else 0.0


@pytest.mark.parametrize("level", [IMAGE, CELL])
def test_scores_are_those_of_a_slow_reference(tiny_run, level):
    probe = open_probe(tiny_run, LAYER, None)
    units = tiny_run.unit_count(LAYER)
    rng = np.random.default_rng(0)
    labels = []
    for unit in range(units):
        a, b = (int(k) for k in rng.choice(probe.usable, 2, replace=False))
        labels.append(
            [concept(a), ((0.5, Formula((a, b), (0, NOT))), (-0.25, Formula((b,)))), ()][unit % 3]
        )
    found = simulate(probe, labels, level, exchanges=5)
    for unit in range(units):
        wanted = slow(probe, labels[unit], unit, level) if labels[unit] else 0.0
        assert found.scores[unit] == pytest.approx(wanted, abs=1e-6)
    assert found.labelled.tolist() == [len(one) > 0 for one in labels]
    low, high = found.unit_intervals
    assert (low <= found.scores + 0.05).all() and (high >= found.scores - 0.05).all()


def test_the_control_is_near_zero_and_labels_are_above_it(tiny_run):
    probe, rng = open_probe(tiny_run, LAYER), np.random.default_rng(0)
    units = tiny_run.unit_count(LAYER)
    labels = [concept(int(k)) for k in rng.choice(probe.usable, units)]
    noise = rng.normal(0, 1, (len(probe), units))
    told = probe.predicted(labels)
    # Units that detect what their label says, with as much noise as signal.
    probe.__dict__["activations"] = ((told / told.std(0)) + noise).astype(np.float32)
    found = simulate(probe, labels, exchanges=40)
    assert found.mean == pytest.approx(0.5**0.5, abs=0.06)
    assert abs(found.exchanged.mean()) < 0.03 and (found.chance == 1 / 41).all()
    low, high = found.interval
    assert low < 0.5**0.5 < high and high - low < 0.15
    again = simulate(probe, labels, exchanges=40)
    assert (again.draws == found.draws).all() and (again.chance == found.chance).all()
    assert found.times(found)[0] == 1


def test_what_cannot_be_judged_is_refused(tiny_run):
    probe = open_probe(tiny_run, LAYER)
    with pytest.raises(UnitscopeError, match="2 labels, and"):
        simulate(probe, [(), ()])
    with pytest.raises(UnitscopeError, match="levels of a simulation"):
        simulate(probe, [()] * tiny_run.unit_count(LAYER), "pixel")


def test_labels_are_never_judged_by_what_they_were_fitted_to(tiny_run):
    splits = tiny_run.sql("SELECT DISTINCT split FROM images ORDER BY 1")["split"].tolist()
    learned, judged = held_out(tiny_run, [splits[0]], [splits[-1]] if len(splits) > 1 else None)
    assert not set(learned) & set(judged)
    with pytest.raises(UnitscopeError, match="cannot be judged by it"):
        held_out(tiny_run, [splits[0]], [splits[0]])


def test_formulas_of_photos_are_read_of_photos(tiny_run):
    probe = open_probe(tiny_run, LAYER)
    a, b = (int(k) for k in probe.usable[:2])
    formulas = [Formula((a,)), Formula((a, b), (0, AND)), Formula((a, b), (0, NOT))]
    shown = probe.presence.toarray()
    wanted = [shown[:, a], shown[:, a] & shown[:, b], shown[:, a] & ~shown[:, b]]
    labels = [((2.0, formula),) for formula in formulas]
    assert (probe.predicted(labels, of_photos=True) == 2 * np.array(wanted).T).all()
    removed = Removed(
        probe, "made", np.array([0, 0]), np.array([a, b]), np.ones(2), np.zeros((2, 12)), 1
    )
    row = shown[0]
    found = expected_losses(removed, labels, of_photos=True)
    assert found[0].tolist() == [2 * row[a], 2 * (row[a] & row[b]), 2 * (row[a] & ~row[b])]
    assert found[1].tolist() == [0, 2 * (row[a] & row[b]), -2 * (row[a] & row[b])]
