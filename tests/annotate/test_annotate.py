"""`annotate`: photos without masks, a segmentation network, a dataset that says whose labels
its are, up to the captions of figures."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from streamlit.testing.v1 import AppTest
from torch import nn

from core.annotate.annotate import Asked, annotate
from core.annotate.segment import Label, Segmenter, load_segmenter, read_labels_file
from core.cli import main
from core.datasets import open_dataset
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.geometry import Preprocessing
from core.foundation.progress import Stopped
from tests import tiny

LABELS = ("__background__", "red", "green", "blue")


class Colours(nn.Module):
    """Says of each pixel which channel is the largest, and background where none is large."""

    def __init__(self):
        super().__init__()
        self.gain = nn.Parameter(torch.tensor(8.0))

    def forward(self, x):
        nothing = torch.full_like(x[:, :1], 0.5)
        return {"out": self.gain * torch.cat([nothing, x], 1)}


def colours(side: int | tuple[int, int] = 32) -> Segmenter:
    plain = Preprocessing(resize=side, center_crop=None, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    return Segmenter(Colours(), plain, [Label(n) for n in LABELS], "test", "colours")


def write_photos(root: Path, sizes: dict[str, tuple[int, int]]) -> Path:
    """Left half red, right half blue, the lowest quarter dark."""
    for name, (width, height) in sizes.items():
        pixels = np.zeros((height, width, 3), np.uint8)
        pixels[:, : width // 2, 0] = 255
        pixels[:, width // 2 :, 2] = 255
        pixels[3 * height // 4 :] = 20
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(root / name)
    return root


SIZES = {
    "kitchen/1.png": (64, 48),
    "kitchen/2.jpg": (96, 64),
    "attic/1.png": (64, 48),
    "attic/deep.png": (64, 48),
    "3.png": (40, 200),
}


def test_masks_are_what_the_network_says(tmp_path):
    photos = write_photos(tmp_path / "photos", SIZES)
    told = []
    done = annotate(photos, colours(), tmp_path / "out", Asked(batch=2), told.append)
    assert (done.photos, done.written, done.there, done.problems) == (5, 5, 0, [])
    assert 0.7 < done.labelled < 0.8  # the dark quarter has no label
    assert (told[-1].done, told[-1].total) == (5, 5)
    data = open_dataset(f"folder:{tmp_path / 'out'}")
    assert data.labels_by == "colours" and data.shown_name == "out (labels predicted by colours)"
    assert [c.name for c in data.concepts] == ["red", "green", "blue"]
    assert sorted(data.scenes) == ["attic", "kitchen"] and not data.problems
    for k, image in enumerate(data.ids):
        file = next(name for name in SIZES if name.rpartition(".")[0] == image)
        width, height = SIZES[file]
        mask = data.annotations(k).maps[0]
        scale = 32 / min(width, height)
        assert mask.shape == (round(height * scale), round(width * scale))
        h, w = mask.shape
        # Away from the edges, where the resizing mixes colours.
        assert (mask[: int(0.7 * h), : w // 2 - 2] == 1).all()
        assert (mask[: int(0.7 * h), w // 2 + 2 :] == 3).all()
        assert (mask[int(0.8 * h) :] == 0).all()
        assert data.photo(k).size == (width, height)


def test_label_map_against_a_slow_one():
    """Every pixel by hand: bilinear scores, softmax, best label, confidence."""
    rng = np.random.default_rng(0)
    scores = torch.from_numpy(rng.normal(size=(4, 3, 5)).astype(np.float32))
    for size in ((5, 3), (10, 6), (7, 4)):
        for least in (0.0, 0.4, 0.6):
            got = colours().label_map(scores, size, least)
            expected = np.zeros((size[1], size[0]), np.uint16)
            for y in range(size[1]):
                for x in range(size[0]):
                    fy = min(max((y + 0.5) * 3 / size[1] - 0.5, 0), 2)
                    fx = min(max((x + 0.5) * 5 / size[0] - 0.5, 0), 4)
                    y0, x0 = int(fy), int(fx)
                    y1, x1 = min(y0 + 1, 2), min(x0 + 1, 4)
                    s = scores.numpy().astype(np.float64)
                    here = (
                        s[:, y0, x0] * (1 - fy + y0) * (1 - fx + x0)
                        + s[:, y0, x1] * (1 - fy + y0) * (fx - x0)
                        + s[:, y1, x0] * (fy - y0) * (1 - fx + x0)
                        + s[:, y1, x1] * (fy - y0) * (fx - x0)
                    )
                    sure = np.exp(here) / np.exp(here).sum()
                    best = int(here.argmax())
                    expected[y, x] = best + 1 if best and sure[best] >= least else 0
            np.testing.assert_array_equal(got, expected)


def test_least_confidence_leaves_pixels_out(tmp_path):
    photos = write_photos(tmp_path / "photos", {"a.png": (64, 48)})
    shares = [
        annotate(photos, colours(), tmp_path / f"{p}", Asked(least_confidence=p)).labelled
        for p in (0.0, 0.9, 0.99)
    ]
    # Pure colours have e⁸ / (e⁸ + e⁴ + 2) = 0.981; mixed ones at the edges less.
    assert shares[0] > shares[1] > 0.6 and shares[2] == 0


def test_a_bad_photo_is_told_and_the_others_do_not_notice(tmp_path):
    photos = write_photos(tmp_path / "photos", SIZES)
    annotate(photos, colours(), tmp_path / "whole", Asked(batch=3))
    damaged = (photos / "attic/deep.png").read_bytes()
    (photos / "attic/deep.png").write_bytes(damaged[: len(damaged) // 2])
    (photos / "kitchen/2.jpg").write_bytes(b"no photo at all")
    done = annotate(photos, colours(), tmp_path / "out", Asked(batch=3))
    assert (done.written, len(done.problems)) == (3, 2)
    assert {p.image for p in done.problems} == {"attic/deep", "kitchen/2"}
    assert not (tmp_path / "out/images/attic/deep.png").exists()
    for name in ("kitchen/1", "attic/1", "3"):
        mask = f"masks/{name}.png"
        assert (tmp_path / "out" / mask).read_bytes() == (tmp_path / "whole" / mask).read_bytes()


def test_a_photo_for_which_the_network_gives_no_number_is_told(tmp_path):
    class Fails(Colours):
        def forward(self, x):
            out = super().forward(x)["out"]
            if x.shape[2] > 2 * x.shape[3]:
                out[0, 2, 1, 1] = torch.nan
            return out

    photos = write_photos(tmp_path / "photos", SIZES)
    network = colours()
    network.module = Fails()
    done = annotate(photos, network, tmp_path / "out", Asked(batch=3))
    assert done.written == 4 and not (tmp_path / "out/masks/3.png").exists()
    (problem,) = done.problems
    assert problem.image == "3"
    assert problem.reason == "the network gives nan for label 'green', not a finite number"


def test_stopped_and_gone_on_with_gives_the_same_bytes(tmp_path):
    photos = write_photos(tmp_path / "photos", SIZES)
    annotate(photos, colours(), tmp_path / "whole", Asked(batch=2))
    asked = []

    def stop() -> bool:
        asked.append(1)
        return len(asked) > 2

    with pytest.raises(Stopped, match="stopped at 3 of 5"):
        annotate(photos, colours(), tmp_path / "out", Asked(batch=2), stop=stop)
    masks = sorted((tmp_path / "out/masks").rglob("*.png"))
    assert [mask.stem for mask in masks] == ["3", "1", "deep"]
    masks[1].unlink()  # half of a batch is there, as a kill would leave it
    before = masks[2].stat().st_mtime_ns
    done = annotate(photos, colours(), tmp_path / "out", Asked(batch=2))
    assert (done.written, done.there) == (3, 2) and masks[2].stat().st_mtime_ns == before
    again = annotate(photos, colours(), tmp_path / "out", Asked(batch=2))
    assert (again.written, again.there) == (0, 5)

    def content(root: Path) -> dict[str, bytes]:
        return {
            p.relative_to(root).as_posix(): p.read_bytes() for p in root.rglob("*") if p.is_file()
        }

    assert content(tmp_path / "out") == content(tmp_path / "whole")


def test_a_folder_of_something_else_is_left_alone(tmp_path):
    photos = write_photos(tmp_path / "photos", {"a.png": (64, 48)})
    annotate(photos, colours(), tmp_path / "out")
    for other, what in (
        (dict(least_confidence=0.5), "another least confidence"),
        (dict(batch=9), "batch"),
    ):
        with pytest.raises(UnitscopeError, match=what):
            annotate(photos, colours(), tmp_path / "out", Asked(**other))
    changed = colours()
    changed.module.gain.data += 1
    with pytest.raises(UnitscopeError, match="another model"):
        annotate(photos, changed, tmp_path / "out")
    mine = tmp_path / "mine"
    (mine / "masks").mkdir(parents=True)
    with pytest.raises(UnitscopeError, match="holds masks that this command did not make"):
        annotate(photos, colours(), mine)
    with pytest.raises(UnitscopeError, match="holds the photos"):
        annotate(photos, colours(), photos)
    with pytest.raises(UnitscopeError, match="device 'tpu9'"):
        annotate(photos, colours(), tmp_path / "x", Asked(device="tpu9"))
    with pytest.raises(UnitscopeError, match="no folder of photos"):
        annotate(tmp_path / "none", colours(), tmp_path / "x")
    (tmp_path / "bare").mkdir()
    with pytest.raises(UnitscopeError, match="holds no photo"):
        annotate(tmp_path / "bare", colours(), tmp_path / "x")


def test_scenes_from_a_table_and_linked_photos(tmp_path):
    photos = write_photos(tmp_path / "photos", SIZES)
    table = tmp_path / "s.csv"
    table.write_text("image,scene,split\nkitchen/1.png,bath,test\nnone.png,x,test\n3,hall,train\n")
    annotate(photos, colours(), tmp_path / "out", Asked(scenes=table, link=True))
    assert (tmp_path / "out/images/3.png").is_symlink()
    data = open_dataset(f"folder:{tmp_path / 'out'}")
    scene = {i: s for i, s in zip(data.ids, data.scene, strict=True) if s >= 0}
    assert {i: data.scenes[s] for i, s in scene.items()} == {"kitchen/1": "bath", "3": "hall"}
    assert any("none.png" in p.reason for p in data.problems)


def test_more_than_255_labels(tmp_path):
    class Many(nn.Module):
        def __init__(self):
            super().__init__()
            self.scores = nn.Parameter(torch.arange(300.0)[None, :, None, None])

        def forward(self, x):
            return self.scores.expand(len(x), -1, *x.shape[2:])

    many = Segmenter(
        Many(),
        Preprocessing(resize=16, center_crop=None),
        [Label(f"thing {k}") for k in range(300)],
        "test",
        "many",
    )
    photos = write_photos(tmp_path / "photos", {"a.png": (64, 48)})
    annotate(photos, many, tmp_path / "out")
    data = open_dataset(f"folder:{tmp_path / 'out'}")
    assert data.concepts[data.annotations(0).maps[0].max() - 1].name == "thing 299"


def test_the_mark_is_part_of_the_digest(tmp_path):
    root = tiny.write_folder(tmp_path / "photos", 4)
    plain = open_dataset(f"folder:{root}")
    (root / "labels_by.json").write_text(json.dumps({"labels_by": "segformer"}))
    marked = open_dataset(f"folder:{root}")
    assert (plain.labels_by, marked.labels_by) == ("", "segformer")
    assert plain.content_digest() != marked.content_digest()
    (root / "labels_by.json").write_text("[]")
    with pytest.raises(BadFile, match="labels_by"):
        open_dataset(f"folder:{root}")


# -- networks -------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["lraspp_mobilenet_v3_large", "deeplabv3_mobilenet_v3_large"])
def test_torchvision_with_a_checkpoint(tmp_path, name):
    """A state dict with a training head, under `model`, with names of its own."""
    from torchvision import models as zoo

    torch.manual_seed(1)
    how = {"aux_loss": True} if name.startswith("deeplab") else {}
    module = zoo.get_model(name, weights=None, weights_backbone=None, num_classes=3, **how)
    file = tmp_path / "w.pth"
    torch.save({"model": module.state_dict(), "classes": ["wall", "bed", "lamp"]}, file)
    network = load_segmenter(f"torchvision:{name}:{file}", side=64)
    assert [label.name for label in network.labels] == ["wall", "bed", "lamp"]
    assert network.name == f"{name} (w.pth)" and network.preprocessing.resize == 64
    seen = np.random.default_rng(0).integers(0, 256, (2, 64, 80, 3)).astype(np.uint8)
    with torch.inference_mode():
        x = torch.from_numpy(np.stack([network.preprocessing.normalise(photo) for photo in seen]))
        expected = module.eval()(x)["out"]
    torch.testing.assert_close(network.scores(seen), expected)
    torch.save(module.state_dict(), file)
    with pytest.raises(UnitscopeError, match="names none of them: give --classes"):
        load_segmenter(f"torchvision:{name}:{file}")
    named = load_segmenter(
        f"torchvision:{name}:{file}", [Label("a"), Label("b", "part"), Label("")]
    )
    assert named.labels[1] == Label("b", "part")
    with pytest.raises(UnitscopeError, match="2 names for the 3 outputs"):
        load_segmenter(f"torchvision:{name}:{file}", [Label("a"), Label("b")])
    assert load_segmenter(f"torchvision:{name}:{file}", named.labels).digest() == named.digest()


def segformer(folder: Path, **how) -> Path:
    transformers = pytest.importorskip("transformers")
    torch.manual_seed(0)
    config = transformers.SegformerConfig(
        num_encoder_blocks=2,
        depths=[1, 1],
        sr_ratios=[2, 1],
        hidden_sizes=[8, 16],
        patch_sizes=[7, 3],
        strides=[4, 2],
        num_attention_heads=[1, 2],
        mlp_ratios=[2, 2],
        decoder_hidden_size=16,
        id2label={0: "wall", 1: "bed", 2: "night stand"},
        **how,
    )
    transformers.SegformerForSemanticSegmentation(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps(
            {
                "do_resize": True,
                "size": 64,
                "do_normalize": True,
                "image_mean": [0.5, 0.5, 0.5],
                "image_std": [0.25, 0.25, 0.25],
                "do_rescale": True,
                "rescale_factor": 1 / 255,
                "do_reduce_labels": True,
            }
        )
    )
    return folder


def test_transformers_from_a_local_folder(tmp_path):
    """The inputs are those of the package's own preprocessing, the scores those of the network."""
    folder = segformer(tmp_path / "seg")
    network = load_segmenter(f"transformers:{folder}")
    assert [label.name for label in network.labels] == ["wall", "bed", "night stand"]
    assert network.name == "segformer (seg)" and network.mask_size(640, 480) == (85, 64)
    import transformers

    photo = Image.fromarray(
        np.random.default_rng(0).integers(0, 256, (60, 100, 3)).astype(np.uint8)
    )
    processor = transformers.SegformerImageProcessor.from_pretrained(folder, local_files_only=True)
    theirs = processor(photo, return_tensors="pt")["pixel_values"]
    ours = network.preprocessing.normalise(np.asarray(network.preprocessing.view(photo)))
    assert np.abs(ours - theirs[0].numpy()).max() < 0.05  # two ways to round a resized byte
    with torch.inference_mode():
        expected = network.module(torch.from_numpy(ours[None])).logits
    got = network.scores(np.asarray(network.preprocessing.view(photo))[None])
    torch.testing.assert_close(got, expected)


def test_networks_that_cannot_be_used(tmp_path, monkeypatch):
    for spec, message in (
        ("torchvison:x", "is 'torchvision' meant"),
        ("torchvision:", "the forms are"),
        ("torchvision:deeplab", "nearest: deeplabv3"),
        ("transformers:/none", "no config.json"),
        ("torchvision:fcn_resnet50:/none.pth", "does not exist"),
    ):
        with pytest.raises(UnitscopeError, match=message):
            load_segmenter(spec)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(UnitscopeError, match=r"needs torchvision's weights fcn_resnet50_coco"):
        load_segmenter("torchvision:fcn_resnet50")
    folder = segformer(tmp_path / "seg")
    from safetensors.torch import load_file, save_file

    state = load_file(folder / "model.safetensors")
    headless = {k: v for k, v in state.items() if not k.startswith("decode_head.classifier")}
    save_file(headless, folder / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UnitscopeError, match=r"lack decode_head\.classifier"):
        load_segmenter(f"transformers:{folder}")
    monkeypatch.setitem(sys.modules, "transformers", None)
    with pytest.raises(UnitscopeError, match="pip install transformers"):
        load_segmenter(f"transformers:{folder}")


def test_a_size_that_the_network_does_not_take_is_told(tmp_path):
    """A DPT has places for one size of photo."""
    transformers = pytest.importorskip("transformers")
    config = transformers.DPTConfig(
        image_size=64,
        patch_size=16,
        hidden_size=16,
        num_hidden_layers=4,
        num_attention_heads=2,
        intermediate_size=16,
        backbone_out_indices=[0, 1, 2, 3],
        neck_hidden_sizes=[8, 8, 8, 8],
        fusion_hidden_size=8,
        id2label={0: "wall", 1: "bed"},
    )
    transformers.DPTForSemanticSegmentation(config).save_pretrained(tmp_path / "dpt")
    (tmp_path / "dpt" / "preprocessor_config.json").write_text('{"size": {"width":64,"height":64}}')
    photos = write_photos(tmp_path / "photos", {"a.png": (100, 80)})
    network = load_segmenter(f"transformers:{tmp_path / 'dpt'}")
    assert annotate(photos, network, tmp_path / "out").written == 1
    large = load_segmenter(f"transformers:{tmp_path / 'dpt'}", side=96)
    with pytest.raises(UnitscopeError, match="does not take photos of 120×96"):
        annotate(photos, large, tmp_path / "large")


def test_names_from_a_file(tmp_path):
    file = tmp_path / "names.txt"
    file.write_text("\nbed\n")
    assert read_labels_file(file) == [("", "object"), ("bed", "object")]
    file.write_text("background\nbed\nwood,material\nred,colour\n")
    assert read_labels_file(file) == [
        ("background", "object"),
        ("bed", "object"),
        ("wood", "material"),
        ("red", "color"),
    ]
    file.write_text("bed\nwood,stuff\n")
    with pytest.raises(BadFile, match="line 2: 'stuff' is not one of"):
        read_labels_file(file)


# -- end to end -----------------------------------------------------------------------------


def test_annotate_run_show(tmp_path, capsys, monkeypatch):
    """The whole way of a user without masks, and the mark in all that is shown."""
    drawn = tiny.write_folder(tmp_path / "drawn", 24)
    shutil.rmtree(drawn / "masks")
    folder = segformer(tmp_path / "seg")
    out, runs = tmp_path / "out", tmp_path / "runs"
    status = main(
        [
            "annotate",
            str(drawn / "images"),
            "--model",
            f"transformers:{folder}",
            "--to",
            str(out),
            "--scenes",
            str(drawn / "scenes.csv"),
            "--json",
        ]
    )
    told = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert status == 0 and told["labels_by"] == "segformer (seg)"
    assert (told["written"], told["scenes"], told["concepts"]) == (24, 3, 3)
    arguments = ["--dataset", f"folder:{out}", "--model", tiny.SPEC, "--q", "0.05"]
    assert main(["run", *arguments, "--shuffles", "2", "--out", str(runs)]) == 0
    by = "labels predicted by segformer (seg)"
    assert by in capsys.readouterr().out
    assert main(["show", "latest", "--out", str(runs)]) == 0
    assert by in capsys.readouterr().out
    assert main(["show", "latest", "--out", str(runs), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["labels_by"] == "segformer (seg)"
    assert main(["tables", "latest", "--out", str(runs), "--allow-empty"]) == 0
    assert by in capsys.readouterr().out
    figures = tmp_path / "figures"
    export = ["export", "latest", "--out", str(runs), "--figures", str(figures), "--format", "svg"]
    assert main(export) == 0
    drawings = list(figures.glob("*.svg"))
    assert drawings and all(by in drawing.read_text() for drawing in drawings)
    assert main(["report", "latest", "--out", str(runs), "--to", str(tmp_path / "r.html")]) == 0
    assert by in (tmp_path / "r.html").read_text()
    monkeypatch.setenv("UNITSCOPE_CACHE", str(runs))
    at = AppTest.from_file(str(Path(__file__).parents[2] / "app.py"), default_timeout=60).run()
    assert not at.exception
    charts = [chart.proto.spec for chart in at.get("vega_lite_chart")]
    assert charts and all(by in chart for chart in charts)
    assert any(by in element.proto.body for element in at.get("html"))
    at.switch_page("pages/9_Runs.py").run()
    assert not at.exception and any(by in str(frame.value.to_dict()) for frame in at.dataframe)


MISTAKES = [
    (["none"], "no folder of photos none"),
    (["p", "--model", "torchvison:x"], "is 'torchvision' meant"),
    (["p", "--scenes", "none.csv"], "no file none.csv"),
    (["p", "--least-confidence", "1.5"], "0 … 1, not 1.5"),
    (["p", "--batch", "0"], "1 photo or more, not 0"),
    (["p", "--to", "p"], "holds the photos"),
    (["p", "--to", "p/set"], "lies within the photos"),
]


def test_mistakes_come_before_pytorch(tmp_path):
    write_photos(tmp_path / "p", {"a.png": (64, 48)})
    usual = {"--model": "torchvision:fcn_resnet50", "--to": "out"}
    asked = [
        ["annotate", *more, *(word for k, v in usual.items() if k not in more for word in (k, v))]
        for more, _ in MISTAKES
    ]
    program = (
        "import json, sys; from core.cli import main\n"
        "for given in json.loads(sys.argv[1]):\n"
        "    assert main(given) == 2 and 'torch' not in sys.modules, given\n"
        "    print('--', file=sys.stderr)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, json.dumps(asked)],
        cwd=tmp_path,
        text=True,
        capture_output=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
    )
    assert told.returncode == 0, told.stderr
    *each, rest = told.stderr.split("--\n")
    assert not rest
    for text, (_, message) in zip(each, MISTAKES, strict=True):
        assert message in text
    assert not (tmp_path / "out").exists()
