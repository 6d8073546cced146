"""Figures of an account, of a scene's graph and of a search."""

from __future__ import annotations

import pandas as pd
import pytest

from core.figures import concepts as concept_figures
from core.figures import explain as explain_figures
from core.figures.base import Caption
from core.figures.export import export
from core.foundation.names import place
from core.views import explain, knowledge
from tests.two_runs import LAYER


@pytest.mark.parametrize("dark", [False, True])
def test_figures_say_what_they_show(run, known, dark):
    caption = Caption("tiny", "net", LAYER, "threshold, IoU in photo, SCC", "photo 004")
    told = explain.account(run, known, "004", LAYER, "whole_layer", "image", "top10").account
    both = {side: facts.scene for side, facts in told.sides.items()}
    frame = pd.DataFrame(told.scenes)
    for name in explain.MEASURES:
        svg = export(
            explain_figures.measure(frame, name, both, caption, dark), "svg", dark
        ).decode()
        for scene, row in frame.set_index("scene").iterrows():
            if scene in both.values():
                rank = place(int(row[f"{name}_rank"]), frame[f"{name}_rank"].tolist())
                assert f"{row[name]:.2f}, {rank}" in svg
        assert f"({name})" in svg and "photo 004" in svg
    nodes, edges = knowledge.picture(run, known, "attic")
    chart = concept_figures.scene_graph(nodes, edges, "What is in an attic", caption, dark)
    svg = export(chart, "svg", dark).decode()
    assert all(str(name) in svg for name in nodes["shown"])
    steps = knowledge.search_steps(run, known)
    svg = export(concept_figures.search(steps, 3, caption, dark), "svg", dark).decode()
    assert "Telling 3 scenes apart" in svg and "P_sc" in svg
