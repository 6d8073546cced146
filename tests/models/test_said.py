"""What a file says of itself: architecture, preprocessing, classes."""

from __future__ import annotations

import argparse
import importlib
import json

import numpy as np
import pytest
from torchvision import models as zoo

from core.foundation.errors import UnitscopeError
from core.models import packages
from core.models.load import load_model
from tests.models.files import opened, same


@pytest.mark.parametrize(
    "facts",
    [
        {"arch": "wideresnet18"},
        {"arch": "resnet34"},
        {"args": {"model": "resnet50"}},
        {"hyper_parameters": {"backbone": "tf_efficientnet_lite0"}},
    ],
)
def test_another_architecture_than_the_file_says_is_refused(tmp_path, small, facts):
    path = tmp_path / "w.pt"
    with pytest.raises(UnitscopeError, match=r"says that it is a .*, the SPEC says resnet18"):
        opened(path, small.state_dict(), **facts)
    (tmp_path / "w.unitscope.json").write_text('{"arch": "resnet18"}')
    same(load_model(f"torchvision:resnet18:{path}").module, small)


def test_the_prefix_of_timms_names_is_significant(tmp_path, timm):
    state = timm.create_model("tf_efficientnet_lite0", num_classes=3).state_dict()
    with pytest.raises(UnitscopeError, match="Give it as timm:tf_efficientnet_lite0:"):
        opened(tmp_path / "w.pt", state, "timm:efficientnet_lite0", arch="tf_efficientnet_lite0")


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "ResNet-18",
        "resnet18.a1_in1k",
        "timm/resnet18.a1_in1k",
        "ResNet",
        "resnet",
        "torchvision.models.resnet18",
        "gluon_resnet18_v1b",
    ],
)
def test_the_same_architecture_by_other_names_is_no_other(tmp_path, small, name, timm):
    model = opened(tmp_path / "w.pt", small.state_dict(), arch=name)
    assert "calls itself" not in model.notes


def test_a_name_of_nobodys_is_told(tmp_path, small):
    model = opened(tmp_path / "w.pt", small.state_dict(), hyper_parameters={"model": "exp42"})
    assert "'exp42' (hyper_parameters.model): not compared" in model.notes["calls itself"]


def test_names_are_compared_without_taking_two_for_one(timm):
    for names in (packages.torchvision_names(), packages.timm_names()):
        assert len({packages._folded(name) for name in names}) == len(names)


def test_preprocessing_of_timms_training_is_used_as_timm_uses_it(tmp_path, timm):
    data = importlib.import_module("timm.data")
    net = timm.create_model("resnet10t", num_classes=3)
    args = {
        "model": "resnet10t",
        "mean": [0.1, 0.2, 0.3],
        "std": [0.5],
        "img_size": 160,
        "input_size": None,
        "crop_pct": 0.9,
        "crop_mode": None,
        "interpolation": "bilinear",
        "train_interpolation": "random",
        "num_classes": 3,
    }
    path = tmp_path / "w.pth.tar"
    model = opened(
        path, net.state_dict(), "timm:resnet10t", arch="resnet10t", args=argparse.Namespace(**args)
    )
    theirs = data.resolve_data_config({k: v for k, v in args.items() if v}, model=net)
    way = model.preprocessing
    assert way.resize == int(160 / 0.9) and way.input_size() == theirs["input_size"][1:]
    assert way.mean == theirs["mean"] and way.std == theirs["std"]
    assert way.interpolation == theirs["interpolation"] == "bilinear"
    assert "size 160 (args.img_size)" in model.notes["preprocessing"]


@pytest.mark.parametrize(
    ("facts", "expected"),
    [
        ({"args": {"val_resize_size": 232, "val_crop_size": 200}}, (232, 200)),
        ({"hyper_parameters": {"img_size": 160}}, (182, 160)),
        ({"config": {"image_size": [96, 96], "resize": 128}}, (128, 96)),
        (
            {"config": {"input_size": [3, 64, 64], "crop_pct": 1, "crop_mode": "squash"}},
            ((64, 64), 64),
        ),
    ],
)
def test_preprocessing_one_level_down(tmp_path, small, facts, expected):
    model = opened(tmp_path / "w.pt", small.state_dict(), **facts)
    assert (model.preprocessing.resize, model.preprocessing.center_crop) == expected
    assert next(iter(facts)) in model.notes["preprocessing"]


def test_what_disagrees_or_has_two_readings_is_asked_about(tmp_path, small):
    path, beside = tmp_path / "w.pt", tmp_path / "w.unitscope.json"
    state = small.state_dict()
    for facts, told, answer in [
        (
            {"mean": [0.5, 0.5, 0.5], "args": {"mean": [0.4, 0.4, 0.4]}},
            r"mean is 0.5, 0.5, 0.5 \(mean\) and 0.4, 0.4, 0.4 \(args.mean\)",
            {"mean": [0.4, 0.4, 0.4]},
        ),
        (
            {"args": {"img_size": 160}, "config": {"input_size": [3, 96, 96]}},
            "size is 160",
            {"resize": 110, "center_crop": 96},
        ),
        (
            {"args": {"img_size": [96, 128]}},
            "whether the width is 128",
            {"resize": [128, 96], "center_crop": [128, 96]},
        ),
        (
            {"args": {"interpolation": "nearest"}},
            "bilinear and bicubic exist",
            {"interpolation": "bicubic"},
        ),
    ]:
        beside.unlink(missing_ok=True)
        with pytest.raises(UnitscopeError, match=told):
            opened(path, state, **facts)
        beside.write_text(json.dumps({"preprocessing": answer}))
        way = load_model(f"torchvision:resnet18:{path}").preprocessing.to_json()
        assert json.loads(json.dumps({k: way[k] for k in answer})) == answer


def test_pixels_from_0_to_255_are_not_divided(tmp_path, small):
    args = {"mean": [123.675, 116.28, 103.53], "std": [58.395, 57.12, 57.375]}
    way = opened(tmp_path / "w.pt", small.state_dict(), args=args).preprocessing
    photo = np.arange(48, dtype=np.uint8).reshape(4, 4, 3)
    usual = load_model("torchvision:resnet18:random").preprocessing
    np.testing.assert_allclose(way.normalise(photo), usual.normalise(photo), atol=1e-5)


@pytest.mark.parametrize(
    "facts",
    [
        {"classes": {0: "a", 1: "b", 2: "c", 3: "d"}},
        {"classes": {"d": 3, "a": 0, "b": 1, "c": 2}},
        {"config": {"id2label": {"3": "d", "0": "a", "1": "b", "2": "c"}}},
        {"args": {"class_names": list("abcd"), "classes": 4}},
        {"meta": {"CLASSES": tuple("abcd")}},
        {"meta": {"dataset_meta": {"classes": list("abcd")}}},
    ],
)
def test_class_names_wherever_they_are(tmp_path, small, facts):
    assert opened(tmp_path / "w.pt", small.state_dict(), **facts).classes == list("abcd")


def test_class_names_that_are_unclear_are_asked_about(tmp_path, small):
    for facts, told in [
        ({"classes": {0: 1, 1: 2, 2: 3, 3: 0}}, "numbers on both sides"),
        ({"class_to_idx": {"a": 1, "b": 2, "c": 3, "d": 4}}, "from 0 to 3 once"),
        ({"idx_to_class": {10**12: "a"}}, "does not number"),
        ({"classes": list("abcd"), "args": {"classes": list("abdc")}}, "class 2 is 'c' by classes"),
    ]:
        with pytest.raises(UnitscopeError, match=told):
            opened(tmp_path / "w.pt", small.state_dict(), **facts)


def test_transform_input_is_told_and_heard(tmp_path):
    state = zoo.googlenet(num_classes=3, init_weights=False, aux_logits=False).state_dict()
    path = tmp_path / "w.pt"
    silent = opened(path, state, "torchvision:googlenet")
    assert "not said by the file" in silent.notes["transform_input"]
    said = opened(path, state, "torchvision:googlenet", args={"transform_input": True})
    assert said.preprocessing.mean == (0.5, 0.5, 0.5)
