"""Where derived results are cached: next to the runs, or in a separate folder.

A process that must write nothing where the runs lie (a read-only server) keeps it in a folder of
its own among the temporary files, which goes with the process. What lies beside the runs already
is still read: as a copy, so that what mends or adds to it does so there.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

_own: list[tempfile.TemporaryDirectory[str]] = []
_apart = [False]
_lock = threading.Lock()


def keep_apart(apart: bool) -> None:
    """Say where this process keeps what it works out, from now on."""
    _apart[0] = apart


def place(path: Path) -> Path:
    """Where the file that belongs at `path` is read and written; its folder exists."""
    if not _apart[0]:
        path.parent.mkdir(parents=True, exist_ok=True)
        return path
    own = _mine(path.parent) / path.name
    with _lock:
        own.parent.mkdir(exist_ok=True)
        if not own.exists() and path.is_file():
            fresh = own.with_name(f"{own.name}.{os.urandom(4).hex()}.copy")
            with suppress(OSError):  # then it is worked out anew
                shutil.copyfile(path, fresh)
                fresh.replace(own)
    return own


def kept(folder: Path, pattern: str) -> Iterator[Path]:
    """Files of a name like `pattern` that are kept of `folder`, wherever they are."""
    yield from folder.glob(pattern)
    if _apart[0]:
        yield from _mine(folder).glob(pattern)


def _mine(folder: Path) -> Path:
    """The part of this process's own folder that stands for `folder`."""
    with _lock:
        if not _own:
            _own.append(
                tempfile.TemporaryDirectory(prefix="unitscope-", ignore_cleanup_errors=True)
            )
    word = hashlib.sha256(os.fsencode(folder.absolute())).hexdigest()[:16]
    return Path(_own[0].name) / word
