"""Files of weights in every layout, and what is said where they do not fit."""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models as zoo

from core.foundation.errors import UnitscopeError
from core.models.checkpoint import read_checkpoint
from core.models.fit import closest, settle
from core.models.load import load_model
from tests.models.files import opened, same


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

    monkeypatch.setattr("core.foundation.optional.import_module", gone)
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


MADE_UP = [
    (_pointing(), "a NumPy type 'O8'"),
    (Reduced(_scalar, (np.dtype("O"), b"AAAAAAAA")), "a NumPy type 'O8'"),
    (Reduced(_scalar, (np.dtype("V8"), b"AAAAAAAA")), "a NumPy type 'V8'"),
    (Reduced(_scalar, (np.dtype([("a", "f8")]), b"AAAAAAAA")), "a NumPy type 'V8'"),
    (Reduced(_scalar, (np.dtype("f8"), b"AAAA")), "in other than its bytes"),
    (Reduced(_scalar, (3, b"AAAA")), "without a type"),
    (Reduced(np.dtype, ("f8",), (3, "x")), "without a byte order"),
]


def test_numpy_types_that_a_file_makes_up_are_refused(tmp_path):
    """In a process of its own: NumPy's own types would end it."""
    for k, (number, _) in enumerate(MADE_UP):
        torch.save({"state_dict": {"a": torch.ones(2)}, "lr": number}, tmp_path / f"{k}.pth")
    code = f"""
from core.foundation.errors import UnitscopeError
from core.models.checkpoint import read_checkpoint
for k in range({len(MADE_UP)}):
    try:
        print(read_checkpoint(f"{tmp_path}/{{k}}.pth"), flush=True)
    except UnitscopeError as told:
        print("refused:", str(told).replace(chr(10), " "), flush=True)
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    lines = ran.stdout.splitlines()
    assert ran.returncode == 0, f"it ended at {MADE_UP[len(lines)][0]}: {ran.returncode}"
    for line, (number, reason) in zip(lines, MADE_UP, strict=True):
        assert line.startswith("refused:") and reason in line, (number, line)


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
