"""Facts as ``relation<TAB>head<TAB>tail[<TAB>weight]`` lines: own files, the CN-100K release."""

from __future__ import annotations

import gzip
import re
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import IO

from core.foundation.errors import BadFile
from core.foundation.names import readable
from core.knowledge.graph import (
    CONCEPTNET_RELATIONS,
    MAX_RELATIONS,
    Gather,
    Graph,
    fold,
    fold_relation,
    quoted,
)


def _opened(path: Path) -> IO[bytes]:
    return gzip.GzipFile(path) if path.suffix == ".gz" else path.open("rb")  # type: ignore[return-value]


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of a UTF-8 file, plain or gz."""
    with _opened(path) as f:
        number = 0
        try:
            for number, raw in enumerate(f, 1):
                yield number, raw.decode("utf-8-sig" if number == 1 else "utf-8")
        except UnicodeDecodeError as err:
            raise BadFile(path, f"line {number} is not UTF-8 text ({err.reason})") from err
        except (OSError, EOFError, zlib.error) as err:
            raise BadFile(path, f"breaks off after line {number}: {err}") from err


def read_triples(path: Path, name: str | None = None) -> Graph:
    """Facts from ``relation<TAB>head<TAB>tail[<TAB>weight]`` lines, plain or gz.

    The relation may stand in another column: a first line of the words relation, head, tail (and
    weight) says where; else see :func:`_order`. Lines that are empty or begin with ``#`` are
    skipped, as are facts with a node in another language (/c/fr/lit). A folder gives its
    train.txt, valid.txt and test.txt together. Raises BadFile with the line and the reason.
    """
    files = [path]
    if path.is_dir():
        files = [path / f"{part}.txt" for part in ("train", "valid", "test")]
        files = [file for file in files if file.is_file()]
        if not files:
            held = ", ".join(sorted(p.name for p in path.iterdir())[:8]) or "nothing"
            raise BadFile(path, f"is a folder without train.txt, valid.txt, test.txt; has {held}")
    order = _order(path, (cells for file in files for _, cells in _triples(file)))
    gather = Gather()
    foreign = 0
    for file in files:
        for number, cells in _triples(file):
            if _header(cells):
                continue
            text = "\t".join(cells)
            if reason := _bad_triple(cells):
                raise BadFile(file, f"line {number} {reason}: {quoted(text)}")
            relation, head, tail = (cells[k] for k in order[:3])
            weight = float(cells[3]) if len(cells) == 4 else 1.0
            if any(_FOREIGN.match(node) for node in (head, tail)):
                foreign += 1
                continue
            gather.add(
                fold_relation(readable(relation)).encode(),
                fold(head).encode(),
                fold(tail).encode(),
                weight,
            )
            if len(gather.relations) > MAX_RELATIONS:
                raise BadFile(
                    file,
                    f"line {number} brings relation number {MAX_RELATIONS + 1}: is column "
                    f"{order[0] + 1} really the relation? {HEADER}",
                )
    if foreign and not len(gather.heads):
        raise BadFile(path, f"holds no fact between two English nodes (/c/en/…), of {foreign}")
    if not len(gather.heads):
        raise BadFile(path, "holds no facts; one a line is needed: relation<TAB>head<TAB>tail")
    return gather.graph(name or f"triples:{path.resolve().name}")


_FOREIGN = re.compile(r"\s*/c/(?!en/)")

HEADER = (
    "A first line that names the columns says it: the words relation, head, tail in the file's "
    "order, with tabs between"
)

ORDER_LINES = 20_000
"""Lines of a file from which its order of columns is inferred."""

FEWER = 5
"""So many times fewer different values than each other column has the one of the relations."""


def _triples(file: Path) -> Iterator[tuple[int, list[str]]]:
    """(line number, cells) of the lines that are neither empty nor a comment."""
    for number, line in _lines(file):
        text = line.rstrip("\r\n")
        if text.strip() and not text.startswith("#"):
            yield number, text.split("\t")


def _header(cells: Sequence[str]) -> bool:
    """Whether the line names the columns."""
    names = [cell.strip().lower() for cell in cells]
    return sorted(names[:3]) == ["head", "relation", "tail"] and names[3:] in ([], ["weight"])


def _order(path: Path, rows: Iterable[list[str]]) -> tuple[int, int, int]:
    """Which columns are relation, head and tail.

    From the header if there is one. Otherwise the relation is the only column in which half of the
    distinct values are relations of ConceptNet, or the only one that has any; or the first where it
    has no more different values than the others; or the one that has :data:`FEWER` times fewer than
    either other. Raises BadFile where none of these decides.

    >>> _order(Path("f"), [["bed", "AtLocation", "bedroom"], ["bed", "HasA", "pillow"]])
    (1, 0, 2)
    """
    values: list[set[str]] = [set(), set(), set()]
    for number, cells in enumerate(rows):
        if number == 0 and _header(cells):
            names = [cell.strip().lower() for cell in cells]
            return names.index("relation"), names.index("head"), names.index("tail")
        if number == ORDER_LINES:
            break
        # Lines that are no facts are reported when the facts are read.
        if not _bad_triple(cells):
            for column, cell in zip(values, cells, strict=False):
                column.add(fold_relation(cell))
    orders = ((0, 1, 2), (1, 0, 2), (2, 0, 1))
    count = [len(column) for column in values]
    known = [len(column & set(CONCEPTNET_RELATIONS)) for column in values]
    for least in (0.5, 0):
        some = [k for k in range(3) if known[k] > 0 and known[k] >= least * count[k]]
        if len(some) == 1:
            return orders[some[0]]
    if count[0] <= min(count):
        return orders[0]
    for k in (1, 2):
        others = [count[j] for j in range(3) if j != k]
        if FEWER * count[k] <= min(others):
            return orders[k]
    result = ", ".join(f"{n} in column {k + 1}" for k, n in enumerate(count))
    raise BadFile(
        path,
        f"does not tell which of its columns is the relation (different values: {result}). "
        f"{HEADER}",
    )


def _bad_triple(cells: list[str]) -> str | None:
    """Why the cells of a line are not a fact; None if they are."""
    if cells[0].startswith("/a/["):
        return "is a ConceptNet assertion; say conceptnet:FILE"
    if len(cells) not in (3, 4):
        return f"has {len(cells)} columns parted by tabs, not relation, head, tail"
    for what, cell in zip(("relation", "head", "tail"), cells, strict=False):
        if not cell.strip():
            return f"has an empty {what}"
    if len(cells) == 4:
        try:
            float(cells[3])
        except ValueError:
            return f"has the weight {cells[3]!r}, which is no number"
    return None
