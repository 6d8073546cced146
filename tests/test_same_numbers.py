"""benchmarks/same_numbers.py sees a changed number, and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.same_numbers import Checkout, Number, cells, compare, leaves, report

ANSWER = {
    "run": "53c1646ee32ea53f",
    "seconds": 3.5,
    "rows": [{"unit": 3, "iou": 0.25}, {"unit": 4, "iou": None}],
    "sentence": "made from CHECK/cache/53c1646ee32ea53f.duckdb",
}


@pytest.fixture
def both(tmp_path) -> tuple[Checkout, Checkout]:
    return (
        Checkout(tmp_path / "one", tmp_path / "one/cache", tmp_path / "data"),
        Checkout(tmp_path / "two", tmp_path / "two/cache", tmp_path / "data"),
    )


def line(both, before, after):
    return compare("answer", list(leaves(before)), list(leaves(after)), *both)


def test_when_where_and_by_which_code_may_differ(both, capsys):
    one, two = both
    before = {**ANSWER, "sentence": f"made from {one.out}/53c1646ee32ea53f.duckdb"}
    after = {
        **ANSWER,
        "run": "4b844e8471183a7b",
        "seconds": 9.0,
        "sentence": f"made from {two.out}/4b844e8471183a7b.duckdb",
    }
    told = line(both, before, after)
    assert told.figures == 6 and not told.differ and not told.words
    assert report([told], words=True) == 0
    assert "1 compared, 6 values; 0 differ" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"rows": [{"unit": 3, "iou": 0.2500001}, {"unit": 4, "iou": None}]}, "rows[0].iou: 0.25"),
        ({"rows": [{"unit": 3, "iou": 0.25}]}, "rows[1].unit is gone"),
        ({"rows": [{"unit": 3, "iou": 0.25}, {"unit": 4.0, "iou": None}]}, "rows[1].unit: 4"),
        ({"more": True}, "more is new"),
    ],
)
def test_a_changed_number_differs(both, capsys, change, said):
    told = line(both, ANSWER, {**ANSWER, **change})
    assert any(text.startswith(said) for text in told.differ)
    assert report([told], words=False) == 1
    assert "DIFFER" in capsys.readouterr().out


def test_reworded_sentences_differ_when_asked(both, capsys):
    told = line(both, ANSWER, {**ANSWER, "sentence": "made anew"})
    assert not told.differ and len(told.words) == 1
    assert report([told], words=False) == 0 and "1 reworded" in capsys.readouterr().out
    assert report([told], words=True) == 1


def test_csv_cells_are_compared_digit_by_digit(both, tmp_path):
    def read(text: str) -> list[tuple[str, object]]:
        path = Path(tmp_path / "table.csv")
        path.write_text(text, encoding="utf-8")
        return list(cells(path))

    held = read("name,iou,seconds\nbed,0.10,1\n,,\n")
    assert held == [
        *(("row 1 name", "bed"), ("row 1 iou", "0.10")),
        *(("row 2 name", ""), ("row 2 iou", "")),
    ]
    assert isinstance(held[1][1], Number) and not isinstance(held[0][1], Number)
    same = read("name,iou,seconds\nbed,0.10,7\n,,\n")
    assert compare("table", held, same, *both).differ == []
    for other in ("bed,0.1,1", "bed,,1", "bed,x,1"):
        told = compare("table", held, read(f"name,iou,seconds\n{other}\n,,\n"), *both)
        assert len(told.differ) == 1 and told.differ[0].startswith("row 1 iou"), other
