"""Charts of what disabling units does."""

from __future__ import annotations

import pandas as pd
import pytest

from core.ablation import search
from core.ablation.curves import curves as curves_of
from core.ablation.edits import Edit
from core.figures.base import Caption, box
from core.figures.disable import FEW, curves, dumbbells, folded, searches
from core.figures.export import export

CAPTION = Caption("tiny", "net", "body.3", "threshold", "test")


def scenes(*rows: tuple[str, int, int, int]) -> pd.DataFrame:
    """What Toggled.scenes gives, of (scene, photos, right before, right after)."""
    frame = pd.DataFrame(rows, columns=["scene", "images", "right_before", "right_after"])
    frame["shift"] = (frame["right_after"] - frame["right_before"]) / frame["images"]
    change = frame["right_after"] - frame["right_before"]
    return frame.assign(gained=change.clip(lower=0), lost=(-change).clip(lower=0))


def test_charts_are_drawn(study):
    frame = curves_of(study, ["scc", "random"], at=[1, 2], seeds=3)
    told = study.toggler.toggle(Edit((0, 1, 2)))
    table = search.compare(
        study.toggler, study.rows(), study.scene, {"all units": lambda _: None}, ["forward"], 2, 1
    )
    for chart in (
        curves(frame, CAPTION),
        dumbbells({"": told.scenes}, CAPTION, target="barn"),
        dumbbells({"A": told.scenes, "B": told.scenes}, CAPTION, True),
        searches(table, CAPTION),
    ):
        assert box(chart)[0] > 100
        assert export(chart, "svg").startswith(b"<svg")


def test_the_scene_in_question_comes_first_and_few_photos_are_folded():
    frame = scenes(
        ("attic", 40, 20, 30), ("barn", 9, 9, 0), ("cellar", 20, 10, 10), ("den", 4, 1, 3)
    )
    found = folded(frame, "cellar")
    assert found["name"].tolist() == ["cellar", "attic", f"2 scenes of n < {FEW}"]
    assert found["images"].tolist() == [20, 40, 13]
    assert found["before"].tolist() == pytest.approx([50, 50, 1000 / 13])
    assert found["after"].tolist() == pytest.approx([50, 75, 300 / 13])
    # The scene in question is never folded.
    assert folded(frame, "barn")["name"].tolist() == [
        "barn",
        "attic",
        "cellar",
        f"1 scene of n < {FEW}",
    ]


def test_a_dumbbell_has_n_beside_its_scene_and_both_ends_on_one_scale():
    frame = scenes(("attic", 40, 20, 30), ("barn", 12, 9, 0))
    spec = dumbbells({"": frame}, CAPTION, target="barn").to_dict()
    data = (
        spec["datasets"][spec["layer"][0]["data"]["name"]]
        if "data" in spec["layer"][0]
        else (spec["datasets"][spec["data"]["name"]])
    )
    assert [row["label"] for row in data] == ["barn  (n = 12)", "attic  (n = 40)"]
    assert [row["shown"] for row in data] == ["−75.0", "+25.0"]
    low, high = spec["layer"][0]["encoding"]["x"]["scale"]["domain"]
    assert low == 0 and 75 < high < 100


def test_beyond_some_scenes_those_that_change_least_are_left_out():
    frame = scenes(*((f"scene {k:02}", 20, 10, 10 + k % 5) for k in range(30)))
    spec = dumbbells({"": frame}, CAPTION, target="scene 00", count=10).to_dict()
    assert "scenes that change least are left out" in spec["title"]["text"]
    assert export(dumbbells({"": frame}, CAPTION, count=10), "svg").startswith(b"<svg")


@pytest.mark.parametrize(
    ("protocol", "words"),
    [("paper", "(oracle: by the true scene)"), ("global", "(protocol: global)")],
)
def test_curves_are_in_points_and_an_oracle_is_called_one(study, protocol, words):
    frame = curves_of(study, ["scc", "random"], protocols=[protocol], at=[1, 2, 4], seeds=3)
    spec = curves(frame, CAPTION).to_dict()
    assert words in spec["title"]["text"]
    domains = set()
    for panel in spec["vconcat"]:
        lines = [layer for layer in panel["layer"] if layer["mark"]["type"] == "line"]
        (line,) = lines
        assert line["encoding"]["y"]["field"] == "points"
        domains.add(tuple(line["encoding"]["y"]["scale"]["domain"]))
        # Names stand at the ends of the lines, apart from each other.
        (names,) = [layer for layer in panel["layer"] if layer["mark"]["type"] == "text"]
        assert names["encoding"]["text"]["field"] == "name"
    assert len(domains) == 1
    (domain,) = domains
    for row in frame.to_dict("records"):
        assert domain[0] <= 100 * row["gain"] <= domain[1]
