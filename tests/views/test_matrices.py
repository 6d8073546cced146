"""Matrices over scenes, against loops over what they are made of."""

from __future__ import annotations

import numpy as np
import pytest

from core.ablation.contribution import UnitConcepts
from core.figures import matrices as figures
from core.figures.base import Caption
from core.figures.export import export
from core.foundation.vocabulary import Core
from core.views.knowledge import scene_concepts
from core.views.matrices import blocks, concept_matrix, score_matrix
from core.views.units import unit_table
from tests.two_runs import LAYER

CAPTION = Caption("tiny", "net", LAYER)


@pytest.mark.parametrize("k", [1, 3])
def test_scores_are_those_of_every_scenes_own_list(run, known, k):
    found = UnitConcepts.of(run, LAYER).contribution(known.core["top10"], "all")
    frame = score_matrix(run, found, k)
    scenes = [s for r, s in enumerate(found.scenes) if found.has_core[r] and found.images[r]]
    assert list(dict.fromkeys(frame["scene"])) == scenes
    wanted = set()
    for scene in scenes:
        for sign in ("positive", "negative"):
            units = found.ranked(scene, sign)["unit"].head(k).tolist()
            wanted |= set(units)
            mine = frame[(frame["scene"] == scene) & (frame["top"] == sign)]
            assert sorted(mine["unit"]) == sorted(units)
    assert set(frame["unit"]) == wanted and len(frame) == len(wanted) * len(scenes)
    labels = unit_table(run, LAYER).set_index("unit")["label"]
    for row in frame.itertuples():
        at = found.scene(row.scene), row.unit
        assert row.score == found.scores[at] == row.inside - row.outside
        assert (row.active, row.images) == (found.active[at], found.images[at[0]])
        assert row.label == labels[row.unit] or (row.label != row.label)
    assert export(figures.scores(frame, CAPTION), "svg").startswith(b"<svg")


def test_of_many_scenes_those_of_most_photos_are_left(run, known):
    found = UnitConcepts.of(run, LAYER).contribution(known.core["top10"], "all")
    frame = score_matrix(run, found, 2, most=2)
    left = set(frame["scene"])
    assert len(left) == 2
    sizes = dict(zip(found.scenes, found.images, strict=True))
    assert min(sizes[s] for s in left) >= max(n for s, n in sizes.items() if s not in left)


@pytest.mark.parametrize("kind", list(Core))
def test_core_concepts_are_those_of_every_scenes_own_table(run, known, kind):
    frame = concept_matrix(run, known, kind)
    seen = {
        (row.scene, row.concept): (row.frequency, row.images, row.related, row.facts, row.label)
        for row in frame.itertuples()
    }
    assert len(seen) == len(frame)
    wanted = {}
    for row, scene in enumerate(known.annotated.scenes):
        if not known.annotated.sizes[row]:
            continue
        table = scene_concepts(run, known, scene)
        for one in table[table[kind]].itertuples():
            wanted[scene, one.concept] = (
                one.frequency,
                one.images,
                one.related,
                one.facts,
                one.label,
            )
    assert seen == wanted
    assert export(figures.concepts(frame, kind, CAPTION, True), "svg").startswith(b"<svg")


def test_columns_stand_with_the_row_of_their_largest_value():
    values = np.array([[1, 5, -9, 0], [2, 1, 3, 7]])
    # Columns 1 and 2 are largest in row 0 (5, then −9), 0 and 3 in row 1 (7, then 2).
    assert blocks(values).tolist() == [1, 2, 3, 0]
    assert blocks(np.zeros((3, 0))).tolist() == []
    # The scenes of an empty matrix: none.
    assert blocks(np.zeros((0, 2))).tolist() == [0, 1]
