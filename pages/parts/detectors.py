"""The units that overlap one concept, in pictures, with a word on chance."""

from __future__ import annotations

import pandas as pd

from core.views.pictures import unit_photo
from core.views.units import unit_images
from pages.parts import address, draw
from pages.parts.frame import Context


def detectors(
    ctx: Context, units: pd.DataFrame, number: int, key: str, back: dict[str, str] | None = None
) -> None:
    """Tiles of the units of :func:`core.views.units.search_units`, each bright where it overlaps
    concept `number` best and linked to the unit's page.

    units : with the column label, a unit's own label, where that shall be told. back : parameters
    that go along in the links.
    """
    if not units["above"].any():
        draw.caption("None overlaps it better than chance: do not take these for its detectors.")
    tiles: list[draw.Tile] = []
    for row in units.itertuples():
        best = ctx.ask(unit_images, ctx.layer, int(row.unit), number, 24)
        best = best.sort_values("iou", ascending=False, kind="stable")
        sub = f"IoU {row.iou:.3f}"
        if not row.above:
            sub += ", no better than chance"
        if row.best:
            sub += "; its best label"
        elif isinstance(getattr(row, "label", None), str):
            sub += f"; its label is {row.label}"
        tiles.append(
            {
                "src": ctx.picture(
                    unit_photo, ctx.layer, int(row.unit), int(best["image"].iloc[0]), 224
                ),
                "title": f"unit {row.unit}",
                "sub": sub,
                "alt": f"Photo, bright where unit {row.unit} is active",
                "href": "Units" + address.query(address.kept(**(back or {}), unit=str(row.unit))),
            }
        )
    draw.gallery(tiles, key, tile=140)
