"""Runs, layers and networks side by side: what is alike, what differs, on which images.

A side is one layer of one run. What needs a run is asked of one run at a time, so that it is
kept apart; what lays sides together takes those answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
import pandas as pd
from scipy.stats import binomtest

from core.dissect.labels import better_than_chance
from core.foundation.errors import allow_empty
from core.foundation.intervals import interval
from core.foundation.names import plain_name
from core.runs.run_file import Run
from core.views.images import NAMED
from core.views.names import shown_name
from core.views.runs import accuracy, summary
from core.views.units import detected, unit_table

CONDITIONS = ("dataset_digest", "splits", "q", "grid", "shuffles")
"""What must be alike for figures of two runs to be comparable between networks."""


@dataclass(frozen=True)
class SideFacts:
    """One side: what it was measured on, and what it came to.

    no_answers : why its network predicts nothing, "" where it does. low, high : Wilson's 95 %
    interval of `accuracy`, as above_low and above_high of above_share. above (units better than
    chance), by_chance and untrained : :func:`core.dissect.labels.better_than_chance`, None where
    not measured. concepts : that some unit detects. median_iou : of the units' best labels. A run
    of predictions alone has no units: what is of units is None.
    """

    run: str
    dataset: str
    dataset_digest: str
    model: str
    layer: str
    images: int
    splits: list[str]
    q: float | None
    grid: tuple[int, int] | None
    shuffles: int | None
    no_answers: str
    scored: int
    right: int
    accuracy: float | None
    low: float
    high: float
    units: int | None = None
    above: int | None = None
    above_share: float | None = None
    above_low: float | None = None
    above_high: float | None = None
    by_chance: float | None = None
    untrained: int | None = None
    concepts: int | None = None
    median_iou: float | None = None


def side(run: Run, layer: str, denominator: str = "all", split: str = "") -> SideFacts:
    """One side; answers are those on `split`, on all images where it is empty.

    layer : "" of a run without units.
    """
    facts = summary(run)
    part = accuracy(run)
    part = part[part["split"] == split] if split else part
    scored, right = int(part["images"].sum()), int(part["right"].sum())
    low, high = interval(right, scored)
    found = SideFacts(
        run=run.digest,
        dataset=facts.dataset,
        dataset_digest=run.settings.dataset.digest,
        model=facts.model,
        layer=layer,
        images=facts.images,
        splits=facts.splits,
        q=facts.q,
        grid=facts.grid,
        shuffles=facts.shuffles,
        no_answers=facts.no_answers,
        scored=scored,
        right=right,
        accuracy=right / scored if scored else None,
        low=low,
        high=high,
    )
    if not layer:
        return found
    table = unit_table(run, layer, denominator)
    chance = better_than_chance(run, layer, denominator)
    found = replace(
        found,
        units=len(table),
        concepts=len(detected(run, layer, denominator)),
        median_iou=float(table["iou"].median()),
        above=chance.above,
        by_chance=chance.by_chance,
        untrained=chance.untrained,
    )
    if found.above is None:
        return found
    low, high = interval(found.above, len(table))
    return replace(found, above_share=found.above / len(table), above_low=low, above_high=high)


def reach(run: Run, layer: str, denominator: str = "all", points: int = 120) -> pd.DataFrame:
    """How far the units' best labels reach: iou, share (of the units with at least that IoU).

    `points` IoUs, evenly from 0 to the layer's best.
    """
    values = np.sort(unit_table(run, layer, denominator)["iou"].to_numpy())
    at = np.linspace(0, values[-1] if len(values) else 1.0, points)
    beyond = len(values) - np.searchsorted(values, at, "left")
    return pd.DataFrame({"iou": at, "share": beyond / max(1, len(values))})


def outcomes(run: Run, split: str = "") -> pd.DataFrame:
    """What a network said of every scored image (of a split): image, id, split, scene,
    predicted, correct."""
    frame = run.sql(
        f"SELECT image, id, split, scene_name AS scene, predicted_name AS predicted, correct "
        f"FROM ({NAMED}) WHERE correct IS NOT NULL AND (? = '' OR split = ?) "
        "ORDER BY image",
        [split, split],
    )
    return frame.astype({"correct": bool})


def met(one: pd.DataFrame, other: pd.DataFrame) -> pd.DataFrame:
    """The images that both sides scored, by id: id, split, scene, image and image_other,
    predicted and predicted_other, kind (``both``, ``first``, ``second``, ``neither`` right)."""
    frame = one.merge(
        other[["id", "image", "predicted", "correct"]], on="id", suffixes=("", "_other")
    )
    frame["kind"] = np.select(
        [
            frame["correct"] & frame["correct_other"],
            frame["correct"] & ~frame["correct_other"],
            ~frame["correct"] & frame["correct_other"],
        ],
        ["both", "first", "second"],
        "neither",
    )
    return frame.drop(columns=["correct", "correct_other"])


KINDS = ("both", "first", "second")
"""Who predicts a photo correctly, where anybody does."""


def by_scene(found: pd.DataFrame) -> pd.DataFrame:
    """Accuracy of both sides by true scene, of :func:`met`: scene, images, right_before and
    right_after (the first side's and the second's), shift, gained and lost (right with the second
    alone, with the first alone); as :attr:`core.ablation.result.Toggled.scenes`."""
    groups = found["kind"].groupby(found["scene"], sort=True)
    table = pd.DataFrame({"images": groups.size()})
    of = {kind: groups.agg(lambda kinds, k=kind: (kinds == k).sum()) for kind in KINDS}
    table["right_before"] = of["both"] + of["first"]
    table["right_after"] = of["both"] + of["second"]
    table["shift"] = (table["right_after"] - table["right_before"]) / table["images"]
    table["gained"], table["lost"] = of["second"], of["first"]
    return table.reset_index()


@dataclass(frozen=True)
class Agreement:
    """Images that two sides both scored, by which of them is right.

    same : share of equal answers, NaN without images. p : McNemar's exact two-sided test (1947):
    how often a fair coin, thrown once for every image that only one side gets right, would fall as
    unevenly; NaN where there is no such image.
    """

    both: int
    first: int
    second: int
    neither: int
    images: int
    same: float
    p: float


def agreement(frame: pd.DataFrame) -> Agreement:
    """Counts of :func:`met` by kind, and the test of their difference."""
    counts = frame["kind"].value_counts()
    both, first, second, neither = (
        int(counts.get(kind, 0)) for kind in ("both", "first", "second", "neither")
    )
    said = frame["predicted"].fillna(""), frame["predicted_other"].fillna("")
    same = [plain_name(a) == plain_name(b) for a, b in zip(*said, strict=True)]
    apart = first + second
    return Agreement(
        both,
        first,
        second,
        neither,
        images=len(frame),
        same=float(np.mean(same)) if same else float("nan"),
        p=float(binomtest(first, apart).pvalue) if apart else float("nan"),
    )


def concepts(found: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    """Which side detects what, from a :func:`core.views.units.detected` for each side's name.

    Columns concept (as shown), category, one column a side (its units; 0 = not detected),
    sides (how many detect it). Concepts are the same where their plain names and categories
    are. Most sides first, then most units.
    """
    parts = []
    for name, frame in found.items():
        part = pd.DataFrame(
            {
                "concept": [shown_name(n) for n in frame["name"]],
                "category": frame["category"].astype(str),
                "side": name,
                "units": frame["units"].astype(int),
            }
        )
        parts.append(part)
    long = pd.concat(parts, ignore_index=True)
    wide = long.pivot_table(
        index=["concept", "category"], columns="side", values="units", aggfunc="sum", fill_value=0
    ).reindex(columns=list(found), fill_value=0)
    wide = wide.astype(int)
    wide["sides"] = (wide > 0).sum(axis=1)
    wide["all"] = wide[list(found)].sum(axis=1)
    wide = wide.reset_index().sort_values(
        ["sides", "all", "concept"], ascending=[False, False, True], ignore_index=True
    )
    return wide.drop(columns="all").rename_axis(columns=None)


def overlaps(table: pd.DataFrame, sides: Sequence[str]) -> pd.DataFrame:
    """For every two sides of :func:`concepts`: first, second, shared, only_first, only_second,
    jaccard = shared / (shared + only_first + only_second); NaN where neither detects any."""
    rows = []
    for a, b in combinations(sides, 2):
        one, other = table[a] > 0, table[b] > 0
        shared, first, second = (one & other).sum(), (one & ~other).sum(), (~one & other).sum()
        total = shared + first + second
        rows.append(
            (
                a,
                b,
                int(shared),
                int(first),
                int(second),
                float(shared / total) if total else float("nan"),
            )
        )
    names = ["first", "second", "shared", "only_first", "only_second", "jaccard"]
    return pd.DataFrame(rows, columns=names)


def differing(sides: Sequence[SideFacts]) -> list[str]:
    """Those of :data:`CONDITIONS` in which the sides are not alike."""
    return [name for name in CONDITIONS if len({repr(getattr(one, name)) for one in sides}) > 1]


def false_explanation(
    run: Run, layer: str, knowledge: str = "builtin", iou: str = "image"
) -> tuple[pd.DataFrame, list[str]]:
    """A side's rows of Table 4 (MinMax threshold; SCC and ICC) and what is to be noted.

    Columns core concepts, and for CM_FP, DM_FP, SM_FP: value, _low, _high (95 % interval),
    _chance, as fractions; n, the false predictions. See :func:`core.paper.tables.table_4`.

    Raises UnitscopeError for a knowledge SPEC that cannot be opened.
    """
    # Imported here: only this question needs graphs and learned concepts.
    from core.knowledge.kinds import open_knowledge
    from core.paper.tables import table_4

    empty: list[str] = []
    with allow_empty(empty.append):
        table = table_4([run], open_knowledge(knowledge), iou=iou, layer=layer)
    rows = []
    for (_, kind), cells in table.rows:
        row: dict[str, str | float | None] = {"core concepts": kind}
        for name in table.columns:
            figure = cells.figures[name]
            row |= {
                name: figure.value,
                f"{name}_low": figure.low,
                f"{name}_high": figure.high,
                f"{name}_chance": figure.chance,
            }
        rows.append({**row, "n": cells.figures["CM_FP"].n})
    return pd.DataFrame(rows), [*table.notes, *table.dashes(), *empty]
