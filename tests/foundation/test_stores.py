"""Files elsewhere: copied whole or not at all, over connections that are cut, slow or hostile."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from core.foundation import stores
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.foundation.settings import ROOT
from core.foundation.stores import (
    Entry,
    Http,
    checked_listing,
    get,
    list_store,
    mirrored,
    open_store,
    parted,
    put,
    write_listing,
)
from tests.web_store import KEY, SECRET, Web, environment, moto, pairs_of, serving

FILES = {f"images/{k:03}.bin": os.urandom(2500 * k + 1) for k in range(7)} | {
    "scenes.csv": b"image,scene\n",
    "masks/öl bild.bin": b"x" * 70_000,
}


@pytest.fixture(autouse=True)
def fresh(tmp_path, monkeypatch) -> None:
    """A folder of copies of its own, and nothing known from before."""
    monkeypatch.setenv(stores.MIRROR, str(tmp_path / "mirror"))
    monkeypatch.setattr(stores, "_known", {})
    monkeypatch.setattr(stores, "PAUSE", 0.01)


@pytest.fixture
def web() -> Iterator[Web]:
    with serving() as held:
        yield held


@pytest.fixture(params=["s3", "http"])
def there(request, web, tmp_path, monkeypatch) -> str:
    """The address of a folder that holds FILES, by either protocol."""
    for name, value in environment(web.url).items():
        monkeypatch.setenv(name, value)
    return offered(request.param, web, tmp_path)


def offered(kind: str, web: Web, tmp_path: Path) -> str:
    web.files |= {f"bucket/photos/{name}": data for name, data in FILES.items()}
    if kind == "s3":
        return "s3://bucket/photos"
    folder = tmp_path / "offered"
    for name, data in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    assert write_listing(folder) == len(FILES)
    web.files["bucket/photos/files.csv"] = (folder / "files.csv").read_bytes()
    return f"{web.url}/bucket/photos"


def again(url: str) -> Path:
    """The copy, asked for by a process that knows of none."""
    stores._known.clear()
    return mirrored(url).folder


def read(web: Web) -> set[str]:
    """Files whose bytes were asked for, since this was asked."""
    names = {
        path.removeprefix("bucket/photos/")
        for (method, path), _ in web.asked.items()
        if method == "GET" and path.startswith("bucket/photos/")
    }
    web.asked.clear()
    return names - {"files.csv"}


# -- a copy ---------------------------------------------------------------------------------


def test_a_copy_has_the_bytes_and_only_changes_are_read_again(there, web, tmp_path):
    folder = again(there)
    assert pairs_of(folder) == FILES and read(web) == set(FILES)
    assert again(there) == folder and read(web) == set()
    web.times["bucket/photos/scenes.csv"] = 1
    web.files["bucket/photos/scenes.csv"] = b"IMAGE,SCENE\n"
    new = {**FILES, "scenes.csv": b"IMAGE,SCENE\n"}
    del web.files["bucket/photos/images/003.bin"], new["images/003.bin"]
    if there.startswith("http"):
        rows = web.files["bucket/photos/files.csv"].decode().splitlines()
        rows = [row for row in rows if not row.startswith(("images/003", "scenes"))]
        rows.append(f"scenes.csv,12,{hashlib.sha256(new['scenes.csv']).hexdigest()}")
        web.files["bucket/photos/files.csv"] = "\n".join(rows).encode()
    assert pairs_of(again(there)) == new and read(web) == {"scenes.csv"}
    # What somebody changed or lost here is copied again.
    (folder / "images" / "005.bin").write_bytes(b"short")
    (folder / "images" / "006.bin").unlink()
    (folder / "stray.txt").write_bytes(b"not from there")
    assert pairs_of(again(there)) == new and read(web) == {"images/005.bin", "images/006.bin"}
    assert not [p for p in folder.parent.rglob("*.part")]


def test_a_process_does_not_ask_twice(there, web):
    mirrored(there)
    web.asked.clear()
    mirrored(there)
    assert not web.asked


@pytest.mark.parametrize("kind", ["own", "moto"])
def test_files_are_put_and_got_by_the_protocol_of_s3(kind, web, tmp_path, monkeypatch):
    """By our own server, and by moto's, which others wrote."""
    if kind == "own":
        _put_and_got(web.url, tmp_path, monkeypatch)
        return
    python = os.environ.get("UNITSCOPE_MOTO")
    if not python:
        pytest.skip(
            "moto is not here: UNITSCOPE_MOTO names a Python that has it "
            "(pip install 'moto[s3]' flask flask-cors, in an environment of its own)"
        )
    with moto(python) as url:
        from pyarrow import fs

        there = fs.S3FileSystem(
            access_key=KEY,
            secret_key=SECRET,
            endpoint_override=url.removeprefix("http://"),
            scheme="http",
            region="us-east-1",
            allow_bucket_creation=True,
        )
        there.create_dir("bucket")
        _put_and_got(url, tmp_path, monkeypatch)


def _put_and_got(url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment(url).items():
        monkeypatch.setenv(name, value)
    store = open_store("s3://bucket/shards/")
    assert list_store(store) == {}
    given = {"small.npz": b"abc", "deep/er.npz": b"", "large.npz": os.urandom(12 << 20)}
    for name, data in given.items():
        (tmp_path / "one").write_bytes(data)
        put(store, name, tmp_path / "one")
    assert {name: e.size for name, e in list_store(store).items()} == {
        name: len(data) for name, data in given.items()
    }
    assert pairs_of(again("s3://bucket/shards")) == given


# -- connections ----------------------------------------------------------------------------


def test_a_cut_connection_costs_a_part_of_a_file(there, web, tmp_path, monkeypatch):
    """It is cut again and again; no byte that has come is asked for twice but those of a block."""
    monkeypatch.setattr(stores, "BLOCK", 20_000)
    asked: list[int] = []

    def cut(path: str, at: int) -> int | None:
        if not path.endswith("bild.bin"):
            return None
        asked.append(at)
        return None if len(asked) > 5 else 5_000 if at else 30_000

    web.cut = cut
    assert pairs_of(again(there)) == FILES
    assert len(asked) > 5 and asked.count(0) == 1 and asked == sorted(asked)


def test_a_server_without_ranges_begins_anew(web, tmp_path):
    there = offered("http", web, tmp_path)
    web.ranges = False
    left = [3]

    def cut(path: str, at: int) -> int | None:
        left[0] -= path.endswith("bild.bin")
        return 30_000 if path.endswith("bild.bin") and left[0] >= 0 else None

    web.cut = cut
    assert pairs_of(again(there)) == FILES and left[0] < 0


def test_a_file_that_changes_while_it_is_read_is_no_mixture(web, tmp_path):
    """The second half would come from another file: the tag of the first half is sent along."""
    there = offered("http", web, tmp_path)
    name = "bucket/photos/masks/öl bild.bin"
    rows = web.files["bucket/photos/files.csv"].decode().splitlines()
    bare = [row.rpartition(",")[0] for row in rows]  # without digests, which would tell as well
    web.files["bucket/photos/files.csv"] = "\n".join(bare).encode()

    def cut(path: str, at: int) -> int | None:
        if path == name and web.files[name] == FILES["masks/öl bild.bin"]:
            web.files[name] = b"y" * 70_000
            return 30_000
        return None

    web.cut = cut
    assert (again(there) / "masks/öl bild.bin").read_bytes() == b"y" * 70_000


@pytest.mark.slow
def test_a_connection_that_is_always_cut_is_told_and_leaves_no_part(there, web, monkeypatch):
    monkeypatch.setattr(stores, "TRIES", 3)
    web.cut = lambda path, at: 0 if path.endswith("004.bin") else None
    with pytest.raises(UnitscopeError, match=r"images/004\.bin cannot be read"):
        again(there)
    folder = stores.mirror_folder(there)
    assert not list(folder.rglob("*.part")) and not (folder / "images" / "004.bin").exists()
    assert not (folder.parent / "whole").exists()
    web.cut = lambda path, at: None
    web.asked.clear()
    assert pairs_of(again(there)) == FILES and read(web) < set(FILES)


@pytest.mark.slow
def test_slow_is_waited_for_and_stalled_is_not(web, tmp_path, monkeypatch):
    monkeypatch.setattr(stores, "TIMEOUT", 1.0)
    monkeypatch.setattr(stores, "TRIES", 2)
    there = offered("http", web, tmp_path)
    web.pause = 0.03  # 70 blocks of 1000 bytes: 2 s, and 30 kB/s
    assert pairs_of(again(there)) == FILES
    monkeypatch.setattr(stores, "SLOWEST", 100_000)
    web.pause = 0.06  # 4 s, and each of two attempts is given up after one
    store = open_store(there)
    with pytest.raises(UnitscopeError, match="bytes came in 1 s"):
        get(store, "masks/öl bild.bin", Entry(70_000, ""), tmp_path / "one")
    web.pause = 3.0
    with pytest.raises(UnitscopeError, match="timed out"):
        get(store, "masks/öl bild.bin", Entry(70_000, ""), tmp_path / "one")
    assert not list(tmp_path.glob("*one*"))


def test_a_stop_keeps_what_is_whole(there, web, monkeypatch):
    monkeypatch.setattr(stores, "AT_ONCE", 1)
    steps: list[object] = []
    with pytest.raises(Stopped):
        mirrored(there, progress=steps.append, stop=lambda: len(list(_copied(there))) >= 3)
    kept = {p.relative_to(stores.mirror_folder(there)).as_posix() for p in _copied(there)}
    assert 3 <= len(kept) < len(FILES)
    web.asked.clear()
    assert pairs_of(again(there)) == FILES
    assert read(web) == set(FILES) - kept and steps


def _copied(url: str) -> Iterator[Path]:
    return (p for p in stores.mirror_folder(url).rglob("*.*") if p.suffix != ".part")


def test_two_processes_copy_once(web, tmp_path):
    there = offered("http", web, tmp_path)
    web.pause = 0.01
    code = f"from core.foundation.stores import mirrored; print(mirrored({there!r}).folder)"
    environ = {**os.environ, stores.MIRROR: str(tmp_path / "shared")}
    both = [
        subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, env=environ, stdout=-1)
        for _ in range(2)
    ]
    folders = {one.communicate(timeout=60)[0].decode().strip() for one in both}
    assert len(folders) == 1 and pairs_of(Path(folders.pop())) == FILES
    bytes_asked = [n for (m, p), n in web.asked.items() if m == "GET" and "files.csv" not in p]
    assert set(bytes_asked) == {1}


@pytest.mark.slow
def test_without_the_other_side_a_whole_copy_is_read_and_that_is_told(there, web):
    web.status = lambda method, path: 503
    with pytest.raises(UnitscopeError, match="cannot be listed"):
        again(there)
    web.status = lambda method, path: 0
    folder = again(there)
    web.status = lambda method, path: 503
    stores._known.clear()
    found = mirrored(there)
    assert found.folder == folder and "is read instead" in found.note
    # Not one that was never whole.
    (folder.parent / "whole").unlink()
    with pytest.raises(UnitscopeError, match="cannot be listed"):
        again(there)


# -- what is not believed -------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("../outside.csv", "no path below it"),
        ("/etc/passwd", "no path below it"),
        ("images//1.jpg", "no path below it"),
        ("images/./1.jpg", "no path below it"),
        ("a\\..\\..\\b", "no path below it"),
        ("C:/windows", "no path below it"),
        ("a\nb", "no path below it"),
        ("a" * 300, "no path below it"),
        ("d/" * 600 + "a", "no path below it"),
        ("images/001.bin/below", "a file and a folder"),
    ],
)
def test_names_that_lead_elsewhere_are_refused(web, tmp_path, name, words):
    there = offered("http", web, tmp_path)
    quoted = '"' + name + '"'
    web.files["bucket/photos/files.csv"] += f"{quoted},5,\n".encode()
    with pytest.raises(UnitscopeError, match=words):
        again(there)
    assert not list(_copied(there))


@pytest.mark.parametrize("listed", ["-1", "5 MB", "", "1e3"])
def test_a_listing_that_is_no_table_is_refused(web, tmp_path, listed):
    there = offered("http", web, tmp_path)
    web.files["bucket/photos/files.csv"] += f"a.jpg,{listed},\n".encode()
    with pytest.raises(UnitscopeError, match=r"no table of path, size\[, sha256\]"):
        again(there)


@pytest.mark.parametrize("said", [10, 80_000])
def test_a_file_of_another_size_or_digest_is_refused(web, tmp_path, said):
    store = open_store(offered("http", web, tmp_path))
    with pytest.raises(UnitscopeError, match=r"longer than|of 80,000 bytes|416"):
        get(store, "masks/öl bild.bin", Entry(said, ""), tmp_path / "one")
    with pytest.raises(UnitscopeError, match="SHA-256"):
        get(store, "masks/öl bild.bin", Entry(70_000, "", "0" * 64), tmp_path / "one")
    assert not list(tmp_path.glob("*one*"))


def test_a_folder_is_bounded(there, monkeypatch):
    monkeypatch.setenv(stores.MIRROR_GB, "0.00001")
    with pytest.raises(UnitscopeError, match="copied at most: UNITSCOPE_MIRROR_GB"):
        again(there)
    monkeypatch.delenv(stores.MIRROR_GB)
    monkeypatch.setattr(stores, "MOST_FILES", 5)
    with pytest.raises(UnitscopeError, match="5 are the most"):
        checked_listing(open_store(there))


def test_a_folder_that_is_not_there_is_told(there):
    with pytest.raises(UnitscopeError, match=r"no such folder|404"):
        again(there.replace("photos", "none"))


def test_https_leads_to_no_http():
    """A page that is asked for safely is not had unsafely."""
    asked = urllib.request.Request("https://host/a")
    with pytest.raises(OSError, match="from https"):
        stores._SameScheme().redirect_request(asked, None, 302, "", {}, "http://host/b")
    followed = stores._SameScheme().redirect_request(asked, None, 302, "", {}, "https://host/b")
    assert followed is not None and followed.full_url == "https://host/b"


def test_the_web_is_read_alone(web, tmp_path):
    (tmp_path / "one").write_bytes(b"1")
    with pytest.raises(UnitscopeError, match="only S3 is written to"):
        put(Http(f"{web.url}/bucket"), "one", tmp_path / "one")


# -- what is secret -------------------------------------------------------------------------


@pytest.mark.parametrize(
    "place",
    [
        "https://me:word@host/photos",
        "s3://AKIA:secret@bucket/photos",
        "https://host/photos?X-Amz-Signature=abc",
        "https://host/photos#token",
    ],
)
def test_an_address_with_a_password_is_refused_and_not_repeated(place):
    with pytest.raises(UnitscopeError, match="credentials come from the environment") as told:
        parted(place)
    assert "word" not in str(told.value) and "secret" not in str(told.value)


def test_no_message_repeats_what_is_secret(web, tmp_path, monkeypatch):
    there = offered("s3", web, tmp_path)
    for name, value in environment(web.url).items():
        monkeypatch.setenv(name, value)
    web.key = "another"
    with pytest.raises(UnitscopeError, match="cannot be listed") as told:
        again(there)
    assert KEY not in str(told.value) and SECRET not in str(told.value)
    err = OSError(f"the key {KEY} with {SECRET} is unknown")
    assert (
        stores.reason_of(err)
        == "the key <AWS_ACCESS_KEY_ID> with <AWS_SECRET_ACCESS_KEY> is unknown"
    )
