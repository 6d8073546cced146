"""Networks and weights of timm, prepared and converted as timm does."""

from __future__ import annotations

import argparse
import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from core.foundation.errors import UnitscopeError
from core.models import timm_zoo as ours
from core.models.load import load_model
from core.models.said import Prepared, prepared
from tests.models.files import same


def said_in(config: dict) -> Prepared:
    return prepared({"pretrained_cfg": config}, Path("w.pt"))


def test_timm_prepares_photos_as_its_own_transform(timm):
    """Ours against timm's, on a photo, for both crop modes and both interpolations."""
    from PIL import Image

    rng = np.random.default_rng(0)
    small = Image.fromarray(rng.integers(0, 256, (30, 41, 3)).astype(np.uint8))
    photo = small.resize((410, 300), Image.Resampling.BICUBIC)
    data = importlib.import_module("timm.data")
    for name, config in [
        ("resnet18", {}),
        ("resnet18", {"crop_mode": "squash", "crop_pct": 1.0}),
        ("vit_tiny_patch16_224", {}),
        ("resnet18", {"interpolation": "bilinear", "crop_pct": 0.95, "mean": (0.5, 0.4, 0.3)}),
    ]:
        module = timm.create_model(name)
        way = ours._timm_preprocessing(module, said_in(config))
        facts = data.resolve_data_config(pretrained_cfg={**module.pretrained_cfg, **config})
        theirs = data.create_transform(**facts)(photo)
        mine = torch.from_numpy(way.normalise(np.asarray(way.view(photo))))
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    with pytest.raises(UnitscopeError, match="crop mode 'border'"):
        ours._timm_preprocessing(module, said_in({"crop_mode": "border"}))
    with pytest.raises(UnitscopeError, match="takes 1 colour channels"):
        ours._timm_preprocessing(module, said_in({"input_size": (1, 64, 64)}))


def test_timm_checkpoints_and_folders(tmp_path, timm):
    torch.manual_seed(0)
    net = timm.create_model("resnet18", num_classes=4).eval()
    trained = {
        "arch": "resnet18",
        "state_dict": net.state_dict(),
        "epoch": 2,
        "version": 2,
        "args": argparse.Namespace(lr=0.1),
        "metric": 71.0,
    }
    torch.save(trained, tmp_path / "last.pth.tar")
    model = load_model(f"timm:resnet18:{tmp_path / 'last.pth.tar'}")
    same(model.module, net)
    assert model.notes["metric"] == 71.0 and timm.__version__ in model.source
    # A folder as the hub keeps them.
    folder = tmp_path / "hub"
    folder.mkdir()
    config = {
        "architecture": "resnet18",
        "num_classes": 4,
        "label_names": list("wxyz"),
        "pretrained_cfg": {"input_size": [3, 160, 160], "crop_pct": 1.0, "mean": [0.5] * 3},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnitscopeError, match=r"neither model\.safetensors"):
        load_model(f"timm:resnet18:{folder}")
    pytest.importorskip("safetensors.torch").save_file(
        net.state_dict(), folder / "model.safetensors"
    )
    model = load_model(f"timm:resnet18:{folder}")
    same(model.module, net)
    assert model.classes == list("wxyz") and model.preprocessing.input_size() == (160, 160)
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    with pytest.raises(UnitscopeError, match="says that it is a resnet18, the SPEC says resnet34"):
        load_model(f"timm:resnet34:{folder}")


def test_timms_weights_are_looked_for_in_its_cache_and_never_fetched(tmp_path, timm, monkeypatch):
    hub = importlib.import_module("huggingface_hub")
    net = timm.create_model("resnet10t").eval()
    asked = []

    def cached(repo: str, file: str, **_):
        asked.append((repo, file))
        return str(tmp_path / file) if (tmp_path / file).is_file() else None

    monkeypatch.setattr(hub, "try_to_load_from_cache", cached)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UnitscopeError) as told:
        load_model("timm:resnet10t")
    assert "nothing is downloaded here" in str(told.value)
    assert "timm/resnet10t.c3_in1k" in str(told.value) and "timm:resnet10t:random" in str(
        told.value
    )
    torch.save(net.state_dict(), tmp_path / "pytorch_model.bin")
    same(load_model("timm:resnet10t.c3_in1k").module, net)
    assert ("timm/resnet10t.c3_in1k", "model.safetensors") in asked


def test_names_and_tags_of_timm_are_helped_with(timm):
    with pytest.raises(UnitscopeError, match="unknown timm model 'resnet_18'; nearest: resnet18"):
        load_model("timm:resnet_18")
    with pytest.raises(UnitscopeError, match="tag of timm's resnet18 'a1_in1'; nearest: a1_in1k"):
        load_model("timm:resnet18.a1_in1:random")


def test_foreign_names_are_converted_by_timm(tmp_path, timm):
    """Swin as its authors publish it: `head` for `head.fc`, stages' downsampling one earlier,
    masks and position tables among the weights."""
    torch.manual_seed(0)
    name = "swin_tiny_patch4_window7_224"
    net = timm.create_model(name, num_classes=6).eval()
    state = {}
    for key, value in net.state_dict().items():
        key = key.replace("head.fc.", "head.")
        moved = re.sub(
            r"layers\.(\d)\.downsample", lambda m: f"layers.{int(m[1]) - 1}.downsample", key
        )
        state[moved] = value
    state["layers.0.blocks.1.attn_mask"] = torch.zeros(64, 49, 49)
    state["layers.0.blocks.0.attn.relative_position_index"] = torch.zeros(49, 49)
    torch.save({"model": state}, tmp_path / "w.pth")
    model = load_model(f"timm:{name}:{tmp_path / 'w.pth'}")
    same(model.module, net)
    assert "state_dict" not in model.module.pretrained_cfg


def test_positions_of_another_size_are_told_not_stretched(tmp_path, timm):
    net = timm.create_model("vit_tiny_patch16_224", img_size=96, num_classes=3)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UnitscopeError) as told:
        load_model(f"timm:vit_tiny_patch16_224:{tmp_path / 'w.pth'}")
    assert "pos_embed: file (1, 37, 192), network (1, 197, 192)" in str(told.value)


@pytest.mark.parametrize(
    ("name", "trained", "differs"),
    [
        (
            "swin_tiny_patch4_window7_224",
            {"img_size": 384, "window_size": 12},
            "relative_position_bias_table: file (529, 3), network (169, 3)",
        ),
        (
            "vit_tiny_patch16_224",
            {"img_size": 448, "patch_size": 32},
            "patch_embed.proj.weight: file (192, 3, 32, 32), network (192, 3, 16, 16)",
        ),
    ],
)
def test_windows_and_patches_of_another_size_are_told_not_stretched(
    tmp_path, timm, name, trained, differs
):
    net = timm.create_model(name, num_classes=3, **trained)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UnitscopeError) as told:
        load_model(f"timm:{name}:{tmp_path / 'w.pth'}")
    assert differs in str(told.value)


def test_what_conversion_stretches_under_other_names_is_told_too():
    class Embedded(nn.Module):
        def __init__(self, values):
            super().__init__()
            self.pos_embed = nn.Parameter(values)

    values = torch.arange(12.0).reshape(1, 4, 3)
    ours._not_stretched(Embedded(values), {"positional_embedding": values[0]}, "it")
    for stretched in (torch.ones(1, 9, 3), values + 1):
        with pytest.raises(UnitscopeError, match=r"it does not fit.*stretch its pos_embed"):
            ours._not_stretched(Embedded(stretched), {"positional_embedding": values[0]}, "it")


def test_a_crop_of_ones_own_takes_the_place_of_an_impossible_one(tmp_path, timm, monkeypatch):
    net = timm.create_model("resnet10t", num_classes=3)
    folder = tmp_path / "hub"
    folder.mkdir()
    torch.save(net.state_dict(), folder / "pytorch_model.bin")
    config = {"architecture": "resnet10t", "pretrained_cfg": {"crop_mode": "border"}}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnitscopeError, match="resize and center_crop beside the checkpoint"):
        load_model(f"timm:resnet10t:{folder}")
    beside = folder / "pytorch_model.unitscope.json"
    beside.write_text(json.dumps({"preprocessing": {"resize": 72, "center_crop": 64}}))
    assert load_model(f"timm:resnet10t:{folder}").preprocessing.input_size() == (64, 64)
    (folder / "config.json").write_text("[]")
    with pytest.raises(UnitscopeError, match="an object is meant"):
        load_model(f"timm:resnet10t:{folder}")


def test_timm_weights_that_do_not_fit_are_told(tmp_path, timm):
    net = timm.create_model("resnet34", num_classes=3)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UnitscopeError, match=r"file also has layer1.2.conv1.weight.*resnet34"):
        load_model(f"timm:resnet18:{tmp_path / 'w.pth'}")
