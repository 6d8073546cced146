"""What a run would be, before it is started: checked, sized, and timed on a few of its photos.

Nothing here decides a number of a run, so none of it is part of a run's digest.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import torch.nn.functional as F

from core.dissect.losses import counted
from core.dissect.pipeline import execute
from core.dissect.plan import BATCH, Plan
from core.foundation.progress import STOPPED, Stop, Stopped, never
from core.models.outputs import vector
from core.models.threads import torch_threads
from core.retrain.data import augment, held_out, read_photos
from core.retrain.network import Inputs, kept_layers, predict
from core.retrain.plan import Plan as Retraining
from core.retrain.trainer import start_module

SAMPLES = (BATCH, 3 * BATCH)
"""Images of the two timed pieces: whole batches, as the network always sees them."""

ENOUGH = 20.0
"""Seconds that the first piece may take for a second one to be tried."""


class Estimate(NamedTuple):
    """Seconds that a run will take.

    seconds : the best guess. low, high : what the parts that were timed allow; noise of a busy
    machine comes on top. images : how many were timed. measured : seconds that took.
    """

    seconds: float
    low: float
    high: float
    images: int
    measured: float


def extrapolate(pieces: list[tuple[int, float]], images: int) -> tuple[float, float, float]:
    """(guess, low, high) seconds for `images`, from timed pieces (images, seconds).

    The last two pieces give a rate and a fixed cost, t = a + b·n; where noise makes the fixed
    cost negative, the last piece's mean rate is the guess. Low and high are the least and the
    most of: the rate alone, the mean rate (the fixed cost spread over every image), the guess.

    >>> extrapolate([(32, 2.0), (96, 4.0)], 1000)
    (32.25, 31.25, 41.666666666666664)
    >>> extrapolate([(50, 3.0)], 50)
    (3.0, 3.0, 3.0)
    """
    n, last = pieces[-1]
    mean = last / n * images
    if len(pieces) < 2 or n == pieces[-2][0]:
        return mean, mean, mean
    before, earlier = pieces[-2]
    rate = (last - earlier) / (n - before)
    if rate <= 0:
        # Noise drowned the difference; only the mean rate is to be trusted.
        return mean, mean / 2, mean
    fixed = earlier - rate * before
    guess = fixed + rate * images if fixed > 0 else mean
    every = (rate * images, mean, guess)
    return guess, min(every), max(every)


def estimate(plan: Plan, stop: Stop = never, threads: int | None = None) -> Estimate:
    """Time the whole pipeline on a few photos, spread evenly over those of the plan.

    A first piece warms up (kernels are compiled, files come into memory) and is not counted;
    then one of 32 images and one of 96 are run from photo to finished file in a folder that is
    thrown away, with the plan's own layers, grid and shuffles.

    Raises what :func:`core.dissect.pipeline.execute` raises: a photo that cannot be used is
    skipped, a network that fails on its first batch is reported before the start.
    Stopped where `stop` says so.
    """
    began = time.monotonic()
    n = len(plan.indices)
    pieces: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory(prefix="unitscope-") as folder:
        for k, size in enumerate((BATCH, *SAMPLES)):
            chosen = np.unique(np.linspace(0, n - 1, min(size, n)).astype(int))
            part = replace(
                plan,
                indices=plan.indices[chosen],
                digest=f"sample{k}",
                allow_loss=True,
                sizes={name: size * len(chosen) // n for name, size in plan.sizes.items()},
            )
            start = time.monotonic()
            execute(part, Path(folder), stop=stop, threads=threads).close()
            passed = time.monotonic() - start
            if k and (not pieces or len(chosen) > pieces[-1][0]):
                pieces.append((len(chosen), passed))
            if passed > ENOUGH:
                # Slow as it is, one more would only keep people waiting.
                pieces = pieces or [(len(chosen), passed)]
                break
    guess, low, high = extrapolate(pieces, n)
    return Estimate(guess, low, high, pieces[-1][0], time.monotonic() - began)


@dataclass(frozen=True)
class Description:
    """What a plan would run on.

    Attributes
    ----------
    run, finished : digest; is it there already?
    sizes, free : bytes by kind; bytes left where the runs lie.
    images : of the run. dataset : its name. scenes, concepts : how many it has. categories : names.
    splits : images of each, the whole dataset's. left_out : photos
    that its tables leave out.
    model : SPEC. outputs : of the network. known_scenes : scenes that are classes of the network.
    notes : what the user should know of the request.
    layer : those chosen. layers : all that can be dissected. default_layer : the network's.
    grid, input_size : (width, height).
    """

    run: str
    finished: bool
    sizes: dict[str, int]
    free: int
    images: int
    dataset: str
    scenes: int
    concepts: int
    categories: list[str]
    splits: dict[str, int]
    left_out: int
    model: str
    outputs: int
    known_scenes: int
    notes: list[str]
    layer: list[str]
    layers: list[dict[str, str | int]]
    default_layer: str | None
    grid: list[int]
    input_size: list[int]


def describe(plan: Plan, root: Path, photo_size: tuple[int, int] = (640, 480)) -> Description:
    """What a plan would run on, its run under `root`."""
    data, model = plan.dataset, plan.model
    where = root
    while not where.exists():
        where = where.parent
    return Description(
        run=plan.digest,
        finished=(root / f"{plan.digest}.duckdb").is_file(),
        sizes=plan.sizes,
        free=shutil.disk_usage(where).free,
        images=len(plan.indices),
        dataset=data.name,
        scenes=len(data.scenes),
        concepts=len(data.concepts),
        categories=plan.categories,
        splits=dict(sorted(Counter(data.split).items())),
        left_out=counted(data.problems, len(data.ids), set(data.ids)).lost,
        model=plan.settings.model,
        outputs=plan.outputs,
        known_scenes=sum(match.where >= 0 for match in plan.matches),
        notes=plan.notes,
        layer=[layer.name for layer in plan.layers],
        layers=[layer._asdict() for layer in model.layers(photo_size)],
        default_layer=model.default_layer,
        grid=list(plan.grid),
        input_size=list(plan.input_size),
    )


@dataclass(frozen=True)
class RetrainingCost:
    """What a re-training would be: its size, and its time from a few real steps.

    Attributes
    ----------
    digest, finished : what it is known by; is it there already?
    trainings, epochs : how many, and the most of each. train, validation, test : images.
    passes : images through the network and back, at most.
    classifier, own_head : name of the network's classifier; is it kept?
    seconds, low, high : of all, by the mean, the quickest and the slowest step, every epoch used
        up. timed : images that were timed.
    """

    digest: str
    finished: bool
    trainings: int
    epochs: int
    train: int
    validation: int
    test: int
    passes: int
    classifier: str
    own_head: bool
    seconds: float
    low: float
    high: float
    timed: int


def retraining(work: Retraining, root: Path, stop: Stop = never, steps: int = 3) -> RetrainingCost:
    """Size and time of a re-training.

    Photos of one batch are decoded, and the network is trained on them for `steps` batches after
    one that warms up and is not counted; nothing of it is kept.

    Raises UnitscopeError where no photo can be used; Stopped where `stop` says so.
    """
    asked, data = work.asked, work.dataset
    scene, split = np.asarray(data.scene), np.asarray(data.split)
    usable = (scene >= 0) & (work.class_of[scene] >= 0)
    places = np.flatnonzero(usable & (split == asked.train))
    aside = int(held_out(scene[places], asked.hold_out, asked.seed).sum())
    decoded = int(np.isin(split, [asked.train, asked.test]).sum())
    if asked.core_on == "all":
        decoded = len(data)
    train, test = len(places) - aside, int((usable & (split == asked.test)).sum())
    chosen = places[np.unique(np.linspace(0, len(places) - 1, asked.batch).astype(int))]
    began = time.monotonic()
    photos = read_photos(data, chosen, work.preprocessing, work.grid, asked.threads)
    per_photo = (time.monotonic() - began) / len(chosen)
    took, judged = _timed_steps(work, photos.seen, work.class_of[scene[photos.place]], steps, stop)
    passes = len(work.jobs) * asked.epochs * train
    others = len(work.jobs) * (asked.epochs * aside + test)

    def whole(step: float) -> float:
        return decoded * per_photo + (passes * step + others * judged) / len(photos.seen)

    return RetrainingCost(
        digest=work.digest,
        finished=(root / f"retrain-{work.digest}.json").is_file(),
        trainings=len(work.jobs),
        epochs=asked.epochs,
        train=train,
        validation=aside,
        test=test,
        passes=passes,
        classifier=work.classifier,
        own_head=work.own_head,
        seconds=whole(sum(took) / len(took)),
        low=whole(min(took)),
        high=whole(max(took)),
        timed=steps * len(photos.seen),
    )


def _timed_steps(
    work: Retraining, seen: np.ndarray, target: np.ndarray, steps: int, stop: Stop
) -> tuple[list[float], float]:
    """(seconds of each training step on the photos `seen`, seconds to judge them)."""
    with torch_threads(work.asked.threads):
        module = start_module(work, work.asked.seed)
        module.requires_grad_(True)
        kept = kept_layers(module, work.asked.since)
        for part in kept:
            part.requires_grad_(False)
        trained = [p for p in module.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(trained, lr=work.asked.rate)
        rng, inputs = np.random.default_rng(0), Inputs(work.preprocessing)
        scenes = torch.from_numpy(target.astype(np.int64))
        took = []
        for _ in range(steps + 1):
            if stop():
                raise Stopped(STOPPED)
            began = time.monotonic()
            module.train()
            for part in kept:
                part.eval()
            photos = inputs(augment(seen, rng))
            loss = F.cross_entropy(vector(module(photos)), scenes)
            optimiser.zero_grad(set_to_none=True)
            torch.autograd.backward(loss)
            optimiser.step()
            took.append(time.monotonic() - began)
        began = time.monotonic()
        predict(module, work.preprocessing, seen, stop, work.classifier)
        return took[1:], time.monotonic() - began
