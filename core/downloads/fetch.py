"""Files from the net: resumed, verified, unpacked, never fetched twice. Standard library alone.

A file that is on its way is ``<file>.part``, with ``<file>.part.json`` beside it: what the server
said of it, so that the next try can ask for the rest of that very file. What was got and
verified is told by ``<name>.got.json``.
"""

from __future__ import annotations

import base64
import email.utils
import hashlib
import http.client
import json
import os
import re
import shutil
import ssl
import string
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from core.downloads.catalog import Download
from core.downloads.unpack import Unpacked, size_of, unpack
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.files import Sole, parse_json, write_text
from core.foundation.names import whole
from core.foundation.progress import Report, Stopped, of_bytes

TIMEOUT = 30.0
"""Seconds without an answer, or with hardly any bytes, after which a try is given up."""

TRIES = 6
"""Tries without progress before the download is given up; the part is kept."""

LONGEST_PAUSE = 60.0
_SLOWEST = 1024  # bytes in TIMEOUT seconds, below which a connection is as good as dead
_PASSING = {408, 425, 429, 500, 502, 503, 504}
_REDIRECTS = 10


class Fetched(NamedTuple):
    """A file that has come whole: its bytes, and its SHA-256 as hex digits."""

    bytes: int
    sha256: str


# -- one file -------------------------------------------------------------------------------


def fetch(
    url: str,
    target: Path,
    *,
    size: int | None = None,
    checksum: str | None = None,
    progress: Report | None = None,
    note: Callable[[str], None] = lambda text: None,
    timeout: float = TIMEOUT,
    tries: int = TRIES,
    pause: Callable[[float], None] = time.sleep,
    whole: Callable[[Fetched, int], None] = lambda fetched, changed: None,
) -> Fetched:
    """Download `url` to `target`, going on with what an earlier try left.

    A part is gone on with by a range request on the condition that the file is still the
    same (``If-Range``). Servers that ignore ranges, and files that have changed, are started
    anew. The file takes its name only when size and checksum are right.

    Parameters
    ----------
    size : its bytes; where None, what the server announces.
    checksum : ``algorithm:hex digits``; not checked where None.
    progress, note : called with the progress, and with lines on what went wrong meanwhile.
    pause : waits between tries.
    whole : called before the file takes its name, with its time of change in ns, so that what is
        told of it is on the disk no later than the file.

    Raises
    ------
    UnitscopeError
        an address that is not http(s) or leads to another scheme; an answer that no other try
        will change (404, 403, …, or a 2xx that carries no file); an empty file; too many tries
        without progress; another size or checksum than told (the part is removed); a checksum
        that can be none (:func:`read_checksum`); no room on the disk.
    Stopped
        on Ctrl-C.
    """
    _need_http(url)
    checksum = read_checksum(checksum) if checksum else None
    transfer = _Transfer(url, target, size, checksum, progress, note, timeout)
    try:
        transfer.until_whole(tries, pause)
        found = _verified(transfer.part, url, size, checksum, progress)
        if isinstance(found, str) and transfer.resumed:
            # Pieces of two files, most likely: once more, in one go.
            note(f"{found}; starting anew, as it was put together from several tries")
            transfer.forget()
            transfer.until_whole(tries, pause)
            found = _verified(transfer.part, url, size, checksum, progress)
        if isinstance(found, str):
            transfer.forget()
            raise UnitscopeError(found + ". The file was thrown away")
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped with {_bytes(transfer.have)} of {target.name}; the same command resumes it"
        ) from None
    with transfer.part.open("r+b") as file:
        os.fsync(file.fileno())  # a name that is there after a power cut has its bytes
    whole(found, transfer.part.stat().st_mtime_ns)
    transfer.part.replace(target)
    _clean(target)
    return found


def _clean(target: Path) -> None:
    """Remove what a download that was killed left of itself, where it has nothing to go on with."""
    if not target.with_name(target.name + ".part").exists():
        target.with_name(target.name + ".part.json").unlink(missing_ok=True)


class _Transfer:
    """One file on its way."""

    def __init__(
        self,
        url: str,
        target: Path,
        size: int | None,
        checksum: str | None,
        progress: Report | None,
        note: Callable[[str], None],
        timeout: float,
    ):
        self.url, self.target, self.size, self.checksum = url, target, size, checksum
        self.progress, self.note, self.timeout = progress, note, timeout
        self.part = target.with_name(target.name + ".part")
        self.side = target.with_name(target.name + ".part.json")
        self.resumed = False
        self.known: dict[str, Any] = {}
        with suppress(OSError, ValueError):
            self.known = parse_json(self.side.read_text(encoding="utf-8"))
        if self.known.get("url") != shown(url):
            self.forget()

    @property
    def have(self) -> int:
        """Bytes that have come so far."""
        try:
            return self.part.stat().st_size
        except OSError:
            return 0

    def forget(self) -> None:
        """Throw away what has come."""
        self.part.unlink(missing_ok=True)
        self.side.unlink(missing_ok=True)
        self.known, self.resumed = {}, False

    def until_whole(self, tries: int, pause: Callable[[float], None]) -> None:
        failures = 0
        while True:
            before = self.have
            wait: float | None = None
            try:
                if self._once():
                    return
                why = "the connection was cut"
            except urllib.error.HTTPError as err:
                with err:
                    if err.code == 416:
                        if self._whole_already(err):
                            return
                        why = "the server has no such part"
                    elif err.code in _PASSING:
                        why, wait = f"the server said {err.code} {err.reason}", _retry_after(err)
                    else:
                        raise UnitscopeError(_refused(self.url, err)) from err
            except (http.client.InvalidURL, UnicodeError) as err:
                raise UnitscopeError(f"{shown(self.url)!r} is no address ({err})") from err
            except (OSError, http.client.HTTPException) as err:
                reason = getattr(err, "reason", err)
                if isinstance(reason, ssl.SSLCertVerificationError):
                    raise UnitscopeError(
                        f"{shown(self.url)}: its certificate does not hold ({reason})"
                    ) from err
                slow = isinstance(reason, TimeoutError)
                why = "no answer in time" if slow else f"{str(reason) or type(reason).__name__}"
            failures = 1 if self.have - before > 2**16 else failures + 1
            kept = f"{_bytes(self.have)} kept" if self.have else "nothing has come yet"
            if failures >= tries:
                raise UnitscopeError(
                    f"{shown(self.url)}: {why}, {failures} times in a row; {kept}: the same "
                    "command resumes it, --from takes a mirror"
                )
            seconds = min(LONGEST_PAUSE, wait if wait is not None else 2.0 ** (failures - 1))
            self.note(f"{self.target.name}: {why}; {kept}; trying again in {seconds:.0f} s")
            pause(seconds)

    def _once(self) -> bool:
        """One request; True where the file is whole."""
        have = self.have
        headers = {"Accept-Encoding": "identity", "User-Agent": "Unitscope"}
        etag = self.known.get("etag") or ""
        validator = (etag if not etag.startswith("W/") else "") or self.known.get("modified")
        # Without either nothing but the checksum could tell that the file is another by now.
        if have and not validator and not self.checksum:
            self.forget()
            have = 0
        if have:
            headers["Range"] = f"bytes={have}-"
            if validator:
                headers["If-Range"] = validator
        request = _request(self.url, headers)
        with _opener().open(request, timeout=self.timeout) as answer:
            if answer.status not in (200, 206):
                raise UnitscopeError(
                    f"{shown(self.url)}: the server said {answer.status} {answer.reason}, which "
                    "brings no file"
                )
            length: int | None = answer.length  # None where the server does not tell it
            if answer.status == 200 and length == 0:
                raise UnitscopeError(f"{shown(self.url)}: the server sent an empty file")
            if answer.status == 206:
                first, total = _content_range(answer.headers.get("Content-Range", ""))
                other = etag and answer.headers.get("ETag", etag) != etag
                if first != have or other or total not in (None, self.known.get("total") or total):
                    self.note(f"{self.target.name}: the server has another file by now")
                    self.forget()
                    return False
                if total is None:  # "bytes 5-9/*": the server does not tell it a second time
                    result = None if length is None else have + length
                    total = self.known.get("total") or result
                self.resumed = True
            else:
                if have:
                    self.note(f"{self.target.name}: the server starts it anew")
                    self.forget()
                    have = 0
                self.known, total = {}, length
            if total is not None and self.size is not None and total != self.size:
                self.forget()
                raise UnitscopeError(
                    f"{shown(self.url)} offers {total:,} bytes, {self.size:,} are published: it is "
                    "another file"
                )
            self._room((total or self.size or have) - have)
            self._remember(answer, total)
            self._read(answer, have, total)
        # A body that ends before its Content-Length ends without an error.
        return self.have == total if total is not None else self.have > 0

    def _room(self, need: int) -> None:
        free = shutil.disk_usage(self.part.parent).free
        if need > free:
            raise UnitscopeError(
                f"{self.target.name} needs {_bytes(need)} more in {self.part.parent}, "
                f"{_bytes(free)} are free"
            )

    def _remember(self, answer: Any, total: int | None) -> None:
        # What a 206 leaves out is as the answer before it said.
        self.known = {
            "url": shown(self.url),
            "total": total,
            "etag": answer.headers.get("ETag") or self.known.get("etag"),
            "modified": answer.headers.get("Last-Modified") or self.known.get("modified"),
        }
        write_text(self.side, json.dumps(self.known))

    def _read(self, answer: Any, have: int, total: int | None) -> None:
        began = mark = time.monotonic()
        start = since = have
        # Unbuffered: what has come is in the file, whatever happens to this process.
        with self.part.open("ab", buffering=0) as out:
            if have != out.tell():
                out.truncate(have)
            while block := answer.read1(1 << 18):
                self._write(out, block)
                have += len(block)
                now = time.monotonic()
                if now - mark > self.timeout:
                    if have - since < _SLOWEST:
                        raise TimeoutError("hardly anything comes")
                    mark, since = now, have
                _say(self.progress, self.target.name, have, total or self.size, have - start, began)

    def _write(self, out: Any, block: bytes) -> None:
        try:
            left = memoryview(block)
            while left:
                left = left[out.write(left) :]
        except OSError as err:
            raise UnitscopeError(
                f"{self.part} cannot be written: {err.strerror}; {_bytes(self.have)} kept"
            ) from err

    def _whole_already(self, err: urllib.error.HTTPError) -> bool:
        """After 416: the part may be the whole file."""
        result = re.fullmatch(r"bytes \*/(\d+)", err.headers.get("Content-Range", "").strip())
        whole = result is not None and int(result[1]) == self.have
        if not whole:
            self.forget()
        return whole


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows only what stays with http(s), and never from https back to http."""

    max_redirections = _REDIRECTS

    def http_error_302(self, req: Any, fp: Any, code: int, msg: str, headers: Any) -> Any:
        place = headers.get("Location") or headers.get("URI")
        if not place:
            raise UnitscopeError(
                f"{shown(req.full_url)}: the server said {code} {msg}, but not where to"
            )
        try:
            there = urllib.parse.urlparse(urllib.parse.urljoin(req.full_url, place))
        except ValueError as err:
            raise UnitscopeError(
                f"{shown(req.full_url)} leads on to {shown(place)!r}, which is no address ({err})"
            ) from err
        here = urllib.parse.urlparse(req.full_url).scheme
        if there.scheme not in ("http", "https") or (here, there.scheme) == ("https", "http"):
            raise UnitscopeError(
                f"{shown(req.full_url)} leads on to {shown(there.geturl())}: from {here} only "
                f"{'https' if here == 'https' else 'http and https'} is followed"
            )
        _need_http(there.geturl())
        return super().http_error_302(req, fp, code, msg, headers)

    http_error_301 = http_error_303 = http_error_307 = http_error_308 = http_error_302


def _opener() -> urllib.request.OpenerDirector:
    """Knows http and https alone: no file:, ftp: or data:."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.UnknownHandler(),
        urllib.request.HTTPHandler(),
        urllib.request.HTTPSHandler(),
        urllib.request.HTTPDefaultErrorHandler(),
        _Redirects(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


def _request(url: str, headers: dict[str, str]) -> urllib.request.Request:
    """A request; a name and password in the address go to that server alone, not where it
    redirects to. Letters that no address may hold (``дом``) are sent as a browser sends them."""
    parts = urllib.parse.urlsplit(url)
    who, _, host = parts.netloc.rpartition("@")
    if not host.isascii():
        name, *port = host.split(":")
        host = ":".join([name.encode("idna").decode(), *port])
    path, query = (
        urllib.parse.quote(part, safe=string.punctuation) for part in (parts.path, parts.query)
    )
    request = urllib.request.Request(
        urllib.parse.urlunsplit(parts._replace(netloc=host, path=path, query=query)),
        headers=headers,
    )
    if who:
        token = base64.b64encode(urllib.parse.unquote(who).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {token}")
    return request


def _need_http(url: str) -> None:
    try:
        parts = urllib.parse.urlsplit(url)
        host, _ = parts.hostname, parts.port  # a ValueError where the port is none
        (host or "").encode("idna")
    except ValueError as err:
        raise UnitscopeError(f"{shown(url)!r} is no address ({err})") from err
    if parts.scheme not in ("http", "https") or not host:
        raise UnitscopeError(f"{shown(url)!r} is no http or https address")


def shown(url: str) -> str:
    """An address without what may be secret in it: name, password, query.

    >>> shown("https://me:pw@host/a.zip?key=1")
    'https://host/a.zip'
    """
    try:
        parts = urllib.parse.urlsplit(url)
    except ValueError:
        return re.sub("//[^/]*@", "//", re.split("[?#]", url)[0])
    host = parts.netloc.rpartition("@")[2]
    return urllib.parse.urlunsplit((parts.scheme, host, parts.path, "", ""))


def _refused(url: str, err: urllib.error.HTTPError) -> str:
    if err.code in (301, 302, 303, 307, 308):  # one without a place to go to is told before
        return f"{shown(url)} is redirected in a circle, or more than {_REDIRECTS} times"
    result = f"{shown(url)}: the server said {err.code} {err.reason}"
    if err.code in (404, 410):
        result += "; the file has moved: look at the publisher's page, or take a mirror by --from"
    if err.code in (401, 403):
        result += "; it may ask for a registration first"
    return result


def _retry_after(err: urllib.error.HTTPError) -> float | None:
    """Seconds that the server asks to wait: a number, or a date."""
    result = (err.headers.get("Retry-After") or "").strip()
    if (seconds := whole(result)) is not None:
        return float(seconds)
    with suppress(TypeError, ValueError):
        return max(0.0, email.utils.parsedate_to_datetime(result).timestamp() - time.time())
    return None


def _content_range(text: str) -> tuple[int, int | None]:
    """(first byte, bytes in all) of ``bytes 5-9/10``; (−1, None) for anything else."""
    result = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", text.strip())
    if not result:
        return -1, None
    return int(result[1]), None if result[2] == "*" else int(result[2])


def read_checksum(text: str) -> str:
    """A checksum as it is compared: a digest that Python always has, its digits in lower case.

    >>> read_checksum("MD5:" + "AB" * 16)
    'md5:abababababababababababababababab'

    Raises UnitscopeError for another algorithm, one without a fixed length (SHAKE) among them,
    and for digits that are not as many as the algorithm gives, or not hexadecimal.
    """
    lengths = {
        name: 2 * hashlib.new(name, usedforsecurity=False).digest_size
        for name in hashlib.algorithms_guaranteed
    }
    algorithm, _, digits = text.strip().lower().partition(":")
    length = lengths.get(algorithm)
    if not length:
        known = ", ".join(sorted(name for name in lengths if lengths[name]))
        raise UnitscopeError(
            f"checksum {text!r}: write ALGORITHM:DIGITS, such as sha256:0123…; algorithms: {known}"
        )
    if not re.fullmatch(f"[0-9a-f]{{{length}}}", digits):
        raise UnitscopeError(
            f"checksum {text!r}: {algorithm} has {length} hexadecimal digits; write "
            "ALGORITHM:DIGITS"
        )
    return f"{algorithm}:{digits}"


def _verified(
    path: Path, url: str, size: int | None, checksum: str | None, progress: Report | None
) -> Fetched | str:
    """The file's digest, or what is wrong with it. checksum : of :func:`read_checksum`."""
    algorithm, _, wanted = (checksum or "").partition(":")
    known = hashlib.sha256()
    asked = hashlib.new(algorithm, usedforsecurity=False) if checksum else None
    total, done, began = path.stat().st_size, 0, time.monotonic()
    if size is not None and total != size:
        return f"{shown(url)}: {total:,} bytes came, {size:,} are published"
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            known.update(block)
            if asked is not None:
                asked.update(block)
            done += len(block)
            _say(progress, f"checking {path.name.removesuffix('.part')}", done, total, done, began)
    if asked is not None and asked.hexdigest() != wanted:
        return (
            f"{shown(url)}: its {algorithm} is {asked.hexdigest()}, not {wanted}: another "
            "file, or damaged on its way"
        )
    return Fetched(total, known.hexdigest())


def _say(
    progress: Report | None, stage: str, done: int, total: int | None, fresh: int, began: float
) -> None:
    if progress is not None:
        progress(of_bytes(stage, done, total or 0, fresh, began))


def _bytes(count: int) -> str:
    """Bytes in words.

    >>> _bytes(1_500), _bytes(2_972_037_809)
    ('2 kB', '2.97 GB')
    """
    for unit, name, digits in ((1e9, "GB", 2), (1e6, "MB", 1), (1e3, "kB", 0)):
        if count >= unit:
            return f"{count / unit:.{digits}f} {name}"
    return f"{count} bytes"


# -- an entry of the table ------------------------------------------------------------------


class Got(NamedTuple):
    """What :func:`get` gives: the path, whether anything was done for it, the marker's facts."""

    path: Path
    fresh: bool
    facts: dict[str, Any]


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
    facts = _marker(entry, root)
    if not path.exists():
        begun = (root / f"{entry.held}.part").exists() or (root / entry.held).exists()
        return "part" if begun else "", 0
    if not facts or (entry.archive and "files" not in facts):
        return "unknown", 0
    added = 0
    if path.is_dir():
        found = size_of(path)
        added, more = found.files - facts["files"], found.bytes - facts["unpacked"]
        same = added == more == 0 or (added > 0 and more >= 0)
    else:
        same = _same_stat(path, facts)
        if not same and path.stat().st_size == facts.get("bytes"):
            known = f"sha256:{facts['sha256']}"
            same = not isinstance(_verified(path, path.name, None, known, None), str)
    return ("there", added) if same else ("changed", 0)


def _same_stat(file: Path, facts: dict[str, Any]) -> bool:
    """Is this the file that the facts were written of, untouched since?"""
    with suppress(OSError):
        held = file.stat()
        return [held.st_size, held.st_mtime_ns] == [facts.get("bytes"), facts.get("changed")]
    return False


def _marker_path(entry: Download, root: Path) -> Path:
    return root / f"{entry.name}.got.json"


def _marker(entry: Download, root: Path) -> dict[str, Any]:
    with suppress(OSError, ValueError):
        facts = parse_json(_marker_path(entry, root).read_text(encoding="utf-8"))
        if isinstance(facts, dict):
            return facts
    return {}


def source_of(entry: Download, given: str | None) -> str | Path:
    """The address or local file to take: the official one, or of a mirror.

    given : an address or a folder that offers the file under its published name, or the file
    itself.

    >>> from core.downloads.catalog import find_download
    >>> source_of(find_download("broden1_224"), "https://mirror.example/data")
    'https://mirror.example/data/broden1_224.zip'

    Raises UnitscopeError where neither is there, and tells how to register where one must.
    """
    if given is None:
        if not entry.url:
            raise UnitscopeError(f"{entry.name} cannot be fetched without you. {entry.note}")
        return entry.url
    if "://" in given:
        _need_http(given)
        parts = urllib.parse.urlsplit(given)
        last = parts.path.rpartition("/")[2]
        if last and Path(last).suffix == Path(entry.file).suffix:
            return given
        path = parts.path.rstrip("/") + "/" + urllib.parse.quote(entry.file)
        return urllib.parse.urlunsplit(parts._replace(path=path))
    place = Path(given).expanduser()
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
    lock = Sole(root / f".{entry.name}.lock", f"{entry.name} is being fetched by another process")
    try:
        found, added = _state(entry, root)
        _clean(root / entry.held)
        if found == "there":
            if entry.archive and _marker(entry, root).get("keep") is False:
                _drop_archive(entry, root)
            if added:
                note(f"{path}: what was got is there, and {added:,} more files")
            return Got(path, False, _marker(entry, root))
        if found == "changed" or (found == "unknown" and (entry.archive or path.is_dir())):
            why = "changed since it was got" if found == "changed" else "not got by this command"
            raise UnitscopeError(f"{path} exists and was {why}; use it as it is, or move it away")
        return _get(entry, root, path, given, checksum, keep, progress, note, how)
    except KeyboardInterrupt:
        raise Stopped(
            f"stopped while unpacking {entry.name}; the same command resumes it"
        ) from None
    finally:
        lock.release()


def _get(
    entry: Download,
    root: Path,
    path: Path,
    given: str | None,
    checksum: str | None,
    keep: bool,
    progress: Report | None,
    note: Callable[[str], None],
    how: dict[str, Any],
) -> Got:
    size = entry.size if checksum is None else None
    wanted = None if checksum == "none" else checksum or entry.checksum
    file = root / entry.held
    file.parent.mkdir(parents=True, exist_ok=True)
    before = _marker(entry, root)
    ours = _same_stat(file, before)  # fetched by an earlier call, but not unpacked
    source = source_of(entry, given) if given or not file.exists() else file
    if ours and before.get("from") == shown(str(source)):
        source = file
    facts: dict[str, Any] = {
        "name": entry.name,
        "from": before.get("from") if ours and source == file else shown(str(source)),
        "file": entry.file,
        "checked": wanted or ("size, the archive's own sums" if entry.archive else "size"),
        "licence": entry.licence,
        "keep": keep,
    }

    def mark() -> None:
        write_text(_marker_path(entry, root), json.dumps(facts, indent=1) + "\n")

    def mark_whole(fetched: Fetched, changed: int) -> None:
        # On the disk before the file has its name, so that a later call knows whose file it is.
        facts.update(bytes=fetched.bytes, sha256=fetched.sha256, changed=changed)
        mark()

    if isinstance(source, Path):
        # A file that is here, by a mirror's folder or by the user's own browser.
        here = file.exists() and source.samefile(file)
        if not here and not ours and not entry.archive:
            _need_free(file)
        fetched = _verified(source, str(source), size, wanted, progress)
        if isinstance(fetched, str):
            raise UnitscopeError(f"{fetched}. Move it away, or say by --checksum what it must have")
        ours = ours and here
        facts.update(bytes=fetched.bytes, sha256=fetched.sha256)
        if not here and not entry.archive:
            fresh = file.with_name(file.name + ".new")
            shutil.copyfile(source, fresh)
            mark_whole(fetched, fresh.stat().st_mtime_ns)
            fresh.replace(file)
        elif ours or not entry.archive:
            mark_whole(fetched, file.stat().st_mtime_ns)
    else:
        if not ours:
            _need_free(file)
        fetch(
            source,
            file,
            size=size,
            checksum=wanted,
            progress=progress,
            note=note,
            whole=mark_whole,
            **how,
        )
        ours = True
    if not entry.archive:
        return Got(path, True, facts)

    def mark_unpacked(made: Unpacked) -> None:
        facts["files"], facts["unpacked"] = made
        mark()

    archive = source if isinstance(source, Path) else file
    try:
        _unpacked(entry, archive, path, progress, mark_unpacked)
    except BadFile as err:
        if ours and not wanted:  # a page of a hotel's network, most likely: not to be met again
            file.unlink()
            _marker_path(entry, root).unlink()
            end = f"{file.name} was thrown away, and comes anew by the next get"
        else:
            why = f"has the right {wanted.partition(':')[0]}" if wanted else "was not fetched"
            end = f"{archive} {why} and is kept; move it away to have another in its place"
        raise BadFile(err.path, f"{err.reason}; {end}") from err
    if ours and not keep:
        file.unlink()
    return Got(path, True, facts)


def _drop_archive(entry: Download, root: Path) -> None:
    """Remove a fetched archive whose unpacking was killed when all but that was done."""
    if _same_stat(root / entry.held, _marker(entry, root)):
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
        _say(progress, f"unpacking {archive.name}", done, total, done, began)

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
