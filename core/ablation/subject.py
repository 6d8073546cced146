"""A layer before any edit, with its network open: what that gives now."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from core.ablation.edits import Change, Edit
from core.ablation.forward import copied, forward_edited
from core.ablation.images import stored_photos
from core.ablation.recorded import Recorded
from core.explain.photo import open_model
from core.models.base import LoadedModel
from core.models.forward import Forward
from core.models.head import PROBES, first_of
from core.models.hooks import as_maps, find_layer
from core.runs.facts import RunSettings


@dataclass(frozen=True)
class Subject:
    """A layer with its network open: what every strategy is checked against.

    On a few stored photos the network ran as it is, and with a random quarter of the layer's
    units disabled by a forward hook.

    Attributes
    ----------
    recorded : of the run. model, forward : its network, opened.
    picks : rows of the photos compared. inputs : the network's input for them.
    raw : the layer's output, as it gives it. maps : float32 (photos, units, height, width).
    off : units disabled. change : that edit.
    plain, hooked : float32 (photos, classes), logits without and with it.
    """

    recorded: Recorded
    model: LoadedModel
    forward: Forward
    picks: np.ndarray
    inputs: Tensor
    raw: Any
    maps: Tensor
    off: np.ndarray
    change: Change
    plain: np.ndarray
    hooked: np.ndarray

    @classmethod
    def of(cls, recorded: Recorded, model: LoadedModel | None = None) -> Subject:
        """Open the run's network (or take `model`) and run it on the photos compared.

        Raises UnitscopeError where the network is no longer the one of the run.
        """
        run, name = recorded.run, recorded.layer
        loaded = model or open_model(run)
        module, forward = loaded.module, Forward(loaded, [name])
        count, units = recorded.pooled.shape
        picks = np.linspace(0, count - 1, min(PROBES, count)).astype(int)
        photos = stored_photos(run, loaded.preprocessing, recorded.numbers[picks])
        inputs = forward.inputs(photos)
        rng = np.random.default_rng(0)
        off = np.sort(rng.choice(units, max(1, units // 4), replace=False))
        change = Change.of(Edit(tuple(off)), units)
        hooked = forward_edited(module, name, inputs, change).numpy()
        raw: list[Any] = []
        handle = find_layer(module, name).register_forward_hook(
            lambda _m, _a, output: raw.append(copied(output))
        )
        try:
            with torch.inference_mode():
                plain = first_of(module(inputs)).numpy()
        finally:
            handle.remove()
        maps = as_maps(raw[0], name, (inputs.shape[2], inputs.shape[3])).float()
        return cls(
            recorded, loaded, forward, picks, inputs, raw[0], maps, off, change, plain, hooked
        )

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of the network's input."""
        return self.inputs.shape[2], self.inputs.shape[3]

    @property
    def settings(self) -> RunSettings:
        """Settings of the run."""
        return self.recorded.run.settings

    @property
    def mixed(self) -> bool:
        """Was the run recorded in mixed precision?"""
        return self.settings.precision != "float32"
