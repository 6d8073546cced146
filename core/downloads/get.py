"""Fetches, verifies and unpacks an entry of the catalog, never twice.

What was fetched and verified is recorded in ``<name>.got.json``.
"""

from __future__ import annotations

import json
import shutil
import time
import urllib.parse
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from core.downloads.catalog import Download
from core.downloads.fetch import (
    Fetched,
    clean_part,
    fetch,
    need_http,
    read_checksum,
    report_bytes,
    shown,
    verified,
)
from core.downloads.unpack import Unpacked, size_of, unpack
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.files import ProcessLock, expanded, parse_json, write_text
from core.foundation.plain import Json
from core.foundation.progress import Report, Stopped


@dataclass(frozen=True)
class Marker:
    """What was fetched and verified, as ``<name>.got.json`` has it; None where it does not say.

    Attributes
    ----------
    name, file, licence : of the entry. source : the address or file it was taken from (``from``).
    checked : by what it was verified. keep : whether an archive is kept once it is unpacked.
    bytes, sha256 : of the fetched file. changed : its time of change in ns, where it is ours.
    files, unpacked : how many files, and bytes in them, an archive held.
    """

    name: str | None = None
    source: str | None = None
    file: str | None = None
    checked: str | None = None
    licence: str | None = None
    keep: bool | None = None
    bytes: int | None = None
    sha256: str | None = None
    changed: int | None = None
    files: int | None = None
    unpacked: int | None = None

    @staticmethod
    def read(path: Path) -> Marker | None:
        """None where there is none, or what is there is no marker."""
        with suppress(OSError, ValueError):
            stored = parse_json(path.read_text(encoding="utf-8"))
            if isinstance(stored, dict) and stored:
                given = {one.name: stored.get(_called(one.name)) for one in fields(Marker)}
                if all(
                    value is None or isinstance(value, _KINDS.get(name, str))
                    for name, value in given.items()
                ):
                    return Marker(**given)
        return None

    def to_json(self) -> Json:
        """As it is written: what is not known is left out."""
        plain = {_called(name): value for name, value in vars(self).items()}
        return {name: value for name, value in plain.items() if value is not None}

    def same_stat(self, file: Path) -> bool:
        """Is this the file that was fetched, untouched since?"""
        with suppress(OSError):
            held = file.stat()
            return (held.st_size, held.st_mtime_ns) == (self.bytes, self.changed)
        return False


_KINDS = {"keep": bool, **dict.fromkeys(("bytes", "changed", "files", "unpacked"), int)}
"""Of a marker's entries that are no text."""


def _called(name: str) -> str:
    """An entry of the file; the word that it has there is no name in Python."""
    return "from" if name == "source" else name


class Got(NamedTuple):
    """What :func:`get` gives: the path, whether anything was done for it, and its marker."""

    path: Path
    fresh: bool
    marker: Marker


def state(entry: Download, root: Path) -> str:
    """``there`` (got; a folder may hold files of the user's besides), ``changed``, ``part``
    (begun), ``unknown`` (a path of its name that :func:`get` did not make), or empty: nothing is
    there.

    A folder is changed where it has fewer files or bytes than were unpacked, or as many files
    of more bytes."""
    return _state(entry, root)[0]


def _state(entry: Download, root: Path) -> tuple[str, int]:
    """:func:`state`, and the number of files added to a folder that is there."""
    path = root / entry.place
    marker = Marker.read(_marker_path(entry, root))
    if not path.exists():
        begun = (root / f"{entry.held}.part").exists() or (root / entry.held).exists()
        return "part" if begun else "", 0
    if marker is None or (entry.archive and marker.files is None):
        return "unknown", 0
    added = 0
    if path.is_dir():
        found = size_of(path)
        added = found.files - (marker.files or 0)
        more = found.bytes - (marker.unpacked or 0)
        same = added == more == 0 or (added > 0 and more >= 0)
    else:
        same = marker.same_stat(path)
        if not same and path.stat().st_size == marker.bytes:
            known = f"sha256:{marker.sha256}"
            same = not isinstance(verified(path, path.name, None, known, None), str)
    return ("there", added) if same else ("changed", 0)


def _marker_path(entry: Download, root: Path) -> Path:
    return root / f"{entry.name}.got.json"


def _marker(entry: Download, root: Path) -> Marker:
    return Marker.read(_marker_path(entry, root)) or Marker()


def source_of(entry: Download, given: str | None) -> str | Path:
    """The address or local file to take: the official one, or of a mirror.

    given : an address or a folder that offers the file under its published name, or the file
    itself.

    >>> from core.downloads.catalog import find_download
    >>> source_of(find_download("broden1_224"), "https://mirror.example/data")
    'https://mirror.example/data/broden1_224.zip'

    Raises UnitscopeError where neither is there, and says how to register where one must.
    """
    if given is None:
        if not entry.url:
            raise UnitscopeError(f"{entry.name} cannot be fetched without you. {entry.note}")
        return entry.url
    if "://" in given:
        need_http(given)
        parts = urllib.parse.urlsplit(given)
        last = parts.path.rpartition("/")[2]
        if last and Path(last).suffix == Path(entry.file).suffix:
            return given
        path = parts.path.rstrip("/") + "/" + urllib.parse.quote(entry.file)
        return urllib.parse.urlunsplit(parts._replace(path=path))
    place = expanded(given)
    file = place / entry.file if place.is_dir() else place
    if not file.is_file():
        raise UnitscopeError(f"there is no {entry.file} in {given}")
    return file


def get(
    entry: Download,
    root: Path,
    given: str | None = None,
    *,
    checksum: str | None = None,
    keep: bool = False,
    progress: Report | None = None,
    note: Callable[[str], None] = lambda text: None,
    **how: Any,
) -> Got:
    """Fetch, verify and unpack an entry of the table below `root`, unless it is there.

    given : see :func:`source_of`. checksum : in place of the table's; ``none`` for no check, as a
    mirror may have packed the files anew. keep : keep the archive when it is unpacked (one that
    was not fetched is always kept). how : of :func:`fetch`.

    Raises UnitscopeError as :func:`fetch` and :func:`~core.downloads.unpack.unpack`, and where the
    path, or a file that would be written, exists, but was not made by this function or was
    changed since. A fetched archive that cannot be unpacked, and that no checksum vouches for, is
    removed.
    """
    if checksum not in (None, "none"):
        checksum = read_checksum(checksum)
    path = root / entry.place
    root.mkdir(parents=True, exist_ok=True)
    lock = ProcessLock(
        root / f".{entry.name}.lock", f"{entry.name} is being fetched by another process"
    )
    try:
        found, added = _state(entry, root)
        clean_part(root / entry.held)
        if found == "there":
            if entry.archive and _marker(entry, root).keep is False:
                _drop_archive(entry, root)
            if added:
                note(f"{path}: what was got is there, and {added:,} more files")
            return Got(path, False, _marker(entry, root))
        if found == "changed" or (found == "unknown" and (entry.archive or path.is_dir())):
            why = "changed since it was got" if found == "changed" else "not got by this command"
            raise UnitscopeError(f"{path} exists and was {why}; use it as it is, or move it away")
        work = _Getting(entry, root, given, checksum, keep)
        if isinstance(work.source, Path):
            work.from_file(work.source, progress)
        else:
            work.from_address(work.source, progress=progress, note=note, **how)
        if entry.archive:
            work.unpack(path, progress)
        return Got(path, True, work.marker)
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped while unpacking {entry.name}; the same command resumes it"
        ) from None
    finally:
        lock.release()


class _Getting:
    """One entry that is being fetched, verified and unpacked; arguments as of :func:`get`.

    file : where the fetched file lies. source : address or file it is taken from. ours : was the
    file written by this command, so that it may be replaced or removed? marker : what is
    known so far.
    """

    def __init__(
        self, entry: Download, root: Path, given: str | None, checksum: str | None, keep: bool
    ):
        self.entry, self.root, self.keep = entry, root, keep
        self.size = entry.size if checksum is None else None
        self.wanted = None if checksum == "none" else checksum or entry.checksum
        self.file = root / entry.held
        self.file.parent.mkdir(parents=True, exist_ok=True)
        before = _marker(entry, root)
        self.ours = before.same_stat(self.file)  # fetched by an earlier call, but not unpacked
        self.source = source_of(entry, given) if given or not self.file.exists() else self.file
        if self.ours and before.source == shown(str(self.source)):
            self.source = self.file
        again = self.ours and self.source == self.file
        self.marker = Marker(
            name=entry.name,
            source=before.source if again else shown(str(self.source)),
            file=entry.file,
            checked=self.wanted or ("size, the archive's own sums" if entry.archive else "size"),
            licence=entry.licence,
            keep=keep,
        )

    def _mark(self) -> None:
        path = _marker_path(self.entry, self.root)
        write_text(path, json.dumps(self.marker.to_json(), indent=1) + "\n")

    def _mark_whole(self, fetched: Fetched, changed: int) -> None:
        # On the disk before the file has its name, so that a later call knows whose file it is.
        self.marker = replace(
            self.marker, bytes=fetched.bytes, sha256=fetched.sha256, changed=changed
        )
        self._mark()

    def from_file(self, source: Path, progress: Report | None) -> None:
        """Verify a file that is here, by a mirror's folder or by the user's own browser; copy it
        where it is no archive."""
        here = self.file.exists() and source.samefile(self.file)
        if not here and not self.ours and not self.entry.archive:
            _need_free(self.file)
        fetched = verified(source, str(source), self.size, self.wanted, progress)
        if isinstance(fetched, str):
            raise UnitscopeError(f"{fetched}. Move it away, or say by --checksum what it must have")
        self.ours = self.ours and here
        self.marker = replace(self.marker, bytes=fetched.bytes, sha256=fetched.sha256)
        if not here and not self.entry.archive:
            fresh = self.file.with_name(self.file.name + ".new")
            shutil.copyfile(source, fresh)
            self._mark_whole(fetched, fresh.stat().st_mtime_ns)
            fresh.replace(self.file)
        elif self.ours or not self.entry.archive:
            self._mark_whole(fetched, self.file.stat().st_mtime_ns)

    def from_address(self, url: str, **how: Any) -> None:
        """Download it; `how` is of :func:`fetch`."""
        if not self.ours:
            _need_free(self.file)
        fetch(
            url,
            self.file,
            size=self.size,
            checksum=self.wanted,
            whole=self._mark_whole,
            **how,
        )
        self.ours = True

    def unpack(self, path: Path, progress: Report | None) -> None:
        """Unpack to `path`, and remove an archive that was fetched and is not to be kept."""

        def mark_unpacked(made: Unpacked) -> None:
            self.marker = replace(self.marker, files=made.files, unpacked=made.bytes)
            self._mark()

        archive = self.source if isinstance(self.source, Path) else self.file
        try:
            _unpacked(self.entry, archive, path, progress, mark_unpacked)
        except BadFile as err:
            if self.ours and not self.wanted:
                # A page of a hotel's network, most likely: not to be met again.
                self.file.unlink()
                _marker_path(self.entry, self.root).unlink()
                end = f"{self.file.name} was removed, and the next get fetches it again"
            else:
                algorithm = self.wanted.partition(":")[0] if self.wanted else ""
                why = f"has the right {algorithm}" if algorithm else "was not fetched"
                end = f"{archive} {why} and is kept; move it away to have another in its place"
            raise BadFile(err.path, f"{err.reason}; {end}") from err
        if self.ours and not self.keep:
            self.file.unlink()


def _drop_archive(entry: Download, root: Path) -> None:
    """Remove a fetched archive whose unpacking was killed when all but that was done."""
    if _marker(entry, root).same_stat(root / entry.held):
        (root / entry.held).unlink()


def _need_free(file: Path) -> None:
    if file.exists():
        raise UnitscopeError(
            f"{file} exists and was not got by this command; move it away, or leave --from out: it "
            "is then verified and taken"
        )


def _unpacked(
    entry: Download,
    archive: Path,
    path: Path,
    progress: Report | None,
    whole: Callable[[Unpacked], None],
) -> None:
    """Unpack to `path`; `whole` is called with what it holds before it has that name."""
    began = time.monotonic()

    def say(done: int, total: int) -> None:
        report_bytes(progress, f"unpacking {archive.name}", done, total, done, began)

    path.parent.mkdir(parents=True, exist_ok=True)
    # Made beside its place, so that a kill among the inner archives leaves nothing of its name.
    made = path.with_name(path.name + ".unpacking")
    shutil.rmtree(made, ignore_errors=True)
    try:
        unpack(archive, made, say)
        for inner in entry.inner:
            held = made / inner
            if held.is_file():
                unpack(held, held.with_name(held.name.partition(".")[0]), say)
                held.unlink()
        whole(size_of(made))
        made.rename(path)
    finally:
        shutil.rmtree(made, ignore_errors=True)
