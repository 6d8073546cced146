"""Signatures of pixels against a plain count, pixel by pixel."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from core.dissect.signatures import Signatures, gather_signatures, signatures
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import upsample


def drawn(seed: int, images: int = 5, units: int = 3, channels: int = 2, concepts: int = 6):
    """Random maps, label maps in which no concept stands in two channels, whole-image labels."""
    rng = np.random.default_rng(seed)
    maps = rng.normal(size=(images, units, 2, 3)).astype(np.float32)
    labels = np.zeros((images, channels, 6, 7), np.uint16)
    for k in range(channels):
        own = np.array([0, *range(1 + k, concepts + 1, channels)])
        labels[:, k] = own[rng.integers(0, len(own), (images, 6, 7))]
    whole = [
        sorted(rng.choice([concepts + 1, concepts + 2, concepts + 3], rng.integers(0, 3), False))
        for _ in range(images)
    ]
    return maps, labels, [list(map(int, ids)) for ids in whole]


def slow(maps, thresholds, labels, whole):
    """(pixels of each set of labels, lit pixels of each unit and set), as Counters."""
    pixels, lit = Counter(), Counter()
    for f, planes, ids in zip(maps, labels, whole, strict=True):
        up = [upsample(unit, *planes.shape[1:]) for unit in f]
        for y in range(planes.shape[1]):
            for x in range(planes.shape[2]):
                carried = frozenset([*map(int, planes[:, y, x]), *ids]) - {0}
                pixels[carried] += 1
                for t, unit in enumerate(up):
                    if unit[y, x] > thresholds[t]:
                        lit[t, carried] += 1
    return pixels, lit


def as_counters(found: Signatures):
    rows = [frozenset(map(int, row)) - {0} for row in found.labels]
    assert len(set(rows)) == len(rows)
    pixels = Counter({row: int(n) for row, n in zip(rows, found.pixels, strict=True)})
    lit = Counter()
    for t in range(found.units):
        for s, n in zip(*found.unit(t), strict=True):
            lit[t, rows[s]] += int(n)
    return pixels, lit


def gathered(maps, thresholds, labels, whole, batch=2, threads=2, concepts=9) -> Signatures:
    batches = [
        (maps[k : k + batch], labels[k : k + batch], whole[k : k + batch])
        for k in range(0, len(maps), batch)
    ]
    names = ["", *(f"c{k}" for k in range(1, concepts + 1))]
    return gather_signatures(
        batches, thresholds, names, ["", *["object"] * 6, *["scene"] * 3], 2, threads
    )


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.integers(1, 3))
def test_signatures_are_those_of_a_plain_count(seed, channels):
    maps, labels, whole = drawn(seed, channels=channels)
    thresholds = np.array([0.2, 0.8, 9.0], np.float32)
    found = gathered(maps, thresholds, labels, whole)
    assert as_counters(found) == slow(maps, thresholds, labels, whole)
    assert found.hits[2] == 0 and found.pixels.sum() == labels[:, 0].size
    pixels, _ = slow(maps, thresholds, labels, whole)
    for c in range(1, 10):
        assert found.areas[c] == sum(n for row, n in pixels.items() if c in row)
        starts, holders = found.holders
        held = holders[starts[c] : starts[c + 1]]
        assert sorted(held) == sorted(np.flatnonzero((found.labels == c).any(1)))
        for d in range(1, 10):
            both = sum(n for row, n in pixels.items() if {c, d} <= row)
            assert found.together[c, d] == both


def test_batches_and_threads_change_nothing():
    maps, labels, whole = drawn(3, images=9)
    thresholds = np.zeros(3, np.float32)
    one = gathered(maps, thresholds, labels, whole, 9, 1)
    for batch, threads in ((1, 1), (2, 3), (4, 2)):
        other = gathered(maps, thresholds, labels, whole, batch, threads)
        for name in ("labels", "pixels", "starts", "which", "active", "hits"):
            assert np.array_equal(getattr(one, name), getattr(other, name)), name


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.lists(st.integers(0, 9), min_size=9, max_size=9))
def test_a_merged_concept_is_the_union_of_its_group(seed, groups):
    maps, labels, whole = drawn(seed)
    thresholds = np.zeros(3, np.float32)
    found = gathered(maps, thresholds, labels, whole)
    merged = found.merged(dict(enumerate(groups, 1)))
    table = dict(enumerate(groups, 1))

    def renamed(row):
        return frozenset(table[c] for c in row) - {0}

    pixels, lit = Counter(), Counter()
    for row, n in as_counters(found)[0].items():
        pixels[renamed(row)] += n
    for (t, row), n in as_counters(found)[1].items():
        lit[t, renamed(row)] += n
    assert as_counters(merged) == (pixels, lit)
    assert np.array_equal(merged.hits, found.hits)


def test_leaving_categories_out():
    maps, labels, whole = drawn(1)
    found = gathered(maps, np.zeros(3, np.float32), labels, whole).without(["scene"])
    assert found.labels.max() <= 6 and found.areas[7:].sum() == 0


def test_signatures_of_a_run_agree_with_its_tables(tiny_run):
    for layer in tiny_run.layer_names:
        found = signatures(tiny_run, layer)
        number = tiny_run.layer(layer)
        rows = tiny_run.sql("SELECT * FROM unit_concept WHERE layer = ?", [number])
        counted = np.zeros((found.units, len(found.concepts)), np.int64)
        counted[rows["unit"], rows["concept"]] = rows["overlap"]
        assert np.array_equal(found.unit_concept(), counted)
        areas = tiny_run.sql("SELECT area FROM concepts ORDER BY concept")["area"]
        assert found.areas[1:].tolist() == areas.tolist()
        again = signatures(tiny_run, layer)  # read back
        assert np.array_equal(again.active, found.active) and again.concepts == found.concepts
    part = signatures(tiny_run, splits=["test"])
    rest = signatures(tiny_run, splits=["train"])
    assert part.splits == ("test",)
    assert part.pixels.sum() + rest.pixels.sum() == found.pixels.sum()


def test_mistakes_are_told(tiny_run):
    with pytest.raises(UnitscopeError, match=r"nearest: .*body\.1"):
        signatures(tiny_run, "body.2")
    with pytest.raises(UnitscopeError, match="unknown split 'tset'; nearest: test"):
        signatures(tiny_run, splits=["tset"])
    found = signatures(tiny_run)
    with pytest.raises(UnitscopeError, match=r"units 0 to 11, no unit 12"):
        found.unit(12)
    with pytest.raises(UnitscopeError, match="must be a concept id"):
        found.merged({1: 99})
    with pytest.raises(UnitscopeError, match="no images"):
        gather_signatures([], np.zeros(2, np.float32), [""], [""])
