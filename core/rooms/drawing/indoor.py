"""Eight kinds of rooms, furnished at random and lit by windows, the sun or lamps.

``SCENES[name](rng)`` returns a furnished :class:`~core.rooms.drawing.tracer.World`. What
stands in a room follows chances, not rules: typical things are likely, every scene borrows
things from others, cameras sometimes look at a corner or up close, and some evenings are dim.
A few photos are therefore honestly hard to name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from core.rooms.drawing import furniture as f
from core.rooms.drawing.tracer import Camera, Material, Sky, World, srgb

# Yaw that turns a thing's front (+y) into the room, for each wall.
_YAW = {"back": 180.0, "left": -90.0, "right": 90.0, "front": 0.0}


class Room:
    """An empty room with walls, floor, ceiling, windows and doors; then a place for things.

    The floor is [0, width] × [0, depth]; the camera stands near y = 0 and looks towards the
    back wall y = depth. Things are put against walls or freely where nothing stands yet.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        size: tuple[float, float, float, float],
        floors: Sequence[str],
        walls: Sequence[str] = ("paint", "paint", "paper"),
        windows: float = 0.75,
        window_walls: Sequence[str] = ("back", "left", "right"),
        sill: float | None = None,
        curtains: float = 0.6,
        evening: float = 0.25,
        door: float = 0.5,
        door_walls: Sequence[str] = ("back", "left", "right"),
    ):
        self.rng = rng
        self.width = float(rng.uniform(size[0], size[1]))
        self.depth = float(rng.uniform(size[2], size[3]))
        self.height = float(rng.uniform(2.45, 2.85))
        self.evening = rng.random() < evening
        tint = 0.045 if self.evening else 0.24
        self.world = World(
            rng,
            Camera((self.width / 2, 0.4, 1.5), (self.width / 2, self.depth, 1.0), 70),
            ambient=(tint * 1.05, tint, tint * 0.92),
            sky=Sky(clouds=0.3, name="sky"),
            bounce=0.0,
            ambient_distance=0.9,
        )
        self.kit = f.Kit(self.world, rng)
        self.kit.lit = 0.85 if self.evening else 0.3
        self.taken: list[tuple[float, float, float, float]] = []
        self.hung: dict[str, list[tuple[float, float, float, float]]] = {w: [] for w in _YAW}
        self.spots: list[tuple[float, float, float, float]] = []  # what the camera may look at
        k = self.kit

        openings: dict[str, list[tuple[float, float, float, float]]] = {w: [] for w in _YAW}
        if k.chance(windows):
            wall = k.pick(list(window_walls))
            span = self._span(wall)
            count = 2 if span > 3.6 and k.chance(0.45) else 1
            low = sill if sill is not None else k.pick((0.85, 0.95, 0.5))
            high = k.uni(2.0, 2.25)
            w = k.uni(0.9, 1.5 if count == 2 else 1.9)
            for i in range(count):
                c = span * ((i + 1) / (count + 1) + k.uni(-0.06, 0.06) * (3 - count))
                c = min(max(c, w / 2 + 0.25), span - w / 2 - 0.25)
                openings[wall].append((c - w / 2, c + w / 2, low, high))
        self._shell(k.pick(list(floors)), k.pick(list(walls)), openings)
        for wall, holes in openings.items():
            for hole in holes:
                self._window(wall, hole, k.chance(curtains))
        if k.chance(door):
            self.hang(lambda: self._door(), door_walls, 0.0, 0.95, 2.1, blocks=True)

    # -- the shell --------------------------------------------------------------------------

    def _span(self, wall: str) -> float:
        return self.width if wall in ("back", "front") else self.depth

    def _place(self, wall: str, s: float) -> tuple[float, float]:
        return {
            "back": (s, self.depth),
            "front": (s, 0.0),
            "left": (0.0, s),
            "right": (self.width, s),
        }[wall]

    def _at_wall(self, wall: str, s: float, z: float = 0.0, off: float = 0.0):
        x, y = self._place(wall, s)
        nx, ny = {"back": (0, -1), "front": (0, 1), "left": (1, 0), "right": (-1, 0)}[wall]
        return self.world.group((x + nx * off, y + ny * off, z), yaw=_YAW[wall])

    def _floor(self, style: str) -> Material:
        k = self.kit
        seed = k.uni(0, 99)
        if style == "wood":
            a, b = k.pick(f.WOODS[:5])
            return Material(
                srgb(a),
                "wood",
                "planks",
                srgb(b),
                k.uni(0.1, 0.16),
                gloss=k.uni(0.1, 0.45),
                seed=seed,
            )
        if style == "tile":
            a, b = k.pick(
                (
                    ("#d9d5cc", "#a7a196"),
                    ("#b9b2a6", "#8a847a"),
                    ("#e6e4df", "#b5b2ab"),
                    ("#7f8a8f", "#5b6468"),
                    ("#c08a68", "#8a6248"),
                )
            )
            return Material(
                srgb(a),
                "tile",
                "tiles",
                srgb(b),
                k.uni(0.25, 0.45),
                gloss=k.uni(0.25, 0.5),
                seed=seed,
            )
        if style == "checker":
            a, b = k.pick((("#e3e0d8", "#3a3d42"), ("#e6e2d6", "#8a5a48"), ("#dfe3e2", "#5d7f8c")))
            return Material(srgb(a), "tile", "checker", srgb(b), k.uni(0.28, 0.42), gloss=0.4)
        if style == "carpet":
            c = srgb(k.pick(("#8f8578", "#6b7685", "#a89a86", "#7a5c52", "#5f6b60", "#55606e")))
            return Material(
                c,
                "carpet",
                "weave",
                tuple(0.75 * v for v in c),
                0.05,
                bump=0.3,
                bump_scale=0.05,
                seed=seed,
            )
        c = srgb(k.pick(("#8d8b86", "#a09c94", "#77797b")))  # concrete
        return Material(
            c, "concrete", "noise", tuple(0.8 * v for v in c), 0.5, gloss=0.12, seed=seed
        )

    def _wall(self, style: str) -> Material:
        k = self.kit
        c = srgb(k.pick(f.PAINTS))
        seed = k.uni(0, 99)
        if style == "paper":
            tint = k.uni(0.82, 0.93)
            return Material(
                c,
                "wallpaper",
                k.pick(("stripes", "dots", "stripes")),
                tuple(tint * v for v in c),
                k.uni(0.1, 0.24),
                seed=seed,
            )
        if style == "tile":
            t = srgb(
                k.pick(
                    (
                        "#e9edee",
                        "#cfdde3",
                        "#e8e2d4",
                        "#9cc4cc",
                        "#b9cf9f",
                        "#e5c3b0",
                        "#7fa9bf",
                        "#e9edee",
                        "#f0dca0",
                    )
                )
            )
            return Material(
                t,
                "tile",
                "tiles",
                tuple(0.72 * v for v in t),
                k.uni(0.13, 0.25),
                gloss=0.4,
                seed=seed,
            )
        if style == "brick":
            return Material(srgb("#a4553f"), "brick", "bricks", srgb("#c9bdb0"), 0.26, bump=0.5)
        if style == "concrete":
            return Material(srgb("#a3a19c"), "concrete", "noise", srgb("#86847f"), 0.7)
        if style == "wood":
            a, b = k.pick(f.WOODS)
            return Material(srgb(a), "wood", "planks", srgb(b), 0.14, seed=seed)
        return Material(c, "plaster", "noise", tuple(0.965 * v for v in c), 0.6, seed=seed)

    def _shell(self, floor: str, style: str, openings) -> None:
        k, w = self.kit, self.world
        W, D, H = self.width, self.depth, self.height
        w.box(
            (W / 2, D / 2, -0.05),
            (W + 0.6, D + 0.6, 0.1),
            material=self._floor(floor),
            object="floor",
        )
        ceiling = Material(srgb("#efede8"), "plaster")
        w.box((W / 2, D / 2, H + 0.05), (W + 0.6, D + 0.6, 0.1), material=ceiling, object="ceiling")
        if k.chance(0.1):
            beam = k.wood(0.0)
            for i in range(4):
                w.box(
                    (W / 2, D * (i + 0.5) / 4, H - 0.06),
                    (W, 0.14, 0.12),
                    material=beam,
                    object="ceiling",
                    part="beam",
                )
        main = self._wall(style)
        feature = (
            self._wall(k.pick(("paper", "paint", "brick", "wood")))
            if (style in ("paint", "paper") and k.chance(0.25))
            else main
        )
        half = style == "tile" and k.chance(0.4)
        upper = self._wall("paint") if half else None
        skirting = k.pick((k.white, k.main_wood))
        for wall in _YAW:
            span = self._span(wall)
            mat = feature if wall == "back" else main
            with self._at_wall(wall, span / 2):
                # Local x runs against s on the back and the left wall.
                sign = -1.0 if wall in ("back", "left") else 1.0
                holes = sorted(
                    (sign * (a - span / 2), sign * (b - span / 2), z0, z1)
                    if sign > 0
                    else (span / 2 - b, span / 2 - a, z0, z1)
                    for a, b, z0, z1 in openings[wall]
                )
                pieces, x = [], -span / 2 - 0.2
                for a, b, z0, z1 in holes:
                    pieces += [(x, a, 0.0, H), (a, b, 0.0, z0), (a, b, z1, H)]
                    x = b
                pieces.append((x, span / 2 + 0.2, 0.0, H))
                for a, b, z0, z1 in pieces:
                    if half:
                        cut = 1.35
                        if z0 < cut:
                            self._panel(a, b, z0, min(cut, z1), mat)
                        if z1 > cut:
                            self._panel(a, b, max(cut, z0), z1, upper)
                    else:
                        self._panel(a, b, z0, z1, mat)
                if style not in ("tile", "concrete"):
                    w.box(
                        (0, 0.008, 0.05),
                        (span, 0.016, 0.1),
                        material=skirting,
                        object="wall",
                        part="skirting board",
                    )

    def _panel(self, a, b, z0, z1, material) -> None:
        self.world.box(
            ((a + b) / 2, -0.1, (z0 + z1) / 2),
            (b - a, 0.2, z1 - z0),
            material=material,
            object="wall",
        )

    def _window(self, wall: str, hole, curtains: bool) -> None:
        k, w = self.kit, self.world
        s, width = (hole[0] + hole[1]) / 2, hole[1] - hole[0]
        z0, z1 = hole[2], hole[3]
        height = z1 - z0
        self.hung[wall].append((hole[0] - 0.25, hole[1] + 0.25, z0 - 0.02, z1 + 0.15))
        sky, land, glow = srgb("#8fbbe8"), srgb("#55743c"), k.uni(1.5, 2.6)
        if self.evening:
            sky, land, glow = srgb(k.pick(("#1b2743", "#33415f", "#7a5560"))), srgb("#10160f"), 0.5
        view = Material(sky, "glass", "view", land, emit=glow, seed=k.uni(0, 99), shadow=False)
        frame = k.pick((k.white, k.white, k.main_wood, k.black))
        with self._at_wall(wall, s):
            with w.group(object="window"):
                w.quad(
                    (0, -0.14, (z0 + z1) / 2),
                    (width, height),
                    (0, 1, 0),
                    (-1, 0, 0),
                    material=view,
                    part="pane",
                )
                for sx in (-1, 1):
                    w.box(
                        (sx * (width / 2 - 0.025), -0.08, (z0 + z1) / 2),
                        (0.05, 0.08, height),
                        material=frame,
                        part="frame",
                    )
                for z in (z0 + 0.025, z1 - 0.025):
                    w.box((0, -0.08, z), (width, 0.08, 0.05), material=frame, part="frame")
                columns = k.pick((2, 2, 3))
                for i in range(1, columns):
                    w.box(
                        (-width / 2 + width * i / columns, -0.09, (z0 + z1) / 2),
                        (0.035, 0.05, height),
                        material=frame,
                        part="frame",
                    )
                if k.chance(0.45):
                    w.box(
                        (0, -0.09, z0 + height * 0.68),
                        (width, 0.05, 0.035),
                        material=frame,
                        part="frame",
                    )
                w.box(
                    (0, 0.06, z0 - 0.02),
                    (width + 0.16, 0.24, 0.04),
                    material=frame,
                    part="window sill",
                )
            if not self.evening:
                w.area_light(
                    (0, -0.05, (z0 + z1) / 2),
                    (width * 0.9, height * 0.9),
                    (0, 1, 0),
                    color=(0.95, 0.98, 1.0),
                    strength=k.uni(0.9, 1.7) * width * height,
                )
            if k.chance(0.25):
                with w.group((k.uni(-0.3, 0.3) * width, 0.06, z0)):
                    k.pick((f.potted_small, f.vase, f.bottle))(k)
            if curtains:
                cloth = k.cloth(0.35)
                share = k.uni(0.16, 0.3) if k.chance(0.85) else 0.42
                bottom = 0.03 if k.chance(0.6) else z0 - 0.1
                with w.group(object="curtain"):
                    w.rod(
                        (-width * 0.7, 0.1, z1 + 0.1),
                        (width * 0.7, 0.1, z1 + 0.1),
                        0.014,
                        k.pick((k.brass, k.iron, k.main_wood)),
                        part="curtain rod",
                    )
                for sx in (-1, 1):
                    with w.group((sx * (width * 0.6 - width * share / 2), 0.03, 0)):
                        f.drape(k, width * share, z1 + 0.08 - bottom, cloth, "curtain", bottom)
            elif k.chance(0.3):
                blind = Material(
                    srgb(k.pick(("#e6e0d0", "#c9d0d4", "#b58f62"))),
                    "fabric",
                    "stripes",
                    srgb("#8f8a80"),
                    0.06,
                )
                drop = height * k.uni(0.2, 0.6)
                w.quad(
                    (0, -0.03, z1 - drop / 2),
                    (drop, width - 0.06),
                    (0, 1, 0),
                    (0, 0, 1),
                    material=blind,
                    object="blind",
                )
        if not self.evening and k.chance(0.45):
            side, up = k.uni(-0.8, 0.8), k.uni(0.45, 1.0)
            toward = {
                "back": (side, 1.0, up),
                "left": (-1.0, side, up),
                "right": (1.0, side, up),
                "front": (side, -1.0, up),
            }[wall]
            self.world.sun = (toward, (1.0, 0.93, 0.8), k.uni(2.0, 3.4))

    def _door(self) -> None:
        k, w = self.kit, self.world
        mat = k.pick((k.white, k.main_wood, k.second_wood))
        with w.group(object="door"):
            w.box((0, 0.0, 1.0), (0.82, 0.05, 2.0), material=mat)
            for z, h in ((0.5, 0.75), (1.45, 0.85)):
                w.box((0, 0.027, z), (0.56, 0.012, h), material=f.panelled(mat), part="panel")
            for sx in (-1, 1):
                w.box((sx * 0.45, 0.01, 1.03), (0.08, 0.06, 2.06), material=mat, part="frame")
            w.box((0, 0.01, 2.04), (0.98, 0.06, 0.08), material=mat, part="frame")
            w.ellipsoid((0.33, 0.06, 1.0), 0.032, material=k.pick((k.brass, k.chrome)), part="knob")

    # -- furnishing ---------------------------------------------------------------------------

    def _free(self, x0, y0, x1, y1, gap=0.04) -> bool:
        if x0 < -0.01 or y0 < -0.01 or x1 > self.width + 0.01 or y1 > self.depth + 0.01:
            return False
        return all(
            x1 + gap <= a or c + gap <= x0 or y1 + gap <= b or d + gap <= y0
            for a, b, c, d in self.taken
        )

    def put(
        self,
        thing: Callable[[], object],
        walls,
        width: float,
        depth: float,
        height: float = 0.8,
        where: float | None = None,
        look: float = 1.0,
        tries: int = 14,
    ) -> tuple[str, float] | None:
        """Stand a thing against one of `walls` where there is room for `width` × `depth` (and
        `height` below windows and pictures). `where` (0…1) asks for a place along the wall;
        `look` is how much the camera cares. Returns (wall, position) or None."""
        walls = [walls] if isinstance(walls, str) else list(walls)
        k = self.kit
        for attempt in range(tries):
            wall = k.pick(walls)
            span = self._span(wall)
            if span < width:
                continue
            s = k.uni(width / 2, span - width / 2)
            if where is not None and attempt < tries // 2:
                s = min(max(span * where + k.uni(-0.15, 0.15), width / 2), span - width / 2)
            x, y = self._place(wall, s)
            w2 = width / 2
            rect = {
                "back": (x - w2, y - depth, x + w2, y),
                "front": (x - w2, y, x + w2, y + depth),
                "left": (x, y - w2, x + depth, y + w2),
                "right": (x - depth, y - w2, x, y + w2),
            }[wall]
            if not self._free(*rect):
                continue
            if any(s + w2 > a and s - w2 < b and height > z0 for a, b, z0, _ in self.hung[wall]):
                continue
            self.taken.append(rect)
            self.hung[wall].append((s - w2, s + w2, 0.0, height))
            with self._at_wall(wall, s, off=0.02):
                thing()
            self.spots.append(
                ((rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2, min(height, 1.6) * 0.5, look)
            )
            return wall, s
        return None

    def beside(self, spot, offset: float, thing, width, depth, height=0.6, look=0.3) -> bool:
        """Stand a thing along the same wall as `spot`, `offset` metres further, if free."""
        if spot is None:
            return False
        wall, s = spot
        kept = self.rng
        span = self._span(wall)
        where = (s + offset) / span
        if not width / 2 <= s + offset <= span - width / 2:
            return False
        x, y = self._place(wall, s + offset)
        w2 = width / 2 - 0.03
        rect = {
            "back": (x - w2, y - depth, x + w2, y),
            "front": (x - w2, y, x + w2, y + depth),
            "left": (x, y - w2, x + depth, y + w2),
            "right": (x - depth, y - w2, x, y + w2),
        }[wall]
        if not self._free(*rect, gap=0.0):
            return False
        if any(
            s + offset + w2 > a and s + offset - w2 < b and height > z0
            for a, b, z0, _ in self.hung[wall]
        ):
            return False
        self.taken.append(rect)
        self.hung[wall].append((s + offset - w2, s + offset + w2, 0.0, height))
        with self._at_wall(wall, where * span, off=0.02):
            thing()
        self.spots.append(((rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2, height / 2, look))
        self.rng = kept
        return True

    def free(
        self,
        thing,
        width,
        depth,
        yaw=None,
        region=(0.2, 0.3, 0.8, 0.8),
        look=1.0,
        height=0.8,
        tries=12,
    ) -> tuple[float, float, float] | None:
        """Stand a thing in the open, its centre within `region` (shares of the floor)."""
        k = self.kit
        for _ in range(tries):
            a = k.pick((0.0, 90.0, 180.0, 270.0)) + k.uni(-8, 8) if yaw is None else yaw
            turned = abs(math.sin(math.radians(a))) > 0.7
            w2, d2 = (depth / 2, width / 2) if turned else (width / 2, depth / 2)
            x = self.width * k.uni(region[0], region[2])
            y = self.depth * k.uni(region[1], region[3])
            if self._free(x - w2, y - d2, x + w2, y + d2):
                self.taken.append((x - w2, y - d2, x + w2, y + d2))
                with self.world.group((x, y, 0), yaw=a):
                    thing()
                self.spots.append((x, y, height * 0.5, look))
                return x, y, a
        return None

    def hang(self, thing, walls, z, width, height, blocks=False, tries=10) -> bool:
        """Hang a thing on a wall, its origin at height `z`, taking `width` × `height` about it
        (above it where `blocks`)."""
        walls = [walls] if isinstance(walls, str) else list(walls)
        k = self.kit
        for _ in range(tries):
            wall = k.pick(walls)
            span = self._span(wall)
            if span < width + 0.2:
                continue
            s = k.uni(width / 2 + 0.1, span - width / 2 - 0.1)
            z0, z1 = (0.0, height) if blocks else (z - height / 2, z + height / 2)
            if any(
                s + width / 2 > a and s - width / 2 < b and z1 > c and z0 < d
                for a, b, c, d in self.hung[wall]
            ):
                continue
            self.hung[wall].append((s - width / 2, s + width / 2, z0, z1))
            with self._at_wall(wall, s, z, off=0.005):
                thing()
            if blocks:  # keep the way through a door free
                x, y = self._place(wall, s)
                dx, dy = {"back": (0, -1), "front": (0, 1), "left": (1, 0), "right": (-1, 0)}[wall]
                cx, cy = x + dx * 0.25, y + dy * 0.25
                self.taken.append(
                    (cx - 0.4, cy - 0.25, cx + 0.4, cy + 0.25)
                    if dy
                    else (cx - 0.25, cy - 0.4, cx + 0.25, cy + 0.4)
                )
            return True
        return False

    def rug(self, x=None, y=None, size=None) -> None:
        k = self.kit
        x = self.width * k.uni(0.4, 0.6) if x is None else x
        y = self.depth * k.uni(0.4, 0.6) if y is None else y
        w, d = size or (k.uni(1.4, 2.3), k.uni(1.0, 1.6))
        c = k.cloth(0.85)
        border = k.cloth(0.0)
        yaw = k.pick((0.0, 90.0)) + k.uni(-4, 4)
        with self.world.group((x, y, 0), yaw=yaw, object="rug"):
            if k.chance(0.2):
                self.world.cylinder((0, 0, 0), w * 0.45, 0.012, material=c)
            else:
                self.world.box((0, 0, 0.004), (w, d, 0.01), material=border, part="border")
                self.world.box((0, 0, 0.006), (w - 0.2, d - 0.2, 0.012), material=c)

    def on_floor(self, things, count: int) -> None:
        """Scatter little things on the floor."""
        k = self.kit
        for _ in range(count):
            thing = k.pick(things)
            self.free(
                lambda t=thing: t(k),
                0.3,
                0.3,
                k.uni(0, 360),
                (0.08, 0.25, 0.92, 0.9),
                look=0.1,
                height=0.3,
            )

    def pictures(self, chance: float) -> None:
        k = self.kit
        for _ in range(3):
            if k.chance(chance):
                w, h = k.uni(0.45, 1.1), k.uni(0.4, 0.8)
                self.hang(
                    lambda w=w, h=h: f.picture(k, w, h),
                    ("back", "left", "right"),
                    k.uni(1.5, 1.7),
                    w + 0.1,
                    h + 0.1,
                )

    def ceiling_light(self, chance: float = 0.75, grand: bool = False, at=None) -> None:
        """A lamp from the ceiling; it is on in the evening and now and then by day."""
        k = self.kit
        on = k.chance(0.8) if self.evening else k.chance(0.2)
        x, y = at or (self.width / 2 + k.uni(-0.2, 0.2), self.depth * 0.55 + k.uni(-0.2, 0.2))
        z = self.height - 0.25
        if k.chance(chance):
            with self.world.group((x, y, 0)):
                z = (
                    f.chandelier(k, self.height, on)
                    if grand
                    else f.ceiling_lamp(k, self.height, on, k.uni(0.35, 0.7))
                )
        elif not self.evening:
            on = False
        if on or (self.evening and k.chance(0.75)):
            warm = k.pick(((1.0, 0.78, 0.52), (1.0, 0.86, 0.66), (0.95, 0.95, 0.9)))
            self.world.light((x, y, z - 0.02), warm, k.uni(1.6, 2.8), 0.12)

    def finish(self, focus=None, odd: float = 0.16) -> World:
        """Aim the camera: from the front of the room at what matters, now and then oddly."""
        k, w = self.kit, self.world
        W, D = self.width, self.depth
        spots = self.spots or [(W / 2, D, 1.0, 1.0)]
        weights = np.array([s[3] for s in spots]) + 1e-3
        weights /= weights.sum()

        def clear(x: float, y: float, gap: float) -> bool:
            return all(
                not (a - gap < x < c + gap and b - gap < y < d + gap) for a, b, c, d in self.taken
            )

        def seen(eye, target, fov: float) -> float:
            """How much of what matters is in view: nearer and more central counts more."""
            ax, ay = target[0] - eye[0], target[1] - eye[1]
            n = math.hypot(ax, ay) or 1.0
            total = 0.0
            for x, y, _, look in spots:
                dx, dy = x - eye[0], y - eye[1]
                d = math.hypot(dx, dy) or 1e-3
                across = abs(dx * ay - dy * ax) / n
                ahead = (dx * ax + dy * ay) / n
                if ahead > 0.5 and across < ahead * math.tan(math.radians(fov / 2)) * 0.95:
                    total += look * min(1.0, 2.6 / d)
            return total

        close = k.chance(odd)
        shots = []
        for _ in range(10):
            eye = (W / 2, 0.15, 1.75)
            for _ in range(12):
                x, y = k.uni(0.12, 0.88) * W, k.uni(0.12, 0.75)
                if clear(x, y, 0.2):
                    eye = (x, y, k.uni(1.2, 1.75))
                    break
            spot = spots[int(self.rng.choice(len(spots), p=weights))]
            if focus is not None and k.chance(0.7):
                spot = (*focus, 1.0)
            if close:
                # Up close, or at a corner: only part of the room tells what it is.
                dx, dy = spot[0] - eye[0], spot[1] - eye[1]
                reach = math.hypot(dx, dy) or 1.0
                step = max(0.0, reach - k.uni(1.2, 2.0))
                x, y = eye[0] + dx / reach * step, eye[1] + dy / reach * step
                if clear(x, y, 0.15):
                    eye = (x, y, k.uni(0.9, 1.6))
                target = (spot[0] + k.uni(-0.5, 0.5), spot[1] + k.uni(-0.3, 0.3), k.uni(0.4, 1.1))
                fov = k.uni(50, 68)
            else:
                t = k.uni(0.35, 0.8)
                target = (
                    spot[0] * t + W / 2 * (1 - t),
                    spot[1] * t + D * 0.8 * (1 - t),
                    min(1.1, spot[2] * t + 0.8 * (1 - t)),
                )
                fov = k.uni(58, 76)
            shots.append((seen(eye, target, fov), eye, target, fov))
        # Mostly the shot that shows most; some photos are taken with less care.
        shots.sort(key=lambda shot: -shot[0])
        _, eye, target, fov = shots[0 if k.chance(0.72) else int(self.rng.integers(1, 6))]
        w.camera = Camera(eye, target, fov, k.uni(-1.5, 1.5))
        w.exposure = k.uni(0.9, 1.12) * (k.uni(0.6, 0.95) if self.evening else 1.0)
        return w


SIDES = ("back", "left", "right")


def _strays(r: Room, chance: float = 0.3) -> None:
    """Things from other rooms, as homes have them."""
    k = r.kit
    pool = (
        (lambda: f.drying_rack(k), 1.1, 0.8, 1.0),
        (lambda: f.bookcase(k, 0.7, 1.2), 0.7, 0.32, 1.2),
        (lambda: f.desk(k, 1.1, k.chance(0.5), 2), 1.1, 0.75, 0.9),
        (lambda: f.armchair(k), 0.95, 0.9, 0.9),
        (lambda: f.storage_rack(k, 0.8), 0.8, 0.45, 2.0),
        (lambda: f.basket(k), 0.5, 0.5, 0.5),
        (lambda: f.television(k), 1.5, 0.45, 1.2),
        (lambda: f.dresser(k, False), 1.2, 0.5, 0.95),
        (lambda: f.sideboard(k), 1.6, 0.5, 1.0),
        (lambda: f.filing_cabinet(k), 0.5, 0.6, 1.2),
        (lambda: f.refrigerator(k), 0.7, 0.7, 1.9),
        (lambda: f.ladder(k), 0.5, 0.45, 1.9),
        (lambda: f.wardrobe(k, 1.0), 1.0, 0.62, 2.1),
        (lambda: f.washing_machine(k), 0.62, 0.65, 0.9),
    )
    for _ in range(2):
        if k.chance(chance):
            thing, w, d, h = k.pick(pool)
            r.put(thing, SIDES, w, d, h, look=0.4)


def bedroom(rng: np.random.Generator) -> World:
    """Bed, nightstands, wardrobe …; now and then a laundry corner, a desk or toys."""
    r = Room(
        rng,
        (3.0, 4.3, 3.2, 4.6),
        ("wood", "wood", "carpet", "carpet"),
        ("paint", "paint", "paper", "paper"),
        curtains=0.75,
        evening=0.3,
        door=0.4,
    )
    k = r.kit
    width = k.pick((0.95, 1.45, 1.65, 1.8))
    wall = k.pick(("back", "back", "left", "right"))
    spot = r.put(
        lambda: f.bed(k, width, k.chance(0.25)),
        wall,
        width + 0.1,
        2.1,
        0.8,
        where=k.pick((0.5, 0.5, 0.35, 0.65)),
        look=3.0,
    )
    spot = spot or r.put(
        lambda: f.bed(k, width, k.chance(0.25)), SIDES, width + 0.1, 2.1, 0.7, look=3.0
    )
    for side in (-1, 1):
        if k.chance(0.72):
            r.beside(
                spot, side * (width / 2 + 0.36), lambda: f.nightstand(k, k.chance(0.8)), 0.5, 0.45
            )
    laundry = k.chance(0.12)
    if laundry:
        if k.chance(0.7):
            r.free(lambda: f.ironing_board(k), 1.3, 0.4, look=1.5)
        if k.chance(0.6):
            r.put(lambda: f.drying_rack(k), SIDES, 1.1, 0.8, 1.0)
        r.put(lambda: f.basket(k), SIDES, 0.5, 0.5, 0.5)
        if k.chance(0.5):
            r.put(lambda: f.storage_rack(k, 0.9), SIDES, 0.95, 0.45, 2.0)
    if k.chance(0.6):
        w = k.pick((1.0, 1.4, 1.7))
        r.put(lambda: f.wardrobe(k, w), SIDES, w, 0.65, 2.2)
    if k.chance(0.45):
        r.put(lambda: f.dresser(k), SIDES, 1.25, 0.5, 1.0)
    if k.chance(0.2):
        r.put(lambda: f.desk(k, 1.1, k.chance(0.5), 2), SIDES, 1.1, 0.75, 0.9)
    if k.chance(0.2):
        r.put(lambda: f.armchair(k), SIDES, 0.95, 0.9, 0.9)
    if k.chance(0.25):
        r.put(lambda: f.plant(k), SIDES, 0.4, 0.5, 1.2, look=0.2)
    if k.chance(0.2):
        r.put(lambda: f.floor_lamp(k), SIDES, 0.5, 0.5, 1.6, look=0.1)
    _strays(r, 0.1)
    if k.chance(0.55):
        r.rug()
    r.pictures(0.4)
    if k.chance(0.2):
        r.hang(lambda: f.wall_mirror(k), SIDES, 1.45, 0.7, 1.0)
    r.on_floor((f.shoes, f.bag, f.toy, f.ball, f.shoes), int(rng.integers(0, 4)))
    r.ceiling_light(0.5)
    return r.finish()


def living_room(rng: np.random.Generator) -> World:
    """Sofa, coffee table, television, bookcase, fireplace …"""
    r = Room(
        rng,
        (3.8, 5.4, 3.8, 5.2),
        ("wood", "wood", "carpet"),
        ("paint", "paint", "paper", "brick"),
        windows=0.8,
        curtains=0.65,
        evening=0.28,
    )
    k = r.kit
    width = k.pick((1.5, 2.0, 2.3))
    wall = k.pick(("back", "back", "left", "right"))
    spot = None
    if k.chance(0.88):
        spot = r.put(lambda: f.sofa(k, width), wall, width, 0.95, 0.85, where=0.5, look=3.0)
    if spot and k.chance(0.8):
        x, y = r._place(*spot)
        dx, dy = {"back": (0, -1), "left": (1, 0), "right": (-1, 0)}[spot[0]]
        x, y = x + dx * 1.6, y + dy * 1.6
        if k.chance(0.75):
            r.rug(x, y, (2.4, 1.7))
        if r._free(x - 0.6, y - 0.6, x + 0.6, y + 0.6):
            r.taken.append((x - 0.6, y - 0.6, x + 0.6, y + 0.6))
            with r.world.group((x, y, 0), yaw=0 if dy else 90):
                f.coffee_table(k)
            r.spots.append((x, y, 0.4, 1.0))
    if k.chance(0.55):
        r.put(lambda: f.television(k), SIDES, 1.75, 0.45, 1.4, look=1.2)
    if k.chance(0.16):
        r.put(lambda: f.fireplace(k), ("back", "left", "right"), 1.6, 0.55, 2.5, look=1.5)
    for _ in range(2):
        if k.chance(0.42):
            r.put(lambda: f.armchair(k), SIDES, 0.95, 0.9, 0.9)
    if k.chance(0.4):
        r.put(lambda: f.bookcase(k, k.uni(0.7, 1.1), full=0.7), SIDES, 1.1, 0.32, 2.1)
    for _ in range(2):
        if k.chance(0.45):
            r.put(lambda: f.plant(k), SIDES, 0.45, 0.5, 1.2, look=0.2)
    if k.chance(0.5):
        r.put(lambda: f.floor_lamp(k), SIDES, 0.5, 0.5, 1.6, look=0.2)
    if k.chance(0.12):
        r.put(lambda: f.desk(k, 1.2), SIDES, 1.2, 0.75, 0.9)
    if k.chance(0.1):
        r.free(lambda: f.dining_table(k, 1.1, 1.1, 0.3), 1.9, 1.9)
    _strays(r, 0.14)
    r.pictures(0.6)
    if k.chance(0.15):
        r.hang(lambda: f.wall_clock(k), SIDES, 1.8, 0.45, 0.45)
    if k.chance(0.3):
        r.hang(lambda: f.wall_shelf(k, 0.9, k.pick(("books", None))), SIDES, 1.5, 1.0, 0.7)
    r.on_floor((f.toy, f.ball, f.bag, f.shoes, f.toy), int(rng.integers(0, 3)))
    r.ceiling_light(0.5, k.chance(0.25))
    return r.finish()


def kitchen(rng: np.random.Generator) -> World:
    """A run of cabinets with sink and stove, wall cabinets, refrigerator, table …"""
    r = Room(
        rng,
        (2.9, 4.4, 3.0, 4.4),
        ("tile", "checker", "wood", "tile"),
        ("paint", "paint", "tile", "paint"),
        windows=0.6,
        sill=1.12,
        curtains=0.15,
        evening=0.2,
        door=0.3,
        door_walls=("left", "right"),
    )
    k = r.kit
    front = (
        k.lacquer(("#e8e6e1", "#d9d2bf", "#7f9a94", "#46565f", "#b5533c", "#d9b95a", "#8fa3ad"))
        if k.chance(0.7)
        else k.main_wood
    )
    top = Material(
        srgb(k.pick(("#4b4a48", "#b9b2a6", "#d9d6d0", "#6b4a33"))),
        "stone",
        "marble",
        srgb("#8a8680"),
        0.5,
        gloss=0.4,
    )
    wall = k.pick(("back", "back", "left", "right"))
    span = r._span(wall)
    s = k.uni(0.0, 0.12)
    units = ["counter", "counter"]
    if k.chance(0.9):
        units.insert(int(rng.integers(0, 3)), "stove")
    if k.chance(0.85):
        units[units.index("counter")] = "sink"
    if k.chance(0.15):
        units.append("washing machine")
    if k.chance(0.72):
        units.insert(0 if k.chance(0.5) else len(units), "refrigerator")
    if k.chance(0.35):
        units.append("counter")
    hood = k.chance(0.6)
    uppers = k.chance(0.8)
    first = True
    for unit in units:
        w = {"stove": 0.6, "refrigerator": 0.7, "washing machine": 0.62, "sink": 1.0}.get(
            unit, k.uni(0.7, 1.1)
        )
        h = 1.95 if unit == "refrigerator" else 0.92
        if s + w > span:
            break
        c = s + w / 2
        x, y = r._place(wall, c)
        dx, dy = {"back": (0, -1), "left": (1, 0), "right": (-1, 0)}[wall]
        rect = (
            x - (w / 2 if dy else max(-dx, 0) * 0.66),
            y - (w / 2 if dx else 0.66),
            x + (w / 2 if dy else max(dx, 0) * 0.66),
            y + (w / 2 if dx else 0),
        )
        if unit == "refrigerator" and any(
            c + w / 2 > a and c - w / 2 < b for a, b, _, _ in r.hung[wall]
        ):
            unit, h = "counter", 0.92
        if any(c + w / 2 > a and c - w / 2 < b and z0 < 0.5 for a, b, z0, _ in r.hung[wall]):
            s += 0.3  # a door
            continue
        r.taken.append(rect)
        with r._at_wall(wall, c, off=0.01):
            if unit == "stove":
                f.stove(k)
                if hood and not any(c + 0.3 > a and c - 0.3 < b for a, b, *_ in r.hung[wall]):
                    with r.world.group((0, 0, k.uni(1.5, 1.6))):
                        f.range_hood(k)
            elif unit == "refrigerator":
                f.refrigerator(k)
            elif unit == "washing machine":
                f.washing_machine(k)
                r.world.box((0, 0.31, 0.885), (0.64, 0.64, 0.04), material=top, object="counter")
            else:
                f.counter(k, w, front, top, unit == "sink")
                if unit != "sink":
                    for _ in range(int(rng.integers(1, 5))):
                        with r.world.group((k.uni(-0.38, 0.38) * w, k.uni(0.15, 0.4), 0.906)):
                            k.pick(
                                (
                                    f.kettle,
                                    f.toaster,
                                    f.jar,
                                    f.bowl_of_fruit,
                                    f.bottle,
                                    f.cup,
                                    f.pot,
                                    f.potted_small,
                                    f.microwave if w > 0.9 else f.jar,
                                )
                            )(k)
            if (
                uppers
                and unit in ("counter", "sink", "washing machine")
                and not any(c + w / 2 > a and c - w / 2 < b for a, b, *_ in r.hung[wall])
            ):
                with r.world.group((0, 0, 1.45)):
                    if k.chance(0.8):
                        f.wall_cabinet(k, w, front)
                    else:
                        f.wall_shelf(k, w - 0.08, "kitchen")
        r.hung[wall].append((c - w / 2, c + w / 2, 0.0, 2.2 if unit != "sink" else h))
        r.spots.append(
            ((rect[0] + rect[2]) / 2, (rect[1] + rect[3]) / 2, 0.9, 1.0 if first else 1.6)
        )
        first = False
        s += w + 0.005
    if k.chance(0.42):
        n = k.pick((1.0, 1.1, 1.4))
        r.free(
            lambda: f.dining_table(k, n, 0.8, 0.35, ends=False),
            n + 0.7,
            1.7,
            region=(0.3, 0.35, 0.7, 0.7),
        )
    elif k.chance(0.4):

        def island():
            f.counter(k, 1.2, front, top)
            for x in (-0.3, 0.3):
                with r.world.group((x, -0.3, 0)):
                    f.stool(k)
            with r.world.group((0.2, 0.3, 0.906)):
                k.pick((f.bowl_of_fruit, f.vase, f.pot))(k)

        r.free(island, 1.3, 1.1, yaw=0.0, region=(0.35, 0.3, 0.65, 0.6))
    if k.chance(0.2):
        r.put(lambda: f.waste_bin(k), SIDES, 0.4, 0.4, 0.5, look=0.1)
    if k.chance(0.15):
        r.put(lambda: f.plant(k), SIDES, 0.45, 0.5, 1.2, look=0.1)
    _strays(r, 0.1)
    if k.chance(0.35):
        r.hang(lambda: f.wall_clock(k), SIDES, 1.85, 0.45, 0.45)
    if k.chance(0.3):
        r.hang(lambda: f.wall_shelf(k, 0.8, "kitchen"), SIDES, 1.55, 0.9, 0.6)
    r.pictures(0.15)
    r.ceiling_light(0.7)
    return r.finish()


def bathroom(rng: np.random.Generator) -> World:
    """Washbasin with mirror, toilet, bathtub or shower; sometimes a washing machine."""
    r = Room(
        rng,
        (2.1, 3.4, 2.6, 3.8),
        ("tile", "tile", "checker"),
        ("tile", "tile", "tile", "paint"),
        windows=0.5,
        sill=1.2,
        curtains=0.15,
        evening=0.22,
        door=0.2,
    )
    k = r.kit
    k.main_wood = k.lacquer()
    if k.chance(0.62):
        spot = r.put(lambda: f.bathtub(k), SIDES, 1.7, 0.82, 0.75, look=2.0)
        if spot and k.chance(0.3):
            with r._at_wall(spot[0], spot[1] - 0.2, off=0.72):
                f.shower_curtain(k, k.uni(0.5, 1.1))
    elif k.chance(0.75):
        r.put(lambda: f.shower(k), SIDES, 0.95, 0.95, 2.2, look=1.5)
    if k.chance(0.9):
        r.put(lambda: f.washbasin(k, k.chance(0.85)), SIDES, 0.8, 0.55, 2.0, look=2.0)
    if k.chance(0.82):
        spot = r.put(lambda: f.toilet(k), SIDES, 0.5, 0.72, 0.85, look=2.0)
        if spot and k.chance(0.6):
            wall, s = spot
            with r._at_wall(wall, s + k.pick((-0.42, 0.42)), 0.75):
                f.toilet_paper(k)
    if k.chance(0.24):
        r.put(lambda: f.washing_machine(k), SIDES, 0.62, 0.65, 0.95)
    if k.chance(0.2):
        r.put(lambda: f.basket(k), SIDES, 0.5, 0.5, 0.5, look=0.3)
    for _ in range(2):
        if k.chance(0.6):
            r.hang(lambda: f.towel_rail(k), SIDES, k.uni(1.2, 1.5), 0.7, 0.7)
    if k.chance(0.4):
        r.hang(lambda: f.wall_shelf(k, 0.6, "bath"), SIDES, 1.45, 0.7, 0.5)
    if k.chance(0.2):
        r.put(lambda: f.plant(k), SIDES, 0.45, 0.5, 1.2, look=0.1)
    if k.chance(0.2):
        r.put(lambda: f.waste_bin(k), SIDES, 0.4, 0.4, 0.5, look=0.1)
    if k.chance(0.2):
        r.put(lambda: f.radiator(k), SIDES, 1.2, 0.15, 0.75, look=0.1)
    _strays(r, 0.07)
    if k.chance(0.4):
        r.rug(size=(k.uni(0.6, 0.9), k.uni(0.45, 0.6)))
    r.on_floor((f.shoes, f.toy, f.bucket, f.bottle), int(rng.integers(0, 2)))
    r.ceiling_light(0.6)
    return r.finish(odd=0.14)


def dining_room(rng: np.random.Generator) -> World:
    """A laid table with chairs, chandelier, sideboard, china cabinet …"""
    r = Room(
        rng,
        (3.4, 4.8, 3.6, 5.0),
        ("wood", "wood", "carpet", "tile"),
        ("paint", "paper", "paint", "wood"),
        curtains=0.65,
        evening=0.3,
        door=0.4,
    )
    k = r.kit
    n = k.pick((1.15, 1.5, 1.8, 2.1))
    spot = r.free(
        lambda: f.dining_table(k, n, k.uni(0.85, 1.0), k.pick((0.85, 0.8, 0.3))),
        n + 0.9,
        1.9,
        yaw=k.pick((0.0, 90.0)) + k.uni(-6, 6),
        region=(0.42, 0.5, 0.58, 0.62),
        look=4.0,
    )
    if k.chance(0.55):
        r.put(lambda: f.sideboard(k), SIDES, 1.65, 0.5, 1.05)
    if k.chance(0.45):
        r.put(lambda: f.china_cabinet(k), SIDES, 1.05, 0.45, 2.1)
    for _ in range(2):
        if k.chance(0.35):
            r.put(lambda: f.plant(k), SIDES, 0.45, 0.5, 1.2, look=0.1)
    if k.chance(0.12):
        r.put(lambda: f.fireplace(k), SIDES, 1.6, 0.55, 2.5)
    if k.chance(0.12):
        r.put(lambda: f.bookcase(k, 0.9), SIDES, 0.95, 0.32, 2.1)
    if k.chance(0.1):
        r.put(lambda: f.sofa(k, 1.5), SIDES, 1.5, 0.95, 0.9)
    if k.chance(0.1):
        r.put(lambda: f.refrigerator(k), SIDES, 0.7, 0.7, 1.95)
    _strays(r, 0.12)
    if k.chance(0.4) and spot:
        r.rug(spot[0], spot[1], (2.8, 2.2))
    r.pictures(0.55)
    if k.chance(0.2):
        r.hang(lambda: f.wall_clock(k), SIDES, 1.8, 0.45, 0.45)
    if k.chance(0.2):
        r.hang(lambda: f.wall_mirror(k, 0.8, 0.7), SIDES, 1.6, 0.95, 0.85)
    at = (spot[0], spot[1]) if spot else None
    r.ceiling_light(0.9, k.chance(0.6), at)
    return r.finish((at[0], at[1], 0.8) if at else None)


def office(rng: np.random.Generator) -> World:
    """Desks with computers, swivel chairs, whiteboard, filing cabinets …"""
    r = Room(
        rng,
        (3.2, 5.2, 3.4, 5.0),
        ("carpet", "carpet", "concrete", "wood"),
        ("paint", "paint", "paint", "concrete"),
        curtains=0.1,
        evening=0.16,
        door=0.45,
    )
    k = r.kit
    k.main_wood = k.pick((k.main_wood, k.lacquer(("#e3e1dc", "#c9c6bd"))))
    desks = int(rng.integers(1, 4))
    for i in range(desks):
        w = k.uni(1.3, 1.65)

        def place(w=w, i=i):
            f.desk(k, w, k.chance(0.85), int(k.rng.integers(2, 6)))
            if k.chance(0.85):
                with r.world.group((k.uni(-0.25, 0.25), k.uni(0.85, 1.1), 0), yaw=k.uni(-50, 50)):
                    f.swivel_chair(k)

        if i == 1 and k.chance(0.4):
            r.free(place, w, 1.3, yaw=k.pick((0.0, 180.0, 90.0)), look=2.0)
        else:
            r.put(place, SIDES, w, 1.25, 0.8, look=2.5)
    if k.chance(0.6):
        r.put(lambda: f.filing_cabinet(k), SIDES, 0.5, 0.62, 1.35)
    if k.chance(0.42):
        r.put(lambda: f.bookcase(k, k.uni(0.7, 1.0), full=0.6), SIDES, 1.0, 0.32, 2.1)
    if k.chance(0.45):
        r.hang(lambda: f.whiteboard(k, k.uni(1.2, 1.8)), SIDES, 1.6, 1.8, 1.05)
    if k.chance(0.55):
        r.put(lambda: f.waste_bin(k), SIDES, 0.4, 0.4, 0.5, look=0.1)
    if k.chance(0.4):
        r.put(lambda: f.plant(k), SIDES, 0.45, 0.5, 1.2, look=0.1)
    if k.chance(0.1):
        r.put(lambda: f.sofa(k, 1.5), SIDES, 1.5, 0.95, 0.9)
    if k.chance(0.08):
        r.put(lambda: f.bed(k, 0.95), SIDES, 1.05, 2.1, 0.8)
    _strays(r, 0.12)
    if k.chance(0.4):
        r.hang(lambda: f.wall_clock(k), SIDES, 1.85, 0.45, 0.45)
    for _ in range(2):
        if k.chance(0.3):
            r.hang(lambda: f.poster(k), SIDES, 1.6, 0.75, 1.0)
    if k.chance(0.3):
        r.hang(lambda: f.wall_shelf(k, 0.9, "books"), SIDES, 1.5, 1.0, 0.7)
    r.on_floor((f.bag, f.carton, f.bag), int(rng.integers(0, 2)))
    r.ceiling_light(0.7)
    return r.finish()


def library(rng: np.random.Generator) -> World:
    """Walls of books, reading tables with lamps, armchairs, globes."""
    r = Room(
        rng,
        (3.6, 5.6, 3.8, 5.6),
        ("wood", "carpet", "wood"),
        ("paint", "wood", "paint"),
        windows=0.5,
        curtains=0.3,
        evening=0.32,
        door=0.25,
    )
    k = r.kit
    tall = k.uni(1.9, 2.3)
    dense = k.pick((0.95, 0.95, 0.75))
    rows = int(rng.integers(3, 8))
    for i in range(rows):
        w = k.pick((0.8, 1.0, 1.2))
        walls = SIDES if i > 2 else ("back", k.pick(SIDES))
        r.put(lambda w=w: f.bookcase(k, w, tall, dense), walls, w, 0.32, tall, look=1.3, tries=20)
    if k.chance(0.25):  # a case that stands in the room

        def double():
            f.bookcase(k, 1.4, k.uni(1.3, 1.7), dense)

        r.free(double, 1.5, 0.4, yaw=k.pick((180.0, 90.0, -90.0)))
    if k.chance(0.68):
        r.free(
            lambda: f.reading_table(k),
            2.1,
            2.1,
            yaw=k.pick((0.0, 90.0)) + k.uni(-10, 10),
            region=(0.35, 0.4, 0.65, 0.65),
            look=1.5,
        )
    for _ in range(2):
        if k.chance(0.35):
            r.put(lambda: f.armchair(k), SIDES, 0.95, 0.9, 0.9)
    if k.chance(0.2):
        r.put(lambda: f.sofa(k, 1.6), SIDES, 1.6, 0.95, 0.9)
    if k.chance(0.25):
        r.put(lambda: f.desk(k, 1.3, k.chance(0.5)), SIDES, 1.3, 0.75, 0.9)
    if k.chance(0.4):

        def stand():
            with r.world.group((0, 0.25, 0)):
                f.stool(k)
                with r.world.group((0, 0, 0.6)):
                    f.globe(k)

        r.put(stand, SIDES, 0.5, 0.5, 1.1, look=0.2)
    if k.chance(0.3):
        r.put(lambda: f.ladder(k), SIDES, 0.5, 0.45, 2.0, look=0.3)
    if k.chance(0.35):
        r.put(lambda: f.plant(k), SIDES, 0.45, 0.5, 1.2, look=0.1)
    if k.chance(0.35):
        r.put(lambda: f.floor_lamp(k), SIDES, 0.5, 0.5, 1.6, look=0.1)
    if k.chance(0.5):
        r.rug()
    _strays(r, 0.08)
    r.pictures(0.2)
    r.on_floor((f.carton, f.bag), int(rng.integers(0, 2)))
    r.ceiling_light(0.6, k.chance(0.3))
    return r.finish()


def utility_room(rng: np.random.Generator) -> World:
    """Washing machine, ironing board, shelves with boxes, sink, boiler; sometimes a bed or a
    wardrobe, where the room is shared."""
    r = Room(
        rng,
        (2.4, 3.8, 2.8, 4.2),
        ("tile", "concrete", "tile", "wood"),
        ("paint", "paint", "tile", "concrete", "paper"),
        windows=0.5,
        curtains=0.2,
        evening=0.24,
        door=0.5,
    )
    k = r.kit
    shared = k.chance(0.14)
    if k.chance(0.85):
        spot = r.put(lambda: f.washing_machine(k), SIDES, 0.62, 0.66, 0.95, look=2.0)
        if k.chance(0.5):
            r.beside(
                spot,
                k.pick((-0.63, 0.63)),
                lambda: f.washing_machine(k, True),
                0.62,
                0.66,
                0.95,
                1.0,
            )
    if k.chance(0.55):
        r.free(lambda: f.ironing_board(k), 1.3, 0.4, look=1.8)
    if k.chance(0.6):
        r.put(lambda: f.storage_rack(k, k.uni(0.8, 1.1)), SIDES, 1.15, 0.45, 2.0, look=1.2)
    if k.chance(0.4):
        r.put(lambda: f.counter(k, 1.0, k.lacquer(), k.main_wood, True), SIDES, 1.05, 0.66, 0.95)
    if k.chance(0.5):
        r.put(lambda: f.basket(k), SIDES, 0.5, 0.5, 0.5)
    if k.chance(0.38):
        r.put(lambda: f.drying_rack(k), SIDES, 1.1, 0.8, 1.0)
    if k.chance(0.3):
        r.hang(lambda: f.boiler(k), SIDES, 1.4, 0.6, 1.9)
    if k.chance(0.4):
        r.put(lambda: f.broom(k), SIDES, 0.35, 0.3, 1.4, look=0.1)
    if k.chance(0.35):
        r.put(lambda: f.bucket(k), SIDES, 0.35, 0.4, 0.4, look=0.1)
    if k.chance(0.25):
        r.put(lambda: f.ladder(k), SIDES, 0.5, 0.45, 1.95, look=0.1)
    if shared:
        if k.chance(0.55):
            r.put(lambda: f.bed(k, 0.95, k.chance(0.5)), SIDES, 1.05, 2.1, 0.8, look=1.0)
        if k.chance(0.5):
            r.put(lambda: f.wardrobe(k, 1.0), SIDES, 1.05, 0.65, 2.2)
    elif k.chance(0.12):
        r.put(lambda: f.toilet(k), SIDES, 0.5, 0.72, 0.85)
    if k.chance(0.14):
        r.put(lambda: f.refrigerator(k), SIDES, 0.7, 0.7, 1.95)
    if k.chance(0.12):
        r.put(lambda: f.desk(k, 1.1, False, 2), SIDES, 1.1, 0.75, 0.9)
    _strays(r, 0.12)
    if k.chance(0.5):
        r.hang(lambda: f.wall_shelf(k, 0.9, "utility"), SIDES, 1.5, 1.0, 0.6)
    if k.chance(0.25):
        r.hang(lambda: f.coat_hooks(k), SIDES, 1.7, 0.9, 1.4)
    r.on_floor((f.carton, f.shoes, f.bag, f.carton, f.bucket), int(rng.integers(0, 4)))
    r.ceiling_light(0.6)
    return r.finish()


SCENES: dict[str, Callable[[np.random.Generator], World]] = {
    "bedroom": bedroom,
    "living room": living_room,
    "kitchen": kitchen,
    "bathroom": bathroom,
    "dining room": dining_room,
    "office": office,
    "library": library,
    "utility room": utility_room,
}
"""Scene name → function that builds a room from a generator."""

# Every name that may occur in the masks; ids of the dataset follow from them.
OBJECTS = (
    "armchair",
    "bag",
    "ball",
    "bathtub",
    "bed",
    "blind",
    "boiler",
    "book",
    "bookcase",
    "bottle",
    "bowl",
    "box",
    "broom",
    "bucket",
    "cabinet",
    "can",
    "candle",
    "ceiling",
    "ceiling lamp",
    "chair",
    "chandelier",
    "chest of drawers",
    "clock",
    "clothes",
    "coat rack",
    "coffee table",
    "computer monitor",
    "counter",
    "cup",
    "curtain",
    "cushion",
    "cutlery",
    "desk",
    "dining table",
    "door",
    "dryer",
    "drying rack",
    "filing cabinet",
    "fire",
    "fireplace",
    "firewood",
    "floor",
    "flower",
    "food",
    "fruit",
    "glass",
    "globe",
    "iron",
    "ironing board",
    "jar",
    "kettle",
    "keyboard",
    "ladder",
    "lamp",
    "laptop",
    "laundry basket",
    "magazine",
    "microwave",
    "mirror",
    "mouse",
    "nightstand",
    "paper",
    "pen",
    "pen holder",
    "picture",
    "pillow",
    "plant",
    "plate",
    "poster",
    "pot",
    "printer",
    "radiator",
    "range hood",
    "refrigerator",
    "remote control",
    "rug",
    "shelf",
    "shoe",
    "shower",
    "shower curtain",
    "sink",
    "soap",
    "sofa",
    "stool",
    "stove",
    "swivel chair",
    "table",
    "tablecloth",
    "tap",
    "telephone",
    "television",
    "toaster",
    "toilet",
    "toilet paper",
    "towel",
    "towel rail",
    "toy",
    "vase",
    "wall",
    "wardrobe",
    "washing machine",
    "waste bin",
    "water",
    "whiteboard",
    "window",
)
PARTS = (
    "arm",
    "armrest",
    "back",
    "base",
    "basin",
    "beam",
    "blanket",
    "board",
    "border",
    "bracket",
    "brush",
    "bulb",
    "burner",
    "button",
    "cap",
    "chimney",
    "clock face",
    "control panel",
    "cord",
    "curtain rod",
    "door",
    "drawer",
    "flame",
    "frame",
    "hand",
    "handle",
    "head",
    "headboard",
    "hob",
    "keyboard",
    "knob",
    "label",
    "lamp shade",
    "leaf",
    "leg",
    "lid",
    "mantel",
    "mattress",
    "oven door",
    "page",
    "pane",
    "panel",
    "petal",
    "pipe",
    "plinth",
    "post",
    "pot",
    "rail",
    "receiver",
    "rim",
    "rung",
    "screen",
    "seat",
    "shower head",
    "side",
    "skirting board",
    "sole",
    "spout",
    "stand",
    "stem",
    "table top",
    "tank",
    "tape",
    "toilet bowl",
    "tray",
    "wheel",
    "window sill",
)
MATERIALS = (
    "brick",
    "cardboard",
    "carpet",
    "ceramic",
    "concrete",
    "fabric",
    "foliage",
    "food",
    "glass",
    "leather",
    "metal",
    "paper",
    "petal",
    "plaster",
    "plastic",
    "soil",
    "stone",
    "tile",
    "wallpaper",
    "water",
    "wax",
    "wicker",
    "wood",
)
