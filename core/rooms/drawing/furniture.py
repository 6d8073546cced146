"""Things that stand in rooms, modelled piece by piece for the tracer.

Every function draws one thing into ``kit.world`` in its own coordinates: it stands on z = 0,
centred on x = 0, with its back at y = 0 and its front towards +y, so that the room can put it
against any wall. Sizes are metres. Colours and proportions come from ``kit.rng``.
"""

from __future__ import annotations

import colorsys
import math

import numpy as np

from core.rooms.drawing.tracer import Material, World, srgb

WOODS = (
    ("#9c6b3f", "#6f4526"),
    ("#c79b66", "#a1743f"),
    ("#6b4630", "#452a1b"),
    ("#d9b98a", "#bb9560"),
    ("#8a4f2d", "#5e3019"),
    ("#4a352a", "#2e201a"),
)
CLOTHS = (
    "#b23a3a",
    "#2f5d8c",
    "#4f7a4a",
    "#d0a040",
    "#7a4a7c",
    "#c9c2b6",
    "#5b5f66",
    "#d77f4a",
    "#23395b",
    "#a9b8a0",
    "#e5ddd0",
    "#94452f",
    "#3f8a8c",
    "#d995a5",
    "#6e7f9a",
    "#857255",
)
PAINTS = (
    "#ece6da",
    "#dfe5e8",
    "#f0ead0",
    "#cfd9c7",
    "#d9c8b8",
    "#bccbd8",
    "#e8d3c6",
    "#c9c3d6",
    "#f2f0ec",
    "#b8c7b5",
    "#d8b48f",
    "#9fb3bf",
    "#e6dca8",
    "#c47f6a",
)


class Kit:
    """The world under construction, its random numbers and this room's style."""

    def __init__(self, world: World, rng: np.random.Generator):
        self.world = world
        self.rng = rng
        self.lit = 0.3  # chance that a lamp is on; the room raises it in the evening
        self.white = Material(srgb("#e9e7e2"), "plastic", gloss=0.35)
        self.enamel = Material(srgb("#eceae6"), "ceramic", gloss=0.6)
        self.steel = Material(srgb("#b9bcc0"), "metal", gloss=0.6, mirror=0.35)
        self.chrome = Material(srgb("#d4d6d8"), "metal", gloss=0.8, mirror=0.7)
        self.black = Material(srgb("#1d1e20"), "plastic", gloss=0.45)
        self.iron = Material(srgb("#2c2c2e"), "metal", gloss=0.3)
        self.brass = Material(srgb("#b08d4a"), "metal", gloss=0.6, mirror=0.4)
        self.glass = Material(srgb("#9fb4b8"), "glass", gloss=0.9, mirror=0.35, shadow=False)
        self.paper = Material(
            srgb("#f2f0e8"), "paper", texture="lines", color2=srgb("#55565c"), scale=0.025
        )
        self.main_wood = self.wood()
        self.second_wood = self.wood()
        self.accent = self.cloth()

    # -- chances and materials -----------------------------------------------------------------

    def chance(self, p: float) -> bool:
        return self.rng.random() < p

    def uni(self, a: float, b: float) -> float:
        return float(self.rng.uniform(a, b))

    def pick(self, options):
        return options[int(self.rng.integers(len(options)))]

    def wood(self, painted: float = 0.22) -> Material:
        """Wood of some kind, now and then painted white, grey or a colour."""
        if self.chance(painted):
            colour = srgb(self.pick(("#e8e6e0", "#e8e6e0", "#cfd4d6", "#7d8c8f", "#a8b8a8")))
            return Material(colour, "wood", gloss=0.2, seed=self.uni(0, 99))
        a, b = self.pick(WOODS)
        return Material(
            srgb(a),
            "wood",
            texture="wood",
            color2=srgb(b),
            scale=self.uni(0.25, 0.5),
            gloss=self.uni(0.1, 0.24),
            seed=self.uni(0, 99),
        )

    def colour(self, low: float = 0.35, high: float = 0.85, value: float = 0.75):
        """A linear colour of any hue."""
        h, s = self.uni(0, 1), self.uni(low, high)
        return srgb(colorsys.hsv_to_rgb(h, s, value * self.uni(0.7, 1.15)))

    def cloth(self, patterned: float = 0.4) -> Material:
        """Fabric, plain or with a pattern."""
        base = srgb(self.pick(CLOTHS))
        texture, second, scale = "weave", tuple(0.75 * c for c in base), 0.02
        if self.chance(patterned):
            texture = self.pick(("stripes", "plaid", "dots", "checker", "stripes", "noise"))
            second = srgb(self.pick(CLOTHS))
            scale = self.uni(0.08, 0.22)
        return Material(
            base,
            "fabric",
            texture=texture,
            color2=second,
            scale=scale,
            bump=0.22,
            bump_scale=0.04,
            seed=self.uni(0, 99),
        )

    def leather(self) -> Material:
        c = srgb(self.pick(("#5a3420", "#26211f", "#8a5a38", "#d9d2c4", "#6b2b24")))
        return Material(c, "leather", gloss=0.32, bump=0.15, bump_scale=0.05)

    def upholstery(self) -> Material:
        return self.leather() if self.chance(0.3) else self.cloth(0.25)

    def lacquer(self, colours=("#e8e6e1", "#d8d4c8", "#8b9aa0", "#3d4a52", "#9fae9c")) -> Material:
        return Material(srgb(self.pick(colours)), "wood", gloss=0.3, seed=self.uni(0, 99))

    def plastic(self, value: float = 0.8) -> Material:
        return Material(self.colour(0.4, 0.9, value), "plastic", gloss=0.35)

    def handle(self, x, y, z, length=0.12, upright=False, material=None) -> None:
        """A bar handle in front of a door or drawer."""
        size = (0.014, 0.02, length) if upright else (length, 0.02, 0.014)
        self.world.box((x, y + 0.012, z), size, material=material or self.steel, part="handle")


def fronts(k: Kit, width, z0, z1, y, rows, columns, material, part="drawer", upright=False):
    """A grid of drawers or doors on the front plane y, with gaps and handles."""
    w, h = width / columns, (z1 - z0) / rows
    for r in range(rows):
        for c in range(columns):
            x, z = -width / 2 + (c + 0.5) * w, z0 + (r + 0.5) * h
            k.world.box((x, y, z), (w - 0.014, 0.022, h - 0.014), material=material, part=part)
            if upright:
                side = 1 if c % 2 == 0 else -1
                k.handle(x + side * (w / 2 - 0.05), y + 0.011, z, min(0.3, h * 0.3), True)
            else:
                k.handle(x, y + 0.011, z + (0.0 if h < 0.3 else h * 0.3), min(0.16, w * 0.4))


def panelled(material: Material) -> Material:
    return Material(
        material.color,
        material.concept,
        "panel",
        tuple(0.55 * c for c in material.color),
        0.12,
        gloss=material.gloss,
    )


def legs(k: Kit, width, depth, height, material, radius=0.025, y0=0.0, inset=0.05):
    """Four legs under a rectangle whose back is at y0."""
    for sx in (-1, 1):
        for y in (y0 + inset, y0 + depth - inset):
            k.world.cylinder(
                (sx * (width / 2 - inset), y, 0),
                radius * 0.75,
                height,
                material=material,
                part="leg",
                top_radius=radius,
            )


# -- bedroom -----------------------------------------------------------------------------------


def bed(k: Kit, width=1.6, messy=False):
    w, wood = k.world, k.main_wood
    length, top = 2.0, k.uni(0.42, 0.52)
    cover, sheet = k.cloth(0.55), Material(srgb("#ece9e4"), "fabric", bump=0.25, bump_scale=0.1)
    with w.group(object="bed"):
        style = k.rng.random()
        if style < 0.45:
            w.box(
                (0, 0.03, 0.55), (width + 0.1, 0.06, 1.1), material=panelled(wood), part="headboard"
            )
        elif style < 0.75:
            w.soft(
                (0, 0.06, 0.65),
                (width + 0.1, 0.13, 1.0),
                material=k.upholstery(),
                part="headboard",
                power=12,
            )
        else:
            metal = k.pick((k.iron, k.brass, k.steel))
            for i in range(9):
                x = -width / 2 + i * width / 8
                w.cylinder(
                    (x, 0.03, 0),
                    0.016,
                    1.0 + 0.12 * math.sin(math.pi * i / 8),
                    material=metal,
                    part="headboard",
                )
            w.rod((-width / 2, 0.03, 1.0), (width / 2, 0.03, 1.0), 0.025, metal, part="headboard")
        w.box((0, length / 2, 0.22), (width, length, 0.16), material=wood, part="frame")
        legs(k, width, length, 0.2, wood, 0.04)
        w.soft(
            (0, length / 2 + 0.03, top - 0.1),
            (width - 0.02, length, 0.26),
            material=sheet,
            part="mattress",
            power=12,
        )
        if messy:
            for _ in range(4):
                w.soft(
                    (k.uni(-0.3, 0.3) * width, k.uni(0.8, 1.7), top + 0.06),
                    (k.uni(0.5, 0.9), k.uni(0.4, 0.8), k.uni(0.12, 0.26)),
                    k.uni(0, 180),
                    cover,
                    part="blanket",
                    power=4,
                    roll=k.uni(-12, 12),
                )
        else:
            w.soft(
                (0, 1.38, top - 0.04),
                (width + 0.08, 1.34, 0.28),
                material=cover,
                part="blanket",
                power=10,
            )
            w.box((0, 0.74, top + 0.085), (width + 0.03, 0.2, 0.03), material=sheet, part="blanket")
            if k.chance(0.4):
                w.soft(
                    (0, 1.75, top - 0.02),
                    (width + 0.11, 0.4, 0.29),
                    material=k.accent,
                    part="blanket",
                    power=10,
                )
    count = 2 if width > 1.2 else 1
    for i in range(count):
        x = 0 if count == 1 else (i - 0.5) * width * 0.48
        w.soft(
            (x, 0.34, top + 0.14),
            (0.66, 0.42, 0.17),
            k.uni(-6, 6),
            sheet,
            "pillow",
            power=4,
            roll=25,
        )
        if k.chance(0.5):
            w.soft(
                (x + k.uni(-0.1, 0.1), 0.6, top + 0.16),
                (0.42, 0.36, 0.14),
                k.uni(-12, 12),
                k.accent if i else k.cloth(0.7),
                "cushion",
                power=4,
                roll=40,
            )


def nightstand(k: Kit, lamp=True):
    w, wood = k.world, k.main_wood
    h = k.uni(0.45, 0.55)
    with w.group(object="nightstand"):
        w.box((0, 0.2, h / 2 + 0.06), (0.45, 0.38, h - 0.12), material=wood)
        w.box((0, 0.2, h), (0.48, 0.42, 0.025), material=wood, part="table top")
        fronts(k, 0.43, 0.1, h - 0.03, 0.39, 2, 1, wood)
        legs(k, 0.45, 0.38, 0.12, wood, 0.02)
    if lamp:
        with w.group((k.uni(-0.06, 0.06), 0.2, h + 0.012)):
            table_lamp(k)
    if k.chance(0.5):
        book_pile(k, (k.uni(-0.1, 0.1), 0.32, h + 0.012))
    if k.chance(0.25):
        with w.group((0.15, 0.3, h + 0.012)):
            alarm_clock(k)


def table_lamp(k: Kit, on=None):
    w = k.world
    on = k.chance(k.lit) if on is None else on
    base = k.pick((k.brass, k.enamel, k.black, k.plastic(), k.second_wood))
    shade_c = srgb(k.pick(("#f1e3c4", "#f3efe6", "#e0b98a", "#d88f6a", "#9fb0a2")))
    shade = Material(shade_c, "fabric", emit=1.6 if on else 0.0, shadow=False)
    with w.group(object="lamp"):
        w.cylinder((0, 0, 0), 0.075, 0.02, material=base, part="base")
        w.ellipsoid((0, 0, 0.12), (0.06, 0.06, 0.11), material=base, part="base")
        w.cylinder((0, 0, 0.2), 0.012, 0.1, material=base, part="base")
        w.cylinder((0, 0, 0.27), 0.15, 0.2, material=shade, part="lamp shade", top_radius=0.1)
    if on:
        w.light((0, 0, 0.36), (1.0, 0.72, 0.42), 0.8, 0.07)


def floor_lamp(k: Kit, on=None):
    w = k.world
    on = k.chance(k.lit) if on is None else on
    metal = k.pick((k.brass, k.iron, k.steel))
    shade = Material(
        srgb(k.pick(("#f1e3c4", "#f3efe6", "#d88f6a"))),
        "fabric",
        emit=1.6 if on else 0.0,
        shadow=False,
    )
    with w.group((0, 0.25, 0), object="lamp"):
        w.cylinder((0, 0, 0), 0.15, 0.025, material=metal, part="base")
        w.cylinder((0, 0, 0), 0.014, 1.45, material=metal, part="base")
        w.cylinder((0, 0, 1.35), 0.24, 0.3, material=shade, part="lamp shade", top_radius=0.15)
        if on:
            w.light((0, 0, 1.5), (1.0, 0.72, 0.42), 1.8, 0.12)


def ceiling_lamp(k: Kit, height, on, drop=0.5):
    """A pendant lamp; its frame's origin lies on the floor beneath it."""
    w = k.world
    glow = Material(srgb("#fff0d8"), "glass", emit=2.2 if on else 0.0, gloss=0.4, shadow=False)
    with w.group(object="ceiling lamp"):
        style = k.rng.random()
        if style < 0.4:
            w.cylinder(
                (0, 0, height - 0.09), 0.2, 0.09, material=glow, top_radius=0.17, part="lamp shade"
            )
            z = height - 0.2
        elif style < 0.7:
            w.cylinder((0, 0, height - drop), 0.008, drop, material=k.black, part="cord")
            w.ellipsoid((0, 0, height - drop), 0.15, material=glow, part="lamp shade")
            z = height - drop
        else:
            shade = Material(k.colour(value=0.6), "metal", gloss=0.4, shadow=False)
            w.cylinder((0, 0, height - drop), 0.008, drop, material=k.black, part="cord")
            w.cylinder(
                (0, 0, height - drop - 0.16),
                0.22,
                0.2,
                material=shade,
                top_radius=0.05,
                part="lamp shade",
            )
            w.ellipsoid((0, 0, height - drop - 0.13), 0.07, material=glow, part="bulb")
            z = height - drop - 0.2
    return z


def chandelier(k: Kit, height, on):
    w = k.world
    metal = k.pick((k.brass, k.iron))
    bulb = Material(srgb("#fff0d0"), "glass", emit=3.0 if on else 0.1, shadow=False)
    arms = int(k.rng.integers(5, 9))
    z = height - 0.75
    with w.group(object="chandelier"):
        w.cylinder((0, 0, z), 0.014, 0.75, material=metal, part="cord")
        w.ellipsoid((0, 0, z), (0.05, 0.05, 0.1), material=metal)
        for i in range(arms):
            a = 2 * math.pi * i / arms
            x, y = 0.38 * math.cos(a), 0.38 * math.sin(a)
            w.rod((0, 0, z - 0.04), (x, y, z + 0.03), 0.012, metal, part="arm")
            w.cylinder((x, y, z + 0.03), 0.03, 0.05, material=metal, part="arm")
            w.ellipsoid((x, y, z + 0.13), (0.035, 0.035, 0.06), material=bulb, part="bulb")
    return z - 0.15


def wardrobe(k: Kit, width=1.4):
    w, wood = k.world, k.main_wood
    h = k.uni(1.95, 2.2)
    with w.group(object="wardrobe"):
        w.box((0, 0.3, h / 2), (width, 0.58, h), material=wood)
        w.box((0, 0.31, h), (width + 0.06, 0.64, 0.04), material=wood)
        doors = 2 if width < 1.3 else 3
        bottom = 0.5 if k.chance(0.4) else 0.08
        if bottom > 0.3:
            fronts(k, width - 0.04, 0.08, bottom, 0.6, 2 if k.chance(0.5) else 1, 2, wood)
        fronts(k, width - 0.04, bottom, h - 0.05, 0.6, 1, doors, panelled(wood), "door", True)
    if k.chance(0.3):
        with w.group((k.uni(-0.3, 0.3), 0.3, h + 0.02)):
            carton(k, 0.5)


def dresser(k: Kit, mirror=None):
    w, wood = k.world, k.main_wood
    width, h = k.uni(0.9, 1.3), k.uni(0.75, 0.95)
    with w.group(object="chest of drawers"):
        w.box((0, 0.23, h / 2), (width, 0.45, h), material=wood)
        w.box((0, 0.24, h), (width + 0.05, 0.5, 0.03), material=wood, part="table top")
        fronts(
            k,
            width - 0.04,
            0.08,
            h - 0.03,
            0.455,
            int(k.rng.integers(3, 5)),
            2 if k.chance(0.6) else 1,
            wood,
        )
    top = h + 0.015
    if mirror if mirror is not None else k.chance(0.4):
        with w.group((0, 0.04, top + 0.42)):
            wall_mirror(k, 0.7, 0.75)
    for _ in range(int(k.rng.integers(0, 4))):
        with w.group((k.uni(-0.4, 0.4) * width, 0.25, top)):
            k.pick((vase, bottle, photo_frame, jewel_box, table_lamp))(k)
    return h


def jewel_box(k: Kit):
    k.world.box((0, 0, 0.05), (0.18, 0.12, 0.1), k.uni(-20, 20), k.second_wood, "box")


def photo_frame(k: Kit):
    w = k.world
    art = Material(k.colour(), "paper", "picture", k.colour(), seed=k.uni(0, 99))
    with w.group(yaw=k.uni(-15, 15), object="picture"):
        w.box((0, 0, 0.1), (0.16, 0.02, 0.2), material=k.second_wood, part="frame", roll=10)
        w.box((0, 0.012, 0.1), (0.13, 0.004, 0.17), material=art, roll=10)


def alarm_clock(k: Kit):
    w = k.world
    c = k.plastic()
    with w.group(object="clock"):
        w.cylinder((0, -0.03, 0.07), 0.06, 0.06, material=c, axis=(0, 1, 0))
        w.disk((0, 0.032, 0.07), 0.05, (0, 1, 0), material=k.white, part="clock face")
        w.box((0.012, 0.035, 0.08), (0.03, 0.003, 0.008), material=k.black, part="hand")
        w.box((0, 0.035, 0.085), (0.007, 0.003, 0.035), material=k.black, part="hand")


# -- on the wall -------------------------------------------------------------------------------


def wall_clock(k: Kit):
    """Centred on the origin, on the wall y = 0."""
    w = k.world
    r = k.uni(0.14, 0.2)
    with w.group(object="clock"):
        w.cylinder(
            (0, 0, 0),
            r,
            0.04,
            material=k.pick((k.black, k.second_wood, k.plastic())),
            axis=(0, 1, 0),
            part="frame",
        )
        w.disk((0, 0.042, 0), r * 0.88, (0, 1, 0), material=k.white, part="clock face")
        for i in range(12):
            a = math.radians(30 * i)
            w.box(
                (r * 0.74 * math.sin(a), 0.044, r * 0.74 * math.cos(a)),
                (0.012, 0.002, 0.012),
                material=k.black,
                part="clock face",
            )
        for length, thick in ((0.45, 0.014), (0.65, 0.009)):
            a = k.uni(0, 6.28)
            w.rod(
                (0, 0.046, 0),
                (r * length * math.sin(a), 0.046, r * length * math.cos(a)),
                thick / 2,
                k.black,
                part="hand",
            )


def picture(k: Kit, width=0.8, height=0.6):
    """A framed painting centred on the origin, on the wall y = 0."""
    w = k.world
    art = Material(
        k.colour(0.2, 0.8, 0.85), "paper", "picture", k.colour(0.2, 0.9, 0.6), seed=k.uni(0, 99)
    )
    frame = k.pick((k.second_wood, k.black, k.brass, k.white))
    with w.group(object="picture"):
        w.box((0, 0.012, 0), (width, 0.024, height), material=frame, part="frame")
        mat = 0.05 if k.chance(0.5) else 0.0
        if mat:
            w.box(
                (0, 0.025, 0), (width - 0.06, 0.004, height - 0.06), material=k.white, part="frame"
            )
        w.box((0, 0.028, 0), (width - 0.07 - 2 * mat, 0.004, height - 0.07 - 2 * mat), material=art)


def poster(k: Kit):
    art = Material(k.colour(0.3, 0.9, 0.9), "paper", "picture", k.colour(), seed=k.uni(0, 99))
    k.world.box(
        (0, 0.004, 0), (k.uni(0.45, 0.7), 0.004, k.uni(0.6, 0.95)), material=art, object="poster"
    )


def wall_mirror(k: Kit, width=0.6, height=0.8):
    w = k.world
    silver = Material(srgb("#dfe6e6"), "glass", mirror=0.92, gloss=0.3)
    frame = k.pick((k.second_wood, k.brass, k.chrome, k.white))
    with w.group(object="mirror"):
        if k.chance(0.3):
            w.disk(
                (0, 0.012, 0),
                (width / 2 + 0.03, height / 2 + 0.03),
                (0, 1, 0),
                material=frame,
                part="frame",
            )
            w.disk((0, 0.02, 0), (width / 2, height / 2), (0, 1, 0), material=silver)
        else:
            w.box((0, 0.01, 0), (width + 0.06, 0.02, height + 0.06), material=frame, part="frame")
            w.box((0, 0.022, 0), (width, 0.004, height), material=silver)


def wall_shelf(k: Kit, width=0.9, load=None):
    """One board with things on it, the board's top at z = 0."""
    w = k.world
    with w.group(object="shelf"):
        w.box((0, 0.12, -0.015), (width, 0.24, 0.03), material=k.second_wood, part="board")
        for sx in (-0.38, 0.38):
            w.box((sx * width, 0.08, -0.08), (0.02, 0.16, 0.1), material=k.iron, part="bracket")
    if load == "books":
        row_of_books(k, width - 0.1, 0.24, 0.2)
        return
    x = -width / 2 + 0.1
    while x < width / 2 - 0.08:
        if k.chance(0.75):
            with w.group((x, 0.12, 0)):
                if load == "kitchen":
                    k.pick((jar, jar, cup, bowl, bottle, plate_upright))(k)
                elif load == "utility":
                    k.pick((bottle, bottle, carton_small, detergent, jar))(k)
                elif load == "bath":
                    k.pick((bottle, bottle, towel_roll, jar))(k)
                else:
                    k.pick((vase, photo_frame, potted_small, bottle, jewel_box, toy))(k)
        x += k.uni(0.13, 0.24)


def whiteboard(k: Kit, width=1.6):
    w = k.world
    board = Material(srgb("#f4f5f4"), "plastic", gloss=0.4)
    with w.group(object="whiteboard"):
        w.box((0, 0.015, 0), (width, 0.03, 1.0), material=k.steel, part="frame")
        w.box((0, 0.031, 0), (width - 0.06, 0.004, 0.94), material=board)
        w.box((0, 0.06, -0.5), (width * 0.6, 0.08, 0.02), material=k.steel, part="frame")
        inks = [Material(srgb(c), "plastic") for c in ("#2b4ea8", "#b32d2d", "#1f7a45", "#222222")]
        for _ in range(int(k.rng.integers(3, 12))):
            x, z = k.uni(-0.4, 0.25) * width, k.uni(-0.36, 0.38)
            w.box(
                (x, 0.034, z), (k.uni(0.1, 0.5), 0.002, 0.014), 0, k.pick(inks), pitch=k.uni(-8, 8)
            )


def towel_rail(k: Kit):
    w = k.world
    w.rod((-0.32, 0.07, 0), (0.32, 0.07, 0), 0.011, k.chrome, object="towel rail")
    x = k.uni(-0.12, 0.12)
    towel = k.cloth(0.4)
    drop = k.uni(0.4, 0.6)
    w.soft((x, 0.085, -drop / 2), (0.38, 0.035, drop), material=towel, object="towel", power=8)


def coat_hooks(k: Kit):
    w = k.world
    w.box((0, 0.015, 0), (0.8, 0.03, 0.09), material=k.second_wood, object="coat rack")
    for x in (-0.3, -0.1, 0.1, 0.3):
        if k.chance(0.6):
            w.soft(
                (x, 0.1, -0.45),
                (0.26, 0.14, k.uni(0.7, 0.95)),
                material=k.cloth(0.2),
                object="clothes",
                power=4,
            )


# -- living room -------------------------------------------------------------------------------


def sofa(k: Kit, width=2.0, name="sofa", cloth=None):
    w = k.world
    cloth = cloth or k.upholstery()
    seats = max(1, round(width / 0.75))
    arm = k.uni(0.14, 0.22)
    with w.group(object=name):
        w.soft((0, 0.44, 0.24), (width, 0.84, 0.24), material=cloth, part="base", power=12)
        w.soft((0, 0.12, 0.5), (width, 0.24, 0.72), material=cloth, part="back", power=8)
        inner = width - 2 * arm
        for i in range(seats):
            x = -inner / 2 + (i + 0.5) * inner / seats
            w.soft(
                (x, 0.52, 0.42),
                (inner / seats - 0.01, 0.66, 0.18),
                material=cloth,
                part="seat",
                power=8,
            )
            w.soft(
                (x, 0.27, 0.66),
                (inner / seats - 0.02, 0.2, 0.42),
                material=cloth,
                part="back",
                power=6,
                roll=10,
            )
        for sx in (-1, 1):
            w.soft(
                (sx * (width / 2 - arm / 2), 0.45, 0.36),
                (arm, 0.86, 0.54),
                material=cloth,
                part="armrest",
                power=8,
            )
        legs(k, width, 0.84, 0.13, k.second_wood, 0.025, inset=0.07)
    for _ in range(int(k.rng.integers(0, 4 if width > 1.2 else 2))):
        x = k.uni(-0.36, 0.36) * width
        w.soft(
            (x, 0.46, 0.66),
            (0.42, 0.16, 0.4),
            k.uni(-20, 20),
            k.cloth(0.7),
            "cushion",
            power=4,
            roll=18,
        )


def armchair(k: Kit):
    sofa(k, k.uni(0.82, 0.95), "armchair")


def coffee_table(k: Kit):
    """Free standing, centred on the origin."""
    w = k.world
    h = k.uni(0.36, 0.46)
    width, depth = k.uni(0.85, 1.2), k.uni(0.5, 0.65)
    with w.group(object="coffee table"):
        if k.chance(0.25):
            r = width * 0.42
            w.cylinder((0, 0, h - 0.035), r, 0.035, material=k.main_wood, part="table top")
            for i in range(3):
                a = 2.1 * i + 0.4
                w.rod(
                    (0.8 * r * math.cos(a), 0.8 * r * math.sin(a), 0),
                    (0.5 * r * math.cos(a), 0.5 * r * math.sin(a), h - 0.03),
                    0.02,
                    k.main_wood,
                    part="leg",
                )
        else:
            top = k.glass if k.chance(0.2) else k.main_wood
            w.box((0, 0, h), (width, depth, 0.035), material=top, part="table top")
            legs(k, width, depth, h, k.main_wood, 0.028, y0=-depth / 2)
            if k.chance(0.5):
                w.box(
                    (0, 0, h * 0.4),
                    (width - 0.1, depth - 0.1, 0.025),
                    material=k.main_wood,
                    part="board",
                )
    for _ in range(int(k.rng.integers(1, 4))):
        with w.group((k.uni(-0.3, 0.3) * width, k.uni(-0.25, 0.25) * depth, h + 0.018)):
            k.pick((vase, bowl_of_fruit, cup, magazine, magazine, potted_small, remote))(k)


def remote(k: Kit):
    k.world.box((0, 0, 0.01), (0.05, 0.17, 0.02), k.uni(0, 180), k.black, "remote control")


def magazine(k: Kit):
    art = Material(k.colour(0.3, 0.9, 0.9), "paper", "picture", k.colour(), seed=k.uni(0, 99))
    k.world.box((0, 0, 0.006), (0.21, 0.28, 0.012), k.uni(0, 180), art, "magazine")


def television(k: Kit, stand=True):
    w = k.world
    size = k.uni(1.0, 1.35)
    base = 0.0
    if stand:
        h = k.uni(0.42, 0.55)
        with w.group(object="cabinet"):
            w.box((0, 0.22, h / 2), (size + 0.35, 0.42, h), material=k.main_wood)
            fronts(k, size + 0.3, 0.06, h - 0.04, 0.435, 1, 3, k.main_wood, "door", True)
        base = h
    on = k.chance(0.45)
    screen = (
        Material(
            srgb("#7fa8d8"),
            "glass",
            "picture",
            srgb("#d8a060"),
            emit=0.9,
            seed=k.uni(0, 99),
            gloss=0.3,
        )
        if on
        else Material(srgb("#0c0d10"), "glass", gloss=0.7)
    )
    with w.group((0, 0.2, base), object="television"):
        w.box((0, 0, 0.06 + size * 0.29), (size, 0.05, size * 0.58), material=k.black, part="frame")
        w.box(
            (0, 0.027, 0.06 + size * 0.29),
            (size - 0.05, 0.004, size * 0.58 - 0.05),
            material=screen,
            part="screen",
        )
        w.box((0, 0, 0.03), (0.12, 0.06, 0.08), material=k.black, part="stand")
        w.box((0, 0.02, 0.01), (size * 0.4, 0.2, 0.02), material=k.black, part="stand")


def row_of_books(k: Kit, width, height, depth, lean=True):
    """Books side by side from −width/2, standing on z = 0."""
    w = k.world
    x = -width / 2
    while x < width / 2 - 0.05:
        if k.chance(0.06):
            x += k.uni(0.04, 0.2)
            continue
        t, h = k.uni(0.022, 0.055), height * k.uni(0.62, 0.95)
        if x + t > width / 2:
            break
        colour = srgb(colorsys.hsv_to_rgb(k.uni(0, 1), k.uni(0.2, 0.85), k.uni(0.25, 0.85)))
        cover = Material(colour, "paper", gloss=0.12)
        d = depth * k.uni(0.7, 0.9)
        tilt = k.uni(4, 10) if lean and k.chance(0.05) else 0.0
        w.box((x + t / 2, d / 2 + 0.02, h / 2), (t - 0.002, d, h), 0, cover, "book", pitch=tilt)
        x += t


def bookcase(k: Kit, width=0.9, height=None, full=0.92):
    w, wood = k.world, k.main_wood
    h = height or k.uni(1.7, 2.15)
    shelves = max(2, round(h / 0.38))
    with w.group(object="bookcase"):
        for sx in (-1, 1):
            w.box((sx * (width / 2 - 0.012), 0.15, h / 2), (0.025, 0.3, h), material=wood)
        w.box((0, 0.008, h / 2), (width, 0.015, h), material=wood, part="back")
        for i in range(shelves + 1):
            z = 0.06 + i * (h - 0.08) / shelves
            w.box((0, 0.15, z), (width - 0.04, 0.29, 0.024), material=wood, part="board")
    for i in range(shelves):
        z = 0.06 + i * (h - 0.08) / shelves + 0.012
        with w.group((0, 0.02, z)):
            if k.chance(full):
                row_of_books(k, width - 0.07, (h - 0.08) / shelves - 0.03, 0.26)
            elif k.chance(0.7):
                with w.group((k.uni(-0.2, 0.2), 0.14, 0)):
                    k.pick((vase, photo_frame, potted_small, carton_small, jar, toy))(k)


def book_pile(k: Kit, at, count=None):
    w = k.world
    z = at[2]
    for _ in range(count or int(k.rng.integers(1, 5))):
        t = k.uni(0.02, 0.045)
        cover = Material(k.colour(0.3, 0.9, 0.7), "paper", gloss=0.1)
        w.box(
            (at[0], at[1], z + t / 2),
            (k.uni(0.15, 0.2), k.uni(0.2, 0.26), t),
            k.uni(-25, 25),
            cover,
            "book",
        )
        z += t


def fireplace(k: Kit):
    w = k.world
    stone = Material(
        srgb(k.pick(("#b8aea0", "#8f4a38", "#d8d2c8"))),
        "brick",
        "bricks",
        srgb("#cfc8bd"),
        0.3,
        bump=0.4,
    )
    fire = Material(srgb("#ff8a2a"), "", emit=4.0)
    with w.group(object="fireplace"):
        for sx in (-1, 1):
            w.box((sx * 0.55, 0.22, 0.5), (0.3, 0.44, 1.0), material=stone)
        w.box((0, 0.22, 1.05), (1.4, 0.44, 0.3), material=stone)
        w.box((0, 0.25, 1.23), (1.6, 0.54, 0.07), material=k.main_wood, part="mantel")
        w.box((0, 0.02, 0.45), (0.8, 0.04, 0.9), material=k.iron)
        w.box((0, 0.2, 1.9), (0.9, 0.38, 1.4), material=stone, part="chimney")
    for i in range(3):
        w.rod(
            (-0.25, 0.15 + 0.08 * i, 0.06),
            (0.25, 0.2 + 0.06 * i, 0.07),
            0.05,
            Material(srgb("#4a3222"), "wood", "bark"),
            object="firewood",
        )
    if k.chance(0.6):
        for i in range(5):
            w.cylinder(
                (-0.2 + 0.1 * i, 0.22, 0.1),
                0.05,
                k.uni(0.2, 0.4),
                material=fire,
                object="fire",
                top_radius=0.002,
            )
        w.light((0, 0.45, 0.35), (1.0, 0.45, 0.15), 1.2, 0.15)


def radiator(k: Kit):
    w = k.world
    with w.group(object="radiator"):
        for i in range(12):
            w.soft((-0.5 + i * 0.09, 0.07, 0.4), (0.075, 0.1, 0.56), material=k.white, power=6)
        w.rod((-0.55, 0.07, 0.62), (0.55, 0.07, 0.62), 0.02, k.white)


# -- plants and little things ------------------------------------------------------------------


def leaf_green(k: Kit) -> Material:
    c = k.uni(0.8, 1.3)
    return Material(
        tuple(v * c for v in srgb("#3f6f2c")),
        "foliage",
        "leaves",
        tuple(v * c for v in srgb("#274a1c")),
        0.08,
        gloss=0.1,
        bump=0.6,
        bump_scale=0.05,
        seed=k.uni(0, 99),
    )


def plant(k: Kit, size=None):
    """A pot plant on the floor, 0.7 to 1.6 m high."""
    w = k.world
    h = size or k.uni(0.7, 1.5)
    green = leaf_green(k)
    clay = k.pick(
        (
            Material(srgb("#b5623c"), "ceramic"),
            k.enamel,
            k.plastic(0.5),
            Material(srgb("#4b4f52"), "ceramic"),
        )
    )
    with w.group((0, 0.25, 0), object="plant"):
        w.cylinder((0, 0, 0), 0.12, 0.28, material=clay, part="pot", top_radius=0.17)
        w.disk((0, 0, 0.281), 0.15, material=Material(srgb("#3b2a1e"), "soil"), part="pot")
        if k.chance(0.5):
            for i in range(14):
                a, tilt = 2.4 * i, k.uni(0.15, 0.9)
                length = h * k.uni(0.45, 0.8)
                tip = (
                    math.cos(a) * tilt * length * 0.7,
                    math.sin(a) * tilt * length * 0.7,
                    0.28 + length * (1.0 - 0.35 * tilt),
                )
                mid = (tip[0] / 2.6, tip[1] / 2.6, 0.28 + (tip[2] - 0.28) * 0.62)
                w.rod((0, 0, 0.28), mid, 0.008, green, part="stem")
                w.ellipsoid(
                    ((mid[0] + tip[0]) / 2, (mid[1] + tip[1]) / 2, (mid[2] + tip[2]) / 2),
                    (0.2 * h * 0.9, 0.055, 0.012),
                    math.degrees(a),
                    green,
                    part="leaf",
                    pitch=k.uni(-45, 10),
                )
        else:
            w.cylinder((0, 0, 0.25), 0.022, h * 0.5, material=k.second_wood, part="stem")
            fuzzy = Material(
                green.color,
                "foliage",
                "leaves",
                green.color2,
                0.07,
                bump=1.2,
                bump_scale=0.06,
                cutout=0.35,
                cutout_scale=0.09,
                seed=k.uni(0, 99),
            )
            for _ in range(5):
                w.ellipsoid(
                    (k.uni(-0.14, 0.14), k.uni(-0.12, 0.12), 0.3 + h * k.uni(0.42, 0.8)),
                    (0.2, 0.2, 0.18),
                    material=fuzzy,
                    part="leaf",
                )


def potted_small(k: Kit):
    w = k.world
    green = leaf_green(k)
    with w.group(object="plant"):
        w.cylinder(
            (0, 0, 0),
            0.045,
            0.09,
            material=k.pick((k.enamel, k.plastic())),
            part="pot",
            top_radius=0.06,
        )
        for i in range(7):
            a = i * 2.4
            w.ellipsoid(
                (0.05 * math.cos(a), 0.05 * math.sin(a), 0.14 + 0.015 * i),
                (0.075, 0.03, 0.012),
                math.degrees(a),
                green,
                part="leaf",
                pitch=-35,
            )


def vase(k: Kit, flowers=None):
    w = k.world
    glaze = Material(k.colour(0.2, 0.8, 0.8), "ceramic", gloss=0.6)
    with w.group(object="vase"):
        w.ellipsoid((0, 0, 0.09), (0.065, 0.065, 0.09), material=glaze)
        w.cylinder((0, 0, 0.13), 0.03, 0.1, material=glaze, top_radius=0.045)
    if k.chance(0.65) if flowers is None else flowers:
        green, petal = leaf_green(k), Material(k.colour(0.55, 0.95, 0.95), "petal", bump=0.5)
        with w.group(object="flower"):
            for i in range(7):
                a, r, z = i * 2.4, 0.03 + 0.014 * i, k.uni(0.32, 0.44)
                x, y = r * math.cos(a), r * math.sin(a)
                w.rod((0, 0, 0.2), (x, y, z), 0.004, green, part="stem")
                w.ellipsoid((x, y, z), (0.036, 0.036, 0.026), material=petal, part="petal")


def bottle(k: Kit):
    w = k.world
    c = Material(k.colour(0.3, 0.9, 0.6), k.pick(("glass", "plastic")), gloss=0.7)
    h = k.uni(0.14, 0.24)
    with w.group(object="bottle"):
        w.cylinder((0, 0, 0), 0.036, h * 0.65, material=c)
        w.cylinder((0, 0, h * 0.65), 0.036, h * 0.15, material=c, top_radius=0.014)
        w.cylinder((0, 0, h * 0.8), 0.014, h * 0.2, material=k.white, part="cap")


def detergent(k: Kit):
    w = k.world
    c = k.plastic(0.95)
    with w.group(object="bottle"):
        w.soft((0, 0, 0.12), (0.16, 0.09, 0.24), material=c, power=8)
        w.cylinder((-0.04, 0, 0.23), 0.03, 0.05, material=k.plastic(), part="cap")
        w.box((0, 0.046, 0.11), (0.1, 0.004, 0.1), material=k.plastic(1.0), part="label")


def jar(k: Kit):
    w = k.world
    with w.group(object="jar"):
        w.cylinder(
            (0, 0, 0), 0.05, 0.12, material=Material(k.colour(0.2, 0.8, 0.7), "glass", gloss=0.7)
        )
        w.cylinder(
            (0, 0, 0.12), 0.052, 0.025, material=k.pick((k.steel, k.second_wood)), part="lid"
        )


def cup(k: Kit):
    w = k.world
    c = Material(k.colour(0.1, 0.8, 0.9), "ceramic", gloss=0.6)
    with w.group(yaw=k.uni(0, 360), object="cup"):
        w.cylinder((0, 0, 0), 0.035, 0.09, material=c, top_radius=0.042)
        w.disk((0, 0, 0.0905), 0.036, material=Material(srgb("#3b2314"), ""))
        w.cylinder((0.042, -0.006, 0.045), 0.025, 0.012, material=c, axis=(0, 1, 0), part="handle")


def plate(k: Kit, food=None):
    w = k.world
    with w.group(object="plate"):
        w.cylinder((0, 0, 0), 0.09, 0.012, material=k.enamel, top_radius=0.135)
        w.disk((0, 0, 0.0125), 0.09, material=k.enamel)
    if k.chance(0.3) if food is None else food:
        w.ellipsoid(
            (0.01, 0, 0.02),
            (0.07, 0.06, 0.035),
            material=Material(k.colour(0.4, 0.8, 0.7), "food", bump=0.8),
            object="food",
        )


def plate_upright(k: Kit):
    k.world.cylinder(
        (0, -0.06, 0.12),
        0.12,
        0.015,
        material=Material(k.colour(0.1, 0.6, 0.95), "ceramic", gloss=0.5),
        object="plate",
        axis=(0, 1, 0.2),
    )


def bowl(k: Kit):
    k.world.cylinder(
        (0, 0, 0),
        0.05,
        0.07,
        material=Material(k.colour(0.1, 0.8, 0.9), "ceramic", gloss=0.5),
        object="bowl",
        top_radius=0.11,
    )


def bowl_of_fruit(k: Kit):
    w = k.world
    dish = k.pick((k.enamel, k.second_wood, k.glass))
    w.cylinder((0, 0, 0), 0.06, 0.07, material=dish, object="bowl", top_radius=0.15)
    for i in range(6):
        c = srgb(k.pick(("#c93a2b", "#e08a1e", "#e5c43a", "#7ea43a", "#c93a2b")))
        a = i * 1.05
        r = 0.075 if i < 5 else 0.0
        w.ellipsoid(
            (r * math.cos(a), r * math.sin(a), 0.085 if i < 5 else 0.13),
            0.043,
            material=Material(c, "food", gloss=0.25),
            object="fruit",
        )


def wine_glass(k: Kit):
    w = k.world
    with w.group(object="glass"):
        w.cylinder((0, 0, 0), 0.035, 0.006, material=k.glass, part="base")
        w.cylinder((0, 0, 0), 0.006, 0.1, material=k.glass, part="stem")
        w.ellipsoid((0, 0, 0.14), (0.04, 0.04, 0.055), material=k.glass)


def carton_small(k: Kit):
    carton(k, k.uni(0.16, 0.28), thin=True)


def carton(k: Kit, size=0.4, thin=False):
    w = k.world
    colour = srgb(k.pick(("#b58a5a", "#a87c4c", "#c49a68")))
    if thin and k.chance(0.5):
        colour = k.colour(0.2, 0.7, 0.8)
    card = Material(colour, "cardboard", "noise", tuple(0.85 * c for c in colour), 0.3)
    h = size * k.uni(0.5, 0.8)
    with w.group(yaw=k.uni(-12, 12), object="box"):
        w.box((0, 0, h / 2), (size, size * 0.75 if not thin else 0.2, h), material=card)
        w.box(
            (0, 0, h + 0.002),
            (0.05, size * 0.74 if not thin else 0.2, 0.004),
            material=Material(srgb("#d8c090"), "plastic"),
            part="tape",
        )
        if not thin:
            w.box(
                (0, size * 0.376, h * 0.5),
                (size * 0.4, 0.004, h * 0.35),
                material=k.white,
                part="label",
            )


def toy(k: Kit):
    w = k.world
    kind = int(k.rng.integers(3))
    with w.group(yaw=k.uni(0, 360), object="toy"):
        if kind == 0:  # a bear
            fur = Material(srgb(k.pick(("#8a5a32", "#c79a62", "#d8a0b0"))), "fabric", bump=0.6)
            w.ellipsoid((0, 0, 0.1), (0.08, 0.07, 0.1), material=fur)
            w.ellipsoid((0, 0.01, 0.23), 0.065, material=fur, part="head")
            for sx in (-1, 1):
                w.ellipsoid((sx * 0.05, 0, 0.285), 0.024, material=fur, part="head")
                w.ellipsoid((sx * 0.09, 0.03, 0.13), (0.03, 0.03, 0.06), material=fur)
                w.ellipsoid((sx * 0.05, 0.08, 0.03), (0.03, 0.06, 0.03), material=fur)
        elif kind == 1:  # blocks
            for i in range(4):
                w.box(
                    (k.uni(-0.08, 0.08), k.uni(-0.05, 0.05), 0.035 + (0.07 if i == 3 else 0)),
                    (0.07, 0.07, 0.07),
                    k.uni(0, 90),
                    k.plastic(0.95),
                )
        else:  # a car
            c = k.plastic(0.95)
            w.soft((0, 0, 0.05), (0.2, 0.09, 0.06), material=c, power=8)
            w.soft((-0.01, 0, 0.09), (0.1, 0.08, 0.06), material=k.glass, power=6)
            for sx in (-1, 1):
                for sy in (-1, 1):
                    w.cylinder(
                        (sx * 0.06, sy * 0.05, 0.025),
                        0.025,
                        0.01,
                        material=k.black,
                        axis=(0, 1, 0),
                        part="wheel",
                    )


def ball(k: Kit):
    r = k.uni(0.1, 0.16)
    k.world.ellipsoid(
        (0, 0, r),
        r,
        material=Material(
            k.colour(0.6, 0.95, 0.95), "plastic", "stripes", srgb("#f0efe8"), r * 0.9, gloss=0.3
        ),
        object="ball",
        roll=k.uni(0, 90),
    )


def shoes(k: Kit):
    w = k.world
    c = k.pick((k.leather(), k.plastic(), k.cloth(0.0)))
    for i in (-1, 1):
        with w.group((0.07 * i, 0, 0), yaw=k.uni(-15, 15), object="shoe"):
            w.soft((0, 0, 0.035), (0.09, 0.27, 0.07), material=c, power=4)
            w.ellipsoid((0, -0.06, 0.07), (0.042, 0.07, 0.045), material=c)
            w.box((0, 0, 0.008), (0.09, 0.25, 0.016), material=k.white, part="sole")


def bag(k: Kit):
    w = k.world
    c = k.pick((k.leather(), k.cloth(0.2)))
    with w.group(yaw=k.uni(-30, 30), object="bag"):
        w.soft((0, 0, 0.17), (0.38, 0.18, 0.34), material=c, power=6)
        for sx in (-1, 1):
            w.rod((sx * 0.1, 0, 0.3), (sx * 0.06, 0, 0.46), 0.012, c, part="handle")
        w.rod((-0.06, 0, 0.46), (0.06, 0, 0.46), 0.012, c, part="handle")


def waste_bin(k: Kit):
    w = k.world
    c = k.pick((k.plastic(0.6), k.steel, k.black))
    with w.group((0, 0.2, 0), object="waste bin"):
        w.cylinder((0, 0, 0), 0.12, 0.34, material=c, top_radius=0.16)
        w.disk((0, 0, 0.341), 0.145, material=Material(srgb("#1a1a1a"), ""))
        if k.chance(0.4):
            w.ellipsoid(
                (0.02, 0.0, 0.35),
                0.07,
                material=Material(srgb("#eceae4"), "paper", bump=1.5),
                object="paper",
            )


def basket(k: Kit, laundry=True):
    w = k.world
    cane = Material(srgb("#b48a55"), "wicker", "checker", srgb("#8a6236"), 0.035, bump=0.6)
    c = cane if k.chance(0.6) else k.plastic(0.9)
    with w.group((0, 0.25, 0), object="laundry basket" if laundry else "basket"):
        w.cylinder((0, 0, 0), 0.2, 0.4, material=c, top_radius=0.25)
        w.cylinder((0, 0, 0.38), 0.26, 0.03, material=c, part="rim")
    if laundry:
        for i in range(4):
            w.soft(
                (k.uni(-0.1, 0.1), 0.25 + k.uni(-0.1, 0.1), 0.42 + 0.03 * i),
                (k.uni(0.2, 0.32), k.uni(0.18, 0.28), 0.12),
                k.uni(0, 180),
                k.cloth(0.4),
                "clothes",
                power=4,
                roll=k.uni(-20, 20),
            )


# -- kitchen -----------------------------------------------------------------------------------


def counter(k: Kit, width, front, top, sink=False, hob=False, drawers=0, base=True):
    """A run of base cabinets with a worktop 0.9 m high."""
    w = k.world
    with w.group(object="cabinet"):
        if base:
            w.box((0, 0.3, 0.47), (width, 0.56, 0.78), material=front)
            w.box((0, 0.27, 0.05), (width, 0.46, 0.1), material=k.black, part="plinth")
        n = max(1, round(width / 0.5))
        if base:
            fronts(k, width - 0.01, 0.68, 0.86, 0.585, 1, n, front)
            fronts(k, width - 0.01, 0.1, 0.68, 0.585, 1, n, panelled(front), "door", True)
    w.box((0, 0.31, 0.885), (width + 0.02, 0.64, 0.04), material=top, object="counter")
    if sink:
        kitchen_sink(k, 0.9)


def kitchen_sink(k: Kit, z):
    w = k.world
    with w.group((0, 0.33, z), object="sink"):
        w.box((0, 0, 0.008), (0.62, 0.46, 0.012), material=k.steel, part="rim")
        w.box(
            (0, 0.02, 0.0145),
            (0.5, 0.34, 0.002),
            part="basin",
            material=Material(srgb("#6f7376"), "metal", gloss=0.5),
        )
    tap(k, (0, 0.08, z + 0.01))


def tap(k: Kit, at, height=0.28):
    w = k.world
    with w.group(at, object="tap"):
        w.cylinder((0, 0, 0), 0.016, height, material=k.chrome)
        w.rod((0, 0, height), (0, 0.16, height + 0.02), 0.012, k.chrome, part="spout")
        w.rod((0, 0.16, height + 0.02), (0, 0.17, height - 0.05), 0.012, k.chrome, part="spout")
        for sx in (-1, 1):
            w.rod((sx * 0.02, 0, 0.06), (sx * 0.08, 0, 0.09), 0.011, k.chrome, part="knob")


def stove(k: Kit):
    w = k.world
    body = k.pick((k.white, k.steel, k.black, k.white))
    dark = Material(srgb("#111214"), "glass", gloss=0.8)
    with w.group(object="stove"):
        w.box((0, 0.31, 0.45), (0.6, 0.6, 0.9), material=body)
        w.box((0, 0.31, 0.905), (0.6, 0.6, 0.015), material=dark, part="hob")
        for sx in (-1, 1):
            for y in (0.17, 0.45):
                w.cylinder((sx * 0.14, y, 0.912), 0.085, 0.012, material=k.iron, part="burner")
                w.cylinder((sx * 0.14, y, 0.92), 0.04, 0.014, material=k.steel, part="burner")
        w.box((0, 0.618, 0.46), (0.54, 0.03, 0.5), material=body, part="oven door")
        w.box((0, 0.634, 0.46), (0.42, 0.006, 0.3), material=dark, part="oven door")
        k.handle(0, 0.64, 0.74, 0.46)
        for i in range(5):
            w.cylinder(
                (-0.22 + i * 0.11, 0.61, 0.82),
                0.022,
                0.03,
                material=k.black,
                axis=(0, 1, 0),
                part="knob",
            )
        w.box((0, 0.615, 0.1), (0.56, 0.02, 0.16), material=body, part="drawer")
    for x, y in ((-0.14, 0.17), (0.14, 0.17), (0.14, 0.45)):
        if k.chance(0.4):
            with w.group((x, y, 0.934)):
                pot(k)


def pot(k: Kit):
    w = k.world
    c = k.pick((k.steel, k.chrome, Material(srgb("#a8322a"), "metal", gloss=0.5), k.iron))
    r, h = k.uni(0.08, 0.12), k.uni(0.08, 0.15)
    with w.group(yaw=k.uni(0, 360), object="pot"):
        w.cylinder((0, 0, 0), r, h, material=c)
        w.cylinder((0, 0, h), r * 1.03, 0.012, material=c, part="lid", top_radius=r * 0.9)
        w.ellipsoid((0, 0, h + 0.03), 0.018, material=k.black, part="knob")
        w.rod((r, 0, h * 0.8), (r + 0.14, 0, h * 0.85), 0.012, k.black, part="handle")


def kettle(k: Kit):
    w = k.world
    c = k.pick((k.chrome, k.plastic(), k.white))
    with w.group(yaw=k.uni(0, 360), object="kettle"):
        w.cylinder((0, 0, 0), 0.085, 0.18, material=c, top_radius=0.06)
        w.ellipsoid((0, 0, 0.18), (0.06, 0.06, 0.03), material=c, part="lid")
        w.rod((0.06, 0, 0.1), (0.13, 0, 0.19), 0.018, c, part="spout", end_radius=0.01)
        w.rod((-0.07, 0, 0.19), (-0.13, 0, 0.17), 0.012, k.black, part="handle")
        w.rod((-0.13, 0, 0.17), (-0.1, 0, 0.04), 0.012, k.black, part="handle")


def toaster(k: Kit):
    w = k.world
    with w.group(object="toaster"):
        w.soft((0, 0, 0.09), (0.28, 0.17, 0.18), material=k.pick((k.steel, k.plastic())), power=8)
        for y in (-0.03, 0.03):
            w.box((0, y, 0.181), (0.2, 0.022, 0.004), material=k.black)


def microwave(k: Kit):
    w = k.world
    with w.group(object="microwave"):
        w.box((0, 0.18, 0.14), (0.48, 0.34, 0.28), material=k.pick((k.white, k.steel, k.black)))
        w.box(
            (-0.06, 0.352, 0.14),
            (0.32, 0.008, 0.22),
            part="door",
            material=Material(srgb("#141518"), "glass", gloss=0.7),
        )
        w.box((0.18, 0.352, 0.14), (0.09, 0.006, 0.22), material=k.black, part="control panel")
        k.handle(0.115, 0.355, 0.14, 0.2, True)


def refrigerator(k: Kit):
    w = k.world
    h = k.uni(1.7, 1.95)
    c = k.pick((k.white, k.steel, k.white, k.lacquer(("#c9403a", "#9cc3c0", "#e8e6e1"))))
    split = h * k.uni(0.55, 0.7)
    with w.group(object="refrigerator"):
        w.box((0, 0.31, h / 2 + 0.02), (0.66, 0.6, h - 0.04), material=c)
        for z0, z1 in ((0.05, split), (split + 0.012, h - 0.01)):
            w.soft(
                (0, 0.63, (z0 + z1) / 2), (0.655, 0.07, z1 - z0), material=c, part="door", power=16
            )
            k.handle(
                -0.26, 0.665, (z0 + z1) / 2 + (0.2 if z0 < 0.1 else -0.08), 0.35, True, k.chrome
            )
    if k.chance(0.4):
        for _ in range(4):
            w.box(
                (k.uni(-0.15, 0.2), 0.668, k.uni(1.1, 1.5)),
                (0.1, 0.003, 0.13),
                0,
                k.pick((k.paper, k.plastic(1.0))),
                "paper",
            )


def range_hood(k: Kit):
    """Its lower edge at z = 0."""
    w = k.world
    with w.group(object="range hood"):
        w.box((0, 0.24, 0.03), (0.6, 0.46, 0.06), material=k.steel)
        w.cylinder((0, 0.2, 0.06), 0.3, 0.22, material=k.steel, top_radius=0.13)
        w.box((0, 0.14, 0.5), (0.24, 0.24, 0.9), material=k.steel)


def wall_cabinet(k: Kit, width, front, height=0.65):
    """Its lower edge at z = 0."""
    w = k.world
    with w.group(object="cabinet"):
        w.box((0, 0.16, height / 2), (width, 0.31, height), material=front)
        fronts(
            k,
            width - 0.01,
            0.005,
            height - 0.005,
            0.325,
            1,
            max(1, round(width / 0.45)),
            panelled(front),
            "door",
            True,
        )


# -- bathroom ----------------------------------------------------------------------------------


def toilet(k: Kit):
    w, c = k.world, k.enamel
    with w.group(object="toilet"):
        w.soft((0, 0.1, 0.58), (0.4, 0.19, 0.38), material=c, part="tank", power=8)
        w.box((0, 0.1, 0.775), (0.42, 0.21, 0.03), material=c, part="lid")
        w.cylinder((0, 0.1, 0.79), 0.025, 0.012, material=k.chrome, part="button")
        w.cylinder((0, 0.36, 0), 0.13, 0.3, material=c, part="base", top_radius=0.17)
        w.ellipsoid((0, 0.42, 0.3), (0.19, 0.26, 0.14), material=c, part="toilet bowl")
        w.soft((0, 0.42, 0.41), (0.38, 0.48, 0.035), material=k.white, part="seat", power=4)
        if k.chance(0.5):
            w.soft((0, 0.2, 0.6), (0.36, 0.05, 0.4), material=k.white, part="lid", power=4, roll=-8)
        else:
            w.ellipsoid(
                (0, 0.43, 0.426),
                (0.12, 0.17, 0.008),
                part="toilet bowl",
                material=Material(srgb("#8d979c"), "ceramic", gloss=0.5),
            )


def bathtub(k: Kit, length=1.65):
    w, c = k.world, k.enamel
    tiles = k.chance(0.4)
    with w.group(object="bathtub"):
        if tiles or k.chance(0.5):
            tile = Material(srgb("#dfe6e8"), "tile", "tiles", srgb("#9aa3a6"), 0.15)
            skirt = tile if tiles else c
            w.box((0, 0.72, 0.27), (length, 0.04, 0.54), material=skirt, part="side")
            for sx in (-1, 1):
                w.box(
                    (sx * (length / 2 - 0.04), 0.37, 0.27),
                    (0.08, 0.72, 0.54),
                    material=skirt,
                    part="side",
                )
            for y in (0.05, 0.7):
                w.soft((0, y, 0.55), (length, 0.1, 0.06), material=c, part="rim", power=8)
            for sx in (-1, 1):
                w.soft(
                    (sx * (length / 2 - 0.07), 0.37, 0.55),
                    (0.14, 0.74, 0.06),
                    material=c,
                    part="rim",
                    power=8,
                )
            w.box((0, 0.37, 0.25), (length - 0.1, 0.66, 0.06), material=c)
            if k.chance(0.5):
                w.quad(
                    (0, 0.37, 0.46),
                    (length - 0.2, 0.6),
                    material=Material(
                        srgb("#8fc0cc"), "water", gloss=0.9, bump=0.1, bump_scale=0.15
                    ),
                    object="water",
                )
        else:  # on feet
            w.soft((0, 0.4, 0.36), (length, 0.74, 0.46), material=c, part="side", power=4)
            w.soft((0, 0.4, 0.56), (length + 0.06, 0.8, 0.06), material=c, part="rim", power=4)
            w.soft(
                (0, 0.4, 0.585),
                (length - 0.14, 0.6, 0.02),
                part="side",
                power=4,
                material=Material(srgb("#b9bfc1"), "ceramic", gloss=0.5),
            )
            for sx in (-1, 1):
                for y in (0.2, 0.6):
                    w.ellipsoid(
                        (sx * 0.55, y, 0.09), (0.06, 0.06, 0.09), material=k.brass, part="leg"
                    )
    tap(k, (length / 2 - 0.12, 0.12, 0.56), 0.16)


def washbasin(k: Kit, mirror=True, vanity=None):
    w, c = k.world, k.enamel
    front = k.lacquer()
    if k.chance(0.5) if vanity is None else vanity:
        with w.group(object="cabinet"):
            w.box((0, 0.24, 0.45), (0.75, 0.46, 0.68), material=front)
            fronts(k, 0.74, 0.12, 0.78, 0.475, 1, 2, panelled(front), "door", True)
    else:
        w.cylinder(
            (0, 0.22, 0), 0.11, 0.72, material=c, object="sink", part="base", top_radius=0.085
        )
    with w.group(object="sink"):
        w.soft((0, 0.25, 0.83), (0.62, 0.5, 0.14), material=c, part="rim", power=6)
        w.ellipsoid(
            (0, 0.28, 0.898),
            (0.22, 0.16, 0.008),
            part="basin",
            material=Material(srgb("#aeb6b9"), "ceramic", gloss=0.5),
        )
    tap(k, (0, 0.06, 0.89), 0.13)
    if k.chance(0.7):
        with w.group((0.24, 0.15, 0.9)):
            k.pick((bottle, cup, soap))(k)
    if mirror:
        with w.group((0, 0.0, 1.5)):
            wall_mirror(k, k.uni(0.5, 0.7), k.uni(0.6, 0.85))


def soap(k: Kit):
    k.world.soft((0, 0, 0.025), (0.09, 0.06, 0.04), material=k.plastic(1.0), object="soap", power=4)


def towel_roll(k: Kit):
    k.world.soft((0, 0, 0.05), (0.2, 0.2, 0.1), material=k.cloth(0.2), object="towel", power=6)


def shower(k: Kit):
    """A corner shower with a glass screen."""
    w = k.world
    w.box((0, 0.45, 0.05), (0.9, 0.9, 0.1), material=k.enamel, object="shower", part="tray")
    pane = Material(srgb("#a8c4c6"), "glass", gloss=0.9, mirror=0.1, cutout=0.8, cutout_scale=0.5)
    with w.group(object="shower"):
        for x in (-0.44, 0.44):
            w.box((x, 0.88, 1.05), (0.03, 0.03, 1.95), material=k.chrome, part="frame")
        w.box((0, 0.88, 2.0), (0.9, 0.03, 0.03), material=k.chrome, part="frame")
        w.quad((0.2, 0.88, 1.05), (0.45, 1.85), (0, 1, 0), material=pane, part="screen")
        w.cylinder((0, 0.03, 1.0), 0.012, 1.0, material=k.chrome, part="pipe")
        w.rod((0, 0.03, 2.0), (0, 0.25, 2.05), 0.012, k.chrome, part="pipe")
        w.cylinder(
            (0, 0.25, 2.0), 0.1, 0.04, material=k.chrome, part="shower head", top_radius=0.03
        )
        w.box((0, 0.05, 1.1), (0.22, 0.05, 0.05), material=k.chrome, part="knob")


def shower_curtain(k: Kit, width=1.5):
    drape(k, width, 1.9, k.cloth(0.7), "shower curtain", z0=0.15)


def toilet_paper(k: Kit):
    """On the wall."""
    w = k.world
    w.cylinder(
        (-0.06, 0.08, 0),
        0.055,
        0.12,
        material=Material(srgb("#f0eee8"), "paper"),
        axis=(1, 0, 0),
        object="toilet paper",
    )


def drape(k: Kit, width, height, cloth, name, z0=0.02):
    """Cloth in folds along x, hanging in the plane y = 0.06."""
    folds = max(3, int(width / 0.09))
    for i in range(folds):
        x = -width / 2 + (i + 0.5) * width / folds
        k.world.cylinder(
            (x, 0.06 + 0.02 * (i % 2), z0),
            width / folds * 0.72,
            height,
            material=cloth,
            object=name,
        )


# -- utility room ------------------------------------------------------------------------------


def washing_machine(k: Kit, dryer=False):
    w = k.world
    body = k.pick((k.white, k.white, k.steel))
    dark = Material(srgb("#23272c"), "glass", gloss=0.9)
    name = "dryer" if dryer else "washing machine"
    with w.group(object=name):
        w.soft((0, 0.3, 0.43), (0.6, 0.6, 0.86), material=body, power=16)
        w.box(
            (0, 0.6, 0.78),
            (0.56, 0.02, 0.12),
            material=k.white if body is k.steel else k.steel,
            part="control panel",
        )
        w.cylinder((0.12, 0.61, 0.78), 0.032, 0.03, material=k.chrome, axis=(0, 1, 0), part="knob")
        w.box((-0.16, 0.612, 0.78), (0.16, 0.01, 0.08), material=body, part="drawer")
        w.box((0.22, 0.612, 0.78), (0.07, 0.006, 0.05), material=k.black, part="control panel")
        w.cylinder(
            (0, 0.59, 0.42),
            0.215,
            0.045,
            material=k.chrome if k.chance(0.6) else k.white,
            axis=(0, 1, 0),
            part="door",
        )
        w.cylinder((0, 0.63, 0.42), 0.16, 0.012, material=dark, axis=(0, 1, 0), part="door")
        w.ellipsoid((0, 0.635, 0.42), (0.135, 0.03, 0.135), material=dark, part="door")
        for sx in (-1, 1):
            w.cylinder((sx * 0.24, 0.5, 0), 0.02, 0.03, material=k.black, part="leg")
    if k.chance(0.5):
        with w.group((k.uni(-0.12, 0.12), 0.3, 0.862)):
            k.pick((detergent, towel_roll, carton_small, bottle))(k)


def ironing_board(k: Kit):
    """Free standing, centred."""
    w = k.world
    cover = k.cloth(0.7)
    with w.group(object="ironing board"):
        w.soft((0, 0, 0.88), (1.25, 0.36, 0.05), material=cover, part="board", power=6)
        for y in (-0.1, 0.1):
            w.rod((-0.42, y, 0), (0.38, y, 0.86), 0.014, k.steel, part="leg")
            w.rod((0.42, y, 0), (-0.38, y, 0.86), 0.014, k.steel, part="leg")
    if k.chance(0.75):
        with w.group((0.3, 0, 0.905), yaw=k.uni(-30, 30), object="iron"):
            w.soft((0, 0, 0.03), (0.24, 0.12, 0.06), material=k.plastic(), power=4)
            w.rod((-0.08, 0, 0.12), (0.05, 0, 0.12), 0.016, k.black, part="handle")
            w.rod((-0.08, 0, 0.05), (-0.08, 0, 0.12), 0.014, k.black, part="handle")
            w.rod((0.05, 0, 0.05), (0.05, 0, 0.12), 0.014, k.black, part="handle")
    if k.chance(0.6):
        w.soft((-0.25, 0, 0.93), (0.4, 0.3, 0.06), k.uni(-15, 15), k.cloth(0.3), "clothes", power=4)


def storage_rack(k: Kit, width=1.0):
    """Open metal shelves with boxes, bottles and baskets."""
    w = k.world
    h = k.uni(1.6, 2.0)
    metal = k.pick((k.steel, k.iron, k.second_wood))
    levels = int(k.rng.integers(3, 6))
    with w.group(object="shelf"):
        for sx in (-1, 1):
            for y in (0.03, 0.42):
                w.box((sx * width / 2, y, h / 2), (0.035, 0.035, h), material=metal, part="post")
        for i in range(levels):
            w.box(
                (0, 0.225, 0.15 + i * (h - 0.2) / (levels - 1)),
                (width, 0.43, 0.02),
                material=metal,
                part="board",
            )
    for i in range(levels):
        z = 0.16 + i * (h - 0.2) / (levels - 1)
        x = -width / 2 + 0.16
        while x < width / 2 - 0.12:
            if k.chance(0.8):
                with w.group((x, 0.22, z)):
                    f = k.pick((carton, carton, detergent, bottle, carton_small, paint_can))
                    f(k, k.uni(0.2, 0.3)) if f is carton else f(k)
            x += k.uni(0.2, 0.32)


def paint_can(k: Kit):
    w = k.world
    with w.group(object="can"):
        w.cylinder((0, 0, 0), 0.08, 0.17, material=k.steel)
        w.cylinder((0, 0, 0.03), 0.081, 0.11, material=k.plastic(0.9), part="label")


def broom(k: Kit):
    w = k.world
    with w.group((0, 0.02, 0), object="broom"):
        w.rod((0, 0.18, 0.1), (0, 0.02, 1.35), 0.013, k.main_wood, part="handle")
        w.box(
            (0, 0.19, 0.07),
            (0.3, 0.06, 0.14),
            material=Material(k.colour(0.4, 0.9, 0.7), "plastic", bump=1.2, bump_scale=0.01),
            part="brush",
        )


def bucket(k: Kit):
    w = k.world
    c = k.plastic(0.9)
    with w.group((0, 0.2, 0), object="bucket"):
        w.cylinder((0, 0, 0), 0.11, 0.28, material=c, top_radius=0.15)
        w.disk((0, 0, 0.282), 0.135, material=Material(srgb("#22303a"), ""))
        w.rod((-0.15, 0, 0.27), (0, 0.06, 0.38), 0.006, k.steel, part="handle")
        w.rod((0.15, 0, 0.27), (0, 0.06, 0.38), 0.006, k.steel, part="handle")


def drying_rack(k: Kit):
    w = k.world
    with w.group((0, 0.35, 0), object="drying rack"):
        for sx in (-1, 1):
            w.rod((sx * 0.5, -0.25, 0), (sx * 0.5, 0.25, 0.95), 0.01, k.steel, part="leg")
            w.rod((sx * 0.5, 0.25, 0), (sx * 0.5, -0.25, 0.95), 0.01, k.steel, part="leg")
        for i in range(6):
            y = -0.3 + i * 0.12
            w.rod((-0.5, y, 0.95), (0.5, y, 0.95), 0.006, k.steel, part="rail")
    for i in range(6):
        if k.chance(0.55):
            w.soft(
                (k.uni(-0.2, 0.2), 0.05 + i * 0.12, 0.72),
                (k.uni(0.3, 0.5), 0.03, k.uni(0.35, 0.5)),
                material=k.cloth(0.4),
                object="clothes",
                power=8,
            )


def boiler(k: Kit):
    """On the wall, its lower edge at z = 0."""
    w = k.world
    with w.group(object="boiler"):
        w.soft((0, 0.17, 0.4), (0.45, 0.34, 0.8), material=k.white, power=14)
        w.cylinder((0.1, 0.35, 0.12), 0.03, 0.01, material=k.black, axis=(0, 1, 0), part="knob")
        for x in (-0.12, -0.04, 0.06):
            w.cylinder(
                (x, 0.12, -0.5),
                0.012,
                0.5,
                material=Material(srgb("#b06a3a"), "metal", mirror=0.4, gloss=0.5),
                part="pipe",
            )


def ladder(k: Kit):
    w = k.world
    with w.group((0, 0.05, 0), object="ladder"):
        for x in (-0.22, 0.22):
            w.rod((x, 0.4, 0), (x * 0.8, 0.02, 1.9), 0.022, k.steel, part="post")
        for i in range(6):
            t = (i + 1) / 7
            w.box((0, 0.4 - 0.38 * t, 1.9 * t), (0.42, 0.06, 0.025), material=k.steel, part="rung")


# -- office and dining -------------------------------------------------------------------------


def desk(k: Kit, width=1.4, computer=True, clutter=3):
    w = k.world
    depth, h = 0.7, 0.74
    with w.group(object="desk"):
        w.box((0, depth / 2, h), (width, depth, 0.03), material=k.main_wood, part="table top")
        side = k.rng.random()
        if side < 0.6:
            x = (width / 2 - 0.22) * (1 if k.chance(0.5) else -1)
            with w.group((x, 0, 0)):
                w.box(
                    (0, depth / 2, h / 2 - 0.02),
                    (0.4, depth - 0.08, h - 0.05),
                    material=k.main_wood,
                )
                fronts(k, 0.39, 0.06, h - 0.04, depth - 0.03, 3, 1, k.main_wood)
            for y in (0.06, depth - 0.06):
                w.box(
                    (-math.copysign(width / 2 - 0.05, x), y, h / 2),
                    (0.05, 0.05, h),
                    material=k.main_wood,
                    part="leg",
                )
        else:
            legs(k, width, depth, h, k.pick((k.iron, k.steel, k.main_wood)), 0.026)
    top = h + 0.015
    x = k.uni(-0.2, 0.2)
    if computer:
        if k.chance(0.25):
            with w.group((x, 0.38, top), yaw=k.uni(-15, 15)):
                laptop(k)
        else:
            with w.group((x, 0.22, top), yaw=k.uni(-12, 12)):
                monitor(k)
            if k.chance(0.25):
                with w.group((x + 0.6, 0.24, top), yaw=-15):
                    monitor(k)
            with w.group((x, 0.52, top), yaw=k.uni(-6, 6)):
                keyboard(k)
            w.soft(
                (x + 0.32, 0.52, top + 0.016),
                (0.06, 0.1, 0.032),
                material=k.black,
                object="mouse",
                power=4,
            )
    for _ in range(clutter):
        with w.group((k.uni(-0.45, 0.45) * width, k.uni(0.15, 0.6), top)):
            k.pick((sheets, sheets, cup, pen_cup, magazine, potted_small, telephone))(k)
    if k.chance(0.45):
        with w.group((math.copysign(width / 2 - 0.18, -x), 0.16, top)):
            desk_lamp(k)
    if k.chance(0.45):
        book_pile(k, (-math.copysign(width / 2 - 0.25, -x), 0.2, top))


def monitor(k: Kit):
    w = k.world
    size = k.uni(0.48, 0.62)
    on = k.chance(0.75)
    screen = Material(
        srgb("#1f2733"),
        "glass",
        "screen",
        srgb(k.pick(("#dfe7f2", "#2f6f9c", "#e9ecee", "#27384f"))),
        emit=1.0 if on else 0.0,
        gloss=0.4,
        seed=k.uni(0, 99),
    )
    off = Material(srgb("#0b0c0e"), "glass", gloss=0.6)
    with w.group(object="computer monitor"):
        w.box((0, 0, 0.13 + size * 0.31), (size, 0.04, size * 0.6), material=k.black, part="frame")
        w.box(
            (0, 0.022, 0.13 + size * 0.31),
            (size - 0.03, 0.004, size * 0.6 - 0.03),
            material=screen if on else off,
            part="screen",
        )
        w.box((0, -0.02, 0.1), (0.05, 0.03, 0.2), material=k.black, part="stand")
        w.cylinder((0, 0, 0), 0.11, 0.012, material=k.black, part="stand")


def keyboard(k: Kit):
    body = Material(srgb("#2a2b2e"), "plastic", "keys", srgb("#5b5d62"), 0.022)
    if k.chance(0.4):
        body = Material(srgb("#c9c9c6"), "plastic", "keys", srgb("#f3f3f0"), 0.022)
    k.world.box((0, 0, 0.012), (0.43, 0.14, 0.022), material=body, object="keyboard")


def laptop(k: Kit):
    w = k.world
    keys = Material(srgb("#8b8d90"), "metal", "keys", srgb("#222326"), 0.022)
    screen = Material(
        srgb("#1f2733"), "glass", "screen", srgb("#dfe7f2"), emit=1.0, seed=k.uni(0, 99)
    )
    with w.group(object="laptop"):
        w.box((0, 0.03, 0.01), (0.34, 0.24, 0.018), material=keys, part="keyboard")
        with w.group((0, -0.09, 0.02), roll=18):
            w.box((0, 0, 0.11), (0.34, 0.012, 0.22), material=k.steel, part="frame")
            w.box((0, 0.008, 0.11), (0.31, 0.003, 0.19), material=screen, part="screen")


def sheets(k: Kit):
    for i in range(int(k.rng.integers(1, 4))):
        k.world.box(
            (k.uni(-0.05, 0.05), k.uni(-0.04, 0.04), 0.004 + 0.005 * i),
            (0.21, 0.297, 0.005),
            k.uni(-25, 25),
            k.paper,
            "paper",
        )


def pen_cup(k: Kit):
    w = k.world
    w.cylinder((0, 0, 0), 0.038, 0.1, material=k.plastic(0.7), object="pen holder")
    for i in range(5):
        a = i * 1.26
        w.rod(
            (0, 0, 0.05),
            (0.04 * math.cos(a), 0.04 * math.sin(a), 0.18),
            0.005,
            k.plastic(0.95),
            object="pen",
        )


def telephone(k: Kit):
    w = k.world
    c = k.pick((k.black, k.white, k.plastic(0.6)))
    with w.group(yaw=k.uni(-30, 30), object="telephone"):
        w.box((0, 0, 0.03), (0.18, 0.2, 0.04), material=c, roll=8, part="base")
        w.soft((-0.05, 0, 0.075), (0.05, 0.21, 0.04), material=c, part="receiver", power=6)
        w.box(
            (0.04, 0.01, 0.054),
            (0.08, 0.1, 0.006),
            roll=8,
            part="keyboard",
            material=Material(srgb("#33353a"), "plastic", "keys", srgb("#b8bbc0"), 0.028),
        )


def desk_lamp(k: Kit):
    w = k.world
    c = k.pick((k.black, k.plastic(), k.steel))
    on = k.chance(0.5)
    bulb = Material(srgb("#fff3d8"), "glass", emit=3.0 if on else 0.2)
    with w.group(yaw=k.uni(-50, 50), object="lamp"):
        w.cylinder((0, 0, 0), 0.08, 0.02, material=c, part="base")
        w.rod((0, 0, 0.02), (0, -0.05, 0.26), 0.01, c, part="arm")
        w.rod((0, -0.05, 0.26), (0, 0.14, 0.42), 0.01, c, part="arm")
        w.cylinder(
            (0, 0.22, 0.34),
            0.08,
            0.13,
            material=c,
            part="lamp shade",
            top_radius=0.03,
            axis=(0, -0.5, 0.8),
        )
        w.ellipsoid((0, 0.215, 0.35), 0.035, material=bulb, part="bulb")
        if on:
            w.light((0, 0.24, 0.3), (1.0, 0.85, 0.6), 0.6, 0.05)


def swivel_chair(k: Kit):
    """Free standing; faces −y (towards the desk it is drawn up to)."""
    w = k.world
    cloth = k.pick((k.cloth(0.0), k.leather(), k.cloth(0.0)))
    with w.group(object="swivel chair"):
        for i in range(5):
            a = 2 * math.pi * i / 5
            x, y = 0.27 * math.cos(a), 0.27 * math.sin(a)
            w.rod((0, 0, 0.1), (x, y, 0.07), 0.02, k.black, part="leg")
            w.ellipsoid((x, y, 0.03), 0.03, material=k.black, part="wheel")
        w.cylinder((0, 0, 0.08), 0.025, 0.36, material=k.steel, part="leg")
        w.soft((0, 0, 0.48), (0.48, 0.46, 0.1), material=cloth, part="seat", power=4)
        w.box((0, 0.23, 0.6), (0.05, 0.03, 0.3), material=k.black, part="back")
        w.soft((0, 0.24, 0.86), (0.44, 0.09, 0.54), material=cloth, part="back", power=4)
        if k.chance(0.6):
            for sx in (-1, 1):
                w.box((sx * 0.26, 0.06, 0.68), (0.05, 0.24, 0.03), material=k.black, part="armrest")
                w.box((sx * 0.26, 0.1, 0.58), (0.03, 0.04, 0.2), material=k.black, part="armrest")


def filing_cabinet(k: Kit):
    w = k.world
    c = k.pick(
        (
            k.steel,
            Material(srgb("#8d938f"), "metal", gloss=0.3),
            Material(srgb("#3f4a52"), "metal", gloss=0.3),
        )
    )
    rows = int(k.rng.integers(2, 5))
    h = rows * 0.33
    with w.group(object="filing cabinet"):
        w.box((0, 0.3, h / 2), (0.45, 0.58, h), material=c)
        fronts(k, 0.44, 0.02, h - 0.01, 0.595, rows, 1, c)
    if k.chance(0.5):
        with w.group((0, 0.3, h)):
            k.pick((printer, potted_small, carton_small, sheets))(k)


def printer(k: Kit):
    w = k.world
    with w.group(object="printer"):
        w.soft((0, 0, 0.13), (0.42, 0.36, 0.24), material=k.pick((k.white, k.black)), power=12)
        w.box((0, 0.19, 0.08), (0.3, 0.12, 0.015), material=k.black, part="tray")
    w.box((0, 0.2, 0.092), (0.21, 0.1, 0.006), material=k.paper, object="paper")


def chair(k: Kit, wood=None, cloth=None):
    """Free standing; sits at y = 0, back rest at +y, faces −y."""
    w = k.world
    wood = wood or k.main_wood
    with w.group(object="chair"):
        for sx in (-1, 1):
            w.rod((sx * 0.19, -0.19, 0), (sx * 0.18, -0.18, 0.45), 0.018, wood, part="leg")
            w.rod((sx * 0.19, 0.2, 0), (sx * 0.18, 0.22, 0.92), 0.018, wood, part="leg")
        if cloth:
            w.soft((0, 0, 0.47), (0.44, 0.43, 0.07), material=cloth, part="seat", power=6)
            w.soft((0, 0.21, 0.78), (0.4, 0.05, 0.34), material=cloth, part="back", power=6)
        else:
            w.box((0, 0, 0.455), (0.43, 0.42, 0.03), material=wood, part="seat")
            if k.rng.random() < 0.5:
                for z in (0.62, 0.74, 0.87):
                    w.box((0, 0.215, z), (0.38, 0.02, 0.06), material=wood, part="back")
            else:
                w.box((0, 0.22, 0.9), (0.42, 0.03, 0.07), material=wood, part="back")
                for x in (-0.11, -0.035, 0.04, 0.115):
                    w.cylinder((x, 0.215, 0.46), 0.009, 0.42, material=wood, part="back")


def stool(k: Kit):
    w = k.world
    h = k.uni(0.45, 0.68)
    with w.group(object="stool"):
        w.cylinder((0, 0, h - 0.04), 0.17, 0.04, material=k.second_wood, part="seat")
        for i in range(4):
            a = 0.785 + i * 1.571
            w.rod(
                (0.17 * math.cos(a), 0.17 * math.sin(a), 0),
                (0.11 * math.cos(a), 0.11 * math.sin(a), h - 0.04),
                0.016,
                k.second_wood,
                part="leg",
            )


def dining_table(k: Kit, width=1.8, depth=0.95, laid=0.8, chairs=True, ends=True):
    """Free standing with its chairs, long side along x."""
    w = k.world
    h = 0.75
    is_round = width < 1.25
    cloth = k.cloth(0.6) if k.chance(0.3) else None
    with w.group(object="dining table"):
        if is_round:
            w.cylinder((0, 0, h - 0.035), width / 2, 0.035, material=k.main_wood, part="table top")
            w.cylinder((0, 0, 0.03), 0.06, h - 0.06, material=k.main_wood, part="leg")
            w.cylinder((0, 0, 0), 0.28, 0.04, material=k.main_wood, part="leg", top_radius=0.1)
        else:
            w.box((0, 0, h - 0.018), (width, depth, 0.036), material=k.main_wood, part="table top")
            w.box((0, 0, h - 0.08), (width - 0.2, depth - 0.2, 0.09), material=k.main_wood)
            legs(k, width, depth, h - 0.03, k.main_wood, 0.04, y0=-depth / 2, inset=0.08)
    if cloth and not is_round:
        w.box(
            (0, 0, h - 0.09), (width + 0.02, depth + 0.02, 0.2), material=cloth, object="tablecloth"
        )
        h += 0.012
    seats = []
    n = max(1, round(width / 0.65))
    if is_round:
        seats = [
            (0.62 * width * math.sin(a), -0.62 * width * math.cos(a), math.degrees(a))
            for a in (0.4, 1.97, 3.54, 5.11)
        ]
    else:
        for i in range(n):
            x = -width / 2 + (i + 0.5) * width / n
            seats += [(x, depth / 2 + 0.12, 0.0), (x, -depth / 2 - 0.12, 180.0)]
        if ends:
            seats += [(width / 2 + 0.15, 0.0, -90.0), (-width / 2 - 0.15, 0.0, 90.0)]
    cover = k.upholstery() if k.chance(0.5) else None
    style = k.main_wood if k.chance(0.7) else k.second_wood
    state = k.rng.integers(1, 2**31)
    for x, y, yaw in seats:
        if is_round:
            yaw += 180
        if chairs and k.chance(0.9):
            pull = k.uni(0.0, 0.25)
            a = math.radians(yaw)
            kept, k.rng = k.rng, np.random.default_rng(state)  # one design for all of them
            with w.group(
                (x - pull * math.sin(a), y + pull * math.cos(a), 0), yaw=yaw + kept.uniform(-12, 12)
            ):
                chair(k, style, cover)
            k.rng = kept
        if k.chance(laid):
            f = 0.68 if is_round else 0.66
            px, py = (
                (x * f * 0.9, y * f * 0.9)
                if is_round
                else (
                    (x, math.copysign(depth / 2 - 0.2, y))
                    if abs(y) > 0.01
                    else (math.copysign(width / 2 - 0.2, x), 0.0)
                )
            )
            with w.group((px, py, h)):
                plate(k)
                if k.chance(0.6):
                    with w.group((0.17, 0.05, 0)):
                        k.pick((wine_glass, cup, wine_glass))(k)
                w.box((-0.17, 0, 0.004), (0.02, 0.19, 0.006), material=k.steel, object="cutlery")
    with w.group((k.uni(-0.2, 0.2), 0, h)):
        k.pick((vase, bowl_of_fruit, candles, vase, bowl_of_fruit))(k)


def candles(k: Kit):
    w = k.world
    flame = Material(srgb("#ffc060"), "", emit=4.0)
    wax = Material(srgb("#efe6d0"), "wax")
    for i in range(3):
        x = (i - 1) * 0.13
        with w.group((x, 0, 0), object="candle"):
            w.cylinder((0, 0, 0), 0.04, 0.05, material=k.brass, part="base", top_radius=0.02)
            w.cylinder((0, 0, 0.05), 0.013, 0.16 + 0.04 * (i == 1), material=wax)
            if k.chance(0.7):
                w.ellipsoid(
                    (0, 0, 0.24 + 0.04 * (i == 1)),
                    (0.009, 0.009, 0.022),
                    material=flame,
                    part="flame",
                )


def sideboard(k: Kit):
    w, wood = k.world, k.main_wood
    width = k.uni(1.2, 1.6)
    with w.group(object="cabinet"):
        w.box((0, 0.22, 0.48), (width, 0.43, 0.72), material=wood)
        w.box((0, 0.23, 0.85), (width + 0.05, 0.48, 0.03), material=wood, part="table top")
        fronts(k, width - 0.02, 0.64, 0.83, 0.44, 1, 3, wood)
        fronts(k, width - 0.02, 0.14, 0.64, 0.44, 1, 3, panelled(wood), "door", True)
        legs(k, width, 0.42, 0.14, wood, 0.03)
    for _ in range(int(k.rng.integers(1, 4))):
        with w.group((k.uni(-0.42, 0.42) * width, 0.22, 0.866)):
            k.pick((vase, bowl, candles, plate_upright, table_lamp, bottle))(k)


def china_cabinet(k: Kit):
    w, wood = k.world, k.main_wood
    with w.group(object="cabinet"):
        w.box((0, 0.22, 0.42), (1.0, 0.42, 0.84), material=wood)
        fronts(k, 0.98, 0.06, 0.82, 0.435, 1, 2, panelled(wood), "door", True)
        w.box((0, 0.01, 1.45), (1.0, 0.02, 1.2), material=wood, part="back")
        for sx in (-1, 1):
            w.box((sx * 0.49, 0.16, 1.45), (0.025, 0.3, 1.2), material=wood)
        for i in range(4):
            w.box((0, 0.16, 0.86 + 0.39 * i), (0.98, 0.3, 0.022), material=wood, part="board")
    for i in range(3):
        for j in range(4):
            if k.chance(0.8):
                with w.group((-0.34 + 0.225 * j, 0.16, 0.872 + 0.39 * i)):
                    k.pick((plate_upright, cup, bowl, wine_glass, vase))(k)


def globe(k: Kit):
    w = k.world
    sea = Material(srgb("#3f78b5"), "paper", "noise", srgb("#8fae62"), 0.16, gloss=0.3)
    with w.group(object="globe"):
        w.cylinder((0, 0, 0), 0.1, 0.03, material=k.main_wood, part="base")
        w.cylinder((0, 0, 0.03), 0.015, 0.08, material=k.brass, part="base")
        w.ellipsoid((0, 0, 0.27), 0.16, material=sea)


def reading_table(k: Kit):
    """A library table with lamps and open books, free standing, with chairs."""
    w = k.world
    width, depth, h = k.uni(1.5, 2.0), 0.9, 0.75
    with w.group(object="table"):
        w.box((0, 0, h - 0.02), (width, depth, 0.04), material=k.main_wood, part="table top")
        legs(k, width, depth, h - 0.03, k.main_wood, 0.045, y0=-depth / 2, inset=0.08)
    for sx in (-1, 1):
        if k.chance(0.6):
            green = Material(srgb("#1f6b46"), "glass", emit=0.5, gloss=0.7, shadow=False)
            with w.group((sx * width * 0.28, 0, h), object="lamp"):
                w.cylinder((0, 0, 0), 0.08, 0.02, material=k.brass, part="base")
                w.cylinder((0, 0, 0), 0.012, 0.32, material=k.brass, part="base")
                w.soft(
                    (0, 0.03, 0.34), (0.28, 0.14, 0.1), material=green, part="lamp shade", power=4
                )
            w.light((sx * width * 0.28, 0.04, h + 0.26), (1.0, 0.8, 0.5), 0.35, 0.08)
    for _ in range(int(k.rng.integers(2, 6))):
        at = (k.uni(-0.4, 0.4) * width, k.uni(-0.3, 0.3) * depth, h)
        if k.chance(0.5):
            with w.group(at, yaw=k.uni(0, 360), object="book"):
                for sx in (-1, 1):
                    w.box(
                        (sx * 0.08, 0, 0.02),
                        (0.16, 0.23, 0.012),
                        material=k.paper,
                        part="page",
                        pitch=sx * 7,
                    )
        else:
            book_pile(k, at)
    for i in range(int(k.rng.integers(2, 5))):
        yaw = 0.0 if i % 2 == 0 else 180.0
        with w.group(
            (k.uni(-0.35, 0.35) * width, (0.65 if i % 2 == 0 else -0.65), 0),
            yaw=yaw + k.uni(-25, 25),
        ):
            chair(k, k.main_wood)
