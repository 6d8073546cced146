"""Figures and tables as files."""

from __future__ import annotations

import io
import re

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core import __version__
from core.figures.base import Caption
from core.figures.export import FORMATS, export, latex
from core.figures.printed import Printed
from core.figures.printed import caption as caption_of
from core.figures.units import detected as detected_view
from core.foundation.errors import UnitscopeError
from core.views.units import detected
from tests.two_runs import LAYER


@pytest.mark.parametrize("kind", sorted(FORMATS))
@pytest.mark.parametrize("dark", [False, True])
def test_figures_are_exported_whole(run, kind, dark):
    caption = Caption("tiny", "net", LAYER, "all pixels", "test")
    chart = detected_view(detected(run, LAYER, above=False), caption, dark, above=False)
    made = export(chart, kind, dark)
    start = {"svg": b"<svg", "pdf": b"%PDF", "png": b"\x89PNG"}[kind]
    assert made.startswith(start) and len(made) > 2000
    if kind == "pdf":
        assert b"/FontFile" in made, "the words are missing"
    if kind == "png":
        pixels = np.asarray(Image.open(io.BytesIO(made)).convert("L"), int)
        assert np.ptp(pixels[:90]) > 150, "the title is missing"
    if kind == "svg":
        for word in ("Concepts", "tiny · net · body.3", "all pixels · test"):
            assert word in made.decode(), word


def test_an_unknown_format_is_refused(run):
    with pytest.raises(UnitscopeError, match="figure format"):
        export(None, "gif")


def test_latex_escapes_and_aligns():
    frame = pd.DataFrame({"a_b": ["50 % & more"], "n": [np.nan]})
    text = latex(frame)
    assert r"a\_b & n" in text and r"50 \% \& more & --" in text
    assert r"\begin{tabular}{lr}" in text


def test_a_figure_for_a_paper_has_its_width_its_letters_and_no_title(run):
    caption = Caption("tiny", "net", LAYER, "all pixels", "test")
    chart = detected_view(detected(run, LAYER, above=False), caption, above=False)
    for printed in (Printed(3.3), Printed(7, 9), Printed(3.3, 6)):
        svg = export(chart, "svg", printed=printed).decode()
        head = svg.split(">", 1)[0]
        assert f'width="{printed.inches:g}in"' in head
        width, height = (float(v) for v in re.search(r'viewBox="0 0 (\S+) (\S+)"', head).groups())
        # Letters of 12 px in a box of so many: as many points on paper as were asked for.
        assert abs(12 * printed.inches * 72 / width - printed.points) < 0.05
        assert set(re.findall(r'font-size="(\w+)"', svg)) == {"12px"}
        assert re.search(r'<rect width="[\d.]+" height="[\d.]+" fill="#ffffff"', svg)
        assert "Concepts" not in svg and "all pixels" not in svg
        told = float(re.search(r'height="([\d.]+)in"', head)[1])
        assert told == pytest.approx(height * printed.inches / width, rel=0.01)
    png = Image.open(io.BytesIO(export(chart, "png", printed=Printed(3.3, dpi=300))))
    assert abs(png.width - 990) <= 3 and png.info["dpi"][0] == pytest.approx(300, abs=0.1)
    pdf = export(chart, "pdf", printed=Printed(3.3))
    box = re.search(rb"/MediaBox\s*\[\s*0 0 ([\d.]+)", pdf)
    assert box is not None and float(box[1]) == pytest.approx(3.3 * 72, abs=1)
    assert caption_of(chart) == (
        f"{chart.title.text}. tiny · net · body.3; all pixels · test. Unitscope {__version__}."
    )


def test_what_no_page_has_is_refused(run):
    chart = detected_view(detected(run, LAYER, above=False), Caption("tiny", "net"), above=False)
    with pytest.raises(UnitscopeError, match="the labels leave no room"):
        export(chart, "svg", printed=Printed(1.5, 24))
    for wrong in ((0.1, 8), (3.3, 100), (float("nan"), 8)):
        with pytest.raises(UnitscopeError, match="is not within"):
            Printed(*wrong)


def test_numbers_of_a_column_have_one_number_of_decimals():
    frame = pd.DataFrame(
        {
            "iou": [0.4567, 0.3, 0.0001, -0.5],
            "ms": [1234.5, 7.0, 0.2, np.nan],
            "n": [1, 20, 300, 4],
            "held": [True, False, True, False],
        }
    )
    rows = [line.removesuffix(r" \\") for line in latex(frame).splitlines()[4:8]]
    assert [row.split(" & ") for row in rows] == [
        ["0.457", "1234", "1", "yes"],
        ["0.300", "7", "20", "no"],
        ["$<$0.001", "$<$1", "300", "yes"],
        ["$-$0.500", "--", "4", "no"],
    ]
    assert r"\begin{tabular}{rrrl}" in latex(frame)
