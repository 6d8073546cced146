"""What a label says: a weighted sum of logical formulas of concepts, as text and as terms.

A concept is a formula of one concept, and a label of one concept is a sum of one term of weight 1.
So every labelling method, and every table of labels that somebody brings, says the same kind of
thing, and all are scored by the same code (:mod:`core.labelling.simulation`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from core.dissect.formula import AND, NOT, OR, Formula
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.names import readable

Terms = tuple[tuple[float, Formula], ...]
"""Weights and formulas, in the order in which they are written. () says nothing of any concept."""

OPERATORS = {" OR ": OR, " AND NOT ": NOT, " AND ": AND}

LONGEST = 10_000
"""Characters of a label's text: it may come from a stranger's file."""


def concept(number: int, weight: float = 1.0) -> Terms:
    """The terms of one concept (id).

    >>> concept(3)
    ((1.0, Formula(concepts=(3,), ops=(0,))),)
    """
    return ((weight, Formula((number,))),)


def words(terms: Terms, names: Sequence[str]) -> str:
    """Terms as text. names : of the concepts by id; entry 0 stands for none.

    >>> names = ["", "bed", "lamp"]
    >>> words(concept(1), names)
    'bed'
    >>> words(((0.25, Formula((1,))), (-0.5, Formula((1, 2), (0, OR)))), names)
    '0.25 bed - 0.5 (bed OR lamp)'
    """
    if len(terms) == 1 and terms[0][0] == 1.0:
        return terms[0][1].words(names)
    out = ""
    for weight, formula in terms:
        sign = (" - " if weight < 0 else " + ") if out else ("-" if weight < 0 else "")
        text = formula.words(names)
        out += f"{sign}{abs(weight):.6g} {f'({text})' if formula.length > 1 else text}"
    return out


def parse(text: str, ids: Mapping[str, int]) -> Terms:
    """Terms of a text, as :func:`words` writes them.

    ids : concept ids by name. A name that holds an operator or a sign is found whole first.

    Raises UnitscopeError for an unknown concept (nearest), and for what is no label.

    >>> ids = {"bed": 1, "lamp": 2, "bread + butter": 3}
    >>> parse("(bed OR lamp) AND NOT bread + butter", ids)
    ((1.0, Formula(concepts=(1, 2, 3), ops=(0, 1, 3))),)
    >>> parse("0.5 bed + 2e-1 (lamp AND bed) - 1 bread + butter", ids)[2]
    (-1.0, Formula(concepts=(3,), ops=(0,)))
    """
    text = text.strip()
    if len(text) > LONGEST:
        raise UnitscopeError(f"a label of {len(text)} characters; at most {LONGEST} are read")
    if text in ids:
        return concept(ids[text])
    if not _WEIGHT.match(text):
        return ((1.0, _formula(text, ids)),)
    terms: list[tuple[float, Formula]] = []
    while text:
        found = _WEIGHT.match(text)
        if found is None:
            raise UnitscopeError(f"expected a weight before {readable(text)!r}")
        weight = float(found["weight"].replace(" ", ""))
        text = text[found.end() :]
        end = _end_of_term(text, ids)
        terms.append((weight, _formula(text[:end].strip(), ids)))
        text = text[end:].strip()
    return tuple(terms)


_WEIGHT = re.compile(r"(?P<weight>[+-]? ?(\d{1,20}(\.\d{0,20})?|\.\d{1,20})(e[+-]?\d{1,3})?) +")
_NEXT = re.compile(r" (?=[+-] (\d|\.\d))")


def _end_of_term(text: str, ids: Mapping[str, int]) -> int:
    """Where the formula that `text` begins with ends: before the next signed weight."""
    ends = [found.start() for found in _NEXT.finditer(text)] + [len(text)]
    for end in reversed(ends):  # a name that looks like two terms is found whole
        if text[:end].strip() in ids:
            return end
    return ends[0]


def _formula(text: str, ids: Mapping[str, int]) -> Formula:
    """A left-deep formula, read from the right: its last operator joins its last concept."""
    rest: list[tuple[int, int]] = []
    text = _bare(text)
    while text not in ids:
        at, op, width = max((text.rfind(word), op, len(word)) for word, op in OPERATORS.items())
        # Of " AND NOT " the search for " AND " finds the beginning as well.
        if text[at:].startswith(" AND NOT "):
            op, width = NOT, len(" AND NOT ")
        if at < 0:
            raise unknown("concept", readable(text), ids)
        last = _bare(text[at + width :])
        if last not in ids:
            raise unknown("concept", readable(last), ids)
        rest.append((op, ids[last]))
        text = _bare(text[:at])
    formula = Formula((ids[text],))
    for op, number in reversed(rest):
        formula = formula.then(op, number)
    return formula


def _bare(text: str) -> str:
    """Text without the parentheses that enclose all of it."""
    text = text.strip()
    while text.startswith("(") and text.endswith(")"):
        depth = 0
        for at, sign in enumerate(text):
            depth += (sign == "(") - (sign == ")")
            if depth == 0 and at < len(text) - 1:
                return text
        text = text[1:-1].strip()
    return text
