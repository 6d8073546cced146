"""What pages ask of the bench of labels: what was kept of it, as frames, and the job that makes it.

No network is run here: ``python -m core labels RUN`` does, and what it finds is kept beside the
run.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from core.foundation.names import plain_name
from core.labelling.judged import Bench, kept_benches
from core.runs.run_file import Run

NAMES = {
    "image": "Simulation, over photos",
    "cell": "Simulation, over cells",
    "causal": "Causal score",
    "agreement": "Agreement with removals",
}
"""Scores → what a choice calls them."""

AXES = {
    "image": "simulation score over photos (correlation)",
    "cell": "simulation score over cells (correlation)",
    "causal": "causal score (standard deviations)",
    "agreement": "predicted and measured losses (correlation)",
}
"""Scores → what an axis says."""

STEPS = {
    "removals": "Taking concepts out of photos, running the network again",
    "labels": "Labels by every method, and their scores",
}


def latest(run: Run, layer: str) -> Bench | None:
    """What was found last of a layer; None where nothing was."""
    found = kept_benches(run, layer)
    return found[0] if found else None


def arguments(run: Run, root: Path, layer: str) -> list[str]:
    """After ``python -m core``: what compares the methods on a layer."""
    return ["labels", run.digest, "--layer", layer, "--out", str(root), "--json"]


WEIGHT = re.compile(r"(?<![^ (-])(\d+\.\d+(?:e[+-]?\d+)?|\d+e[+-]?\d+) (?=\S)")


def shown_label(text: str) -> str:
    """A label as people read it: weights with two digits, names without underscores.

    >>> shown_label("0.74193 dining_room + 12.3 (bed OR lamp) - 0.00012 wall")
    '0.74 dining room + 12 (bed OR lamp) - 0.00012 wall'
    """
    return WEIGHT.sub(lambda found: f"{float(found[1]):.2g} ", text).replace("_", " ")


def unit_rows(bench: Bench, unit: int) -> pd.DataFrame:
    """Every method's label of a unit as people read it: method, label, concepts, the scores and
    their intervals (the causal score as text, "–" where there is none), and p-value."""
    titles = dict(zip(bench.table["method"], bench.table["title"], strict=True))
    rows = bench.unit(unit)
    return pd.DataFrame(
        {
            "method": [titles[name] for name in rows["method"]],
            "label": rows["label"].map(shown_label),
            "concepts": rows["concepts"],
            "image": rows["image"],
            "image interval": _spans(rows, "image"),
            "p-value": rows["chance"],
            "causal": ["–" if np.isnan(v) else f"{v:.2f}" for v in rows["causal"]],
            "causal interval": _spans(rows, "causal"),
        }
    )


def found_rows(bench: Bench, text: str) -> pd.DataFrame:
    """Units of any method that have to do with a concept: unit, method, label, place, image,
    causal. Raises UnitscopeError where there are none (nearest concepts)."""
    titles = dict(zip(bench.table["method"], bench.table["title"], strict=True))
    rows = bench.find(text)
    rows = rows.assign(
        method=[titles[name] for name in rows["method"]], label=rows["label"].map(shown_label)
    )
    causal = ["–" if np.isnan(value) else f"{value:.2f}" for value in rows["causal"]]
    return rows[["unit", "method", "label", "place", "image"]].assign(causal=causal)


def encoder_of(bench: Bench) -> str:
    """SPEC of the encoder that the bench was made with; "" for none."""
    return dict(bench.asked.options).get("encoder", "")


def near_rows(run: Run, bench: Bench, text: str, most: int = 60) -> pd.DataFrame:
    """Units whose labels are nearest to a text by the bench's encoder: unit, method, label, near,
    image, causal. Raises UnitscopeError as :func:`core.labelling.search.near`."""
    # The encoder brings PyTorch along.
    from core.labelling.encoders import load_encoder
    from core.labelling.search import near

    titles = dict(zip(bench.table["method"], bench.table["title"], strict=True))
    rows = near(bench, run, text, load_encoder(encoder_of(bench))).head(most)
    rows = rows.assign(
        method=[titles[name] for name in rows["method"]],
        label=rows["label"].map(shown_label),
        name=rows["name"].map(plain_name),
    )
    causal = ["–" if np.isnan(value) else f"{value:.2f}" for value in rows["causal"]]
    return rows[["unit", "method", "label", "name", "near", "image"]].assign(causal=causal)


def score_rows(benches: Mapping[str, Bench], score: str) -> pd.DataFrame:
    """A score of every method on every side: side, method, about, value, low, high, control (with
    exchanged masks; NaN of scores without), units; methods in the order of the first side's score,
    the best first. Methods without the score are left out."""
    frames = []
    for side, bench in benches.items():
        table = bench.table
        control = {"image": "exchanged", "cell": "cell_exchanged"}.get(score)
        frames.append(
            pd.DataFrame(
                {
                    "side": side,
                    "method": table["title"],
                    "about": table["about"],
                    "value": table[score],
                    "low": table[f"{score}_low"],
                    "high": table[f"{score}_high"],
                    "control": table[control] if control else np.nan,
                    "units": table["judged" if score == "causal" else "units"],
                }
            )
        )
    rows = pd.concat(frames, ignore_index=True).dropna(subset="value")
    best = rows.groupby("method")["value"].max().sort_values(ascending=False)
    place = {method: k for k, method in enumerate(best.index)}
    return rows.sort_values(
        "method", key=lambda names: names.map(place), kind="stable", ignore_index=True
    )


def same_rows(bench: Bench) -> pd.DataFrame:
    """How often two methods' labels begin with the same concept: one, other, share, by title."""
    titles = bench.table["title"].tolist()
    shares = bench.same.to_numpy()
    return pd.DataFrame(
        [
            {"one": a, "other": b, "share": shares[i, j]}
            for i, a in enumerate(titles)
            for j, b in enumerate(titles)
            if np.isfinite(shares[i, j])
        ]
    )


def _spans(rows: pd.DataFrame, score: str) -> list[str]:
    return [
        "–" if np.isnan(value) or np.isnan(low) else f"{low:.2f} to {high:.2f}"
        for value, low, high in zip(
            rows[score], rows[f"{score}_low"], rows[f"{score}_high"], strict=True
        )
    ]
