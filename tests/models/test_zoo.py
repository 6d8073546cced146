"""Networks of torchvision, with published weights and without."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models as zoo

from core.foundation.errors import UnitscopeError
from core.models import zoo as ours
from core.models.load import load_model
from tests.models.files import same


@pytest.mark.parametrize("name", ["mnasnet0_5", "mnasnet1_3"])
def test_mnasnet_asks_for_the_version_of_its_layout(tmp_path, name):
    net = zoo.get_model(name, weights=None, num_classes=4)
    torch.save({k: v.half() for k, v in net.state_dict().items()}, tmp_path / "w.pth")
    same(load_model(f"torchvision:{name}:{tmp_path / 'w.pth'}").module, net, atol=1e-2)


@pytest.mark.parametrize("name", ["googlenet", "inception_v3"])
def test_auxiliary_classifiers_are_left_out_and_told(tmp_path, name):
    net = zoo.get_model(name, weights=None, num_classes=4, init_weights=False)
    path = tmp_path / "w.pth"
    torch.save(net.state_dict(), path)
    model = load_model(f"torchvision:{name}:{path}")
    assert "auxiliary" in model.notes
    assert not [k for k in model.module.state_dict() if "aux" in k.lower()]
    torch.save(model.module.state_dict(), path)
    again = load_model(f"torchvision:{name}:{path}")
    assert "auxiliary" not in again.notes and again.digest() == model.digest()


def published(monkeypatch, folder: Path, name: str, weights: str, net: nn.Module) -> Path:
    """Lay a network in torch's cache as torchvision would after a download."""
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(folder))
    path = folder / "checkpoints" / Path(zoo.get_model_weights(name)[weights].url).name
    path.parent.mkdir(exist_ok=True)
    torch.save(net.state_dict(), path)
    return path


def test_published_weights_are_taken_from_the_cache_whichever_are_there(tmp_path, monkeypatch):
    net = zoo.squeezenet1_1()
    published(monkeypatch, tmp_path, "squeezenet1_1", "IMAGENET1K_V1", net)
    model = load_model("torchvision:squeezenet1_1")
    same(model.module, net)
    assert model.classes[0] == "tench" and "IMAGENET1K_V1" in model.notes["weights"]
    net = zoo.mobilenet_v2()
    published(monkeypatch, tmp_path, "mobilenet_v2", "IMAGENET1K_V1", net)
    model = load_model("torchvision:mobilenet_v2")
    # Version 2, the default, is resized to 232; these are version 1.
    assert model.preprocessing.resize == 256 and "IMAGENET1K_V1" in model.notes["weights"]


def test_a_published_file_elsewhere_is_known_by_its_hash(tmp_path, monkeypatch):
    import hashlib

    net = zoo.squeezenet1_1()
    name = Path(zoo.SqueezeNet1_1_Weights.IMAGENET1K_V1.url).name
    path = tmp_path / name
    torch.save(net.state_dict(), path)
    assert load_model(f"torchvision:squeezenet1_1:{path}").classes == []
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    entry = zoo.SqueezeNet1_1_Weights.IMAGENET1K_V1
    real = entry.url
    told = re.sub(r"-[0-9a-f]+\.pth", f"-{digest[:8]}.pth", real)
    object.__setattr__(entry.value, "url", told)
    try:
        path.rename(tmp_path / Path(told).name)
        model = load_model(f"torchvision:squeezenet1_1:{tmp_path / Path(told).name}")
        assert model.classes[0] == "tench"
    finally:
        object.__setattr__(entry.value, "url", real)


def test_published_googlenet_sees_photos_as_it_was_trained(tmp_path, monkeypatch):
    """torchvision turns the normalisation inside the network; ours does it beforehand."""
    net = zoo.googlenet(init_weights=False).eval()
    published(monkeypatch, tmp_path, "googlenet", "IMAGENET1K_V1", net)
    model = load_model("torchvision:googlenet")
    net.transform_input = True
    photo = np.random.default_rng(0).integers(0, 256, (64, 64, 3)).astype(np.uint8)
    from core.foundation.geometry import Preprocessing

    usual = torch.from_numpy(Preprocessing().normalise(photo))[None]
    own = torch.from_numpy(model.preprocessing.normalise(photo))[None]
    with torch.inference_mode():
        torch.testing.assert_close(model.module(own), net(usual), rtol=1e-4, atol=1e-5)
    # Trained by the user on ImageNet's normalisation, as torchvision's code does by itself.
    torch.save(net.state_dict(), tmp_path / "own.pth")
    own_way = load_model(f"torchvision:googlenet:{tmp_path / 'own.pth'}").preprocessing
    assert own_way.mean == Preprocessing.mean


def test_a_transformer_trained_at_another_size(tmp_path):
    net = zoo.vit_b_32(image_size=96, num_classes=3)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    model = load_model(f"torchvision:vit_b_32:{tmp_path / 'w.pth'}")
    assert model.preprocessing.input_size() == (96, 96)
    assert model.layers()[0].height == 3
    torch.save({"state_dict": net.state_dict(), "center_crop": 64}, tmp_path / "w.pth")
    model = load_model(f"torchvision:vit_b_32:{tmp_path / 'w.pth'}")
    with pytest.raises(UnitscopeError, match=r"RGB of 64×64 pixels: Wrong image height"):
        model.layers()


def test_an_untrained_transformer_gets_photos_of_its_size(monkeypatch):
    """torchvision's recommended weights of ViT-H/14 are for 518 pixels, its network for 224."""

    def small(name, **options):
        return zoo.VisionTransformer(224, 14, num_layers=2, num_heads=1, hidden_dim=8, mlp_dim=8)

    assert zoo.get_model_weights("vit_h_14")["DEFAULT"].transforms().crop_size == [518]
    monkeypatch.setattr(ours, "build", small)
    model = load_model("torchvision:vit_h_14:random")
    assert model.preprocessing.input_size() == (224, 224)
    assert model.layers()[0].height == 16


def test_random_weights_are_the_same_each_time_and_say_something(tmp_path):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again = (load_model("torchvision:vit_b_32:random") for _ in range(2))
    assert first.digest() == again.digest() and first.module.heads.head.weight.any()
    assert torch.equal(torch.random.get_rng_state(), before)
