"""Photos with masks, active regions and label maps drawn into them, as image bytes."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from core.datasets.decode import photo_of
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import upsample
from core.runs.run_file import Run
from core.views.images import concepts
from core.views.units import has_maps, unit_facts


def active_region(
    run: Run, layer: str, unit: int, image: int, size: tuple[int, int] | None = None
) -> np.ndarray:
    """A_t(x): where a unit is above its threshold in an image, bool (height, width).

    size : (width, height); the run's working grid where None, on which its count of True is
        the stored |A_t(x)|.

    Raises UnitscopeError where the run kept no maps.
    """
    if not has_maps(run, layer):
        raise UnitscopeError(
            f"run {run.digest} kept no activation maps of {layer} (it was made with --no-maps)"
        )
    threshold = np.float64(unit_facts(run, layer, unit).threshold)
    cells = np.asarray(run.array(f"maps-{layer}")[image, unit], np.float32)
    width, height = size or run.settings.grid
    return upsample(cells, height, width) > threshold


def sized_photo(run: Run, image: int, side: int) -> Image.Image:
    """The photo as the network saw it, its longer side `side` pixels."""
    photo = photo_of(run.photo(image), f"photo {image} of run {run.digest}")
    scale = side / max(photo.size)
    size = (max(1, round(photo.width * scale)), max(1, round(photo.height * scale)))
    return photo.resize(size, Image.Resampling.LANCZOS)


def encoded(picture: Image.Image, kind: str = "JPEG") -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, quality=88) if kind == "JPEG" else picture.save(out, kind)
    return out.getvalue()


def thumbnail(run: Run, image: int, side: int = 256) -> bytes:
    """JPEG bytes of a photo, its longer side `side` pixels."""
    return encoded(sized_photo(run, image, side))


OUTLINE = (255, 196, 37)
"""Colour of the line around active regions: seen on bright and dark photos alike."""


def region_photo(run: Run, layer: str, unit: int, image: int, side: int = 320) -> bytes:
    """JPEG of a photo, dimmed outside the region where the unit is above its threshold.

    The region is the very surface that was counted, sampled at the picture's own pixels
    instead of the working grid's, so that its outline is smooth.
    """
    photo = sized_photo(run, image, side)
    mask = Image.fromarray(
        active_region(run, layer, unit, image, photo.size).astype(np.uint8) * 255
    )
    grey = photo.convert("L").convert("RGB")
    dim = Image.blend(Image.blend(photo, grey, 0.75), Image.new("RGB", photo.size), 0.5)
    picture = Image.composite(photo, dim, mask)
    outline(picture, mask)
    return encoded(picture)


def outline(picture: Image.Image, mask: Image.Image) -> None:
    """Draw a line two pixels wide around a region: the mask grown by a pixel, less the mask
    shrunk by one."""
    edge = np.asarray(mask.filter(ImageFilter.MaxFilter(3))) != np.asarray(
        mask.filter(ImageFilter.MinFilter(3))
    )
    picture.paste(OUTLINE, mask=Image.fromarray(edge.astype(np.uint8) * 255))


PALETTE = (
    (30, 120, 150),
    (225, 225, 0),
    (0, 0, 255),
    (165, 90, 0),
    (0, 135, 255),
    (240, 210, 135),
    (75, 15, 135),
    (105, 30, 45),
    (195, 195, 255),
    (105, 30, 75),
    (150, 165, 120),
    (30, 0, 180),
    (195, 150, 0),
    (0, 225, 180),
    (45, 105, 180),
    (0, 90, 255),
    (0, 165, 240),
    (75, 195, 195),
    (120, 45, 0),
    (195, 150, 75),
    (45, 75, 195),
    (120, 105, 75),
    (240, 210, 90),
    (60, 60, 120),
)
"""Colours of concepts laid over photos, chosen so that each is as far as can be from all others,
from the white lines between regions and from the grey of what has no label: at least 18 apart in
CIELAB (ΔE*ab), as they are and as a deuteranope or a protanope sees them (by the matrices of
Machado, Oliveira and Fernandes, 2009, at severity 1)."""

STEP = 7
"""Concepts whose ids follow each other are so many colours apart."""


def concept_colors(present: Iterable[int]) -> dict[int, tuple[int, int, int]]:
    """A colour for each concept that is in a photo, by id: no two alike, up to as many concepts as
    :data:`PALETTE` has colours.

    A concept has the same colour in all photos, but where one of a lower id has taken it: it then
    gets the next that is free.
    """
    count, free = len(PALETTE), set(range(len(PALETTE)))
    found = {}
    for concept in sorted(set(present)):
        free = free or set(range(count))
        at = next(
            k % count for k in range(concept * STEP, concept * STEP + count) if k % count in free
        )
        free.discard(at)
        found[concept] = PALETTE[at]
    return found


def image_colors(run: Run, image: int) -> dict[int, tuple[int, int, int]]:
    """The colours in which :func:`mask_photo` draws the concepts of an image, by id."""
    return concept_colors(int(c) for c in np.unique(run.label_maps(image)) if c)


def mask_photo(
    run: Run, image: int, channel: int = 0, only: int | None = None, side: int = 480
) -> bytes:
    """JPEG of a photo with one channel of its labels laid over it.

    Labels are those that were counted, on the working grid. only : show this concept alone,
    in whichever channel, and dim the rest.
    """
    photo = sized_photo(run, image, side)
    labels = run.label_maps(image)
    if not len(labels):
        return encoded(photo)
    if only is not None:
        mask = Image.fromarray(np.any(labels == only, axis=0).astype(np.uint8) * 255)
        mask = mask.resize(photo.size, Image.Resampling.NEAREST)
        dim = Image.blend(photo.convert("L").convert("RGB"), Image.new("RGB", photo.size), 0.5)
        return encoded(Image.composite(photo, dim, mask))
    if not 0 <= channel < len(labels):
        raise UnitscopeError(f"there is no channel {channel}: the run has {len(labels)}")
    plane = np.asarray(
        Image.fromarray(labels[channel].astype(np.int32)).resize(
            photo.size, Image.Resampling.NEAREST
        )
    )
    palette = np.zeros((int(plane.max()) + 1, 3))
    for concept, color in concept_colors(int(c) for c in np.unique(labels) if c).items():
        if concept < len(palette):
            palette[concept] = color
    pixels = np.asarray(photo, np.float64)
    mixed = 0.45 * pixels + 0.55 * palette[plane]
    mixed[plane == 0] = 0.5 * pixels[plane == 0] + 0.5 * 128
    edge = np.zeros(plane.shape, bool)
    edge[1:] |= plane[1:] != plane[:-1]
    edge[:, 1:] |= plane[:, 1:] != plane[:, :-1]
    mixed[edge] = 255
    return encoded(Image.fromarray(mixed.round().astype(np.uint8)))


class Planes(NamedTuple):
    """Label maps of one image for a page that says what is under the pointer.

    width, height : of the working grid. planes : one text a channel, base64 of its concept ids
    as uint16, little-endian, row by row. names : concept id → (as people read it, its name).
    """

    width: int
    height: int
    planes: list[str]
    names: dict[int, tuple[str, str]]


def label_planes(run: Run, image: int) -> Planes:
    """What is annotated where in an image, on the working grid."""
    labels = run.label_maps(image)
    known = concepts(run).set_index("concept")
    found = [int(c) for c in np.unique(labels) if c and c in known.index]
    return Planes(
        labels.shape[2],
        labels.shape[1],
        [base64.b64encode(plane.astype("<u2").tobytes()).decode() for plane in labels],
        {c: (known["shown"][c], known["name"][c]) for c in found},
    )


def swatch(color: tuple[int, int, int]) -> str:
    """A colour as a picture for a table cell (an SVG data address)."""
    square = "<svg xmlns='http://www.w3.org/2000/svg' width='14' height='14'><rect width='14'"
    # In CSS without a '#', which ends a data address.
    fill = "rgb({}, {}, {})".format(*color)
    return f"data:image/svg+xml;utf8,{square} height='14' rx='3' fill='{fill}'/></svg>"


def unit_photo(run: Run, layer: str, unit: int, image: int, side: int = 320) -> bytes:
    """:func:`region_photo`, or the plain photo where the run kept no maps."""
    if has_maps(run, layer):
        return region_photo(run, layer, unit, image, side)
    return thumbnail(run, image, side)
