"""The formulas of a run's units, searched for once and kept beside the run.

What a formula is, and how the best one is found: :mod:`core.dissect.formula_search`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pandas as pd

from core.dissect.formula import WORDS, Formula
from core.dissect.formula_search import Found, Search, search_units
from core.dissect.signatures import Signatures, signatures
from core.foundation.errors import UnitscopeError
from core.foundation.files import parse_json, write_text
from core.foundation.progress import Report, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.runs.run_file import Run, derived, known_values


def unit_formulas(
    run: Run,
    layer: str | None = None,
    search: Search | None = None,
    groups: Mapping[int, int] | None = None,
    units: Sequence[int] | None = None,
    shuffles: int = 0,
    threads: int = 1,
    progress: Report | None = None,
    stop: Stop = never,
) -> tuple[pd.DataFrame, Signatures]:
    """The best formula of every unit of a run's layer, and the signatures they are about.

    Each unit's result is kept beside the run as soon as it is there, so that a search that is
    stopped is resumed where it was, and a finished one is only read.

    groups : concept id → id of its group's representative: formulas over filtered concepts, a
        group's mask being the union of its members'.
    shuffles : rounds of the same search with every image's labels exchanged for another's, over
        all units. Then `chance` is the share (1 + reached) / (1 + drawn) of what these found
        that scores as high; a search over millions of formulas finds much by chance.

    Returns :func:`formula_table`. Raises UnitscopeError for an unknown layer, category, split,
    concept or unit, and where `stop` said True before all units were done.
    """
    search = search or Search()
    search.check()
    if shuffles < 0:
        raise UnitscopeError(f"{shuffles} shuffles were asked for; 0 or more are meant")
    found, s = found_formulas(run, layer, search, groups, units, None, threads, progress, stop)
    frame = formula_table(s, found)
    if shuffles:
        null = np.sort(
            [
                one.score
                for r in range(shuffles)
                for one in found_formulas(
                    run, layer, search, groups, None, r, threads, progress, stop
                )[0]
            ]
        )
        reached = len(null) - np.searchsorted(null, frame["score"].to_numpy(), "left")
        frame["chance"] = (1 + reached) / (1 + len(null))
    return frame, s


def found_formulas(
    run: Run,
    layer: str | None,
    search: Search,
    groups: Mapping[int, int] | None = None,
    units: Sequence[int] | None = None,
    shuffle: int | None = None,
    threads: int = 1,
    progress: Report | None = None,
    stop: Stop = never,
) -> tuple[list[Found], Signatures]:
    """The results of one search, read from beside the run or worked out and left there.

    shuffle : the round of exchanged masks; None for the masks as they are. The rest, and what is
    raised, as :func:`unit_formulas`.
    """
    kinds = known_values(run, "category", "concepts", search.categories or None)
    s = signatures(run, layer, search.splits or None, progress, stop, threads, shuffle)
    s = s.without([kind for kind in s.categories[1:] if kind not in kinds])
    if groups:
        s = s.merged(groups)
    wanted = list(range(s.units)) if units is None else [int(t) for t in units]
    for t in wanted:
        s.unit(t)
    path = _where(run, s.layer, search, groups, shuffle)
    kept = {one.unit: one for one in _read(path, s.units, len(s.concepts))}
    todo = [t for t in wanted if t not in kept]
    found = search_units(s, search, todo, threads, progress, stop)
    if todo:
        # What a kill left of a last line goes; a whole line is a whole result.
        write_text(path, "".join(_line(one) for one in kept.values()))
        with path.open("a", encoding="utf-8") as out:
            for one in found:
                kept[one.unit] = one
                out.write(_line(one))
                out.flush()
    missing = [t for t in wanted if t not in kept]
    if missing:
        raise Stopped(
            f"stopped with {len(wanted) - len(missing)} of {len(wanted)} units done; the same "
            "command resumes it"
        )
    return [kept[t] for t in wanted], s


def _where(
    run: Run, layer: str, search: Search, groups: Mapping[int, int] | None, shuffle: int | None
) -> Path:
    """Where the results of one search are kept."""
    facts = {
        "layer": layer,
        "search": asdict(search),
        "groups": sorted((groups or {}).items()),
        "shuffle": shuffle,
        **versions_of("formulas", "signatures"),
    }
    return derived(run, "formulas", facts, "jsonl")


def finished_formulas(
    run: Run, layer: str | None = None, search: Search | None = None, shuffle: int | None = None
) -> list[Found] | None:
    """What an earlier :func:`unit_formulas` over all units of a layer left, by unit; None where
    any of them is missing. It only reads: nothing is searched or written.

    shuffle : that round of exchanged labels instead of the labels themselves.
    Raises UnitscopeError for an unknown layer.
    """
    number = run.layer(layer)
    path = _where(run, run.layer_names[number], search or Search(), None, shuffle)
    units = run.unit_count(layer)
    concepts = int(run.sql("SELECT count(*) AS n FROM concepts")["n"][0])
    kept = {one.unit: one for one in _read(path, units, concepts + 1)}
    return [kept[t] for t in range(units)] if all(t in kept for t in range(units)) else None


def _line(found: Found) -> str:
    return json.dumps(asdict(found)) + "\n"


def _read(path: Path, units: int, concepts: int) -> Iterator[Found]:
    """Results that an earlier search left; a line that a kill cut short, or that names a unit,
    concept or operation that is none, ends them: kernels use these numbers as places."""
    if not path.is_file():
        return

    def formula(facts: Sequence[Sequence[int]]) -> Formula:
        return Formula(tuple(facts[0]), tuple(facts[1]))

    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            facts = parse_json(line)
            facts["formula"] = formula(facts["formula"]) if facts["formula"] else None
            facts["ties"] = [formula(one) for one in facts["ties"]]
            found = Found(**facts)
            every = [one for one in (found.formula, *found.ties) if one is not None]
            good = 0 <= found.unit < units and all(
                len(one.concepts) == len(one.ops) >= 1
                and one.ops[0] == 0
                and all(op in WORDS for op in one.ops[1:])
                and all(0 < c < concepts for c in one.concepts)
                for one in every
            )
        except (ValueError, TypeError, KeyError, IndexError):
            return
        if not good:
            return
        yield found


def formula_table(s: Signatures, found: Sequence[Found]) -> pd.DataFrame:
    """Results as a frame: unit, formula (words), length, iou, label, label_iou, gain (IoU over
    that of the label, relative), both, area, hits, score, ties (words), proven, bound."""
    rows = []
    for one in found:
        gain = one.iou / one.label_iou - 1 if one.label_iou else np.nan
        rows.append(
            {
                "unit": one.unit,
                "formula": one.formula.words(s.concepts) if one.formula else None,
                "length": one.formula.length if one.formula else 0,
                "iou": one.iou,
                "label": s.concepts[one.label] or None,
                "label_iou": one.label_iou,
                "gain": gain,
                "both": one.both,
                "area": one.area,
                "hits": one.hits,
                "score": one.score,
                "ties": "; ".join(f.words(s.concepts) for f in one.ties),
                "proven": one.proven,
                "bound": one.bound,
            }
        )
    columns = [
        "unit",
        "formula",
        "length",
        "iou",
        "label",
        "label_iou",
        "gain",
        "both",
        "area",
        "hits",
        "score",
        "ties",
        "proven",
        "bound",
    ]
    return pd.DataFrame(rows, columns=columns)
