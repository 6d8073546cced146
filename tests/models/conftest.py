"""Small networks, and timm where it is installed."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision import models as zoo


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return zoo.squeezenet1_1(num_classes=5).eval()


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm")


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    return zoo.resnet18(num_classes=4).eval()
