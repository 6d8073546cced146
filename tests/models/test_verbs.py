"""The verbs models, layers and run --plan, on networks from files."""

from __future__ import annotations

import functools
import json
import re

import torch

from core import cli
from core.models.load import load_model
from tests import tiny


def told(capsys, *arguments: str) -> dict:
    assert cli.main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_what_is_left_out_is_said_by_layers_and_run(tmp_path, capsys, net):
    state = {f"net.{k}": v for k, v in net.state_dict().items()} | {"loss.weight": torch.ones(5)}
    stored = {"state_dict": state, "preprocessing": {"resize": [40, 40], "center_crop": None}}
    torch.save(stored, tmp_path / "w.pth")
    model = f"torchvision:squeezenet1_1:{tmp_path / 'w.pth'}"
    assert cli.main(["layers", "--model", model]) == 0
    assert "left out: loss.weight" in capsys.readouterr().out
    photos = tiny.write_folder(tmp_path / "photos", images=4)
    arguments = ["run", "--dataset", f"folder:{photos}", "--model", model, "--plan"]
    assert cli.main([*arguments, "--out", str(tmp_path / "runs")]) == 0
    assert "left out: loss.weight" in capsys.readouterr().err


def test_models_lists_names_and_families(capsys, timm):
    kinds = {row["kind"] for row in told(capsys, "models")["kinds"]}
    assert {"torchvision", "timm", "places365", "python", "rooms", "dictionary"} == kinds
    assert told(capsys, "models", "torchvision", "resnext")["names"] == [
        "resnext101_32x8d",
        "resnext101_64x4d",
        "resnext50_32x4d",
    ]
    assert "resnet18" in told(capsys, "models", "timm", "resnet_18")["names"]
    rows = told(capsys, "models", "families")["families"]
    assert {"torchvision", "timm"} == {row["package"] for row in rows}
    assert cli.main(["models", "timm", "zzzzzz"]) == 2
    assert "unknown timm model 'zzzzzz'" in capsys.readouterr().err
    assert cli.main(["models"]) == 0
    assert "places365:NAME:CHECKPOINT" in capsys.readouterr().out


def test_layers_of_a_deep_network_fit_a_screen(capsys, monkeypatch):
    monkeypatch.setattr("core.models.load.load_model", functools.cache(load_model))
    spec = "torchvision:densenet121:random"
    assert cli.main(["layers", "--model", spec]) == 0
    out = capsys.readouterr().out
    assert len(out.splitlines()) < 45 and "features " in out and "(default)" in out
    assert "more lie deeper" in out and "untrained" in out
    assert re.search(r"features\.denseblock4 .*\+ \d+ inside", out)
    assert cli.main(["layers", "--model", spec, "--under", "features.denseblock4"]) == 0
    part = capsys.readouterr().out
    assert "features.denseblock4.denselayer16" in part and "denseblock3" not in part
    assert cli.main(["layers", "--model", spec, "--all"]) == 0
    assert len(capsys.readouterr().out.splitlines()) > 400
    facts = told(capsys, "layers", "--model", spec)
    assert facts["default"] == "features" and len(facts["layers"]) > 400
    assert cli.main(["layers", "--model", spec, "--under", "features.denseblok4"]) == 2
    assert "nearest: features.denseblock4" in capsys.readouterr().err
