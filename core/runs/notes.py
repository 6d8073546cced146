"""Notes and tags on photos and units, and saved filters, kept beside the runs.

A note or tag is of one photo or one unit of one run, and so is a filter: the parameters of a page
that choose what it lists. All lie in one small file (:mod:`core.runs.beside`) and survive the run
file, so that a run made again has them again.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from core.foundation.errors import UnitscopeError, unknown
from core.foundation.escape import one_line
from core.foundation.names import readable
from core.runs.beside import SideFile, now
from core.runs.run_file import Run

FILE = "notes.db"

TAGS, TAG, NOTE, NAME = 20, 40, 4_000, 80
"""The most tags on one thing, letters of a tag, of a note and of a filter's name."""

FILTERS = 100
"""The most filters kept of one page of a run."""


@dataclass(frozen=True)
class Thing:
    """What a note is of: a unit of a layer, or a photo (`layer` is ""). key : the unit's number,
    or the photo's id."""

    key: str
    layer: str = ""

    @property
    def kind(self) -> str:
        """``unit`` or ``photo``."""
        return "unit" if self.layer else "photo"


@dataclass(frozen=True)
class Marks:
    """Tags, in the order of the alphabet, and a note; either may be empty."""

    tags: tuple[str, ...] = ()
    note: str = ""


def _kept(run: Run) -> SideFile:
    return SideFile(
        run.path.parent / FILE,
        [
            "CREATE TABLE IF NOT EXISTS marks (run TEXT, layer TEXT, key TEXT, tags TEXT[],"
            " note TEXT, saved TEXT, PRIMARY KEY (run, layer, key))",
            "CREATE TABLE IF NOT EXISTS filters (run TEXT, page TEXT, name TEXT, choice TEXT,"
            " saved TEXT, PRIMARY KEY (run, page, name))",
        ],
    )


def parse_tags(text: str) -> tuple[str, ...]:
    """Tags typed in a line, with commas between: in lower case, each once, by the alphabet.

    Raises UnitscopeError for too many, or one that is too long.

    >>> parse_tags("Odd,  two  words, odd,")
    ('odd', 'two words')
    """
    found = {" ".join(readable(part).lower().split()) for part in text.split(",")} - {""}
    if len(found) > TAGS:
        raise UnitscopeError(f"there are {len(found)} tags; {TAGS} is the most")
    for tag in sorted(found):
        if len(tag) > TAG:
            raise UnitscopeError(f"tag {tag[:20]!r}… has {len(tag)} letters; {TAG} is the most")
    return tuple(sorted(found))


def _known(run: Run, thing: Thing) -> None:
    """Raise UnitscopeError where the run has no such thing."""
    if thing.layer:
        units = run.unit_count(thing.layer)
        if not (re.fullmatch("[0-9]{1,9}", thing.key) and int(thing.key) < units):
            raise UnitscopeError(f"layer {thing.layer} has no unit {thing.key}")
    elif not len(run.sql("SELECT 1 FROM images WHERE id = ?", [thing.key])):
        raise unknown("image", thing.key, run.sql("SELECT id FROM images LIMIT 999")["id"].tolist())


def marks_of(run: Run, thing: Thing) -> Marks:
    """The tags and the note of a photo or unit."""
    rows = _kept(run).read(
        "SELECT tags, note FROM marks WHERE run = ? AND layer = ? AND key = ?",
        [run.digest, thing.layer, thing.key],
    )
    return Marks(tuple(rows[0][0]), str(rows[0][1])) if rows else Marks()


def mark(run: Run, thing: Thing, marks: Marks) -> None:
    """Keep the tags and the note of a photo or unit, in place of those it had; empty ones remove
    both.

    Raises UnitscopeError for a thing that the run has not, too many tags, or too long a note.
    """
    _known(run, thing)
    tags, note = parse_tags(",".join(marks.tags)), readable(marks.note.strip(), lines=True)
    if len(note) > NOTE:
        raise UnitscopeError(f"the note has {len(note):,} letters; {NOTE:,} is the most")
    at = [run.digest, thing.layer, thing.key]
    if not tags and not note:
        _kept(run).change(("DELETE FROM marks WHERE run = ? AND layer = ? AND key = ?", at))
        return
    _kept(run).change(
        (
            "INSERT OR REPLACE INTO marks VALUES (?, ?, ?, ?, ?, ?)",
            [*at, list(tags), note, now()],
        )
    )


def all_marks(run: Run, layer: str = "") -> dict[str, Marks]:
    """Key → tags and note, of all units of a layer, or of all photos, that have any."""
    rows = _kept(run).read(
        "SELECT key, tags, note FROM marks WHERE run = ? AND layer = ?", [run.digest, layer]
    )
    return {str(key): Marks(tuple(tags), str(note)) for key, tags, note in rows}


def tags_in_use(run: Run, layer: str = "") -> list[str]:
    """Tags of a layer's units, or of the photos, by the alphabet."""
    return sorted({tag for marks in all_marks(run, layer).values() for tag in marks.tags})


def find_marks(run: Run, text: str, layer: str) -> dict[Thing, Marks]:
    """Photos, and units of a layer, whose tags or note hold a text, in whatever case."""
    asked = readable(text).lower().strip()
    rows = _kept(run).read(
        "SELECT layer, key, tags, note FROM marks WHERE run = ? AND layer IN ('', ?) AND "
        "(contains(lower(note), ?) OR len(list_filter(tags, lambda t: contains(t, ?))) > 0) "
        "ORDER BY layer, key",
        [run.digest, layer, asked, asked],
    )
    return {Thing(str(key), str(at)): Marks(tuple(tags), str(note)) for at, key, tags, note in rows}


# -- filters ----------------------------------------------------------------------------------


def list_filters(run: Run, page: str) -> dict[str, dict[str, str]]:
    """Name → parameters, of the filters kept of a page, by name."""
    rows = _kept(run).read(
        "SELECT name, choice FROM filters WHERE run = ? AND page = ? ORDER BY name",
        [run.digest, page],
    )
    return {
        str(name): {str(k): str(v) for k, v in json.loads(choice).items()} for name, choice in rows
    }


def save_filter(run: Run, page: str, name: str, choice: Mapping[str, str]) -> None:
    """Keep what a page is asked to list; one of the same name is replaced.

    Raises UnitscopeError for an empty name or choice, or where too many are kept.
    """
    name = one_line(readable(name))
    if not 0 < len(name) <= NAME:
        raise UnitscopeError(f"a filter needs a name of 1 to {NAME} letters")
    if not choice:
        raise UnitscopeError("nothing is filtered yet: choose a filter first")
    known = list_filters(run, page)
    if name not in known and len(known) >= FILTERS:
        raise UnitscopeError(f"{FILTERS} filters are kept of this page: delete one first")
    _kept(run).change(
        (
            "INSERT OR REPLACE INTO filters VALUES (?, ?, ?, ?, ?)",
            [run.digest, page, name, json.dumps(dict(choice)), now()],
        )
    )


def delete_filter(run: Run, page: str, name: str) -> None:
    """Remove a filter. Raises UnitscopeError with the nearest names where there is none."""
    known = list_filters(run, page)
    if name not in known:
        raise unknown("filter", name, known)
    _kept(run).change(
        (
            "DELETE FROM filters WHERE run = ? AND page = ? AND name = ?",
            [run.digest, page, name],
        )
    )
