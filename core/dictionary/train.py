"""Training of a TopK dictionary on cells (Gao et al. 2024; Makhzani and Frey 2013).

Written from "Scaling and Evaluating Sparse Autoencoders" (Gao et al., 2024; the sections named are
its own). The loss of a batch of cells x is

    L = |x − x̂|² / |x − mean|²  +  AUX_WEIGHT · |e − ê|² / |e|²

with x̂ the reconstruction by the k largest features of a cell, e = x − x̂ taken as given, and ê what
the :func:`aux_features` largest *dead* features make of it (AuxK, A.2): so a feature that is never
among the k learns what the others leave over, until it is. Dead is a feature that was not active in
the last so many cells as the training has.

As published: decoder directions of length 1 after each step, with the part of their gradient along
them taken out; the encoder begun as the decoder transposed, and scaled so that reconstructions are
as large as cells; the bias begun at the cells' geometric median; Adam with its constants; ReLU
behind TopK as in the authors' code. Otherwise, because there are thousands of cells here and not
billions: all cells are divided by one number, their mean distance from the median, and not each by
its own length, so that codes keep the scale of activations; batches are small; in place of averaged
weights the rate falls to 0 over the last fifth of the steps.

Everything runs on one thread, so that a seed gives the same bytes whatever the number of threads.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypedDict, Unpack

import torch
import torch.nn.functional as F
from torch import Tensor

from core.dictionary.cells import Cells
from core.foundation.errors import UnitscopeError
from core.foundation.files import write_whole
from core.foundation.progress import STOPPED, Hooks, Meter, Stopped, never
from core.models.dictionary import Dictionary, Origin, top_k
from core.models.threads import torch_threads

AUX_WEIGHT = 1 / 32
"""α of the auxiliary loss (A.2)."""

BETAS, EPSILON = (0.9, 0.999), 6.25e-10
"""Adam's constants (A.3)."""

RATE, RATE_AT = 2e-4, 2**14
"""The learning rate at so many features; it goes with 1/√features (Fig. 3)."""

CLIP = 1.0
"""Length to which the gradient is cut (A.3)."""

DECAY = 0.2
"""Last share of the steps, over which the rate falls linearly to 0."""

SAMPLE = 2**13
"""Cells that the training is begun by: their geometric median, and their distances from it."""

WEISZFELD = 100
"""Steps towards the geometric median, fewer where it no longer moves."""

SPARSE = 2**26
"""Numbers, cells × k × units, up to which the rows of active features are gathered cell by cell;
beyond, a product with all features takes less memory."""

KEEP = 200
"""Steps between two states that are kept, to be resumed from."""


def aux_features(units: int) -> int:
    """How many dead features the auxiliary loss uses: a power of two close to half the number of
    units (B.1).

    >>> aux_features(512), aux_features(192), aux_features(768)
    (256, 128, 512)
    """
    return int(2 ** round(math.log2(max(2, units) / 2)))


@dataclass(frozen=True)
class Recipe:
    """What is trained, and how.

    features : of the dictionary. k : active in a cell, at most. steps : of Adam, each on `batch`
    cells; passes over all cells follow each other. seed : of the directions at the start, and of
    the order of cells. rate : Adam's learning rate; by :data:`RATE` where None.
    """

    features: int = 1024
    k: int = 16
    steps: int = 2000
    batch: int = 512
    seed: int = 0
    rate: float | None = None

    def __post_init__(self) -> None:
        if not 1 <= self.k <= self.features:
            raise UnitscopeError(
                f"k is {self.k}; of {self.features} features, 1 to {self.features} can be active"
            )
        if min(self.steps, self.batch) < 1 or self.seed < 0:
            raise UnitscopeError("steps and batch are 1 or more, and the seed is 0 or more")
        if self.rate is not None and not 0 < self.rate < 1:
            raise UnitscopeError(f"the learning rate is {self.rate}; above 0 and below 1 is meant")

    def rate_at(self, step: int) -> float:
        """The learning rate of a step, counted from 0."""
        first = self.rate or RATE * math.sqrt(RATE_AT / self.features)
        return first * min(1.0, (self.steps - step) / (DECAY * self.steps))


class _State(TypedDict):
    """A training that is kept to be resumed: its weights, Adam's own state, for how many steps each
    feature was quiet, and the step."""

    weights: list[Tensor]
    adam: dict[str, Any]
    quiet: Tensor
    step: int


class Weights(NamedTuple):
    """A dictionary at work, of cells divided by the scale of the training.

    encoder : float32 (features, units). encoder_bias : (features,). directions : (features, units),
    each of length 1. bias : (units,), of the decoder.
    """

    encoder: Tensor
    encoder_bias: Tensor
    directions: Tensor
    bias: Tensor


def geometric_median(cells: Tensor) -> Tensor:
    """The point with the least sum of distances from cells (n, units), by Weiszfeld's algorithm.

    >>> geometric_median(torch.tensor([[0.0], [1.0], [50.0]])).round(decimals=3)
    tensor([1.])
    """
    point = cells.mean(0)
    for _ in range(WEISZFELD):
        far = (cells - point).norm(dim=1).clamp_min(1e-6)
        fresh = (cells / far[:, None]).sum(0) / (1 / far).sum()
        moved, point = (fresh - point).norm(), fresh
        if moved <= 1e-6 * far.mean():
            break
    return point


def begin(cells: Tensor, recipe: Recipe) -> Weights:
    """Weights before the first step, by a sample of cells (n, units)."""
    random = torch.Generator().manual_seed(recipe.seed)
    directions = torch.randn(recipe.features, cells.shape[1], generator=random)
    directions = F.normalize(directions, dim=1)
    bias = geometric_median(cells)
    made = top_k(F.linear(cells - bias, directions), recipe.k) @ directions
    # The multiple of the encoder that brings reconstructions closest to the cells.
    size = ((cells - bias) * made).sum() / made.square().sum().clamp_min(1e-12)
    return Weights(directions * size, torch.zeros(recipe.features), directions.clone(), bias)


def losses(
    weights: Weights, cells: Tensor, k: int, dead: Tensor, total: float
) -> tuple[Tensor, Tensor, Tensor]:
    """(main loss, auxiliary loss, int64 (n, k), the features of each cell with the largest values)
    of a batch (n, units).

    dead : bool (features,). total : the mean of |x − mean|², which the main loss is a share of.
    """
    encoder, offsets, directions, bias = weights
    shift = offsets - encoder @ bias
    if len(cells) * k * cells.shape[1] <= SPARSE:
        with torch.no_grad():
            at = F.linear(cells, encoder, shift).topk(k, dim=1).indices
        # Only what is active has a gradient: its values again, rather than a product with all.
        values = (F.embedding(at, encoder) * cells[:, None]).sum(2) + shift[at]
    else:
        values, at = F.linear(cells, encoder, shift).topk(k, dim=1)
    codes = values.relu()
    made = F.embedding_bag(at, directions, per_sample_weights=codes, mode="sum") + bias
    main = (cells - made).square().sum(1).mean() / total
    aux = torch.zeros(())
    count = int(dead.sum())
    if count:
        left = (cells - made).detach()
        revived = top_k(
            F.linear(cells, encoder[dead], shift[dead]), min(aux_features(cells.shape[1]), count)
        )
        guess = revived @ directions[dead]
        aux = (left - guess).square().sum(1).mean() / left.square().sum(1).mean().clamp_min(1e-12)
    return main, aux, torch.where(codes.detach() > 0, at, -1)


class Training:
    """A training at work.

    cells : to be learned from. step : how many are done. quiet : int64 (features,), cells since
    each feature was last active.

    Raises UnitscopeError where all cells are alike.
    """

    def __init__(self, cells: Cells, recipe: Recipe):
        self.cells, self.recipe = cells, recipe
        sample = cells.sample(SAMPLE, recipe.seed)
        self.scale = float((sample - geometric_median(sample)).norm(dim=1).mean())
        if not self.scale > 0:
            raise UnitscopeError(
                "all cells are alike: there is nothing that a dictionary can learn"
            )
        sample = sample / self.scale
        self.total = float((sample - sample.mean(0)).square().sum(1).mean())
        self.weights = Weights(*(part.requires_grad_() for part in begin(sample, recipe)))
        self.adam = torch.optim.Adam(list(self.weights), betas=BETAS, eps=EPSILON)
        self.quiet = torch.zeros(recipe.features, dtype=torch.int64)
        self.step = 0

    @property
    def dead(self) -> Tensor:
        """bool (features,): not active in the last so many cells as there are."""
        return self.quiet >= len(self.cells)

    def advance(self, batch: Tensor) -> None:
        """One step, on cells (n, units).

        Raises UnitscopeError where the loss is no finite number.
        """
        main, aux, active = losses(
            self.weights, batch / self.scale, self.recipe.k, self.dead, self.total
        )
        loss = main + AUX_WEIGHT * aux
        if not torch.isfinite(loss):
            raise UnitscopeError(
                f"the training diverged at step {self.step}: its loss is {loss.item()}; a lower "
                f"learning rate than {self.recipe.rate_at(0):.1e} (--rate) may help"
            )
        self.adam.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        directions = self.weights.directions
        with torch.no_grad():
            slope = directions.grad
            assert slope is not None
            slope -= directions * (slope * directions).sum(1, keepdim=True)
            torch.nn.utils.clip_grad_norm_(list(self.weights), CLIP)
            for group in self.adam.param_groups:
                group["lr"] = self.recipe.rate_at(self.step)
            self.adam.step()
            directions /= directions.norm(dim=1, keepdim=True).clamp_min(1e-12)
        self.quiet += len(batch)
        self.quiet[active[active >= 0]] = 0
        self.step += 1

    def batches(self) -> Iterator[Tensor]:
        """The batches that are left to do."""
        size, seed = self.recipe.batch, self.recipe.seed
        each = self.cells.batch_count(size)
        while self.step < self.recipe.steps:
            epoch, done = divmod(self.step, each)
            for place, batch in enumerate(self.cells.batches(size, seed, epoch)):
                if place >= done:
                    yield batch
                    if self.step >= self.recipe.steps:
                        return

    def dictionary(self, activity: Tensor | None = None, origin: Origin = Origin()) -> Dictionary:  # noqa: B008
        """What was learned, of cells as they are: codes z of cells divided by s become s·z."""
        encoder, offsets, directions, bias = (part.detach().clone() for part in self.weights)
        return Dictionary(
            encoder,
            offsets * self.scale,
            directions.T.contiguous(),
            bias * self.scale,
            self.recipe.k,
            activity,
            origin,
        )

    # -- kept -------------------------------------------------------------------------------

    def save(self, path: Path) -> None:
        """Keep the state, to be resumed from."""
        state: _State = {
            "weights": [part.detach() for part in self.weights],
            "adam": self.adam.state_dict(),
            "quiet": self.quiet,
            "step": self.step,
        }
        write_whole(path, lambda fresh: torch.save(state, fresh))

    def resume(self, path: Path) -> None:
        """Go on from a kept state; from the start where there is none, or it is damaged."""
        try:
            state: _State = torch.load(path, weights_only=True)
            adam, weights = state["adam"], [part.requires_grad_() for part in state["weights"]]
            shapes = [part.shape for part in weights] == [part.shape for part in self.weights]
            if not shapes or state["quiet"].shape != self.quiet.shape:
                return
            fresh = torch.optim.Adam(weights, betas=BETAS, eps=EPSILON)
            fresh.load_state_dict(adam)
        except Exception:  # whatever a file that was cut short makes PyTorch say
            return
        self.weights, self.adam = Weights(*weights), fresh
        self.quiet, self.step = state["quiet"], int(state["step"])


def fit(cells: Cells, recipe: Recipe, kept: Path | None = None, **hooks: Unpack[Hooks]) -> Training:
    """Train a dictionary on cells; the same recipe and cells give the same bytes.

    kept : a file in which the state is left, so that the same call resumes a training that was
    stopped; it belongs to these cells and this recipe, and is removed by whoever has kept the
    result. Raises UnitscopeError where the training diverges, Stopped where it is stopped.
    """
    stop = hooks.get("stop", never)
    with torch_threads(1):
        training = Training(cells, recipe)
        if kept is not None:
            training.resume(kept)
        meter = Meter(hooks.get("progress"))
        meter.start("train", recipe.steps, training.step, of="steps")
        for batch in training.batches():
            if stop():
                if kept is not None:
                    training.save(kept)
                raise Stopped(STOPPED)
            training.advance(batch)
            meter.step()
            if kept is not None and (training.step % KEEP == 0 or training.step == recipe.steps):
                training.save(kept)
    return training
