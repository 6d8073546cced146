"""Shards of a run: made anywhere, in any number and order, they are the run of one process."""

from __future__ import annotations

import hashlib
import json
import shutil
import tracemalloc
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from core.cli import main
from core.dissect import second_pass, shard_file
from core.dissect import shards as module
from core.dissect.passes import Networks, tops_of
from core.dissect.pipeline import execute
from core.dissect.plan import Plan, plan
from core.dissect.second_pass import find_counts, make_counts
from core.dissect.shard_file import Passes, folder_of
from core.dissect.shards import find_shards, make_shard, rows_of
from core.dissect.thresholds import TopK
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.progress import Stopped
from core.foundation.settings import Settings
from core.runs.run_file import Run
from core.runs.store import delete_run
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """150 images, five batches; a photo and a mask that cannot be read."""
    root = tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")
    photo = root / "images" / "003.png"
    photo.write_bytes(photo.read_bytes()[:200])
    (root / "masks" / "070.png").write_bytes(b"")
    return root


KINDS = {
    "maps": {},
    "no maps": {"keep_maps": False},
    "no twin": {"untrained": False, "layers": ("body.3",)},
    "no maps, no twin": {"untrained": False, "keep_maps": False, "map_type": "float32"},
}


def planned(folder: Path, kind: str = "maps", **change) -> Plan:
    base = {
        "layers": ("body.1", "body.3"),
        "q": 0.05,
        "shuffles": 2,
        "map_type": "float16",
        "untrained": True,
    }
    return plan(Settings(f"folder:{folder}", tiny.SPEC, **{**base, **KINDS[kind], **change}))


@pytest.fixture(scope="module", params=list(KINDS))
def whole(request, folder, tmp_path_factory) -> tuple[Plan, Run]:
    work = planned(folder, request.param)
    return work, execute(work, tmp_path_factory.mktemp("whole"), threads=1)


@pytest.fixture(scope="module")
def thirds(folder, tmp_path_factory) -> tuple[Plan, Path, Run]:
    """The three shards of a run with maps, and the run of one process."""
    root, work = tmp_path_factory.mktemp("thirds"), planned(folder)
    for k in (1, 2, 3):
        make_shard(work, root, k, 3, threads=1)
    return work, root, execute(work, tmp_path_factory.mktemp("one"), threads=1)


@pytest.fixture
def own(thirds, tmp_path) -> tuple[Plan, Path, list[Path]]:
    """A copy of the three, to be harmed."""
    work, root, _ = thirds
    shutil.copytree(folder_of(work, root), folder_of(work, tmp_path))
    return work, tmp_path, sorted(folder_of(work, tmp_path).glob("*.npz"))


def merged(work: Plan, root: Path, files=(), **how) -> Run:
    return execute(work, root, threads=1, made=Passes(find_shards(work, root, files).shards), **how)


def same(run: Run, other: Run) -> None:
    assert run.info["tables_digest"] == other.info["tables_digest"]
    names = sorted(p.name for p in other.arrays.iterdir())
    assert sorted(p.name for p in run.arrays.iterdir()) == names and "photos.bin" in names
    for name in names:
        assert (run.arrays / name).read_bytes() == (other.arrays / name).read_bytes(), name


# -- equal bytes ----------------------------------------------------------------------------


@pytest.mark.parametrize("parts", [1, 2, 3, 5])
def test_any_number_of_shards_is_the_run_of_one_process(whole, tmp_path, parts):
    work, one = whole
    # Last first, each on a machine of its own, with save points of one batch.
    made = [
        make_shard(work, tmp_path / str(k), k, parts, threads=1, shard=32)
        for k in range(parts, 0, -1)
    ]
    rows = sorted((shard.first, shard.last) for shard in made)
    assert rows == [rows_of(k, parts, 150) for k in range(1, parts + 1)]
    files = np.random.default_rng(parts).permutation([s.path for s in made]).tolist()
    run = merged(work, tmp_path / "out", files, shard=[32, 64, 96, 256][parts % 4])
    same(run, one)
    skipped = run.sql("SELECT * FROM skipped ORDER BY id")
    assert skipped.equals(one.sql("SELECT * FROM skipped ORDER BY id")) and len(skipped) == 2
    assert not list((tmp_path / "out").glob("*.partial"))


def test_a_shard_is_the_same_whenever_it_is_made(thirds, folder, tmp_path):
    """Again, elsewhere, resumed after every batch, and of photos that lie elsewhere."""
    work, root, _ = thirds
    first = sorted(folder_of(work, root).glob("*.npz"))
    before = [(p.read_bytes(), p.stat().st_mtime_ns) for p in first]
    make_shard(work, root, 2, 3, threads=1)
    assert [(p.read_bytes(), p.stat().st_mtime_ns) for p in first] == before
    moved = shutil.copytree(folder, tmp_path / "moved")
    for k, elsewhere in ((1, work), (2, planned(moved))):
        stops = 0
        while True:
            calls = iter([False])
            try:
                shard = make_shard(
                    elsewhere,
                    tmp_path,
                    k,
                    3,
                    threads=2,
                    shard=32,
                    stop=lambda left=calls: next(left, True),
                )
                break
            except Stopped:
                stops += 1
                assert stops < 20
        assert shard.path.read_bytes() == before[k - 1][0]
    again = make_shard(work, tmp_path, 1, 3, threads=1, fresh=True)
    assert again.path.read_bytes() == before[0][0]
    names = {p.suffix for p in again.path.parent.iterdir()}
    assert names == {".npz"}


def test_a_shard_names_the_files_left_out_where_they_lie_here(folder, tmp_path):
    """Made where the photos lie elsewhere; the paths are those of the one that merges."""
    there = planned(shutil.copytree(folder, tmp_path / "there"), "no twin")
    here = planned(folder, "no twin")
    assert here.digest == there.digest
    made = [make_shard(there, tmp_path, k, 2, threads=1).path for k in (1, 2)]
    run = merged(here, tmp_path / "out", made)
    assert run.sql("SELECT file FROM skipped")["file"].str.startswith(str(folder)).all()


def test_largest_activations_are_one_set_in_any_order_and_tree():
    rng = np.random.default_rng(0)
    maps = np.round(rng.standard_normal((24, 3, 2, 2)), 1).astype(np.float32)
    maps[rng.random(maps.shape) < 0.3] = -0.0
    maps[rng.random(maps.shape) < 0.3] = 0.0
    slow = np.sort(maps.transpose(1, 0, 2, 3).reshape(3, -1), 1)[:, -17:] + 0
    for _ in range(5):
        parts = [TopK(3, min(17, 4 * len(part))) for part in np.array_split(maps, 6)]
        for top, part in zip(parts, np.array_split(rng.permutation(maps), 6), strict=True):
            top.update(part)
        while len(parts) > 1:  # a tree, of any shape
            a, b = (parts.pop(int(rng.integers(len(parts)))) for _ in range(2))
            both = TopK(3, 17)
            for top in (a, b):
                both.push(0, top.largest())
            parts.append(both)
        assert parts[0].largest().tobytes() == slow.tobytes()
        assert parts[0].threshold(17).tobytes() == slow[:, 0].tobytes()


def test_thresholds_of_shards_need_no_more_than_they_can_hold(folder):
    work = planned(folder)
    # 5% of 150 images, but no more values than 32 images have.
    assert [t.k for t in tops_of(work, (0, 32))][:2] == [
        min(-(-150 * n // 20), 32 * n) for n in (144, 36)
    ]


# -- what is missing, doubled, damaged, foreign ---------------------------------------------


def test_missing_shards_are_told(own):
    work, root, files = own
    files[1].unlink()
    with pytest.raises(UnitscopeError, match=r"32 to 95; missing: --shard 2/3$"):
        find_shards(work, root)
    files[0].unlink()
    with pytest.raises(UnitscopeError, match=r"of 150 images these are in no shard: 0 to 95; mis"):
        find_shards(work, root)
    files[2].unlink()
    with pytest.raises(UnitscopeError, match=r"no shards lie in .*--shard 1/N"):
        find_shards(work, root)
    with pytest.raises(UnitscopeError, match="make 5 shards at most, not 6"):
        make_shard(work, root, 1, 6)
    with pytest.raises(UnitscopeError, match="no shard 4 of 3"):
        make_shard(work, root, 4, 3)


def test_doubled_shards_are_told_and_do_no_harm(own, thirds, tmp_path):
    work, root, files = own
    copy = shutil.copy(files[1], root / "copy.npz")
    half = make_shard(work, root, 1, 5, threads=1).path
    found = find_shards(work, root, [*files, copy, files[0]])
    assert [note.partition(" is ")[2] for note in found.notes] == [
        f"{files[1]} once more",
        f"{files[0]} once more",
    ]
    fifth = make_shard(work, root, 4, 5, threads=1).path
    found = find_shards(work, root)
    assert [s.path for s in found.shards] == files
    assert found.notes == [f"{fifth} is not needed: others hold its images"]
    assert half == files[0]  # the same images, so the same file
    same(merged(work, tmp_path / "out", [copy, *files]), thirds[2])
    with pytest.raises(UnitscopeError, match=r"overlap.*with one N"):
        module._tiling([(0, 64), (32, 150)], 150)


def test_doubled_shards_that_differ_are_an_error(own):
    work, root, files = own
    changed = rewritten(work, files[1], root / "other.npz", logits=lambda x: x + 1)
    with pytest.raises(UnitscopeError, match=r"are both images 32 to 95, and differ"):
        find_shards(work, root, [*files, changed])


def rewritten(work: Plan, path: Path, to: Path, **changes) -> Path:
    """A shard with other numbers in some members, its digests made anew: a forger's."""
    held = {k.removesuffix(".npy"): v for k, v in np.load(path).items()}
    header = json.loads(held.pop("header").tobytes())
    with zipfile.ZipFile(to, "w", zipfile.ZIP_STORED) as out:
        names = {shard_file.array_name(name): name for name in header["members"]}
        for name, values in held.items():
            key = names[name].replace("-", "_").replace(".", "_")
            if key in changes:
                changed = changes[key](values)
                # Counts keep their type, so that it is their numbers that are refused.
                values = changed.astype(values.dtype) if key[0] == "0" else changed
            header["members"][names[name]] = shard_file.put(
                out, names[name], shard_file.array_bytes(values)
            )
        header.update(changes.get("header", {}))
        shard_file.put(out, "header", shard_file.array_bytes(shard_file.json_array(header)))
    return to


@pytest.mark.parametrize("harm", ["cut", "flip", "empty", "text", "flip header", "zip"])
def test_damaged_shards_are_told_and_made_again(own, thirds, harm):
    work, root, files = own
    data = files[1].read_bytes()
    with zipfile.ZipFile(files[1]) as held:
        inside = held.getinfo("header.npy" if "header" in harm else "maps-body.3.npy")
        at = inside.header_offset + 300
    if "flip" in harm:
        data = data[:at] + bytes([data[at] ^ 8]) + data[at + 1 :]
    elif harm == "zip":
        with zipfile.ZipFile(files[1]) as held:
            members = {name: held.read(name) for name in held.namelist()}
        with zipfile.ZipFile(files[1], "w", zipfile.ZIP_DEFLATED) as packed:
            for name, member in members.items():
                packed.writestr(name, member)
        data = files[1].read_bytes()
    else:
        data = {"cut": data[: len(data) // 2], "empty": b"", "text": b"no shard\n" * 99}[harm]
    files[1].write_bytes(data)
    with pytest.raises(UnitscopeError, match=rf"{files[1].name} is damaged, or no shard"):
        merged(work, root)
    # Nothing of it was taken in, and the others are as they were.
    assert not list(root.glob("*.partial/collect-*")) and not list(root.glob("*.duckdb"))
    made = make_shard(work, root, 2, 3, threads=1)
    assert made.path == files[1]
    same(merged(work, root), thirds[2])


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"labels": lambda x: x + 60000}, "holds concept 600"),
        ({"logits": lambda x: x * np.nan}, "logits has what is no finite number"),
        ({"maps_body_3": lambda x: x / 0}, "maps-body.3 has what is no finite number"),
        ({"maps_body_3": lambda x: x[:, :5]}, "maps-body.3 is float16"),
        ({"pooled_body_1": lambda x: x.astype(np.float64)}, "pooled-body.1 is float64"),
        ({"valid": lambda x: x + 1}, "its images cannot be"),
        ({"valid": lambda x: x * 0}, "its images cannot be"),
        ({"photo_bytes": lambda x: -x}, "its images cannot be"),
        ({"photo_bytes": lambda x: x + 1}, "photos is uint8"),
        ({"problems": lambda x: x[:-1]}, "its images cannot be"),
        ({"problems": lambda x: shard_file.json_array([[[[]]]])}, "its images cannot be"),
        ({"whole": lambda x: np.array([[1, 1]], np.int32)}, "its images cannot be"),
        ({"whole": lambda x: np.array([[40, 900]], np.int32)}, "its images cannot be"),
        ({"header": {"rows": [32, 97]}}, "damaged, or no shard"),
        ({"header": {"rows": [-32, 96]}}, "damaged, or no shard"),
        ({"header": {"rows": "all"}}, "damaged, or no shard"),
        ({"header": {"images": 9}}, "damaged, or no shard"),
        ({"header": {"members": {}}}, "damaged, or no shard"),
        ({"header": {"format": 99}}, "of another version"),
    ],
)
@pytest.mark.filterwarnings("ignore:divide by zero", "ignore:invalid value")
def test_forged_shards_are_refused(own, changes, words):
    """Their digests are right; what they hold is not believed."""
    work, root, files = own
    rewritten(work, files[1], root / "forged.npz", **changes)
    with pytest.raises(UnitscopeError, match=words):
        merged(work, root, [files[0], root / "forged.npz", files[2]])
    assert not list(root.glob("*.partial/collect-*")) and not list(root.glob("*.duckdb"))


def test_shards_of_another_run_are_told(own, folder, tmp_path):
    work, root, files = own
    other = planned(folder, q=0.1, seed=1)
    foreign = make_shard(other, tmp_path / "other", 2, 3, threads=1).path
    shutil.copy(foreign, files[1])
    with pytest.raises(UnitscopeError, match=rf"{other.digest}, not of.*differ: q, seed$"):
        find_shards(work, root)
    model = plan(replace(work.settings, model="python:tests.tiny:slow"))
    foreign = make_shard(model, tmp_path / "other", 2, 3, threads=1).path
    with pytest.raises(UnitscopeError, match="these differ: model"):
        find_shards(work, root, [files[0], foreign, files[2]])


def test_strictness_holds_for_shards(own):
    work, root, files = own
    with pytest.raises(BadFile, match=r"003\.png"):
        make_shard(work, root / "other", 1, 3, strict=True, threads=1)
    with pytest.raises(BadFile, match=r"003\.png"):
        make_shard(work, root, 1, 3, strict=True, threads=1)
    with pytest.raises(BadFile, match=r"003\.png"):
        merged(work, root, strict=True)


# -- killed, stopped, in part there already -------------------------------------------------


def test_what_a_killed_shard_leaves_does_no_harm(own, thirds, monkeypatch):
    work, root, files = own
    whole = files[2].read_bytes()
    files[2].unlink()
    put = module.put

    def dying(out, name, parts):
        if name == "maps-body.3":
            raise KeyboardInterrupt
        return put(out, name, parts)

    with monkeypatch.context() as broken:
        broken.setattr(module, "put", dying)
        with pytest.raises(KeyboardInterrupt):
            make_shard(work, root, 3, 3, threads=1)
    left = {p.name for p in files[2].parent.iterdir()}
    assert {f"{files[2].stem}.partial", f"{files[2].name}.new"} <= left
    with pytest.raises(UnitscopeError, match="missing: --shard 3/3"):
        find_shards(work, root)
    told = []
    make_shard(work, root, 3, 3, threads=1, progress=told.append)
    assert told[0].done == told[0].total == 54  # only the packing was left
    assert files[2].read_bytes() == whole
    same(merged(work, root), thirds[2])


@pytest.mark.parametrize("kind", ["maps", "no maps"])
def test_a_merge_killed_anywhere_is_the_same(folder, tmp_path, monkeypatch, kind):
    work = planned(folder, kind, shuffles=1)
    one = execute(work, tmp_path / "one", threads=1)
    shards = [make_shard(work, tmp_path, k, 2, threads=1).path for k in (1, 2)]
    finish, wide = module.Work.finish, module.wide_rows
    seen: list[str] = []

    def dying_finish(self, stage, shard, **arrays):
        if stage == "collect" and shard == 2:
            raise KeyboardInterrupt
        finish(self, stage, shard, **arrays)

    def dying_wide(plan, shard):
        for name, rows in wide(plan, shard):
            seen.append(name)
            if seen.count("pooled-body.1") == 3:  # read twice to be checked, then to be copied
                raise KeyboardInterrupt
            yield name, rows

    root = tmp_path / "merged"
    for owner, name, dying in (
        (module, "wide_rows", dying_wide),
        (module.Work, "finish", dying_finish),
    ):
        with monkeypatch.context() as broken, pytest.raises(KeyboardInterrupt):
            broken.setattr(owner, name, dying)
            merged(work, root, shards, shard=32)
    # By the plain command, too: what is left is not mistaken for finished work.
    other = shutil.copytree(root, tmp_path / "other")
    same(execute(work, other, threads=1), one)
    same(merged(work, root, shards), one)
    # Deleted with their run alone.
    execute(work, tmp_path, threads=1, fresh=True)
    assert folder_of(work, tmp_path).exists()
    delete_run(tmp_path / f"{work.digest}.duckdb")
    assert not folder_of(work, tmp_path).exists()


def test_a_stopped_run_is_finished_by_shards(own, thirds):
    work, root, files = own
    stops = iter([False, False])
    with pytest.raises(Stopped):
        execute(work, root, threads=1, shard=32, stop=lambda: next(stops, True))
    marks = {p: p.read_bytes() for p in root.glob("*.partial/collect-*")}
    assert marks
    files[0].write_bytes(b"damaged")
    with pytest.raises(UnitscopeError, match="damaged"):
        merged(work, root)
    assert {p: p.read_bytes() for p in root.glob("*.partial/collect-*")} == marks
    make_shard(work, root, 1, 3, threads=1)
    same(merged(work, root), thirds[2])


def test_no_array_is_held_whole(folder, tmp_path, monkeypatch):
    """Memory for one block at a time: of maps four times larger than what may be held at once."""
    monkeypatch.setattr(shard_file, "BLOCK", 1 << 16)
    work = planned(folder, "no twin", layers=("body.1",), map_type="float32", shuffles=0)
    shard = make_shard(work, tmp_path, 1, 1, threads=1)
    with zipfile.ZipFile(shard.path) as held:
        maps = held.getinfo("maps-body.1.npy").file_size
    assert maps > 8 * shard_file.BLOCK
    module.check(work, shard)
    tracemalloc.start()
    try:
        module.check(work, shard)
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert most < maps / 2


# -- the second pass ------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["numba", "torch"])
def counted(request, folder, tmp_path_factory) -> tuple[Plan, Path, Run]:
    """Both passes of a run without maps in three shards each, and the run of one process."""
    root, work = tmp_path_factory.mktemp("counted"), planned(folder, "no maps")
    for make, how in ((make_shard, {}), (make_counts, {"kernel": request.param})):
        for k in (2, 3, 1):
            make(work, root, k, 3, threads=1, **how)
    return work, root, execute(work, tmp_path_factory.mktemp("one"), threads=1)


def both_merged(work: Plan, root: Path, out: Path, **how) -> Run:
    shards, counts = find_shards(work, root).shards, find_counts(work, root).shards
    return execute(work, out, threads=1, made=Passes(shards, counts), **how)


@pytest.mark.parametrize("size", [32, 96, 256])
def test_a_second_pass_in_shards_is_the_run_of_one_process(counted, tmp_path, monkeypatch, size):
    work, root, one = counted

    def forbidden(*_):
        raise AssertionError("the network ran")

    monkeypatch.setattr(Networks, "__call__", forbidden)
    same(both_merged(work, root, tmp_path, shard=size), one)


def test_chunks_of_counts_are_cut_anywhere(counted, tmp_path, monkeypatch):
    """Smaller than a shard, larger and smaller than what the merging process takes at once."""
    work, root, one = counted
    shutil.copytree(folder_of(work, root), folder_of(work, tmp_path))
    monkeypatch.setattr(second_pass, "CHUNK", 32)
    for k in (1, 2, 3):
        make_counts(work, tmp_path, k, 3, threads=1, fresh=True)
    for size in (64, 256):
        same(both_merged(work, tmp_path, tmp_path / str(size), shard=size), one)


def test_counts_are_the_same_whenever_they_are_made(counted, tmp_path):
    work, root, _ = counted
    first = folder_of(work, tmp_path)
    shutil.copytree(folder_of(work, root), first)
    path = first / "count-000000032-000000095.npz"
    make_counts(work, tmp_path, 2, 3, threads=1, fresh=True)
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    calls = iter([False])
    with pytest.raises(Stopped):
        make_counts(work, tmp_path, 2, 3, threads=1, stop=lambda: next(calls, True))
    make_counts(work, tmp_path, 2, 3, threads=2)
    assert path.read_bytes() == whole
    assert {p.suffix for p in first.iterdir()} == {".npz"}


def test_second_passes_that_cannot_be_are_told(counted, folder, tmp_path):
    work, root, one = counted
    with pytest.raises(UnitscopeError, match="3 of them: give --shard i/N with the same N"):
        make_counts(work, root, 1, 2)
    with pytest.raises(UnitscopeError, match="no shards lie in"):
        make_counts(work, tmp_path, 1, 2)
    with pytest.raises(UnitscopeError, match="counts from them"):
        make_counts(planned(folder), root, 1, 2)
    counts = sorted(folder_of(work, root).glob("count-*"))
    with pytest.raises(UnitscopeError, match=r"32 to 95; missing: --shard 2/3$"):
        find_counts(work, root, [counts[0], counts[2]])
    with pytest.raises(UnitscopeError, match="damaged, or no shard"):
        find_shards(work, root, counts)
    other = planned(folder, "no maps", seed=9)
    with pytest.raises(UnitscopeError, match="these differ: seed"):
        find_counts(other, root, counts)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"00000_place": lambda x: x[::-1]}, "of other images"),
        ({"00000_hits_1": lambda x: x + 99 * (np.arange(x.shape[1]) == 1)}, "counts cannot be"),
        ({"00000_hits_1": lambda x: x + 999 * (np.arange(x.shape[1]) == 0)}, "counts cannot be"),
        ({"00000_hits_1": lambda x: x[::-1]}, "counts cannot be"),
        ({"00000_hits_0": lambda x: -x}, "counts cannot be|damaged, or no"),
        ({"00000_both_0": lambda x: x + np.array([0, 0, 60, 0])}, "counts cannot be"),
        ({"00000_both_0": lambda x: x - np.array([0, 0, 0, 400])}, "counts cannot be"),
        ({"00000_areas": lambda x: x + np.array([0, 60, 0])}, "counts cannot be"),
        ({"00000_annotated": lambda x: x + 999}, "counts cannot be"),
        ({"00000_pixels_0": lambda x: x + 900}, "counts cannot be"),
        ({"00000_pixels_0": lambda x: x[:-1]}, "pixels_0 is uint16"),
        ({"00000_peaks_0": lambda x: x * np.nan}, "counts cannot be"),
        ({"header": {"thresholds": "other"}}, "above other thresholds"),
    ],
)
def test_forged_counts_are_refused(counted, tmp_path, changes, words):
    work, root, _ = counted
    counts = sorted(folder_of(work, root).glob("count-*"))
    forged = rewritten(work, counts[1], tmp_path / "count-forged.npz", **changes)
    shards = find_shards(work, root).shards
    found = find_counts(work, root, [counts[0], forged, counts[2]])
    with pytest.raises(UnitscopeError, match=words):
        execute(work, tmp_path, threads=1, made=Passes(shards, found.shards))
    # What the first pass gave stays, and nothing else is there.
    assert list(tmp_path.glob("*.partial/collect-*"))
    assert not list(tmp_path.glob("*.partial/count-*"))


# -- the command line -----------------------------------------------------------------------


def test_the_command_line_makes_and_merges_shards(folder, thirds, tmp_path, capsys):
    given = ["run", "--dataset", f"folder:{folder}", "--model", tiny.SPEC, "--threads", "1"]
    given += ["--layer", "body.1", "--layer", "body.3", "--q", "0.05", "--shuffles", "2"]
    given += ["--map-type", "float16", "--untrained", "--out", str(tmp_path), "--json"]

    def told(*more: str) -> tuple[int, dict]:
        status = main([*given, *more])
        return status, json.loads(capsys.readouterr().out.splitlines()[-1])

    work, root, one = thirds
    for k in (3, 1):
        status, facts = told("--shard", f"{k}/3")
        assert status == 0 and facts["run"] == work.digest and facts["shard"] == [k, 3]
        twin = folder_of(work, root) / Path(facts["path"]).name
        assert Path(facts["path"]).read_bytes() == twin.read_bytes()
        sha256 = hashlib.sha256(Path(facts["path"]).read_bytes()).hexdigest()
        assert facts["sha256"] == sha256
    status, facts = told("--merge")
    assert status != 0 and facts["error"].endswith("missing: --shard 2/3")
    assert told("--shard", "2/3")[1]["first"] == 32
    status, facts = told("--merge")
    assert status == 0 and facts["tables_digest"] == one.info["tables_digest"]
    assert told("--merge")[1]["tables_digest"] == facts["tables_digest"]
    status, facts = told("--pass", "2")
    assert status != 0 and "give --shard" in facts["error"]
    status, facts = told("--merge", "--shard", "1/2")
    assert status != 0 and "give one" in facts["error"]
    for wrong in ("0/3", "4/3", "1/", "/", "a/b"):
        with pytest.raises(SystemExit):
            main([*given, "--shard", wrong])


def test_the_command_line_makes_both_passes(folder, counted, tmp_path, capsys):
    given = ["run", "--dataset", f"folder:{folder}", "--model", tiny.SPEC, "--threads", "1"]
    given += ["--layer", "body.1", "--layer", "body.3", "--q", "0.05", "--shuffles", "2"]
    given += ["--map-type", "float16", "--untrained", "--no-maps", "--out", str(tmp_path), "--json"]
    work, root, one = counted
    files = []
    for number in ("1", "2"):
        for k in (1, 2, 3):
            assert main([*given, "--shard", f"{k}/3", "--pass", number]) == 0
            facts = json.loads(capsys.readouterr().out.splitlines()[-1])
            assert facts["pass"] == int(number) and Path(facts["path"]).is_file()
            files.append(facts["path"])
    assert main([*given, "--merge", *files[::-1]]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["tables_digest"] == one.info["tables_digest"]
