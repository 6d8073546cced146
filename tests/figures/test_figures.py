"""Figures and tables as files."""

from __future__ import annotations

import io

import numpy as np
import pandas as pd
import pytest
from PIL import Image

from core.figures.base import Caption
from core.figures.export import FORMATS, export, latex
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
