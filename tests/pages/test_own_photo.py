"""A photo of one's own on the page Explain: evidence by unit, and units disabled on it."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation.settings import CHOOSING, Settings, chosen_on, judged_on
from core.views import causes, disable, explain, knowledge
from core.views import runs as run_views
from core.views.units import unit_images, unit_table
from pages.parts.own_units import PHOTOS, STRIPS
from tests.directions import planted as world
from tests.pages.showing import show, specs, text_of
from tests.two_runs import LAYER

PAGE = "pages/4_Explain.py"


def picture(seed: int = 1, side: int = 64) -> bytes:
    out = io.BytesIO()
    blotches = np.random.default_rng(seed).integers(0, 256, (5, 5, 3), np.uint8)
    Image.fromarray(blotches).resize((side, side)).save(out, "PNG")
    return out.getvalue()


def given(data: bytes, **address: str):
    """The page with a photo handed in."""
    at = show(PAGE, view="own", **address)
    at.file_uploader[0].upload("mine.png", data, "image/png").run()
    assert not at.exception, at.exception[0].stack_trace
    return at


def signed(value: float) -> str:
    return f"{value:+.2f}".replace("-", "−")


@pytest.fixture(scope="module")
def photo(run):
    return causes.seen_by(causes.open_layer(run, LAYER), picture(), "mine.png")


def titled(at, words: str) -> dict:
    return next(spec for spec in specs(at) if words in spec["title"]["text"])


def test_the_units_that_carry_the_answer_and_their_sum(cache, run, photo):
    at = given(picture(), cc="top10")
    found = causes.by_unit(run, photo)
    first, second = np.argsort(-photo.logits)[:2]
    names = photo.opened.classes
    assert (found.answer, found.against) == (names[first], names[second])
    said, total = text_of(at), found.units["evidence"].sum()
    margin = photo.logits[first] - photo.logits[second]
    assert found.margin == pytest.approx(margin, abs=1e-5)
    assert total + found.bias == pytest.approx(margin, abs=1e-4) and found.exact
    assert f"is **{signed(margin)}**: {signed(total)} from 12 units" in said
    assert "The sum is exact" in said
    chart = titled(at, "Units that speak for")
    assert f"for {found.answer} and against {found.against}" in chart["title"]["text"]
    labels = unit_table(run, LAYER).set_index("unit")
    for row in found.units.itertuples():
        told = labels.loc[row.unit]
        assert row.label == (told["label"] if told["name"] else "")
    assert found.units["evidence"].is_monotonic_decreasing


def test_any_pair_of_classes_can_be_asked(cache, run, photo):
    at = given(picture(), of="cellar", against="attic")
    found = causes.by_unit(run, photo, ("cellar", "attic"))
    assert f"margin of **cellar** over **attic** is **{signed(found.margin)}**" in text_of(at)
    at = given(picture(), of="barn", against="barn")
    assert "cannot be held against itself" in " ".join(one.value for one in at.info)


def test_usual_photos_are_those_of_the_run_in_which_a_unit_peaks_highest(cache, run, photo):
    at = given(picture())
    found = causes.by_unit(run, photo)
    said = text_of(at)
    drawn = [one for one in at.get("bidi_component") if "strip-" in str(one.proto)]
    units = [*found.top(STRIPS, 1), *found.top(STRIPS, -1)]
    assert units and len(drawn) == len(units)
    for unit, own in zip(units, drawn, strict=True):
        assert f"[unit {unit}](Units?" in said
        peaks = run.array(f"peaks-{LAYER}")[:, unit]
        shown = unit_images(run, LAYER, unit, None, PHOTOS)["image"]
        assert sorted(peaks[shown], reverse=True) == pytest.approx(
            sorted(peaks, reverse=True)[:PHOTOS]
        )
        assert str(own.proto).count("data:image/jpeg") == PHOTOS


def after(run, photo, units, pair=("", "")) -> str:
    """What the page must say of disabled units, by the network alone."""
    found = causes.by_unit(run, photo, pair)
    told = causes.disabled(photo, units, (found.answer, found.against))
    still = "still" if told.answer == told.was else "now"
    return (
        f"it {still} predicts **{told.answer}**. The margin of {found.answer} over "
        f"{found.against} goes from {signed(told.before)} to **{signed(told.margin)}**"
    )


def test_units_are_disabled_on_this_one_photo_live(cache, run, photo):
    found = causes.by_unit(run, photo)
    at = given(picture(), cc="top10")
    assert "No unit is disabled yet" in text_of(at)
    chosen = found.units["unit"].head(2).tolist()
    at.multiselect(key="at-off").set_value(chosen).run()
    assert at.query_params["off"] in ("-".join(map(str, sorted(chosen))),) or at.query_params[
        "off"
    ] == ["-".join(map(str, sorted(chosen)))]
    assert f"With 2 units disabled (chosen by hand) {after(run, photo, chosen)}" in text_of(at)
    lost = found.units["evidence"].head(2).sum()
    assert f"the evidence of these units is {signed(lost)}, exactly what is lost" in text_of(at)
    assert titled(at, "The network’s answer")
    for way, sign in (("for", 1), ("against", -1)):
        at = given(picture(), cc="top10", way=way, k="3")
        units = found.top(3, sign)
        own = found.units.set_index("unit")["evidence"].loc[units]
        assert len(units) == 3 and (own * sign > 0).all()
        assert after(run, photo, units) in text_of(at)
        at.slider(key="at-k").set_value(1).run()
        assert after(run, photo, units[:1]) in text_of(at)


def test_negative_units_of_the_answers_class_are_those_of_disable(cache, run, known, photo):
    splits = run_views.splits(run)
    learned = disable.unit_concepts(run, LAYER, CHOOSING.strategy, CHOOSING.iou)
    scored = {}
    for kind in ("scc", "icc", "top10"):
        rest = chosen_on(splits, judged_on(splits))
        scores = disable.contribution(learned, known, kind, CHOOSING.over, rest)
        for scene in ("attic", "barn", "cellar"):
            if scores.has_core[scores.scene(scene)]:
                scored[kind, scene] = scores.ranked(scene, "negative")["unit"].tolist()
    (kind, scene), units = max(scored.items(), key=lambda one: len(one[1]))
    pair = (scene, "barn" if scene != "barn" else "attic")
    assert units
    at = given(picture(), cc=kind, way="negative", k="2", of=pair[0], against=pair[1])
    assert after(run, photo, units[:2], pair) in text_of(at)
    assert f"negative units of {scene}, " in text_of(at)
    # The graph knows nothing of cellars: no core concepts, so no score.
    at = given(picture(), cc="scc", way="negative", of="cellar", against="barn")
    assert "has no core concepts of this kind" in text_of(at)


def test_where_no_label_beats_chance_no_empty_chart_is_drawn(cache, run, known):
    """CM, SM and DM of no learned concept are 0 for every scene: three charts without a bar."""
    told = None
    for seed in range(40):
        data = picture(seed)
        network = explain.open_network(run)
        one = explain.own_photo(run, known, network, data, "mine.png", LAYER, "top10")
        if not one.account.seen:
            told = data
            break
    flat = io.BytesIO()
    Image.new("RGB", (64, 64)).save(flat, "PNG")
    at = given(told or flat.getvalue(), cc="top10")
    assert "CM, SM and DM say nothing of this photo" in text_of(at)
    assert not [one for one in at.header if one.value.startswith("CM, SM and DM")]
    titles = [spec["title"]["text"] for spec in specs(at)]
    assert len(titles) == 2 and not any("(CM)" in t or "(DM)" in t for t in titles)


@pytest.mark.slow
def test_units_with_labels_are_shown_with_the_photo_they_peak_in(tmp_path, monkeypatch):
    """A world whose units truly detect something: labels beat chance, and the charts are drawn."""
    folder = world.write_folder(tmp_path / "world")
    asked = Settings(f"folder:{folder}", world.SPEC, layers=("body.3",), q=0.03, shuffles=60)
    made = execute(plan(asked), tmp_path / "cache", threads=1)
    monkeypatch.setenv("UNITSCOPE_CACHE", str(tmp_path / "cache"))
    graph = knowledge.open_knowledge(made.own_knowledge)
    known = knowledge.know(made, graph, made.own_knowledge)
    data = made.photo(3)
    network = explain.open_network(made)
    told = explain.own_photo(made, known, network, data, "mine.png", "body.3", "top10")
    seen = told.account.seen
    assert seen, "no unit of this world has a label better than chance"
    at = given(data, cc="top10")
    assert sum("(CM)" in spec["title"]["text"] for spec in specs(at)) == 1
    assert "what usually makes them active" in " ".join(one.value for one in at.header)
    (strip,) = [
        one
        for one in at.get("bidi_component")
        if "These are" not in str(one.proto)
        and f"unit {seen[0].units[0].unit}: {told.shown(seen[0])}" in str(one.proto)
    ]
    first = [one.units[0].unit for one in seen][:12]
    assert str(strip.proto).count("data:image/jpeg") == len(dict.fromkeys(first))
