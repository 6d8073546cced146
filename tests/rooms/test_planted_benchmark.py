"""The benchmark of planted shortcuts: verdicts on rankings, counts, and going on after a stop."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks import planted as bench
from benchmarks.planted import Photos, Ranked, judge, measure, summary, table
from core.rooms.dataset import SCENES
from core.rooms.plant import Plant
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
    monkeypatch.setattr(bench, "_train", lambda plant, out, progress: trained.append(str(plant)))
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

    worlds = (PLANT, Plant("blue ball", "park", 0.25))
    photos, out = Photos(tmp_path, 2), tmp_path / "out.json"
    measure(photos, rank, worlds[:1], out)
    kept = measure(photos, rank, worlds, out)
    assert trained.count(str(PLANT)) == 1 and trained.count(str(worlds[1])) == 1
    assert kept["summary"] == summary(kept["worlds"])
    told = kept["summary"]
    assert (told["worlds"], told["first"], told["flagged"], told["false_alarms"]) == (2, 1, 1, 0)
    assert told["missed"] == ["blue_ball@park@0.25"] and told["first_of_strong"] == 1
    assert "blue_ball@park@0.25" in table(kept)
