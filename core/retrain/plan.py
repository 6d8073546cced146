"""A re-training before it starts: everything opened and checked, and known by a digest."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from core.datasets import open_dataset
from core.datasets.base import SceneDataset
from core.datasets.scenes import class_of as classes_of
from core.datasets.scenes import match_scenes
from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import BadFile, UnitscopeError, unknown
from core.foundation.geometry import Preprocessing, default_grid
from core.foundation.plain import Json
from core.foundation.settings import GOLDEN, Retraining
from core.foundation.trust import innermost
from core.foundation.versions import versions_of
from core.knowledge.graph import Graph
from core.knowledge.kinds import open_knowledge
from core.models.base import LoadedModel
from core.models.load import load_model
from core.retrain.concepts import FORMS
from core.retrain.network import find_classifier, kept_layers
from core.retrain.result import CONTROL


def scaled(preprocessing: Preprocessing, side: int) -> Preprocessing:
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

    crop, resize = preprocessing.center_crop, preprocessing.resize
    shown = crop if crop is not None else resize
    if shown is None:
        raise UnitscopeError(
            "the network sees photos at their own scale; its input has no side to change"
        )
    factor = side / (shown if isinstance(shown, int) else min(shown))
    return replace(preprocessing, resize=times(resize, factor), center_crop=times(crop, factor))


@dataclass(frozen=True)
class Plan:
    """A re-training before it starts: everything opened and checked.

    Attributes
    ----------
    asked, dataset, model, graph : what is trained on what, opened.
    preprocessing : of the photos, at the side that is asked for. grid : (width, height) on which
        concepts are looked for.
    classifier, features : name of the network's last layer, number of its inputs.
    classes : of the network that comes out. own_head : does it keep its classifier?
    class_of : int32 (scenes,), class of each scene, −1 where it has none.
    digest, facts : what the result is known by, and what that digest is of.
    """

    asked: Retraining
    dataset: SceneDataset
    model: LoadedModel
    graph: Graph
    preprocessing: Preprocessing
    grid: tuple[int, int]
    classifier: str
    features: int
    classes: list[str]
    own_head: bool
    class_of: np.ndarray
    digest: str
    facts: Json

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
    _check(asked)
    if innermost(asked.model) != asked.model:
        raise UnitscopeError(
            f"{asked.model!r} has a dictionary in it, which would be one of another network once "
            f"that is trained again; train {innermost(asked.model)!r}"
        )
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
    preprocessing = scaled(own, asked.side) if asked.side else own
    width, height = preprocessing.input_size(*photo_size)
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
        "preprocessing": preprocessing.to_json(),
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
        preprocessing,
        default_grid(own.input_size(*photo_size)),
        classifier,
        features,
        classes,
        own_head,
        class_of,
        digest_of(facts)[:DIGITS],
        facts,
    )


def _check(asked: Retraining) -> None:
    """Raises UnitscopeError for settings that could not run, whatever is opened."""
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


def _photo_size(dataset: SceneDataset, places: np.ndarray) -> tuple[int, int]:
    """(width, height) of the first of a few photos that can be read."""
    for place in places[:16]:
        with suppress(BadFile):
            return dataset.photo(int(place)).size
    raise UnitscopeError(f"none of the first photos of {dataset.spec!r} can be read")
