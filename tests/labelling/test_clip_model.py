"""``open_clip:MODEL:FILE`` with a small network of open_clip's own parts, weights from a seed."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from core.foundation.errors import UnitscopeError
from core.labelling.clip_dissect import by_similarity
from core.labelling.encoders import load_encoder
from core.labelling.probe import open_probe

open_clip = pytest.importorskip(
    "open_clip", reason="the optional package open_clip_torch is not installed (make optional)"
)

NAME = "tiny-of-the-tests"
CONFIG = {
    "embed_dim": 16,
    "vision_cfg": {
        "image_size": 32,
        "layers": 2,
        "width": 32,
        "head_width": 16,
        "patch_size": 8,
    },
    "text_cfg": {
        "context_length": 77,
        "vocab_size": 49408,
        "width": 16,
        "heads": 2,
        "layers": 1,
    },
}


@pytest.fixture(scope="module")
def weights(tmp_path_factory) -> Path:
    """A state dict as open_clip's training saves it, and the architecture made known to it."""
    folder = tmp_path_factory.mktemp("clip")
    (folder / f"{NAME}.json").write_text(json.dumps(CONFIG))
    open_clip.add_model_config(folder / f"{NAME}.json")
    torch.manual_seed(0)
    module = open_clip.create_model(NAME, pretrained=None)
    path = folder / "weights.pt"
    state = {f"module.{key}": value for key, value in module.state_dict().items()}
    torch.save({"epoch": 3, "state_dict": state}, path)
    return path


@pytest.fixture(scope="module")
def encoder(weights):
    return load_encoder(f"open_clip:{NAME}:{weights}")


def test_features_are_those_of_the_package(encoder, weights, tiny_run):
    """Beside the package's own way, from its loading of the file on."""
    module, _, prepare = open_clip.create_model_and_transforms(NAME, pretrained=str(weights))
    module.eval()
    photos = [
        Image.fromarray(np.random.default_rng(k).integers(0, 256, (40, 50, 3), np.uint8))
        for k in range(3)
    ]
    words = ["a bed", "wall"]
    with torch.inference_mode():
        images = module.encode_image(torch.stack([prepare(photo) for photo in photos])).numpy()
        texts = module.encode_text(open_clip.get_tokenizer(NAME)(words)).numpy()
    np.testing.assert_allclose(encoder.encode_photos(photos), images, atol=1e-6)
    np.testing.assert_allclose(encoder.encode_words(words), texts, atol=1e-6)
    assert encoder.note == "" and encoder.name == f"{NAME} (weights.pt)"
    one = encoder.encode_photos(photos[1:2])[0]
    np.testing.assert_allclose(one, images[1], atol=1e-5)


def test_units_are_labelled_with_it(encoder, tiny_run):
    probe = open_probe(tiny_run, "body.3")
    frame = by_similarity(probe, "softwpmi", encoder)
    known = set(probe.concepts["name"])
    assert len(frame) and set(frame["label"]) <= known and set(frame["second"]) <= known
    assert (frame["score"] >= frame["second_score"]).all()
    again = by_similarity(probe, "softwpmi", encoder.spec)
    assert again.equals(frame)


def test_other_weights_are_another_encoder(encoder, weights):
    other = weights.with_name("other.pt")
    state = torch.load(weights, weights_only=True)["state_dict"]
    state["module.logit_scale"] = state["module.logit_scale"] + 1
    torch.save(state, other)
    assert load_encoder(f"open_clip:{NAME}:{other}").digest() != encoder.digest()
    assert load_encoder(encoder.spec).digest() == encoder.digest()


def test_mistakes_are_told(weights, tmp_path):
    with pytest.raises(UnitscopeError, match=r"unknown model of open_clip 'ViT-B-61'; nearest"):
        load_encoder(f"open_clip:ViT-B-61:{weights}")
    for spec in ("open_clip", f"open_clip:{NAME}", "open_clip:"):
        with pytest.raises(UnitscopeError, match="open_clip:MODEL:FILE"):
            load_encoder(spec)
    with pytest.raises(UnitscopeError, match="does not exist"):
        load_encoder(f"open_clip:{NAME}:{tmp_path / 'nothing.pt'}")
    with pytest.raises(UnitscopeError, match="nothing is downloaded here"):
        load_encoder(f"open_clip:ViT-B-16-SigLIP:{weights}")
    torch.save({"visual.conv1.weight": torch.zeros(32, 3, 8, 8)}, tmp_path / "few.pt")
    with pytest.raises(UnitscopeError, match="does not fit this network"):
        load_encoder(f"open_clip:{NAME}:{tmp_path / 'few.pt'}")


def test_a_file_that_would_run_code_is_not_opened(tmp_path):
    torch.save({"state_dict": {"x": torch.zeros(1)}, "extra": Path}, tmp_path / "code.pt")
    with pytest.raises(UnitscopeError, match="cannot be read safely"):
        load_encoder(f"open_clip:RN50:{tmp_path / 'code.pt'}")


def test_features_that_are_no_numbers_are_refused(weights, tmp_path):
    state = torch.load(weights, weights_only=True)["state_dict"]
    state["module.visual.proj"] = torch.full_like(state["module.visual.proj"], torch.inf)
    torch.save(state, tmp_path / "broken.pt")
    broken = load_encoder(f"open_clip:{NAME}:{tmp_path / 'broken.pt'}")
    with pytest.raises(UnitscopeError, match="features that are no finite numbers"):
        broken.encode_photos([Image.new("RGB", (32, 32), "red")])
