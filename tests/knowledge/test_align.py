"""Names of a data set matched to the nodes of a graph."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.foundation.errors import BadFile, UnitscopeError
from core.knowledge.align import KINDS, align, read_overrides, write_alignment
from core.knowledge.core_concepts import (
    identifier_core_concepts,
    related_concepts,
    scoping_core_concepts,
)
from core.knowledge.graph import (
    Graph,
)
from tests.knowledge.test_core_concepts import make


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
