"""What came of the test of truth, as it is kept, shown and written: no network is needed for it."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from core.explain.metrics import Estimate
from core.foundation.files import write_text
from core.foundation.intervals import change_interval, mean_interval
from core.foundation.plain import Json
from core.foundation.versions import versions_of
from core.runs.kept import kept
from core.runs.run_file import Run, derived

FIGURES = ("rank", "top", "sign", "deletion", "preservation", "target", "distraction")
"""What a method is judged by, in the order of tables."""

ANSWERS = ("wrong", "right")
"""Kinds of photos, judged apart."""


@dataclass(frozen=True)
class Asked:
    """What is tested.

    methods : names, as :func:`core.attribution.methods.chosen_methods`; all that can be asked
        where empty. split : of the run; all where empty. photos : at most so many of either kind,
        drawn at random.
    by : how concepts are taken out, as :func:`core.attribution.redrawn.removal_of`. layer : whose
        evidence and gradients; the run's last where None. seed : of the photos drawn, and of ties.
    """

    methods: tuple[str, ...] = ()
    split: str = ""
    photos: int = 120
    by: str | None = None
    layer: str | None = None
    seed: int = 0


@dataclass(frozen=True)
class Judged:
    """How one method fares on one kind of answers: figures by name of :data:`FIGURES`."""

    method: str
    about: str
    family: str
    answers: str
    figures: dict[str, Estimate]


@dataclass(frozen=True, eq=False)
class Truth:
    """The test's outcome.

    Attributes
    ----------
    asked : what was tested. by : how concepts were taken out.
    rows : a method and a kind of answers each, in the order of the registry.
    photos : kind of answers → photos judged. concepts : → mean number of concepts in them.
    left_out : reason → photos. not_judged : method → why.
    best : kind → share of photos whose answer some single removal changes: what deletion can reach.
    background : kind → background independence of the network.
    scores : a row for each photo and method: image, id, answers, method, and :data:`FIGURES`; NaN
        where a figure does not apply.
    """

    asked: Asked
    by: str
    rows: tuple[Judged, ...]
    photos: dict[str, int]
    concepts: dict[str, float]
    left_out: dict[str, int]
    not_judged: dict[str, str]
    best: dict[str, Estimate]
    background: dict[str, Estimate]
    scores: pd.DataFrame

    def to_json(self) -> Json:
        """Plain data; without the scores of single photos."""
        found = asdict(replace(self, scores=pd.DataFrame()))
        del found["scores"]
        return found

    @classmethod
    def from_json(cls, held: Any) -> Truth:
        """What :meth:`to_json` gave. Raises KeyError, TypeError or ValueError for anything else."""
        rows = [
            Judged(
                str(row["method"]),
                str(row["about"]),
                str(row["family"]),
                str(row["answers"]),
                {name: _estimate(row["figures"][name]) for name in FIGURES},
            )
            for row in held["rows"]
        ]
        asked = Asked(**held["asked"] | {"methods": tuple(held["asked"]["methods"])})
        return cls(
            asked,
            str(held["by"]),
            tuple(rows),
            {str(k): int(v) for k, v in held["photos"].items()},
            {str(k): float(v) for k, v in held["concepts"].items()},
            {str(k): int(v) for k, v in held["left_out"].items()},
            {str(k): str(v) for k, v in held["not_judged"].items()},
            {str(k): _estimate(v) for k, v in held["best"].items()},
            {str(k): _estimate(v) for k, v in held["background"].items()},
            pd.DataFrame(),
        )

    def keep(self, run: Run) -> None:
        """Write it beside the run, for :func:`kept_truths`."""
        path = derived(run, "truth", [asdict(self.asked), versions_of("truth", "effects")], "json")
        write_text(path, json.dumps({"run": run.digest, **self.to_json()}))

    def figure(self, method: str, name: str, answers: str = "wrong") -> Estimate:
        """One figure. Raises KeyError where it was not judged."""
        for row in self.rows:
            if (row.method, row.answers) == (method, answers):
                return row.figures[name]
        raise KeyError((method, answers))

    def beyond(self, one: str, other: str, name: str, answers: str = "wrong") -> Estimate:
        """By how much one method is above another in a figure, paired by photo, with its 95 %
        interval; chance is 0."""
        part = self.scores[self.scores["answers"] == answers]
        wide = part.pivot(index="image", columns="method", values=name)[[one, other]].dropna()
        return mean_over((wide[one] - wide[other]).to_numpy(), np.zeros(1), signed=True)


def mean_over(values: np.ndarray, drawn: np.ndarray, signed: bool = False) -> Estimate:
    """The mean of scores over photos, NaN left out, with its interval.

    drawn : means of random importances, for chance. signed : scores lie in [−1, 1], not [0, 1].
    """
    values = values[~np.isnan(values)]
    if not len(values):
        nan = float("nan")
        return Estimate(nan, nan, nan, nan, nan, nan, 0)
    low, high = (change_interval if signed else mean_interval)(values)
    if signed:
        low, high = np.maximum(low, -1), np.minimum(high, 1)
    chance_low, chance_high = np.quantile(drawn, [0.025, 0.975])
    return Estimate(
        float(values.mean()),
        float(low),
        float(high),
        float(drawn.mean()),
        float(chance_low),
        float(chance_high),
        len(values),
    )


def _estimate(held: Any) -> Estimate:
    """A figure from plain data. Raises KeyError, TypeError or ValueError for anything else."""
    return Estimate(
        float(held["value"]),
        float(held["low"]),
        float(held["high"]),
        float(held["chance"]),
        float(held["chance_low"]),
        float(held["chance_high"]),
        int(held["n"]),
    )


def kept_truths(run: Run) -> list[Truth]:
    """All that were found out of a run, the latest first; what cannot be read is left out."""
    found = []
    for path in kept(run.path.with_suffix(".derived"), "truth-*.json"):
        try:
            held = json.loads(path.read_text(encoding="utf-8"))
            if held["run"] == run.digest:
                found.append((path.stat().st_mtime, Truth.from_json(held)))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            continue
    return [truth for _, truth in sorted(found, key=lambda pair: -pair[0])]
