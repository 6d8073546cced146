"""Toggling in real networks, each strategy against a plain forward hook."""

from __future__ import annotations

import re
import shutil

import numpy as np
import pytest
import torch

from core.ablation import search
from core.ablation.edits import Change, Edit
from core.ablation.export import write_edit
from core.ablation.forward import apply_change, copied, forward_edited, tail_of
from core.ablation.toggler import prepare
from core.cli import main
from core.datasets import open_dataset
from core.datasets.decode import read_photo
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.explain.photo import explain_photo, open_model
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.foundation.settings import Settings
from core.knowledge.kinds import open_knowledge
from core.models.forward import Forward
from core.models.head import CLOSE
from core.models.load import load_model
from core.paper.tables import all_core_concepts
from core.runs.run_file import Run
from tests import tiny
from tests.ablation.networks import (
    EDITS,
    hooked_logits,
    in_batches,
    photo_run,
    same_predictions,
    seen_photos,
)


def test_tiny_net_closed_form_equals_a_hook(tiny_run):
    toggler = prepare(tiny_run)
    assert toggler.method == "closed form" and toggler.check.agreement <= CLOSE
    wanted = hooked_logits(tiny_run, "body.3", EDITS, rounded=False)
    got = toggler.logits_after(EDITS)
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    same_predictions(got, wanted)
    assert (toggler.predict(EDITS).predicted == got.argmax(1)).mean() > 0.98


def test_an_inner_layer_is_replayed_and_equals_a_hook(tiny_run):
    toggler = prepare(tiny_run, "body.1")
    assert toggler.method == "replayed tail"
    wanted = [hooked_logits(tiny_run, "body.1", edits, rounded=True) for edits in ([], EDITS)]
    reports = []
    got = toggler.logits_after(EDITS, progress=reports.append)
    assert np.abs(got - wanted[1]).max() <= CLOSE * max(1.0, np.abs(wanted[1]).max())
    assert np.abs(toggler.logits() - wanted[0]).max() <= CLOSE * max(1.0, np.abs(got).max())
    last = reports[-1]
    assert (last.done, last.total) == (150, 150) and "change" in str(last)
    told = toggler.toggle(EDITS)
    assert last.gain == told.gain
    # Close to the recorded logits, which are of unrounded maps, and kept for the next time.
    assert toggler.check.recorded < 1e-2
    assert toggler.answers.kept.is_file()
    assert prepare(tiny_run, "body.1").check.recorded == toggler.check.recorded


def test_a_replay_can_be_stopped_and_needs_known_units(tiny_run):
    toggler = prepare(tiny_run, "body.1")
    calls = []
    with pytest.raises(Stopped, match="stopped after 128 of 150 images"):
        toggler.predict(Edit((0,)), stop=lambda: len(calls) > 1 or calls.append(1) is not None)
    with pytest.raises(UnitscopeError, match="no unit 8"):
        toggler.predict(Edit((8,)))
    with pytest.raises(UnitscopeError, match="closed form only"):
        toggler.live()
    with pytest.raises(UnitscopeError, match="needs a linear head"):
        search.greedy_forward(toggler, toggler.every)


@pytest.mark.parametrize(
    ("spec", "layer", "method"),
    [
        ("python:tests.ablation.networks:inner", "second", "replayed tail"),
        ("python:tests.ablation.networks:inner", "inside", "whole forward"),
        ("python:tests.ablation.networks:branching", "second", "whole forward"),
    ],
)
def test_each_way_equals_a_hook(tmp_path, spec, layer, method):
    run = photo_run(tmp_path, spec, (layer,), map_type="float32")
    toggler = prepare(run, layer)
    assert toggler.method == method, toggler.check
    got = toggler.logits_after(EDITS)
    wanted = hooked_logits(run, layer, EDITS, rounded=False)
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    same_predictions(got, wanted)
    assert toggler.check.flipped == 0 and toggler.check.recorded <= CLOSE


@pytest.mark.parametrize(
    ("function", "edit", "method", "failed"),
    [
        ("rectified", Edit((0, 2, 5)), "closed form", ""),
        ("rectified", Edit((0, 2, 5), 0.5), "closed form", ""),
        ("rectified", Edit((0, 2, 5), 3.0), "closed form", ""),
        ("rectified", Edit((0, 2, 5), clamp=2.0), "closed form", ""),
        ("rectified", Edit(tuple(range(10)), clamp=-5.0), "replayed tail", "clamped low"),
        ("rectified", Edit((0, 2, 5), -1.0), "replayed tail", "multiplied by a negative factor"),
        ("clipped", Edit((0, 2, 5), clamp=-5.0), "closed form", ""),
        ("clipped", Edit((0, 2, 5), clamp=5.0), "closed form", ""),
        ("clipped", Edit((0, 2), clamp=300.0), "replayed tail", r"clamped high \(300\)"),
        ("clipped", Edit((0, 2), 1e5), "replayed tail", r"multiplied by more than 1 \(100000\)"),
    ],
)
def test_the_closed_form_answers_only_kinds_of_edit_that_passed(
    tmp_path, function, edit, method, failed
):
    """Counts of right answers are those of a forward hook, whatever the kind of edit."""
    spec = f"python:tests.ablation.networks:{function}"
    run = photo_run(tmp_path, spec, ("body",), 48, map_type="float32")
    toggler = prepare(run)
    assert toggler.method == "closed form"
    told = toggler.toggle(edit)
    assert told.method == method
    wanted = hooked_logits(run, "body", [edit], rounded=False)
    target = toggler.target
    assert told.accuracy[1].right == (wanted.argmax(1) == target).sum()
    assert (told.after.predicted == wanted.argmax(1)).all()
    got = toggler.logits_after(edit)
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    why = toggler.answering(edit).check.why
    assert re.search(f"the closed form fails for units {failed}", why) if failed else True
    if failed:
        with pytest.raises(UnitscopeError, match=failed):
            toggler.live(edit)
        # No file whose classifier is changed could give these answers.
        written = write_edit(toggler, edit, tmp_path / "out", kinds=("state", "folded"))
        assert "folded" in written.left_out and "state" in written.files


def test_probes_of_every_kind_are_told(tmp_path):
    run = photo_run(tmp_path, "python:tests.ablation.networks:rectified", ("body",))
    check = prepare(run).check
    failed = {kind for kind, gap in check.probes.items() if gap > CLOSE}
    assert failed == {"clamped low", "multiplied by a negative factor"}
    assert len(check.probes) == 7 and check.agreement <= CLOSE
    assert all(f"units {kind} (by" in check.why for kind in failed)


def test_the_closed_form_is_refused_where_recorded_logits_say_otherwise(tmp_path):
    run = photo_run(tmp_path, "python:tests.ablation.networks:rectified", ("body",))
    path = run.path.with_suffix(".arrays") / "logits.npy"
    logits = np.load(path)
    logits[7, 0] += 0.01
    np.save(path, logits)
    toggler = prepare(Run(run.path))
    assert toggler.method == "replayed tail"
    assert "differ from the recorded logits by up to" in toggler.check.why
    assert "image '007'" in toggler.check.why


@pytest.mark.parametrize("function", ["untracked", "training", "function"])
def test_networks_that_normalise_by_the_batch_run_whole_in_the_runs_batches(tmp_path, function):
    spec = f"python:tests.ablation.networks:{function}"
    run = photo_run(tmp_path, spec, ("first", "second"), 80, map_type="float32")
    recorded = np.asarray(run.array("logits"))
    assert np.abs(in_batches(run, "first", None) - recorded).max() <= CLOSE
    toggler = prepare(run, "first")
    assert toggler.method == "whole forward"
    assert "own batches of 32" in toggler.check.why
    # Some images of several batches: what they are told does not depend on which are asked.
    rows = np.array([3, 4, 40, 77])
    edit = Edit((0, 3, 5), 0.5)
    wanted = in_batches(run, "first", edit)
    assert np.abs(toggler.logits_after(edit, rows) - wanted[rows]).max() <= CLOSE
    assert np.abs(toggler.logits() - recorded).max() <= CLOSE
    told = toggler.toggle(edit)
    assert (told.after.predicted == wanted.argmax(1)).all()
    assert toggler.check.flipped == 0 and toggler.check.recorded <= CLOSE
    # An edit that differs from image to image is made in the images asked for alone.
    orders = np.tile(np.array([[1, 2]]), (len(rows), 1))
    ((_, swept),) = toggler.sweep(rows, orders, at=[2])
    assert len(swept.predicted) == 4
    # Alone, a photo is answered otherwise: the reason for all this.
    alone = open_model(run)
    inputs = Forward(alone, []).inputs(seen_photos(run)[:1])
    with torch.inference_mode():
        assert np.abs(alone.module(inputs).numpy() - recorded[:1]).max() > 1e-2


@pytest.mark.parametrize("function", ["untracked", "training"])
def test_batch_norms_before_a_linear_head_leave_the_closed_form(tmp_path, function):
    run = photo_run(tmp_path, f"python:tests.ablation.networks:{function}", ("second",), 48)
    toggler = prepare(run)
    edit = Edit((0, 3, 5), 0.5)
    assert toggler.method == "closed form"
    assert np.abs(toggler.logits_after(edit) - in_batches(run, "second", edit)).max() <= CLOSE


@pytest.mark.parametrize("function", ["untracked", "training", "function"])
def test_networks_that_normalise_by_the_batch_are_told_before_a_run(tmp_path, capsys, function):
    spec = f"python:tests.ablation.networks:{function}"
    folder = tiny.write_folder(tmp_path / "photos", 6)
    work = plan(Settings(f"folder:{folder}", spec, q=0.05, shuffles=0))
    told = [note for note in work.notes if "other photos in its batch" in note]
    assert len(told) == 1 and "batches of 32" in told[0]
    run = execute(work, tmp_path / "runs", threads=1)
    assert "other photos in its batch" in run.info["by_batch"]
    assert main(["show", str(run.path)]) == 0
    assert "depends on the other photos in its batch" in capsys.readouterr().out
    if function != "function":
        assert main(["layers", "--model", spec]) == 0
        assert "(first.1 and 1 more)" in capsys.readouterr().out
    core = all_core_concepts(run, open_knowledge("builtin"), kinds=["top10"])["top10"]
    photo = read_photo(folder / "images" / "000.png")
    with pytest.raises(UnitscopeError, match="a photo alone cannot be compared with the run"):
        explain_photo(run, core, photo)


@pytest.mark.parametrize("layer", ["first", "second"])
def test_an_edit_that_leaves_no_finite_logits_is_an_error(tmp_path, layer):
    """Not an answer with the first class for all: image and class are named."""
    function = "untracked" if layer == "first" else "rectified"
    spec = f"python:tests.ablation.networks:{function}"
    run = photo_run(tmp_path, spec, ("first" if layer == "first" else "body",), 6)
    with pytest.raises(UnitscopeError, match=r"image '00.' once edited: .* not a finite number"):
        prepare(run).toggle(Edit(tuple(range(8)), 3e38))


def test_recorded_logits_that_are_no_finite_numbers_are_told(tmp_path):
    """Runs of older versions may hold them."""
    run = photo_run(tmp_path, tiny.SPEC, ("body.3",), 6)
    path = run.path.with_suffix(".arrays") / "logits.npy"
    logits = np.load(path)
    logits[4] = np.nan
    np.save(path, logits)
    with pytest.raises(UnitscopeError, match=r"of 1 image \('004'"):
        prepare(Run(run.path))


def test_half_precision_that_was_asked_for_states_its_bound(tmp_path):
    run = photo_run(tmp_path, tiny.SPEC, ("body.1",), 6, map_type="float16")
    toggler = prepare(run)
    told = re.search(r"rounding moves the logits .* by up to (\S+) of", toggler.check.why)
    toggler.logits()
    assert told and 0 < toggler.check.recorded <= 5 * float(told[1])


def test_a_dataset_that_is_gone_leaves_the_stored_photos(tmp_path):
    run = photo_run(tmp_path, "python:tests.ablation.networks:branching", ("second",), 6)
    shutil.rmtree(tmp_path / "photos")
    toggler = prepare(run)
    assert "stored photos (JPEG): the dataset cannot be read" in toggler.check.why
    told = toggler.toggle(EDITS)
    assert told.method == "whole forward" and len(told.images) == 6


def test_without_maps_the_network_runs_whole(tmp_path):
    run = photo_run(tmp_path, "python:tests.ablation.networks:inner", ("second",), keep_maps=False)
    toggler = prepare(run)
    assert toggler.method == "whole forward" and "--no-maps" in toggler.check.why
    wanted = hooked_logits(run, "second", EDITS, rounded=False)
    assert np.abs(toggler.logits_after(EDITS) - wanted).max() <= CLOSE * max(1, wanted.max())


@pytest.mark.parametrize(
    ("name", "layer", "method"),
    [
        ("densenet121", "features.denseblock4", "tail"),
        ("mobilenet_v2", "features", "linear"),
        ("alexnet", "features", "tail"),
        ("alexnet", "features.8", "tail"),
        ("resnet18", "layer3", "tail"),
        ("resnet18", "layer4.1.conv2", None),
        ("vit_b_32", "encoder.layers.encoder_layer_11", None),
    ],
)
def test_ways_of_torchvision_networks_equal_a_hook(name, layer, method):
    """Random weights, few images: head or tail found by numbers, equal to a forward hook."""
    from core.models.head import linear_head
    from core.models.hooks import as_maps, find_layer

    model = load_model(f"torchvision:{name}:random")
    torch.manual_seed(1)
    side = 224 if name.startswith("vit") else 96
    inputs = torch.randn(2, 3, side, side).contiguous(memory_format=torch.channels_last)
    raw = []
    handle = find_layer(model.module, layer).register_forward_hook(
        lambda _m, _a, output: raw.append(copied(output))
    )
    with torch.inference_mode():
        model.module(inputs)
    handle.remove()
    maps = as_maps(raw[0], layer, (side, side))
    units = maps.shape[1]
    change = Change.of([Edit((0, 2, 5)), Edit((1,), clamp=0.3)], units)
    wanted = forward_edited(model.module, layer, inputs, change)
    size = max(1.0, float(wanted.abs().max()))
    head = linear_head(model.module, layer, inputs)
    assert (head is not None) == (method == "linear")
    if head is not None:
        means = maps.mean((2, 3)).numpy() * change.scale + change.shift
        assert np.abs(means @ head[1] + head[2] - wanted.numpy()).max() <= CLOSE * size
    tail = tail_of(model.module, layer)
    if method is None and tail is not None:
        assert maps.numel() != raw[0].numel()  # a class token is not in the maps
        return
    assert (tail is not None) == (method is not None)
    if tail is not None:
        fresh = raw[0].clone()
        apply_change(as_maps(fresh, layer, (side, side)), change)
        with torch.inference_mode():
            assert float((tail(fresh) - wanted).abs().max()) <= CLOSE * size


def test_nyuv2_resnet18_layers_equal_a_hook(data_dir, tmp_path):
    """Trained weights, real photos: layer4 in closed form, layer3 replayed."""
    check = data_dir / "nyuv2" / "resnet18_nyuv2.pt"
    folder = tiny.write_folder(tmp_path / "photos", 20)
    photos = open_dataset(f"nyuv2:{data_dir / 'nyuv2'}")
    for k in range(20):
        photos.photo(40 * k).save(folder / "images" / f"{k:03}.png")
        for mask in (folder / "masks").glob(f"{k:03}*"):
            mask.unlink()
    request = Settings(
        f"folder:{folder}",
        f"torchvision:resnet18:{check}",
        layers=("layer3", "layer4"),
        q=0.05,
        shuffles=0,
        map_type="float32",
    )
    run = execute(plan(request), tmp_path / "runs", threads=1)
    model = open_model(run)
    data = open_dataset(f"folder:{folder}")
    seen = np.stack([np.asarray(model.preprocessing.view(data.photo(k))) for k in range(20)])
    edits = [Edit(tuple(range(0, 60, 3))), Edit((1,), 2.0)]
    for layer, method in (("layer4", "closed form"), ("layer3", "replayed tail")):
        toggler = prepare(run, layer)
        assert toggler.method == method, toggler.check
        inputs = Forward(model, [layer]).inputs(seen)
        wanted = forward_edited(
            model.module, layer, inputs, Change.of(edits, toggler.units)
        ).numpy()
        got = toggler.logits_after(edits)
        assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
        same_predictions(got, wanted)


def test_squeezenet_fire9_equals_a_hook(data_dir, tmp_path):
    """A leaky classifier before the average: no closed form, the tail is replayed."""
    weights = data_dir / "places365_squeezenet" / "squeezenet_places365_152arrays.npz"
    if not weights.is_file():
        pytest.skip("the SqueezeNet arrays are not there")
    model = load_model(f"python:tests.squeezenet_places:load:{weights}")
    rng = np.random.default_rng(0)
    inputs = Forward(model, ["fire9"]).inputs(
        np.stack([np.asarray(p) for p in rng.integers(0, 256, (3, 224, 224, 3), np.uint8)])
    )
    from core.ablation.replay import Tail
    from core.models.head import linear_head

    assert linear_head(model.module, "fire9", inputs) is None
    tail = tail_of(model.module, "fire9")
    assert tail is not None
    passed = []
    handle = model.module.fire9.register_forward_hook(lambda _m, _a, o: passed.append(o.clone()))
    with torch.inference_mode():
        model.module(inputs)
    handle.remove()
    maps = passed[0].contiguous().numpy()
    change = Change.of(EDITS, 512)
    source = Tail(maps, None, tail, "fire9", passed[0].shape, (224, 224), True)
    wanted = forward_edited(model.module, "fire9", inputs, change).numpy()
    got = source.logits(source.load(np.arange(3)), change)
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    same_predictions(got, wanted)
