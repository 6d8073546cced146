"""The paper's tables from a run: each cell with its interval, and what chance gives.

Table 1: false and true prediction explanation for every strategy and kind of core concepts.
Table 4: false prediction explanation across models, MinMax threshold.
Table 6: a linear SVM on the explanation metrics, beside the network.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from core.errors import UnitscopeError
from core.explain.account import scenes_of
from core.explain.learned import STRATEGIES, learned_concepts
from core.explain.metrics import METRICS, Estimate, Explained, explain_predictions
from core.knowledge.core_concepts import (
    Annotated,
    CoreConcepts,
    core_concepts,
    related_concepts,
)
from core.knowledge.graph import Graph
from core.manipulate.svm import GROUPS, MASKS_ALONE, SOURCES, accuracies, wilson
from core.store import Run

KINDS = ("top10", "scc", "icc")
NAMES = {
    "top10": "Top 10", "scc": "SCC", "icc": "ICC", "whole_layer": "Whole layer",
    "highest_iou": "Highest IoU", "minmax_threshold": "Threshold",
}  # fmt: skip


@dataclass
class Table:
    """A table with what is needed to read it on its own.

    title, notes : where the figures come from and what was left out. labels : heads of the row
    labels. columns : names of the figures, as :data:`core.explain.metrics.METRICS`, what follows
    a ``_`` set as an index. rows : (row labels, figures by column, left out by reason).
    """

    title: str
    labels: tuple[str, ...]
    columns: tuple[str, ...]
    rows: list[tuple[tuple[str, ...], Explained]]
    notes: list[str]

    def to_json(self) -> dict[str, Any]:
        """Plain data: every figure with interval, chance and n."""
        return {
            "title": self.title,
            "notes": self.notes,
            "rows": [
                {
                    **dict(zip(self.labels, names, strict=True)),
                    **{name: asdict(figure) for name, figure in told.figures.items()},
                    "left_out": told.left_out,
                }
                for names, told in self.rows
            ],
        }

    def to_text(self) -> str:
        """For a terminal: percentages with their 95 % interval, chance in a second line."""
        width = max(len(" ".join(names)) for names, _ in self.rows) + 2
        lines = [self.title, ""]
        wide = [max(22, len(name) + 2) for name in self.columns]
        heads = zip(self.columns, wide, strict=True)
        lines.append(" " * width + "".join(f"{name:>{w}}" for name, w in heads))
        for names, told in self.rows:
            cells = [told.figures[name] for name in self.columns]
            spans = [
                f"{100 * c.value:9.2f} [{100 * c.low:5.1f}–{100 * c.high:5.1f}]" for c in cells
            ]
            chances = [f"{100 * c.chance:9.2f}{'':13}" for c in cells]
            for label, texts in ((" ".join(names), spans), ("  by chance", chances)):
                cut = zip(texts, wide, strict=True)
                lines.append(f"{label:{width}}" + "".join(f"{text:>{w}}" for text, w in cut))
        return "\n".join([*lines, "", *self.notes])

    def to_csv(self) -> str:
        """One line a row; for every figure its value, interval, chance and n, as fractions."""
        parts = list(Estimate.__dataclass_fields__)
        out = io.StringIO()
        write = csv.writer(out, lineterminator="\n")
        write.writerow(
            [*self.labels, *(f"{name}_{part}" for name in self.columns for part in parts)]
        )
        for names, told in self.rows:
            cells = [told.figures[name] for name in self.columns]
            write.writerow([*names, *(getattr(c, part) for c in cells for part in parts)])
        return out.getvalue()

    def to_latex(self) -> str:
        """A booktabs table of percentages, intervals as small type, notes in the caption."""

        def safe(text: str) -> str:
            for sign in "&%_#$":
                text = text.replace(sign, "\\" + sign)
            return text

        def head(name: str) -> str:
            first, _, index = name.partition("_")
            return safe(first) + (f"$_{{\\mathrm{{{index}}}}}$" if index else "")

        heads = [*self.labels, *map(head, self.columns)]
        lines = [
            "\\begin{table}", "\\centering",
            f"\\begin{{tabular}}{{{'l' * len(self.labels)}{'r' * len(self.columns)}}}", "\\toprule",
            " & ".join(heads) + " \\\\", "\\midrule",
        ]  # fmt: skip
        for names, told in self.rows:
            cells = [told.figures[name] for name in self.columns]
            values = [
                f"{100 * c.value:.2f} {{\\scriptsize [{100 * c.low:.1f}, {100 * c.high:.1f}]}}"
                for c in cells
            ]
            lines.append(" & ".join([*map(safe, names), *values]) + " \\\\")
        caption = safe(" ".join([self.title + ".", *self.notes]))
        lines += ["\\bottomrule", "\\end{tabular}", f"\\caption{{{caption}}}", "\\end{table}"]
        return "\n".join(lines) + "\n"


def all_core_concepts(
    run: Run,
    graph: Graph,
    overrides: Path | None = None,
    splits: Sequence[str] | None = None,
) -> dict[str, CoreConcepts]:
    """Top 10, SCC and ICC of a run's scenes, from one alignment with the graph.

    overrides : the user's own table of names and nodes (:func:`core.knowledge.align.align`).
    splits : from the annotations of these images alone; all where None.
    """
    annotated = Annotated.from_run(run, splits)
    related = related_concepts(annotated, graph, overrides=overrides)
    return {kind: core_concepts(annotated, related, kind) for kind in KINDS}


def _source(run: Run, graph: Graph, iou: str, splits: Sequence[str] | None) -> str:
    info = run.info
    return (
        f"{info['dataset_name']}, {info['settings']['model']['spec']}, "
        f"split {', '.join(splits) if splits else 'all'}, IoU {iou}, knowledge {graph.name}"
    )


def table_1(
    run: Run,
    graph: Graph,
    splits: Sequence[str] | None = None,
    iou: str = "image",
    layer: str | None = None,
    strategies: Sequence[str] = STRATEGIES,
    kinds: Sequence[str] = KINDS,
    seed: int = 0,
    overrides: Path | None = None,
) -> Table:
    """False and true prediction explanation (the paper's Table 1, rows of its own methods)."""
    row, predicted, target = scenes_of(run, splits)
    cores = all_core_concepts(run, graph, overrides)
    rows: list[tuple[tuple[str, ...], Explained]] = []
    name = layer or ""
    for strategy in strategies:
        learned = learned_concepts(run, layer, strategy, iou)
        name = learned.layer
        for kind in kinds:
            told = explain_predictions(
                learned.has[row], cores[kind].members, predicted, target, seed=seed
            )
            rows.append(((NAMES[strategy], NAMES[kind]), told))
    icc = cores["icc"]
    notes = [
        "In percent; in brackets the bootstrap 95 % interval over images; chance: core concept "
        "sets exchanged between scenes at random.",
        *_left_out(rows, len(row)),
    ]
    if not icc.distinct:
        sets = "; ".join(", ".join(icc.scenes[s] for s in same) for same in icc.collisions)
        notes.append(f"ICC: no percentage makes all scenes differ; these share one set: {sets}.")
    return Table(
        f"Prediction explanation, {name}. {_source(run, graph, iou, splits)}",
        ("concepts of units", "core concepts"), METRICS, rows, notes,
    )  # fmt: skip


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
    notes = ["MinMax threshold; in percent, bootstrap 95 % interval in brackets."]
    for run in runs:
        part = table_1(
            run, graph, splits, iou, layer, ["minmax_threshold"], ["scc", "icc"], seed, overrides
        )
        name = _short(run.info["settings"]["model"]["spec"])
        shown = run.layer_names[run.layer(layer)]
        rows += [((f"{name} {shown}", labels[1]), told) for labels, told in part.rows]
        notes.append(f"{name}: {_source(run, graph, iou, splits)}.")
    notes += _left_out(rows, None)
    return Table(
        "False prediction explanation on different models", ("model", "core concepts"),
        ("CM_FP", "DM_FP", "SM_FP"), rows, notes,
    )  # fmt: skip


def table_6(results: Sequence[dict[str, Any]]) -> Table:
    """Re-training via PE (the paper's Table 6): the network and SVMs on all groups of features.

    results : of :func:`core.manipulate.svm.retrain_pe`, a column each. Rows: the network, an SVM on
    the hidden state alone, and for each kind of core concepts one with LC(x) from the masks of
    the test photo and one without. Beside each figure, as chance, that of always saying the most
    frequent training scene.

    Raises UnitscopeError where no result was made with all groups.
    """
    columns = []
    figures: dict[tuple[str, str], dict[str, Estimate]] = {}
    notes = [
        "Accuracy on test images in percent, Wilson's 95 % interval in brackets; chance: always "
        "the most frequent training scene.",
        "Masks: the SVM needs the masks of the test photo, which the network does not; labels of "
        "units need none. Masks alone: which concepts are annotated, no network, no knowledge.",
    ]
    for told in results:
        name = f"{told['dataset']} {_short(told['model'])}".replace("_", " ")
        while name in columns:
            name += "′"
        columns.append(name)
        rows = accuracies(told)
        base = rows[0]
        for row in rows[1:]:
            groups = row["groups"]
            if row["method"] == "network":
                labels = ("network", "–")
            elif groups == ["hidden"]:
                labels = ("SVM (hidden state)", "–")
            elif groups == [MASKS_ALONE]:
                labels = ("SVM (masks alone)", "masks")
            elif groups == list(GROUPS):
                labels = (f"SVM ({NAMES.get(row['cc'], row['cc'])})", row["source"])
            else:
                continue
            figures.setdefault(labels, {})[name] = Estimate(
                row["accuracy"], row["low"], row["high"], base["accuracy"],
                *wilson(base["right"], base["n"]), row["n"],
            )  # fmt: skip
        notes.append(
            f"{name}: {told['layer']}, {told['n_train']} training images "
            f"({', '.join(told['train'])}), {told['n']} test images ({', '.join(told['test'])}); "
            f"LC(x) by {told['strategy']}, IoU {told['iou']}, or by {told['labels']} labels; "
            f"core concepts from {told['core_on']} images; thresholds of units over all images; "
            f"hidden state: {told['hidden']}."
        )
    order = {source: k for k, source in enumerate(("–", *SOURCES))}
    kept = sorted(
        ((labels, row) for labels, row in figures.items() if len(row) == len(columns)),
        key=lambda item: order[item[0][1]],
    )
    whole = [r for told in results for r in told["rows"] if r["groups"] == list(GROUPS)]
    if not whole:
        raise UnitscopeError("no SVM on all three groups of features is among the results")
    return Table(
        "Re-training via PE: linear SVM on explanation metrics", ("method", "LC(x) from"),
        tuple(columns), [(labels, Explained(row)) for labels, row in kept], notes,
    )  # fmt: skip


def _short(spec: str) -> str:
    """A model's SPEC without its checkpoint: what tells networks apart in a table."""
    model = spec.split(":")
    return ":".join(model[:2]) if model[0] != "python" else ".".join(model[1:3])


def _left_out(rows: list[tuple[tuple[str, ...], Explained]], images: int | None) -> list[str]:
    notes = []
    for names, told in rows:
        reasons = [f"{count} {reason}" for reason, count in told.left_out.items() if count]
        false, true = told.figures["CM_FP"].n, told.figures["CM_TP"].n
        of = f" of {images}" if images else ""
        notes.append(
            f"{' '.join(names)}: {false} false and {true} true predictions{of}"
            + (f"; left out: {', '.join(reasons)}." if reasons else ".")
        )
    return notes
