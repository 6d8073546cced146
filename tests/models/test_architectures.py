"""Every architecture of core.models.families, end to end on a few photos, from a checkpoint.

The networks have random weights; their batch norms are set on noise first, as training would,
so that activations are neither nought nor endless. What toggling says is compared with a plain
hook, written here for each layout of outputs without any code of core.models.hooks.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from core.ablation.edits import Edit
from core.ablation.toggler import prepare
from core.datasets.decode import read_photo
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.explain.photo import explain_photo
from core.foundation.settings import Settings
from core.knowledge.kinds import open_knowledge
from core.models.families import FAMILIES, default_layer, family_of
from core.models.forward import Forward
from core.models.head import CLOSE
from core.models.hooks import token_grid
from core.models.load import load_model
from core.paper.tables import all_core_concepts
from core.runs.run_file import Run
from tests import tiny
from tests.ablation.networks import seen_photos

IMAGES = 3
OFF = (0, 2, 5, 11)
HALF = 7

slow = pytest.mark.slow

# Network, side of its input, default layer, layout of that layer's output, options of its making.
MAPS, LAST = "maps", "last"
NETWORKS = [
    pytest.param("torchvision:alexnet", 64, "features.11", MAPS, {}, marks=slow),
    pytest.param("torchvision:vgg11", 64, "features.19", MAPS, {}, marks=slow),
    ("torchvision:squeezenet1_1", 64, "features", MAPS, {}),
    ("torchvision:resnet18", 64, "layer4", MAPS, {}),
    pytest.param("torchvision:densenet121", 64, "features", MAPS, {}, marks=slow),
    pytest.param(
        "torchvision:googlenet", 64, "inception5b", MAPS, {"init_weights": False}, marks=slow
    ),
    pytest.param(
        "torchvision:inception_v3", 80, "Mixed_7c", MAPS, {"init_weights": False}, marks=slow
    ),
    pytest.param("torchvision:mobilenet_v2", 64, "features", MAPS, {}, marks=slow),
    ("torchvision:mobilenet_v3_small", 64, "features", MAPS, {}),
    pytest.param("torchvision:shufflenet_v2_x0_5", 64, "conv5", MAPS, {}, marks=slow),
    pytest.param("torchvision:mnasnet0_5", 64, "layers", MAPS, {}, marks=slow),
    pytest.param("torchvision:efficientnet_b0", 64, "features", MAPS, {}, marks=slow),
    pytest.param("torchvision:regnet_x_400mf", 64, "trunk_output", MAPS, {}, marks=slow),
    pytest.param("torchvision:convnext_tiny", 64, "features", MAPS, {}, marks=slow),
    pytest.param("torchvision:swin_t", 64, "norm", LAST, {}, marks=slow),
    pytest.param("torchvision:swin_v2_t", 64, "norm", LAST, {}, marks=slow),
    pytest.param("torchvision:maxvit_t", 224, "blocks.3", MAPS, {}, marks=slow),
    pytest.param(
        "torchvision:vit_b_32",
        96,
        "encoder.layers.encoder_layer_10",
        1,
        {"image_size": 96},
        marks=slow,
    ),
    pytest.param("timm:resnet18", 64, "layer4", MAPS, {}, marks=slow),
    pytest.param("timm:densenet121", 64, "features", MAPS, {}, marks=slow),
    pytest.param("timm:efficientnet_b0", 64, "bn2", MAPS, {}, marks=slow),
    ("timm:mobilenetv3_small_050", 64, "blocks", MAPS, {}),
    ("timm:regnetx_002", 64, "s4", MAPS, {}),
    pytest.param("timm:convnext_atto", 64, "stages", MAPS, {}, marks=slow),
    pytest.param("timm:swin_tiny_patch4_window7_224", 224, "norm", LAST, {}, marks=slow),
    pytest.param("timm:swinv2_tiny_window8_256", 256, "norm", LAST, {}, marks=slow),
    pytest.param("timm:vit_tiny_patch16_224", 224, "blocks.10", 1, {}, marks=slow),
    pytest.param("timm:deit_tiny_distilled_patch16_224", 224, "blocks.10", 2, {}, marks=slow),
    pytest.param("timm:vit_small_patch16_dinov3", 256, "blocks.11", 5, {}, marks=slow),
]


def made(name: str, options: dict) -> nn.Module:
    """The network as its package makes it, 5 classes, random weights, batch norms set on noise."""
    kind, _, name = name.partition(":")
    torch.manual_seed(0)
    if kind == "timm":
        import timm

        module = timm.create_model(name, num_classes=5, **options)
    else:
        from torchvision import models

        module = models.get_model(name, weights=None, num_classes=5, **options)
    normed = False
    for part in module.modules():
        if isinstance(part, nn.modules.batchnorm._BatchNorm):
            part.momentum, normed = None, True
        normed |= isinstance(part, nn.LayerNorm)
    for key, value in module.named_parameters():
        if key.split(".")[-1] in ("layer_scale", "gamma", "gamma_1", "gamma_2"):
            nn.init.ones_(value)  # so that blocks do something before they are trained
    linear = [m for m in module.modules() if isinstance(m, (nn.Conv2d, nn.Linear))]
    for part in linear[-1:] if normed else linear:
        # Classifiers are often begun at nought, and AlexNet's like fade away.
        nn.init.kaiming_normal_(part.weight)
    return module


def checkpoint(path: Path, name: str, side: int, options: dict) -> str:
    """Write a checkpoint of such a network as a training would; returns its SPEC."""
    module = made(name, options)
    if any(isinstance(m, nn.modules.batchnorm._BatchNorm) for m in module.modules()):
        module.train()
        with torch.no_grad():
            for seed in range(2):
                torch.manual_seed(seed)
                # GoogLeNet's and Inception's training heads want a larger input than their body.
                least = 224 if "googlenet" in name else 299 if "inception" in name else side
                module(torch.randn(4, 3, least, least))
    torch.save(
        {
            "state_dict": {f"module.{k}": v for k, v in module.state_dict().items()},
            "classes": [*tiny.SCENES, "dam", "eyrie"],
            "resize": [side + 8, side + 8],
            "center_crop": side,
        },
        path,
    )
    return f"{name}:{path}"


def plainly(module: nn.Module, layer: str, inputs: Tensor, layout: str | int) -> tuple:
    """(the layer's output, the network's logits without and with units OFF at nought and HALF
    halved), by a hook that knows where this layer's units are."""
    taken = []

    def change(output: Tensor) -> Tensor:
        for units, factor in ((list(OFF), 0.0), ([HALF], 0.5)):
            if layout == MAPS:
                output[:, units] *= factor
            elif layout == LAST:
                output[..., units] *= factor
            else:  # tokens, of which the first `layout` are no part of the grid
                output[:, layout:, units] *= factor
        return output

    def look(_module, _args, output):
        taken.append(output.clone())

    def edit(_module, _args, output):
        return change(output.clone())

    part = dict(module.named_modules())[layer]
    with torch.inference_mode():
        handle = part.register_forward_hook(look)
        before = module(inputs).numpy()
        handle.remove()
        handle = part.register_forward_hook(edit)
        after = module(inputs).numpy()
        handle.remove()
    return taken[0], before, after


def as_written(output: Tensor, layout: str | int) -> np.ndarray:
    """(images, units, height, width), spelt out cell by cell."""
    if layout == MAPS:
        return output.numpy()
    if layout == LAST:
        images, height, width, units = output.shape
        maps = np.empty((images, units, height, width), np.float32)
        for y in range(height):
            for x in range(width):
                maps[:, :, y, x] = output[:, y, x]
        return maps
    side = round((output.shape[1] - layout) ** 0.5)
    maps = np.empty((len(output), output.shape[2], side, side), np.float32)
    for y in range(side):
        for x in range(side):
            maps[:, :, y, x] = output[:, layout + side * y + x]
    return maps


@pytest.mark.parametrize(("name", "side", "layer", "layout", "options"), NETWORKS)
def test_an_architecture_end_to_end(tmp_path, name, side, layer, layout, options):
    if name.startswith("timm:"):
        pytest.importorskip("timm")
    spec = checkpoint(tmp_path / "weights.pt", name, side, options)
    model = load_model(spec)
    assert model.preprocessing.input_size() == (side, side)
    layers = {row.name: row for row in model.layers()}
    assert model.default_layer == layer and layer in layers
    folder = tiny.write_folder(tmp_path / "photos", IMAGES)
    request = Settings(f"folder:{folder}", spec, q=0.05, shuffles=2, map_type="float32")
    run = execute(plan(request), tmp_path / "runs", threads=1)
    assert run.info["accuracy"]["scored"] == IMAGES
    inputs = Forward(model, []).inputs(seen_photos(run))
    output, before, after = plainly(model.module, layer, inputs, layout)
    size = max(1.0, np.abs(after).max())
    assert np.abs(after - before).max() > 100 * CLOSE * size, "the edit does nothing: no test"
    maps = as_written(output, layout)
    np.testing.assert_allclose(run.array(f"maps-{layer}"), maps, atol=1e-4 * np.abs(maps).max())
    assert layers[layer][2:5] == maps.shape[1:]
    np.testing.assert_allclose(run.array("logits"), before, atol=CLOSE * size)
    toggler = prepare(run)
    family = family_of(model.module)
    assert family is not None and toggler.method == family.toggled, toggler.check
    told = toggler.logits_after([Edit(OFF), Edit((HALF,), 0.5)])
    assert np.abs(told - after).max() <= CLOSE * size
    assert toggler.toggle(Edit(OFF)).accuracy[0].n == IMAGES
    core = all_core_concepts(run, open_knowledge("builtin"), kinds=["top10"])["top10"]
    photo = read_photo(folder / "images" / "000.png")
    assert explain_photo(run, core, photo, "000.png", model=model).sentence
    run.close()


def test_every_family_is_tried_here():
    tried = set()
    for entry in NETWORKS:
        name, *_ = entry if isinstance(entry[0], str) else entry.values  # type: ignore[attr-defined]
        kind, _, name = name.partition(":")
        with torch.device("meta" if "regnet_" not in name else "cpu"):
            if kind == "timm":
                module = pytest.importorskip("timm").create_model(name)
            else:
                from torchvision import models

                module = models.get_model(name, weights=None)
        family = family_of(module)
        assert family is not None, name
        tried.add((family.package, family.kind))
    # timm's VGG is torchvision's, and half a gigabyte.
    assert tried == {(f.package, f.kind) for f in FAMILIES} - {("timm", "VGG")}


LAST_BLOCK = "encoder.layers.encoder_layer_11"


@pytest.fixture(scope="module")
def transformer(tmp_path_factory):
    """(SPEC, dataset, run) of a transformer with a class token: its default layer and its last."""
    base = tmp_path_factory.mktemp("transformer")
    spec = checkpoint(base / "w.pt", "torchvision:vit_b_32", 96, {"image_size": 96})
    dataset = f"folder:{tiny.write_folder(base / 'photos', 6)}"
    layers = ("encoder.layers.encoder_layer_10", LAST_BLOCK)
    work = plan(Settings(dataset, spec, layers=layers, q=0.05, shuffles=0))
    run = execute(work, base / "runs", threads=1)
    assert work.sizes["maps"] == kept(run)
    return spec, dataset, run


@pytest.mark.slow
def test_the_last_block_of_a_class_token_transformer_is_told_to_do_nothing(transformer):
    toggler = prepare(transformer[2], LAST_BLOCK)
    assert "answer does not come from these maps" in toggler.check.why
    assert (toggler.logits_after(Edit(OFF)) == toggler.logits()).all()


def kept(run) -> int:
    """Bytes of the maps of a run's layers and of what was beside them."""
    return sum(run.array(f"{a}-{b}").nbytes for a in ("maps", "beside") for b in run.layer_names)


def rounded(run, bits: int) -> None:
    """The first layer's tail is replayed, as exactly as promised from 32 bits alone."""
    first = run.layer_names[0]
    assert run.array(f"maps-{first}").dtype.itemsize == bits // 8
    toggler = prepare(run, first)
    toggler.logits()
    assert toggler.method == "replayed tail"
    assert (toggler.check.recorded <= CLOSE) == (bits == 32)
    assert ("rounding moves the logits" in toggler.check.why) == (bits == 16)


@pytest.mark.slow
def test_a_transformer_is_replayed_as_exactly_as_promised_unless_told_otherwise(
    transformer, tmp_path
):
    """Its tokens rounded to half precision would move the logits by more than 1e-5."""
    spec, dataset, run = transformer
    rounded(run, 32)
    asked = Settings(dataset, spec, q=0.05, shuffles=0, map_type="float16")
    rounded(execute(plan(asked), tmp_path / "runs", threads=1), 16)


@pytest.mark.slow
def test_so_is_one_of_timm(tmp_path):
    pytest.importorskip("timm")
    spec = checkpoint(tmp_path / "w.pt", "timm:vit_tiny_patch16_224", 224, {})
    folder = tiny.write_folder(tmp_path / "photos", 6)
    for map_type, bits in (("auto", 32), ("float16", 16)):
        work = plan(Settings(f"folder:{folder}", spec, q=0.05, shuffles=0, map_type=map_type))
        run = execute(work, tmp_path / "runs", threads=1)
        assert work.sizes["maps"] == kept(run)
        rounded(run, bits)


@pytest.mark.slow
def test_a_tail_without_the_class_token_recorded_is_not_replayed(transformer, tmp_path):
    """Runs of older versions have no such array: they are still toggled, by the whole network."""
    made = transformer[2]
    shutil.copy(made.path, tmp_path)
    shutil.copytree(made.arrays, tmp_path / made.arrays.name)
    with Run(tmp_path / made.path.name) as run:
        layer = run.layer_names[0]
        assert run.array(f"beside-{layer}").shape == (6, 1, 768)
        (run.arrays / f"beside-{layer}.npy").unlink()
        toggler = prepare(run, layer)
        assert toggler.method == "whole forward" and "did not record" in toggler.check.why


@pytest.mark.parametrize(
    "name",
    [
        "resnet50",
        "wide_resnet50_2",
        "vgg16_bn",
        "efficientnet_v2_s",
        "convnext_base",
        "swin_v2_b",
        "vit_l_16",
    ],
)
def test_default_layers_of_larger_members(name):
    from torchvision import models

    with torch.device("meta"):
        module = models.get_model(name, weights=None)
    family = family_of(module)
    assert family is not None
    assert default_layer(module) in dict(module.named_modules())


def test_a_network_of_no_known_family_gets_a_layer_that_gives_maps():
    pytest.importorskip("timm")
    # Its last listed stages are a list of layers that is never called itself.
    model = load_model("timm:twins_pcpvt_small:random")
    layers = {layer.name: layer for layer in model.layers()}
    assert layers[model.default_layer][2:4] == (512, 7)


def test_tokens_are_laid_on_a_grid_of_the_photos_shape():
    for beside in range(6):
        for rows, columns in ((14, 14), (7, 7), (12, 16), (16, 12), (10, 28)):
            seen = (rows * 16, columns * 16)
            assert token_grid(beside + rows * columns, seen) == (beside, rows, columns)
    # An input of 230 × 310 pixels cut into whole patches of 16.
    assert token_grid(1 + 14 * 19, (230, 310)) == (1, 14, 19)
    assert token_grid(14 * 14 + 9) is None


def test_the_table_of_the_documentation_is_the_one_of_the_code():
    text = (Path(__file__).resolve().parents[2] / "docs" / "models.md").read_text(encoding="utf-8")
    rows = [line.strip("| ").split(" | ") for line in text.splitlines() if line.startswith("| t")]
    found = {row[0]: row[1:] for row in rows if len(row) == 3}
    assert set(found) == {f"{f.package} {f.networks}" for f in FAMILIES}
    for family in FAMILIES:
        layer, toggled = found[f"{family.package} {family.networks}"]
        assert toggled == family.toggled
        name = family.layer.partition(":")[0]
        assert f"`{name}`" in layer or layer == "the same"


def hugging(folder: Path) -> tuple[nn.Module, dict]:
    """As docs/models.md writes it, for any classifier of that library."""
    from transformers import AutoModelForImageClassification

    net = AutoModelForImageClassification.from_pretrained(folder, local_files_only=True)
    return net, {
        "preprocessing": {"resize": (64, 64), "center_crop": None},
        "classes": [net.config.id2label[k] for k in range(net.config.num_labels)],
        "default_layer": "vit.layers.1",
    }


def test_a_hugging_face_classifier_by_a_function(tmp_path):
    library = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = library.ViTConfig(
        hidden_size=32,
        num_hidden_layers=3,
        num_attention_heads=2,
        intermediate_size=64,
        image_size=64,
        patch_size=16,
        id2label=dict(enumerate(tiny.SCENES)),
    )
    net = library.ViTForImageClassification(config).eval()
    nn.init.normal_(net.classifier.weight)
    net.save_pretrained(tmp_path / "net")
    folder = tiny.write_folder(tmp_path / "photos", IMAGES)
    spec = f"python:tests.models.test_architectures:hugging:{tmp_path / 'net'}"
    request = Settings(f"folder:{folder}", spec, q=0.05, shuffles=0, map_type="float32")
    run = execute(plan(request), tmp_path / "runs", threads=1)
    assert run.info["accuracy"]["scored"] == IMAGES
    toggler = prepare(run)
    assert toggler.method == "whole forward"  # its forward cannot be traced
    inputs = Forward(load_model(spec), []).inputs(seen_photos(run))

    def off(_module, _args, output):
        output = output.clone()
        output[:, 1:, list(OFF)] = 0
        return output

    net.vit.layers[1].register_forward_hook(off)
    with torch.inference_mode():
        wanted = net(inputs).logits.numpy()
    told = toggler.logits_after(Edit(OFF))
    assert np.abs(told - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    assert np.abs(told - toggler.logits()).max() > 100 * CLOSE
