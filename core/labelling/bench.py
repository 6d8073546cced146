"""The bench of labels: every method's label of every unit, scored on photos it has not seen.

Labels are learned from some splits and judged by others, by simulation
(:mod:`core.labelling.simulation`) over photos and over cells, and by the causal score
(:mod:`core.labelling.causal`). A method that cannot be asked here is told, and takes no other down.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import pandas as pd

from core.dissect.formula import NOT
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.names import plain_name
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.labelling.causal import CausalScores, Removed, causal_scores
from core.labelling.label import Terms
from core.labelling.methods import LABELLING, Labels, label_units
from core.labelling.probe import Probe
from core.labelling.simulation import CELL, EXCHANGES, IMAGE, Simulation, simulate

BASE = "dataset"
"""The method that others are compared with: NetDissect's."""


@dataclass(frozen=True, eq=False)
class Scored:
    """One method's labels with their scores.

    cell : None where the run keeps no maps. causal : None where nothing was taken out of photos.
    seconds : that the labels took.
    """

    labels: Labels
    image: Simulation
    cell: Simulation | None
    causal: CausalScores | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Bench:
    """Methods compared.

    Attributes
    ----------
    judged_by : the photos that labels are scored on. by : how concepts were taken out of them; ""
    where none were. scored : a method each, in the order asked for. left_out : method → why it has
    no labels here.
    """

    judged_by: Probe
    by: str
    scored: tuple[Scored, ...]
    left_out: dict[str, str] = field(default_factory=dict)

    @property
    def methods(self) -> list[str]:
        """Names of the methods that have labels."""
        return [one.labels.method for one in self.scored]

    @cached_property
    def table(self) -> pd.DataFrame:
        """A row a method: method, about, family, units (labelled), and for each of `image`, `cell`,
        `causal` and `agreement` the mean and its 95 % interval over photos (…_low, …_high);
        `exchanged` and `cell_exchanged`: the simulations with exchanged masks; `times`: the
        image-level simulation over that of NetDissect's labels, with its interval; `judged`: units
        with a causal score; `seconds`.

        Simulations are means over all units of the layer; the causal score over those whose label
        could be judged.
        """
        base = next((one.image for one in self.scored if one.labels.method == BASE), None)
        return pd.DataFrame([_row(one, base) for one in self.scored])

    @cached_property
    def units(self) -> pd.DataFrame:
        """A row a unit and method that labels it: unit, method, label, score (the method's own),
        read (does the label say something of annotated concepts?), and `image`, `cell`, `causal`
        with their 95 % intervals, `chance` (p-value of the image-level simulation by exchanged
        masks) and `agreement`."""
        parts = [_units(one) for one in self.scored]
        return pd.concat(parts, ignore_index=True) if parts else pd.DataFrame()

    @cached_property
    def same(self) -> pd.DataFrame:
        """Methods × methods: the share of the units labelled by both whose main concept is the
        same; NaN where no unit is labelled by both."""
        mains = [np.array([main_concept(t) for t in one.labels.terms]) for one in self.scored]
        shares = np.full((len(mains), len(mains)), np.nan)
        for a, ours in enumerate(mains):
            for b, theirs in enumerate(mains):
                both = (ours > 0) & (theirs > 0)
                if both.any():
                    shares[a, b] = (ours[both] == theirs[both]).mean()
        return pd.DataFrame(shares, self.methods, self.methods)

    def find(self, text: str) -> pd.DataFrame:
        """Rows of :attr:`units` whose label has something to do with a concept, with `place`: 1
        where it is the label's main concept, 2 for its next, and so on. Those of the first place
        come first, among equals the best image-level simulation.

        A concept of that very name is meant where there is one, else all whose names hold the text;
        free words that hold it count as well.

        Raises UnitscopeError where no label has to do with it (nearest concepts).
        """
        wanted = plain_name(text)
        if not wanted:
            raise UnitscopeError("which concept is looked for?")
        names = [plain_name(name) for name in self.judged_by.names]
        plain = ["", *map(plain_name, self.judged_by.concepts["name"])]
        ids = {k for k in range(1, len(names)) if wanted in (names[k], plain[k])}
        ids = ids or {k for k in range(1, len(names)) if wanted in names[k]}
        place = []
        for one in self.scored:
            frame = one.labels.frame
            for unit, label in zip(frame["unit"], frame["label"], strict=True):
                named = positive_concepts(one.labels.terms[unit])
                at = next((k for k, c in enumerate(named, 1) if c in ids), 0)
                free = not one.labels.terms[unit] and wanted in plain_name(str(label))
                place.append(at or int(free))
        found = self.units.assign(place=place)
        found = found[found["place"] > 0]
        if not len(found):
            raise unknown("concept that a label names", text, self.judged_by.names[1:])
        return found.sort_values(
            ["place", "image"], ascending=[True, False], kind="stable", ignore_index=True
        )


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
    meter = Meter(progress)
    meter.start("labels", len(rows), of="methods")
    scored: list[Scored] = []
    left_out = {}
    for row in rows:
        if stop():
            raise Stopped(f"{len(scored)} of {len(rows)} methods are scored; {STOPPED}")
        mine = {name: value for name, value in options.items() if name in row.takes}
        try:
            began = time.monotonic()
            labels = label_units(learn, row.name, **mine)
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
    return Bench(judge, "" if removed is None else removed.by, tuple(scored), left_out)


def score(
    labels: Labels,
    judge: Probe,
    removed: Removed | None = None,
    exchanges: int = EXCHANGES,
    seed: int = 0,
    seconds: float = 0.0,
) -> Scored:
    """The scores of one method's labels, on photos that they were not learned from."""
    cell = None
    if judge.run.settings.keep_maps:
        cell = simulate(judge, labels.terms, CELL, min(exchanges, 3), seed)
    return Scored(
        labels,
        simulate(judge, labels.terms, IMAGE, exchanges, seed),
        cell,
        None if removed is None else causal_scores(removed, labels.terms, seed),
        seconds,
    )


def _row(one: Scored, base: Simulation | None) -> dict[str, Any]:
    row = LABELLING.row(one.labels.method)
    found: dict[str, Any] = {
        "method": row.name,
        "about": row.about,
        "family": row.family,
        "units": int(one.labels.labelled.sum()),
    }
    nothing = (np.nan, np.nan)

    def add(name: str, value: float, interval: tuple[float, float]) -> None:
        found[name], (found[f"{name}_low"], found[f"{name}_high"]) = value, interval

    add("image", one.image.mean, one.image.interval)
    found["exchanged"] = float(one.image.exchanged.mean())
    if base is not None and base.mean > 0:
        times, low, high = one.image.times(base)
        add("times", times, (low, high))
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
    frame["read"] = one.labels.labelled[at]
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
