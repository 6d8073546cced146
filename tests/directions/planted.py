"""A planted world: which concepts a network rests on is known, since its weights are written down.

Photos of grey noise with coloured squares. A red square makes it an attic, a green one a barn, a
blue one a cellar; yellow squares are anywhere. The network's units detect the four colours and
brightness; its head reads the first three.
"""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from core.foundation.geometry import Preprocessing

SCENES = ("attic", "barn", "cellar")
COLORS = {
    "red": (230, 40, 40),
    "green": (40, 210, 40),
    "blue": (40, 60, 230),
    "gold": (220, 220, 30),
}
SIDE = 32


def write_folder(root: Path, images: int = 180, seed: int = 0) -> Path:
    """Photos with squares of 8 pixels on a grid of 8; masks with every square's colour."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    scenes = []
    for k in range(images):
        own = k % 3
        photo = rng.integers(90, 140, (SIDE, SIDE, 1)).repeat(3, 2).astype(np.uint8)
        mask = np.zeros((SIDE, SIDE), np.uint8)
        shown = [own, own] + [3] * int(rng.integers(0, 3))
        # One photo in eight shows another scene's colour as well.
        if k % 8 == 0:
            shown.append((own + 1) % 3)
        for color, place in zip(shown, rng.permutation(16), strict=False):
            y, x = 8 * (place // 4), 8 * (place % 4)
            tone = np.array(list(COLORS.values())[color]) + rng.integers(-20, 20)
            photo[y : y + 8, x : x + 8] = np.clip(tone, 0, 255)
            mask[y : y + 8, x : x + 8] = color + 1
        Image.fromarray(photo).save(root / "images" / f"{k:03}.png")
        Image.fromarray(mask).save(root / "masks" / f"{k:03}.png")
        scenes.append([f"{k:03}.png", SCENES[own], "train" if k // 3 % 2 else "test"])
    with (root / "labels.csv").open("w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["value", "name", "category"])
        rows.writerows([k + 1, name, "object"] for k, name in enumerate(COLORS))
    with (root / "scenes.csv").open("w", newline="", encoding="utf-8") as f:
        rows = csv.writer(f)
        rows.writerow(["image", "scene", "split"])
        rows.writerows(scenes)
    return root


class Net(nn.Module):
    """Colour detectors on cells of 4×4 pixels, averaged, and one linear layer.

    copies : of each detector, which share its weight in the head.
    """

    def __init__(self, copies: int = 1) -> None:
        super().__init__()
        units = 5 * copies
        colors = torch.tensor(
            [[1, -1, -1], [-1, 1, -1], [-1, -1, 1], [1, 1, -2], [0.3, 0.3, 0.3]],
            dtype=torch.float32,
        )
        colors = colors.repeat(copies, 1)
        first = nn.Conv2d(3, units, 4, stride=4)
        first.weight.data = (colors / 16)[:, :, None, None].expand(units, 3, 4, 4).clone()
        first.bias.data = torch.zeros(units)
        second = nn.Conv2d(units, units, 1)
        second.weight.data = torch.eye(units)[:, :, None, None] + 0.02 / copies
        second.bias.data = torch.zeros(units)
        self.body = nn.Sequential(first, nn.ReLU(), second, nn.ReLU())
        self.head = nn.Linear(units, 3)
        reads = torch.cat([4 * torch.eye(3), torch.zeros(3, 2)], 1)
        self.head.weight.data = reads.repeat(1, copies) / copies
        self.head.bias.data = torch.tensor([0.01, 0.0, -0.01])

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.body(x).mean((2, 3)))


ABOUT = {
    "preprocessing": Preprocessing(resize=None, center_crop=SIDE, mean=(0.0,) * 3, std=(1.0,) * 3),
    "classes": list(SCENES),
    "default_layer": "body.3",
}


def net() -> tuple[nn.Module, dict[str, Any]]:
    """The ``python:`` function."""
    return Net(), ABOUT


def wide() -> tuple[nn.Module, dict[str, Any]]:
    """The same network with twelve copies of each detector: 60 units."""
    return Net(12), ABOUT


SPEC, WIDE = "python:tests.directions.planted:net", "python:tests.directions.planted:wide"
