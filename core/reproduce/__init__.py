"""The paper's Tables 1 to 6 and Figures 3 to 5 from the data of a profile, by one call.

:func:`check` says what is there and what is missing; :func:`plan` what remains to be done and how
long it will take; :func:`reproduce` makes the runs, embeddings and trainings and, from them, every
table and figure beside the paper's own numbers (:mod:`core.paper.printed`). Everything is kept
where the separate verbs keep it, or beside its run under the digest of all that decides it, so
that stopped or killed work goes on where it was, and finished work is only read.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import pandas as pd

from core.figures import Caption
from core.foundation.errors import UnitscopeError
from core.foundation.files import parse_json
from core.foundation.intervals import interval
from core.foundation.progress import STOPPED, Report, Stop, Stopped, never
from core.foundation.settings import Retraining, Settings
from core.foundation.versions import versions_of
from core.knowledge.graph import Graph
from core.knowledge.kinds import open_knowledge
from core.paper import printed as paper
from core.paper.printed import BETTER, EVERY, NETWORK, PARTS, Claim, Key
from core.reproduce import profiles
from core.reproduce.profiles import (
    KS,
    Disabling,
    Explaining,
    Merging,
    Metrics,
    Networks,
    Part,
    Profile,
    Retrainings,
)
from core.runs.run_file import CACHE, Run, derived, write_text

Facts = dict[str, Any]


# -- what is there ----------------------------------------------------------------------------


@dataclass(frozen=True)
class Checked:
    """What of a profile's inputs is there.

    Attributes
    ----------
    inputs : of each need: key, what, files, missing (files), bring (how to get it), parts (keys
        that want it), instead (keys of needs that would do as well), needed (is it missing, and
        nothing that would do is there?).
    specs : key of ``either`` → the SPEC taken.
    absent : key of a need that is not there → in words what is missing and how to get it.
    left_out : part → why it cannot be made at all.
    """

    inputs: list[Facts]
    specs: dict[str, str]
    absent: dict[str, str]
    left_out: dict[str, str]


def check(profile: Profile, data: Path, keys: Sequence[str]) -> Checked:
    """Look for every file that the parts `keys` need; nothing is opened."""
    missing = {key: need.missing(data) for key, need in profile.needs.items()}
    specs: dict[str, str] = {}
    stands_for: dict[str, str] = {}
    for key, options in profile.either.items():
        there = [one for one in options if not any(missing[need] for need in one[1])]
        specs[key] = (there or list(options))[0][0]
        for _, needs in options:
            for need in needs:
                stands_for[need] = key
    absent = {
        key: f"{need.what}: {', '.join(missing[key])} not found; {need.bring(data)}"
        for key, need in profile.needs.items()
        if missing[key]
    }
    for key, options in profile.either.items():
        if all(any(missing[need] for need in needs) for _, needs in options):
            ways = [absent[need] for _, needs in options for need in needs if need in absent]
            absent[key] = "none of these: " + "; or ".join(ways)
        else:
            absent.pop(key, None)
    wanted: dict[str, list[str]] = {key: [] for key in profile.needs}
    left_out: dict[str, str] = {}
    for key in keys:
        if key not in profile.parts:
            left_out[key] = f"profile {profile.name} has nothing for it"
            continue
        sets = needs_of(profile, profile.parts[key])
        for need in dict.fromkeys(one for needs in sets for one in needs):
            for name in [n for n, of in stands_for.items() if of == need] or [need]:
                wanted[name].append(key)
        if not any(all(need not in absent for need in needs) for needs in sets):
            left_out[key] = "; ".join(
                dict.fromkeys(absent[n] for needs in sets for n in needs if n in absent)
            )
    inputs = []
    for key, asked in profile.needs.items():
        of = stands_for.get(key, key)
        instead = [n for _, needs in profile.either.get(of, ()) if key not in needs for n in needs]
        inputs.append(
            {
                "key": key,
                "what": asked.what,
                "files": [file.replace("{data}", str(data)) for file in asked.files],
                "missing": missing[key],
                "bring": asked.bring(data),
                "parts": wanted[key],
                "instead": instead,
                "needed": bool(missing[key]) and of in absent,
            }
        )
    return Checked(inputs, specs, absent, left_out)


def needs_of(profile: Profile, part: Part) -> list[tuple[str, ...]]:
    """Sets of needs; the part can be made where one of them is there whole."""
    graph = profile.knowledge[1]
    if isinstance(part, Retrainings):
        return [(*needs, graph) for _, needs in part.models.values()]
    return [(*profile.runs[run][1], graph) for run in runs_of(part)]


def runs_of(part: Part) -> list[str]:
    """Keys of the runs that a part is made from."""
    if isinstance(part, (Networks, Metrics)):
        return list(dict.fromkeys(part.runs.values()))
    return [] if isinstance(part, Retrainings) else [part.run]


# -- what is made -----------------------------------------------------------------------------


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

    def to_json(self) -> Facts:
        """Plain data."""
        return {**asdict(self), "difference": self.difference}


Cells = dict[tuple[tuple[str, ...], str], Cell]
"""(row labels, column) → figure."""


@dataclass
class Made:
    """A table or figure that was made: ours, before the paper's numbers are put beside it.

    Attributes
    ----------
    cells : in the order in which rows that the paper does not have are told.
    control : what the figures `chance` are, in short and in words; empty where there are none.
    notes : told below it. details : name → what the separate verb gives, plain data.
    shown : row labels → more about the row. charts : name → chart. runs : digests of what it came
        from. missing, missing_columns : row labels or column → why there is none of ours.
    """

    cells: Cells
    control: tuple[str, str]
    notes: list[str]
    details: dict[str, Any]
    shown: dict[tuple[str, ...], str] = field(default_factory=dict)
    charts: dict[str, Any] = field(default_factory=dict)
    runs: list[str] = field(default_factory=list)
    missing: dict[tuple[str, ...], str] = field(default_factory=dict)
    missing_columns: dict[str, str] = field(default_factory=dict)


@dataclass
class Beside:
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
    details: dict[str, Any]
    charts: dict[str, Any]
    runs: list[str]
    claims: list[tuple[str, tuple[int, int], tuple[int, int]]] = field(default_factory=list)


def beside(profile: Profile, key: str, made: Made) -> Beside:
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
    return Beside(
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


def weigh(parts: Mapping[str, Beside]) -> None:
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


# -- the work ---------------------------------------------------------------------------------


DECIDING = (
    "signatures",
    "merging",
    "core concepts",
    "explanation",
    "ablation",
    "replay",
    "tables",
)
"""Computations that decide a table or a curve of a finished run."""


@dataclass
class Work:
    """A profile on given data, with where its results are kept and whom to tell.

    Attributes
    ----------
    root : folder of the runs. say : told a line at a time. progress : called with it.
    stop : asked again and again; where it says True, the work raises a ``Stopped``.
    small : made for a try only (:func:`core.reproduce.profiles.quick`).
    seeds : of re-trainings, instead of the profile's. called : how the profile was named.
    """

    profile: Profile
    data: Path
    keys: list[str]
    root: Path = CACHE
    say: Callable[[str], object] = len
    progress: Report | None = None
    stop: Stop = never
    small: bool = False
    seeds: int | None = None
    called: str = ""
    _runs: dict[str, Run] = field(default_factory=dict)
    _plans: dict[str, Any] = field(default_factory=dict)
    _spaces: dict[str, Any] = field(default_factory=dict)
    _around: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def checked(self) -> Checked:
        """What is there."""
        return check(self.profile, self.data, self.keys)

    @cached_property
    def graph(self) -> Graph:
        """The knowledge graph."""
        return open_knowledge(self.spec(self.profile.knowledge[0]))

    @property
    def makeable(self) -> list[str]:
        """Parts that can be made, at least in part."""
        return [key for key in self.keys if key not in self.checked.left_out]

    def spec(self, text: str) -> str:
        """A SPEC of the profile, filled in."""
        return profiles.filled(text, self.data, self.checked.specs)

    def part(self, key: str) -> Part:
        """What a table or figure is made from."""
        one = self.profile.parts[key]
        if self.small:
            one = profiles.quick(one)
        if self.seeds is not None and isinstance(one, Retrainings):
            models = {n: (replace(a, seeds=self.seeds), k) for n, (a, k) in one.models.items()}
            one = replace(one, models=models)
        return one

    def lacks(self, needs: Iterable[str]) -> str:
        """Why something with these needs cannot be made; empty where it can."""
        return "; ".join(self.checked.absent[n] for n in needs if n in self.checked.absent)

    def settings(self, key: str) -> Settings:
        """Of a run."""
        asked = self.profile.runs[key][0]
        return replace(
            asked,
            dataset=self.spec(asked.dataset),
            model=self.spec(asked.model),
            knowledge=self.spec(asked.knowledge),
        )

    def retraining(self, asked: Retraining) -> Retraining:
        """A re-training of the profile with its SPECs filled in."""
        return replace(
            asked,
            dataset=self.spec(asked.dataset),
            model=self.spec(asked.model),
            knowledge=self.spec(asked.knowledge),
        )

    def planned(self, key: str) -> Any:
        """:func:`core.dissect.pipeline.plan` of a run."""
        from core.dissect.pipeline import plan as plan_run

        if key not in self._plans:
            self._plans[key] = plan_run(self.settings(key))
        return self._plans[key]

    def finished(self, key: str) -> Run | None:
        """A run, where it is finished."""
        if key not in self._runs:
            path = self.root / f"{self.planned(key).digest}.duckdb"
            if not path.is_file():
                return None
            self._runs[key] = Run(path)
        return self._runs[key]

    def run(self, key: str) -> Run:
        """A run: made, gone on with, or read."""
        from core.dissect.pipeline import execute

        run = self.finished(key)
        if run is None:
            work = self.planned(key)
            self.say(f"run {work.digest}: {work.settings.dataset} × {work.settings.model}")
            run = execute(work, self.root, progress=self.progress, stop=self.stop)
            self._runs[key] = run
        return run

    def space(self, key: str) -> Any:
        """:class:`core.merging.fuse.Space` of a run."""
        from core.merging.fuse import Space

        if key not in self._spaces:
            self._spaces[key] = Space(self.run(key), self.graph)
        return self._spaces[key]

    def concepts_around(self, key: str) -> Any:
        """The graph around a dataset's concepts (:func:`core.merging.embed.subgraph`), before
        its run is there."""
        from core.knowledge.core_concepts import LEFT_OUT
        from core.merging.embed import subgraph

        if key not in self._around:
            concepts = self.planned(key).dataset.concepts
            names = [one.name for one in concepts if one.category not in LEFT_OUT]
            self._around[key] = subgraph(names, self.graph)
        return self._around[key]

    def where(self, run: Run, name: str, facts: Facts) -> Path:
        """Where a result is kept beside its run."""
        facts = {**facts, "knowledge": self.graph.digest(), "versions": versions_of(*DECIDING)}
        return derived(run, f"reproduce-{name}", facts, "json")

    def kept(self, run: Run, name: str, facts: Facts, make: Callable[[], Any]) -> Any:
        """Plain data that was made before from the same facts, or is made now and kept."""
        path = self.where(run, name, facts)
        if not path.is_file():
            if self.stop():
                raise stopped()
            write_text(path, json.dumps(make(), ensure_ascii=False, default=_plain))
        return parse_json(path.read_text(encoding="utf-8"))


def failure(err: Exception) -> str:
    """What went wrong, in one line. A ``Stopped`` is no failure: it is raised on."""
    if isinstance(err, Stopped):
        raise err
    told = " ".join(str(err).split())
    return told if isinstance(err, UnitscopeError) else f"{type(err).__name__}: {told[:300]}"


def _plain(value: Any) -> Any:
    return value.item()


def stopped() -> UnitscopeError:
    """The error that says the work was stopped and can be resumed."""
    return Stopped(STOPPED)


def _cells(rows: Iterable[tuple[tuple[str, ...], Facts]], columns: Sequence[str]) -> Cells:
    """Figures in percent from rows of :meth:`core.paper.tables.Table.to_json`."""
    return {(labels, column): _cell(row[column]) for labels, row in rows for column in columns}


def _cell(figure: Facts) -> Cell:
    def percent(name: str) -> float | None:
        value = figure[name]
        return None if value is None or value != value else 100 * value

    return Cell(
        percent("value"), percent("low"), percent("high"), percent("chance"), int(figure["n"])
    )


CHANCE = ("chance", "core concept sets exchanged between scenes at random")
GROUPED = ("random groups", "random groups of the same sizes")
COMMONEST = ("most frequent", "always the most frequent training scene")
NONE = ("", "")


def _table_1(work: Work, spec: Explaining) -> Made:
    from core.paper.tables import table_1

    run = work.run(spec.run)
    told = work.kept(
        run,
        "table1",
        {"splits": spec.splits, "iou": spec.iou},
        lambda: table_1(run, work.graph, spec.splits or None, spec.iou).to_json(),
    )
    rows = [((r["concepts of units"], r["core concepts"]), r) for r in told["rows"]]
    return Made(
        _cells(rows, PARTS["table1"].columns),
        CHANCE,
        [told["title"] + ".", *told["notes"]],
        {"table_1": told},
        runs=[run.digest],
    )


def _tables_2_and_3(work: Work, key: str, spec: Explaining) -> Made:
    from core.paper.tables import tables_2_and_3

    run = work.run(spec.run)
    space = work.space(spec.run)
    k = groups_of(spec.groups, len(space.members))

    def make() -> list[Facts]:
        vectors = space.vectors(spec.embedding, work.progress, work.stop)
        pair = tables_2_and_3(
            run, work.graph, space, vectors, k, splits=spec.splits or None, iou=spec.iou
        )
        return [table.to_json() for table in pair]

    facts = {"splits": spec.splits, "iou": spec.iou, "embedding": _how(spec.embedding), "k": k}
    told = work.kept(run, "tables2-3", facts, make)[key == "table3"]
    columns = PARTS[key].columns
    ways = {
        f"filtered by {spec.embedding}": "",
        "unfiltered": "without filtering",
        "filtered by words": "filtered by similar names",
    }
    by = {(r["core concepts"], r["concepts"]): r for r in told["rows"]}
    cells: Cells = {}
    for way, shown in ways.items():
        for kind in paper.KINDS:
            labels = (f"{kind}, {shown}" if shown else kind,)
            for column in columns:
                cell = _cell(by[kind, way][column])
                drawn = by[kind, "random groups"][column]["value"]
                cell.chance = None if shown else 100 * drawn
                cells[(labels, column)] = cell
    # What the table itself calls chance is another control than the one shown here.
    notes = [note.replace(f"; chance: {CHANCE[1]}", "") for note in told["notes"]]
    return Made(
        cells,
        GROUPED,
        [told["title"] + ".", *notes],
        {f"table_{key[-1]}": told},
        runs=[run.digest],
    )


def groups_of(asked: float, concepts: int) -> int:
    """Number of groups: a share of the concepts where it is not above 1, at least 1.

    >>> groups_of(0.525, 39), groups_of(168, 1105)
    (20, 168)
    """
    return max(1, round(asked * concepts)) if asked <= 1 else int(asked)


def _how(name: str) -> Facts:
    from core.merging.embed import training

    return asdict(training(name))


def _table_4(work: Work, spec: Networks) -> Made:
    from core.paper.tables import table_4

    out = Made({}, CHANCE, [], {})

    def of_run(run: Run) -> Facts:
        return table_4([run], work.graph, spec.splits or None, spec.iou).to_json()

    for name, key in spec.runs.items():
        why = work.lacks((*work.profile.runs[key][1], work.profile.knowledge[1]))
        if why:
            out.missing |= {(name, kind): why for kind in ("SCC", "ICC")}
            continue
        try:
            run = work.run(key)
            told = work.kept(
                run, "table4", {"splits": spec.splits, "iou": spec.iou}, partial(of_run, run)
            )
        except Exception as err:
            out.missing |= {(name, kind): failure(err) for kind in ("SCC", "ICC")}
            continue
        rows = [((name, r["core concepts"]), r) for r in told["rows"]]
        out.cells |= _cells(rows, PARTS["table4"].columns)
        out.notes += [f"{name}: {note}" for note in told["notes"][1:]]
        out.details[f"table_4-{key}"] = told
        out.runs.append(run.digest)
    return out


def _table_5(work: Work, spec: Merging) -> Made:
    from core.merging.gain import run_gain
    from core.paper.tables import table_5

    run, space = work.run(spec.run), work.space(spec.run)
    here = {k: groups_of(asked, len(space.members)) for k, asked in spec.groups.items()}
    ks = sorted(set(here.values()))

    def make() -> Facts:
        curves = {}
        for name in spec.embeddings:
            vectors = space.vectors(name, work.progress, work.stop)
            curves[name] = run_gain(
                run,
                space,
                vectors,
                ks,
                splits=spec.splits or None,
                progress=work.progress,
                stop=work.stop,
            )
        return table_5(run, work.graph, curves, splits=spec.splits or None).to_json()

    facts = {"splits": spec.splits, "ks": ks, "embeddings": [_how(e) for e in spec.embeddings]}
    told = work.kept(run, "table5", facts, make)
    by = {(row["Embeddings"], row["nb_groups"]): row for row in told["rows"]}
    cells: Cells = {}
    for k, own in here.items():
        for name in spec.embeddings:
            row = by[name, own]
            cells[(str(k),), name] = Cell(
                *(100 * row[c] for c in ("ratio_iou", "low", "high", "random"))
            )
    n = len(space.members)
    out = Made(
        cells, GROUPED, [told["title"] + ".", *told["notes"]], {"table_5": told}, runs=[run.digest]
    )
    for k in paper.GROUPS:
        if k not in here:
            out.missing[str(k),] = "this number of groups was not asked for"
        elif here[k] != k:
            out.shown[str(k),] = f"here {here[k]} of {n}"
    for name in paper.EMBEDDINGS:
        if name not in spec.embeddings:
            out.missing_columns[name] = "this embedding was not asked for"
    return out


def _table_6(work: Work, spec: Metrics) -> Made:
    from core.paper.tables import all_core_concepts, table_6
    from core.retrain.svm import retrain_pe

    out = Made({}, COMMONEST, [], {})
    names = {
        ("network", "–"): NETWORK,
        ("SVM (SCC)", "masks"): "SVM (SCC)",
        ("SVM (ICC)", "masks"): "SVM (ICC)",
        ("SVM (hidden state)", "–"): paper.HIDDEN_ALONE,
        ("SVM (masks alone)", "masks"): paper.MASKS_ALONE,
        ("SVM (SCC)", "labels"): f"SVM (SCC){paper.UNMASKED}",
        ("SVM (ICC)", "labels"): f"SVM (ICC){paper.UNMASKED}",
    }

    def of_run(run: Run) -> Facts:
        cores = all_core_concepts(run, work.graph, None, list(spec.train))
        told = retrain_pe(
            run,
            {kind: cores[kind] for kind in ("scc", "icc")},
            train=spec.train,
            test=spec.test,
            root=work.root,
            progress=work.progress,
            stop=work.stop,
        )
        return table_6([told]).to_json()

    for column, key in spec.runs.items():
        why = work.lacks((*work.profile.runs[key][1], work.profile.knowledge[1]))
        if why:
            out.missing_columns[column] = why
            continue
        try:
            run = work.run(key)
            facts = {"train": spec.train, "test": spec.test}
            told = work.kept(run, "table6", facts, partial(of_run, run))
        except Exception as err:
            out.missing_columns[column] = failure(err)
            continue
        for row in told["rows"]:
            figure = next(v for v in row.values() if isinstance(v, dict) and "value" in v)
            name = names.get((row["method"], row["LC(x) from"]))
            if name:
                out.cells[(name,), column] = _cell(figure)
        out.notes += [f"{column}: {told['notes'][-1]}"]
        out.details[f"table_6-{key}"] = told
        out.runs.append(run.digest)
    return out


RANKED = {"icc": "ICC", "scc": "SCC", "top10": "Top 10", "random": "random units"}


def _figure_3_or_4(work: Work, key: str, spec: Disabling) -> Made:
    run = work.run(spec.run)
    study: list[Any] = []
    points: dict[str, list[Facts]] = {}
    for facts in curves_of(spec):
        name = facts["protocol"] + ("-held-out" if facts["halves"] else "")
        made = work.kept(run, "curve", facts, partial(_curve, work, run, study, facts))
        points.setdefault(name, []).extend(made)
    frames = {name: pd.DataFrame(rows) for name, rows in points.items()}
    cells: Cells = {}
    for name, frame in frames.items():
        shown = name.replace("_", " ").replace("-held-out", ", held out")
        for row in frame.itertuples(index=False):
            if row.k in paper.SHOWN_K:
                labels = (shown, row.sign, RANKED[row.ranking])
                cells[labels, f"k = {row.k}"] = Cell(
                    100 * row.gain, 100 * row.gain_low, 100 * row.gain_high, None, int(row.n)
                )
    last = f"k = {paper.SHOWN_K[-1]}"
    both = [cells.get((("paper", "negative", kind), last)) for kind in ("SCC", "ICC")]
    known = [cell for cell in both if cell is not None and cell.ours is not None]
    if known:
        cells[paper.DISABLED, last] = replace(max(known, key=lambda cell: cell.ours or 0.0))
    layer = run.layer_names[run.layer(None)]
    frame = frames["paper"]
    first = frame.iloc[0]
    notes = [
        f"{run.dataset}, {layer}: {100 * first['before']:.2f} % of {first['n']} "
        "images right with nothing disabled. In brackets paired 95 % intervals over images; of "
        f"random units the middle 95 % of {spec.draws} draws.",
    ]
    if spec.halves:
        notes.append(
            f"Held out: units chosen on a random half of the images, judged on the other, both "
            f"ways, {spec.halves} times."
        )
    return Made(
        cells,
        NONE,
        notes,
        {f"figure_{key[-1]}-{name}": f.to_dict("records") for name, f in frames.items()},
        charts={
            f"figure_{key[-1]}-{name}": (f, _caption(work, run, layer, f))
            for name, f in frames.items()
        },
        runs=[run.digest],
    )


def curves_of(spec: Disabling) -> list[Facts]:
    """Every curve of Figure 3 or 4, as the facts that decide it; panel by panel."""
    protocols = [("paper", 0)]
    protocols += [(name, spec.halves) for name in spec.held_out if spec.halves]
    return [
        {
            "protocol": protocol,
            "halves": halves,
            "sign": sign,
            "ranking": ranking,
            "at": list(spec.at or KS),
            "select": list(spec.select),
            "judge": list(spec.judge),
            "draws": spec.draws,
        }
        for protocol, halves in protocols
        for sign in ("positive", "negative")
        for ranking in spec.rankings
    ]


def _curve(work: Work, run: Run, study: list[Any], facts: Facts) -> list[Facts]:
    from core.ablation.protocols import Study, cross_fitted, curve
    from core.ablation.toggle import prepare

    if not study:
        study.append(Study.of(prepare(run), work.graph))
    one = study[0]
    judge = facts["judge"] or None
    common = {"at": facts["at"], "progress": work.progress, "stop": work.stop}
    if facts["halves"]:
        frame = cross_fitted(
            one,
            facts["ranking"],
            facts["sign"],
            facts["protocol"],
            judge,
            repeats=facts["halves"],
            **common,
        )
    else:
        frame = curve(
            one,
            facts["ranking"],
            facts["sign"],
            facts["protocol"],
            facts["select"] or None,
            judge,
            seeds=facts["draws"],
            **common,
        )
    return frame.to_dict("records")


def _caption(work: Work, run: Run, layer: str, frame: pd.DataFrame) -> Caption:
    from core.views import short_name

    return Caption(
        run.dataset,
        short_name(run.info["settings"]["model"]["spec"]),
        layer,
        f"minmax_threshold, IoU image, knowledge {work.graph.name}",
        f"chosen on {frame['selection'].iloc[0]}, judged on {frame['judged'].iloc[0]} "
        f"(n = {frame['n'].iloc[0]})",
    )


def _figure_5(work: Work, spec: Retrainings) -> Made:
    from core.figures.retrain import caption
    from core.retrain.training import plan as plan_retraining
    from core.retrain.training import retrain
    from core.views.retrain import figure_5, summary

    out = Made({}, NONE, [], {})
    tolds, trained = [], ("original", "control", "SCC", "ICC")
    for name, (asked, needs) in spec.models.items():
        why = work.lacks((*needs, work.profile.knowledge[1]))
        if why:
            out.missing |= {(name, one): why for one in trained}
            continue
        try:
            planned = plan_retraining(work.retraining(asked))
            told = retrain(planned, work.root, progress=work.progress, stop=work.stop)
        except Exception as err:
            out.missing |= {(name, one): failure(err) for one in trained}
            continue
        tolds.append(told)
        table = summary(told)
        start = table.loc[table["cc"] == "original", "test"]
        original = float(start.iloc[0]) if len(start) else None
        better: list[Cell] = []
        for row in table[table["chosen"] | (table["cc"] == "original")].itertuples(index=False):
            shown = {"scc": "SCC", "icc": "ICC"}.get(row.cc, row.cc)
            n = told["counts"]["test"]
            labels = (name, shown)
            out.cells[labels, "accuracy"] = Cell(
                100 * row.test, _percent(row.low), _percent(row.high), None, n
            )
            if row.cc == "original":
                low, high = interval(round(row.test * n), n)
                out.cells[labels, "accuracy"] = Cell(100 * row.test, 100 * low, 100 * high, None, n)
                continue
            if original is not None:
                gain = Cell(100 * (row.test - original), n=n)
                out.cells[labels, "over the original"] = gain
                better += [gain] if row.cc in ("scc", "icc") else []
            if row.cc != "control":
                out.cells[labels, "over the control"] = Cell(
                    100 * row.gain, _percent(row.gain_low), _percent(row.gain_high), None, n
                )
                out.shown[labels] = f"λ = {row.weight:g}"
        if better:
            out.cells[(name, BETTER), "over the original"] = replace(
                max(better, key=lambda cell: cell.ours or 0.0)
            )
        asked = planned.asked
        out.notes.append(
            f"{name}: {planned.asked.command()}; {told['counts']['train']} training, "
            f"{told['counts']['validation']} validation, {told['counts']['test']} test images, "
            f"{asked.seeds} seed{'s' * (asked.seeds != 1)}; intervals over seeds (Student's t; "
            "none with one seed), of the original over test images."
        )
        if original is None:
            out.notes.append(
                f"{name}: it got a new head for these scenes, so there is no original accuracy."
            )
        out.details[f"figure_5-{name}"] = table.to_dict("records")
        out.runs.append(f"retrain-{planned.digest}")
    if tolds:
        out.charts["figure_5"] = (figure_5(tolds), caption(tolds))
    return out


def _percent(value: float) -> float | None:
    return None if value != value else 100 * value


def draw(name: str, given: Any) -> Any:
    """The chart of a figure that :class:`Made` names, from its frame and caption."""
    from core.figures.disable import curves
    from core.figures.retrain import retraining

    frame, caption = given
    return retraining(frame, caption) if name == "figure_5" else curves(frame, caption)


def make(work: Work, key: str) -> Beside:
    """One table or figure, made or read, beside the paper's.

    Raises UnitscopeError where it cannot be made, and a ``Stopped`` where the work was stopped.
    """
    spec = work.part(key)
    if isinstance(spec, Explaining):
        made = _table_1(work, spec) if key == "table1" else _tables_2_and_3(work, key, spec)
    elif isinstance(spec, Networks):
        made = _table_4(work, spec)
    elif isinstance(spec, Merging):
        made = _table_5(work, spec)
    elif isinstance(spec, Metrics):
        made = _table_6(work, spec)
    elif isinstance(spec, Disabling):
        made = _figure_3_or_4(work, key, spec)
    else:
        made = _figure_5(work, spec)
    return beside(work.profile, key, made)


def reproduce(
    work: Work, whenever: Callable[[dict[str, Beside], dict[str, str]], None]
) -> tuple[dict[str, Beside], dict[str, str]]:
    """Every part that can be made, and those left out with why.

    whenever : told both after each part, so that what is there can be written down. One part that
    cannot be made (a bad checkpoint, say) does not keep the others back.

    Raises UnitscopeError where no part can be made for want of inputs, before anything is run.
    """
    left_out = dict(work.checked.left_out)
    if not work.makeable:
        raise UnitscopeError(
            f"nothing of profile {work.profile.name} can be made: "
            + "; ".join(dict.fromkeys(left_out.values()))
        )
    parts: dict[str, Beside] = {}
    for key in work.makeable:
        if work.stop():
            raise stopped()
        work.say(PARTS[key].title)
        try:
            parts[key] = make(work, key)
        except Exception as err:
            # Whatever it is, a network's own code included: hours of other work are worth more.
            left_out[key] = failure(err)
            work.say(f"{key} is left out: {left_out[key]}")
        weigh(parts)
        whenever(parts, left_out)
    return parts, left_out
