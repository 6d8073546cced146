"""Releases of Places365, written by Python 2."""

from __future__ import annotations

import collections
import io
import pickle
import pickletools
import re
import struct
from pathlib import Path

import pytest
import torch
from torch import nn
from torchvision import models as zoo

from core.foundation.errors import UnitscopeError
from core.models.checkpoint import read_checkpoint
from core.models.load import load_model
from tests.models.files import same


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


def test_pickles_here_are_what_they_should_be():
    """The stand-in for Python 2 rewrites every text and nothing else."""
    raw = pickle.dumps({"a": [1, "bc"]}, protocol=2) * 5
    assert python2(raw).count(b"U\x02bc") == 5
    assert pickle.loads(python2(raw), encoding="ascii") == {"a": [1, "bc"]}
