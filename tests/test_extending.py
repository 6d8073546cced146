"""docs/extending.md, followed to the letter: its files, written outside the package, are used by
the command line and the app."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from core.datasets import dataset_of, open_dataset
from core.datasets.registry import DATASETS
from core.foundation.errors import UnitscopeError
from core.foundation.registry import Registry, Row
from core.foundation.settings import Settings
from core.foundation.trust import ALLOW
from tests import tiny

ROOT = Path(__file__).resolve().parents[1]
BLOCK = re.compile(r"```(?:python|toml)\n# (\S+)\n(.*?)```", re.DOTALL)

COMMANDS = """
import json, sys
from core.cli import main
for arguments in json.loads(sys.argv[1]):
    print("status", main(arguments), flush=True)
"""

APP = """
import json, sys
from streamlit.testing.v1 import AppTest
at = AppTest.from_file(sys.argv[1], default_timeout=120)
at.run()
at.switch_page("pages/8_Largest.py").run()
assert not at.exception, at.exception[0].stack_trace
print(json.dumps({
    "links": [[link.proto.label, link.proto.icon] for link in at.get("page_link")],
    "titles": [title.value for title in at.title],
    "rows": len(at.dataframe[0].value),
}))
"""


def install(folder: Path) -> None:
    """The files of docs/extending.md, and what pip writes of their pyproject.toml."""
    for name, text in BLOCK.findall((ROOT / "docs" / "extending.md").read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    project = tomllib.loads((folder / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = project["entry-points"]
    groups["unitscope.datasets"]["broken"] = "mine.nowhere:ROW"
    about = folder / "mine-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: mine\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "".join(
            f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in rows.items())
            for group, rows in groups.items()
        )
    )


def write_photos(folder: Path) -> Path:
    """Ten photos of two scenes with masks, as the reader of the document expects them."""
    rng = np.random.default_rng(0)
    for scene, value in (("kitchen", 1), ("bedroom", 2)):
        (folder / scene).mkdir(parents=True)
        for k in range(5):
            photo = rng.integers(0, 256, (8, 8, 3)).astype(np.uint8)
            Image.fromarray(photo).resize((32, 32)).save(folder / scene / f"{k}.jpg")
            mask = np.zeros((32, 32), np.uint8)
            mask[4 + k : 20, 6:24] = value
            mask[:3], mask[28:] = 3, 4
            Image.fromarray(mask).save(folder / scene / f"{k}.png")
    return folder


def python(code: str, *arguments: str, home: Path, **environment: str) -> str:
    """What a fresh interpreter prints to which `home` is installed."""
    path = os.pathsep.join([str(home), str(ROOT)])
    ran = subprocess.run(
        [sys.executable, "-c", code, *arguments],
        env={**os.environ, "PYTHONPATH": path, **environment},
        cwd=home,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("mine")
    install(folder)
    return folder


@pytest.fixture(scope="module")
def said(home: Path) -> list[dict[str, Any]]:
    """Answers of the command line, by :data:`COMMANDS`, in the order asked."""
    photos, out = write_photos(home / "photos"), str(home / "runs")
    settings = ["--q", "0.1", "--shuffles", "3", "--no-untrained", "--threads", "1"]
    commands = [
        ["datasets"],
        ["models"],
        ["run", "--dataset", f"outdoors:{photos}", "--model", "tinynet", *settings, "--out", out],
        ["show", "latest", "--out", out, "--labels", "coverage"],
        ["tables", "latest", "--out", out],
        ["show", "latest", "--out", out, "--labels", "covrage"],
        ["datasets", "check", str(photos)],
        ["truth", "latest", "--out", out, "--methods", "edges", "--by", "mean", "--photos", "3"],
    ]
    asked = json.dumps([[*command, "--json"] for command in commands])
    lines = python(COMMANDS, asked, home=home).splitlines()
    return [json.loads(line) for line in lines if line.startswith("{")]


@pytest.mark.slow
def test_a_reader_and_a_model_family_are_listed_and_dissected(said):
    datasets, models, run = said[:3]
    assert "outdoors:DIR" in [row["form"] for row in datasets["kinds"]]
    assert "tinynet[:CHECKPOINT]" in [row["form"] for row in models["kinds"]]
    assert run["images"]["used"] == 10 and run["model"] == "tinynet"
    assert [layer["units"] for layer in run["layers"]] == [6]


@pytest.mark.slow
def test_a_labelling_method_labels_a_run(said):
    labels = said[3]["labels"]
    assert labels["method"] == "coverage"
    assert labels["top"] and {row["label"] for row in labels["top"]} <= {
        "sink",
        "bed",
        "lamp",
        "rug",
        "kitchen",
        "bedroom",
    }


@pytest.mark.slow
def test_a_metric_is_a_column_of_the_tables(said):
    for row in said[4]["rows"]:
        assert list(row)[2:9] == ["CM_FP", "DM_FP", "SM_FP", "CM_TP", "CM_TFP", "SM_TP", "SM_TFP"]
        right, wrong = (row[f"CM_{of}"]["n"] for of in ("TP", "TFP"))
        assert (row["OC_TP"]["n"], row["OC_TFP"]["n"], row["OC_FP"]["n"]) == (right, wrong, wrong)
    assert any(row["OC_TP"]["n"] + row["OC_TFP"]["n"] for row in said[4]["rows"])


def test_a_way_of_saying_why_is_held_against_the_truth(said):
    tables = said[7]["tables"].values()
    assert said[7]["by"] == "mean" and tables
    for table in tables:
        about = [row["says how much each concept matters"] for row in table["rows"]]
        assert about == ["what has many edges matters", "at random"]
        assert all(-1 <= row["rank"]["value"] <= 1 for row in table["rows"])


@pytest.mark.slow
def test_unknown_names_are_told_the_nearest_and_what_was_left_out(said):
    assert "unknown labelling method 'covrage'; nearest: coverage; forms: " in said[5]["error"]
    unknown = said[6]["error"]
    assert "to read that folder, write outdoors:" in unknown
    assert "(left out: mine.nowhere:ROW: No module named 'mine.nowhere')" in unknown


@pytest.mark.slow
def test_a_page_is_listed_and_opens(home, said):
    app = home / "app"
    shutil.copytree(ROOT / "pages", app / "pages", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(home / "pages" / "8_Largest.py", app / "pages")
    shutil.copy(ROOT / "app.py", app)
    shutil.rmtree(home / "pages")  # the app's own package of that name is meant
    runs = str(home / "runs")
    path = os.pathsep.join([str(app), str(home), str(ROOT)])
    ran = subprocess.run(
        [sys.executable, "-c", APP, str(app / "app.py")],
        env={**os.environ, "PYTHONPATH": path, "UNITSCOPE_CACHE": runs},
        cwd=app,
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    told = json.loads(ran.stdout.splitlines()[-1])
    assert ["Largest units", ":material/straighten:"] in told["links"]
    assert told["titles"] == ["Largest units"] and told["rows"] == 6


# -- without an installed package -------------------------------------------------------------

READER = """
from core.datasets.readers.folder import Folder

SIDE = 1

def read(rest):
    return Folder.from_spec(rest)

def other():
    return 3
"""


def test_a_row_is_added_by_a_call(tmp_path, monkeypatch):
    (tmp_path / "called.py").write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    photos = tiny.write_folder(tmp_path / "photos", 4)
    row = DATASETS.register(Row("called", "called:DIR", "a reader of a notebook", "called:read"))
    try:
        assert len(open_dataset(f"called:{photos}")) == 4
        with pytest.raises(UnitscopeError, match="there is a dataset 'called' already"):
            DATASETS.register(Row("called", "called", "another", "called:other"))
        assert DATASETS.register(row) is row  # a notebook's cell runs more than once
    finally:
        DATASETS.unregister("called")
    with pytest.raises(UnitscopeError, match="unknown dataset 'called:x'"):
        open_dataset("called:x")


def test_rows_that_cannot_be_opened_say_why():
    with pytest.raises(UnitscopeError, match="one word without a colon"):
        Row("a:b", "a:b", "x", "m:f")
    with pytest.raises(UnitscopeError, match=r"package\.module:function, not 'm'"):
        Row("a", "a", "x", "m")
    for opens, why in (("no_such:f", "No module"), ("json:nothing", "does not exist")):
        with pytest.raises(UnitscopeError, match=f"a: {opens}.*{why}"):
            Row("a", "a", "x", opens).load()
    empty: Registry[Row] = Registry("thing", "unitscope.no_such_group", (), Row)
    with pytest.raises(UnitscopeError, match="unknown thing 'a'; forms: "):
        empty.row("a")


def test_a_python_reader_is_dissected_and_its_text_counts(tmp_path, monkeypatch):
    from core.dissect.pipeline import execute
    from core.dissect.plan import plan

    module = tmp_path / "own_reader.py"
    module.write_text(READER)
    monkeypatch.syspath_prepend(tmp_path)
    photos = tiny.write_folder(tmp_path / "photos", 6)
    spec = f"python:own_reader:read:{photos}"
    settings = Settings(spec, tiny.SPEC, layers=("body.1",), shuffles=0)
    with pytest.raises(UnitscopeError, match="function of own_reader 'raed'; nearest: read"):
        open_dataset("python:own_reader:raed")
    with pytest.raises(UnitscopeError, match="returned int, not a SceneDataset"):
        open_dataset("python:own_reader:other")
    with pytest.raises(UnitscopeError, match=r"the form is python:package\.module:function"):
        open_dataset("python:own_reader")
    run = execute(plan(settings), tmp_path / "runs")
    assert run.info["settings"]["dataset"]["spec"] == spec
    assert open_dataset(spec).content_digest() == open_dataset(f"folder:{photos}").content_digest()
    # Whoever opens the run file has typed no code.
    monkeypatch.delenv(ALLOW, raising=False)
    with pytest.raises(UnitscopeError, match="names code to run: function 'read' of module 'own_"):
        dataset_of(run)
    monkeypatch.setenv(ALLOW, "1")
    assert dataset_of(run).ids == open_dataset(spec).ids
    before = open_dataset(spec).digest()
    module.write_text(READER.replace("SIDE = 1", "SIDE = 2"))
    assert open_dataset(spec).digest() != before
    with pytest.raises(UnitscopeError, match="made with another text of module 'own_reader'"):
        dataset_of(run)
