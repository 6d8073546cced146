"""Runs, layers and networks side by side: what is alike, what differs, on which images.

A side is one layer of one run. What needs a run is asked of one run at a time, so that it is
kept apart; what lays sides together takes those answers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import combinations
from typing import Any

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
"""What must be alike for figures of two runs to be told apart by the network alone."""


def side(run: Run, layer: str | None, denominator: str = "all", split: str = "") -> dict[str, Any]:
    """One side in one flat dict; answers are those on `split`, on all images where it is empty.

    run, dataset, dataset_digest, model, layer, images, splits, q, grid, shuffles, no_answers
    (why its network predicts nothing, "" where it does); scored,
    right, accuracy, low, high (Wilson's 95 % interval); units, and of these above (better than
    chance, None without shuffles), above_share with above_low and above_high, by_chance and
    untrained (:func:`core.dissect.labels.better_than_chance`); concepts (that some unit detects),
    median_iou (of the units' best labels). A run of predictions alone has no units: those are None.
    """
    facts = summary(run)
    settings = run.info["settings"]
    told: dict[str, Any] = {
        "run": run.digest,
        "dataset": facts["dataset"],
        "dataset_digest": settings["dataset"]["digest"],
        "model": facts["model"],
        "layer": layer,
        **{k: facts[k] for k in ("images", "splits", "q", "grid", "shuffles", "no_answers")},
    }
    part = accuracy(run)
    part = part[part["split"] == split] if split else part
    scored, right = int(part["images"].sum()), int(part["right"].sum())
    told |= {"scored": scored, "right": right, "accuracy": right / scored if scored else None}
    told["low"], told["high"] = interval(right, scored)
    keys = (
        "units",
        "above",
        "above_share",
        "above_low",
        "above_high",
        "by_chance",
        "untrained",
        "concepts",
        "median_iou",
    )
    told |= dict.fromkeys(keys)
    if layer is None:
        return told
    table = unit_table(run, layer, denominator)
    told |= {
        "units": len(table),
        "concepts": len(detected(run, layer, denominator)),
        "median_iou": float(table["iou"].median()),
    }
    found = better_than_chance(run, layer, denominator)
    told |= {key: found[key] for key in ("above", "by_chance", "untrained")}
    if found["above"] is not None:
        above = found["above"]
        low, high = interval(above, len(table))
        told |= {"above_share": above / len(table), "above_low": low, "above_high": high}
    return told


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


def agreement(frame: pd.DataFrame) -> dict[str, Any]:
    """Counts of :func:`met` by kind, `images`, `same` (share of equal answers) and `p`.

    p : McNemar's exact two-sided test (1947): how often a fair coin, thrown once for every
    image that only one side gets right, would fall as unevenly. NaN where there is none.
    """
    counts = frame["kind"].value_counts()
    told: dict[str, Any] = {
        kind: int(counts.get(kind, 0)) for kind in ("both", "first", "second", "neither")
    }
    apart = told["first"] + told["second"]
    same = [
        plain_name(a) == plain_name(b)
        for a, b in zip(
            frame["predicted"].fillna(""), frame["predicted_other"].fillna(""), strict=True
        )
    ]
    return {
        **told,
        "images": len(frame),
        "same": float(np.mean(same)) if same else float("nan"),
        "p": binomtest(told["first"], apart).pvalue if apart else float("nan"),
    }


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


def differing(sides: Sequence[Mapping[str, Any]]) -> list[str]:
    """Those of :data:`CONDITIONS` in which the sides are not alike."""
    return [name for name in CONDITIONS if len({repr(one[name]) for one in sides}) > 1]


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

    told_empty: list[str] = []
    with allow_empty(told_empty.append):
        table = table_4([run], open_knowledge(knowledge), iou=iou, layer=layer)
    rows = []
    for (_, kind), told in table.rows:
        row: dict[str, Any] = {"core concepts": kind}
        for name in table.columns:
            figure = told.figures[name]
            row |= {
                name: figure.value,
                f"{name}_low": figure.low,
                f"{name}_high": figure.high,
                f"{name}_chance": figure.chance,
            }
        rows.append({**row, "n": told.figures["CM_FP"].n})
    return pd.DataFrame(rows), [*table.notes, *table.dashes(), *told_empty]
