"""``pip install -e .`` in an environment of its own, and the command that it gives."""

from __future__ import annotations

import json
import os
import re
import socket
import subprocess
import sys
import sysconfig
import time
import tomllib
import urllib.request
from pathlib import Path

import pytest

import core

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """``unitscope`` of a new environment, which has this one's packages but not this checkout."""
    env = tmp_path_factory.mktemp("env")
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", env], check=True)
    python = env / "bin" / "python"
    place = subprocess.run(
        [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
        check=True,
        capture_output=True,
        text=True,
    ).stdout.strip()
    # What is found through this line was installed before, so that nothing is fetched.
    Path(place, "before.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    pip = [sys.executable, "-m", "pip", "--python", python, "install", "--quiet", "--no-index"]
    subprocess.run([*pip, "--no-deps", "--no-build-isolation", "-e", ROOT], check=True)
    return env / "bin" / "unitscope"


def said(command: list[object], at: Path, **environment: str) -> str:
    """What a command prints, in a folder that has nothing of this checkout."""
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")} | environment
    done = subprocess.run(command, cwd=at, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_command_has_the_verbs_of_the_module(installed, tmp_path):
    told = said([installed, "--help"], tmp_path)
    as_module = said([installed.with_name("python"), "-m", "core", "--help"], tmp_path)
    rows = re.findall(r"^  \w.*", as_module, re.M)
    assert len(rows) > 20 and rows == re.findall(r"^  \w.*", told, re.M)
    assert told.startswith("usage: unitscope ") and "unitscope app" in told
    assert as_module.startswith("usage: python -m core ")
    assert said([installed, "--version"], tmp_path) == f"Unitscope {core.__version__}\n"


def test_runs_and_the_embedded_data_are_found_from_anywhere(installed, tmp_path):
    assert (
        json.loads(said([installed, "runs", "--out", tmp_path, "--json"], tmp_path))["runs"] == []
    )
    layers = json.loads(said([installed, "layers", "--model", "rooms", "--json"], tmp_path))[
        "layers"
    ]
    assert "layer4" in [layer["name"] for layer in layers]


def test_the_app_has_the_checkout_settings_wherever_it_is_started(installed, tmp_path):
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    env = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(
            [installed, "app", "--server.port", str(port)],
            cwd=tmp_path,
            env=env | {"UNITSCOPE_CACHE": str(tmp_path)},
            stdout=log,
            stderr=log,
        )
    try:
        end = time.monotonic() + 60
        while True:
            try:
                with urllib.request.urlopen(f"http://localhost:{port}/_stcore/health") as answer:
                    assert answer.read() == b"ok"
                break
            except OSError:
                assert process.poll() is None and time.monotonic() < end, "it does not answer"
                time.sleep(0.2)
    finally:
        process.terminate()
        process.wait(20)
    # The address is this machine's alone by .streamlit/config.toml; without it the network would
    # see the app, read-only.
    assert f"http://localhost:{port}/?token=" in (tmp_path / "log").read_text(encoding="utf-8")


def test_the_project_says_what_the_requirements_files_say(installed):
    facts = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert facts["project"]["requires-python"] == ">=3.11"
    code = (
        "from importlib.metadata import metadata, requires\n"
        "print(metadata('unitscope')['Version'], *requires('unitscope'), sep='\\n')"
    )
    version, *needs = said([installed.with_name("python"), "-c", code], ROOT.parent).splitlines()
    assert version == core.__version__
    listed = {
        part: re.findall(r"^[\w-]+>=[\w.]+", (ROOT / part).read_text(encoding="utf-8"), re.M)
        for part in ("requirements.txt", "requirements-optional.txt")
    }
    extra = [f'{need}; extra == "optional"' for need in listed["requirements-optional.txt"]]
    assert needs == listed["requirements.txt"] + extra
