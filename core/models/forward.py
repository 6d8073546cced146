"""Forward passes over batches of photos, with activations of the chosen layers recorded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from core.foundation.errors import UnitscopeError
from core.models.base import LoadedModel
from core.models.hooks import capture_by
from core.models.outputs import vector

MAP_TYPES = {"float16": torch.float16, "float32": torch.float32}


def usable_device(name: str) -> torch.device:
    """A PyTorch device by name. Raises UnitscopeError where it cannot be used on this machine."""
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UnitscopeError(f"device is cpu or cuda, not {name!r}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise UnitscopeError(f"device {name!r} was asked for, but no GPU can be seen here")
    try:
        torch.ones(1, device=device).add(1).item()
    except Exception as err:
        raise UnitscopeError(
            f"device {name!r} cannot compute here ({(str(err).splitlines() or [''])[0]}); "
            "cpu always can"
        ) from err
    return device


class Watched(NamedTuple):
    """Activations of one layer for a batch.

    maps : (images, units, height, width) in the recorded type, on the network's device.
    pooled : float32 (images, units), the mean over the grid before rounding.
    peaks : float32 (images, units), the largest recorded activation.
    beside : (images, tokens, units) in the recorded type: class and register tokens, which are
        no part of the maps; None where there are none.
    faults : image of the batch → what is no finite number, in words.
    beyond : (unit, largest activation) where finite activations do not fit the recorded type.
    """

    maps: Tensor
    pooled: np.ndarray
    peaks: np.ndarray
    beside: Tensor | None = None
    faults: Mapping[int, str] = {}
    beyond: tuple[int, float] | None = None


class Passed(NamedTuple):
    """A forward pass: float32 logits (images, classes), with no columns where the network has no
    classifier, and every watched layer.

    faults : image of the batch → where the network gave what is no finite number, naming layer
        and unit, or class. All that is kept of such an image is 0.
    """

    logits: np.ndarray
    layers: dict[str, Watched]
    faults: dict[int, str]


class Forward:
    """A network prepared for batches, with the given layers recorded.

    Parameters
    ----------
    device : ``"cpu"``, ``"cuda"``, …
    precision : ``"float32"``, or ``"bfloat16"`` for automatic mixed precision.
    map_type : the type in which activations are recorded. Thresholds and masks are computed
        from the recorded values, whether they are kept on disk or not.
    """

    def __init__(
        self,
        loaded: LoadedModel,
        layers: list[str],
        device: str = "cpu",
        precision: str = "float32",
        map_type: str = "float16",
    ):
        if precision not in ("float32", "bfloat16"):
            raise UnitscopeError(f"precision is float32 or bfloat16, not {precision!r}")
        if map_type not in MAP_TYPES:
            raise UnitscopeError(f"map type is {' or '.join(MAP_TYPES)}, not {map_type!r}")
        self.device = usable_device(device)
        self.precision = precision
        self.layers = layers
        self.map_type = map_type
        self.module = loaded.module.to(self.device)
        self.answers = not loaded.backbone
        preprocessing = loaded.preprocessing
        std = torch.tensor(preprocessing.std, dtype=torch.float32)
        self._scale = (1.0 / (std * preprocessing.divide)).reshape(1, 3, 1, 1).to(self.device)
        self._shift = (-torch.tensor(preprocessing.mean) / std).reshape(1, 3, 1, 1).to(self.device)
        self._reverse = preprocessing.channels == "BGR"

    def inputs(self, seen: np.ndarray) -> Tensor:
        """uint8 (images, height, width, 3) RGB → normalised float32, channels last."""
        x = torch.from_numpy(seen).to(self.device)
        if self._reverse:
            x = x.flip(-1)
        return x.permute(0, 3, 1, 2).float().mul_(self._scale).add_(self._shift)

    def _keep(self, maps: Tensor, beside: Tensor | None) -> Watched:
        parts = [maps] if beside is None else [maps, beside]
        recorded = [part.to(MAP_TYPES[self.map_type], copy=True) for part in parts]
        faults: dict[int, str] = {}
        beyond = None
        for part, kept, units in zip(parts, recorded, (1, 2), strict=False):
            if torch.isfinite(kept).all():
                continue
            # (images, units, places), of maps and tokens alike.
            values, held = (t.movedim(units, 1).flatten(2) for t in (part, kept))
            finite = torch.isfinite(values)
            for image in (~finite.flatten(1).all(1)).nonzero().flatten().tolist():
                unit, place = (~finite[image]).nonzero()[0].tolist()
                faults.setdefault(image, f"{values[image, unit, place].item()} for unit {unit}")
            wide = values.abs().where(finite & ~torch.isfinite(held), 0.0).amax((0, 2))
            if wide.any():
                beyond = int(wide.argmax()), float(wide.max())
        return Watched(
            recorded[0],
            maps.float().mean((2, 3)).cpu().numpy(),
            recorded[0].amax((2, 3)).float().cpu().numpy(),
            None if beside is None else recorded[1],
            faults,
            beyond,
        )

    def __call__(self, seen: np.ndarray, names: Sequence[str] | None = None) -> Passed:
        """One forward pass over uint8 photos (images, height, width, 3) as the network sees them.

        names : of the photos. Where they are given, an image for which the network gives what is
        no finite number is an error that names it; else it is one of :attr:`Passed.faults`.

        Raises UnitscopeError where activations do not fit the recorded type, naming the layer.
        """
        mixed = (
            torch.autocast(self.device.type, torch.bfloat16)
            if self.precision == "bfloat16"
            else nullcontext()
        )
        with (
            torch.inference_mode(),
            mixed,
            capture_by(self.module, self.layers, self._keep) as found,
        ):
            output = self.module(self.inputs(seen))
        missing = [layer for layer in self.layers if layer not in found]
        if missing:
            raise UnitscopeError(f"the forward pass never reached layer {', '.join(missing)}")
        logits = np.zeros((len(seen), 0), np.float32)
        if self.answers:
            logits = vector(output).float().cpu().numpy()
        faults: dict[int, str] = {}
        for layer, watched in found.items():
            if watched.beyond:
                unit, most = watched.beyond
                raise UnitscopeError(
                    f"layer {layer!r}, unit {unit}: activations reach {most:.0f}, more than half "
                    "precision holds; use --map-type float32"
                )
            for image, words in watched.faults.items():
                faults.setdefault(image, f"layer {layer!r} of the network gives {words}")
        for image in np.flatnonzero(~np.isfinite(logits).all(1)).tolist():
            place = int(np.flatnonzero(~np.isfinite(logits[image]))[0])
            faults.setdefault(image, f"the network gives {logits[image, place]} for output {place}")
        faults = {image: f"{words}, not a finite number" for image, words in sorted(faults.items())}
        if faults and names is not None:
            image, words = next(iter(faults.items()))
            raise UnitscopeError(f"{names[image]}: {words}")
        at = list(faults)
        if at:
            logits[at] = 0
            with torch.inference_mode():
                for watched in found.values():
                    for kept in (watched.maps, watched.pooled, watched.peaks, watched.beside):
                        if kept is not None:
                            kept[at] = 0
        return Passed(logits, dict(found), faults)
