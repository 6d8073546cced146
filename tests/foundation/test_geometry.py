"""What the network sees is what is counted: one pattern through both paths of `Preprocessing`."""

from __future__ import annotations

import doctest

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image

import core.foundation.geometry
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import Preprocessing, default_grid


@st.composite
def ways(draw: st.DrawFn) -> tuple[Preprocessing, tuple[int, int], int, tuple[int, int]]:
    """(preprocessing, photo size, photo pixels a mask pixel, working grid)."""
    shrink = draw(st.sampled_from([1, 2]))
    width, height = (shrink * draw(st.integers(20, 90)) for _ in "wh")
    crop = None
    if draw(st.booleans()):
        left, top = draw(st.integers(0, width // 3)), draw(st.integers(0, height // 3))
        right = draw(st.integers(left + width // 2, width))
        bottom = draw(st.integers(top + height // 2, height))
        crop = (left, top, right, bottom)
    sides = st.integers(24, 120)
    resize = draw(st.one_of(st.none(), sides, st.tuples(sides, sides)))
    way = Preprocessing(crop=crop, resize=resize, center_crop=None, flip=draw(st.booleans()))
    w, h = way.input_size(width, height)
    if draw(st.booleans()):
        center = (draw(st.integers(max(8, w // 2), w)), draw(st.integers(max(8, h // 2), h)))
        way = Preprocessing(crop=crop, resize=resize, center_crop=center, flip=way.flip)
        w, h = center
    grid = draw(st.sampled_from([default_grid((w, h)), (w, h), (7, 7), (max(1, w // 3), h // 2)]))
    return way, (width, height), shrink, grid


def sampled(way: Preprocessing, labels: np.ndarray, photo: Image.Image, grid) -> np.ndarray:
    rows, columns = way.sample_points(photo.size, labels.shape[::-1], grid)
    return labels[rows[:, None], columns]


def edge_seen(values: np.ndarray) -> float:
    """Where a line of 0…1 pixels steps between 0 and 1, in pixels, from either side."""
    rising = values[-1] > values[0]
    return float(len(values) - values.sum()) if rising else float(values.sum())


@given(ways(), st.floats(0.15, 0.85), st.sampled_from([0, 1]))
@settings(max_examples=200, deadline=None)
def test_an_edge_lies_at_one_place_in_photo_and_labels(case, where, axis):
    """A straight edge, measured in the photo the network sees and in the sampled labels."""
    way, (width, height), shrink, grid = case
    length = (width, height)[axis]
    edge = round(where * length / shrink) * shrink
    mask = np.zeros((height // shrink, width // shrink), np.uint16)
    mask[
        (slice(None), slice(edge // shrink, None)) if axis == 0 else slice(edge // shrink, None)
    ] = 1
    photo = Image.fromarray(np.kron(mask, np.full((shrink, shrink), 255)).astype(np.uint8))
    assert photo.size == (width, height)

    seen = np.asarray(way.view(photo.convert("RGB")))[..., 0] / 255
    on_grid = sampled(way, mask, photo, grid).astype(float)
    assert on_grid.shape == (grid[1], grid[0])
    # `axis` counts (x, y); arrays count (row, column).
    line, cells = (np.moveaxis(a, 1 - axis, -1)[0] for a in (seen, on_grid))
    cell = len(line) / len(cells)
    # The edge must be in view, clear of the borders, for both to show it in full.
    left, right = way.crop[axis::2] if way.crop else (0, length)
    assume(left + 2 < edge < right - 2)
    margin = max(3, 1.5 * cell, 2 * len(line) * 4 / (right - left))
    assume(line[0] in (0, 1) and line[-1] in (0, 1) and line[0] != line[-1])
    assume(margin < edge_seen(line) < len(line) - margin)

    apart = abs(edge_seen(line) / cell - edge_seen(cells))
    # Half a cell is what nearest-neighbour cells can tell; a quarter of an input pixel is what
    # the edge's place in antialiased 8-bit pixels can be told to.
    assert apart <= 0.5 + 0.25 / cell


@given(ways(), st.data())
@settings(max_examples=80, deadline=None)
def test_rectangles_have_the_labels_of_the_pixels_seen(case, data):
    """Where the pixels around a cell's centre are all of one label, the cell has that label."""
    way, (width, height), shrink, grid = case
    mask = np.zeros((height // shrink, width // shrink), np.uint16)
    for _ in range(3):
        x = data.draw(st.integers(0, mask.shape[1] - 4))
        y = data.draw(st.integers(0, mask.shape[0] - 4))
        mask[y : y + data.draw(st.integers(4, 40)), x : x + data.draw(st.integers(4, 40))] ^= 1
    photo = Image.fromarray(np.kron(mask, np.full((shrink, shrink), 255)).astype(np.uint8))
    seen = np.asarray(way.view(photo.convert("RGB")))[..., 0]
    on_grid = sampled(way, mask, photo, grid)
    around = np.pad(seen, 1, mode="edge")
    for row in range(grid[1]):
        for column in range(grid[0]):
            y = int((row + 0.5) * seen.shape[0] / grid[1])
            x = int((column + 0.5) * seen.shape[1] / grid[0])
            near = around[y : y + 3, x : x + 3]
            if near.min() == near.max() and near.min() in (0, 255):
                assert on_grid[row, column] == near.min() // 255


@given(ways())
@settings(max_examples=100, deadline=None)
def test_the_view_is_crop_resize_crop_flip(case):
    way, (width, height), _, _ = case
    rng = np.random.default_rng(width * height)
    photo = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    plain = photo.crop(way.crop) if way.crop else photo
    if isinstance(way.resize, int):
        w, h = plain.size
        short = min(w, h)
        size = (way.resize * w // short, way.resize * h // short)
        plain = plain.resize(size, Image.Resampling.BILINEAR)
    elif way.resize:
        plain = plain.resize(way.resize, Image.Resampling.BILINEAR)
    if way.center_crop:
        cw, ch = way.center_crop
        x, y = round((plain.width - cw) / 2), round((plain.height - ch) / 2)
        plain = plain.crop((x, y, x + cw, y + ch))
    if way.flip:
        plain = plain.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    seen = way.view(photo)
    assert seen.size == way.input_size(width, height) == plain.size
    assert np.array_equal(np.asarray(seen), np.asarray(plain))


@given(st.integers(30, 400), st.integers(30, 400), st.integers(24, 128), st.floats(0.3, 1.0))
@settings(max_examples=60, deadline=None)
def test_the_view_is_torchvisions(width, height, resize, share):
    """Photos of any size give the very pixels of torchvision's Resize and CenterCrop."""
    transforms = pytest.importorskip("torchvision.transforms")
    crop = max(1, int(resize * share))
    rng = np.random.default_rng(width * height)
    photo = Image.fromarray(rng.integers(0, 256, (height, width, 3), np.uint8))
    theirs = transforms.CenterCrop(crop)(transforms.Resize(resize)(photo))
    ours = Preprocessing(resize=resize, center_crop=crop).view(photo)
    assert np.array_equal(np.asarray(ours), np.asarray(theirs))


def test_an_untouched_photo_and_mask_are_returned_whole():
    way = Preprocessing(resize=None, center_crop=None)
    photo = Image.fromarray(np.arange(60, dtype=np.uint8).reshape(6, 10)).convert("RGB")
    assert np.array_equal(np.asarray(way.view(photo)), np.asarray(photo))
    labels = np.arange(60, dtype=np.uint16).reshape(6, 10)
    assert np.array_equal(sampled(way, labels, photo, (10, 6)), labels)
    mirrored = Preprocessing(resize=None, center_crop=None, flip=True)
    assert np.array_equal(sampled(mirrored, labels, photo, (10, 6)), labels[:, ::-1])


def test_half_size_masks_of_odd_photos_are_taken():
    way = Preprocessing(resize=None, center_crop=None)
    for size in ((113, 75), (112, 75), (113, 76)):
        rows, columns = way.sample_points((225, 151), size, (20, 20))
        assert rows.max() < size[1] and columns.max() < size[0]


@pytest.mark.parametrize("size", [(480, 640), (320, 320), (640, 400)])
def test_a_mask_of_another_shape_is_refused_with_both_sizes(size):
    with pytest.raises(UnitscopeError, match=f"{size[0]}×{size[1]} but the photo is 640×480"):
        Preprocessing().sample_points((640, 480), size, (112, 112))


def test_steps_that_do_not_fit_the_photo_are_refused():
    small = Image.new("RGB", (50, 40))
    with pytest.raises(UnitscopeError, match=r"crops .* but the photo is 50×40"):
        Preprocessing(crop=(8, 8, 632, 472)).view(small)
    with pytest.raises(UnitscopeError, match="centre crop of 64×64 from an image of 50×40"):
        Preprocessing(resize=None, center_crop=64).view(small)


def test_normalise_follows_channel_order():
    pixels = np.zeros((1, 2, 3), np.uint8)
    pixels[0, 0] = (255, 0, 51)
    way = Preprocessing(channels="BGR", mean=(0.0, 0.5, 1.0), std=(1.0, 0.5, 2.0))
    x = way.normalise(pixels)
    assert x.shape == (3, 1, 2) and x.dtype == np.float32
    np.testing.assert_allclose(x[:, 0, 0], [0.2, -1.0, 0.0], atol=1e-6)


@pytest.mark.parametrize(
    "way", [Preprocessing(), Preprocessing(crop=(8, 8, 632, 472), resize=(144, 144), flip=True)]
)
def test_stored_as_json_and_back(way):
    assert Preprocessing.from_json(way.to_json()) == way


def test_examples_in_the_docstrings():
    assert doctest.testmod(core.foundation.geometry).failed == 0
