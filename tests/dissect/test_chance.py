"""Chance: each unit against exchanges of masks, over any part of the images, and the twin."""

from __future__ import annotations

import copy
import json
from dataclasses import asdict, replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from scipy.stats import false_discovery_control
from torch import nn

from core.cli import main
from core.dissect.labels import (
    active,
    better_than_chance,
    null_distribution,
    unit_labels,
    untrained_labels,
)
from core.dissect.pipeline import execute
from core.dissect.plan import plan
from core.dissect.significance import FDR, adjust, called_by_chance, permutation_p, split_sets
from core.foundation.errors import UnitscopeError
from core.foundation.progress import Stopped
from core.foundation.settings import Settings
from core.models.base import LoadedModel
from core.models.load import load_model
from core.models.untrained import settle_batch_norm, untrained_twin
from core.runs.run_file import Run
from tests import tiny

LAYER = "body.3"


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("photos") / "photos")


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory) -> Run:
    """Two layers, 150 images of masks that have nothing to do with the photos, 99 rounds."""
    asked = Settings(f"folder:{folder}", tiny.SPEC, ("body.1", LAYER), q=0.05, shuffles=99)
    return execute(plan(asked), tmp_path_factory.mktemp("runs"))


# -- null distributions ---------------------------------------------------------------------


def exchanged_slow(run: Run, layer: str, round_: int, splits: list[str]) -> np.ndarray:
    """Best IoU of each unit and category on some splits after one round, mask by mask:
    (categories, units) of the denominator "all"."""
    frame = run.sql("SELECT image, split, scene FROM images ORDER BY image")
    settings = run.info["settings"]
    rng = np.random.default_rng([settings["seed"], 0x5EED, round_])
    other = np.arange(len(frame))
    for split in sorted(set(frame["split"])):
        own = np.flatnonzero(frame["split"] == split)
        other[own] = rng.permutation(own)
    labels, maps = run.array("labels"), run.array(f"maps-{layer}")
    thresholds = run.sql(
        "SELECT threshold FROM units WHERE layer = ? ORDER BY unit", [run.layer(layer)]
    )["threshold"].to_numpy()
    concepts = run.sql("SELECT * FROM concepts ORDER BY concept")
    scene = int(concepts.loc[concepts["category"] == "scene", "concept"].min())
    height, width = labels.shape[2:]
    both = np.zeros((maps.shape[1], len(concepts)))
    hits, areas = np.zeros(maps.shape[1]), np.zeros(len(concepts))
    for image in np.flatnonzero(frame["split"].isin(splits)):
        lit = (
            torch.nn.functional.interpolate(
                torch.from_numpy(np.array(maps[image : image + 1], np.float64)),
                (height, width),
                mode="bilinear",
            )[0].numpy()
            > thresholds[:, None, None]
        )
        masks = np.stack(
            [
                (labels[other[image]] == c).any(0)
                if c < scene
                else np.full((height, width), frame["scene"][other[image]] == c - scene)
                for c in concepts["concept"]
            ]
        )
        both += np.einsum("uyx,cyx->uc", lit.astype(float), masks.astype(float))
        hits += lit.sum((1, 2))
        areas += masks.sum((1, 2))
    iou = both / np.maximum(hits[:, None] + areas - both, 1)
    kinds = sorted(set(concepts["category"]))
    return np.stack([iou[:, (concepts["category"] == kind).to_numpy()].max(1) for kind in kinds])


@pytest.mark.parametrize("splits", [["test"], ["train"], ["test", "train"]])
def test_null_distributions_are_those_of_the_images_asked_for(run, splits):
    """Of one split, of the other, of both; of all categories and of one."""
    kinds = sorted(run.sql("SELECT DISTINCT category FROM concepts")["category"])
    for round_ in (0, 98):
        slow = exchanged_slow(run, LAYER, round_, splits)
        for categories in (None, kinds[:1], kinds[1:]):
            null = null_distribution(run, LAYER, "all", categories, splits)
            chosen = [kinds.index(kind) for kind in categories or kinds]
            assert null.shape == (12, 99)
            np.testing.assert_allclose(null[:, round_], slow[chosen].max(0), rtol=1e-5)
    if len(splits) == 2:
        whole = null_distribution(run, LAYER)
        np.testing.assert_array_equal(whole, null_distribution(run, LAYER, splits=splits))


def test_p_values_count_the_units_own_rounds(run):
    for splits in (None, ["test"]):
        null = null_distribution(run, LAYER, splits=splits)
        labels = unit_labels(run, LAYER, splits=splits)
        for row in labels.itertuples():
            reached = (null[row.unit] >= np.float32(row.iou)).sum()
            assert row.chance == pytest.approx((1 + reached) / 100)
        p = np.ones(int(active(run, LAYER, splits).sum()))
        p[: len(labels)] = labels["chance"]
        np.testing.assert_allclose(labels["adjusted"], false_discovery_control(p)[: len(labels)])


# -- what the tests promise -----------------------------------------------------------------


@pytest.fixture(scope="module")
def nothing(tmp_path_factory) -> Run:
    """443 photos, 60 of them in the split `test`, of masks that have nothing to do with them; 128
    units, 400 rounds. Every third photo has a mask in large blocks and all others in small ones,
    so that units differ in what chance gives them."""
    root = tmp_path_factory.mktemp("nothing")
    folder = tiny.write_folder(root / "photos", images=443, seed=5)
    rows = (folder / "scenes.csv").read_text(encoding="utf-8").splitlines()
    for k, row in enumerate(rows[1:]):
        photo, scene, _ = row.split(",")
        rows[k + 1] = f"{photo},{scene},{'test' if k < 60 else 'train'}"
    (folder / "scenes.csv").write_text("\n".join(rows), encoding="utf-8")
    asked = Settings(f"folder:{folder}", "python:tests.tiny:wide", q=0.02, shuffles=400)
    return execute(plan(asked), root / "runs")


def test_labels_learned_on_a_few_images_are_judged_by_those(nothing):
    """60 of 443 images, where there is nothing to find: about 5 % have p ≤ 0.05. Against the null
    distribution of all images, as it once was, a third of them and more do."""
    labels = unit_labels(nothing, splits=["test"])
    assert len(labels) == 128
    assert 0.01 <= (labels["chance"] <= 0.05).mean() <= 0.10
    assert (labels["adjusted"] > FDR).all()
    pooled = np.sort(null_distribution(nothing).ravel())
    reached = len(pooled) - np.searchsorted(pooled, labels["iou"].astype(np.float32))
    assert ((1 + reached) / (1 + len(pooled)) <= 0.05).mean() > 0.3
    everything = unit_labels(nothing)
    assert 0.01 <= (everything["chance"] <= 0.05).mean() <= 0.10


def test_no_unit_is_called_more_often_than_it_should(nothing):
    """Rounds of exchange as worlds in which there is nothing to find: the first 200 are judged by
    the other 200. By its own null no unit is called in much more than 5 % of worlds; by the null
    of all units together, as it once was, some in a quarter of them and others never."""
    draws = null_distribution(nothing)
    worlds, null = draws[:, :200], draws[:, 200:]
    units = np.arange(len(draws))
    own = np.mean([permutation_p(null, units, world) <= 0.05 for world in worlds.T], 0)
    assert 0.03 <= own.mean() <= 0.07
    # Two binomial deviations of 200 each make 0.022.
    assert (own <= 0.05 + 3 * 0.022).all()
    every = np.sort(null.ravel())
    pooled = np.mean(
        [1 - np.searchsorted(every, world) / len(every) <= 0.05 for world in worlds.T], 0
    )
    assert pooled.max() > 0.25 and pooled.min() == 0


def test_the_false_discovery_rate_is_kept(nothing):
    """No unit means anything: whichever is called is false, in 5 % of worlds at most. Half of
    them do (an overlap no round reaches): 5 % of those called are false at most."""
    draws = null_distribution(nothing)
    worlds, null = draws[:, :200], draws[:, 200:]
    units, tested = np.arange(len(draws)), len(draws)
    none, half = [], []
    for world in worlds.T:
        p = permutation_p(null, units, world)
        none.append((adjust(p, p, tested) <= FDR).any())
        p = permutation_p(null, units, np.where(units % 2, world, 1.0))
        called = adjust(p, p, tested) <= FDR
        assert called[units % 2 == 0].all()
        half.append(called[units % 2 == 1].sum() / called.sum())
    assert np.mean(none) <= 0.05 + 3 * 0.0154
    assert np.mean(half) <= 0.05
    by_chance = called_by_chance(draws, np.ones(tested, bool))
    assert by_chance < 1 and by_chance == better_than_chance(nothing).by_chance


def test_units_called_by_chance_are_counted_round_by_round():
    rng = np.random.default_rng(0)
    null = rng.random((6, 40)).astype(np.float32)
    null[:4, 7] = 2  # one round in which four units beat every other round
    counts = []
    for r in range(40):
        rest = np.delete(null, r, 1)
        p = permutation_p(rest, np.arange(6), null[:, r])
        counts.append((adjust(p, p, 6) <= FDR).sum())
    assert max(counts) == 4
    assert called_by_chance(null, np.ones(6, bool)) == pytest.approx(np.mean(counts))


def test_adjusted_p_values_are_scipys():
    rng = np.random.default_rng(1)
    for size in (1, 2, 30):
        p = np.round(rng.random(size) ** 3, 2).clip(0.01)
        padded = np.append(p, np.ones(5))
        np.testing.assert_allclose(adjust(p, p, size + 5), false_discovery_control(padded)[:size])
    # A second label is judged on the ladder of the best ones.
    best = np.array([0.01, 0.02, 0.6])
    assert adjust(np.array([0.015, 0.5, 0.7]), best, 3).tolist() == pytest.approx([0.03, 0.6, 1])
    assert np.isnan(adjust(np.array([np.nan]), np.array([np.nan]), 3)).all()


def test_sets_of_splits():
    assert len(split_sets(["a", "b", "c"])) == 7
    assert split_sets("abcd") == [("a",), ("b",), ("c",), ("d",), ("a", "b", "c", "d")]


def test_four_splits_have_chance_each_and_together(folder, tmp_path):
    rows = (folder / "scenes.csv").read_text(encoding="utf-8").splitlines()
    copy = tiny.write_folder(tmp_path / "photos")
    text = [row.rpartition(",")[0] + f",part {k % 4}" for k, row in enumerate(rows[1:])]
    (copy / "scenes.csv").write_text("\n".join([rows[0], *text]), encoding="utf-8")
    asked = Settings(f"folder:{copy}", tiny.SPEC, q=0.05, shuffles=20)
    run = execute(plan(asked), tmp_path / "runs")
    assert unit_labels(run, splits=["part 2"])["chance"].notna().all()
    assert unit_labels(run)["chance"].notna().all()
    with pytest.raises(UnitscopeError, match=r"part 0, part 2 together.*Ask for one, or for all"):
        unit_labels(run, splits=["part 2", "part 0"])


# -- the untrained twin ---------------------------------------------------------------------


def test_the_twin_is_a_run_of_its_own(folder, run, tmp_path):
    """Its labels, thresholds and p-values are those of a run of the untrained network."""
    asked = Settings(f"folder:{folder}", "python:tests.tiny:twin", (LAYER,), q=0.05, shuffles=99)
    # The twin's maps are recorded as the network's own are.
    asked = replace(asked, untrained=False, map_type=run.info["settings"]["map_type"])
    alone = execute(plan(asked), tmp_path)
    for denominator in ("all", "annotated"):
        theirs = unit_labels(alone, LAYER, denominator)
        ours = untrained_labels(run, LAYER, denominator)
        for column in (
            "unit",
            "concept",
            "name",
            "category",
            "iou",
            "hits",
            "threshold",
            "chance",
            "adjusted",
        ):
            assert ours[column].tolist() == theirs[column].tolist(), column
    told = better_than_chance(run, LAYER)
    assert told.untrained == int((ours["adjusted"] <= FDR).sum())
    assert (alone.info["untrained"]["made"], run.info["untrained"]["made"]) == (False, True)
    assert better_than_chance(alone).untrained_why == "the run was made with --no-untrained"
    own, _ = tiny.net()
    assert not torch.equal(own.body[2].weight, tiny.twin()[0].body[2].weight)


@pytest.mark.parametrize("maps", [True, False])
def test_stopping_anywhere_changes_nothing(folder, run, tmp_path, maps):
    """With a twin, stopped in each stage and resumed: the same tables."""
    asked = Settings(
        f"folder:{folder}", tiny.SPEC, ("body.1", LAYER), q=0.05, shuffles=99, keep_maps=maps
    )
    stages: list[str] = []

    def stop() -> bool:
        return len(stages) != len(set(stages)) and stages[-1] not in stopped

    stopped: set[str] = set()
    for _ in range(8):
        stages.clear()
        try:
            made = execute(
                plan(asked),
                tmp_path,
                progress=lambda p: stages.append(p.stage),
                stop=stop,
                shard=32,
            )
            break
        except Stopped:
            stopped.add(stages[-1])
    assert stopped == {"collect", "count", "chance"}
    assert made.info["tables_digest"] == run.info["tables_digest"]
    # Nothing of the twin but its table stays.
    assert not list(made.arrays.glob("*twin*"))


@pytest.mark.parametrize(
    "spec",
    [
        "torchvision:squeezenet1_1",
        "torchvision:swin_t",
        "timm:resnet10t",
        "timm:vit_tiny_patch16_224",
        "timm:test_convnext",
    ],
)
def test_every_weight_of_a_twin_is_drawn_anew(spec):
    loaded = load_model(f"{spec}:random")
    rng = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for value in [*loaded.module.parameters(), *loaded.module.buffers()]:
            if value.is_floating_point():
                value.copy_(torch.rand(value.shape, generator=rng) + 5)
    twin = untrained_twin(loaded).module
    for name, value in twin.named_parameters():
        assert value.max() < 5, name
    assert all(v.max() < 5 for n, v in twin.named_buffers() if n.endswith("running_mean"))
    again = untrained_twin(loaded).module.state_dict()
    assert all(torch.equal(v, again[k]) for k, v in twin.state_dict().items())
    other = untrained_twin(loaded, seed=1).module.state_dict()
    assert not all(torch.equal(v, other[k]) for k, v in twin.state_dict().items())


def test_batch_norm_of_a_twin_has_the_statistics_of_its_photos():
    torch.manual_seed(0)
    module = nn.Sequential(nn.BatchNorm2d(2), nn.Dropout(0.9)).eval()
    batches = [5 + 3 * torch.randn(8, 2, 4, 4) for _ in range(3)]
    settle_batch_norm(module, batches)
    norm = module[0]
    mean = torch.stack([b.mean((0, 2, 3)) for b in batches]).mean(0)
    var = torch.stack([b.var((0, 2, 3)) for b in batches]).mean(0)
    torch.testing.assert_close(norm.running_mean, mean)
    torch.testing.assert_close(norm.running_var, var)
    assert not norm.training and norm.momentum == 0.1 and norm.num_batches_tracked == 3


def test_a_twin_is_the_same_on_any_number_of_threads():
    generator = torch.Generator().manual_seed(0)
    photos = [torch.randn(32, 3, 128, 128, generator=generator) for _ in range(2)]
    twin = untrained_twin(load_model("rooms")).module
    found = []
    threads = torch.get_num_threads()
    try:
        for count in (1, 2):
            torch.set_num_threads(count)
            module = copy.deepcopy(twin)
            settle_batch_norm(module, photos)
            found.append(torch.cat([b.flatten().double() for b in module.buffers()]))
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(*found)


def test_batch_norm_stored_without_eps_can_be_settled():
    """Published weights may hold the inverse deviation with an eps of 0, as darknet's do."""
    norm = nn.BatchNorm2d(3, eps=0.0).eval()
    settle_batch_norm(norm, [torch.randn(4, 3, 5, 5)])
    assert norm.eps > 0 and bool(torch.isfinite(norm(torch.randn(1, 3, 5, 5))).all())


def test_a_network_that_cannot_be_drawn_anew_has_no_twin(folder, tmp_path, capsys):
    asked = Settings(f"folder:{folder}", "python:tests.tiny:learned", q=0.05, shuffles=20)
    with pytest.raises(UnitscopeError, match=r"the network itself \(Learned\).*reset_parameters"):
        plan(replace(asked, untrained=True))
    run = execute(plan(asked), tmp_path)
    told = better_than_chance(run)
    assert told.untrained is None and "the network itself (Learned)" in told.untrained_why
    assert main(["show", run.digest, "--out", str(tmp_path)]) == 0
    assert "The untrained twin was not measured: weights of" in capsys.readouterr().out


def test_weights_behind_a_parametrisation_are_not_taken_for_new():
    module = nn.Sequential(nn.utils.parametrizations.weight_norm(nn.Conv2d(3, 4, 3)))
    with pytest.raises(UnitscopeError, match=r"cannot be drawn anew.*0\.parametrizations.weight"):
        untrained_twin(LoadedModel(module, None, [], "python:x:y", "0"))
    module = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Identity())
    module[1].register_buffer("running_mean", torch.ones(4))
    with pytest.raises(UnitscopeError, match=r"1 \(Identity\)"):
        untrained_twin(LoadedModel(module, None, [], "python:x:y", "0"))


def test_the_option_is_part_of_the_digest(folder, run):
    asked = Settings(f"folder:{folder}", tiny.SPEC, ("body.1", LAYER), q=0.05, shuffles=99)
    assert plan(asked).digest == plan(replace(asked, untrained=True)).digest == run.digest
    assert plan(replace(asked, untrained=False)).digest != run.digest
    with pytest.raises(UnitscopeError, match=r"cannot be measured here: .*--shuffles 0"):
        plan(replace(asked, shuffles=0, untrained=True))
    assert any("no unit can come out better" in n for n in plan(replace(asked, shuffles=9)).notes)


# -- where it is shown ----------------------------------------------------------------------


def test_show_says_how_many_by_chance_and_untrained(run, capsys):
    assert main(["show", str(run.path), "--json"]) == 0
    chance = json.loads(capsys.readouterr().out.splitlines()[-1])["labels"]["chance"]
    assert chance == asdict(better_than_chance(run))
    assert main(["show", str(run.path)]) == 0
    printed = capsys.readouterr().out
    assert f"{chance['above']} of 12 units better than chance" in printed
    assert f"In the untrained twin: {chance['untrained']}." in printed


def test_a_run_of_an_older_version_opens_and_says_that_chance_is_unknown(run, tmp_path, capsys):
    old = tmp_path / run.path.name
    old.write_bytes(run.path.read_bytes())
    con = duckdb.connect(str(old))
    con.execute("DROP TABLE chance")
    con.execute("DROP TABLE untrained")
    con.execute(
        "CREATE TABLE chance (layer INTEGER, denominator TEXT, shuffle INTEGER, unit INTEGER, "
        "concept INTEGER, iou DOUBLE)"
    )
    con.execute("INSERT INTO chance VALUES (1, 'all', 0, 0, 1, 0.5)")
    con.execute("DELETE FROM meta WHERE key IN ('schema', 'untrained')")
    con.close()
    opened = Run(old)
    assert unit_labels(opened, LAYER)["chance"].isna().all()
    assert unit_labels(opened, LAYER, splits=["test"])["adjusted"].isna().all()
    told = better_than_chance(opened)
    assert told.above is None and "older version" in told.chance_why
    assert main(["show", str(old)]) == 0
    assert "Chance was not measured: the run was made by an older version" in (
        capsys.readouterr().out
    )
