"""Networks by SPEC, checkpoints, hooks; the two real networks of the test data."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from core.ablation.forward import tail_of
from core.cli import main
from core.dissect.plan import plan
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import Preprocessing
from core.foundation.settings import Settings
from core.models.forward import Forward
from core.models.hooks import as_maps, capture, list_layers, token_grid
from core.models.load import load_model
from tests import tiny

# -- hooks ----------------------------------------------------------------------------------


def hooks_of(module: nn.Module) -> int:
    return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in module.modules())


def test_capture_gives_what_a_layer_gave_even_before_work_in_place():
    net = nn.Sequential(nn.Conv2d(3, 4, 1), nn.ReLU(inplace=True))
    x = torch.randn(2, 3, 5, 5)
    with capture(net, ["0", "1"]) as maps:
        net(x)
    torch.testing.assert_close(maps["0"], net[0](x))
    torch.testing.assert_close(maps["1"], net[0](x).relu())
    assert (maps["0"] < 0).any()


def test_capture_always_lets_go():
    net = tiny.Net()
    with capture(net, ["body.1"]):
        assert hooks_of(net)
    assert not hooks_of(net)
    with pytest.raises(ZeroDivisionError), capture(net, ["body.1"]):
        raise ZeroDivisionError
    assert not hooks_of(net)
    with pytest.raises(UnitscopeError, match="unknown layer"), capture(net, ["body.1", "body.9"]):
        pass
    assert not hooks_of(net)
    with pytest.raises(RuntimeError), capture(net, ["body.1"]):
        net(torch.zeros(1, 5, 8, 8))
    assert not hooks_of(net)
    list_layers(net, torch.zeros(1, 3, 8, 8))
    assert not hooks_of(net)


def test_a_shared_module_is_refused():
    class Twice(nn.Module):
        def __init__(self):
            super().__init__()
            self.relu = nn.ReLU()

        def forward(self, x):
            return self.relu(self.relu(x) - 1)

    net = Twice()
    with (
        pytest.raises(UnitscopeError, match="more than once"),
        capture(net, ["relu"]),
    ):
        net(torch.zeros(1, 2, 3, 3))
    assert [layer.name for layer in list_layers(net, torch.zeros(1, 2, 3, 3))] == []


class Shared(tiny.Net):
    """A ReLU that two places share, a layer that nothing reaches, one that gives no maps."""

    def __init__(self):
        super().__init__()
        self.relu, self.unused, self.odd = nn.ReLU(), nn.ReLU(), nn.Flatten(0)

    def forward(self, x):
        maps = self.relu(self.relu(self.body(x)) - 0.1)
        return self.head(maps.mean((2, 3))) + 0 * self.odd(maps).sum()


def shared():
    """The ``python:`` function."""
    return Shared(), tiny.net()[1]


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        ("relu", "layer 'relu' is called more than once in a forward pass; choose the block"),
        ("unused", "the forward pass never reached layer unused"),
        ("odd", "layer 'odd' gives shape"),
        ("body.9", "unknown layer 'body.9'"),
    ],
)
def test_a_layer_that_cannot_be_dissected_is_told_why(tmp_path, capsys, layer, message):
    spec = "python:tests.models.test_models:shared"
    folder = tiny.write_folder(tmp_path / "photos", 3)
    with pytest.raises(UnitscopeError, match=message):
        plan(Settings(f"folder:{folder}", spec, layers=(layer,)))
    assert main(["layers", "--model", spec, "--under", layer]) == 2
    assert message in capsys.readouterr().err


def test_faults_name_layer_and_unit_and_leave_the_others_alone():
    model = load_model(tiny.SPEC)
    seen = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3)).astype(np.uint8)
    fine = Forward(model, ["body.1", "body.3"])(seen)
    assert fine.faults == {}

    def spoil(_module, _args, output):
        output[1, 4, 0, 2] = torch.inf
        return output

    handle = model.module.body[1].register_forward_hook(spoil)
    passed = Forward(model, ["body.1", "body.3"])(seen)
    assert passed.faults == {
        1: "layer 'body.1' of the network gives inf for unit 4, not a finite number"
    }
    for layer, watched in passed.layers.items():
        for got, wanted in zip(watched[:3], fine.layers[layer][:3], strict=True):
            assert (got[[0, 2]] == wanted[[0, 2]]).all() and (got[1] == 0).all()
    assert (passed.logits[[0, 2]] == fine.logits[[0, 2]]).all() and (passed.logits[1] == 0).all()
    with pytest.raises(UnitscopeError, match=r"^b\.png: layer 'body\.1' .* inf for unit 4"):
        Forward(model, ["body.1"])(seen, ["a.png", "b.png", "c.png"])
    handle.remove()


def test_every_shape_of_output_becomes_maps_or_is_told():
    tokens = torch.arange(2 * 10 * 3.0).reshape(2, 10, 3)
    grid = as_maps(tokens, "encoder")
    assert grid.shape == (2, 3, 3, 3)
    # The class token (the first) is gone; position (row 1, column 2) is token 1 + 5.
    torch.testing.assert_close(grid[:, :, 1, 2], tokens[:, 1 + 5])
    last = torch.randn(2, 7, 7, 16)
    torch.testing.assert_close(as_maps(last, "swin"), last.permute(0, 3, 1, 2))
    assert as_maps((torch.zeros(1, 4, 2, 2), None), "x").shape == (1, 4, 2, 2)
    assert as_maps(torch.zeros(3, 9), "fc").shape == (3, 9, 1, 1)
    # Maps of a wide photo whose height is by chance the number of units are no Swin output.
    wide = torch.randn(2, 64, 64, 86)
    torch.testing.assert_close(as_maps(wide, "layer1", (256, 341)), wide)
    turned = as_maps(torch.randn(2, 8, 11, 96), "swin", (256, 341))
    assert turned.shape == (2, 96, 8, 11)
    with pytest.raises(UnitscopeError, match=r"\(2, 3, 4, 5, 6\)"):
        as_maps(torch.zeros(2, 3, 4, 5, 6), "video")
    with pytest.raises(UnitscopeError, match="dict"):
        as_maps({}, "odd")


@pytest.mark.parametrize(
    ("patch", "beside", "seen"),
    [
        (14, 5, (236, 308)),
        (14, 1, (112, 96)),
        (16, 1, (464, 200)),
        (32, 1, (384, 512)),
        (16, 5, (128, 96)),
        (8, 0, (100, 203)),
        (16, 2, (224, 224)),
        (32, 5, (192, 128)),
    ],
)
def test_tokens_of_wide_and_tall_photos_are_laid_on_the_grid_of_their_patches(patch, beside, seen):
    rows, columns = seen[0] // patch, seen[1] // patch
    assert token_grid(beside + rows * columns, seen) == (beside, rows, columns)


def test_a_networks_input_with_a_default_is_its_input_still():
    """As Hugging Face's: ``forward(self, pixel_values=None, …)``, asked for in the body."""

    class Optional(tiny.Net):
        def forward(self, pixel_values=None, scale=None):
            if pixel_values is None:
                raise ValueError("no photo")
            found = self.body(pixel_values)
            return self.head((found if scale is None else found * scale).mean((2, 3)))

    class Around(tiny.Net):
        def forward(self, pixel_values=None):
            return self.head(self.body(pixel_values).mean((2, 3))) + pixel_values.mean()

    net = Optional().eval()
    tail = tail_of(net, "body")
    assert tail is not None
    assert tail_of(Around().eval(), "body") is None
    x = torch.randn(2, 3, 24, 24)
    torch.testing.assert_close(tail(net.body(x)), net(x))


# -- loading --------------------------------------------------------------------------------


def test_a_vision_transformer_is_laid_on_its_grid():
    model = load_model("torchvision:vit_b_32:random")
    assert "untrained" in model.notes["weights"]
    layers = {layer.name: layer for layer in model.layers()}
    assert model.default_layer == "encoder.layers.encoder_layer_10"
    assert layers[model.default_layer][2:] == (768, 7, 7, 1)
    seen = np.zeros((2, 224, 224, 3), np.uint8)
    passed = Forward(model, [model.default_layer])(seen)
    assert passed.layers[model.default_layer].maps.shape == (2, 768, 7, 7)


@pytest.mark.parametrize("prefix", ["", "module.", "model."])
def test_checkpoints_with_and_without_prefixes(tmp_path, prefix):
    torch.manual_seed(1)
    from torchvision.models import squeezenet1_1

    net = squeezenet1_1(num_classes=5).eval()
    path = tmp_path / "net.pt"
    torch.save(
        {
            "state_dict": {prefix + k: v.half() for k, v in net.state_dict().items()},
            "classes": list("abcde"),
            "resize": [70, 70],
            "center_crop": 64,
            "epoch": 3,
        },
        path,
    )
    model = load_model(f"torchvision:squeezenet1_1:{path}")
    assert model.classes == list("abcde") and model.notes["epoch"] == 3
    assert model.preprocessing.input_size() == (64, 64)
    stored = {k: v.half().float() for k, v in net.state_dict().items()}
    for name, value in model.module.state_dict().items():
        torch.testing.assert_close(value, stored[name])
        assert value.dtype == torch.float32
    assert not model.module.training


def test_checkpoints_that_do_not_fit_are_told_with_both_sides(tmp_path):
    from torchvision.models import squeezenet1_1

    path = tmp_path / "net.pt"
    state = squeezenet1_1(num_classes=5).state_dict()
    state["features.0.weight"] = torch.zeros(8, 3, 3, 3)
    state["extra.weight"] = torch.zeros(1)
    del state["features.3.squeeze.bias"]
    torch.save(state, path)
    with pytest.raises(UnitscopeError) as told:
        load_model(f"torchvision:squeezenet1_1:{path}")
    text = str(told.value)
    assert "network also has features.3.squeeze.bias" in text
    assert "file also has extra.weight" in text
    assert "features.0.weight: file (8, 3, 3, 3), network (64, 3, 3, 3)" in text
    torch.save({"state_dict": squeezenet1_1(num_classes=5).state_dict(), "classes": ["a"]}, path)
    with pytest.raises(UnitscopeError, match="names 1 classes but has 5 outputs"):
        load_model(f"torchvision:squeezenet1_1:{path}")


class Evil:
    """Runs code when it is unpickled."""

    def __reduce__(self):
        return (print, ("code from a checkpoint ran",))


def test_a_checkpoint_with_code_in_it_is_refused(tmp_path, capsys):
    path = tmp_path / "evil.pt"
    torch.save({"state_dict": {}, "x": Evil()}, path)
    with pytest.raises(UnitscopeError, match="cannot be read safely"):
        load_model(f"torchvision:resnet18:{path}")
    assert "ran" not in capsys.readouterr().out
    path.write_bytes(b"junk")
    with pytest.raises(UnitscopeError, match="cannot be read safely"):
        load_model(f"torchvision:resnet18:{path}")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("torchvision:resnet19", "nearest: resnet18"),
        ("torchvision:resnet18:/no/such/file", "does not exist"),
        ("python:tests.tiny", "the form is python:"),
        ("python:tests.tinny:net", "cannot import tests.tinny"),
        ("python:tests.tiny:SCENES", "unknown function"),
        ("onnx:x", r"unknown kind of model 'onnx:x'; forms: rooms\[:NAME\], torchvision"),
        ("rooms:x", "unknown network of rooms 'x'; known: purple_umbrella, red_lamp"),
    ],
)
def test_specs_that_name_nothing_are_told(spec, message):
    with pytest.raises(UnitscopeError, match=message):
        load_model(spec)


def test_missing_published_weights_are_told_with_a_way_out(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UnitscopeError, match="torchvision:resnet18:random"):
        load_model("torchvision:resnet18")


# -- the forward pass -----------------------------------------------------------------------


def test_inputs_are_the_preprocessings_to_the_bit():
    model = load_model(tiny.SPEC)
    rng = np.random.default_rng(0)
    seen = rng.integers(0, 256, (3, 24, 24, 3)).astype(np.uint8)
    for channels in ("RGB", "BGR"):
        model.preprocessing = Preprocessing(channels=channels, mean=(0.1, 0.2, 0.3), divide=200.0)
        ours = Forward(model, []).inputs(seen).numpy()
        slow = np.stack([model.preprocessing.normalise(photo) for photo in seen])
        np.testing.assert_array_equal(ours, slow)
        x = seen[0, 5, 7, :: 1 if channels == "RGB" else -1] / 200.0
        want = (x - [0.1, 0.2, 0.3]) / np.array(model.preprocessing.std)
        np.testing.assert_allclose(ours[0, :, 5, 7], want, rtol=1e-5)


def test_pooled_features_are_means_before_rounding():
    model = load_model(tiny.SPEC)
    seen = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3)).astype(np.uint8)
    passed = Forward(model, ["body.3"], map_type="float32")(seen)
    maps = passed.layers["body.3"].maps
    np.testing.assert_allclose(passed.layers["body.3"].pooled, maps.mean((2, 3)), rtol=1e-6)
    with torch.inference_mode():
        direct = model.module(Forward(model, []).inputs(seen))
    np.testing.assert_array_equal(passed.logits, direct.numpy())


def test_bfloat16_is_close():
    model = load_model(tiny.SPEC)
    seen = np.random.default_rng(0).integers(0, 256, (2, 24, 24, 3)).astype(np.uint8)
    exact = Forward(model, ["body.3"])(seen)
    mixed = Forward(model, ["body.3"], precision="bfloat16")(seen)
    np.testing.assert_allclose(mixed.logits, exact.logits, atol=0.05)


def test_a_class_token_beyond_half_precision_is_told_like_maps():
    class Tokens(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = nn.Identity()

        def forward(self, x):
            tokens = x.flatten(2)[:, :, :16].transpose(1, 2)
            first = torch.full_like(tokens[:, :1], self.most)
            return self.inner(torch.cat([first, tokens], 1)).mean(1)

    model = load_model(tiny.SPEC)
    model.module = Tokens()
    seen = np.zeros((2, 24, 24, 3), np.uint8)
    model.module.most = 60_000.0
    watched = Forward(model, ["inner"])(seen).layers["inner"]
    assert watched.maps.shape == (2, 3, 4, 4) and watched.beside.shape == (2, 1, 3)
    assert (watched.beside == 60_000).all()
    model.module.most = 70_000.0
    with pytest.raises(UnitscopeError, match="activations reach 70000, more than half"):
        Forward(model, ["inner"])(seen)
    Forward(model, ["inner"], map_type="float32")(seen)


# -- the real networks ----------------------------------------------------------------------


def test_nyuv2_resnet_reaches_the_accuracy_its_file_states(data_dir):
    """On every fourth test photo: within what so many draws can differ."""
    from core.datasets import open_dataset
    from core.foundation.names import match_names

    folder = data_dir / "nyuv2"
    model = load_model(f"torchvision:resnet18:{folder / 'resnet18_nyuv2.pt'}")
    data = open_dataset(f"nyuv2:{folder}")
    chosen = data.select(["test"])[::4]
    class_of = match_names(data.scenes, model.classes)
    assert (class_of >= 0).all()
    right = 0
    forward = Forward(model, [])
    for at in range(0, len(chosen), 32):
        part = chosen[at : at + 32]
        seen = np.stack([np.asarray(model.preprocessing.view(data.photo(i))) for i in part])
        right += int((forward(seen).logits.argmax(1) == class_of[data.scene[part]]).sum())
    stated = model.notes["test_accuracy"]
    spread = 3 * np.sqrt(stated * (1 - stated) / len(chosen))
    assert abs(right / len(chosen) - stated) < spread


def test_places_squeezenet_by_import_path(data_dir):
    """The stated top-5 accuracy on NYUv2 photos (68 % on some 215) is approached."""
    from core.datasets import open_dataset
    from core.foundation.names import match_names

    arrays = data_dir / "places365_squeezenet" / "squeezenet_places365_152arrays.npz"
    model = load_model(f"python:tests.squeezenet_places:load:{arrays}")
    assert len(model.classes) == 365 and model.default_layer == "fire9"
    layers = {layer.name: layer for layer in model.layers()}
    assert layers["fire9"][2:] == (512, 13, 13, 0)
    assert "SqueezeNet" in model.source
    data = open_dataset(f"nyuv2:{data_dir / 'nyuv2'}")
    class_of = match_names(data.scenes, model.classes)
    known = np.flatnonzero(class_of[data.scene] >= 0)[::11]
    hits = 0
    forward = Forward(model, [])
    for at in range(0, len(known), 32):
        part = known[at : at + 32]
        seen = np.stack([np.asarray(model.preprocessing.view(data.photo(i))) for i in part])
        top = np.argsort(-forward(seen).logits, axis=1)[:, :5]
        hits += int((top == class_of[data.scene[part]][:, None]).any(1).sum())
    assert hits / len(known) > 0.5
