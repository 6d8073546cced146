"""Polygons and run lengths against slow, obvious references."""

from __future__ import annotations

import re

import numpy as np
import pytest

from core.datasets.shapes import from_runs, points_of, polygon, run_lengths


def slow_polygon(points: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Ray casting from every pixel's centre."""
    width, height = size
    out = np.zeros((height, width), bool)
    for row in range(height):
        for column in range(width):
            x, y = column + 0.5, row + 0.5
            for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, 0), strict=True):
                if (ay > y) != (by > y) and x < ax + (y - ay) / (by - ay) * (bx - ax):
                    out[row, column] ^= True
    return out


def test_polygons_are_those_of_ray_casting():
    rng = np.random.default_rng(0)
    for _ in range(60):
        size = (int(rng.integers(1, 30)), int(rng.integers(1, 30)))
        points = rng.uniform(-8, 36, (rng.integers(3, 9), 2))  # most cross themselves
        assert np.array_equal(polygon(points, size), slow_polygon(points, size))


def test_corners_on_the_grid_leave_no_gap_and_no_overlap():
    """Neighbours that share an edge part the pixels between them."""
    rng = np.random.default_rng(1)
    for _ in range(20):
        x, y = rng.integers(1, 39, 2) / 2
        quarters = [
            polygon(np.array(q, float), (20, 20)).astype(int)
            for q in (
                [(0, 0), (x, 0), (x, y), (0, y)],
                [(x, 0), (20, 0), (20, y), (x, y)],
                [(0, y), (x, y), (x, 20), (0, 20)],
                [(x, y), (20, y), (20, 20), (x, 20)],
            )
        ]
        assert (sum(quarters) == 1).all()


def test_many_edges_and_far_corners():
    turn = np.linspace(0, 2 * np.pi, 1501)[:-1]  # more edges than one block takes
    points = np.stack([20 + 15 * np.cos(turn), 15 + 12 * np.sin(turn)], 1)
    assert np.array_equal(polygon(points, (40, 30)), slow_polygon(points, (40, 30)))
    far = np.array([[-1e8, -1e8], [1e8, -1e8], [1e8, 1e8], [-1e8, 1e8]])
    assert polygon(far, (5, 4)).all()
    assert not polygon(far + 3e8, (5, 4)).any() and not polygon(far - 3e8, (5, 4)).any()


def slow_runs(mask: np.ndarray) -> list[int]:
    """Run lengths of pixels outside and inside in turn, down the columns."""
    runs, inside = [0], False
    for column in mask.T:
        for value in column:
            if bool(value) != inside:
                inside = not inside
                runs.append(0)
            runs[-1] += 1
    return runs


def packed(runs: list[int]) -> str:
    """As COCO's mask API packs run lengths: five bits a character, differences from the fourth."""
    out = ""
    for k, number in enumerate(runs):
        number -= runs[k - 2] if k > 2 else 0
        while True:
            bits, number = number & 31, number >> 5
            more = number != (-1 if bits & 16 else 0)
            out += chr(48 + bits + 32 * more)
            if not more:
                break
    return out


def test_run_lengths_both_ways():
    rng = np.random.default_rng(2)
    for _ in range(60):
        height, width = (int(v) for v in rng.integers(1, 40, 2))
        mask = rng.random((height, width)) < rng.random()
        runs = slow_runs(mask)
        for counts in (runs, packed(runs)):
            found, size = run_lengths({"size": [height, width], "counts": counts})
            assert size == (width, height) and np.array_equal(from_runs(found, size), mask)


def test_packed_run_lengths_are_those_of_pycocotools():
    """Written by its encode(): a 6 × 5 frame of one pixel with 2 × 3 in it, and 1,000 rows."""
    frame = np.ones((6, 5), bool)
    frame[1:-1, 1:-1] = False
    frame[2:4, 1:4] = True
    found, size = run_lengths({"size": [6, 5], "counts": FRAME})
    assert np.array_equal(from_runs(found, size), frame)
    tall = np.zeros((1000, 3), bool)
    tall[100:900, 1] = True
    found, size = run_lengths({"size": [1000, 3], "counts": TALL})
    assert np.array_equal(from_runs(found, size), tall)


FRAME = "071K0000000005"
TALL = r"\R1Pi0\R1"


@pytest.mark.parametrize(
    ("told", "why"),
    [
        ({"size": [2, 3], "counts": [1, 2]}, "add up to 3, not to 3×2 pixels"),
        ({"size": [2, 3], "counts": [10**30, 2]}, "add up to"),
        ({"size": [2, 3], "counts": [8, -2]}, "neither a list"),
        ({"size": [2, 3], "counts": [5.5, 0.5]}, "neither a list"),
        ({"size": [2, 3], "counts": [True, 5]}, "neither a list"),
        ({"size": [2, 3], "counts": None}, "neither a list"),
        ({"size": [10**6, 10**6], "counts": [10**12]}, "above 134,217,728 pixels"),
        ({"size": [0, 3], "counts": []}, "not [height, width]"),
        ({"size": "2x3", "counts": [6]}, "not [height, width]"),
        ({"size": [2, 3]}, "no counts"),
        ([], "no counts"),
        ({"size": [2, 3], "counts": "é"}, "damaged"),
        ({"size": [2, 3], "counts": "o" * 99}, "damaged"),
        ({"size": [2, 3], "counts": "o"}, "end within a number"),
        ({"size": [2, 3], "counts": "O"}, "neither a list"),
    ],
)
def test_run_lengths_are_not_trusted(told, why):
    with pytest.raises(ValueError, match=re.escape(why)):
        run_lengths(told)


def test_points_are_not_trusted():
    assert points_of([[1, 2], [3.5, 4], [5, 6]]).tolist() == [[1, 2], [3.5, 4], [5, 6]]
    for told in (None, "abc", {}, [1, 2, 3], [[1, 2], [3]], [[1, 2, 3]] * 3, [[1, "x"]] * 3):
        with pytest.raises(ValueError, match="not pairs of numbers"):
            points_of(told)
