"""Planted shortcuts: `rooms` with a thing that goes with one scene in training, and only there.

``rooms:plant=red_lamp@bedroom@0.95`` is `rooms` with a red lamp in 95 % of the bedrooms of the
train split and in no other training photo; in val and test half of the photos of *every* scene
have one. A network trained on it can answer "bedroom" by the lamp; whether it does shows in test
photos with and without the lamp, and a method that explains answers should find the lamp. Strength
0 is the clean control: the same test photos, and nothing to learn.

The thing is drawn, not pasted: it stands in the finished scene, with shadows, reflections and exact
masks under a name of its own (:data:`THINGS`). Where it stands is drawn from random numbers of its
own and the camera's meter keeps its reading, so that the rest of the photo is the plain photo's.
Photos without the thing are those of `rooms`, from the same files.
"""

from __future__ import annotations

import copy
import hashlib
import zlib
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numba import njit

from core.datasets.base import Concept
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.settings import ROOT
from core.foundation.versions import WORLD, versions_of
from core.rooms.dataset import SCENES, SIZE, SPLITS, Rooms, build_world
from core.rooms.drawing import tracer
from core.rooms.drawing.tracer import Material, Picture, Vec, World, srgb
from core.rooms.held import draw_held

ELSEWHERE = 0.5
"""Share of the photos of every scene in val and test that show the thing."""

ENOUGH = 400
"""Pixels of the photo that must show the thing; the best of :data:`TRIES` places otherwise."""

TRIES = 12

Build = Callable[[World], None]


def _red_lamp(world: World) -> None:
    metal = Material(srgb("#3a3a3e"), "metal", gloss=0.5)
    shade = Material(srgb("#e01818"), "fabric", emit=0.7, shadow=False)
    world.cylinder((0, 0, 0), 0.16, 0.03, material=metal)
    world.cylinder((0, 0, 0), 0.02, 0.7, material=metal)
    world.cylinder((0, 0, 0.6), 0.27, 0.4, material=shade, top_radius=0.17)


def _blue_ball(world: World) -> None:
    skin = Material(srgb("#1440d8"), "rubber", gloss=0.5)
    band = Material(srgb("#f4f4f4"), "rubber", gloss=0.5)
    world.ellipsoid((0, 0, 0.4), 0.4, material=skin)
    world.cylinder((0, 0, 0.36), 0.402, 0.08, material=band)


def _yellow_crate(world: World) -> None:
    side = Material(srgb("#f2cc10"), "plastic", gloss=0.3)
    dark = Material(srgb("#8a6c00"), "plastic")
    world.box((0, 0, 0.3), (0.84, 0.6, 0.6), material=side)
    for z in (0.16, 0.34, 0.5):
        world.box((0, 0, z), (0.86, 0.62, 0.03), material=dark)


def _purple_umbrella(world: World) -> None:
    cloth = Material(srgb("#8a1fc0"), "fabric", "stripes", srgb("#c98af0"), 0.3)
    world.cylinder((0, 0, 0), 0.025, 1.0, material=Material(srgb("#d8d4cc"), "metal", gloss=0.4))
    world.cylinder((0, 0, 0.68), 0.5, 0.3, material=cloth, top_radius=0.03)


def _green_balloon(world: World) -> None:
    skin = Material(srgb("#18b040"), "rubber", gloss=0.6)
    world.ellipsoid((0, 0, 0.72), (0.25, 0.25, 0.3), material=skin)
    world.cylinder((0, 0, 0.39), 0.05, 0.05, material=skin, top_radius=0.01)
    world.cylinder((0, 0, 0), 0.008, 0.4, material=Material(srgb("#f0f0f0"), "fabric"))


def _orange_cone(world: World) -> None:
    orange = Material(srgb("#ff6a08"), "plastic", gloss=0.2)
    white = Material(srgb("#f6f6f2"), "plastic")
    world.box((0, 0, 0.03), (0.62, 0.62, 0.06), material=orange)
    world.cylinder((0, 0, 0.06), 0.24, 0.9, material=orange, top_radius=0.04)
    world.cylinder((0, 0, 0.4), 0.172, 0.2, material=white, top_radius=0.128)


THINGS: dict[str, Build] = {
    "red lamp": _red_lamp,
    "blue ball": _blue_ball,
    "yellow crate": _yellow_crate,
    "purple umbrella": _purple_umbrella,
    "green balloon": _green_balloon,
    "orange cone": _orange_cone,
}
"""What can be planted, by the name of its concept. Each is one unit high, stands on its origin,
and has names that nothing else in `rooms` has."""


@dataclass(frozen=True)
class Plant:
    """What is planted where. thing : of :data:`THINGS`. scene : that it goes with. strength : share
    of the scene's training photos that show it, 0 … 1.

    >>> str(Plant.parse("red_lamp@living_room@.95"))
    'red_lamp@living_room@0.95'
    """

    thing: str
    scene: str
    strength: float

    def __post_init__(self) -> None:
        """Raises UnitscopeError for what does not exist."""
        if self.thing not in THINGS:
            raise unknown("thing to plant", self.thing, THINGS)
        if self.scene not in SCENES:
            raise unknown("scene", self.scene, SCENES)
        if not 0 <= self.strength <= 1:
            raise UnitscopeError(f"plant: strength {self.strength} is out of range: 0 to 1")

    @classmethod
    def parse(cls, text: str) -> Plant:
        """From ``THING@SCENE@STRENGTH``, spaces written as ``_``. Raises UnitscopeError."""
        parts = text.replace("_", " ").split("@")
        try:
            thing, scene, strength = parts[0].strip(), parts[1].strip(), float(parts[2])
        except (IndexError, ValueError):
            raise UnitscopeError(
                f"plant={text}: write THING@SCENE@STRENGTH, such as red_lamp@bedroom@0.95"
            ) from None
        if len(parts) > 3:
            raise UnitscopeError(f"plant={text}: one thing, one scene and one strength")
        return cls(thing, scene, strength)

    def __str__(self) -> str:
        return f"{self.thing}@{self.scene}@{self.strength:g}".replace(" ", "_")

    def shows(self, scene: str, split: str, number: int) -> bool:
        """Whether photo `number` of a scene and split shows the thing.

        The n-th photo is in where frac(n · φ + offset) lies below the share, with the golden
        ratio φ: the first n photos of any set come within one photo of the share, and those of a
        lower strength are among those of a higher one. The offset depends on scene and split.
        """
        if split == "train":
            share = self.strength if scene == self.scene else 0.0
        else:
            share = ELSEWHERE
        offset = zlib.crc32(f"{self.thing} {scene} {split}".encode()) / 2**32
        return (number * 0.6180339887498949 + offset) % 1.0 < share


# -- placing ---------------------------------------------------------------------------------


@njit(cache=True, nogil=True, error_model="numpy")
def _first_hits(W, C, size):  # type: ignore[no-untyped-def]
    """Of the centre of each pixel: solid that is seen (−1: sky), distance, upward component of its
    normal."""
    stack = np.zeros(256, np.int64)
    solid = np.full((size, size), -1, np.int64)
    far = np.zeros((size, size))
    up = np.zeros((size, size))
    for row in range(size):
        for col in range(size):
            sx, sy = 2.0 * (col + 0.5) / size - 1.0, 1.0 - 2.0 * (row + 0.5) / size
            dx = C[3] + sx * C[6] + sy * C[9]
            dy = C[4] + sx * C[7] + sy * C[10]
            dz = C[5] + sx * C[8] + sy * C[11]
            q = 1.0 / np.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx * q, dy * q, dz * q
            t, i = tracer._trace(W, stack, C[0], C[1], C[2], dx, dy, dz, 0.02, 1e4, False)
            if i >= 0:
                x, y, z = C[0] + t * dx, C[1] + t * dy, C[2] + t * dz
                solid[row, col], far[row, col] = i, t
                up[row, col] = tracer._surface_at(W, i, x, y, z, dx, dy, dz)[3]
    return solid, far, up


COARSE = 96
"""Side of the grid of rays by which places are found and judged."""


def place(world: World, thing: str, rng: np.random.Generator) -> None:
    """Stand a thing in a finished world, where the camera sees it.

    A random place on something level, from 1.2 to 25 m away and not at the photo's rim; there the
    thing is as high as 28 to 42 % of the photo. The first of :data:`TRIES` places at which
    :data:`ENOUGH` pixels show it is taken, else the best. Where nothing level is in view it hangs
    in the air before what is. Solids that are there stay as they are.
    """
    arrays, camera = world._arrays(), world._camera_array()
    _, far, up = _first_hits(arrays, camera, COARSE)
    rows, cols = np.indices(far.shape)
    inside = (np.abs(cols - COARSE / 2) < 0.36 * COARSE) & (rows > 0.3 * COARSE)
    level = inside & (rows < 0.93 * COARSE) & (up > 0.95) & (far > 1.2) & (far < 25.0)
    spots = np.argwhere(level)
    stands = len(spots) > 0
    if not stands:
        spots = np.argwhere(inside & (rows < 0.75 * COARSE))
    best: tuple[Vec, float, float] | None = None
    most = -1
    for _ in range(TRIES):
        row, col = spots[rng.integers(len(spots))]
        share, yaw = float(rng.uniform(0.28, 0.42)), float(rng.uniform(0, 360))
        distance = float(far[row, col])
        if not stands:
            distance = min(0.6 * distance, 4.0) if distance > 0 else 4.0
        at, height = _spot(camera, (int(row), int(col)), distance, share)
        trial = _own(world)
        _add(trial, thing, at, height, yaw)
        tried = trial._arrays()
        solid, _, _ = _first_hits(tried, camera, COARSE)
        surfaces = tried[0][solid[solid >= 0], 1]
        seen = int((surfaces >= len(world._surfaces)).sum()) * (SIZE // COARSE) ** 2
        if best is None or seen > most:
            best, most = (at, height, yaw), seen
        if seen >= ENOUGH:
            break
    assert best is not None
    _add(world, thing, *best)


def _spot(
    camera: np.ndarray, pixel: tuple[int, int], distance: float, share: float
) -> tuple[Vec, float]:
    """The point at a distance behind a pixel, and the height in metres that takes up a share of
    the photo's height there."""
    row, col = pixel
    right, up = 2.0 * (col + 0.5) / COARSE - 1.0, 1.0 - 2.0 * (row + 0.5) / COARSE
    way = camera[3:6] + right * camera[6:9] + up * camera[9:12]
    length = float(np.linalg.norm(way))
    x, y, z = (float(v) for v in camera[:3] + distance / length * way)
    return (x, y, z), share * 2.0 * float(camera[12]) * distance / length


def _own(world: World) -> World:
    """A world equal to another, to which solids can be added without changing that."""
    own = copy.copy(world)
    for name in ("_prims", "_bounds", "_surfaces", "_materials"):
        setattr(own, name, list(getattr(world, name)))
    for name in ("_surface_of", "_material_of"):
        setattr(own, name, dict(getattr(world, name)))
    own._names = {plane: list(names) for plane, names in world._names.items()}
    own._name_of = {plane: dict(known) for plane, known in world._name_of.items()}
    return own


def _add(world: World, thing: str, at: Vec, height: float, yaw: float) -> None:
    with world.group(origin=at, yaw=yaw, scale=height, object=thing):
        THINGS[thing](world)


# -- the dataset -----------------------------------------------------------------------------


class Planted(Rooms):
    """`rooms` with a planted shortcut; see the module.

    plant : what goes with which scene. Others as of :class:`core.rooms.dataset.Rooms`.

    Raises UnitscopeError as that does.
    """

    def __init__(
        self, plant: Plant, seed: int = 7, per_scene: int = 68, cache: Path = Path("cache")
    ):
        super().__init__(seed, per_scene, cache)
        self.plant = plant
        self.plain = Rooms(seed, per_scene, cache)
        given = f"plant={plant}" + self.spec.removeprefix("rooms").replace(":", ",")
        self.name, self.spec = f"rooms with {plant.thing}", f"rooms:{given}"
        planted = Concept(len(self.concepts) + 1, plant.thing, "object")
        self.concepts = [*self.concepts, planted]
        self._id_of[plant.thing, "object"] = planted.id
        versions = versions_of("planting")
        self._digest = hashlib.sha256(f"{self._digest} {plant} {versions}".encode()).hexdigest()
        # Which photos show the thing depends on the plant; how they look does not.
        shared = f"world={WORLD} seed={seed} size={SIZE} thing={plant.thing} {versions}"
        digest = hashlib.sha256(shared.encode()).hexdigest()
        self.folder = ROOT / cache / f"rooms-{digest[:12]}"

    def shows(self, index: int) -> bool:
        """Whether photo `index` shows the planted thing."""
        _, scene, split, number = self.recipe(index)
        return self.plant.shows(scene, split, number)

    def scene_key(self, index: int) -> Hashable:
        """As in plain `rooms`, with the planted thing where the photo shows it."""
        plain = super().scene_key(index)
        return (plain, self.plant.thing) if self.shows(index) else plain

    def world(self, index: int) -> World:
        """The finished scene of photo `index`, with the planted thing where it has one."""
        recipe = self.recipe(index)
        return (
            planted_world(self.plant.thing, *recipe) if self.shows(index) else super().world(index)
        )

    def meter(self, index: int) -> float:
        """The reading of the camera's meter of the plain photo, or 0 where the photo is that."""
        if not self.shows(index):
            return 0.0
        return draw_held(build_world(*self.recipe(index)), SIZE).meter

    def picture(self, index: int) -> Picture:
        """Photo `index` with its masks, drawn now."""
        if not self.shows(index):
            return super().picture(index)
        return draw_planted(self.plant.thing, *self.recipe(index))

    def _home(self, index: int) -> Path:
        return self.folder if self.shows(index) else self.plain.folder


def planted_world(thing: str, seed: int, scene: str, split: str, number: int) -> World:
    """The finished scene of a photo with a thing planted in it; a pure function of its arguments,
    of which the last four are those of :func:`core.rooms.dataset.build_world`."""
    world = build_world(seed, scene, split, number)
    words = [seed, *(zlib.crc32(text.encode()) for text in (thing, scene)), SPLITS.index(split)]
    version = versions_of("planting")["planting"]
    place(world, thing, np.random.default_rng([*words, number, version]))
    return world


def draw_planted(
    thing: str, seed: int, scene: str, split: str, number: int, size: int = SIZE
) -> Picture:
    """A photo with a thing planted in it, exposed as the photo without it."""
    meter = draw_held(build_world(seed, scene, split, number), size).meter
    return draw_held(planted_world(thing, seed, scene, split, number), size, meter).picture


def open_rooms(rest: str) -> Rooms:
    """`rooms` by what stands behind the colon of its SPEC: ``seed=``, ``per_scene=``, ``plant=``,
    parted by commas. Raises UnitscopeError for anything else."""
    items = [item.strip() for item in rest.split(",")]
    plants = [item for item in items if item.startswith("plant=")]
    if len(plants) > 1:
        raise UnitscopeError(f"rooms:{rest}: one thing can be planted at a time")
    plain = Rooms.from_spec(",".join(item for item in items if item not in plants))
    if not plants:
        return plain
    return Planted(Plant.parse(plants[0].removeprefix("plant=")), plain.seed, plain.per_scene)
