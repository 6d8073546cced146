"""Registries: extensible tables of the available readers, models, methods, metrics and pages.

A row says how a thing is named, what it is, and where the function lies that opens it. Nothing is
imported before it is asked for, so that listing what there is takes no PyTorch. A registry has
three sources of rows:

- its own, written beside the package that it belongs to;
- **entry points** of installed packages, each the name of a :class:`Row`::

      [project.entry-points."unitscope.datasets"]
      mine = "my_package.rows:MINE"

- :meth:`Registry.register`, called in a program or notebook.

The registries: `core.datasets.registry.DATASETS`, `core.models.registry.MODELS`,
`core.knowledge.kinds.KNOWLEDGE`, `core.labelling.methods.LABELLING`,
`core.labelling.encoders.ENCODERS`, `core.explain.metrics.KINDS`, `pages.parts.registry.PAGES`;
docs/extending.md adds one of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from importlib import import_module
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Generic, TypeVar

from core.foundation.errors import UnitscopeError, first_line, nearest
from core.foundation.files import expanded


@dataclass(frozen=True)
class Row:
    """One thing to choose.

    Attributes
    ----------
    name : the word it is chosen by; of a SPEC what stands before the first colon.
    form : how it is written in full, ``coco:DIR[:stuff|:instances]``.
    about : what it is, in a line.
    opens : ``package.module:function`` (or ``:Class.method``), imported when it is asked for;
        "" of what nothing here opens (a page, which Streamlit runs).
    signs : glob patterns, relative to a folder: where one finds something, the folder is of this
        kind. ``a.csv + b*.csv`` stands for both together.
    versions : of the classes that it opens, where they are to be known without an import.
    """

    name: str
    form: str
    about: str
    opens: str = ""
    signs: tuple[str, ...] = ()
    versions: tuple[int, ...] = field(default=(), kw_only=True)

    def __post_init__(self) -> None:
        if not self.name or ":" in self.name:
            raise UnitscopeError(
                f"the name of a row is one word without a colon, not {self.name!r}"
            )
        module, _, function = self.opens.partition(":")
        if self.opens and not (module and function):
            raise UnitscopeError(
                f"{self.name}: what opens it is package.module:function, not {self.opens!r}"
            )

    def load(self) -> Any:
        """The function that :attr:`opens` names; what it takes is said where the registry is.

        Raises UnitscopeError where it cannot be imported or does not exist.
        """
        module, _, function = self.opens.partition(":")
        try:
            found: Any = import_module(module)
            for part in function.split("."):
                found = getattr(found, part)
        except ImportError as err:
            why = first_line(err)
            raise UnitscopeError(f"{self.name}: {self.opens} cannot be imported: {why}") from err
        except AttributeError as err:
            raise UnitscopeError(f"{self.name}: {self.opens} does not exist: {err}") from err
        return found

    def is_of(self, folder: Path) -> bool:
        """Whether one of the signs is found in a folder."""
        return any(
            all(next(folder.glob(pattern), None) is not None for pattern in sign.split(" + "))
            for sign in self.signs
        )


R = TypeVar("R", bound=Row)


class Registry(Generic[R]):
    """Rows of one sort, in the order in which they are listed.

    Parameters
    ----------
    what : the sort, in the singular, as messages say it: ``kind of dataset``.
    group : of entry points, ``unitscope.datasets``.
    rows : its own.
    sort : the class of its rows, a :class:`Row` or one with more columns.
    otherwise : the name of the row that reads a folder which no signs tell of.
    """

    def __init__(
        self, what: str, group: str, rows: Iterable[R], sort: type[R], otherwise: str = ""
    ):
        self.what, self.group, self.sort, self.otherwise = what, group, sort, otherwise
        self._rows: dict[str, R] = {}
        self.problems: list[str] = []
        """Entry points that could not be used, and why."""
        for row in rows:
            self.register(row)

    def register(self, row: R) -> R:
        """Add a row, for this process; returns it. Raises UnitscopeError where the name is taken
        by another."""
        if self._rows.setdefault(row.name, row) != row:
            raise UnitscopeError(f"there is a {self.what} {row.name!r} already")
        return row

    def unregister(self, name: str) -> None:
        """Remove a row that :meth:`register` added."""
        self._rows.pop(name, None)

    @cached_property
    def _installed(self) -> dict[str, R]:
        """Rows that installed packages bring; one that fails is left out, and said of unknown
        names: it must not keep anybody from the others."""
        found: dict[str, R] = {}
        for point in sorted(entry_points(group=self.group), key=lambda p: (p.name, p.value)):
            try:
                row = point.load()
            except (Exception, SystemExit) as err:
                self.problems.append(f"{point.value}: {first_line(err)}")
                continue
            if not isinstance(row, self.sort):
                self.problems.append(f"{point.value} is no {self.sort.__name__}")
            elif row.name in self._rows or row.name in found:
                self.problems.append(f"{point.value}: there is a {self.what} {row.name!r} already")
            else:
                found[row.name] = row
        return found

    def __iter__(self) -> Iterator[R]:
        installed = self._installed
        yield from self._rows.values()
        yield from (row for row in installed.values() if row.name not in self._rows)

    def names(self) -> list[str]:
        """The names of all rows."""
        return [row.name for row in self]

    def row(self, name: str, asked: str = "") -> R:
        """The row of a name.

        asked : the whole SPEC, as the message repeats it. Where it is the path of a folder, the
            message says by which SPEC that is read.

        Raises UnitscopeError for an unknown name: with the nearest forms, and all of them.
        """
        rows = {row.name: row for row in self}
        if name in rows:
            return rows[name]
        asked = asked or name
        said = f"unknown {self.what} {asked!r}"
        kind = self.kind_of(expanded(asked)) if asked else None
        near = [rows[other].form for other in nearest(name, rows)]
        if kind is not None:
            said += f"; to read that folder, write {kind.name}:{asked}"
        elif near:
            said += f"; nearest: {', '.join(near)}"
        said += f"; forms: {', '.join(row.form for row in rows.values())}"
        if self.problems:
            said += f" (left out: {'; '.join(self.problems)})"
        raise UnitscopeError(said)

    def kind_of(self, folder: Path) -> R | None:
        """The row whose signs are found in a folder, or that of :attr:`otherwise`; None where
        there is neither, or no such folder."""
        if not folder.is_dir():
            return None
        rows = list(self)
        found = (row for row in rows if row.is_of(folder))
        return next(found, None) or next((r for r in rows if r.name == self.otherwise), None)
