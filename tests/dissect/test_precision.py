"""Mixed precision: what it does to labels is measured, and a run says so."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from core.cli import main
from core.dissect.counts import count_images, count_images_torch
from core.dissect.pipeline import execute
from core.dissect.plan import Plan, plan
from core.dissect.precision import effect
from core.foundation.progress import Stopped
from core.foundation.settings import Settings
from core.runs.run_file import Run
from tests import tiny


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    return tiny.write_folder(tmp_path_factory.mktemp("data") / "tiny")


def planned(folder: Path, **change: object) -> Plan:
    asked: dict[str, object] = {
        "layers": ("body.1", "body.3"),
        "q": 0.05,
        "shuffles": 0,
        "precision": "bfloat16",
    }
    asked["map_type"] = "float16"
    return plan(Settings(f"folder:{folder}", tiny.SPEC, **{**asked, **change}))


def best_of(run: Run, layer: int) -> dict[int, tuple[int, float]]:
    """Unit → its best concept of the label maps and the IoU, row by row of the run file."""
    rows = run.sql(
        "SELECT unit, concept, iou_all FROM dataset_iou WHERE layer = ? AND category <> 'scene'",
        [layer],
    )
    found: dict[int, tuple[int, float]] = {}
    for unit, concept, iou in rows.sort_values("concept").itertuples(index=False):
        if iou > found.get(unit, (0, 0.0))[1]:
            found[unit] = (concept, iou)
    return found


def test_the_effect_is_that_of_two_whole_runs(folder, tmp_path):
    work = planned(folder)
    told = effect(work, None)
    runs = {
        precision: execute(planned(folder, precision=precision), tmp_path / precision, threads=1)
        for precision in ("float32", "bfloat16")
    }
    logits = [np.array(run.array("logits")) for run in runs.values()]
    assert told["photos"] == 150 and told["precision"] == "bfloat16"
    assert told["logits"] == pytest.approx(
        np.abs(logits[0] - logits[1]).max() / np.abs(logits[0]).max()
    )
    assert told["predictions_changed"] == (logits[0].argmax(1) != logits[1].argmax(1)).mean()
    for number, name in enumerate(("body.1", "body.3")):
        one, other = (best_of(run, number) for run in runs.values())
        layer = told["layers"][name]
        assert layer["units"] == len(one) > 0
        assert layer["labels_changed"] == np.mean([one[u][0] != other[u][0] for u in one])
        apart = [abs(one[u][1] - other[u][1]) for u in one]
        assert layer["iou_difference"] == pytest.approx([np.median(apart), max(apart)])
        assert max(apart) > 0  # bfloat16 is another network


def test_the_same_precision_has_no_effect(folder):
    told = effect(planned(folder, precision="float32"), 64)
    assert told["photos"] == 64 and told["logits"] == told["predictions_changed"] == 0
    for layer in told["layers"].values():
        assert layer["labels_changed"] == 0 and layer["iou_difference"] == [0, 0]


def test_a_run_in_mixed_precision_says_so(folder, tmp_path, capsys):
    given = ["run", "--dataset", f"folder:{folder}", "--model", tiny.SPEC, "--shuffles", "0"]
    given += ["--layer", "body.3", "--q", "0.05", "--out", str(tmp_path)]
    assert main([*given, "--precision", "bfloat16", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["precision_effect"]
    assert told["photos"] == 128 and set(told["layers"]) == {"body.3"}
    assert main(["show", "latest", "--out", str(tmp_path)]) == 0
    assert "precision  bfloat16 against float32, on 128 of the photos" in capsys.readouterr().out
    assert main([*given, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["precision_effect"] is None


def test_photos_that_cannot_be_used_and_a_stop(folder, tmp_path):
    import shutil

    harmed = shutil.copytree(folder, tmp_path / "harmed")
    (harmed / "images" / "149.png").write_bytes(b"no photo")
    work = planned(harmed)
    told = effect(work, None)
    assert told["photos"] == 149
    with pytest.raises(Stopped):
        effect(work, None, stop=lambda: True)
    fewer = replace(work, indices=work.indices[:149])
    assert effect(fewer, None)["layers"] == told["layers"]


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("pairs", [3, 2048])
def test_the_torch_kernel_counts_as_numba_does_in_every_type(kind, pairs):
    """What runs on a GPU, on whatever device there is."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    rng = np.random.default_rng(4)
    maps = torch.from_numpy(rng.normal(size=(5, 7, 6, 4)).astype(np.float32)).to(kind)
    thresholds = np.quantile(maps.float().numpy(), 0.9, axis=(0, 2, 3)).astype(np.float32)
    labels = rng.integers(0, 9, (5, 3, 23, 17)).astype(np.uint16)
    labels[:, 1] += np.uint16(8) * (labels[:, 1] > 0)  # a concept stands in one channel alone
    labels[:, 2] += np.uint16(16) * (labels[:, 2] > 0)
    arguments = (thresholds, labels, np.array([0, 1, 1]), 2, 24, True)
    slow = count_images(maps.float().numpy(), *arguments)
    fast = count_images_torch(maps.to(device), *arguments, pairs_at_once=pairs)
    for name in ("hits", "both", "areas", "annotated"):
        assert np.array_equal(getattr(slow, name), getattr(fast, name)), name
    ends = np.cumsum(slow.hits[:, 2])
    for a, b in zip([0, *ends], ends, strict=False):
        assert sorted(slow.pixels[a:b]) == sorted(fast.pixels[a:b])
