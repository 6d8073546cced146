"""The embedded network: a small ResNet for the scenes of `rooms`.

Stem and four stages, global average pooling, one linear layer: the shape on which disabling a
unit is exact on pooled features. ``layer4`` has 192 units on an 8 × 8 grid at 128 pixels.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.geometry import Preprocessing
from core.foundation.plain import Json
from core.foundation.settings import ROOT
from core.models.base import LoadedModel
from core.models.checkpoint import read_checkpoint
from core.models.fit import fill

WEIGHTS = ROOT / "data" / "rooms_resnet.pt"
INPUT = 128
MEAN, STD = (0.45, 0.42, 0.38), (0.25, 0.25, 0.26)
PREPROCESSING = Preprocessing(resize=(INPUT, INPUT), center_crop=None, mean=MEAN, std=STD)
"""The whole photo, resized to 128 × 128: what is dissected is all that there is."""


class Block(nn.Module):
    """Two 3 × 3 convolutions with batch norm and a residual connection; ReLU output.

    inputs, outputs : channels. stride : of the first convolution and of the shortcut.
    """

    def __init__(self, inputs: int, outputs: int, stride: int = 1):
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.shortcut = (
            nn.Sequential(
                nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
            )
            if stride != 1 or inputs != outputs
            else nn.Identity()
        )

    def forward(self, x: Tensor) -> Tensor:
        y = F.relu(self.bn1(self.conv1(x)))
        return F.relu(self.bn2(self.conv2(y)) + self.shortcut(x))


class RoomsNet(nn.Module):
    """Logits (N, classes) of normalised photos (N, 3, 128, 128); any multiple of 16 works.

    Grids at 128 pixels: stem 64, layer1 32, layer2 16, layer3 16, layer4 8. A global average
    over layer4 goes through one linear layer, `fc`.
    """

    def __init__(self, classes: int, widths: tuple[int, ...] = (24, 32, 64, 96, 192)):
        super().__init__()
        w = widths
        self.conv1 = nn.Conv2d(3, w[0], 3, 2, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(w[0])
        self.layer1 = Block(w[0], w[1], 2)
        self.layer2 = Block(w[1], w[2], 2)
        self.layer3 = Block(w[2], w[3], 1)
        self.layer4 = Block(w[3], w[4], 2)
        self.avgpool = nn.AdaptiveAvgPool2d(1)
        self.fc = nn.Linear(w[4], classes)

    def forward(self, x: Tensor) -> Tensor:
        x = F.relu(self.bn1(self.conv1(x)))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        logits: Tensor = self.fc(self.avgpool(x).flatten(1))
        return logits


def save(
    module: RoomsNet, classes: list[str], notes: Mapping[str, Any], path: Path = WEIGHTS
) -> None:
    """Write half-precision weights with classes, preprocessing and `notes` (plain values).

    The file loads with ``torch.load(weights_only=True)``; written privately, then renamed.
    """
    state = {k: v.half() if v.is_floating_point() else v for k, v in module.state_dict().items()}
    stored = {
        "state_dict": state,
        "classes": list(classes),
        "preprocessing": PREPROCESSING.to_json(),
        **notes,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(path.name + ".partial")
    torch.save(stored, part)
    part.replace(path)


def load(path: Path) -> tuple[nn.Module, Json]:
    """Other weights of this network, as ``python:core.rooms.network:load:FILE`` opens them.

    The file is one that :func:`save` writes, or that re-training leaves.
    """
    state, notes = read_checkpoint(path)
    module = RoomsNet(len(notes["classes"]))
    fill(module, state, path.name)
    return module, {**notes, "default_layer": "layer4"}


def load_rooms(spec: str, rest: str = "") -> LoadedModel:
    """The embedded network, as the SPEC ``rooms`` opens it; ``rooms:NAME`` opens its sibling that
    was trained on a planted shortcut, ``data/rooms_NAME.pt`` (docs/rooms.md).

    Raises UnitscopeError where there is none of that name.
    """
    path = WEIGHTS
    if spec != "rooms":
        path = WEIGHTS.with_name(f"rooms_{rest}.pt")
        names = siblings()
        if rest not in names:
            raise unknown("network of rooms", rest, names)
    if not path.is_file():
        raise UnitscopeError(
            f"{path.name} is not there; train it with `python -m core.rooms.train`"
        )
    state, notes = read_checkpoint(path)
    classes = [str(name) for name in notes.pop("classes")]
    module = RoomsNet(len(classes))
    fill(module, state, path.name)
    preprocessing = Preprocessing.from_json(notes.pop("preprocessing"))
    return LoadedModel(module, preprocessing, classes, spec, "layer4", notes)


def siblings() -> list[str]:
    """Names behind ``rooms:`` that open a network of planted shortcuts."""
    found = (path.stem.removeprefix("rooms_") for path in WEIGHTS.parent.glob("rooms_*.pt"))
    return sorted(name for name in found if name != "resnet")
