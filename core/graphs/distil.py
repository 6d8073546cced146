"""Teaching the graph reasoning network to answer as the network does.

VRX's knowledge distillation: what the graphs of a photo give, ŷ, is drawn to the network's logits z
of the classes of interest, both normalised,

    L_d = mean over photos and classes of ( ŷ_c / ‖ŷ‖₁ − z_c / ‖z‖₁ )²

by Adam. So the graphs answer as the network does, and their logits are known up to a positive
factor of each photo. Loss, rate and batch are those of the authors' published program.

Two controls are taught the same way, and to be believed the graphs must beat them: one sees nodes
alone, and one sees edges whose places come from other photos (:data:`VARIANTS`).

What is learned is kept beside the run; stopped, it resumes with the last saved epoch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from core.ablation.images import class_names
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import write_whole
from core.foundation.progress import STOPPED, Meter, Stop, Stopped, never
from core.foundation.versions import versions_of
from core.graphs.network import Reasoner, batch_of
from core.graphs.scg import NODES, Graphs, Hypotheses, graphs_of, hypotheses
from core.labelling.probe import Probe, held_out, open_probe
from core.models.threads import torch_threads
from core.runs.run_file import Run, derived

RATE = 0.01
"""Adam's rate at the beginning."""

HALVINGS = 5
"""The rate is halved after each of so many equal parts of the training: in the published program
every 200 of 1,000 epochs."""

EPOCHS = 200
"""Rounds over the photos. The published program makes 1,000; here agreement on photos held out no
longer changed after some 50 of 200 (docs/vrx.md)."""

BATCH = 128
"""Photos of a step."""

SAVE = 20
"""Epochs between two savings."""

GRAPHS, DISPLACED, ALONE = "graphs", "displaced", "nodes alone"

VARIANTS = {
    GRAPHS: "nodes, and edges with their places",
    DISPLACED: "the same, each concept in the place that it has in another photo",
    ALONE: "nodes alone, without messages and edges",
}
"""What is taught: the graphs of VRX, and the two that they are held against."""

MASKING = "mean"
"""The filling by which a concept is masked out of a photo, for lessons with masked photos."""

MASKED = 0.5
"""How often a photo is taught with one of its concepts masked out, drawn at random, where that is
asked for: in each epoch anew. The choice is ours."""


@dataclass(frozen=True)
class Asked:
    """What is learned.

    layer : whose activations are features; the run's last where None. nodes : concepts of a class.
    categories : whose concepts may be nodes; all but colours where empty. learn : splits that it is
    learned from; the run's training split where empty. masked : are photos with a concept masked
    out lessons too? epochs, seed : of the training.
    """

    layer: str | None = None
    nodes: int = NODES
    categories: tuple[str, ...] = ()
    learn: tuple[str, ...] = ()
    masked: bool = False
    epochs: int = EPOCHS
    seed: int = 0

    def of(self, run: Run) -> Asked:
        """The same with the run's own layer and splits in place of those left out.

        Raises UnitscopeError for what the run does not have, and for numbers that make no sense.
        """
        if self.nodes < 2:
            raise UnitscopeError("a graph has two nodes or more; with one there is no edge")
        if self.epochs < 1:
            raise UnitscopeError(f"at least one epoch is needed, not {self.epochs}")
        run.need_answers("a graph that answers as the network does")
        learn = self.learn or held_out(run)[0]
        return replace(self, layer=run.layer_names[run.layer(self.layer)], learn=learn)


@dataclass(frozen=True, eq=False)
class Lessons:
    """What is taught: photos, or photos with a concept masked out, and the network's logits.

    rows : int64 (lessons,), photo of each; of masked ones ascending. without : int64 (lessons,),
    the concept that is masked out (column of the graphs), −1 for none. logits : float32 (lessons,
    classes of interest).
    """

    rows: np.ndarray
    without: np.ndarray
    logits: np.ndarray

    def __len__(self) -> int:
        return len(self.rows)


@dataclass(frozen=True, eq=False)
class Student:
    """A graph reasoning network that has learned to answer as a run's network.

    Attributes
    ----------
    run, asked : what was learned from what. variant : of :data:`VARIANTS`.
    found : the classes of interest and their concepts. scale : what features are divided by.
    module : in evaluation mode.
    """

    run: Run
    asked: Asked
    variant: str
    found: Hypotheses
    scale: float
    module: Reasoner

    @property
    def probe(self) -> Probe:
        """All photos of the run, beside the layer."""
        asked = self.asked
        return self.run.once(
            ("core.graphs.probe", asked.layer, asked.categories),
            lambda: open_probe(self.run, asked.layer, None, asked.categories or None),
        )

    def logits(self, graphs: Graphs) -> np.ndarray:
        """float32 (photos, classes of interest), up to a positive factor of each photo."""
        columns, parts = self.found.columns, []
        with torch.inference_mode():
            for start in range(0, len(graphs), BATCH):
                rows = np.arange(start, min(start + BATCH, len(graphs)))
                parts.append(self.module(batch_of(graphs, columns, rows, self.scale)).numpy())
        return np.concatenate(parts)

    def answers(self, graphs: Graphs) -> np.ndarray:
        """int64 (photos,), class of the network that the graphs answer."""
        answers: np.ndarray = self.found.classes[self.logits(graphs).argmax(1)]
        return answers


def of_interest(run: Run, asked: Asked) -> tuple[Probe, Hypotheses]:
    """The photos that are learned from, and the classes and concepts that they suggest.

    asked : as :meth:`Asked.of` gives it. Raises UnitscopeError as :func:`hypotheses`.
    """

    def made() -> tuple[Probe, Hypotheses]:
        probe = open_probe(run, asked.layer, asked.learn, asked.categories or None)
        logits = np.asarray(run.array("logits")[probe.numbers], np.float32)
        if not np.isfinite(logits).all():
            raise UnitscopeError("the network's logits are no finite numbers for some photo")
        return probe, hypotheses(probe, logits, class_names(run), asked.nodes)

    key = ("core.graphs.of_interest", asked.layer, asked.learn, asked.categories, asked.nodes)
    return run.once(key, made)


def learn(
    run: Run,
    asked: Asked,
    variant: str = GRAPHS,
    meter: Meter | None = None,
    stop: Stop = never,
    masked: Callable[[Graphs], Lessons] | None = None,
) -> Student:
    """Teach the graphs of a run's photos to answer as its network, or read what was taught before.

    masked : gives the lessons with masked photos, where they are asked for
        (:func:`core.graphs.masked.lessons`); called where something is left to be learned.

    Raises Stopped where `stop` says so; UnitscopeError for an unknown variant, and as
    :meth:`Asked.of`, :func:`of_interest` and :func:`core.graphs.scg.graphs_of`.
    """
    if variant not in VARIANTS:
        raise unknown("variant", variant, VARIANTS)
    asked = asked.of(run)
    meter = meter or Meter()
    probe, found = of_interest(run, asked)
    path = derived(run, "vrx", _facts(asked, variant), "pt")
    units = run.unit_count(asked.layer)
    state = _State.start(units, found, asked.seed, variant)
    meter.start(variant, asked.epochs, of="epochs")
    if state.read(path):
        meter.skip(min(state.epoch, asked.epochs))
    if state.epoch < asked.epochs:
        graphs = graphs_of(probe, found.distinct)
        if variant == DISPLACED:
            graphs = graphs.displaced(asked.seed)
        whole, more = _whole_photos(run, found, graphs), None
        if asked.masked:
            if masked is None:
                raise UnitscopeError(
                    "lessons with masked photos need the network open (core.graphs.masked.lessons)"
                )
            more = masked(graphs)
        state.scale = state.scale or _scale(graphs)
        while state.epoch < asked.epochs:
            if stop():
                state.write(path)
                raise Stopped(f"{variant}: {state.epoch} of {asked.epochs} epochs; {STOPPED}")
            lessons = _lessons_of(whole, more, asked.seed, state.epoch)
            with torch_threads(1):
                _epoch(state, asked, found, graphs, lessons)
            if state.epoch % SAVE == 0 or state.epoch == asked.epochs:
                state.write(path)
            meter.step()
    return Student(run, asked, variant, found, state.scale, state.module.eval())


def learned(run: Run, asked: Asked, variant: str = GRAPHS) -> bool:
    """Whether all of it was learned before, and is kept beside the run."""
    asked = asked.of(run)
    _, found = of_interest(run, asked)
    path = derived(run, "vrx", _facts(asked, variant), "pt")
    state = _State.start(run.unit_count(asked.layer), found, asked.seed, variant)
    return state.read(path) and state.epoch >= asked.epochs


def _facts(asked: Asked, variant: str) -> list[Any]:
    # An effect is what a masked photo is made by.
    versions = versions_of("graphs", *(("effects",) if asked.masked else ()))
    return [asdict(asked), variant, versions]


def _whole_photos(run: Run, found: Hypotheses, graphs: Graphs) -> Lessons:
    logits = np.asarray(run.array("logits")[graphs.images], np.float32)[:, found.classes]
    return Lessons(np.arange(len(graphs)), np.full(len(graphs), -1), logits)


def _lessons_of(whole: Lessons, masked: Lessons | None, seed: int, epoch: int) -> Lessons:
    """The lessons of an epoch, in its own order: each photo once, of those with masked ones every
    other, by chance, with one of its concepts masked out."""
    rng = np.random.default_rng([seed, epoch])
    order = rng.permutation(len(whole))
    logits, without = whole.logits[order], whole.without[order]
    if masked is not None and len(masked):
        first = np.searchsorted(masked.rows, order)
        count = np.searchsorted(masked.rows, order, side="right") - first
        some = (rng.random(len(order)) < MASKED) & (count > 0)
        drawn = (first + rng.random(len(order)) * count).astype(np.int64)[some]
        logits[some], without[some] = masked.logits[drawn], masked.without[drawn]
    return Lessons(order, without, logits)


def _scale(graphs: Graphs) -> float:
    """The root of the mean square of all features; 1 where there are none but 0."""
    square = float((graphs.features.astype(np.float64) ** 2).mean()) if graphs.features.size else 0
    return float(np.sqrt(square)) if square > 0 else 1.0


def normalised(logits: Tensor) -> Tensor:
    """Rows of a matrix divided by the sum of their absolute values, ‖·‖₁.

    >>> normalised(torch.tensor([[3.0, -1.0]])).tolist()
    [[0.75, -0.25]]
    """
    return F.normalize(logits, p=1.0, dim=1)


def distillation(said: Tensor, taught: Tensor) -> Tensor:
    """L_d of the module's formula: said, taught (photos, classes)."""
    return F.mse_loss(normalised(said), normalised(taught))


def _epoch(
    state: _State, asked: Asked, found: Hypotheses, graphs: Graphs, lessons: Lessons
) -> None:
    """One round over the lessons of an epoch, in their order."""
    for group in state.optimiser.param_groups:
        group["lr"] = RATE * 0.5 ** (state.epoch * HALVINGS // asked.epochs)
    columns = found.columns
    state.module.train()
    # Parts of nearly equal size: batch normalisation of a handful would be noise.
    for part in np.array_split(np.arange(len(lessons)), max(1, round(len(lessons) / BATCH))):
        batch = batch_of(graphs, columns, lessons.rows[part], state.scale, lessons.without[part])
        loss = distillation(state.module(batch), torch.from_numpy(lessons.logits[part]))
        if not torch.isfinite(loss):
            raise UnitscopeError(
                f"the loss is no longer a number in epoch {state.epoch + 1}; try another --seed"
            )
        state.optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        state.optimiser.step()
    state.epoch += 1


@dataclass
class _State:
    """What an epoch changes: kept whole between epochs, without the optimiser at the end."""

    module: Reasoner
    optimiser: torch.optim.Optimizer
    epoch: int = 0
    scale: float = 0.0

    @classmethod
    def start(cls, units: int, found: Hypotheses, seed: int, variant: str) -> _State:
        """Before the first epoch; weights are drawn from the seed."""
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            module = Reasoner(units, len(found.classes), found.nodes, variant != ALONE)
        return cls(module, torch.optim.Adam(module.parameters(), lr=RATE))

    def write(self, path: Path) -> None:
        """Leave it at `path`."""
        held = {
            "epoch": self.epoch,
            "scale": self.scale,
            "module": self.module.state_dict(),
            "optimiser": self.optimiser.state_dict(),
        }
        write_whole(path, partial(torch.save, held))

    def read(self, path: Path) -> bool:
        """Take up what lies at `path`; False, and nothing changed, where that is nothing whole of
        this shape: it may be damaged, or a stranger's."""
        if not path.is_file():
            return False
        before = {key: value.clone() for key, value in self.module.state_dict().items()}
        fresh = self.optimiser.state_dict()
        try:
            held = torch.load(path, weights_only=True, map_location="cpu")
            epoch, scale = int(held["epoch"]), float(held["scale"])
            if epoch < 1 or not 0 < scale < float("inf"):
                raise ValueError(f"epoch {epoch}, scale {scale}")
            if not all(torch.isfinite(t).all() for t in held["module"].values()):
                raise ValueError("its weights are no finite numbers")
            self.module.load_state_dict(held["module"])
            self.optimiser.load_state_dict(held["optimiser"])
            for weight, moments in self.optimiser.state.items():
                for name in ("exp_avg", "exp_avg_sq"):
                    if moments[name].shape != weight.shape:
                        raise ValueError(f"{name} is of another shape")
        except Exception:  # whatever a file that is none makes torch raise: it is learned anew
            self.module.load_state_dict(before)
            self.optimiser.load_state_dict(fresh)
            return False
        self.epoch, self.scale = epoch, scale
        return True
