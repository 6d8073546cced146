"""Accounts of photos as pages show them, and photos of one's own."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.explain.learned import IOUS, STRATEGIES, unit_ious
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.settings import Settings
from core.foundation.vocabulary import Core
from core.views import explain, knowledge
from core.views.images import Filter, concept_id, gallery, probable
from core.views.pictures import OUTLINE, active_region, thumbnail
from tests import tiny
from tests.two_runs import LAYER


def test_one_images_counts_are_those_of_all(run):
    for iou in IOUS:
        whole = unit_ious(run, LAYER, iou)
        for image in (0, 7, 44):
            pd.testing.assert_frame_equal(
                unit_ious(run, LAYER, iou, image),
                whole[whole["image"] == image].reset_index(drop=True),
            )


def test_accounts_are_told_with_names_and_judged(run, known):
    ids = run.sql("SELECT id FROM images ORDER BY image")["id"].tolist()
    for strategy, kind in itertools.product(STRATEGIES, Core):
        told = explain.account(run, known, ids[4], LAYER, strategy, "image", kind)
        found = told.account
        for one in found.seen:
            assert concept_id(run, told.label(one)) == one.id
        frame = explain.account_table(told)
        for side, facts in found.sides.items():
            part = frame[frame["side"] == side]
            assert set(part["concept"]) == {
                told.shown(i) for g in ("met", "missed", "foreign") for i in getattr(facts, g)
            }
            assert (part["group"] == "met").sum() == len(facts.met)
        row = {one.scene: one for one in found.scenes}
        verdict = explain.verdict(found)
        a, b = (found.sides[side].scene if side in found.sides else "" for side in explain.SIDES)
        for name, value in verdict.items():
            if a in row and b in row and a != b and found.seen:
                assert value == (getattr(row[a], name) > getattr(row[b], name))
            else:
                assert value is None
    with pytest.raises(UnitscopeError, match="kind of core concepts"):
        explain.account(run, known, ids[4], LAYER, "whole_layer", "image", "top")


@pytest.mark.parametrize(
    "choice",
    [
        Filter(),
        Filter(outcome="wrong"),
        Filter("attic", "barn"),
        Filter("barn", outcome="right"),
        Filter("barn", "nowhere"),
    ],
)
def test_photos_are_gone_through_in_order(run, choice):
    total, frame = gallery(run, choice, size=1000)
    ids, images = frame["id"].tolist(), frame["image"].tolist()
    for image in range(45):
        place = explain.place(run, choice, image)
        assert place.total == total
        assert place.number == (images.index(image) + 1 if image in images else 0)
        before = [i for i, k in zip(ids, images, strict=True) if k < image]
        after = [i for i, k in zip(ids, images, strict=True) if k > image]
        assert place.before == (before[-1] if before else None)
        assert place.after == (after[0] if after else None)
    drawn = {explain.drawn(run, choice, seed) for seed in range(60)}
    assert drawn <= set(ids) if total else drawn == {None}
    assert explain.drawn(run, choice, 5) == explain.drawn(run, choice, 5)
    surest = explain.clearest(run, choice)
    if not total:
        assert surest is None
        return
    tested = frame[frame["split"] == "test"]
    tested = tested if len(tested) else frame
    wrong = tested[tested["correct"] == False]  # noqa: E712 (NULL is neither)
    best = wrong if len(wrong) else tested
    assert frame.set_index("id").loc[surest, "confidence"] == best["confidence"].max()
    if total > 5:
        assert len(drawn) > 1


def test_what_an_account_is_worth_is_what_the_test_of_truth_found(run, monkeypatch):
    from types import SimpleNamespace as Row

    from core.views import truth

    assert explain.worth(run, "minmax_threshold", "image", "scc") == ""
    figure = {"rank": Row(value=-0.04, low=-0.11, high=0.03, n=9)}
    measured = {"rank": Row(value=0.7, low=0.6, high=0.8, n=9)}
    rows = [
        Row(method="account-highest-iou-dataset-normalised-icc", answers="wrong", figures=figure),
        Row(method="occlusion-inpaint", answers="wrong", figures=measured),
    ]
    monkeypatch.setattr(truth, "truths", lambda _run: {"test, 9 photos": Row(rows=rows)})
    told = explain.worth(run, "highest_iou", "dataset_normalised", "icc")
    assert "wrong answers" in told and "test, 9 photos" in told
    assert "this account −0.04 (−0.11 to 0.03); measured 0.70 (0.60 to 0.80)" in told
    assert explain.worth(run, "highest_iou", "image", "icc") == ""


def test_evidence_shows_the_mask_and_the_lit_region(run):
    image, side = 3, 120
    rows = unit_ious(run, LAYER, "image", image)
    concept, unit = int(rows["concept"].iloc[0]), int(rows["unit"].iloc[0])
    plain = np.asarray(Image.open(io.BytesIO(thumbnail(run, image, side))), int)
    made = Image.open(io.BytesIO(explain.evidence(run, LAYER, image, concept, None, side)))
    mask = (run.array("labels")[image] == concept).any(0)
    mask = np.asarray(Image.fromarray(mask).resize(made.size, Image.Resampling.NEAREST))
    inside = np.abs(np.asarray(made, int) - plain).mean(2)
    assert inside[mask].mean() < 12 < inside[~mask].mean(), "the mask is bright, the rest dim"
    both = np.asarray(
        Image.open(io.BytesIO(explain.evidence(run, LAYER, image, concept, unit, side))), int
    )
    lit = active_region(run, LAYER, unit, image, made.size)
    edge = np.zeros_like(lit)
    edge[1:] |= lit[1:] != lit[:-1]
    edge[:, 1:] |= lit[:, 1:] != lit[:, :-1]
    away = np.abs(both - np.array(OUTLINE)).mean(2)
    assert np.median(away[edge]) < 40, "the edge of the lit region is yellow"
    assert explain.evidence(run, LAYER, image, None, None, side) == thumbnail(run, image, side)


def picture_bytes(width: int, height: int) -> bytes:
    out = io.BytesIO()
    noise = np.random.default_rng(1).integers(0, 256, (height // 4, width // 4, 3), np.uint8)
    Image.fromarray(noise).resize((width, height)).save(out, "PNG")
    return out.getvalue()


def test_a_photo_of_ones_own(run, known):
    network = explain.open_network(run)
    hooks = [m for m in network.model.module.modules() if m._forward_hooks]
    told = explain.own_photo(run, known, network, picture_bytes(64, 48), "my.png", LAYER, "scc")
    assert told.account.image == "my.png" and told.account.target is None
    assert set(told.account.sides) == {"predicted"} and told.account.scenes
    assert all(item.annotated is None for item in told.account.sides["predicted"].met)
    # The probabilities are those of the network on what it saw.
    chances = np.asarray(told.account.probabilities)
    assert chances.sum() == pytest.approx(1) and chances.max() == told.account.confidence
    top = probable(run, chances)
    assert top["class"][0] == told.account.predicted and not top["true"].any()
    assert top["probability"].tolist() == sorted(chances, reverse=True)[: len(top)]
    # What the network sees of any photo: the middle of it, in its own size.
    assert Image.open(io.BytesIO(told.photo)).size == (24, 24)
    assert hooks == [m for m in network.model.module.modules() if m._forward_hooks] == []
    for data, why in ((b"", "empty"), (b"not an image", "image"), (picture_bytes(64, 48)[:80], "")):
        with pytest.raises(BadFile, match=r"my\.png") as caught:
            explain.own_photo(run, known, network, data, "my.png", LAYER, "scc")
        assert why in str(caught.value) and "/" not in str(caught.value).split("(")[0]


def test_a_photo_too_small_is_told(tmp_path):
    folder = tiny.write_folder(tmp_path / "tiny", 9)
    made = execute(
        plan(
            Settings(
                f"folder:{folder}", "python:tests.tiny:uncropped", (LAYER,), q=0.05, shuffles=0
            )
        ),
        tmp_path / "cache",
    )
    known = knowledge.know(made, knowledge.open_knowledge("builtin"), "builtin")
    network = explain.open_network(made)
    with pytest.raises(BadFile, match=r"small\.png: .*20"):
        explain.own_photo(made, known, network, picture_bytes(16, 16), "small.png", LAYER, "top10")


def test_a_network_that_changed_is_refused(tmp_path):
    folder = tiny.write_folder(tmp_path / "tiny", 9)
    weights = tmp_path / "net.pt"
    torch.save(tiny.Net().state_dict(), weights)
    spec = f"{tiny.SPEC}:{weights}"
    made = execute(
        plan(Settings(f"folder:{folder}", spec, (LAYER,), q=0.05, shuffles=0)), tmp_path / "cache"
    )
    assert explain.open_network(made).digest
    state = tiny.Net().state_dict()
    state["head.bias"] += 1
    torch.save(state, weights)
    with pytest.raises(UnitscopeError, match="no longer the network"):
        explain.open_network(made)


def test_concepts_that_share_a_name_are_told_apart(tmp_path):
    folder = tiny.write_folder(tmp_path / "tiny", 12)
    labels = folder / "labels.csv"
    labels.write_text(labels.read_text().replace("piece 6", "thing 1"))
    settings = Settings(f"folder:{folder}", tiny.SPEC, (LAYER,), q=0.05, shuffles=0)
    made = execute(plan(settings), tmp_path / "cache")
    known = knowledge.know(made, knowledge.open_knowledge("builtin"), "builtin")
    told = explain.account(made, known, "003", LAYER, "whole_layer", "image", "top10")
    sides = told.account.sides.values()
    items = [i for side in sides for g in explain.GROUPS for i in getattr(side, g)]
    for item in [*told.account.seen, *items]:
        assert concept_id(made, told.label(item)) == item.id
    both = {told.label(i) for i in items if i.concept == "thing 1"}
    assert both == {"thing 1 (object)", "thing 1 (part)"}
