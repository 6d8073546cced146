"""Contribution, toggling, protocols, search and edited networks, against slow references."""

from __future__ import annotations

import json
import re
import shutil
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from benchmarks.toggle import compare as compare_exactly
from benchmarks.toggle import drawn_toggler
from core.ablation import protocols, search
from core.ablation.contribution import UnitConcepts, contribution_scores
from core.ablation.edits import Change, Edit
from core.ablation.export import load, write_edit
from core.ablation.forward import forward_edited, tail_of
from core.ablation.images import images_of
from core.ablation.protocols import Study
from core.ablation.toggler import Live, Toggler, prepare
from core.cli import main
from core.datasets import open_dataset
from core.datasets.decode import read_photo
from core.dissect.pipeline import Settings, execute, plan
from core.explain.learned import STRATEGIES
from core.explain.photo import explain_photo, open_model
from core.foundation.errors import UnitscopeError
from core.foundation.intervals import interval, paired_interval
from core.foundation.progress import Stopped
from core.knowledge.graph import Graph, open_knowledge
from core.models.forward import Forward
from core.models.head import CLOSE
from core.models.load import load_model
from core.paper.tables import all_core_concepts
from core.runs.run_file import Run
from tests import tiny

torch.set_num_threads(1)


# -- intervals ------------------------------------------------------------------------------


def test_intervals_hold_their_shares():
    rng = np.random.default_rng(0)
    hit = paired = 0
    for _ in range(400):
        right = rng.binomial(60, 0.3)
        low, high = interval(right, 60)
        hit += low <= 0.3 <= high
        gained, lost, _ = rng.multinomial(120, [0.15, 0.05, 0.8])
        low, high = paired_interval(gained, lost, 120)
        paired += low <= 0.10 <= high
    assert hit >= 370 and paired >= 370
    assert interval(0, 0) == (0.0, 1.0) and paired_interval(0, 0, 0) == (-1.0, 1.0)


# -- closed form ----------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_closed_form_is_the_product_of_what_is_left(seed):
    rng = np.random.default_rng(seed)
    images, units, classes = (
        int(rng.integers(1, 40)),
        int(rng.integers(1, 9)),
        int(rng.integers(2, 7)),
    )
    toggler = drawn_toggler(images, units, classes, seed)
    off = rng.choice(units, int(rng.integers(0, units + 1)), replace=False)
    half = len(off) // 2
    edits = [Edit(tuple(off[:half]), float(rng.normal())), Edit(tuple(off[half:]), clamp=0.7)]
    rows = None if rng.random() < 0.5 else rng.permutation(images)[: max(1, images // 2)]
    told = toggler.predict(edits, rows)
    after = toggler.logits_after(edits, rows)
    chosen = np.arange(images) if rows is None else rows
    for j, i in enumerate(chosen):
        features = toggler.pooled[i].astype(np.float64).copy()
        for unit in off[:half]:
            features[unit] *= edits[0].factor
        for unit in off[half:]:
            features[unit] = 0.7
        moved = features - toggler.pooled[i]
        wanted = [
            float(toggler.logits()[i, c]) + sum(moved * toggler.weights[:, c])
            for c in range(classes)
        ]
        assert np.abs(after[j] - wanted).max() < 1e-4
        order = sorted(wanted, reverse=True)
        if order[0] - order[1] > 1e-4:
            assert told.predicted[j] == int(np.argmax(wanted))
        own = wanted[toggler.target[i]]
        sure = all(abs(w - own) > 1e-4 for c, w in enumerate(wanted) if c != toggler.target[i])
        if sure:
            assert told.larger[j] == sum(w > own for w in wanted)


def test_sets_of_every_size_and_single_changes_agree_with_float64():
    toggler = drawn_toggler(301, 70, 33)
    rng = np.random.default_rng(5)
    for size in (1, 3, 4, 5, 20, 64, 70):
        off = tuple(rng.choice(70, size, replace=False).tolist())
        compare_exactly(toggler, off, toggler.predict(Edit(off)).predicted)
    live = Live(toggler, Edit((0, 1)))
    now = {0, 1}
    for _ in range(150):  # past a rebase
        unit = int(rng.integers(70))
        told = live.change(unit, 1.0 if unit in now else 0.0)
        now ^= {unit}
    compare_exactly(toggler, tuple(now), told.predicted)
    assert set(np.flatnonzero(live.scale == 0)) == now


def test_bad_edits_and_empty_sets_are_told():
    toggler = drawn_toggler(10, 6, 3)
    with pytest.raises(UnitscopeError, match="there is no unit 6, -1: the layer has units 0 to 5"):
        toggler.predict(Edit((6, -1)))
    with pytest.raises(UnitscopeError, match="twice"):
        Edit((1, 1))
    with pytest.raises(UnitscopeError, match="two edits"):
        toggler.predict([Edit((1,)), Edit((1,), 0.5)])
    with pytest.raises(UnitscopeError, match="either scaled"):
        Edit((1,), 0.5, clamp=1.0)
    with pytest.raises(UnitscopeError, match="finite"):
        Edit((1,), float("nan"))
    with pytest.raises(UnitscopeError, match="no image was chosen"):
        toggler.toggle(Edit((1,)), rows=np.zeros(0, int))
    with pytest.raises(UnitscopeError, match="unknown split"):
        toggler.toggle(Edit((1,)), splits=["tset"])
    with pytest.raises(UnitscopeError, match="no image is of scene"):
        other = toggler.images.assign(split=["a"] * 5 + ["b"] * 5, scene=["x"] * 5 + ["y"] * 5)
        both = Toggler.linear(
            toggler.pooled, toggler.logits(), toggler.weights, other, toggler.names
        )
        both.toggle(Edit((1,)), scene="x", splits=["b"])


def test_accounts_of_a_toggle_add_up():
    toggler = drawn_toggler(200, 12, 5)
    told = toggler.toggle(Edit((0, 3, 7)))
    target = toggler.target
    before = toggler.logits().argmax(1)
    after = toggler.logits_after(Edit((0, 3, 7))).argmax(1)
    assert told.accuracy[0].right == (before == target).sum()
    assert told.accuracy[1].right == (after == target).sum()
    won, gone = (before != target) & (after == target), (before == target) & (after != target)
    assert told.gained["image"].tolist() == np.flatnonzero(won).tolist()
    assert told.lost["image"].tolist() == np.flatnonzero(gone).tolist()
    assert told.gain.gained - told.gain.lost == told.accuracy[1].right - told.accuracy[0].right
    assert told.scenes["images"].sum() == 200
    for row in told.scenes.itertuples():
        own = target == int(row.scene)
        assert row.right_before == (before[own] == target[own]).sum()
        assert row.right_after == (after[own] == target[own]).sum()
        assert row.shift == pytest.approx((row.right_after - row.right_before) / own.sum())
    cells = pd.crosstab(target, after).sub(pd.crosstab(target, before), fill_value=0).fillna(0)
    for row in told.confusion.itertuples():
        assert row.change == cells.loc[int(row.scene), int(row.predicted)]
    assert told.confusion["change"].abs().sum() == cells.abs().to_numpy().sum()
    top = np.argsort(-toggler.logits_after(Edit((0, 3, 7))), axis=1, kind="stable")[:, :5]
    assert told.top5[1].right == (top == target[:, None]).any(1).sum()
    json.dumps(told.to_json())


# -- real networks against a forward hook -----------------------------------------------------


def seen_photos(run: Run) -> np.ndarray:
    """What the network saw of every image, read from the dataset."""
    way = open_model(run).preprocessing
    dataset = open_dataset(run.info["settings"]["dataset"]["spec"])
    ids = images_of(run)["id"]
    return np.stack([np.asarray(way.view(dataset.photo(dataset.ids.index(k)))) for k in ids])


def hooked_logits(run: Run, layer: str, edits, rounded: bool) -> np.ndarray:
    """The whole network with a plain hook that changes the units of `layer`, after rounding its
    output to half precision where asked."""
    model = open_model(run)

    def hook(_module, _args, output):
        changed = output.half().float() if rounded else output.clone()
        for edit in edits:
            for unit in edit.units:
                value = edit.factor * changed[:, unit] if edit.clamp is None else edit.clamp
                changed[:, unit] = value
        return changed

    handle = dict(model.module.named_modules())[layer].register_forward_hook(hook)
    try:
        with torch.inference_mode():
            inputs = Forward(model, [layer]).inputs(seen_photos(run))
            return model.module(inputs).flatten(1).numpy()
    finally:
        handle.remove()


def same_predictions(a: np.ndarray, b: np.ndarray) -> None:
    """argmax agrees wherever the two largest of b are not a tie to rounding."""
    top = np.sort(b, axis=1)
    sure = top[:, -1] - top[:, -2] > 2 * CLOSE * max(1.0, np.abs(b).max())
    assert (a.argmax(1) == b.argmax(1))[sure].all() and sure.mean() > 0.9


class Inner(nn.Module):
    """A network whose layers need every way: a plain chain, a skip, a branch by value."""

    def __init__(self, branch: bool = False):
        super().__init__()
        torch.manual_seed(3)
        self.first = nn.Sequential(nn.Conv2d(3, 8, 3, 2, 1), nn.ReLU())
        self.inside = nn.Conv2d(8, 8, 3, 1, 1)
        self.second = nn.Conv2d(8, 10, 3, 2, 1)
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(360, 16), nn.ReLU(), nn.Linear(16, 3))
        self.branch = branch

    def forward(self, x):
        x = self.first(x)
        x = torch.relu(self.inside(x)) + x
        x = torch.relu(self.second(x))
        if self.branch and float(x.sum()) < -1e9:
            x = x + 1
        return self.head(x)


def inner() -> tuple[nn.Module, dict]:
    """The ``python:`` function."""
    return Inner(), {**tiny.net()[1], "default_layer": "second"}


def branching() -> tuple[nn.Module, dict]:
    """The same with a forward pass that cannot be traced."""
    return Inner(True), {**tiny.net()[1], "default_layer": "second"}


def photo_run(tmp_path: Path, spec: str, layers: tuple[str, ...], images: int = 24, **more) -> Run:
    """A run on losslessly compressible photos: stored photos differ from the seen ones by JPEG."""
    folder = tiny.write_folder(tmp_path / "photos", images)
    request = Settings(f"folder:{folder}", spec, layers=layers, q=0.05, shuffles=0, **more)
    return execute(plan(request), tmp_path / "runs", threads=1)


EDITS = [Edit((0, 2, 5)), Edit((1,), 0.5), Edit((3,), clamp=0.25)]


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
    ("spec", "layer", "way"),
    [
        ("python:tests.ablation.test_manipulate:inner", "second", "replayed tail"),
        ("python:tests.ablation.test_manipulate:inner", "inside", "whole forward"),
        ("python:tests.ablation.test_manipulate:branching", "second", "whole forward"),
    ],
)
def test_each_way_equals_a_hook(tmp_path, spec, layer, way):
    run = photo_run(tmp_path, spec, (layer,), map_type="float32")
    toggler = prepare(run, layer)
    assert toggler.method == way, toggler.check
    got = toggler.logits_after(EDITS)
    wanted = hooked_logits(run, layer, EDITS, rounded=False)
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    same_predictions(got, wanted)
    assert toggler.check.flipped == 0 and toggler.check.recorded <= CLOSE


class Rectified(nn.Module):
    """A linear layer that reads what `behind` leaves of the means of a layer's maps."""

    def __init__(self, behind):
        super().__init__()
        torch.manual_seed(5)
        self.body = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1),
            nn.ReLU(),
            nn.Conv2d(8, 12, 3, 2, 1),
            nn.ReLU(),
        )
        self.head, self.behind = nn.Linear(12, 3), behind

    def forward(self, x):
        return self.head(self.behind(self.body(x).mean((2, 3))))


def rectified() -> tuple[nn.Module, dict]:
    """The ``python:`` function: nothing is seen of the ReLU while means are positive."""
    return Rectified(torch.relu), {**tiny.net()[1], "default_layer": "body"}


def clipped() -> tuple[nn.Module, dict]:
    """The same with a bound far above what the maps reach."""
    return Rectified(lambda x: x.clamp(max=100.0)), {**tiny.net()[1], "default_layer": "body"}


@pytest.mark.parametrize(
    ("function", "edit", "way", "failed"),
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
    tmp_path, function, edit, way, failed
):
    """Counts of right answers are those of a forward hook, whatever the kind of edit."""
    spec = f"python:tests.ablation.test_manipulate:{function}"
    run = photo_run(tmp_path, spec, ("body",), 48, map_type="float32")
    toggler = prepare(run)
    assert toggler.method == "closed form"
    told = toggler.toggle(edit)
    assert told.method == way
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
    run = photo_run(tmp_path, "python:tests.ablation.test_manipulate:rectified", ("body",))
    check = prepare(run).check
    failed = {kind for kind, gap in check.probes.items() if gap > CLOSE}
    assert failed == {"clamped low", "multiplied by a negative factor"}
    assert len(check.probes) == 7 and check.agreement <= CLOSE
    assert all(f"units {kind} (by" in check.why for kind in failed)


def test_the_closed_form_is_refused_where_recorded_logits_say_otherwise(tmp_path):
    run = photo_run(tmp_path, "python:tests.ablation.test_manipulate:rectified", ("body",))
    path = run.path.with_suffix(".arrays") / "logits.npy"
    logits = np.load(path)
    logits[7, 0] += 0.01
    np.save(path, logits)
    toggler = prepare(Run(run.path))
    assert toggler.method == "replayed tail"
    assert "differ from the recorded logits by up to" in toggler.check.why
    assert "image '007'" in toggler.check.why


class ByBatch(nn.Module):
    """Batch norms before and behind the layer; `how` makes them normalise by the batch."""

    def __init__(self, how: str):
        super().__init__()
        torch.manual_seed(4)
        running = how != "untracked"
        self.how = how
        self.first = nn.Sequential(
            nn.Conv2d(3, 8, 3, 2, 1), nn.BatchNorm2d(8, track_running_stats=running), nn.ReLU()
        )
        self.second = nn.Sequential(
            nn.Conv2d(8, 12, 3, 2, 1), nn.BatchNorm2d(12, track_running_stats=running), nn.ReLU()
        )
        self.head = nn.Linear(12, 3)

    def train(self, mode=True):
        super().train(mode or self.how == "training")
        return self

    def forward(self, x):
        x = self.second(self.first(x))
        if self.how == "function":
            x = nn.functional.batch_norm(x, None, None, training=True)
        return self.head(x.mean((2, 3)))


def untracked() -> tuple[nn.Module, dict]:
    """The ``python:`` function: no running statistics."""
    return ByBatch("untracked"), {**tiny.net()[1], "default_layer": "first"}


def training() -> tuple[nn.Module, dict]:
    """The same, its batch norms in training mode whatever they are told."""
    return ByBatch("training"), {**tiny.net()[1], "default_layer": "first"}


def function() -> tuple[nn.Module, dict]:
    """The same, by a function that no module shows."""
    return ByBatch("function"), {**tiny.net()[1], "default_layer": "first"}


def in_batches(run: Run, layer: str, edit: Edit | None) -> np.ndarray:
    """Logits by a plain hook, in batches of 32 in the dataset's order."""
    model = open_model(run)

    def hook(_module, _args, output):
        changed = output.clone()
        for unit in edit.units if edit else ():
            changed[:, unit] = edit.factor * changed[:, unit]
        return changed

    handle = dict(model.module.named_modules())[layer].register_forward_hook(hook)
    inputs = Forward(model, [layer]).inputs(seen_photos(run))
    try:
        with torch.inference_mode():
            return np.concatenate([model.module(part).numpy() for part in inputs.split(32)])
    finally:
        handle.remove()


@pytest.mark.parametrize("function", ["untracked", "training", "function"])
def test_networks_that_normalise_by_the_batch_run_whole_in_the_runs_batches(tmp_path, function):
    spec = f"python:tests.ablation.test_manipulate:{function}"
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
    run = photo_run(tmp_path, f"python:tests.ablation.test_manipulate:{function}", ("second",), 48)
    toggler = prepare(run)
    edit = Edit((0, 3, 5), 0.5)
    assert toggler.method == "closed form"
    assert np.abs(toggler.logits_after(edit) - in_batches(run, "second", edit)).max() <= CLOSE


@pytest.mark.parametrize("function", ["untracked", "training", "function"])
def test_networks_that_normalise_by_the_batch_are_told_before_a_run(tmp_path, capsys, function):
    spec = f"python:tests.ablation.test_manipulate:{function}"
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
    spec = f"python:tests.ablation.test_manipulate:{function}"
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
    run = photo_run(tmp_path, "python:tests.ablation.test_manipulate:branching", ("second",), 6)
    shutil.rmtree(tmp_path / "photos")
    toggler = prepare(run)
    assert "stored photos (JPEG): the dataset cannot be read" in toggler.check.why
    told = toggler.toggle(EDITS)
    assert told.method == "whole forward" and len(told.images) == 6


def test_without_maps_the_network_runs_whole(tmp_path):
    run = photo_run(
        tmp_path, "python:tests.ablation.test_manipulate:inner", ("second",), keep_maps=False
    )
    toggler = prepare(run)
    assert toggler.method == "whole forward" and "--no-maps" in toggler.check.why
    wanted = hooked_logits(run, "second", EDITS, rounded=False)
    assert np.abs(toggler.logits_after(EDITS) - wanted).max() <= CLOSE * max(1, wanted.max())


@pytest.mark.parametrize(
    ("name", "layer", "way"),
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
def test_ways_of_torchvision_networks_equal_a_hook(name, layer, way):
    """Random weights, few images: head or tail found by numbers, equal to a forward hook."""
    from core.ablation.forward import apply_change, copied
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
    assert (head is not None) == (way == "linear")
    if head is not None:
        means = maps.mean((2, 3)).numpy() * change.scale + change.shift
        assert np.abs(means @ head[1] + head[2] - wanted.numpy()).max() <= CLOSE * size
    tail = tail_of(model.module, layer)
    if way is None and tail is not None:
        assert maps.numel() != raw[0].numel()  # a class token is not in the maps
        return
    assert (tail is not None) == (way is not None)
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
    for layer, way in (("layer4", "closed form"), ("layer3", "replayed tail")):
        toggler = prepare(run, layer)
        assert toggler.method == way, toggler.check
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


# -- contribution ---------------------------------------------------------------------------


def contribution_slow(units: UnitConcepts, core, over: str, rows) -> dict[tuple[int, int], int]:
    """Eq. 9 with Python sets, image by image and unit by unit."""
    scores: dict[tuple[int, int], int] = {}
    for place, image in enumerate(units.images.itertuples()):
        if image.scene < 0 or image.correct < 0 or (rows is not None and place not in rows):
            continue
        if over != "all" and (image.correct == 1) != (over == "true"):
            continue
        members = set(np.flatnonzero(core.members[image.scene]) + 1)
        part = units.rows[units.rows["image"] == image.image]
        for unit, own in part.groupby("unit")["concept"]:
            learned = set(own)
            p, n = len(learned & members), len(learned - members)
            key = (image.scene, int(unit))
            scores[key] = scores.get(key, 0) + p - n
    return scores


@pytest.mark.parametrize("strategy", STRATEGIES)
@pytest.mark.parametrize("kind", ["scc", "icc"])
def test_contribution_is_equation_9(tiny_run, strategy, kind):
    core = all_core_concepts(tiny_run, tiny_graph())[kind]
    units = UnitConcepts.of(tiny_run, "body.3", strategy)
    rng = np.random.default_rng(0)
    some = np.sort(rng.choice(150, 90, replace=False))
    for over, rows in (("true", None), ("false", None), ("all", some)):
        told = units.contribution(core, over, rows)
        slow = contribution_slow(units, core, over, None if rows is None else set(rows))
        for scene in range(len(core.scenes)):
            for unit in range(told.scores.shape[1]):
                assert told.scores[scene, unit] == slow.get((scene, unit), 0)
        for scene in core.scenes:
            for sign, keep in (("positive", 1), ("negative", -1)):
                ranked = told.ranked(scene, sign)
                wanted = sorted(
                    (-keep * s, u)
                    for (y, u), s in slow.items()
                    if y == core.scene(scene) and keep * s > 0
                )
                if core.members[core.scene(scene)].any():
                    assert ranked["unit"].tolist() == [u for _, u in wanted]
    told = contribution_scores(tiny_run, core, "body.3", strategy, over="all")
    scene, unit = core.scenes[0], int(np.abs(told.scores[0]).argmax())
    behind = units.behind(core, scene, unit, "all")
    inside, outside = int(behind["core"].sum()), int((~behind["core"]).sum())
    assert inside - outside == told.scores[0, unit]
    assert (inside, outside) == (told.inside[0, unit], told.outside[0, unit])
    assert behind["image"].nunique() == told.active[0, unit]
    with pytest.raises(UnitscopeError, match="no unit 99"):
        units.behind(core, scene, 99)
    with pytest.raises(UnitscopeError, match="unknown set of predictions"):
        units.contribution(core, "right")


def tiny_graph():
    """Facts of the tiny folder's concepts."""
    facts = [
        ("thing 1", "attic"),
        ("thing 2", "attic"),
        ("piece 6", "attic"),
        ("thing 1", "barn"),
        ("piece 7", "barn"),
        ("thing 4", "cellar"),
    ]
    return Graph.from_edges([("AtLocation", a, b, 1.0) for a, b in facts])


# -- protocols ------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def study(tiny_run):
    return Study.of(prepare(tiny_run), tiny_graph())


def test_sweeps_disable_each_images_own_units(study):
    toggler = study.toggler
    rng = np.random.default_rng(0)
    rows = np.sort(rng.choice(150, 40, replace=False))
    orders = np.array([rng.permutation(12)[:5] for _ in rows])
    orders[::7, 2:] = -1
    for k, told in toggler.sweep(rows, orders, [0, 2, 5]):
        for j, row in enumerate(rows):
            off = tuple(u for u in orders[j, :k] if u >= 0)
            alone = toggler.logits_after(Edit(off), np.array([row]))[0]
            top = np.sort(alone)
            if top[-1] - top[-2] > 1e-4:
                assert told.predicted[j] == alone.argmax()


def test_sweeps_of_a_replayed_layer_agree_with_toggling(tiny_run):
    toggler = prepare(tiny_run, "body.1")
    rows = np.arange(10, 90)
    for k, told in toggler.sweep(rows, np.array([[3, 1, 6]]), [1, 3]):
        wanted = toggler.predict(Edit((3, 1, 6)[:k]), rows)
        assert (told.predicted == wanted.predicted).mean() > 0.98


@pytest.mark.parametrize("protocol", protocols.PROTOCOLS)
@pytest.mark.parametrize("sign", ["positive", "negative"])
def test_protocols_change_what_they_say(study, protocol, sign):
    rows = study.rows(["test"])
    right = study.right(rows)
    # Over all predictions: the small network says one scene of everything.
    order = study.order("scc", sign, rows, 4, protocol, "all")
    each = study.orders_of(rows, order, sign, protocol)
    contribution = study.contribution("scc", rows, "all")
    for j, row in enumerate(rows):
        if protocol == "paper" and right[j] != (sign == "positive"):
            assert (each[j] == -1).all()
            continue
        if protocol == "global":
            score = contribution.together()
            wanted = sorted(range(12), key=lambda u: -score[u] if sign == "positive" else score[u])
            wanted = [u for u in wanted if (score[u] > 0) == (sign == "positive") and score[u]][:4]
        else:
            scene = study.scene[row] if protocol == "paper" else study.predicted_scene[row]
            wanted = contribution.ranked(int(scene), sign)["unit"].tolist()[:4]
        assert each[j][each[j] >= 0].tolist() == wanted


def test_curves_state_protocol_and_split_and_keep_the_oracles_bounds(study):
    frame = protocols.curves(
        study, protocols=["paper"], at=[1, 3], select=["train"], judge=["test"], seeds=20
    )
    assert set(frame["ranking"]) == set(protocols.RANKINGS)
    assert frame.columns.tolist() == list(protocols.COLUMNS)
    assert set(frame["selection"]) == {"train"} and set(frame["judged"]) == {"test"}
    assert (frame["draws"][frame["ranking"] == "random"] == 20).all()
    # The oracle leaves right images alone or wrong ones alone.
    assert (frame["gain"][frame["sign"] == "positive"] <= 0).all()
    assert (frame["gain"][frame["sign"] == "negative"] >= 0).all()
    assert ((frame["low"] <= frame["accuracy"]) & (frame["accuracy"] <= frame["high"])).all()
    again = protocols.curves(study, ["random"], ["negative"], ["global"], at=[3], judge=["test"])
    same = protocols.curves(study, ["random"], ["negative"], ["global"], at=[3], judge=["test"])
    pd.testing.assert_frame_equal(again, same)


def test_cross_fitting_never_judges_an_image_by_units_chosen_with_it(study, monkeypatch):
    seen = []
    outcomes = Study.outcomes

    def spy(self, ranking, sign, protocol, selection, judged, *more, **options):
        assert not set(selection) & set(judged)
        seen.append(len(judged))
        return outcomes(self, ranking, sign, protocol, selection, judged, *more, **options)

    monkeypatch.setattr(Study, "outcomes", spy)
    frame = protocols.cross_fitted(study, "icc", "negative", "global", ["test"], [1, 2], repeats=3)
    assert len(seen) == 6 and sum(seen) == 3 * len(study.rows(["test"]))
    assert frame["n"][0] == len(study.rows(["test"]))
    assert "halves of test" in frame["selection"][0]


def test_unknown_names_of_protocols_are_told(study):
    rows = study.rows()
    for arguments, word in (
        (("sccc", "positive", rows), "ranking"),
        (("scc", "plus", rows), "sign"),
        (("scc", "positive", rows, 3, "papers"), "protocol"),
    ):
        with pytest.raises(UnitscopeError, match=f"unknown {word}"):
            study.order(*arguments)
    with pytest.raises(UnitscopeError, match="unknown split"):
        study.rows(["validation"])
    replayed = Study.of(prepare(study.toggler.run, "body.1"), tiny_graph())
    with pytest.raises(UnitscopeError, match="needs a linear head"):
        replayed.order("greedy", "negative", rows)
    frame = protocols.curves(replayed, signs=["negative"], at=[2], seeds=2)
    assert not set(frame["ranking"]) & set(protocols.BY_HEAD)


@pytest.mark.parametrize("over", ["true", "all"])
def test_controls_follow_their_definitions(study, over):
    toggler, rows = study.toggler, study.rows()
    used = rows[study.right(rows)] if over == "true" else rows
    logits = toggler.logits(used).astype(np.float64)
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)

    def order(ranking, sign):
        return study.order(ranking, sign, rows, 12, over=over)

    for y in range(3):
        size = np.abs(toggler.weights[:, y])
        assert (np.diff(size[order("weight", "positive")[y]]) <= 0).all()
        own = np.flatnonzero(study.scene[used] == y)
        if not len(own):
            assert over == "true" and (order("mean_activation", "negative")[y] == -1).all()
            continue
        activation = toggler.pooled[used[own]].mean(0)
        assert (np.diff(activation[order("mean_activation", "negative")[y]]) <= 1e-7).all()
        value = np.zeros(12)
        for j in own:
            for u in range(12):
                slope = toggler.weights[u, y] - (shares[j] * toggler.weights[u]).sum()
                value[u] += toggler.pooled[used[j], u] * slope
        for sign, turn in (("positive", -1), ("negative", 1)):
            got = order("gradient_activation", sign)[y]
            assert (np.diff(turn * value[got]) >= -1e-5).all()


# -- search ---------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(st.integers(0, 10**6))
def test_every_step_of_a_search_counts_exactly(seed):
    rng = np.random.default_rng(seed)
    images, units, classes = (
        int(rng.integers(1, 60)),
        int(rng.integers(2, 9)),
        int(rng.integers(2, 6)),
    )
    drawn = drawn_toggler(images, units, classes, seed)
    # Negative activations and coarse values, so that signs matter and ties occur.
    pooled = np.round(rng.normal(size=(images, units)), 1).astype(np.float32)
    weights = np.round(rng.normal(size=(units, classes)) * 2).astype(np.float32) / 2
    base = np.round(pooled @ weights, 2).astype(np.float32)
    toggler = Toggler.linear(pooled, base, weights, drawn.images, drawn.names)
    linear = search.Linear(toggler, np.arange(images))
    for _ in range(3):
        on = np.flatnonzero(~linear.off)
        off = np.flatnonzero(linear.off)
        for group in (on, off):
            told = linear.right_after_each(group)
            for unit, right in zip(group, told, strict=True):
                change = linear.off.copy()
                change[unit] = not change[unit]
                exact = base.astype(np.float64) - (
                    pooled[:, change].astype(np.float64) @ weights[change]
                )
                gap = exact - exact[np.arange(images), toggler.target][:, None]
                gap[np.arange(images), toggler.target] = -1
                near = (np.abs(gap.max(1)) < 1e-4).sum()
                assert abs(right - (gap.max(1) < 0).sum()) <= near
        linear.step(int(rng.choice(units)))


def test_greedy_takes_the_best_step_and_backward_ends_with_none():
    toggler = drawn_toggler(150, 8, 4, seed=3)
    rows = np.arange(150)
    path = search.greedy_forward(toggler, rows, most=4)
    base = toggler.logits()
    for k in range(4):
        rights = {
            u: (
                (
                    base
                    - toggler.pooled[:, [*path.sets[k], u]] @ toggler.weights[[*path.sets[k], u]]
                ).argmax(1)
                == toggler.target
            ).sum()
            for u in range(8)
            if u not in path.sets[k]
        }
        assert rights[path.sets[k + 1][-1]] == max(rights.values()) == path.right[k + 1]
    assert path.looked == 8 + 7 + 6 + 5
    worst = search.greedy_forward(toggler, rows, most=4, worst=True)
    assert worst.right[-1] < path.right[-1]
    back = search.greedy_backward(toggler, rows)
    assert back.sets[0] == tuple(range(8)) and back.sets[-1] == ()
    assert back.right[-1] == path.right[0]
    for units, right in zip(back.sets, back.right, strict=True):
        after = toggler.predict(Edit(units)).predicted if units else base.argmax(1)
        assert right == (after == toggler.target).sum()
    some = search.greedy_forward(toggler, rows, np.array([2, 5]), most=9)
    assert set(some.sets[-1]) == {2, 5} and some.candidates == 2
    with pytest.raises(Stopped):
        search.greedy_forward(toggler, rows, stop=lambda: True)


def test_a_relaxed_mask_finds_a_unit_that_only_harms():
    toggler = drawn_toggler(300, 6, 4, seed=1)
    noise = np.random.default_rng(2).normal(size=4).astype(np.float32) * 12
    clean = toggler.logits().copy()
    target = clean.argmax(1).astype(np.int32)
    harmed = clean + toggler.pooled[:, [2]] * (noise - toggler.weights[2])
    weights = toggler.weights.copy()
    weights[2] = noise
    clean_without = clean - toggler.pooled[:, [2]] * toggler.weights[2]
    target = clean_without.argmax(1).astype(np.int32)
    images = toggler.images.assign(target=target)
    made = Toggler.linear(toggler.pooled, harmed.astype(np.float32), weights, images, toggler.names)
    rows = np.arange(300)
    for method in search.METHODS:
        path = search.search(made, rows, method, most=2)
        assert 2 in path.best(2), method
        assert path.right[path.sets.index(path.best(2))] > path.right[path.sets.index(())]


def test_halves_are_disjoint_whole_and_stratified():
    scene = np.repeat([0, 1, 2, 3], [10, 7, 2, 1])
    rows = np.arange(20)
    first, second = search.halves(scene, rows, 4)
    assert sorted([*first, *second]) == rows.tolist()
    for y, n in enumerate((10, 7, 2, 1)):
        assert abs((scene[first] == y).sum() - n / 2) <= 0.5
    again = search.halves(scene, rows, 4)
    assert (again[0] == first).all()


def test_comparing_searches_judges_held_out_images_with_random_candidates(study):
    rows = study.rows()
    frame = search.compare(
        study.toggler,
        rows,
        study.scene,
        {"all units": lambda _: None, "three": lambda _: np.array([1, 4, 6])},
        methods=("forward", "backward"),
        most=3,
        repeats=2,
        controls=20,
    )
    names = frame[frame["method"] == "forward"]["candidates"].tolist()
    assert names == ["all units", "three", "random, as many as three"]
    assert frame["n"].eq(len(rows)).all()
    control = frame[frame["candidates"] == "random, as many as three"]
    assert (control["searches"] >= 20).all() and (control["size"] == 3).all()
    assert frame["gain"].between(frame["gain_low"], frame["gain_high"]).all()
    gain = frame.set_index(["method", "candidates"])["gain"]
    for row in frame[frame["candidates"] == "three"].itertuples():
        random = gain[row.method, "random, as many as three"]
        assert row.over_random == pytest.approx(row.gain - random)
        assert row.over_first == pytest.approx(row.gain - gain[row.method, "all units"])


# -- edited networks ------------------------------------------------------------------------


def test_an_edited_network_reloads_to_the_same_predictions(tiny_run, tmp_path):
    toggler = prepare(tiny_run)
    told = write_edit(toggler, EDITS, tmp_path, "by a test", ("state", "folded"))
    assert set(told.files) == {"state", "folded", "text"}
    assert max(told.differences.values()) <= CLOSE
    text = told.files["text"].read_text()
    for fact in (tiny_run.digest, "3 units disabled: 0, 2, 5", "by a test", "gained", "body.3"):
        assert fact in text
    module, info = load(told.files["state"])
    assert info["classes"] == list(tiny.SCENES)
    photos = seen_photos(tiny_run)[:40]
    forward = Forward(open_model(tiny_run), ["body.3"])
    with torch.inference_mode():
        got = module.eval()(forward.inputs(photos)).numpy()
    wanted = hooked_logits(tiny_run, "body.3", EDITS, rounded=False)[:40]
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    # Its SPEC is that of another network, whose own layer shows the edit.
    spec = f"python:core.ablation.export:load:{told.files['state']}"
    edited = load_model(spec)
    assert edited.digest() != open_model(tiny_run).digest()
    maps = Forward(edited, ["body.3"])(photos).layers["body.3"].maps
    assert (maps[:, [0, 2, 5]] == 0).all() and (maps[:, 3] == 0.25).all()
    # The folded file is the plain architecture's.
    state = torch.load(told.files["folded"], weights_only=True)["state_dict"]
    plain = tiny.Net()
    plain.load_state_dict(state)
    with torch.inference_mode():
        got = plain.eval()(forward.inputs(photos)).numpy()
    assert np.abs(got - wanted).max() <= CLOSE * max(1.0, np.abs(wanted).max())
    again = write_edit(toggler, EDITS, tmp_path / "again", "by a test", ("folded",))
    assert again.files["text"].name == told.files["text"].name


def test_an_edited_network_runs_through_the_pipeline(tiny_run, tmp_path):
    told = write_edit(prepare(tiny_run), Edit((0, 2, 5)), tmp_path, kinds=("state",))
    dataset = tiny_run.info["settings"]["dataset"]["spec"]
    spec = f"python:core.ablation.export:load:{told.files['state']}"
    request = Settings(dataset, spec, layers=("body.3",), q=0.05, shuffles=0)
    run = execute(plan(request), tmp_path / "runs", threads=1)
    after = told.effects["all"].after.predicted
    assert (run.sql("SELECT predicted FROM images ORDER BY image")["predicted"] == after).all()


@pytest.mark.slow
def test_an_exported_program_gives_the_same_logits(tiny_run, tmp_path):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        told = write_edit(prepare(tiny_run, "body.1"), EDITS, tmp_path)
    assert set(told.files) == {"state", "program", "text"}
    assert "no linear head" in told.left_out["folded"]
    program = torch.export.load(told.files["program"]).module()
    inputs = Forward(open_model(tiny_run), ["body.1"]).inputs(seen_photos(tiny_run)[:7])
    wanted = hooked_logits(tiny_run, "body.1", EDITS, rounded=False)[:7]
    assert np.abs(program(inputs).numpy() - wanted).max() <= CLOSE * max(1.0, wanted.max())


def test_bad_edit_files_are_told(tiny_run, tmp_path):
    plain = tmp_path / "plain.pt"
    torch.save(tiny.Net().state_dict(), plain)
    with pytest.raises(UnitscopeError, match="was not written by"):
        load(plain)
    with pytest.raises(UnitscopeError, match="changes no unit"):
        write_edit(prepare(tiny_run), Edit((1,), 1.0), tmp_path)
    with pytest.raises(UnitscopeError, match="unknown kind of file"):
        write_edit(prepare(tiny_run), Edit((1,)), tmp_path, kinds=("onnx",))


# -- command line ---------------------------------------------------------------------------


def say(capsys, *arguments: str) -> dict:
    assert main([*arguments, "--json"]) == 0
    return json.loads(capsys.readouterr().out.splitlines()[-1])


def test_verbs(tiny_run, tmp_path, capsys):
    root = tmp_path / "runs"
    root.mkdir()
    shutil.copy(tiny_run.path, root)
    (root / tiny_run.arrays.name).symlink_to(tiny_run.arrays)
    facts = tmp_path / "facts.tsv"
    rows = [("thing 1", "attic"), ("thing 2", "barn"), ("piece 6", "cellar")]
    facts.write_text("".join(f"AtLocation\t{a}\t{b}\t1.0\n" for a, b in rows))
    place = (tiny_run.digest, "--out", str(root), "--knowledge", f"triples:{facts}")
    told = say(capsys, "toggle", *place, "--units", "0,3", "--split", "test")
    assert told["way"] == "closed form" and told["units"] == [0, 3]
    told = say(capsys, "toggle", *place, "--units", "0,3", "--layer", "body.1", "--factor", "0.5")
    assert told["way"] == "replayed tail"
    told = say(capsys, "contribution", *place, "--scene", "cellar", "--unit", "1", "--over", "all")
    assert told["core"] == ["piece 6"] and told["negative"]
    told = say(capsys, "toggle", *place, "--top-negative", "2", "--scene", "cellar")
    assert len(told["units"]) <= 2 and "most negative of scene cellar" in told["chosen"]
    told = say(
        capsys,
        "figures",
        *place,
        "--every",
        "2",
        "--most",
        "4",
        "--to",
        str(tmp_path / "figures"),
        "--csv",
        str(tmp_path),
        "--ranking",
        "scc",
        "--ranking",
        "random",
        "--format",
        "svg,png",
    )
    assert len(told["files"]) == 2 and (tmp_path / "figure_3-paper.csv").is_file()
    assert {r["k"] for r in told["rows"]} == {1, 2, 4}
    told = say(capsys, "search", *place, "--halves", "1", "--most", "2", "--method", "forward")
    assert told["rows"][0]["candidates"] == "all units"
    told = say(
        capsys,
        "edit",
        *place,
        "--units",
        "1",
        "--kind",
        "state",
        "--out-dir",
        str(tmp_path / "edited"),
    )
    assert Path(told["files"]["state"]).is_file()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["toggle", "--units", "99"], "there is no unit 99"),
        (["toggle", "--units", "a,b"], "no list of numbers"),
        (["toggle", "--units", "1", "--image", "nowhere"], "unknown image"),
        (["toggle", "--units", "1", "--scene", "attick"], "nearest: attic"),
        (["toggle", "--units", "1", "--layer", "body.9"], "unknown layer"),
        (["toggle", "--top-negative", "3"], "needs --scene"),
        (["contribution", "--scene", "attick"], "nearest: attic"),
        (["figures", "--format", "gif"], "unknown figure format"),
        (["figures", "--protocol", "papers"], "unknown protocol"),
        (["search", "--layer", "body.1"], "needs a linear head"),
        (["edit", "--units", "1", "--kind", "onnx", "--out-dir", "x"], "unknown kind of file"),
    ],
)
def test_mistakes_are_told(tiny_run, capsys, arguments, message):
    verb, *rest = arguments
    place = [tiny_run.digest, "--out", str(tiny_run.path.parent), "--knowledge", "builtin"]
    assert main([verb, *place, *rest, "--allow-empty"]) == 2
    assert message in capsys.readouterr().err


def test_charts_are_drawn(study):
    from core.figures import Caption, box, export
    from core.figures.disable import curves, scene_shift, searches

    caption = Caption("tiny", "net", "body.3", "threshold", "test")
    frame = protocols.curves(study, ["scc", "random"], at=[1, 2], seeds=3)
    told = study.toggler.toggle(Edit((0, 1, 2)))
    table = search.compare(
        study.toggler, study.rows(), study.scene, {"all units": lambda _: None}, ["forward"], 2, 1
    )
    for chart in (
        curves(frame, caption),
        scene_shift(told.scenes, caption),
        searches(table, caption),
    ):
        assert box(chart)[0] > 100
        assert export(chart, "svg").startswith(b"<svg")
