"""What a file names is not run, unless this process was told so."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from core.cli import main
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.explain.photo import open_model
from core.foundation.errors import UnitscopeError
from core.foundation.settings import Settings
from core.foundation.trust import ALLOW, check_named, source_digest
from core.models.load import load_model
from core.runs.run_file import Run
from core.views.runs import resolve
from tests import tiny

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def told_nothing(monkeypatch):
    monkeypatch.delenv(ALLOW, raising=False)


def stranger(run: Run, folder: Path, spec: str, **more: str) -> Path:
    """A copy of a run whose stored network is another SPEC, as a stranger may send it."""
    folder.mkdir(exist_ok=True)
    path = folder / f"{run.digest}.duckdb"
    shutil.copy(run.path, path)
    shutil.copytree(run.arrays, path.with_suffix(".arrays"))
    with duckdb.connect(str(path)) as con:
        (text,) = con.execute("SELECT value FROM meta WHERE key = 'settings'").fetchone()
        settings = json.loads(text)
        settings["model"] |= {"spec": spec, **more}
        con.execute("UPDATE meta SET value = ? WHERE key = 'settings'", [json.dumps(settings)])
    return path


@pytest.mark.parametrize(
    ("verb", "more"),
    [
        ("show", ()),
        ("explain", ("--photo", "PHOTO", "--cc", "top10")),
        ("toggle", ("--units", "3")),
        ("retrain", ()),
        ("edit", ("--units", "3", "--out-dir", "EDIT")),
    ],
)
def test_a_strangers_run_file_runs_nothing(tiny_run, tmp_path, capsys, verb, more):
    ran = tmp_path / "ran"
    path = stranger(tiny_run, tmp_path / "theirs", f"python:os:system:touch {ran}")
    photo = next((tiny_run.path.parents[1] / "photos" / "images").iterdir())
    told = {"PHOTO": str(photo), "EDIT": str(tmp_path / "edit")}
    named = [str(path), *(told.get(m, m) for m in more)]
    if verb == "retrain":
        named = ["cc", str(path)]
    status, told = main([verb, *named]), capsys.readouterr().err
    assert not ran.exists()
    assert "Traceback" not in told
    if verb == "show":
        assert status == 0, told
    else:
        assert status == 2
        assert "'os'" in told and "'system'" in told and "--allow-python" in told


@pytest.mark.parametrize(
    "spec",
    [
        "python:os:system:touch x",
        "python:core.runs.store:delete_run:x.duckdb",  # of the checkout, but no network
        "python:core.models.zoo:nn",
        "python:tests.tiny:shutil",
        "python:torch.hub:load:x",
        "python:core.rooms.network.x:load:x",
        "python:nowhere:at_all",
        "python::",
    ],
)
def test_only_networks_of_the_checkout_are_named_by_files(spec, monkeypatch):
    with pytest.raises(UnitscopeError, match="--allow-python"):
        check_named(spec, "run x")
    monkeypatch.setenv(ALLOW, "1")
    check_named(spec, "run x")


@pytest.mark.parametrize(
    "spec",
    [
        "rooms",
        "torchvision:resnet18",
        "python:core.rooms.network:load:w.pt",
        "python:core.ablation.export:load:w.pt",
        # As files of before name them.
        "python:core.models.rooms_net:load:w.pt",
        "python:core.manipulate.edit:load:w.pt",
        tiny.SPEC,
    ],
)
def test_networks_of_the_checkout_are(spec):
    check_named(spec, "run x")


def test_looking_at_a_module_does_not_run_its_packages(tmp_path, monkeypatch):
    package = tmp_path / "mine"
    package.mkdir()
    (package / "__init__.py").write_text(f"open({str(tmp_path / 'ran')!r}, 'w')\n")
    (package / "nets.py").write_text("from torch import nn\ndef f() -> nn.Module: ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(UnitscopeError, match="names code to run"):
        check_named("python:mine.nets:f", "run x")
    assert source_digest("python:mine.nets:f")
    assert not (tmp_path / "ran").exists()


def test_changed_code_is_found_before_it_is_imported(tmp_path, monkeypatch):
    """The same run, its network's code another one by now: its text is compared, not its deeds."""
    folder = tiny.write_folder(tmp_path / "photos", 12)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv(ALLOW, "1")
    (tmp_path / "parts_of_mine.py").write_text("from tests.tiny import net\n")
    mine = tmp_path / "net_of_mine.py"
    mine.write_text("from parts_of_mine import net\n\ndef make():\n    return net()\n")
    spec = "python:net_of_mine:make"
    made = execute(plan(Settings(f"folder:{folder}", spec, q=0.05, shuffles=0)), tmp_path / "runs")
    assert made.info["settings"]["model"]["code"] == source_digest(spec)
    assert open_model(made).digest() == made.info["settings"]["model"]["digest"]

    ran = tmp_path / "ran"
    (tmp_path / "parts_of_mine.py").write_text(
        f"open({str(ran)!r}, 'w')\nfrom tests.tiny import net\n"
    )
    code = "import core, sys\ncore.open_run(sys.argv[1]).toggle([1])"
    done = subprocess.run(
        [sys.executable, "-c", code, str(made.path)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{tmp_path}"},
        cwd=tmp_path,
    )
    assert "its code has changed since" in done.stderr
    assert not ran.exists()


def test_an_edited_network_names_no_code_either(tiny_run, tmp_path):
    import torch

    from core.ablation.export import FORMAT, SCALE, SHIFT

    ran = tmp_path / "ran"
    file = tmp_path / "edited.pt"
    facts = {
        "format": FORMAT,
        "model": f"python:os:system:touch {ran}",
        "layer": "body.3",
        "run": "x",
        "words": "x",
        "chosen": "x",
    }
    ones = torch.ones(12)
    state = {f"body.3.{SCALE}": ones, f"body.3.{SHIFT}": ones}
    torch.save({"state_dict": state, "unitscope_edit": facts}, file)
    with pytest.raises(UnitscopeError, match="'os'"):
        load_model(f"python:core.ablation.export:load:{file}")
    assert not ran.exists()


def test_allow_python_is_an_option_of_every_verb(tiny_run, tmp_path, monkeypatch, capsys):
    path = stranger(tiny_run, tmp_path / "theirs", "python:tests.tiny:Net", code="another")
    monkeypatch.setenv(ALLOW, "0")
    assert main(["toggle", str(path), "--units", "3"]) == 2
    assert "names code to run" in capsys.readouterr().err
    # Allowed, and still not imported: the file says what the code was.
    assert main(["toggle", str(path), "--units", "3", "--allow-python"]) == 2
    assert "another text" in capsys.readouterr().err


def test_an_address_names_digests_below_the_cache_alone(tiny_run, tmp_path):
    root = tiny_run.path.parent
    assert resolve(tiny_run.digest[:6], root) == tiny_run.path
    for name in (str(tiny_run.path), tiny_run.path.name, f"../{root.name}/{tiny_run.digest}"):
        with pytest.raises(UnitscopeError, match="unknown run"):
            resolve(name, tmp_path if name.startswith("/") else root)
