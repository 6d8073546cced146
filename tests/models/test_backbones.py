"""Networks without a classifier, and whatever networks return their answer in."""

from __future__ import annotations

import json
import sys
from collections import namedtuple
from pathlib import Path

import pytest
import torch
from streamlit.testing.v1 import AppTest
from torchvision import models as zoo

from core.cli import main
from core.figures.contents import FIGURES, open_view
from core.figures.report import report
from core.foundation.errors import UnitscopeError
from core.models.load import load_model
from core.models.outputs import put_back, taken
from core.runs.run_file import Run
from tests.tiny import Net, write_folder

ROOT = Path(__file__).resolve().parents[2]
CODE = """
import torch
from torch import nn
from tests.tiny import Net, SCENES

class Wrapped(Net):
    def __init__(self, wrap):
        super().__init__()
        self.wrap = wrap
    def forward(self, x):
        return self.wrap(super().forward(x))

INFO = {"preprocessing": {"resize": (32, 28), "center_crop": 24}, "default_layer": "body.3"}
NAMED = {**INFO, "classes": list(SCENES)}

def body():
    net = Net()
    net.head = nn.Identity()
    return net, INFO

def features():
    return Net(), INFO

def said():
    return Net(), {**INFO, "classes": None}

def of_dict(): return Wrapped(lambda y: {"features": y.repeat(1, 2), "logits": y}), NAMED
def of_tuple(): return Wrapped(lambda y: (y, y.repeat(1, 2))), NAMED
def of_two(): return Wrapped(lambda y: {"a": y, "b": y}), NAMED
def tokens(): return Wrapped(lambda y: y[:, None].expand(-1, 4, -1)), INFO
def half(): return Net().half(), NAMED
def twins(): return Net(), {**INFO, "classes": ["crane", "barn", "crane"]}
def scripted(): return torch.jit.trace(Net().eval(), torch.zeros(1, 3, 24, 24)), NAMED
def dropping():
    net = Net()
    net.body.append(nn.Dropout(0.5))
    net.body[-1].eval = net.body[-1].train = lambda mode=True: net.body[-1]
    return net, NAMED
"""


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A SPEC of a function of the code above."""
    (tmp_path / "own_nets.py").write_text(CODE)
    monkeypatch.syspath_prepend(str(tmp_path))
    sys.modules.pop("own_nets", None)
    yield "python:own_nets:{}".format
    sys.modules.pop("own_nets", None)


def test_the_tensor_meant_is_found_and_put_back():
    one, two = torch.ones(2, 3), torch.zeros(2, 5)
    pair = namedtuple("pair", "aux logits")(two, one)
    for output in (
        {"out": one, "aux": two},
        {"scores": one, "loss": None},
        (one, two),
        [one],
        pair,
    ):
        assert taken(output).tensor is one
        fresh = put_back(output, one + 1)
        assert type(fresh) is type(output) and taken(fresh).tensor[0, 0] == 2
        assert taken(output).tensor is one
    for nothing in ("logits", (), {"a": 1}, None):
        with pytest.raises(UnitscopeError, match="no tensor"):
            taken(nothing)


def test_outputs_of_functions_of_ones_own(own):
    plain = Net().eval()
    x = torch.rand(2, 3, 24, 24)
    assert load_model(own("of_dict")).outputs() == (3, "")
    count, said = load_model(own("of_tuple")).outputs()
    assert count == 3 and "element 0, of shape (1, 3), of a tuple of 2" in said
    with pytest.raises(
        UnitscopeError, match=r"a dict of a \(1, 3\), b \(1, 3\), none of them named"
    ):
        load_model(own("of_two")).outputs()
    half = load_model(own("half"))
    assert {p.dtype for p in half.module.parameters()} == {torch.float32}
    assert half.notes["precision"] == "weights of float16 are used as float32"
    with torch.inference_mode():
        torch.testing.assert_close(half.module(x), plain(x), atol=5e-3, rtol=0)
    assert "training mode" in half.notes["mode"] and not half.module.training
    assert load_model(own("twins")).classes == ["crane (0)", "barn", "crane (2)"]
    with pytest.raises(UnitscopeError, match="returned a TorchScript module, whose layers cannot"):
        load_model(own("scripted"))
    with pytest.raises(UnitscopeError, match=r"body\.4 stays in training mode"):
        load_model(own("dropping"))


def test_which_networks_have_no_classifier(own):
    assert load_model(own("body")).backbone == "the network has no classifier (head is Identity)"
    assert load_model(own("body")).outputs()[0] == 0
    assert "says that its outputs are no classes" in load_model(own("said")).backbone
    assert "by place" in load_model(own("tokens")).outputs()[1]
    count, said = load_model(own("features")).outputs()
    assert count == 3 and "say --no-classes" in said, "nothing is guessed silently"


@pytest.mark.parametrize(
    "name",
    [
        "resnet18",
        pytest.param("vgg11", marks=pytest.mark.slow),
        pytest.param("convnext_tiny", marks=pytest.mark.slow),
        pytest.param("vit_b_32", marks=pytest.mark.slow),
    ],
)
def test_checkpoints_without_the_classifier(name, tmp_path):
    net = zoo.get_model(name, weights=None)
    last = {"resnet18": "fc.", "vgg11": "classifier.", "convnext_tiny": "classifier.2."}
    state = {
        k: v for k, v in net.state_dict().items() if not k.startswith(last.get(name, "heads."))
    }
    torch.save({"state_dict": state, "classes": ["a", "b"]}, tmp_path / "w.pt")
    model = load_model(f"torchvision:{name}:{tmp_path / 'w.pt'}")
    assert "w.pt holds all weights of the network but its classifier's" in model.backbone
    assert model.classes == [] and model.outputs()[0] == 0
    for key, value in state.items():
        assert torch.equal(model.module.state_dict()[key], value)
    del state[next(iter(state))]
    torch.save(state, tmp_path / "less.pt")
    with pytest.raises(UnitscopeError, match="does not fit"):
        load_model(f"torchvision:{name}:{tmp_path / 'less.pt'}")


def test_timm_backbones(tmp_path):
    timm = pytest.importorskip("timm")
    assert "num_classes is 0" in load_model("timm:vit_tiny_patch16_dinov3_qkvb:random").backbone
    net = timm.create_model("resnet10t", num_classes=0)
    torch.save(net.state_dict(), tmp_path / "w.pt")
    model = load_model(f"timm:resnet10t:{tmp_path / 'w.pt'}")
    assert model.backbone and torch.equal(model.module.conv1[0].weight, net.conv1[0].weight)
    # Facebook's file of DINOv2 with registers gives the class token a position of its own.
    name = "vit_small_patch14_reg4_dinov2"
    state = timm.create_model(name).state_dict()
    theirs = {k.replace("reg_token", "register_tokens"): v for k, v in state.items()}
    theirs["pos_embed"] = torch.cat([torch.full((1, 1, 384), 0.25), state["pos_embed"]], 1)
    torch.save({**theirs, "mask_token": torch.zeros(1, 384)}, tmp_path / "d.pth")
    got = load_model(f"timm:{name}:{tmp_path / 'd.pth'}").module.state_dict()
    assert torch.equal(got["pos_embed"], state["pos_embed"])
    torch.testing.assert_close(got["cls_token"], state["cls_token"] + 0.25)


@pytest.fixture
def bare(own, tmp_path, capsys):
    """A run of a backbone, made on the command line."""
    data, out = write_folder(tmp_path / "data", 60), tmp_path / "cache"
    asked = ["--dataset", f"folder:{data}", "--q", "0.05", "--shuffles", "2", "--threads", "1"]
    assert main(["run", *asked, "--model", own("body"), "--out", str(out), "--json"]) == 0
    told = capsys.readouterr()
    assert "dissected without classes" in told.err
    facts = json.loads(told.out.splitlines()[-1])
    assert facts["no_answers"] == "the network has no classifier (head is Identity)"
    return Run(Path(facts["path"]))


@pytest.mark.slow
def test_a_run_without_classes_on_the_command_line(bare, tmp_path, capsys):
    out = ["--out", str(bare.path.parent)]
    images = bare.sql("SELECT predicted, confidence, correct FROM images")
    assert images.isna().all(axis=None) and len(images) == 60
    assert not len(bare.sql("SELECT * FROM classes"))
    image = bare.sql("SELECT id FROM images LIMIT 1")["id"][0]
    for works in (
        ["show"],
        ["formulas", "--units", "1"],
        ["concepts", "--allow-empty"],
        ["cluster", "--k", "3", "--embedding", "words"],
        ["explain", "--image", image, "--cc", "top10"],
        ["report", "--to", str(tmp_path / "r.html")],
        ["export", "--figures", str(tmp_path / "f"), "--format", "svg"],
    ):
        assert main([works[0], bare.digest, *works[1:], *out]) == 0, works
    told = capsys.readouterr().out
    assert "There is no prediction to account for: the network has no classifier" in told
    for needs in (
        ["toggle", "--units", "1"],
        ["contribution", "--scene", "attic"],
        ["tables", "--table", "1"],
        ["tables", "--table", "2"],
        ["search"],
        ["edit", "--units", "1", "--out-dir", str(tmp_path / "e")],
        ["export", "--figures", str(tmp_path / "f"), "--only", "accuracy"],
    ):
        assert main([needs[0], bare.digest, *needs[1:], *out, "--allow-empty"]) == 2, needs
        assert "needs the network's answers, and this run has none" in capsys.readouterr().err
    shown = report(open_view(bare))
    assert FIGURES["accuracy"].title not in shown and "Answers" in shown


def test_classes_can_be_declined(own, tmp_path, capsys):
    data = write_folder(tmp_path / "data", 40)
    asked = ["run", "--dataset", f"folder:{data}", "--q", "0.05", "--shuffles", "0", "--json"]
    asked += ["--model", own("features"), "--out", str(tmp_path / "cache"), "--threads", "1"]
    assert main([*asked, "--no-classes"]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    run = Run(Path(facts["path"]))
    assert "--no-classes" in run.no_answers and run.info["request"]["classes"] is False
    (tmp_path / "s.csv").write_text("scene,class\nattic,x\n")
    assert main([*asked, "--no-classes", "--scenes", str(tmp_path / "s.csv")]) == 2


PAGES = {
    "app.py": "",
    "pages/1_Scenes.py": "",
    "pages/2_Units.py": "",
    "pages/3_Concepts.py": "",
    "pages/4_Explain.py": "why a photo was called what it was",
    "pages/5_Disable.py": "what disabling units does",
    "pages/6_Retrain.py": "training the network again",
    "pages/7_Compare.py": "the explanation of its false predictions",
    "pages/9_Runs.py": "",
}


@pytest.mark.slow
def test_every_page_of_a_run_without_classes(bare, monkeypatch):
    monkeypatch.setenv("UNITSCOPE_CACHE", str(bare.path.parent))
    image = bare.sql("SELECT id FROM images LIMIT 1")["id"][0]
    views = [(page, {}, words) for page, words in PAGES.items()] + [
        ("pages/1_Scenes.py", {"view": "matrix"}, "the confusion matrix"),
        ("pages/1_Scenes.py", {"image": image}, "what the network says of this photo"),
        ("pages/2_Units.py", {"unit": "1"}, "the contribution scores of a unit"),
        ("pages/6_Retrain.py", {"view": "svm"}, "an SVM that is judged beside"),
    ]
    for page, asked, words in views:
        at = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120)
        if page != "app.py":
            at.switch_page(page)
        for name, value in {"run": bare.digest, **asked}.items():
            at.query_params[name] = value
        at.run()
        assert not at.exception, (page, asked, at.exception)
        told = " ".join(box.value for box in at.info)
        if words:
            assert words.lower() in told.lower() and "no classifier" in told, (page, asked, told)
        else:
            assert "needs the network's answers" not in told, (page, told)
