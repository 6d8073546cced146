"""Graphs: ConceptNet's file, triples, and neighbourhoods against a scan of all facts."""

from __future__ import annotations

import gzip
import json
import re
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.foundation.errors import BadFile, UnitscopeError
from core.knowledge.align import align
from core.knowledge.conceptnet import load_graph, read_conceptnet
from core.knowledge.graph import Edge, Graph, edit_distance
from core.knowledge.kinds import open_knowledge
from core.knowledge.triples import read_triples
from tests.knowledge.facts import FEW, facts_file


def assertion(relation: str, start: str, end: str, weight: float = 1.0, text: str = "") -> str:
    """One line as ConceptNet 5.7 publishes it."""
    fact = {
        "dataset": "/d/conceptnet/4/en",
        "license": "cc:by/4.0",
        "sources": [{"activity": "/s/activity/omcs/vote", "contributor": "/s/contributor/x"}],
        "surfaceText": text,
        "weight": weight,
    }
    uri = f"/a/[/r/{relation}/,{start}/,{end}/]"
    return f"{uri}\t/r/{relation}\t{start}\t{end}\t{json.dumps(fact)}\n"


LINES = [
    assertion("AtLocation", "/c/en/bed/n/wn/artifact", "/c/en/bedroom", 2.0),
    assertion("AtLocation", "/c/en/bed", "/c/en/bedroom/n", 3.5),
    assertion("AtLocation", "/c/fr/lit", "/c/fr/chambre"),
    assertion("Synonym", "/c/en/bed/n", "/c/de/bett/n"),
    assertion("Synonym", "/c/en/bed/n", "/c/en/bed/v"),
    assertion("ExternalURL", "/c/en/bed", "http://dbpedia.org/resource/Bed"),
    assertion("UsedFor", "/c/en/night_stand", "/c/en/hold_a_lamp", 1.0, 'say "weight": 9} [[x]]'),
    assertion("dbpedia/genre", "/c/en/café/n", "/c/en/live_room", 0.5),
]


@pytest.mark.parametrize("zipped", [False, True])
def test_conceptnet_keeps_english_folds_senses_and_merges(tmp_path, zipped):
    text = "".join(LINES).encode()
    path = tmp_path / ("assertions.csv.gz" if zipped else "assertions.csv")
    path.write_bytes(gzip.compress(text) if zipped else text)
    told = []
    graph = open_knowledge(f"conceptnet:{path}", tmp_path / "cache", told.append)
    assert list(graph.nodes) == [
        "bed",
        "bedroom",
        "café",
        "hold a lamp",
        "live room",
        "night stand",
    ]
    assert [graph.edge(k) for k in range(len(graph))] == [
        Edge("AtLocation", "bed", "bedroom", 3.5),
        Edge("dbpedia/genre", "café", "live room", 0.5),
        Edge("UsedFor", "night stand", "hold a lamp", 1.0),
    ]
    assert told[-1].done == told[-1].total == -(-path.stat().st_size // 1000)  # kB
    assert told[-1].left == 0 and str(told[-1]).startswith("8 lines, ")
    # The second opening reads the compact file and not the source.
    kept = list((tmp_path / "cache").iterdir())
    assert len(kept) == 1 and kept[0].suffix == ".npz"
    again: list = []
    same = open_knowledge(f"conceptnet:{path}", tmp_path / "cache", again.append)
    assert not again and same.digest() == graph.digest() and same.name == graph.name
    kept[0].write_bytes(b"damaged")
    with pytest.raises(BadFile, match="no compact graph"):
        load_graph(kept[0])
    assert open_knowledge(f"conceptnet:{path}", tmp_path / "cache").digest() == graph.digest(), (
        "a damaged compact file is made anew"
    )
    path.write_bytes(gzip.compress(text + text) if zipped else text + LINES[2].encode())
    open_knowledge(f"conceptnet:{path}", tmp_path / "cache")
    assert len(list((tmp_path / "cache").iterdir())) == 2, "another source, another compact file"


@given(st.integers(1, 4000), st.booleans())
@settings(max_examples=30, deadline=None)
def test_conceptnet_blocks_may_end_anywhere(chunk, ended):
    import tempfile
    from unittest import mock

    text = "".join(LINES)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.csv"
        path.write_text(text if ended else text.rstrip("\n"), encoding="utf-8")
        with mock.patch("core.knowledge.conceptnet.CHUNK", max(chunk, 200)):
            graph = read_conceptnet(path)
    assert len(graph) == 3 and len(graph.nodes) == 6


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        ("AtLocation\tbed\tbedroom\n", r"line 9 has 3 columns .*triples:FILE"),
        ("\n", r"line 9 has 1 columns"),
        (LINES[0].replace("/a/[", "/b/[", 1), r"line 9: column 1 should be the URI"),
        (LINES[0].replace("\t/r/", "\t/q/"), r"line 9: column 2 should be the relation"),
        (LINES[0].replace("\t/c/en/bed/", "\tbed/"), r"line 9: column 3 should be the start"),
        (LINES[0].split("{")[0] + "weight 1\n", r"line 9: column 5 should be JSON"),
        (LINES[0].split("{")[0] + '{"weight": "heavy"}\n', r"line 9: the JSON has no number"),
        (LINES[0].replace("/c/en/bedroom\t", "/c/en/\t"), r"line 9: a node has no name"),
    ],
)
def test_conceptnet_tells_the_line_that_is_wrong(tmp_path, bad, why):
    path = tmp_path / "a.csv"
    path.write_text("".join(LINES) + bad + LINES[0], encoding="utf-8")
    with pytest.raises(BadFile, match=why):
        read_conceptnet(path)


def test_conceptnet_that_is_none(tmp_path):
    path = tmp_path / "a.csv.gz"
    path.write_bytes(gzip.compress("".join(LINES).encode())[:-20])
    with pytest.raises(BadFile, match="breaks off after line"):
        read_conceptnet(path)
    path.write_text("not zipped")
    with pytest.raises(BadFile, match="breaks off after line 0"):
        read_conceptnet(path)
    plain = tmp_path / "b.csv"
    plain.write_text("")
    with pytest.raises(BadFile, match="is empty"):
        read_conceptnet(plain)
    plain.write_text(LINES[2], encoding="utf-8")
    with pytest.raises(BadFile, match="no fact between two English nodes"):
        read_conceptnet(plain)
    with pytest.raises(BadFile, match="is a folder"):
        open_knowledge(f"conceptnet:{tmp_path}", tmp_path)


def test_triples(tmp_path):
    path = tmp_path / "t.tsv"
    path.write_text(
        "# facts\n\nAtLocation\tBed\tlive_room\t0.5\r\nAtLocation\tbed\tlive room\t2\n"
        "HasA\tbed\tbed\nHasA\tbed\tpillow\n",
        encoding="utf-8",
    )
    graph = open_knowledge(f"triples:{path}")
    assert graph.name == "triples:t.tsv"
    assert [graph.edge(k) for k in range(len(graph))] == [
        Edge("AtLocation", "bed", "live room", 2.0),
        Edge("HasA", "bed", "pillow", 1.0),
    ]
    assert graph.node("Live_Room") is not None and graph.node("sofa") is None
    assert graph.counts() == {"AtLocation": 1, "HasA": 1}
    zipped = tmp_path / "t.tsv.gz"
    zipped.write_bytes(gzip.compress(path.read_bytes()))
    assert read_triples(zipped).digest() == graph.digest()


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (b"HasA\tbed\tpillow\nHasA bed pillow\n", r"line 2 has 1 columns.*'HasA bed pillow'"),
        (b"HasA\tbed\tpillow\nHasA\t\tpillow\n", "line 2 has an empty head"),
        (b"HasA\tbed\tpillow\tmuch\n", "line 1 has the weight 'much'"),
        (b"HasA\tbed\tpillow\nHasA\tb\xff\tx\n", "line 2 is not UTF-8"),
        (LINES[0].encode(), "line 1 is a ConceptNet assertion; say conceptnet:FILE"),
        (b"# nothing\n", "holds no facts"),
        (b"".join(b"r%d\th%d\tt%d\n" % (k, k, k) for k in range(3000)), "really the relation"),
    ],
)
def test_triples_tell_the_line_that_is_wrong(tmp_path, text, why):
    path = tmp_path / "t.tsv"
    path.write_bytes(text)
    with pytest.raises(BadFile, match=why):
        read_triples(path)


def test_specs(tmp_path):
    assert len(open_knowledge("builtin")) > 1000
    for spec, why in (
        ("bulitin", "nearest: builtin; forms: builtin, triples:FILE"),
        ("builtin:x", "takes no file"),
        ("triples:", "does not exist"),
        (f"triples:{tmp_path / 'none'}", "does not exist"),
        (f"triples:{tmp_path}", "a folder without train.txt"),
    ):
        with pytest.raises(UnitscopeError, match=why):
            open_knowledge(spec)


def test_a_graph_without_facts():
    empty = Graph.from_edges([])
    assert len(empty) == len(empty.nodes) == 0 and empty.counts() == {}
    assert empty.close("bedroom", 2) == [] and empty.similar("bedroom") == []
    assert align(["bedroom"], empty)["kind"].tolist() == ["none"]
    with pytest.raises(UnitscopeError, match="none is like it"):
        empty.neighbours("bedroom")


def test_neighbours(small):
    near = small.neighbours("bedroom")
    assert list(near) == ["bed", "lamp"]
    assert near["bed"] == [
        Edge("AtLocation", "bed", "bedroom", 2.0),
        Edge("HasA", "bedroom", "bed", 1.0),
    ]
    assert set(small.neighbours("bedroom", min_weight=1)) == {"bed"}
    assert list(small.neighbours("bedroom", direction="out")) == ["bed"]
    assert list(small.neighbours("bedroom", direction="in")) == ["bed", "lamp"]
    assert list(small.neighbours("bedroom", ["IsA"])) == ["room"]
    two = small.neighbours("bedroom", hops=2)
    assert set(two) == {"bed", "lamp", "pillow"}
    assert two["pillow"] == [
        Edge("AtLocation", "bed", "bedroom", 2.0),
        Edge("AtLocation", "pillow", "bed", 3.0),
    ]
    assert list(small.neighbours("bedroom", hops=2, among=["pillow", "nowhere"])) == ["pillow"]
    assert small.neighbours("wall", ["LocatedNear"]) == {}, "a known relation it lacks"
    for call, why in (
        (lambda: small.neighbours("bedrom"), "no node 'bedrom'; nearest: bedroom"),
        (lambda: small.neighbours("bed", ["AtLocaton"]), "nearest: AtLocation"),
        (lambda: small.neighbours("bed", hops=3), "hops is 1 or 2"),
        (lambda: small.neighbours("bed", direction="up"), "unknown direction"),
    ):
        with pytest.raises(UnitscopeError, match=why):
            call()


triple = st.tuples(
    st.sampled_from(["AtLocation", "HasA", "IsA"]),
    st.sampled_from("abcdefg"),
    st.sampled_from("abcdefg"),
    st.sampled_from([0.5, 1.0, 2.0]),
)


@given(
    st.lists(triple, min_size=1, max_size=25),
    st.sets(st.sampled_from(["AtLocation", "HasA", "IsA"]), min_size=1),
    st.sampled_from(["both", "out", "in"]),
    st.sampled_from([0.0, 1.0]),
)
@settings(max_examples=150, deadline=None)
def test_neighbours_against_a_scan_of_all_facts(facts, relations, direction, least):
    graph = Graph.from_edges(facts)
    merged: dict[tuple[str, str, str], float] = {}
    for r, h, t, w in facts:
        if h != t:
            merged[r, h, t] = max(w, merged.get((r, h, t), 0.0))
    assert {(e.relation, e.head, e.tail): e.weight for e in map(graph.edge, range(len(graph)))} == (
        merged
    )

    def step(name):
        out: dict[str, set] = {}
        for (r, h, t), w in merged.items():
            if r in relations and w >= least:
                if h == name and direction != "in":
                    out.setdefault(t, set()).add(Edge(r, h, t, w))
                if t == name and direction != "out":
                    out.setdefault(h, set()).add(Edge(r, h, t, w))
        return out

    for name in graph.nodes:
        one = step(name)
        near = graph.neighbours(name, relations, 1, direction, least)
        assert {k: set(v) for k, v in near.items()} == one
        far: dict[str, float] = {}
        for middle, first in one.items():
            for other, second in step(middle).items():
                if other != name and other not in one:
                    weak = min(max(e.weight for e in first), max(e.weight for e in second))
                    far[other] = max(far.get(other, 0.0), weak)
        two = graph.neighbours(name, relations, 2, direction, least)
        assert set(two) == set(one) | set(far)
        for other, weak in far.items():
            path = two[other]
            assert len(path) == 2 and min(e.weight for e in path) == weak
            ends = [{e.head, e.tail} for e in path]
            assert name in ends[0] and other in ends[1] and ends[0] & ends[1]


@given(st.text("abc", max_size=6), st.text("abc", max_size=6))
def test_edit_distance_against_recursion(a, b):
    def slow(i, j):
        if not i or not j:
            return i + j
        best = min(
            slow(i - 1, j) + 1, slow(i, j - 1) + 1, slow(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        )
        if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
            best = min(best, slow(i - 2, j - 2) + 1)
        return best

    if len(a) + len(b) > 9:
        return
    true = slow(len(a), len(b))
    for most in (0, 1, 2, 9):
        assert edit_distance(a, b, most) == min(true, most + 1)


def test_cn100k_is_read_whole(cn100k):
    assert cn100k.name == "triples:CN-100K"
    # 102,400 lines; a few join a node to itself or say again what another line says.
    assert 102_200 <= len(cn100k) <= 102_400
    assert cn100k.counts()["AtLocation"] >= 14_800


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda r, h, t: (r.lower(), h, t),
        lambda r, h, t: (re.sub("([a-z])([A-Z])", r"\1_\2", r).lower(), h.upper(), t),
        lambda r, h, t: ("/r/" + r, "/c/en/" + h.replace(" ", "_"), f"/c/en/{t}/n/wn/artifact"),
        lambda r, h, t: (h, r, t),
        lambda r, h, t: (h, t, "/r/" + r),
        lambda r, h, t: ("/c/en/" + h.replace(" ", "_"), "/r/" + r + "/", "/c/en/" + t),
    ],
    ids=["lower", "snake", "uri", "head first", "relation last", "uri, head first"],
)
def test_triples_are_folded_and_their_relation_is_found(tmp_path, rewrite):
    wanted = read_triples(facts_file(tmp_path, FEW, "plain.tsv"), "x")
    assert wanted.counts()["AtLocation"] == 2
    found = read_triples(facts_file(tmp_path, [rewrite(*row) for row in FEW]), "x")
    assert found.digest() == wanted.digest()
    assert set(found.neighbours("bedroom")) == {"bed", "wall"}


def test_the_relation_of_unknown_relations_is_found_or_asked_for(tmp_path):
    many = [(f"thing {k}", f"REL{k % 3}", f"place {k % 40}") for k in range(200)]
    graph = read_triples(facts_file(tmp_path, many), "x")
    assert graph.relations == ("REL0", "REL1", "REL2")
    few = [("cup", "found", "shelf"), ("pan", "found", "stove"), ("pot", "held", "hook")]
    with pytest.raises(BadFile, match=r"which of its columns is the relation.*3 in column 1, 2 in"):
        read_triples(facts_file(tmp_path, few))
    graph = read_triples(facts_file(tmp_path, [("head", "relation", "tail"), *few]), "x")
    assert graph.counts() == {"found": 2, "held": 1}
    graph = read_triples(
        facts_file(tmp_path, [("Relation", "Tail", "Head", "weight"), ("found", "a", "b", "2")])
    )
    assert [graph.edge(0)] == [Edge("found", "b", "a", 2.0)]
    # As documented where nothing speaks against it.
    assert read_triples(facts_file(tmp_path, [("found", "cup", "shelf")])).relations == ("found",)


def test_facts_in_other_languages_are_left_out(tmp_path):
    rows = [
        ("/r/AtLocation", "/c/en/bed", "/c/en/bedroom"),
        ("/r/AtLocation", "/c/fr/lit", "/c/fr/chambre"),
    ]
    assert list(read_triples(facts_file(tmp_path, rows)).nodes) == ["bed", "bedroom"]
    with pytest.raises(BadFile, match="no fact between two English nodes"):
        read_triples(facts_file(tmp_path, rows[1:]))
