"""Runs whose photos, or shards, lie elsewhere: the same run, and nothing secret in it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest

from core.cli import main
from core.datasets import dataset_of
from core.dissect import depot
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.dissect.shards import make_shard
from core.dissect.spread import Crew, execute_spread
from core.foundation import stores
from core.foundation.errors import UnitscopeError
from core.foundation.roots import check_spec
from core.foundation.settings import ROOT, Settings
from core.runs.run_file import Run
from tests import tiny
from tests.dissect.test_shards import same
from tests.web_store import KEY, SECRET, Web, environment, serving, upload


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture
def web(tmp_path, monkeypatch) -> Iterator[Web]:
    with serving() as held:
        for name, value in environment(held.url).items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv(stores.MIRROR, str(tmp_path / "mirror"))
        monkeypatch.setattr(stores, "_known", {})
        held.page = 100
        yield held


MORE = ["--layer", "body.1", "--layer", "body.3", "--q", "0.05", "--shuffles", "2", "--untrained"]
MORE += ["--map-type", "float16", "--threads", "1", "--json"]


def asked(spec: str, out: Path, *more: str) -> list[str]:
    return ["run", "--dataset", spec, "--model", tiny.SPEC, "--out", str(out), *MORE, *more]


@pytest.fixture(scope="module", params=[True, False], ids=["maps", "no maps"])
def one(request, folder, tmp_path_factory) -> Run:
    """The run of one process, on a folder of this machine."""
    settings = Settings(
        f"folder:{folder}",
        tiny.SPEC,
        layers=("body.1", "body.3"),
        q=0.05,
        shuffles=2,
        untrained=True,
        map_type="float16",
        keep_maps=request.param,
    )
    return execute(plan(settings), tmp_path_factory.mktemp("one"), threads=1)


def test_photos_that_lie_elsewhere_are_the_same_run(
    folder, web, one, tmp_path, capsys, monkeypatch
):
    upload(web, folder, "bucket/tiny")
    assert stores.write_listing(folder) > 300
    web.files["bucket/tiny/files.csv"] = (folder / "files.csv").read_bytes()
    maps = [] if one.settings.keep_maps else ["--no-maps"]
    for k, spec in enumerate(("folder:s3://bucket/tiny", f"folder:{web.url}/bucket/tiny/")):
        assert main([*asked(spec, tmp_path / str(k)), *maps]) == 0
        facts = json.loads(capsys.readouterr().out.splitlines()[-1])
        run = Run(tmp_path / str(k) / f"{facts['run']}.duckdb")
        same(run, one)
        assert run.settings.dataset.spec == spec
        # It is found again where it was, for whatever asks for its photos later.
        assert len(dataset_of(run)) == 150
        # On a machine that never asked for it, the file does not choose that it is asked for.
        web.asked.clear()
        with monkeypatch.context() as elsewhere:
            elsewhere.setenv(stores.MIRROR, str(tmp_path / "none"))
            elsewhere.setattr(stores, "_known", {})
            with pytest.raises(UnitscopeError, match="nothing was copied to this machine"):
                dataset_of(run)
        assert not web.asked


def test_shards_are_handed_over_elsewhere(folder, web, one, tmp_path, capsys):
    """Each pass and shard on a machine of its own, that sees no folder of another."""
    maps = one.settings.keep_maps
    more = ["--shards-at", "s3://bucket/shards/", *([] if maps else ["--no-maps"])]
    for number in ("1",) if maps else ("1", "2"):
        for k in (3, 1, 2):
            out = tmp_path / f"{number}-{k}"
            part = ["--shard", f"{k}/3", "--pass", number, *more]
            assert main(asked(f"folder:{folder}", out, *part)) == 0, capsys.readouterr().err
    names = {path.rpartition("/")[2] for path in web.files}
    assert len(names) == (3 if maps else 6)
    assert all(path.startswith("bucket/shards/") for path in web.files)
    # Made once: another machine takes it from there, and puts nothing.
    before = dict(web.files)
    web.asked.clear()
    assert main(asked(f"folder:{folder}", tmp_path / "again", "--shard", "2/3", *more)) == 0
    assert web.files == before and not [key for key in web.asked if key[0] == "PUT"]
    capsys.readouterr()
    assert main(asked(f"folder:{folder}", tmp_path / "last", "--merge", *more)) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    same(Run(tmp_path / "last" / f"{facts['run']}.duckdb"), one)


def test_a_shard_is_the_same_wherever_the_photos_lie(folder, web, tmp_path):
    """One of them cannot be read, and is named by its place in the folder."""
    harmed = shutil.copytree(folder, tmp_path / "harmed")
    (harmed / "images" / "003.png").write_bytes(b"no photo")
    upload(web, harmed, "bucket/tiny")
    made = [
        make_shard(plan(Settings(spec, tiny.SPEC)), tmp_path / str(k), 1, 5, threads=1)
        for k, spec in enumerate((f"folder:{harmed}", "folder:s3://bucket/tiny"))
    ]
    assert made[0].path.read_bytes() == made[1].path.read_bytes()


@pytest.mark.slow
@pytest.mark.skipif(find_spec("ray") is None, reason="Ray is not installed: pip install ray")
@pytest.mark.parametrize("one", [False], indirect=True, ids=["no maps"])
def test_workers_of_ray_hand_shards_over_elsewhere(folder, web, one, tmp_path):
    asked = Settings(
        "folder:s3://bucket/tiny",
        tiny.SPEC,
        layers=("body.1", "body.3"),
        q=0.05,
        shuffles=2,
        untrained=True,
        map_type="float16",
        keep_maps=one.settings.keep_maps,
    )
    upload(web, folder, "bucket/tiny")
    run = execute_spread(
        plan(asked), tmp_path, crew=Crew(2, shards_at="s3://bucket/shards"), threads=1, shard=64
    )
    same(run, one)
    put = [path for method, path in web.asked if method in ("PUT", "POST")]
    assert len(set(put)) == (3 if one.settings.keep_maps else 6)
    # Nor is anything secret in what Ray writes down of its sessions.
    session = Path("/tmp/ray/session_latest").resolve()
    files = [p for p in session.rglob("*") if p.is_file()]
    assert files and not [p for p in files if SECRET.encode() in p.read_bytes()]


def test_a_damaged_shard_elsewhere_is_made_and_put_again(folder, web, tmp_path, capsys):
    given = asked(f"folder:{folder}", tmp_path / "a", "--shard", "1/3", "--shards-at", "s3://b/s")
    assert main(given) == 0
    (name, whole) = next(iter(web.files.items()))
    web.files[name] = whole[:-90] + bytes(90)
    given[given.index(str(tmp_path / "a"))] = str(tmp_path / "b")
    assert main(given) == 0
    assert web.files[name] == whole


def test_what_does_not_go_together_is_told(folder, web, tmp_path, capsys):
    spec = f"folder:{folder}"
    for more, words in (
        (["--shards-at", "s3://bucket/s"], "is of --shard I/N, --merge"),
        (["--shard", "1/2", "--shards-at", f"{web.url}/s"], "s3://bucket/folder alone"),
        (["--shard", "1/2", "--shards-at", "/tmp/s"], "s3://bucket/folder alone"),
        (["--merge", "--shards-at", "s3://bucket/s"], "no shards lie in"),
    ):
        assert main(asked(spec, tmp_path, *more)) == 2
        assert words in capsys.readouterr().err


@pytest.mark.parametrize("spec", ["folder:s3://bucket/a", "coco:https://host:8080/a:stuff"])
def test_a_server_with_roots_reads_nothing_elsewhere(spec):
    with pytest.raises(UnitscopeError, match="is an address"):
        check_spec(spec, [ROOT, Path("/")], "this form")


def test_names_of_shards_that_lead_elsewhere_are_not_taken(folder, web, tmp_path):
    work = plan(Settings(f"folder:{folder}", tiny.SPEC))
    place = depot.Depot(work, tmp_path, "s3://bucket/s")
    web.files[f"bucket/s/{work.digest}.shards/sub/collect-1.npz"] = b"1"
    web.files[f"bucket/s/{work.digest}.shards/note.txt"] = b"1"
    assert place.listing() == {}


@pytest.mark.slow
def test_nothing_secret_is_in_runs_or_logs(folder, web, tmp_path):
    """Of a run whose photos and shards lie elsewhere, and of one that is refused there."""
    upload(web, folder, "bucket/tiny")
    out = tmp_path / "out"
    said = b""
    for more in (["--shard", "1/1"], ["--merge"], []):
        at = ["--shards-at", "s3://bucket/shards"] if more else []
        if not more:
            web.key = "another"  # from now on its requests are refused
        done = subprocess.run(
            [sys.executable, "-m", "core", *asked("folder:s3://bucket/tiny", out, *more, *at)],
            cwd=ROOT,
            env={**os.environ, "UNITSCOPE_TRACEBACK": "1"},
            capture_output=True,
        )
        said += done.stdout + done.stderr
        assert done.returncode == 0, done.stderr.decode()
    assert b"is read instead" in said  # the copy, where the last one was refused
    held = [p for top in (out, tmp_path / "mirror") for p in top.rglob("*") if p.is_file()]
    held += [p for p in (ROOT / "cache").glob("*.json")]
    assert len(held) > 300
    for secret in (KEY.encode(), SECRET.encode()):
        assert secret not in said
        assert not [p for p in held if secret in p.read_bytes()]
        assert not [path for path, data in web.files.items() if secret in data]
