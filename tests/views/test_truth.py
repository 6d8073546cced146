"""What was found out of a run by the test of truth: its frames, chart and tab."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
from streamlit.testing.v1 import AppTest

from core.attribution.judged import ANSWERS, FIGURES, Asked, Judged, Truth
from core.explain.metrics import Estimate
from core.figures.base import Caption
from core.figures.export import export
from core.figures.truth import AXES, methods
from core.foundation.errors import UnitscopeError
from core.views import truth

NAMES = {
    "account-minmax-threshold-image-scc": "the account",
    "account-whole-layer-image-scc": "another account",
    "good": "a good one",
    "random": "at random",
}


def estimate(value: float, n: int = 9) -> Estimate:
    return Estimate(value, value - 0.1, value + 0.1, 0.25, 0.2, 0.3, n)


def made(photos: dict[str, int]) -> Truth:
    rng = np.random.default_rng(0)
    values = {"good": 0.8, "random": -0.05}
    rows = []
    for name, about in NAMES.items():
        for kind in ANSWERS:
            if photos[kind]:
                figures = {f: estimate(values.get(name, rng.random() / 2)) for f in FIGURES}
                figures["distraction"] = estimate(float("nan"), 0)
                rows.append(Judged(name, about, "measured", kind, figures))
    both = {kind: estimate(0.4) for kind in ANSWERS}
    asked = Asked(split="test", photos=9)
    return Truth(
        asked,
        "inpaint",
        tuple(rows),
        photos,
        dict.fromkeys(photos, 4.5),
        {"not drawn": 3},
        {"other": "it is not"},
        both,
        both,
        pd.DataFrame(),
    )


def test_figures_are_listed_best_first():
    found = made({"wrong": 9, "right": 9})
    frame = truth.figures_of(found, "rank")
    assert list(dict.fromkeys(frame["method"])) == ["good", *list(NAMES)[:1], "random"]
    assert len(frame) == 6 and set(frame["answers"]) == set(ANSWERS)
    assert len(truth.figures_of(found, "rank", every=True)) == 8
    with pytest.raises(UnitscopeError, match="applies to none"):
        truth.figures_of(found, "distraction")
    table = truth.table_of(found, "wrong")
    assert list(table["method"]) == ["the account", "a good one", "at random"]
    assert table["rank"][1] == "0.80 (0.70 to 0.90)" and table["distract."][1] == "–"
    assert any("3 not drawn" in note for note in truth.notes_of(found, "wrong"))
    assert set(truth.NAMES) == set(AXES) == set(FIGURES)


@pytest.mark.parametrize("dark", [False, True])
def test_the_chart_names_methods_and_answers(dark):
    frame = truth.figures_of(made({"wrong": 9, "right": 9}), "top")
    chart = methods(frame, "top", Caption("tiny", "net", "body.3"), dark)
    svg = export(chart, "svg", dark).decode()
    for words in ("a good one", "at random", "wrong answers", "right answers", AXES["top"]):
        assert words in svg
    alone = truth.figures_of(made({"wrong": 0, "right": 9}), "top")
    assert "a good one" in export(methods(alone, "top", Caption("a", "b"), dark), "svg").decode()


def draw(path: str) -> None:
    from pathlib import Path

    from core.views.runs import summary
    from pages.parts import truth as part
    from pages.parts.cache import open_run
    from pages.parts.frame import Context

    run = open_run(Path(path))
    part.tab(Context(run, summary(run), run.layer_names[-1], "all", False))


def test_the_tab_shows_what_was_found_or_how_to_find_it(run):
    at = AppTest.from_function(draw, kwargs={"path": str(run.path)}, default_timeout=60).run()
    assert not at.exception and f"truth {run.digest}" in at.code[0].value
    made({"wrong": 9, "right": 0}).keep(run)
    assert list(truth.truths(run)) == [
        "test, 9 photos, each concept taken out by the filling inpaint"
    ]
    at = AppTest.from_function(draw, kwargs={"path": str(run.path)}, default_timeout=60).run()
    assert not at.exception, at.exception[0].stack_trace
    assert [s.value for s in at.header] == ["Wrong answers"] and len(at.dataframe) == 1
    spec = json.loads(at.get("vega_lite_chart")[0].proto.spec)
    assert AXES["rank"] in json.dumps(spec)
