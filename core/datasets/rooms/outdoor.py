"""Outdoor scenes of the embedded dataset: street, park, beach, forest, mountain, farm, harbor.

``SCENES[name](rng)`` returns a :class:`~core.datasets.rooms.tracer.World` ready to render. All
that varies is drawn from `rng`. The camera stands near the origin and looks towards +y; z is up,
x to the right, metres. What belongs to a scene comes and goes with a probability, and things of
other scenes stray in now and then, so that no single object gives the scene away.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np

from core.datasets.rooms.tracer import Camera, Material, Sky, World, srgb

Rng = np.random.Generator
Point = tuple[float, float, float]

GREENS = ("#4f7a2c", "#3f6b2a", "#5f8534", "#476f3a", "#6a8a3c", "#35592a")
AUTUMN = ("#b8742a", "#a9502a", "#c09a35", "#8f4a26", "#7f7a34")
PAINTS = (
    "#a31f1f", "#1f3f7a", "#e8e6e0", "#20242a", "#8c9096", "#2f5a3c", "#c9a227", "#5a2d4c",
    "#b8bcc0", "#3a6ea5", "#7a2f1f",
)  # fmt: skip
CLOTHES = (
    "#b03a3a", "#2c4a7c", "#d8d4c8", "#2b2b30", "#4c7a4a", "#c98a2c", "#7a4a86", "#8a8f98",
    "#d06a8a", "#3a8a96",
)  # fmt: skip
SKINS = ("#e8b898", "#c68a62", "#8d5a3a", "#5c3a28", "#f0c8ac")


# -- small change ------------------------------------------------------------------------------


def _u(rng: Rng, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def _chance(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def _pick(rng: Rng, options: Sequence):
    return options[int(rng.integers(len(options)))]


def _side(rng: Rng) -> int:
    return 1 if rng.random() < 0.5 else -1


def _mat(rng: Rng, colour: str, concept: str, by: float = 0.12, color2=None, **more) -> Material:
    """A material of about that sRGB colour: lighter or darker by up to `by`, hue by half of it."""
    k = _u(rng, 1 - by, 1 + by)
    drift = [k * _u(rng, 1 - by / 2, 1 + by / 2) for _ in range(3)]

    def shade(c: str):
        return tuple(min(0.95, v * d) for v, d in zip(srgb(c), drift, strict=True))

    second = None if color2 is None else shade(color2)
    return Material(shade(colour), concept, color2=second, seed=_u(rng, 0, 50), **more)


def _look(eye: Point, bearing: float, pitch: float, fov: float, roll: float = 0.0) -> Camera:
    """A camera at `eye`; bearing 0 is +y and grows to the right, pitch is upwards, degrees."""
    a, b = math.radians(bearing), math.radians(pitch)
    d = (math.sin(a) * math.cos(b), math.cos(a) * math.cos(b), math.sin(b))
    return Camera(eye, tuple(eye[k] + 10 * d[k] for k in range(3)), fov, roll)


def _open_air(
    rng: Rng, camera: Camera, weights=(0.42, 0.2, 0.22, 0.16), haze: float = 1.0
) -> World:
    """A world under a sky: clear, low sun, overcast or misty by `weights`. `haze` scales the air's
    thickness: about 1 where things are 5 to 100 m away, less for wide views."""
    kind = ("clear", "low", "overcast", "mist")[int(rng.choice(4, p=weights))]
    forward = math.atan2(
        camera.target[0] - camera.eye[0], camera.target[1] - camera.eye[1]
    )
    # Behind the camera or from the sides; straight into the lens only seldom.
    away = forward + math.radians(180 + rng.normal(0, 62))
    if kind == "clear":
        height, colour, strength, size = _u(rng, 32, 66), (1.0, 0.94, 0.84), _u(rng, 2.6, 3.3), 0.02
        blue = _u(rng, 0.75, 1.1)
        sky = Sky((0.13 * blue, 0.29 * blue, 0.68), (0.55, 0.72, 0.9), clouds=_u(rng, 0.05, 0.6))
        ambient, thick = (0.30, 0.36, 0.44), _u(rng, 0.0004, 0.002)
    elif kind == "low":
        height, colour, strength, size = _u(rng, 10, 24), (1.0, 0.68, 0.4), _u(rng, 2.2, 3.0), 0.03
        warm = _u(rng, 0.7, 1.1)
        sky = Sky(
            (0.2, 0.3, 0.55), (0.9, 0.66 * warm, 0.45 * warm), clouds=_u(rng, 0.1, 0.55),
            cloud_color=(0.95, 0.76, 0.66), glow=0.8,
        )  # fmt: skip
        ambient, thick = (0.32, 0.3, 0.32), _u(rng, 0.001, 0.004)
    elif kind == "overcast":
        height, colour, strength, size = _u(rng, 40, 70), (1.0, 0.98, 0.95), _u(rng, 0.4, 0.9), 0.3
        grey = _u(rng, 0.75, 1.05)
        sky = Sky(
            (0.55 * grey, 0.59 * grey, 0.65 * grey), (0.72 * grey, 0.75 * grey, 0.78 * grey),
            clouds=_u(rng, 0.6, 0.95), cloud_color=(0.8 * grey, 0.81 * grey, 0.83 * grey), glow=0.1,
        )  # fmt: skip
        ambient, thick = (0.42, 0.44, 0.46), _u(rng, 0.001, 0.005)
    else:
        height, colour, strength, size = _u(rng, 15, 45), (1.0, 0.9, 0.76), _u(rng, 1.2, 2.0), 0.12
        sky = Sky(
            (0.46, 0.56, 0.7), (0.8, 0.8, 0.78), clouds=_u(rng, 0.0, 0.3), glow=0.6,
        )  # fmt: skip
        ambient, thick = (0.42, 0.43, 0.43), _u(rng, 0.007, 0.016)
    h = math.radians(height)
    sun = (math.sin(away) * math.cos(h), math.cos(away) * math.cos(h), math.sin(h))
    world = World(
        rng, camera, (sun, colour, strength), ambient, sky, thick * haze,
        ambient_distance=2.5, sun_size=size,
    )  # fmt: skip
    world.exposure = _u(rng, 0.85, 1.2)
    return world


def _solid(w: World, bottom, top, sides: Material, cap: Material | None = None, part=None,
           cap_part=None, base: bool = False) -> None:  # fmt: skip
    """A body between two polygons with the same number of corners: hulls, roofs, cabs."""
    n = len(bottom)
    for k in range(n):
        a, b, c, d = bottom[k], bottom[(k + 1) % n], top[(k + 1) % n], top[k]
        for corners in ((a, b, c), (a, c, d)):
            if _area(*corners) > 1e-6:
                w.triangle(*corners, material=sides, part=part)
    for ring, wanted in ((top, True), (bottom, base)):
        for k in range(1, n - 1 if wanted else 0):
            if _area(ring[0], ring[k], ring[k + 1]) > 1e-6:
                w.triangle(ring[0], ring[k], ring[k + 1], material=cap or sides, part=cap_part)


def _area(a, b, c) -> float:
    return float(np.linalg.norm(np.cross(np.subtract(b, a), np.subtract(c, a))))


def _fractal(rng: Rng, ny: int, nx: int, period: float, octaves: int = 4, ridged: bool = False):
    """Noise in about 0…1 over a grid; `period` in cells of the coarsest octave. Ridged: crests."""
    total, weight, size = np.zeros((ny, nx)), 0.0, 1.0
    for _ in range(octaves):
        y = np.arange(ny) / period + rng.random()
        x = np.arange(nx) / period + rng.random()
        lattice = rng.random((int(y[-1]) + 3, int(x[-1]) + 3))
        j, i = y.astype(int), x.astype(int)
        fy, fx = y - j, x - i
        fy, fx = (fy * fy * (3 - 2 * fy))[:, None], (fx * fx * (3 - 2 * fx))[None]
        value = (
            lattice[np.ix_(j, i)] * (1 - fy) * (1 - fx)
            + lattice[np.ix_(j, i + 1)] * (1 - fy) * fx
            + lattice[np.ix_(j + 1, i)] * fy * (1 - fx)
            + lattice[np.ix_(j + 1, i + 1)] * fy * fx
        )
        if ridged:
            value = 1 - np.abs(2 * value - 1)
        total += size * value
        weight += size
        size *= 0.5
        period /= 2
    return total / weight


class _Land:
    """A piece of terrain that knows its height, so that things can stand on it."""

    def __init__(self, corner: tuple[float, float], cell: float, heights: np.ndarray):
        self.corner, self.cell, self.heights = corner, cell, heights

    def __call__(self, x: float, y: float) -> float:
        ny, nx = self.heights.shape
        u = min(max((x - self.corner[0]) / self.cell, 0.0), nx - 1.001)
        v = min(max((y - self.corner[1]) / self.cell, 0.0), ny - 1.001)
        i, j = int(u), int(v)
        a, b = u - i, v - j
        h = self.heights
        return float(
            (h[j, i] * (1 - a) + h[j, i + 1] * a) * (1 - b)
            + (h[j + 1, i] * (1 - a) + h[j + 1, i + 1] * a) * b
        )

    def draw(self, w: World, **more) -> None:
        w.heightfield((*self.corner, 0.0), self.cell, self.heights, **more)


def _grid(corner, cell, ny, nx):
    """x (1, nx) and y (ny, 1) of the corners of a grid."""
    return (
        corner[0] + cell * np.arange(nx)[None, :],
        corner[1] + cell * np.arange(ny)[:, None],
    )


def _flat(x: float, y: float) -> float:
    return 0.0


def _spread(rng: Rng, n: int, place, apart: float, tries: int = 12) -> list[tuple[float, float]]:
    """Up to `n` points from ``place()``, each at least `apart` metres from the others."""
    found: list[tuple[float, float]] = []
    for _ in range(n):
        for _ in range(tries):
            x, y = place()
            if all((x - a) ** 2 + (y - b) ** 2 > apart**2 for a, b in found):
                found.append((x, y))
                break
    return found


# -- plants and stones -------------------------------------------------------------------------


def _bark(rng: Rng) -> Material:
    colour = _pick(rng, ("#6b5440", "#574636", "#7a6a58", "#4a3b30"))
    return _mat(rng, colour, "bark", color2="#2f261e", texture="bark", scale=0.12, bump=0.8,
                bump_scale=0.04)  # fmt: skip


def _leaf(rng: Rng, colour: str, cutout: float = 0.34, grain: float = 0.16) -> Material:
    dark = "#" + "".join(f"{int(int(colour[k : k + 2], 16) * 0.62):02x}" for k in (1, 3, 5))
    return _mat(
        rng, colour, "leaf", color2=dark, texture="leaves", scale=grain, bump=1.3,
        bump_scale=grain * 0.9, cutout=cutout, cutout_scale=grain * 1.5,
    )  # fmt: skip


def _tree(w: World, rng: Rng, at: Point, height: float, leaf: Material, bark: Material,
          bare: float = 0.35, lumps: int = 7, spread: float = 0.33) -> None:  # fmt: skip
    """A broad-leaved tree; `bare` is the share of its height that is trunk only."""
    with w.group(at, yaw=_u(rng, 0, 360), object="tree"):
        r = height * _u(rng, 0.02, 0.03) + 0.04
        fork = height * (bare + 0.12)
        lean = (_u(rng, -0.04, 0.04) * height, _u(rng, -0.04, 0.04) * height)
        w.rod((0, 0, -0.2), (*lean, fork), r, bark, part="trunk", end_radius=r * 0.7)
        w.cylinder((0, 0, -0.1), r * 1.7, 0.35, material=bark, part="trunk", top_radius=r)
        middle = height * (1 + bare) / 2
        for k in range(lumps):
            a = 2 * math.pi * (k + _u(rng, 0, 0.7)) / lumps
            out = height * spread * _u(rng, 0.35, 0.75) * (0.3 if k == 0 else 1)
            up = middle + height * (0.22 if k == 0 else _u(rng, -0.17, 0.17))
            c = (lean[0] + out * math.cos(a), lean[1] + out * math.sin(a), up)
            size = height * _u(rng, 0.13, 0.2) * (1.15 if k == 0 else 1)
            w.ellipsoid(
                c, (size * _u(rng, 0.95, 1.25), size, size * _u(rng, 0.75, 0.95)),
                yaw=math.degrees(a), material=leaf, part="foliage",
            )  # fmt: skip
            if k % 2:
                w.rod((*lean, fork * 0.95), c, r * 0.5, bark, part="branch", end_radius=r * 0.2)


def _pine(w: World, rng: Rng, at: Point, height: float, leaf: Material, bark: Material,
          tiers: int = 5, bare: float = 0.15, snow: Material | None = None) -> None:  # fmt: skip
    """A conifer of stacked skirts; `snow` lies on them where given."""
    with w.group(at, yaw=_u(rng, 0, 360), object="pine tree"):
        r = height * 0.018 + 0.04
        w.cylinder((0, 0, -0.3), r, height * 0.8, material=bark, part="trunk", top_radius=r * 0.4)
        wide = height * _u(rng, 0.17, 0.23)
        step = height * (1 - bare) / (tiers + 0.8)
        for k in range(tiers):
            t = k / tiers
            low = height * bare + step * k
            here = wide * (1 - t * 0.8) * _u(rng, 0.92, 1.08)
            w.cylinder(
                (_u(rng, -0.02, 0.02) * wide, _u(rng, -0.02, 0.02) * wide, low), here,
                step * 1.75, material=leaf, part="foliage", top_radius=here * 0.06,
            )  # fmt: skip
            if snow is not None:
                w.cylinder(
                    (0, 0, low + step * 0.62), here * 0.68, step * 1.2, material=snow,
                    part="foliage", top_radius=0.02,
                )  # fmt: skip


def _palm(w: World, rng: Rng, at: Point, height: float) -> None:
    bark = _mat(rng, "#8a7355", "bark", color2="#5e4c38", texture="strata", scale=0.22, bump=0.5)
    leaf = _mat(rng, "#5f8a36", "leaf", color2="#3f6426", texture="stripes", scale=0.08)
    with w.group(at, yaw=_u(rng, 0, 360), object="palm tree"):
        bend, r, last = height * _u(rng, 0.08, 0.28), 0.1 + height * 0.013, (0.0, 0.0, -0.2)
        for k in range(1, 6):
            t = k / 5
            point = (bend * t * t, 0.0, height * t)
            w.rod(last, point, r * (1.25 - 0.5 * (t - 0.2)), bark, part="trunk",
                  end_radius=r * (1.2 - 0.5 * t))  # fmt: skip
            last = point
        n = int(rng.integers(9, 13))
        for k in range(n):
            a, lift = 360 * k / n + _u(rng, -12, 12), _u(rng, -0.1, 0.45)
            reach = height * _u(rng, 0.16, 0.24) + 0.9
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
                    x, z, rise = x2, z2, rise - _u(rng, 0.5, 0.75)
        nut = _mat(rng, "#6a4a2c", "")
        for _ in range(int(rng.integers(0, 5))):
            w.ellipsoid(
                (last[0] + _u(rng, -0.25, 0.25), _u(rng, -0.25, 0.25), last[2] - 0.2), 0.14,
                material=nut, part="coconut",
            )  # fmt: skip


def _bush(w: World, rng: Rng, at: Point, size: float, leaf: Material, name: str = "bush") -> None:
    with w.group(at, yaw=_u(rng, 0, 360), object=name, part="foliage"):
        for _ in range(3):
            w.ellipsoid(
                (_u(rng, -0.4, 0.4) * size, _u(rng, -0.4, 0.4) * size, size * _u(rng, 0.3, 0.45)),
                (size * _u(rng, 0.4, 0.6), size * _u(rng, 0.4, 0.6), size * _u(rng, 0.4, 0.55)),
                material=leaf,
            )  # fmt: skip


def _fern(w: World, rng: Rng, at: Point, size: float, leaf: Material) -> None:
    with w.group(at, yaw=_u(rng, 0, 360), object="fern", part="frond"):
        n = int(rng.integers(6, 9))
        for k in range(n):
            with w.group(yaw=360 * k / n + _u(rng, -15, 15)):
                mid = (size * 0.5, 0.0, size * _u(rng, 0.4, 0.6))
                tip = (size * _u(rng, 0.9, 1.15), 0.0, size * _u(rng, 0.2, 0.4))
                for s in (-1, 1):
                    edge = (mid[0] * 0.95, s * size * 0.15, mid[2] - size * 0.06)
                    w.triangle((0, 0, 0), mid, edge, material=leaf)
                    w.triangle(mid, tip, edge, material=leaf)


def _rock(w: World, rng: Rng, at: Point, size: float, stone: Material, moss=None) -> None:
    with w.group(at, yaw=_u(rng, 0, 360), object="rock"):
        for k in range(2 if size > 0.5 else 1):
            s = size * (1.0 if k == 0 else _u(rng, 0.45, 0.7))
            off = 0.0 if k == 0 else size * 0.45
            high = s * _u(rng, 0.55, 0.85)
            w.soft(
                (off, off * 0.4, high * 0.28), (s * _u(rng, 1.0, 1.4), s, high),
                yaw=_u(rng, 0, 90), material=stone, power=4,
                pitch=_u(rng, -22, 22), roll=_u(rng, -22, 22),
            )  # fmt: skip
        if moss is not None:
            w.ellipsoid(
                (0, 0, size * 0.3), (size * 0.5, size * 0.42, size * 0.2),
                material=moss, object="moss",
            )  # fmt: skip


def _stone(rng: Rng, colour: str = "") -> Material:
    colour = colour or _pick(rng, ("#8a8780", "#77736c", "#9a9184", "#6c6d70"))
    return _mat(rng, colour, "stone", color2="#55524c", texture="noise", scale=0.25, bump=1.0,
                bump_scale=0.16)  # fmt: skip


def _flowers(w: World, rng: Rng, at: Point, n: int, spread: float) -> None:
    """A bed of flowers: soil, stems and heads in one or two colours."""
    soil = _mat(rng, "#4a3628", "soil", texture="noise", scale=0.1, bump=0.8)
    green = _leaf(rng, _pick(rng, GREENS), 0.3, 0.07)
    heads = [
        _mat(rng, _pick(rng, ("#d8324a", "#f0c020", "#e8e4f0", "#9a4ac0", "#f07a2a", "#e87aa8")), "")
        for _ in range(2)
    ]
    with w.group(at, yaw=_u(rng, 0, 360), object="flower"):
        w.ellipsoid((0, 0, 0), (spread * 1.15, spread * 0.75, 0.07), material=soil,
                    object="flower bed")  # fmt: skip
        w.ellipsoid((0, 0, 0.08), (spread, spread * 0.62, 0.2), material=green, part="leaf")
        for k in range(n):
            a, r = _u(rng, 0, 6.28), math.sqrt(_u(rng, 0, 1))
            w.ellipsoid(
                (spread * r * math.cos(a), spread * 0.6 * r * math.sin(a), _u(rng, 0.22, 0.36)),
                (0.085, 0.085, 0.06), material=heads[k % 2], part="petal",
            )  # fmt: skip


def _tree_line(w: World, rng: Rng, y: float, half: float, low: float, high: float, n: int,
               conifer: float = 0.2, z: float = 0.0) -> None:  # fmt: skip
    """A far edge of trees: few solids, no holes."""
    tones = [_leaf(rng, _pick(rng, GREENS), 0.0, 0.7) for _ in range(3)]
    bark = _bark(rng)
    for k in range(n):
        x = half * (2 * (k + _u(rng, 0.1, 0.9)) / n - 1)
        h, leaf, yy = _u(rng, low, high), tones[k % 3], y + _u(rng, -0.1, 0.15) * y
        if _chance(rng, conifer):
            _pine(w, rng, (x, yy, z), h * 1.25, leaf, bark, tiers=4, bare=0.08)
            continue
        with w.group((x, yy, z), object="tree"):
            w.cylinder((0, 0, -0.5), h * 0.03, h * 0.5, material=bark, part="trunk")
            for _ in range(3):
                w.ellipsoid(
                    (_u(rng, -0.2, 0.2) * h, _u(rng, -0.2, 0.2) * h, h * _u(rng, 0.45, 0.75)),
                    (h * _u(rng, 0.22, 0.34), h * 0.3, h * _u(rng, 0.2, 0.3)),
                    material=leaf, part="foliage",
                )  # fmt: skip


# -- people, animals and things ----------------------------------------------------------------


def _person(w: World, rng: Rng, at: Point, yaw: float, pose: str = "walk", bare: bool = False):
    """Somebody, 1.5 to 1.9 m tall, facing local −y; pose "walk", "stand" or "sit" (hips 0.45 m)."""
    skin = _mat(rng, _pick(rng, SKINS), "skin")
    top = skin if bare and _chance(rng, 0.5) else _mat(rng, _pick(rng, CLOTHES), "fabric", bump=0.2)
    low = _mat(rng, _pick(rng, CLOTHES), "fabric", bump=0.2)
    hair = _mat(rng, _pick(rng, ("#2a1d14", "#5a3c22", "#1a1614", "#b08a50", "#8a8a88")), "")
    with w.group(at, yaw=yaw, scale=_u(rng, 0.88, 1.08), object="person"):
        hip = 0.45 if pose == "sit" else 0.86
        stride = 0.0 if pose == "stand" else _u(rng, 0.1, 0.26)
        for s in (-1, 1):
            shin = skin if bare else low
            if pose == "sit":
                w.rod((s * 0.1, 0, hip), (s * 0.11, -0.42, hip + 0.02), 0.085, low, part="leg")
                w.rod((s * 0.11, -0.42, hip), (s * 0.11, -0.46, 0), 0.065, shin, part="leg")
            else:
                knee = (s * 0.1, -s * stride * 0.5, 0.46)
                w.rod((s * 0.09, 0, hip), knee, 0.09, low, part="leg", end_radius=0.07)
                w.rod(knee, (s * 0.1, -s * stride, 0.05), 0.07, shin, part="leg", end_radius=0.05)
                w.soft((s * 0.1, -s * stride - 0.05, 0.04), (0.1, 0.26, 0.09), material=hair,
                       object="shoes")  # fmt: skip
            arm = (s * 0.27, s * stride * 0.7 - 0.02, hip + 0.24)
            w.rod((s * 0.21, 0, hip + 0.54), arm, 0.055, top, part="arm")
            w.rod(arm, (s * 0.25, s * stride - 0.1, hip), 0.045, skin, part="arm",
                  end_radius=0.035)  # fmt: skip
        w.soft((0, 0, hip + 0.3), (0.42, 0.24, 0.66), material=top, part="torso", power=4)
        w.cylinder((0, 0, hip + 0.58), 0.055, 0.12, material=skin, part="head")
        w.ellipsoid((0, -0.01, hip + 0.77), (0.095, 0.11, 0.135), material=skin, part="head")
        w.ellipsoid((0, 0.025, hip + 0.81), (0.105, 0.11, 0.115), material=hair, part="hair")


def _bench(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A bench 1.8 m wide that faces local −y."""
    wood = _mat(rng, _pick(rng, ("#8a5f38", "#6f4a2c", "#4c6a48", "#9a7a54")), "wood",
                texture="wood", scale=0.15)  # fmt: skip
    iron = _mat(rng, "#2c2e30", "metal", gloss=0.3)
    with w.group(at, yaw=yaw, object="bench"):
        for k in range(3):
            w.box((0, -0.18 + 0.16 * k, 0.45), (1.8, 0.13, 0.04), material=wood, part="seat")
        for k in range(2):
            w.box((0, 0.24 + 0.05 * k, 0.64 + 0.18 * k), (1.8, 0.035, 0.14), roll=-14,
                  material=wood, part="backrest")  # fmt: skip
        for x in (-0.75, 0.75):
            for y in (-0.2, 0.18):
                w.box((x, y, 0.22), (0.06, 0.06, 0.44), material=iron, part="leg")
            w.rod((x, 0.18, 0.4), (x, 0.33, 0.9), 0.03, iron, part="leg")
            w.box((x, 0.0, 0.64), (0.05, 0.46, 0.04), material=iron, part="armrest")


def _car(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A car about 4.3 m long whose bow points to local +x; a hatchback, saloon, van or pick-up."""
    body = _mat(rng, _pick(rng, PAINTS), "metal", gloss=0.7)
    glass = _mat(rng, "#1c242c", "glass", gloss=0.9, mirror=0.15)
    tyre = _mat(rng, "#18181a", "rubber", bump=0.3)
    rim = _mat(rng, "#a8acb0", "metal", gloss=0.6)
    dark = _mat(rng, "#25272a", "plastic")
    lamp = _mat(rng, "#f4f2e4", "glass", gloss=0.8)
    rear = _mat(rng, "#a01818", "glass", gloss=0.8)
    kind = _pick(rng, ("hatch", "saloon", "saloon", "van", "pickup"))
    length, wide, high = _u(rng, 3.9, 4.6), _u(rng, 1.7, 1.85), _u(rng, 1.42, 1.6)
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
        low = [(a, -y * 0.95, belt - 0.06), (d, -y * 0.95, belt - 0.06),
               (d, y * 0.95, belt - 0.06), (a, y * 0.95, belt - 0.06)]  # fmt: skip
        top = [(b, -t, high - 0.06), (c, -t, high - 0.06), (c, t, high - 0.06), (b, t, high - 0.06)]
        _solid(w, low, top, glass, body, part="window", cap_part="roof")
        w.soft(((b + c) / 2, 0, high - 0.04), (c - b + 0.16, 2 * t + 0.08, 0.11), material=body,
               part="roof")  # fmt: skip
        for s in (-1, 1):  # posts between the windows
            for u in (0.0, 0.5, 1.0):
                w.rod((a + (d - a) * u, s * y * 0.96, belt - 0.05),
                      (b + (c - b) * u, s * t * 1.02, high - 0.05), 0.045, body,
                      part="car body")  # fmt: skip
            w.box((length * 0.485, s * y * 0.68, 0.7), (0.06, 0.34, 0.15), material=lamp,
                  part="headlight")  # fmt: skip
            w.box((-length * 0.485, s * y * 0.72, 0.74), (0.06, 0.28, 0.16), material=rear,
                  part="headlight")  # fmt: skip
            for x in (-0.31, 0.31):
                w.cylinder((x * length, s * (y - 0.2), 0.33), 0.33, 0.22, material=tyre,
                           part="wheel", axis=(0, s, 0))  # fmt: skip
                w.cylinder((x * length, s * (y + 0.005), 0.33), 0.2, 0.025, material=rim,
                           part="wheel", axis=(0, s, 0))  # fmt: skip
        for x in (-1, 1):
            w.box((x * length * 0.49, 0, 0.4), (0.1, wide * 0.86, 0.16), material=dark,
                  part="bumper")  # fmt: skip
            w.box((x * length * 0.505, 0, 0.5), (0.03, 0.5, 0.12), material=lamp,
                  part="license plate")  # fmt: skip


def _pole(w: World, rng: Rng, at: Point, yaw: float, height: float) -> None:
    """A street light whose arm reaches to local +x, or a lantern on a post when low."""
    metal = _mat(rng, _pick(rng, ("#3c4044", "#5a5f62", "#2c3a34")), "metal", gloss=0.3)
    glass = _mat(rng, "#f2ead0", "glass", gloss=0.5)
    with w.group(at, yaw=yaw, object="street light"):
        w.cylinder((0, 0, 0), 0.12, 0.9, material=metal, part="pole", top_radius=0.09)
        w.cylinder((0, 0, 0.5), 0.07, height - 0.5, material=metal, part="pole", top_radius=0.05)
        if height > 4.5:
            w.rod((0, 0, height - 0.05), (1.5, 0, height + 0.3), 0.04, metal, part="pole")
            w.soft((1.7, 0, height + 0.28), (0.7, 0.26, 0.16), material=metal, part="lamp head")
            w.box((1.7, 0, height + 0.2), (0.5, 0.2, 0.05), material=glass, part="lamp head")
        else:
            w.cylinder((0, 0, height), 0.12, 0.42, material=glass, part="lamp head",
                       top_radius=0.2)  # fmt: skip
            w.cylinder((0, 0, height + 0.42), 0.25, 0.18, material=metal, part="lamp head",
                       top_radius=0.03)  # fmt: skip


def _traffic_light(w: World, rng: Rng, at: Point, yaw: float, arm: float = 0.0) -> None:
    """Signals that face local −y, on the post or over the road at the end of an arm (+x)."""
    metal = _mat(rng, "#4a4e50", "metal", gloss=0.3)
    case = _mat(rng, _pick(rng, ("#1c1e1e", "#c9a020")), "metal")
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
                w.ellipsoid((x, -0.28, z + 0.34 - 0.34 * k), (0.13, 0.06, 0.13), material=glow,
                            part="signal")  # fmt: skip


def _sign(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A traffic sign that faces local −y."""
    metal = _mat(rng, "#8a8e90", "metal", gloss=0.3)
    white = _mat(rng, "#eceae4", "metal")
    face = _mat(rng, _pick(rng, ("#c01c1c", "#1c4aa0", "#e0b81c", "#1c6a3c")), "metal", gloss=0.2)
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
                w.triangle((-size, y, 2.32 - size * 0.58), (size, y, 2.32 - size * 0.58),
                           (0, y, 2.32 + size * 1.15), material=mat)  # fmt: skip


def _bin(w: World, rng: Rng, at: Point) -> None:
    mat = _mat(rng, _pick(rng, ("#2f4a38", "#3a3d40", "#4a6a8a", "#5a4a3a")), "metal", gloss=0.3)
    with w.group(at, object="trash can"):
        w.cylinder((0, 0, 0), 0.24, 0.8, material=mat, top_radius=0.29)
        w.cylinder((0, 0, 0.8), 0.3, 0.14, material=mat, part="lid", top_radius=0.16)


def _hydrant(w: World, rng: Rng, at: Point) -> None:
    red = _mat(rng, _pick(rng, ("#b02418", "#c8a020")), "metal", gloss=0.5)
    with w.group(at, object="fire hydrant"):
        w.cylinder((0, 0, 0), 0.18, 0.08, material=red)
        w.cylinder((0, 0, 0), 0.12, 0.6, material=red)
        w.ellipsoid((0, 0, 0.6), (0.14, 0.14, 0.12), material=red)
        w.rod((-0.24, 0, 0.42), (0.24, 0, 0.42), 0.065, red)


def _mailbox(w: World, rng: Rng, at: Point, yaw: float) -> None:
    mat = _mat(rng, _pick(rng, ("#1c3f86", "#b8201c", "#d8b020")), "metal", gloss=0.4)
    with w.group(at, yaw=yaw, object="mailbox"):
        w.box((0, 0, 0.62), (0.5, 0.46, 0.95), material=mat)
        w.cylinder((-0.25, 0, 1.09), 0.23, 0.5, material=mat, axis=(1, 0, 0))
        for x in (-0.2, 0.2):
            for y in (-0.18, 0.18):
                w.box((x, y, 0.08), (0.05, 0.05, 0.16), material=mat, part="leg")


def _fence(w: World, rng: Rng, start, end, height: float = 1.1, pickets: bool = False,
           ground: Callable = _flat) -> None:  # fmt: skip
    """A fence of posts and rails, or of pickets, between two points on the ground."""
    wood = _mat(rng, _pick(rng, ("#8a7358", "#e4e0d6", "#6b5138", "#9a9488")), "wood",
                texture="wood", scale=0.15)  # fmt: skip
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
                    w.rod(at((k - 1) / (n - 1), height * z), at(t, height * z), 0.04, wood,
                          part="rail")  # fmt: skip
        if pickets:
            yaw = math.degrees(math.atan2(end[1] - start[1], end[0] - start[0]))
            for k in range(int(length / 0.24)):
                x, y, z = at(k * 0.24 / length, height * 0.46)
                w.box((x, y, z), (0.1, 0.03, height * 0.92), yaw=yaw, material=wood, part="slat")


def _cow(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A cow that looks to local +x, grazing or with its head up."""
    kind = _pick(rng, (("#e6e0d4", "#1f1c1a"), ("#7a4a2c", "#e0d4c0"), ("#5f3a22", "#4c2e1c")))
    hide = _mat(rng, kind[0], "fur", color2=kind[1], texture="noise", scale=0.85, bump=0.2)
    plain = _mat(rng, kind[1] if kind[0] == "#e6e0d4" else kind[0], "fur")
    pink = _mat(rng, "#d8a898", "skin")
    bone = _mat(rng, "#d8ccb0", "")
    graze = _chance(rng, 0.45)
    with w.group(at, yaw=yaw, object="cow"):
        w.soft((0, 0, 1.0), (1.65, 0.64, 0.74), material=hide, part="torso", power=4)
        w.ellipsoid((0.55, 0, 1.1), (0.36, 0.3, 0.36), material=hide, part="torso")
        w.ellipsoid((-0.45, 0, 0.66), (0.2, 0.16, 0.12), material=pink, part="udder")
        for x in (-0.62, 0.58):
            for y in (-0.2, 0.2):
                w.rod((x, y, 0.85), (x + 0.03, y, 0.0), 0.1, hide, part="leg", end_radius=0.06)
        head = (1.2, 0.0, 0.4) if graze else (1.18, 0.0, 1.42)
        w.rod((0.72, 0, 1.15), head, 0.24, hide, part="head", end_radius=0.15)
        nose = (head[0] + 0.2, 0.0, head[2] - (0.22 if graze else 0.13))
        w.rod(head, nose, 0.17, plain, part="head", end_radius=0.11)
        w.ellipsoid(nose, (0.1, 0.11, 0.09), material=pink, part="head")
        for s in (-1, 1):
            w.ellipsoid((head[0] - 0.06, s * 0.24, head[2] + 0.06), (0.05, 0.13, 0.06),
                        material=plain, part="ear")  # fmt: skip
            w.rod((head[0], s * 0.1, head[2] + 0.12), (head[0] + 0.03, s * 0.2, head[2] + 0.3),
                  0.03, bone, part="horn", end_radius=0.008)  # fmt: skip
        w.rod((-0.8, 0, 1.25), (-0.9, 0, 0.6), 0.03, plain, part="tail")


def _tractor(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A tractor whose bow points to local +x."""
    paint = _mat(rng, _pick(rng, ("#b8201c", "#2c6a2c", "#1f4f9a", "#c8901c")), "metal", gloss=0.5)
    tyre = _mat(rng, "#1a1a1a", "rubber", bump=0.8, bump_scale=0.08)
    rim = _mat(rng, _pick(rng, ("#d8b81c", "#d8d4c8")), "metal", gloss=0.3)
    dark = _mat(rng, "#2a2c2e", "metal")
    glass = _mat(rng, "#26323a", "glass", gloss=0.8)
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
                w.cylinder((x, s * 0.55, r), r, wide, material=tyre, part="wheel",
                           axis=(0, s, 0))  # fmt: skip
                w.cylinder((x, s * (0.56 + wide), r), r * 0.55, 0.02, material=rim, part="wheel",
                           axis=(0, s, 0))  # fmt: skip


def _hull(w: World, rng: Rng, length: float, wide: float, side: float, paint: Material,
          deck: Material) -> None:  # fmt: skip
    """A boat's hull along local x, bow to +x, its waterline at z = 0, `side` metres high."""

    def ring(scale: float, z: float, lift: float):
        half = [(-0.5, 0.7), (-0.2, 1.0), (0.15, 0.95), (0.36, 0.55), (0.5, 0.0)]
        right = [
            (x * length * (0.92 + 0.08 * scale), -y * wide / 2 * scale,
             z + lift * max(0.0, x + 0.1) ** 2) for x, y in half
        ]  # fmt: skip
        return right + [(x, -y, z) for x, y, z in reversed(right[:-1])]

    with w.group(part="hull"):
        _solid(w, ring(0.62, -0.25, 0.0), ring(0.86, side * 0.45, 0.25 * side), paint, paint)
        rail = _mat(rng, "#e8e4da", "wood")
        _solid(w, ring(0.86, side * 0.45, 0.25 * side), ring(0.98, side * 0.85, 0.7 * side),
               paint, deck, part="hull", cap_part="deck")  # fmt: skip
        _solid(w, ring(0.98, side * 0.85, 0.7 * side), ring(1.02, side, 0.9 * side), rail, deck,
               part="hull", cap_part="deck")  # fmt: skip


def _boat(w: World, rng: Rng, at: Point, yaw: float, kind: str = "", size: float = 1.0) -> None:
    """A boat afloat (or beached): "sail", "fishing", "motor" or "row", 3.5 to 11 m long."""
    kind = kind or _pick(rng, ("sail", "sail", "fishing", "motor", "row"))
    paint = _mat(rng, _pick(rng, ("#e8e6e0", "#1f3f7a", "#8a2420", "#2c5a50", "#e8e6e0", "#c8a24a")),
                 "wood" if kind in ("row", "fishing") else "plastic", gloss=0.4)  # fmt: skip
    deck = _mat(rng, "#b08a5c", "wood", texture="planks", scale=0.14)
    white = _mat(rng, "#ece8de", "plastic", gloss=0.3)
    metal = _mat(rng, "#b4b8ba", "metal", gloss=0.5)
    glass = _mat(rng, "#1f2a32", "glass", gloss=0.9)
    with w.group(at, yaw=yaw, scale=size, object="boat"):
        if kind == "row":
            _hull(w, rng, 3.6, 1.4, 0.5, paint, deck)
            for x in (-0.9, 0.1):
                w.box((x, 0, 0.56), (0.3, 1.1, 0.05), material=deck, part="seat")
            for s in (-1, 1):
                w.rod((-0.3, s * 0.4, 0.62), (0.9, s * 1.3, 0.35), 0.03, deck, part="oar")
        elif kind == "motor":
            _hull(w, rng, 6.0, 2.2, 0.85, paint, white)
            _solid(w, [(-0.6, -0.8, 0.8), (1.3, -0.6, 0.8), (1.3, 0.6, 0.8), (-0.6, 0.8, 0.8)],
                   [(-0.5, -0.7, 1.6), (0.5, -0.5, 1.6), (0.5, 0.5, 1.6), (-0.5, 0.7, 1.6)],
                   glass, white, part="window", cap_part="cabin")  # fmt: skip
            w.box((-3.0, 0, 0.8), (0.4, 0.4, 0.8), material=glass, part="engine")
        elif kind == "fishing":
            _hull(w, rng, 9.0, 3.0, 1.3, paint, deck)
            w.box((-1.6, 0, 2.0), (2.4, 1.9, 1.9), material=white, part="cabin")
            w.box((-1.6, 0, 2.45), (2.44, 1.5, 0.5), material=glass, part="window")
            w.box((-1.6, 0, 2.45), (1.9, 1.94, 0.5), material=glass, part="window")
            w.box((-1.6, 0, 3.0), (2.8, 2.2, 0.14), material=paint, part="cabin")
            w.rod((0.6, 0, 1.2), (0.6, 0, 5.6), 0.09, deck, part="mast", end_radius=0.05)
            w.rod((0.6, 0, 1.8), (3.4, 0, 4.0), 0.06, deck, part="boom")
            w.rod((0.6, 0, 5.4), (4.3, 0, 1.6), 0.02, metal, part="rope")
            w.rod((0.6, 0, 5.4), (-4.2, 0, 1.4), 0.02, metal, part="rope")
        else:
            _hull(w, rng, 7.5, 2.3, 0.8, paint, deck)
            w.soft((0.3, 0, 1.0), (2.6, 1.3, 0.7), material=white, part="cabin", power=8)
            w.box((0.3, 0, 1.08), (1.8, 1.34, 0.18), material=glass, part="window")
            top = _u(rng, 8.5, 10.5)
            w.rod((0.6, 0, 0.6), (0.6, 0, top), 0.07, metal, part="mast", end_radius=0.04)
            w.rod((0.6, 0, 1.7), (-2.9, 0, 1.7), 0.06, metal, part="boom")
            cloth = _mat(rng, _pick(rng, ("#f0ece2", "#f0ece2", "#c04a2c", "#2c5a8a")), "fabric",
                         bump=0.2)  # fmt: skip
            if _chance(rng, 0.6):
                w.triangle((0.5, 0, 1.8), (-2.8, 0.25, 1.8), (0.5, 0, top - 0.3), material=cloth,
                           part="sail")  # fmt: skip
                w.triangle((0.75, 0, 1.3), (3.6, 0, 1.1), (0.65, 0, top * 0.85), material=cloth,
                           part="sail")  # fmt: skip
            else:
                w.rod((0.5, 0, 1.85), (-2.8, 0, 1.85), 0.14, cloth, part="sail")
                for x in (3.6, -3.5):
                    w.rod((0.6, 0, top), (x, 0, 0.9), 0.015, metal, part="rope")


def _crate(w: World, rng: Rng, at: Point, size: float, yaw: float) -> None:
    wood = _mat(rng, _pick(rng, ("#b08a58", "#96703f", "#c0a074")), "wood", texture="planks",
                scale=0.16)  # fmt: skip
    rim = _mat(rng, "#8a683c", "wood", texture="wood", scale=0.1)
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


def _barrel(w: World, rng: Rng, at: Point) -> None:
    side = _mat(rng, _pick(rng, ("#2c5a8a", "#8a2c20", "#7a5630")), "metal", gloss=0.3)
    with w.group(at, object="barrel"):
        w.cylinder((0, 0, 0), 0.3, 0.9, material=side)
        for z in (0.02, 0.3, 0.58, 0.84):
            w.cylinder((0, 0, z), 0.32, 0.05, material=side)


def _umbrella(w: World, rng: Rng, at: Point, lean: float, yaw: float) -> None:
    a = _mat(rng, _pick(rng, CLOTHES + ("#e05a2c", "#2c9ac0", "#f0d040")), "fabric")
    b = _mat(rng, _pick(rng, ("#f0ece0", "#f0ece0", "#e0c040", "#c03030")), "fabric")
    pole = _mat(rng, "#c8c4b8", "metal", gloss=0.4)
    with w.group(at, yaw=yaw, roll=lean, object="umbrella"):
        w.cylinder((0, 0, -0.3), 0.03, 2.6, material=pole, part="pole")
        n, r = 8, _u(rng, 1.15, 1.5)
        for k in range(n):
            c, d = 2 * math.pi * k / n, 2 * math.pi * (k + 1) / n
            p, q = (math.cos(c), math.sin(c)), (math.cos(d), math.sin(d))
            mat = a if k % 2 else b
            mid = [(0.55 * r * p[0], 0.55 * r * p[1], 2.14), (0.55 * r * q[0], 0.55 * r * q[1], 2.14)]
            rim = [(r * p[0], r * p[1], 1.8), (r * q[0], r * q[1], 1.8)]
            w.triangle((0, 0, 2.35), *mid, material=mat, part="canopy")
            w.triangle(mid[0], rim[0], rim[1], material=mat, part="canopy")
            w.triangle(mid[0], rim[1], mid[1], material=mat, part="canopy")


def _deck_chair(w: World, rng: Rng, at: Point, yaw: float) -> None:
    """A deck chair that faces local −y."""
    wood = _mat(rng, "#b08a58", "wood", texture="wood", scale=0.1)
    cloth = _mat(rng, _pick(rng, CLOTHES), "fabric", color2="#f0ece0", texture="stripes", scale=0.16)
    with w.group(at, yaw=yaw, object="deck chair"):
        w.quad((0, -0.2, 0.34), (0.56, 0.75), normal=(0, 0.25, 1), material=cloth, part="seat")
        w.quad((0, 0.42, 0.65), (0.56, 0.95), normal=(0, -0.8, 0.62), along=(1, 0, 0),
               material=cloth, part="backrest")  # fmt: skip
        for s in (-0.31, 0.31):
            w.rod((s, -0.62, 0.4), (s, 0.55, 0.0), 0.025, wood, part="leg")
            w.rod((s, -0.4, 0.0), (s, 0.75, 1.02), 0.025, wood, part="leg")
            w.rod((s, -0.5, 0.52), (s, 0.4, 0.56), 0.025, wood, part="armrest")
        w.rod((-0.31, 0.75, 1.02), (0.31, 0.75, 1.02), 0.025, wood, part="backrest")


def _towel(w: World, rng: Rng, at: Point, yaw: float) -> None:
    cloth = _mat(rng, _pick(rng, CLOTHES), "fabric", color2="#f0ece0",
                 texture=_pick(rng, ("stripes", "plaid", "plain")), scale=0.3, bump=0.3)  # fmt: skip
    with w.group(at, yaw=yaw, object="towel"):
        w.soft((0, 0, 0.03), (1.7, 0.85, 0.07), material=cloth, power=10)


def _slide(w: World, rng: Rng, at: Point, yaw: float) -> None:
    paint = _mat(rng, _pick(rng, ("#d03020", "#2c6ac0", "#e0b020", "#30904a")), "plastic", gloss=0.5)
    metal = _mat(rng, _pick(rng, ("#2c5a9a", "#c8a020", "#9a9ea0")), "metal", gloss=0.4)
    with w.group(at, yaw=yaw, object="slide"):
        w.box((0, 0, 1.95), (0.7, 0.8, 0.06), material=metal, part="platform")
        w.quad((1.45, 0, 1.15), (0.55, 2.75), normal=(0.65, 0, 1.0), along=(0, 1, 0),
               material=paint, part="chute")  # fmt: skip
        for s in (-0.3, 0.3):
            w.rod((0.3, s, 2.05), (2.6, s, 0.5), 0.08, paint, part="chute")
            w.rod((-0.3, s, 1.95), (-1.0, s, 0.0), 0.035, metal, part="ladder")
            for x in (-0.3, 0.3):
                w.rod((x, s, 0), (x, s, 2.7), 0.035, metal, part="pole")
        for k in range(6):
            t = (k + 0.5) / 6
            w.rod((-1.0 + 0.7 * t, -0.3, 1.95 * t), (-1.0 + 0.7 * t, 0.3, 1.95 * t), 0.025, metal,
                  part="ladder")  # fmt: skip
        w.box((0, -0.3, 2.5), (0.6, 0.03, 0.06), material=metal, part="rail")
        w.box((0, 0.3, 2.5), (0.6, 0.03, 0.06), material=metal, part="rail")


def _swing(w: World, rng: Rng, at: Point, yaw: float) -> None:
    metal = _mat(rng, _pick(rng, ("#b03020", "#2c6a9a", "#d0a020")), "metal", gloss=0.4)
    seat = _mat(rng, "#30343a", "plastic")
    with w.group(at, yaw=yaw, object="swing"):
        w.rod((-1.7, 0, 2.4), (1.7, 0, 2.4), 0.05, metal, part="pole")
        for x in (-1.7, 1.7):
            for y in (-0.8, 0.8):
                w.rod((x, 0, 2.4), (x, y, 0), 0.045, metal, part="pole")
        for x in (-0.7, 0.7):
            y = _u(rng, -0.4, 0.4)
            for s in (-0.22, 0.22):
                w.rod((x + s, 0, 2.4), (x + s, y, 0.55), 0.014, seat, part="chain")
            w.box((x, y, 0.53), (0.5, 0.2, 0.04), material=seat, part="seat")


def _fountain(w: World, rng: Rng, at: Point) -> None:
    stone = _mat(rng, _pick(rng, ("#b8b0a0", "#9c9a94", "#c8bca4")), "stone", texture="noise",
                 scale=0.3, bump=0.4)  # fmt: skip
    water = _water(rng, "#3a6a78", 0.25)
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


def _water(rng: Rng, colour: str, wave: float, still: float = 0.0) -> Material:
    """Water: `wave` is the length of its ripples in metres, `still` how much of a mirror it is."""
    return _mat(
        rng, colour, "water", gloss=0.95, mirror=still, texture="noise", scale=wave * 8,
        bump=0.35, bump_scale=wave,
    )  # fmt: skip


# -- buildings ---------------------------------------------------------------------------------


def _glass(rng: Rng) -> Material:
    return _mat(rng, _pick(rng, ("#26323c", "#1c242a", "#3a4650", "#4a4438")), "glass", gloss=0.9,
                mirror=0.12)  # fmt: skip


def _facade_wall(rng: Rng) -> Material:
    kind = int(rng.integers(4))
    if kind == 0:
        return _mat(rng, _pick(rng, ("#8a4430", "#a0583c", "#6f3a2c", "#b08060")), "brick",
                    color2="#b8ac9c", texture="bricks", scale=0.3, bump=0.3)  # fmt: skip
    if kind == 1:
        return _mat(rng, _pick(rng, ("#b0aca2", "#8f8d88", "#c4beb0")), "concrete", texture="noise",
                    color2="#8c8880", scale=1.2)  # fmt: skip
    return _mat(rng, _pick(rng, ("#d8c49a", "#c89a78", "#d8d0c0", "#a8b4a4", "#c8a8a0", "#9cacb8")),
                "plaster", texture="noise", scale=2.5, color2="#b0a890")  # fmt: skip


def _window(w: World, x: float, z: float, wide: float, high: float, frame: Material,
            glass: Material, near: bool) -> None:  # fmt: skip
    """A window in the wall y = 0 that faces −y."""
    w.box((x, -0.01, z), (wide + 0.2, 0.1, high + 0.2), material=frame, part="window")
    w.box((x, -0.04, z), (wide, 0.08, high), material=glass, part="window")
    if near:
        w.box((x, -0.06, z), (0.06, 0.08, high), material=frame, part="window")
        w.box((x, -0.06, z + high * 0.15), (wide, 0.08, 0.05), material=frame, part="window")
        w.box((x, -0.1, z - high / 2 - 0.1), (wide + 0.35, 0.26, 0.08), material=frame,
              part="window sill")  # fmt: skip


def _building(w: World, rng: Rng, width: float, depth: float, floors: int, near: bool,
              shop: float = 0.6) -> None:  # fmt: skip
    """A town house in the current group: its front from x = 0 to `width` at y = 0, facing −y."""
    wall, frame, glass = _facade_wall(rng), None, _glass(rng)
    frame = _mat(rng, _pick(rng, ("#e4e0d8", "#d8d2c4", "#4a4038", "#6a7a70")), "wood")
    trim = _mat(rng, _pick(rng, ("#c8c0b0", "#8a8478", "#dcd8cc", "#6a5a4c")), "stone")
    ground, level = _u(rng, 3.3, 4.0), _u(rng, 2.9, 3.4)
    high = ground + level * (floors - 1) + 0.6
    with w.group(object="building"):
        w.box((width / 2, depth / 2, high / 2), (width, depth, high), material=wall, part="wall")
        w.box((width / 2, depth / 2 - 0.15, high), (width + 0.1, depth + 0.5, 0.35), material=trim,
              part="roof")  # fmt: skip
        w.box((width / 2, -0.05, ground), (width, 0.22, 0.22), material=trim, part="wall")
        if _chance(rng, 0.35):
            slate = _mat(rng, _pick(rng, ("#5a4a44", "#8a4a34", "#4c5058")), "roof tile",
                         texture="strata", scale=0.3)  # fmt: skip
            _solid(w, [(0, 0, high), (width, 0, high), (width, depth, high), (0, depth, high)],
                   [(0.8, depth / 2, high + 2.6), (width - 0.8, depth / 2, high + 2.6),
                    (width - 0.8, depth / 2 + 0.1, high + 2.6), (0.8, depth / 2 + 0.1, high + 2.6)],
                   slate, part="roof")  # fmt: skip
        if _chance(rng, 0.4):
            w.box((width * _u(rng, 0.2, 0.8), depth * 0.4, high + 1.4), (0.9, 0.9, 2.8),
                  material=wall, part="chimney")  # fmt: skip
        columns = max(2, int(width / _u(rng, 2.3, 3.1)))
        wide, tall = width / columns * _u(rng, 0.4, 0.55), level * _u(rng, 0.48, 0.6)
        balcony = near and _chance(rng, 0.25)
        for f in range(floors - 1):
            for c in range(columns):
                x, z = width * (c + 0.5) / columns, ground + level * (f + 0.5)
                _window(w, x, z, wide, tall, frame, glass, near)
                if balcony and c % 2:
                    w.box((x, -0.45, z - tall / 2 - 0.12), (wide + 0.9, 0.9, 0.12), material=trim,
                          part="balcony")  # fmt: skip
                    w.box((x, -0.88, z - tall / 2 + 0.36), (wide + 0.9, 0.05, 0.9),
                          material=frame, part="balcony")  # fmt: skip
        wood = _mat(rng, _pick(rng, ("#5a3a26", "#2c4a3a", "#7a2c20", "#26384c", "#8a6a44")), "wood",
                    texture="panel", scale=0.5, gloss=0.2)  # fmt: skip
        knob = _mat(rng, "#b09040", "metal", gloss=0.7)
        door = width * _u(rng, 0.15, 0.85)
        w.box((door, -0.02, 1.2), (1.35, 0.12, 2.5), material=frame, part="door frame")
        w.box((door, -0.06, 1.13), (1.1, 0.1, 2.25), material=wood, part="door")
        w.ellipsoid((door + 0.42, -0.14, 1.05), 0.05, material=knob, part="door knob")
        if _chance(rng, shop):
            for low, far in ((0.3, door - 0.9), (door + 0.9, width - 0.3)):
                if far - low > 1.2:
                    x, wide2 = (low + far) / 2, far - low
                    w.box((x, -0.01, 1.55), (wide2, 0.12, 2.3), material=wood, part="shop window")
                    w.box((x, -0.05, 1.6), (wide2 - 0.2, 0.1, 1.9), material=glass,
                          part="shop window")  # fmt: skip
                    if near:
                        w.box((x, -0.08, 1.6), (0.07, 0.08, 1.9), material=wood,
                              part="shop window")  # fmt: skip
            board = _mat(rng, _pick(rng, PAINTS), "wood", color2="#e8e0c8", texture="lines",
                         scale=0.5)  # fmt: skip
            if _chance(rng, 0.6):
                cloth = _mat(rng, _pick(rng, CLOTHES), "fabric", color2="#f0ece0",
                             texture="stripes", scale=0.5)  # fmt: skip
                w.quad((width / 2, -0.65, 2.85), (width * 0.92, 1.45), normal=(0, -0.42, 0.9),
                       along=(1, 0, 0), material=cloth, object="awning")  # fmt: skip
                w.quad((width / 2, -1.3, 2.46), (width * 0.92, 0.24), normal=(0, -1, 0),
                       along=(1, 0, 0), material=cloth, object="awning")  # fmt: skip
            w.box((width / 2, -0.1, ground - 0.45), (width * 0.7, 0.1, 0.5), material=board,
                  object="sign")  # fmt: skip
        else:
            for c in range(columns):
                x = width * (c + 0.5) / columns
                if abs(x - door) > wide / 2 + 0.85:
                    _window(w, x, 1.75, wide, 1.4, frame, glass, near)


def _house(w: World, rng: Rng, at: Point, yaw: float, size=(6.0, 5.0, 2.6), kind="cabin") -> None:
    """A cabin, house or barn with a pitched roof; its door in the gable that faces local −y.

    size : width (x), depth (y) and height of the eaves, metres.
    """
    width, depth, eaves = size
    rise = width * _u(rng, 0.34, 0.5)
    planks = {"texture": "planks", "scale": 0.22 if kind != "barn" else 0.3}
    if kind == "barn":
        wall = _mat(rng, _pick(rng, ("#8f2a20", "#8f2a20", "#7a5a3c", "#a89c88")), "wood", **planks)
    elif kind == "cabin":
        wall = _mat(rng, _pick(rng, ("#6f4a2c", "#8a6238", "#553a26")), "wood",
                    texture="strata", scale=0.28, color2="#3c2818", bump=0.4)  # fmt: skip
    else:
        wall = _facade_wall(rng)
    tiles = _mat(rng, _pick(rng, ("#4c4a48", "#7a4030", "#5c5044", "#3c4a4c")),
                 "roof tile" if kind != "barn" else "metal", texture="strata", scale=0.3)  # fmt: skip
    white = _mat(rng, "#e4e0d6", "wood")
    glass = _glass(rng)
    door = _mat(rng, _pick(rng, ("#5a3420", "#2c4c3a", "#7a2a20", "#3c4a5c")), "wood",
                texture="planks", scale=0.2)  # fmt: skip
    name = {"barn": "barn", "cabin": "cabin"}.get(kind, "house")
    x, y, over = width / 2, depth / 2, 0.4
    with w.group(at, yaw=yaw, object=name):
        w.box((0, 0, eaves / 2 - 0.2), (width, depth, eaves + 0.4), material=wall, part="wall")
        for s in (-1, 1):
            w.triangle((-x, s * y, eaves), (x, s * y, eaves), (0, s * y, eaves + rise),
                       material=wall, part="wall")  # fmt: skip
            # Each half of the roof is a thin slab, so that its edge shows.
            run = math.hypot(x + over, rise * (x + over) / x)
            tilt = math.degrees(math.atan2(rise, x))
            w.box((s * (x + over) / 2, 0, eaves + rise - rise * (x + over) / x / 2 + 0.06),
                  (run, depth + 2 * over, 0.14), pitch=s * tilt, material=tiles,
                  part="roof")  # fmt: skip
        with w.group((0, -y, 0)):
            if kind == "barn":
                w.box((0, -0.03, eaves * 0.42), (width * 0.4, 0.1, eaves * 0.84), material=door,
                      part="barn door")  # fmt: skip
                a, b = width * 0.2, eaves * 0.84
                for p, q in (((-a, 0), (a, b)), ((-a, b), (a, 0)), ((-a, b), (a, b)),
                             ((-a, 0), (-a, b)), ((a, 0), (a, b)), ((0, 0), (0, b))):  # fmt: skip
                    w.rod((p[0], -0.09, p[1]), (q[0], -0.09, q[1]), 0.07, white, part="barn door")
                w.box((0, -0.04, eaves + rise * 0.4), (1.2, 0.1, 1.2), material=white, part="window")
                w.box((0, -0.07, eaves + rise * 0.4), (0.95, 0.1, 0.95), material=door,
                      part="window")  # fmt: skip
            else:
                w.box((-width * 0.12, -0.03, 1.03), (1.0, 0.1, 2.06), material=door, part="door")
                _window(w, width * 0.27, 1.5, 1.0, 1.0, white, glass, True)
                if width > 5:
                    _window(w, -width * 0.36, 1.5, 0.8, 1.0, white, glass, True)
                if eaves > 4:
                    for k in (-0.27, 0.27):
                        _window(w, k * width, 4.0, 1.0, 1.1, white, glass, True)
        for s in (-1, 1):  # windows in the long sides
            with w.group((s * x, 0, 0), yaw=90 * s):
                for k in (-0.28, 0.22):
                    _window(w, k * depth, min(1.6, eaves * 0.55), 0.9, 0.9, white, glass, False)
        if kind != "barn" and _chance(rng, 0.8):
            stone = _mat(rng, "#8a7a6c", "brick", texture="bricks", scale=0.3, color2="#b4a898")
            w.box((width * 0.24, depth * 0.15, eaves + rise * 0.75), (0.7, 0.7, rise * 1.3),
                  material=stone, part="chimney")  # fmt: skip


# -- scenes ------------------------------------------------------------------------------------


def street(rng: Rng) -> World:
    """A town street between rows of houses: cars, lights, signs, trees, people."""
    road = _u(rng, 6.5, 9.5)  # between the kerbs
    pave = _u(rng, 2.4, 4.0)
    edge = road / 2 + pave
    view = _pick(rng, ("along", "along", "across", "high"))
    if view == "along":
        x = _pick(rng, (_u(rng, -1.5, 1.5), _u(rng, road / 2 + 0.6, edge - 0.8),
                        -_u(rng, road / 2 + 0.6, edge - 0.8)))  # fmt: skip
        bearing = -x * _u(rng, 1.0, 3.0) + _u(rng, -8, 8)
        camera = _look((x, 0, _u(rng, 1.5, 2.1)), bearing, _u(rng, -3, 5), _u(rng, 50, 68))
    elif view == "across":
        s = _side(rng)
        camera = _look((s * (edge - 0.6), 0, _u(rng, 1.5, 2.0)), -s * _u(rng, 38, 62),
                       _u(rng, 0, 6), _u(rng, 55, 70))  # fmt: skip
    else:
        x = _u(rng, -3, 3)
        camera = _look((x, -4, _u(rng, 4.0, 6.5)), -x + _u(rng, -10, 10), _u(rng, -14, -6),
                       _u(rng, 50, 64))  # fmt: skip
    w = _open_air(rng, camera)
    tar = _mat(rng, _pick(rng, ("#58585a", "#4a4a4c", "#66645f")), "asphalt", color2="#39393b",
               texture="asphalt", scale=0.12, bump=0.2)  # fmt: skip
    if _chance(rng, 0.12):
        tar = _mat(rng, "#7a736a", "stone", color2="#4c4842", texture="bricks", scale=0.4, bump=0.5)
    slabs = _mat(rng, _pick(rng, ("#a8a49c", "#948f88", "#b09a88")), "concrete", color2="#77736c",
                 texture="tiles", scale=0.6)  # fmt: skip
    kerb = _mat(rng, "#b8b4ac", "stone")
    paint = _mat(rng, "#e4e2da", "paint", by=0.05)
    w.quad((0, 150, 0), (road + 0.2, 400), material=tar, object="road")
    w.ground(-0.05, 900, material=_mat(rng, "#7a7a6c", "soil"), object="ground")
    for s in (-1, 1):
        w.box((s * (road / 2 + pave / 2), 140, 0.02), (pave, 380, 0.24), material=slabs,
              object="sidewalk")  # fmt: skip
        w.box((s * (road / 2 + 0.08), 140, 0.03), (0.16, 380, 0.25), material=kerb,
              object="sidewalk", part="curb")  # fmt: skip
    zebra = _u(rng, 6, 16) if _chance(rng, 0.45) else None
    with w.group(object="road", part="lane mark"):
        if _chance(rng, 0.85):
            step, first = _u(rng, 4, 6), _u(rng, -4, 0)
            for k in range(14):
                y = first + step * k
                if zebra is None or abs(y - zebra) > 4:
                    w.quad((0, y, 0.006), (0.14, step * 0.5), material=paint)
        if zebra is not None:
            n = int(road / 1.0)
            for k in range(n):
                w.quad((road * ((k + 0.5) / n - 0.5), zebra, 0.006), (0.5, 2.8), material=paint)
    # Houses along both sides, up to where the haze takes them.
    gap = 0.15 if _chance(rng, 0.7) else _u(rng, 1.5, 4)
    base = int(rng.integers(2, 5))
    park_side = _side(rng) if _chance(rng, 0.15) else 0
    green = _pick(rng, AUTUMN if _chance(rng, 0.2) else GREENS)
    for s in (-1, 1):
        y = _u(rng, -12, -5)
        if s == park_side:
            _tree_line(w, rng, 24, 60, 6, 10, 9, 0.1)
            continue
        while y < 95:
            width = _u(rng, 7, 13)
            floors = max(1, base + int(rng.integers(-1, 3)))
            with w.group((s * edge, y + (width if s > 0 else 0), 0.1), yaw=-90 * s):
                _building(w, rng, width, 11, floors, near=y < 26)
            y += width + gap
    if _chance(rng, 0.6):  # the street bends or ends
        x = -14.0
        while x < 14:
            width = _u(rng, 7, 12)
            with w.group((x, 98 + _u(rng, 0, 6), 0)):
                _building(w, rng, width, 10, base + int(rng.integers(0, 3)), near=False)
            x += width
    else:
        _tree_line(w, rng, 120, 30, 8, 13, 8)
    for s in (-1, 1):  # parked cars and moving ones
        y = _u(rng, -1, 6)
        share = _u(rng, 0.1, 0.8)
        for _ in range(7):
            if _chance(rng, share) and not (zebra and abs(y - zebra) < 3.5):
                _car(w, rng, (s * (road / 2 - 1.05), y, 0), 90 if _chance(rng, 0.5) else -90)
            y += _u(rng, 5.3, 7)
        for _ in range(2):
            if _chance(rng, 0.4):
                _car(w, rng, (s * _u(rng, 1.0, 1.3), _u(rng, 11, 55), 0), 90 * s)
    lights = _side(rng)
    high = _u(rng, 5.5, 7.5) if _chance(rng, 0.7) else 3.6
    for k in range(5):
        _pole(w, rng, (lights * (road / 2 + 0.5), 5 + 17 * k + _u(rng, -1, 1), 0.12),
              180 if lights > 0 else 0, high)  # fmt: skip
    if zebra is not None or _chance(rng, 0.35):
        y = (zebra or _u(rng, 9, 16)) + 1.8
        for s in (-1, 1):
            arm = 3.2 if _chance(rng, 0.4) else 0.0
            yaw = 0 if s < 0 else 180
            if arm and s > 0:
                arm = 0.0
                yaw = 0
            _traffic_light(w, rng, (s * (road / 2 + 0.35), y, 0.12), yaw if s < 0 else 0, arm)
    if _chance(rng, 0.6):
        s, leaf, bark = -lights, _leaf(rng, green, 0.3, 0.2), _bark(rng)
        for k in range(5):
            _tree(w, rng, (s * (road / 2 + 0.8), 6 + 13 * k + _u(rng, -1.5, 1.5), 0.12),
                  _u(rng, 5, 8), leaf, bark, bare=0.3, lumps=6)  # fmt: skip
    for _ in range(int(rng.integers(0, 7))):
        s = _side(rng)
        if zebra is not None and _chance(rng, 0.3):
            _person(w, rng, (_u(rng, -road / 2, road / 2), zebra + _u(rng, -1, 1), 0), 90 * s)
        else:
            _person(w, rng, (s * _u(rng, road / 2 + 0.9, edge - 0.5), _u(rng, 4.5, 26), 0.13),
                    _pick(rng, (0, 180)) + _u(rng, -20, 20))  # fmt: skip
    for thing, share in ((_bin, 0.4), (_hydrant, 0.25), (_mailbox, 0.25), (_bench, 0.25)):
        if _chance(rng, share):
            s = _side(rng)
            at = (s * (edge - 0.7 if thing is not _hydrant else road / 2 + 0.5),
                  _u(rng, 5.5, 13), 0.13)  # fmt: skip
            thing(w, rng, at, -90.0 * s) if thing in (_mailbox, _bench) else thing(w, rng, at)
    for _ in range(int(rng.integers(0, 3))):
        s = _side(rng)
        _sign(w, rng, (s * (road / 2 + 0.4), _u(rng, 6, 20), 0.12), _u(rng, -25, 25))
    return w


def park(rng: Rng) -> World:
    """Lawn, winding path, trees, benches, flowers; often a pond, a fountain or a playground."""
    camera = _look((0, 0, _u(rng, 1.4, 2.3)), _u(rng, -14, 14), _u(rng, -7, 3), _u(rng, 52, 68))
    w = _open_air(rng, camera)
    green = _pick(rng, ("#5c8a34", "#4c7a30", "#6f9440", "#7a8f40"))
    turf = _mat(rng, green, "grass", color2="#3f6426", texture="grass", scale=0.22, bump=0.7,
                bump_scale=0.12)  # fmt: skip
    w.ground(0, 700, material=turf, object="lawn")
    autumn = _chance(rng, 0.2)
    tones = AUTUMN if autumn else GREENS
    leaves = [_leaf(rng, _pick(rng, tones), 0.34, 0.2) for _ in range(3)]
    bark = _bark(rng)
    _tree_line(w, rng, 55, 55, 7, 13, 16, 0.15)
    if _chance(rng, 0.3):  # the town behind
        for k in range(3):
            with w.group((-40 + 28 * k + _u(rng, -5, 5), 90, 0)):
                _building(w, rng, 16, 12, int(rng.integers(4, 9)), near=False, shop=0)
    # The path: overlapping discs along a curve, so that its borders are soft bends.
    sand = _mat(rng, _pick(rng, ("#b8a484", "#a89a86", "#c0a890", "#8c8a86")), "gravel",
                color2="#8c7a60", texture="noise", scale=0.25, bump=0.5)  # fmt: skip
    start, bend, drift = _u(rng, -2.2, 2.2), _u(rng, -5, 5), _u(rng, -0.25, 0.25)
    wide = _u(rng, 0.9, 1.6)

    def mid(y: float) -> float:
        return start + drift * y + bend * math.sin(y / 11.0) * min(1.0, y / 10)

    has_path = _chance(rng, 0.85)
    taken: list[tuple[float, float, float]] = []

    def free(x: float, y: float, r: float) -> bool:
        if has_path and abs(x - mid(y)) < wide + r * 0.7:
            return False
        return all((x - a) ** 2 + (y - b) ** 2 > (r + c) ** 2 for a, b, c in taken)

    def somewhere(near: float, far: float, r: float, keep: bool = True):
        for _ in range(25):
            y = _u(rng, near, far)
            x = _u(rng, -0.55, 0.55) * (y + 3)
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
    feature = _pick(rng, ("pond", "pond", "fountain", "playground", "playground", "none"))
    if feature == "pond" and (at := somewhere(12, 17, 5.5)):
        water = _water(rng, "#3a5a5c", 0.5, 0.45)
        rim = _stone(rng)
        r = _u(rng, 3.8, 5.2)
        w.disk((*at, 0.02), (r * 1.25, r * 0.8), material=water, object="pond")
        w.disk((at[0] - r * 0.6, at[1] + r * 0.25, 0.021), (r * 0.8, r * 0.6), material=water,
               object="pond")  # fmt: skip
        for k in range(15):
            a = 2 * math.pi * k / 15 + _u(rng, -0.1, 0.1)
            if _chance(rng, 0.75):
                _rock(w, rng, (at[0] + r * 1.3 * math.cos(a), at[1] + r * 0.86 * math.sin(a), 0),
                      _u(rng, 0.2, 0.45), rim)  # fmt: skip
        for _ in range(int(rng.integers(0, 4))):
            _duck(w, rng, (at[0] + _u(rng, -2, 2), at[1] + _u(rng, -1.5, 1.5), 0.03))
        if _chance(rng, 0.12):
            _boat(w, rng, (*at, 0.05), _u(rng, 0, 360), "row", 0.8)
    elif feature == "fountain" and (at := somewhere(8, 13, 2.6)):
        w.disk((*at, 0.011), (3.2, 3.2), material=sand, object="path")
        _fountain(w, rng, (*at, 0))
    elif feature == "playground":
        ground = _mat(rng, "#c8ac78", "sand", texture="noise", scale=0.2, bump=0.4)
        if at := somewhere(9, 13, 3.0):
            w.disk((*at, 0.01), (4.0, 3.0), material=ground, object="sandbox")
            _slide(w, rng, (*at, 0), _u(rng, -60, 240))
        if _chance(rng, 0.7) and (at := somewhere(9, 16, 2.2)):
            _swing(w, rng, (*at, 0), _u(rng, -40, 40))
    if has_path:
        for k in range(int(rng.integers(0, 4))):
            y, s = 5.5 + 5 * k + _u(rng, -1.0, 1.5), _side(rng)
            x = mid(y) + s * (wide + 0.9)
            if all((x - a) ** 2 + (y - b) ** 2 > (c + 0.6) ** 2 for a, b, c in taken):
                taken.append((x, y, 1.0))
                _bench(w, rng, (x, y, 0), -90 * s + _u(rng, -12, 12))
        if _chance(rng, 0.5):
            s = _side(rng)
            for k in range(3):
                y = 6 + 9 * k
                _pole(w, rng, (mid(y) + s * (wide + 0.5), y, 0), 0, 3.4)
    elif _chance(rng, 0.7) and (at := somewhere(5, 9, 1.2)):
        _bench(w, rng, (*at, 0), _u(rng, -60, 60))
    for _ in range(int(rng.integers(3, 9))):
        if at := somewhere(6.5, 30, 1.6):
            if _chance(rng, 0.15):
                _pine(w, rng, (*at, 0), _u(rng, 6, 10), _leaf(rng, "#35592a", 0.25, 0.2), bark)
            else:
                _tree(w, rng, (*at, 0), _u(rng, 5.5, 10), _pick(rng, leaves), bark,
                      bare=_u(rng, 0.2, 0.35), lumps=8)  # fmt: skip
    for _ in range(int(rng.integers(0, 4))):
        if at := somewhere(5, 14, 1.0):
            _flowers(w, rng, (*at, 0), 34, _u(rng, 0.8, 1.5))
    for _ in range(int(rng.integers(0, 6))):
        if at := somewhere(7, 28, 0.8):
            _bush(w, rng, (*at, 0), _u(rng, 0.8, 1.6), _pick(rng, leaves))
    for _ in range(int(rng.integers(0, 5))):
        if has_path and _chance(rng, 0.6):
            y = _u(rng, 6, 24)
            _person(w, rng, (mid(y) + _u(rng, -0.6, 0.6) * wide, y, 0), _pick(rng, (0, 180)))
        elif at := somewhere(6, 20, 0.4):
            _person(w, rng, (*at, 0), _u(rng, 0, 360), _pick(rng, ("walk", "stand")))
    if _chance(rng, 0.35):
        y = _u(rng, 24, 34)
        _fence(w, rng, (-26, y + _u(rng, -3, 3)), (26, y + _u(rng, -3, 3)), 1.1, ground=_flat)
    if _chance(rng, 0.35) and (at := somewhere(4.5, 9, 0.5)):
        _bin(w, rng, (*at, 0))
    if _chance(rng, 0.2) and (at := somewhere(4, 9, 0.3)):
        _ball(w, rng, (*at, 0.16), 0.16)
    if _chance(rng, 0.15) and (at := somewhere(5, 9, 1.0)):
        _towel(w, rng, (*at, 0), _u(rng, 0, 180))
    return w


def _duck(w: World, rng: Rng, at: Point) -> None:
    body = _mat(rng, _pick(rng, ("#e8e4d8", "#7a6248")), "feather")
    head = _mat(rng, _pick(rng, ("#e8e4d8", "#1f5a3c")), "feather")
    with w.group(at, yaw=_u(rng, 0, 360), object="duck"):
        w.ellipsoid((0, 0, 0.08), (0.26, 0.15, 0.13), material=body, part="body")
        w.ellipsoid((0.2, 0, 0.27), 0.085, material=head, part="head")
        w.cylinder((0.26, 0, 0.26), 0.03, 0.1, material=_mat(rng, "#d89a20", ""), part="beak",
                   axis=(1, 0, 0), top_radius=0.015)  # fmt: skip


def _ball(w: World, rng: Rng, at: Point, radius: float) -> None:
    mat = _mat(rng, _pick(rng, CLOTHES), "plastic", color2="#f0ece0", texture="stripes",
               scale=radius, gloss=0.4)  # fmt: skip
    w.ellipsoid(at, radius, yaw=_u(rng, 0, 180), pitch=_u(rng, 0, 90), material=mat, object="ball")


def beach(rng: Rng) -> World:
    """Sand that runs into the sea: umbrellas, towels, palms, rocks, boats, bathers."""
    shore = _u(rng, 9, 20)  # where the sand meets the water, straight ahead
    slant = _u(rng, -0.55, 0.55)
    camera = _look((0, 0, _u(rng, 2.2, 4.0)), _u(rng, -28, 28), _u(rng, -9, -1), _u(rng, 52, 68))
    w = _open_air(rng, camera, (0.55, 0.22, 0.13, 0.1), haze=0.4)
    corner, cell, ny, nx = (-45.0, -8.0), 0.6, 115, 150
    x, y = _grid(corner, cell, ny, nx)
    line = shore + slant * x + 2.0 * np.sin(x / 9.0 + _u(rng, 0, 6))
    depth = (line - y) / 10
    heights = np.clip(depth * 0.75, -1.2, 0.9) + 0.06 * np.clip(depth, 0, 6)
    rough = _fractal(rng, ny, nx, 9, 4) - 0.5
    heights = heights + rough * np.clip(0.14 + depth * 0.3, 0.03, 0.42)
    land = _Land(corner, cell, heights)
    eye = camera.eye
    lift = land(0, 0)
    w.camera = Camera(
        (eye[0], eye[1], eye[2] + lift),
        (*camera.target[:2], camera.target[2] + lift), camera.fov,
    )  # fmt: skip
    colour = _pick(rng, ("#dcc08c", "#e4cfa4", "#cdb48a", "#d8b878"))
    sand = _mat(rng, colour, "sand", color2="#b0925f", texture="noise", scale=0.35, bump=0.55,
                bump_scale=0.16)  # fmt: skip
    wet = _mat(rng, "#a0855c", "sand", color2="#7f6946", texture="noise", scale=0.6, gloss=0.55)
    kinds = (heights < 0.16 + 0.1 * rough).astype(np.uint8)
    land.draw(w, surfaces=[(sand, "sand", None), (wet, "sand", None)], kinds=kinds)
    tone = _pick(rng, ("#1f5a78", "#1f6a80", "#2a5068", "#2a8088"))
    sea = _water(rng, tone, _u(rng, 0.5, 1.0))
    deep = _water(rng, tone, 2.6)
    w.quad((0, 60, 0.0), (400, 160), material=sea, object="sea")
    w.quad((0, 1640, -0.02), (9000, 3000), material=deep, object="sea")
    foam = Material((0.86, 0.88, 0.88), "foam", cutout=0.42, cutout_scale=0.5, bump=0.5,
                    bump_scale=0.1)  # fmt: skip

    def edge(x: float) -> float:
        j = int(min(max((x - corner[0]) / cell, 0), nx - 1))
        column = heights[:, j]
        below = np.flatnonzero((column < 0.02) & (np.arange(ny) > 6))
        return corner[1] + cell * (below[0] if len(below) else ny - 1)

    # Surf: strips of foam along the water's edge and a few lines of breakers behind it.
    for row, (out, thick) in enumerate(((0.5, 1.3), (_u(rng, 4, 6), 0.7), (_u(rng, 9, 13), 0.5))):
        for k in range(26):
            a, b = -40 + 80 * k / 26, -40 + 80 * (k + 1) / 26
            if row and not _chance(rng, 0.6):
                continue
            p, q = edge(a) + out, edge(b) + out
            yaw = math.atan2(q - p, b - a)
            w.quad(((a + b) / 2, (p + q) / 2, 0.03 + 0.05 * row),
                   (math.hypot(b - a, q - p) * 1.12, thick), along=(math.cos(yaw), math.sin(yaw), 0),
                   material=foam, object="sea", part="foam")  # fmt: skip

    def on_sand(near: float, far: float, dry: float = 0.3):
        for _ in range(30):
            y = _u(rng, near, far)
            x = _u(rng, -0.62, 0.62) * (y + 2) + math.tan(math.radians(_bearing(w))) * y
            if land(x, y) > dry and abs(x) < 40:
                return x, y
        return None

    spots = []
    for _ in range(int(rng.integers(0, 5))):
        at = on_sand(5.5, shore + 6)
        if at and all((at[0] - a) ** 2 + (at[1] - b) ** 2 > 5 for a, b in spots):
            spots.append(at)
            z = land(*at)
            if _chance(rng, 0.75):
                _umbrella(w, rng, (*at, z), _u(rng, -14, 14), _u(rng, 0, 360))
            for k in range(int(rng.integers(0, 3))):
                px, py = at[0] + (1.2 if k else -1.1), at[1] + _u(rng, -0.7, 0.3)
                if _chance(rng, 0.45):
                    _deck_chair(w, rng, (px, py, land(px, py)), 180 + _u(rng, -35, 35))
                else:
                    _towel(w, rng, (px, py, land(px, py) + 0.03), 90 + _u(rng, -30, 30))
    for _ in range(int(rng.integers(0, 6))):
        if at := on_sand(6, shore + 10, -0.25):
            _person(w, rng, (*at, land(*at)), _u(rng, 0, 360), _pick(rng, ("walk", "stand")), True)
    if _chance(rng, 0.5):
        s = _side(rng)
        for _ in range(int(rng.integers(1, 5))):
            y = _u(rng, 5, 22)
            x = s * _u(rng, 0.4, 0.8) * (y + 2)
            if land(x, y) > 0.35:
                _palm(w, rng, (x, y, land(x, y)), _u(rng, 4.5, 9))
    if _chance(rng, 0.5):
        stone, s = _stone(rng), _side(rng)
        for _ in range(int(rng.integers(2, 9))):
            y = shore + _u(rng, -5, 6)
            x = s * _u(rng, 0.2, 0.65) * (y + 2)
            _rock(w, rng, (x, y, max(-0.2, land(x, y) - 0.1)), _u(rng, 0.4, 1.8), stone)
    for _ in range(int(rng.integers(0, 3))):
        y = _u(rng, shore + 22, 90)
        x = _u(rng, -0.5, 0.5) * y + math.tan(math.radians(_bearing(w))) * y
        _boat(w, rng, (x, y, 0), _u(rng, 0, 360), _pick(rng, ("sail", "sail", "motor", "fishing")))
    if _chance(rng, 0.18) and (at := on_sand(7, shore + 2)):
        _boat(w, rng, (*at, land(*at) + 0.15), _u(rng, 0, 360), "row")
    if _chance(rng, 0.35) and (at := on_sand(4, 9)):
        _ball(w, rng, (*at, land(*at) + 0.2), 0.2)
    if _chance(rng, 0.35):  # a headland or hills across the bay
        _far_hills(w, rng, _u(rng, 260, 420), _side(rng) * _u(rng, 60, 260), _u(rng, 120, 300),
                   _u(rng, 14, 40))  # fmt: skip
    if _chance(rng, 0.12):
        y = _u(rng, 26, 40)
        _pier(w, rng, (_u(rng, 0.2, 0.5) * y * _side(rng), shore - 2, 1.3), _u(rng, 25, 40), 2.4, 0)
    if _chance(rng, 0.08) and (at := on_sand(12, 18, 0.4)):
        _house(w, rng, (*at, land(*at)), _u(rng, -30, 30), (3.2, 3.0, 2.3), "cabin")
    return w


def _bearing(w: World) -> float:
    e, t = w.camera.eye, w.camera.target
    return math.degrees(math.atan2(t[0] - e[0], t[1] - e[1]))


def _far_hills(w: World, rng: Rng, y: float, x: float, wide: float, high: float,
               material: Material | None = None, name: str = "hill") -> None:  # fmt: skip
    """A ridge of hills across the view, `wide` metres to each side of `x`."""
    n = 90
    cell = 2 * wide / n
    ny = 24
    u = np.linspace(-1, 1, n)[None, :]
    v = np.linspace(-1, 1, ny)[:, None]
    shape = np.clip(1 - u**2, 0, 1) ** 0.7 * np.clip(1 - v**2, 0, 1)
    heights = high * shape * (0.45 + 0.9 * _fractal(rng, ny, n, 16, 4)) - 0.5
    wood = material or _mat(rng, _pick(rng, ("#4c6438", "#5c6a44", "#6f7450")), "grass",
                            color2="#36482a", texture="leaves", scale=5.0, bump=0.8,
                            bump_scale=3.0)  # fmt: skip
    w.heightfield((x - wide, y - ny * cell / 2, 0), cell, heights, material=wood, object=name)


def forest(rng: Rng) -> World:
    """Among trees: trunks near and far, needles or leaves, ferns, moss, logs, a path."""
    camera = _look((0, 0, _u(rng, 1.3, 2.1)), _u(rng, -10, 10), _u(rng, -5, 8), _u(rng, 55, 70))
    w = _open_air(rng, camera, (0.42, 0.16, 0.2, 0.22), haze=1.6)
    kind = _pick(rng, ("leaf", "leaf", "conifer", "mixed"))
    autumn = kind != "conifer" and _chance(rng, 0.25)
    tones = AUTUMN if autumn else ("#4a6f2c", "#3f6428", "#5a7c30", "#2f5426")
    floor = _mat(
        rng, _pick(rng, ("#5c4a30", "#6a4f30", "#4c5030")) if not autumn else "#8a5a30", "soil",
        color2=_pick(rng, ("#3c4a24", "#3a2c1c", "#4a5a2a")), texture="leaves", scale=0.22,
        bump=1.0, bump_scale=0.14,
    )  # fmt: skip
    corner, cell, ny, nx = (-30.0, -6.0), 1.0, 70, 61
    heights = 0.9 * (_fractal(rng, ny, nx, 12, 3) - 0.5)
    gx, gy = _grid(corner, cell, ny, nx)
    heights = heights * np.clip((np.hypot(gx, gy) - 2) / 10, 0, 1) + _u(rng, -0.01, 0.06) * gy
    land = _Land(corner, cell, heights)
    soil = _mat(rng, "#7a6248", "soil", color2="#5a4632", texture="noise", scale=0.3, bump=0.6)
    has_path = _chance(rng, 0.5)
    start, bend = _u(rng, -1, 1), _u(rng, -3.5, 3.5)

    def mid(y):
        return start + bend * np.sin(y / 9.0)

    kinds = np.zeros(heights.shape, np.uint8)
    land.draw(w, surfaces=[(floor, "ground", None)], kinds=kinds)
    if has_path:
        y = 0.5
        while y < 32:
            # Discs tilt with the land, or it would bury them.
            slope = (land(mid(y), y + 0.4) - land(mid(y), y - 0.4)) / 0.8
            side = (land(mid(y) + 0.4, y) - land(mid(y) - 0.4, y)) / 0.8
            w.disk((mid(y), y, land(mid(y), y) + 0.035), (0.75, 0.75), normal=(-side, -slope, 1),
                   material=soil, object="path")  # fmt: skip
            y += 0.42
    leaves = [_leaf(rng, _pick(rng, tones), 0.36, 0.22) for _ in range(3)]
    needles = [_leaf(rng, _pick(rng, ("#2f4f2c", "#3a5c34", "#274530")), 0.3, 0.16) for _ in "ab"]
    far = [_leaf(rng, _pick(rng, tones), 0.0, 0.8) for _ in range(3)]
    barks = [_bark(rng) for _ in range(2)]
    birch = _mat(rng, "#d4d0c4", "bark", color2="#3c3a36", texture="strata", scale=0.35, bump=0.3)
    moss = _mat(rng, "#5a7a2c", "moss", color2="#3f5a20", texture="leaves", scale=0.07, bump=1.0,
                bump_scale=0.05)  # fmt: skip

    def place(near, far_, open_=0.0):
        def draw():
            y = near + (far_ - near) * math.sqrt(_u(rng, 0, 1))
            while True:
                x = _u(rng, -0.75, 0.75) * (y + 3)
                if not has_path or abs(x - mid(y)) > 1.1 + open_:
                    return x, y
        return draw

    trunks = _spread(rng, int(rng.integers(26, 46)), place(3.5, 34, 0.2), 1.5)
    trunks.sort(key=lambda p: p[1])
    for k, (x, y) in enumerate(trunks):
        at = (x, y, land(x, y))
        conifer = kind == "conifer" or (kind == "mixed" and _chance(rng, 0.45))
        if conifer:
            tall = _u(rng, 9, 17)
            if y < 9 or _chance(rng, 0.3):  # old and bare below: the crown is out of sight
                _mast(w, rng, at, _u(rng, 13, 18), _pick(rng, barks), needles, y)
            else:
                _pine(w, rng, at, tall, _pick(rng, needles), barks[0], tiers=6, bare=0.1)
        elif y < 17:
            bark = birch if _chance(rng, 0.2) else _pick(rng, barks)
            _mast(w, rng, at, _u(rng, 8, 13), bark, leaves, y)
        else:
            _tree(w, rng, at, _u(rng, 8, 14), far[k % 3], _pick(rng, barks), bare=0.25, lumps=5)
    _tree_line(w, rng, 44, 36, 10, 18, 15, 0.7 if kind == "conifer" else 0.15, z=land(0, 44))
    _tree_line(w, rng, 36, 30, 5, 9, 10, 0.5 if kind == "conifer" else 0.1, z=land(0, 36))
    fern = _mat(rng, "#5f8a34", "leaf", color2="#3f6426", texture="stripes", scale=0.05)
    ferny = _u(rng, 0, 1)
    for x, y in _spread(rng, int(22 * ferny * ferny) + 1, place(2.8, 11), 0.7):
        _fern(w, rng, (x, y, land(x, y)), _u(rng, 0.4, 0.85), fern)
    for x, y in _spread(rng, int(rng.integers(2, 10)), place(6, 26), 1.2):
        _bush(w, rng, (x, y, land(x, y)), _u(rng, 0.5, 1.5), _pick(rng, leaves))
    if _chance(rng, 0.55):
        (x, y), a = place(4.5, 9, 0.6)(), _u(rng, -70, 70)
        r, half = _u(rng, 0.18, 0.38), _u(rng, 1.6, 3.4)
        dx, dy = half * math.cos(math.radians(a)), half * math.sin(math.radians(a))
        bark = barks[0]
        with w.group(object="log"):
            p = (x - dx, y - dy, land(x - dx, y - dy) + r * 0.8)
            q = (x + dx, y + dy, land(x + dx, y + dy) + r * 0.8)
            w.rod(p, q, r, bark, end_radius=r * 0.8)
            ring = _mat(rng, "#c09a68", "wood", color2="#8a6238", texture="noise", scale=0.1)
            for end, s in ((p, -1), (q, 1)):
                w.cylinder((end[0] + 0.01 * s * dx / half, end[1] + 0.01 * s * dy / half, end[2]),
                           r * 0.78, 0.012, material=ring, axis=(s * dx, s * dy, 0.0))  # fmt: skip
        if _chance(rng, 0.7):
            for t in (-0.45, 0.05, 0.5):
                w.ellipsoid((x + dx * t, y + dy * t, (p[2] + q[2]) / 2 + r * 0.55),
                            (half * 0.24, r * 0.7, r * 0.55), yaw=a, material=moss,
                            object="moss")  # fmt: skip
    stone = _stone(rng, "#77766e")
    for x, y in _spread(rng, int(rng.integers(0, 7)), place(4, 16, 0.3), 1.0):
        _rock(w, rng, (x, y, land(x, y)), _u(rng, 0.3, 1.1), stone,
              moss if _chance(rng, 0.6) else None)  # fmt: skip
    cap = _mat(rng, _pick(rng, ("#b0402a", "#9a6a3c", "#d0b080")), "")
    stem = _mat(rng, "#e0d8c4", "")
    for x, y in _spread(rng, int(rng.integers(0, 6)), place(3.0, 5.5), 0.3):
        with w.group((x, y, land(x, y)), scale=_u(rng, 0.7, 1.3), object="mushroom"):
            w.cylinder((0, 0, -0.05), 0.035, 0.2, material=stem, part="stem")
            w.ellipsoid((0, 0, 0.15), (0.12, 0.12, 0.07), material=cap, part="cap")
    if _chance(rng, 0.1):
        x, y = place(14, 20, 2)()
        _house(w, rng, (x, y, land(x, y)), _u(rng, -30, 30), (4.6, 4.2, 2.3), "cabin")
    if has_path and _chance(rng, 0.25):
        y = _u(rng, 6, 15)
        _person(w, rng, (float(mid(y)), y, land(float(mid(y)), y)), _pick(rng, (0, 180)))
    if has_path and _chance(rng, 0.1):
        _bench(w, rng, (float(mid(7)) + 1.6, 7, land(float(mid(7)) + 1.6, 7)), -70)
    w.exposure *= 1.05
    return w


def _mast(w: World, rng: Rng, at: Point, height: float, bark: Material, leaves, away: float):
    """A tall tree seen from below: a long trunk, stubs of branches, its crown high up."""
    with w.group(at, yaw=_u(rng, 0, 360), object="tree"):
        r = height * _u(rng, 0.013, 0.026)
        lean = (_u(rng, -0.03, 0.03) * height, _u(rng, -0.03, 0.03) * height)
        w.rod((0, 0, -0.3), (*lean, height * 0.8), r, bark, part="trunk", end_radius=r * 0.6)
        w.cylinder((0, 0, -0.2), r * 1.8, 0.5, material=bark, part="trunk", top_radius=r)
        for _ in range(int(rng.integers(2, 5))):
            a, t = _u(rng, 0, 6.28), _u(rng, 0.25, 0.6)
            out = height * _u(rng, 0.06, 0.16)
            base = (lean[0] * t, lean[1] * t, height * t * 0.8)
            tip = (base[0] + out * math.cos(a), base[1] + out * math.sin(a),
                   base[2] + out * _u(rng, 0.1, 0.7))  # fmt: skip
            w.rod(base, tip, r * 0.35, bark, part="branch", end_radius=r * 0.1)
            if _chance(rng, 0.65):
                size = height * _u(rng, 0.05, 0.1)
                w.ellipsoid(tip, (size * 1.3, size, size * 0.6), yaw=math.degrees(a),
                            material=_pick(rng, leaves), part="foliage")  # fmt: skip
        for k in range(4):
            a = 1.57 * k + _u(rng, -0.4, 0.4)
            out = height * _u(rng, 0.08, 0.2)
            size = height * _u(rng, 0.12, 0.18)
            w.ellipsoid(
                (lean[0] + out * math.cos(a), lean[1] + out * math.sin(a),
                 height * _u(rng, 0.62, 0.85)),
                (size * 1.2, size, size * 0.7), yaw=math.degrees(a),
                material=_pick(rng, leaves), part="foliage",
            )  # fmt: skip


def mountain(rng: Rng) -> World:
    """High peaks over meadow, lake and pines; snow above, sometimes down to the valley."""
    camera = _look((0, 0, _u(rng, 2.0, 6.0)), _u(rng, -12, 12), _u(rng, 2, 11), _u(rng, 44, 62))
    w = _open_air(rng, camera, (0.55, 0.2, 0.15, 0.1), haze=0.28)
    winter = _chance(rng, 0.22)
    cell, ny, nx = 5.0, 110, 190
    corner = (-475.0, 110.0)
    x, y = _grid(corner, cell, ny, nx)
    crest = _fractal(rng, ny, nx, 34, 6, ridged=True)
    broad = _fractal(rng, ny, nx, 60, 2)
    heights = np.zeros((ny, nx))
    for _ in range(int(rng.integers(2, 6))):
        px, py = _u(rng, -260, 260), _u(rng, 330, 520)
        high, reach = _u(rng, 110, 250), _u(rng, 150, 290)
        d = np.hypot(x - px, (y - py) * 1.1) / reach
        heights = np.maximum(heights, high * np.clip(1 - d, 0, 1) ** 1.25)
    heights = heights * (0.5 + 0.75 * crest) + 40 * broad * np.clip((y - 150) / 250, 0, 1)
    heights = heights * np.clip((y - 105) / 140, 0, 1) - 1.0
    slope = np.hypot(*np.gradient(heights, cell))
    line = _u(rng, 45, 120) if not winter else _u(rng, 5, 30)
    wander = 45 * (_fractal(rng, ny, nx, 10, 4) - 0.5)
    kinds = np.zeros(heights.shape, np.uint8)
    kinds[(heights + wander < line * 0.6) & (slope < 0.95)] = 1
    kinds[(heights + wander > line) & (slope < 1.35 + 0.004 * (heights - line))] = 2
    rock = _mat(rng, _pick(rng, ("#7a746c", "#6c6a6c", "#8a7a68", "#5f5f64")), "rock",
                color2="#4a4744", texture="strata", scale=14.0, bump=1.2, bump_scale=4.0)  # fmt: skip
    alp = _mat(rng, _pick(rng, ("#5a6f38", "#4c6438", "#6f7444")), "grass", color2="#34482a",
               texture="leaves", scale=6.0, bump=1.0, bump_scale=3.0)  # fmt: skip
    snow = _mat(rng, "#f0f3f8", "snow", by=0.03, color2="#d4deec", texture="noise", scale=20.0,
                bump=0.5, bump_scale=3.0)  # fmt: skip
    w.heightfield(
        (*corner, 0.0), cell, heights, kinds=kinds,
        surfaces=[(rock, "mountain", "slope"), (alp, "mountain", "slope"),
                  (snow, "mountain", "peak")],
    )  # fmt: skip
    near_snow = _mat(rng, "#eef1f6", "snow", by=0.03, texture="noise", scale=1.5, color2="#dce4ee",
                     bump=0.4, bump_scale=0.3)  # fmt: skip
    meadow = _mat(rng, _pick(rng, ("#6a8040", "#7a8248", "#557236")), "grass", color2="#4c5a2c",
                  texture="grass", scale=0.35, bump=0.8, bump_scale=0.2)  # fmt: skip
    ground = near_snow if winter else meadow
    name = "snow" if winter else "grass"
    c2, n2y, n2x = (-70.0, -6.0), 2.0, 70
    field = 2.6 * (_fractal(rng, n2y_ := 66, n2x, 14, 3) - 0.45)
    gx, gy = _grid(c2, n2y, n2y_, n2x)
    field = field * np.clip((np.hypot(gx, gy) - 4) / 12, 0, 1)
    lake = _chance(rng, 0.55)
    level = -0.9
    if lake:
        lx, ly = _u(rng, -14, 14), _u(rng, 48, 64)
        far = np.hypot((gx - lx) / _u(rng, 24, 40), (gy - ly) / _u(rng, 18, 26))
        field = np.where(far < 1.25, field * np.clip((far - 0.9) * 3, 0, 1)
                         - 2.2 * np.clip(1.25 - far, 0, 0.6) * 1.8, field)  # fmt: skip
    land = _Land(c2, n2y, field)
    w.camera = Camera(
        (0, 0, camera.eye[2] + land(0, 0)),
        (*camera.target[:2], camera.target[2] + land(0, 0)), camera.fov,
    )  # fmt: skip
    land.draw(w, material=ground, object=name)
    w.quad((0, 330, -2.3), (1600, 420), material=alp if not winter else snow, object="mountain",
           part="slope")  # fmt: skip
    if lake:
        water = _water(rng, "#2c5a6a", 0.7, _u(rng, 0.35, 0.75))
        w.quad((lx, ly, level), (150, 80), material=water, object="lake")
    needles = [_leaf(rng, _pick(rng, ("#2c4a2c", "#35563a", "#2a4434")), 0.22, 0.22) for _ in "ab"]
    distant = _leaf(rng, "#2c4630", 0.0, 0.6)
    bark, cover = _bark(rng), near_snow if winter or _chance(rng, 0.06) else None

    def dry(near, far_):
        for _ in range(20):
            y = _u(rng, near, far_)
            x = _u(rng, -0.55, 0.55) * (y + 4) + math.tan(math.radians(_bearing(w))) * y
            if abs(x) < 66 and (not lake or land(x, y) > level + 0.25):
                return x, y
        return None

    for _ in range(int(rng.integers(0, 14))):
        if at := dry(12, 42):
            _pine(w, rng, (*at, land(*at)), _u(rng, 4.5, 10), _pick(rng, needles), bark, 6, 0.08,
                  cover)  # fmt: skip
    edge_y = _u(rng, 84, 118)
    for k in range(int(rng.integers(10, 46))):
        a = _u(rng, -85, 85)
        y = edge_y + _u(rng, -6, 24)
        _pine(w, rng, (a, y, -1.6), _u(rng, 7, 14), distant, bark, 3, 0.05, None)
    stone = _stone(rng)
    for _ in range(int(rng.integers(0, 10))):
        if at := dry(5, 24):
            _rock(w, rng, (*at, land(*at)), _u(rng, 0.35, 1.7), stone)
    if _chance(rng, 0.4) and (at := dry(22, 42)):
        _house(w, rng, (*at, land(*at) - 0.1), _u(rng, -50, 50), (6.2, 5.4, 2.7), "cabin")
    if not winter:
        for _ in range(int(rng.integers(0, 4))):
            if _chance(rng, 0.5) and (at := dry(4.5, 9)):
                _flowers_wild(w, rng, at, land)
        if _chance(rng, 0.15):
            for _ in range(3):
                if at := dry(13, 28):
                    _cow(w, rng, (*at, land(*at)), _u(rng, 0, 360))
    if lake and _chance(rng, 0.3):
        _boat(w, rng, (lx + _u(rng, -6, 6), ly - 8, level), _u(rng, 0, 360),
              _pick(rng, ("row", "row", "sail")))  # fmt: skip
    if _chance(rng, 0.25) and (at := dry(7, 14)):
        _person(w, rng, (*at, land(*at)), _u(rng, 120, 240))
    if _chance(rng, 0.2):
        y = _u(rng, 12, 20)
        _fence(w, rng, (-22, y + _u(rng, -4, 4)), (22, y + _u(rng, -4, 4)), 1.0, ground=land)
    return w


def _flowers_wild(w: World, rng: Rng, at, land: Callable) -> None:
    """A loose patch of wild flowers on stems."""
    head = _mat(rng, _pick(rng, ("#e8c030", "#d8d4e8", "#9a5ab8", "#d04a5a")), "")
    stem = _mat(rng, "#55702c", "leaf")
    with w.group(object="flower"):
        for _ in range(16):
            x, y = at[0] + rng.normal(0, 0.7), at[1] + rng.normal(0, 0.5)
            z, h = land(x, y), _u(rng, 0.18, 0.34)
            w.rod((x, y, z), (x, y, z + h), 0.012, stem, part="stem")
            w.ellipsoid((x, y, z + h), (0.07, 0.07, 0.04), material=head, part="petal")


def farm(rng: Rng) -> World:
    """Fields in rows and pasture, a barn and silo, fences, a tractor, bales, cows."""
    camera = _look((0, 0, _u(rng, 1.7, 3.6)), _u(rng, -12, 12), _u(rng, -6, 3), _u(rng, 48, 64))
    w = _open_air(rng, camera, haze=0.6)
    pasture = _mat(rng, _pick(rng, ("#6f8a3c", "#5f7f36", "#8a9048", "#a09450")), "grass",
                   color2="#566a2c", texture="grass", scale=0.3, bump=0.7, bump_scale=0.15)  # fmt: skip
    w.ground(0, 900, material=pasture, object="grass")
    side = _side(rng)  # where the buildings stand
    ahead = math.tan(math.radians(_bearing(w)))
    crop = _pick(rng, ("rows", "rows", "wheat", "ploughed", "none"))
    far_y = _u(rng, 34, 60)
    x0, x1 = (-70.0, _u(rng, -1, 3)) if side > 0 else (-_u(rng, -1, 3), 70.0)
    if _chance(rng, 0.25):
        x0, x1 = -70.0, 70.0
    near_y = _u(rng, 3, 8)
    soil = _mat(rng, _pick(rng, ("#6a4c34", "#7a5c40", "#54402e")), "soil", color2="#3f2e22",
                texture="noise", scale=0.4, bump=1.0, bump_scale=0.15)  # fmt: skip
    turn = _u(rng, -14, 14)
    if crop != "none":
        with w.group((0, near_y, 0), yaw=turn, object="field"):
            width, length = x1 - x0, far_y - near_y
            colour = soil
            if crop == "wheat":
                colour = _mat(rng, "#c8a850", "straw", color2="#9a7c34", texture="grass",
                              scale=0.3, bump=1.0, bump_scale=0.1)  # fmt: skip
                w.box(((x0 + x1) / 2, length / 2, 0.25), (width, length, 0.5), material=colour)
            else:
                w.quad(((x0 + x1) / 2, length / 2, 0.015), (width, length), material=soil)
                gap = 0.95 if crop == "rows" else 0.75
                leaf = _mat(rng, _pick(rng, ("#5a8a30", "#6f9a3c", "#3f7030")), "leaf",
                            color2="#34561f", texture="leaves", scale=0.18, bump=1.2,
                            bump_scale=0.14, cutout=0.3, cutout_scale=0.2)  # fmt: skip
                tall = _u(rng, 0.18, 0.5)
                x = max(x0, -30.0) + 0.5
                while x < min(x1, 30.0):
                    if crop == "rows":
                        w.cylinder((x, 0, 0.05), tall * 0.85, length, material=leaf, part="crop",
                                   axis=(0, 1, 0))  # fmt: skip
                    else:
                        w.cylinder((x, 0, -0.1), 0.24, length, material=soil, part="furrow",
                                   axis=(0, 1, 0))  # fmt: skip
                    x += gap
    if _chance(rng, 0.85):
        bx = side * _u(rng, 6, 15) + ahead * 26
        by = _u(rng, 21, 36)
        yaw = -side * _u(rng, -12, 48)
        size = (_u(rng, 8, 11), _u(rng, 11, 17), _u(rng, 4.2, 5.6))
        _house(w, rng, (bx, by, 0), yaw, size, "barn")
        if _chance(rng, 0.6):
            _silo(w, rng, (bx + _side(rng) * (size[0] * 0.5 + 3.2), by + _u(rng, 0, 6), 0))
    if _chance(rng, 0.3):
        _house(w, rng, (-side * _u(rng, 8, 22) + ahead * 45, _u(rng, 48, 62), 0), _u(rng, -40, 40),
               (8, 9, 4.8), "house")  # fmt: skip
    green = [_leaf(rng, _pick(rng, GREENS), 0.3, 0.22) for _ in range(2)]
    bark = _bark(rng)
    for _ in range(int(rng.integers(0, 5))):
        y = _u(rng, 16, 50)
        _tree(w, rng, (_u(rng, -0.6, 0.6) * y + ahead * y, y, 0), _u(rng, 6, 11), _pick(rng, green),
              bark, bare=0.22, lumps=8)  # fmt: skip
    _tree_line(w, rng, _u(rng, 80, 130), 95, 6, 11, int(rng.integers(8, 22)), 0.1)
    if _chance(rng, 0.6):
        _far_hills(w, rng, 420, _u(rng, -150, 150), _u(rng, 300, 500), _u(rng, 16, 50))

    def spot(near, far_):
        y = _u(rng, near, far_)
        return side * _u(rng, -0.1, 0.5) * (y + 2) + ahead * y, y

    if _chance(rng, 0.7):
        y = _u(rng, 5, 12)
        a, b = (-0.5 * side, y), (side * 26, y + _u(rng, -1, 9))
        if _chance(rng, 0.35):
            a = (-side * 24, y + _u(rng, -1, 4))
        _fence(w, rng, a, b, _u(rng, 1.0, 1.35), ground=_flat)
    if _chance(rng, 0.5):
        at = spot(9, 17) if _chance(rng, 0.6) else (_u(rng, -7, 7), _u(rng, 11, 20))
        _tractor(w, rng, (*at, 0), _u(rng, 0, 360))
    hay = _mat(rng, "#c8a858", "straw", color2="#94763a", texture="grass", scale=0.25, bump=1.2,
               bump_scale=0.06)  # fmt: skip
    if _chance(rng, 0.55):
        round_ = _chance(rng, 0.65)
        for _ in range(int(rng.integers(1, 7))):
            at, a = spot(7, 30), _u(rng, 0, 360)
            if _chance(rng, 0.3):
                at = (_u(rng, -0.5, 0.5) * at[1] + ahead * at[1], at[1])
            with w.group((*at, 0), yaw=a, object="hay bale"):
                if round_:
                    w.cylinder((-0.6, 0, 0.68), 0.7, 1.2, material=hay, axis=(1, 0, 0))
                else:
                    for k in range(int(rng.integers(1, 4))):
                        w.soft((0.05 * k, 0, 0.28 + 0.5 * k), (1.15, 0.6, 0.52), material=hay,
                               power=12)  # fmt: skip
    if _chance(rng, 0.55):
        for x, y in _spread(rng, int(rng.integers(1, 6)), lambda: spot(7.5, 24), 2.2):
            _cow(w, rng, (x, y, 0), _u(rng, 0, 360))
    if _chance(rng, 0.2):
        _person(w, rng, (*spot(7, 14), 0), _u(rng, 0, 360), "stand")
    if _chance(rng, 0.12):
        _car(w, rng, (*spot(12, 20), 0), _u(rng, 0, 360))
    if _chance(rng, 0.15):
        at = spot(9, 16)
        water = _water(rng, "#4a6a70", 0.4, 0.4)
        w.disk((*at, 0.02), (3.4, 2.0), material=water, object="pond")
    return w


def _silo(w: World, rng: Rng, at: Point) -> None:
    wall = _mat(rng, _pick(rng, ("#b8bcbe", "#c8c4b8", "#9aa4ac")), "metal", color2="#8a8e90",
                texture="strata", scale=0.9, gloss=0.3)  # fmt: skip
    top = _mat(rng, _pick(rng, ("#d4d8da", "#8a3a2c", "#7a8a94")), "metal", gloss=0.4)
    r, h = _u(rng, 1.7, 2.5), _u(rng, 8, 13)
    with w.group(at, object="silo"):
        w.cylinder((0, 0, 0), r, h, material=wall, part="wall")
        for k in range(1, 6):
            w.cylinder((0, 0, h * k / 6), r + 0.04, 0.09, material=top, part="wall")
        if _chance(rng, 0.6):
            w.ellipsoid((0, 0, h), (r * 1.01, r * 1.01, r * 0.75), material=top, part="roof")
        else:
            w.cylinder((0, 0, h), r * 1.06, r * 0.8, material=top, part="roof", top_radius=0.15)
        for s in (-0.2, 0.2):
            w.rod((s, -r - 0.1, 0), (s, -r - 0.1, h), 0.03, top, part="ladder")


def harbor(rng: Rng) -> World:
    """Water between quay and piers: boats, crates, a crane, warehouses, a lighthouse."""
    camera = _look((0, 0, _u(rng, 2.8, 5.2)), _u(rng, -16, 16), _u(rng, -7, 1), _u(rng, 50, 66))
    w = _open_air(rng, camera, haze=0.5)
    ahead = math.tan(math.radians(_bearing(w)))
    tone = _pick(rng, ("#24485a", "#2c5560", "#33505a", "#2a4a68"))
    w.quad((0, 140, 0), (700, 330), material=_water(rng, tone, _u(rng, 0.5, 0.9), 0.2),
           object="water")  # fmt: skip
    w.quad((0, 2300, -0.02), (9000, 4000), material=_water(rng, tone, 2.4, 0.1), object="water")
    quay = _mat(rng, _pick(rng, ("#a09a90", "#8c8a86", "#b0a48c")), "concrete", color2="#77726a",
                texture=_pick(rng, ("tiles", "noise")), scale=1.6, bump=0.3)  # fmt: skip
    metal = _mat(rng, "#33373a", "metal", gloss=0.3)
    on_quay = _chance(rng, 0.75)
    front = _u(rng, 5.5, 9)
    top = 1.3
    if on_quay:
        w.box((0, front / 2 - 15, top - 2), (160, front + 30, 4), material=quay, object="quay")
        for k in range(-3, 4):
            x = 4.2 * k + _u(rng, -0.4, 0.4)
            with w.group((x, front - 0.6, top), object="bollard"):
                w.cylinder((0, 0, 0), 0.16, 0.42, material=metal)
                w.cylinder((0, 0, 0.42), 0.25, 0.12, material=metal)
        n = int(rng.integers(0, 7))
        for x, y in _spread(rng, n, lambda: (_u(rng, -0.62, 0.62) * front, _u(rng, 4.2, front - 1)),
                            1.15):  # fmt: skip
            size = _u(rng, 0.7, 1.1)
            if _chance(rng, 0.65):
                a = _u(rng, -25, 25)
                _crate(w, rng, (x, y, top), size, a)
                if _chance(rng, 0.35):
                    _crate(w, rng, (x + _u(rng, -0.1, 0.1), y, top + size), size * 0.8, a + 12)
            else:
                _barrel(w, rng, (x, y, top))
        if _chance(rng, 0.35):
            _person(w, rng, (_u(rng, -3.5, 3.5), _u(rng, 5, front - 0.6), top), _u(rng, 100, 260),
                    "stand")  # fmt: skip
        if _chance(rng, 0.25):
            _bench(w, rng, (_u(rng, -3, 3), front - 1.4, top), 180)
        if _chance(rng, 0.3):
            _pole(w, rng, (_u(rng, -4, 4), front - 0.8, top), _u(rng, 0, 360),
                  _pick(rng, (3.4, 5.5)))  # fmt: skip
        w.camera = Camera(
            (0, 0, camera.eye[2] + 0.6), (*camera.target[:2], camera.target[2] + 0.6), camera.fov
        )
    # Piers run out from this side, boats lie along them.
    piers = []
    for s in (-1, 1):
        if _chance(rng, 0.62):
            x = s * _u(rng, 4.5, 9) + ahead * 12
            length = _u(rng, 16, 30)
            y = front - 0.5 if on_quay else _u(rng, 4, 8)
            _pier(w, rng, (x, y, 1.15), length, _u(rng, 1.6, 2.6), _u(rng, -8, 8))
            piers.append((x, y, length))
    for x, y, length in piers:
        b = y + 3.5
        while b < y + length - 2:
            if _chance(rng, 0.6):
                _boat(w, rng, (x + _side(rng) * _u(rng, 2.7, 3.6), b, 0), 90 * _side(rng)
                      + _u(rng, -8, 8), "", _u(rng, 0.75, 1.0))  # fmt: skip
            b += _u(rng, 6.5, 9)
    clear = [p[0] for p in piers]
    for _ in range(int(rng.integers(1, 6))):
        y = _u(rng, 15, 60)
        x = _u(rng, -0.5, 0.5) * y + ahead * y
        if all(abs(x - c) > 6 or y > 45 for c in clear):
            _boat(w, rng, (x, y, 0), _u(rng, 0, 360))
    # The other side of the basin.
    far = _u(rng, 60, 95)
    if _chance(rng, 0.75):
        wide = _u(rng, 40, 90)
        mid = _u(rng, -20, 20) + ahead * far
        w.box((mid, far + 20, -0.5), (2 * wide, 40, 3.6), material=quay, object="quay")
        x = mid - wide + 2
        while x < mid + wide - 14:
            width = _u(rng, 8, 15)
            if _chance(rng, 0.78):
                with w.group((x, far + 3 + _u(rng, 0, 5), 1.3)):
                    if _chance(rng, 0.4):
                        _warehouse(w, rng, width)
                    else:
                        _building(w, rng, width, 10, int(rng.integers(2, 5)), near=False, shop=0.3)
            x += width + _u(rng, 0.2, 4)
        for _ in range(int(rng.integers(0, 3))):
            _crane(w, rng, (mid + _u(rng, -0.6, 0.6) * wide, far + 1.5, 1.3))
        for _ in range(int(rng.integers(0, 4))):
            _boat(w, rng, (mid + _u(rng, -0.8, 0.8) * wide, far - 3, 0), _pick(rng, (0, 180)), "",
                  1.2)  # fmt: skip
    if _chance(rng, 0.5):
        y, s = _u(rng, 45, 110), _side(rng)
        x = s * _u(rng, 0.15, 0.5) * y + ahead * y
        stone = _stone(rng, "#6f6c66")
        # A breakwater of boulders that ends below the light.
        for k in range(12):
            _rock(w, rng, (x + s * 2.6 * k + _u(rng, -1, 1), y + _u(rng, -1.5, 1.5), 0.1),
                  _u(rng, 2.2, 3.6), stone)  # fmt: skip
        _lighthouse(w, rng, (x, y, 0.8), _u(rng, 0.8, 1.2))
    elif _chance(rng, 0.5):
        _far_hills(w, rng, 420, _u(rng, -200, 200), _u(rng, 200, 450), _u(rng, 20, 60))
    if on_quay and _chance(rng, 0.2):
        s = _side(rng)
        _crane(w, rng, (s * _u(rng, 8, 11) + ahead * 20, front - 1 + 12, -0.5), 0.8)
    bird = _mat(rng, "#e8e8e4", "feather")
    for _ in range(int(rng.integers(0, 4))):
        y = _u(rng, 12, 30)
        at = (_u(rng, -0.4, 0.4) * y + ahead * y, y, _u(rng, 4, 11))
        with w.group(at, yaw=_u(rng, 0, 360), object="gull"):
            w.ellipsoid((0, 0, 0), (0.3, 0.1, 0.09), material=bird, part="body")
            for s in (-1, 1):
                w.triangle((0.12, 0, 0), (-0.12, 0, 0), (0, s * 0.4, 0.2), material=bird,
                           part="wing")  # fmt: skip
                w.triangle((0.08, s * 0.4, 0.2), (-0.1, s * 0.36, 0.18), (-0.16, s * 0.85, 0.1),
                           material=bird, part="wing")  # fmt: skip
    return w


def _pier(w: World, rng: Rng, at: Point, length: float, wide: float, yaw: float) -> None:
    """A wooden pier whose deck lies at `at`'s height; it runs along local +y."""
    deck = _mat(rng, _pick(rng, ("#8f7452", "#a08a68", "#7a6a58")), "wood", texture="stripes",
                color2="#5c4a36", scale=0.3, bump=0.4)  # fmt: skip
    wood = _mat(rng, "#5f4a36", "wood", texture="bark", scale=0.15, bump=0.5)
    rails = _chance(rng, 0.3)
    with w.group(at, yaw=yaw, object="pier"):
        with w.group((0, length / 2, 0), yaw=90):  # boards lie across
            w.box((0, 0, -0.06), (length, wide, 0.12), material=deck, part="plank")
        for s in (-1, 1):
            w.box((s * wide * 0.45, length / 2, -0.2), (0.14, length, 0.22), material=wood,
                  part="beam")  # fmt: skip
            last = None
            for k in range(int(length / 2.8) + 1):
                y = 0.2 + 2.8 * k
                high = 1.0 if rails else 0.35
                w.cylinder((s * (wide / 2 - 0.02), y, -at[2] - 1.0), 0.13, at[2] + 1.0 + high,
                           material=wood, part="post")  # fmt: skip
                if rails and last is not None:
                    w.rod((s * wide / 2, last, 0.92), (s * wide / 2, y, 0.92), 0.045, wood,
                          part="rail")  # fmt: skip
                last = y


def _warehouse(w: World, rng: Rng, width: float) -> None:
    wall = _mat(rng, _pick(rng, ("#8a4a38", "#7a8a94", "#a89a80", "#5a6a74")), "brick",
                texture=_pick(rng, ("bricks", "stripes")), scale=0.5)  # fmt: skip
    roof = _mat(rng, "#5c5e60", "metal", texture="strata", scale=0.4)
    door = _mat(rng, _pick(rng, ("#3c5a4a", "#8a6a3c", "#4a5a7a")), "metal", texture="stripes",
                scale=0.4)  # fmt: skip
    glass = _glass(rng)
    high = _u(rng, 4.5, 7)
    with w.group(object="warehouse"):
        w.box((width / 2, 6, high / 2), (width, 12, high), material=wall, part="wall")
        for a, b in (((0, 0), (width / 2, 0)), ((width, 0), (width / 2, 0))):
            w.triangle((a[0], 0, high), (b[0], 0, high), (width / 2, 0, high + 1.8), material=wall,
                       part="wall")  # fmt: skip
        for s in (0.0, width):
            w.triangle((s, -0.3, high), (width / 2, -0.3, high + 1.85), (width / 2, 12, high + 1.85),
                       material=roof, part="roof")  # fmt: skip
            w.triangle((s, -0.3, high), (width / 2, 12, high + 1.85), (s, 12, high), material=roof,
                       part="roof")  # fmt: skip
        w.box((width / 2, -0.03, 1.7), (width * 0.36, 0.1, 3.4), material=door, part="door")
        for x in (0.16, 0.84):
            w.box((x * width, -0.03, high * 0.66), (width * 0.14, 0.1, 1.1), material=glass,
                  part="window")  # fmt: skip


def _crane(w: World, rng: Rng, at: Point, size: float = 1.0) -> None:
    """A gantry crane on four legs, its boom up and out."""
    paint = _mat(rng, _pick(rng, ("#c8901c", "#b0301f", "#2c5a8a", "#d0c8b0")), "metal", gloss=0.2)
    dark = _mat(rng, "#2c2e30", "metal")
    with w.group(at, yaw=_u(rng, -50, 50), scale=size, object="crane"):
        for x in (-2.4, 2.4):
            for y in (-2.0, 2.0):
                w.rod((x, y, 0), (x * 0.6, y * 0.6, 8), 0.24, paint, part="leg")
            w.rod((x * 0.93, -1.9, 1.2), (x * 0.7, 1.4, 6), 0.12, paint, part="leg")
        w.box((0, 0, 8.2), (4.0, 3.4, 0.6), material=paint, part="platform")
        w.box((-0.8, 0, 9.7), (3.4, 2.4, 2.4), material=paint, part="cab")
        w.box((0.95, -0.6, 9.6), (0.2, 1.0, 1.2), material=dark, part="window")
        reach, up = _u(rng, 11, 15), _u(rng, 7, 12)
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


def _lighthouse(w: World, rng: Rng, at: Point, size: float) -> None:
    white = _mat(rng, "#ece8de", "plaster", by=0.04)
    band = _mat(rng, _pick(rng, ("#b0241c", "#b0241c", "#26384c", "#ece8de")), "plaster")
    stone = _mat(rng, "#8a857c", "stone", texture="bricks", scale=0.8)
    glass = _mat(rng, "#f4e8b0", "glass", gloss=0.8)
    dark = _mat(rng, _pick(rng, ("#a0241c", "#2c3036")), "metal", gloss=0.3)
    with w.group(at, scale=size, object="lighthouse"):
        w.cylinder((0, 0, -1.0), 3.0, 2.0, material=stone, part="base")
        n, high = 5, 14.0
        for k in range(n):
            r0, r1 = 2.0 - 0.8 * k / n, 2.0 - 0.8 * (k + 1) / n
            w.cylinder((0, 0, 1 + high * k / n), r0, high / n, material=band if k % 2 else white,
                       part="tower", top_radius=r1)  # fmt: skip
        w.cylinder((0, 0, 15), 1.8, 0.25, material=dark, part="balcony")
        w.cylinder((0, 0, 15.2), 0.95, 1.7, material=glass, part="lantern")
        for k in range(8):
            a = 2 * math.pi * k / 8
            c, s = math.cos(a), math.sin(a)
            w.rod((1.7 * c, 1.7 * s, 15.2), (1.7 * c, 1.7 * s, 16.1), 0.05, dark, part="balcony")
            w.rod((c, s, 15.2), (c, s, 16.9), 0.06, dark, part="lantern")
        w.cylinder((0, 0, 16.9), 1.25, 1.1, material=dark, part="roof", top_radius=0.1)
        door = _mat(rng, "#4a3422", "wood")
        w.box((0.3, -1.95, 1.9), (0.9, 0.25, 1.9), material=door, part="door")
        for z in (5.0, 9.5):
            w.box((0.2, -1.72 + 0.055 * (z - 3), z), (0.5, 0.3, 0.8), material=door, part="window")


SCENES: dict[str, Callable[[Rng], World]] = {
    "street": street,
    "park": park,
    "beach": beach,
    "forest": forest,
    "mountain": mountain,
    "farm": farm,
    "harbor": harbor,
}
"""The outdoor scenes by name."""
