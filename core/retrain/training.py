"""Re-training via core concepts (Eq. 10): a concept head beside the scene head.

``L = L_s + λ · L_c``: L_s is the cross-entropy of the scene, L_c that of the image's golden
concepts under a softmax over all concepts, both heads reading the same features: the input of
the network's classifier, averaged over its grid where it has one. The head of the concepts is
thrown away in the end, so what comes out is the same kind of network as went in.

Every training is compared with a control: the same start, batches, augmentation and budget,
λ = 0. A part of the train split, the same for all, is held out to end training and to choose λ;
the test split is looked at once, with the weights of the best epoch.

``<root>/retrain-<digest>.json``        the result
``<root>/retrain-<digest>.<cc>.pt``     weights of the control and of each kind of golden concepts
``<root>/retrain-<digest>.partial/``    a re-training that goes on or was stopped: a heartbeat
                                        and a checkpoint an epoch
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.foundation.errors import UnitscopeError
from core.foundation.files import Sole, read_result, write_text, write_whole
from core.foundation.progress import Meter, Report, Stop, never
from core.foundation.settings import CACHE
from core.models.load import load_model
from core.retrain.concepts import CONTROL
from core.retrain.data import Parts, prepare
from core.retrain.network import predict
from core.retrain.plan import Plan
from core.retrain.trainer import Trainer


def retrain(
    work: Plan,
    root: Path = CACHE,
    *,
    progress: Report | None = None,
    stop: Stop = never,
    fresh: bool = False,
) -> dict[str, Any]:
    """Train every λ of every kind and the control, or go on, or read a finished result.

    Parameters
    ----------
    root : folder of the results. progress : called with a :class:`Progress` after every batch.
    stop : asked before every batch; where it says True, :class:`Stopped` is raised.
    fresh : throw away an earlier or stopped re-training of the same digest.

    Returns the result, plain data:

    digest, asked, dataset, model, classifier, head, preprocessing, classes, counts, core (by
        kind: concepts of each scene)
    original : test and validation accuracy and predictions before any training; None with a new
        head.
    trainings : of every (seed, cc, weight): epochs, best_epoch, validation and test accuracy of the
        best epoch, the curve by epoch, `predicted` classes of the test images.
    test_ids, target : the test images and their classes.
    chosen : λ of each kind with the best mean validation accuracy (the smallest among equals).
    weights : for the control and each kind: file, seed (the best on validation), the SPEC that
        opens it, or why none does.

    Raises UnitscopeError where another process does the same, or the loss diverges.
    """
    final = root / f"retrain-{work.digest}.json"
    folder = root / f"retrain-{work.digest}.partial"
    root.mkdir(parents=True, exist_ok=True)
    name = f"retrain-{work.digest}"
    lock = Sole(root / f"{name}.lock", f"{name} is being made by another process")
    before = torch.get_num_threads()
    try:
        if fresh:
            final.unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
        if final.is_file():
            shutil.rmtree(folder, ignore_errors=True)  # killed when all but that was done
            return read_result(final)
        folder.mkdir(exist_ok=True)
        torch.set_num_threads(work.asked.threads)
        what = f"retrain {work.asked.model} on {work.asked.dataset}"
        meter = Meter(
            progress,
            folder / "progress.json",
            {"what": what, "command": work.asked.command()},
        )
        sets, cores, counts, ids = prepare(work, meter, stop)
        meter.start("train", len(work.jobs) * work.asked.epochs * len(sets.train))
        original = None
        if work.own_head:
            both = np.concatenate([sets.validation, sets.test])
            logits, _ = predict(work.model.module, work.way, sets.seen[both], stop, work.classifier)
            said, aside = logits.argmax(1), len(sets.validation)
            right = said == sets.target[both]
            original = {
                "validation": float(right[:aside].mean()),
                "test": float(right[aside:].mean()),
                "predicted": said[aside:].tolist(),
            }
        trainings = [Trainer(work, sets, *job, folder) for job in work.jobs]
        told = [training.run(meter, stop) for training in trainings]
        chosen = _chosen(told)
        weights = {}
        for kind in (CONTROL, *work.asked.cc):
            mine = [
                (facts["validation"], -facts["seed"], k)
                for k, facts in enumerate(told)
                if facts["cc"] == kind and facts["weight"] == chosen.get(kind, 0.0)
            ]
            k = max(mine)[2]
            weights[kind] = _write_weights(work, sets, trainings[k], told[k], root)
        result = {
            "digest": work.digest,
            "asked": asdict(work.asked),
            "dataset": {"name": work.dataset.shown_name, "spec": work.asked.dataset},
            "model": {"spec": work.asked.model, "digest": work.facts["model"]},
            "knowledge": work.graph.name,
            "classifier": work.classifier,
            "head": "own" if work.own_head else "new",
            "preprocessing": work.way.to_json(),
            "classes": work.classes,
            "counts": counts,
            "core": {
                kind: {
                    core.scenes[s]: [core.concepts[c] for c in np.flatnonzero(core.members[s])]
                    for s in range(len(core.scenes))
                }
                for kind, core in cores.items()
            },
            "original": original,
            "trainings": told,
            "test_ids": ids,
            "target": sets.target[sets.test].tolist(),
            "chosen": chosen,
            "weights": weights,
        }
        write_text(final, json.dumps(result, ensure_ascii=False))
        shutil.rmtree(folder, ignore_errors=True)
        return result
    finally:
        torch.set_num_threads(before)
        lock.release()


def _chosen(trainings: list[dict[str, Any]]) -> dict[str, float]:
    """By kind, λ with the best mean validation accuracy; the smallest among equals."""
    scores: dict[str, dict[float, list[float]]] = {}
    for told in trainings:
        if told["cc"] != CONTROL:
            scores.setdefault(told["cc"], {}).setdefault(told["weight"], []).append(
                told["validation"]
            )
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
    work: Plan, sets: Parts, training: Trainer, facts: dict[str, Any], root: Path
) -> dict[str, Any]:
    """Write one network's weights and read them back through :func:`load_model`.

    The files carry classes, preprocessing and what was done; a ``python:`` function
    gets the plain state dict, which is what such functions know how to read.
    """
    state = torch.load(training.best_file, weights_only=True)
    path = root / f"retrain-{work.digest}.{training.kind}.pt"
    spec = spec_of(work.asked.model, path)
    stored: dict[str, Any] = state
    if not work.asked.model.startswith("python:"):
        stored = {
            "state_dict": state,
            "classes": work.classes,
            "preprocessing": work.way.to_json(),
            "retrained": f"{work.asked.model}, golden concepts {training.kind}, λ = "
            f"{training.weight:g}, seed {training.seed}",
            "test_accuracy": facts["test"],
        }
    write_whole(path, lambda fresh: torch.save(stored, fresh))
    told: dict[str, Any] = {"file": path.name, "seed": training.seed, "weight": training.weight}
    told["spec"] = spec
    try:
        again = load_model(spec)
        some = sets.seen[sets.test[:64]]
        same = predict(again.module, work.way, some)[0].argmax(1).tolist()
        if same != facts["predicted"][:64]:
            raise UnitscopeError("the reopened network predicts something else")
        if again.preprocessing != work.way:
            raise UnitscopeError("the function's preprocessing is not the one trained with")
    # A user's own function may raise anything; the weights are written all the same.
    except Exception as err:
        told["spec"], told["why"] = None, f"{spec} does not open it: {err}"
    return told
