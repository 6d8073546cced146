"""The paper's tables from a run: each cell with its interval, and what chance gives.

Table 1: false and true prediction explanation for every strategy and kind of core concepts.
Tables 2 and 3: the same with filtered concepts, CF(C_y), beside unfiltered ones and two controls.
Table 4: false prediction explanation across models, MinMax threshold.
Table 5: IoU gain of merging concepts, by number of groups and embedding.
Table 6: a linear SVM on the explanation metrics, beside the network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.explain.account import scenes_of
from core.explain.learned import STRATEGIES, Learned, learned_concepts
from core.explain.metrics import Estimate, Explained, columns, explain_predictions
from core.foundation.errors import UnitscopeError
from core.foundation.escape import csv_frame, csv_text, latex_text
from core.foundation.intervals import interval
from core.foundation.latex import floating, tabular
from core.foundation.plain import Json
from core.foundation.vocabulary import Core, Strategy
from core.knowledge.core_concepts import all_core_concepts as all_core_concepts
from core.knowledge.core_concepts import core_kinds as core_kinds
from core.knowledge.graph import Graph
from core.merging.fuse import WORDS, Links, Space, Vectors, exchanged, filter_scenes
from core.merging.gain import DRAWS
from core.paper.rivals import Rival
from core.retrain.result import SvmResult
from core.runs.run_file import Run


@dataclass
class Table:
    """A table with what is needed to read it on its own.

    title, notes : where the figures come from and what was left out. labels : heads of the row
    labels. columns : names of the figures, as :func:`core.explain.metrics.columns`, what follows
    a ``_`` set as an index. rows : (row labels, figures by column, left out by reason).
    """

    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[tuple[tuple[str, ...], Explained]]
    notes: list[str]

    def to_json(self) -> Json:
        """Plain data: every figure with interval, chance and n."""
        return {
            "title": self.title,
            "notes": [*self.notes, *self.dashes()],
            "rows": [
                {
                    **dict(zip(self.labels, names, strict=True)),
                    **{name: asdict(figure) for name, figure in result.figures.items()},
                    "left_out": result.left_out,
                }
                for names, result in self.rows
            ],
        }

    def to_text(self) -> str:
        """For a terminal: percentages with their 95 % interval, chance in a second line."""
        width = max(len(" ".join(names)) for names, _ in self.rows) + 2
        lines = [self.title, ""]
        wide = [max(22, len(name) + 2) for name in self.columns]
        heads = zip(self.columns, wide, strict=True)
        lines.append(" " * width + "".join(f"{name:>{w}}" for name, w in heads))
        for names, result in self.rows:
            cells = [result.figures[name] for name in self.columns]
            spans = [
                f"{100 * c.value:9.2f} [{100 * c.low:5.1f}–{100 * c.high:5.1f}]"
                if c.n
                else f"{'–':>9}{'':14}"
                for c in cells
            ]
            chances = [f"{100 * c.chance:9.2f}{'':13}" if c.n else "" for c in cells]
            for label, texts in ((" ".join(names), spans), ("  by chance", chances)):
                cut = zip(texts, wide, strict=True)
                lines.append(f"{label:{width}}" + "".join(f"{text:>{w}}" for text, w in cut))
        return "\n".join([*lines, "", *self.notes, *self.dashes()])

    def dashes(self) -> list[str]:
        """What a dash means, where there is one, and what to do about it."""
        bare = [
            " ".join(names)
            for names, result in self.rows
            if any(result.figures[name].n == 0 for name in self.columns)
        ]
        if not bare:
            return []
        return [
            f"– ({', '.join(bare)}): no image counts. Where scenes have no core concepts, the "
            "graph has no node for their names, or no fact about it: `align` shows the names, and "
            "`align --write FILE` and --overrides FILE mend them."
        ]

    def to_csv(self) -> str:
        """One line a row; for every figure its value, interval, chance and n, as fractions."""
        parts = list(Estimate.__dataclass_fields__)
        lines: list[list[Any]] = [
            [*self.labels, *(f"{name}_{part}" for name in self.columns for part in parts)]
        ]
        for names, result in self.rows:
            cells = [result.figures[name] for name in self.columns]
            lines.append([*names, *(getattr(c, part) for c in cells for part in parts)])
        return csv_text(lines)

    def to_latex(self) -> str:
        """A booktabs table of percentages, intervals as small type, notes in the caption."""

        def head(name: str) -> str:
            first, _, index = name.partition("_")
            return latex_text(first) + (f"$_{{\\mathrm{{{index}}}}}$" if index else "")

        rows = []
        for names, result in self.rows:
            cells = [result.figures[name] for name in self.columns]
            values = [
                f"{100 * c.value:.2f} {{\\scriptsize [{100 * c.low:.1f}, {100 * c.high:.1f}]}}"
                if c.n
                else "–"
                for c in cells
            ]
            rows.append([*map(latex_text, names), *values])
        kinds = "l" * len(self.labels) + "r" * len(self.columns)
        table = tabular(kinds, [*self.labels, *map(head, self.columns)], rows)
        return floating(table, " ".join([self.title + ".", *self.notes, *self.dashes()]))


def _source(run: Run, graph: Graph, iou: str, splits: Sequence[str] | None) -> str:
    return (
        f"{run.dataset}, {run.settings.model.spec}, "
        f"split {', '.join(splits) if splits else 'all'}, IoU {iou}, knowledge {graph.name}"
    )


def table_1(
    run: Run,
    graph: Graph,
    splits: Sequence[str] | None = None,
    iou: str = "image",
    layer: str | None = None,
    strategies: Sequence[str] = STRATEGIES,
    kinds: Sequence[str] = tuple(Core),
    seed: int = 0,
    overrides: Path | None = None,
    rivals: Sequence[Rival] = (),
) -> Table:
    """False and true prediction explanation (the paper's Table 1).

    rivals : rows that are not the paper's own methods, put first as it has them
        (:mod:`core.paper.rivals`).
    """
    row, predicted, target = scenes_of(run, splits)
    cores = all_core_concepts(run, graph, overrides, kinds=kinds)
    rows: list[tuple[tuple[str, ...], Explained]] = []
    for rival in rivals:
        own = {"–": rival.core} if rival.core is not None else {}
        held = own or {Core.of(kind).short: cores[kind].members for kind in kinds}
        for short, members in held.items():
            result = explain_predictions(
                rival.learned.has[row], members, predicted, target, seed=seed
            )
            rows.append(((rival.name, short), result))
    name = run.layer_names[run.layer(layer)]
    for strategy in strategies:
        learned = learned_concepts(run, layer, strategy, iou)
        name = learned.layer
        for kind in kinds:
            result = explain_predictions(
                learned.has[row], cores[kind].members, predicted, target, seed=seed
            )
            rows.append(((Strategy.of(strategy).short, Core.of(kind).short), result))
    icc = cores.get("icc")
    notes = [
        "In percent; in brackets the 95 % interval over images (Wilson); chance: core concept "
        "sets exchanged between scenes at random.",
        *(rival.note for rival in rivals),
        *_left_out(rows, len(row)),
    ]
    if icc is not None and not icc.distinct:
        sets = "; ".join(", ".join(icc.scenes[s] for s in same) for same in icc.collisions)
        notes.append(f"ICC: no percentage makes all scenes differ; these share one set: {sets}.")
    return Table(
        f"Prediction explanation, {name}. {_source(run, graph, iou, splits)}",
        ("concepts of units", "core concepts"),
        columns(),
        rows,
        notes,
    )


def table_4(
    runs: Sequence[Run],
    graph: Graph,
    splits: Sequence[str] | None = None,
    iou: str = "image",
    layer: str | None = None,
    seed: int = 0,
    overrides: Path | None = None,
) -> Table:
    """False prediction explanation on different models (the paper's Table 4)."""
    rows: list[tuple[tuple[str, ...], Explained]] = []
    notes = ["MinMax threshold; in percent, 95 % interval over images (Wilson) in brackets."]
    for run in runs:
        part = table_1(
            run, graph, splits, iou, layer, ["minmax_threshold"], ["scc", "icc"], seed, overrides
        )
        name = _short(run.settings.model.spec)
        shown = run.layer_names[run.layer(layer)]
        rows += [((f"{name} {shown}", labels[1]), result) for labels, result in part.rows]
        notes.append(f"{name}: {_source(run, graph, iou, splits)}.")
    notes += _left_out(rows, None)
    return Table(
        "False prediction explanation on different models",
        ("model", "core concepts"),
        columns("FP"),
        rows,
        notes,
    )


@dataclass(frozen=True)
class Filtering:
    """What Tables 2 and 3 are asked for.

    Attributes
    ----------
    k : groups that all concepts together would make. method, links, seed, draws : as in
        :class:`core.merging.gain.Grouping`.
    splits : images of these alone; all where None. iou, layer, strategy : as in
        :func:`core.explain.learned.learned_concepts`.
    overrides : the user's own names and nodes.
    """

    k: int
    method: str = "agglomerative"
    links: Links | None = None
    splits: Sequence[str] | None = None
    iou: str = "image"
    layer: str | None = None
    strategy: str = "whole_layer"
    seed: int = 0
    overrides: Path | None = None
    draws: int = DRAWS


def tables_2_and_3(
    run: Run, graph: Graph, space: Space, vectors: Vectors, asked: Filtering
) -> tuple[Table, Table]:
    """False (Table 2) and true (Table 3) prediction explanation with filtered concepts.

    In every scene y the concepts C_y are put into k / n · |C_y| groups, where n is the number of
    concepts over all; LC(x) and CC(y) are then the representatives of their members
    (:func:`core.merging.fuse.filter_scenes`). Next to the filtered figures: unfiltered ones, those
    of groups by word similarity, and the mean of `draws` random groupings of the same sizes, with
    the middle 95 % of them in place of the interval.

    Raises UnitscopeError for a k that is not in 1 … n.
    """
    concepts, k = len(space.members), asked.k
    if not 1 <= k <= concepts:
        raise UnitscopeError(f"k lies in 1 … {concepts}, the number of concepts, not {k}")
    scenes = scenes_of(run, asked.splits)
    cores = all_core_concepts(run, graph, asked.overrides)
    learned = learned_concepts(run, asked.layer, asked.strategy, asked.iou)
    made = {
        of.name: filter_scenes(
            space.annotated, of, k / concepts, asked.method, asked.links, asked.seed
        )
        for of in (vectors, space.vectors(WORDS))
    }
    rng = np.random.default_rng(asked.seed)
    drawn = [exchanged(made[vectors.name], space.annotated, rng).to for _ in range(asked.draws)]
    tos = {f"filtered by {name}": filtered.to for name, filtered in made.items()}
    rows: list[tuple[tuple[str, ...], Explained]] = []
    for kind in Core:
        members = cores[kind].members
        short = Core.of(kind).short
        rows += [
            ((short, name), result)
            for name, result in _filtered_rows(learned, scenes, members, tos, drawn, asked.seed)
        ]
    size = np.mean([len(groups) for groups in made[vectors.name].groups if groups])
    notes = [
        f"In each scene {k} / {concepts} of its concepts as groups ({size:.1f} on average), "
        f"{asked.method}; the most frequent member stands for a group. In percent; in brackets the "
        "95 % interval over images (Wilson), for random groups the middle 95 % of "
        f"{len(drawn)} draws; chance: core concept sets exchanged between scenes at random.",
        *_left_out([part for part in rows if part[0][1] == "unfiltered"], len(scenes[0])),
    ]
    title = (
        f"explanation with filtered concepts, {Strategy.of(asked.strategy).short.lower()} of "
        f"{learned.layer}. "
        f"{_source(run, graph, asked.iou, asked.splits)}"
    )
    heads = ("core concepts", "concepts")
    true = tuple(name for name in columns() if not name.endswith("_FP"))
    return (
        Table(f"False prediction {title}", heads, columns("FP"), rows, notes),
        Table(f"True prediction {title}", heads, true, rows, notes),
    )


def _filtered_rows(
    learned: Learned,
    scenes: Sequence[np.ndarray],
    core: np.ndarray,
    tos: Mapping[str, np.ndarray],
    drawn: Sequence[np.ndarray],
    seed: int,
) -> list[tuple[str, Explained]]:
    """Name and figures of the rows of one kind of core concepts: unfiltered, filtered by each
    grouping, and the mean over random groups.

    scenes : of :func:`core.explain.account.scenes_of`. core : bool (scenes, concepts). tos,
    drawn : what stands for each concept in each scene (:func:`core.explain.metrics.overlaps`).
    """
    row, predicted, target = scenes
    has = learned.has[row]
    rows = [("unfiltered", explain_predictions(has, core, predicted, target, seed=seed))]
    for name, to in tos.items():
        rows.append((name, explain_predictions(has, core, predicted, target, to=to, seed=seed)))
    if drawn:
        at_random = [
            explain_predictions(has, core, predicted, target, to=to, shuffles=20, seed=seed)
            for to in drawn
        ]
        rows.append(("random groups", _mean_of(at_random)))
    return rows


def _mean_of(many: Sequence[Explained]) -> Explained:
    """The mean of several draws as one; the interval is the middle 95 % of them."""
    figures = {}
    for name, first in many[0].figures.items():
        values = np.array([result.figures[name].value for result in many])
        low, high = np.quantile(values, [0.025, 0.975])
        chance, chance_low, chance_high = (
            float(np.mean([getattr(result.figures[name], part) for result in many]))
            for part in ("chance", "chance_low", "chance_high")
        )
        figures[name] = Estimate(
            float(values.mean()), float(low), float(high), chance, chance_low, chance_high, first.n
        )
    return Explained(figures, many[0].left_out)


@dataclass
class GainTable(Table):
    """Table 5, with the whole curve of every embedding.

    curve : rows of :func:`core.merging.gain.gain_curve`, one embedding after another.
    """

    curve: pd.DataFrame

    def to_json(self) -> Json:
        """Title, notes and the rows of the curve as they are."""
        return {"title": self.title, "notes": self.notes, "rows": self.curve.to_dict("records")}

    def to_csv(self) -> str:
        """The curve, in the columns of the published table and then the others."""
        return csv_frame(self.curve)

    def to_text(self) -> str:
        """For a terminal: a line for each embedding and k, all in percent."""
        lines = [self.title, ""]
        lines.append(
            f"{'embedding':10}{'groups':>7}{'rose':>6}{'fell':>6}{'gain':>24}{'random groups':>24}"
            f"{'beyond random':>26}{'beyond words':>24}"
        )
        for r in self.curve.itertuples(index=False):
            lines.append(
                f"{r.Embeddings:10}{r.nb_groups:7d}{r.true_victory:6d}{r.true_defeat:6d}"
                + f"{100 * r.ratio_iou:9.2f} [{100 * r.low:5.1f}, {100 * r.high:5.1f}]"
                + f"{100 * r.random:9.2f} [{100 * r.random_low:5.1f}, {100 * r.random_high:5.1f}]"
                + f"{100 * r.beyond:11.2f} [{100 * r.beyond_low:5.1f}, {100 * r.beyond_high:5.1f}]"
                + f"{100 * r.over_words:9.2f} [{100 * r.over_words_low:5.1f}, "
                f"{100 * r.over_words_high:5.1f}]"
            )
        return "\n".join([*lines, "", *self.notes])


def table_5(
    run: Run,
    graph: Graph,
    curves: Mapping[str, pd.DataFrame],
    method: str = "agglomerative",
    splits: Sequence[str] | None = None,
    layer: str | None = None,
) -> GainTable:
    """IoU gain (B − A) / A by number of groups and embedding (the paper's Table 5).

    curves : by embedding, of :func:`core.merging.gain.run_gain`. Chance in a cell is the gain of
    random groups of the same sizes.
    """
    curve = pd.concat(curves.values(), ignore_index=True)
    units = int(run.sql("SELECT units FROM layers WHERE layer = ?", [run.layer(layer)])["units"][0])
    rows: list[tuple[tuple[str, ...], Explained]] = []
    for k, part in curve.groupby("nb_groups"):
        held = part.set_index("Embeddings")
        figures = {}
        for name in curves:
            gain, low, high, drawn, drawn_low, drawn_high = (
                float(held.loc[name, column]) if name in held.index else float("nan")
                for column in ("ratio_iou", "low", "high", "random", "random_low", "random_high")
            )
            figures[name] = Estimate(gain, low, high, drawn, drawn_low, drawn_high, units)
        rows.append(((str(k),), Explained(figures)))
    first = curve["before"].iloc[0]
    notes = [
        f"A = {first:.5f}: the mean over {units} units of their best dataset IoU over single "
        "concepts; B: over groups, a group's mask being the union of its members', each pixel "
        "counted once. In percent; in brackets the 95 % interval over units (studentised "
        "bootstrap); random "
        "groups: mean and middle 95 % of draws with the same sizes. Rose, fell: groups whose best "
        "IoU is above or below the best of their members. Colours and scenes take no part.",
    ]
    name = run.layer_names[run.layer(layer)]
    dataset = run.dataset
    model = run.settings.model.spec
    return GainTable(
        f"IoU gain of merged concepts, {name}, {method}. {dataset}, {model}, split "
        f"{', '.join(splits) if splits else 'all'}, knowledge {graph.name}",
        ("groups",),
        tuple(curves),
        rows,
        notes,
        curve,
    )


def table_6(results: Sequence[SvmResult]) -> Table:
    """Re-training via PE (the paper's Table 6): the network and SVMs on all groups of features.

    results : of :func:`core.retrain.svm.retrain_pe`, a column each. Rows: the network, an SVM on
    the hidden state alone, and for each kind of core concepts one with LC(x) from the masks of
    the test photo and one without. Chance, next to each figure: always predicting the most frequent
    training scene.

    Raises UnitscopeError where no result was made with all groups.
    """
    # Imported here: PyTorch comes with it, which the app's other pages need not wait for.
    from core.retrain.svm import GROUPS, MASKS_ALONE, SOURCES, accuracies

    columns = []
    figures: dict[tuple[str, str], dict[str, Estimate]] = {}
    notes = [
        "Accuracy on test images in percent, Wilson's 95 % interval in brackets; chance: always "
        "the most frequent training scene.",
        "Masks: the SVM needs the masks of the test photo, which the network does not; labels of "
        "units need none. Masks alone: which concepts are annotated, no network, no knowledge.",
    ]
    for result in results:
        name = f"{result['dataset']} {_short(result['model'])}".replace("_", " ")
        while name in columns:
            name += "′"
        columns.append(name)
        rows = accuracies(result)
        base = rows[0]
        for row in rows[1:]:
            groups = row.groups
            if row.method == "network":
                labels = ("network", "–")
            elif groups == ["hidden"]:
                labels = ("SVM (hidden state)", "–")
            elif groups == [MASKS_ALONE]:
                labels = ("SVM (masks alone)", "masks")
            elif groups == list(GROUPS):
                kind = Core.of(row.cc).short if row.cc in tuple(Core) else row.cc
                labels = (f"SVM ({kind})", row.source or "")
            else:
                continue
            figures.setdefault(labels, {})[name] = Estimate(
                row.accuracy,
                row.low,
                row.high,
                base.accuracy,
                *interval(base.right, base.n),
                row.n,
            )
        notes.append(
            f"{name}: {result['layer']}, {result['n_train']} training images "
            f"({', '.join(result['train'])}), {result['n']} test images "
            f"({', '.join(result['test'])}); "
            f"LC(x) by {result['strategy']}, IoU {result['iou']}, or by {result['labels']} labels; "
            f"core concepts from {result['core_on']} images; thresholds of units over all images; "
            f"hidden state: {result['hidden']}."
        )
    order = {source: k for k, source in enumerate(("–", *SOURCES))}
    kept = sorted(
        ((labels, row) for labels, row in figures.items() if len(row) == len(columns)),
        key=lambda item: order[item[0][1]],
    )
    whole = [r for result in results for r in result["rows"] if r["groups"] == list(GROUPS)]
    if not whole:
        raise UnitscopeError("no SVM on all three groups of features is among the results")
    return Table(
        "Re-training via PE: linear SVM on explanation metrics",
        ("method", "LC(x) from"),
        tuple(columns),
        [(labels, Explained(row)) for labels, row in kept],
        notes,
    )


def _short(spec: str) -> str:
    """A model's SPEC without its checkpoint: what tells networks apart in a table."""
    model = spec.split(":")
    return ":".join(model[:2]) if model[0] != "python" else ".".join(model[1:3])


def _left_out(rows: list[tuple[tuple[str, ...], Explained]], images: int | None) -> list[str]:
    notes = []
    for names, result in rows:
        reasons = [f"{count} {reason}" for reason, count in result.left_out.items() if count]
        false, true = result.figures["CM_FP"].n, result.figures["CM_TP"].n
        of = f" of {images}" if images else ""
        notes.append(
            f"{' '.join(names)}: {false} false and {true} true predictions{of}"
            + (f"; left out: {', '.join(reasons)}." if reasons else ".")
        )
    return notes
