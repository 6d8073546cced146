"""A layer's stored maps and the frozen head behind them, differentiable: what concept vectors are
learned on, tested by, and taken out of."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from core.ablation.edits import Change
from core.attribution.case import Opened
from core.foundation.errors import UnitscopeError
from core.models.head import first_of
from core.runs.run_file import Run

BATCH = 32
"""Photos whose gradients are computed at once."""

LOGIT, PROBABILITY = "logit", "probability"
OF = (LOGIT, PROBABILITY)
"""What of a class is differentiated: its logit h_k, as Kim et al. (ICML 2018, Eq. 1) write it, or
log p_k, which the gradient of the loss is in their code, with its sign turned."""


@dataclass(frozen=True, eq=False)
class Layer:
    """A layer of a run with its network open.

    Attributes
    ----------
    opened : the run, its layer and its network.
    maps : float16 or float32 (images, units, height, width), as the run stored them, mapped.
    """

    opened: Opened
    maps: np.ndarray

    @classmethod
    def of(cls, opened: Opened) -> Layer:
        """Raises UnitscopeError where the run kept no maps, and where what follows the layer can be
        neither read off as one linear layer nor cut off."""
        run, name = opened.run, opened.recorded.layer
        if not run.settings.keep_maps:
            raise UnitscopeError(
                f"run {run.digest} kept no maps (--no-maps), and concept vectors are learned on "
                "them; make it again with its maps"
            )
        if opened.head is None and opened.tail is None:
            raise UnitscopeError(
                f"what follows layer {name!r} cannot be cut off: the network's answer also depends "
                "on what runs past it. Concept vectors need a layer that everything runs through, "
                "such as the end of a stage"
            )
        return cls(opened, run.array(f"maps-{name}"))

    @property
    def run(self) -> Run:
        """The run."""
        return self.opened.run

    @property
    def name(self) -> str:
        """The layer's dotted name."""
        return self.opened.recorded.layer

    @property
    def shape(self) -> tuple[int, int, int]:
        """(units, height, width) of a map."""
        units, height, width = self.maps.shape[1:]
        return int(units), int(height), int(width)

    @cached_property
    def head(self) -> tuple[Tensor, Tensor] | None:
        """(weights float32 (units, classes), bias (classes,)) where one linear layer reads the
        means of the maps: the closed form of all that follows."""
        if self.opened.head is None:
            return None
        weights, bias = self.opened.head
        return torch.from_numpy(np.ascontiguousarray(weights)), torch.from_numpy(bias)

    def activations(self, images: np.ndarray) -> Tensor:
        """float32 (images, units, height, width), the stored maps of image numbers."""
        return torch.from_numpy(np.asarray(self.maps[images], np.float32))

    def answers(self, maps: Tensor, images: np.ndarray) -> Tensor:
        """float32 logits (images, classes) of maps of those images, through which gradients flow.

        Class and register tokens, where the layer has some, are those recorded of the images.
        """
        if self.head is not None:
            weights, bias = self.head
            return maps.mean((2, 3)) @ weights + bias
        tail = self.opened.tail
        if tail is None:
            raise UnitscopeError(f"layer {self.name!r} has no head that could be asked")
        tokens = None
        if tail.tokens is not None:
            tokens = torch.from_numpy(np.array(tail.tokens[images])).float()
        unchanged = Change.nothing(maps.shape[1])
        return first_of(tail.tail(tail.output(maps, tokens, unchanged)))

    def gradients(self, images: np.ndarray, classes: np.ndarray, of: str = LOGIT) -> Tensor:
        """∂ of a class's logit (or log-probability) by the stored maps, one class for each image:
        float32 (images, units, height, width).

        of : :data:`LOGIT` or :data:`PROBABILITY`.
        """
        parts = []
        with self.opened.lock, torch.enable_grad():
            for start in range(0, len(images), BATCH):
                numbers = images[start : start + BATCH]
                maps = self.activations(numbers).requires_grad_(True)
                logits = self.answers(maps, numbers)
                if of == PROBABILITY:
                    logits = torch.log_softmax(logits, 1)
                asked = torch.from_numpy(np.asarray(classes[start : start + BATCH], np.int64))
                chosen = logits.gather(1, asked[:, None])
                (gradient,) = torch.autograd.grad(chosen.sum(), maps)
                parts.append(gradient)
        return torch.cat(parts) if parts else torch.zeros(0, *self.shape)
