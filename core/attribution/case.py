"""A run with its network open, and one photo before it: what every attribution is asked of."""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.ablation.recorded import Recorded
from core.ablation.replay import Tail
from core.ablation.strategies import replayed_tail, whole_forward
from core.ablation.subject import Subject
from core.attribution.regions import Regions, regions_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.geometry import Preprocessing
from core.models.base import LoadedModel
from core.models.forward import Forward
from core.models.head import first_of, linear_head
from core.models.hooks import as_maps, find_layer
from core.models.outputs import put_back, taken
from core.runs.run_file import Run

BATCH = 32
"""Photos that are run at once."""


@dataclass(frozen=True, eq=False)
class Opened:
    """A layer of a run, with its network open.

    Attributes
    ----------
    recorded : what the run holds of the layer. forward : the network.
    photos : image numbers → uint8 (images, height, width, 3), what the network saw.
    source : ``"dataset"``, or ``"stored"`` where only the run's JPEGs are there.
    head : (weights float32 (units, classes), bias (classes,)) of a linear head behind the means of
        the layer's maps; None where there is none.
    tail : what follows the layer, where it can be cut off.
    preprocessing : how the network sees a photo.
    lock : the network is shared by whoever holds this, and hooks change it.
    """

    recorded: Recorded
    forward: Forward
    photos: Callable[[np.ndarray], np.ndarray]
    source: str
    head: tuple[np.ndarray, np.ndarray] | None
    tail: Tail | None
    preprocessing: Preprocessing
    lock: threading.RLock = field(default_factory=threading.RLock)

    @classmethod
    def of(cls, run: Run, layer: str | None = None, model: LoadedModel | None = None) -> Opened:
        """Open the run's network, or take `model`.

        Raises UnitscopeError where the run has no answers or no label maps, where its network is
        no longer the same, and where the answer to a photo depends on the others of its batch.
        """
        recorded = Recorded.of(run, layer)
        by_batch = run.info.get("by_batch")
        if by_batch:
            raise UnitscopeError(f"a photo cannot be asked alone: {by_batch}")
        subject = Subject.of(recorded, model)
        whole, check = whole_forward(subject)
        head = linear_head(subject.model.module, recorded.layer, subject.inputs)
        cut = replayed_tail(subject)
        return cls(
            recorded,
            subject.forward,
            whole.photos,
            check.photos or "dataset",
            None if head is None else head[1:],
            cut[0] if isinstance(cut, tuple) else None,
            subject.model.preprocessing,
        )

    @property
    def run(self) -> Run:
        """The run."""
        return self.recorded.run

    @property
    def classes(self) -> list[str]:
        """Names of the network's outputs, in the dataset's spelling."""
        return self.recorded.names

    def class_of(self, scene: str) -> int:
        """The network's class of a scene or class name. Raises UnitscopeError for another."""
        if scene not in self.classes:
            raise unknown("class of the network", scene, self.classes)
        return self.classes.index(scene)

    def logits(self, photos: np.ndarray) -> np.ndarray:
        """float32 (photos, classes) of uint8 photos as the network sees them.

        Raises UnitscopeError where the network gives what is no finite number.
        """
        module, parts = self.forward.module, []
        with self.lock, torch.inference_mode():
            for start in range(0, len(photos), BATCH):
                gave = first_of(module(self.forward.inputs(photos[start : start + BATCH])))
                parts.append(gave.cpu().numpy())
        logits = np.concatenate(parts) if parts else np.zeros((0, len(self.classes)), np.float32)
        if not np.isfinite(logits).all():
            raise UnitscopeError("the network gives what is no finite number for an edited photo")
        return logits

    def activations(self, photos: np.ndarray) -> np.ndarray:
        """float32 (photos, units): the mean of each of the layer's maps, of uint8 photos as the
        network sees them.

        Raises UnitscopeError where the layer gives what is no finite number.
        """
        module, parts = self.forward.module, []
        size: tuple[int, int] = (photos.shape[1], photos.shape[2])

        def keep(_module: Any, _args: Any, output: Any) -> None:
            maps = as_maps(output, self.recorded.layer, size).float()
            parts.append(maps.mean((2, 3)).cpu().numpy())

        with self.lock, torch.inference_mode():
            handle = find_layer(module, self.recorded.layer).register_forward_hook(keep)
            try:
                for start in range(0, len(photos), BATCH):
                    module(self.forward.inputs(photos[start : start + BATCH]))
            finally:
                handle.remove()
        found = np.concatenate(parts) if parts else np.zeros((0, 0), np.float32)
        if not np.isfinite(found).all():
            raise UnitscopeError(
                f"layer {self.recorded.layer} gives what is no finite number for an edited photo"
            )
        return found

    def row(self, image: int) -> int:
        """Row of an image in :attr:`recorded`. Raises UnitscopeError where the run has none."""
        at = int(np.searchsorted(self.recorded.numbers, image))
        if at == len(self.recorded.numbers) or self.recorded.numbers[at] != image:
            raise UnitscopeError(f"run {self.run.digest} has no image number {image}")
        return at

    def case(self, image: int) -> Case:
        """One photo. Raises UnitscopeError where it is not there, NoRegion where nothing of it is
        annotated."""
        row = self.row(image)
        photo = self.photos(np.array([image]))[0]
        return Case(self, photo, image, row, regions_of(self.run, image, photo.shape[:2]))


@dataclass(frozen=True, eq=False)
class Input:
    """One photo before an open network, annotated or not.

    Attributes
    ----------
    opened : the network. photo : uint8 (height, width, 3), what the network sees.
    """

    opened: Opened
    photo: np.ndarray

    @cached_property
    def logits(self) -> np.ndarray:
        """float32 (classes,) of this very photo; those of the run, up to rounding, where it is one
        of the run's and the dataset is there."""
        logits: np.ndarray = self.opened.logits(self.photo[None])[0]
        return logits

    @cached_property
    def output(self) -> Any:
        """What the layer gives for the photo, as it gives it."""
        opened, kept = self.opened, []

        def keep(_module: Any, _args: Any, output: Any) -> None:
            kept.append(put_back(output, taken(output).tensor.detach().clone()))

        with opened.lock:
            layer = find_layer(opened.forward.module, opened.recorded.layer)
            handle = layer.register_forward_hook(keep)
            try:
                with torch.no_grad():
                    opened.forward.module(opened.forward.inputs(self.photo[None]))
            finally:
                handle.remove()
        return kept[0]

    @property
    def maps(self) -> Tensor:
        """float32 (units, height, width), the layer's maps of the photo."""
        shape: tuple[int, int] = self.photo.shape[:2]
        return as_maps(self.output, self.opened.recorded.layer, shape)[0].float()


@dataclass(frozen=True, eq=False)
class Case(Input):
    """One photo of a run with its network open.

    Attributes
    ----------
    image : number in the run. row : in ``opened.recorded``. regions : of its concepts.
    """

    image: int
    row: int
    regions: Regions

    @property
    def predicted(self) -> int:
        """The network's class of the photo."""
        return int(self.opened.recorded.logits[self.row].argmax())

    @property
    def target(self) -> int:
        """Class of the true scene, −1 where the network does not know it."""
        return int(self.opened.recorded.target[self.row])

    @property
    def against(self) -> int:
        """The class that the answer is held against: the true scene of a wrong answer, the
        runner-up of a right one, or of one whose true scene is no class."""
        if self.target >= 0 and self.target != self.predicted:
            return self.target
        return runner_up(self.opened.recorded.logits[self.row])


def runner_up(logits: np.ndarray) -> int:
    """The class of the second largest logit; of a single class that class.

    >>> runner_up(np.array([0.1, 2.0, 1.5]))
    2
    """
    others = logits.copy()
    others[logits.argmax()] = -np.inf
    return int(others.argmax())
