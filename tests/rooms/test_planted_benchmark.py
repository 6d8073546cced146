"""The benchmark of planted shortcuts: verdicts on rankings, counts, and going on after a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import planted as bench
from benchmarks.planted import (
    Photos,
    Ranked,
    Trained,
    by_redrawing,
    by_reliance,
    judge,
    measure,
    ranking,
    summary,
    table,
)
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import interval
from core.foundation.settings import ROOT
from core.rooms.dataset import SCENES
from core.rooms.plant import Plant, Planted
from core.rooms.train import Shortcut

PLANT = Plant("red lamp", "bedroom", 0.95)


def test_a_verdict_is_of_the_plants_scene_and_leaves_core_concepts_out():
    ranked = [
        Ranked("bedroom", "bed", 3.0, False),
        Ranked("bedroom", "red lamp", 1.5, True),
        Ranked("bedroom", "rug", 0.4, True),
        Ranked("kitchen", "red lamp", 9.0, False),
    ]
    found = judge(ranked, PLANT, core={"bed"})
    assert (found.place, found.among_others, found.concepts) == (2, 1, 3)
    assert found.flagged and found.also_flagged == 1 and (found.score, found.next) == (1.5, 0.4)
    untold = judge(ranked[:1], PLANT, core={"bed"})
    assert untold.place == 2 and not untold.flagged and np.isnan(untold.score)


class Views:
    """Photos in which the brightness is the first scene's margin: without the bed darker by 60."""

    seed = 7

    def removed(self):
        bed = [
            (["", "bed"], np.stack([np.full((2, 2, 3), level) for level in (100 + k, 40 + 2 * k)]))
            for k in range(bench.FEW)
        ]
        return [*bed, (["", "rug"], np.full((2, 2, 2, 3), 100))]

    def planted(self, thing):
        levels = 130 + np.arange(bench.FEW + 1)
        return np.tile(levels[:, None, None, None], (1, 2, 2, 3))


class Judged:
    """A network whose margins are read off the photos."""

    module, photos = None, Views()
    dataset = type("D", (), {"plant": PLANT})()


def test_the_plain_ranking_is_the_mean_change_of_margins(monkeypatch):
    def margins(_module, views):
        out = np.zeros((len(views), len(SCENES)))
        out[:, 0] = views.reshape(len(views), -1).mean(1)
        return out

    monkeypatch.setattr(bench, "_margins", margins)
    monkeypatch.setattr(bench, "_core", lambda seed: {scene: {"bed"} for scene in SCENES})
    ranked = {(r.scene, r.concept): r for r in bench.by_redrawing(Judged())}
    first = next(iter(SCENES))
    assert ranked[first, "bed"].score == pytest.approx(60 - (bench.FEW - 1) / 2)
    assert not ranked[first, "bed"].flagged  # core
    assert ranked[first, "red lamp"].flagged and ranked[first, "red lamp"].score > 20
    assert (first, "rug") not in ranked  # one photo is too few
    assert not any(r.flagged for (scene, _), r in ranked.items() if scene != first)


def test_a_stopped_benchmark_goes_on(monkeypatch, tmp_path: Path):
    trained: list[str] = []

    def train(plant, out, progress):
        assert out.parent.is_dir(), "the folder is made before anything is trained into it"
        trained.append(str(plant))

    monkeypatch.setattr(bench, "_train", train)
    monkeypatch.setattr(bench, "_core", lambda seed: {scene: set() for scene in SCENES})
    monkeypatch.setattr(bench, "shortcut", lambda module, dataset: Shortcut(1, *[0.5] * 7))
    monkeypatch.setattr(bench.Trained, "module", None)
    monkeypatch.setattr(Photos, "removed", lambda self, progress=None: [])
    monkeypatch.setattr(Photos, "planted", lambda self, thing, progress=None: np.zeros(0))

    def rank(trained):
        thing = trained.dataset.plant.thing
        strong = "clean" not in trained.weights.name and trained.dataset.plant.strength > 0.3
        return [
            Ranked(trained.dataset.plant.scene, thing, 2.0 if strong else 0.0, strong),
            Ranked(trained.dataset.plant.scene, "rug", 1.0, False),
        ]

    worlds = (PLANT, Plant("blue ball", "park", 0.25), Plant("blue ball", "park", 0.1))
    photos, out = Photos(tmp_path / "new", 2), tmp_path / "out.json"
    measure(photos, rank, worlds[:1], out)
    kept = measure(photos, rank, worlds, out)
    assert trained.count(str(PLANT)) == 1 and trained.count(str(worlds[1])) == 1
    assert kept["summary"] == summary(kept["worlds"])
    told = kept["summary"]
    assert (told["worlds"], told["first"], told["flagged"], told["false_alarms"]) == (3, 1, 1, 0)
    assert told["missed"] == ["blue_ball@park@0.25", "blue_ball@park@0.1"]
    assert told["first_of_strong"] == 1 and told["first_95"] == interval(1, 3)
    assert "blue_ball@park@0.25" in table(kept)


def test_the_clean_network_is_counted_once_for_each_thing_and_scene():
    """It is the same network in all worlds, whatever the strength of the plant."""

    def world(scene, flagged, alarms):
        verdict = {"among_others": 1, "flagged": flagged}
        told = {"verdict": verdict, "alarms": alarms, "scenes": ["bedroom", "kitchen", "park"]}
        return {"planted": {"verdict": {"among_others": 1, "flagged": True}}, "clean": told}

    worlds = {
        "red_lamp@bedroom@0.95": world("bedroom", True, ["bedroom", "kitchen"]),
        "red_lamp@bedroom@0.5": world("bedroom", True, ["bedroom", "kitchen"]),
        "blue_ball@park@0.5": world("park", False, ["kitchen"]),
    }
    told = summary(worlds)
    assert (told["pairs"], told["false_alarms"]) == (2, 1)
    assert (told["scenes"], told["false_alarms_any_scene"]) == (6, 3)
    assert told["false_alarms_95"] == interval(1, 2) and told["flagged_95"] == interval(3, 3)


def test_a_concept_told_apart_by_its_category_is_core_by_its_name():
    ranked = [
        Ranked("bedroom", "wood (material)", 3.0, False),
        Ranked("bedroom", "red lamp", 1.0, True),
    ]
    assert judge(ranked, PLANT, core={"wood"}).among_others == 1
    assert judge(ranked, PLANT, core={"would"}).among_others == 2


def test_rankings_go_by_name():
    assert ranking("redrawing") is ranking("benchmarks.planted:by_redrawing") is by_redrawing
    assert ranking("reliance") is by_reliance
    with pytest.raises(UnitscopeError, match="unknown attribution method 'evidance'; nearest"):
        ranking("evidance")


@pytest.mark.slow
def test_rankings_of_a_run_find_the_umbrella(tmp_path: Path):
    """By the stored network that answers "bathroom" by it; areas by a plain loop."""
    weights = ROOT / "data" / "rooms_purple_umbrella.pt"
    plant = Plant("purple umbrella", "bathroom", 0.95)
    trained = Trained(weights, Planted(plant), Photos(tmp_path, 2, per_scene=8))
    core = bench._core(7)["bathroom"]
    for name in ("reliance", "evidence"):
        ranked = ranking(name)(trained)
        assert judge(ranked, plant, core).among_others == 1, name
    opened, areas = trained.opened, {}
    for image in opened.recorded.numbers.tolist():
        regions = opened.case(image).regions
        for concept, mask in zip(regions.names, regions.masks, strict=True):
            areas.setdefault(concept, []).append(mask.sum() / mask.size)
    told = {r.concept.partition(" (")[0]: r for r in ranking("area")(trained)}
    umbrella = told["purple umbrella"]
    assert umbrella.scene == "bathroom" and len(areas["purple umbrella"]) > 15
    assert umbrella.score == pytest.approx(np.mean(areas["purple umbrella"]))
    assert umbrella.flagged and not any(r.flagged for c, r in told.items() if c in core)
