"""Small good inputs of every reader, for :mod:`benchmarks.reliability` to break.

Each is made by the function that the reader's own tests make theirs by.
"""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import torch

from benchmarks.trials import Inputs, forked, said_by
from tests import tiny
from tests.datasets.readers import (
    test_ade20k,
    test_broden,
    test_coco,
    test_labelme,
    test_nyuv2_mat,
    test_opensurfaces,
)

FACTS = """AtLocation\tbed\tbedroom
UsedFor\tsink\tkitchen
PartOf\tthing 1\tattic
AtLocation\tthing 2\tbarn
AtLocation\tpiece 6\tcellar
"""

CONCEPTNET = "\n".join(
    f"/a/[/r/{relation}/,/c/en/{a}/,/c/en/{b}/]\t/r/{relation}\t/c/en/{a}\t/c/en/{b}\t"
    + json.dumps({"weight": 1.0, "dataset": "/d/x"})
    for relation, a, b in (("AtLocation", "thing_1", "attic"), ("PartOf", "piece_6", "barn"))
)


def add(inputs: Inputs) -> None:
    """Fill `inputs` with a folder and a command line for every reader."""
    base = inputs.base / "good"

    def check(name: str, kind: str, root: Path, extra: str = "") -> None:
        inputs.add(
            name, root, lambda here: ["datasets", "check", f"{kind}:{here}{extra}", "--json"]
        )

    check("folder", "folder", tiny.write_folder(base / "folder", 6))
    check("broden", "broden", test_broden.broden_tree(base / "broden"))
    check("coco", "coco", test_coco.panoptic_tree(base / "coco"))
    check("opensurfaces", "opensurfaces", test_opensurfaces.release(base / "opensurfaces"))
    test_nyuv2_mat.published(base / "nyuv2")
    check("nyuv2", "nyuv2", base / "nyuv2")
    check("ade20k", "ade20k", test_ade20k.release_2016(base / "ade20k"))
    inputs.add(
        "labelme",
        test_labelme.source(base / "labelme"),
        lambda here: [
            "datasets",
            "folder-from",
            "labelme",
            str(here),
            "--to",
            str(_gone(here.with_name("made"))),
            "--json",
        ],
    )
    _files(inputs, base / "files")
    _checkpoints(inputs, base / "checkpoints")
    _runs(inputs, base / "runs")


def _gone(path: Path) -> Path:
    shutil.rmtree(path, ignore_errors=True)
    return path


def _files(inputs: Inputs, root: Path) -> None:
    """Tables beside a run: graphs, alignments, scene tables, predictions, label files."""
    runs = inputs.base / "run"
    photos = tiny.write_folder(inputs.base / "photos", 12)

    def one(name: str, file: str, text: str, command: list[str]) -> None:
        folder = root / name
        folder.mkdir(parents=True)
        (folder / file).write_text(text, encoding="utf-8")
        inputs.add(
            name,
            folder,
            lambda here: [part.replace("@", str(here / file)) for part in command],
        )

    forked(
        lambda: said_by(
            [
                "run",
                "--dataset",
                f"folder:{photos}",
                "--model",
                tiny.SPEC,
                "--q",
                "0.05",
                "--shuffles",
                "2",
                "--out",
                str(runs),
            ]
        )
    )
    out = ["--out", str(runs)]
    one("triples", "facts.tsv", FACTS, ["concepts", "latest", *out, "--knowledge", "triples:@"])
    one(
        "conceptnet",
        "a.csv",
        CONCEPTNET,
        ["concepts", "latest", *out, "--knowledge", "conceptnet:@"],
    )
    one(
        "overrides",
        "nodes.tsv",
        "name\tnode\nattic\tattic\nthing 1\tbed\n",
        ["align", "latest", *out, "--overrides", "@"],
    )
    one(
        "links",
        "links.csv",
        "link,a,b\nmerge,thing 1,thing 2\nkeep_apart,thing 3,thing 4\n",
        ["cluster", "latest", *out, "--k", "4", "--embedding", "words", "--links", "@"],
    )
    one(
        "scenes",
        "scenes.csv",
        "scene,class,kind,score\nattic,attic,given,1\nbarn,barn,given,1\n",
        [
            "run",
            "--dataset",
            f"folder:{photos}",
            "--model",
            tiny.SPEC,
            "--plan",
            *out,
            "--scenes",
            "@",
        ],
    )
    one(
        "predictions",
        "p.csv",
        "pred,target\nbedroom,bedroom\nkitchen,bedroom\nunk,barn\n",
        ["predictions", "@", "--out", str(inputs.base / "predicted")],
    )


def _checkpoints(inputs: Inputs, root: Path) -> None:
    """Weights of a network in several layouts."""
    root.mkdir(parents=True)
    state = tiny.Net().state_dict()
    torch.save({"state_dict": state, "classes": list(tiny.SCENES)}, root / "a.pt")
    np.savez(root / "b.npz", **{k.replace(".", "_"): v.numpy() for k, v in state.items()})
    (root / "c.pt").write_bytes(pickle.dumps({k: v.numpy() for k, v in state.items()}))
    from safetensors.torch import save_file

    save_file(state, root / "d.safetensors", {"classes": json.dumps(list(tiny.SCENES))})
    from torchvision.models import squeezenet1_1

    small = root.with_name("squeezenet")
    small.mkdir()
    net = squeezenet1_1(num_classes=3)
    for suffix in ("pt", "safetensors"):
        folder = small / suffix
        folder.mkdir()
        if suffix == "pt":
            torch.save(
                {"state_dict": net.state_dict(), "classes": ["a", "b", "c"]}, folder / "net.pt"
            )
        else:
            save_file(net.state_dict(), folder / "net.safetensors")
        inputs.add(
            f"checkpoint {suffix}",
            folder,
            lambda here, suffix=suffix: [
                "layers",
                "--model",
                f"torchvision:squeezenet1_1:{here / f'net.{suffix}'}",
            ],
        )


def _runs(inputs: Inputs, root: Path) -> None:
    """Run files and what lies beside them."""
    root.mkdir(parents=True)
    for path in (inputs.base / "run").iterdir():
        if path.suffix == ".duckdb":
            shutil.copy(path, root / path.name)
        elif path.suffix == ".arrays":
            shutil.copytree(path, root / path.name)
    for folder, text in (
        ("jobs/a", {"arguments": ["run", "--json"], "started": 1.0, "progress": "x.partial/p"}),
        ("0123456789abcdef.partial", {"stage": "count", "done": 3, "total": 9, "time": 1.0}),
    ):
        (root / folder).mkdir(parents=True)
        name = "job.json" if "jobs" in folder else "progress.json"
        (root / folder / name).write_text(json.dumps(text))
    (inputs.base / "facts.tsv").write_text(FACTS, encoding="utf-8")
    known = ["--knowledge", f"triples:{inputs.base / 'facts.tsv'}"]
    commands = (
        ["runs"],
        ["show", "latest"],
        ["formulas", "latest", "--units", "0-3", "--length", "2"],
        ["contribution", "latest", "--scene", "attic", *known],
        ["toggle", "latest", "--units", "1,2"],
        ["explain", "latest", "--image", "007", *known],
        ["tables", "latest", *known],
    )
    for command in commands:
        inputs.add(
            f"run file: {command[0]}",
            root,
            lambda here, command=command: [*command, "--out", str(here), "--json"],
        )
