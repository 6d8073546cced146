"""The bench of labels: every method's label of every unit, scored on photos it has not seen.

Labels are learned from some splits and judged by others, by simulation
(:mod:`core.labelling.simulation`) over photos and over cells, and by the causal score
(:mod:`core.labelling.causal`). A method that cannot be asked here is
listed with the reason, and the others are compared.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from core.attribution.case import Opened
from core.dissect.formula import NOT
from core.foundation.errors import UnitscopeError
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.labelling.causal import PHOTOS, CausalScores, Removed, causal_scores, remove
from core.labelling.judged import Bench, Judged
from core.labelling.label import Terms
from core.labelling.methods import LABELLING, Labels, label_units
from core.labelling.probe import Probe, held_out, open_probe
from core.labelling.simulation import CELL, EXCHANGES, IMAGE, Simulation, simulate
from core.runs.run_file import Run

NONE = "none"
"""In place of a way to take concepts out of photos: no causal score."""

BASE = "dataset"
"""The method that others are compared with: NetDissect's."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One method's labels with their scores.

    cell : None where the run keeps no maps, and for labels that speak of photos.
    causal : None where nothing was taken out of photos.
    seconds : that the labels took.
    """

    labels: Labels
    image: Simulation
    cell: Simulation | None
    causal: CausalScores | None
    seconds: float


def positive_concepts(terms: Terms) -> list[int]:
    """Ids of the concepts that a label speaks for, in the order in which it names them: of terms
    with a positive weight, without those behind AND NOT.

    >>> from core.labelling.label import parse
    >>> positive_concepts(parse("0.5 (bed AND NOT lamp) - 1 rug", {"bed": 1, "lamp": 2, "rug": 3}))
    [1]
    """
    found: dict[int, None] = {}
    for weight, formula in terms:
        if weight > 0:
            for op, concept in zip(formula.ops, formula.concepts, strict=True):
                if op != NOT:
                    found.setdefault(concept)
    return list(found)


def main_concept(terms: Terms) -> int:
    """The concept that a label names first, 0 for none: methods write the most important first.

    >>> from core.labelling.label import parse
    >>> main_concept(parse("0.5 (lamp OR rug) + 2 bed", {"bed": 1, "lamp": 2, "rug": 3}))
    2
    """
    return next(iter(positive_concepts(terms)), 0)


def compare(
    learn: Probe,
    judge: Probe,
    methods: Sequence[str] = (),
    given: Mapping[str, Any] | None = None,
    removed: Removed | None = None,
    exchanges: int = EXCHANGES,
    seed: int = 0,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> Bench:
    """Score methods of :data:`core.labelling.methods.LABELLING` (all where empty) on a layer.

    learn, judge : photos that labels are learned from, and judged by. given : options that methods
    take, by name; each method gets those it takes. removed : for the causal score.

    Raises UnitscopeError for an unknown method, where learn and judge share photos or are not of
    one layer, where an option is taken by none of the methods, and where no method has labels;
    Stopped.
    """
    if learn.layer != judge.layer or learn.run.digest != judge.run.digest:
        raise UnitscopeError("labels are learned and judged on one layer of one run")
    if set(learn.numbers) & set(judge.numbers):
        raise UnitscopeError("labels would be judged by photos that they were learned from")
    rows = [LABELLING.row(name) for name in methods or LABELLING.names()]
    options = {name: value for name, value in (given or {}).items() if value is not None}
    for name in options:
        if not any(name in row.takes for row in rows):
            raise UnitscopeError(f"none of these methods takes the option {name!r}")
    meter = Meter(progress, beat)
    meter.start("labels", len(rows), of="methods")
    scored: list[Scored] = []
    left_out = {}
    for row in rows:
        if stop():
            raise Stopped(f"{len(scored)} of {len(rows)} methods are scored; {STOPPED}")
        mine = {name: value for name, value in options.items() if name in row.takes}
        try:
            began = time.monotonic()
            labels = label_units(learn, row.name, progress, stop, **mine)
            seconds = time.monotonic() - began
            scored.append(score(labels, judge, removed, exchanges, seed, seconds))
        except Stopped:
            raise
        except UnitscopeError as err:
            left_out[row.name] = str(err)
        meter.step()
    if not scored:
        why = "; ".join(f"{name}: {text}" for name, text in left_out.items())
        raise UnitscopeError(f"no method has labels here: {why}")
    base = next((one.image for one in scored if one.labels.method == BASE), None)
    asked = Judged(
        judge.layer,
        learn.splits,
        judge.splits,
        len(learn),
        len(judge),
        judge.categories,
        "" if removed is None else removed.by,
        0 if removed is None else removed.photos,
        tuple((name, str(value)) for name, value in sorted(options.items())),
        seed,
    )
    return Bench(
        asked,
        pd.DataFrame([_row(one, base) for one in scored]),
        pd.concat([_units(one) for one in scored], ignore_index=True),
        _same(scored),
        left_out,
    )


@dataclass(frozen=True)
class Asked:
    """What is compared on a run.

    Attributes
    ----------
    layer : the run's last where None. methods : all where empty.
    learn_on, judge_on : as :func:`core.labelling.probe.held_out`. categories : whose concepts
        labels may name; all where None.
    by : how concepts are taken out of at most `photos` photos for the causal score
        (:func:`core.labelling.causal.remove`), the usual way where None; :data:`NONE` leaves that
        score out, and the network shut.
    given : options that methods take. seed : of exchanges, bootstrap and removals.
    """

    layer: str | None = None
    methods: Sequence[str] = ()
    learn_on: Sequence[str] | None = None
    judge_on: Sequence[str] | None = None
    categories: Sequence[str] | None = None
    by: str | None = None
    photos: int = PHOTOS
    given: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 0


def compare_on(
    run: Run,
    asked: Asked,
    progress: Report | None = None,
    stop: Stop = never,
    beat: Path | None = None,
) -> Bench:
    """:func:`compare` on splits of a run, kept beside it.

    Raises as :func:`compare`, :func:`core.labelling.causal.remove` and `held_out`.
    """
    learned, judged = held_out(run, asked.learn_on, asked.judge_on)
    learn = open_probe(run, asked.layer, learned, asked.categories)
    judge = open_probe(run, asked.layer, judged, asked.categories)
    removed, seed = None, asked.seed
    if asked.by != NONE:
        opened = Opened.of(run, asked.layer)
        removed = remove(opened, judge, asked.by, asked.photos, seed, progress, stop, beat)
    found = compare(
        learn,
        judge,
        asked.methods,
        asked.given,
        removed,
        seed=seed,
        progress=progress,
        stop=stop,
        beat=beat,
    )
    found.keep(run)
    return found


def _same(scored: Sequence[Scored]) -> pd.DataFrame:
    mains = [np.array([main_concept(t) for t in one.labels.terms]) for one in scored]
    shares = np.full((len(mains), len(mains)), np.nan)
    for a, ours in enumerate(mains):
        for b, theirs in enumerate(mains):
            both = (ours > 0) & (theirs > 0)
            if both.any():
                shares[a, b] = (ours[both] == theirs[both]).mean()
    names = [one.labels.method for one in scored]
    return pd.DataFrame(shares, names, names)


def score(
    labels: Labels,
    judge: Probe,
    removed: Removed | None = None,
    exchanges: int = EXCHANGES,
    seed: int = 0,
    seconds: float = 0.0,
) -> Scored:
    """The scores of one method's labels, on photos that they were not learned from."""
    photos, cell = labels.of_photos, None
    if judge.run.settings.keep_maps and not photos:
        cell = simulate(judge, labels.terms, CELL, min(exchanges, 3), seed)
    return Scored(
        labels,
        simulate(judge, labels.terms, IMAGE, exchanges, seed, photos),
        cell,
        None if removed is None else causal_scores(removed, labels.terms, seed, photos),
        seconds,
    )


def _row(one: Scored, base: Simulation | None) -> dict[str, str | float]:
    row = LABELLING.row(one.labels.method)
    found: dict[str, str | float] = {
        "method": row.name,
        "title": row.title or row.name,
        "about": row.about,
        "family": row.family,
        "note": one.labels.note,
        "units": int(one.labels.labelled.sum()),
    }
    nothing = (np.nan, np.nan)

    def add(name: str, value: float, interval: tuple[float, float]) -> None:
        found[name], (found[f"{name}_low"], found[f"{name}_high"]) = value, interval

    add("image", one.image.mean, one.image.interval)
    found["exchanged"] = float(one.image.exchanged.mean())
    if base is not None and base.mean > 0:
        times, low, high = one.image.times(base)
        add("times", times, (low, high if np.isfinite(high) else np.nan))
    else:
        add("times", np.nan, nothing)
    cell, causal = one.cell, one.causal
    add("cell", cell.mean if cell else np.nan, cell.interval if cell else nothing)
    found["cell_exchanged"] = float(cell.exchanged.mean()) if cell else np.nan
    add("causal", causal.mean if causal else np.nan, causal.interval if causal else nothing)
    found["judged"] = causal.judged if causal else 0
    add(
        "agreement",
        causal.mean_agreement if causal else np.nan,
        causal.agreement_interval if causal else nothing,
    )
    found["seconds"] = one.seconds
    return found


def _units(one: Scored) -> pd.DataFrame:
    frame = one.labels.frame[["unit", "label", "score"]].copy()
    frame.insert(1, "method", one.labels.method)
    at = frame["unit"].to_numpy()
    names = one.labels.learned_from.names
    frame["concepts"] = [
        tuple(names[k] for k in positive_concepts(one.labels.terms[unit])) for unit in at
    ]
    nothing = np.full(len(at), np.nan)

    def add(name: str, values: np.ndarray | None, low: Any = None, high: Any = None) -> None:
        frame[name] = nothing if values is None else values[at]
        if low is not None or values is None:
            frame[f"{name}_low"] = nothing if low is None else low[at]
            frame[f"{name}_high"] = nothing if high is None else high[at]

    add("image", one.image.scores, *one.image.unit_intervals)
    frame["chance"] = one.image.chance[at]
    if one.cell is None:
        add("cell", None)
    else:
        add("cell", one.cell.scores, *one.cell.unit_intervals)
    if one.causal is None:
        add("causal", None)
        frame["agreement"] = nothing
    else:
        add("causal", one.causal.scores, one.causal.low, one.causal.high)
        frame["agreement"] = one.causal.agreement[at]
    return frame
