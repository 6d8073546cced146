"""`import core`: the same figures as the command line, quick to import, easy to find; and the
worked notebook, run cell by cell."""

from __future__ import annotations

import importlib.util
import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pytest
from pandas.testing import assert_frame_equal

import core
from core.cli import main
from core.foundation.errors import UnitscopeError
from core.paper.tables import table_4
from tests import tiny

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def knowing_run(tmp_path_factory):
    """A run of the tiny network whose own knowledge has facts on all three scenes."""
    root = tmp_path_factory.mktemp("api")
    facts = [
        "AtLocation\tthing 1\tattic",
        "AtLocation\tthing 2\tattic",
        "HasA\tattic\tpiece 6",
        "AtLocation\tthing 3\tbarn",
        "PartOf\tpiece 7\tbarn",
        "AtLocation\tthing 4\tcellar",
        "HasA\tcellar\tpiece 8",
    ]
    (root / "facts.tsv").write_text("\n".join(facts) + "\n", encoding="utf-8")
    folder = tiny.write_folder(root / "photos", 60)
    told: list[str] = []
    run = core.make_run(
        f"folder:{folder}",
        tiny.SPEC,
        ["body.1", "body.3"],
        root=root / "runs",
        q=0.05,
        shuffles=3,
        knowledge=f"triples:{root / 'facts.tsv'}",
        progress=lambda p: told.append(str(p)),
    )
    assert told
    return run


def answer(capsys, run, verb: str, *arguments: str) -> dict:
    status = main([verb, run.digest, *arguments, "--out", str(run.path.parent), "--json"])
    assert status == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def plain(value):
    """As the command line's JSON has it: no NaN, no tuples."""
    from core.foundation.files import strict_json

    return json.loads(strict_json(value))


def test_import_core_is_light():
    code = (
        "import sys, core; heavy = {'numpy', 'pandas', 'torch', 'duckdb'} & set(sys.modules);"
        "assert not heavy, heavy; names = dir(core);"
        "assert {'open_run', 'make_run', 'list_runs', 'open_dataset', 'load_model'} <= set(names);"
        "assert 'import_module' not in names; core.open_run; assert 'torch' not in sys.modules;"
        "import core.dissect.pipeline; assert core.dissect.pipeline.execute and core.tables"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
    with pytest.raises(AttributeError, match="no attribute 'opne_run'"):
        _ = core.opne_run
    for name in core._WHERE:
        assert getattr(core, name).__doc__, name


def test_runs_are_found(knowing_run):
    root = knowing_run.path.parent
    assert core.open_run(knowing_run.digest[:6], root).digest == knowing_run.digest
    assert core.open_run(knowing_run.path).digest == knowing_run.digest
    assert "tiny" in repr(core.open_run("latest", str(root)))
    frame = core.list_runs(root)
    assert frame["run"].tolist() == [knowing_run.digest]
    assert frame["layers"][0] == "body.1, body.3" and frame["images"][0] == 60
    with pytest.raises(UnitscopeError, match="is no run under"):
        core.open_run("zzzz", root)


def test_a_run_is_made_once(knowing_run):
    request = knowing_run.info["request"]
    told = []
    again = core.make_run(
        request["dataset"],
        request["model"],
        request["layers"],
        root=knowing_run.path.parent,
        q=0.05,
        shuffles=3,
        knowledge=request["knowledge"],
        progress=told.append,
    )
    assert again.digest == knowing_run.digest and not told
    with pytest.raises(UnitscopeError, match=r"setting of a run 'shufles'; nearest: shuffles"):
        core.make_run("rooms", "rooms", shufles=3)


def test_units_are_those_of_show(knowing_run, capsys):
    for layer in (None, "body.1"):
        units = knowing_run.units(layer)
        chosen = ["--layer", layer] if layer else []
        top = answer(capsys, knowing_run, "show", "--top", "99", *chosen)["labels"]["top"]
        ours = units.sort_values(["iou", "unit"], ascending=[False, True])
        assert plain(ours.to_dict("records")) == top and len(top) > 3
    parts = knowing_run.units(categories=["part"], per_unit=2)
    assert set(parts["category"]) == {"part"} and parts["rank"].max() == 2


def test_frames_of_images_and_scenes(knowing_run):
    everything = knowing_run.images()
    wrong, right = knowing_run.images(outcome="wrong"), knowing_run.images(outcome="right")
    assert len(everything) == 60 == len(wrong) + len(right) and len(wrong) and len(right)
    assert (wrong["scene_name"] != wrong["predicted_name"]).all()
    attic = knowing_run.images(scene="attic", split="test", concept="thing 1")
    assert set(attic["scene_name"]) == {"attic"} and set(attic["split"]) == {"test"}
    scenes = knowing_run.scenes()
    assert scenes["right"].sum() == len(right) and scenes["images"].sum() == 60
    assert knowing_run.accuracy()["right"].sum() == len(right)
    cells = knowing_run.confusion()
    diagonal = cells[cells["scene"] == cells["predicted"]]["images"].sum()
    assert diagonal == len(right) and cells["images"].sum() == 60
    assert knowing_run.skipped().empty
    assert "thing 1" in set(knowing_run.concepts()["name"])


def test_arrow_holds_the_same(knowing_run):
    for method in ("units", "scenes", "concepts", "images", "accuracy", "confusion", "table_1"):
        frame, table = getattr(knowing_run, method)(), getattr(knowing_run, method)(arrow=True)
        assert isinstance(frame, pd.DataFrame) and isinstance(table, pa.Table)
        assert table.column_names == list(frame.columns) and table.num_rows == len(frame)
        assert_frame_equal(table.to_pandas(), frame, check_dtype=False)
    table = knowing_run.arrow("SELECT count(*) AS n FROM images WHERE split = ?", ["test"])
    assert table.to_pydict() == {"n": [30]}
    assert isinstance(core.list_runs(knowing_run.path.parent, arrow=True), pa.Table)


def test_accounts_are_those_of_explain(knowing_run, capsys, tmp_path):
    image = knowing_run.images(outcome="wrong")["id"][0]
    for cc in ("scc", "icc", "top10"):
        told = answer(capsys, knowing_run, "explain", "--image", image, "--cc", cc)
        ours = knowing_run.account(image, cc)
        causes, why = told.pop("causes"), told.pop("no_causes")
        assert plain(ours.to_json()) == told and any(side.core for side in ours.sides.values())
        assert plain(knowing_run.causes(image, cc=cc).to_json()) == causes and why == ""
    photo = tmp_path / "any.jpg"
    photo.write_bytes(knowing_run.photo(0))
    told = answer(capsys, knowing_run, "explain", "--photo", str(photo))
    assert plain(knowing_run.explain(photo).to_json()) == told
    with pytest.raises(UnitscopeError, match="unknown kind of core concepts 'sc'"):
        knowing_run.account(image, "sc")


def test_core_concepts_are_those_of_concepts(knowing_run, capsys):
    told = answer(capsys, knowing_run, "concepts", "--scene", "attic", "--cc", "scc")
    ours = knowing_run.core_concepts("scc").table("attic")
    assert plain(ours.to_dict("records")) == told["members"]
    assert set(ours["concept"]) == {"thing 1", "thing 2", "piece 6"}


def test_table_1_is_that_of_tables(knowing_run, capsys, tmp_path):
    answer(capsys, knowing_run, "tables", "--csv", str(tmp_path))
    theirs = pd.read_csv(tmp_path / "table_1.csv")
    assert_frame_equal(knowing_run.table_1(), theirs)
    from core.api import frame_of

    graph = core.open_knowledge(knowing_run.info["request"]["knowledge"])
    assert len(frame_of(table_4([knowing_run], graph))) == 2


def test_contribution_and_toggle_are_those_of_the_verbs(knowing_run, capsys):
    told = answer(capsys, knowing_run, "contribution", "--scene", "attic", "--top", "99")
    ours = knowing_run.contribution()
    for sign in ("positive", "negative"):
        assert plain(ours.ranked("attic", sign).to_dict("records")) == told[sign]
    told = answer(capsys, knowing_run, "toggle", "--units", "1,3", "--split", "test")
    toggled = knowing_run.toggle([1, 3], splits=["test"])
    shown = plain(toggled.to_json(10))
    shown["seconds"] = told["seconds"]
    assert {key: told[key] for key in shown} == shown
    # Judged on test unless another split is named.
    assert plain(knowing_run.toggle([1, 3]).to_json(10))["gain"] == shown["gain"]
    before, after = knowing_run.toggle([1, 3], splits=["all"]).accuracy
    assert before.n == after.n == 60


def test_charts_are_those_of_export(knowing_run, capsys, tmp_path):
    answer(
        capsys,
        knowing_run,
        "export",
        "--figures",
        str(tmp_path / "cli"),
        "--format",
        "svg",
        "--only",
        "accuracy",
    )
    view = core.report.open_view(knowing_run)
    files = core.report.export_figures(view, tmp_path / "api", ["svg"], ["accuracy"])
    theirs = list((tmp_path / "cli").iterdir())
    assert [file.name for file in files] == [file.name for file in theirs]
    # The drawing library numbers its clips through, picture after picture.
    one, other = (re.sub(r"clip\d+", "clip", path.read_text()) for path in (files[0], theirs[0]))
    assert one == other


def notebook():
    spec = importlib.util.spec_from_file_location("notebook", ROOT / "docs" / "notebook.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_notebook_runs_and_says_what_the_command_line_says(knowing_run, monkeypatch, capsys):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(knowing_run.path.parent))
    book = notebook()
    cells = book.code_cells()
    names: dict = {}
    shown = [book.execute("".join(cell["source"]), names) for cell in cells]
    assert len(shown) >= 8 and all(value is not None for _, value in shown)
    assert names["run"].digest == knowing_run.digest
    top = answer(capsys, knowing_run, "show", "--top", "99")["labels"]
    assert plain(names["best"].to_dict("records")) == top["top"]
    assert f"{top['chance']['above']} of {len(names['units'])} units" in shown[3][0]
    explained = answer(capsys, knowing_run, "explain", "--image", names["image"])
    assert shown[4][1] == explained["sentence"] == names["account"].sentence
    units = ",".join(map(str, names["lowest"]))
    assert len(names["lowest"]) == 3
    toggled = answer(capsys, knowing_run, "toggle", "--units", units)
    assert names["after"].value == toggled["accuracy_after"]["value"]
    assert f"{toggled['gain']['gained']} gained" in shown[7][0]
    assert names["found"].num_rows == 4  # the four objects


def test_the_notebook_is_a_notebook_with_its_outputs():
    path = ROOT / "docs" / "walkthrough.ipynb"
    book = json.loads(path.read_text(encoding="utf-8"))
    assert book["nbformat"] == 4 and len({cell["id"] for cell in book["cells"]}) == len(
        book["cells"]
    )
    for number, cell in enumerate(notebook().code_cells(), 1):
        assert cell["execution_count"] == number and cell["outputs"]


@pytest.fixture(scope="module")
def own_planted(planted, tmp_path_factory):
    """A copy of the planted world's run: results are kept beside it."""
    path = Path(shutil.copy(planted.path, tmp_path_factory.mktemp("own")))
    shutil.copytree(planted.arrays, path.with_suffix(".arrays"))
    return core.open_run(path)


def test_the_bench_is_that_of_labels(own_planted, capsys):
    ours = own_planted.bench(["dataset", "single"], "body.3", by="none")
    told = answer(
        capsys,
        own_planted,
        "labels",
        "--layer",
        "body.3",
        "--methods",
        "dataset,single",
        "--by",
        "none",
        "--compare",
    )
    for mine, theirs in zip(plain(ours.table.to_dict("records")), told["methods"], strict=True):
        assert {k: v for k, v in mine.items() if k != "seconds"} == {
            k: v for k, v in theirs.items() if k != "seconds"
        }
    assert ours.table["image"].notna().all() and ours.asked.judged_by == ("test",)


@pytest.mark.slow
def test_the_example_of_labels_and_concepts_runs(own_planted, capsys, monkeypatch):
    from core.directions import cav, conceptshap, vectors

    monkeypatch.setattr(conceptshap, "REFIT_STEPS", 2)
    monkeypatch.setattr(conceptshap, "REFIT_EPOCHS", 1)
    few = vectors.Learning
    monkeypatch.setattr(
        vectors, "Learning", lambda concepts, seed: few(concepts, steps=40, epochs=1, seed=seed)
    )
    # Defaults are read where the class is made: 3 runs, 5 random concepts.
    usual = cav.Asked.__init__.__defaults__
    monkeypatch.setattr(cav.Asked.__init__, "__defaults__", (*usual[:2], 3, 5, *usual[4:]))
    text = (ROOT / "docs" / "api.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"rests on:\n\n```python\n(.*?)```", text, re.DOTALL)
    code = code.replace('"bed"', '"red"').replace('"bedroom"', '"attic"')
    given = {"run": own_planted}
    exec(code, given)
    assert given["best"] in ("dataset", "single", "linear")
    assert set(given["units"]["place"]) >= {1} and given["score"].scene == "attic"
    assert f"p {given['score'].p_null:.3f}" in capsys.readouterr().out


@pytest.mark.slow
def test_a_dictionary_is_that_of_the_verb(own_planted, capsys, tmp_path):
    few = {"steps": 8, "batch": 64}
    ours = own_planted.dictionary(6, 2, "body.3", **few)
    asked = ["--layer", "body.3", "--features", "6", "--k", "2", "--steps", "8", "--batch", "64"]
    file = ["--to", str(tmp_path / "d.pt"), "--out", str(own_planted.path.parent), "--json"]
    assert main(["dictionary", "train", own_planted.digest, *asked, *file]) == 0
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert (told["digest"], told["features"], told["k"]) == (ours.digest(), 6, 2)


@pytest.mark.slow
def test_discovered_concepts_have_a_frame(own_planted, monkeypatch):
    pytest.importorskip("skimage")
    from core.directions import ace

    monkeypatch.setattr(ace, "SEGMENTS", (8, 16))
    monkeypatch.setattr(ace, "RANDOMS", 3)
    monkeypatch.setattr(ace, "RANDOM_SEGMENTS", 30)
    found = own_planted.ace("attic", "body.3", images=8, clusters=4, members=4, runs=3)
    assert found.scene == "attic" and len(found.frame()) == len(found.concepts) > 0
