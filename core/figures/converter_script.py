"""What the worker of :mod:`core.figures.converter` answers; it imports nothing of Unitscope."""

from __future__ import annotations

from typing import Any

import vl_convert


def answer(request: dict[str, Any]) -> bytes:
    """A Vega-Lite specification as the bytes of a file of a kind."""
    spec, kind = request["spec"], request["kind"]
    if kind == "svg":
        return vl_convert.vegalite_to_svg(spec).encode()
    if kind == "pdf":
        return vl_convert.vegalite_to_pdf(spec)
    return vl_convert.vegalite_to_png(spec, ppi=200, scale=1)
