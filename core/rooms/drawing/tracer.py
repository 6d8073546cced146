"""A small deterministic ray tracer: solids with names and materials → a photo with exact masks.

How to use it (metres, z up, angles in degrees, colours linear; :func:`srgb` converts)::

    rng = np.random.default_rng(7)
    world = World(rng, Camera(eye=(0, -4, 1.6), target=(0, 0, 1), fov=60),
                  sun=((-0.4, -0.5, 0.8), (1.0, 0.95, 0.85), 3.0), ambient=(0.5, 0.55, 0.6),
                  sky=Sky(clouds=0.4), haze=0.004)
    wood = Material(srgb("#8a5a33"), "wood", texture="wood", color2=srgb("#5d3a20"), scale=0.1)
    with world.group(origin=(1, 2, 0), yaw=30, object="table"):     # its own coordinates inside
        world.box((0, 0, 0.72), (1.6, 0.9, 0.05), material=wood, part="table top")
        for x in (-0.7, 0.7):
            for y in (-0.35, 0.35):
                world.cylinder((x, y, 0), 0.03, 0.7, material=wood, part="leg")
    picture = world.render(192)        # .rgb .object .part .material .names

* Every solid has an object name (its own or the group's), at most one part name, and a
  :class:`Material` whose `concept` is the name in the material mask. A name of ``""`` or
  ``None`` leaves that mask unannotated (0).
* `Picture.object` etc. are positions in ``picture.names["object"]`` (0 is always ``""``); the
  ids come from the primary ray through the pixel's centre, never from a blend.
* ``sun`` is (direction *towards* the sun, colour, strength); None for no sun. ``world.light``
  adds lamps (spheres) and ``world.area_light`` glowing rectangles such as windows. Light is
  traced with soft shadows, one bounce of colour, reflections for glossy and mirror-like
  materials, then exposed automatically (`world.exposure` multiplies what the meter finds:
  0.6 is a dim photo, 1.4 a bright one).
* Solids: `box`, `soft` (a box with rounded sides: cushions, mattresses, car bodies, rocks),
  `ellipsoid`, `cylinder` (also cone and frustum, any axis), `quad`, `disk`, `triangle`,
  `heightfield` (terrain, sand, water), `ground` (one big quad).
* Textures (``Material.texture``), between `color` and `color2`, `scale` in metres:
  ``plain``; ``wood`` grain along the longest local axis; ``planks`` floor boards `scale` wide;
  ``tiles`` squares with joints of `color2`; ``bricks``; ``stripes`` along u; ``checker``;
  ``plaid``; ``dots``; ``noise`` mottled; ``marble`` veins; ``weave`` cloth or carpet;
  ``grass``; ``leaves``; ``asphalt``; ``ripples`` sand or water streaks; ``picture`` an abstract
  painting stretched over the face; ``screen`` a computer screen; ``lines`` of writing;
  ``keys`` small rounded squares; ``panel`` one inset frame a face; ``view`` what a window
  shows (sky over green); ``strata`` horizontal layers in z; ``bark``.
  To add one: give it the next number in TEXTURES and a branch in :func:`_texture`.
* ``cutout`` (0…0.8) removes that share of a surface in blobs of `cutout_scale` metres, on
  ellipsoids, cylinders and quads: foliage, lace, nets. Light passes through the holes.
* ``bump`` roughens the shading (0.3 fabric … 1.5 foliage) with grain `bump_scale` metres.

Speed: solids sit in a bounding-volume tree built for each photo, so hundreds are cheap;
heightfields and cutouts cost the most. The same world gives the same bytes: no fast-math, no
parallel reductions, sampling patterns fixed by the world's seed.
"""

# In numba floor() gives a float, and one comparison after the other compiles to less.
# ruff: noqa: RUF046, SIM109

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numba import njit

Vec = tuple[float, float, float]

TEXTURES = {
    name: k
    for k, name in enumerate(
        (
            "plain",
            "wood",
            "planks",
            "tiles",
            "bricks",
            "stripes",
            "checker",
            "plaid",
            "dots",
            "noise",
            "marble",
            "weave",
            "grass",
            "leaves",
            "asphalt",
            "ripples",
            "picture",
            "screen",
            "lines",
            "keys",
            "panel",
            "view",
            "strata",
            "bark",
        )
    )
}

BOX, ELLIPSOID, SOFT, CYLINDER, QUAD, DISK, TRIANGLE, FIELD = range(8)

PLANES = ("object", "part", "material")


def srgb(colour: str | Vec) -> Vec:
    """Linear (r, g, b) in 0…1 of ``"#rrggbb"`` or of an sRGB triple in 0…1.

    >>> tuple(round(v, 3) for v in srgb("#ff8000"))
    (1.0, 0.216, 0.0)
    """
    if isinstance(colour, str):
        text = colour.lstrip("#")
        colour = tuple(int(text[k : k + 2], 16) / 255 for k in (0, 2, 4))
    return tuple(v / 12.92 if v <= 0.04045 else ((v + 0.055) / 1.055) ** 2.4 for v in colour)


@dataclass(frozen=True, eq=False)
class Material:
    """A surface: what it reflects and what the material mask calls it.

    color, color2 : linear albedo, 0…1; `color2` is the texture's other colour (default: the
        first, darkened).
    concept : name in the material mask ("wood", "fabric", …), "" for none.
    texture, scale : pattern (see the module) and its size in metres.
    gloss : 0 matt … 1 polished (highlights and a faint reflection).
    mirror : 0…1, share of light reflected as by metal or a looking glass, tinted by `color`.
    emit : radiance given off, in multiples of `color`; 1 is about white paper in the sun.
    bump, bump_scale : roughness of the shading and its grain in metres.
    cutout, cutout_scale : share of the surface that is missing, size of the holes in metres.
    shadow : False lets light through (window panes, lamp shades). Emitting materials never
        cast shadows.
    seed : shifts the pattern, so that two pieces of wood differ.
    """

    color: Vec
    concept: str = ""
    texture: str = "plain"
    color2: Vec | None = None
    scale: float = 0.2
    gloss: float = 0.0
    mirror: float = 0.0
    emit: float = 0.0
    bump: float = 0.0
    bump_scale: float = 0.03
    cutout: float = 0.0
    cutout_scale: float = 0.15
    shadow: bool = True
    seed: float = 0.0


@dataclass(frozen=True)
class Camera:
    """Eye and target in metres, `fov` the full angle of view in degrees (the photo is square),
    `roll` in degrees."""

    eye: Vec
    target: Vec
    fov: float = 60.0
    roll: float = 0.0


@dataclass(frozen=True)
class Sky:
    """The sky's colours (linear) at the zenith, the horizon and below; share covered by clouds
    (0…1) and their colour; `name` is the object that its pixels are called (None: nothing)."""

    zenith: Vec = (0.16, 0.33, 0.75)
    horizon: Vec = (0.62, 0.75, 0.9)
    below: Vec = (0.25, 0.24, 0.22)
    clouds: float = 0.3
    cloud_color: Vec = (0.95, 0.95, 0.95)
    cloud_scale: float = 1.0
    glow: float = 0.4
    name: str | None = "sky"


class Picture(NamedTuple):
    """A photo and its exact masks.

    rgb : uint8 (H, W, 3). object, part, material : uint16 (H, W), positions in
    ``names["object"]``, ``names["part"]``, ``names["material"]``; position 0 is ``""``.
    """

    rgb: np.ndarray
    object: np.ndarray
    part: np.ndarray
    material: np.ndarray
    names: dict[str, list[str]]


# -- the world, in Python ----------------------------------------------------------------------

Mat = tuple[float, float, float, float, float, float, float, float, float]
_IDENTITY: Mat = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)


def _rotation(yaw: float, pitch: float = 0.0, roll: float = 0.0) -> Mat:
    """Row-major matrix of a turn by roll about x, then pitch about y, then yaw about z."""
    a, b, c = math.radians(yaw), math.radians(pitch), math.radians(roll)
    ca, sa, cb, sb, cc, sc = (
        math.cos(a),
        math.sin(a),
        math.cos(b),
        math.sin(b),
        math.cos(c),
        math.sin(c),
    )
    return (
        ca * cb,
        ca * sb * sc - sa * cc,
        ca * sb * cc + sa * sc,
        sa * cb,
        sa * sb * sc + ca * cc,
        sa * sb * cc - ca * sc,
        -sb,
        cb * sc,
        cb * cc,
    )


def _times(a: Mat, b: Mat) -> Mat:
    return tuple(
        a[3 * i] * b[j] + a[3 * i + 1] * b[3 + j] + a[3 * i + 2] * b[6 + j]
        for i in range(3)
        for j in range(3)
    )  # type: ignore[return-value]


def _apply(a: Mat, p: Sequence[float]) -> Vec:
    x, y, z = p
    return (
        a[0] * x + a[1] * y + a[2] * z,
        a[3] * x + a[4] * y + a[5] * z,
        a[6] * x + a[7] * y + a[8] * z,
    )


def _unit(v: Sequence[float]) -> Vec:
    length = math.sqrt(v[0] ** 2 + v[1] ** 2 + v[2] ** 2) or 1.0
    return (v[0] / length, v[1] / length, v[2] / length)


def _cross(a: Vec, b: Vec) -> Vec:
    return (
        a[1] * b[2] - a[2] * b[1],
        a[2] * b[0] - a[0] * b[2],
        a[0] * b[1] - a[1] * b[0],
    )


def _frame(axis: Vec, along: Vec | None = None) -> Mat:
    """A rotation whose third column is `axis`; its first lies along `along` where given."""
    z = _unit(axis)
    if along is None:
        # Any vertical axis keeps x and y where they are, so that upright cylinders turn with
        # nothing but their group.
        along = (1.0, 0.0, 0.0) if abs(z[2]) > 0.9 else (0.0, 0.0, 1.0)
    y = _unit(_cross(z, along))
    x = _cross(y, z)
    return (x[0], y[0], z[0], x[1], y[1], z[1], x[2], y[2], z[2])


_GREY = Material((0.5, 0.5, 0.5))


class World:
    """Everything in one photo: camera, light, sky and named solids.

    Parameters
    ----------
    rng : seeds textures and sampling; the same generator state gives the same bytes.
    camera : see :class:`Camera`.
    sun : (direction towards it, colour, strength) or None. Strength 3 is a clear day.
    ambient : linear colour of the light that comes from everywhere, as it is met by bounced
        rays: (0.3, 0.3, 0.3) for a lit room.
    sky : what rays that miss everything see; None for black.
    haze : share of light lost a metre to the air (0.002 clear … 0.02 fog).
    ambient_distance : metres below which corners and gaps darken.
    bounce : share of the unshadowed sunlight that bounced rays carry on (outdoors 0.35;
        0 indoors, where the sun seldom reaches).
    sun_size : radius of the sun as a tangent; 0.02 sharp shadows, 0.2 soft ones.
    """

    def __init__(
        self,
        rng: np.random.Generator,
        camera: Camera,
        sun: tuple[Vec, Vec, float] | None = None,
        ambient: Vec = (0.3, 0.3, 0.3),
        sky: Sky | None = None,
        haze: float = 0.0,
        ambient_distance: float = 1.2,
        bounce: float = 0.35,
        sun_size: float = 0.03,
    ):
        self.rng = rng
        self.camera = camera
        self.sun = sun
        self.ambient = ambient
        self.sky = sky
        self.haze = haze
        self.ambient_distance = ambient_distance
        self.bounce = bounce
        self.sun_size = sun_size
        self.exposure = 1.0
        self._seed = int(rng.integers(1, 2**31))
        self._prims: list[tuple] = []
        self._bounds: list[tuple] = []
        self._surfaces: list[tuple[int, int, int, int]] = []
        self._surface_of: dict[tuple, int] = {}
        self._materials: list[Material] = []
        self._material_of: dict[int, int] = {}
        self._names: dict[str, list[str]] = {plane: [""] for plane in PLANES}
        self._name_of: dict[str, dict[str, int]] = {plane: {"": 0} for plane in PLANES}
        self._lights: list[tuple] = []
        self._fields: list[np.ndarray] = []
        self._field_kinds: list[np.ndarray] = []
        self._field_size = 0
        self._turn: Mat = _IDENTITY
        self._shift: Vec = (0.0, 0.0, 0.0)
        self._scale = 1.0
        self._object: str | None = None
        self._part: str | None = None

    # -- coordinates and names --------------------------------------------------------------

    @contextmanager
    def group(
        self,
        origin: Vec = (0.0, 0.0, 0.0),
        yaw: float = 0.0,
        scale: float = 1.0,
        object: str | None = None,
        part: str | None = None,
        pitch: float = 0.0,
        roll: float = 0.0,
    ) -> Iterator[World]:
        """Solids added inside are placed relative to `origin`, turned and scaled, and are
        called `object` (and `part`) unless they say otherwise. Groups nest."""
        kept = (self._turn, self._shift, self._scale, self._object, self._part)
        self._shift = self.point(origin)
        self._turn = _times(self._turn, _rotation(yaw, pitch, roll))
        self._scale *= scale
        self._object = object if object is not None else self._object
        self._part = part if part is not None else self._part
        try:
            yield self
        finally:
            self._turn, self._shift, self._scale, self._object, self._part = kept

    def point(self, p: Sequence[float]) -> Vec:
        """World coordinates of a point given in the current group's."""
        s = self._scale
        x, y, z = _apply(self._turn, (p[0] * s, p[1] * s, p[2] * s))
        a, b, c = self._shift
        return (x + a, y + b, z + c)

    def _id(self, plane: str, name: str | None) -> int:
        name = name or ""
        known = self._name_of[plane]
        if name not in known:
            known[name] = len(self._names[plane])
            self._names[plane].append(name)
        return known[name]

    def _surface(self, material: Material, obj: str | None, part: str | None) -> int:
        obj = obj if obj is not None else self._object
        part = part if part is not None else self._part
        key = (id(material), obj, part)
        known = self._surface_of.get(key)
        if known is None:
            row = self._material_of.get(id(material))
            if row is None:
                row = len(self._materials)
                self._materials.append(material)  # kept alive, so that its id stays its own
                self._material_of[id(material)] = row
            known = len(self._surfaces)
            self._surfaces.append(
                (
                    row,
                    self._id("object", obj),
                    self._id("part", part),
                    self._id("material", material.concept),
                )
            )
            self._surface_of[key] = known
        return known

    def _add(self, kind, centre, turn, params, low, high, material, obj, part) -> None:
        c = self.point(centre)
        m = _times(self._turn, turn)
        surface = self._surface(material, obj, part)
        # Rows of the local frame are the columns of the turn.
        self._prims.append(
            (kind, surface, *c, m[0], m[3], m[6], m[1], m[4], m[7], m[2], m[5], m[8], *params)
        )
        self._bounds.append((*low, *high))

    # -- solids -------------------------------------------------------------------------------

    def box(
        self, center, size, yaw=0.0, material=_GREY, object=None, part=None, pitch=0.0, roll=0.0
    ) -> None:
        """A box of full side lengths `size` (x, y, z) about `center`."""
        s = 0.5 * self._scale
        h = (size[0] * s, size[1] * s, size[2] * s)
        self._add(
            BOX,
            center,
            _rotation(yaw, pitch, roll),
            (*h, 0.0),
            (-h[0], -h[1], -h[2]),
            h,
            material,
            object,
            part,
        )

    def soft(
        self,
        center,
        size,
        yaw=0.0,
        material=_GREY,
        object=None,
        part=None,
        power=6,
        pitch=0.0,
        roll=0.0,
    ) -> None:
        """A box with rounded sides, |x|ᵖ + |y|ᵖ + |z|ᵖ ≤ 1 scaled to full lengths `size`.

        power : even, 2 (an ellipsoid) … 16 (almost a box); 4 is a pillow, 8 a mattress.
        """
        s = 0.5 * self._scale
        h = (size[0] * s, size[1] * s, size[2] * s)
        self._add(
            SOFT,
            center,
            _rotation(yaw, pitch, roll),
            (*h, float(power)),
            (-h[0], -h[1], -h[2]),
            h,
            material,
            object,
            part,
        )

    def ellipsoid(
        self, center, radii, yaw=0.0, material=_GREY, object=None, part=None, pitch=0.0, roll=0.0
    ) -> None:
        """An ellipsoid with half axes `radii` (one number for a ball)."""
        if not isinstance(radii, (tuple, list)):
            radii = (radii, radii, radii)
        s = self._scale
        h = (radii[0] * s, radii[1] * s, radii[2] * s)
        self._add(
            ELLIPSOID,
            center,
            _rotation(yaw, pitch, roll),
            (*h, 0.0),
            (-h[0], -h[1], -h[2]),
            h,
            material,
            object,
            part,
        )

    def cylinder(
        self,
        base,
        radius,
        height,
        yaw=0.0,
        material=_GREY,
        object=None,
        part=None,
        top_radius=None,
        axis=(0.0, 0.0, 1.0),
    ) -> None:
        """A cylinder from the centre of its `base` along `axis`, closed at both ends; a cone or
        frustum with `top_radius`."""
        s = self._scale
        r0, r1, h = radius * s, (radius if top_radius is None else top_radius) * s, height * s
        r = max(r0, r1)
        turn = _times(_frame(_unit(axis)), _rotation(yaw))
        self._add(
            CYLINDER,
            base,
            turn,
            (r0, r1, h, 0.0),
            (-r, -r, 0.0),
            (r, r, h),
            material,
            object,
            part,
        )

    def rod(self, start, end, radius, material=_GREY, object=None, part=None, end_radius=None):
        """A cylinder (or frustum) between two points."""
        axis = (end[0] - start[0], end[1] - start[1], end[2] - start[2])
        length = math.sqrt(axis[0] ** 2 + axis[1] ** 2 + axis[2] ** 2)
        self.cylinder(
            start,
            radius,
            length,
            material=material,
            object=object,
            part=part,
            top_radius=end_radius,
            axis=axis,
        )

    def quad(
        self,
        center,
        size,
        normal=(0.0, 0.0, 1.0),
        along=None,
        material=_GREY,
        object=None,
        part=None,
    ) -> None:
        """A rectangle, seen from both sides: `size` (length along `along`, the other side)
        about `center`. `along` defaults to a horizontal direction (x where normal is up)."""
        n = _unit(normal)
        if along is None:
            along = (1.0, 0.0, 0.0) if abs(n[2]) > 0.9 else (-n[1], n[0], 0.0)
        s = 0.5 * self._scale
        hx, hy = size[0] * s, size[1] * s
        self._add(
            QUAD,
            center,
            _frame(n, along),
            (hx, hy, 0.0, 0.0),
            (-hx, -hy, 0.0),
            (hx, hy, 0.0),
            material,
            object,
            part,
        )

    def disk(
        self,
        center,
        radii,
        normal=(0.0, 0.0, 1.0),
        along=None,
        material=_GREY,
        object=None,
        part=None,
    ) -> None:
        """A flat ellipse with half axes `radii` (one number for a circle)."""
        if not isinstance(radii, (tuple, list)):
            radii = (radii, radii)
        n = _unit(normal)
        if along is None:
            along = (1.0, 0.0, 0.0) if abs(n[2]) > 0.9 else (-n[1], n[0], 0.0)
        hx, hy = radii[0] * self._scale, radii[1] * self._scale
        self._add(
            DISK,
            center,
            _frame(n, along),
            (hx, hy, 0.0, 0.0),
            (-hx, -hy, 0.0),
            (hx, hy, 0.0),
            material,
            object,
            part,
        )

    def triangle(self, a, b, c, material=_GREY, object=None, part=None) -> None:
        """The triangle a b c (roofs, sails, flags), seen from both sides."""
        u = tuple(b[k] - a[k] for k in range(3))
        v = tuple(c[k] - a[k] for k in range(3))
        x = _unit(u)
        turn = _frame(_cross(u, v), x)
        y = (turn[1], turn[4], turn[7])
        s = self._scale
        length = math.sqrt(sum(k * k for k in u)) * s
        px = sum(v[k] * x[k] for k in range(3)) * s
        py = sum(v[k] * y[k] for k in range(3)) * s
        self._add(
            TRIANGLE,
            a,
            turn,
            (length, px, py, 0.0),
            (min(0.0, px), min(0.0, py), 0.0),
            (max(length, px), max(0.0, py), 0.0),
            material,
            object,
            part,
        )

    def ground(self, z=0.0, size=600.0, material=_GREY, object="ground", part=None) -> None:
        """One big horizontal quad about the origin."""
        self.quad((0.0, 0.0, z), (size, size), material=material, object=object, part=part)

    def heightfield(
        self,
        corner,
        cell,
        heights,
        material=_GREY,
        object="ground",
        part=None,
        kinds=None,
        surfaces=None,
    ) -> None:
        """Terrain: ``heights[j, i]`` metres above `corner` at x = corner.x + i·cell,
        y = corner.y + j·cell, bilinear between; not turned by groups.

        kinds, surfaces : optionally uint8 (ny, nx) of positions in a list of
            (material, object, part), so that snow, rock and meadow of one hill carry their own
            names. Without, the whole field is `material`, `object`, `part`.
        """
        heights = np.ascontiguousarray(heights, np.float64)
        ny, nx = heights.shape
        if surfaces is None:
            surfaces = [(material, object, part)]
        first = len(self._surfaces)
        for mat, obj, prt in surfaces:
            self._surface_of.pop((id(mat), obj, prt), None)  # they must stand in a row
            self._surface(mat, obj, prt)
        if kinds is None:
            kinds = np.zeros(heights.shape, np.uint8)
        # One solid for each block of cells, all over the same heights: the tree then skips what a
        # ray passes high above, and a steep peak does not shorten the steps over a plain.
        rise_y, rise_x = np.abs(np.diff(heights, axis=0)), np.abs(np.diff(heights, axis=1))
        c = self.point(corner)
        for j in range(0, ny - 1, 8):
            for i in range(0, nx - 1, 8):
                j1, i1 = min(j + 8, ny - 1), min(i + 8, nx - 1)
                part_of = heights[j : j1 + 1, i : i1 + 1]
                low, high = float(part_of.min()), float(part_of.max())
                slope = (
                    math.hypot(
                        float(rise_y[j:j1, i : i1 + 1].max()), float(rise_x[j : j1 + 1, i:i1].max())
                    )
                    / cell
                )
                window = (i * cell, i1 * cell, j * cell, j1 * cell)
                self._prims.append(
                    (
                        FIELD,
                        first,
                        *c,
                        float(self._field_size),
                        float(nx),
                        float(ny),
                        cell,
                        slope,
                        low,
                        high,
                        *window,
                        0.0,
                        0.0,
                    )
                )
                self._bounds.append(
                    (window[0], window[2], low - 0.01, window[1], window[3], high + 0.01)
                )
        self._fields.append(heights.ravel())
        self._field_kinds.append(np.ascontiguousarray(kinds, np.uint8).ravel())
        self._field_size += heights.size

    # -- light --------------------------------------------------------------------------------

    def light(self, position, color=(1.0, 0.85, 0.65), strength=1.0, radius=0.08) -> None:
        """A lamp: a ball of `radius` metres giving `strength` at one metre."""
        p = self.point(position)
        self._lights.append((0.0, *p, radius, *(c * strength for c in color), *([0.0] * 9)))

    def area_light(
        self, center, size, normal, color=(0.9, 0.95, 1.0), strength=1.0, along=None
    ) -> None:
        """A glowing rectangle that shines to the side of `normal`: `strength` straight ahead at
        one metre, less by the cosine to the sides. Draw the pane itself as an emitting quad."""
        n = _unit(_apply(self._turn, normal))
        if along is None:
            along = (1.0, 0.0, 0.0) if abs(n[2]) > 0.9 else (-n[1], n[0], 0.0)
        f = _frame(n, along)
        p = self.point(center)
        s = self._scale
        self._lights.append(
            (
                1.0,
                *p,
                0.0,
                *(c * strength for c in color),
                *n,
                *(f[3 * k] * size[0] * s for k in range(3)),
                *(f[3 * k + 1] * size[1] * s for k in range(3)),
            )
        )

    # -- drawing ------------------------------------------------------------------------------

    def _arrays(self) -> tuple:
        rows = np.array(self._prims, np.float64).reshape(-1, 18)
        kinds = rows[:, :2].astype(np.int64)
        P = np.ascontiguousarray(rows[:, 2:])
        local = np.array(self._bounds, np.float64).reshape(-1, 6)
        mid, half = (local[:, :3] + local[:, 3:]) / 2, (local[:, 3:] - local[:, :3]) / 2
        frames = P[:, 3:12].reshape(-1, 3, 3).copy()
        frames[kinds[:, 0] == FIELD] = np.eye(3)
        centre = P[:, :3] + np.einsum("nij,ni->nj", frames, mid)
        reach = np.einsum("nij,ni->nj", np.abs(frames), half) + 1e-4
        bounds = np.concatenate([centre - reach, centre + reach], 1)
        nodes, links, order = _build_tree(bounds)
        M = np.zeros((max(1, len(self._materials)), 24))
        for k, m in enumerate(self._materials):
            second = m.color2 or tuple(c * 0.6 for c in m.color)
            share = 0.0 if m.texture == "plain" else 0.35
            mean = [a * (1 - share) + b * share for a, b in zip(m.color, second, strict=True)]
            M[k] = (
                *m.color,
                *second,
                TEXTURES[m.texture],
                m.scale,
                m.gloss,
                m.emit,
                m.bump,
                m.bump_scale,
                m.cutout,
                m.cutout_scale,
                m.mirror,
                0.0 if (m.shadow and m.emit == 0) else 1.0,
                m.seed + k * 17.31,
                0,
                0,
                0,
                *mean,
                0.0,
            )
        fields = np.concatenate(self._fields) if self._fields else np.zeros(1)
        field_kinds = (
            np.concatenate(self._field_kinds) if self._field_kinds else np.zeros(1, np.uint8)
        )
        surfaces = np.array(self._surfaces, np.int64).reshape(-1, 4)
        lights = np.array(self._lights, np.float64).reshape(-1, 17)
        return (
            np.ascontiguousarray(kinds[order]),
            np.ascontiguousarray(P[order]),
            surfaces,
            M,
            fields,
            field_kinds,
            nodes,
            links,
            lights,
        )

    def _camera_array(self) -> np.ndarray:
        eye, target = self.camera.eye, self.camera.target
        f = _unit(tuple(target[k] - eye[k] for k in range(3)))
        right = _unit(_cross(f, (0.0, 0.0, 1.0) if abs(f[2]) < 0.999 else (0.0, 1.0, 0.0)))
        up = _cross(right, f)
        a = math.radians(self.camera.roll)
        r2 = tuple(right[k] * math.cos(a) + up[k] * math.sin(a) for k in range(3))
        u2 = tuple(up[k] * math.cos(a) - right[k] * math.sin(a) for k in range(3))
        t = math.tan(math.radians(self.camera.fov) / 2)
        return np.array([*eye, *f, *(v * t for v in r2), *(v * t for v in u2), t], np.float64)

    def _environment(self) -> np.ndarray:
        E = np.zeros(48)
        if self.sun is not None:
            direction, colour, strength = self.sun
            E[0:3] = _unit(direction)
            E[3:6] = [c * strength for c in colour]
            E[6] = 1.0
        E[7] = self.sun_size
        E[8:11] = self.ambient
        E[11] = self.ambient_distance
        E[12] = self.bounce
        E[13] = self.haze
        if self.sky is not None:
            s = self.sky
            E[14] = 1.0
            E[15:18], E[18:21], E[21:24] = s.zenith, s.horizon, s.below
            E[24], E[25] = s.clouds, s.cloud_scale
            E[26:29] = s.cloud_color
            E[29] = s.glow
        E[30] = self._seed % 9973 + 0.5
        E[31] = self.exposure
        return E

    def render(self, size: int = 192) -> Picture:
        """Draw the world as a `size` × `size` photo; see :class:`Picture`. Releases the GIL
        while it traces, so that threads draw photos side by side."""
        rgb, hit = _render(
            self._arrays(), self._camera_array(), self._environment(), size, self._seed
        )
        table = np.zeros((len(self._surfaces) + 2, 3), np.uint16)
        table[2:] = [row[1:] for row in self._surfaces]
        if self.sky is not None and self.sky.name:
            table[1, 0] = self._id("object", self.sky.name)
        planes = table[hit + 2]  # −1 is the sky
        return Picture(
            rgb,
            *(np.ascontiguousarray(planes[..., k]) for k in range(3)),
            {plane: list(names) for plane, names in self._names.items()},
        )


# -- kernels ------------------------------------------------------------------------------------

# Without reference counting: numba would count arrays up and down, atomically, at every call of
# a helper. Only functions that allocate need it.
_jit = njit(cache=True, nogil=True, error_model="numpy", _nrt=False)
_jit_alloc = njit(cache=True, nogil=True, error_model="numpy")


@_jit_alloc
def _build_tree(bounds):
    """Bounding-volume tree over (n, 6) boxes by binned surface-area splits.

    Returns nodes (k, 6), links (k, 2) = (first, −count) for leaves or (left child, 0) with the
    right child next to it, and the order in which the solids must be stored.
    """
    n = bounds.shape[0]
    order = np.arange(n)
    nodes = np.zeros((2 * n + 1, 6))
    links = np.zeros((2 * n + 1, 2), np.int64)
    todo = np.zeros((2 * n + 2, 3), np.int64)
    side = np.zeros(n, np.int64)
    lo = np.zeros((12, 6))
    count = np.zeros(12, np.int64)
    acc = np.zeros(6)
    right_cost = np.zeros(12)
    depth = 1
    used = 1
    todo[0, 1] = 0
    todo[0, 2] = n
    while depth > 0:
        depth -= 1
        k = todo[depth, 0]
        a = todo[depth, 1]
        b = todo[depth, 2]
        cmin = np.full(3, 1e30)
        cmax = np.full(3, -1e30)
        for j in range(3):
            nodes[k, j] = 1e30
            nodes[k, 3 + j] = -1e30
        for i in range(a, b):
            p = order[i]
            for j in range(3):
                nodes[k, j] = min(nodes[k, j], bounds[p, j])
                nodes[k, 3 + j] = max(nodes[k, 3 + j], bounds[p, 3 + j])
                c = bounds[p, j] + bounds[p, 3 + j]
                cmin[j] = min(cmin[j], c)
                cmax[j] = max(cmax[j], c)
        best = 1e60
        best_axis = -1
        best_bin = 0
        if b - a > 1:
            for axis in range(3):
                width = cmax[axis] - cmin[axis]
                if width < 1e-9:
                    continue
                for q in range(12):
                    count[q] = 0
                    for j in range(3):
                        lo[q, j] = 1e30
                        lo[q, 3 + j] = -1e30
                for i in range(a, b):
                    p = order[i]
                    q = int(11.999 * (bounds[p, axis] + bounds[p, 3 + axis] - cmin[axis]) / width)
                    count[q] += 1
                    for j in range(3):
                        lo[q, j] = min(lo[q, j], bounds[p, j])
                        lo[q, 3 + j] = max(lo[q, 3 + j], bounds[p, 3 + j])
                for j in range(3):
                    acc[j] = 1e30
                    acc[3 + j] = -1e30
                m = 0
                for r in range(11):
                    q = 11 - r
                    m += count[q]
                    for j in range(3):
                        acc[j] = min(acc[j], lo[q, j])
                        acc[3 + j] = max(acc[3 + j], lo[q, 3 + j])
                    dx, dy, dz = acc[3] - acc[0], acc[4] - acc[1], acc[5] - acc[2]
                    right_cost[q] = m * (dx * dy + dy * dz + dz * dx) if m > 0 else 1e50
                for j in range(3):
                    acc[j] = 1e30
                    acc[3 + j] = -1e30
                m = 0
                for q in range(11):
                    m += count[q]
                    for j in range(3):
                        acc[j] = min(acc[j], lo[q, j])
                        acc[3 + j] = max(acc[3 + j], lo[q, 3 + j])
                    if m == 0 or m == b - a:
                        continue
                    dx, dy, dz = acc[3] - acc[0], acc[4] - acc[1], acc[5] - acc[2]
                    cost = m * (dx * dy + dy * dz + dz * dx) + right_cost[q + 1]
                    if cost < best:
                        best = cost
                        best_axis = axis
                        best_bin = q
        dx = nodes[k, 3] - nodes[k, 0]
        dy = nodes[k, 4] - nodes[k, 1]
        dz = nodes[k, 5] - nodes[k, 2]
        whole = (b - a) * (dx * dy + dy * dz + dz * dx)
        if best_axis < 0 or (b - a <= 4 and best > whole * 0.9):
            links[k, 0] = a
            links[k, 1] = -(b - a)
            continue
        width = cmax[best_axis] - cmin[best_axis]
        left = a
        spare = 0
        for i in range(a, b):
            p = order[i]
            c = bounds[p, best_axis] + bounds[p, 3 + best_axis] - cmin[best_axis]
            if int(11.999 * c / width) <= best_bin:
                order[left] = p
                left += 1
            else:
                side[spare] = p
                spare += 1
        for i in range(spare):
            order[left + i] = side[i]
        links[k, 0] = used
        todo[depth, 0], todo[depth, 1], todo[depth, 2] = used, a, left
        todo[depth + 1, 0], todo[depth + 1, 1], todo[depth + 1, 2] = used + 1, left, b
        depth += 2
        used += 2
    return nodes[:used], links[:used], order


@_jit
def _hash(x, y, z):
    h = (x * 374761393 + y * 668265263 + z * 1440662683) & 0xFFFFFFFF
    h = ((h ^ (h >> 13)) * 1274126177) & 0xFFFFFFFF
    h = ((h ^ (h >> 15)) * 2246822519) & 0xFFFFFFFF
    return (h ^ (h >> 16)) / 4294967296.0


@_jit
def _noise(x, y, z):
    """Smooth value noise in 0…1, period-free, one blob a unit."""
    fx, fy, fz = math.floor(x), math.floor(y), math.floor(z)
    i, j, k = int(fx), int(fy), int(fz)
    x, y, z = x - fx, y - fy, z - fz
    x, y, z = x * x * (3 - 2 * x), y * y * (3 - 2 * y), z * z * (3 - 2 * z)
    total = 0.0
    for c in range(2):
        wz = z if c == 1 else 1 - z
        for b in range(2):
            wy = y if b == 1 else 1 - y
            h0 = _hash(i, j + b, k + c)
            h1 = _hash(i + 1, j + b, k + c)
            total += wz * wy * (h0 + x * (h1 - h0))
    return total


@_jit
def _fbm(x, y, z, octaves):
    total, weight, scale = 0.0, 0.5, 1.0
    norm = 0.0
    for _ in range(octaves):
        total += weight * _noise(x * scale, y * scale, z * scale)
        norm += weight
        weight *= 0.5
        scale *= 2.03
    return total / norm


@_jit
def _smooth(a, b, x):
    t = min(1.0, max(0.0, (x - a) / (b - a)))
    return t * t * (3 - 2 * t)


@_jit
def _height(H, first, nx, ny, x, y):
    """Bilinear height at (x, y) in cells."""
    i = min(max(int(x), 0), nx - 2)
    j = min(max(int(y), 0), ny - 2)
    u, v = x - i, y - j
    q = first + j * nx + i
    a = H[q] + (H[q + 1] - H[q]) * u
    b = H[q + nx] + (H[q + nx + 1] - H[q + nx]) * u
    return a + (b - a) * v


@_jit
def _hit_field(P, i, H, ox, oy, oz, dx, dy, dz, tmin, tmax):
    """Nearest crossing of a heightfield from above or below within (tmin, tmax), or −1."""
    first, nx, ny = int(P[i, 3]), int(P[i, 4]), int(P[i, 5])
    cell, slope = P[i, 6], P[i, 7]
    x, y, z = ox - P[i, 0], oy - P[i, 1], oz - P[i, 2]
    t0, t1 = tmin, tmax
    for axis in range(3):
        if axis == 0:
            o, d, lo, hi = x, dx, P[i, 10], P[i, 11]
        elif axis == 1:
            o, d, lo, hi = y, dy, P[i, 12], P[i, 13]
        else:
            o, d, lo, hi = z, dz, P[i, 8] - 0.01, P[i, 9] + 0.01
        if abs(d) < 1e-12:
            if o < lo or o > hi:
                return -1.0
        else:
            a, b = (lo - o) / d, (hi - o) / d
            if a > b:
                a, b = b, a
            t0, t1 = max(t0, a), min(t1, b)
    if t0 >= t1:
        return -1.0
    inv = 1.0 / cell
    flat = math.sqrt(dx * dx + dy * dy)
    t = t0
    gap = z + t * dz - _height(H, first, nx, ny, (x + t * dx) * inv, (y + t * dy) * inv)
    if gap <= 0:
        # Starts beneath the surface (a shadow ray leaving it): let it come out first.
        if gap < -0.02:
            return t if t > tmin else -1.0
        gap = 1e-6
    closing = slope * flat - dz
    if closing <= 0:
        return -1.0
    for _ in range(400):
        step = max(gap / closing, cell * 0.12 + t * 0.0008)
        last = t
        t = t + step
        end = t >= t1
        if end:
            t = t1
        gap = z + t * dz - _height(H, first, nx, ny, (x + t * dx) * inv, (y + t * dy) * inv)
        if gap <= 0:
            a, b = last, t
            for _ in range(14):
                m = 0.5 * (a + b)
                g = z + m * dz - _height(H, first, nx, ny, (x + m * dx) * inv, (y + m * dy) * inv)
                if g <= 0:
                    b = m
                else:
                    a = m
            return b
        if end:
            return -1.0
    return -1.0


@_jit
def _hole(M, m, x, y, z):
    """Whether a cutout material is missing at a local point."""
    s = 1.0 / M[m, 13]
    q = M[m, 16]
    return (
        _noise(x * s + q, y * s + q, z * s + q) * 0.7
        + 0.3 * _noise(x * s * 2.3 + q, y * s * 2.3, z * s * 2.3)
        < 0.23 + 0.54 * M[m, 12]
    )


@_jit
def _hit(kinds, P, SF, M, H, i, ox, oy, oz, dx, dy, dz, tmin, tmax):
    """Distance along the ray to solid `i` within (tmin, tmax), or −1."""
    kind = kinds[i, 0]
    if kind == FIELD:
        return _hit_field(P, i, H, ox, oy, oz, dx, dy, dz, tmin, tmax)
    px, py, pz = ox - P[i, 0], oy - P[i, 1], oz - P[i, 2]
    x = P[i, 3] * px + P[i, 4] * py + P[i, 5] * pz
    y = P[i, 6] * px + P[i, 7] * py + P[i, 8] * pz
    z = P[i, 9] * px + P[i, 10] * py + P[i, 11] * pz
    a = P[i, 3] * dx + P[i, 4] * dy + P[i, 5] * dz
    b = P[i, 6] * dx + P[i, 7] * dy + P[i, 8] * dz
    c = P[i, 9] * dx + P[i, 10] * dy + P[i, 11] * dz
    hx, hy, hz = P[i, 12], P[i, 13], P[i, 14]
    if kind == BOX or kind == SOFT:
        # A direction of exactly 0 would give 0·∞; a hair's tilt does not move a pixel.
        if abs(a) < 1e-12:
            a = 1e-12
        if abs(b) < 1e-12:
            b = 1e-12
        if abs(c) < 1e-12:
            c = 1e-12
        n1, n2, n3 = -x / a, -y / b, -z / c
        k1, k2, k3 = abs(hx / a), abs(hy / b), abs(hz / c)
        t0 = max(n1 - k1, max(n2 - k2, n3 - k3))
        t1 = min(n1 + k1, min(n2 + k2, n3 + k3))
        if t0 > t1 or t1 < tmin or t0 > tmax:
            return -1.0
        if kind == BOX:
            if t0 > tmin:
                return t0
            return t1 if t1 < tmax else -1.0
        # f = |x|^p + … − 1 is convex along the ray: Newton from outside never overshoots.
        x, y, z = x / hx, y / hy, z / hz
        a, b, c = a / hx, b / hy, c / hz
        t = t0
        power = int(P[i, 15])
        half = power // 2 - 1
        for _ in range(24):
            u, v, w = x + t * a, y + t * b, z + t * c
            u2, v2, w2 = u * u, v * v, w * w
            ue, ve, we = 1.0, 1.0, 1.0
            for _k in range(half):
                ue *= u2
                ve *= v2
                we *= w2
            f = ue * u2 + ve * v2 + we * w2 - 1.0
            if f < 1e-5:
                break
            g = power * (ue * u * a + ve * v * b + we * w * c)
            if g >= 0:
                return -1.0
            t -= f / g
            if t > t1:
                return -1.0
        if t > tmin and t < tmax:
            return t
        return -1.0
    if kind == ELLIPSOID:
        x, y, z, a, b, c = x / hx, y / hy, z / hz, a / hx, b / hy, c / hz
        aa = a * a + b * b + c * c
        bb = x * a + y * b + z * c
        disc = bb * bb - aa * (x * x + y * y + z * z - 1.0)
        if disc < 0:
            return -1.0
        root = math.sqrt(disc)
        m = SF[kinds[i, 1], 0]
        for k in range(2):
            t = (-bb - root) / aa if k == 0 else (-bb + root) / aa
            if t > tmin and t < tmax:
                if M[m, 12] > 0 and _hole(
                    M, m, (x + t * a) * hx, (y + t * b) * hy, (z + t * c) * hz
                ):
                    continue
                return t
        return -1.0
    if kind == CYLINDER:
        # Radius r(z) = hx + k z; hz is the height.
        k = (hy - hx) / hz
        r0 = hx + k * z
        aa = a * a + b * b - k * k * c * c
        bb = x * a + y * b - k * c * r0
        cc = x * x + y * y - r0 * r0
        best = -1.0
        m = SF[kinds[i, 1], 0]
        if abs(aa) > 1e-14:
            disc = bb * bb - aa * cc
            if disc >= 0:
                root = math.sqrt(disc)
                if aa < 0:
                    root = -root
                for q in range(2):
                    t = (-bb - root) / aa if q == 0 else (-bb + root) / aa
                    if t > tmin and t < tmax:
                        w = z + t * c
                        if w >= 0 and w <= hz and hx + k * w >= 0:
                            if M[m, 12] > 0 and _hole(M, m, x + t * a, y + t * b, w):
                                continue
                            best = t
                            break
        if abs(c) > 1e-14 and M[m, 12] == 0:
            for q in range(2):
                top = hz if q == 1 else 0.0
                r = hy if q == 1 else hx
                t = (top - z) / c
                if t > tmin and t < tmax and (best < 0 or t < best):
                    u, v = x + t * a, y + t * b
                    if u * u + v * v <= r * r:
                        best = t
        return best
    # flat ones
    if abs(c) < 1e-14:
        return -1.0
    t = -z / c
    if t <= tmin or t >= tmax:
        return -1.0
    u, v = x + t * a, y + t * b
    if kind == QUAD:
        if abs(u) > hx or abs(v) > hy:
            return -1.0
    elif kind == DISK:
        if (u / hx) ** 2 + (v / hy) ** 2 > 1.0:
            return -1.0
    else:
        if v * hz < 0 or abs(v) > abs(hz):
            return -1.0
        s = v / hz
        if u < s * hy or u > hx + s * (hy - hx):
            return -1.0
    m = SF[kinds[i, 1], 0]
    if M[m, 12] > 0 and _hole(M, m, u, v, 0.0):
        return -1.0
    return t


@_jit
def _trace(W, stack, ox, oy, oz, dx, dy, dz, tmin, tmax, shadow):
    """(distance, solid) of the nearest hit, solid −1 for none. With `shadow`, any hit will do
    and surfaces that let light through are skipped."""
    kinds, P, SF, M, H, _, nodes, links, _ = W
    ix = 1.0 / (dx if abs(dx) > 1e-12 else 1e-12)
    iy = 1.0 / (dy if abs(dy) > 1e-12 else 1e-12)
    iz = 1.0 / (dz if abs(dz) > 1e-12 else 1e-12)
    best = tmax
    found = -1
    depth = 0
    node = 0
    while True:
        count = -links[node, 1]
        if count > 0:
            first = links[node, 0]
            for i in range(first, first + count):
                if shadow and M[SF[kinds[i, 1], 0], 15] > 0:
                    continue
                t = _hit(kinds, P, SF, M, H, i, ox, oy, oz, dx, dy, dz, tmin, best)
                if t > 0:
                    best = t
                    found = i
                    if shadow:
                        return best, found
        else:
            left = links[node, 0]
            near = 1e30
            far = 1e30
            for k in range(2):
                q = left + k
                a, b = (nodes[q, 0] - ox) * ix, (nodes[q, 3] - ox) * ix
                t0, t1 = min(a, b), max(a, b)
                a, b = (nodes[q, 1] - oy) * iy, (nodes[q, 4] - oy) * iy
                t0, t1 = max(t0, min(a, b)), min(t1, max(a, b))
                a, b = (nodes[q, 2] - oz) * iz, (nodes[q, 5] - oz) * iz
                t0, t1 = max(t0, min(a, b)), min(t1, max(a, b))
                if t0 <= t1 and t1 > tmin and t0 < best:
                    if k == 0:
                        near = t0
                    else:
                        far = t0
            if near < 1e30 and far < 1e30:
                if near <= far:
                    stack[depth] = left + 1
                    node = left
                else:
                    stack[depth] = left
                    node = left + 1
                depth += 1
                continue
            if near < 1e30:
                node = left
                continue
            if far < 1e30:
                node = left + 1
                continue
        if depth == 0:
            break
        depth -= 1
        node = stack[depth]
    return best, found


@_jit
def _surface_at(W, i, x, y, z, dx, dy, dz):
    """Surface row, world normal towards the viewer, texture u, v and local x, y, z, face (0–2 =
    the axis of a box's face), and the extent of the face in u and v."""
    kinds, P, SF, M, H, HK, _, _, _ = W
    kind = kinds[i, 0]
    surface = kinds[i, 1]
    if kind == FIELD:
        first, nx, ny, cell = int(P[i, 3]), int(P[i, 4]), int(P[i, 5]), P[i, 6]
        lx, ly = x - P[i, 0], y - P[i, 1]
        u, v = lx / cell, ly / cell
        e = 0.35
        nx_ = _height(H, first, nx, ny, u - e, v) - _height(H, first, nx, ny, u + e, v)
        ny_ = _height(H, first, nx, ny, u, v - e) - _height(H, first, nx, ny, u, v + e)
        nz_ = 2 * e * cell
        s = 1.0 / math.sqrt(nx_ * nx_ + ny_ * ny_ + nz_ * nz_)
        if (nx_ * dx + ny_ * dy + nz_ * dz) > 0:
            s = -s
        # Borders between kinds wander within a cell, or a snow line would be a flight of stairs.
        e = 2.2 * (_fbm(u * 1.1, v * 1.1, 0.5, 3) - 0.5)
        ci = min(max(int(u + 0.5 + e), 0), nx - 1)
        cj = min(max(int(v + 0.5 - e), 0), ny - 1)
        surface += HK[first + cj * nx + ci]
        return surface, nx_ * s, ny_ * s, nz_ * s, x, y, lx, ly, z - P[i, 2], 2, 1e3, 1e3
    px, py, pz = x - P[i, 0], y - P[i, 1], z - P[i, 2]
    lx = P[i, 3] * px + P[i, 4] * py + P[i, 5] * pz
    ly = P[i, 6] * px + P[i, 7] * py + P[i, 8] * pz
    lz = P[i, 9] * px + P[i, 10] * py + P[i, 11] * pz
    hx, hy, hz = P[i, 12], P[i, 13], P[i, 14]
    face = 2
    eu, ev = 2 * hx, 2 * hy
    if kind == BOX or kind == SOFT:
        ax, ay, az = lx / hx, ly / hy, lz / hz
        if abs(ax) >= abs(ay) and abs(ax) >= abs(az):
            face = 0
            u, v, eu, ev = ly, lz, 2 * hy, 2 * hz
        elif abs(ay) >= abs(az):
            face = 1
            u, v, eu, ev = lx, lz, 2 * hx, 2 * hz
        else:
            u, v = lx, ly
        if kind == BOX:
            nx, ny, nz = 0.0, 0.0, 0.0
            if face == 0:
                nx = 1.0 if ax > 0 else -1.0
            elif face == 1:
                ny = 1.0 if ay > 0 else -1.0
            else:
                nz = 1.0 if az > 0 else -1.0
        else:
            p = int(P[i, 15]) - 1
            nx, ny, nz = 1.0 / hx, 1.0 / hy, 1.0 / hz
            for _ in range(p):
                nx *= ax
                ny *= ay
                nz *= az
    elif kind == ELLIPSOID:
        nx, ny, nz = lx / (hx * hx), ly / (hy * hy), lz / (hz * hz)
        u = math.atan2(ly / hy, lx / hx) * (hx + hy) * 0.5
        v = math.asin(min(1.0, max(-1.0, lz / hz))) * hz
        ev = math.pi * hz
        eu = math.pi * (hx + hy)
    elif kind == CYLINDER:
        k = (hy - hx) / hz
        r = math.sqrt(lx * lx + ly * ly)
        eu, ev = 2 * max(hx, hy), 2 * max(hx, hy)
        if lz < 1e-5 * hz + 1e-7:
            nx, ny, nz, u, v = 0.0, 0.0, -1.0, lx, ly
        elif lz > hz - 1e-5 * hz - 1e-7:
            nx, ny, nz, u, v = 0.0, 0.0, 1.0, lx, ly
        else:
            nx, ny, nz = lx, ly, -k * r
            face = 0
            u, v = math.atan2(ly, lx) * 0.5 * (hx + hy), lz - hz / 2
            eu, ev = math.pi * (hx + hy), hz
    else:
        nx, ny, nz = 0.0, 0.0, 1.0
        u, v = lx, ly
        if kind == TRIANGLE:
            eu, ev = hx, abs(hz)
    wx = P[i, 3] * nx + P[i, 6] * ny + P[i, 9] * nz
    wy = P[i, 4] * nx + P[i, 7] * ny + P[i, 10] * nz
    wz = P[i, 5] * nx + P[i, 8] * ny + P[i, 11] * nz
    s = 1.0 / math.sqrt(wx * wx + wy * wy + wz * wz + 1e-300)
    if wx * dx + wy * dy + wz * dz > 0:
        s = -s
    return surface, wx * s, wy * s, wz * s, u, v, lx, ly, lz, face, eu, ev


@_jit
def _joint(f, half, blur):
    """Share of a joint of half width `half` at position f ∈ [0, 1) of a period, blurred."""
    d = min(f, 1.0 - f)
    return (1.0 - _smooth(half - blur, half + blur, d)) if blur < 0.5 else 2.0 * half


@_jit
def _texture(M, m, u, v, x, y, z, face, eu, ev, foot):
    """Albedo (r, g, b) of material `m` at texture point (u, v), local point (x, y, z).

    `foot` is the width in metres that one pixel covers there: patterns finer than it fade to
    their mean instead of shimmering.
    """
    kind = int(M[m, 6])
    r, g, b = M[m, 0], M[m, 1], M[m, 2]
    if kind == 0:
        return r, g, b
    s = M[m, 7]
    q = M[m, 16]
    f = 0.0  # share of color2
    lum = 1.0
    fade = 1.0 - _smooth(0.35, 1.1, foot / s)  # of detail of size `scale`
    fine = 1.0 - _smooth(0.35, 1.1, 4.0 * foot / s)  # of detail a quarter of it
    if kind == 1:  # wood
        if eu >= ev:
            along, across = u, v
        else:
            along, across = v, u
        w = _noise(along * 0.8 / s + q, across * 7.0 / s, q + face * 9.7)
        ring = math.sin((across / s * 9.0 + 2.6 * w) * 2.0 + q)
        grain = _noise(along * 5.0 / s, across * 60.0 / s, q)
        f = 0.45 + fine * (0.22 * ring + 0.5 * (grain - 0.5)) + 0.4 * (w - 0.5)
    elif kind == 2:  # planks
        row = math.floor(v / s + q)
        shift = _hash(int(row), 3, int(q)) * 7.0
        col = math.floor(u / (s * 9.0) + shift)
        tone = _hash(int(row), int(col), 11)
        w = _noise(u * 1.6 / s, v * 9.0 / s + tone * 40.0, tone * 60.0)
        f = 0.15 + 0.5 * tone + fine * 0.45 * (w - 0.5)
        fv = v / s + q - row
        fu = u / (s * 9.0) + shift - col
        j = max(_joint(fv, 0.035, foot / s * 0.6), _joint(fu, 0.005, foot / s * 0.07))
        lum = 1.0 - 0.55 * j * (0.3 + 0.7 * fade)
    elif kind == 3:  # tiles
        iu, iv = math.floor(u / s + 0.5), math.floor(v / s + 0.5)
        j = max(
            _joint(u / s + 0.5 - iu, 0.03, foot / s * 0.7),
            _joint(v / s + 0.5 - iv, 0.03, foot / s * 0.7),
        )
        f = j * (0.25 + 0.75 * fade)
        lum = 1.0 + 0.16 * fade * (_hash(int(iu), int(iv), int(q)) - 0.5)
    elif kind == 4:  # bricks
        row = math.floor(v / s * 3.0)
        uu = u / s * 1.2 + 0.5 * (int(row) & 1)
        col = math.floor(uu)
        j = max(
            _joint(v / s * 3.0 - row, 0.08, foot / s * 2.0),
            _joint(uu - col, 0.03, foot / s),
        )
        f = j * (0.2 + 0.8 * fade)
        lum = 1.0 + fade * 0.45 * (_hash(int(row), int(col), int(q)) - 0.5)
        lum += fine * 0.25 * (_noise(u * 30 / s, v * 30 / s, q) - 0.5)
    elif kind == 5:  # stripes
        w = u / s + q
        w = w - math.floor(w)
        f = 0.5 + fade * (_smooth(0.22, 0.28, w) - _smooth(0.72, 0.78, w) - 0.5)
    elif kind == 6:  # checker
        par = (int(math.floor(u / s)) + int(math.floor(v / s))) & 1
        f = 0.5 + fade * (par - 0.5)
    elif kind == 7:  # plaid
        a, c = u / s - math.floor(u / s), v / s - math.floor(v / s)
        f = 0.5 + fade * (
            (0.35 if a < 0.4 else 0.0)
            + (0.35 if c < 0.4 else 0.0)
            + (0.3 if (abs(a - 0.7) < 0.04 or abs(c - 0.7) < 0.04) else 0.0)
            - 0.5
        )
    elif kind == 8:  # dots
        a, c = u / s - math.floor(u / s) - 0.5, v / s - math.floor(v / s) - 0.5
        f = 0.2 + fade * (1.0 - _smooth(0.24, 0.32, math.sqrt(a * a + c * c)) - 0.2)
    elif kind == 9:  # noise
        f = _fbm(x / s + q, y / s + q, z / s, 3)
        f = 0.5 + (f - 0.5) * (0.5 + 1.5 * fade)
    elif kind == 10:  # marble
        w = _fbm(x / s + q, y / s, z / s, 3)
        f = abs(math.sin((x + y * 0.7 + z * 0.5) / s * 2.0 + w * 7.0 + q))
        f = (1.0 - f) ** 4 * fade
    elif kind == 11:  # weave
        a = math.sin(u / s * 6.2832) * math.sin(v / s * 6.2832)
        f = 0.5 + 0.35 * fade * a + 0.5 * (_noise(u * 1.1 / s, v * 1.1 / s, q) - 0.5)
        f += 0.4 * (_noise(u * 4 + q, v * 4, 0.0) - 0.5)
    elif kind == 12:  # grass
        w = _noise(x * 0.35 + q, y * 0.35, 0.0)
        f = 0.3 + 0.5 * w
        f += fine * 0.7 * (_noise(x / s * 4.0, y / s * 1.5, q) - 0.5)
        f += 0.5 * fade * (_noise(x / s, y / s, q) - 0.5)
    elif kind == 13:  # leaves
        f = 0.5 + 0.9 * fade * (_noise(x / s, y / s, z / s + q) - 0.5)
        f += 0.6 * fine * (_noise(x / s * 2.7, y / s * 2.7, z / s * 2.7) - 0.5)
        lum = 0.8 + 0.4 * _noise(x / s * 0.3 + q, y / s * 0.3, z / s * 0.3)
    elif kind == 14:  # asphalt
        f = 0.4 + 0.6 * fine * (_hash(int(u / s * 4.0), int(v / s * 4.0), 5) - 0.5)
        f += 0.8 * (_noise(u * 0.7 + q, v * 0.7, 0.0) - 0.5)
    elif kind == 15:  # ripples
        w = _noise(x * 0.8 / s, y * 0.3 / s, q)
        f = 0.5 + 0.45 * fade * math.sin(y / s * 6.2832 + 5.0 * w)
        f += 0.3 * (_noise(x * 0.2 / s, y * 0.2 / s, q + 5.0) - 0.5)
    elif kind == 16:  # picture
        a, c = u / eu + 0.5, v / ev + 0.5
        style = int(_hash(int(q * 7.0), 2, 3) * 3.0)
        if style == 0:  # a landscape: sky, hills, field
            hill = 0.45 + 0.3 * (_noise(a * 3.0 + q, q, 0.0) - 0.3)
            if c > hill:
                f = 0.0
                lum = 0.75 + 0.5 * c
            elif c > hill * 0.55:
                f = 0.8
                lum = 0.7 + 0.5 * _noise(a * 9.0, c * 9.0, q)
            else:
                r, g, b = 0.35 * r + 0.1, 0.4 * g + 0.12, 0.2 * b + 0.03
                lum = 0.8 + 0.6 * _noise(a * 14.0, c * 30.0, q)
        elif style == 1:  # blocks
            i1, j1 = int(a * 3.0 + _hash(int(c * 4.0), 1, int(q))), int(c * 4.0)
            f = _hash(i1, j1, int(q))
            t = _hash(i1, j1, int(q) + 9)
            r, g, b = r * (0.5 + t), g * (1.3 - t), b * (0.4 + 1.1 * f)
        else:  # swirls
            w = _fbm(a * 2.5 + q, c * 2.5, q, 3)
            f = 0.5 + 0.5 * math.sin(w * 19.0)
            lum = 0.6 + 0.8 * w
    elif kind == 17:  # screen
        a, c = u / eu + 0.5, v / ev + 0.5
        f = 1.0
        if c > 0.93:
            f = 0.4
        elif a < 0.2:
            f = 0.75 if (int(c * 18.0) & 1) else 0.6
        elif a > 0.26 and a < 0.27 + 0.66 * _hash(int(c * 22.0), 7, int(q)) and (int(c * 44.0) & 1):
            f = 0.0
    elif kind == 18:  # lines
        w = v / s - math.floor(v / s)
        line = int(math.floor(v / s))
        a = u / eu + 0.5
        on = w > 0.3 and w < 0.62 and a > 0.12 and a < 0.5 + 0.38 * _hash(line, 1, int(q))
        word = _hash(int(math.floor(u / (s * 0.9))), line, int(q)) > 0.22
        f = 0.2 + fade * (0.8 if (on and word) else -0.2)
        if a < 0.1 or a > 0.9:
            f = 0.0
    elif kind == 19:  # keys
        a, c = u / s - math.floor(u / s) - 0.5, v / s - math.floor(v / s) - 0.5
        f = 0.35 + fade * ((1.0 if max(abs(a), abs(c)) < 0.38 else 0.0) - 0.35)
        if max(abs(u) - eu * 0.46, abs(v) - ev * 0.42) > 0:
            f = 0.0
    elif kind == 20:  # panel
        d = min(eu * 0.5 - abs(u), ev * 0.5 - abs(v))
        k = s * 0.5
        f = _smooth(k - k * 0.3 - foot, k + foot, d) - _smooth(k + foot, k * 1.6 + foot * 2, d)
        f = 0.6 * max(0.0, f)
    elif kind == 21:  # view
        c = v / ev + 0.5
        hill = 0.3 + 0.25 * _fbm(u * 0.9 + q, q, 0.0, 3)
        if c > hill:
            w = _fbm(u * 1.2 + q, v * 2.5, q, 3)
            t = 0.75 * _smooth(0.5, 0.75, w)
            r, g, b = r + (1 - r) * t, g + (1 - g) * t, b + (1 - b) * t
        else:
            f = 1.0
            lum = 0.5 + 0.9 * _fbm(u * 5.0, v * 5.0, q, 2)
    elif kind == 22:  # strata
        w = _noise(x / s * 0.4 + q, y / s * 0.4, z / s * 0.4)
        f = 0.5 + 0.5 * math.sin(z / s * 6.2832 + 6.0 * w)
        f = 0.3 + 0.6 * f * (0.3 + 0.7 * fade)
        lum = 0.8 + 0.4 * _fbm(x / s * 2.0, y / s * 2.0, z / s * 2.0 + q, 2)
    elif kind == 23:  # bark
        f = _noise(u / s * 3.0 + q, v / s * 0.7, q)
        f = 0.5 + fade * (_smooth(0.3, 0.7, f) - 0.5)
    f = min(1.0, max(0.0, f))
    lum = max(0.0, lum)
    return (
        (r + (M[m, 3] - r) * f) * lum,
        (g + (M[m, 4] - g) * f) * lum,
        (b + (M[m, 5] - b) * f) * lum,
    )


@_jit
def _sky(E, dx, dy, dz, clouds):
    """Radiance of the sky in a direction; without `clouds` their mean, for bounced rays."""
    if E[14] == 0:
        return 0.0, 0.0, 0.0
    if dz < 0:
        t = _smooth(0.0, 0.08, -dz)
        r = E[18] + (E[21] - E[18]) * t
        g = E[19] + (E[22] - E[19]) * t
        b = E[20] + (E[23] - E[20]) * t
        return r, g, b
    t = 1.0 - (1.0 - dz) ** 2.2
    r = E[18] + (E[15] - E[18]) * t
    g = E[19] + (E[16] - E[19]) * t
    b = E[20] + (E[17] - E[20]) * t
    near = dx * E[0] + dy * E[1] + dz * E[2]
    if E[6] > 0 and near > 0:
        w = E[29] * near**12
        if clouds:
            w += E[29] * 1.5 * near**90
        r, g, b = r + w * E[3] * 0.33, g + w * E[4] * 0.33, b + w * E[5] * 0.33
    cover = E[24]
    if cover > 0:
        if clouds:
            s = 1.6 / (E[25] * (dz + 0.12))
            n = _fbm(dx * s + E[30], dy * s + E[30], E[30], 5)
            a = _smooth(0.72 - 0.45 * cover, 0.92 - 0.42 * cover, n) * _smooth(0.0, 0.1, dz)
            shade = 1.0 - 0.35 * _smooth(0.55, 0.85, n)
        else:
            a, shade = cover * 0.6, 0.85
        r = r + (E[26] * shade - r) * a
        g = g + (E[27] * shade - g) * a
        b = b + (E[28] * shade - b) * a
    return r, g, b


@_jit
def _bent(M, m, nx, ny, nz, x, y, z, foot):
    """The normal, roughened by the material's bump at the point (x, y, z)."""
    s = 1.0 / M[m, 11]
    k = M[m, 10] * (1.0 - _smooth(0.4, 1.6, foot * s))
    if k <= 0:
        return nx, ny, nz
    x, y, z = x * s + M[m, 16], y * s, z * s
    c = _noise(x, y, z)
    nx = nx - k * (_noise(x + 0.4, y, z) - c)
    ny = ny - k * (_noise(x, y + 0.4, z) - c)
    nz = nz - k * (_noise(x, y, z + 0.4) - c)
    q = 1.0 / math.sqrt(nx * nx + ny * ny + nz * nz + 1e-300)
    return nx * q, ny * q, nz * q


@_jit
def _lamp(L, k, x, y, z, nx, ny, nz, a, b):
    """Unshadowed light of lamp `k` at a surface point, from sample (a, b) of the lamp:
    (direction 3, distance, r, g, b)."""
    if L[k, 0] == 0:
        w = 2.0 * b - 1.0
        q = math.sqrt(max(0.0, 1.0 - w * w)) * L[k, 4]
        px = L[k, 1] + q * math.cos(6.283185307 * a)
        py = L[k, 2] + q * math.sin(6.283185307 * a)
        pz = L[k, 3] + w * L[k, 4]
    else:
        px = L[k, 1] + (a - 0.5) * L[k, 11] + (b - 0.5) * L[k, 14]
        py = L[k, 2] + (a - 0.5) * L[k, 12] + (b - 0.5) * L[k, 15]
        pz = L[k, 3] + (a - 0.5) * L[k, 13] + (b - 0.5) * L[k, 16]
    dx, dy, dz = px - x, py - y, pz - z
    d2 = dx * dx + dy * dy + dz * dz
    d = math.sqrt(d2)
    inv = 1.0 / (d + 1e-9)
    dx, dy, dz = dx * inv, dy * inv, dz * inv
    e = max(0.0, dx * nx + dy * ny + dz * nz) / (d2 + 0.15)
    if L[k, 0] != 0:
        e *= max(0.0, -(dx * L[k, 8] + dy * L[k, 9] + dz * L[k, 10]))
    return dx, dy, dz, d, e * L[k, 5], e * L[k, 6], e * L[k, 7]


@_jit
def _far_radiance(W, E, i, t, ox, oy, oz, dx, dy, dz, textured):
    """Light that leaves a surface met by a bounced or reflected ray: one that is shaded without
    shadows of its own."""
    kinds, P, SF, M, H, HK, nodes, links, L = W
    x, y, z = ox + t * dx, oy + t * dy, oz + t * dz
    sf, nx, ny, nz, u, v, lx, ly, lz, face, eu, ev = _surface_at(W, i, x, y, z, dx, dy, dz)
    m = SF[sf, 0]
    if textured:
        r, g, b = _texture(M, m, u, v, lx, ly, lz, face, eu, ev, 0.01 * t)
    else:
        r, g, b = M[m, 20], M[m, 21], M[m, 22]
    near = 1.0 if textured else min(1.0, 0.15 + 0.85 * t / E[11])
    er, eg, eb = E[8] * near, E[9] * near, E[10] * near
    if E[6] > 0 and E[12] > 0:
        c = max(0.0, nx * E[0] + ny * E[1] + nz * E[2]) * E[12]
        er, eg, eb = er + c * E[3], eg + c * E[4], eb + c * E[5]
    for k in range(L.shape[0]):
        _, _, _, _, lr, lg, lb = _lamp(L, k, x, y, z, nx, ny, nz, 0.5, 0.5)
        er, eg, eb = er + 0.5 * near * lr, eg + 0.5 * near * lg, eb + 0.5 * near * lb
    glow = M[m, 9]
    if not textured:
        # Lamps are sampled on their own; what they light up close would fleck the filter.
        glow = min(glow, 0.3)
        k = max(0.3, 2.5 * E[9]) / max(1e-6, max(er, max(eg, eb)))
        if k < 1.0:
            er, eg, eb = er * k, eg * k, eb * k
    return r * (er + glow), g * (eg + glow), b * (eb + glow)


@_jit_alloc
def _render(W, C, E, size, seed):
    """uint8 (size, size, 3) photo and int64 (size, size) surface rows, −1 where the sky is."""
    kinds, P, SF, M, H, HK, nodes, links, L = W
    n_lights = L.shape[0]
    stack = np.zeros(256, np.int64)
    hit = np.full((size, size), -1, np.int64)
    prim = np.full((size, size), -1, np.int64)
    G = np.zeros((size, size, 12))  # position, normal, distance, albedo, foot
    V = np.zeros((size, size, 8))  # sun visibility, lamp rgb, bounced rgb
    F = np.zeros((size, size, 3))  # what the sensor gets
    weights = np.zeros(max(1, n_lights))
    pixel = 2.0 * C[12] / size
    jitter = (seed % 977) / 977.0

    for row in range(size):
        for col in range(size):
            sx = 2.0 * (col + 0.5) / size - 1.0
            sy = 1.0 - 2.0 * (row + 0.5) / size
            dx = C[3] + sx * C[6] + sy * C[9]
            dy = C[4] + sx * C[7] + sy * C[10]
            dz = C[5] + sx * C[8] + sy * C[11]
            q = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx * q, dy * q, dz * q
            t, i = _trace(W, stack, C[0], C[1], C[2], dx, dy, dz, 0.02, 1e4, False)
            if i < 0:
                G[row, col, 6] = 1e4
                continue
            x, y, z = C[0] + t * dx, C[1] + t * dy, C[2] + t * dz
            sf, nx, ny, nz, u, v, lx, ly, lz, face, eu, ev = _surface_at(W, i, x, y, z, dx, dy, dz)
            prim[row, col] = i
            hit[row, col] = sf
            m = SF[sf, 0]
            facing = max(0.12, -(nx * dx + ny * dy + nz * dz))
            foot = t * pixel / math.sqrt(facing)
            r, g, b = _texture(M, m, u, v, lx, ly, lz, face, eu, ev, foot)
            G[row, col, 0], G[row, col, 1], G[row, col, 2] = x, y, z
            G[row, col, 3], G[row, col, 4], G[row, col, 5] = nx, ny, nz
            G[row, col, 6] = t
            G[row, col, 7], G[row, col, 8], G[row, col, 9] = r, g, b
            G[row, col, 10] = foot
            # Interleaved sampling: the pixels of a 4 × 4 tile share out the strata of the sun's
            # disk and of the hemisphere; of a lamp every other pixel takes one. The tent filter
            # below gives each place in a tile the same weight, so that no pattern remains.
            s = (((row & 3) * 4 + (col & 3)) * 7 + 3) & 15
            a1 = (s + 0.2 + 0.6 * _hash(row, col, seed)) / 16.0
            rev = ((s & 1) << 3) | ((s & 2) << 1) | ((s & 4) >> 1) | ((s & 8) >> 3)
            b1 = (rev + 0.2 + 0.6 * _hash(col, row, seed + 1)) / 16.0
            odd = (row + col) & 1
            s = (((row & 3) * 2 + ((col & 3) >> 1)) * 3 + 1) & 7
            a2 = (s + 0.4 + 0.2 * _hash(row, col, seed + 2)) / 8.0
            rev = ((s & 1) << 2) | (s & 2) | ((s & 4) >> 2)
            b2 = (rev + 0.4 + 0.2 * _hash(col, row, seed + 3)) / 8.0
            eps = 1e-4 + 2e-4 * t
            hx, hy, hz = x + nx * eps, y + ny * eps, z + nz * eps
            # a tangent frame
            if abs(nz) < 0.9:
                k = 1.0 / math.sqrt(nx * nx + ny * ny)
                tx, ty, tz = -ny * k, nx * k, 0.0
            else:
                k = 1.0 / math.sqrt(ny * ny + nz * nz)
                tx, ty, tz = 0.0, -nz * k, ny * k
            bx, by, bz = ny * tz - nz * ty, nz * tx - nx * tz, nx * ty - ny * tx
            if E[6] > 0:
                ca, sa = math.cos(6.283185307 * a1), math.sin(6.283185307 * a1)
                rad = E[7] * math.sqrt(b1)
                # any two directions across the sun's do
                ux, uy = -E[1], E[0]
                k = 1.0 / math.sqrt(ux * ux + uy * uy + 1e-12)
                ux, uy = ux * k, uy * k
                wx, wy, wz = -E[2] * uy, E[2] * ux, E[0] * uy - E[1] * ux
                ex = E[0] + rad * (ca * ux + sa * wx)
                ey = E[1] + rad * (ca * uy + sa * wy)
                ez = E[2] + rad * sa * wz
                k = 1.0 / math.sqrt(ex * ex + ey * ey + ez * ez)
                if nx * E[0] + ny * E[1] + nz * E[2] > -0.2:
                    _, j = _trace(W, stack, hx, hy, hz, ex * k, ey * k, ez * k, eps, 1e4, True)
                    if j < 0:
                        V[row, col, 0] = 1.0
            if n_lights > 0 and odd == 1:
                total = 0.0
                for k in range(n_lights):
                    _, _, _, _, lr, lg, lb = _lamp(L, k, x, y, z, nx, ny, nz, 0.5, 0.5)
                    weights[k] = lr + lg + lb + 1e-6
                    total += weights[k]
                pick = (rev + 0.5) / 8.0 * total if n_lights > 1 else 0.0
                k = 0
                while k < n_lights - 1 and pick > weights[k]:
                    pick -= weights[k]
                    k += 1
                ex, ey, ez, d, lr, lg, lb = _lamp(
                    L, k, x, y, z, nx, ny, nz, a2, (b2 * 5.0 + jitter) % 1.0
                )
                if lr + lg + lb > 0:
                    _, j = _trace(W, stack, hx, hy, hz, ex, ey, ez, eps, d - 0.02, True)
                    if j < 0:
                        k2 = total / weights[k]
                        V[row, col, 1], V[row, col, 2], V[row, col, 3] = lr * k2, lg * k2, lb * k2
            # one bounced ray, by the cosine
            ca, sa = math.cos(6.283185307 * a1), math.sin(6.283185307 * a1)
            rad = math.sqrt(b1)
            up = math.sqrt(max(0.0, 1.0 - b1))
            ex = rad * (ca * tx + sa * bx) + up * nx
            ey = rad * (ca * ty + sa * by) + up * ny
            ez = rad * (ca * tz + sa * bz) + up * nz
            t2, j = _trace(W, stack, hx, hy, hz, ex, ey, ez, eps, 60.0, False)
            if j >= 0:
                r, g, b = _far_radiance(W, E, j, t2, hx, hy, hz, ex, ey, ez, False)
            else:
                r, g, b = _sky(E, ex, ey, ez, False)
            V[row, col, 4], V[row, col, 5], V[row, col, 6] = r, g, b

    # Light, gathered over neighbours that lie in the same plane, then put on the albedo.
    for row in range(size):
        for col in range(size):
            sx = 2.0 * (col + 0.5) / size - 1.0
            sy = 1.0 - 2.0 * (row + 0.5) / size
            dx = C[3] + sx * C[6] + sy * C[9]
            dy = C[4] + sx * C[7] + sy * C[10]
            dz = C[5] + sx * C[8] + sy * C[11]
            q = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
            dx, dy, dz = dx * q, dy * q, dz * q
            if prim[row, col] < 0:
                r, g, b = _sky(E, dx, dy, dz, True)
                F[row, col, 0], F[row, col, 1], F[row, col, 2] = r, g, b
                continue
            x, y, z = G[row, col, 0], G[row, col, 1], G[row, col, 2]
            nx, ny, nz = G[row, col, 3], G[row, col, 4], G[row, col, 5]
            t = G[row, col, 6]
            foot = G[row, col, 10]
            room = 3.0 * foot
            sun, count, odd_count = 0.0, 0.0, 0.0
            lr, lg, lb, ir, ig, ib = 0.0, 0.0, 0.0, 0.0, 0.0, 0.0
            for r2 in range(max(0, row - 3), min(size, row + 4)):
                for c2 in range(max(0, col - 3), min(size, col + 4)):
                    if prim[r2, c2] < 0:
                        continue
                    k = nx * G[r2, c2, 3] + ny * G[r2, c2, 4] + nz * G[r2, c2, 5]
                    if k < 0.85:
                        continue
                    k = nx * (G[r2, c2, 0] - x) + ny * (G[r2, c2, 1] - y) + nz * (G[r2, c2, 2] - z)
                    if abs(k) > room:
                        continue
                    k = (4.0 - abs(r2 - row)) * (4.0 - abs(c2 - col))
                    count += k
                    sun += k * V[r2, c2, 0]
                    if ((r2 + c2) & 1) == 1:
                        odd_count += k
                        lr += k * V[r2, c2, 1]
                        lg += k * V[r2, c2, 2]
                        lb += k * V[r2, c2, 3]
                    ir += k * V[r2, c2, 4]
                    ig += k * V[r2, c2, 5]
                    ib += k * V[r2, c2, 6]
            sun /= count
            k = 1.0 / (odd_count + 1e-9)
            lr, lg, lb = lr * k, lg * k, lb * k
            k = 1.0 / count
            ir, ig, ib = ir * k, ig * k, ib * k
            m = SF[hit[row, col], 0]
            mx, my, mz = nx, ny, nz
            if M[m, 10] > 0:
                mx, my, mz = _bent(M, m, nx, ny, nz, x, y, z, foot)
                # Bounced and lamp light also know the grain a little, from above and ahead.
                k = 1.0 + 0.8 * ((mz - nz) - (mx - nx) * dx - (my - ny) * dy)
                k = min(1.5, max(0.5, k))
                lr, lg, lb, ir, ig, ib = lr * k, lg * k, lb * k, ir * k, ig * k, ib * k
            er, eg, eb = lr + ir, lg + ig, lb + ib
            if E[6] > 0:
                c = max(0.0, mx * E[0] + my * E[1] + mz * E[2]) * sun
                er, eg, eb = er + c * E[3], eg + c * E[4], eb + c * E[5]
            glow, gloss, mirror = M[m, 9], M[m, 8], M[m, 14]
            r = G[row, col, 7] * ((1.0 - mirror) * er + glow)
            g = G[row, col, 8] * ((1.0 - mirror) * eg + glow)
            b = G[row, col, 9] * ((1.0 - mirror) * eb + glow)
            if gloss > 0 or mirror > 0:
                cosine = max(0.0, -(mx * dx + my * dy + mz * dz))
                k = 2.0 * (mx * dx + my * dy + mz * dz)
                ex, ey, ez = dx - k * mx, dy - k * my, dz - k * mz
                fresnel = gloss * (0.04 + 0.96 * (1.0 - cosine) ** 5)
                if gloss > 0.25 or mirror > 0:
                    eps = 1e-4 + 2e-4 * t
                    hx, hy, hz = x + nx * eps, y + ny * eps, z + nz * eps
                    t2, j = _trace(W, stack, hx, hy, hz, ex, ey, ez, eps, 1e4, False)
                    if j >= 0:
                        ar, ag, ab = _far_radiance(W, E, j, t2, hx, hy, hz, ex, ey, ez, True)
                    else:
                        ar, ag, ab = _sky(E, ex, ey, ez, mirror > 0)
                    r += ar * (fresnel + mirror * M[m, 0])
                    g += ag * (fresnel + mirror * M[m, 1])
                    b += ab * (fresnel + mirror * M[m, 2])
                power = 8.0 + 180.0 * gloss * gloss
                if E[6] > 0 and sun > 0:
                    k = max(0.0, ex * E[0] + ey * E[1] + ez * E[2]) ** power
                    k *= sun * gloss * (0.25 + power * 0.008)
                    r, g, b = r + k * E[3], g + k * E[4], b + k * E[5]
                for q2 in range(n_lights):
                    ax, ay, az, _, ar, ag, ab = _lamp(L, q2, x, y, z, mx, my, mz, 0.5, 0.5)
                    k = max(0.0, ex * ax + ey * ay + ez * az) ** power
                    # Lit only where the lamp's own light arrived.
                    k *= (
                        gloss
                        * (0.2 + power * 0.006)
                        * min(1.0, (lr + lg + lb) / (ar + ag + ab + 1e-6))
                    )
                    r, g, b = r + k * ar, g + k * ag, b + k * ab
            if E[13] > 0:
                k = 1.0 - math.exp(-E[13] * t)
                r, g, b = r + (E[18] - r) * k, g + (E[19] - g) * k, b + (E[20] - b) * k
            F[row, col, 0], F[row, col, 1], F[row, col, 2] = r, g, b

    # Exposure: between the mean and the mean of logarithms, as a camera's meter.
    logs, count, mean = 0.0, 0, 0.0
    for row in range(0, size, 2):
        for col in range(0, size, 2):
            k = 0.3 * F[row, col, 0] + 0.6 * F[row, col, 1] + 0.1 * F[row, col, 2]
            logs += math.log(k + 1e-3)
            mean += min(k, 4.0)
            count += 1
    key = math.sqrt(math.exp(logs / count) * (mean / count) + 1e-9)
    gain = E[31] * 0.45 / (key**0.85 * 0.4**0.15 + 1e-4)
    for row in range(size):
        for col in range(size):
            dx, dy = 2.0 * col / size - 1.0, 2.0 * row / size - 1.0
            k = gain * (1.0 - 0.11 * (dx * dx + dy * dy))
            for ch in range(3):
                w = F[row, col, ch] * k
                # A shoulder that keeps bright panes from burning out at once.
                w = w * (1.0 + w * 0.11) / (1.0 + w * 0.62)
                F[row, col, ch] = min(1.0, w) ** (1.0 / 2.2)

    # Edges: four more rays; each takes the finished colour of the nearest pixel that shows the
    # same solid, so that borders are smooth at the price of a primary ray.
    out = np.zeros((size, size, 3), np.uint8)
    for row in range(size):
        for col in range(size):
            p = prim[row, col]
            t = G[row, col, 6]
            edge = False
            for k in range(4):
                r2 = row + (1 if k == 0 else (-1 if k == 1 else 0))
                c2 = col + (1 if k == 2 else (-1 if k == 3 else 0))
                if r2 < 0 or c2 < 0 or r2 >= size or c2 >= size:
                    continue
                if prim[r2, c2] != p:
                    if p >= 0 and prim[r2, c2] >= 0:
                        d = (
                            G[row, col, 3] * G[r2, c2, 3]
                            + G[row, col, 4] * G[r2, c2, 4]
                            + G[row, col, 5] * G[r2, c2, 5]
                        )
                        if (
                            hit[r2, c2] == hit[row, col]
                            and d > 0.99
                            and abs(G[r2, c2, 6] - t) < 0.02 * t
                        ):
                            continue
                    edge = True
            r, g, b = F[row, col, 0], F[row, col, 1], F[row, col, 2]
            if edge:
                r, g, b = r * 0.5, g * 0.5, b * 0.5
                weight = 0.5
                # Foliage is all edges: two rays will do there.
                step = 2 if p >= 0 and M[SF[kinds[p, 1], 0], 12] > 0 else 1
                for k in range(0, 4, step):
                    ox = (-0.125, 0.375, 0.125, -0.375)[k]
                    oy = (-0.375, -0.125, 0.375, 0.125)[k]
                    sx = 2.0 * (col + 0.5 + ox) / size - 1.0
                    sy = 1.0 - 2.0 * (row + 0.5 + oy) / size
                    dx = C[3] + sx * C[6] + sy * C[9]
                    dy = C[4] + sx * C[7] + sy * C[10]
                    dz = C[5] + sx * C[8] + sy * C[11]
                    q = 1.0 / math.sqrt(dx * dx + dy * dy + dz * dz)
                    _, i = _trace(
                        W, stack, C[0], C[1], C[2], dx * q, dy * q, dz * q, 0.02, 1e4, False
                    )
                    best = 1e9
                    br, bc = row, col
                    for r2 in range(max(0, row - 1), min(size, row + 2)):
                        for c2 in range(max(0, col - 1), min(size, col + 2)):
                            if prim[r2, c2] == i:
                                d = (r2 - row - oy) ** 2 + (c2 - col - ox) ** 2
                                if d < best:
                                    best, br, bc = d, r2, c2
                    r += F[br, bc, 0]
                    g += F[br, bc, 1]
                    b += F[br, bc, 2]
                    weight += 1.0
                r, g, b = r / weight, g / weight, b / weight
            grain = (_hash(row, col, seed + 7) + _hash(col, row, seed + 8) - 1.0) * 2.2
            out[row, col, 0] = int(min(255.0, max(0.0, r * 255.0 + grain + 0.5)))
            out[row, col, 1] = int(min(255.0, max(0.0, g * 255.0 + grain + 0.5)))
            out[row, col, 2] = int(min(255.0, max(0.0, b * 255.0 + grain + 0.5)))
    return out, hit
