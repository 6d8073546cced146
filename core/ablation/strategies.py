"""Disabling units, exactly: what the network would say of every image of a run (task T3).

Disabling sets a unit's whole map to 0; more generally an :class:`Edit` multiplies it by a factor
or clamps it to one value. There are three ways to know the logits that follow, and a numerical
check when a :class:`Toggler` is prepared decides which is taken, never a name:

``closed form``     the head is a global average and one linear layer. An edit that changes the
                    mean of unit t by d_t changes the logits by Σ_t d_t·W_t, for all images at
                    once. Equal to the network with the edit in place: the recorded means are
                    those of its own float32 maps. Compared kind by kind (:func:`kind_of`): an
                    edit of a kind that fails is computed by one of the ways below.
``replayed tail``   everything after the layer is run again on the recorded maps. Equal to the
                    network *whose layer is rounded to the recorded type* and then edited: half
                    precision by default, the network itself with ``--map-type float32``. Before
                    and after are both of that network, so their difference is the edit's alone.
``whole forward``   the maps do not decide the logits (a skip connection runs past the layer), or
                    none were kept: the network runs whole,
                    with a hook, on the dataset's photos. Equal to the network. Where the dataset
                    is gone or another one, on the run's stored photos, which are JPEGs: before
                    and after are then both of those. A network whose answers depend on the
                    other photos of a batch runs on the run's own batches, whole.

How far each way's unedited predictions are from the recorded ones is in :attr:`Toggler.check`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from core.ablation.edits import Change, kind_of
from core.ablation.forward import apply_change, forward_edited
from core.explain.photo import open_model
from core.models.forward import Forward
from core.models.head import CLOSE, agree, first_of
from core.models.hooks import as_maps, tokens_beside
from core.runs.run_file import Run

WAYS = ("closed form", "replayed tail", "whole forward")


class Source(Protocol):
    """Where logits come from when they must be computed by the network."""

    def load(self, images: np.ndarray) -> Any:
        """What is needed of some images (numbers in the run), read once a shard."""

    def logits(self, loaded: Any, change: Change) -> np.ndarray:
        """float32 (images, classes) under a change of the layer."""


class Tail:
    """The replayed tail of a network, from recorded maps and the tokens beside them."""

    def __init__(
        self,
        maps: np.ndarray,
        beside: np.ndarray | None,
        tail: nn.Module,
        layer: str,
        shape: torch.Size,
        seen: tuple[int, int],
        channels_last: bool,
    ):
        self.maps, self.beside, self.tail, self.layer = maps, beside, tail, layer
        self.shape, self.seen, self.channels_last = shape, seen, channels_last

    def load(self, images: np.ndarray) -> tuple[Tensor, Tensor | None]:
        def read(array: np.ndarray) -> Tensor:
            return torch.from_numpy(np.array(array[images])).float()

        return read(self.maps), None if self.beside is None else read(self.beside)

    def output(self, maps: Tensor, beside: Tensor | None, change: Change) -> Tensor:
        """Changed maps laid out as the layer gives them; tokens beside them unchanged."""
        empty = torch.zeros(len(maps), *self.shape[1:])
        if self.channels_last and empty.ndim == 4:
            empty = empty.contiguous(memory_format=torch.channels_last)
        view = as_maps(empty, self.layer, self.seen)
        view.copy_(maps)
        apply_change(view, change)
        apart = tokens_beside(empty, self.seen)
        if apart is not None and beside is not None:
            apart.copy_(beside)
        return empty

    def logits(self, loaded: tuple[Tensor, Tensor | None], change: Change) -> np.ndarray:
        with torch.inference_mode():
            return first_of(self.tail(self.output(*loaded, change))).numpy()


class Whole:
    """The whole network, on photos given by `photos`: numbers of images → uint8 RGB.

    batch : 0, or the size of the run's batches, which are then run whole: image n among those of
        numbers batch·⌊n/batch⌋ …, as when it was recorded. An edit that is the same for all
        images is made in the whole batch; one that differs from image to image, in the images it
        is asked for.
    images : numbers of all images of the run; the others of a batch were black in it.
    """

    def __init__(
        self,
        forward: Forward,
        layer: str,
        photos: Callable[[np.ndarray], np.ndarray],
        batch: int,
        images: np.ndarray,
        planned: int,
    ):
        self.forward, self.layer, self.photos = forward, layer, photos
        self.batch, self.images, self.planned = batch, images, planned

    def _batch_of(self, first: int) -> np.ndarray:
        numbers = np.arange(first, min(first + self.batch, self.planned))
        there = np.isin(numbers, self.images)
        seen = self.photos(numbers[there])
        whole = np.zeros((len(numbers), *seen.shape[1:]), np.uint8)
        whole[there] = seen
        return whole

    def load(self, images: np.ndarray) -> list[tuple[np.ndarray, np.ndarray, Tensor]]:
        """(places in `images`, their places in a batch, the batch's input) of every batch."""
        if not self.batch:
            every = np.arange(len(images))
            return [(every, every, self.forward.inputs(self.photos(images)))]
        loaded = []
        for first in np.unique(images // self.batch) * self.batch:
            places = np.flatnonzero(images // self.batch * self.batch == first)
            batch = self.forward.inputs(self._batch_of(int(first)))
            loaded.append((places, images[places] - first, batch))
        return loaded

    def logits(
        self, loaded: list[tuple[np.ndarray, np.ndarray, Tensor]], change: Change
    ) -> np.ndarray:
        parts = []
        for places, inside, inputs in loaded:
            here = change
            if change.scale.ndim == 2:
                units = change.scale.shape[1]
                here = Change.nothing((len(inputs), units))
                here.scale[inside], here.shift[inside] = change.scale[places], change.shift[places]
            gave = forward_edited(self.forward.module, self.layer, inputs, here).numpy()
            parts.append((places, gave[inside]))
        out = np.empty((sum(len(places) for places, _ in parts), parts[0][1].shape[1]), np.float32)
        for places, gave in parts:
            out[places] = gave
        return out


class Proof:
    """The closed form of a layer against a forward hook, one kind of edit after the other.

    On a few photos a random quarter of the units is edited. ``probes`` has the agreement found for
    each kind, ``reach`` the strength up to which it passed.

    Parameters
    ----------
    module, inputs : the network and the photos' input. means : (photos, units) of its maps.
    strongest : the largest absolute activation on these photos; clamps are tried at ± it.
    """

    def __init__(
        self,
        run: Run,
        layer: str,
        module: nn.Module,
        inputs: Tensor,
        means: np.ndarray,
        weights: np.ndarray,
        bias: np.ndarray,
        off: np.ndarray,
        strongest: float,
    ):
        self.run, self.layer, self.inputs, self.means = run, layer, inputs, means
        self.weights, self.bias, self.off = weights, bias, off
        self.probes: dict[str, float] = {}
        self.reach: dict[str, float] = {}
        self._beyond: dict[tuple[float, float], float] = {}
        for scale, shift in (
            (1.0, 0.0),
            (0.0, 0.0),
            (0.5, 0.0),
            (2.0, 0.0),
            (-1.0, 0.0),
            (0.0, strongest),
            (0.0, -strongest),
        ):
            kind, strength = kind_of(scale, shift)
            self.probes[kind] = self._agreement(module, scale, shift)
            if self.probes[kind] <= CLOSE:
                self.reach[kind] = strength

    def _agreement(self, module: nn.Module, scale: float, shift: float) -> float:
        change = Change.nothing(self.means.shape[1])
        change.scale[self.off], change.shift[self.off] = scale, shift
        hooked = forward_edited(module, self.layer, self.inputs, change).numpy()
        told = (self.means * change.scale + change.shift) @ self.weights + self.bias
        return agree(told, hooked)

    def holds(self, scale: float, shift: float) -> bool:
        """Does the closed form answer this edit? One that is stronger than its kind was tried at
        is tried now, on the network opened again."""
        kind, strength = kind_of(scale, shift)
        if kind not in self.reach:
            return False
        if strength <= self.reach[kind]:
            return True
        if (scale, shift) not in self._beyond:
            module = open_model(self.run).module
            self._beyond[scale, shift] = self._agreement(module, scale, shift)
            if self._beyond[scale, shift] <= CLOSE:
                self.reach[kind] = strength
        return self._beyond[scale, shift] <= CLOSE

    def told(self, scale: float, shift: float) -> str:
        """An edit that failed, and by how much."""
        kind, strength = kind_of(scale, shift)
        found = self._beyond.get((scale, shift), self.probes[kind])
        words = kind if kind not in self.reach else f"{kind} ({shift or scale:g})"
        return f"units {words}: it differs from a forward hook by {found:.1e} of the largest logit"
