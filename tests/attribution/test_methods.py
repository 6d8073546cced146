"""Attribution methods, against slow re-implementations of what each claims to be."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations
from math import factorial

import numpy as np
import pytest

from core.ablation.contribution import contribution_scores
from core.attribution import accounts, occlusion, packaged, sampled
from core.attribution.case import Case, Opened
from core.attribution.effects import measure
from core.attribution.evidence import concept_evidence, evidence
from core.attribution.gradients import grad_cam
from core.attribution.methods import METHODS, Method, chosen_methods, missing
from core.attribution.regions import cell_shares
from core.directions import attributions, cav, conceptshap
from core.directions.vectors import Learning
from core.explain.account import account
from core.explain.learned import unit_ious
from core.foundation.errors import UnitscopeError

LINEAR = (
    "occlusion-*",
    "combined*",
    "measured",
    "evidence",
    "gradient",
    "integrated",
    "pixel-integrated",
    "rise",
    "lime",
    "kernel-shap",
    "shapley",
    "window",
    "contribution-*",
    "conceptshap",
)
"""Methods that are linear in the margin."""


@pytest.fixture(scope="module")
def case(tiny_run) -> Case:
    opened = Opened.of(tiny_run)
    whole = opened.case(int(opened.recorded.numbers[4]))
    objects = np.flatnonzero([kind == "object" for kind in whole.regions.categories])
    return replace(whole, regions=whole.regions.only(objects))


@pytest.fixture(autouse=True)
def few(monkeypatch):
    monkeypatch.setattr(sampled, "MASKS", 40)
    monkeypatch.setattr(packaged, "SAMPLES", 24)
    monkeypatch.setattr(packaged, "ORDERS", 4)
    learning = Learning(steps=60, epochs=1)
    monkeypatch.setattr(attributions, "VECTORS", conceptshap.Asked(learning=learning))
    monkeypatch.setattr(attributions, "CAVS", cav.Asked(runs=3))


def test_methods_of_a_margin_add_up_over_classes(case):
    there = {method.name for method in METHODS if not missing(method)}
    linear = chosen_methods([name for name in LINEAR if name[-1] == "*" or name in there])
    for method in chosen_methods():
        if method.unready(case.opened):
            continue  # graphs: this network has but one answer (tests/graphs)
        one = method.ask(case, 0, 1)
        assert one.shape == (len(case.regions),) and np.array_equal(one, method.ask(case, 0, 1))
        if method in linear:
            assert method.ask(case, 1, 0) == pytest.approx(-one, abs=1e-5), method.name
            sides = one + method.ask(case, 1, 2)
            assert method.ask(case, 0, 2) == pytest.approx(sides, abs=1e-4), method.name
            assert np.ptp(one) > 0 or method.family == "the paper's", method.name


def test_the_account_is_what_the_page_tells(case):
    run = case.opened.run
    image = str(case.opened.recorded.images["id"].iloc[case.row])
    names = accounts.scene_of_class(run)
    assert [names[k] for k in range(3)] == case.opened.classes
    for strategy in ("whole_layer", "highest_iou", "minmax_threshold"):
        core = accounts.core_of(run, "icc")
        told = account(run, core, image, None, strategy, "image")
        met = {side: {one.concept for one in facts.met} for side, facts in told.sides.items()}
        a = case.predicted
        said = accounts.account(case, a, case.target, strategy, "image", core="icc")
        expected = [
            int(name in met["predicted"]) - int(name in met["target"])
            for name in case.regions.names
        ]
        assert said.tolist() == expected
        assert accounts.is_core(case, a, "icc").tolist() == [
            name in told.sides["predicted"].core for name in case.regions.names
        ]
    with pytest.raises(UnitscopeError, match="classes 0 to 2, no 3"):
        accounts.is_core(case, 3)


def test_contributions_are_weighed_by_overlap(case):
    run = case.opened.run
    scores = contribution_scores(run, accounts.core_of(run, "top10"))
    rows = unit_ious(run, None, "image", case.image)
    expected = np.zeros(len(case.regions))
    for row in rows.itertuples():
        for k, concept in enumerate(case.regions.ids):
            if row.concept == concept:
                by_scene = [
                    scores.scores[scores.scene(case.opened.classes[c]), row.unit] for c in (0, 2)
                ]
                expected[k] += (by_scene[0] - by_scene[1]) * row.iou
    assert accounts.contribution(case, 0, 2, core="top10") == pytest.approx(expected)
    assert np.abs(expected).max() > 0


def test_grad_cam_cuts_off_what_speaks_against(case):
    weights = case.opened.head[0]
    maps = case.maps.numpy().astype(float)
    cam = np.zeros(maps.shape[1:])
    for unit, one in enumerate(maps):
        cam += (weights[unit, 0] - weights[unit, 1]) / one.size * one
    shares = cell_shares(case.regions, "object", cam.shape)[:-1]
    expected = (shares * np.maximum(cam, 0)).sum((1, 2))
    assert grad_cam(case, 0, 1) == pytest.approx(expected, rel=1e-4)


def test_measured_and_combined(case):
    fills = ("inpaint", "smooth")
    each = [measure(case, (name,), 0).margin(0, 1) for name in fills]
    exact = concept_evidence(case, evidence(case, 0, 1))
    assert METHODS.row("combined").ask(case, 0, 1) == pytest.approx(
        (each[0] + each[1] + exact) / 3, abs=1e-6
    )
    assert METHODS.row("measured").ask(case, 0, 1) == pytest.approx((each[0] + each[1]) / 2)
    assert occlusion.occlusion(case, 0, 1, "smooth") == pytest.approx(each[1], abs=1e-6)
    mean = [measure(case, (name,), occlusion.CONTROLS) for name in occlusion.PLAIN]
    expected = []
    for row in range(len(case.regions)):
        parts = []
        for one in mean:
            beside = one.control(0, 1)[row]
            beside = [value for value in beside if not np.isnan(value)]
            parts.append(one.margin(0, 1)[row] - (sum(beside) / len(beside) if beside else 0))
        expected.append(sum(parts) / len(parts))
    assert occlusion.controlled(case, 0, 1) == pytest.approx(expected, abs=1e-6)


def test_rise_is_a_covariance_with_its_masks(case):
    masks, logits = sampled._answers(case)
    assert masks.min() >= 0 and masks.max() <= 1 and 0.35 < masks.mean() < 0.65
    grey = case.photo.mean((0, 1))
    seen = masks[7][..., None] * case.photo + (1 - masks[7][..., None]) * grey
    assert case.opened.logits(seen.round().astype(np.uint8)[None])[0] == pytest.approx(
        logits[7], abs=1e-5
    )
    margin = logits[:, 0].astype(float) - logits[:, 1]
    expected = [
        np.mean(
            [
                (m - margin.mean()) * mask[region].sum()
                for m, mask in zip(margin, masks, strict=True)
            ]
        )
        for region in case.regions.masks
    ]
    assert sampled.rise(case, 0, 1) == pytest.approx(expected, rel=1e-4, abs=1e-6)


def test_shapley_values_are_means_over_coalitions(case, monkeypatch):
    pytest.importorskip("captum")
    monkeypatch.setattr(packaged, "ORDERS", 150)
    grey = case.photo.mean((0, 1)).round().astype(np.uint8)
    masks = [*case.regions.masks, ~case.regions.masks.any(0)]
    masks = [mask for mask in masks if mask.any()]
    players = range(len(masks))

    def value(present):
        photo = np.empty_like(case.photo)
        photo[:] = grey
        for k in present:
            photo[masks[k]] = case.photo[masks[k]]
        logits = case.opened.logits(photo[None])[0]
        return float(logits[0] - logits[1])

    known = {s: value(s) for n in range(len(masks) + 1) for s in combinations(players, n)}
    exact = np.zeros(len(masks))
    for k in players:
        for s in known:
            if k not in s:
                weight = factorial(len(s)) * factorial(len(masks) - len(s) - 1)
                gain = known[tuple(sorted((*s, k)))] - known[s]
                exact[k] += weight / factorial(len(masks)) * gain
    found = packaged.shapley(case, 0, 1)
    size = np.abs(exact).max()
    assert found == pytest.approx(exact[: len(case.regions)], abs=0.1 * size)
    assert packaged.kernel_shap(case, 0, 1) == pytest.approx(
        exact[: len(case.regions)], abs=0.5 * size
    )


def test_methods_are_chosen_by_name(monkeypatch):
    assert len(chosen_methods(["account-*"])) == 18
    assert [m.name for m in chosen_methods(["area", "area", "random"])] == ["area", "random"]
    with pytest.raises(
        UnitscopeError, match="unknown attribution method 'evidense'; nearest: evid"
    ):
        chosen_methods(["evidense"])
    absent = METHODS.register(Method("absent", "absent", "not here", "m:f", needs="no_such"))
    try:
        assert absent not in chosen_methods()
        with pytest.raises(UnitscopeError, match="needs the package no_such, which is not inst"):
            chosen_methods(["absent"])
    finally:
        METHODS.unregister("absent")


def short(_case, _a, _b):
    return np.zeros(1)


def endless(case, _a, _b):
    return np.full(len(case.regions), np.inf)


def test_what_a_method_gives_is_checked(case):
    for name, why in (("short", r"shape \(1,\), not one number"), ("endless", "no finite number")):
        method = Method(name, name, name, f"tests.attribution.test_methods:{name}")
        with pytest.raises(UnitscopeError, match=why):
            method.ask(case, 0, 1)
