"""A drawn world in which one relation decides: is the red square left of the blue one?

Three classes: ``left`` and ``right`` photos show both squares, and most of them a green one;
``neither`` photos do not. Which
concepts a photo shows tells *neither* from the other two, and nothing but places tells these from
each other. The network is built by hand, and answers so by construction.
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

NAMES = ("red", "blue", "green", "yellow")
COLORS = ((1.0, 0.0, 0.0), (0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 1.0, 0.0))
CLASSES = ("left", "right", "neither")
SIDE, CELL = 32, 8
"""Pixels of a photo's side, and of a cell that one square has for itself."""


class Planted(nn.Module):
    """One unit for each colour, and logits from where red and blue are."""

    def __init__(self) -> None:
        super().__init__()
        # Each unit is 1 at its own colour and at most 0 at the others and at black.
        detect = torch.tensor(
            [[1.0, -1.0, -1.0], [-1.0, -1.0, 1.0], [-1.0, 1.0, -1.0], [1.0, 1.0, -2.0]]
        )
        convolution = nn.Conv2d(3, 4, 1)
        with torch.no_grad():
            convolution.weight.copy_(detect[:, :, None, None])
            convolution.bias.copy_(torch.tensor([0.0, 0.0, 0.0, -1.0]))  # type: ignore[union-attr]
        self.body = nn.Sequential(convolution, nn.ReLU(), nn.AvgPool2d(4))

    def forward(self, x: Tensor) -> Tensor:
        maps = self.body(x)[:, :2]
        mass = maps.sum((2, 3))
        at = (torch.arange(maps.shape[3]) + 0.5) / maps.shape[3]
        middle = (maps * at).sum((2, 3)) / (mass + 1e-6)
        both = torch.tanh(2 * mass).prod(1)
        turn = 4 * both * torch.tanh(8 * (middle[:, 1] - middle[:, 0]))
        return torch.stack([turn, -turn, 2 - 4 * both], 1)


def net() -> tuple[nn.Module, dict[str, Any]]:
    """The ``python:`` function."""
    return Planted(), {
        "preprocessing": Preprocessing(
            resize=(SIDE, SIDE), center_crop=None, mean=(0.0,) * 3, std=(1.0,) * 3
        ),
        "classes": list(CLASSES),
        "default_layer": "body",
    }


SPEC = "python:tests.graphs.planted:net"


def write_folder(root: Path, photos: int = 300, seed: int = 0) -> Path:
    """Photos with masks; every second one is of the split train."""
    rng = np.random.default_rng(seed)
    for name in ("images", "masks"):
        (root / name).mkdir(parents=True)
    rows = []
    for k in range(photos):
        pair = rng.random() < 0.6
        if pair:
            shown = [0, 1, *(n for n, share in ((2, 0.9), (3, 0.3)) if rng.random() < share)]
        else:
            shown = [
                int(rng.integers(2)),
                *(n for n, share in ((2, 0.1), (3, 0.7)) if rng.random() < share),
            ]
        cells = rng.permutation(16)[: len(shown)]
        while pair and cells[0] % 4 == cells[1] % 4:
            cells = rng.permutation(16)[: len(shown)]
        photo, mask = np.zeros((SIDE, SIDE, 3)), np.zeros((SIDE, SIDE), np.uint8)
        for n, cell in zip(shown, cells, strict=True):
            y, x = CELL * (cell // 4) + 1, CELL * (cell % 4) + 1
            photo[y : y + 6, x : x + 6] = COLORS[n]
            mask[y : y + 6, x : x + 6] = n + 1
        Image.fromarray((255 * photo).astype(np.uint8)).save(root / "images" / f"{k:03}.png")
        Image.fromarray(mask).save(root / "masks" / f"{k:03}.png")
        scene = "neither" if not pair else CLASSES[int(cells[0] % 4 > cells[1] % 4)]
        rows.append([f"{k:03}.png", scene, "train" if k % 2 else "test"])
    for name, head, body in (
        (
            "labels",
            ["value", "name", "category"],
            [[n + 1, c, "object"] for n, c in enumerate(NAMES)],
        ),
        ("scenes", ["image", "scene", "split"], rows),
    ):
        with (root / f"{name}.csv").open("w", newline="", encoding="utf-8") as f:
            csv.writer(f).writerows([head, *body])
    return root
