"""`get`: downloads that are cut, slow, changed, wrong; archives that mean harm. A server of our
own on 127.0.0.1 does it all."""

from __future__ import annotations

import errno
import gzip
import hashlib
import io
import json
import shutil
import stat
import struct
import subprocess
import sys
import tarfile
import threading
import time
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from benchmarks.reliability import Log, Works, killed
from core.cli import main
from core.downloads import catalog as table
from core.downloads import fetch as fetching
from core.downloads.catalog import DOWNLOADS, Download, find_download
from core.downloads.fetch import fetch, get, source_of, state
from core.downloads.unpack import unpack
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.progress import Stopped

DATA = np.random.default_rng(0).integers(0, 256, 300_000, np.uint8).tobytes()
MD5 = "md5:" + hashlib.md5(DATA, usedforsecurity=False).hexdigest()


class Site(SimpleNamespace):
    """What the server offers and how it behaves, and the requests that it has seen."""

    url: str
    files: dict[str, bytes]
    etag: str
    ranges: bool
    before: list[Callable[[BaseHTTPRequestHandler], bool]]
    seen: list[tuple[str, str | None, str | None]]


@pytest.fixture
def site(monkeypatch) -> Iterator[Site]:
    """A server of static files with ranges. Each of `before` handles one request; it is used up,
    and where it gives True the request is answered by it."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    it = Site(files={"/a.bin": DATA}, etag='"one"', ranges=True, before=[], seen=[], cut={})

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_args):
            pass

        def do_GET(self):
            wanted = self.headers.get("Range")
            it.seen.append((self.path, wanted, self.headers.get("If-Range")))
            if it.before and it.before.pop(0)(self):
                self.close_connection = True
                return
            body = it.files.get(self.path.partition("?")[0])
            if body is None:
                self.send_error(404)
                return
            start = 0
            fits = self.headers.get("If-Range") in (None, it.etag)
            if wanted and it.ranges and fits:
                start = int(wanted.removeprefix("bytes=").partition("-")[0])
                if start >= len(body):
                    self.send_response(416)
                    self.send_header("Content-Range", f"bytes */{len(body)}")
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send_response(206)
                self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
            else:
                self.send_response(200)
            if it.etag:
                self.send_header("ETag", it.etag)
            self.send_header("Content-Length", str(len(body) - start))
            self.end_headers()
            self.wfile.write(body[start:])

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    it.url = f"http://127.0.0.1:{server.server_port}"
    yield it
    server.shutdown()
    thread.join()
    server.server_close()


def cut_at(count: int, body: bytes = DATA, etag: str = '"one"') -> Callable:
    """The connection breaks after `count` bytes of what was announced."""

    def answer(handler) -> bool:
        wanted = handler.headers.get("Range")
        start = int(wanted.removeprefix("bytes=").partition("-")[0]) if wanted else 0
        handler.send_response(206 if wanted else 200)
        if wanted:
            handler.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        if etag:
            handler.send_header("ETag", etag)
        handler.send_header("Content-Length", str(len(body) - start))
        handler.end_headers()
        handler.wfile.write(body[start : start + count])
        return True

    return answer


def code(number: int, **headers: str) -> Callable:
    """An answer without content."""

    def answer(handler) -> bool:
        handler.send_response(number)
        for name, value in headers.items():
            handler.send_header(name.replace("_", "-"), value)
        handler.send_header("Content-Length", "0")
        handler.end_headers()
        return True

    return answer


class Waits(list):
    """Stands for time.sleep: keeps what was asked for."""

    def __call__(self, seconds: float) -> None:
        self.append(seconds)


# -- one file -------------------------------------------------------------------------------


def test_a_whole_file_with_progress(site, tmp_path):
    told = []
    got = fetch(f"{site.url}/a.bin", tmp_path / "a.bin", checksum=MD5, progress=told.append)
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert got == (len(DATA), hashlib.sha256(DATA).hexdigest())
    assert [p.name for p in tmp_path.iterdir()] == ["a.bin"]
    assert str(told[0]).startswith("a.bin ") and "/300 kB" in str(told[0])
    assert (told[-1].stage, told[-1].done, told[-1].total) == ("checking a.bin", 300, 300)


def test_cut_connections_are_gone_on_with(site, tmp_path):
    site.before = [cut_at(100_000), cut_at(70_000), cut_at(0)]
    waits, notes = Waits(), []
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", checksum=MD5, pause=waits, note=notes.append)
    assert (tmp_path / "a.bin").read_bytes() == DATA
    ranges = [seen[1] for seen in site.seen]
    assert ranges == [None, "bytes=100000-", "bytes=170000-", "bytes=170000-"]
    assert {seen[2] for seen in site.seen[1:]} == {'"one"'}
    assert waits == [1.0, 1.0, 2.0]  # a try that brought much starts the count anew
    assert "connection was cut" in notes[0] and "100 kB kept" in notes[0]


def test_the_part_of_an_earlier_command_is_gone_on_with(site, tmp_path):
    site.before = [cut_at(100_000)]
    with pytest.raises(UnitscopeError, match=r"100 kB kept: the same command resumes it"):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin", tries=1)
    assert (tmp_path / "a.bin.part").stat().st_size == 100_000
    assert not (tmp_path / "a.bin").exists()
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin")
    assert (tmp_path / "a.bin").read_bytes() == DATA and site.seen[-1][1] == "bytes=100000-"


def test_a_part_of_another_address_is_not_used(site, tmp_path):
    site.files["/b.bin"] = DATA[::-1]
    site.before = [cut_at(100_000)]
    with pytest.raises(UnitscopeError):
        fetch(f"{site.url}/a.bin", tmp_path / "x", tries=1)
    fetch(f"{site.url}/b.bin", tmp_path / "x")
    assert (tmp_path / "x").read_bytes() == DATA[::-1]


def test_ranges_refused(site, tmp_path):
    site.ranges = False
    site.before = [cut_at(100_000)]
    notes = []
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits(), note=notes.append)
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert any("starts it anew" in note for note in notes)


@pytest.mark.parametrize("new", [DATA[::-1] + b"new", DATA[::-1]], ids=["longer", "as long"])
@pytest.mark.parametrize("honest", [True, False], ids=["if-range obeyed", "if-range ignored"])
def test_a_file_that_changed_between_tries(site, tmp_path, honest, new):
    """A server that obeys If-Range sends all of the new file; one that does not is found out."""
    site.before = [cut_at(100_000)]
    with pytest.raises(UnitscopeError):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin", tries=1)
    site.files["/a.bin"], site.etag = new, '"two"'
    if not honest:
        site.before = [cut_at(10**9, new, '"two"')]
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits())
    assert (tmp_path / "a.bin").read_bytes() == new


def test_another_part_than_asked_for_is_not_taken(site, tmp_path):
    def from_the_start(handler) -> bool:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes 0-{len(DATA) - 1}/{len(DATA)}")
        handler.send_header("ETag", '"one"')
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        handler.wfile.write(DATA)
        return True

    site.before = [cut_at(100_000), from_the_start]
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits())
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert [seen[1] for seen in site.seen] == [None, "bytes=100000-", None]


def test_pieces_of_two_files_are_found_by_the_checksum(site, tmp_path):
    """No ETag, no date, the same length: only the checksum tells, and then it starts anew."""
    site.etag = ""
    site.before = [cut_at(100_000, DATA[::-1], etag="")]
    notes = []
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", checksum=MD5, pause=Waits(), note=notes.append)
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert [seen[1] for seen in site.seen] == [None, "bytes=100000-", None]
    assert any("starting anew" in note for note in notes)


def test_nothing_is_put_together_that_nothing_could_check(site, tmp_path):
    site.etag = ""
    site.before = [cut_at(100_000, etag="")]
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits())
    assert [seen[1] for seen in site.seen] == [None, None]


def bare_range(first: int, last: int, count: int, length: int | None, etag: str = '"one"'):
    """A 206 that does not tell the size of the whole file; `count` bytes come."""

    def answer(handler) -> bool:
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{last}/*")
        if etag:
            handler.send_header("ETag", etag)
        if length is not None:
            handler.send_header("Content-Length", str(length))
        handler.end_headers()
        handler.wfile.write(DATA[first : first + count])
        return True

    return answer


@pytest.mark.parametrize("etag", ['"one"', ""], ids=["etag again", "etag once"])
@pytest.mark.parametrize("length", [724, None], ids=["length", "no length"])
def test_a_range_of_a_file_of_untold_size_is_cut_too(site, tmp_path, length, etag):
    whole = site.files["/a.bin"] = DATA[:1024]
    site.before = [cut_at(300, whole), bare_range(300, 1023, 100, length, etag)]
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits())
    assert (tmp_path / "a.bin").read_bytes() == whole
    assert [seen[1] for seen in site.seen] == [None, "bytes=300-", "bytes=400-"]


def test_the_size_of_a_range_is_learnt_from_its_length(site, tmp_path):
    """First the connection's end is the file's end; the 206 has a length, and is cut."""
    whole = site.files["/a.bin"] = DATA[:1024]

    def chunked(handler) -> bool:
        handler.send_response(200)
        handler.send_header("ETag", '"one"')
        handler.send_header("Transfer-Encoding", "chunked")
        handler.end_headers()
        handler.wfile.write(b"12c\r\n" + whole[:300] + b"\r\n12c\r\n")
        return True

    site.before = [chunked, bare_range(300, 1023, 100, 724)]
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits())
    assert (tmp_path / "a.bin").read_bytes() == whole


def test_answers_that_carry_no_file(site, tmp_path):
    for number in (202, 203, 204):
        site.before = [code(number)]
        with pytest.raises(UnitscopeError, match=f"said {number} .*brings no file"):
            fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits())
    site.before = [code(200)]
    with pytest.raises(UnitscopeError, match="sent an empty file"):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits())
    assert not list(tmp_path.iterdir())
    site.before = [cut_at(100_000), code(200)]
    with pytest.raises(UnitscopeError, match="sent an empty file"):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits())
    assert (tmp_path / "a.bin.part").stat().st_size == 100_000  # what has come is kept


def test_a_part_that_is_whole_already(site, tmp_path):
    (tmp_path / "a.bin.part").write_bytes(DATA)
    known = {"url": f"{site.url}/a.bin", "total": len(DATA), "etag": '"one"', "modified": None}
    (tmp_path / "a.bin.part.json").write_text(json.dumps(known))
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", checksum=MD5)
    assert (tmp_path / "a.bin").read_bytes() == DATA and len(site.seen) == 1


def test_wrong_checksum(site, tmp_path):
    with pytest.raises(UnitscopeError, match=r"its md5 is [0-9a-f]{32}, not 0000.*thrown away"):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin", checksum="md5:" + "0" * 32)
    assert not list(tmp_path.iterdir())
    with pytest.raises(UnitscopeError, match="ALGORITHM:DIGITS"):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin", checksum="sha999:00")


def test_another_size_than_published_is_told_before_it_comes(site, tmp_path):
    with pytest.raises(UnitscopeError, match="offers 300,000 bytes, 299,999 are published"):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin", size=299_999)
    assert not list(tmp_path.iterdir())


def test_404_is_final_and_500_is_not(site, tmp_path):
    with pytest.raises(UnitscopeError, match=r"404 Not Found.*--from"):
        fetch(f"{site.url}/none.bin", tmp_path / "x", pause=Waits())
    assert len(site.seen) == 1
    with pytest.raises(UnitscopeError, match=r"403 .*registration"):
        site.before = [code(403)]
        fetch(f"{site.url}/a.bin", tmp_path / "x", pause=Waits())
    waits = Waits()
    site.before = [code(500), code(503, Retry_After="7"), code(429, Retry_After="9999")]
    fetch(f"{site.url}/a.bin", tmp_path / "x", pause=waits)
    assert waits == [1.0, 7.0, 60.0] and (tmp_path / "x").read_bytes() == DATA


def test_it_gives_up_in_the_end(site, tmp_path):
    site.before = [code(500)] * 9
    waits = Waits()
    with pytest.raises(UnitscopeError, match=r"said 500 .*4 times in a row; nothing has come"):
        fetch(f"{site.url}/a.bin", tmp_path / "x", pause=waits, tries=4)
    assert waits == [1.0, 2.0, 4.0]
    with pytest.raises(UnitscopeError, match="refused"):
        fetch("http://127.0.0.1:9/a.bin", tmp_path / "y", pause=waits, tries=2)


def test_a_server_that_says_nothing_and_one_that_drips(site, tmp_path):
    release = threading.Event()

    def silent(_handler) -> bool:
        release.wait(5)
        return True

    def drips(handler) -> bool:
        handler.send_response(200)
        handler.send_header("ETag", '"one"')
        handler.send_header("Content-Length", str(len(DATA)))
        handler.end_headers()
        for k in range(60):
            if release.is_set():
                break
            try:
                handler.wfile.write(DATA[k : k + 1])
            except OSError:
                break
            time.sleep(0.05)
        return True

    site.before = [silent, drips]
    notes = []
    fetch(
        f"{site.url}/a.bin",
        tmp_path / "a.bin",
        checksum=MD5,
        timeout=0.3,
        pause=Waits(),
        note=notes.append,
    )
    release.set()
    assert (tmp_path / "a.bin").read_bytes() == DATA
    assert [("no answer in time" in note) for note in notes] == [True, True]
    assert int(site.seen[2][1].removeprefix("bytes=").rstrip("-")) > 0


def test_redirects(site, tmp_path):
    site.before = [code(302, Location="/a.bin")]
    fetch(f"{site.url}/moved", tmp_path / "x", checksum=MD5)
    # The part is asked for at the end of the way, too.
    moved = code(302, Location="/a.bin")
    site.before = [moved, cut_at(100_000), moved]
    fetch(f"{site.url}/moved", tmp_path / "part", checksum=MD5, pause=Waits())
    assert site.seen[-1] == ("/a.bin", "bytes=100000-", '"one"')
    site.before = [code(301, Location="/loop")] * 20
    with pytest.raises(UnitscopeError, match="in a circle"):
        fetch(f"{site.url}/loop", tmp_path / "y", pause=Waits())
    secret = tmp_path / "secret"
    secret.write_text("not for you")
    for place in (secret.as_uri(), "ftp://127.0.0.1/a.bin", "data:text/plain,abc"):
        site.before = [code(302, Location=place)]
        with pytest.raises(UnitscopeError, match="only http and https is followed"):
            fetch(f"{site.url}/a.bin", tmp_path / "y", pause=Waits())
    assert not (tmp_path / "y").exists() and not (tmp_path / "y.part").exists()
    with pytest.raises(UnitscopeError, match="no http or https address"):
        fetch(secret.as_uri(), tmp_path / "y")


def test_a_password_goes_to_its_own_server_alone(site, tmp_path):
    asked = []

    def note_it(handler) -> bool:
        asked.append(handler.headers.get("Authorization"))
        return False

    def moved(handler) -> bool:
        note_it(handler)
        return code(302, Location=f"{site.url}/a.bin")(handler)

    site.before = [moved, note_it]
    fetch(site.url.replace("//", "//me:p%40ss@") + "/x", tmp_path / "x", checksum=MD5)
    assert asked == ["Basic bWU6cEBzcw==", None]
    with pytest.raises(UnitscopeError, match="is no address"):
        fetch("http://127.0.0.1:port/x", tmp_path / "y", pause=Waits())


@pytest.mark.parametrize(
    "bad", ["http://a..b/x.zip", "http://[::1/x.zip", "http://h:99999/x.zip", "http://:80/x.zip"]
)
def test_addresses_that_are_none(site, tmp_path, bad):
    one = entry(site, MEMBERS, tmp_path)
    for call in (
        lambda: source_of(one, bad),
        lambda: get(one, tmp_path / "d", bad),
        lambda: fetch(bad, tmp_path / "x", pause=Waits()),
    ):
        with pytest.raises(UnitscopeError, match=r"is no (http or https )?address"):
            call()
    site.before = [code(302, Location=bad)]
    with pytest.raises(UnitscopeError, match=r"is no (http or https )?address"):
        fetch(f"{site.url}/a.bin", tmp_path / "x", pause=Waits())
    assert not (tmp_path / "x.part").exists()
    with pytest.raises(UnitscopeError) as told:
        fetch("http://me:secret@[::1/x.zip?key=secret", tmp_path / "x")
    assert "secret" not in str(told.value)


def test_letters_beyond_ascii_in_an_address(site, tmp_path):
    one = entry(site, MEMBERS, tmp_path)
    site.files["/%D0%B4%D0%BE%D0%BC/set.zip"] = site.files["/set.zip"]
    assert get(one, tmp_path / "1", f"{site.url}/дом/").fresh
    assert get(one, tmp_path / "2", f"{site.url}/%D0%B4%D0%BE%D0%BC/set.zip?a=дом%20b").fresh
    assert site.seen[-1][0].endswith("?a=%D0%B4%D0%BE%D0%BC%20b")
    request = fetching._request("http://me:pw@дом.example:81/x", {})
    assert request.host == "xn--d1aqf.example:81"


def test_a_redirect_to_nowhere_and_other_3xx(site, tmp_path):
    for number, told in ((302, "302 .*but not where to"), (304, "the server said 304")):
        site.before = [code(number)]
        with pytest.raises(UnitscopeError, match=told):
            fetch(f"{site.url}/a.bin", tmp_path / "x", pause=Waits())


def test_https_does_not_lead_back_to_http():
    request = urllib.request.Request("https://one.example/a")
    for place, fine in (("http://two.example/a", False), ("https://two.example/a", True)):
        handler, headers = fetching._Redirects(), Message()
        headers["Location"] = place
        handler.parent = SimpleNamespace(open=lambda to, **_: to.full_url)
        request.timeout = 1
        if fine:
            answer = io.BytesIO()
            assert handler.http_error_302(request, answer, 302, "", headers) == place
        else:
            with pytest.raises(UnitscopeError, match="from https only https"):
                handler.http_error_302(request, None, 302, "", headers)


def test_disk_without_room(site, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _p: SimpleNamespace(free=1000))
    with pytest.raises(UnitscopeError, match=r"needs 300 kB more .* 1 kB are free"):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin")
    monkeypatch.undo()
    real = Path.open

    class Full:
        def __init__(self, file):
            self.file = file

        def write(self, block):
            room = 65_536 - self.file.tell()
            if not room:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(block[:room])

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

        def __getattr__(self, name):
            return getattr(self.file, name)

    def full(path, mode="r", *args, **how):
        file = real(path, mode, *args, **how)
        return Full(file) if mode == "ab" else file

    monkeypatch.setattr(Path, "open", full)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with pytest.raises(UnitscopeError, match=r"cannot be written: No space left .* 66 kB kept"):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin", pause=Waits())
    monkeypatch.setattr(Path, "open", real)
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", checksum=MD5)
    assert site.seen[-1][1] == "bytes=65536-"


def test_a_killed_download_is_gone_on_with(site, tmp_path):
    """SIGKILL in the middle; the next process asks for the rest alone."""
    release = threading.Event()

    def half(handler) -> bool:
        cut_at(150_000)(handler)
        handler.wfile.flush()
        release.wait(20)
        return True

    site.before = [half]
    program = (
        "import sys; from pathlib import Path; from core.downloads.fetch import fetch;"
        "fetch(sys.argv[1], Path(sys.argv[2]))"
    )
    arguments = [sys.executable, "-c", program, f"{site.url}/a.bin", str(tmp_path / "a.bin")]
    process = subprocess.Popen(arguments, cwd=Path(__file__).parents[2])
    part = tmp_path / "a.bin.part"
    for _ in range(600):
        if part.exists() and part.stat().st_size == 150_000:
            break
        time.sleep(0.05)
    process.kill()
    process.wait()
    release.set()
    assert part.stat().st_size == 150_000 and not (tmp_path / "a.bin").exists()
    subprocess.run(arguments, cwd=Path(__file__).parents[2], check=True)
    assert (tmp_path / "a.bin").read_bytes() == DATA and site.seen[-1][1] == "bytes=150000-"


def test_ctrl_c_keeps_the_part(site, tmp_path):
    def interrupt(progress):
        if progress.done >= 100:
            raise KeyboardInterrupt

    with pytest.raises(Stopped, match="the same command resumes it"):
        fetch(f"{site.url}/a.bin", tmp_path / "a.bin", progress=interrupt)
    assert (tmp_path / "a.bin.part").stat().st_size > 0
    fetch(f"{site.url}/a.bin", tmp_path / "a.bin", checksum=MD5)
    assert (tmp_path / "a.bin").read_bytes() == DATA


# -- archives -------------------------------------------------------------------------------


def zipped(path: Path, members: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        for name, data in members.items():
            info = zipfile.ZipInfo(name)
            info.compress_type = zipfile.ZIP_DEFLATED
            if name in attributes:
                info.external_attr = attributes[name] << 16
            file.writestr(info, data)
    return path


def tarred(path: Path, members: list[tarfile.TarInfo], data: bytes = b"abc") -> Path:
    with tarfile.open(path, "w:gz" if path.name.endswith("gz") else "w") as file:
        for info in members:
            info.size = len(data) if info.isreg() else 0
            file.addfile(info, io.BytesIO(data) if info.isreg() else None)
    return path


def test_archives_of_every_kind(tmp_path):
    members = {"top/a.txt": b"abc", "top/deep/b.txt": b"", "top/ü.txt": b"x" * 5000}
    told = []
    out = unpack(zipped(tmp_path / "a.zip", members), tmp_path / "zip", lambda *a: told.append(a))
    assert out == (3, 5003) and told[-1] == (5003, 5003)
    for kind in ("", ":gz", ":bz2", ":xz"):
        path = tmp_path / f"a.tar{kind.replace(':', '.')}"
        with tarfile.open(path, "w" + kind) as file:
            for name, data in members.items():
                info = tarfile.TarInfo(name)
                info.size, info.mode = len(data), 0o4777
                file.addfile(info, io.BytesIO(data))
        assert unpack(path, tmp_path / f"tar{kind[1:]}") == (3, 5003)
    for folder in ("zip", "tar", "targz", "tarbz2", "tarxz"):
        found = {
            p.relative_to(tmp_path / folder).as_posix(): p.read_bytes()
            for p in (tmp_path / folder).rglob("*")
            if p.is_file()
        }
        assert found == {name.removeprefix("top/"): data for name, data in members.items()}
        assert not (tmp_path / folder / "a.txt").stat().st_mode & (stat.S_ISUID | stat.S_IXUSR)


def test_the_one_top_folder_is_the_content(tmp_path):
    mac = {"set/a": b"1", "__MACOSX/set/._a": b"2"}
    unpack(zipped(tmp_path / "mac.zip", mac), tmp_path / "mac")
    unpack(zipped(tmp_path / "flat.zip", {"a": b"1", "deep/b": b"2"}), tmp_path / "flat")
    for folder, names in (("mac", {"a"}), ("flat", {"a", "deep/b"})):
        root = tmp_path / folder
        assert {p.relative_to(root).as_posix() for p in root.rglob("*") if p.is_file()} == names


@pytest.mark.parametrize("name", ["../x", "a/../../x", "/etc/x", "C:/x", "..\\x", "a/..", "\\x"])
def test_members_outside_the_folder_are_refused(tmp_path, name):
    zipped(tmp_path / "a.zip", {"good.txt": b"1", name: b"2"})
    tarred(tmp_path / "a.tar", [tarfile.TarInfo("good.txt"), tarfile.TarInfo(name)])
    for archive in ("a.zip", "a.tar"):
        with pytest.raises(BadFile, match="outside its folder"):
            unpack(tmp_path / archive, tmp_path / "deep" / "out")
    assert not list((tmp_path / "deep").iterdir())
    assert {p.name for p in tmp_path.iterdir()} == {"a.zip", "a.tar", "deep"}


def test_links_and_devices_are_refused(tmp_path):
    link = {"link": stat.S_IFLNK | 0o777}
    zipped(tmp_path / "a.zip", {"link": b"/etc/passwd", "link/x": b"1"}, **link)
    with pytest.raises(BadFile, match="a link"):
        unpack(tmp_path / "a.zip", tmp_path / "out")
    for kind, target in (
        (tarfile.SYMTYPE, "../.."),
        (tarfile.SYMTYPE, "inside"),
        (tarfile.LNKTYPE, "/etc/passwd"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
    ):
        info = tarfile.TarInfo("thing")
        info.type, info.linkname = kind, target
        tarred(tmp_path / "a.tar.gz", [tarfile.TarInfo("good"), info])
        with pytest.raises(BadFile, match=r"a link|no plain file"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"a.zip", "a.tar.gz"}


def test_bombs(tmp_path):
    """A hundred zeros-files of 1 MB pack 1,000 : 1; so does a tar of zeros, and one of headers."""
    zipped(tmp_path / "bomb.zip", {f"{k}": bytes(2**20) for k in range(100)})
    assert (tmp_path / "bomb.zip").stat().st_size < 200_000
    with pytest.raises(BadFile, match="unpacks to more than"):
        unpack(tmp_path / "bomb.zip", tmp_path / "out")
    infos = [tarfile.TarInfo(f"{k}") for k in range(100)]
    tarred(tmp_path / "bomb.tar.gz", infos, bytes(2**20))
    with pytest.raises(BadFile, match="unpacks to more than"):
        unpack(tmp_path / "bomb.tar.gz", tmp_path / "out")
    zipped(tmp_path / "many.zip", {f"{k}": b"" for k in range(50)})
    with pytest.raises(BadFile, match="more than 49 files"):
        unpack(tmp_path / "many.zip", tmp_path / "out", most_files=49)
    with pytest.raises(BadFile, match="more than 1,000 bytes"):
        archive = zipped(tmp_path / "big.zip", {"a": np.random.default_rng(0).bytes(2000)})
        unpack(archive, tmp_path / "out", most_bytes=1000)
    head = tarfile.TarInfo("x")
    head.type, head.size = tarfile.XHDTYPE, 10**9  # a header that would be read into memory
    with gzip.open(tmp_path / "head.tar.gz", "wb") as file:
        file.write(head.tobuf())
        file.write(bytes(2**20))
    with pytest.raises(BadFile, match="header of more than 64 MB"):
        unpack(tmp_path / "head.tar.gz", tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_entries_over_one_another_are_summed(tmp_path):
    """The better zip bomb: many names for one piece of packed data."""
    packed = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = packed.compress(bytes(2**20)) + packed.flush()
    crc = zlib.crc32(bytes(2**20))
    body = (
        struct.pack("<IHHHHHIIIHH", 0x04034B50, 20, 0, 8, 0, 0, crc, len(data), 2**20, 1, 0)
        + b"0"
        + data
    )
    central = b""
    for _ in range(300):
        central += (
            struct.pack(
                "<IHHHHHHIIIHHHHHII",
                0x02014B50,
                20,
                20,
                0,
                8,
                0,
                0,
                crc,
                len(data),
                2**20,
                1,
                0,
                0,
                0,
                0,
                0,
                0,
            )
            + b"0"
        )
    end = struct.pack("<IHHHHIIH", 0x06054B50, 0, 0, 300, 300, len(central), len(body), 0)
    (tmp_path / "a.zip").write_bytes(body + central + end)
    with pytest.raises(BadFile, match="unpacks to more than"):
        unpack(tmp_path / "a.zip", tmp_path / "out")


def test_damaged_cut_and_encrypted_archives(tmp_path):
    whole = zipped(tmp_path / "a.zip", {"a": np.random.default_rng(1).bytes(50_000)}).read_bytes()
    cases = {
        "cut.zip": whole[:-5000],
        "flipped.zip": whole[:900] + b"\0\1\2\3" + whole[904:],
        "before.zip": whole[:-6] + struct.pack("<I", len(whole)) + whole[-2:],  # begins before 0
        "nothing.zip": b"",
        "page.zip": b"<html>not found</html>",
    }
    tarred(tmp_path / "b.tar.gz", [tarfile.TarInfo("a")], np.random.default_rng(1).bytes(50_000))
    cases["cut.tar.gz"] = (tmp_path / "b.tar.gz").read_bytes()[:-9000]
    for name, data in cases.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(BadFile, match="damaged or cut"):
            unpack(tmp_path / name, tmp_path / "out")
    locked = bytearray(whole)
    for signature, place in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        locked[whole.index(signature) + place] |= 1
    (tmp_path / "locked.zip").write_bytes(bytes(locked))
    with pytest.raises(BadFile, match="encrypted"):
        unpack(tmp_path / "locked.zip", tmp_path / "out")
    with pytest.raises(BadFile, match="twice"), pytest.warns(UserWarning, match="Duplicate"):
        with zipfile.ZipFile(tmp_path / "twice.zip", "w") as file:
            file.writestr("a", "1")
            file.writestr("a", "2")
        unpack(tmp_path / "twice.zip", tmp_path / "out")
    with pytest.raises(BadFile, match="holds no file"):
        unpack(zipped(tmp_path / "empty.zip", {"folder/": b""}), tmp_path / "out")
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.partial").exists()


def test_unpacking_without_room_leaves_nothing(tmp_path, monkeypatch):
    archive = zipped(tmp_path / "a.zip", {"a": b"abc" * 1000})
    monkeypatch.setattr(shutil, "disk_usage", lambda _p: SimpleNamespace(free=10))
    with pytest.raises(UnitscopeError, match="unpacking needs"):
        unpack(archive, tmp_path / "out")
    monkeypatch.undo()
    real = Path.open

    def full(path, mode="r", *args, **how):
        if mode == "xb":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(path, mode, *args, **how)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(UnitscopeError, match="cannot be written: No space left"):
        unpack(archive, tmp_path / "out")
    assert {p.name for p in tmp_path.iterdir()} == {"a.zip"}


# -- entries and the command line -----------------------------------------------------------


def entry(site: Site, members: dict[str, bytes], tmp_path: Path, **fields) -> Download:
    """An entry of the table whose zip the server offers."""
    data = zipped(tmp_path / "made.zip", members).read_bytes()
    (tmp_path / "made.zip").unlink()
    site.files["/set.zip"] = data
    base = Download(
        "set",
        "a set",
        f"{site.url}/set.zip",
        "set.zip",
        len(data),
        None,
        "sha256:" + hashlib.sha256(data).hexdigest(),
        "free",
        "https://terms.example/",
        "set",
        use="--dataset folder:{path}",
    )
    return base._replace(**fields)


MEMBERS = {"set/images/a.png": b"png", "set/labels.csv": b"value,name\n"}


def test_get_once_and_never_again(site, tmp_path, monkeypatch, capsys):
    one = entry(site, MEMBERS, tmp_path)
    monkeypatch.setattr(table, "DOWNLOADS", (one,))
    to = tmp_path / "down"
    assert main(["get", "set", "--to", str(to), "--json"]) == 2  # nobody at the keyboard
    out, err = capsys.readouterr()
    assert "accept them by --yes" in json.loads(out)["error"] and "terms.example" in err
    assert not site.seen and not to.exists()
    assert main(["get", "set", "--to", str(to), "--yes", "--json"]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert told["fetched"] and told["use"] == f"--dataset folder:{to / 'set'}"
    assert (told["files"], told["unpacked"]) == (2, 14)
    assert (to / "set" / "images" / "a.png").read_bytes() == b"png"
    assert {p.name for p in to.iterdir()} == {"set", "set.got.json"}  # the archive is gone
    asked = len(site.seen)
    assert main(["get", "set", "--to", str(to), "--json"]) == 0  # no terms: it is there
    assert not json.loads(capsys.readouterr().out.splitlines()[-1])["fetched"]
    assert len(site.seen) == asked
    (to / "set" / "labels.csv").write_text("value,name\n1,bed\n")
    assert main(["get", "set", "--to", str(to), "--yes"]) == 2
    assert "was changed since it was got" in capsys.readouterr().err
    assert main(["get", "--to", str(to), "--json"]) == 0
    row = json.loads(capsys.readouterr().out)["downloads"][0]
    assert row["state"] == "changed" and row["checksum"] == one.checksum
    assert len(site.seen) == asked


def test_files_added_to_a_folder_do_no_harm(site, tmp_path):
    """As our own instructions say: an index beside Broden's, photos beside OpenSurfaces' tables."""
    one, notes = entry(site, MEMBERS, tmp_path), []
    asked = len(site.seen) + 1
    folder = get(one, tmp_path).path
    (folder / "index_ade20k.csv").write_text("image,split\n")
    (folder / "photos").mkdir()
    (folder / "photos" / "7.jpg").write_bytes(b"jpg")
    got = get(one, tmp_path, note=notes.append)
    assert not got.fresh and state(one, tmp_path) == "there" and len(site.seen) == asked
    assert len(notes) == 1 and "is there, and 2 more files" in notes[0]
    for spoil in (
        lambda: (folder / "images" / "a.png").write_bytes(b""),  # smaller by more than was added
        lambda: shutil.rmtree(folder / "images"),
    ):
        (folder / "index_ade20k.csv").write_bytes(b"")
        (folder / "photos" / "7.jpg").write_bytes(b"")
        spoil()
        assert state(one, tmp_path) == "changed"
    (folder / "photos" / "7.jpg").unlink()
    with pytest.raises(UnitscopeError, match="exists and was changed since it was got; use it as"):
        get(one, tmp_path)


def test_the_prompt(site, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table, "DOWNLOADS", (entry(site, MEMBERS, tmp_path),))
    for answer, status in (("no\n", 2), ("\n", 2), ("y\n", 0)):
        keyboard = io.StringIO(answer)
        keyboard.isatty = lambda: True
        monkeypatch.setattr(sys, "stdin", keyboard)
        assert main(["get", "set", "--to", str(tmp_path / "d")]) == status
    assert "Accept these terms?" in capsys.readouterr().err


def test_a_plain_file_is_verified_again_when_it_was_touched(site, tmp_path):
    one = Download(
        "a", "a file", f"{site.url}/a.bin", "a.bin", len(DATA), None, MD5, "free", "", "weights"
    )
    assert state(one, tmp_path) == ""
    site.before = [cut_at(100_000)]
    with pytest.raises(UnitscopeError, match="100 kB kept"):
        get(one, tmp_path, tries=1)
    assert state(one, tmp_path) == "part" and (tmp_path / "weights" / "a.bin.part").exists()
    assert get(one, tmp_path).fresh and state(one, tmp_path) == "there"
    (tmp_path / "weights" / "a.bin").touch()
    assert state(one, tmp_path) == "there" and not get(one, tmp_path).fresh
    (tmp_path / "weights" / "a.bin").write_bytes(DATA[::-1])
    assert state(one, tmp_path) == "changed"
    with pytest.raises(UnitscopeError, match="was changed since it was got"):
        get(one, tmp_path)
    (tmp_path / "a.got.json").unlink()
    with pytest.raises(UnitscopeError, match=r"its md5 is .* Move it away"):
        get(one, tmp_path)
    assert [seen[1] for seen in site.seen] == [None, "bytes=100000-"]


def test_a_get_that_is_killed_anywhere_is_gone_on_with_and_leaves_nothing(tmp_path):
    """An archive, a file of the server and one of a folder, killed before each file operation.

    It left ``.part.json`` beside, took what it had fetched for the user's own and kept it for
    ever, and refused the file that it had copied itself."""
    works = Works(tmp_path)
    told = killed(works.get, tmp_path / "get", moments=4, most=0, seed=0, log=Log(None, "get"))
    works.server.shutdown()
    works.server.server_close()
    assert told["killed there"] == told["operations"] > 40
    assert told["wrong"] == 0


def test_a_file_the_user_brought_is_taken_without_a_request(site, tmp_path):
    one = entry(site, MEMBERS, tmp_path)
    (tmp_path / "set.zip").write_bytes(site.files["/set.zip"])
    assert state(one, tmp_path) == "part"
    got = get(one, tmp_path, keep=True)
    assert got.fresh and (tmp_path / "set.zip").exists() and not site.seen
    assert (tmp_path / "set" / "labels.csv").exists()


def test_mirrors(site, tmp_path):
    one = entry(site, MEMBERS, tmp_path, url="http://127.0.0.1:9/gone.zip")
    site.files["/deep/set.zip"] = site.files["/set.zip"]
    get(one, tmp_path / "1", f"{site.url}/deep/")
    get(one, tmp_path / "2", f"{site.url}/set.zip?key=secret")
    facts = (tmp_path / "2" / "set.got.json").read_text()
    assert "secret" not in facts and f"{site.url}/set.zip" in facts
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "set.zip").write_bytes(site.files["/set.zip"])
    get(one, tmp_path / "3", str(mirror))
    assert (mirror / "set.zip").exists()  # a mirror's file is not ours to remove
    with pytest.raises(UnitscopeError, match=r"there is no set\.zip in"):
        get(one, tmp_path / "4", str(tmp_path))
    (mirror / "set.zip").write_bytes(b"x" * len(site.files["/set.zip"]))
    with pytest.raises(UnitscopeError, match="its sha256 is"):
        get(one, tmp_path / "4", str(mirror))
    packed_anew = zipped(mirror / "set.zip", {"a.txt": b"other"})
    get(one, tmp_path / "5", str(packed_anew), checksum="none")
    assert (tmp_path / "5" / "set" / "a.txt").read_bytes() == b"other"


def test_a_bad_checksum_is_told_before_anything_comes(site, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(table, "DOWNLOADS", (entry(site, MEMBERS, tmp_path),))
    for bad in ("shake_128:aa", "sha256:12", "md5:" + "g" * 32, "sha999:00", "md5", ""):
        with pytest.raises(UnitscopeError, match="ALGORITHM:DIGITS"):
            fetch(f"{site.url}/set.zip", tmp_path / "x", checksum=bad or "x")
        assert main(["get", "set", "--to", str(tmp_path / "d"), "--checksum", bad]) == 2
        told = capsys.readouterr().err
        assert "ALGORITHM:DIGITS" in told and "terms" not in told
    assert not site.seen and not (tmp_path / "d").exists()
    digits = hashlib.sha256(site.files["/set.zip"]).hexdigest().upper()
    got = get(table.DOWNLOADS[0], tmp_path / "d", checksum=f"SHA256:{digits}")
    assert got.facts["checked"] == f"sha256:{digits.lower()}"


def test_a_page_in_place_of_an_archive_is_not_met_twice(site, tmp_path):
    """A login page with 200, and no checksum that would tell: the next `get` starts anew."""
    one = entry(site, MEMBERS, tmp_path, size=None, checksum=None)
    good, site.files["/set.zip"] = site.files["/set.zip"], b"<html>log in</html>"
    with pytest.raises(BadFile, match=r"damaged or cut .*thrown away, and comes anew"):
        get(one, tmp_path)
    assert not list(tmp_path.iterdir())
    site.files["/set.zip"] = good
    assert get(one, tmp_path).fresh


def test_a_bad_archive_of_an_earlier_call_goes_and_a_persons_own_stays(site, tmp_path, monkeypatch):
    one = entry(site, MEMBERS, tmp_path, size=None, checksum=None)
    site.files["/set.zip"] = b"<html>log in</html>"
    to = tmp_path / "down"

    def stopped(*_args):
        raise KeyboardInterrupt

    monkeypatch.setattr(fetching, "unpack", stopped)
    with pytest.raises(Stopped):
        get(one, to, f"{site.url}/set.zip")
    monkeypatch.setattr(fetching, "unpack", unpack)
    asked = len(site.seen)
    with pytest.raises(BadFile, match="thrown away"):
        get(one, to, f"{site.url}/set.zip")  # "the same command resumes it", with what has come
    assert len(site.seen) == asked and not list(to.iterdir())
    (to / "set.zip").write_bytes(b"<html>mine</html>")
    with pytest.raises(BadFile, match="was not fetched and is kept"):
        get(one, to)
    assert (to / "set.zip").read_bytes() == b"<html>mine</html>"
    # The right checksum: it would be no other the next time.
    page = b"<html>as published</html>"
    site.files["/set.zip"] = page
    (to / "set.zip").unlink()
    with pytest.raises(BadFile, match="has the right sha256 and is kept"):
        get(one, to, checksum="sha256:" + hashlib.sha256(page).hexdigest())
    assert (to / "set.zip").read_bytes() == page


def test_files_of_a_person_are_neither_overwritten_nor_removed(site, tmp_path):
    plain = Download(
        "a", "a file", f"{site.url}/a.bin", "a.bin", len(DATA), None, MD5, "free", "", "weights"
    )
    mine = tmp_path / "weights" / "a.bin"
    mine.parent.mkdir()
    mine.write_bytes(b"mine")
    mirror = tmp_path / "mirror"
    mirror.mkdir()
    (mirror / "a.bin").write_bytes(DATA)
    for given in (f"{site.url}/a.bin", str(mirror)):
        with pytest.raises(UnitscopeError, match=r"was not got by this command.*leave --from out"):
            get(plain, tmp_path, given)
        assert mine.read_bytes() == b"mine" and not site.seen
    mine.write_bytes(DATA)
    assert get(plain, tmp_path, str(mine.parent)).fresh and not site.seen  # itself: verified
    one = entry(site, MEMBERS, tmp_path)
    (tmp_path / "set.zip").write_bytes(b"mine")
    with pytest.raises(UnitscopeError, match="was not got by this command"):
        get(one, tmp_path, f"{site.url}/set.zip")
    assert (tmp_path / "set.zip").read_bytes() == b"mine"
    (tmp_path / "set.zip").write_bytes(site.files["/set.zip"])
    assert get(one, tmp_path).fresh and (tmp_path / "set.zip").exists()


@pytest.mark.parametrize("after", [False, True], ids=["before the rename", "after the rename"])
def test_a_stop_at_the_last_rename(site, tmp_path, monkeypatch, after):
    one = entry(site, MEMBERS, tmp_path)
    real = Path.rename

    def stopped(path, target):
        if path.name == "set.unpacking":
            if after:
                real(path, target)
            raise KeyboardInterrupt
        return real(path, target)

    monkeypatch.setattr(Path, "rename", stopped)
    with pytest.raises(Stopped):
        get(one, tmp_path)
    monkeypatch.undo()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert state(one, tmp_path) == ("there" if after else "part")
    got = get(one, tmp_path)
    assert got.fresh is not after and got.facts["files"] == 2 and len(site.seen) == 1


def test_registration_is_told(tmp_path, capsys):
    assert main(["get", "ade20k", "--to", str(tmp_path), "--yes"]) == 2
    assert "request_data" in capsys.readouterr().err
    assert main(["get", "ade20q", "--to", str(tmp_path)]) == 2
    assert "nearest: ade20k" in capsys.readouterr().err
    assert main(["get", "--from", "x"]) == 2


def test_inner_archives_and_a_kill_between_them(site, tmp_path, monkeypatch):
    inside = zipped(tmp_path / "i.zip", {"val/1.png": b"1", "val/2.png": b"2"}).read_bytes()
    one = entry(site, {"top/val.zip": inside, "top/x.json": b"{}"}, tmp_path, inner=("val.zip",))
    real = fetching.unpack
    calls = []

    def killed(archive, folder, tell):
        calls.append(archive.name)
        if archive.name == "val.zip":
            raise KeyboardInterrupt
        return real(archive, folder, tell)

    monkeypatch.setattr(fetching, "unpack", killed)
    with pytest.raises(Stopped):
        get(one, tmp_path / "d")
    assert calls == ["set.zip", "val.zip"] and not (tmp_path / "d" / "set").exists()
    assert (tmp_path / "d" / "set.zip").exists()  # it need not come again
    monkeypatch.undo()
    asked = len(site.seen)
    got = get(one, tmp_path / "d")
    assert len(site.seen) == asked and got.facts["files"] == 3
    found = {p.relative_to(got.path).as_posix() for p in got.path.rglob("*") if p.is_file()}
    assert found == {"val/1.png", "val/2.png", "x.json"}


def test_what_a_kill_left_of_unpacking_is_cleared(site, tmp_path):
    for left in ("set.unpacking", "set.unpacking.partial"):
        (tmp_path / left / "half").mkdir(parents=True)
        (tmp_path / left / "half" / "x.png").write_bytes(b"half")
    got = get(entry(site, MEMBERS, tmp_path), tmp_path)
    assert got.facts["files"] == 2 and {p.name for p in tmp_path.iterdir()} == {
        "set",
        "set.got.json",
    }


def test_two_processes_do_not_fetch_one_thing(site, tmp_path):
    import filelock

    one = entry(site, MEMBERS, tmp_path)
    lock = filelock.FileLock(tmp_path / ".set.lock")
    with lock, pytest.raises(UnitscopeError, match="by another process"):
        get(one, tmp_path)
    assert get(one, tmp_path).fresh


def test_the_lock_of_the_next_process_is_not_taken_away(site, tmp_path, monkeypatch):
    """A process that takes the lock the moment it is free must keep others out."""
    import filelock

    path = tmp_path / ".set.lock"
    theirs = filelock.FileLock(path)

    class Watched:
        def __init__(self, place):
            self.lock = filelock.FileLock(place)

        def acquire(self, timeout):
            self.lock.acquire(timeout=timeout)

        def release(self):
            self.lock.release()
            theirs.acquire(timeout=0)

    watched = SimpleNamespace(FileLock=Watched, Timeout=filelock.Timeout)
    monkeypatch.setattr("core.foundation.files.filelock", watched)
    get(entry(site, MEMBERS, tmp_path), tmp_path)
    with theirs, pytest.raises(filelock.Timeout):
        filelock.FileLock(path).acquire(timeout=0)
    theirs.release()


def test_a_path_that_get_did_not_make_is_left_alone(site, tmp_path):
    one = entry(site, MEMBERS, tmp_path)
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.txt").write_text("mine")
    assert state(one, tmp_path) == "unknown"
    with pytest.raises(UnitscopeError, match="was not got by this command"):
        get(one, tmp_path)
    assert (tmp_path / "set" / "mine.txt").read_text() == "mine" and not site.seen


def test_the_table_is_in_order(data_dir):
    names = [one.name for one in DOWNLOADS]
    assert len(set(names)) == len(names) and len({one.place for one in DOWNLOADS}) == len(names)
    for one in DOWNLOADS:
        assert one.url.startswith(("http://", "https://")) or "Register" in one.note
        assert not one.url or source_of(one, None) == one.url
        assert one.url.endswith(one.file) or not one.url
        assert one.licence and one.terms.startswith("http")
        if one.checksum:
            algorithm, _, digits = one.checksum.partition(":")
            assert len(digits) == 2 * hashlib.new(algorithm).digest_size
    # The one published file that is here.
    categories = find_download("places365-categories")
    file = data_dir / "places365_squeezenet" / "categories_places365.txt"
    digest = hashlib.md5(file.read_bytes(), usedforsecurity=False).hexdigest()
    assert categories.checksum == f"md5:{digest}" and categories.size == file.stat().st_size
