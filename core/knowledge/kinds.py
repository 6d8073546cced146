"""Kinds of knowledge graph, and how one is opened by its SPEC.

``builtin``            data/everyday.tsv, written by hand for this project
``triples:FILE``       relation<TAB>head<TAB>tail[<TAB>weight], or the relation in another column; a
                       folder is read as the CN-100K release: train.txt, valid.txt, test.txt
``conceptnet:FILE``    the assertions of ConceptNet 5.7 (.csv or .csv.gz), English to English
"""

from __future__ import annotations

from pathlib import Path

from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.files import expanded
from core.foundation.progress import Report
from core.foundation.registry import Registry, Row
from core.foundation.settings import CACHE, ROOT
from core.knowledge.conceptnet import open_conceptnet
from core.knowledge.graph import Graph
from core.knowledge.triples import read_triples

BUILTIN = ROOT / "data" / "everyday.tsv"

KNOWLEDGE: Registry[Row] = Registry(
    "kind of knowledge",
    "unitscope.knowledge",
    (
        Row(
            "builtin",
            "builtin",
            "everyday facts about rooms, streets and landscapes, embedded",
            "core.knowledge.kinds:open_builtin",
        ),
        Row(
            "triples",
            "triples:FILE",
            "relation<TAB>head<TAB>tail a line, or in another order that a first line tells; a "
            "folder is read as CN-100K (train/valid/test.txt)",
            "core.knowledge.kinds:open_triples",
            ("train.txt", "valid.txt", "test.txt"),
        ),
        Row(
            "conceptnet",
            "conceptnet:FILE",
            "ConceptNet 5.7 assertions, .csv or .csv.gz",
            "core.knowledge.kinds:open_assertions",
        ),
    ),
    Row,
)
"""What a row opens is called with the whole SPEC, its text behind the kind and its colon, the
folder of the cache, and the receiver of progress or None; it returns a
:class:`~core.knowledge.graph.Graph`."""


def knowledge_stamp(spec: str) -> tuple[tuple[str, int, int], ...]:
    """Name, time of the last change (ns) and size of every file a SPEC reads.

    While it stays the same, an open graph need not be reopened. Empty if there is nothing to read;
    :func:`open_knowledge` raises with the reason.
    """
    path = BUILTIN if spec == "builtin" else expanded(spec.partition(":")[2])
    files = sorted(path.glob("*.txt")) if path.is_dir() else [path]
    facts = [(str(file), file.stat()) for file in files if file.is_file()]
    return tuple((name, stat.st_mtime_ns, stat.st_size) for name, stat in facts)


def open_knowledge(
    spec: str,
    cache: Path = CACHE,
    progress: Report | None = None,
) -> Graph:
    """Open a knowledge graph by its SPEC (see the module's text).

    Parameters
    ----------
    cache : where the compact form of a ``conceptnet:`` file is kept, as
        ``knowledge-<digest>.npz``, and looked for the next time.
    progress : called about twice a second with a :class:`Progress` while such a file is read.

    Raises UnitscopeError for an unknown kind, BadFile for a file that is missing or is not one,
    with the line and the reason.
    """
    kind, _, rest = spec.partition(":")
    graph = KNOWLEDGE.row(kind, spec).load()(spec, rest, cache, progress)
    if not isinstance(graph, Graph):
        raise UnitscopeError(f"{spec!r} opened a {type(graph).__name__}, not a Graph")
    return graph


def open_builtin(_spec: str, rest: str, _cache: Path, _progress: Report | None) -> Graph:
    """The embedded facts. Raises UnitscopeError where a file is named."""
    if rest:
        raise UnitscopeError("`builtin` takes no file; for your own facts use triples:FILE")
    return read_triples(BUILTIN, "builtin")


def open_triples(spec: str, rest: str, _cache: Path, _progress: Report | None) -> Graph:
    """A file of triples, or a folder of the CN-100K release."""
    return read_triples(_there(spec, rest))


def open_assertions(spec: str, rest: str, cache: Path, progress: Report | None) -> Graph:
    """ConceptNet's assertions, from the compact form in the cache where there is one."""
    return open_conceptnet(_there(spec, rest), cache, progress)


def _there(spec: str, rest: str) -> Path:
    path = expanded(rest)
    if not rest or not path.exists():
        form = KNOWLEDGE.row(spec.partition(":")[0]).form
        raise BadFile(rest or spec, f"does not exist; the form is {form}")
    return path
