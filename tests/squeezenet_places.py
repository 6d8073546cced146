"""The Places365 SqueezeNet of the test data, as a user's own network by import path.

``python:tests.squeezenet_places:load:FOLDER/squeezenet_places365_152arrays.npz``. The facts of
its layout are in the data's README; the mean image and the class names lie beside the arrays.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from core.foundation.geometry import Preprocessing

SIDE = 224


class Unit(nn.Module):
    """Convolution, batch norm with stored statistics, leaky ReLU."""

    def __init__(self, inside: int, outside: int, kernel: int, stride: int = 1, padding: int = 0):
        super().__init__()
        self.conv = nn.Conv2d(inside, outside, kernel, stride, padding)
        self.bn = nn.BatchNorm2d(outside, eps=0.0)
        self.leak = nn.LeakyReLU(0.55)

    def forward(self, x: Tensor) -> Tensor:
        return self.leak(self.bn(self.conv(x)))


class Fire(nn.Module):
    """Squeeze to few channels, expand by 1×1 and 3×3, side by side."""

    def __init__(self, inside: int, squeeze: int, expand: int):
        super().__init__()
        self.squeeze1x1 = Unit(inside, squeeze, 1)
        self.expand1x1 = Unit(squeeze, expand, 1)
        self.expand3x3 = Unit(squeeze, expand, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.squeeze1x1(x)
        return torch.cat([self.expand1x1(x), self.expand3x3(x)], 1)


class SqueezeNet(nn.Module):
    """SqueezeNet 1.1 with batch norm and leaky units; input BGR 0…255."""

    def __init__(self, mean: Tensor, classes: int):
        super().__init__()
        self.register_buffer("mean", mean)
        self.conv1 = Unit(3, 64, 3, stride=2, padding=1)
        plan = [
            (16, 64),
            (16, 64),
            (32, 128),
            (32, 128),
            (48, 192),
            (48, 192),
            (64, 256),
            (64, 256),
        ]
        inside = 64
        for k, (squeeze, expand) in enumerate(plan):
            self.add_module(f"fire{k + 2}", Fire(inside, squeeze, expand))
            inside = 2 * expand
        self.pool = nn.ModuleDict(
            {name: nn.MaxPool2d(3, 2) for name in ("conv1", "fire3", "fire5")}
        )
        self.classifier = nn.Conv2d(inside, classes, 1)
        self.leak = nn.LeakyReLU(0.55)

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool["conv1"](self.conv1((x - self.mean) / 255.0))
        for k in range(2, 10):
            x = getattr(self, f"fire{k}")(x)
            if f"fire{k}" in self.pool:
                x = self.pool[f"fire{k}"](x)
        return self.leak(self.classifier(x)).mean((2, 3))


def mean_image(path: Path) -> Tensor:
    """(3, 224, 224) centre crop of the stored (3, 256, 256) BGR mean image: a protobuf blob
    whose packed floats are its last bytes."""
    values = np.frombuffer(path.read_bytes()[-3 * 256 * 256 * 4 :], "<f4").reshape(3, 256, 256)
    edge = (256 - SIDE) // 2
    return torch.from_numpy(values[:, edge : edge + SIDE, edge : edge + SIDE].copy())


def load(checkpoint: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The network with its weights, and what Unitscope needs to know of it."""
    stored = np.load(checkpoint, allow_pickle=False)
    arrays = [torch.from_numpy(stored[f"arr_{k}"].copy()) for k in range(152)]
    lines = (checkpoint.parent / "categories_places365.txt").read_text().split("\n")
    classes = [line.split(" ")[0] for line in lines if line]
    mean = mean_image(checkpoint.parent / "places365CNN_mean.binaryproto")
    net = SqueezeNet(mean, len(classes))
    units = [m for m in net.modules() if isinstance(m, Unit)]
    assert len(units) == 25
    for unit, k in zip(units, range(0, 150, 6), strict=True):
        weight, bias, beta, gamma, average, inverse_std = arrays[k : k + 6]
        unit.conv.weight.data = weight.flip(2, 3).contiguous()
        unit.conv.bias.data = bias
        unit.bn.bias.data, unit.bn.weight.data = beta, gamma
        unit.bn.running_mean.data = average
        unit.bn.running_var.data = inverse_std.pow(-2)
    net.classifier.weight.data, net.classifier.bias.data = arrays[150].flip(2, 3), arrays[151]
    return net, {
        "preprocessing": Preprocessing(
            crop=(8, 8, 632, 472),
            resize=256,
            center_crop=SIDE,
            channels="BGR",
            divide=1.0,
            mean=(0.0, 0.0, 0.0),
            std=(1.0, 1.0, 1.0),
        ),
        "classes": classes,
        "default_layer": "fire9",
    }


def trainable(checkpoint: Path) -> tuple[nn.Module, dict[str, Any]]:
    """The same network for training again: PyTorch asks of a batch norm in training that its eps
    be above 0, so a little of each stored variance is told as eps."""
    net, told = load(checkpoint)
    for unit in net.modules():
        if isinstance(unit, Unit):
            unit.bn.eps = 1e-5
            unit.bn.running_var.data = (unit.bn.running_var - 1e-5).clamp_min(0)
    return net, told
