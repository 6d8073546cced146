"""Layers of the tiny run and of the planted world: one with a linear head, one with a tail."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from core.attribution.case import Opened
from core.directions.layer import Layer
from core.runs.run_file import Run


@pytest.fixture(scope="module")
def own_run(tiny_run, tmp_path_factory) -> Run:
    """The tiny run in a folder of the module's own: results are kept beside it."""
    root = tmp_path_factory.mktemp("own")
    path = Path(shutil.copy(tiny_run.path, root))
    shutil.copytree(tiny_run.arrays, path.with_suffix(".arrays"))
    return Run(path)


@pytest.fixture(scope="module")
def linear(own_run) -> Opened:
    """The last layer: one linear layer reads the means of its maps."""
    return Opened.of(own_run, "body.3")


@pytest.fixture(scope="module")
def inner(own_run) -> Opened:
    """An inner layer, followed by a tail."""
    return Opened.of(own_run, "body.1")


@pytest.fixture(params=["linear", "inner"])
def layer(request) -> Layer:
    """Both."""
    return Layer.of(request.getfixturevalue(request.param))


@pytest.fixture(scope="module", params=["body.3", "body.1"])
def opened(request, planted) -> Opened:
    """Both layers of the planted world."""
    return Opened.of(planted, request.param)
