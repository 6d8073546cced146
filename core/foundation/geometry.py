"""What the network sees of a photo, as data, and the same view of its label maps.

One :class:`Preprocessing` describes crop, resize, centre crop, flip and
normalisation. Photos go through it with Pillow; label maps are sampled at the
very points of the photo that the working grid's cell centres came from, so
that what the network sees is what is counted.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import asdict, dataclass
from numbers import Integral, Real
from typing import Any, Literal, NamedTuple

import numpy as np
from PIL import Image

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.plain import Json

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

MOST_BENT = 0.05
"""How far a mask's shape may be from its photo's, as a share."""

MOST_CELLS = 4
"""Cells of the working grid, in either direction, that one pixel of a mask may stand for."""


def _number(value: Any, least: float = -math.inf) -> bool:
    """Whether a value is a finite number above `least`."""
    number = isinstance(value, Real) and not isinstance(value, bool)
    return number and math.isfinite(value) and value > least


def _several(value: Any, count: int, kind: type, least: float = -math.inf) -> bool:
    """Whether a value is so many numbers of a kind, all finite and above `least`."""
    return (
        isinstance(value, tuple)
        and len(value) == count
        and all(isinstance(v, kind) and _number(v, least) for v in value)
    )


def _side(value: Any) -> bool:
    one = isinstance(value, Integral) and _number(value, 0)
    return value is None or one or _several(value, 2, Integral, 0)


_SIDES = "a whole number of pixels, [width, height] in whole pixels, or null"

_STEPS: dict[str, tuple[Callable[[Any], bool], str]] = {
    "crop": (
        lambda v: v is None or _several(v, 4, Integral),
        "[left, top, right, bottom] in whole pixels, or null",
    ),
    "resize": (_side, _SIDES),
    "center_crop": (_side, _SIDES),
    "flip": (lambda v: isinstance(v, bool), "true or false"),
    "channels": (lambda v: v in ("RGB", "BGR"), "RGB or BGR"),
    "divide": (lambda v: _number(v, 0), "a number above 0"),
    "mean": (lambda v: _several(v, 3, Real), "three numbers"),
    "std": (lambda v: _several(v, 3, Real, 0), "three numbers above 0"),
    "interpolation": (lambda v: v in ("bilinear", "bicubic"), "bilinear or bicubic"),
}
"""Steps of a preprocessing: whether a value is one, and what it is in words."""


@dataclass(frozen=True)
class Preprocessing:
    """The steps from a photo to the network's input, stored with every run.

    Steps, in order, each left out where it is ``None`` or ``False``:

    crop : (left, top, right, bottom) in photo pixels.
    resize : one number = the shorter side, the aspect kept; (width, height) = exactly that.
    center_crop : (width, height) or one number for both.
    flip : mirrored left to right.

    Then pixels 0…255 are divided by `divide`, put in `channels` order, and
    ``(x − mean) / std`` per channel of that order.
    """

    crop: tuple[int, int, int, int] | None = None
    resize: int | tuple[int, int] | None = 256
    center_crop: int | tuple[int, int] | None = 224
    flip: bool = False
    channels: Literal["RGB", "BGR"] = "RGB"
    divide: float = 255.0
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD
    interpolation: Literal["bilinear", "bicubic"] = "bilinear"

    def to_json(self) -> Json:
        """Plain lists and numbers, as stored in the run and hashed into its digest."""
        return asdict(self)

    @staticmethod
    def from_json(stored: Json) -> Preprocessing:
        """The inverse of :meth:`to_json`; also takes what a user wrote, steps left out being usual.

        Raises UnitscopeError for a step that does not exist or is not what such a step can be.

        >>> p = Preprocessing(crop=(8, 8, 632, 472), resize=(144, 144), center_crop=128)
        >>> Preprocessing.from_json(p.to_json()) == p
        True
        """
        values: Json = {key: tuple(v) if isinstance(v, list) else v for key, v in stored.items()}
        for step, value in values.items():
            if step not in _STEPS:
                raise unknown("step of the preprocessing", step, _STEPS)
            fits, words = _STEPS[step]
            if not fits(value):
                raise UnitscopeError(f"the preprocessing's {step} is {words}, not {value!r}")
        return Preprocessing(**values)

    # -- geometry -------------------------------------------------------------------------

    def _boxes(
        self, width: int, height: int
    ) -> tuple[tuple[int, int, int, int], tuple[int, int], tuple[int, int, int, int]]:
        """(crop box in photo pixels, size after resize, centre-crop box in that size)."""
        left, top, right, bottom = self.crop or (0, 0, width, height)
        if not (0 <= left < right <= width and 0 <= top < bottom <= height):
            raise UnitscopeError(
                f"the preprocessing crops {self.crop} but the photo is {width}×{height} pixels"
            )
        w, h = right - left, bottom - top
        if isinstance(self.resize, int):
            short = min(w, h)
            # Cut off, not rounded, as torchvision does: networks were judged on these pixels.
            new = (max(1, int(w * self.resize / short)), max(1, int(h * self.resize / short)))
        else:
            new = self.resize or (w, h)
        if self.center_crop is None:
            return (left, top, right, bottom), new, (0, 0, *new)
        cw, ch = (
            (self.center_crop, self.center_crop)
            if isinstance(self.center_crop, int)
            else self.center_crop
        )
        if cw > new[0] or ch > new[1]:
            raise UnitscopeError(
                f"the preprocessing takes a centre crop of {cw}×{ch} "
                f"from an image of {new[0]}×{new[1]}"
            )
        x, y = round((new[0] - cw) / 2), round((new[1] - ch) / 2)
        return (left, top, right, bottom), new, (x, y, x + cw, y + ch)

    def input_size(self, width: int = 640, height: int = 480) -> tuple[int, int]:
        """(width, height) of the network's input for a photo of the given size."""
        _, _, (x0, y0, x1, y1) = self._boxes(width, height)
        return x1 - x0, y1 - y0

    def view(self, photo: Image.Image, side: int | None = None) -> Image.Image:
        """The photo as the network sees it, before normalisation (RGB, uint8).

        With `side`, the same part of the photo at another scale, its shorter side `side`
        pixels: for people to look at.
        """
        crop, new, (x0, y0, x1, y1) = self._boxes(*photo.size)
        how = Image.Resampling[self.interpolation.upper()]
        if side is not None:
            fx, fy = (crop[2] - crop[0]) / new[0], (crop[3] - crop[1]) / new[1]
            part = (crop[0] + x0 * fx, crop[1] + y0 * fy, crop[0] + x1 * fx, crop[1] + y1 * fy)
            scale = side / min(x1 - x0, y1 - y0)
            size = (round((x1 - x0) * scale), round((y1 - y0) * scale))
            seen = photo.resize(size, Image.Resampling.BICUBIC, box=part)
        else:
            # Cropped first, not by resize(box=…): that would let pixels outside the crop in.
            seen = photo.crop(crop) if self.crop else photo
            seen = seen.resize(new, how) if new != seen.size else seen
            seen = seen.crop((x0, y0, x1, y1))
        return seen.transpose(Image.Transpose.FLIP_LEFT_RIGHT) if self.flip else seen

    def normalise(self, seen: np.ndarray) -> np.ndarray:
        """uint8 (H, W, 3) RGB → float32 (3, H, W), the network's input."""
        x = np.asarray(seen, np.float32)
        if self.channels == "BGR":
            x = x[..., ::-1]
        std = np.asarray(self.std, np.float32)
        scale = 1.0 / (np.float32(self.divide) * std)
        shift = -np.asarray(self.mean, np.float32) / std
        return np.ascontiguousarray((x * scale + shift).transpose(2, 0, 1))

    def sample_points(
        self, photo_size: tuple[int, int], map_size: tuple[int, int], grid: tuple[int, int]
    ) -> tuple[np.ndarray, np.ndarray]:
        """(rows, columns) of a label map that lie under the centres of a grid's cells.

        Nearest neighbour in one step, from the network's input back to the label
        map, so that nothing is rounded twice.

        Parameters
        ----------
        photo_size : (width, height) of the photo.
        map_size : (width, height) of the label map; another resolution than the photo's is
            allowed (Broden's masks are half size), another shape is not.
        grid : (width, height) of the working grid.

        Returns
        -------
        rows (grid height,), columns (grid width,) int64.

        Raises
        ------
        UnitscopeError
            when the label map is not the photo at another scale, to a pixel of rounding and
            5 % of a side, or is scaled down so far that one of its pixels would stand for more
            than 4 cells of the grid in either direction; tells the sizes.

        >>> Preprocessing(resize=None, center_crop=None).sample_points((4, 4), (8, 8), (2, 2))
        (array([2, 6]), array([2, 6]))
        """
        (pw, ph), (mw, mh) = photo_size, map_size
        # One pixel of rounding in either side is how halved sizes come out. Of few pixels that
        # is a large share, which would let 4×4 pass for 320×213.
        rounded = max((mw - 1) / pw, (mh - 1) / ph) <= min((mw + 1) / pw, (mh + 1) / ph)
        if not rounded or abs(mw * ph / (mh * pw) - 1) > MOST_BENT:
            raise UnitscopeError(
                f"the mask is {mw}×{mh} but the photo is {pw}×{ph}: not the same shape"
            )
        (left, top, right, bottom), new, (x0, y0, x1, y1) = self._boxes(pw, ph)
        across = (x1 - x0) * (right - left) / new[0] * mw / pw
        down = (y1 - y0) * (bottom - top) / new[1] * mh / ph
        # Down to half the photo's size, as Broden's are, a mask is as fine as can be asked for.
        if mw < pw // 2 and mh < ph // 2 and max(grid[0] / across, grid[1] / down) > MOST_CELLS:
            raise UnitscopeError(
                f"the mask is {mw}×{mh} and the photo {pw}×{ph}: too coarse for the working grid "
                f"of {grid[0]}×{grid[1]} cells, of which a mask pixel may cover {MOST_CELLS} a side"
            )
        xs = (np.arange(grid[0]) + 0.5) * (x1 - x0) / grid[0]
        if self.flip:
            xs = (x1 - x0) - xs
        ys = (np.arange(grid[1]) + 0.5) * (y1 - y0) / grid[1]
        columns = (left + (xs + x0) * (right - left) / new[0]) * mw / pw
        rows = (top + (ys + y0) * (bottom - top) / new[1]) * mh / ph
        return (
            np.clip(rows.astype(np.int64), 0, mh - 1),
            np.clip(columns.astype(np.int64), 0, mw - 1),
        )


def default_grid(input_size: tuple[int, int]) -> tuple[int, int]:
    """(width, height) of the working grid: half the input's side, as in Broden.

    >>> default_grid((224, 224))
    (112, 112)
    """
    return max(1, input_size[0] // 2), max(1, input_size[1] // 2)


class Grid(NamedTuple):
    """Which two map cells each grid pixel lies between, and how far along.

    low, high : int64 (pixels,) cells; weight : float64 (pixels,) of `high`, in [0, 1).
    """

    low: np.ndarray
    high: np.ndarray
    weight: np.ndarray


def interpolation(cells: int, pixels: int) -> Grid:
    """Bilinear sampling of `cells` at `pixels` points along one axis, align_corners=False.

    Pixel p lies at (p + ½)·cells/pixels − ½ in units of cells, clamped at the borders, as
    in torch.nn.functional.interpolate and PIL's enlargement.

    >>> interpolation(2, 4).weight
    array([0.  , 0.25, 0.75, 0.  ])
    """
    at = np.clip((np.arange(pixels) + 0.5) * cells / pixels - 0.5, 0, cells - 1)
    low = np.floor(at).astype(np.int64)
    return Grid(low, np.minimum(low + 1, cells - 1), at - low)


def upsample(cells: np.ndarray, height: int, width: int) -> np.ndarray:
    """One map (h, w) → float64 (height, width), bilinear: the counting kernel's own arithmetic.

    a + w·(b − a) rather than (1 − w)·a + w·b, because it cannot round above the larger end.

    >>> upsample(np.array([[0.0, 4.0]]), 1, 4)
    array([[0., 1., 3., 4.]])
    """
    y, x = interpolation(cells.shape[0], height), interpolation(cells.shape[1], width)
    f = cells.astype(np.float64)
    left, right = f[:, x.low], f[:, x.high]
    rows = left + x.weight * (right - left)
    top, bottom = rows[y.low], rows[y.high]
    value: np.ndarray = top + y.weight[:, None] * (bottom - top)
    return value
