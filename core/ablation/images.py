"""Images of a run: which of them, their true and predicted classes, and what the network saw."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pandas as pd

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.geometry import Preprocessing
from core.runs.run_file import Run


def images_of(run: Run) -> pd.DataFrame:
    """The run's images by number: image, id, split, scene (name or None), target (class of the
    scene; −1 where the network does not know it), predicted (class)."""
    frame = run.sql("""
        SELECT i.image, i.id, i.split, s.name AS scene, coalesce(s.class, -1) AS target,
               i.predicted
        FROM images i LEFT JOIN scenes s USING (scene) ORDER BY i.image
        """)
    frame["scene"] = frame["scene"].astype(object).where(frame["scene"].notna(), None)
    return frame


def class_names(run: Run) -> list[str]:
    """Names of the network's outputs, in the dataset's spelling where a scene has that class."""
    names: list[str] = run.sql("""
        SELECT coalesce(min(s.name), min(k.name)) AS name
        FROM classes k LEFT JOIN scenes s ON s.class = k.class GROUP BY k.class ORDER BY k.class
        """)["name"].tolist()
    return names


def choose(
    images: pd.DataFrame,
    scene: str | None = None,
    splits: Sequence[str] | None = None,
    ids: Sequence[str] | None = None,
) -> np.ndarray:
    """Rows of :func:`images_of` that are of a scene, of splits, among ids: int64, ascending.

    Raises for an unknown scene, split or id (nearest), and where no image is left.
    """
    keep = np.ones(len(images), bool)
    words = []
    if scene is not None:
        known = images["scene"].dropna().unique().tolist()
        if scene not in known:
            raise unknown("scene", scene, known)
        keep &= (images["scene"] == scene).to_numpy()
        words.append(f"of scene {scene!r}")
    if splits:
        known = images["split"].unique().tolist()
        for split in splits:
            if split not in known:
                raise unknown("split", split, known)
        keep &= images["split"].isin(list(splits)).to_numpy()
        words.append(f"of split {', '.join(splits)}")
    if ids is not None:
        here = set(images["id"])
        for name in ids:
            if name not in here:
                raise unknown("image of this run", name, images["id"])
        keep &= images["id"].isin(list(ids)).to_numpy()
        words.append("among the ids given")
    rows = np.flatnonzero(keep)
    if not len(rows):
        raise UnitscopeError(f"no image is {' and '.join(words) or 'there'}")
    return rows


def seen_size(preprocessing: Preprocessing, width: int, height: int) -> tuple[int, int]:
    """(width, height) of the network's input for a stored photo of the given size, which shows
    the part that the network saw, at a scale for people.

    >>> seen_size(Preprocessing(resize=144, center_crop=128), 224, 224)
    (128, 128)
    >>> seen_size(Preprocessing(resize=100, center_crop=None), 300, 224)
    (133, 100)
    """
    side, resize, crop = preprocessing.center_crop, preprocessing.resize, preprocessing.crop
    if side is not None:
        return (side, side) if isinstance(side, int) else side
    if isinstance(resize, int):
        short = min(width, height)
        return int(width * resize / short), int(height * resize / short)
    if resize is None and crop is not None:
        return crop[2] - crop[0], crop[3] - crop[1]
    return resize or (width, height)


def stored_photos(run: Run, preprocessing: Preprocessing, images: np.ndarray) -> np.ndarray:
    """uint8 (images, height, width, 3): the run's stored photos at the network's own size.

    They are JPEGs, and those of small inputs were stored larger: close to what the network saw,
    not equal to it.
    """
    from core.datasets.decode import photo_of

    photos = []
    for image in images:
        photo = photo_of(run.photo(int(image)), f"photo {image} of run {run.digest}")
        size = seen_size(preprocessing, *photo.size)
        photos.append(np.asarray(photo if photo.size == size else photo.resize(size)))
    return np.stack(photos)


def dataset_photos(run: Run, preprocessing: Preprocessing) -> Callable[[np.ndarray], np.ndarray]:
    """Reads what the network saw from the run's dataset; raises where that cannot be opened."""
    from core.datasets import dataset_of

    dataset = dataset_of(run)
    place = {name: k for k, name in enumerate(dataset.ids)}
    ids = run.sql("SELECT image, id FROM images").set_index("image")["id"]

    def read(images: np.ndarray) -> np.ndarray:
        return np.stack(
            [np.asarray(preprocessing.view(dataset.photo(place[ids[int(k)]]))) for k in images]
        )

    return read
