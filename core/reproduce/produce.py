"""Each table and figure of the paper, made from a profile's runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from core.figures.base import Caption
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import interval
from core.foundation.plain import Json
from core.foundation.versions import versions_of
from core.paper import printed as paper
from core.paper.printed import BETTER, NETWORK, PARTS
from core.reproduce.compare import Cell, Cells, Comparison, Drawn, Produced, compare, weigh
from core.reproduce.profiles import (
    KS,
    Disabling,
    Explaining,
    Merging,
    Metrics,
    Networks,
    Retrainings,
)
from core.reproduce.work import Work, failure, stopped
from core.runs.run_file import Run

if TYPE_CHECKING:
    from core.paper.rivals import Rival


def _cells(rows: Iterable[tuple[tuple[str, ...], Json]], columns: Sequence[str]) -> Cells:
    """Figures in percent from rows of :meth:`core.paper.tables.Table.to_json`."""
    return {(labels, column): _cell(row[column]) for labels, row in rows for column in columns}


def _cell(figure: Json) -> Cell:
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


def _table_1(work: Work, spec: Explaining) -> Produced:
    from core.paper.rivals import PRINTED, lacking
    from core.paper.tables import table_1

    run = work.run(spec.run)
    missing = {name: why for name in spec.rivals if (why := lacking(name, spec.encoder))}
    wanted = [name for name in spec.rivals if name not in missing]
    rivals: list[Rival] = []
    if not work.where(run, "table1", _facts_1(spec, wanted)).is_file():
        for name in wanted:
            try:
                rivals.append(_rival(work, run, name, spec.encoder))
            except UnitscopeError as err:
                missing[name] = failure(err)  # the other rows do not depend on it
        wanted = [name for name in wanted if name not in missing]
    result = work.kept(
        run,
        "table1",
        _facts_1(spec, wanted),
        lambda: table_1(run, work.graph, spec.splits or None, spec.iou, rivals=rivals).to_json(),
    )
    rows = [((r["concepts of units"], r["core concepts"]), r) for r in result["rows"]]
    return Produced(
        _cells(rows, PARTS["table1"].columns),
        CHANCE,
        [result["title"] + ".", *result["notes"]],
        {"table_1": result},
        runs=[run.digest],
        missing={
            labels: why
            for name, why in missing.items()
            for labels in _rows_1(PRINTED.get(name, name))
        },
    )


def _rows_1(name: str) -> list[tuple[str, ...]]:
    """Row labels of a rival: those of the paper's table, or one where it has none of it."""
    return [row for row, _, _ in PARTS["table1"].rows if row[0] == name] or [(name, "–")]


def _facts_1(spec: Explaining, rivals: Sequence[str]) -> Json:
    """What decides Table 1 with these rivals."""
    facts: Json = {"splits": spec.splits, "iou": spec.iou}
    if rivals:
        versions = versions_of("concept vectors", "labels", "encoding", "graphs")
        facts |= {"rivals": list(rivals), "encoder": spec.encoder, "of": versions}
    return facts


def _rival(work: Work, run: Run, name: str, encoder: str) -> Rival:
    """A row of Table 1 that is not the paper's own method."""
    from core.paper.rivals import ALONE, rival_of, taken

    own = {} if name in ALONE else taken([name], encoder=encoder or None)[name]
    return rival_of(run, name, None, work.progress, work.stop, **own)


def _tables_2_and_3(work: Work, key: str, spec: Explaining) -> Produced:
    from core.paper.tables import Filtering, tables_2_and_3

    run = work.run(spec.run)
    space = work.space(spec.run)
    k = groups_of(spec.groups, len(space.members))

    def make() -> list[Json]:
        vectors = space.vectors(spec.embedding, work.progress, work.stop)
        pair = tables_2_and_3(
            run, work.graph, space, vectors, Filtering(k, splits=spec.splits or None, iou=spec.iou)
        )
        return [table.to_json() for table in pair]

    facts = {"splits": spec.splits, "iou": spec.iou, "embedding": _how(spec.embedding), "k": k}
    result = work.kept(run, "tables2-3", facts, make)[key == "table3"]
    columns = PARTS[key].columns
    filters = {
        f"filtered by {spec.embedding}": "",
        "unfiltered": "without filtering",
        "filtered by words": "filtered by similar names",
    }
    by = {(r["core concepts"], r["concepts"]): r for r in result["rows"]}
    cells: Cells = {}
    for name, shown in filters.items():
        for kind in paper.KINDS:
            labels = (f"{kind}, {shown}" if shown else kind,)
            for column in columns:
                cell = _cell(by[kind, name][column])
                drawn = by[kind, "random groups"][column]["value"]
                cell.chance = None if shown else 100 * drawn
                cells[(labels, column)] = cell
    # What the table itself calls chance is another control than the one shown here.
    notes = [note.replace(f"; chance: {CHANCE[1]}", "") for note in result["notes"]]
    return Produced(
        cells,
        GROUPED,
        [result["title"] + ".", *notes],
        {f"table_{key[-1]}": result},
        runs=[run.digest],
    )


def groups_of(asked: float, concepts: int) -> int:
    """Number of groups: a share of the concepts where it is not above 1, at least 1.

    >>> groups_of(0.525, 39), groups_of(168, 1105)
    (20, 168)
    """
    return max(1, round(asked * concepts)) if asked <= 1 else int(asked)


def _how(name: str) -> Json:
    from core.merging.embed import training

    return asdict(training(name))


def _table_4(work: Work, spec: Networks) -> Produced:
    from core.paper.tables import table_4

    out = Produced({}, CHANCE, [], {})

    def of_run(run: Run) -> Json:
        return table_4([run], work.graph, spec.splits or None, spec.iou).to_json()

    for name, key in spec.runs.items():
        why = work.lacks((*work.profile.runs[key][1], work.profile.knowledge[1]))
        if why:
            out.missing |= {(name, kind): why for kind in ("SCC", "ICC")}
            continue
        try:
            run = work.run(key)
            result = work.kept(
                run, "table4", {"splits": spec.splits, "iou": spec.iou}, partial(of_run, run)
            )
        except Exception as err:
            out.missing |= {(name, kind): failure(err) for kind in ("SCC", "ICC")}
            continue
        rows = [((name, r["core concepts"]), r) for r in result["rows"]]
        out.cells |= _cells(rows, PARTS["table4"].columns)
        out.notes += [f"{name}: {note}" for note in result["notes"][1:]]
        out.details[f"table_4-{key}"] = result
        out.runs.append(run.digest)
    return out


def _table_5(work: Work, spec: Merging) -> Produced:
    from core.merging.gain import Grouping, run_gain
    from core.paper.tables import table_5

    run, space = work.run(spec.run), work.space(spec.run)
    here = {k: groups_of(asked, len(space.members)) for k, asked in spec.groups.items()}
    ks = sorted(set(here.values()))

    def make() -> Json:
        curves = {}
        for name in spec.embeddings:
            vectors = space.vectors(name, work.progress, work.stop)
            curves[name] = run_gain(
                run,
                space,
                vectors,
                Grouping(ks),
                splits=spec.splits or None,
                progress=work.progress,
                stop=work.stop,
            )
        return table_5(run, work.graph, curves, splits=spec.splits or None).to_json()

    facts = {"splits": spec.splits, "ks": ks, "embeddings": [_how(e) for e in spec.embeddings]}
    result = work.kept(run, "table5", facts, make)
    by = {(row["Embeddings"], row["nb_groups"]): row for row in result["rows"]}
    cells: Cells = {}
    for k, own in here.items():
        for name in spec.embeddings:
            row = by[name, own]
            cells[(str(k),), name] = Cell(
                *(100 * row[c] for c in ("ratio_iou", "low", "high", "random"))
            )
    n = len(space.members)
    out = Produced(
        cells,
        GROUPED,
        [result["title"] + ".", *result["notes"]],
        {"table_5": result},
        runs=[run.digest],
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


def _table_6(work: Work, spec: Metrics) -> Produced:
    from core.paper.tables import all_core_concepts, table_6
    from core.retrain.svm import SvmSettings, retrain_pe

    out = Produced({}, COMMONEST, [], {})
    names = {
        ("network", "–"): NETWORK,
        ("SVM (SCC)", "masks"): "SVM (SCC)",
        ("SVM (ICC)", "masks"): "SVM (ICC)",
        ("SVM (hidden state)", "–"): paper.HIDDEN_ALONE,
        ("SVM (masks alone)", "masks"): paper.MASKS_ALONE,
        ("SVM (SCC)", "labels"): f"SVM (SCC){paper.UNMASKED}",
        ("SVM (ICC)", "labels"): f"SVM (ICC){paper.UNMASKED}",
    }

    def of_run(run: Run) -> Json:
        cores = all_core_concepts(run, work.graph, None, list(spec.train))
        result = retrain_pe(
            run,
            {kind: cores[kind] for kind in ("scc", "icc")},
            SvmSettings(spec.train, spec.test),
            work.root,
            progress=work.progress,
            stop=work.stop,
        )
        return table_6([result]).to_json()

    for column, key in spec.runs.items():
        why = work.lacks((*work.profile.runs[key][1], work.profile.knowledge[1]))
        if why:
            out.missing_columns[column] = why
            continue
        try:
            run = work.run(key)
            facts = {"train": spec.train, "test": spec.test}
            result = work.kept(run, "table6", facts, partial(of_run, run))
        except Exception as err:
            out.missing_columns[column] = failure(err)
            continue
        for row in result["rows"]:
            figure = next(v for v in row.values() if isinstance(v, dict) and "value" in v)
            name = names.get((row["method"], row["LC(x) from"]))
            if name:
                out.cells[(name,), column] = _cell(figure)
        out.notes += [f"{column}: {result['notes'][-1]}"]
        out.details[f"table_6-{key}"] = result
        out.runs.append(run.digest)
    return out


RANKED = {"icc": "ICC", "scc": "SCC", "top10": "Top 10", "random": "random units"}


def _figure_3_or_4(work: Work, key: str, spec: Disabling) -> Produced:
    run = work.run(spec.run)
    study: list[Any] = []
    points: dict[str, list[Json]] = {}
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
    return Produced(
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


def curves_of(spec: Disabling) -> list[Json]:
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


def _curve(work: Work, run: Run, study: list[Any], facts: Json) -> list[Json]:
    from core.ablation.curves import cross_fitted, curve
    from core.ablation.protocols import Disabled, Study
    from core.ablation.toggler import prepare

    if not study:
        study.append(Study.of(prepare(run), work.graph))
    one = study[0]
    judge = facts["judge"] or None
    common = {"at": facts["at"], "progress": work.progress, "stop": work.stop}
    asked = Disabled(facts["ranking"], facts["sign"], facts["protocol"])
    if facts["halves"]:
        frame = cross_fitted(one, asked, judge, repeats=facts["halves"], **common)
    else:
        select = facts["select"] or None
        frame = curve(one, asked, select, judge, seeds=facts["draws"], **common)
    value: list[Json] = frame.to_dict("records")
    return value


def _caption(work: Work, run: Run, layer: str, frame: pd.DataFrame) -> Caption:
    from core.views.names import short_name

    return Caption(
        run.dataset,
        short_name(run.settings.model.spec),
        layer,
        f"minmax_threshold, IoU image, knowledge {work.graph.name}",
        f"chosen on {frame['selection'].iloc[0]}, judged on {frame['judged'].iloc[0]} "
        f"(n = {frame['n'].iloc[0]})",
    )


def _figure_5(work: Work, spec: Retrainings) -> Produced:
    from core.figures.retrain import caption
    from core.retrain.plan import plan as plan_retraining
    from core.retrain.training import retrain
    from core.views.retrain import figure_5, summary

    out = Produced({}, NONE, [], {})
    tolds, trained = [], ("original", "control", "SCC", "ICC")
    for name, (asked, needs) in spec.models.items():
        why = work.lacks((*needs, work.profile.knowledge[1]))
        if why:
            out.missing |= {(name, one): why for one in trained}
            continue
        try:
            planned = plan_retraining(work.retraining(asked))
            result = retrain(planned, work.root, progress=work.progress, stop=work.stop)
        except Exception as err:
            out.missing |= {(name, one): failure(err) for one in trained}
            continue
        tolds.append(result)
        table = summary(result)
        start = table.loc[table["cc"] == "original", "test"]
        original = float(start.iloc[0]) if len(start) else None
        better: list[Cell] = []
        for row in table[table["chosen"] | (table["cc"] == "original")].itertuples(index=False):
            shown = {"scc": "SCC", "icc": "ICC"}.get(row.cc, row.cc)
            n = result["counts"]["test"]
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
            f"{name}: {planned.asked.command()}; {result['counts']['train']} training, "
            f"{result['counts']['validation']} validation, {result['counts']['test']} test images, "
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


def draw(name: str, given: Drawn) -> Any:
    """The chart of a figure that :class:`Produced` names, from its frame and caption."""
    from core.figures.disable import curves
    from core.figures.retrain import retraining

    frame, caption = given
    return retraining(frame, caption) if name == "figure_5" else curves(frame, caption)


def make(work: Work, key: str) -> Comparison:
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
    return compare(work.profile, key, made)


def reproduce(
    work: Work, whenever: Callable[[dict[str, Comparison], dict[str, str]], None]
) -> tuple[dict[str, Comparison], dict[str, str]]:
    """Every part that can be made, and those left out with why.

    whenever : called with both after each part, so that what is there can be written down. One part
    that cannot be made (a bad checkpoint, say) does not keep the others back.

    Raises UnitscopeError where no part can be made for want of inputs, before anything is run.
    """
    left_out = dict(work.checked.left_out)
    if not work.makeable:
        raise UnitscopeError(
            f"nothing of profile {work.profile.name} can be made: "
            + "; ".join(dict.fromkeys(left_out.values()))
        )
    parts: dict[str, Comparison] = {}
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
