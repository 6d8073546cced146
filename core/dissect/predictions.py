"""A run without photos: a network's published predictions, browsable like any other run."""

from __future__ import annotations

import csv
import hashlib
import io
import json
import time
from pathlib import Path
from typing import NamedTuple

import duckdb
import numpy as np
import pandas as pd

from core.datasets.files import text_of
from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.names import plain_name, readable
from core.foundation.plain import Json
from core.foundation.settings import CACHE
from core.runs.run_file import Run
from core.runs.tables import append, create_tables, tables_digest

UNKNOWN = ("", "unk", "-", "unknown")


def _column(path: Path, name: str) -> list[str]:
    try:
        reader = csv.DictReader(io.StringIO(text_of(path), newline=""))
        columns = reader.fieldnames or []
        if name not in columns:
            raise BadFile(path, f"has no column {name!r}; its columns are {', '.join(columns)}")
        return [readable((row[name] or "").strip()) for row in reader]
    except csv.Error as err:
        raise BadFile(path, f"cannot be read as a table ({err})") from err


def _plain(name: str) -> str:
    """Broden's ``-s`` suffix of scene names is not part of the name.

    >>> _plain("dining_room-s"), _plain("street-s ")
    ('dining room', 'street')
    """
    return plain_name(name.strip().removesuffix("-s"))


def import_predictions(
    predictions: Path, index: Path | None = None, name: str = "predictions", root: Path = CACHE
) -> Run:
    """Make a run file from a table of predictions, or open it where it is made already.

    Parameters
    ----------
    predictions : CSV with columns ``pred`` and ``target``, a row an image; ``unk`` or an empty
        cell in `target` = no scene, such images are neither right nor wrong.
    index : CSV with a column ``image`` (and ``split``), in the same order: the images' ids.
    name : shown as the dataset's name.

    Raises :class:`core.foundation.errors.BadFile` for tables without these columns, UnitscopeError
    where the two differ in length.
    """
    table = _Predictions.read(predictions, index)
    content = [
        hashlib.sha256("\0".join(rows).encode()).hexdigest()
        for rows in (table.predicted, table.target, table.ids)
    ]
    settings: Json = {
        "dataset": {"spec": f"predictions:{predictions.name}", "digest": content[1]},
        "model": {"spec": f"predictions:{predictions.name}", "digest": content[0]},
        "layers": [],
        "splits": [],
        "q": None,
        "grid": None,
        "keep_maps": False,
    }
    digest = digest_of([content, name])[:DIGITS]
    final = root / f"{digest}.duckdb"
    if final.is_file():
        return Run(final)
    root.mkdir(parents=True, exist_ok=True)
    fresh = root / f"{digest}.duckdb.new"
    fresh.unlink(missing_ok=True)
    _write_run(fresh, table, settings, name)
    final.with_suffix(".arrays").mkdir(exist_ok=True)
    fresh.rename(final)
    return Run(final)


class _Predictions(NamedTuple):
    """A table of predictions, a row an image; "" where a scene is unknown."""

    ids: list[str]
    splits: list[str]
    predicted: list[str]
    target: list[str]

    @classmethod
    def read(cls, predictions: Path, index: Path | None) -> _Predictions:
        """From files as :func:`import_predictions` takes them, and raises."""
        predicted, target = _column(predictions, "pred"), _column(predictions, "target")
        n = len(target)
        ids = [f"row {k + 1}" for k in range(n)] if index is None else _column(index, "image")
        splits = ["all"] * n if index is None else _column(index, "split")
        if len(ids) != n:
            raise UnitscopeError(f"{predictions} has {n} rows, {index} has {len(ids)}")
        target = [_plain(t) if t.lower() not in UNKNOWN else "" for t in target]
        predicted = [_plain(p) if p.lower() not in UNKNOWN else "" for p in predicted]
        return cls(ids, splits, predicted, target)

    @property
    def scenes(self) -> list[str]:
        """The scenes of the images, sorted."""
        return sorted(set(self.target) - {""})

    @property
    def classes(self) -> list[str]:
        """The scenes and whatever else was predicted, sorted."""
        return sorted({*self.target, *self.predicted} - {""})

    def images(self) -> pd.DataFrame:
        """The run's table `images`."""
        n = len(self.ids)
        number = {label: k for k, label in enumerate(self.classes)}
        scene_of = {s: k for k, s in enumerate(self.scenes)}
        correct = [p == t if t else None for p, t in zip(self.predicted, self.target, strict=True)]
        return pd.DataFrame(
            {
                "image": np.arange(n, dtype=np.int32),
                "id": self.ids,
                "split": self.splits,
                "scene": pd.array([scene_of.get(t) for t in self.target], dtype="Int32"),
                "predicted": pd.array([number.get(p) for p in self.predicted], dtype="Int32"),
                "confidence": pd.array([None] * n, dtype="Float32"),
                "correct": pd.array(correct, dtype="boolean"),
                "photo_at": np.zeros(n, np.int64),
                "photo_bytes": np.zeros(n, np.int32),
            }
        )


def _write_run(fresh: Path, table: _Predictions, settings: Json, name: str) -> None:
    """A whole run file of a table of predictions; `name` is shown as the dataset's."""
    frame, classes, scenes = table.images(), table.classes, table.scenes
    class_of_scene = np.array([classes.index(s) for s in scenes])
    scored = frame["correct"].dropna().astype(bool)
    con = duckdb.connect(str(fresh))
    try:
        create_tables(con, [])
        append(con, "classes", pd.DataFrame({"class": np.arange(len(classes)), "name": classes}))
        rows = {"scene": np.arange(len(scenes)), "name": scenes, "class": class_of_scene}
        append(con, "scenes", pd.DataFrame(rows))
        append(con, "images", frame)
        by_split = {
            str(split): {"images": len(part), "right": int(part.sum())}
            for split, part in scored.groupby(frame["split"])
        }
        meta = {
            "settings": settings,
            "dataset_name": name,
            "model_notes": {},
            "categories": [],
            "channels": [],
            "images": {"planned": len(frame), "used": len(frame)},
            "accuracy": {
                "scored": len(scored),
                "right": int(scored.sum()),
                "by_split": by_split,
                "unmatched_scenes": [],
            },
            "tables_digest": tables_digest(con),
            "versions": {"duckdb": duckdb.__version__},
            "finished": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "seconds": {},
        }
        result = [(key, json.dumps(value, ensure_ascii=False)) for key, value in meta.items()]
        append(con, "meta", pd.DataFrame(result, columns=["key", "value"]))
        con.execute("CHECKPOINT")
    finally:
        con.close()


def per_scene(run: Run, split: str = "") -> pd.DataFrame:
    """Accuracy and the commonest confusion of every scene on a split, most images first; on all
    photos where `split` is empty.

    Columns scene, images, right, accuracy, confused_with, confused (images).
    """
    return run.sql(
        """
        WITH scored AS (
            SELECT s.name AS scene, k.name AS predicted, i.correct
            FROM images i JOIN scenes s USING (scene) LEFT JOIN classes k ON k.class = i.predicted
            WHERE i.correct IS NOT NULL AND (? = '' OR i.split = ?)
        ), wrong AS (
            SELECT scene, predicted, count(*) AS n FROM scored WHERE NOT correct
            GROUP BY scene, predicted
            QUALIFY row_number() OVER (PARTITION BY scene ORDER BY n DESC, predicted) = 1
        )
        SELECT scene, count(*) AS images, count_if(correct) AS right, avg(correct::INT) AS accuracy,
               any_value(w.predicted) AS confused_with, coalesce(any_value(w.n), 0) AS confused
        FROM scored LEFT JOIN wrong w USING (scene) GROUP BY scene ORDER BY images DESC, scene
        """,
        [split, split],
    )
