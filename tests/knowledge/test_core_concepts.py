"""Core concepts against their definitions on sets."""

from __future__ import annotations

import re
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import sparse

from core.foundation.errors import NoEffect, UnitscopeError, allow_empty
from core.knowledge import align as align_module
from core.knowledge import core_concepts as core_concepts_module
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
from core.knowledge.graph import (
    Edge,
    Graph,
)
from tests.knowledge.facts import FACTS


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
