"""Encoders of photos and words: features that can be compared with one another.

What :attr:`~core.foundation.registry.Row.opens` names is called with the whole SPEC, for messages,
and its text behind the kind and its colon; it returns an :class:`Encoder`. This table needs no
PyTorch; most of what it opens does.

A photo is what the run's network saw of it (:meth:`core.runs.run_file.Run.photo`): its crop. What
a network makes of photos and words is kept beside the run, so that it is worked out once.
"""

from __future__ import annotations

import zipfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, Unpack

import numpy as np
from PIL import Image

from core.ablation.images import images_of
from core.datasets.decode import photo_of
from core.datasets.files import file_digest, text_of
from core.foundation.errors import BadFile, UnitscopeError, first_line, nearest
from core.foundation.files import expanded
from core.foundation.names import few, plain_name, readable
from core.foundation.progress import STOPPED, Hooks, Meter, Stopped, never
from core.foundation.registry import Registry, Row
from core.foundation.versions import versions_of
from core.runs.arrays import UNREADABLE, read_arrays, write_arrays
from core.runs.run_file import Run, derived

HERE = "core.labelling"

ENCODERS: Registry[Row] = Registry(
    "encoder",
    "unitscope.encoders",
    (
        Row(
            "open_clip",
            "open_clip:MODEL:FILE",
            "a network of the optional package open_clip_torch, with weights from a local file",
            f"{HERE}.clip_model:open_clip_model",
        ),
        Row(
            "features",
            "features:FILE",
            "features made elsewhere: image_ids, image_features, words, word_features in an .npz "
            "or a folder",
            f"{HERE}.encoders:open_features",
        ),
        Row(
            "conse",
            "conse[:MODEL_SPEC:VECTORS]",
            "no image–text encoder: what a classifier answers, placed among the word vectors of "
            "its classes' names (ConSE)",
            f"{HERE}.conse:open_conse",
        ),
    ),
    Row,
)

SHARD = 64
"""Photos whose features are kept in one file: what a stop can lose."""

WORD_SHARD = 1024
"""Words whose features are kept in one file."""

MOST_BYTES = 2**31
"""Bytes that a file of features may hold when it is unpacked: a million photos of 512 values."""


class Encoder(ABC):
    """Photos and words as vectors of one space.

    Attributes
    ----------
    spec : its SPEC. name : short, without paths of this machine.
    note : what it is and what it is not, in a sentence or two, shown wherever its answers are;
        empty for what does as its name says.
    """

    def __init__(self, spec: str, name: str, note: str = ""):
        self.spec, self.name, self.note = spec, name, note

    def __str__(self) -> str:
        return self.spec

    @abstractmethod
    def digest(self) -> str:
        """Hex digest over all that decides the features."""

    @abstractmethod
    def image_features(self, run: Run, images: np.ndarray, **hooks: Unpack[Hooks]) -> np.ndarray:
        """float32 (images, d) of images of a run, by number.

        Raises UnitscopeError where there are none of an image, Stopped where that is asked for.
        """

    @abstractmethod
    def word_features(self, run: Run, words: Sequence[str], **hooks: Unpack[Hooks]) -> np.ndarray:
        """float32 (words, d); NaN for a word that it does not know. run : where they are kept."""


def load_encoder(spec: str) -> Encoder:
    """Open an encoder by its SPEC (:data:`ENCODERS`).

    Raises UnitscopeError for an unknown kind, a missing package or file, one that does not fit.
    """
    return _opened(spec, _stamps(spec))


@lru_cache(maxsize=1)
def _opened(spec: str, _stamps: tuple[tuple[str, int, int], ...]) -> Encoder:
    """The last encoder that was opened: the methods of a bench ask for it one after another."""
    kind, _, rest = spec.partition(":")
    found = ENCODERS.row(kind, spec).load()(spec, rest)
    if not isinstance(found, Encoder):
        raise UnitscopeError(f"{spec!r} opened a {type(found).__name__}, not an Encoder")
    return found


def _stamps(spec: str) -> tuple[tuple[str, int, int], ...]:
    """(name, time, size) of the files that a SPEC names: of others it is another encoder."""
    found = []
    for part in filter(None, spec.split(":")):
        path = expanded(part)
        for file in sorted(path.iterdir()) if path.is_dir() else [path]:
            if file.is_file():
                at = file.stat()
                found.append((str(file), at.st_mtime_ns, at.st_size))
    return tuple(found)


# -- networks -----------------------------------------------------------------------------------


class NetworkEncoder(Encoder):
    """An encoder that computes features, and keeps them beside the run."""

    @abstractmethod
    def encode_photos(self, photos: Sequence[Image.Image]) -> np.ndarray:
        """float32 (photos, d), the same for a photo whatever the others are."""

    @abstractmethod
    def encode_words(self, words: Sequence[str]) -> np.ndarray:
        """float32 (words, d); NaN for a word that it does not know."""

    def image_features(self, run: Run, images: np.ndarray, **hooks: Unpack[Hooks]) -> np.ndarray:
        every: list[int] = images_of(run)["image"].tolist()
        place = {number: k for k, number in enumerate(every)}
        rows = np.array([place.get(int(number), -1) for number in images], np.int64)
        if (rows < 0).any():
            number = images[int((rows < 0).argmax())]
            raise UnitscopeError(f"run {run.digest} has no image number {number}")
        # Whole shards, whichever photos are asked for, so that all splits share them.
        shards = sorted({int(row) // SHARD for row in rows})
        parts = [every[shard * SHARD : (shard + 1) * SHARD] for shard in shards]

        def encode(numbers: Sequence[int]) -> np.ndarray:
            name = f"a photo of run {run.digest}"
            return self.encode_photos([photo_of(run.photo(n), name) for n in numbers])

        held = self._kept(run, "photos", parts, encode, hooks)
        at = {shard: k for k, shard in enumerate(shards)}
        features: np.ndarray = np.stack([held[at[row // SHARD]][row % SHARD] for row in rows])
        return features

    def word_features(self, run: Run, words: Sequence[str], **hooks: Unpack[Hooks]) -> np.ndarray:
        parts = [words[k : k + WORD_SHARD] for k in range(0, len(words), WORD_SHARD)]
        return np.concatenate(self._kept(run, "words", parts, self.encode_words, hooks))

    def _kept(
        self,
        run: Run,
        of: str,
        parts: Sequence[Sequence[Any]],
        encode: Callable[[Sequence[Any]], np.ndarray],
        hooks: Hooks,
    ) -> list[np.ndarray]:
        """The features of each part, as they are kept or made now."""
        meter, stop = Meter(hooks.get("progress")), hooks.get("stop", never)
        meter.start(f"encode {of}", sum(map(len, parts)), of=of)
        encoder, found = self.digest(), []
        for part in parts:
            facts = [encoder, of, list(part), versions_of("encoding")]
            path = derived(run, "encoded", facts, "npz")
            held = (read_arrays(path) or {}).get("features")
            if held is None or held.dtype != np.float32 or held.shape[:-1] != (len(part),):
                if stop():
                    raise Stopped(f"{meter.done} of {meter.total} {of} are encoded; {STOPPED}")
                held = encode(part).astype(np.float32)
                write_arrays(path, features=held)
                meter.step(len(part))
            else:
                meter.skip(len(part))
            found.append(held)
        return found


# -- files --------------------------------------------------------------------------------------


class FeatureFile(Encoder):
    """Features that were made elsewhere.

    images : id → row of image_features. words : word → row of word_features.
    """

    def __init__(self, spec: str, path: Path, arrays: dict[str, np.ndarray]):
        super().__init__(
            spec,
            path.name,
            f"features read from {path.name}: by what they were made is known to whoever made them",
        )
        self.path = path
        self.images = _rows(path, "image_ids", "image_features", arrays)
        self.words = _rows(path, "words", "word_features", arrays)
        self._image_features = arrays["image_features"]
        self._word_features = arrays["word_features"]
        sizes = [arrays[name].shape[1] for name in ("image_features", "word_features")]
        if sizes[0] != sizes[1]:
            raise BadFile(
                path,
                f"image_features have {sizes[0]} values each and word_features {sizes[1]}: they "
                "are not of one encoder",
            )
        self._plain = {plain_name(word): row for word, row in reversed(self.words.items())}

    def digest(self) -> str:
        files = sorted(self.path.iterdir()) if self.path.is_dir() else [self.path]
        return "".join(file_digest(str(file)).hex() for file in files)

    def image_features(self, run: Run, images: np.ndarray, **hooks: Unpack[Hooks]) -> np.ndarray:
        frame = images_of(run).set_index("image")["id"]
        ids = [readable(str(frame[int(number)])) for number in images]
        missing = [name for name in ids if name not in self.images]
        if missing:
            known = list(self.images)
            what = (
                f"{len(missing)} of {len(ids)} photos" if len(missing) < len(ids) else "any photo"
            )
            near = nearest(missing[0], known, 3)
            hint = f"; nearest to the first: {few(near)}" if near else f"; it has {few(known)}"
            raise BadFile(
                self.path,
                f"has no features of {what} of this run ({few(missing)}): image_ids are the "
                f"photos' ids in the data set{hint}",
            )
        features: np.ndarray = self._image_features[[self.images[name] for name in ids]]
        return features.astype(np.float32)

    def word_features(self, run: Run, words: Sequence[str], **hooks: Unpack[Hooks]) -> np.ndarray:
        found = np.full((len(words), self._word_features.shape[1]), np.nan, np.float32)
        for k, word in enumerate(words):
            row = self.words.get(word, self._plain.get(plain_name(word)))
            if row is not None:
                found[k] = self._word_features[row]
        return found


PARTS = ("image_ids", "image_features", "words", "word_features")
"""Arrays of an .npz; in a folder NAME.npy for features, NAME.txt with one name a line for names."""


def open_features(spec: str, rest: str) -> FeatureFile:
    """``features:FILE``: an .npz with the four arrays of :data:`PARTS`, or a folder of them.

    Rows are found by id and by word, so that their order does not matter.

    Raises BadFile where one is missing, is of another kind or shape, holds what is no finite
    number, only zeros, or a name twice; UnitscopeError where there is no such file.
    """
    path = expanded(rest)
    if not rest or not path.exists():
        raise UnitscopeError(f"{spec!r}: there is no file or folder {rest!r}: features:FILE")
    with reading(path):
        arrays = _of_folder(path) if path.is_dir() else _of_archive(path)
    return FeatureFile(spec, path, arrays)


@contextmanager
def reading(path: Path) -> Iterator[None]:
    """Errors of NumPy and of an archive within it become one of the file."""
    try:
        yield
    except (*UNREADABLE, zipfile.BadZipFile, MemoryError) as err:
        if isinstance(err, UnitscopeError):
            raise
        why = first_line(err)
        if "allow_pickle" in str(err):
            why = "it holds Python objects; save names as text, np.array(names, dtype=str)"
        raise BadFile(path, f"cannot be read as features: {why}") from err


def _of_archive(path: Path) -> dict[str, np.ndarray]:
    if not zipfile.is_zipfile(path):
        raise BadFile(path, f"is no .npz with the arrays {', '.join(PARTS)}")
    with zipfile.ZipFile(path) as archive:
        size = sum(member.file_size for member in archive.infolist())
    if size > MOST_BYTES:
        raise BadFile(path, f"holds {size:,} bytes; features of at most {MOST_BYTES:,} are read")
    with np.load(path, allow_pickle=False) as held:
        return {name: held[name] for name in _all_there(path, held.files)}


def _of_folder(path: Path) -> dict[str, np.ndarray]:
    size = sum(file.stat().st_size for file in path.iterdir() if file.is_file())
    if size > MOST_BYTES:
        raise BadFile(path, f"holds {size:,} bytes; features of at most {MOST_BYTES:,} are read")
    _all_there(path, [file.stem for file in path.iterdir() if file.suffix in (".npy", ".txt")])
    found: dict[str, np.ndarray] = {}
    for name in PARTS:
        file = path / f"{name}.npy"
        if name.endswith("_features"):
            if not file.is_file():
                raise BadFile(file, "does not exist")
            found[name] = np.load(file, mmap_mode="r", allow_pickle=False)
        else:
            lines = text_of(path / f"{name}.txt").splitlines()
            found[name] = np.array([line.strip() for line in lines if line.strip()], dtype=str)
    return found


def _all_there(path: Path, names: Sequence[str]) -> Sequence[str]:
    missing = [name for name in PARTS if name not in names]
    if missing:
        raise BadFile(
            path,
            f"has no {missing[0]} (it has {few(sorted(names)) or 'nothing'}); features need "
            f"{', '.join(PARTS)}, so that it is known which row is of which photo and word",
        )
    return PARTS


def _rows(path: Path, names: str, features: str, arrays: dict[str, np.ndarray]) -> dict[str, int]:
    """Name → row, of names and features that were checked."""
    listed, held = arrays[names], arrays[features]
    if not (isinstance(listed, np.ndarray) and isinstance(held, np.ndarray)):
        raise BadFile(path, f"{names} or {features} are no array")  # bytes, to NumPy
    if listed.ndim != 1 or listed.dtype.kind != "U":
        raise BadFile(path, f"{names} are {listed.dtype} {listed.shape}; a list of text is meant")
    if held.ndim != 2 or held.dtype.kind != "f" or 0 in held.shape:
        raise BadFile(
            path, f"{features} are {held.dtype} {held.shape}; floats (rows, values) are meant"
        )
    if len(listed) != len(held):
        raise BadFile(path, f"{len(listed)} {names} and {len(held)} rows of {features}")
    rows: dict[str, int] = {}
    for row, name in enumerate(map(readable, listed.tolist())):
        if rows.setdefault(name, row) != row:
            raise BadFile(path, f"{names} has {name!r} twice, in rows {rows[name]} and {row}")
    for start in range(0, len(held), 4096):
        part = np.asarray(held[start : start + 4096], np.float64)
        bad = ~np.isfinite(part).all(1)
        if bad.any():
            name = list(rows)[start + int(bad.argmax())]
            raise BadFile(path, f"{features} of {name!r} are not all finite numbers")
        if not part.any(1).all():
            name = list(rows)[start + int((~part.any(1)).argmax())]
            raise BadFile(path, f"{features} of {name!r} are 0 throughout")
    return rows
