"""Tables for LaTeX, in the manner of the package booktabs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from core.foundation.escape import latex_text, one_line


def tabular(kinds: str, heads: Sequence[str], rows: Iterable[Sequence[str]], note: str = "") -> str:
    r"""A `tabular` of cells that are LaTeX already (:func:`latex_text` makes them so of a text).

    kinds : l or r, a letter a column. note : a comment in front of it.

    >>> print(tabular("lr", ["concept", "IoU"], [[latex_text("night_stand"), "0.25"]]))
    \begin{tabular}{lr}
    \toprule
    concept & IoU \\
    \midrule
    night\_stand & 0.25 \\
    \bottomrule
    \end{tabular}
    """
    lines = [f"% {one_line(note)}"] if note else []
    lines += [
        rf"\begin{{tabular}}{{{kinds}}}",
        r"\toprule",
        " & ".join(heads) + r" \\",
        r"\midrule",
    ]
    lines += [" & ".join(row) + r" \\" for row in rows]
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}"])


def floating(table: str, caption: str) -> str:
    r"""A `tabular` as a float of its own, with a caption (plain text)."""
    head = [r"\begin{table}", r"\centering"]
    foot = [rf"\caption{{{latex_text(caption)}}}", r"\end{table}"]
    return "\n".join([*head, table, *foot]) + "\n"
