"""What the page "What scenes rest on" asks: effects that are kept, and what follows from them.

Measuring takes minutes, so it is a job (:mod:`core.foundation.jobs`); what is here reads what it
has kept. PyTorch is imported only once something of it is asked.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from core.foundation import jobs
from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import UnitscopeError
from core.foundation.names import plain_name
from core.runs.run_file import Run
from core.views.knowledge import Known
from core.views.work import Task

if TYPE_CHECKING:  # PyTorch comes with these
    from core.attribution.failure import Failure
    from core.attribution.labels import FlipCheck
    from core.attribution.measured import Asked, Measured
    from core.attribution.mistakes import Mistakes
    from core.attribution.reliance import Reliance

STEPS = {
    "effects": "Removing concepts, running the network again",
    "evidence": "Evidence for the answers",
}


@dataclass(frozen=True)
class Wanted:
    """Effects that a page asks for: of a split, by fillings, against so many regions elsewhere."""

    split: str
    fillings: tuple[str, ...]
    controls: int


def usual(split: str) -> Wanted:
    """What is measured where nothing else is asked."""
    from core.attribution.measured import Asked

    plain = Asked()
    return Wanted(split, plain.fillings, plain.controls)


def fillings() -> dict[str, str]:
    """Fillings that there are, with what they do."""
    from core.attribution.fillings import FILLINGS

    return {row.name: f"{row.name}: {row.about}" for row in FILLINGS}


def _asked(wanted: Wanted, layer: str) -> Asked:
    from core.attribution.measured import Asked

    return Asked(wanted.fillings, wanted.controls, splits=(wanted.split,), layer=layer)


@dataclass(frozen=True)
class State:
    """How far the effects of a split are: photos measured, of all; about how many edited photos the
    network must still be run on."""

    done: int
    total: int
    passes: int

    @property
    def whole(self) -> bool:
        """Is everything measured?"""
        return self.done == self.total


def state(run: Run, wanted: Wanted, layer: str) -> State:
    """How far the effects of a split are."""
    from core.attribution.measured import so_far

    done, total = so_far(run, _asked(wanted, layer))
    shown = run.sql(
        "SELECT count(*)::DOUBLE / count(DISTINCT image) AS n FROM areas JOIN concepts "
        "USING (concept) WHERE category NOT IN ('color', 'colour', 'scene')"
    )["n"][0]
    passes = shown * len(wanted.fillings) * (1 + wanted.controls)
    return State(done, total, int(round((total - done) * passes, -2)))


def measured(run: Run, wanted: Wanted, layer: str) -> Measured:
    """The effects of a split. Raises UnitscopeError where they are not whole."""
    from core.attribution.measured import read_splits

    found = read_splits(run, _asked(wanted, layer))
    if found is None:
        raise UnitscopeError(f"the effects of split {wanted.split} are not whole: measure them")
    return found


def _kept(run: Run, wanted: Wanted, layer: str) -> Measured:
    return run.once(("measured", wanted, layer), lambda: measured(run, wanted, layer))


def reliance_of(
    run: Run, known: Known, kind: str, wanted: Wanted, layer: str, margin: str
) -> Reliance:
    """:func:`core.attribution.reliance.reliance` of a split."""
    from core.attribution.reliance import reliance

    return reliance(_kept(run, wanted, layer), known.core[kind], margin)


def mistakes_of(run: Run, known: Known, kind: str, wanted: Wanted, layer: str) -> Mistakes:
    """:func:`core.attribution.mistakes.sort_mistakes` of a split, labels checked where they can
    be."""
    from core.attribution.mistakes import sort_split

    return sort_split(run, _kept(run, wanted, layer), known.core[kind])


def flips_of(run: Run, wanted: Wanted, layer: str) -> list[FlipCheck] | str:
    """How well flipped labels are found; why that cannot be said, where it cannot."""
    from core.attribution.mistakes import flips_of_split

    try:
        return flips_of_split(run, _kept(run, wanted, layer))
    except UnitscopeError as err:
        return str(err)


def failure_of(
    run: Run, known: Known, kind: str, wanted: Wanted, fitted: str, layer: str
) -> Failure | None:
    """:func:`core.attribution.failure.predict_failure`; None where the evidence for the answers
    was not worked out yet. Raises UnitscopeError as that does."""
    from core.attribution.failure import of_splits

    pair = (Wanted(fitted, wanted.fillings, wanted.controls), wanted)
    return of_splits(run, [_kept(run, one, layer) for one in pair], known.core[kind])


def photos_of(
    run: Run, wanted: Wanted, layer: str, scene: str, concept: int, pull: bool = False
) -> pd.DataFrame:
    """Photos that show a concept: image, id, scene, answer, right, net (effect minus control on
    the margin of the scene over the mean of all others; NaN without a region elsewhere), the
    largest first.

    pull : of all scenes; of the scene's own where False.
    """
    from core.ablation.images import class_names

    held = _kept(run, wanted, layer)
    images, names = held.images, class_names(run)
    known = images[images["scene"] == scene]["target"]
    if not len(known):
        raise UnitscopeError(f"no photo of split {wanted.split} is of scene {scene}")
    k = np.full(len(images), int(known.iloc[0]))
    net = held.effect(k) - held.control_effect(k)
    rows = np.flatnonzero(held.rows["concept"] == concept)
    at = held.rows["photo"].to_numpy()[rows]
    frame = images.iloc[at][["image", "id", "scene", "target", "predicted"]].assign(net=net[rows])
    if not pull:
        frame = frame[frame["target"] == k[0]]
    frame["answer"] = [names[p] for p in frame["predicted"]]
    frame["right"] = frame["predicted"] == frame["target"]
    frame = frame.sort_values(["net", "image"], ascending=[False, True], ignore_index=True)
    return frame[["image", "id", "scene", "answer", "right", "net"]]


# -- tables in words ------------------------------------------------------------------------


def spoken_rows(frame: pd.DataFrame, scene: bool) -> pd.DataFrame:
    """Rows of a reliance as people read them. scene : with the scene in front."""
    table = pd.DataFrame(
        {
            "concept": frame["name"],
            "standing": [str(one) for one in frame["standing"]],
            "photos": frame["photos"],
            "net effect (logits)": frame["net"],
            "from": frame["low"],
            "to": frame["high"],
            "share of the lead": frame["share"],
            "evidence (logits)": frame["evidence"],
            "q": frame["q"],
        }
    )
    if scene:
        table.insert(0, "scene", [plain_name(one) for one in frame["scene"]])
    return table


def spoken_pulls(frame: pd.DataFrame) -> pd.DataFrame:
    """Pulls as people read them."""
    return pd.DataFrame(
        {
            "scene": [plain_name(one) for one in frame["scene"]],
            "concept": frame["name"],
            "photos": frame["photos"],
            "pull (logits)": frame["net"],
            "from": frame["low"],
            "to": frame["high"],
            "share of the lead": frame["share"],
            "on other scenes": frame["elsewhere"],
            "their photos": frame["others"],
            "q": frame["q"],
        }
    )


# -- jobs -----------------------------------------------------------------------------------


def arguments(
    verb: str, run: Run, root: Path, wanted: Wanted, layer: str, options: Sequence[str] = ()
) -> list[str]:
    """After ``python -m core``: what measures a split. verb : ``reliance`` or ``failure``."""
    chosen = [part for name in wanted.fillings for part in ("--filling", name)]
    asked = [verb, run.digest, "--split", wanted.split, *chosen]
    asked += ["--controls", str(wanted.controls), "--layer", layer, *options]
    return [*asked, "--out", str(root), "--json"]


def command(asked: Sequence[str]) -> str:
    """The same as a line for a shell, without what only a job needs."""
    return shlex.join(["python", "-m", "core", *asked[: asked.index("--out")]])


def job_name(asked: Sequence[str]) -> str:
    """The name of the job of a command line."""
    return f"effects-{digest_of(list(asked))[:DIGITS]}"


def start(asked: Sequence[str], root: Path) -> jobs.Job:
    """Start measuring, or go on. Raises UnitscopeError where it is at work already."""
    run = root / f"{asked[1]}.duckdb"
    beat = f"{run.stem}.derived/{job_name(asked)}.beat"
    return jobs.start(job_name(asked), [*asked, "--beat", str(root / beat)], root, beat)


def at_work(asked: Sequence[str], root: Path) -> Task | None:
    """The job of a command line; None where there is none."""
    job = jobs.watch(job_name(asked), root)
    return None if job is None else Task(job.name, job.state, job, job.progress)
