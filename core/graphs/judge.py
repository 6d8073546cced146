"""Do the graphs answer as the network does, on photos that they have not seen, and do edges help?

The graphs are held against three controls: the answer that is most frequent among the learned
photos, nodes alone, and edges with the places of other photos
(:data:`core.graphs.distil.VARIANTS`). Only where they agree with the network more often than the
last two, by an interval that leaves out 0, is there anything to say of edges.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from core.foundation.errors import UnitscopeError
from core.foundation.intervals import interval, paired_interval
from core.foundation.progress import Meter, Report, Stop, never
from core.graphs.distil import DISPLACED, GRAPHS, VARIANTS, Asked, Lessons, Student, learn
from core.graphs.scg import Graphs, graphs_of
from core.labelling.probe import Probe, held_out, open_probe
from core.runs.run_file import Run

MAJORITY = "majority"
"""The control that always answers the same."""


@dataclass(frozen=True)
class Share:
    """A share of `n` photos with its 95 % interval."""

    value: float
    low: float
    high: float
    n: int

    @classmethod
    def of(cls, right: np.ndarray) -> Share:
        """Of bool (photos,)."""
        low, high = interval(float(right.sum()), len(right))
        return cls(float(right.mean()) if len(right) else float("nan"), low, high, len(right))


@dataclass(frozen=True)
class Change:
    """By how much a share is larger than another of the same photos, with its 95 % interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, one: np.ndarray, other: np.ndarray) -> Change:
        """Of bool (photos,) each."""
        gained, lost = float((one & ~other).sum()), float((~one & other).sum())
        low, high = paired_interval(gained, lost, len(one))
        return cls((gained - lost) / max(1, len(one)), low, high)


@dataclass(frozen=True)
class Verdict:
    """How one variant fares.

    agreement : with the network's answer, over all judged photos. accuracy : over those whose true
    scene is a class of the network. agrees_more, right_more : of the graphs, above this variant;
    None of the graphs themselves.
    """

    variant: str
    about: str
    agreement: Share
    accuracy: Share
    agrees_more: Change | None
    right_more: Change | None


@dataclass(frozen=True, eq=False)
class Judged:
    """The outcome.

    Attributes
    ----------
    students : variant → what was learned. graphs : of the judged photos, as the run has them.
    probe : these photos. answers : int64 (photos,), the network's.
    network : its accuracy. inside : share of photos whose answer is a class of interest: as far as
        agreement can reach.
    rows : the graphs, then the controls.
    """

    students: dict[str, Student]
    graphs: Graphs
    probe: Probe
    answers: np.ndarray
    network: Share
    inside: Share
    rows: tuple[Verdict, ...]

    @property
    def student(self) -> Student:
        """The graphs."""
        return self.students[GRAPHS]


def judge(
    run: Run,
    asked: Asked,
    split: str | None = None,
    progress: Report | None = None,
    stop: Stop = never,
    masked: Callable[[Graphs], Lessons] | None = None,
    beat: Path | None = None,
) -> Judged:
    """Learn the graphs and their controls, or read what was learned, and judge all on a split.

    split : the first of test and validation where None. masked : as
        :func:`core.graphs.distil.learn`.

    Raises Stopped where `stop` says so; UnitscopeError as :func:`core.graphs.distil.learn`, and
    where photos would be judged that were learned from.
    """
    asked = asked.of(run)
    _, (split,) = held_out(run, asked.learn, [split] if split else None)
    meter = Meter(progress, beat)
    students = {name: learn(run, asked, name, meter, stop, masked) for name in VARIANTS}
    probe = open_probe(run, asked.layer, (split,), asked.categories or None)
    graphs = graphs_of(probe, students[GRAPHS].found.distinct)
    said = {
        name: student.answers(graphs.displaced(asked.seed) if name == DISPLACED else graphs)
        for name, student in students.items()
    }
    answers = _answers(run, probe.numbers)
    usual = _answers(run, open_probe(run, asked.layer, asked.learn).numbers)
    said[MAJORITY] = np.full(len(answers), np.bincount(usual).argmax())
    about = {**VARIANTS, MAJORITY: "the most frequent answer to the learned photos"}
    target = probe.images["target"].to_numpy()
    scored = target >= 0
    same = {name: one == answers for name, one in said.items()}
    right = {name: (one == target)[scored] for name, one in said.items()}
    rows = tuple(
        Verdict(
            name,
            about[name],
            Share.of(same[name]),
            Share.of(right[name]),
            None if name == GRAPHS else Change.of(same[GRAPHS], same[name]),
            None if name == GRAPHS else Change.of(right[GRAPHS], right[name]),
        )
        for name in said
    )
    classes = students[GRAPHS].found.classes
    return Judged(
        students,
        graphs,
        probe,
        answers,
        Share.of((answers == target)[scored]),
        Share.of(np.isin(answers, classes)),
        rows,
    )


def _answers(run: Run, images: np.ndarray) -> np.ndarray:
    """int64 (images,), the class of the largest logit. Raises UnitscopeError where logits are no
    finite numbers."""
    logits = np.asarray(run.array("logits")[images], np.float32)
    if not np.isfinite(logits).all():
        raise UnitscopeError("the network's logits are no finite numbers for some photo")
    answers: np.ndarray = logits.argmax(1)
    return answers
