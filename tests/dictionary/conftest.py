"""A dictionary of the tiny network's last layer, and a run in which its features are units."""

from __future__ import annotations

from pathlib import Path

import pytest

from core.dictionary.make import make_dictionary
from core.dictionary.train import Recipe
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation.settings import Settings
from core.models.dictionary import write_dictionary
from core.runs.run_file import Run
from tests import tiny

RECIPE = Recipe(features=20, k=3, steps=80, batch=64)


@pytest.fixture(scope="package")
def dictionary_file(tiny_run, tmp_path_factory) -> Path:
    """Trained on `tiny_run`'s body.3."""
    path = tmp_path_factory.mktemp("dictionary") / "tiny.pt"
    write_dictionary(make_dictionary(tiny_run, "body.3", RECIPE), path)
    return path


@pytest.fixture(scope="package")
def features_run(tiny_run, dictionary_file, tmp_path_factory) -> Run:
    """`tiny_run`'s photos, dissected at the dictionary's codes and at the layer it is of."""
    settings = Settings(
        tiny_run.settings.dataset.spec,
        f"dictionary:{dictionary_file}@{tiny.SPEC}",
        layers=("body.3", "dictionary.codes"),
        q=0.05,
        shuffles=3,
    )
    return execute(plan(settings), tmp_path_factory.mktemp("runs"), threads=1)
