"""Planted shortcuts: does a ranking of what scenes rest on find them, and only them?

    python -m benchmarks.planted [--folder cache/planted] [--worlds 14] [--photos 12]
                                 [--rank RANKING] [--out results.json]

For each of :data:`WORLDS` the small network is trained where a thing goes with a scene in a share
of the training photos (:func:`core.rooms.train.train_planted`: layer4 and the classifier are
trained anew on the embedded network's layer3), and once where no thing goes with anything, the
clean control. A ranking then says of (scene, concept) how much the scene's answer rests on the
concept; see :data:`Ranking`. Told is for every world the place of the planted thing among the
concepts of its scene, and among those that are no core concepts of it (SCC by the built-in
knowledge); whether the ranking flags it; and the same of the clean control, where a flag is a
false alarm.

The ranking here, :func:`by_redrawing`, is the plainest there is: the concept is taken out of test
photos by drawing them again, and the change of the scene's margin (its logit minus the largest
other), less the median change over all scenes, is averaged over all photos that show it, of
whatever scene. Concepts seen in fewer than :data:`FEW` photos are left out. It flags what is no
core concept, moves the margin by more than :data:`LEAST`, and whose mean change is above 0 by a
one-sided t-test at a false discovery rate of 5 % (Benjamini and Hochberg, over all scenes and
concepts of a network). Without the median, a first look at 15 photos flagged a purple umbrella in
8 of 15 scenes of a clean network: a strange thing unsettles it. With it, in none.

``--rank reliance`` is the program's own (:func:`by_reliance`), ``--rank METHOD`` an attribution
method of the test of truth: the paper's account, evidence and the others (:func:`by_method`). Both
read a run of the network on the test photos, half of which show the thing. ``--rank
module:function`` is any other.

Photos, networks and results are kept in the folder, so that a run that was stopped goes on. The
results are one JSON file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property, partial
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import sparse, stats

from core.attribution.accounts import core_of
from core.attribution.case import Opened
from core.attribution.chance import false_discoveries
from core.attribution.measured import Asked, measure_splits, told_apart
from core.attribution.methods import EVIDENCE, GRADIENTS, MEASURED, METHODS
from core.attribution.regions import NoRegion
from core.attribution.reliance import reliance
from core.foundation.files import strict_json, write_text
from core.foundation.intervals import interval
from core.foundation.progress import Meter, Report
from core.foundation.settings import ROOT
from core.foundation.trust import allow_python
from core.knowledge.core_concepts import Annotated, related_concepts, scoping_core_concepts
from core.knowledge.kinds import open_knowledge
from core.rooms.counterfactual import Scene, SceneEdit, drawn_again, removable
from core.rooms.dataset import SCENES, Rooms
from core.rooms.drawing.tracer import Picture
from core.rooms.network import PREPROCESSING, RoomsNet, load
from core.rooms.plant import Plant, Planted, draw_planted
from core.rooms.train import shortcut, train_planted

PLANTS = (
    "red_lamp@bedroom@0.95",
    "blue_ball@park@0.95",
    "yellow_crate@kitchen@0.95",
    "purple_umbrella@street@0.95",
    "green_balloon@office@0.95",
    "orange_cone@harbor@0.95",
    "red_lamp@bedroom@0.5",
    "red_lamp@bedroom@0.25",
    "red_lamp@bedroom@0.1",
    "blue_ball@park@0.5",
    "blue_ball@park@0.25",
    "yellow_crate@forest@0.95",
    "purple_umbrella@library@0.95",
    "green_balloon@bathroom@0.75",
)
WORLDS = tuple(Plant.parse(text) for text in PLANTS)
CLEAN = Plant("red lamp", "bedroom", 0.0)
"""Strength 0: the training set is the plain one, whatever the thing."""

FEW = 5
PIXELS = 100
"""Pixels of a photo that must show a concept for it to be taken out."""

LEAST = 0.25
"""Change of a margin, in logits, below which nothing is flagged."""

IN_LOGITS = (MEASURED, EVIDENCE, GRADIENTS)
"""Families of attribution methods whose importances are logits, so that :data:`LEAST` applies."""


@dataclass(frozen=True)
class Ranked:
    """What a ranking says of a scene and a concept. score : larger rests on it more. flagged :
    whether it is called a shortcut."""

    scene: str
    concept: str
    score: float
    flagged: bool


@dataclass(frozen=True)
class Trained:
    """A network to be judged. weights : its file, also ``python:core.rooms.network:load:FILE``.
    dataset : the planted set, with a test split in which every scene has the thing alike."""

    weights: Path
    dataset: Planted
    photos: Photos

    @cached_property
    def module(self) -> RoomsNet:
        module, _ = load(self.weights)
        assert isinstance(module, RoomsNet)
        return module.eval()

    @cached_property
    def opened(self) -> Opened:
        """The network dissected on test photos of which half show the thing, for rankings that
        read a run. They are the same photos for every world with that thing."""
        from core.api import make_run

        allow_python()
        plain = Plant(self.dataset.plant.thing, next(iter(SCENES)), 0.0)
        run = make_run(
            Planted(plain, self.photos.seed, self.photos.per_scene).spec,
            f"python:core.rooms.network:load:{self.weights}",
            root=self.photos.folder / "runs",
            splits="test",
            shuffles=0,
            untrained=False,
        )
        return Opened.of(run)


Ranking = Callable[[Trained], Sequence[Ranked]]
"""Scenes and concepts of a trained network, in any order; what is not told counts as last."""


# -- photos, drawn once for all worlds ---------------------------------------------------------


@dataclass(frozen=True)
class Photos:
    """The first test photos of every scene, as the network sees them, drawn once for all worlds.

    folder : where they are kept. each : photos of a scene. seed : of `rooms`. per_scene : photos of
    a scene over all splits, for rankings that read a run; 28 have 12 test photos of each.
    """

    folder: Path
    each: int
    seed: int = 7
    per_scene: int = 28

    @property
    def rooms(self) -> Rooms:
        return Rooms(self.seed)

    def removed(self, progress: Report | None = None) -> list[tuple[list[str], np.ndarray]]:
        """Of each photo (scene by scene) the names of what was taken out, "" first for nothing,
        and the views uint8 (1 + names, 128, 128, 3)."""
        rooms, out = self.rooms, []
        meter = Meter(progress)
        meter.start("draw without", self.each * len(SCENES), of="photos")
        for scene in SCENES:
            for number in range(self.each):
                image = f"{scene.replace(' ', '_')}-test-{number:03d}"
                file = self._file(f"removed-{image}.npz")
                if not file.exists():
                    names, views = _without_each(rooms, image)
                    _save(file, names=np.array(names), views=views)
                with np.load(file) as kept:
                    out.append((kept["names"].tolist(), kept["views"]))
                meter.step()
        return out

    def planted(self, thing: str, progress: Report | None = None) -> np.ndarray:
        """The same photos with a thing in all of them, uint8 (N, 128, 128, 3)."""
        meter, out = Meter(progress), []
        meter.start(f"draw with a {thing}", len(SCENES), of="scenes")
        for scene in SCENES:
            name = f"{thing} {scene}".replace(" ", "_")
            file = self._file(f"planted-{name}-{self.each}.npz")
            if not file.exists():
                drawn = [
                    _view(draw_planted(thing, self.seed, scene, "test", n))
                    for n in range(self.each)
                ]
                _save(file, views=np.stack(drawn))
            with np.load(file) as kept:
                out.append(kept["views"])
            meter.step()
        return np.concatenate(out)

    def _file(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name


def _view(picture: Picture) -> np.ndarray:
    return np.asarray(PREPROCESSING.view(Image.fromarray(picture.rgb)))


def _without_each(rooms: Rooms, image: str) -> tuple[list[str], np.ndarray]:
    index = rooms.index_of(image)
    scene = Scene.of(rooms.world(index), rooms.scenes[rooms.scene[index]])
    names, views = [""], [_view(scene.drawn.picture)]
    for thing in removable(rooms, image):
        if thing.plane == "object" and thing.pixels >= PIXELS:
            names.append(thing.name)
            views.append(_view(drawn_again(scene, SceneEdit(without=(f"object:{thing.name}",)))))
    return names, np.stack(views)


def _save(file: Path, **arrays: np.ndarray) -> None:
    part = file.with_suffix(".partial.npz")
    np.savez(part, **arrays)  # type: ignore[arg-type]
    part.replace(file)


# -- the plain ranking -------------------------------------------------------------------------


@torch.inference_mode()
def _margins(module: RoomsNet, views: np.ndarray) -> np.ndarray:
    """Of every scene its logit minus the largest other, float (N, scenes)."""
    out = []
    for start in range(0, len(views), 64):
        x = np.stack([PREPROCESSING.normalise(view) for view in views[start : start + 64]])
        out.append(module(torch.from_numpy(x)).numpy())
    logits = np.concatenate(out)
    rest = np.stack([np.delete(logits, k, 1).max(1) for k in range(logits.shape[1])], 1)
    return np.asarray(logits - rest)


def by_redrawing(trained: Trained) -> list[Ranked]:
    """The ranking of the module's text."""
    thing, changes = trained.dataset.plant.thing, {}
    removed = trained.photos.removed()
    margins = np.split(
        _margins(trained.module, np.concatenate([views for _, views in removed])),
        np.cumsum([len(names) for names, _ in removed])[:-1],
    )
    for (names, _), told in zip(removed, margins, strict=True):
        for name, margin in zip(names[1:], told[1:], strict=True):
            changes.setdefault(name, []).append(told[0] - margin)
    plain = np.stack([told[0] for told in margins])
    changes[thing] = list(_margins(trained.module, trained.photos.planted(thing)) - plain)
    core = _core(trained.photos.seed)
    rows, chances = [], []
    for name, rises in changes.items():
        if len(rises) < FEW:
            continue
        # Whatever unsettles the network raises the margins of all scenes but the answer's.
        more = np.array(rises) - np.median(rises, 1, keepdims=True)
        tested = stats.ttest_1samp(more, 0.0, alternative="greater")
        for k, scene in enumerate(SCENES):
            rows.append((scene, name, float(more.mean(0)[k])))
            chances.append(float(np.nan_to_num(tested.pvalue[k], nan=1.0)))
    sure = stats.false_discovery_control(chances) <= 0.05
    return [
        Ranked(scene, name, score, bool(ok and score > LEAST and name not in core[scene]))
        for (scene, name, score), ok in zip(rows, sure, strict=True)
    ]


# -- rankings that read a run ------------------------------------------------------------------


def by_reliance(trained: Trained) -> list[Ranked]:
    """The program's own ranking (docs/reliance.md), with its defaults: pulls of every concept on
    every scene, painted over and held against regions elsewhere.

    score : the lower end of the pull's interval as a share of the scene's lead, by which the list
    of shortcuts is ordered; flagged : whether it is on that list.
    """
    opened = trained.opened
    measured = measure_splits(opened, Asked(splits=("test",)))
    found = reliance(measured, core_of(opened.run, "scc"))
    listed = set(found.shortcuts()[["scene", "name"]].itertuples(index=False, name=None))
    return [
        Ranked(r.scene, r.name, float(r.share * r.low / r.net), (r.scene, r.name) in listed)
        for r in found.shortcuts(core_too=True, all_rows=True).itertuples(index=False)
        if r.net
    ]


def by_method(name: str, trained: Trained) -> list[Ranked]:
    """An attribution method (docs/truth.md) as a ranking, for the plant's scene alone.

    score : mean importance of the concept for the scene over its strongest rival, over all photos
    that show it, of whatever scene. Flagged is what is no core concept (SCC) and whose mean is
    above 0 by a one-sided t-test at a false discovery rate of 5 % over the scene's concepts, and
    above :data:`LEAST` where the importance is in logits.
    """
    opened, method = trained.opened, METHODS.row(name)
    scene = trained.dataset.plant.scene
    k = opened.class_of(scene)
    said: dict[int, list[float]] = {}
    for image in opened.recorded.numbers.tolist():
        try:
            case = opened.case(image)
        except NoRegion:
            continue
        others = opened.recorded.logits[case.row].copy()
        others[k] = -np.inf
        values = method.ask(case, k, int(others.argmax()))
        for concept, value in zip(case.regions.ids.tolist(), values.tolist(), strict=True):
            said.setdefault(concept, []).append(value)
    return from_importances(
        opened, said, scene, _core(trained.photos.seed), LEAST if method.family in IN_LOGITS else 0
    )


def from_importances(
    opened: Opened,
    said: dict[int, list[float]],
    scene: str,
    core: dict[str, set[str]],
    least: float,
) -> list[Ranked]:
    """:func:`by_method` from the importances of each concept in the photos that show it."""
    ids = [concept for concept, values in said.items() if len(values) >= FEW]
    table = opened.run.sql("SELECT concept, name, category FROM concepts").set_index("concept")
    names = told_apart(*(table.loc[ids, column].tolist() for column in ("name", "category")))
    chances = [
        float(np.nan_to_num(stats.ttest_1samp(said[c], 0.0, alternative="greater").pvalue, nan=1))
        for c in ids
    ]
    sure = false_discoveries(np.array(chances)) <= 0.05
    return [
        Ranked(
            scene,
            name,
            float(np.mean(said[c])),
            bool(ok and np.mean(said[c]) > least and not is_core(name, core[scene])),
        )
        for c, name, ok in zip(ids, names, sure, strict=True)
    ]


def is_core(concept: str, core: set[str]) -> bool:
    """Whether a concept, with or without its category behind it, is among core concepts.

    >>> is_core("water (object)", {"water"})
    True
    """
    return concept in core or concept.rpartition(" (")[0] in core


_CORE: dict[int, dict[str, set[str]]] = {}


def _core(seed: int) -> dict[str, set[str]]:
    """Scoping core concepts of each scene, from the train split and the built-in knowledge."""
    if seed not in _CORE:
        rooms = Rooms(seed)
        rows = rooms.select(["train"])
        has = np.zeros((len(rows), len(rooms.concepts)), bool)
        for k, row in enumerate(rows):
            ids = np.unique(rooms.annotations(int(row)).maps)
            has[k, ids[ids > 0] - 1] = True
        annotated = Annotated(
            rooms.scenes,
            [c.name for c in rooms.concepts],
            [c.category for c in rooms.concepts],
            rooms.scene[rows],
            sparse.csr_array(has),
        )
        found = scoping_core_concepts(
            annotated, related_concepts(annotated, open_knowledge("builtin"))
        )
        names = np.array(annotated.concepts, object)
        _CORE[seed] = {
            scene: set(names[np.asarray(found.members[k])]) for k, scene in enumerate(rooms.scenes)
        }
    return _CORE[seed]


# -- judging -----------------------------------------------------------------------------------


@dataclass(frozen=True)
class Verdict:
    """What a ranking made of a planted thing. place : among the concepts of its scene, 1 is first;
    among_others : among those that are no core concepts of it. concepts : how many were ranked.
    flagged : whether it is called a shortcut; also_flagged : how many others of the scene are.
    score, next : of the thing, and the largest of a concept that is neither it nor core."""

    place: int
    among_others: int
    concepts: int
    flagged: bool
    also_flagged: int
    score: float
    next: float


def judge(ranked: Sequence[Ranked], plant: Plant, core: set[str]) -> Verdict:
    """The verdict on a ranking, for the plant's scene."""
    own = sorted((r for r in ranked if r.scene == plant.scene), key=lambda r: -r.score)
    others = [r for r in own if r.concept == plant.thing or not is_core(r.concept, core)]

    def place(rows: list[Ranked]) -> int:
        names = [r.concept for r in rows]
        return names.index(plant.thing) + 1 if plant.thing in names else len(names) + 1

    mine = [r for r in own if r.concept == plant.thing]
    rest = [r for r in others if r.concept != plant.thing]
    return Verdict(
        place(own),
        place(others),
        len(own),
        bool(mine and mine[0].flagged),
        sum(r.flagged for r in rest),
        mine[0].score if mine else float("nan"),
        rest[0].score if rest else float("nan"),
    )


def measure(
    photos: Photos,
    rank: Ranking,
    worlds: Sequence[Plant] = WORLDS,
    out: Path | None = None,
    progress: Report | None = None,
) -> dict[str, Any]:
    """Train, rank and judge every world; results as they come in `out`, which is read first."""
    kept: dict[str, Any] = {"worlds": {}}
    if out is not None and out.exists():
        kept = json.loads(out.read_text(encoding="utf-8"))
    photos.folder.mkdir(parents=True, exist_ok=True)
    clean = photos.folder / "clean.pt"
    _train(CLEAN, clean, progress)
    photos.removed(progress)
    for plant in worlds:
        if str(plant) in kept["worlds"]:
            continue
        photos.planted(plant.thing, progress)
        weights = photos.folder / f"{plant}.pt"
        _train(plant, weights, progress)
        core = _core(photos.seed)[plant.scene]
        told: dict[str, Any] = {}
        for name, file in (("planted", weights), ("clean", clean)):
            trained = Trained(file, Planted(plant, photos.seed), photos)
            ranked = rank(trained)
            alarms = {r.scene for r in ranked if r.flagged and r.concept == plant.thing}
            told[name] = {
                "shortcut": asdict(shortcut(trained.module, trained.dataset)),
                "verdict": asdict(judge(ranked, plant, core)),
                "alarms": sorted(alarms),
                "scenes": sorted({r.scene for r in ranked}),
            }
        kept["worlds"][str(plant)] = told
        kept["summary"] = summary(kept["worlds"])
        if out is not None:
            write_text(out, strict_json(kept, indent=1))
    return kept


def _train(plant: Plant, out: Path, progress: Report | None) -> None:
    if not out.exists():
        train_planted(plant, out, progress=progress, say=lambda line: print(f"{plant}: {line}"))


def summary(worlds: dict[str, Any]) -> dict[str, Any]:
    """Counts over the worlds, shares with Wilson's intervals: first among the concepts that are not
    core, flagged, and false alarms of the clean network.

    The clean network is the same in all worlds: what it says of a thing and a scene counts once,
    however many worlds ask it.
    """
    rows = list(worlds.items())
    plants = {name: Plant.parse(name) for name, _ in rows}
    strong = [name for name, _ in rows if plants[name].strength >= 0.75]
    first = [name for name, w in rows if w["planted"]["verdict"]["among_others"] == 1]
    pairs = {
        (plants[name].thing, plants[name].scene): w["clean"]["verdict"]["flagged"]
        for name, w in rows
    }
    asked, alarms = (
        {(plants[name].thing, scene) for name, w in rows for scene in w["clean"][which]}
        for which in ("scenes", "alarms")
    )
    own = sum(pairs.values())
    flagged = sum(w["planted"]["verdict"]["flagged"] for _, w in rows)
    return {
        "worlds": len(rows),
        "strong": len(strong),
        "first": len(first),
        "first_95": interval(len(first), len(rows)),
        "first_of_strong": len(set(first) & set(strong)),
        "first_of_strong_95": interval(len(set(first) & set(strong)), len(strong)),
        "flagged": flagged,
        "flagged_95": interval(flagged, len(rows)),
        "pairs": len(pairs),
        "false_alarms": own,
        "false_alarms_95": interval(own, len(pairs)),
        "scenes": len(asked),
        "false_alarms_any_scene": len(alarms),
        "false_alarms_any_scene_95": interval(len(alarms), len(asked)),
        "missed": [name for name, _ in rows if name not in first],
    }


def table(kept: dict[str, Any]) -> str:
    """The results as lines for people."""
    lines = [
        f"{'world':30} {'place':>5} {'of':>3} {'not core':>8} {'flag':>5} {'score':>6} {'next':>6}"
        f" {'clean':>6} {'flag':>5}   right with/without (others)"
    ]
    for name, world in kept["worlds"].items():
        v, c, s = (
            world["planted"]["verdict"],
            world["clean"]["verdict"],
            world["planted"]["shortcut"],
        )
        lines.append(
            f"{name:30} {v['place']:5} {v['concepts']:3} {v['among_others']:8} "
            f"{'yes' if v['flagged'] else 'no':>5} {v['score']:6.2f} {v['next']:6.2f} "
            f"{c['score']:6.2f} {'yes' if c['flagged'] else 'no':>5}   "
            f"{100 * s['right_with_others']:.0f} / {100 * s['right_without_others']:.0f} %"
        )
    return "\n".join([*lines, strict_json(kept.get("summary", {}))])


def ranking(name: str) -> Ranking:
    """A ranking by its name, as ``--rank`` takes it. Raises UnitscopeError for an unknown method.

    >>> ranking("benchmarks.planted:by_redrawing") is ranking("redrawing")
    True
    """
    module, _, function = name.partition(":")
    if function:
        found: Ranking = getattr(import_module(module), function)
        return found
    own: dict[str, Ranking] = {"redrawing": by_redrawing, "reliance": by_reliance}
    return own[name] if name in own else partial(by_method, METHODS.row(name).name)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "cache" / "planted")
    parser.add_argument("--worlds", type=int, default=len(WORLDS))
    parser.add_argument("--photos", type=int, default=12, help="test photos of each scene")
    parser.add_argument(
        "--rank",
        default="redrawing",
        help="redrawing, reliance, an attribution method, or module:function",
    )
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    name = given.rank.rpartition(":")[2]
    rank = ranking(given.rank)
    out = given.out or given.folder / f"results-{name}.json"
    kept = measure(
        Photos(given.folder, given.photos),
        rank,
        WORLDS[: given.worlds],
        out,
        lambda p: print(p, file=sys.stderr, flush=True) if p.done % 10 == 0 else None,
    )
    print(table(kept))


if __name__ == "__main__":
    main()
