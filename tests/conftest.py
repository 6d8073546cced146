"""What several test modules use."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """The real data sets (NYUv2, ADE20K's index, …), which are not part of the repository.

    At UNITSCOPE_DATA, by default ``shared/data`` beside the repository's folder.
    """
    root = Path(__file__).resolve().parents[1]
    path = Path(os.environ.get("UNITSCOPE_DATA") or root.parent / "shared" / "data")
    if not path.is_dir():
        if os.environ.get("CI"):
            pytest.fail(f"{path} is missing, and in CI these tests always run")
        pytest.skip("real data not found: set UNITSCOPE_DATA to the folder that holds nyuv2/, …")
    return path
