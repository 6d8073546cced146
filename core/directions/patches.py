"""Patches of photos as a network is shown them: one region, cut out, the rest grey, scaled up."""

from __future__ import annotations

import numpy as np
from PIL import Image

from core.attribution.case import BATCH, Opened
from core.foundation.progress import STOPPED, Meter, Stop, Stopped

GREY = 117
"""What is outside a patch: the mean value of an ImageNet photo (ACE's `average_image_value`)."""

Box = tuple[int, int, int, int]
"""(left, top, right, bottom) in pixels of what the network sees; right and bottom are outside."""


def box_of(mask: np.ndarray) -> Box:
    """The smallest box around a mask (height, width) that is not empty.

    >>> box_of(np.array([[0, 0, 0], [0, 1, 1]], bool))
    (1, 1, 3, 2)
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    return int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1


def patch_of(photo: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """The region of a mask cut out of a photo: grey outside the mask, cropped to its box, scaled
    bicubically to the photo's own size, which is the network's input (ACE, section 3).

    photo : uint8 (height, width, 3). mask : bool (height, width). Returns uint8 like the photo.
    """
    left, top, right, bottom = box_of(mask)
    part = np.where(mask[..., None], photo, np.uint8(GREY))[top:bottom, left:right]
    size = photo.shape[1], photo.shape[0]
    return np.array(Image.fromarray(part).resize(size, Image.Resampling.BICUBIC))


def maps_of(
    opened: Opened, photos: np.ndarray, meter: Meter, stop: Stop, means: bool = False
) -> np.ndarray:
    """The layer's maps of photos, by the network: float32 (photos, units, height, width), rounded
    as the run's own are.

    photos : uint8 (photos, height, width, 3). means : the means over places alone, (photos, units).

    Raises UnitscopeError where the network gives what is no finite number, Stopped where `stop`
    says so.
    """
    layer, parts = opened.recorded.layer, []
    for start in range(0, len(photos), BATCH):
        if stop():
            raise Stopped(STOPPED)
        some = photos[start : start + BATCH]
        names = [f"patch {start + k}" for k in range(len(some))]
        with opened.lock:
            maps = opened.forward(some, names).layers[layer].maps.float().cpu().numpy()
        parts.append(maps.mean((2, 3)) if means else maps)
        meter.step(len(some))
    return np.concatenate(parts)
