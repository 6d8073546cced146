"""Which files are opened as images, and that masks keep the values in the file."""

from __future__ import annotations

import base64
import io
import os
import shutil
import struct
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import EpsImagePlugin, Image

from core.datasets import decode, open_dataset
from core.datasets.check import check
from core.datasets.decode import photo_of, read_labels, read_photo, read_rgb
from core.datasets.readers.labelme import folder_from_labelme
from core.foundation.errors import BadFile
from core.views import explain
from tests.datasets.files import picture, save, says, why, write

EPS = b"""%!PS-Adobe-3.0 EPSF-3.0
%%BoundingBox: 0 0 40 30
newpath 0 0 moveto 40 30 lineto stroke
showpage
%%EOF
"""


@pytest.fixture
def ghostscript(tmp_path, monkeypatch) -> Path:
    """A program `gs` in the path that leaves a file when it is started; that file."""
    started = tmp_path / "gs-was-started"
    program = tmp_path / "bin" / "gs"
    write(program, f"#!/bin/sh\ntouch '{started}'\nexit 0\n").chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setattr(EpsImagePlugin, "gs_binary", None)
    return started


def test_a_photo_that_is_postscript_is_refused_and_never_run(tmp_path, ghostscript):
    plain = Image.open(io.BytesIO(EPS))
    with pytest.raises(OSError):
        plain.load()
    assert ghostscript.exists(), "this test would not see Ghostscript started"
    ghostscript.unlink()

    root = tmp_path / "set"
    save(root / "images" / "good.png", picture())
    (root / "images" / "bad.jpg").write_bytes(EPS)
    save(root / "images" / "masked.png", picture())
    (root / "masks").mkdir()
    (root / "masks" / "masked.png").write_bytes(EPS)
    write(root / "labels.csv", "value,name\n1,bed\n")
    report = check(open_dataset(f"folder:{root}"))
    assert report.usable == 1
    assert says(report.problems, "bad.jpg", "is PostScript")
    assert says(report.problems, "masks", "masked.png", "is PostScript")

    # A visitor's photo, on the page Explain: refused before the run or the network is looked at.
    with pytest.raises(BadFile, match=r"holiday\.jpg: is PostScript"):
        explain.own_photo(None, None, None, EPS, "holiday.jpg", "layer4", "scc")

    inside = tmp_path / "labelme"
    data = base64.b64encode(EPS).decode()
    write(inside / "a.json", f'{{"shapes": [], "imagePath": "a.jpg", "imageData": "{data}"}}')
    with pytest.raises(Exception, match="is PostScript"):
        folder_from_labelme(inside, tmp_path / "out")
    assert not ghostscript.exists()


def test_only_the_listed_formats_are_opened(tmp_path):
    for kind in ("PPM", "TGA", "SGI", "ICO", "JPEG2000", "PCX", "IM", "DDS", "QOI"):
        out = io.BytesIO()
        Image.fromarray(picture()).save(out, kind)
        with pytest.raises(BadFile, match="not an image of a known format"):
            photo_of(out.getvalue(), "photo.jpg")
    for kind in decode.FORMATS:
        out = io.BytesIO()
        Image.fromarray(picture()).save(out, kind)
        assert photo_of(out.getvalue(), "photo").size == (40, 30), kind
    first = Image.fromarray(picture())
    first.save(tmp_path / "two.mpo", "MPO", save_all=True, append_images=[first])
    assert read_photo(tmp_path / "two.mpo").size == (40, 30)
    heic = b"\0\0\0\x18ftypheic\0\0\0\0mif1heic" + bytes(40)
    with pytest.raises(BadFile, match="is a HEIC photo, which is not read"):
        photo_of(heic, "photo.jpg")


def test_nothing_else_opens_images():
    root = Path(__file__).resolve().parents[2]
    files = [root / "app.py", *(root / "core").rglob("*.py"), *(root / "pages").rglob("*.py")]
    opening = [f.name for f in files if "Image.open(" in f.read_text(encoding="utf-8")]
    assert opening == ["decode.py"]


def test_a_photo_that_takes_too_long_is_given_up(tmp_path, monkeypatch):
    path = save(tmp_path / "large.png", np.zeros((4000, 4000), np.uint8))
    monkeypatch.setattr(decode, "MAX_SECONDS", 1e-4)
    assert "takes more than" in why(path)


def test_a_jpeg_of_thousands_of_scans_is_refused(tmp_path):
    """Every scan goes over the whole picture: two megabytes of them would take minutes."""
    path = save(tmp_path / "a.jpg", np.zeros((800, 800), np.uint8), progressive=True)
    data = path.read_bytes()
    assert 2 < decode._scans(data) < 20 and read_photo(path).size == (800, 800)
    last = data.rindex(b"\xff\xda")
    path.write_bytes(data[:last] + 1000 * data[last:-2] + data[-2:])
    assert "more than 500 scans" in why(path)
    # What stands behind the picture (a film, a second picture) is not counted.
    path.write_bytes(data + 1000 * b"\xff\xda")
    assert read_photo(path).size == (800, 800)


def test_tiff_tiles_larger_than_the_picture_count(tmp_path):
    path = tmp_path / "a.tif"
    path.write_bytes(tiff(16, 16, 8, bytes(8), [(322, 4, 40_000), (323, 4, 40_000)]))
    assert "40000×40000" in why(path)


def test_photos_of_other_suffixes_are_read_or_counted(tmp_path):
    root = tmp_path / "images"
    names = ("a.jpg", "b.jfif", "c.avif", "d.gif", "e.JPEG")
    for name in names:
        kind = Path(name).suffix.lstrip(".").upper().replace("JFIF", "JPEG").replace("JPG", "JPEG")
        save(root / name, picture(), format=kind)
    for name in ("x.heic", "y.HEIC", "z.cr2", "README"):
        (root / name).write_bytes(b"anything")
    frames = [Image.new("P", (8, 8), k) for k in (1, 2)]
    for suffix in ("gif", "avif"):
        frames[0].convert("RGB").save(
            root / f"moves.{suffix}",
            save_all=True,
            append_images=[frames[1].convert("RGB"), Image.new("RGB", (8, 8), "red")],
        )
    (root / "moves.avif").rename(root / "moves2.avif")
    data = open_dataset(f"folder:{tmp_path}")
    assert data.ids == ["a", "b", "c", "d", "e", "moves", "moves2"]
    assert says(
        data.problems, "2 .heic", "1 .cr2", "1 without a suffix", "files not read as photos"
    )
    report = check(data)
    assert report.usable == 5
    assert says(report.problems, "moves.gif", "GIF of several frames")
    assert says(report.problems, "moves2.avif", "AVIF of several frames")
    for name in names:
        (root / name).unlink()
    shutil.rmtree(tmp_path / "images")
    write(root / "x.heic", "")
    with pytest.raises(BadFile, match=r"holds no photo .*not read as photos: 1 \.heic"):
        open_dataset(f"folder:{tmp_path}")


# -- masks ------------------------------------------------------------------------------------

CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
KINDS = [
    (colour, bits)
    for colour, depths in (
        (0, (1, 2, 4, 8, 16)),
        (2, (8, 16)),
        (3, (1, 2, 4, 8)),
        (4, (8, 16)),
        (6, (8, 16)),
    )
    for bits in depths
]
"""Colour types of PNG, and the bit depths that each allows (PNG specification, table 11.1)."""

ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)


def png(samples: np.ndarray, colour: int, bits: int, interlaced: bool = False) -> bytes:
    """A PNG file of samples (height, width, channels), written by the specification."""

    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    def rows(part: np.ndarray) -> bytes:
        lines = b""
        for row in part.reshape(len(part), -1):
            packed = "".join(f"{value:0{bits}b}" for value in row.tolist())
            packed += "0" * (-len(packed) % 8)
            lines += b"\0" + int(packed, 2).to_bytes(len(packed) // 8)
        return lines

    height, width = samples.shape[:2]
    passes = [samples[y::dy, x::dx] for x, y, dx, dy in ADAM7] if interlaced else [samples]
    data = b"".join(rows(part) for part in passes if part.size)
    header = struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, interlaced)
    palette = bytes(range(3 * 2**bits)) if bits <= 4 else bytes(768)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        chunk(name, part)
        for name, part in (
            (b"IHDR", header),
            (b"PLTE", palette),
            (b"IDAT", zlib.compress(data)),
            (b"IEND", b""),
        )
        if name != b"PLTE" or colour == 3
    )


@pytest.mark.parametrize("interlaced", [False, True])
@pytest.mark.parametrize(("colour", "bits"), KINDS)
def test_a_masks_values_are_those_in_the_file(tmp_path, colour, bits, interlaced):
    rng = np.random.default_rng(bits)
    samples = rng.integers(0, 2**bits, (11, 13, CHANNELS[colour]))
    samples[0, :2, 0] = 1, 2**bits - 1
    if colour in (4, 6):
        samples[..., -1] = 2**bits - 1
    path = tmp_path / "mask.png"
    path.write_bytes(png(samples, colour, bits, interlaced))
    if colour in (0, 3) or (colour, bits) == (4, 8):
        assert np.array_equal(read_labels(path), samples[..., 0])
    elif colour == 4:  # Pillow drops the lower half
        assert "greyscale with an alpha channel" in why(path, read_labels)
    else:
        assert "colours are not read as labels" in why(path, read_labels)
    if colour == 2 and bits == 8:
        assert np.array_equal(read_rgb(path), samples)
    elif colour == 2:
        assert "16 bits a channel" in why(path, read_rgb)


@pytest.mark.parametrize("bits", [2, 4])
def test_the_labels_of_a_mask_of_few_bits(tmp_path, bits):
    """Value 1 was shown as 17 or 85, and those were other labels."""
    values = np.arange(12).reshape(3, 4, 1) % 2**bits
    write(
        tmp_path / "labels.csv",
        "value,name\n1,wall\n2,bed\n3,lamp\n17,dresser\n85,car\n"
        + "".join(f"{k},thing {k}\n" for k in range(4, 16)),
    )
    save(tmp_path / "images" / "a.png", picture(4, 3))
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks" / "a.png").write_bytes(png(values, 0, bits))
    data = open_dataset(f"folder:{tmp_path}")
    names = ["-", *(concept.name for concept in data.concepts)]
    shown = np.array(names)[data.annotations(0).maps[0]]
    assert shown[0, 1] == "wall" and shown[0, 2] == "bed" and "dresser" not in shown


def test_masks_with_transparency_or_of_lossy_formats_are_refused(tmp_path):
    values = np.arange(1, 5).reshape(2, 2, 1)
    part = np.concatenate([values, 255 - values], -1)
    path = tmp_path / "mask.png"
    path.write_bytes(png(part, 4, 8))
    assert "transparent pixels" in why(path, read_labels)
    for suffix in ("webp", "avif"):
        told = why(save(tmp_path / f"mask.{suffix}", picture()), read_rgb)
        assert suffix.upper() in told and "save masks as PNG" in told
    inverted = save(tmp_path / "white.tif", values[..., 0].astype(np.uint8), tiffinfo={262: 0})
    assert "0 is black" in why(inverted, read_labels)


def tiff(width: int, height: int, bits: int, pixels: bytes, more: list = []) -> bytes:  # noqa: B006
    """An uncompressed grey TIFF of one strip; `more` tags are (number, type, value)."""
    tags = [
        (256, 4, width),
        (257, 4, height),
        (258, 3, bits),
        (259, 3, 1),
        (262, 3, 1),
        (273, 4, 8),
        (277, 3, 1),
        (278, 4, height),
        (279, 4, len(pixels)),
        *more,
    ]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    at = struct.pack("<I", 8 + len(pixels))
    return b"II*\0" + at + pixels + struct.pack("<H", len(tags)) + entries + bytes(4)


def test_masks_of_few_bits_in_tiff_and_bmp(tmp_path):
    (tmp_path / "a.tif").write_bytes(tiff(2, 2, 4, bytes([0x12, 0x3F])))
    assert read_labels(tmp_path / "a.tif").tolist() == [[1, 2], [3, 15]]
    small = Image.fromarray(np.array([[0, 1], [2, 3]], np.uint8), "P")
    small.putpalette([9, 9, 9, 1, 2, 3, 200, 0, 0, 4, 5, 6])
    assert read_labels(save(tmp_path / "a.bmp", small)).tolist() == [[0, 1], [2, 3]]
