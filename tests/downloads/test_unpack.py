"""Archives of every kind, and those that mean harm."""

from __future__ import annotations

import errno
import gzip
import io
import shutil
import stat
import struct
import tarfile
import zipfile
import zlib
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from core.downloads.unpack import unpack
from core.foundation.errors import BadFile, UnitscopeError


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
