"""The embedded dataset: masks against a slow reference, determinism, contract, resuming."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from core.foundation.errors import UnitscopeError
from core.rooms import SCENES
from core.rooms.dataset import SIZE, Rooms, draw_picture
from core.rooms.drawing.colors import NAMES, color_names
from core.rooms.drawing.tracer import TEXTURES, Camera, Material, Sky, World, _build_tree


def _turn(yaw, pitch, roll):
    a, b, c = (math.radians(v) for v in (yaw, pitch, roll))
    rz = np.array([[math.cos(a), -math.sin(a), 0], [math.sin(a), math.cos(a), 0], [0, 0, 1]])
    ry = np.array([[math.cos(b), 0, math.sin(b)], [0, 1, 0], [-math.sin(b), 0, math.cos(b)]])
    rx = np.array([[1, 0, 0], [0, math.cos(c), -math.sin(c)], [0, math.sin(c), math.cos(c)]])
    return rz @ ry @ rx


def _first(ts, ok):
    hits = [t for t, good in zip(ts, ok, strict=True) if good and t > 0.02]
    return min(hits, default=math.inf)


def _ref_box(o, d, half):
    ts, ok = [], []
    for axis in range(3):
        for side in (-1, 1):
            t = (side * half[axis] - o[axis]) / d[axis]
            p = o + t * d
            ts.append(t)
            ok.append(all(abs(p[k]) <= half[k] for k in range(3) if k != axis))
    return _first(ts, ok)


def _ref_ellipsoid(o, d, radii):
    o, d = o / radii, d / radii
    a, b, c = d @ d, 2 * o @ d, o @ o - 1
    disc = b * b - 4 * a * c
    if disc < 0:
        return math.inf
    return _first([(-b - math.sqrt(disc)) / (2 * a), (-b + math.sqrt(disc)) / (2 * a)], [1, 1])


def _ref_frustum(o, d, r0, r1, h):
    k = (r1 - r0) / h
    # x² + y² = (r0 + k z)²
    a = d[0] ** 2 + d[1] ** 2 - (k * d[2]) ** 2
    b = 2 * (o[0] * d[0] + o[1] * d[1] - (r0 + k * o[2]) * k * d[2])
    c = o[0] ** 2 + o[1] ** 2 - (r0 + k * o[2]) ** 2
    ts, ok = [], []
    disc = b * b - 4 * a * c
    if disc >= 0:
        for sign in (-1, 1):
            t = (-b + sign * math.sqrt(disc)) / (2 * a)
            ts.append(t)
            ok.append(0 <= o[2] + t * d[2] <= h)
    for z, r in ((0, r0), (h, r1)):
        t = (z - o[2]) / d[2]
        p = o + t * d
        ts.append(t)
        ok.append(math.hypot(p[0], p[1]) <= r)
    return _first(ts, ok)


def _ref_soft(o, d, half, power):
    # Marching in tiny steps: as slow and as plain as can be.
    ts = np.arange(0.02, 14, 0.004)
    p = (o + ts[:, None] * d) / half
    inside = np.flatnonzero((np.abs(p) ** power).sum(1) <= 1)
    return ts[inside[0]] if inside.size else math.inf


@pytest.mark.parametrize("seed", [1, 2])
def test_masks_agree_with_a_slow_reference(seed):
    rng = np.random.default_rng(seed)
    size, eye, target, fov = 28, np.array([0.3, -6.0, 1.4]), np.array([0.0, 0.0, 0.6]), 52.0
    world = World(rng, Camera(tuple(eye), tuple(target), fov), sky=Sky())
    solids = []
    for k in range(14):
        c = rng.uniform(-1.6, 1.6, 3)
        yaw, pitch, roll = rng.uniform(-180, 180, 3)
        half = rng.uniform(0.15, 0.6, 3)
        name, mat = f"thing {k}", Material((0.5, 0.5, 0.5), f"stuff {k % 3}")
        kind = k % 4
        if kind == 0:
            world.box(tuple(c), tuple(2 * half), yaw, mat, name, pitch=pitch, roll=roll)
            turn = _turn(yaw, pitch, roll)
            solids.append((c, turn, lambda o, d, h=half: _ref_box(o, d, h)))
        elif kind == 1:
            world.ellipsoid(tuple(c), tuple(half), yaw, mat, name, pitch=pitch, roll=roll)
            turn = _turn(yaw, pitch, roll)
            solids.append((c, turn, lambda o, d, h=half: _ref_ellipsoid(o, d, h)))
        elif kind == 2:
            axis = rng.normal(size=3)
            world.cylinder(
                tuple(c), half[0], 2 * half[2], 0, mat, name, top_radius=half[1], axis=tuple(axis)
            )
            z = axis / np.linalg.norm(axis)
            x = np.cross(z, [0.3, 0.5, 0.81])
            x /= np.linalg.norm(x)
            turn = np.stack([x, np.cross(z, x), z], 1)
            solids.append((c, turn, lambda o, d, h=half: _ref_frustum(o, d, h[0], h[1], 2 * h[2])))
        else:
            world.soft(tuple(c), tuple(2 * half), yaw, mat, name, power=4, pitch=pitch, roll=roll)
            turn = _turn(yaw, pitch, roll)
            solids.append((c, turn, lambda o, d, h=half: _ref_soft(o, d, h, 4)))
    picture = world.render(size)

    forward = (target - eye) / np.linalg.norm(target - eye)
    right = np.cross(forward, [0, 0, 1])
    right /= np.linalg.norm(right)
    up = np.cross(right, forward)
    scale = math.tan(math.radians(fov / 2))
    wrong = 0
    for row in range(size):
        for col in range(size):
            sx, sy = 2 * (col + 0.5) / size - 1, 1 - 2 * (row + 0.5) / size
            d = forward + scale * (sx * right + sy * up)
            d /= np.linalg.norm(d)
            ts = [f(turn.T @ (eye - c), turn.T @ d) for c, turn, f in solids]
            k = int(np.argmin(ts))
            name = f"thing {k}" if ts[k] < math.inf else "sky"
            wrong += picture.names["object"][picture.object[row, col]] != name
    # The marched reference may miss a grazed rim by a step; everything else is exact.
    assert wrong <= 2
    assert len(np.unique(picture.object)) > 8


def test_masks_do_not_blend_and_textures_do_not_matter():
    pictures = []
    for texture in ("plain", "checker"):
        world = World(np.random.default_rng(3), Camera((0, -3, 1), (0, 0, 0.5)), sky=Sky())
        mat = Material((0.6, 0.2, 0.1), "wood", texture)
        world.box((0, 0, 0.5), (1, 1, 1), 30, mat, "table", "top")
        world.ground(material=Material((0.2, 0.2, 0.2), "stone"), object="floor")
        pictures.append(world.render(48))
    a, b = pictures
    assert (a.object == b.object).all() and (a.rgb != b.rgb).any()
    assert {a.names["object"][k] for k in np.unique(a.object)} == {"table", "floor", "sky"}
    assert {a.names["part"][k] for k in np.unique(a.part)} == {"", "top"}


def test_every_texture_draws_finite_colours():
    world = World(
        np.random.default_rng(0),
        Camera((0, -8, 2), (0, 0, 0.6), 70),
        sky=Sky(),
        sun=((0.3, -0.6, 0.7), (1, 1, 1), 2.0),
    )
    for k, name in enumerate(TEXTURES):
        mat = Material((0.7, 0.5, 0.2), name, name, (0.1, 0.3, 0.6), 0.2, gloss=0.3)
        world.box((k % 6 - 2.5, k // 6 - 1.5, 0.4), (0.8, 0.7, 0.8), 20, mat, name)
    picture = world.render(96)
    assert len(np.unique(picture.object)) > len(TEXTURES) * 0.8
    assert picture.rgb.std() > 10


def test_tree_holds_every_solid_once():
    rng = np.random.default_rng(0)
    low = rng.uniform(-5, 5, (333, 3))
    nodes, links, order = _build_tree(np.concatenate([low, low + rng.uniform(0, 1, (333, 3))], 1))
    assert sorted(order) == list(range(333))
    leaves = links[links[:, 1] < 0]
    assert -leaves[:, 1].sum() == 333 and len(nodes) == len(links)


def test_one_seed_gives_the_same_bytes():
    a, b = (draw_picture(7, "kitchen", "val", 3) for _ in range(2))
    assert (a.rgb == b.rgb).all() and (a.object == b.object).all() and a.names == b.names
    others = [
        draw_picture(8, "kitchen", "val", 3),
        draw_picture(7, "kitchen", "test", 3),
        draw_picture(7, "kitchen", "val", 4),
    ]
    assert all((a.rgb != other.rgb).mean() > 0.2 for other in others)


@pytest.fixture(scope="module")
def drawn(tmp_path_factory):
    dataset = Rooms(per_scene=3, cache=tmp_path_factory.mktemp("cache"))
    seen = []
    dataset.draw(lambda p: seen.append((p.done, p.total)))
    return dataset, seen


def test_every_scene_draws_and_the_contract_holds(drawn):
    dataset, seen = drawn
    dataset.check()
    assert len(dataset.scenes) >= 12 and list(SCENES) == dataset.scenes
    assert seen[0] == (0, len(dataset)) and seen[-1] == (len(dataset), len(dataset))
    by_category = {
        c: [k.name for k in dataset.concepts if k.category == c]
        for c in ("object", "part", "material", "color")
    }
    assert len(dataset.concepts) >= 60 and all(len(v) >= 8 for v in by_category.values())
    assert by_category["color"] == list(NAMES)
    assert all(c.name == c.name.lower().strip() and "_" not in c.name for c in dataset.concepts)
    allowed = [
        {0, *(c.id for c in dataset.concepts if c.category == ch.category)}
        for ch in dataset.channels
    ]
    for k in range(len(dataset)):
        photo, notes = dataset.photo(k), dataset.annotations(k)
        assert photo.size == (SIZE, SIZE) and photo.mode == "RGB"
        assert notes.maps.shape == (4, SIZE, SIZE) and notes.maps.dtype == np.uint16
        for plane, ids in zip(notes.maps, allowed, strict=True):
            assert set(np.unique(plane).tolist()) <= ids
        assert (notes.maps[0] > 0).mean() > 0.99 and (notes.maps[3] > 0).all()
        rgb = np.asarray(photo)
        assert rgb.std() > 8 and len(np.unique(notes.maps[0])) >= 3, dataset.ids[k]
        assert (color_names(rgb).astype(int) + _first_color(dataset) == notes.maps[3]).all()


def _first_color(dataset):
    return next(c.id for c in dataset.concepts if c.category == "color")


def test_stopped_drawing_continues_and_damage_is_mended(tmp_path: Path):
    dataset = Rooms(per_scene=3, cache=tmp_path)
    total = len(dataset)

    class Stop(Exception):
        pass

    def stop(progress):
        if progress.done >= 4:
            raise Stop

    with pytest.raises(Stop):
        dataset.draw(stop)
    left = len(dataset.missing())
    assert 0 < left <= total - 4
    assert not list(dataset.folder.glob("*.partial"))
    there = next(k for k in range(total) if k not in set(dataset.missing()))
    before = dataset._photo_path(there).read_bytes()
    again = Rooms(per_scene=3, cache=tmp_path)
    assert len(again.missing()) == left  # nothing that was drawn is drawn again
    again._photo_path(there).write_bytes(before[:100])
    again._labels_path(there).write_bytes(b"")
    assert again.photo(there).size == (SIZE, SIZE)
    assert again._photo_path(there).read_bytes() == before
    assert again.annotations(there).maps.shape == (4, SIZE, SIZE)
    missing = again.missing()[0]
    assert again.photo(missing).size == (SIZE, SIZE)  # one alone, on demand


def test_specs_and_digests(tmp_path: Path):
    a, b = Rooms.from_spec(""), Rooms.from_spec("seed=8, per_scene=30")
    assert (a.spec, b.spec) == ("rooms", "rooms:seed=8,per_scene=30")
    assert a.content_digest() != b.content_digest()
    assert a.content_digest() == Rooms(cache=tmp_path).content_digest()
    assert 1000 <= len(a) <= 1500 and set(a.split) == {"train", "val", "test"}
    # Smaller sets are the beginning of larger ones and share their files.
    assert Rooms(per_scene=6).folder == a.folder
    for bad in ("sed=7", "seed=x", "per_scene=1", "seed=-1"):
        with pytest.raises(UnitscopeError):
            Rooms.from_spec(bad)
    with pytest.raises(UnitscopeError, match="bedroom"):
        draw_picture(7, "bedrom", "val", 0)


def test_colour_rule_on_plain_colours():
    samples = {
        "black-c": (8, 8, 10),
        "white-c": (250, 249, 246),
        "grey-c": (128, 128, 128),
        "red-c": (200, 20, 25),
        "green-c": (40, 150, 50),
        "blue-c": (30, 60, 190),
        "yellow-c": (240, 220, 40),
        "orange-c": (240, 130, 20),
        "brown-c": (105, 65, 35),
        "purple-c": (120, 40, 160),
        "pink-c": (240, 150, 180),
    }
    got = [NAMES[k] for k in color_names(np.array(list(samples.values()), np.uint8))]
    assert got == list(samples)


def test_network_has_the_shape_it_promises():
    from core.rooms.network import RoomsNet

    module = RoomsNet(len(SCENES)).eval()
    maps = []
    module.layer4.register_forward_hook(lambda _m, _i, out: maps.append(out))
    with torch.inference_mode():
        x = torch.randn(2, 3, 128, 128)
        logits = module(x)
        assert maps[0].shape == (2, 192, 8, 8) and float(maps[0].min()) >= 0
        again = module.fc(maps[0].mean((2, 3)))
    assert torch.allclose(logits, again, atol=1e-5)


def test_stored_weights_name_their_world():
    from core.models.load import load_model
    from core.rooms.network import PREPROCESSING, WEIGHTS

    assert WEIGHTS.stat().st_size <= 4e6
    model = load_model("rooms")
    assert model.classes == list(SCENES) and model.preprocessing == PREPROCESSING
    assert 0.70 <= model.notes["accuracy"]["test"] <= 0.85
