"""The dissection kernels against slow references written from the definitions."""

from __future__ import annotations

import csv
import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dissect.counts import (
    Counts,
    best_ious,
    count_images,
    count_images_torch,
    exchange,
    upsample_torch,
)
from core.dissect.labels import iou_table
from core.dissect.thresholds import TopK, tail_size
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import interpolation

# -- slow references ------------------------------------------------------------------------


def upsample_slow(f: np.ndarray, height: int, width: int) -> np.ndarray:
    """Bilinear, align_corners=False, pixel by pixel in Python floats."""
    h, w = f.shape
    out = np.empty((height, width))
    for y, x in itertools.product(range(height), range(width)):
        sy = min(max((y + 0.5) * h / height - 0.5, 0.0), h - 1)
        sx = min(max((x + 0.5) * w / width - 0.5, 0.0), w - 1)
        y0, x0 = math.floor(sy), math.floor(sx)
        y1, x1 = min(y0 + 1, h - 1), min(x0 + 1, w - 1)
        a, b, c, d = (float(f[p]) for p in ((y0, x0), (y0, x1), (y1, x0), (y1, x1)))
        top, bottom = a + (sx - x0) * (b - a), c + (sx - x0) * (d - c)
        out[y, x] = top + (sy - y0) * (bottom - top)
    return out


def count_slow(maps, thresholds, labels, category_of, categories, concepts) -> Counts:
    """Every pixel of every unit and image, one at a time."""
    n, units = maps.shape[:2]
    height, width = labels.shape[2:]
    hits, both, areas = [], [], []
    annotated, pixels = np.zeros((n, categories), np.int32), []

    def marks(planes, y, x):
        return marks_of(planes[:, y, x], category_of)

    for i in range(n):
        area: dict[int, int] = {}
        for y, x in itertools.product(range(height), range(width)):
            found, groups = marks(labels[i], y, x)
            for v in filter(None, found):
                area[v] = area.get(v, 0) + 1
            for g in groups:
                annotated[i, g] += 1
        areas += [(i, c, area[c]) for c in sorted(area)]
        for t in range(units):
            mask = upsample_slow(maps[i, t], height, width) > float(thresholds[t])
            if not mask.any():
                continue
            inside, overlap = [0] * categories, {}
            for y, x in zip(*np.nonzero(mask), strict=True):
                found, groups = marks(labels[i], y, x)
                for v in filter(None, found):
                    overlap[v] = overlap.get(v, 0) + 1
                for g in groups:
                    inside[g] += 1
                pixels.append(y * width + x)
            hits.append((i, t, int(mask.sum()), *inside))
            both += [(i, t, c, overlap[c]) for c in sorted(overlap)]
    return Counts(
        np.array(hits, np.int32).reshape(-1, 3 + categories),
        np.array(both, np.int32).reshape(-1, 4),
        np.array(areas, np.int32).reshape(-1, 3),
        annotated,
        np.array(pixels, np.uint32),
    )


def marks_of(values, category_of):
    """(labels at a pixel by channel, categories annotated there)."""
    found = [int(v) for v in values]
    return found, {category_of[k] for k, v in enumerate(found) if v}


def world(seed: int, *, n=3, units=4, h=3, w=2, height=7, width=6, shuffles=2):
    """Random maps, thresholds and label planes: two levels of one category and another."""
    rng = np.random.default_rng(seed)
    # Halves with few distinct values: ties with the threshold must come out the same too.
    maps = (rng.integers(-6, 7, (n, units, h, w)) / 4).astype(np.float16).astype(np.float32)
    thresholds = (rng.integers(-6, 7, units) / 4).astype(np.float32)
    thresholds[0] = maps[:, 0].max()
    category_of = np.array([0, 0, 1])

    def planes(*lead: int) -> np.ndarray:
        """Ids 1–3 in the first two planes (never the same at one pixel), 4–6 in the third."""
        first = rng.integers(0, 4, (*lead, height, width))
        second = rng.integers(0, 4, (*lead, height, width))
        second[second == first] = 0
        third = rng.integers(3, 7, (*lead, height, width))
        third[third == 3] = 0
        return np.stack([first, second, third], -3).astype(np.uint16)

    return (maps, thresholds, planes(n), category_of, 2, 6), planes(n, shuffles)


def in_order(counts: Counts) -> Counts:
    """The same with the active pixels of each row ascending."""
    if not len(counts.pixels):
        return counts
    rows = np.split(counts.pixels, np.cumsum(counts.hits[:, 2])[:-1])
    return counts._replace(pixels=np.concatenate([np.sort(row) for row in rows]))


def assert_equal(a: Counts, b: Counts) -> None:
    a, b = in_order(a), in_order(b)
    for name, x, y in zip(Counts._fields, a, b, strict=True):
        np.testing.assert_array_equal(x, y, err_msg=name)


# -- counts ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.integers(1, 4),
    st.integers(1, 9),
    st.integers(1, 8),
)
def test_counts_equal_the_slow_reference(seed, h, w, height, width):
    case, _ = world(seed, n=2, units=3, h=h, w=w, height=height, width=width)
    slow = count_slow(*case)
    assert_equal(count_images(*case, keep_pixels=True), slow)
    torch_case = (torch.from_numpy(case[0]), *case[1:])
    assert_equal(count_images_torch(*torch_case, keep_pixels=True, pairs_at_once=2), slow)
    assert not len(count_images(*case).pixels)


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 8), st.booleans())
def test_exchanged_masks_are_counted_as_the_slow_reference_does(seed, height, width, merged):
    """Sums over images of the overlaps with other images' labels, pixel by pixel."""
    case, others = world(seed, n=3, units=3, height=height, width=width)
    maps, thresholds, _, category_of, _, concepts = case
    category_of = np.array([0, 0, 0] if merged else [0, 1, 2])
    categories, rng = int(category_of.max()) + 1, np.random.default_rng(seed)
    counts = count_images(maps, thresholds, case[2], category_of, categories, concepts, True)
    whole = [
        [rng.choice([7, 8], rng.integers(0, 3), replace=False) for _ in range(2)] for _ in range(3)
    ]
    sums, inside = np.zeros((2, 3, 9), np.int32), np.zeros((2, 3, categories), np.int32)
    ends = np.concatenate([[0], np.cumsum(counts.hits[:, 2])])
    for i in range(3):
        a, b = np.searchsorted(counts.hits[:, 0], [i, i + 1])
        flat = others[i].reshape(2, 3, -1)[::-1].copy()
        exchange(
            counts.hits[a:b],
            counts.pixels[ends[a] : ends[b]],
            flat,
            np.array([1, 0]),
            category_of,
            whole[i],
            sums,
            inside,
        )
    slow, slow_inside = np.zeros_like(sums), np.zeros_like(inside)
    for i, t, r in itertools.product(range(3), range(3), range(2)):
        mask = upsample_slow(maps[i, t], height, width) > float(thresholds[t])
        for y, x in zip(*np.nonzero(mask), strict=True):
            found, groups = marks_of(others[i, r][:, y, x], category_of)
            for v in [*filter(None, found), *whole[i][r]]:
                slow[r, t, v] += 1
            for g in groups:
                slow_inside[r, t, g] += 1
    np.testing.assert_array_equal(sums, slow)
    np.testing.assert_array_equal(inside, slow_inside)


def test_best_ious_are_those_of_the_table_of_all():
    rng = np.random.default_rng(0)
    sums = rng.integers(0, 4, (5, 8)) * (rng.random((5, 8)) < 0.7)
    sums[:, 0] = 0
    hits, inside = rng.integers(20, 30, 5), rng.integers(8, 20, (5, 2))
    areas, category = rng.integers(4, 40, 8), np.array([-1, 0, 0, 0, 1, 1, -1, -1])
    group = np.array([0, 0, 0, 0, 1, 1, 2, 2])
    best = best_ious(sums, inside, hits, areas, category, group, 3)
    for d, denominator in enumerate(("all", "annotated")):
        table = iou_table(sums, hits, inside, areas, category, denominator)
        for g in range(3):
            own = table[:, 1:][:, group[1:] == g].max(1)
            np.testing.assert_array_equal(best[d, g], own.astype(np.float32))


def test_counts_grow_past_the_first_buffer():
    rng = np.random.default_rng(0)
    maps = np.ones((2, 40, 4, 4), np.float32)
    labels = rng.permutation(np.arange(1, 2 * 900 + 1)).reshape(2, 1, 30, 30).astype(np.uint16)
    thresholds = np.full(40, 0.5, np.float32)
    counts = count_images(maps, thresholds, labels, np.array([0]), 1, 1800, True)
    assert len(counts.both) == 2 * 40 * 900
    assert (counts.both[:, 3] == 1).all()
    # Every pixel is active, and the pixels start again when the buffer does.
    assert in_order(counts).pixels.tolist() == 2 * 40 * list(range(900))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU here")
def test_counts_on_a_gpu_equal_the_cpu():
    case, _ = world(1, n=8, units=32, h=7, w=7, height=56, width=56)
    on_gpu = count_images_torch(torch.from_numpy(case[0]).cuda(), *case[1:], keep_pixels=True)
    assert_equal(on_gpu, count_images(*case, keep_pixels=True))


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 9), st.integers(1, 30))
def test_upsampling_is_torchs_and_never_exceeds_the_map(seed, cells, pixels):
    f = np.random.default_rng(seed).normal(size=(4, cells, cells)).astype(np.float16)
    ours = upsample_torch(torch.from_numpy(f), pixels, pixels)
    theirs = torch.nn.functional.interpolate(
        torch.from_numpy(f).double()[None], (pixels, pixels), mode="bilinear"
    )[0]
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-12)
    assert (ours.amax((1, 2)) <= torch.from_numpy(f).double().amax((1, 2))).all()
    assert (
        (interpolation(cells, pixels).weight >= 0) & (interpolation(cells, pixels).weight < 1)
    ).all()


def test_wrong_shapes_are_told():
    maps, thresholds, labels, category_of, categories, concepts = world(0)[0]
    with pytest.raises(UnitscopeError, match=r"\(3, 4, 3, 2\).*\(2, 3, 7, 6\)"):
        count_images(maps, thresholds, labels[:2], category_of, categories, concepts)
    with pytest.raises(UnitscopeError, match="2 channel categories for 3 channels"):
        count_images(maps, thresholds, labels, category_of[:2], categories, concepts)


def test_a_dataset_without_masks_still_counts_hits():
    maps, thresholds, *_ = world(0)[0]
    labels = np.zeros((3, 0, 7, 6), np.uint16)
    counts = count_images(maps, thresholds, labels, np.zeros(0, np.int64), 0, 0)
    assert len(counts.hits) and counts.hits.shape[1] == 3 and not len(counts.both)


# -- thresholds -----------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from([0.005, 0.01, 0.1, 0.5, 0.999]), st.integers(1, 5))
def test_thresholds_equal_partition_of_the_whole_array(seed, q, parts):
    rng = np.random.default_rng(seed)
    n = int(rng.integers(parts, 40))
    maps = rng.normal(size=(n, 3, 2, 4)).astype(np.float16)
    flat = maps.transpose(1, 0, 2, 3).reshape(3, -1).astype(np.float32)
    k = tail_size(q, flat.shape[1])
    exact = np.partition(flat, flat.shape[1] - k, axis=1)[:, flat.shape[1] - k]
    shards = [TopK(3, k) for _ in range(parts)]
    for shard, part in zip(shards, np.array_split(maps, parts), strict=True):
        for row in part:
            shard.update(row[None])
    merged = shards[0]
    for other in shards[1:]:
        merged.merge(other)
    np.testing.assert_array_equal(merged.threshold(k), exact)
    assert ((flat > exact[:, None]).sum(1) < k).all()


@given(st.integers(1, 10**9), st.integers(1, 999))
def test_tail_size_is_exact_for_decimal_quantiles(values, thousandths):
    assert tail_size(thousandths / 1000, values) == max(1, -(-thousandths * values // 1000))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_thresholds_of_no_finite_number_are_refused(value):
    maps = np.random.default_rng(0).random((3, 4, 2, 2)).astype(np.float32)
    tops = TopK(4, 3)
    tops.update(maps)
    before = tops.threshold(3)
    maps[1, 2, 0, 1] = value
    with pytest.raises(UnitscopeError, match=f"image 1 .* activation of {value} for unit 2"):
        tops.update(maps)
    assert (tops.threshold(3) == before).all()


def test_bad_quantiles_are_told():
    for q in (0, 1, -0.1, 5):
        with pytest.raises(UnitscopeError, match="between 0 and 1"):
            tail_size(q, 10)


# -- IoU ------------------------------------------------------------------------------------


def test_published_tally_follows_from_its_counts(data_dir):
    """NetDissect's published table: our formula on its counts gives its IoUs to 1e-6."""
    path = data_dir / "reference" / "netdissect_resnet18_places365_layer4.csv"
    with path.open(newline="", encoding="utf-8") as f:
        rows = list(csv.DictReader(f))
    checked = 0
    for category in ("color", "object", "part", "material", "scene", "texture"):
        truth, activation, both, published = (
            np.array([float(row[f"{category}-{name}"]) for row in rows])
            for name in ("truth", "activation", "intersect", "iou")
        )
        # One concept a row: units × concepts is the diagonal of this table.
        ours = iou_table(
            np.diag(both),
            activation,
            activation[:, None],
            truth,
            np.zeros(len(rows), int),
            "annotated",
        )
        np.testing.assert_allclose(np.diag(ours), published, rtol=0, atol=1e-6)
        checked += len(rows)
    assert len(rows) == 512 and checked == 6 * 512


def test_iou_of_nothing_is_zero():
    zero = np.zeros((1, 1), int)
    assert iou_table(zero, zero[0], zero, zero[0], zero[0], "annotated").tolist() == [[0.0]]
