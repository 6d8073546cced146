"""The verbs reliance, mistakes and failure, on one small run."""

from __future__ import annotations

import json
import shutil

import pytest

from core.api import open_run
from core.attribution.measured import Asked, read_splits, so_far
from core.attribution.mistakes import Kind
from core.cli import main
from core.foundation.vocabulary import SceneStanding
from core.runs.run_file import Run

QUICK = ("--filling", "mean", "--controls", "1")


@pytest.fixture(scope="module")
def place(tiny_run, tmp_path_factory):
    root = tmp_path_factory.mktemp("runs")
    shutil.copy(tiny_run.path, root)
    (root / tiny_run.arrays.name).symlink_to(tiny_run.arrays)
    facts = root / "facts.tsv"
    rows = [("thing 1", "attic"), ("thing 2", "barn"), ("piece 6", "cellar")]
    facts.write_text("".join(f"AtLocation\t{a}\t{b}\t1.0\n" for a, b in rows))
    return root, (tiny_run.digest, "--out", str(root), "--knowledge", f"triples:{facts}")


def say(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


@pytest.mark.slow
def test_verbs(place, capsys):
    root, given = place
    told = say(capsys, "reliance", *given, *QUICK, "--csv", str(root), "--latex", str(root))
    assert {row["standing"] for row in told["rows"]} <= set(map(str, SceneStanding))
    assert {row["scene"] for row in told["rows"]} <= {"attic", "barn", "cellar"}
    assert len(told["files"]) == 4 and (root / "shortcuts.tex").read_text().startswith("%")
    one = say(capsys, "reliance", *given, *QUICK, "--scene", "barn", "--margin", "rival")
    assert {row["scene"] for row in one["rows"]} == {"barn"}
    # The test split was kept: it is read again without the network.
    with Run(root / f"{told['run']}.duckdb") as run:
        asked = Asked(("mean",), 1, splits=("test",))
        assert so_far(run, asked) == (75, 75)
        assert len(read_splits(run, asked).images) == 75
        assert read_splits(run, Asked(("mean",), 2, splits=("test",))) is None
    with open_run(told["run"], root) as run:
        kept = run.effects(["test"], fillings=("mean",), controls=1)
        assert len(run.reliance(kept, "top10").rows) == len(told["rows"])
        assert len(run.mistakes(kept, "top10").errors) < 75

    told = say(capsys, "mistakes", *given, *QUICK)
    assert sum(row["errors"] for row in told["kinds"]) == len(told["mistakes"]) > 0
    assert {row["kind"] for row in told["mistakes"]} <= set(map(str, Kind))
    assert [one["labels"] for one in told["flips"]] == [75] * 3
    assert main(["mistakes", *given, *QUICK]) == 0
    assert "a right one leads by" in capsys.readouterr().out

    told = say(capsys, "failure", *given, *QUICK, "--split", "test")
    assert (told["fitted"], told["judged"], told["n"]) == ("train", "test", 75)
    assert all(0 <= row["auroc"] <= 1 for row in told["scores"])
    assert main(["failure", *given, *QUICK, "--fit", "test"]) == 2
    assert "this run has test, train" in capsys.readouterr().err
