"""`rooms`, the embedded dataset: photos of a small world that the project draws itself.

Every photo is a pure function of (seed, scene, split, number). Nothing is downloaded; photos
and label maps are drawn once, in parallel, into ``cache/rooms-<digest>/`` and read from there.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Callable, Hashable
from concurrent.futures import FIRST_COMPLETED, ThreadPoolExecutor, wait
from pathlib import Path

import numpy as np
from PIL import Image

from core.datasets.base import Annotations, Channel, Concept, SceneDataset
from core.datasets.decode import read_photo
from core.foundation.errors import BadFile, UnitscopeError, unknown
from core.foundation.plain import Keywords
from core.foundation.progress import Meter, Report
from core.foundation.settings import ROOT
from core.foundation.versions import WORLD
from core.rooms.drawing import indoor, outdoor
from core.rooms.drawing.colors import NAMES, color_names
from core.rooms.drawing.tracer import Picture, World

SIZE = 192
"""Photos are SIZE × SIZE pixels; their label maps too."""

SCENES = {**indoor.SCENES, **outdoor.SCENES}
SPLITS = ("train", "val", "test")
_SHARES = {"train": 16, "val": 22, "test": 30}  # of 68


def _vocabulary() -> list[Concept]:
    """All concepts, category by category, in alphabetical order: ids that never depend on
    what happens to be drawn."""
    columns = (
        ("object", {*indoor.OBJECTS, *outdoor.OBJECTS}),
        ("part", {*indoor.PARTS, *outdoor.PARTS}),
        ("material", {*indoor.MATERIALS, *outdoor.MATERIALS}),
        ("color", set(NAMES)),
    )
    rows = [(name, category) for category, names in columns for name in sorted(names - {""})]
    return [Concept(k + 1, name, category) for k, (name, category) in enumerate(rows)]


def build_world(seed: int, scene: str, split: str, number: int) -> World:
    """The finished scene of photo `number` of a scene and split: a pure function of its arguments.

    The random numbers of one photo depend on nothing but these four, so that any photo can be
    drawn alone and larger sets begin with the smaller ones. Raises UnitscopeError for names that
    do not exist.
    """
    if scene not in SCENES:
        raise unknown("scene", scene, SCENES)
    if split not in SPLITS:
        raise unknown("split", split, SPLITS)
    rng = np.random.default_rng([seed, zlib.crc32(scene.encode()), SPLITS.index(split), number])
    return SCENES[scene](rng)


def draw_picture(seed: int, scene: str, split: str, number: int, size: int = SIZE) -> Picture:
    """Photo `number` of a scene and split, with its masks; arguments as of :func:`build_world`."""
    return build_world(seed, scene, split, number).render(size)


class Rooms(SceneDataset):
    """The embedded dataset; see the module.

    Parameters
    ----------
    seed : another seed gives another set of photos of the same world.
    per_scene : photos of each scene over all splits, shared out 16 : 22 : 30 over train, val
        and test. The embedded network has seen the train photos and never the others.
    cache : folder under which ``rooms-<digest>/`` lies; relative paths count from the
        repository's root.

    Raises
    ------
    UnitscopeError where per_scene is less than 3.
    """

    def __init__(self, seed: int = 7, per_scene: int = 68, cache: Path = Path("cache")):
        if per_scene < 3 or seed < 0:
            raise UnitscopeError(
                f"rooms: per_scene={per_scene} must be at least 3 and seed={seed} not negative"
            )
        self.seed, self.per_scene = seed, per_scene
        counts = {s: max(1, round(per_scene * _SHARES[s] / 68)) for s in SPLITS}
        counts["test"] = max(1, per_scene - counts["train"] - counts["val"])
        scenes = list(SCENES)
        rows = [
            (k, split, number)
            for split in SPLITS
            for k in range(len(scenes))
            for number in range(counts[split])
        ]
        given = [
            f"{name}={value}"
            for name, value, usual in (("seed", seed, 7), ("per_scene", per_scene, 68))
            if value != usual
        ]
        super().__init__(
            name="rooms",
            spec="rooms" + (":" + ",".join(given) if given else ""),
            ids=[f"{scenes[k].replace(' ', '_')}-{split}-{n:03d}" for k, split, n in rows],
            scene=np.array([k for k, _, _ in rows], np.int32),
            split=[split for _, split, _ in rows],
            scenes=scenes,
            concepts=_vocabulary(),
            channels=[Channel(c, c) for c in ("object", "part", "material", "color")],
        )
        self._number = [n for _, _, n in rows]
        self._id_of = {(c.name, c.category): c.id for c in self.concepts}
        self._first_color = self._id_of[NAMES[0], "color"]
        digest = hashlib.sha256(
            f"world={WORLD} seed={seed} per_scene={per_scene} size={SIZE}".encode()
        )
        self._digest = digest.hexdigest()
        # Photos do not depend on per_scene: sets of any size share one folder.
        shared = hashlib.sha256(f"world={WORLD} seed={seed} size={SIZE}".encode())
        self.folder = ROOT / cache / f"rooms-{shared.hexdigest()[:12]}"

    @classmethod
    def from_spec(cls, rest: str) -> Rooms:
        """``""``, ``"seed=7"``, ``"per_scene=40"`` or both, separated by commas;
        :func:`core.rooms.plant.open_rooms` knows ``plant=`` as well."""
        options: Keywords = {}
        for item in filter(None, (part.strip() for part in rest.split(","))):
            key, _, value = item.partition("=")
            if key not in ("seed", "per_scene"):
                raise unknown("option of rooms", key, ("seed", "per_scene", "plant"))
            try:
                options[key] = int(value)
            except ValueError:
                raise UnitscopeError(f"rooms:{rest}: {key} must be a whole number") from None
        return cls(**options)

    def content_digest(self) -> str:
        """Hex digest over the seed, the numbers of photos and the drawing code."""
        return self._digest

    # -- scenes -------------------------------------------------------------------------------

    def recipe(self, index: int) -> tuple[int, str, str, int]:
        """What photo `index` is drawn from: seed, scene, split and number."""
        scene = self.scenes[self.scene[index]]
        return self.seed, scene, self.split[index], self._number[index]

    def world(self, index: int) -> World:
        """The finished scene of photo `index`, a new one at each call."""
        return build_world(*self.recipe(index))

    def scene_key(self, index: int) -> Hashable:
        """What two photos have in common, of whatever dataset, that show one scene alike."""
        return self.recipe(index)

    def meter(self, index: int) -> float:
        """Reading of the camera's meter at which photo `index` is exposed; 0: its own."""
        return 0.0

    def picture(self, index: int) -> Picture:
        """Photo `index` with its masks, drawn now."""
        return draw_picture(*self.recipe(index))

    def planes(self, picture: Picture) -> np.ndarray:
        """Concept ids of a picture of this world, uint16 (4, H, W): object, part, material,
        colour, 0 where nothing is named. Raises UnitscopeError for a name that is no concept."""
        planes = np.zeros((4, *picture.object.shape), "<u2")
        for k, plane in enumerate(("object", "part", "material")):
            names = picture.names[plane]
            try:
                ids = [0] + [self._id_of[name, plane] if name else 0 for name in names[1:]]
            except KeyError as err:
                raise UnitscopeError(
                    f"rooms: a picture shows the {plane} {err.args[0][0]!r}, which the "
                    "scene modules' lists of names do not have"
                ) from None
            planes[k] = np.array(ids, np.uint16)[getattr(picture, plane)]
        planes[3] = color_names(picture.rgb).astype(np.uint16) + self._first_color
        return planes

    # -- files --------------------------------------------------------------------------------

    def _home(self, index: int) -> Path:
        """The folder of photo `index` and its labels."""
        return self.folder

    def _photo_path(self, index: int) -> Path:
        return self._home(index) / f"{self.ids[index]}.png"

    def _labels_path(self, index: int) -> Path:
        return self._home(index) / f"{self.ids[index]}.labels"

    def _write(self, path: Path, write: Callable[[Path], object]) -> None:
        # A private name and a rename: a reader, or a second process that draws the same
        # photo, never sees half a file.
        part = path.with_name(f"{path.name}.{os.getpid()}.{os.urandom(4).hex()}.partial")
        try:
            write(part)
            part.replace(path)
        finally:
            part.unlink(missing_ok=True)

    def _draw_one(self, index: int) -> None:
        picture = self.picture(index)
        planes = self.planes(picture)
        self._home(index).mkdir(parents=True, exist_ok=True)
        packed = zlib.compress(planes.tobytes(), 1)
        self._write(self._labels_path(index), lambda p: p.write_bytes(packed))
        # The photo last: where it lies, the labels lie too.
        self._write(
            self._photo_path(index),
            lambda p: Image.fromarray(picture.rgb).save(p, "PNG", compress_level=1),
        )

    def missing(self) -> list[int]:
        """Positions of the photos that are not drawn yet."""
        there = {
            home: {path.name for path in home.iterdir()} if home.is_dir() else set()
            for home in {self._home(k) for k in range(len(self.ids))}
        }
        return [k for k, name in enumerate(self.ids) if f"{name}.png" not in there[self._home(k)]]

    def draw(self, progress: Report | None = None, workers: int | None = None) -> None:
        """Draw every photo that is missing, over all cores; a second call continues a first
        that was stopped.

        Parameters
        ----------
        progress : called after every photo, with those drawn before included.
        workers : threads; by default one a core. The tracer releases the GIL.
        """
        todo = self.missing()
        meter = Meter(progress)
        meter.start("draw", len(self.ids), len(self.ids) - len(todo), "photos")
        if not todo:
            return
        self._draw_one(todo[0])  # compiles once, before threads would wait for one another
        meter.step()
        with ThreadPoolExecutor(workers or os.cpu_count() or 1) as pool:
            pending = {pool.submit(self._draw_one, k) for k in todo[1:]}
            try:
                while pending:
                    finished, pending = wait(pending, return_when=FIRST_COMPLETED)
                    for future in finished:
                        future.result()
                    meter.step(len(finished))
            except BaseException:
                for future in pending:
                    future.cancel()
                raise

    def photo(self, index: int) -> Image.Image:
        """Photo `index`, RGB, SIZE × SIZE; drawn now where it is missing or damaged."""
        path = self._photo_path(index)
        for attempt in range(2):
            if attempt or not path.exists():
                self._draw_one(index)
            try:
                return read_photo(path)
            except BadFile:
                continue
        raise BadFile(path, "cannot be read back after it was drawn; is the disk full?")

    def annotations(self, index: int) -> Annotations:
        """Object, part, material and colour maps of photo `index`, uint16 (4, SIZE, SIZE)."""
        path = self._labels_path(index)
        for attempt in range(2):
            if attempt or not path.exists():
                self._draw_one(index)
            try:
                planes = np.frombuffer(zlib.decompress(path.read_bytes()), "<u2")
                return Annotations(planes.reshape(4, SIZE, SIZE).astype(np.uint16, copy=False))
            except (OSError, zlib.error, ValueError):
                continue
        raise BadFile(path, "cannot be read back after it was drawn; is the disk full?")
