"""Readers of photos and masks: what they read, and what they say of files they cannot use."""

from __future__ import annotations

import csv
import doctest
import io
import pickle
import shutil
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

import core.datasets
import core.datasets.readers.broden
from core.datasets import open_dataset
from core.datasets.base import Channel, Concept
from core.datasets.decode import MAX_PIXELS, read_labels, read_photo, read_rg, upright_size
from core.datasets.readers.broden import Cell, read_index, read_label_table
from core.datasets.registry import DATASETS
from core.foundation.errors import BadFile, UnitscopeError
from core.rooms import Rooms
from tests import tiny


def write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def save(path: Path, pixels: np.ndarray | Image.Image, **options) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    image.save(path, **options)
    return path


def picture(width: int = 40, height: int = 30, seed: int = 0) -> np.ndarray:
    """Smooth colours, so that JPEG keeps them, different for each seed."""
    y, x = np.mgrid[:height, :width]
    red, green = 255 * x // width, 255 * y // height
    return np.stack([red, green, np.full_like(red, 40 + 50 * seed % 200)], -1).astype(np.uint8)


def says(problems, *words: str) -> bool:
    """Whether one problem has all the words."""
    return any(all(word in " ".join(p) for word in words) for p in problems)


def why(path: Path, read=read_photo) -> str:
    """The reason for which `read` refuses the file, told with the file's name."""
    with pytest.raises(BadFile) as refused:
        read(path)
    assert refused.value.path == str(path) and str(path) in str(refused.value)
    return refused.value.reason


# -- photos -----------------------------------------------------------------------------------


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


# -- masks ------------------------------------------------------------------------------------


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


# -- specs ------------------------------------------------------------------------------------


def test_unknown_kinds_tell_the_nearest_and_all_forms(tmp_path):
    with pytest.raises(UnitscopeError, match="unknown dataset 'nyu:x'; nearest: nyuv2:DIR"):
        open_dataset("nyu:x")
    for spec in ("", "moon", "C:\\photos"):
        with pytest.raises(UnitscopeError) as wrong:
            open_dataset(spec)
        assert all(kind.form in str(wrong.value) for kind in DATASETS)
        assert "to read that folder" not in str(wrong.value)
    with pytest.raises(UnitscopeError, match=f"write folder:{tmp_path}"):
        open_dataset(str(tmp_path))
    for name in ("label.csv", "index_ade20k.csv"):
        write(tmp_path / name, "")
    with pytest.raises(UnitscopeError, match=f"write broden:{tmp_path}"):
        open_dataset(str(tmp_path))


@pytest.mark.parametrize("kind", [k.name for k in DATASETS if k.name not in ("rooms", "python")])
def test_missing_folders_tell_the_nearest(tmp_path, kind):
    (tmp_path / "photos").mkdir()
    with pytest.raises(UnitscopeError, match=r"no such folder; nearest: photos"):
        open_dataset(f"{kind}:{tmp_path / 'photo'}")
    with pytest.raises(UnitscopeError, match=f"{kind}:DIR"):
        open_dataset(f"{kind}:")
    with pytest.raises(UnitscopeError, match="is a file"):
        open_dataset(f"{kind}:{write(tmp_path / 'file', '')}")


def test_rooms_is_opened_by_its_class():
    plain, other = open_dataset("rooms"), open_dataset("rooms:per_scene=3,seed=8")
    assert isinstance(plain, Rooms) and plain.spec == "rooms"
    assert isinstance(other, Rooms) and (other.seed, other.per_scene) == (8, 3)


def test_examples_in_the_docstrings():
    for module in (core.datasets, core.datasets.readers.broden):
        assert doctest.testmod(module).failed == 0


# -- folder -----------------------------------------------------------------------------------

LABELS = """value,name,category
1,bed,object
2,lamp,object
3,wood,material
4,pillow,part
5,headboard,part
255,,
"""


def folder_tree(root: Path) -> Path:
    """Two bedrooms and a kitchen; parts in masks of their own, materials in the main mask."""
    write(root / "labels.csv", LABELS)
    write(
        root / "scenes.csv",
        "image,scene,split\na.jpg,bedroom,train\nb,bedroom,test\nk/c.png,kitchen,test\n",
    )
    save(root / "images/a.jpg", picture(40, 30, 1))
    save(root / "images/b.jpg", picture(40, 30, 2))
    save(root / "images/k/c.png", picture(40, 30, 3))
    main = np.zeros((30, 40), np.uint8)
    main[:10], main[10:20], main[20:25], main[25:] = 1, 2, 3, 255
    save(root / "masks/a.png", main)
    save(root / "masks/b.png", main[::2, ::2])
    part, part2 = np.zeros((2, 30, 40), np.uint8)
    part[:5], part2[:3], part2[-1:] = 5, 4, 255
    save(root / "masks/a.part.png", part)
    save(root / "masks/a.part2.png", part2)
    return root


def folder_dataset(root: Path):
    return open_dataset(f"folder:{folder_tree(root)}")


def test_a_folder_is_read(tmp_path):
    data = folder_dataset(tmp_path / "mine")
    assert data.name == "mine" and data.ids == ["a", "b", "k/c"]
    assert data.scenes == ["bedroom", "kitchen"] and data.scene.tolist() == [0, 0, 1]
    assert data.scene.dtype == np.int32 and data.split == ["train", "test", "test"]
    assert data.concepts == [
        Concept(1, "bed", "object"),
        Concept(2, "lamp", "object"),
        Concept(3, "wood", "material"),
        Concept(4, "pillow", "part"),
        Concept(5, "headboard", "part"),
    ]
    assert data.channels == [
        Channel("object", "object"),
        Channel("material", "material"),
        Channel("part", "part"),
        Channel("part2", "part"),
    ]
    maps = data.annotations(0).maps
    assert maps.dtype == np.uint16 and maps.shape == (4, 30, 40)
    assert maps[:, [0, 4, 12, 22, 28], 0].T.tolist() == [
        [1, 0, 5, 4],
        [1, 0, 5, 0],
        [2, 0, 0, 0],
        [0, 3, 0, 0],
        [0, 0, 0, 0],
    ]
    assert data.annotations(1).maps.shape == (4, 15, 20)
    assert data.annotations(1).maps.max() == 3
    assert data.annotations(2).maps.shape == (4, 1, 1) and not data.annotations(2).maps.any()
    assert [p.reason for p in data.problems] == ["1 of 3 photos have no mask: k/c"]
    assert data.photo(2).size == (40, 30)
    assert data.index_of("k/c") == 2


def test_scenes_and_splits_come_from_the_folders_without_scenes_csv(tmp_path):
    for name in (
        "train/bedroom/1.jpg",
        "train/bedroom/10.jpg",
        "train/bedroom/2.JPG",
        "test/x.jpg",
    ):
        save(tmp_path / "images" / name, Image.fromarray(picture()), format="JPEG")
    write(tmp_path / "images/notes.txt", "")
    save(tmp_path / "images/.hidden/3.jpg", picture())
    data = open_dataset(f"folder:{tmp_path}")
    assert data.ids == ["test/x", "train/bedroom/1", "train/bedroom/2", "train/bedroom/10"]
    assert data.scenes == ["bedroom"] and data.scene.tolist() == [-1, 0, 0, 0]
    assert data.split == ["test", "train", "train", "train"]
    assert data.concepts == data.channels == []
    assert [p.reason for p in data.problems] == ["files not read as photos: 1 .txt"]
    assert data.annotations(0).maps.shape == (0, 1, 1)


def test_names_that_do_not_match_are_told_with_the_nearest(tmp_path):
    root = folder_tree(tmp_path)
    mask = np.ones((30, 40), np.uint8)
    save(root / "masks/k/c_mask.png", mask)
    save(root / "masks/b.prt.png", mask)
    save(root / "masks/b.object.jpg", mask)
    save(root / "images/a.png", picture())
    with (root / "scenes.csv").open("a") as table:
        table.write("aa.jpg,kitchen\na.jpg,kitchen\nk/c.png,kitchen,test,more\n\n")
    data = open_dataset(f"folder:{root}")
    assert data.ids == ["a", "b", "k/c"] and data.scene.tolist() == [0, 0, 1]
    told = data.problems
    assert says(told, "c_mask.png", "no photo 'k/c_mask'", "without a mask: k/c")
    assert says(told, "b.prt.png", "'prt' is not a category of masks; is 'part' meant?")
    assert says(told, "b.object.jpg", "is not a PNG")
    assert says(told, "a.png", "same name as a.jpg")
    assert says(told, "scenes.csv", "line 5", "no photo 'aa.jpg'; nearest: a.jpg")
    assert says(told, "scenes.csv", "line 6", "listed before")
    assert says(told, "scenes.csv", "line 7", "4 cells, not 3")
    assert len(told) == 8


def test_bad_rows_of_labels_csv_are_left_out_with_their_line(tmp_path):
    root = folder_tree(tmp_path)
    with (root / "labels.csv").open("a") as table:
        table.write(
            "x,chair,object\n6,chair,obejct\n0,wall,object\n1,bed again,object\n7\n70000,a,\n"
        )
        table.write("8,red,Colour\n")
    data = open_dataset(f"folder:{root}")
    told = data.problems
    assert says(told, "labels.csv", "line 8", "'x' is not a number")
    assert says(told, "line 9", "'obejct'", "is 'object' meant?")
    assert says(told, "line 10", "value 0 always means 'not annotated'")
    assert says(told, "line 11", "value 1 occurs twice")
    assert says(told, "line 12", "1 cells, not 3") and says(told, "line 13", "'70000'")
    assert Concept(6, "red", "color") in data.concepts


def test_bad_masks_name_their_file(tmp_path):
    root = folder_tree(tmp_path)
    mask = np.full((30, 40), 9, np.uint8)
    mask[0, :6] = range(20, 26)
    save(root / "masks/b.png", mask)
    data = open_dataset(f"folder:{root}")

    def reason(image: str) -> str:
        return why(
            next((root / "masks").rglob(f"{image}.png")),
            lambda _: data.annotations(data.index_of(image.split(".")[0])),
        )

    assert reason("b").startswith(
        "unknown label values 9, 20, 21, 22, 23 and 2 more: not in labels.csv"
    )
    save(root / "masks/b.png", np.ones((40, 30), np.uint8))
    assert reason("b") == "the mask is 30×40 but the photo is 40×30: not the same shape"
    save(root / "masks/b.png", np.ones((30, 40, 3), np.uint8))
    assert "mode is RGB" in reason("b")
    (root / "masks/b.png").write_bytes(b"")
    assert reason("b") == "is empty (0 bytes)"
    save(root / "masks/a.part2.png", np.ones((15, 20), np.uint8))
    assert reason("a.part2") == "is 20×15, but a.png is 40×30"
    save(root / "masks/a.part2.png", np.ones((30, 40), np.uint8))
    assert reason("a.part2") == "unknown label values 1: not in the part labels of labels.csv"


def test_a_mask_is_drawn_over_the_upright_photo(tmp_path):
    root = folder_tree(tmp_path)
    exif = Image.Exif()
    exif[0x0112] = 6
    save(root / "images/b.jpg", Image.fromarray(picture(30, 40)), exif=exif)
    data = open_dataset(f"folder:{root}")
    assert data.photo(1).size == (40, 30) and data.annotations(1).maps.shape == (4, 15, 20)


def test_tables_that_cannot_be_read_are_named(tmp_path):
    def refused(name: str, content: bytes | None) -> str:
        root = folder_tree(tmp_path / str(len(list(tmp_path.iterdir()))))
        if content is None:
            (root / name).rename(root / ("_" + name))
        else:
            (root / name).write_bytes(content)
        with pytest.raises(BadFile) as wrong:
            open_dataset(f"folder:{root}")
        assert wrong.value.path.endswith(name)
        return wrong.value.reason

    assert refused("labels.csv", None) == "does not exist; nearest: _labels.csv, scenes.csv"
    assert refused("labels.csv", b"").startswith("is empty")
    assert refused("labels.csv", b"value,name\n") == "lists no label"
    assert refused("labels.csv", b"number,name\n1,bed\n").startswith("has no column 'value'")
    assert "separated by commas" in refused("labels.csv", b"value;name\n1;bed\n")
    assert "'name' twice" in refused("labels.csv", b"value,name,name\n1,bed,x\n")
    assert refused("scenes.csv", b"image,scene\nb,caf\xe9\n").startswith("is not UTF-8")
    assert "'images' should be called so" in refused("scenes.csv", b"images,scene\n")
    assert refused("images", None) == "no such folder; nearest: _images, masks"
    both = b"value,name,category\n1,bed,object\n1,wood,material\n5,x,part\n"
    assert "value 1 stands in two categories of one mask" in refused("labels.csv", both)


def test_one_value_may_mean_two_things_in_masks_of_their_own(tmp_path):
    root = folder_tree(tmp_path)
    write(
        root / "labels.csv",
        "\ufeffValue, Name ,category\n1,bed,\n1,pillow,part\n2,lamp,\n3,rug,\n255,,\n",
    )
    for name in ("a.part.png", "a.part2.png"):
        save(root / "masks" / name, np.ones((30, 40), np.uint8))
    data = open_dataset(f"folder:{root}")
    assert data.annotations(0).maps[:, 0, 0].tolist() == [1, 2, 2]


def test_a_folder_without_photos_is_refused(tmp_path):
    (tmp_path / "images").mkdir()
    with pytest.raises(UnitscopeError, match=r"images: holds no photo \(\.jpg"):
        open_dataset(f"folder:{tmp_path}")


# -- the digest -------------------------------------------------------------------------------


def test_the_digest_follows_content_and_nothing_else(tmp_path):
    digest = folder_dataset(tmp_path / "one").content_digest()
    assert len(digest) >= 32 and int(digest, 16) > 0
    elsewhere = folder_dataset(tmp_path / "two")
    assert elsewhere.content_digest() == digest == elsewhere.content_digest()
    copy = pickle.loads(pickle.dumps(elsewhere))
    assert copy.content_digest() == digest and copy.annotations(0).maps.shape == (4, 30, 40)

    def after(change) -> str:
        shutil.rmtree(tmp_path / "two")
        root = folder_tree(tmp_path / "two")
        change(root)
        return open_dataset(f"folder:{root}").content_digest()

    changes = [
        lambda root: save(root / "images/b.jpg", picture(40, 30, 4)),
        lambda root: save(root / "masks/b.png", np.ones((30, 40), np.uint8)),
        lambda root: (root / "masks/b.png").rename(root / "masks/k.png"),
        lambda root: (root / "masks/b.png").rename(root / "masks/b.object.png"),
        lambda root: write(root / "labels.csv", LABELS.replace("lamp", "light")),
        lambda root: write(root / "labels.csv", LABELS.replace("255", "254,bin,object\n255")),
        lambda root: write(root / "scenes.csv", "image,scene\na,bedroom\nb,bedroom\nk/c,kitchen\n"),
    ]
    digests = [after(change) for change in changes]
    assert len({digest, *digests}) == 1 + len(changes)
    assert after(lambda root: (root / "images/notes.txt").touch()) == digest


def test_the_digest_counts_files_that_went_missing(tmp_path):
    data = folder_dataset(tmp_path)
    whole = folder_dataset(tmp_path).content_digest()
    Path(data.photo_files[0]).unlink()
    assert data.content_digest() != whole


# -- nyuv2 ------------------------------------------------------------------------------------


def nyu_tree(root: Path) -> Path:
    names = ["unlabelled", *(f"label{k}" for k in range(1, 40)), "otherprop"]
    write(root / "labels40.txt", "".join(f"{k}\t{name}\n" for k, name in enumerate(names)))
    write(
        root / "scenes.csv",
        "index,scene,official_split\n0,kitchen,test\n1,bedroom,train\n2,bedroom,test\n",
    )
    mask = np.array([[0, 1], [38, 39]], np.uint8).repeat(15, 0).repeat(20, 1)
    for k in range(3):
        save(root / f"images/{k}.jpg", picture(40, 30, k))
        save(root / f"labels40/{k}.png", mask)
    return root


def test_nyuv2_layout(tmp_path):
    data = open_dataset(f"nyuv2:{nyu_tree(tmp_path)}")
    assert data.name == "nyuv2" and data.ids == ["0", "1", "2"] and not data.problems
    assert data.scenes == ["bedroom", "kitchen"] and data.scene.tolist() == [1, 0, 0]
    assert data.split == ["test", "train", "test"]
    assert data.channels == [Channel("object", "object")]
    assert len(data.concepts) == 39 and data.concepts[38] == Concept(39, "label39", "object")
    maps = data.annotations(0).maps
    assert maps.shape == (1, 30, 40) and maps[0, ::15, ::20].tolist() == [[1, 2], [39, 0]]
    assert data.select(["test"]).tolist() == [0, 2]


def test_nyuv2_leaves_out_what_it_cannot_use(tmp_path):
    root = nyu_tree(tmp_path)
    with (root / "scenes.csv").open("a") as table:
        table.write("1,kitchen,test\n9,kitchen,test\n../x,kitchen,test\n2,,test\n5,a\n")
    (root / "labels40/2.png").unlink()
    data = open_dataset(f"nyuv2:{root}")
    assert data.ids == ["0", "1"] and data.split == ["test", "train"]
    assert says(data.problems, "scenes.csv", "line 5", "image 1 occurs twice")
    assert says(data.problems, "9.jpg", "does not exist")
    assert says(data.problems, "labels40", "2.png", "does not exist")
    assert says(data.problems, "line 6", "'../x' is not an image number") is False
    assert says(data.problems, "line 7", "'../x' is not an image number")
    assert says(data.problems, "line 8", "no scene") and says(data.problems, "line 9", "2 cells")

    bad = np.full((30, 40), 41, np.uint8)
    save(root / "labels40/0.png", bad)
    assert "unknown label values 41" in why(root / "labels40/0.png", lambda _: data.annotations(0))
    (root / "images/1.jpg").write_bytes((root / "images/1.jpg").read_bytes()[:300])
    assert "truncated" in why(root / "images/1.jpg", lambda _: data.photo(1))


def test_nyuv2_tables_are_needed(tmp_path):
    root = nyu_tree(tmp_path)
    write(root / "labels40.txt", "0\tunlabelled\nwall 1\n")
    assert "line 2" in why(root / "labels40.txt", lambda _: open_dataset(f"nyuv2:{root}"))
    (root / "labels40.txt").unlink()
    assert why(root / "labels40.txt", lambda _: open_dataset(f"nyuv2:{root}")) == "does not exist"
    shutil.rmtree(root / "images")
    (root / "images").mkdir()
    nyu = nyu_tree(tmp_path / "other")
    shutil.rmtree(nyu / "images")
    (nyu / "images").mkdir()
    with pytest.raises(UnitscopeError, match=r"none of its 3 images can be used; first: .*0\.jpg"):
        open_dataset(f"nyuv2:{nyu}")


def test_the_real_nyuv2(data_dir):
    if not (data_dir / "nyuv2").is_dir():
        pytest.skip("the real data have no nyuv2/")
    data = open_dataset(f"nyuv2:{data_dir / 'nyuv2'}")
    assert data.problems == [] and data.ids == [str(k) for k in range(1449)]
    counts = dict(zip(data.scenes, np.bincount(data.scene).tolist(), strict=True))
    assert len(counts) == 27 and counts["bedroom"] == 383 and counts["indoor_balcony"] == 2
    assert data.split.count("train") == 795 and data.split.count("test") == 654
    names = [c.name for c in data.concepts]
    assert len(names) == 39 and names[:3] == ["wall", "floor", "cabinet"]
    assert "refridgerator" in names and "otherprop" not in names
    for k in (0, 700, 1448):
        with Image.open(data_dir / f"nyuv2/labels40/{k}.png") as image:
            raw = np.asarray(image).astype(int)
        maps = data.annotations(k).maps
        assert maps.shape == (1, 480, 640) and data.photo(k).size == (640, 480)
        assert np.array_equal(maps[0], np.where(raw == 39, 0, raw + 1))
    # The values of image 1 were looked up by hand: 39 is there, and gives no concept.
    assert np.unique(data.annotations(1).maps).tolist() == [0, 1, 3, 12, 22, 24, 26, 34, 38, 39]
    assert data.content_digest() == data.content_digest()


# -- broden -----------------------------------------------------------------------------------

BRODEN_LABELS = """number,name,category,frequency,coverage,syns
1,red-c,color(3),3,1.0,
2,street-s,scene(2),2,2.0,
3,wall,object(3),3,1.5,walls;side
4,door,object(1);part(3),3,0.5,
5,knob,part(2),2,0.1,
6,wood,material(1);object(1),2,0.2,
7,dotted,texture(2),2,2.0,
8,bedroom-s,scene(1),1,1.0,
9,striped,texture(1),1,1.0,
300,painted-s,object(1),1,0.1,
"""

BRODEN_INDEX = """image,split,ih,iw,sh,sw,color,object,part,material,scene,texture
set/a.jpg,train,224,224,112,112,set/a_color.png,set/a_object.png,set/a_part_1.png;set/a_part_2.png,,2,
set/b.jpg,val,224,224,112,112,set/b_color.png,set/b_object.png,,6,8;2,7;9
set/t.jpg,train,224,224,112,112,set/t_color.png,,,,,set/t_texture.png;7
set/n.jpg,val,224,224,112,112,,,,,0,
"""


def broden_tree(root: Path) -> Path:
    """The published layout: three kinds of image as ADE20K, OpenSurfaces and DTD give them."""
    write(root / "label.csv", BRODEN_LABELS)
    write(root / "index.csv", BRODEN_INDEX)
    write(
        root / "category.csv",
        "name,first,last,count,frequency\ncolor,1,1,1,3\nobject,3,300,4,6\npart,4,5,2,5\n"
        "material,6,6,1,1\nscene,2,8,2,3\ntexture,7,9,2,3\n",
    )
    write(
        root / "c_object.csv",
        "code,number,name,frequency,coverage\n1,3,wall,3,1.5\n2,4,door,1,0.1\n",
    )
    write(
        root / "c_part.csv", "code,number,name,frequency,coverage\n1,4,door,3,0.5\n2,5,knob,2,0.1\n"
    )
    for k, name in enumerate("abtn"):
        save(root / f"images/set/{name}.jpg", picture(224, 224, k))

    def mask(name: str, top: int, bottom: int) -> None:
        labels = np.zeros((112, 112), np.uint16)
        labels[:56], labels[56:] = top, bottom
        save(root / f"images/set/{name}.png", rg(labels))

    for name in ("a_color", "b_color", "t_color"):
        mask(name, 1, 1)
    mask("a_object", 3, 4)
    mask("a_part_1", 0, 5)
    mask("a_part_2", 4, 4)
    mask("b_object", 300, 6)
    mask("t_texture", 9, 0)
    return root


def test_broden_layout(tmp_path):
    data = open_dataset(f"broden:{broden_tree(tmp_path)}")
    assert data.name == "broden" and not data.problems
    assert data.ids == ["set/a.jpg", "set/b.jpg", "set/t.jpg", "set/n.jpg"]
    assert data.split == ["train", "val", "train", "val"]
    assert data.scenes == ["street", "bedroom"] and data.scene.tolist() == [0, 1, -1, -1]
    key = {(c.name, c.category): c.id for c in data.concepts}
    assert list(key) == [
        ("red-c", "color"),
        ("wall", "object"),
        ("door", "object"),
        ("door", "part"),
        ("knob", "part"),
        ("wood", "object"),
        ("wood", "material"),
        ("dotted", "texture"),
        ("striped", "texture"),
        ("painted-s", "object"),
    ]
    # No material mask is in the index, only a number: a concept, but no channel.
    assert data.channels == [
        Channel("color", "color"),
        Channel("object", "object"),
        Channel("part", "part"),
        Channel("part2", "part"),
        Channel("texture", "texture"),
    ]
    a, b, t, n = (data.annotations(k) for k in range(4))
    assert a.maps.shape == (5, 112, 112) and a.maps.dtype == np.uint16 and a.whole == ()
    assert a.maps[:, ::56, 0].T.tolist() == [
        [1, key["wall", "object"], 0, key["door", "part"], 0],
        [1, key["door", "object"], key["knob", "part"], key["door", "part"], 0],
    ]
    assert b.maps[1, ::56, 0].tolist() == [key["painted-s", "object"], key["wood", "object"]]
    assert b.whole == (key["wood", "material"], key["dotted", "texture"], key["striped", "texture"])
    assert t.whole == (key["dotted", "texture"],)
    assert t.maps[4, ::56, 0].tolist() == [key["striped", "texture"], 0]
    assert n.maps.shape == (5, 1, 1) and not n.maps.any() and n.whole == ()
    assert pickle.loads(pickle.dumps(data)).content_digest() == data.content_digest()


@pytest.mark.parametrize("side", [224, 227, 384])
def test_every_size_that_broden_is_published_in(tmp_path, side):
    """broden1_224, broden1_227 and broden1_384: masks of half the side, rounded down."""
    half = side // 2
    index = BRODEN_INDEX.replace("224,224,112,112", f"{side},{side},{half},{half}")
    root = broden_tree(tmp_path)
    write(root / "index.csv", index)
    for path in (root / "images/set").iterdir():
        with Image.open(path) as image:
            size = (side, side) if path.suffix == ".jpg" else (half, half)
            resized = image.resize(size, Image.Resampling.NEAREST)
        save(path, resized)
    data = open_dataset(f"broden:{root}")
    assert not data.problems and data.photo(0).size == (side, side)
    names = np.array(["", *[c.name for c in data.concepts]])
    for k in range(3):
        maps = data.annotations(k).maps
        assert maps.shape[1:] == (half, half)
    assert names[data.annotations(0).maps[1, [0, -1], 0]].tolist() == ["wall", "door"]
    run = tiny.dissect(f"broden:{root}", tmp_path / "runs")
    assert run.info["images"]["used"] == 4 and {"wall", "knob", "red-c", "striped"} <= set(
        run.sql("SELECT name FROM concepts WHERE area > 0")["name"]
    )


def test_broden_leaves_out_what_it_cannot_use(tmp_path):
    root = broden_tree(tmp_path)
    size = "train,224,224,112,112"
    rows = [
        f"set/a.jpg,{size},,,,,2,",
        f"set/gone.jpg,{size},,,,,2,",
        f"set/n.jpg,{size},,set/gone.png,,,2,",
        f"../outside.jpg,{size},,,,,2,",
        f"set/n.jpg,{size},/etc/x.png,,,,2,",
        f"set/n.jpg,{size},,set/../../x.png,,,2,",
        f"C:/x.jpg,{size},,,,,2,",
        f"set/n.jpg,{size},,3;77,,,2,",
        f"set/n.jpg,{size},,5,,,2,",
        f"set/n.jpg,{size},,,,,99999,",
        "set/n.jpg,train,224,224,x,112,,,,,2,",
        f",{size},,,,,2,",
        f"set/n.jpg,{size},,,",
    ]
    lines = BRODEN_INDEX.splitlines()[:-1] + rows
    write(root / "index.csv", "\n".join(lines))
    data = open_dataset(f"broden:{root}")
    told = data.problems
    assert data.ids == ["set/a.jpg", "set/b.jpg", "set/t.jpg"]
    assert says(told, "index.csv", "line 5", "set/a.jpg is listed before, in line 2")
    assert says(told, "gone.jpg", "does not exist")
    # Line 7 is the first row of set/n.jpg that can be parsed; later ones are repeats of it.
    assert says(told, "set/n.jpg", "gone.png", "does not exist")
    for line, name in ((8, "../outside.jpg"), (9, "/etc/x.png"), (10, "../../x.png"), (11, "C:/")):
        assert says(told, f"line {line}:", name, "lies outside images/")
    assert says(told, "line 12:", "listed before") and says(told, "line 14:", "above 65535")
    assert says(told, "line 15:", "'x' and '112', not numbers") and says(
        told, "line 16:", "no image"
    )
    assert says(told, "line 17:", "9 cells, not 12")


@pytest.mark.parametrize(("cell", "label"), [("3;77", 77), ("5", 5)])
def test_whole_image_labels_must_be_known_in_their_category(tmp_path, cell, label):
    root = broden_tree(tmp_path)
    with (root / "index.csv").open("a") as table:
        table.write(f"set/m.jpg,train,224,224,112,112,,{cell},,,2,\n")
    save(root / "images/set/m.jpg", picture(224, 224))
    data = open_dataset(f"broden:{root}")
    assert len(data) == 4
    assert says(data.problems, "set/m.jpg", "line 6", f"label {label} is not of category object")


def test_broden_masks_that_cannot_be_used_name_their_file(tmp_path):
    root = broden_tree(tmp_path)
    data = open_dataset(f"broden:{root}")

    def reason(name: str, pixels: np.ndarray) -> str:
        path = save(root / f"images/set/{name}.png", pixels)
        told = why(path, lambda _: data.annotations(0))
        broden_tree(root)
        return told

    labels = np.full((112, 112), 77, np.uint16)
    assert reason("a_object", rg(labels)).startswith("unknown label values 77: not in the object")
    labels[:] = 5  # knob is a part
    assert reason("a_object", rg(labels)).startswith("unknown label values 5: not in the object")
    assert reason("a_part_2", rg(labels[:50])) == "is 112×50, but the index says 112×112"
    assert "blue above 0" in reason("a_color", picture(112, 112))

    write(root / "index.csv", BRODEN_INDEX.replace("112,112", ","))
    data = open_dataset(f"broden:{root}")
    assert reason("a_color", rg(np.ones((112, 50)))).startswith("the mask is 50×112 but the photo")
    assert reason("a_object", rg(labels[:56, :56])) == "is 56×56, but a_color.png is 112×112"


def test_scene_names_keep_their_suffix_where_it_tells_two_apart(tmp_path):
    root = broden_tree(tmp_path)
    write(root / "label.csv", BRODEN_LABELS.replace("8,bedroom-s,", "8,street,"))
    assert open_dataset(f"broden:{root}").scenes == ["street-s", "street"]


def test_unknown_scenes_cost_the_scene_only_and_are_told_once(tmp_path):
    root = broden_tree(tmp_path)
    write(
        root / "index.csv",
        BRODEN_INDEX.replace(",2,\n", ",555,\n").replace(",0,\n", ",555;x.png,\n"),
    )
    data = open_dataset(f"broden:{root}")
    assert len(data) == 4 and data.scene.tolist() == [-1, 0, -1, -1] and data.scenes == ["bedroom"]
    assert says(data.problems, "line 2", "scene 555 is not in label.csv: 2 images")
    assert says(data.problems, "line 5", "scene masks are not read")


def test_columns_that_are_no_category_are_told(tmp_path):
    root = broden_tree(tmp_path)
    write(root / "index.csv", BRODEN_INDEX.replace("color,", "colour,", 1))
    data = open_dataset(f"broden:{root}")
    assert data.channels[0] == Channel("object", "object")
    assert says(data.problems, "column 'colour'", "is 'color' meant?")
    write(root / "index.csv", "image,split,ih,iw,sh,sw\nset/a.jpg,train,1,1,1,1\n")
    assert "no column of a category" in why(
        root / "index.csv", lambda _: open_dataset(f"broden:{root}")
    )


def test_labels_of_one_name_and_bad_label_rows(tmp_path):
    root = broden_tree(tmp_path)
    with (root / "label.csv").open("a") as table:
        table.write(
            "301,wall,object(1),1,1,\n3,again,object(1),1,1,\n0,-,object(1),1,1,\n302,,object,1,1,\n"
        )
    labels = np.full((112, 112), 301, np.uint16)
    save(root / "images/set/a_object.png", rg(labels))
    data = open_dataset(f"broden:{root}")
    assert data.concepts[data.annotations(0).maps[1, 0, 0] - 1].name == "wall"
    assert [c.name for c in data.concepts if c.category == "object"].count("wall") == 1
    for line, words in ((13, "3 occurs twice"), (14, "'0'"), (15, "302 has no name")):
        assert says(data.problems, "label.csv", f"line {line}:", words)


def test_c_files_add_labels_to_a_category(tmp_path):
    root = broden_tree(tmp_path)
    write(root / "label.csv", BRODEN_LABELS.replace("3,wall,object(3)", "3,wall,"))
    write(root / "c_part.csv", "code,number\n1,4\n2,5\n3,9999\n")
    data = open_dataset(f"broden:{root}")
    assert ("wall", "object") in {(c.name, c.category) for c in data.concepts}
    assert says(data.problems, "c_part.csv", "line 4", "'9999' is not in label.csv")


@pytest.mark.parametrize("name", ["broden1_224", "C:data", "a:b:c"])
def test_broden_specs_name_another_index(tmp_path, name):
    root = broden_tree(tmp_path / name)
    lines = BRODEN_INDEX.splitlines()
    other = write(root / "index_set.csv", "\n".join([lines[0], lines[2]]))
    assert len(open_dataset(f"broden:{root}")) == 4
    for index in ("index_set.csv", other):
        data = open_dataset(f"broden:{root}:{index}")
        assert data.ids == ["set/b.jpg"] and data.name == "set"
        # Categories and part levels that this index does not use are not there.
        assert [c.name for c in data.channels] == ["color", "object"]
    with pytest.raises(BadFile, match=r"no such index; CSV files there: index_set\.csv"):
        open_dataset(f"broden:{root}:index_sett.csv")


def test_the_real_ade20k_index(data_dir, tmp_path):
    path = data_dir / "ade20k" / "index_ade20k.csv"
    if not path.is_file():
        pytest.skip("the real data have no ade20k/index_ade20k.csv")
    problems: list = []
    categories, rows = read_index(path, problems)
    assert problems == [] and len(rows) == 22_210
    assert categories == ["color", "object", "part", "material", "scene", "texture"]
    assert rows[0].image == "ade20k/ADE_train_00003891.jpg" and rows[0].mask_size == (112, 112)
    assert max(len(row.cells["part"].files) for row in rows) == 3
    assert sum(row.cells["scene"].numbers == (59,) for row in rows) == 2241
    # 0 is Broden's "-" and the empty cell: no scene that has a name.
    assert sum(row.cells["scene"] == Cell() for row in rows) == 1987 + 2477

    # The whole reader, on the first rows with files written for them.
    root = tmp_path / "broden"
    with path.open() as source:
        lines = [line.strip() for line, _ in zip(source, range(41), strict=False)]
    write(root / "index_ade20k.csv", "\n".join(lines))
    write(root / "label.csv", BRODEN_LABELS + "59,street two-s,scene(1),1,1,\n")
    for row in csv.DictReader(lines):
        save(root / "images" / row["image"], picture(224, 224))
        for name in ";".join(row[c] for c in ("color", "object", "part")).split(";"):
            if name:
                label = 1 if "_color" in name else 4
                save(root / "images" / name, rg(np.full((112, 112), label)))
    data = open_dataset(f"broden:{root}:index_ade20k.csv")
    assert len(data) == 40 and data.name == "ade20k" and data.scenes == ["street two"]
    assert {p.reason.split(" is ")[-1].split(":")[0] for p in data.problems} == {"not in label.csv"}
    for k in range(len(data)):
        assert data.annotations(k).maps[:2].min() > 0


def test_label_csv_of_broden(tmp_path):
    names, labels_of = read_label_table(write(tmp_path / "label.csv", BRODEN_LABELS), [])
    assert names[300] == "painted-s" and labels_of["part"] == {4, 5}
