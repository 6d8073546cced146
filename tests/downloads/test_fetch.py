"""One file: downloads that are cut, slow, changed, wrong."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import shutil
import subprocess
import sys
import threading
import time
import urllib.request
from email.message import Message
from pathlib import Path
from types import SimpleNamespace

import pytest

from core.downloads import fetch as fetching
from core.downloads.fetch import fetch
from core.downloads.get import get, source_of
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from tests.downloads.serving import DATA, MD5, Waits, code, cut_at
from tests.downloads.test_catalog import MEMBERS, entry


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
