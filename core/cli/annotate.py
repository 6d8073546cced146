"""The verb that writes masks for photos by a segmentation network."""

from __future__ import annotations

import argparse
from pathlib import Path

from core.cli.common import (
    THREADS,
    Answer,
    Verb,
    add_engine,
    crew_of,
    say,
    show_progress,
    stoppable,
)


def add(verb: Verb) -> None:
    """annotate."""
    sub = verb("annotate", _annotate, "Make a dataset of photos without masks, by predictions.")
    sub.add_argument("photos", type=Path, metavar="PHOTOS", help="folder of photos")
    sub.add_argument(
        "--model",
        required=True,
        metavar="SPEC",
        help="segmentation network: torchvision:NAME[:CHECKPOINT] or transformers:DIR",
    )
    sub.add_argument("--to", type=Path, required=True, metavar="DIR", help="the dataset's folder")
    sub.add_argument(
        "--classes", type=Path, metavar="FILE", help="what the outputs are: a name a line"
    )
    sub.add_argument(
        "--scenes", type=Path, metavar="CSV", help="image,scene[,split]; else the folders' names"
    )
    sub.add_argument(
        "--least-confidence",
        type=float,
        default=0.0,
        metavar="P",
        help="pixels whose best label has less stay without one (0)",
    )
    sub.add_argument("--side", type=int, metavar="N", help="the photo's shorter side as it is seen")
    sub.add_argument("--link", action="store_true", help="link to the photos, do not copy them")
    sub.add_argument("--batch", type=int, default=4, help="photos at once")
    sub.add_argument("--threads", type=THREADS, help="for decoding and writing")
    sub.add_argument("--device", default="cpu", help="cpu or cuda")
    add_engine(
        sub,
        "the masks",
        "a network of its own, --threads cores (OMP_NUM_THREADS, or 1) and, with --device cuda, a "
        "GPU",
    )


def _annotate(given: argparse.Namespace) -> Answer:
    from core.annotate.annotate import Asked, annotate, check_request
    from core.annotate.specs import check_spec

    asked = Asked(
        given.scenes,
        given.least_confidence,
        given.link,
        given.batch,
        given.threads,
        given.device,
    )
    check_request(given.photos, given.to, asked)
    check_spec(given.model)
    crew = crew_of(given)
    # Only now, as PyTorch comes with it.
    from core.annotate.segment import load_segmenter, read_labels_file
    from core.datasets import open_dataset

    labels = read_labels_file(given.classes) if given.classes else None
    network = load_segmenter(given.model, labels, given.side)
    side = network.preprocessing.resize
    say(f"{network.name}: {len(network.labels)} labels, photos at {side} pixels")
    with stoppable() as stop:
        done = annotate(given.photos, network, given.to, asked, show_progress, stop, crew)
    for problem in done.problems:
        say(f"left out: {problem.path}: {problem.reason}")
    dataset = open_dataset(f"folder:{given.to}")
    facts = {
        "dataset": f"folder:{given.to}",
        "labels_by": dataset.labels_by,
        "photos": done.photos,
        "written": done.written,
        "there": done.there,
        "labelled": done.labelled,
        "scenes": len(dataset.scenes),
        "concepts": len(dataset.concepts),
        "problems": [problem._asdict() for problem in done.problems],
    }
    lines = [
        f"{given.to}: {done.written + done.there} of {done.photos} photos have masks "
        f"({done.written} made now), labels predicted by {dataset.labels_by}",
        f"{len(dataset.scenes)} scenes, {len(dataset.concepts)} labels"
        + (f"; {done.labelled:.0%} of the pixels made now have one" if done.written else ""),
    ]
    if done.problems:
        lines.append(f"{len(done.problems)} problems, see above")
    lines.append(f"use it by: --dataset folder:{given.to}")
    return facts, "\n".join(lines)
