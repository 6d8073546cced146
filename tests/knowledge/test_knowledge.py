"""Knowledge graphs, alignment with real nodes, core concepts against a set-based search."""

from __future__ import annotations

import gzip
import json
import re
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from core.cli import main
from core.foundation.errors import BadFile, NoEffect, UnitscopeError, allow_empty
from core.knowledge import align as align_module
from core.knowledge import core_concepts as core_concepts_module
from core.knowledge.align import KINDS, align, read_overrides, write_alignment
from core.knowledge.conceptnet import load_graph, read_conceptnet
from core.knowledge.core_concepts import (
    Annotated,
    coverage,
    identifier_core_concepts,
    identifying_percentage,
    related_concepts,
    related_mask,
    scoping_core_concepts,
    top_k_concepts,
)
from core.knowledge.graph import Edge, Graph, edit_distance
from core.knowledge.kinds import open_knowledge
from core.knowledge.triples import read_triples

# -- ConceptNet ------------------------------------------------------------------------------


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
    assert told[-1].lines == 8 and told[-1].done == told[-1].total == path.stat().st_size
    assert told[-1].left == 0 and "8 lines, 100 %" in str(told[-1])
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


# -- triples and SPECs -----------------------------------------------------------------------


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
        ("bulitin", "nearest: builtin.*Forms: builtin; triples:FILE"),
        ("builtin:x", "takes no file"),
        ("triples:", "does not exist"),
        (f"triples:{tmp_path / 'none'}", "does not exist"),
        (f"triples:{tmp_path}", "a folder without train.txt"),
    ):
        with pytest.raises(UnitscopeError, match=why):
            open_knowledge(spec)


# -- neighbourhoods --------------------------------------------------------------------------

FACTS = [
    ("AtLocation", "bed", "bedroom", 2.0),
    ("HasA", "bedroom", "bed", 1.0),
    ("IsA", "bedroom", "room", 1.0),
    ("AtLocation", "pillow", "bed", 3.0),
    ("AtLocation", "pillow", "sofa", 0.5),
    ("RelatedTo", "sofa", "room", 1.0),
    ("HasA", "room", "wall", 1.0),
    ("AtLocation", "lamp", "bedroom", 0.1),
]


@pytest.fixture(scope="module")
def small() -> Graph:
    return Graph.from_edges(FACTS)


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


# -- alignment -------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def cn100k(data_dir) -> Graph:
    return open_knowledge(f"triples:{data_dir / 'conceptnet' / 'CN-100K'}")


def test_cn100k_is_read_whole(cn100k):
    assert cn100k.name == "triples:CN-100K"
    # 102,400 lines; a few join a node to itself or say again what another line says.
    assert 102_200 <= len(cn100k) <= 102_400
    assert cn100k.counts()["AtLocation"] >= 14_800


@pytest.mark.parametrize(
    ("name", "node", "kind"),
    [
        ("living room", "live room", "lemmatised"),
        ("living_room", "live room", "lemmatised"),
        ("/l/living_room", "live room", "lemmatised"),
        ("dining_room", "dine room", "lemmatised"),
        ("swimming pool", "swim pool", "lemmatised"),
        ("building", "build", "lemmatised"),
        ("night stand", "night stand", "exact"),
        ("nightstand", "nightstand", "exact"),
        ("Night_Stand", "night stand", "normalised"),
        ("refridgerator", "refrigerator", "fuzzy"),
        ("refrigerator", "refrigerator", "exact"),
        ("building_facade", None, "none"),
        ("mountain_snowy", "mountain", "qualifier"),
        ("arena-hockey", "hockey arena", "normalised"),
        ("/a/arena/hockey", "hockey arena", "normalised"),
        ("chest of drawers, chest, bureau, dresser", "chest of drawer", "normalised"),
        ("windowpane, window", "window", "exact"),
        ("home_office", "home office", "normalised"),
        ("bookstore", "bookstore", "exact"),
        ("otherfurniture", None, "none"),
        ("church_outdoor", "church", "qualifier"),
        ("florist_shop_indoor", None, "none"),
        ("shelves", "shelf", "normalised"),
        ("stairs", "stair", "normalised"),
        ("water_park", None, "none"),
        ("printer_room", None, "none"),
        ("zzzqqq", None, "none"),
        ("", None, "none"),
    ],
)
def test_real_names_against_cn100k(cn100k, name, node, kind):
    row = align([name], cn100k).iloc[0]
    assert (row["node"], row["kind"]) == (node, kind)
    assert 0 <= row["score"] <= 1 and (row["score"] == 0) == (node is None)


@pytest.mark.parametrize(
    ("name", "node"),
    [
        ("building_facade", "build"),
        ("otherfurniture", "furniture"),
        ("water_park", "park"),
        ("florist_shop_indoor", "shop"),
        ("printer_room", "room"),
        ("conference_room", "room"),
    ],
)
def test_head_nouns_are_suggested_and_taken_only_where_asked(cn100k, name, node, tmp_path):
    bare = align([name], cn100k)
    assert bare.loc[0, ["node", "kind", "suggested"]].tolist() == [None, "none", node]
    taken = align([name], cn100k, head_nouns=True)
    assert taken.loc[0, ["node", "kind", "suggested"]].tolist() == [node, "head_noun", ""]
    assert 0 < taken.loc[0, "score"] < 0.5
    # Accepted in a file, it stays marked as what it is; unaccepted, it stays a suggestion.
    write_alignment(taken, tmp_path / "taken.tsv")
    assert align([name], cn100k, overrides=tmp_path / "taken.tsv").equals(taken)
    write_alignment(bare, tmp_path / "bare.tsv")
    assert align([name], cn100k, overrides=tmp_path / "bare.tsv").equals(bare)


def test_members_say_what_guesses_they_rest_on(cn100k):
    world = make([0, 1, 2], [[1, 1, 1], [1, 1, 1], [1, 1, 1]], 3, ["object"] * 3)
    world = replace(
        world,
        scenes=["living_room", "printer_room", "kitchen"],
        concepts=["television", "couch", "refridgerator"],
    )
    related = related_concepts(world, cn100k)
    assert related[1] == {}, "what is in rooms is not in a printer room"
    scc = scoping_core_concepts(world, related)
    guess = scc.table("living_room").set_index("concept")["guess"]
    assert guess["television"] == "living_room → live room (lemmatised, 0.90)"
    kitchen = scc.table("kitchen").set_index("concept")["guess"]
    assert kitchen["refridgerator"] == "refridgerator → refrigerator (fuzzy, 0.92)"
    icc = identifier_core_concepts(world, related)
    by_frequency = icc.table("printer_room")
    assert len(by_frequency) and (by_frequency["guess"] == "").all()
    assert scc.guesses(0) and not scc.guesses(2)


def test_every_nyu_name_has_its_kind(cn100k, data_dir):
    lines = (data_dir / "nyuv2" / "labels40.txt").read_text().split("\n")
    names = [line.split("\t")[-1] for line in lines if line.strip()]
    frame = align(names, cn100k).set_index("name")
    assert set(frame["kind"]) <= set(KINDS)
    assert (frame["node"].notna()).sum() == 36
    assert frame.loc["television", "node"] == "television"
    assert frame.loc["books", "node"] == "book"


def test_synonyms_are_tried_in_order():
    graph = Graph.from_edges([("HasA", "couch", "leg"), ("HasA", "lounge", "leg")])
    frame = align(["sofa", "settee"], graph, {"sofa": ["couch", "lounge"]})
    assert frame["node"].tolist() == ["couch", None]
    assert frame["via"].tolist() == ["couch", ""]


@pytest.mark.parametrize("suffix", [".tsv", ".csv"])
def test_overrides_come_back_from_the_written_table(tmp_path, suffix):
    graph = Graph.from_edges(
        [("HasA", "chest", "drawer"), ("HasA", "fridge", "door"), ("HasA", "freezer", "door")]
    )
    names = ["chest, bureau", "fridge", "spaceship"]
    frame = align(names, graph)
    path = tmp_path / f"nodes{suffix}"
    write_alignment(frame, path)
    assert align(names, graph, overrides=path).equals(frame), "an unedited table changes nothing"
    text = path.read_text(encoding="utf-8")
    mark = "," if suffix == ".csv" else "\t"
    path.write_text(
        "# mine\n" + text.replace(f"{mark}fridge{mark}exact", f"{mark}Freezer{mark}exact"),
        encoding="utf-8",
    )
    edited = align(names, graph, overrides=path)
    assert edited["node"].tolist() == ["chest", "freezer", None]
    assert edited["kind"].tolist()[1:] == ["override", "none"]
    assert align(["fridge"], graph, overrides={"fridge": None})["node"].tolist() == [None]
    assert align(["fridge"], graph, overrides={"fridge": ""})["kind"].tolist() == ["override"]


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name\tnode\nfridge\tfrezer\n", "'fridge' is to be 'frezer'.*nearest: freezer"),
        ("name,node\nfridgee,freezer\n", "unknown name 'fridgee'; nearest: fridge"),
        ("nom,noeud\nfridge,freezer\n", "line 1: the header needs `name` and `node`"),
        ("name,node\nfridge\n", "line 2 has 1 columns of 2"),
        ("name,node\n,freezer\n", "line 2 has no name"),
        ("name,node\nfridge,freezer\nfridge,door\n", "line 3 names 'fridge' again"),
        ("", "is empty"),
    ],
)
def test_overrides_that_are_wrong(tmp_path, text, why):
    graph = Graph.from_edges([("HasA", "fridge", "door"), ("HasA", "freezer", "door")])
    path = tmp_path / "o.tsv"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(UnitscopeError, match=why):
        align(["fridge"], graph, overrides=path)
    with pytest.raises(BadFile, match="does not exist"):
        read_overrides(tmp_path / "none.tsv")


@given(st.lists(st.text(max_size=12), max_size=4))
@settings(max_examples=100, deadline=None)
def test_any_name_gets_one_row(small, names):
    frame = align(names, small)
    assert frame["name"].tolist() == names
    assert set(frame["kind"]) <= set(KINDS)
    assert all(node is None or node in small.nodes for node in frame["node"])


# -- core concepts ---------------------------------------------------------------------------


def make(scene_of, rows, scenes, categories):
    concepts = [f"c{k}" for k in range(len(categories))]
    return Annotated(
        [f"y{k}" for k in range(scenes)],
        concepts,
        list(categories),
        np.array(scene_of, np.int32),
        sparse.csr_array(np.array(rows, bool).reshape(len(scene_of), len(categories))),
    )


def icc_slow(world: Annotated, related: list[set[int]], k: int):
    """Count, P_c, TopkOfCount, SCount, P_sc, ICC with Python sets and fractions."""
    has = world.has.toarray()
    scenes = range(len(world.scenes))
    columns = [c for c, kind in enumerate(world.categories) if kind not in ("color", "scene")]
    images = {y: [x for x, s in enumerate(world.scene_of) if s == y] for y in scenes}
    share = {
        y: {
            c: Fraction(sum(bool(has[x, c]) for x in images[y]), len(images[y]))
            for c in columns
            if any(has[x, c] for x in images[y])
        }
        for y in scenes
    }
    shown = [y for y in scenes if images[y]]

    def search(pool):
        def family(p):
            return {y: frozenset(c for c in pool[y] if share[y][c] >= p) for y in scenes}

        def groups(p):
            by: dict[frozenset, list[int]] = {}
            for y in shown:
                by.setdefault(family(p)[y], []).append(y)
            return by

        values = sorted({share[y][c] for y in scenes for c in pool[y]}, reverse=True)
        if not values:
            return None, {y: frozenset() for y in scenes}, groups(1)
        for p in values:
            if len(groups(p)) == len(shown):
                return p, family(p), groups(p)
        best = max(values, key=lambda p: (len(groups(p)), p))
        return best, family(best), groups(best)

    p_c, count, _ = search({y: set(share[y]) for y in scenes})
    top = {y: sorted(count[y], key=lambda c: (-share[y][c], c))[:k] for y in scenes}
    scc = {y: related[y] & set(share[y]) for y in scenes}
    p_sc, icc, groups = search({y: scc[y] | set(top[y]) for y in scenes})
    same = sorted(g for g in groups.values() if len(g) > 1)
    return p_c, p_sc, scc, top, icc, same


@st.composite
def worlds(draw):
    scenes = draw(st.integers(1, 5))
    concepts = draw(st.integers(1, 6))
    images = draw(st.integers(0, 14))
    scene_of = draw(st.lists(st.integers(-1, scenes - 1), min_size=images, max_size=images))
    rows = draw(
        st.lists(
            st.lists(st.booleans(), min_size=concepts, max_size=concepts),
            min_size=images,
            max_size=images,
        )
    )
    categories = draw(
        st.lists(
            st.sampled_from(["object", "object", "part", "color", "scene"]),
            min_size=concepts,
            max_size=concepts,
        )
    )
    related = draw(
        st.lists(st.sets(st.integers(0, concepts - 1)), min_size=scenes, max_size=scenes)
    )
    related = [{c for c in found if categories[c] not in ("color", "scene")} for found in related]
    return make(scene_of, rows, scenes, categories), related, draw(st.integers(0, 3))


def as_sets(mask):
    return {y: frozenset(np.flatnonzero(row).tolist()) for y, row in enumerate(mask)}


@given(worlds())
@settings(max_examples=300, deadline=None)
def test_core_concepts_against_sets(world):
    annotated, related, k = world
    told = [{c: [Edge("HasA", "y", "c", 1.0)] for c in found} for found in related]
    p_c, p_sc, scc, top, icc, same = icc_slow(annotated, related, k)
    ours = scoping_core_concepts(annotated, told)
    assert as_sets(ours.members) == scc
    assert [set(edges) for edges in ours.edges] == [set(scc[y]) for y in range(len(scc))]
    found = identifier_core_concepts(annotated, told, k)
    assert found.p_c == (1.0 if p_c is None else float(p_c))
    assert found.p_sc == (1.0 if p_sc is None else float(p_sc))
    assert as_sets(found.top) == {y: frozenset(cs) for y, cs in top.items()}
    assert as_sets(found.members) == icc
    assert sorted(found.collisions) == same
    assert found.distinct == (not same)


@given(worlds())
@settings(max_examples=200, deadline=None)
def test_the_search_step_by_step(world):
    """Sets only grow as p falls; at P the family is distinct and above it nowhere is."""
    annotated, _, _ = world
    frequency, shown = annotated.frequency, annotated.sizes > 0
    found = identifying_percentage(frequency, annotated.eligible[None, :], shown)
    before = np.zeros(frequency.shape, bool)
    for p, told in zip(found.breakpoints, found.distinct_sets, strict=True):
        sets = annotated.eligible[None, :] & (frequency >= p)
        assert (sets | ~before).all() and sets.sum() > before.sum()
        before = sets
        assert told == len({row.tobytes() for row in sets[shown]})
        if p > found.p:
            assert told < found.scenes or not found.distinct
            assert told < found.distinct_sets.max()
    if len(found.breakpoints):
        at = found.breakpoints.tolist().index(found.p)
        assert found.distinct == (found.distinct_sets[at] == found.scenes)
        assert found.distinct_sets[at] == found.distinct_sets.max()


def test_a_world_worked_out_by_hand():
    """docs/knowledge.md: four bedrooms and two offices."""
    concepts = ["wall", "bed", "lamp", "desk", "red"]
    bedrooms = ["wall bed lamp", "wall bed lamp red", "wall bed", "wall desk"]
    offices = ["wall desk lamp", "wall desk"]
    rows = [[c in photo.split() for c in concepts] for photo in bedrooms + offices]
    world = Annotated(
        ["bedroom", "office"],
        concepts,
        ["object"] * 4 + ["color"],
        np.array([0] * 4 + [1] * 2, np.int32),
        sparse.csr_array(np.array(rows)),
    )
    graph = Graph.from_edges(
        [
            ("AtLocation", "bed", "bedroom"),
            ("AtLocation", "lamp", "bedroom"),
            ("AtLocation", "desk", "office"),
            ("AtLocation", "lamp", "office"),
        ]
    )
    related = related_concepts(world, graph)
    assert [sorted(found) for found in related] == [[1, 2], [2, 3]]
    assert top_k_concepts(world, 2).members.tolist() == [
        [True, True, False, False, False],
        [True, False, False, True, False],
    ]
    scc = scoping_core_concepts(world, related)
    assert as_sets(scc.members) == {0: frozenset({1, 2}), 1: frozenset({2, 3})}
    icc = identifier_core_concepts(world, related, k=1)
    # At p = 1 Count is {wall} and {wall, desk}: they differ, so P_c = 1 and each top is wall.
    assert icc.p_c == 1.0 and as_sets(icc.top) == {0: frozenset({0}), 1: frozenset({0})}
    # SCount(p = 1) is {wall} and {wall, desk}: P_sc = 1 too.
    assert icc.p_sc == 1.0 and icc.distinct and not icc.collisions
    assert as_sets(icc.members) == {0: frozenset({0}), 1: frozenset({0, 3})}
    assert icc.count_search.distinct_sets.tolist() == [2, 2, 2, 2]
    table = icc.table("office")
    assert table[["concept", "by"]].values.tolist() == [["wall", "frequency"], ["desk", "graph"]]
    assert table["edges"].tolist() == ["", "desk AtLocation office"]
    with pytest.raises(UnitscopeError, match="nearest: office"):
        icc.table("offce")


def test_scenes_that_collide_are_named():
    rows = [[1, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 0], [0, 0, 0]]
    world = make([0, 1, 2, 3, 4], rows, 6, ["object"] * 3)
    icc = identifier_core_concepts(world, [{} for _ in range(6)])
    assert not icc.distinct and icc.p_sc == 1.0
    assert icc.collisions == [[0, 1], [3, 4]], "two empty sets are equal; y5 has no image"
    assert not icc.members[5].any()
    empty = identifier_core_concepts(make([0, 1], [[0], [0]], 2, ["object"]), [{}, {}])
    assert not empty.distinct and empty.collisions == [[0, 1]] and empty.p_c == 1.0


def test_ties_go_by_the_concept_table_and_colours_never_enter():
    world = make([0, 0], [[1, 1, 1, 1], [1, 1, 1, 0]], 1, ["color", "object", "part", "object"])
    assert as_sets(top_k_concepts(world, 1).members) == {0: frozenset({1})}
    assert as_sets(top_k_concepts(world, 10).members) == {0: frozenset({1, 2, 3})}
    assert top_k_concepts(world).kind == "top10"


def test_wrong_calls_are_told():
    world = make([0], [[1]], 1, ["object"])
    for call, why in (
        (lambda: top_k_concepts(world, 0), "at least 1"),
        (lambda: identifier_core_concepts(world, [{}], -1), "at least 0"),
        (lambda: scoping_core_concepts(world, []), "0 related sets for 1 scenes"),
        (lambda: make([3], [[1]], 1, ["object"]), "scene_of must lie"),
        (lambda: related_concepts(world, Graph.from_edges(FACTS), ["HsA"]), "nearest: HasA"),
    ):
        with pytest.raises(UnitscopeError, match=why):
            call()


def test_related_concepts_align_both_sides(cn100k):
    world = Annotated(
        ["living_room", "mountain_snowy", "zzzqqq"],
        ["television", "couch", "night stand", "grey"],
        ["object", "object", "object", "color"],
        np.zeros(0, np.int32),
        sparse.csr_array((0, 4), dtype=bool),
    )
    related = related_concepts(world, cn100k)
    assert {0, 1} <= set(related[0]) and 3 not in related[0]
    assert all("live room" in (e.head, e.tail) for edges in related[0].values() for e in edges)
    assert related[2] == {}
    assert related_mask(related, 4).sum() == sum(map(len, related))
    # Without its qualifier a name is a guess: by its score it can be left out.
    assert related_concepts(world, cn100k, hops=2, min_score=0.9)[1] == {}
    assert set(related_concepts(world, cn100k, hops=2)[0]) >= set(related[0])


def test_coverage_of_real_scene_names(cn100k, data_dir):
    scenes = (data_dir / "ade20k" / "sceneCategories.txt").read_text().split()[1::2]
    frame = coverage(sorted(set(scenes)), ["bed", "television", "tree"], cn100k)
    assert len(frame) == 1055
    assert (frame.loc[frame["node"].isna(), ["neighbours", "concepts"]] == 0).all(axis=None)
    assert frame["concepts"].between(0, 3).all() and (frame["neighbours"] > 0).sum() > 450
    bedroom = frame.set_index("scene").loc["bedroom"]
    assert bedroom["node"] == "bedroom" and "bed" in bedroom["names"].split(", ")


def test_a_run_gives_its_annotations(tiny_run):
    annotated = Annotated.from_run(tiny_run)
    concepts = tiny_run.sql(
        "SELECT concept, name, category, images FROM concepts WHERE category <> 'scene' ORDER BY 1"
    )
    assert annotated.concepts == concepts["name"].tolist()
    assert concepts["concept"].tolist() == list(range(1, len(concepts) + 1))
    assert annotated.has.sum(0).tolist() == concepts["images"].tolist()
    images = tiny_run.sql("SELECT * FROM images ORDER BY image")
    assert annotated.has.shape[0] == len(images)
    by_hand = tiny_run.sql(
        "SELECT i.scene, a.concept, count(*) AS n FROM areas a JOIN images i USING (image) "
        "JOIN concepts c USING (concept) WHERE c.category <> 'scene' GROUP BY ALL"
    )
    sizes = images["scene"].value_counts()
    for row in by_hand.itertuples():
        share = row.n / sizes[row.scene]
        assert annotated.frequency[row.scene, row.concept - 1] == share
    splits = images["split"].unique().tolist()
    part = Annotated.from_run(tiny_run, splits[:1])
    assert part.has.shape[0] == (images["split"] == splits[0]).sum()
    with pytest.raises(UnitscopeError, match="unknown split"):
        Annotated.from_run(tiny_run, ["trian"])


def test_docstrings_name_the_definitions():
    for function, words in (
        (related_concepts, ("RC(y, G)",)),
        (top_k_concepts, ("Top k", "C_y")),
        (scoping_core_concepts, ("SCC(y, G)", "RC(y, G)", "C_y")),
        (identifier_core_concepts, ("ICC(y, G)", "SCount", "P_sc", "P_c", "TopkOfCount")),
        (identifying_percentage, ("P_c", "P_sc")),
    ):
        for word in words:
            assert word in function.__doc__, (function.__name__, word)
    for module in (align_module, core_concepts_module):
        for name, value in vars(module).items():
            if callable(value) and value.__module__ == module.__name__ and name[0] != "_":
                assert value.__doc__, name


# -- files that say things in other ways, and inputs without effect ----------------------------

FEW = (
    ("AtLocation", "bed", "bedroom"),
    ("AtLocation", "pillow", "bed"),
    ("HasA", "bed", "leg"),
    ("UsedFor", "night stand", "lamp"),
    ("PartOf", "wall", "bedroom"),
)


def _file(folder, rows, name="facts.tsv"):
    path = folder / name
    path.write_text("".join("\t".join(row) + "\n" for row in rows), encoding="utf-8")
    return path


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
    wanted = read_triples(_file(tmp_path, FEW, "plain.tsv"), "x")
    assert wanted.counts()["AtLocation"] == 2
    found = read_triples(_file(tmp_path, [rewrite(*row) for row in FEW]), "x")
    assert found.digest() == wanted.digest()
    assert set(found.neighbours("bedroom")) == {"bed", "wall"}


def test_the_relation_of_unknown_relations_is_found_or_asked_for(tmp_path):
    many = [(f"thing {k}", f"REL{k % 3}", f"place {k % 40}") for k in range(200)]
    graph = read_triples(_file(tmp_path, many), "x")
    assert graph.relations == ("REL0", "REL1", "REL2")
    few = [("cup", "found", "shelf"), ("pan", "found", "stove"), ("pot", "held", "hook")]
    with pytest.raises(BadFile, match=r"which of its columns is the relation.*3 in column 1, 2 in"):
        read_triples(_file(tmp_path, few))
    graph = read_triples(_file(tmp_path, [("head", "relation", "tail"), *few]), "x")
    assert graph.counts() == {"found": 2, "held": 1}
    graph = read_triples(
        _file(tmp_path, [("Relation", "Tail", "Head", "weight"), ("found", "a", "b", "2")])
    )
    assert [graph.edge(0)] == [Edge("found", "b", "a", 2.0)]
    # As documented where nothing speaks against it.
    assert read_triples(_file(tmp_path, [("found", "cup", "shelf")])).relations == ("found",)


def test_facts_in_other_languages_are_left_out(tmp_path):
    rows = [
        ("/r/AtLocation", "/c/en/bed", "/c/en/bedroom"),
        ("/r/AtLocation", "/c/fr/lit", "/c/fr/chambre"),
    ]
    assert list(read_triples(_file(tmp_path, rows)).nodes) == ["bed", "bedroom"]
    with pytest.raises(BadFile, match="no fact between two English nodes"):
        read_triples(_file(tmp_path, rows[1:]))


@pytest.mark.parametrize(
    ("facts", "why"),
    [
        ([("IsA", "bed", "room 0")], "has no fact by AtLocation.*its relations are IsA"),
        ([("AtLocation", "concept 0", "moon")], "none of the 2 scenes .*is a node of"),
        ([("AtLocation", "moon", "scene 0")], "none of the 2 concepts .*is a node of"),
        ([("AtLocation", "moon", "scene 0"), ("HasA", "concept 0", "leg")], "relates none of"),
    ],
)
def test_knowledge_without_effect_is_an_error_unless_allowed(facts, why):
    world = make([0, 1], [[1, 1], [1, 0]], 2, ["object", "object"])
    world = replace(world, scenes=["scene 0", "scene 1"], concepts=["concept 0", "concept 1"])
    graph = Graph.from_edges(facts)
    with pytest.raises(NoEffect, match=why):
        related_concepts(world, graph)
    told = []
    with allow_empty(told.append):
        related = related_concepts(world, graph)
    assert list(related) == [{}, {}] and len(told) == 1 and re.search(why, told[0])
    with pytest.raises(NoEffect):
        related_concepts(world, graph)


def _asked(run, path):
    return [run.digest, "--out", str(run.path.parent), "--knowledge", f"triples:{path}"]


def test_the_command_line_refuses_knowledge_without_effect(tiny_run, tmp_path, capsys):
    asked = _asked(tiny_run, _file(tmp_path, [("IsA", "attic", "thing"), ("IsA", "barn", "thing")]))
    for verb in (["concepts"], ["tables"], ["contribution", "--scene", "barn"], ["search"]):
        assert main([verb[0], *asked, *verb[1:]]) == 2
        assert "has no fact by AtLocation" in capsys.readouterr().err
    # Frequency alone asks nothing of the graph.
    assert main(["concepts", *asked, "--cc", "top10"]) == 0
    capsys.readouterr()
    assert main(["tables", *asked, "--allow-empty"]) == 0
    said = capsys.readouterr()
    assert "has no fact by AtLocation" in said.err
    assert "nan" not in said.out
    assert "`align --write FILE` and --overrides FILE mend them" in said.out
    assert main(["tables", *asked, "--allow-empty", "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["rows"][1]
    assert row["CM_FP"]["value"] is None and row["CM_FP"]["n"] == 0
    assert main(["contribution", *asked, "--scene", "barn", "--allow-empty"]) == 0
    assert "'barn' has no core concepts" in capsys.readouterr().err


def test_the_command_line_shows_guesses(tiny_run, tmp_path, capsys):
    """A barn read by its plural is none; by a misspelt node it is: its members say so."""
    things = Annotated.from_run(tiny_run).concepts[:2]
    rows = [("AtLocation", thing, place) for thing in things for place in ("attic", "barned")]
    asked = _asked(tiny_run, _file(tmp_path, rows))
    names = tmp_path / "names.tsv"
    names.write_text("name\tnode\nbarn\tbarned\n", encoding="utf-8")
    assert main(["concepts", *asked, "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["scenes"]["attic"]) <= set(things) and told["guesses"] == {}
    assert main(["concepts", *asked]) == 0
    assert "no node, so nothing is related to: barn, cellar" in capsys.readouterr().out
    # What a person says is no guess.
    assert main(["concepts", *asked, "--overrides", str(names), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["scenes"]["barn"] and told["guesses"] == {}
    # A graph that writes verbs as lemmatisers leave them: the word is a guess.
    run = tiny_run
    rows = [("AtLocation", thing, "cellar") for thing in things[:1]]
    asked = _asked(run, _file(tmp_path, [*rows, ("AtLocation", things[1], "attic")], "b.tsv"))
    assert main(["concepts", *asked, "--scene", "cellar", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["guess"] == "" and all(member["guess"] == "" for member in told["members"])
