"""The verb dictionary: train, show, stability; then run."""

from __future__ import annotations

import json

import torch

from core.cli import main
from core.models.dictionary import Dictionary, Origin, write_dictionary
from tests import tiny


def said(capsys, *arguments: str) -> tuple[int, dict, str]:
    status = main([*arguments, "--json"])
    captured = capsys.readouterr()
    return status, json.loads(captured.out.splitlines()[-1]), captured.err


def test_train_show_stability_and_run(capsys, tiny_run, tmp_path):
    root = ["--out", str(tiny_run.path.parent)]
    small = ["--features", "16", "--k", "3", "--steps", "40", "--batch", "64", "--layer", "body.3"]
    files = [str(tmp_path / f"{seed}.pt") for seed in range(2)]
    for seed, file in enumerate(files):
        arguments = ["dictionary", "train", "latest", "--to", file, *small, *root]
        status, told, err = said(capsys, *arguments, "--seed", str(seed))
        assert status == 0 and told["features"] == 16 and "train 40/40 steps" in err
    assert told["model"] == f"dictionary:{files[1]}@{tiny.SPEC}"
    status, shown, _ = said(capsys, "dictionary", "show", files[1])
    assert status == 0 and shown == told
    assert main(["dictionary", "show", files[1]]) == 0
    out = capsys.readouterr().out
    for words in ("of the variance", "right, through the dictionary", "--model dictionary:"):
        assert words in out
    status, told, _ = said(capsys, "dictionary", "stability", *files)
    assert status == 0 and 0 < told["pairs"][0]["matched"] <= 1
    assert main(["dictionary", "stability", *files]) == 0
    assert "directions drawn alike" in capsys.readouterr().out
    dataset = ["--dataset", tiny_run.settings.dataset.spec, "--shuffles", "0", "--q", "0.05"]
    model = ["--model", f"dictionary:{files[0]}@{tiny.SPEC}"]
    status, told, _ = said(capsys, "run", *dataset, *model, "--out", str(tmp_path / "runs"))
    assert status == 0
    status, told, _ = said(capsys, "show", told["run"], "--out", str(tmp_path / "runs"))
    assert told["labels"]["layer"] == "dictionary.codes" and told["labels"]["units"] == 16


def test_mistakes_are_told_in_a_sentence(capsys, tiny_run, tmp_path):
    root = ["--out", str(tiny_run.path.parent), "--to", str(tmp_path / "d.pt")]
    for arguments, words in (
        (["train", "latest", "--k", "9", "--features", "4", *root], "of 4 features, 1 to 4"),
        (["train", "latest", "--layer", "body.2", *root], "unknown layer of this run"),
        (["train", "latest", "--split", "train", *root], "features learned from split 'train'"),
        (["show", str(tmp_path / "none.pt")], "does not exist"),
        (["stability", str(tmp_path / "none.pt")], "does not exist"),
        ([], "which? dictionary train"),
    ):
        assert main(["dictionary", *arguments]) == 2
        assert words in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_strangers_measures_are_shown_as_far_as_they_can_be(capsys, tmp_path):
    path = tmp_path / "d.pt"
    for measured in (
        {"explained": "much", "active": [1]},
        {"explained": [0.5, 0.4, 0.6], "active": [2.0, 2.0, 2.0], "splits": 3},
        {},
    ):
        parts = torch.eye(3), torch.zeros(3), torch.eye(3), torch.zeros(3)
        origin = Origin("ab" * 32, "layer4", training={"k": []}, measured=measured)
        write_dictionary(Dictionary(*parts, 1, origin=origin), path)
        assert main(["dictionary", "show", str(path)]) == 0
        out = capsys.readouterr().out
        assert "3 features of layer4 (3 units)" in out and "as a model" not in out
