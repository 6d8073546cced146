"""Tables of a run file: columns, views and digest (docs/run-file.md)."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import duckdb
import numpy as np
import pandas as pd
import pyarrow as pa

from core.foundation.vocabulary import Denominator

TABLES: dict[str, str] = {
    "meta": "key TEXT, value JSON",
    "classes": "class INTEGER, name TEXT",
    "scenes": "scene INTEGER, name TEXT, class INTEGER",
    "concepts": "concept INTEGER, name TEXT, category TEXT, whole BOOLEAN,"
    " images INTEGER, area BIGINT",
    "images": "image INTEGER, id TEXT, split TEXT, scene INTEGER, predicted INTEGER,"
    " confidence FLOAT, correct BOOLEAN, photo_at BIGINT, photo_bytes INTEGER",
    "skipped": "id TEXT, file TEXT, reason TEXT",
    "layers": "layer INTEGER, name TEXT, units INTEGER, height INTEGER, width INTEGER",
    "units": "layer INTEGER, unit INTEGER, threshold FLOAT, images INTEGER, hits BIGINT,"
    " {hits_category BIGINT}",
    "hits": "layer INTEGER, image INTEGER, unit INTEGER, hits INTEGER, peak FLOAT,"
    " {hits_category INTEGER}",
    "counts": "layer INTEGER, image INTEGER, unit INTEGER, concept INTEGER, overlap INTEGER",
    "areas": "image INTEGER, concept INTEGER, area INTEGER",
    "annotated": "image INTEGER, category TEXT, area INTEGER",
    "unit_concept": "layer INTEGER, unit INTEGER, concept INTEGER, overlap BIGINT",
    "chance": "layer INTEGER, splits TEXT, denominator TEXT, category TEXT, unit INTEGER,"
    " ious FLOAT[]",
    "untrained": "layer INTEGER, denominator TEXT, unit INTEGER, concept INTEGER, iou DOUBLE,"
    " hits BIGINT, threshold FLOAT, chance DOUBLE",
}
"""Columns of every table; ``{hits_category TYPE}`` stands for one column a category."""

SCHEMA = 2
"""Version of the tables, stored in `meta`. 1 (not stored): `chance` held ten rounds of all units
together, and there was no table `untrained`."""

DENOMINATORS = tuple(Denominator)
"""|A_t| counted over all pixels (as published), or only where the category is annotated."""

PLACES: tuple[tuple[str, str, str, bool], ...] = (
    ("images", "image", "images", True),
    ("layers", "layer", "layers", True),
    ("classes", "class", "classes", True),
    ("scenes", "scene", "scenes", True),
    ("concepts", "concept", "concepts", True),
    ("images", "scene", "scenes", False),
    ("images", "predicted", "classes", False),
    ("scenes", "class", "classes", False),
    ("units", "layer", "layers", False),
)
"""Columns whose numbers are places in arrays: (table, column, what it counts, whether it names the
row, and so stands once). Numbers begin with 0, those of concepts with 1; images count all that
were planned, of which some may be left out."""


def column_names(columns: str) -> set[str]:
    """Names of the columns of one of :data:`TABLES`, those of categories apart.

    >>> sorted(column_names("unit INTEGER, {hits_category BIGINT}"))
    ['unit']
    """
    return {part.split()[0] for part in columns.split(", ") if not part.startswith(("{", " {"))}


IMAGE_IOU = """pairs AS (
            SELECT layer, image, unit, concept, overlap FROM counts
            UNION ALL
            SELECT h.layer, h.image, h.unit, a.concept, h.hits
            FROM hits h JOIN areas a USING (image) JOIN concepts c USING (concept) WHERE c.whole
        )
        SELECT p.*, h.hits, a.area,
               p.overlap / (h.hits + a.area - p.overlap) AS iou_image,
               p.overlap / (c.area + h.hits - p.overlap) AS iou_dataset_normalised
        FROM pairs p JOIN hits h USING (layer, image, unit)
             JOIN areas a USING (image, concept) JOIN concepts c USING (concept)
        """
"""The view ``image_iou`` behind its WITH: of other tables `counts`, `hits` and `areas`, where these
are named before it."""


def create_tables(con: duckdb.DuckDBPyConnection, categories: Sequence[str]) -> None:
    """Make the empty tables and views of a run file.

    Views: ``dataset_iou`` (classic NetDissect, both denominators) and ``image_iou`` (Eq. 2:
    `image` and `dataset_normalised`, for every (image, unit, concept) that overlap, whole-image
    labels included).
    """
    for name, columns in TABLES.items():
        for kind in ("BIGINT", "INTEGER"):
            own = ", ".join(f"hits_{category} {kind}" for category in categories)
            columns = columns.replace("{hits_category " + kind + "}", own)
        con.execute(f"CREATE TABLE {name} ({columns.rstrip(', ')})")
    by_category = " ".join(f"WHEN '{c}' THEN hits_{c}" for c in categories)
    annotated = f"CASE c.category {by_category} ELSE u.hits END" if categories else "u.hits"
    con.execute(f"""
        CREATE VIEW dataset_iou AS
        SELECT uc.layer, uc.unit, uc.concept, c.name, c.category, uc.overlap, u.hits, c.area,
               {annotated} AS hits_annotated,
               uc.overlap / (u.hits + c.area - uc.overlap) AS iou_all,
               uc.overlap / ({annotated} + c.area - uc.overlap) AS iou_annotated
        FROM unit_concept uc JOIN units u USING (layer, unit) JOIN concepts c USING (concept)
        """)
    # Units overlap a whole-image label exactly where they are active at all, so those rows
    # are not stored but read off `hits`.
    con.execute(f"CREATE VIEW image_iou AS WITH {IMAGE_IOU}")


def append(con: duckdb.DuckDBPyConnection, table: str, frame: pd.DataFrame | pa.Table) -> None:
    """Add the rows of a frame whose columns are the table's, in its order."""
    if len(frame):
        con.register("incoming", frame)
        con.execute(f"INSERT INTO {table} SELECT * FROM incoming")
        con.unregister("incoming")


def tables_digest(con: duckdb.DuckDBPyConnection) -> str:
    """Hex digest of every table's rows in stored order, `meta` left out (it holds times).

    Two runs with one tables digest hold the same numbers, byte for byte.
    """
    h = hashlib.sha256()
    for table in TABLES:
        if table == "meta":
            continue
        h.update(table.encode())
        reader = con.sql(f"SELECT * FROM {table}").to_arrow_reader(200_000)
        for batch in reader:
            for name, column in zip(batch.schema.names, batch.columns, strict=True):
                h.update(name.encode())
                if pa.types.is_list(column.type):
                    column = column.flatten()
                values = column.to_numpy(zero_copy_only=False)
                if values.dtype == object:
                    h.update("\0".join(map(str, values)).encode())
                else:
                    h.update(np.ascontiguousarray(values).tobytes())
    return h.hexdigest()
