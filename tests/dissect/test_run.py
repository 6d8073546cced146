"""Whole runs: shards, resuming, bad files, digests, the run file."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pytest
import torch
from PIL import Image

from core.ablation.toggler import prepare
from core.datasets.decode import read_photo
from core.datasets.loader import decode
from core.dissect import pipeline as run_module
from core.dissect.labels import null_distribution, unit_labels
from core.dissect.pipeline import execute
from core.dissect.plan import BATCH, plan
from core.explain.photo import explain_photo
from core.foundation.errors import BadFile, UnitscopeError
from core.foundation.progress import Stopped
from core.foundation.settings import Settings
from core.knowledge.kinds import open_knowledge
from core.models.forward import Forward
from core.paper.tables import all_core_concepts
from core.runs.run_file import Run
from core.runs.store import find_run, list_runs
from tests import tiny
from tests.dissect.test_dissect import count_slow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")


@pytest.fixture(scope="module")
def settings(folder) -> Settings:
    return Settings(
        f"folder:{folder}",
        tiny.SPEC,
        layers=("body.1", "body.3"),
        q=0.05,
        shuffles=3,
        map_type="float16",
    )


@pytest.fixture(scope="module")
def whole(settings, tmp_path_factory) -> Run:
    return execute(plan(settings), tmp_path_factory.mktemp("whole"), shard=1000)


# -- the numbers ----------------------------------------------------------------------------


def test_tables_follow_from_the_definitions(settings, whole):
    """Every stored count, recomputed from photos and masks by the slow reference."""
    work = plan(settings)
    way = work.model.preprocessing
    items = [decode(work.dataset, int(i), way, work.grid) for i in work.indices]
    stacked = np.stack([item.seen for item in items])
    forward = Forward(work.model, ["body.3"])
    maps = np.concatenate(
        [
            forward(stacked[k : k + BATCH]).layers["body.3"].maps.numpy()
            for k in range(0, len(stacked), BATCH)
        ]
    ).astype(np.float32)
    flat = maps.transpose(1, 0, 2, 3).reshape(maps.shape[1], -1)
    k = -(-flat.shape[1] * 5 // 100)
    thresholds = np.sort(flat, axis=1)[:, -k]
    stored = whole.sql("SELECT threshold FROM units WHERE layer = 1 ORDER BY unit")
    np.testing.assert_array_equal(stored["threshold"], thresholds)

    some = slice(40, 60)
    labels = np.stack([item.labels for item in items])[some]
    categories = work.categories
    category_of = [categories.index(c.category) for c in work.dataset.channels]
    slow = count_slow(
        maps[some], thresholds, labels, category_of, len(categories), len(work.dataset.concepts)
    )
    columns = ", ".join(f"hits_{c}" for c in categories)
    where = "layer = 1 AND image BETWEEN 40 AND 59 ORDER BY image, unit"
    hits = whole.sql(f"SELECT image - 40, unit, hits, {columns} FROM hits WHERE {where}")
    np.testing.assert_array_equal(hits.to_numpy(), slow.hits)
    both = whole.sql(
        f"SELECT image - 40, unit, concept, overlap FROM counts WHERE {where}, concept"
    )
    np.testing.assert_array_equal(both.to_numpy(), slow.both)
    areas = whole.sql(
        "SELECT image - 40, concept, a.area FROM areas a JOIN concepts USING (concept) "
        "WHERE NOT whole AND image BETWEEN 40 AND 59 ORDER BY image, concept"
    )
    np.testing.assert_array_equal(areas.to_numpy(), slow.areas)
    # What lies beside the run is what was counted.
    np.testing.assert_array_equal(np.asarray(whole.array("maps-body.3"), np.float32), maps)
    np.testing.assert_array_equal(whole.array("labels")[some], labels)


def test_iou_views_follow_from_the_counts(whole):
    """Both IoUs of Eq. 2 and the dataset IoU, against sets of rows taken one by one."""
    hits = {(r.image, r.unit): r for r in whole.sql("FROM hits WHERE layer = 1").itertuples()}
    area = {(r.image, r.concept): r.area for r in whole.sql("SELECT * FROM areas").itertuples()}
    concepts = whole.sql("SELECT * FROM concepts").set_index("concept")
    total = {c: sum(a for (_, k), a in area.items() if k == c) for c in concepts.index}
    rows = whole.sql("SELECT * FROM image_iou WHERE layer = 1 AND image < 12")
    assert len(rows) > 200
    for row in rows.itertuples():
        own = hits[row.image, row.unit].hits
        if concepts.loc[row.concept, "whole"]:
            assert row.overlap == own
        here = area[row.image, row.concept]
        assert row.iou_image == pytest.approx(row.overlap / (own + here - row.overlap))
        assert row.iou_dataset_normalised == pytest.approx(
            row.overlap / (total[row.concept] + own - row.overlap)
        )
    both = whole.sql(
        "SELECT unit, concept, sum(overlap) AS n FROM image_iou WHERE layer=1 GROUP BY ALL"
    )
    summed = {(r.unit, r.concept): r.n for r in both.itertuples()}
    for row in whole.sql("SELECT * FROM dataset_iou WHERE layer = 1").itertuples():
        n = summed[row.unit, row.concept]
        unit_hits = sum(h.hits for (_, u), h in hits.items() if u == row.unit)
        assert row.iou_all == pytest.approx(n / (unit_hits + total[row.concept] - n))
        category = concepts.loc[row.concept, "category"]
        if category != "scene":
            inside = sum(
                getattr(h, f"hits_{category}") for (_, u), h in hits.items() if u == row.unit
            )
            assert row.iou_annotated == pytest.approx(n / (inside + total[row.concept] - n))


def test_labels_and_chance(whole):
    labels = unit_labels(whole, "body.3", categories=["object", "part"])
    best = whole.sql(
        "SELECT unit, max(iou_all) AS iou FROM dataset_iou "
        "WHERE layer = 1 AND category <> 'scene' GROUP BY unit ORDER BY unit"
    )
    np.testing.assert_allclose(labels["iou"], best["iou"])
    null = null_distribution(whole, "body.3")
    assert null.shape == (12, 3)
    for row in unit_labels(whole, "body.3").itertuples():
        own = null[row.unit]
        assert row.chance == pytest.approx((1 + (own >= np.float32(row.iou)).sum()) / (1 + 3))
    # The masks are drawn at random here: units must not come out better than chance.
    assert (labels["adjusted"] > 0.05).all()
    with pytest.raises(UnitscopeError, match=r"nearest: body\.3"):
        unit_labels(whole, "body3")


def test_labels_learned_on_one_split_are_those_of_a_run_on_it(settings, whole, tmp_path):
    """Same counts from a run on the split alone, where its thresholds are the whole run's."""
    both = unit_labels(whole, "body.3", splits=["train", "test"], per_unit=99)
    everything = unit_labels(whole, "body.3", per_unit=99)
    assert both.round(12).equals(everything.astype(both.dtypes).round(12))
    half = unit_labels(whole, "body.3", splits=["test"], per_unit=99, denominator="annotated")
    row = half.iloc[len(half) // 2]
    sums = whole.sql(
        "SELECT sum(overlap) AS overlap FROM image_iou JOIN images USING (image) "
        "WHERE layer = 1 AND split = 'test' AND unit = ? AND concept = ?",
        [int(row["unit"]), int(row["concept"])],
    )
    assert sums["overlap"][0] == row["overlap"]
    with pytest.raises(UnitscopeError, match="unknown split 'tset'; nearest: test"):
        unit_labels(whole, splits=["tset"])


def test_accuracy_is_the_networks(settings, whole):
    scene = whole.sql(
        "SELECT s.class, i.predicted, i.correct FROM images i JOIN scenes s USING (scene)"
    )
    assert ((scene["class"] == scene["predicted"]) == scene["correct"]).all()
    logits = whole.array("logits")
    np.testing.assert_array_equal(
        whole.sql("SELECT predicted FROM images ORDER BY image")["predicted"], logits.argmax(1)
    )
    part = whole.info["accuracy"]["by_split"]
    assert sum(p["right"] for p in part.values()) == whole.info["accuracy"]["right"]
    pooled = np.asarray(whole.array("pooled-body.3"))
    module = plan(settings).model.module
    np.testing.assert_allclose(module.head(torch.tensor(pooled)).numpy(), logits, atol=1e-5)


# -- shards, stops, kills -------------------------------------------------------------------


@pytest.mark.parametrize("shard", [32, 80, 96])
def test_any_sharding_gives_the_same_tables(settings, whole, tmp_path, shard):
    run = execute(plan(settings), tmp_path, shard=shard)
    assert run.info["tables_digest"] == whole.info["tables_digest"]


def test_the_torch_kernel_gives_the_same_tables(settings, whole, tmp_path):
    """The path a GPU takes, here on the CPU: the same rows whatever the device."""
    run = execute(plan(settings), tmp_path, kernel="torch")
    assert run.info["tables_digest"] == whole.info["tables_digest"]


def test_running_the_network_twice_gives_the_same_tables(settings, whole, tmp_path):
    run = execute(plan(replace(settings, keep_maps=False)), tmp_path, shard=64)
    assert run.info["tables_digest"] == whole.info["tables_digest"]
    with pytest.raises(UnitscopeError, match="unknown array"):
        run.array("maps-body.3")


@pytest.mark.parametrize("keep_maps", [True, False])
def test_a_run_stopped_after_every_batch_is_the_same(settings, whole, tmp_path, keep_maps):
    work = plan(replace(settings, keep_maps=keep_maps))
    stops = 0
    while True:
        # Stops in the second batch of each attempt, so that shards of one batch get done.
        calls = iter([False])
        try:
            run = execute(work, tmp_path, shard=32, stop=lambda left=calls: next(left, True))
            break
        except Stopped:
            stops += 1
            assert stops < 40
    assert stops >= 4
    assert run.info["tables_digest"] == whole.info["tables_digest"]
    assert not list(tmp_path.glob("*.partial")) and not list(tmp_path.glob("*.lock"))


def _command(settings: Settings, out: Path, *more: str) -> list[str]:
    layers = [part for layer in settings.layers for part in ("--layer", layer)]
    return [
        sys.executable,
        "-m",
        "core",
        "run",
        "--dataset",
        settings.dataset,
        "--model",
        settings.model,
        *layers,
        "--q",
        str(settings.q),
        "--shuffles",
        str(settings.shuffles),
        "--map-type",
        settings.map_type,
        "--out",
        str(out),
        "--shard",
        "32",
        "--json",
        *more,
    ]


@pytest.mark.slow
def test_a_run_killed_at_random_moments_is_the_same(settings, whole, tmp_path):
    """SIGKILL, so that nothing can be tidied up, at moments spread over the whole run."""
    rng = np.random.default_rng(int(os.environ.get("UNITSCOPE_KILL_SEED", "0")))
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    kills = 0
    for _ in range(12):
        process = subprocess.Popen(
            _command(settings, tmp_path),
            cwd=ROOT,
            env=env,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        # Wait until the work itself has begun, then a random moment more.
        begun = time.monotonic()
        before = {p.name for p in tmp_path.glob("*.partial/*")}
        while process.poll() is None and time.monotonic() - begun < 60:
            if {p.name for p in tmp_path.glob("*.partial/*")} != before:
                break
            time.sleep(0.005)
        time.sleep(float(rng.uniform(0, 0.4)))
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
            kills += 1
        process.wait()
        if list(tmp_path.glob("*.duckdb")):
            break
    done = subprocess.run(
        _command(settings, tmp_path, "--resume"),
        cwd=ROOT,
        env=env,
        capture_output=True,
        text=True,
        check=True,
    )
    told = json.loads(done.stdout.splitlines()[-1])
    assert kills >= 2 and told["tables_digest"] == whole.info["tables_digest"]
    run = Run(find_run(told["run"], tmp_path))
    np.testing.assert_array_equal(run.array("maps-body.3"), whole.array("maps-body.3"))
    assert run.photo(149) == whole.photo(149)


@pytest.mark.parametrize("step", ["arrays", "run.duckdb", "rmtree"])
def test_a_run_killed_while_it_is_put_in_place_is_the_same(
    settings, whole, tmp_path, monkeypatch, step
):
    """The moments between the last renamings, which random kills hardly ever meet."""
    work = plan(settings)
    rename, rmtree = Path.rename, run_module.shutil.rmtree

    def dying_rename(self, target):
        if self.name == step:
            raise KeyboardInterrupt
        return rename(self, target)

    def dying_rmtree(path, **options):
        if step == "rmtree" and str(path).endswith(".partial"):
            raise KeyboardInterrupt
        return rmtree(path, **options)

    with monkeypatch.context() as broken:
        broken.setattr(Path, "rename", dying_rename)
        broken.setattr(run_module.shutil, "rmtree", dying_rmtree)
        with pytest.raises(KeyboardInterrupt):
            execute(work, tmp_path)
    run = execute(work, tmp_path)
    assert run.info["tables_digest"] == whole.info["tables_digest"]
    np.testing.assert_array_equal(run.array("logits"), whole.array("logits"))


def test_marks_without_their_arrays_are_not_believed(settings, whole, tmp_path):
    work = plan(settings)
    stops = iter([False, False])
    with pytest.raises(Stopped):
        execute(work, tmp_path, shard=32, stop=lambda: next(stops, True))
    folder = tmp_path / f"{work.digest}.partial"
    (folder / "arrays" / "logits.npy").unlink()
    with pytest.raises(UnitscopeError, match=r"logits\.npy of the stopped run is missing"):
        execute(work, tmp_path)
    shutil.rmtree(folder / "arrays")
    assert execute(work, tmp_path).info["tables_digest"] == whole.info["tables_digest"]


def test_sigterm_stops_cleanly_and_says_how_to_go_on(settings, tmp_path):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        _command(settings, tmp_path),
        cwd=ROOT,
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    while process.poll() is None and not list(tmp_path.glob("*.partial/progress.json")):
        time.sleep(0.005)
    process.send_signal(signal.SIGTERM)
    out, err = process.communicate(timeout=60)
    if process.returncode:  # a fast machine may have finished first
        assert process.returncode == 130
        assert "resumes it" in err
        assert "resumes it" in json.loads(out.splitlines()[-1])["error"]


def test_two_processes_do_not_make_one_run(settings, tmp_path):
    work = plan(settings)
    clash = []

    def second() -> bool:
        if not clash:
            with pytest.raises(UnitscopeError, match="by another process"):
                execute(work, tmp_path)
            clash.append(1)
        return False

    execute(work, tmp_path, stop=second)
    assert clash


def test_a_finished_run_is_opened_not_made_again(settings, tmp_path):
    first = execute(plan(settings), tmp_path)
    before = first.path.stat().st_mtime_ns
    told = []
    again = execute(plan(settings), tmp_path, progress=told.append)
    assert again.path.stat().st_mtime_ns == before and not told
    fresh = execute(plan(settings), tmp_path, fresh=True)
    assert fresh.path.stat().st_mtime_ns > before
    assert fresh.info["tables_digest"] == first.info["tables_digest"]


# -- digests --------------------------------------------------------------------------------


def test_all_that_matters_is_in_the_digest(settings, folder, tmp_path):
    base = plan(settings).digest
    assert plan(settings).digest == base
    changes = [
        {"q": 0.01},
        {"grid": 8},
        {"shuffles": 4},
        {"seed": 1},
        {"keep_maps": False},
        {"map_type": "float32"},
        {"precision": "bfloat16"},
        {"layers": ("body.3",)},
        {"splits": ("test",)},
    ]
    digests = {plan(replace(settings, **change)).digest for change in changes}
    assert len(digests) == len(changes) and base not in digests

    moved = tiny.write_folder(tmp_path / "same data elsewhere")
    assert plan(replace(settings, dataset=f"folder:{moved}")).digest == base
    mask = moved / "masks" / "007.png"
    mask.write_bytes((moved / "masks" / "008.png").read_bytes())
    assert plan(replace(settings, dataset=f"folder:{moved}")).digest != base

    weights = tiny.Net().state_dict()
    torch.save(weights, tmp_path / "a.pt")
    weights["head.bias"][0] += 1
    torch.save(weights, tmp_path / "b.pt")
    a, b = (
        plan(replace(settings, model=f"{tiny.SPEC}:{tmp_path / name}")).digest
        for name in ("a.pt", "b.pt")
    )
    assert a == base != b


def test_two_functions_of_one_file_are_two_networks(settings, tmp_path, monkeypatch):
    (tmp_path / "helper_of_mine.py").write_text("SIGN = 1\n")
    (tmp_path / "nets_of_mine.py").write_text(
        "import helper_of_mine\nfrom tests.tiny import net\n"
        "def one():\n    return net()\n\n\ndef two():\n    return net()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    one, two = (
        plan(replace(settings, model=f"python:nets_of_mine:{name}")) for name in ("one", "two")
    )
    assert one.digest != two.digest
    (tmp_path / "helper_of_mine.py").write_text("SIGN = -1\n")
    assert plan(replace(settings, model="python:nets_of_mine:one")).digest != one.digest


# -- bad input ------------------------------------------------------------------------------


def test_bad_files_are_left_out_and_told(settings, folder, tmp_path):
    root = tiny.write_folder(tmp_path / "data")
    photo, mask = root / "images" / "003.png", root / "masks" / "070.png"
    photo.write_bytes(photo.read_bytes()[:200])
    mask.write_bytes(b"")
    work = plan(replace(settings, dataset=f"folder:{root}"))
    run = execute(work, tmp_path / "runs", shard=64)
    skipped = run.sql("SELECT * FROM skipped ORDER BY id")
    assert len(skipped) == 2 and run.info["images"] == {"planned": 150, "used": 148}
    assert "003.png" in skipped["file"][0] and "070.png" in skipped["file"][1]
    assert "0 bytes" in skipped["reason"][1]
    images = run.sql("SELECT image FROM images")["image"]
    assert set(range(150)) - set(images) == {3, 70}
    for table in ("hits", "counts", "areas", "annotated"):
        assert not run.sql(f"SELECT * FROM {table} WHERE image IN (3, 70)")["image"].any()
    # Thresholds are over the images that are left.
    maps = np.asarray(run.array("maps-body.3"), np.float32)[images]
    flat = maps.transpose(1, 0, 2, 3).reshape(12, -1)
    k = -(-flat.shape[1] * 5 // 100)
    np.testing.assert_array_equal(
        run.sql("SELECT threshold FROM units WHERE layer = 1 ORDER BY unit")["threshold"],
        np.sort(flat, 1)[:, -k],
    )
    with pytest.raises(UnitscopeError, match=r"003\.png"):
        execute(work, tmp_path / "strict", strict=True)
    run.close()


@pytest.mark.parametrize("keep_maps", [True, False])
def test_an_odd_photo_is_never_fatal(settings, tmp_path, keep_maps):
    """Too small for the crop, or of another size and left out for its mask: in both passes."""
    root = tiny.write_folder(tmp_path / "data", images=40)
    Image.new("RGB", (4, 4)).save(root / "images" / "000.png")
    Image.new("RGB", (44, 20)).save(root / "images" / "005.png")
    (root / "masks" / "005.png").write_bytes(b"")
    model = "python:tests.tiny:uncropped"
    work = plan(
        replace(settings, dataset=f"folder:{root}", model=model, layers=(), keep_maps=keep_maps)
    )
    run = execute(work, tmp_path / "runs")
    assert run.info["images"] == {"planned": 40, "used": 38}


def test_photos_alone_are_enough(settings, tmp_path):
    """Neither masks nor scenes: units are counted, nothing is labelled, nothing breaks."""
    root = tmp_path / "data"
    (root / "images").mkdir(parents=True)
    drawn = tiny.write_folder(tmp_path / "drawn", images=40)
    for photo in sorted((drawn / "images").iterdir()):
        shutil.copy(photo, root / "images")
    run = execute(plan(replace(settings, dataset=f"folder:{root}")), tmp_path / "runs")
    assert len(run.sql("FROM hits")) and not len(run.sql("FROM unit_concept"))
    assert unit_labels(run, "body.3").empty


def test_a_dataset_of_bad_files_only_is_told(settings, tmp_path):
    root = tiny.write_folder(tmp_path / "data", images=3)
    for photo in (root / "images").iterdir():
        photo.write_bytes(b"no photo")
    work = plan(replace(settings, dataset=f"folder:{root}"))
    with pytest.raises(UnitscopeError, match="none of the 3 images can be used; the first"):
        execute(work, tmp_path / "runs")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"dataset": "foldr:x"}, "folder"),
        ({"model": "torchvison:resnet18"}, "torchvision"),
        ({"layers": ("body.4",)}, r"unknown layer 'body.4'; nearest: .*body\.3"),
        ({"layers": ("body.3", "body.3")}, "named twice"),
        ({"splits": ("tset",)}, "nearest: test"),
        ({"q": 1.5}, "between 0 and 1"),
        ({"grid": 0}, "working grid"),
        ({"shuffles": -1}, "0 or more"),
        ({"device": "gpu"}, "device is cpu or cuda"),
        ({"device": "meta"}, "'meta' cannot compute here"),
        ({"knowledge": "wikidata"}, "wikidata"),
        ({"model": "python:tests.tiny:nett"}, "nearest: Net, net"),
    ],
)
def test_mistakes_are_told_before_anything_runs(settings, change, message):
    with pytest.raises(UnitscopeError, match=message):
        plan(replace(settings, **change))


def test_settings_of_the_forward_pass_are_checked(settings):
    work = plan(settings)
    with pytest.raises(UnitscopeError, match="float32 or bfloat16"):
        Forward(work.model, [], precision="half")
    if not torch.cuda.is_available():
        with pytest.raises(UnitscopeError, match="no GPU"):
            Forward(work.model, [], device="cuda")


def test_activations_too_large_for_halves_are_told(settings):
    work = plan(settings)
    with torch.no_grad():
        work.model.module.body[0].weight.mul_(1e6)
    seen = np.full((1, 24, 24, 3), 200, np.uint8)
    with pytest.raises(UnitscopeError, match="--map-type float32"):
        Forward(work.model, ["body.0"])(seen)
    assert Forward(work.model, ["body.0"], map_type="float32")(seen).logits.shape == (1, 3)


# -- what is no finite number ---------------------------------------------------------------


class Faulty(tiny.Net):
    """The network of tests/tiny.py, which fails for photos that are bright in one corner."""

    kind = "logits"

    def forward(self, x):
        bad = x[:, 0, 0, 0] > 0
        maps = self.body(x)
        if self.kind == "maps":
            spot = torch.zeros_like(maps)
            spot[bad, 5, 1, 2] = torch.nan
            maps = self.after(maps + spot)
        logits = self.head(maps.mean((2, 3)))
        if self.kind == "logits":
            logits[bad, 1] = torch.inf
        elif self.kind == "all":
            logits = logits * torch.nan
        return logits


def faulty(kind: str = "logits") -> tuple[torch.nn.Module, dict]:
    """The ``python:`` function."""
    module, info = Faulty(), tiny.net()[1]
    module.kind = kind
    module.after = torch.nn.Identity()
    return module, {**info, "default_layer": "after" if kind == "maps" else "body.3"}


def faulty_maps() -> tuple[torch.nn.Module, dict]:
    return faulty("maps")


def faulty_all() -> tuple[torch.nn.Module, dict]:
    return faulty("all")


@pytest.mark.parametrize("keep_maps", [True, False])
@pytest.mark.parametrize(
    ("function", "words"),
    [
        ("faulty", "the network gives inf for output 1, not a finite number"),
        ("faulty_maps", "layer 'after' of the network gives nan for unit 5, not a finite number"),
    ],
)
def test_images_that_a_network_fails_on_are_left_out_and_told(
    folder, tmp_path, function, words, keep_maps
):
    spec = f"python:tests.dissect.test_run:{function}"
    asked = Settings(f"folder:{folder}", spec, q=0.05, shuffles=1, keep_maps=keep_maps)
    work = replace(plan(asked), allow_loss=True)  # half of the photos
    photos = [decode(work.dataset, i, work.model.preprocessing, work.grid).seen for i in range(150)]
    bright = Forward(work.model, []).inputs(np.stack(photos))[:, 0, 0, 0].numpy() > 0
    bad = [work.dataset.ids[i] for i in np.flatnonzero(bright)]
    assert 20 < len(bad) < 130
    run = execute(work, tmp_path / "runs", threads=1)
    left_out = run.sql("SELECT id, reason FROM skipped ORDER BY id")
    assert left_out["id"].tolist() == sorted(bad)
    assert set(left_out["reason"]) == {words}
    assert run.info["images"] == {"planned": 150, "used": 150 - len(bad)}
    for name in ("logits", *(f"pooled-{layer}" for layer in run.layer_names)):
        assert np.isfinite(run.array(name)).all()
    # The numbers are those of a run on the other photos alone.
    kept = [i for i in range(150) if not bright[i]]
    alone = execute(
        replace(work, indices=work.indices[kept], digest="alone"), tmp_path / "alone", threads=1
    )
    for query in ("SELECT threshold FROM units", "SELECT predicted FROM images ORDER BY image"):
        np.testing.assert_allclose(run.sql(query), alone.sql(query), rtol=1e-5)
    with pytest.raises(BadFile, match=re.escape(words)):
        execute(work, tmp_path / "strict", strict=True, threads=1)
    # The same photo alone.
    core = all_core_concepts(run, open_knowledge("builtin"), kinds=["top10"])["top10"]
    path = next((folder / "images").glob(f"{bad[0]}.*"))
    with pytest.raises(UnitscopeError, match=f"^{re.escape(path.name)}: {re.escape(words)}"):
        explain_photo(run, core, read_photo(path), path.name)


def test_a_network_that_fails_on_every_image_is_an_error(folder, tmp_path):
    work = plan(
        Settings(f"folder:{folder}", "python:tests.dissect.test_run:faulty_all", q=0.05, shuffles=0)
    )
    with pytest.raises(UnitscopeError, match=r"none of the 150 images can be used.*gives nan for"):
        execute(work, tmp_path / "runs", threads=1)


# -- the type of the maps -------------------------------------------------------------------


def test_maps_are_single_where_half_would_move_a_replay(folder, tmp_path):
    """Measured before the run: sizes, digest and arrays follow."""
    closed, replayed = (
        plan(Settings(f"folder:{folder}", tiny.SPEC, layers=(layer,), q=0.05, shuffles=0))
        for layer in ("body.3", "body.1")
    )
    assert closed.map_type == "float16" and not closed.notes
    assert replayed.map_type == "float32"
    assert any("1e-05 is promised" in note for note in replayed.notes)
    for work, item in ((closed, 2), (replayed, 4)):
        run = execute(work, tmp_path / "runs", threads=1)
        maps = run.array(f"maps-{run.layer_names[0]}")
        assert maps.dtype.itemsize == item and work.sizes["maps"] == maps.nbytes
        assert run.info["settings"]["map_type"] == work.map_type
    toggler = prepare(run)
    assert toggler.method == "replayed tail"
    toggler.logits()
    assert toggler.check.recorded <= 1e-5
    asked = replace(replayed.settings, map_type="float32")
    assert plan(asked).digest == replayed.digest
    assert plan(replace(asked, map_type="float16")).map_type == "float16"
    # Whether the maps are kept changes no number.
    assert plan(replace(replayed.settings, keep_maps=False)).map_type == "float32"


# -- the run file ---------------------------------------------------------------------------


def test_run_files_are_found_and_read_by_many(whole):
    root = whole.path.parent
    assert list_runs(root) == [whole.path]
    for name in (whole.digest, whole.digest[:6], "latest", str(whole.path)):
        assert find_run(name, root) == whole.path
    with pytest.raises(UnitscopeError, match=f"there are: {whole.digest}"):
        find_run("zzz", root)
    code = (
        f"import duckdb; con = duckdb.connect({str(whole.path)!r}, read_only=True); "
        "print(con.execute('SELECT count(*) FROM images').fetchone()[0])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "150"


def test_a_file_that_is_no_run_is_told(tmp_path):
    bad = tmp_path / "abc.duckdb"
    bad.write_bytes(b"not a database" * 100)
    with pytest.raises(UnitscopeError, match="not a run file"):
        Run(bad)


def test_the_schema_is_documented(whole):
    text = (ROOT / "docs" / "run-file.md").read_text(encoding="utf-8")
    con = duckdb.connect(str(whole.path), read_only=True)
    for table, column in con.execute(
        "SELECT table_name, column_name FROM information_schema.columns"
    ).fetchall():
        name = "hits_…" if column.startswith("hits_") and table in ("hits", "units") else column
        assert f"`{table}`" in text and f"`{name}`" in text, (table, column)
