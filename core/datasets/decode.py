"""Decoding of photos and masks: the same on every machine, or refused with a reason.

Every image that Unitscope did not make itself is opened here, by one of :data:`FORMATS`
and within :data:`MAX_PIXELS` and :data:`MAX_SECONDS`: Pillow supports some forty more formats, and
some of them pass the file to another program.

Every function raises :class:`core.foundation.errors.BadFile` and nothing else, holds no state, and
may run in any number of threads. JPEG draft mode is never used: the pixels are those of a plain
decode.
"""

from __future__ import annotations

import io
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from pathlib import Path
from threading import Thread
from typing import IO, NamedTuple, TypeVar

import numpy as np
from PIL import Image, UnidentifiedImageError
from PIL.ImageFile import ImageFile
from PIL.TiffImagePlugin import TiffImageFile

from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.geometry import Preprocessing

FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF", "GIF", "AVIF")
"""All that is opened, by Pillow's names. Its JPEG reader reads MPO too."""

MASK_FORMATS = ("PNG", "BMP", "TIFF", "GIF")
"""Those that keep label values."""

MAX_PIXELS = 2**27
"""The largest photo or mask that is decoded (134 million pixels, 400 MB as RGB)."""

MAX_SECONDS = 30.0
"""How long decoding one file may take."""

MAX_SCANS = 500
"""Passes over the whole picture that a progressive JPEG may ask for. Encoders make about ten; a
file of one megabyte has room for thirty thousand."""

T = TypeVar("T")

_OTHERS = (
    (rb"%!PS|\xc5\xd0\xd3\xc6", "PostScript"),
    (rb"%PDF", "a PDF"),
    (rb"8BPS", "a Photoshop file"),
    (rb"....ftyp(?:hei|hev|mif1|msf1)", "a HEIC photo"),
)
"""How files of formats that are not opened begin, where people take them for photos."""

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
    """The photo of a file; see :func:`photo_of`."""
    path = Path(path)
    return photo_of(_bytes_of(path), path)


def photo_of(data: bytes, name: str | Path) -> Image.Image:
    """Decode a photo from bytes: RGB, turned upright by its EXIF orientation.

    Greyscale, palette, CMYK, YCbCr and 16-bit photos are converted; 16-bit grey is scaled
    to 8 bits, not clipped; transparent pixels are laid over white. Of an animated WebP or PNG,
    the first frame.

    Parameters
    ----------
    name : what messages call the file.

    Raises
    ------
    BadFile
        missing, empty, not an image of :data:`FORMATS`, truncated or damaged, larger than
        `MAX_PIXELS`, slower than `MAX_SECONDS`, a GIF or AVIF of several frames, or in a mode
        without an agreed conversion to RGB (32-bit beyond 16-bit values, floats).
    """
    image = image_of(data, name)
    turn = _UPRIGHT.get(_orientation(image))
    try:
        rgb = _to_rgb(image, name)
    except (ValueError, OSError) as wrong:
        raise BadFile(name, f"its mode {image.mode} cannot be converted to RGB") from wrong
    if turn is not None:
        rgb = rgb.transpose(turn)
    # The orientation has been applied: left in place, it would be applied twice by a caller
    # that follows it too.
    rgb.info = {}
    return rgb


def image_of(data: bytes, name: str | Path) -> Image.Image:
    """Decode an image from bytes, in the file's own mode and `format`.

    Raises :class:`BadFile` as :func:`photo_of`.
    """
    return _decoded(data, name).image


def read_labels(path: str | Path) -> np.ndarray:
    """A single-channel mask as uint16 (height, width) of the label values in the file.

    The values are those stored in the file, not those displayed: grey of
    1, 2, 4, 8 or 16 bits (1 of 2 bits is 1, though it is shown as 85), palette (the indices, not
    the colours), 8-bit grey with an alpha channel that is opaque everywhere, and 32-bit where
    all values lie in 0…65535.

    Raises
    ------
    BadFile
        as :func:`photo_of`; several channels; transparent pixels; JPEG, WebP and AVIF, which
        need not keep label values.
    """
    path = Path(path)
    image, raw = _mask(path)
    mode = image.mode
    if raw.endswith(("I", "IR")) and mode in ("L", "1"):
        raise BadFile(path, "stores black as its largest value: save it so that 0 is black")
    if mode in ("L", "P", "1") or mode.startswith("I;16"):
        values = np.asarray(image).astype(np.uint16)
        # Pillow stretches grey of 2 and 4 bits to 0…255.
        bits = re.match(r"L;([24])", raw)
        return values // (255 // (2 ** int(bits[1]) - 1)) if bits else values
    if mode == "I":
        return _as_16_bit(np.asarray(image), path)
    if mode == "LA":
        values, alpha = np.moveaxis(np.asarray(image), -1, 0)
        if (alpha == 255).all():
            value: np.ndarray = values.astype(np.uint16)
            return value
    hint = ""
    if mode == "LA":
        hint = "; it has transparent pixels: save it without its alpha channel"
    elif mode in ("RGB", "RGBA"):
        red, green, blue = (np.asarray(image.getchannel(c)) for c in "RGB")
        if raw.startswith("LA;16"):
            hint = "; it is greyscale with an alpha channel: save it without that"
        elif np.array_equal(red, green) and np.array_equal(red, blue):
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

    An RGB image, or the palette or grey image that an optimiser makes of one, whose colours are
    those of the RGB image (grey gives three equal channels).

    Raises
    ------
    BadFile
        as :func:`photo_of`; another mode; 16 bits a channel; JPEG, WebP or AVIF.
    """
    path = Path(path)
    image, raw = _mask(path)
    if image.mode not in ("RGB", "P", "L", "1"):
        raise BadFile(path, f"its mode is {image.mode}, but labels packed into colours need RGB")
    if ";16" in raw:
        # Pillow keeps the upper half of each, in which small labels are 0.
        raise BadFile(path, "has 16 bits a channel, but labels packed into colours need 8")
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
    value: np.ndarray = pixels[..., 0] | pixels[..., 1].astype(np.uint16) << 8
    return value


def upright_size(path: str | Path) -> tuple[int, int]:
    """(width, height) of a photo once upright, from the file's header alone.

    Raises :class:`BadFile` where even the header cannot be read.
    """
    path = Path(path)

    def measure() -> tuple[int, int]:
        try:
            with path.open("rb") as file, _identify(path, file) as image:
                size = image.size
                # Pillow's TIFF reader gives the size after turning.
                turned = image.format != "TIFF" and _orientation(image) >= 5
                return (size[1], size[0]) if turned else size
        except OSError as wrong:
            raise _unreadable(path, wrong) from wrong

    return _in_time(path, measure)


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
    """Raise :class:`BadFile` where a mask's aspect ratio is not the photo's."""
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
    """Raise :class:`BadFile` with both sizes where a further mask of a photo does not have the
    (height, width) `shape` of the `first`."""
    if labels.shape != shape:
        height, width = labels.shape
        raise BadFile(mask, f"is {width}×{height}, but {Path(first).name} is {shape[1]}×{shape[0]}")


class _Decoded(NamedTuple):
    """A decoded image, and how its pixels are packed in the file, by Pillow's names ("L;4")."""

    image: Image.Image
    raw: str


def _mask(path: Path) -> _Decoded:
    """A decoded mask, of a format that keeps label values."""
    found = _decoded(_bytes_of(path), path)
    kind = "JPEG" if found.image.format == "MPO" else found.image.format
    if kind not in MASK_FORMATS:
        raise BadFile(path, f"is a {kind}: its compression changes label values; save masks as PNG")
    return found


def _bytes_of(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as wrong:
        raise _unreadable(path, wrong) from wrong


def _decoded(data: bytes, name: str | Path) -> _Decoded:
    """The image in its own mode, its pixels decoded."""

    def load() -> _Decoded:
        file = _UpToTheEnd(data)
        image = _identify(name, file)
        if image.format == "PNG" and not _has_png_end(data):
            raise BadFile(name, "is truncated: the end of the PNG is missing")
        if image.info.get("progressive") and _scans(data) > MAX_SCANS:
            raise BadFile(name, f"is a JPEG of more than {MAX_SCANS} scans, too slow to decode")
        file.strict = image.format in ("JPEG", "MPO")
        tiles = image.tile if isinstance(image, ImageFile) else []
        packed = tiles[0].args if tiles else ""
        raw = packed[0] if isinstance(packed, tuple) and packed else packed
        try:
            image.load()
        except Exception as wrong:  # Pillow's plugins raise nearly anything on damaged files
            raise BadFile(name, _damage(wrong)) from wrong
        return _Decoded(image, raw if isinstance(raw, str) else "")

    return _in_time(name, load)


def _in_time(name: str | Path, work: Callable[[], T]) -> T:
    """What `work` returns or raises; BadFile once it has taken :data:`MAX_SECONDS`.

    Runs in a separate thread, since a decoder cannot be interrupted: an abandoned one ends by
    itself, at the latest when it next reads data.
    """
    done: Future[T] = Future()

    def run() -> None:
        try:
            done.set_result(work())
        except BaseException as wrong:
            done.set_exception(wrong)

    Thread(target=run, daemon=True, name="decode one").start()
    try:
        return done.result(MAX_SECONDS)
    except TimeoutError as wrong:
        raise BadFile(name, f"takes more than {MAX_SECONDS:g} seconds to decode") from wrong


class _UpToTheEnd(io.BytesIO):
    """A file's bytes, for decoding within :data:`MAX_SECONDS`.

    Of a JPEG (`strict`), reading raises when the decoder asks for more than there is: Pillow
    accepts truncated JPEGs, half grey, once any other package has set
    `ImageFile.LOAD_TRUNCATED_IMAGES`; the outcome must not depend on that.
    """

    strict = False

    def __init__(self, data: bytes):
        super().__init__(data)
        self.until = time.monotonic() + MAX_SECONDS

    def read(self, size: int | None = -1, /) -> bytes:
        if time.monotonic() > self.until:
            raise OSError(f"decoding takes more than {MAX_SECONDS:g} seconds")
        data = super().read(size)
        if self.strict and not data and size:
            raise OSError("image file is truncated")
        return data


def _scans(data: bytes) -> int:
    """Scans of a JPEG's first picture: what follows the headers, marker by marker."""
    at, count = 2, 0
    while found := _MARKER.search(data, at):
        marker, at = found[0][-1], found.end()
        if marker == 0xD9:
            break
        count += marker == 0xDA
        if marker != 0x01:
            at += int.from_bytes(data[at : at + 2])
    return count


_MARKER = re.compile(rb"\xff[^\x00\xd0-\xd8\xff]", re.DOTALL)
"""A marker with a segment behind it; FF 00 and FF D0…D7 stand within a scan's data."""


def _has_png_end(data: bytes) -> bool:
    at = 8
    while at + 12 <= len(data):
        if data[at + 4 : at + 8] == b"IEND":
            return True
        at += 12 + int.from_bytes(data[at : at + 4])
    return False


def _identify(path: str | Path, file: IO[bytes]) -> Image.Image:
    """The image with its header read and its size accepted; pixels are not decoded."""
    start = file.read(16)
    if not start:
        raise BadFile(path, "is empty (0 bytes)")
    file.seek(0)
    try:
        image = Image.open(file, formats=FORMATS)
    except (Image.DecompressionBombError, Image.DecompressionBombWarning) as wrong:
        raise BadFile(path, f"is too large to decode: at most {MAX_PIXELS:,} pixels") from wrong
    except UnidentifiedImageError as wrong:
        known = start.startswith((b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n", b"GIF8", b"BM", b"RIFF"))
        other = next((kind for sign, kind in _OTHERS if re.match(sign, start, re.DOTALL)), "")
        reason = "is not an image of a known format"
        if known:
            reason = "is truncated or damaged: its header cannot be read"
        elif other:
            reason = f"is {other}, which is not read: save it as JPEG or PNG"
        raise BadFile(path, reason) from wrong
    except Exception as wrong:  # as in `_decoded`
        raise BadFile(path, _damage(wrong)) from wrong
    sizes = [image.size]
    if isinstance(image, TiffImageFile):
        # A tile is decoded whole, however little of it lies in the picture.
        sizes.append((_number(image.tag_v2.get(322)), _number(image.tag_v2.get(323))))
    for width, height in sizes:
        if width * height > MAX_PIXELS:
            raise BadFile(
                path, f"is too large to decode: {width}×{height}; at most {MAX_PIXELS:,} pixels"
            )
    try:
        moves = image.format in ("GIF", "AVIF") and getattr(image, "is_animated", False)
    except Exception as wrong:  # as in `_decoded`
        raise BadFile(path, _damage(wrong)) from wrong
    if moves:
        raise BadFile(path, f"is a {image.format} of several frames: save the one that is meant")
    return image


def _number(value: object) -> int:
    return value if isinstance(value, int) else 0


def _unreadable(path: Path, wrong: OSError) -> BadFile:
    if isinstance(wrong, FileNotFoundError):
        return BadFile(path, "does not exist")
    if isinstance(wrong, IsADirectoryError):
        return BadFile(path, "is a folder, not a file")
    return BadFile(path, f"cannot be read: {wrong.strerror or wrong}")


def _damage(wrong: Exception) -> str:
    facts = str(wrong) or type(wrong).__name__
    if "truncated" in facts.lower():
        return "is truncated: the image data end too early"
    return f"is truncated or damaged: {facts}"


def _orientation(image: Image.Image) -> int:
    try:
        value = image.getexif().get(_ORIENTATION, 1)
    except Exception:  # a damaged EXIF block must not cost the photo
        return 1
    return value if isinstance(value, int) else 1


def _to_rgb(image: Image.Image, path: str | Path) -> Image.Image:
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


def _as_16_bit(values: np.ndarray, path: str | Path) -> np.ndarray:
    low, high = int(values.min()), int(values.max())
    if low < 0 or high > 65535:
        raise BadFile(path, f"has 32-bit values from {low} to {high}; 0 to 65535 is read")
    return values.astype(np.uint16)
