"""MATLAB files, read by a worker process: SciPy and HDF5 may crash on a damaged file."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.escape import one_line
from core.foundation.worker import Worker, WorkerError

PATIENCE = 60.0
"""Seconds that reading one file's tables, or one photo, may take."""

_worker = Worker(
    Path(__file__).with_name("matlab_script.py"), "the library that reads it", PATIENCE
)


def mat_of(path: str | Path, *variables: str) -> dict[str, list[Any]]:
    """Variables of a MATLAB file up to version 7, or fields of one (``index.scene``).

    Each is a flat list of numbers and texts; those that are not there are left out. Raises BadFile.
    """
    path = Path(path)
    if not path.is_file():
        raise BadFile(path, "does not exist")
    try:
        value: dict[str, list[Any]] = json.loads(
            _worker.ask({"path": str(path.absolute()), "variables": variables})
        )
        return value
    except WorkerError as wrong:
        if "HDF reader for matlab v7.3" in str(wrong):
            raise BadFile(path, "is a v7.3 MATLAB file; the published one is older") from wrong
        raise BadFile(path, f"is not a whole MATLAB file: {one_line(str(wrong))}") from wrong


def hdf5(path: Path, **part: Any) -> bytes:
    """What :func:`core.datasets.matlab_script.answer` says of NYU Depth v2's file.

    Raises WorkerError; UnitscopeError where h5py is missing.
    """
    if find_spec("h5py") is None:
        raise UnitscopeError(
            "the published file of NYU Depth v2 needs the package h5py: pip install h5py"
        )
    return _worker.ask({"path": str(path.absolute()), **part})
