"""The graph reasoning network, against messages written as loops."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.graphs.distil import distillation, normalised
from core.graphs.network import EDGE_WIDTH, WIDTHS, batch_of
from core.graphs.scg import pairs
from tests.graphs.by_loops import CLASSES, COLUMNS, NODES, PHOTOS, by_loops, made


@pytest.mark.parametrize("relations", [True, False])
def test_messages_are_those_of_the_formula(graphs, relations):
    module, rows = made(relations), np.array([4, 0, 6])
    with torch.no_grad():
        batch = batch_of(graphs, COLUMNS, rows, 0.7)
        logits = module(batch).numpy()
        nodes, edges = module.embedded(batch)
    for k, photo in enumerate(rows):
        expected, embedded = by_loops(module, graphs, int(photo), 0.7)
        assert logits[k] == pytest.approx(expected, abs=1e-5)
        if relations:
            whole = torch.cat([nodes[k].flatten(1), edges[k].flatten(1)], 1).flatten().numpy()
            assert whole == pytest.approx(np.concatenate(embedded), abs=1e-5)
    assert nodes.shape == (3, CLASSES, NODES, WIDTHS[-1])
    assert edges.shape[2:] == (len(pairs(NODES)[0]) if relations else 0, EDGE_WIDTH)


def test_what_is_masked_out_is_a_dummy_without_relations(graphs):
    module = made()
    photo = int(np.flatnonzero(graphs.shown[:, 0])[0])
    with torch.no_grad():
        one = module(batch_of(graphs, COLUMNS, np.array([photo]), 1.0, np.array([0])))
        whole = module(batch_of(graphs, COLUMNS, np.array([photo]), 1.0, np.array([-1])))
    assert one[0].numpy() == pytest.approx(by_loops(module, graphs, photo, 1.0, 0)[0], abs=1e-5)
    assert not torch.allclose(one, whole)
    assert graphs.shown[photo, 0], "the graphs themselves stay as they are"


def test_gradients_are_those_of_small_differences(graphs):
    module = made().double()
    taught = torch.randn(PHOTOS, CLASSES, dtype=torch.float64)
    batch = batch_of(graphs, COLUMNS, np.arange(PHOTOS), 1.0)
    batch = type(batch)(batch.features.double(), batch.nodes, batch.edges.double())

    def loss() -> torch.Tensor:
        return distillation(module(batch), taught)

    module.zero_grad()
    loss().backward()
    rng = np.random.default_rng(1)
    for weight in module.parameters():
        at = tuple(int(rng.integers(n)) for n in weight.shape)
        with torch.no_grad():
            weight[at] += 1e-6
            above = float(loss())
            weight[at] -= 2e-6
            below = float(loss())
            weight[at] += 1e-6
        assert float(weight.grad[at]) == pytest.approx((above - below) / 2e-6, abs=1e-7)


def test_the_loss_is_between_normalised_logits():
    said, taught = np.array([[2.0, -1, 1], [0, 0, 5]]), np.array([[1.0, 1, -2], [3, 0, 0]])
    total = 0.0
    for y, z in zip(said, taught, strict=True):
        for c in range(3):
            total += (y[c] / sum(abs(y)) - z[c] / sum(abs(z))) ** 2 / 6
    assert float(distillation(torch.tensor(said), torch.tensor(taught))) == pytest.approx(total)
    assert torch.equal(normalised(torch.zeros(1, 2)), torch.zeros(1, 2))


def test_weights_of_messages_stand_by_sender_and_receiver():
    module = made()
    square = module.matrix().detach().numpy()
    for e, (j, i) in enumerate(zip(*pairs(NODES), strict=True)):
        assert square[1, i, j] == float(module.weights[1, e].detach())
    assert (np.diagonal(square, axis1=1, axis2=2) == 0).all()
