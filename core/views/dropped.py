"""Data sets that are dropped into the app, as a zip or a folder: unpacked below the runs' folder.

What arrives is a stranger's until it is unpacked: names that lead out of the folder, links,
encrypted or damaged members, and archives that unpack to far more than they are, are refused
whole (:mod:`core.downloads.unpack`).
"""

from __future__ import annotations

import hashlib
import io
import shutil
import zipfile
from collections.abc import Mapping
from pathlib import Path

from core.downloads.unpack import size_of, unpack
from core.foundation.errors import UnitscopeError
from core.foundation.files import ProcessLock, write_bytes
from core.foundation.settings import Limits
from core.views.folders import spec_of

FOLDER = "dropped"
"""Below the runs' folder; a folder for each, named by the digest of what was dropped."""

TIMES = 20
"""How many times its limit a zip may unpack to: photos hardly pack, masks well."""


def place(root: Path) -> Path:
    """Where the data sets lie."""
    return root / FOLDER


def keep_zip(name: str, data: bytes, root: Path, most: Limits) -> Path:
    """Unpack a zip; returns its folder. The same bytes have the same folder, and are unpacked once.

    name : of the file, as messages repeat it. Raises UnitscopeError for one that is too large, is
    no zip, is unsafe (see above), or where the disk is full.
    """
    most.size(name, data, most.drop_mb)
    if not zipfile.is_zipfile(io.BytesIO(data)):
        raise UnitscopeError(f"{name} is no zip file")
    place(root).mkdir(parents=True, exist_ok=True)
    most.room(root)
    digest = hashlib.sha256(data).hexdigest()[:16]
    folder, archive = place(root) / digest, place(root) / f"{digest}.zip"
    if folder.is_dir():
        return folder
    lock = ProcessLock(place(root) / f"{digest}.lock", f"{name} is being unpacked already")
    try:
        write_bytes(archive, data)
        bytes_most = TIMES * most.drop_mb * 1_000_000
        unpack(archive, folder, most_files=most.drop_files, most_bytes=bytes_most)
    except UnitscopeError as err:
        raise UnitscopeError(str(err).replace(str(archive), name)) from err
    finally:
        archive.unlink(missing_ok=True)
        lock.release()
    return folder


def keep_files(files: Mapping[str, bytes], root: Path, most: Limits) -> Path:
    """Keep files of a folder that was dropped, under their names with ``/`` between; returns their
    folder. Raises UnitscopeError as :func:`keep_zip` does."""
    if not files:
        raise UnitscopeError("the folder holds no file")
    if len(files) > most.drop_files:
        raise UnitscopeError(
            f"the folder holds {len(files):,} files; {most.drop_files:,} is the most"
        )
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name, data in sorted(files.items()):
            # Of one time, so that the same files have the same bytes.
            archive.writestr(zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0)), data)
    return keep_zip("the folder", packed.getvalue(), root, most)


def kept(root: Path) -> list[tuple[Path, str, int]]:
    """Data sets that were dropped: folder, SPEC ("" where it is not known to be one), bytes."""
    found = []
    for folder in sorted(place(root).glob("*")):
        if folder.is_dir() and not folder.name.endswith(".partial"):
            found.append((folder, spec_of(folder), size_of(folder).bytes))
    return found


def delete(name: str, root: Path) -> None:
    """Delete a data set that was dropped. Raises UnitscopeError where there is none of the name."""
    if name not in {folder.name for folder, _, _ in kept(root)}:
        raise UnitscopeError(f"nothing was dropped here under the name {name!r}")
    shutil.rmtree(place(root) / name, ignore_errors=True)
