"""Regions, fillings, measured effects and evidence against slow re-implementations."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from core.attribution import fillings
from core.attribution.case import Opened
from core.attribution.effects import Effects, edited, elsewhere, measure, open_photo
from core.attribution.evidence import (
    GRADIENT,
    INTEGRATED,
    KINDS,
    LINEAR,
    concept_evidence,
    evidence,
    split_by,
)
from core.attribution.measured import Asked, measure_splits
from core.attribution.regions import NoRegion, Regions, cell_shares, regions_of
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.models.head import first_of


@pytest.fixture(scope="module")
def opened(tiny_run) -> Opened:
    return Opened.of(tiny_run)


@pytest.fixture(scope="module")
def inner(tiny_run) -> Opened:
    return Opened.of(tiny_run, "body.1")


def photo_and_region(rng, height=20, width=24):
    photo = rng.integers(0, 256, (height, width, 3)).astype(np.uint8)
    region = np.zeros((height, width), bool)
    region[4:11, 6:17] = rng.random((7, 11)) < 0.8
    return photo, region


# -- regions ------------------------------------------------------------------------------------


def test_regions_are_the_label_maps_on_the_networks_input(opened):
    run, image = opened.run, int(opened.recorded.numbers[7])
    labels = run.label_maps(image)
    names = run.sql("SELECT concept, name, category FROM concepts").set_index("concept")
    found = regions_of(run, image, (24, 24))
    for row, concept in enumerate(found.ids):
        assert found.names[row] == names.at[concept, "name"]
        assert found.categories[row] == names.at[concept, "category"]
        for y in range(24):
            for x in range(24):
                cell = labels[:, int((y + 0.5) * labels.shape[1] / 24)]
                cell = cell[:, int((x + 0.5) * labels.shape[2] / 24)]
                assert found.masks[row, y, x] == (concept in cell)
    assert set(found.categories) == {"object", "part"}
    with pytest.raises(UnitscopeError, match="unknown concept of this photo 'sofa'"):
        found.row("sofa")


def test_cells_are_shared_out_pixel_by_pixel():
    rng = np.random.default_rng(0)
    masks = rng.random((3, 6, 8)) < 0.4
    regions = Regions(np.arange(1, 4), ("a", "b", "c"), ("object", "part", "object"), masks)
    shares = cell_shares(regions, "object", (3, 2))
    for y in range(3):
        for x in range(2):
            expected = np.zeros(3)
            for pixel in masks[:, 2 * y : 2 * y + 2, 4 * x : 4 * x + 4].reshape(3, -1).T:
                here = [k for k, row in enumerate((0, 2)) if pixel[row]]
                for k in here or [2]:
                    expected[k] += 1 / max(1, len(here))
            assert shares[:, y, x] == pytest.approx(expected / 8)


# -- fillings -----------------------------------------------------------------------------------


@pytest.mark.parametrize("name", fillings.FILLINGS.names())
def test_fillings_change_the_region_alone(name):
    rng = np.random.default_rng(1)
    photo, region = photo_and_region(rng)
    kept = photo.copy()
    filled = fillings.FILLINGS.row(name).load()(photo, region, np.random.default_rng(2))
    assert filled.dtype == np.uint8 and (photo == kept).all()
    assert (filled[~region] == photo[~region]).all() and (filled[region] != photo[region]).any()
    # What was in the region leaves no trace.
    other = photo.copy()
    other[region] = 255 - other[region]
    again = fillings.FILLINGS.row(name).load()(other, region, np.random.default_rng(2))
    assert (again == filled).all()


def test_blur_is_a_weighted_mean_of_the_outside():
    rng = np.random.default_rng(3)
    photo, region = photo_and_region(rng)
    filled = fillings.blur(photo, region, rng)
    sigma = fillings.BLUR * 20
    rows, columns = np.nonzero(~region)
    norm = 1 / (2 * np.pi * sigma**2)
    for y, x in zip(*np.nonzero(region), strict=True):
        near = np.exp(-((rows - y) ** 2 + (columns - x) ** 2) / (2 * sigma**2)) * norm
        mean = photo[~region].mean(0)
        expected = (near @ photo[~region] + 1e-4 * mean) / (near.sum() + 1e-4)
        assert np.abs(filled[y, x] - expected).max() <= 0.51


def test_smooth_is_the_mean_of_its_neighbours():
    rng = np.random.default_rng(5)
    photo, region = photo_and_region(rng)
    region[:3, :5] = True  # a corner: at the photo's edge fewer neighbours
    filled = fillings.smooth(photo, region, rng).astype(float)
    exact = np.where(region[..., None], 128.0, photo.astype(float))
    there = np.pad(np.ones(region.shape), 1)[..., None]
    for _ in range(1500):
        beyond = np.pad(exact, ((1, 1), (1, 1), (0, 0)))
        around = [(0, 1), (2, 1), (1, 0), (1, 2)]
        parts = [(beyond * there)[y : y + 20, x : x + 24] for y, x in around]
        counts = [there[y : y + 20, x : x + 24] for y, x in around]
        exact[region] = (sum(parts) / sum(counts))[region]
    assert np.abs(filled - exact).max() <= 0.51


def test_mean_and_noise_are_like_the_outside():
    rng = np.random.default_rng(4)
    photo, region = photo_and_region(rng, 200, 200)
    region[20:180, 20:180] = True
    grey = fillings.mean(photo, region, rng)
    assert (grey[region] == photo[~region].mean(0).round()).all()
    drawn = fillings.noise(photo // 2 + 60, region, rng)
    assert drawn[region].mean() == pytest.approx((photo // 2 + 60)[~region].mean(), rel=0.02)
    assert drawn[region].std() == pytest.approx((photo // 2 + 60)[~region].std(), rel=0.05)


# -- regions elsewhere ----------------------------------------------------------------------------


def test_regions_elsewhere_keep_shape_and_size():
    rng = np.random.default_rng(5)
    mask = np.zeros((16, 20), bool)
    mask[2:6, 3:8] = rng.random((4, 5)) < 0.7
    mask[2, 3] = mask[5, 7] = True
    laid = elsewhere(mask, 12, rng)
    assert len(laid) == 12
    patch = mask[2:6, 3:8]
    for moved in laid:
        rows, columns = np.nonzero(moved)
        part = moved[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1]
        assert (part.shape == patch.shape) and (
            (part == patch).all() or (part == patch[:, ::-1]).all()
        )
        assert (moved & mask).sum() <= 0.1 * mask.sum()
    assert elsewhere(np.ones((4, 4), bool), 3, rng) == []
    half = np.zeros((4, 4), bool)
    half[:, :3] = True
    assert elsewhere(half, 3, rng) == []


# -- measured effects -----------------------------------------------------------------------------


def with_margin(case, mask):
    """Every pixel within half a cell of the region, up and down or sideways or both."""
    cells = case.opened.run.info["settings"]["grid"][1]
    reach = int(0.5 * len(mask) / cells + 0.5)
    assert reach > 0
    wide = mask.copy()
    for y, x in zip(*np.nonzero(mask), strict=True):
        wide[max(0, y - reach) : y + reach + 1, max(0, x - reach) : x + reach + 1] = True
    return mask if wide.all() else wide


def test_effects_are_those_of_edited_photos(opened):
    case = opened.case(int(opened.recorded.numbers[3]))
    found = measure(case, ("mean", "blur"), controls=3, seed=1)
    module = opened.forward.module
    a, b = 2, 0
    for f, fill in enumerate((fillings.mean, fillings.blur)):
        for row, mask in enumerate(case.regions.masks):
            edited = fill(case.photo, with_margin(case, mask), np.random.default_rng(0))
            with torch.inference_mode():
                logits = first_of(module(opened.forward.inputs(edited[None])))[0].numpy()
            assert found.after[f, row] == pytest.approx(logits, abs=1e-5)
            lost = case.logits[a] - case.logits[b] - (logits[a] - logits[b])
            assert found.margin(a, b, found.fillings[f])[row] == pytest.approx(lost, abs=1e-5)
            assert found.answers(found.fillings[f])[row] == logits.argmax()
    both = np.stack([found.margin(a, b, name) for name in found.fillings])
    assert found.margin(a, b) == pytest.approx(both.mean(0))
    assert found.spread(a, b) == pytest.approx(np.stack([both.min(0), both.max(0)], 1))
    assert found.control(a, b).shape == (len(case.regions), 3)
    again = measure(case, ("mean", "blur"), controls=3, seed=1)
    assert (again.after == found.after).all()
    assert np.array_equal(again.controls, found.controls, equal_nan=True)
    with pytest.raises(UnitscopeError, match="unknown filling that was measured 'noise'"):
        found.margin(a, b, "noise")
    with pytest.raises(UnitscopeError, match="no filling was chosen; there are mean, blur"):
        measure(case, ())


def test_concepts_are_taken_away_together(opened):
    case = opened.case(int(opened.recorded.numbers[3]))
    ids = case.regions.ids[:2].tolist()
    both = edited(case, ids, "mean")
    region = with_margin(case, case.regions.masks[:2].any(0))
    assert (both == fillings.mean(case.photo, region, np.random.default_rng(0))).all()
    assert edited(case, (), "mean") is case.photo
    with pytest.raises(UnitscopeError, match="shows no concept number 9999"):
        edited(case, (9999,), "mean")
    with pytest.raises(UnitscopeError, match="unknown image of this run"):
        open_photo(opened, "nowhere")


def test_the_answer_is_held_against_the_truth_or_the_runner_up(opened):
    recorded = opened.recorded
    for row, number in enumerate(recorded.numbers[:20]):
        case = opened.case(int(number))
        order = np.argsort(-recorded.logits[row])
        assert case.predicted == order[0]
        right = recorded.target[row] == order[0]
        assert case.against == (order[1] if right else recorded.target[row])
        assert case.logits == pytest.approx(recorded.logits[row], abs=1e-5)


# -- evidence -------------------------------------------------------------------------------------


def test_evidence_of_a_linear_head_adds_up_to_the_margin(opened):
    case = opened.case(int(opened.recorded.numbers[5]))
    weights, bias = tiny_head(opened)
    maps = case.maps.numpy().astype(np.float64)
    for b in (1, None):
        found = evidence(case, 0, b)
        assert found.kind == LINEAR and abs(found.gap) < 1e-4
        other = weights[:, 1] if b is not None else weights[:, [1, 2]].mean(1)
        for unit in range(maps.shape[0]):
            for y in range(maps.shape[1]):
                for x in range(maps.shape[2]):
                    value = maps[unit, y, x] * (weights[unit, 0] - other[unit])
                    assert found.places[unit, y, x] == pytest.approx(value / maps[0].size)
        for split in split_by(case, found).values():
            total = split.units.sum() + split.rest.sum() + found.bias
            assert total == pytest.approx(found.margin, abs=1e-4)
        by_hand = [
            (cell_shares(case.regions, k, maps.shape[1:])[at] * found.places.sum(0)).sum()
            for k, at in places_in_categories(case.regions)
        ]
        assert concept_evidence(case, found) == pytest.approx(by_hand)


def tiny_head(opened):
    head = opened.forward.module.head
    return head.weight.detach().numpy().T.astype(np.float64), head.bias.detach().numpy()


def places_in_categories(regions):
    seen: dict[str, int] = {}
    for category in regions.categories:
        yield category, seen.get(category, 0)
        seen[category] = seen.get(category, 0) + 1


def test_gradients_agree_with_the_linear_head_and_say_their_gap(opened, inner):
    image = int(opened.recorded.numbers[5])
    exact = evidence(opened.case(image), 0, 1)
    for kind in (GRADIENT, INTEGRATED):
        found = evidence(opened.case(image), 0, 1, kind)
        assert found.places == pytest.approx(exact.places, abs=1e-6)
    # Behind an inner layer the network is not linear: gradient × activation by finite differences.
    case = inner.case(image)
    found = evidence(case, 0, 1, GRADIENT)
    tail = inner.forward.module
    raw = case.output.double()
    rest = torch.nn.Sequential(*list(tail.body)[2:]).double()
    head = tail.head.double()

    def margin(maps):
        with torch.no_grad():
            logits = head(rest(maps).mean((2, 3)))[0]
        return float(logits[0] - logits[1])

    try:
        for unit, y, x in ((0, 0, 0), (3, 4, 2), (7, 5, 5)):
            up, down = raw.clone(), raw.clone()
            up[0, unit, y, x] += 1e-5
            down[0, unit, y, x] -= 1e-5
            slope = (margin(up) - margin(down)) / 2e-5
            assert found.places[unit, y, x] == pytest.approx(
                slope * float(raw[0, unit, y, x]), abs=1e-5
            )
        whole = evidence_after_float(inner, image)
        assert abs(whole.gap) < 0.02 * abs(whole.margin) + 1e-3
        assert found.gap == pytest.approx(found.margin - found.places.sum())
    finally:
        rest.float(), head.float()
    with pytest.raises(UnitscopeError, match="no linear head"):
        evidence(case, 0, 1, LINEAR)
    with pytest.raises(UnitscopeError, match="unknown kind of evidence"):
        evidence(case, 0, 1, "magic")
    assert set(KINDS) == {LINEAR, GRADIENT, INTEGRATED}


def evidence_after_float(inner, image):
    inner.forward.module.float()
    return evidence(inner.case(image), 0, 1, INTEGRATED)


# -- splits ---------------------------------------------------------------------------------------


def test_a_split_is_measured_photo_by_photo_and_resumed(opened):
    asked = Asked(("mean",), controls=2, splits=("test",))
    said = []
    with pytest.raises(Stopped, match="photos are measured"):
        measure_splits(opened, asked, said.append, lambda: said[-1].done >= 32)
    assert said[-1].done == 32
    fresh = []
    whole = measure_splits(opened, asked, fresh.append)
    assert fresh[1].done == 16 and fresh[-1].done == fresh[-1].total == len(whole.images) == 75
    row = int(np.flatnonzero(np.isfinite(whole.control).all(1))[5])  # others have no elsewhere
    photo = int(whole.rows["photo"][row])
    case = opened.case(int(whole.images["image"][photo]))
    found = measure(case, ("mean",), 2)
    at = case.regions.row(whole.rows["name"][row])
    assert whole.after[row] == pytest.approx(found.after[:, at], abs=1e-6)
    assert whole.control[row] == pytest.approx(np.nanmean(found.controls[:, at], axis=(0, 1)))
    a, b = whole.images["predicted"].to_numpy(), whole.images["against"].to_numpy()
    assert whole.effect(a, b)[row] == pytest.approx(found.margin(a[photo], b[photo])[at])
    assert whole.control_effect(a, b)[row] == pytest.approx(
        np.nanmean(found.control(a[photo], b[photo])[at]), abs=1e-6
    )
    found_evidence = concept_evidence(case, evidence(case, case.predicted, case.against))
    assert whole.evidence[row, 0] == pytest.approx(found_evidence[at], abs=1e-5)
    others = [k for k in range(3) if k != a[photo]]
    mean = [
        found.before[a[photo]] - found.before[others].mean(),
        found.after[0, at, a[photo]] - found.after[0, at, others].mean(),
    ]
    assert whole.effect(a)[row] == pytest.approx(mean[0] - mean[1], abs=1e-5)
    with pytest.raises(UnitscopeError, match="unknown split"):
        measure_splits(opened, Asked(splits=("nowhere",)))


def test_a_damaged_shard_is_measured_again(opened):
    asked = Asked(("mean",), controls=0, splits=("test",))
    whole = measure_splits(opened, asked)
    kept = sorted((opened.run.path.with_suffix(".derived")).glob("effects-*.npz"))
    for path in kept:
        path.write_bytes(path.read_bytes()[:100])
    again = measure_splits(opened, asked)
    assert (again.after == whole.after).all() and np.isnan(again.control).all()


def test_effects_are_of_one_pair_and_any_other():
    before = np.array([2.0, 1.0, 0.0], np.float32)
    after = np.array([[[1.0, 1.0, 0.0], [2.0, 3.0, 0.0]]], np.float32)
    none = Regions(np.array([1, 2]), ("bed", "sink"), ("object",) * 2, np.zeros((2, 1, 1), bool))
    found = Effects(none, ("mean",), before, after, np.zeros((1, 2, 0, 3), np.float32))
    assert found.margin(0, 1).tolist() == [1.0, 2.0]
    assert found.margin(1, 0).tolist() == [-1.0, -2.0]
    assert found.answers("mean").tolist() == [0, 1]


def test_only_photos_without_a_region_are_left_out(opened, monkeypatch):
    """A photo that cannot be read is an error, not a photo without regions."""

    def broken(self, image):
        raise UnitscopeError(f"photo {image} cannot be read")

    monkeypatch.setattr(Opened, "case", broken)
    with pytest.raises(UnitscopeError, match="cannot be read"):
        measure_splits(opened, Asked(("noise",), controls=0, seed=99, splits=("test",)))

    def bare(self, image):
        raise NoRegion("nothing")

    monkeypatch.setattr(Opened, "case", bare)
    with pytest.raises(UnitscopeError, match="no photo of these splits has an annotated region"):
        measure_splits(opened, Asked(("noise",), controls=0, seed=99, splits=("train",)))
