"""Train the embedded network: ``python -m core.rooms.train``; and others on planted shortcuts.

Draws its own, larger training set (the first photos of it are the dataset's train split) into a
memory-mapped file under ``cache/``, trains on the CPU with a fixed seed, measures all three
splits of `rooms` through the very preprocessing that is stored with the weights, and writes
``data/rooms_resnet.pt``. Stopped and started again it continues where it was.

:func:`train_planted` trains the same network where a thing goes with a scene
(:mod:`core.rooms.plant`). By default that is no training from nothing: the first layers are those
of the embedded network and stay, the later ones start from random weights. Going on with all of the
embedded network teaches it nothing of the thing, since it already has these photos right. The
file says how it was trained.
"""

from __future__ import annotations

import argparse
import hashlib
import math
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Literal, Protocol, Unpack

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from core.foundation.digest import digest_of
from core.foundation.errors import UnitscopeError, unknown
from core.foundation.files import write_whole
from core.foundation.plain import Json
from core.foundation.progress import STOPPED, Hooks, Meter, Report, Stop, Stopped, never, silent
from core.foundation.settings import ROOT
from core.foundation.versions import WORLD, versions_of
from core.models.checkpoint import read_checkpoint
from core.models.fit import fill
from core.rooms import SCENES
from core.rooms.dataset import Rooms, draw_picture
from core.rooms.network import INPUT, MEAN, PREPROCESSING, STD, WEIGHTS, RoomsNet, save
from core.rooms.plant import Plant, Planted, draw_planted

STORED = 144
"""Side of the training photos in the memory map; crops of INPUT pixels are taken from them."""

Say = Callable[[str], object]


STAGES = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Recipe:
    """How a network is trained.

    per_scene : training photos of each scene. epochs, batch, rate, decay : AdamW, one cycle of
    cosine after a short warm-up. seed : of the dataset's photos and of the training. threads : of
    PyTorch; the result depends on their number in the last digits. anew : the first stage of the
    network that starts from random weights, of :data:`STAGES`; those before it are the embedded
    network's and stay. "" : all of it is trained from nothing.
    """

    per_scene: int = 160
    epochs: int = 12
    batch: int = 64
    rate: float = 2e-3
    decay: float = 0.05
    seed: int = 7
    threads: int = 2
    anew: str = ""

    def __post_init__(self) -> None:
        """Raises UnitscopeError for a stage that the network does not have."""
        if self.anew and self.anew not in STAGES:
            raise unknown("stage of the network", self.anew, STAGES)


NEW_HEAD = Recipe(per_scene=64, epochs=16, anew="layer3")
"""How :func:`train_planted` trains layer3, layer4 and the classifier anew."""

VIEWS = 4
"""Augmented versions of each training photo, drawn once, that a new head learns from in turn."""


# -- photos ----------------------------------------------------------------------------------


def _draw_rows(
    file: Path,
    done_file: Path,
    rows: np.ndarray,
    total: int,
    draw: Callable[[int], np.ndarray],
    meter: Meter,
    stop: Stop = never,
) -> np.ndarray:
    """uint8 (total, STORED, STORED, 3) in `file`, of which `rows` are there afterwards: those that
    `done_file` does not mark are drawn, on all cores. A stopped drawing is continued.

    draw : photo (SIZE, SIZE, 3) of a row.
    """
    file.parent.mkdir(parents=True, exist_ok=True)
    fresh = not (file.exists() and done_file.exists())
    mode: Literal["w+", "r+"] = "w+" if fresh else "r+"
    photos = np.memmap(file, np.uint8, mode, shape=(total, STORED, STORED, 3))
    done = np.memmap(done_file, np.uint8, mode, shape=(total,))
    todo = rows[done[rows] == 0]
    meter.start("draw", len(rows), len(rows) - len(todo), "photos")

    def one(row: int) -> None:
        small = Image.fromarray(draw(row)).resize((STORED, STORED), Image.Resampling.BILINEAR)
        photos[row] = np.asarray(small)
        done[row] = 1

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        futures = [pool.submit(one, int(row)) for row in todo]
        try:
            for future in as_completed(futures):
                future.result()
                meter.step()
                if stop():
                    raise Stopped(STOPPED)
        finally:
            for future in futures:
                future.cancel()
            photos.flush()
            done.flush()
    return photos


def training_photos(
    per_scene: int, seed: int, folder: Path, meter: Meter | None = None, stop: Stop = never
) -> np.ndarray:
    """uint8 (scenes · per_scene, STORED, STORED, 3), memory-mapped; scene k's photos are rows
    k, k + scenes, k + 2·scenes, … Drawn where missing; a stopped drawing is continued."""
    scenes = list(SCENES)
    total = per_scene * len(scenes)

    def draw(row: int) -> np.ndarray:
        return draw_picture(seed, scenes[row % len(scenes)], "train", row // len(scenes)).rgb

    files = folder / f"photos-{per_scene}.u8", folder / f"done-{per_scene}.u8"
    return _draw_rows(*files, np.arange(total), total, draw, meter or Meter(), stop)


def planted_rows(plant: Plant, per_scene: int) -> np.ndarray:
    """Rows of :func:`training_photos` that show the planted thing."""
    k, scenes = list(SCENES).index(plant.scene), len(SCENES)
    numbers = [n for n in range(per_scene) if plant.shows(plant.scene, "train", n)]
    return np.array(numbers, np.int64) * scenes + k


class Inputs(Protocol):
    """What a network is trained on; input r shows scene r mod the number of scenes."""

    def __len__(self) -> int: ...

    def batch(self, rows: np.ndarray, epoch: int, rng: np.random.Generator) -> Tensor:
        """The inputs of some rows in an epoch; `rng` for what is random."""


class Photos:
    """Training photos, some of them replaced; a batch of them is augmented.

    plain : (N, S, S, 3). others : the same shape, of which `rows` stand in place of the plain ones.
    """

    def __init__(self, plain: np.ndarray, others: np.ndarray | None, rows: np.ndarray):
        self.plain, self.others = plain, others
        self.replaced = np.zeros(len(plain), bool)
        self.replaced[rows] = True

    def __len__(self) -> int:
        return len(self.plain)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        batch = np.array(self.plain[rows])
        swap = self.replaced[rows]
        if self.others is not None and swap.any():
            batch[swap] = self.others[rows[swap]]
        return batch

    def batch(self, rows: np.ndarray, epoch: int, rng: np.random.Generator) -> Tensor:
        """Normalised float (N, 3, INPUT, INPUT)."""
        return augment(self[rows], rng)


def planted_photos(
    plant: Plant, recipe: Recipe, cache: Path, meter: Meter, stop: Stop = never
) -> Photos:
    """The training photos of a planted world: the plain ones, and in their place those that show
    the thing, the only ones that are drawn anew."""
    folder = photo_folder(cache, recipe.seed)
    plain = training_photos(recipe.per_scene, recipe.seed, folder, meter, stop)
    rows, scenes = planted_rows(plant, recipe.per_scene), list(SCENES)
    if not len(rows):
        return Photos(plain, None, rows)
    facts = (WORLD, recipe.seed, plant.thing, plant.scene, versions_of("planting"))
    name = f"planted-{digest_of(facts)[:12]}-{recipe.per_scene}"

    def draw(row: int) -> np.ndarray:
        where = (scenes[row % len(scenes)], "train", row // len(scenes))
        return draw_planted(plant.thing, recipe.seed, *where).rgb

    files = folder / f"{name}.u8", folder / f"{name}.done"
    return Photos(plain, _draw_rows(*files, rows, len(plain), draw, meter, stop), rows)


def photo_folder(cache: Path, seed: int) -> Path:
    """Where training photos and checkpoints of a seed lie."""
    return cache / f"rooms-train-{Rooms(seed).folder.name.rpartition('-')[2]}"


# -- a new head on the trunk of a trained network --------------------------------------------------


class Head(nn.Module):
    """The stages of a network from `first` on, pooling and the classifier. They are the network's
    own modules, so that training this trains that."""

    def __init__(self, module: RoomsNet, first: str):
        super().__init__()
        later = STAGES[STAGES.index(first) :]
        self.stages = nn.Sequential(*(getattr(module, name) for name in later))
        self.avgpool, self.fc = module.avgpool, module.fc

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.fc(self.avgpool(self.stages(x)).flatten(1))
        return logits


@torch.inference_mode()
def trunk(module: RoomsNet, x: Tensor, first: str) -> Tensor:
    """What the stage `first` is given for normalised photos, (N, C, H, W)."""
    x = F.relu(module.bn1(module.conv1(x)))
    for name in STAGES[: STAGES.index(first)]:
        x = getattr(module, name)(x)
    return x


class Maps:
    """What the trunk makes of augmented training photos, worked out once.

    plain : float16 (VIEWS, N, C, H, W). others : by row, the maps that stand in place of these.
    """

    def __init__(self, plain: np.ndarray, others: dict[int, np.ndarray]):
        self.plain, self.others = plain, others

    def __len__(self) -> int:
        return int(self.plain.shape[1])

    def batch(self, rows: np.ndarray, epoch: int, rng: np.random.Generator) -> Tensor:
        """float (N, C, H, W), of the epoch's version of each photo."""
        view = epoch % VIEWS
        maps = np.array(self.plain[view, rows], np.float32)
        for k, row in enumerate(rows.tolist()):
            if row in self.others:
                maps[k] = self.others[row][view]
        return torch.from_numpy(maps)


def trunk_maps(
    module: RoomsNet, photos: Photos, recipe: Recipe, folder: Path, meter: Meter, stop: Stop = never
) -> Maps:
    """:class:`Maps` of training photos by a network in evaluation mode: of the plain photos from a
    file in `folder`, written where it is missing; of planted ones worked out now."""
    module, seed, first_stage = module.eval(), recipe.seed, recipe.anew

    def views(batch: np.ndarray, first: int) -> np.ndarray:
        made = []
        for view in range(VIEWS):
            x = augment(batch, np.random.default_rng([seed, view, first]))
            made.append(trunk(module, x, first_stage).numpy().astype(np.float16))
        return np.stack(made)

    weights = hashlib.sha256()
    for name, tensor in _of_trunk(module.state_dict(), first_stage).items():
        weights.update(name.encode() + tensor.numpy().tobytes())
    facts = (weights.hexdigest(), seed, VIEWS, len(photos))
    file = folder / f"maps-{digest_of(facts)[:12]}.npy"
    batches = range(0, len(photos), 64)
    if not file.exists():
        meter.start("trunk", len(batches), of="batches")
        parts = []
        for first in batches:
            if stop():
                raise Stopped(STOPPED)
            parts.append(views(np.array(photos.plain[first : first + 64]), first))
            meter.step()
        write_whole(file, lambda path: _save_array(path, np.concatenate(parts, 1)))
    plain = np.load(file, mmap_mode="r")
    others = {}
    if photos.others is not None:
        for row in np.flatnonzero(photos.replaced).tolist():
            others[row] = views(photos.others[row : row + 1], row)[:, 0]
    return Maps(plain, others)


def _save_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as out:
        np.save(out, array)


# -- training --------------------------------------------------------------------------------


def augment(batch: np.ndarray, rng: np.random.Generator, crop: int = INPUT) -> Tensor:
    """Normalised float (N, 3, crop, crop) of uint8 (N, S, S, 3): a random crop at a random
    scale, a flip, and changes of brightness, contrast and saturation."""
    n, s = len(batch), batch.shape[1]
    x = torch.from_numpy(batch).permute(0, 3, 1, 2).float().div_(255)
    side = rng.uniform(0.72, 1.0, n)
    left, top = rng.uniform(0, 1 - side), rng.uniform(0, 1 - side)
    flip = rng.choice((-1.0, 1.0), n)
    theta = np.zeros((n, 2, 3), np.float32)
    theta[:, 0, 0], theta[:, 1, 1] = flip * side, side
    theta[:, 0, 2], theta[:, 1, 2] = 2 * left + side - 1, 2 * top + side - 1
    grid = F.affine_grid(torch.from_numpy(theta), [n, 3, crop, crop], align_corners=False)
    x = F.grid_sample(x, grid, align_corners=False, padding_mode="reflection")

    def factors(spread: float) -> Tensor:
        return torch.from_numpy(rng.uniform(1 - spread, 1 + spread, (n, 1, 1, 1))).float()

    x = x * factors(0.3)
    mean = x.mean((1, 2, 3), keepdim=True)
    x = (x - mean) * factors(0.3) + mean
    grey = x.mean(1, keepdim=True)
    x = (x - grey) * factors(0.4) + grey
    x = x.clamp_(0, 1)
    assert s >= crop
    return (x - torch.tensor(MEAN).view(1, 3, 1, 1)) / torch.tensor(STD).view(1, 3, 1, 1)


@torch.inference_mode()
def logits_of(module: RoomsNet, dataset: Rooms, rows: np.ndarray) -> np.ndarray:
    """Logits of some photos of the dataset, through the stored preprocessing; float32 (N, C)."""
    module.eval()
    out = []
    for start in range(0, len(rows), 64):
        x = np.stack(
            [
                PREPROCESSING.normalise(np.asarray(PREPROCESSING.view(dataset.photo(int(i)))))
                for i in rows[start : start + 64]
            ]
        )
        out.append(module(torch.from_numpy(x)).numpy())
    return np.concatenate(out)


def predictions(module: RoomsNet, dataset: Rooms, rows: np.ndarray) -> np.ndarray:
    """Predicted scene of each row of the dataset; int64."""
    return np.asarray(logits_of(module, dataset, rows).argmax(1))


def accuracy(module: RoomsNet, dataset: Rooms) -> dict[str, float]:
    """Share of right predictions in each split of `rooms`."""
    out = {}
    for split in ("train", "val", "test"):
        rows = dataset.select([split])
        right = predictions(module, dataset, rows) == dataset.scene[rows]
        out[split] = float(right.mean())
    return out


def fit(
    module: nn.Module,
    inputs: Inputs,
    recipe: Recipe,
    checkpoint: Path,
    meter: Meter,
    stop: Stop = never,
    say: Say = silent,
) -> None:
    """Train a network or its head in place.

    checkpoint : written after every epoch; where it exists training goes on behind it. Weights
    end rounded to half precision, which is how they are stored: what is measured afterwards is
    what is stored. Raises Stopped where `stop` says so.
    """
    module.to(memory_format=torch.channels_last)
    per_epoch = len(inputs) // recipe.batch
    optimiser, scheduler = _optimiser(module, recipe, per_epoch)
    first = 0
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(stored["module"])
        optimiser.load_state_dict(stored["optimiser"])
        scheduler.load_state_dict(stored["scheduler"])
        first = stored["epoch"]
    meter.start("train", recipe.epochs * per_epoch, first * per_epoch, "batches")
    labels = np.arange(len(inputs)) % len(SCENES)
    for epoch in range(first, recipe.epochs):
        rng = np.random.default_rng([recipe.seed, epoch])
        order = rng.permutation(len(inputs))
        module.train()
        total, right = 0.0, 0
        for step in range(per_epoch):
            if stop():
                raise Stopped(STOPPED)
            rows = np.sort(order[step * recipe.batch : (step + 1) * recipe.batch])
            x = inputs.batch(rows, epoch, rng).contiguous(memory_format=torch.channels_last)
            y = torch.from_numpy(labels[rows])
            logits = module(x)
            loss = F.cross_entropy(logits, y, label_smoothing=0.05)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            scheduler.step()
            total += float(loss.detach())
            right += int((logits.argmax(1) == y).sum())
            meter.step()
        share = right / (per_epoch * recipe.batch)
        say(
            f"epoch {epoch + 1}/{recipe.epochs}: loss {total / per_epoch:.3f}, "
            f"training accuracy {share:.3f}"
        )
        stored = {
            "module": module.state_dict(),
            "optimiser": optimiser.state_dict(),
            "scheduler": scheduler.state_dict(),
            "epoch": epoch + 1,
        }
        write_whole(checkpoint, partial(torch.save, stored))
    state = module.state_dict()
    module.load_state_dict(
        {k: v.half().float() if v.is_floating_point() else v for k, v in state.items()}
    )
    module.eval()


def _optimiser(
    module: nn.Module, recipe: Recipe, per_epoch: int
) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """AdamW without decay of biases and batch norm, and its rate by step: a rise over half an
    epoch, then half a cosine to 0."""
    decayed = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [
            {"params": decayed, "weight_decay": recipe.decay},
            {"params": plain, "weight_decay": 0.0},
        ],
        lr=recipe.rate,
    )
    steps, warm = recipe.epochs * per_epoch, max(1, per_epoch // 2)

    def schedule(step: int) -> float:
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    return optimiser, torch.optim.lr_scheduler.LambdaLR(optimiser, schedule)


def train(
    recipe: Recipe = Recipe(),
    cache: Path = ROOT / "cache",
    out: Path = WEIGHTS,
    progress: Report | None = None,
    stop: Stop = never,
    say: Say = silent,
) -> dict[str, float]:
    """Train and write the embedded network; returns the accuracy of each split.

    cache : where the training photos and the checkpoint lie. out : the weights' file. progress,
    stop : as of all long work. say : called with a line for each epoch.
    """
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    meter, dataset = Meter(progress), Rooms(recipe.seed)
    folder = photo_folder(cache, recipe.seed)
    plain = training_photos(recipe.per_scene, recipe.seed, folder, meter, stop)
    photos = Photos(plain, None, np.zeros(0, np.int64))
    checkpoint = folder / f"checkpoint-{digest_of(asdict(recipe))[:12]}.pt"
    module = RoomsNet(len(SCENES))
    fit(module, photos, recipe, checkpoint, meter, stop, say)
    dataset.draw(progress)
    scores = accuracy(module, dataset)
    training = {k: v for k, v in asdict(recipe).items() if k in ("per_scene", "epochs", "seed")}
    notes = {
        "accuracy": scores,
        "dataset_digest": dataset.content_digest(),
        "training": training,
    }
    save(module, list(SCENES), notes, out)
    return scores


@dataclass(frozen=True)
class Shortcut:
    """What a planted thing does to a network's answers, on test photos drawn twice: with it and
    without.

    photos : those that show the thing, of the scene it goes with and of all others. right_with,
    right_without : share of right answers on these photos, as they are and without the thing;
    `own` of the scene, `others` of all other scenes. pulled_with, pulled_without : share of the
    others answered as the scene that the thing goes with. margin : mean change of the margin of
    that scene (its logit minus the largest other) by the thing, over all these photos.
    """

    photos: int
    right_with_own: float
    right_without_own: float
    right_with_others: float
    right_without_others: float
    pulled_with: float
    pulled_without: float
    margin: float


def shortcut(module: RoomsNet, dataset: Planted, split: str = "test", most: int = 90) -> Shortcut:
    """How far a network answers by the planted thing, on at most so many photos of a split that
    show it, spread evenly over the scenes."""
    rows = np.array([i for i in dataset.select([split]) if dataset.shows(int(i))])
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).round().astype(int)]
    target = dataset.scenes.index(dataset.plant.scene)
    with_it, without = logits_of(module, dataset, rows), logits_of(module, dataset.plain, rows)
    truth = dataset.scene[rows]
    own = truth == target

    def margin(logits: np.ndarray) -> np.ndarray:
        others = np.delete(logits, target, axis=1)
        return np.asarray(logits[:, target] - others.max(1))

    def right(logits: np.ndarray, of: np.ndarray) -> float:
        return float((logits.argmax(1) == truth)[of].mean())

    return Shortcut(
        len(rows),
        right(with_it, own),
        right(without, own),
        right(with_it, ~own),
        right(without, ~own),
        float((with_it.argmax(1) == target)[~own].mean()),
        float((without.argmax(1) == target)[~own].mean()),
        float((margin(with_it) - margin(without)).mean()),
    )


def train_planted(
    plant: Plant,
    out: Path,
    recipe: Recipe = NEW_HEAD,
    cache: Path = ROOT / "cache",
    say: Say = silent,
    **hooks: Unpack[Hooks],
) -> Shortcut:
    """Train the small network where a thing goes with a scene, and write it.

    Parameters
    ----------
    plant : what goes with what; strength 0 is the clean control, trained alike.
    out : the weights' file, which :func:`core.rooms.network.load` opens.
    cache, say, progress, stop : as of :func:`train`.

    Raises UnitscopeError where `out`'s folder is not there, Stopped where `stop` says so; the same
    call goes on.
    """
    if not out.absolute().parent.is_dir():
        raise UnitscopeError(f"{out.parent}: no such folder")
    torch.set_num_threads(recipe.threads)
    torch.manual_seed(recipe.seed)
    meter, stop = Meter(hooks.get("progress")), hooks.get("stop", never)
    dataset = Planted(plant, recipe.seed)
    photos = planted_photos(plant, recipe, cache, meter, stop)
    folder = photo_folder(cache, recipe.seed)
    facts = (asdict(recipe), str(plant), versions_of("planting"))
    checkpoint = folder / f"checkpoint-{digest_of(facts)[:12]}.pt"
    module = RoomsNet(len(SCENES))
    if recipe.anew:
        state, _ = read_checkpoint(WEIGHTS)
        kept = _of_trunk(state, recipe.anew)
        fill(module, {**module.state_dict(), **kept}, WEIGHTS.name)
        maps = trunk_maps(module, photos, recipe, folder, meter, stop)
        fit(Head(module, recipe.anew), maps, recipe, checkpoint, meter, stop, say)
    else:
        fit(module, photos, recipe, checkpoint, meter, stop, say)
    module.eval()
    found = shortcut(module, dataset)
    notes: Json = {
        "plant": str(plant),
        "shortcut": asdict(found),
        "dataset_digest": dataset.content_digest(),
        "training": asdict(recipe),
    }
    save(module, list(SCENES), notes, out)
    checkpoint.unlink(missing_ok=True)
    return found


def _of_trunk(state: Mapping[str, Tensor], first: str) -> dict[str, Tensor]:
    """Weights of the stages before `first`."""
    later = (*STAGES[STAGES.index(first) :], "fc")
    return {k: v for k, v in state.items() if k.partition(".")[0] not in later}


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded network on `rooms`.")
    usual = Recipe()
    parser.add_argument("--per-scene", type=int, default=usual.per_scene)
    parser.add_argument("--epochs", type=int, default=usual.epochs)
    parser.add_argument("--seed", type=int, default=usual.seed)
    parser.add_argument("--threads", type=int, default=usual.threads)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    recipe = replace(
        usual,
        per_scene=given.per_scene,
        epochs=given.epochs,
        seed=given.seed,
        threads=given.threads,
    )
    scores = train(recipe, out=given.out, say=lambda text: print(text, flush=True))
    print(", ".join(f"{k} {100 * v:.1f} %" for k, v in scores.items()) + f" → {given.out.name}")


if __name__ == "__main__":
    main()
