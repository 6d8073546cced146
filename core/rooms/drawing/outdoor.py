"""Outdoor scenes of the embedded dataset: street, park, beach, forest, mountain, farm, harbor.

``SCENES[name](rng)`` returns a :class:`~core.rooms.drawing.tracer.World` ready to render. All
that varies is drawn from `rng`. The camera stands near the origin and looks towards +y; z is up,
x to the right, metres. What belongs to a scene comes and goes with a probability, and things of
other scenes stray in now and then, so that no single object gives the scene away.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np

from core.rooms.drawing.outdoor_kit import (
    AUTUMN,
    GREENS,
    Land,
    Rng,
    bearing_of,
    chance,
    either,
    flat_land,
    fractal,
    grid_axes,
    looking,
    open_air,
    pick,
    scatter,
    tinted,
    uni,
)
from core.rooms.drawing.outdoor_things import (
    add_ball,
    add_barrel,
    add_bench,
    add_bin,
    add_boat,
    add_building,
    add_bush,
    add_car,
    add_cow,
    add_crane,
    add_crate,
    add_deck_chair,
    add_duck,
    add_far_hills,
    add_fence,
    add_fern,
    add_flowers,
    add_flowers_wild,
    add_fountain,
    add_house,
    add_hydrant,
    add_lighthouse,
    add_mailbox,
    add_mast,
    add_palm,
    add_person,
    add_pier,
    add_pine,
    add_pole,
    add_rock,
    add_sign,
    add_silo,
    add_slide,
    add_swing,
    add_towel,
    add_tractor,
    add_traffic_light,
    add_tree,
    add_tree_line,
    add_umbrella,
    add_warehouse,
    bark_material,
    leaf_material,
    stone_material,
    water_material,
)
from core.rooms.drawing.tracer import (
    Camera,
    Material,
    World,
)


def street(rng: Rng) -> World:
    """A town street uni rows of houses: cars, lights, signs, trees, people."""
    road = uni(rng, 6.5, 9.5)  # uni the kerbs
    pave = uni(rng, 2.4, 4.0)
    edge = road / 2 + pave
    view = pick(rng, ("along", "along", "across", "high"))
    if view == "along":
        x = pick(
            rng,
            (
                uni(rng, -1.5, 1.5),
                uni(rng, road / 2 + 0.6, edge - 0.8),
                -uni(rng, road / 2 + 0.6, edge - 0.8),
            ),
        )
        bearing = -x * uni(rng, 1.0, 3.0) + uni(rng, -8, 8)
        camera = looking((x, 0, uni(rng, 1.5, 2.1)), bearing, uni(rng, -3, 5), uni(rng, 50, 68))
    elif view == "across":
        s = either(rng)
        camera = looking(
            (s * (edge - 0.6), 0, uni(rng, 1.5, 2.0)),
            -s * uni(rng, 38, 62),
            uni(rng, 0, 6),
            uni(rng, 55, 70),
        )
    else:
        x = uni(rng, -3, 3)
        camera = looking(
            (x, -4, uni(rng, 4.0, 6.5)), -x + uni(rng, -10, 10), uni(rng, -14, -6), uni(rng, 50, 64)
        )
    w = open_air(rng, camera)
    tar = tinted(
        rng,
        pick(rng, ("#58585a", "#4a4a4c", "#66645f")),
        "asphalt",
        color2="#39393b",
        texture="asphalt",
        scale=0.12,
        bump=0.2,
    )
    if chance(rng, 0.12):
        tar = tinted(
            rng, "#7a736a", "stone", color2="#4c4842", texture="bricks", scale=0.4, bump=0.5
        )
    slabs = tinted(
        rng,
        pick(rng, ("#a8a49c", "#948f88", "#b09a88")),
        "concrete",
        color2="#77736c",
        texture="tiles",
        scale=0.6,
    )
    kerb = tinted(rng, "#b8b4ac", "stone")
    paint = tinted(rng, "#e4e2da", "paint", by=0.05)
    w.quad((0, 150, 0), (road + 0.2, 400), material=tar, object="road")
    w.ground(-0.05, 900, material=tinted(rng, "#7a7a6c", "soil"), object="ground")
    for s in (-1, 1):
        w.box(
            (s * (road / 2 + pave / 2), 140, 0.02),
            (pave, 380, 0.24),
            material=slabs,
            object="sidewalk",
        )
        w.box(
            (s * (road / 2 + 0.08), 140, 0.03),
            (0.16, 380, 0.25),
            material=kerb,
            object="sidewalk",
            part="curb",
        )
    zebra = uni(rng, 6, 16) if chance(rng, 0.45) else None
    with w.group(object="road", part="lane mark"):
        if chance(rng, 0.85):
            step, first = uni(rng, 4, 6), uni(rng, -4, 0)
            for k in range(14):
                y = first + step * k
                if zebra is None or abs(y - zebra) > 4:
                    w.quad((0, y, 0.006), (0.14, step * 0.5), material=paint)
        if zebra is not None:
            n = int(road / 1.0)
            for k in range(n):
                w.quad((road * ((k + 0.5) / n - 0.5), zebra, 0.006), (0.5, 2.8), material=paint)
    # Houses along both sides, up to where the haze takes them.
    gap = 0.15 if chance(rng, 0.7) else uni(rng, 1.5, 4)
    base = int(rng.integers(2, 5))
    park_side = either(rng) if chance(rng, 0.15) else 0
    green = pick(rng, AUTUMN if chance(rng, 0.2) else GREENS)
    suburb = chance(rng, 0.22)
    if suburb:
        _gardens(w, rng, edge, green)
    for s in (-1, 1):
        y = uni(rng, -12, -5)
        if suburb:
            continue
        if s == park_side:
            add_tree_line(w, rng, 24, 60, 6, 10, 9, 0.1)
            continue
        while y < 95:
            width = uni(rng, 7, 13)
            floors = max(1, base + int(rng.integers(-1, 3)))
            with w.group((s * edge, y + (width if s > 0 else 0), 0.1), yaw=-90 * s):
                add_building(w, rng, width, 11, floors, near=y < 24, far=y > 48)
            y += width + gap
    if not suburb and chance(rng, 0.6):  # the street bends or ends
        x = -14.0
        while x < 14:
            width = uni(rng, 7, 12)
            with w.group((x, 98 + uni(rng, 0, 6), 0)):
                add_building(w, rng, width, 10, base + int(rng.integers(0, 3)), near=False)
            x += width
    else:
        add_tree_line(w, rng, 120, 30, 8, 13, 8)
    for s in (-1, 1):  # parked cars and moving ones
        y = uni(rng, -1, 6)
        share = uni(rng, 0.1, 0.8)
        for _ in range(7):
            if chance(rng, share) and not (zebra and abs(y - zebra) < 3.5):
                add_car(w, rng, (s * (road / 2 - 1.05), y, 0), 90 if chance(rng, 0.5) else -90)
            y += uni(rng, 5.3, 7)
        for _ in range(2):
            if chance(rng, 0.4):
                add_car(w, rng, (s * uni(rng, 1.0, 1.3), uni(rng, 11, 55), 0), 90 * s)
    lights = either(rng)
    high = uni(rng, 5.5, 7.5) if chance(rng, 0.7) else 3.6
    for k in range(5):
        add_pole(
            w,
            rng,
            (lights * (road / 2 + 0.5), 5 + 17 * k + uni(rng, -1, 1), 0.12),
            180 if lights > 0 else 0,
            high,
        )
    if zebra is not None or chance(rng, 0.35):
        y = (zebra or uni(rng, 9, 16)) + 1.8
        for s in (-1, 1):  # an arm reaches over the road from the left kerb only
            arm = 3.2 if s < 0 and chance(rng, 0.4) else 0.0
            add_traffic_light(w, rng, (s * (road / 2 + 0.35), y, 0.12), 0, arm)
    if chance(rng, 0.6):
        s, leaf, bark = -lights, leaf_material(rng, green, 0.3, 0.2), bark_material(rng)
        for k in range(5):
            add_tree(
                w,
                rng,
                (s * (road / 2 + 0.8), 6 + 13 * k + uni(rng, -1.5, 1.5), 0.12),
                uni(rng, 5, 8),
                leaf,
                bark,
                bare=0.3,
                lumps=6,
            )
    for _ in range(int(rng.integers(0, 7))):
        s = either(rng)
        if zebra is not None and chance(rng, 0.3):
            add_person(w, rng, (uni(rng, -road / 2, road / 2), zebra + uni(rng, -1, 1), 0), 90 * s)
        else:
            add_person(
                w,
                rng,
                (s * uni(rng, road / 2 + 0.9, edge - 0.5), uni(rng, 4.5, 26), 0.13),
                pick(rng, (0, 180)) + uni(rng, -20, 20),
            )
    for thing, share in (
        (add_bin, 0.4),
        (add_hydrant, 0.25),
        (add_mailbox, 0.25),
        (add_bench, 0.25),
    ):
        if chance(rng, share):
            s = either(rng)
            at = (
                s * (edge - 0.7 if thing is not add_hydrant else road / 2 + 0.5),
                uni(rng, 5.5, 13),
                0.13,
            )
            thing(w, rng, at, -90.0 * s) if thing in (add_mailbox, add_bench) else thing(w, rng, at)
    for _ in range(int(rng.integers(0, 3))):
        s = either(rng)
        add_sign(w, rng, (s * (road / 2 + 0.4), uni(rng, 6, 20), 0.12), uni(rng, -25, 25))
    return w


def _gardens(w: World, rng: Rng, edge: float, green: str) -> None:
    """Houses with front gardens along both sides of a street whose pavements end at ±`edge`."""
    turf = tinted(
        rng,
        "#6a8044",
        "grass",
        color2="#4a6030",
        texture="grass",
        scale=0.2,
        bump=0.6,
        bump_scale=0.12,
    )
    leaves = [leaf_material(rng, c, 0.32, 0.2) for c in (green, pick(rng, GREENS))]
    bark = bark_material(rng)
    w.quad((0, 150, -0.02), (240, 400), material=turf, object="lawn")
    for s in (-1, 1):
        y, back = uni(rng, -2, 6), uni(rng, 4, 9)
        fenced = chance(rng, 0.5)
        while y < 80:
            size = (uni(rng, 7, 9.5), uni(rng, 7, 9), pick(rng, (2.8, 4.9, 4.9)))
            x = s * (edge + back + size[1] / 2)
            if chance(rng, 0.85):
                add_house(w, rng, (x, y + 5, 0), -90 * s, size, "house")
            for _ in range(int(rng.integers(0, 3))):
                at = (s * (edge + uni(rng, 1.5, back)), y + uni(rng, 0, 13), 0)
                if chance(rng, 0.5):
                    add_tree(w, rng, at, uni(rng, 4.5, 8), pick(rng, leaves), bark, lumps=6)
                else:
                    add_bush(w, rng, at, uni(rng, 0.7, 1.5), pick(rng, leaves))
            if fenced and 2 < y < 45:
                add_fence(
                    w, rng, (s * (edge + 0.4), y), (s * (edge + 0.4), y + 11), 1.0, pickets=y < 14
                )
            y += uni(rng, 13, 17)
    add_tree_line(w, rng, 110, 60, 7, 12, 14)


def park(rng: Rng) -> World:
    """Lawn, winding path, trees, benches, flowers; often a pond, a fountain or a playground."""
    camera = looking(
        (0, 0, uni(rng, 1.4, 2.3)),
        uni(rng, -14, 14),
        uni(rng, -7, 3),
        uni(rng, 52, 68),
    )
    w = open_air(rng, camera)
    green = pick(rng, ("#667f3e", "#587238", "#74874a", "#838a4c"))
    turf = tinted(
        rng,
        green,
        "grass",
        color2="#46592c",
        texture="grass",
        scale=0.16,
        bump=0.7,
        bump_scale=0.12,
    )
    w.ground(0, 700, material=turf, object="lawn")
    autumn = chance(rng, 0.2)
    tones = AUTUMN if autumn else GREENS
    leaves = [leaf_material(rng, pick(rng, tones), 0.34, 0.2) for _ in range(3)]
    bark = bark_material(rng)
    add_tree_line(w, rng, 55, 55, 7, 13, 16, 0.15)
    if chance(rng, 0.3):  # the town behind
        for k in range(3):
            with w.group((-40 + 28 * k + uni(rng, -5, 5), 90, 0)):
                add_building(w, rng, 16, 12, int(rng.integers(4, 9)), near=False, shop=0)
    # The path: overlapping discs along a curve, so that its borders are soft bends.
    sand = tinted(
        rng,
        pick(rng, ("#b8a484", "#a89a86", "#c0a890", "#8c8a86")),
        "gravel",
        color2="#8c7a60",
        texture="noise",
        scale=0.25,
        bump=0.5,
    )
    start, bend, drift = uni(rng, -2.2, 2.2), uni(rng, -5, 5), uni(rng, -0.25, 0.25)
    wide = uni(rng, 0.9, 1.6)

    def mid(y: float) -> float:
        return start + drift * y + bend * math.sin(y / 11.0) * min(1.0, y / 10)

    has_path = chance(rng, 0.85)
    taken: list[tuple[float, float, float]] = []

    def free(x: float, y: float, r: float) -> bool:
        if has_path and abs(x - mid(y)) < wide + r * 0.7:
            return False
        return all((x - a) ** 2 + (y - b) ** 2 > (r + c) ** 2 for a, b, c in taken)

    def somewhere(near: float, far: float, r: float, keep: bool = True):
        for _ in range(25):
            y = uni(rng, near, far)
            x = uni(rng, -0.55, 0.55) * (y + 3)
            if free(x, y, r):
                if keep:
                    taken.append((x, y, r))
                return x, y
        return None

    if has_path:
        y = -3.0
        while y < 46:
            w.disk((mid(y), y, 0.012), (wide * 1.02, wide * 1.05), material=sand, object="path")
            y += wide * 0.45
    feature = pick(rng, ("pond", "pond", "fountain", "playground", "playground", "none"))
    if feature == "pond" and (at := somewhere(12, 17, 5.5)):
        water = water_material(rng, "#3a5a5c", 0.5, 0.45)
        rim = stone_material(rng)
        r = uni(rng, 3.8, 5.2)
        w.disk((*at, 0.02), (r * 1.25, r * 0.8), material=water, object="pond")
        w.disk(
            (at[0] - r * 0.6, at[1] + r * 0.25, 0.021),
            (r * 0.8, r * 0.6),
            material=water,
            object="pond",
        )
        for k in range(15):
            a = 2 * math.pi * k / 15 + uni(rng, -0.1, 0.1)
            if chance(rng, 0.75):
                add_rock(
                    w,
                    rng,
                    (at[0] + r * 1.3 * math.cos(a), at[1] + r * 0.86 * math.sin(a), 0),
                    uni(rng, 0.2, 0.45),
                    rim,
                )
        for _ in range(int(rng.integers(0, 4))):
            add_duck(w, rng, (at[0] + uni(rng, -2, 2), at[1] + uni(rng, -1.5, 1.5), 0.03))
        if chance(rng, 0.12):
            add_boat(w, rng, (*at, 0.05), uni(rng, 0, 360), "row", 0.8)
    elif feature == "fountain" and (at := somewhere(8, 13, 2.6)):
        w.disk((*at, 0.011), (3.2, 3.2), material=sand, object="path")
        add_fountain(w, rng, (*at, 0))
    elif feature == "playground":
        ground = tinted(rng, "#c8ac78", "sand", texture="noise", scale=0.2, bump=0.4)
        if at := somewhere(9, 13, 3.0):
            w.disk((*at, 0.01), (4.0, 3.0), material=ground, object="sandbox")
            add_slide(w, rng, (*at, 0), uni(rng, -60, 240))
        if chance(rng, 0.7) and (at := somewhere(9, 16, 2.2)):
            add_swing(w, rng, (*at, 0), uni(rng, -40, 40))
    if has_path:
        for k in range(int(rng.integers(0, 4))):
            y, s = 5.5 + 5 * k + uni(rng, -1.0, 1.5), either(rng)
            x = mid(y) + s * (wide + 0.9)
            if all((x - a) ** 2 + (y - b) ** 2 > (c + 0.6) ** 2 for a, b, c in taken):
                taken.append((x, y, 1.0))
                add_bench(w, rng, (x, y, 0), -90 * s + uni(rng, -12, 12))
        if chance(rng, 0.5):
            s = either(rng)
            for k in range(3):
                y = 6 + 9 * k
                add_pole(w, rng, (mid(y) + s * (wide + 0.5), y, 0), 0, 3.4)
    elif chance(rng, 0.7) and (at := somewhere(5, 9, 1.2)):
        add_bench(w, rng, (*at, 0), uni(rng, -60, 60))
    grove = chance(rng, 0.18)  # so many trees that it could be a wood
    for _ in range(int(rng.integers(12, 19)) if grove else int(rng.integers(3, 9))):
        if at := somewhere(5.5 if grove else 6.5, 26 if grove else 30, 1.1 if grove else 1.6):
            if chance(rng, 0.15):
                add_pine(
                    w,
                    rng,
                    (*at, 0),
                    uni(rng, 6, 10),
                    leaf_material(rng, "#35592a", 0.25, 0.2),
                    bark,
                )
            else:
                add_tree(
                    w,
                    rng,
                    (*at, 0),
                    uni(rng, 5.5, 10),
                    pick(rng, leaves),
                    bark,
                    bare=uni(rng, 0.2, 0.35),
                    lumps=8,
                )
    for _ in range(int(rng.integers(0, 4))):
        if at := somewhere(5, 14, 1.0):
            add_flowers(w, rng, (*at, 0), 34, uni(rng, 0.8, 1.5))
    for _ in range(int(rng.integers(0, 6))):
        if at := somewhere(7, 28, 0.8):
            add_bush(w, rng, (*at, 0), uni(rng, 0.8, 1.6), pick(rng, leaves))
    for _ in range(int(rng.integers(0, 5))):
        if has_path and chance(rng, 0.6):
            y = uni(rng, 6, 24)
            add_person(w, rng, (mid(y) + uni(rng, -0.6, 0.6) * wide, y, 0), pick(rng, (0, 180)))
        elif at := somewhere(6, 20, 0.4):
            add_person(w, rng, (*at, 0), uni(rng, 0, 360), pick(rng, ("walk", "stand")))
    if chance(rng, 0.35):
        y = uni(rng, 24, 34)
        add_fence(
            w,
            rng,
            (-26, y + uni(rng, -3, 3)),
            (26, y + uni(rng, -3, 3)),
            1.1,
            ground=flat_land,
        )
    if chance(rng, 0.35) and (at := somewhere(4.5, 9, 0.5)):
        add_bin(w, rng, (*at, 0))
    if chance(rng, 0.2) and (at := somewhere(4, 9, 0.3)):
        add_ball(w, rng, (*at, 0.16), 0.16)
    if chance(rng, 0.15) and (at := somewhere(5, 9, 1.0)):
        add_towel(w, rng, (*at, 0), uni(rng, 0, 180))
    return w


def beach(rng: Rng) -> World:
    """Sand that runs into the sea: umbrellas, towels, palms, rocks, boats, bathers."""
    shore = uni(rng, 9, 20)  # where the sand meets the water, straight ahead
    slant = uni(rng, -0.55, 0.55)
    camera = looking(
        (0, 0, uni(rng, 2.2, 4.0)),
        uni(rng, -28, 28),
        uni(rng, -9, -1),
        uni(rng, 52, 68),
    )
    w = open_air(rng, camera, (0.55, 0.22, 0.13, 0.1), haze=0.4)
    corner, cell, ny, nx = (-45.0, -8.0), 0.9, 77, 101
    x, y = grid_axes(corner, cell, ny, nx)
    line = shore + slant * x + 2.0 * np.sin(x / 9.0 + uni(rng, 0, 6))
    depth = (line - y) / 10
    heights = np.clip(depth * 0.75, -1.2, 0.9) + 0.06 * np.clip(depth, 0, 6)
    rough = fractal(rng, ny, nx, 6, 4) - 0.5
    heights = heights + rough * np.clip(0.14 + depth * 0.3, 0.03, 0.42)
    land = Land(corner, cell, heights)
    eye = camera.eye
    lift = land(0, 0)
    w.camera = Camera(
        (eye[0], eye[1], eye[2] + lift),
        (*camera.target[:2], camera.target[2] + lift),
        camera.fov,
    )
    colour = pick(rng, ("#dcc08c", "#e4cfa4", "#cdb48a", "#d8b878"))
    sand = tinted(
        rng,
        colour,
        "sand",
        color2="#b0925f",
        texture="noise",
        scale=0.35,
        bump=0.55,
        bump_scale=0.16,
    )
    wet = tinted(rng, "#a0855c", "sand", color2="#7f6946", texture="noise", scale=0.6, gloss=0.55)
    kinds = (heights < 0.16 + 0.1 * rough).astype(np.uint8)
    land.draw(w, surfaces=[(sand, "sand", None), (wet, "sand", None)], kinds=kinds)
    tone = pick(rng, ("#1f5a78", "#1f6a80", "#2a5068", "#2a8088"))
    sea = water_material(rng, tone, uni(rng, 0.5, 1.0))
    deep = water_material(rng, tone, 2.6)
    w.quad((0, 60, 0.0), (400, 160), material=sea, object="sea")
    w.quad((0, 1640, -0.02), (9000, 3000), material=deep, object="sea")
    foam = Material(
        (0.86, 0.88, 0.88), "foam", cutout=0.42, cutout_scale=0.5, bump=0.5, bump_scale=0.1
    )

    def edge(x: float) -> float:
        j = int(min(max((x - corner[0]) / cell, 0), nx - 1))
        column = heights[:, j]
        below = np.flatnonzero((column < 0.02) & (np.arange(ny) > 6))
        return corner[1] + cell * (below[0] if len(below) else ny - 1)

    # Surf: strips of foam along the water's edge and a few lines of breakers behind it.
    for row, (out, thick) in enumerate(((0.5, 1.3), (uni(rng, 4, 6), 0.7), (uni(rng, 9, 13), 0.5))):
        for k in range(26):
            a, b = -40 + 80 * k / 26, -40 + 80 * (k + 1) / 26
            if row and not chance(rng, 0.6):
                continue
            p, q = edge(a) + out, edge(b) + out
            yaw = math.atan2(q - p, b - a)
            w.quad(
                ((a + b) / 2, (p + q) / 2, 0.03 + 0.05 * row),
                (math.hypot(b - a, q - p) * 1.12, thick),
                along=(math.cos(yaw), math.sin(yaw), 0),
                material=foam,
                object="sea",
                part="foam",
            )

    def on_sand(near: float, far: float, dry: float = 0.3):
        for _ in range(30):
            y = uni(rng, near, far)
            x = uni(rng, -0.62, 0.62) * (y + 2) + math.tan(math.radians(bearing_of(w))) * y
            if land(x, y) > dry and abs(x) < 40:
                return x, y
        return None

    spots = []
    for _ in range(int(rng.integers(0, 5))):
        at = on_sand(5.5, shore + 6)
        if at and all((at[0] - a) ** 2 + (at[1] - b) ** 2 > 5 for a, b in spots):
            spots.append(at)
            z = land(*at)
            if chance(rng, 0.75):
                add_umbrella(w, rng, (*at, z), uni(rng, -14, 14), uni(rng, 0, 360))
            for k in range(int(rng.integers(0, 3))):
                px, py = at[0] + (1.2 if k else -1.1), at[1] + uni(rng, -0.7, 0.3)
                if chance(rng, 0.45):
                    add_deck_chair(w, rng, (px, py, land(px, py)), 180 + uni(rng, -35, 35))
                else:
                    add_towel(w, rng, (px, py, land(px, py) + 0.03), 90 + uni(rng, -30, 30))
    for _ in range(int(rng.integers(0, 6))):
        if at := on_sand(6, shore + 10, -0.25):
            add_person(
                w, rng, (*at, land(*at)), uni(rng, 0, 360), pick(rng, ("walk", "stand")), True
            )
    if chance(rng, 0.5):
        s = either(rng)
        for _ in range(int(rng.integers(1, 5))):
            y = uni(rng, 5, 22)
            x = s * uni(rng, 0.4, 0.8) * (y + 2)
            if land(x, y) > 0.35:
                add_palm(w, rng, (x, y, land(x, y)), uni(rng, 4.5, 9))
    if chance(rng, 0.5):
        stone, s = stone_material(rng), either(rng)
        for _ in range(int(rng.integers(2, 9))):
            y = shore + uni(rng, -5, 6)
            x = s * uni(rng, 0.2, 0.65) * (y + 2)
            add_rock(w, rng, (x, y, max(-0.2, land(x, y) - 0.1)), uni(rng, 0.4, 1.8), stone)
    for _ in range(int(rng.integers(0, 3))):
        y = uni(rng, shore + 22, 90)
        x = uni(rng, -0.5, 0.5) * y + math.tan(math.radians(bearing_of(w))) * y
        add_boat(
            w, rng, (x, y, 0), uni(rng, 0, 360), pick(rng, ("sail", "sail", "motor", "fishing"))
        )
    if chance(rng, 0.18) and (at := on_sand(7, shore + 2)):
        add_boat(w, rng, (*at, land(*at) + 0.15), uni(rng, 0, 360), "row")
    if chance(rng, 0.35) and (at := on_sand(4, 9)):
        add_ball(w, rng, (*at, land(*at) + 0.2), 0.2)
    if chance(rng, 0.35):  # a headland or hills across the bay
        add_far_hills(
            w,
            rng,
            uni(rng, 260, 420),
            either(rng) * uni(rng, 60, 260),
            uni(rng, 120, 300),
            uni(rng, 14, 40),
        )
    if chance(rng, 0.12):
        y = uni(rng, 26, 40)
        add_pier(
            w,
            rng,
            (uni(rng, 0.2, 0.5) * y * either(rng), shore - 2, 1.3),
            uni(rng, 25, 40),
            2.4,
            0,
        )
    if chance(rng, 0.08) and (at := on_sand(12, 18, 0.4)):
        add_house(w, rng, (*at, land(*at)), uni(rng, -30, 30), (3.2, 3.0, 2.3), "cabin")
    return w


def forest(rng: Rng) -> World:
    """Among trees: trunks near and far, needles or leaves, ferns, moss, logs, a path."""
    camera = looking(
        (0, 0, uni(rng, 1.3, 2.1)),
        uni(rng, -10, 10),
        uni(rng, -5, 8),
        uni(rng, 55, 70),
    )
    w = open_air(rng, camera, (0.52, 0.16, 0.18, 0.14), haze=1.1)
    kind = pick(rng, ("leaf", "leaf", "conifer", "mixed"))
    autumn = kind != "conifer" and chance(rng, 0.25)
    tones = AUTUMN if autumn else ("#4a6f2c", "#3f6428", "#5a7c30", "#2f5426")
    floor = tinted(
        rng,
        pick(rng, ("#5c4a30", "#6a4f30", "#4c5030")) if not autumn else "#8a5a30",
        "soil",
        color2=pick(rng, ("#3c4a24", "#3a2c1c", "#4a5a2a")),
        texture="leaves",
        scale=0.22,
        bump=1.0,
        bump_scale=0.14,
    )
    corner, cell, ny, nx = (-35.0, -6.0), 2.5, 29, 29
    heights = 1.1 * (fractal(rng, ny, nx, 5, 3) - 0.5)
    gx, gy = grid_axes(corner, cell, ny, nx)
    heights = heights * np.clip((np.hypot(gx, gy) - 2) / 10, 0, 1) + uni(rng, -0.01, 0.06) * gy
    land = Land(corner, cell, heights)
    soil = tinted(rng, "#7a6248", "soil", color2="#5a4632", texture="noise", scale=0.3, bump=0.6)
    has_path = chance(rng, 0.5)
    start, bend = uni(rng, -1, 1), uni(rng, -3.5, 3.5)

    def mid(y):
        return start + bend * np.sin(y / 9.0)

    land.draw(w, material=floor, object="ground")
    if has_path:
        y = 0.5
        while y < 32:
            # Discs tilt with the land, or it would bury them.
            slope = (land(mid(y), y + 0.4) - land(mid(y), y - 0.4)) / 0.8
            side = (land(mid(y) + 0.4, y) - land(mid(y) - 0.4, y)) / 0.8
            w.disk(
                (mid(y), y, land(mid(y), y) + 0.035),
                (0.75, 0.75),
                normal=(-side, -slope, 1),
                material=soil,
                object="path",
            )
            y += 0.42
    leaves = [leaf_material(rng, pick(rng, tones), 0.36, 0.22) for _ in range(3)]
    needles = [
        leaf_material(rng, pick(rng, ("#2f4f2c", "#3a5c34", "#274530")), 0.3, 0.16) for _ in "ab"
    ]
    far = [leaf_material(rng, pick(rng, tones), 0.0, 0.8) for _ in range(3)]
    barks = [bark_material(rng) for _ in range(2)]
    birch = tinted(rng, "#d4d0c4", "bark", color2="#3c3a36", texture="strata", scale=0.35, bump=0.3)
    moss = tinted(
        rng,
        "#5a7a2c",
        "moss",
        color2="#3f5a20",
        texture="leaves",
        scale=0.07,
        bump=1.0,
        bump_scale=0.05,
    )

    def place(near, far_, open_=0.0):
        def draw():
            y = near + (far_ - near) * math.sqrt(uni(rng, 0, 1))
            while True:
                x = uni(rng, -0.75, 0.75) * (y + 3)
                if not has_path or abs(x - mid(y)) > 1.1 + open_:
                    return x, y

        return draw

    clearing = chance(rng, 0.16)
    trunks = scatter(rng, int(rng.integers(26, 46)), place(14 if clearing else 3.5, 34, 0.2), 1.5)
    trunks.sort(key=lambda p: p[1])
    for k, (x, y) in enumerate(trunks):
        at = (x, y, land(x, y))
        conifer = kind == "conifer" or (kind == "mixed" and chance(rng, 0.45))
        if conifer:
            tall = uni(rng, 9, 17)
            if y < 9 or chance(rng, 0.3):  # old and bare below: the crown is out of sight
                add_mast(w, rng, at, uni(rng, 13, 18), pick(rng, barks), needles, y)
            else:
                add_pine(w, rng, at, tall, pick(rng, needles), barks[0], tiers=6, bare=0.1)
        elif y < 17:
            bark = birch if chance(rng, 0.2) else pick(rng, barks)
            add_mast(w, rng, at, uni(rng, 8, 13), bark, leaves, y)
        else:
            add_tree(w, rng, at, uni(rng, 8, 14), far[k % 3], pick(rng, barks), bare=0.25, lumps=5)
    add_tree_line(w, rng, 44, 36, 10, 18, 15, 0.7 if kind == "conifer" else 0.15, z=land(0, 44))
    add_tree_line(w, rng, 36, 30, 5, 9, 10, 0.5 if kind == "conifer" else 0.1, z=land(0, 36))
    fern = tinted(rng, "#5f8a34", "foliage", color2="#3f6426", texture="stripes", scale=0.05)
    ferny = uni(rng, 0, 1)
    for x, y in scatter(rng, int(22 * ferny * ferny) + 3, place(2.8, 11), 0.7):
        add_fern(w, rng, (x, y, land(x, y)), uni(rng, 0.4, 0.85), fern)
    for x, y in scatter(rng, int(rng.integers(2, 10)), place(6, 26), 1.2):
        add_bush(w, rng, (x, y, land(x, y)), uni(rng, 0.5, 1.5), pick(rng, leaves))
    if chance(rng, 0.55):
        (x, y), a = place(4.5, 9, 0.6)(), uni(rng, -70, 70)
        r, half = uni(rng, 0.18, 0.38), uni(rng, 1.6, 3.4)
        dx, dy = half * math.cos(math.radians(a)), half * math.sin(math.radians(a))
        bark = barks[0]
        with w.group(object="log"):
            p = (x - dx, y - dy, land(x - dx, y - dy) + r * 0.8)
            q = (x + dx, y + dy, land(x + dx, y + dy) + r * 0.8)
            w.rod(p, q, r, bark, end_radius=r * 0.8)
            ring = tinted(rng, "#c09a68", "wood", color2="#8a6238", texture="noise", scale=0.1)
            for end, s in ((p, -1), (q, 1)):
                w.cylinder(
                    (end[0] + 0.01 * s * dx / half, end[1] + 0.01 * s * dy / half, end[2]),
                    r * 0.78,
                    0.012,
                    material=ring,
                    axis=(s * dx, s * dy, 0.0),
                )
        if chance(rng, 0.7):
            for t in (-0.45, 0.05, 0.5):
                w.ellipsoid(
                    (x + dx * t, y + dy * t, (p[2] + q[2]) / 2 + r * 0.55),
                    (half * 0.24, r * 0.7, r * 0.55),
                    yaw=a,
                    material=moss,
                    object="moss",
                )
    stone = stone_material(rng, "#77766e")
    for x, y in scatter(rng, int(rng.integers(0, 7)), place(4, 16, 0.3), 1.0):
        add_rock(
            w,
            rng,
            (x, y, land(x, y)),
            uni(rng, 0.3, 1.1),
            stone,
            moss if chance(rng, 0.6) else None,
        )
    cap = tinted(rng, pick(rng, ("#b0402a", "#9a6a3c", "#d0b080")), "")
    stem = tinted(rng, "#e0d8c4", "")
    for x, y in scatter(rng, int(rng.integers(0, 6)), place(3.0, 5.5), 0.3):
        with w.group((x, y, land(x, y)), scale=uni(rng, 0.7, 1.3), object="mushroom"):
            w.cylinder((0, 0, -0.05), 0.035, 0.2, material=stem, part="stem")
            w.ellipsoid((0, 0, 0.15), (0.12, 0.12, 0.07), material=cap, part="cap")
    twig = barks[-1]
    with w.group(object="branch"):
        for x, y in scatter(rng, int(rng.integers(3, 12)), place(2.6, 9), 0.5):
            a, half = uni(rng, 0, 3.14), uni(rng, 0.15, 0.55)
            p, q = ((x + s * half * math.cos(a), y + s * half * math.sin(a)) for s in (-1, 1))
            w.rod((*p, land(*p) + 0.03), (*q, land(*q) + 0.03), 0.028, twig, end_radius=0.01)
    if chance(rng, 0.1):
        x, y = place(14, 20, 2)()
        add_house(w, rng, (x, y, land(x, y)), uni(rng, -30, 30), (4.6, 4.2, 2.3), "cabin")
    if has_path and chance(rng, 0.25):
        y = uni(rng, 6, 15)
        add_person(w, rng, (float(mid(y)), y, land(float(mid(y)), y)), pick(rng, (0, 180)))
    if has_path and chance(rng, 0.1):
        add_bench(w, rng, (float(mid(7)) + 1.6, 7, land(float(mid(7)) + 1.6, 7)), -70)
    w.exposure *= 1.05
    return w


def mountain(rng: Rng) -> World:
    """High peaks over meadow, lake and pines; snow above, sometimes down to the valley."""
    camera = looking(
        (0, 0, uni(rng, 2.0, 6.0)),
        uni(rng, -12, 12),
        uni(rng, 2, 11),
        uni(rng, 44, 62),
    )
    w = open_air(rng, camera, (0.55, 0.2, 0.15, 0.1), haze=0.28)
    winter = chance(rng, 0.22)
    cell, ny, nx = 7.0, 80, 137
    corner = (-475.0, 110.0)
    x, y = grid_axes(corner, cell, ny, nx)
    crest = fractal(rng, ny, nx, 24, 5, ridged=True)
    broad = fractal(rng, ny, nx, 43, 2)
    heights = np.zeros((ny, nx))
    for _ in range(int(rng.integers(2, 6))):
        px, py = uni(rng, -260, 260), uni(rng, 330, 520)
        high, reach = uni(rng, 110, 250), uni(rng, 150, 290)
        d = np.hypot(x - px, (y - py) * 1.1) / reach
        heights = np.maximum(heights, high * np.clip(1 - d, 0, 1) ** 1.25)
    heights = heights * (0.32 + 1.0 * crest) + 40 * broad * np.clip((y - 150) / 250, 0, 1)
    heights = heights * np.clip((y - 105) / 140, 0, 1) - 1.0
    if chance(rng, 0.14):  # gentle hills only
        heights *= uni(rng, 0.22, 0.4)
    slope = np.hypot(*np.gradient(heights, cell))
    line = uni(rng, 45, 120) if not winter else uni(rng, 5, 30)
    wander = 45 * (fractal(rng, ny, nx, 7, 3) - 0.5)
    kinds = np.zeros(heights.shape, np.uint8)
    kinds[(heights + wander < line * 0.6) & (slope < 0.95)] = 1
    kinds[(heights + wander > line) & (slope < 1.35 + 0.004 * (heights - line))] = 2
    rock = tinted(
        rng,
        pick(rng, ("#7a746c", "#6c6a6c", "#8a7a68", "#5f5f64")),
        "rock",
        color2="#3e3b3a",
        texture="noise",
        scale=22.0,
        bump=1.8,
        bump_scale=5.0,
    )
    alp = tinted(
        rng,
        pick(rng, ("#5a6f38", "#4c6438", "#6f7444")),
        "grass",
        color2="#34482a",
        texture="leaves",
        scale=6.0,
        bump=1.0,
        bump_scale=3.0,
    )
    snow = tinted(
        rng,
        "#f0f3f8",
        "snow",
        by=0.03,
        color2="#d4deec",
        texture="noise",
        scale=20.0,
        bump=0.5,
        bump_scale=3.0,
    )
    w.heightfield(
        (*corner, 0.0),
        cell,
        heights,
        kinds=kinds,
        surfaces=[
            (rock, "mountain", "slope"),
            (alp, "mountain", "slope"),
            (snow, "mountain", "peak"),
        ],
    )
    near_snow = tinted(
        rng,
        "#eef1f6",
        "snow",
        by=0.03,
        texture="noise",
        scale=1.5,
        color2="#dce4ee",
        bump=0.4,
        bump_scale=0.3,
    )
    meadow = tinted(
        rng,
        pick(rng, ("#6a8040", "#7a8248", "#557236")),
        "grass",
        color2="#4c5a2c",
        texture="grass",
        scale=0.35,
        bump=0.8,
        bump_scale=0.2,
    )
    ground = near_snow if winter else meadow
    name = "snow" if winter else "grass"
    near, step, rows, columns = (-70.0, -6.0), 3.0, 45, 48
    field = 2.6 * (fractal(rng, rows, columns, 9, 3) - 0.45)
    gx, gy = grid_axes(near, step, rows, columns)
    field = field * np.clip((np.hypot(gx, gy) - 4) / 12, 0, 1)
    lake = chance(rng, 0.55)
    level = -0.9
    if lake:
        lx, ly = uni(rng, -14, 14), uni(rng, 48, 64)
        far = np.hypot((gx - lx) / uni(rng, 24, 40), (gy - ly) / uni(rng, 18, 26))
        field = np.where(
            far < 1.25,
            field * np.clip((far - 0.9) * 3, 0, 1) - 2.2 * np.clip(1.25 - far, 0, 0.6) * 1.8,
            field,
        )
    land = Land(near, step, field)
    w.camera = Camera(
        (0, 0, camera.eye[2] + land(0, 0)),
        (*camera.target[:2], camera.target[2] + land(0, 0)),
        camera.fov,
    )
    land.draw(w, material=ground, object=name)
    w.quad(
        (0, 330, -2.3),
        (1600, 420),
        material=alp if not winter else snow,
        object="mountain",
        part="slope",
    )
    if lake:
        water = water_material(rng, "#2c5a6a", 0.7, uni(rng, 0.35, 0.75))
        w.quad((lx, ly, level), (150, 80), material=water, object="lake")
    needles = [
        leaf_material(rng, pick(rng, ("#2c4a2c", "#35563a", "#2a4434")), 0.22, 0.22) for _ in "ab"
    ]
    distant = leaf_material(rng, "#2c4630", 0.0, 0.6)
    bark, cover = bark_material(rng), near_snow if winter or chance(rng, 0.06) else None

    def dry(near, far_):
        for _ in range(20):
            y = uni(rng, near, far_)
            x = uni(rng, -0.55, 0.55) * (y + 4) + math.tan(math.radians(bearing_of(w))) * y
            if abs(x) < 66 and (not lake or land(x, y) > level + 0.25):
                return x, y
        return None

    for _ in range(int(rng.integers(0, 14))):
        if at := dry(12, 42):
            add_pine(
                w,
                rng,
                (*at, land(*at)),
                uni(rng, 4.5, 10),
                pick(rng, needles),
                bark,
                6,
                0.08,
                cover,
            )
    edge_y = uni(rng, 84, 118)
    for _ in range(int(rng.integers(10, 46))):
        a = uni(rng, -85, 85)
        y = edge_y + uni(rng, -6, 24)
        add_pine(w, rng, (a, y, -1.6), uni(rng, 7, 14), distant, bark, 3, 0.05, None)
    stone = stone_material(rng)
    for _ in range(int(rng.integers(0, 10))):
        if at := dry(5, 24):
            add_rock(w, rng, (*at, land(*at)), uni(rng, 0.35, 1.7), stone)
    if chance(rng, 0.4) and (at := dry(22, 42)):
        add_house(w, rng, (*at, land(*at) - 0.1), uni(rng, -50, 50), (6.2, 5.4, 2.7), "cabin")
    if not winter:
        for _ in range(int(rng.integers(0, 4))):
            if chance(rng, 0.5) and (at := dry(4.5, 9)):
                add_flowers_wild(w, rng, at, land)
        if chance(rng, 0.15):
            for _ in range(3):
                if at := dry(13, 28):
                    add_cow(w, rng, (*at, land(*at)), uni(rng, 0, 360))
    if lake and chance(rng, 0.3):
        add_boat(
            w,
            rng,
            (lx + uni(rng, -6, 6), ly - 8, level),
            uni(rng, 0, 360),
            pick(rng, ("row", "row", "sail")),
        )
    if chance(rng, 0.25) and (at := dry(7, 14)):
        add_person(w, rng, (*at, land(*at)), uni(rng, 120, 240))
    if chance(rng, 0.2):
        y = uni(rng, 12, 20)
        add_fence(w, rng, (-22, y + uni(rng, -4, 4)), (22, y + uni(rng, -4, 4)), 1.0, ground=land)
    return w


def farm(rng: Rng) -> World:
    """Fields in rows and pasture, a barn and silo, fences, a tractor, bales, cows."""
    camera = looking(
        (0, 0, uni(rng, 1.7, 3.6)),
        uni(rng, -12, 12),
        uni(rng, -6, 3),
        uni(rng, 48, 64),
    )
    w = open_air(rng, camera, haze=0.6)
    pasture = tinted(
        rng,
        pick(rng, ("#74844a", "#667a40", "#8a8c50", "#9c9256")),
        "grass",
        color2="#566a2c",
        texture="grass",
        scale=0.3,
        bump=0.7,
        bump_scale=0.15,
    )
    w.ground(0, 900, material=pasture, object="grass")
    side = either(rng)  # where the buildings stand
    ahead = math.tan(math.radians(bearing_of(w)))
    crop = pick(rng, ("rows", "rows", "wheat", "ploughed", "none", "none"))
    far_y = uni(rng, 34, 60)
    x0, x1 = (-70.0, uni(rng, -1, 3)) if side > 0 else (-uni(rng, -1, 3), 70.0)
    if chance(rng, 0.25):
        x0, x1 = -70.0, 70.0
    near_y = uni(rng, 3, 8)
    soil = tinted(
        rng,
        pick(rng, ("#6a4c34", "#7a5c40", "#54402e")),
        "soil",
        color2="#3f2e22",
        texture="noise",
        scale=0.4,
        bump=1.0,
        bump_scale=0.15,
    )
    turn = uni(rng, -14, 14)
    if crop != "none":
        with w.group((0, near_y, 0), yaw=turn, object="field"):
            width, length = x1 - x0, far_y - near_y
            colour = soil
            if crop == "wheat":
                colour = tinted(
                    rng,
                    "#c8a850",
                    "straw",
                    color2="#9a7c34",
                    texture="grass",
                    scale=0.3,
                    bump=1.0,
                    bump_scale=0.1,
                )
                # Ears of uneven height whose borders fray, on the land's own axes.
                ny, nx = int(length / 0.8), int(min(width, 110) / 0.8)
                fray = np.minimum.outer(
                    np.minimum(np.arange(ny), np.arange(ny)[::-1]),
                    np.minimum(np.arange(nx), np.arange(nx)[::-1]),
                ) * 0.8 + 1.6 * (fractal(rng, ny, nx, 5, 2) - 0.6)
                ears = np.clip(fray, -0.05, 0.42) + 0.22 * (rng.random((ny, nx)) - 0.5)
                w.heightfield(
                    (max(x0, -55.0), 0, -0.1),
                    0.8,
                    ears,
                    material=colour,
                    object="field",
                    part="crop",
                )
            else:
                w.quad(((x0 + x1) / 2, length / 2, 0.015), (width, length), material=soil)
                gap = 0.95 if crop == "rows" else 0.75
                leaf = tinted(
                    rng,
                    pick(rng, ("#5a8a30", "#6f9a3c", "#3f7030")),
                    "foliage",
                    color2="#34561f",
                    texture="leaves",
                    scale=0.18,
                    bump=1.2,
                    bump_scale=0.14,
                    cutout=0.3,
                    cutout_scale=0.2,
                )
                tall = uni(rng, 0.18, 0.5)
                x = max(x0, -30.0) + 0.5
                while x < min(x1, 30.0):
                    if crop == "rows":
                        w.cylinder(
                            (x, 0, 0.05),
                            tall * 0.85,
                            length,
                            material=leaf,
                            part="crop",
                            axis=(0, 1, 0),
                        )
                    else:
                        w.cylinder(
                            (x, 0, -0.1), 0.24, length, material=soil, part="furrow", axis=(0, 1, 0)
                        )
                    x += gap
    if chance(rng, 0.76):
        bx = side * uni(rng, 6, 15) + ahead * 26
        by = uni(rng, 21, 36)
        yaw = -side * uni(rng, -12, 48)
        size = (uni(rng, 8, 11), uni(rng, 11, 17), uni(rng, 4.2, 5.6))
        add_house(w, rng, (bx, by, 0), yaw, size, "barn")
        if chance(rng, 0.6):
            add_silo(w, rng, (bx + either(rng) * (size[0] * 0.5 + 3.2), by + uni(rng, 0, 6), 0))
    if chance(rng, 0.3):
        add_house(
            w,
            rng,
            (-side * uni(rng, 8, 22) + ahead * 45, uni(rng, 48, 62), 0),
            uni(rng, -40, 40),
            (8, 9, 4.8),
            "house",
        )
    green = [leaf_material(rng, pick(rng, GREENS), 0.3, 0.22) for _ in range(2)]
    bark = bark_material(rng)
    for _ in range(int(rng.integers(0, 5))):
        y = uni(rng, 16, 50)
        add_tree(
            w,
            rng,
            (uni(rng, -0.6, 0.6) * y + ahead * y, y, 0),
            uni(rng, 6, 11),
            pick(rng, green),
            bark,
            bare=0.22,
            lumps=8,
        )
    add_tree_line(w, rng, uni(rng, 80, 130), 95, 6, 11, int(rng.integers(8, 22)), 0.1)
    if chance(rng, 0.6):
        add_far_hills(w, rng, 420, uni(rng, -150, 150), uni(rng, 300, 500), uni(rng, 16, 50))

    def spot(near, far_):
        y = uni(rng, near, far_)
        return side * uni(rng, -0.1, 0.5) * (y + 2) + ahead * y, y

    if chance(rng, 0.7):
        y = uni(rng, 5, 12)
        a, b = (-0.5 * side, y), (side * 26, y + uni(rng, -1, 9))
        if chance(rng, 0.35):
            a = (-side * 24, y + uni(rng, -1, 4))
        add_fence(w, rng, a, b, uni(rng, 1.0, 1.35), ground=flat_land)
    if chance(rng, 0.5):
        at = spot(9, 17) if chance(rng, 0.6) else (uni(rng, -7, 7), uni(rng, 11, 20))
        add_tractor(w, rng, (*at, 0), uni(rng, 0, 360))
    hay = tinted(
        rng,
        "#c8a858",
        "straw",
        color2="#94763a",
        texture="grass",
        scale=0.25,
        bump=1.2,
        bump_scale=0.06,
    )
    if chance(rng, 0.55):
        round_ = chance(rng, 0.65)
        for _ in range(int(rng.integers(1, 7))):
            at, a = spot(7, 30), uni(rng, 0, 360)
            if chance(rng, 0.3):
                at = (uni(rng, -0.5, 0.5) * at[1] + ahead * at[1], at[1])
            with w.group((*at, 0), yaw=a, object="hay bale"):
                if round_:
                    w.cylinder((-0.6, 0, 0.68), 0.7, 1.2, material=hay, axis=(1, 0, 0))
                else:
                    for k in range(int(rng.integers(1, 4))):
                        w.soft(
                            (0.05 * k, 0, 0.28 + 0.5 * k), (1.15, 0.6, 0.52), material=hay, power=12
                        )
    if chance(rng, 0.55):
        for x, y in scatter(rng, int(rng.integers(1, 6)), lambda: spot(7.5, 24), 2.2):
            add_cow(w, rng, (x, y, 0), uni(rng, 0, 360))
    if chance(rng, 0.2):
        add_person(w, rng, (*spot(7, 14), 0), uni(rng, 0, 360), "stand")
    if chance(rng, 0.12):
        add_car(w, rng, (*spot(12, 20), 0), uni(rng, 0, 360))
    if chance(rng, 0.15):
        at = spot(9, 16)
        water = water_material(rng, "#4a6a70", 0.4, 0.4)
        w.disk((*at, 0.02), (3.4, 2.0), material=water, object="pond")
    return w


def harbor(rng: Rng) -> World:
    """Water uni quay and piers: boats, crates, a crane, warehouses, a lighthouse."""
    camera = looking(
        (0, 0, uni(rng, 2.8, 5.2)),
        uni(rng, -16, 16),
        uni(rng, -7, 1),
        uni(rng, 50, 66),
    )
    w = open_air(rng, camera, haze=0.5)
    ahead = math.tan(math.radians(bearing_of(w)))
    tone = pick(rng, ("#24485a", "#2c5560", "#33505a", "#2a4a68"))
    w.quad(
        (0, 140, 0),
        (700, 330),
        material=water_material(rng, tone, uni(rng, 0.5, 0.9), 0.2),
        object="water",
    )
    w.quad(
        (0, 2300, -0.02), (9000, 4000), material=water_material(rng, tone, 2.4, 0.1), object="water"
    )
    quay = tinted(
        rng,
        pick(rng, ("#a09a90", "#8c8a86", "#b0a48c")),
        "concrete",
        color2="#77726a",
        texture=pick(rng, ("tiles", "noise")),
        scale=1.6,
        bump=0.3,
    )
    metal = tinted(rng, "#33373a", "metal", gloss=0.3)
    on_quay = chance(rng, 0.75)
    front = uni(rng, 5.5, 9)
    top = 1.3
    if on_quay:
        w.box((0, front / 2 - 15, top - 2), (160, front + 30, 4), material=quay, object="quay")
        for k in range(-3, 4):
            x = 4.2 * k + uni(rng, -0.4, 0.4)
            with w.group((x, front - 0.6, top), object="bollard"):
                w.cylinder((0, 0, 0), 0.16, 0.42, material=metal)
                w.cylinder((0, 0, 0.42), 0.25, 0.12, material=metal)
        n = int(rng.integers(0, 7))
        for x, y in scatter(
            rng, n, lambda: (uni(rng, -0.62, 0.62) * front, uni(rng, 4.2, front - 1)), 1.15
        ):
            size = uni(rng, 0.7, 1.1)
            if chance(rng, 0.65):
                a = uni(rng, -25, 25)
                add_crate(w, rng, (x, y, top), size, a)
                if chance(rng, 0.35):
                    add_crate(w, rng, (x + uni(rng, -0.1, 0.1), y, top + size), size * 0.8, a + 12)
            else:
                add_barrel(w, rng, (x, y, top))
        if chance(rng, 0.35):
            add_person(
                w,
                rng,
                (uni(rng, -3.5, 3.5), uni(rng, 4.4, front - 0.6), top),
                uni(rng, 100, 260),
                "stand",
            )
        if chance(rng, 0.25):
            add_bench(w, rng, (uni(rng, -3, 3), front - 1.4, top), 180)
        if chance(rng, 0.3):
            add_pole(
                w, rng, (uni(rng, -4, 4), front - 0.8, top), uni(rng, 0, 360), pick(rng, (3.4, 5.5))
            )
        w.camera = Camera(
            (0, 0, camera.eye[2] + 0.6), (*camera.target[:2], camera.target[2] + 0.6), camera.fov
        )
    # Piers run out from this side, boats lie along them.
    piers = []
    for s in (-1, 1):
        if chance(rng, 0.62):
            x = s * uni(rng, 4.5, 9) + ahead * 12
            length = uni(rng, 16, 30)
            y = front - 0.5 if on_quay else uni(rng, 4, 8)
            add_pier(w, rng, (x, y, 1.15), length, uni(rng, 1.6, 2.6), uni(rng, -8, 8))
            piers.append((x, y, length))
    for x, y, length in piers:
        b = y + 3.5
        while b < y + length - 2:
            if chance(rng, 0.6):
                add_boat(
                    w,
                    rng,
                    (x + either(rng) * uni(rng, 2.7, 3.6), b, 0),
                    90 * either(rng) + uni(rng, -8, 8),
                    "",
                    uni(rng, 0.75, 1.0),
                )
            b += uni(rng, 6.5, 9)
    clear = [p[0] for p in piers]
    for _ in range(int(rng.integers(1, 6))):
        y = uni(rng, 15, 60)
        x = uni(rng, -0.5, 0.5) * y + ahead * y
        if all(abs(x - c) > 6 or y > 45 for c in clear):
            add_boat(w, rng, (x, y, 0), uni(rng, 0, 360))
    # The other side of the basin.
    far = uni(rng, 60, 95)
    if chance(rng, 0.75):
        wide = uni(rng, 40, 90)
        mid = uni(rng, -20, 20) + ahead * far
        w.box((mid, far + 20, -0.5), (2 * wide, 40, 3.6), material=quay, object="quay")
        x = mid - wide + 2
        while x < mid + wide - 14:
            width = uni(rng, 8, 15)
            if chance(rng, 0.78):
                with w.group((x, far + 3 + uni(rng, 0, 5), 1.3)):
                    if chance(rng, 0.4):
                        add_warehouse(w, rng, width)
                    else:
                        add_building(
                            w, rng, width, 10, int(rng.integers(2, 5)), near=False, shop=0.3
                        )
            x += width + uni(rng, 0.2, 4)
        for _ in range(int(rng.integers(0, 3))):
            add_crane(w, rng, (mid + uni(rng, -0.6, 0.6) * wide, far + 1.5, 1.3))
        for _ in range(int(rng.integers(0, 4))):
            add_boat(
                w, rng, (mid + uni(rng, -0.8, 0.8) * wide, far - 3, 0), pick(rng, (0, 180)), "", 1.2
            )
    if chance(rng, 0.5):
        y, s = uni(rng, 45, 110), either(rng)
        x = s * uni(rng, 0.15, 0.5) * y + ahead * y
        stone = stone_material(rng, "#6f6c66")
        # A breakwater of boulders that ends below the light.
        for k in range(12):
            add_rock(
                w,
                rng,
                (x + s * 2.6 * k + uni(rng, -1, 1), y + uni(rng, -1.5, 1.5), 0.1),
                uni(rng, 2.2, 3.6),
                stone,
            )
        add_lighthouse(w, rng, (x, y, 0.8), uni(rng, 0.8, 1.2))
    elif chance(rng, 0.5):
        add_far_hills(w, rng, 420, uni(rng, -200, 200), uni(rng, 200, 450), uni(rng, 20, 60))
    if on_quay and chance(rng, 0.2):
        s = either(rng)
        add_crane(w, rng, (s * uni(rng, 8, 11) + ahead * 20, front - 1 + 12, -0.5), 0.8)
    bird = tinted(rng, "#e8e8e4", "feather")
    for _ in range(int(rng.integers(0, 4))):
        y = uni(rng, 12, 30)
        at = (uni(rng, -0.4, 0.4) * y + ahead * y, y, uni(rng, 4, 11))
        with w.group(at, yaw=uni(rng, 0, 360), object="gull"):
            w.ellipsoid((0, 0, 0), (0.3, 0.1, 0.09), material=bird, part="body")
            for s in (-1, 1):
                w.triangle(
                    (0.12, 0, 0), (-0.12, 0, 0), (0, s * 0.4, 0.2), material=bird, part="wing"
                )
                w.triangle(
                    (0.08, s * 0.4, 0.2),
                    (-0.1, s * 0.36, 0.18),
                    (-0.16, s * 0.85, 0.1),
                    material=bird,
                    part="wing",
                )
    return w


def _framed(scene: Callable[[Rng], World]) -> Callable[[Rng], World]:
    """The same scene; now and then only a detail of it, or at dusk: photos that are hard to name
    because what would tell the scene lies outside the frame or in the dark."""

    def draw(rng: Rng) -> World:
        w = scene(rng)
        if chance(rng, 0.28):
            eye, fov = w.camera.eye, w.camera.fov
            ahead = w.camera.target[2] - eye[2]
            w.camera = looking(
                eye,
                bearing_of(w) + uni(rng, -0.45, 0.45) * fov,
                math.degrees(math.asin(max(-0.9, min(0.9, ahead / 10)))) + uni(rng, -5, 4),
                fov * uni(rng, 0.4, 0.65),
                uni(rng, -3, 3),
            )
        if chance(rng, 0.1):
            w.exposure *= uni(rng, 0.4, 0.65)
        return w

    draw.__name__, draw.__doc__ = scene.__name__, scene.__doc__
    return draw


SCENES: dict[str, Callable[[Rng], World]] = {
    "street": _framed(street),
    "park": _framed(park),
    "beach": _framed(beach),
    "forest": _framed(forest),
    "mountain": _framed(mountain),
    "farm": _framed(farm),
    "harbor": _framed(harbor),
}
"""The outdoor scenes by name."""

OBJECTS = (
    "awning",
    "ball",
    "barn",
    "barrel",
    "bench",
    "boat",
    "bollard",
    "branch",
    "building",
    "bush",
    "cabin",
    "car",
    "cow",
    "crane",
    "crate",
    "deck chair",
    "duck",
    "fence",
    "fern",
    "field",
    "fire hydrant",
    "flower",
    "flower bed",
    "fountain",
    "grass",
    "ground",
    "gull",
    "hay bale",
    "hill",
    "house",
    "lake",
    "lawn",
    "lighthouse",
    "log",
    "mailbox",
    "moss",
    "mountain",
    "mushroom",
    "palm tree",
    "path",
    "person",
    "pier",
    "pine tree",
    "pond",
    "quay",
    "road",
    "rock",
    "sand",
    "sandbox",
    "sea",
    "shoe",
    "sidewalk",
    "sign",
    "silo",
    "sky",
    "slide",
    "snow",
    "street light",
    "swing",
    "towel",
    "tractor",
    "traffic light",
    "trash can",
    "tree",
    "umbrella",
    "warehouse",
    "water",
)
"""Every name that the object mask of an outdoor photo may hold."""

PARTS = (
    "arm",
    "armrest",
    "backrest",
    "balcony",
    "barn door",
    "base",
    "basin",
    "beak",
    "beam",
    "body",
    "boom",
    "branch",
    "bumper",
    "cab",
    "cabin",
    "cable",
    "canopy",
    "cap",
    "car body",
    "chain",
    "chimney",
    "chute",
    "coconut",
    "column",
    "crop",
    "curb",
    "deck",
    "door",
    "door frame",
    "door knob",
    "ear",
    "engine",
    "exhaust pipe",
    "fence post",
    "fender",
    "foam",
    "foliage",
    "frond",
    "furrow",
    "grille",
    "hair",
    "head",
    "headlight",
    "hood",
    "hook",
    "horn",
    "hull",
    "jet",
    "ladder",
    "lamp head",
    "lane mark",
    "lantern",
    "leaf",
    "leg",
    "license plate",
    "lid",
    "mast",
    "oar",
    "palm leaf",
    "peak",
    "petal",
    "plank",
    "platform",
    "pole",
    "post",
    "rail",
    "roof",
    "rope",
    "sail",
    "seat",
    "shop window",
    "signal",
    "slat",
    "slope",
    "stem",
    "tail",
    "torso",
    "tower",
    "trunk",
    "udder",
    "wall",
    "wheel",
    "window",
    "window sill",
    "wing",
)
"""Every name that the part mask of an outdoor photo may hold."""

MATERIALS = (
    "asphalt",
    "bark",
    "brick",
    "concrete",
    "fabric",
    "feather",
    "foam",
    "foliage",
    "fur",
    "glass",
    "grass",
    "gravel",
    "metal",
    "moss",
    "paint",
    "plaster",
    "plastic",
    "rock",
    "roof tile",
    "rubber",
    "sand",
    "skin",
    "snow",
    "soil",
    "stone",
    "straw",
    "water",
    "wood",
)
"""Every name that the material mask of an outdoor photo may hold."""
