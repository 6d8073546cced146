"""A table or figure of ours beside the paper's: cells, differences, and whether its claims hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from core.figures.base import Caption
from core.foundation.plain import Json
from core.paper import printed as paper
from core.paper.printed import EVERY, PARTS, Claim, Key
from core.reproduce.profiles import Profile

if TYPE_CHECKING:
    import pandas as pd


@dataclass
class Cell:
    """One figure, in percent: ours with its 95 % interval and what chance gives, the paper's.

    why : what is to be said where ours is missing.
    """

    ours: float | None = None
    low: float | None = None
    high: float | None = None
    chance: float | None = None
    n: int | None = None
    paper: float | None = None
    why: str = ""

    @property
    def difference(self) -> float | None:
        """Ours less the paper's, in points; None where one of them is missing."""
        return None if self.ours is None or self.paper is None else self.ours - self.paper

    def to_json(self) -> Json:
        """Plain data."""
        return {**asdict(self), "difference": self.difference}


Drawn = tuple["pd.DataFrame", Caption]
"""What a chart is drawn from (:func:`core.reproduce.produce.draw`)."""

Cells = dict[tuple[tuple[str, ...], str], Cell]
"""(row labels, column) → figure."""


@dataclass
class Produced:
    """A table or figure that was made: ours, before the paper's numbers are put beside it.

    Attributes
    ----------
    cells : in the order in which rows that the paper does not have are listed.
    control : what the figures `chance` are, in short and in words; empty where there are none.
    notes : printed below it. details : name → what the separate verb gives, plain data.
    shown : row labels → more about the row. charts : name → what each is drawn from.
    runs : digests of what it came from. missing, missing_columns : row labels or
        column → why there is none of ours.
    """

    cells: Cells
    control: tuple[str, str]
    notes: list[str]
    details: Json
    shown: dict[tuple[str, ...], str] = field(default_factory=dict)
    charts: dict[str, Drawn] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    missing: dict[tuple[str, ...], str] = field(default_factory=dict)
    missing_columns: dict[str, str] = field(default_factory=dict)


@dataclass
class Comparison:
    """A table or figure as the paper lays it out, ours and the paper's beside each other.

    rows : (row labels, more about the row, figures by column), the paper's rows first.
    claims : (what the text says, of the paper's own figures that can be compared how many hold,
        of ours): counts as (hold, compared).
    """

    key: str
    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[tuple[tuple[str, ...], str, dict[str, Cell]]]
    above: list[str]
    notes: list[str]
    control: tuple[str, str]
    details: Json
    charts: dict[str, Drawn]
    runs: list[str]
    claims: list[tuple[str, tuple[int, int], tuple[int, int]]] = field(default_factory=list)


def compare(profile: Profile, key: str, made: Produced) -> Comparison:
    """Put the paper's numbers beside ours, in the paper's order of rows."""
    printed, of_paper = PARTS[key], paper.printed(key)
    not_run = profile.not_run.get(key, {})
    order = [labels for labels, _, _ in printed.rows]
    order += [*(labels for labels, _ in (*of_paper, *made.cells)), *made.missing]
    rows = []
    for labels in dict.fromkeys(order):
        cells = {}
        for column in printed.columns:
            cell = replace(made.cells.get((labels, column), Cell()))
            cell.paper = of_paper.get((labels, column))
            if cell.ours is None and not cell.why:
                why = made.missing.get(labels) or made.missing_columns.get(column)
                why = why or not_run.get(labels[0]) or ""
                cell.why = f"not run: {why}" if why else ""
            cells[column] = cell
        rows.append((labels, made.shown.get(labels, ""), cells))
    above = [*profile.differs, *profile.also_differs.get(key, ()), *printed.about]
    counted = [
        (c.low, c.high, c.chance)
        for _, _, cells in rows
        for c in cells.values()
        if c.chance is not None and c.low is not None and c.high is not None
    ]
    notes = list(made.notes)
    if counted and made.control[1]:
        over = sum(chance < low for low, _, chance in counted)
        under = sum(chance > high for _, high, chance in counted)
        notes.append(
            f"Beside {made.control[1]}: of {len(counted)} figures of ours {over} lie above and "
            f"{under} below it with their whole 95 % interval."
        )
    return Comparison(
        key,
        printed.title,
        printed.labels,
        printed.columns,
        rows,
        above,
        notes,
        made.control,
        made.details,
        made.charts,
        made.runs,
    )


def weigh(parts: Mapping[str, Comparison]) -> None:
    """Count, for what the paper's text claims, how often it holds: of its figures, and of ours."""
    ours = {
        (key, labels, column): cell.ours
        for key, part in parts.items()
        for labels, _, cells in part.rows
        for column, cell in cells.items()
    }
    theirs = {(key, *at): value for key in PARTS for at, value in paper.printed(key).items()}
    for key, part in parts.items():
        part.claims = [
            (claim.text, _holds(claim, theirs), _holds(claim, ours)) for claim in PARTS[key].claims
        ]


def _holds(claim: Claim, known: Mapping[Any, float | None]) -> tuple[int, int]:
    """(how many comparisons hold, how many can be made) with the figures that are known."""

    def figure(one: Key | float, first: str) -> float | None:
        if isinstance(one, float):
            return one
        part, labels, column = one
        labels = (first, *labels[1:]) if labels[0] == EVERY else labels
        return known.get((part, labels, column))

    hold = compared = 0
    for pair in claim.pairs:
        part, labels, _ = next(one for one in pair if not isinstance(one, float))
        firsts = [""]
        if labels[0] == EVERY:
            firsts = list(dict.fromkeys(key[1][0] for key in known if key[0] == part))
        for first in firsts:
            a, b = (figure(one, first) for one in pair)
            if a is not None and b is not None:
                compared += 1
                hold += a > b
    return hold, compared
