"""ACE on the planted world: segments, drop and keep rules, names, and the whole of it."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from core.attribution.case import Opened
from core.directions import ace as module
from core.directions.ace import Asked, Example, Segments, ace, alike, common_enough, segments_of
from core.directions.layer import Layer
from core.directions.patches import box_of, patch_of
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Meter, Stopped, never

pytest.importorskip("skimage")

FEW = Asked(images=12, clusters=5, members=5, runs=4, of="probability")


@pytest.fixture(autouse=True, scope="module")
def quick():
    """Coarse segments, few random sets."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SEGMENTS", (8, 16))
        patch.setattr(module, "RANDOMS", 12)
        patch.setattr(module, "RANDOM_SEGMENTS", 60)
        yield


@pytest.fixture(scope="module")
def found(opened):
    return ace(opened, "attic", FEW)


def work_of(opened: Opened) -> module._Work:
    return module._Work(Layer.of(opened), "attic", FEW, Meter(), never)


def test_segments_are_those_of_slic_that_are_large_and_new(opened):
    from skimage.segmentation import slic

    photo = opened.photos(opened.recorded.numbers[:1])[0]
    kept: list[np.ndarray] = []
    for count in (8, 16):
        labels = slic(photo, n_segments=count, compactness=20, sigma=1)
        new = []
        for label in np.unique(labels):
            mask = labels == label
            jaccard = [(mask & m).sum() / (mask | m).sum() for m in kept]
            # Segments of one resolution do not overlap.
            if mask.sum() / mask.size > 0.001 and max(jaccard, default=0) <= 0.5:
                new.append(mask)
        kept += new
    found = segments_of(photo)
    assert len(found) == len(kept) > 10
    assert all(np.array_equal(a, b) for a, b in zip(found, kept, strict=True))


def test_what_is_alike_shares_more_than_half():
    one = np.zeros(8, bool)
    one[:4] = True
    for shift, expected in ((0, True), (1, True), (2, False), (4, False)):
        other = np.roll(one, shift)
        jaccard = (one & other).sum() / (one | other).sum()
        assert alike(one, [other]) == (jaccard > 0.5) == expected


@pytest.mark.parametrize(
    ("members", "photos", "whole", "expected"),
    [
        (41, 21, 40, True),  # more than half as many photos as segments
        (40, 40, 40, False),  # not more than 40 segments
        (100, 26, 100, True),  # a quarter of both
        (100, 26, 104, False),
        (100, 11, 20, True),  # a tenth as many, and half of all
        (100, 10, 20, False),
        (100, 11, 22, False),
    ],
)
def test_a_cluster_is_kept_by_the_published_rules(members, photos, whole, expected):
    assert common_enough(members, photos, whole, 40) == expected


def test_activations_of_segments_are_means_of_their_patches(opened):
    segments = work_of(opened).segments()
    photos = opened.photos(work_of(opened).images)
    layer = opened.recorded.layer
    for k in (0, len(segments) // 2, len(segments) - 1):
        patch = patch_of(photos[segments.photo[k]], segments.masks[k])
        maps = opened.forward(patch[None], ["p"]).layers[layer].maps.float().numpy()
        assert segments.means[k] == pytest.approx(maps[0].mean((1, 2)), rel=1e-4, abs=1e-5)


def test_clusters_are_those_of_k_means(opened):
    from sklearn.cluster import KMeans

    work = work_of(opened)
    segments = work.segments()
    clusters, rare = work.clusters(segments)
    x = segments.means.astype(float)
    labels = KMeans(5, n_init=10, random_state=0).fit(x).labels_
    kept = [
        k
        for k in range(5)
        if common_enough((labels == k).sum(), len(set(segments.photo[labels == k])), 12, 5)
    ]
    assert len(clusters) == len(kept) and rare == 5 - len(kept)
    for one, k in zip(clusters, kept, strict=True):
        middle = x[labels == k].mean(0)
        away = np.linalg.norm(x[one.rows] - middle, axis=1)
        assert one.costs == pytest.approx(away, abs=1e-4) and (np.diff(one.costs) >= 0).all()
        assert one.segments == (labels == k).sum() and len(one.rows) == min(40, one.segments)


def test_the_planted_colour_is_found_and_named(found, opened):
    assert found.scene == "attic" and found.images == 12 and found.judged == 30
    assert [one.number for one in found.concepts] == list(range(len(found.concepts)))
    scores = [one.score for one in found.concepts]
    assert scores == sorted(scores, reverse=True)
    best = found.concepts[0]
    assert best.name == "red" and best.purity > 0.6 and best.score > 0.9
    assert best.accuracy > 0.9 and best.low <= best.score <= best.high
    assert all(one.p_null <= 1 and one.kept == (one.p <= 0.01) for one in found.concepts)
    assert not found.constant
    assert len(found.frame()) == len(found.concepts)


def test_examples_can_be_shown(found, opened):
    segments = work_of(opened).segments()
    images = set(work_of(opened).images.tolist())
    side = opened.photos(opened.recorded.numbers[:1]).shape[1]
    boxes = {box_of(mask) for mask in segments.masks}
    for one in found.concepts:
        assert 0 < len(one.examples) <= 40
        costs = [example.cost for example in one.examples]
        assert costs == sorted(costs)
        for example in one.examples:
            left, top, right, bottom = example.box
            assert 0 <= left < right <= side and 0 <= top < bottom <= side
            assert example.image in images and example.box in boxes


def test_names_are_by_iou_over_the_photos_of_the_segments(opened):
    work = work_of(opened)
    segments = work.segments()
    rows = np.arange(0, len(segments), 7)
    name, iou, purity = work.named(segments, rows)
    both, union, of = {}, {}, 0
    names = ["", "red", "green", "blue", "gold"]
    for photo in sorted(set(segments.photo[rows])):
        mask = segments.masks[rows[segments.photo[rows] == photo]].any(0)
        labels = opened.run.label_maps(int(work.images[photo]))[0]
        # A cell of the grid holds several pixels, and is of the segment where half of them are.
        scale = mask.shape[0] // labels.shape[0]
        assert scale > 1
        cells = mask.reshape(labels.shape[0], scale, labels.shape[1], scale)
        mask = cells.mean((1, 3)) >= 0.5
        of += mask.sum()
        for k in range(1, 5):
            both[k] = both.get(k, 0) + (mask & (labels == k)).sum()
            union[k] = union.get(k, 0) + (mask | (labels == k)).sum()
    ious = {names[k]: both[k] / union[k] for k in both}
    assert name == max(ious, key=lambda key: ious[key])
    assert iou == pytest.approx(ious[name])
    assert purity == pytest.approx(both[names.index(name)] / of)


def test_what_is_kept_is_read(found, opened, monkeypatch):
    monkeypatch.setattr(module._Work, "found", None)
    again = ace(opened, "attic", FEW)
    assert again == replace(found) or again.concepts == found.concepts
    assert isinstance(again.concepts[0].examples[0], Example)
    assert again.asked == FEW and again.splits == found.splits
    assert np.array_equal(again.centres, found.centres)


@pytest.mark.parametrize("text", ["", "{", "[]", json.dumps({"asked": {}, "concepts": [{}]}), "3"])
def test_a_damaged_file_is_not_read(text):
    assert module._read(text, {"centres": np.zeros((1, 4))}, 4) is None


def test_middles_are_of_the_clusters_and_needed(found, opened):
    segments = work_of(opened).segments()
    clusters, _ = work_of(opened).clusters(segments)
    middles = {one.centre.astype(np.float32).tobytes() for one in clusters}
    assert {row.tobytes() for row in found.centres} == middles
    text, units = json.dumps(found.to_json()), found.centres.shape[1]
    assert module._read(text, {"centres": found.centres}, units).concepts == found.concepts
    for wrong in (None, {}, {"centres": found.centres[1:]}, {"centres": found.centres * np.nan}):
        assert module._read(text, wrong, units) is None


def test_damaged_segments_are_made_anew(opened):
    work = work_of(opened)
    segments = work.segments()
    good = {
        "photo": segments.photo,
        "masks": np.packbits(segments.masks.reshape(len(segments), -1), axis=1),
        "means": segments.means,
    }
    size = segments.masks.shape[1:]
    read = work._read_segments(good, size)
    assert isinstance(read, Segments) and np.array_equal(read.masks, segments.masks)
    for wrong in (
        {"photo": segments.photo + 1000},
        {"photo": segments.photo - 1},
        {"masks": good["masks"][:, :-1]},
        {"masks": good["masks"] * 0},
        {"means": segments.means[:, :-1]},
    ):
        assert work._read_segments({**good, **wrong}, size) is None
    assert work._read_segments(None, size) is None


def test_what_cannot_be_asked_is_said(opened):
    with pytest.raises(UnitscopeError, match="unknown scene 'attics'; nearest: attic"):
        ace(opened, "attics", FEW)
    with pytest.raises(UnitscopeError, match="segments cannot make 5000 clusters"):
        ace(opened, "barn", replace(FEW, clusters=5000))
    with pytest.raises(UnitscopeError, match="has more than 900 segments from enough of 12"):
        ace(opened, "attic", replace(FEW, members=900))
    with pytest.raises(UnitscopeError, match="2 or more"):
        Asked(clusters=1)
    with pytest.raises(Stopped):
        ace(opened, "cellar", FEW, stop=lambda: True)


def test_without_scikit_image_it_says_what_to_install(opened, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "skimage.segmentation", None)
    with pytest.raises(UnitscopeError, match="scikit-image"):
        segments_of(np.zeros((8, 8, 3), np.uint8))
