"""Download of one file: resumable and verified, with the standard library only.

A file that is being fetched is ``<file>.part``, with ``<file>.part.json`` beside it: what the
server said of it, so that the next try can ask for the rest of that very file.
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

from core.foundation.errors import UnitscopeError
from core.foundation.files import parse_json, write_text
from core.foundation.names import whole
from core.foundation.plain import Json
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
    """Download `url` to `target`, resuming what an earlier try left.

    A part is resumed by a range request on the condition that the file is still the
    same (``If-Range``). Servers that ignore ranges, and files that have changed, are started
    anew. The file takes its name only when size and checksum are right.

    Parameters
    ----------
    size : its bytes; where None, what the server announces.
    checksum : ``algorithm:hex digits``; not checked where None.
    progress, note : called with the progress, and with lines on what went wrong meanwhile.
    pause : waits between tries.
    whole : called before the file takes its name, with its time of change in ns, so that what is
        known of it is on the disk no later than the file.

    Raises
    ------
    UnitscopeError
        an address that is not http(s) or leads to another scheme; an answer that no other try
        will change (404, 403, …, or a 2xx that carries no file); an empty file; too many tries
        without progress; another size or checksum than announced (the part is removed); a checksum
        that can be none (:func:`read_checksum`); no room on the disk.
    Stopped
        on Ctrl-C.
    """
    need_http(url)
    checksum = read_checksum(checksum) if checksum else None
    transfer = _Transfer(url, target, size, checksum, progress, note, timeout)
    try:
        transfer.until_whole(tries, pause)
        found = verified(transfer.part, url, size, checksum, progress)
        if isinstance(found, str) and transfer.resumed:
            # Pieces of two files, most likely: once more, in one go.
            note(f"{found}; starting anew, as it was put together from several tries")
            transfer.forget()
            transfer.until_whole(tries, pause)
            found = verified(transfer.part, url, size, checksum, progress)
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
    clean_part(target)
    return found


def clean_part(target: Path) -> None:
    """Remove what a download that was killed left of itself, where there is nothing to resume."""
    if not target.with_name(target.name + ".part").exists():
        target.with_name(target.name + ".part.json").unlink(missing_ok=True)


class _Transfer:
    """One file that is being fetched."""

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
        self.known: Json = {}
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
            length: int | None = answer.length  # None where the server does not say it
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
                report_bytes(
                    self.progress, self.target.name, have, total or self.size, have - start, began
                )

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
        need_http(there.geturl())
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


def need_http(url: str) -> None:
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
    if err.code in (301, 302, 303, 307, 308):  # one without a place to go to is refused before
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


def verified(
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
            report_bytes(
                progress, f"checking {path.name.removesuffix('.part')}", done, total, done, began
            )
    if asked is not None and asked.hexdigest() != wanted:
        return (
            f"{shown(url)}: its {algorithm} is {asked.hexdigest()}, not {wanted}: another "
            "file, or damaged in transit"
        )
    return Fetched(total, known.hexdigest())


def report_bytes(
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
