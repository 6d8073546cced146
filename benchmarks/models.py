"""Each kind of network, end to end on real photos: time, memory, and that everything works.

    python -m benchmarks.models [--only resnet18 …] [--images N] [--out DIR] [--json FILE]
                               [--markdown]
    python -m core bench models [--model vit_b_16] [--images N]

For every network of :data:`NETWORKS`: `run` on NYUv2 as a process of its own (reading and decoding
photos, forward pass, thresholds, counts, ten shuffled rounds, run file), then `show`, `explain` of
one photo and `toggle` of the three units with the best labels, as processes too. Told are the
clock's time, images a second, the process's peak memory, the size of what it left, top-1 on
the test split, and how many units are above IoU 0.04 and better than 95 % of
chance.

Weights: ResNet-18 is the one trained on NYUv2 (shared data). For the others none are to be had
offline: their bodies are random (seed 0), batch norms are set on some training photos, and a
classifier of NYUv2's scenes is fitted to what they give for these, so that predictions differ and
are sometimes right. Such units detect little; times and memory are those of the architecture.
`--images` takes that many photos, evenly, instead of all 1,449.
"""

from __future__ import annotations

import argparse
import csv
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from benchmarks.dissect import DATA
from core.cli.common import Answer
from core.datasets import open_dataset
from core.foundation.digest import digest_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import write_whole
from core.models.forward import Forward
from core.models.load import load_model
from core.retrain.network import find_classifier, watched_features
from core.runs.run_file import Run

NETWORKS = {
    "resnet18": "torchvision:resnet18",
    "resnet50": "torchvision:resnet50",
    "densenet161": "torchvision:densenet161",
    "alexnet": "torchvision:alexnet",
    "mobilenet_v2": "torchvision:mobilenet_v2",
    "vit_b_16": "torchvision:vit_b_16",
    "efficientnet_b0": "torchvision:efficientnet_b0",
    "convnext_tiny": "torchvision:convnext_tiny",
    "swin_t": "torchvision:swin_t",
    "mobilenetv4_conv_small": "timm:mobilenetv4_conv_small",
}
"""Name in the table → SPEC without a checkpoint."""

TRAINED = {"resnet18": "resnet18_nyuv2.pt"}
"""Networks with weights of their own, beside NYUv2's photos."""

FITTED = 400
"""Training photos to which a classifier on a random body is fitted."""


class Finished(NamedTuple):
    """A process that ended well: its JSON, seconds on the clock, peak memory in MB."""

    facts: dict[str, Any]
    seconds: float
    megabytes: float


METER = """
import os, sys
child = os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ)
_, status, usage = os.wait4(child, 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))
"""
"""A small process between this one and the measured: Linux counts the peak of the process that
starts another into the other's, and this one has held whole networks."""


def process(*arguments: str) -> Finished:
    """Run ``python -m core …`` and take its time and peak resident memory."""
    began = time.perf_counter()
    told = subprocess.run(
        [sys.executable, "-c", METER, sys.executable, "-m", "core", *arguments, "--json"],
        capture_output=True,
        text=True,
        check=False,
    )
    seconds = time.perf_counter() - began
    if told.returncode:
        raise UnitscopeError(f"python -m core {' '.join(arguments)} failed: {told.stderr[-500:]}")
    *_, facts, kilobytes = told.stdout.splitlines()
    return Finished(json.loads(facts), seconds, int(kilobytes) / 1024)


def some_of(folder: Path, images: int, place: Path) -> Path:
    """A tree in NYUv2's layout with `images` of its photos, evenly chosen, as links."""
    with (folder / "scenes.csv").open(encoding="utf-8") as file:
        head, *rows = list(csv.reader(file))
    kept = [rows[k] for k in np.linspace(0, len(rows) - 1, min(images, len(rows))).astype(int)]
    names = [name for name in folder.iterdir() if name.name in ("images", "labels40")]
    for source in names:
        (place / source.name).mkdir(parents=True, exist_ok=True)
        for row in kept:
            for file in source.glob(f"{Path(row[0]).stem}.*"):
                link = place / source.name / file.name
                if not link.exists():
                    link.symlink_to(file.resolve())
    (place / "labels40.txt").write_bytes((folder / "labels40.txt").read_bytes())
    with (place / "scenes.csv").open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([head, *kept])
    return place


def fitted(name: str, dataset: str, place: Path) -> str:
    """SPEC of a network with a random body and a classifier fitted to training photos.

    Batch norms take means and deviations from a quarter of the photos: as they are begun, a deep
    network fades to values that half precision does not hold. The classifier is a logistic
    regression on its own inputs, standardised; the standardisation goes into its weights. Written
    once, and found again.
    """
    from sklearn.linear_model import LogisticRegression

    data = open_dataset(dataset)
    # The photos are in its name: a classifier fitted to others is another one.
    path = place / f"{name}-fitted-{digest_of([data.content_digest(), FITTED])[:8]}.pt"
    if path.is_file():
        return f"{NETWORKS[name]}:{path}"
    train = data.select(["train"])
    picked = train[np.linspace(0, len(train) - 1, min(FITTED, len(train))).astype(int)]
    model = load_model(f"{NETWORKS[name]}:random")
    at, width, outputs = find_classifier(model.module, model.example())
    forward = Forward(model, [])

    def photos(k: int) -> np.ndarray:
        some = picked[k : k + 16]
        return np.stack([np.asarray(model.preprocessing.view(data.photo(i))) for i in some])

    norms = [m for m in model.module.modules() if isinstance(m, nn.modules.batchnorm._BatchNorm)]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None
        norm.train()
    for k in range(0, len(picked) // 4 if norms else 0, 16):
        forward(photos(k))
    model.module.eval()
    features = []
    with watched_features(model.module, at) as seen:
        for k in range(0, len(picked), 16):
            forward(photos(k))
            features.append(seen[0].numpy().copy())
    x, y = np.concatenate(features).astype(np.float64), np.asarray(data.scene)[picked]
    mean, spread = x.mean(0), x.std(0) + 1e-12
    fit = LogisticRegression(C=0.01, max_iter=300).fit((x - mean) / spread, y)
    # Scenes that no picked photo shows keep weights of nought and never win.
    weight, bias = np.zeros((len(data.scenes), width)), np.full(len(data.scenes), -1e3)
    weight[fit.classes_] = fit.coef_ / spread
    bias[fit.classes_] = fit.intercept_ - weight[fit.classes_] @ mean
    state = dict(model.module.state_dict())
    shape = (len(data.scenes), *state[f"{at}.weight"].shape[1:])
    state[f"{at}.weight"] = torch.from_numpy(weight).float().reshape(shape)
    state[f"{at}.bias"] = torch.from_numpy(bias).float()
    said = f"random body (seed 0), classifier fitted to {len(picked)} training photos"
    stored = {"state_dict": state, "classes": list(data.scenes), "weights": said}
    write_whole(path, lambda fresh: torch.save(stored, fresh))
    return f"{NETWORKS[name]}:{path}"


def held(path: Path) -> int:
    """Bytes of a run: its file and the arrays beside it."""
    arrays = path.with_suffix(".arrays")
    return path.stat().st_size + sum(f.stat().st_size for f in arrays.iterdir())


def one(name: str, dataset: str, place: Path) -> dict[str, Any]:
    """Everything about one network."""
    trained = DATA / "nyuv2" / TRAINED.get(name, "")
    if name in TRAINED and trained.is_file():
        spec, weights = f"{NETWORKS[name]}:{trained}", "trained on the train split"
    else:
        spec, weights = fitted(name, dataset, place), "random body, fitted classifier"
    load = os.getloadavg()[0]
    run = process("run", "--dataset", dataset, "--model", spec, "--out", str(place), "--fresh")
    digest, path = run.facts["run"], Path(run.facts["path"])
    shown = process("show", digest, "--out", str(place), "--top", "3")
    labels = shown.facts["labels"]
    with_run = Run(path)
    image = str(with_run.sql("SELECT id FROM images ORDER BY image LIMIT 1")["id"][0])
    preprocessing = with_run.info["settings"]["preprocessing"]
    with_run.close()
    explained = process("explain", digest, "--image", image, "--out", str(place))
    units = ",".join(str(row["unit"]) for row in labels["top"])
    toggled = process("toggle", digest, "--units", units, "--out", str(place))
    layer, accuracy = run.facts["layers"][0], run.facts["accuracy"]["by_split"]["test"]
    images = run.facts["images"]["used"]
    size = preprocessing["center_crop"] or preprocessing["resize"]
    return {
        "network": name,
        "spec": spec,
        "weights": weights,
        "input": size,
        "layer": layer["name"],
        "units": layer["units"],
        "grid": [layer["height"], layer["width"]],
        "images": images,
        "seconds": round(run.seconds, 1),
        "images_per_second": round(images / run.seconds, 1),
        "stages": run.facts["seconds"],
        "peak_mb": round(run.megabytes),
        "run_mb": round(held(path) / 1e6),
        "test_right": accuracy["right"],
        "test_images": accuracy["images"],
        "above_0.04": labels["above_0.04"],
        "above_chance": labels["chance"]["above"],
        "explain": explained.facts["sentence"],
        "explain_seconds": round(explained.seconds, 1),
        "toggled_units": units,
        "toggle": toggled.facts["method"],
        "toggle_seconds": round(toggled.seconds, 1),
        "toggle_peak_mb": round(toggled.megabytes),
        "toggle_gain": toggled.facts["gain"]["value"],
        "load_before": round(load, 2),
    }


HEAD = (
    f"{'network':23} {'layer, units, grid':41} {'seconds':>8} {'img/s':>6} {'peak MB':>8} "
    f"{'run MB':>7} {'top-1':>6} {'>0.04':>6} {'>chance':>8}  toggle (whole command)"
)


def line(row: dict[str, Any]) -> str:
    """One network in a line under :data:`HEAD`."""
    layer = f"{row['layer']}, {row['units']}, {row['grid'][0]}×{row['grid'][1]}"
    return (
        f"{row['network']:23} {layer:41} {row['seconds']:8.1f} {row['images_per_second']:6.1f} "
        f"{row['peak_mb']:8} {row['run_mb']:7} {row['test_right'] / row['test_images']:6.1%} "
        f"{row['above_0.04']:6} {row['above_chance']:8}  {row['toggle']}, "
        f"{row['toggle_seconds']:.1f} s, {row['toggle_gain']:+.2%}"
    )


def markdown(rows: list[dict[str, Any]]) -> str:
    """The rows as docs/models.md has them."""
    lines = [
        "| network | weights | layer: units, grid | photos | seconds | photos/s | peak MB | run MB "
        "| top-1 on test | units > 0.04, > chance | three units disabled |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    lines += [
        f"| {row['network']} | {row['weights']} | `{row['layer']}`: {row['units']}, "
        f"{row['grid'][0]} × {row['grid'][1]} | {row['images']:,} | {row['seconds']:.0f} | "
        f"{row['images_per_second']:.1f} | {row['peak_mb']:,} | {row['run_mb']} | "
        f"{row['test_right'] / row['test_images']:.1%} | {row['above_0.04']}, "
        f"{row['above_chance']} | {row['toggle']}, {row['toggle_seconds']:.0f} s |"
        for row in rows
    ]
    return "\n".join(lines)


def measure(
    model: str | None = None,
    images: int | None = None,
    out: Path | None = None,
    names: list[str] | None = None,
    **_: Any,
) -> Answer:
    """The table; model : one of :data:`NETWORKS` alone. images : how many photos, all where None.

    out : where checkpoints and runs stay; a folder that is thrown away where None.
    Raises UnitscopeError for an unknown network, or where NYUv2 is not there.
    """
    names = names or ([model] if model else list(NETWORKS))
    for name in names:
        if name not in NETWORKS:
            raise unknown("network of this benchmark", name, NETWORKS)
    folder = DATA / "nyuv2"
    if not folder.is_dir():
        raise UnitscopeError(f"{folder} is not there: set UNITSCOPE_DATA to the folder of nyuv2/")
    with tempfile.TemporaryDirectory() as thrown:
        place = Path(out or thrown).resolve()
        place.mkdir(parents=True, exist_ok=True)
        whole = f"nyuv2:{folder.resolve()}"
        dataset = f"nyuv2:{some_of(folder, images, place / f'some-{images}')}" if images else whole
        rows = []
        print(HEAD, file=sys.stderr, flush=True)
        for name in names:
            rows.append(one(name, dataset, place))
            print(line(rows[-1]), file=sys.stderr, flush=True)
    facts = {
        "dataset": "NYUv2" + (f", {images} photos" if images else ""),
        "rows": rows,
        "cores": os.cpu_count(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "torch": torch.__version__,
    }
    return facts, "\n".join([HEAD, *map(line, rows)])


def main() -> None:
    parser = argparse.ArgumentParser(description="Networks end to end: time and memory.")
    parser.add_argument("--only", nargs="+", metavar="NAME", help=", ".join(NETWORKS))
    parser.add_argument("--images", type=int, help="photos, evenly chosen; all where left out")
    parser.add_argument("--out", type=Path, help="keep checkpoints and runs here")
    parser.add_argument("--json", type=Path, help="write all figures to this file")
    parser.add_argument("--markdown", action="store_true", help="print the table for the docs")
    given = parser.parse_args()
    try:
        facts, text = measure(images=given.images, out=given.out, names=given.only)
    except UnitscopeError as err:
        sys.exit(f"error: {err}")
    if given.json:
        given.json.write_text(json.dumps(facts, indent=1, ensure_ascii=False), encoding="utf-8")
    print(markdown(facts["rows"]) if given.markdown else text)


if __name__ == "__main__":
    main()
