"""Edited photos of `rooms`: what must stay does, byte for byte; what was taken away is gone."""

from __future__ import annotations

import io
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from core.foundation.errors import NoEffect, UnitscopeError, allow_empty
from core.rooms import SCENES
from core.rooms import counterfactual as cf
from core.rooms.counterfactual import Scene, SceneEdit
from core.rooms.dataset import Rooms, build_world, draw_picture
from core.rooms.drawing import indoor, outdoor
from core.rooms.drawing.tracer import PLANES, Camera, Material, Picture, Sky, World
from core.rooms.held import draw_held
from core.rooms.materials import USUAL

ROOM, EVENING, STREET = "living_room-test-001", "bedroom-test-001", "street-test-001"


@pytest.fixture(scope="module")
def rooms() -> Rooms:
    return Rooms()


def alike(a: Picture, b: Picture) -> bool:
    return all((getattr(a, k) == getattr(b, k)).all() for k in ("rgb", *PLANES))


def mask(picture: Picture, name: str, plane: str = "object") -> np.ndarray:
    return getattr(picture, plane) == picture.names[plane].index(name)


@pytest.mark.parametrize("scene", SCENES)
def test_the_held_kernel_draws_every_scene_as_the_frozen_tracer(scene):
    world = build_world(7, scene, "test", 0)
    plain = build_world(7, scene, "test", 0).render(64)
    free = draw_held(world, 64)
    assert alike(free.picture, plain) and free.picture.names == plain.names
    assert alike(draw_held(world, 64, free.meter).picture, plain)
    brighter = draw_held(world, 64, free.meter / 2).picture
    assert brighter.rgb.mean() > plain.rgb.mean() + 5 and (brighter.object == plain.object).all()


def test_the_unedited_photo_is_that_of_the_dataset(rooms):
    drawn = cf.picture(rooms, ROOM, SceneEdit())
    assert alike(drawn, draw_picture(*rooms.recipe(rooms.index_of(ROOM))))
    stored = Image.open(io.BytesIO(cf.photo_bytes(rooms, ROOM)))
    assert (np.asarray(stored) == drawn.rgb).all()


@pytest.mark.parametrize(
    ("image", "name", "least"),
    [(ROOM, "picture", 0.9), (ROOM, "cushion", 0.9), (STREET, "person", 0.9), (STREET, "car", 0.5)],
)
def test_a_thing_taken_away_leaves_no_pixel_and_no_other_mask_changes(rooms, image, name, least):
    before = cf.picture(rooms, image, SceneEdit())
    after = cf.picture(rooms, image, SceneEdit(without=(name,)))
    was = mask(before, name)
    assert was.sum() > 50 and not mask(after, name).any()
    for plane in PLANES:
        assert (getattr(before, plane)[~was] == getattr(after, plane)[~was]).all()
    # What the thing neither shadowed nor lit by its colour is the same to the byte.
    assert (before.rgb == after.rgb).all(-1)[~was].mean() > least


def two_balls(turned: bool = False) -> Scene:
    """Two balls forty metres apart on a plain, with a patterned material in common."""
    rng = np.random.default_rng(5)
    target = (20.0, 40.0, 1.0) if turned else (0.0, 40.0, 1.0)
    world = World(rng, Camera((0, -10, 3), target, 80), sun=((0.3, -0.4, 0.8), (1, 1, 0.9), 3.0))
    world.sky = Sky(clouds=0.0)
    shared = Material((0.8, 0.3, 0.2), "wood", "wood", seed=3.0)
    world.ground(material=Material((0.3, 0.4, 0.2), "grass"))
    world.ellipsoid((-20, 20, 2), 2.0, material=shared, object="left ball")
    world.ellipsoid((20, 20, 2), 2.0, material=shared, object="right ball")
    return Scene.of(world, "park", 96)


def test_far_from_an_edit_every_byte_stays():
    scene = two_balls()
    before = scene.drawn.picture
    right = np.arange(96) >= 48
    for edit in (
        SceneEdit(without="left ball"),
        SceneEdit(color={"left ball": "blue"}),
        SceneEdit(material={"left ball": "metal"}),
        SceneEdit(move={"left ball": (0, 0, 1)}),
    ):
        after = cf.drawn_again(scene, edit)
        assert (after.rgb != before.rgb).any(-1).sum() > 20, edit
        assert (after.rgb == before.rgb)[:, right].all(), edit
        assert (after.material == before.material)[:, right].all(), edit
    free = cf.drawn_again(scene, SceneEdit(without="left ball", exposure="metered"))
    assert (free.rgb != before.rgb)[:, right].mean() > 0.2
    assert alike(scene.drawn.picture, two_balls().drawn.picture)  # nothing was changed in place


def test_moves_and_turns_go_where_they_say():
    def middle(picture: Picture, name: str) -> np.ndarray:
        return np.argwhere(mask(picture, name)).mean(0)

    scene = two_balls()
    row, col = middle(scene.drawn.picture, "left ball")
    moved = middle(cf.drawn_again(scene, SceneEdit(move={"left ball": (4, 0, 2)})), "left ball")
    assert moved[0] < row and moved[1] > col
    right = middle(scene.drawn.picture, "right ball")
    nearer = cf.drawn_again(scene, SceneEdit(move={"left ball": (9, -10, 0)}))
    assert mask(nearer, "left ball").sum() > 1.5 * mask(scene.drawn.picture, "left ball").sum()
    for edit, side in (
        (SceneEdit(turn=10), (0, -1)),
        (SceneEdit(tilt=10), (1, 0)),
        (SceneEdit(step=(3, 0, 0)), (0, -1)),
    ):
        shift = middle(cf.drawn_again(scene, edit), "right ball") - right
        assert all(np.sign(round(s)) == w for s, w in zip(shift, side, strict=True) if w), edit
    zoomed = mask(cf.drawn_again(scene, SceneEdit(zoom=1.1)), "left ball").sum()
    assert zoomed == pytest.approx(1.21 * mask(scene.drawn.picture, "left ball").sum(), rel=0.15)
    # The target of a turned camera is where a scene built with it looks.
    turned = np.degrees(np.arctan2(20, 50))
    camera = cf.edited_world(scene, SceneEdit(turn=turned))[0].camera
    way = np.subtract(camera.target, camera.eye)[:2]
    assert way / np.linalg.norm(way) == pytest.approx(np.array([20, 50]) / np.hypot(20, 50))


def test_only_keeps_the_named_and_what_encloses(rooms):
    left = cf.picture(rooms, ROOM, SceneEdit(only=("sofa",)))
    shown = {left.names["object"][k] for k in np.unique(left.object)}
    assert shown <= {"wall", "floor", "ceiling", "sky", "sofa"} and "sofa" in shown
    before = cf.picture(rooms, ROOM, SceneEdit())
    assert mask(left, "sofa").sum() > mask(before, "sofa").sum()  # the table hid some of it
    assert left.rgb.mean() > 0.5 * before.rgb.mean()  # lights stay on


def test_every_light_belongs_to_what_gives_it():
    owners: dict[str, int] = {}
    free = 0
    for scene in list(indoor.SCENES):
        for number in range(3):
            world = build_world(7, scene, "val", number)
            for k in cf._owners(world):
                if k < 0:
                    free += 1
                    continue
                _, name, part, _ = world._surfaces[world._prims[k][1]]
                told = f"{world._names['object'][name]}/{world._names['part'][part]}"
                owners[told] = owners.get(told, 0) + 1
    lamps = {"lamp/lamp shade", "lamp/bulb", "ceiling lamp/bulb", "ceiling lamp/lamp shade"}
    assert set(owners) <= {"window/pane", "fire/", "chandelier/bulb", *lamps}
    assert owners["window/pane"] > 10 and owners["lamp/lamp shade"] > 2
    assert free < 0.1 * sum(owners.values())


def test_a_lamp_takes_its_light_along(rooms):
    before = cf.picture(rooms, EVENING, SceneEdit())
    lamp = next(t for t in cf.things(rooms, EVENING) if t.name == "lamp")
    assert lamp.lights == 2 and lamp.plane == "object"
    without = cf.picture(rooms, EVENING, SceneEdit(without="lamp"))
    assert without.rgb.mean() < 0.8 * before.rgb.mean()
    off = cf.picture(rooms, EVENING, SceneEdit(light={"lamp": 0}))
    assert mask(off, "lamp").sum() == mask(before, "lamp").sum()
    assert off.rgb.mean() < 0.8 * before.rgb.mean()
    half = cf.picture(rooms, EVENING, SceneEdit(light={"all": 0.5}))
    assert 0.5 * before.rgb.mean() < half.rgb.mean() < 0.9 * before.rgb.mean()
    metered = cf.picture(rooms, EVENING, SceneEdit(light={"all": 0.5}, exposure="metered"))
    assert metered.rgb.mean() == pytest.approx(before.rgb.mean(), rel=0.05)
    world, _ = cf.edited_world(cf.scene_of(rooms, EVENING), SceneEdit(move={"lamp": (0, 0, 0.5)}))
    was = cf.scene_of(rooms, EVENING).world._lights
    for old, new in zip(was, world._lights, strict=True):
        assert new[3] - old[3] == pytest.approx(0.5) and new[1:3] == old[1:3]


def test_colour_and_material_are_seen_and_named(rooms):
    before = cf.picture(rooms, ROOM, SceneEdit())
    sofa = mask(before, "sofa")
    blue = cf.picture(rooms, ROOM, SceneEdit(color={"sofa": "#0000ff"}))
    assert (blue.object == before.object).all()
    pixels = blue.rgb[sofa].astype(int)
    assert (pixels[:, 2] > pixels[:, 0] + 20).mean() > 0.9
    wooden = cf.picture(rooms, ROOM, SceneEdit(material={"sofa": "wood"}))
    assert mask(wooden, "wood", "material")[sofa].all()
    assert (rooms.planes(wooden)[2] != rooms.planes(before)[2]).sum() >= (
        sofa & ~mask(before, "wood", "material")
    ).sum()
    assert set(USUAL) == {*indoor.MATERIALS, *outdoor.MATERIALS}


def test_parts_and_planes_are_told_apart(rooms):
    rows = cf.things(rooms, EVENING)
    assert {(t.name, t.plane) for t in rows} >= {("door", "object"), ("door", "part")}
    assert "door" in next(t.parts for t in rows if t.name == "wardrobe")
    before = cf.picture(rooms, EVENING, SceneEdit())
    bare = cf.picture(rooms, EVENING, SceneEdit(without="part:door"))
    gone = mask(before, "door", "part")
    assert gone.sum() > 100 and not mask(bare, "door", "part").any()
    assert mask(bare, "wardrobe").any()
    assert [t.pixels for t in rows if t.plane == "object"] == sorted(
        (t.pixels for t in rows if t.plane == "object"), reverse=True
    )
    assert sum(t.pixels for t in rows if t.plane == "object") == before.object.size


def test_what_encloses_stays(rooms):
    for image, name in (
        (ROOM, "wall"),
        (STREET, "sky"),
        (STREET, "ground"),
        ("mountain-test-000", "part:slope"),
        ("beach-test-000", "sand"),
    ):
        with pytest.raises(UnitscopeError, match=r"cannot be removed.*What can:"):
            cf.picture(rooms, image, SceneEdit(without=name))
        assert name.rpartition(":")[2] not in [
            t.name for t in cf.removable(rooms, image) if t.plane in (name.partition(":")[0], "")
        ]
    assert {t.name for t in cf.removable(rooms, STREET)} >= {"car", "building", "road"}


def test_edits_without_effect_are_errors(rooms):
    hidden = SceneEdit(without=("sofa", "clock"))
    with pytest.raises(NoEffect, match="clock is not in view of kitchen-test-001"):
        cf.picture(rooms, "kitchen-test-001", SceneEdit(without=("microwave", "clock")))
    with pytest.raises(NoEffect, match="changes nothing"):
        cf.picture(rooms, ROOM, SceneEdit(move={"sofa": (0, 0, 0)}))
    with pytest.raises(UnitscopeError, match="unknown thing in this photo 'clock'"):
        cf.picture(rooms, ROOM, hidden)
    with allow_empty(lambda why: None):
        cf.picture(rooms, ROOM, SceneEdit(move={"sofa": (0, 0, 0)}))
    # Out of view, but between the window and what it lights.
    cf.picture(rooms, ROOM, SceneEdit(without="armchair"))


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        ({"without": ("a",), "only": ("b",)}, "not both"),
        ({"material": {"bed": "wod"}}, "nearest: wood"),
        ({"color": {"bed": "reddish"}}, "is no colour"),
        ({"color": {"bed": "#12345"}}, "is no colour"),
        ({"move": {"bed": (1, 2)}}, "3 finite numbers"),
        ({"move": {"bed": (1, 2, float("nan"))}}, "3 finite numbers"),
        ({"light": {"lamp": -1}}, "negative"),
        ({"zoom": 0.0}, "out of range"),
        ({"exposure": "bright"}, "unknown exposure"),
    ],
)
def test_edits_that_mean_nothing_are_refused(edit, said):
    with pytest.raises(UnitscopeError, match=said):
        SceneEdit(**edit)


def test_things_without_light_cannot_be_dimmed(rooms):
    with pytest.raises(UnitscopeError, match=r"gives no light. What does: .*lamp"):
        cf.picture(rooms, EVENING, SceneEdit(light={"bed": 0.5}))
    with pytest.raises(UnitscopeError, match="no sun shines"):
        cf.picture(rooms, EVENING, SceneEdit(light={"sun": 0.5}))
    with pytest.raises(UnitscopeError, match="no surface"):
        cf.picture(rooms, STREET, SceneEdit(color={"sky": "red"}))
    with pytest.raises(UnitscopeError, match="no image 5000"):
        cf.picture(rooms, 5000, SceneEdit())


def test_edits_read_back_from_their_text():
    edit = SceneEdit(
        without=("lamp",), move={"bed": [1, 0, 0]}, light={"all": 0.5}, step=(0, 1, 0), turn=3.0
    )
    again = SceneEdit.from_json(edit.to_json())
    assert again == edit and hash(again) == hash(edit)
    assert SceneEdit().to_json() == "{}"
    for text in ("[1]", "{", '{"wihtout": ["a"]}', '{"move": 3}', '{"move": {"a": 3}}'):
        with pytest.raises(UnitscopeError):
            SceneEdit.from_json(text)


def test_threads_draw_what_one_draws(rooms):
    scene = cf.scene_of(rooms, ROOM)
    edits = [SceneEdit(without=name) for name in ("sofa", "rug", "lamp", "television")]
    alone = [cf.drawn_again(scene, edit) for edit in edits]
    with ThreadPoolExecutor(4) as pool:
        together = list(pool.map(lambda edit: cf.drawn_again(scene, edit), edits))
    assert all(alike(a, b) for a, b in zip(alone, together, strict=True))
