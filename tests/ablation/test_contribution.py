"""Contribution scores against Equation 9, term by term."""

from __future__ import annotations

import numpy as np
import pytest

from core.ablation.contribution import UnitConcepts, contribution_scores
from core.explain.learned import STRATEGIES
from core.foundation.errors import UnitscopeError
from core.paper.tables import all_core_concepts
from tests.ablation.networks import tiny_graph


def contribution_slow(units: UnitConcepts, core, over: str, rows) -> dict[tuple[int, int], int]:
    """Eq. 9 with Python sets, image by image and unit by unit."""
    scores: dict[tuple[int, int], int] = {}
    for place, image in enumerate(units.images.itertuples()):
        if image.scene < 0 or image.correct < 0 or (rows is not None and place not in rows):
            continue
        if over != "all" and (image.correct == 1) != (over == "true"):
            continue
        members = set(np.flatnonzero(core.members[image.scene]) + 1)
        part = units.rows[units.rows["image"] == image.image]
        for unit, own in part.groupby("unit")["concept"]:
            learned = set(own)
            p, n = len(learned & members), len(learned - members)
            key = (image.scene, int(unit))
            scores[key] = scores.get(key, 0) + p - n
    return scores


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ["scc", "icc"])
def test_contribution_is_equation_9(tiny_run, strategy, kind):
    core = all_core_concepts(tiny_run, tiny_graph())[kind]
    units = UnitConcepts.of(tiny_run, "body.3", strategy)
    rng = np.random.default_rng(0)
    some = np.sort(rng.choice(150, 90, replace=False))
    for over, rows in (("true", None), ("false", None), ("all", some)):
        told = units.contribution(core, over, rows)
        slow = contribution_slow(units, core, over, None if rows is None else set(rows))
        for scene in range(len(core.scenes)):
            for unit in range(told.scores.shape[1]):
                assert told.scores[scene, unit] == slow.get((scene, unit), 0)
        for scene in core.scenes:
            for sign, keep in (("positive", 1), ("negative", -1)):
                ranked = told.ranked(scene, sign)
                wanted = sorted(
                    (-keep * s, u)
                    for (y, u), s in slow.items()
                    if y == core.scene(scene) and keep * s > 0
                )
                if core.members[core.scene(scene)].any():
                    assert ranked["unit"].tolist() == [u for _, u in wanted]
    told = contribution_scores(tiny_run, core, "body.3", strategy, over="all")
    scene, unit = core.scenes[0], int(np.abs(told.scores[0]).argmax())
    behind = units.behind(core, scene, unit, "all")
    inside, outside = int(behind["core"].sum()), int((~behind["core"]).sum())
    assert inside - outside == told.scores[0, unit]
    assert (inside, outside) == (told.inside[0, unit], told.outside[0, unit])
    assert behind["image"].nunique() == told.active[0, unit]
    with pytest.raises(UnitscopeError, match="no unit 99"):
        units.behind(core, scene, 99)
    with pytest.raises(UnitscopeError, match="unknown set of predictions"):
        units.contribution(core, "right")
