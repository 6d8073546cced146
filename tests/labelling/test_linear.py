"""Linear explanations against a slow solver, and on units whose truth is known."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import optimize, sparse

from core.foundation.errors import UnitscopeError
from core.labelling.label import concept
from core.labelling.linear import (
    FOLDS,
    LAMBDAS,
    Gram,
    by_linear,
    by_single,
    folds_of,
    grams,
    linear,
    paths,
)
from core.labelling.probe import open_probe

LAYER = "body.3"


def drawn(photos=80, concepts=12, units=5, seed=0):
    rng = np.random.default_rng(seed)
    shares = rng.random((photos, concepts)) * (rng.random((photos, concepts)) < 0.4)
    true = rng.random((concepts, units)) * (rng.random((concepts, units)) < 0.25)
    y = shares @ true + 0.1 * rng.normal(size=(photos, units)) + 3
    return sparse.csr_array(shares), y.astype(np.float32), true


def slow(x, y, share):
    """The non-negative lasso of one unit by a general solver, from the photos themselves."""
    x, y = x.toarray(), y.astype(np.float64)
    x, y = (x - x.mean(0)) / x.std(0), (y - y.mean()) / y.std()
    penalty = share * (x.T @ y / len(y)).max()

    def loss(w):
        left = y - x @ w
        return 0.5 * (left @ left) / len(y) + penalty * w.sum(), -x.T @ left / len(y) + penalty

    start = np.zeros(x.shape[1])
    bounds = [(0, None)] * x.shape[1]
    return optimize.minimize(
        loss, start, jac=True, bounds=bounds, options={"ftol": 1e-15, "gtol": 1e-10}
    ).x


def test_weights_are_those_of_a_general_solver():
    x, y, _ = drawn()
    found = paths(Gram.of(x, y), most=12)
    for unit in range(y.shape[1]):
        for k in (0, 6, len(LAMBDAS) - 1):
            assert found[unit, k] == pytest.approx(slow(x, y[:, unit], LAMBDAS[k]), abs=1e-5)
    assert (found[:, 0] == 0).all() or found[:, 0].max() < 1e-6


def test_sums_of_shards_are_those_of_the_whole():
    x, y, _ = drawn()
    whole, parts = Gram.of(x, y), grams(x, y, folds_of(80), shard=7)
    added = sum(parts[1:], parts[0])
    assert len(parts) == FOLDS and added.n == whole.n == 80
    for name in ("x", "xx", "y", "yy", "xy"):
        assert getattr(added, name) == pytest.approx(getattr(whole, name), rel=1e-12)
    weights, _, _ = linear(parts)
    again, _, _ = linear(grams(x, y, folds_of(80)))
    assert weights == pytest.approx(again, abs=1e-9)


def test_a_planted_sum_is_found_again():
    x, y, true = drawn(400, 30, 8, seed=1)
    weights, _, seen = linear(grams(x, y, folds_of(400)))
    assert np.corrcoef(weights.T.ravel(), true.ravel())[0, 1] > 0.99
    for unit in range(8):
        top = set(np.argsort(-true[:, unit])[:3]) & set(np.flatnonzero(true[:, unit] > 0.2))
        assert top <= set(np.flatnonzero(weights[unit]))
    signal = (x @ true).std(0)
    assert seen == pytest.approx(signal / np.hypot(signal, 0.1), abs=0.03)


def test_no_more_concepts_than_asked_and_none_of_noise():
    x, y, _ = drawn(200, 30, 6, seed=2)
    weights, _, _ = linear(grams(x, y, folds_of(200)), most=2)
    assert ((weights > 0).sum(1) <= 2).all() and (weights >= 0).all()
    noise = np.random.default_rng(0).normal(size=(200, 40)).astype(np.float32)
    _, _, seen = linear(grams(x, noise, folds_of(200)))
    # The best of 18 λ on noise, cross-validated: near zero, not far above.
    assert seen.mean() < 0.12


def test_units_that_never_vary_have_no_label(tiny_run):
    probe = open_probe(tiny_run, LAYER)
    probe.__dict__["activations"] = np.ones((len(probe), 12), np.float32)
    assert not len(by_linear(probe)) and not len(by_single(probe))


def test_labels_of_planted_units(tiny_run):
    probe, rng = open_probe(tiny_run, LAYER), np.random.default_rng(0)
    chosen = [int(k) for k in rng.choice(probe.usable, 12)]
    told = probe.predicted([concept(k) for k in chosen])
    noise = rng.normal(size=told.shape)
    probe.__dict__["activations"] = (told / told.std(0) + 0.3 * noise).astype(np.float32)
    single = by_single(probe).set_index("unit")["label"]
    # A thing and its piece may lie in the same photos; most are told apart.
    assert sum(single[u] == probe.names[k] for u, k in enumerate(chosen)) >= 11
    for row in by_linear(probe).itertuples():
        assert row.terms[0][0] > 0 and row.score > 0.8


def test_too_few_photos_are_refused(tiny_run):
    probe = open_probe(tiny_run, LAYER)
    probe.__dict__["images"] = probe.images.head(9)
    with pytest.raises(UnitscopeError, match="fitted to 9 photos; at least 10 are needed"):
        by_linear(probe)
    with pytest.raises(UnitscopeError, match="at least two folds"):
        linear([Gram.of(*drawn()[:2])])
