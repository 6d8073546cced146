"""Planted shortcuts: does a ranking of what scenes rest on find them, and only them?

    python -m benchmarks.planted [--folder cache/planted] [--worlds 14] [--photos 12]
                                 [--rank module:function] [--out results.json]

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
other) averaged over all photos that show it, of whatever scene. Concepts seen in fewer than
:data:`FEW` photos are left out. It flags what is no core concept, moves the margin by more than
:data:`LEAST`, and whose mean change is above 0 by a one-sided t-test at a false discovery rate of
5 % (Benjamini and Hochberg, over all scenes and concepts of a network).

Photos, networks and results are kept in the folder, so that a run that was stopped goes on. The
results are one JSON file.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from scipy import sparse, stats

from core.foundation.files import strict_json, write_text
from core.foundation.progress import Meter, Report
from core.foundation.settings import ROOT
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

    def run(self, root: Path) -> Any:
        """The network dissected on its planted set (:func:`core.api.make_run`), for rankings that
        read a run."""
        from core.api import make_run

        return make_run(
            self.dataset.spec, f"python:core.rooms.network:load:{self.weights}", root=root
        )


Ranking = Callable[[Trained], Sequence[Ranked]]
"""Scenes and concepts of a trained network, in any order; what is not told counts as last."""


# -- photos, drawn once for all worlds ---------------------------------------------------------


@dataclass(frozen=True)
class Photos:
    """The first test photos of every scene, as the network sees them, drawn once for all worlds.

    folder : where they are kept. each : photos of a scene. seed : of `rooms`.
    """

    folder: Path
    each: int
    seed: int = 7

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
        tested = stats.ttest_1samp(np.array(rises), 0.0, alternative="greater")
        for k, scene in enumerate(SCENES):
            rows.append((scene, name, float(np.mean(rises, 0)[k])))
            chances.append(float(np.nan_to_num(tested.pvalue[k], nan=1.0)))
    sure = stats.false_discovery_control(chances) <= 0.05
    return [
        Ranked(scene, name, score, bool(ok and score > LEAST and name not in core[scene]))
        for (scene, name, score), ok in zip(rows, sure, strict=True)
    ]


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
    others = [r for r in own if r.concept == plant.thing or r.concept not in core]

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
    """Counts over the worlds: first among the concepts that are not core, flagged, false alarms of
    the clean network (for the plant's own scene, and for any scene)."""
    rows = list(worlds.items())
    strong = [name for name, _ in rows if Plant.parse(name).strength >= 0.75]
    first = [name for name, w in rows if w["planted"]["verdict"]["among_others"] == 1]
    return {
        "worlds": len(rows),
        "strong": len(strong),
        "first": len(first),
        "first_of_strong": len(set(first) & set(strong)),
        "flagged": sum(w["planted"]["verdict"]["flagged"] for _, w in rows),
        "false_alarms": sum(w["clean"]["verdict"]["flagged"] for _, w in rows),
        "false_alarms_any_scene": sum(len(w["clean"]["alarms"]) for _, w in rows),
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


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=ROOT / "cache" / "planted")
    parser.add_argument("--worlds", type=int, default=len(WORLDS))
    parser.add_argument("--photos", type=int, default=12, help="test photos of each scene")
    parser.add_argument("--rank", default="benchmarks.planted:by_redrawing")
    parser.add_argument("--out", type=Path)
    given = parser.parse_args()
    module, _, name = given.rank.partition(":")
    rank: Ranking = getattr(import_module(module), name)
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
