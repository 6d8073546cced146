"""Escaping of output: what a terminal, spreadsheet, LaTeX or JSON would interpret is shown as text.

Names come from strangers' files. A terminal obeys escape sequences, a spreadsheet runs a cell that
begins with ``=``, and vl-convert ends its process at some control characters.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable
from typing import Any

from core.foundation.names import HIDDEN
from core.foundation.names import printable as printable

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
}


def one_line(text: str) -> str:
    """:func:`printable`, every run of white space one space.

    >>> one_line("a\\n\\tbed ")
    'a bed'
    """
    return printable(" ".join(text.split()))


def json_text(text: str) -> str:
    """JSON whose remaining control characters (those above 0x7e) are escaped as JSON does.

    >>> json_text('"\x9b2J"')
    '"\\\\u009b2J"'
    """
    return HIDDEN.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula: a text that begins as one gets a ``'``.

    >>> csv_cell("=HYPERLINK(1)"), csv_cell("-0.5"), csv_cell("bed"), csv_cell(-2)
    ("'=HYPERLINK(1)", '-0.5', 'bed', -2)
    """
    if not isinstance(value, str):
        return value
    value = printable(value)
    if not value.startswith(("=", "+", "-", "@", "\t", "\r")):
        return value
    try:
        float(value)
    except ValueError:
        return f"'{value}"
    return value


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Rows as CSV, every text as :func:`csv_cell` has it."""
    out = io.StringIO()
    csv.writer(out, lineterminator="\n").writerows([csv_cell(v) for v in row] for row in rows)
    return out.getvalue()


def csv_frame(frame: Any) -> str:
    """A pandas frame as :func:`csv_text`, its columns first; what is missing is empty."""
    body = frame.astype(object).where(frame.notna(), None).to_numpy()
    return csv_text([list(frame.columns), *body])


def latex_text(text: str) -> str:
    r"""A text as LaTeX takes it, in one line.

    >>> latex_text("night_stand 50 %")
    'night\\_stand 50 \\%'
    """
    return "".join(_LATEX.get(ch, ch) for ch in one_line(text))
