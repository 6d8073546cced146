"""The verbs toggle, contribution, figures, search and edit."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from core.cli import main
from tests.browsing import ROOT


def say(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_verbs(tiny_run, tmp_path, capsys):
    root = tmp_path / "runs"
    root.mkdir()
    shutil.copy(tiny_run.path, root)
    (root / tiny_run.arrays.name).symlink_to(tiny_run.arrays)
    facts = tmp_path / "facts.tsv"
    rows = [("thing 1", "attic"), ("thing 2", "barn"), ("piece 6", "cellar")]
    facts.write_text("".join(f"AtLocation\t{a}\t{b}\t1.0\n" for a, b in rows))
    place = (tiny_run.digest, "--out", str(root), "--knowledge", f"triples:{facts}")
    told = say(capsys, "toggle", *place, "--units", "0,3", "--split", "test")
    assert told["method"] == "closed form" and told["units"] == [0, 3]
    told = say(capsys, "toggle", *place, "--units", "0,3", "--layer", "body.1", "--factor", "0.5")
    assert told["method"] == "replayed tail"
    asked = ("--cc", "scc", "--unit", "1", "--over", "all")
    told = say(capsys, "contribution", *place, "--scene", "cellar", *asked)
    assert told["core"] == ["piece 6"] and told["negative"]
    told = say(capsys, "toggle", *place, "--top-negative", "2", "--scene", "cellar")
    assert len(told["units"]) <= 2 and "most negative of scene cellar" in told["chosen"]
    told = say(
        capsys,
        "figures",
        *place,
        "--every",
        "2",
        "--most",
        "4",
        "--to",
        str(tmp_path / "figures"),
        "--csv",
        str(tmp_path),
        "--ranking",
        "scc",
        "--ranking",
        "random",
        "--format",
        "svg,png",
        "--inches",
        "3.3",
        "--points",
        "7",
    )
    svg, png, caption = map(Path, told["files"])
    assert 'width="3.3in"' in svg.read_text(encoding="utf-8") and png.stat().st_size > 2000
    assert "oracle" in caption.read_text(encoding="utf-8") and caption.suffix == ".txt"
    assert (tmp_path / "figure_3-paper.csv").is_file()
    assert {r["k"] for r in told["rows"]} == {1, 2, 4}
    told = say(capsys, "search", *place, "--halves", "1", "--most", "2", "--method", "forward")
    assert told["rows"][0]["candidates"] == "all units"
    told = say(
        capsys,
        "edit",
        *place,
        "--units",
        "1",
        "--kind",
        "state",
        "--out-dir",
        str(tmp_path / "edited"),
    )
    assert Path(told["files"]["state"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toggle", "--units", "99"], "there is no unit 99"),
        (["toggle", "--units", "a,b"], "no list of numbers"),
        (["toggle", "--units", "1", "--image", "nowhere"], "unknown image"),
        (["toggle", "--units", "1", "--scene", "attick"], "nearest: attic"),
        (["toggle", "--units", "1", "--layer", "body.9"], "unknown layer"),
        (["toggle", "--top-negative", "3"], "needs --scene"),
        (["contribution", "--scene", "attick"], "nearest: attic"),
        (["figures", "--format", "gif"], "unknown figure format"),
        (["figures", "--protocol", "papers"], "unknown protocol"),
        (["figures", "--to", "x", "--inches", "99"], "is not within 1.5 to 20"),
        (["figures", "--to", "x", "--points", "9"], "give their width"),
        (["search", "--inches", "3.3"], "name its folder"),
        (["search", "--layer", "body.1"], "needs a linear head"),
        (["edit", "--units", "1", "--kind", "onnx", "--out-dir", "x"], "unknown kind of file"),
    ],
)
def test_mistakes_are_told(tiny_run, capsys, arguments, message):
    verb, *rest = arguments
    place = [tiny_run.digest, "--out", str(tiny_run.path.parent), "--knowledge", "builtin"]
    assert main([verb, *place, *rest, "--allow-empty"]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.slow
def test_a_second_toggle_needs_no_network(tiny_run, tmp_path):
    """What was found of the closed form is kept beside the run: the same answer without PyTorch;
    an edit stronger than those compared still runs the network, and a damaged file is made anew."""
    root = tmp_path / "runs"
    root.mkdir()
    shutil.copy(tiny_run.path, root)
    (root / tiny_run.arrays.name).symlink_to(tiny_run.arrays)
    code = (
        "import sys; from core.cli import main; status = main(sys.argv[1:]);"
        " print('torch' in sys.modules); sys.exit(status)"
    )

    def toggle(*asked: str) -> tuple[dict, bool]:
        words = ("toggle", tiny_run.digest, "--out", str(root), "--json", *asked)
        told = subprocess.run(
            [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True
        )
        assert told.returncode == 0, told.stderr
        answer, torch = told.stdout.splitlines()[-2:]
        return {**json.loads(answer), "seconds": 0}, torch == "True"

    first, torch = toggle("--units", "0,3")
    assert torch
    second, torch = toggle("--units", "0,3")
    assert not torch and second == first and first["check"]["probes"]
    strong, torch = toggle("--units", "0,3", "--factor", "50")
    assert torch and strong["method"] == "closed form"
    (kept,) = root.glob("*.derived/closed-form-*.npz")
    kept.write_bytes(b"damaged")
    third, torch = toggle("--units", "0,3")
    assert torch and third == first
