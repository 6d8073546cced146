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

import copy
import json
import math
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import sparse
from torch import Tensor, nn

from core.datasets import open_dataset
from core.datasets.base import SceneDataset
from core.datasets.loader import decode_ahead
from core.datasets.scenes import class_of as classes_of
from core.datasets.scenes import match_scenes
from core.foundation.errors import BadFile, UnitscopeError, unknown, without_effect
from core.foundation.files import Sole, read_result
from core.foundation.geometry import Preprocessing, default_grid
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.settings import GOLDEN, Retraining
from core.foundation.versions import versions_of
from core.knowledge.core_concepts import (
    Annotated,
    CoreConcepts,
    Edges,
    core_concepts,
    related_concepts,
)
from core.knowledge.graph import Graph
from core.knowledge.kinds import open_knowledge
from core.models.base import LoadedModel
from core.models.hooks import find_layer
from core.models.load import load_model
from core.models.outputs import vector
from core.runs.run_file import CACHE, DIGITS, digest_of, write_text, write_whole

FORMS = ("softmax", "sigmoid")
"""Of L_c: Eq. 10 as written, and each concept a yes or no of its own."""

CONTROL = "control"
"""Training with λ = 0: the same budget without L_c."""

MARGIN = 1 / 16
"""How far a training photo is shifted at most, in sides; mirrored pixels fill the edge."""


# -- the loss -------------------------------------------------------------------------------


def concept_loss(scores: Tensor, golden: Tensor, form: str = "softmax") -> Tensor:
    """L_c of every image (Eq. 10), float (images,), in nats.

    scores : (images, concepts), outputs of the concept head. golden : 0 or 1, of that shape.

    softmax : −Σ_{c* golden} log P(c*), P a softmax over the concepts: the sum as written, so an
        image with many golden concepts weighs more, and one without any nothing.
    sigmoid : −Σ_{c golden} log σ(s_c) − Σ_{c not golden} log(1 − σ(s_c)).

    Raises UnitscopeError for another form.

    >>> scores = torch.zeros(1, 4)
    >>> golden = torch.tensor([[1.0, 1.0, 0.0, 0.0]])
    >>> float(concept_loss(scores, golden) / math.log(4)), float(
    ...     concept_loss(scores, golden, "sigmoid") / math.log(2))
    (2.0, 4.0)
    """
    if form == "softmax":
        return -(F.log_softmax(scores, 1) * golden).sum(1)
    if form == "sigmoid":
        return F.binary_cross_entropy_with_logits(scores, golden, reduction="none").sum(1)
    raise unknown("form of the concept loss", form, FORMS)


def golden_concepts(
    has: np.ndarray, scene: np.ndarray, kind: str, core: CoreConcepts | None
) -> np.ndarray:
    """c* of every image: bool (images, concepts), annotated in x ∩ CC(y).

    has : bool (images, concepts), annotated. scene : int (images,), y, by row of `core`.
    kind : of :data:`GOLDEN`; ``annotated`` needs no `core` and takes all of `has`.
    """
    if kind == "annotated":
        return has.copy()
    assert core is not None
    return has & core.members[scene]


# -- the network's classifier ---------------------------------------------------------------


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or (
        isinstance(module, nn.Conv2d) and module.kernel_size == (1, 1)
    )


def find_classifier(module: nn.Module, example: Tensor) -> tuple[str, int, int]:
    """The network's classifier: (dotted name, its features, the network's outputs).

    Found by a forward pass, not by its name: of the linear and 1×1 layers with as many outputs
    as the network, the last that is called. Raises UnitscopeError where there is none.
    """
    called: list[tuple[str, Any]] = []
    handles = [
        part.register_forward_hook(lambda m, _a, _o, name=name: called.append((name, m)))
        for name, part in module.named_modules()
        if _is_linear(part)
    ]
    try:
        with torch.inference_mode():
            outputs = vector(module(example)).shape[1]
    finally:
        for handle in handles:
            handle.remove()
    for name, part in reversed(called):
        width = part.out_features if isinstance(part, nn.Linear) else part.out_channels
        if width == outputs:
            ins = part.in_features if isinstance(part, nn.Linear) else part.in_channels
            return name, int(ins), outputs
    raise UnitscopeError(
        f"the network has {outputs} outputs, but no linear or 1×1 layer with as many: its "
        "classifier cannot be found"
    )


@contextmanager
def watched_features(module: nn.Module, classifier: str) -> Iterator[list[Tensor]]:
    """Within the context, the list holds the last forward pass's input of the classifier.

    Tensor (images, features): tokens and the grid of a 1×1 layer are averaged.
    """
    found: list[Tensor] = []

    def hook(_module: nn.Module, args: Any) -> None:
        x = args[0]
        pooled = x.mean((2, 3)) if x.ndim == 4 else x.reshape(len(x), -1, x.shape[-1]).mean(1)
        found[:] = [pooled]

    handle = module.get_submodule(classifier).register_forward_pre_hook(hook)
    try:
        yield found
    finally:
        handle.remove()


def new_head(module: nn.Module, classifier: str, outputs: int, seed: int) -> None:
    """Put a fresh classifier with `outputs` outputs in the old one's place, drawn from `seed`."""
    parent, _, leaf = classifier.rpartition(".")
    old = module.get_submodule(classifier)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh: nn.Module
        if isinstance(old, nn.Linear):
            fresh = nn.Linear(old.in_features, outputs, old.bias is not None)
        else:
            assert isinstance(old, nn.Conv2d)
            fresh = nn.Conv2d(old.in_channels, outputs, 1, bias=old.bias is not None)
    setattr(module.get_submodule(parent) if parent else module, leaf, fresh)


def kept_layers(module: nn.Module, since: str | None) -> list[nn.Module]:
    """Modules that stay as they are: those listed before the layer `since`, none where None.

    Modules that contain it are not among them. Raises with the nearest names for an unknown one.

    >>> net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.Sequential(nn.Conv2d(4, 4, 1), nn.ReLU()))
    >>> kept_layers(net, "1.1")  # doctest: +ELLIPSIS
    [Conv2d(3, 4, kernel_size=(1, 1), stride=(1, 1)), Conv2d(4, 4, kernel_size=(1, 1), ...)]
    """
    if since is None:
        return []
    find_layer(module, since)
    names = [name for name, _ in module.named_modules()]
    before = names[: names.index(since)]
    return [
        module.get_submodule(name) for name in before if name and not since.startswith(f"{name}.")
    ]


# -- photos in memory -----------------------------------------------------------------------


@dataclass
class Photos:
    """Decoded photos of a dataset, as the network sees them.

    place : int (images,), in the dataset. seen : uint8 (images, height, width, 3). has : bool
    (images, concepts), annotated in the seen part, on the working grid. left_out : (id, reason).
    """

    place: np.ndarray
    seen: np.ndarray
    has: np.ndarray
    left_out: list[tuple[str, str]]


def read_photos(
    dataset: SceneDataset,
    places: Sequence[int] | np.ndarray,
    way: Preprocessing,
    grid: tuple[int, int],
    threads: int = 2,
    step: Callable[[int], None] = lambda images: None,
) -> Photos:
    """Decode photos and annotations once, into memory.

    grid : (width, height) on which concepts are looked for. step : called with 1 after each.
    A file that cannot be used is left out. Raises UnitscopeError where the preprocessing gives
    photos of several sizes, or nothing is left.
    """
    kept: list[int] = []
    seen: list[np.ndarray] = []
    left_out: list[tuple[str, str]] = []
    has = np.zeros((len(places), len(dataset.concepts) + 1), bool)
    for item in decode_ahead(dataset, places, way, grid, threads, keep_photo=False):
        step(1)
        if item.seen is None:
            assert item.problem is not None
            left_out.append((item.problem.image, item.problem.reason))
            continue
        if seen and item.seen.shape != seen[0].shape:
            raise UnitscopeError(
                f"the preprocessing gives photos of {seen[0].shape[1]}×{seen[0].shape[0]} and of "
                f"{item.seen.shape[1]}×{item.seen.shape[0]} pixels: training needs one size, so "
                "give the preprocessing a centre crop or a fixed (width, height)"
            )
        has[len(kept), np.unique(item.labels)] = True
        has[len(kept), list(item.whole)] = True
        kept.append(item.image)
        seen.append(item.seen)
    if not kept:
        raise UnitscopeError(f"dataset {dataset.spec!r}: none of {len(places)} photos can be used")
    return Photos(np.array(kept), np.stack(seen), has[: len(kept), 1:], left_out)


def scaled(way: Preprocessing, side: int) -> Preprocessing:
    """The same view of the photo at another scale: the input's shorter side is `side` pixels.

    >>> scaled(Preprocessing(resize=(144, 144), center_crop=128), 96).resize
    (108, 108)
    """
    if side < 8:
        raise UnitscopeError(f"an input of {side} pixels is too small; 8 is the least")

    def times(value: Any, factor: float) -> Any:
        if value is None:
            return None
        if isinstance(value, int):
            return max(1, round(value * factor))
        return tuple(max(1, round(v * factor)) for v in value)

    if way.center_crop is not None:
        now = way.center_crop if isinstance(way.center_crop, int) else min(way.center_crop)
    elif way.resize is not None:
        now = way.resize if isinstance(way.resize, int) else min(way.resize)
    else:
        raise UnitscopeError(
            "the network sees photos at their own scale; its input has no side to change"
        )
    factor = side / now
    return replace(
        way, resize=times(way.resize, factor), center_crop=times(way.center_crop, factor)
    )


def augment(photos: np.ndarray, rng: np.random.Generator, margin: float = MARGIN) -> np.ndarray:
    """Each photo shifted by up to `margin` of its sides and, every second time, mirrored.

    uint8 (images, height, width, 3) → the same shape. Pixels that a shift brings in from beyond
    the edge are the mirror image of those within.
    """
    n, height, width = photos.shape[:3]
    out = np.empty_like(photos)
    most = round(height * margin), round(width * margin)
    shifts: list[np.ndarray] = [rng.integers(-m, m + 1, n) for m in most]
    flips = np.asarray(rng.random(n) < 0.5)
    for k in range(n):
        rows, columns = (
            _reflected(np.arange(size) + shift[k], size)
            for size, shift in zip((height, width), shifts, strict=True)
        )
        out[k] = photos[k][rows[:, None], columns[:: -1 if flips[k] else 1]]
    return out


def _reflected(at: np.ndarray, size: int) -> np.ndarray:
    """Positions folded back into 0 … size − 1, the edge pixel not repeated."""
    at = np.abs(at)
    return np.where(at > size - 1, 2 * (size - 1) - at, at)


def batches(images: int, batch: int, seed: int, epoch: int) -> list[np.ndarray]:
    """The rows of every batch of an epoch: a permutation cut into nearly equal parts.

    They depend on seed and epoch alone, so that all trainings of a seed see the same ones. No
    batch is so small that batch normalisation had one image to work on, unless all are.
    """
    order = np.random.default_rng([seed, epoch]).permutation(images)
    return np.array_split(order, max(1, round(images / batch)))


def held_out(scene: np.ndarray, share: float, seed: int) -> np.ndarray:
    """bool (images,): the validation part, ⌊share · n + ½⌋ images of every scene, never all."""
    if not 0 < share < 1:
        raise UnitscopeError(f"the share held out must lie between 0 and 1, not {share}")
    rng = np.random.default_rng([seed, 7])
    out = np.zeros(len(scene), bool)
    for y in np.unique(scene):
        rows = rng.permutation(np.flatnonzero(scene == y))
        out[rows[: min(len(rows) - 1, math.floor(share * len(rows) + 0.5))]] = True
    return out


# -- the plan -------------------------------------------------------------------------------


@dataclass
class Plan:
    """A re-training before it starts: everything opened and checked."""

    asked: Retraining
    dataset: SceneDataset
    model: LoadedModel
    graph: Graph
    way: Preprocessing
    grid: tuple[int, int]
    classifier: str
    features: int
    classes: list[str]
    own_head: bool
    class_of: np.ndarray
    digest: str
    facts: dict[str, Any]

    @property
    def jobs(self) -> list[tuple[int, str, float]]:
        """(seed, kind, λ) of every training, all kinds of one seed before the next."""
        kinds = [(CONTROL, 0.0)]
        kinds += [(kind, weight) for kind in self.asked.cc for weight in self.asked.weights]
        seeds = range(self.asked.seed, self.asked.seed + self.asked.seeds)
        return [(seed, kind, weight) for seed in seeds for kind, weight in kinds]


def plan(asked: Retraining) -> Plan:
    """Open dataset, network and graph, find the classifier, work out the digest.

    Raises UnitscopeError for anything that could not run, before a byte is written.
    """
    for kind in asked.cc:
        if kind not in GOLDEN:
            raise unknown("kind of golden concepts", kind, GOLDEN)
    if asked.form not in FORMS:
        raise unknown("form of the concept loss", asked.form, FORMS)
    if asked.core_on not in ("train", "all"):
        raise UnitscopeError(f"core concepts come from train or all images, not {asked.core_on!r}")
    if asked.head not in ("auto", "own", "new"):
        raise UnitscopeError(f"the head is auto, own or new, not {asked.head!r}")
    if asked.cc and (not asked.weights or min(asked.weights) <= 0):
        raise UnitscopeError(f"λ must be above 0 (0 is the control); given: {asked.weights}")
    for name in ("seeds", "epochs", "batch", "patience", "threads"):
        if getattr(asked, name) < 1:
            raise UnitscopeError(f"{name} must be at least 1, not {getattr(asked, name)}")
    if not 0 < asked.rate < 1 or asked.decay < 0:
        raise UnitscopeError(f"learning rate {asked.rate} or weight decay {asked.decay} is absurd")
    if asked.overrides and not Path(asked.overrides).is_file():
        raise UnitscopeError(f"there is no file of overrides {asked.overrides}")
    dataset = open_dataset(asked.dataset)
    model = load_model(asked.model)
    if model.backbone:
        raise UnitscopeError(
            f"training again starts from a classifier, and of {asked.model!r}: {model.backbone}. "
            "Put a layer of the scenes behind it, in a function of your own (docs/models.md)"
        )
    graph = open_knowledge(asked.knowledge)
    if asked.train == asked.test:
        raise UnitscopeError(f"train and test are both split {asked.train!r}")
    train = dataset.select([asked.train])
    dataset.select([asked.test])
    own = model.preprocessing
    photo_size = _photo_size(dataset, train)
    way = scaled(own, asked.side) if asked.side else own
    width, height = way.input_size(*photo_size)
    classifier, features, outputs = find_classifier(model.module, torch.zeros(1, 3, height, width))
    kept_layers(model.module, asked.since)
    class_of = classes_of(match_scenes(dataset.scenes, model.classes))
    placed = np.unique(dataset.scene[train])
    placed = placed[placed >= 0]
    own_head = asked.head == "own" or (asked.head == "auto" and bool((class_of[placed] >= 0).all()))
    if own_head:
        if not (class_of[placed] >= 0).any():
            raise UnitscopeError(
                f"no scene of {asked.dataset!r} is a class of {asked.model!r}; use --head new"
            )
        classes = list(model.classes)
    else:
        classes, class_of = list(dataset.scenes), np.arange(len(dataset.scenes), dtype=np.int32)
    facts = {
        **asdict(asked),
        "dataset": dataset.digest(),
        "model": model.digest(),
        "preprocessing": way.to_json(),
        "knowledge": graph.digest(),
        "overrides": Path(asked.overrides).read_text("utf-8") if asked.overrides else None,
        "computed": versions_of("re-training", "core concepts", "decoding"),
        "versions": [version(name) for name in ("torch", "torchvision", "pillow", "numpy")],
    }
    return Plan(
        asked,
        dataset,
        model,
        graph,
        way,
        default_grid(own.input_size(*photo_size)),
        classifier,
        features,
        classes,
        own_head,
        class_of,
        digest_of(facts)[:DIGITS],
        facts,
    )


def _photo_size(dataset: SceneDataset, places: np.ndarray) -> tuple[int, int]:
    """(width, height) of the first of a few photos that can be read."""
    for place in places[:16]:
        with suppress(BadFile):
            return dataset.photo(int(place)).size
    raise UnitscopeError(f"none of the first photos of {dataset.spec!r} can be read")


# -- training -------------------------------------------------------------------------------


@dataclass
class _Sets:
    """What all trainings share: photos, classes and golden concepts of the three parts."""

    seen: np.ndarray
    target: np.ndarray
    golden: dict[str, np.ndarray]
    train: np.ndarray
    validation: np.ndarray
    test: np.ndarray


class _Inputs:
    """uint8 photos → the network's input, by its own preprocessing."""

    def __init__(self, way: Preprocessing):
        std = torch.tensor(way.std, dtype=torch.float32)
        self.scale = (1.0 / (std * way.divide)).reshape(1, 3, 1, 1)
        self.shift = (-torch.tensor(way.mean) / std).reshape(1, 3, 1, 1)
        self.reverse = way.channels == "BGR"

    def __call__(self, seen: np.ndarray) -> Tensor:
        x = torch.from_numpy(seen)
        if self.reverse:
            x = x.flip(-1)
        # Lies in memory channel by channel last, as the weights do.
        return x.permute(0, 3, 1, 2).float().mul_(self.scale).add_(self.shift)


@torch.inference_mode()
def predict(
    module: nn.Module,
    way: Preprocessing,
    seen: np.ndarray,
    stop: Stop = never,
    classifier: str | None = None,
    batch: int = 64,
) -> tuple[np.ndarray, np.ndarray | None]:
    """(logits, features) of uint8 photos, float32, in evaluation mode; no augmentation.

    features : the pooled input of the layer named `classifier`; None where none is named.

    Raises UnitscopeError where a logit is no finite number.
    """
    module.eval()
    inputs, logits, features = _Inputs(way), [], []
    name = classifier or find_classifier(module, inputs(seen[:1]))[0]
    with watched_features(module, name) as found:
        for at in range(0, len(seen), batch):
            if stop():
                raise Stopped(STOPPED)
            logits.append(vector(module(inputs(seen[at : at + batch]))).float().numpy())
            features.append(found[0].float().numpy())
    told = np.concatenate(logits)
    bad = np.flatnonzero(~np.isfinite(told).all(1))
    if len(bad):
        first = told[bad[0]]
        raise UnitscopeError(
            f"the network gives {first[~np.isfinite(first)][0]}, not a finite number, for "
            f"{len(bad)} of {len(told)} photos"
        )
    return told, np.concatenate(features) if classifier else None


def _loss(logits: np.ndarray, target: np.ndarray) -> float:
    return float(F.cross_entropy(torch.from_numpy(logits), torch.from_numpy(target)))


class _Training:
    """One training: a seed, a kind of golden concepts, λ. Resumes after its last whole epoch."""

    def __init__(self, work: Plan, sets: _Sets, seed: int, kind: str, weight: float, folder: Path):
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
        head = _concept_head(self.work.features, sets.golden, self.kind, self.seed)
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
        inputs = _Inputs(work.way)
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


def _concept_head(
    features: int, golden: dict[str, np.ndarray], kind: str, seed: int
) -> nn.Module | None:
    if kind == CONTROL:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed + 1)
        return nn.Linear(features, golden[kind].shape[1])


# -- the whole ------------------------------------------------------------------------------


def _prepare(
    work: Plan, meter: Meter, stop: Stop
) -> tuple[_Sets, dict[str, CoreConcepts], dict[str, Any], list[str]]:
    """Photos into memory; core concepts; the three parts; facts of the result; test ids."""
    asked, dataset = work.asked, work.dataset
    places = np.flatnonzero(np.isin(np.asarray(dataset.split), [asked.train, asked.test]))
    if asked.core_on == "all":
        places = np.arange(len(dataset))
    meter.start("decode", len(places))

    def step(images: int) -> None:
        meter.step(images)
        if stop():
            raise Stopped(STOPPED)

    photos = read_photos(dataset, places, work.way, work.grid, asked.threads, step)
    scene = np.asarray(dataset.scene)[photos.place]
    split = np.asarray(dataset.split)[photos.place]
    of_core = np.ones(len(scene), bool) if asked.core_on == "all" else split == asked.train
    annotated = Annotated(
        list(dataset.scenes),
        [concept.name for concept in dataset.concepts],
        [concept.category for concept in dataset.concepts],
        scene[of_core].astype(np.int32),
        sparse.csr_array(photos.has[of_core]),
    )
    overrides = Path(asked.overrides) if asked.overrides else None
    related: Edges = []
    if any(kind in ("scc", "icc") for kind in asked.cc):
        related = related_concepts(annotated, work.graph, overrides=overrides)
    elif overrides is not None:
        without_effect("no kind of golden concepts asks the graph, so --overrides changes nothing")
    cores = {
        kind: core_concepts(annotated, related, kind) for kind in asked.cc if kind != "annotated"
    }
    usable = (scene >= 0) & (work.class_of[scene] >= 0)
    own, other = usable & (split == asked.train), np.flatnonzero(usable & (split == asked.test))
    rows = np.flatnonzero(own)
    aside = held_out(scene[rows], asked.hold_out, asked.seed)
    eligible = annotated.eligible
    golden = {
        kind: golden_concepts(photos.has, scene, kind, cores.get(kind))[:, eligible]
        for kind in asked.cc
    }
    target = np.where(scene >= 0, work.class_of[scene], -1).astype(np.int64)
    sets = _Sets(photos.seen, target, golden, rows[~aside], rows[aside], other)
    for name, part in (("validation", sets.validation), ("test", sets.test)):
        if not len(part):
            raise UnitscopeError(f"no usable image in the {name} part of {asked.dataset!r}")
    of_train = np.isin(np.arange(len(scene)), sets.train)
    counts = {
        "train": len(sets.train),
        "validation": len(sets.validation),
        "test": len(sets.test),
        "unreadable": len(photos.left_out),
        "without_class": int((~usable).sum()),
        "golden": {
            kind: {
                "per_image": float(mask[of_train].sum(1).mean()),
                "without": int((~mask[of_train].any(1)).sum()),
                "concepts": int(mask[of_train].any(0).sum()),
            }
            for kind, mask in golden.items()
        },
    }
    return sets, cores, counts, [dataset.ids[k] for k in photos.place[sets.test]]


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
        sets, cores, counts, ids = _prepare(work, meter, stop)
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
        trainings = [_Training(work, sets, *job, folder) for job in work.jobs]
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
    work: Plan, sets: _Sets, training: _Training, facts: dict[str, Any], root: Path
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
