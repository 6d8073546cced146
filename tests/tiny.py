"""A folder of small random photos with masks, and a small network: whole runs in a second."""

from __future__ import annotations

import csv
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from core.foundation.geometry import Preprocessing

SCENES = ("attic", "barn", "cellar")


def write_folder(root: Path, images: int = 150, seed: int = 0) -> Path:
    """`images` photos of 40×32 pixels in blotches, an object mask and a part mask each."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    for k in range(images):
        blotches = rng.integers(0, 256, (4, 5, 3)).astype(np.uint8)
        Image.fromarray(blotches).resize((40, 32), Image.Resampling.BICUBIC).save(
            root / "images" / f"{k:03}.png"
        )
        for suffix, low, high in (("", 0, 5), (".part", 5, 9)):
            mask = rng.integers(low, high, (4, 5)).astype(np.uint8)
            mask[mask == 5] = 0
            Image.fromarray(mask).resize((40, 32), Image.Resampling.NEAREST).save(
                root / "masks" / f"{k:03}{suffix}.png"
            )
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["value", "name", "category"])
        rows.writerows([v, f"thing {v}", "object"] for v in range(1, 5))
        rows.writerows([v, f"piece {v}", "part"] for v in range(6, 9))
    with (root / "scenes.csv").open("w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["image", "scene", "split"])
        rows.writerows(
            [f"{k:03}.png", SCENES[k % 3], "train" if k % 2 else "test"] for k in range(images)
        )
    return root


class Net(nn.Module):
    """Two convolutions, global average pooling, a linear layer; weights from a seed."""

    def __init__(self, classes: int = 3):
        super().__init__()
        torch.manual_seed(0)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(12, classes)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def net(checkpoint: Path | None = None) -> tuple[nn.Module, dict[str, Any]]:
    """The ``python:`` function. A checkpoint here is a state dict file."""
    module = Net()
    if checkpoint is not None:
        module.load_state_dict(torch.load(checkpoint, weights_only=True))
    return module, {
        "preprocessing": Preprocessing(resize=(32, 28), center_crop=24),
        "classes": list(SCENES),
        "default_layer": "body.3",
    }


SPEC = "python:tests.tiny:net"


def uncropped() -> tuple[nn.Module, dict[str, Any]]:
    """The same network on the middle of the photo at its own scale: small photos do not fit."""
    module, info = net()
    return module, {**info, "preprocessing": Preprocessing(resize=None, center_crop=(24, 20))}


class Wide(nn.Module):
    """128 units with batch norm, on weights from a seed."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(
            nn.Conv2d(3, 16, 3, stride=2, padding=1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
            nn.Conv2d(16, 128, 3, stride=2, padding=1),
            nn.ReLU(),
        )
        self.head = nn.Linear(128, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


def wide() -> tuple[nn.Module, dict[str, Any]]:
    """Another network for the same photos, with units enough to speak of shares of them."""
    return Wide(), {**net()[1], "default_layer": "body.4"}


def twin() -> tuple[nn.Module, dict[str, Any]]:
    """The untrained twin of :func:`net` as a network of its own."""
    from core.models.load import load_model
    from core.models.untrained import untrained_twin

    return untrained_twin(load_model(SPEC)).module, net()[1]


class Learned(Net):
    """The same network with a weight that belongs to no module that could draw it anew."""

    def __init__(self) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(12))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)) * self.gain)


def learned() -> tuple[nn.Module, dict[str, Any]]:
    """A network that has no untrained twin."""
    return Learned(), net()[1]


class Slow(Net):
    """The same network, in no hurry: there is time to stop a run of it."""

    seconds = 0.25

    def forward(self, x: Tensor) -> Tensor:
        time.sleep(self.seconds)
        return super().forward(x)


def slow() -> tuple[nn.Module, dict[str, Any]]:
    """:func:`net`, a quarter of a second a batch."""
    return Slow(), net()[1]


def slower() -> tuple[nn.Module, dict[str, Any]]:
    """:func:`net`, two seconds a batch: enough for a browser on a busy machine."""
    made = Slow()
    made.seconds = 2.0
    return made, net()[1]


def dissect(spec: str, root: Path, **settings: Any) -> Any:
    """A finished run of the network on a few images, whatever share of them is lost."""
    from dataclasses import replace

    from core.dissect.pipeline import execute
    from core.dissect.plan import plan
    from core.foundation.settings import Settings

    asked = Settings(spec, SPEC, **{"q": 0.05, "shuffles": 1, **settings})
    return execute(replace(plan(asked), allow_loss=True), root, threads=1)
