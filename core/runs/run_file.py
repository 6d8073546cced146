"""Run files: one finished dissection = one read-only DuckDB file and arrays beside it.

``<root>/<digest>.duckdb``   the tables of :data:`TABLES`, described in docs/run-file.md
``<root>/<digest>.arrays/``  wide arrays as .npy (pooled features, logits, label grids, maps)
                             and the photos as the network saw them
``<root>/<digest>.derived/`` what was worked out from a finished run and is kept for speed
``<root>/<digest>.partial/`` a run that is being made or was stopped

A run file is renamed into place when it is whole and never written again, so readers need no
locks. The digest covers all that decides the numbers in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import duckdb
import numpy as np
import pandas as pd

from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import Damaged, UnitscopeError, first_line, unknown
from core.foundation.names import with_source
from core.foundation.versions import VERSIONS
from core.runs.arrays import ArrayFile, array_header, array_name
from core.runs.tables import TABLES

Kept = TypeVar("Kept")

NEEDS_NONE = (
    "Units, labels, formulas, concepts and clusters need no answer of the network; accuracy, "
    "confusions, contributions and switching units off do"
)
"""What a run of a network without a classifier is good for."""


class _Facts(dict[str, Any]):
    """Facts of a run file; one that is missing is a mistake in the file, not in the program."""

    def __missing__(self, key: str) -> Any:
        raise Damaged(
            f"its table `meta` has no {key!r}: it was written by another version, or is damaged"
        )


class Run:
    """A finished run, opened read-only. Many readers may hold one at once.

    A run file may come from a stranger: its tables, the numbers in them that are used as places
    in arrays, and the arrays' shapes and types are checked before anything is computed from them.

    Attributes
    ----------
    digest : its name.
    path : the DuckDB file.
    arrays : the folder of wide arrays.
    """

    def __init__(self, path: Path):
        """Open a run file. Raises UnitscopeError where there is none, Damaged for a broken one."""
        if not path.is_file():
            raise UnitscopeError(f"there is no run file {path}")
        self.path = path
        self.digest = path.stem
        self.arrays = path.with_suffix(".arrays")
        self._kept: dict[Hashable, Any] = {}
        try:
            self._con = duckdb.connect(str(path), read_only=True)
        except duckdb.Error as err:
            raise Damaged(f"{path} is not a run file ({first_line(err)})") from err
        try:
            self._check()
        except (UnitscopeError, TypeError, ValueError, AttributeError, KeyError) as err:
            self._con.close()
            raise Damaged(f"{path} is no whole run file: {err}") from err

    def _check(self) -> None:
        """What everything else rests on: the tables, and numbers that are places in arrays."""
        there = self.sql("SELECT table_name, column_name FROM duckdb_columns() WHERE NOT internal")
        columns = there.groupby("table_name")["column_name"].agg(set).to_dict()
        stored = self._con.cursor().execute("SELECT count(*) FROM meta WHERE key = 'schema'")
        own = stored.fetchone() != (0,)
        for table, text in TABLES.items():
            if not own and table in ("chance", "untrained"):
                continue  # of schema 1: not read, see `measures_chance`
            wanted = {
                part.split()[0] for part in text.split(", ") if not part.startswith(("{", " {"))
            }
            missing = sorted(wanted - columns.get(table, set()))
            if missing:
                raise Damaged(
                    f"table {table!r} is missing"
                    if table not in columns
                    else f"table {table!r} has no column {missing[0]!r}"
                )
        size = {
            table: int(self.sql(f"SELECT count(*) AS n FROM {table}")["n"][0])
            for table in ("layers", "classes", "scenes", "concepts")
        }
        planned = int(self.info["images"]["planned"])
        # Numbers that are places: each once where it names a row, and never past the end.
        self._places("images", "image", planned, once=True)
        self._places("layers", "layer", size["layers"], once=True)
        self._places("classes", "class", size["classes"], once=True)
        self._places("scenes", "scene", size["scenes"], once=True)
        self._places("concepts", "concept - 1", size["concepts"], once=True)
        self._places("images", "scene", size["scenes"])
        self._places("images", "predicted", size["classes"])
        self._places("scenes", "class", size["classes"])
        self._places("units", "layer", size["layers"])
        units = self.sql(
            "SELECT l.units AS wanted, count(u.unit) AS n, count(DISTINCT u.unit) AS d, "
            "min(u.unit) AS low, max(u.unit) AS high FROM layers l LEFT JOIN units u USING (layer) "
            "GROUP BY layer, l.units"
        )
        for row in units.itertuples():
            if not (row.n == row.d == row.wanted and row.low == 0 and row.high == row.n - 1):
                raise Damaged(f"a layer of {row.wanted} units has {row.d} in table 'units'")
        for layer in self._layers.values():
            if min(layer["units"], layer["height"], layer["width"]) < 1:
                raise Damaged(f"its layer {layer['name']!r} has no units")

    def _places(self, table: str, column: str, below: int, once: bool = False) -> None:
        found = self.sql(
            f"SELECT count(k) AS n, count(DISTINCT k) AS d, min(k) AS low, max(k) AS high "
            f"FROM (SELECT {column} AS k FROM {table})"
        ).iloc[0]
        good = not found["n"] or (found["low"] >= 0 and found["high"] < below)
        if not good or (once and found["d"] != found["n"]):
            raise Damaged(
                f"column {column.split()[0]!r} of table {table!r} holds {found['low']} to "
                f"{found['high']}, and there are {below}"
            )

    @cached_property
    def _layers(self) -> dict[str, dict[str, Any]]:
        rows = self.sql("SELECT * FROM layers ORDER BY layer").to_dict("records")
        return {row["name"]: row for row in rows}

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Rows of a query as a frame. Safe from several threads: each call has its own cursor.

        Raises Damaged where the file cannot answer: damaged, or of another version.
        """
        try:
            return self._con.cursor().execute(query, list(parameters)).df()
        except (duckdb.Error, UnicodeDecodeError) as err:
            raise Damaged(
                f"run file {self.path} cannot be read ({first_line(err)}); make the run again"
            ) from err

    @cached_property
    def info(self) -> dict[str, Any]:
        """Settings, definitions, versions, accuracy and timings of the run (table `meta`)."""
        rows = self.sql("SELECT key, value FROM meta")
        try:
            pairs = {
                key: json.loads(value, object_hook=_Facts)
                for key, value in zip(rows["key"], rows["value"], strict=True)
            }
        except (TypeError, ValueError, RecursionError) as err:
            raise Damaged(f"its table `meta` is no JSON ({err})") from err
        return _Facts(pairs)

    @property
    def dataset(self) -> str:
        """The dataset's name as figures and tables state it
        (:func:`core.foundation.names.with_source`).
        """
        by = self.info["settings"]["dataset"].get("labels_by", "")
        return with_source(self.info["dataset_name"], by)

    @property
    def measures_chance(self) -> bool:
        """Whether labels can be judged by their units' own null distributions (:data:`SCHEMA`)."""
        return self.info.get("schema", 1) >= 2

    @property
    def categories(self) -> list[str]:
        """Categories of pixel annotations, in the order of the hits_… columns."""
        return list(self.info["categories"])

    @cached_property
    def layer_names(self) -> list[str]:
        """Dotted names of the dissected layers, by number; none in a run of predictions."""
        return self.sql("SELECT name FROM layers ORDER BY layer")["name"].tolist()

    def layer(self, name: str | None = None) -> int:
        """Number of a layer by its name (the only or last one where None)."""
        names = self.layer_names
        if not names:
            raise UnitscopeError(f"run {self.digest} has no layers: it holds predictions alone")
        if name is None:
            return len(names) - 1
        if name not in names:
            raise unknown("layer of this run", name, names)
        return names.index(name)

    @property
    def older_versions(self) -> str:
        """Which computations of the run have another version today, as part of a sentence; "" where
        none has. Runs from before versions were kept say so."""
        kept = self.info["settings"].get("versions")
        if kept is None:
            return "before computations had versions" if self.layer_names else ""
        return " and ".join(
            f"by version {number} of {name} (now {VERSIONS[name]})"
            for name, number in kept.items()
            if VERSIONS.get(name, number) != number
        )

    @property
    def no_answers(self) -> str:
        """Why the run has no answers of its network: it has no classifier; "" where it has some."""
        return str(self.info.get("no_answers", ""))

    def need_answers(self, what: str) -> None:
        """Raise UnitscopeError where the run has no answers of its network and `what` needs them,
        saying why and what to do."""
        if self.no_answers:
            raise UnitscopeError(
                f"{what} needs the network's answers, and this run has none: "
                f"{self.no_answers}. Dissect the network with a classifier of these scenes behind "
                "it (docs/models.md, Networks without a classifier)"
            )

    def array(self, name: str) -> np.ndarray:
        """A wide array by name, memory-mapped read-only: ``logits``, ``labels``,
        ``pooled-<layer>``, ``maps-<layer>``.

        Raises Damaged where there is none, or it is not of this run's shape and type.
        """
        return np.load(self._array(name), mmap_mode="r")

    def rows(self, name: str) -> ArrayFile:
        """:meth:`array` to be read by plain reads: mapped pages count as this process's memory."""
        return ArrayFile(self._array(name))

    def label_maps(self, image: int) -> np.ndarray:
        """Concept ids of an image on the working grid: uint16 (channels, height, width)."""
        return self.checked(np.array(self.array("labels")[image]))

    def checked(self, labels: np.ndarray) -> np.ndarray:
        """Label maps as they are. Raises Damaged where an id stands for no concept."""
        most = self.once(
            "concepts", lambda: int(self.sql("SELECT count(*) AS n FROM concepts").n[0])
        )
        if labels.size and int(labels.max()) > most:
            raise Damaged(
                f"labels.npy of run {self.digest} holds concept {int(labels.max())}, and there are "
                f"{most}: it is damaged or of another run; make the run again"
            )
        return labels

    def _array(self, name: str) -> Path:
        """Path of an array whose header is what this run's must be."""
        path = self.arrays / f"{array_name(name)}.npy"
        if not path.is_file():
            settings, (kind, _, layer) = self.info["settings"], name.partition("-")
            always = kind in ("labels", "logits") or layer in self._layers
            maps = kind not in ("maps", "beside") or (kind == "maps" and settings["keep_maps"])
            if settings.get("grid") and always and maps:
                raise Damaged(f"{path} is missing; make the run again")
            names = [unquote(p.stem) for p in sorted(self.arrays.glob("*.npy"))]
            raise unknown("array of this run", name, names)
        shape, dtype, _ = array_header(path)
        wanted = self._shape(name)
        kinds = ("uint16",) if name == "labels" else ("float16", "float32")
        fits = wanted is None or (
            len(wanted) == len(shape)
            and all(w in (None, n) for w, n in zip(wanted, shape, strict=True))
        )
        if not fits or dtype.name not in kinds:
            expected = "×".join("?" if w is None else str(w) for w in wanted or ())
            raise Damaged(
                f"{path} holds {dtype} {'×'.join(map(str, shape))}, and this run's {name!r} is "
                f"{' or '.join(kinds)} {expected}: it is damaged or of another run"
            )
        return path

    def _shape(self, name: str) -> tuple[int | None, ...] | None:
        """The shape an array of this run has; None stands for what the run does not say."""
        n = int(self.info["images"]["planned"])
        kind, _, layer = name.partition("-")
        if name == "labels":
            width, height = self.info["settings"]["grid"]
            return n, len(self.info["channels"]), int(height), int(width)
        if name == "logits":
            # A network without classes has outputs that nothing else in the run counts.
            return n, int(self.sql("SELECT count(*) AS n FROM classes")["n"][0]) or None
        if layer not in self._layers:
            return None
        of = self._layers[layer]
        units = int(of["units"])
        shapes: dict[str, tuple[int | None, ...]] = {
            "pooled": (n, units),
            "peaks": (n, units),
            "maps": (n, units, int(of["height"]), int(of["width"])),
            "beside": (n, None, units),
        }
        return shapes.get(kind)

    def photo(self, image: int) -> bytes:
        """JPEG bytes of what the network saw of an image (its own crop, before normalisation).

        Raises Damaged where the run has no such image, or its photos are damaged.
        """
        row = self.sql("SELECT photo_at, photo_bytes FROM images WHERE image = ?", [int(image)])
        if not len(row):
            raise UnitscopeError(f"run {self.digest} has no image number {image}")
        start, size = int(row["photo_at"][0]), int(row["photo_bytes"][0])
        try:
            with (self.arrays / "photos.bin").open("rb") as f:
                if not 0 <= start <= start + size <= os.fstat(f.fileno()).st_size:
                    raise ValueError(f"it is too short for image {image}")
                f.seek(start)
                photo = f.read(size)
            if not photo.startswith(b"\xff\xd8\xff"):
                raise ValueError(f"image {image} is no JPEG")
        except (OSError, ValueError) as err:
            raise Damaged(
                f"photos.bin of run {self.digest} cannot be read ({err}); make the run again"
            ) from err
        return photo

    def once(self, key: Hashable, make: Callable[[], Kept]) -> Kept:
        """``make()``, worked out once for this open run: a run never changes.

        What it gives is shared by all who ask, and so must not be changed.
        """
        if key not in self._kept:
            self._kept[key] = make()
        kept: Kept = self._kept[key]
        return kept

    def close(self) -> None:
        """Close the file; cursors in use elsewhere end with it."""
        self._con.close()

    def __enter__(self) -> Run:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def derived(run: Run, name: str, facts: Any, suffix: str) -> Path:
    """Where a result worked out from a finished run is kept: a path in a folder that exists.

    facts : plain data, all that decides the result beside the run itself (code included).
    """
    folder = run.path.with_suffix(".derived")
    folder.mkdir(exist_ok=True)
    return folder / f"{name}-{digest_of(facts)[:DIGITS]}.{suffix}"
