"""One training: a seed, a kind of golden concepts, λ; with a checkpoint an epoch."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.foundation.errors import UnitscopeError
from core.foundation.files import read_result, write_text, write_whole
from core.foundation.progress import STOPPED, Meter, Stop, Stopped
from core.models.outputs import vector
from core.retrain.concepts import concept_head, concept_loss
from core.retrain.data import Parts, augment, batches
from core.retrain.network import Inputs, kept_layers, new_head, predict, watched_features
from core.retrain.plan import Plan
from core.retrain.result import Epoch, Training


@dataclass
class _State:
    """What an epoch changes, and a checkpoint holds.

    head : of the concepts, None for the control. curve : by epoch. best, best_epoch : weights with
    the best validation accuracy, and their epoch, from 1; 0 before the first.
    """

    module: nn.Module
    head: nn.Module | None
    optimiser: torch.optim.Optimizer
    curve: list[Epoch] = field(default_factory=list)
    best: dict[str, Tensor] = field(default_factory=dict)
    best_epoch: int = 0

    def read(self, path: Path) -> None:
        """Take up a checkpoint."""
        stored = torch.load(path, weights_only=True)
        self.module.load_state_dict(stored["module"])
        if self.head:
            self.head.load_state_dict(stored["head"])
        self.optimiser.load_state_dict(stored["optimiser"])
        self.curve, self.best = stored["curve"], stored["best"]
        self.best_epoch = stored["best_epoch"]

    def write(self, path: Path) -> None:
        """Leave a checkpoint."""
        state = {
            "module": self.module.state_dict(),
            "head": self.head.state_dict() if self.head else {},
            "optimiser": self.optimiser.state_dict(),
            "curve": self.curve,
            "best": self.best,
            "best_epoch": self.best_epoch,
        }
        write_whole(path, partial(torch.save, state))

    def add(self, epoch: Epoch) -> None:
        """An epoch that ended, and its weights if they are the best so far."""
        before = self.curve[self.best_epoch - 1] if self.best_epoch else None
        self.curve.append(epoch)
        if before is None or _better(epoch, before):
            self.best_epoch = len(self.curve)
            self.best = {k: v.detach().clone() for k, v in self.module.state_dict().items()}


class Trainer:
    """One training: a seed, a kind of golden concepts, λ. Resumes after its last whole epoch."""

    def __init__(self, work: Plan, sets: Parts, seed: int, kind: str, weight: float, folder: Path):
        self.work, self.sets = work, sets
        self.seed, self.kind, self.weight = seed, kind, weight
        name = f"{kind}-{weight:g}-{seed}"
        self.checkpoint = folder / f"{name}.pt"
        self.done = folder / f"{name}.json"
        self.best_file = folder / f"{name}.best.pt"

    def run(self, meter: Meter, stop: Stop) -> Training:
        """Train, resume, or read what was finished."""
        asked, sets, images = self.work.asked, self.sets, len(self.sets.train)
        if self.done.is_file():
            meter.skip(asked.epochs * images)
            return cast(Training, read_result(self.done))
        state = self._start()
        if self.checkpoint.is_file():
            state.read(self.checkpoint)
            meter.skip(len(state.curve) * images)
        while (
            len(state.curve) < asked.epochs and len(state.curve) - state.best_epoch < asked.patience
        ):
            state.add(self._epoch(state, meter, stop))
            state.write(self.checkpoint)
        epochs = len(state.curve)
        meter.skip((asked.epochs - epochs) * images)
        state.module.load_state_dict(state.best)
        logits, _ = predict(
            state.module, self.work.preprocessing, sets.seen[sets.test], stop, self.work.classifier
        )
        predicted = logits.argmax(1)
        training: Training = {
            "cc": self.kind,
            "weight": self.weight,
            "seed": self.seed,
            "epochs": epochs,
            "best_epoch": state.best_epoch,
            "validation": state.curve[state.best_epoch - 1]["validation"],
            "test": float((predicted == sets.target[sets.test]).mean()),
            "curve": state.curve,
            "predicted": predicted.tolist(),
        }
        write_whole(self.best_file, lambda path: torch.save(state.best, path))
        write_text(self.done, json.dumps(training))
        self.checkpoint.unlink(missing_ok=True)
        return training

    def _start(self) -> _State:
        """Network, concept head and optimiser before the first epoch."""
        asked = self.work.asked
        module = start_module(self.work, self.seed)
        module.requires_grad_(True)
        for part in kept_layers(module, asked.since):
            part.requires_grad_(False)
        head = concept_head(self.work.features, self.sets.golden, self.kind, self.seed)
        trained = [p for p in module.parameters() if p.requires_grad]
        trained += list(head.parameters()) if head else []
        optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in trained if p.ndim > 1], "weight_decay": asked.decay},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=asked.rate,
        )
        return _State(module, head, optimiser)

    def _epoch(self, state: _State, meter: Meter, stop: Stop) -> Epoch:
        """Train on every batch of the next epoch, then judge on the validation part."""
        asked, sets, epoch = self.work.asked, self.sets, len(state.curve)
        parts = batches(len(sets.train), asked.batch, self.seed, epoch)
        # Both streams begin anew each epoch: a resumed training and every λ see the same.
        torch.manual_seed(int(np.random.default_rng([self.seed, epoch, 1]).integers(2**62)))
        rng = np.random.default_rng([self.seed, epoch, 2])
        inputs = Inputs(self.work.preprocessing)
        state.module.train()
        for kept in kept_layers(state.module, asked.since):
            kept.eval()
        scene_loss = concepts_loss = right = 0.0
        with watched_features(state.module, self.work.classifier) as found:
            for step, part in enumerate(parts):
                if stop():
                    raise Stopped(STOPPED)
                for group in state.optimiser.param_groups:
                    group["lr"] = asked.rate * _schedule(
                        epoch * len(parts) + step, asked.epochs * len(parts), len(parts)
                    )
                rows = sets.train[part]
                logits = vector(state.module(inputs(augment(sets.seen[rows], rng))))
                target = torch.from_numpy(sets.target[rows])
                of_scene = F.cross_entropy(logits, target)
                loss, of_concepts = self._loss(of_scene, state.head, found, rows)
                if not torch.isfinite(loss):
                    raise UnitscopeError(
                        f"the loss of {self.kind}, λ = {self.weight:g} is no longer a number in "
                        f"epoch {epoch + 1}; use a smaller --rate"
                    )
                state.optimiser.zero_grad(set_to_none=True)
                torch.autograd.backward(loss)
                state.optimiser.step()
                scene_loss += float(of_scene.detach()) * len(rows)
                concepts_loss += of_concepts * len(rows)
                right += float((logits.argmax(1) == target).sum())
                meter.step(len(rows))
        n, validation = len(sets.train), sets.validation
        judged, _ = predict(
            state.module, self.work.preprocessing, sets.seen[validation], stop, self.work.classifier
        )
        aside = sets.target[validation]
        return {
            "scene_loss": scene_loss / n,
            "concept_loss": concepts_loss / n,
            "train": right / n,
            "validation": float((judged.argmax(1) == aside).mean()),
            "validation_loss": float(
                F.cross_entropy(torch.from_numpy(judged), torch.from_numpy(aside))
            ),
        }

    def _loss(
        self, of_scene: Tensor, head: nn.Module | None, features: list[Tensor], rows: np.ndarray
    ) -> tuple[Tensor, float]:
        """(L of Eq. 10 of a batch, its L_c; 0 for the control)."""
        golden = self.sets.golden.get(self.kind)
        if head is None or golden is None:
            return of_scene, 0.0
        gold = torch.from_numpy(golden[rows]).float()
        of_concepts = concept_loss(head(features[0]), gold, self.work.asked.form).mean()
        return of_scene + self.weight * of_concepts, float(of_concepts.detach())


def _better(now: Epoch, before: Epoch) -> bool:
    """Higher validation accuracy, or the same at a lower loss."""
    return (now["validation"], -now["validation_loss"]) > (
        before["validation"],
        -before["validation_loss"],
    )


def _schedule(step: int, steps: int, per_epoch: int) -> float:
    """Half an epoch of warm-up, then half a cosine down to 0."""
    warm = max(1, per_epoch // 2)
    if step < warm:
        return (step + 1) / warm
    return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))


def start_module(work: Plan, seed: int) -> nn.Module:
    """The network every training of a seed starts from; a new head is drawn from the seed."""
    module = copy.deepcopy(work.model.module)
    if not work.own_head:
        new_head(module, work.classifier, len(work.classes), seed)
        module.to(memory_format=torch.channels_last)
    return module
