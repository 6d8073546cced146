"""The folder that `reproduce` leaves: a report, tables as CSV and LaTeX, figures, every number.

``report.html``   self-contained: tables with ours and the paper's in one cell, figures as SVG
``report.md``     the tables as Markdown
``table1.csv``, ``table1.tex`` … ``figure5.csv``
``figure_3-paper.svg``, ``.pdf``, ``.png`` …, and the points of each curve as ``.csv``
``printed/``      the figures for a paper with their captions, where a width was asked for
``results.json``  every cell: ours, its interval, the paper's, the difference
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from importlib.metadata import version
from pathlib import Path

import pandas as pd

from core.figures.export import FORMATS, latex, write_chart
from core.figures.printed import Printed
from core.figures.report import inline_svg, page
from core.foundation.digest import digest_of
from core.foundation.errors import UnitscopeError
from core.foundation.escape import csv_frame, csv_text
from core.foundation.files import parse_json, strict_json, write_text
from core.foundation.plain import Json
from core.foundation.versions import versions_of
from core.paper.printed import PARTS
from core.reproduce.compare import Cell, Comparison
from core.reproduce.produce import draw
from core.reproduce.work import Work

QUICK = (
    "QUICK: made small (few draws, one seed, one epoch, few groups) to see whether everything "
    "works. Quote nothing of it."
)
PACKAGES = ("torch", "torchvision", "pykeen", "scikit-learn", "numpy", "scipy", "duckdb")


PRINTED = "printed"
"""Folder of the figures for a paper, beside those of the report."""


class Folder:
    """The output folder of one reproduction; written anew after every part.

    Figures that were exported before from the same points are not drawn again. printed : figures
    are written for a paper as well, into the folder `printed`.
    """

    def __init__(self, path: Path, work: Work, printed: Printed | None = None):
        self.path, self.work, self.printed = path, work, printed
        path.mkdir(parents=True, exist_ok=True)
        try:
            result = parse_json((path / "results.json").read_text(encoding="utf-8"))
            self._drawn = dict(result.get("drawn", {}))
        except (OSError, ValueError):
            self._drawn = {}
        self._svg: dict[str, str] = {}

    def write(self, parts: Mapping[str, Comparison], left_out: Mapping[str, str]) -> None:
        """Everything that is known now. `left_out` : part → why."""
        for key, part in parts.items():
            self._figures(part)
            write_text(self.path / f"{key}.csv", to_csv(part))
            write_text(self.path / f"{key}.tex", to_latex(part, self._head()))
        facts = results(self.work, parts, left_out)
        facts["drawn"] = self._drawn
        write_text(self.path / "results.json", strict_json(facts, indent=1) + "\n")
        write_text(self.path / "report.md", self._markdown(parts, left_out))
        write_text(self.path / "report.html", self._html(parts, left_out))

    def _figures(self, part: Comparison) -> None:
        for name, given in part.charts.items():
            if name in self._svg:
                continue
            frame, caption = given
            drawn_by = [version("altair"), versions_of("figures")]
            made_of = digest_of([frame.to_csv(), list(caption), drawn_by])
            wanted: list[tuple[str, Path, Printed | None]] = [(name, self.path, None)]
            if self.printed is not None:
                wanted.append((f"{PRINTED}/{name}", self.path / PRINTED, self.printed))
            for drawn, folder, size in wanted:
                files = [folder / f"{name}.{kind}" for kind in FORMATS]
                sized = made_of if size is None else f"{made_of} {size}"
                if self._drawn.get(drawn) != sized or not all(f.is_file() for f in files):
                    try:
                        write_chart(draw(name, given), folder, name, list(FORMATS), size)
                    except UnitscopeError as err:
                        if size is None:
                            raise
                        # Hours of work do not end because a figure does not fit a column.
                        self.work.say(f"{name} is not written for a paper: {err}")
                        continue
                    self._drawn[drawn] = sized
            write_text(self.path / f"{name}.csv", csv_frame(frame))
            self._svg[name] = (self.path / f"{name}.svg").read_text(encoding="utf-8")

    def _head(self) -> list[str]:
        return [QUICK] if self.work.small else []

    def _about(self) -> list[str]:
        return [
            *self._head(),
            self.work.profile.about,
            "In percent. Cells: ours [95 % interval], below it the paper's figure and the "
            "difference in points (ours less the paper's). What the paper's text says is counted "
            "on the figures as they are, intervals aside.",
        ]

    def _left(self, parts: Mapping[str, Comparison], left_out: Mapping[str, str]) -> list[str]:
        """What is not there, in words."""
        out = [f"{PARTS[key].title}: left out. {why}" for key, why in left_out.items()]
        waiting = [k for k in self.work.makeable if k not in parts and k not in left_out]
        return out + [f"{PARTS[key].title}: not made yet." for key in waiting]

    def _markdown(self, parts: Mapping[str, Comparison], left_out: Mapping[str, str]) -> str:
        lines = [
            f"# Compared with the paper: profile {self.work.profile.name}",
            "",
            *self._about(),
            "",
        ]
        for part in parts.values():
            lines += [f"## {part.title}", ""]
            lines += [f"* {text}" for text in part.above]
            lines += ["", *_markdown_table(part), ""]
            lines += [f"![{name}]({name}.svg)" for name in part.charts]
            lines += ["", *_claims_markdown(part), ""]
            lines += [f"* {text}" for text in part.notes] + [""]
        if self._left(parts, left_out):
            lines += ["## Left out", "", *(f"* {t}" for t in self._left(parts, left_out)), ""]
        return "\n".join(lines)

    def _html(self, parts: Mapping[str, Comparison], left_out: Mapping[str, str]) -> str:
        name = self.work.profile.name
        body = [f"<h1>Compared with the paper: profile {escape(name)}</h1>"]
        body += [f'<p class="lede">{escape(text)}</p>' for text in self._about()]
        number = 0
        for part in parts.values():
            body.append(f"<h2>{escape(part.title)}</h2>")
            body.append(_list(part.above))
            body.append(_html_table(part))
            for figure in part.charts:
                drawn = inline_svg(self._svg[figure], number)
                body.append(f'<figure aria-label="{escape(figure)}">{drawn}</figure>')
                number += 1
            body.append(_claims_html(part))
            body.append(_list(part.notes))
        if self._left(parts, left_out):
            body += ["<h2>Left out</h2>", _list(self._left(parts, left_out))]
        body.append("<h2>How to make it again</h2>")
        body.append(f"<pre>{escape(again(self.work))}</pre>")
        runs = dict.fromkeys(run for part in parts.values() for run in part.runs)
        said = "; ".join(f"{package} {number}" for package, number in versions().items())
        body.append(f"<p>Runs: {escape(', '.join(runs))}. {escape(said)}.</p>")
        return page(f"Compared with the paper: {name}", body, STYLE)


STYLE = """
body { max-width: 78rem; } p, ul { max-width: 60rem; } td { vertical-align: top; }
table.claims { margin: 1.4rem 0 1rem; }
.paper { color: #5b6770; font-size: .85em; white-space: nowrap; display: block; }
.ours { white-space: nowrap; }
ul { color: #3c4852; font-size: .95rem; padding-left: 1.2rem; }
"""


def versions() -> dict[str, str]:
    """Versions of the packages that decide numbers."""
    return {name: version(name) for name in PACKAGES}


def again(work: Work) -> str:
    """The command line that makes it again."""
    line = f"python -m core reproduce --profile {work.called or work.profile.name} --data DIR"
    if list(work.keys) != list(PARTS):
        line += f" --only {','.join(work.keys)}"
    line += f" --seeds {work.seeds}" if work.seeds is not None else ""
    return line + (" --quick" if work.small else "")


def results(work: Work, parts: Mapping[str, Comparison], left_out: Mapping[str, str]) -> Json:
    """Everything as plain data: what `results.json` holds.

    parts : by key: title, differs (above the table), labels, columns, rows (labels, shown, cells by
    column: ours, low, high, chance, n, paper, why, difference; in percent), control, claims (text,
    paper and ours as [hold, compared]), notes, details (by name, what the separate verb gives),
    runs.
    """
    return {
        "profile": work.profile.name,
        "about": work.profile.about,
        "quick": work.small,
        "command": again(work),
        "unit": "percent",
        "versions": versions(),
        "knowledge": work.profile.knowledge[0],
        "left_out": dict(left_out),
        "parts": {
            key: {
                "title": part.title,
                "differs": part.above,
                "labels": list(part.labels),
                "columns": list(part.columns),
                "control": part.control[1],
                "rows": [
                    {
                        "labels": list(labels),
                        "shown": shown,
                        "cells": {column: cell.to_json() for column, cell in cells.items()},
                    }
                    for labels, shown, cells in part.rows
                ],
                "claims": [
                    {"text": text, "paper": list(theirs), "ours": list(ours)}
                    for text, theirs, ours in part.claims
                ],
                "notes": part.notes,
                "details": part.details,
                "runs": part.runs,
            }
            for key, part in parts.items()
        },
    }


# -- cells in words ---------------------------------------------------------------------------


def ours(cell: Cell) -> str:
    """Our figure with its interval, or why there is none.

    >>> ours(Cell(28.1, 23.6, 33.04)), ours(Cell(why="not run: no weights")), ours(Cell())
    ('28.10 [23.6, 33.0]', 'not run', '–')
    """
    if cell.ours is None:
        return cell.why.partition(":")[0] or "–"
    span = "" if cell.low is None or cell.high is None else f" [{cell.low:.1f}, {cell.high:.1f}]"
    return f"{cell.ours:.2f}{span}".replace("-", "−")


def theirs(cell: Cell) -> str:
    """The paper's figure and the difference; empty where the paper has none.

    >>> theirs(Cell(28.1, paper=78.03)), theirs(Cell(paper=78.03)), theirs(Cell(28.1))
    ('78.03 (−49.93)', '78.03', '')
    """
    if cell.paper is None:
        return ""
    if cell.difference is None:
        return f"{cell.paper:.2f}"
    return f"{cell.paper:.2f} ({cell.difference:+.2f})".replace("-", "−")


def _label(labels: Sequence[str], shown: str) -> list[str]:
    """Row labels, the last with what is more to be said."""
    return [*labels[:-1], f"{labels[-1]} ({shown})" if shown else labels[-1]]


def _why(part: Comparison) -> list[str]:
    """Why figures of ours are missing, once each."""
    return list(
        dict.fromkeys(
            f"{labels[0]}: {cell.why}"
            for labels, _, cells in part.rows
            for cell in cells.values()
            if cell.ours is None and cell.why
        )
    )


def _markdown_table(part: Comparison) -> list[str]:
    heads = [*part.labels, *part.columns]
    lines = [f"| {' | '.join(heads)} |", "|" + " --- |" * len(heads)]
    for labels, shown, cells in part.rows:
        texts = ["<br>".join(filter(None, (ours(c), theirs(c)))) for c in cells.values()]
        lines.append(f"| {' | '.join([*_label(labels, shown), *texts])} |")
    return [*lines, "", *(f"* {why}" for why in _why(part))]


def _html_table(part: Comparison) -> str:
    heads = "".join(f"<th>{escape(name)}</th>" for name in part.labels)
    heads += "".join(f'<th class="n">{_sub(name)}</th>' for name in part.columns)
    rows = []
    for labels, shown, cells in part.rows:
        tds = "".join(f"<td>{escape(text)}</td>" for text in _label(labels, shown))
        for cell in cells.values():
            title = f' title="{escape(cell.why)}"' if cell.why else ""
            more = [f"paper {theirs(cell)}"] if theirs(cell) else []
            more += [] if cell.chance is None else [f"{part.control[0]} {cell.chance:.2f}"]
            below = "".join(f'<span class="paper">{escape(text)}</span>' for text in more)
            tds += (
                f'<td class="n"{title}><span class="ours">{escape(ours(cell))}</span>{below}</td>'
            )
        rows.append(f"<tr>{tds}</tr>")
    control = f"{escape(': '.join(part.control))}" if part.control[0] else ""
    table = (
        f'<div class="scroll"><table><caption>{control}</caption><thead><tr>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></div>"
    )
    return table + (_list(_why(part)) if _why(part) else "")


def _sub(name: str) -> str:
    head, _, index = name.partition("_")
    return escape(head) + (f"<sub>{escape(index)}</sub>" if index else "")


def _list(texts: Sequence[str]) -> str:
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in texts)}</ul>" if texts else ""


def _counted(pair: tuple[int, int]) -> str:
    return f"{pair[0]} of {pair[1]}" if pair[1] else "cannot be compared"


def _claims_markdown(part: Comparison) -> list[str]:
    if not part.claims:
        return []
    lines = ["| what the paper's text says | of its own figures | of ours |", "| --- | --- | --- |"]
    lines += [
        f"| {text} | {_counted(theirs)} | {_counted(own)} |" for text, theirs, own in part.claims
    ]
    return lines


def _claims_html(part: Comparison) -> str:
    if not part.claims:
        return ""
    rows = "".join(
        f"<tr><td>{escape(text)}</td><td>{_counted(theirs)}</td><td>{_counted(own)}</td></tr>"
        for text, theirs, own in part.claims
    )
    return (
        '<table class="claims"><thead><tr><th>what the paper’s text says holds for</th>'
        "<th>of its own figures</th>"
        f"<th>of ours</th></tr></thead><tbody>{rows}</tbody></table>"
    )


def to_csv(part: Comparison) -> str:
    """One line a row; of every column ours, low, high, chance, n, paper, difference, in percent."""
    names = ("ours", "low", "high", "chance", "n", "paper", "difference")
    lines = [[*part.labels, "more", *(f"{c}_{name}" for c in part.columns for name in names)]]
    for labels, shown, cells in part.rows:
        facts = [cell.to_json() for cell in cells.values()]
        lines.append([*labels, shown, *(one[name] for one in facts for name in names)])
    return csv_text(lines)


def to_latex(part: Comparison, head: Sequence[str] = ()) -> str:
    """A booktabs table, two lines a row: ours with its interval; the paper's, the difference."""
    frame = pd.DataFrame(
        [
            row
            for labels, shown, cells in part.rows
            for row in (
                [*_label(labels, shown), "ours", *(ours(c) for c in cells.values())],
                [*[""] * len(labels), "paper", *(theirs(c) for c in cells.values())],
            )
            if any(row[len(labels) + 1 :])
        ],
        columns=[*part.labels, "of", *part.columns],
    )
    notes = " ".join([*head, part.title + ".", *part.above, *part.notes]).replace("\n", " ")
    text = latex(frame, notes) + "\n"
    for sign, plain in _PLAIN.items():
        text = text.replace(sign, plain)
    return text


_PLAIN = {"−": "-", "λ": "lambda"}
"""Signs that LaTeX does not know without a package."""
