"""Export: charts as SVG, PDF or PNG files, frames as LaTeX tables."""

from __future__ import annotations

import math
import re
from typing import Any

import altair as alt
import pandas as pd

from core.figures.base import PAPER
from core.figures.converter import ConversionError, convert
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.escape import latex_text
from core.foundation.latex import tabular
from core.foundation.names import printable

FORMATS = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}
"""What :func:`export` writes, with media types."""


def export(chart: Any, kind: str, dark: bool = False) -> bytes:
    """A chart as the bytes of an SVG, PDF or PNG file (PNG at 200 dots per inch).

    Raises UnitscopeError for another format, or a chart that cannot be drawn.
    """
    if kind not in FORMATS:
        raise unknown("figure format", kind, FORMATS)
    drawn = chart.copy()
    drawn.background = PAPER[dark]
    # Charts are aggregated before they come here; Altair's guard against raw rows is moot.
    with alt.data_transformers.disable_max_rows():
        spec = _printable(drawn.to_dict())
    try:
        written = convert(spec, kind)
    except ConversionError as err:
        raise UnitscopeError(f"this chart cannot be written as {kind.upper()} ({err})") from err
    if kind == "svg":
        # The writer numbers parts on through the life of its process: here each file counts from
        # 0, so that one chart gives one file.
        return named_parts(written.decode(), "part").encode()
    return written


def _printable(part: Any) -> Any:
    """A specification whose texts hold no control characters: names come from strangers."""
    if isinstance(part, dict):
        return {printable(str(key)): _printable(value) for key, value in part.items()}
    if isinstance(part, list):
        return [_printable(value) for value in part]
    return printable(part) if isinstance(part, str) else part


def named_parts(svg: str, name: str) -> str:
    """The text of an SVG, its parts called `name`-0, `name`-1 …, and so where they are used.

    >>> named_parts('<g clip-path="url(#x)"/><path id="x"/>', "one")
    '<g clip-path="url(#one-0)"/><path id="one-0"/>'
    """
    for k, old in enumerate(dict.fromkeys(re.findall(r'\bid="([^"]+)"', svg))):
        for form in ('id="{}"', "url(#{})", 'href="#{}"'):
            svg = svg.replace(form.format(old), form.format(f"{name}-{k}"))
    return svg


def _cell(value: Any) -> str:
    if value is None or (isinstance(value, float) and math.isnan(value)) or value is pd.NA:
        return "--"
    if isinstance(value, float):
        return f"{value:.4g}"
    return latex_text(str(value))


def latex(frame: pd.DataFrame, caption: str = "") -> str:
    r"""A frame as a LaTeX table (booktabs), numbers to the right, names escaped.

    >>> print(latex(pd.DataFrame({"concept": ["night_stand"], "IoU": [0.25]})))
    \begin{tabular}{lr}
    \toprule
    concept & IoU \\
    \midrule
    night\_stand & 0.25 \\
    \bottomrule
    \end{tabular}
    """
    kinds = "".join("r" if pd.api.types.is_numeric_dtype(t) else "l" for t in frame.dtypes)
    rows = ([_cell(value) for value in row] for row in frame.itertuples(index=False))
    return tabular(kinds, [_cell(name) for name in frame.columns], rows, caption)
