"""Files of weights as training code and releases write them."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import nn

from core.models.load import load_model


def same(module: nn.Module, wanted: nn.Module, atol: float = 0.0) -> None:
    own, other = module.state_dict(), wanted.state_dict()
    assert list(own) == list(other)
    for name, value in own.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=atol)


def opened(path: Path, state: dict, kind: str = "torchvision:resnet18", **facts):
    torch.save({"state_dict": state, **facts}, path)
    return load_model(f"{kind}:{path}")
