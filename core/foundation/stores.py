"""Files that lie elsewhere: ``s3://bucket/folder`` and ``https://host/folder``.

:func:`mirrored` makes a folder there one of this machine: a copy below the cache, known by its
address, brought up to date by sizes and tags each time it is opened. So every reader of files works
on it as it is. A copied file is there whole or not at all; a cut or slow connection costs a part
of a file, not the file. What the other side says of names and sizes is checked before it is used.

S3 and what speaks its protocol is read and written by PyArrow. Credentials, region and endpoint
come from the environment, by AWS's own names (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY,
AWS_PROFILE, AWS_REGION, AWS_ENDPOINT_URL …), and from nowhere else: an address that holds any is
refused, and no message repeats them. Where the environment has none, S3 is asked as anybody.

HTTP is read alone. A web server lists nothing, so a table :data:`LISTING` lies in the folder, with
the columns path, size and, if wanted, sha256 (:func:`write_listing`).
"""

from __future__ import annotations

import csv
import hashlib
import io
import json
import os
import re
import shutil
import threading
import time
import urllib.error
import urllib.request
from abc import ABC, abstractmethod
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlsplit

from core.foundation.digest import digest_of
from core.foundation.errors import UnitscopeError, first_line
from core.foundation.files import ProcessLock, Taken, parse_json, write_text
from core.foundation.plain import Keywords
from core.foundation.progress import STOPPED, Meter, Report, Stop, Stopped, never
from core.foundation.settings import CACHE

MIRROR = "UNITSCOPE_MIRROR"
"""The environment's word for the folder of copies, in the place of ``cache/mirror``."""

MIRROR_GB = "UNITSCOPE_MIRROR_GB"
"""The environment's word for how large a copied folder may be; :data:`USUAL_GB` where it has none.
"""

USUAL_GB = 500.0

LISTING = "files.csv"
"""What lists a folder on a web server: a row a file."""

MOST_FILES = 5_000_000
"""Files of a folder that is copied."""

LONGEST = 1024
"""Characters of a file's path in its folder."""

BLOCK = 4 << 20
"""Bytes asked for at once."""

TRIES = 6
"""Attempts at a file, each of which goes on where the one before ended."""

TIMEOUT = 20.0
"""Seconds without a byte after which a connection is given up."""

PAUSE = 0.2
"""Seconds before the second attempt; twice as long before each further one, up to 5."""

SLOWEST = 1000
"""Bytes a second below which, after :data:`TIMEOUT`, a connection is given up."""

AT_ONCE = 8
"""Files that are copied at the same time."""

FRESH = 600.0
"""Seconds for which a process does not ask again what is in a folder."""

_REMOTE = re.compile(
    r"(?P<url>(?:s3|https?)://[^/:\s]+(?::\d+(?=/|$))?(?:/[^:\s]*)?)(?P<more>:.*)?", re.DOTALL
)
_SECRET = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_ASKED_AS = (
    "AWS_ACCESS_KEY_ID",
    "AWS_PROFILE",
    "AWS_WEB_IDENTITY_TOKEN_FILE",
    "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
    "AWS_CONTAINER_CREDENTIALS_FULL_URI",
)


def is_remote(place: str) -> bool:
    """Whether a place is an address and no path.

    >>> is_remote("s3://photos/ade20k"), is_remote("/data/ade20k")
    (True, False)
    """
    return place.startswith(("s3://", "http://", "https://"))


def parted(place: str) -> tuple[str, str]:
    """(address of the folder, what a SPEC says behind it) of a place that is an address.

    Raises UnitscopeError for one that is none, or holds a password or a query.

    >>> parted("s3://photos/coco/:stuff"), parted("https://host:8080/a")
    (('s3://photos/coco', ':stuff'), ('https://host:8080/a', ''))
    """
    head = place.split("/", 3)
    if "@" in (head[2] if len(head) > 2 else "") or "?" in place or "#" in place:
        raise UnitscopeError(
            f"{place.partition('://')[0]}://… holds more than a place: credentials come from the "
            "environment (AWS_ACCESS_KEY_ID, …), never from an address, which is kept in run files"
        )
    found = _REMOTE.fullmatch(place)
    if found is None:
        raise UnitscopeError(f"{place!r} is no address: s3://bucket/folder, https://host/folder")
    return found["url"].rstrip("/"), found["more"] or ""


class Entry(NamedTuple):
    """A file, as its side lists it. tag : is another where the file is another. sha256 : or "" """

    size: int
    tag: str
    sha256: str = ""


class Store(ABC):
    """A folder elsewhere. What goes wrong there is an OSError."""

    def __init__(self, url: str):
        self.url = url

    @abstractmethod
    def listing(self) -> dict[str, Entry]:
        """Every file below it by its path, which is not checked yet."""

    @abstractmethod
    def read(self, name: str, entry: Entry, at: int) -> Generator[bytes, None, None]:
        """The bytes of a file from place `at` on. An empty block: it begins anew, at 0."""

    @abstractmethod
    def write(self, name: str, path: Path) -> None:
        """Put a file there. Raises OSError where it is not there in its size afterwards."""


class S3(Store):
    """A folder of a bucket, by PyArrow's client."""

    def __init__(self, url: str):
        super().__init__(url)
        # It takes a moment, and only what lies elsewhere needs it.
        from pyarrow import fs

        self._fs, self._path = fs, url.removeprefix("s3://").strip("/")
        end = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
        how: Keywords = {}
        if end:
            scheme, _, place = end.rpartition("://")
            how = {"endpoint_override": place.rstrip("/"), "scheme": scheme or "https"}
        region = os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION")
        if not region and not end:
            with suppress(OSError):
                region = fs.resolve_s3_region(self._path.partition("/")[0])
        self._s3 = fs.S3FileSystem(
            anonymous=not any(os.environ.get(name) for name in _ASKED_AS),
            region=region or "us-east-1",
            connect_timeout=TIMEOUT / 2,
            request_timeout=TIMEOUT,
            retry_strategy=fs.AwsStandardS3RetryStrategy(max_attempts=3),
            **how,
        )

    def listing(self) -> dict[str, Entry]:
        there = self._s3.get_file_info(self._fs.FileSelector(self._path, recursive=True))
        return {
            info.path[len(self._path) :].lstrip("/"): Entry(info.size, str(info.mtime_ns))
            for info in there
            if info.type == self._fs.FileType.File
        }

    def read(self, name: str, entry: Entry, at: int) -> Generator[bytes, None, None]:
        with self._s3.open_input_file(f"{self._path}/{name}") as file:
            while block := file.read_at(BLOCK, at):
                at += len(block)
                yield block

    def write(self, name: str, path: Path) -> None:
        with path.open("rb") as file:
            out = self._s3.open_output_stream(f"{self._path}/{name}")
            shutil.copyfileobj(file, out, BLOCK)
            out.close()
        there, here = self._s3.get_file_info(f"{self._path}/{name}").size, path.stat().st_size
        if there != here:
            raise OSError(f"{there} bytes are there, of {here:,}")


class _SameScheme(urllib.request.HTTPRedirectHandler):
    """https leads to no http."""

    def redirect_request(
        self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str
    ) -> Any:
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise OSError("it leads from https to an address without")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


class Http(Store):
    """A folder of a web server, with a table of its files."""

    def __init__(self, url: str):
        super().__init__(url)
        self._open = urllib.request.build_opener(_SameScheme).open
        self._tags: dict[str, str] = {}

    def _get(self, name: str, headers: Mapping[str, str]) -> Any:
        request = urllib.request.Request(f"{self.url}/{quote(name)}", headers=dict(headers))
        return self._open(request, timeout=TIMEOUT)

    def listing(self) -> dict[str, Entry]:
        with self._get(LISTING, {}) as answer:
            text = answer.read().decode("utf-8-sig")
        found: dict[str, Entry] = {}
        for row in csv.DictReader(io.StringIO(text, newline="")):
            cells = {(key or "").strip().lower(): value for key, value in row.items()}
            name, size = cells.get("path"), str(cells.get("size") or "").strip()
            if not name or not size.isdecimal():
                raise UnitscopeError(
                    f"{self.url}/{LISTING} is no table of path, size[, sha256]: {[*row.values()]}"
                )
            sha256 = str(cells.get("sha256") or "").strip().lower()
            found[name] = Entry(int(size), sha256, sha256)
        return found

    def read(self, name: str, entry: Entry, at: int) -> Generator[bytes, None, None]:
        tag = self._tags.get(name)
        headers = {"Range": f"bytes={at}-", "If-Range": tag} if at and tag else {}
        with self._get(name, headers) as answer:
            if at and answer.status != 206:
                yield b""
            # A weak tag does not promise the same bytes.
            tag = answer.headers.get("ETag", "")
            self._tags[name] = "" if tag.startswith("W/") else tag
            while block := answer.read1(BLOCK):
                yield block

    def write(self, name: str, path: Path) -> None:
        raise UnitscopeError(f"{self.url} can be read alone: only S3 is written to")


def open_store(url: str) -> Store:
    """The folder at an address. Raises UnitscopeError where it is none."""
    url, more = parted(url)
    if more:
        raise UnitscopeError(f"{url}{more} is no address of a folder")
    return S3(url) if url.startswith("s3://") else Http(url)


# -- one file ---------------------------------------------------------------------------------


def reason_of(err: BaseException) -> str:
    """What another side said, without anything that is secret here."""
    text = first_line(err)
    for name in _SECRET:
        if secret := os.environ.get(name):
            text = text.replace(secret, f"<{name}>")
    return text[:500]


def _failed(what: str, url: str, err: BaseException) -> UnitscopeError:
    return UnitscopeError(f"{url} cannot be {what}: {reason_of(err)}")


_CUT = (OSError, EOFError, TimeoutError)
"""What a lost connection raises; http.client's IncompleteRead never comes from ``read1``."""


def get(store: Store, name: str, entry: Entry, path: Path, stop: Stop = never) -> None:
    """Copy a file here: whole, of the size and digest that it is listed with, or not at all.

    Raises UnitscopeError after :data:`TRIES` attempts, Stopped.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}.part")
    why: BaseException = EOFError("nothing came")
    try:
        with part.open("w+b") as out:
            for again in range(TRIES):
                if again:
                    time.sleep(min(PAUSE * 2**again, 5))
                try:
                    _append(store, name, entry, out, stop)
                    if entry.sha256:
                        out.seek(0)
                        if hashlib.file_digest(out, "sha256").hexdigest() != entry.sha256:
                            out.truncate(0)
                            raise OSError("its SHA-256 is not the one that is listed")
                    break
                except urllib.error.HTTPError as err:
                    why = err
                    if 400 <= err.code < 500 and err.code not in (408, 416, 429):
                        raise _failed("read", f"{store.url}/{name}", err) from err
                    if err.code == 416:
                        out.truncate(0)
                except _CUT as err:
                    why = err
            else:
                raise _failed("read", f"{store.url}/{name}", why) from why
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def _append(store: Store, name: str, entry: Entry, out: Any, stop: Stop) -> None:
    """What is missing at the end of `out`. Raises OSError where it does not come, or is another
    size."""
    at = out.seek(0, io.SEEK_END)
    began, had = time.monotonic(), at
    if at < entry.size or not at:
        with closing(store.read(name, entry, at)) as blocks:
            for block in blocks:
                if not block:
                    at = had = out.seek(0)
                    out.truncate()
                at += out.write(block)
                if at > entry.size:
                    out.truncate(0)
                    raise OSError(f"it is longer than the {entry.size:,} bytes that are listed")
                if stop():
                    raise Stopped(STOPPED)
                passed = time.monotonic() - began
                if passed > TIMEOUT and (at - had) / passed < SLOWEST and at < entry.size:
                    raise TimeoutError(f"{at - had:,} bytes came in {passed:.0f} s")
    out.flush()
    if at < entry.size:
        raise EOFError(f"{at:,} of {entry.size:,} bytes came")


def put(store: Store, name: str, path: Path) -> None:
    """Put a file there, and see that it is. Raises UnitscopeError after some attempts."""
    why: BaseException = OSError("it is not there afterwards")
    for again in range(TRIES):
        if again:
            time.sleep(min(PAUSE * 2**again, 5))
        try:
            store.write(name, path)
            return
        except OSError as err:
            why = err
    raise _failed("written", f"{store.url}/{name}", why) from why


# -- a folder ---------------------------------------------------------------------------------


def checked_name(name: str) -> str:
    """A path that another side lists, below its folder.

    Raises UnitscopeError for one that would lie elsewhere, or that no file has here.

    >>> checked_name("images/1.jpg")
    'images/1.jpg'
    >>> checked_name("../.ssh/config")
    Traceback (most recent call last):
    core.foundation.errors.UnitscopeError: '../.ssh/config' is listed there, and is no path below it
    """
    parts = name.split("/")
    if (
        len(name) > LONGEST
        or not all(parts)
        or any(part in (".", "..") or len(part.encode()) > 250 for part in parts)
        or any(ord(letter) < 32 or letter in "\\:\x7f" for letter in name)
    ):
        raise UnitscopeError(f"{name[:LONGEST]!r} is listed there, and is no path below it")
    return name


def list_store(store: Store) -> dict[str, Entry]:
    """:meth:`Store.listing`, unchecked, of a folder that may not be there yet.

    Raises UnitscopeError where it cannot be had.
    """
    why: BaseException | None = None
    for again in range(3):
        if again:
            time.sleep(2 * PAUSE * 2**again)
        try:
            return store.listing()
        except FileNotFoundError:
            return {}
        except urllib.error.HTTPError as err:
            why = err
            if 400 <= err.code < 500 and err.code != 429:
                break
        except (*_CUT, UnicodeDecodeError, csv.Error) as err:
            why = err
    assert why is not None
    raise _failed("listed", store.url, why) from why


def checked_listing(store: Store) -> dict[str, Entry]:
    """What lies in a folder elsewhere, by paths that can be files here.

    Raises UnitscopeError where it cannot be listed, is empty, or lists what cannot be.
    """
    found = list_store(store)
    found = {name: entry for name, entry in found.items() if not name.endswith("/")}
    if not found:
        raise UnitscopeError(f"{store.url}: there is no such folder, or nothing in it")
    if len(found) > MOST_FILES:
        raise UnitscopeError(f"{store.url} has {len(found):,} files; {MOST_FILES:,} are the most")
    folders = set()
    for name in found:
        parts = checked_name(name).split("/")
        folders |= {"/".join(parts[:k]) for k in range(1, len(parts))}
    if both := sorted(folders & set(found)):
        raise UnitscopeError(f"{store.url}: {both[0]} is a file and a folder there")
    return found


@dataclass(frozen=True)
class Mirror:
    """A folder of this machine that is one elsewhere. note : what a person should know, or "" """

    folder: Path
    note: str = ""


_known: dict[str, tuple[float, Mirror]] = {}


def mirror_folder(url: str) -> Path:
    """Where the copy of a folder lies, whether it is there or not."""
    root = Path(os.environ.get(MIRROR) or CACHE / "mirror")
    return root / digest_of(parted(url)[0])[:16] / "files"


def check_copied(spec: str, where: str) -> None:
    """Refuse a SPEC of a run file with an address that nothing was ever copied from here: whoever
    made the file would choose what this machine asks for, and signs with the user's name.

    where : the file, as a person knows it. Raises UnitscopeError.
    """
    kind, _, place = spec.partition(":")
    if kind == "python" or not is_remote(place):
        return
    if not (mirror_folder(place).parent / "whole").is_file():
        raise UnitscopeError(
            f"{where} names photos at {parted(place)[0]}, from where nothing was copied to this "
            f"machine. If you trust whoever made the file: python -m core datasets check {spec}"
        )


def mirrored(url: str, progress: Report | None = None, stop: Stop = never) -> Mirror:
    """The copy of a folder elsewhere, up to date.

    Only what has another size or tag than before is copied; what is no longer there is removed.
    Within :data:`FRESH` seconds a process does not ask again. Where the folder cannot be listed and
    a whole copy is here, that is given, and the note says so.

    Raises UnitscopeError where it cannot be had, or is larger than the disk or the limit of
    UNITSCOPE_MIRROR_GB; Stopped, after which what was copied is kept.
    """
    url = parted(url)[0]
    folder = mirror_folder(url)
    when, known = _known.get(url, (0.0, Mirror(folder)))
    if when and time.monotonic() - when < FRESH and folder.is_dir():
        return known
    folder.mkdir(parents=True, exist_ok=True)
    lock = _waited(folder.parent / "lock", stop)
    try:
        note = _bring(url, folder, progress, stop)
    finally:
        lock.release()
    _known[url] = (time.monotonic(), Mirror(folder, note))
    return _known[url][1]


def _waited(path: Path, stop: Stop) -> ProcessLock:
    """The right to change a copy, once nobody else has it: another process may be copying."""
    while True:
        try:
            return ProcessLock(path, "it is being copied by another process")
        except Taken:
            if stop():
                raise Stopped(STOPPED) from None
            time.sleep(0.2)


def _bring(url: str, folder: Path, progress: Report | None, stop: Stop) -> str:
    """Bring a copy up to date; returns a note. The index beside it says which file is of which
    tag, and is only written for files that are whole."""
    whole, index = folder.parent / "whole", folder.parent / "index.json"
    try:
        store = open_store(url)
        wanted = checked_listing(store)
    except UnitscopeError as err:
        if not whole.is_file():
            raise
        day = time.strftime("%Y-%m-%d %H:%M", time.localtime(whole.stat().st_mtime))
        return f"{err}; the copy of {day} is read instead"
    have = _index(index)
    missing = [name for name, entry in wanted.items() if not _here(folder, name, entry, have)]
    size = sum(wanted[name].size for name in missing)
    _room(url, folder, sum(entry.size for entry in wanted.values()), size)
    if missing:
        whole.unlink(missing_ok=True)
        meter = Meter(progress)
        meter.start("copy", -(-size // 1_000_000), of="MB")
        _copy(store, folder, missing, wanted, have, index, meter, stop)
    for stray in [p for p in folder.rglob("*") if p.is_file()]:
        if stray.relative_to(folder).as_posix() not in wanted:
            stray.unlink()
    write_text(index, json.dumps({n: e[:2] for n, e in wanted.items()}))
    write_text(whole, url)
    return ""


def _index(path: Path) -> dict[str, tuple[int, str]]:
    try:
        held = parse_json(path.read_bytes())
        return {str(name): (int(size), str(tag)) for name, (size, tag) in held.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}


def _here(folder: Path, name: str, entry: Entry, have: Mapping[str, tuple[int, str]]) -> bool:
    try:
        size = (folder / name).stat().st_size
    except OSError:
        return False
    return size == entry.size and have.get(name) == entry[:2]


def _room(url: str, folder: Path, all_of_it: int, missing: int) -> None:
    most = float(os.environ.get(MIRROR_GB) or USUAL_GB)
    if all_of_it > most * 1e9:
        raise UnitscopeError(
            f"{url} has {all_of_it / 1e9:.1f} GB, and {most:g} GB are copied at most: {MIRROR_GB} "
            "sets another limit"
        )
    free = shutil.disk_usage(folder).free
    if missing > free:
        raise UnitscopeError(
            f"{missing / 1e9:.1f} GB of {url} are to be copied, and {free / 1e9:.1f} GB are free "
            f"under {folder.parent.parent}: {MIRROR} names another folder"
        )


def _copy(
    store: Store,
    folder: Path,
    missing: list[str],
    wanted: Mapping[str, Entry],
    have: dict[str, tuple[int, str]],
    index: Path,
    meter: Meter,
    stop: Stop,
) -> None:
    saved, done = time.monotonic(), 0
    halt = threading.Event()

    def one(name: str) -> str:
        path = folder / name
        for above in path.relative_to(folder).parents:
            if (folder / above).is_file():  # of an earlier state, where it was no folder
                (folder / above).unlink()
        if path.is_dir():
            shutil.rmtree(path)
        get(store, name, wanted[name], path, lambda: halt.is_set() or stop())
        return name

    with ThreadPoolExecutor(AT_ONCE, thread_name_prefix="copy") as pool:
        try:
            for future in as_completed([pool.submit(one, name) for name in missing]):
                name = future.result()
                have[name] = wanted[name][:2]
                done += wanted[name].size
                meter.step(done // 1_000_000 - meter.done)
                if stop():
                    raise Stopped(STOPPED)
                if time.monotonic() - saved > 5:
                    write_text(index, json.dumps(have))
                    saved = time.monotonic()
        finally:
            halt.set()
            pool.shutdown(cancel_futures=True)
            write_text(index, json.dumps(have))
    meter.step(meter.total - meter.done)


def local(place: str, progress: Report | None = None, stop: Stop = never) -> tuple[str, str]:
    """(the place in a SPEC as a path of this machine, a note): :func:`mirrored` where it is an
    address, and otherwise as it is."""
    if not is_remote(place):
        return place, ""
    url, more = parted(place)
    found = mirrored(url, progress, stop)
    return f"{found.folder}{more}", found.note


def write_listing(folder: Path) -> int:
    """Write :data:`LISTING` of a folder, for a web server; returns how many files it lists."""
    names = sorted(
        p.relative_to(folder).as_posix()
        for p in folder.rglob("*")
        if p.is_file() and p.name != LISTING and not p.name.startswith(".")
    )
    out = io.StringIO(newline="")
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(["path", "size", "sha256"])
    for name in names:
        with (folder / name).open("rb") as file:
            sha256 = hashlib.file_digest(file, "sha256").hexdigest()
        rows.writerow([checked_name(name), (folder / name).stat().st_size, sha256])
    write_text(folder / LISTING, out.getvalue())
    return len(names)
