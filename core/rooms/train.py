"""Train the embedded network: ``python -m core.rooms.train``.

Draws its own, larger training set (the first photos of it are the dataset's train split) into a
memory-mapped file under ``cache/``, trains on the CPU with a fixed seed, measures all three
splits of `rooms` through the very preprocessing that is stored with the weights, and writes
``data/rooms_resnet.pt``. Stopped and started again it continues where it was.
"""

from __future__ import annotations

import argparse
import math
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Literal

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor

from core.foundation.settings import ROOT
from core.rooms import SCENES
from core.rooms.dataset import Rooms, draw_picture
from core.rooms.network import INPUT, MEAN, PREPROCESSING, STD, WEIGHTS, RoomsNet, save

STORED = 144
"""Side of the training photos in the memory map; crops of INPUT pixels are taken from them."""

Say = Callable[[str], None]


def _time(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def training_photos(per_scene: int, seed: int, folder: Path, say: Say = print) -> np.ndarray:
    """uint8 (scenes · per_scene, STORED, STORED, 3), memory-mapped; scene k's photos are rows
    k, k + scenes, k + 2·scenes, … Drawn where missing; a stopped drawing is continued."""
    folder.mkdir(parents=True, exist_ok=True)
    scenes = list(SCENES)
    total = per_scene * len(scenes)
    data, done_file = folder / f"photos-{per_scene}.u8", folder / f"done-{per_scene}.u8"
    fresh = not (data.exists() and done_file.exists())
    mode: Literal["w+", "r+"] = "w+" if fresh else "r+"
    photos = np.memmap(data, np.uint8, mode, shape=(total, STORED, STORED, 3))
    done = np.memmap(done_file, np.uint8, mode, shape=(total,))
    todo = np.flatnonzero(done == 0)
    if todo.size:

        def one(row: int) -> None:
            k, number = row % len(scenes), row // len(scenes)
            rgb = draw_picture(seed, scenes[k], "train", number).rgb
            small = Image.fromarray(rgb).resize((STORED, STORED), Image.Resampling.BILINEAR)
            photos[row] = np.asarray(small)
            done[row] = 1

        one(int(todo[0]))
        start = time.monotonic()
        with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
            futures = [pool.submit(one, int(row)) for row in todo[1:]]
            for n, future in enumerate(as_completed(futures), 1):
                future.result()
                if n % 250 == 0 or n == len(futures):
                    rate = n / (time.monotonic() - start)
                    left = _time((len(futures) - n) / rate)
                    say(f"drawn {total - len(futures) + n}/{total}, {rate:.1f}/s, {left} left")
        photos.flush()
        done.flush()
    return photos


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
def predictions(module: RoomsNet, dataset: Rooms, rows: np.ndarray) -> np.ndarray:
    """Predicted scene of each row of the dataset, through the stored preprocessing; int64."""
    module.eval()
    out = []
    for start in range(0, len(rows), 64):
        x = np.stack(
            [
                PREPROCESSING.normalise(np.asarray(PREPROCESSING.view(dataset.photo(int(i)))))
                for i in rows[start : start + 64]
            ]
        )
        out.append(module(torch.from_numpy(x)).argmax(1).numpy())
    return np.concatenate(out)


def accuracy(module: RoomsNet, dataset: Rooms) -> dict[str, float]:
    """Share of right predictions in each split of `rooms`."""
    out = {}
    for split in ("train", "val", "test"):
        rows = dataset.select([split])
        right = predictions(module, dataset, rows) == dataset.scene[rows]
        out[split] = float(right.mean())
    return out


def train(
    per_scene: int = 160,
    epochs: int = 12,
    batch: int = 64,
    rate: float = 2e-3,
    decay: float = 0.05,
    seed: int = 7,
    threads: int = 2,
    cache: Path = ROOT / "cache",
    out: Path = WEIGHTS,
    say: Say = print,
) -> dict[str, float]:
    """Train and write the embedded network; returns the accuracy of each split.

    Parameters
    ----------
    per_scene : training photos of each scene.
    epochs, batch, rate, decay : AdamW, one cycle of cosine after a short warm-up.
    seed : of the dataset's photos and of the training.
    threads : of PyTorch.
    cache : where the training photos and the checkpoint lie.
    out : the weights' file.
    """
    torch.set_num_threads(threads)
    torch.manual_seed(seed)
    dataset = Rooms(seed)
    folder = cache / f"rooms-train-{dataset.folder.name.rpartition('-')[2]}"
    photos = training_photos(per_scene, seed, folder, say)
    labels = np.arange(len(photos)) % len(SCENES)
    module = RoomsNet(len(SCENES)).to(memory_format=torch.channels_last)
    decayed = [p for p in module.parameters() if p.ndim > 1]
    plain = [p for p in module.parameters() if p.ndim <= 1]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": decay}, {"params": plain, "weight_decay": 0.0}],
        lr=rate,
    )
    per_epoch = len(photos) // batch
    steps = epochs * per_epoch

    def schedule(step: int) -> float:
        warm = max(1, per_epoch // 2)
        if step < warm:
            return (step + 1) / warm
        return 0.5 * (1 + math.cos(math.pi * (step - warm) / max(1, steps - warm)))

    scheduler = torch.optim.lr_scheduler.LambdaLR(optimiser, schedule)
    checkpoint = folder / f"checkpoint-{per_scene}-{epochs}-{batch}-{rate}-{decay}-{seed}.pt"
    first = 0
    if checkpoint.exists():
        stored = torch.load(checkpoint, weights_only=True)
        module.load_state_dict(stored["module"])
        optimiser.load_state_dict(stored["optimiser"])
        scheduler.load_state_dict(stored["scheduler"])
        first = stored["epoch"]
        say(f"continues after epoch {first}")
    start = time.monotonic()
    for epoch in range(first, epochs):
        rng = np.random.default_rng([seed, epoch])
        order = rng.permutation(len(photos))
        module.train()
        total, right, seen = 0.0, 0, 0
        for step in range(per_epoch):
            rows = np.sort(order[step * batch : (step + 1) * batch])
            x = augment(photos[rows], rng).contiguous(memory_format=torch.channels_last)
            y = torch.from_numpy(labels[rows])
            logits = module(x)
            loss = F.cross_entropy(logits, y, label_smoothing=0.05)
            optimiser.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimiser.step()
            scheduler.step()
            total += float(loss.detach()) * len(rows)
            right += int((logits.argmax(1) == y).sum())
            seen += len(rows)
        spent = time.monotonic() - start
        left = spent / (epoch + 1 - first) * (epochs - epoch - 1)
        say(
            f"epoch {epoch + 1}/{epochs}: loss {total / seen:.3f}, training accuracy "
            f"{right / seen:.3f}, {seen * (epoch + 1 - first) / spent:.0f} photos/s, "
            f"{_time(left)} left"
        )
        part = checkpoint.with_suffix(".partial")
        torch.save(
            {
                "module": module.state_dict(),
                "optimiser": optimiser.state_dict(),
                "scheduler": scheduler.state_dict(),
                "epoch": epoch + 1,
            },
            part,
        )
        part.replace(checkpoint)
    # What is measured is what is stored: half-precision weights.
    module.load_state_dict(
        {
            k: v.half().float() if v.is_floating_point() else v
            for k, v in module.state_dict().items()
        }
    )
    module = module.eval()
    dataset.draw()
    scores = accuracy(module, dataset)
    save(
        module,
        list(SCENES),
        {
            "accuracy": scores,
            "dataset_digest": dataset.content_digest(),
            "training": {"per_scene": per_scene, "epochs": epochs, "seed": seed},
        },
        out,
    )
    say(", ".join(f"{k} {100 * v:.1f} %" for k, v in scores.items()) + f" → {out.name}")
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded network on `rooms`.")
    parser.add_argument("--per-scene", type=int, default=160)
    parser.add_argument("--epochs", type=int, default=12)
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=Path, default=WEIGHTS)
    given = parser.parse_args()
    train(
        given.per_scene,
        given.epochs,
        seed=given.seed,
        threads=given.threads,
        out=given.out,
        say=lambda text: print(text, flush=True),
    )


if __name__ == "__main__":
    main()
