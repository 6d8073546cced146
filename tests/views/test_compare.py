"""Sides beside each other, against slow recomputation, and their charts."""

from __future__ import annotations

from math import comb

import numpy as np
import pandas as pd
import pytest

from core.figures import compare as drawn
from core.figures.base import Caption
from core.foundation.names import plain_name
from core.views import compare
from core.views.units import detected, unit_table

pytestmark = pytest.mark.usefixtures("facts_without_effect")


@pytest.fixture
def answers() -> tuple[pd.DataFrame, pd.DataFrame]:
    """Two networks' answers on images that partly coincide."""
    rng = np.random.default_rng(3)

    def one(first: int, count: int) -> pd.DataFrame:
        ids = [f"i{k}" for k in range(first, first + count)]
        scene = [f"s{k % 3}" for k in range(first, first + count)]
        said = [f"s{k}" for k in rng.integers(0, 3, count)]
        frame = pd.DataFrame(
            {"image": range(count), "id": ids, "split": "all", "scene": scene, "predicted": said}
        )
        return frame.assign(correct=frame["scene"] == frame["predicted"])

    return one(0, 50), one(20, 60)


def test_agreement_image_by_image(answers):
    one, other = answers
    met = compare.met(one, other)
    told = compare.agreement(met)
    counts = dict.fromkeys(("both", "first", "second", "neither"), 0)
    same = 0
    for a in one.itertuples():
        for b in other.itertuples():
            if a.id == b.id:
                kind = {(1, 1): "both", (1, 0): "first", (0, 1): "second", (0, 0): "neither"}
                counts[kind[int(a.correct), int(b.correct)]] += 1
                same += a.predicted == b.predicted
    assert {k: getattr(told, k) for k in counts} == counts
    assert told.images == 30 and told.same == pytest.approx(same / 30)
    n, k = counts["first"] + counts["second"], min(counts["first"], counts["second"])
    exact = min(1.0, 2 * sum(comb(n, j) for j in range(k + 1)) / 2**n)
    assert told.p == pytest.approx(exact)
    assert np.isnan(compare.agreement(met.iloc[:0]).p)


def test_accuracy_of_both_by_scene(answers):
    one, other = answers
    found = compare.by_scene(compare.met(one, other)).set_index("scene")
    assert set(found.index) == {"s0", "s1", "s2"} and found["images"].sum() == 30
    for scene, row in found.iterrows():
        pairs = [
            (a.correct, b.correct)
            for a in one.itertuples()
            for b in other.itertuples()
            if a.id == b.id and a.scene == scene
        ]
        assert row["images"] == len(pairs)
        assert row["right_before"] == sum(a for a, _ in pairs)
        assert row["right_after"] == sum(b for _, b in pairs)
        assert row["gained"] == sum(b and not a for a, b in pairs)
        assert row["lost"] == sum(a and not b for a, b in pairs)
        assert row["shift"] == pytest.approx(
            (row["right_after"] - row["right_before"]) / len(pairs)
        )


def test_concepts_and_their_overlap(run):
    found = {layer: detected(run, layer, above=False) for layer in ("body.1", "body.3")}
    table = compare.concepts(found)
    sets = {}
    for layer, frame in found.items():
        sets[layer] = {
            (plain_name(r.name), r.category): r.units for r in frame.itertuples(index=False)
        }
        told = table[table[layer] > 0]
        mine = {(r.concept, r.category): getattr(r, "units", None) for r in told.itertuples()}
        assert set(mine) == set(sets[layer])
        assert told[layer].sum() == sum(sets[layer].values())
    a, b = (set(s) for s in sets.values())
    pair = compare.overlaps(table, list(found)).iloc[0]
    assert (pair["shared"], pair["only_first"]) == (len(a & b), len(a - b))
    assert pair["jaccard"] == pytest.approx(len(a & b) / len(a | b))
    nothing = compare.concepts({"x": found["body.1"].iloc[:0], "y": found["body.1"].iloc[:0]})
    assert not len(nothing)


def test_a_side_and_its_reach(run):
    side = compare.side(run, "body.3", "all", "test")
    images = run.sql("SELECT correct FROM images WHERE split = 'test' AND correct IS NOT NULL")
    assert side.scored == len(images) and side.right == images["correct"].sum()
    assert side.units == 12 and side.low <= side.accuracy <= side.high
    table = unit_table(run, "body.3")
    reach = compare.reach(run, "body.3")
    for row in reach.iloc[::17].itertuples():
        assert row.share == pytest.approx((table["iou"] >= row.iou).mean())
    assert reach["share"].iloc[0] == 1 and reach["share"].iloc[-1] == pytest.approx(1 / 12)


def test_conditions_that_differ_are_named(run, bare):
    sides = [compare.side(run, "body.3"), compare.side(bare, "body.3")]
    assert compare.differing(sides) == ["shuffles"]
    assert sides[1].above is None


def test_table_4_of_a_side_is_that_of_the_tables(run):
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import table_4

    frame, notes = compare.false_explanation(run, "body.1")
    whole = table_4([run], open_knowledge("builtin"), layer="body.1")
    expected = [*whole.notes, *whole.dashes()]
    assert len(frame) == 2 and notes[: len(expected)] == expected
    assert all("is a node of builtin" in note for note in notes[len(expected) :])
    for row, (names, told) in zip(frame.to_dict("records"), whole.rows, strict=True):
        assert row["core concepts"] == names[1]
        for name in whole.columns:
            np.testing.assert_equal(row[name], told.figures[name].value)


@pytest.mark.parametrize("dark", [False, True])
def test_charts_say_what_they_were_measured_on(answers, dark):
    caption = Caption("tiny", "a and b", "", "", "30 images")
    told = compare.agreement(compare.met(*answers))
    frame = pd.DataFrame(
        {
            "side": ["a", "b"],
            "share": [0.2, 0.4],
            "low": [0.1, 0.3],
            "high": [0.3, 0.5],
            "count": ["1", "2"],
        }
    )
    kinds = pd.DataFrame({"side": ["a", "b"], "category": "part", "concepts": 1, "units": 2})
    reach = pd.DataFrame({"side": ["a", "b"], "iou": 0.1, "share": 0.5})
    for chart in (
        drawn.agreement(told, "a", "b", caption, dark),
        drawn.shares(frame, "What", "share", caption, dark),
        drawn.categories(kinds, caption, dark),
        drawn.reach(reach, caption, dark),
    ):
        assert "tiny · a and b" in chart.to_dict()["title"]["subtitle"]
