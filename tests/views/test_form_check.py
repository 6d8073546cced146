"""All that is wrong with a form at once; folders looked through; data sets dropped in."""

from __future__ import annotations

import io
import shutil
import stat
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from core.datasets import open_dataset
from core.foundation.errors import UnitscopeError
from core.foundation.settings import Limits
from core.views import dropped
from core.views.folders import look, spec_of, starts
from core.views.form_check import problems
from core.views.names import sentence
from tests import tiny

MOST = Limits(free_gb=0.0, drop_mb=1)


@pytest.fixture
def photos(tmp_path) -> Path:
    return tiny.write_folder(tmp_path / "data" / "mine", 6)


def said(request, roots=None) -> dict[str, str]:
    return {one.field: one.text for one in problems(request, roots)}


def test_every_problem_is_said_at_once(photos):
    found = said(
        {
            "dataset": f"folder:{photos}s",
            "model": "torchvision:resnet18:weights/nowhere.pt",
            "knowledge": "triples:no.tsv",
            "scenes": "no.csv",
        }
    )
    assert list(found) == ["dataset", "model", "knowledge", "scenes"]
    assert found["dataset"].endswith(f"there is no folder {photos}s; nearest: mine")
    assert "there is no file weights/nowhere.pt" in found["model"]
    assert "no.tsv" in found["knowledge"] and "no.csv" in found["scenes"]


def test_what_can_be_opened_is_no_problem(photos):
    for dataset in ("rooms", f"folder:{photos}", "rooms:plant=red_lamp@bedroom@0.95"):
        assert said({"dataset": dataset, "model": "rooms", "knowledge": "builtin"}) == {}
    assert said({"dataset": "", "model": "", "knowledge": "", "scenes": None}) == {}
    assert said({"dataset": f"coco:{photos}:stuff", "model": "timm:resnet18"}) == {}
    assert said({"model": "python:tests.tiny:net"}) == {}


@pytest.mark.parametrize(
    ("model", "why"),
    [
        ("torchvison:resnet18", "nearest: torchvision"),
        ("torchvision", "lacks NAME"),
        ("places365:resnet18", "lacks CHECKPOINT"),
        ("python:os:system", "code to run"),
        ("dictionary:no.pt@rooms", "no.pt"),
        ("dictionary:no.pt", "form"),
        ("dictionary:no.pt@torchvision:resnet18:w.pt", "w.pt"),
    ],
)
def test_a_slip_in_a_network_is_said(model, why):
    assert why in " ".join(one.text for one in problems({"model": model}, None))


def test_a_path_outside_the_roots_is_refused_whether_it_is_there_or_not(photos, tmp_path):
    there, nowhere = tmp_path / "other", tmp_path / "nowhere"
    there.mkdir()
    roots = [photos.parent.resolve()]
    for path in (there, nowhere):
        found = said({"dataset": f"folder:{path}"}, roots)["dataset"]
        assert "is not below the folders" in found and "no folder" not in found
    assert said({"dataset": f"folder:{photos}"}, roots) == {}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("unknown run 'x'; nearest: y.", "Unknown run 'x'; nearest: y"),
        ("folder:/data/photos: no such folder", "folder:/data/photos: no such folder"),
        ("layer4 has units 0 to 9", "layer4 has units 0 to 9"),
        ("body.3 has no unit 12", "body.3 has no unit 12"),
        ("rooms has no split 'x'", "rooms has no split 'x'"),
        ("labels.csv has no column 'a'", "labels.csv has no column 'a'"),
        ("ResNet has no such layer", "ResNet has no such layer"),
        ("'x' is no run", "'x' is no run"),
        ("only 3 GB are free", "Only 3 GB are free"),
        ("re-training needs a split", "Re-training needs a split"),
    ],
)
def test_names_are_never_spelled_with_another_capital(message, shown):
    assert sentence(message) == shown


# -- folders -----------------------------------------------------------------------------------


def test_a_folder_is_looked_through(photos):
    (photos / ".hidden").mkdir()
    found = look(photos, None)
    assert found.folders == ["images", "masks"] and found.files == 2
    assert found.spec == f"folder:{photos.resolve()}" and found.up == photos.parent.resolve()
    assert look(photos.parent, None).spec == "" and look(photos.parent, None).folders == ["mine"]
    assert look(photos / "images", None).files == 6


def test_no_folder_above_or_beside_the_roots_is_looked_at(photos, tmp_path):
    roots = [photos.parent.resolve()]
    (photos.parent / "way-out").symlink_to(tmp_path)
    (photos.parent / "way-in").symlink_to(photos)
    found = look(photos.parent, roots)
    assert found.folders == ["mine", "way-in"] and found.up is None
    for path in (tmp_path, photos.parent / "way-out", photos / ".." / "..", Path("/")):
        with pytest.raises(UnitscopeError, match="not below the folders"):
            look(path, roots)
    with pytest.raises(UnitscopeError, match="cannot be read"):
        look(photos.parent / "nowhere", roots)
    assert starts(roots) == roots and starts([]) == [] and starts(None)


# -- dropped in --------------------------------------------------------------------------------


def packed(folder: Path) -> bytes:
    out = shutil.make_archive(str(folder.parent / "packed"), "zip", folder.parent, folder.name)
    return Path(out).read_bytes()


def zipped(**files: bytes) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    return out.getvalue()


def test_a_zip_and_a_folder_become_data_sets(photos, tmp_path):
    root = tmp_path / "cache"
    folder = dropped.keep_zip("mine.zip", packed(photos), root, MOST)
    assert folder.parent == root / "dropped" and spec_of(folder) == f"folder:{folder}"
    assert open_dataset(f"folder:{folder}").content_digest() == (
        open_dataset(f"folder:{photos}").content_digest()
    )
    assert dropped.keep_zip("again.zip", packed(photos), root, MOST) == folder
    files = {
        f"mine/{p.relative_to(photos).as_posix()}": p.read_bytes()
        for p in photos.rglob("*")
        if p.is_file()
    }
    other = dropped.keep_files(files, root, MOST)
    assert sorted(p.name for p in other.rglob("*")) == sorted(p.name for p in photos.rglob("*"))
    assert dropped.keep_files(files, root, MOST) == other
    kept = dropped.kept(root)
    assert {(one, spec) for one, spec, _ in kept} == {
        (folder, f"folder:{folder}"),
        (other, f"folder:{other}"),
    }
    dropped.delete(folder.name, root)
    assert [one for one, _, _ in dropped.kept(root)] == [other]
    for name in (folder.name, "..", "../cache", "", "."):
        with pytest.raises(UnitscopeError, match="nothing was dropped"):
            dropped.delete(name, root)
    assert other.is_dir()


def a_link() -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        link = zipfile.ZipInfo("mine/images")
        link.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(link, "/etc")
    return out.getvalue()


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (zipped(**{"../out.txt": b"x"}), "outside its folder"),
        (zipped(**{"/etc/out.txt": b"x"}), "outside its folder"),
        (zipped(**{"C:\\out.txt": b"x"}), "outside its folder"),
        (zipped(bomb=bytes(400_000_000)), "unpacks to more|a packed byte|of its packed size"),
        (zipped(**{f"f{k}": b"" for k in range(60)}), "files"),
        (a_link(), "link"),
        (zipped(a=b"x")[:-30], "no zip|damaged"),
        (b"no zip at all", "is no zip file"),
        (zipped(), "no zip|no file"),
        (bytes(1_100_000), "takes 1 MB at most"),
    ],
    ids=["up", "absolute", "drive", "bomb", "many", "link", "cut", "text", "empty", "large"],
)
def test_what_is_unsafe_is_refused_whole(tmp_path, data, why):
    root = tmp_path / "cache"
    with pytest.raises(UnitscopeError, match=why) as caught:
        dropped.keep_zip("mine.zip", data, root, replace(MOST, drop_files=50))
    assert str(root) not in str(caught.value)
    left = [p for p in root.rglob("*") if p.is_file() and p.suffix != ".lock"]
    assert not left and not dropped.kept(root)
    assert sorted(p.name for p in tmp_path.iterdir()) in ([], ["cache"])


def test_names_in_a_folder_do_not_lead_out(tmp_path):
    for name in ("../x.png", "/x.png", "a/../../x.png"):
        with pytest.raises(UnitscopeError, match="outside its folder"):
            dropped.keep_files({name: b"x", "mine/y": b"y"}, tmp_path / "cache", MOST)
    with pytest.raises(UnitscopeError, match="50 is the most"):
        many = {f"f{k}": b"" for k in range(51)}
        dropped.keep_files(many, tmp_path / "cache", replace(MOST, drop_files=50))
    with pytest.raises(UnitscopeError, match="no file"):
        dropped.keep_files({}, tmp_path / "cache", MOST)
