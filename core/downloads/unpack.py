"""Archives unpacked safely: nothing outside the folder, no links, bounded, whole or not at all.

Zip files, and tar files plain or packed by gzip, bzip2 or xz. Standard library alone.
"""

from __future__ import annotations

import errno
import io
import lzma
import os
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import IO, Any, NamedTuple

from core.foundation.errors import BadFile, UnitscopeError

MOST_FILES = 5_000_000
MOST_BYTES = 500_000_000_000
MOST_RATIO = 100
"""Unpacked bytes a packed byte, over the whole archive. Photos and masks are at most about 20;
a bomb is 1,000 and more."""

FREE_OF_RATIO = 64 * 2**20
"""So many bytes are let through whatever the ratio: small archives of text pack well."""

_AT_ONCE = 64 * 2**20
"""The largest single read of a tar stream: headers are read whole, and may lie about their size."""


class Unpacked(NamedTuple):
    """What came out: number of files, and their bytes."""

    files: int
    bytes: int


class _Member(NamedTuple):
    name: str
    size: int
    folder: bool
    open: Callable[[], IO[bytes]]


def unpack(
    archive: Path,
    folder: Path,
    tell: Callable[[int, int], None] | None = None,
    most_files: int = MOST_FILES,
    most_bytes: int = MOST_BYTES,
    ratio: int = MOST_RATIO,
) -> Unpacked:
    """Unpack `archive` so that `folder` holds its content.

    Where all members lie in one top folder, `folder` takes its place. Everything is written
    to ``<folder>.partial`` and renamed at the end; what an interrupted try left is removed.

    tell : called with (bytes written, bytes in all or 0 where unknown).

    Raises
    ------
    BadFile
        a damaged, cut or encrypted archive; a member with an absolute path, ``..``, or twice; a
        link, device or any other thing that is neither file nor folder; more files, bytes or
        bytes a packed byte than the bounds.
    UnitscopeError
        `folder` exists, or the disk has no room.
    """
    if folder.exists():
        raise UnitscopeError(f"{folder} exists; move it away first")
    fresh = folder.with_name(folder.name + ".partial")
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir(parents=True)
    bound = _Bound(archive, most_files, most_bytes, ratio)
    try:
        try:
            if zipfile.is_zipfile(archive):
                result = _zip(archive, fresh, bound, tell)
            else:
                result = _tar(archive, fresh, bound, tell)
        except (
            zipfile.BadZipFile,
            tarfile.TarError,
            EOFError,
            zlib.error,
            lzma.LZMAError,
            RuntimeError,
            ValueError,
            IndexError,
            struct.error,
        ) as err:
            raise BadFile(archive, f"is damaged or cut ({_first(err)})") from err
        except OSError as err:
            # Of the decompressors, or of a member said to begin before the file: not of the disk,
            # whose errors have a number, and name the path where it is the path that is at fault.
            if err.errno is None or (err.errno == errno.EINVAL and err.filename is None):
                raise BadFile(archive, f"is damaged or cut ({_first(err)})") from err
            raise UnitscopeError(f"{folder} cannot be written: {err.strerror}") from err
        if not result.files:
            raise BadFile(archive, "holds no file")
        # One top folder, as nearly every published archive has, is the content itself; what
        # macOS packs beside it is nobody's.
        inside = [part for part in fresh.iterdir() if part.name != "__MACOSX"]
        top = inside[0] if len(inside) == 1 and inside[0].is_dir() else fresh
        top.rename(folder)
        return result
    finally:
        shutil.rmtree(fresh, ignore_errors=True)


def _first(err: Exception) -> str:
    return (str(err) or type(err).__name__).splitlines()[0]


class _Bound:
    """Counts what comes out, and raises where it is too much."""

    def __init__(self, archive: Path, most_files: int, most_bytes: int, ratio: int):
        self.archive, self.most_files = archive, most_files
        packed = archive.stat().st_size
        self.most_bytes = min(most_bytes, max(FREE_OF_RATIO, ratio * packed))
        self.files = self.bytes = 0

    def add(self, count: int, files: int = 0) -> None:
        self.bytes += count
        self.files += files
        self.check(self.files, self.bytes)

    def check(self, files: int, count: int) -> None:
        if files > self.most_files:
            raise BadFile(self.archive, f"holds more than {self.most_files:,} files")
        if count > self.most_bytes:
            raise BadFile(
                self.archive,
                f"unpacks to more than {self.most_bytes:,} bytes, which no data set of its "
                "packed size does; nothing of it was kept",
            )


def _safe(name: str, archive: Path) -> str:
    """A member's path below the folder, or a :class:`BadFile`.

    >>> _safe("a/./b.txt", Path("x.zip"))
    'a/b.txt'
    >>> _safe("../b", Path("x.zip"))
    Traceback (most recent call last):
    core.foundation.errors.BadFile: x.zip: holds '../b', which would be written outside its folder
    """
    plain = name.replace("\\", "/")
    parts = [part for part in plain.split("/") if part not in ("", ".")]
    drive = bool(parts) and len(parts[0]) >= 2 and parts[0][1] == ":"
    if plain.startswith("/") or drive or ".." in parts or "\0" in plain:
        raise BadFile(archive, f"holds {name!r}, which would be written outside its folder")
    return "/".join(parts)


def _write(
    members: Iterator[_Member],
    folder: Path,
    bound: _Bound,
    total: int,
    tell: Callable[[int, int], None] | None,
) -> Unpacked:
    seen: set[str] = set()
    made: set[Path] = {folder}
    for member in members:
        name = _safe(member.name, bound.archive)
        if not name:
            continue
        target = folder / name
        if member.folder:
            target.mkdir(parents=True, exist_ok=True)
            continue
        if name in seen or target.is_dir():
            raise BadFile(bound.archive, f"holds {name!r} twice")
        seen.add(name)
        bound.add(0, files=1)
        if target.parent not in made:
            target.parent.mkdir(parents=True, exist_ok=True)
            made.add(target.parent)
        # "x": a new plain file, never one that something put there before.
        with member.open() as source, target.open("xb") as out:
            while block := source.read(1 << 20):
                bound.add(len(block))
                out.write(block)
                if tell:
                    tell(bound.bytes, total)
        if target.stat().st_size != member.size:
            raise BadFile(bound.archive, f"is damaged or cut ({name!r} is shorter than it says)")
    return Unpacked(bound.files, bound.bytes)


def _room(folder: Path, need: int) -> None:
    free = shutil.disk_usage(folder).free
    if need > free:
        raise UnitscopeError(
            f"unpacking needs {need / 1e9:.1f} GB in {folder.parent}, {free / 1e9:.1f} GB are free"
        )


def _zip(
    archive: Path, folder: Path, bound: _Bound, tell: Callable[[int, int], None] | None
) -> Unpacked:
    with zipfile.ZipFile(archive) as file:
        infos = file.infolist()
        declared = sum(info.file_size for info in infos)
        # All of it is looked at before a byte is written. Sizes are summed entry by entry, so
        # that entries which lie over one another are seen for what they unpack to.
        bound.check(len(infos), declared)
        for info in infos:
            if not info.filename:
                raise BadFile(archive, "holds a member without a name")
            _safe(info.filename, archive)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                what = "a link" if kind == stat.S_IFLNK else "no plain file"
                raise BadFile(archive, f"holds {info.filename!r}, which is {what}")
            if info.flag_bits & 1:
                raise BadFile(archive, f"is encrypted ({info.filename!r})")
        _room(folder, declared)

        def opener(info: zipfile.ZipInfo) -> Callable[[], IO[bytes]]:
            return lambda: file.open(info)

        members = (
            _Member(info.filename, info.file_size, info.is_dir(), opener(info)) for info in infos
        )
        return _write(members, folder, bound, declared, tell)


class _Careful(io.RawIOBase):
    """A decompressed tar stream that gives out no more than the bound, and little at once."""

    def __init__(self, source: Any, bound: _Bound):
        self.source, self.bound, self.most = source, bound, bound.most_bytes * 2 + _AT_ONCE

    def read(self, size: int = -1) -> bytes:
        if size < 0 or size > _AT_ONCE:
            raise BadFile(self.bound.archive, "has a header of more than 64 MB")
        data: bytes = self.source.read(size)
        self._watch()
        return data

    def seek(self, offset: int, whence: int = 0) -> int:
        if offset > self.most:
            self.bound.add(self.bound.most_bytes + 1)
        at: int = self.source.seek(offset, whence)
        self._watch()
        return at

    def _watch(self) -> None:
        # Headers and holes count too: a stream of nothing else must end somewhere.
        if self.source.tell() > self.most:
            self.bound.add(self.bound.most_bytes + 1)

    def tell(self) -> int:
        at: int = self.source.tell()
        return at

    def seekable(self) -> bool:
        return True

    def readable(self) -> bool:
        return True


def _tar(
    archive: Path, folder: Path, bound: _Bound, tell: Callable[[int, int], None] | None
) -> Unpacked:
    import bz2
    import gzip

    with archive.open("rb") as raw:
        start = raw.read(6)
        raw.seek(0)
        source: Any = raw
        if start[:2] == b"\x1f\x8b":
            source = gzip.GzipFile(fileobj=raw)
        elif start[:3] == b"BZh":
            source = bz2.BZ2File(raw)
        elif start == b"\xfd7zXZ\0":
            source = lzma.LZMAFile(raw)  # noqa: SIM115 (ends with `raw`)
        with tarfile.open(fileobj=_Careful(source, bound), mode="r:") as file:

            def members() -> Iterator[_Member]:
                for info in file:
                    if not (info.isfile() or info.isdir()) or info.issparse():
                        what = "a link" if info.issym() or info.islnk() else "no plain file"
                        raise BadFile(archive, f"holds {info.name!r}, which is {what}")
                    if info.isfile():
                        _room(folder, info.size)
                    yield _Member(info.name, info.size, info.isdir(), opener(info))

            def opener(info: tarfile.TarInfo) -> Callable[[], IO[bytes]]:
                def open_it() -> IO[bytes]:
                    found = file.extractfile(info)
                    assert found is not None
                    return found

                return open_it

            return _write(members(), folder, bound, 0, tell)


def size_of(folder: Path) -> Unpacked:
    """Files below a folder and their bytes, hidden ones included."""
    files = total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            files += 1
            total += os.lstat(os.path.join(parent, name)).st_size  # noqa: PTH118
    return Unpacked(files, total)
