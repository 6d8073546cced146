"""Photos and masks as they are decoded, and files that are refused."""

from __future__ import annotations

import io
import struct
import tempfile
import zlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageFile

from core.datasets.decode import MAX_PIXELS, read_labels, read_photo, read_rg, upright_size
from core.foundation.errors import BadFile
from tests.datasets.files import picture, save, why, write


def test_a_photo_is_its_plain_decode(tmp_path):
    for name, options in (("a.jpg", {"quality": 85, "progressive": True}), ("a.png", {})):
        path = save(tmp_path / name, picture(), **options)
        with Image.open(path) as plain:
            assert np.array_equal(np.asarray(read_photo(path)), np.asarray(plain))
        assert read_photo(path).mode == "RGB"


@pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied_once(tmp_path, orientation, suffix):
    upright = Image.fromarray(picture(48, 32))
    undo = {
        2: Image.Transpose.FLIP_LEFT_RIGHT,
        3: Image.Transpose.ROTATE_180,
        4: Image.Transpose.FLIP_TOP_BOTTOM,
        5: Image.Transpose.TRANSPOSE,
        6: Image.Transpose.ROTATE_90,
        7: Image.Transpose.TRANSVERSE,
        8: Image.Transpose.ROTATE_270,
    }
    stored = upright.transpose(undo[orientation]) if orientation > 1 else upright
    exif = Image.Exif()
    exif[0x0112] = orientation
    path = save(tmp_path / f"turned.{suffix}", stored, exif=exif, quality=95, subsampling=0)
    photo = read_photo(path)
    assert photo.size == upright_size(path) == upright.size
    assert np.abs(np.asarray(photo, int) - np.asarray(upright, int)).max() < 30
    assert photo.getexif().get(0x0112, 1) == 1


@pytest.mark.filterwarnings("ignore:Corrupt EXIF data")
def test_damaged_exif_does_not_cost_the_photo(tmp_path):
    path = save(tmp_path / "a.jpg", picture(), exif=b"Exif\0\0MM\0*\xff\xff\xff\xff")
    assert read_photo(path).size == upright_size(path) == (40, 30)


def test_grey_photos_of_8_and_16_bits_look_the_same(tmp_path):
    ramp = np.tile(np.arange(256, dtype=np.uint8), (4, 1))
    deep = ramp.astype(np.uint16) * 257
    for path in (
        save(tmp_path / "8.png", ramp),
        save(tmp_path / "16.png", deep),
        save(tmp_path / "16.tif", deep),
        save(tmp_path / "32.tif", deep.astype(np.int32)),
    ):
        pixels = np.asarray(read_photo(path))
        assert pixels.shape == (4, 256, 3)
        assert np.array_equal(pixels, np.repeat(ramp[..., None], 3, -1)), path


def test_bilevel_palette_cmyk_and_alpha_become_rgb(tmp_path):
    white = np.full((8, 8), 255, np.uint8)
    bilevel = save(tmp_path / "1.png", Image.fromarray(white).convert("1"))
    assert np.asarray(read_photo(bilevel)).min() == 255

    red = Image.new("RGB", (8, 8), (200, 30, 10))
    palette = save(tmp_path / "p.png", red.quantize(4))
    assert np.abs(np.asarray(read_photo(palette), int) - (200, 30, 10)).max() <= 1

    cmyk = save(tmp_path / "c.jpg", red.convert("CMYK"), quality=95)
    assert np.abs(np.asarray(read_photo(cmyk), int) - (200, 30, 10)).max() <= 12

    half = np.zeros((8, 8, 4), np.uint8)
    half[:, :4] = (200, 30, 10, 255)
    alpha = np.asarray(read_photo(save(tmp_path / "a.png", half)))
    assert (alpha[:, :4] == (200, 30, 10)).all() and (alpha[:, 4:] == 255).all()
    key = save(tmp_path / "key.png", np.zeros((4, 4, 3), np.uint8), transparency=(0, 0, 0))
    assert np.asarray(read_photo(key)).min() == 255


def test_the_first_frame_of_an_animation_is_the_photo(tmp_path):
    frames = [Image.new("RGB", (8, 8), c) for c in ("red", "blue")]
    path = tmp_path / "a.webp"
    frames[0].save(path, save_all=True, append_images=frames[1:], lossless=True)
    assert (np.asarray(read_photo(path)) == (255, 0, 0)).all()


@pytest.mark.parametrize(
    ("suffix", "forgiving"),
    # Only JPEG and PNG are checked by Unitscope itself, the others by Pillow.
    [*((s, False) for s in ("jpg", "png", "tif", "bmp", "webp")), ("jpg", True), ("png", True)],
)
@pytest.mark.parametrize("share", [0.02, 0.5, 0.97])
def test_truncated_photos_are_refused_whatever_pillow_is_set_to(
    tmp_path, monkeypatch, suffix, share, forgiving
):
    """Another package that sets LOAD_TRUNCATED_IMAGES must not let half photos in."""
    noise = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    path = save(tmp_path / f"cut.{suffix}", noise)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", forgiving)
    reason = why(path)
    assert "truncated" in reason or "known format" in reason


def test_a_jpeg_without_its_last_bytes_is_truncated(tmp_path):
    path = save(tmp_path / "cut.jpg", picture())
    path.write_bytes(path.read_bytes()[:-2])
    assert why(path) == "is truncated: the image data end too early"


def test_missing_empty_and_other_files_are_refused(tmp_path):
    assert why(tmp_path / "none.jpg") == "does not exist"
    (tmp_path / "zero.jpg").touch()
    assert why(tmp_path / "zero.jpg") == "is empty (0 bytes)"
    assert why(write(tmp_path / "text.jpg", "not a photo")) == "is not an image of a known format"
    (tmp_path / "folder.jpg").mkdir()
    assert why(tmp_path / "folder.jpg") == "is a folder, not a file"
    for name, read in (("none.png", read_labels), ("none.png", read_rg), ("x.jpg", upright_size)):
        assert why(tmp_path / name, read) == "does not exist"
    assert why(tmp_path / "zero.jpg", upright_size) == "is empty (0 bytes)"


@pytest.mark.parametrize("side", [12_000, 30_000])
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_absurdly_large_photos_are_refused_before_decoding(tmp_path, side):
    def chunk(name: bytes, data: bytes) -> bytes:
        return (
            struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        )

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0))
    path = tmp_path / "bomb.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))
    assert "too large to decode" in why(path) and f"{MAX_PIXELS:,}" in why(path)


def test_floats_and_deep_values_are_refused_and_lab_is_converted(tmp_path):
    floats = save(tmp_path / "f.tif", np.ones((4, 4), np.float32))
    assert "floating-point" in why(floats) and "mode is F" in why(floats, read_labels)
    deep = save(tmp_path / "deep.tif", np.full((4, 4), 70_000, np.int32))
    assert "70000" in why(deep) and "70000" in why(deep, read_labels)
    lab = read_photo(save(tmp_path / "lab.tif", Image.new("LAB", (4, 4), (255, 128, 128))))
    assert np.asarray(lab).min() > 250


@given(
    st.sampled_from(["jpg", "png", "tif", "webp", "gif", "bmp"]),
    st.integers(0, 2**32 - 1),
    st.integers(1, 30),
    st.booleans(),
)
@settings(max_examples=150, deadline=None)
@pytest.mark.filterwarnings("ignore")
def test_whatever_bytes_are_damaged_only_bad_file_is_raised(suffix, seed, hits, cut):
    rng = np.random.default_rng(seed)
    out = io.BytesIO()
    Image.fromarray(picture(30, 20)).save(out, {"jpg": "jpeg", "tif": "tiff"}.get(suffix, suffix))
    data = bytearray(out.getvalue())
    for at in rng.integers(0, len(data), hits):
        data[at] = rng.integers(256)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"damaged.{suffix}"
        path.write_bytes(data[: rng.integers(len(data))] if cut else data)
        for read in (read_photo, read_labels, read_rg, upright_size):
            try:
                result = read(path)
            except BadFile as refused:
                assert refused.path == str(path) and refused.reason
            else:
                assert read is not read_photo or result.mode == "RGB"


def test_photos_are_read_alike_in_many_threads(tmp_path):
    path = save(tmp_path / "a.jpg", picture(200, 150))
    once = np.asarray(read_photo(path))
    with ThreadPoolExecutor(8) as pool:
        for pixels in pool.map(lambda _: np.asarray(read_photo(path)), range(64)):
            assert np.array_equal(pixels, once)


def test_masks_of_every_single_channel_mode_give_their_values(tmp_path):
    values = np.array([[0, 1, 7], [3, 255, 2]], np.uint8)
    palette = Image.fromarray(values, "L").convert("P")
    palette.putpalette([i ^ 93 for i in range(256) for _ in "RGB"])
    for path, expected in (
        (save(tmp_path / "l.png", values), values),
        (save(tmp_path / "p.png", palette), values),
        (save(tmp_path / "16.png", values.astype(np.uint16) * 200), values.astype(int) * 200),
        (save(tmp_path / "i.tif", values.astype(np.int32) * 200), values.astype(int) * 200),
        (save(tmp_path / "1.png", Image.fromarray(values > 2)), (values > 2).astype(int)),
    ):
        labels = read_labels(path)
        assert labels.dtype == np.uint16 and np.array_equal(labels, expected), path


def test_masks_of_other_modes_are_refused_with_a_hint(tmp_path):
    grey = np.repeat(np.arange(4, dtype=np.uint8).reshape(2, 2, 1), 3, -1)
    assert "channels are equal" in why(save(tmp_path / "g.png", grey), read_labels)
    assert "mode is RGB" in why(save(tmp_path / "c.png", picture()), read_labels)
    alpha = Image.new("LA", (4, 4))
    assert "mode is LA" in why(save(tmp_path / "la.png", alpha), read_labels)
    assert "JPEG" in why(save(tmp_path / "m.jpg", grey[..., 0]), read_labels)
    assert "JPEG" in why(save(tmp_path / "m.jpg", picture()), read_rg)


def rg(labels: np.ndarray) -> np.ndarray:
    labels = np.asarray(labels, np.uint16)
    return np.stack([labels & 255, labels >> 8, 0 * labels], -1).astype(np.uint8)


def test_rg_masks_hold_labels_up_to_65535(tmp_path):
    labels = np.array([[0, 1, 255], [256, 1197, 65535]], np.uint16)
    rgb = Image.fromarray(rg(labels))
    assert np.array_equal(read_rg(save(tmp_path / "rgb.png", rgb)), labels)
    small = Image.fromarray(rg(labels)).convert("P", palette=Image.Palette.ADAPTIVE)
    assert np.array_equal(read_rg(save(tmp_path / "p.png", small)), labels)
    assert not read_rg(save(tmp_path / "zero.png", np.zeros((2, 2), np.uint8))).any()
    assert "blue above 0" in why(save(tmp_path / "photo.png", picture()), read_rg)
    assert "greyscale" in why(save(tmp_path / "l.png", np.ones((2, 2), np.uint8)), read_rg)
    assert "mode is RGBA" in why(save(tmp_path / "a.png", Image.new("RGBA", (2, 2))), read_rg)
