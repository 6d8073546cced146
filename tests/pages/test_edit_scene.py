"""The scene of a photo of `rooms` edited on the page Explain: every change that an edit knows."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.foundation.settings import Settings
from core.rooms.counterfactual import SceneEdit, picture, rooms_of
from core.rooms.materials import USUAL
from core.views import causes, rooms
from core.views.images import image_number
from tests.pages.showing import show, text_of

pytestmark = pytest.mark.slow

PAGE, PHOTO, LAYER = "pages/4_Explain.py", "bedroom-test-000", "layer4"


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A real run of the embedded network on one photo of each scene and split."""
    base = tmp_path_factory.mktemp("rooms")
    asked = Settings(
        "rooms:per_scene=3",
        "rooms",
        (LAYER,),
        splits=("test",),
        q=0.01,
        shuffles=1,
        untrained=False,
    )
    return execute(plan(asked), base / "cache")


@pytest.fixture(autouse=True)
def cache(run, monkeypatch) -> Path:
    monkeypatch.setenv("UNITSCOPE_CACHE", str(run.path.parent))
    return run.path.parent


def chosen(at, label: str):
    return next(one for one in at.selectbox if one.label == label)


def box(at, label: str):
    return next(one for one in at.number_input if one.label == label)


def draw(at) -> dict:
    """The edit in the address after "Draw it" was pressed."""
    next(one for one in at.button if one.label == "Draw it").click().run()
    assert not at.exception, at.exception[0].stack_trace
    held = at.query_params["edit"]
    return json.loads(held if isinstance(held, str) else held[0])


def shown_is_drawn(at, run, edit: dict) -> None:
    """What the page says of an edit is the network's answer to the photo drawn again."""
    assert "edit_off" not in [one.icon for one in at.warning], [one.value for one in at.warning]
    image = image_number(run, PHOTO)
    network = causes.open_layer(run, LAYER)
    case = network.case(image)
    pair = (network.classes[case.predicted], network.classes[case.against])
    drawn = picture(rooms_of(run), PHOTO, SceneEdit.from_json(json.dumps(edit))).rgb
    before = picture(rooms_of(run), PHOTO).rgb
    assert not np.array_equal(drawn, before)
    after = causes.redrawn(run, network, image, json.dumps(edit), pair)
    margin = f"{after.margin:+.2f}".replace("-", "−")
    assert f"**{margin}**" in text_of(at)


def test_a_thing_in_another_material(run):
    at = show(PAGE, image=PHOTO, editing="1")
    chosen(at, "Change").set_value("material").run()
    things = rooms.things(run, image_number(run, PHOTO))
    thing = next(f"{t.plane}:{t.name}" for t in things.itertuples() if t.name == "bed")
    chosen(at, "What").set_value(thing).run()
    materials = chosen(at, "becomes")
    assert len(materials.options) == len(USUAL) == len(rooms.materials())
    materials.set_value("metal").run()
    edit = draw(at)
    assert edit == {"material": {thing: "metal"}}
    shown_is_drawn(at, run, edit)


def test_the_camera_steps_turns_tilts_and_zooms(run):
    at = show(PAGE, image=PHOTO, editing="1")
    chosen(at, "Change").set_value("camera").run()
    assert box(at, "Turn right (degrees)").value == 10.0
    for label, value in (
        ("Turn right (degrees)", 0.0),
        ("Tilt up (degrees)", -5.0),
        ("Step right (metres)", 0.25),
        ("ahead", 0.5),
    ):
        box(at, label).set_value(value).run()
    edit = draw(at)
    assert edit == {"tilt": -5.0, "step": [0.25, 0.5, 0.0]}
    shown_is_drawn(at, run, edit)
    # What the camera did is where its boxes begin; another change is made beside it.
    at = show(PAGE, image=PHOTO, editing="1", edit=json.dumps(edit))
    chosen(at, "Change").set_value("camera").run()
    assert box(at, "Tilt up (degrees)").value == -5.0 and box(at, "ahead").value == 0.5
    assert box(at, "Turn right (degrees)").value == 0.0
    chosen(at, "Change").set_value("light").run()
    chosen(at, "What").set_value("all").run()
    box(at, "Times as bright").set_value(0.5).run()
    next(one for one in at.toggle if one.label == "Exposed anew").set_value(True).run()
    both = draw(at)
    assert both == {**edit, "light": {"all": 0.5}, "exposure": "metered"}
    shown_is_drawn(at, run, both)
    next(one for one in at.button if one.label == "As it was").click().run()
    assert "Nothing is changed yet" in text_of(at)


def test_lights_that_shine_are_offered_and_things_move_upwards(run):
    image = image_number(run, PHOTO)
    lights, things = rooms.lights(run, image), rooms.things(run, image)
    shining = [f"{t.plane}:{t.name}" for t in things.itertuples() if t.lights]
    scene_sun = ["sun"] if "sun" in lights else []
    assert lights == ["all", *scene_sun, *shining]
    at = show(PAGE, image=PHOTO, editing="1")
    chosen(at, "Change").set_value("move").run()
    assert chosen(at, "What").options
    box(at, "up").set_value(0.5).run()
    edit = draw(at)
    ((_, way),) = edit["move"].items()
    assert way == [0.5, 0.0, 0.5]
    shown_is_drawn(at, run, edit)


def test_an_edit_that_an_address_made_up_is_no_fault(run):
    for text in ('{"color": 3}', '{"step": "far", "turn": true}', "[1]", "{"):
        at = show(PAGE, image=PHOTO, editing="1", edit=text)
        chosen(at, "Change").set_value("camera").run()
        assert not at.exception
        chosen(at, "Change").set_value("color").run()
        assert not at.exception
