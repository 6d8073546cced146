"""A photo of `rooms` drawn again after an edit: without a thing, in another colour, elsewhere.

The scene of a photo is built as always, random numbers and all, and only then changed, so that
everything else stays: textures, sampling, the camera's meter (:mod:`core.rooms.held`). What was
hidden appears, and shadows, reflections and bounced light are those of the edited scene. The
photo of an edit that changes nothing is byte-equal to the dataset's
(:func:`core.rooms.dataset.draw_picture`).

Which light belongs to what: the tracer's lights have no names. A light is part of the nearest
solid that shines or is there to shine (it emits, or its part is one of :data:`LUMINOUS`), where
that lies within :data:`REACH` of the light's centre; so a lamp's light goes with its lamp, daylight
with its window, firelight with the fire. What no solid is near to (a room's plain evening light)
belongs to nothing and stays.
"""

from __future__ import annotations

import copy
import io
import json
import math
from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, fields, replace
from functools import lru_cache, partial
from typing import Any, Literal, TypeVar, get_args

import numpy as np
from PIL import Image

from core.foundation.errors import UnitscopeError, unknown, without_effect
from core.foundation.plain import Keywords
from core.rooms.dataset import SIZE, Rooms
from core.rooms.drawing import tracer
from core.rooms.drawing.tracer import Camera, Material, Picture, Vec, World, srgb
from core.rooms.held import Drawn, draw_held
from core.rooms.materials import COLORS, USUAL, luminance
from core.rooms.plant import open_rooms
from core.runs.run_file import Run

REACH = 0.5
"""Metres from the box around a shining solid to the centre of a light that is its own. Of the 417
lights in 600 test photos, 388 are within 0.41 of one and 29 farther than 1.1 from all."""

LUMINOUS = ("bulb", "flame", "lamp shade", "pane")
"""Parts that light comes from even while they do not shine themselves."""

SHELL = ("wall", "floor", "ceiling", "sky")
ENCLOSING: Mapping[str, tuple[str, ...]] = {
    "street": ("ground", "sky"),
    "park": ("lawn", "sky"),
    "beach": ("sand", "sea", "sky"),
    "forest": ("ground", "sky"),
    "mountain": ("mountain", "snow", "grass", "sky"),
    "farm": ("grass", "sky"),
    "harbor": ("water", "sky"),
}
"""Objects of a scene behind which there is nothing, so that they cannot be removed; of all
rooms :data:`SHELL`. Found by taking each object of every scene away: behind these alone lay the
void (more than 60 % of their pixels, or terrain that other things stand on)."""

NOWHERE = (-1.0, -1.0, 0.0, 0.0)
"""Half lengths of a quad that no ray meets."""

Plane = Literal["object", "part"]
Value = TypeVar("Value")
Changes = Mapping[str, Value] | tuple[tuple[str, Value], ...]
"""What is to become of things: by name, or as pairs, which is how an edit keeps them."""

CHANGES = ("material", "color", "move", "light")

ALL = "all"
"""The name that stands for every light in :attr:`SceneEdit.light`; `sun` is the sun alone."""


@dataclass(frozen=True)
class SceneEdit:
    """What is to change in a scene; combinations are made in the order of the fields.

    Names are of objects, or of parts where no object has the name; ``object:door`` and
    ``part:door`` say which. All things of a name are meant.

    without : things removed, with the light that is theirs.
    only : what is left beside what encloses the scene (:data:`ENCLOSING`); lights stay, the
        lamps' too, so that what is left is seen. Not together with `without`.
    material : thing → name of a material (:data:`core.rooms.materials.USUAL`), drawn in its usual
        colours; the material mask says so too.
    color : thing → ``#rrggbb`` or a basic colour (:data:`core.rooms.materials.COLORS`). Patterns
        stay, and keep their contrast. What a lamp sheds on others keeps its colour.
    move : thing → (right, ahead, up) in metres as the camera stands, level; its lights move along.
    light : factor of the light of a thing that shines, of ``sun`` or of ``all``, sky included.
    turn, tilt : degrees the camera turns to the right and upwards about its own place.
    step : metres the camera goes (right, ahead, up), level; turned afterwards.
    zoom : the photo's focal length, as a multiple.
    exposure : ``held``, the meter's reading of the unedited photo; ``metered``, as a camera would
        meter the edited one.
    """

    without: tuple[str, ...] = ()
    only: tuple[str, ...] | None = None
    material: Changes[str] = ()
    color: Changes[str] = ()
    move: Changes[Vec] = ()
    light: Changes[float] = ()
    turn: float = 0.0
    tilt: float = 0.0
    step: Vec = (0.0, 0.0, 0.0)
    zoom: float = 1.0
    exposure: Literal["held", "metered"] = "held"

    def __post_init__(self) -> None:
        """Raises UnitscopeError for values that mean nothing; makes the edit hashable."""
        for name in ("without", "only"):
            given = getattr(self, name)
            if isinstance(given, str):
                given = (given,)
            if given is not None:
                object.__setattr__(self, name, tuple(dict.fromkeys(given)))
        for name in CHANGES:
            frozen = tuple(
                (k, tuple(v) if isinstance(v, list) else v) for k, v in pairs(getattr(self, name))
            )
            object.__setattr__(self, name, frozen)
        object.__setattr__(self, "step", tuple(self.step))
        _check(self)

    @property
    def names(self) -> tuple[str, ...]:
        """The things that the edit names, in order."""
        changed = [name for kind in CHANGES for name, _ in pairs(getattr(self, kind))]
        named = (*self.without, *(self.only or ()), *changed)
        return tuple(dict.fromkeys(name for name in named if name not in (ALL, "sun")))

    def to_json(self) -> str:
        """The edit in one line, fields left at their defaults omitted.

        >>> SceneEdit(without=("lamp",), turn=5).to_json()
        '{"without": ["lamp"], "turn": 5}'
        """
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        given = {
            name: dict(value) if name in CHANGES else value
            for name, value in values.items()
            if value != _DEFAULTS[name]
        }
        return json.dumps(given)

    @classmethod
    def from_json(cls, text: str) -> SceneEdit:
        """The edit that :meth:`to_json` wrote. Raises UnitscopeError for anything else.

        >>> SceneEdit.from_json('{"color": {"bed": "red"}}').color
        (('bed', 'red'),)
        """
        try:
            given = json.loads(text)
            if not isinstance(given, dict):
                raise ValueError("no object")
            for name in given:
                if name not in _DEFAULTS:
                    raise unknown("field of an edit", name, _DEFAULTS)
            return cls(**given)
        except (ValueError, TypeError, AttributeError) as err:
            raise UnitscopeError(f"{text[:80]!r} is no edit of a scene: {err}") from None


def pairs(changes: Changes[Value]) -> tuple[tuple[str, Value], ...]:
    """Name and value of each change, in order."""
    return tuple(changes.items()) if isinstance(changes, Mapping) else changes


_DEFAULTS = {f.name: f.default for f in fields(SceneEdit)}


def _check(edit: SceneEdit) -> None:
    if edit.without and edit.only is not None:
        raise UnitscopeError("an edit removes things (without) or keeps some (only), not both")
    for name, material in pairs(edit.material):
        if material not in USUAL:
            raise unknown(f"material for {name}", material, USUAL)
    for name, color in pairs(edit.color):
        rgb_of(color, name)
    for name, shift in pairs(edit.move):
        _numbers(f"move {name}", shift, 3, 1000.0)
    for name, factor in pairs(edit.light):
        if _numbers(f"light {name}", (factor,), 1, 100.0)[0] < 0:
            raise UnitscopeError(f"light {name}: {factor} is negative; 0 switches it off")
    _numbers("step", edit.step, 3, 1000.0)
    _numbers("turn and tilt", (edit.turn, edit.tilt), 2, 360.0)
    if _numbers("zoom", (edit.zoom,), 1, 10.0)[0] < 0.2:
        raise UnitscopeError(f"zoom: {edit.zoom} is out of range: 0.2 to 10")
    if edit.exposure not in ("held", "metered"):
        raise unknown("exposure", edit.exposure, ("held", "metered"))


def _numbers(what: str, values: Any, count: int, most: float) -> tuple[float, ...]:
    try:
        numbers = tuple(float(v) for v in values)
    except (TypeError, ValueError):
        numbers = ()
    if len(numbers) != count or not all(abs(v) <= most for v in numbers):
        many = "one finite number" if count == 1 else f"{count} finite numbers"
        raise UnitscopeError(f"{what}: {values!r} must be {many} of at most {most:g}")
    return numbers


def rgb_of(color: str, name: str = "") -> Vec:
    """Linear (r, g, b) of ``#rrggbb`` or of a basic colour. Raises UnitscopeError otherwise.

    >>> [round(v, 3) for v in rgb_of("#ff8000")]
    [1.0, 0.216, 0.0]
    """
    text = COLORS.get(color.removesuffix("-c"), color) if isinstance(color, str) else ""
    digits = text.removeprefix("#")
    if len(digits) != 6 or any(ch not in "0123456789abcdefABCDEF" for ch in digits):
        raise UnitscopeError(
            f"color {name}: {color!r} is no colour; write #rrggbb, or one of {', '.join(COLORS)}"
        )
    return srgb(digits)


@dataclass(frozen=True)
class Thing:
    """Something in the scene of a photo.

    name : of the object or part. plane : which of the two. solids : how many it is made of.
    pixels : pixels of the photo that show it. lights : lights that go with it.
    parts : of an object, the parts it has; of a part, the objects that have it.
    kept : why it cannot be removed; "" where it can.
    """

    name: str
    plane: Plane
    solids: int
    pixels: int
    lights: int
    parts: tuple[str, ...] = ()
    kept: str = ""


# -- scenes of photos ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Scene:
    """The finished scene of one photo, as it was drawn. Read-only: shared by all who edit it.

    world : the tracer's world. scene : its name. drawn : the unedited photo and its meter.
    owner : of each light the solid it belongs to, −1 for none.
    kinds : of each solid the surfaces (rows of the world's table) that it can show.
    """

    world: World
    scene: str
    drawn: Drawn
    owner: tuple[int, ...]
    kinds: tuple[range, ...] = field(repr=False)

    @classmethod
    def of(cls, world: World, scene: str, size: int = SIZE, meter: float = 0.0) -> Scene:
        """The scene of a finished world that nobody changes any more, drawn at a size; meter : as
        of :func:`core.rooms.held.draw_held`."""
        drawn = draw_held(world, size, meter)
        return cls(world, scene, drawn, tuple(_owners(world)), tuple(_kinds(world)))

    @property
    def enclosing(self) -> tuple[str, ...]:
        """Objects of this scene that cannot be removed."""
        names = ENCLOSING.get(self.scene, SHELL)
        return tuple(name for name in names if name in self.names("object"))

    def names(self, plane: Plane) -> list[str]:
        """Names of a plane that some solid of the scene has; the sky among the objects."""
        return [name for name in self.drawn.picture.names[plane] if name]

    def rows(self, name: str) -> tuple[Plane, frozenset[int]]:
        """The plane of a thing's name and the rows of its surfaces.

        Raises UnitscopeError where the scene has none of that name.
        """
        given, _, bare = name.rpartition(":")
        if given and given not in get_args(Plane):
            raise unknown("plane", given, get_args(Plane))
        planes: tuple[Plane, ...] = get_args(Plane)
        for plane in planes:
            if given in ("", plane) and bare in self.names(plane):
                column = planes.index(plane) + 1
                place = self.drawn.picture.names[plane].index(bare)
                surfaces = self.world._surfaces
                return plane, frozenset(k for k, row in enumerate(surfaces) if row[column] == place)
        there = [n for p in planes if given in ("", p) for n in self.names(p)]
        raise unknown("thing in this photo", bare, sorted(set(there)), show=99)

    def solids(self, rows: Iterable[int]) -> list[int]:
        """Numbers of the solids that can show any of these surfaces."""
        wanted = set(rows)
        return [k for k, kinds in enumerate(self.kinds) if not wanted.isdisjoint(kinds)]

    def pixels(self, name: str) -> int:
        """Pixels of the unedited photo that show a thing."""
        plane, bare = self.rows(name)[0], name.rpartition(":")[2]
        place = self.drawn.picture.names[plane].index(bare)
        return int((getattr(self.drawn.picture, plane) == place).sum())

    def kept(self, name: str) -> str:
        """Why a thing cannot be removed; "" where it can."""
        plane, rows = self.rows(name)
        bare = name.rpartition(":")[2]
        surfaces, objects = self.world._surfaces, self.drawn.picture.names["object"]
        if plane == "object" and bare in self.enclosing:
            return "it encloses the scene: there is nothing behind it"
        holders = {objects[surfaces[row][1]] for row in rows}
        if plane == "part" and holders & set(self.enclosing) and self._ground(rows):
            return "it is the ground of the scene"
        for k in self.solids(rows):
            rest = set(self.kinds[k]) - rows
            if rest:
                others = sorted({objects[surfaces[row][1]] for row in rest})
                return f"it is one piece of terrain with {', '.join(others)}"
        return ""

    def _ground(self, rows: frozenset[int]) -> bool:
        prims = self.world._prims
        return any(prims[k][0] == tracer.FIELD for k in self.solids(rows))


def scene_of(dataset: Rooms, image: int | str) -> Scene:
    """The scene of a photo, kept for the next edit of it.

    image : position or id. Raises UnitscopeError where the dataset has no such image.
    """
    index = _index(dataset, image)
    return _scene(_Key(dataset, index))


def _index(dataset: Rooms, image: int | str) -> int:
    if isinstance(image, str):
        return dataset.index_of(image)
    if not 0 <= image < len(dataset):
        raise UnitscopeError(f"no image {image}: {dataset.spec} has 0 to {len(dataset) - 1}")
    return int(image)


@dataclass(frozen=True, eq=False)
class _Key:
    """What the cached scene of a photo depends on, with the dataset to build it from."""

    dataset: Rooms
    index: int

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Key) and self._scene() == other._scene()

    def __hash__(self) -> int:
        return hash(self._scene())

    def _scene(self) -> Hashable:
        return self.dataset.scene_key(self.index)


@lru_cache(maxsize=64)
def _scene(key: _Key) -> Scene:
    dataset, index = key.dataset, key.index
    name = dataset.scenes[dataset.scene[index]]
    return Scene.of(dataset.world(index), name, meter=dataset.meter(index))


def _kinds(world: World) -> Iterator[range]:
    """Rows of surfaces that each solid can show: its own, of terrain one for each kind."""
    counts, start = {}, 0
    for kinds in world._field_kinds:
        counts[start] = int(kinds.max()) + 1
        start += len(kinds)
    for prim in world._prims:
        count = counts[int(prim[5])] if prim[0] == tracer.FIELD else 1
        yield range(prim[1], prim[1] + count)


def _owners(world: World) -> Iterator[int]:
    """Of each light the solid that it belongs to, −1 for none (see the module)."""
    parts = world._names["part"]
    shining = []
    for k, (prim, bounds) in enumerate(zip(world._prims, world._bounds, strict=True)):
        material, _, part, _ = world._surfaces[prim[1]]
        emits = world._materials[material].emit > 0
        if prim[0] != tracer.FIELD and (emits or parts[part] in LUMINOUS):
            shining.append((k, np.array(prim[2:5]), np.array(prim[5:14]).reshape(3, 3), bounds))
    for light in world._lights:
        best, owner = REACH, -1
        for k, centre, frame, bounds in shining:
            at = frame @ (np.array(light[1:4]) - centre)
            outside = np.maximum(np.maximum(bounds[:3] - at, at - bounds[3:]), 0.0)
            gap = float(np.sqrt((outside**2).sum()))
            if gap < best:
                best, owner = gap, k
        yield owner


# -- edits -----------------------------------------------------------------------------------


class _Edited:
    """A world of its own, equal to a scene's, and the changes that can be made to it."""

    def __init__(self, scene: Scene):
        self.scene = scene
        self.world = world = copy.copy(scene.world)
        world._prims, world._lights = list(world._prims), list(world._lights)
        world._surfaces, world._materials = list(world._surfaces), list(world._materials)
        world._names = {plane: list(names) for plane, names in world._names.items()}
        world._name_of = {plane: dict(known) for plane, known in world._name_of.items()}
        self.same_seed: list[tuple[int, int]] = []
        self.dark: set[int] = set()  # lights removed

    def take_away(self, rows: frozenset[int], lights: bool = True) -> None:
        """Leave the solids with these surfaces out, and their lights."""
        gone = self.scene.solids(rows)
        for k in gone:
            # An empty quad in its place: the tree over the solids, and with it the order in
            # which rays meet the others, stays as it is.
            prim = self.world._prims[k]
            frame = prim[5:14]
            if prim[0] == tracer.FIELD:
                frame = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
            self.world._prims[k] = (tracer.QUAD, prim[1], *prim[2:5], *frame, *NOWHERE)
        if lights:
            self.dark |= {n for n, k in enumerate(self.scene.owner) if k in set(gone)}

    def repaint(self, rows: frozenset[int], change: Callable[[Material], Material]) -> None:
        """Give these surfaces the material ``change(material)``, its pattern where it was."""
        made: dict[int, int] = {}
        world = self.world
        for k in rows:
            row, *names = world._surfaces[k]
            if row not in made:
                made[row] = len(world._materials)
                world._materials.append(change(world._materials[row]))
                first = dict(self.same_seed).get(row, row)
                self.same_seed.append((made[row], first))
            named = world._id("material", world._materials[made[row]].concept)
            world._surfaces[k] = (made[row], names[0], names[1], named)

    def shift(self, rows: frozenset[int], by: Vec) -> None:
        """Move the solids with these surfaces and their lights by world coordinates."""
        moved = set(self.scene.solids(rows))
        for k in moved:
            prim = self.world._prims[k]
            at = tuple(a + b for a, b in zip(prim[2:5], by, strict=True))
            self.world._prims[k] = (*prim[:2], *at, *prim[5:])
        for n, k in enumerate(self.scene.owner):
            if k in moved:
                light = self.world._lights[n]
                at = tuple(a + b for a, b in zip(light[1:4], by, strict=True))
                self.world._lights[n] = (light[0], *at, *light[4:])

    def scale_lights(self, numbers: Iterable[int], factor: float) -> None:
        """Multiply what lights give off."""
        for n in numbers:
            light = self.world._lights[n]
            self.world._lights[n] = (*light[:5], *(v * factor for v in light[5:8]), *light[8:])

    def finished(self) -> World:
        """The world, without the lights that were removed."""
        lights = self.world._lights
        self.world._lights = [light for n, light in enumerate(lights) if n not in self.dark]
        return self.world


def edited_world(scene: Scene, edit: SceneEdit) -> tuple[World, tuple[tuple[int, int], ...]]:
    """The world of a scene after an edit, and what :func:`core.rooms.held.draw_held` must know
    of its materials. The scene stays as it is.

    Raises UnitscopeError for things that the scene does not have or that cannot be removed or
    moved, and for the light of things without one.
    """
    made = _Edited(scene)
    for name in edit.without:
        _need_removable(scene, name)
        made.take_away(scene.rows(name)[1])
    if edit.only is not None:
        _keep_only(made, edit.only)
    for name, _ in (*pairs(edit.material), *pairs(edit.color)):
        if not scene.rows(name)[1]:
            raise UnitscopeError(f"{name} has no surface whose material or colour could change")
    for name, material in pairs(edit.material):
        made.repaint(scene.rows(name)[1], partial(_as, USUAL[material]))
    for name, color in pairs(edit.color):
        made.repaint(scene.rows(name)[1], partial(_in, rgb_of(color)))
    right, ahead = _level(scene.world.camera)
    for name, (x, y, z) in pairs(edit.move):
        _need_removable(scene, name, "moved")
        by = (x * right[0] + y * ahead[0], x * right[1] + y * ahead[1], z)
        made.shift(scene.rows(name)[1], by)
    for name, factor in pairs(edit.light):
        _light(made, name, factor)
    made.world.camera = _seen_from(scene.world.camera, edit)
    return made.finished(), tuple(made.same_seed)


def _need_removable(scene: Scene, name: str, done: str = "removed") -> None:
    why = scene.kept(name)
    if why:
        can = [n for n in sorted(scene.names("object")) if not scene.kept(f"object:{n}")]
        raise UnitscopeError(f"{name} cannot be {done}: {why}. What can: {', '.join(can) or '–'}")


def _keep_only(made: _Edited, names: tuple[str, ...]) -> None:
    scene = made.scene
    left: set[int] = set()
    for name in (*scene.enclosing, *names):
        if name != "sky":
            left |= scene.rows(name)[1]
    # A piece of terrain with something that stays in it stays whole.
    held = {row for k in scene.solids(left) for row in scene.kinds[k]}
    gone = frozenset(range(len(scene.world._surfaces))) - held
    made.take_away(gone, lights=False)


def _as(usual: Material, old: Material) -> Material:
    """`usual` in place of `old`: what shines goes on shining, holes stay holes."""
    return replace(
        usual,
        emit=old.emit,
        shadow=old.shadow,
        cutout=old.cutout,
        cutout_scale=old.cutout_scale,
        seed=old.seed,
    )


def _in(rgb: Vec, old: Material) -> Material:
    """`old` in a colour; its second colour keeps the ratio of luminances to the first."""
    second = old.color2
    if second is not None:
        ratio = (luminance(second) + 1e-3) / (luminance(old.color) + 1e-3)
        second = (
            min(1.0, rgb[0] * ratio),
            min(1.0, rgb[1] * ratio),
            min(1.0, rgb[2] * ratio),
        )
    return replace(old, color=rgb, color2=second)


def _light(made: _Edited, name: str, factor: float) -> None:
    world, scene = made.world, made.scene
    if name in (ALL, "sun") and world.sun is not None:
        direction, color, strength = world.sun
        world.sun = (direction, color, strength * factor)
    elif name == "sun":
        raise UnitscopeError("light sun: no sun shines in this photo")
    if name == "sun":
        return
    if name == ALL:
        rows = frozenset(range(len(world._surfaces)))
        numbers = list(range(len(world._lights)))
        world.ambient = tuple(v * factor for v in world.ambient)  # type: ignore[assignment]
        if world.sky is not None:
            scaled = {
                part: tuple(v * factor for v in getattr(world.sky, part))
                for part in ("zenith", "horizon", "below", "cloud_color")
            }
            world.sky = replace(world.sky, **scaled)  # type: ignore[arg-type]
    else:
        rows = scene.rows(name)[1]
        solids = set(scene.solids(rows))
        numbers = [n for n, k in enumerate(scene.owner) if k in solids]
    bright = frozenset(k for k in rows if world._materials[world._surfaces[k][0]].emit > 0)
    if name != ALL and not bright and not numbers:
        lights = sorted({_owner_name(scene, k) for k in scene.owner if k >= 0})
        raise UnitscopeError(
            f"light {name}: it gives no light. What does: {', '.join(lights) or '–'}"
        )
    made.repaint(bright, lambda old: replace(old, emit=old.emit * factor))
    made.scale_lights(numbers, factor)


def _owner_name(scene: Scene, solid: int) -> str:
    surface = scene.world._surfaces[scene.world._prims[solid][1]]
    return str(scene.drawn.picture.names["object"][surface[1]])


def _level(camera: Camera) -> tuple[Vec, Vec]:
    """Level unit vectors to the right of a camera and ahead of it."""
    dx, dy = camera.target[0] - camera.eye[0], camera.target[1] - camera.eye[1]
    n = math.hypot(dx, dy)
    dx, dy = (dx / n, dy / n) if n > 1e-6 else (0.0, 1.0)
    return (dy, -dx, 0.0), (dx, dy, 0.0)


def _seen_from(camera: Camera, edit: SceneEdit) -> Camera:
    """The camera after the edit's step, turn, tilt and zoom."""
    if (edit.turn, edit.tilt, edit.step, edit.zoom) == (0, 0, (0, 0, 0), 1):
        return camera
    right, ahead = _level(camera)
    x, y, z = edit.step
    by = (x * right[0] + y * ahead[0], x * right[1] + y * ahead[1], z)
    eye = tuple(a + b for a, b in zip(camera.eye, by, strict=True))
    way = [b - a for a, b in zip(camera.eye, camera.target, strict=True)]
    flat, far = math.hypot(way[0], way[1]), math.sqrt(sum(v * v for v in way))
    heading = math.atan2(way[1], way[0]) - math.radians(edit.turn)
    rise = math.atan2(way[2], flat) + math.radians(edit.tilt)
    limit = math.radians(88.0)
    rise = min(limit, max(-limit, rise))
    target = (
        eye[0] + far * math.cos(rise) * math.cos(heading),
        eye[1] + far * math.cos(rise) * math.sin(heading),
        eye[2] + far * math.sin(rise),
    )
    half = math.tan(math.radians(camera.fov) / 2) / edit.zoom
    return replace(
        camera, eye=(eye[0], eye[1], eye[2]), target=target, fov=2 * math.degrees(math.atan(half))
    )


# -- photos ----------------------------------------------------------------------------------


def picture(dataset: Rooms, image: int | str, edit: SceneEdit = SceneEdit()) -> Picture:
    """A photo with its masks, drawn again after an edit.

    image : position or id.

    Kept for the next call, so it must not be changed. Safe in threads: the tracer releases the GIL.
    Raises UnitscopeError as :func:`edited_world` does, and :class:`core.foundation.errors.NoEffect`
    where a thing that the edit names is not in view and the edit without it gives the same photo.
    """
    key = _Key(dataset, _index(dataset, image))
    made = _picture(key, edit)
    scene = _scene(key)
    if edit != SceneEdit() and _same(made, scene.drawn.picture):
        without_effect(f"the edit {edit.to_json()} changes nothing in {dataset.ids[key.index]}")
    for name in edit.names:
        if not scene.pixels(name) and _same(made, _picture(key, _spared(edit, name))):
            without_effect(f"{name} is not in view of {dataset.ids[key.index]}, nor is its shadow")
    return made


@lru_cache(maxsize=64)
def _picture(key: _Key, edit: SceneEdit) -> Picture:
    return drawn_again(_scene(key), edit)


def drawn_again(scene: Scene, edit: SceneEdit) -> Picture:
    """The picture of a scene after an edit, whether or not it differs. Raises UnitscopeError as
    :func:`edited_world` does."""
    if edit == SceneEdit():
        return scene.drawn.picture
    world, same_seed = edited_world(scene, edit)
    meter = scene.drawn.meter if edit.exposure == "held" else 0.0
    return draw_held(world, len(scene.drawn.picture.rgb), meter, same_seed).picture


def _spared(edit: SceneEdit, name: str) -> SceneEdit:
    """The edit as if it did not name a thing."""
    changed: Keywords = {
        kind: tuple(pair for pair in getattr(edit, kind) if pair[0] != name) for kind in CHANGES
    }
    changed["without"] = tuple(n for n in edit.without if n != name)
    if edit.only is not None:
        changed["only"] = tuple(n for n in edit.only if n != name)
    return replace(edit, **changed)


def _same(a: Picture, b: Picture) -> bool:
    return all(np.array_equal(getattr(a, k), getattr(b, k)) for k in ("rgb", *tracer.PLANES))


def photo_bytes(dataset: Rooms, image: int | str, edit: SceneEdit = SceneEdit()) -> bytes:
    """:func:`picture` as the bytes of a PNG file."""
    out = io.BytesIO()
    Image.fromarray(picture(dataset, image, edit).rgb).save(out, "PNG", compress_level=1)
    return out.getvalue()


def things(dataset: Rooms, image: int | str) -> list[Thing]:
    """What the scene of a photo holds, objects first, those with the most pixels first.

    What is out of view is listed too: it may cast a shadow, or come into view with another camera.
    """
    scene = scene_of(dataset, image)
    out = []
    for plane in get_args(Plane):
        for name in scene.names(plane):
            full = f"{plane}:{name}"
            _, rows = scene.rows(full)
            solids = scene.solids(rows)
            lights = sum(1 for k in scene.owner if k in set(solids))
            other = "part" if plane == "object" else "object"
            column = 1 if other == "object" else 2
            listed = scene.drawn.picture.names[other]
            beside = {listed[scene.world._surfaces[row][column]] for row in rows} - {""}
            out.append(
                Thing(
                    name,
                    plane,
                    len(solids),
                    scene.pixels(full),
                    lights,
                    tuple(sorted(beside)),
                    scene.kept(full),
                )
            )
    return sorted(out, key=lambda t: (t.plane != "object", -t.pixels, t.name))


def removable(dataset: Rooms, image: int | str) -> list[Thing]:
    """Those of :func:`things` that can be removed."""
    return [thing for thing in things(dataset, image) if not thing.kept]


def rooms_of(run: Run) -> Rooms | None:
    """The dataset of a run where it is `rooms`, of whatever seed and size; else None."""

    def opened() -> Rooms | None:
        kind, _, rest = run.settings.dataset.spec.partition(":")
        return open_rooms(rest) if kind == "rooms" else None

    return run.once("core.rooms.counterfactual.rooms_of", opened)
