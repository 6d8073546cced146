"""The graph reasoning network written as loops, on graphs that are made up."""

from __future__ import annotations

import numpy as np
import torch

from core.graphs.network import EPSILON, Reasoner
from core.graphs.scg import EDGE, Graphs, between, pairs

PHOTOS, CONCEPTS, CLASSES, NODES, UNITS = 7, 6, 3, 4, 10


def made_graphs() -> Graphs:
    """Photos of which the first shows nothing."""
    rng = np.random.default_rng(0)
    shown = rng.random((PHOTOS, CONCEPTS)) < 0.6
    shown[0] = False
    at = np.full(shown.shape, -1, np.int64)
    at[shown] = np.arange(shown.sum())
    places = np.where(shown[..., None], rng.random((PHOTOS, CONCEPTS, 2)), 0)
    features = rng.random((shown.sum(), UNITS)).astype(np.float32)
    return Graphs(
        np.arange(PHOTOS), np.arange(1, CONCEPTS + 1), features, at, places.astype(np.float32)
    )


COLUMNS = np.array([[0, 1, 2, 3], [2, 4, 5, -1], [5, 0, 3, 1]])


def made(relations: bool = True, seed: int = 3) -> Reasoner:
    """A network whose normalisations are no identities."""
    torch.manual_seed(seed)
    module = Reasoner(UNITS, CLASSES, NODES, relations)
    for name, buffer in module.named_buffers():
        if name.endswith("running_mean"):
            buffer.normal_()
        elif name.endswith("running_var"):
            buffer.uniform_(0.5, 2)
    for name, weight in module.named_parameters():
        if "norm" in name:
            torch.nn.init.uniform_(weight, 0.3, 1.5)
    return module.eval()


def normed(norm: torch.nn.BatchNorm1d, x: np.ndarray) -> np.ndarray:
    mean, var = norm.running_mean.numpy(), norm.running_var.numpy()
    gain, shift = norm.weight.detach().numpy(), norm.bias.detach().numpy()
    return (x - mean) / np.sqrt(var + norm.eps) * gain + shift


def linear(layer: torch.nn.Linear, x: np.ndarray) -> np.ndarray:
    return layer.weight.detach().numpy() @ x + layer.bias.detach().numpy()


def by_loops(
    module: Reasoner, graphs: Graphs, photo: int, scale: float, without: int = -1
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Logits of one photo, and the last features of each class's nodes and edges, end to end."""
    ends = list(zip(*pairs(NODES), strict=True))
    embedded = []
    for c in range(CLASSES):
        shown = [k >= 0 and k != without and graphs.at[photo, k] >= 0 for k in COLUMNS[c]]
        nodes = [
            graphs.features[graphs.at[photo, k]] / scale if there else np.full(UNITS, EPSILON)
            for k, there in zip(COLUMNS[c], shown, strict=True)
        ]
        edges = {
            (j, i): between(*(graphs.places[photo, COLUMNS[c, k]] for k in (j, i)))
            if shown[j] and shown[i]
            else np.zeros(EDGE)
            for j, i in ends
        }
        for layer in module.layers:
            heard = [linear(layer.own, f) for f in nodes]
            if module.relations:
                for e, (j, i) in enumerate(ends):
                    edges[j, i] = normed(layer.edge_norm, linear(layer.edge, edges[j, i]))
                    told = float(module.weights[c, e].detach()) * linear(layer.other, nodes[j])
                    heard[i] = heard[i] + linear(layer.message, np.concatenate([told, edges[j, i]]))
            nodes = [normed(layer.norm, np.maximum(h, 0)) for h in heard]
        embedded += [*nodes, *(edges[pair] for pair in ends if module.relations)]
    return linear(module.out, np.concatenate(embedded)), embedded
