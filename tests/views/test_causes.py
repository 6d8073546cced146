"""Causes as pages show them, and edited photos with their answers."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from core.attribution.effects import edited
from core.figures import explain as figures
from core.figures.base import Caption
from core.figures.export import export
from core.foundation.errors import UnitscopeError
from core.views import causes, rooms
from core.views.images import concept_id, image_number
from tests.two_runs import LAYER


@pytest.fixture(scope="module")
def opened(run):
    return causes.open_layer(run, LAYER)


@pytest.fixture(scope="module")
def told(run, opened, known):
    return causes.causes(run, opened, known, "010", "top10", filling="mean")


def test_causes_have_the_names_of_other_pages(run, told):
    frame = causes.causes_frame(told)
    for row, shown in zip(told.causes.rows, frame.itertuples(), strict=True):
        assert concept_id(run, shown.label) == row.concept
        assert (shown.effect, shown.evidence) == (row.effect, row.evidence)
        assert np.isnan(shown.low) == (row.band is None)
        assert not shown.answer or shown.answer == row.standing_answer.short
    assert told.causes.question.fillings == ("mean",) and causes.REDRAWN not in told.ways


@pytest.mark.parametrize("dark", [False, True])
def test_the_charts_say_what_they_show(told, run, opened, dark):
    found = told.causes
    way = figures.by(found.question.fillings, found.question.controls, found.evidence_kind)
    caption = Caption("tiny", "net", found.layer, way, "photo 010 (test)")
    frame = causes.causes_frame(told)
    chart = figures.causes(frame, found.answer, found.against, caption, dark)
    svg = export(chart, "svg", dark).decode()
    assert all(name in svg for name in frame["concept"])
    for words in (
        "measured effect",
        "evidence",
        "regions elsewhere",
        "filled by mean",
        "photo 010",
    ):
        assert words in svg
    assert f"{found.answer} and against {found.against}" in svg
    few = figures.causes(
        frame.loc[[0] * 20].reset_index(drop=True), found.answer, found.against, caption, dark
    )
    assert "of 20" in few.to_dict()["title"]["text"]
    ids = (found.rows[0].concept,)
    pair = (found.answer, found.against)
    after = causes.taken_away(run, opened, image_number(run, "010"), ids, "mean", pair)
    svg = export(figures.answers(after.shares, caption, dark), "svg", dark).decode()
    assert f"{after.shares['after'].max():.0%}" in svg and "edited photo" in svg


def test_the_answer_to_an_edited_photo_is_that_of_the_network(run, opened, told):
    image, found = image_number(run, "010"), told.causes
    pair = (found.answer, found.against)
    for row in found.rows:
        after = causes.taken_away(run, opened, image, (row.concept,), "mean", pair)
        # One concept away is what was measured.
        assert after.before - after.margin == pytest.approx(row.effect, abs=1e-5)
        assert after.answer == row.removed.answer and after.was == found.predicted
    ids = tuple(row.concept for row in found.rows[:2])
    after = causes.taken_away(run, opened, image, ids, "mean", pair)
    logits = opened.logits(edited(opened.case(image), ids, "mean")[None])[0].astype(float)
    shares = np.exp(logits) / np.exp(logits).sum()
    for scene, share in zip(after.shares["scene"], after.shares["after"], strict=True):
        assert share == pytest.approx(shares[opened.class_of(scene)], abs=1e-6)
    assert Image.open(io.BytesIO(after.photo)).size == (480, 480)


def test_photos_drawn_again_are_shown_to_the_network(run, opened, told, monkeypatch):
    image, asked = image_number(run, "010"), []
    pair = (told.causes.answer, told.causes.against)
    photo = Image.fromarray(np.random.default_rng(0).integers(0, 256, (32, 40, 3), np.uint8))
    out = io.BytesIO()
    photo.save(out, "PNG")

    def drawn(_run, number, edit):
        asked.append((number, edit))
        return out.getvalue()

    monkeypatch.setattr(rooms, "edited_photo", drawn)
    thing, piece = concept_id(run, "thing 1"), concept_id(run, "piece 6")
    after = causes.taken_away(run, opened, image, (thing, piece), causes.REDRAWN, pair)
    assert asked == [(image, '{"without": ["object:thing 1", "part:piece 6"]}')]
    logits = opened.logits(np.array(opened.preprocessing.view(photo))[None])[0]
    a, b = map(opened.class_of, pair)
    assert after.margin == pytest.approx(logits[a] - logits[b], abs=1e-5)
    with pytest.raises(UnitscopeError, match="kind of core concepts"):
        causes.causes(run, opened, None, "010", "top")
