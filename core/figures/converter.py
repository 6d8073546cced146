"""Vega-Lite → SVG, PDF or PNG in a separate process, whose crash does not affect this one.

vl-convert ends the process that calls it where a chart is more than it can draw: no exception can
be caught. So :mod:`core.figures.converter_script` calls it, in a worker.
"""

from __future__ import annotations

from pathlib import Path

from core.foundation.plain import Json
from core.foundation.worker import Worker, WorkerError

PATIENCE = 60.0
"""Seconds a chart may take."""


class ConversionError(Exception):
    """A chart that could not be drawn; says why."""


_worker = Worker(Path(__file__).with_name("converter_script.py"), "the converter", PATIENCE)


def convert(drawn: Json | str, kind: str, scale: float = 1.0, dpi: int = 200) -> bytes:
    """A Vega-Lite specification, or an SVG, as the bytes of an ``svg``, ``pdf`` or ``png`` file.

    scale : points of a pixel, and dpi, of PNG. A PDF has a point for each pixel.

    Raises ConversionError where vl-convert cannot draw it, ends, or takes over a minute.
    """
    try:
        return _worker.ask({"drawn": drawn, "kind": kind, "scale": scale, "dpi": dpi})
    except WorkerError as err:
        raise ConversionError(str(err)) from err
