"""Photos and masks from files: decoded the same everywhere, or refused with a plain reason.

Every function raises :class:`core.errors.BadFile` and nothing else, holds no state, and may
run in any number of threads. JPEG draft mode is never used: the pixels are those of a plain
decode.
"""

from __future__ import annotations

import io
from pathlib import Path
from typing import IO

import numpy as np
from PIL import Image, UnidentifiedImageError

from core.errors import BadFile, UnitscopeError
from core.geometry import Preprocessing

MAX_PIXELS = 2**27
"""The largest photo or mask that is decoded (134 million pixels, 400 MB as RGB)."""

_ORIENTATION = 0x0112
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_AS_IT_IS = Preprocessing(resize=None, center_crop=None)


def read_photo(path: str | Path) -> Image.Image:
    """The photo as RGB, upright by its EXIF orientation.

    Greyscale, palette, CMYK, YCbCr and 16-bit photos are converted; 16-bit grey is scaled
    to 8 bits, not clipped; transparent pixels are laid over white. Of an animation, the
    first frame.

    Raises
    ------
    BadFile
        missing, empty, not an image, truncated or damaged, larger than `MAX_PIXELS`, or in
        a mode without an agreed way to RGB (32-bit beyond 16-bit values, floats, Lab).
    """
    path = Path(path)
    image = _load(path)
    turn = _UPRIGHT.get(_orientation(image))
    try:
        rgb = _to_rgb(image, path)
    except (ValueError, OSError) as wrong:
        raise BadFile(path, f"its mode {image.mode} cannot be converted to RGB") from wrong
    if turn is not None:
        rgb = rgb.transpose(turn)
    # The orientation has been applied: left in place, it would be applied twice by a caller
    # that follows it too.
    rgb.info = {}
    return rgb


def read_labels(path: str | Path) -> np.ndarray:
    """A single-channel mask as uint16 (height, width) of the label values in the file.

    Modes: 8-bit grey, palette (the indices, not the colours), 16-bit grey, 1-bit (0 and 1),
    and 32-bit where all values lie in 0…65535.

    Raises
    ------
    BadFile
        as :func:`read_photo`; several channels; JPEG, which does not keep label values.
    """
    path = Path(path)
    image = _load(path, mask=True)
    mode = image.mode
    if mode in ("L", "P", "1") or mode.startswith("I;16"):
        return np.asarray(image).astype(np.uint16)
    if mode == "I":
        return _as_16_bit(np.asarray(image), path)
    hint = ""
    if mode in ("RGB", "RGBA"):
        red, green, blue = (np.asarray(image.getchannel(c)) for c in "RGB")
        if np.array_equal(red, green) and np.array_equal(red, blue):
            hint = "; its channels are equal: save it as greyscale"
        else:
            hint = "; colours are not read as labels: save the label values themselves"
    raise BadFile(
        path,
        f"its mode is {mode}, but a mask has one channel of label values "
        f"(8- or 16-bit greyscale, or a palette){hint}",
    )


def read_rgb(path: str | Path) -> np.ndarray:
    """A mask whose labels are packed into its colours, as uint8 (height, width, 3).

    An RGB image, or the palette image that an optimiser makes of one; greyscale gives three
    equal channels.

    Raises
    ------
    BadFile
        as :func:`read_photo`; another mode; JPEG.
    """
    path = Path(path)
    image = _load(path, mask=True)
    if image.mode not in ("RGB", "P", "L", "1"):
        raise BadFile(path, f"its mode is {image.mode}, but labels packed into colours need RGB")
    return np.asarray(image.convert("RGB"))


def read_rg(path: str | Path) -> np.ndarray:
    """A Broden mask, label = R + 256·G, as uint16 (height, width).

    Raises
    ------
    BadFile
        as :func:`read_rgb`; blue above 0 (then it is a picture).
    """
    pixels = read_rgb(path)
    if pixels[..., 2].any():
        grey = np.array_equal(pixels[..., 0], pixels[..., 2])
        what = "greyscale" if grey else "blue above 0"
        raise BadFile(path, f"is not a mask of labels as R + 256·G: it has {what}")
    return pixels[..., 0] | pixels[..., 1].astype(np.uint16) << 8


def upright_size(path: str | Path) -> tuple[int, int]:
    """(width, height) of a photo once upright, from the file's header alone.

    Raises :class:`BadFile` where even the header cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, _identify(path, file) as image:
            size = image.size
            # Pillow's TIFF reader gives the size after turning.
            turned = image.format != "TIFF" and _orientation(image) >= 5
            return (size[1], size[0]) if turned else size
    except OSError as wrong:
        raise _unreadable(path, wrong) from wrong


def has_colors(path: str | Path) -> bool:
    """Whether a mask has several channels, from the file's header alone; a palette has one.

    Raises :class:`BadFile` where even the header cannot be read.
    """
    path = Path(path)
    try:
        with path.open("rb") as file, _identify(path, file) as image:
            return len(image.getbands()) > 1
    except OSError as wrong:
        raise _unreadable(path, wrong) from wrong


def check_mask_size(mask: str | Path, labels: np.ndarray, photo: str | Path) -> None:
    """Raise :class:`BadFile`, naming the mask, where it is not the photo at another scale."""
    height, width = labels.shape
    try:
        _AS_IT_IS.sample_points(upright_size(photo), (width, height), (1, 1))
    except BadFile:
        raise
    except UnitscopeError as wrong:
        raise BadFile(mask, str(wrong)) from wrong


def check_same_size(
    mask: str | Path, labels: np.ndarray, first: str | Path, shape: tuple[int, ...]
) -> None:
    """Raise :class:`BadFile` with both sizes where a further mask of a photo is not (height,
    width) `shape`, which is that of its `first`."""
    if labels.shape != shape:
        height, width = labels.shape
        raise BadFile(mask, f"is {width}×{height}, but {Path(first).name} is {shape[1]}×{shape[0]}")


def _load(path: Path, mask: bool = False) -> Image.Image:
    """The decoded image, in the file's own mode."""
    try:
        data = path.read_bytes()
    except OSError as wrong:
        raise _unreadable(path, wrong) from wrong
    file = _UpToTheEnd(data)
    image = _identify(path, file)
    jpeg = image.format in ("JPEG", "MPO")
    if mask and jpeg:
        raise BadFile(path, "is a JPEG: its compression changes label values; save masks as PNG")
    if image.format == "PNG" and not _has_png_end(data):
        raise BadFile(path, "is truncated: the end of the PNG is missing")
    file.strict = jpeg
    try:
        image.load()
    except Exception as wrong:  # Pillow's plugins raise nearly anything on damaged files
        raise BadFile(path, _damage(wrong)) from wrong
    return image


class _UpToTheEnd(io.BytesIO):
    """Bytes of a JPEG that raise when the decoder asks for more than there are.

    Pillow itself lets truncated JPEGs pass, half grey, once any other package has set
    `ImageFile.LOAD_TRUNCATED_IMAGES`; whether a photo is bad must not depend on that.
    """

    strict = False

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        if self.strict and not data and size:
            raise OSError("image file is truncated")
        return data


def _has_png_end(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4])
    return False


def _identify(path: Path, file: IO[bytes]) -> Image.Image:
    """The image with its header read and its size accepted; pixels are not decoded."""
    start = file.read(16)
    if not start:
        raise BadFile(path, "is empty (0 bytes)")
    file.seek(0)
    try:
        image = Image.open(file)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as wrong:
        raise BadFile(path, f"is too large to decode: at most {MAX_PIXELS:,} pixels") from wrong
    except UnidentifiedImageError as wrong:
        known = start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF"))
        reason = (
            "is truncated or damaged: its header cannot be read"
            if known
            else "is not an image of a known format"
        )
        raise BadFile(path, reason) from wrong
    except Exception as wrong:  # as in `_load`
        raise BadFile(path, _damage(wrong)) from wrong
    width, height = image.size
    if width * height > MAX_PIXELS:
        raise BadFile(
            path, f"is too large to decode: {width}×{height}; at most {MAX_PIXELS:,} pixels"
        )
    return image


def _unreadable(path: Path, wrong: OSError) -> BadFile:
    if isinstance(wrong, FileNotFoundError):
        return BadFile(path, "does not exist")
    if isinstance(wrong, IsADirectoryError):
        return BadFile(path, "is a folder, not a file")
    return BadFile(path, f"cannot be read: {wrong.strerror or wrong}")


def _damage(wrong: Exception) -> str:
    told = str(wrong) or type(wrong).__name__
    if "truncated" in told.lower():
        return "is truncated: the image data end too early"
    return f"is truncated or damaged: {told}"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block must not cost the photo
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, path: Path) -> Image.Image:
    mode = image.mode
    if mode.startswith("I;16") or mode == "I":
        deep = _as_16_bit(np.asarray(image), path).astype(np.uint32)
        return Image.fromarray(((deep * 255 + 32767) // 65535).astype(np.uint8)).convert("RGB")
    if mode == "F":
        raise BadFile(path, "has floating-point pixels; save it with 8 or 16 bits a channel")
    if image.has_transparency_data:
        over = image.convert("RGBA")
        rgb = Image.new("RGB", image.size, "white")
        rgb.paste(over, mask=over.getchannel("A"))
        return rgb
    return image.convert("RGB")


def _as_16_bit(values: np.ndarray, path: Path) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise BadFile(path, f"has 32-bit values from {low} to {high}; 0 to 65535 is read")
    return values.astype(np.uint16)
