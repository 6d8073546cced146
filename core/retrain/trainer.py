"""One training: a seed, a kind of golden concepts, λ; with a checkpoint an epoch."""

from __future__ import annotations

import copy
import json
import math
from functools import partial
from pathlib import Path
from typing import Any

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


def _loss(logits: np.ndarray, target: np.ndarray) -> float:
    return float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(target)))


class Trainer:
    """One training: a seed, a kind of golden concepts, λ. Resumes after its last whole epoch."""

    def __init__(self, work: Plan, sets: Parts, seed: int, kind: str, weight: float, folder: Path):
        self.work, self.sets = work, sets
        self.seed, self.kind, self.weight = seed, kind, weight
        name = f"{kind}-{weight:g}-{seed}"
        self.checkpoint = folder / f"{name}.pt"
        self.done = folder / f"{name}.json"
        self.best_file = folder / f"{name}.best.pt"

    def run(self, meter: Meter, stop: Stop) -> dict[str, Any]:
        """Train, or go on, or read what was finished: the facts of this training."""
        asked, sets = self.work.asked, self.sets
        whole = asked.epochs * len(sets.train)
        if self.done.is_file():
            meter.skip(whole)
            return read_result(self.done)
        module = start_module(self.work, self.seed)
        module.requires_grad_(True)
        for part in kept_layers(module, asked.since):
            part.requires_grad_(False)
        head = concept_head(self.work.features, sets.golden, self.kind, self.seed)
        trained = [p for p in module.parameters() if p.requires_grad]
        trained += list(head.parameters()) if head else []
        optimiser = torch.optim.AdamW(
            [
                {"params": [p for p in trained if p.ndim > 1], "weight_decay": asked.decay},
                {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
            ],
            lr=asked.rate,
        )
        curve: list[dict[str, float]] = []
        best: dict[str, Tensor] = {}
        best_epoch = 0
        if self.checkpoint.is_file():
            stored = torch.load(self.checkpoint, weights_only=True)
            module.load_state_dict(stored["module"])
            if head:
                head.load_state_dict(stored["head"])
            optimiser.load_state_dict(stored["optimiser"])
            curve, best, best_epoch = stored["curve"], stored["best"], stored["best_epoch"]
            meter.skip(len(curve) * len(sets.train))
        while len(curve) < asked.epochs and len(curve) - best_epoch < asked.patience:
            told = self._epoch(len(curve), module, head, optimiser, meter, stop)
            curve.append(told)
            before = curve[best_epoch - 1] if best_epoch else None
            if before is None or _better(told, before):
                best_epoch = len(curve)
                best = {k: v.detach().clone() for k, v in module.state_dict().items()}
            state = {
                "module": module.state_dict(),
                "head": head.state_dict() if head else {},
                "optimiser": optimiser.state_dict(),
                "curve": curve,
                "best": best,
                "best_epoch": best_epoch,
            }
            write_whole(self.checkpoint, partial(torch.save, state))
        meter.skip((asked.epochs - len(curve)) * len(sets.train))
        module.load_state_dict(best)
        logits, _ = predict(module, self.work.way, sets.seen[sets.test], stop, self.work.classifier)
        predicted = logits.argmax(1)
        facts = {
            "cc": self.kind,
            "weight": self.weight,
            "seed": self.seed,
            "epochs": len(curve),
            "best_epoch": best_epoch,
            "validation": curve[best_epoch - 1]["validation"],
            "test": float((predicted == sets.target[sets.test]).mean()),
            "curve": curve,
            "predicted": predicted.tolist(),
        }
        write_whole(self.best_file, lambda path: torch.save(best, path))
        write_text(self.done, json.dumps(facts))
        self.checkpoint.unlink(missing_ok=True)
        return facts

    def _epoch(
        self,
        epoch: int,
        module: nn.Module,
        head: nn.Module | None,
        optimiser: torch.optim.Optimizer,
        meter: Meter,
        stop: Stop,
    ) -> dict[str, float]:
        asked, sets, work = self.work.asked, self.sets, self.work
        parts = batches(len(sets.train), asked.batch, self.seed, epoch)
        # Both streams begin anew each epoch: a resumed training and every λ see the same.
        torch.manual_seed(int(np.random.default_rng([self.seed, epoch, 1]).integers(2**62)))
        rng = np.random.default_rng([self.seed, epoch, 2])
        inputs = Inputs(work.way)
        golden = sets.golden.get(self.kind)
        module.train()
        for kept in kept_layers(module, asked.since):
            kept.eval()
        scene_loss = concepts_loss = right = 0.0
        with watched_features(module, work.classifier) as found:
            for step, part in enumerate(parts):
                if stop():
                    raise Stopped(STOPPED)
                for group in optimiser.param_groups:
                    group["lr"] = asked.rate * _schedule(
                        epoch * len(parts) + step, asked.epochs * len(parts), len(parts)
                    )
                rows = sets.train[part]
                logits = vector(module(inputs(augment(sets.seen[rows], rng))))
                target = torch.from_numpy(sets.target[rows])
                of_scene = F.cross_entropy(logits, target)
                loss = of_scene
                if head is not None and golden is not None:
                    gold = torch.from_numpy(golden[rows]).float()
                    of_concepts = concept_loss(head(found[0]), gold, asked.form).mean()
                    loss = of_scene + self.weight * of_concepts
                    concepts_loss += float(of_concepts.detach()) * len(rows)
                if not torch.isfinite(loss):
                    raise UnitscopeError(
                        f"the loss of {self.kind}, λ = {self.weight:g} is no longer a number in "
                        f"epoch {epoch + 1}; use a smaller --rate"
                    )
                optimiser.zero_grad(set_to_none=True)
                loss.backward()
                optimiser.step()
                scene_loss += float(of_scene.detach()) * len(rows)
                right += float((logits.argmax(1) == target).sum())
                meter.step(len(rows))
        n = len(sets.train)
        said, _ = predict(module, work.way, sets.seen[sets.validation], stop, work.classifier)
        aside = sets.target[sets.validation]
        return {
            "scene_loss": scene_loss / n,
            "concept_loss": concepts_loss / n,
            "train": right / n,
            "validation": float((said.argmax(1) == aside).mean()),
            "validation_loss": _loss(said, aside),
        }


def _better(now: dict[str, float], before: dict[str, float]) -> bool:
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
