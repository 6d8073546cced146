"""`SceneDataset`: the common interface of all readers of photos and annotations."""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, NamedTuple

import numpy as np
from PIL import Image

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.names import readable, with_source

CATEGORIES = ("scene", "object", "part", "color", "material", "texture")
"""Every category a concept can have (Broden's six and its spelling)."""


class Concept(NamedTuple):
    """One annotated label. `id` counts from 1; 0 in a label map means "not annotated"."""

    id: int
    name: str
    category: str


class Channel(NamedTuple):
    """One integer map per photo: a category, with one channel for each level of parts."""

    name: str
    category: str


class Problem(NamedTuple):
    """A file or row that was left out, and why."""

    image: str
    path: str
    reason: str


class Annotations(NamedTuple):
    """What is annotated in one photo.

    maps : uint16 (channels, height, width) of concept ids, 0 = not annotated. The maps lie
        over the upright photo, at their own resolution; no channels → shape (0, 1, 1).
    whole : ids of the concepts that hold for the whole photo (Broden's numbers for scene and
        texture). The photo's own scene is added by the engine, not here.
    """

    maps: np.ndarray
    whole: tuple[int, ...] = ()


@dataclass
class SceneDataset(ABC):
    """Photos with their scene, split and label maps.

    Subclasses fill the columns (all of the same length N) and read single photos; they hold
    file names, never pixels, so that a dataset of any size is small. Reading must be
    thread-safe.

    Attributes
    ----------
    name : short name shown on figures, e.g. ``"nyuv2"``.
    spec : the SPEC it was opened by.
    ids : image ids, unique, in a fixed order.
    scene : int32 (N,), index into `scenes`, −1 where unknown.
    split : one word an image, e.g. ``"train"``, ``"test"``.
    scenes : scene names.
    concepts : the concept table; ``concepts[k].id == k + 1``. Scene names are not in it: the
        engine keeps them apart.
    channels : one entry a plane of :class:`Annotations`' maps.
    problems : what was left out while the dataset's tables were read.
    labels_by : the network whose predictions the label maps are; empty where people made them.
    notes : what was read in a way that a user may not expect, although nothing was left out.
    source : digest of the reader's own source text, if the reader has no version of its own (a
        ``python:`` SPEC); part of :meth:`digest`.
    """

    VERSION: ClassVar[int] = 1
    """Raised where the same files are read otherwise: part of the digest of a run."""

    name: str
    spec: str
    ids: list[str]
    scene: np.ndarray
    split: list[str]
    scenes: list[str]
    concepts: list[Concept]
    channels: list[Channel]
    problems: list[Problem] = field(default_factory=list)
    labels_by: str = ""
    notes: list[str] = field(default_factory=list)
    source: str = ""

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def shown_name(self) -> str:
        """`name` as figures and tables state it (:func:`core.foundation.names.with_source`)."""
        return with_source(self.name, self.labels_by)

    @abstractmethod
    def photo(self, index: int) -> Image.Image:
        """Photo `index`, upright, RGB. Raises :class:`core.foundation.errors.BadFile`."""

    @abstractmethod
    def annotations(self, index: int) -> Annotations:
        """Label maps of photo `index`. Raises :class:`core.foundation.errors.BadFile`."""

    @abstractmethod
    def content_digest(self) -> str:
        """Hex digest over all that the photos and annotations are made of.

        Two datasets with one digest give the same pixels and labels: files' bytes, the
        tables read, and the reader's own options go in; paths of this machine do not.
        """

    def digest(self) -> str:
        """Hex digest of all that decides photos and annotations: :meth:`content_digest`, and of a
        reader of the user's own also its source text."""
        content = self.content_digest()
        if not self.source:
            return content
        return hashlib.sha256(f"{content}\0{self.source}".encode()).hexdigest()

    def index_of(self, image_id: str) -> int:
        """Position of an image id. Raises with the nearest ids where it does not exist."""
        try:
            return self._positions()[readable(image_id)]
        except KeyError:
            raise unknown("image", image_id, self.ids) from None

    def _positions(self) -> dict[str, int]:
        known = self.__dict__.get("_position_of")
        if known is None:
            known = {image: k for k, image in enumerate(self.ids)}
            self.__dict__["_position_of"] = known
        return known

    def check(self) -> None:
        """Raise where the columns are inconsistent, so that a reader's mistake is found early."""
        n = len(self.ids)
        if n == 0:
            raise UnitscopeError(f"dataset {self.spec!r} has no usable image")
        if not (len(self.scene) == len(self.split) == n):
            raise UnitscopeError(
                f"dataset {self.spec!r}: {n} ids, {len(self.scene)} scenes, "
                f"{len(self.split)} splits"
            )
        if len(set(self.ids)) != n:
            raise UnitscopeError(f"dataset {self.spec!r} has duplicate image ids")
        for k, concept in enumerate(self.concepts):
            if concept.id != k + 1 or concept.category not in CATEGORIES:
                raise UnitscopeError(
                    f"dataset {self.spec!r}: concept {concept} at position {k} "
                    f"(ids count from 1; categories are {', '.join(CATEGORIES)})"
                )
        if len(self.concepts) >= 2**16:
            raise UnitscopeError(
                f"dataset {self.spec!r} has {len(self.concepts)} concepts; 65535 is the most"
            )

    def select(self, splits: Sequence[str] | None) -> np.ndarray:
        """Positions of the images of the given splits (all where None), in order."""
        if splits is None:
            return np.arange(len(self.ids))
        known = sorted(set(self.split))
        for split in splits:
            if split not in known:
                raise unknown("split", split, known)
        return np.flatnonzero(np.isin(np.asarray(self.split), list(splits)))
