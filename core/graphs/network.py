"""The graph reasoning network (GRN): from the graphs of all classes to the network's answer.

Written from VRX (Ge et al., CVPR 2021, §3.3). Layer k takes node i of the graph of class c from
f_i to

    f_i' = BN(ReLU( W₁ f_i + Σ_{j ≠ i} W₃ [ e^c_ji · W₂ f_j ; edge_ji' ] ))
    edge_ji' = BN(W₄ edge_ji)

where W are shared by all classes, and e^c_ji, the weight of the message from concept j to concept i
in class c, by all layers alone: which relation counts is what tells classes apart. The last
features of all nodes and edges of all classes, one after the other, go through one linear layer to
a logit for each class. So every logit is exactly a sum over nodes and edges, plus a bias.

Batch normalisation and the widths are those of the authors' published program.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.graphs.scg import EDGE, Graphs, between, pairs

WIDTHS = (64, 32, 32)
"""Numbers of a node after each layer."""

EDGE_WIDTH = 5
"""Numbers of an edge after each layer."""

EPSILON = 1e-3
"""What each number of a dummy is: small and constant, as the paper asks; the value is ours."""


@dataclass(frozen=True, eq=False)
class Batch:
    """Graphs of some photos, as the network takes them.

    Attributes
    ----------
    features : float32 (shown + 1, units), of what is shown in any of the photos; the first row is
        the dummy. nodes : int64 (photos, classes, nodes), row of `features` of each node.
    edges : float32 (photos, classes, edges, 4), in the order of :func:`core.graphs.scg.pairs`;
        0 where one of the two concepts is not shown.
    """

    features: Tensor
    nodes: Tensor
    edges: Tensor


class Layer(nn.Module):
    """One round of messages; see the module.

    relations : whether nodes hear of each other at all; without, f_i' = BN(ReLU(W₁ f_i)).
    """

    def __init__(self, units: int, width: int, edge: int, relations: bool):
        super().__init__()
        self.own = nn.Linear(units, width)
        self.norm = nn.BatchNorm1d(width)
        if relations:
            self.other = nn.Linear(units, width)
            self.edge = nn.Linear(edge, EDGE_WIDTH)
            self.edge_norm = nn.BatchNorm1d(EDGE_WIDTH)
            self.message = nn.Linear(width + EDGE_WIDTH, width)

    def relate(self, edges: Tensor) -> Tensor:
        """edge' : (photos, classes, edges, 5)."""
        made: Tensor = self.edge(edges)
        return self.edge_norm(made.flatten(0, 2)).reshape(made.shape)  # type: ignore[no-any-return]

    def settle(self, heard: Tensor) -> Tensor:
        """BN(ReLU(…)) of (photos, classes, nodes, width)."""
        made: Tensor = self.norm(F.relu(heard).flatten(0, 2))
        return made.reshape(heard.shape)

    def received(self, others: Tensor, weights: Tensor, edges: Tensor) -> Tensor:
        """Σ_j W₃ [e_ji · W₂ f_j ; edge_ji'] : (photos, classes, nodes, width).

        W₃ is linear, so the sums are taken before it.

        others : W₂ f_j (photos, classes, nodes, width). weights : e (classes, receivers, senders).
        """
        nodes = others.shape[2]
        by_receiver = edges.reshape(*edges.shape[:2], nodes, nodes - 1, edges.shape[3])
        both = torch.cat([weights @ others, by_receiver.sum(3)], -1)
        received: Tensor = both @ self.message.weight.T + (nodes - 1) * self.message.bias
        return received


class Reasoner(nn.Module):
    """The graph reasoning network.

    units : of the layer whose activations are features. classes : of interest. nodes : concepts of
    each. relations : False for the control that sees nodes alone, without messages and edges.
    """

    def __init__(self, units: int, classes: int, nodes: int, relations: bool = True):
        super().__init__()
        self.relations = relations
        senders, receivers = pairs(nodes)
        self.senders, self.receivers = torch.from_numpy(senders), torch.from_numpy(receivers)
        widths = (units, *WIDTHS)
        edges = (EDGE, *[EDGE_WIDTH] * len(WIDTHS))
        self.layers = nn.ModuleList(
            Layer(widths[k], widths[k + 1], edges[k], relations) for k in range(len(WIDTHS))
        )
        size = nodes * WIDTHS[-1]
        if relations:
            self.weights = nn.Parameter(torch.randn(classes, len(senders)))
            size += len(senders) * EDGE_WIDTH
        self.out = nn.Linear(classes * size, classes)

    def matrix(self) -> Tensor:
        """e^c_ji as (classes, receivers, senders), 0 from a node to itself."""
        nodes = int(self.receivers.max()) + 1
        square = self.weights.new_zeros(len(self.weights), nodes, nodes)
        return square.index_put(
            (torch.arange(len(square))[:, None], self.receivers, self.senders), self.weights
        )

    def embedded(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The last features of nodes (photos, classes, nodes, 32) and of edges (photos, classes,
        edges, 5); of edges none without relations."""
        edges = batch.edges
        weights = self.matrix() if self.relations else None
        nodes: Tensor | None = None
        for layer in self.layers:
            assert isinstance(layer, Layer)
            # What a concept's region says is worked out once, for whichever class asks.
            own, other = (
                _of_nodes(linear, batch, nodes)
                for linear in (
                    (layer.own, layer.other) if weights is not None else (layer.own,) * 2
                )
            )
            if weights is not None:
                edges = layer.relate(edges)
                own = own + layer.received(other, weights, edges)
            nodes = layer.settle(own)
        assert nodes is not None
        if weights is None:
            edges = edges.new_zeros(*edges.shape[:2], 0, EDGE_WIDTH)
        return nodes, edges

    def forward(self, batch: Batch) -> Tensor:
        """float32 (photos, classes), a logit of each class of interest."""
        nodes, edges = self.embedded(batch)
        whole = torch.cat([nodes.flatten(2), edges.flatten(2)], -1).flatten(1)
        logits: Tensor = self.out(whole)
        return logits

    def credits(self) -> tuple[Tensor, Tensor]:
        """The last layer's weights by node and edge: (of classes, graphs, nodes, 32) and (of
        classes, graphs, edges, 5)."""
        classes = self.out.out_features
        per_graph = self.out.weight.reshape(classes, classes, -1)
        edges = len(self.senders) if self.relations else 0
        cut = per_graph.shape[2] - edges * EDGE_WIDTH
        return (
            per_graph[:, :, :cut].reshape(classes, classes, -1, WIDTHS[-1]),
            per_graph[:, :, cut:].reshape(classes, classes, edges, EDGE_WIDTH),
        )


def _of_nodes(linear: nn.Linear, batch: Batch, nodes: Tensor | None) -> Tensor:
    """A linear layer of the nodes' features: of the regions' own before the first round."""
    made: Tensor
    if nodes is None:
        made = linear(batch.features)[batch.nodes]
    else:
        made = linear(nodes)
    return made


def batch_of(
    graphs: Graphs,
    columns: np.ndarray,
    rows: np.ndarray,
    scale: float,
    without: np.ndarray | None = None,
) -> Batch:
    """The graphs of some photos.

    columns : int64 (classes, nodes), of :attr:`core.graphs.scg.Hypotheses.columns`. rows : photos.
    scale : what features are divided by. without : int64 (rows,), a concept of each photo (column
    of `graphs`) that is treated as not shown; −1 for none.
    """
    at = graphs.at[rows]
    if without is not None:
        some = np.flatnonzero(without >= 0)
        at[some, without[some]] = -1
    used, where = np.unique(at[at >= 0], return_inverse=True)
    local = np.zeros_like(at)
    local[at >= 0] = where + 1
    there = columns >= 0
    nodes = np.where(there, local[:, columns], 0)
    features = np.concatenate(
        [
            np.zeros((1, graphs.features.shape[1]), np.float32),
            graphs.features[used] / np.float32(scale),
        ]
    )
    features[0] = EPSILON
    senders, receivers = pairs(columns.shape[1])
    places = graphs.places[rows][:, columns]
    edges = between(places[:, :, senders], places[:, :, receivers])
    edges *= ((nodes[:, :, senders] > 0) & (nodes[:, :, receivers] > 0))[..., None]
    return Batch(
        torch.from_numpy(features),
        torch.from_numpy(nodes),
        torch.from_numpy(edges.astype(np.float32)),
    )
