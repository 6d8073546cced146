"""The verb `truth`: methods are listed, the test is made, its tables are written."""

from __future__ import annotations

import json

import pandas as pd

from core.cli import main


def said(capsys, *arguments: str, status: int = 0):
    assert main([*arguments, "--json"]) == status
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_methods_are_held_against_the_truth(run, root, capsys, tmp_path):
    listed = said(capsys, "truth", "--list")["methods"]
    assert {"evidence", "measured", "area"} <= {one["method"] for one in listed}
    facts = said(
        capsys,
        "truth",
        "latest",
        "--out",
        str(root),
        "--methods",
        "area,evidence,occlusion-blur",
        "--photos",
        "3",
        "--by",
        "mean",
        "--csv",
        str(tmp_path),
        "--latex",
        str(tmp_path),
    )
    assert facts["by"] == "mean" and set(facts["tables"]) == {"wrong", "right"}
    rows = facts["tables"]["wrong"]["rows"]
    assert len(rows) == 4 and {"rank", "top", "target"} <= set(rows[0])
    frame = pd.read_csv(tmp_path / "truth-photos.csv")
    evidence = frame[(frame["method"] == "evidence") & (frame["answers"] == "wrong")]
    assert rows[1]["rank"]["value"] == evidence["rank"].mean()
    assert len(pd.read_csv(tmp_path / "truth-right.csv")) == 4
    assert "\\toprule" in (tmp_path / "truth-wrong.tex").read_text()
    assert (
        main(
            [
                "truth",
                "latest",
                "--out",
                str(root),
                "--methods",
                "area",
                "--photos",
                "3",
                "--by",
                "mean",
            ]
        )
        == 0
    )
    assert "area of the concept" in capsys.readouterr().out


def test_mistakes_are_said(run, root, capsys):
    for words, why in (
        (["truth"], "which run"),
        (["truth", "latest", "--out", str(root), "--methods", "evidense"], "nearest: evidence"),
        (["truth", "latest", "--out", str(root), "--by", "redrawn"], "cannot be drawn again"),
        (["truth", "latest", "--out", str(root), "--split", "tset"], "unknown split 'tset'"),
    ):
        assert why in said(capsys, *words, status=2)["error"]
