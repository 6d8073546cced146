"""Things that stand outdoors, piece by piece: plants, people, animals, vehicles, buildings.

Every ``add_…`` draws one thing at a point of the ground (metres, z up), turned by `yaw` degrees,
in colours and proportions drawn from `rng`. Materials have functions of their own.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from core.rooms.drawing.outdoor_kit import (
    CLOTHES,
    GREENS,
    PAINTS,
    SKINS,
    Point,
    Rng,
    chance,
    flat_land,
    fractal,
    loft,
    pick,
    tinted,
    uni,
)
from core.rooms.drawing.tracer import (
    Material,
    World,
    srgb,
)

# -- plants and stones -------------------------------------------------------------------------


def bark_material(rng: Rng) -> Material:
    colour = pick(rng, ("#6b5440", "#574636", "#7a6a58", "#4a3b30"))
    return tinted(
        rng, colour, "bark", color2="#2f261e", texture="bark", scale=0.12, bump=0.8, bump_scale=0.04
    )


def leaf_material(rng: Rng, colour: str, cutout: float = 0.34, grain: float = 0.16) -> Material:
    """Foliage about `colour`; `grain` is the size of its tufts in metres."""
    light, dark = (
        "#" + "".join(f"{min(255, int(int(colour[k : k + 2], 16) * share)):02x}" for k in (1, 3, 5))
        for share in (1.2, 0.42)
    )
    return tinted(
        rng,
        light,
        "foliage",
        color2=dark,
        texture="leaves",
        scale=grain,
        bump=1.6,
        bump_scale=grain * 0.8,
        cutout=cutout,
        cutout_scale=grain * 1.1,
    )


def add_tree(
    w: World,
    rng: Rng,
    at: Point,
    height: float,
    leaf: Material,
    bark: Material,
    bare: float = 0.35,
    lumps: int = 7,
    spread: float = 0.33,
) -> None:
    """A broad-leaved tree; `bare` is the share of its height that is trunk only."""
    with w.group(at, yaw=uni(rng, 0, 360), object="tree"):
        r = height * uni(rng, 0.02, 0.03) + 0.04
        fork = height * (bare + 0.12)
        lean = (uni(rng, -0.04, 0.04) * height, uni(rng, -0.04, 0.04) * height)
        w.rod((0, 0, -0.2), (*lean, fork), r, bark, part="trunk", end_radius=r * 0.7)
        w.cylinder((0, 0, -0.1), r * 1.7, 0.35, material=bark, part="trunk", top_radius=r)
        middle = height * (1 + bare) / 2
        for k in range(lumps):
            a = 2 * math.pi * (k + uni(rng, 0, 0.7)) / lumps
            out = height * spread * uni(rng, 0.35, 0.75) * (0.3 if k == 0 else 1)
            up = middle + height * (0.22 if k == 0 else uni(rng, -0.17, 0.17))
            c = (lean[0] + out * math.cos(a), lean[1] + out * math.sin(a), up)
            size = height * uni(rng, 0.13, 0.2) * (1.15 if k == 0 else 1)
            w.ellipsoid(
                c,
                (size * uni(rng, 0.95, 1.25), size, size * uni(rng, 0.75, 0.95)),
                yaw=math.degrees(a),
                material=leaf,
                part="foliage",
            )
            if height < 11:  # a smaller tuft on its outside breaks the ball
                b = a + uni(rng, -0.9, 0.9)
                w.ellipsoid(
                    (
                        c[0] + size * 0.75 * math.cos(b),
                        c[1] + size * 0.75 * math.sin(b),
                        c[2] + size * uni(rng, -0.6, 0.7),
                    ),
                    size * uni(rng, 0.4, 0.62),
                    material=leaf,
                    part="foliage",
                )
            if k % 2:
                w.rod((*lean, fork * 0.95), c, r * 0.5, bark, part="branch", end_radius=r * 0.2)


def add_pine(
    w: World,
    rng: Rng,
    at: Point,
    height: float,
    leaf: Material,
    bark: Material,
    tiers: int = 5,
    bare: float = 0.15,
    snow: Material | None = None,
) -> None:
    """A conifer of stacked skirts; `snow` lies on them where given."""
    with w.group(at, yaw=uni(rng, 0, 360), object="pine tree"):
        r = height * 0.018 + 0.04
        w.cylinder((0, 0, -0.3), r, height * 0.8, material=bark, part="trunk", top_radius=r * 0.4)
        wide = height * uni(rng, 0.17, 0.23)
        step = height * (1 - bare) / (tiers + 0.8)
        for k in range(tiers):
            t = k / tiers
            low = height * bare + step * k
            here = wide * (1 - t * 0.8) * uni(rng, 0.92, 1.08)
            w.cylinder(
                (uni(rng, -0.02, 0.02) * wide, uni(rng, -0.02, 0.02) * wide, low),
                here,
                step * 1.75,
                material=leaf,
                part="foliage",
                top_radius=here * 0.06,
            )
            if snow is not None:
                w.cylinder(
                    (0, 0, low + step * 0.62),
                    here * 0.68,
                    step * 1.2,
                    material=snow,
                    part="foliage",
                    top_radius=0.02,
                )


def add_palm(w: World, rng: Rng, at: Point, height: float) -> None:
    bark = tinted(rng, "#8a7355", "bark", color2="#5e4c38", texture="strata", scale=0.22, bump=0.5)
    leaf = tinted(rng, "#7ea048", "foliage", color2="#557a34", texture="stripes", scale=0.08)
    with w.group(at, yaw=uni(rng, 0, 360), object="palm tree"):
        bend, r, last = height * uni(rng, 0.08, 0.28), 0.1 + height * 0.013, (0.0, 0.0, -0.2)
        for k in range(1, 6):
            t = k / 5
            point = (bend * t * t, 0.0, height * t)
            w.rod(
                last,
                point,
                r * (1.25 - 0.5 * (t - 0.2)),
                bark,
                part="trunk",
                end_radius=r * (1.2 - 0.5 * t),
            )
            last = point
        n = int(rng.integers(9, 13))
        for k in range(n):
            a, lift = 360 * k / n + uni(rng, -12, 12), uni(rng, -0.1, 0.45)
            reach = height * uni(rng, 0.16, 0.24) + 0.9
            with w.group(last, yaw=a, part="palm leaf"):
                # A leaf arches: three blades, each steeper than the one before, in two halves
                # that hang from the rib like a roof.
                x, z, rise, width = 0.0, 0.0, lift, reach * 0.17
                for step, share in enumerate((0.4, 0.35, 0.3)):
                    x2 = x + reach * share * math.cos(rise)
                    z2 = z + reach * share * math.sin(rise)
                    wide = width * (0.7, 1.0, 0.75)[step]
                    narrow = width * (1.0, 0.75, 0.04)[step]
                    for s in (-1, 1):
                        edge, edge2 = (x, s * wide, z - wide * 0.6), (x2, s * narrow, z2 - narrow)
                        w.triangle((x, 0, z), (x2, 0, z2), edge2, material=leaf)
                        w.triangle((x, 0, z), edge2, edge, material=leaf)
                    x, z, rise = x2, z2, rise - uni(rng, 0.5, 0.75)
        nut = tinted(rng, "#6a4a2c", "")
        for _ in range(int(rng.integers(0, 5))):
            w.ellipsoid(
                (last[0] + uni(rng, -0.25, 0.25), uni(rng, -0.25, 0.25), last[2] - 0.2),
                0.14,
                material=nut,
                part="coconut",
            )


def add_bush(
    w: World, rng: Rng, at: Point, size: float, leaf: Material, name: str = "bush"
) -> None:
    with w.group(at, yaw=uni(rng, 0, 360), object=name, part="foliage"):
        for _ in range(3):
            w.ellipsoid(
                (
                    uni(rng, -0.4, 0.4) * size,
                    uni(rng, -0.4, 0.4) * size,
                    size * uni(rng, 0.3, 0.45),
                ),
                (size * uni(rng, 0.4, 0.6), size * uni(rng, 0.4, 0.6), size * uni(rng, 0.4, 0.55)),
                material=leaf,
            )


def add_fern(w: World, rng: Rng, at: Point, size: float, leaf: Material) -> None:
    with w.group(at, yaw=uni(rng, 0, 360), object="fern", part="frond"):
        n = int(rng.integers(6, 9))
        for k in range(n):
            with w.group(yaw=360 * k / n + uni(rng, -15, 15)):
                mid = (size * 0.5, 0.0, size * uni(rng, 0.4, 0.6))
                tip = (size * uni(rng, 0.9, 1.15), 0.0, size * uni(rng, 0.2, 0.4))
                for s in (-1, 1):
                    edge = (mid[0] * 0.95, s * size * 0.15, mid[2] - size * 0.06)
                    w.triangle((0, 0, 0), mid, edge, material=leaf)
                    w.triangle(mid, tip, edge, material=leaf)


def add_rock(w: World, rng: Rng, at: Point, size: float, stone: Material, moss=None) -> None:
    with w.group(at, yaw=uni(rng, 0, 360), object="rock"):
        for k in range(2 if size > 0.5 else 1):
            s = size * (1.0 if k == 0 else uni(rng, 0.45, 0.7))
            off = 0.0 if k == 0 else size * 0.45
            high = s * uni(rng, 0.55, 0.85)
            w.soft(
                (off, off * 0.4, high * 0.28),
                (s * uni(rng, 1.0, 1.4), s, high),
                yaw=uni(rng, 0, 90),
                material=stone,
                power=4,
                pitch=uni(rng, -22, 22),
                roll=uni(rng, -22, 22),
            )
        if moss is not None:
            w.ellipsoid(
                (0, 0, size * 0.3),
                (size * 0.5, size * 0.42, size * 0.2),
                material=moss,
                object="moss",
            )


def stone_material(rng: Rng, colour: str = "") -> Material:
    colour = colour or pick(rng, ("#8a8780", "#77736c", "#9a9184", "#6c6d70"))
    return tinted(
        rng,
        colour,
        "stone",
        color2="#55524c",
        texture="noise",
        scale=0.25,
        bump=1.0,
        bump_scale=0.16,
    )


def add_flowers(w: World, rng: Rng, at: Point, n: int, spread: float) -> None:
    """A bed of flowers: soil, stems and heads in one or two colours."""
    soil = tinted(rng, "#4a3628", "soil", texture="noise", scale=0.1, bump=0.8)
    green = leaf_material(rng, pick(rng, GREENS), 0.3, 0.07)
    heads = [
        tinted(
            rng, pick(rng, ("#d8324a", "#f0c020", "#e8e4f0", "#9a4ac0", "#f07a2a", "#e87aa8")), ""
        )
        for _ in range(2)
    ]
    with w.group(at, yaw=uni(rng, 0, 360), object="flower"):
        w.ellipsoid(
            (0, 0, 0), (spread * 1.15, spread * 0.75, 0.07), material=soil, object="flower bed"
        )
        w.ellipsoid((0, 0, 0.08), (spread, spread * 0.62, 0.2), material=green, part="leaf")
        for k in range(n):
            a, r = uni(rng, 0, 6.28), math.sqrt(uni(rng, 0, 1))
            w.ellipsoid(
                (spread * r * math.cos(a), spread * 0.6 * r * math.sin(a), uni(rng, 0.22, 0.36)),
                (0.085, 0.085, 0.06),
                material=heads[k % 2],
                part="petal",
            )


def add_tree_line(
    w: World,
    rng: Rng,
    y: float,
    half: float,
    low: float,
    high: float,
    n: int,
    conifer: float = 0.2,
    z: float = 0.0,
) -> None:
    """A far edge of trees: few solids, no holes."""
    tones = [leaf_material(rng, pick(rng, GREENS), 0.0, 0.7) for _ in range(3)]
    bark = bark_material(rng)
    for k in range(n):
        x = half * (2 * (k + uni(rng, 0.1, 0.9)) / n - 1)
        h, leaf, yy = uni(rng, low, high), tones[k % 3], y + uni(rng, -0.1, 0.15) * y
        if chance(rng, conifer):
            add_pine(w, rng, (x, yy, z), h * 1.25, leaf, bark, tiers=4, bare=0.08)
            continue
        with w.group((x, yy, z), object="tree"):
            w.cylinder((0, 0, -0.5), h * 0.03, h * 0.5, material=bark, part="trunk")
            for _ in range(3):
                w.ellipsoid(
                    (uni(rng, -0.2, 0.2) * h, uni(rng, -0.2, 0.2) * h, h * uni(rng, 0.45, 0.75)),
                    (h * uni(rng, 0.22, 0.34), h * 0.3, h * uni(rng, 0.2, 0.3)),
                    material=leaf,
                    part="foliage",
                )


# -- people, animals and things ----------------------------------------------------------------


def add_person(w: World, rng: Rng, at: Point, yaw: float, pose: str = "walk", bare: bool = False):
    """Somebody, 1.5 to 1.9 m tall, facing local −y; pose "walk", "stand" or "sit" (hips 0.45 m)."""
    skin = tinted(rng, pick(rng, SKINS), "skin")
    top = skin if bare and chance(rng, 0.5) else tinted(rng, pick(rng, CLOTHES), "fabric", bump=0.2)
    low = tinted(rng, pick(rng, CLOTHES), "fabric", bump=0.2)
    hair = tinted(rng, pick(rng, ("#2a1d14", "#5a3c22", "#1a1614", "#b08a50", "#8a8a88")), "")
    with w.group(at, yaw=yaw, scale=uni(rng, 0.88, 1.08), object="person"):
        hip = 0.45 if pose == "sit" else 0.86
        stride = 0.0 if pose == "stand" else uni(rng, 0.1, 0.26)
        for s in (-1, 1):
            shin = skin if bare else low
            if pose == "sit":
                w.rod((s * 0.1, 0, hip), (s * 0.11, -0.42, hip + 0.02), 0.085, low, part="leg")
                w.rod((s * 0.11, -0.42, hip), (s * 0.11, -0.46, 0), 0.065, shin, part="leg")
            else:
                knee = (s * 0.1, -s * stride * 0.5, 0.46)
                w.rod((s * 0.09, 0, hip), knee, 0.09, low, part="leg", end_radius=0.07)
                w.rod(knee, (s * 0.1, -s * stride, 0.05), 0.07, shin, part="leg", end_radius=0.05)
                w.soft(
                    (s * 0.1, -s * stride - 0.05, 0.04),
                    (0.1, 0.26, 0.09),
                    material=hair,
                    object="shoe",
                )
            arm = (s * 0.27, s * stride * 0.7 - 0.02, hip + 0.24)
            w.rod((s * 0.21, 0, hip + 0.54), arm, 0.055, top, part="arm")
            w.rod(arm, (s * 0.25, s * stride - 0.1, hip), 0.045, skin, part="arm", end_radius=0.035)
        w.soft((0, 0, hip + 0.3), (0.42, 0.24, 0.66), material=top, part="torso", power=4)
        w.cylinder((0, 0, hip + 0.58), 0.055, 0.12, material=skin, part="head")
        w.ellipsoid((0, -0.01, hip + 0.77), (0.095, 0.11, 0.135), material=skin, part="head")
        w.ellipsoid((0, 0.025, hip + 0.81), (0.105, 0.11, 0.115), material=hair, part="hair")


def add_bench(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A bench 1.8 m wide that faces local −y."""
    wood = tinted(
        rng,
        pick(rng, ("#8a5f38", "#6f4a2c", "#4c6a48", "#9a7a54")),
        "wood",
        texture="wood",
        scale=0.15,
    )
    iron = tinted(rng, "#2c2e30", "metal", gloss=0.3)
    with w.group(at, yaw=yaw, object="bench"):
        for k in range(3):
            w.box((0, -0.18 + 0.16 * k, 0.45), (1.8, 0.13, 0.04), material=wood, part="seat")
        for k in range(2):
            w.box(
                (0, 0.24 + 0.05 * k, 0.64 + 0.18 * k),
                (1.8, 0.035, 0.14),
                roll=-14,
                material=wood,
                part="backrest",
            )
        for x in (-0.75, 0.75):
            for y in (-0.2, 0.18):
                w.box((x, y, 0.22), (0.06, 0.06, 0.44), material=iron, part="leg")
            w.rod((x, 0.18, 0.4), (x, 0.33, 0.9), 0.03, iron, part="leg")
            w.box((x, 0.0, 0.64), (0.05, 0.46, 0.04), material=iron, part="armrest")


def add_car(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A car about 4.3 m long whose bow points to local +x; a hatchback, saloon, van or pick-up."""
    body = tinted(rng, pick(rng, PAINTS), "metal", gloss=0.7)
    glass = tinted(rng, "#1c242c", "glass", gloss=0.9, mirror=0.15)
    tyre = tinted(rng, "#18181a", "rubber", bump=0.3)
    rim = tinted(rng, "#a8acb0", "metal", gloss=0.6)
    dark = tinted(rng, "#25272a", "plastic")
    lamp = tinted(rng, "#f4f2e4", "glass", gloss=0.8)
    rear = tinted(rng, "#a01818", "glass", gloss=0.8)
    kind = pick(rng, ("hatch", "saloon", "saloon", "van", "pickup"))
    length, wide, high = uni(rng, 3.9, 4.6), uni(rng, 1.7, 1.85), uni(rng, 1.42, 1.6)
    rear_low, rear_top, front_top, front_low = {
        "hatch": (-0.47, -0.36, 0.08, 0.24),
        "saloon": (-0.34, -0.2, 0.06, 0.23),
        "van": (-0.48, -0.46, 0.18, 0.32),
        "pickup": (-0.08, -0.06, 0.1, 0.24),
    }[kind]
    high += 0.4 if kind == "van" else 0.0
    belt, y, t = 0.92, wide / 2, wide / 2 * 0.8
    with w.group(at, yaw=yaw, object="car"):
        w.soft((0, 0, 0.6), (length, wide, 0.72), material=body, part="car body", power=8)
        a, b, c, d = (k * length for k in (rear_low, rear_top, front_top, front_low))
        low = [
            (a, -y * 0.95, belt - 0.06),
            (d, -y * 0.95, belt - 0.06),
            (d, y * 0.95, belt - 0.06),
            (a, y * 0.95, belt - 0.06),
        ]
        top = [(b, -t, high - 0.06), (c, -t, high - 0.06), (c, t, high - 0.06), (b, t, high - 0.06)]
        loft(w, low, top, glass, body, part="window", cap_part="roof")
        w.soft(
            ((b + c) / 2, 0, high - 0.04),
            (c - b + 0.16, 2 * t + 0.08, 0.11),
            material=body,
            part="roof",
        )
        for s in (-1, 1):  # posts uni the windows
            for u in (0.0, 0.5, 1.0):
                w.rod(
                    (a + (d - a) * u, s * y * 0.96, belt - 0.05),
                    (b + (c - b) * u, s * t * 1.02, high - 0.05),
                    0.045,
                    body,
                    part="car body",
                )
            w.box(
                (length * 0.485, s * y * 0.68, 0.7),
                (0.06, 0.34, 0.15),
                material=lamp,
                part="headlight",
            )
            w.box(
                (-length * 0.485, s * y * 0.72, 0.74),
                (0.06, 0.28, 0.16),
                material=rear,
                part="headlight",
            )
            for x in (-0.31, 0.31):
                w.cylinder(
                    (x * length, s * (y - 0.2), 0.33),
                    0.33,
                    0.22,
                    material=tyre,
                    part="wheel",
                    axis=(0, s, 0),
                )
                w.cylinder(
                    (x * length, s * (y + 0.005), 0.33),
                    0.2,
                    0.025,
                    material=rim,
                    part="wheel",
                    axis=(0, s, 0),
                )
        for x in (-1, 1):
            w.box(
                (x * length * 0.49, 0, 0.4), (0.1, wide * 0.86, 0.16), material=dark, part="bumper"
            )
            w.box(
                (x * length * 0.505, 0, 0.5), (0.03, 0.5, 0.12), material=lamp, part="license plate"
            )


def add_pole(w: World, rng: Rng, at: Point, yaw: float, height: float) -> None:
    """A street light whose arm reaches to local +x, or a lantern on a post when low."""
    metal = tinted(rng, pick(rng, ("#3c4044", "#5a5f62", "#2c3a34")), "metal", gloss=0.3)
    glass = tinted(rng, "#f2ead0", "glass", gloss=0.5)
    with w.group(at, yaw=yaw, object="street light"):
        w.cylinder((0, 0, 0), 0.12, 0.9, material=metal, part="pole", top_radius=0.09)
        w.cylinder((0, 0, 0.5), 0.07, height - 0.5, material=metal, part="pole", top_radius=0.05)
        if height > 4.5:
            w.rod((0, 0, height - 0.05), (1.5, 0, height + 0.3), 0.04, metal, part="pole")
            w.soft((1.7, 0, height + 0.28), (0.7, 0.26, 0.16), material=metal, part="lamp head")
            w.box((1.7, 0, height + 0.2), (0.5, 0.2, 0.05), material=glass, part="lamp head")
        else:
            w.cylinder((0, 0, height), 0.12, 0.42, material=glass, part="lamp head", top_radius=0.2)
            w.cylinder(
                (0, 0, height + 0.42), 0.25, 0.18, material=metal, part="lamp head", top_radius=0.03
            )


def add_traffic_light(w: World, rng: Rng, at: Point, yaw: float, arm: float = 0.0) -> None:
    """Signals that face local −y, on the post or over the road at the end of an arm (+x)."""
    metal = tinted(rng, "#4a4e50", "metal", gloss=0.3)
    case = tinted(rng, pick(rng, ("#1c1e1e", "#c9a020")), "metal")
    lit = int(rng.integers(3))
    with w.group(at, yaw=yaw, object="traffic light"):
        w.cylinder((0, 0, 0), 0.09, 5.4 if arm else 3.3, material=metal, part="pole")
        if arm:
            w.rod((0, 0, 5.2), (arm, 0, 5.4), 0.06, metal, part="pole")
        for x, z in ((arm, 5.1), (0.0, 2.9)) if arm else ((0.0, 2.9),):
            w.box((x, -0.16, z), (0.42, 0.24, 1.1), material=case, part="signal")
            for k, colour in enumerate(("#ff3020", "#ffb020", "#30e070")):
                glow = Material(srgb(colour), "glass", emit=1.6 if k == lit else 0.0, gloss=0.4)
                if k != lit:
                    glow = Material(tuple(v * 0.12 for v in srgb(colour)), "glass", gloss=0.4)
                w.ellipsoid(
                    (x, -0.28, z + 0.34 - 0.34 * k),
                    (0.13, 0.06, 0.13),
                    material=glow,
                    part="signal",
                )


def add_sign(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A traffic sign that faces local −y."""
    metal = tinted(rng, "#8a8e90", "metal", gloss=0.3)
    white = tinted(rng, "#eceae4", "metal")
    face = tinted(rng, pick(rng, ("#c01c1c", "#1c4aa0", "#e0b81c", "#1c6a3c")), "metal", gloss=0.2)
    with w.group(at, yaw=yaw, object="sign"):
        w.cylinder((0, 0, 0), 0.035, 2.6, material=metal, part="pole")
        shape = int(rng.integers(3))
        if shape == 0:
            w.cylinder((0, -0.04, 2.4), 0.36, 0.03, material=white, axis=(0, -1, 0))
            w.cylinder((0, -0.07, 2.4), 0.31, 0.01, material=face, axis=(0, -1, 0))
            w.box((0, -0.09, 2.4), (0.4, 0.01, 0.1), material=white)
        elif shape == 1:
            w.box((0, -0.05, 2.35), (0.62, 0.03, 0.62), material=face)
            w.box((0, -0.07, 2.35), (0.3, 0.01, 0.34), material=white)
        else:
            for size, mat, y in ((0.42, face, -0.05), (0.27, white, -0.07)):
                w.triangle(
                    (-size, y, 2.32 - size * 0.58),
                    (size, y, 2.32 - size * 0.58),
                    (0, y, 2.32 + size * 1.15),
                    material=mat,
                )


def add_bin(w: World, rng: Rng, at: Point) -> None:
    mat = tinted(rng, pick(rng, ("#2f4a38", "#3a3d40", "#4a6a8a", "#5a4a3a")), "metal", gloss=0.3)
    with w.group(at, object="trash can"):
        w.cylinder((0, 0, 0), 0.24, 0.8, material=mat, top_radius=0.29)
        w.cylinder((0, 0, 0.8), 0.3, 0.14, material=mat, part="lid", top_radius=0.16)


def add_hydrant(w: World, rng: Rng, at: Point) -> None:
    red = tinted(rng, pick(rng, ("#b02418", "#c8a020")), "metal", gloss=0.5)
    with w.group(at, object="fire hydrant"):
        w.cylinder((0, 0, 0), 0.18, 0.08, material=red)
        w.cylinder((0, 0, 0), 0.12, 0.6, material=red)
        w.ellipsoid((0, 0, 0.6), (0.14, 0.14, 0.12), material=red)
        w.rod((-0.24, 0, 0.42), (0.24, 0, 0.42), 0.065, red)


def add_mailbox(w: World, rng: Rng, at: Point, yaw: float) -> None:
    mat = tinted(rng, pick(rng, ("#1c3f86", "#b8201c", "#d8b020")), "metal", gloss=0.4)
    with w.group(at, yaw=yaw, object="mailbox"):
        w.box((0, 0, 0.62), (0.5, 0.46, 0.95), material=mat)
        w.cylinder((-0.25, 0, 1.09), 0.23, 0.5, material=mat, axis=(1, 0, 0))
        for x in (-0.2, 0.2):
            for y in (-0.18, 0.18):
                w.box((x, y, 0.08), (0.05, 0.05, 0.16), material=mat, part="leg")


def add_fence(
    w: World,
    rng: Rng,
    start,
    end,
    height: float = 1.1,
    pickets: bool = False,
    ground: Callable = flat_land,
) -> None:
    """A fence of posts and rails, or of pickets, uni two points on the ground."""
    wood = tinted(
        rng,
        pick(rng, ("#8a7358", "#e4e0d6", "#6b5138", "#9a9488")),
        "wood",
        texture="wood",
        scale=0.15,
    )
    length = math.hypot(end[0] - start[0], end[1] - start[1])
    n = max(2, int(length / 2.4) + 1)

    def at(t: float, z: float) -> Point:
        x, y = start[0] + (end[0] - start[0]) * t, start[1] + (end[1] - start[1]) * t
        return (x, y, ground(x, y) + z)

    with w.group(object="fence"):
        for k in range(n):
            t = k / (n - 1)
            w.rod(at(t, -0.2), at(t, height), 0.07, wood, part="fence post")
            if k:
                for z in (0.35, 0.66, 0.95) if not pickets else (0.3, 0.85):
                    w.rod(
                        at((k - 1) / (n - 1), height * z),
                        at(t, height * z),
                        0.04,
                        wood,
                        part="rail",
                    )
        if pickets:
            yaw = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
            for k in range(int(length / 0.24)):
                x, y, z = at(k * 0.24 / length, height * 0.46)
                w.box((x, y, z), (0.1, 0.03, height * 0.92), yaw=yaw, material=wood, part="slat")


def add_cow(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A cow that looks to local +x, grazing or with its head up."""
    kind = pick(rng, (("#e6e0d4", "#1f1c1a"), ("#7a4a2c", "#e0d4c0"), ("#5f3a22", "#4c2e1c")))
    hide = tinted(rng, kind[0], "fur", bump=0.2)
    plain = tinted(rng, kind[1] if kind[0] == "#e6e0d4" else kind[0], "fur")
    pink = tinted(rng, "#d8a898", "skin")
    bone = tinted(rng, "#d8ccb0", "")
    graze = chance(rng, 0.45)
    with w.group(at, yaw=yaw, object="cow"):
        w.soft((0, 0, 1.0), (1.65, 0.64, 0.74), material=hide, part="torso", power=4)
        w.ellipsoid((0.55, 0, 1.1), (0.36, 0.3, 0.36), material=hide, part="torso")
        w.ellipsoid((-0.45, 0, 0.66), (0.2, 0.16, 0.12), material=pink, part="udder")
        for k in range(5):  # patches, a little proud of the hide
            s = 1 if k % 2 else -1
            w.ellipsoid(
                (-0.65 + 0.32 * k + uni(rng, -0.1, 0.1), s * 0.17, uni(rng, 0.95, 1.22)),
                (uni(rng, 0.16, 0.3), 0.19, uni(rng, 0.14, 0.26)),
                material=plain,
                part="torso",
            )
        for x in (-0.62, 0.58):
            for y in (-0.2, 0.2):
                w.rod((x, y, 0.85), (x + 0.03, y, 0.0), 0.1, hide, part="leg", end_radius=0.06)
        head = (1.2, 0.0, 0.4) if graze else (1.18, 0.0, 1.42)
        w.rod((0.72, 0, 1.15), head, 0.24, hide, part="head", end_radius=0.15)
        nose = (head[0] + 0.2, 0.0, head[2] - (0.22 if graze else 0.13))
        w.rod(head, nose, 0.17, plain, part="head", end_radius=0.11)
        w.ellipsoid(nose, (0.1, 0.11, 0.09), material=pink, part="head")
        for s in (-1, 1):
            w.ellipsoid(
                (head[0] - 0.06, s * 0.24, head[2] + 0.06),
                (0.05, 0.13, 0.06),
                material=plain,
                part="ear",
            )
            w.rod(
                (head[0], s * 0.1, head[2] + 0.12),
                (head[0] + 0.03, s * 0.2, head[2] + 0.3),
                0.03,
                bone,
                part="horn",
                end_radius=0.008,
            )
        w.rod((-0.8, 0, 1.25), (-0.9, 0, 0.6), 0.03, plain, part="tail")


def add_tractor(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A tractor whose bow points to local +x."""
    paint = tinted(rng, pick(rng, ("#b8201c", "#2c6a2c", "#1f4f9a", "#c8901c")), "metal", gloss=0.5)
    tyre = tinted(rng, "#1a1a1a", "rubber", bump=0.8, bump_scale=0.08)
    rim = tinted(rng, pick(rng, ("#d8b81c", "#d8d4c8")), "metal", gloss=0.3)
    dark = tinted(rng, "#2a2c2e", "metal")
    glass = tinted(rng, "#26323a", "glass", gloss=0.8)
    with w.group(at, yaw=yaw, object="tractor"):
        w.soft((0.75, 0, 1.15), (1.9, 0.78, 0.72), material=paint, part="hood", power=10)
        w.box((1.71, 0, 1.12), (0.05, 0.6, 0.5), material=dark, part="grille")
        w.box((-0.4, 0, 0.85), (1.9, 0.7, 0.5), material=dark)
        w.box((-0.75, 0, 1.9), (1.35, 1.15, 1.15), material=glass, part="window")
        w.box((-0.75, 0, 2.55), (1.6, 1.4, 0.14), material=paint, part="roof")
        for x in (-1.4, -0.1):
            for y in (-0.57, 0.57):
                w.box((x, y, 1.85), (0.09, 0.09, 1.35), material=paint, part="cab")
        w.cylinder((0.95, 0.25, 1.4), 0.045, 0.95, material=dark, part="exhaust pipe")
        for s in (-1, 1):
            w.box((-0.85, s * 0.75, 1.62), (1.3, 0.45, 0.08), material=paint, part="fender")
            w.ellipsoid((1.73, s * 0.24, 1.32), (0.05, 0.1, 0.1), material=rim, part="headlight")
            for x, r, wide in ((-0.85, 0.8, 0.45), (1.15, 0.48, 0.3)):
                w.cylinder((x, s * 0.55, r), r, wide, material=tyre, part="wheel", axis=(0, s, 0))
                w.cylinder(
                    (x, s * (0.56 + wide), r),
                    r * 0.55,
                    0.02,
                    material=rim,
                    part="wheel",
                    axis=(0, s, 0),
                )


def add_hull(
    w: World, rng: Rng, length: float, wide: float, side: float, paint: Material, deck: Material
) -> None:
    """A boat's hull along local x, bow to +x, its waterline at z = 0, `side` metres high."""

    def ring(scale: float, z: float, lift: float):
        half = [(-0.5, 0.7), (-0.2, 1.0), (0.15, 0.95), (0.36, 0.55), (0.5, 0.0)]
        right = [
            (
                x * length * (0.92 + 0.08 * scale),
                -y * wide / 2 * scale,
                z + lift * max(0.0, x + 0.1) ** 2,
            )
            for x, y in half
        ]
        return right + [(x, -y, z) for x, y, z in reversed(right[:-1])]

    with w.group(part="hull"):
        loft(w, ring(0.62, -0.25, 0.0), ring(0.86, side * 0.45, 0.25 * side), paint, paint)
        rail = tinted(rng, "#e8e4da", "wood")
        loft(
            w,
            ring(0.86, side * 0.45, 0.25 * side),
            ring(0.98, side * 0.85, 0.7 * side),
            paint,
            deck,
            part="hull",
            cap_part="deck",
        )
        loft(
            w,
            ring(0.98, side * 0.85, 0.7 * side),
            ring(1.02, side, 0.9 * side),
            rail,
            deck,
            part="hull",
            cap_part="deck",
        )


def add_boat(w: World, rng: Rng, at: Point, yaw: float, kind: str = "", size: float = 1.0) -> None:
    """A boat afloat (or beached): "sail", "fishing", "motor" or "row", 3.5 to 11 m long."""
    kind = kind or pick(rng, ("sail", "sail", "fishing", "motor", "row"))
    paint = tinted(
        rng,
        pick(rng, ("#e8e6e0", "#1f3f7a", "#8a2420", "#2c5a50", "#e8e6e0", "#c8a24a")),
        "wood" if kind in ("row", "fishing") else "plastic",
        gloss=0.4,
    )
    deck = tinted(rng, "#b08a5c", "wood", texture="planks", scale=0.14)
    white = tinted(rng, "#ece8de", "plastic", gloss=0.3)
    metal = tinted(rng, "#b4b8ba", "metal", gloss=0.5)
    glass = tinted(rng, "#1f2a32", "glass", gloss=0.9)
    with w.group(at, yaw=yaw, scale=size, object="boat"):
        if kind == "row":
            add_hull(w, rng, 3.6, 1.4, 0.5, paint, deck)
            for x in (-0.9, 0.1):
                w.box((x, 0, 0.56), (0.3, 1.1, 0.05), material=deck, part="seat")
            for s in (-1, 1):
                w.rod((-0.3, s * 0.4, 0.62), (0.9, s * 1.3, 0.35), 0.03, deck, part="oar")
        elif kind == "motor":
            add_hull(w, rng, 6.0, 2.2, 0.85, paint, white)
            loft(
                w,
                [(-0.6, -0.8, 0.8), (1.3, -0.6, 0.8), (1.3, 0.6, 0.8), (-0.6, 0.8, 0.8)],
                [(-0.5, -0.7, 1.6), (0.5, -0.5, 1.6), (0.5, 0.5, 1.6), (-0.5, 0.7, 1.6)],
                glass,
                white,
                part="window",
                cap_part="cabin",
            )
            w.box((-3.0, 0, 0.8), (0.4, 0.4, 0.8), material=glass, part="engine")
        elif kind == "fishing":
            add_hull(w, rng, 9.0, 3.0, 1.3, paint, deck)
            w.box((-1.6, 0, 2.0), (2.4, 1.9, 1.9), material=white, part="cabin")
            w.box((-1.6, 0, 2.45), (2.44, 1.5, 0.5), material=glass, part="window")
            w.box((-1.6, 0, 2.45), (1.9, 1.94, 0.5), material=glass, part="window")
            w.box((-1.6, 0, 3.0), (2.8, 2.2, 0.14), material=paint, part="cabin")
            w.rod((0.6, 0, 1.2), (0.6, 0, 5.6), 0.09, deck, part="mast", end_radius=0.05)
            w.rod((0.6, 0, 1.8), (3.4, 0, 4.0), 0.06, deck, part="boom")
            w.rod((0.6, 0, 5.4), (4.3, 0, 1.6), 0.02, metal, part="rope")
            w.rod((0.6, 0, 5.4), (-4.2, 0, 1.4), 0.02, metal, part="rope")
        else:
            add_hull(w, rng, 7.5, 2.3, 0.8, paint, deck)
            w.soft((0.3, 0, 1.0), (2.6, 1.3, 0.7), material=white, part="cabin", power=8)
            w.box((0.3, 0, 1.08), (1.8, 1.34, 0.18), material=glass, part="window")
            top = uni(rng, 8.5, 10.5)
            w.rod((0.6, 0, 0.6), (0.6, 0, top), 0.07, metal, part="mast", end_radius=0.04)
            w.rod((0.6, 0, 1.7), (-2.9, 0, 1.7), 0.06, metal, part="boom")
            cloth = tinted(
                rng, pick(rng, ("#f0ece2", "#f0ece2", "#c04a2c", "#2c5a8a")), "fabric", bump=0.2
            )
            if chance(rng, 0.6):
                w.triangle(
                    (0.5, 0, 1.8),
                    (-2.8, 0.25, 1.8),
                    (0.5, 0, top - 0.3),
                    material=cloth,
                    part="sail",
                )
                w.triangle(
                    (0.75, 0, 1.3),
                    (3.6, 0, 1.1),
                    (0.65, 0, top * 0.85),
                    material=cloth,
                    part="sail",
                )
            else:
                w.rod((0.5, 0, 1.85), (-2.8, 0, 1.85), 0.14, cloth, part="sail")
                for x in (3.6, -3.5):
                    w.rod((0.6, 0, top), (x, 0, 0.9), 0.015, metal, part="rope")


def add_crate(w: World, rng: Rng, at: Point, size: float, yaw: float) -> None:
    wood = tinted(
        rng, pick(rng, ("#b08a58", "#96703f", "#c0a074")), "wood", texture="planks", scale=0.16
    )
    rim = tinted(rng, "#8a683c", "wood", texture="wood", scale=0.1)
    with w.group(at, yaw=yaw, object="crate"):
        s = size / 2
        w.box((0, 0, s), (size * 0.95, size * 0.95, size * 0.96), material=wood)
        for z in (0.06, size - 0.06):
            for k in (-1, 1):
                w.box((0, k * s * 0.97, z), (size, 0.06, 0.12), material=rim, part="slat")
                w.box((k * s * 0.97, 0, z), (0.06, size, 0.12), material=rim, part="slat")
        for x in (-1, 1):
            for y in (-1, 1):
                w.box((x * s * 0.96, y * s * 0.96, s), (0.1, 0.1, size), material=rim, part="slat")


def add_barrel(w: World, rng: Rng, at: Point) -> None:
    side = tinted(rng, pick(rng, ("#2c5a8a", "#8a2c20", "#7a5630")), "metal", gloss=0.3)
    with w.group(at, object="barrel"):
        w.cylinder((0, 0, 0), 0.3, 0.9, material=side)
        for z in (0.02, 0.3, 0.58, 0.84):
            w.cylinder((0, 0, z), 0.32, 0.05, material=side)


def add_umbrella(w: World, rng: Rng, at: Point, lean: float, yaw: float) -> None:
    a = tinted(rng, pick(rng, (*CLOTHES, "#e05a2c", "#2c9ac0", "#f0d040")), "fabric")
    b = tinted(rng, pick(rng, ("#f0ece0", "#f0ece0", "#e0c040", "#c03030")), "fabric")
    pole = tinted(rng, "#c8c4b8", "metal", gloss=0.4)
    with w.group(at, yaw=yaw, roll=lean, object="umbrella"):
        w.cylinder((0, 0, -0.3), 0.03, 2.6, material=pole, part="pole")
        n, r = 8, uni(rng, 1.15, 1.5)
        for k in range(n):
            c, d = 2 * math.pi * k / n, 2 * math.pi * (k + 1) / n
            p, q = (math.cos(c), math.sin(c)), (math.cos(d), math.sin(d))
            mat = a if k % 2 else b
            mid = [
                (0.55 * r * p[0], 0.55 * r * p[1], 2.14),
                (0.55 * r * q[0], 0.55 * r * q[1], 2.14),
            ]
            rim = [(r * p[0], r * p[1], 1.8), (r * q[0], r * q[1], 1.8)]
            w.triangle((0, 0, 2.35), *mid, material=mat, part="canopy")
            w.triangle(mid[0], rim[0], rim[1], material=mat, part="canopy")
            w.triangle(mid[0], rim[1], mid[1], material=mat, part="canopy")


def add_deck_chair(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A deck chair that faces local −y."""
    wood = tinted(rng, "#b08a58", "wood", texture="wood", scale=0.1)
    cloth = tinted(
        rng, pick(rng, CLOTHES), "fabric", color2="#f0ece0", texture="stripes", scale=0.16
    )
    with w.group(at, yaw=yaw, object="deck chair"):
        w.quad((0, -0.2, 0.34), (0.56, 0.75), normal=(0, 0.25, 1), material=cloth, part="seat")
        w.quad(
            (0, 0.42, 0.65),
            (0.56, 0.95),
            normal=(0, -0.8, 0.62),
            along=(1, 0, 0),
            material=cloth,
            part="backrest",
        )
        for s in (-0.31, 0.31):
            w.rod((s, -0.62, 0.4), (s, 0.55, 0.0), 0.025, wood, part="leg")
            w.rod((s, -0.4, 0.0), (s, 0.75, 1.02), 0.025, wood, part="leg")
            w.rod((s, -0.5, 0.52), (s, 0.4, 0.56), 0.025, wood, part="armrest")
        w.rod((-0.31, 0.75, 1.02), (0.31, 0.75, 1.02), 0.025, wood, part="backrest")


def add_towel(w: World, rng: Rng, at: Point, yaw: float) -> None:
    cloth = tinted(
        rng,
        pick(rng, CLOTHES),
        "fabric",
        color2="#f0ece0",
        texture=pick(rng, ("stripes", "plaid", "plain")),
        scale=0.3,
        bump=0.3,
    )
    with w.group(at, yaw=yaw, object="towel"):
        w.soft((0, 0, 0.03), (1.7, 0.85, 0.07), material=cloth, power=10)


def add_slide(w: World, rng: Rng, at: Point, yaw: float) -> None:
    paint = tinted(
        rng, pick(rng, ("#d03020", "#2c6ac0", "#e0b020", "#30904a")), "plastic", gloss=0.5
    )
    metal = tinted(rng, pick(rng, ("#2c5a9a", "#c8a020", "#9a9ea0")), "metal", gloss=0.4)
    with w.group(at, yaw=yaw, object="slide"):
        w.box((0, 0, 1.95), (0.7, 0.8, 0.06), material=metal, part="platform")
        w.quad(
            (1.45, 0, 1.15),
            (0.55, 2.75),
            normal=(0.65, 0, 1.0),
            along=(0, 1, 0),
            material=paint,
            part="chute",
        )
        for s in (-0.3, 0.3):
            w.rod((0.3, s, 2.05), (2.6, s, 0.5), 0.08, paint, part="chute")
            w.rod((-0.3, s, 1.95), (-1.0, s, 0.0), 0.035, metal, part="ladder")
            for x in (-0.3, 0.3):
                w.rod((x, s, 0), (x, s, 2.7), 0.035, metal, part="pole")
        for k in range(6):
            t = (k + 0.5) / 6
            w.rod(
                (-1.0 + 0.7 * t, -0.3, 1.95 * t),
                (-1.0 + 0.7 * t, 0.3, 1.95 * t),
                0.025,
                metal,
                part="ladder",
            )
        w.box((0, -0.3, 2.5), (0.6, 0.03, 0.06), material=metal, part="rail")
        w.box((0, 0.3, 2.5), (0.6, 0.03, 0.06), material=metal, part="rail")


def add_swing(w: World, rng: Rng, at: Point, yaw: float) -> None:
    metal = tinted(rng, pick(rng, ("#b03020", "#2c6a9a", "#d0a020")), "metal", gloss=0.4)
    seat = tinted(rng, "#30343a", "plastic")
    with w.group(at, yaw=yaw, object="swing"):
        w.rod((-1.7, 0, 2.4), (1.7, 0, 2.4), 0.05, metal, part="pole")
        for x in (-1.7, 1.7):
            for y in (-0.8, 0.8):
                w.rod((x, 0, 2.4), (x, y, 0), 0.045, metal, part="pole")
        for x in (-0.7, 0.7):
            y = uni(rng, -0.4, 0.4)
            for s in (-0.22, 0.22):
                w.rod((x + s, 0, 2.4), (x + s, y, 0.55), 0.014, seat, part="chain")
            w.box((x, y, 0.53), (0.5, 0.2, 0.04), material=seat, part="seat")


def add_fountain(w: World, rng: Rng, at: Point) -> None:
    stone = tinted(
        rng,
        pick(rng, ("#b8b0a0", "#9c9a94", "#c8bca4")),
        "stone",
        texture="noise",
        scale=0.3,
        bump=0.4,
    )
    water = water_material(rng, "#3a6a78", 0.25)
    spray = Material((0.85, 0.9, 0.95), "water", gloss=0.3, cutout=0.45, cutout_scale=0.06)
    with w.group(at, object="fountain"):
        w.cylinder((0, 0, 0), 2.1, 0.55, material=stone, part="basin")
        w.cylinder((0, 0, 0.4), 1.85, 0.16, material=water, part="basin")
        w.cylinder((0, 0, 0.5), 0.3, 1.0, material=stone, top_radius=0.18, part="column")
        w.cylinder((0, 0, 1.35), 0.25, 0.3, material=stone, top_radius=0.95, part="basin")
        w.cylinder((0, 0, 1.6), 0.85, 0.07, material=water, part="basin")
        w.cylinder((0, 0, 1.6), 0.12, 1.2, material=spray, top_radius=0.05, part="jet")
        for k in range(7):
            a = 2 * math.pi * k / 7
            c, s = math.cos(a), math.sin(a)
            w.rod((0.92 * c, 0.92 * s, 1.62), (1.25 * c, 1.25 * s, 0.55), 0.04, spray, part="jet")
            w.rod((0, 0, 2.75), (0.5 * c, 0.5 * s, 1.66), 0.03, spray, part="jet")


def water_material(rng: Rng, colour: str, wave: float, still: float = 0.0) -> Material:
    """Water: `wave` is the length of its ripples in metres, `still` how much of a mirror it is."""
    return tinted(
        rng,
        colour,
        "water",
        gloss=0.95,
        mirror=still,
        texture="noise",
        scale=wave * 8,
        bump=0.2,
        bump_scale=wave,
    )


# -- buildings ---------------------------------------------------------------------------------


def glass_material(rng: Rng) -> Material:
    return tinted(
        rng,
        pick(rng, ("#26323c", "#1c242a", "#3a4650", "#4a4438")),
        "glass",
        gloss=0.9,
        mirror=0.12,
    )


def facade_material(rng: Rng) -> Material:
    kind = int(rng.integers(4))
    if kind == 0:
        return tinted(
            rng,
            pick(rng, ("#8a4430", "#a0583c", "#6f3a2c", "#b08060")),
            "brick",
            color2="#b8ac9c",
            texture="bricks",
            scale=0.3,
            bump=0.3,
        )
    if kind == 1:
        return tinted(
            rng,
            pick(rng, ("#b0aca2", "#8f8d88", "#c4beb0")),
            "concrete",
            texture="noise",
            color2="#8c8880",
            scale=1.2,
        )
    return tinted(
        rng,
        pick(rng, ("#d8c49a", "#c89a78", "#d8d0c0", "#a8b4a4", "#c8a8a0", "#9cacb8")),
        "plaster",
        texture="noise",
        scale=2.5,
        color2="#b0a890",
    )


def add_window(
    w: World,
    x: float,
    z: float,
    wide: float,
    high: float,
    frame: Material,
    glass: Material,
    near: bool | None,
) -> None:
    """A window in the wall y = 0 that faces −y."""
    if near is not None:
        w.box((x, -0.01, z), (wide + 0.2, 0.1, high + 0.2), material=frame, part="window")
    w.box((x, -0.04, z), (wide, 0.08, high), material=glass, part="window")
    if near:
        w.box((x, -0.06, z), (0.06, 0.08, high), material=frame, part="window")
        w.box((x, -0.06, z + high * 0.15), (wide, 0.08, 0.05), material=frame, part="window")
        w.box(
            (x, -0.1, z - high / 2 - 0.1),
            (wide + 0.35, 0.26, 0.08),
            material=frame,
            part="window sill",
        )


def add_building(
    w: World,
    rng: Rng,
    width: float,
    depth: float,
    floors: int,
    near: bool,
    shop: float = 0.6,
    far: bool = False,
) -> None:
    """A town house in the current group: its front from x = 0 to `width` at y = 0, facing −y."""
    wall, frame, glass = facade_material(rng), None, glass_material(rng)
    frame = tinted(rng, pick(rng, ("#e4e0d8", "#d8d2c4", "#4a4038", "#6a7a70")), "wood")
    trim = tinted(rng, pick(rng, ("#c8c0b0", "#8a8478", "#dcd8cc", "#6a5a4c")), "stone")
    ground, level = uni(rng, 3.3, 4.0), uni(rng, 2.9, 3.4)
    high = ground + level * (floors - 1) + 0.6
    with w.group(object="building"):
        w.box((width / 2, depth / 2, high / 2), (width, depth, high), material=wall, part="wall")
        w.box(
            (width / 2, depth / 2 - 0.15, high),
            (width + 0.1, depth + 0.5, 0.35),
            material=trim,
            part="roof",
        )
        w.box((width / 2, -0.05, ground), (width, 0.22, 0.22), material=trim, part="wall")
        if chance(rng, 0.35):
            slate = tinted(
                rng,
                pick(rng, ("#5a4a44", "#8a4a34", "#4c5058")),
                "roof tile",
                texture="strata",
                scale=0.3,
            )
            loft(
                w,
                [(0, 0, high), (width, 0, high), (width, depth, high), (0, depth, high)],
                [
                    (0.8, depth / 2, high + 2.6),
                    (width - 0.8, depth / 2, high + 2.6),
                    (width - 0.8, depth / 2 + 0.1, high + 2.6),
                    (0.8, depth / 2 + 0.1, high + 2.6),
                ],
                slate,
                part="roof",
            )
        if chance(rng, 0.4):
            w.box(
                (width * uni(rng, 0.2, 0.8), depth * 0.4, high + 1.4),
                (0.9, 0.9, 2.8),
                material=wall,
                part="chimney",
            )
        columns = max(2, int(width / uni(rng, 2.3, 3.1)))
        wide, tall = width / columns * uni(rng, 0.4, 0.55), level * uni(rng, 0.48, 0.6)
        balcony = near and chance(rng, 0.25)
        for f in range(floors - 1):
            for c in range(columns):
                x, z = width * (c + 0.5) / columns, ground + level * (f + 0.5)
                add_window(w, x, z, wide, tall, frame, glass, None if far else near)
                if balcony and c % 2:
                    w.box(
                        (x, -0.45, z - tall / 2 - 0.12),
                        (wide + 0.9, 0.9, 0.12),
                        material=trim,
                        part="balcony",
                    )
                    w.box(
                        (x, -0.88, z - tall / 2 + 0.36),
                        (wide + 0.9, 0.05, 0.9),
                        material=frame,
                        part="balcony",
                    )
        wood = tinted(
            rng,
            pick(rng, ("#5a3a26", "#2c4a3a", "#7a2c20", "#26384c", "#8a6a44")),
            "wood",
            texture="panel",
            scale=0.5,
            gloss=0.2,
        )
        knob = tinted(rng, "#b09040", "metal", gloss=0.7)
        door = width * uni(rng, 0.15, 0.85)
        w.box((door, -0.02, 1.2), (1.35, 0.12, 2.5), material=frame, part="door frame")
        w.box((door, -0.06, 1.13), (1.1, 0.1, 2.25), material=wood, part="door")
        w.ellipsoid((door + 0.42, -0.14, 1.05), 0.05, material=knob, part="door knob")
        if chance(rng, shop):
            for low, far in ((0.3, door - 0.9), (door + 0.9, width - 0.3)):
                if far - low > 1.2:
                    x, wide2 = (low + far) / 2, far - low
                    w.box((x, -0.01, 1.55), (wide2, 0.12, 2.3), material=wood, part="shop window")
                    w.box(
                        (x, -0.05, 1.6), (wide2 - 0.2, 0.1, 1.9), material=glass, part="shop window"
                    )
                    if near:
                        w.box((x, -0.08, 1.6), (0.07, 0.08, 1.9), material=wood, part="shop window")
            board = tinted(
                rng, pick(rng, PAINTS), "wood", color2="#e8e0c8", texture="lines", scale=0.5
            )
            if chance(rng, 0.6):
                cloth = tinted(
                    rng,
                    pick(rng, CLOTHES),
                    "fabric",
                    color2="#f0ece0",
                    texture="stripes",
                    scale=0.5,
                )
                w.quad(
                    (width / 2, -0.65, 2.85),
                    (width * 0.92, 1.45),
                    normal=(0, -0.42, 0.9),
                    along=(1, 0, 0),
                    material=cloth,
                    object="awning",
                )
                w.quad(
                    (width / 2, -1.3, 2.46),
                    (width * 0.92, 0.24),
                    normal=(0, -1, 0),
                    along=(1, 0, 0),
                    material=cloth,
                    object="awning",
                )
            w.box(
                (width / 2, -0.1, ground - 0.45),
                (width * 0.7, 0.1, 0.5),
                material=board,
                object="sign",
            )
        else:
            for c in range(columns):
                x = width * (c + 0.5) / columns
                if abs(x - door) > wide / 2 + 0.85:
                    add_window(w, x, 1.75, wide, 1.4, frame, glass, near)


def add_house(
    w: World, rng: Rng, at: Point, yaw: float, size=(6.0, 5.0, 2.6), kind="cabin"
) -> None:
    """A cabin, house or barn with a pitched roof; its door in the gable that faces local −y.

    size : width (x), depth (y) and height of the eaves, metres.
    """
    width, depth, eaves = size
    rise = width * uni(rng, 0.34, 0.5)
    planks = {"texture": "planks", "scale": 0.22 if kind != "barn" else 0.3}
    if kind == "barn":
        wall = tinted(
            rng, pick(rng, ("#8f2a20", "#8f2a20", "#7a5a3c", "#a89c88")), "wood", **planks
        )
    elif kind == "cabin":
        wall = tinted(
            rng,
            pick(rng, ("#6f4a2c", "#8a6238", "#553a26")),
            "wood",
            texture="strata",
            scale=0.28,
            color2="#3c2818",
            bump=0.4,
        )
    else:
        wall = facade_material(rng)
    tiles = tinted(
        rng,
        pick(rng, ("#4c4a48", "#7a4030", "#5c5044", "#3c4a4c")),
        "roof tile" if kind != "barn" else "metal",
        texture="strata",
        scale=0.3,
    )
    white = tinted(rng, "#e4e0d6", "wood")
    glass = glass_material(rng)
    door = tinted(
        rng,
        pick(rng, ("#5a3420", "#2c4c3a", "#7a2a20", "#3c4a5c")),
        "wood",
        texture="planks",
        scale=0.2,
    )
    name = {"barn": "barn", "cabin": "cabin"}.get(kind, "house")
    x, y, over = width / 2, depth / 2, 0.4
    with w.group(at, yaw=yaw, object=name):
        w.box((0, 0, eaves / 2 - 0.2), (width, depth, eaves + 0.4), material=wall, part="wall")
        for s in (-1, 1):
            w.triangle(
                (-x, s * y, eaves),
                (x, s * y, eaves),
                (0, s * y, eaves + rise),
                material=wall,
                part="wall",
            )
            # Each half of the roof is a thin slab, so that its edge shows.
            run = math.hypot(x + over, rise * (x + over) / x)
            tilt = math.degrees(math.atan2(rise, x))
            w.box(
                (s * (x + over) / 2, 0, eaves + rise - rise * (x + over) / x / 2 + 0.06),
                (run, depth + 2 * over, 0.14),
                pitch=s * tilt,
                material=tiles,
                part="roof",
            )
        with w.group((0, -y, 0)):
            if kind == "barn":
                w.box(
                    (0, -0.03, eaves * 0.42),
                    (width * 0.4, 0.1, eaves * 0.84),
                    material=door,
                    part="barn door",
                )
                a, b = width * 0.2, eaves * 0.84
                for p, q in (
                    ((-a, 0), (a, b)),
                    ((-a, b), (a, 0)),
                    ((-a, b), (a, b)),
                    ((-a, 0), (-a, b)),
                    ((a, 0), (a, b)),
                    ((0, 0), (0, b)),
                ):
                    w.rod((p[0], -0.09, p[1]), (q[0], -0.09, q[1]), 0.07, white, part="barn door")
                w.box(
                    (0, -0.04, eaves + rise * 0.4), (1.2, 0.1, 1.2), material=white, part="window"
                )
                w.box(
                    (0, -0.07, eaves + rise * 0.4), (0.95, 0.1, 0.95), material=door, part="window"
                )
            else:
                w.box((-width * 0.12, -0.03, 1.03), (1.0, 0.1, 2.06), material=door, part="door")
                add_window(w, width * 0.27, 1.5, 1.0, 1.0, white, glass, True)
                if width > 5:
                    add_window(w, -width * 0.36, 1.5, 0.8, 1.0, white, glass, True)
                if eaves > 4:
                    for k in (-0.27, 0.27):
                        add_window(w, k * width, 4.0, 1.0, 1.1, white, glass, True)
        for s in (-1, 1):  # windows in the long sides
            with w.group((s * x, 0, 0), yaw=90 * s):
                for k in (-0.28, 0.22):
                    add_window(w, k * depth, min(1.6, eaves * 0.55), 0.9, 0.9, white, glass, False)
        if kind != "barn" and chance(rng, 0.8):
            stone = tinted(rng, "#8a7a6c", "brick", texture="bricks", scale=0.3, color2="#b4a898")
            w.box(
                (width * 0.24, depth * 0.15, eaves + rise * 0.75),
                (0.7, 0.7, rise * 1.3),
                material=stone,
                part="chimney",
            )


# -- farm and harbour ----------------------------------------------------------------------------


def add_duck(w: World, rng: Rng, at: Point) -> None:
    body = tinted(rng, pick(rng, ("#e8e4d8", "#7a6248")), "feather")
    head = tinted(rng, pick(rng, ("#e8e4d8", "#1f5a3c")), "feather")
    with w.group(at, yaw=uni(rng, 0, 360), object="duck"):
        w.ellipsoid((0, 0, 0.08), (0.26, 0.15, 0.13), material=body, part="body")
        w.ellipsoid((0.2, 0, 0.27), 0.085, material=head, part="head")
        w.cylinder(
            (0.26, 0, 0.26),
            0.03,
            0.1,
            material=tinted(rng, "#d89a20", ""),
            part="beak",
            axis=(1, 0, 0),
            top_radius=0.015,
        )


def add_ball(w: World, rng: Rng, at: Point, radius: float) -> None:
    mat = tinted(
        rng,
        pick(rng, CLOTHES),
        "plastic",
        color2="#f0ece0",
        texture="stripes",
        scale=radius,
        gloss=0.4,
    )
    w.ellipsoid(
        at, radius, yaw=uni(rng, 0, 180), pitch=uni(rng, 0, 90), material=mat, object="ball"
    )


def add_far_hills(
    w: World,
    rng: Rng,
    y: float,
    x: float,
    wide: float,
    high: float,
    material: Material | None = None,
    name: str = "hill",
) -> None:
    """A ridge of hills across the view, `wide` metres to each side of `x`."""
    n = 90
    cell = 2 * wide / n
    ny = 24
    u = np.linspace(-1, 1, n)[None, :]
    v = np.linspace(-1, 1, ny)[:, None]
    shape = np.clip(1 - u**2, 0, 1) ** 0.7 * np.clip(1 - v**2, 0, 1)
    heights = high * shape * (0.45 + 0.9 * fractal(rng, ny, n, 16, 4)) - 0.5
    wood = material or tinted(
        rng,
        pick(rng, ("#4c6438", "#5c6a44", "#6f7450")),
        "grass",
        color2="#36482a",
        texture="leaves",
        scale=5.0,
        bump=0.8,
        bump_scale=3.0,
    )
    w.heightfield((x - wide, y - ny * cell / 2, 0), cell, heights, material=wood, object=name)


def add_mast(w: World, rng: Rng, at: Point, height: float, bark: Material, leaves, away: float):
    """A tall tree seen from below: a long trunk, stubs of branches, its crown high up."""
    with w.group(at, yaw=uni(rng, 0, 360), object="tree"):
        r = height * uni(rng, 0.013, 0.026)
        lean = (uni(rng, -0.03, 0.03) * height, uni(rng, -0.03, 0.03) * height)
        w.rod((0, 0, -0.3), (*lean, height * 0.8), r, bark, part="trunk", end_radius=r * 0.6)
        w.cylinder((0, 0, -0.2), r * 1.8, 0.5, material=bark, part="trunk", top_radius=r)
        for _ in range(int(rng.integers(2, 5))):
            a, t = uni(rng, 0, 6.28), uni(rng, 0.25, 0.6)
            out = height * uni(rng, 0.06, 0.16)
            base = (lean[0] * t, lean[1] * t, height * t * 0.8)
            tip = (
                base[0] + out * math.cos(a),
                base[1] + out * math.sin(a),
                base[2] + out * uni(rng, 0.1, 0.7),
            )
            w.rod(base, tip, r * 0.35, bark, part="branch", end_radius=r * 0.1)
            if chance(rng, 0.65):
                size = height * uni(rng, 0.035, 0.07)
                w.ellipsoid(
                    tip,
                    (size * 1.3, size, size * 0.85),
                    yaw=math.degrees(a),
                    material=pick(rng, leaves),
                    part="foliage",
                )
        for k in range(4):
            a = 1.57 * k + uni(rng, -0.4, 0.4)
            out = height * uni(rng, 0.08, 0.2)
            size = height * uni(rng, 0.12, 0.18)
            w.ellipsoid(
                (
                    lean[0] + out * math.cos(a),
                    lean[1] + out * math.sin(a),
                    height * uni(rng, 0.62, 0.85),
                ),
                (size * 1.1, size, size * 0.8),
                yaw=math.degrees(a),
                material=pick(rng, leaves),
                part="foliage",
            )


def add_flowers_wild(w: World, rng: Rng, at, land: Callable) -> None:
    """A loose patch of wild flowers on stems."""
    head = tinted(rng, pick(rng, ("#e8c030", "#d8d4e8", "#9a5ab8", "#d04a5a")), "")
    stem = tinted(rng, "#55702c", "foliage")
    with w.group(object="flower"):
        for _ in range(16):
            x, y = at[0] + rng.normal(0, 0.7), at[1] + rng.normal(0, 0.5)
            z, h = land(x, y), uni(rng, 0.18, 0.34)
            w.rod((x, y, z), (x, y, z + h), 0.012, stem, part="stem")
            w.ellipsoid((x, y, z + h), (0.07, 0.07, 0.04), material=head, part="petal")


def add_silo(w: World, rng: Rng, at: Point) -> None:
    wall = tinted(
        rng,
        pick(rng, ("#b8bcbe", "#c8c4b8", "#9aa4ac")),
        "metal",
        color2="#8a8e90",
        texture="strata",
        scale=0.9,
        gloss=0.3,
    )
    top = tinted(rng, pick(rng, ("#d4d8da", "#8a3a2c", "#7a8a94")), "metal", gloss=0.4)
    r, h = uni(rng, 1.7, 2.5), uni(rng, 8, 13)
    with w.group(at, object="silo"):
        w.cylinder((0, 0, 0), r, h, material=wall, part="wall")
        for k in range(1, 6):
            w.cylinder((0, 0, h * k / 6), r + 0.04, 0.09, material=top, part="wall")
        if chance(rng, 0.6):
            w.ellipsoid((0, 0, h), (r * 1.01, r * 1.01, r * 0.75), material=top, part="roof")
        else:
            w.cylinder((0, 0, h), r * 1.06, r * 0.8, material=top, part="roof", top_radius=0.15)
        for s in (-0.2, 0.2):
            w.rod((s, -r - 0.1, 0), (s, -r - 0.1, h), 0.03, top, part="ladder")


def add_pier(w: World, rng: Rng, at: Point, length: float, wide: float, yaw: float) -> None:
    """A wooden pier whose deck lies at `at`'s height; it runs along local +y."""
    deck = tinted(
        rng,
        pick(rng, ("#8f7452", "#a08a68", "#7a6a58")),
        "wood",
        texture="stripes",
        color2="#5c4a36",
        scale=0.3,
        bump=0.4,
    )
    wood = tinted(rng, "#5f4a36", "wood", texture="bark", scale=0.15, bump=0.5)
    rails = chance(rng, 0.3)
    with w.group(at, yaw=yaw, object="pier"):
        with w.group((0, length / 2, 0), yaw=90):  # boards lie across
            w.box((0, 0, -0.06), (length, wide, 0.12), material=deck, part="plank")
        for s in (-1, 1):
            w.box(
                (s * wide * 0.45, length / 2, -0.2),
                (0.14, length, 0.22),
                material=wood,
                part="beam",
            )
            last = None
            for k in range(int(length / 2.8) + 1):
                y = 0.2 + 2.8 * k
                high = 1.0 if rails else 0.35
                w.cylinder(
                    (s * (wide / 2 - 0.02), y, -at[2] - 1.0),
                    0.13,
                    at[2] + 1.0 + high,
                    material=wood,
                    part="post",
                )
                if rails and last is not None:
                    w.rod(
                        (s * wide / 2, last, 0.92),
                        (s * wide / 2, y, 0.92),
                        0.045,
                        wood,
                        part="rail",
                    )
                last = y


def add_warehouse(w: World, rng: Rng, width: float) -> None:
    wall = tinted(
        rng,
        pick(rng, ("#8a4a38", "#7a8a94", "#a89a80", "#5a6a74")),
        "brick",
        texture=pick(rng, ("bricks", "stripes")),
        scale=0.5,
    )
    roof = tinted(rng, "#5c5e60", "metal", texture="strata", scale=0.4)
    door = tinted(
        rng, pick(rng, ("#3c5a4a", "#8a6a3c", "#4a5a7a")), "metal", texture="stripes", scale=0.4
    )
    glass = glass_material(rng)
    high = uni(rng, 4.5, 7)
    with w.group(object="warehouse"):
        w.box((width / 2, 6, high / 2), (width, 12, high), material=wall, part="wall")
        for a, b in (((0, 0), (width / 2, 0)), ((width, 0), (width / 2, 0))):
            w.triangle(
                (a[0], 0, high),
                (b[0], 0, high),
                (width / 2, 0, high + 1.8),
                material=wall,
                part="wall",
            )
        for s in (0.0, width):
            w.triangle(
                (s, -0.3, high),
                (width / 2, -0.3, high + 1.85),
                (width / 2, 12, high + 1.85),
                material=roof,
                part="roof",
            )
            w.triangle(
                (s, -0.3, high),
                (width / 2, 12, high + 1.85),
                (s, 12, high),
                material=roof,
                part="roof",
            )
        w.box((width / 2, -0.03, 1.7), (width * 0.36, 0.1, 3.4), material=door, part="door")
        for x in (0.16, 0.84):
            w.box(
                (x * width, -0.03, high * 0.66),
                (width * 0.14, 0.1, 1.1),
                material=glass,
                part="window",
            )


def add_crane(w: World, rng: Rng, at: Point, size: float = 1.0) -> None:
    """A gantry crane on four legs, its boom up and out."""
    paint = tinted(rng, pick(rng, ("#c8901c", "#b0301f", "#2c5a8a", "#d0c8b0")), "metal", gloss=0.2)
    dark = tinted(rng, "#2c2e30", "metal")
    with w.group(at, yaw=uni(rng, -50, 50), scale=size, object="crane"):
        for x in (-2.4, 2.4):
            for y in (-2.0, 2.0):
                w.rod((x, y, 0), (x * 0.6, y * 0.6, 8), 0.24, paint, part="leg")
            w.rod((x * 0.93, -1.9, 1.2), (x * 0.7, 1.4, 6), 0.12, paint, part="leg")
        w.box((0, 0, 8.2), (4.0, 3.4, 0.6), material=paint, part="platform")
        w.box((-0.8, 0, 9.7), (3.4, 2.4, 2.4), material=paint, part="cab")
        w.box((0.95, -0.6, 9.6), (0.2, 1.0, 1.2), material=dark, part="window")
        reach, up = uni(rng, 11, 15), uni(rng, 7, 12)
        tip = (1 + reach, 0, 9.5 + up)
        for s in (-0.5, 0.5):
            w.rod((0.8, s, 9.2), (tip[0], s * 0.3, tip[2]), 0.15, paint, part="boom")
            w.rod((0.8, s, 10.8), (tip[0] - 0.8, s * 0.3, tip[2]), 0.1, paint, part="boom")
        for k in range(7):
            t = (k + 0.5) / 7
            x, z = 0.8 + (tip[0] - 0.8) * t, 9.2 + (tip[2] - 9.2) * t
            w.rod((x, -0.4, z), (x - 0.3, 0.4, z + 1.3 * (1 - t)), 0.07, paint, part="boom")
        w.rod((-0.8, 0, 10.9), (-0.8, 0, 14), 0.12, paint, part="mast")
        w.rod((-0.8, 0, 14), tip, 0.05, dark, part="cable")
        w.rod(tip, (tip[0], 0, 5), 0.05, dark, part="cable")
        w.box((tip[0], 0, 4.8), (0.4, 0.4, 0.7), material=dark, part="hook")


def add_lighthouse(w: World, rng: Rng, at: Point, size: float) -> None:
    white = tinted(rng, "#ece8de", "plaster", by=0.04)
    band = tinted(rng, pick(rng, ("#b0241c", "#b0241c", "#26384c", "#ece8de")), "plaster")
    stone = tinted(rng, "#8a857c", "stone", texture="bricks", scale=0.8)
    glass = tinted(rng, "#f4e8b0", "glass", gloss=0.8)
    dark = tinted(rng, pick(rng, ("#a0241c", "#2c3036")), "metal", gloss=0.3)
    with w.group(at, scale=size, object="lighthouse"):
        w.cylinder((0, 0, -1.0), 3.0, 2.0, material=stone, part="base")
        n, high = 5, 14.0
        for k in range(n):
            r0, r1 = 2.0 - 0.8 * k / n, 2.0 - 0.8 * (k + 1) / n
            w.cylinder(
                (0, 0, 1 + high * k / n),
                r0,
                high / n,
                material=band if k % 2 else white,
                part="tower",
                top_radius=r1,
            )
        w.cylinder((0, 0, 15), 1.8, 0.25, material=dark, part="balcony")
        w.cylinder((0, 0, 15.2), 0.95, 1.7, material=glass, part="lantern")
        for k in range(8):
            a = 2 * math.pi * k / 8
            c, s = math.cos(a), math.sin(a)
            w.rod((1.7 * c, 1.7 * s, 15.2), (1.7 * c, 1.7 * s, 16.1), 0.05, dark, part="balcony")
            w.rod((c, s, 15.2), (c, s, 16.9), 0.06, dark, part="lantern")
        w.cylinder((0, 0, 16.9), 1.25, 1.1, material=dark, part="roof", top_radius=0.1)
        door = tinted(rng, "#4a3422", "wood")
        w.box((0.3, -1.95, 1.9), (0.9, 0.25, 1.9), material=door, part="door")
        for z in (5.0, 9.5):
            w.box((0.2, -1.72 + 0.055 * (z - 3), z), (0.5, 0.3, 0.8), material=door, part="window")
