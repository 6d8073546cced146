"""Files of weights in every layout that training code and releases write, and what is told where
they do not fit."""

from __future__ import annotations

import argparse
import collections
import functools
import importlib
import io
import json
import os
import pickle
import pickletools
import re
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models as zoo

from core import cli
from core.foundation.errors import UnitscopeError
from core.models import packages, timm_zoo
from core.models.checkpoint import read_checkpoint
from core.models.fit import closest, settle
from core.models.load import load_model
from core.models.said import Prepared, prepared
from tests import tiny


@pytest.fixture(scope="module")
def net() -> nn.Module:
    torch.manual_seed(0)
    return zoo.squeezenet1_1(num_classes=5).eval()


def same(module: nn.Module, wanted: nn.Module, atol: float = 0.0) -> None:
    own, other = module.state_dict(), wanted.state_dict()
    assert list(own) == list(other)
    for name, value in own.items():
        torch.testing.assert_close(value, other[name], rtol=0, atol=atol)


# -- how weights are wrapped ------------------------------------------------------------------


@pytest.mark.parametrize("key", [None, "state_dict", "model", "model_state_dict", "anything"])
@pytest.mark.parametrize("prefix", ["", "module.", "module._orig_mod.", "net.", "model.backbone."])
def test_state_dicts_under_any_key_and_prefix(tmp_path, net, key, prefix):
    state = {prefix + name: value for name, value in net.state_dict().items()}
    path = tmp_path / "w.pth"
    torch.save({key: state, "epoch": 7} if key else state, path)
    model = load_model(f"torchvision:squeezenet1_1:{path}")
    same(model.module, net)
    assert model.notes.get("epoch") == (7 if key else None)


def test_dataparallel_inside_a_network(tmp_path, net):
    """As the ImageNet example trains AlexNet and VGG: `features` alone is wrapped."""
    state = {k.replace("features.", "features.module."): v for k, v in net.state_dict().items()}
    torch.save({"state_dict": state}, tmp_path / "w.pth")
    same(load_model(f"torchvision:squeezenet1_1:{tmp_path / 'w.pth'}").module, net)


def test_half_precision_in_both_kinds(tmp_path, net):
    for kind in (torch.float16, torch.bfloat16):
        torch.save({k: v.to(kind) for k, v in net.state_dict().items()}, tmp_path / "w.pth")
        module = load_model(f"torchvision:squeezenet1_1:{tmp_path / 'w.pth'}").module
        same(module, net, atol=1e-2)
        assert {p.dtype for p in module.parameters()} == {torch.float32}


def test_a_lightning_checkpoint(tmp_path, net):
    """The keys that pytorch-lightning 2 writes, with a loss and a metric beside the network."""
    lightning_keys = {
        "epoch": 3,
        "global_step": 120,
        "pytorch-lightning_version": "2.4.0",
        "state_dict": {
            **{f"model.{k}": v for k, v in net.state_dict().items()},
            "criterion.weight": torch.ones(5),
            "val_acc.correct": torch.tensor(3),
        },
        "loops": {"fit_loop": {"state_dict": {}}},
        "callbacks": {},
        "lr_schedulers": [],
        "optimizer_states": [{"state": {}, "param_groups": [{"lr": 0.1}]}],
        "hparams_name": "kwargs",
        "hyper_parameters": {"lr": 0.1, "arch": "squeezenet1_1"},
    }
    torch.save(lightning_keys, tmp_path / "last.ckpt")
    model = load_model(f"torchvision:squeezenet1_1:{tmp_path / 'last.ckpt'}")
    same(model.module, net)
    assert model.notes["left out"] == "criterion.weight, val_acc.correct"
    assert model.notes["hyper_parameters"]["lr"] == 0.1


def pickled_as(path: Path, stored: dict, old: str, new: str) -> None:
    """Write a checkpoint in which a class is named as another package names it."""
    torch.save(stored, path, _use_new_zipfile_serialization=False)
    raw = path.read_bytes()
    module, _, name = old.rpartition(".")
    there = f"c{module}\n{name}\n".encode()
    assert there in raw
    module, _, name = new.rpartition(".")
    path.write_bytes(raw.replace(there, f"c{module}\n{name}\n".encode()))


class AttributeDict(dict):
    """As Lightning's: a dict whose keys are attributes too."""


@pytest.mark.parametrize(
    "where",
    [
        "lightning.fabric.utilities.data",
        "lightning_fabric.utilities.data",
        "pytorch_lightning.utilities.parsing",
    ],
)
def test_lightnings_hyper_parameters_are_read_without_lightning(tmp_path, net, where):
    path = tmp_path / "last.ckpt"
    state = {f"net.{k}": v for k, v in net.state_dict().items()}
    stored = {"state_dict": state, "hyper_parameters": AttributeDict(lr=0.5, where="x")}
    pickled_as(path, stored, f"{__name__}.AttributeDict", f"{where}.AttributeDict")
    model = load_model(f"torchvision:squeezenet1_1:{path}")
    same(model.module, net)
    assert model.notes["hyper_parameters"] == {"lr": 0.5, "where": "x"}


def test_other_hyper_parameters_are_refused_with_their_class_and_a_way(tmp_path, net):
    path = tmp_path / "last.ckpt"
    stored = {"state_dict": net.state_dict(), "hyper_parameters": AttributeDict(lr=0.5)}
    pickled_as(path, stored, f"{__name__}.AttributeDict", "omegaconf.dictconfig.DictConfig")
    with pytest.raises(UnitscopeError) as told:
        load_model(f"torchvision:squeezenet1_1:{path}")
    assert "object of omegaconf.dictconfig.DictConfig" in str(told.value)
    assert "save the state dict alone" in str(told.value)


def test_options_paths_and_single_numbers_beside_weights_are_read(tmp_path, net):
    """torchvision's references and timm store their options as a Namespace; many store a
    best accuracy as NumPy gave it."""
    stored = {
        "model": net.state_dict(),
        "optimizer": {"state": {0: {"m": torch.ones(2)}}},
        "args": argparse.Namespace(lr=0.1, out=Path("runs"), device=torch.device("cpu")),
        "preprocessing": {"resize": (64, 48), "center_crop": None},
        "seed": None,
        "best": np.float64(71.5),
        "worst": np.float32(1.5),
        "epoch": np.int64(4),
    }
    for new in (True, False):
        torch.save(stored, tmp_path / "w.pth", _use_new_zipfile_serialization=new)
        state, notes = read_checkpoint(tmp_path / "w.pth")
        assert len(state) == len(net.state_dict())
        assert notes["args"] == {"lr": 0.1} and "optimizer" not in notes
        assert notes["preprocessing"] == {"resize": [64, 48], "center_crop": None}
        assert notes["seed"] is None
        assert (notes["best"], notes["worst"], notes["epoch"]) == (71.5, 1.5, 4)


def test_averaged_weights_are_told_and_can_be_chosen(tmp_path, net):
    averaged = {k: v + 1 if v.is_floating_point() else v for k, v in net.state_dict().items()}
    path = tmp_path / "checkpoint-9.pth.tar"
    torch.save({"state_dict": net.state_dict(), "state_dict_ema": averaged, "arch": "x"}, path)
    model = load_model(f"torchvision:squeezenet1_1:{path}")
    same(model.module, net)
    assert "state_dict_ema (averaged over the training" in model.notes["weights"]
    chosen = load_model(f"torchvision:squeezenet1_1:{path}#state_dict_ema")
    torch.testing.assert_close(chosen.module.state_dict(), averaged)
    assert chosen.digest() != model.digest()
    with pytest.raises(UnitscopeError, match=r"set of weights in .* 'ema'; .*state_dict_ema"):
        load_model(f"torchvision:squeezenet1_1:{path}#ema")
    # torchvision's references: the average is wrapped once more and counts its steps.
    ema = {"n_averaged": torch.tensor(5), **{f"module.{k}": v for k, v in averaged.items()}}
    torch.save({"model": net.state_dict(), "model_ema": ema}, path)
    chosen = load_model(f"torchvision:squeezenet1_1:{path}#model_ema")
    torch.testing.assert_close(chosen.module.state_dict(), averaged)
    torch.save({"model_ema": ema}, path)
    assert "averaged" in load_model(f"torchvision:squeezenet1_1:{path}").notes["weights"]


def test_safetensors_with_its_metadata(tmp_path, net):
    library = pytest.importorskip("safetensors.torch")
    path = tmp_path / "w.safetensors"
    facts = {"classes": json.dumps(list("abcde")), "format": "pt"}
    library.save_file(net.state_dict(), path, facts)
    model = load_model(f"torchvision:squeezenet1_1:{path}")
    same(model.module, net)
    assert model.classes == list("abcde") and model.notes["format"] == "pt"
    path.write_bytes(path.read_bytes()[:1000])
    with pytest.raises(UnitscopeError, match="cannot be read"):
        load_model(f"torchvision:squeezenet1_1:{path}")


def test_missing_packages_are_named(tmp_path, monkeypatch):
    (tmp_path / "w.safetensors").write_bytes(b"x")

    def gone(package):
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)

    monkeypatch.setattr("core.models.checkpoint.import_module", gone)
    with pytest.raises(UnitscopeError, match="need the package safetensors: pip install saf"):
        read_checkpoint(tmp_path / "w.safetensors")
    with pytest.raises(UnitscopeError, match="need the package timm: pip install timm"):
        load_model("timm:resnet18:random")


def test_shared_weights_may_be_stored_once(tmp_path):
    class Tied(nn.Module):
        def __init__(self):
            super().__init__()
            self.first = nn.Linear(4, 4)
            self.second = nn.Linear(4, 4)
            self.second.weight = self.first.weight

    from core.models.fit import fill

    library = pytest.importorskip("safetensors.torch")
    net, again = Tied(), Tied()
    library.save_model(net, str(tmp_path / "w.safetensors"))
    state, _ = read_checkpoint(tmp_path / "w.safetensors")
    assert len(state) == 3
    fill(again, state, "it")
    same(again, net)
    assert again.second.weight is again.first.weight
    with pytest.raises(UnitscopeError, match=r"network also has first\.bias"):
        fill(again, {k: v for k, v in state.items() if k != "first.bias"}, "it")


def test_what_the_file_does_not_say_can_lie_beside_it(tmp_path, net):
    path = tmp_path / "w.pth"
    torch.save(net.state_dict(), path)
    beside = tmp_path / "w.unitscope.json"
    told = {
        "classes": list("vwxyz"),
        "default_layer": "features.9",
        "preprocessing": {"resize": [70, 70], "center_crop": 64, "mean": [0.5, 0.5, 0.5]},
    }
    beside.write_text(json.dumps(told))
    model = load_model(f"torchvision:squeezenet1_1:{path}")
    assert model.classes == list("vwxyz") and model.default_layer == "features.9"
    assert model.preprocessing.mean == (0.5, 0.5, 0.5)
    assert model.preprocessing.std == (0.229, 0.224, 0.225)  # as the architecture's
    assert model.preprocessing.input_size() == (64, 64)
    for wrong, message in [
        ({"preprocessing": {"resize": 256.0}}, "resize is a whole number of pixels, [width, h"),
        ({"preprocessing": {"resize": "256"}}, "not '256'"),
        ({"preprocessing": {"resize": [256]}}, "not (256,)"),
        ({"preprocessing": {"center_crop": 0}}, "center_crop is a whole number of pixels"),
        ({"preprocessing": {"crop": [0, 0, 5]}}, "crop is [left, top, right, bottom]"),
        ({"preprocessing": {"std": [0, 0, 0]}}, "std is three numbers above 0"),
        ({"preprocessing": {"mean": 0.5}}, "mean is three numbers, not 0.5"),
        ({"preprocessing": {"mean": [0.5, None, 0.5]}}, "mean is three numbers"),
        ({"preprocessing": {"flip": 1}}, "flip is true or false"),
        ({"preprocessing": {"channels": ["RGB"]}}, "channels is RGB or BGR"),
        ({"preprocessing": {"divide": 0}}, "divide is a number above 0"),
        ({"preprocessing": {"interpolation": "area"}}, "interpolation is bilinear or bicubic"),
        ({"preprocessing": "imagenet"}, "preprocessing is an object with steps"),
        ({"classes": {"0": "a"}}, "classes is a list of names"),
        ({"classes": "abcde"}, "classes is a list of names"),
        ({"default_layer": 3}, "default_layer is a layer's dotted name"),
        ({"clases": []}, "entry of w.unitscope.json 'clases'; nearest: classes"),
        ({"preprocessing": {"size": 3}}, "step of the checkpoint's preprocessing 'size'"),
        ([], "an object is meant"),
    ]:
        beside.write_text(json.dumps(wrong))
        with pytest.raises(UnitscopeError, match=re.escape(message)):
            load_model(f"torchvision:squeezenet1_1:{path}")
    beside.write_text("{")
    with pytest.raises(UnitscopeError, match="is not JSON"):
        load_model(f"torchvision:squeezenet1_1:{path}")


def test_class_names_in_their_usual_forms(tmp_path, net):
    path = tmp_path / "w.pth"
    for facts in (
        {"class_names": list("abcde")},
        {"class_to_idx": {c: k for k, c in enumerate("abcde")}},
        {"idx_to_class": dict(enumerate("abcde"))},
    ):
        torch.save({"state_dict": net.state_dict(), **facts}, path)
        assert load_model(f"torchvision:squeezenet1_1:{path}").classes == list("abcde")
    for facts in (
        {"idx_to_class": {"attic": 0}},
        {"idx_to_class": {None: "attic"}},
        {"idx_to_class": {float("inf"): "attic"}},
        {"class_to_idx": {"attic": 0, "barn": None}},
        {"class_to_idx": {"attic": "first"}},
    ):
        torch.save({"state_dict": net.state_dict(), **facts}, path)
        with pytest.raises(UnitscopeError, match="does not number its classes"):
            load_model(f"torchvision:squeezenet1_1:{path}")


class Reduced:
    """Is stored as what a call of an allowed name with some arguments, and a state, gives."""

    def __init__(self, *reduced):
        self.reduced = reduced

    def __reduce__(self):
        return self.reduced


_scalar = np.float64(0).__reduce__()[0]


def test_every_numpy_number_is_let_through(tmp_path):
    path = tmp_path / "w.pth"
    numbers = {
        kind.__name__: kind(value)
        for kind, value in [
            (np.bool_, True),
            (np.int8, -3),
            (np.uint8, 200),
            (np.int16, -300),
            (np.uint16, 300),
            (np.int32, -70_000),
            (np.uint32, 70_000),
            (np.int64, -(2**40)),
            (np.uint64, 2**40),
            (np.float16, 0.5),
            (np.float32, 1.5),
            (np.float64, 71.25),
        ]
    }
    other = Reduced(_scalar, (np.dtype(">i4"), (258).to_bytes(4, "big")))
    stored = {"state_dict": {"a": torch.ones(2)}, **numbers, "other": other, "kind": np.dtype("f4")}
    for new in (True, False):
        torch.save(stored, path, _use_new_zipfile_serialization=new)
        _, notes = read_checkpoint(path)
        for name, number in numbers.items():
            assert notes[name] == number and type(notes[name]) is type(number.item()), name
        assert notes["other"] == 258 and "kind" not in notes
    # A complex number is read too, but no note.
    torch.save({**stored, "c": np.complex64(1j)}, path)
    assert "c" not in read_checkpoint(path)[1]


def _pointing():
    """A number of a type whose state, the file's, says that its bytes are a pointer."""
    state = (3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 8, 0)
    field = Reduced(np.dtype, ("f8", False, True), state)
    return Reduced(_scalar, (Reduced(np.dtype, (("V8", field),)), b"AAAAAAAA"))


@pytest.mark.parametrize(
    ("number", "reason"),
    [
        (_pointing(), "a NumPy type 'O8'"),
        (Reduced(_scalar, (np.dtype("O"), b"AAAAAAAA")), "a NumPy type 'O8'"),
        (Reduced(_scalar, (np.dtype("V8"), b"AAAAAAAA")), "a NumPy type 'V8'"),
        (Reduced(_scalar, (np.dtype([("a", "f8")]), b"AAAAAAAA")), "a NumPy type 'V8'"),
        (Reduced(_scalar, (np.dtype("f8"), b"AAAA")), "in other than its bytes"),
        (Reduced(_scalar, (3, b"AAAA")), "without a type"),
        (Reduced(np.dtype, ("f8",), (3, "x")), "without a byte order"),
    ],
)
def test_numpy_types_that_a_file_makes_up_are_refused(tmp_path, number, reason):
    """In a process of its own: NumPy's own types would end it."""
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"a": torch.ones(2)}, "lr": number}, path)
    code = f"""
from core.foundation.errors import UnitscopeError
from core.models.checkpoint import read_checkpoint
try:
    print(read_checkpoint({str(path)!r}))
except UnitscopeError as told:
    print("refused:", told)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.returncode
    assert ran.stdout.startswith("refused:") and reason in ran.stdout, ran.stdout


@pytest.mark.filterwarnings("ignore")
def test_pytorchs_advice_to_open_a_file_unsafely_is_never_passed_on(tmp_path, net):
    path = tmp_path / "w.pth"
    told = []
    torch.save({"a": torch.ones(2)}, path, pickle_protocol=4)
    with pytest.raises(UnitscopeError) as wrong:
        read_checkpoint(path)
    assert "(Unsupported operand" in str(wrong.value)
    told.append(str(wrong.value))
    torch.save({"a": Reduced(os.system, ("true",))}, path)
    with pytest.raises(UnitscopeError, match=r"an object of posix\.system") as wrong:
        read_checkpoint(path)
    told.append(str(wrong.value))
    torch.jit.save(torch.jit.trace(nn.ReLU(), torch.ones(1)), str(path))
    with pytest.raises(UnitscopeError, match="it is a TorchScript archive") as wrong:
        read_checkpoint(path)
    told.append(str(wrong.value))
    path.write_bytes(b"junk")
    with pytest.raises(UnitscopeError, match="cannot be read safely") as wrong:
        read_checkpoint(path)
    for text in [*told, str(wrong.value)]:
        assert "Re-running" not in text and "weights_only" not in text, text
        assert "safely ()" not in text and "save the state dict alone" in text


# -- what does not fit ------------------------------------------------------------------------


def test_files_without_weights_are_told(tmp_path):
    for stored, message in [
        ({"epoch": 3}, "no state dict; it holds epoch"),
        ([1, 2], "no state dict; it holds list"),
        ({"a": {"x": torch.ones(1)}, "b": {"y": torch.ones(1)}}, "name one as .*#KEY"),
    ]:
        torch.save(stored, tmp_path / "w.pth")
        with pytest.raises(UnitscopeError, match=message):
            read_checkpoint(tmp_path / "w.pth")
    with pytest.raises(UnitscopeError, match="is a folder"):
        read_checkpoint(tmp_path)
    with pytest.raises(UnitscopeError, match="does not exist"):
        read_checkpoint(tmp_path / "no#such")


@pytest.mark.parametrize(
    ("name", "of"),
    [
        ("resnet18", "resnet34"),
        ("resnet50", "resnet18"),
        ("vgg11", "vgg16_bn"),
        ("mobilenet_v2", "mobilenet_v3_large"),
        ("resnet18", "vit_b_16"),
        ("swin_t", "swin_s"),
        ("densenet121", "densenet169"),
    ],
)
def test_weights_of_another_architecture_are_recognised(name, of):
    """The whole message, without gigabytes: the file's weights need no memory."""
    with torch.device("meta"):
        state = zoo.get_model(of, weights=None, num_classes=7).state_dict()
    assert closest(state) == of
    with torch.device("meta"):
        network = zoo.get_model(name, weights=None, num_classes=7)
    from core.models.fit import fill

    with pytest.raises(UnitscopeError) as told:
        fill(network, dict(state), f"checkpoint {of}.pth")
    text = str(told.value)
    assert f"names and shapes are those of torchvision's {of}" in text
    own = {k for k in network.state_dict() if not k.endswith("tracked")}
    assert ("network also has" in text) == bool(own - set(state))
    assert ("file also has" in text) == bool(set(state) - set(network.state_dict()))


def test_a_network_of_nobody_is_not_recognised(net):
    assert closest({"a.weight": torch.ones(3, 3)}) is None


def test_grey_photos_are_told(tmp_path):
    net = zoo.squeezenet1_1(num_classes=5)
    net.features[0] = nn.Conv2d(1, 64, 3, 2)
    torch.save(net.state_dict(), tmp_path / "w.pth")
    with pytest.raises(UnitscopeError) as told:
        load_model(f"torchvision:squeezenet1_1:{tmp_path / 'w.pth'}")
    assert "file (64, 1, 3, 3), network (64, 3, 3, 3)" in str(told.value)
    assert "takes 1 colour channel; photos have 3" in str(told.value)


def test_settle_leaves_names_alone_that_fit():
    own = ["module.a", "model.b", "fc.weight"]
    state = dict.fromkeys(own, torch.ones(1))
    assert settle(state, own) == (state, {})
    # A name that would be taken twice is not shortened.
    twice = {"module.a": torch.ones(1), "a": torch.zeros(1)}
    assert settle(twice, ["a"])[0] == twice


def test_a_network_that_is_there_twice_is_asked_about(tmp_path, net):
    one, other = net.state_dict(), {k: v + 1 for k, v in net.state_dict().items()}
    path = tmp_path / "w.pth"

    def both(a, b):
        return {
            **{f"student.{k}": v for k, v in a.items()},
            **{f"teacher.{k}": v for k, v in b.items()},
        }

    torch.save({"state_dict": both(one, other)}, path)
    with pytest.raises(UnitscopeError) as told:
        load_model(f"torchvision:squeezenet1_1:{path}")
    assert "under student. and teacher." in str(told.value)
    assert "k.removeprefix('student.')" in str(told.value)
    # One network under two names, as an attribute and its alias are stored, is no question.
    torch.save({"state_dict": both(one, one)}, path)
    same(load_model(f"torchvision:squeezenet1_1:{path}").module, net)


# -- torchvision ------------------------------------------------------------------------------


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
    monkeypatch.setattr("core.models.zoo.build", small)
    model = load_model("torchvision:vit_h_14:random")
    assert model.preprocessing.input_size() == (224, 224)
    assert model.layers()[0].height == 16


def test_random_weights_are_the_same_each_time_and_say_something(tmp_path):
    torch.manual_seed(5)
    before = torch.random.get_rng_state()
    first, again = (load_model("torchvision:vit_b_32:random") for _ in range(2))
    assert first.digest() == again.digest() and first.module.heads.head.weight.any()
    assert torch.equal(torch.random.get_rng_state(), before)


# -- Places365 --------------------------------------------------------------------------------


def python2(raw: bytes) -> bytes:
    """A file of torch's older layout as Python 2 wrote it: every text is a `str` of bytes."""
    file, out = io.BytesIO(raw), io.BytesIO()
    for _ in range(5):  # magic number, version, system, the object, its storages' keys
        start = file.tell()
        pickletools_end = None
        for opcode, argument, at in pickletools.genops(file):
            pickletools_end = (opcode.name, at)
            if opcode.name == "BINUNICODE":
                text = argument.encode()
                assert len(text) < 256
                out.write(b"U" + struct.pack("<B", len(text)) + text)
            else:
                here = file.tell()
                file.seek(at)
                out.write(file.read(here - at))
        assert pickletools_end is not None and pickletools_end[0] == "STOP" and start < file.tell()
    out.write(file.read())
    return out.getvalue()


def release(path: Path, name: str, **more) -> nn.Module:
    """A checkpoint as train_placesCNN.py of CSAILVision/places365 leaves it (Python 2, PyTorch
    0.2), with random weights: returns the network."""
    torch.manual_seed(1)
    net = zoo.get_model(name, weights=None, num_classes=more.pop("num_classes", 365)).eval()
    state = collections.OrderedDict()
    for key, value in net.state_dict().items():
        if key.endswith("num_batches_tracked"):
            continue  # PyTorch has these since 0.4.1
        if name == "alexnet":
            key = key.replace("features.", "features.module.")
        else:
            # DenseNet's names before torchvision 0.2.1.
            key = "module." + re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", key)
        state[key] = value
    stored = {"epoch": 90, "arch": name, "state_dict": state, "best_prec1": 54.7, **more}
    torch.save(stored, path, _use_new_zipfile_serialization=False)
    path.write_bytes(python2(path.read_bytes()))
    return net


def list_of_names(folder: Path) -> Path:
    names = [f"/a/airfield_{k} {k}" for k in range(365)]
    path = folder / "categories_places365.txt"
    path.write_text("\n".join(names) + "\n")
    return path


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        "resnet50",
        pytest.param("densenet161", marks=pytest.mark.slow),
        pytest.param("alexnet", marks=pytest.mark.slow),
    ],
)
def test_the_places365_release(tmp_path, name):
    path = tmp_path / f"{name}_places365.pth.tar"
    net = release(path, name)
    raw = path.read_bytes()
    assert b"X\x0a\x00\x00\x00state_dict" not in raw and b"U\x0astate_dict" in raw
    list_of_names(tmp_path)
    model = load_model(f"places365:{name}:{path}")
    same(model.module, net)
    assert model.classes[:2] == ["/a/airfield_0", "/a/airfield_1"] and len(model.classes) == 365
    assert model.preprocessing.resize == (256, 256)
    assert model.preprocessing.input_size(640, 480) == (224, 224)
    beside = tmp_path / f"{name}_places365.unitscope.json"
    beside.write_text('{"preprocessing": {"resize": 256}}')
    other = load_model(f"places365:{name}:{path}").preprocessing
    assert other.resize == 256 and other.center_crop == 224
    assert model.notes["best_prec1"] == 54.7 and model.default_layer in dict(net.named_modules())


def test_the_real_list_of_places(tmp_path, data_dir):
    path = tmp_path / "resnet18_places365.pth.tar"
    release(path, "resnet18")
    names = data_dir / "places365_squeezenet" / "categories_places365.txt"
    model = load_model(f"places365:resnet18:{path}:{names}")
    assert model.classes[0] == "/a/airfield" and len(set(model.classes)) == 365


def test_what_is_wrong_with_a_places365_spec(tmp_path):
    path = tmp_path / "resnet18_places365.pth.tar"
    release(path, "resnet18")
    with pytest.raises(UnitscopeError, match=r"class names of Places365 are not in .*CSAILVision"):
        load_model(f"places365:resnet18:{path}")
    names = list_of_names(tmp_path)
    with pytest.raises(UnitscopeError, match="says that it is a resnet18, the SPEC says resnet50"):
        load_model(f"places365:resnet50:{path}")
    with pytest.raises(UnitscopeError, match="the form is places365:NAME:CHECKPOINT"):
        load_model("places365:resnet18")
    with pytest.raises(UnitscopeError, match="nearest: resnet18"):
        load_model(f"places365:resnet_18:{path}")
    names.write_text("/a/airfield 0\n/a/alley\n")
    with pytest.raises(UnitscopeError, match="line 2: '/a/alley' is not"):
        load_model(f"places365:resnet18:{path}")
    names.write_text("/a/airfield 0\n")
    with pytest.raises(UnitscopeError, match="names 1 classes; Places365 has 365"):
        load_model(f"places365:resnet18:{path}")
    list_of_names(tmp_path)
    release(path, "resnet18", num_classes=1000)
    with pytest.raises(UnitscopeError, match=r"1000 outputs and Places365 365 .*torchvision:resn"):
        load_model(f"places365:resnet18:{path}")


def test_whole_networks_are_refused_unopened_and_opened(tmp_path):
    """The release's whole_* files are pickled modules; so is torch.save(network)."""
    list_of_names(tmp_path)
    whole = tmp_path / "whole_resnet18_places365.pth.tar"
    torch.save(zoo.resnet18(num_classes=3), whole)
    with pytest.raises(UnitscopeError, match=r"same release has its weights as resnet18_places365"):
        load_model(f"places365:resnet18:{whole}")
    renamed = whole.rename(tmp_path / "resnet18_places365.pth.tar")
    for spec in (f"places365:resnet18:{renamed}", f"torchvision:resnet18:{renamed}"):
        with pytest.raises(UnitscopeError) as told:
            load_model(spec)
        assert "the network itself was saved, not its weights" in str(told.value)
        assert "torch.save(network.state_dict(), FILE)" in str(told.value)


def test_texts_of_python_2_beyond_ascii_are_told(tmp_path):
    path = tmp_path / "w.pth"
    torch.save(
        {"state_dict": {"a": torch.ones(1)}, "by": "x"}, path, _use_new_zipfile_serialization=False
    )
    raw = python2(path.read_bytes())
    assert raw.count(b"U\x01x") == 1
    path.write_bytes(raw.replace(b"U\x01x", b"U\x01\xe9"))
    with pytest.raises(UnitscopeError, match="written by Python 2"):
        read_checkpoint(path)


# -- timm -------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def timm():
    return pytest.importorskip("timm")


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
        way = timm_zoo._timm_preprocessing(module, said_in(config))
        facts = data.resolve_data_config(pretrained_cfg={**module.pretrained_cfg, **config})
        theirs = data.create_transform(**facts)(photo)
        mine = torch.from_numpy(way.normalise(np.asarray(way.view(photo))))
        torch.testing.assert_close(mine, theirs, rtol=1e-4, atol=1e-4)
    with pytest.raises(UnitscopeError, match="crop mode 'border'"):
        timm_zoo._timm_preprocessing(module, said_in({"crop_mode": "border"}))
    with pytest.raises(UnitscopeError, match="takes 1 colour channels"):
        timm_zoo._timm_preprocessing(module, said_in({"input_size": (1, 64, 64)}))


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
    timm_zoo._not_stretched(Embedded(values), {"positional_embedding": values[0]}, "it")
    for stretched in (torch.ones(1, 9, 3), values + 1):
        with pytest.raises(UnitscopeError, match=r"it does not fit.*stretch its pos_embed"):
            timm_zoo._not_stretched(Embedded(stretched), {"positional_embedding": values[0]}, "it")


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


# -- the command line -------------------------------------------------------------------------


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
    assert {"torchvision", "timm", "places365", "python", "rooms"} == kinds
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


def test_pickles_here_are_what_they_should_be():
    """The stand-in for Python 2 rewrites every text and nothing else."""
    raw = pickle.dumps({"a": [1, "bc"]}, protocol=2) * 5
    assert python2(raw).count(b"U\x02bc") == 5
    assert pickle.loads(python2(raw), encoding="ascii") == {"a": [1, "bc"]}


# -- what a file says of itself ---------------------------------------------------------------


@pytest.fixture(scope="module")
def small() -> nn.Module:
    torch.manual_seed(0)
    return zoo.resnet18(num_classes=4).eval()


def opened(path: Path, state: dict, kind: str = "torchvision:resnet18", **facts):
    torch.save({"state_dict": state, **facts}, path)
    return load_model(f"{kind}:{path}")


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


# -- layouts and files of other kinds ---------------------------------------------------------


def renamed(state: dict, prefix: str, head: str) -> dict:
    return {
        (k.replace("fc.", f"{head}.") if k.startswith("fc.") else prefix + k): v
        for k, v in state.items()
    }


@pytest.mark.parametrize(
    ("prefix", "head"),
    [("", "fc.1"), ("backbone.", "head.fc"), ("model.", "model.fc.1"), ("encoder.", "classifier")],
)
@pytest.mark.parametrize("kind", ["torchvision", "timm"])
def test_classifiers_that_lie_elsewhere(tmp_path, small, prefix, head, kind, timm):
    model = opened(tmp_path / "w.pt", renamed(small.state_dict(), prefix, head), f"{kind}:resnet18")
    same(model.module, small)
    assert head in model.notes["classifier"]


def test_a_classifier_of_two_layers_is_another_network(tmp_path, small):
    state = renamed(small.state_dict(), "", "fc.0") | {"fc.2.weight": torch.ones(4, 4)}
    with pytest.raises(UnitscopeError, match=r"file also has fc\.0\.weight"):
        opened(tmp_path / "w.pt", state)


def shards(folder: Path, state: dict, **change) -> Path:
    library = pytest.importorskip("safetensors.torch")
    folder.mkdir(exist_ok=True)
    names = list(state)
    where = {}
    for k, part in enumerate((names[:60], names[60:]), 1):
        file = f"model-{k:05}-of-00002.safetensors"
        library.save_file({n: state[n] for n in part}, folder / file)
        where |= dict.fromkeys(part, file)
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where | change}))
    return index


def test_weights_in_several_files(tmp_path, small, timm):
    state = small.state_dict()
    index = shards(tmp_path / "hub", state)
    same(load_model(f"torchvision:resnet18:{index}").module, small)
    same(load_model(f"timm:resnet18:{index.parent}").module, small)
    (index.parent / "model.unitscope.json").write_text('{"classes": ["a", "b", "c", "d"]}')
    assert load_model(f"torchvision:resnet18:{index}").classes == list("abcd")
    for file in ("../model-00001-of-00002.safetensors", "/etc/w.pt", "..\\w.pt", "..", 3, "a\0.pt"):
        with pytest.raises(UnitscopeError, match=r"same folder is meant"):
            read_checkpoint(shards(tmp_path / "hub", state, **{"fc.bias": file}))
    with pytest.raises(UnitscopeError, match=r"not there: gone\.safetensors"):
        read_checkpoint(shards(tmp_path / "hub", state, **{"fc.bias": "gone.safetensors"}))
    with pytest.raises(UnitscopeError, match=r"same weights: extra"):
        read_checkpoint(shards(tmp_path / "hub", state, extra="model-00001-of-00002.safetensors"))


def test_json_that_is_nested_too_deep_is_an_error(tmp_path, small):
    bomb = "[" * 100_000
    index = tmp_path / "w.safetensors.index.json"
    index.write_text(bomb)
    with pytest.raises(UnitscopeError, match="is not JSON: maximum recursion"):
        read_checkpoint(index)
    torch.save(small.state_dict(), tmp_path / "v.pt")
    (tmp_path / "v.unitscope.json").write_text(bomb)
    with pytest.raises(UnitscopeError, match="is not JSON: maximum recursion"):
        read_checkpoint(tmp_path / "v.pt")
    library = pytest.importorskip("safetensors.torch")
    library.save_file(small.state_dict(), tmp_path / "u.safetensors", {"classes": bomb})
    with pytest.raises(UnitscopeError, match="nested too deep"):
        read_checkpoint(tmp_path / "u.safetensors")


def test_shapes_that_claim_more_than_is_stored_are_refused(tmp_path):
    torch.save({"fc.weight": torch.zeros(1).expand(10**6, 10**4)}, tmp_path / "w.pt")
    with pytest.raises(UnitscopeError, match="made to fill the memory"):
        read_checkpoint(tmp_path / "w.pt")
    torch.save({"fc.weight": torch.eye(3).to_sparse()}, tmp_path / "w.pt")
    with pytest.raises(UnitscopeError, match=r"fc\.weight is no plain tensor"):
        read_checkpoint(tmp_path / "w.pt")


def zipped(**files: bytes) -> bytes:
    import zipfile

    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, text in files.items():
            archive.writestr(name.replace("__", "."), text)
    return out.getvalue()


@pytest.mark.parametrize(
    ("raw", "told"),
    [
        (b"", "is empty"),
        (b"\n<!DOCTYPE html><html>", "is a web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 9\n", "Git LFS pointer"),
        (b"\x08\x07\x12\x07pytorch\x1a\x052.1.0:", "an ONNX network"),
        (b"\x89HDF\r\n\x1a\n" + bytes(20), "an HDF5 file, as Keras"),
        (zipped(a__npy=b"x"), "a NumPy archive"),
        (zipped(readme__txt=b"x"), "a zip archive of"),
        (zipped(config__json=b"{}", model__weights__h5=b""), "a Keras network"),
        (b"\x1f\x8b\x08", "compressed by gzip"),
        (b"\x89PNG\r\n", "a picture"),
    ],
)
def test_files_of_other_kinds_are_named(tmp_path, raw, told):
    for name in ("w.pt", "w.safetensors"):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(UnitscopeError, match=told):
            read_checkpoint(tmp_path / name)


def test_names_told_are_the_files_own(tmp_path, small):
    state = {f"net.{k}": v for k, v in small.state_dict().items()} | {"loss.w": torch.ones(2)}
    state["net.conv1.weight"] = torch.ones(8, 3, 3, 3)
    del state["net.layer1.0.conv1.weight"]
    with pytest.raises(UnitscopeError) as told:
        opened(tmp_path / "w.pt", state)
    assert "net.conv1.weight: file (8, 3, 3, 3)" in str(told.value)
    assert "left out, as no part of this network: loss.w" in str(told.value)
    # One name that fits by chance does not make a prefix.
    other = {f"x.{k}": torch.ones(1) for k in ("conv1.weight", "a.b", "c.d")}
    with pytest.raises(UnitscopeError, match=r"file also has x\.conv1\.weight, x\.a\.b"):
        opened(tmp_path / "w.pt", other)


# -- the recipe for Hugging Face's folders in docs/models.md ----------------------------------


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
