"""The verbs embed, cluster and tables 5."""

from __future__ import annotations

import json

from core.cli import main


def said(capsys, *arguments):
    status = main([*arguments, "--json"])
    captured = capsys.readouterr()
    return status, json.loads(captured.out.splitlines()[-1]), captured.err


def test_embed_cluster_and_tables_on_the_command_line(tiny_run, facts, tmp_path, capsys):
    root = ["--out", str(tiny_run.path.parent), "--knowledge", facts]
    few = ["--epochs", "2", "--dim", "8"]
    status, told, err = said(capsys, "embed", "latest", "--model", "distmult", *few, *root)
    assert status == 0 and told["embeddings"][0]["epochs"] == 2 and "entities" in err
    assert told["sizes"]["aligned"] == 6
    status, told, _ = said(capsys, "embed", "latest", "--model", "distmult", *few, *root)
    assert status == 0 and told["embeddings"][0]["seconds"] is None
    links = tmp_path / "links.tsv"
    links.write_text("merge\tthing 1\tpiece 8\nkeep_apart\tthing 2\tthing 1\n")
    arguments = ["cluster", "latest", "--k", "3", "--links", str(links), *root]
    status, told, _ = said(capsys, *arguments, "--embedding", "words")
    assert status == 0 and len(told["groups"]) == 3
    of = {c: g["representative"] for g in told["groups"] for c in g["members"]}
    assert of["thing 1"] == of["piece 8"] != of["thing 2"]
    made = tmp_path / "made.csv"
    status, again, _ = said(
        capsys,
        "cluster",
        "latest",
        "--k",
        "3",
        "--scene",
        "attic",
        "--embedding",
        "words",
        "--method",
        "kmeans",
        "--write",
        str(made),
        *root,
    )
    assert status == 0 and again["scene"] == "attic"
    status, back, _ = said(
        capsys, "cluster", "latest", "--k", "3", "--links", str(made), "--embedding", "words", *root
    )
    held = [sorted(g["members"]) for g in again["groups"]]
    assert sorted(held) == sorted(sorted(g["members"]) for g in back["groups"])
    tables = ["tables", "latest", "--layer", "body.3", "--embedding", "words", *root]
    for number, columns in ((2, ("CM_FP", "DM_FP", "SM_FP")), (3, ("CM_TP", "SM_TFP"))):
        status, told, _ = said(capsys, *tables, "--table", str(number), "--k", "4")
        assert status == 0 and len(told["rows"]) == 9
        plain, filtered, drawn = told["rows"][:3]
        assert (plain["concepts"], drawn["concepts"]) == ("unfiltered", "random groups")
        assert "k" not in filtered and all(c in filtered for c in columns)
    status, told, _ = said(
        capsys,
        *tables,
        "--table",
        "5",
        "--k",
        "2-5",
        "--csv",
        str(tmp_path),
        "--latex",
        str(tmp_path),
    )
    assert status == 0 and [r["nb_groups"] for r in told["rows"]] == [2, 3, 4, 5]
    head = (tmp_path / "table_5.csv").read_text().splitlines()[0]
    published = "nb_groups,true_victory,true_defeat,ratio_victory,ratio_iou,Embeddings"
    assert head.startswith(published + ",")
    assert "words \\\\" in (tmp_path / "table_5.tex").read_text()
    assert main([*tables, "--table", "5", "--k", "2-5"]) == 0
    assert "beyond random" in capsys.readouterr().out
    for wrong, message in (
        (["--table", "2", "--k", "99"], "k lies in 1 … 7"),
        (["--table", "5", "--k", "x"], "is no list of numbers"),
        (["--table", "2", "--k", "2-3"], "one number of groups"),
    ):
        status, told, _ = said(capsys, *tables, *wrong)
        assert status == 2 and message in told["error"]
