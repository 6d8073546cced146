"""What the page Concepts asks of merged concepts."""

from __future__ import annotations

import pytest

from core.foundation.errors import UnitscopeError
from core.merging.fuse import (
    Space,
)
from core.merging.gain import run_gain


def test_what_the_app_asks(tiny_run, facts, tmp_path):
    from core.figures.base import Caption
    from core.figures.export import export
    from core.figures.fusion import gain_curve as drawn
    from core.knowledge.kinds import open_knowledge
    from core.views import fusion

    given = {"embedding": "words", "knowledge": facts}
    assert fusion.embeddings_made(tiny_run, facts) == ["words"]
    assert fusion.groups_range(tiny_run, **given) == (1, 7)
    merge = (("thing 1", "piece 8"),)
    apart = (("thing 2", "thing 3"),)
    assert fusion.groups_range(tiny_run, merge=merge, apart=apart, **given) == (2, 6)
    frame = fusion.concept_groups(tiny_run, 3, merge=merge, apart=apart, **given)
    assert frame["size"].sum() == 7 and len(frame) == 3
    held = [set(row) for row in frame["members"].str.split(r" \+ ")]
    assert any({"thing 1", "piece 8"} <= group for group in held)
    assert not any({"thing 2", "thing 3"} <= group for group in held)
    assert len(fusion.concept_groups(tiny_run, 2, scene="barn", method="kmeans", **given)) == 2
    with pytest.raises(UnitscopeError, match="core embed RUN"):
        fusion.concept_groups(tiny_run, 3, knowledge=facts)
    with pytest.raises(UnitscopeError, match="nearest: thing 4"):
        fusion.concept_groups(tiny_run, 3, merge=(("thing", "piece 8"),), **given)
    with pytest.raises(UnitscopeError, match="--table 5"):
        fusion.gain(tiny_run, "body.3", **given)
    space = Space(tiny_run, open_knowledge(facts))
    run_gain(tiny_run, space, space.vectors("words"), layer="body.3")
    frame = fusion.gain(tiny_run, "body.3", **given)
    assert frame["nb_groups"].tolist() == list(range(1, 8))
    chart = drawn(frame, Caption("tiny", "net"))
    assert b"random groups" in export(chart, "svg")
