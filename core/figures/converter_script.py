"""What the worker of :mod:`core.figures.converter` answers; it imports nothing of Unitscope."""

from __future__ import annotations

from typing import Any, TypedDict

import vl_convert


class Request(TypedDict):
    """What is asked.

    drawn : a Vega-Lite specification, or an SVG. kind : ``svg``, ``pdf`` or ``png``.
    scale : points of a pixel, and dpi, of PNG.
    """

    drawn: Any
    kind: str
    scale: float
    dpi: int


def answer(request: Request) -> bytes:
    """A Vega-Lite specification, or an SVG, as the bytes of a file of a kind."""
    drawn, kind = request["drawn"], request["kind"]
    svg = drawn if isinstance(drawn, str) else vl_convert.vegalite_to_svg(drawn)
    if kind == "svg":
        return svg.encode()
    if kind == "pdf":
        return vl_convert.svg_to_pdf(svg)
    return vl_convert.svg_to_png(svg, ppi=request["dpi"], scale=request["scale"])
