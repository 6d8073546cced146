"""Decoding of photos and label maps in threads, ahead of the network."""

from __future__ import annotations

import io
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
from PIL import Image

from core.datasets.base import Channel, Problem, SceneDataset
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.geometry import Preprocessing

PHOTO_SIDE = 224
"""Least side in pixels of the photos kept with a run: small networks see too little to show."""


class Decoded(NamedTuple):
    """One image ready for the network, or the reason why it is not.

    image : place in the dataset.
    seen : uint8 (height, width, 3), or None where `problem` is set.
    labels : uint16 (channels, grid height, grid width), concept ids.
    whole : concept ids that hold for the whole image.
    photo : JPEG of the seen part of the photo, to be looked at (b"" where not wanted).
    """

    image: int
    seen: np.ndarray | None
    labels: np.ndarray
    whole: tuple[int, ...]
    photo: bytes
    problem: Problem | None


def sample_labels(
    maps: np.ndarray,
    channels: Sequence[Channel],
    preprocessing: Preprocessing,
    photo_size: tuple[int, int],
    grid: tuple[int, int],
) -> np.ndarray:
    """Label maps (channels, h, w) on the working grid (channels, grid height, grid width).

    Sampled where the network's view has its grid cells' centres. A concept that stands at one
    pixel in two levels of a category is kept in the first, so that it counts once.
    """
    if not maps.any():  # a photo without masks has maps of one pixel, of no shape
        return np.zeros((len(maps), grid[1], grid[0]), np.uint16)
    rows, columns = preprocessing.sample_points(photo_size, (maps.shape[2], maps.shape[1]), grid)
    sampled = maps[:, rows[:, None], columns].astype(np.uint16)
    for k in range(1, len(channels)):
        for j in range(k):
            if channels[j].category == channels[k].category:
                sampled[k][sampled[k] == sampled[j]] = 0
    return sampled


def decode(
    dataset: SceneDataset,
    index: int,
    preprocessing: Preprocessing,
    grid: tuple[int, int],
    keep_photo: bool = True,
    with_labels: bool = True,
) -> Decoded:
    """Read one image and its annotations. A file that cannot be used comes back as `problem`."""
    empty = np.zeros((len(dataset.channels), grid[1], grid[0]), np.uint16)
    try:
        photo = dataset.photo(index)
        view = preprocessing.view(photo)
        whole: tuple[int, ...] = ()
        labels = empty
        if with_labels:
            annotations = dataset.annotations(index)
            whole = annotations.whole
            if dataset.channels:
                labels = sample_labels(
                    annotations.maps, dataset.channels, preprocessing, photo.size, grid
                )
        jpeg = shown(photo, view, preprocessing) if keep_photo else b""
        return Decoded(index, np.asarray(view), labels, whole, jpeg, None)
    except BadFile as err:
        problem = Problem(dataset.ids[index], err.path, err.reason)
    except UnitscopeError as err:
        problem = Problem(dataset.ids[index], dataset.ids[index], str(err))
    return Decoded(index, None, empty, (), b"", problem)


def shown(photo: Image.Image, view: Image.Image, preprocessing: Preprocessing) -> bytes:
    """JPEG of the seen part of a photo, to be looked at. view : as the network sees it."""
    out = io.BytesIO()
    large = view if min(view.size) >= PHOTO_SIDE else preprocessing.view(photo, PHOTO_SIDE)
    large.save(out, "JPEG", quality=85)
    return out.getvalue()


def decode_ahead(
    dataset: SceneDataset,
    indices: Sequence[int] | np.ndarray,
    preprocessing: Preprocessing,
    grid: tuple[int, int],
    threads: int = 2,
    ahead: int = 96,
    keep_photo: bool = True,
    with_labels: bool = True,
) -> Generator[Decoded, None, None]:
    """Decode `indices` in order, up to `ahead` images before they are asked for.

    Threads do: Pillow lets go of the GIL while it decodes and resizes.
    """
    waiting: deque[Future[Decoded]] = deque()
    with ThreadPoolExecutor(threads, thread_name_prefix="decode") as pool:
        try:
            for index in indices:
                waiting.append(
                    pool.submit(
                        decode, dataset, int(index), preprocessing, grid, keep_photo, with_labels
                    )
                )
                if len(waiting) >= ahead:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()
