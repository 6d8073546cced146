"""What outdoor scenes are put together with: chance, tints, weather, terrain, lofted bodies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from core.rooms.drawing.tracer import (
    Camera,
    Material,
    Sky,
    World,
    srgb,
)

Rng = np.random.Generator
Point = tuple[float, float, float]

GREENS = ("#4f7a2c", "#3f6b2a", "#5f8534", "#476f3a", "#6a8a3c", "#35592a")
AUTUMN = ("#b8742a", "#a9502a", "#c09a35", "#8f4a26", "#7f7a34")
PAINTS = (
    "#a31f1f",
    "#1f3f7a",
    "#e8e6e0",
    "#20242a",
    "#8c9096",
    "#2f5a3c",
    "#c9a227",
    "#5a2d4c",
    "#b8bcc0",
    "#3a6ea5",
    "#7a2f1f",
)
CLOTHES = (
    "#b03a3a",
    "#2c4a7c",
    "#d8d4c8",
    "#2b2b30",
    "#4c7a4a",
    "#c98a2c",
    "#7a4a86",
    "#8a8f98",
    "#d06a8a",
    "#3a8a96",
)
SKINS = ("#e8b898", "#c68a62", "#8d5a3a", "#5c3a28", "#f0c8ac")


def uni(rng: Rng, low: float, high: float) -> float:
    return float(rng.uniform(low, high))


def chance(rng: Rng, share: float) -> bool:
    return bool(rng.random() < share)


def pick(rng: Rng, options: Sequence):
    return options[int(rng.integers(len(options)))]


def either(rng: Rng) -> int:
    return 1 if rng.random() < 0.5 else -1


def tinted(rng: Rng, colour: str, concept: str, by: float = 0.12, color2=None, **more) -> Material:
    """A material of about that sRGB colour: lighter or darker by up to `by`, hue by half of it."""
    k = uni(rng, 1 - by, 1 + by)
    drift = [k * uni(rng, 1 - by / 2, 1 + by / 2) for _ in range(3)]

    def shade(c: str):
        return tuple(min(0.95, v * d) for v, d in zip(srgb(c), drift, strict=True))

    second = None if color2 is None else shade(color2)
    return Material(shade(colour), concept, color2=second, seed=uni(rng, 0, 50), **more)


def looking(eye: Point, bearing: float, pitch: float, fov: float, roll: float = 0.0) -> Camera:
    """A camera at `eye`; bearing 0 is +y and grows to the right, pitch is upwards, degrees."""
    a, b = math.radians(bearing), math.radians(pitch)
    d = (math.sin(a) * math.cos(b), math.cos(a) * math.cos(b), math.sin(b))
    return Camera(eye, tuple(eye[k] + 10 * d[k] for k in range(3)), fov, roll)


def open_air(rng: Rng, camera: Camera, weights=(0.5, 0.2, 0.2, 0.1), haze: float = 1.0) -> World:
    """A world under a sky: clear, low sun, overcast or misty by `weights`. `haze` scales the air's
    thickness: about 1 where things are 5 to 100 m away, less for wide views."""
    kind = ("clear", "low", "overcast", "mist")[int(rng.choice(4, p=weights))]
    forward = math.atan2(camera.target[0] - camera.eye[0], camera.target[1] - camera.eye[1])
    # Behind the camera or from the sides; straight into the lens only seldom.
    away = forward + math.radians(180 + rng.normal(0, 62))
    if kind == "clear":
        height, colour, strength, size = (
            uni(rng, 32, 66),
            (1.0, 0.94, 0.84),
            uni(rng, 2.6, 3.3),
            0.02,
        )
        blue = uni(rng, 0.75, 1.1)
        sky = Sky((0.13 * blue, 0.29 * blue, 0.68), (0.55, 0.72, 0.9), clouds=uni(rng, 0.05, 0.6))
        ambient, thick = (0.30, 0.36, 0.44), uni(rng, 0.0004, 0.002)
    elif kind == "low":
        height, colour, strength, size = (
            uni(rng, 10, 24),
            (1.0, 0.68, 0.4),
            uni(rng, 2.2, 3.0),
            0.03,
        )
        warm = uni(rng, 0.7, 1.1)
        sky = Sky(
            (0.2, 0.3, 0.55),
            (0.9, 0.66 * warm, 0.45 * warm),
            clouds=uni(rng, 0.1, 0.55),
            cloud_color=(0.95, 0.76, 0.66),
            glow=0.8,
        )
        ambient, thick = (0.32, 0.3, 0.32), uni(rng, 0.001, 0.004)
    elif kind == "overcast":
        height, colour, strength, size = (
            uni(rng, 40, 70),
            (1.0, 0.98, 0.95),
            uni(rng, 0.4, 0.9),
            0.3,
        )
        grey = uni(rng, 0.75, 1.05)
        sky = Sky(
            (0.55 * grey, 0.59 * grey, 0.65 * grey),
            (0.72 * grey, 0.75 * grey, 0.78 * grey),
            clouds=uni(rng, 0.6, 0.95),
            cloud_color=(0.8 * grey, 0.81 * grey, 0.83 * grey),
            glow=0.1,
        )
        ambient, thick = (0.42, 0.44, 0.46), uni(rng, 0.001, 0.005)
    else:
        height, colour, strength, size = (
            uni(rng, 15, 45),
            (1.0, 0.9, 0.76),
            uni(rng, 1.2, 2.0),
            0.12,
        )
        sky = Sky(
            (0.46, 0.56, 0.7),
            (0.8, 0.8, 0.78),
            clouds=uni(rng, 0.0, 0.3),
            glow=0.6,
        )
        ambient, thick = (0.42, 0.43, 0.43), uni(rng, 0.005, 0.011)
    # What reflections meet below the horizon is more water or meadow, never the void.
    sky = replace(sky, below=tuple(0.75 * v for v in sky.horizon))
    h = math.radians(height)
    sun = (math.sin(away) * math.cos(h), math.cos(away) * math.cos(h), math.sin(h))
    world = World(
        rng,
        camera,
        (sun, colour, strength),
        ambient,
        sky,
        thick * haze,
        ambient_distance=2.5,
        sun_size=size,
    )
    world.exposure = uni(rng, 0.85, 1.2)
    return world


def loft(
    w: World,
    bottom,
    top,
    sides: Material,
    cap: Material | None = None,
    part=None,
    cap_part=None,
    base: bool = False,
) -> None:
    """A body uni two polygons with the same number of corners: hulls, roofs, cabs."""
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
    """Twice the area of a triangle."""
    u, v = [b[k] - a[k] for k in range(3)], [c[k] - a[k] for k in range(3)]
    x = (u[1] * v[2] - u[2] * v[1], u[2] * v[0] - u[0] * v[2], u[0] * v[1] - u[1] * v[0])
    return math.sqrt(sum(k * k for k in x))


def fractal(rng: Rng, ny: int, nx: int, period: float, octaves: int = 4, ridged: bool = False):
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


class Land:
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


def grid_axes(corner, cell, ny, nx):
    """x (1, nx) and y (ny, 1) of the corners of a grid."""
    return (
        corner[0] + cell * np.arange(nx)[None, :],
        corner[1] + cell * np.arange(ny)[:, None],
    )


def flat_land(x: float, y: float) -> float:
    return 0.0


def scatter(rng: Rng, n: int, place, apart: float, tries: int = 12) -> list[tuple[float, float]]:
    """Up to `n` points from ``place()``, each at least `apart` metres from the others."""
    found: list[tuple[float, float]] = []
    for _ in range(n):
        for _ in range(tries):
            x, y = place()
            if all((x - a) ** 2 + (y - b) ** 2 > apart**2 for a, b in found):
                found.append((x, y))
                break
    return found


def bearing_of(w: World) -> float:
    e, t = w.camera.eye, w.camera.target
    return math.degrees(math.atan2(t[0] - e[0], t[1] - e[1]))
