"""Charts of what disabling units does."""

from __future__ import annotations

from core.ablation import search
from core.ablation.curves import curves as curves_of
from core.ablation.edits import Edit


def test_charts_are_drawn(study):
    from core.figures.base import Caption, box
    from core.figures.disable import curves, scene_shift, searches
    from core.figures.export import export

    caption = Caption("tiny", "net", "body.3", "threshold", "test")
    frame = curves_of(study, ["scc", "random"], at=[1, 2], seeds=3)
    told = study.toggler.toggle(Edit((0, 1, 2)))
    table = search.compare(
        study.toggler, study.rows(), study.scene, {"all units": lambda _: None}, ["forward"], 2, 1
    )
    for chart in (
        curves(frame, caption),
        scene_shift(told.scenes, caption),
        searches(table, caption),
    ):
        assert box(chart)[0] > 100
        assert export(chart, "svg").startswith(b"<svg")
