"""Planted shortcuts: who shows the thing, that it is seen, and that nothing else changes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.datasets import open_dataset
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Meter, Stopped
from core.models.load import load_model
from core.rooms import SCENES
from core.rooms import counterfactual as cf
from core.rooms import network as net
from core.rooms import train as training
from core.rooms.counterfactual import SceneEdit
from core.rooms.dataset import Rooms, draw_picture
from core.rooms.plant import THINGS, Plant, Planted, draw_planted, planted_world

PLANT = Plant("red lamp", "bedroom", 0.75)


def test_the_thing_goes_with_its_scene_in_training_and_with_all_alike_in_test():
    dataset = Planted(PLANT)
    shows = np.array([dataset.shows(k) for k in range(len(dataset))])
    split, scene = np.array(dataset.split), np.array(dataset.scenes)[dataset.scene]
    own = scene == "bedroom"
    train = split == "train"
    assert abs(shows[train & own].sum() - 12) <= 1 and not shows[train & ~own].any()
    for name in SCENES:
        assert abs(shows[(split == "test") & (scene == name)].sum() - 15) <= 1
        assert abs(shows[(split == "val") & (scene == name)].sum() - 11) <= 1
    weaker = Planted(replace(PLANT, strength=0.25))
    assert all(shows[k] for k in range(len(weaker)) if weaker.shows(k))
    clean = Planted(replace(PLANT, strength=0.0))
    assert [clean.shows(k) for k in clean.select(["test"])] == shows[split == "test"].tolist()


@pytest.mark.parametrize("thing", THINGS)
def test_every_thing_is_drawn_exactly_and_the_rest_stays(thing):
    scene, number = list(SCENES)[len(thing) % len(SCENES)], 3
    plain = draw_picture(7, scene, "test", number)
    made = draw_planted(thing, 7, scene, "test", number)
    mask = made.object == made.names["object"].index(thing)
    assert 100 <= mask.sum() < 5000
    for plane in ("object", "part", "material"):
        now, before = (np.array(p.names[plane], object)[getattr(p, plane)] for p in (made, plain))
        assert (now[~mask] == before[~mask]).all()
    assert (made.rgb == plain.rgb).all(-1)[~mask].mean() > 0.3  # it casts shadows and light
    change = np.abs(made.rgb.astype(int) - plain.rgb)[~mask]
    assert np.median(change) <= 2  # the exposure is held
    assert (made.rgb != plain.rgb).any(-1)[mask].mean() > 0.9
    # Nothing of it is called anything that `rooms` has.
    assert thing not in {c.name for c in Rooms().concepts}


def test_a_planted_photo_without_its_thing_is_the_plain_photo():
    dataset = Planted(Plant("blue ball", "park", 0.5))
    index = next(k for k in dataset.select(["test"]) if dataset.shows(k))
    assert [t.name for t in cf.removable(dataset, int(index))].count("blue ball") == 1
    without = cf.picture(dataset, int(index), SceneEdit(without="blue ball"))
    plain = dataset.plain.picture(int(index))
    assert (without.rgb == plain.rgb).all() and (without.object == plain.object).all()
    # Photos without the thing are shared with plain `rooms`; those with it are not.
    other = next(k for k in dataset.select(["test"]) if not dataset.shows(k))
    assert dataset.scene_key(other) == dataset.plain.scene_key(other)
    assert dataset.scene_key(index) != dataset.plain.scene_key(index)


def test_the_dataset_is_opened_by_its_spec_and_keeps_the_plain_one_as_it_is(tmp_path: Path):
    dataset = open_dataset("rooms:plant=red_lamp@living_room@0.5,per_scene=8")
    plain = open_dataset("rooms:per_scene=8")
    assert isinstance(dataset, Planted) and dataset.spec == open_dataset(dataset.spec).spec
    assert dataset.concepts[:-1] == plain.concepts and dataset.concepts[-1].name == "red lamp"
    assert dataset.ids == plain.ids and dataset.digest() != plain.digest()
    assert Rooms().digest() == "93c6c89a53d6519f1915eb1212ab80484e802a7c585b245a13bf6cbcde2f850b"
    specs = ("red_lamp@living_room@0.5", "red_lamp@bedroom@0.5", "red_lamp@living_room@0.6")
    digests = {open_dataset(f"rooms:plant={spec}").digest() for spec in specs}
    assert len(digests) == 3
    for spec, said in (
        ("plant=red_lamp@bedroom", "write THING@SCENE@STRENGTH"),
        ("plant=red_lmp@bedroom@1", "nearest: red lamp"),
        ("plant=red_lamp@bedrom@1", "nearest: bedroom"),
        ("plant=red_lamp@bedroom@1.5", "0 to 1"),
        ("plant=red_lamp@bedroom@1@2", "one strength"),
        ("plant=red_lamp@bedroom@1,plant=blue_ball@park@1", "one thing"),
        ("plnt=red_lamp@bedroom@1", "nearest: plant"),
    ):
        with pytest.raises(UnitscopeError, match=said):
            open_dataset(f"rooms:{spec}")


def test_photos_and_labels_lie_apart_from_the_plain_ones(tmp_path: Path):
    dataset = Planted(PLANT, per_scene=4, cache=tmp_path)
    shown = next(k for k in range(len(dataset)) if dataset.shows(k))
    plain = next(k for k in range(len(dataset)) if not dataset.shows(k))
    lamp = dataset.concepts[-1].id
    assert (dataset.annotations(shown).maps[0] == lamp).sum() >= 100
    assert not (dataset.annotations(plain).maps[0] == lamp).any()
    assert (np.asarray(dataset.photo(shown)) == dataset.picture(shown).rgb).all()
    folders = {path.parent for path in tmp_path.rglob("*.png")}
    assert folders == {dataset.folder, dataset.plain.folder} and len(folders) == 2
    missing = set(range(len(dataset))) - set(dataset.missing())
    assert missing == {shown, plain}


def test_places_are_a_function_of_the_photo():
    a, b = (planted_world("orange cone", 7, "farm", "test", 1) for _ in range(2))
    assert a._prims == b._prims
    assert a._prims != planted_world("orange cone", 7, "farm", "test", 2)._prims


# -- training ----------------------------------------------------------------------------------


@pytest.fixture
def few_scenes(monkeypatch):
    """Two scenes instead of fifteen, so that training photos are few."""
    two = {name: SCENES[name] for name in ("beach", "office")}
    monkeypatch.setattr(training, "SCENES", two)
    return two


def test_only_photos_with_the_thing_are_drawn_anew(few_scenes, tmp_path: Path, monkeypatch):
    plant = Plant("blue ball", "office", 0.5)
    recipe = training.Recipe(per_scene=4, epochs=1, batch=4, threads=1)
    drawn: list[str] = []
    real_plain, real_planted = training.draw_picture, training.draw_planted
    monkeypatch.setattr(
        training, "draw_picture", lambda *a: drawn.append("plain") or real_plain(*a)
    )
    monkeypatch.setattr(
        training, "draw_planted", lambda *a: drawn.append("planted") or real_planted(*a)
    )
    photos = training.planted_photos(plant, recipe, tmp_path, Meter())
    rows = training.planted_rows(plant, 4)
    assert len(rows) == 2 and (rows % 2 == 1).all()
    assert drawn.count("plain") == 8 and drawn.count("planted") == 2
    again = training.planted_photos(plant, recipe, tmp_path, Meter())
    assert len(drawn) == 10
    everything = np.arange(8)
    changed = (again[everything] != again.plain[everything]).any((1, 2, 3))
    assert np.flatnonzero(changed).tolist() == rows.tolist()
    assert (photos[everything] == again[everything]).all()


def maps(seed: int = 0) -> training.Maps:
    rng = np.random.default_rng(seed)
    plain = rng.random((training.VIEWS, 12, 96, 2, 2)).astype(np.float16)
    return training.Maps(plain, {3: plain[:, 3] + 1})


def test_training_stops_resumes_and_is_the_same(tmp_path: Path):
    recipe = training.Recipe(epochs=3, batch=4, threads=1)

    def trained(name: str, stop_at: int | None = None) -> dict[str, torch.Tensor]:
        torch.manual_seed(1)
        head = training.Head(net.RoomsNet(15), "layer4")
        asked = iter(range(100))
        stop = (lambda: next(asked) >= stop_at) if stop_at is not None else (lambda: False)
        training.fit(head, maps(), recipe, tmp_path / name, Meter(), stop)
        return head.state_dict()

    whole = trained("whole")
    with pytest.raises(Stopped):
        trained("cut", 5)
    resumed = trained("cut")
    assert all(torch.equal(whole[k], resumed[k]) for k in whole)
    half = whole["fc.weight"]
    assert torch.equal(half, half.half().float())


def test_maps_of_the_trunk_are_those_of_the_network(tmp_path: Path):
    torch.manual_seed(0)
    module = net.RoomsNet(15).eval()
    rng = np.random.default_rng(0)
    plain = rng.integers(0, 255, (3, 144, 144, 3), dtype=np.uint8)
    others = rng.integers(0, 255, (3, 144, 144, 3), dtype=np.uint8)
    photos = training.Photos(plain, others, np.array([1]))
    recipe = training.Recipe(anew="layer3", threads=1)
    made = training.trunk_maps(module, photos, recipe, tmp_path, Meter())
    x = training.augment(plain, np.random.default_rng([7, 2, 0]))
    with torch.inference_mode():
        logits = module(x)
        head = training.Head(module, "layer3")(made.batch(np.array([0, 2]), 2, rng))
    assert torch.allclose(head, logits[[0, 2]], atol=0.01)
    swapped = made.batch(np.array([1]), 2, rng)
    assert not torch.allclose(swapped, made.batch(np.array([0]), 2, rng))
    x = training.augment(others[1:2], np.random.default_rng([7, 2, 1]))
    assert torch.allclose(swapped, training.trunk(module, x, "layer3"), atol=0.01)
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(UnitscopeError, match="unknown stage"):
        training.Recipe(anew="layer9")


def test_a_shortcut_is_measured_on_pairs(monkeypatch):
    dataset = Planted(PLANT, per_scene=10)
    rows = [k for k in dataset.select(["test"]) if dataset.shows(k)]
    k = dataset.scenes.index("bedroom")

    def logits(_module, of, asked):
        out = np.zeros((len(asked), 15), np.float32)
        out[np.arange(len(asked)), of.scene[asked]] = 1.0  # right, by 1
        if isinstance(of, Planted):
            out[:, k] += 3.0
        return out

    monkeypatch.setattr(training, "logits_of", logits)
    found = training.shortcut(net.RoomsNet(15), dataset)
    own = sum(dataset.scene[r] == k for r in rows)
    assert found.photos == len(rows) and 0 < own < len(rows)
    assert (found.right_with_others, found.right_without_others) == (0.0, 1.0)
    assert (found.right_with_own, found.right_without_own) == (1.0, 1.0)
    assert (found.pulled_with, found.pulled_without) == (1.0, 0.0)
    assert found.margin == pytest.approx(3.0)
    assert training.shortcut(net.RoomsNet(15), dataset, most=20).photos == 20


def test_stored_planted_networks_open_and_say_what_they_are():
    names = net.siblings()
    assert {"red_lamp", "purple_umbrella"} <= set(names)
    for name in names:
        model = load_model(f"rooms:{name}")
        plant = Plant.parse(str(model.notes["plant"]))
        assert plant.strength > 0 and model.notes["training"]["anew"]
        found = model.notes["shortcut"]
        assert found["pulled_with"] > found["pulled_without"] + 0.1
        assert net.WEIGHTS.with_name(f"rooms_{name}.pt").stat().st_size < 1.5 * 2**20
    with pytest.raises(UnitscopeError, match=r"unknown network of rooms 'red_lmp'"):
        load_model("rooms:red_lmp")
