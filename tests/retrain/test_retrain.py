"""Re-training via core concepts: Eq. 10 against its definition, the control, resuming, files."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from core.figures.export import export
from core.figures.retrain import caption, learning, retraining
from core.foundation.errors import UnitscopeError
from core.foundation.geometry import Preprocessing
from core.foundation.progress import Stopped
from core.foundation.settings import Retraining
from core.models.load import load_model
from core.retrain import trainer
from core.retrain.concepts import concept_loss, golden_concepts
from core.retrain.data import MARGIN, augment, batches, held_out
from core.retrain.network import find_classifier, kept_layers, new_head, predict, watched_features
from core.retrain.plan import plan, scaled
from core.retrain.training import retrain, spec_of
from core.views import retrain as shown
from core.views.work import unfinished
from tests import tiny


@pytest.fixture(scope="module")
def asked(tmp_path_factory):
    folder = tiny.write_folder(tmp_path_factory.mktemp("retrain") / "photos", 60)
    return Retraining(
        f"folder:{folder}",
        tiny.SPEC,
        cc=("top10", "annotated"),
        weights=(0.5, 2.0),
        seeds=2,
        epochs=3,
        batch=8,
        rate=0.02,
        patience=3,
    )


@pytest.fixture(scope="module")
def finished(asked, tmp_path_factory):
    root = tmp_path_factory.mktemp("finished")
    return root, retrain(plan(asked), root)


# -- Eq. 10 ---------------------------------------------------------------------------------


def slow_loss(scores, golden, form):
    out = []
    for row, gold in zip(scores.tolist(), golden.tolist(), strict=True):
        total = 0.0
        everything = sum(math.exp(s) for s in row)
        for score, is_gold in zip(row, gold, strict=True):
            if form == "softmax" and is_gold:
                total -= math.log(math.exp(score) / everything)
            elif form == "sigmoid":
                p = 1 / (1 + math.exp(-score))
                total -= math.log(p if is_gold else 1 - p)
        out.append(total)
    return out


@pytest.mark.parametrize("form", ["softmax", "sigmoid"])
@pytest.mark.parametrize("seed", range(5))
def test_the_concept_loss_is_its_definition(form, seed):
    rng = np.random.default_rng(seed)
    n, c = rng.integers(1, 6), rng.integers(1, 9)
    scores = torch.from_numpy(rng.normal(0, 2, (n, c)))
    golden = torch.from_numpy(rng.random((n, c)) < 0.4).double()
    got = concept_loss(scores, golden, form)
    assert got.tolist() == pytest.approx(slow_loss(scores, golden, form), abs=1e-9)


def test_its_gradient_pulls_golden_concepts_up():
    """dL/ds_c = |gold| · P(c) − [c golden]: a step against it makes every golden one likelier."""
    torch.manual_seed(1)
    scores = torch.randn(4, 6, requires_grad=True)
    golden = torch.zeros(4, 6)
    golden[0, [1, 3]] = golden[1, 2] = golden[2, [0, 4, 5]] = 1
    concept_loss(scores, golden).sum().backward()
    share = scores.detach().softmax(1)
    expected = golden.sum(1, keepdim=True) * share - golden
    assert torch.allclose(scores.grad, expected, atol=1e-6)
    assert (scores.grad[3] == 0).all(), "an image without golden concepts teaches nothing"
    after = (scores.detach() - 0.1 * scores.grad).log_softmax(1)
    before = scores.detach().log_softmax(1)
    assert ((golden * after).sum(1)[:3] > (golden * before).sum(1)[:3]).all()


def test_an_unknown_form_is_told():
    with pytest.raises(UnitscopeError, match="unknown form of the concept loss 'soft'"):
        concept_loss(torch.zeros(1, 2), torch.zeros(1, 2), "soft")


def test_golden_concepts_are_annotated_and_core():
    rng = np.random.default_rng(3)
    has, members = rng.random((20, 7)) < 0.5, rng.random((4, 7)) < 0.5
    scene = rng.integers(0, 4, 20)

    class Core:
        pass

    core = Core()
    core.members = members
    got = golden_concepts(has, scene, "scc", core)
    for x in range(20):
        expected = set(np.flatnonzero(has[x])) & set(np.flatnonzero(members[scene[x]]))
        assert set(np.flatnonzero(got[x])) == expected
    assert (golden_concepts(has, scene, "annotated", None) == has).all()


# -- the network ----------------------------------------------------------------------------


class Backwards(nn.Module):
    """Its classifier is listed first and called last; another layer has as many outputs."""

    def __init__(self, grid: bool):
        super().__init__()
        self.last = nn.Conv2d(5, 3, 1) if grid else nn.Linear(5, 3)
        self.first = nn.Conv2d(3, 3, 1)
        self.body = nn.Conv2d(3, 5, 3)
        self.grid = grid

    def forward(self, x):
        x = self.body(self.first(x))
        return self.last(x).mean((2, 3)) if self.grid else self.last(x.mean((2, 3)))


@pytest.mark.parametrize("grid", [False, True])
def test_the_classifier_is_the_last_that_is_called(grid):
    net, x = Backwards(grid), torch.randn(2, 3, 6, 6)
    assert find_classifier(net, x) == ("last", 5, 3)
    with watched_features(net, "last") as found:
        net(x)
    expected = net.body(net.first(x)).mean((2, 3))
    assert torch.allclose(found[0], expected, atol=1e-6)
    assert not net.last._forward_pre_hooks


def test_a_network_without_a_linear_end_is_told():
    with pytest.raises(UnitscopeError, match="has 2 outputs, but no linear or 1×1 layer"):
        find_classifier(nn.Sequential(nn.Conv2d(3, 2, 3), nn.Flatten()), torch.zeros(1, 3, 3, 3))


def test_a_new_head_is_drawn_from_its_seed_alone():
    heads = []
    for seed, before in ((1, 5), (1, 6), (2, 5)):
        net = tiny.Net()
        torch.manual_seed(before)
        new_head(net, "head", 4, seed)
        heads.append(net.head.weight.detach().clone())
    assert heads[0].shape == (4, 12)
    assert torch.equal(heads[0], heads[1])
    assert not torch.equal(heads[0], heads[2])


def test_layers_before_a_layer_are_kept():
    net = tiny.Net()
    assert kept_layers(net, "body.2") == [net.body[0], net.body[1]]
    assert kept_layers(net, None) == []
    with pytest.raises(UnitscopeError, match=r"unknown layer .body\.9.; nearest: body"):
        kept_layers(net, "body.9")


# -- photos ---------------------------------------------------------------------------------


def test_augmented_photos_are_shifts_and_flips():
    rng = np.random.default_rng(0)
    photos = rng.integers(0, 256, (12, 9, 11, 3)).astype(np.uint8)
    got = augment(photos, np.random.default_rng(4), margin=0.2)
    seen = set()
    for before, after in zip(photos, got, strict=True):
        wide = np.pad(before, ((2, 2), (2, 2), (0, 0)), mode="reflect")
        fits = {
            (dy, dx, flip)
            for dy in range(5)
            for dx in range(5)
            for flip in (1, -1)
            if (wide[dy : dy + 9, dx : dx + 11][:, ::flip] == after).all()
        }
        assert len(fits) == 1
        seen |= fits
    assert len(seen) > 6 and len({flip for *_, flip in seen}) == 2
    assert (augment(photos, np.random.default_rng(4), margin=0.2) == got).all()


def test_batches_are_a_permutation_of_nearly_equal_parts():
    parts = batches(33, 8, seed=1, epoch=2)
    assert sorted(np.concatenate(parts)) == list(range(33))
    assert {len(part) for part in parts} <= {8, 9}
    again = batches(33, 8, seed=1, epoch=2)
    assert all((a == b).all() for a, b in zip(parts, again, strict=True))
    assert (np.concatenate(batches(33, 8, 1, 3)) != np.concatenate(parts)).any()


def test_the_validation_part_holds_some_of_every_scene_and_never_all():
    scene = np.repeat([0, 1, 2, 3], [40, 10, 2, 1])
    out = held_out(scene, 0.2, seed=0)
    assert [int(out[scene == y].sum()) for y in range(4)] == [8, 2, 0, 0]
    assert held_out(np.zeros(2, int), 0.9, 0).sum() == 1
    with pytest.raises(UnitscopeError, match="between 0 and 1"):
        held_out(scene, 1.0, 0)


def test_a_smaller_input_shows_the_same_part_of_the_photo():
    way = Preprocessing(crop=(8, 8, 632, 472), resize=(144, 144), center_crop=128)
    small = scaled(way, 64)
    assert (small.crop, small.resize, small.center_crop) == (way.crop, (72, 72), 64)
    assert scaled(Preprocessing(), 112) == Preprocessing(resize=128, center_crop=112)
    with pytest.raises(UnitscopeError, match="no side to change"):
        scaled(Preprocessing(resize=None, center_crop=None), 64)


# -- the whole ------------------------------------------------------------------------------


def test_what_comes_out(asked, finished):
    root, told = finished
    assert told["counts"]["train"] + told["counts"]["validation"] == 30
    assert told["counts"]["test"] == len(told["target"]) == 30
    assert {(t["cc"], t["weight"]) for t in told["trainings"]} == {
        ("control", 0.0),
        ("top10", 0.5),
        ("top10", 2.0),
        ("annotated", 0.5),
        ("annotated", 2.0),
    }
    for one in told["trainings"]:
        right = np.asarray(one["predicted"]) == np.asarray(told["target"])
        assert one["test"] == right.mean()
        best = one["curve"][one["best_epoch"] - 1]
        assert one["validation"] == best["validation"] == max(p["validation"] for p in one["curve"])
        assert len(one["curve"]) == one["epochs"] <= asked.epochs
    assert told["counts"]["golden"]["annotated"]["per_image"] > 3
    assert not (root / f"retrain-{told['digest']}.partial").exists()
    assert not list(root.glob("*.lock"))


def test_the_concept_loss_is_learned(finished):
    """With L_c the concept head gets better at its task; the control has none."""
    for told in finished[1]["trainings"]:
        losses = [point["concept_loss"] for point in told["curve"]]
        if told["cc"] == "control":
            assert not any(losses)
        else:
            assert losses[-1] < losses[0]


def test_its_weights_open_as_a_model(finished):
    root, told = finished
    assert set(told["weights"]) == {"control", "top10", "annotated"}
    for kind, file in told["weights"].items():
        assert file["spec"] == f"{tiny.SPEC}:{root / file['file']}", file.get("why")
        again = load_model(file["spec"])
        one = next(
            t
            for t in told["trainings"]
            if (t["cc"], t["weight"], t["seed"]) == (kind, file["weight"], file["seed"])
        )
        from core.datasets import open_dataset

        dataset = open_dataset(told["dataset"]["spec"])
        seen = np.stack(
            [
                np.asarray(again.preprocessing.view(dataset.photo(dataset.index_of(name))))
                for name in told["test_ids"]
            ]
        )
        logits, _ = predict(again.module, again.preprocessing, seen)
        assert logits.argmax(1).tolist() == one["predicted"]


def test_a_finished_one_is_read_not_made(asked, finished):
    root, told = finished

    def never(_progress):
        raise AssertionError("something was computed")

    # Killed when all but the clean-up was done: not in the making any more, and cleaned up later.
    left = root / f"retrain-{told['digest']}.partial"
    left.mkdir()
    (left / "progress.json").write_text("{}")
    assert unfinished(root, kind="retrain") == []
    assert retrain(plan(asked), root, progress=never) == json.loads(json.dumps(told))
    assert not left.exists()


class Crash(Exception):
    pass


@pytest.mark.parametrize("after", [9, 40])
def test_a_killed_one_goes_on_to_the_same_bytes(asked, finished, tmp_path, after):
    root, told = finished
    work, calls = plan(asked), []

    def crash(progress):
        calls.append(progress)
        if len([c for c in calls if c.stage == "train"]) == after:
            raise Crash

    with pytest.raises(Crash):
        retrain(work, tmp_path, progress=crash)
    beat = json.loads((tmp_path / f"retrain-{work.digest}.partial" / "progress.json").read_text())
    assert {"stage", "done", "total", "rate", "left", "pid", "time", "what"} <= set(beat)
    assert beat["command"] == asked.command()
    # Not among the runs in the making, but among the re-trainings.
    assert unfinished(tmp_path) == []
    going = unfinished(tmp_path, kind="retrain")
    assert [(task.run, task.state) for task in going] == [(f"retrain-{work.digest}", "running")]
    seen = []
    retrain(work, tmp_path, progress=seen.append)
    assert seen[-1].done == seen[-1].total
    for file in sorted(root.glob("retrain-*")):
        mine, theirs = (folder / file.name for folder in (tmp_path, root))
        if file.suffix == ".json":
            assert mine.read_text().replace(str(tmp_path), str(root)) == theirs.read_text()
        else:
            a, b = (torch.load(path, weights_only=True) for path in (mine, theirs))
            assert all(torch.equal(a[k], b[k]) for k in a) and a.keys() == b.keys()


def test_a_stop_is_heard_and_keeps_what_is_done(asked, tmp_path):
    work, calls = plan(asked), []

    def stop():
        calls.append(1)
        return len(calls) > 80

    with pytest.raises(Stopped, match="the same command resumes it"):
        retrain(work, tmp_path, stop=stop)
    assert shown.results(tmp_path).empty
    assert list((tmp_path / f"retrain-{work.digest}.partial").glob("*.pt"))


def test_the_control_sees_the_same_batches(asked, tmp_path, monkeypatch):
    """Photo for photo and flip for flip, and λ → 0 ends where the control ends."""
    fed = []
    real = augment

    def spy(photos, rng, margin=MARGIN):
        out = real(photos, rng, margin)
        fed.append(out.tobytes())
        return out

    monkeypatch.setattr(trainer, "augment", spy)
    faint = replace(asked, cc=("annotated",), weights=(1e-30,), seeds=1, patience=9)
    told = retrain(plan(faint), tmp_path)
    half = len(fed) // 2
    assert half and fed[:half] == fed[half:]
    control, other = told["trainings"]
    assert other["predicted"] == control["predicted"]
    for a, b in zip(control["curve"], other["curve"], strict=True):
        assert a["scene_loss"] == b["scene_loss"]
        assert a["validation"] == b["validation"]


def test_layers_kept_stay_as_they_were(asked, tmp_path):
    some = replace(asked, cc=("annotated",), weights=(1.0,), seeds=1, epochs=1, since="head")
    told = retrain(plan(some), tmp_path)
    old = load_model(tiny.SPEC).module.state_dict()
    new = load_model(told["weights"]["annotated"]["spec"]).module.state_dict()
    assert all(torch.equal(old[k], new[k]) for k in old if k.startswith("body"))
    assert not torch.equal(old["head.weight"], new["head.weight"])


def test_a_torchvision_network_with_a_new_head_and_a_grid_before_it(asked, tmp_path):
    some = replace(
        asked,
        model="torchvision:squeezenet1_1:random",
        cc=("annotated",),
        weights=(0.1,),
        seeds=1,
        epochs=1,
        side=32,
        rate=1e-3,
    )
    work = plan(some)
    assert not work.own_head and work.classes == list(tiny.SCENES)
    told = retrain(work, tmp_path)
    assert told["original"] is None
    file = told["weights"]["annotated"]
    assert file["spec"] == f"torchvision:squeezenet1_1:{tmp_path / file['file']}", file.get("why")
    again = load_model(file["spec"])
    assert again.classes == list(tiny.SCENES)
    assert again.preprocessing == work.preprocessing
    assert shown.summary(told)["cc"].tolist() == ["control", "annotated"]


def test_specs_of_new_weights(tmp_path):
    file = tmp_path / "new.pt"
    assert spec_of("torchvision:alexnet", file) == f"torchvision:alexnet:{file}"
    assert spec_of("python:a.b:f:old.pt", file) == f"python:a.b:f:{file}"
    assert spec_of("rooms", file) == f"python:core.rooms.network:load:{file}"


def test_the_embedded_network_opens_from_another_file(tmp_path):
    from core.rooms.network import RoomsNet, save

    net = RoomsNet(3).eval()
    save(net, ["a", "b", "c"], {}, tmp_path / "w.pt")
    again = load_model(f"python:core.rooms.network:load:{tmp_path / 'w.pt'}")
    # Where it once lay: the same network, whatever the text of our own code is.
    moved = load_model(f"python:core.models.rooms_net:load:{tmp_path / 'w.pt'}")
    assert moved.digest() == again.digest() and moved.source == "core.rooms.network:load\n"
    assert again.classes == ["a", "b", "c"] and again.preprocessing.resize == (128, 128)
    assert torch.allclose(again.module.fc.weight, net.fc.weight.half().float())


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"cc": ("icd",)}, "unknown kind of golden concepts 'icd'; nearest: icc"),
        ({"weights": (0.0,)}, "λ must be above 0"),
        ({"epochs": 0}, "epochs must be at least 1"),
        ({"test": "train"}, "train and test are both split 'train'"),
        ({"test": "val"}, "unknown split 'val'"),
        ({"since": "body.99"}, "unknown layer"),
        ({"side": 4}, "too small"),
        ({"form": "hinge"}, "unknown form"),
        ({"core_on": "test"}, "core concepts come from"),
        ({"rate": 3.0}, "absurd"),
        ({"model": "torchvision:squeezenet1_1:random", "head": "own"}, "use --head new"),
    ],
)
def test_mistakes_are_told_before_anything_is_written(asked, change, told):
    with pytest.raises(UnitscopeError, match=told):
        plan(replace(asked, **change))


# -- what is shown --------------------------------------------------------------------------


def test_the_summary_pairs_every_seed_with_its_control(finished):
    told = finished[1]
    table = shown.summary(told).set_index(["cc", "weight"])
    by = {(t["cc"], t["weight"], t["seed"]): t["test"] for t in told["trainings"]}
    pairs = [by["top10", 2.0, s] - by["control", 0.0, s] for s in (0, 1)]
    row = table.loc["top10", 2.0]
    assert row["gain"] == pytest.approx(np.mean(pairs))
    # Student's t with one degree of freedom: 12.706 standard errors.
    half = 12.7062 * np.std(pairs, ddof=1) / np.sqrt(2)
    assert row["gain_high"] - row["gain"] == pytest.approx(half, rel=1e-4)
    assert row["image_low"] <= row["gain"] <= row["image_high"]
    assert math.isnan(table.loc["control", 0.0]["gain"])
    chosen = table[table["chosen"]].reset_index()["cc"].tolist()
    assert chosen == ["original", "control", "top10", "annotated"]


def test_curves_results_and_figures(finished):
    root, told = finished
    points = shown.curves(told)
    assert len(points) == sum(t["epochs"] for t in told["trainings"])
    assert points["best"].sum() == len(told["trainings"])
    assert shown.results(root)["digest"].tolist() == [told["digest"]]
    assert shown.result("latest", root)["digest"] == told["digest"]
    assert shown.result(told["digest"][:6], root)["digest"] == told["digest"]
    with pytest.raises(UnitscopeError, match="unknown re-training"):
        shown.result("zzz", root)
    frame = shown.figure_5([told])
    assert frame["method"].tolist() == ["original", "control", "Top 10", "all annotated"]
    drawn = export(retraining(frame, caption([told])), "svg").decode()
    assert "all annotated" in drawn and "split test" in drawn
    assert b"How training went" in export(learning(points, caption([told])), "svg")


def test_the_command_line(asked, finished, capsys, tmp_path):
    from core.cli import main

    root, told = finished
    line = asked.command().split()[3:]
    assert main([*line, "--out", str(root), "--json"]) == 0
    answer = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert answer["digest"] == told["digest"]
    assert len(answer["summary"]) == 6
    assert main(["retrain", "list", "--out", str(root)]) == 0
    assert told["digest"] in capsys.readouterr().out
    assert main(["retrain", "show", "latest", "--out", str(root)]) == 0
    assert "over images" in capsys.readouterr().out
    to = tmp_path / "figures"
    assert main(["retrain", "figure", "latest", "--out", str(root), "--to", str(to)]) == 0
    assert (to / "figure_5.svg").read_bytes().startswith(b"<svg")
    sized = ["--inches", "7", "--points", "9", "--to", str(to / "paper")]
    assert main(["retrain", "figure", "latest", "--out", str(root), *sized]) == 0
    assert 'width="7in"' in (to / "paper" / "figure_5.svg").read_text(encoding="utf-8")
    assert "knowledge" in (to / "paper" / "figure_5.txt").read_text(encoding="utf-8")
    assert main(["retrain", "cc", "--out", str(root)]) == 2
    assert "name a run, or both" in capsys.readouterr().err
    assert main(["retrain"]) == 2
