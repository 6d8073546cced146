"""Why, and why not: what each node and edge of a photo's graphs adds to the logit of a class.

VRX goes back from the logit y_c of class c by its gradient: node i of the graph of class g adds

    s_i = Σ ∂y_c/∂x_i · x_i

with x_i its last features, and an edge likewise. As one linear layer follows, these are exact: the
contributions of all nodes and edges of all graphs and the bias add up to y_c. *Why c* is what the
graph of c adds to y_c; *why not d* is what the graph of d adds to y_d, where its concepts are
missing, look unlike d, or lie to each other as they do not in d.

Logits of the graphs are known up to a factor of each photo (:mod:`core.graphs.distil`); they are
given in units of the network's own, by ‖z‖₁ / ‖y‖₁.

A node's last features hold what it heard of others, and those of an edge only how its ends lie.
:data:`INPUT` asks the same of the features that went in: what is credited to the place of one node
by another then goes to their edge. Such contributions do not add up to y_c.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from core.ablation.images import class_names
from core.attribution.case import Case, Opened
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.intervals import spread
from core.graphs.distil import BATCH, Asked, Student, learn, learned, of_interest
from core.graphs.masked import lessons
from core.graphs.network import Batch, batch_of
from core.graphs.scg import Graphs, Hypotheses, graphs_of, pairs

LAST, INPUT = "last", "input"
SIDES = (LAST, INPUT)
"""Whose features gradients are multiplied by: the last ones (the paper's), or those that went in.
"""


@dataclass(frozen=True, eq=False)
class Credits:
    """Contributions to the logits of classes in some photos.

    Attributes
    ----------
    nodes : float64 (photos, of classes, graphs, nodes). edges : float64 (photos, of classes,
        graphs, edges), in the order of :func:`core.graphs.scg.pairs`; without edges in a student
        that sees nodes alone. logits : float64 (photos, classes), of the graphs, in units of the
        network's logits. bias : float64 (photos, classes), what no node or edge adds.
    """

    nodes: np.ndarray
    edges: np.ndarray
    logits: np.ndarray
    bias: np.ndarray


def credits(
    student: Student, graphs: Graphs, rows: np.ndarray | None = None, side: str = LAST
) -> Credits:
    """What nodes and edges add to every class of interest, in some photos (all where None).

    Raises UnitscopeError for an unknown side.
    """
    if side not in SIDES:
        raise unknown("side", side, SIDES)
    rows = np.arange(len(graphs)) if rows is None else np.asarray(rows)
    one = _last if side == LAST else _input
    parts = [one(student, graphs, rows[k : k + BATCH]) for k in range(0, len(rows), BATCH)]
    nodes, edges, logits = (np.concatenate(part) for part in zip(*parts, strict=True))
    z = np.asarray(student.run.array("logits")[graphs.images[rows]], np.float64)
    size = np.abs(z[:, student.found.classes]).sum(1)
    unit = size / np.maximum(np.abs(logits).sum(1), 1e-12)
    bias = logits - nodes.sum((2, 3)) - edges.sum((2, 3))
    wide = unit[:, None, None, None]
    return Credits(nodes * wide, edges * wide, logits * unit[:, None], bias * unit[:, None])


Parts = tuple[np.ndarray, np.ndarray, np.ndarray]


def _last(student: Student, graphs: Graphs, rows: np.ndarray) -> Parts:
    """By the last features: exact, as the layer behind them is linear."""
    module = student.module
    with torch.inference_mode():
        batch = batch_of(graphs, student.found.columns, rows, student.scale)
        nodes, edges = module.embedded(batch)
        of_nodes, of_edges = module.credits()
        by_node = torch.einsum("pgnd,cgnd->pcgn", nodes.double(), of_nodes.double())
        by_edge = torch.einsum("pged,cged->pcge", edges.double(), of_edges.double())
        logits = module(batch).double()
    return by_node.numpy(), by_edge.numpy(), logits.numpy()


def _input(student: Student, graphs: Graphs, rows: np.ndarray) -> Parts:
    """By the features that went in; each node's own, though photos and classes share rows."""
    module = student.module
    batch = batch_of(graphs, student.found.columns, rows, student.scale)
    features = batch.features[batch.nodes].flatten(0, 2)
    apart = torch.arange(len(features)).reshape(batch.nodes.shape)
    given, edges = features.requires_grad_(True), batch.edges.requires_grad_(True)
    by_node, by_edge = [], []
    with torch.enable_grad():
        logits = module(Batch(given, apart, edges))
        for c in range(logits.shape[1]):
            asked = (given, edges) if module.relations else (given,)
            gradients = torch.autograd.grad(logits[:, c].sum(), asked, retain_graph=True)
            by_node.append(_product(given, gradients[0]).reshape(batch.nodes.shape))
            if module.relations:
                by_edge.append(_product(edges, gradients[1]))
            else:
                by_edge.append(edges.detach()[:, :, :0, 0].double())
    return (
        torch.stack(by_node, 1).numpy(),
        torch.stack(by_edge, 1).numpy(),
        logits.detach().double().numpy(),
    )


def _product(features: Tensor, gradient: Tensor) -> Tensor:
    return (features.detach().double() * gradient.double()).sum(-1)


def by_concept(
    student: Student, graphs: Graphs, row: int, a: int, b: int, side: str = LAST
) -> np.ndarray:
    """float64 (concepts of the graphs,): what each concept of a photo adds to the logit of class a
    over class b; 0 where it is not shown.

    Counted are its nodes in the graphs of all classes and, half and half with the other end, their
    edges to other concepts that are shown. A class that is not of interest adds nothing.
    """
    found = student.found
    one = credits(student, graphs, np.array([row]), side)
    nodes, edges = np.zeros(one.nodes.shape[2:]), np.zeros(one.edges.shape[2:])
    for sign, k in ((1, a), (-1, b)):
        at = np.flatnonzero(found.classes == k)
        if len(at):
            nodes += sign * one.nodes[0, at[0]]
            edges += sign * one.edges[0, at[0]]
    columns = found.columns
    there = (columns >= 0) & graphs.shown[row][columns]
    total = np.zeros(len(graphs.concepts))
    np.add.at(total, columns[there], nodes[there])
    if edges.size:
        senders, receivers = pairs(found.nodes)
        both = there[:, senders] & there[:, receivers]
        for ends in (senders, receivers):
            np.add.at(total, columns[:, ends][both], edges[both] / 2)
    return total


# -- one photo --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Node:
    """A concept in a photo's graph of a class.

    shown : does the photo show it? Else a dummy stands for it. own : what it adds to the logit of
    its graph's class. margin : what it adds to that of the answer over the other class.
    """

    concept: str
    shown: bool
    own: float
    margin: float


@dataclass(frozen=True)
class Edge:
    """A relation in a photo's graph of a class: what concept `of` tells concept `to`.

    weight : e^c of the class. dx, dy : how far `of` lies to the right of `to` and below it, as
    shares of the photo; NaN where one of them is not shown. own, margin : as of :class:`Node`.
    """

    of: str
    to: str
    weight: float
    dx: float
    dy: float
    own: float
    margin: float

    @property
    def shown(self) -> bool:
        """Does the photo show both?"""
        return not np.isnan(self.dx)


@dataclass(frozen=True)
class Graph:
    """A photo's graph of one class. own, margin : what all of it adds, as of :class:`Node`."""

    scene: str
    nodes: tuple[Node, ...]
    edges: tuple[Edge, ...]
    own: float
    margin: float


@dataclass(frozen=True)
class Why:
    """Why a photo is answered a, and why not b, by its graphs.

    Attributes
    ----------
    image : id. answer, scene : the network's answer, and what the photo shows ("" unknown).
    a, b : the classes asked about. said : what the graphs answer. margin : of a over b, by the
        network, and by the graphs.
    graphs : of a and of b. rest : what the graphs of all other classes, and the bias, add to the
        margin.
    concepts : (name, what it adds to the margin in the graphs of all classes), the largest first.
    """

    image: str
    answer: str
    scene: str
    a: str
    b: str
    said: str
    margin: tuple[float, float]
    graphs: tuple[Graph, Graph]
    rest: float
    concepts: tuple[tuple[str, float], ...]


def explain(
    student: Student,
    graphs: Graphs,
    row: int,
    a: str | None = None,
    b: str | None = None,
    side: str = LAST,
) -> Why:
    """Why a, and why not b, of one photo.

    row : of `graphs`. a : the network's answer where None. b : the true scene of a wrong answer
    where None, else the class of interest that comes next. side : of :data:`SIDES`.

    Raises UnitscopeError for a class that is not of interest, and for twice the same.
    """
    found, probe = student.found, student.probe
    at = int(np.searchsorted(probe.numbers, graphs.images[row]))
    facts = probe.images.iloc[at]
    z = np.asarray(student.run.array("logits")[int(graphs.images[row])], np.float64)
    every = class_names(student.run)
    answer, target = int(z.argmax()), int(facts["target"])
    if a is None:
        a = every[answer]
    one = found.row(a)
    other = found.row(b) if b is not None else _against(found, z, one, target)
    if one == other:
        raise UnitscopeError(f"why {a} and not {a}? Name another class to hold it against")
    given = credits(student, graphs, np.array([row]), side)
    y = given.logits[0]
    pair = tuple(_graph(student, graphs, row, given, k, one, other) for k in (one, other))
    pair_of = (int(found.classes[one]), int(found.classes[other]))
    here = by_concept(student, graphs, row, *pair_of, side)
    order = np.argsort(-np.abs(here), kind="stable")
    margin = float(y[one] - y[other])
    return Why(
        str(facts["id"]),
        every[answer],
        every[target] if target >= 0 else "",
        found.names[one],
        found.names[other],
        found.names[int(y.argmax())],
        (float(z[found.classes[one]] - z[found.classes[other]]), margin),
        (pair[0], pair[1]),
        margin - sum(graph.margin for graph in pair),
        tuple(
            (probe.names[int(graphs.concepts[k])], float(here[k]))
            for k in order
            if graphs.shown[row, k]
        ),
    )


def _against(found: Hypotheses, z: np.ndarray, one: int, target: int) -> int:
    """Row of the class that class row `one` is held against where none was named."""
    if target != found.classes[one] and target in found.classes:
        return int(np.flatnonzero(found.classes == target)[0])
    logits = z[found.classes].copy()
    logits[one] = -np.inf
    return int(logits.argmax())


def _graph(
    student: Student, graphs: Graphs, row: int, given: Credits, k: int, one: int, other: int
) -> Graph:
    """The graph of class row k in a photo. one, other : rows of the two classes asked about."""
    found, names = student.found, student.probe.names
    columns = found.columns[k]
    there = (columns >= 0) & graphs.shown[row][columns]
    own, margin = given.nodes[0, k, k], given.nodes[0, one, k] - given.nodes[0, other, k]
    named = [names[int(concept)] if concept else "" for concept in found.concepts[k]]
    nodes = tuple(
        Node(named[i], bool(there[i]), float(own[i]), float(margin[i]))
        for i in range(found.nodes)
        if named[i]
    )
    edges: list[Edge] = []
    if student.module.relations:
        weights = student.module.weights.detach().numpy()[k]
        of_edges = given.edges[0, k, k], given.edges[0, one, k] - given.edges[0, other, k]
        senders, receivers = pairs(found.nodes)
        for e, (j, i) in enumerate(zip(senders, receivers, strict=True)):
            if named[j] and named[i]:
                gap = graphs.places[row, columns[j]] - graphs.places[row, columns[i]]
                dx, dy = gap.tolist() if there[j] and there[i] else (float("nan"),) * 2
                adds = [float(part[e]) for part in of_edges]
                edges.append(Edge(named[j], named[i], float(weights[e]), dx, dy, *adds))
    whole = [
        float(given.nodes[0, c, k].sum() + given.edges[0, c, k].sum()) for c in (k, one, other)
    ]
    return Graph(found.names[k], nodes, tuple(edges), whole[0], whole[1] - whole[2])


# -- a class, and two of them -----------------------------------------------------------------


def class_graphs(
    student: Student,
    graphs: Graphs,
    answers: np.ndarray,
    scene: str,
    against: str | None = None,
    side: str = LAST,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """What the graph of a class adds in the photos that are answered so, and in others.

    Without `against` contributions are to the logit of the class, and held against those in all
    photos that are answered otherwise. With it they are to the margin of `scene` over `against`,
    of the graphs of both, and held against those in photos answered `against`.

    graphs, answers : of the judged photos, and the network's answers to them. side : of
        :data:`SIDES`.

    Returns (nodes, edges): graph, concept (of edges: of, to), weight (of edges, e^c), importance
    (of nodes), shown and shown_other (shares of the photos of either kind that show it, or both its
    ends), dx, dy (mean offset of an edge where it is shown), adds, low, high, other, other_low,
    other_high: mean contributions with Student's 95 % intervals.

    Raises UnitscopeError for a class that is not of interest, for twice the same, and where no
    judged photo is answered so.
    """
    found = student.found
    one = found.row(scene)
    two = None if against is None else found.row(against)
    if one == two:
        raise UnitscopeError(f"{scene} cannot be compared with itself; name another class")
    here = np.flatnonzero(answers == found.classes[one])
    if two is None:
        rest = np.flatnonzero(answers != found.classes[one])
    else:
        rest = np.flatnonzero(answers == found.classes[two])
    for rows, name in ((here, scene), (rest, against or f"anything but {scene}")):
        if len(rows) < 2:
            raise UnitscopeError(
                f"the network answers {name} to {len(rows)} of the judged photos; to say what a "
                "graph adds there, two are needed"
            )
    sides = [(rows, credits(student, graphs, rows, side)) for rows in (here, rest)]
    nodes, edges = [], []
    for k in [one] if two is None else [one, two]:
        more = _class_graph(student, graphs, sides, k, one, two)
        nodes += more[0]
        edges += more[1]
    return pd.DataFrame(nodes), pd.DataFrame(edges)


Row = dict[str, str | float]
Side = tuple[np.ndarray, Credits]


def _class_graph(
    student: Student, graphs: Graphs, sides: list[Side], k: int, one: int, two: int | None
) -> tuple[list[Row], list[Row]]:
    """Rows of the nodes and of the edges of the graph of class row k."""
    found, names = student.found, student.probe.names
    columns, concepts = found.columns[k], found.concepts[k]
    shown = [np.where(columns >= 0, graphs.shown[rows][:, columns], False) for rows, _ in sides]
    nodes: list[Row] = []
    for i in np.flatnonzero(concepts):
        adds = [_toward(given.nodes[:, :, k, i], one, two) for _, given in sides]
        nodes.append(
            {
                "graph": found.names[k],
                "concept": names[int(concepts[i])],
                "importance": float(found.importance[k, i]),
                "shown": float(shown[0][:, i].mean()),
                "shown_other": float(shown[1][:, i].mean()),
                **_means(adds),
            }
        )
    edges: list[Row] = []
    if not student.module.relations:
        return nodes, edges
    weights = student.module.weights.detach().numpy()[k]
    for e, (j, i) in enumerate(zip(*pairs(found.nodes), strict=True)):
        if not (concepts[j] and concepts[i]):
            continue
        both = [part[:, j] & part[:, i] for part in shown]
        rows = sides[0][0][both[0]]
        gap = graphs.places[rows, columns[j]] - graphs.places[rows, columns[i]]
        dx, dy = gap.mean(0).tolist() if len(rows) else (float("nan"),) * 2
        adds = [_toward(given.edges[:, :, k, e], one, two) for _, given in sides]
        edges.append(
            {
                "graph": found.names[k],
                "of": names[int(concepts[j])],
                "to": names[int(concepts[i])],
                "weight": float(weights[e]),
                "shown": float(both[0].mean()),
                "shown_other": float(both[1].mean()),
                "dx": dx,
                "dy": dy,
                **_means(adds),
            }
        )
    return nodes, edges


def _toward(parts: np.ndarray, one: int, two: int | None) -> np.ndarray:
    """Contributions (photos, of classes) to a class, or to its margin over another: (photos,)."""
    toward: np.ndarray = parts[:, one] if two is None else parts[:, one] - parts[:, two]
    return toward


def _means(adds: list[np.ndarray]) -> Row:
    (value, low, high), (other, other_low, other_high) = (spread(one) for one in adds)
    return {
        "adds": value,
        "low": low,
        "high": high,
        "other": other,
        "other_low": other_low,
        "other_high": other_high,
    }


# -- as a method of attribution ---------------------------------------------------------------


SOON = 100_000
"""Photos × classes of interest from which graphs are learned at the first question, in a few
minutes; more are learned where they are asked for by name."""


def unready(opened: Opened) -> str:
    """Why :func:`vrx` cannot be asked about photos of a run; "" where it can.

    Graphs need maps, two classes of interest, and photos to learn from; and where these are many
    (:data:`SOON`), they must have been learned.
    """
    run = opened.run
    try:
        asked = Asked(layer=opened.recorded.layer).of(run)
        run.array(f"maps-{asked.layer}")
        probe, found = of_interest(run, asked)
    except UnitscopeError as err:
        return str(err)
    if len(probe) * len(found.classes) > SOON and not learned(run, asked):
        return f"its graphs take long to learn: python -m core vrx {run.digest} does so"
    return ""


def vrx(case: Case, a: int, b: int, side: str = LAST, masked: str = "") -> np.ndarray:
    """What each concept adds to the margin of class a over class b in the graphs of a photo
    (:func:`by_concept`): float64 (concepts,); 0 for concepts that are nodes of no graph.

    side : of :data:`SIDES`. masked : "yes" for graphs that learned from masked photos too. Graphs
    are learned at the first question, as :func:`core.graphs.distil.learn` does where nothing is
    chosen, and kept beside the run.
    """
    opened = case.opened
    run = opened.run
    asked = Asked(layer=opened.recorded.layer, masked=bool(masked))

    def made() -> Student:
        return learn(run, asked, masked=lambda graphs: lessons(opened, asked, graphs))

    student = run.once(("core.graphs.student", asked), made)
    row = int(np.searchsorted(student.probe.numbers, case.image))
    graphs = graphs_of(student.probe, student.found.distinct, row, row + 1)
    adds = by_concept(student, graphs, 0, a, b, side)
    at = {int(concept): k for k, concept in enumerate(graphs.concepts)}
    return np.array([adds[at[c]] if c in at else 0.0 for c in case.regions.ids.tolist()])
