"""The map of units: it fills its frame, and no two names overlap, at any width."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pandas as pd
import pytest

from core.figures.base import Caption
from core.figures.export import export
from core.figures.printed import Printed
from core.figures.unit_map import WIDTHS, boxes, placed, units_map

CAPTION = Caption("tiny", "net", "body.3", "all pixels", "30 images")


@pytest.fixture(scope="module")
def frame() -> pd.DataFrame:
    """200 units in a few dense heaps, as t-SNE leaves them, with labels short and long."""
    rng = np.random.default_rng(0)
    heaps = rng.uniform(-0.3, 0.9, (6, 2))
    at = heaps[rng.integers(0, 6, 200)] + 0.05 * rng.normal(size=(200, 2))
    names = np.array(["bed", "night_stand", "swimming pool water", "sky", "coffee_table-top"])
    units = pd.DataFrame(
        {
            "unit": range(200),
            "label": names[rng.integers(0, 5, 200)],
            "category": ["object", "part", None, "color"] * 50,
            "iou": rng.uniform(0, 0.3, 200),
            "above": rng.random(200) < 0.7,
            "chance": 0.01,
        }
    )
    return placed(units, pd.DataFrame({"unit": range(200), "x": at[:, 0], "y": at[:, 1]}))


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]


def test_the_map_fills_its_frame(frame):
    for axis in ("x", "y"):
        assert frame[axis].min() == -1 and frame[axis].max() == 1


@pytest.mark.parametrize("width", [*WIDTHS, 250, 333, 507, 745, 1000, 1180, 1900, 4321])
def test_no_two_names_overlap_at_any_width(frame, width):
    shown = frame[frame["shown_from"] <= width].reset_index(drop=True)
    at = boxes(shown, width)
    for one, two in itertools.combinations(range(len(shown)), 2):
        assert not overlap(at[one], at[two]), shown.loc[[one, two], "label"].tolist()
    assert (at[:, 0] >= 0).all() and (at[:, 2] <= width).all()
    assert len(shown) >= (5 if width >= 300 else 1)


def test_names_stay_and_more_come_as_there_is_room(frame):
    counts = [int((frame["shown_from"] <= width).sum()) for width in WIDTHS]
    assert counts == sorted(counts) and counts[-1] > 3 * counts[2]
    # The strongest of those with a label that is sure, and room within the frame, comes first.
    sure = frame[frame["sure"] & (frame["kind"] != "no label")].reset_index(drop=True)
    box = boxes(sure, WIDTHS[0])
    inside = sure[(box[:, 0] >= 0) & (box[:, 2] <= WIDTHS[0]) & (box[:, 1] >= 0)]
    assert inside.loc[inside["iou"].idxmax(), "shown_from"] == WIDTHS[0]
    assert np.isinf(frame.loc[~frame["sure"] | (frame["kind"] == "no label"), "shown_from"]).all()


def test_the_map_is_one_chart_for_screen_and_paper(frame):
    chart = units_map(frame, "t-SNE", CAPTION)
    spec = chart.to_dict()
    assert "t-SNE" in json.dumps(spec["title"])
    (dots, *names) = spec["layer"]
    assert dots["mark"]["type"] == "circle" and len(names) == 2
    svg = export(chart, "svg").decode()
    wide = [name for name in frame["label"] if f">{name}<" in svg]
    assert wide
    assert export(chart, "pdf", printed=Printed(3.3)).startswith(b"%PDF")
    alone = placed(
        pd.DataFrame(
            {
                "unit": [3],
                "label": ["bed"],
                "category": ["object"],
                "iou": [0.1],
                "above": [True],
                "chance": [0.01],
            }
        ),
        pd.DataFrame({"unit": [3], "x": [0.0], "y": [0.0]}),
    )
    assert alone[["x", "y"]].to_numpy().tolist() == [[0, 0]]
