"""The recipe for Hugging Face's folders in docs/models.md."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from core.models.load import load_model


def tiny_transformer(kind: str, side: int):
    library = pytest.importorskip("transformers")
    common = {
        "num_labels": 3,
        "id2label": {0: "a", 1: "b", 2: "c"},
        "label2id": dict(a=0, b=1, c=2),
    }
    if kind == "vit":
        config = library.ViTConfig(
            hidden_size=16,
            num_hidden_layers=3,
            num_attention_heads=2,
            intermediate_size=16,
            image_size=side,
            patch_size=8,
            **common,
        )
        return library.ViTForImageClassification(config)
    if kind == "swin":
        config = library.SwinConfig(
            image_size=side,
            patch_size=4,
            embed_dim=8,
            depths=[1, 1],
            num_heads=[1, 2],
            window_size=4,
            **common,
        )
        return library.SwinForImageClassification(config)
    sizes = {"hidden_sizes": [8, 12, 16, 20], "depths": [1, 1, 1, 1], **common}
    if kind == "resnet":
        return library.ResNetForImageClassification(
            library.ResNetConfig(embedding_size=8, layer_type="basic", **sizes)
        )
    return library.ConvNextForImageClassification(library.ConvNextConfig(**sizes))


@pytest.mark.parametrize(
    ("kind", "processor", "settings"),
    [
        ("convnext", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 64}}),
        ("convnext", "ConvNextImageProcessorPil", {"size": {"shortest_edge": 384}, "resample": 2}),
        (
            "resnet",
            "ConvNextImageProcessorPil",
            {"size": {"shortest_edge": 64}, "crop_pct": 0.8, "image_mean": [0.1, 0.2, 0.3]},
        ),
        ("vit", "ViTImageProcessorPil", {"size": {"height": 48, "width": 48}}),
        (
            "swin",
            "ViTImageProcessorPil",
            {"size": {"height": 64, "width": 64}, "resample": 3, "image_std": [0.2, 0.3, 0.4]},
        ),
        (
            "resnet",
            "CLIPImageProcessorPil",
            {"size": {"shortest_edge": 70}, "crop_size": {"height": 64, "width": 64}},
        ),
    ],
)
def test_the_recipe_for_hugging_faces_folders(tmp_path, monkeypatch, kind, processor, settings):
    from PIL import Image

    from core.models.forward import Forward

    library = pytest.importorskip("transformers")
    docs = (Path(__file__).parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    (recipe,) = re.findall(r"```python\n(# my_network\.py.*?)```", docs, re.DOTALL)
    (tmp_path / "my_network.py").write_text(recipe)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_network", raising=False)
    torch.manual_seed(0)
    net = tiny_transformer(kind, settings["size"].get("height", 64)).eval()
    theirs = getattr(library, processor)(**settings)
    net.save_pretrained(tmp_path / "hf")
    theirs.save_pretrained(tmp_path / "hf")
    model = load_model(f"python:my_network:load:{tmp_path / 'hf'}")
    assert model.classes == list("abc")
    rng = np.random.default_rng(0)
    for size in ((128, 96), (90, 150)):
        photo = Image.fromarray(rng.integers(0, 256, (size[1], size[0], 3)).astype(np.uint8))
        pixels = theirs(photo, return_tensors="pt")["pixel_values"]
        seen = np.array(model.preprocessing.view(photo))
        mine = torch.from_numpy(model.preprocessing.normalise(seen))[None]
        torch.testing.assert_close(mine, pixels, rtol=0, atol=1e-5)
        with torch.inference_mode():
            wanted = net(pixels).logits.numpy()
        passed = Forward(model, [model.default_layer])(seen[None])
        np.testing.assert_allclose(passed.logits, wanted, atol=1e-4)
        assert passed.layers[model.default_layer].maps.ndim == 4
