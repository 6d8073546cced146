"""Entries of the catalog from the prompt to the folder, and the verb get."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from benchmarks.reliability import Log, Works, killed
from core.cli import main
from core.downloads import catalog as table
from core.downloads import get as getting
from core.downloads.catalog import DOWNLOADS, Download, find_download
from core.downloads.fetch import fetch
from core.downloads.get import get, source_of, state
from core.downloads.unpack import unpack
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.progress import Stopped
from tests.downloads.serving import DATA, MD5, Site, cut_at
from tests.downloads.test_unpack import zipped


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


@pytest.mark.slow
def test_a_get_that_is_killed_anywhere_is_gone_on_with_and_leaves_nothing(tmp_path):
    """An archive, a file of the server and one of a folder, killed before each file operation.

    It left ``.part.json`` beside, took what it had fetched for the user's own and kept it for
    ever, and refused the file that it had copied itself."""
    works = Works(tmp_path)
    told = killed(
        works.get, tmp_path / "get", moments=4, most=0, first=0, seed=0, log=Log(None, "get")
    )
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
    assert got.marker.checked == f"sha256:{digits.lower()}"


def test_a_page_in_place_of_an_archive_is_not_met_twice(site, tmp_path):
    """A login page with 200, and no checksum that would tell: the next `get` starts anew."""
    one = entry(site, MEMBERS, tmp_path, size=None, checksum=None)
    good, site.files["/set.zip"] = site.files["/set.zip"], b"<html>log in</html>"
    with pytest.raises(BadFile, match=r"damaged or cut .*was removed, and the next get"):
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

    monkeypatch.setattr(getting, "unpack", stopped)
    with pytest.raises(Stopped):
        get(one, to, f"{site.url}/set.zip")
    monkeypatch.setattr(getting, "unpack", unpack)
    asked = len(site.seen)
    with pytest.raises(BadFile, match="was removed"):
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
    assert got.fresh is not after and got.marker.files == 2 and len(site.seen) == 1


def test_registration_is_told(tmp_path, capsys):
    assert main(["get", "ade20k", "--to", str(tmp_path), "--yes"]) == 2
    assert "request_data" in capsys.readouterr().err
    assert main(["get", "ade20q", "--to", str(tmp_path)]) == 2
    assert "nearest: ade20k" in capsys.readouterr().err
    assert main(["get", "--from", "x"]) == 2


def test_inner_archives_and_a_kill_between_them(site, tmp_path, monkeypatch):
    inside = zipped(tmp_path / "i.zip", {"val/1.png": b"1", "val/2.png": b"2"}).read_bytes()
    one = entry(site, {"top/val.zip": inside, "top/x.json": b"{}"}, tmp_path, inner=("val.zip",))
    real = getting.unpack
    calls = []

    def killed(archive, folder, tell):
        calls.append(archive.name)
        if archive.name == "val.zip":
            raise KeyboardInterrupt
        return real(archive, folder, tell)

    monkeypatch.setattr(getting, "unpack", killed)
    with pytest.raises(Stopped):
        get(one, tmp_path / "d")
    assert calls == ["set.zip", "val.zip"] and not (tmp_path / "d" / "set").exists()
    assert (tmp_path / "d" / "set.zip").exists()  # it need not come again
    monkeypatch.undo()
    asked = len(site.seen)
    got = get(one, tmp_path / "d")
    assert len(site.seen) == asked and got.marker.files == 3
    found = {p.relative_to(got.path).as_posix() for p in got.path.rglob("*") if p.is_file()}
    assert found == {"val/1.png", "val/2.png", "x.json"}


def test_what_a_kill_left_of_unpacking_is_cleared(site, tmp_path):
    for left in ("set.unpacking", "set.unpacking.partial"):
        (tmp_path / left / "half").mkdir(parents=True)
        (tmp_path / left / "half" / "x.png").write_bytes(b"half")
    got = get(entry(site, MEMBERS, tmp_path), tmp_path)
    assert got.marker.files == 2 and {p.name for p in tmp_path.iterdir()} == {
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
