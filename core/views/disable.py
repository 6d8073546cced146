"""What disabling units does to a network: what the Disable page asks."""

from __future__ import annotations

import io
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np
import pandas as pd

from core.ablation.contribution import Contribution, UnitConcepts
from core.ablation.curves import curves as all_curves
from core.ablation.edits import Edit
from core.ablation.export import write_edit
from core.ablation.images import choose
from core.ablation.protocols import PROTOCOLS as PROTOCOLS
from core.ablation.protocols import RANKINGS, Study
from core.ablation.result import Toggled
from core.ablation.search import greedy_forward
from core.ablation.toggler import Toggler
from core.ablation.toggler import prepare as prepare
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import paired_interval
from core.foundation.names import whole
from core.foundation.progress import Hooks
from core.runs.run_file import Run
from core.runs.unit_sets import list_sets as list_sets
from core.views.knowledge import Known
from core.views.runs import judged
from core.views.units import unit_table

MOST_LISTED = 60
"""Units named in an address before it becomes too long to be passed on."""


def parse_units(text: str, units: int) -> tuple[int, ...]:
    """Units of an address or a text field: numbers with anything between, ascending, once each.

    Raises UnitscopeError for what is no number, or no unit of a layer of `units` units.

    >>> parse_units("17, 3-201 3", 512)
    (3, 17, 201)
    """
    for between in ",;-\n\t":
        text = text.replace(between, " ")
    found = set()
    for part in text.split():
        unit = whole(part)
        if unit is None:
            raise UnitscopeError(f"{part!r} is no unit: write numbers, as in 3, 17, 201")
        found.add(unit)
    wrong = sorted(unit for unit in found if unit >= units)
    if wrong:
        raise UnitscopeError(
            f"there is no unit {', '.join(map(str, wrong[:5]))}: the layer has units 0 to "
            f"{units - 1}"
        )
    return tuple(sorted(found))


def labelled_units(run: Run, layer: str, denominator: str) -> pd.DataFrame:
    """unit, label, iou of every unit of a layer, by number."""
    frame = unit_table(run, layer, denominator)
    return pd.DataFrame(
        {
            "unit": frame["unit"],
            "label": frame["label"].where(frame["name"].notna()),
            "iou": frame["iou"],
        }
    )


# -- units of a scene by their contribution scores -------------------------------------------


def unit_concepts(run: Run, layer: str, strategy: str, iou: str) -> UnitConcepts:
    """What each unit learned in each image: computed once, asked for many scenes."""
    return UnitConcepts.of(run, layer, strategy, iou, bounded=True)


def contribution(
    learned: UnitConcepts, known: Known, kind: str, over: str, splits: Sequence[str] = ()
) -> Contribution:
    """Eq. 9 for every scene and unit, summed over photos of some splits (all where none)."""
    return learned.contribution(known.core[kind], over, splits=splits)


def ranking(run: Run, found: Contribution, scene: str, sign: str, denominator: str) -> pd.DataFrame:
    """Units of a scene by their contribution: unit, label, score, inside, outside, active."""
    frame = found.ranked(scene, sign)
    labels = labelled_units(run, found.layer, denominator).set_index("unit")["label"]
    frame.insert(1, "label", labels.reindex(frame["unit"]).to_numpy())
    return frame


# -- what an edit does ----------------------------------------------------------------------


def toggled(
    toggler: Toggler,
    units: Sequence[int],
    factor: float,
    splits: Sequence[str],
    **hooks: Unpack[Hooks],
) -> Toggled:
    """What multiplying units by a factor (0 disables them) does to the images of some splits (all
    where none)."""
    return toggler.toggle(Edit(tuple(units), factor), None, splits, **hooks)


def estimated(
    toggler: Toggler, units: Sequence[int], factor: float, splits: Sequence[str]
) -> Toggled | None:
    """:func:`toggled` of a random sample, at once; None where the exact answer comes as quickly."""
    return toggler.estimate(Edit(tuple(units), factor), None, splits)


def toggled_one(run: Run, toggler: Toggler, unit: int) -> Toggled:
    """What disabling one unit does to the images that networks are judged on (test, else val)."""
    held = judged(run)
    return toggled(toggler, (unit,), 0.0, [held] if held else [])


CONTROLS = 20
"""Draws of random units, as for the curves."""


def control_on(toggler: Toggler) -> str:
    """On which photos :func:`control` is worked out where these are not all, in words."""
    return " on a random sample" if toggler.recorded.large else ""


class Control(NamedTuple):
    """The change of accuracy by as many random units: mean and the middle 95 % of the draws."""

    of: str
    mean: float
    low: float
    high: float


def random_units(units: int, count: int, seed: int = 0) -> tuple[int, ...]:
    """`count` of a layer's units, drawn at random; the same seed draws the same."""
    drawn = np.random.default_rng(seed).choice(units, min(count, units), replace=False)
    return tuple(sorted(int(unit) for unit in drawn))


def control(
    _run: Run, toggler: Toggler, count: int, factor: float, splits: Sequence[str], scene: str
) -> list[Control]:
    """The control of an edit: :data:`CONTROLS` times as many random units, for each of
    :meth:`core.ablation.result.Toggled.headlines`; of a large run, on a random sample."""
    draws = []
    for seed in range(CONTROLS):
        units = random_units(toggler.units, count, seed)
        drawn = estimated(toggler, units, factor, splits)
        drawn = drawn or toggled(toggler, units, factor, splits)
        draws.append(drawn.headlines(scene))
    found = []
    for parts in zip(*draws, strict=True):
        gains = np.array([one.gain.value for one in parts])
        low, high = np.quantile(gains, [0.025, 0.975])
        found.append(Control(parts[0].of, float(gains.mean()), float(low), float(high)))
    return found


class Compared(NamedTuple):
    """Two edits, A and B, on the same images.

    table : a row a set and one for B less A: set, units, accuracy, low, high, gain over the
    unedited network with its paired interval, gained and lost. first, second : the images right
    with A alone, and with B alone: image, id, split, scene, before (without any edit), a, b (what
    is predicted).
    """

    table: pd.DataFrame
    first: pd.DataFrame
    second: pd.DataFrame


def compared(one: Toggled, two: Toggled, names: tuple[str, str]) -> Compared:
    """Two edits side by side. Raises UnitscopeError where they are not of the same images."""
    if not one.images["image"].equals(two.images["image"]):
        raise UnitscopeError("two edits are compared on the same images only")
    rows = []
    for name, result in zip(names, (one, two), strict=True):
        after, gain = result.accuracy[1], result.gain
        rows.append(
            {
                "set": name,
                "units": sum(len(e.units) for e in result.edits),
                "accuracy": after.value,
                "low": after.low,
                "high": after.high,
                "gain": gain.value,
                "gain_low": gain.low,
                "gain_high": gain.high,
                "gained": gain.gained,
                "lost": gain.lost,
            }
        )
    target = one.images["target"].to_numpy()
    known = target >= 0
    first = (one.after.predicted == target) & known
    second = (two.after.predicted == target) & known
    up, down, n = int((second & ~first).sum()), int((first & ~second).sum()), int(known.sum())
    low, high = paired_interval(up, down, n)
    rows.append(
        {
            "set": f"{names[1]} less {names[0]}",
            "gain": (up - down) / max(1, n),
            "gain_low": low,
            "gain_high": high,
            "gained": up,
            "lost": down,
        }
    )

    def listed(keep: np.ndarray) -> pd.DataFrame:
        part = one.images[keep]
        frame = part[["image", "id", "split", "scene"]].reset_index(drop=True)
        for column, of in (("before", one.before), ("a", one.after), ("b", two.after)):
            frame[column] = [one.names[k] for k in of.predicted[keep]]
        return frame

    return Compared(pd.DataFrame(rows), listed(first & ~second), listed(second & ~first))


# -- curves and searches --------------------------------------------------------------------


def study_of(run: Run, toggler: Toggler, known: Known, strategy: str, iou: str) -> Study:
    """What disabling experiments of a page rest on: the core concepts that the page shows, with a
    person's corrections of names, and none where the graph knows none of the concepts."""
    learned = unit_concepts(run, toggler.layer, strategy, iou)
    return Study(toggler, learned, known.annotated, known.related, known.graph.name)


def curves(
    run: Run,
    toggler: Toggler,
    known: Known,
    protocol: str,
    rankings: Sequence[str],
    select: Sequence[str],
    judge: Sequence[str],
    most: int,
    strategy: str,
    iou: str,
) -> pd.DataFrame:
    """Accuracy with the k most positive or negative units disabled (Figs. 3 and 4)."""
    study = study_of(run, toggler, known, strategy, iou)
    return all_curves(
        study,
        list(rankings),
        protocols=(protocol,),
        select=list(select) or None,
        judge=list(judge) or None,
        at=list(range(1, min(most, toggler.units) + 1)),
    )


def rankings(toggler: Toggler) -> list[str]:
    """Rankings that the layer's head allows, the cheap ones first."""
    linear = toggler.weights is not None
    return [
        name
        for name in RANKINGS
        if linear or name not in ("weight", "gradient_activation", "greedy")
    ]


def greedy(toggler: Toggler, split: str, scene: str, most: int) -> tuple[int, ...]:
    """The units that a greedy search disables, one after another, on the images chosen, up
    to its best set. Raises UnitscopeError where the layer's head is not linear."""
    if toggler.weights is None:
        raise UnitscopeError(
            f"a search needs a network whose head is linear; of {toggler.layer}: "
            f"{toggler.check.why}"
        )
    rows = choose(toggler.images, scene or None, [split] if split else None)
    rows = rows[toggler.target[rows] >= 0]
    if not len(rows):
        raise UnitscopeError("no image was chosen whose scene the network knows")
    return greedy_forward(toggler, rows, most=most).best(most)


# -- to take away ---------------------------------------------------------------------------


def edited_network(toggler: Toggler, units: Sequence[int], factor: float, why: str) -> bytes:
    """The network with its units edited, as a zip of the files of
    :func:`core.ablation.export.write_edit`."""
    out = io.BytesIO()
    with tempfile.TemporaryDirectory() as folder:
        written = write_edit(
            toggler, Edit(tuple(units), factor), Path(folder), why, ("state", "folded")
        )
        with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as pack:
            for path in sorted(written.files.values()):
                pack.write(path, path.name)
    return out.getvalue()
