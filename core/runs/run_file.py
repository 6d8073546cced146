"""Run files: one finished dissection = one read-only DuckDB file and arrays beside it.

``<root>/<digest>.duckdb``   the tables of :data:`TABLES`, described in docs/run-file.md
``<root>/<digest>.arrays/``  wide arrays as .npy (pooled features, logits, label grids, maps)
                             and the photos as the network saw them
``<root>/<digest>.derived/`` what was worked out from a finished run and is kept for speed
``<root>/<digest>.partial/`` a run that is being made or was stopped
``<root>/<digest>.shards/``  parts of a run that were made apart

A run file is renamed into place when it is whole and never written again, so readers need no
locks. The digest covers all that decides the numbers in it.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Hashable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, TypeVar
from urllib.parse import unquote

import duckdb
import numpy as np
import pandas as pd

from core.foundation.digest import DIGITS, digest_of
from core.foundation.errors import Damaged, UnitscopeError, first_line, unknown
from core.foundation.names import with_source
from core.foundation.versions import versions_today
from core.runs.arrays import ArrayFile, array_header, array_name, check_ids
from core.runs.facts import Accuracy, Facts, ImageCount, RunSettings
from core.runs.kept import place
from core.runs.tables import PLACES, TABLES, column_names

Kept = TypeVar("Kept")

NEEDS_NONE = (
    "Units, labels, formulas, concepts and clusters need no answer of the network; accuracy, "
    "confusions, contributions and switching units off do"
)
"""What a run of a network without a classifier is good for."""


class LayerRow(NamedTuple):
    """A row of the table `layers`: units, and the cells of each unit's map."""

    name: str
    units: int
    height: int
    width: int


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
        columns = self._columns()
        first_schema = "meta" in columns and "schema" not in self.info
        for table, text in TABLES.items():
            if first_schema and table in ("chance", "untrained"):
                continue  # not read in such a run, see `measures_chance`
            missing = sorted(column_names(text) - columns.get(table, set()))
            if missing:
                raise Damaged(
                    f"table {table!r} is missing"
                    if table not in columns
                    else f"table {table!r} has no column {missing[0]!r}"
                )
        self._check_places()
        for layer in self._layers:
            if min(layer.units, layer.height, layer.width) < 1:
                raise Damaged(f"its layer {layer.name!r} has no units")

    def _columns(self) -> dict[str, set[str]]:
        """Columns of each table of the file."""
        every = " UNION ALL ".join(
            f"SELECT '{table}', name FROM pragma_table_info('{table}')" for table in TABLES
        )
        try:
            rows = self._con.cursor().execute(every).fetchall()
        except duckdb.Error:
            # Eight times slower, and needed only where a table is missing.
            rows = self._fetch("SELECT table_name, column_name FROM duckdb_columns()")
        columns: dict[str, set[str]] = {}
        for table, column in rows:
            columns.setdefault(table, set()).add(column)
        return columns

    def _check_places(self) -> None:
        """Each number that is a place: once where it names a row, and never past the end.

        One query for all of them: a run is opened at every visit of a page.
        """
        queries = [
            f"SELECT '{table}' AS t, '{column}' AS k, count(*), count({column}), "
            f"count(DISTINCT {column}), min({column})::BIGINT, max({column})::BIGINT FROM {table}"
            for table, column, _, _ in PLACES
        ]
        units = (
            "SELECT 'units of a layer', '', l.units::BIGINT, count(u.unit), "
            "count(DISTINCT u.unit), min(u.unit)::BIGINT, max(u.unit)::BIGINT "
            "FROM layers l LEFT JOIN units u USING (layer) GROUP BY layer, l.units"
        )
        found = self._fetch(" UNION ALL ".join([*queries, units]))
        by_place = {(table, column): numbers for table, column, *numbers in found}
        self._sizes = {
            table: by_place[table, column][0] for table, column, _, names in PLACES if names
        }
        self._sizes["images"] = self.image_count.planned
        for table, column, of, names in PLACES:
            _, n, distinct, low, high = by_place[table, column]
            below = self._sizes[of]
            first = 1 if of == "concepts" else 0
            inside = not n or (low >= first and high < below + first)
            if not inside or (names and distinct != n):
                raise Damaged(
                    f"column {column!r} of table {table!r} holds {low} to {high}, and there are "
                    f"{below}"
                )
        for table, _, wanted, n, distinct, low, high in found:
            if table == "units of a layer" and not (
                n == distinct == wanted and low == 0 and high == n - 1
            ):
                raise Damaged(f"a layer of {wanted} units has {distinct} in table 'units'")

    @cached_property
    def _layers(self) -> list[LayerRow]:
        """The table `layers`, by number."""
        rows = self._fetch("SELECT name, units, height, width FROM layers ORDER BY layer")
        return [LayerRow(*row) for row in rows]

    def sql(self, query: str, parameters: Sequence[Any] = ()) -> pd.DataFrame:
        """Rows of a query as a frame. Safe from several threads: each call has its own cursor.

        Raises Damaged where the file cannot answer: damaged, or of another version.
        """
        with self._readable():
            return self._con.cursor().execute(query, list(parameters)).df()

    def _fetch(self, query: str) -> list[tuple[Any, ...]]:
        """:meth:`sql` as plain rows, without the time that a frame takes."""
        with self._readable():
            return self._con.cursor().execute(query).fetchall()

    @contextmanager
    def _readable(self) -> Iterator[None]:
        try:
            yield
        except (duckdb.Error, UnicodeDecodeError) as err:
            raise Damaged(
                f"run file {self.path} cannot be read ({first_line(err)}); make the run again"
            ) from err

    @cached_property
    def info(self) -> Facts:
        """Settings, definitions, versions, accuracy and timings of the run (table `meta`)."""
        rows = self._fetch("SELECT key, value FROM meta")
        try:
            pairs = {key: json.loads(value, object_hook=Facts) for key, value in rows}
        except (TypeError, ValueError, RecursionError) as err:
            raise Damaged(f"its table `meta` is no JSON ({err})") from err
        return Facts(pairs)

    @cached_property
    def settings(self) -> RunSettings:
        """The settings that decided the run's numbers."""
        return RunSettings(self.info["settings"])

    @property
    def image_count(self) -> ImageCount:
        """How many images were asked for and used."""
        return ImageCount(int(self.info["images"]["planned"]), int(self.info["images"]["used"]))

    @property
    def measured_accuracy(self) -> Accuracy:
        """How often the network is right."""
        return Accuracy.of(self.info["accuracy"])

    @property
    def tables_digest(self) -> str:
        """Hex digest of the run's tables: equal where two runs hold the same numbers."""
        return str(self.info["tables_digest"])

    @property
    def by_batch(self) -> str:
        """Why the network's answer to a photo depends on the others in its batch; "" where it does
        not."""
        return str(self.info.get("by_batch") or "")

    @property
    def own_knowledge(self) -> str:
        """SPEC of the knowledge graph that the run was made with."""
        return str((self.info.get("request") or {}).get("knowledge", "builtin"))

    @property
    def dataset(self) -> str:
        """The dataset's name as figures and tables state it
        (:func:`core.foundation.names.with_source`).
        """
        return with_source(self.info["dataset_name"], self.settings.dataset.labels_by)

    @property
    def measures_chance(self) -> bool:
        """Whether labels can be judged by their units' own null distributions (:data:`SCHEMA`)."""
        return int(self.info.get("schema", 1)) >= 2

    @property
    def categories(self) -> list[str]:
        """Categories of pixel annotations, in the order of the hits_… columns."""
        return list(self.info["categories"])

    @cached_property
    def layer_names(self) -> list[str]:
        """Dotted names of the dissected layers, by number; none in a run of predictions."""
        return [layer.name for layer in self._layers]

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

    def unit_count(self, layer: str | None = None) -> int:
        """Number of units of a layer (the only or last one where None)."""
        return self._layers[self.layer(layer)].units

    @property
    def older_versions(self) -> str:
        """Which computations and readers of the run have another version today, as part of a
        sentence; "" where none has. Runs from before versions were kept say so."""
        kept = self.settings.versions
        if kept is None:
            return "before computations had versions" if self.layer_names else ""
        today = {name: versions_today(name) for name in kept}
        return " and ".join(
            f"by version {number} of {name} (now {max(today[name])})"
            for name, number in kept.items()
            if today[name] and number not in today[name]
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
        array: np.ndarray = np.load(self._array(name), mmap_mode="r")
        return array

    def rows(self, name: str) -> ArrayFile:
        """:meth:`array` to be read by plain reads: mapped pages count as this process's memory."""
        return ArrayFile(self._array(name))

    def label_maps(self, image: int) -> np.ndarray:
        """Concept ids of an image on the working grid: uint16 (channels, height, width).

        Raises Damaged where an id stands for no concept.
        """
        labels = np.array(self.array("labels")[image])
        check_ids(labels, self._sizes["concepts"], f"labels.npy of run {self.digest}")
        return labels

    def _array(self, name: str) -> Path:
        """Path of an array whose header is what this run's must be."""
        path = self.arrays / f"{array_name(name)}.npy"
        if not path.is_file():
            kind, _, layer = name.partition("-")
            always = kind in ("labels", "logits") or layer in self.layer_names
            maps = kind not in ("maps", "beside") or (kind == "maps" and self.settings.keep_maps)
            if self.settings.has_grid and always and maps:
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
        n = self.image_count.planned
        kind, _, layer = name.partition("-")
        if name == "labels":
            width, height = self.settings.grid
            return n, len(self.info["channels"]), height, width
        if name == "logits":
            # A network without classes has outputs that nothing else in the run counts.
            return n, self._sizes["classes"] or None
        if layer not in self.layer_names:
            return None
        of = self._layers[self.layer(layer)]
        shapes: dict[str, tuple[int | None, ...]] = {
            "pooled": (n, of.units),
            "peaks": (n, of.units),
            "maps": (n, of.units, of.height, of.width),
            "beside": (n, None, of.units),
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


def known_values(run: Run, column: str, table: str, names: Sequence[str] | None) -> list[str]:
    """`names`, each checked to occur in a column; all that occur where None."""
    known = run.sql(f"SELECT DISTINCT {column} FROM {table} ORDER BY 1")[column].tolist()
    for name in names or ():
        if name not in known:
            raise unknown(column, name, known)
    return list(names) if names is not None else known


def derived(run: Run, name: str, facts: Any, suffix: str) -> Path:
    """Where a result worked out from a finished run is kept: a path in a folder that exists.

    facts : plain data, all that decides the result beside the run itself (code included).
    """
    folder = run.path.with_suffix(".derived")
    return place(folder / f"{name}-{digest_of(facts)[:DIGITS]}.{suffix}")
