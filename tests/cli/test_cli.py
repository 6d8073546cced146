"""The command line's contract: verbs, JSON on the last line, mistakes told in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from core.cli import main
from core.foundation import jobs
from core.foundation.errors import UnitscopeError


def said(capsys, *arguments: str) -> tuple[int, dict, str]:
    status = main([*arguments, "--json"])
    captured = capsys.readouterr()
    return status, json.loads(captured.out.splitlines()[-1]), captured.err


def test_kinds_are_listed(capsys):
    for verb, expected in (("datasets", "folder:DIR"), ("models", "rooms[:NAME]")):
        status, told, _ = said(capsys, verb)
        assert status == 0 and expected in [row["form"] for row in told["kinds"]]
        assert main([verb]) == 0 and expected in capsys.readouterr().out


def test_layers_of_the_embedded_network(capsys):
    status, told, _ = said(capsys, "layers", "--model", "rooms")
    layers = {row["name"]: row for row in told["layers"]}
    assert status == 0 and told["default"] == "layer4"
    assert (layers["layer4"]["units"], layers["layer4"]["height"]) == (192, 8)


def test_run_show_and_runs(capsys, tiny_run):
    root = str(tiny_run.path.parent)
    status, told, _ = said(capsys, "show", tiny_run.digest[:8], "--out", root)
    assert status == 0 and told["run"] == tiny_run.digest
    assert told["labels"]["layer"] == "body.3" and told["labels"]["units"] == 12
    ious = [row["iou"] for row in told["labels"]["top"]]
    assert ious == sorted(ious, reverse=True)
    status, told, _ = said(capsys, "show", "latest", "--layer", "body.1", "--out", root)
    assert told["labels"]["units"] == 8
    status, told, _ = said(capsys, "runs", "--out", root)
    assert [row["run"] for row in told["runs"]] == [tiny_run.digest]
    settings = tiny_run.info["settings"]
    arguments = [
        "run",
        "--dataset",
        settings["dataset"]["spec"],
        "--model",
        settings["model"]["spec"],
        "--layer",
        "body.1",
        "--layer",
        "body.3",
        "--q",
        "0.05",
        "--shuffles",
        "3",
        "--out",
        root,
        "--map-type",
        settings["map_type"],
    ]
    status, told, err = said(capsys, *arguments)
    assert status == 0 and told["run"] == tiny_run.digest and told["skipped"] == 0
    assert "150 images" in err and "MB" in err  # sizes are announced
    status, told, _ = said(capsys, *arguments, "--q", "0.01", "--plan")
    assert status == 0 and told["run"] != tiny_run.digest and told["images"] == 150
    assert not list(Path(root).glob("*.partial"))


def test_predictions_are_shown_like_any_run(capsys, tmp_path):
    table = tmp_path / "p.csv"
    table.write_text("pred,target\nden-s,den-s\nden-s,attic-s\n")
    status, told, _ = said(capsys, "predictions", str(table), "--out", str(tmp_path / "runs"))
    assert status == 0 and (told["right"], told["scored"]) == (1, 2)
    status, told, _ = said(capsys, "show", "latest", "--out", str(tmp_path / "runs"))
    assert status == 0 and told["accuracy"]["right"] == 1
    assert main(["runs", "--out", str(tmp_path / "runs")]) == 0
    status, told, _ = said(capsys, "tables", "latest", "--out", str(tmp_path / "runs"))
    assert status == 2 and "no layers" in told["error"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["show", "zzzz"], "is no run under"),
        (["layers", "--model", "torchvision:resnet17"], "nearest: resnet18"),
        (["run", "--dataset", "nyuv3:x", "--model", "rooms"], "nearest: nyuv2"),
        (["run", "--dataset", "folder:/no/such/place", "--model", "rooms"], "/no/such/place"),
    ],
)
def test_mistakes_are_one_line_and_status_2(capsys, tmp_path, arguments, message):
    if arguments[0] in ("show", "run"):
        arguments = [*arguments, "--out", str(tmp_path)]
    status, told, err = said(capsys, *arguments)
    assert status == 2 and message in told["error"] and message in err
    assert "Traceback" not in err


def test_a_stranger_gets_help(capsys):
    with pytest.raises(SystemExit) as stop:
        main(["--help"])
    assert stop.value.code == 0 and "Dissect a network" in capsys.readouterr().out


def test_the_home_of_nobody_is_a_mistake_of_every_verb(capsys, tmp_path):
    for asked in (
        ["run", "--dataset", "folder:~~~/photos", "--model", "rooms"],
        ["run", "--dataset", "rooms", "--model", "torchvision:resnet18:~~~/weights.pt"],
        ["run", "--dataset", "rooms", "--model", "rooms", "--knowledge", "triples:~~~"],
    ):
        status, told, _ = said(capsys, *asked, "--out", str(tmp_path))
        assert status == 2 and "is the home folder of nobody" in told["error"], told


def test_the_character_nul_is_a_mistake_of_every_verb(capsys, tmp_path):
    """Forms of the app hand on what an address says; files and processes raise ValueError."""
    for verb in (["predictions", "\0"], ["show", "a\0b"], ["run", "--dataset", "folder:\0"]):
        more = ["--model", "rooms"] if verb[0] == "run" else []
        status, told, _ = said(capsys, *verb, *more, "--out", str(tmp_path))
        assert status == 2 and "holds the character NUL" in told["error"], verb
    with pytest.raises(UnitscopeError, match="NUL"):
        jobs.start("a", ["runs", "\0"], tmp_path)
    assert not list(tmp_path.iterdir())
