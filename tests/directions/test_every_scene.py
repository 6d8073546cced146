"""ACE of every scene, as concepts that photos show: by loops, in the planted world."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from core.directions import ace as module
from core.directions import every_scene as whole
from core.directions.ace import Asked
from core.directions.every_scene import EveryScene, asked_before, every_scene
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.paper import rivals

pytest.importorskip("skimage")

FEW = Asked(images=12, clusters=5, members=5, runs=4, of="probability")


@pytest.fixture(autouse=True, scope="module")
def quick():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SEGMENTS", (8, 16))
        patch.setattr(module, "RANDOMS", 4)
        patch.setattr(module, "RANDOM_SEGMENTS", 30)
        yield


@pytest.fixture(scope="module")
def found(opened) -> EveryScene:
    return every_scene(opened, FEW)


def test_a_place_shows_the_concept_whose_middle_is_nearest(found, opened):
    images = opened.recorded.numbers[[3, 40, 80]]
    seen = found.seen(images)
    every = [middle for one in found.scenes for middle in one.centres.astype(np.float64)]
    for row, number in enumerate(images):
        maps = np.asarray(opened.run.array(f"maps-{found.layer.name}")[number], np.float64)
        expected = set()
        for y in range(maps.shape[1]):
            for x in range(maps.shape[2]):
                place = maps[:, y, x]
                if np.linalg.norm(place) > 0:
                    cosines = [place @ m / np.linalg.norm(m) for m in every]
                    expected.add(int(np.argmax(cosines)))
        assert set(np.flatnonzero(seen[row])) == expected
    assert seen.any(0).sum() > 1


def test_learned_concepts_are_the_names_of_what_is_seen(found):
    learned = found.learned()
    row = 7
    names = set(found.names[found.seen(learned.images[[row]])[0]]) - {0}
    has = set(learned.has[[row]].toarray()[0].nonzero()[0] + 1)
    assert has == names and learned.strategy == "ACE"


def test_core_concepts_are_the_best_that_speak_for_the_scene(found):
    core = found.core()
    scenes = found.run.sql("SELECT name FROM scenes ORDER BY scene")["name"].tolist()
    for one in found.scenes:
        said = {c.name for c in one.concepts if c.score > 0.5 and c.name}
        members = np.flatnonzero(core[scenes.index(one.scene)])
        assert {found.learned().concepts[k] for k in members} == said  # fewer than ten here
    assert core.any()
    first = found.scenes[0]
    many = [
        replace(first.concepts[0], number=k, name=name, score=score, segments=segments)
        for k, (name, score, segments) in enumerate(
            [("red", 0.9, 5), ("green", 0.9, 9), ("blue", 0.4, 99), ("", 1.0, 9)]
        )
    ]
    one = replace(first, concepts=tuple(many), centres=np.zeros((4, found.centres.shape[1])))
    few = EveryScene(found.layer, (one,), {})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(whole, "TOP", 1)
        at = scenes.index(first.scene)
        assert [found.learned().concepts[k] for k in np.flatnonzero(few.core()[at])] == ["green"]


def test_what_was_asked_is_read(found, opened, monkeypatch):
    assert asked_before(opened, FEW) and not asked_before(opened, replace(FEW, seed=5))
    monkeypatch.setattr(module._Work, "found", None)
    again = every_scene(opened, FEW)
    assert [one.scene for one in again.scenes] == [one.scene for one in found.scenes]
    assert np.array_equal(again.centres, found.centres)
    rival = rivals.by_ace(again)
    assert rival.name == "ACE" and "TCAV score above 1/2 on test photos" in rival.note


def test_a_scene_without_enough_is_left_out_and_remembered(opened, monkeypatch):
    def some(opened, scene, asked, progress, stop):
        if scene == "attic":
            raise UnitscopeError("too few photos")
        return module.ace(opened, scene, FEW, progress, stop)

    other = replace(FEW, seed=3)
    monkeypatch.setattr(whole, "ace", some)
    assert every_scene(opened, other).left_out == {"attic": "too few photos"}
    asked = []
    monkeypatch.setattr(whole, "ace", lambda *given: asked.append(given[1]) or some(*given))
    again = every_scene(opened, other)
    assert again.left_out == {"attic": "too few photos"} and "attic" not in asked
    assert "says nothing of attic" in rivals.by_ace(again).note


def test_nothing_of_any_scene_and_a_stop_are_said(opened, monkeypatch):
    def never_any(*given):
        raise UnitscopeError("no segments")

    monkeypatch.setattr(whole, "ace", never_any)
    with pytest.raises(UnitscopeError, match=r"nothing of any scene: .*attic: no segments"):
        every_scene(opened, replace(FEW, seed=4))

    def stopped(*given):
        raise Stopped("stopped")

    monkeypatch.setattr(whole, "ace", stopped)
    with pytest.raises(Stopped):
        every_scene(opened, replace(FEW, seed=4))
    assert not asked_before(opened, replace(FEW, seed=4))
