"""Embeddings: the part of the graph, training, and what a trained model finds."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.knowledge.graph import Graph
from core.merging import embed
from core.merging.embed import (
    Training,
    hold_out,
    link_prediction,
    open_embedding,
    subgraph,
    training,
)

FACTS = [
    ("AtLocation", "bed", "bedroom"),
    ("IsA", "bed", "furniture"),
    ("IsA", "chair", "furniture"),
    ("IsA", "furniture", "thing"),
    ("AtLocation", "pillow", "bedroom"),
    ("IsA", "armchair", "chair"),
    ("UsedFor", "bedroom", "sleep"),
    ("HasA", "house", "bedroom"),
    ("HasA", "house", "furniture"),
    ("NotHasProperty", "bed", "loud"),
    ("IsA", "sleep", "rest"),
    ("RelatedTo", "chair", "seat", 0.5),
]


def test_the_subgraph_has_neighbours_and_well_joined_nodes_two_steps_away():
    graph = Graph.from_edges(FACTS)
    sub = subgraph(["bed", "chairs", "xylophone", "armchair"], graph)
    # bedroom and furniture are neighbours; house is joined to both of them, pillow, sleep and
    # thing to one node each; seat's fact is too light, and `loud` is only denied.
    assert set(sub.names) == {"bed", "chair", "armchair", "bedroom", "furniture", "house"}
    assert [sub.names[n] if n >= 0 else None for n in sub.nodes] == [
        "bed",
        "chair",
        None,
        "armchair",
    ]
    facts = {(sub.relations[r], sub.names[h], sub.names[t]) for h, r, t in sub.triples}
    assert facts == {f[:3] for f in FACTS if set(f[1:3]) <= set(sub.names)}
    assert sub.sizes["two_hop"] == 1 and sub.sizes["two_hop_all"] == 4
    assert sub.alignment["kind"].tolist() == ["exact", "normalised", "none", "exact"]
    assert "3 of 4 concepts" in str(sub)
    wide = subgraph(["bed", "chair"], graph, links=1, min_weight=0.1)
    assert set(wide.names) == {n for f in FACTS for n in f[1:3]} - {"loud", "rest"}
    few = subgraph(["bed", "chair"], graph, ["IsA"])
    assert set(few.names) == {"bed", "chair", "armchair", "furniture"}


def test_a_subgraph_that_is_too_large_asks_for_more_links():
    graph = Graph.from_edges(FACTS)
    assert subgraph(["bed", "chair"], graph, links=1, most=8).sizes["links_two"] == 2
    small = subgraph(["bed", "chair"], graph, most=3)
    assert set(small.names) == {"bed", "chair", "furniture"} and small.sizes["links_one"] == 2
    assert "with 2 or more links" in str(small)


def test_what_cannot_be_a_subgraph_is_told(tmp_path):
    graph = Graph.from_edges(FACTS)
    with pytest.raises(UnitscopeError, match="none of the 1 concepts is a node"):
        subgraph(["xylophone"], graph)
    with pytest.raises(UnitscopeError, match="nearest: IsA"):
        subgraph(["bed"], graph, ["IsAn"])
    with pytest.raises(UnitscopeError, match="no facts around"):
        subgraph(["bed"], graph, ["MadeOf"])
    nodes = tmp_path / "nodes.tsv"
    nodes.write_text("name\tnode\nxylophone\tthing\n")
    assert subgraph(["xylophone"], graph, overrides=nodes).names[0] == "furniture"


def drawn_graph(seed=0, nodes=40, facts=200):
    """A graph with structure to learn: relation r leads from a node to one r + 1 places on."""
    rng = np.random.default_rng(seed)
    edges = [
        (f"R{r}", f"node {h:02}", f"node {(h + r + 1) % nodes:02}")
        for h, r in zip(rng.integers(0, nodes, facts), rng.integers(0, 3, facts), strict=True)
    ]
    return Graph.from_edges(edges)


@pytest.mark.parametrize("seed", range(3))
def test_held_out_facts_leave_every_entity_and_relation_one(seed):
    sub = subgraph([f"node {k:02}" for k in range(40)], drawn_graph(seed))
    train, valid, test = hold_out(sub.triples, seed)
    rows = [tuple(row) for part in (train, valid, test) for row in part.tolist()]
    assert sorted(rows) == sorted(map(tuple, sub.triples.tolist()))
    assert len(valid) == len(test) > 0
    assert set(train[:, 1]) == set(sub.triples[:, 1])
    assert set(train[:, 0]) == set(sub.triples[:, 0])
    again = hold_out(sub.triples, seed)
    assert all((a == b).all() for a, b in zip(again, (train, valid, test), strict=True))


@pytest.fixture(scope="module")
def ring():
    return subgraph([f"node {k:02}" for k in range(40)], drawn_graph())


@pytest.mark.parametrize("name", embed.MODELS)
def test_embeddings_are_kept_and_the_same_bytes_again(ring, tmp_path, name):
    how = training(name, dim=8, epochs=3, batch=64, negatives=2)
    told = []
    made = open_embedding(ring, how, tmp_path / "a", told.append)
    assert made.vectors.shape == (40, 8) and made.vectors.dtype == np.float32
    assert [e.done for e in told] == [1, 2, 3] and "3/3 epochs" in str(told[-1])
    again = open_embedding(ring, how, tmp_path / "b")
    assert again.vectors.tobytes() == made.vectors.tobytes()
    (one,), (two,) = (list((tmp_path / d).iterdir()) for d in "ab")
    assert one.name == two.name and one.read_bytes() == two.read_bytes()
    read = open_embedding(ring, how, tmp_path / "a", make=False)
    assert read.seconds is None and read.names == ring.names and read.training == how
    assert read.quality == made.quality and (read.losses == made.losses).all()
    other = embed.embedding_path(ring, training(name, dim=8, epochs=3, seed=1), tmp_path / "a")
    assert other.name != one.name
    one.write_bytes(b"PK broken")
    with pytest.raises(UnitscopeError, match="is no embedding"):
        open_embedding(ring, how, tmp_path / "a")


def test_a_stopped_training_goes_on_to_the_same_vectors(ring, tmp_path):
    how = training("TransE", dim=8, epochs=4, batch=64, patience=0)
    whole = open_embedding(ring, how, tmp_path / "whole")
    asked = []

    def stopping():
        asked.append(True)
        return len(asked) == 2

    with pytest.raises(Stopped, match="after epoch 2 of 4"):
        open_embedding(ring, how, tmp_path / "stopped", stop=stopping)
    assert [p.suffix for p in (tmp_path / "stopped").iterdir()] == [".partial"]
    with pytest.raises(UnitscopeError, match="core embed RUN"):
        open_embedding(ring, how, tmp_path / "stopped", make=False)
    resumed = open_embedding(ring, how, tmp_path / "stopped")
    assert resumed.vectors.tobytes() == whole.vectors.tobytes()
    assert (resumed.losses == whole.losses).all()
    assert [p.suffix for p in (tmp_path / "stopped").iterdir()] == [".npz"]


def test_a_killed_training_goes_on_from_what_was_saved(ring, tmp_path, monkeypatch):
    """Its state was written where it was asked to stop, and nowhere else."""
    monkeypatch.setattr("core.merging.embed.SAVED_EVERY", 0.0)
    how = training("TransE", dim=8, epochs=4, batch=64, patience=0)
    whole = open_embedding(ring, how, tmp_path / "whole")

    def killed(epoch):
        if epoch.done == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_embedding(ring, how, tmp_path / "killed", killed)
    seen = []
    resumed = open_embedding(ring, how, tmp_path / "killed", lambda epoch: seen.append(epoch.done))
    assert seen == [3, 4]
    assert resumed.vectors.tobytes() == whole.vectors.tobytes()
    (made,) = (tmp_path / "killed").iterdir()
    # Killed between the two last steps: the state beside the result is taken away.
    made.with_suffix(".partial").write_bytes(b"what was left")
    open_embedding(ring, how, tmp_path / "killed")
    assert list((tmp_path / "killed").iterdir()) == [made]


def test_training_ends_when_the_loss_stays_and_leaves_torch_as_it_was(ring, tmp_path):
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    how = training("DistMult", dim=4, epochs=50, batch=256, rate=1e-9, patience=3)
    made = open_embedding(ring, how, tmp_path)
    assert 4 <= len(made.losses) < 50
    assert (torch.get_rng_state() == before).all() and torch.get_num_threads() == threads


def test_a_trained_model_finds_what_it_was_not_shown(ring, tmp_path):
    made = open_embedding(
        ring, training("TransE", dim=16, epochs=20, batch=64, rate=0.05, patience=0), tmp_path
    )
    trained, untrained = made.quality["trained"], made.quality["untrained"]
    assert trained["MRR"] > 2 * untrained["MRR"] and trained["hits_10"] > untrained["hits_10"]


def test_link_prediction_ranks_as_defined():
    """A model with a table of scores, against ranks by sorting in plain Python."""
    rng = np.random.default_rng(0)
    scores = rng.integers(0, 5, (6, 2, 6)).astype(np.float32)
    known = np.array(
        [[h, r, t] for h in range(6) for r in range(2) for t in range(6) if rng.random() < 0.2]
    )

    class Table:
        def eval(self):
            pass

        def score_t(self, hr):
            return torch.as_tensor(scores)[hr[:, 0], hr[:, 1]]

        def score_h(self, rt):
            return torch.as_tensor(scores)[:, rt[:, 0], rt[:, 1]].T

    asked = known[::2]
    facts = set(map(tuple, known.tolist()))
    ranks = []
    for h, r, t in asked.tolist():
        for others in (
            [(h, r, e) for e in range(6) if e != t and (h, r, e) not in facts],
            [(e, r, t) for e in range(6) if e != h and (e, r, t) not in facts],
        ):
            own = scores[h, r, t]
            better = sum(scores[f] > own for f in others)
            ranks.append(1 + better + sum(scores[f] == own for f in others) / 2)
    told = link_prediction(Table(), asked, known)
    assert told["MRR"] == pytest.approx(np.mean([1 / rank for rank in ranks]))
    assert told["hits_10"] == np.mean([rank <= 10 for rank in ranks])
    assert np.isnan(link_prediction(Table(), asked[:0], known)["MRR"])


def test_settings_that_make_no_sense_are_told():
    with pytest.raises(UnitscopeError, match="nearest: TransE"):
        training("TranzE")
    with pytest.raises(UnitscopeError, match="dim is at least 1"):
        training("TransE", dim=0)
    with pytest.raises(UnitscopeError, match="learning rate"):
        training("TransE", rate=-1.0)
    assert Training() == training("TransE", seed=None) or Training().model == "TransE"
