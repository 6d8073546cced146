"""Re-training via core concepts (Eq. 10): a concept head next to the scene head.

``L = L_s + λ · L_c``: L_s is the cross-entropy of the scene, L_c that of the image's golden
concepts under a softmax over all concepts, both heads reading the same features: the input of
the network's classifier, averaged over its grid where it has one. The head of the concepts is
thrown away in the end, so what comes out is the same kind of network as went in.

Every training is compared with a control: the same start, batches, augmentation and budget,
λ = 0. A part of the train split, the same for all, is held out to end training and to choose λ;
the test split is looked at once, with the weights of the best epoch.

``<root>/retrain-<digest>.json``        the result
``<root>/retrain-<digest>.<cc>.pt``     weights of the control and of each kind of golden concepts
``<root>/retrain-<digest>.partial/``    a re-training at work or stopped: a heartbeat and a
                                        checkpoint an epoch
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Unpack, cast

import numpy as np
import torch

from core.foundation.errors import UnitscopeError
from core.foundation.files import ProcessLock, read_result, write_text, write_whole
from core.foundation.progress import Hooks, Meter, Stop, never
from core.foundation.settings import CACHE
from core.knowledge.core_concepts import CoreConcepts
from core.models.load import load_model
from core.retrain.data import Parts, prepare
from core.retrain.network import predict
from core.retrain.plan import Plan
from core.retrain.result import CONTROL, Original, RetrainResult, Training, Weights
from core.retrain.trainer import Trainer


def retrain(
    work: Plan, root: Path = CACHE, *, fresh: bool = False, **hooks: Unpack[Hooks]
) -> RetrainResult:
    """Train every λ of every kind and the control, or resume, or read a finished result.

    root : folder of the results. fresh : throw away an earlier or stopped re-training of the same
    digest. Progress is reported after every batch, and `stop` asked before every batch.

    Raises UnitscopeError where another process does the same, or the loss diverges.
    """
    name = f"retrain-{work.digest}"
    final, folder = root / f"{name}.json", root / f"{name}.partial"
    root.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(root / f"{name}.lock", f"{name} is already running in another process")
    before = torch.get_num_threads()
    try:
        if fresh:
            final.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        if final.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # killed when all but that was done
            return cast(RetrainResult, read_result(final))
        folder.mkdir(exist_ok=True)
        torch.set_num_threads(work.asked.threads)
        what = f"retrain {work.asked.model} on {work.asked.dataset}"
        beat = {"what": what, "command": work.asked.command()}
        meter = Meter(hooks.get("progress"), folder / "progress.json", beat)
        result = _result(work, root, folder, meter, hooks.get("stop", never))
        write_text(final, json.dumps(result, ensure_ascii=False))
        shutil.rmtree(folder, ignore_errors=True)
        return result
    finally:
        torch.set_num_threads(before)
        lock.release()


def _result(work: Plan, root: Path, folder: Path, meter: Meter, stop: Stop) -> RetrainResult:
    """All trainings, one after the other, and the weights that are chosen written."""
    sets, cores, counts, ids = prepare(work, meter, stop)
    meter.start("train", len(work.jobs) * work.asked.epochs * len(sets.train))
    original = _original(work, sets, stop) if work.own_head else None
    trainers = [Trainer(work, sets, *job, folder) for job in work.jobs]
    trainings = [trainer.run(meter, stop) for trainer in trainers]
    chosen = _chosen(trainings)
    weights = {}
    for kind in (CONTROL, *work.asked.cc):
        mine = [
            (training["validation"], -training["seed"], k)
            for k, training in enumerate(trainings)
            if training["cc"] == kind and training["weight"] == chosen.get(kind, 0.0)
        ]
        k = max(mine)[2]
        weights[kind] = _write_weights(work, sets, trainers[k], trainings[k], root)
    return {
        "digest": work.digest,
        "asked": asdict(work.asked),
        "dataset": {"name": work.dataset.shown_name, "spec": work.asked.dataset},
        "model": {"spec": work.asked.model, "digest": work.facts["model"]},
        "knowledge": work.graph.name,
        "classifier": work.classifier,
        "head": "own" if work.own_head else "new",
        "preprocessing": work.preprocessing.to_json(),
        "classes": work.classes,
        "counts": counts,
        "core": _by_scene(cores),
        "original": original,
        "trainings": trainings,
        "test_ids": ids,
        "target": sets.target[sets.test].tolist(),
        "chosen": chosen,
        "weights": weights,
    }


def _original(work: Plan, sets: Parts, stop: Stop) -> Original:
    """What the network predicts before any training."""
    both, aside = np.concatenate([sets.validation, sets.test]), len(sets.validation)
    logits, _ = predict(
        work.model.module, work.preprocessing, sets.seen[both], stop, work.classifier
    )
    predicted = logits.argmax(1)
    right = predicted == sets.target[both]
    return {
        "validation": float(right[:aside].mean()),
        "test": float(right[aside:].mean()),
        "predicted": predicted[aside:].tolist(),
    }


def _by_scene(cores: Mapping[str, CoreConcepts]) -> dict[str, dict[str, list[str]]]:
    """By kind, names of the core concepts of each scene."""
    return {
        kind: {
            core.scenes[s]: [core.concepts[c] for c in np.flatnonzero(core.members[s])]
            for s in range(len(core.scenes))
        }
        for kind, core in cores.items()
    }


def _chosen(trainings: Sequence[Training]) -> dict[str, float]:
    """By kind, λ with the best mean validation accuracy; the smallest among equals."""
    scores: dict[str, dict[float, list[float]]] = {}
    for one in trainings:
        if one["cc"] != CONTROL:
            scores.setdefault(one["cc"], {}).setdefault(one["weight"], []).append(one["validation"])
    return {
        kind: max(by, key=lambda weight: (float(np.mean(by[weight])), -weight))
        for kind, by in scores.items()
    }


def spec_of(spec: str, file: Path) -> str:
    """The model SPEC that opens re-trained weights of the network `spec`.

    >>> spec_of("torchvision:resnet18:old.pt", Path("new.pt"))
    'torchvision:resnet18:new.pt'
    >>> spec_of("places365:resnet18:old.pth.tar:names.txt", Path("new.pt"))
    'torchvision:resnet18:new.pt'
    """
    kind, _, rest = spec.partition(":")
    if kind == "rooms":
        return f"python:core.rooms.network:load:{file}"
    if kind == "places365":
        kind = "torchvision"  # the same networks, now with the dataset's classes
    keep = 2 if kind == "python" else 1
    return ":".join([kind, *rest.split(":")[:keep], str(file)])


def _write_weights(
    work: Plan, sets: Parts, trainer: Trainer, training: Training, root: Path
) -> Weights:
    """Write one network's weights and read them back through :func:`load_model`.

    The files carry classes, preprocessing and what was done; a ``python:`` function
    gets the plain state dict, which is what such functions know how to read.
    """
    state = torch.load(trainer.best_file, weights_only=True)
    path = root / f"retrain-{work.digest}.{trainer.kind}.pt"
    spec = spec_of(work.asked.model, path)
    stored: dict[str, object] = state
    if not work.asked.model.startswith("python:"):
        stored = {
            "state_dict": state,
            "classes": work.classes,
            "preprocessing": work.preprocessing.to_json(),
            "retrained": f"{work.asked.model}, golden concepts {trainer.kind}, λ = "
            f"{trainer.weight:g}, seed {trainer.seed}",
            "test_accuracy": training["test"],
        }
    write_whole(path, lambda fresh: torch.save(stored, fresh))
    written: Weights = {
        "file": path.name,
        "seed": trainer.seed,
        "weight": trainer.weight,
        "spec": spec,
    }
    try:
        again = load_model(spec)
        some = sets.seen[sets.test[:64]]
        same = predict(again.module, work.preprocessing, some)[0].argmax(1).tolist()
        if same != training["predicted"][:64]:
            raise UnitscopeError("the reopened network predicts something else")
        if again.preprocessing != work.preprocessing:
            raise UnitscopeError("the function's preprocessing is not the one trained with")
    # A user's own function may raise anything; the weights are written all the same.
    except Exception as err:
        written["spec"], written["why"] = None, f"{spec} does not open it: {err}"
    return written
