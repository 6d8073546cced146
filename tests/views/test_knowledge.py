"""Core concepts of scenes as pages show them, recomputed by hand."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from core.figures import concepts as concept_figures
from core.foundation.errors import UnitscopeError
from core.foundation.vocabulary import Core
from core.runs.run_file import Run
from core.views import knowledge
from core.views.images import concept_id
from tests import tiny
from tests.two_runs import FACTS


def by_hand(run: Run, scene: str) -> tuple[dict[str, float], set[str]]:
    """({concept: share of the scene's photos}, RC ∩ C) from the label maps and the facts."""
    rows = run.sql(
        "SELECT i.image, s.name FROM images i JOIN scenes s USING (scene) WHERE s.name = ?", [scene]
    )
    names = run.sql("SELECT concept, name FROM concepts WHERE category <> 'scene'")
    grids = run.array("labels")
    held = {
        row["name"]: np.mean([(grids[image] == row["concept"]).any() for image in rows["image"]])
        for _, row in names.iterrows()
    }
    near = {
        other
        for relation, head, tail in FACTS
        for other in {head, tail} - {scene}
        if scene in (head, tail) and relation != "IsA"
    }
    return {k: v for k, v in held.items() if v}, near & set(names["name"])


def test_concepts_of_scenes_by_hand(run, known):
    table = knowledge.scene_table(run, known).set_index("scene")
    assert list(table.index) == list(tiny.SCENES)
    for scene in tiny.SCENES:
        held, near = by_hand(run, scene)
        frame = knowledge.scene_concepts(run, known, scene).set_index("label")
        assert set(frame.index) == set(held) | near
        assert frame["frequency"].is_monotonic_decreasing
        for name, row in frame.iterrows():
            assert row["frequency"] == pytest.approx(held.get(name, 0.0))
            assert row["in_photos"] == (name in held) and row["related"] == (name in near)
            assert row["scc"] == (name in held and name in near)
            facts = [f"{h} {r} {t}" for r, h, t in FACTS if scene in (h, t) and name in (h, t)]
            assert set(filter(None, row["facts"].split("; "))) == {
                fact for fact in facts if " IsA " not in fact
            }
        facts = knowledge.scene_facts(run, known, scene)
        assert facts.annotated == table.loc[scene, "annotated"] == len(held)
        assert facts.related == table.loc[scene, "related"] == len(near)
        assert facts.scc == frame["scc"].sum() and facts.icc == frame["icc"].sum()
    # Straw and thing 9 are in the graph and not in the dataset.
    assert knowledge.scene_facts(run, known, "barn").neighbours == 4
    assert knowledge.scene_facts(run, known, "cellar").node is None


def test_search_steps_count_sets(run, known):
    steps = knowledge.search_steps(run, known)
    held = {scene: by_hand(run, scene)[0] for scene in tiny.SCENES}
    for row in steps[steps["search"] == "Count"].itertuples():
        sets = {frozenset(c for c, f in held[s].items() if f >= row.p) for s in tiny.SCENES}
        assert len(sets) == row.sets
    shares = knowledge.percentages(run, known)
    chosen = steps[steps["chosen"]].set_index("search")["p"]
    assert chosen["Count"] == shares.p_c and chosen["SCount"] == shares.p_sc
    best = steps.groupby("search")["sets"].transform("max")
    for name, part in steps[steps["sets"] == best].groupby("search"):
        assert part["p"].max() == chosen[name], "the highest p with the most sets"


def test_long_searches_are_thinned_without_losing_the_best():
    rng = np.random.default_rng(0)
    sets = rng.integers(1, 900, 5000)
    search = knowledge.Identifying(0.0, False, [], np.linspace(1, 0, 5000), sets, 900)
    frame = knowledge._steps("Count", search)
    assert len(frame) <= knowledge.STEPS + 2 and frame["sets"].max() == sets.max()
    assert frame["chosen"].sum() == 1 and frame.loc[frame["chosen"], "sets"].item() == sets.max()


@pytest.mark.parametrize("kind", Core)
def test_the_graph_is_laid_out_the_same_and_without_collisions(run, known, kind):
    for scene in tiny.SCENES:
        nodes, edges = knowledge.picture(run, known, scene, kind)
        again, _ = knowledge.picture(run, known, scene, kind)
        pd.testing.assert_frame_equal(nodes, again)
        frame = knowledge.scene_concepts(run, known, scene)
        wanted = frame[frame["related"] | frame[kind]]
        around = nodes[nodes["concept"] != 0]
        assert set(around["concept"]) == set(wanted["concept"]) and len(edges) == len(wanted)
        assert (nodes["concept"] == 0).sum() == 1
        for _, side in around.groupby("anchor"):
            assert side["y"].is_unique
        near = around[around["in_photos"]].assign(far=around["x"].abs())
        for a, b in itertools.combinations(near.itertuples(), 2):
            if a.frequency > b.frequency:
                assert a.far < b.far
        deck = json.loads(concept_figures.scene_deck(nodes, edges, True).to_json())
        assert [layer["id"] for layer in deck["layers"]] == ["facts", "concepts", "names"]
        assert not deck.get("mapProvider") and not deck.get("mapStyle")
        assert deck["views"][0]["@@type"] == "OrthographicView"
    with pytest.raises(UnitscopeError, match="kind of core concepts"):
        knowledge.picture(run, known, "barn", "sccc")


def test_names_and_scenes_of_a_concept(run, known):
    frame = knowledge.alignment(run, known).set_index("name")
    assert set(frame.index) >= {"attic", "thing 1", "piece 8"}
    assert frame.loc["cellar", "node"] is None and frame.loc["cellar", "kind"] == "none"
    assert frame.loc["attic", "facts"] == sum("attic" in fact for fact in FACTS)
    assert frame.loc["attic", "what"] == "scene" and frame.loc["thing 1", "what"] == "concept"
    assert (frame["guess"] == frame["kind"].isin(knowledge.GUESSES)).all()
    concept = concept_id(run, "thing 1")
    where = knowledge.scenes_with(run, known, concept).set_index("scene")
    for scene in tiny.SCENES:
        held, near = by_hand(run, scene)
        assert where.loc[scene, "frequency"] == pytest.approx(held["thing 1"])
        assert where.loc[scene, "related"] == ("thing 1" in near)
    whole = run.sql("SELECT min(concept) AS c FROM concepts WHERE category = 'scene'")["c"].iloc[0]
    assert not len(knowledge.scenes_with(run, known, int(whole)))


def test_a_graph_that_changes_is_seen(tmp_path):
    file = tmp_path / "facts.tsv"
    file.write_text("AtLocation\tbed\tbedroom\n")
    spec = f"triples:{file}"
    before = knowledge.knowledge_stamp(spec)
    file.write_text("AtLocation\tbed\tbedroom\nAtLocation\tlamp\tbedroom\n")
    assert before and knowledge.knowledge_stamp(spec) != before
    assert knowledge.knowledge_stamp("builtin") and not knowledge.knowledge_stamp("triples:gone")
