"""Vega-Lite → SVG, PDF or PNG in a separate process, whose crash does not affect this one.

vl-convert ends the process that calls it where a chart is more than it can draw: no exception can
be caught. So :mod:`core.figures.converter_script` calls it, in a worker.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from core.foundation.worker import Worker, WorkerError

PATIENCE = 60.0
"""Seconds a chart may take."""


class ConversionError(Exception):
    """A chart that could not be drawn; says why."""


_worker = Worker(Path(__file__).with_name("converter_script.py"), "the converter", PATIENCE)


def convert(spec: dict[str, Any], kind: str) -> bytes:
    """A Vega-Lite specification as the bytes of an ``svg``, ``pdf`` or ``png`` file (200 dpi).

    Raises ConversionError where vl-convert cannot draw it, ends, or takes over a minute.
    """
    try:
        return _worker.ask({"spec": spec, "kind": kind})
    except WorkerError as err:
        raise ConversionError(str(err)) from err
