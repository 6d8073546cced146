"""Export: charts as SVG, PDF or PNG files, frames as LaTeX tables."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import altair as alt
import numpy as np
import pandas as pd

from core.figures.base import PAPER
from core.figures.converter import ConversionError, convert
from core.figures.printed import Printed, laid_out, physical
from core.figures.printed import caption as caption_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.escape import latex_text
from core.foundation.files import write_bytes
from core.foundation.latex import tabular
from core.foundation.names import printable
from core.foundation.plain import Json

FORMATS = {"svg": "image/svg+xml", "pdf": "application/pdf", "png": "image/png"}
"""What :func:`export` writes, with media types."""


def export(chart: Any, kind: str, dark: bool = False, printed: Printed | None = None) -> bytes:
    """A chart as the bytes of an SVG, PDF or PNG file.

    printed : of this width and these letters, without title, on white (the chart is one drawn for
    light paper; :func:`core.figures.printed.caption` says what the title said); as on the screen
    where None, PNG at 200 dots per inch.

    Raises UnitscopeError for another format, or a chart that cannot be drawn so.
    """
    if kind not in FORMATS:
        raise unknown("figure format", kind, FORMATS)
    drawn = chart.copy()
    drawn.background = PAPER[dark and printed is None]
    # Charts are aggregated before they come here; Altair's guard against raw rows is moot.
    with alt.data_transformers.disable_max_rows():
        spec = _printable(drawn.to_dict())
    try:
        if printed is None:
            written = convert(spec, kind)
        else:
            written = _of_size(spec, kind, printed)
    except ConversionError as err:
        raise UnitscopeError(f"this chart cannot be written as {kind.upper()} ({err})") from err
    if kind == "svg":
        # The writer numbers parts on through the life of its process: here each file counts from
        # 0, so that one chart gives one file.
        return named_parts(written.decode(), "part").encode()
    return written


def write_chart(
    chart: Any,
    folder: Path,
    name: str,
    kinds: Sequence[str] = ("svg",),
    printed: Printed | None = None,
) -> list[Path]:
    """Write a chart as ``NAME.svg``, ``.pdf`` …; for a paper (`printed`) its caption beside it, as
    ``NAME.txt``. Returns the files.

    Raises UnitscopeError as :func:`export` does, before anything is written.
    """
    made = {f"{name}.{kind}": export(chart, kind, printed=printed) for kind in kinds}
    if printed is not None:
        made[f"{name}.txt"] = f"{caption_of(chart)}\n".encode()
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in made.items():
        write_bytes(folder / file, content)
    return [folder / file for file in made]


def _of_size(spec: Json, kind: str, printed: Printed) -> bytes:
    svg = convert(laid_out(spec, printed, lambda one: convert(one, "svg").decode()), "svg").decode()
    if kind == "svg":
        return physical(svg, printed, "in").encode()
    if kind == "pdf":
        return convert(physical(svg, printed), kind)
    return convert(svg, kind, printed.scale, printed.dpi)


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


def latex(frame: pd.DataFrame, caption: str = "") -> str:
    r"""A frame as a LaTeX table (booktabs), numbers to the right, names escaped.

    The numbers of a column have one number of decimals, so that the greatest has three digits or
    more; one that would be written as zero is ``$<$`` the least that is not. Yes and no are words.

    >>> print(latex(pd.DataFrame({"concept": ["night_stand", "bed"], "IoU": [0.25, 0.0004]})))
    \begin{tabular}{lr}
    \toprule
    concept & IoU \\
    \midrule
    night\_stand & 0.250 \\
    bed & $<$0.001 \\
    \bottomrule
    \end{tabular}
    """
    numeric = [
        pd.api.types.is_numeric_dtype(t) and not pd.api.types.is_bool_dtype(t) for t in frame.dtypes
    ]
    columns = [_cells(frame.iloc[:, k]) for k in range(frame.shape[1])]
    return tabular(
        "".join("r" if one else "l" for one in numeric),
        [latex_text(str(name)) for name in frame.columns],
        zip(*columns, strict=True),
        caption,
    )


def _cells(column: pd.Series) -> list[str]:
    """The cells of a column, its numbers with one number of decimals."""
    floats = [v for v in column if isinstance(v, float) and math.isfinite(v)]
    most = max(map(abs, floats), default=0.0)
    places = min(6, max(0, 2 - math.floor(math.log10(most)))) if most else 3
    return [_cell(value, places) for value in column]


def _cell(value: Any, places: int) -> str:
    if value is None or value is pd.NA or (isinstance(value, float) and math.isnan(value)):
        return "--"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isinf(value):
            return r"$\infty$" if value > 0 else r"$-\infty$"
        shown = f"{value:.{places}f}"
        if value > 0 and not float(shown):
            return f"$<${10.0**-places:.{places}f}"
        return shown.replace("-", "$-$")
    return latex_text(str(value))
