"""Embeddings of a knowledge graph around a dataset's concepts, trained with PyKEEN.

The graph is first cut down to the dataset's concepts, their neighbours and those nodes two steps
away that have enough links to them (:func:`subgraph`); a model is trained on it with the plain
sLCWA loop (:func:`open_embedding`) and evaluated on held-out facts (:func:`link_prediction`), as a
check that it learned. The result is kept as a plain .npz of vectors, names and settings.

Models: TransE (Bordes et al. 2013), DistMult (Yang et al. 2015), TransD (Ji et al. 2015; its first
entity representation, without the projection), ProjE (Shi and Weninger 2017). Vectors are
compared by cosine, so all are scaled to length 1.
"""

from __future__ import annotations

import gc
import json
import os
import tempfile
import time
from collections.abc import Collection, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np
import pandas as pd

from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import parse_json, write_whole
from core.foundation.progress import Progress, Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.knowledge.align import align
from core.knowledge.graph import Graph
from core.runs.arrays import UNREADABLE

MODELS = ("TransE", "DistMult", "TransD", "ProjE")

NOT_LEARNED = (
    "DerivedFrom",
    "EtymologicallyDerivedFrom",
    "EtymologicallyRelatedTo",
    "ExternalURL",
    "FormOf",
    "NotCapableOf",
    "NotDesires",
    "NotHasA",
    "NotHasProperty",
    "NotIsA",
    "NotMadeOf",
)
"""Relations left out where none are chosen: what is denied, and what only concerns words."""

MOST = 50_000
"""Entities that a subgraph may have; beyond it training takes hours on a CPU."""

SAVED_EVERY = 30.0
"""Seconds of training after which its state is written."""

HELD_OUT = 0.05
"""Share of the facts held out for validation, and again for the test."""


# -- the part of the graph around the concepts -----------------------------------------------


@dataclass
class Subgraph:
    """The facts around a dataset's concepts, numbered from 0.

    Attributes
    ----------
    knowledge : name of the graph it was cut from.
    names : entity names, in the graph's (sorted) order. relations : relation names.
    triples : int64 (facts, 3): head, relation, tail.
    alignment : table of :func:`core.knowledge.align.align`, a row a concept, in their order.
    nodes : int64 (concepts,), entity of each concept; −1 where it has no node.
    sizes : concepts, aligned, nodes (different ones among them), one_hop, two_hop (kept),
        two_hop_all, entities, facts, relations, links_one, links_two (the least links asked of
        nodes one and two steps away).
    """

    knowledge: str
    names: list[str]
    relations: list[str]
    triples: np.ndarray
    alignment: pd.DataFrame
    nodes: np.ndarray
    sizes: dict[str, int]

    @cached_property
    def digest(self) -> str:
        """Hex digest of names and facts; the alignment of concepts is not part of it."""
        return digest_of([self.names, self.relations, self.triples.ravel().tolist()])

    def __str__(self) -> str:
        s = self.sizes
        more = "" if s["links_one"] == 1 else f" (with {s['links_one']} or more links to them)"
        return (
            f"{self.knowledge}: {s['aligned']} of {s['concepts']} concepts on {s['nodes']} nodes, "
            f"{s['one_hop']:,} neighbours{more}, {s['two_hop']:,} of {s['two_hop_all']:,} nodes "
            f"two steps away with {s['links_two']} or more links; {s['entities']:,} entities, "
            f"{s['facts']:,} facts of {s['relations']} relations"
        )


def subgraph(
    concepts: Sequence[str],
    graph: Graph,
    relations: Collection[str] | None = None,
    min_weight: float = 1.0,
    links: int = 2,
    most: int = MOST,
    overrides: Path | None = None,
) -> Subgraph:
    """The concepts' nodes with their 1-hop and 2-hop neighbours, pruned.

    Parameters
    ----------
    concepts : names, aligned by :func:`core.knowledge.align.align` with `overrides`.
    relations : those to follow and learn, in either direction; all but :data:`NOT_LEARNED`
        where None.
    min_weight : facts below it are left out.
    links : nodes two steps away are kept if they are joined to at least this many different
        nodes that are concepts or their neighbours: a node with a single link says little.
    most : where more entities than this remain, `links` is raised until they fit; if all nodes
        two steps away are gone and there are still too many, the threshold applies to the
        neighbours, by their links to the concepts.

    All facts between kept nodes are kept. Raises UnitscopeError for an unknown relation or
    override, where no concept has a node, and where no fact joins the nodes.
    """
    if relations is None:
        allowed = ~np.isin(np.array(graph.relations, object), NOT_LEARNED)
    else:
        allowed = graph.check(relations, 1, "both")
    unique = list(dict.fromkeys(concepts))
    found = align(unique, graph, overrides=overrides).set_index("name", drop=False)
    alignment = found.loc[list(concepts)].reset_index(drop=True)
    at = [None if node is None else graph.node(node) for node in alignment["node"]]
    own = np.array([-1 if node is None else node for node in at], np.int64)
    if not (own >= 0).any():
        raise UnitscopeError(
            f"none of the {len(concepts)} concepts is a node of {graph.name}: `align` shows the "
            "table, and --overrides corrects it"
        )
    edge = allowed[graph.kinds] & (graph.weights >= min_weight)
    heads, tails = graph.heads[edge].astype(np.int64), graph.tails[edge].astype(np.int64)
    around = _Around.of(heads, tails, own, len(graph.nodes), links, most)
    keep = around.keep
    number = np.cumsum(keep) - 1
    inside = keep[heads] & keep[tails]
    kinds, relation = np.unique(graph.kinds[edge][inside], return_inverse=True)
    triples = np.stack([number[heads[inside]], relation, number[tails[inside]]], 1)
    if not len(triples):
        raise UnitscopeError(f"{graph.name} has no facts around the concepts to learn from")
    sizes = {
        "concepts": len(concepts),
        "aligned": int((own >= 0).sum()),
        "nodes": int((around.hop == 0).sum()),
        "one_hop": int((keep & (around.hop == 1)).sum()),
        "two_hop": int((keep & (around.hop == 2)).sum()),
        "two_hop_all": int((around.hop == 2).sum()),
        "entities": int(keep.sum()),
        "facts": len(triples),
        "relations": len(kinds),
        "links_one": around.links_one,
        "links_two": around.links_two,
    }
    return Subgraph(
        graph.name,
        [graph.nodes[int(k)] for k in np.flatnonzero(keep)],
        [graph.relations[k] for k in kinds],
        triples.astype(np.int64),
        alignment,
        np.where(own >= 0, number[own], -1),
        sizes,
    )


class _Around(NamedTuple):
    """Which nodes of a graph lie around the concepts, and which of them are kept.

    hop : int (nodes,), steps from the nearest concept; 3 for more than two. keep : bool (nodes,).
    links_one, links_two : the least links that were asked of nodes one and two steps away.
    """

    hop: np.ndarray
    keep: np.ndarray
    links_one: int
    links_two: int

    @classmethod
    def of(
        cls,
        heads: np.ndarray,
        tails: np.ndarray,
        own: np.ndarray,
        nodes: int,
        links: int,
        most: int,
    ) -> _Around:
        """heads, tails : int64 (edges,), the facts to follow. own : node of each concept, −1 for
        none. nodes : of the graph. links, most : see :func:`subgraph`."""
        ends = np.concatenate([np.stack([heads, tails], 1), np.stack([tails, heads], 1)])
        ends = np.unique(ends, axis=0)  # each pair of joined nodes once, whatever joins them
        hop = np.full(nodes, 3)
        hop[own[own >= 0]] = 0
        for step in (1, 2):
            reached = ends[hop[ends[:, 0]] == step - 1, 1]
            hop[reached] = np.minimum(hop[reached], step)

        def joined(inner: np.ndarray) -> np.ndarray:
            """int64 (nodes,): different nodes among `inner` that each node is joined to."""
            return np.bincount(ends[inner[ends[:, 0]], 1], minlength=nodes)

        to_concepts = joined(hop == 0)
        links_one, links_two = 1, max(links, 1)
        near = hop <= 1
        to_near = joined(near)
        room = most - int(near.sum())
        if room < 0:
            links_one = _least(to_concepts[hop == 1], most - int((hop == 0).sum()))
            near = (hop == 0) | ((hop == 1) & (to_concepts >= links_one))
            far = np.zeros_like(near)
        else:
            links_two = max(links_two, _least(to_near[hop == 2], room))
            far = (hop == 2) & (to_near >= links_two)
        return cls(hop, near | far, links_one, links_two)


def _least(links: np.ndarray, room: int) -> int:
    """The smallest threshold on links that at most `room` nodes meet.

    >>> _least(np.array([1, 1, 2, 3]), 4), _least(np.array([1, 1, 2, 3]), 2), _least(np.ones(3), 0)
    (1, 2, 2)
    """
    for least in range(1, int(links.max(initial=0)) + 2):
        if int((links >= least).sum()) <= room:
            break
    return least


def hold_out(triples: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(train, valid, test) rows of facts, :data:`HELD_OUT` each for the last two, as drawn.

    Every entity and every relation keeps a fact in train: a model cannot rank what it never saw.
    """
    order = np.random.default_rng(seed).permutation(len(triples))
    shuffled = triples[order]
    needed = np.zeros(len(triples), bool)
    for column in range(3):
        needed[np.unique(shuffled[:, column], return_index=True)[1]] = True
    free = np.flatnonzero(~needed)
    count = min(int(HELD_OUT * len(triples)), len(free) // 2)
    valid, test = free[:count], free[count : 2 * count]
    rest = np.ones(len(triples), bool)
    rest[valid] = rest[test] = False
    return shuffled[rest], shuffled[valid], shuffled[test]


# -- training --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Training:
    """How a model is trained; all of it is part of the embedding's digest.

    Attributes
    ----------
    model : of :data:`MODELS`. dim : length of a vector. epochs : at most.
    batch : facts a step. rate : of Adam. negatives : drawn facts for each true one.
    patience : epochs after which training ends if the loss has not fallen by 0.1 % below its
        least; 0 trains all epochs.
    seed : of the held-out facts, the first vectors, the order and the drawn facts.
    """

    model: str = "TransE"
    dim: int = 64
    epochs: int = 100
    batch: int = 1024
    rate: float = 0.01
    negatives: int = 8
    patience: int = 10
    seed: int = 0

    def __post_init__(self) -> None:
        if self.model not in MODELS:
            raise unknown("embedding", self.model, MODELS)
        for name in ("dim", "epochs", "batch", "negatives"):
            if getattr(self, name) < 1:
                raise UnitscopeError(f"{name} is at least 1, not {getattr(self, name)}")
        if not 0 < self.rate < 10:
            raise UnitscopeError(f"the learning rate lies in (0, 10), not {self.rate}")


CHOSEN: dict[str, Training] = {
    "TransE": Training("TransE"),
    "DistMult": Training("DistMult", epochs=30),
    "TransD": Training("TransD", epochs=30, rate=0.003),
    "ProjE": Training("ProjE", epochs=30),
}
"""Settings of each model, chosen on validation facts (docs/filtering.md)."""


def training(model: str = "TransE", **changes: Any) -> Training:
    """The default settings of a model, with `changes` applied; None leaves a setting as it is.

    >>> training("transe", epochs=3).epochs
    3
    """
    named = {name.lower(): name for name in MODELS}
    if model.lower() not in named:
        raise unknown("embedding", model, MODELS)
    result = {key: value for key, value in changes.items() if value is not None}
    return replace(CHOSEN[named[model.lower()]], **result)


class Ranks(TypedDict):
    """Of :func:`link_prediction`: filtered mean reciprocal rank, and the share among ten."""

    MRR: float
    hits_10: float


class Quality(TypedDict):
    """How well vectors predict held-out facts: after and before training, of how many `facts`;
    and how many they were trained on."""

    trained: Ranks
    untrained: Ranks
    facts: int
    train_facts: int


@dataclass
class Embedding:
    """Trained vectors of a subgraph's entities.

    Attributes
    ----------
    digest : of facts, settings and code. training : its settings.
    names : entity names. vectors : float32 (entities, dim), as the model left them.
    losses : float64 (epochs,), mean loss of each epoch.
    quality : of :func:`link_prediction` on held-out facts.
    seconds : that training took, None where the vectors were read.
    """

    digest: str
    training: Training
    names: list[str]
    vectors: np.ndarray
    losses: np.ndarray
    quality: Quality
    seconds: float | None = None


def embedding_path(sub: Subgraph, how: Training, cache: Path) -> Path:
    """Path of a subgraph's embedding, whether or not it has been trained."""
    facts = {
        "facts": sub.digest,
        "training": asdict(how),
        "pykeen": version("pykeen"),
        "torch": version("torch"),
        **versions_of("embedding"),
    }
    return cache / f"embedding-{digest_of(facts)[:DIGITS]}.npz"


def open_embedding(
    sub: Subgraph,
    how: Training,
    cache: Path,
    progress: Report | None = None,
    stop: Stop = never,
    make: bool = True,
) -> Embedding:
    """Vectors of a subgraph, read from the cache or else trained and cached.

    Training runs on one thread, so that the vectors are the same bytes on one machine, whatever its
    load. `stop` is called after every epoch; if it returns True, the state is written next to the
    result's path, Stopped is raised, and the next call resumes the training, with the same vectors
    as without a stop. Every :data:`SAVED_EVERY` seconds it is written as well, for a call that is
    killed. Raises UnitscopeError where `make` is False and none was made yet.
    """
    path = embedding_path(sub, how, cache)
    if path.is_file():
        if make:  # killed when all but that was done
            _state_path(path).unlink(missing_ok=True)
        return read_embedding(path)
    if not make:
        raise UnitscopeError(
            f"no {how.model} embedding of {sub.knowledge} was made for these concepts yet: "
            f"make it with `python -m core embed RUN --embedding {how.model}`"
        )
    cache.mkdir(parents=True, exist_ok=True)
    made = _train(sub, how, path, progress, stop)
    write_whole(path, lambda fresh: _write(made, fresh))
    _state_path(path).unlink(missing_ok=True)
    return made


def _write(made: Embedding, fresh: Path) -> None:
    facts = {"training": asdict(made.training), "quality": made.quality}
    with fresh.open("wb") as f:
        np.savez_compressed(
            f,
            vectors=made.vectors,
            names=np.frombuffer("\n".join(made.names).encode(), np.uint8),
            losses=made.losses,
            facts=np.frombuffer(json.dumps(facts, sort_keys=True).encode(), np.uint8),
        )


def read_embedding(path: Path) -> Embedding:
    """Read an embedding; raises UnitscopeError for a file that is not one."""
    try:
        with np.load(path, allow_pickle=False) as held:
            facts = parse_json(held["facts"].tobytes())
            return Embedding(
                path.stem.removeprefix("embedding-"),
                Training(**facts["training"]),
                held["names"].tobytes().decode().split("\n"),
                held["vectors"],
                held["losses"],
                facts["quality"],
            )
    except UNREADABLE as err:
        raise UnitscopeError(f"{path} is no embedding ({err}); remove it to train again") from err


def _state_path(path: Path) -> Path:
    return path.with_suffix(".partial")


class _Enough(Exception):
    """Ends PyKEEN's loop after an epoch."""


def _model(sub: Subgraph, how: Training, train: np.ndarray) -> tuple[Any, Any]:
    """(model, facts) in PyKEEN's terms, first vectors drawn from the seed."""
    import torch

    # PyKEEN and pystow make folders in the user's home as soon as they are imported.
    os.environ.setdefault("PYKEEN_HOME", str(Path(tempfile.gettempdir()) / "pykeen"))
    from pykeen.models import model_resolver
    from pykeen.triples import CoreTriplesFactory

    torch.manual_seed(how.seed)
    factory = CoreTriplesFactory(
        torch.as_tensor(train), num_entities=len(sub.names), num_relations=len(sub.relations)
    )
    model = model_resolver.make(
        how.model, triples_factory=factory, embedding_dim=how.dim, random_seed=how.seed
    )
    return model, factory


def _train(
    sub: Subgraph,
    how: Training,
    path: Path,
    progress: Report | None,
    stop: Stop,
    ask: str = "test",
) -> Embedding:
    import torch

    from core.models.threads import torch_threads

    random_state = torch.get_rng_state()
    # PyKEEN collects garbage after every epoch: a second each time where much else is alive.
    gc.freeze()
    try:
        with torch_threads(1):
            return _train_alone(sub, how, path, progress, stop, ask)
    finally:
        gc.unfreeze()
        torch.set_rng_state(random_state)


def _train_alone(
    sub: Subgraph,
    how: Training,
    path: Path,
    progress: Report | None,
    stop: Stop,
    ask: str,
) -> Embedding:
    import torch
    from torch.optim import Adam

    train, valid, test = hold_out(sub.triples, how.seed)
    model, factory = _model(sub, how, train)
    from pykeen.training import SLCWATrainingLoop

    asked = {"valid": valid, "test": test}[ask]
    untrained = link_prediction(model, asked, sub.triples)
    loop = SLCWATrainingLoop(
        model=model,
        triples_factory=factory,
        optimizer=Adam(model.get_grad_params(), lr=how.rate),
        negative_sampler_kwargs={"num_negs_per_pos": how.negatives},
        automatic_memory_optimization=False,
    )
    state = _State(_state_path(path), model, loop, how)
    began = time.perf_counter()
    _run_epochs(loop, factory, state, progress, stop)
    seconds = time.perf_counter() - began
    with torch.no_grad():
        vectors = model.entity_representations[0](indices=None).numpy().astype(np.float32)
    quality: Quality = {
        "trained": link_prediction(model, asked, sub.triples),
        "untrained": untrained,
        "facts": min(len(asked), ASKED),
        "train_facts": len(train),
    }
    return Embedding(
        path.stem.removeprefix("embedding-"),
        how,
        sub.names,
        vectors,
        np.array(state.losses),
        quality,
        seconds,
    )


class _State:
    """The state of a training between epochs, as it is kept in a file.

    losses : mean loss of each finished epoch. resumed : was it read from the file?
    """

    def __init__(self, file: Path, model: Any, loop: Any, how: Training):
        import torch

        self.how = how
        self._file, self._model, self._loop = file, model, loop
        self._saved = time.monotonic()
        self.losses: list[float] = []
        self.resumed = file.is_file()
        if self.resumed:
            held = torch.load(file, weights_only=True)
            model.load_state_dict(held["model"])
            loop.optimizer.load_state_dict(held["optimizer"])
            self.losses = list(held["losses"])
            torch.set_rng_state(held["random"])
        else:
            torch.manual_seed(how.seed)

    @property
    def finished(self) -> bool:
        """Is there no epoch left that would be trained?"""
        return len(self.losses) >= self.how.epochs or _settled(self.losses, self.how.patience)

    @property
    def due(self) -> bool:
        """Have :data:`SAVED_EVERY` seconds passed since it was written?"""
        return time.monotonic() - self._saved > SAVED_EVERY

    def save(self) -> None:
        """Write it, whole or not at all."""
        import torch

        held = {
            "model": self._model.state_dict(),
            "optimizer": self._loop.optimizer.state_dict(),
            "losses": self.losses,
            "random": torch.get_rng_state(),
        }
        write_whole(self._file, lambda fresh: torch.save(held, fresh))
        self._saved = time.monotonic()


def _run_epochs(
    loop: Any, factory: Any, state: _State, progress: Report | None, stop: Stop
) -> None:
    """The epochs that are left. Raises Stopped, the state being kept, where `stop` says so."""
    from pykeen.training import TrainingCallback

    how, losses = state.how, state.losses
    began, before = time.perf_counter(), len(losses)

    class AfterEpoch(TrainingCallback):
        def post_epoch(self, epoch: int, epoch_loss: float, **kwargs: Any) -> None:
            losses.append(float(epoch_loss))
            rate = (len(losses) - before) / (time.perf_counter() - began)
            if progress is not None:
                left = (how.epochs - len(losses)) / rate
                stage = f"{how.model}, loss {losses[-1]:.4f},"
                progress(Progress(stage, len(losses), how.epochs, rate, left, "epochs"))
            if _settled(losses, how.patience):
                raise _Enough
            if len(losses) == how.epochs:
                return
            stopped = stop()
            if stopped or state.due:
                state.save()
            if stopped:
                raise Stopped(
                    f"stopped after epoch {len(losses)} of {how.epochs} of {how.model}; "
                    "the same command resumes it"
                )

    if state.finished:
        return
    # PyKEEN makes a folder for its checkpoints even where it writes none.
    with tempfile.TemporaryDirectory() as folder, suppress(_Enough):
        loop.train(
            factory,
            num_epochs=how.epochs - len(losses),
            batch_size=how.batch,
            continue_training=state.resumed,
            use_tqdm=False,
            callbacks=AfterEpoch(),  # type: ignore[no-untyped-call]  # PyKEEN's
            checkpoint_directory=folder,
            pin_memory=False,
        )


def _settled(losses: Sequence[float], patience: int) -> bool:
    """Has the loss not fallen by 0.1 % below its least for `patience` epochs?

    >>> _settled([3.0, 1.0, 1.0, 1.2], 2), _settled([3.0, 1.0, 1.0, 0.9], 2)
    (True, False)
    """
    if not patience or len(losses) <= patience:
        return False
    best = min(losses[:-patience])
    return min(losses[-patience:]) > best - 0.001 * abs(best)


ASKED = 250
"""Held-out facts that are asked, at most."""


def link_prediction(model: Any, asked: np.ndarray, known: np.ndarray) -> Ranks:
    """MRR and Hits@10 of a model on held-out facts: does it rank the true entity high?

    For each fact, once its head and once its tail is left out, and every entity is scored in its
    place; entities that form another known fact are skipped (filtered ranks). Equal scores share
    the mean of their ranks. Of more than :data:`ASKED` facts only the first are asked (they are
    in random order). NaN where there are none.

    asked, known : int64 (facts, 3).
    """
    import torch

    asked = asked[:ASKED]
    if not len(asked):
        return {"MRR": float("nan"), "hits_10": float("nan")}
    answers: dict[tuple[int, int, int], list[int]] = {}
    for h, r, t in known.tolist():
        answers.setdefault((0, r, t), []).append(h)
        answers.setdefault((2, r, h), []).append(t)
    ranks = []
    model.eval()
    with torch.no_grad():
        for first in range(0, len(asked), 16):
            part = torch.as_tensor(asked[first : first + 16])
            for column, scores in (
                (2, model.score_t(part[:, :2])),
                (0, model.score_h(part[:, 1:])),
            ):
                table = scores.numpy()
                for row, (h, r, t) in enumerate(part.tolist()):
                    true, other = (t, h) if column == 2 else (h, t)
                    own = table[row, true]
                    table[row, answers[(column, r, other)]] = -np.inf
                    ranks.append(1 + (table[row] > own).sum() + (table[row] == own).sum() / 2)
    rank = np.array(ranks)
    return {"MRR": float((1 / rank).mean()), "hits_10": float((rank <= 10).mean())}
